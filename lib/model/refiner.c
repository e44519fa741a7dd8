#include "model/refiner.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "image/align.h"

enum {
    SIDE = LAFS_REFINER_SIDE, MAP = LAFS_REFINER_MAP, POINTS = LAFS_REFINER_POINTS, CELLS = MAP * MAP,
    CHANNELS = LAFS_REFINER_CHANNELS,
    BATCH = 8, /* faces that are looked at together */
    LOOKS = 3  /* the first one tells the others where to look; their points are averaged */
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

float lafs_refiner_decode(const float *maps, float *points68, float *share)
{
    const float step = (float)SIDE / MAP, first = (step - 1) / 2;
    float most[CHANNELS], sum[CHANNELS] = {0}, x[CHANNELS] = {0}, y[CHANNELS] = {0};
    double logit = 0;
    memcpy(most, maps, sizeof most);
    for (int i = 1; i < CELLS; i++)
        for (int k = 0; k < CHANNELS; k++) most[k] = fmaxf(most[k], maps[i * CHANNELS + k]);
    for (int i = 0; i < CELLS; i++) {
        float cx = first + step * (float)(i % MAP), cy = first + step * (float)(i / MAP);
        for (int k = 0; k < POINTS; k++) {
            float e = expf(maps[i * CHANNELS + k] - most[k]);
            if (share) share[k * CELLS + i] = e;
            sum[k] += e;
            x[k] += e * cx;
            y[k] += e * cy;
        }
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

/* The crop of a face by its five points into input `slot`; back receives crop -> photo. LAFS_BAD_RECORD: no crop. */
static lafs_status cut(struct lafs_refiner *r, const struct lafs_image *photo, const float points[10], int slot,
                       float zoomed, double back[6], struct lafs_err *err)
{
    float template[10];
    double m[6];
    lafs_refiner_template(template);
    for (int i = 0; i < 10; i++) template[i] = (SIDE - 1) / 2.0f + zoomed * (template[i] - (SIDE - 1) / 2.0f);
    LAFS_TRY(lafs_similarity(points, template, 5, m, err));
    LAFS_TRY(lafs_affine_invert(m, back, err));
    LAFS_TRY(lafs_warp_affine(photo, m, &r->crop, err));
    lafs_refiner_input(r->crop.px, r->host + (size_t)slot * SIDE * SIDE * 3);
    return LAFS_OK;
}

/* One look at n <= BATCH faces, zoomed. */
static lafs_status look(struct lafs_refiner *r, const struct lafs_image *photo, int n, float zoomed,
                        struct lafs_refined *face, struct lafs_err *err)
{
    const struct lafs_ops *op = r->backend.ops;
    struct lafs_dev *dev = r->backend.dev;
    double back[BATCH][6];
    int of[BATCH], cuts = 0;
    for (int i = 0; i < n; i++) {
        lafs_status st = cut(r, photo, face[i].points, cuts, zoomed, back[cuts], err);
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
        struct lafs_refined *f = &face[of[k]];
        float logit = lafs_refiner_decode(r->maps + (size_t)k * CELLS * CHANNELS, f->points68, NULL);
        lafs_affine_apply(back[k], f->points68, POINTS, f->points68);
        lafs_points68_to_5(f->points68, f->points);
        f->confidence = 1 / (1 + expf(-logit));
        f->looked = 1;
    }
    return LAFS_OK;
}

/* All looks at n <= BATCH faces. */
static lafs_status look_again(struct lafs_refiner *r, const struct lafs_image *photo, int n, struct lafs_refined *out,
                              struct lafs_err *err)
{
    struct lafs_refined first[BATCH];
    LAFS_TRY(look(r, photo, n, zoom[0], out, err));
    memcpy(first, out, (size_t)n * sizeof *out);
    for (int k = 1; k < LOOKS; k++) {
        struct lafs_refined seen[BATCH];
        memcpy(seen, first, (size_t)n * sizeof *seen);
        LAFS_TRY(look(r, photo, n, zoom[k], seen, err));
        for (int i = 0; i < n; i++) { /* out: the mean of those after the first, as far as they have come */
            for (int j = 0; j < 2 * POINTS; j++)
                out[i].points68[j] = ((float)(k - 1) * out[i].points68[j] + seen[i].points68[j]) / (float)k;
            out[i].confidence = ((float)(k - 1) * out[i].confidence + seen[i].confidence) / (float)k;
        }
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
    for (int i = 0; i < n; i += BATCH)
        LAFS_TRY(look_again(r, photo, n - i < BATCH ? n - i : BATCH, out + i, err));
    return LAFS_OK;
}
