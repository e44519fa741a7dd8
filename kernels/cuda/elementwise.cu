/* Element by element: a thread each. */
#include "kernels/cuda/dev.cuh"

KERNEL scale_kernel(int64_t n, float a, float *x)
{
    const int64_t i = global_index();
    if (i < n) x[i] *= a;
}
static void scale(struct lafs_dev *d, int64_t n, float a, float *x)
{
    LAUNCH(d, scale_kernel, grid_for(n), THREADS, 0, n, a, x);
}

KERNEL axpy_kernel(int64_t n, float a, const float *x, float *y)
{
    const int64_t i = global_index();
    if (i < n) y[i] += a * x[i];
}
static void axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y)
{
    LAUNCH(d, axpy_kernel, grid_for(n), THREADS, 0, n, a, x, y);
}

KERNEL lerp_kernel(int64_t n, const double *m, const float *x, float *y)
{
    const int64_t i = global_index();
    const float keep = (float)*m, take = (float)(1 - *m);
    if (i < n) y[i] = keep * y[i] + take * x[i];
}
static void lerp(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y)
{
    LAUNCH(d, lerp_kernel, grid_for(n), THREADS, 0, n, m, x, y);
}

KERNEL act_bwd_kernel(int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx)
{
    const int64_t i = global_index();
    if (i < n) dx[i] = dy[i] * act_slope(act, pre[i]);
}
static void act_bwd(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx)
{
    LAUNCH(d, act_bwd_kernel, grid_for(n), THREADS, 0, n, act, pre, dy, dx);
}

/* A thread takes eight neighbours of a row: they share a draw where the width is a multiple of eight. */
KERNEL dropout_kernel(int64_t n, const int64_t *off, int64_t width, int quads, struct drop drop, const float *x,
                      float *y)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, first = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row);
    struct drop_mask mask;
    if (quads) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            struct quad v = ((const struct quad *)(x + row * width + first))[h];
#pragma unroll
            for (int k = 0; k < 4; k++)
                v.v[k] *= drop_factor(&drop, &mask, seq, (row - off[seq]) * width + first + 4 * h + k);
            ((struct quad *)(y + row * width + first))[h] = v;
        }
        return;
    }
    for (int64_t j = first; j < width && j < first + 8; j++)
        y[row * width + j] = x[row * width + j] * drop_factor(&drop, &mask, seq, (row - off[seq]) * width + j);
}
static void dropout(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                    const float *x, float *y)
{
    const int64_t rows = lafs_seqs_rows(s);
    if (!drop || !(drop->p > 0)) {
        if (x != y) dev_copy(d, y, x, (size_t)(rows * width) * sizeof *y);
        return;
    }
    LAUNCH(d, dropout_kernel, grid_for(rows * ((width + 7) / 8)), THREADS, 0, s->n, s->dev_off, width,
           in_quads(width, x, y), drop_of(drop), x, y);
}

KERNEL u8_to_f32_kernel(int64_t n, const uint8_t *x, float *y)
{
    const int64_t i = global_index();
    if (i < n) y[i] = (float)x[i] / 127.5f - 1.0f;
}
static void u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y)
{
    LAUNCH(d, u8_to_f32_kernel, grid_for(n), THREADS, 0, n, x, y);
}

KERNEL rows_gather_kernel(int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    const int64_t i = global_index();
    if (i < n * width) y[i] = x[row[i / width] * width + i % width];
}
static void rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    LAUNCH(d, rows_gather_kernel, grid_for(n * width), THREADS, 0, n, width, row, x, y);
}

KERNEL rows_scatter_kernel(int64_t n, int64_t width, const int64_t *row, const float *dy, float *dx)
{
    const int64_t i = global_index();
    if (i < n * width) dx[row[i / width] * width + i % width] += dy[i];
}
static void rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                         const float *dy, float *dx, int add)
{
    if (!add) dev_zero(d, dx, (size_t)(rows * width) * sizeof *dx);
    LAUNCH(d, rows_scatter_kernel, grid_for(n * width), THREADS, 0, n, width, row, dy, dx);
}

void ops_elementwise(struct lafs_ops *ops)
{
    ops->scale = scale;
    ops->axpy = axpy;
    ops->lerp = lerp;
    ops->act_bwd = act_bwd;
    ops->dropout = dropout;
    ops->u8_to_f32 = u8_to_f32;
    ops->rows_gather = rows_gather;
    ops->rows_scatter = rows_scatter;
}
