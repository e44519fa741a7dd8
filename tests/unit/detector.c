/* The detector around its network, with weights made by hand: channel 0 carries brightness through every layer, and the
 * head of stride 32 says "face" where some pixel of its cell is bright. Boxes are the cell's. */
#include "tests/test.h"

#include <unistd.h>

#include "base/mem.h"
#include "model/detector.h"

enum { POINT_X = 0, POINT_Y = 1 };
static const float points[5][2] = {{0.3f, 0.35f}, {0.7f, 0.35f}, {0.5f, 0.55f}, {0.35f, 0.75f}, {0.65f, 0.75f}};

static float flat = 1; /* height of boxes by their width */

/* Weights in memory owned by the tensors; `wide`: width of boxes in cells. */
static void make(struct lafs_detector_tensors *ts, float wide)
{
    lafs_detector_tensors(ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) ts->t[i].data = calloc((size_t)ts->t[i].count, sizeof(float));
#define W(k) ((float *)(uintptr_t)ts->t[2 * (k)].data)
#define B(k) ((float *)(uintptr_t)ts->t[2 * (k) + 1].data)
    for (int c = 0; c < 3; c++) W(0)[c * 9 + 4] = 1.0f / 765; /* centre tap of output 0: mean of the channels, 0..1 */
    for (int k = 1; k < 35; k += 2) {
        W(k)[0] = 1;
        W(k + 1)[4] = 1;
    }
    for (int head = 0; head < 4; head++)
        for (int level = 0; level < 3; level++) {
            int k = 35 + 2 * (3 * head + level);
            if (head == 0 && level == 2) W(k)[0] = 40;
            for (int64_t c = 0; c < ts->t[2 * k].shape[0]; c++) W(k + 1)[9 * c + 4] = 1;
            if (head == 0) B(k + 1)[0] = level == 2 ? -20 : -60;
            if (head == 2) B(k + 1)[0] = 20;
            if (head == 1) B(k + 1)[0] = B(k + 1)[1] = 0.5f, B(k + 1)[2] = logf(wide), B(k + 1)[3] = logf(wide * flat);
            for (int p = 0; head == 3 && p < 10; p++) B(k + 1)[p] = points[p / 2][p % 2];
        }
}

static lafs_status open_tensors(struct lafs_detector **d, const struct lafs_backend *b, struct lafs_detector_tensors *ts,
                                int count, const char *architecture, struct lafs_err *err)
{
    char path[] = "/tmp/lafs-detector-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
    struct lafs_st *st;
    struct lafs_st_meta m = {"architecture", architecture};
    lafs_status rc = lafs_st_write(path, ts->t, count, &m, architecture != NULL, err);
    if (rc == LAFS_OK) rc = lafs_st_open(&st, path, err);
    unlink(path);
    if (rc != LAFS_OK) abort();
    rc = lafs_detector_open(d, b, st, err);
    lafs_st_close(st);
    return rc;
}

struct fixture {
    struct lafs_backend b;
    struct lafs_detector *d;
    struct lafs_image photo;
};
static void start(struct fixture *f, const char *device, float wide)
{
    struct lafs_err e;
    struct lafs_detector_tensors ts;
    memset(f, 0, sizeof *f);
    make(&ts, wide);
    if (lafs_backend_open(&f->b, device, NULL, NULL, &e) != LAFS_OK ||
        open_tensors(&f->d, &f->b, &ts, 2 * LAFS_DETECTOR_CONVS, "yunet-n", &e) != LAFS_OK)
        FAIL_("%s", e.msg);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) free((void *)(uintptr_t)ts.t[i].data);
}
static void stop(struct fixture *f)
{
    lafs_image_release(&f->photo);
    lafs_detector_close(f->d);
    lafs_backend_close(&f->b);
}
static void black(struct fixture *f, int w, int h)
{
    struct lafs_err e;
    if (lafs_image_new(&f->photo, w, h, &e) != LAFS_OK) abort();
    memset(f->photo.px, 0, (size_t)w * (size_t)h * 3);
}
static void white(struct fixture *f, int left, int top, int side)
{
    for (int y = top; y < top + side; y++) memset(f->photo.px + ((size_t)y * (size_t)f->photo.w + (size_t)left) * 3, 255, (size_t)side * 3);
}
static struct lafs_faces find(struct fixture *f, const struct lafs_detect_options *opt)
{
    struct lafs_faces faces;
    struct lafs_err e;
    if (lafs_detect(f->d, &f->photo, opt, &faces, &e) != LAFS_OK) FAIL_("%s", e.msg);
    return faces;
}
static void check_square(const struct lafs_detected *v, double left, double top, double side)
{
    CHECK_NEAR(v->box[0], left, 0.01 * side);
    CHECK_NEAR(v->box[1], top, 0.01 * side);
    CHECK_NEAR(v->box[2], side, 0.01 * side);
    CHECK_NEAR(v->box[3], side, 0.01 * side);
    for (int k = 0; k < 5; k++) {
        CHECK_NEAR(v->points[2 * k], left + points[k][POINT_X] * side, 0.01 * side);
        CHECK_NEAR(v->points[2 * k + 1], top + points[k][POINT_Y] * side, 0.01 * side);
    }
}

static const struct lafs_detect_options one = {.min_score = 0.8f, .max_overlap = 0.3f, .scales = 1, .scale = {1}};

static void finds(const char *device)
{
    struct fixture f;
    start(&f, device, 1);
    /* 150 x 100 is padded to 160 x 128; the last column of cells is cut. */
    black(&f, 150, 100);
    struct lafs_faces faces = find(&f, &one);
    CHECK_INT(faces.n, 0);
    CHECK_INT(lafs_faces_best(&faces, 150, 100), -1);
    lafs_faces_release(&faces);
    white(&f, 66, 34, 28); /* within cell (2, 1) */
    white(&f, 130, 98, 2); /* cell (4, 3) */
    faces = find(&f, &one);
    REQUIRE(faces.n == 2);
    int first = faces.v[0].box[0] > 100; /* equal scores: which comes first is settled, but not by us */
    check_square(&faces.v[first], 64, 32, 32);
    check_square(&faces.v[!first], 128, 96, 32);
    CHECK_NEAR(faces.v[0].score, 1, 1e-4);
    CHECK_INT(lafs_faces_best(&faces, 150, 100), first);
    lafs_faces_release(&faces);
    stop(&f);
}
TEST(finds_on_reference) { finds("ref"); }
TEST(finds_on_cpu) { finds("cpu"); }

TEST(scales)
{
    struct fixture f;
    start(&f, "cpu", 1);
    black(&f, 512, 256);
    white(&f, 130, 66, 60); /* at a half: cell (2, 1) */
    struct lafs_detect_options opt = one;
    opt.scale[0] = 0.5f;
    struct lafs_faces faces = find(&f, &opt);
    REQUIRE(faces.n == 1);
    check_square(&faces.v[0], 128, 64, 64);
    lafs_faces_release(&faces);
    opt.scale[0] = 1;
    opt.min_size = 32.5f;
    faces = find(&f, &opt);
    CHECK_INT(faces.n, 0);
    lafs_faces_release(&faces);
    opt.min_size = 32;
    faces = find(&f, &opt);
    CHECK_INT(faces.n, 4);
    lafs_faces_release(&faces);
    stop(&f);
}

TEST(overlapping_boxes_are_one_face)
{
    struct fixture f;
    start(&f, "cpu", 1.9f); /* neighbours: 0.9/2.9 = 0.31 of the union, diagonal ones 0.13 */
    black(&f, 256, 256);
    white(&f, 94, 64, 4); /* cells (2, 2) and (3, 2) */
    struct lafs_faces faces = find(&f, &one);
    REQUIRE(faces.n == 1);
    CHECK_NEAR(faces.v[0].box[2], 1.9 * 32, 0.1);
    CHECK_NEAR(fabs(faces.v[0].box[0] + faces.v[0].box[2] / 2 - 96), 16, 0.1); /* one of them, no mean of both */
    lafs_faces_release(&faces);
    struct lafs_detect_options opt = one;
    opt.max_overlap = 0.35f;
    faces = find(&f, &opt);
    CHECK_INT(faces.n, 2);
    lafs_faces_release(&faces);
    stop(&f);
    /* With more in common they are averaged: 3/5 of the union, centres 32 apart. */
    start(&f, "cpu", 4);
    black(&f, 256, 256);
    white(&f, 94, 64, 4);
    faces = find(&f, &one);
    REQUIRE(faces.n == 1);
    CHECK_NEAR(faces.v[0].box[0], 96 - 64, 0.1);
    CHECK_NEAR(faces.v[0].points[4], 96, 0.1 + 0.05 * 32);
    lafs_faces_release(&faces);
    stop(&f);
}

TEST(the_shorter_side_is_the_size)
{
    struct fixture f;
    struct lafs_detect_options opt = one;
    flat = 0.5f;
    start(&f, "cpu", 1);
    flat = 1;
    black(&f, 256, 256);
    white(&f, 80, 64, 4);
    for (int k = 0; k < 2; k++) {
        opt.min_size = k ? 17 : 15;
        struct lafs_faces faces = find(&f, &opt);
        CHECK_INT(faces.n, !k);
        if (faces.n) CHECK_NEAR(faces.v[0].box[3], 16, 0.1);
        lafs_faces_release(&faces);
    }
    stop(&f);
}

/* Of a photo of 200 x 100 pixels. */
TEST(the_best_face_is_large_and_central)
{
    struct lafs_detected v[3] = {{.score = 0.9f, .box = {0, 0, 44, 44}},     /* 1936 - 2 (77.5^2 + 27.5^2) */
                                 {.score = 0.8f, .box = {80, 30, 40, 40}},   /* 1600 - 2 (0.5^2 + 0.5^2) */
                                 {.score = 0.7f, .box = {60, 20, 60, 60}}};  /* 3600 - 2 (9.5^2 + 0.5^2) */
    CHECK_INT(lafs_faces_best(&(struct lafs_faces){v, 2}, 200, 100), 1);
    CHECK_INT(lafs_faces_best(&(struct lafs_faces){v, 3}, 200, 100), 2);
    v[2] = v[1];
    CHECK_INT(lafs_faces_best(&(struct lafs_faces){v, 3}, 200, 100), 1); /* of equals the better score */
}

/* Whatever was looked at before, and with how much memory: the same photo gives the same bits. */
TEST(no_memory_of_other_photos)
{
    struct fixture f;
    start(&f, "cpu", 1.3f);
    struct lafs_detected first[128];
    int n = 0;
    for (int round = 0; round < 3; round++) {
        black(&f, 100, 70);
        for (int i = 0; i < 100 * 70 * 3; i++) f.photo.px[i] = (uint8_t)(i * 2654435761u >> 24);
        struct lafs_faces faces = find(&f, &LAFS_DETECT_DEFAULT);
        REQUIRE(faces.n > 0 && faces.n <= 128);
        if (round == 0) memcpy(first, faces.v, (size_t)(n = faces.n) * sizeof *first);
        else CHECK(faces.n == n && !memcmp(first, faces.v, (size_t)n * sizeof *first));
        lafs_faces_release(&faces);
        black(&f, round ? 40 : 700, round ? 30 : 500);
        memset(f.photo.px, 200, (size_t)f.photo.w * (size_t)f.photo.h * 3);
        faces = find(&f, &LAFS_DETECT_DEFAULT);
        lafs_faces_release(&faces);
    }
    stop(&f);
}

TEST(automatic_scales)
{
    struct lafs_detect_options opt = LAFS_DETECT_DEFAULT;
    float s[LAFS_MAX_SCALES];
    CHECK_INT(lafs_detect_scales(&opt, 250, 250, s), 3);
    CHECK(s[0] == 2 && s[1] == 1 && s[2] == 0.5f);
    opt.smallest_face = 7;
    CHECK_INT(lafs_detect_scales(&opt, 250, 250, s), 2);
    CHECK(s[0] == 1 && s[1] == 0.5f);
    opt.smallest_face = 0;
    CHECK_INT(lafs_detect_scales(&opt, 640, 480, s), 4);
    CHECK(s[0] == 1 && s[3] == 0.125f);
    CHECK_INT(lafs_detect_scales(&opt, 3000, 4000, s), 5);
    CHECK_NEAR(s[0], 0.4, 1e-6);
    CHECK_INT(lafs_detect_scales(&opt, 1, 1, s), 1);
    opt.scales = 2;
    opt.scale[0] = 1;
    opt.scale[1] = 0.1f;
    CHECK_INT(lafs_detect_scales(&opt, 65500, 4000, s), 2);
    CHECK(s[0] < 0.26f && s[0] > 0.25f && s[1] == 0.1f); /* 2^24 pixels at most */
}

TEST(extreme_photos)
{
    struct fixture f;
    start(&f, "cpu", 1);
    static const int size[][2] = {{1, 1}, {1, 3000}, {3000, 1}, {31, 33}};
    for (int i = 0; i < 4; i++) {
        black(&f, size[i][0], size[i][1]);
        f.photo.px[0] = f.photo.px[1] = f.photo.px[2] = 255;
        struct lafs_faces faces = find(&f, &one);
        CHECK_INT(faces.n, 1);
        lafs_faces_release(&faces);
        faces = find(&f, &LAFS_DETECT_DEFAULT);
        lafs_faces_release(&faces);
    }
    const float *level[3];
    struct lafs_err e;
    float rgb[32 * 32 * 3] = {0};
    CHECK_INT(lafs_detector_forward(f.d, 33, 32, rgb, level, &e), LAFS_USAGE);
    CHECK_INT(lafs_detector_forward(f.d, 0, 32, rgb, level, &e), LAFS_USAGE);
    stop(&f);
}

TEST(refuses_other_weights)
{
    struct lafs_backend b;
    struct lafs_err e;
    struct lafs_detector *d;
    struct lafs_detector_tensors ts;
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    make(&ts, 1);
    CHECK_INT(open_tensors(&d, &b, &ts, 2 * LAFS_DETECTOR_CONVS, "part-fvit", &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "'part-fvit'") && d == NULL);
    CHECK_INT(open_tensors(&d, &b, &ts, 2 * LAFS_DETECTOR_CONVS - 1, NULL, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "conv58.bias") != NULL);
    float *w = (float *)ts.t[10].data, was = w[7];
    w[7] = INFINITY;
    CHECK_INT(open_tensors(&d, &b, &ts, 2 * LAFS_DETECTOR_CONVS, NULL, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "tensor 'conv5.weight' holds a value that is not finite") != NULL);
    w[7] = was;
    ts.t[10].shape[0] /= 2;
    ts.t[10].shape[1] *= 2;
    CHECK_INT(open_tensors(&d, &b, &ts, 2 * LAFS_DETECTOR_CONVS, NULL, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "conv5.weight") != NULL);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) free((void *)(uintptr_t)ts.t[i].data);
    lafs_backend_close(&b);
}

TEST_MAIN(finds_on_reference, finds_on_cpu, scales, overlapping_boxes_are_one_face, the_shorter_side_is_the_size,
          the_best_face_is_large_and_central, no_memory_of_other_photos, automatic_scales, extreme_photos,
          refuses_other_weights)
