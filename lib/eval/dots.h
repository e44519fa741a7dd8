/* The dot product that all scores are, so that a pair has the same one in lafs-verify and lafs-search. */
#ifndef LAFS_EVAL_DOTS_H
#define LAFS_EVAL_DOTS_H

#include <stdint.h>

/* out[k] = the dot product of x (dim) and y[k] (dim). The body is the same for every instruction set, in vectors of its
 * own width, and products are not fused, so that all give the same bits: lane l sums the elements l, l+16, .., then
 * lanes are added pairwise. No element goes through more than dim/16 + 6 roundings. */
typedef void lafs_dots_fn(const float *x, const float *const y[4], int64_t dim, float out[4]);
/* For the instructions that may be used now (base/isa.h). */
lafs_dots_fn *lafs_dots(void);

/* A cosine of two normalised rows, which rounding may have put outside. */
static inline float lafs_cosine(float dot) { return dot > 1 ? 1 : dot < -1 ? -1 : dot; }

#endif
