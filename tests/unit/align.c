#include "tests/test.h"

#include "base/rng.h"
#include "image/align.h"

TEST(template_scales)
{
    float a[10], b[10];
    lafs_align_template(112, a);
    lafs_align_template(224, b);
    /* What recognisers of others were trained on. */
    static const double arcface[10] = {38.2946, 51.6963, 73.5318, 51.5014, 56.0252,
                                       71.7366, 41.5493, 92.3655, 70.7299, 92.2041};
    for (int i = 0; i < 10; i++) {
        CHECK_NEAR(a[i], arcface[i], 1e-5);
        CHECK_NEAR(b[i], 2 * a[i], 1e-5);
    }
}

TEST(similarity_recovers)
{
    float to[10], from[10];
    struct lafs_err err = {0};
    lafs_align_template(112, to);
    struct lafs_rng r;
    lafs_rng_init(&r, 7);
    for (int t = 0; t < 100; t++) {
        double s = exp(lafs_rng_uniform(&r, -2, 2)), a = lafs_rng_uniform(&r, -3.1, 3.1);
        double want[6] = {s * cos(a), -s * sin(a), lafs_rng_uniform(&r, -90, 90),
                          s * sin(a), s * cos(a),  lafs_rng_uniform(&r, -90, 90)};
        double inv[6], m[6];
        REQUIRE_OK(lafs_affine_invert(want, inv, &err), &err);
        lafs_affine_apply(inv, to, 5, from);
        REQUIRE_OK(lafs_similarity(from, to, 5, m, &err), &err);
        for (int i = 0; i < 6; i++) CHECK_NEAR(m[i], want[i], 1e-4 * (1 + fabs(want[i])) + 1e-3);
    }
}

static double residual(const float *from, const float *to, const double m[6])
{
    float q[10];
    lafs_affine_apply(m, from, 5, q);
    double e = 0;
    for (int i = 0; i < 10; i++) e += (q[i] - to[i]) * (double)(q[i] - to[i]);
    return e;
}

TEST(similarity_is_the_least_squares_one)
{
    float to[10], from[10];
    struct lafs_err err = {0};
    struct lafs_rng r;
    lafs_rng_init(&r, 8);
    lafs_align_template(112, to);
    for (int t = 0; t < 50; t++) {
        for (int i = 0; i < 10; i++) from[i] = to[i] * 2 + (float)lafs_rng_uniform(&r, -20, 20);
        double m[6];
        REQUIRE_OK(lafs_similarity(from, to, 5, m, &err), &err);
        CHECK(m[0] == m[4] && m[1] == -m[3]);
        double best = residual(from, to, m);
        for (int k = 0; k < 40; k++) { /* any other similarity is worse */
            double da = lafs_rng_uniform(&r, -.01, .01), db = lafs_rng_uniform(&r, -.01, .01);
            double o[6] = {m[0] + da, m[1] - db, m[2] + lafs_rng_uniform(&r, -1, 1),
                           m[3] + db, m[4] + da, m[5] + lafs_rng_uniform(&r, -1, 1)};
            CHECK(residual(from, to, o) > best);
        }
    }
}

TEST(no_similarity)
{
    float to[10], from[10];
    double m[6];
    struct lafs_err err = {0};
    lafs_align_template(112, to);
    for (int i = 0; i < 10; i++) from[i] = i & 1 ? 7.3f : 1000.1f;
    CHECK_INT(lafs_similarity(from, to, 5, m, &err), LAFS_BAD_RECORD);
    memcpy(from, to, sizeof from);
    from[3] = NAN;
    CHECK_INT(lafs_similarity(from, to, 5, m, &err), LAFS_BAD_RECORD);
    from[3] = INFINITY;
    CHECK_INT(lafs_similarity(from, to, 5, m, &err), LAFS_BAD_RECORD);
    CHECK_INT(lafs_affine_invert((double[6]){1, 2, 0, 2, 4, 0}, m, &err), LAFS_BAD_RECORD);
    CHECK_INT(lafs_similarity(from, to, 1, m, &err), LAFS_BAD_RECORD);
}

/* Bilinear with zero border, as one would write it down. */
static double truth(const struct lafs_image *in, double x, double y, int k)
{
    double v = 0;
    for (int j = 0; j < in->h; j++)
        for (int i = 0; i < in->w; i++) {
            double wx = 1 - fabs(x - i), wy = 1 - fabs(y - j);
            if (wx > 0 && wy > 0) v += wx * wy * in->px[(j * in->w + i) * 3 + k];
        }
    return v;
}

static void noise(struct lafs_image *im, int w, int h, uint64_t key)
{
    struct lafs_err err;
    struct lafs_rng r;
    lafs_rng_init(&r, key);
    if (lafs_image_new(im, w, h, &err) != LAFS_OK) abort();
    for (int i = 0; i < w * h * 3; i++) im->px[i] = (uint8_t)lafs_rng_u32(&r);
}

TEST(warp_is_bilinear)
{
    struct lafs_image in = {0}, out = {0};
    struct lafs_err err = {0};
    struct lafs_rng r;
    lafs_rng_init(&r, 9);
    for (int t = 0; t < 40; t++) {
        noise(&in, 1 + (int)lafs_rng_below(&r, 30), 1 + (int)lafs_rng_below(&r, 30), (uint64_t)t);
        noise(&out, 25, 19, 99);
        double s = exp(lafs_rng_uniform(&r, -0.6, 1)), a = t % 4 == 0 ? 0 : lafs_rng_uniform(&r, -3.1, 3.1);
        double m[6] = {s * cos(a), -s * sin(a), lafs_rng_uniform(&r, -10, 25),
                       s * sin(a), s * cos(a),  lafs_rng_uniform(&r, -10, 20)},
               inv[6];
        if (t == 0) m[0] = m[4] = 1, m[1] = m[3] = 0, m[2] = 2, m[5] = -3; /* whole pixels */
        REQUIRE_OK(lafs_affine_invert(m, inv, &err), &err);
        REQUIRE_OK(lafs_warp_affine(&in, m, &out, &err), &err);
        for (int y = 0; y < out.h; y++)
            for (int x = 0; x < out.w; x++)
                for (int k = 0; k < 3; k++) {
                    double v = truth(&in, inv[0] * x + inv[1] * y + inv[2], inv[3] * x + inv[4] * y + inv[5], k);
                    if (fabs(v - out.px[(y * out.w + x) * 3 + k]) > 0.502)
                        FAIL_("case %d (%d, %d, %d): %g, not %g", t, x, y, k, (double)out.px[(y * out.w + x) * 3 + k],
                              v);
                }
    }
    lafs_image_release(&in);
    lafs_image_release(&out);
}

TEST(warp_moves_points_where_the_matrix_says)
{
    /* A bright blob at (30.25, 41.5) must be at m (30.25, 41.5), at any scale. */
    struct lafs_err err = {0};
    for (int t = 0; t < 6; t++) {
        struct lafs_image in = {0}, out = {0};
        double scale = pow(2, t) * 1.3;
        REQUIRE_OK(lafs_image_new(&in, (int)(80 * scale), (int)(90 * scale), &err), &err);
        REQUIRE_OK(lafs_image_new(&out, 60, 60, &err), &err);
        for (int y = 0; y < in.h; y++)
            for (int x = 0; x < in.w; x++) {
                double d = (pow(x - 30.25 * scale, 2) + pow(y - 41.5 * scale, 2)) / (scale * scale * 18);
                for (int k = 0; k < 3; k++) in.px[(y * in.w + x) * 3 + k] = (uint8_t)(255 * exp(-d));
            }
        double a = 0.3, c = cos(a) / scale, s = sin(a) / scale, m[6] = {c, -s, 12, s, c, -18};
        REQUIRE_OK(lafs_warp_affine(&in, m, &out, &err), &err);
        float p[2] = {(float)(30.25 * scale), (float)(41.5 * scale)}, q[2];
        lafs_affine_apply(m, p, 1, q);
        double sum = 0, sx = 0, sy = 0;
        for (int y = 0; y < out.h; y++)
            for (int x = 0; x < out.w; x++) {
                double v = out.px[(y * out.w + x) * 3 + 1];
                sum += v, sx += v * x, sy += v * y;
            }
        CHECK_NEAR(sx / sum, q[0], 0.03);
        CHECK_NEAR(sy / sum, q[1], 0.03);
        lafs_image_release(&in);
        lafs_image_release(&out);
    }
}

TEST(strong_shrinking_does_not_alias)
{
    /* Stripes one pixel wide are grey from afar, and from as near as that three pixels become one. */
    struct lafs_image in = {0}, out = {0};
    struct lafs_err err = {0};
    REQUIRE_OK(lafs_image_new(&in, 1500, 1300, &err), &err);
    REQUIRE_OK(lafs_image_new(&out, 64, 64, &err), &err);
    for (int i = 0; i < in.w * in.h; i++) memset(in.px + 3 * (size_t)i, i % 2 ? 255 : 0, 3);
    for (int k = 0; k < 2; k++) {
        const double s = k ? 1.0 / 3 : 0.05, m[6] = {s, 0, -4, 0, s, 0};
        REQUIRE_OK(lafs_warp_affine(&in, m, &out, &err), &err);
        for (int y = 1; y < 63; y++)
            for (int x = 1; x < 63; x++) CHECK(abs(out.px[(y * 64 + x) * 3] - 128) <= 3);
    }
    lafs_image_release(&in);
    lafs_image_release(&out);
}

TEST(warp_far_away_is_black)
{
    struct lafs_image in = {0}, out = {0};
    struct lafs_err err = {0};
    noise(&in, 20, 20, 3);
    static const double far[][6] = {{1, 0, 1e6, 0, 1, 0},
                                    {1e-7, 0, 1e9, 0, 1e-7, -1e9},
                                    {1e-200, 0, 5, 0, 1e-200, 5},
                                    {1e200, 0, -1e250, 0, 1e200, 5}};
    for (int t = 0; t < 4; t++) {
        noise(&out, 16, 16, 4);
        if (lafs_warp_affine(&in, far[t], &out, &err) != LAFS_OK) continue; /* or refused */
        int lit = 0;
        for (int i = 0; i < 16 * 16 * 3; i++) lit += out.px[i] != 0;
        if (lit) FAIL_("case %d: %d values", t, lit);
    }
    lafs_image_release(&in);
    lafs_image_release(&out);
}

TEST(five_of_68)
{
    float p[136], q[10];
    for (int i = 0; i < 136; i++) p[i] = (float)i;
    lafs_points68_to_5(p, q);
    CHECK_NEAR(q[0], 75, 0);
    CHECK_NEAR(q[1], 76, 0);
    CHECK_NEAR(q[2], 87, 0);
    CHECK_NEAR(q[4], 60, 0);
    CHECK_NEAR(q[6], 96, 0);
    CHECK_NEAR(q[9], 109, 0);
}

/* A symmetrical face is its own mirror image; mirroring and taking five of 68 commute; twice is not at all. */
TEST(mirrored_points)
{
    float p[136], was[136], five[10], other[10];
    for (int i = 0; i < 136; i++) was[i] = p[i] = (float)(i * 37 % 101);
    lafs_points68_to_5(p, five);
    lafs_points5_mirror(five, 99);
    lafs_points68_mirror(p, 99);
    lafs_points68_to_5(p, other);
    for (int i = 0; i < 10; i++) CHECK_NEAR(other[i], five[i], 1e-5);
    CHECK_NEAR(p[0], 99 - was[32], 0); /* the ends of the jaw */
    CHECK_NEAR(p[2 * 17], 99 - was[2 * 26], 0);
    CHECK_NEAR(p[2 * 37], 99 - was[2 * 44], 0);
    CHECK_NEAR(p[2 * 41], 99 - was[2 * 46], 0);
    CHECK_NEAR(p[2 * 49 + 1], was[2 * 53 + 1], 0);
    CHECK_NEAR(p[2 * 59 + 1], was[2 * 55 + 1], 0);
    CHECK_NEAR(p[2 * 61 + 1], was[2 * 63 + 1], 0);
    CHECK_NEAR(p[2 * 67 + 1], was[2 * 65 + 1], 0);
    lafs_points68_mirror(p, 99);
    lafs_points5_mirror(five, 99);
    for (int i = 0; i < 136; i++) CHECK_NEAR(p[i], was[i], 0);
    lafs_points68_to_5(p, other);
    for (int i = 0; i < 10; i++) CHECK_NEAR(other[i], five[i], 1e-5);
}

TEST_MAIN(template_scales, similarity_recovers, similarity_is_the_least_squares_one, no_similarity, warp_is_bilinear,
          warp_moves_points_where_the_matrix_says, strong_shrinking_does_not_alias, warp_far_away_is_black, five_of_68,
          mirrored_points)
