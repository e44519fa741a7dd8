/* Separable convolutions: 1x1, then depthwise, in strips of output rows, so that the map between the two is never
 * whole. It lives as planes of one vector of channels each, of which only the rows are there that a strip looks at:
 *
 *     for a strip of output rows
 *         for a panel of output channels
 *             product of the input rows that are new with the panel, stored into padded planes
 *         the planes' depthwise convolution, stored into the output
 *
 * A tile is a band of rows of an image. Every pixel is one chain of multiply-adds in the order of conv and depthwise,
 * so neither strips nor bands show, and the bits are theirs. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/panels.h"

enum {
    LINE = 64,          /* bytes of a cache line */
    NEAR = 256 << 10,   /* bytes: what the planes should fit into */
    MOST_STRIP = 8,     /* output rows, and two at least */
    LEAST_BAND = 8      /* output rows of a band: each band computes the rows between it and the next one anew */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

struct separable {
    const struct lafs_conv_kernels *kern;
    const struct lafs_conv *g;
    struct lafs_dev *d;
    enum lafs_act act;
    int64_t oh, ow, pad;
    int64_t out;                /* channels, whole vectors */
    int64_t width;              /* pixels of a padded row of a plane */
    int64_t strip;              /* output rows */
    int64_t rows;               /* of a plane, and what a strip needs: row y is at y % rows */
    int64_t bands;              /* of an image */
    const float *panels, *b1;   /* packed */
    const float *taps, *b2;
    const float *x;
    float *y;
};

/* What a worker needs for a band. */
struct room {
    float *planes;      /* (vectors, rows, width, lanes) */
    const float **row;  /* (rows): of a plane under a strip */
};
/* base NULL: only counts. */
static size_t carve(const struct separable *o, struct room *r, char *base)
{
    size_t at = 0;
#define TAKE(to, n)                                      \
    (to) = base ? (void *)(base + at) : NULL;            \
    at += (size_t)lafs_round_up((n) * (int64_t)sizeof *(to), LINE)
    TAKE(r->planes, o->out * o->rows * o->width);
    TAKE(r->row, o->rows);
#undef TAKE
    return at;
}

/* The zeros at both ends of every row of the planes. */
static void clear_ends(const struct separable *o, float *planes)
{
    int64_t lanes = o->kern->lanes, rows = o->out / lanes * o->rows;
    size_t end = (size_t)(o->pad * lanes) * sizeof *planes;
    for (int64_t i = 0; i < rows; i++, planes += o->width * lanes) {
        memset(planes, 0, end);
        memset(planes + (o->pad + o->g->w) * lanes, 0, end);
    }
}

/* Input rows [from, to) through the panel, into its planes. */
static void pointwise(const struct separable *o, const struct room *r, struct lafs_panel p, int64_t from, int64_t to,
                      const float *x)
{
    const struct lafs_conv *g = o->g;
    int64_t lanes = o->kern->lanes;
    for (int64_t iy = from; iy < to; iy++) {
        const float *row = x + iy * g->w * g->c;
        struct lafs_gemm_tile t = {.rows = g->w, .cols = p.wide, .wide = p.wide, .segs = 1, .run = g->c, .lda = g->c,
                                   .a = &row, .panel = o->panels + p.first * g->c, .bias = o->b1 + p.first,
                                   .y = r->planes + p.first * o->rows * o->width +
                                        (iy % o->rows * o->width + o->pad) * lanes,
                                   .ldy = lanes, .step = o->rows * o->width * lanes};
        o->kern->gemm(&t);
    }
}

/* Output rows [from, to). */
static void depthwise(const struct separable *o, const struct room *r, int64_t from, int64_t to, float *y)
{
    const struct lafs_conv *g = o->g;
    int64_t lanes = o->kern->lanes, top = from * g->stride - o->pad, n = (to - from - 1) * g->stride + g->k;
    for (int64_t k = 0; k < n; k++) {
        int64_t iy = top + k;
        r->row[k] = iy < 0 || iy >= g->h ? NULL : r->planes + iy % o->rows * o->width * lanes;
    }
    struct lafs_dw_planes t = {.p = {.oh = to - from, .ow = o->ow, .k = g->k, .stride = g->stride, .row = r->row,
                                     .taps = o->taps, .bias = o->b2, .act = o->act,
                                     .n = (int)(g->out - (o->out - lanes)), .y = y + from * o->ow * g->out,
                                     .step = g->out},
                               .vectors = o->out / lanes, .plane = o->rows * o->width * lanes};
    o->kern->dw_planes(&t);
}

static void band(void *arg, int64_t i, int worker)
{
    const struct separable *o = arg;
    const struct lafs_conv *g = o->g;
    int64_t image = i / o->bands, part = i % o->bands;
    int64_t first = o->oh * part / o->bands, end = o->oh * (part + 1) / o->bands;
    const float *x = o->x + image * g->h * g->w * g->c;
    float *y = o->y + image * o->oh * o->ow * g->out;
    char *scratch = lafs_cpu_scratch(o->d, worker);
    struct room r;
    carve(o, &r, scratch + (LINE - (uintptr_t)scratch % LINE) % LINE);
    clear_ends(o, r.planes);
    int64_t done = max64(first * g->stride - o->pad, 0);
    for (int64_t from = first; from < end; from += o->strip) {
        int64_t to = min64(from + o->strip, end);
        int64_t need = max64(min64((to - 1) * g->stride - o->pad + g->k, g->h), done);
        for (int64_t k = 0; k < lafs_panels_of(o->kern, g->out); k++)
            pointwise(o, &r, lafs_panel_at(o->kern, g->out, k), done, need, x);
        depthwise(o, &r, from, to, y);
        done = need;
    }
}

/* Packs into the device's shared buffer. 0: out of memory. */
static int pack(struct separable *o, const float *w1, const float *b1, const float *w2, const float *b2)
{
    const struct lafs_conv *g = o->g;
    int64_t kk = (int64_t)g->k * g->k;
    float *to = lafs_cpu_shared(o->d, (size_t)(o->out * (g->c + kk + 2)) * sizeof *to);
    if (!to) return 0;
    o->panels = to;
    o->taps = o->panels + o->out * g->c;
    o->b1 = o->taps + o->out * kk;
    o->b2 = o->b1 + o->out;
    lafs_panels_pack(o->kern, w1, g->out, g->c, g->c, to);
    lafs_taps_pack(o->kern, w2, g->out, kk, o->out, to + o->out * g->c);
    lafs_bias_pack(b1, g->out, o->out, to + o->out * (g->c + kk));
    lafs_bias_pack(b2, g->out, o->out, to + o->out * (g->c + kk + 1));
    return 1;
}

void lafs_cpu_separable(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w1,
                        const float *b1, const float *w2, const float *b2, enum lafs_act act, float *y)
{
    struct separable o = {.kern = lafs_conv_kernels(), .g = g, .d = d, .act = act, .pad = (g->k - 1) / 2,
                          .oh = lafs_conv_side(g->h, g->k, g->stride), .ow = lafs_conv_side(g->w, g->k, g->stride),
                          .x = x, .y = y};
    struct room r;
    o.out = lafs_round_up(g->out, o.kern->lanes);
    o.width = g->w + 2 * o.pad;
    int64_t fit = (int64_t)NEAR / (o.out * o.width * (int64_t)sizeof *x);
    o.strip = min64(min64(max64((fit - g->k) / g->stride + 1, 2), MOST_STRIP), o.oh);
    o.rows = (o.strip - 1) * g->stride + g->k;
    /* No more bands than keep all workers busy: no result depends on their number. */
    o.bands = g->n >= 2 * d->workers ? 1 : max64(min64(d->workers, o.oh / LEAST_BAND), 1);
    if (g->n < 1 || o.oh < 1 || o.ow < 1 || !pack(&o, w1, b1, w2, b2)) return;
    if (lafs_cpu_reserve(d, carve(&o, &r, NULL) + LINE)) lafs_pool_for(d->pool, g->n * o.bands, band, &o);
}
