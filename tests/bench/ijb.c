/* Scores and ROC of a protocol as large as IJB-C's 1:1: 23,124 templates of 768 values, 15,658,489 pairs, 19,557 of them
 * genuine, one thread. Prints seconds; it is no test. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"

enum { TEMPLATES = 23124, GALLERY = 3531, DIM = 768, PAIRS = 15658489, GENUINE = 19557 };

int main(void)
{
    struct lafs_err err = {0};
    float *e = NULL, *score = NULL;
    int32_t *a = NULL, *b = NULL;
    uint8_t *same = NULL;
    struct lafs_rng r;
    if (lafs_alloc(&e, (size_t)TEMPLATES * DIM, sizeof *e, &err) || lafs_alloc(&score, PAIRS, sizeof *score, &err) ||
        lafs_alloc(&a, PAIRS, sizeof *a, &err) || lafs_alloc(&b, PAIRS, sizeof *b, &err) ||
        lafs_alloc(&same, PAIRS, 1, &err))
        return 1;
    lafs_rng_init(&r, 1);
    for (size_t i = 0; i < (size_t)TEMPLATES * DIM; i++) e[i] = (float)lafs_rng_u32(&r) * 0x1p-31f - 1;
    for (int64_t i = 0; i < PAIRS; i++) { /* gallery templates against probes, in random order: the worst one */
        a[i] = (int32_t)(lafs_rng_u32(&r) % GALLERY);
        b[i] = (int32_t)(GALLERY + lafs_rng_u32(&r) % (TEMPLATES - GALLERY));
        same[i] = i % (PAIRS / GENUINE) == 0;
    }
    if (lafs_normalise_rows(e, TEMPLATES, DIM, NULL, NULL, &err)) return 1;
    for (int round = 0; round < 3; round++) {
        struct lafs_scores s;
        struct lafs_roc roc;
        double t0 = lafs_clock_now();
        if (lafs_pair_scores(e, TEMPLATES, DIM, a, b, PAIRS, score, NULL, &err)) return 1;
        double t1 = lafs_clock_now();
        if (lafs_scores_sort(&s, score, same, PAIRS, &err) || lafs_roc_build(&roc, &s, &err)) return 1;
        double t2 = lafs_clock_now();
        printf("ijb: %.2f s scores, %.2f s ROC, %.2f s in all (AUC %.4f, %lld corners)\n", t1 - t0, t2 - t1, t2 - t0,
               lafs_roc_auc(&roc), (long long)roc.n);
        lafs_roc_release(&roc);
        lafs_scores_release(&s);
    }
    return 0;
}
