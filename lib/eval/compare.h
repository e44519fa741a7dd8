/* Is one model better than another on the same pairs? A paired bootstrap over people, and over the runs of a side. */
#ifndef LAFS_EVAL_COMPARE_H
#define LAFS_EVAL_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "eval/metrics.h"

enum { LAFS_SEEDS_MAX = 4 };
struct lafs_seed {
    char name[24];
    int64_t value;
};
/* What one model said of pairs, as lafs-verify --json --scores writes it. */
struct lafs_answers {
    int64_t n;
    float *score;     /* (n) in the order of the pairs; NaN: a photo was missing; owned */
    double threshold; /* same if score >= threshold */
    char pairs[65];   /* SHA-256 of the file of pairs, in hex */
    int seeds;        /* of the training, outermost first; 0: not said */
    struct lafs_seed seed[LAFS_SEEDS_MAX];
};
/* LAFS_FAILED: no JSON object, or it lacks `scores` (numbers from -1 to 1, or null), `threshold` (a number) or
 * `pairs_sha256` (64 hex digits), or they are something else; or `seeds` is there, and no object of 1 to LAFS_SEEDS_MAX
 * whole numbers with short names. */
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
    /* Of both sides: how many groups of runs are drawn from (1: none), and what tells them apart, an index into `seed`
     * (-1: nothing is known of the runs but that they are several). */
    int groups[2], level[2];
};
/* The models of[0..ofs) against against[0..againsts), runs of one recipe each; their scores hold no NaN (wrong at every
 * threshold: -INFINITY for a genuine pair, INFINITY for another). p->score is not used. A replicate draws people as
 * lafs_bootstrap_accuracy does: all models are judged on the same people, so that what is hard for all cancels out.
 *
 * It draws runs, too, and adds how far that moves the figures of the people as they are: both at once would count
 * what a run does differently with each person three times. Runs that share a seed share what it made of them and are
 * no independent ones: they are a group, by the outermost seed of which a side has several, and a group is drawn
 * whole. Of G groups G - 1 are drawn, with replacement: so the variance of their mean is estimated without bias, what
 * runs vary by within a group included. (G of them would give (G - 1) / G of it, half for two: Rao and Wu 1988.
 * Drawing within groups again would count what is within twice: Davison and Hinkley 1997, 3.8.) What a run does
 * differently with each person is in both parts, so counted twice: intervals of several runs err to the wide side.
 * All groups weigh the same, and all seeds within one.
 * Replicate r depends on the seed and r alone. replicates 0: no intervals.
 * LAFS_USAGE: numbers that make no sense; runs of a side with other names of seeds, or with the same seeds (without
 * replicates such runs weigh the same each). */
lafs_status lafs_compare(const struct lafs_paired *p, const struct lafs_answers *of, int ofs,
                         const struct lafs_answers *against, int againsts, int64_t replicates, uint64_t seed,
                         struct lafs_pool *pool, struct lafs_comparison *out, struct lafs_err *err);

#endif
