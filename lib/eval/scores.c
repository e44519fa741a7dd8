#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "eval/metrics.h"
#include "eval/sort.h"

enum {
    LANES = 16,       /* partial sums of a dot product */
    BLOCK = 128,      /* rows of a cache block: two blocks of 768 floats are 768 KB */
    TILE = 1 << 15,   /* pairs of a pool tile */
    SMALL = 1 << 14   /* fewer pairs are not worth sorting */
};

lafs_status lafs_normalise_rows(float *e, int64_t rows, int64_t dim, float *norm, int64_t *bad, struct lafs_err *err)
{
    for (int64_t r = 0; r < rows; r++) {
        float *x = e + r * dim;
        double sum = 0;
        for (int64_t i = 0; i < dim; i++) sum += (double)x[i] * x[i];
        if (!isfinite(sum) || sum <= 0) {
            if (bad) *bad = r;
            return lafs_fail(err, LAFS_FAILED, sum == 0 ? "all values are zero" : "a value is not a finite number");
        }
        double length = sqrt(sum);
        for (int64_t i = 0; i < dim; i++) x[i] = (float)(x[i] / length);
        if (norm) norm[r] = (float)length;
    }
    return LAFS_OK;
}

/* One row against up to four others. The body is the same for every instruction set and products are not fused, so that
 * all give the same bits: lane l sums the elements l, l+16, .., then lanes are added pairwise. */
typedef void dots_fn(const float *x, const float *const y[4], int64_t dim, float out[4]);

static inline __attribute__((always_inline)) float sum_lanes(float *s)
{
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) s[l] += s[l + w];
    return s[0];
}

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

static inline __attribute__((always_inline)) void dots_body(const float *x, const float *const y[4], int64_t dim,
                                                            float out[4])
{
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    const float *a = y[0], *b = y[1], *c = y[2], *d = y[3];
    int64_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        lanes v = *(const lanes *)(x + i);
        s0 += v * *(const lanes *)(a + i);
        s1 += v * *(const lanes *)(b + i);
        s2 += v * *(const lanes *)(c + i);
        s3 += v * *(const lanes *)(d + i);
    }
    float s[4][LANES];
    memcpy(s[0], &s0, sizeof s[0]);
    memcpy(s[1], &s1, sizeof s[1]);
    memcpy(s[2], &s2, sizeof s[2]);
    memcpy(s[3], &s3, sizeof s[3]);
    for (int l = 0; i < dim; i++, l++)
        for (int k = 0; k < 4; k++) s[k][l] += x[i] * y[k][i];
    for (int k = 0; k < 4; k++) out[k] = sum_lanes(s[k]);
}

static void dots_plain(const float *x, const float *const y[4], int64_t dim, float out[4])
{
    dots_body(x, y, dim, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void dots_avx2(const float *x, const float *const y[4], int64_t dim,
                                                      float out[4])
{
    dots_body(x, y, dim, out);
}
__attribute__((target("avx512f"))) static void dots_avx512(const float *x, const float *const y[4], int64_t dim,
                                                            float out[4])
{
    dots_body(x, y, dim, out);
}
#endif

static dots_fn *choose_dots(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return dots_avx512;
    if (__builtin_cpu_supports("avx2")) return dots_avx2;
#endif
    return dots_plain;
}

struct pair_job {
    const float *e; /* (rows, dim) */
    int64_t dim, n;
    const int32_t *a, *b;
    const uint32_t *order; /* (n), or NULL: as they come */
    float *score;
    dots_fn *dots;
};

static void score_tile(void *arg, int64_t tile, int worker)
{
    const struct pair_job *j = arg;
    (void)worker;
    int64_t end = (tile + 1) * TILE < j->n ? (tile + 1) * TILE : j->n;
    for (int64_t i = tile * TILE; i < end;) {
        int64_t p[4];
        const float *y[4];
        int k = 0;
        int32_t first = 0;
        for (; k < 4 && i < end; i++) { /* up to four neighbours that share their first row */
            int64_t at = j->order ? (int64_t)j->order[i] : i;
            if (j->a[at] < 0 || j->b[at] < 0) {
                j->score[at] = NAN;
                continue;
            }
            if (k == 0) first = j->a[at];
            else if (j->a[at] != first) break;
            p[k] = at;
            y[k++] = j->e + j->b[at] * j->dim;
        }
        if (k == 0) continue;
        for (int q = k; q < 4; q++) y[q] = y[0];
        float out[4];
        j->dots(j->e + first * j->dim, (const float *const *)y, j->dim, out);
        for (int q = 0; q < k; q++) j->score[p[q]] = out[q] > 1 ? 1 : out[q] < -1 ? -1 : out[q];
    }
}

/* Stable counting sort of `from` by key(pair) in [0, buckets). */
static void sort_pass(const uint32_t *from, uint32_t *to, int64_t n, const int32_t *id, int shift, int32_t mask,
                      int64_t *start, int64_t buckets)
{
    memset(start, 0, (size_t)buckets * sizeof *start);
    for (int64_t i = 0; i < n; i++) start[id[i] < 0 ? 0 : (id[i] >> shift) & mask]++;
    int64_t sum = 0;
    for (int64_t k = 0; k < buckets; k++) {
        int64_t c = start[k];
        start[k] = sum;
        sum += c;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t p = from ? from[i] : (uint32_t)i;
        to[start[id[p] < 0 ? 0 : (id[p] >> shift) & mask]++] = p;
    }
}

/* Order by (block of a, block of b, a), so that the rows of two blocks stay in cache while all their pairs are done. */
static lafs_status cache_order(uint32_t **out, const int32_t *a, const int32_t *b, int64_t n, int64_t rows,
                               struct lafs_err *err)
{
    uint32_t *p = NULL, *q = NULL;
    int64_t *start = NULL, blocks = rows / BLOCK + 1;
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_alloc(&p, (size_t)n, sizeof *p, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&q, (size_t)n, sizeof *q, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&start, (size_t)(blocks > BLOCK ? blocks : BLOCK), sizeof *start, err), done);
    sort_pass(NULL, p, n, a, 0, BLOCK - 1, start, BLOCK);
    sort_pass(p, q, n, b, 7, INT32_MAX, start, blocks);
    sort_pass(q, p, n, a, 7, INT32_MAX, start, blocks);
    *out = p;
    p = NULL;
done:
    lafs_free(p);
    lafs_free(q);
    lafs_free(start);
    return st;
}

lafs_status lafs_pair_scores(const float *e, int64_t rows, int64_t dim, const int32_t *a, const int32_t *b, int64_t n,
                             float *score, struct lafs_pool *pool, struct lafs_err *err)
{
    if (rows < 0 || rows > INT32_MAX || n < 0 || n > INT32_MAX || dim <= 0)
        return lafs_fail(err, LAFS_USAGE, "too many rows or pairs: %lld, %lld", (long long)rows, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (a[i] < -1 || b[i] < -1 || a[i] >= rows || b[i] >= rows)
            return lafs_fail(err, LAFS_USAGE, "pair %lld is outside the rows", (long long)i);
    struct pair_job job = {e, dim, n, a, b, NULL, score, choose_dots()};
    uint32_t *order = NULL;
    if (n > SMALL) LAFS_TRY(cache_order(&order, a, b, n, rows, err));
    job.order = order;
    lafs_pool_for(pool, (n + TILE - 1) / TILE, score_tile, &job);
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
