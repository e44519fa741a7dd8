/* Units of a network in training: a convolution and what belongs to the BatchNorms at both of its ends, tile by tile
 * while the tile is in cache. So a map is written once and read once each way, and what it becomes by BatchNorm and
 * activation is never stored:
 *
 *     forward    x's tile normed into scratch, convolved into y; the moments of y's tile
 *     backward   (y's slopes, unless the unit behind has summed them)
 *                the gradient of y's tile through its BatchNorm into scratch, x's tile normed into scratch;
 *                both into the weights' gradient; convolved back into dx; the slopes of x's tile
 *
 * Tiles of a 1x1 convolution are rows, of a depthwise one strips of rows of an image. The weights' gradient is summed
 * in groups of tiles that follow each other, each on one worker, and the groups in order. Tiles and groups depend on
 * the shape alone. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/norm2d.h"
#include "kernels/cpu/panels.h"

enum {
    GROUPS = 16,            /* of large sums of weights, .. */
    MANY = 64, SMALL = 8192, /* .. and of those of fewer floats */
    TILE = 24576,           /* floats that a tile of rows should have at both ends, in whole blocks of rows .. */
    BLOCK = 24,
    LEAST = 96, MOST = 504, /* .. within these */
    STRIP = 40960,          /* floats of the larger end of a depthwise strip */
    ADD = 4096,             /* floats of a block of sums */
    LINE = 16               /* floats */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

struct unit {
    const struct lafs_conv_kernels *kern;
    struct lafs_dev *d;
    const struct lafs_bn_unit *u;
    int64_t in, out, rows_in, rows_out; /* channels; rows of all images */
    int64_t tiles;
    int64_t step;                       /* 1x1: rows of a tile */
    int64_t oh, ow, cw;                 /* depthwise: sides of y; channels rounded up */
    int64_t strip, strips;              /* rows of y in a strip, strips of an image */
    /* shared by all tiles */
    float *packed;                      /* the weights; of packed_size floats */
    int64_t packed_size;
    float *scale_x, *scale_y;           /* gamma rstd */
    struct lafs_bn_parts parts;         /* going forward: what tiles sum of y; back: of x */
    struct lafs_bn_parts parts_y;       /* going back: of y, where nobody has summed it */
    /* backward */
    int back;
    const float *dy, *add;
    float *dx;
    float *total, *sum, *along;         /* (2,out), (out), (out) */
    float *dw;                          /* (groups, size) */
    int64_t groups, size;
};

/* A worker's room: y's gradient, what x stands for, a plane for dw_weight. */
struct room {
    float *dy, *x, *plane;
};

/* n floats at *at of base; base NULL: only counts. */
static float *take(float *base, int64_t *at, int64_t n)
{
    float *p = base ? base + *at : NULL;
    *at += lafs_round_up(n, LINE);
    return p;
}

static int64_t carve_room(const struct unit *o, float *base, struct room *r)
{
    const struct lafs_conv *g = &o->u->g;
    int64_t at = 0, rows = (o->strip - 1) * g->stride + g->k; /* of x under a strip */
    if (!o->u->depthwise) {
        r->x = take(base, &at, o->step * o->in);
        r->dy = take(base, &at, o->back * o->step * o->out);
        return at;
    }
    r->x = take(base, &at, min64(rows, g->h) * g->w * g->c);
    r->dy = take(base, &at, o->back * min64(o->strip + g->k, o->oh) * o->ow * g->c);
    r->plane = take(base, &at, o->back * rows * (g->w + g->k) * o->kern->lanes);
    return at;
}
static struct room room_of(const struct unit *o, int worker)
{
    struct room r = {0};
    carve_room(o, lafs_cpu_scratch(o->d, worker), &r);
    return r;
}

static int64_t carve_shared(struct unit *o, float *base)
{
    int64_t at = 0;
    o->packed = take(base, &at, o->packed_size);
    o->scale_x = take(base, &at, o->in);
    o->scale_y = take(base, &at, o->out);
    o->parts.part = take(base, &at, 2 * o->parts.tiles * o->parts.c);
    if (!o->back) return at;
    o->parts_y.part = take(base, &at, 2 * o->parts_y.tiles * o->out);
    o->total = take(base, &at, 2 * o->out);
    o->sum = take(base, &at, o->out);
    o->along = take(base, &at, o->out);
    o->dw = take(base, &at, o->groups * o->size);
    return at;
}

/* All memory that the op takes. 0: there is not as much. */
static int reserve(struct unit *o)
{
    struct room r;
    float *base = lafs_cpu_shared(o->d, (size_t)carve_shared(o, NULL) * sizeof *base);
    if (base) carve_shared(o, base);
    return base && lafs_cpu_reserve(o->d, (size_t)carve_room(o, NULL, &r) * sizeof *base);
}

static void scale_of(const struct lafs_bn_map *m, int64_t c, float *scale)
{
    for (int64_t k = 0; m->mean && k < c; k++) scale[k] = m->rstd[k] * m->gamma[k];
}

/* Rows of x as it stands for, in scratch unless it is stored so. at: of the first value. */
static const float *normed_rows(const struct unit *o, int64_t rows, int64_t at, float *scratch)
{
    const struct lafs_bn_map *x = &o->u->x;
    if (!x->mean) return x->conv + at;
    struct lafs_bn_tile t = {.rows = rows, .c = o->in, .act = x->act, .x = x->conv + at, .mean = x->mean,
                             .scale = o->scale_x, .beta = x->beta, .y = scratch};
    o->kern->bn_norm(&t);
    return scratch;
}

/* The gradient of rows of y.conv. */
static void back_rows(const struct unit *o, int64_t rows, int64_t at, float *scratch)
{
    const struct lafs_bn_map *y = &o->u->y;
    struct lafs_bn_tile t = {.rows = rows, .c = o->out, .act = y->act, .x = y->conv + at, .dy = o->dy + at,
                             .mean = y->mean, .scale = o->scale_y, .beta = y->beta, .sum = o->sum, .along = o->along,
                             .y = scratch};
    o->kern->bn_back(&t);
}

/* The slopes of rows of map m, whose gradient is dm, to part (2,c). */
static void slope_rows(const struct unit *o, const struct lafs_bn_map *m, const float *scale, const float *dm,
                       int64_t c, int64_t rows, int64_t at, float *part)
{
    struct lafs_bn_tile t = {.rows = rows, .c = c, .act = m->act, .x = m->conv + at, .dy = dm + at, .mean = m->mean,
                             .scale = scale, .beta = m->beta, .sum = part, .along = part + c};
    o->kern->bn_slopes(&t);
}

static void slopes_tile(void *arg, int64_t tile, int worker)
{
    const struct unit *o = arg;
    const struct lafs_bn_parts *p = &o->parts_y;
    (void)worker;
    int64_t first = tile * p->tile_rows;
    slope_rows(o, &o->u->y, o->scale_y, o->dy, o->out, min64(p->tile_rows, p->rows - first), first * o->out,
               p->part + tile * 2 * o->out);
}

/* A block of the weights' gradient: the groups in order. */
static void add_block(void *arg, int64_t block, int worker)
{
    const struct unit *o = arg;
    (void)worker;
    int64_t first = block * ADD, n = min64(ADD, o->size - first);
    float *to = o->dw + first;
    for (int64_t k = 1; k < o->groups; k++)
        LAFS_EACH
        for (int64_t j = 0; j < n; j++) to[j] += to[k * o->size + j];
}

/* -- 1x1 -- */

static void begin_point(struct unit *o)
{
    const struct lafs_conv *g = &o->u->g;
    o->step = min64(max64(TILE / (g->c + g->out) / BLOCK * BLOCK, LEAST), MOST);
    o->tiles = (o->rows_in + o->step - 1) / o->step;
    o->parts = lafs_bn_parts_of(o->rows_in, o->back ? o->in : o->out, o->step);
    o->packed_size = o->back ? o->out * lafs_round_up(o->in, o->kern->lanes)
                             : o->in * lafs_round_up(o->out, o->kern->lanes);
    o->size = o->in * o->out;
}

static void pack_point(const struct unit *o)
{
    if (o->back) lafs_panels_turn(o->kern, o->u->w, o->in, o->out, o->packed);
    else lafs_panels_pack(o->kern, o->u->w, o->out, o->in, o->in, o->packed);
}

/* y (rows, cols) = a w (+ add), w packed, a (rows, depth) */
static void product(const struct unit *o, int64_t rows, const float *a, int64_t depth, int64_t cols, const float *add,
                    float *y)
{
    for (int64_t i = 0; i < lafs_panels_of(o->kern, cols); i++) {
        struct lafs_panel p = lafs_panel_at(o->kern, cols, i);
        struct lafs_gemm_tile t = {.rows = rows, .wide = p.wide, .cols = min64(cols - p.first, p.wide), .segs = 1,
                                   .run = depth, .lda = depth, .a = &a, .step = o->kern->lanes,
                                   .panel = o->packed + p.first * depth, .add = add ? add + p.first : NULL,
                                   .y = y + p.first, .ldy = cols};
        o->kern->gemm(&t);
    }
}

static void point_tile(void *arg, int64_t tile, int worker)
{
    const struct unit *o = arg;
    struct room r = room_of(o, worker);
    int64_t first = tile * o->step, rows = min64(o->step, o->rows_in - first);
    const float *x = normed_rows(o, rows, first * o->in, r.x);
    float *y = o->u->y.conv + first * o->out, *part = o->parts.part + tile * 2 * o->out;
    product(o, rows, x, o->in, o->out, NULL, y);
    if (o->u->train) o->kern->bn_moments(rows, o->out, y, part, part + o->out);
}

static void point_back(const struct unit *o, int64_t tile, const struct room *r, float *dw)
{
    int64_t first = tile * o->step, rows = min64(o->step, o->rows_in - first), at = first * o->in;
    back_rows(o, rows, first * o->out, r->dy);
    const float *x = normed_rows(o, rows, at, r->x);
    struct lafs_cross_tile cross = {rows, o->out, o->in, r->dy, x, dw, o->out, o->in, o->in};
    o->kern->cross(&cross);
    product(o, rows, r->dy, o->out, o->in, o->add ? o->add + at : NULL, o->dx + at);
    if (o->parts.tiles)
        slope_rows(o, &o->u->x, o->scale_x, o->dx, o->in, rows, at, o->parts.part + tile * 2 * o->in);
}

/* -- depthwise -- */

/* Output rows [from, to) of a strip, and what it takes of the other maps. */
struct strip {
    int64_t image, from, to;
    int64_t top, bottom;   /* input rows under its taps */
    int64_t first, end;    /* rows of dx that are its own */
    int64_t before, after; /* output rows that have them under their taps */
};
static struct strip strip_at(const struct unit *o, int64_t tile)
{
    const struct lafs_conv *g = &o->u->g;
    int64_t p = (g->k - 1) / 2, s = g->stride;
    struct strip t = {.image = tile / o->strips, .from = tile % o->strips * o->strip};
    t.to = min64(t.from + o->strip, o->oh);
    t.top = max64(t.from * s - p, 0);
    t.bottom = min64((t.to - 1) * s - p + g->k, g->h);
    t.first = min64(t.from * s, g->h);
    t.end = t.to == o->oh ? g->h : min64(t.to * s, g->h);
    t.before = min64(max64(t.first + p - (g->k - 1) + s - 1, 0) / s, t.from);
    t.after = max64(min64((t.end - 1 + p) / s + 1, o->oh), t.to);
    return t;
}

static void begin_depth(struct unit *o)
{
    const struct lafs_conv *g = &o->u->g;
    o->cw = lafs_round_up(g->c, o->kern->lanes);
    int64_t rows = STRIP / (g->w * g->c), most = max64((rows - g->k) / g->stride + 1, 1);
    o->strips = (o->oh + most - 1) / most;
    o->strip = (o->oh + o->strips - 1) / o->strips;
    o->strips = (o->oh + o->strip - 1) / o->strip;
    o->tiles = g->n * o->strips;
    /* Tiles have as many rows as strips have, of one end or the other, image by image. */
    o->parts = (struct lafs_bn_parts){.c = g->c, .tiles = o->tiles, .cycle = o->strips};
    o->parts.tile_rows = o->back ? o->strip * g->stride * g->w : o->strip * o->ow;
    o->parts.cycle_rows = o->back ? g->h * g->w : o->oh * o->ow;
    o->parts.rows = g->n * o->parts.cycle_rows;
    o->packed_size = o->size = (int64_t)g->k * g->k * o->cw;
}

/* A convolution of stride 1 is one itself when it goes back, with its taps in reverse order. */
static int turns(const struct lafs_conv *g) { return g->stride == 1 && g->k % 2; }

/* (kk, cw), as dw_row takes them */
static void pack_depth(const struct unit *o)
{
    int64_t kk = (int64_t)o->u->g.k * o->u->g.k;
    int flipped = o->back && turns(&o->u->g);
    memset(o->packed, 0, (size_t)(kk * o->cw) * sizeof *o->packed);
    for (int64_t c = 0; c < o->in; c++)
        for (int64_t t = 0; t < kk; t++) o->packed[(flipped ? kk - 1 - t : t) * o->cw + c] = o->u->w[c * kk + t];
}

static void depth_tile(void *arg, int64_t tile, int worker)
{
    const struct unit *o = arg;
    const struct lafs_conv *g = &o->u->g;
    struct strip s = strip_at(o, tile);
    struct room room = room_of(o, worker);
    int64_t wide = g->w * g->c, out = o->ow * g->c;
    const float *x = normed_rows(o, (s.bottom - s.top) * g->w, (s.image * g->h + s.top) * wide, room.x);
    float *y = o->u->y.conv + (s.image * o->oh + s.from) * out, *part = o->parts.part + tile * 2 * g->c;
    struct lafs_dw_row r = {.ow = o->ow, .w = g->w, .c = g->c, .k = g->k, .stride = g->stride, .taps = o->packed,
                            .cw = o->cw};
    for (int64_t oy = s.from; oy < s.to; oy++) {
        for (int ky = 0; ky < g->k; ky++) {
            int64_t iy = oy * g->stride + ky - (g->k - 1) / 2;
            r.row[ky] = iy < 0 || iy >= g->h ? NULL : x + (iy - s.top) * wide;
        }
        r.y = y + (oy - s.from) * out;
        o->kern->dw_row(&r);
    }
    if (o->u->train) o->kern->bn_moments((s.to - s.from) * o->ow, g->c, y, part, part + g->c);
}

/* The strip's rows of dx, from those of dy (.., ow, c), which begin at row s->before. */
static void depth_back_rows(const struct unit *o, const struct strip *s, const float *dy)
{
    const struct lafs_conv *g = &o->u->g;
    int64_t p = (g->k - 1) / 2;
    int same = turns(g);
    struct lafs_dw_row r = {.ow = g->w, .w = o->ow, .c = g->c, .k = g->k, .stride = g->stride, .taps = o->packed,
                            .cw = o->cw};
    for (int64_t iy = s->first; iy < s->end; iy++) {
        for (int ky = 0; ky < g->k; ky++) {
            int64_t oy = same ? iy + ky - p : iy + p - ky;
            int seen = oy >= 0 && oy % g->stride == 0 && oy / g->stride < o->oh;
            r.row[ky] = seen ? dy + (oy / g->stride - s->before) * o->ow * g->c : NULL;
        }
        r.y = o->dx + (s->image * g->h + iy) * g->w * g->c;
        if (same) o->kern->dw_row(&r);
        else o->kern->dw_back_row(&r);
    }
}

static void depth_back(const struct unit *o, int64_t tile, const struct room *r, float *dw)
{
    const struct lafs_conv *g = &o->u->g;
    struct strip s = strip_at(o, tile);
    int64_t lanes = o->kern->lanes, kk = (int64_t)g->k * g->k, wide = g->w * g->c, out = o->ow * g->c;
    back_rows(o, (s.after - s.before) * o->ow, (s.image * o->oh + s.before) * out, r->dy);
    const float *x = normed_rows(o, (s.bottom - s.top) * g->w, (s.image * g->h + s.top) * wide, r->x);
    for (int64_t c = 0; c < g->c; c += lanes) {
        struct lafs_dw_grad grad = {.h = g->h, .w = g->w, .ow = o->ow, .c = g->c, .k = g->k, .stride = g->stride,
                                    .n = (int)min64(lanes, g->c - c), .from = s.from, .to = s.to, .x = x + c,
                                    .top = s.top, .dy = r->dy + (s.from - s.before) * out + c, .plane = r->plane,
                                    .sum = dw + c * kk};
        o->kern->dw_weight(&grad);
    }
    depth_back_rows(o, &s, r->dy);
    if (o->parts.tiles)
        slope_rows(o, &o->u->x, o->scale_x, o->dx, g->c, (s.end - s.first) * g->w, (s.image * g->h + s.first) * wide,
                   o->parts.part + tile * 2 * g->c);
}

/* -- the ops -- */

static struct unit begin(struct lafs_dev *d, const struct lafs_bn_unit *u, int back)
{
    const struct lafs_conv *g = &u->g;
    struct unit o = {.kern = lafs_conv_kernels(), .d = d, .u = u, .in = g->c, .out = g->out, .back = back,
                     .oh = lafs_conv_side(g->h, g->k, g->stride), .ow = lafs_conv_side(g->w, g->k, g->stride)};
    o.rows_in = g->n * g->h * g->w;
    o.rows_out = g->n * o.oh * o.ow;
    if (o.rows_out <= 0) return o;
    if (u->depthwise) begin_depth(&o);
    else begin_point(&o);
    o.groups = min64(o.tiles, o.size <= SMALL ? MANY : GROUPS);
    return o;
}

static void pack(const struct unit *o)
{
    if (o->u->depthwise) pack_depth(o);
    else pack_point(o);
    scale_of(&o->u->x, o->in, o->scale_x);
    if (o->back) scale_of(&o->u->y, o->out, o->scale_y);
}

void lafs_cpu_unit(struct lafs_dev *d, const struct lafs_bn_unit *u, float momentum, float *run_mean, float *run_var)
{
    if (u->g.k > LAFS_CONV_MAX_K) {
        lafs_ref_unit(d, u, momentum, run_mean, run_var);
        return;
    }
    struct unit o = begin(d, u, 0);
    if (!o.tiles || !reserve(&o)) return;
    pack(&o);
    lafs_pool_for(d->pool, o.tiles, u->depthwise ? depth_tile : point_tile, &o);
    if (u->train) lafs_bn_take_moments(&o.parts, momentum, run_mean, run_var, u->y.mean, u->y.rstd);
    else lafs_bn_take_running(o.out, run_mean, run_var, u->y.mean, u->y.rstd);
}

static void back_group(void *arg, int64_t group, int worker)
{
    const struct unit *o = arg;
    struct room r = room_of(o, worker);
    float *dw = o->dw + group * o->size;
    memset(dw, 0, (size_t)o->size * sizeof *dw);
    for (int64_t t = o->tiles * group / o->groups; t < o->tiles * (group + 1) / o->groups; t++)
        (o->u->depthwise ? depth_back : point_back)(o, t, &r, dw);
}

/* What a group has summed, (vectors, kk, lanes) where it is of taps, added to dw. */
static void add_sums(const struct unit *o, float *dw)
{
    int64_t kk = (int64_t)o->u->g.k * o->u->g.k, lanes = o->kern->lanes;
    if (!o->u->depthwise) {
        for (int64_t j = 0; j < o->size; j++) dw[j] += o->dw[j];
        return;
    }
    for (int64_t c = 0; c < o->in; c++)
        for (int64_t t = 0; t < kk; t++) dw[c * kk + t] += o->dw[(c / lanes * kk + t) * lanes + c % lanes];
}

void lafs_cpu_unit_bwd(struct lafs_dev *d, const struct lafs_bn_unit *u, const float *dy, const float *of_y,
                       const float *add, float *dx, float *of_x, float *dw, float *dgamma, float *dbeta)
{
    if (u->g.k > LAFS_CONV_MAX_K) {
        lafs_ref_unit_bwd(d, u, dy, of_y, add, dx, of_x, dw, dgamma, dbeta);
        return;
    }
    struct unit o = begin(d, u, 1);
    if (!o.tiles) return;
    o.dy = dy;
    o.add = add;
    o.dx = dx;
    if (!u->x.mean || !of_x) o.parts.tiles = 0; /* nothing is summed of x */
    if (!of_y) o.parts_y = lafs_bn_parts_of(o.rows_out, o.out, min64(max64(TILE / o.out, LEAST), MOST));
    if (!reserve(&o)) return;
    pack(&o);
    if (!of_y) {
        lafs_pool_for(d->pool, o.parts_y.tiles, slopes_tile, &o);
        lafs_bn_take_slopes(&o.parts_y, o.total);
        of_y = o.total;
    }
    lafs_bn_take_gradients(o.rows_out, o.out, u->train, of_y, u->y.rstd, dgamma, dbeta, o.sum, o.along);
    lafs_pool_for(d->pool, o.groups, back_group, &o);
    lafs_pool_for(d->pool, (o.size + ADD - 1) / ADD, add_block, &o);
    add_sums(&o, dw);
    if (o.parts.tiles) lafs_bn_take_slopes(&o.parts, of_x);
}

/* -- a map as it stands for -- */

struct out {
    struct lafs_bn_tile t; /* of all rows */
    int64_t step;
    const struct lafs_conv_kernels *kern;
};
static void out_tile(void *arg, int64_t tile, int worker)
{
    const struct out *o = arg;
    (void)worker;
    int64_t first = tile * o->step, at = first * o->t.c;
    struct lafs_bn_tile t = o->t;
    t.rows = min64(o->step, o->t.rows - first);
    t.x += at;
    t.y += at;
    if (t.add) t.add += at;
    o->kern->bn_norm(&t);
}

void lafs_cpu_unit_out(struct lafs_dev *d, int64_t rows, int64_t c, const struct lafs_bn_map *x, const float *add,
                       float *y)
{
    struct out o = {{.rows = rows, .c = c, .act = x->act, .x = x->conv, .mean = x->mean, .beta = x->beta, .add = add,
                     .y = y}, max64(TILE / c, 1), lafs_conv_kernels()};
    float *scale = lafs_cpu_shared(d, (size_t)c * sizeof *scale);
    if (!scale) return;
    scale_of(x, c, scale);
    o.t.scale = scale;
    lafs_pool_for(d->pool, (rows + o.step - 1) / o.step, out_tile, &o);
}
