/* Convolution ops: the reference against finite differences, the CPU kernels of every instruction set that this machine
 * has against the reference, the same bits whatever the threads and the neighbours, and nothing written outside. */
#include "tests/test.h"

#include "base/rng.h"
#include "compute/backend.h"
#include "tests/ops/levels.h"

enum { GUARD = 64 };
static const float GUARD_VALUE = -12345.678f;

/* n values with a guard on both sides; random in (-1,1) from `seed`, or all `fill` when seed is 0. */
static float *guarded(int64_t n, uint64_t seed, float fill)
{
    float *p = malloc((size_t)(n + 2 * GUARD) * sizeof *p);
    if (!p) abort();
    for (int64_t i = 0; i < n + 2 * GUARD; i++) p[i] = GUARD_VALUE;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_TEST, 0, 0, 0));
    for (int64_t i = 0; i < n; i++) p[GUARD + i] = seed ? (float)lafs_rng_uniform(&r, -1, 1) : fill;
    return p + GUARD;
}
static void drop(float *p) { free(p - GUARD); }
static void check_guards(const char *what, const float *p, int64_t n)
{
    for (int i = 0; i < GUARD; i++)
        if (p[-1 - i] != GUARD_VALUE || p[n + i] != GUARD_VALUE) {
            FAIL_("%s: written outside", what);
            return;
        }
}
static void check_close(const char *what, const float *got, const float *want, int64_t n)
{
    double top = 1e-30;
    for (int64_t i = 0; i < n; i++) top = fabs(want[i]) > top ? fabs(want[i]) : top;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 3e-6 * top)) {
            FAIL_("%s: element %lld is %.9g, not %.9g (largest %.3g)", what, (long long)i, got[i], want[i], top);
            return;
        }
}

struct geometry {
    struct lafs_conv g;
    int bias;
    enum lafs_act act;
};
static const struct geometry dense[] = {
    {{1, 1, 1, 1, 1, 1, 1}, 0, LAFS_ACT_NONE},
    {{2, 7, 5, 3, 1, 1, 17}, 1, LAFS_ACT_RELU},
    {{1, 10, 10, 64, 1, 1, 64}, 1, LAFS_ACT_RELU},
    {{3, 4, 4, 160, 1, 1, 96}, 0, LAFS_ACT_HSWISH},
    {{2, 13, 3, 40, 1, 1, 130}, 1, LAFS_ACT_GELU},
    {{1, 5, 7, 24, 1, 1, 72}, 1, LAFS_ACT_HSIGMOID},
    {{2, 9, 9, 4, 1, 2, 8}, 1, LAFS_ACT_NONE},
    {{2, 12, 10, 3, 3, 2, 16}, 1, LAFS_ACT_RELU},
    {{2, 11, 9, 3, 3, 1, 20}, 0, LAFS_ACT_SIGMOID},
    {{1, 2, 1, 5, 3, 1, 33}, 1, LAFS_ACT_NONE},
    {{1, 6, 31, 2, 5, 2, 70}, 1, LAFS_ACT_RELU},
    {{1, 1, 1, 2, 7, 1, 3}, 1, LAFS_ACT_NONE},
    {{2, 7, 10, 5, 4, 1, 9}, 1, LAFS_ACT_RELU}, /* no middle */
    {{1, 8, 9, 3, 2, 2, 18}, 0, LAFS_ACT_NONE},
    {{1, 10, 23, 4, 5, 3, 6}, 1, LAFS_ACT_NONE},
    {{2, 3, 5, 2, 17, 1, 3}, 1, LAFS_ACT_HSWISH}, /* more taps than kernels take */
};
static const struct geometry depth[] = {
    {{1, 1, 1, 1, 3, 1, 1}, 1, LAFS_ACT_NONE},
    {{2, 9, 11, 16, 3, 1, 16}, 1, LAFS_ACT_RELU},
    {{2, 8, 30, 64, 3, 1, 64}, 1, LAFS_ACT_RELU},
    {{2, 10, 12, 24, 3, 2, 24}, 0, LAFS_ACT_HSWISH},
    {{1, 9, 21, 40, 5, 2, 40}, 0, LAFS_ACT_NONE},
    {{2, 9, 41, 24, 3, 2, 24}, 1, LAFS_ACT_NONE},   /* rows of more than eight outputs */
    {{1, 40, 40, 24, 5, 2, 24}, 0, LAFS_ACT_RELU}, /* several strips */
    {{1, 14, 14, 120, 5, 1, 120}, 1, LAFS_ACT_HSIGMOID},
    {{3, 4, 4, 35, 5, 1, 35}, 0, LAFS_ACT_GELU},
    {{2, 3, 17, 10, 3, 1, 10}, 1, LAFS_ACT_SIGMOID},
    {{1, 2, 2, 1, 5, 2, 1}, 0, LAFS_ACT_NONE},
    {{1, 6, 1, 7, 1, 1, 7}, 1, LAFS_ACT_RELU},
    {{1, 5, 16, 24, 3, 1, 24}, 1, LAFS_ACT_RELU}, /* the last of eights at the edge */
    {{2, 4, 24, 20, 5, 1, 20}, 0, LAFS_ACT_NONE},
    {{1, 7, 47, 33, 5, 2, 33}, 0, LAFS_ACT_HSWISH},
    {{1, 6, 32, 17, 3, 2, 17}, 1, LAFS_ACT_NONE},
    {{2, 7, 10, 19, 4, 1, 19}, 1, LAFS_ACT_RELU}, /* no middle */
    {{1, 8, 9, 33, 2, 2, 33}, 0, LAFS_ACT_NONE},
    {{2, 11, 23, 20, 7, 3, 20}, 1, LAFS_ACT_NONE},
    {{2, 3, 5, 6, 17, 1, 6}, 1, LAFS_ACT_HSWISH}, /* more taps than kernels take */
};
enum { DENSE = sizeof dense / sizeof *dense, DEPTH = sizeof depth / sizeof *depth };

struct sizes {
    int64_t x, y, w;
};
static struct sizes sizes(const struct lafs_conv *g, int depthwise)
{
    int64_t out = g->n * lafs_conv_side(g->h, g->k, g->stride) * lafs_conv_side(g->w, g->k, g->stride) * g->out;
    return (struct sizes){g->n * g->h * g->w * g->c, out, g->out * (depthwise ? 1 : g->c) * g->k * g->k};
}

static void forward(const struct lafs_backend *b, const struct geometry *c, int depthwise, const float *x, const float *w,
                    const float *bias, float *y)
{
    (depthwise ? b->ops->depthwise : b->ops->conv)(b->dev, &c->g, x, w, c->bias ? bias : NULL, c->act, y);
}
static void backward_x(const struct lafs_backend *b, const struct geometry *c, int depthwise, const float *dy,
                       const float *w, float *dx)
{
    (depthwise ? b->ops->depthwise_bwd_x : b->ops->conv_bwd_x)(b->dev, &c->g, dy, w, dx);
}
static void backward_w(const struct lafs_backend *b, const struct geometry *c, int depthwise, const float *x,
                       const float *dy, float *dw)
{
    (depthwise ? b->ops->depthwise_bwd_w : b->ops->conv_bwd_w)(b->dev, &c->g, x, dy, dw);
}

/* All three ops of one geometry on backend b, outputs guarded. */
struct results {
    struct sizes n;
    float *y, *dx, *dw;
};
static struct results run(const struct lafs_backend *b, const struct geometry *c, int depthwise)
{
    struct results r = {.n = sizes(&c->g, depthwise)};
    float *x = guarded(r.n.x, 1, 0), *w = guarded(r.n.w, 2, 0), *bias = guarded(c->g.out, 3, 0), *dy = guarded(r.n.y, 4, 0);
    r.y = guarded(r.n.y, 0, 7);
    r.dx = guarded(r.n.x, 0, 7);
    r.dw = guarded(r.n.w, 0, 0.5f); /* += */
    forward(b, c, depthwise, x, w, bias, r.y);
    backward_x(b, c, depthwise, dy, w, r.dx);
    backward_w(b, c, depthwise, x, dy, r.dw);
    struct lafs_err err;
    if (b->ops->sync(b->dev, &err) != LAFS_OK) FAIL_("%s", err.msg);
    check_guards("y", r.y, r.n.y);
    check_guards("dx", r.dx, r.n.x);
    check_guards("dw", r.dw, r.n.w);
    drop(x), drop(w), drop(bias), drop(dy);
    return r;
}
static void release(struct results *r) { drop(r->y), drop(r->dx), drop(r->dw); }

static void compare_all(const struct geometry *list, int n, int depthwise)
{
    struct lafs_backend ref, cpu;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&ref, "ref", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &e), &e);
    for (int i = 0; i < n; i++) {
        struct results want = run(&ref, &list[i], depthwise);
        for (int s = 0; s < 3; s++) {
            if (!level_use(s)) continue;
            struct results got = run(&cpu, &list[i], depthwise);
            char what[64];
            snprintf(what, sizeof what, "geometry %d, %s, y", i, level_name[s]);
            check_close(what, got.y, want.y, got.n.y);
            snprintf(what, sizeof what, "geometry %d, %s, dx", i, level_name[s]);
            check_close(what, got.dx, want.dx, got.n.x);
            snprintf(what, sizeof what, "geometry %d, %s, dw", i, level_name[s]);
            check_close(what, got.dw, want.dw, got.n.w);
            release(&got);
        }
        release(&want);
    }
    level_free();
    lafs_backend_close(&cpu);
    lafs_backend_close(&ref);
}
TEST(dense_like_reference)
{
    levels_missing("dense_like_reference", LAFS_ISA_AVX512);
    compare_all(dense, DENSE, 0);
}
TEST(depthwise_like_reference) { compare_all(depth, DEPTH, 1); }

/* The same bits on 1 and 3 threads, and for an image alone and among others. */
static void same_bits(const struct geometry *list, int n, int depthwise)
{
    struct lafs_err e;
    struct lafs_pool *pool;
    struct lafs_backend one, three;
    REQUIRE_OK(lafs_pool_new(&pool, 3, &e), &e);
    REQUIRE_OK(lafs_backend_open(&one, "cpu", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&three, "cpu", pool, NULL, &e), &e);
    for (int i = 0; i < n; i++) {
        struct geometry many = list[i], single = list[i];
        many.g.n = 5;
        single.g.n = 1;
        struct results a = run(&one, &many, depthwise), b = run(&three, &many, depthwise);
        CHECK(!memcmp(a.y, b.y, (size_t)a.n.y * sizeof *a.y));
        CHECK(!memcmp(a.dx, b.dx, (size_t)a.n.x * sizeof *a.y));
        CHECK(!memcmp(a.dw, b.dw, (size_t)a.n.w * sizeof *a.y));
        struct sizes s = sizes(&single.g, depthwise);
        float *x = guarded(a.n.x, 1, 0), *w = guarded(a.n.w, 2, 0), *bias = guarded(many.g.out, 3, 0), *dy = guarded(a.n.y, 4, 0);
        float *y = guarded(s.y, 0, 0), *dx = guarded(s.x, 0, 0);
        for (int k = 0; k < 5; k++) {
            forward(&one, &single, depthwise, x + k * s.x, w, bias, y);
            backward_x(&one, &single, depthwise, dy + k * s.y, w, dx);
            CHECK(!memcmp(a.y + k * s.y, y, (size_t)s.y * sizeof *y));
            CHECK(!memcmp(a.dx + k * s.x, dx, (size_t)s.x * sizeof *y));
        }
        drop(x), drop(w), drop(bias), drop(dy), drop(y), drop(dx);
        release(&a), release(&b);
    }
    lafs_backend_close(&three);
    lafs_backend_close(&one);
    lafs_pool_free(pool);
}
TEST(dense_same_bits) { same_bits(dense, DENSE, 0); }
TEST(depthwise_same_bits) { same_bits(depth, DEPTH, 1); }

/* Separable convolutions: g is the geometry of the depthwise part. */
static const struct geometry pairs[] = {
    {{1, 1, 1, 1, 3, 1, 1}, 1, LAFS_ACT_NONE},
    {{2, 40, 70, 16, 3, 1, 64}, 1, LAFS_ACT_RELU}, /* strips and bands */
    {{1, 37, 13, 64, 3, 1, 16}, 1, LAFS_ACT_NONE},
    {{3, 19, 8, 5, 3, 1, 17}, 1, LAFS_ACT_RELU},
    {{1, 21, 30, 7, 5, 2, 40}, 1, LAFS_ACT_HSWISH},
    {{2, 33, 5, 3, 3, 2, 10}, 1, LAFS_ACT_GELU},
    {{1, 26, 9, 12, 1, 1, 24}, 1, LAFS_ACT_RELU},
    {{1, 2, 300, 16, 7, 3, 32}, 1, LAFS_ACT_SIGMOID},
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* As one op, or as conv and depthwise; y (n,h',w',out). */
static float *run_pair(const struct lafs_backend *b, const struct geometry *c, int parts)
{
    const struct lafs_conv *g = &c->g, point = {g->n, g->h, g->w, g->c, 1, 1, g->out},
                           depthwise = {g->n, g->h, g->w, g->out, g->k, g->stride, g->out};
    int64_t ny = sizes(g, 1).y, mid = g->n * g->h * g->w * g->out;
    float *x = guarded(sizes(g, 1).x, 1, 0), *w1 = guarded(g->out * g->c, 2, 0), *b1 = guarded(g->out, 3, 0);
    float *w2 = guarded(g->out * g->k * g->k, 4, 0), *b2 = guarded(g->out, 5, 0), *t = guarded(mid, 0, 7);
    float *y = guarded(ny, 0, 7);
    if (parts) {
        b->ops->conv(b->dev, &point, x, w1, b1, LAFS_ACT_NONE, t);
        b->ops->depthwise(b->dev, &depthwise, t, w2, b2, c->act, y);
    } else {
        b->ops->separable(b->dev, g, x, w1, b1, w2, b2, c->act, y);
    }
    struct lafs_err err;
    if (b->ops->sync(b->dev, &err) != LAFS_OK) FAIL_("%s", err.msg);
    check_guards("y", y, ny);
    drop(x), drop(w1), drop(b1), drop(w2), drop(b2), drop(t);
    return y;
}

/* The bits of its parts, with every instruction set, on 1 and 3 threads, of an image alone and among others. */
TEST(separable_is_its_parts)
{
    struct lafs_err e;
    struct lafs_pool *pool;
    struct lafs_backend one, three, ref;
    REQUIRE_OK(lafs_pool_new(&pool, 3, &e), &e);
    REQUIRE_OK(lafs_backend_open(&one, "cpu", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&three, "cpu", pool, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&ref, "ref", NULL, NULL, &e), &e);
    for (int i = 0; i < PAIRS; i++) {
        struct geometry c = pairs[i], first = c;
        float *truth = run_pair(&ref, &c, 0);
        first.g.n = 1;
        for (int s = 0; s < 3; s++) {
            if (!level_use(s)) continue;
            float *want = run_pair(&one, &c, 1), *got[] = {run_pair(&one, &c, 0), run_pair(&three, &c, 0),
                                                           run_pair(&three, &first, 0)};
            char what[64];
            snprintf(what, sizeof what, "pair %d, %s", i, level_name[s]);
            check_close(what, want, truth, sizes(&c.g, 1).y);
            for (int k = 0; k < 3; k++) {
                if (memcmp(got[k], want, (size_t)sizes(k < 2 ? &c.g : &first.g, 1).y * sizeof *want))
                    FAIL_("%s, run %d: other bits than conv and depthwise", what, k);
                drop(got[k]);
            }
            drop(want);
        }
        drop(truth);
    }
    level_free();
    lafs_backend_close(&ref);
    lafs_backend_close(&three);
    lafs_backend_close(&one);
    lafs_pool_free(pool);
}

static double dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * b[i];
    return s;
}

/* Reference only: d <dy, y> by finite differences. The ops are linear in x and w, so a step of 1 is exact. */
static void differences(const struct geometry *list, int n, int depthwise)
{
    struct lafs_backend ref;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&ref, "ref", NULL, NULL, &e), &e);
    struct lafs_rng rng;
    lafs_rng_init(&rng, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < n; i++) {
        struct geometry c = list[i];
        c.act = LAFS_ACT_NONE;
        struct sizes s = sizes(&c.g, depthwise);
        float *x = guarded(s.x, 1, 0), *w = guarded(s.w, 2, 0), *bias = guarded(c.g.out, 3, 0), *dy = guarded(s.y, 4, 0);
        float *y = guarded(s.y, 0, 0), *dx = guarded(s.x, 0, 0), *dw = guarded(s.w, 0, 0);
        backward_x(&ref, &c, depthwise, dy, w, dx);
        backward_w(&ref, &c, depthwise, x, dy, dw);
        for (int k = 0; k < 40; k++) {
            int of_x = k % 2;
            float *v = of_x ? x : w;
            int64_t at = (int64_t)lafs_rng_below(&rng, (uint64_t)(of_x ? s.x : s.w));
            float keep = v[at];
            double side[2];
            for (int up = 0; up < 2; up++) {
                v[at] = keep + (up ? 0.5f : -0.5f);
                forward(&ref, &c, depthwise, x, w, bias, y);
                side[up] = dot(dy, y, s.y);
            }
            v[at] = keep;
            double want = side[1] - side[0];
            CHECK_NEAR((of_x ? dx : dw)[at], want, 2e-5 * (1 + fabs(want)));
        }
        drop(x), drop(w), drop(bias), drop(dy), drop(y), drop(dx), drop(dw);
    }
    lafs_backend_close(&ref);
}
TEST(dense_differences) { differences(dense, DENSE, 0); }
TEST(depthwise_differences) { differences(depth, DEPTH, 1); }

TEST(pooling_and_upsampling)
{
    struct lafs_backend ref, cpu;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&ref, "ref", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &e), &e);
    static const int64_t shape[][4] = {{1, 2, 2, 1}, {2, 6, 10, 16}, {3, 4, 2, 23}, {1, 8, 6, 64}};
    for (int i = 0; i < 4; i++) {
        const int64_t *s = shape[i], n = s[0] * s[1] * s[2] * s[3];
        float *x = guarded(n, 1, 0), *want = guarded(n / 4, 0, 9), *sum = guarded(4 * n, 2, 0);
        ref.ops->maxpool2(ref.dev, s[0], s[1], s[2], s[3], x, want);
        ref.ops->upsample2_add(ref.dev, s[0], s[1], s[2], s[3], x, sum);
        check_guards("pool", want, n / 4);
        check_guards("upsample", sum, 4 * n);
        for (int k = 0; k < 3; k++) {
            if (!level_use(k)) continue;
            float *got = guarded(n / 4, 0, 9), *up = guarded(4 * n, 2, 0);
            cpu.ops->maxpool2(cpu.dev, s[0], s[1], s[2], s[3], x, got);
            cpu.ops->upsample2_add(cpu.dev, s[0], s[1], s[2], s[3], x, up);
            CHECK(!memcmp(got, want, (size_t)n / 4 * sizeof *got));
            CHECK(!memcmp(up, sum, (size_t)n * 4 * sizeof *got));
            check_guards("pool", got, n / 4);
            check_guards("upsample", up, 4 * n);
            drop(got), drop(up);
        }
        drop(x), drop(want), drop(sum);
    }
    level_free();
    /* The largest of four and the nearest of one, by hand. */
    float x[16] = {1, 5, 2, 0, 3, 4, 8, -1, -2, -3, 9, 9, -4, -5, 9, 10}, y[4], z[16] = {0};
    ref.ops->maxpool2(ref.dev, 1, 4, 4, 1, x, y);
    CHECK(y[0] == 5 && y[1] == 8 && y[2] == -2 && y[3] == 10);
    z[6] = 1;
    ref.ops->upsample2_add(ref.dev, 1, 2, 2, 1, y, z);
    CHECK(z[0] == 5 && z[1] == 5 && z[4] == 5 && z[5] == 5 && z[6] == 9 && z[15] == 10);
    lafs_backend_close(&cpu);
    lafs_backend_close(&ref);
}

TEST_MAIN(dense_like_reference, depthwise_like_reference, dense_same_bits, depthwise_same_bits,
          separable_is_its_parts, dense_differences, depthwise_differences, pooling_and_upsampling)
