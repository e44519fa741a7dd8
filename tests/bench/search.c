/* A 1:N search: 65,536 entries of 768 values for 512 probes, ten matches each. The unit is a query of 10 million entries,
 * as the bar has it; the gallery is in memory, normalised. Beside it the parts: the integer scan, and the fp32 product
 * that it stands in for. */
#include "tests/bench/bench.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"
#include "eval/search.h"

enum { PROBES = 512, ENTRIES = 65536, PART = 8192, DIM = 768 };
static const double queries = (double)PROBES * ENTRIES / 1e7;
static float *q, *g, *y;
static int8_t *q8, *g8;
static float *c, *a, *x8, *y8;
static uint64_t *hits;
static struct lafs_backend backend;
static struct lafs_err err;
static int64_t looked;

static void die_unless(lafs_status st)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "%s\n", err.msg);
    exit(1);
}

static struct lafs_search *begun;

/* Lists are full, as they are for all but the first of 10 million entries. */
static void whole_search(void)
{
    const int64_t before = lafs_search_looked_at(begun);
    die_unless(lafs_search_add(begun, &(struct lafs_search_block){g, ENTRIES, NULL}, &err));
    looked = lafs_search_looked_at(begun) - before;
}

static void scan(void)
{
    backend.ops->scan(backend.dev, PROBES, PART, DIM, q8, c, a, g8, x8, y8, hits);
}

static void product(void)
{
    static const int64_t off[] = {0, PROBES};
    struct lafs_seqs s = {.n = 1, .off = off, .max_len = PROBES};
    backend.ops->linear(backend.dev, LAFS_PRECISION_FP32, &s, DIM, PART, q, g, NULL, LAFS_ACT_NONE, NULL, NULL, y);
}

static float *floats(size_t n, float value)
{
    float *p;
    die_unless(lafs_alloc(&p, n, sizeof *p, &err));
    for (size_t i = 0; i < n; i++) p[i] = value;
    return p;
}

int main(void)
{
    struct lafs_rng r;
    struct lafs_pool *pool = bench_begin("search");
    bench_open(&backend, pool);
    q = floats((size_t)PROBES * DIM, 0);
    g = floats((size_t)ENTRIES * DIM, 0);
    y = floats((size_t)PROBES * PART, 0);
    c = floats(PROBES, 1e9f), a = floats(PROBES, 0), x8 = floats(PART, 1), y8 = floats(PART, 0);
    die_unless(lafs_alloc(&q8, PROBES, DIM, &err));
    die_unless(lafs_alloc(&g8, PART, DIM, &err));
    die_unless(lafs_alloc(&hits, (size_t)PROBES * PART / 64, sizeof *hits, &err));
    lafs_rng_init(&r, 1);
    for (size_t i = 0; i < (size_t)PROBES * DIM; i++) q[i] = (float)lafs_rng_normal(&r);
    for (size_t i = 0; i < (size_t)ENTRIES * DIM; i++) g[i] = (float)lafs_rng_normal(&r);
    for (size_t i = 0; i < (size_t)PROBES * DIM; i++) q8[i] = (int8_t)(lafs_rng_u32(&r) % 255 - 127);
    for (size_t i = 0; i < (size_t)PART * DIM; i++) g8[i] = (int8_t)(lafs_rng_u32(&r) % 127 - 63);
    die_unless(lafs_normalise_rows(q, PROBES, DIM, NULL, NULL, &err));
    die_unless(lafs_normalise_rows(g, ENTRIES, DIM, NULL, NULL, &err));
    const struct lafs_search_options opt = {.k = 10, .min_score = -1};
    die_unless(lafs_search_new(&begun, &backend, bench.pool, &opt, q, PROBES, DIM, &err));
    whole_search();
    const double flops = 2.0 * PROBES * PART * DIM, part = queries * PART / ENTRIES;
    bench_row(&(struct bench_row){.name = "search, exact", .unit = "10M query", .units = queries,
                                  .flops = flops * ENTRIES / PART, .bar = 1000 / 150.0, .cores = 2, .run = whole_search});
    bench_row(&(struct bench_row){.name = "its integer scan", .unit = "10M query", .units = part, .flops = flops,
                                  .run = scan});
    bench_row(&(struct bench_row){.name = "the product in fp32", .unit = "10M query", .units = part, .flops = flops,
                                  .run = product});
    printf("cosines computed in full: %.3f %%\n", 100.0 * (double)looked / ((double)PROBES * ENTRIES));
    lafs_search_free(begun);
    lafs_backend_close(&backend);
    return bench_end();
}
