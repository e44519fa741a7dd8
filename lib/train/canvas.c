#include "train/canvas.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "data/face.h"
#include "image/align.h"
#include "train/spoil.h"

enum {
    SIDE = LAFS_CANVAS_SIDE,
    POOL = 4,        /* different photos of a canvas */
    PHOTO_FACES = 256
};
static const double SEEN_WELL = 0.6, SEEN_AT_ALL = 0.2; /* shares of a box inside its tile */
static const double MOST_HIDDEN = 0.4;                  /* share of a box behind another face's cover */

struct photo {
    struct lafs_image image;
    struct lafs_canvas_face face[PHOTO_FACES];
    int faces;
};
struct lafs_canvas_maker {
    const struct lafs_index *ix;
    struct lafs_fetch *fetch;
    int64_t max_pixels;
    int no_mirror, side;
    int64_t *first, photos; /* (photos + 1) records of photo i: first[i] .. first[i + 1] - 1 */
    struct scratch {
        struct lafs_sample sample;
        struct photo photo[POOL];
        struct lafs_image tile, small;
    } *scratch; /* (workers) */
    int workers;
};

void lafs_canvas_release(struct lafs_canvas *c) { lafs_image_release(&c->image); }

/* -- photos -- */

static int same_photo(const char *a, const char *b)
{
    size_t n = lafs_face_stem(a);
    return n == lafs_face_stem(b) && a[n] && b[n] && !memcmp(a, b, n);
}

lafs_status lafs_canvas_open(struct lafs_canvas_maker **out, const struct lafs_index *ix, int workers, int no_mirror,
                             int64_t max_pixels, struct lafs_err *err)
{
    struct lafs_canvas_maker *m;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&m, 1, sizeof *m, err));
    m->ix = ix;
    m->max_pixels = max_pixels;
    m->no_mirror = no_mirror;
    m->side = SIDE;
    lafs_status st = lafs_alloc0(&m->scratch, (size_t)workers, sizeof *m->scratch, err);
    if (st == LAFS_OK) {
        m->workers = workers;
        for (int i = 0; i < workers; i++) lafs_sample_init(&m->scratch[i].sample);
        st = lafs_alloc(&m->first, (size_t)ix->samples + 1, sizeof *m->first, err);
    }
    for (int64_t i = 0; i < ix->samples && st == LAFS_OK; i++)
        if (i == 0 || !same_photo(ix->sample[i - 1].key, ix->sample[i].key)) m->first[m->photos++] = i;
    if (st == LAFS_OK) {
        m->first[m->photos] = ix->samples;
        st = lafs_fetch_open(&m->fetch, ix, err);
    }
    if (st != LAFS_OK) {
        lafs_canvas_close(m);
        return st;
    }
    *out = m;
    return LAFS_OK;
}

void lafs_canvas_close(struct lafs_canvas_maker *m)
{
    if (!m) return;
    for (int i = 0; i < m->workers; i++) {
        struct scratch *s = &m->scratch[i];
        lafs_sample_release(&s->sample);
        for (int k = 0; k < POOL; k++) lafs_image_release(&s->photo[k].image);
        lafs_image_release(&s->tile);
        lafs_image_release(&s->small);
    }
    lafs_fetch_close(m->fetch);
    lafs_free(m->scratch);
    lafs_free(m->first);
    lafs_free(m);
}

void lafs_canvas_set_side(struct lafs_canvas_maker *m, int side) { m->side = side; }


/* Coordinates in photo and canvas count from the picture's corner, as the detector's do: half a pixel more than those
 * that count from the first pixel's centre. */
static void from_corner(float *v, int n)
{
    for (int i = 0; i < n; i++) v[i] += 0.5f;
}

static lafs_status check(const struct lafs_canvas_face *f, struct lafs_err *err)
{
    for (int i = 0; i < 14; i++) {
        float v = i < 4 ? f->box[i] : f->points[i - 4];
        if (!(fabsf(v) < LAFS_CANVAS_FARTHEST))
            return lafs_fail(err, LAFS_BAD_RECORD, "a face far outside of any photo");
    }
    if (f->box[2] >= 1 && f->box[3] >= 1) return LAFS_OK;
    return lafs_fail(err, LAFS_BAD_RECORD, "a face whose box is less than a pixel wide or high");
}

/* A record of lafs-detect: its box and points count from the corner. */
static lafs_status read_face(const struct lafs_sample *s, struct lafs_canvas_face *f, struct lafs_err *err)
{
    float p68[136];
    double score = 1;
    lafs_status st = lafs_sample_f32(s, "box", (int64_t[]){4}, 1, f->box, 4, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no field 'box'");
    LAFS_TRY(st);
    st = lafs_sample_f32(s, "points68", (int64_t[]){68, 2}, 2, p68, 136, err);
    if (st == LAFS_OK) {
        lafs_points68_to_5(p68, f->points);
        from_corner(f->points, 10);
    } else if (st == LAFS_END) st = lafs_sample_f32(s, "points", (int64_t[]){5, 2}, 2, f->points, 10, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "neither field 'points68' nor 'points'");
    LAFS_TRY(st);
    if (lafs_sample_double(s, "score", &score, NULL) != LAFS_OK) score = 1;
    f->known = score >= LAFS_CANVAS_DOUBT;
    return check(f, err);
}

/* Numbers of an array in a map; LAFS_END: it is not there. */
static lafs_status map_floats(const void *map, size_t size, const char *name, float *out, size_t n,
                              struct lafs_err *err)
{
    const void *value;
    size_t len;
    struct lafs_nd a;
    lafs_status st = lafs_map_find(map, size, name, &value, &len, err);
    if (st != LAFS_OK) return st;
    LAFS_TRY(lafs_nd_decode(value, len, &a, err));
    if (a.count != n || strcmp(a.type, "<f4"))
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'faces': '%s' is not %zu numbers of type f4", name, n);
    memcpy(out, a.data, n * sizeof *out);
    return LAFS_OK;
}

/* One item of `faces`. */
static lafs_status read_map(const void *map, size_t size, struct lafs_canvas_face *f, struct lafs_err *err)
{
    float p68[136];
    lafs_status st = map_floats(map, size, "box", f->box, 4, err);
    if (st == LAFS_OK) st = map_floats(map, size, "points68", p68, 136, err);
    if (st == LAFS_OK) lafs_points68_to_5(p68, f->points);
    else if (st == LAFS_END) st = map_floats(map, size, "points", f->points, 10, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "field 'faces': a face without box or points");
    LAFS_TRY(st);
    const void *value;
    size_t len;
    struct lafs_mp_value score = {.f = 1};
    if (lafs_map_find(map, size, "score", &value, &len, NULL) == LAFS_OK) {
        struct lafs_walk w = {value, (const unsigned char *)value + len};
        LAFS_TRY(lafs_walk_next(&w, &score, err));
    }
    f->known = score.f >= LAFS_CANVAS_DOUBT;
    from_corner(f->box, 2);
    from_corner(f->points, 10);
    st = check(f, err);
    return st == LAFS_OK ? st : lafs_err_prefix(err, "field 'faces'");
}

/* Field `faces`: all faces of the photo. LAFS_END: there is none. */
static lafs_status read_faces(const struct lafs_sample *s, struct photo *p, struct lafs_err *err)
{
    const void *data;
    size_t size;
    struct lafs_mp_value v;
    lafs_status st = lafs_sample_raw(s, "faces", &data, &size);
    if (st != LAFS_OK) return st;
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type != LAFS_MP_ARRAY || v.len == 0)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'faces' is no array of faces");
    if (v.len > PHOTO_FACES) return lafs_fail(err, LAFS_BAD_RECORD, "more than %d faces in a photo", PHOTO_FACES);
    p->faces = 0;
    for (size_t i = 0; i < v.len; i++) {
        const unsigned char *from = w.p;
        LAFS_TRY(lafs_walk_skip(&w, err));
        LAFS_TRY(read_map(from, (size_t)(w.p - from), &p->face[p->faces], err));
        p->faces++;
    }
    return LAFS_OK;
}

static lafs_status load(struct lafs_canvas_maker *m, struct scratch *s, int64_t at, struct photo *p,
                        struct lafs_err *err)
{
    p->faces = 0;
    if (m->first[at + 1] - m->first[at] > PHOTO_FACES)
        return lafs_fail(err, LAFS_BAD_RECORD, "record '%s': more than %d faces in a photo",
                         m->ix->sample[m->first[at]].key, PHOTO_FACES);
    for (int64_t i = m->first[at]; i < m->first[at + 1]; i++) {
        lafs_status st = lafs_fetch_sample(m->fetch, i, &s->sample, err);
        if (st == LAFS_OK && i == m->first[at]) st = lafs_face_image(&s->sample, m->max_pixels, &p->image, err);
        if (st == LAFS_OK && i == m->first[at]) {
            st = read_faces(&s->sample, p, err);
            if (st == LAFS_OK) break;
            if (st == LAFS_END) st = LAFS_OK;
        }
        if (st == LAFS_OK) st = read_face(&s->sample, &p->face[p->faces++], err);
        if (st != LAFS_OK) return lafs_err_prefix(err, "record '%s'", m->ix->sample[i].key);
    }
    return LAFS_OK;
}

/* -- tiles -- */

struct tile {
    int left, top, w, h; /* of the canvas */
};

/* Photo -> tile: turned and scaled about (x, y) of the photo, which comes to (to_x, to_y); mirrored or not. */
static void place(double m[6], double scale, double angle, int mirrored, double x, double y, double to_x, double to_y)
{
    double c = cos(angle) * scale, s = sin(angle) * scale, sign = mirrored ? -1 : 1;
    m[0] = c * sign, m[1] = -s, m[3] = s * sign, m[4] = c;
    m[2] = to_x - m[0] * x - m[1] * y;
    m[5] = to_y - m[3] * x - m[4] * y;
}

/* Where in the tile the photo comes to lie: by a face of it, of a size drawn, or, now and then, by any place of it. */
static void draw_place(const struct photo *p, const struct tile *t, int alone, int no_mirror, struct lafs_rng *r,
                       double m[6])
{
    double turn = lafs_rng_double(r) < 0.85 ? 0.12 : 0.5, angle = turn * lafs_rng_normal(r);
    double least = t->w < t->h ? t->w : t->h;
    int mirrored = lafs_rng_double(r) < 0.5 && !no_mirror, anywhere = lafs_rng_double(r) < 0.15;
    const struct lafs_canvas_face *f = &p->face[lafs_rng_below(r, (uint64_t)p->faces)];
    double size = least * exp(lafs_rng_uniform(r, log(alone ? 0.08 : 0.2), log(alone ? 0.95 : 0.9)));
    double scale = size / sqrt((double)f->box[2] * f->box[3]), u = lafs_rng_double(r), v = lafs_rng_double(r);
    double x = f->box[0] + f->box[2] / 2.0, y = f->box[1] + f->box[3] / 2.0, to_x = u * t->w, to_y = v * t->h;
    if (anywhere) {
        scale *= exp(lafs_rng_uniform(r, 0, 1.5));
        x = u * p->image.w;
        y = v * p->image.h;
        to_x = t->w / 2.0;
        to_y = t->h / 2.0;
    } else { /* most of the face inside */
        double edge = fmin(size * 0.4, least / 2);
        to_x = edge + u * (t->w - 2 * edge);
        to_y = edge + v * (t->h - 2 * edge);
    }
    place(m, scale, angle, mirrored, x, y, to_x, to_y);
}

/* A face of the photo as the tile shows it. 0: it does not. pixels: maps pixels' centres. detail: pixels seen for each
 * that the tile has, at most 1. */
static int see(const struct lafs_canvas_face *f, const double pixels[6], double detail, const struct tile *t,
               struct lafs_canvas_face *out)
{
    double m[6]; /* of corners */
    memcpy(m, pixels, sizeof m);
    m[2] += 0.5 - (m[0] + m[1]) / 2;
    m[5] += 0.5 - (m[3] + m[4]) / 2;
    float middle[2] = {f->box[0] + f->box[2] / 2, f->box[1] + f->box[3] / 2};
    double scale = sqrt(fabs(m[0] * m[4] - m[1] * m[3])), w = f->box[2] * scale, h = f->box[3] * scale;
    lafs_affine_apply(m, middle, 1, middle);
    lafs_affine_apply(m, f->points, 5, out->points);
    if (m[0] * m[4] - m[1] * m[3] < 0) { /* mirrored: x is right, names are not */
        lafs_points5_mirror(out->points, 0);
        for (int k = 0; k < 5; k++) out->points[2 * k] *= -1;
    }
    for (int k = 0; k < 5; k++) {
        out->points[2 * k] += (float)t->left;
        out->points[2 * k + 1] += (float)t->top;
    }
    double x0 = fmax(middle[0] - w / 2, 0), y0 = fmax(middle[1] - h / 2, 0);
    double x1 = fmin(middle[0] + w / 2, t->w), y1 = fmin(middle[1] + h / 2, t->h);
    double seen = x1 > x0 && y1 > y0 ? (x1 - x0) * (y1 - y0) / (w * h) : 0;
    if (seen < SEEN_AT_ALL) return 0;
    float box[4] = {(float)(x0 + t->left), (float)(y0 + t->top), (float)(x1 - x0), (float)(y1 - y0)};
    memcpy(out->box, box, sizeof box);
    out->known = f->known && seen >= SEEN_WELL && sqrt(w * h) * detail >= LAFS_CANVAS_LEAST_FACE;
    return 1;
}

/* Shares of the box that a cover hides. */
static double hidden(const struct lafs_canvas_face *f, const double cover[4])
{
    double w = fmin(cover[2], (double)f->box[0] + f->box[2]) - fmax(cover[0], f->box[0]);
    double h = fmin(cover[3], (double)f->box[1] + f->box[3]) - fmax(cover[1], f->box[1]);
    return w > 0 && h > 0 ? w * h / ((double)f->box[2] * f->box[3]) : 0;
}

/* Hides a part of the tile's face k: anything anywhere, or a mask over nose and mouth. Who else disappears behind it is
 * not judged. */
static void hide(struct lafs_image *tile, struct lafs_canvas_face *face, int n, int k, const struct tile *t,
                 struct lafs_rng *r)
{
    const struct lafs_canvas_face *f = &face[k];
    double kind = lafs_rng_double(r), u = lafs_rng_double(r), v = lafs_rng_double(r);
    double a = lafs_rng_uniform(r, 0.15, 0.55), b = lafs_rng_uniform(r, 0.15, 0.55);
    double w = f->box[2], h = f->box[3], x = f->box[0] + (u - a / 2) * w, y = f->box[1] + (v - b / 2) * h;
    double cover[4] = {x, y, x + a * w, y + b * h};
    if (kind >= 0.2) return;
    if (kind < 0.05) {
        double mask[4] = {f->box[0], f->points[5], f->box[0] + w, f->box[1] + h};
        memcpy(cover, mask, sizeof cover);
    }
    lafs_cover(tile, r, (int)cover[0] - t->left, (int)cover[1] - t->top, (int)cover[2] - t->left,
               (int)cover[3] - t->top);
    for (int i = 0; i < n; i++)
        if (i != k && hidden(&face[i], cover) > MOST_HIDDEN) face[i].known = 0;
}

/* The photo in the tile's picture, from time to time with fewer pixels than it has: *detail of them. */
static lafs_status render(struct scratch *s, const struct photo *p, const struct tile *t, const double m[6],
                          struct lafs_rng *r, double *detail, struct lafs_err *err)
{
    double f = lafs_rng_uniform(r, 0.3, 1);
    int coarse = lafs_rng_double(r) < 0.2;
    *detail = coarse ? f : 1;
    LAFS_TRY(lafs_image_new(&s->tile, t->w, t->h, err));
    if (!coarse) return lafs_warp_affine(&p->image, m, &s->tile, err);
    int w = (int)fmax(2, t->w * f), h = (int)fmax(2, t->h * f);
    double fx = (double)w / t->w, fy = (double)h / t->h, both[6];
    for (int k = 0; k < 3; k++) {
        both[k] = m[k] * fx + (k == 2 ? (fx - 1) / 2 : 0);
        both[3 + k] = m[3 + k] * fy + (k == 2 ? (fy - 1) / 2 : 0);
    }
    const double up[6] = {1 / fx, 0, (1 / fx - 1) / 2, 0, 1 / fy, (1 / fy - 1) / 2};
    LAFS_TRY(lafs_image_new(&s->small, w, h, err));
    LAFS_TRY(lafs_warp_affine(&p->image, both, &s->small, err));
    return lafs_warp_affine(&s->small, up, &s->tile, err);
}

static void blit(struct lafs_image *to, const struct lafs_image *tile, const struct tile *t)
{
    for (int y = 0; y < t->h; y++)
        memcpy(to->px + ((size_t)(t->top + y) * (size_t)to->w + (size_t)t->left) * 3,
               tile->px + (size_t)y * (size_t)t->w * 3, (size_t)t->w * 3);
}

static lafs_status fill(const struct lafs_canvas_maker *maker, struct scratch *s, const struct photo *p,
                        const struct tile *t, int alone, struct lafs_rng *r, struct lafs_canvas *c,
                        struct lafs_err *err)
{
    double m[6], detail;
    draw_place(p, t, alone, maker->no_mirror, r, m);
    LAFS_TRY(render(s, p, t, m, r, &detail, err));
    struct lafs_canvas_face *face = c->face + c->faces;
    int n = 0;
    for (int i = 0; i < p->faces && c->faces + n < LAFS_CANVAS_FACES; i++)
        n += see(&p->face[i], m, detail, t, &face[n]);
    for (int i = 0; i < n; i++) hide(&s->tile, face, n, i, t, r);
    c->faces += n;
    lafs_spoil(&s->tile, r);
    blit(&c->image, &s->tile, t);
    return LAFS_OK;
}

lafs_status lafs_canvas_make(struct lafs_canvas_maker *m, uint64_t key, int worker, struct lafs_canvas *c,
                             struct lafs_err *err)
{
    static const int grids[10] = {1, 1, 1, 1, 2, 2, 2, 3, 4, 5};
    struct scratch *s = &m->scratch[worker];
    struct lafs_rng r;
    lafs_rng_init(&r, key);
    int full = m->side, grid = grids[lafs_rng_below(&r, 10)];
    if (full > SIDE) grid += (int)lafs_rng_below(&r, 3);
    int photos = grid * grid < POOL ? grid * grid : POOL;
    c->faces = 0;
    LAFS_TRY(lafs_image_new(&c->image, full, full, err));
    memset(c->image.px, 0, (size_t)full * (size_t)full * 3);
    for (int i = 0; i < photos; i++)
        LAFS_TRY(load(m, s, (int64_t)lafs_rng_below(&r, (uint64_t)m->photos), &s->photo[i], err));
    int cut_x = (int)lafs_rng_below(&r, (uint64_t)full / 4), cut_y = (int)lafs_rng_below(&r, (uint64_t)full / 4);
    for (int i = 0; i < grid * grid && c->faces + PHOTO_FACES <= LAFS_CANVAS_FACES; i++) {
        int side = full / grid, col = i % grid, row = i / grid, last = grid - 1;
        struct tile t = {col * side, row * side, col == last ? full - col * side : side,
                         row == last ? full - row * side : side};
        if (grid == 2) { /* of unequal sizes */
            t.left = col ? side / 2 + cut_x : 0, t.w = col ? full - t.left : side / 2 + cut_x;
            t.top = row ? side / 2 + cut_y : 0, t.h = row ? full - t.top : side / 2 + cut_y;
        }
        LAFS_TRY(fill(m, s, &s->photo[lafs_rng_below(&r, (uint64_t)photos)], &t, grid == 1, &r, c, err));
    }
    return LAFS_OK;
}
