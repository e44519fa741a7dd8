/* Pictures made smaller and larger, against what the definitions say pixel by pixel. */
#include "image/resize.h"

#include "base/rng.h"
#include "tests/test.h"

static void noisy(struct lafs_image *im, int w, int h)
{
    struct lafs_err e;
    struct lafs_rng r;
    REQUIRE_OK(lafs_image_new(im, w, h, &e), &e);
    lafs_rng_init(&r, (uint64_t)(w * 1000 + h));
    for (int i = 0; i < w * h * 3; i++) im->px[i] = (uint8_t)lafs_rng_u32(&r);
}
static int at(const struct lafs_image *im, int x, int y, int c) { return im->px[(y * im->w + x) * 3 + c]; }

TEST(reduces)
{
    static const int sizes[][2] = {{1, 1}, {7, 5}, {33, 18}, {64, 64}};
    struct lafs_image im = {0}, out = {0};
    struct lafs_err e;
    for (int s = 0; s < 4; s++)
        for (int f = 1; f <= 16; f *= 2) {
            noisy(&im, sizes[s][0], sizes[s][1]);
            int cols = (im.w + f - 1) / f, rows = (im.h + f - 1) / f, box[4] = {cols / 3, rows / 4, cols, rows};
            REQUIRE_OK(lafs_image_reduce(&im, f, box, &out, &e), &e);
            CHECK_INT(out.w, cols - box[0]);
            CHECK_INT(out.h, rows - box[1]);
            for (int y = 0; y < out.h; y++)
                for (int x = 0; x < out.w; x++)
                    for (int c = 0; c < 3; c++) {
                        int sum = 0;
                        for (int v = (box[1] + y) * f; v < (box[1] + y + 1) * f && v < im.h; v++)
                            for (int u = (box[0] + x) * f; u < (box[0] + x + 1) * f && u < im.w; u++)
                                sum += at(&im, u, v, c);
                        CHECK_INT(at(&out, x, y, c), (sum + f * f / 2) / (f * f));
                    }
        }
    int none[4] = {2, 1, 2, 1};
    REQUIRE_OK(lafs_image_reduce(&im, 4, none, &out, &e), &e);
    CHECK_INT(out.w, 0);
    lafs_image_release(&im);
    lafs_image_release(&out);
}

/* Bilinear at output pixel (x, y), in double. */
static double expected(const struct lafs_image *im, int w, int h, int x, int y, int c)
{
    double u = fmin(fmax((x + 0.5) * im->w / w - 0.5, 0), im->w - 1);
    double v = fmin(fmax((y + 0.5) * im->h / h - 0.5, 0), im->h - 1);
    int i = (int)u, j = (int)v, i1 = i + 1 < im->w ? i + 1 : i, j1 = j + 1 < im->h ? j + 1 : j;
    double a = at(im, i, j, c) + (u - i) * (at(im, i1, j, c) - at(im, i, j, c));
    double b = at(im, i, j1, c) + (u - i) * (at(im, i1, j1, c) - at(im, i, j1, c));
    return a + (v - j) * (b - a);
}

TEST(resizes)
{
    static const int to[][2] = {{37, 23}, {74, 46}, {19, 12}, {50, 20}, {21, 40}, {1, 1}};
    struct lafs_image im = {0}, out = {0};
    struct lafs_err e;
    noisy(&im, 37, 23);
    for (int s = 0; s < 5; s++) {
        REQUIRE_OK(lafs_image_resize(&im, to[s][0], to[s][1], &out, &e), &e);
        CHECK(out.w == to[s][0] && out.h == to[s][1]);
        for (int y = 0; y < out.h; y++)
            for (int x = 0; x < out.w; x++)
                for (int c = 0; c < 3; c++) CHECK_NEAR(at(&out, x, y, c), expected(&im, out.w, out.h, x, y, c), 0.51);
    }
    REQUIRE_OK(lafs_image_resize(&im, 37, 23, &out, &e), &e);
    CHECK(!memcmp(im.px, out.px, 37 * 23 * 3));
    REQUIRE_OK(lafs_image_resize(&im, 1, 1, &out, &e), &e);
    lafs_image_release(&im);
    lafs_image_release(&out);
}

/* Places stay where they are, whatever the factor: of a slope the values are known. */
TEST(keeps_places)
{
    struct lafs_image im = {0}, out = {0};
    struct lafs_err e;
    REQUIRE_OK(lafs_image_new(&im, 1003, 400, &e), &e);
    for (int y = 0; y < im.h; y++)
        for (int x = 0; x < im.w; x++) {
            uint8_t *p = im.px + (y * im.w + x) * 3;
            p[0] = (uint8_t)(x / 4), p[1] = (uint8_t)(y / 2), p[2] = 77;
        }
    for (int n = 1; n <= 12; n++) {
        int w = 1003 / n, h = 400 / n;
        REQUIRE_OK(lafs_image_resize(&im, w, h, &out, &e), &e);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double u = (x + 0.5) * 1003 / w - 0.5, v = (y + 0.5) * 400 / h - 0.5;
                if (u < 16 || v < 16 || u > 1003 - 16 || v > 400 - 16) continue;
                CHECK_NEAR(at(&out, x, y, 0), u / 4 - 0.375, 1.1);
                CHECK_NEAR(at(&out, x, y, 1), v / 2 - 0.25, 1.1);
                CHECK_INT(at(&out, x, y, 2), 77);
            }
    }
    lafs_image_release(&im);
    lafs_image_release(&out);
}

TEST_MAIN(reduces, resizes, keeps_places)
