/* Batch normalisation over rows, in long sums by parts; squeeze-and-excitation's ops, a block for a warp of channels of
 * an image; the landmark output, a warp a row. */
#include "kernels/cuda/dev.cuh"

static const float BN_EPS = 1e-5f;

/* -- batchnorm -- */

KERNEL_FOR(PARTS_BLOCK) bn_mean_kernel(int64_t parts, int64_t rows, int64_t c, const float *part, float *mean)
{
    const int64_t j = block_x() * WARP + lane_index();
    const double sum = parts_sum(parts, c, j, part, shared_memory<double>());
    if (warp_index() == 0 && j < c) mean[j] = (float)(sum / (double)rows);
}
/* Parts of the sums of (x - mean)^2. */
KERNEL bn_square_part_kernel(int64_t rows, int64_t c, const float *x, const float *mean, float *part)
{
    float *room = shared_memory<float>(), sum = 0;
    const int64_t column = (int64_t)block_y() * WARP + lane_index(), first = block_x() * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    for (int64_t r = first + warp_index(); r < end && column < c; r += THREADS / WARP) {
        const float e = x[r * c + column] - mean[column];
        sum += e * e;
    }
    room[thread_index()] = sum;
    block_sync();
    if (warp_index() || column >= c) return;
    sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[i * WARP + lane_index()];
    part[block_x() * c + column] = sum;
}
/* rstd from the squares' parts, or with parts = 0 mean and rstd from the running statistics. */
KERNEL_FOR(PARTS_BLOCK) bn_stats_kernel(int64_t parts, int64_t rows, int64_t c, float momentum, const float *part,
                                        float *run_mean, float *run_var, float *m, float *r, float *mean, float *rstd)
{
    const int64_t j = block_x() * WARP + lane_index();
    const double squares = parts_sum(parts, c, j, part, shared_memory<double>());
    if (warp_index() || j >= c) return;
    if (parts) {
        const double v = squares / (double)rows, unbiased = rows > 1 ? squares / (double)(rows - 1) : v;
        r[j] = (float)(1 / sqrt(v + 1e-5));
        if (run_mean) run_mean[j] = (float)((1 - (double)momentum) * run_mean[j] + (double)momentum * m[j]);
        if (run_var) run_var[j] = (float)((1 - (double)momentum) * run_var[j] + (double)momentum * unbiased);
    } else {
        m[j] = run_mean[j];
        r[j] = 1 / sqrtf(run_var[j] + BN_EPS);
    }
    if (mean) mean[j] = m[j];
    if (rstd) rstd[j] = r[j];
}
KERNEL bn_apply_kernel(int64_t n, int64_t c, const float *x, const float *m, const float *r, const float *gamma,
                       const float *beta, enum lafs_act act, float *y)
{
    const int64_t i = global_index(), j = i % c;
    if (i < n) y[i] = act_value(act, (x[i] - m[j]) * r[j] * gamma[j] + beta[j]);
}
static void batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                      const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                      float *y, float *mean, float *rstd)
{
    const int64_t parts = train ? parts_of(rows) : 0, blocks = (c + WARP - 1) / WARP;
    const int threads = parts_threads(parts);
    const size_t shared = (size_t)threads * sizeof(double);
    float *m = (float *)dev_scratch(d, SCRATCH_ROWS, (size_t)(2 * c) * sizeof *m), *r = m + c;
    float *part = train ? (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * c) * sizeof *part) : NULL;
    if (!m || (train && !part) || !rows) return;
    if (train) {
        column_parts(d, rows, c, x, part);
        LAUNCH(d, bn_mean_kernel, grid_of(blocks), threads, shared, parts, rows, c, part, m);
        LAUNCH(d, bn_square_part_kernel, grid_of(parts, (c + WARP - 1) / WARP), THREADS, THREADS * sizeof(float), rows,
               c, x, m, part);
    }
    LAUNCH(d, bn_stats_kernel, grid_of(blocks), threads, shared, parts, rows, c, momentum, part, run_mean, run_var, m,
           r, mean, rstd);
    LAUNCH(d, bn_apply_kernel, grid_for(rows * c), THREADS, 0, rows * c, c, x, m, r, gamma, beta, act, y);
}

/* dz = dy act'(z) with z = xhat gamma + beta. */
DEVICE float bn_slope(enum lafs_act act, float dy, float xhat, float gamma, float beta)
{
    return dy * act_slope(act, xhat * gamma + beta);
}
/* Parts of the sums of dz xhat, and behind them of dz. */
KERNEL bn_bwd_part_kernel(int64_t rows, int64_t c, const float *x, const float *gamma, const float *beta,
                          const float *mean, const float *rstd, enum lafs_act act, const float *dy, float *part)
{
    float *room = shared_memory<float>(), along = 0, plain = 0;
    const int64_t column = (int64_t)block_y() * WARP + lane_index(), first = block_x() * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    for (int64_t r = first + warp_index(); r < end && column < c; r += THREADS / WARP) {
        const float xhat = (x[r * c + column] - mean[column]) * rstd[column];
        const float dz = bn_slope(act, dy[r * c + column], xhat, gamma[column], beta[column]);
        along += dz * xhat;
        plain += dz;
    }
    room[thread_index()] = along;
    room[THREADS + thread_index()] = plain;
    block_sync();
    if (warp_index() > 1 || column >= c) return;
    float sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[warp_index() * THREADS + i * WARP + lane_index()];
    part[(warp_index() * grid_x() + block_x()) * c + column] = sum;
}
KERNEL bn_bwd_kernel(int64_t rows, int64_t c, int train, const float *x, const float *gamma, const float *beta,
                     const float *mean, const float *rstd, enum lafs_act act, const float *dy, const float *sums,
                     float *dx)
{
    const int64_t i = global_index(), j = i % c;
    if (i >= rows * c) return;
    const float xhat = (x[i] - mean[j]) * rstd[j];
    float dz = bn_slope(act, dy[i], xhat, gamma[j], beta[j]);
    if (train) dz -= (sums[c + j] + xhat * sums[j]) / (float)rows;
    dx[i] = dz * gamma[j] * rstd[j];
}
static void batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                          const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                          float *dx, float *dgamma, float *dbeta)
{
    const int64_t parts = parts_of(rows);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(2 * parts * c) * sizeof *part);
    float *sums = (float *)dev_scratch(d, SCRATCH_ROWS, (size_t)(2 * c) * sizeof *sums);
    if (!part || !sums || !rows) return;
    LAUNCH(d, bn_bwd_part_kernel, grid_of(parts, (c + WARP - 1) / WARP), THREADS, 2 * THREADS * sizeof(float), rows, c,
           x, gamma, beta, mean, rstd, act, dy, part);
    for (int k = 0; k < 2; k++) {
        sum_parts(d, parts, c, c, part + k * parts * c, 0, sums + k * c);
        sum_parts(d, parts, c, c, part + k * parts * c, 1, k ? dbeta : dgamma);
    }
    if (dx)
        LAUNCH(d, bn_bwd_kernel, grid_for(rows * c), THREADS, 0, rows, c, train, x, gamma, beta, mean, rstd, act, dy,
               sums, dx);
}

/* -- squeeze and excitation -- */

/* The sum of a column over the block's warps, for lanes of warp 0. */
DEVICE float over_warps(float v, float *room)
{
    room[thread_index()] = v;
    block_sync();
    v = 0;
    for (int i = 0; i < THREADS / WARP; i++) v += room[i * WARP + lane_index()];
    return v;
}
KERNEL channel_mean_kernel(int64_t hw, int64_t c, const float *x, float *y)
{
    const int64_t i = block_x(), j = (int64_t)block_y() * WARP + lane_index();
    float sum = 0;
    for (int64_t k = warp_index(); k < hw && j < c; k += THREADS / WARP) sum += x[(i * hw + k) * c + j];
    sum = over_warps(sum, shared_memory<float>());
    if (warp_index() == 0 && j < c) y[i * c + j] = sum / (float)hw;
}
static void channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y)
{
    LAUNCH(d, channel_mean_kernel, grid_of(n, (c + WARP - 1) / WARP), THREADS, THREADS * sizeof(float), hw, c, x, y);
}

KERNEL channel_mean_bwd_kernel(int64_t n, int64_t hw, int64_t c, const float *dy, float *dx, int add)
{
    const int64_t e = global_index();
    if (e >= n * hw * c) return;
    const float g = dy[e / (hw * c) * c + e % c] / (float)hw;
    dx[e] = add ? dx[e] + g : g;
}
static void channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx, int add)
{
    LAUNCH(d, channel_mean_bwd_kernel, grid_for(n * hw * c), THREADS, 0, n, hw, c, dy, dx, add);
}

KERNEL channel_scale_kernel(int64_t n, int64_t hw, int64_t c, const float *x, const float *s, enum lafs_act act,
                            float *y)
{
    const int64_t e = global_index();
    if (e < n * hw * c) y[e] = act_value(act, x[e] * s[e / (hw * c) * c + e % c]);
}
static void channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                          enum lafs_act act, float *y)
{
    LAUNCH(d, channel_scale_kernel, grid_for(n * hw * c), THREADS, 0, n, hw, c, x, s, act, y);
}

KERNEL channel_scale_bwd_kernel(int64_t hw, int64_t c, const float *x, const float *s, enum lafs_act act,
                                const float *dy, float *dx, float *ds)
{
    const int64_t i = block_x(), j = (int64_t)block_y() * WARP + lane_index();
    const float scale = j < c ? s[i * c + j] : 0;
    float sum = 0;
    for (int64_t k = warp_index(); k < hw && j < c; k += THREADS / WARP) {
        const int64_t e = (i * hw + k) * c + j;
        const float g = dy[e] * act_slope(act, x[e] * scale);
        sum += g * x[e];
        dx[e] = g * scale;
    }
    sum = over_warps(sum, shared_memory<float>());
    if (warp_index() == 0 && j < c) ds[i * c + j] = sum;
}
static void channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                              enum lafs_act act, const float *dy, float *dx, float *ds)
{
    LAUNCH(d, channel_scale_bwd_kernel, grid_of(n, (c + WARP - 1) / WARP), THREADS, THREADS * sizeof(float), hw, c, x,
           s, act, dy, dx, ds);
}

/* -- landmarks -- */

/* The place of a row's smallest value (sign = 1) or largest (-1); the first of equals. A NaN is neither, but in the
 * first place it is both. */
DEVICE int place_of_least(int64_t width, const float *t, float sign)
{
    float best = INFINITY;
    int place = 0x7fffffff;
    for (int64_t j = lane_index(); j < width; j += WARP)
        if (sign * t[j] < best) best = sign * t[j], place = (int)j;
    for (int bits = WARP / 2; bits; bits /= 2) {
        const float other = warp_xor(best, bits);
        const int there = warp_xor(place, bits);
        if (other < best || (other == best && there < place)) best = other, place = there;
    }
    return place == 0x7fffffff || t[0] != t[0] ? 0 : place; /* the former: nothing but NaN and infinities */
}
KERNEL minmax_kernel(int64_t n, int64_t width, float range, const float *t, float *theta, int32_t *arg)
{
    const int64_t i = global_index() / WARP;
    if (i >= n) return; /* with its whole warp */
    t += i * width, theta += i * width;
    const int lo = place_of_least(width, t, 1), hi = place_of_least(width, t, -1);
    const float low = t[lo], span = t[hi] - low;
    for (int64_t j = lane_index(); j < width; j += WARP) theta[j] = (t[j] - low) / span * range;
    if (lane_index() == 0) arg[2 * i] = lo, arg[2 * i + 1] = hi;
}
static void minmax(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, float *theta,
                   int32_t *arg)
{
    LAUNCH(d, minmax_kernel, grid_for(n * WARP), THREADS, 0, n, width, range, t, theta, arg);
}

KERNEL minmax_bwd_kernel(int64_t n, int64_t width, float range, const float *t, const int32_t *arg, const float *dtheta,
                         float *dt)
{
    const int64_t i = global_index() / WARP;
    if (i >= n) return;
    t += i * width, dtheta += i * width, dt += i * width;
    const int32_t a = arg[2 * i], b = arg[2 * i + 1];
    const double lo = t[a], span = t[b] - lo;
    double sum = 0, along = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) {
        sum += dtheta[j];
        along += dtheta[j] * (t[j] - lo) / span;
        dt[j] = (float)(dtheta[j] * range / span);
    }
    sum = warp_sum(sum);
    along = warp_sum(along);
    warp_sync(); /* all of dt is there */
    if (lane_index()) return;
    dt[a] += (float)(range / span * (along - sum));
    dt[b] -= (float)(range / span * along);
}
static void minmax_bwd(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, const int32_t *arg,
                       const float *dtheta, float *dt)
{
    LAUNCH(d, minmax_bwd_kernel, grid_for(n * WARP), THREADS, 0, n, width, range, t, arg, dtheta, dt);
}

void ops_norm2d(struct lafs_ops *ops)
{
    ops->batchnorm = batchnorm;
    ops->batchnorm_bwd = batchnorm_bwd;
    ops->channel_mean = channel_mean;
    ops->channel_mean_bwd = channel_mean_bwd;
    ops->channel_scale = channel_scale;
    ops->channel_scale_bwd = channel_scale_bwd;
    ops->minmax = minmax;
    ops->minmax_bwd = minmax_bwd;
}
