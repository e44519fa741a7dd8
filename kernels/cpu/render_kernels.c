#include "kernels/cpu/render_kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/isa.h"

/* -- between RGB and planes, 16 pixels at a time: which of three vectors a byte comes from, and where it is there -- */

#define FROM(wanted, vector, at) ((wanted) == (vector) ? (at) : 128)
#define SPLIT1(c, v, i) FROM((3 * (i) + (c)) / 16, v, (3 * (i) + (c)) % 16)
#define JOIN1(v, c, i) FROM((16 * (v) + (i)) % 3, c, (16 * (v) + (i)) / 3)
#define ROW16(f, a, b)                                                                                          \
    {                                                                                                           \
        f(a, b, 0), f(a, b, 1), f(a, b, 2), f(a, b, 3), f(a, b, 4), f(a, b, 5), f(a, b, 6), f(a, b, 7),         \
            f(a, b, 8), f(a, b, 9), f(a, b, 10), f(a, b, 11), f(a, b, 12), f(a, b, 13), f(a, b, 14), f(a, b, 15) \
    }
#define TABLE3(f, a) {ROW16(f, a, 0), ROW16(f, a, 1), ROW16(f, a, 2)}

#if defined __x86_64__
#include <immintrin.h>

static const uint8_t split_table[3][3][16] = {TABLE3(SPLIT1, 0), TABLE3(SPLIT1, 1), TABLE3(SPLIT1, 2)};
static const uint8_t join_table[3][3][16] = {TABLE3(JOIN1, 0), TABLE3(JOIN1, 1), TABLE3(JOIN1, 2)};

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
#define F __m512
#define I i32_avx512
#define H u16_avx512
#define SPLAT(x) _mm512_set1_ps(x)
#define LOADF(p) _mm512_loadu_ps(p)
#define STOREF(p, v) _mm512_storeu_ps(p, v)
#define MAX(a, b) _mm512_max_ps(a, b)
#define MIN(a, b) _mm512_min_ps(a, b)
#define TRUNC(a) _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
#define ABS(a) _mm512_abs_ps(a)
#define SIGNED_LIKE(a, s)                                                                                            \
    _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(a), _mm512_castps_si512(s),                    \
                                                  _mm512_set1_epi32(INT32_MIN), 0xD8)) /* s where set, else a */
#define IF_EQ(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), y, x)
#define IF_LT(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x)
#define INT_OF(a) (I)_mm512_cvttps_epi32(a)
#define FLOAT_OF(a) _mm512_cvtepi32_ps((__m512i)(a))
#define LOAD_U8(p) (I)_mm512_cvtepu8_epi32(LOAD128(p))
#define STORE16(p, v) STORE128(p, _mm512_cvtusepi32_epi8(_mm512_max_epi32((__m512i)(v)[0], _mm512_setzero_si512())))
#define LOAD_U8H(p) (H)_mm512_cvtepu8_epi16(LOAD256(p))
#define STORE_U8H(p, v) STORE256(p, _mm512_cvtepi16_epi8((__m512i)(v)))
#define ZIP_LO16(a, b) (I)_mm512_unpacklo_epi16((__m512i)(a), (__m512i)(b))
#define ZIP_HI16(a, b) (I)_mm512_unpackhi_epi16((__m512i)(a), (__m512i)(b))
#define MADD(a, b) (I)_mm512_madd_epi16((__m512i)(a), (__m512i)(b))
#define PACK16(a, b) (H)_mm512_packus_epi32((__m512i)(a), (__m512i)(b))
#include "kernels/cpu/render_kernels.inc"

#define FN(name) name##_avx2
#define TARGET LAFS_TARGET_256
#define LANES 8
typedef int32_t i32_avx2 __attribute__((vector_size(32)));
typedef uint16_t u16_avx2 __attribute__((vector_size(32)));
#define F __m256
#define I i32_avx2
#define H u16_avx2
#define SPLAT(x) _mm256_set1_ps(x)
#define LOADF(p) _mm256_loadu_ps(p)
#define STOREF(p, v) _mm256_storeu_ps(p, v)
#define MAX(a, b) _mm256_max_ps(a, b)
#define MIN(a, b) _mm256_min_ps(a, b)
#define TRUNC(a) _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
#define ABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define SIGNED_LIKE(a, s) _mm256_or_ps(a, _mm256_and_ps(s, _mm256_set1_ps(-0.0f)))
#define IF_EQ(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_EQ_OQ))
#define IF_LT(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
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
#include "kernels/cpu/render_kernels.inc"
#endif

/* -- four lanes of whatever the compiler has for them -- */

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));
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
static inline f32x4 loadf4(const float *p)
{
    f32x4 v;
    memcpy(&v, p, sizeof v);
    return v;
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
    u8x8 v = __builtin_convertvector(h, u8x8);
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
    for (int i = 0; i < 4; i++) r[i] = (uint16_t)a[i], r[4 + i] = (uint16_t)b[i];
    return r;
}

#define FN(name) name##_generic
#define TARGET
#define LANES 4
#define F f32x4
#define I i32x4
#define H u16x8
#define SPLAT(x) ((f32x4){x, x, x, x})
#define LOADF(p) loadf4(p)
#define STOREF(p, v) memcpy(p, &(v), sizeof(v))
#define MAX(a, b) choose4((a) > (b), a, b)
#define MIN(a, b) choose4((a) < (b), a, b)
#define TRUNC(a) __builtin_convertvector(__builtin_convertvector(a, i32x4), f32x4)
#define ABS(a) ((f32x4)((i32x4)(a) & 0x7FFFFFFF))
#define SIGNED_LIKE(a, s) ((f32x4)((i32x4)(a) | ((i32x4)(s) & INT32_MIN)))
#define IF_EQ(a, b, x, y) choose4((a) == (b), x, y)
#define IF_LT(a, b, x, y) choose4((a) < (b), x, y)
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
