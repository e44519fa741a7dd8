/* The refiner's task: crops of faces as rough points cut them out, with the true points in them; and crops of what is
 * no face.
 *
 * Records: a photo with `points68`, or `points` (5,2), in it. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/face.h"
#include "image/align.h"
#include "model/refiner.h"
#include "train/canvas.h"
#include "train/detect.h"
#include "train/spoil.h"

enum {
    SIDE = LAFS_REFINER_SIDE, MAP = LAFS_REFINER_MAP, POINTS = LAFS_REFINER_POINTS, CELLS = MAP * MAP,
    CHANNELS = LAFS_REFINER_CHANNELS, TRIES = 20
};
/* Shares of the loss, which is in distances of the eyes. */
static const double MAP_WEIGHT = 0.02, CONFIDENCE_WEIGHT = 0.05, FEW_POINTS_WEIGHT = 0.25;
/* A confidence of 1/e means points that are off by so many distances of the eyes. */
static const double SURE = 0.1;
/* Gaussian that maps are taught to look like, in cells. */
static const double SIGMA = 0.8;

struct example {
    int points; /* 68, 5, or 0: no face */
    float p68[2 * POINTS], p5[10]; /* in the crop */
};
struct task {
    const struct lafs_index *ix;
    struct lafs_fetch *fetch;
    int64_t max_pixels;
    int no_mirror;
    struct example *example; /* (batch) */
    struct scratch {
        struct lafs_sample sample;
        struct lafs_image photo, crop, small;
    } *scratch; /* (workers) */
    int workers;
};

/* -- opening -- */

static void close_task(void *arg)
{
    struct task *t = arg;
    for (int i = 0; i < t->workers; i++) {
        lafs_sample_release(&t->scratch[i].sample);
        lafs_image_release(&t->scratch[i].photo);
        lafs_image_release(&t->scratch[i].crop);
        lafs_image_release(&t->scratch[i].small);
    }
    lafs_fetch_close(t->fetch);
    lafs_free(t->scratch);
    lafs_free(t->example);
    lafs_free(t);
}

static lafs_status open_task(void **out, const struct lafs_dtrain_config *c, const struct lafs_index *ix, int workers,
                             struct lafs_err *err)
{
    struct task *t;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    t->ix = ix;
    t->max_pixels = c->max_pixels;
    t->no_mirror = c->no_mirror;
    lafs_status st = lafs_alloc0(&t->scratch, (size_t)workers, sizeof *t->scratch, err);
    if (st == LAFS_OK) {
        t->workers = workers;
        for (int i = 0; i < workers; i++) lafs_sample_init(&t->scratch[i].sample);
        st = lafs_alloc0(&t->example, (size_t)c->batch, sizeof *t->example, err);
    }
    if (st == LAFS_OK) st = lafs_fetch_open(&t->fetch, ix, err);
    if (st != LAFS_OK) {
        close_task(t);
        return st;
    }
    *out = t;
    return LAFS_OK;
}

/* -- geometry -- */

/* c = b after a. */
static void after(const double b[6], const double a[6], double c[6])
{
    for (int r = 0; r < 2; r++) {
        double x = b[3 * r], y = b[3 * r + 1];
        c[3 * r] = x * a[0] + y * a[3];
        c[3 * r + 1] = x * a[1] + y * a[4];
        c[3 * r + 2] = x * a[2] + y * a[5] + b[3 * r + 2];
    }
}

/* The 2x2 matrix about the centre of the crop, then a shift. */
static void about_centre(double a, double b, double c, double d, double x, double y, double m[6])
{
    const double mid = (SIDE - 1) / 2.0;
    m[0] = a, m[1] = b, m[2] = mid - a * mid - b * mid + x;
    m[3] = c, m[4] = d, m[5] = mid - c * mid - d * mid + y;
}

static double eyes_of(const float p5[10]) { return hypot((double)p5[2] - p5[0], (double)p5[3] - p5[1]); }

/* Photo -> crop, as rough points would cut: a detector's errors in each point, or what a first look leaves, or far
 * worse ones; and faces a little narrower, broader and askew than people have them. */
static lafs_status rough_cut(const float p5[10], struct lafs_rng *r, double m[6], struct lafs_err *err)
{
    float rough[10], template[10];
    double eyes = eyes_of(p5), kind = lafs_rng_double(r), cut[6], more[6];
    double off = kind < 0.35 ? 0.03 : kind < 0.9 ? lafs_rng_uniform(r, 0.03, 0.15) : 0.15;
    double turn = kind < 0.35 ? 0.03 : kind < 0.9 ? 0.12 : 0.4, scale = kind < 0.35 ? 0.03 : kind < 0.9 ? 0.1 : 0.2;
    for (int i = 0; i < 10; i++) rough[i] = (float)(p5[i] + off * eyes * lafs_rng_normal(r));
    lafs_refiner_template(template);
    LAFS_TRY(lafs_similarity(rough, template, 5, cut, err));
    double angle = turn * lafs_rng_normal(r), size = exp(scale * lafs_rng_normal(r));
    double narrow = exp(0.05 * lafs_rng_normal(r)), askew = 0.05 * lafs_rng_normal(r);
    double c = cos(angle) * size, s = sin(angle) * size, shift = SIDE / 4.0 * (kind < 0.35 ? 0.03 : off);
    double x = shift * lafs_rng_normal(r), y = shift * lafs_rng_normal(r);
    about_centre(c * narrow, -s + askew, s * narrow, c, x, y, more);
    after(more, cut, m);
    return LAFS_OK;
}

/* Photo -> crop where the face is not, or where it is far too large or small to be one. 0: no such place was found. */
static int elsewhere(const float p5[10], const struct lafs_image *photo, struct lafs_rng *r, double m[6])
{
    const double crop_eyes = 17.6; /* of a face as it should be cut */
    double eyes = eyes_of(p5), face_x = p5[4], face_y = p5[5];
    for (int i = 0; i < TRIES; i++) {
        double ratio = exp(lafs_rng_uniform(r, -1.4, 1.4)), angle = lafs_rng_uniform(r, 0, 2 * M_PI);
        double x = lafs_rng_uniform(r, 0, photo->w), y = lafs_rng_uniform(r, 0, photo->h);
        double scale = crop_eyes / (eyes * ratio), far = hypot(x - face_x, y - face_y) / (eyes * fmax(ratio, 1));
        if (far < 2 && !(ratio > 2.8 || ratio < 0.35)) continue;
        double c = cos(angle) * scale, s = sin(angle) * scale, mid = (SIDE - 1) / 2.0;
        m[0] = c, m[1] = -s, m[2] = mid - c * x + s * y;
        m[3] = s, m[4] = c, m[5] = mid - s * x - c * y;
        return 1;
    }
    return 0;
}

static void mirror(struct example *e, double m[6])
{
    const double turn[6] = {-1, 0, SIDE - 1, 0, 1, 0};
    double to[6];
    after(turn, m, to);
    memcpy(m, to, sizeof to);
    lafs_points68_mirror(e->p68, SIDE - 1);
    lafs_points5_mirror(e->p5, SIDE - 1);
}

/* -- examples -- */

/* The crop by m; from time to time through one of few pixels, as small faces are seen. */
static lafs_status render(struct scratch *s, struct lafs_rng *r, const double m[6], struct lafs_err *err)
{
    LAFS_TRY(lafs_image_new(&s->crop, SIDE, SIDE, err));
    if (lafs_rng_double(r) >= 0.35) return lafs_warp_affine(&s->photo, m, &s->crop, err);
    int side = 14 + (int)lafs_rng_below(r, SIDE - 20);
    double f = (double)side / SIDE, down[6] = {f, 0, (f - 1) / 2, 0, f, (f - 1) / 2}, both[6];
    double up[6] = {1 / f, 0, (1 / f - 1) / 2, 0, 1 / f, (1 / f - 1) / 2};
    after(down, m, both);
    LAFS_TRY(lafs_image_new(&s->small, side, side, err));
    LAFS_TRY(lafs_warp_affine(&s->photo, both, &s->small, err));
    return lafs_warp_affine(&s->small, up, &s->crop, err);
}

/* Something in front of the face; a mask over nose and mouth. */
static void cover(struct lafs_image *crop, struct lafs_rng *r, const struct example *e)
{
    double kind = lafs_rng_double(r);
    if (kind < 0.06 && e->points) {
        int half = SIDE / 4 + (int)lafs_rng_below(r, SIDE / 8), top = (int)e->p5[5] - 2 + (int)lafs_rng_below(r, 4);
        lafs_cover(crop, r, (int)e->p5[4] - half, top, (int)e->p5[4] + half, top + SIDE / 2);
    } else if (kind < 0.22) {
        int w = 6 + (int)lafs_rng_below(r, 24), h = 6 + (int)lafs_rng_below(r, 24);
        int x = (int)lafs_rng_below(r, SIDE) - w / 2, y = (int)lafs_rng_below(r, SIDE) - h / 2;
        lafs_cover(crop, r, x, y, x + w, y + h);
    }
}

static lafs_status check_points(const float *p, int points, struct lafs_err *err)
{
    for (int i = 0; i < 2 * points; i++)
        if (!(fabsf(p[i]) < LAFS_CANVAS_FARTHEST))
            return lafs_fail(err, LAFS_BAD_RECORD, "a face far outside of any photo");
    return LAFS_OK;
}

static lafs_status read_points(const struct lafs_sample *s, struct example *e, struct lafs_err *err)
{
    lafs_status st = lafs_sample_f32(s, "points68", (int64_t[]){POINTS, 2}, 2, e->p68, 2 * POINTS, err);
    e->points = POINTS;
    if (st == LAFS_OK) LAFS_TRY(check_points(e->p68, POINTS, err));
    if (st == LAFS_OK) lafs_points68_to_5(e->p68, e->p5);
    if (st != LAFS_END) return st;
    e->points = 5;
    st = lafs_sample_f32(s, "points", (int64_t[]){5, 2}, 2, e->p5, 10, err);
    return st == LAFS_END ? lafs_fail(err, LAFS_BAD_RECORD, "neither field 'points68' nor 'points'") : st;
}

static lafs_status read_truth(const struct lafs_sample *s, struct example *e, struct lafs_err *err)
{
    LAFS_TRY(read_points(s, e, err));
    LAFS_TRY(check_points(e->p5, 5, err));
    if (eyes_of(e->p5) >= 1) return LAFS_OK;
    return lafs_fail(err, LAFS_BAD_RECORD, "a face whose eyes are less than a pixel apart");
}

static lafs_status draw(struct task *t, struct scratch *s, struct example *e, struct lafs_rng *r, float *image,
                        struct lafs_err *err)
{
    double m[6];
    LAFS_TRY(lafs_face_image(&s->sample, t->max_pixels, &s->photo, err));
    LAFS_TRY(read_truth(&s->sample, e, err));
    int face = lafs_rng_double(r) >= 0.1 || !elsewhere(e->p5, &s->photo, r, m);
    if (face) {
        LAFS_TRY(rough_cut(e->p5, r, m, err));
        lafs_affine_apply(m, e->p5, 5, e->p5);
        if (e->points == POINTS) lafs_affine_apply(m, e->p68, POINTS, e->p68);
    } else e->points = 0;
    if (lafs_rng_double(r) < 0.5 && !t->no_mirror) mirror(e, m);
    LAFS_TRY(render(s, r, m, err));
    cover(&s->crop, r, e);
    lafs_spoil(&s->crop, r);
    lafs_refiner_input(s->crop.px, image);
    return LAFS_OK;
}

static lafs_status make(void *arg, uint64_t key, int64_t i, int worker, float *image, struct lafs_err *err)
{
    struct task *t = arg;
    struct scratch *s = &t->scratch[worker];
    struct lafs_rng r;
    lafs_rng_init(&r, key);
    int64_t at = (int64_t)lafs_rng_below(&r, (uint64_t)t->ix->samples);
    memset(&t->example[i], 0, sizeof t->example[i]);
    lafs_status st = lafs_fetch_sample(t->fetch, at, &s->sample, err);
    if (st == LAFS_OK) st = draw(t, s, &t->example[i], &r, image, err);
    return st == LAFS_OK ? st : lafs_err_prefix(err, "record '%s'", t->ix->sample[at].key);
}

/* -- loss -- */

/* d(loss)/d(point): a smooth distance in units of the eyes' distance, times weight. Returns the loss. */
static double point_loss(const float p[2], const float to[2], double eyes, double weight, double d[2])
{
    double x = (p[0] - to[0]) / eyes, y = (p[1] - to[1]) / eyes, e = sqrt(x * x + y * y + 1e-4);
    d[0] += weight * x / e / eyes;
    d[1] += weight * y / e / eyes;
    return weight * e;
}

/* Weights of the 68 points: those that alignment uses count more. They sum to 1. */
static double weight_of(int k)
{
    static const int used[7] = {30, 36, 39, 42, 45, 48, 54};
    for (int i = 0; i < 7; i++)
        if (used[i] == k) return 4.0 / (POINTS + 7 * 3);
    return 1.0 / (POINTS + 7 * 3);
}

/* The five points as means of those they are made of: their gradient goes to these. */
static double five_loss(const struct example *e, const float *p68, double eyes, double weight, double d[][2])
{
    static const int of[5][2] = {{36, 39}, {42, 45}, {30, 30}, {48, 48}, {54, 54}};
    double loss = 0;
    for (int i = 0; i < 5; i++) {
        const float *a = p68 + 2 * of[i][0], *b = p68 + 2 * of[i][1];
        float mid[2] = {(a[0] + b[0]) / 2, (a[1] + b[1]) / 2};
        double g[2] = {0};
        loss += point_loss(mid, e->p5 + 2 * i, eyes, weight / 5, g);
        for (int k = 0; k < 2; k++) {
            d[of[i][0]][k] += g[k] / 2;
            d[of[i][1]][k] += g[k] / 2;
        }
    }
    return loss;
}

/* Points of a face: gradients into maps' d (cells, channels). Returns the loss. */
static double place_loss(const struct example *e, const float *p68, const float *share, float *d)
{
    const double step = (double)SIDE / MAP, first = (step - 1) / 2, eyes = fmax(eyes_of(e->p5), 4);
    double g[POINTS][2] = {{0}}, loss = 0;
    int seen[POINTS] = {0};
    for (int k = 0; k < POINTS && e->points == POINTS; k++) {
        const float *to = e->p68 + 2 * k;
        seen[k] = to[0] > 0 && to[1] > 0 && to[0] < SIDE - 1 && to[1] < SIDE - 1;
        if (seen[k]) loss += point_loss(p68 + 2 * k, to, eyes, weight_of(k), g[k]);
    }
    if (e->points == 5) loss = five_loss(e, p68, eyes, FEW_POINTS_WEIGHT, g);
    for (int k = 0; k < POINTS; k++) {
        double target[CELLS], sum = 0, weight = seen[k] ? MAP_WEIGHT * weight_of(k) * 4 : 0;
        if (!seen[k] && e->points != 5) continue;
        for (int i = 0; i < CELLS && weight > 0; i++) {
            double x = (first + step * (i % MAP) - e->p68[2 * k]) / step;
            double y = (first + step * (i / MAP) - e->p68[2 * k + 1]) / step, q = (x * x + y * y) / (2 * SIGMA * SIGMA);
            target[i] = q < 20 ? exp(-q) : 0;
            sum += target[i];
        }
        for (int i = 0; i < CELLS; i++) {
            double p = share[k * CELLS + i], x = first + step * (i % MAP) - p68[2 * k];
            double y = first + step * (i / MAP) - p68[2 * k + 1], slope = p * (x * g[k][0] + y * g[k][1]);
            if (weight > 0) {
                slope += weight * (p - target[i] / sum);
                loss -= weight * target[i] / sum * log(p + 1e-12);
            }
            d[i * CHANNELS + k] = (float)slope;
        }
    }
    return loss;
}

/* figures: loss, mean error of the five points of faces, share of faces */
static void loss(void *arg, int64_t i, const float *const *out, float *const *d, double *figures)
{
    struct task *t = arg;
    const struct example *e = &t->example[i];
    float p68[2 * POINTS], share[POINTS * CELLS], p5[10];
    double logit = lafs_refiner_decode(out[0], p68, share), target = 0, error = NAN;
    memset(d[0], 0, CELLS * CHANNELS * sizeof(float));
    figures[0] = 0;
    if (e->points) {
        lafs_points68_to_5(p68, p5);
        error = 0;
        for (int k = 0; k < 5; k++)
            error += hypot((double)p5[2 * k] - e->p5[2 * k], (double)p5[2 * k + 1] - e->p5[2 * k + 1]) / 5;
        error /= fmax(eyes_of(e->p5), 4);
        target = exp(-error / SURE);
        figures[0] = place_loss(e, p68, share, d[0]);
    }
    /* binary cross-entropy of the logit */
    double sure = 1 / (1 + exp(-logit));
    figures[0] += CONFIDENCE_WEIGHT * (fmax(logit, 0) - logit * target + log1p(exp(-fabs(logit))));
    for (int c = 0; c < CELLS; c++)
        d[0][c * CHANNELS + POINTS] = (float)(CONFIDENCE_WEIGHT * (sure - target) / CELLS);
    figures[1] = error;
    figures[2] = e->points != 0;
    figures[3] = fabs(sure - target);
}

const struct lafs_dtrain_task lafs_refiner_task = {
    .name = "refiner",
    .architecture = LAFS_REFINER_ARCHITECTURE,
    .side = SIDE,
    .heads = 1,
    .head = {LAFS_REFINER_HEAD},
    .figure = {"loss", "error", "faces", "doubt"},
    .net = lafs_refiner_net,
    .open = open_task,
    .close = close_task,
    .make = make,
    .loss = loss,
};
