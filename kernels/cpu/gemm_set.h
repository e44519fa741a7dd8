/* Inside of the products (gemm.c, gemm_pack.c, gemm_amx.c): what differs between instruction sets and precisions. */
#ifndef LAFS_KERNELS_CPU_GEMM_SET_H
#define LAFS_KERNELS_CPU_GEMM_SET_H

#include <stdint.h>

#include "compute/backend.h"

/* A matrix as the packer sees it: element (i, q) of op(a), or (q, i) of op(b), is p[i*si + q*sq]; q runs over k. */
struct lafs_gemm_source {
    const float *p;
    int64_t si, sq; /* one of them is 1 */
};

enum { LAFS_GEMM_STEP = 32 }; /* bf16: k are summed in steps of as many (gemm.h) */
/* bf16x3: which of a step's three parts is the low one of either matrix; the others are its high one. So the products
 * are low high, high high and high low. */
enum { LAFS_GEMM_LOW_A = 0, LAFS_GEMM_LOW_B = 2 };

/* Rows of op(a)'s panels and vectors of op(b)'s, of each kind of vectors (vectors.inc). */
#define LAFS_GEMM_MR_512 12
#define LAFS_GEMM_NV_512 2
#define LAFS_GEMM_MR_256 4
#define LAFS_GEMM_NV_256 3
#if defined __aarch64__ /* 32 registers, where SSE has 16 */
#define LAFS_GEMM_MR_128 12
#else
#define LAFS_GEMM_MR_128 4
#endif
#define LAFS_GEMM_NV_128 2

/* A block of either matrix is packed for kc k at most, in panels: op(a)'s of mr rows, op(b)'s of nr columns. A panel
 * takes `sa` (`sb`) floats of memory for each of its packed k, of which there are lafs_gemm_depth(set, k). */
struct lafs_gemm_set {
    int mr, sa, nr, sb;
    int kc;
    int step;  /* k is padded with zeros to a multiple of it */
    int parts; /* packed k for each k: 3 for bf16x3 */
    /* All panels of i0..i0+n-1 (the last one's rest zero), one after another; k from q0 on. */
    void (*pack_a)(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                   int64_t q0, int64_t k, float *to);
    void (*pack_b)(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                   int64_t q0, int64_t k, float *to);
    /* c (rows <= mr, cols <= nr) = or += a b, of one panel each, `depth` packed k. */
    void (*kernel)(int rows, int cols, int64_t depth, const float *a, const float *b, int add, float *c, int64_t ldc);
    /* Around kernels, on their thread; NULL: nothing. What begin returns goes to end. */
    unsigned (*begin)(void);
    void (*end)(unsigned state);
};

static inline int64_t lafs_gemm_depth(const struct lafs_gemm_set *s, int64_t k)
{
    return (k + s->step - 1) / s->step * s->step * s->parts;
}

/* gemm_pack.c: panels of floats, as they are; and rounded to bf16, in the order of gemm_kernels.inc. */
void lafs_gemm_pack_a(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                      int64_t q0, int64_t k, float *to);
void lafs_gemm_pack_b(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                      int64_t q0, int64_t k, float *to);
void lafs_gemm_pack_a_bf16(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                           int64_t q0, int64_t k, float *to);
void lafs_gemm_pack_b_bf16(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                           int64_t q0, int64_t k, float *to);

/* gemm_amx.c: of the tiles of AMX, where lafs_isa_amx() says that they may be used; not for fp32. */
const struct lafs_gemm_set *lafs_gemm_amx(enum lafs_precision precision);

/* gemm.c */
const struct lafs_gemm_set *lafs_gemm_set_for(enum lafs_precision precision);
/* c (m,n) = or += a b for blocks that `s` packed, all k of them in one; on the calling thread. */
void lafs_gemm_multiply(const struct lafs_gemm_set *s, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                        int add, float *c, int64_t ldc);
/* Floats that n rows of op(a), or columns of op(b), and k take when packed. */
static inline int64_t lafs_gemm_size_a(const struct lafs_gemm_set *s, int64_t n, int64_t k)
{
    return (n + s->mr - 1) / s->mr * lafs_gemm_depth(s, k) * s->sa;
}
static inline int64_t lafs_gemm_size_b(const struct lafs_gemm_set *s, int64_t n, int64_t k)
{
    return (n + s->nr - 1) / s->nr * lafs_gemm_depth(s, k) * s->sb;
}

#endif
