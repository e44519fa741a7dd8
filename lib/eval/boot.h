/* The bootstrap over people: what pairs (bootstrap.c) and probes (identify.c) share. */
#ifndef LAFS_EVAL_BOOT_H
#define LAFS_EVAL_BOOT_H

#include "eval/metrics.h"

/* weight (people) = how often each was drawn in the replicate of that number. */
void lafs_boot_draw(int32_t *weight, int64_t people, uint64_t seed, int64_t replicate);
/* low, high and std of n replicates, those that are NaN left out; reorders x. */
void lafs_boot_interval(double *x, int64_t n, struct lafs_interval *out);

#endif
