/* The optimiser over flat arrays. Segments are cut into pieces of PIECE elements; a block finds its segment by the
 * number of pieces before it. In double, as kernels/ref: what bounds these kernels is memory. */
#include <stdlib.h>

#include "kernels/cuda/dev.cuh"

enum { PIECE = 4096 };

struct step { /* a lafs_segment as the kernel takes it */
    int64_t off, size;
    double clip, lr, decay, bc1, root_bc2; /* decay: lr * decay */
    int32_t skip;
};

static int64_t pieces_of(const struct lafs_segment *s) { return (s->size + PIECE - 1) / PIECE; }

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
    struct lafs_err err = {LAFS_OK, {0}};
    int64_t *table = NULL; /* first (n+1), off (n), size (n) */
    if (n == 0) return;
    for (int64_t i = 0; i < n; i++) norm[i] = 0;
    if (lafs_alloc(&table, (size_t)(3 * n + 1), sizeof *table, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        return;
    }
    table[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        table[i + 1] = table[i] + pieces_of(&seg[i]);
        table[n + 1 + i] = seg[i].off;
        table[2 * n + 1 + i] = seg[i].size;
    }
    const int64_t pieces = table[n];
    const int64_t *dev = (const int64_t *)dev_scratch_from(d, SCRATCH_ROWS, table, (size_t)(3 * n + 1) * sizeof *table);
    double *part = (double *)dev_scratch(d, SCRATCH_SUMS, (size_t)(pieces + n) * sizeof *part);
    lafs_free(table);
    if (!dev || !part) return;
    LAUNCH(d, norm_piece_kernel, grid_of(pieces), THREADS, THREADS / WARP * sizeof(double), n, dev, dev + n + 1,
           dev + 2 * n + 1, x, part);
    LAUNCH(d, norm_kernel, grid_of(n), THREADS, THREADS / WARP * sizeof(double), dev, part, part + pieces);
    dev_download(d, norm, part + pieces, (size_t)n * sizeof *norm);
}

KERNEL adamw_kernel(int64_t n, const int64_t *first, const struct step *step, double beta1, double beta2, double eps,
                    float *p, const float *g, float *m, float *v)
{
    const int64_t i = sequence_of(n, first, block_x()), at = (block_x() - first[i]) * PIECE;
    const struct step s = step[i];
    const int64_t end = at + PIECE < s.size ? at + PIECE : s.size;
    for (int64_t e = s.off + at + thread_index(); e < s.off + end && !s.skip; e += block_threads()) {
        const double grad = g[e] * s.clip, pe = p[e] - s.decay * p[e];
        m[e] = (float)(beta1 * m[e] + (1 - beta1) * grad);
        v[e] = (float)(beta2 * v[e] + (1 - beta2) * grad * grad);
        p[e] = (float)(pe - s.lr / s.bc1 * m[e] / (sqrt((double)v[e]) / s.root_bc2 + eps));
    }
}
static void adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const double *norm, double beta1,
                  double beta2, double eps, float *p, const float *g, float *m, float *v)
{
    struct lafs_err err = {LAFS_OK, {0}};
    int64_t *first = NULL;
    struct step *step = NULL;
    if (n == 0) return;
    if (lafs_alloc(&first, (size_t)n + 1, sizeof *first, &err) != LAFS_OK ||
        lafs_alloc(&step, (size_t)n, sizeof *step, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        lafs_free(first);
        return;
    }
    first[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct lafs_segment *s = &seg[i];
        first[i + 1] = first[i] + pieces_of(s);
        step[i] = {s->off,
                   s->size,
                   s->clip > 0 ? fmin(1, s->clip / (norm[i] + 1e-6)) : 1,
                   s->lr,
                   (double)s->lr * s->decay,
                   1 - pow(beta1, (double)s->step),
                   sqrt(1 - pow(beta2, (double)s->step)),
                   s->skip};
    }
    const int64_t *dev_first =
        (const int64_t *)dev_scratch_from(d, SCRATCH_ROWS, first, (size_t)(n + 1) * sizeof *first);
    const struct step *dev_step =
        (const struct step *)dev_scratch_from(d, SCRATCH_SUMS, step, (size_t)n * sizeof *step);
    if (dev_first && dev_step)
        LAUNCH(d, adamw_kernel, grid_of(first[n]), THREADS, 0, n, dev_first, dev_step, beta1, beta2, eps, p, g, m, v);
    lafs_free(first);
    lafs_free(step);
}

void ops_optim(struct lafs_ops *ops)
{
    ops->norms = norms;
    ops->adamw = adamw;
}
