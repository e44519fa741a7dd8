/* BatchNorm and the channel ops, as kernels/ref/norm2d.c says, over tiles of rows (BatchNorm) or images (channel ops).
 * Sums over rows: float within a tile, whose size depends on the channels alone, then double over tiles in order.
 * A variance takes two passes over each tile, while it is in cache; tiles' moments are merged by Chan's formula. The
 * loops are in norm2d_kernels.inc. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/norm2d.h"

static const double eps = 1e-5;

/* -- what tiles have summed -- */

struct lafs_bn_parts lafs_bn_parts_of(int64_t rows, int64_t c, int64_t tile_rows)
{
    int64_t tiles = (rows + tile_rows - 1) / tile_rows;
    return (struct lafs_bn_parts){rows, c, tiles, tile_rows, tiles, rows, NULL};
}

static int64_t rows_of(const struct lafs_bn_parts *p, int64_t tile)
{
    int64_t left = p->cycle_rows - tile % p->cycle * p->tile_rows;
    return left < p->tile_rows ? left : p->tile_rows;
}

/* Columns go in blocks, so that lines of `part` are read whole. */
enum { COLUMNS = 16 };
static int64_t block_of(const struct lafs_bn_parts *p, int64_t first)
{
    return p->c - first < COLUMNS ? p->c - first : COLUMNS;
}

void lafs_bn_take_moments(const struct lafs_bn_parts *p, float momentum, float *run_mean, float *run_var, float *mean,
                          float *rstd)
{
    double keep = 1 - (double)momentum, rows = (double)p->rows;
    for (int64_t first = 0; first < p->c; first += COLUMNS) {
        int64_t n = block_of(p, first);
        const float *part = p->part + first;
        double mid[COLUMNS] = {0}, squares[COLUMNS] = {0};
        for (int64_t t = 0; t < p->tiles; t++)
            for (int64_t k = 0; k < n; k++) mid[k] += part[2 * t * p->c + k];
        for (int64_t k = 0; k < n; k++) mid[k] /= rows;
        for (int64_t t = 0; t < p->tiles; t++)
            for (int64_t k = 0; k < n; k++) {
                double of_tile = (double)rows_of(p, t), off = part[2 * t * p->c + k] / of_tile - mid[k];
                squares[k] += part[(2 * t + 1) * p->c + k] + off * off * of_tile;
            }
        for (int64_t k = 0; k < n; k++) {
            double v = squares[k] / rows, unbiased = p->rows > 1 ? squares[k] / (rows - 1) : v;
            if (run_mean) run_mean[first + k] = (float)(keep * run_mean[first + k] + (double)momentum * mid[k]);
            if (run_var) run_var[first + k] = (float)(keep * run_var[first + k] + (double)momentum * unbiased);
            mean[first + k] = (float)mid[k];
            rstd[first + k] = (float)(1 / sqrt(v + eps));
        }
    }
}

void lafs_bn_take_running(int64_t c, const float *run_mean, const float *run_var, float *mean, float *rstd)
{
    for (int64_t k = 0; k < c; k++) {
        mean[k] = run_mean[k];
        rstd[k] = (float)(1 / sqrt((double)run_var[k] + eps));
    }
}

void lafs_bn_take_slopes(const struct lafs_bn_parts *p, float *total)
{
    for (int64_t first = 0; first < 2 * p->c; first += COLUMNS) {
        int64_t n = 2 * p->c - first < COLUMNS ? 2 * p->c - first : COLUMNS;
        double sum[COLUMNS] = {0};
        for (int64_t t = 0; t < p->tiles; t++)
            for (int64_t k = 0; k < n; k++) sum[k] += p->part[2 * t * p->c + first + k];
        for (int64_t k = 0; k < n; k++) total[first + k] = (float)sum[k];
    }
}

void lafs_bn_take_gradients(int64_t rows, int64_t c, int train, const float *total, const float *rstd, float *dgamma,
                            float *dbeta, float *sum, float *along)
{
    for (int64_t k = 0; k < c; k++) {
        double a = total[k], b = (double)total[c + k] * rstd[k];
        dbeta[k] += (float)a;
        dgamma[k] += (float)b;
        sum[k] = train ? (float)(a / (double)rows) : 0;
        along[k] = train ? (float)(b * rstd[k] / (double)rows) : 0;
    }
}

/* -- the ops -- */

/* A pass over the rows in tiles. */
struct bn {
    const struct lafs_conv_kernels *kern;
    struct lafs_bn_tile t; /* of all rows */
    struct lafs_bn_parts p;
};

static int64_t rows_per_tile(int64_t c)
{
    int64_t n = 16384 / c;
    return n < 16 ? 16 : n > 512 ? 512 : n;
}

static struct lafs_bn_tile tile_of(const struct bn *j, int64_t tile)
{
    struct lafs_bn_tile t = j->t;
    int64_t at = tile * j->p.tile_rows * t.c;
    t.rows = rows_of(&j->p, tile);
    t.x += at;
    if (t.dy) t.dy += at;
    if (t.y) t.y += at;
    return t;
}

static void moments_tile(void *arg, int64_t tile, int worker)
{
    const struct bn *j = arg;
    (void)worker;
    struct lafs_bn_tile t = tile_of(j, tile);
    float *part = j->p.part + tile * 2 * t.c;
    j->kern->bn_moments(t.rows, t.c, t.x, part, part + t.c);
}

static void norm_tile(void *arg, int64_t tile, int worker)
{
    const struct bn *j = arg;
    (void)worker;
    struct lafs_bn_tile t = tile_of(j, tile);
    j->kern->bn_norm(&t);
}

static void slopes_tile(void *arg, int64_t tile, int worker)
{
    const struct bn *j = arg;
    (void)worker;
    struct lafs_bn_tile t = tile_of(j, tile);
    t.sum = j->p.part + tile * 2 * t.c;
    t.along = t.sum + t.c;
    j->kern->bn_slopes(&t);
}

static void back_tile(void *arg, int64_t tile, int worker)
{
    const struct bn *j = arg;
    (void)worker;
    struct lafs_bn_tile t = tile_of(j, tile);
    j->kern->bn_back(&t);
}

void lafs_cpu_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd)
{
    struct bn j = {lafs_conv_kernels(), {.rows = rows, .c = c, .act = act, .x = x, .beta = beta, .y = y},
                   lafs_bn_parts_of(rows, c, rows_per_tile(c))};
    float *own = lafs_cpu_shared(d, (size_t)((2 * j.p.tiles + 3) * c) * sizeof *own); /* part, mean, rstd, scale */
    if (!own) return;
    float *m = own + 2 * j.p.tiles * c, *r = m + c, *scale = r + c;
    j.p.part = own;
    if (train) {
        lafs_pool_for(d->pool, j.p.tiles, moments_tile, &j);
        lafs_bn_take_moments(&j.p, momentum, run_mean, run_var, m, r);
    } else lafs_bn_take_running(c, run_mean, run_var, m, r);
    for (int64_t k = 0; k < c; k++) scale[k] = r[k] * gamma[k];
    j.t.mean = m;
    j.t.scale = scale;
    lafs_pool_for(d->pool, j.p.tiles, norm_tile, &j);
    if (mean) memcpy(mean, m, (size_t)c * sizeof *mean);
    if (rstd) memcpy(rstd, r, (size_t)c * sizeof *rstd);
}

void lafs_cpu_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta)
{
    struct bn j = {lafs_conv_kernels(),
                   {.rows = rows, .c = c, .act = act, .x = x, .dy = dy, .mean = mean, .beta = beta, .y = dx},
                   lafs_bn_parts_of(rows, c, rows_per_tile(c))};
    /* part, total, sum, along, scale */
    float *own = lafs_cpu_shared(d, (size_t)((2 * j.p.tiles + 5) * c) * sizeof *own);
    if (!own) return;
    float *total = own + 2 * j.p.tiles * c, *sum = total + 2 * c, *along = sum + c, *scale = along + c;
    for (int64_t k = 0; k < c; k++) scale[k] = rstd[k] * gamma[k];
    j.p.part = own;
    j.t.scale = scale;
    lafs_pool_for(d->pool, j.p.tiles, slopes_tile, &j);
    lafs_bn_take_slopes(&j.p, total);
    lafs_bn_take_gradients(rows, c, train, total, rstd, dgamma, dbeta, sum, along);
    j.t.sum = sum;
    j.t.along = along;
    if (dx) lafs_pool_for(d->pool, j.p.tiles, back_tile, &j);
}

struct channel {
    const struct lafs_conv_kernels *kern;
    int64_t n, hw, c;
    int add;
    enum lafs_act act;
    const float *x, *s, *dy; /* (n,hw,c), (n,c), as the op says */
    float *y, *dx, *ds;
};

LAFS_INLINE void mean_tile(const struct channel *j, int64_t tile)
{
    const float *x = j->x + tile * j->hw * j->c;
    float *y = j->y + tile * j->c;
    memset(y, 0, (size_t)j->c * sizeof *y);
    for (int64_t i = 0; i < j->hw; i++)
        LAFS_EACH
        for (int64_t k = 0; k < j->c; k++) y[k] += x[i * j->c + k];
    for (int64_t k = 0; k < j->c; k++) y[k] /= (float)j->hw;
}

LAFS_INLINE void mean_bwd_tile(const struct channel *j, int64_t tile)
{
    const float *dy = j->dy + tile * j->c, share = 1 / (float)j->hw;
    float *dx = j->dx + tile * j->hw * j->c;
    for (int64_t i = 0; i < j->hw; i++, dx += j->c) {
        if (j->add)
            LAFS_EACH
            for (int64_t k = 0; k < j->c; k++) dx[k] += dy[k] * share;
        else
            LAFS_EACH
            for (int64_t k = 0; k < j->c; k++) dx[k] = dy[k] * share;
    }
}

static void scale_tile(void *arg, int64_t tile, int worker)
{
    const struct channel *j = arg;
    (void)worker;
    int64_t at = tile * j->hw * j->c;
    j->kern->channel_scale(j->hw, j->c, j->x + at, j->s + tile * j->c, j->act, j->y + at);
}

static void scale_bwd_tile(void *arg, int64_t tile, int worker)
{
    const struct channel *j = arg;
    (void)worker;
    int64_t at = tile * j->hw * j->c;
    float *ds = j->ds + tile * j->c;
    memset(ds, 0, (size_t)j->c * sizeof *ds);
    j->kern->channel_scale_back(j->hw, j->c, j->x + at, j->s + tile * j->c, j->act, j->dy + at, j->dx + at, ds);
}

LAFS_ISA_TILES(mean, struct channel, mean_tile(j, tile))
LAFS_ISA_TILES(mean_bwd, struct channel, mean_bwd_tile(j, tile))

void lafs_cpu_channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y)
{
    struct channel j = {.hw = hw, .c = c, .x = x, .y = y};
    lafs_pool_for(d->pool, n, lafs_isa_mean(), &j);
}

void lafs_cpu_channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx,
                               int add)
{
    struct channel j = {.hw = hw, .c = c, .dy = dy, .dx = dx, .add = add};
    lafs_pool_for(d->pool, n, lafs_isa_mean_bwd(), &j);
}

void lafs_cpu_channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                            enum lafs_act act, float *y)
{
    struct channel j = {lafs_conv_kernels(), .hw = hw, .c = c, .x = x, .s = s, .act = act, .y = y};
    lafs_pool_for(d->pool, n, scale_tile, &j);
}

void lafs_cpu_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds)
{
    struct channel j = {lafs_conv_kernels(), .hw = hw, .c = c, .x = x, .s = s, .act = act, .dy = dy, .dx = dx,
                        .ds = ds};
    lafs_pool_for(d->pool, n, scale_bwd_tile, &j);
}
