/* Linear layers: products by product_run, of operands that kernels here round; what follows a product in one kernel. */
#include "kernels/cuda/dev.cuh"

/* high and, unless NULL, low: bf16. */
KERNEL round_kernel(int64_t n, const float *x, uint16_t *high, uint16_t *low)
{
    const int64_t i = global_index();
    if (i >= n) return;
    high[i] = (uint16_t)bf16_bits(x[i]);
    if (low) low[i] = (uint16_t)bf16_bits(bf16_low(x[i]));
}

/* Where the low parts of n begin behind the high ones: products want aligned arrays. */
static int64_t low_at(int64_t n) { return (n + 127) / 128 * 128; }

/* n floats as bf16: high parts, and for bf16x3 low ones. */
static const uint16_t *rounded(struct lafs_dev *d, enum scratch kind, enum lafs_precision precision, int64_t n,
                               const float *x)
{
    const int parts = precision == LAFS_PRECISION_BF16X3 ? 2 : 1;
    uint16_t *to = (uint16_t *)dev_scratch(d, kind, (size_t)(parts * low_at(n)) * sizeof *to);
    if (to) LAUNCH(d, round_kernel, grid_for(n), THREADS, 0, n, x, to, parts == 2 ? to + low_at(n) : NULL);
    return to;
}

void multiply(struct lafs_dev *d, enum lafs_precision precision, struct product p)
{
    const int64_t na = p.m * p.k, nb = p.n * p.k;
    if (p.m == 0 || p.n == 0) return;
    if (precision == LAFS_PRECISION_FP32) {
        product_run(d, &p);
        return;
    }
    const uint16_t *a = rounded(d, SCRATCH_A, precision, na, (const float *)p.a);
    const uint16_t *b = rounded(d, SCRATCH_B, precision, nb, (const float *)p.b);
    if (!a || !b) return;
    p.bf16 = 1;
    p.a = a, p.b = b;
    product_run(d, &p);
    if (precision == LAFS_PRECISION_BF16) return;
    p.add = 1, p.bias = NULL;
    p.b = b + low_at(nb);
    product_run(d, &p);
    p.a = a + low_at(na), p.b = b;
    product_run(d, &p);
}

/* y = drop(act(y)), pre = y before. A thread takes eight neighbours of a row. */
KERNEL finish_kernel(int64_t n, const int64_t *off, int64_t width, enum lafs_act act, struct drop drop, float *pre,
                     float *y)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, first = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = drop.key ? sequence_of(n, off, row) : 0;
    struct drop_mask mask;
    for (int64_t j = first; j < width && j < first + 8; j++) {
        const float v = y[row * width + j];
        if (pre) pre[row * width + j] = v;
        y[row * width + j] = act_value(act, v) * drop_factor(&drop, &mask, seq, (row - off[seq]) * width + j);
    }
}

static void linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                   int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                   const struct lafs_drop *drop, float *pre, float *y)
{
    const int64_t rows = lafs_seqs_rows(s);
    const struct drop mask = drop_of(drop);
    multiply(d, precision, {PRODUCT_NT, rows, out, in, 0, x, w, b, 0, y});
    if (act != LAFS_ACT_NONE || pre || mask.key)
        LAUNCH(d, finish_kernel, grid_for(rows * ((out + 7) / 8)), THREADS, 0, s->n, s->dev_off, out, act, mask, pre,
               y);
}

static void linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                         int64_t out, const float *dy, const float *w, float *dx)
{
    const int64_t rows = lafs_seqs_rows(s);
    multiply(d, precision, {PRODUCT_NN, rows, in, out, 0, dy, w, NULL, 0, dx});
}

/* part (parts, width): sums of SUM_ROWS rows of x each. A block has a warp of columns; its warps share the rows. */
KERNEL column_part_kernel(int64_t rows, int64_t width, const float *x, float *part)
{
    float *room = shared_memory<float>();
    const int64_t column = (int64_t)block_y() * WARP + lane_index(), first = block_x() * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    float sum = 0;
    for (int64_t r = first + warp_index(); r < end && column < width; r += THREADS / WARP) sum += x[r * width + column];
    room[thread_index()] = sum;
    block_sync();
    if (warp_index() || column >= width) return;
    sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[i * WARP + lane_index()];
    part[block_x() * width + column] = sum;
}

void column_parts(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *part)
{
    LAUNCH(d, column_part_kernel, grid_of(parts_of(rows), (width + WARP - 1) / WARP), THREADS, THREADS * sizeof(float),
           rows, width, x, part);
}

KERNEL sum_parts_kernel(int64_t parts, int64_t n, int64_t inner, const float *part, int add, float *out)
{
    const int64_t j = global_index(), to = j % inner * (n / inner) + j / inner;
    if (j >= n) return;
    double sum = 0;
    for (int64_t i = 0; i < parts; i++) sum += part[i * n + j];
    out[to] = add ? out[to] + (float)sum : (float)sum;
}
void sum_parts(struct lafs_dev *d, int64_t parts, int64_t n, int64_t inner, const float *part, int add, float *out)
{
    LAUNCH(d, sum_parts_kernel, grid_for(n), THREADS, 0, parts, n, inner, part, add, out);
}

static void linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                         const float *x, const float *dy, float *dw, float *db)
{
    if (rows == 0) return;
    multiply(d, precision, {PRODUCT_TN, out, in, rows, 0, dy, x, NULL, 1, dw});
    if (!db) return;
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts_of(rows) * out) * sizeof *part);
    if (!part) return;
    column_parts(d, rows, out, dy, part);
    sum_parts(d, parts_of(rows), out, out, part, 1, db);
}

void ops_linear(struct lafs_ops *ops)
{
    ops->linear = linear;
    ops->linear_bwd_x = linear_bwd_x;
    ops->linear_bwd_w = linear_bwd_w;
}
