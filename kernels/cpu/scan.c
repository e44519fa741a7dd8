/* The scan of a gallery in 8-bit integers. Integer sums are exact, so every instruction set gives the same bits.
 *
 * The instructions multiply unsigned by signed bytes: q is taken as q + 128, and 128 times the sum of g is subtracted
 * at the end. On AVX2 two products are added in 16 bits: 255 * 63 * 2 fits, which is why g has 7 bits.
 *
 * A tile is 64 rows of the gallery against QUERIES queries: the queries stay in L2, 16 rows of the gallery in L1. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

enum { ROWS = 64, PART = 16, QUERIES = 128 };

struct scan {
    int64_t nq, m, dim, words, query_blocks;
    const int8_t *q, *g;
    const float *c, *a, *x, *y;
    uint64_t *hits;
};

/* What a tile needs of its rows: pointers (the last row again behind m), 128 times their sums, x and y. */
struct rows {
    const int8_t *g[ROWS];
    int32_t offset[ROWS];
    float x[ROWS], y[ROWS];
    int n;
};

LAFS_INLINE void take_rows(const struct scan *s, int64_t first, struct rows *r)
{
    r->n = s->m - first < ROWS ? (int)(s->m - first) : ROWS;
    for (int k = 0; k < ROWS; k++) {
        int64_t j = first + (k < r->n ? k : r->n - 1);
        int32_t sum = 0;
        r->g[k] = s->g + j * s->dim;
        for (int64_t t = 0; t < s->dim; t++) sum += r->g[k][t];
        r->offset[k] = 128 * sum;
        r->x[k] = s->x[j];
        r->y[k] = s->y[j];
    }
}

/* The bits of 16 dot products, whose offset is not subtracted yet. */
LAFS_INLINE uint64_t compare(const int32_t *dot, const struct rows *r, int from, float c, float a)
{
    uint32_t bits = 0;
    for (int k = 0; k < PART; k++)
        bits |= (uint32_t)((float)(dot[k] - r->offset[from + k]) >= c * r->x[from + k] - a * r->y[from + k]) << k;
    return bits;
}

/* Two queries against 16 rows. */
typedef void dots_fn(const int8_t *q0, const int8_t *q1, const int8_t *const *g, int64_t dim, int32_t out[2][PART]);

LAFS_INLINE void scan_rows(const struct scan *s, int64_t tile, dots_fn *dots)
{
    const int64_t block = tile / s->query_blocks, first = tile % s->query_blocks * QUERIES;
    const int64_t end = first + QUERIES < s->nq ? first + QUERIES : s->nq;
    struct rows r;
    take_rows(s, block * ROWS, &r);
    const uint64_t mask = r.n == ROWS ? ~(uint64_t)0 : ((uint64_t)1 << r.n) - 1;
    for (int64_t i = first; i < end; i++) s->hits[i * s->words + block] = 0;
    for (int from = 0; from < r.n; from += PART)
        for (int64_t i = first; i < end; i += 2) {
            int64_t two = i + 1 < end ? i + 1 : i;
            int32_t dot[2][PART];
            dots(s->q + i * s->dim, s->q + two * s->dim, r.g + from, s->dim, dot);
            s->hits[i * s->words + block] |= compare(dot[0], &r, from, s->c[i], s->a[i]) << from & mask;
            if (two != i)
                s->hits[two * s->words + block] |= compare(dot[1], &r, from, s->c[two], s->a[two]) << from & mask;
        }
}

LAFS_INLINE void dots_plain(const int8_t *q0, const int8_t *q1, const int8_t *const *g, int64_t dim,
                            int32_t out[2][PART])
{
    for (int k = 0; k < PART; k++) {
        int32_t s0 = 0, s1 = 0;
        for (int64_t t = 0; t < dim; t++) {
            s0 += (q0[t] + 128) * g[k][t];
            s1 += (q1[t] + 128) * g[k][t];
        }
        out[0][k] = s0;
        out[1][k] = s1;
    }
}

static void tile_plain(void *arg, int64_t tile, int worker)
{
    (void)worker;
    scan_rows(arg, tile, dots_plain);
}

#if defined __x86_64__

#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/* The sums of four vectors of eight. */
TARGET_AVX2 static inline __attribute__((always_inline)) __m128i sum_four(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

TARGET_AVX2 static inline __attribute__((always_inline)) __m256i add_dots(__m256i sum, __m256i q, __m256i g)
{
    const __m256i ones = _mm256_set1_epi16(1);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, g), ones));
}

TARGET_AVX2 static inline __attribute__((always_inline)) void dots_avx2(const int8_t *q0, const int8_t *q1,
                                                                        const int8_t *const *g, int64_t dim,
                                                                        int32_t out[2][PART])
{
    const __m256i flip = _mm256_set1_epi8(-128);
    for (int k = 0; k < PART; k += 4) {
        __m256i s[2][4] = {{_mm256_setzero_si256()}};
        for (int b = 0; b < 4; b++) s[0][b] = s[1][b] = _mm256_setzero_si256();
        for (int64_t t = 0; t < dim; t += 32) {
            __m256i v0 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(q0 + t)), flip);
            __m256i v1 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(q1 + t)), flip);
            for (int b = 0; b < 4; b++) {
                __m256i w = _mm256_loadu_si256((const __m256i *)(g[k + b] + t));
                s[0][b] = add_dots(s[0][b], v0, w);
                s[1][b] = add_dots(s[1][b], v1, w);
            }
        }
        for (int i = 0; i < 2; i++)
            _mm_storeu_si128((__m128i *)(out[i] + k), sum_four(s[i][0], s[i][1], s[i][2], s[i][3]));
    }
}

TARGET_AVX2 static void tile_avx2(void *arg, int64_t tile, int worker)
{
    (void)worker;
    scan_rows(arg, tile, dots_avx2);
}

TARGET_VNNI static inline __attribute__((always_inline)) __m256i halves(__m512i s)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
}

TARGET_VNNI static inline __attribute__((always_inline)) void dots_vnni(const int8_t *q0, const int8_t *q1,
                                                                        const int8_t *const *g, int64_t dim,
                                                                        int32_t out[2][PART])
{
    const __m512i flip = _mm512_set1_epi8(-128);
    for (int k = 0; k < PART; k += 8) {
        __m512i s[2][8];
        for (int b = 0; b < 8; b++) s[0][b] = s[1][b] = _mm512_setzero_si512();
        for (int64_t t = 0; t < dim; t += 64) {
            __m512i v0 = _mm512_xor_si512(_mm512_loadu_si512(q0 + t), flip);
            __m512i v1 = _mm512_xor_si512(_mm512_loadu_si512(q1 + t), flip);
            for (int b = 0; b < 8; b++) {
                __m512i w = _mm512_loadu_si512(g[k + b] + t);
                s[0][b] = _mm512_dpbusd_epi32(s[0][b], v0, w);
                s[1][b] = _mm512_dpbusd_epi32(s[1][b], v1, w);
            }
        }
        for (int i = 0; i < 2; i++)
            for (int b = 0; b < 8; b += 4)
                _mm_storeu_si128((__m128i *)(out[i] + k + b),
                                 sum_four(halves(s[i][b]), halves(s[i][b + 1]), halves(s[i][b + 2]),
                                          halves(s[i][b + 3])));
    }
}

TARGET_VNNI static void tile_vnni(void *arg, int64_t tile, int worker)
{
    (void)worker;
    scan_rows(arg, tile, dots_vnni);
}

static lafs_tile_fn *best_tile(void)
{
    int level = lafs_isa_level();
    if (level >= 2 && __builtin_cpu_supports("avx512vnni")) return tile_vnni;
    return level >= 1 ? tile_avx2 : tile_plain;
}

#else
static lafs_tile_fn *best_tile(void) { return tile_plain; }
#endif

void lafs_cpu_scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                   const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    struct scan s = {nq, m, dim, (m + ROWS - 1) / ROWS, (nq + QUERIES - 1) / QUERIES, q, g, c, a, x, y, hits};
    lafs_pool_for(d->pool, s.words * s.query_blocks, best_tile(), &s);
}
