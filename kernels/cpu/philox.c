/* Random lanes of dropout, 16 Philox blocks at a time: one body, only the product of 32-bit halves is each set's. */
#include "kernels/cpu/vec.h"

static const uint64_t counted[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Words stand in 64-bit lanes; what gathers in their upper halves is never looked at. Two vectors at a time: a round
 * waits for its product. */
#define PHILOX(name, target, vector, lanes, product)                                                            \
    target static void name(uint64_t key, uint64_t block, uint32_t site, uint32_t kind, uint64_t *drawn)        \
    {                                                                                                           \
        const vector m0 = (vector){0} + 0xD2511F53u, m1 = (vector){0} + 0xCD9E8D57u;                            \
        for (int from = 0; from < 16; from += 2 * (lanes), drawn += 4 * (lanes)) {                              \
            uint64_t low[2 * (lanes)], high[2 * (lanes)];                                                       \
            vector a0, a1, a2 = (vector){0} + site, a3 = (vector){0} + kind, b0, b1, b2 = a2, b3 = a3;          \
            vector k0 = (vector){0} + (uint32_t)key, k1 = (vector){0} + (key >> 32);                            \
            memcpy(&a0, counted + from, sizeof a0);                                                             \
            memcpy(&b0, counted + from + (lanes), sizeof b0);                                                   \
            a0 += block;                                                                                        \
            b0 += block;                                                                                        \
            a1 = a0 >> 32;                                                                                      \
            b1 = b0 >> 32;                                                                                      \
            for (int round = 0; round < 10; round++) {                                                          \
                vector p0 = product(a0, m0), p1 = product(a2, m1), q0 = product(b0, m0), q1 = product(b2, m1);  \
                a0 = (p1 >> 32) ^ a1 ^ k0;                                                                      \
                b0 = (q1 >> 32) ^ b1 ^ k0;                                                                      \
                a2 = (p0 >> 32) ^ a3 ^ k1;                                                                      \
                b2 = (q0 >> 32) ^ b3 ^ k1;                                                                      \
                a1 = p1;                                                                                        \
                b1 = q1;                                                                                        \
                a3 = p0;                                                                                        \
                b3 = q0;                                                                                        \
                k0 += 0x9E3779B9u;                                                                              \
                k1 += 0xBB67AE85u;                                                                              \
            }                                                                                                   \
            a0 = (a0 & 0xFFFFFFFFu) | a1 << 32;                                                                 \
            a2 = (a2 & 0xFFFFFFFFu) | a3 << 32;                                                                 \
            b0 = (b0 & 0xFFFFFFFFu) | b1 << 32;                                                                 \
            b2 = (b2 & 0xFFFFFFFFu) | b3 << 32;                                                                 \
            memcpy(low, &a0, sizeof a0);                                                                        \
            memcpy(low + (lanes), &b0, sizeof b0);                                                              \
            memcpy(high, &a2, sizeof a2);                                                                       \
            memcpy(high + (lanes), &b2, sizeof b2);                                                             \
            for (int l = 0; l < 2 * (lanes); l++) {                                                             \
                drawn[2 * l] = low[l];                                                                          \
                drawn[2 * l + 1] = high[l];                                                                     \
            }                                                                                                   \
        }                                                                                                       \
    }

#if defined __x86_64__
#include <immintrin.h>
typedef uint64_t wide8 __attribute__((vector_size(64)));
typedef uint64_t wide4 __attribute__((vector_size(32)));
#define PRODUCT8(a, b) ((wide8)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#define PRODUCT4(a, b) ((wide4)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
PHILOX(philox_avx512, LAFS_TARGET_512, wide8, 8, PRODUCT8)
PHILOX(philox_avx2, LAFS_TARGET_256, wide4, 4, PRODUCT4)
#endif

typedef uint64_t wide1 __attribute__((vector_size(8)));
#define PRODUCT1(a, b) (((a) & 0xFFFFFFFFu) * (b))
PHILOX(philox_generic, , wide1, 1, PRODUCT1)

void lafs_cpu_philox(uint64_t key, uint64_t block, uint32_t site, uint32_t kind, uint64_t word[32])
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == 2) philox_avx512(key, block, site, kind, word);
    else if (level == 1) philox_avx2(key, block, site, kind, word);
    else
#endif
        philox_generic(key, block, site, kind, word);
}
