/* patch_cut, patch_cut_bwd, grid_cut. */
#include "tests/ops/levels.h"
#include "tests/ops/ops.h"

enum { SIDE = 29, N = 11 };

struct patches {
    struct lafs_seqs s;
    int64_t off[N + 1];
    int p;
    int64_t rows, width; /* of a token */
    float *images, *lm, *g;
};

/* Sequences of 0..12 landmarks each, some at and beyond the border, some that are no numbers. */
static void make(struct patches *t, int p)
{
    for (int i = 0; i <= N; i++) t->off[i] = i == 0 ? 0 : t->off[i - 1] + (i * 5) % 13;
    t->s = (struct lafs_seqs){N, t->off, t->off, 12};
    t->p = p;
    t->rows = t->off[N];
    t->width = p * p * 3;
    t->images = ops_random("images", N * SIDE * SIDE * 3, -1, 1);
    t->lm = ops_random("landmarks", t->rows * 2, -p, SIDE + p);
    t->g = ops_random("gradient", t->rows * t->width, -1, 1);
    t->lm[0] = NAN;
    t->lm[3] = INFINITY;
    t->lm[4] = -1e30f;
    t->lm[6] = 5.5f; /* a whole pixel */
    t->lm[7] = 7.5f;
}

static void release(struct patches *t)
{
    ops_free(t->images);
    ops_free(t->lm);
    ops_free(t->g);
}

static void check_case(struct ops_set *o, int p, int transposed)
{
    struct patches t;
    make(&t, p);
    int64_t n = t.rows * t.width, area = SIDE * SIDE * 3;
    struct lafs_backend *b[3] = {&o->ref, &o->cpu, &o->cpu3};
    float *tok[3], *dl[3], *di[3];
    for (int i = 0; i < 3; i++) {
        tok[i] = ops_out(n);
        dl[i] = ops_out(t.rows * 2);
        di[i] = ops_out(N * area);
        b[i]->ops->patch_cut(b[i]->dev, &t.s, SIDE, p, transposed, t.images, t.lm, tok[i]);
        b[i]->ops->patch_cut_bwd(b[i]->dev, &t.s, SIDE, p, transposed, t.images, t.lm, t.g, dl[i], di[i]);
    }
    ops_close_to("tokens", tok[1], tok[0], n, 1e-6);
    ops_close_to("dlandmarks", dl[1], dl[0], t.rows * 2, 1e-5);
    ops_close_to("dimages", di[1], di[0], N * area, 1e-5);
    ops_same("tokens, 3 threads", tok[2], tok[1], n);
    ops_same("dlandmarks, 3 threads", dl[2], dl[1], t.rows * 2);
    ops_same("dimages, 3 threads", di[2], di[1], N * area);
    for (int64_t k = 0; k < t.width; k++) CHECK(tok[0][k] == 0); /* NaN: nothing is there */
    /* An image alone gives the same bits; each gradient alone too. */
    int64_t one_off[] = {0, t.off[8] - t.off[7]};
    struct lafs_seqs one = {1, one_off, one_off, one_off[1]};
    float *alone = ops_out(one_off[1] * t.width), *dalone = ops_out(area);
    o->cpu.ops->patch_cut(o->cpu.dev, &one, SIDE, p, transposed, t.images + 7 * area, t.lm + 2 * t.off[7], alone);
    ops_same("tokens of one image", alone, tok[1] + t.off[7] * t.width, one_off[1] * t.width);
    o->cpu.ops->patch_cut_bwd(o->cpu.dev, &one, SIDE, p, transposed, t.images + 7 * area, t.lm + 2 * t.off[7],
                              t.g + t.off[7] * t.width, NULL, dalone);
    ops_same("dimages of one image", dalone, di[1] + 7 * area, area);
    for (int i = 0; i < 3; i++) {
        ops_free(tok[i]);
        ops_free(dl[i]);
        ops_free(di[i]);
    }
    ops_free(alone);
    ops_free(dalone);
    release(&t);
}

TEST(backends_agree)
{
    struct ops_set o;
    ops_open(&o);
    levels_missing("backends_agree", LAFS_ISA_AVX512);
    for (int level = LAFS_ISA_AVX512; level >= 0; level--) {
        if (!level_use(level)) continue;
        for (int transposed = 0; transposed < 2; transposed++)
            for (int p = 4; p <= 18; p += p == 4 ? 4 : p == 8 ? 8 : 2) check_case(&o, p, transposed); /* 4, 8, 16, 18 */
    }
    level_free();
    ops_close(&o);
}

static double along(const struct ops_set *o, const struct patches *t, const float *lm, const float *images)
{
    float *tok = ops_out(t->rows * t->width);
    double sum = 0;
    o->ref.ops->patch_cut(o->ref.dev, &t->s, SIDE, t->p, 1, images, lm, tok);
    for (int64_t i = 0; i < t->rows * t->width; i++) sum += (double)tok[i] * t->g[i];
    ops_free(tok);
    return sum;
}

TEST(differences)
{
    struct ops_set o;
    struct patches t;
    ops_open(&o);
    make(&t, 8);
    for (int64_t i = 0; i < 8; i++) t.lm[i] = 3.3f * (float)(i + 1);
    for (int64_t i = 0; i < t.rows * 2; i++) t.lm[i] = floorf(t.lm[i]) + 0.75f + 0.5f * (t.lm[i] - floorf(t.lm[i])); /* off the kinks */
    float *dl = ops_out(t.rows * 2), *di = ops_out(N * SIDE * SIDE * 3);
    o.ref.ops->patch_cut_bwd(o.ref.dev, &t.s, SIDE, 8, 1, t.images, t.lm, t.g, dl, di);
    for (int64_t i = 0; i < t.rows * 2; i += 3) { /* piecewise bilinear: central differences are exact but for rounding */
        float keep = t.lm[i];
        t.lm[i] = keep + 0.125f;
        double up = along(&o, &t, t.lm, t.images);
        t.lm[i] = keep - 0.125f;
        double down = along(&o, &t, t.lm, t.images);
        t.lm[i] = keep;
        CHECK_NEAR((up - down) / 0.25, dl[i], 2e-3);
    }
    for (int64_t i = 0; i < N * SIDE * SIDE * 3; i += 977) {
        float keep = t.images[i];
        t.images[i] = keep + 1;
        double up = along(&o, &t, t.lm, t.images);
        t.images[i] = keep - 1;
        double down = along(&o, &t, t.lm, t.images);
        t.images[i] = keep;
        CHECK_NEAR((up - down) / 2, di[i], 1e-3);
    }
    ops_free(dl);
    ops_free(di);
    release(&t);
    ops_close(&o);
}

/* A patch whose samples fall on whole pixels is the grid patch there. */
TEST(grid)
{
    enum { S = 48, P = 8, ACROSS = S / P, R = ACROSS * ACROSS };
    struct ops_set o;
    ops_open(&o);
    float *images = ops_random("grid images", 2 * S * S * 3, -1, 1), *grid = ops_out(2 * R * P * P * 3);
    float *cut = ops_out(2 * R * P * P * 3), *fast = ops_out(2 * R * P * P * 3), lm[2 * R * 2];
    for (int k = 0; k < 2 * R; k++) {
        lm[2 * k] = (float)(k % R % ACROSS * P) + P / 2 + 0.5f;
        lm[2 * k + 1] = (float)(k % R / ACROSS * P) + P / 2 + 0.5f;
    }
    int64_t off[] = {0, R, 2 * R};
    struct lafs_seqs s = {2, off, off, R};
    o.ref.ops->grid_cut(o.ref.dev, 2, S, P, images, grid);
    o.cpu3.ops->grid_cut(o.cpu3.dev, 2, S, P, images, fast);
    o.ref.ops->patch_cut(o.ref.dev, &s, S, P, 0, images, lm, cut);
    ops_same("grid patches of both backends", fast, grid, 2 * R * P * P * 3);
    ops_close_to("patches on the grid", cut, grid, 2 * R * P * P * 3, 0);
    ops_free(images);
    ops_free(grid);
    ops_free(cut);
    ops_free(fast);
    ops_close(&o);
}

TEST_MAIN(backends_agree, differences, grid)
