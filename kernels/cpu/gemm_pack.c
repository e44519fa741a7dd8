/* Packing: panels of either matrix, in the order in which the kernels of gemm_kernels.inc read them. */
#include <string.h>

#include "kernels/cpu/gemm_set.h"
#include "kernels/cpu/vec.h"
#include "kernels/ref/bf16.h"

enum {
    LINE = 16, /* floats of a cache line */
    AHEAD = 16 /* rows of the source that are fetched before their turn: of weights none is in a cache */
};

/* A source whose k lie beside each other: w rows (w <= stride; the rest zero) to (k, stride). */
LAFS_INLINE void turn_panel(const float *p, int64_t si, int w, int64_t k, float *to, int stride)
{
    for (int j = 0; j < stride; j += 4, p += 4 * si) {
        int64_t q = 0;
        if (j + 4 <= w)
            for (; q + 4 <= k; q += 4) lafs_turn4(p + q, si, to + q * stride + j, stride);
        for (; q < k; q++)
            for (int l = 0; l < 4; l++) to[q * stride + j + l] = j + l < w ? p[l * si + q] : 0;
    }
}

/* One whose rows lie beside each other: k of n rows, to panels one after another, the last one's rest zero. */
LAFS_INLINE void copy_panels(const float *p, int64_t sq, int64_t n, int64_t k, float *to, int stride)
{
    const int64_t whole = n / stride, rest = n % stride;
    for (int64_t q = 0; q < k; q++, p += sq) {
        if (q + AHEAD < k)
            for (int64_t i = 0; i < n; i += LINE) __builtin_prefetch(p + AHEAD * sq + i);
        for (int64_t i = 0; i < whole; i++)
            for (int j = 0; j < stride; j += 4)
                lafs_store4(to + (i * k + q) * stride + j, lafs_load4(p + i * stride + j));
        if (rest)
            for (int j = 0; j < stride; j++) to[(whole * k + q) * stride + j] = j < rest ? p[whole * stride + j] : 0;
    }
}

LAFS_INLINE void pack(const struct lafs_gemm_source *s, int64_t i0, int64_t n, int64_t q0, int64_t k, float *to,
                      int stride)
{
    const float *p = s->p + i0 * s->si + q0 * s->sq;
    if (s->sq == 1) {
        for (; n > 0; n -= stride, p += stride * s->si, to += k * stride)
            turn_panel(p, s->si, n < stride ? (int)n : stride, k, to, stride);
        return;
    }
    /* As many panels at once as take whole lines of the source. */
    const int64_t unit = stride & -stride, at_once = (unit < LINE ? LINE / unit : 1) * stride;
    for (; n > 0; n -= at_once, p += at_once, to += at_once * k)
        copy_panels(p, s->sq, n < at_once ? n : at_once, k, to, stride);
}

/* For each kind of vectors the widths of its panels (gemm_set.h), constants for the compiler. Not inlined into what
 * rounds to bf16: that would compile all of it twice. */
typedef void pack_fn(const struct lafs_gemm_source *s, int64_t i0, int64_t n, int64_t q0, int64_t k, float *to,
                     int stride);
#define PACKER(target, bits)                                                                                           \
    target __attribute__((noinline)) static void pack_##bits(const struct lafs_gemm_source *s, int64_t i0, int64_t n, \
                                                             int64_t q0, int64_t k, float *to, int stride)            \
    {                                                                                                                  \
        if (stride == LAFS_GEMM_MR_##bits) pack(s, i0, n, q0, k, to, LAFS_GEMM_MR_##bits);                             \
        else pack(s, i0, n, q0, k, to, LAFS_GEMM_NV_##bits * (bits / 32));                                             \
    }
#if defined __x86_64__
PACKER(LAFS_TARGET_512, 512)
PACKER(LAFS_TARGET_256, 256)
#endif
PACKER(, 128)

static pack_fn *packer(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return pack_512;
    if (level == LAFS_ISA_AVX2) return pack_256;
#endif
    return pack_128;
}

void lafs_gemm_pack_a(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                      int64_t q0, int64_t k, float *to)
{
    packer()(from, i0, n, q0, k, to, s->sa);
}

void lafs_gemm_pack_b(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                      int64_t q0, int64_t k, float *to)
{
    packer()(from, i0, n, q0, k, to, s->sb);
}

/* -- bf16 -- */

enum { STEP = LAFS_GEMM_STEP, AT_ONCE = 4 * STEP, MAX_STRIDE = 32 };

/* The nearest bfloat16, of a denormal 0, as the processors' own rounding has it. */
LAFS_INLINE float rounded(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (u & 0x7fffffffu) < 0x00800000u ? 0 : lafs_bf16_high(x);
}

LAFS_INLINE void split(int64_t n, const float *x, float *high, float *low)
{
    LAFS_EACH
    for (int64_t i = 0; i < n; i++) high[i] = rounded(x[i]);
    if (!low) return;
    LAFS_EACH
    for (int64_t i = 0; i < n; i++) {
        float left = x[i] - high[i];
        low[i] = left - left == 0 ? rounded(left) : 0;
    }
}

/* Of a step, the even k first, then the odd ones. */
LAFS_INLINE float *place(const float *step, int stride, float *to)
{
    for (int odd = 0; odd < 2; odd++)
        for (int q = odd; q < STEP; q += 2, to += stride) memcpy(to, step + q * stride, (size_t)stride * sizeof *to);
    return to;
}

/* Steps of STEP k each; of bf16x3 three after another, of which number low_at is the low part (gemm_set.h). */
LAFS_INLINE void pack_bf16(pack_fn *floats, const struct lafs_gemm_source *s, int64_t i0, int64_t n, int64_t q0,
                           int64_t k, float *to, int stride, int parts, int low_at)
{
    float x[AT_ONCE * MAX_STRIDE], high[STEP * MAX_STRIDE], low[STEP * MAX_STRIDE];
    for (int64_t i = 0; i < n; i += stride)
        for (int64_t q = 0; q < k; q += AT_ONCE) {
            int64_t kb = k - q < AT_ONCE ? k - q : AT_ONCE, whole = (kb + STEP - 1) / STEP * STEP;
            floats(s, i0 + i, n - i < stride ? n - i : stride, q0 + q, kb, x, stride);
            memset(x + kb * stride, 0, (size_t)((whole - kb) * stride) * sizeof *x);
            for (int64_t step = 0; step < whole; step += STEP) {
                split(STEP * stride, x + step * stride, high, parts == 3 ? low : NULL);
                for (int part = 0; part < parts; part++)
                    to = place(parts == 3 && part == low_at ? low : high, stride, to);
            }
        }
}
LAFS_ISA_FN(pack_bf16, (pack_fn *floats, const struct lafs_gemm_source *s, int64_t i0, int64_t n, int64_t q0, int64_t k,
                        float *to, int stride, int parts, int low_at),
            (floats, s, i0, n, q0, k, to, stride, parts, low_at))

void lafs_gemm_pack_a_bf16(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                           int64_t q0, int64_t k, float *to)
{
    lafs_isa_pack_bf16()(packer(), from, i0, n, q0, k, to, s->sa, s->parts, LAFS_GEMM_LOW_A);
}

void lafs_gemm_pack_b_bf16(const struct lafs_gemm_set *s, const struct lafs_gemm_source *from, int64_t i0, int64_t n,
                           int64_t q0, int64_t k, float *to)
{
    lafs_isa_pack_bf16()(packer(), from, i0, n, q0, k, to, s->sb, s->parts, LAFS_GEMM_LOW_B);
}
