/* Batch normalisation over rows, in long sums by parts, a thread having channels of some rows; squeeze-and-excitation's
 * ops, a block for a warp of channels of an image; the landmark output, a warp a row. */
#include "kernels/cuda/dev.cuh"

static const float BN_EPS = 1e-5f;

/* -- batchnorm -- */

/* How blocks share rows of channels: a block has a range of channels, `lanes` threads of V each, `spots` rows at once,
 * `rows` of them in all. */
struct sheet {
    int lanes, ranges, spots;
    int64_t rows, parts;
};
enum { SUM_BLOCKS = 528, MAP_ROWS = 8 /* of a thread that sums nothing */, AT_ONCE = 4 /* on their way, of those */ };
/* blocks: about so many; 0: as many as have MAP_ROWS rows for a thread. */
static struct sheet sheet_of(int64_t rows, int64_t c, int v, int64_t blocks)
{
    const int64_t each = c / v;
    int64_t ranges = (each + WARP - 1) / WARP;
    while (each % ranges && each / ranges > WARP / 2) ranges++; /* equal ones, if that can be */
    struct sheet t = {(int)((each + ranges - 1) / ranges), (int)ranges};
    t.spots = THREADS / t.lanes;
    const int64_t batches = (rows + t.spots - 1) / t.spots, parts = blocks > ranges ? blocks / ranges : 1;
    t.rows = MAP_ROWS * t.spots;
    if (blocks) t.rows = (batches + parts - 1) / parts * t.spots;
    t.parts = t.rows ? (rows + t.rows - 1) / t.rows : 0;
    return t;
}
/* A thread's first channel, that of its block, its rows; none where it has no channels. */
struct share {
    int64_t c, block_c, row, end;
    int lane, spot;
};
template <int V> DEVICE struct share share_of(const struct sheet *t, int64_t rows, int64_t c)
{
    const int64_t first = block_x() / t->ranges * t->rows, end = first + t->rows < rows ? first + t->rows : rows;
    const int lane = thread_index() % t->lanes * V, spot = thread_index() / t->lanes;
    const int64_t block_c = block_x() % t->ranges * t->lanes * V;
    const int works = spot < t->spots && block_c + lane < c;
    return {block_c + lane, block_c, first + spot, works ? end : 0, lane, spot};
}
template <int V> DEVICE struct few<V> take_few(const float *from) { return *(const struct few<V> *)from; }
/* The same of what may lie anywhere. */
template <int V> DEVICE struct few<V> constants(const struct share *s, const float *from)
{
    struct few<V> x = {{0}};
#pragma unroll
    for (int v = 0; v < V; v++)
        if (s->end) x.v[v] = from[s->c + v];
    return x;
}
/* The block's sums of columns, over its rows at once, in their order, to part (parts, c). All threads come. */
template <int V> DEVICE void give_sums(const struct sheet *t, const struct share *s, int64_t c, struct few<V> sum,
                                       float *part)
{
    const int across = t->lanes * V;
    float *room = shared_memory<float>(); /* (spots, across) */
    if (s->spot < t->spots) *(struct few<V> *)(room + s->spot * across + s->lane) = sum;
    block_sync();
    const int j = thread_index();
    if (j < across && s->block_c + j < c) {
        float all = 0;
        for (int i = 0; i < t->spots; i++) all += room[i * across + j];
        part[block_x() / t->ranges * c + s->block_c + j] = all;
    }
    block_sync();
}
static size_t sums_room(const struct sheet *t, int v) { return (size_t)(t->spots * t->lanes * v) * sizeof(float); }
/* Channels of a thread. */
static int channels_of(int64_t c, const void *x, const void *y, const void *z = NULL)
{
    return c % 4 == 0 && (((uintptr_t)x | (uintptr_t)y | (uintptr_t)z) & 15) == 0 ? 4 : 1;
}
#define LAUNCH_WIDE(d, kernel, v, grid, shared, ...) \
    do { \
        if (v == 4) launch(d, kernel<4>, #kernel "<4>", grid, THREADS, shared, __VA_ARGS__); \
        else launch(d, kernel<1>, #kernel "<1>", grid, THREADS, shared, __VA_ARGS__); \
    } while (0)

KERNEL_FOR(PARTS_BLOCK) bn_mean_kernel(int64_t parts, int64_t rows, int64_t c, const float *part, float *mean)
{
    const int64_t j = block_x() * WARP + lane_index();
    const double sum = parts_sum(parts, c, j, part, shared_memory<double>());
    if (warp_index() == 0 && j < c) mean[j] = (float)(sum / (double)rows);
}
/* Parts of the sums of x, or with a mean of (x - mean)^2. */
template <int V> KERNEL bn_part_kernel(struct sheet t, int64_t rows, int64_t c, const float *x, const float *mean,
                                       float *part)
{
    const struct share s = share_of<V>(&t, rows, c);
    struct few<V> sum = {{0}}, m = {{0}};
    if (mean) m = constants<V>(&s, mean);
#pragma unroll 4
    for (int64_t r = s.row; r < s.end; r += t.spots) {
        const struct few<V> in = take_few<V>(x + r * c + s.c);
#pragma unroll
        for (int v = 0; v < V; v++) {
            const float e = in.v[v] - m.v[v];
            sum.v[v] += mean ? e * e : e;
        }
    }
    give_sums<V>(&t, &s, c, sum, part);
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
template <int V> KERNEL bn_apply_kernel(struct sheet t, int64_t rows, int64_t c, const float *x, const float *mean,
                                        const float *rstd, const float *gamma, const float *beta, enum lafs_act act,
                                        float *y)
{
    const struct share s = share_of<V>(&t, rows, c);
    const struct few<V> m = constants<V>(&s, mean), k = constants<V>(&s, rstd), g = constants<V>(&s, gamma),
                        b = constants<V>(&s, beta);
    for (int64_t r = s.row; r < s.end; r += AT_ONCE * t.spots) {
        struct few<V> e[AT_ONCE];
#pragma unroll
        for (int a = 0; a < AT_ONCE; a++)
            if (r + a * t.spots < s.end) e[a] = take_few<V>(x + (r + a * t.spots) * c + s.c);
#pragma unroll
        for (int a = 0; a < AT_ONCE; a++) {
            if (r + a * t.spots >= s.end) continue;
#pragma unroll
            for (int v = 0; v < V; v++) e[a].v[v] = (e[a].v[v] - m.v[v]) * k.v[v] * g.v[v] + b.v[v];
            act_values<V>(act, e[a].v);
            give_few<V>(y + (r + a * t.spots) * c + s.c, e[a]);
        }
    }
}
static void batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                      const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                      float *y, float *mean, float *rstd)
{
    const int v = channels_of(c, x, y);
    const struct sheet sums = sheet_of(rows, c, v, SUM_BLOCKS), map = sheet_of(rows, c, v, 0);
    const struct grid blocks = grid_of(sums.parts * sums.ranges);
    const int64_t parts = train ? sums.parts : 0, columns = (c + WARP - 1) / WARP;
    const int threads = parts_threads(parts);
    const size_t shared = (size_t)threads * sizeof(double), room = sums_room(&sums, v);
    float *m = (float *)dev_scratch(d, SCRATCH_ROWS, (size_t)(2 * c) * sizeof *m), *r = m + c;
    float *part = train ? (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * c) * sizeof *part) : NULL;
    if (!m || (train && !part) || !rows) return;
    if (train) {
        LAUNCH_WIDE(d, bn_part_kernel, v, blocks, room, sums, rows, c, x, (const float *)NULL, part);
        LAUNCH(d, bn_mean_kernel, grid_of(columns), threads, shared, parts, rows, c, part, m);
        LAUNCH_WIDE(d, bn_part_kernel, v, blocks, room, sums, rows, c, x, m, part);
    }
    LAUNCH(d, bn_stats_kernel, grid_of(columns), threads, shared, parts, rows, c, momentum, part, run_mean, run_var, m,
           r, mean, rstd);
    LAUNCH_WIDE(d, bn_apply_kernel, v, grid_of(map.parts * map.ranges), 0, map, rows, c, x, m, r, gamma, beta, act, y);
}

/* dz = dy act'(z) with z = xhat gamma + beta. */
template <int V>
DEVICE void bn_slopes(enum lafs_act act, struct few<V> *dy, const struct few<V> &xhat, const struct few<V> &gamma,
                      const struct few<V> &beta)
{
    float z[V];
#pragma unroll
    for (int v = 0; v < V; v++) z[v] = xhat.v[v] * gamma.v[v] + beta.v[v];
    act_slopes<V>(act, z, dy->v);
}
/* xhat and dy of a thread's row r and of its next, both on their way at once; of none where they end before. */
template <int V>
DEVICE void bn_take_two(const struct sheet *t, const struct share *s, int64_t r, int64_t c, const float *x,
                        const float *dy, const struct few<V> &mean, const struct few<V> &rstd, struct few<V> xhat[2],
                        struct few<V> slope[2])
{
#pragma unroll
    for (int a = 0; a < 2; a++)
        if (r + a * t->spots < s->end) {
            xhat[a] = take_few<V>(x + (r + a * t->spots) * c + s->c);
            slope[a] = take_few<V>(dy + (r + a * t->spots) * c + s->c);
        }
#pragma unroll
    for (int a = 0; a < 2; a++)
#pragma unroll
        for (int v = 0; v < V && r + a * t->spots < s->end; v++)
            xhat[a].v[v] = (xhat[a].v[v] - mean.v[v]) * rstd.v[v];
}
/* Parts of the sums of dz xhat, and behind them of dz. */
template <int V> KERNEL bn_bwd_part_kernel(struct sheet t, int64_t rows, int64_t c, const float *x, const float *gamma,
                                           const float *beta, const float *mean, const float *rstd, enum lafs_act act,
                                           const float *dy, float *part)
{
    const struct share s = share_of<V>(&t, rows, c);
    const struct few<V> m = constants<V>(&s, mean), k = constants<V>(&s, rstd), g = constants<V>(&s, gamma),
                        b = constants<V>(&s, beta);
    struct few<V> along = {{0}}, plain = {{0}};
    for (int64_t r = s.row; r < s.end; r += 2 * t.spots) {
        struct few<V> in[2], slope[2];
        bn_take_two<V>(&t, &s, r, c, x, dy, m, k, in, slope);
#pragma unroll
        for (int a = 0; a < 2; a++) {
            if (r + a * t.spots >= s.end) continue;
            bn_slopes<V>(act, &slope[a], in[a], g, b);
#pragma unroll
            for (int v = 0; v < V; v++) along.v[v] += slope[a].v[v] * in[a].v[v], plain.v[v] += slope[a].v[v];
        }
    }
    give_sums<V>(&t, &s, c, along, part);
    give_sums<V>(&t, &s, c, plain, part + t.parts * c);
}
/* sums (2, c) of the parts of both; dgamma and dbeta += them. */
KERNEL_FOR(PARTS_BLOCK) bn_bwd_sums_kernel(int64_t parts, int64_t c, const float *part, float *sums, float *dgamma,
                                           float *dbeta)
{
    const int64_t j = block_x() * WARP + lane_index(), which = block_y();
    const float sum = (float)parts_sum(parts, c, j, part + which * parts * c, shared_memory<double>());
    if (warp_index() || j >= c) return;
    sums[which * c + j] = sum;
    (which ? dbeta : dgamma)[j] += sum;
}
template <int V> KERNEL bn_bwd_kernel(struct sheet t, int64_t rows, int64_t c, int train, const float *x,
                                      const float *gamma, const float *beta, const float *mean, const float *rstd,
                                      enum lafs_act act, const float *dy, const float *sums, float *dx)
{
    const struct share s = share_of<V>(&t, rows, c);
    const struct few<V> m = constants<V>(&s, mean), k = constants<V>(&s, rstd), g = constants<V>(&s, gamma),
                        b = constants<V>(&s, beta);
    struct few<V> along = {{0}}, plain = {{0}};
    if (train) along = constants<V>(&s, sums), plain = constants<V>(&s, sums + c);
#pragma unroll
    for (int v = 0; v < V; v++) along.v[v] /= (float)rows, plain.v[v] /= (float)rows;
    for (int64_t r = s.row; r < s.end; r += 2 * t.spots) {
        struct few<V> in[2], slope[2];
        bn_take_two<V>(&t, &s, r, c, x, dy, m, k, in, slope);
#pragma unroll
        for (int a = 0; a < 2; a++) {
            if (r + a * t.spots >= s.end) continue;
            bn_slopes<V>(act, &slope[a], in[a], g, b);
#pragma unroll
            for (int v = 0; v < V; v++)
                slope[a].v[v] = (slope[a].v[v] - (plain.v[v] + in[a].v[v] * along.v[v])) * g.v[v] * k.v[v];
            give_few<V>(dx + (r + a * t.spots) * c + s.c, slope[a]);
        }
    }
}
static void batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                          const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                          float *dx, float *dgamma, float *dbeta)
{
    const int v = channels_of(c, x, dy, dx);
    const struct sheet t = sheet_of(rows, c, v, SUM_BLOCKS), map = sheet_of(rows, c, v, 0);
    const int threads = parts_threads(t.parts);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(2 * t.parts * c) * sizeof *part);
    float *sums = (float *)dev_scratch(d, SCRATCH_ROWS, (size_t)(2 * c) * sizeof *sums);
    if (!part || !sums || !rows) return;
    LAUNCH_WIDE(d, bn_bwd_part_kernel, v, grid_of(t.parts * t.ranges), sums_room(&t, v), t, rows, c, x, gamma, beta,
                mean, rstd, act, dy, part);
    LAUNCH(d, bn_bwd_sums_kernel, grid_of((c + WARP - 1) / WARP, 2), threads, (size_t)threads * sizeof(double), t.parts,
           c, part, sums, dgamma, dbeta);
    if (dx)
        LAUNCH_WIDE(d, bn_bwd_kernel, v, grid_of(map.parts * map.ranges), 0, map, rows, c, train, x, gamma, beta, mean,
                    rstd, act, dy, sums, dx);
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

template <int V> KERNEL channel_scale_kernel(int64_t n, int64_t area, int64_t c, const float *x, const float *s,
                                             enum lafs_act act, float *y)
{
    const int64_t e = global_index() * V; /* area: of an image, channels and all */
    if (e >= n * area) return;
    const int64_t image = e / area, j = (uint32_t)(e - image * area) % (uint32_t)c;
    const struct few<V> scale = take_few<V>(s + image * c + j);
    struct few<V> in = take_few<V>(x + e);
#pragma unroll
    for (int v = 0; v < V; v++) in.v[v] *= scale.v[v];
    act_values<V>(act, in.v);
    give_few<V>(y + e, in);
}
static void channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                          enum lafs_act act, float *y)
{
    const int v = channels_of(c, x, y, s);
    LAUNCH_WIDE(d, channel_scale_kernel, v, grid_for(n * hw * c / v), 0, n, hw * c, c, x, s, act, y);
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
