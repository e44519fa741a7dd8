/* BatchNorm and the channel ops, as kernels/ref/norm2d.c says, over tiles of rows (BatchNorm) or images (channel ops).
 * Sums over rows: float within a tile, whose size depends on the channels alone, then double over tiles in order. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/ref/act.h"

static const double eps = 1e-5;

struct bn {
    int64_t rows, c, tile_rows;
    int train;
    enum lafs_act act;
    const float *x, *dy;                  /* (rows, c) */
    float *y, *dx;                        /* (rows, c) */
    const float *gamma, *beta;            /* (c) */
    const float *mean, *rstd;             /* (c) */
    const float *sum, *along;             /* (c): of dz and dz xhat, over rows, divided by rows */
    float *part;                          /* (tiles, 2c): sums of a tile */
};

static int64_t rows_per_tile(int64_t c)
{
    int64_t n = 16384 / c;
    return n < 16 ? 16 : n > 512 ? 512 : n;
}

#define ROWS_OF_TILE \
    int64_t from = tile * j->tile_rows, to = from + j->tile_rows < j->rows ? from + j->tile_rows : j->rows, c = j->c

LAFS_INLINE void sum_tile(const struct bn *j, int64_t tile)
{
    ROWS_OF_TILE;
    float *part = j->part + tile * 2 * c;
    memset(part, 0, (size_t)c * sizeof *part);
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < c; k++) part[k] += j->x[i * c + k];
}

LAFS_INLINE void square_tile(const struct bn *j, int64_t tile)
{
    ROWS_OF_TILE;
    float *part = j->part + tile * 2 * c;
    memset(part, 0, (size_t)c * sizeof *part);
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < c; k++) {
            float d = j->x[i * c + k] - j->mean[k];
            part[k] += d * d;
        }
}

/* One loop per activation, so that each vectorises. */
LAFS_INLINE void norm_act(const struct bn *j, int64_t from, int64_t to, enum lafs_act act)
{
    int64_t c = j->c;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < c; k++) {
            float z = (j->x[i * c + k] - j->mean[k]) * j->rstd[k] * j->gamma[k] + j->beta[k];
            j->y[i * c + k] = lafs_act_value(act, z);
        }
}

LAFS_INLINE void norm_tile(const struct bn *j, int64_t tile)
{
    ROWS_OF_TILE;
    (void)c;
    switch (j->act) {
    case LAFS_ACT_NONE: norm_act(j, from, to, LAFS_ACT_NONE); break;
    case LAFS_ACT_RELU: norm_act(j, from, to, LAFS_ACT_RELU); break;
    case LAFS_ACT_HSWISH: norm_act(j, from, to, LAFS_ACT_HSWISH); break;
    default: norm_act(j, from, to, j->act);
    }
}

/* Columns in blocks whose sums stay in registers. */
LAFS_INLINE void slope_sums(const struct bn *j, int64_t from, int64_t to, float *sum, float *along, enum lafs_act act)
{
    int64_t c = j->c;
    for (int64_t k0 = 0; k0 < c; k0 += 64) {
        int64_t n = c - k0 < 64 ? c - k0 : 64;
        float mean[64] = {0}, rstd[64] = {0}, gamma[64] = {0}, beta[64] = {0}, s[64] = {0}, a[64] = {0};
        memcpy(mean, j->mean + k0, (size_t)n * sizeof *mean);
        memcpy(rstd, j->rstd + k0, (size_t)n * sizeof *rstd);
        memcpy(gamma, j->gamma + k0, (size_t)n * sizeof *gamma);
        memcpy(beta, j->beta + k0, (size_t)n * sizeof *beta);
        for (int64_t i = from; i < to; i++) {
            const float *x = j->x + i * c + k0, *dy = j->dy + i * c + k0;
            for (int64_t k = 0; k < n; k++) {
                float xhat = (x[k] - mean[k]) * rstd[k];
                float dz = dy[k] * lafs_act_slope(act, xhat * gamma[k] + beta[k]);
                s[k] += dz;
                a[k] += dz * xhat;
            }
        }
        memcpy(sum + k0, s, (size_t)n * sizeof *s);
        memcpy(along + k0, a, (size_t)n * sizeof *a);
    }
}

LAFS_INLINE void slope_tile(const struct bn *j, int64_t tile)
{
    ROWS_OF_TILE;
    float *part = j->part + tile * 2 * c;
    switch (j->act) {
    case LAFS_ACT_NONE: slope_sums(j, from, to, part, part + c, LAFS_ACT_NONE); break;
    case LAFS_ACT_RELU: slope_sums(j, from, to, part, part + c, LAFS_ACT_RELU); break;
    case LAFS_ACT_HSWISH: slope_sums(j, from, to, part, part + c, LAFS_ACT_HSWISH); break;
    default: slope_sums(j, from, to, part, part + c, j->act);
    }
}

LAFS_INLINE void back_act(const struct bn *j, int64_t from, int64_t to, enum lafs_act act)
{
    int64_t c = j->c;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < c; k++) {
            float xhat = (j->x[i * c + k] - j->mean[k]) * j->rstd[k];
            float dz = j->dy[i * c + k] * lafs_act_slope(act, xhat * j->gamma[k] + j->beta[k]);
            j->dx[i * c + k] = (dz - (j->sum[k] + xhat * j->along[k])) * (j->gamma[k] * j->rstd[k]);
        }
}

LAFS_INLINE void back_tile(const struct bn *j, int64_t tile)
{
    ROWS_OF_TILE;
    (void)c;
    switch (j->act) {
    case LAFS_ACT_NONE: back_act(j, from, to, LAFS_ACT_NONE); break;
    case LAFS_ACT_RELU: back_act(j, from, to, LAFS_ACT_RELU); break;
    case LAFS_ACT_HSWISH: back_act(j, from, to, LAFS_ACT_HSWISH); break;
    default: back_act(j, from, to, j->act);
    }
}

LAFS_ISA_TILES(sum, struct bn, sum_tile(j, tile))
LAFS_ISA_TILES(square, struct bn, square_tile(j, tile))
LAFS_ISA_TILES(norm, struct bn, norm_tile(j, tile))
LAFS_ISA_TILES(slope, struct bn, slope_tile(j, tile))
LAFS_ISA_TILES(back, struct bn, back_tile(j, tile))

/* Sum over tiles of column k of the first (at 0) or second (at c) sums. */
static double total(const struct bn *j, int64_t tiles, int64_t at)
{
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++) sum += j->part[t * 2 * j->c + at];
    return sum;
}

void lafs_cpu_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd)
{
    struct bn j = {.rows = rows, .c = c, .tile_rows = rows_per_tile(c), .act = act,
                   .x = x, .y = y, .gamma = gamma, .beta = beta};
    int64_t tiles = (rows + j.tile_rows - 1) / j.tile_rows;
    float *own = lafs_cpu_shared(d, (size_t)((2 * tiles + 2) * c) * sizeof *own); /* part, mean, rstd */
    if (!own) return;
    float *m = own + 2 * tiles * c, *r = m + c;
    j.part = own;
    j.mean = m;
    j.rstd = r;
    if (train) lafs_pool_for(d->pool, tiles, lafs_isa_sum(), &j);
    for (int64_t k = 0; k < c; k++) m[k] = train ? (float)(total(&j, tiles, k) / (double)rows) : run_mean[k];
    if (train) lafs_pool_for(d->pool, tiles, lafs_isa_square(), &j);
    for (int64_t k = 0; k < c; k++) {
        double squares = train ? total(&j, tiles, k) : 0, v = train ? squares / (double)rows : run_var[k];
        double unbiased = rows > 1 ? squares / (double)(rows - 1) : v;
        r[k] = (float)(1 / sqrt(v + eps));
        if (train && run_mean) run_mean[k] = (float)((1 - (double)momentum) * run_mean[k] + (double)momentum * m[k]);
        if (train && run_var) run_var[k] = (float)((1 - (double)momentum) * run_var[k] + (double)momentum * unbiased);
    }
    lafs_pool_for(d->pool, tiles, lafs_isa_norm(), &j);
    if (mean) memcpy(mean, m, (size_t)c * sizeof *mean);
    if (rstd) memcpy(rstd, r, (size_t)c * sizeof *rstd);
}

void lafs_cpu_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta)
{
    struct bn j = {.rows = rows, .c = c, .tile_rows = rows_per_tile(c), .act = act, .x = x, .dy = dy, .dx = dx,
                   .gamma = gamma, .beta = beta, .mean = mean, .rstd = rstd};
    int64_t tiles = (rows + j.tile_rows - 1) / j.tile_rows;
    float *own = lafs_cpu_shared(d, (size_t)((2 * tiles + 2) * c) * sizeof *own); /* part, sum, along */
    if (!own) return;
    float *sum = own + 2 * tiles * c, *along = sum + c;
    j.part = own;
    lafs_pool_for(d->pool, tiles, lafs_isa_slope(), &j);
    for (int64_t k = 0; k < c; k++) {
        double a = total(&j, tiles, k), b = total(&j, tiles, c + k);
        dbeta[k] += (float)a;
        dgamma[k] += (float)b;
        sum[k] = train ? (float)(a / (double)rows) : 0;
        along[k] = train ? (float)(b / (double)rows) : 0;
    }
    j.sum = sum;
    j.along = along;
    if (dx) lafs_pool_for(d->pool, tiles, lafs_isa_back(), &j);
}

struct channel {
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
        for (int64_t k = 0; k < j->c; k++) y[k] += x[i * j->c + k];
    for (int64_t k = 0; k < j->c; k++) y[k] /= (float)j->hw;
}

LAFS_INLINE void mean_bwd_tile(const struct channel *j, int64_t tile)
{
    const float *dy = j->dy + tile * j->c;
    float *dx = j->dx + tile * j->hw * j->c;
    for (int64_t i = 0; i < j->hw; i++)
        for (int64_t k = 0; k < j->c; k++) {
            float g = dy[k] / (float)j->hw;
            dx[i * j->c + k] = j->add ? dx[i * j->c + k] + g : g;
        }
}

LAFS_INLINE void scale_act(const struct channel *j, int64_t tile, enum lafs_act act)
{
    const float *x = j->x + tile * j->hw * j->c, *s = j->s + tile * j->c;
    float *y = j->y + tile * j->hw * j->c;
    for (int64_t i = 0; i < j->hw; i++)
        for (int64_t k = 0; k < j->c; k++) y[i * j->c + k] = lafs_act_value(act, x[i * j->c + k] * s[k]);
}

LAFS_INLINE void scale_tile(const struct channel *j, int64_t tile)
{
    switch (j->act) {
    case LAFS_ACT_NONE: scale_act(j, tile, LAFS_ACT_NONE); break;
    case LAFS_ACT_RELU: scale_act(j, tile, LAFS_ACT_RELU); break;
    case LAFS_ACT_HSWISH: scale_act(j, tile, LAFS_ACT_HSWISH); break;
    default: scale_act(j, tile, j->act);
    }
}

LAFS_INLINE void scale_bwd_act(const struct channel *j, int64_t tile, enum lafs_act act)
{
    int64_t at = tile * j->hw * j->c;
    const float *x = j->x + at, *s = j->s + tile * j->c, *dy = j->dy + at;
    float *dx = j->dx + at, *ds = j->ds + tile * j->c;
    memset(ds, 0, (size_t)j->c * sizeof *ds);
    for (int64_t i = 0; i < j->hw; i++)
        for (int64_t k = 0; k < j->c; k++) {
            float v = x[i * j->c + k], g = dy[i * j->c + k] * lafs_act_slope(act, v * s[k]);
            ds[k] += g * v;
            dx[i * j->c + k] = g * s[k];
        }
}

LAFS_INLINE void scale_bwd_tile(const struct channel *j, int64_t tile)
{
    switch (j->act) {
    case LAFS_ACT_NONE: scale_bwd_act(j, tile, LAFS_ACT_NONE); break;
    case LAFS_ACT_RELU: scale_bwd_act(j, tile, LAFS_ACT_RELU); break;
    case LAFS_ACT_HSWISH: scale_bwd_act(j, tile, LAFS_ACT_HSWISH); break;
    default: scale_bwd_act(j, tile, j->act);
    }
}

LAFS_ISA_TILES(mean, struct channel, mean_tile(j, tile))
LAFS_ISA_TILES(mean_bwd, struct channel, mean_bwd_tile(j, tile))
LAFS_ISA_TILES(scale, struct channel, scale_tile(j, tile))
LAFS_ISA_TILES(scale_bwd, struct channel, scale_bwd_tile(j, tile))

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
    struct channel j = {.hw = hw, .c = c, .x = x, .s = s, .act = act, .y = y};
    lafs_pool_for(d->pool, n, lafs_isa_scale(), &j);
}

void lafs_cpu_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds)
{
    struct channel j = {.hw = hw, .c = c, .x = x, .s = s, .act = act, .dy = dy, .dx = dx, .ds = ds};
    lafs_pool_for(d->pool, n, lafs_isa_scale_bwd(), &j);
}
