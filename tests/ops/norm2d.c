/* batchnorm, channel_mean, channel_scale, minmax and their backward passes. */
#include "tests/ops/ops.h"

#include "tests/ops/levels.h"


static const enum lafs_act acts[] = {LAFS_ACT_NONE, LAFS_ACT_RELU, LAFS_ACT_HSWISH, LAFS_ACT_SIGMOID};

struct bn {
    int64_t rows, c, n;
    int train;
    enum lafs_act act;
    float *x, *gamma, *beta, *run_mean, *run_var, *dy;
};

static void bn_make(struct bn *t, int64_t rows, int64_t c, int train, enum lafs_act act)
{
    *t = (struct bn){rows, c, rows * c, train, act};
    t->x = ops_random("x", t->n, -2, 4);
    t->gamma = ops_random("gamma", c, 0.5, 1.5);
    t->beta = ops_random("beta", c, -1, 1);
    t->run_mean = ops_random("mean", c, -0.5, 2);
    t->run_var = ops_random("var", c, 1, 4);
    t->dy = ops_random("dy", t->n, -1, 1);
}

static void bn_free(struct bn *t)
{
    float *all[] = {t->x, t->gamma, t->beta, t->run_mean, t->run_var, t->dy};
    for (int i = 0; i < 6; i++) ops_free(all[i]);
}

enum { Y, MEAN, RSTD, RUN_MEAN, RUN_VAR, DX, DGAMMA, DBETA, OUTS };
static const char *const out_name[] = {"y", "mean", "rstd", "running mean", "running var", "dx", "dgamma", "dbeta"};

static int64_t out_size(const struct bn *t, int k) { return k == Y || k == DX ? t->n : t->c; }

static void bn_run(const struct bn *t, const struct lafs_backend *b, float **out)
{
    for (int k = 0; k < OUTS; k++) out[k] = ops_out(out_size(t, k));
    memcpy(out[RUN_MEAN], t->run_mean, (size_t)t->c * sizeof(float));
    memcpy(out[RUN_VAR], t->run_var, (size_t)t->c * sizeof(float));
    b->ops->batchnorm(b->dev, t->rows, t->c, t->train, 0.1f, t->x, t->gamma, t->beta, out[RUN_MEAN], out[RUN_VAR], t->act,
                      out[Y], out[MEAN], out[RSTD]);
    b->ops->batchnorm_bwd(b->dev, t->rows, t->c, t->train, t->x, t->gamma, t->beta, out[MEAN], out[RSTD], t->act, t->dy,
                          out[DX], out[DGAMMA], out[DBETA]);
}

/* The instruction sets below this machine's best: like the reference, and AVX2 like AVX-512 to the bit. */
static void bn_narrower(const struct bn *t, const struct lafs_backend *cpu, float **want, float **best)
{
    for (int level = lafs_isa_level() - 1; level >= 0; level--) {
        float *got[OUTS];
        lafs_isa_limit(level);
        bn_run(t, cpu, got);
        level_free();
        for (int k = 0; k < OUTS; k++) {
            int64_t n = out_size(t, k);
            if (!(t->rows == 1 && t->train && k == DX)) ops_close_to(out_name[k], got[k], want[k], n, 2e-5);
            if (level) ops_same(out_name[k], got[k], best[k], n);
            ops_free(got[k]);
        }
    }
}

TEST(batchnorm_backends)
{
    static const int64_t shapes[][2] = {{1, 3}, {7, 16}, {1500, 24}, {70, 960}};
    struct ops_set o;
    ops_open(&o);
    for (int i = 0; i < 4 * 2 * 4; i++) {
        struct bn t;
        float *want[OUTS], *got[OUTS], *again[OUTS];
        bn_make(&t, shapes[i / 8][0], shapes[i / 8][1], i / 4 % 2, acts[i % 4]);
        bn_run(&t, &o.ref, want);
        bn_run(&t, &o.cpu, got);
        bn_run(&t, &o.cpu3, again);
        bn_narrower(&t, &o.cpu, want, got);
        for (int k = 0; k < OUTS; k++) {
            /* The gradient of a batch of one is zero but for rounding. */
            if (!(t.rows == 1 && t.train && k == DX)) ops_close_to(out_name[k], got[k], want[k], out_size(&t, k), 2e-5);
            ops_same(out_name[k], again[k], got[k], out_size(&t, k));
            ops_free(want[k]);
            ops_free(got[k]);
            ops_free(again[k]);
        }
        bn_free(&t);
    }
    ops_close(&o);
}

/* In place: y over x in eval mode, dx over dy. */
TEST(batchnorm_in_place)
{
    struct ops_set o;
    ops_open(&o);
    struct bn t;
    float *want[OUTS];
    bn_make(&t, 300, 40, 0, LAFS_ACT_HSWISH);
    bn_run(&t, &o.cpu, want);
    float *y = ops_copy(t.x, t.n), *dx = ops_copy(t.dy, t.n), *dg = ops_out(t.c), *db = ops_out(t.c);
    o.cpu3.ops->batchnorm(o.cpu3.dev, t.rows, t.c, 0, 0.1f, y, t.gamma, t.beta, t.run_mean, t.run_var, t.act, y, NULL, NULL);
    o.cpu3.ops->batchnorm_bwd(o.cpu3.dev, t.rows, t.c, 0, t.x, t.gamma, t.beta, want[MEAN], want[RSTD], t.act, dx, dx, dg, db);
    ops_same("y in place", y, want[Y], t.n);
    ops_same("dx in place", dx, want[DX], t.n);
    ops_free(y);
    ops_free(dx);
    ops_free(dg);
    ops_free(db);
    for (int k = 0; k < OUTS; k++) ops_free(want[k]);
    bn_free(&t);
    ops_close(&o);
}

static double bn_along(const struct bn *t, const struct lafs_backend *b)
{
    float *out[OUTS];
    double sum = 0;
    bn_run(t, b, out);
    for (int64_t i = 0; i < t->n; i++) sum += (double)out[Y][i] * t->dy[i];
    for (int k = 0; k < OUTS; k++) ops_free(out[k]);
    return sum;
}

static void differences_of(struct bn *t, const struct lafs_backend *b, float *param, const float *want, int64_t n, double offset)
{
    for (int64_t i = 0; i < n; i++) {
        float keep = param[i], h = 1.0f / 64;
        param[i] = keep + h;
        double up = bn_along(t, b);
        param[i] = keep - h;
        double down = bn_along(t, b);
        param[i] = keep;
        CHECK_NEAR((up - down) / (2 * h), want[i] - offset, 3e-3);
    }
}

TEST(batchnorm_differences)
{
    struct ops_set o;
    ops_open(&o);
    for (int i = 0; i < 4; i++) {
        struct bn t;
        float *out[OUTS];
        bn_make(&t, 9, 4, i / 2, i % 2 ? LAFS_ACT_SIGMOID : LAFS_ACT_NONE);
        bn_run(&t, &o.ref, out);
        differences_of(&t, &o.ref, t.x, out[DX], t.n, 0);
        differences_of(&t, &o.ref, t.gamma, out[DGAMMA], t.c, 42); /* it was added to what stood there */
        differences_of(&t, &o.ref, t.beta, out[DBETA], t.c, 42);
        for (int k = 0; k < OUTS; k++) ops_free(out[k]);
        bn_free(&t);
    }
    ops_close(&o);
}

enum { CN = 5, HW = 49, C = 75, CX = CN * HW * C };

static void channel_run(const struct lafs_backend *b, enum lafs_act act, const float *x, const float *s, const float *dy, float **out)
{
    static const int64_t size[] = {CN * C, CX, CX, CX, CX, CN * C};
    for (int k = 0; k < 6; k++) out[k] = ops_out(size[k]);
    b->ops->channel_mean(b->dev, CN, HW, C, x, out[0]);
    b->ops->channel_mean_bwd(b->dev, CN, HW, C, s, out[1], 0);
    b->ops->channel_mean_bwd(b->dev, CN, HW, C, s, out[2], 1);
    b->ops->channel_scale(b->dev, CN, HW, C, x, s, act, out[3]);
    b->ops->channel_scale_bwd(b->dev, CN, HW, C, x, s, act, dy, out[4], out[5]);
}

TEST(channel_ops)
{
    static const int64_t size[] = {CN * C, CX, CX, CX, CX, CN * C};
    static const char *const name[] = {"mean", "mean backward", "mean backward, added", "scale", "scale dx", "scale ds"};
    struct ops_set o;
    ops_open(&o);
    float *x = ops_random("cx", CX, -4, 4), *s = ops_random("cs", CN * C, 0, 1), *dy = ops_random("cdy", CX, -1, 1);
    for (int a = 0; a < 4; a++) {
        float *want[6], *got[6], *again[6];
        channel_run(&o.ref, acts[a], x, s, dy, want);
        channel_run(&o.cpu, acts[a], x, s, dy, got);
        channel_run(&o.cpu3, acts[a], x, s, dy, again);
        for (int level = lafs_isa_level() - 1; level >= 0; level--) {
            float *low[6];
            lafs_isa_limit(level);
            channel_run(&o.cpu, acts[a], x, s, dy, low);
            level_free();
            for (int k = 0; k < 6; k++) {
                ops_close_to(name[k], low[k], want[k], size[k], k == 1 ? 1e-4 : 1e-5);
                ops_free(low[k]);
            }
        }
        for (int64_t i = 0; i < CX; i++) want[1][i] += 42;
        ops_close_to("added", want[2], want[1], CX, 1e-6);
        for (int64_t i = 0; i < CX; i++) want[1][i] -= 42;
        for (int k = 0; k < 6; k++) {
            ops_close_to(name[k], got[k], want[k], size[k], k == 1 ? 1e-4 : 1e-5);
            ops_same(name[k], again[k], got[k], size[k]);
            ops_free(want[k]);
            ops_free(got[k]);
            ops_free(again[k]);
        }
    }
    ops_free(x);
    ops_free(s);
    ops_free(dy);
    ops_close(&o);
}

TEST(channel_differences)
{
    struct ops_set o;
    ops_open(&o);
    float *x = ops_random("cx", CX, -4, 4), *s = ops_random("cs", CN * C, 0, 1), *dy = ops_random("cdy", CX, -1, 1);
    float *out[6], *y = ops_out(CX);
    channel_run(&o.ref, LAFS_ACT_SIGMOID, x, s, dy, out);
    for (int64_t i = 0; i < CN * C; i += 17) {
        double v[2];
        float keep = s[i];
        for (int k = 0; k < 2; k++) {
            s[i] = keep + (k ? -1.0f : 1.0f) / 64;
            o.ref.ops->channel_scale(o.ref.dev, CN, HW, C, x, s, LAFS_ACT_SIGMOID, y);
            v[k] = 0;
            for (int64_t e = 0; e < CX; e++) v[k] += (double)y[e] * dy[e];
        }
        s[i] = keep;
        CHECK_NEAR((v[0] - v[1]) * 32, out[5][i], 2e-3);
    }
    for (int k = 0; k < 6; k++) ops_free(out[k]);
    ops_free(y);
    ops_free(x);
    ops_free(s);
    ops_free(dy);
    ops_close(&o);
}

TEST(minmax)
{
    enum { ROWS = 4, W = 50 };
    struct ops_set o;
    ops_open(&o);
    float *t = ops_random("t", ROWS * W, -3, 3), *theta = ops_out(ROWS * W), *fast = ops_out(ROWS * W);
    float *g = ops_random("g", ROWS * W, -1, 1), *dt = ops_out(ROWS * W), *y = ops_out(ROWS * W);
    int32_t arg[2 * ROWS], other[2 * ROWS];
    o.ref.ops->minmax(o.ref.dev, ROWS, W, 111, t, theta, arg);
    o.cpu3.ops->minmax(o.cpu3.dev, ROWS, W, 111, t, fast, other);
    ops_close_to("theta", fast, theta, ROWS * W, 1e-6);
    for (int i = 0; i < ROWS; i++) {
        CHECK_INT(arg[2 * i], other[2 * i]);
        CHECK(theta[i * W + arg[2 * i]] == 0 && theta[i * W + arg[2 * i + 1]] == 111);
    }
    o.ref.ops->minmax_bwd(o.ref.dev, ROWS, W, 111, t, arg, g, dt);
    for (int i = 0; i < ROWS * W; i++) { /* the extremes included */
        double v[2];
        float keep = t[i];
        for (int k = 0; k < 2; k++) {
            t[i] = keep + (k ? -1.0f : 1.0f) / 1024;
            o.ref.ops->minmax(o.ref.dev, ROWS, W, 111, t, y, other);
            v[k] = 0;
            for (int e = 0; e < ROWS * W; e++) v[k] += (double)y[e] * g[e];
        }
        t[i] = keep;
        CHECK_NEAR((v[0] - v[1]) * 512, dt[i], 0.05);
    }
    o.cpu3.ops->minmax_bwd(o.cpu3.dev, ROWS, W, 111, t, arg, g, fast);
    ops_close_to("dt", fast, dt, ROWS * W, 1e-5);
    float *all[] = {t, theta, fast, g, dt, y};
    for (int i = 0; i < 6; i++) ops_free(all[i]);
    ops_close(&o);
}

TEST_MAIN(batchnorm_backends, batchnorm_in_place, batchnorm_differences, channel_ops, channel_differences, minmax)
