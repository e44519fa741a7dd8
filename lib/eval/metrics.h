/* How well scores tell same from different: ROC and what follows from it, LFW-style folds, bootstrap over people,
 * IJB-style templates.
 *
 * A score is a cosine similarity; the squared distance of the field's papers is d = 2 - 2 score. A pair whose photo is
 * missing has score -INFINITY if it is a genuine pair and +INFINITY if not: wrong at every threshold.
 *
 *     LAFS_TRY(lafs_pair_scores(e, rows, dim, a, b, n, score, pool, err));
 *     LAFS_TRY(lafs_scores_sort(&s, score, same, n, err));
 *     LAFS_TRY(lafs_roc_build(&roc, &s, err));
 *     printf("%g\n", lafs_roc_auc(&roc));
 */
#ifndef LAFS_EVAL_METRICS_H
#define LAFS_EVAL_METRICS_H

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"

/* -- scores -- */

/* Divides every row of e (rows, dim) by its L2 norm (summed in double); norm (rows) or NULL receives the norms.
 * LAFS_FAILED with *bad = the row whose values are not finite, or all zero. */
lafs_status lafs_normalise_rows(float *e, int64_t rows, int64_t dim, float *norm, int64_t *bad, struct lafs_err *err);

/* score[i] = dot product of rows a[i] and b[i] of e (rows, dim), clamped to [-1, 1]; NaN where a[i] or b[i] is -1.
 * Pairs are visited in an order that keeps rows in cache; the result does not depend on it, on the threads or on the
 * instruction set: 16 lanes, summed in a fixed order. 24 bytes of scratch a pair. rows, n < 2^31. */
lafs_status lafs_pair_scores(const float *e, int64_t rows, int64_t dim, const int32_t *a, const int32_t *b, int64_t n,
                             float *score, struct lafs_pool *pool, struct lafs_err *err);

/* Scores split by truth, each ascending. */
struct lafs_scores {
    int64_t genuines, impostors;
    float *genuine, *impostor; /* owned */
};
/* same[i]: 1 genuine, 0 impostor. LAFS_FAILED: a score is NaN, or there is no genuine or no impostor pair. */
lafs_status lafs_scores_sort(struct lafs_scores *s, const float *score, const uint8_t *same, int64_t n,
                             struct lafs_err *err);
void lafs_scores_release(struct lafs_scores *s);

/* -- ROC -- */

/* Accepting score >= threshold lets fp impostors and tp genuine pairs through. */
struct lafs_roc_point {
    double threshold;
    int64_t fp, tp;
};
struct lafs_roc {
    struct lafs_roc_point
        *point; /* corners only (collinear points dropped), from (0, 0) to (impostors, genuines); owned */
    int64_t n, genuines, impostors;
};
lafs_status lafs_roc_build(struct lafs_roc *r, const struct lafs_scores *s, struct lafs_err *err);
void lafs_roc_release(struct lafs_roc *r);
/* Area under it: the share of (genuine, impostor) couples in the right order, ties half. */
double lafs_roc_auc(const struct lafs_roc *r);
/* Equal error rate, linear between corners; *threshold (or NULL) = that of the nearer corner. */
double lafs_roc_eer(const struct lafs_roc *r, double *threshold);
/* IJB's reading: the corner whose false accept rate is nearest to far; at equal rate the highest TAR, at equal distance
 * the larger rate. */
struct lafs_roc_point lafs_roc_nearest(const struct lafs_roc *r, double far);

/* An operating point: the lowest threshold among the scores that keeps FMR <= fmr. */
struct lafs_operating {
    double threshold, fmr, fnmr;
};
struct lafs_operating lafs_operate(const struct lafs_scores *s, double fmr);
/* Rates at a given threshold (accept score >= threshold), by binary search. */
struct lafs_operating lafs_rates_at(const struct lafs_scores *s, double threshold);

/* -- one threshold -- */

/* The threshold with the best accuracy: the highest one among equals, half-way to the next lower score. Infinite scores
 * (missing photos) are left out. *accuracy may be NULL. */
lafs_status lafs_fit_threshold(const struct lafs_scores *s, double *threshold, double *accuracy, struct lafs_err *err);

/* -- LFW folds -- */

enum { LAFS_GRID = 400, LAFS_VAL_GRID = 4000 }; /* thresholds i*0.01 and i*0.001 on the squared distance */
struct lafs_kfold {
    double accuracy, std; /* mean and population standard deviation over folds */
    double threshold;     /* mean over folds of the chosen threshold, as a cosine */
};
/* Splits n pairs into `folds` contiguous parts (the first n % folds one longer). */
void lafs_folds_contiguous(int32_t *fold, int64_t n, int folds);
/* Per fold the first grid threshold with the best accuracy on the other folds, applied to the fold. fold[i] in
 * [0, folds). fold_accuracy, fold_threshold (folds; squared distance), tpr, fpr (LAFS_GRID, mean over folds) may be
 * NULL. LAFS_USAGE: fewer than two folds, or an empty one. */
lafs_status lafs_kfold_accuracy(const float *score, const uint8_t *same, const int32_t *fold, int64_t n, int folds,
                                struct lafs_kfold *out, double *fold_accuracy, double *fold_threshold, double *tpr,
                                double *fpr, struct lafs_err *err);
struct lafs_val {
    double val, std, far; /* mean and population deviation over folds; mean far on the held folds */
};
lafs_status lafs_val_at_far(const float *score, const uint8_t *same, const int32_t *fold, int64_t n, int folds,
                            double far, struct lafs_val *out, struct lafs_err *err);

/* -- bootstrap over people -- */

/* value: on the data as it is; low, high: 95 % percentile interval; std: deviation of the replicates. NaN where fewer
 * than half of the replicates had both kinds of pairs. */
struct lafs_interval {
    double value, low, high, std;
};
/* Pair i is of the people pa[i] and pb[i], numbers in [0, people). A replicate draws `people` people with replacement
 * (Philox(seed, bootstrap, replicate)); a genuine pair counts as often as its person was drawn, an impostor pair as
 * often as its two people, multiplied. */
struct lafs_paired {
    const float *score;
    const uint8_t *same;
    const int32_t *pa, *pb;
    int64_t n, people;
};
lafs_status lafs_bootstrap_accuracy(const struct lafs_paired *p, double threshold, int64_t replicates, uint64_t seed,
                                    struct lafs_pool *pool, struct lafs_interval *out, struct lafs_err *err);
/* out[k] = FNMR at FMR <= fmr[k], or, nearest: at the corner that lafs_roc_nearest takes; found anew in every
 * replicate. */
lafs_status lafs_bootstrap_fnmr(const struct lafs_paired *p, const double *fmr, int k, int nearest,
                                int64_t replicates, uint64_t seed, struct lafs_pool *pool, struct lafs_interval *out,
                                struct lafs_err *err);

/* -- templates (IJB) -- */

struct lafs_templates {
    int64_t count;
    int dim;
    int64_t *id; /* (count), ascending; owned */
    float *e;    /* (count, dim), L2-normalised; owned. All zero where no image was there */
};
/* Image i: e + i*dim (embedding + mirror's, not normalised), weight[i] (detector score; NULL: 1), template and media
 * numbers; row[i] = -1 says that the image is missing (row[i] is its row in e). Mean over the images of one media, sum
 * over the media, normalised. unit_norm: each image is divided by its norm first. */
lafs_status lafs_templates_build(struct lafs_templates *t, const float *e, int dim, const int64_t *row,
                                 const float *weight, const int64_t *template_id, const int64_t *media_id,
                                 int64_t images, int unit_norm, struct lafs_err *err);
void lafs_templates_release(struct lafs_templates *t);
/* 0: all images of the template at this position are missing. */
int lafs_templates_there(const struct lafs_templates *t, int64_t position);

#endif
