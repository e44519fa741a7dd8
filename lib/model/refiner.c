#include "model/refiner.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "image/align.h"

enum {
    SIDE = LAFS_REFINER_SIDE, MAP = LAFS_REFINER_MAP, POINTS = LAFS_REFINER_POINTS, CELLS = MAP * MAP,
    CHANNELS = LAFS_REFINER_CHANNELS,
    LOOKS = 3, /* the first one tells the others where to look; their points are averaged */
    FACES = 2, /* faces that are looked at together */
    BATCH = FACES * (LOOKS - 1) /* crops */
};
/* How large the face is in the crop of each look. */
static const float zoom[LOOKS] = {1, 0.94f, 1.06f};
/* The crop sees x from -8 to 120 and y from 8 to 136 of the 112x112 template: the whole face and its chin. */
#define TEMPLATE_SCALE 0.5f
#define TEMPLATE_LEFT (-8.0f)
#define TEMPLATE_TOP 8.0f

/* A trunk down to 4x4, up again by sums to 16x16, like a detector's. */
static const struct lafs_unit units[] = {
    {LAFS_UNIT_CONV, -1, 0, 16, 2}, /* 32x32 */
    {LAFS_UNIT_SEPARABLE, 0, 0, 24, 0},
    {LAFS_UNIT_POOL, 1, 0, 0, 0}, /* 16x16 */
    {LAFS_UNIT_SEPARABLE, 2, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 3, 0, 64, 0},
    {LAFS_UNIT_POOL, 4, 0, 0, 0}, /* 8x8 */
    {LAFS_UNIT_SEPARABLE, 5, 0, 96, 0},
    {LAFS_UNIT_SEPARABLE, 6, 0, 96, 0},
    {LAFS_UNIT_POOL, 7, 0, 0, 0}, /* 4x4 */
    {LAFS_UNIT_SEPARABLE, 8, 0, 96, 0},
    {LAFS_UNIT_SEPARABLE, 9, 0, 96, 0},
    {LAFS_UNIT_SEPARABLE, 10, 0, 96, 0},
    {LAFS_UNIT_SUM, 7, 11, 0, 0}, /* 8x8 */
    {LAFS_UNIT_SEPARABLE, 12, 0, 96, 0},
    {LAFS_UNIT_SEPARABLE, 13, 0, 64, 0},
    {LAFS_UNIT_SUM, 4, 14, 0, 0}, /* 16x16 */
    {LAFS_UNIT_SEPARABLE, 15, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 16, 0, 96, 0},
    {LAFS_UNIT_HEAD, 17, 0, CHANNELS, 0},
};

lafs_status lafs_refiner_net(struct lafs_convnet *net, struct lafs_err *err)
{
    return lafs_convnet_init(net, units, sizeof units / sizeof *units, 3, err);
}

void lafs_refiner_template(float points[10])
{
    lafs_align_template(112, points);
    for (int i = 0; i < 5; i++) {
        points[2 * i] = (points[2 * i] - TEMPLATE_LEFT) * TEMPLATE_SCALE;
        points[2 * i + 1] = (points[2 * i + 1] - TEMPLATE_TOP) * TEMPLATE_SCALE;
    }
}

void lafs_refiner_input(const uint8_t *px, float *out)
{
    for (int i = 0; i < SIDE * SIDE * 3; i++) out[i] = (float)px[i] * (1.0f / 128);
}

/* Four numbers at once: what compilers make of a loop with a choice in it is one at a time. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
enum { LANES = 4 };
_Static_assert(POINTS % LANES == 0, "points come in vectors");

static inline f32x4 load4(const float *p)
{
    f32x4 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store4(float *p, f32x4 v) { memcpy(p, &v, sizeof v); }
static inline f32x4 larger(f32x4 a, f32x4 b)
{
    i32x4 first = a > b;
    return (f32x4)(((i32x4)a & first) | ((i32x4)b & ~first));
}

/* e^x for x <= 0, to 3e-7 of itself; of less than -87, as of -87. 2^n by the exponent's bits, e^f by its Taylor
 * polynomial on [-log(2)/2, log(2)/2]. */
static inline f32x4 exp4(f32x4 x)
{
    const f32x4 least = {-87, -87, -87, -87};
    f32x4 t = larger(x, least) * 1.44269504f;
    i32x4 n = __builtin_convertvector(t - 0.5f, i32x4);
    f32x4 f = (t - __builtin_convertvector(n, f32x4)) * 0.693147181f;
    f32x4 y = 0.0083333333f + f * 0.0013888889f;
    y = 1 + f * (1 + f * (0.5f + f * (0.16666667f + f * (0.041666667f + f * y))));
    return y * (f32x4)((n + 127) << 23);
}

float lafs_refiner_decode(const float *maps, float *points68, float *share)
{
    const float step = (float)SIDE / MAP, first = (step - 1) / 2;
    float most[CHANNELS], sum[CHANNELS] = {0}, x[CHANNELS] = {0}, y[CHANNELS] = {0}, e[CHANNELS];
    double logit = 0;
    memcpy(most, maps, sizeof most);
    for (int i = 1; i < CELLS; i++)
        for (int k = 0; k < POINTS; k += LANES)
            store4(most + k, larger(load4(maps + i * CHANNELS + k), load4(most + k)));
    for (int i = 0; i < CELLS; i++) {
        float cx = first + step * (float)(i % MAP), cy = first + step * (float)(i / MAP);
        for (int k = 0; k < POINTS; k += LANES) {
            f32x4 v = exp4(load4(maps + i * CHANNELS + k) - load4(most + k));
            store4(sum + k, load4(sum + k) + v);
            store4(x + k, load4(x + k) + v * cx);
            store4(y + k, load4(y + k) + v * cy);
            if (share) store4(e + k, v);
        }
        for (int k = 0; share && k < POINTS; k++) share[k * CELLS + i] = e[k];
        logit += maps[i * CHANNELS + POINTS];
    }
    for (int k = 0; k < POINTS; k++) {
        points68[2 * k] = x[k] / sum[k];
        points68[2 * k + 1] = y[k] / sum[k];
        for (int i = 0; share && i < CELLS; i++) share[k * CELLS + i] /= sum[k];
    }
    return (float)(logit / CELLS);
}

/* -- looking -- */

struct lafs_refiner {
    struct lafs_backend backend;
    struct lafs_convnet net;
    struct lafs_convnet_work work;
    struct lafs_arena arena;
    float *image, *maps;      /* device (BATCH, SIDE, SIDE, 3); host (BATCH, CELLS, CHANNELS) */
    float *host;              /* (BATCH, SIDE, SIDE, 3) */
    struct lafs_image crop;
};

static lafs_status carve(struct lafs_refiner *r, struct lafs_err *err)
{
    r->image = lafs_arena_take(&r->arena, (size_t)BATCH * SIDE * SIDE * 3, sizeof(float));
    return lafs_convnet_plan(&r->work, &r->net, BATCH, SIDE, SIDE, LAFS_CONVNET_INFER, &r->arena, err);
}

static lafs_status build(struct lafs_refiner *r, const struct lafs_st *weights, struct lafs_err *err)
{
    LAFS_TRY(lafs_refiner_net(&r->net, err));
    LAFS_TRY(lafs_alloc(&r->host, (size_t)BATCH * SIDE * SIDE * 3, sizeof *r->host, err));
    LAFS_TRY(lafs_alloc(&r->maps, (size_t)BATCH * CELLS * CHANNELS, sizeof *r->maps, err));
    LAFS_TRY(lafs_image_new(&r->crop, SIDE, SIDE, err));
    LAFS_TRY(carve(r, err));
    LAFS_TRY(lafs_arena_reserve(&r->arena, &r->backend, err));
    LAFS_TRY(carve(r, err));
    return lafs_convnet_load(&r->work, &r->backend, weights, err);
}

lafs_status lafs_refiner_open(struct lafs_refiner **out, const struct lafs_backend *b, const struct lafs_st *weights,
                              struct lafs_err *err)
{
    *out = NULL;
    const char *arch = lafs_st_meta(weights, "architecture");
    if (!arch || strcmp(arch, LAFS_REFINER_ARCHITECTURE))
        return lafs_fail(err, LAFS_FAILED, "the model is a '%.60s', not a refiner of points ('%s')",
                         arch ? arch : "model without an architecture", LAFS_REFINER_ARCHITECTURE);
    struct lafs_refiner *r;
    LAFS_TRY(lafs_alloc0(&r, 1, sizeof *r, err));
    r->backend = *b;
    lafs_status st = build(r, weights, err);
    if (st != LAFS_OK) {
        lafs_refiner_close(r);
        return st;
    }
    *out = r;
    return LAFS_OK;
}

void lafs_refiner_close(struct lafs_refiner *r)
{
    if (!r) return;
    lafs_convnet_release(&r->net, &r->backend);
    lafs_arena_release(&r->arena, &r->backend);
    lafs_image_release(&r->crop);
    lafs_free(r->host);
    lafs_free(r->maps);
    lafs_free(r);
}

/* A look at a face: what it is cut out by, and what is seen then. */
struct glance {
    const float *by; /* (5,2) in the photo */
    float zoomed;
    double back[6]; /* crop -> photo */
    float points68[2 * POINTS], confidence;
    int looked; /* 0: no crop can be cut by these points */
};

/* The crop of glance g into input `slot`. LAFS_BAD_RECORD: there is none. */
static lafs_status cut(struct lafs_refiner *r, const struct lafs_image *photo, int slot, struct glance *g,
                       struct lafs_err *err)
{
    float template[10];
    double m[6];
    lafs_refiner_template(template);
    for (int i = 0; i < 10; i++) template[i] = (SIDE - 1) / 2.0f + g->zoomed * (template[i] - (SIDE - 1) / 2.0f);
    LAFS_TRY(lafs_similarity(g->by, template, 5, m, err));
    LAFS_TRY(lafs_affine_invert(m, g->back, err));
    LAFS_TRY(lafs_warp_affine(photo, m, &r->crop, err));
    lafs_refiner_input(r->crop.px, r->host + (size_t)slot * SIDE * SIDE * 3);
    return LAFS_OK;
}

/* n <= BATCH glances at once. */
static lafs_status look(struct lafs_refiner *r, const struct lafs_image *photo, int n, struct glance *g,
                        struct lafs_err *err)
{
    const struct lafs_ops *op = r->backend.ops;
    struct lafs_dev *dev = r->backend.dev;
    int of[BATCH], cuts = 0;
    for (int i = 0; i < n; i++) {
        lafs_status st = cut(r, photo, cuts, &g[i], err);
        if (st == LAFS_OK) of[cuts++] = i;
        else if (st != LAFS_BAD_RECORD) return st;
    }
    if (!cuts) return LAFS_OK;
    op->upload(dev, r->image, r->host, (size_t)cuts * SIDE * SIDE * 3 * sizeof *r->host);
    lafs_convnet_forward(&r->work, &r->backend, NULL, NULL, cuts, r->image);
    op->download(dev, r->maps, lafs_convnet_out(&r->work, LAFS_REFINER_HEAD),
                 (size_t)cuts * CELLS * CHANNELS * sizeof *r->maps);
    LAFS_TRY(op->sync(dev, err));
    for (int k = 0; k < cuts; k++) {
        struct glance *f = &g[of[k]];
        float logit = lafs_refiner_decode(r->maps + (size_t)k * CELLS * CHANNELS, f->points68, NULL);
        lafs_affine_apply(f->back, f->points68, POINTS, f->points68);
        f->confidence = 1 / (1 + expf(-logit));
        f->looked = 1;
    }
    return LAFS_OK;
}

/* All looks at n <= FACES faces: the first at each, then all others. */
static lafs_status look_twice(struct lafs_refiner *r, const struct lafs_image *photo, int n, struct lafs_refined *out,
                              struct lafs_err *err)
{
    struct glance first[FACES], again[BATCH];
    int of[BATCH], more = 0;
    for (int i = 0; i < n; i++) first[i] = (struct glance){.by = out[i].points, .zoomed = zoom[0]};
    LAFS_TRY(look(r, photo, n, first, err));
    for (int i = 0; i < n; i++) {
        if (!first[i].looked) continue;
        lafs_points68_to_5(first[i].points68, out[i].points);
        out[i].looked = 1;
        for (int k = 1; k < LOOKS; k++) {
            of[more] = i;
            again[more++] = (struct glance){.by = out[i].points, .zoomed = zoom[k]};
        }
    }
    LAFS_TRY(look(r, photo, more, again, err));
    for (int k = 0; k < more; k++) { /* one that cannot be cut has seen what the first has */
        const struct glance *g = again[k].looked ? &again[k] : &first[of[k]];
        struct lafs_refined *f = &out[of[k]];
        for (int j = 0; j < 2 * POINTS; j++) f->points68[j] += g->points68[j] / (LOOKS - 1);
        f->confidence += g->confidence / (LOOKS - 1);
    }
    for (int i = 0; i < n; i++)
        if (out[i].looked) lafs_points68_to_5(out[i].points68, out[i].points);
    return LAFS_OK;
}

lafs_status lafs_refine(struct lafs_refiner *r, const struct lafs_image *photo, int n, const float *points,
                        struct lafs_refined *out, struct lafs_err *err)
{
    for (int i = 0; i < n; i++) {
        out[i] = (struct lafs_refined){.confidence = 0};
        memcpy(out[i].points, points + 10 * i, sizeof out[i].points);
    }
    for (int i = 0; i < n; i += FACES)
        LAFS_TRY(look_twice(r, photo, n - i < FACES ? n - i : FACES, out + i, err));
    return LAFS_OK;
}
