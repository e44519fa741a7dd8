#include "tests/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "model/baseline.h"

enum { SIZE = 112 };
static uint8_t px[SIZE * SIZE * 3], mirrored[SIZE * SIZE * 3];
static float a[SIZE * SIZE * 3], b[SIZE * SIZE * 3];
static struct lafs_err err;

static struct lafs_image make(void)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(7, LAFS_RNG_TEST, 0, 0, 0));
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t v = (uint8_t)((x * 2 + y + c * 40 + (int)lafs_rng_below(&r, 40)) & 255);
                px[(y * SIZE + x) * 3 + c] = mirrored[(y * SIZE + SIZE - 1 - x) * 3 + c] = v;
            }
    return (struct lafs_image){SIZE, SIZE, px};
}

static double cosine(const float *u, const float *v, int64_t n)
{
    double s = 0, uu = 0, vv = 0;
    for (int64_t i = 0; i < n; i++) s += (double)u[i] * v[i], uu += (double)u[i] * u[i], vv += (double)v[i] * v[i];
    return s / sqrt(uu * vv);
}

TEST(names)
{
    enum lafs_baseline k;
    CHECK(lafs_baseline_by_name("pixel", &k) && k == LAFS_BASELINE_PIXEL);
    CHECK(lafs_baseline_by_name("lbp", &k) && k == LAFS_BASELINE_LBP);
    CHECK(!lafs_baseline_by_name("hog", &k));
    CHECK_INT(lafs_baseline_dim(LAFS_BASELINE_PIXEL, 112), 37632);
    CHECK_INT(lafs_baseline_dim(LAFS_BASELINE_LBP, 112), 3776);
    CHECK_INT(lafs_baseline_dim(LAFS_BASELINE_LBP, 15), 0);
}

TEST(pixels_are_the_sum_of_both_mirror_images)
{
    struct lafs_image im = make();
    REQUIRE_OK(lafs_baseline_embed(LAFS_BASELINE_PIXEL, &im, SIZE, a, &err), &err);
    for (int i = 0; i < SIZE * SIZE * 3; i++) CHECK_NEAR(a[i], px[i] / 127.5 - 1 + mirrored[i] / 127.5 - 1, 1e-6);
}

TEST(a_mirror_image_has_the_same_embedding)
{
    struct lafs_image im = make(), twin = {SIZE, SIZE, mirrored};
    for (int kind = 0; kind < 2; kind++) {
        int64_t n = lafs_baseline_dim(kind, SIZE);
        REQUIRE_OK(lafs_baseline_embed(kind, &im, SIZE, a, &err), &err);
        REQUIRE_OK(lafs_baseline_embed(kind, &twin, SIZE, b, &err), &err);
        CHECK(memcmp(a, b, (size_t)n * sizeof *a) == 0);
        CHECK_NEAR(cosine(a, b, n), 1, 1e-6);
    }
}

TEST(lbp_ignores_light)
{
    struct lafs_image im = make();
    for (int i = 0; i < SIZE * SIZE * 3; i++) px[i] = (uint8_t)(px[i] / 4); /* room to brighten without clipping */
    REQUIRE_OK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, SIZE, a, &err), &err);
    for (int i = 0; i < SIZE * SIZE * 3; i++) px[i] = (uint8_t)(px[i] + 100);
    REQUIRE_OK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, SIZE, b, &err), &err);
    int64_t n = lafs_baseline_dim(LAFS_BASELINE_LBP, SIZE);
    CHECK_NEAR(cosine(a, b, n), 1, 1e-6);
    /* Each half is a square root of shares that sum to 1 in each of 64 cells. */
    memset(px, 9, sizeof px);
    REQUIRE_OK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, SIZE, a, &err), &err);
    double sum = 0;
    int used = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * a[i], used += a[i] > 0;
    CHECK_INT(used, 64); /* flat: every neighbour is at least as bright, one pattern a cell */
    CHECK_NEAR(sum, 4 * 64, 1e-3);
}

TEST(other_sizes)
{
    struct lafs_image im = make();
    CHECK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, 96, a, &err) == LAFS_BAD_RECORD);
    CHECK_STR(err.msg, "the crop is 112x112, not 96x96");
    im.w = im.h = 16;
    CHECK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, 16, a, &err) == LAFS_OK);
    im.w = im.h = 8;
    CHECK(lafs_baseline_embed(LAFS_BASELINE_LBP, &im, 8, a, &err) == LAFS_BAD_RECORD);
}

TEST_MAIN(names, pixels_are_the_sum_of_both_mirror_images, a_mirror_image_has_the_same_embedding, lbp_ignores_light,
          other_sizes)
