/* Scores and ROC of a protocol as large as IJB-C's 1:1: 23,124 templates of 768 values, 15,658,489 pairs, 19,557 of them
 * genuine, one thread. bench.h says how; no test. */
#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"
#include "tests/bench/bench.h"

enum { TEMPLATES = 23124, GALLERY = 3531, DIM = 768, PAIRS = 15658489, GENUINE = 19557 };

static struct lafs_err err;
static float *e, *score;
static int32_t *a, *b;
static uint8_t *same;

static void need(lafs_status st)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "%s\n", err.msg);
    exit(1);
}

static void scores(void) { need(lafs_pair_scores(e, TEMPLATES, DIM, a, b, PAIRS, score, NULL, &err)); }

static void roc(void)
{
    struct lafs_scores s;
    struct lafs_roc r;
    need(lafs_scores_sort(&s, score, same, PAIRS, &err));
    need(lafs_roc_build(&r, &s, &err));
    lafs_roc_release(&r);
    lafs_scores_release(&s);
}

static void both(void)
{
    scores();
    roc();
}

int main(void)
{
    struct lafs_rng r;
    bench_begin("ijb");
    need(lafs_alloc(&e, (size_t)TEMPLATES * DIM, sizeof *e, &err));
    need(lafs_alloc(&score, PAIRS, sizeof *score, &err));
    need(lafs_alloc(&a, PAIRS, sizeof *a, &err));
    need(lafs_alloc(&b, PAIRS, sizeof *b, &err));
    need(lafs_alloc(&same, PAIRS, 1, &err));
    lafs_rng_init(&r, 1);
    for (size_t i = 0; i < (size_t)TEMPLATES * DIM; i++) e[i] = (float)lafs_rng_u32(&r) * 0x1p-31f - 1;
    for (int64_t i = 0; i < PAIRS; i++) { /* gallery templates against probes, in random order: the worst one */
        a[i] = (int32_t)(lafs_rng_u32(&r) % GALLERY);
        b[i] = (int32_t)(GALLERY + lafs_rng_u32(&r) % (TEMPLATES - GALLERY));
        same[i] = i % (PAIRS / GENUINE) == 0;
    }
    need(lafs_normalise_rows(e, TEMPLATES, DIM, NULL, NULL, &err));
    double flops = 2.0 * PAIRS * DIM;
    bench_row(&(struct bench_row){.name = "IJB-C scores", .unit = "set", .flops = flops, .threads = 1, .run = scores});
    bench_row(&(struct bench_row){.name = "IJB-C ROC", .unit = "set", .threads = 1, .run = roc});
    bench_row(&(struct bench_row){.name = "IJB-C scores and ROC", .unit = "set", .flops = flops, .bar = 3000,
                                  .threads = 1, .run = both});
    return bench_end();
}
