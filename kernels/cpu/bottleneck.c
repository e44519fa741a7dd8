/* Chains of inverted bottlenecks. A tile is a few images, carried through the whole chain by one worker: maps stay in
 * its cache. Inside a block, the expanded map lives only as planes of one vector of channels each:
 *
 *     for a strip of output rows (where the map is small: all of them)
 *         for a panel of up to kern->panel expanded channels
 *             product of the input's pixels with the panel, stored into padded planes (bias, act)
 *             each plane's depthwise convolution (bias, act, or the sums for the squeeze)
 *         product of the planes with the projection (bias, residual)
 *
 * With squeeze-and-excitation the projection waits until the whole map's means are there; its input is scaled in place
 * once. Every pixel is one chain of multiply-adds, so neither the strips nor the images that go together show. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/panels.h"

enum {
    LINE = 64,          /* bytes of a cache line */
    GROUP = 8,          /* images of a tile, at most */
    TOGETHER = 112,     /* pixels of images that go through a block together, so that its weights are read once */
    NEAR = 28 << 10,    /* bytes: what a panel of a strip should fit into */
    DEPTH = 192         /* depth of a projection's step: its weights stay in the nearest cache */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* -- packed weights -- */

/* A block's places in the packed weights, in floats; widths rounded up to whole vectors. */
struct places {
    int64_t mid, se, out;
    int64_t expand, expand_b, depth, depth_b, se1, se2, project, project_b, end;
};
static struct places places_of(const struct lafs_conv_kernels *kern, const struct lafs_bottleneck *g, int64_t start)
{
    struct places p = {lafs_round_up(g->mid, kern->lanes), lafs_round_up(g->se, kern->lanes),
                       lafs_round_up(g->out, kern->lanes), .expand = start};
    p.expand_b = p.expand + g->c * p.mid;
    p.depth = p.expand_b + p.mid;
    p.depth_b = p.depth + p.mid * g->k * g->k;
    p.se1 = p.depth_b + p.mid;
    p.se2 = p.se1 + g->mid * p.se;
    p.project = p.se2 + g->se * p.mid;
    p.project_b = p.project + p.mid * p.out;
    p.end = lafs_round_up(p.project_b + p.out, 16);
    return p;
}

size_t lafs_cpu_bottlenecks_size(int count, const struct lafs_bottleneck *g)
{
    int64_t at = 0;
    for (int i = 0; i < count; i++) at = places_of(lafs_conv_kernels(), &g[i], at).end;
    return (size_t)at * sizeof(float);
}

struct pack {
    const struct lafs_bottleneck *g;
    float *to;
};
enum { MATRICES = 4 }; /* of a block: a task each */

static void pack_matrix(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct pack *o = arg;
    const struct lafs_conv_kernels *kern = lafs_conv_kernels();
    const struct lafs_bottleneck *g = &o->g[task / MATRICES];
    float *to = o->to;
    struct places p =
        places_of(kern, g, (int64_t)(lafs_cpu_bottlenecks_size((int)(task / MATRICES), o->g) / sizeof *to));
    int64_t kk = (int64_t)g->k * g->k;
    switch (task % MATRICES) {
    case 0:
        lafs_panels_pack(kern, g->expand, g->mid, g->c, g->c, to + p.expand);
        lafs_bias_pack(g->expand_b, g->mid, p.mid, to + p.expand_b);
        break;
    case 1:
        lafs_taps_pack(kern, g->depth, g->mid, kk, p.mid, to + p.depth);
        lafs_bias_pack(g->depth_b, g->mid, p.mid, to + p.depth_b);
        if (g->se) lafs_panels_pack(kern, g->se1, g->se, g->mid, g->mid, to + p.se1);
        break;
    case 2:
        if (g->se) lafs_panels_pack(kern, g->se2, g->mid, g->se, g->se, to + p.se2);
        break;
    case 3:
        lafs_panels_pack(kern, g->project, g->out, g->mid, p.mid, to + p.project);
        lafs_bias_pack(g->project_b, g->out, p.out, to + p.project_b);
        break;
    }
}

void lafs_cpu_bottlenecks_pack(struct lafs_dev *d, int count, const struct lafs_bottleneck *g, void *packed)
{
    struct pack o = {g, packed};
    lafs_pool_for(d->pool, (int64_t)count * MATRICES, pack_matrix, &o);
}

/* -- how a block is cut -- */

struct cut {
    int64_t oh, ow, pad;
    int64_t width;   /* pixels of a padded row */
    int64_t strip;   /* output rows */
    int64_t rows;    /* input rows that a strip needs, and a plane holds: row y is at y % rows */
    int64_t images;  /* that go together; 1 unless the strip is the map */
};
static struct cut cut_of(const struct lafs_conv_kernels *kern, const struct lafs_bottleneck *g)
{
    struct cut c = {lafs_conv_side(g->h, g->k, g->stride), lafs_conv_side(g->w, g->k, g->stride), (g->k - 1) / 2};
    c.width = g->w + 2 * c.pad;
    int64_t fit = NEAR / ((int64_t)sizeof(float) * kern->panel * c.width); /* rows */
    c.strip = max64((fit - g->k) / g->stride + 1, 2);
    if (g->h <= fit || c.strip >= c.oh) {
        c.strip = c.oh;
        c.rows = g->h;
        c.images = min64(max64(TOGETHER / (g->h * g->w), 1), GROUP);
    } else {
        c.rows = max64((c.strip - 1) * g->stride + g->k, c.strip * g->stride);
        c.images = 1;
    }
    return c;
}

/* A worker's memory: what the greediest block needs of each. In floats. */
struct room_sizes {
    int64_t map, planes, mid, means, squeeze, place, rows, segs;
};
static void need(struct room_sizes *s, const struct lafs_conv_kernels *kern, const struct lafs_bottleneck *g, int inner)
{
    struct cut c = cut_of(kern, g);
    struct places p = places_of(kern, g, 0);
    int64_t plane = c.images * c.rows * c.width, pixels = c.images * (g->se ? c.oh : c.strip) * c.ow;
    s->map = max64(s->map, inner ? GROUP * c.oh * c.ow * g->out : 0);
    s->planes = max64(s->planes, plane * (c.strip == c.oh ? min64(kern->panel, p.mid) : p.mid));
    s->mid = max64(s->mid, pixels * p.mid);
    s->means = max64(s->means, c.images * p.mid);
    s->squeeze = max64(s->squeeze, c.images * p.se);
    s->place = max64(s->place, c.images * c.rows * g->w);
    s->rows = max64(s->rows, (c.strip - 1) * g->stride + g->k);
    s->segs = max64(s->segs, p.mid / kern->lanes);
}

struct room {
    float *map[2];      /* (GROUP, h, w, c): between blocks */
    float *planes;      /* of the expanded map */
    float *mid;         /* vectors of channels (images, pixels, lanes) */
    float *mean, *gate; /* (images, mid) */
    float *squeeze;     /* (images, se) */
    int32_t *place;     /* where pixels go in a plane */
    const float **row;  /* rows of a plane under a strip */
    const float **seg;  /* vectors of mid */
};
/* base NULL: only counts. */
static size_t carve(struct room *r, const struct room_sizes *s, char *base)
{
    size_t at = 0;
#define TAKE(to, n)                                      \
    (to) = base ? (void *)(base + at) : NULL;            \
    at += (size_t)lafs_round_up((n) * (int64_t)sizeof *(to), LINE)
    TAKE(r->map[0], s->map);
    TAKE(r->map[1], s->map);
    TAKE(r->planes, s->planes);
    TAKE(r->mid, s->mid);
    TAKE(r->mean, s->means);
    TAKE(r->gate, s->means);
    TAKE(r->squeeze, s->squeeze);
    TAKE(r->place, s->place);
    TAKE(r->row, s->rows);
    TAKE(r->seg, s->segs);
#undef TAKE
    return at;
}

/* -- one block -- */

struct work {
    const struct lafs_conv_kernels *kern;
    const struct lafs_bottleneck *g;
    struct places at;
    struct cut cut;
    const float *packed;
    int64_t images;
    const float *x; /* (images,h,w,c) */
    float *y;       /* (images,oh,ow,out) */
    struct room *r;
};

/* Floats of one image's part of a plane; a plane holds all images that go together. */
static int64_t plane_part(const struct work *w) { return w->cut.rows * w->cut.width * w->kern->lanes; }

/* The zeros at both ends of every row of the planes. */
static void clear_ends(const struct work *w, int64_t planes)
{
    int64_t lanes = w->kern->lanes, rows = planes * w->images * w->cut.rows;
    size_t end = (size_t)(w->cut.pad * lanes) * sizeof(float);
    float *p = w->r->planes;
    for (int64_t i = 0; i < rows; i++, p += w->cut.width * lanes) {
        memset(p, 0, end);
        memset(p + (w->cut.pad + w->g->w) * lanes, 0, end);
    }
}

/* Expanded rows [from, to) of all images for one panel, into planes from `plane` on. */
static void expand(const struct work *w, int64_t i, int64_t from, int64_t to, float *planes)
{
    const struct lafs_bottleneck *g = w->g;
    struct lafs_panel p = lafs_panel_at(w->kern, g->mid, i);
    const float *x = w->x + from * g->w * g->c;
    struct lafs_gemm_tile t = {.rows = w->images * (to - from) * g->w, .cols = p.wide, .wide = p.wide, .segs = 1,
                               .run = g->c, .lda = g->c, .a = &x, .panel = w->packed + w->at.expand + p.first * g->c,
                               .bias = w->packed + w->at.expand_b + p.first, .act = g->act, .y = planes,
                               .step = w->images * plane_part(w), .place = w->r->place};
    w->kern->gemm(&t);
}

/* Where the pixels of input rows [from, to) go. More than one image only with all rows. */
static void place_rows(const struct work *w, int64_t from, int64_t to)
{
    int32_t *p = w->r->place;
    for (int64_t m = 0; m < w->images; m++)
        for (int64_t y = from; y < to; y++)
            for (int64_t x = 0; x < w->g->w; x++)
                *p++ = (int32_t)(m * plane_part(w) +
                                 (y % w->cut.rows * w->cut.width + w->cut.pad + x) * w->kern->lanes);
}

/* Output rows [from, to) of the panel's planes, to mid: vector v of image m at mid + v*step + m*part. */
static void depthwise(const struct work *w, int64_t i, int64_t from, int64_t to, const float *planes, float *mid,
                      int64_t step, int64_t part)
{
    const struct lafs_bottleneck *g = w->g;
    struct lafs_panel p = lafs_panel_at(w->kern, g->mid, i);
    int64_t lanes = w->kern->lanes, first = from * g->stride - w->cut.pad, n = (to - from - 1) * g->stride + g->k;
    for (int64_t k = 0; k < n; k++) {
        int64_t y = first + k;
        w->r->row[k] = y < 0 || y >= g->h ? NULL : planes + y % w->cut.rows * w->cut.width * lanes;
    }
    for (int64_t v = 0; v < p.wide; v += lanes)
        for (int64_t m = 0; m < w->images; m++) {
            int64_t c = p.first + v;
            struct lafs_dw_plane t = {.oh = to - from, .ow = w->cut.ow, .k = g->k, .stride = g->stride,
                                      .row = w->r->row, .off = (v / lanes * w->images + m) * plane_part(w),
                                      .taps = w->packed + w->at.depth + c * g->k * g->k,
                                      .bias = w->packed + w->at.depth_b + c, .act = g->se ? LAFS_ACT_NONE : g->act,
                                      .n = (int)lanes, .y = mid + c / lanes * step + m * part, .step = lanes,
                                      .sum = g->se ? w->r->mean + m * w->at.mid + c : NULL};
            w->kern->dw_plane(&t);
        }
}

/* y (pixels,out) = mid projected; vector v of mid (pixels, lanes) at mid + v*step. x: what is added, or NULL. */
static void project(const struct work *w, int64_t pixels, const float *mid, int64_t step, const float *x, float *y)
{
    const struct lafs_bottleneck *g = w->g;
    int64_t lanes = w->kern->lanes, depth = w->at.mid;
    for (int64_t v = 0; v < depth / lanes; v++) w->r->seg[v] = mid + v * step;
    for (int64_t i = 0; i < lafs_panels_of(w->kern, g->out); i++) {
        struct lafs_panel p = lafs_panel_at(w->kern, g->out, i);
        for (int64_t q = 0; q < depth; q += DEPTH) {
            int64_t n = min64(DEPTH, depth - q);
            int last = q + n == depth;
            struct lafs_gemm_tile t = {.rows = pixels, .cols = min64(p.wide, g->out - p.first), .wide = p.wide,
                                       .segs = n / lanes, .run = lanes, .lda = lanes, .a = w->r->seg + q / lanes,
                                       .panel = w->packed + w->at.project + p.first * depth + q * p.wide,
                                       .bias = w->packed + w->at.project_b + p.first, .more = q > 0,
                                       .add = last && x ? x + p.first : NULL, .y = y + p.first, .ldy = g->out,
                                       .step = lanes};
            w->kern->gemm(&t);
        }
    }
}

/* y (images, cols rounded) = act(x (images, in; rows of ldx) w) */
static void connect(const struct work *w, const float *x, int64_t in, int64_t ldx, int64_t cols, const float *panels,
                    enum lafs_act act, float *y)
{
    for (int64_t i = 0; i < lafs_panels_of(w->kern, cols); i++) {
        struct lafs_panel p = lafs_panel_at(w->kern, cols, i);
        struct lafs_gemm_tile t = {.rows = w->images, .cols = p.wide, .wide = p.wide, .segs = 1, .run = in, .lda = ldx,
                                   .a = &x, .panel = panels + p.first * in, .act = act, .y = y + p.first,
                                   .ldy = lafs_round_up(cols, w->kern->lanes), .step = w->kern->lanes};
        w->kern->gemm(&t);
    }
}

/* Squeeze-and-excitation of mid, vectors of (images, pixels, lanes), in place. */
static void excite(const struct work *w, int64_t pixels)
{
    const struct lafs_bottleneck *g = w->g;
    struct room *r = w->r;
    int64_t lanes = w->kern->lanes, mid = w->at.mid;
    for (int64_t j = 0; j < w->images * mid; j++) r->mean[j] /= (float)pixels;
    connect(w, r->mean, g->mid, mid, g->se, w->packed + w->at.se1, LAFS_ACT_RELU, r->squeeze);
    connect(w, r->squeeze, g->se, w->at.se, g->mid, w->packed + w->at.se2, LAFS_ACT_HSIGMOID, r->gate);
    float *u = r->mid;
    for (int64_t v = 0; v < mid; v += lanes)
        for (int64_t m = 0; m < w->images; m++, u += pixels * lanes)
            w->kern->scale(pixels, r->gate + m * mid + v, g->act, u);
}

static void run_block(const struct work *w)
{
    const struct lafs_bottleneck *g = w->g;
    const struct cut *c = &w->cut;
    int64_t lanes = w->kern->lanes, whole = c->strip == c->oh, plane = w->images * plane_part(w), done = 0;
    clear_ends(w, (whole ? min64(w->kern->panel, w->at.mid) : w->at.mid) / lanes);
    if (g->se) memset(w->r->mean, 0, (size_t)(w->images * w->at.mid) * sizeof(float));
    for (int64_t from = 0; from < c->oh; from += c->strip) {
        int64_t to = min64(from + c->strip, c->oh), end = min64((to - 1) * g->stride - c->pad + g->k, g->h);
        int64_t part = (g->se ? c->oh : to - from) * c->ow * lanes, step = w->images * part;
        if (whole) end = g->h;
        place_rows(w, done, end);
        for (int64_t i = 0; i < lafs_panels_of(w->kern, g->mid); i++) {
            float *planes = w->r->planes + (whole ? 0 : lafs_panel_at(w->kern, g->mid, i).first / lanes * plane);
            expand(w, i, done, end, planes);
            depthwise(w, i, from, to, planes, w->r->mid + (g->se ? from * c->ow * lanes : 0), step, part);
        }
        done = end;
        if (g->se) continue;
        int64_t at = from * c->ow * g->out;
        project(w, w->images * (to - from) * c->ow, w->r->mid, step, g->residual ? w->x + at : NULL, w->y + at);
    }
    if (!g->se) return;
    excite(w, c->oh * c->ow);
    int64_t pixels = w->images * c->oh * c->ow;
    project(w, pixels, w->r->mid, pixels * lanes, g->residual ? w->x : NULL, w->y);
}

/* -- the chain -- */

struct chain {
    const struct lafs_conv_kernels *kern;
    const struct lafs_bottleneck *g;
    int count;
    int64_t n, groups;
    const float *packed, *x;
    float *y;
    struct room_sizes sizes;
    struct lafs_dev *d;
};

static void run_group(void *arg, int64_t tile, int worker)
{
    const struct chain *o = arg;
    struct room r;
    int64_t first = o->n * tile / o->groups, n = o->n * (tile + 1) / o->groups - first, start = 0;
    char *scratch = lafs_cpu_scratch(o->d, worker);
    carve(&r, &o->sizes, scratch + (LINE - (uintptr_t)scratch % LINE) % LINE);
    const float *x = o->x + first * o->g[0].h * o->g[0].w * o->g[0].c;
    for (int i = 0; i < o->count; i++) {
        const struct lafs_bottleneck *g = &o->g[i];
        struct work w = {.kern = o->kern, .g = g, .at = places_of(o->kern, g, start), .cut = cut_of(o->kern, g),
                         .packed = o->packed, .r = &r};
        int64_t in = g->h * g->w * g->c, out = w.cut.oh * w.cut.ow * g->out;
        float *y = i == o->count - 1 ? o->y + first * out : r.map[i % 2];
        for (int64_t m = 0; m < n; m += w.cut.images) {
            w.images = min64(w.cut.images, n - m);
            w.x = x + m * in;
            w.y = y + m * out;
            run_block(&w);
        }
        x = y;
        start = w.at.end;
    }
}

void lafs_cpu_bottlenecks(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g,
                          const void *packed, const float *x, float *y)
{
    struct chain o = {.kern = lafs_conv_kernels(), .g = g, .count = count, .n = n, .packed = packed, .x = x, .y = y,
                      .d = d};
    struct room r;
    if (n <= 0 || count <= 0) return;
    for (int i = 0; i < count; i++) need(&o.sizes, o.kern, &g[i], i < count - 1);
    /* As large as they may be, but as many for each worker: no result depends on it. */
    int64_t rounds = (n + GROUP * d->workers - 1) / (GROUP * d->workers);
    o.groups = min64(rounds * d->workers, n);
    if (lafs_cpu_reserve(d, carve(&r, &o.sizes, NULL) + LINE)) lafs_pool_for(d->pool, o.groups, run_group, &o);
}
