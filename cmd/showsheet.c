#include "cmd/showsheet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cmd/showvalue.h"
#include "compute/backend.h"
#include "data/face.h"
#include "data/views.h"
#include "image/draw.h"

enum { GAP = 6, LINE = LAFS_FONT_H + 1, QUALITY = 92, BIG = 224, SMALL = 160, MAX_SIDE = 65500, MAX_R = 4096 };

static const struct lafs_colour paper = {250, 250, 250}, ink = {30, 30, 30}, empty = {225, 225, 225},
                                green = {40, 220, 90}, yellow = {255, 225, 40}, red = {255, 60, 50},
                                cyan = {60, 200, 255}, dark = {20, 20, 20};

void sheet_release(struct sheet *s)
{
    for (int i = 0; i < s->count; i++) lafs_image_release(&s->cell[i].picture);
    lafs_free(s->cell);
    s->cell = NULL;
    s->count = s->cap = 0;
}

static lafs_status new_cell(struct sheet *s, struct sheet_cell **out, struct lafs_err *err)
{
    if (s->count == SHEET_MAX_CELLS)
        return lafs_fail(err, LAFS_FAILED, "a contact sheet holds at most %d pictures", SHEET_MAX_CELLS);
    if (s->count == s->cap) {
        int cap = s->cap ? s->cap * 2 : 64;
        LAFS_TRY(lafs_resize(&s->cell, (size_t)s->count, (size_t)cap, sizeof *s->cell, err));
        s->cap = cap;
    }
    *out = &s->cell[s->count++];
    memset(*out, 0, sizeof **out);
    return LAFS_OK;
}

/* -- drawing on a picture that was scaled by `scale` and put at (dx, dy) -- */

struct place {
    struct lafs_image *im;
    double scale, dx, dy;
};

static double at_x(const struct place *p, double x) { return p->dx + (x + 0.5) * p->scale - 0.5; }
static double at_y(const struct place *p, double y) { return p->dy + (y + 0.5) * p->scale - 0.5; }

/* Dots with a dark rim, so that they show on any skin. */
static void put_dot(const struct place *p, double x, double y, double radius, struct lafs_colour c)
{
    if (!isfinite(x) || !isfinite(y)) return;
    lafs_draw_dot(p->im, at_x(p, x), at_y(p, y), radius + 0.8, dark);
    lafs_draw_dot(p->im, at_x(p, x), at_y(p, y), radius, c);
}

static void put_box(const struct place *p, const float box[4])
{
    int thick = p->im->w >= SMALL ? 2 : 1;
    lafs_draw_box(p->im, at_x(p, box[0]), at_y(p, box[1]), at_x(p, box[0] + box[2]), at_y(p, box[1] + box[3]), thick,
                  green);
}

/* Landmarks (R,2): pixel index = value - 0.5. chosen (n) are drawn bright, all others faint; NULL: all bright. */
static void put_landmarks(const struct place *p, const float *xy, int64_t R, const int32_t *chosen, int64_t n)
{
    double radius = p->im->w >= BIG ? 1.4 : 0.7;
    for (int64_t k = 0; k < R; k++) {
        double x = at_x(p, xy[2 * k] - 0.5), y = at_y(p, xy[2 * k + 1] - 0.5);
        lafs_draw_dot(p->im, x, y, chosen ? radius * 0.5 : radius, chosen ? cyan : red);
    }
    for (int64_t k = 0; chosen && k < n; k++)
        lafs_draw_dot(p->im, at_x(p, xy[2 * chosen[k]] - 0.5), at_y(p, xy[2 * chosen[k] + 1] - 0.5), radius, red);
}

/* cell->picture = im, scaled to fit a square of `size`; *p tells where it is. */
static lafs_status fit(struct sheet_cell *cell, const struct lafs_image *im, int size, struct place *p,
                       struct lafs_err *err)
{
    struct lafs_image scaled = {0};
    double scale = (double)size / (im->w > im->h ? im->w : im->h);
    int w = (int)lround(im->w * scale), h = (int)lround(im->h * scale);
    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    lafs_status st = lafs_image_scale(im, w, h, &scaled, err);
    if (st == LAFS_OK) st = lafs_image_new(&cell->picture, size, size, err);
    if (st == LAFS_OK) {
        lafs_draw_fill(&cell->picture, 0, 0, size, size, empty);
        lafs_draw_image(&cell->picture, (size - w) / 2, (size - h) / 2, &scaled);
        *p = (struct place){&cell->picture, scale, (size - w) / 2, (size - h) / 2};
    }
    lafs_image_release(&scaled);
    return st;
}

/* -- captions -- */

static void caption(struct sheet *s, struct sheet_cell *cell, const struct lafs_sample *sample)
{
    const char *key = lafs_sample_key(sample), *slash = strrchr(key, '/');
    double v;
    snprintf(cell->caption[0], sizeof cell->caption[0], "%.47s", slash ? slash + 1 : key);
    if (lafs_sample_double(sample, "score", &v, NULL) == LAFS_OK)
        snprintf(cell->caption[1], sizeof cell->caption[1], "score %.3f", v);
    const char *name;
    size_t len, n = strlen(cell->caption[1]);
    if (lafs_sample_str(sample, "name", &name, &len, NULL) == LAFS_OK && strncmp(cell->caption[0], name, len))
        snprintf(cell->caption[1] + n, sizeof cell->caption[1] - n, "%s%.*s", n ? "  " : "", len < 40 ? (int)len : 40,
                 name);
    if (s->captioned < (cell->caption[1][0] ? 2 : 1)) s->captioned = cell->caption[1][0] ? 2 : 1;
}

/* -- one record, one picture -- */

static lafs_status draw_marks(const struct lafs_sample *sample, const struct place *p, struct lafs_err *err)
{
    float box[4], points[10], p68[136], *xy;
    int64_t four = 4, five[2] = {5, 2}, n68[2] = {68, 2}, shape[2] = {-1, 2};
    double radius = p->im->w >= SMALL ? 2 : 1.2;
    lafs_status st = lafs_sample_f32(sample, "box", &four, 1, box, 4, err);
    if (st == LAFS_OK) {
        put_box(p, box);
        if (box[2] * p->scale < 60) radius = 1; /* a small face in a large photo */
    }
    if (st > LAFS_END) return st;
    st = lafs_sample_f32(sample, "points68", n68, 2, p68, 136, err);
    for (int k = 0; st == LAFS_OK && k < 68; k++)
        lafs_draw_dot(p->im, at_x(p, p68[2 * k]), at_y(p, p68[2 * k + 1]), 0.8, cyan);
    if (st > LAFS_END) return st;
    st = lafs_sample_f32(sample, "points", five, 2, points, 10, err);
    for (int k = 0; st == LAFS_OK && k < 5; k++)
        put_dot(p, points[2 * k], points[2 * k + 1], radius, yellow);
    if (st > LAFS_END) return st;
    if (!lafs_sample_has(sample, "landmarks")) return LAFS_OK;
    LAFS_TRY(lafs_alloc(&xy, MAX_R * 2, sizeof *xy, err));
    st = lafs_sample_f32(sample, "landmarks", shape, 2, xy, MAX_R * 2, err);
    if (st == LAFS_OK) put_landmarks(p, xy, shape[0], NULL, 0);
    lafs_free(xy);
    return st;
}

/* A number that tells photos apart: the same bytes under another key, but for the number of a face, are another photo,
 * of which somebody has two. 0: none. */
static uint64_t photo_hash(const struct lafs_sample *sample)
{
    const void *data;
    size_t size;
    if (lafs_face_bytes(sample, &data, &size, NULL) != LAFS_OK) return 0;
    const char *key = lafs_sample_key(sample);
    uint64_t h = lafs_fnv1a(data, size) * 31 + lafs_fnv1a(key, lafs_face_stem(key));
    return h ? h : 1;
}

/* One more face of the photo that was drawn last. */
static lafs_status add_to_last(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    struct sheet_cell *cell = &s->cell[s->count - 1];
    struct place p = {&cell->picture, s->last_place[0], s->last_place[1], s->last_place[2]};
    LAFS_TRY(draw_marks(sample, &p, err));
    if (s->last_faces++ == 1) { /* the caption is the photo's now */
        char *end = strrchr(cell->caption[0], '-');
        if (end && end[1] == 'f') *end = 0;
    }
    snprintf(cell->caption[1], sizeof cell->caption[1], "%d faces", s->last_faces);
    return LAFS_OK;
}

static lafs_status add_face(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    struct lafs_image im = {0};
    struct sheet_cell *cell = NULL;
    struct place p;
    uint64_t photo = photo_hash(sample);
    if (s->count && photo && photo == s->last_photo && lafs_sample_has(sample, "box"))
        return add_to_last(s, sample, err);
    lafs_status st = lafs_face_image(sample, s->max_pixels, &im, err);
    if (st == LAFS_OK && !s->size) s->size = lafs_sample_has(sample, "landmarks") || im.w > SMALL ? BIG : SMALL;
    if (st == LAFS_OK) st = new_cell(s, &cell, err);
    if (st == LAFS_OK) {
        st = fit(cell, &im, s->size, &p, err);
        if (st == LAFS_OK) st = draw_marks(sample, &p, err);
        if (st == LAFS_OK) {
            caption(s, cell, sample);
            s->last_photo = photo;
            s->last_faces = 1;
            s->last_place[0] = p.scale, s->last_place[1] = p.dx, s->last_place[2] = p.dy;
        } else lafs_image_release(&s->cell[--s->count].picture);
    }
    lafs_image_release(&im);
    return st;
}

/* -- mosaics -- */

/* im = the patches (n,p,p,3), first axis x, in rows of the square root of n. */
static lafs_status mosaic(const void *patches, int64_t n, int64_t p, struct lafs_image *im, struct lafs_err *err)
{
    int64_t side = (int64_t)ceil(sqrt((double)n));
    if (n < 1 || p < 1 || side * p > 8192)
        return lafs_fail(err, LAFS_BAD_RECORD, "%lld patches of %lld pixels", (long long)n, (long long)p);
    LAFS_TRY(lafs_image_new(im, (int)(side * p), (int)((n + side - 1) / side * p), err));
    lafs_draw_fill(im, 0, 0, im->w, im->h, empty);
    const unsigned char *from = patches;
    for (int64_t k = 0; k < n; k++)
        for (int64_t x = 0; x < p; x++)
            for (int64_t y = 0; y < p; y++) {
                uint8_t *to = im->px + ((k / side * p + y) * im->w + k % side * p + x) * 3;
                for (int c = 0; c < 3; c++, from += sizeof(float)) {
                    float v;
                    memcpy(&v, from, sizeof v);
                    to[c] = (uint8_t)(v > -1 ? v < 1 ? (v + 1) * 127.5f + 0.5f : 255 : 0);
                }
            }
    return LAFS_OK;
}

static lafs_status add_mosaic_of(struct sheet *s, const void *patches, int64_t n, int64_t p, struct sheet_cell **cell,
                                 struct lafs_err *err)
{
    struct lafs_image im = {0};
    struct place where;
    if (!s->size) s->size = BIG;
    lafs_status st = mosaic(patches, n, p, &im, err);
    if (st == LAFS_OK) st = new_cell(s, cell, err);
    if (st == LAFS_OK) {
        st = fit(*cell, &im, s->size, &where, err);
        if (st != LAFS_OK) s->count--;
    }
    lafs_image_release(&im);
    return st;
}

static lafs_status add_mosaic(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    struct lafs_nd nd;
    struct sheet_cell *cell = NULL;
    lafs_status st = lafs_sample_nd(sample, "patches", &nd, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no field 'patches': lafs-patch adds it");
    LAFS_TRY(st);
    if (strcmp(nd.type, "<f4") || nd.ndim != 4 || nd.shape[1] != nd.shape[2] || nd.shape[3] != 3)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'patches': not f4 (R, p, p, 3)");
    LAFS_TRY(add_mosaic_of(s, nd.data, nd.shape[0], nd.shape[1], &cell, err));
    caption(s, cell, sample);
    return LAFS_OK;
}

/* -- views -- */

/* Renders the plan of a view that has no pixels. px (size, size, 3). */
static lafs_status render(const struct lafs_viewplan *plan, const struct lafs_image *face, uint8_t *px,
                          struct lafs_err *err)
{
    struct lafs_backend b;
    uint8_t *out[1];
    const uint8_t *source[1] = {face->px};
    LAFS_TRY(lafs_viewplan_check(plan, face->w, face->h, err));
    LAFS_TRY(lafs_backend_open(&b, "cpu", NULL, NULL, err));
    size_t bytes = (size_t)plan->out_size * (size_t)plan->out_size * 3;
    lafs_status st = b.ops->alloc(b.dev, (void **)out, bytes, err);
    if (st == LAFS_OK) {
        b.ops->render(b.dev, 1, plan, source, &face->w, &face->h, NULL, out);
        st = b.ops->sync(b.dev, err);
        b.ops->download(b.dev, px, out[0], bytes);
        b.ops->free(b.dev, out[0]);
    }
    lafs_backend_close(&b);
    return st;
}

static lafs_status draw_view_landmarks(const struct lafs_view *v, const struct place *p, struct lafs_err *err)
{
    float *xy;
    int32_t *index;
    if (!v->landmarks || v->R > MAX_R) return LAFS_OK;
    int64_t n = v->index && v->n <= MAX_R ? v->n : 0;
    LAFS_TRY(lafs_alloc(&xy, (size_t)v->R * 2 + (size_t)n, sizeof *xy, err));
    index = (int32_t *)(void *)(xy + v->R * 2);
    memcpy(xy, v->landmarks, (size_t)v->R * 2 * sizeof *xy);
    if (n) memcpy(index, v->index, (size_t)n * sizeof *index);
    put_landmarks(p, xy, v->R, n && n < v->R ? index : NULL, n);
    lafs_free(xy);
    return LAFS_OK;
}

static lafs_status add_view(struct sheet *s, const struct lafs_view *v, const struct lafs_image *face,
                            struct lafs_err *err)
{
    struct sheet_cell *cell = NULL;
    struct lafs_image im = {0};
    struct place p;
    const uint8_t *px = v->augmented ? v->augmented : v->clean;
    if (v->patches && (s->mosaic || !px)) {
        LAFS_TRY(add_mosaic_of(s, v->patches, v->n, v->p, &cell, err));
    } else {
        int size = v->plan.out_size;
        if (!px && !face->px)
            return lafs_fail(err, LAFS_BAD_RECORD, "views without pixels, and no face to make them from");
        LAFS_TRY(lafs_image_new(&im, size, size, err));
        lafs_status st = LAFS_OK;
        if (px) memcpy(im.px, px, (size_t)size * (size_t)size * 3);
        else st = render(&v->plan, face, im.px, err);
        if (st == LAFS_OK) st = new_cell(s, &cell, err);
        if (st == LAFS_OK) st = fit(cell, &im, s->size, &p, err);
        if (st == LAFS_OK) st = draw_view_landmarks(v, &p, err);
        lafs_image_release(&im);
        LAFS_TRY(st);
    }
    snprintf(cell->caption[0], sizeof cell->caption[0], "%s%s", lafs_view_kind_name(v->plan.kind),
             v->augmented || s->mosaic || !v->clean ? "" : " (clean)");
    return LAFS_OK;
}

static lafs_status add_views(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    struct lafs_view view[LAFS_MAX_VIEWS];
    struct lafs_image face = {0};
    struct place p;
    int n, first = s->count;
    lafs_status st = lafs_views_get(sample, view, LAFS_MAX_VIEWS, &n, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no field 'views': lafs-augment adds it");
    LAFS_TRY(st);
    if (!s->size) s->size = SMALL;
    struct sheet_cell *cell = NULL;
    if (lafs_face_has(sample)) {
        st = lafs_face_image(sample, s->max_pixels, &face, err);
        if (st == LAFS_OK) st = new_cell(s, &cell, err);
        if (st == LAFS_OK) st = fit(cell, &face, s->size, &p, err);
        if (st == LAFS_OK) caption(s, cell, sample);
    }
    for (int k = 0; k < n && st == LAFS_OK; k++) st = add_view(s, view + k, &face, err);
    if (st == LAFS_OK && s->count > first) {
        const char *key = lafs_sample_key(sample), *slash = strrchr(key, '/');
        s->cell[first].starts_row = 1;
        if (!face.px)
            snprintf(s->cell[first].caption[1], sizeof s->cell[first].caption[1], "%.47s", slash ? slash + 1 : key);
        if (s->captioned < 1 + !face.px) s->captioned = 1 + !face.px;
    }
    if (st != LAFS_OK)
        while (s->count > first) lafs_image_release(&s->cell[--s->count].picture);
    lafs_image_release(&face);
    return st;
}

lafs_status sheet_add(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err)
{
    if (s->views) return add_views(s, sample, err);
    return s->mosaic ? add_mosaic(s, sample, err) : add_face(s, sample, err);
}

/* -- the whole -- */

static int longest_row(const struct sheet *s)
{
    int longest = 0, row = 0;
    for (int i = 0; i < s->count; i++) {
        if (s->cell[i].starts_row) row = 0;
        row++;
        longest = row > longest ? row : longest;
    }
    return longest;
}

lafs_status sheet_jpeg(const struct sheet *s, struct lafs_buf *out, struct lafs_err *err)
{
    struct lafs_image im = {0};
    if (s->count == 0) return lafs_fail(err, LAFS_FAILED, "no pictures for a contact sheet");
    int columns = s->columns ? s->columns : s->views ? longest_row(s) : (int)ceil(sqrt(s->count * 1.4));
    if (columns > s->count) columns = s->count;
    int wide = s->size + GAP, high = s->size + GAP + s->captioned * LINE, rows = 0, column = 0;
    for (int i = 0; i < s->count; i++) {
        if (i == 0 || column == columns || s->cell[i].starts_row) rows++, column = 0;
        column++;
    }
    int64_t w = (int64_t)columns * wide + GAP, h = (int64_t)rows * high + GAP;
    if (w > MAX_SIDE || h > MAX_SIDE || w * h > (int64_t)1 << 29)
        return lafs_fail(err, LAFS_FAILED,
                         "a sheet of %lld x %lld pixels: take fewer pictures (-n) or smaller ones (--cell)",
                         (long long)w, (long long)h);
    LAFS_TRY(lafs_image_new(&im, (int)w, (int)h, err));
    lafs_draw_fill(&im, 0, 0, im.w, im.h, paper);
    int row = -1;
    column = 0;
    for (int i = 0; i < s->count; i++) {
        const struct sheet_cell *c = &s->cell[i];
        if (i == 0 || column == columns || c->starts_row) row++, column = 0;
        int x = GAP + column++ * wide, y = GAP + row * high;
        lafs_draw_image(&im, x, y, &c->picture);
        for (int k = 0; k < 2; k++)
            lafs_draw_text(&im, x + 1, y + s->size + 2 + k * LINE, s->size - 1, c->caption[k], ink);
    }
    lafs_status st = lafs_jpeg_encode(out, &im, QUALITY, err);
    lafs_image_release(&im);
    return st;
}
