/* Chains of inverted bottlenecks: the CPU kernels of every instruction set that this machine has against the reference;
 * the same bits whatever the threads, the neighbours in the batch and the set; nothing written outside. */
#include "tests/ops/ops.h"

#include "tests/ops/levels.h"

enum { MOST = 3, IMAGES = 9, CROWD = 16 };

/* A chain, its weights and what they are packed into. */
struct chain {
    int count;
    struct lafs_bottleneck g[MOST];
    float *weight[MOST][8], *packed;
};

static const struct plan {
    int count;
    struct lafs_bottleneck g[MOST]; /* h, w, c, mid, out, k, stride, se, act, residual */
} plans[] = {
    {1, {{1, 1, 1, 1, 1, 3, 1, 0, LAFS_ACT_RELU}}},
    {1, {{5, 7, 3, 10, 5, 3, 1, 0, LAFS_ACT_HSWISH}}},
    {1, {{40, 44, 16, 64, 24, 3, 2, 0, LAFS_ACT_RELU}}},                                  /* strips */
    {1, {{56, 56, 16, 16, 16, 3, 1, 0, LAFS_ACT_RELU, 1}}},                               /* strips, residual */
    {1, {{30, 70, 9, 50, 11, 5, 1, 7, LAFS_ACT_HSWISH}}},                                 /* strips, squeeze */
    {1, {{28, 28, 24, 72, 40, 5, 2, 18, LAFS_ACT_RELU}}},
    {1, {{33, 29, 8, 24, 8, 4, 1, 0, LAFS_ACT_NONE}}},                                    /* an even kernel */
    {1, {{9, 20, 4, 12, 4, 7, 1, 3, LAFS_ACT_RELU}}},                                     /* one without unrolling */
    {1, {{6, 6, 5, 9, 5, 1, 1, 0, LAFS_ACT_GELU, 1}}},
    {1, {{56, 56, 16, 64, 24, 1, 2, 0, LAFS_ACT_RELU}}},                                  /* strips, rows left out */
    {1, {{6, 4, 5, 20, 7, 1, 2, 0, LAFS_ACT_RELU}}},                                      /* and several images at once */
    {1, {{60, 60, 16, 64, 24, 3, 4, 8, LAFS_ACT_HSWISH}}},                                /* with a squeeze */
    {1, {{7, 7, 112, 672, 160, 5, 2, 168, LAFS_ACT_HSWISH}}},                             /* depth in steps */
    {3, {{14, 14, 40, 192, 40, 5, 1, 30, LAFS_ACT_RELU, 1},
         {14, 14, 40, 200, 83, 3, 2, 0, LAFS_ACT_HSWISH},
         {7, 7, 83, 184, 83, 3, 1, 46, LAFS_ACT_HSWISH, 1}}},
};
enum { PLANS = sizeof plans / sizeof *plans };

static int64_t out_size(const struct lafs_bottleneck *g)
{
    return lafs_conv_side(g->h, g->k, g->stride) * lafs_conv_side(g->w, g->k, g->stride) * g->out;
}

static void make(struct chain *c, const struct plan *p)
{
    memset(c, 0, sizeof *c);
    c->count = p->count;
    for (int i = 0; i < p->count; i++) {
        struct lafs_bottleneck *g = &c->g[i];
        *g = p->g[i];
        const int64_t size[8] = {g->mid * g->c, g->mid, g->mid * g->k * g->k, g->mid, g->se * g->mid, g->mid * g->se,
                                 g->out * g->mid, g->out};
        const double in[8] = {(double)g->c, 4, g->k * g->k, 4, (double)g->mid / 9, (double)g->se / 9 + 0.01,
                              (double)g->mid, 4};
        const float **at[8] = {&g->expand, &g->expand_b, &g->depth, &g->depth_b, &g->se1, &g->se2, &g->project,
                               &g->project_b};
        for (int k = 0; k < 8; k++) {
            char name[40];
            snprintf(name, sizeof name, "weight %d of %d", k, i);
            *at[k] = c->weight[i][k] = ops_random(name, size[k], -2 / sqrt(in[k]), 2 / sqrt(in[k]));
        }
    }
}

static void drop(struct chain *c)
{
    for (int i = 0; i < c->count; i++)
        for (int k = 0; k < 8; k++) ops_free(c->weight[i][k]);
}

/* Images first..first+n-1 of x. */
static float *run(const struct lafs_backend *b, struct chain *c, int64_t first, int64_t n, const float *x)
{
    size_t bytes = b->ops->bottlenecks_size(c->count, c->g);
    float *packed = ops_out((int64_t)(bytes / sizeof(float)));
    for (size_t i = 0; i < bytes / sizeof(float); i++) packed[i] = NAN; /* all that is read is packed */
    float *y = ops_out(n * out_size(&c->g[c->count - 1]));
    b->ops->bottlenecks_pack(b->dev, c->count, c->g, packed);
    b->ops->bottlenecks(b->dev, n, c->count, c->g, packed, x + first * c->g[0].h * c->g[0].w * c->g[0].c, y);
    ops_free(packed);
    return y;
}

/* All images at once on one thread and on three, some alone, and fewer than there are threads, which then share them:
 * the same bits. */
static float *run_all(struct ops_set *o, const struct lafs_backend *crowd, struct chain *c, const char *what,
                      const float *x)
{
    const struct some {
        const struct lafs_backend *b;
        int64_t first, n;
    } some[] = {{&o->cpu3, 0, IMAGES}, {&o->cpu, 0, 1}, {&o->cpu, 4, 1}, {&o->cpu, 8, 1}, {&o->cpu3, 5, 1},
                {&o->cpu3, 7, 2}, {crowd, 3, 1}, {crowd, 0, IMAGES}};
    int64_t size = out_size(&c->g[c->count - 1]);
    float *y = run(&o->cpu, c, 0, IMAGES, x);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        float *again = run(some[i].b, c, some[i].first, some[i].n, x);
        ops_same(what, again, y + some[i].first * size, some[i].n * size);
        ops_free(again);
    }
    return y;
}

TEST(like_the_reference)
{
    levels_missing("like_the_reference", LAFS_ISA_AVX512);
    struct ops_set o;
    struct lafs_pool *pool;
    struct lafs_backend crowd;
    struct lafs_err err;
    ops_open(&o);
    REQUIRE_OK(lafs_pool_new(&pool, CROWD, &err), &err);
    REQUIRE_OK(lafs_backend_open(&crowd, "cpu", pool, NULL, &err), &err);
    for (int i = 0; i < PLANS; i++) {
        struct chain c;
        make(&c, &plans[i]);
        int64_t size = out_size(&c.g[c.count - 1]);
        float *x = ops_random("x", IMAGES * c.g[0].h * c.g[0].w * c.g[0].c, -1, 1), *before = NULL;
        float *want = run(&o.ref, &c, 0, IMAGES, x);
        for (int s = 0; s < 3; s++) {
            char what[48];
            if (!level_use(s)) continue;
            snprintf(what, sizeof what, "chain %d, %s", i, level_name[s]);
            float *y = run_all(&o, &crowd, &c, what, x);
            ops_close_to(what, y, want, IMAGES * size, 1e-5);
            if (before && s == 2) ops_same(what, y, before, IMAGES * size); /* as AVX2 */
            if (before) ops_free(before);
            before = y;
        }
        if (before) ops_free(before);
        level_free();
        ops_free(want), ops_free(x);
        drop(&c);
    }
    REQUIRE_OK(crowd.ops->sync(crowd.dev, &err), &err);
    lafs_backend_close(&crowd);
    lafs_pool_free(pool);
    ops_close(&o);
}

TEST(no_images)
{
    struct ops_set o;
    struct chain c;
    ops_open(&o);
    make(&c, &plans[1]);
    float x = 0, *y = run(&o.cpu, &c, 0, 0, &x);
    ops_free(y);
    drop(&c);
    ops_close(&o);
}

TEST_MAIN(like_the_reference, no_images)
