#include "model/detector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "compute/tensor.h"
#include "image/resize.h"

enum {
    WIDTH = 64,          /* channels of the trunk */
    TRUNK = 11,          /* separable convolutions of the trunk, after the first convolution */
    NECK = TRUNK,        /* P32, P16, P8 */
    SHARED = NECK + 3,   /* one per level */
    HEADS = SHARED + 3,  /* one per level: class, box, object, points side by side */
    SEPARABLES = HEADS + 3,
    FIRST_HEAD = 35,     /* convolutions of the heads: 2 * (head * LEVELS + level) from here on */
    MAX_CANDIDATES = 5000,
    /* Automatic scales, by the photo's longer side: small ones are looked at enlarged, large ones at most so large;
     * then halves of that, down to the least. */
    SMALL_PHOTO = 400, LARGE_PHOTO = 1600, LEAST_RESIZED = 80,
    USUAL_FACE = 10 /* pixels that a network asks of a face; if less, small photos are not enlarged */
};
#define MAX_RESIZED ((double)(1 << 24))
#define SAME_FACE 0.5 /* overlap of two detections of one face */

static const int head_width[4] = {1, 4, 1, 10};

/* 1x1 convolution in -> out, then 3x3 depthwise; places in the flat weights. */
struct separable {
    int in, out;
    size_t w1, b1; /* (out,in), (out) */
    size_t w2, b2; /* (out,9), (out) */
};

struct lafs_detector {
    struct lafs_backend backend;
    float *weights;     /* device, all of them */
    float smallest_face;
    size_t first_w, first_b; /* (16,3,3,3), (16) */
    struct separable sep[SEPARABLES];
    int w, h;           /* the size that memory is carved for */
    struct lafs_arena arena;
    float *input;       /* (h, w, 3) */
    float *a, *b;       /* (h/2, w/2, 16), or (h/4, w/4, 64) */
    float *mid;         /* the same, between the parts of a separable convolution; NULL where that is one op */
    float *map[LAFS_DETECTOR_LEVELS];  /* (h/s, w/s, 64) */
    float *cells[LAFS_DETECTOR_LEVELS]; /* (h/s, w/s, CELL) */
    float *host;        /* all levels' cells, on the host */
    size_t host_size;
    float *canvas;      /* (h, w, 3) host */
    size_t canvas_size;
};

/* Shape (out, in, kernel, kernel) of convolution k of the graph. */
static void conv_shape(int k, int64_t shape[4])
{
    static const int trunk_in[TRUNK] = {16, 16, 16, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH};
    static const int trunk_out[TRUNK] = {16, 16, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH};
    int pair = (k - 1) / 2, in = WIDTH, out = WIDTH;
    if (k == 0) {
        memcpy(shape, (int64_t[]){16, 3, 3, 3}, 4 * sizeof *shape);
        return;
    }
    if (pair < TRUNK) {
        in = trunk_in[pair];
        out = trunk_out[pair];
    } else if (k >= FIRST_HEAD) {
        out = head_width[(k - FIRST_HEAD) / 2 / LAFS_DETECTOR_LEVELS];
    }
    int depthwise = k % 2 == 0;
    memcpy(shape, (int64_t[]){out, depthwise ? 1 : in, depthwise ? 3 : 1, depthwise ? 3 : 1}, 4 * sizeof *shape);
}

void lafs_detector_tensors(struct lafs_detector_tensors *ts)
{
    memset(ts, 0, sizeof *ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) {
        struct lafs_st_tensor *t = &ts->t[i];
        snprintf(ts->name[i], sizeof ts->name[i], "conv%d.%s", i / 2, i % 2 ? "bias" : "weight");
        t->name = ts->name[i];
        t->dtype = LAFS_F32;
        t->ndim = i % 2 ? 1 : 4;
        t->count = 1;
        conv_shape(i / 2, t->shape);
        for (int k = 0; k < t->ndim; k++) t->count *= t->shape[k];
        for (int k = t->ndim; k < 4; k++) t->shape[k] = 0;
    }
}

lafs_status lafs_detector_from_onnx(const struct lafs_onnx *o, struct lafs_detector_tensors *ts, struct lafs_err *err)
{
    lafs_detector_tensors(ts);
    int n = 0;
    for (int i = 0; i < o->nodes; i++) {
        if (strcmp(o->node[i].op, "Conv")) continue;
        for (int k = 0; k < 2 && n / 2 < LAFS_DETECTOR_CONVS; k++, n++) {
            struct lafs_st_tensor *t = &ts->t[n];
            const struct lafs_onnx_tensor *from =
                o->node[i].inputs == 3 ? lafs_onnx_find(o, o->node[i].input[1 + k]) : NULL;
            int same = from && from->data && from->ndim == t->ndim;
            for (int j = 0; same && j < t->ndim; j++) same = from->shape[j] == t->shape[j];
            if (!same)
                return lafs_fail(err, LAFS_FAILED,
                                 "not the network '" LAFS_DETECTOR_ARCHITECTURE
                                 "': the %s of its convolution %d has another shape, or is missing",
                                 k ? "bias" : "weight", n / 2);
            t->data = from->data;
        }
        if (n / 2 == LAFS_DETECTOR_CONVS) n++; /* one more would be too many */
    }
    if (n != 2 * LAFS_DETECTOR_CONVS + 1)
        return lafs_fail(err, LAFS_FAILED,
                         "not the network '" LAFS_DETECTOR_ARCHITECTURE "': its graph has %s than %d convolutions",
                         n < 2 * LAFS_DETECTOR_CONVS ? "less" : "more", LAFS_DETECTOR_CONVS);
    return LAFS_OK;
}

static lafs_status read_conv(const struct lafs_st *st, int k, float *w, float *b, struct lafs_err *err)
{
    char name[32];
    int64_t shape[4];
    conv_shape(k, shape);
    snprintf(name, sizeof name, "conv%d.weight", k);
    LAFS_TRY(lafs_st_read_weights(st, name, shape, 4, w, err));
    snprintf(name, sizeof name, "conv%d.bias", k);
    return lafs_st_read_weights(st, name, shape, 1, b, err);
}

/* Places of all weights in one flat array; returns its size in floats. */
static size_t place_weights(struct lafs_detector *d)
{
    size_t at = 0;
    d->first_w = at, at += 16 * 27;
    d->first_b = at, at += 16;
    for (int i = 0; i < SEPARABLES; i++) {
        struct separable *s = &d->sep[i];
        int64_t shape[4];
        conv_shape(1 + 2 * i, shape);
        s->in = i < HEADS ? (int)shape[1] : WIDTH;
        s->out = i < HEADS ? (int)shape[0] : LAFS_DETECTOR_CELL;
        s->w1 = at, at += (size_t)(s->out * s->in);
        s->b1 = at, at += (size_t)s->out;
        s->w2 = at, at += (size_t)s->out * 9;
        s->b2 = at, at += (size_t)s->out;
    }
    return at;
}

/* Fills the flat array (host). The four heads of a level become one, their outputs side by side. */
static lafs_status read_weights(const struct lafs_detector *d, const struct lafs_st *st, float *v, struct lafs_err *err)
{
    LAFS_TRY(read_conv(st, 0, v + d->first_w, v + d->first_b, err));
    for (int o = 0; o < 16; o++)
        for (int t = 0; t < 9; t++) { /* the network is for BGR, our pixels are RGB */
            float *blue = v + d->first_w + o * 27 + t, keep = blue[0];
            blue[0] = blue[18];
            blue[18] = keep;
        }
    for (int i = 0; i < HEADS; i++) {
        LAFS_TRY(read_conv(st, 1 + 2 * i, v + d->sep[i].w1, v + d->sep[i].b1, err));
        LAFS_TRY(read_conv(st, 2 + 2 * i, v + d->sep[i].w2, v + d->sep[i].b2, err));
    }
    for (int level = 0; level < LAFS_DETECTOR_LEVELS; level++) {
        const struct separable *s = &d->sep[HEADS + level];
        for (size_t head = 0, at = 0; head < 4; at += (size_t)head_width[head], head++) {
            int k = FIRST_HEAD + 2 * ((int)head * LAFS_DETECTOR_LEVELS + level);
            LAFS_TRY(read_conv(st, k, v + s->w1 + at * WIDTH, v + s->b1 + at, err));
            LAFS_TRY(read_conv(st, k + 1, v + s->w2 + at * 9, v + s->b2 + at, err));
        }
    }
    return LAFS_OK;
}

lafs_status lafs_detector_open(struct lafs_detector **out, const struct lafs_backend *b, const struct lafs_st *weights,
                               struct lafs_err *err)
{
    *out = NULL;
    const char *arch = lafs_st_meta(weights, "architecture");
    if (arch && strcmp(arch, LAFS_DETECTOR_ARCHITECTURE))
        return lafs_fail(err, LAFS_FAILED,
                         "the model is a '%.60s', not a face detector ('" LAFS_DETECTOR_ARCHITECTURE "')", arch);
    const char *says = lafs_st_meta(weights, "smallest_face");
    double face = USUAL_FACE;
    if (says && !(lafs_parse_double(says, &face) && face >= 1 && face <= 64))
        return lafs_fail(err, LAFS_FAILED, "the model's smallest_face, '%.20s', is no number of pixels", says);
    struct lafs_detector *d;
    float *v = NULL;
    LAFS_TRY(lafs_alloc0(&d, 1, sizeof *d, err));
    d->backend = *b;
    d->smallest_face = (float)face;
    size_t size = place_weights(d);
    lafs_status rc = lafs_alloc(&v, size, sizeof *v, err);
    if (rc == LAFS_OK) {
        rc = read_weights(d, weights, v, err);
        if (rc != LAFS_OK) lafs_err_prefix(err, "no weights of the face detector '" LAFS_DETECTOR_ARCHITECTURE "'");
    }
    void *device = NULL;
    if (rc == LAFS_OK) rc = b->ops->alloc(b->dev, &device, size * sizeof *v, err);
    if (rc == LAFS_OK) {
        d->weights = device;
        b->ops->upload(b->dev, d->weights, v, size * sizeof *v);
        rc = b->ops->sync(b->dev, err);
    }
    lafs_free(v);
    if (rc != LAFS_OK) {
        lafs_detector_close(d);
        return rc;
    }
    *out = d;
    return LAFS_OK;
}

void lafs_detector_close(struct lafs_detector *d)
{
    if (!d) return;
    if (d->weights) d->backend.ops->free(d->backend.dev, d->weights);
    lafs_arena_release(&d->arena, &d->backend);
    lafs_free(d->host);
    lafs_free(d->canvas);
    lafs_free(d);
}

static size_t cells_of(int w, int h, int level) { return (size_t)(w >> (3 + level)) * (size_t)(h >> (3 + level)); }

static void carve(struct lafs_detector *d, int w, int h)
{
    struct lafs_arena *a = &d->arena;
    size_t pixels = (size_t)w * (size_t)h;
    d->input = lafs_arena_take(a, pixels * 3, sizeof(float));
    d->a = lafs_arena_take(a, pixels * 4, sizeof(float));
    d->b = lafs_arena_take(a, pixels * 4, sizeof(float));
    d->mid = d->backend.ops->separable ? NULL : lafs_arena_take(a, pixels * 4, sizeof(float));
    for (int i = 0; i < LAFS_DETECTOR_LEVELS; i++) {
        d->map[i] = lafs_arena_take(a, cells_of(w, h, i) * WIDTH, sizeof(float));
        d->cells[i] = lafs_arena_take(a, cells_of(w, h, i) * LAFS_DETECTOR_CELL, sizeof(float));
    }
}

/* Memory for photos of w x h: what is there is used while it is large enough. */
static lafs_status reserve(struct lafs_detector *d, int w, int h, struct lafs_err *err)
{
    if (d->w == w && d->h == h) return LAFS_OK;
    struct lafs_arena had = d->arena;
    d->w = d->h = 0;
    d->arena = (struct lafs_arena){0};
    carve(d, w, h);
    size_t need = d->arena.used;
    d->arena.used = 0;
    if (had.base && had.size >= need) {
        d->arena = had;
        d->arena.used = 0;
    } else {
        lafs_arena_release(&had, &d->backend);
        d->arena.used = need;
        LAFS_TRY(lafs_arena_reserve(&d->arena, &d->backend, err));
    }
    carve(d, w, h);
    size_t cells = cells_of(w, h, 0) + cells_of(w, h, 1) + cells_of(w, h, 2);
    if (d->host_size < cells * LAFS_DETECTOR_CELL) {
        lafs_free(d->host);
        d->host = NULL;
        d->host_size = 0;
        LAFS_TRY(lafs_alloc(&d->host, cells, LAFS_DETECTOR_CELL * sizeof(float), err));
        d->host_size = cells * LAFS_DETECTOR_CELL;
    }
    d->w = w;
    d->h = h;
    return LAFS_OK;
}

/* y = act(depthwise(pointwise(x))), (h, w, in) -> (h, w, out) */
static void separable(const struct lafs_detector *d, int i, int w, int h, const float *x, float *y, enum lafs_act act)
{
    const struct separable *s = &d->sep[i];
    const struct lafs_ops *op = d->backend.ops;
    const float *v = d->weights;
    struct lafs_conv g = {1, h, w, s->in, 3, 1, s->out};
    if (op->separable) {
        op->separable(d->backend.dev, &g, x, v + s->w1, v + s->b1, v + s->w2, v + s->b2, act, y);
        return;
    }
    struct lafs_conv g1 = {1, h, w, s->in, 1, 1, s->out}, g2 = {1, h, w, s->out, 3, 1, s->out};
    op->conv(d->backend.dev, &g1, x, v + s->w1, v + s->b1, LAFS_ACT_NONE, d->mid);
    op->depthwise(d->backend.dev, &g2, d->mid, v + s->w2, v + s->b2, act, y);
}

/* The trunk: input -> maps of strides 8, 16, 32. */
static void trunk(struct lafs_detector *d)
{
    const struct lafs_ops *op = d->backend.ops;
    struct lafs_dev *dev = d->backend.dev;
    int w = d->w, h = d->h;
    struct lafs_conv g = {1, h, w, 3, 3, 2, 16};
    op->conv(dev, &g, d->input, d->weights + d->first_w, d->weights + d->first_b, LAFS_ACT_RELU, d->a);
    w /= 2, h /= 2;
    separable(d, 0, w, h, d->a, d->b, LAFS_ACT_RELU);
    op->maxpool2(dev, 1, h, w, 16, d->b, d->a);
    w /= 2, h /= 2;
    separable(d, 1, w, h, d->a, d->b, LAFS_ACT_RELU);
    separable(d, 2, w, h, d->b, d->a, LAFS_ACT_RELU);
    separable(d, 3, w, h, d->a, d->b, LAFS_ACT_RELU);
    separable(d, 4, w, h, d->b, d->a, LAFS_ACT_RELU);
    const float *x = d->a;
    for (int i = 0; i < LAFS_DETECTOR_LEVELS; i++) {
        op->maxpool2(dev, 1, h, w, WIDTH, x, d->map[i]);
        w /= 2, h /= 2;
        separable(d, 5 + 2 * i, w, h, d->map[i], d->b, LAFS_ACT_RELU);
        separable(d, 6 + 2 * i, w, h, d->b, d->map[i], LAFS_ACT_RELU);
        x = d->map[i];
    }
}

lafs_status lafs_detector_forward(struct lafs_detector *d, int w, int h, const float *rgb,
                                  const float *level[LAFS_DETECTOR_LEVELS], struct lafs_err *err)
{
    if (w < 32 || h < 32 || w % 32 || h % 32) return lafs_fail(err, LAFS_USAGE, "%d x %d is no multiple of 32", w, h);
    LAFS_TRY(reserve(d, w, h, err));
    const struct lafs_ops *op = d->backend.ops;
    op->upload(d->backend.dev, d->input, rgb, (size_t)w * (size_t)h * 3 * sizeof *rgb);
    trunk(d);
    size_t before[LAFS_DETECTOR_LEVELS] = {0}; /* cells of the levels before */
    for (int i = 1; i < LAFS_DETECTOR_LEVELS; i++) before[i] = before[i - 1] + cells_of(w, h, i - 1);
    for (int i = LAFS_DETECTOR_LEVELS - 1; i >= 0; i--) { /* what a level gives goes into the next finer one */
        int s = 3 + i;
        float *host = d->host + before[i] * LAFS_DETECTOR_CELL;
        separable(d, NECK + (LAFS_DETECTOR_LEVELS - 1 - i), w >> s, h >> s, d->map[i], d->b, LAFS_ACT_RELU);
        if (i) op->upsample2_add(d->backend.dev, 1, h >> s, w >> s, WIDTH, d->b, d->map[i - 1]);
        separable(d, SHARED + i, w >> s, h >> s, d->b, d->a, LAFS_ACT_RELU);
        separable(d, HEADS + i, w >> s, h >> s, d->a, d->cells[i], LAFS_ACT_NONE);
        op->download(d->backend.dev, host, d->cells[i], cells_of(w, h, i) * LAFS_DETECTOR_CELL * sizeof *host);
        level[i] = host;
    }
    return op->sync(d->backend.dev, err);
}

/* -- from cells to faces -- */

void lafs_faces_release(struct lafs_faces *f)
{
    lafs_free(f->v);
    *f = (struct lafs_faces){0};
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* How the network's coordinates lie in the photo. It counts from the image's corner (measured: only so does a resized
 * photo give the same points), so sizes scale without an offset. The half pixel to our origin is left out, as by every
 * other engine that uses these weights: at a factor of 1 points are what the network says. */
struct mapping {
    double x, y; /* photo pixels per pixel of the network's input */
};

static void decode(const float *cell, int col, int row, int stride, const struct mapping *m, struct lafs_detected *f)
{
    double s = stride, cx = (col + (double)cell[1]) * s, cy = (row + (double)cell[2]) * s;
    double w = exp((double)cell[3]) * s, h = exp((double)cell[4]) * s;
    f->box[0] = (float)((cx - w / 2) * m->x);
    f->box[1] = (float)((cy - h / 2) * m->y);
    f->box[2] = (float)(w * m->x);
    f->box[3] = (float)(h * m->y);
    for (int k = 0; k < 5; k++) {
        f->points[2 * k] = (float)(((double)cell[6 + 2 * k] + col) * s * m->x);
        f->points[2 * k + 1] = (float)(((double)cell[7 + 2 * k] + row) * s * m->y);
    }
}

static int sane(const struct lafs_detected *f)
{
    for (int k = 0; k < 4; k++)
        if (!isfinite(f->box[k])) return 0;
    for (int k = 0; k < 10; k++)
        if (!isfinite(f->points[k])) return 0;
    return isfinite(f->score) && f->box[2] > 0 && f->box[3] > 0;
}

/* A detection at one scale. */
struct candidate {
    struct lafs_detected face;
    float weight; /* of its points among those of the same face */
};
struct candidates {
    struct candidate *v;
    int n, cap;
};

static lafs_status add(struct candidates *c, const struct candidate *f, struct lafs_err *err)
{
    if (c->n == c->cap) {
        int cap = c->cap ? 2 * c->cap : 64;
        LAFS_TRY(lafs_resize(&c->v, (size_t)c->n, (size_t)cap, sizeof *c->v, err));
        c->cap = cap;
    }
    c->v[c->n++] = *f;
    return LAFS_OK;
}

/* Points are best on faces of some 150 pixels (measured); below that their error grows as the faces shrink. */
static double weight_of_size(double side) { return fmin(side, 128); }

static lafs_status collect(const float *level[LAFS_DETECTOR_LEVELS], int w, int h, const struct mapping *m,
                           const struct lafs_detect_options *opt, struct candidates *c, struct lafs_err *err)
{
    /* sqrt(p q) >= t needs p >= t^2: most cells fail that on their logit, without an exponential. */
    double t2 = (double)opt->min_score * opt->min_score;
    float least = t2 > 0 && t2 < 1 ? (float)(log(t2 / (1 - t2)) - 1e-3) : t2 > 0 ? 15.0f : -INFINITY;
    for (int i = 0; i < LAFS_DETECTOR_LEVELS; i++) {
        int stride = 8 << i, cols = w / stride, rows = h / stride;
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < cols; k++) {
                const float *cell = level[i] + (size_t)(r * cols + k) * LAFS_DETECTOR_CELL;
                if (!(cell[0] >= least && cell[5] >= least)) continue;
                struct candidate f = {.face.score = sqrtf(sigmoid(cell[0]) * sigmoid(cell[5]))};
                if (!(f.face.score >= opt->min_score)) continue;
                decode(cell, k, r, stride, m, &f.face);
                if (!sane(&f.face)) continue;
                f.weight = f.face.score *
                           (float)weight_of_size(sqrt((double)f.face.box[2] * f.face.box[3] / (m->x * m->y)));
                LAFS_TRY(add(c, &f, err));
            }
    }
    return LAFS_OK;
}

/* Best score first; equal ones by place, so that the order is total. */
static int by_score(const void *pa, const void *pb)
{
    const struct lafs_detected *a = &((const struct candidate *)pa)->face, *b = &((const struct candidate *)pb)->face;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    for (int k = 0; k < 4; k++)
        if (a->box[k] != b->box[k]) return a->box[k] < b->box[k] ? -1 : 1;
    return 0;
}

static double overlap(const float *a, const float *b)
{
    double w = fmin((double)a[0] + a[2], (double)b[0] + b[2]) - fmax(a[0], b[0]);
    double h = fmin((double)a[1] + a[3], (double)b[1] + b[3]) - fmax(a[1], b[1]);
    if (w <= 0 || h <= 0) return 0;
    return w * h / ((double)a[2] * a[3] + (double)b[2] * b[3] - w * h);
}

/* Box and points of a face: the weighted mean over all detections of it, at whatever cell and scale. Each is noisy by
 * itself: on 1,899 video frames this takes 10 % off the error of the points at two scales, 5 % at one. */
static void average(const struct candidates *c, int n, struct lafs_detected *face)
{
    double sum[14] = {0}, weight = 0;
    for (int i = 0; i < n; i++) {
        const struct candidate *v = &c->v[i];
        if (overlap(face->box, v->face.box) < SAME_FACE) continue;
        weight += v->weight;
        for (int k = 0; k < 4; k++) sum[k] += (double)v->weight * v->face.box[k];
        for (int k = 0; k < 10; k++) sum[4 + k] += (double)v->weight * v->face.points[k];
    }
    for (int k = 0; k < 4; k++) face->box[k] = (float)(sum[k] / weight);
    for (int k = 0; k < 10; k++) face->points[k] = (float)(sum[4 + k] / weight);
}

/* Greedy non-maximum suppression. */
static lafs_status suppress(struct candidates *c, const struct lafs_detect_options *opt, struct lafs_faces *faces,
                            struct lafs_err *err)
{
    if (c->n > 1) qsort(c->v, (size_t)c->n, sizeof *c->v, by_score);
    int n = c->n < MAX_CANDIDATES ? c->n : MAX_CANDIDATES, kept = 0;
    LAFS_TRY(lafs_alloc(&faces->v, (size_t)n, sizeof *faces->v, err));
    for (int i = 0; i < n; i++) {
        int free = 1;
        for (int k = 0; k < kept && free; k++) free = overlap(faces->v[k].box, c->v[i].face.box) <= opt->max_overlap;
        if (free) faces->v[kept++] = c->v[i].face;
    }
    for (int i = 0; i < kept; i++) average(c, n, &faces->v[i]);
    for (int i = 0; i < kept; i++)
        if (fminf(faces->v[i].box[2], faces->v[i].box[3]) >= opt->min_size) faces->v[faces->n++] = faces->v[i];
    return LAFS_OK;
}

/* -- photos -- */

static float bounded(double scale, int w, int h)
{
    double most = sqrt(MAX_RESIZED / ((double)w * h));
    return (float)fmin(scale, most);
}

int lafs_detect_scales(const struct lafs_detect_options *opt, int w, int h, float scale[LAFS_MAX_SCALES])
{
    int n = 0, side = w > h ? w : h;
    for (; n < opt->scales && n < LAFS_MAX_SCALES; n++) scale[n] = bounded(opt->scale[n], w, h);
    if (n) return n;
    int keen = opt->smallest_face > 0 && opt->smallest_face < USUAL_FACE;
    double s = side <= SMALL_PHOTO && !keen ? 2 : side <= LARGE_PHOTO ? 1 : (double)LARGE_PHOTO / side;
    do {
        scale[n++] = (float)s;
        s /= 2;
    } while (n < LAFS_MAX_SCALES && s * side >= LEAST_RESIZED);
    return n;
}

static int round32(int v) { return (v + 31) / 32 * 32; }

/* Writes the photo into the canvas (h, w, 3), zero on the right and below. */
static lafs_status paint(struct lafs_detector *d, const struct lafs_image *im, int w, int h, struct lafs_err *err)
{
    size_t size = (size_t)w * (size_t)h * 3;
    if (d->canvas_size < size) {
        lafs_free(d->canvas);
        d->canvas = NULL;
        d->canvas_size = 0;
        LAFS_TRY(lafs_alloc(&d->canvas, size, sizeof(float), err));
        d->canvas_size = size;
    }
    size_t row = (size_t)im->w * 3, wide = (size_t)w * 3;
    for (int y = 0; y < h; y++) {
        float *to = d->canvas + (size_t)y * wide;
        const uint8_t *from = im->px + (size_t)y * row;
        size_t n = y < im->h ? row : 0;
        for (size_t i = 0; i < n; i++) to[i] = from[i];
        memset(to + n, 0, (wide - n) * sizeof *to);
    }
    return LAFS_OK;
}

static lafs_status at_scale(struct lafs_detector *d, const struct lafs_image *photo, double scale,
                            const struct lafs_detect_options *opt, struct candidates *c, struct lafs_err *err)
{
    int w = (int)fmax(1, floor(photo->w * scale + 0.5)), h = (int)fmax(1, floor(photo->h * scale + 0.5));
    struct mapping m = {(double)photo->w / w, (double)photo->h / h};
    struct lafs_image small = {0};
    const struct lafs_image *im = photo;
    lafs_status rc = LAFS_OK;
    if (w != photo->w || h != photo->h) {
        rc = lafs_image_resize(photo, w, h, &small, err);
        im = &small;
    }
    const float *level[LAFS_DETECTOR_LEVELS];
    int cw = round32(w), ch = round32(h);
    if (rc == LAFS_OK) rc = paint(d, im, cw, ch, err);
    if (rc == LAFS_OK) rc = lafs_detector_forward(d, cw, ch, d->canvas, level, err);
    if (rc == LAFS_OK) rc = collect(level, cw, ch, &m, opt, c, err);
    lafs_image_release(&small);
    return rc;
}

lafs_status lafs_detect(struct lafs_detector *d, const struct lafs_image *photo, const struct lafs_detect_options *opt,
                        struct lafs_faces *faces, struct lafs_err *err)
{
    *faces = (struct lafs_faces){0};
    float scale[LAFS_MAX_SCALES];
    struct lafs_detect_options own = *opt;
    if (!(own.smallest_face > 0)) own.smallest_face = d->smallest_face;
    int n = lafs_detect_scales(&own, photo->w, photo->h, scale);
    struct candidates c = {0};
    lafs_status rc = LAFS_OK;
    for (int i = 0; i < n && rc == LAFS_OK; i++) rc = at_scale(d, photo, scale[i], opt, &c, err);
    if (rc == LAFS_OK && c.n) rc = suppress(&c, opt, faces, err);
    lafs_free(c.v);
    return rc;
}

int lafs_faces_best(const struct lafs_faces *f, int w, int h)
{
    int best = -1;
    double top = 0;
    for (int i = 0; i < f->n; i++) {
        const float *b = f->v[i].box;
        double dx = b[0] + b[2] / 2.0 - (w - 1) / 2.0, dy = b[1] + b[3] / 2.0 - (h - 1) / 2.0;
        double v = (double)b[2] * b[3] - 2 * (dx * dx + dy * dy);
        if (best < 0 || v > top) {
            best = i;
            top = v;
        }
    }
    return best;
}
