/* Chains of inverted bottlenecks. Inside a block, the expanded map lives only as planes of one vector of channels each.
 * Where the map is large, a block goes by strips of output rows:
 *
 *     for a strip
 *         for a panel of up to kern->panel expanded channels
 *             product of the input's pixels with the panel, stored into padded planes (bias, act)
 *             each plane's depthwise convolution (bias, act)
 *         product of the planes with the projection (bias, residual)
 *
 * Where it is small, or squeeze-and-excitation needs the whole map's means, it goes by panels: all rows of each, and
 * their sums for the squeeze, then the squeeze, the scaling in place, and the projection.
 *
 * A tile is a few images, carried through the whole chain by one worker: maps stay in its cache. Fewer images than
 * workers are cut inside the blocks: by bands of rows, or step by step by panels, with a meeting of all workers behind
 * each. Every pixel is one chain of multiply-adds, and every mean one sum over the rows: so neither strips, bands nor
 * panels show, nor the images that go together. */
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
    int by_strips;   /* else by panels */
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
    c.by_strips = c.strip < c.oh && !g->se;
    return c;
}

/* What the greediest block needs of each kind of memory, in floats. */
struct room_sizes {
    int64_t planes, strip, place, rows, segs; /* a worker's */
    int64_t map, mid, means, squeeze;         /* an image's */
};
static void need(struct room_sizes *s, const struct lafs_conv_kernels *kern, const struct lafs_bottleneck *g, int inner)
{
    struct cut c = cut_of(kern, g);
    struct places p = places_of(kern, g, 0);
    int64_t plane = c.images * c.rows * c.width;
    s->planes = max64(s->planes, plane * (c.by_strips ? p.mid : min64(kern->panel, p.mid)));
    s->strip = max64(s->strip, c.by_strips ? c.strip * c.ow * p.mid : 0);
    s->place = max64(s->place, c.images * c.rows * g->w);
    s->rows = max64(s->rows, (c.strip - 1) * g->stride + g->k);
    s->segs = max64(s->segs, p.mid / kern->lanes);
    s->map = max64(s->map, inner ? c.oh * c.ow * g->out : 0);
    s->mid = max64(s->mid, c.by_strips ? 0 : c.oh * c.ow * p.mid);
    s->means = max64(s->means, g->se ? p.mid : 0);
    s->squeeze = max64(s->squeeze, p.se);
}

#define TAKE(to, n)                                      \
    (to) = base ? (void *)(base + at) : NULL;            \
    at += (size_t)lafs_round_up((n) * (int64_t)sizeof *(to), LINE)

/* A worker's own. */
struct room {
    float *planes;      /* of the expanded map */
    float *strip;       /* vectors of channels (pixels of a strip, lanes) */
    int32_t *place;     /* where pixels go in a plane */
    const float **row;  /* rows of a plane under a strip */
    const float **seg;  /* vectors of what is projected */
};
/* base NULL: only counts. */
static size_t carve_room(struct room *r, const struct room_sizes *s, char *base)
{
    size_t at = 0;
    TAKE(r->planes, s->planes);
    TAKE(r->strip, s->strip);
    TAKE(r->place, s->place);
    TAKE(r->row, s->rows);
    TAKE(r->seg, s->segs);
    return at;
}

/* What belongs to images: one worker's, or all workers' who share them. */
struct maps {
    float *map[2];      /* (images, h, w, c): between blocks */
    float *mid;         /* vectors of channels (images, pixels, lanes) */
    float *mean, *gate; /* (images, mid) */
    float *squeeze;     /* (images, se) */
};
/* For `images`, of which `together` are in the same block at a time. */
static size_t carve_maps(struct maps *m, const struct room_sizes *s, int64_t images, int64_t together, char *base)
{
    size_t at = 0;
    TAKE(m->map[0], images * s->map);
    TAKE(m->map[1], images * s->map);
    TAKE(m->mid, together * s->mid);
    TAKE(m->mean, together * s->means);
    TAKE(m->gate, together * s->means);
    TAKE(m->squeeze, together * s->squeeze);
    return at;
}
#undef TAKE

static char *aligned(void *p) { return (char *)p + (LINE - (uintptr_t)p % LINE) % LINE; }

/* -- one block -- */

/* Images that go together through a block. */
struct work {
    const struct lafs_conv_kernels *kern;
    const struct lafs_bottleneck *g;
    struct places at;
    struct cut cut;
    const float *packed;
    int64_t images;
    const float *x; /* (images,h,w,c) */
    float *y;       /* (images,oh,ow,out) */
    float *mid, *mean, *gate, *squeeze; /* as in struct maps */
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
    memset(p, 0, end);
    for (int64_t i = 0; i < rows; i++, p += w->cut.width * lanes) /* a row's end, and the next one's start behind it */
        memset(p + (w->cut.pad + w->g->w) * lanes, 0, i < rows - 1 ? 2 * end : end);
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
                                      .sum = g->se ? w->mean + m * w->at.mid + c : NULL};
            w->kern->dw_plane(&t);
        }
}

/* Pixels that are projected: vector v of them (pixels, lanes) at mid + v*step. x: what is added, or NULL. */
struct projection {
    const float *mid, *x;
    int64_t step;
    float *y; /* (pixels,out) */
};

/* Panel i of pixels [from, to). */
static void project(const struct work *w, const struct projection *p, int64_t i, int64_t from, int64_t to)
{
    const struct lafs_bottleneck *g = w->g;
    int64_t lanes = w->kern->lanes, depth = w->at.mid;
    struct lafs_panel c = lafs_panel_at(w->kern, g->out, i);
    for (int64_t v = 0; v < depth / lanes; v++) w->r->seg[v] = p->mid + v * p->step + from * lanes;
    for (int64_t q = 0; q < depth; q += DEPTH) {
        int64_t n = min64(DEPTH, depth - q), at = from * g->out + c.first;
        struct lafs_gemm_tile t = {.rows = to - from, .cols = min64(c.wide, g->out - c.first), .wide = c.wide,
                                   .segs = n / lanes, .run = lanes, .lda = lanes, .a = w->r->seg + q / lanes,
                                   .panel = w->packed + w->at.project + c.first * depth + q * c.wide,
                                   .bias = w->packed + w->at.project_b + c.first, .more = q > 0,
                                   .add = q + n == depth && p->x ? p->x + at : NULL, .y = p->y + at, .ldy = g->out,
                                   .step = lanes};
        w->kern->gemm(&t);
    }
}

/* -- a block by strips: one image -- */

/* Output rows [first, last). */
static void run_strips(const struct work *w, int64_t first, int64_t last)
{
    const struct lafs_bottleneck *g = w->g;
    const struct cut *c = &w->cut;
    int64_t lanes = w->kern->lanes, done = max64(first * g->stride - c->pad, 0);
    clear_ends(w, w->at.mid / lanes);
    for (int64_t from = first; from < last; from += c->strip) {
        int64_t to = min64(from + c->strip, last), part = (to - from) * c->ow * lanes;
        int64_t end = min64((to - 1) * g->stride - c->pad + g->k, g->h), at = from * c->ow * g->out;
        place_rows(w, done, end);
        for (int64_t i = 0; i < lafs_panels_of(w->kern, g->mid); i++) {
            float *planes = w->r->planes + lafs_panel_at(w->kern, g->mid, i).first / lanes * plane_part(w);
            expand(w, i, done, end, planes);
            depthwise(w, i, from, to, planes, w->r->strip, part, part);
        }
        done = end;
        struct projection p = {w->r->strip, g->residual ? w->x + at : NULL, part, w->y + at};
        for (int64_t i = 0; i < lafs_panels_of(w->kern, g->out); i++) project(w, &p, i, 0, (to - from) * c->ow);
    }
}

/* -- a block by panels: its steps, of which each needs all of the one before it -- */

static int64_t pixels(const struct work *w) { return w->cut.oh * w->cut.ow; }

/* Panel i of the expanded map through its depthwise convolution, and its means. The planes' ends are clear. */
static void run_panel(const struct work *w, int64_t i)
{
    const struct lafs_bottleneck *g = w->g;
    const struct cut *c = &w->cut;
    struct lafs_panel p = lafs_panel_at(w->kern, g->mid, i);
    int64_t lanes = w->kern->lanes, part = pixels(w) * lanes, done = 0;
    for (int64_t m = 0; g->se && m < w->images; m++)
        memset(w->mean + m * w->at.mid + p.first, 0, (size_t)p.wide * sizeof(float));
    for (int64_t from = 0; from < c->oh; from += c->strip) {
        int64_t to = min64(from + c->strip, c->oh);
        int64_t end = c->strip == c->oh ? g->h : min64((to - 1) * g->stride - c->pad + g->k, g->h);
        place_rows(w, done, end);
        expand(w, i, done, end, w->r->planes);
        depthwise(w, i, from, to, w->r->planes, w->mid + from * c->ow * lanes, w->images * part, part);
        done = end;
    }
    for (int64_t m = 0; g->se && m < w->images; m++)
        for (int64_t j = p.first; j < p.first + p.wide; j++) w->mean[m * w->at.mid + j] /= (float)pixels(w);
}

/* Panel i of y (images, cols rounded) = act(x (images, in; rows of ldx) w) */
static void connect(const struct work *w, int64_t i, const float *x, int64_t in, int64_t ldx, int64_t cols,
                    const float *panels, enum lafs_act act, float *y)
{
    struct lafs_panel p = lafs_panel_at(w->kern, cols, i);
    struct lafs_gemm_tile t = {.rows = w->images, .cols = p.wide, .wide = p.wide, .segs = 1, .run = in, .lda = ldx,
                               .a = &x, .panel = panels + p.first * in, .act = act, .y = y + p.first,
                               .ldy = lafs_round_up(cols, w->kern->lanes), .step = w->kern->lanes};
    w->kern->gemm(&t);
}

/* Panel i of the squeeze. */
static void squeeze(const struct work *w, int64_t i)
{
    connect(w, i, w->mean, w->g->mid, w->at.mid, w->g->se, w->packed + w->at.se1, LAFS_ACT_RELU, w->squeeze);
}

/* The gates of panel i, and mid scaled by them. */
static void excite(const struct work *w, int64_t i)
{
    const struct lafs_bottleneck *g = w->g;
    struct lafs_panel p = lafs_panel_at(w->kern, g->mid, i);
    int64_t lanes = w->kern->lanes, part = pixels(w) * lanes;
    connect(w, i, w->squeeze, g->se, w->at.se, g->mid, w->packed + w->at.se2, LAFS_ACT_HSIGMOID, w->gate);
    float *u = w->mid + p.first * w->images * pixels(w);
    for (int64_t v = p.first; v < p.first + p.wide; v += lanes)
        for (int64_t m = 0; m < w->images; m++, u += part)
            w->kern->scale(pixels(w), w->gate + m * w->at.mid + v, g->act, u);
}

/* Panel i of the projection, pixels [from, to) of all images. */
static void project_panel(const struct work *w, int64_t i, int64_t from, int64_t to)
{
    struct projection p = {w->mid, w->g->residual ? w->x : NULL, w->images * pixels(w) * w->kern->lanes, w->y};
    project(w, &p, i, from, to);
}

static void run_panels(const struct work *w)
{
    const struct lafs_bottleneck *g = w->g;
    int64_t mid = lafs_panels_of(w->kern, g->mid);
    clear_ends(w, min64(w->kern->panel, w->at.mid) / w->kern->lanes);
    for (int64_t i = 0; i < mid; i++) run_panel(w, i);
    for (int64_t i = 0; g->se && i < lafs_panels_of(w->kern, g->se); i++) squeeze(w, i);
    for (int64_t i = 0; g->se && i < mid; i++) excite(w, i);
    for (int64_t i = 0; i < lafs_panels_of(w->kern, g->out); i++) project_panel(w, i, 0, w->images * pixels(w));
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

/* A block as a chain takes it through its `images`: from x to y. */
struct block {
    const struct chain *o;
    const struct lafs_bottleneck *g;
    struct places at;
    struct cut cut;
    const float *x;
    float *y;
    struct maps *maps;
};
static struct block block_of(const struct chain *o, int i, int64_t start, struct maps *maps, const float *x,
                             float *last)
{
    const struct lafs_bottleneck *g = &o->g[i];
    return (struct block){o, g, places_of(o->kern, g, start), cut_of(o->kern, g), x,
                          i == o->count - 1 ? last : maps->map[i % 2], maps};
}

/* Images first..first+n-1 of the block; those before `kept` have a place of their own beside them in mid. */
static struct work work_of(const struct block *b, struct room *r, int64_t first, int64_t n, int64_t kept)
{
    const struct lafs_bottleneck *g = b->g;
    int64_t out = b->cut.oh * b->cut.ow;
    return (struct work){.kern = b->o->kern, .g = g, .at = b->at, .cut = b->cut, .packed = b->o->packed, .images = n,
                         .x = b->x + first * g->h * g->w * g->c, .y = b->y + first * out * g->out, .r = r,
                         .mid = b->maps->mid + kept * out * b->at.mid, .mean = b->maps->mean + kept * b->at.mid,
                         .gate = b->maps->gate + kept * b->at.mid, .squeeze = b->maps->squeeze + kept * b->at.se};
}

static void run_group(void *arg, int64_t tile, int worker)
{
    const struct chain *o = arg;
    struct room r;
    struct maps maps;
    int64_t first = o->n * tile / o->groups, n = o->n * (tile + 1) / o->groups - first, start = 0;
    char *scratch = aligned(lafs_cpu_scratch(o->d, worker));
    carve_maps(&maps, &o->sizes, GROUP, GROUP, scratch + carve_room(&r, &o->sizes, scratch));
    const struct cut end = cut_of(o->kern, &o->g[o->count - 1]);
    const float *x = o->x + first * o->g[0].h * o->g[0].w * o->g[0].c;
    for (int i = 0; i < o->count; i++) {
        struct block b = block_of(o, i, start, &maps, x, o->y + first * end.oh * end.ow * o->g[o->count - 1].out);
        for (int64_t m = 0; m < n; m += b.cut.images) {
            struct work w = work_of(&b, &r, m, min64(b.cut.images, n - m), 0);
            if (b.cut.by_strips) run_strips(&w, 0, b.cut.oh);
            else run_panels(&w);
        }
        x = b.y;
        start = b.at.end;
    }
}

/* -- the chain of fewer images than workers -- */

enum {
    LEAST_BAND = 4, /* output rows */
    LEAST_PART = 8, /* pixels of a projection */
    RUNS = 4        /* tiles a worker that panels are dealt to: those of a tile lie behind each other in memory */
};

/* A step of a block: `tiles` of each of its sets of images that go together. */
struct step {
    const struct block *b;
    int64_t tiles, panels; /* panels are dealt evenly to tiles */
    int64_t chunks, whole, parts; /* a projection's: chunks of a panel's pixels; those that are tiles; of the others */
    void (*run)(const struct step *s, const struct work *w, int64_t i);
};

static void step_band(const struct step *s, const struct work *w, int64_t i)
{
    run_strips(w, w->cut.oh * i / s->tiles, w->cut.oh * (i + 1) / s->tiles);
}

static int64_t first_panel(const struct step *s, int64_t tile) { return s->panels * tile / s->tiles; }

static void step_panels(const struct step *s, const struct work *w, int64_t tile)
{
    clear_ends(w, min64(w->kern->panel, w->at.mid) / w->kern->lanes);
    for (int64_t i = first_panel(s, tile); i < first_panel(s, tile + 1); i++) run_panel(w, i);
}

static void step_squeeze(const struct step *s, const struct work *w, int64_t tile)
{
    for (int64_t i = first_panel(s, tile); i < first_panel(s, tile + 1); i++) squeeze(w, i);
}

static void step_excite(const struct step *s, const struct work *w, int64_t tile)
{
    for (int64_t i = first_panel(s, tile); i < first_panel(s, tile + 1); i++) excite(w, i);
}

static void step_project(const struct step *s, const struct work *w, int64_t i)
{
    int64_t more = i < s->whole ? 0 : i - s->whole, parts = i < s->whole ? 1 : s->parts;
    int64_t chunk = i - more + more / parts; /* of all panels' */
    int64_t cuts = s->chunks * parts, cut = chunk % s->chunks * parts + more % parts, all = w->images * pixels(w);
    project_panel(w, chunk / s->chunks, all * cut / cuts, all * (cut + 1) / cuts);
}

static void run_tile(void *arg, int64_t tile, int worker)
{
    const struct step *s = arg;
    const struct chain *o = s->b->o;
    int64_t first = tile / s->tiles * s->b->cut.images;
    struct room r;
    carve_room(&r, &o->sizes, aligned(lafs_cpu_scratch(o->d, worker)));
    struct work w = work_of(s->b, &r, first, min64(s->b->cut.images, o->n - first), first);
    s->run(s, &w, tile % s->tiles);
}

static void meet(struct step s)
{
    int64_t sets = (s.b->o->n + s.b->cut.images - 1) / s.b->cut.images;
    lafs_pool_for(s.b->o->d->pool, sets * s.tiles, run_tile, &s);
}

/* Chunks that come out even among the workers are a tile each: of few pixels each weight is read by one of them. */
static struct step projection_of(const struct block *b)
{
    int64_t workers = b->o->d->workers, area = b->cut.oh * b->cut.ow, chunks = (area + TOGETHER - 1) / TOGETHER;
    int64_t all = lafs_panels_of(b->o->kern, b->g->out) * chunks, left = all % workers;
    int64_t parts = left ? min64(workers / left, max64(area / chunks / LEAST_PART, 1)) : 1;
    return (struct step){b, all - left + left * parts, 0, chunks, all - left, parts, step_project};
}

static void meet_over_panels(const struct block *b, int64_t cols,
                             void (*run)(const struct step *s, const struct work *w, int64_t tile))
{
    int64_t panels = lafs_panels_of(b->o->kern, cols), tiles = RUNS * b->o->d->workers;
    meet((struct step){b, panels < 2 * tiles ? panels : tiles, panels, .run = run});
}

static void share_block(const struct block *b)
{
    const struct chain *o = b->o;
    if (b->cut.by_strips) {
        int64_t bands = min64((o->d->workers + o->n - 1) / o->n, max64(b->cut.oh / LEAST_BAND, 1));
        meet((struct step){b, bands, .run = step_band});
        return;
    }
    meet_over_panels(b, b->g->mid, step_panels);
    if (b->g->se) {
        meet_over_panels(b, b->g->se, step_squeeze);
        meet_over_panels(b, b->g->mid, step_excite);
    }
    meet(projection_of(b));
}

static void share_chain(const struct chain *o)
{
    struct maps maps;
    int64_t start = 0;
    char *shared = lafs_cpu_shared(o->d, carve_maps(&maps, &o->sizes, o->n, o->n, NULL) + LINE);
    if (!shared) return;
    carve_maps(&maps, &o->sizes, o->n, o->n, aligned(shared));
    const float *x = o->x;
    for (int i = 0; i < o->count; i++) {
        struct block b = block_of(o, i, start, &maps, x, o->y);
        share_block(&b);
        x = b.y;
        start = b.at.end;
    }
}

void lafs_cpu_bottlenecks(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g,
                          const void *packed, const float *x, float *y)
{
    struct chain o = {.kern = lafs_conv_kernels(), .g = g, .count = count, .n = n, .packed = packed, .x = x, .y = y,
                      .d = d};
    struct room r;
    struct maps maps;
    if (n <= 0 || count <= 0) return;
    for (int i = 0; i < count; i++) need(&o.sizes, o.kern, &g[i], i < count - 1);
    size_t size = carve_room(&r, &o.sizes, NULL) + carve_maps(&maps, &o.sizes, GROUP, GROUP, NULL);
    if (!lafs_cpu_reserve(d, size + LINE)) return;
    if (n < d->workers) {
        share_chain(&o);
        return;
    }
    /* As large as they may be, but as many for each worker: no result depends on it. */
    int64_t rounds = (n + GROUP * d->workers - 1) / (GROUP * d->workers);
    o.groups = min64(rounds * d->workers, n);
    lafs_pool_for(d->pool, o.groups, run_group, &o);
}
