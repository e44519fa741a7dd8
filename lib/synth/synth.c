#include "synth/synth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "image/align.h"
#include "synth/figure.h"
#include "synth/paint.h"
#include "synth/points.h"
#include "synth/raster.h"
#include "synth/scene.h"

struct lafs_synth {
    struct lafs_synth_options opt;
    struct model model;
};

struct lafs_synth_work {
    struct canvas canvas;
    struct raster raster;
    struct figure figure;
    struct scene scene;
    struct identity who;
    int64_t drawn; /* the person in who; -1: none */
};

lafs_status lafs_synth_new(struct lafs_synth **out, const struct lafs_synth_options *opt, struct lafs_err *err)
{
    *out = NULL;
    if (opt->width < LAFS_SYNTH_MIN_SIZE || opt->width > LAFS_SYNTH_MAX_SIZE || opt->height < LAFS_SYNTH_MIN_SIZE ||
        opt->height > LAFS_SYNTH_MAX_SIZE)
        return lafs_fail(err, LAFS_USAGE, "a photo's side must lie between %d and %d pixels", LAFS_SYNTH_MIN_SIZE,
                         LAFS_SYNTH_MAX_SIZE);
    if (opt->faces_min < 1 || opt->faces_max < opt->faces_min || opt->faces_max > LAFS_SYNTH_MAX_FACES)
        return lafs_fail(err, LAFS_USAGE, "a photo must show between 1 and %d faces", LAFS_SYNTH_MAX_FACES);
    struct lafs_synth *s;
    LAFS_TRY(lafs_alloc0(&s, 1, sizeof *s, err));
    s->opt = *opt;
    lafs_synth_camera_tables();
    lafs_status st = lafs_synth_model_init(&s->model, err);
    if (st != LAFS_OK) {
        lafs_synth_free(s);
        return st;
    }
    *out = s;
    return LAFS_OK;
}

void lafs_synth_free(struct lafs_synth *s)
{
    if (!s) return;
    lafs_synth_model_release(&s->model);
    lafs_free(s);
}

lafs_status lafs_synth_work_new(struct lafs_synth_work **out, const struct lafs_synth *s, struct lafs_err *err)
{
    *out = NULL;
    struct lafs_synth_work *w;
    LAFS_TRY(lafs_alloc0(&w, 1, sizeof *w, err));
    w->drawn = -1;
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_synth_canvas_init(&w->canvas, s->opt.width, s->opt.height, err), fail);
    LAFS_TRY_GOTO(st, lafs_synth_raster_init(&w->raster, s->opt.width, s->opt.height, err), fail);
    LAFS_TRY_GOTO(st, lafs_synth_figure_init(&w->figure, &s->model, err), fail);
    *out = w;
    return LAFS_OK;
fail:
    lafs_synth_work_free(w);
    return st;
}

void lafs_synth_work_free(struct lafs_synth_work *w)
{
    if (!w) return;
    lafs_synth_canvas_release(&w->canvas);
    lafs_synth_raster_release(&w->raster);
    lafs_synth_figure_release(&w->figure);
    lafs_free(w);
}

void lafs_synth_photo_init(struct lafs_synth_photo *p) { *p = (struct lafs_synth_photo){0}; }
void lafs_synth_photo_release(struct lafs_synth_photo *p) { lafs_image_release(&p->image); }

/* Figures from the furthest to the nearest; equal ones by number. */
static void order_by_depth(const struct scene *sc, int order[LAFS_SYNTH_MAX_FACES])
{
    for (int k = 0; k < sc->faces; k++) {
        int at = k;
        while (at > 0 && sc->pose[order[at - 1]].scale > sc->pose[k].scale) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = k;
    }
}

lafs_status lafs_synth_render(const struct lafs_synth *s, struct lafs_synth_work *w, int64_t person, int64_t number,
                              struct lafs_synth_photo *out, struct lafs_err *err)
{
    if (person < 0 || number < 0) return lafs_fail(err, LAFS_USAGE, "persons and photos are numbered from 0");
    if (w->drawn != person) {
        lafs_synth_identity_draw(&w->who, s->opt.seed, 0, (uint64_t)person, s->model.head.shapes);
        w->drawn = person;
    }
    struct scene *sc = &w->scene;
    lafs_synth_scene_draw(sc, &s->opt, s->model.head.shapes, &w->who, number);
    if (out->image.w != sc->width || out->image.h != sc->height || !out->image.px)
        LAFS_TRY(lafs_image_new(&out->image, sc->width, sc->height, err));
    lafs_synth_backdrop_paint(&w->canvas, &s->model, sc);
    int order[LAFS_SYNTH_MAX_FACES];
    order_by_depth(sc, order);
    for (int k = 0; k < sc->faces; k++) {
        const struct pose *p = &sc->pose[order[k]];
        lafs_synth_figure_build(&w->figure, &s->model, p, &sc->light);
        lafs_synth_figure_paint(&w->canvas, &w->raster, &s->model, &w->figure, p, &sc->light);
        lafs_synth_points_find(&w->figure, &s->model, p, &out->face[order[k]]);
    }
    out->faces = sc->faces;
    lafs_synth_occluders_paint(&w->canvas, sc);
    lafs_synth_camera_take(&w->canvas, &s->model, sc, out->image.px);
    out->quality = sc->camera.quality;
    return LAFS_OK;
}

lafs_status lafs_synth_align(const struct lafs_synth_photo *p, int size, struct lafs_image *crop, double matrix[6],
                             float points[10], float points68[136], float box[4], struct lafs_err *err)
{
    float to[10];
    const struct lafs_synth_face *f = &p->face[0];
    lafs_align_template(size, to);
    LAFS_TRY(lafs_similarity(f->points, to, 5, matrix, err));
    if (crop->w != size || crop->h != size || !crop->px) LAFS_TRY(lafs_image_new(crop, size, size, err));
    LAFS_TRY(lafs_warp_affine(&p->image, matrix, crop, err));
    lafs_affine_apply(matrix, f->points, 5, points);
    lafs_affine_apply(matrix, f->points68, 68, points68);
    /* The upright box around the turned one's corners. */
    const float *b = f->box, corner[8] = {b[0], b[1], b[0] + b[2], b[1], b[0], b[1] + b[3], b[0] + b[2], b[1] + b[3]};
    float q[8], lo[2], hi[2];
    lafs_affine_apply(matrix, corner, 4, q);
    for (int c = 0; c < 2; c++) {
        lo[c] = hi[c] = q[c];
        for (int i = 1; i < 4; i++) lo[c] = minf(lo[c], q[2 * i + c]), hi[c] = maxf(hi[c], q[2 * i + c]);
        box[c] = lo[c];
        box[2 + c] = hi[c] - lo[c];
    }
    return LAFS_OK;
}

void lafs_synth_describe(const struct lafs_synth *s, int64_t person, struct lafs_synth_person *out)
{
    struct identity id;
    lafs_synth_identity_draw(&id, s->opt.seed, 0, (uint64_t)person, s->model.head.shapes);
    *out = (struct lafs_synth_person){.skin = id.skin, .male = id.male, .age = id.age};
    memcpy(out->shape, id.shape, sizeof out->shape);
}

void lafs_synth_name(uint64_t seed, int64_t person, char name[LAFS_SYNTH_NAME])
{
    if (seed == 1) snprintf(name, LAFS_SYNTH_NAME, "s%06lld", (long long)person);
    else snprintf(name, LAFS_SYNTH_NAME, "s%llu-%06lld", (unsigned long long)seed, (long long)person);
}
