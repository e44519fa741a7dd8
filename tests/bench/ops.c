/* Speed of the CPU's ops at the paper's sizes: time, GF/s, and the share of the fastest matrix product of this machine;
 * then a whole ViT forward, and forward with backward, per 197-token sequence. No test.
 *
 *     make bench-ops                 one thread, its processor time (other work on the machine disturbs less)
 *     THREADS=2 SEQS=16 make bench-ops   wall time
 *
 * OpenBLAS, where the machine has one, is measured beside our products (OPENBLAS_CORETYPE=SkylakeX helps it where it
 * does not know the processor). */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "compute/backend.h"
#include "kernels/cpu/gemm.h"

enum { D = 768, L = 12, H = 11, M = 2048, TOKENS = 197, K = 100000, HEAD_ROWS = 80 };

static struct lafs_backend be;
static int64_t n_seqs, rows;
static struct lafs_seqs seqs;
static double peak; /* GF/s */

static float *floats(int64_t n)
{
    void *p;
    struct lafs_err err;
    if (be.ops->alloc(be.dev, &p, (size_t)n * sizeof(float), &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    float *f = p;
    uint32_t x = 12345;
    for (int64_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        f[i] = (float)(x >> 8) * 0x1p-24f - 0.5f;
    }
    return f;
}

/* What the ops work on. */
static struct {
    float *x, *y, *wide, *wide2, *dwide, *qkv, *dqkv, *heads, *dheads, *lse, *mean, *rstd; /* activations */
    float *w_qkv, *w_out, *w_fc1, *w_fc2, *bias, *g, *grad;                               /* parameters; grad: any */
    float *student, *teacher, *center, *dstudent, *w_last, *z;
    float *p, *m, *v, *gr;                                                                /* flat parameters */
    uint64_t *key;
    struct lafs_drop drop, path;
} t;

static void setup(void)
{
    int64_t *off = malloc((size_t)(n_seqs + 1) * sizeof *off);
    t.key = malloc((size_t)n_seqs * sizeof *t.key);
    if (!off || !t.key) exit(1);
    for (int64_t i = 0; i <= n_seqs; i++) off[i] = i * TOKENS;
    for (int64_t i = 0; i < n_seqs; i++) t.key[i] = lafs_rng_key(1, LAFS_RNG_TEST, 0, (uint64_t)i, 0);
    seqs = (struct lafs_seqs){n_seqs, off, off, TOKENS};
    rows = n_seqs * TOKENS;
    t.x = floats(rows * D), t.y = floats(rows * D);
    t.wide = floats(rows * M), t.wide2 = floats(rows * M), t.dwide = floats(rows * M);
    t.qkv = floats(rows * 3 * H * 64), t.dqkv = floats(rows * 3 * H * 64);
    t.heads = floats(rows * H * 64), t.dheads = floats(rows * H * 64), t.lse = floats(rows * H);
    t.mean = floats(rows), t.rstd = floats(rows);
    t.w_qkv = floats(3 * H * 64 * D), t.w_out = floats(D * H * 64), t.w_fc1 = floats(M * D), t.w_fc2 = floats(D * M);
    t.bias = floats(4096), t.g = floats(D), t.grad = floats(4 * M * D);
    t.drop = (struct lafs_drop){0.1f, 1, t.key};
    t.path = (struct lafs_drop){0.1f, 2, t.key};
}

/* -- the ops of one layer -- */

#define OP static void
#define B be.ops
#define DEV be.dev
OP qkv(void) { B->linear(DEV, &seqs, D, 3 * H * 64, t.x, t.w_qkv, NULL, LAFS_ACT_NONE, NULL, NULL, t.qkv); }
OP attention(void) { B->attention(DEV, &seqs, H, 0.036f, t.qkv, t.heads, t.lse); }
OP out(void) { B->linear(DEV, &seqs, H * 64, D, t.heads, t.w_out, t.bias, LAFS_ACT_NONE, NULL, NULL, t.y); }
OP fc1(void) { B->linear(DEV, &seqs, D, M, t.x, t.w_fc1, t.bias, LAFS_ACT_GELU, &t.drop, t.wide2, t.wide); }
OP fc1_plain(void) { B->linear(DEV, &seqs, D, M, t.x, t.w_fc1, NULL, LAFS_ACT_NONE, NULL, NULL, t.wide); }
OP fc2(void) { B->linear(DEV, &seqs, M, D, t.wide, t.w_fc2, t.bias, LAFS_ACT_NONE, NULL, NULL, t.y); }
OP add_norm(void) { B->add_norm(DEV, &seqs, D, t.x, t.y, &t.drop, &t.path, t.g, t.g, t.x, t.y, t.mean, t.rstd); }
OP eval_norm(void) { B->add_norm(DEV, &seqs, D, t.x, t.y, NULL, NULL, t.g, t.g, t.x, t.y, NULL, NULL); }
OP eval_fc1(void) { B->linear(DEV, &seqs, D, M, t.x, t.w_fc1, t.bias, LAFS_ACT_GELU, NULL, NULL, t.wide); }
OP fc2_x(void) { B->linear_bwd_x(DEV, &seqs, M, D, t.y, t.w_fc2, t.dwide); }
OP fc2_w(void) { B->linear_bwd_w(DEV, rows, M, D, t.wide, t.y, t.grad, t.bias); }
OP fc1_act(void) { B->act_bwd(DEV, rows * M, LAFS_ACT_GELU, t.wide2, t.dwide, t.dwide); }
OP fc1_drop(void) { B->dropout(DEV, &seqs, M, &t.drop, t.dwide, t.dwide); }
OP fc1_x(void) { B->linear_bwd_x(DEV, &seqs, D, M, t.dwide, t.w_fc1, t.y); }
OP fc1_w(void) { B->linear_bwd_w(DEV, rows, D, M, t.x, t.dwide, t.grad, t.bias); }
OP add_norm_bwd(void)
{
    B->add_norm_bwd(DEV, &seqs, D, t.y, t.x, t.mean, t.rstd, t.g, &t.drop, &t.path, t.x, t.y, t.grad, t.bias);
}
OP out_x(void) { B->linear_bwd_x(DEV, &seqs, H * 64, D, t.y, t.w_out, t.dheads); }
OP out_w(void) { B->linear_bwd_w(DEV, rows, H * 64, D, t.heads, t.y, t.grad, t.bias); }
OP attention_bwd(void) { B->attention_bwd(DEV, &seqs, H, 0.036f, t.qkv, t.heads, t.lse, t.dheads, t.dqkv); }
OP qkv_x(void) { B->linear_bwd_x(DEV, &seqs, D, 3 * H * 64, t.dqkv, t.w_qkv, t.y); }
OP qkv_w(void) { B->linear_bwd_w(DEV, rows, D, 3 * H * 64, t.x, t.dqkv, t.grad, NULL); }

static void head_setup(void)
{
    t.student = floats((int64_t)HEAD_ROWS * K), t.teacher = floats(HEAD_ROWS / 5 * (int64_t)K), t.center = floats(K);
    t.dstudent = floats((int64_t)HEAD_ROWS * K), t.w_last = floats((int64_t)K * 256), t.z = floats(HEAD_ROWS * 256);
}
static int64_t one_row[HEAD_ROWS + 1];
OP last_layer(void)
{
    struct lafs_seqs s = {HEAD_ROWS, one_row, one_row, 1};
    for (int i = 0; i <= HEAD_ROWS; i++) one_row[i] = i;
    B->linear(DEV, &s, 256, K, t.z, t.w_last, NULL, LAFS_ACT_NONE, NULL, NULL, t.dstudent);
}
OP dino(void)
{
    double loss, stats[4];
    B->dino_loss(DEV, HEAD_ROWS / 10, K, 10, 2, t.student, t.teacher, t.center, 0.1f, 0.04f, 1, &loss, t.dstudent,
                 t.center, stats);
}
enum { CLASSES = 20000, FACES = 64 };
static struct lafs_target target[FACES];
static float *emb, *classes, *dclasses, *demb;
static void *scratch;
static void margin_setup(void)
{
    emb = floats(FACES * D), demb = floats(FACES * D), classes = floats(CLASSES * D), dclasses = floats(CLASSES * D);
    scratch = floats((int64_t)(B->margin_scratch(FACES, D, CLASSES) / sizeof(float) + 1));
    for (int i = 0; i < FACES; i++) target[i] = (struct lafs_target){i * 7, i * 11, i % 2 ? 1 : 0.3f};
}
OP margin(void)
{
    double loss;
    B->margin_loss(DEV, FACES, D, CLASSES, emb, classes, target, LAFS_MARGIN_COSFACE, 64, 0.4f, 1, scratch, &loss, demb,
                   dclasses, NULL);
}
enum { PARAMS = 64000000 };
static struct lafs_segment segment = {0, PARAMS, 1e-3f, 0.1f, 3, 1, 0};
static double norm;
OP adamw(void) { B->adamw(DEV, 1, &segment, &norm, 0.9, 0.999, 1e-8, t.p, t.gr, t.m, t.v); }
OP norms(void) { B->norms(DEV, 1, &segment, t.gr, &norm); }
OP ema(void) { B->lerp(DEV, PARAMS, 0.996, t.gr, t.p); }

/* -- measuring -- */

static int threads;

static double now(void)
{
    if (threads > 1) return lafs_clock_now();
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static double best_of(void (*run)(void))
{
    double best = 1e9, start = now();
    for (int i = 0; i < 3 || (i < 12 && now() - start < 0.7); i++) {
        double at = now();
        run();
        double took = now() - at;
        if (took < best) best = took;
    }
    return best;
}

/* flop: of the whole call; per: sequences (or images) that it serves. */
static double report(const char *name, void (*run)(void), double flop, double per, const char *unit)
{
    double s = best_of(run);
    if (flop > 0)
        printf("%-24s %9.3f ms/%s %8.1f GF/s %5.1f %%\n", name, s / per * 1e3, unit, flop / s * 1e-9,
               flop / s * 1e-7 / peak);
    else printf("%-24s %9.3f ms/%s\n", name, s / per * 1e3, unit);
    return s;
}

static float *ga, *gb, *gc;
enum { SIDE = 1152 };
OP own_gemm(void) { lafs_cpu_gemm(0, 0, SIDE, SIDE, SIDE, 1, ga, SIDE, gb, SIDE, 0, gc, SIDE); }
typedef void sgemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static sgemm_fn *sgemm;
OP blas_gemm(void) { sgemm(101, 111, 111, SIDE, SIDE, SIDE, 1, ga, SIDE, gb, SIDE, 0, gc, SIDE); }

static void measure_peak(void)
{
    ga = floats(SIDE * SIDE), gb = floats(SIDE * SIDE), gc = floats(SIDE * SIDE);
    double flop = 2.0 * SIDE * SIDE * SIDE, own = flop / best_of(own_gemm) * 1e-9, blas = 0;
    void *so = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (so) *(void **)&sgemm = dlsym(so, "cblas_sgemm");
    if (sgemm) {
        char *(*core)(void);
        *(void **)&core = dlsym(so, "openblas_get_corename");
        void (*threads)(int);
        *(void **)&threads = dlsym(so, "openblas_set_num_threads");
        if (threads) threads(1);
        blas = flop / best_of(blas_gemm) * 1e-9;
        printf("OpenBLAS (%s), product of %d^3, one thread: %.1f GF/s\n", core ? core() : "?", SIDE, blas);
    }
    peak = own > blas ? own : blas;
    printf("our product of %d^3, one thread: %.1f GF/s\n", SIDE, own);
}

static void forward(void)
{
    for (int l = 0; l < L; l++) qkv(), attention(), out(), add_norm(), fc1(), fc2(), add_norm();
}
static void forward_eval(void)
{
    for (int l = 0; l < L; l++) qkv(), attention(), out(), eval_norm(), eval_fc1(), fc2(), eval_norm();
}
static void both(void)
{
    forward();
    for (int l = 0; l < L; l++) {
        fc2_x(), fc2_w(), fc1_drop(), fc1_act(), fc1_x(), fc1_w(), add_norm_bwd();
        out_x(), out_w(), attention_bwd(), qkv_x(), qkv_w(), add_norm_bwd();
    }
}

static int from_env(const char *name, int value)
{
    const char *s = getenv(name);
    return s && atoll(s) > 0 ? (int)atoll(s) : value;
}

int main(void)
{
    struct lafs_pool *pool;
    struct lafs_err err = {0};
    threads = from_env("THREADS", 1);
    n_seqs = from_env("SEQS", 8);
    if (lafs_pool_new(&pool, threads, &err) != LAFS_OK || lafs_backend_open(&be, "cpu", pool, NULL, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("%s; %d threads, %lld sequences of %d\n", B->describe(DEV), threads, (long long)n_seqs, TOKENS);
    setup();
    measure_peak();
    peak *= threads;
    double q = (double)n_seqs, r2 = 2.0 * (double)rows, att = 4.0 * (double)n_seqs * TOKENS * TOKENS * 64 * H;
    struct { const char *name; void (*run)(void); double flop; } op[] = {
        {"qkv", qkv, r2 * D * 3 * H * 64}, {"attention", attention, att}, {"out", out, r2 * D * H * 64},
        {"fc1, no epilogue", fc1_plain, r2 * D * M}, {"fc1 + GELU", eval_fc1, r2 * D * M},
        {"fc1 + GELU + dropout", fc1, r2 * D * M}, {"fc2", fc2, r2 * D * M}, {"add_norm", eval_norm, 0},
        {"add_norm + dropout", add_norm, 0}, {"fc2 by x", fc2_x, r2 * D * M}, {"fc2 by w", fc2_w, r2 * D * M},
        {"fc1 GELU backward", fc1_act, 0}, {"fc1 dropout backward", fc1_drop, 0}, {"fc1 by x", fc1_x, r2 * D * M},
        {"fc1 by w", fc1_w, r2 * D * M}, {"add_norm backward", add_norm_bwd, 0}, {"out by x", out_x, r2 * D * H * 64},
        {"out by w", out_w, r2 * D * H * 64}, {"attention backward", attention_bwd, 2.5 * att},
        {"qkv by x", qkv_x, r2 * D * 3 * H * 64}, {"qkv by w", qkv_w, r2 * D * 3 * H * 64},
    };
    for (size_t i = 0; i < sizeof op / sizeof *op; i++) report(op[i].name, op[i].run, op[i].flop, q, "sequence");
    double all = L * (r2 * D * (3 * H * 64 + H * 64 + 2 * M) + att);
    report("ViT-B forward, eval", forward_eval, all, q, "sequence");
    report("ViT-B forward, train", forward, all, q, "sequence");
    report("ViT-B forward + backward", both, 3 * all + 0.5 * L * att, q, "sequence");
    head_setup();
    report("last layer, K 100000", last_layer, 2.0 * HEAD_ROWS * 256 * K, HEAD_ROWS / 10, "image");
    report("DINO loss and gradient", dino, 0, HEAD_ROWS / 10, "image");
    margin_setup();
    report("CosFace, 20000 classes", margin, 6.0 * FACES * D * CLASSES, FACES, "face");
    t.p = floats(PARAMS), t.m = floats(PARAMS), t.v = floats(PARAMS), t.gr = floats(PARAMS);
    memset(t.v, 0, sizeof(float) * PARAMS);
    report("norms, 64 M", norms, 0, 1, "step");
    report("AdamW, 64 M", adamw, 0, 1, "step");
    report("EMA, 64 M", ema, 0, 1, "step");
    return 0; /* the process takes the memory with it */
}
