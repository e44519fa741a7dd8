/* Is one model better than another on the same pairs? A paired bootstrap over people, and over the runs of a side. */
#ifndef LAFS_EVAL_COMPARE_H
#define LAFS_EVAL_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "eval/metrics.h"

/* What one model said of pairs, as lafs-verify --json --scores writes it. */
struct lafs_answers {
    int64_t n;
    float *score;     /* (n) in the order of the pairs; NaN: a photo was missing; owned */
    double threshold; /* same if score >= threshold */
    char pairs[65];   /* SHA-256 of the file of pairs, in hex */
};
/* LAFS_FAILED: no JSON object, or it lacks `scores` (numbers from -1 to 1, or null), `threshold` (a number) or
 * `pairs_sha256` (64 hex digits), or they are something else. */
lafs_status lafs_answers_parse(struct lafs_answers *a, const char *text, size_t size, struct lafs_err *err);
lafs_status lafs_answers_read(struct lafs_answers *a, const char *path, struct lafs_err *err);
void lafs_answers_release(struct lafs_answers *a);

struct lafs_difference {
    double of, against;      /* means over the models of each side */
    struct lafs_interval by; /* of - against */
    double better;           /* share of replicates in which that is above 0; 0 counts half. NaN without replicates */
};
struct lafs_comparison {
    struct lafs_difference accuracy, auc;
};
/* The models of[0..ofs) against against[0..againsts), runs of one recipe each; their scores hold no NaN (wrong at every
 * threshold: -INFINITY for a genuine pair, INFINITY for another). p->score is not used. A replicate draws people as
 * lafs_bootstrap_accuracy does, and as many runs as there are of each side, with replacement: all models are judged on
 * the same people, so that what is hard for all cancels out. Replicate r depends on the seed and r alone.
 * replicates 0: no intervals. */
lafs_status lafs_compare(const struct lafs_paired *p, const struct lafs_answers *of, int ofs,
                         const struct lafs_answers *against, int againsts, int64_t replicates, uint64_t seed,
                         struct lafs_pool *pool, struct lafs_comparison *out, struct lafs_err *err);

#endif
