/* Single-precision matrix product of one thread: the only door to OpenBLAS. */
#ifndef LAFS_KERNELS_CPU_BLAS_H
#define LAFS_KERNELS_CPU_BLAS_H

#include <stdint.h>

/* c (m,n) = alpha op(a) op(b) + beta c, row-major. op(a) is (m,k): a is (m,k), or (k,m) when transa; op(b) is (k,n): b
 * is (k,n), or (n,k) when transb. lda, ldb, ldc: floats between rows as stored. beta 0: c is not read. Runs on the
 * calling thread alone; may be called from many threads at once. */
void lafs_cpu_gemm(int transa, int transb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                   const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* Makes OpenBLAS use one thread (the pthread build would start its own). Once per process, before the first product. */
void lafs_cpu_blas_init(void);
/* "OpenBLAS 0.3.21 Haswell"; static. */
const char *lafs_cpu_blas_describe(void);

#endif
