/* Rows of floats as integers of one byte, and what that loses. */
#ifndef LAFS_EVAL_INTEGERS_H
#define LAFS_EVAL_INTEGERS_H

#include <stdint.h>

/* Rounds x (dim) to integers in [-top, top], top < 128, with one scale; behind dim: zeros up to padded, a multiple
 * of 16. *left = at least the length of what rounding took away, *kept = at least that of what it left. Returns the
 * scale: an integer times it is about what it was. Every instruction set gives the same bits. */
typedef double lafs_integers_fn(const float *x, int64_t dim, int64_t padded, int top, int8_t *out, double *left,
                                double *kept);
/* For the instructions that may be used now (base/isa.h). */
lafs_integers_fn *lafs_integers(void);

#endif
