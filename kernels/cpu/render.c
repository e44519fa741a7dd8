/* Views, as kernels/ref/render.c says and with its bits, fast.
 *
 * Inside, a picture is three planes, so that loops run over whole lines of one kind of value (render_kernels.h). The
 * sources that are cropped first are split and turned once for all their views. Tiles are sources, then views; each
 * worker has its own scratch. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/render_kernels.h"

static size_t blocks16(int v) { return ((size_t)v + 15) / 16 * 16; }

#include "kernels/cpu/render_filter.inc"
#include "kernels/cpu/render_resize.inc"

enum { SLACK = LAFS_RENDER_SLACK }; /* bytes behind every buffer */

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
    const struct lafs_render_kernels *kernels;
};

/* What rendering one view needs. */
struct work {
    int w, h;
    uint8_t *p[3], *other[3]; /* the picture, and room for the next */
    uint8_t *turned[3];       /* of the picture, for a crop that is not the first operation; lines of blocks16(h) */
    uint8_t *wide, *wide_turned; /* between the passes of a crop */
    struct lafs_resize across, down;
    double *weight;
    uint32_t *acc;       /* of a wide blur */
    uint8_t *wide_blur[2];
    uint8_t *blur_turned[2];
    uint16_t *blur;
    uint8_t *sharpen;
    const struct lafs_render_kernels *kernels;
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
    size_t plane = blocks16(n) * blocks16(n), taps_across = 1, taps_down = 1, wide = 0, wide_blur = 0, blur = 0,
           turned = 0, sharpen = 0;
    for (int i = 0; i < plan->ops; i++) {
        const struct lafs_view_op *op = &plan->op[i];
        if (op->kind == LAFS_OP_BLUR) {
            if (is_wide(op)) wide_blur = larger(wide_blur, wide_blur_room(pw, ph));
            else {
                blur = larger(blur, lafs_blur_room(pw > ph ? pw : ph));
                turned = larger(turned, blocks16(pw) * blocks16(ph));
            }
        }
        if (op->kind == LAFS_OP_SHARPNESS) sharpen = larger(sharpen, 2 * ((size_t)pw + SLACK));
        if (!is_crop(op)) continue;
        pw = ph = n;
        turns |= i > 0;
        int bicubic = op->kind == LAFS_OP_CROP_BICUBIC;
        taps_across = larger(taps_across, (size_t)resize_taps(bicubic, (int)op->a[3], n));
        taps_down = larger(taps_down, (size_t)resize_taps(bicubic, (int)op->a[2], n));
        wide = larger(wide, blocks16(n) * blocks16((int)op->a[2]));
    }
    if (!turns) cw = ch = 0; /* the picture as it comes is never turned here */
    if (early) plane = larger(plane, blocks16(h) * (size_t)w);
    for (int c = 0; c < 3; c++) {
        k->p[c] = take(r, plane);
        k->other[c] = take(r, plane);
        k->turned[c] = take(r, larger(blocks16(cw) * blocks16(ch), turns ? blocks16(n) * blocks16(n) : 0));
    }
    k->wide = take(r, wide);
    k->wide_turned = take(r, wide);
    k->across.n = k->down.n = n;
    k->across.first = take(r, (size_t)n * sizeof(int32_t));
    k->across.k = take(r, (size_t)n * taps_across * sizeof(int32_t));
    k->down.first = take(r, (size_t)n * sizeof(int32_t));
    k->down.k = take(r, (size_t)n * taps_down * sizeof(int32_t));
    k->weight = take(r, larger(taps_across, taps_down) * LAFS_SPAN * sizeof(double));
    k->blur = take(r, blur * sizeof *k->blur);
    k->sharpen = take(r, sharpen);
    k->acc = take(r, wide_blur * sizeof *k->acc);
    for (int i = 0; i < 2; i++) k->wide_blur[i] = take(r, wide_blur), k->blur_turned[i] = take(r, turned);
}

/* Splits and turns a source, 16 rows at a time. */
static void turn_source(void *arg, int64_t i, int worker)
{
    const struct job *j = arg;
    const struct turned *t = &j->turned[i];
    if (!t->needed) return;
    size_t w16 = blocks16(t->w), size = turned_size(t);
    uint8_t *strip = lafs_cpu_scratch(j->d, worker); /* (3, 16, w16) */
    for (int y = 0; y < t->h; y += 16) {
        for (int k = 0; k < 16 && y + k < t->h; k++) {
            uint8_t *row = strip + (size_t)k * w16, *const to[3] = {row, row + 16 * w16, row + 32 * w16};
            j->kernels->split(t->source + (size_t)(y + k) * (size_t)t->w * 3, t->w, to);
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
static void crop(struct work *k, const uint8_t *const in[3], size_t stride, const struct lafs_view_op *op, int n,
                 int mirror)
{
    const int top = (int)op->a[0], left = (int)op->a[1], h = (int)op->a[2], w = (int)op->a[3],
              bicubic = op->kind == LAFS_OP_CROP_BICUBIC;
    const size_t h16 = blocks16(h), n16 = blocks16(n);
    k->across.taps = resize_taps(bicubic, w, n);
    k->down.taps = resize_taps(bicubic, h, n);
    k->kernels->weights(&k->across, bicubic, w, k->weight);
    k->kernels->weights(&k->down, bicubic, h, k->weight);
    for (int c = 0; c < 3; c++) {
        k->kernels->resize(&k->across, in[c] + (size_t)left * stride + (size_t)top, stride, w, h, k->wide, h16, mirror);
        turn(k->wide, h16, h, n, k->wide_turned, n16);
        k->kernels->resize(&k->down, k->wide_turned, n16, h, n, k->p[c], (size_t)n, 0);
    }
    k->w = k->h = n;
}

static void blur(struct work *k, const struct lafs_view_op *op)
{
    const struct lafs_box box = box_of(op->a[0]);
    const size_t w = (size_t)k->w, w16 = blocks16(k->w), h16 = blocks16(k->h);
    uint8_t *const *t = k->blur_turned;
    for (int c = 0; c < 3; c++) {
        if (is_wide(op)) {
            lafs_isa_wide_blur()(&box, k->p[c], k->w, k->h, k->wide_blur, k->acc);
            continue;
        }
        turn(k->p[c], w, k->w, k->h, t[0], h16);
        k->kernels->blur(&box, t[0], h16, k->h, k->w, t[1], h16, k->blur);
        turn(t[1], h16, k->h, k->w, t[0], w16);
        k->kernels->blur(&box, t[0], w16, k->w, k->h, k->p[c], w, k->blur);
    }
}

/* Operations on each pixel by itself, all at once as far as contrast, which needs the mean of all grey, allows. */
static void points(struct work *k, const struct lafs_view_op *op, int ops)
{
    const int64_t n = (int64_t)k->w * k->h;
    int64_t sum = 0;
    if (op[0].kind == LAFS_OP_CONTRAST) k->kernels->points(k->p, n, NULL, 0, 0, &sum);
    for (int i = 0, to; i < ops; i = to) {
        for (to = i + 1; to < ops && op[to].kind != LAFS_OP_CONTRAST;) to++;
        int mean = (int)((double)sum / (double)n + 0.5);
        k->kernels->points(k->p, n, op + i, to - i, mean, to < ops ? &sum : NULL);
    }
}

static void erase(struct work *k, const float a[4])
{
    for (int c = 0; c < 3; c++)
        for (int y = (int)a[0]; y < (int)a[0] + (int)a[2]; y++)
            memset(k->p[c] + (size_t)y * (size_t)k->w + (size_t)a[1], 0, (size_t)a[3]);
}

static void crop_again(struct work *k, const struct lafs_view_op *op, int n)
{
    const size_t stride = blocks16(k->h);
    for (int c = 0; c < 3; c++) turn(k->p[c], (size_t)k->w, k->w, k->h, k->turned[c], stride);
    const uint8_t *const in[3] = {k->turned[0], k->turned[1], k->turned[2]};
    crop(k, in, stride, op, n, 0);
}

static int is_point(const struct lafs_view_op *op)
{
    return (op->kind >= LAFS_OP_BRIGHTNESS && op->kind <= LAFS_OP_GRAY) || op->kind == LAFS_OP_SOLARIZE ||
           op->kind == LAFS_OP_INVERT || op->kind == LAFS_OP_POSTERIZE;
}

/* Carries out the first of the operations, and of those up to `ops` that go with it; returns how many. */
static int carry_out(struct work *k, const struct lafs_view_op *op, int ops, int n)
{
    const int64_t count = (int64_t)k->w * k->h;
    uint8_t *const *p = k->p;
    int done = 0;
    while (done < ops && is_point(&op[done])) done++;
    if (done) {
        points(k, op, done);
        return done;
    }
    switch (op->kind) {
    case LAFS_OP_CROP_BICUBIC:
    case LAFS_OP_CROP_BILINEAR: crop_again(k, op, n); break;
    case LAFS_OP_FLIP:
        for (int c = 0; c < 3; c++) k->kernels->flip(p[c], k->w, k->h, k->other[c]);
        exchange(k);
        break;
    case LAFS_OP_BLUR: blur(k, op); break;
    case LAFS_OP_AUTOCONTRAST:
    case LAFS_OP_EQUALIZE:
        for (int c = 0; c < 3; c++) histogram_op(p[c], count, op->kind);
        break;
    case LAFS_OP_SHARPNESS:
        for (int c = 0; c < 3; c++) k->kernels->sharpen(p[c], k->w, k->h, op->a[0], k->other[c], k->sharpen);
        exchange(k);
        break;
    case LAFS_OP_ERASE: erase(k, op->a); break;
    default:
        geometry(k->kernels, p, k->w, k->h, op, k->other);
        exchange(k);
    }
    return 1;
}

/* -- views -- */

static void render_view(void *arg, int64_t v, int worker)
{
    const struct job *j = arg;
    const struct lafs_viewplan *plan = &j->plan[v];
    const struct turned *t = &j->turned[j->which[v]];
    uint8_t *clean = j->clean ? j->clean[v] : NULL, *augmented = j->augmented ? j->augmented[v] : NULL;
    if (lafs_viewplan_check(plan, j->w[v], j->h[v], NULL) != LAFS_OK) return; /* reported before */
    struct room room = {lafs_cpu_scratch(j->d, worker), 0};
    struct work k = {.w = j->w[v], .h = j->h[v], .kernels = j->kernels};
    lay_out(&k, &room, plan, k.w, k.h);
    int i = 0;
    /* Then the source is of the result's size. */
    if (clean && plan->clean_ops == 0) memcpy(clean, j->source[v], (size_t)k.w * (size_t)k.h * 3);
    if (plan->ops && is_crop(&plan->op[0])) {
        /* A flip right behind the crop costs nothing. */
        int mirror = plan->ops > 1 && plan->op[1].kind == LAFS_OP_FLIP && !(clean && plan->clean_ops == 1);
        const uint8_t *first = j->shared + t->at;
        const uint8_t *const in[3] = {first, first + turned_size(t), first + 2 * turned_size(t)};
        crop(&k, in, t->stride, &plan->op[0], plan->out_size, mirror);
        i = mirror ? 2 : 1;
    } else {
        k.kernels->split(j->source[v], (int64_t)k.w * k.h, k.p);
    }
    while (1) {
        if (clean && i > 0 && i == plan->clean_ops) k.kernels->join(k.p, (int64_t)k.w * k.h, clean);
        if (i == plan->ops) break;
        int stop = clean && i < plan->clean_ops ? plan->clean_ops : plan->ops;
        i += carry_out(&k, &plan->op[i], stop - i, plan->out_size);
    }
    if (augmented && clean && plan->clean_ops == plan->ops) memcpy(augmented, clean, (size_t)k.w * (size_t)k.h * 3);
    else if (augmented) k.kernels->join(k.p, (int64_t)k.w * k.h, augmented);
}

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
        .n = n, .plan = plan, .source = source, .w = w, .h = h, .clean = clean, .augmented = augmented, .d = d,
        .kernels = lafs_render_kernels()};
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
        lafs_pool_for(d->pool, sources, turn_source, &j);
        lafs_pool_for(d->pool, n, render_view, &j);
    }
    lafs_free(t);
    lafs_free(which);
}
