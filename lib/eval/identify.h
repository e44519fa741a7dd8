/* How well a search finds people: closed-set ranks, open-set rates, bootstrap over people. */
#ifndef LAFS_EVAL_IDENTIFY_H
#define LAFS_EVAL_IDENTIFY_H

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "eval/metrics.h"

enum { LAFS_RANKS = 3, LAFS_MAX_FPIRS = 8 };
extern const int lafs_rank[LAFS_RANKS]; /* 1, 5, 10: rates are stated for these */

/* What a search gave one probe. */
struct lafs_found {
    int32_t person;  /* number in [0, people), for the bootstrap */
    int32_t mated;   /* the person is in the gallery */
    int32_t rank;    /* place of the person's first entry, from 1; 0: not among those looked at */
    float best;      /* cosine of the first entry of all; -INFINITY: none */
};
struct lafs_identify {
    const double *fpir; /* (fpirs) */
    int fpirs;
    int apply;          /* 1: also at `threshold` */
    double threshold;
    int64_t bootstrap;  /* replicates; 0: no intervals */
    uint64_t seed;
};
/* Rates of nothing are NaN. */
struct lafs_identified {
    int64_t probes, mated, others;                 /* others: whose person is not in the gallery */
    struct lafs_interval rank[LAFS_RANKS];         /* share of the mated probes found at that rank or before */
    struct lafs_interval tpir[LAFS_MAX_FPIRS];     /* share of them found at rank 1, not below the threshold */
    double threshold[LAFS_MAX_FPIRS];              /* the lowest at which at most `fpir` of the others ring the alarm */
    double met[LAFS_MAX_FPIRS];                    /* the share that does */
    struct lafs_interval applied_tpir;             /* at the given threshold */
    double applied_fpir;
};
/* A replicate draws people as lafs_bootstrap_* do; a probe counts as often as its person was drawn, and thresholds are
 * found anew. LAFS_USAGE: a person outside [0, people), a score that is NaN. */
lafs_status lafs_identify_figures(const struct lafs_identify *v, const struct lafs_found *f, int64_t n, int64_t people,
                                  struct lafs_pool *pool, struct lafs_identified *out, struct lafs_err *err);

#endif
