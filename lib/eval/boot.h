/* The bootstrap over people: what pairs (bootstrap.c) and probes (identify.c) share. */
#ifndef LAFS_EVAL_BOOT_H
#define LAFS_EVAL_BOOT_H

#include "eval/metrics.h"

/* weight (people) = how often each was drawn in the replicate of that number. */
void lafs_boot_draw(int32_t *weight, int64_t people, uint64_t seed, int64_t replicate);
/* How often pair i counts where its people were drawn so often. */
static inline int64_t lafs_boot_times(const struct lafs_paired *p, int64_t i, const int32_t *weight)
{
    return p->same[i] ? weight[p->pa[i]] : (int64_t)weight[p->pa[i]] * weight[p->pb[i]];
}
/* The share of pairs that are judged rightly, each counted so often; NaN: no pair counts. */
double lafs_boot_accuracy(const struct lafs_paired *p, double threshold, const int32_t *weight);
/* low, high and std of n replicates, those that are NaN left out; reorders x. */
void lafs_boot_interval(double *x, int64_t n, struct lafs_interval *out);

#endif
