/* The optimiser over flat arrays. Segments are cut into pieces of PIECE elements; a block finds its segment by the
 * number of pieces before it. What varies from step to step lies in device memory, so that a step can be recorded.
 * Elements are computed in fp32, what is the same for all of a segment in double. */
#include <stdlib.h>

#include "kernels/cuda/dev.cuh"

enum { PIECE = 4096 };

static int64_t pieces_of(const struct lafs_segment *s) { return (s->size + PIECE - 1) / PIECE; }

/* first (n+1): pieces before each segment; off, size (n). The same in every call: it may be recorded. */
struct table {
    int64_t pieces;
    const int64_t *first, *off, *size;
};
/* 0: no memory. */
static int upload_table(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, struct table *to)
{
    const size_t bytes = (size_t)(3 * n + 1) * sizeof(int64_t);
    struct lafs_err err = {LAFS_OK, {0}};
    int64_t *table = NULL;
    if (lafs_alloc(&table, (size_t)(3 * n + 1), sizeof *table, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        return 0;
    }
    table[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        table[i + 1] = table[i] + pieces_of(&seg[i]);
        table[n + 1 + i] = seg[i].off;
        table[2 * n + 1 + i] = seg[i].size;
    }
    const int64_t *dev = (const int64_t *)dev_scratch_from(d, SCRATCH_ROWS, table, bytes);
    *to = {table[n], dev, dev + n + 1, dev + 2 * n + 1};
    lafs_free(table);
    return dev != NULL;
}

/* part: the sum of squares of each piece. off, size: of segments. */
KERNEL norm_piece_kernel(int64_t n, const int64_t *first, const int64_t *off, const int64_t *size, const float *x,
                         double *part)
{
    const int64_t i = sequence_of(n, first, block_x()), at = (block_x() - first[i]) * PIECE;
    const int64_t end = at + PIECE < size[i] ? at + PIECE : size[i];
    double sum = 0;
    for (int64_t e = at + thread_index(); e < end; e += block_threads()) sum += (double)x[off[i] + e] * x[off[i] + e];
    sum = block_sum(sum, shared_memory<double>());
    if (thread_index() == 0) part[block_x()] = sum;
}
KERNEL norm_kernel(const int64_t *first, const double *part, double *norm)
{
    const int64_t i = block_x();
    double sum = 0;
    for (int64_t k = first[i] + thread_index(); k < first[i + 1]; k += block_threads()) sum += part[k];
    sum = block_sum(sum, shared_memory<double>());
    if (thread_index() == 0) norm[i] = sqrt(sum);
}
static void norms(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm)
{
    struct table t;
    if (n == 0 || !upload_table(d, n, seg, &t)) return;
    double *part = (double *)dev_scratch(d, SCRATCH_SUMS, (size_t)t.pieces * sizeof *part);
    if (!part) return;
    LAUNCH(d, norm_piece_kernel, grid_of(t.pieces), THREADS, THREADS / WARP * sizeof(double), n, t.first, t.off, t.size,
           x, part);
    LAUNCH(d, norm_kernel, grid_of(n), THREADS, THREADS / WARP * sizeof(double), t.first, part, norm);
}

KERNEL adamw_kernel(int64_t n, const int64_t *first, const int64_t *off, const int64_t *size,
                    const struct lafs_rate *rate, const double *norm, double beta1, double beta2, double eps, float *p,
                    const float *g, float *m, float *v)
{
    const int64_t i = sequence_of(n, first, block_x()), at = (block_x() - first[i]) * PIECE;
    const struct lafs_rate s = rate[i];
    const int64_t end = at + PIECE < size[i] ? at + PIECE : size[i];
    const float clip = s.clip > 0 && !s.skip ? (float)fmin(1.0, s.clip / (norm[i] + 1e-6)) : 1;
    const float decay = (float)((double)s.lr * s.decay), shrink = (float)(1 / sqrt((double)s.correct2));
    const float rate_now = (float)(s.lr / s.correct1), b1 = (float)beta1, b2 = (float)beta2, least = (float)eps;
    const float a1 = (float)(1 - beta1), a2 = (float)(1 - beta2);
    for (int64_t e = off[i] + at + thread_index(); e < off[i] + end && !s.skip; e += block_threads()) {
        const float grad = g[e] * clip, me = b1 * m[e] + a1 * grad, ve = b2 * v[e] + a2 * grad * grad, pe = p[e];
        m[e] = me;
        v[e] = ve;
        p[e] = pe - (decay * pe + rate_now * me / (sqrtf(ve) * shrink + least));
    }
}
static void adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                  const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                  float *v)
{
    struct table t;
    if (n == 0 || !upload_table(d, n, seg, &t)) return;
    LAUNCH(d, adamw_kernel, grid_of(t.pieces), THREADS, 0, n, t.first, t.off, t.size, rate, norm, beta1, beta2, eps, p,
           g, m, v);
}

void ops_optim(struct lafs_ops *ops)
{
    ops->norms = norms;
    ops->adamw = adamw;
}
