/* The scan of a gallery in integers of 7 bits. Integer sums are exact, so every instruction set gives the same bits.
 *
 * Vector instructions multiply unsigned by signed bytes: q is taken as q + 64, and the sum starts from -64 times that
 * of g. On AVX2 four products are added in 16 bits: 127 * 63 * 4 fits, which is why q and g have 7 bits. AMX multiplies
 * signed bytes.
 *
 * Queries are packed (scan_set.h), so that a vector holds sums of as many queries, and nothing is added across it. A
 * tile is 64 rows of the gallery against QUERIES queries: both stay in L2, a group of queries in L1. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/scan_set.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

enum { ROWS = 64, QUERIES = 128, GROUP = LAFS_SCAN_GROUP, LINE = 64 };

struct scan {
    struct lafs_dev *d;
    const struct lafs_scan_set *set;
    int64_t nq, m, dim, words, query_blocks;
    const int8_t *q, *g;
    const float *c, *a, *x, *y;
    uint64_t *hits;
    /* Of the queries, whole runs of set->groups groups; behind nq they hit nothing. */
    int64_t groups;
    int8_t *packed;
    float *pc, *pa;
    int32_t *start; /* (words*ROWS), 0 behind m */
};

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* -- before the scan -- */

/* Four bytes from -63 to 63, each with LAFS_SCAN_ABOVE more: 128 more flip the top bit, and nothing is borrowed. */
static uint32_t raised(uint32_t word) { return (word ^ 0x80808080u) - 0x01010101u * (128 - LAFS_SCAN_ABOVE); }

static void pack_group(void *arg, int64_t i, int worker)
{
    struct scan *s = arg;
    uint32_t *to = (uint32_t *)(void *)(s->packed + i * GROUP * s->dim);
    (void)worker;
    for (int64_t l = 0; l < GROUP; l++) {
        const int64_t at = i * GROUP + l;
        s->pc[at] = at < s->nq ? s->c[at] : INFINITY;
        s->pa[at] = at < s->nq ? s->a[at] : 0;
        for (int64_t t = 0; t < s->dim / 4; t++) {
            uint32_t word = 0;
            if (at < s->nq) memcpy(&word, s->q + at * s->dim + 4 * t, sizeof word);
            to[t * GROUP + l] = s->set->above ? raised(word) : word;
        }
    }
}

/* In 16 bits, which vectors have twice as many of as of 32, as long as that holds. */
LAFS_INLINE void add_up(const struct scan *s, int64_t block)
{
    for (int64_t j = block * ROWS; j < (block + 1) * ROWS; j++) {
        int32_t sum = 0;
        for (int64_t from = 0; j < s->m && from < s->dim; from += 256 * LINE / 2) {
            const int64_t to = s->dim < from + 256 * LINE / 2 ? s->dim : from + 256 * LINE / 2;
            int16_t part[LINE / 2] = {0};
            for (int64_t t = from; t < to; t += LINE / 2)
                for (int l = 0; l < LINE / 2; l++) part[l] = (int16_t)(part[l] + s->g[j * s->dim + t + l]);
            for (int l = 0; l < LINE / 2; l++) sum += part[l];
        }
        s->start[j] = -LAFS_SCAN_ABOVE * sum;
    }
}
LAFS_ISA_TILES(starts, struct scan, add_up(j, tile))

/* -- the scan -- */

/* Bit k of word[l]: row k of g (ROWS, dim), the gallery's from `first` on, hits query l of the groups from q on. */
static void look(const struct scan *s, int64_t first, int64_t n, const int8_t *g, int64_t group, uint64_t *word)
{
    const int rows = s->set->rows, groups = s->set->groups;
    _Alignas(LINE) int32_t dot[LAFS_SCAN_ROWS * LAFS_SCAN_GROUPS * GROUP];
    for (int64_t begin = 0; begin < n; begin += rows) {
        const int64_t r = begin < ROWS - rows ? begin : ROWS - rows; /* some again, where rows does not divide */
        s->set->dots(s->packed + group * GROUP * s->dim, g + r * s->dim, s->start + first + r, s->dim, dot);
        for (int64_t h = 0; h < groups; h++)
            s->set->compare(dot + h * GROUP, groups * GROUP, n - r < rows ? n - r : rows, s->pc + (group + h) * GROUP,
                            s->pa + (group + h) * GROUP, s->x + first + r, s->y + first + r, r, word + h * GROUP);
    }
}

static void scan_tile(void *arg, int64_t tile, int worker)
{
    const struct scan *s = arg;
    const int64_t block = tile / s->query_blocks, first = block * ROWS, from = tile % s->query_blocks * QUERIES / GROUP;
    const int64_t to = from + QUERIES / GROUP < s->groups ? from + QUERIES / GROUP : s->groups;
    const int64_t n = s->m - first < ROWS ? s->m - first : ROWS;
    const int8_t *g = s->g + first * s->dim;
    if (n < ROWS) { /* kernels read all rows */
        int8_t *copy = lafs_cpu_scratch(s->d, worker);
        memcpy(copy, g, (size_t)(n * s->dim));
        memset(copy + n * s->dim, 0, (size_t)((ROWS - n) * s->dim));
        g = copy;
    }
    if (s->set->begin) s->set->begin();
    for (int64_t group = from; group < to; group += s->set->groups) {
        uint64_t word[LAFS_SCAN_GROUPS * GROUP] = {0};
        look(s, first, n, g, group, word);
        for (int64_t l = 0; l < s->set->groups * GROUP && group * GROUP + l < s->nq; l++)
            s->hits[(group * GROUP + l) * s->words + block] = word[l];
    }
    if (s->set->end) s->set->end();
}

/* -- instruction sets -- */

static void dots_plain(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim, int32_t *out)
{
    (void)start;
    for (int l = 0; l < GROUP; l++) out[l] = 0;
    for (int64_t t = 0; t < dim; t++)
        for (int l = 0; l < GROUP; l++) out[l] += q[t / 4 * 4 * GROUP + 4 * l + t % 4] * g[t];
}

/* Few are set. */
LAFS_INLINE void set_bits(uint32_t of, int64_t at, uint64_t *word)
{
    for (; of; of &= of - 1) word[__builtin_ctz(of)] |= (uint64_t)1 << at;
}

static void compare_plain(const int32_t *dot, int64_t apart, int64_t rows, const float *c, const float *a,
                          const float *x, const float *y, int64_t first, uint64_t *word)
{
    for (int64_t k = 0; k < rows; k++, dot += apart) {
        uint32_t bits = 0;
        for (int l = 0; l < GROUP; l++) bits |= (uint32_t)((float)dot[l] >= c[l] * x[k] - a[l] * y[k]) << l;
        set_bits(bits, first + k, word);
    }
}

static const struct lafs_scan_set set_plain = {1, 1, 0, dots_plain, compare_plain, NULL, NULL};

#if defined __x86_64__

#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_512 __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl")))
#define TARGET_VNNI __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define TARGET_AVX_VNNI __attribute__((target("avx2,avxvnni")))

TARGET_AVX2 LAFS_INLINE __m256i vector_at(const int8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
TARGET_AVX2 LAFS_INLINE __m256i word_at(const int8_t *p)
{
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}
/* sum + the products of eight values: two words of each query in a and b, of a row in v and w. */
TARGET_AVX2 LAFS_INLINE __m256i plus(__m256i sum, __m256i a, __m256i v, __m256i b, __m256i w)
{
    const __m256i four = _mm256_add_epi16(_mm256_maddubs_epi16(a, v), _mm256_maddubs_epi16(b, w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(four, _mm256_set1_epi16(1)));
}

/* Six rows against a group: twelve sums, since two begin in a cycle and one takes five. */
TARGET_AVX_VNNI static void dots_avx_vnni(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim,
                                          int32_t *out)
{
    __m256i sum[6][2];
#pragma GCC unroll 6
    for (int k = 0; k < 6; k++) sum[k][0] = sum[k][1] = _mm256_set1_epi32(start[k]);
    for (int64_t t = 0; t < dim; t += 4, q += 4 * GROUP) {
        const __m256i a0 = vector_at(q), a1 = vector_at(q + 32);
#pragma GCC unroll 6
        for (int k = 0; k < 6; k++) {
            const __m256i v = word_at(g + k * dim + t);
            sum[k][0] = _mm256_dpbusd_avx_epi32(sum[k][0], a0, v);
            sum[k][1] = _mm256_dpbusd_avx_epi32(sum[k][1], a1, v);
        }
    }
#pragma GCC unroll 6
    for (int k = 0; k < 6; k++) {
        _mm256_storeu_si256((__m256i *)(void *)(out + k * GROUP), sum[k][0]);
        _mm256_storeu_si256((__m256i *)(void *)(out + k * GROUP + 8), sum[k][1]);
    }
}

/* Four rows against a group. */
TARGET_AVX2 static void dots_avx2(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim, int32_t *out)
{
    __m256i sum[4][2];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) sum[k][0] = sum[k][1] = _mm256_set1_epi32(start[k]);
    for (int64_t t = 0; t < dim; t += 8, q += 8 * GROUP) {
        const __m256i a0 = vector_at(q), a1 = vector_at(q + 32), b0 = vector_at(q + 64), b1 = vector_at(q + 96);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const __m256i v = word_at(g + k * dim + t), w = word_at(g + k * dim + t + 4);
            sum[k][0] = plus(sum[k][0], a0, v, b0, w);
            sum[k][1] = plus(sum[k][1], a1, v, b1, w);
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        _mm256_storeu_si256((__m256i *)(void *)(out + k * GROUP), sum[k][0]);
        _mm256_storeu_si256((__m256i *)(void *)(out + k * GROUP + 8), sum[k][1]);
    }
}

TARGET_AVX2 static void compare_avx2(const int32_t *dot, int64_t apart, int64_t rows, const float *c, const float *a,
                                     const float *x, const float *y, int64_t first, uint64_t *word)
{
    const __m256 c0 = _mm256_loadu_ps(c), c1 = _mm256_loadu_ps(c + 8);
    const __m256 a0 = _mm256_loadu_ps(a), a1 = _mm256_loadu_ps(a + 8);
    for (int64_t k = 0; k < rows; k++, dot += apart) {
        const __m256 up = _mm256_set1_ps(x[k]), down = _mm256_set1_ps(y[k]);
        const __m256 have0 = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)dot));
        const __m256 have1 = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)(dot + 8)));
        const __m256 want0 = _mm256_sub_ps(_mm256_mul_ps(c0, up), _mm256_mul_ps(a0, down));
        const __m256 want1 = _mm256_sub_ps(_mm256_mul_ps(c1, up), _mm256_mul_ps(a1, down));
        const int bits0 = _mm256_movemask_ps(_mm256_cmp_ps(have0, want0, _CMP_GE_OQ));
        const int bits1 = _mm256_movemask_ps(_mm256_cmp_ps(have1, want1, _CMP_GE_OQ));
        set_bits((uint32_t)(bits0 | bits1 << 8), first + k, word);
    }
}

/* Eight rows against two groups. */
TARGET_VNNI static void dots_vnni(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim, int32_t *out)
{
    const int8_t *second = q + GROUP * dim;
    __m512i sum[8][2];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) sum[k][0] = sum[k][1] = _mm512_set1_epi32(start[k]);
    for (int64_t t = 0; t < dim; t += 4, q += 4 * GROUP, second += 4 * GROUP) {
        const __m512i v0 = _mm512_loadu_si512(q), v1 = _mm512_loadu_si512(second);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            int32_t word;
            memcpy(&word, g + k * dim + t, sizeof word);
            const __m512i w = _mm512_set1_epi32(word);
            sum[k][0] = _mm512_dpbusd_epi32(sum[k][0], v0, w);
            sum[k][1] = _mm512_dpbusd_epi32(sum[k][1], v1, w);
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        _mm512_storeu_si512(out + k * 2 * GROUP, sum[k][0]);
        _mm512_storeu_si512(out + k * 2 * GROUP + GROUP, sum[k][1]);
    }
}

TARGET_512 static void compare_512(const int32_t *dot, int64_t apart, int64_t rows, const float *c, const float *a,
                                   const float *x, const float *y, int64_t first, uint64_t *word)
{
    const __m512 cv = _mm512_loadu_ps(c), av = _mm512_loadu_ps(a);
    for (int64_t k = 0; k < rows; k++, dot += apart) {
        const __m512 have = _mm512_cvtepi32_ps(_mm512_loadu_si512(dot));
        const __m512 want = _mm512_sub_ps(_mm512_mul_ps(cv, _mm512_set1_ps(x[k])),
                                          _mm512_mul_ps(av, _mm512_set1_ps(y[k])));
        set_bits(_mm512_cmp_ps_mask(have, want, _CMP_GE_OQ), first + k, word);
    }
}

static const struct lafs_scan_set set_avx2 = {4, 1, LAFS_SCAN_ABOVE, dots_avx2, compare_avx2, NULL, NULL};
static const struct lafs_scan_set set_avx_vnni = {6, 1, LAFS_SCAN_ABOVE, dots_avx_vnni, compare_avx2, NULL, NULL};
static const struct lafs_scan_set set_vnni = {8, 2, LAFS_SCAN_ABOVE, dots_vnni, compare_512, NULL, NULL};

static struct lafs_scan_set best_set(void)
{
    const int level = lafs_isa_level();
    struct lafs_scan_set set = level < LAFS_ISA_AVX2 ? set_plain : lafs_isa_avx_vnni() ? set_avx_vnni : set_avx2;
    if (lafs_isa_amx()) set = *lafs_scan_amx();
    else if (level == LAFS_ISA_AVX512 && __builtin_cpu_supports("avx512vnni")) set = set_vnni;
    if (level == LAFS_ISA_AVX512) set.compare = compare_512;
    return set;
}

#elif defined LAFS_ISA_ARM64
#include <arm_neon.h>

#define TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

/* Four rows against a group; the instruction multiplies signed bytes, so there is nothing to start from. */
TARGET_DOTPROD static void dots_dotprod(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim,
                                        int32_t *out)
{
    int32x4_t sum[4][4];
    (void)start;
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) sum[k][l] = vdupq_n_s32(0);
    for (int64_t t = 0; t < dim; t += 16) { /* dim is a multiple of 64 */
        int8x16_t row[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) row[k] = vld1q_s8(g + k * dim + t);
#define WORD(w)                                                                              \
    _Pragma("GCC unroll 4") for (int l = 0; l < 4; l++, q += 16)                             \
    {                                                                                        \
        const int8x16_t four = vld1q_s8(q);                                                  \
        _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) sum[k][l] =                      \
            vdotq_laneq_s32(sum[k][l], four, row[k], w);                                     \
    }
        WORD(0)
        WORD(1)
        WORD(2)
        WORD(3)
#undef WORD
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) vst1q_s32(out + k * GROUP + 4 * l, sum[k][l]);
}

/* Sixteen comparisons: what holds in lane l becomes bit l. */
static void compare_neon(const int32_t *dot, int64_t apart, int64_t rows, const float *c, const float *a,
                         const float *x, const float *y, int64_t first, uint64_t *word)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(bit);
    for (int64_t k = 0; k < rows; k++, dot += apart) {
        uint32_t of = 0;
#pragma GCC unroll 4
        for (int l = 0; l < GROUP; l += 4) {
            const float32x4_t have = vcvtq_f32_s32(vld1q_s32(dot + l));
            const float32x4_t up = vmulq_n_f32(vld1q_f32(c + l), x[k]), down = vmulq_n_f32(vld1q_f32(a + l), y[k]);
            const float32x4_t want = vsubq_f32(up, down);
            of |= vaddvq_u32(vandq_u32(vcgeq_f32(have, want), bits)) << l;
        }
        set_bits(of, first + k, word);
    }
}

static const struct lafs_scan_set set_dotprod = {4, 1, 0, dots_dotprod, compare_neon, NULL, NULL};

static struct lafs_scan_set best_set(void)
{
    return lafs_isa_level() == LAFS_ISA_DOTPROD ? set_dotprod : set_plain;
}

#else
static struct lafs_scan_set best_set(void) { return set_plain; }
#endif

/* Memory for what is packed. 0: out of memory. */
static int reserve(struct scan *s)
{
    const int64_t queries = s->groups * GROUP;
    char *p = lafs_cpu_shared(s->d, (size_t)(queries * (s->dim + 8) + s->words * ROWS * 4 + LINE));
    if (!p || (s->m % ROWS && !lafs_cpu_reserve(s->d, (size_t)(ROWS * s->dim)))) return 0;
    p += (LINE - (uintptr_t)p % LINE) % LINE;
    s->packed = (int8_t *)p;
    s->pc = (float *)(void *)(p + queries * s->dim);
    s->pa = s->pc + queries;
    s->start = (int32_t *)(void *)(s->pa + queries);
    return 1;
}

void lafs_cpu_scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                   const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    const struct lafs_scan_set set = best_set();
    struct scan s = {.d = d, .set = &set, .nq = nq, .m = m, .dim = dim, .words = (m + ROWS - 1) / ROWS,
                     .query_blocks = (nq + QUERIES - 1) / QUERIES, .q = q, .g = g, .c = c, .a = a, .x = x, .y = y,
                     .hits = hits, .groups = round_up((nq + GROUP - 1) / GROUP, set.groups)};
    if (!reserve(&s)) return;
    lafs_pool_for(d->pool, s.groups, pack_group, &s);
    if (set.above) lafs_pool_for(d->pool, s.words, lafs_isa_starts(), &s);
    lafs_pool_for(d->pool, s.words * s.query_blocks, scan_tile, &s);
}
