/* Where a model's training may start: landmarks on a grid. */
#include "tests/test.h"

#include "base/rng.h"
#include "model/part_fvit.h"

enum { N = 3, ROOT = 7, R = ROOT * ROOT, CROP = 112 * 112 * 3 };

static lafs_status begin(struct lafs_model *m, struct lafs_backend *b, struct lafs_err *err)
{
    struct lafs_model_config c;
    LAFS_TRY(lafs_backend_open(b, "cpu", NULL, NULL, err));
    LAFS_TRY(lafs_model_config_named(&c, "xs", err));
    c.vit.patches = R;
    c.vit.patch = 16;
    LAFS_TRY(lafs_model_init(m, &c, err));
    LAFS_TRY(lafs_params_place(&m->params, b, err));
    return lafs_params_fill(&m->params, b, 7, err);
}

static lafs_status landmarks_of(struct lafs_model *m, struct lafs_backend *b, float *to, struct lafs_err *err)
{
    struct lafs_model_work w = {0};
    struct lafs_arena a = {0};
    float *images = NULL, *emb = NULL;
    for (int pass = 0; pass < 2; pass++) {
        images = lafs_arena_take(&a, N * CROP, sizeof *images);
        emb = lafs_arena_take(&a, N * 128, sizeof *emb);
        LAFS_TRY(lafs_model_plan(&w, m, N, LAFS_MODEL_INFER, b, &a, err));
        if (!pass) LAFS_TRY(lafs_arena_reserve(&a, b, err));
    }
    float *pixels = malloc(N * CROP * sizeof *pixels);
    struct lafs_rng r;
    lafs_rng_init(&r, 5);
    for (int i = 0; pixels && i < N * CROP; i++) pixels[i] = (float)lafs_rng_uniform(&r, -1, 1);
    b->ops->upload(b->dev, images, pixels, N * CROP * sizeof *pixels);
    LAFS_TRY(lafs_model_fold(&w, b, m->params.value, err));
    lafs_model_forward(&w, b, m->params.value, NULL, N, images, NULL, NULL, emb);
    b->ops->download(b->dev, to, w.landmarks, N * R * 2 * sizeof *to);
    lafs_status st = b->ops->sync(b->dev, err);
    lafs_model_work_release(&w);
    lafs_arena_release(&a, b);
    free(pixels);
    return st;
}

/* Largest distance of an inner landmark from its cell's centre, pixels. */
static double off_grid(const float *l)
{
    double most = 0;
    for (int i = 0; i < N; i++)
        for (int k = 1; k < R - 1; k++) {
            double x = (k % ROOT + 0.5) * 111 / ROOT, y = (k / ROOT + 0.5) * 111 / ROOT;
            double d = hypot(l[(i * R + k) * 2] - x, l[(i * R + k) * 2 + 1] - y);
            if (d > most) most = d;
        }
    return most;
}

TEST(landmarks_start_on_a_grid)
{
    struct lafs_model m = {0};
    struct lafs_backend b = {0};
    struct lafs_err err;
    float l[N * R * 2];
    REQUIRE_OK(begin(&m, &b, &err), &err);
    REQUIRE_OK(landmarks_of(&m, &b, l, &err), &err);
    CHECK(off_grid(l) > 30); /* as the authors begin: anywhere */
    lafs_cnn_start_on_grid(&m.cnn, &b, m.params.value);
    REQUIRE_OK(landmarks_of(&m, &b, l, &err), &err);
    CHECK(off_grid(l) < 4);
    for (int i = 0; i < N; i++) {
        CHECK(l[i * R * 2] < 4 && l[i * R * 2 + 1] < 4);
        CHECK(l[(i * R + R - 1) * 2] > 107 && l[(i * R + R - 1) * 2 + 1] > 107);
    }
    lafs_model_release(&m, &b);
    lafs_backend_close(&b);
}

TEST_MAIN(landmarks_start_on_a_grid)
