/* What detectors are taught by: canvases, crops, and the slopes of their losses. Photos: squares of one colour with a
 * bright dot at each point, so that a point's place shows. */
#include "train/detect.h"

#include <stdlib.h>
#include <unistd.h>

#include "data/stream.h"
#include "image/align.h"
#include "model/detector.h"
#include "model/refiner.h"
#include "tests/test.h"
#include "train/canvas.h"
#include "train/spoil.h"

static struct lafs_err e;
static char dir[64], tar[96];

/* 68 points of a face whose eyes are `eyes` apart, about (x, y). */
static void face_at(float *p68, double x, double y, double eyes)
{
    float five[10];
    lafs_align_template(112, five);
    for (int k = 0; k < 68; k++) {
        p68[2 * k] = (float)(x + eyes * (0.9 * cos(k) * (k < 17)));
        p68[2 * k + 1] = (float)(y + eyes * (k < 17 ? fabs(sin(k)) : 0.3));
    }
    static const int at[7] = {36, 39, 42, 45, 30, 48, 54}, of[7] = {0, 0, 1, 1, 2, 3, 4};
    for (int i = 0; i < 7; i++) {
        p68[2 * at[i]] = (float)(x + (five[2 * of[i]] - 56) / 35.2 * eyes);
        p68[2 * at[i] + 1] = (float)(y + (five[2 * of[i] + 1] - 72) / 35.2 * eyes);
    }
}

static void dot(struct lafs_image *im, double x, double y)
{
    for (int dy = -3; dy <= 3; dy++)
        for (int dx = -3; dx <= 3; dx++) {
            int px = (int)(x + 0.5) + dx, py = (int)(y + 0.5) + dy;
            if (px < 0 || py < 0 || px >= im->w || py >= im->h) continue;
            memset(im->px + ((size_t)py * (size_t)im->w + (size_t)px) * 3, 255, 3);
        }
}

/* Writes six photos: faces with 68 points; the last two records are faces of one photo. */
static void make_photos(void)
{
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_image im = {0};
    struct lafs_buf jpeg;
    snprintf(dir, sizeof dir, "/tmp/lafs-detecttrain.XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(tar, sizeof tar, "%s/photos.tar", dir);
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){0, "none", "rgb"};
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = tar}, &h, &e), &e);
    lafs_buf_init(&jpeg);
    for (int i = 0; i < 6; i++) {
        struct lafs_sample s;
        char key[32];
        float p68[136], p5[10], eyes = (float)(40 + 4 * i), x = 90 + (float)i * 3, y = 100;
        face_at(p68, x, y, eyes);
        lafs_points68_to_5(p68, p5);
        float box[4] = {x - eyes + 0.5f, y - 1.3f * eyes + 0.5f, 2 * eyes, 2.6f * eyes}; /* from the corner */
        REQUIRE_OK(lafs_image_new(&im, 200, 220, &e), &e);
        memset(im.px, 40, (size_t)im.w * (size_t)im.h * 3);
        for (int k = 0; k < 5; k++) dot(&im, p5[2 * k], p5[2 * k + 1]);
        for (int k = 0; k < 10; k++) p5[k] += 0.5f; /* a detector's points count from the corner, the 68 do not */
        lafs_buf_clear(&jpeg);
        REQUIRE_OK(lafs_jpeg_encode(&jpeg, &im, 95, &e), &e);
        lafs_sample_init(&s);
        snprintf(key, sizeof key, i < 4 ? "p%d/p%d" : "q/q-f%d", i < 4 ? i : i - 4, i);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_bin(&s, "jpg", jpeg.data, jpeg.size);
        lafs_sample_set_f32(&s, "box", (int64_t[]){4}, 1, box);
        if (i % 2) lafs_sample_set_f32(&s, "points", (int64_t[]){5, 2}, 2, p5);
        else lafs_sample_set_f32(&s, "points68", (int64_t[]){68, 2}, 2, p68);
        if (i == 5) lafs_sample_set_double(&s, "score", 0.5);
        REQUIRE_OK(lafs_writer_put(w, &s, &e), &e);
        lafs_sample_release(&s);
    }
    REQUIRE_OK(lafs_writer_close(w, &(struct lafs_totals){.count = 6, .ok = 1}, &e), &e);
    lafs_buf_release(&jpeg);
    lafs_image_release(&im);
    lafs_header_release(&h);
}

static struct lafs_index *open_photos(void)
{
    struct lafs_index *ix = NULL;
    char path[96];
    if (!dir[0]) make_photos();
    snprintf(path, sizeof path, "%s/photos.lafs", dir);
    if (!test_failed_ && lafs_index_open(&ix, path, &e) != LAFS_OK) FAIL_("%s", e.msg);
    return ix;
}

static double brightness(const struct lafs_image *im, float x, float y)
{
    int px = (int)floorf(x + 0.5f), py = (int)floorf(y + 0.5f);
    if (px < 0 || py < 0 || px >= im->w || py >= im->h) return -1;
    return im->px[((size_t)py * (size_t)im->w + (size_t)px) * 3 + 1];
}

/* How far the middle of the dot at (x, y) (from the corner) is from there, in x and y. 0: there is no whole dot. */
static int miss_of(const struct lafs_image *im, double x, double y, int reach, double miss[2])
{
    int px = (int)floor(x), py = (int)floor(y), least = 255, most = 0;
    double sum = 0, sx = 0, sy = 0;
    if (px < reach || py < reach || px + reach >= im->w || py + reach >= im->h) return 0;
    for (int pass = 0; pass < 2; pass++)
        for (int b = py - reach; b <= py + reach; b++)
            for (int a = px - reach; a <= px + reach; a++) {
                int v = im->px[((size_t)b * (size_t)im->w + (size_t)a) * 3 + 1];
                least = v < least ? v : least;
                most = v > most ? v : most;
                double weight = pass && 2 * v > least + most ? v - (least + most) / 2.0 : 0;
                sum += weight, sx += weight * (a + 0.5 - x), sy += weight * (b + 0.5 - y);
            }
    if (most - least < 100 || sum <= 0) return 0;
    miss[0] = sx / sum, miss[1] = sy / sum;
    return fabs(miss[0]) < 2 && fabs(miss[1]) < 2; /* else another dot, or noise */
}

/* The last record's face has a score of 0.5: of its photo, which has two, at least every other face is in doubt. */
TEST(faces_of_a_low_score_are_doubtful)
{
    struct lafs_canvas_maker *m;
    struct lafs_canvas c = {0};
    struct lafs_index *ix = open_photos();
    int known = 0, doubtful = 0;
    REQUIRE(ix != NULL);
    struct lafs_index last = *ix;
    last.sample += 4, last.samples -= 4;
    REQUIRE_OK(lafs_canvas_open(&m, &last, 1, 0, 0, &e), &e);
    for (int i = 0; i < 40; i++) {
        REQUIRE_OK(lafs_canvas_make(m, (uint64_t)i, 0, &c, &e), &e);
        for (int k = 0; k < c.faces; k++) *(c.face[k].known ? &known : &doubtful) += 1;
    }
    CHECK(known > 20 && doubtful >= known);
    lafs_canvas_close(m);
    lafs_image_release(&c.image);
    lafs_index_free(ix);
}

/* Faces are where canvases say: their points' pixels are bright ones; boxes lie inside; every kind of face occurs. */
TEST(canvases)
{
    struct lafs_canvas_maker *m;
    struct lafs_canvas c = {0}, again = {0};
    struct lafs_index *ix = open_photos();
    double at_points = 0, elsewhere = 0, off[2][2] = {{0}};
    int measured[2] = {0}, points = 0, others = 0, known = 0, doubtful = 0, most = 0, alone = 0;
    REQUIRE(ix != NULL);
    REQUIRE_OK(lafs_canvas_open(&m, ix, 2, 0, 0, &e), &e);
    for (int i = 0; i < 400; i++) {
        REQUIRE_OK(lafs_canvas_make(m, (uint64_t)i, i % 2, &c, &e), &e);
        most = c.faces > most ? c.faces : most;
        alone += c.faces == 1;
        for (int k = 0; k < c.faces; k++) {
            const struct lafs_canvas_face *f = &c.face[k];
            CHECK(f->box[0] >= 0 && f->box[1] >= 0 && f->box[2] > 0 && f->box[3] > 0);
            CHECK(f->box[0] + f->box[2] <= LAFS_CANVAS_SIDE + 1e-3 && f->box[1] + f->box[3] <= LAFS_CANVAS_SIDE + 1e-3);
            known += f->known;
            doubtful += !f->known;
            if (!f->known || f->box[3] < 60 || c.faces > 4) continue; /* dots of small faces are dim */
            for (int j = 0; j < 5; j++) {
                double v = brightness(&c.image, f->points[2 * j] - 0.5f, f->points[2 * j + 1] - 0.5f), miss[2];
                int large = f->box[3] > 90;
                if (v >= 0) at_points += v, points++;
                if (!miss_of(&c.image, f->points[2 * j], f->points[2 * j + 1], large ? 6 : 4, miss)) continue;
                off[large][0] += miss[0], off[large][1] += miss[1], measured[large]++;
            }
            double v = brightness(&c.image, (f->points[0] + f->points[2]) / 2, f->points[1] - f->box[3] / 6);
            if (v >= 0) elsewhere += v, others++;
        }
    }
    for (int large = 0; large < 2; large++) { /* to a part of a pixel, at all scales */
        if (measured[large] < 50) FAIL_("%d points measured (%d)", measured[large], large);
        for (int k = 0; k < 2; k++)
            if (fabs(off[large][k] / measured[large]) > 0.15)
                FAIL_("points are off by %g (%d)", off[large][k] / measured[large], large);
    }
    REQUIRE(points > 100 && others > 20);
    CHECK(at_points / points > 2.2 * elsewhere / others);
    CHECK(known > 300 && doubtful > 50 && most > 15 && alone > 20);
    REQUIRE_OK(lafs_canvas_make(m, 7, 0, &c, &e), &e);
    REQUIRE_OK(lafs_canvas_make(m, 7, 1, &again, &e), &e);
    CHECK_INT(c.faces, again.faces);
    CHECK(!memcmp(c.image.px, again.image.px, LAFS_CANVAS_SIDE * LAFS_CANVAS_SIDE * 3));
    CHECK(!memcmp(c.face, again.face, (size_t)c.faces * sizeof *c.face));
    lafs_canvas_release(&c);
    lafs_canvas_release(&again);
    lafs_canvas_close(m);
    lafs_index_free(ix);
}

/* Outputs of a task's heads. */
struct outputs {
    int heads;
    size_t size[LAFS_DTRAIN_HEADS];
    float *v[LAFS_DTRAIN_HEADS];
};

static void outputs_new(struct outputs *o, const struct lafs_dtrain_task *task, int channels)
{
    o->heads = task->heads;
    for (int k = 0; k < task->heads; k++) {
        int side = task->heads == 1 ? LAFS_REFINER_MAP : task->side >> (3 + k);
        o->size[k] = (size_t)(side * side * channels);
        o->v[k] = calloc(o->size[k], sizeof(float));
        REQUIRE(o->v[k] != NULL);
    }
}
static void outputs_free(struct outputs *o)
{
    for (int k = 0; k < o->heads; k++) free(o->v[k]);
}

static double loss_of(const struct lafs_dtrain_task *task, void *t, const struct outputs *out, struct outputs *d)
{
    double figures[LAFS_DTRAIN_FIGURES];
    task->loss(t, 0, (const float *const *)out->v, d->v, figures);
    return figures[0];
}

/* A task's slopes along random directions in channels from..to-1, against differences, over several examples, at outputs
 * like those of a network that has learnt something. zero: channel that is 0 in them, -1: none. */
static void check_slopes(const struct lafs_dtrain_task *task, int from, int to, int zero)
{
    void *t;
    struct lafs_convnet net;
    struct lafs_rng r;
    struct lafs_index *ix = open_photos();
    struct outputs out, moved, d, unused;
    float *image = malloc((size_t)task->side * (size_t)task->side * 3 * sizeof *image);
    int checked = 0;
    REQUIRE(ix && image);
    REQUIRE_OK(task->net(&net, &e), &e);
    REQUIRE_OK(task->open(&t, &(struct lafs_dtrain_config){.batch = 1}, ix, 1, &e), &e);
    const int channels = net.c[task->head[0]];
    struct outputs *all[4] = {&out, &moved, &d, &unused};
    for (int i = 0; i < 4; i++) outputs_new(all[i], task, channels);
    lafs_rng_init(&r, 3);
    for (int i = 0; i < 12 && !test_failed_; i++) {
        REQUIRE_OK(task->make(t, (uint64_t)i, 0, 0, image, &e), &e);
        for (int k = 0; k < out.heads; k++)
            for (size_t j = 0; j < out.size[k]; j++)
                out.v[k][j] = (int)(j % (size_t)channels) == zero ? 0 : (float)(0.7 * lafs_rng_normal(&r));
        double middle = loss_of(task, t, &out, &d), value[2], slope = 0, norm = 0, step = 1e-3;
        CHECK(middle > 0 && isfinite(middle));
        for (int side = 0; side < 2; side++) {
            struct lafs_rng along;
            lafs_rng_init(&along, (uint64_t)i);
            for (int k = 0; k < out.heads; k++)
                for (size_t j = 0; j < out.size[k]; j++) {
                    int c = (int)(j % (size_t)channels);
                    double v = c >= from && c < to ? lafs_rng_normal(&along) : 0;
                    moved.v[k][j] = (float)(out.v[k][j] + (side ? step : -step) * v);
                    slope += side * v * (double)d.v[k][j];
                    norm += side * v * (double)d.v[k][j] * v * (double)d.v[k][j];
                }
            value[side] = loss_of(task, t, &moved, &unused);
        }
        /* Where cells change the face they answer for, the loss jumps: no slope there. */
        double found = (value[1] - value[0]) / (2 * step);
        if (norm == 0 || fabs(value[0] + value[1] - 2 * middle) > 1e-3 * (1 + fabs(found))) continue;
        if (fabs(slope - found) > 0.01 * sqrt(norm) + 1e-4)
            FAIL_("%s, channel %d, example %d: %g, differences say %g", task->name, from, i, slope, found);
        checked++;
    }
    CHECK(checked >= 5);
    for (int i = 0; i < 4; i++) outputs_free(all[i]);
    free(image);
    task->close(t);
    lafs_params_release(&net.params, &(struct lafs_backend){0});
    lafs_index_free(ix);
}

TEST(slopes_of_the_refiner)
{
    check_slopes(&lafs_refiner_task, 0, 68, -1);
    check_slopes(&lafs_refiner_task, 68, 69, -1);
}
TEST(slopes_of_the_detector)
{
    check_slopes(&lafs_detector_task, 0, 1, -1); /* class */
    /* box: what the class is taught is the overlap of the box, which counts as given: where the class is 0 it has no
     * slope. */
    check_slopes(&lafs_detector_task, 1, 5, 0);
    check_slopes(&lafs_detector_task, 5, 6, -1);  /* object */
    check_slopes(&lafs_detector_task, 6, 16, -1); /* points */
}

/* What is trained is what lafs-detect runs: each cell of a network with random weights and statistics. */
TEST(the_detector_that_runs)
{
    const struct lafs_dtrain_task *task = &lafs_detector_task;
    const struct lafs_st_meta meta[] = {{"architecture", LAFS_DETECTOR_ARCHITECTURE}};
    enum { SIDE = LAFS_CANVAS_SIDE };
    struct lafs_backend b;
    struct lafs_convnet net;
    struct lafs_convnet_work w = {0};
    struct lafs_convnet_folded folded;
    struct lafs_arena arena = {0};
    struct lafs_rng r;
    struct lafs_st *st;
    struct lafs_detector *detector;
    static float photo[SIDE * SIDE * 3];
    const float *level[LAFS_DETECTOR_LEVELS];
    float *image = NULL;
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    REQUIRE_OK(task->net(&net, &e), &e);
    REQUIRE_OK(lafs_params_place(&net.params, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&net.params, &b, 5, &e), &e);
    lafs_rng_init(&r, 9);
    for (int i = 0; i < net.params.count; i++)
        for (int64_t k = 0; k < net.params.p[i].size && net.params.p[i].ndim == 1; k++)
            net.params.value[net.params.p[i].off + k] += (float)lafs_rng_uniform(&r, 0, 0.5);
    for (int pass = 0; pass < 2; pass++) {
        image = lafs_arena_take(&arena, SIDE * SIDE * 3, sizeof(float));
        REQUIRE_OK(lafs_convnet_plan(&w, &net, 1, SIDE, SIDE, LAFS_CONVNET_TRAIN, &arena, &e), &e);
        if (!pass) REQUIRE_OK(lafs_arena_reserve(&arena, &b, &e), &e);
    }
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        photo[i] = (float)lafs_rng_below(&r, 256);
        image[i] = photo[i] / 128;
    }
    lafs_convnet_forward(&w, &b, net.params.value, NULL, 1, image);
    REQUIRE_OK(lafs_convnet_fold(&net, &b, net.params.value, &folded, &e), &e);
    task->finish(&folded);
    REQUIRE_OK(lafs_st_wrap(&st, folded.t, folded.tensors, meta, 1, &e), &e);
    REQUIRE_OK(lafs_detector_open(&detector, &b, st, &e), &e);
    lafs_st_close(st);
    REQUIRE_OK(lafs_detector_forward(detector, SIDE, SIDE, photo, level, &e), &e);
    for (int k = 0; k < LAFS_DETECTOR_LEVELS; k++) {
        const float *want = lafs_convnet_out(&w, task->head[k]);
        int cells = (SIDE >> (3 + k)) * (SIDE >> (3 + k));
        double sum = 0, wrong = 0;
        for (int i = 0; i < cells * LAFS_DETECTOR_CELL; i++) {
            double z = want[i] - (i % LAFS_DETECTOR_CELL == 5 ? 4 : 0); /* the object's logit is taught to be 4 more */
            sum += fabs(z);
            wrong += fabs(level[k][i] - z);
        }
        if (!(wrong < 1e-4 * sum)) FAIL_("level %d: mean error %g of mean %g", k, wrong / cells, sum / cells);
    }
    lafs_detector_close(detector);
    lafs_convnet_folded_release(&folded);
    lafs_convnet_release(&net, &b);
    lafs_arena_release(&arena, &b);
    lafs_backend_close(&b);
}

static const float *tensor_of(const struct lafs_ckpt *c, const char *prefix, const char *name, int64_t *n)
{
    char full[2 * LAFS_MAX_TENSOR_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->tensor[i].name, full)) {
            *n = c->tensor[i].count;
            return c->tensor[i].data;
        }
    FAIL_("no tensor %s", full);
    *n = 0;
    return NULL;
}

/* Each tensor has a gradient, that of every head included; the mean follows: 0.1 of what it was, then 2 / 11. */
static void first_steps(const struct lafs_dtrain_task *task)
{
    enum { PREFIX = 6 }; /* of "model." */
    struct lafs_backend b;
    struct lafs_dtrain *t;
    struct lafs_dtrain_report r;
    struct lafs_ckpt c[3];
    struct lafs_index *ix = open_photos();
    const struct lafs_dtrain_config config = {.task = task, .batch = 2, .steps = 5, .lr = 0.01, .average = 0.99};
    int tensors = 0;
    REQUIRE(ix);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_dtrain_open(&t, &config, &b, NULL, ix, &e), &e);
    for (int s = 0; s < 3; s++) {
        if (s) REQUIRE_OK(lafs_dtrain_step(t, &r, &e), &e);
        lafs_ckpt_init(&c[s]);
        REQUIRE_OK(lafs_dtrain_checkpoint(t, &c[s], &e), &e);
    }
    for (int i = 0; i < c[0].count; i++) {
        if (strncmp(c[0].tensor[i].name, "model.", PREFIX)) continue;
        const char *name = c[0].tensor[i].name + PREFIX;
        int64_t n;
        const float *value[2] = {tensor_of(&c[1], "model.", name, &n), tensor_of(&c[2], "model.", name, &n)};
        const float *mean[3], *m = tensor_of(&c[1], "adamw.m.", name, &n);
        double gradient = 0, wrong = 0;
        for (int s = 0; s < 3; s++) mean[s] = tensor_of(&c[s], "mean.", name, &n);
        for (int64_t k = 0; k < n; k++) {
            gradient += fabs((double)m[k]);
            wrong = fmax(wrong, fabs(0.1 * mean[0][k] + 0.9 * value[0][k] - mean[1][k]));
            wrong = fmax(wrong, fabs(2.0 / 11 * mean[1][k] + 9.0 / 11 * value[1][k] - mean[2][k]));
        }
        if (!strstr(name, ".mean") && !strstr(name, ".var") && gradient == 0) FAIL_("%s has no gradient", name);
        if (wrong > 1e-5) FAIL_("the mean of %s is off by %g", name, wrong);
        tensors++;
    }
    CHECK(tensors > 20);
    for (int s = 0; s < 3; s++) lafs_ckpt_release(&c[s]);
    lafs_dtrain_close(t);
    lafs_backend_close(&b);
    lafs_index_free(ix);
}

TEST(first_steps_of_the_detector) { first_steps(&lafs_detector_task); }
TEST(first_steps_of_the_refiner) { first_steps(&lafs_refiner_task); }

/* A map with one sharp peak gives the middle of its cell; an even one the middle of the crop. */
TEST(decoding)
{
    enum { CH = LAFS_REFINER_CHANNELS, MAP = LAFS_REFINER_MAP };
    static float maps[MAP * MAP * CH];
    float p[136];
    maps[(5 * MAP + 9) * CH + 3] = 50;
    for (int i = 0; i < MAP * MAP; i++) maps[i * CH + 68] = 2;
    CHECK_NEAR(lafs_refiner_decode(maps, p, NULL), 2, 1e-5);
    CHECK_NEAR(p[6], 1.5 + 4 * 9, 1e-3);
    CHECK_NEAR(p[7], 1.5 + 4 * 5, 1e-3);
    CHECK_NEAR(p[0], 31.5, 1e-3);
    CHECK_NEAR(p[1], 31.5, 1e-3);
    /* Any maps: against the softmax in double. */
    static float share[68 * MAP * MAP];
    for (int i = 0; i < MAP * MAP * CH; i++) maps[i] = (float)(i * 7919 % 1009) / 37 - 13 * (float)(i % 11);
    lafs_refiner_decode(maps, p, share);
    for (int k = 0; k < 68; k++) {
        double sum = 0, x = 0, most = -INFINITY;
        for (int i = 0; i < MAP * MAP; i++) most = fmax(most, maps[i * CH + k]);
        for (int i = 0; i < MAP * MAP; i++) {
            double v = exp(maps[i * CH + k] - most);
            sum += v, x += v * (1.5 + 4 * (i % MAP));
        }
        CHECK_NEAR(p[2 * k], x / sum, 1e-4);
        for (int i = 0; i < MAP * MAP; i++)
            CHECK_NEAR(share[k * MAP * MAP + i], exp(maps[i * CH + k] - most) / sum, 1e-6);
    }
}

/* The same stream spoils in the same way; what is covered is inside the picture and nowhere else. */
TEST(spoiling)
{
    struct lafs_image a = {0}, b = {0};
    struct lafs_rng r;
    int changed = 0;
    for (uint64_t i = 0; i < 60; i++) {
        REQUIRE_OK(lafs_image_new(&a, 31, 17, &e), &e);
        REQUIRE_OK(lafs_image_new(&b, 31, 17, &e), &e);
        for (int k = 0; k < 31 * 17 * 3; k++) a.px[k] = b.px[k] = (uint8_t)(k * 7);
        lafs_rng_init(&r, i);
        lafs_spoil(&a, &r);
        changed += memcmp(a.px, b.px, 31 * 17 * 3) != 0;
        lafs_rng_init(&r, i);
        lafs_spoil(&b, &r);
        CHECK(!memcmp(a.px, b.px, 31 * 17 * 3));
        lafs_cover(&b, &r, -5, 12, 8, 99);
        for (int y = 0; y < 17; y++)
            for (int x = 0; x < 31; x++)
                if (x >= 8 || y < 12) CHECK(!memcmp(a.px + (y * 31 + x) * 3, b.px + (y * 31 + x) * 3, 3));
    }
    CHECK(changed > 50);
    lafs_image_release(&a);
    lafs_image_release(&b);
}

/* A photo with one face, for both tasks: what they say of it. */
static void refused(const float box[4], const float points[10], const char *detector, const char *refiner)
{
    const struct lafs_dtrain_task *task[2] = {&lafs_detector_task, &lafs_refiner_task};
    const char *says[2] = {detector, refiner};
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_image im = {0};
    struct lafs_buf jpeg;
    struct lafs_sample s;
    struct lafs_index *ix;
    char out[96], path[96];
    void *t;
    snprintf(out, sizeof out, "%s/bad.tar", dir);
    snprintf(path, sizeof path, "%s/bad.lafs", dir);
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){0, "none", "rgb"};
    lafs_buf_init(&jpeg);
    lafs_sample_init(&s);
    REQUIRE_OK(lafs_image_new(&im, 60, 60, &e), &e);
    memset(im.px, 40, (size_t)im.w * (size_t)im.h * 3);
    REQUIRE_OK(lafs_jpeg_encode(&jpeg, &im, 95, &e), &e);
    lafs_sample_set_str(&s, "key", "bad/face");
    lafs_sample_set_bin(&s, "jpg", jpeg.data, jpeg.size);
    lafs_sample_set_f32(&s, "box", (int64_t[]){4}, 1, box);
    lafs_sample_set_f32(&s, "points", (int64_t[]){5, 2}, 2, points);
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = out}, &h, &e), &e);
    REQUIRE_OK(lafs_writer_put(w, &s, &e), &e);
    REQUIRE_OK(lafs_writer_close(w, &(struct lafs_totals){.count = 1, .ok = 1}, &e), &e);
    REQUIRE_OK(lafs_index_open(&ix, path, &e), &e);
    for (int i = 0; i < 2; i++) {
        float *image = malloc((size_t)task[i]->side * (size_t)task[i]->side * 3 * sizeof *image);
        REQUIRE(image);
        REQUIRE_OK(task[i]->open(&t, &(struct lafs_dtrain_config){.batch = 1}, ix, 1, &e), &e);
        lafs_status st = task[i]->make(t, 1, 0, 0, image, &e);
        CHECK(says[i] ? st == LAFS_BAD_RECORD && strstr(e.msg, says[i]) && strstr(e.msg, "bad/face") : st == LAFS_OK);
        task[i]->close(t);
        free(image);
    }
    lafs_index_free(ix);
    lafs_sample_release(&s);
    lafs_buf_release(&jpeg);
    lafs_image_release(&im);
    lafs_header_release(&h);
}

TEST(damaged_faces)
{
    const float box[4] = {10, 10, 30, 40}, speck[4] = {10, 10, 1e-20f, 40};
    const float points[10] = {18, 25, 32, 25, 25, 33, 20, 40, 30, 40};
    float one_eye[10], far[10];
    memcpy(one_eye, points, sizeof one_eye);
    memcpy(far, points, sizeof far);
    one_eye[2] = one_eye[0];
    far[4] = 3e9f;
    refused(box, points, NULL, NULL);
    refused(speck, points, "less than a pixel wide", NULL);
    refused(box, one_eye, NULL, "eyes are less than a pixel apart");
    refused(box, far, "far outside", "far outside");
}

TEST(cleaned_up)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    CHECK_INT(dir[0] ? system(command) : 0, 0);
}

TEST_MAIN(canvases, faces_of_a_low_score_are_doubtful, slopes_of_the_refiner, slopes_of_the_detector,
          the_detector_that_runs, first_steps_of_the_detector, first_steps_of_the_refiner, decoding, spoiling,
          damaged_faces, cleaned_up)
