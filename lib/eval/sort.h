/* Radix sort of scores: three passes of 11 bits over order-preserving bit patterns. */
#ifndef LAFS_EVAL_SORT_H
#define LAFS_EVAL_SORT_H

#include <stdint.h>

/* Ascending; infinities are fine, NaN is not; -0 counts as 0. tmp (n) is scratch. */
void lafs_sort_f32(float *x, float *tmp, int64_t n);
/* order (n) = 0..n-1 so that score[order[i]] ascends, equal ones in their own order; tmp (n) is scratch. n < 2^31. */
void lafs_order_f32(const float *score, int64_t n, uint64_t *order, uint64_t *tmp);

#endif
