/* The detector's task: faces on canvases, by the network of model/detector.h. Which cells answer for which face is
 * settled by what they say already (after "SimOTA", Ge et al., "YOLOX", 2021). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/detector.h"
#include "train/canvas.h"
#include "train/detect.h"

enum {
    LEVELS = LAFS_DETECTOR_LEVELS, CELL = LAFS_DETECTOR_CELL, SIDE = LAFS_CANVAS_SIDE,
    CELLS = (SIDE / 8) * (SIDE / 8) + (SIDE / 16) * (SIDE / 16) + (SIDE / 32) * (SIDE / 32),
    MOST_CELLS = 10, /* for a face */
    FIRST_HEAD = 24  /* units */
};
/* The object logit is this less than what the network is taught, so that at the start few cells claim a face. */
static const float PRIOR = 4;
/* Weights of the losses; their sum over a canvas is divided by USUAL, some cells that answer for faces. */
static const double USUAL = 12, CLASS_WEIGHT = 1, OBJECT_WEIGHT = 1, BOX_WEIGHT = 4, POINTS_WEIGHT = 2;

static const struct lafs_unit units[] = {
    {LAFS_UNIT_CONV, -1, 0, 16, 2},
    {LAFS_UNIT_SEPARABLE, 0, 0, 16, 0},
    {LAFS_UNIT_POOL, 1, 0, 0, 0}, /* stride 4 */
    {LAFS_UNIT_SEPARABLE, 2, 0, 16, 0},
    {LAFS_UNIT_SEPARABLE, 3, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 4, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 5, 0, 64, 0},
    {LAFS_UNIT_POOL, 6, 0, 0, 0}, /* 8 */
    {LAFS_UNIT_SEPARABLE, 7, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 8, 0, 64, 0},
    {LAFS_UNIT_POOL, 9, 0, 0, 0}, /* 16 */
    {LAFS_UNIT_SEPARABLE, 10, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 11, 0, 64, 0},
    {LAFS_UNIT_POOL, 12, 0, 0, 0}, /* 32 */
    {LAFS_UNIT_SEPARABLE, 13, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 14, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 15, 0, 64, 0}, /* 16: neck, 32 */
    {LAFS_UNIT_SUM, 12, 16, 0, 0},
    {LAFS_UNIT_SEPARABLE, 17, 0, 64, 0}, /* 18: neck, 16 */
    {LAFS_UNIT_SUM, 9, 18, 0, 0},
    {LAFS_UNIT_SEPARABLE, 19, 0, 64, 0}, /* 20: neck, 8 */
    {LAFS_UNIT_SEPARABLE, 20, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 18, 0, 64, 0},
    {LAFS_UNIT_SEPARABLE, 16, 0, 64, 0},
    {LAFS_UNIT_HEAD, 21, 0, CELL, 0}, /* 24 */
    {LAFS_UNIT_HEAD, 22, 0, CELL, 0},
    {LAFS_UNIT_HEAD, 23, 0, CELL, 0},
};

struct task {
    struct lafs_canvas_maker *maker;
    struct lafs_canvas *canvas; /* (batch) */
    int64_t batch;
};

static lafs_status net(struct lafs_convnet *n, struct lafs_err *err)
{
    return lafs_convnet_init(n, units, sizeof units / sizeof *units, 3, err);
}

static void close_task(void *arg)
{
    struct task *t = arg;
    for (int64_t i = 0; i < t->batch; i++) lafs_canvas_release(&t->canvas[i]);
    lafs_canvas_close(t->maker);
    lafs_free(t->canvas);
    lafs_free(t);
}

static lafs_status open_task(void **out, const struct lafs_dtrain_config *c, const struct lafs_index *ix, int workers,
                             struct lafs_err *err)
{
    struct task *t;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    lafs_status st = lafs_alloc0(&t->canvas, (size_t)c->batch, sizeof *t->canvas, err);
    if (st == LAFS_OK) {
        t->batch = c->batch;
        st = lafs_canvas_open(&t->maker, ix, workers, c->no_mirror, c->max_pixels, err);
    }
    if (st != LAFS_OK) {
        close_task(t);
        return st;
    }
    *out = t;
    return LAFS_OK;
}

static lafs_status make(void *arg, uint64_t key, int64_t i, int worker, float *image, struct lafs_err *err)
{
    struct task *t = arg;
    struct lafs_canvas *c = &t->canvas[i];
    LAFS_TRY(lafs_canvas_make(t->maker, key, worker, c, err));
    for (int k = 0; k < SIDE * SIDE * 3; k++) image[k] = (float)c->image.px[k] * (1.0f / 128);
    return LAFS_OK;
}

/* -- cells -- */

struct cell {
    const float *out; /* (CELL) */
    float *d;         /* (CELL) */
    int col, row, stride;
    double cx, cy, w, h; /* its box */
};

static void list_cells(const float *const *out, float *const *d, struct cell *cell)
{
    for (int level = 0, n = 0; level < LEVELS; level++) {
        int stride = 8 << level, side = SIDE / stride;
        for (int i = 0; i < side * side; i++, n++) {
            const float *z = out[level] + (size_t)i * CELL;
            struct cell *c = &cell[n];
            *c = (struct cell){z, d[level] + (size_t)i * CELL, i % side, i / side, stride, 0, 0, 0, 0};
            c->cx = (c->col + (double)z[1]) * stride;
            c->cy = (c->row + (double)z[2]) * stride;
            c->w = exp(fmin(z[3], 6)) * stride;
            c->h = exp(fmin(z[4], 6)) * stride;
        }
    }
}

/* Intersection over union of a cell's box and a face's. */
static double overlap(const struct cell *c, const float *box)
{
    double w = fmin(c->cx + c->w / 2, (double)box[0] + box[2]) - fmax(c->cx - c->w / 2, box[0]);
    double h = fmin(c->cy + c->h / 2, (double)box[1] + box[3]) - fmax(c->cy - c->h / 2, box[1]);
    if (w <= 0 || h <= 0) return 0;
    return w * h / (c->w * c->h + (double)box[2] * box[3] - w * h);
}

static double softplus(double z) { return fmax(z, 0) + log1p(exp(-fabs(z))); }
static double logistic(double z) { return 1 / (1 + exp(-z)); }

struct claim {
    double cost, overlap;
    int cell;
};
static int by_cost(const void *pa, const void *pb)
{
    const struct claim *a = pa, *b = pb;
    if (a->cost != b->cost) return a->cost < b->cost ? -1 : 1;
    return a->cell - b->cell;
}
static int by_overlap(const void *pa, const void *pb)
{
    const struct claim *a = pa, *b = pb;
    if (a->overlap != b->overlap) return a->overlap > b->overlap ? -1 : 1;
    return a->cell - b->cell;
}

/* Cells that may answer for the face: those in the middle of it, near enough in their own measure. */
static int claims_of(const struct lafs_canvas_face *f, const struct cell *cell, struct claim *claim)
{
    int n = 0;
    double x = f->box[0] + f->box[2] / 2.0, y = f->box[1] + f->box[3] / 2.0;
    for (int i = 0; i < CELLS; i++) {
        const struct cell *c = &cell[i];
        double dx = fabs((c->col + 0.5) * c->stride - x), dy = fabs((c->row + 0.5) * c->stride - y);
        if (dx > 2 * c->stride || dy > 2 * c->stride) continue;
        int inside = dx < f->box[2] / 2 && dy < f->box[3] / 2;
        double o = overlap(c, f->box), score = logistic(c->out[0]) * logistic((double)c->out[5] - PRIOR);
        claim[n++] = (struct claim){-0.5 * log(score + 1e-9) - 3 * log(o + 1e-6) + (inside ? 0 : 20), o, i};
    }
    return n;
}

/* of[cell]: the face that it answers for, -1: none. A cell that several want goes to the one it costs least. */
static void assign(const struct lafs_canvas *c, const struct cell *cell, int *of)
{
    struct claim claim[CELLS];
    double cost[CELLS];
    for (int i = 0; i < CELLS; i++) of[i] = -1;
    for (int k = 0; k < c->faces; k++) {
        if (!c->face[k].known) continue;
        int n = claims_of(&c->face[k], cell, claim), most = n < MOST_CELLS ? n : MOST_CELLS;
        double sum = 0;
        qsort(claim, (size_t)n, sizeof *claim, by_overlap);
        for (int i = 0; i < most; i++) sum += claim[i].overlap;
        qsort(claim, (size_t)n, sizeof *claim, by_cost);
        int want = sum < 1 ? 1 : (int)sum;
        for (int i = 0; i < want && i < n; i++) {
            int at = claim[i].cell;
            if (of[at] >= 0 && cost[at] <= claim[i].cost) continue;
            of[at] = k;
            cost[at] = claim[i].cost;
        }
    }
}

/* Whether nobody knows what is at the cell: its middle lies in a face that is not judged, or next to the face's, which
 * may be smaller than the finest cells. */
static int in_doubt(const struct lafs_canvas *c, const struct cell *cell)
{
    double x = (cell->col + 0.5) * cell->stride, y = (cell->row + 0.5) * cell->stride;
    for (int k = 0; k < c->faces; k++) {
        const float *b = c->face[k].box;
        double dx = fabs(x - b[0] - b[2] / 2.0), dy = fabs(y - b[1] - b[3] / 2.0);
        if (!c->face[k].known && dx <= fmax(b[2] / 2.0, 8) && dy <= fmax(b[3] / 2.0, 8)) return 1;
    }
    return 0;
}

/* -- losses -- */

/* Binary cross-entropy; its slope into *d. */
static double entropy(double z, double target, double weight, float *d)
{
    *d = (float)(weight * (logistic(z) - target));
    return weight * (softplus(z) - z * target);
}

/* 1 - IoU + squared distance of the centres over that of the enclosing box's corners + those of width and height over
 * its sides (Zhang et al., "Focal and Efficient IoU Loss", 2021), of a cell's z[1..4]; slopes by differences, which are
 * exact enough for a smooth function of four values. */
static double box_distance(const struct cell *c, const double z[4], const float *box)
{
    struct cell at = *c;
    at.cx = (c->col + z[0]) * c->stride;
    at.cy = (c->row + z[1]) * c->stride;
    at.w = exp(fmin(z[2], 6)) * c->stride;
    at.h = exp(fmin(z[3], 6)) * c->stride;
    double x = box[0] + box[2] / 2.0, y = box[1] + box[3] / 2.0;
    double w = fmax(at.cx + at.w / 2, (double)box[0] + box[2]) - fmin(at.cx - at.w / 2, box[0]);
    double h = fmax(at.cy + at.h / 2, (double)box[1] + box[3]) - fmin(at.cy - at.h / 2, box[1]);
    double far = ((at.cx - x) * (at.cx - x) + (at.cy - y) * (at.cy - y)) / (w * w + h * h);
    double sides = (at.w - box[2]) * (at.w - box[2]) / (w * w) + (at.h - box[3]) * (at.h - box[3]) / (h * h);
    return 1 - overlap(&at, box) + far + sides;
}

static double box_loss(const struct cell *c, const float *box, double weight)
{
    const double step = 1e-4;
    double z[4] = {c->out[1], c->out[2], c->out[3], c->out[4]};
    for (int k = 0; k < 4; k++) {
        double keep = z[k];
        z[k] = keep + step;
        double up = box_distance(c, z, box);
        z[k] = keep - step;
        c->d[1 + k] = (float)(weight * (up - box_distance(c, z, box)) / (2 * step));
        z[k] = keep;
    }
    return weight * box_distance(c, z, box);
}

/* Smooth distances of the points in units of the box's size. */
static double points_loss(const struct cell *c, const struct lafs_canvas_face *f, double weight)
{
    double size = sqrt((double)f->box[2] * f->box[3]), loss = 0;
    for (int k = 0; k < 5; k++) {
        double x = ((c->out[6 + 2 * k] + (double)c->col) * c->stride - f->points[2 * k]) / size;
        double y = ((c->out[7 + 2 * k] + (double)c->row) * c->stride - f->points[2 * k + 1]) / size;
        double e = sqrt(x * x + y * y + 1e-4);
        c->d[6 + 2 * k] = (float)(weight / 5 * x / e * c->stride / size);
        c->d[7 + 2 * k] = (float)(weight / 5 * y / e * c->stride / size);
        loss += weight / 5 * e;
    }
    return loss;
}

/* figures: loss, mean overlap of cells with the faces they answer for, their mean score, that of all others */
static void loss(void *arg, int64_t i, const float *const *out, float *const *d, double *figures)
{
    const struct task *t = arg;
    const struct lafs_canvas *c = &t->canvas[i];
    struct cell cell[CELLS];
    int of[CELLS], answers = 0, others = 0;
    double sum = 0, fit = 0, sure = 0, wrong = 0;
    list_cells(out, d, cell);
    assign(c, cell, of);
    for (int k = 0; k < CELLS; k++) {
        struct cell *at = &cell[k];
        double object = (double)at->out[5] - PRIOR, score = sqrt(logistic(at->out[0]) * logistic(object));
        memset(at->d, 0, CELL * sizeof *at->d);
        if (of[k] < 0) {
            if (in_doubt(c, at)) continue;
            sum += entropy(object, 0, OBJECT_WEIGHT / USUAL, &at->d[5]);
            wrong += score;
            others++;
            continue;
        }
        const struct lafs_canvas_face *f = &c->face[of[k]];
        double o = overlap(at, f->box);
        sum += entropy(object, 1, OBJECT_WEIGHT / USUAL, &at->d[5]);
        sum += entropy(at->out[0], o, CLASS_WEIGHT / USUAL, &at->d[0]);
        sum += box_loss(at, f->box, BOX_WEIGHT / USUAL) + points_loss(at, f, POINTS_WEIGHT / USUAL);
        fit += o;
        sure += score;
        answers++;
    }
    figures[0] = sum;
    figures[1] = answers ? fit / answers : NAN;
    figures[2] = answers ? sure / answers : NAN;
    figures[3] = others ? wrong / others : NAN;
}

/* -- the model file -- */

/* Takes a level's head apart: class, box, object, points are rows of its tensors, one after the other. */
static void part(struct lafs_convnet_folded *f, const struct lafs_st_tensor *from, int rows, int skip, int to)
{
    snprintf(f->name[to], sizeof f->name[0], "conv%d.%s", to / 2, to % 2 ? "bias" : "weight");
    f->t[to] = *from;
    f->t[to].name = f->name[to];
    f->t[to].data = (const float *)from->data + from->count / CELL * skip;
    f->t[to].count = from->count / CELL * rows;
    f->t[to].shape[0] = rows;
}

static void finish(struct lafs_convnet_folded *f)
{
    static const int rows[4] = {1, 4, 1, 10}, skip[4] = {0, 1, 5, 6};
    struct lafs_st_tensor head[4 * LEVELS];
    float *first = (float *)f->t[0].data;
    for (int64_t k = 0; k < f->t[0].count; k++) first[k] *= 1.0f / 128; /* for bytes */
    for (int o = 0; o < 16; o++)
        for (int k = 0; k < 9; k++) { /* for BGR */
            float *w = first + o * 27 + k, red = w[0];
            w[0] = w[18];
            w[18] = red;
        }
    int at = f->tensors - 4 * LEVELS;
    memcpy(head, f->t + at, sizeof head);
    for (int level = 0; level < LEVELS; level++) ((float *)head[4 * level + 3].data)[5] -= PRIOR;
    for (int k = 0; k < 4; k++)
        for (int level = 0; level < LEVELS; level++)
            for (int j = 0; j < 4; j++) part(f, &head[4 * level + j], rows[k], skip[k], at++);
    f->tensors = at;
}

const struct lafs_dtrain_task lafs_detector_task = {
    .name = "detector",
    .architecture = LAFS_DETECTOR_ARCHITECTURE,
    .side = SIDE,
    .heads = LEVELS,
    .head = {FIRST_HEAD, FIRST_HEAD + 1, FIRST_HEAD + 2},
    .figure = {"loss", "overlap", "found", "false"},
    .net = net,
    .open = open_task,
    .close = close_task,
    .make = make,
    .loss = loss,
    .finish = finish,
};
