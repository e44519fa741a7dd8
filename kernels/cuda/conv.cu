/* Convolutions, channels last, directly; neighbouring threads have neighbouring channels. 1 x 1 ones are products.
 * Depthwise ones of 3 x 3 and 5 x 5: a thread has some channels of a column of pixels and walks down, so that a pixel
 * of the input is read once for all rows that it counts in. Of an image (3 channels, 3 x 3) a thread has eight channels
 * of the result. All others: a thread has an element of the result. Geometry as in kernels/ref/conv.c. Gradients of
 * weights are long sums over pixels, taken in parts. */
#include "kernels/cuda/dev.cuh"

enum { PARTS = 528 /* of a long sum, about: a few blocks for each multiprocessor */ };

struct side { /* of the result */
    int64_t h, w;
};
static struct side side_of(const struct lafs_conv *g)
{
    return {lafs_conv_side(g->h, g->k, g->stride), lafs_conv_side(g->w, g->k, g->stride)};
}

/* Where the first tap of the r-th pixel of the result is. Within an image 32 bits are enough, and divide faster. */
struct spot {
    int64_t image;
    int y, x;
};
DEVICE struct spot spot_of(const struct lafs_conv *g, struct side o, int64_t r)
{
    const int p = (g->k - 1) / 2, across = (int)o.w;
    const int64_t pixels = o.h * o.w, image = r / pixels;
    const int at = (int)(r - image * pixels), y = at / across;
    return {image, y * g->stride - p, (at - y * across) * g->stride - p};
}
/* Input pixel of tap (ky, kx), as the number of its first channel; -1: outside. */
DEVICE int64_t tap_at(const struct lafs_conv *g, const struct spot *s, int ky, int kx)
{
    const int y = s->y + ky, x = s->x + kx;
    if (y < 0 || y >= g->h || x < 0 || x >= g->w) return -1;
    return ((s->image * g->h + y) * g->w + x) * g->c;
}
DEVICE int64_t tap(const struct lafs_conv *g, struct side o, int64_t r, int ky, int kx)
{
    const struct spot s = spot_of(g, o, r);
    return tap_at(g, &s, ky, kx);
}
/* The pixel of the result whose tap (ky, kx) is pixel (y, x) of image i; -1: none. */
DEVICE int64_t tapped(const struct lafs_conv *g, struct side o, int64_t i, int64_t y, int64_t x, int ky, int kx)
{
    const int p = (g->k - 1) / 2;
    const int64_t ty = y + p - ky, tx = x + p - kx;
    if (ty < 0 || tx < 0 || ty % g->stride || tx % g->stride) return -1;
    if (ty / g->stride >= o.h || tx / g->stride >= o.w) return -1;
    return (i * o.h + ty / g->stride) * o.w + tx / g->stride;
}

KERNEL conv_kernel(struct lafs_conv g, struct side o, const float *x, const float *w, const float *b, enum lafs_act act,
                   float *y)
{
    const int64_t e = global_index(), r = e / g.out, out = e % g.out, kk = g.k * g.k;
    if (r >= g.n * o.h * o.w) return;
    float sum = b ? b[out] : 0;
    for (int t = 0; t < kk; t++) {
        const int64_t at = tap(&g, o, r, t / g.k, t % g.k);
        for (int64_t c = 0; at >= 0 && c < g.c; c++) sum += w[(out * g.c + c) * kk + t] * x[at + c];
    }
    y[e] = act_value(act, sum);
}
/* Of an image, 3 x 3: a thread has eight channels of a pixel. room: the weights as (tap, channel of x, out). */
enum { IMAGE_TAPS = 27, IMAGE_OUT = 128 /* at most */ };
KERNEL conv_image_kernel(struct lafs_conv g, struct side o, const float *x, const float *w, const float *b,
                         enum lafs_act act, float *y)
{
    float *room = shared_memory<float>(), in[IMAGE_TAPS], sum[8];
    const int out = (int)g.out, groups = out / 8;
    for (int i = thread_index(); i < IMAGE_TAPS * out; i += THREADS) {
        const int k = i % IMAGE_TAPS; /* channel of x * 9 + tap */
        room[(k % 9 * 3 + k / 9) * out + i / IMAGE_TAPS] = w[i];
    }
    block_sync();
    const int64_t e = global_index(), r = e / groups;
    const int first = (int)(e - r * groups) * 8;
    if (r >= g.n * o.h * o.w) return;
    const struct spot s = spot_of(&g, o, r);
#pragma unroll
    for (int t = 0; t < 9; t++) {
        const int64_t at = tap_at(&g, &s, t / 3, t % 3);
#pragma unroll
        for (int c = 0; c < 3; c++) in[t * 3 + c] = at >= 0 ? x[at + c] : 0;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) sum[j] = b ? b[first + j] : 0;
#pragma unroll
    for (int k = 0; k < IMAGE_TAPS; k++) {
        float weight[8];
        take_whole(room + k * out + first, weight);
#pragma unroll
        for (int j = 0; j < 8; j++) sum[j] += weight[j] * in[k];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) sum[j] = act_value(act, sum[j]);
    give_whole(y + r * out + first, sum);
}
/* Of an image, and so that threads can share its result by eights. */
static int of_image(const struct lafs_conv *g, const float *y)
{
    return g->k == 3 && g->c == 3 && g->out <= IMAGE_OUT && in_quads(g->out, y);
}
static void conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                 enum lafs_act act, float *y)
{
    const struct side o = side_of(g);
    const int64_t n = g->n * o.h * o.w * g->out;
    if (of_image(g, y)) {
        LAUNCH(d, conv_image_kernel, grid_for(n / 8), THREADS, (size_t)(IMAGE_TAPS * g->out) * sizeof(float), *g, o, x,
               w, b, act, y);
        return;
    }
    if (g->k > 1 || g->stride > 1) {
        LAUNCH(d, conv_kernel, grid_for(n), THREADS, 0, *g, o, x, w, b, act, y);
        return;
    }
    struct product p = {PRODUCT_NT, g->n * g->h * g->w, g->out, g->c, 0, x, w, b, 0, y};
    p.relu = act == LAFS_ACT_RELU;
    multiply(d, LAFS_PRECISION_FP32, p);
    activate(d, n, p.relu ? LAFS_ACT_NONE : act, y);
}

KERNEL conv_bwd_x_kernel(struct lafs_conv g, struct side o, const float *dy, const float *w, float *dx)
{
    const int64_t e = global_index(), c = e % g.c, pixel = e / g.c, kk = g.k * g.k;
    if (pixel >= g.n * g.h * g.w) return;
    float sum = 0;
    for (int t = 0; t < kk; t++) {
        const int64_t r = tapped(&g, o, pixel / (g.h * g.w), pixel / g.w % g.h, pixel % g.w, t / g.k, t % g.k);
        for (int64_t out = 0; r >= 0 && out < g.out; out++) sum += dy[r * g.out + out] * w[(out * g.c + c) * kk + t];
    }
    dx[e] = sum;
}
static void conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    LAUNCH(d, conv_bwd_x_kernel, grid_for(g->n * g->h * g->w * g->c), THREADS, 0, *g, side_of(g), dy, w, dx);
}

/* Column (c kk + t) out + o of part: the sum for w[o][c][t] over SUM_ROWS pixels of the result; depthwise: column
 * t c + c' for w[c'][t]. A block has a warp of columns; block_x is (parts, warps of columns), the latter too many for
 * block_y where channels are many. */
KERNEL conv_part_kernel(struct lafs_conv g, struct side o, int depthwise, const float *x, const float *dy, float *part)
{
    float *room = shared_memory<float>(), sum = 0;
    const int64_t kk = g.k * g.k, columns = (depthwise ? 1 : g.c) * kk * g.out, rows = g.n * o.h * o.w;
    const int64_t warps = (columns + WARP - 1) / WARP, index = block_x() / warps;
    const int64_t column = block_x() % warps * WARP + lane_index(), out = column % g.out, rest = column / g.out;
    const int t = (int)(rest % kk);
    const int64_t c = depthwise ? out : rest / kk, first = index * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    for (int64_t r = first + warp_index(); r < end && column < columns; r += THREADS / WARP) {
        const int64_t at = tap(&g, o, r, t / g.k, t % g.k);
        if (at >= 0) sum += x[at + c] * dy[r * g.out + out];
    }
    room[thread_index()] = sum;
    block_sync();
    if (warp_index() || column >= columns) return;
    sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[i * WARP + lane_index()];
    part[index * columns + column] = sum;
}
/* The same columns of an image's weights: a thread has four channels of the result and a row of taps, for some pixels
 * of `rows` rows of the result. */
KERNEL conv_image_part_kernel(struct lafs_conv g, struct side o, int rows, const float *x, const float *dy, float *part)
{
    const int out = (int)g.out, shares = 3 * out / 4, groups = THREADS / shares, group = thread_index() / shares;
    const int ky = thread_index() % shares / (out / 4), first = thread_index() % (out / 4) * 4;
    const int columns = IMAGE_TAPS * out, high = (int)g.h, wide = (int)g.w;
    const int64_t begin = block_x() * rows, end = begin + rows < g.n * o.h ? begin + rows : g.n * o.h;
    float *room = shared_memory<float>(), sum[9][4] = {{0}};
    for (int64_t row = begin; row < end && group < groups; row++) {
        const int64_t image = row / o.h;
        const int y = (int)(row - image * o.h) * g.stride - 1 + ky;
        if (y < 0 || y >= high) continue;
        const float *line = x + (image * high + y) * wide * 3;
        for (int at = group; at < (int)o.w; at += groups) {
            const struct quad slope = *(const struct quad *)(dy + (row * o.w + at) * out + first);
#pragma unroll
            for (int k = 0; k < 9; k++) {
                const int column = at * g.stride - 1 + k / 3;
                const float v = column >= 0 && column < wide ? line[column * 3 + k % 3] : 0;
#pragma unroll
                for (int j = 0; j < 4; j++) sum[k][j] += v * slope.v[j];
            }
        }
    }
    for (int k = 0; k < 9 && group < groups; k++) {
        float *to = room + group * columns + (k % 3 * 9 + ky * 3 + k / 3) * out + first;
        *(struct quad *)to = {sum[k][0], sum[k][1], sum[k][2], sum[k][3]};
    }
    block_sync();
    for (int j = thread_index(); j < columns; j += THREADS) {
        float all = 0;
        for (int i = 0; i < groups; i++) all += room[i * columns + j];
        part[block_x() * columns + j] = all;
    }
}
static void conv_image_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    const struct side o = side_of(g);
    const int64_t columns = IMAGE_TAPS * g->out, all = g->n * o.h, rows = (all + PARTS - 1) / PARTS;
    const int64_t parts = rows ? (all + rows - 1) / rows : 0, groups = THREADS / (3 * g->out / 4);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * columns) * sizeof *part);
    if (!part || !parts) return;
    LAUNCH(d, conv_image_part_kernel, grid_of(parts), THREADS, (size_t)(groups * columns) * sizeof(float), *g, o,
           (int)rows, x, dy, part);
    sum_parts(d, parts, columns, g->out, part, 1, dw);
}
static void weights_bwd(struct lafs_dev *d, const struct lafs_conv *g, int depthwise, const float *x, const float *dy,
                        float *dw)
{
    const struct side o = side_of(g);
    const int64_t columns = (depthwise ? 1 : g->c) * g->k * g->k * g->out, parts = parts_of(g->n * o.h * o.w);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * columns) * sizeof *part);
    if (!part || !parts) return;
    LAUNCH(d, conv_part_kernel, grid_of(parts * ((columns + WARP - 1) / WARP)), THREADS, THREADS * sizeof(float), *g, o,
           depthwise, x, dy, part);
    sum_parts(d, parts, columns, g->out, part, 1, dw);
}
static void conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    if (of_image(g, dy)) conv_image_bwd_w(d, g, x, dy, dw);
    else weights_bwd(d, g, 0, x, dy, dw);
}

/* -- depthwise -- */

KERNEL depthwise_kernel(struct lafs_conv g, struct side o, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y)
{
    const int64_t e = global_index(), r = e / g.c, c = e % g.c, kk = g.k * g.k;
    if (r >= g.n * o.h * o.w) return;
    float sum = b ? b[c] : 0;
    for (int t = 0; t < kk; t++) {
        const int64_t at = tap(&g, o, r, t / g.k, t % g.k);
        if (at >= 0) sum += w[c * kk + t] * x[at + c];
    }
    y[e] = act_value(act, sum);
}
KERNEL depthwise_bwd_x_kernel(struct lafs_conv g, struct side o, const float *dy, const float *w, float *dx)
{
    const int64_t e = global_index(), c = e % g.c, pixel = e / g.c, kk = g.k * g.k;
    if (pixel >= g.n * g.h * g.w) return;
    float sum = 0;
    for (int t = 0; t < kk; t++) {
        const int64_t r = tapped(&g, o, pixel / (g.h * g.w), pixel / g.w % g.h, pixel % g.w, t / g.k, t % g.k);
        if (r >= 0) sum += dy[r * g.c + c] * w[c * kk + t];
    }
    dx[e] = sum;
}

/* K x K, K 3 or 5, stride 1 or 2: a thread has V neighbouring channels of a column of `rows` pixels, a unit, and walks
 * down. */
enum { DEPTH_BLOCK = 128, LEAST_ROWS = 4, MOST_ROWS = 14, ENOUGH = 1 << 16 /* threads for a GPU */ };

/* How threads share a map: a block has a range of channels, `lanes` threads, and `spots` units, `turns` times. */
struct cut {
    int h, w, c, lanes, ranges, spots, rows, segments, turns;
    int64_t units, blocks;
};
/* v: channels of a thread. parts: 1: a long sum's, of which there are few. */
static struct cut cut_of(int64_t n, int64_t h, int64_t w, int64_t c, int v, int parts)
{
    const int64_t each = c / v, wanted = ENOUGH / (n * w * each);
    const int64_t least = (h + MOST_ROWS - 1) / MOST_ROWS, most = (h + LEAST_ROWS - 1) / LEAST_ROWS;
    const int64_t segments = wanted < least ? least : wanted < most ? wanted : most;
    int64_t ranges = (each + WARP - 1) / WARP;
    while (each % ranges && each / ranges > WARP / 2) ranges++; /* equal ones, if that can be */
    struct cut t = {(int)h, (int)w, (int)c, (int)((each + ranges - 1) / ranges), (int)ranges};
    t.spots = DEPTH_BLOCK / t.lanes;
    t.rows = (int)((h + segments - 1) / segments);
    t.segments = (int)((h + t.rows - 1) / t.rows);
    t.units = n * w * t.segments;
    const int64_t batches = (t.units + t.spots - 1) / t.spots, blocks = batches * ranges;
    const int64_t spare = blocks * DEPTH_BLOCK / ENOUGH, short_of = MOST_ROWS / t.rows;
    t.turns = parts ? (int)((blocks + PARTS - 1) / PARTS) : (int)(spare < short_of ? spare : short_of);
    if (t.turns < 1) t.turns = 1;
    t.blocks = (batches + t.turns - 1) / t.turns * ranges;
    return t;
}

/* Where a thread is in its block. */
struct seat {
    int c, wide; /* first channel and number of those of the block */
    int lane, spot;
    int works;   /* 0: there is nothing for it */
};
template <int V> DEVICE struct seat seat_of(const struct cut *t)
{
    const int c = (int)(block_x() % t->ranges) * t->lanes * V, left = t->c - c, most = t->lanes * V;
    struct seat s = {c, left < most ? left : most, thread_index() % t->lanes * V, thread_index() / t->lanes};
    s.works = s.spot < t->spots && s.lane < s.wide;
    return s;
}
/* A unit: its image, column, and rows. */
struct column {
    int64_t image;
    int x, first, end;
};
DEVICE struct column column_of(const struct cut *t, uint32_t unit)
{
    const uint32_t rest = unit / (uint32_t)t->w, image = rest / (uint32_t)t->segments;
    const int first = (int)(rest - image * (uint32_t)t->segments) * t->rows;
    return {image, (int)(unit - rest * (uint32_t)t->w), first, first + t->rows < t->h ? first + t->rows : t->h};
}
/* Of a block's turn; none: t->units or more. */
DEVICE int64_t unit_of(const struct cut *t, const struct seat *s, int turn)
{
    return (block_x() / t->ranges * t->turns + turn) * t->spots + s->spot;
}
/* The block's weights (c, K*K), laid across in room, then a thread's own. All threads come. */
template <int K, int V> DEVICE void take_weights(const struct cut *t, const struct seat *s, const float *w, float *room,
                                                 struct few<V> weight[K * K])
{
    const int across = t->lanes * V;
    for (int i = thread_index(); i < s->wide * K * K; i += DEPTH_BLOCK)
        room[i % (K * K) * across + i / (K * K)] = w[(int64_t)s->c * K * K + i];
    block_sync();
    if (!s->works) return;
#pragma unroll
    for (int k = 0; k < K * K; k++) weight[k] = *(const struct few<V> *)(room + k * across + s->lane);
}
/* V channels of pixel (y, x) of an image of h x w; zeros outside. */
template <int V> DEVICE struct few<V> take_pixel(const float *image, int h, int w, int c, int y, int x)
{
    struct few<V> v = {{0}};
    if (y >= 0 && y < h && x >= 0 && x < w) v = *(const struct few<V> *)(image + (y * w + x) * c);
    return v;
}
template <int K, int V> DEVICE void take_line(const struct cut *t, const float *image, int y, int x, int step,
                                              struct few<V> line[K])
{
#pragma unroll
    for (int k = 0; k < K; k++) line[k] = take_pixel<V>(image, t->h, t->w, t->c, y, x + step * (k - (K - 1) / 2));
}

/* Stride 1: lines of the input come one by one, each for the K rows that it counts in; the next one is under way
 * meanwhile. turned: 1: the weights are turned about, as backward wants them; lines and pixels then come in the
 * opposite order, so that a sum's order is that of its weights. */
template <int K, int V> KERNEL depthwise_slide_kernel(struct cut t, int turned, const float *x, const float *w,
                                                      const float *b, enum lafs_act act, float *y)
{
    enum { P = (K - 1) / 2 };
    const struct seat s = seat_of<V>(&t);
    const int step = turned ? -1 : 1;
    struct few<V> weight[K * K], bias;
    take_weights<K, V>(&t, &s, w, shared_memory<float>(), weight);
    if (!s.works) return;
#pragma unroll
    for (int v = 0; v < V; v++) bias.v[v] = b ? b[s.c + s.lane + v] : 0;
    for (int turn = 0; turn < t.turns; turn++) {
        const int64_t unit = unit_of(&t, &s, turn);
        if (unit >= t.units) return;
        const struct column at = column_of(&t, (uint32_t)unit);
        const int64_t start = at.image * t.h * t.w * t.c + s.c + s.lane;
        struct few<V> sum[K], line[K], next[K]; /* sum[k]: of row u + P - k */
#pragma unroll
        for (int k = 0; k < K; k++) sum[k] = bias;
        take_line<K, V>(&t, x + start, turned ? t.h - 1 - (at.first - P) : at.first - P, at.x, step, next);
        for (int u = at.first - P; u < at.end + P; u++) {
#pragma unroll
            for (int k = 0; k < K; k++) line[k] = next[k];
            if (u + 1 < at.end + P) take_line<K, V>(&t, x + start, turned ? t.h - 2 - u : u + 1, at.x, step, next);
#pragma unroll
            for (int k = 0; k < K * K; k++)
#pragma unroll
                for (int v = 0; v < V; v++) sum[k / K].v[v] += weight[k].v[v] * line[k % K].v[v];
            const int row = u - P;
            if (row >= at.first) {
#pragma unroll
                for (int v = 0; v < V; v++) sum[K - 1].v[v] = act_value(act, sum[K - 1].v[v]);
                *(struct few<V> *)(y + start + ((turned ? t.h - 1 - row : row) * t.w + at.x) * t.c) = sum[K - 1];
            }
#pragma unroll
            for (int k = K - 1; k > 0; k--) sum[k] = sum[k - 1];
            sum[0] = bias;
        }
    }
}
/* Stride 2; t is of the result, h and w are the input's. */
template <int K, int V> KERNEL depthwise_skip_kernel(struct cut t, int h, int w, const float *x, const float *weights,
                                                     const float *b, enum lafs_act act, float *y)
{
    enum { P = (K - 1) / 2 };
    const struct seat s = seat_of<V>(&t);
    struct few<V> weight[K * K];
    take_weights<K, V>(&t, &s, weights, shared_memory<float>(), weight);
    if (!s.works) return;
    for (int turn = 0; turn < t.turns; turn++) {
        const int64_t unit = unit_of(&t, &s, turn);
        if (unit >= t.units) return;
        const struct column at = column_of(&t, (uint32_t)unit);
        const float *image = x + at.image * h * w * t.c + s.c + s.lane;
        float *to = y + at.image * t.h * t.w * t.c + s.c + s.lane;
        for (int row = at.first; row < at.end; row++) {
            struct few<V> sum;
#pragma unroll
            for (int v = 0; v < V; v++) sum.v[v] = b ? b[s.c + s.lane + v] : 0;
#pragma unroll
            for (int k = 0; k < K * K; k++) {
                const struct few<V> in =
                    take_pixel<V>(image, h, w, t.c, 2 * row - P + k / K, 2 * at.x - P + k % K);
#pragma unroll
                for (int v = 0; v < V; v++) sum.v[v] += weight[k].v[v] * in.v[v];
            }
#pragma unroll
            for (int v = 0; v < V; v++) sum.v[v] = act_value(act, sum.v[v]);
            *(struct few<V> *)(to + (row * t.w + at.x) * t.c) = sum;
        }
    }
}
/* The gradient behind it; t is of the input, h and w are the result's. */
template <int K, int V> KERNEL depthwise_skip_bwd_kernel(struct cut t, int h, int w, const float *dy,
                                                         const float *weights, float *dx)
{
    enum { P = (K - 1) / 2 };
    const struct seat s = seat_of<V>(&t);
    struct few<V> weight[K * K];
    take_weights<K, V>(&t, &s, weights, shared_memory<float>(), weight);
    if (!s.works) return;
    for (int turn = 0; turn < t.turns; turn++) {
        const int64_t unit = unit_of(&t, &s, turn);
        if (unit >= t.units) return;
        const struct column at = column_of(&t, (uint32_t)unit);
        const float *image = dy + at.image * h * w * t.c + s.c + s.lane;
        float *to = dx + at.image * t.h * t.w * t.c + s.c + s.lane;
        for (int row = at.first; row < at.end; row++) {
            struct few<V> sum = {{0}};
#pragma unroll
            for (int k = 0; k < K * K; k++) {
                const int twice_y = row + P - k / K, twice_x = at.x + P - k % K;
                if (twice_y % 2 || twice_x % 2) continue;
                const struct few<V> slope = take_pixel<V>(image, h, w, t.c, twice_y / 2, twice_x / 2);
#pragma unroll
                for (int v = 0; v < V; v++) sum.v[v] += slope.v[v] * weight[k].v[v];
            }
            *(struct few<V> *)(to + (row * t.w + at.x) * t.c) = sum;
        }
    }
}

/* Parts of the gradient of weights: column k c + c' is that of w[c'][k]. A thread sums all of its units. */
template <int K, int V> DEVICE void give_parts(const struct cut *t, const struct seat *s,
                                               const struct few<V> sum[K * K], float *part)
{
    const int across = t->lanes * V;
    float *room = shared_memory<float>(); /* (K*K, spots, across) */
#pragma unroll
    for (int k = 0; k < K * K; k++)
        if (s->works) *(struct few<V> *)(room + (k * t->spots + s->spot) * across + s->lane) = sum[k];
    block_sync();
    for (int i = thread_index(); i < K * K * across; i += DEPTH_BLOCK) {
        const int k = i / across, j = i - k * across;
        float all = 0;
        if (j >= s->wide) continue;
        for (int spot = 0; spot < t->spots; spot++) all += room[(k * t->spots + spot) * across + j];
        part[(block_x() / t->ranges * K * K + k) * t->c + s->c + j] = all;
    }
}
/* Stride 1: as above, a line of x for the K rows of dy that it counts in. */
template <int K, int V> KERNEL depthwise_slide_part_kernel(struct cut t, const float *x, const float *dy, float *part)
{
    enum { P = (K - 1) / 2 };
    const struct seat s = seat_of<V>(&t);
    struct few<V> sum[K * K];
#pragma unroll
    for (int k = 0; k < K * K; k++) sum[k] = {{0}};
    for (int turn = 0; turn < t.turns && s.works; turn++) {
        const int64_t unit = unit_of(&t, &s, turn);
        if (unit >= t.units) break;
        const struct column at = column_of(&t, (uint32_t)unit);
        const int64_t start = at.image * t.h * t.w * t.c + s.c + s.lane;
        struct few<V> slope[K], line[K]; /* slope[k]: of row u + P - k */
#pragma unroll
        for (int k = 0; k < K; k++) slope[k] = {{0}};
        for (int u = at.first - P; u < at.end + P; u++) {
            take_line<K, V>(&t, x + start, u, at.x, 1, line);
#pragma unroll
            for (int k = K - 1; k > 0; k--) slope[k] = slope[k - 1];
            slope[0] = take_pixel<V>(dy + start, at.end, t.w, t.c, u + P, at.x);
#pragma unroll
            for (int k = 0; k < K * K; k++)
#pragma unroll
                for (int v = 0; v < V; v++) sum[k].v[v] += line[k % K].v[v] * slope[k / K].v[v];
        }
    }
    give_parts<K, V>(&t, &s, sum, part);
}
/* Stride 2; t is of the result, h and w are the input's. */
template <int K, int V> KERNEL depthwise_skip_part_kernel(struct cut t, int h, int w, const float *x, const float *dy,
                                                          float *part)
{
    enum { P = (K - 1) / 2 };
    const struct seat s = seat_of<V>(&t);
    struct few<V> sum[K * K];
#pragma unroll
    for (int k = 0; k < K * K; k++) sum[k] = {{0}};
    for (int turn = 0; turn < t.turns && s.works; turn++) {
        const int64_t unit = unit_of(&t, &s, turn);
        if (unit >= t.units) break;
        const struct column at = column_of(&t, (uint32_t)unit);
        const float *image = x + at.image * h * w * t.c + s.c + s.lane;
        const float *slopes = dy + at.image * t.h * t.w * t.c + s.c + s.lane;
        for (int row = at.first; row < at.end; row++) {
            const struct few<V> slope = take_pixel<V>(slopes, t.h, t.w, t.c, row, at.x);
#pragma unroll
            for (int k = 0; k < K * K; k++) {
                const struct few<V> in =
                    take_pixel<V>(image, h, w, t.c, 2 * row - P + k / K, 2 * at.x - P + k % K);
#pragma unroll
                for (int v = 0; v < V; v++) sum[k].v[v] += in.v[v] * slope.v[v];
            }
        }
    }
    give_parts<K, V>(&t, &s, sum, part);
}

/* By k and channels of a thread: as many as registers have room for the weights of, or one. */
static int channels_of(const struct lafs_conv *g, const void *x, const void *y)
{
    const int v = g->k == 3 ? 4 : 2;
    return g->c % v == 0 && (((uintptr_t)x | (uintptr_t)y) & 15) == 0 ? v : 1;
}
#define LAUNCH_TAPS(d, kernel, k, v, grid, shared, ...) \
    do { \
        if (k == 3 && v > 1) launch(d, kernel<3, 4>, #kernel "<3,4>", grid, DEPTH_BLOCK, shared, __VA_ARGS__); \
        else if (k == 3) launch(d, kernel<3, 1>, #kernel "<3,1>", grid, DEPTH_BLOCK, shared, __VA_ARGS__); \
        else if (v > 1) launch(d, kernel<5, 2>, #kernel "<5,2>", grid, DEPTH_BLOCK, shared, __VA_ARGS__); \
        else launch(d, kernel<5, 1>, #kernel "<5,1>", grid, DEPTH_BLOCK, shared, __VA_ARGS__); \
    } while (0)
/* Whether these kernels do it: numbers within an image, and of units, are of 32 bits there. */
static int by_columns(const struct lafs_conv *g)
{
    return (g->k == 3 || g->k == 5) && (g->stride == 1 || g->stride == 2) && g->h * g->w * g->c <= INT32_MAX &&
           g->n * g->h * g->w <= INT32_MAX;
}
static size_t weights_room(const struct lafs_conv *g, const struct cut *t, int v)
{
    return (size_t)(g->k * g->k * t->lanes * v) * sizeof(float);
}

static void depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                      enum lafs_act act, float *y)
{
    const struct side o = side_of(g);
    const int64_t n = g->n * o.h * o.w * g->c;
    if (n == 0) return;
    if (!by_columns(g)) {
        LAUNCH(d, depthwise_kernel, grid_for(n), THREADS, 0, *g, o, x, w, b, act, y);
        return;
    }
    const int v = channels_of(g, x, y);
    const struct cut t = cut_of(g->n, o.h, o.w, g->c, v, 0);
    const struct grid blocks = grid_of(t.blocks);
    const size_t room = weights_room(g, &t, v);
    if (g->stride == 1) LAUNCH_TAPS(d, depthwise_slide_kernel, g->k, v, blocks, room, t, 0, x, w, b, act, y);
    else LAUNCH_TAPS(d, depthwise_skip_kernel, g->k, v, blocks, room, t, (int)g->h, (int)g->w, x, w, b, act, y);
}
static void depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    const struct side o = side_of(g);
    const int64_t n = g->n * g->h * g->w * g->c;
    if (n == 0) return;
    if (!by_columns(g)) {
        LAUNCH(d, depthwise_bwd_x_kernel, grid_for(n), THREADS, 0, *g, o, dy, w, dx);
        return;
    }
    const int v = channels_of(g, dy, dx);
    const struct cut t = cut_of(g->n, g->h, g->w, g->c, v, 0);
    const struct grid blocks = grid_of(t.blocks);
    const size_t room = weights_room(g, &t, v);
    if (g->stride == 1)
        LAUNCH_TAPS(d, depthwise_slide_kernel, g->k, v, blocks, room, t, 1, dy, w, (const float *)NULL, LAFS_ACT_NONE,
                    dx);
    else LAUNCH_TAPS(d, depthwise_skip_bwd_kernel, g->k, v, blocks, room, t, (int)o.h, (int)o.w, dy, w, dx);
}
static void depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    const struct side o = side_of(g);
    if (g->n * o.h * o.w * g->c == 0) return;
    if (!by_columns(g)) {
        weights_bwd(d, g, 1, x, dy, dw);
        return;
    }
    const int v = channels_of(g, x, dy);
    const struct cut t = cut_of(g->n, o.h, o.w, g->c, v, 1);
    const int64_t parts = t.blocks / t.ranges, columns = g->k * g->k * g->c;
    const size_t room = weights_room(g, &t, v) * (size_t)t.spots;
    const struct grid blocks = grid_of(t.blocks);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * columns) * sizeof *part);
    if (!part) return;
    if (g->stride == 1) LAUNCH_TAPS(d, depthwise_slide_part_kernel, g->k, v, blocks, room, t, x, dy, part);
    else LAUNCH_TAPS(d, depthwise_skip_part_kernel, g->k, v, blocks, room, t, (int)g->h, (int)g->w, x, dy, part);
    sum_parts(d, parts, columns, g->c, part, 1, dw);
}

KERNEL maxpool2_kernel(int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    const int64_t e = global_index(), across = w / 2 * c, r = e / across, j = e % across;
    if (r >= n * (h / 2)) return;
    const float *a = x + (2 * r * w + 2 * (j / c)) * c + j % c, *b = a + w * c;
    const float top = a[0] > a[c] ? a[0] : a[c], low = b[0] > b[c] ? b[0] : b[c];
    y[e] = top > low ? top : low;
}
static void maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    LAUNCH(d, maxpool2_kernel, grid_for(n * (h / 2) * (w / 2) * c), THREADS, 0, n, h, w, c, x, y);
}

KERNEL upsample2_add_kernel(int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    const int64_t e = global_index(), across = 2 * w * c, r = e / across, j = e % across;
    if (r < n * 2 * h) y[e] += x[(r / 2 * w + j / c / 2) * c + j % c];
}
static void upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    LAUNCH(d, upsample2_add_kernel, grid_for(n * 4 * h * w * c), THREADS, 0, n, h, w, c, x, y);
}

/* A thread has an element of x: the first largest of its four takes the gradient. */
KERNEL maxpool2_bwd_kernel(int64_t n, int64_t h, int64_t w, int64_t c, const float *x, const float *dy, float *dx)
{
    const int64_t e = global_index(), ch = e % c, column = e / c % w, row = e / c / w; /* row: of all images */
    if (row >= n * h) return;
    const float *a = x + ((row - row % 2) * w + column - column % 2) * c + ch;
    const float four[4] = {a[0], a[c], a[w * c], a[w * c + c]};
    int best = 0;
    for (int k = 1; k < 4; k++)
        if (four[k] > four[best]) best = k;
    const int mine = (int)(row % 2 * 2 + column % 2);
    dx[e] = mine == best ? dy[(row / 2 * (w / 2) + column / 2) * c + ch] : 0;
}
static void maxpool2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                         const float *dy, float *dx)
{
    LAUNCH(d, maxpool2_bwd_kernel, grid_for(n * h * w * c), THREADS, 0, n, h, w, c, x, dy, dx);
}

KERNEL upsample2_bwd_kernel(int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx)
{
    const int64_t e = global_index(), ch = e % c, column = e / c % w, row = e / c / w;
    if (row >= n * h) return;
    const float *a = dy + (2 * row * 2 * w + 2 * column) * c + ch, *b = a + 2 * w * c;
    dx[e] = ((a[0] + a[c]) + b[0]) + b[c];
}
static void upsample2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx)
{
    LAUNCH(d, upsample2_bwd_kernel, grid_for(n * h * w * c), THREADS, 0, n, h, w, c, dy, dx);
}

void ops_conv(struct lafs_ops *ops)
{
    ops->conv = conv;
    ops->conv_bwd_x = conv_bwd_x;
    ops->conv_bwd_w = conv_bwd_w;
    ops->depthwise = depthwise;
    ops->depthwise_bwd_x = depthwise_bwd_x;
    ops->depthwise_bwd_w = depthwise_bwd_w;
    ops->maxpool2 = maxpool2;
    ops->upsample2_add = upsample2_add;
    ops->maxpool2_bwd = maxpool2_bwd;
    ops->upsample2_bwd = upsample2_bwd;
}
