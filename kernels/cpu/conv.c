/* Convolutions on the CPU: how the work of kernels/ref/conv.c is packed and cut into tiles; the loops inside a tile are
 * in conv_kernels.inc. Every output element is computed whole by one tile, in an order that its geometry fixes. */
#include <string.h>

#include "kernels/cpu/conv_kernels.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

enum {
    ROWS = 96,      /* rows of a 1x1 tile: a multiple of every block of conv_kernels.inc */
    MAX_GROUPS = 16, /* partial sums of a weight gradient */
    CHANNELS = 64,  /* of a depthwise weight gradient's tile: a multiple of every vector */
    NEAR = 4096     /* floats of a plane that should stay in the nearest cache */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Weights as panels: columns [p*panel, ..) of a (depth, cols) matrix, each (depth, wide). */
struct panels {
    const struct lafs_conv_kernels *kern;
    int64_t depth, cols, count;
    float *data;  /* all panels but the last are kern->panel wide */
    float *bias;  /* (cols rounded up) or NULL */
    const float *w;
    int64_t c, kk;
    int backward; /* 0: matrix (tap and input channel, output); 1: (output, tap and input channel) */
};

static int64_t panel_wide(const struct panels *p, int64_t i)
{
    return min64(round_up(p->cols - i * p->kern->panel, p->kern->lanes), p->kern->panel);
}

/* w (out, c, kk) */
static void pack_panel(void *arg, int64_t i, int worker)
{
    (void)worker;
    const struct panels *p = arg;
    int64_t wide = panel_wide(p, i), first = i * p->kern->panel, n = min64(p->cols - first, wide);
    float *to = p->data + i * p->depth * p->kern->panel;
    if (n < wide) memset(to, 0, (size_t)(p->depth * wide) * sizeof *to);
    for (int64_t j = 0; j < n; j++) {
        if (p->backward) {
            const float *from = p->w + (first + j) % p->c * p->kk + (first + j) / p->c;
            for (int64_t o = 0; o < p->depth; o++) to[o * wide + j] = from[o * p->c * p->kk];
        } else {
            const float *from = p->w + (first + j) * p->c * p->kk;
            for (int64_t t = 0; t < p->kk; t++)
                for (int64_t c = 0; c < p->c; c++) to[(t * p->c + c) * wide + j] = from[c * p->kk + t];
        }
    }
}

/* Packs into the device's shared buffer. 0: out of memory. */
static int pack(struct panels *p, struct lafs_dev *d, const struct lafs_conv *g, const float *w, const float *b,
                int backward)
{
    p->kern = lafs_conv_kernels();
    p->c = g->c;
    p->kk = (int64_t)g->k * g->k;
    p->w = w;
    p->backward = backward;
    p->depth = backward ? g->out : p->kk * g->c;
    p->cols = backward ? p->kk * g->c : g->out;
    p->count = (p->cols + p->kern->panel - 1) / p->kern->panel;
    int64_t cols = round_up(p->cols, p->kern->lanes);
    p->data = lafs_cpu_shared(d, (size_t)((p->depth + 1) * cols) * sizeof *p->data);
    if (!p->data) return 0;
    p->bias = NULL;
    if (b) {
        p->bias = p->data + p->depth * cols;
        memcpy(p->bias, b, (size_t)p->cols * sizeof *b);
        memset(p->bias + p->cols, 0, (size_t)(cols - p->cols) * sizeof *b);
    }
    lafs_pool_for(d->pool, p->count, pack_panel, p);
    return 1;
}

/* y[rows r0..] columns of panel i, of the rows a + r*lda (whole depth contiguous). */
static void product(const struct panels *p, int64_t i, int64_t rows, const float *a, int64_t lda, enum lafs_act act,
                    float *y, int64_t ldy)
{
    int64_t first = i * p->kern->panel;
    struct lafs_gemm_tile t = {.rows = rows, .wide = panel_wide(p, i), .cols = min64(p->cols - first, p->kern->panel),
                               .segs = 1, .run = p->depth, .lda = lda, .a = &a, .step = p->kern->lanes,
                               .panel = p->data + i * p->depth * p->kern->panel,
                               .bias = p->bias ? p->bias + first : NULL, .act = act, .y = y + first, .ldy = ldy};
    p->kern->gemm(&t);
}

struct dense {
    struct panels panels;
    const struct lafs_conv *g;
    int64_t oh, ow, rows, depth, cols;
    const float *x;
    float *y;
    enum lafs_act act;
    struct lafs_dev *d;
};

/* 1x1, stride 1: a product of all pixels' rows. Tile: ROWS rows and one panel. */
static void pointwise_tile(void *arg, int64_t i, int worker)
{
    (void)worker;
    const struct dense *o = arg;
    int64_t r = i / o->panels.count * ROWS;
    product(&o->panels, i % o->panels.count, min64(ROWS, o->rows - r), o->x + r * o->depth, o->depth, o->act,
            o->y + r * o->cols, o->cols);
}

static void pointwise(struct lafs_dev *d, struct dense *o, int64_t rows)
{
    o->rows = rows;
    o->depth = o->panels.depth;
    o->cols = o->panels.cols;
    lafs_pool_for(d->pool, (rows + ROWS - 1) / ROWS * o->panels.count, pointwise_tile, o);
}

/* The pixels [*lo, *hi) of an output row whose taps all lie inside the input row. */
static void interior(const struct lafs_conv *g, int64_t ow, int64_t *lo, int64_t *hi)
{
    int64_t p = (g->k - 1) / 2;
    *lo = min64((p + g->stride - 1) / g->stride, ow);
    *hi = g->w - g->k + p < 0 ? 0 : min64((g->w - g->k + p) / g->stride + 1, ow);
    if (*hi < *lo) *hi = *lo;
}

/* Input rows under output row oy of image i; `outside` stands for those that are not there. */
static void rows_under(const struct lafs_conv *g, const float *x, int64_t i, int64_t oy, const float *outside,
                       const float **row)
{
    for (int ky = 0; ky < g->k; ky++) {
        int64_t iy = oy * g->stride + ky - (g->k - 1) / 2;
        row[ky] = iy < 0 || iy >= g->h ? outside : x + (i * g->h + iy) * g->w * g->c;
    }
}

/* One output pixel whose taps may leave the row: they are gathered, zero outside. taps (k*k*c) */
static void border_pixel(const struct dense *o, const float *const *row, int64_t ox, float *taps, float *y)
{
    const struct lafs_conv *g = o->g;
    int64_t ix0 = ox * g->stride - (g->k - 1) / 2;
    for (int t = 0; t < g->k * g->k; t++) {
        int64_t ix = ix0 + t % g->k;
        if (ix >= 0 && ix < g->w) memcpy(taps + t * g->c, row[t / g->k] + ix * g->c, (size_t)g->c * sizeof *taps);
        else memset(taps + t * g->c, 0, (size_t)g->c * sizeof *taps);
    }
    for (int64_t p = 0; p < o->panels.count; p++) product(&o->panels, p, 1, taps, o->panels.depth, o->act, y, o->cols);
}

/* k x k. Tile: one output row. A tap row of a pixel is k*c floats on end, so nothing need be copied. */
static void dense_row(void *arg, int64_t i, int worker)
{
    const struct dense *o = arg;
    const struct lafs_conv *g = o->g;
    float *none = lafs_cpu_scratch(o->d, worker), *taps = none + g->w * g->c; /* (w,c) zeros; (k*k*c) */
    float *y = o->y + i * o->ow * g->out; /* (ow, out) */
    const float *row[LAFS_CONV_MAX_K];
    int64_t lo, hi, p0 = (g->k - 1) / 2;
    memset(none, 0, (size_t)(g->w * g->c) * sizeof *none);
    rows_under(g, o->x, i / o->oh, i % o->oh, none, row);
    interior(g, o->ow, &lo, &hi);
    for (int64_t ox = 0; ox < o->ow; ox++) {
        if (ox == lo) ox = hi;
        if (ox < o->ow) border_pixel(o, row, ox, taps, y + ox * g->out);
    }
    const float *a[LAFS_CONV_MAX_K];
    for (int ky = 0; ky < g->k; ky++) a[ky] = row[ky] + (lo * g->stride - p0) * g->c;
    for (int64_t p = 0; p < o->panels.count && lo < hi; p++) {
        int64_t first = p * o->panels.kern->panel;
        struct lafs_gemm_tile t = {.rows = hi - lo, .wide = panel_wide(&o->panels, p),
                                   .cols = min64(g->out - first, o->panels.kern->panel),
                                   .segs = g->k, .run = g->k * g->c, .lda = g->stride * g->c, .a = a,
                                   .step = o->panels.kern->lanes,
                                   .panel = o->panels.data + p * o->depth * o->panels.kern->panel,
                                   .bias = o->panels.bias ? o->panels.bias + first : NULL, .act = o->act,
                                   .y = y + lo * g->out + first, .ldy = g->out};
        o->panels.kern->gemm(&t);
    }
}

void lafs_cpu_conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                   enum lafs_act act, float *y)
{
    if (g->k > LAFS_CONV_MAX_K) {
        lafs_ref_conv(d, g, x, w, b, act, y);
        return;
    }
    struct dense o = {.g = g, .x = x, .y = y, .act = act, .d = d, .oh = lafs_conv_side(g->h, g->k, g->stride),
                      .ow = lafs_conv_side(g->w, g->k, g->stride)};
    if (!pack(&o.panels, d, g, w, b, 0)) return;
    o.depth = o.panels.depth;
    o.cols = g->out;
    if (g->k == 1 && g->stride == 1) {
        pointwise(d, &o, g->n * g->h * g->w);
        return;
    }
    if (lafs_cpu_reserve(d, (size_t)((g->w + g->k * g->k) * g->c) * sizeof *x))
        lafs_pool_for(d->pool, g->n * o.oh, dense_row, &o);
}

/* dx of image i: each output row's gradient goes back through the weights, then to where its taps lie. */
static void dense_back(void *arg, int64_t i, int worker)
{
    const struct dense *o = arg;
    const struct lafs_conv *g = o->g;
    float *col = lafs_cpu_scratch(o->d, worker); /* (ow, k*k*c) */
    float *dx = o->y + i * g->h * g->w * g->c;
    int64_t p0 = (g->k - 1) / 2;
    memset(dx, 0, (size_t)(g->h * g->w * g->c) * sizeof *dx);
    for (int64_t oy = 0; oy < o->oh; oy++) {
        for (int64_t p = 0; p < o->panels.count; p++)
            product(&o->panels, p, o->ow, o->x + (i * o->oh + oy) * o->ow * g->out, g->out, LAFS_ACT_NONE, col,
                    o->panels.cols);
        for (int64_t ox = 0; ox < o->ow; ox++)
            for (int t = 0; t < g->k * g->k; t++) {
                int64_t iy = oy * g->stride + t / g->k - p0, ix = ox * g->stride + t % g->k - p0;
                if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) continue;
                float *to = dx + (iy * g->w + ix) * g->c;
                const float *from = col + ox * o->panels.cols + t * g->c;
                for (int64_t c = 0; c < g->c; c++) to[c] += from[c];
            }
    }
}

void lafs_cpu_conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    struct dense o = {.g = g, .x = dy, .y = dx, .d = d, .oh = lafs_conv_side(g->h, g->k, g->stride),
                      .ow = lafs_conv_side(g->w, g->k, g->stride)};
    if (!pack(&o.panels, d, g, w, NULL, 1)) return;
    if (g->k == 1 && g->stride == 1) {
        pointwise(d, &o, g->n * g->h * g->w);
        return;
    }
    if (lafs_cpu_reserve(d, (size_t)(o.ow * o.panels.cols) * sizeof *dy)) lafs_pool_for(d->pool, g->n, dense_back, &o);
}

/* -- gradients of weights: images in at most MAX_GROUPS groups, each with its own sum; sums are added in order -- */

struct weight_grad {
    const struct lafs_conv *g;
    int64_t oh, ow, groups, size, blocks;
    int64_t strip; /* output rows at a time */
    const float *x, *dy;
    float *sum; /* (groups, size) */
    const struct lafs_conv_kernels *kern;
    struct lafs_dev *d;
};

static int64_t group_start(const struct weight_grad *o, int64_t group) { return o->g->n * group / o->groups; }

static int begin_grad(struct weight_grad *o, struct lafs_dev *d, const struct lafs_conv *g, const float *x,
                      const float *dy, int64_t size)
{
    *o = (struct weight_grad){.g = g, .x = x, .dy = dy, .d = d, .size = size, .groups = min64(g->n, MAX_GROUPS),
                              .oh = lafs_conv_side(g->h, g->k, g->stride), .ow = lafs_conv_side(g->w, g->k, g->stride),
                              .kern = lafs_conv_kernels()};
    o->sum = lafs_cpu_shared(d, (size_t)(o->groups * size) * sizeof *o->sum);
    if (!o->sum) return 0;
    return 1;
}

static void add_groups(const struct weight_grad *o)
{
    for (int64_t k = 1; k < o->groups; k++)
        for (int64_t j = 0; j < o->size; j++) o->sum[j] += o->sum[k * o->size + j];
}

/* sum (out, k*k*c) += dy^T taps for n pixels of an output row from ox on: the k*c floats from `under` on, which lie
 * stride*c apart, are what they see under tap row ky. */
static void add_taps(const struct weight_grad *o, const float *dy, const float *under, int ky, int64_t n, float *sum)
{
    const struct lafs_conv *g = o->g;
    int64_t wide = g->k * g->c;
    struct lafs_cross_tile t = {.depth = n, .m = g->out, .n = wide, .a = dy, .b = under, .c = sum + ky * wide,
                                .lda = g->out, .ldb = g->stride * g->c, .ldc = g->k * wide};
    o->kern->cross(&t);
}

/* Output row q, counted through all images. taps: (k*c) */
static void dense_grad_row(const struct weight_grad *o, int64_t q, float *taps, float *sum)
{
    const struct lafs_conv *g = o->g;
    const float *dy = o->dy + q * o->ow * g->out, *row[LAFS_CONV_MAX_K];
    int64_t lo, hi, p = (g->k - 1) / 2, c = g->c;
    rows_under(g, o->x, q / o->oh, q % o->oh, NULL, row);
    interior(g, o->ow, &lo, &hi);
    for (int ky = 0; ky < g->k; ky++) {
        if (!row[ky]) continue;
        if (lo < hi) add_taps(o, dy + lo * g->out, row[ky] + (lo * g->stride - p) * c, ky, hi - lo, sum);
        for (int64_t ox = 0; ox < o->ow; ox++) {
            if (ox == lo) ox = hi;
            if (ox >= o->ow) break;
            memset(taps, 0, (size_t)(g->k * c) * sizeof *taps);
            for (int64_t kx = 0, ix = ox * g->stride - p; kx < g->k; kx++, ix++)
                if (ix >= 0 && ix < g->w) memcpy(taps + kx * c, row[ky] + ix * c, (size_t)c * sizeof *taps);
            add_taps(o, dy + ox * g->out, taps, ky, 1, sum);
        }
    }
}

/* Group's sum (out, k*k*c) = dy^T taps. */
static void dense_grad(void *arg, int64_t group, int worker)
{
    const struct weight_grad *o = arg;
    const struct lafs_conv *g = o->g;
    int64_t first = group_start(o, group), end = group_start(o, group + 1), hw = o->oh * o->ow;
    float *sum = o->sum + group * o->size;
    if (g->k == 1 && g->stride == 1) {
        lafs_cpu_gemm(1, 0, g->out, g->c, (end - first) * hw, o->dy + first * hw * g->out, g->out,
                      o->x + first * hw * g->c, g->c, 0, sum, g->c);
        return;
    }
    memset(sum, 0, (size_t)o->size * sizeof *sum);
    for (int64_t q = first * o->oh; q < end * o->oh; q++)
        dense_grad_row(o, q, lafs_cpu_scratch(o->d, worker), sum);
}

void lafs_cpu_conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    if (g->k > LAFS_CONV_MAX_K) {
        lafs_ref_conv_bwd_w(d, g, x, dy, dw);
        return;
    }
    struct weight_grad o;
    int64_t kk = (int64_t)g->k * g->k, depth = kk * g->c;
    if (!begin_grad(&o, d, g, x, dy, g->out * depth)) return;
    if (!lafs_cpu_reserve(d, (size_t)(g->k * g->c) * sizeof *x)) return;
    lafs_pool_for(d->pool, o.groups, dense_grad, &o);
    if (o.groups == 0) return;
    add_groups(&o);
    for (int64_t r = 0; r < g->out; r++)
        for (int64_t t = 0; t < kk; t++)
            for (int64_t c = 0; c < g->c; c++) dw[(r * g->c + c) * kk + t] += o.sum[r * depth + t * g->c + c];
}

/* -- depthwise -- */

struct depthwise {
    const struct lafs_conv *g;
    const struct lafs_conv_kernels *kern;
    int64_t oh, ow, cw, block;
    const float *x, *b;
    float *taps; /* (k*k, cw) */
    float *y;
    enum lafs_act act;
};

/* flipped: the taps in reverse order. */
static int begin_depthwise(struct depthwise *o, struct lafs_dev *d, const struct lafs_conv *g, const float *w,
                           int flipped)
{
    int64_t kk = (int64_t)g->k * g->k;
    o->g = g;
    o->kern = lafs_conv_kernels();
    o->oh = lafs_conv_side(g->h, g->k, g->stride);
    o->ow = lafs_conv_side(g->w, g->k, g->stride);
    o->cw = round_up(g->c, o->kern->lanes);
    o->taps = lafs_cpu_shared(d, (size_t)(kk * o->cw) * sizeof *o->taps);
    if (!o->taps) return 0;
    memset(o->taps, 0, (size_t)(kk * o->cw) * sizeof *o->taps);
    for (int64_t c = 0; c < g->c; c++)
        for (int64_t t = 0; t < kk; t++) o->taps[(flipped ? kk - 1 - t : t) * o->cw + c] = w[c * kk + t];
    o->block = 1 + 16384 / (o->ow * g->c + 1);
    return 1;
}

/* Tile: `block` output rows, counted through all images. */
static void depthwise_rows(void *arg, int64_t i, int worker)
{
    (void)worker;
    const struct depthwise *o = arg;
    const struct lafs_conv *g = o->g;
    struct lafs_dw_row r = {.ow = o->ow, .w = g->w, .c = g->c, .k = g->k, .stride = g->stride, .taps = o->taps,
                            .cw = o->cw, .bias = o->b, .act = o->act};
    for (int64_t q = i * o->block; q < min64((i + 1) * o->block, g->n * o->oh); q++) {
        rows_under(g, o->x, q / o->oh, q % o->oh, NULL, r.row);
        r.y = o->y + q * o->ow * g->c;
        o->kern->dw_row(&r);
    }
}

void lafs_cpu_depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y)
{
    if (g->k > LAFS_CONV_MAX_K) {
        lafs_ref_depthwise(d, g, x, w, b, act, y);
        return;
    }
    struct depthwise o = {.x = x, .b = b, .act = act, .y = y};
    if (!begin_depthwise(&o, d, g, w, 0)) return;
    lafs_pool_for(d->pool, (g->n * o.oh + o.block - 1) / o.block, depthwise_rows, &o);
}

/* Every pixel of dx gathers from the outputs that it was a tap of. Tile: `block` rows of dx, counted through all
 * images. */
static void depthwise_back_rows(void *arg, int64_t tile, int worker)
{
    (void)worker;
    const struct depthwise *o = arg;
    const struct lafs_conv *g = o->g;
    struct lafs_dw_row r = {.ow = g->w, .w = o->ow, .c = g->c, .k = g->k, .stride = g->stride, .taps = o->taps,
                            .cw = o->cw};
    for (int64_t q = tile * o->block; q < min64((tile + 1) * o->block, g->n * g->h); q++) {
        int64_t i = q / g->h, iy = q % g->h;
        for (int ky = 0; ky < g->k; ky++) {
            int64_t oy = iy + (g->k - 1) / 2 - ky;
            int seen = oy >= 0 && oy % g->stride == 0 && oy / g->stride < o->oh;
            r.row[ky] = seen ? o->x + (i * o->oh + oy / g->stride) * o->ow * g->c : NULL;
        }
        r.y = o->y + q * g->w * g->c;
        o->kern->dw_back_row(&r);
    }
}

void lafs_cpu_depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    if (g->k > LAFS_CONV_MAX_K) {
        lafs_ref_depthwise_bwd_x(d, g, dy, w, dx);
        return;
    }
    struct depthwise o = {.x = dy, .y = dx};
    int same = g->stride == 1 && g->k % 2; /* then it is a depthwise convolution itself, with flipped taps */
    if (!begin_depthwise(&o, d, g, w, same)) return;
    if (same) lafs_pool_for(d->pool, (g->n * o.oh + o.block - 1) / o.block, depthwise_rows, &o);
    else lafs_pool_for(d->pool, (g->n * g->h + o.block - 1) / o.block, depthwise_back_rows, &o);
}

/* Fetches share `part` of `parts` of the pixels of strip r of image m, channels [from, to). */
static void fetch_strip(const struct weight_grad *o, int64_t m, int64_t r, int64_t from, int64_t to, int64_t part,
                        int64_t parts)
{
    enum { LINE = 16 };
    const struct lafs_conv *g = o->g;
    int64_t first = r * g->stride * g->w, rows = min64(o->strip, o->oh - r), n = min64(rows * g->stride, g->h) * g->w;
    const float *x = o->x + (m * g->h * g->w + first) * g->c, *dy = o->dy + (m * o->oh + r) * o->ow * g->c;
    n = min64(n, g->h * g->w - first);
    for (int64_t i = n * part / parts; i < n * (part + 1) / parts; i++)
        for (int64_t c = from; c < to; c += LINE) __builtin_prefetch(x + i * g->c + c, 0, 2);
    n = rows * o->ow;
    for (int64_t i = n * part / parts; i < n * (part + 1) / parts; i++)
        for (int64_t c = from; c < to; c += LINE) __builtin_prefetch(dy + i * g->c + c, 0, 2);
}

/* Tile: one group of images and CHANNELS channels. Strips of rows, which stay in cache, outside, vectors of channels
 * inside; pixels lie far apart, so while one strip is worked on the next is fetched. Group's sum: (vectors, k*k,
 * lanes). */
static void depthwise_grad(void *arg, int64_t i, int worker)
{
    const struct weight_grad *o = arg;
    const struct lafs_conv *g = o->g;
    int64_t group = i / o->blocks, lanes = o->kern->lanes, size = (int64_t)g->k * g->k * lanes;
    int64_t from = i % o->blocks * CHANNELS, to = min64(from + CHANNELS, g->c), end = group_start(o, group + 1);
    int64_t vectors = (to - from + lanes - 1) / lanes;
    float *sum = o->sum + group * o->size + from / lanes * size;
    memset(sum, 0, (size_t)(vectors * size) * sizeof *sum);
    for (int64_t m = group_start(o, group); m < end; m++)
        for (int64_t r = 0; r < o->oh; r += o->strip) {
            int last = r + o->strip >= o->oh;
            for (int64_t v = 0; v < vectors; v++) {
                int64_t c = from + v * lanes;
                struct lafs_dw_grad t = {.h = g->h, .w = g->w, .ow = o->ow, .c = g->c, .k = g->k, .stride = g->stride,
                                         .n = (int)min64(lanes, to - c), .from = r, .to = min64(r + o->strip, o->oh),
                                         .x = o->x + m * g->h * g->w * g->c + c,
                                         .dy = o->dy + (m * o->oh + r) * o->ow * g->c + c,
                                         .plane = lafs_cpu_scratch(o->d, worker), .sum = sum + v * size};
                if (!last || m + 1 < end)
                    fetch_strip(o, last ? m + 1 : m, last ? 0 : r + o->strip, from, to, v, vectors);
                o->kern->dw_weight(&t);
            }
        }
}

void lafs_cpu_depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    if (g->k > LAFS_CONV_MAX_K) {
        lafs_ref_depthwise_bwd_w(d, g, x, dy, dw);
        return;
    }
    struct weight_grad o;
    int64_t kk = (int64_t)g->k * g->k, lanes = lafs_conv_kernels()->lanes;
    if (!begin_grad(&o, d, g, x, dy, round_up(g->c, lanes) * kk)) return;
    o.blocks = (g->c + CHANNELS - 1) / CHANNELS;
    int64_t wide = (g->w + g->k) * lanes, plane = NEAR / wide;
    o.strip = min64(plane > g->k ? (plane - g->k) / g->stride + 1 : 1, o.oh); /* no result depends on it */
    if (!lafs_cpu_reserve(d, (size_t)(((o.strip - 1) * g->stride + g->k) * wide) * sizeof *x)) return;
    lafs_pool_for(d->pool, o.groups * o.blocks, depthwise_grad, &o);
    if (o.groups == 0) return;
    add_groups(&o);
    for (int64_t c = 0; c < g->c; c++)
        for (int64_t t = 0; t < kk; t++) dw[c * kk + t] += o.sum[(c / lanes * kk + t) * lanes + c % lanes];
}

/* -- pooling and upsampling -- */

struct resize {
    const struct lafs_conv_kernels *kern;
    int64_t w, c;
    const float *x;
    float *y;
};

static void pool_row(void *arg, int64_t r, int worker)
{
    (void)worker;
    const struct resize *o = arg;
    o->kern->maxpool_row(o->w, o->c, o->x + 2 * r * o->w * o->c, o->y + r * (o->w / 2) * o->c);
}

void lafs_cpu_maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    struct resize o = {lafs_conv_kernels(), w, c, x, y};
    lafs_pool_for(d->pool, n * (h / 2), pool_row, &o);
}

static void upsample_row(void *arg, int64_t r, int worker)
{
    (void)worker;
    const struct resize *o = arg;
    o->kern->upsample_row(o->w, o->c, o->x + r / 2 * o->w * o->c, o->y + r * 2 * o->w * o->c);
}

void lafs_cpu_upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    struct resize o = {lafs_conv_kernels(), w, c, x, y};
    lafs_pool_for(d->pool, n * 2 * h, upsample_row, &o);
}

struct resize_back {
    int64_t w, c;
    const float *x, *dy;
    float *dx;
};

/* Two rows of the input. */
static void pool_back_row(void *arg, int64_t r, int worker)
{
    (void)worker;
    const struct resize_back *o = arg;
    const int64_t wide = o->w * o->c, c = o->c;
    for (int64_t i = 0; i < o->w / 2; i++) {
        const float *a = o->x + 2 * r * wide + 2 * i * c, *b = a + wide, *dy = o->dy + (r * (o->w / 2) + i) * c;
        float *da = o->dx + 2 * r * wide + 2 * i * c, *db = da + wide;
        LAFS_EACH
        for (int64_t k = 0; k < c; k++) {
            float top = a[k] >= a[c + k] ? a[k] : a[c + k], low = b[k] >= b[c + k] ? b[k] : b[c + k];
            int up = top >= low, left = a[k] >= a[c + k], below = b[k] >= b[c + k];
            da[k] = up && left ? dy[k] : 0;
            da[c + k] = up && !left ? dy[k] : 0;
            db[k] = !up && below ? dy[k] : 0;
            db[c + k] = !up && !below ? dy[k] : 0;
        }
    }
}

void lafs_cpu_maxpool2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                           const float *dy, float *dx)
{
    struct resize_back o = {w, c, x, dy, dx};
    lafs_pool_for(d->pool, n * (h / 2), pool_back_row, &o);
}

static void upsample_back_row(void *arg, int64_t r, int worker)
{
    (void)worker;
    const struct resize_back *o = arg;
    const int64_t c = o->c;
    for (int64_t i = 0; i < o->w; i++) {
        const float *a = o->dy + (4 * r * o->w + 2 * i) * c, *b = a + 2 * o->w * c;
        float *dx = o->dx + (r * o->w + i) * c;
        LAFS_EACH
        for (int64_t k = 0; k < c; k++) dx[k] = ((a[k] + a[c + k]) + b[k]) + b[c + k];
    }
}

void lafs_cpu_upsample2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx)
{
    struct resize_back o = {w, c, NULL, dy, dx};
    lafs_pool_for(d->pool, n * h, upsample_back_row, &o);
}
