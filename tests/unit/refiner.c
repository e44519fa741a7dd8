/* The second look, with weights drawn at random: what it says of a face hangs on nothing else, and is the same on the
 * reference. What it learns is tested with its training. */
#include "model/refiner.h"

#include "base/rng.h"
#include "tests/test.h"

enum { FACES = 5 };

static struct lafs_image photo;
static float points[FACES][10];

static void scene(void)
{
    struct lafs_err e;
    struct lafs_rng r;
    lafs_rng_init(&r, 9);
    REQUIRE_OK(lafs_image_new(&photo, 200, 150, &e), &e);
    for (int i = 0; i < 200 * 150 * 3; i++) photo.px[i] = (uint8_t)(40 * (i / 3 % 5) + lafs_rng_u32(&r) % 90);
    lafs_refiner_template(points[0]);
    for (int i = 1; i < FACES; i++)
        for (int k = 0; k < 10; k++) points[i][k] = points[0][k] * (0.5f + 0.4f * (float)i) + 9 * (float)i;
    for (int k = 0; k < 10; k++) points[3][k] = 50; /* of no face */
}

static void open_refiner(struct lafs_refiner **out, struct lafs_backend *b, const char *device)
{
    struct lafs_err e = {0};
    struct lafs_convnet net;
    struct lafs_convnet_folded f;
    struct lafs_st *st;
    const struct lafs_st_meta meta = {"architecture", LAFS_REFINER_ARCHITECTURE};
    REQUIRE_OK(lafs_backend_open(b, device, NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_refiner_net(&net, &e), &e);
    REQUIRE_OK(lafs_params_place(&net.params, b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&net.params, b, 4, &e), &e);
    REQUIRE_OK(lafs_convnet_fold(&net, b, net.params.value, &f, &e), &e);
    REQUIRE_OK(lafs_st_wrap(&st, f.t, f.tensors, &meta, 1, &e), &e);
    REQUIRE_OK(lafs_refiner_open(out, b, st, &e), &e);
    float *last = (float *)f.t[f.tensors - 1].data, was = *last;
    struct lafs_refiner *none;
    *last = NAN;
    CHECK_INT(lafs_refiner_open(&none, b, st, &e), LAFS_FAILED);
    CHECK_STR(e.msg, "tensor 'conv26.bias' holds a value that is not finite");
    *last = was;
    lafs_st_close(st);
    lafs_convnet_folded_release(&f);
    lafs_convnet_release(&net, b);
}

TEST(each_alone_and_together)
{
    struct lafs_err e = {0};
    struct lafs_backend b;
    struct lafs_refiner *r = NULL;
    struct lafs_refined all[FACES], one;
    scene();
    open_refiner(&r, &b, "cpu");
    REQUIRE_OK(lafs_refine(r, &photo, FACES, points[0], all, &e), &e);
    for (int i = 0; i < FACES; i++) {
        CHECK_INT(all[i].looked, i != 3);
        REQUIRE_OK(lafs_refine(r, &photo, 1, points[i], &one, &e), &e);
        CHECK_INT(one.looked, all[i].looked);
        CHECK(!memcmp(one.points, all[i].points, sizeof one.points));
        CHECK(one.confidence == all[i].confidence);
        if (i == 3) {
            CHECK(one.confidence == 0 && !memcmp(one.points, points[3], sizeof one.points));
            continue;
        }
        CHECK(!memcmp(one.points68, all[i].points68, sizeof one.points68));
        CHECK(one.confidence > 0 && one.confidence < 1);
    }
    lafs_refiner_close(r);
    lafs_backend_close(&b);
    lafs_image_release(&photo);
}

TEST(as_on_the_reference)
{
    struct lafs_err e = {0};
    struct lafs_refined said[2][FACES];
    scene();
    for (int k = 0; k < 2; k++) {
        struct lafs_backend b;
        struct lafs_refiner *r = NULL;
        open_refiner(&r, &b, k ? "ref" : "cpu");
        REQUIRE_OK(lafs_refine(r, &photo, FACES, points[0], said[k], &e), &e);
        lafs_refiner_close(r);
        lafs_backend_close(&b);
    }
    for (int i = 0; i < FACES; i++) {
        for (int k = 0; k < 10; k++) CHECK_NEAR(said[0][i].points[k], said[1][i].points[k], 0.02);
        CHECK_NEAR(said[0][i].confidence, said[1][i].confidence, 1e-3);
    }
    lafs_image_release(&photo);
}

TEST_MAIN(each_alone_and_together, as_on_the_reference)
