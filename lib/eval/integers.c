#include "eval/integers.h"

#include <math.h>
#include <string.h>

#include "base/isa.h"

enum { LANES = 16 };
/* 1.5 * 2^23: adding it rounds to a whole number, which the last bits then hold. */
static const float ROUND = 12582912.0f;

/* Lane l has the elements l, l+16, .., whatever a vector's width; behind dim they are `tail` and zeros. */
struct row {
    const float *x;
    int64_t dim;
    _Alignas(64) float tail[LANES], none[LANES];
};
static inline const float *row_at(const struct row *r, int64_t i)
{
    return i + LANES <= r->dim ? r->x + i : i < r->dim ? r->tail : r->none;
}

/* peak: the largest magnitude; floats without their sign are in the order of their bits. sums: squares of what is lost
 * and of what is kept. */
#define DEFINE_INTEGERS(NAME, WIDTH, TARGET)                                                                           \
    typedef float NAME##_f __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));                             \
    typedef int32_t NAME##_i __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));                           \
    typedef int8_t NAME##_b __attribute__((vector_size(WIDTH), aligned(1), may_alias));                                \
    TARGET static float NAME##_peak(const struct row *r)                                                               \
    {                                                                                                                  \
        enum { PARTS = LANES / WIDTH };                                                                                \
        NAME##_i high[PARTS] = {0};                                                                                    \
        float peak = 0, lane[LANES];                                                                                   \
        for (int64_t i = 0; i < r->dim; i += LANES)                                                                    \
            for (int p = 0; p < PARTS; p++) {                                                                          \
                const NAME##_i v = *(const NAME##_i *)(row_at(r, i) + p * WIDTH) & 0x7fffffff, more = v > high[p];     \
                high[p] = (v & more) | (high[p] & ~more);                                                              \
            }                                                                                                          \
        memcpy(lane, high, sizeof lane);                                                                               \
        for (int l = 0; l < LANES; l++) peak = lane[l] > peak ? lane[l] : peak;                                        \
        return peak;                                                                                                   \
    }                                                                                                                  \
    TARGET static void NAME##_round(const struct row *r, int64_t padded, float scale, int8_t *out,                     \
                                    float sums[2][LANES])                                                              \
    {                                                                                                                  \
        enum { PARTS = LANES / WIDTH };                                                                                \
        NAME##_f lost[PARTS] = {0}, have[PARTS] = {0};                                                                 \
        const float up = 1 / scale;                                                                                    \
        for (int64_t i = 0; i < padded; i += LANES)                                                                    \
            for (int p = 0; p < PARTS; p++) {                                                                          \
                const NAME##_f v = *(const NAME##_f *)(row_at(r, i) + p * WIDTH), shifted = v * up + ROUND;            \
                const NAME##_f back = (shifted - ROUND) * scale, d = v - back;                                         \
                lost[p] += d * d;                                                                                      \
                have[p] += back * back;                                                                                \
                *(NAME##_b *)(out + i + p * WIDTH) = __builtin_convertvector((NAME##_i)shifted, NAME##_b);             \
            }                                                                                                          \
        memcpy(sums[0], lost, sizeof lost);                                                                            \
        memcpy(sums[1], have, sizeof have);                                                                            \
    }                                                                                                                  \
    TARGET static double NAME(const float *x, int64_t dim, int64_t padded, int top, int8_t *out, double *left,         \
                              double *kept)                                                                            \
    {                                                                                                                  \
        struct row r = {.x = x, .dim = dim};                                                                           \
        memcpy(r.tail, x + dim / LANES * LANES, (size_t)(dim % LANES) * sizeof *x);                                    \
        const float peak = NAME##_peak(&r), scale = peak > 1e-30f ? peak / (float)top : 1;                             \
        float sums[2][LANES];                                                                                          \
        NAME##_round(&r, padded, scale, out, sums);                                                                    \
        *left = length_of(sums[0], dim);                                                                               \
        *kept = length_of(sums[1], dim);                                                                               \
        return (double)scale;                                                                                          \
    }

/* The sums are floats: each term is rounded a few times, and dim/16 additions follow. Squares below the smallest float
 * are lost. */
static double length_of(const float *lane, int64_t dim)
{
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += (double)lane[l];
    return sqrt(sum * (1 + (double)(dim / LANES + 16) * 0x1p-23)) + (double)dim * 1e-22;
}

DEFINE_INTEGERS(integers_plain, 4, )
#if defined(__x86_64__)
DEFINE_INTEGERS(integers_avx2, 8, __attribute__((target("avx2"))))
DEFINE_INTEGERS(integers_avx512, 16, __attribute__((target("avx512f,avx512bw,avx512vl"))))
#endif

lafs_integers_fn *lafs_integers(void)
{
#if defined(__x86_64__)
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return integers_avx512;
    if (level == LAFS_ISA_AVX2) return integers_avx2;
#endif
    return integers_plain;
}
