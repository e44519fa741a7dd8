#include <math.h>
#include <string.h>

#include "base/isa.h"
#include "base/mem.h"
#include "eval/dots.h"
#include "eval/metrics.h"
#include "eval/sort.h"

enum {
    LANES = 16,                  /* partial sums of a dot product */
    A_VALUES = 256 * 768,        /* floats of a block of first rows: each is read once a block, from L3 */
    B_VALUES = 64 * 768,         /* floats of a block of second rows: 192 KB, to stay in L2 */
    MOST_ROWS = 1024,            /* rows of a block at most */
    CHUNK = 4096,                /* pairs that are grouped by their first row at a time */
    TILE = 1 << 15,              /* pairs of a pool tile */
    SMALL = 1 << 14              /* fewer pairs are not worth sorting */
};

enum { ROWS_AT_ONCE = 8 };

/* sum[k] += squares of row k, in its order: a sum waits for itself, several do not wait for each other. */
static void squares(const float *e, int64_t dim, int n, double sum[ROWS_AT_ONCE])
{
    if (n < ROWS_AT_ONCE) {
        for (int k = 0; k < n; k++)
            for (int64_t i = 0; i < dim; i++) sum[k] += (double)e[k * dim + i] * e[k * dim + i];
        return;
    }
    double s[ROWS_AT_ONCE] = {0};
    for (int64_t i = 0; i < dim; i++)
#pragma GCC unroll 8
        for (int k = 0; k < ROWS_AT_ONCE; k++) s[k] += (double)e[k * dim + i] * e[k * dim + i];
    memcpy(sum, s, sizeof s);
}

lafs_status lafs_normalise_rows(float *e, int64_t rows, int64_t dim, float *norm, int64_t *bad, struct lafs_err *err)
{
    double sum[ROWS_AT_ONCE];
    for (int64_t r = 0; r < rows; r++) {
        const int k = (int)(r % ROWS_AT_ONCE);
        float *x = e + r * dim;
        if (k == 0) {
            memset(sum, 0, sizeof sum);
            squares(x, dim, rows - r < ROWS_AT_ONCE ? (int)(rows - r) : ROWS_AT_ONCE, sum);
        }
        if (!isfinite(sum[k]) || sum[k] <= 0) {
            if (bad) *bad = r;
            return lafs_fail(err, LAFS_FAILED, sum[k] == 0 ? "all values are zero" : "a value is not a finite number");
        }
        double length = sqrt(sum[k]);
        for (int64_t i = 0; i < dim; i++) x[i] = (float)(x[i] / length);
        if (norm) norm[r] = (float)length;
    }
    return LAFS_OK;
}

typedef float four __attribute__((vector_size(16), may_alias));

/* The 16 lanes in pairs: l and l+8, then l and l+4, l+2, l+1. */
static inline __attribute__((always_inline)) float sum_lanes(const float *s)
{
    const four *q = (const four *)s;
    four t = (q[0] + q[2]) + (q[1] + q[3]);
    return (t[0] + t[2]) + (t[1] + t[3]);
}

#define DEFINE_DOTS(NAME, WIDTH, TARGET)                                                                               \
    typedef float NAME##_v __attribute__((vector_size(WIDTH * sizeof(float)), aligned(4), may_alias));                 \
    TARGET static void NAME(const float *x, const float *const y[4], int64_t dim, float out[4])                        \
    {                                                                                                                  \
        enum { PARTS = LANES / WIDTH };                                                                                \
        NAME##_v sum[4][PARTS] = {0};                                                                                  \
        const float *const row[4] = {y[0], y[1], y[2], y[3]};                                                          \
        int64_t i = 0;                                                                                                 \
        for (; i + LANES <= dim; i += LANES)                                                                           \
            for (int p = 0; p < PARTS; p++) {                                                                          \
                NAME##_v v = *(const NAME##_v *)(x + i + p * WIDTH);                                                   \
                for (int k = 0; k < 4; k++) sum[k][p] += v * *(const NAME##_v *)(row[k] + i + p * WIDTH);              \
            }                                                                                                          \
        _Alignas(64) float s[4][LANES];                                                                                \
        for (int k = 0; k < 4; k++)                                                                                    \
            for (int p = 0; p < PARTS; p++) *(NAME##_v *)(s[k] + p * WIDTH) = sum[k][p];                               \
        for (int l = 0; i < dim; i++, l++)                                                                             \
            for (int k = 0; k < 4; k++) s[k][l] += x[i] * row[k][i];                                                   \
        for (int k = 0; k < 4; k++) out[k] = sum_lanes(s[k]);                                                          \
    }

DEFINE_DOTS(dots_plain, 4, )
#if defined(__x86_64__)
DEFINE_DOTS(dots_avx2, 8, __attribute__((target("avx2"))))
DEFINE_DOTS(dots_avx512, 16, __attribute__((target("avx512f"))))
#endif

lafs_dots_fn *lafs_dots(void)
{
#if defined(__x86_64__)
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return dots_avx512;
    if (level == LAFS_ISA_AVX2) return dots_avx2;
#endif
    return dots_plain;
}

/* A pair on its way: the rows travel with its number, so that sorting reads memory in order. */
struct pair {
    int32_t a, b;
    uint32_t at;
};

struct pair_job {
    const float *e; /* (rows, dim) */
    int64_t dim, n;
    const int32_t *a, *b;     /* (n) */
    const struct pair *order; /* (n) sorted by blocks, or NULL: as they come */
    int shift_a, shift_b;     /* rows of a block: 1 << shift */
    float *score;
    lafs_dots_fn *dots;
};

/* Groups the m <= CHUNK pairs of one pair of blocks by their first row; pairs of others come out in groups just as
 * well, only less evenly. */
static void group_chunk(const struct pair *from, struct pair *to, int m, int32_t mask)
{
    uint16_t start[MOST_ROWS] = {0};
    for (int i = 0; i < m; i++) start[from[i].a & mask]++;
    int sum = 0;
    for (int k = 0; k <= mask; k++) {
        int c = start[k];
        start[k] = (uint16_t)sum;
        sum += c;
    }
    for (int i = 0; i < m; i++) to[start[from[i].a & mask]++] = from[i];
}

/* Up to four neighbours that share their first row at a time. */
static void score_chunk(const struct pair_job *j, const struct pair *p, int m)
{
    for (int i = 0; i < m;) {
        const float *y[4];
        int32_t first = p[i].a;
        int k = 0;
        for (; k < 4 && i + k < m && p[i + k].a == first; k++) y[k] = j->e + p[i + k].b * j->dim;
        for (int q = k; q < 4; q++) y[q] = y[0];
        float out[4];
        j->dots(j->e + first * j->dim, (const float *const *)y, j->dim, out);
        for (int q = 0; q < k; q++) j->score[p[i + q].at] = lafs_cosine(out[q]);
        i += k;
    }
}

static void score_tile(void *arg, int64_t tile, int worker)
{
    const struct pair_job *j = arg;
    struct pair here[CHUNK], grouped[CHUNK];
    (void)worker;
    int64_t end = (tile + 1) * TILE < j->n ? (tile + 1) * TILE : j->n;
    for (int64_t i = tile * TILE; i < end;) {
        int m = 0;
        if (!j->order) {
            for (; i < end && m < CHUNK; i++) {
                if (j->a[i] < 0 || j->b[i] < 0) j->score[i] = NAN;
                else here[m++] = (struct pair){j->a[i], j->b[i], (uint32_t)i};
            }
            score_chunk(j, here, m);
            continue;
        }
        const struct pair *p = j->order + i;
        int32_t block_a = p->a >> j->shift_a, block_b = p->b >> j->shift_b;
        while (i + m < end && m < CHUNK && p[m].a >> j->shift_a == block_a && p[m].b >> j->shift_b == block_b) m++;
        group_chunk(p, grouped, m, (1 << j->shift_a) - 1);
        score_chunk(j, grouped, m);
        i += m;
    }
}

/* Counts to places: start[k] = how many come before those of k. */
static void to_starts(int64_t *start, int64_t n)
{
    int64_t sum = 0;
    for (int64_t k = 0; k < n; k++) {
        int64_t c = start[k];
        start[k] = sum;
        sum += c;
    }
}

/* Order by (block of a, block of b), stable, so that the rows of two blocks stay in cache while all their pairs are
 * done. Pairs that lack a row get their NaN here and are left out; *kept = how many are not. */
static lafs_status cache_order(struct pair **out, int64_t *kept, const struct pair_job *j, int64_t rows,
                               struct lafs_err *err)
{
    struct pair *p = NULL, *q = NULL;
    int64_t *start_a = NULL, *start_b;
    const int64_t blocks_a = (rows >> j->shift_a) + 1, blocks_b = (rows >> j->shift_b) + 1;
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_alloc(&p, (size_t)j->n, sizeof *p, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&q, (size_t)j->n, sizeof *q, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc0(&start_a, (size_t)(blocks_a + blocks_b), sizeof *start_a, err), done);
    start_b = start_a + blocks_a;
    *kept = 0;
    for (int64_t i = 0; i < j->n; i++) {
        if (j->a[i] < 0 || j->b[i] < 0) {
            j->score[i] = NAN;
            continue;
        }
        start_a[j->a[i] >> j->shift_a]++;
        start_b[j->b[i] >> j->shift_b]++;
        ++*kept;
    }
    to_starts(start_a, blocks_a);
    to_starts(start_b, blocks_b);
    for (int64_t i = 0; i < j->n; i++)
        if (j->a[i] >= 0 && j->b[i] >= 0)
            q[start_b[j->b[i] >> j->shift_b]++] = (struct pair){j->a[i], j->b[i], (uint32_t)i};
    for (int64_t i = 0; i < *kept; i++) p[start_a[q[i].a >> j->shift_a]++] = q[i];
    *out = p;
    p = NULL;
done:
    lafs_free(p);
    lafs_free(q);
    lafs_free(start_a);
    return st;
}

static int block_shift(int64_t dim, int64_t values)
{
    int shift = 0;
    while (2 << shift <= MOST_ROWS && (2 << shift) * dim <= values) shift++;
    return shift;
}

lafs_status lafs_pair_scores(const float *e, int64_t rows, int64_t dim, const int32_t *a, const int32_t *b, int64_t n,
                             float *score, struct lafs_pool *pool, struct lafs_err *err)
{
    if (rows < 0 || rows > INT32_MAX || n < 0 || n > INT32_MAX || dim <= 0)
        return lafs_fail(err, LAFS_USAGE, "too many rows or pairs: %lld, %lld", (long long)rows, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (a[i] < -1 || b[i] < -1 || a[i] >= rows || b[i] >= rows)
            return lafs_fail(err, LAFS_USAGE, "pair %lld is outside the rows", (long long)i);
    LAFS_TRY(lafs_isa_from_environment(err));
    struct pair_job job = {e, dim, n, a, b, NULL, block_shift(dim, A_VALUES), block_shift(dim, B_VALUES), score,
                           lafs_dots()};
    struct pair *order = NULL;
    if (n > SMALL) {
        int64_t kept;
        LAFS_TRY(cache_order(&order, &kept, &job, rows, err));
        job.order = order;
        job.n = kept;
    }
    lafs_pool_for(pool, (job.n + TILE - 1) / TILE, score_tile, &job);
    lafs_free(order);
    return LAFS_OK;
}

lafs_status lafs_scores_sort(struct lafs_scores *s, const float *score, const uint8_t *same, int64_t n,
                             struct lafs_err *err)
{
    memset(s, 0, sizeof *s);
    for (int64_t i = 0; i < n; i++) {
        if (isnan(score[i]))
            return lafs_fail(err, LAFS_FAILED, "the score of pair %lld is not a number", (long long)i + 1);
        s->genuines += same[i] != 0;
    }
    s->impostors = n - s->genuines;
    if (s->genuines == 0 || s->impostors == 0)
        return lafs_fail(err, LAFS_FAILED, "%lld genuine and %lld impostor pairs: both kinds are needed",
                         (long long)s->genuines, (long long)s->impostors);
    float *tmp = NULL;
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_alloc(&s->genuine, (size_t)s->genuines, sizeof(float), err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->impostor, (size_t)s->impostors, sizeof(float), err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&tmp, (size_t)n, sizeof(float), err), done);
    int64_t g = 0, k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (same[i]) s->genuine[g++] = score[i];
        else s->impostor[k++] = score[i];
    }
    lafs_sort_f32(s->genuine, tmp, s->genuines);
    lafs_sort_f32(s->impostor, tmp, s->impostors);
done:
    lafs_free(tmp);
    if (st != LAFS_OK) lafs_scores_release(s);
    return st;
}

void lafs_scores_release(struct lafs_scores *s)
{
    lafs_free(s->genuine);
    lafs_free(s->impostor);
    memset(s, 0, sizeof *s);
}
