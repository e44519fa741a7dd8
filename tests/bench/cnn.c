/* Speed of the convolutional networks on the CPU: the landmark CNN per view, forward (BatchNorm folded) and forward with
 * backward (batch statistics), and the face detector per photo: time, GF/s of nominal work, share of the fastest matrix
 * product of this machine. No test.
 *
 *     make bench-cnn                 one thread, its processor time (other work on the machine disturbs less)
 *     THREADS=2 make bench-cnn       wall time */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "compute/backend.h"
#include "compute/tensor.h"
#include "kernels/cpu/gemm.h"
#include "model/detector.h"
#include "model/mobilenetv3.h"

enum { LANDMARKS = 196, TRAIN = 32, MOST = 64, W = 640, H = 480 };

static struct lafs_backend be;
static int threads;
static double peak; /* GF/s */

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

static double now(void)
{
    if (threads > 1) return lafs_clock_now();
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the calls of about a second, after one that warms up. */
static double median_of(void (*run)(void *), void *arg)
{
    enum { CALLS = 401 };
    static double took[CALLS];
    int n = 0;
    run(arg);
    for (double start = now(); n < 5 || (n < CALLS && now() - start < 1); n++) {
        double at = now();
        run(arg);
        took[n] = now() - at;
    }
    qsort(took, (size_t)n, sizeof *took, by_value);
    return took[n / 2];
}

/* flop: of the whole call; per: views or photos that it serves. */
static void report(const char *name, void (*run)(void *), void *arg, double flop, double per, const char *unit)
{
    double s = median_of(run, arg);
    printf("%-34s %9.3f ms/%s %8.1f GF/s %5.1f %%\n", name, s / per * 1e3, unit, flop / s * 1e-9,
           flop / s * 1e-7 / peak);
}

/* -- the landmark CNN -- */

#define VIEW_FLOP 0.113e9
#define PHOTO_FLOP 0.814e9 /* 640 x 480 */

struct cnn {
    struct lafs_cnn m;
    struct lafs_params ps;
    struct lafs_cnn_work w;
    struct lafs_arena a;
    int64_t n;
    float *images, *landmarks, *dlandmarks, *grad;
};

static void open_cnn(struct cnn *c, int64_t most, enum lafs_cnn_mode mode)
{
    struct lafs_err err;
    memset(c, 0, sizeof *c);
    need(lafs_cnn_declare(&c->m, LANDMARKS, &c->ps, &err), &err);
    need(lafs_params_place(&c->ps, &be, &err), &err);
    need(lafs_params_fill(&c->ps, &be, 1, &err), &err);
    need(lafs_cnn_plan(&c->w, &c->m, most, mode, &c->a, &err), &err);
    need(lafs_arena_reserve(&c->a, &be, &err), &err);
    need(lafs_cnn_plan(&c->w, &c->m, most, mode, &c->a, &err), &err);
    if (mode == LAFS_CNN_FOLDED) need(lafs_cnn_fold(&c->w, &be, c->ps.value, &err), &err);
    c->images = floats(most * LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3, -1, 1);
    c->landmarks = floats(most * 2 * LANDMARKS, 0, 111);
    c->dlandmarks = floats(most * 2 * LANDMARKS, -1, 1);
    c->grad = floats(c->ps.size, 0, 0);
}

static void forward(void *arg)
{
    struct cnn *c = arg;
    lafs_cnn_forward(&c->w, &be, c->ps.value, NULL, c->n, c->images, NULL, c->landmarks);
}

static void train_forward(void *arg)
{
    struct cnn *c = arg;
    lafs_cnn_forward(&c->w, &be, c->ps.value, c->ps.value, c->n, c->images, NULL, c->landmarks);
}

static void train(void *arg)
{
    struct cnn *c = arg;
    train_forward(c);
    lafs_cnn_backward(&c->w, &be, c->ps.value, c->dlandmarks, c->grad, NULL);
}

static void bench_cnn(void)
{
    static const int64_t batch[3] = {1, 10, MOST};
    struct cnn c;
    char name[64];
    open_cnn(&c, MOST, LAFS_CNN_FOLDED);
    for (int i = 0; i < 3; i++) {
        c.n = batch[i];
        snprintf(name, sizeof name, "landmark CNN, batch %d", (int)c.n);
        report(name, forward, &c, VIEW_FLOP * (double)c.n, (double)c.n, "view ");
    }
    open_cnn(&c, TRAIN, LAFS_CNN_KEEP);
    c.n = TRAIN;
    report("landmark CNN, train forward, 32", train_forward, &c, VIEW_FLOP * TRAIN, TRAIN, "view ");
    report("landmark CNN, forward+backward, 32", train, &c, 3 * VIEW_FLOP * TRAIN, TRAIN, "view ");
}

/* -- the detector -- */

struct detection {
    struct lafs_detector *d;
    float *rgb;
    struct lafs_image photo;
};

static struct lafs_st *random_weights(void)
{
    static struct lafs_detector_tensors ts;
    struct lafs_err err;
    struct lafs_st *st;
    char path[] = "/tmp/lafs-bench-XXXXXX";
    lafs_detector_tensors(&ts);
    for (int i = 0; i < 2 * LAFS_DETECTOR_CONVS; i++) {
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

static void network(void *arg)
{
    struct detection *t = arg;
    struct lafs_err err;
    const float *level[LAFS_DETECTOR_LEVELS];
    need(lafs_detector_forward(t->d, W, H, t->rgb, level, &err), &err);
}

static void detect(void *arg)
{
    struct detection *t = arg;
    struct lafs_err err;
    struct lafs_faces faces;
    struct lafs_detect_options opt = LAFS_DETECT_DEFAULT;
    opt.scales = 1;
    opt.scale[0] = 1;
    need(lafs_detect(t->d, &t->photo, &opt, &faces, &err), &err);
    lafs_faces_release(&faces);
}

static void bench_detector(void)
{
    struct detection t = {0};
    struct lafs_err err;
    need(lafs_detector_open(&t.d, &be, random_weights(), &err), &err);
    t.rgb = floats((int64_t)W * H * 3, 0, 255);
    need(lafs_image_new(&t.photo, W, H, &err), &err);
    for (int i = 0; i < W * H * 3; i++) t.photo.px[i] = (uint8_t)t.rgb[i];
    report("detector's network, 640 x 480", network, &t, PHOTO_FLOP, 1, "photo");
    report("detection at one scale, 640 x 480", detect, &t, PHOTO_FLOP, 1, "photo");
}

/* -- */

enum { SIDE = 1152 };
static void product(void *arg)
{
    float *const *m = arg;
    lafs_cpu_gemm(0, 0, SIDE, SIDE, SIDE, 1, m[0], SIDE, m[1], SIDE, 0, m[2], SIDE);
}

int main(void)
{
    struct lafs_pool *pool;
    struct lafs_err err = {0};
    const char *s = getenv("THREADS");
    threads = s && atoi(s) > 0 ? atoi(s) : 1;
    need(lafs_pool_new(&pool, threads, &err), &err);
    need(lafs_backend_open(&be, "cpu", pool, NULL, &err), &err);
    float *m[3];
    for (int i = 0; i < 3; i++) m[i] = floats(SIDE * SIDE, -1, 1);
    peak = 2.0 * SIDE * SIDE * SIDE / median_of(product, m) * 1e-9;
    printf("%s; %d threads; product of %d^3 on one: %.1f GF/s\n", be.ops->describe(be.dev), threads, SIDE, peak);
    peak *= threads;
    bench_cnn();
    bench_detector();
    return 0; /* the process takes the memory with it */
}
