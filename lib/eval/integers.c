#include "eval/integers.h"

#include <math.h>
#include <string.h>

#include "base/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

/* The low bytes of 4, 8 or 16 words. Compilers take a vector of 512 bits apart for it, word by word. */
static inline void low_bytes_plain(const void *words, int8_t *to)
{
    for (int i = 0; i < 4; i++) to[i] = ((const int8_t *)words)[4 * i];
}
#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
TARGET_AVX2 static inline void low_bytes_avx2(const void *words, int8_t *to)
{
    const __m256i which = _mm256_broadcastsi128_si256(_mm_cvtsi32_si128(0x0c080400));
    const __m256i fours = _mm256_shuffle_epi8(_mm256_loadu_si256(words), which);
    _mm_storel_epi64((__m128i *)(void *)to,
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1)));
}
TARGET_AVX512 static inline void low_bytes_avx512(const void *words, int8_t *to)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(_mm512_loadu_si512(words)));
}
#endif

/* peak: the largest magnitude; floats without their sign are in the order of their bits. sums: squares of what is lost
 * and of what is kept. */
#define DEFINE_INTEGERS(NAME, WIDTH, TARGET)                                                                           \
    typedef float NAME##_f __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));                             \
    typedef int32_t NAME##_i __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));                           \
    TARGET static float NAME##_peak(const struct row *r)                                                               \
    {                                                                                                                  \
        enum { PARTS = 2 * LANES / WIDTH }; /* two of 512 bits at once: a maximum waits for the one before */          \
        NAME##_i high[PARTS] = {0};                                                                                    \
        float peak = 0, lane[2 * LANES];                                                                               \
        for (int64_t i = 0; i < r->dim; i += 2 * LANES)                                                                \
            for (int p = 0; p < PARTS; p++) {                                                                          \
                const float *at = row_at(r, i + p * WIDTH / LANES * LANES) + p * WIDTH % LANES;                        \
                const NAME##_i v = *(const NAME##_i *)at & 0x7fffffff, more = v > high[p];                             \
                high[p] = (v & more) | (high[p] & ~more);                                                              \
            }                                                                                                          \
        memcpy(lane, high, sizeof lane);                                                                               \
        for (int l = 0; l < 2 * LANES; l++) peak = lane[l] > peak ? lane[l] : peak;                                    \
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
                low_bytes_##NAME(&shifted, out + i + p * WIDTH);                                                       \
            }                                                                                                          \
        memcpy(sums[0], lost, sizeof lost);                                                                            \
        memcpy(sums[1], have, sizeof have);                                                                            \
    }                                                                                                                  \
    TARGET static double NAME##_integers(const float *x, int64_t dim, int64_t padded, int top, int8_t *out,            \
                                         double *left, double *kept)                                                   \
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

DEFINE_INTEGERS(plain, 4, )
#if defined(__x86_64__)
DEFINE_INTEGERS(avx2, 8, TARGET_AVX2)
DEFINE_INTEGERS(avx512, 16, TARGET_AVX512)
#endif

lafs_integers_fn *lafs_integers(void)
{
#if defined(__x86_64__)
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return avx512_integers;
    if (level == LAFS_ISA_AVX2) return avx2_integers;
#endif
    return plain_integers;
}
