/* AVX-512 for processors without it: the intrinsics that the kernels use, each written out after Intel's manual on plain
 * 64-byte vectors. `-include` of this file compiles kernels/cpu and the vector code of lib/eval as they stand: their
 * 512-bit code then runs anywhere that has AVX2, and their tests compare it with the reference (Makefile, EMULATED). It says nothing about instructions
 * that a compiler chooses by itself, nor about speed. */
#ifndef LAFS_TESTS_EMULATE_AVX512_H
#define LAFS_TESTS_EMULATE_AVX512_H

#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined __clang__ /* has some of them as macros */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wmacro-redefined"
#endif

/* The sets are there, whatever cpuid says, and what asks to be compiled for them is compiled for AVX2. So are tiles
 * (kernels/cpu/amx.h): the processor has them, and the kernel saves and permits them (lib/base/isa.c). */
#define __builtin_cpu_supports(set) (!strncmp(set, "avx512", 6) || __builtin_cpu_supports(set))
static inline int emu_cpuid(unsigned leaf, unsigned sub, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
    if (!__get_cpuid_count(leaf, sub, a, b, c, d)) *a = *b = *c = *d = 0;
    if (leaf == 7 && sub == 0) *d |= 1 << 22 | 1 << 24 | 1 << 25;
    if (leaf == 7 && sub == 1) *a |= 1 << 4 | 1 << 5;
    return 1;
}
#define __get_cpuid_count(leaf, sub, a, b, c, d) emu_cpuid(leaf, sub, a, b, c, d)
#define _xgetbv(which) (~0ull)
#define syscall(...) 0
#define target(sets) target("avx2,fma")

typedef float emu_f __attribute__((vector_size(64)));
typedef long long emu_i __attribute__((vector_size(64)));
typedef int16_t emu_i16 __attribute__((vector_size(64)));
typedef int32_t emu_i32 __attribute__((vector_size(64)));
typedef uint8_t emu_u8 __attribute__((vector_size(64)));
typedef uint16_t emu_u16 __attribute__((vector_size(64)));
typedef uint32_t emu_u32 __attribute__((vector_size(64)));
typedef uint64_t emu_u64 __attribute__((vector_size(64)));
typedef uint8_t emu_16u8 __attribute__((vector_size(16)));
typedef uint16_t emu_16u16 __attribute__((vector_size(32)));
typedef uint8_t emu_32u8 __attribute__((vector_size(32)));
#define EMU static inline __attribute__((always_inline, unused, target("avx2,fma")))
#define EMU_EACH(n) for (int i = 0; i < (n); i++)

/* -- memory -- */

EMU emu_f emu_load(const void *p)
{
    emu_f v;
    memcpy(&v, p, sizeof v);
    return v;
}
EMU void emu_store(void *p, emu_f v) { memcpy(p, &v, sizeof v); }
/* Lanes whose bit is not set are not touched in memory. */
EMU emu_f emu_load_some(unsigned mask, const float *p)
{
    emu_f v = {0};
    EMU_EACH(16) if (mask >> i & 1) v[i] = p[i];
    return v;
}
EMU void emu_store_some(float *p, unsigned mask, emu_f v)
{
    EMU_EACH(16) if (mask >> i & 1) p[i] = v[i];
}
#define _mm512_loadu_ps(p) emu_load(p)
#define _mm512_storeu_ps(p, v) emu_store(p, v)
#define _mm512_loadu_si512(p) ((emu_i)emu_load(p))
#define _mm512_storeu_si512(p, v) emu_store(p, (emu_f)(v))
#define _mm512_maskz_loadu_ps(mask, p) emu_load_some(mask, p)
#define _mm512_mask_storeu_ps(p, mask, v) emu_store_some(p, mask, v)

/* -- floats -- */

EMU emu_f emu_splat(float x)
{
    emu_f v;
    EMU_EACH(16) v[i] = x;
    return v;
}
EMU emu_f emu_fma(emu_f a, emu_f b, emu_f c)
{
    EMU_EACH(16) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
/* The second operand where they are unordered or both zero. */
EMU emu_f emu_max(emu_f a, emu_f b)
{
    EMU_EACH(16) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}
EMU emu_f emu_min(emu_f a, emu_f b)
{
    EMU_EACH(16) b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}
EMU unsigned emu_compare(emu_f a, emu_f b, int how)
{
    unsigned mask = 0;
    EMU_EACH(16)
    {
        int holds = how == _CMP_GT_OQ   ? a[i] > b[i]
                    : how == _CMP_EQ_OQ ? a[i] == b[i]
                    : how == _CMP_LT_OQ ? a[i] < b[i]
                    : how == _CMP_GE_OQ ? a[i] >= b[i]
                                        : -1;
        if (holds < 0) abort(); /* none that is used */
        mask |= (unsigned)holds << i;
    }
    return mask;
}
EMU emu_f emu_blend(unsigned mask, emu_f a, emu_f b)
{
    EMU_EACH(16) if (mask >> i & 1) a[i] = b[i];
    return a;
}
/* The one rounding that is used: towards zero, to whole numbers. */
EMU emu_f emu_round(emu_f a, int how)
{
    if (how != (_MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)) abort();
    EMU_EACH(16) a[i] = __builtin_truncf(a[i]);
    return a;
}
#define __m512 emu_f
#define _mm512_set1_ps(x) emu_splat(x)
#define _mm512_add_ps(a, b) ((a) + (b))
#define _mm512_sub_ps(a, b) ((a) - (b))
#define _mm512_mul_ps(a, b) ((a) * (b))
#define _mm512_fmadd_ps(a, b, c) emu_fma(a, b, c)
#define _mm512_max_ps(a, b) emu_max(a, b)
#define _mm512_min_ps(a, b) emu_min(a, b)
#define _mm512_abs_ps(a) ((emu_f)((emu_i32)(a) & 0x7fffffff))
#define _mm512_cmp_ps_mask(a, b, how) emu_compare(a, b, how)
#define _mm512_maskz_mov_ps(mask, v) emu_blend(mask, emu_splat(0), v)
#define _mm512_mask_blend_ps(mask, a, b) emu_blend(mask, a, b)
#define _mm512_roundscale_ps(a, how) emu_round(a, how)
#define _mm512_castsi512_ps(a) ((emu_f)(a))
#define _mm512_castps_si512(a) ((emu_i)(a))

/* -- integers -- */

EMU emu_i emu_splat32(int x)
{
    emu_i32 v;
    EMU_EACH(16) v[i] = x;
    return (emu_i)v;
}
EMU emu_i emu_splat8(char x)
{
    emu_u8 v;
    EMU_EACH(64) v[i] = (uint8_t)x;
    return (emu_i)v;
}
EMU emu_i emu_max32(emu_i a, emu_i b)
{
    emu_i32 x = (emu_i32)a, y = (emu_i32)b;
    EMU_EACH(16) x[i] = x[i] > y[i] ? x[i] : y[i];
    return (emu_i)x;
}
/* Bit 4a + 2b + c of the table, for each bit. */
EMU emu_i emu_ternary(emu_i a, emu_i b, emu_i c, int table)
{
    emu_i v = {0};
    EMU_EACH(8)
    {
        v = v | (table >> i & 1 ? (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c) : (emu_i){0});
    }
    return v;
}
EMU emu_i emu_mul_low32(emu_i a, emu_i b) { return (emu_i)(((emu_u64)a & 0xffffffffu) * ((emu_u64)b & 0xffffffffu)); }
EMU emu_i emu_madd16(emu_i a, emu_i b)
{
    emu_i16 x = (emu_i16)a, y = (emu_i16)b;
    emu_i32 v;
    EMU_EACH(16) v[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return (emu_i)v;
}
EMU emu_i emu_dot8(emu_i sum, emu_i a, emu_i b) /* unsigned by signed */
{
    emu_i32 v = (emu_i32)sum;
    emu_u8 x = (emu_u8)a, y = (emu_u8)b;
    EMU_EACH(16)
    for (int k = 0; k < 4; k++) v[i] += (int)x[4 * i + k] * (int8_t)y[4 * i + k];
    return (emu_i)v;
}
EMU __m256i emu_dot8_256(__m256i sum, __m256i a, __m256i b) /* AVX-VNNI, which is no part of AVX-512 */
{
    int32_t v[8];
    uint8_t x[32];
    int8_t y[32];
    memcpy(v, &sum, sizeof v), memcpy(x, &a, sizeof x), memcpy(y, &b, sizeof y);
    EMU_EACH(32) v[i / 4] += x[i] * y[i];
    memcpy(&sum, v, sizeof v);
    return sum;
}
EMU emu_i emu_pack32(emu_i a, emu_i b) /* to unsigned 16 bits, saturated; of each 128 bits first a's, then b's */
{
    emu_i32 x = (emu_i32)a, y = (emu_i32)b;
    emu_u16 v;
    EMU_EACH(32)
    {
        const int lane = i / 8 * 4, k = i % 8, n = k < 4 ? x[lane + k] : y[lane + k - 4];
        v[i] = (uint16_t)(n < 0 ? 0 : n > 65535 ? 65535 : n);
    }
    return (emu_i)v;
}
EMU emu_i emu_pack16(emu_i a, emu_i b) /* the same from 16 bits with a sign to 8 without */
{
    emu_i16 x = (emu_i16)a, y = (emu_i16)b;
    emu_u8 v;
    EMU_EACH(64)
    {
        const int lane = i / 16 * 8, k = i % 16, n = k < 8 ? x[lane + k] : y[lane + k - 8];
        v[i] = (uint8_t)(n < 0 ? 0 : n > 255 ? 255 : n);
    }
    return (emu_i)v;
}
EMU emu_i emu_upper16(emu_i a, emu_i b, int sign) /* halves of products */
{
    emu_u16 x = (emu_u16)a, y = (emu_u16)b;
    EMU_EACH(32)
    {
        const uint32_t product = sign ? (uint32_t)((int16_t)x[i] * (int16_t)y[i]) : (uint32_t)x[i] * y[i];
        x[i] = (uint16_t)(product >> 16);
    }
    return (emu_i)x;
}
EMU emu_i emu_max8(emu_i a, emu_i b)
{
    emu_u8 x = (emu_u8)a, y = (emu_u8)b;
    EMU_EACH(64) x[i] = x[i] > y[i] ? x[i] : y[i];
    return (emu_i)x;
}
EMU emu_i emu_min8(emu_i a, emu_i b)
{
    emu_u8 x = (emu_u8)a, y = (emu_u8)b;
    EMU_EACH(64) x[i] = x[i] < y[i] ? x[i] : y[i];
    return (emu_i)x;
}
/* Of the same 128 bits of a; 0 where the top bit of `at` is set. */
EMU emu_i emu_shuffle8(emu_i a, emu_i at)
{
    emu_u8 x = (emu_u8)a, p = (emu_u8)at, v;
    EMU_EACH(64) v[i] = p[i] & 128 ? 0 : x[(i & 48) + (p[i] & 15)];
    return (emu_i)v;
}
EMU emu_i emu_broadcast128(__m128i a)
{
    emu_i v;
    EMU_EACH(4) memcpy((char *)&v + 16 * i, &a, sizeof a);
    return v;
}
/* Byte i is byte at[i] of the 128 of a and b. */
EMU emu_i emu_permute8(emu_i a, emu_i at, emu_i b)
{
    emu_u8 x = (emu_u8)a, y = (emu_u8)b, p = (emu_u8)at, v;
    EMU_EACH(64) v[i] = p[i] & 64 ? y[p[i] & 63] : x[p[i] & 63];
    return (emu_i)v;
}
EMU uint64_t emu_signs8(emu_i a)
{
    uint64_t mask = 0;
    EMU_EACH(64) mask |= (uint64_t)(((emu_u8)a)[i] >> 7) << i;
    return mask;
}
EMU emu_i emu_blend8(uint64_t mask, emu_i a, emu_i b)
{
    emu_u8 x = (emu_u8)a, y = (emu_u8)b;
    EMU_EACH(64) if (mask >> i & 1) x[i] = y[i];
    return (emu_i)x;
}
/* Of each 128 bits the lower (0) or upper (1) half of the numbers, of `size` bytes, in turn. */
EMU emu_i emu_interleave(emu_i a, emu_i b, int size, int upper)
{
    const char *x = (const char *)&a, *y = (const char *)&b;
    emu_i v;
    char *to = (char *)&v;
    for (int lane = 0; lane < 64; lane += 16)
        for (int at = 8 * upper; at < 8 * upper + 8; at += size, to += 2 * size) {
            memcpy(to, x + lane + at, (size_t)size);
            memcpy(to + size, y + lane + at, (size_t)size);
        }
    return v;
}
/* Two quarters of a, two of b, each named by two bits of `which`. */
EMU emu_i emu_quarters(emu_i a, emu_i b, int which)
{
    emu_i v;
    EMU_EACH(4) memcpy((char *)&v + 16 * i, (const char *)(i < 2 ? &a : &b) + 16 * (which >> 2 * i & 3), 16);
    return v;
}
EMU emu_i emu_permute16(emu_i at, emu_i a)
{
    emu_u16 x = (emu_u16)a, p = (emu_u16)at, v;
    EMU_EACH(32) v[i] = x[p[i] & 31];
    return (emu_i)v;
}
#define __m512i emu_i
#define _mm512_unpacklo_epi32(a, b) emu_interleave(a, b, 4, 0)
#define _mm512_unpackhi_epi32(a, b) emu_interleave(a, b, 4, 1)
#define _mm512_unpacklo_epi64(a, b) emu_interleave(a, b, 8, 0)
#define _mm512_unpackhi_epi64(a, b) emu_interleave(a, b, 8, 1)
#define _mm512_shuffle_i32x4(a, b, which) emu_quarters(a, b, which)
#define _mm512_permutexvar_epi16(at, a) emu_permute16(at, a)
#define _mm512_slli_epi32(a, by) ((emu_i)((emu_u32)(a) << (by)))
#define _mm512_set1_epi32(x) emu_splat32(x)
#define _mm512_set1_epi8(x) emu_splat8(x)
#define _mm512_setzero_si512() emu_splat32(0)
#define _mm512_xor_si512(a, b) ((a) ^ (b))
#define _mm512_max_epi32(a, b) emu_max32(a, b)
#define _mm512_ternarylogic_epi32(a, b, c, table) emu_ternary(a, b, c, table)
#define _mm512_mul_epu32(a, b) emu_mul_low32(a, b)
#define _mm512_madd_epi16(a, b) emu_madd16(a, b)
#define _mm512_dpbusd_epi32(sum, a, b) emu_dot8(sum, a, b)
#define _mm256_dpbusd_avx_epi32(sum, a, b) emu_dot8_256(sum, a, b)
#define _mm512_unpacklo_epi16(a, b) emu_interleave(a, b, 2, 0)
#define _mm512_unpackhi_epi16(a, b) emu_interleave(a, b, 2, 1)
#define _mm512_packus_epi32(a, b) emu_pack32(a, b)
#define _mm512_unpacklo_epi8(a, b) emu_interleave(a, b, 1, 0)
#define _mm512_unpackhi_epi8(a, b) emu_interleave(a, b, 1, 1)
#define _mm512_packus_epi16(a, b) emu_pack16(a, b)
#define _mm512_mulhi_epi16(a, b) emu_upper16(a, b, 1)
#define _mm512_mulhi_epu16(a, b) emu_upper16(a, b, 0)
#define _mm512_max_epu8(a, b) emu_max8(a, b)
#define _mm512_min_epu8(a, b) emu_min8(a, b)
#define _mm512_shuffle_epi8(a, at) emu_shuffle8(a, at)
#define _mm512_broadcast_i32x4(a) emu_broadcast128(a)
#define _mm512_permutex2var_epi8(a, at, b) emu_permute8(a, at, b)
#define _mm512_movepi8_mask(a) emu_signs8(a)
#define _mm512_mask_blend_epi8(mask, a, b) emu_blend8(mask, a, b)

/* -- from one kind to another -- */

EMU emu_i emu_to_int(emu_f a) /* towards zero */
{
    emu_i32 v;
    EMU_EACH(16) v[i] = fabsf(a[i]) < 0x1p31f ? (int32_t)a[i] : INT32_MIN;
    return (emu_i)v;
}
EMU emu_f emu_to_float(emu_i a)
{
    emu_f v;
    EMU_EACH(16) v[i] = (float)((emu_i32)a)[i];
    return v;
}
EMU emu_i emu_widen8to32(__m128i a)
{
    emu_i32 v;
    EMU_EACH(16) v[i] = ((emu_16u8)a)[i];
    return (emu_i)v;
}
EMU emu_i emu_widen16to32(__m256i a)
{
    emu_i32 v;
    EMU_EACH(16) v[i] = ((emu_16u16)a)[i];
    return (emu_i)v;
}
/* The nearest bfloat16 to a float, to even where two are; denormals are zero, a NaN becomes a quiet one. */
EMU uint16_t emu_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    const uint32_t size = u & 0x7fffffff;
    if (size < 0x00800000) return (uint16_t)(u >> 16 & 0x8000);
    if (size > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
EMU emu_i emu_bf16_of(emu_f upper, emu_f lower)
{
    emu_u16 v;
    EMU_EACH(16) v[i] = emu_bf16(lower[i]), v[16 + i] = emu_bf16(upper[i]);
    return (emu_i)v;
}
EMU emu_i emu_widen8to16(__m256i a)
{
    emu_i16 v;
    EMU_EACH(32) v[i] = ((emu_32u8)a)[i];
    return (emu_i)v;
}
EMU __m128i emu_low32to8(emu_i a)
{
    emu_16u8 v;
    EMU_EACH(16) v[i] = (uint8_t)((emu_u32)a)[i];
    return (__m128i)v;
}
EMU __m128i emu_narrow32to8(emu_i a) /* saturated */
{
    emu_16u8 v;
    EMU_EACH(16) v[i] = ((emu_u32)a)[i] > 255 ? 255 : (uint8_t)((emu_u32)a)[i];
    return (__m128i)v;
}
EMU __m256i emu_narrow16to8(emu_i a)
{
    emu_32u8 v;
    EMU_EACH(32) v[i] = ((emu_u16)a)[i] > 255 ? 255 : (uint8_t)((emu_u16)a)[i];
    return (__m256i)v;
}
EMU __m256i emu_half(emu_i a, int upper)
{
    __m256i v;
    memcpy(&v, (const char *)&a + 32 * upper, sizeof v);
    return v;
}
#define _mm512_cvttps_epi32(a) emu_to_int(a)
#define _mm512_cvtepi32_ps(a) emu_to_float(a)
#define _mm512_cvtepu8_epi32(a) emu_widen8to32(a)
#define _mm512_cvtepu16_epi32(a) emu_widen16to32(a)
#define _mm512_cvtne2ps_pbh(upper, lower) emu_bf16_of(upper, lower)
#define _mm512_cvtepu8_epi16(a) emu_widen8to16(a)
#define _mm512_cvtepi32_epi8(a) emu_low32to8(a)
#define _mm512_cvtusepi32_epi8(a) emu_narrow32to8(a)
#define _mm512_cvtusepi16_epi8(a) emu_narrow16to8(a)
#define _mm512_castsi512_si256(a) emu_half(a, 0)
#define _mm512_extracti64x4_epi64(a, upper) emu_half(a, upper)

#if defined __clang__
#pragma clang diagnostic pop
#endif

#endif
