/* Convolutions, channels last, directly: a thread has an element of the result, or several where depthwise ones of
 * 3 x 3 and 5 x 5 are made; neighbouring threads have neighbouring channels. 1 x 1 ones are products. Geometry as in
 * kernels/ref/conv.c. Gradients of weights are long sums over pixels, taken in parts. */
#include "kernels/cuda/dev.cuh"

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
KERNEL act_kernel(int64_t n, enum lafs_act act, float *y)
{
    const int64_t i = global_index();
    if (i < n) y[i] = act_value(act, y[i]);
}
static void conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                 enum lafs_act act, float *y)
{
    const struct side o = side_of(g);
    const int64_t n = g->n * o.h * o.w * g->out;
    if (g->k > 1 || g->stride > 1) {
        LAUNCH(d, conv_kernel, grid_for(n), THREADS, 0, *g, o, x, w, b, act, y);
        return;
    }
    multiply(d, LAFS_PRECISION_FP32, {PRODUCT_NT, g->n * g->h * g->w, g->out, g->c, 0, x, w, b, 0, y});
    if (act != LAFS_ACT_NONE) LAUNCH(d, act_kernel, grid_for(n), THREADS, 0, n, act, y);
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
/* The same columns, depthwise: a thread has all taps of a channel, and reads dy once. */
template <int K> DEVICE void depthwise_parts(const struct lafs_conv *g, struct side o, const float *x, const float *dy,
                                             float *part)
{
    float *room = shared_memory<float>(), sum[K * K];
    const int64_t rows = g->n * o.h * o.w, warps = (g->c + WARP - 1) / WARP, index = block_x() / warps;
    const int64_t c = block_x() % warps * WARP + lane_index(), first = index * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
#pragma unroll
    for (int t = 0; t < K * K; t++) sum[t] = 0;
    for (int64_t r = first + warp_index(); r < end && c < g->c; r += THREADS / WARP) {
        const struct spot s = spot_of(g, o, r);
        const float slope = dy[r * g->c + c];
#pragma unroll
        for (int t = 0; t < K * K; t++) {
            const int64_t at = tap_at(g, &s, t / K, t % K);
            if (at >= 0) sum[t] += x[at + c] * slope;
        }
    }
#pragma unroll
    for (int t = 0; t < K * K; t++) {
        block_sync();
        room[thread_index()] = sum[t];
        block_sync();
        float all = 0;
        for (int i = 0; i < THREADS / WARP; i++) all += room[i * WARP + lane_index()];
        if (warp_index() == 0 && c < g->c) part[(index * K * K + t) * g->c + c] = all;
    }
}
KERNEL depthwise3_part_kernel(struct lafs_conv g, struct side o, const float *x, const float *dy, float *part)
{
    depthwise_parts<3>(&g, o, x, dy, part);
}
KERNEL depthwise5_part_kernel(struct lafs_conv g, struct side o, const float *x, const float *dy, float *part)
{
    depthwise_parts<5>(&g, o, x, dy, part);
}
static void weights_bwd(struct lafs_dev *d, const struct lafs_conv *g, int depthwise, const float *x, const float *dy,
                        float *dw)
{
    const struct side o = side_of(g);
    const int64_t columns = (depthwise ? 1 : g->c) * g->k * g->k * g->out, parts = parts_of(g->n * o.h * o.w);
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * columns) * sizeof *part);
    if (!part || !parts) return;
    const struct grid channels = grid_of(parts * ((g->c + WARP - 1) / WARP));
    const size_t shared = THREADS * sizeof(float);
    if (depthwise && g->k == 3) LAUNCH(d, depthwise3_part_kernel, channels, THREADS, shared, *g, o, x, dy, part);
    else if (depthwise && g->k == 5) LAUNCH(d, depthwise5_part_kernel, channels, THREADS, shared, *g, o, x, dy, part);
    else
        LAUNCH(d, conv_part_kernel, grid_of(parts * ((columns + WARP - 1) / WARP)), THREADS, shared, *g, o, depthwise,
               x, dy, part);
    sum_parts(d, parts, columns, g->out, part, 1, dw);
}
static void conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    weights_bwd(d, g, 0, x, dy, dw);
}
static void depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    weights_bwd(d, g, 1, x, dy, dw);
}

/* -- depthwise: a thread has a channel of PIXELS neighbouring pixels, so that it reads its weights once -- */

enum { PIXELS = 8 };
static int64_t spans_of(int64_t pixels) { return (pixels + PIXELS - 1) / PIXELS; }

template <int K> DEVICE void depthwise_pixels(const struct lafs_conv *g, struct side o, const float *x, const float *w,
                                              const float *b, enum lafs_act act, float *y)
{
    const int64_t c = global_index() % g->c, first = global_index() / g->c * PIXELS, rows = g->n * o.h * o.w;
    float weight[K * K];
    if (first >= rows) return;
#pragma unroll
    for (int t = 0; t < K * K; t++) weight[t] = w[c * K * K + t];
    for (int64_t r = first; r < rows && r < first + PIXELS; r++) {
        const struct spot s = spot_of(g, o, r);
        float sum = b ? b[c] : 0;
#pragma unroll
        for (int t = 0; t < K * K; t++) {
            const int64_t at = tap_at(g, &s, t / K, t % K);
            if (at >= 0) sum += weight[t] * x[at + c];
        }
        y[r * g->c + c] = act_value(act, sum);
    }
}
KERNEL depthwise3_kernel(struct lafs_conv g, struct side o, const float *x, const float *w, const float *b,
                         enum lafs_act act, float *y)
{
    depthwise_pixels<3>(&g, o, x, w, b, act, y);
}
KERNEL depthwise5_kernel(struct lafs_conv g, struct side o, const float *x, const float *w, const float *b,
                         enum lafs_act act, float *y)
{
    depthwise_pixels<5>(&g, o, x, w, b, act, y);
}
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
static void depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                      enum lafs_act act, float *y)
{
    const struct side o = side_of(g);
    const int64_t rows = g->n * o.h * o.w;
    const struct grid spans = grid_for(spans_of(rows) * g->c);
    if (g->k == 3) LAUNCH(d, depthwise3_kernel, spans, THREADS, 0, *g, o, x, w, b, act, y);
    else if (g->k == 5) LAUNCH(d, depthwise5_kernel, spans, THREADS, 0, *g, o, x, w, b, act, y);
    else LAUNCH(d, depthwise_kernel, grid_for(rows * g->c), THREADS, 0, *g, o, x, w, b, act, y);
}

/* Of `most` places, which one has a tap at t; -1: none. */
DEVICE int tapped_at(int t, int stride, int64_t most)
{
    const int at = stride == 1 ? t : t / stride;
    return t < 0 || at >= most || at * stride != t ? -1 : at;
}
template <int K> DEVICE void depthwise_bwd_pixels(const struct lafs_conv *g, struct side o, const float *dy,
                                                  const float *w, float *dx)
{
    const int64_t c = global_index() % g->c, first = global_index() / g->c * PIXELS, area = g->h * g->w;
    const int across = (int)g->w, p = (K - 1) / 2;
    float weight[K * K];
    if (first >= g->n * area) return;
#pragma unroll
    for (int t = 0; t < K * K; t++) weight[t] = w[c * K * K + t];
    for (int64_t pixel = first; pixel < g->n * area && pixel < first + PIXELS; pixel++) {
        const int64_t image = pixel / area;
        const int at = (int)(pixel - image * area), y = at / across, x = at - y * across;
        float sum = 0;
#pragma unroll
        for (int t = 0; t < K * K; t++) {
            const int ty = tapped_at(y + p - t / K, g->stride, o.h), tx = tapped_at(x + p - t % K, g->stride, o.w);
            if (ty >= 0 && tx >= 0) sum += dy[((image * o.h + ty) * o.w + tx) * g->c + c] * weight[t];
        }
        dx[pixel * g->c + c] = sum;
    }
}
KERNEL depthwise3_bwd_x_kernel(struct lafs_conv g, struct side o, const float *dy, const float *w, float *dx)
{
    depthwise_bwd_pixels<3>(&g, o, dy, w, dx);
}
KERNEL depthwise5_bwd_x_kernel(struct lafs_conv g, struct side o, const float *dy, const float *w, float *dx)
{
    depthwise_bwd_pixels<5>(&g, o, dy, w, dx);
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
static void depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    const struct side o = side_of(g);
    const int64_t rows = g->n * g->h * g->w;
    const struct grid spans = grid_for(spans_of(rows) * g->c);
    if (g->k == 3) LAUNCH(d, depthwise3_bwd_x_kernel, spans, THREADS, 0, *g, o, dy, w, dx);
    else if (g->k == 5) LAUNCH(d, depthwise5_bwd_x_kernel, spans, THREADS, 0, *g, o, dy, w, dx);
    else LAUNCH(d, depthwise_bwd_x_kernel, grid_for(rows * g->c), THREADS, 0, *g, o, dy, w, dx);
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
