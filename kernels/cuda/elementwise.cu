/* Element by element: a thread each, or four neighbours where many are moved. */
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

/* whole: both begin at multiples of 16 bytes. */
KERNEL axpy_kernel(int64_t n, int whole, float a, const float *x, float *y)
{
    const int64_t i = global_index() * 4;
    if (whole && i + 4 <= n) {
        const struct quad add = *(const struct quad *)(x + i);
        struct quad sum = *(const struct quad *)(y + i);
#pragma unroll
        for (int k = 0; k < 4; k++) sum.v[k] += a * add.v[k];
        *(struct quad *)(y + i) = sum;
        return;
    }
    for (int64_t k = i; k < i + 4 && k < n; k++) y[k] += a * x[k];
}
static void axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y)
{
    LAUNCH(d, axpy_kernel, grid_for((n + 3) / 4), THREADS, 0, n, in_quads(0, x, y), a, x, y);
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
KERNEL dropout_kernel(int64_t n, const int64_t *off, int64_t width, int whole, struct drop drop, const float *x,
                      float *y)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, first = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row), at = row * width + first;
    float v[8], keep[8];
    take_eight(x + at, width - first, whole, v);
    drop_factors(&drop, seq, (row - off[seq]) * width + first, whole, keep);
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] *= keep[k];
    give_eight(y + at, width - first, whole, v);
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

struct alignas(4) four_bytes {
    uint8_t v[4];
};
KERNEL u8_to_f32_kernel(int64_t n, int whole, const uint8_t *x, float *y)
{
    const int64_t i = global_index() * 4;
    if (whole && i + 4 <= n) {
        const struct four_bytes in = *(const struct four_bytes *)(x + i);
        struct quad out;
#pragma unroll
        for (int k = 0; k < 4; k++) out.v[k] = (float)in.v[k] / 127.5f - 1.0f;
        *(struct quad *)(y + i) = out;
        return;
    }
    for (int64_t k = i; k < i + 4 && k < n; k++) y[k] = (float)x[k] / 127.5f - 1.0f;
}
static void u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y)
{
    const int whole = ((uintptr_t)x & 3) == 0 && in_quads(0, y);
    LAUNCH(d, u8_to_f32_kernel, grid_for((n + 3) / 4), THREADS, 0, n, whole, x, y);
}

template <class T> KERNEL rows_gather_kernel(int64_t n, int64_t width, const int64_t *row, const T *x, T *y)
{
    const int64_t i = global_index();
    if (i < n * width) y[i] = x[row[i / width] * width + i % width];
}
static void rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    LAUNCH_OF(float, d, rows_gather_kernel, grid_for(n * width), THREADS, 0, n, width, row, x, y);
}
static void rows_gather_bf16(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row,
                             const struct lafs_bf16 *x, struct lafs_bf16 *y)
{
    LAUNCH_OF(struct lafs_bf16, d, rows_gather_kernel, grid_for(n * width), THREADS, 0, n, width, row, x, y);
}

template <class T> KERNEL rows_scatter_kernel(int64_t n, int64_t width, const int64_t *row, const T *dy, T *dx)
{
    const int64_t i = global_index();
    if (i >= n * width) return;
    T *to = dx + row[i / width] * width + i % width;
    put_number(to, number(*to) + number(dy[i]));
}
static void rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                         const float *dy, float *dx, int add)
{
    if (!add) dev_zero(d, dx, (size_t)(rows * width) * sizeof *dx);
    LAUNCH_OF(float, d, rows_scatter_kernel, grid_for(n * width), THREADS, 0, n, width, row, dy, dx);
}
static void rows_add_bf16(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const struct lafs_bf16 *dy,
                          struct lafs_bf16 *dx)
{
    LAUNCH_OF(struct lafs_bf16, d, rows_scatter_kernel, grid_for(n * width), THREADS, 0, n, width, row, dy, dx);
}

void ops_elementwise(struct lafs_ops *ops, struct lafs_bf16_ops *bf16)
{
    ops->scale = scale;
    ops->axpy = axpy;
    ops->lerp = lerp;
    ops->act_bwd = act_bwd;
    ops->dropout = dropout;
    ops->u8_to_f32 = u8_to_f32;
    ops->rows_gather = rows_gather;
    ops->rows_scatter = rows_scatter;
    bf16->rows_gather = rows_gather_bf16;
    bf16->rows_add = rows_add_bf16;
}
