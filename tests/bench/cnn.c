/* `make bench`: the convolutional networks. The landmark CNN per view, forward (BatchNorm folded) and forward with
 * backward (batch statistics); the face detector per photo of 640 x 480. GF/s are those of the nominal work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/tensor.h"
#include "model/detector.h"
#include "model/mobilenetv3.h"
#include "tests/bench/bench.h"

enum { LANDMARKS = 196, TRAIN = 32, MOST = 64, W = 640, H = 480 };

static struct lafs_backend be;

static void need(lafs_status rc, const struct lafs_err *err)
{
    if (rc == LAFS_OK) return;
    fprintf(stderr, "%s\n", err->msg);
    exit(1);
}

static float *floats(int64_t n, float lo, float hi)
{
    void *p;
    struct lafs_err err;
    need(be.ops->alloc(be.dev, &p, (size_t)n * sizeof(float), &err), &err);
    float *f = p;
    uint32_t x = 12345;
    for (int64_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        f[i] = lo + (hi - lo) * (float)(x >> 8) * 0x1p-24f;
    }
    return f;
}

/* -- the landmark CNN -- */

#define VIEW_FLOP 0.113e9
#define PHOTO_FLOP 0.814e9 /* 640 x 480 */

static struct cnn {
    struct lafs_cnn m;
    struct lafs_params ps;
    struct lafs_cnn_work w;
    struct lafs_arena a;
    int64_t n;
    float *images, *landmarks, *dlandmarks, *grad;
} cnn;

static void open_cnn(int64_t most, enum lafs_cnn_mode mode)
{
    struct cnn *c = &cnn;
    struct lafs_err err;
    memset(c, 0, sizeof *c);
    need(lafs_cnn_declare(&c->m, LANDMARKS, &c->ps, &err), &err);
    need(lafs_params_place(&c->ps, &be, &err), &err);
    need(lafs_params_fill(&c->ps, &be, 1, &err), &err);
    need(lafs_cnn_plan(&c->w, &c->m, most, mode, &be, &c->a, &err), &err);
    need(lafs_arena_reserve(&c->a, &be, &err), &err);
    need(lafs_cnn_plan(&c->w, &c->m, most, mode, &be, &c->a, &err), &err);
    if (mode == LAFS_CNN_FOLDED) need(lafs_cnn_fold(&c->w, &be, c->ps.value, &err), &err);
    c->images = floats(most * LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3, -1, 1);
    c->landmarks = floats(most * 2 * LANDMARKS, 0, 111);
    c->dlandmarks = floats(most * 2 * LANDMARKS, -1, 1);
    c->grad = floats(c->ps.size, 0, 0);
}

static void close_cnn(void)
{
    lafs_cnn_work_release(&cnn.w);
    lafs_arena_release(&cnn.a, &be);
    lafs_params_release(&cnn.ps, &be);
    be.ops->free(be.dev, cnn.images);
    be.ops->free(be.dev, cnn.landmarks);
    be.ops->free(be.dev, cnn.dlandmarks);
    be.ops->free(be.dev, cnn.grad);
}

static void forward(void)
{
    lafs_cnn_forward(&cnn.w, &be, cnn.ps.value, NULL, cnn.n, cnn.images, NULL, cnn.landmarks);
}

static void train_forward(void)
{
    lafs_cnn_forward(&cnn.w, &be, cnn.ps.value, cnn.ps.value, cnn.n, cnn.images, NULL, cnn.landmarks);
}

static void train(void)
{
    train_forward();
    lafs_cnn_backward(&cnn.w, &be, cnn.ps.value, cnn.dlandmarks, cnn.grad, NULL);
}

static void bench_cnn(void)
{
    static const int64_t batch[3] = {1, 10, MOST};
    char name[64];
    open_cnn(MOST, LAFS_CNN_FOLDED);
    for (int i = 0; i < 3; i++) {
        double n = (double)(cnn.n = batch[i]);
        char peer[32];
        snprintf(name, sizeof name, "landmark CNN, batch %d", (int)n);
        snprintf(peer, sizeof peer, "cnn %d", (int)n);
        bench_row(&(struct bench_row){.name = name, .unit = "view", .units = n, .flops = VIEW_FLOP * n, .bar = 0.8,
                                      .run = forward, .peer = peer});
    }
    close_cnn();
    open_cnn(TRAIN, LAFS_CNN_KEEP);
    cnn.n = TRAIN;
    bench_row(&(struct bench_row){.name = "CNN, train forward", .unit = "view", .units = TRAIN,
                                  .flops = VIEW_FLOP * TRAIN, .run = train_forward});
    bench_row(&(struct bench_row){.name = "CNN, forward + backward", .unit = "view", .units = TRAIN,
                                  .flops = 3 * VIEW_FLOP * TRAIN, .run = train, .peer = "cnn_train 32"});
    close_cnn();
}

/* -- the detector -- */

static struct {
    struct lafs_detector *d;
    float *rgb;
    struct lafs_image photo;
} t;

static struct lafs_st *random_weights(void)
{
    static struct lafs_detector_tensors ts;
    struct lafs_err err;
    struct lafs_st *st;
    char path[] = "/tmp/lafs-bench-XXXXXX";
    lafs_detector_tensors(&ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) { /* activations of about one */
        float reach = i % 2 ? 0.01f : 1.5f / (float)(ts.t[i].count / ts.t[i].shape[0]);
        ts.t[i].data = floats(ts.t[i].count, -reach, reach);
    }
    int fd = mkstemp(path);
    if (fd < 0 || close(fd)) exit(1);
    need(lafs_st_write(path, ts.t, 2 * LAFS_DETECTOR_CONVS, NULL, 0, &err), &err);
    need(lafs_st_open(&st, path, &err), &err);
    unlink(path);
    return st;
}

static void network(void)
{
    struct lafs_err err;
    const float *level[LAFS_DETECTOR_LEVELS];
    need(lafs_detector_forward(t.d, W, H, t.rgb, level, &err), &err);
}

static void detect(void)
{
    struct lafs_err err;
    struct lafs_faces faces;
    struct lafs_detect_options opt = LAFS_DETECT_DEFAULT;
    opt.scales = 1;
    opt.scale[0] = 1;
    need(lafs_detect(t.d, &t.photo, &opt, &faces, &err), &err);
    lafs_faces_release(&faces);
}

static void bench_detector(void)
{
    struct lafs_err err;
    need(lafs_detector_open(&t.d, &be, random_weights(), &err), &err);
    t.rgb = floats((int64_t)W * H * 3, 0, 255);
    need(lafs_image_new(&t.photo, W, H, &err), &err);
    for (int i = 0; i < W * H * 3; i++) t.photo.px[i] = (uint8_t)t.rgb[i];
    bench_row(&(struct bench_row){.name = "detector's network", .unit = "photo", .flops = PHOTO_FLOP, .run = network});
    bench_row(&(struct bench_row){.name = "detection, one scale", .unit = "photo", .flops = PHOTO_FLOP, .bar = 10,
                                  .run = detect});
}

int main(void)
{
    bench_open(&be, bench_begin("cnn"));
    bench_cnn();
    bench_detector();
    return bench_end(); /* the process takes the memory with it */
}
