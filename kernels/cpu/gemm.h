/* Matrix products, our own: packed panels and one register-blocked kernel per instruction set.
 *
 * Every element of a product is summed the same way, whatever the shape, the place in the matrix and the threads. So a
 * row's result depends on that row and on the other matrix alone. That is what OpenBLAS could not give: its kernels
 * round by a row's place and by the shape, and 0.3.21 does not know the wide units of newer processors.
 *
 * - fp32: over k in blocks of LAFS_GEMM_KC, each one chain of fused multiply-adds from zero in rising k, blocks added
 *   in order. AVX2 and AVX-512 agree to the bit; plain code, without fused multiply-add, rounds twice.
 * - bf16: as the tiles of AMX do. Over k in steps of 32, each two chains of fused multiply-adds from zero, of the even
 *   and of the odd k; their sum is added to c, step by step. Denormals count as zero, of operands and of results.
 *   Vectors give the same bits, at three quarters of the speed of fp32: operands are packed as floats already rounded
 *   to bfloat16, even k before odd. So does plain code, since products of bfloat16 are exact (but where one is below
 *   2^-126).
 * - bf16x3: the same over three times as many k: a step of 32 becomes three, low high, high high and high low (the part
 *   of op(a)'s element before that of op(b)'s; LAFS_GEMM_LOW_A in gemm_set.h). */
#ifndef LAFS_KERNELS_CPU_GEMM_H
#define LAFS_KERNELS_CPU_GEMM_H

#include <stdint.h>

#include "compute/backend.h"

enum { LAFS_GEMM_KC = 256 };

/* c (m,n) = op(a) op(b), or += when add (without it c is not read), row-major. op(a) is (m,k): a is (m,k), or (k,m)
 * when transa; op(b) is (k,n): b is (k,n), or (n,k) when transb. lda, ldb, ldc: floats between rows as stored. Runs on
 * the calling thread alone, on 400 KiB of its stack. */
void lafs_cpu_gemm(int transa, int transb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                   int64_t ldb, int add, float *c, int64_t ldc);

/* A product on all threads of the device's pool. */
struct lafs_matmul {
    enum lafs_precision precision;
    int transa, transb;
    int64_t m, n, k;
    const float *a, *b;
    int64_t lda, ldb;
    int add;             /* c += the product, else c = the product */
    float *c;            /* (m, ldc) */
    int64_t ldc;
    /* Unless NULL: called once for every finished block of c, on some worker, while the block is in cache. */
    void (*finish)(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, int worker);
    const void *arg;     /* for finish */
};
/* Uses the device's shared buffer. A failure to get it is left in the device. */
void lafs_cpu_matmul(struct lafs_dev *d, const struct lafs_matmul *p);

#endif
