/* A 1:N search: BENCH_ENTRIES (65,536) of 768 values for BENCH_PROBES (512; on a GPU 32,768), ten matches each. The unit is a
 * query of 10 million entries, as the bar has it; the gallery is in memory, normalised. Beside it the parts: the integer
 * scan, and the product that it stands in for. */
#include "tests/bench/bench.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"
#include "eval/search.h"

enum { DIM = 768, TOP = 63 };
static int64_t probes, entries, part; /* part: entries of a scan */
static float *q, *g; /* here */
static int8_t *q8, *g8; /* the others: on the device */
static float *c, *a, *x8, *y8, *x, *w, *y;
static uint64_t *hits;
static struct lafs_backend backend;
static struct lafs_err err;
static int64_t looked;

static void finish(void) { bench_need(backend.ops->sync(backend.dev, &err), &err); }

static struct lafs_search *begun;

/* Lists are full, as they are for all but the first of 10 million entries. */
static void whole_search(void)
{
    const int64_t before = lafs_search_looked_at(begun);
    bench_need(lafs_search_add(begun, &(struct lafs_search_block){g, entries, NULL, NULL}, &err), &err);
    looked = lafs_search_looked_at(begun) - before;
}

static void scan(void)
{
    backend.ops->scan(backend.dev, probes, part, DIM, q8, c, a, g8, x8, y8, hits);
    finish();
}

static void product(void)
{
    const int64_t off[] = {0, probes};
    struct lafs_seqs s = {.n = 1, .off = off, .max_len = probes};
    backend.ops->linear(backend.dev, backend.precision, &s, DIM, part, x, w, NULL, LAFS_ACT_NONE, NULL, NULL, y);
    finish();
}

static void *device(const void *host, int64_t count, size_t item)
{
    void *p;
    bench_need(backend.ops->alloc(backend.dev, &p, (size_t)count * item, &err), &err);
    if (host) backend.ops->upload(backend.dev, p, host, (size_t)count * item);
    return p;
}

static float *all(int64_t n, float value)
{
    float *host;
    bench_need(lafs_alloc(&host, (size_t)n, sizeof *host, &err), &err);
    for (int64_t i = 0; i < n; i++) host[i] = value;
    float *p = device(host, n, sizeof *host);
    lafs_free(host);
    return p;
}

static int8_t *bytes(struct lafs_rng *r, int64_t n)
{
    int8_t *host;
    bench_need(lafs_alloc(&host, (size_t)n, 1, &err), &err);
    for (int64_t i = 0; i < n; i++) host[i] = (int8_t)((int)(lafs_rng_u32(r) % (2 * TOP + 1)) - TOP);
    int8_t *p = device(host, n, 1);
    lafs_free(host);
    return p;
}

static float *rows(struct lafs_rng *r, int64_t n)
{
    float *p;
    bench_need(lafs_alloc(&p, (size_t)n * DIM, sizeof *p, &err), &err);
    for (int64_t i = 0; i < n * DIM; i++) p[i] = (float)lafs_rng_normal(r);
    bench_need(lafs_normalise_rows(p, n, DIM, NULL, NULL, &err), &err);
    return p;
}

int main(void)
{
    struct lafs_rng r;
    struct lafs_pool *pool = bench_begin("search");
    bench_open(&backend, pool);
    probes = bench_from_env("BENCH_PROBES", bench.gpu ? 32768 : 512);
    entries = bench_from_env("BENCH_ENTRIES", 65536);
    part = entries < 8192 ? entries : 8192;
    lafs_rng_init(&r, 1);
    q = rows(&r, probes);
    g = rows(&r, entries);
    q8 = bytes(&r, probes * DIM), g8 = bytes(&r, part * DIM);
    c = all(probes, 1e9f), a = all(probes, 0), x8 = all(part, 1), y8 = all(part, 0);
    x = device(q, probes * DIM, sizeof *q), w = device(g, part * DIM, sizeof *g);
    y = device(NULL, probes * part, sizeof *y);
    hits = device(NULL, probes * ((part + 63) / 64), sizeof *hits);
    finish();
    /* On a GPU what is found is ranked by the host, and the first 65,536 find much: the tenth of 10 million is 0.18. */
    const struct lafs_search_options opt = {.k = 10, .min_score = bench.gpu ? 0.18f : -1};
    bench_need(lafs_search_new(&begun, &backend, bench.pool, &opt, q, probes, DIM, &err), &err);
    whole_search();
    const double queries = (double)probes * (double)entries / 1e7, scanned = (double)probes * (double)part / 1e7;
    const double flops = 2.0 * (double)probes * (double)part * DIM;
    bench_row(&(struct bench_row){.name = "search, exact", .unit = "10M query", .units = queries,
                                  .flops = flops * (double)entries / (double)part, .bar = 1000 / 150.0, .cores = 2,
                                  .bar_gpu = 1000 / 30000.0, .run = whole_search});
    bench_row(&(struct bench_row){.name = "its integer scan", .unit = "10M query", .units = scanned, .flops = flops,
                                  .run = scan});
    bench_row(&(struct bench_row){.name = "the product", .unit = "10M query", .units = scanned, .flops = flops,
                                  .run = product});
    printf("cosines computed in full: %.4f %%\n", 100.0 * (double)looked / ((double)probes * (double)entries));
    lafs_search_free(begun);
    lafs_backend_close(&backend);
    return bench_end();
}
