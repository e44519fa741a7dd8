#include "kernels/cpu/conv_kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/isa.h"
#include "kernels/ref/act.h"


#if defined __x86_64__
#include <immintrin.h>

#define FN(name) name##_avx512
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define LANES 16
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define SPLAT(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define ADD(a, b) _mm512_add_ps(a, b)
#define SUB(a, b) _mm512_sub_ps(a, b)
#define KEEP_GT(a, b, v) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), v)
#define MUL(a, b) _mm512_mul_ps(a, b)
#define MAX(a, b) _mm512_max_ps(a, b)
#define MIN(a, b) _mm512_min_ps(a, b)
#define LOADN(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define STOREN(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), v)
#define NV 4
#define ROWS1 12
#define ROWS2 12
#define ROWS3 8
#define ROWS4 6
#include "kernels/cpu/conv_kernels.inc"

/* -1 in the first n lanes, read at an offset. */
static const int lane_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define MASK8(n) _mm256_loadu_si256((const __m256i *)(const void *)(lane_mask + 8 - (n)))

#define FN(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define LANES 8
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define SPLAT(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define ADD(a, b) _mm256_add_ps(a, b)
#define SUB(a, b) _mm256_sub_ps(a, b)
#define KEEP_GT(a, b, v) _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), v)
#define MUL(a, b) _mm256_mul_ps(a, b)
#define MAX(a, b) _mm256_max_ps(a, b)
#define MIN(a, b) _mm256_min_ps(a, b)
#define LOADN(p, n) _mm256_maskload_ps(p, MASK8(n))
#define STOREN(p, v, n) _mm256_maskstore_ps(p, MASK8(n), v)
#define NV 3
#define ROWS1 8
#define ROWS2 6
#define ROWS3 4
#include "kernels/cpu/conv_kernels.inc"
#endif

/* Four lanes of whatever the compiler has for them. */
typedef float vec4 __attribute__((vector_size(16)));
typedef int int4 __attribute__((vector_size(16)));
static inline vec4 load4(const float *p, int n)
{
    vec4 v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
static inline void store4(float *p, vec4 v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
static inline vec4 max4(vec4 a, vec4 b)
{
    for (int i = 0; i < 4; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}
static inline vec4 min4(vec4 a, vec4 b)
{
    for (int i = 0; i < 4; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}

#define FN(name) name##_generic
#define TARGET
#define V vec4
#define LANES 4
#define LOAD(p) load4(p, 4)
#define STORE(p, v) store4(p, v, 4)
#define SPLAT(x) ((vec4){x, x, x, x})
#define FMA(a, b, c) ((a) * (b) + (c))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define KEEP_GT(a, b, v) ((vec4)(((a) > (b)) & (int4)(v)))
#define MUL(a, b) ((a) * (b))
#define MAX(a, b) max4(a, b)
#define MIN(a, b) min4(a, b)
#define LOADN(p, n) load4(p, n)
#define STOREN(p, v, n) store4(p, v, n)
#define NV 2
#define ROWS1 4
#define ROWS2 4
#include "kernels/cpu/conv_kernels.inc"

const struct lafs_conv_kernels *lafs_conv_kernels(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == 2) return &set_avx512;
    if (level == 1) return &set_avx2;
#endif
    return &set_generic;
}
