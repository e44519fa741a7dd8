/* What detectors are taught by: canvases, crops, and the slopes of their losses. Photos: squares of one colour with a
 * bright dot at each point, so that a point's place shows. */
#include "train/detect.h"

#include <stdlib.h>
#include <unistd.h>

#include "data/stream.h"
#include "image/align.h"
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
        float box[4] = {x - eyes, y - 1.3f * eyes, 2 * eyes, 2.6f * eyes};
        REQUIRE_OK(lafs_image_new(&im, 200, 220, &e), &e);
        memset(im.px, 40, (size_t)im.w * (size_t)im.h * 3);
        for (int k = 0; k < 5; k++) dot(&im, p5[2 * k], p5[2 * k + 1]);
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

/* Faces are where canvases say: their points' pixels are bright ones; boxes lie inside; every kind of face occurs. */
TEST(canvases)
{
    struct lafs_canvas_maker *m;
    struct lafs_canvas c = {0}, again = {0};
    struct lafs_index *ix = open_photos();
    double at_points = 0, elsewhere = 0;
    int points = 0, others = 0, known = 0, doubtful = 0, most = 0, alone = 0;
    REQUIRE(ix != NULL);
    REQUIRE_OK(lafs_canvas_open(&m, ix, 2, 0, 0, &e), &e);
    CHECK_INT(lafs_canvas_photos(m), 5); /* of six records */
    for (int i = 0; i < 150; i++) {
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
                double v = brightness(&c.image, f->points[2 * j], f->points[2 * j + 1]);
                if (v >= 0) at_points += v, points++;
            }
            double v = brightness(&c.image, (f->points[0] + f->points[2]) / 2, f->points[1] - f->box[3] / 6);
            if (v >= 0) elsewhere += v, others++;
        }
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

/* The slope of a task's loss, along it, against differences: over several examples, at outputs like those of a network
 * that has learnt something. */
static void check_slopes(const struct lafs_dtrain_task *task, double tolerance)
{
    void *t;
    struct lafs_convnet net;
    struct lafs_rng r;
    struct lafs_index *ix = open_photos();
    size_t size[LAFS_DTRAIN_HEADS];
    float *out[LAFS_DTRAIN_HEADS], *d[LAFS_DTRAIN_HEADS];
    float *image = malloc((size_t)task->side * (size_t)task->side * 3 * sizeof *image);
    double figures[LAFS_DTRAIN_FIGURES];
    int checked = 0;
    REQUIRE(ix && image);
    REQUIRE_OK(task->net(&net, &e), &e);
    REQUIRE_OK(task->open(&t, &(struct lafs_dtrain_config){.batch = 1}, ix, 1, &e), &e);
    for (int k = 0; k < task->heads; k++) {
        int side = task->heads == 1 ? LAFS_REFINER_MAP : task->side >> (3 + k);
        size[k] = (size_t)(side * side * net.c[task->head[k]]);
        out[k] = malloc(size[k] * sizeof(float));
        d[k] = malloc(size[k] * sizeof(float));
        REQUIRE(out[k] && d[k]);
    }
    lafs_rng_init(&r, 3);
    for (int i = 0; i < 12; i++) {
        REQUIRE_OK(task->make(t, (uint64_t)i, 0, 0, image, &e), &e);
        for (int k = 0; k < task->heads; k++)
            for (size_t j = 0; j < size[k]; j++) out[k][j] = (float)(0.7 * lafs_rng_normal(&r));
        task->loss(t, 0, (const float *const *)out, d, figures);
        double norm = 0, slope = 0, step = 2e-3, middle = figures[0];
        for (int k = 0; k < task->heads; k++)
            for (size_t j = 0; j < size[k]; j++) norm += (double)d[k][j] * d[k][j];
        norm = sqrt(norm);
        CHECK(middle > 0 && norm > 0 && isfinite(norm));
        float *scratch[LAFS_DTRAIN_HEADS], *moved[LAFS_DTRAIN_HEADS];
        double value[2];
        for (int k = 0; k < task->heads; k++) {
            scratch[k] = malloc(size[k] * sizeof(float));
            moved[k] = malloc(size[k] * sizeof(float));
            REQUIRE(scratch[k] && moved[k]);
        }
        for (int side = 0; side < 2; side++) {
            for (int k = 0; k < task->heads; k++)
                for (size_t j = 0; j < size[k]; j++)
                    moved[k][j] = (float)(out[k][j] + (side ? step : -step) * d[k][j] / norm);
            task->loss(t, 0, (const float *const *)moved, scratch, figures);
            value[side] = figures[0];
        }
        for (int k = 0; k < task->heads; k++) free(scratch[k]), free(moved[k]);
        /* Where cells change the face they answer for, the loss jumps: no slope there. */
        if (fabs(value[0] + value[1] - 2 * middle) > 1e-3) continue;
        slope = (value[1] - value[0]) / (2 * step);
        if (fabs(slope - norm) > tolerance * norm) FAIL_("%s, example %d: %g, differences say %g", task->name, i, norm, slope);
        checked++;
    }
    CHECK(checked >= 6);
    for (int k = 0; k < task->heads; k++) free(out[k]), free(d[k]);
    free(image);
    task->close(t);
    lafs_params_release(&net.params, &(struct lafs_backend){0});
    lafs_index_free(ix);
}

TEST(slopes_of_the_refiner) { check_slopes(&lafs_refiner_task, 0.01); }
/* The score that a cell's class is taught is the overlap of its box, which the slope takes for given. */
TEST(slopes_of_the_detector) { check_slopes(&lafs_detector_task, 0.2); }

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

TEST(cleaned_up)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    CHECK_INT(dir[0] ? system(command) : 0, 0);
}

TEST_MAIN(canvases, slopes_of_the_refiner, slopes_of_the_detector, decoding, spoiling, cleaned_up)
