/* All figures of a verification run, from scores to the table. */
#ifndef LAFS_EVAL_VERIFY_H
#define LAFS_EVAL_VERIFY_H

#include <stdint.h>

#include "base/err.h"
#include "eval/metrics.h"

enum { LAFS_MAX_FARS = 32 };

struct lafs_verify {
    const double *far; /* (fars) false accept rates asked for */
    int fars;
    int nearest;       /* TAR at the corner nearest to the rate (IJB); 0: at the highest rate that is not above it */
    int apply;         /* 1: accuracy at `threshold` instead of folds */
    double threshold;  /* cosine: same if score >= threshold */
    int64_t bootstrap; /* replicates of the intervals; 0: none */
    uint64_t seed;
};

/* NaN stands for what the data do not give. */
struct lafs_figures {
    int64_t pairs, genuines, impostors;
    double accuracy, accuracy_std;           /* over folds; applied: std of the bootstrap */
    double accuracy_low, accuracy_high;      /* applied only: 95 % interval over people */
    double threshold;                        /* applied, or mean over folds, as a cosine */
    double fmr, fnmr;                        /* at that threshold */
    double auc, eer, eer_threshold;
    double tar[LAFS_MAX_FARS], tar_far[LAFS_MAX_FARS];  /* tar_far: the rate that was met */
    double far_threshold[LAFS_MAX_FARS];
    struct lafs_interval fnmr_at[LAFS_MAX_FARS];        /* 1 - tar */
    struct lafs_val val[LAFS_MAX_FARS];                 /* folds only */
};
/* fold (n) in [0, folds), or NULL: no folds. roc: receives the curve, unless NULL; release it. */
lafs_status lafs_verify_figures(const struct lafs_verify *v, const struct lafs_paired *p, const int32_t *fold,
                                int folds, struct lafs_pool *pool, struct lafs_figures *out, struct lafs_roc *roc,
                                struct lafs_err *err);

/* All NaN: what is said of so many pairs when they give no figures. */
void lafs_figures_none(const struct lafs_verify *v, int64_t genuines, int64_t impostors, struct lafs_figures *out);

/* A part of the pairs, with copies of what it needs. */
struct lafs_subset {
    struct lafs_paired paired; /* points into the arrays below */
    float *score;
    uint8_t *same;
    int32_t *pa, *pb, *fold;   /* fold: NULL where there was none */
};
/* The pairs with keep[i] == which. */
lafs_status lafs_subset_take(struct lafs_subset *s, const struct lafs_paired *p, const int32_t *fold,
                             const int32_t *keep, int32_t which, struct lafs_err *err);
void lafs_subset_release(struct lafs_subset *s);

/* People from templates: those linked by genuine pairs are one person. person (templates) receives numbers from 0,
 * *people their count. */
lafs_status lafs_people_from_pairs(const int32_t *a, const int32_t *b, const uint8_t *same, int64_t n,
                                   int64_t templates, int32_t *person, int64_t *people, struct lafs_err *err);

#endif
