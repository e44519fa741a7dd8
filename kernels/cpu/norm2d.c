/* BatchNorm and the channel ops, as kernels/ref/norm2d.c says, over tiles of rows (BatchNorm) or images (channel ops).
 * Sums over rows: float within a tile, whose size depends on the channels alone, then double over tiles in order.
 * A variance takes two passes over each tile, while it is in cache; tiles' moments are merged by Chan's formula. The
 * loops are in norm2d_kernels.inc. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/conv_kernels.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

static const double eps = 1e-5;

/* A pass over the rows in tiles. */
struct bn {
    const struct lafs_conv_kernels *kern;
    struct lafs_bn_tile t; /* of all rows */
    int64_t tile_rows;
    float *part;           /* (tiles, 2, c): what a tile sums */
};

static int64_t rows_per_tile(int64_t c)
{
    int64_t n = 16384 / c;
    return n < 16 ? 16 : n > 512 ? 512 : n;
}

static struct lafs_bn_tile tile_of(const struct bn *j, int64_t tile)
{
    struct lafs_bn_tile t = j->t;
    int64_t from = tile * j->tile_rows, at = from * t.c;
    t.rows = from + j->tile_rows < t.rows ? j->tile_rows : t.rows - from;
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
    float *part = j->part + tile * 2 * t.c;
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
    t.sum = j->part + tile * 2 * t.c;
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

/* Column k of what tiles have summed, `which` 0 or 1. */
static double total(const struct bn *j, int64_t tiles, int which, int64_t k)
{
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++) sum += j->part[(2 * t + which) * j->t.c + k];
    return sum;
}

/* Mean and sum of squared deviations of column k, from each tile's. */
static void merge_moments(const struct bn *j, int64_t tiles, int64_t k, double *mean, double *squares)
{
    int64_t c = j->t.c;
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++) sum += (double)j->part[2 * t * c + k] * (double)tile_of(j, t).rows;
    *mean = sum / (double)j->t.rows;
    *squares = total(j, tiles, 1, k);
    for (int64_t t = 0; t < tiles; t++) {
        double off = j->part[2 * t * c + k] - *mean;
        *squares += off * off * (double)tile_of(j, t).rows;
    }
}

void lafs_cpu_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd)
{
    struct bn j = {lafs_conv_kernels(), {.rows = rows, .c = c, .act = act, .x = x, .beta = beta, .y = y},
                   rows_per_tile(c)};
    int64_t tiles = (rows + j.tile_rows - 1) / j.tile_rows;
    float *own = lafs_cpu_shared(d, (size_t)((2 * tiles + 3) * c) * sizeof *own); /* part, mean, rstd, scale */
    if (!own) return;
    float *m = own + 2 * tiles * c, *r = m + c, *scale = r + c;
    j.part = own;
    if (train) lafs_pool_for(d->pool, tiles, moments_tile, &j);
    for (int64_t k = 0; k < c; k++) {
        double mid, squares, v;
        if (train) {
            merge_moments(&j, tiles, k, &mid, &squares);
            v = squares / (double)rows;
            double unbiased = rows > 1 ? squares / (double)(rows - 1) : v, keep = 1 - (double)momentum;
            if (run_mean) run_mean[k] = (float)(keep * run_mean[k] + (double)momentum * mid);
            if (run_var) run_var[k] = (float)(keep * run_var[k] + (double)momentum * unbiased);
        } else {
            mid = run_mean[k];
            v = run_var[k];
        }
        m[k] = (float)mid;
        r[k] = (float)(1 / sqrt(v + eps));
        scale[k] = r[k] * gamma[k];
    }
    j.t.mean = m;
    j.t.scale = scale;
    lafs_pool_for(d->pool, tiles, norm_tile, &j);
    if (mean) memcpy(mean, m, (size_t)c * sizeof *mean);
    if (rstd) memcpy(rstd, r, (size_t)c * sizeof *rstd);
}

void lafs_cpu_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta)
{
    struct bn j = {lafs_conv_kernels(),
                   {.rows = rows, .c = c, .act = act, .x = x, .dy = dy, .mean = mean, .beta = beta, .y = dx},
                   rows_per_tile(c)};
    int64_t tiles = (rows + j.tile_rows - 1) / j.tile_rows;
    float *own = lafs_cpu_shared(d, (size_t)((2 * tiles + 3) * c) * sizeof *own); /* part, sum, along, scale */
    if (!own) return;
    float *sum = own + 2 * tiles * c, *along = sum + c, *scale = along + c;
    for (int64_t k = 0; k < c; k++) scale[k] = rstd[k] * gamma[k];
    j.part = own;
    j.t.scale = scale;
    lafs_pool_for(d->pool, tiles, slopes_tile, &j);
    for (int64_t k = 0; k < c; k++) {
        double a = total(&j, tiles, 0, k), b = total(&j, tiles, 1, k) * rstd[k];
        dbeta[k] += (float)a;
        dgamma[k] += (float)b;
        sum[k] = train ? (float)(a / (double)rows) : 0;
        along[k] = train ? (float)(b * rstd[k] / (double)rows) : 0;
    }
    j.t.sum = sum;
    j.t.along = along;
    if (dx) lafs_pool_for(d->pool, tiles, back_tile, &j);
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
