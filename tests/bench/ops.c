/* Speed of the CPU's ops at the paper's sizes (D 768, 11 heads, M 2048, 197 tokens), forward and backward. bench.h says
 * how; no test. SEQS=8: sequences in a row's call. */
#include <stdarg.h>
#include <stdint.h>

#include "base/rng.h"
#include "tests/bench/bench.h"

enum { D = 768, H = 11, M = 2048, TOKENS = 197, K = 100000, HEAD_ROWS = 80 };

static struct lafs_backend be;
static int64_t n_seqs, rows;
static struct lafs_seqs seqs;

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
    float *after;                                                    /* (rows, M) written only: inputs stay what they are */
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
    t.wide = floats(rows * M), t.wide2 = floats(rows * M), t.dwide = floats(rows * M), t.after = floats(rows * M);
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
#define DEV_P be.dev, be.precision
OP qkv(void) { B->linear(DEV_P, &seqs, D, 3 * H * 64, t.x, t.w_qkv, NULL, LAFS_ACT_NONE, NULL, NULL, t.qkv); }
OP attention(void)
{
    B->attention(DEV_P, &seqs, &seqs, H, 0.036f, t.qkv, 3 * H * 64, t.qkv + H * 64, 3 * H * 64, t.heads, t.lse);
}
OP out(void) { B->linear(DEV_P, &seqs, H * 64, D, t.heads, t.w_out, t.bias, LAFS_ACT_NONE, NULL, NULL, t.y); }
OP fc1(void) { B->linear(DEV_P, &seqs, D, M, t.x, t.w_fc1, t.bias, LAFS_ACT_GELU, &t.drop, t.wide2, t.wide); }
OP fc1_plain(void) { B->linear(DEV_P, &seqs, D, M, t.x, t.w_fc1, NULL, LAFS_ACT_NONE, NULL, NULL, t.wide); }
OP fc2(void) { B->linear(DEV_P, &seqs, M, D, t.wide, t.w_fc2, t.bias, LAFS_ACT_NONE, NULL, NULL, t.y); }
OP add_norm(void)
{
    B->add_norm(DEV, &seqs, D, t.x, NULL, t.y, &t.drop, &t.path, NULL, t.g, t.g, t.x, t.y, t.mean, t.rstd);
}
OP plain_norm(void)
{
    B->add_norm(DEV, &seqs, D, t.x, NULL, t.y, NULL, NULL, NULL, t.g, t.g, t.x, t.y, NULL, NULL);
}
OP gelu_fc1(void) { B->linear(DEV_P, &seqs, D, M, t.x, t.w_fc1, t.bias, LAFS_ACT_GELU, NULL, NULL, t.wide); }
OP fc2_x(void) { B->linear_bwd_x(DEV_P, &seqs, M, D, t.y, t.w_fc2, t.dwide); }
OP fc2_w(void) { B->linear_bwd_w(DEV_P, rows, M, D, t.wide, t.y, t.grad, t.bias); }
OP fc1_act(void) { B->act_bwd(DEV, rows * M, LAFS_ACT_GELU, t.wide2, t.dwide, t.after); }
OP fc1_drop(void) { B->dropout(DEV, &seqs, M, &t.drop, t.dwide, t.after); }
OP fc1_x(void) { B->linear_bwd_x(DEV_P, &seqs, D, M, t.dwide, t.w_fc1, t.y); }
OP fc1_w(void) { B->linear_bwd_w(DEV_P, rows, D, M, t.x, t.dwide, t.grad, t.bias); }
OP add_norm_bwd(void)
{
    B->add_norm_bwd(DEV, &seqs, D, NULL, t.y, t.x, t.mean, t.rstd, t.g, NULL, &t.drop, &t.path, t.after, t.after + rows * D, t.grad,
                    t.bias);
}
OP out_x(void) { B->linear_bwd_x(DEV_P, &seqs, H * 64, D, t.y, t.w_out, t.dheads); }
OP out_w(void) { B->linear_bwd_w(DEV_P, rows, H * 64, D, t.heads, t.y, t.grad, t.bias); }
OP attention_bwd(void)
{
    B->attention_bwd(DEV_P, &seqs, &seqs, H, 0.036f, t.qkv, 3 * H * 64, t.qkv + H * 64, 3 * H * 64, t.heads, t.lse,
                     t.dheads, t.dqkv, t.dqkv + H * 64);
}
OP qkv_x(void) { B->linear_bwd_x(DEV_P, &seqs, D, 3 * H * 64, t.dqkv, t.w_qkv, t.y); }
OP qkv_w(void) { B->linear_bwd_w(DEV_P, rows, D, 3 * H * 64, t.x, t.dqkv, t.grad, NULL); }

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
    B->linear(DEV_P, &s, 256, K, t.z, t.w_last, NULL, LAFS_ACT_NONE, NULL, NULL, t.dstudent);
}
OP dino(void)
{
    static const float temp[2] = {0.1f, 0.04f};
    double loss, stats[5];
    B->dino_loss(DEV, HEAD_ROWS / 10, K, 10, 2, t.student, t.teacher, t.center, temp, 1, &loss, t.dstudent, t.center,
                 stats);
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
    B->margin_loss(DEV_P, FACES, D, CLASSES, emb, classes, target, LAFS_MARGIN_COSFACE, 64, 0.4f, 1, scratch, &loss,
                   demb, dclasses, NULL);
}

enum { PARAMS = 64000000 };
static const struct lafs_segment segment = {0, PARAMS};
static const struct lafs_rate rate = {1e-3f, 0.1f, 3, 0, 0.1, 0.001};
static double norm;
static const double keep = 0.996;
OP adamw(void) { B->adamw(DEV, 1, &segment, &rate, &norm, 0.9, 0.999, 1e-8, t.p, t.gr, t.m, t.v); }
OP norms(void) { B->norms(DEV, 1, &segment, t.gr, &norm); }
OP ema(void) { B->lerp(DEV, PARAMS, &keep, t.gr, t.p); }

static void optim_setup(void)
{
    t.p = floats(PARAMS), t.m = floats(PARAMS), t.v = floats(PARAMS), t.gr = floats(PARAMS);
    memset(t.v, 0, sizeof(float) * PARAMS);
}

/* A row, with what the peer calls the same work. */
static void row(const char *name, void (*run)(void), const char *unit, double units, double flops, double bytes,
                const char *peer, ...)
{
    char line[256];
    va_list args;
    va_start(args, peer);
    vsnprintf(line, sizeof line, peer, args);
    va_end(args);
    bench_row(&(struct bench_row){.name = name, .run = run, .unit = unit, .units = units, .flops = flops,
                                  .bytes = bytes, .peer = line});
}

static void layer_rows(void)
{
    int r = (int)rows, n = (int)n_seqs, wide = 3 * H * 64;
    double q = (double)n_seqs, r2 = 2.0 * (double)rows, att = 4.0 * q * TOKENS * TOKENS * 64 * H, f = sizeof(float);
    const char *s = "sequence";
    row("qkv", qkv, s, q, r2 * D * wide, 0, "linear %d %d %d", r, D, wide);
    row("attention", attention, s, q, att, 0, "attention %d %d %d", n, TOKENS, H);
    row("out", out, s, q, r2 * D * H * 64, 0, "linear %d %d %d", r, H * 64, D);
    row("fc1, no epilogue", fc1_plain, s, q, r2 * D * M, 0, "linear %d %d %d", r, D, M);
    row("fc1 + GELU", gelu_fc1, s, q, r2 * D * M, 0, "linear %d %d %d gelu", r, D, M);
    row("fc1 + GELU + dropout", fc1, s, q, r2 * D * M, 0, "none");
    row("fc2", fc2, s, q, r2 * D * M, 0, "linear %d %d %d", r, M, D);
    row("add_norm", plain_norm, s, q, 0, 4 * f * D * (double)rows, "add_norm %d %d", r, D);
    row("add_norm + dropout", add_norm, s, q, 0, 4 * f * D * (double)rows, "add_norm %d %d 1", r, D);
    row("fc2 by x", fc2_x, s, q, r2 * D * M, 0, "linear_bwd_x %d %d %d", r, M, D);
    row("fc2 by w", fc2_w, s, q, r2 * D * M, 0, "linear_bwd_w %d %d %d", r, M, D);
    row("fc1 GELU backward", fc1_act, s, q, 0, 3 * f * M * (double)rows, "gelu_bwd %d", r * M);
    row("fc1 dropout backward", fc1_drop, s, q, 0, 2 * f * M * (double)rows, "none");
    row("fc1 by x", fc1_x, s, q, r2 * D * M, 0, "linear_bwd_x %d %d %d", r, D, M);
    row("fc1 by w", fc1_w, s, q, r2 * D * M, 0, "linear_bwd_w %d %d %d", r, D, M);
    row("add_norm backward", add_norm_bwd, s, q, 0, 5 * f * D * (double)rows, "none");
    row("out by x", out_x, s, q, r2 * D * H * 64, 0, "linear_bwd_x %d %d %d", r, H * 64, D);
    row("out by w", out_w, s, q, r2 * D * H * 64, 0, "linear_bwd_w %d %d %d", r, H * 64, D);
    row("attention backward", attention_bwd, s, q, 2.5 * att, 0, "attention_bwd %d %d %d", n, TOKENS, H);
    row("qkv by x", qkv_x, s, q, r2 * D * wide, 0, "linear_bwd_x %d %d %d", r, D, wide);
    row("qkv by w", qkv_w, s, q, r2 * D * wide, 0, "linear_bwd_w %d %d %d", r, D, wide);
}

int main(void)
{
    struct lafs_pool *pool = bench_begin("ops");
    n_seqs = bench_from_env("SEQS", 8);
    bench_open(&be, pool);
    setup();
    layer_rows();
    head_setup();
    int images = HEAD_ROWS / 10;
    row("last layer, K 100000", last_layer, "image", images, 2.0 * HEAD_ROWS * 256 * K, 0, "linear %d 256 %d", HEAD_ROWS,
        K);
    row("DINO loss and gradient", dino, "image", images, 0, 4.0 * (2 * HEAD_ROWS + HEAD_ROWS / 5) * K,
        "dino_loss %d %d 10 2", images, K);
    margin_setup();
    row("CosFace, 20000 classes", margin, "face", FACES, 6.0 * FACES * D * CLASSES, 0, "margin %d %d %d", FACES, D,
        CLASSES);
    optim_setup();
    row("norms, 64 M", norms, "step", 1, 0, 4.0 * PARAMS, "norms %d", PARAMS);
    row("AdamW, 64 M", adamw, "step", 1, 0, 28.0 * PARAMS, "adamw %d", PARAMS);
    row("EMA, 64 M", ema, "step", 1, 0, 12.0 * PARAMS, "ema %d", PARAMS);
    return bench_end(); /* the process takes the memory with it */
}
