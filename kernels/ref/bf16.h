/* bfloat16: the upper half of a float. A product in LAFS_PRECISION_BF16 is of operands rounded to it; in
 * LAFS_PRECISION_BF16X3 an operand is the sum of two, high and low, and of the four products all but low times low are
 * taken. */
#ifndef LAFS_KERNELS_REF_BF16_H
#define LAFS_KERNELS_REF_BF16_H

#include <stdint.h>
#include <string.h>

#include "compute/backend.h"

/* The nearest bfloat16, to even where two are; the bits. A NaN stays one. */
static inline uint32_t lafs_bf16_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t nan = 0u - (uint32_t)((u & 0x7fffffffu) > 0x7f800000u);
    uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16, quiet = u >> 16 | 0x40u;
    return (rounded & ~nan) | (quiet & nan);
}
static inline float lafs_bf16_float(uint32_t bits)
{
    float x;
    bits <<= 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline float lafs_bf16_high(float x) { return lafs_bf16_float(lafs_bf16_bits(x)); }
/* What is left of x behind its high part, rounded again; 0 where that is infinite or no number. */
static inline float lafs_bf16_low(float x)
{
    float high = lafs_bf16_high(x), low = x - high;
    return low - low == 0 ? lafs_bf16_high(low) : 0;
}

/* a b in a product of that precision. */
static inline double lafs_bf16_multiply(enum lafs_precision precision, float a, float b)
{
    if (precision == LAFS_PRECISION_FP32) return (double)a * b;
    double ah = lafs_bf16_high(a), bh = lafs_bf16_high(b);
    if (precision == LAFS_PRECISION_BF16) return ah * bh;
    return ah * bh + ah * lafs_bf16_low(b) + lafs_bf16_low(a) * bh;
}

#endif
