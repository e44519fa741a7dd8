/* Units of a network in training: two of them, one behind the other, whose second sums the slopes that the first one's
 * backward pass takes. The CPU backend at every level against the reference; the same bits on one, two and three
 * threads, and for AVX2 and AVX-512; evaluated, an image's bits whatever its neighbours. */
#include "tests/ops/ops.h"

#include "tests/ops/levels.h"

/* The geometry of one unit: k > 0 depthwise, 0: 1x1 to `out` channels. act: of the map that it takes. */
struct shape {
    int k, stride;
    int64_t out;
    enum lafs_act act;
};
static const struct plan {
    int64_t n, h, w, c;
    int stored, residual;  /* the first map stands for itself; something is added to dx */
    struct shape unit[2];
    enum lafs_act act;     /* of the last map */
} plans[] = {
    {1, 1, 1, 1, 1, 0, {{0, 1, 1, 0}, {3, 1, 0, LAFS_ACT_RELU}}, LAFS_ACT_NONE},
    {2, 5, 7, 3, 1, 1, {{0, 1, 13, 0}, {5, 2, 0, LAFS_ACT_HSWISH}}, LAFS_ACT_RELU},
    {3, 7, 7, 17, 0, 1, {{0, 1, 21, LAFS_ACT_GELU}, {0, 1, 6, LAFS_ACT_SIGMOID}}, LAFS_ACT_NONE},
    {2, 41, 37, 24, 0, 0, {{3, 1, 0, LAFS_ACT_RELU}, {0, 1, 11, LAFS_ACT_HSWISH}}, LAFS_ACT_NONE},   /* strips */
    {2, 56, 56, 40, 0, 0, {{5, 2, 0, LAFS_ACT_HSWISH}, {0, 1, 9, LAFS_ACT_NONE}}, LAFS_ACT_HSIGMOID},
    {1, 33, 90, 30, 1, 0, {{7, 1, 0, 0}, {4, 1, 0, LAFS_ACT_HSIGMOID}}, LAFS_ACT_RELU},             /* an even kernel */
    {1, 20, 20, 4, 0, 0, {{1, 1, 0, LAFS_ACT_RELU}, {3, 4, 0, LAFS_ACT_RELU}}, LAFS_ACT_HSWISH},     /* rows left out */
    {1, 9, 40, 3, 0, 0, {{17, 1, 0, LAFS_ACT_RELU}, {0, 1, 5, LAFS_ACT_NONE}}, LAFS_ACT_RELU},       /* a large one */
    {2, 19, 23, 6, 0, 0, {{3, 1, 0, LAFS_ACT_RELU}, {0, 1, 90, LAFS_ACT_HSWISH}}, LAFS_ACT_RELU},    /* widens */
    {5, 14, 14, 40, 1, 1, {{0, 1, 200, 0}, {3, 1, 0, LAFS_ACT_HSWISH}}, LAFS_ACT_HSWISH},
    {9, 4, 4, 960, 0, 0, {{0, 1, 160, LAFS_ACT_HSWISH}, {0, 1, 83, LAFS_ACT_NONE}}, LAFS_ACT_NONE},
};
enum { PLANS = sizeof plans / sizeof *plans };

/* Everything that is written; map 0 is the first unit's input. */
enum { CONV1, MEAN1, RSTD1, RUN_MEAN1, RUN_VAR1, CONV2, MEAN2, RSTD2, RUN_MEAN2, RUN_VAR2, OUT, DX1, DX0, OF1, OF0, DW1,
       DGAMMA1, DBETA1, DW2, DGAMMA2, DBETA2, WRITTEN };
static const char *const written[] = {
    "conv 1", "mean 1", "rstd 1", "running mean 1", "running var 1", "conv 2", "mean 2", "rstd 2", "running mean 2",
    "running var 2", "out", "dx 1", "dx 0", "slopes 1", "slopes 0", "dw 1", "dgamma 1", "dbeta 1", "dw 2", "dgamma 2",
    "dbeta 2"};

struct chain {
    const struct plan *p;
    int train;
    struct lafs_bn_unit u[2];
    int64_t rows[3], c[3], taps[2];          /* of maps, of weights */
    float *x0, *gamma[3], *beta[3], *mean[3], *var[3], *w[2], *dy, *add;
};

static struct lafs_conv geometry(int64_t n, int64_t h, int64_t w, int64_t c, const struct shape *s)
{
    return (struct lafs_conv){n, h, w, c, s->k ? s->k : 1, s->stride, s->k ? c : s->out};
}

static void make(struct chain *c, const struct plan *p, int train)
{
    *c = (struct chain){.p = p, .train = train};
    int64_t h = p->h, w = p->w;
    c->c[0] = p->c;
    c->rows[0] = p->n * h * w;
    for (int i = 0; i < 2; i++) {
        const struct shape *s = &p->unit[i];
        struct lafs_conv g = geometry(p->n, h, w, c->c[i], s);
        h = lafs_conv_side(h, g.k, g.stride);
        w = lafs_conv_side(w, g.k, g.stride);
        c->rows[i + 1] = p->n * h * w;
        c->c[i + 1] = g.out;
        c->taps[i] = s->k ? g.c * g.k * g.k : g.c * g.out;
        double in = s->k ? g.k * g.k : (double)g.c;
        c->w[i] = ops_random(i ? "w2" : "w1", c->taps[i], -2 / sqrt(in), 2 / sqrt(in));
        c->u[i] = (struct lafs_bn_unit){.g = g, .depthwise = s->k > 0, .w = c->w[i], .train = train};
    }
    for (int i = 0; i < 3; i++) {
        static const char *const name[] = {"0", "1", "2"};
        c->gamma[i] = ops_random(name[i], c->c[i], 0.5, 1.5);
        c->beta[i] = ops_random(name[i], c->c[i], -1, 1);
        c->mean[i] = ops_random(name[i], c->c[i], -0.5, 0.5);
        c->var[i] = ops_random(name[i], c->c[i], 0.5, 2); /* of map 0: its rstd */
    }
    c->x0 = ops_random("x", c->rows[0] * c->c[0], -2, 3);
    c->dy = ops_random("dy", c->rows[2] * c->c[2], -1, 1);
    c->add = ops_random("add", c->rows[0] * c->c[0], -1, 1);
}

static void drop(struct chain *c)
{
    for (int i = 0; i < 3; i++) ops_free(c->gamma[i]), ops_free(c->beta[i]), ops_free(c->mean[i]), ops_free(c->var[i]);
    ops_free(c->x0), ops_free(c->w[0]), ops_free(c->w[1]), ops_free(c->dy), ops_free(c->add);
}

static int64_t size_of(const struct chain *c, int k)
{
    switch (k) {
    case CONV1: case DX1: return c->rows[1] * c->c[1];
    case CONV2: case OUT: return c->rows[2] * c->c[2];
    case DX0: return c->rows[0] * c->c[0];
    case OF0: return 2 * c->c[0];
    case OF1: return 2 * c->c[1];
    case DW1: return c->taps[0];
    case DW2: return c->taps[1];
    case MEAN2: case RSTD2: case RUN_MEAN2: case RUN_VAR2: case DGAMMA2: case DBETA2: return c->c[2];
    }
    return c->c[1];
}

/* Points the units' maps at what is written. */
static void place(struct chain *c, float **out)
{
    const struct plan *p = c->p;
    struct lafs_bn_unit *a = &c->u[0], *b = &c->u[1];
    a->x = (struct lafs_bn_map){c->x0, c->gamma[0], c->beta[0], p->stored ? NULL : c->mean[0], c->var[0],
                                p->unit[0].act};
    a->y = b->x = (struct lafs_bn_map){out[CONV1], c->gamma[1], c->beta[1], out[MEAN1], out[RSTD1], p->unit[1].act};
    b->y = (struct lafs_bn_map){out[CONV2], c->gamma[2], c->beta[2], out[MEAN2], out[RSTD2], p->act};
}

static void forward(struct chain *c, const struct lafs_backend *b, float **out)
{
    for (int k = 0; k < WRITTEN; k++) {
        out[k] = ops_out(size_of(c, k));
        for (int64_t i = 0; k >= DW1 && i < size_of(c, k); i++) out[k][i] = 1; /* what is added to */
    }
    memcpy(out[RUN_MEAN1], c->mean[1], (size_t)c->c[1] * sizeof(float));
    memcpy(out[RUN_VAR1], c->var[1], (size_t)c->c[1] * sizeof(float));
    memcpy(out[RUN_MEAN2], c->mean[2], (size_t)c->c[2] * sizeof(float));
    memcpy(out[RUN_VAR2], c->var[2], (size_t)c->c[2] * sizeof(float));
    place(c, out);
    b->ops->unit(b->dev, &c->u[0], 0.1f, out[RUN_MEAN1], out[RUN_VAR1]);
    b->ops->unit(b->dev, &c->u[1], 0.1f, out[RUN_MEAN2], out[RUN_VAR2]);
}

static void run(struct chain *c, const struct lafs_backend *b, float **out)
{
    forward(c, b, out);
    b->ops->unit_out(b->dev, c->rows[2], c->c[2], &c->u[1].y, c->p->residual ? c->dy : NULL, out[OUT]);
    b->ops->unit_bwd(b->dev, &c->u[1], c->dy, NULL, NULL, out[DX1], out[OF1], out[DW2], out[DGAMMA2], out[DBETA2]);
    b->ops->unit_bwd(b->dev, &c->u[0], out[DX1], out[OF1], c->p->residual ? c->add : NULL, out[DX0], out[OF0], out[DW1],
                     out[DGAMMA1], out[DBETA1]);
}

static void drop_written(float **out)
{
    for (int k = 0; k < WRITTEN; k++) ops_free(out[k]);
}

/* A batch of one value has no gradient but rounding. */
static int vanishes(const struct chain *c, int k)
{
    return c->train && c->rows[1] == 1 && (k == DX1 || k == DX0 || k == OF1 || k == OF0 || k == DW1 || k == DGAMMA1 ||
                                           k == DBETA1 || k == DW2);
}

static void compare(const struct chain *c, const char *level, float **got, float **want)
{
    for (int k = 0; k < WRITTEN; k++) {
        char what[80];
        snprintf(what, sizeof what, "plan %d%s, %s: %s", (int)(c->p - plans), c->train ? ", training" : "", level,
                 written[k]);
        if (!vanishes(c, k)) ops_close_to(what, got[k], want[k], size_of(c, k), 3e-5);
    }
}

static void same(const char *what, const struct chain *c, float **got, float **want)
{
    for (int k = 0; k < WRITTEN; k++) {
        char text[80];
        snprintf(text, sizeof text, "plan %d, %s: %s", (int)(c->p - plans), what, written[k]);
        ops_same(text, got[k], want[k], size_of(c, k));
    }
}

/* One level: on all numbers of threads; before: what the level below has given, if it must be the same. */
static void run_level(struct chain *c, const char *level, const struct lafs_backend *cpu[3], float **want,
                      float **before)
{
    float *got[WRITTEN];
    run(c, cpu[0], got);
    compare(c, level, got, want);
    for (int i = 1; i < 3; i++) {
        float *again[WRITTEN];
        run(c, cpu[i], again);
        same(i == 1 ? "two threads" : "three threads", c, again, got);
        drop_written(again);
    }
    if (before[0]) same("avx512 as avx2", c, got, before);
    if (before[0]) drop_written(before);
    memcpy(before, got, sizeof got);
}

TEST(like_the_reference)
{
    struct ops_set o;
    struct lafs_pool *pool;
    struct lafs_backend cpu2;
    struct lafs_err err;
    levels_missing("like_the_reference", LAFS_ISA_AVX512);
    ops_open(&o);
    REQUIRE_OK(lafs_pool_new(&pool, 2, &err), &err);
    REQUIRE_OK(lafs_backend_open(&cpu2, "cpu", pool, NULL, &err), &err);
    const struct lafs_backend *cpu[3] = {&o.cpu, &cpu2, &o.cpu3};
    for (int i = 0; i < 2 * PLANS; i++) {
        struct chain c;
        float *want[WRITTEN], *before[WRITTEN] = {NULL};
        make(&c, &plans[i / 2], i % 2);
        run(&c, &o.ref, want);
        for (int level = 0; level <= LAFS_ISA_AVX512; level++) {
            if (!level_use(level)) continue;
            if (level == LAFS_ISA_AVX2 && before[0]) {
                drop_written(before);
                before[0] = NULL;
            }
            run_level(&c, level_name[level], cpu, want, before);
        }
        level_free();
        if (before[0]) drop_written(before);
        drop_written(want);
        drop(&c);
    }
    lafs_backend_close(&cpu2);
    lafs_pool_free(pool);
    ops_close(&o);
}

/* Evaluated, the last image alone gives what it gave among others. */
TEST(neighbours)
{
    struct ops_set o;
    ops_open(&o);
    for (int i = 0; i < PLANS; i++) {
        struct chain c, one;
        struct plan p = plans[i];
        float *all[WRITTEN], *alone[WRITTEN];
        make(&c, &plans[i], 0);
        p.n = 1;
        make(&one, &p, 0);
        int64_t skip = c.rows[0] * c.c[0] - one.rows[0] * one.c[0];
        memcpy(one.x0, c.x0 + skip, (size_t)(one.rows[0] * one.c[0]) * sizeof(float));
        forward(&c, &o.cpu, all);
        forward(&one, &o.cpu3, alone);
        for (int k = CONV1; k <= CONV2; k += CONV2 - CONV1)
            ops_same(written[k], alone[k], all[k] + size_of(&c, k) - size_of(&one, k), size_of(&one, k));
        drop_written(all), drop_written(alone);
        drop(&c), drop(&one);
    }
    ops_close(&o);
}

TEST(no_images)
{
    struct ops_set o;
    struct chain c;
    struct plan p = plans[3];
    float *out[WRITTEN];
    ops_open(&o);
    p.n = 0;
    make(&c, &p, 0);
    run(&c, &o.cpu, out); /* no sums, so nothing is added */
    for (int64_t k = 0; k < c.c[2]; k++) CHECK(out[DGAMMA2][k] == 1 && out[DBETA2][k] == 1);
    drop_written(out);
    drop(&c);
    ops_close(&o);
}

TEST_MAIN(like_the_reference, neighbours, no_images)
