/* Views, as kernels/ref/render.c says and with its bits, fast.
 *
 * Inside, a picture is three planes, so that loops run over whole lines of one kind of value. The sources that are
 * cropped first are split and turned once for all their views. Tiles are sources, then views; each worker has its own
 * scratch. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

static size_t blocks16(int v) { return ((size_t)v + 15) / 16 * 16; }
static size_t blocks64(int v) { return ((size_t)v + 63) / 64 * 64; }

#include "kernels/cpu/render_colour.inc"
#include "kernels/cpu/render_filter.inc"
#include "kernels/cpu/render_resize.inc"

enum { SLACK = 64 }; /* bytes behind every buffer: whole vectors may be read and written past its end */

/* Memory handed out piece by piece; with base NULL it only adds up. */
struct room {
    char *base;
    size_t used;
};
static void *take(struct room *r, size_t size)
{
    size_t at = r->used;
    r->used += (size + SLACK + 63) / 64 * 64;
    return r->base ? r->base + at : NULL;
}

/* A source, turned: line x of channel c at c[] + x * stride holds column x. */
struct turned {
    const uint8_t *source; /* (h, w, 3) */
    int w, h, needed;
    size_t stride, at;     /* at: of the first channel in the shared memory */
};
static size_t turned_size(const struct turned *t) { return blocks16(t->w) * t->stride; } /* of one channel */

struct job {
    int64_t n;
    const struct lafs_viewplan *plan;
    const uint8_t *const *source;
    const int *w, *h;
    uint8_t *const *clean, *const *augmented;
    struct lafs_dev *d;
    const struct turned *turned; /* distinct sources */
    const int64_t *which;        /* (n): view -> source */
    uint8_t *shared;
};

/* What rendering one view needs. */
struct work {
    int w, h;
    uint8_t *p[3], *other[3]; /* the picture, and room for the next */
    uint8_t *turned[3];       /* of the picture, for a crop that is not the first operation; lines of blocks16(h) */
    uint8_t *wide, *wide_turned; /* between the passes of a crop */
    struct resize across, down;
    double *weight;
    int32_t *acc;
    uint8_t *blur[2];
};

static int is_crop(const struct lafs_view_op *op)
{
    return op->kind == LAFS_OP_CROP_BICUBIC || op->kind == LAFS_OP_CROP_BILINEAR;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Lays out the memory of a view of a w x h source; the same every time, so that it can be measured first. */
static void lay_out(struct work *k, struct room *r, const struct lafs_viewplan *plan, int w, int h)
{
    int n = plan->out_size, early = plan->ops == 0 || !is_crop(&plan->op[0]), turns = 0, cw = w, ch = h, pw = w, ph = h;
    size_t plane = blocks16(n) * blocks16(n), line = blocks64(n), taps_across = TAPS, taps_down = TAPS, wide = 0,
           blurred = 0;
    for (int i = 0; i < plan->ops; i++) {
        const struct lafs_view_op *op = &plan->op[i];
        if (op->kind == LAFS_OP_BLUR) blurred = larger(blurred, blur_room(pw, ph));
        if (!is_crop(op)) continue;
        pw = ph = n;
        turns |= i > 0;
        int bicubic = op->kind == LAFS_OP_CROP_BICUBIC;
        taps_across = larger(taps_across, (size_t)resize_taps(bicubic, (int)op->a[3], n));
        taps_down = larger(taps_down, (size_t)resize_taps(bicubic, (int)op->a[2], n));
        wide = larger(wide, blocks64(n) * blocks64((int)op->a[2]));
        line = larger(line, blocks64((int)op->a[2]));
    }
    if (!turns) cw = ch = 0; /* the picture as it comes is never turned here */
    if (early) {
        plane = larger(plane, blocks16(h) * (size_t)w);
        line = larger(line, (size_t)w);
    }
    for (int c = 0; c < 3; c++) {
        k->p[c] = take(r, plane);
        k->other[c] = take(r, plane);
        k->turned[c] = take(r, larger(blocks16(cw) * blocks16(ch), turns ? blocks16(n) * blocks16(n) : 0));
    }
    k->wide = take(r, wide);
    k->wide_turned = take(r, wide);
    k->across = (struct resize){.n = n, .first = take(r, (size_t)n * 4), .k = take(r, (size_t)n * taps_across * 4)};
    k->down = (struct resize){.n = n, .first = take(r, (size_t)n * 4), .k = take(r, (size_t)n * taps_down * 4)};
    k->weight = take(r, larger(taps_across, taps_down) * SPAN * sizeof(double));
    line = larger(line, blurred);
    k->acc = take(r, line * 4);
    for (int i = 0; i < 2; i++) k->blur[i] = take(r, blurred);
}

/* -- between interleaved pixels and planes -- */

LAFS_INLINE void split(const uint8_t *restrict px, int64_t n, uint8_t *restrict r, uint8_t *restrict g,
                       uint8_t *restrict b)
{
    for (int64_t i = 0; i < n; i++) {
        r[i] = px[3 * i];
        g[i] = px[3 * i + 1];
        b[i] = px[3 * i + 2];
    }
}

LAFS_INLINE void join(uint8_t *const p[3], int64_t n, uint8_t *restrict px)
{
    const uint8_t *restrict r = p[0], *restrict g = p[1], *restrict b = p[2];
    for (int64_t i = 0; i < n; i++) {
        px[3 * i] = r[i];
        px[3 * i + 1] = g[i];
        px[3 * i + 2] = b[i];
    }
}

/* Splits and turns a source, 16 rows at a time. */
LAFS_INLINE void turn_source(const struct job *j, int64_t i, int worker)
{
    const struct turned *t = &j->turned[i];
    if (!t->needed) return;
    size_t w16 = blocks16(t->w), size = turned_size(t);
    uint8_t *strip = lafs_cpu_scratch(j->d, worker); /* (3, 16, w16) */
    for (int y = 0; y < t->h; y += 16) {
        for (int k = 0; k < 16 && y + k < t->h; k++) {
            uint8_t *row = strip + (size_t)k * w16;
            split(t->source + (size_t)(y + k) * (size_t)t->w * 3, t->w, row, row + 16 * w16, row + 32 * w16);
        }
        for (size_t c = 0; c < 3; c++)
            turn(strip + 16 * c * w16, w16, t->w, 16, j->shared + t->at + c * size + (size_t)y, t->stride);
    }
}

/* -- operations -- */

static void exchange(struct work *k)
{
    for (int c = 0; c < 3; c++) {
        uint8_t *t = k->p[c];
        k->p[c] = k->other[c];
        k->other[c] = t;
    }
}

/* Crops the turned picture in[] (lines `stride` bytes apart) into the planes. */
LAFS_INLINE void crop(struct work *k, const uint8_t *const in[3], size_t stride, const struct lafs_view_op *op, int n,
                      int mirror)
{
    const int top = (int)op->a[0], left = (int)op->a[1], h = (int)op->a[2], w = (int)op->a[3],
              bicubic = op->kind == LAFS_OP_CROP_BICUBIC;
    const size_t h64 = blocks64(h), n16 = blocks16(n);
    k->across.taps = resize_taps(bicubic, w, n);
    k->down.taps = resize_taps(bicubic, h, n);
    resize_weights(&k->across, bicubic, w, k->weight);
    resize_weights(&k->down, bicubic, h, k->weight);
    for (int c = 0; c < 3; c++) {
        resize_lines(&k->across, in[c] + (size_t)left * stride + (size_t)top, stride, w, h, k->wide, h64, mirror,
                     k->acc);
        turn(k->wide, h64, h, n, k->wide_turned, n16);
        resize_lines(&k->down, k->wide_turned, n16, h, n, k->p[c], (size_t)n, 0, k->acc);
    }
    k->w = k->h = n;
}

LAFS_INLINE void blur(struct work *k, float sigma)
{
    struct box box = box_of(sigma);
    for (int c = 0; c < 3; c++) blur_plane(&box, k->p[c], k->w, k->h, k->blur, (uint32_t *)k->acc);
}

LAFS_INLINE void pointwise(struct work *k, const struct lafs_view_op *op)
{
    const int64_t count = (int64_t)k->w * k->h;
    uint8_t table[256];
    point_table(op, op->kind == LAFS_OP_CONTRAST ? grey_mean(k->p[0], k->p[1], k->p[2], count) : 0, table);
    for (int c = 0; c < 3; c++) look_up(k->p[c], count, table);
}

static void erase(struct work *k, const float a[4])
{
    for (int c = 0; c < 3; c++)
        for (int y = (int)a[0]; y < (int)a[0] + (int)a[2]; y++)
            memset(k->p[c] + (size_t)y * (size_t)k->w + (size_t)a[1], 0, (size_t)a[3]);
}

LAFS_INLINE void crop_again(struct work *k, const struct lafs_view_op *op, int n)
{
    const size_t stride = blocks16(k->h);
    for (int c = 0; c < 3; c++) turn(k->p[c], (size_t)k->w, k->w, k->h, k->turned[c], stride);
    const uint8_t *const in[3] = {k->turned[0], k->turned[1], k->turned[2]};
    crop(k, in, stride, op, n, 0);
}

LAFS_INLINE void carry_out(struct work *k, const struct lafs_view_op *op, int n)
{
    const int64_t count = (int64_t)k->w * k->h;
    uint8_t *const *p = k->p;
    switch (op->kind) {
    case LAFS_OP_CROP_BICUBIC:
    case LAFS_OP_CROP_BILINEAR: crop_again(k, op, n); break;
    case LAFS_OP_FLIP:
        for (int c = 0; c < 3; c++) flip_plane(p[c], k->w, k->h);
        break;
    case LAFS_OP_SATURATION: saturation(p[0], p[1], p[2], count, op->a[0]); break;
    case LAFS_OP_HUE: hue(p[0], p[1], p[2], count, (int)(op->a[0] * 255.0)); break;
    case LAFS_OP_GRAY: grey_planes(p[0], p[1], p[2], count); break;
    case LAFS_OP_BLUR: blur(k, op->a[0]); break;
    case LAFS_OP_BRIGHTNESS:
    case LAFS_OP_CONTRAST:
    case LAFS_OP_SOLARIZE:
    case LAFS_OP_INVERT:
    case LAFS_OP_POSTERIZE: pointwise(k, op); break;
    case LAFS_OP_AUTOCONTRAST:
    case LAFS_OP_EQUALIZE:
        for (int c = 0; c < 3; c++) histogram_op(p[c], count, op->kind);
        break;
    case LAFS_OP_SHARPNESS:
        for (int c = 0; c < 3; c++) sharpen_plane(p[c], k->w, k->h, op->a[0], k->other[c]);
        exchange(k);
        break;
    case LAFS_OP_ERASE: erase(k, op->a); break;
    default:
        geometry(p, k->w, k->h, op, k->other);
        exchange(k);
    }
}

/* -- views -- */

LAFS_INLINE void render_view(const struct job *j, int64_t v, int worker)
{
    const struct lafs_viewplan *plan = &j->plan[v];
    const struct turned *t = &j->turned[j->which[v]];
    uint8_t *clean = j->clean ? j->clean[v] : NULL, *augmented = j->augmented ? j->augmented[v] : NULL;
    if (lafs_viewplan_check(plan, j->w[v], j->h[v], NULL) != LAFS_OK) return; /* reported before */
    struct room room = {lafs_cpu_scratch(j->d, worker), 0};
    struct work k = {.w = j->w[v], .h = j->h[v]};
    lay_out(&k, &room, plan, k.w, k.h);
    int i = 0;
    if (plan->ops && is_crop(&plan->op[0])) {
        /* A flip right behind the crop costs nothing. */
        int mirror = plan->ops > 1 && plan->op[1].kind == LAFS_OP_FLIP && !(clean && plan->clean_ops == 1);
        const uint8_t *first = j->shared + t->at;
        const uint8_t *const in[3] = {first, first + turned_size(t), first + 2 * turned_size(t)};
        crop(&k, in, t->stride, &plan->op[0], plan->out_size, mirror);
        i = mirror ? 2 : 1;
    } else {
        split(j->source[v], (int64_t)k.w * k.h, k.p[0], k.p[1], k.p[2]);
    }
    for (;; i++) {
        if (clean && i == plan->clean_ops) join(k.p, (int64_t)k.w * k.h, clean);
        if (i == plan->ops) break;
        carry_out(&k, &plan->op[i], plan->out_size);
    }
    if (augmented && clean && plan->clean_ops == plan->ops) memcpy(augmented, clean, (size_t)k.w * (size_t)k.h * 3);
    else if (augmented) join(k.p, (int64_t)k.w * k.h, augmented);
}

LAFS_ISA_TILES(turn, struct job, turn_source(j, tile, worker))
LAFS_ISA_TILES(view, struct job, render_view(j, tile, worker))

/* Finds the distinct sources (a view's is taken as the same when its pointer is that of the view before), checks the
 * plans, and adds up what is needed. Returns the number of sources. */
static int64_t survey(const struct job *j, struct turned *t, int64_t *which, size_t *scratch, size_t *shared)
{
    int64_t sources = 0;
    for (int64_t i = 0; i < j->n; i++) {
        struct lafs_err err = {0};
        int w = j->w[i], h = j->h[i];
        if (sources == 0 || t[sources - 1].source != j->source[i] || t[sources - 1].w != w || t[sources - 1].h != h)
            t[sources++] = (struct turned){.source = j->source[i], .w = w, .h = h, .stride = blocks16(h)};
        which[i] = sources - 1;
        if (lafs_viewplan_check(&j->plan[i], w, h, &err) != LAFS_OK) {
            lafs_host_failed(j->d, &err);
            continue;
        }
        struct turned *s = &t[sources - 1];
        struct work k;
        struct room room = {NULL, 0};
        lay_out(&k, &room, &j->plan[i], w, h);
        *scratch = larger(*scratch, room.used);
        if (s->needed || j->plan[i].ops == 0 || !is_crop(&j->plan[i].op[0])) continue;
        s->needed = 1;
        s->at = *shared;
        *shared += 3 * turned_size(s) + SLACK;
        *scratch = larger(*scratch, 3 * 16 * blocks16(w) + SLACK);
    }
    return sources;
}

void lafs_cpu_render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                     const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented)
{
    struct job j = {
        .n = n, .plan = plan, .source = source, .w = w, .h = h, .clean = clean, .augmented = augmented, .d = d};
    struct turned *t;
    int64_t *which;
    struct lafs_err err = {0};
    size_t scratch = 64, shared = 64;
    if (n <= 0) return;
    if (lafs_alloc(&t, (size_t)n, sizeof *t, &err) != LAFS_OK) {
        lafs_host_failed(d, &err);
        return;
    }
    if (lafs_alloc(&which, (size_t)n, sizeof *which, &err) != LAFS_OK) {
        lafs_free(t);
        lafs_host_failed(d, &err);
        return;
    }
    int64_t sources = survey(&j, t, which, &scratch, &shared);
    j.turned = t;
    j.which = which;
    j.shared = lafs_cpu_shared(d, shared);
    if (j.shared && lafs_cpu_reserve(d, scratch)) {
        lafs_pool_for(d->pool, sources, lafs_isa_turn(), &j);
        lafs_pool_for(d->pool, n, lafs_isa_view(), &j);
    }
    lafs_free(t);
    lafs_free(which);
}
