/* lafs-patch: patches at landmarks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/filter.h"
#include "data/face.h"
#include "data/views.h"
#include "model/viewtokens.h"

static struct {
    const char *method;
    double sigma;
    int64_t subset, patch, patches;
    int ordered, grid, keep, mosaic;
} o = {.method = "lafs", .sigma = 5, .subset = 36, .patch = 8, .patches = 196};

static const struct cli_option options[] = {
    {"method", 0, CLI_CHOICE, &o.method, "lafs|dino", "how views and faces are cut: at landmarks, or on a grid", 0,
     0, "lafs"},
    {"sigma", 0, CLI_DOUBLE, &o.sigma, "PIXELS", "perturbation of the landmarks of views; 0: none", 0, 112, "5"},
    {"subset", 0, CLI_INT, &o.subset, "N", "patches of a local view", 1, 4096, "36"},
    {"ordered", 0, CLI_FLAG, &o.ordered, NULL, "keep a local view's patches in landmark order: no shuffle", 0, 0, NULL},
    {"grid", 0, CLI_FLAG, &o.grid, NULL, "landmarks on a grid, instead of those in the records", 0, 0, NULL},
    {"patches", 0, CLI_INT, &o.patches, "N", "landmarks of the grid, a square number", 1, 4096, "196"},
    {"patch", 0, CLI_INT, &o.patch, "N", "side of a patch in pixels", 2, 32, "8"},
    {"keep", 0, CLI_FLAG, &o.keep, NULL, "keep the augmented crops of views in the records", 0, 0, NULL},
    {"mosaic", 0, CLI_FLAG, &o.mosaic, NULL, "replace the picture of each face by its patches, side by side", 0, 0,
     NULL},
    CLI_OUT, CLI_SHARDS, CLI_JOBS,
    CLI_TAKE, CLI_MAX_PIXELS, CLI_MAX_BAD, CLI_REJECTS, CLI_LOG, CLI_PRESET, CLI_ALWAYS, {0}};

static const struct cli_program program = {"lafs-patch", "[OPTION]... [FACES | VIEWS]...", "cut patches at landmarks",
                                           options};

enum { MAX_POINTS = 4096, MAX_SIDE = 1024 };

/* What a worker needs for one view at a time. */
struct worker {
    struct lafs_backend backend; /* without a pool: workers run side by side */
    float *image;                /* (side, side, 3) */
    size_t image_size;
    float *landmarks, *points;   /* (MAX_POINTS, 2) */
    float *tokens;               /* grown: all views' patches of a record */
    size_t tokens_size;
    int32_t *index;              /* (LAFS_MAX_VIEWS, MAX_POINTS) */
};

static struct {
    struct lafs_point_rule rule;
    struct worker *worker;
} s;

static lafs_status grow(float **p, size_t *have, size_t want, struct lafs_err *err)
{
    if (want <= *have) return LAFS_OK;
    lafs_free(*p);
    *have = 0;
    LAFS_TRY(lafs_alloc(p, want, sizeof **p, err));
    *have = want;
    return LAFS_OK;
}

/* Patches of one u8 crop of `size` pixels at w->points (n,2), or on the grid of DINO, into tokens. */
static lafs_status cut(struct worker *w, const uint8_t *px, int size, int64_t n, float *tokens, struct lafs_err *err)
{
    const struct lafs_backend *b = &w->backend;
    size_t values = (size_t)size * (size_t)size * 3;
    const int64_t off[2] = {0, n};
    struct lafs_seqs one = {1, off, off, n};
    LAFS_TRY(grow(&w->image, &w->image_size, values, err));
    b->ops->u8_to_f32(b->dev, (int64_t)values, px, w->image);
    if (s.rule.dino) b->ops->grid_cut(b->dev, 1, size, s.rule.patch, w->image, tokens);
    else b->ops->patch_cut(b->dev, &one, size, s.rule.patch, !o.grid, w->image, w->points, tokens);
    return b->ops->sync(b->dev, err);
}

/* Landmarks of a view or record into w->landmarks; *n of them. */
static lafs_status get_landmarks(struct worker *w, const void *data, int64_t have, int64_t *n, struct lafs_err *err)
{
    if (o.grid) {
        *n = o.patches;
        lafs_grid_landmarks((int)o.patches, w->landmarks);
        return LAFS_OK;
    }
    if (!data) return lafs_fail(err, LAFS_BAD_RECORD, "no landmarks (lafs-landmark adds them)");
    if (have > MAX_POINTS) return lafs_fail(err, LAFS_BAD_RECORD, "more than %d landmarks", MAX_POINTS);
    memcpy(w->landmarks, data, (size_t)have * 2 * sizeof(float));
    *n = have;
    return LAFS_OK;
}

static lafs_status cut_views(struct worker *w, struct filter_item *it, struct lafs_view *view, int views)
{
    struct lafs_err *err = &it->err;
    const char *key = lafs_sample_key(&it->in);
    struct lafs_point_rule rule = s.rule;
    int64_t epoch, width = (int64_t)rule.patch * rule.patch * 3, at = 0, count[LAFS_MAX_VIEWS], r = 0;
    if (lafs_sample_int(&it->in, "epoch", &epoch, err) != LAFS_OK)
        return lafs_fail(err, LAFS_BAD_RECORD, "views, but no field 'epoch'");
    for (int v = 0; v < views; v++) {
        if (!view[v].augmented)
            return lafs_fail(err, LAFS_BAD_RECORD, "view %d has no augmented crop (lafs-augment --render makes them)",
                             v);
        if (!rule.dino) LAFS_TRY(get_landmarks(w, view[v].landmarks, view[v].R, &r, err));
        rule.landmarks = (int)r;
        count[v] = lafs_view_tokens(&rule, view[v].plan.kind, view[v].plan.out_size);
        if (!count[v])
            return lafs_fail(err, LAFS_BAD_RECORD, "view %d, of %d pixels, holds no patch", v, view[v].plan.out_size);
        at += count[v];
    }
    if (at > (int64_t)LAFS_MAX_VIEWS * MAX_POINTS) return lafs_fail(err, LAFS_BAD_RECORD, "too many patches");
    LAFS_TRY(grow(&w->tokens, &w->tokens_size, (size_t)(at * width), err));
    at = 0;
    for (int v = 0; v < views; v++) {
        int32_t *index = w->index + (size_t)v * MAX_POINTS;
        if (!rule.dino) {
            LAFS_TRY(get_landmarks(w, view[v].landmarks, view[v].R, &r, err));
            rule.landmarks = (int)r;
            lafs_view_points(&rule, view[v].plan.kind, epoch, key, v, w->landmarks, w->points, index);
        }
        float *tokens = w->tokens + at * width;
        LAFS_TRY(cut(w, view[v].augmented, view[v].plan.out_size, count[v], tokens, err));
        view[v].index = rule.dino ? NULL : index;
        view[v].patches = tokens;
        view[v].n = count[v];
        view[v].p = rule.patch;
        at += count[v];
    }
    if (!o.keep)
        for (int v = 0; v < views; v++) view[v].augmented = NULL;
    lafs_views_set(&it->in, view, views);
    return LAFS_OK;
}

/* The picture of patches side by side, each turned upright: row k / n, column k % n. */
static lafs_status mosaic(struct worker *w, struct filter_item *it, int64_t r)
{
    int n = (int)ceil(sqrt((double)r)), p = s.rule.patch, by_rows = o.grid || s.rule.dino;
    struct lafs_image im = {0};
    struct lafs_buf jpg;
    lafs_buf_init(&jpg);
    LAFS_TRY(lafs_image_new(&im, n * p, n * p, &it->err));
    memset(im.px, 0, (size_t)im.w * (size_t)im.h * 3);
    for (int64_t k = 0; k < r; k++)
        for (int x = 0; x < p; x++)
            for (int y = 0; y < p; y++)
                for (int c = 0; c < 3; c++) {
                    int first = by_rows ? y : x, second = by_rows ? x : y;
                    float v = (w->tokens[((k * p + first) * p + second) * 3 + c] + 1) * 127.5f;
                    int64_t px = ((k / n * p + y) * im.w + k % n * p + x) * 3 + c;
                    im.px[px] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lroundf(v));
                }
    lafs_status st = lafs_jpeg_encode(&jpg, &im, 95, &it->err);
    if (st == LAFS_OK) lafs_face_set(&it->in, jpg.data, jpg.size);
    lafs_image_release(&im);
    lafs_buf_release(&jpg);
    return st;
}

/* Of a face of `side` pixels: where its *r patches are cut, into w->points; those of DINO's grid need no points. */
static lafs_status place_patches(struct worker *w, struct filter_item *it, int side, int64_t *r)
{
    struct lafs_nd a = {0};
    if (s.rule.dino) {
        *r = lafs_view_tokens(&s.rule, LAFS_VIEW_GLOBAL, side);
        return *r ? LAFS_OK : lafs_fail(&it->err, LAFS_BAD_RECORD, "a picture of %d pixels holds no patch", side);
    }
    if (!o.grid) {
        lafs_status st = lafs_sample_nd(&it->in, "landmarks", &a, &it->err);
        if (st != LAFS_OK && st != LAFS_END) return st;
        if (st == LAFS_OK && (strcmp(a.type, "<f4") || a.ndim != 2 || a.shape[1] != 2 || a.shape[0] < 1))
            return lafs_fail(&it->err, LAFS_BAD_RECORD, "field 'landmarks': not an f4 array (R, 2)");
    }
    LAFS_TRY(get_landmarks(w, a.data, a.shape[0], r, &it->err));
    memcpy(w->points, w->landmarks, (size_t)*r * 2 * sizeof(float));
    return LAFS_OK;
}

/* A face: unperturbed patches at its landmarks, or those of a grid. */
static lafs_status cut_face(struct worker *w, struct filter_item *it)
{
    struct lafs_image im = {0};
    int64_t r = 0, p = s.rule.patch;
    lafs_status st = lafs_face_image(&it->in, cli.max_pixels, &im, &it->err);
    if (st == LAFS_OK && (im.w != im.h || im.w > MAX_SIDE))
        st = lafs_fail(&it->err, LAFS_BAD_RECORD, "the picture is %d x %d pixels: no aligned face", im.w, im.h);
    if (st == LAFS_OK) st = place_patches(w, it, im.w, &r);
    if (st == LAFS_OK) st = grow(&w->tokens, &w->tokens_size, (size_t)(r * p * p * 3), &it->err);
    if (st == LAFS_OK) st = cut(w, im.px, im.w, r, w->tokens, &it->err);
    lafs_image_release(&im);
    LAFS_TRY(st);
    if (o.mosaic) return mosaic(w, it, r);
    lafs_sample_set_f32(&it->in, "patches", (int64_t[]){r, p, p, 3}, 4, w->tokens);
    return LAFS_OK;
}

static lafs_status patch(void *arg, struct filter_item *it, int worker)
{
    (void)arg;
    struct lafs_view view[LAFS_MAX_VIEWS];
    int views;
    lafs_status st = lafs_views_get(&it->in, view, LAFS_MAX_VIEWS, &views, &it->err);
    if (st == LAFS_END) return cut_face(&s.worker[worker], it);
    LAFS_TRY(st);
    return cut_views(&s.worker[worker], it, view, views);
}

static lafs_status header(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err)
{
    (void)arg;
    (void)err;
    s.rule.seed = in->seed >= 0 ? (uint64_t)in->seed : 1;
    if (o.mosaic) { /* no faces any more */
        out->pixels.size = 0;
        snprintf(out->pixels.aligner, sizeof out->pixels.aligner, "none");
    }
    return LAFS_OK;
}

static lafs_status open_workers(int n, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(&s.worker, (size_t)n, sizeof *s.worker, err));
    for (int i = 0; i < n; i++) {
        struct worker *w = &s.worker[i];
        LAFS_TRY(lafs_backend_open(&w->backend, "cpu", NULL, NULL, err));
        LAFS_TRY(lafs_alloc(&w->landmarks, MAX_POINTS * 2, sizeof(float), err));
        LAFS_TRY(lafs_alloc(&w->points, MAX_POINTS * 2, sizeof(float), err));
        LAFS_TRY(lafs_alloc(&w->index, (size_t)LAFS_MAX_VIEWS * MAX_POINTS, sizeof *w->index, err));
    }
    return LAFS_OK;
}

static void close_workers(int n)
{
    for (int i = 0; s.worker && i < n; i++) {
        struct worker *w = &s.worker[i];
        lafs_backend_close(&w->backend);
        lafs_free(w->image);
        lafs_free(w->landmarks);
        lafs_free(w->points);
        lafs_free(w->tokens);
        lafs_free(w->index);
    }
    lafs_free(s.worker);
}

int main(int argc, char **argv)
{
    int n, status;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    int threads = lafs_pool_threads(cli_pool()), root = (int)lround(sqrt((double)o.patches));
    if (!o.grid && cli_given(&o.patches)) cli_misuse("--patches is of a --grid: records have landmarks of their own");
    if (o.grid && root * root != o.patches) cli_misuse("--patches %lld is no square number", (long long)o.patches);
    s.rule = (struct lafs_point_rule){.sigma = (float)o.sigma, .subset = (int)o.subset, .ordered = o.ordered,
                                      .dino = !strcmp(o.method, "dino"), .patch = (int)o.patch};
    if (open_workers(threads, &err) != LAFS_OK) status = cli_fail(&err);
    else {
        const struct filter f = {.program = &program, .what = "records", .each = patch, .header = header};
        status = filter_run(&f, (const char *const *)args, n, NULL, NULL, 0);
    }
    close_workers(threads);
    return cli_finish(status);
}
