#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

enum { TILE = 1 << 14 }; /* elements of a tile */

struct flat {
    int64_t n;
    float a, rest;
    enum lafs_act act;
    const float *x, *dy;
    float *y;
    const uint8_t *u8;
};

static int64_t tiles(int64_t n) { return (n + TILE - 1) / TILE; }

#define SPAN int64_t from = tile * TILE, to = lafs_min64(from + TILE, j->n)

LAFS_INLINE void scale_tile(const struct flat *j, int64_t tile)
{
    SPAN;
    LAFS_EACH
    for (int64_t i = from; i < to; i++) j->y[i] *= j->a;
}
LAFS_INLINE void axpy_tile(const struct flat *j, int64_t tile)
{
    SPAN;
    LAFS_EACH
    for (int64_t i = from; i < to; i++) j->y[i] += j->a * j->x[i];
}
LAFS_INLINE void lerp_tile(const struct flat *j, int64_t tile)
{
    SPAN;
    LAFS_EACH
    for (int64_t i = from; i < to; i++) j->y[i] = j->a * j->y[i] + j->rest * j->x[i];
}
LAFS_INLINE void act_bwd_tile(const struct flat *j, int64_t tile)
{
    SPAN;
    lafs_vec_act_bwd(j->act, to - from, j->x + from, j->dy + from, j->y + from);
}
LAFS_INLINE void u8_tile(const struct flat *j, int64_t tile)
{
    SPAN;
    LAFS_EACH
    for (int64_t i = from; i < to; i++) j->y[i] = (float)j->u8[i] / 127.5f - 1.0f;
}
LAFS_ISA_TILES(scale, struct flat, scale_tile(j, tile))
LAFS_ISA_TILES(axpy, struct flat, axpy_tile(j, tile))
LAFS_ISA_TILES(lerp, struct flat, lerp_tile(j, tile))
LAFS_ISA_TILES(act_bwd, struct flat, act_bwd_tile(j, tile))
LAFS_ISA_TILES(u8, struct flat, u8_tile(j, tile))

void lafs_cpu_scale(struct lafs_dev *d, int64_t n, float a, float *x)
{
    struct flat j = {.n = n, .a = a, .y = x};
    lafs_pool_for(d->pool, tiles(n), lafs_isa_scale(), &j);
}

void lafs_cpu_axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y)
{
    struct flat j = {.n = n, .a = a, .x = x, .y = y};
    lafs_pool_for(d->pool, tiles(n), lafs_isa_axpy(), &j);
}

void lafs_cpu_lerp(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y)
{
    struct flat j = {.n = n, .a = (float)*m, .rest = (float)(1 - *m), .x = x, .y = y};
    lafs_pool_for(d->pool, tiles(n), lafs_isa_lerp(), &j);
}

void lafs_cpu_act_bwd(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx)
{
    struct flat j = {.n = n, .act = act, .x = pre, .dy = dy, .y = dx};
    lafs_pool_for(d->pool, tiles(n), lafs_isa_act_bwd(), &j);
}

void lafs_cpu_u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y)
{
    struct flat j = {.n = n, .u8 = x, .y = y};
    lafs_pool_for(d->pool, tiles(n), lafs_isa_u8(), &j);
}

/* -- rows -- */

struct rows {
    const struct lafs_seqs *s;
    const struct lafs_drop *drop;
    const int64_t *row;
    int64_t n, width, per_tile;
    const float *x;
    float *y;
};

/* About TILE elements, but whole rows. */
static int64_t rows_per_tile(int64_t width) { return width >= TILE ? 1 : TILE / (width > 0 ? width : 1); }

LAFS_INLINE void dropout_tile(const struct rows *j, int64_t tile)
{
    int64_t from = tile * j->per_tile, to = lafs_min64(from + j->per_tile, j->n), w = j->width;
    int64_t i = lafs_seq_of(j->s, from);
    while (from < to) {
        while (from >= j->s->off[i + 1]) i++; /* empty sequences too */
        int64_t end = lafs_min64(to, j->s->off[i + 1]);
        lafs_vec_drop(j->drop, i, (from - j->s->off[i]) * w, (end - from) * w, j->x + from * w, j->y + from * w);
        from = end;
    }
}
LAFS_ISA_TILES(dropout, struct rows, dropout_tile(j, tile))

void lafs_cpu_dropout(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                      const float *x, float *y)
{
    struct rows j = {.s = s, .drop = drop, .n = lafs_seqs_rows(s), .width = width, .x = x, .y = y};
    if ((!drop || drop->p <= 0) && x == y) return;
    j.per_tile = rows_per_tile(width);
    lafs_pool_for(d->pool, (j.n + j.per_tile - 1) / j.per_tile, lafs_isa_dropout(), &j);
}

static void gather_tile(void *arg, int64_t tile, int worker)
{
    const struct rows *j = arg;
    (void)worker;
    for (int64_t i = tile * j->per_tile; i < lafs_min64((tile + 1) * j->per_tile, j->n); i++)
        memcpy(j->y + i * j->width, j->x + j->row[i] * j->width, (size_t)j->width * sizeof *j->y);
}

void lafs_cpu_rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    struct rows j = {.row = row, .n = n, .width = width, .x = x, .y = y, .per_tile = rows_per_tile(width)};
    lafs_pool_for(d->pool, (n + j.per_tile - 1) / j.per_tile, gather_tile, &j);
}

/* Tile i: row i of dy, and the rows of zeros between it and the next one; the first tile also those in front. */
static void scatter_tile(void *arg, int64_t i, int worker)
{
    const struct rows *j = arg;
    (void)worker;
    size_t row_size = (size_t)j->width * sizeof *j->y;
    int64_t at = j->row[i], next = i + 1 < j->n ? j->row[i + 1] : j->per_tile; /* per_tile: all rows */
    if (i == 0) memset(j->y, 0, (size_t)at * row_size);
    memcpy(j->y + at * j->width, j->x + i * j->width, row_size);
    memset(j->y + (at + 1) * j->width, 0, (size_t)(next - at - 1) * row_size);
}

LAFS_INLINE void scatter_add_tile(const struct rows *j, int64_t i)
{
    const float *x = j->x + i * j->width;
    float *y = j->y + j->row[i] * j->width;
    LAFS_EACH
    for (int64_t c = 0; c < j->width; c++) y[c] += x[c];
}
LAFS_ISA_TILES(scatter_add, struct rows, scatter_add_tile(j, tile))

void lafs_cpu_rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                           const float *dy, float *dx, int add)
{
    struct rows j = {.row = row, .n = n, .width = width, .x = dy, .y = dx, .per_tile = rows};
    if (add) {
        lafs_pool_for(d->pool, n, lafs_isa_scatter_add(), &j);
        return;
    }
    if (n == 0) memset(dx, 0, (size_t)(rows * width) * sizeof *dx);
    lafs_pool_for(d->pool, n, scatter_tile, &j);
}
