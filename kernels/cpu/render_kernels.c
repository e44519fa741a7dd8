#include "kernels/cpu/render_kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/isa.h"

/* -- point operations -- */

/* factor - 1 in 24 fractional bits, if adding to + floor(steps (to - from) / 2^24) gives the bits that the reference's
 * floats give, for all bytes: factor is within 0.5 of 1, so nothing of it is lost, and no product comes so close below
 * a whole number that the floats' two roundings, of 2^-16 at most each, could reach it. Else 0. */
static int blend_steps(float factor, int32_t *steps)
{
    const double all = ((double)factor - 1) * (1 << 24);
    if (!(fabs(all) < 1 << 23)) return 0;
    *steps = (int32_t)all;
    const uint32_t one = (uint32_t)*steps << 8, near = 512 << 8; /* the fraction alone, in 32 bits */
    uint32_t at = 0, most = 0, least = UINT32_MAX;
    for (int d = 1; d <= 255; d++) {
        at += one;
        most = most > at ? most : at;
        least = least < at - 1 ? least : at - 1; /* of -d the fraction is 1 - at, but for 0 */
    }
    return most < 0 - near && least >= near;
}

/* Hues that the reference's floats make one less where the quotient is whole, as bits: bit v / 16 % 8 of row v % 16, of
 * those below 128 and the others. */
static const uint8_t hue_less[2][16] = {
    {0x42, 0x03, 0x03, 0x03, 0x43, 0x03, 0x03, 0x03, 0x63, 0x03, 0x03, 0x03, 0x23, 0x03, 0x03, 0x03},
    {0x08, 0x3f, 0x00, 0x03, 0x00, 0x1f, 0x00, 0x01, 0x08, 0x1f, 0x00, 0x01, 0x00, 0x1f, 0x00, 0x01}};
static const uint8_t bit_of[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

/* -- blur -- */

/* Whether a pass of radius 0 is (c 2^24 + edge d + 2^23) >> 24 with d = b + d - 2 c, a product and not two: it is where
 * full + 2 edge = 2^24. Where that is 2^24 - 1 (there is nothing else) c is missing from the sum, which does no harm
 * unless some d leaves less than c above a whole number. */
static int box_is_near(const struct lafs_box *b)
{
    if (b->radius != 0) return 0;
    if (b->full + 2 * b->edge == 1u << 24) return 1;
    uint32_t least = UINT32_MAX;
    for (uint32_t d = 0; d <= 1020; d++) {
        const uint32_t fraction = (b->edge << 8) * (d - 510) + (1u << 31); /* in 32 bits */
        least = least < fraction ? least : fraction;
    }
    return least >= 255u << 8;
}

#if defined __x86_64__
#include <immintrin.h>

/* Between RGB and planes, 16 pixels in three vectors at a time. Byte j of vector v is of channel (16 v + j) % 3 =
 * (v + j) % 3. So for a channel c there is one v for each j, v = c - j (mod 3), and these 16 bytes are all its pixels.
 * Row c of `mixed`: which pixel stands at j; of `sorted`: at which j a pixel stands. */
#define MIXED1(c, j) (((16 * (((c) + 15 - (j)) % 3)) + (j)) / 3)
#define SORTED1(c, i) ((3 * (i) + (c)) % 16)
#define IS1(k, j) ((j) % 3 == (k) ? 255 : 0)
#define ROW16(f, a)                                                                                                  \
    {f(a, 0), f(a, 1), f(a, 2),  f(a, 3),  f(a, 4),  f(a, 5),  f(a, 6),  f(a, 7),                                    \
     f(a, 8), f(a, 9), f(a, 10), f(a, 11), f(a, 12), f(a, 13), f(a, 14), f(a, 15)}
static const uint8_t mixed[3][16] = {ROW16(MIXED1, 0), ROW16(MIXED1, 1), ROW16(MIXED1, 2)};
static const uint8_t sorted[3][16] = {ROW16(SORTED1, 0), ROW16(SORTED1, 1), ROW16(SORTED1, 2)};
static const uint8_t every_third[2][16] = {ROW16(IS1, 0), ROW16(IS1, 1)};
/* Bytes j from a where j % 3 is 0, from b where it is 1, else from c. */
#define THIRDS(a, b, c) _mm_blendv_epi8(_mm_blendv_epi8(c, b, second), a, first)

#define HAS_SHUFFLE 1
#define LOAD128(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define STORE128(p, v) _mm_storeu_si128((__m128i *)(void *)(p), v)
#define LOAD256(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define STORE256(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)

/* 512 bits: needs F, BW, VL, DQ. */
#define FN(name) name##_avx512
#define TARGET LAFS_TARGET_512
#define LANES 16
typedef int32_t i32_avx512 __attribute__((vector_size(64)));
typedef uint16_t u16_avx512 __attribute__((vector_size(64)));
typedef uint8_t u8_avx512 __attribute__((vector_size(64)));
#define F __m512
#define I i32_avx512
#define H u16_avx512
#define B u8_avx512
#define SPLAT(x) _mm512_set1_ps(x)
#define MAX(a, b) _mm512_max_ps(a, b)
#define MIN(a, b) _mm512_min_ps(a, b)
#define INT_OF(a) (I)_mm512_cvttps_epi32(a)
#define FLOAT_OF(a) _mm512_cvtepi32_ps((__m512i)(a))
#define LOAD_U8(p) (I)_mm512_cvtepu8_epi32(LOAD128(p))
#define STORE16(p, v) STORE128(p, _mm512_cvtusepi32_epi8(_mm512_max_epi32((__m512i)(v)[0], _mm512_setzero_si512())))
#define LOAD_U8H(p) (H)_mm512_cvtepu8_epi16(LOAD256(p))
#define STORE_U8H(p, v) STORE256(p, _mm512_cvtusepi16_epi8((__m512i)(v)))
#define ZIP_LO16(a, b) (I)_mm512_unpacklo_epi16((__m512i)(a), (__m512i)(b))
#define ZIP_HI16(a, b) (I)_mm512_unpackhi_epi16((__m512i)(a), (__m512i)(b))
#define MADD(a, b) (I)_mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#define PACK16(a, b) (H)_mm512_packus_epi32((__m512i)(a), (__m512i)(b))
#define MULHI(a, b) (H)_mm512_mulhi_epi16((__m512i)(a), (__m512i)(b))
#define MULHIU(a, b) (H)_mm512_mulhi_epu16((__m512i)(a), (__m512i)(b))
#define ZIP_LO8(a, b) (H)_mm512_unpacklo_epi8((__m512i)(a), (__m512i)(b))
#define ZIP_HI8(a, b) (H)_mm512_unpackhi_epi8((__m512i)(a), (__m512i)(b))
#define PACK8(a, b) (B)_mm512_packus_epi16((__m512i)(a), (__m512i)(b))
#define MAX8(a, b) (B)_mm512_max_epu8((__m512i)(a), (__m512i)(b))
#define MIN8(a, b) (B)_mm512_min_epu8((__m512i)(a), (__m512i)(b))
#define SELECT8(mask, x, y) (B)_mm512_ternarylogic_epi32((__m512i)(mask), (__m512i)(x), (__m512i)(y), 0xCA)
#define SHUFFLE8(table, at) (B)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(LOAD128(table)), (__m512i)(at))
#include "kernels/cpu/render_kernels.inc"

#define FN(name) name##_avx2
#define TARGET LAFS_TARGET_256
#define LANES 8
typedef int32_t i32_avx2 __attribute__((vector_size(32)));
typedef uint16_t u16_avx2 __attribute__((vector_size(32)));
typedef uint8_t u8_avx2 __attribute__((vector_size(32)));
#define F __m256
#define I i32_avx2
#define H u16_avx2
#define B u8_avx2
#define SPLAT(x) _mm256_set1_ps(x)
#define MAX(a, b) _mm256_max_ps(a, b)
#define MIN(a, b) _mm256_min_ps(a, b)
#define INT_OF(a) (I)_mm256_cvttps_epi32(a)
#define FLOAT_OF(a) _mm256_cvtepi32_ps((__m256i)(a))
#define LOAD_U8(p) (I)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define STORE16(p, v)                                                                                              \
    do {                                                                                                           \
        __m256i s_ = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)(v)[0], (__m256i)(v)[1]), 0xD8);         \
        STORE128(p, _mm_packus_epi16(_mm256_castsi256_si128(s_), _mm256_extracti128_si256(s_, 1)));                \
    } while (0)
#define LOAD_U8H(p) (H)_mm256_cvtepu8_epi16(LOAD128(p))
#define STORE_U8H(p, v)                                                                                            \
    STORE128(p, _mm256_castsi256_si128(                                                                            \
                    _mm256_permute4x64_epi64(_mm256_packus_epi16((__m256i)(v), (__m256i)(v)), 0x08)))
#define ZIP_LO16(a, b) (I)_mm256_unpacklo_epi16((__m256i)(a), (__m256i)(b))
#define ZIP_HI16(a, b) (I)_mm256_unpackhi_epi16((__m256i)(a), (__m256i)(b))
#define MADD(a, b) (I)_mm256_madd_epi16((__m256i)(a), (__m256i)(b))
#define PACK16(a, b) (H)_mm256_packus_epi32((__m256i)(a), (__m256i)(b))
#define MULHI(a, b) (H)_mm256_mulhi_epi16((__m256i)(a), (__m256i)(b))
#define MULHIU(a, b) (H)_mm256_mulhi_epu16((__m256i)(a), (__m256i)(b))
#define ZIP_LO8(a, b) (H)_mm256_unpacklo_epi8((__m256i)(a), (__m256i)(b))
#define ZIP_HI8(a, b) (H)_mm256_unpackhi_epi8((__m256i)(a), (__m256i)(b))
#define PACK8(a, b) (B)_mm256_packus_epi16((__m256i)(a), (__m256i)(b))
#define MAX8(a, b) (B)_mm256_max_epu8((__m256i)(a), (__m256i)(b))
#define MIN8(a, b) (B)_mm256_min_epu8((__m256i)(a), (__m256i)(b))
#define SELECT8(mask, x, y) (B)_mm256_blendv_epi8((__m256i)(y), (__m256i)(x), (__m256i)(mask))
#define SHUFFLE8(table, at) (B)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(LOAD128(table)), (__m256i)(at))
#include "kernels/cpu/render_kernels.inc"
#endif

/* -- four lanes of whatever the compiler has for them -- */

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
#define EACH4(type, expression)                       \
    ({                                                \
        type r_ = {0};                                \
        for (int i = 0; i < 4; i++) r_[i] = expression; \
        r_;                                           \
    })

static inline f32x4 choose4(i32x4 mask, f32x4 x, f32x4 y)
{
    return (f32x4)((mask & (i32x4)x) | (~mask & (i32x4)y));
}
static inline i32x4 load_u8_4(const uint8_t *p) { return EACH4(i32x4, p[i]); }
static inline void store16_4(uint8_t *p, const i32x4 v[4])
{
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) p[4 * j + i] = (uint8_t)(v[j][i] < 0 ? 0 : v[j][i] > 255 ? 255 : v[j][i]);
}
static inline u16x8 load_u8h_8(const uint8_t *p)
{
    u8x8 v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, u16x8);
}
static inline void store_u8h_8(uint8_t *p, u16x8 h)
{
    u8x8 v = {0};
    for (int i = 0; i < 8; i++) v[i] = (uint8_t)(h[i] > 255 ? 255 : h[i]);
    memcpy(p, &v, sizeof v);
}
static inline i32x4 zip4(u16x8 a, u16x8 b, int from)
{
    return EACH4(i32x4, (int32_t)((uint32_t)a[from + i] | (uint32_t)b[from + i] << 16));
}
static inline i32x4 madd4(i32x4 a, i32x4 b)
{
    return EACH4(i32x4, (int16_t)a[i] * (int16_t)b[i] + (a[i] >> 16) * (b[i] >> 16));
}
static inline u16x8 pack4(i32x4 a, i32x4 b)
{
    u16x8 r = {0};
    for (int i = 0; i < 8; i++) {
        const int32_t v = i < 4 ? a[i] : b[i - 4];
        r[i] = (uint16_t)(v < 0 ? 0 : v > 65535 ? 65535 : v);
    }
    return r;
}
static inline u16x8 upper8(u16x8 a, u16x8 b, int has_sign)
{
    u16x8 r = {0};
    for (int i = 0; i < 8; i++)
        r[i] = (uint16_t)((has_sign ? (uint32_t)((int16_t)a[i] * (int16_t)b[i]) : (uint32_t)a[i] * b[i]) >> 16);
    return r;
}
static inline u8x16 choose16(u8x16 mask, u8x16 x, u8x16 y) { return (mask & x) | (~mask & y); }
static inline u8x16 pack16(u16x8 a, u16x8 b)
{
    u8x16 r = {0};
    for (int i = 0; i < 16; i++) {
        const int16_t v = (int16_t)(i < 8 ? a[i] : b[i - 8]);
        r[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return r;
}
static inline u8x16 shuffle16(const uint8_t table[16], u8x16 at)
{
    u8x16 r = {0};
    for (int i = 0; i < 16; i++) r[i] = at[i] > 127 ? 0 : table[at[i] & 15];
    return r;
}

#define FN(name) name##_generic
#define TARGET
#define LANES 4
#define F f32x4
#define I i32x4
#define H u16x8
#define B u8x16
#define SPLAT(x) ((f32x4){x, x, x, x})
#define MAX(a, b) choose4((a) > (b), a, b)
#define MIN(a, b) choose4((a) < (b), a, b)
#define INT_OF(a) __builtin_convertvector(a, i32x4)
#define FLOAT_OF(a) __builtin_convertvector(a, f32x4)
#define LOAD_U8(p) load_u8_4(p)
#define STORE16(p, v) store16_4(p, v)
#define LOAD_U8H(p) load_u8h_8(p)
#define STORE_U8H(p, v) store_u8h_8(p, v)
#define ZIP_LO16(a, b) zip4(a, b, 0)
#define ZIP_HI16(a, b) zip4(a, b, 4)
#define MADD(a, b) madd4(a, b)
#define PACK16(a, b) pack4(a, b)
#define MULHI(a, b) upper8(a, b, 1)
#define MULHIU(a, b) upper8(a, b, 0)
#define ZIP_LO8(a, b) (H) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HI8(a, b) (H) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define PACK8(a, b) pack16(a, b)
#define MAX8(a, b) choose16((B)((a) > (b)), a, b)
#define MIN8(a, b) choose16((B)((a) < (b)), a, b)
#define SELECT8(mask, x, y) choose16(mask, x, y)
#define SHUFFLE8(table, at) shuffle16(table, at)
#undef HAS_SHUFFLE
#include "kernels/cpu/render_kernels.inc"

const struct lafs_render_kernels *lafs_render_kernels(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == 2) return &set_avx512;
    if (level == 1) return &set_avx2;
#endif
    return &set_generic;
}
