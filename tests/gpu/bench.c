/* Speed of the GPU's ops at the paper's sizes (D 768, 11 heads, M 2048, 197 tokens), by ops alone: a row is what
 * one call takes, from REPEAT calls that were queued together. Environment: SEQS=64, PRECISION=bf16, BENCH_ONLY=part of a
 * row's name, REPEAT=20. `make bench-gpu` runs it; tests/gpu/check is what is tested. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "compute/backend.h"
#include "compute/stored.h"

enum { D = 768, H = 11, WIDE = H * 64, M = 2048, TOKENS = 197, K = 100000, VIEWS = 10, PARAMS = 64000000 };

static struct lafs_backend be;
static struct lafs_seqs seqs;
static int64_t rows;
static int repeat;
static const char *only;

static void *device(size_t size)
{
    void *p;
    struct lafs_err err;
    if (be.ops->alloc(be.dev, &p, size, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return p;
}

static float *floats(int64_t n)
{
    enum { CHUNK = 1 << 16 };
    static float host[CHUNK];
    float *p = device((size_t)n * sizeof *p);
    uint32_t x = 12345;
    for (int i = 0; i < CHUNK; i++) {
        x = x * 1664525u + 1013904223u;
        host[i] = (float)(x >> 8) * 0x1p-24f - 0.5f;
    }
    for (int64_t at = 0; at < n; at += CHUNK)
        be.ops->upload(be.dev, p + at, host, (size_t)(n - at < CHUNK ? n - at : CHUNK) * sizeof *host);
    return p;
}

static void *constant(const void *host, size_t size)
{
    void *p = device(size);
    be.ops->upload(be.dev, p, host, size);
    return p;
}

static const float temperatures[2] = {0.1f, 0.04f};
static const struct lafs_rate rate = {1e-3f, 0.1f, 3, 0, 0.1, 0.001};
static const double keep = 0.996;
/* Places of weights: of a layer, of its bias, of a norm's gain and offset. */
enum { WEIGHT = 0, BIAS = M * 3 * WIDE, GAIN = BIAS + 4096, OFFSET = GAIN + D, VALUES = OFFSET + D };
static struct lafs_stored st;
static struct {
    void *y1, *y, *branch, *wide, *pre, *qkv, *dqkv, *heads, *dheads;
    float *x, *dx, *lse, *mean, *rstd, *grad;
    struct lafs_bf16 *rounded;
    float *student, *teacher, *center, *dstudent, *p, *m, *v, *gradient;
    double *loss, *stats, *norm, *keep;
    float *temp;
    struct lafs_rate *rate;
    struct lafs_drop drop;
} t;
static int64_t images; /* of the DINO loss */

#define OP static void
#define B be.ops
#define DEV be.dev
OP qkv(void) { lafs_stored_linear(&st, &seqs, D, 3 * WIDE, t.y1, WEIGHT, -1, LAFS_ACT_NONE, NULL, NULL, t.qkv); }
static struct lafs_stored_heads heads_of(void)
{
    return (struct lafs_stored_heads){&seqs, &seqs, H, 0.036f, t.qkv, 3 * WIDE, lafs_stored_at(&st, t.qkv, WIDE),
                                      3 * WIDE};
}
OP attention(void)
{
    const struct lafs_stored_heads h = heads_of();
    lafs_stored_attention(&st, &h, t.heads, t.lse);
}
OP attention_bwd(void)
{
    const struct lafs_stored_heads h = heads_of();
    lafs_stored_attention_bwd(&st, &h, t.heads, t.lse, t.dheads, t.dqkv, lafs_stored_at(&st, t.dqkv, WIDE));
}
OP fc1(void) { lafs_stored_linear(&st, &seqs, D, M, t.y1, WEIGHT, BIAS, LAFS_ACT_GELU, &t.drop, t.pre, t.wide); }
OP fc2(void) { lafs_stored_linear(&st, &seqs, M, D, t.wide, WEIGHT, BIAS, LAFS_ACT_NONE, NULL, NULL, t.y); }
OP gelu_bwd(void) { lafs_stored_act_bwd(&st, &seqs, M, LAFS_ACT_GELU, &t.drop, t.pre, t.wide, t.grad); }
OP fc1_x(void) { lafs_stored_linear_bwd_x(&st, &seqs, D, M, t.wide, WEIGHT, t.y); }
OP fc1_w(void) { lafs_stored_linear_bwd_w(&st, rows, D, M, t.y1, t.wide, t.grad, t.grad + M * D); }
static struct lafs_stored_sum sum_of(void)
{
    return (struct lafs_stored_sum){&seqs, D, NULL, NULL, &t.drop, &t.drop};
}
OP add_norm(void)
{
    const struct lafs_stored_sum a = sum_of();
    lafs_stored_add_norm(&st, &a, t.x, t.branch, GAIN, OFFSET, t.x, t.y, t.mean, t.rstd);
}
OP add_norm_bwd(void)
{
    const struct lafs_stored_sum a = sum_of();
    lafs_stored_add_norm_bwd(&st, &a, t.y, t.x, t.mean, t.rstd, GAIN, t.dx, t.branch, t.grad, t.grad + D,
                             t.grad + 2 * D);
}
OP weights(void) { st.bf16->round(DEV, PARAMS, t.gradient, t.rounded); }
OP dino(void)
{
    B->dino_loss(DEV, images, K, VIEWS, 2, t.student, t.teacher, t.center, t.temp, 1, t.loss, t.dstudent, t.center, t.stats);
}
static const struct lafs_segment segment = {0, PARAMS};
OP norms(void) { B->norms(DEV, 1, &segment, t.gradient, t.norm); }
OP adamw(void) { B->adamw(DEV, 1, &segment, t.rate, t.norm, 0.9, 0.999, 1e-8, t.p, t.gradient, t.m, t.v); }
OP ema(void) { B->lerp(DEV, PARAMS, t.keep, t.gradient, t.p); }

static void finish(void)
{
    struct lafs_err err;
    if (B->sync(DEV, &err) == LAFS_OK) return;
    fprintf(stderr, "%s\n", err.msg);
    exit(1);
}

static void row(const char *name, void (*run)(void), double flops, double bytes)
{
    if (!strstr(name, only)) return;
    run(); /* choices, scratch memory */
    finish();
    const double start = lafs_clock_now();
    for (int i = 0; i < repeat; i++) run();
    finish();
    const double seconds = (lafs_clock_now() - start) / repeat;
    printf("%-22s %9.3f ms", name, seconds * 1e3);
    if (flops > 0) printf(" %8.1f TFLOP/s", flops / seconds / 1e12);
    if (bytes > 0) printf(" %8.2f TB/s", bytes / seconds / 1e12);
    printf("\n");
    fflush(stdout);
}

static int wanted(const char *a, const char *b) { return strstr(a, only) || strstr(b, only); }

/* n values as activations are stored. */
static void *activations(int64_t n)
{
    float *x = floats(n);
    if (!st.bf16) return x;
    struct lafs_bf16 *p = device((size_t)n * sizeof *p);
    st.bf16->round(DEV, n, x, p);
    B->free(DEV, x);
    return p;
}

static void layer(void)
{
    const double r = (double)rows, f = sizeof(float), a = (double)lafs_stored_size(st.bf16);
    const double att = 4.0 * (double)seqs.n * TOKENS * TOKENS * WIDE;
    t.y1 = activations(rows * D), t.y = activations(rows * D), t.branch = activations(rows * D);
    t.wide = activations(rows * M), t.pre = activations(rows * M), t.qkv = activations(rows * 3 * WIDE);
    t.dqkv = activations(rows * 3 * WIDE), t.heads = activations(rows * WIDE), t.dheads = activations(rows * WIDE);
    t.x = floats(rows * D), t.dx = floats(rows * D), t.lse = floats(rows * H), t.mean = floats(rows);
    t.rstd = floats(rows), t.grad = floats(M * D + 4096), st.value = floats(VALUES);
    if (st.bf16) {
        struct lafs_bf16 *rounded = device(VALUES * sizeof *rounded);
        st.bf16->round(DEV, VALUES, st.value, rounded);
        st.rounded = rounded;
    }
    row("qkv", qkv, 2 * r * D * 3 * WIDE, 0);
    row("attention", attention, att, 4 * a * WIDE * r);
    row("attention backward", attention_bwd, 2.5 * att, 9 * a * WIDE * r);
    row("fc1 + GELU + dropout", fc1, 2 * r * D * M, 0);
    row("fc2", fc2, 2 * r * D * M, 0);
    row("GELU, dropout backward", gelu_bwd, 0, (st.bf16 ? 3 : 5) * a * M * r);
    row("fc1 by x", fc1_x, 2 * r * D * M, 0);
    row("fc1 by w", fc1_w, 2 * r * D * M, 0);
    row("add_norm", add_norm, 0, (2 * f + 2 * a) * D * r);
    row("add_norm backward", add_norm_bwd, 0, (3 * f + 2 * a) * D * r);
}

static int from_env(const char *name, int value)
{
    const char *s = getenv(name);
    return s && atoi(s) > 0 ? atoi(s) : value;
}

int main(void)
{
    struct lafs_err err;
    const char *precision = getenv("PRECISION");
    only = getenv("BENCH_ONLY") ? getenv("BENCH_ONLY") : "";
    repeat = from_env("REPEAT", 20);
    if (lafs_backend_open(&be, "cuda", NULL, NULL, &err) != LAFS_OK) {
        fprintf(stderr, "no GPU here: %s\n", err.msg);
        return 3;
    }
    if (!lafs_precision_by_name(precision ? precision : "bf16", &be.precision)) return 2;
    const int64_t n = from_env("SEQS", 64);
    int64_t *off = malloc((size_t)(n + 1) * sizeof *off), *dev_off = device((size_t)(n + 1) * sizeof *off);
    uint64_t *key = malloc((size_t)n * sizeof *key), *dev_key = device((size_t)n * sizeof *key);
    if (!off || !key) return 1;
    for (int64_t i = 0; i <= n; i++) off[i] = i * TOKENS;
    for (int64_t i = 0; i < n; i++) key[i] = lafs_rng_key(1, LAFS_RNG_TEST, 0, (uint64_t)i, 0);
    B->upload(DEV, dev_off, off, (size_t)(n + 1) * sizeof *off);
    B->upload(DEV, dev_key, key, (size_t)n * sizeof *key);
    seqs = (struct lafs_seqs){n, off, dev_off, TOKENS};
    t.drop = (struct lafs_drop){0.1f, 1, dev_key};
    rows = n * TOKENS;
    printf("%s; %s; %lld sequences of %d tokens\n", B->describe(DEV), precision ? precision : "bf16", (long long)n, TOKENS);
    st = (struct lafs_stored){&be, lafs_stored_ops(&be, D | M), NULL, NULL, 0};
    layer();
    images = (n + 3) / 4;
    if (wanted("DINO loss", "")) {
        t.student = floats(VIEWS * images * K), t.teacher = floats(2 * images * K), t.center = floats(K);
        t.dstudent = floats(VIEWS * images * K), t.loss = device(sizeof(double)), t.stats = device(5 * sizeof(double));
        t.temp = constant(temperatures, sizeof temperatures);
    }
    row("DINO loss", dino, 0, (2.0 * VIEWS + 2) * (double)images * K * sizeof(float));
    if (wanted("norms", "AdamW") || wanted("EMA", "weights to bf16")) {
        t.p = floats(PARAMS), t.m = floats(PARAMS), t.gradient = floats(PARAMS), t.v = device(PARAMS * sizeof(float));
        t.norm = device(sizeof *t.norm), t.keep = constant(&keep, sizeof keep), t.rate = constant(&rate, sizeof rate);
    }
    row("norms", norms, 0, sizeof(float) * (double)PARAMS);
    row("AdamW", adamw, 0, 7 * sizeof(float) * (double)PARAMS);
    row("EMA", ema, 0, 3 * sizeof(float) * (double)PARAMS);
    if (st.bf16 && wanted("weights to bf16", "")) {
        t.rounded = device(PARAMS * sizeof *t.rounded);
        row("weights to bf16", weights, 0, (sizeof(float) + sizeof *t.rounded) * (double)PARAMS);
    }
    free(off);
    free(key);
    lafs_backend_close(&be);
    return 0;
}
