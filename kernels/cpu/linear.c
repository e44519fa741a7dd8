#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

/* What becomes of a finished block of products. */
struct epilogue {
    const struct lafs_seqs *s;
    const struct lafs_drop *drop;
    const float *b; /* (out) or NULL */
    enum lafs_act act;
    float *pre;     /* (rows,out) or NULL */
};

LAFS_INLINE void finish_rows(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    const struct epilogue *e = p->arg;
    int64_t seq = e->drop ? lafs_seq_of(e->s, row) : 0, out = p->n;
    for (int64_t r = row; r < row + rows; r++) {
        float *y = p->c + r * out + col;
        if (e->b)
            LAFS_EACH
            for (int64_t i = 0; i < cols; i++) y[i] += e->b[col + i];
        if (e->pre) memcpy(e->pre + r * out + col, y, (size_t)cols * sizeof *y);
        lafs_vec_act(e->act, cols, y, y);
        if (!e->drop) continue;
        while (r >= e->s->off[seq + 1]) seq++;
        lafs_vec_drop(e->drop, seq, (r - e->s->off[seq]) * out + col, cols, y, y);
    }
}
LAFS_ISA_FN(finish_rows, (const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols),
            (p, row, rows, col, cols))

static void finish(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, int worker)
{
    (void)worker;
    lafs_isa_finish_rows()(p, row, rows, col, cols);
}

void lafs_cpu_linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                     int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                     const struct lafs_drop *drop, float *pre, float *y)
{
    if (drop && drop->p <= 0) drop = NULL;
    struct epilogue e = {s, drop, b, act, pre};
    int plain = !b && act == LAFS_ACT_NONE && !drop && !pre;
    struct lafs_matmul p = {.precision = precision, .transb = 1, .m = lafs_seqs_rows(s), .n = out, .k = in, .a = x,
                            .lda = in, .b = w, .ldb = in, .c = y, .ldc = out, .finish = plain ? NULL : finish,
                            .arg = &e};
    lafs_cpu_matmul(d, &p);
}

void lafs_cpu_linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                           int64_t out, const float *dy, const float *w, float *dx)
{
    struct lafs_matmul p = {
        .precision = precision, .m = lafs_seqs_rows(s), .n = in, .k = out, .a = dy, .lda = out, .b = w, .ldb = in,
        .c = dx, .ldc = in};
    lafs_cpu_matmul(d, &p);
}

/* Column sums: a tile is COLS columns; rows are summed in blocks in float, blocks in double. */
enum { COLS = 64, BLOCK = 256 };

struct sums {
    int64_t rows, width;
    const float *x;
    float *to;
};

LAFS_INLINE void column_tile(const struct sums *j, int64_t tile)
{
    int64_t from = tile * COLS, n = lafs_min64(COLS, j->width - from);
    double total[COLS] = {0};
    for (int64_t r = 0; r < j->rows; r += BLOCK) {
        float part[COLS] = {0};
        for (int64_t i = r; i < lafs_min64(r + BLOCK, j->rows); i++)
            LAFS_EACH
            for (int64_t c = 0; c < n; c++) part[c] += j->x[i * j->width + from + c];
        for (int64_t c = 0; c < n; c++) total[c] += part[c];
    }
    for (int64_t c = 0; c < n; c++) j->to[from + c] += (float)total[c];
}
LAFS_ISA_TILES(column, struct sums, column_tile(j, tile))

void lafs_cpu_linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                           const float *x, const float *dy, float *dw, float *db)
{
    struct lafs_matmul p = {.precision = precision, .transa = 1, .m = out, .n = in, .k = rows, .a = dy, .lda = out,
                            .b = x, .ldb = in, .add = 1, .c = dw, .ldc = in};
    lafs_cpu_matmul(d, &p);
    struct sums j = {rows, out, dy, db};
    if (db) lafs_pool_for(d->pool, (out + COLS - 1) / COLS, lafs_isa_column(), &j);
}
