/* What the programs of `make bench` share: rows of named work, timed by turns with the same work in PyTorch.
 *
 *     static void fc1(void) { ... }
 *     int main(void)
 *     {
 *         struct lafs_pool *pool = bench_begin("ops");
 *         bench_row(&(struct bench_row){.name = "fc1", .unit = "sequence", .units = 8, .flops = 5e9, .run = fc1,
 *                                       .peer = "linear 1576 768 2048 gelu"});
 *         return bench_end();
 *     }
 *
 * Environment: DEVICE (cpu; cuda: of programs that have rows for it), THREADS (all processors), BENCH_SECONDS (0.8: for
 * each row and side), BENCH_ONLY (rows whose name holds it), PRECISION (fp32, bf16, bf16x3: of products), BENCH_JSON (a
 * file to which each row is added as a line of JSON), BENCH_SIDE (8192: of the product by which a GPU is measured),
 * BENCH_PEER (a command that answers a line "linear 1576 .." with the seconds that one run took, or "none").
 * A row's figure is the median of its runs; +- is half the distance between its quartiles. Peaks are measured when the
 * program starts, with all threads: fused multiply-adds from registers, and reading memory; of a GPU a large product, and
 * copying. "bar met" is the speed over the one that was asked for, core for core, then in parentheses GF/s of fp32 for
 * GF/s: 1 or more meets it; of a GPU as it is. */
#ifndef LAFS_TESTS_BENCH_H
#define LAFS_TESTS_BENCH_H

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/pool.h"
#include "compute/backend.h"
#include "kernels/cpu/vec.h"

struct bench_row {
    const char *name, *unit; /* unit: what a run handles, such as "image" */
    double units;            /* of them in one run; 0: 1 */
    double flops, bytes;     /* of one run, 2 a multiply-add; bytes that must move; 0: not stated */
    double bar, bar_bf16;    /* ms a unit that were asked of `cores` cores of 240 GF/s (AVX-512); 0: none */
    double bar_gpu;          /* ms a unit that were asked of an H200, in bf16; 0: none */
    int cores;               /* 0: 1 */
    int threads;             /* that the work runs on; 0: all */
    void (*run)(void);
    const char *peer;        /* the same work as the peer knows it, or NULL */
};

static struct {
    const char *program, *only, *device;
    int threads, gpu; /* gpu: device is none of the CPU's */
    double seconds;
    double flops, read; /* peaks: flop/s and bytes/s, all threads */
    struct lafs_pool *pool;
    enum lafs_precision precision;
    FILE *json, *to_peer, *from_peer;
    pid_t peer;
} bench;

static inline int bench_from_env(const char *name, int value)
{
    const char *s = getenv(name);
    return s && atoll(s) > 0 ? (int)atoll(s) : value;
}

/* -- peaks -- */

#if defined __aarch64__
enum { BENCH_CHAINS = 24, BENCH_ROUNDS = 1 << 24 };
#else
enum { BENCH_CHAINS = 12, BENCH_ROUNDS = 1 << 24 };
#endif
static float bench_fma128(void)
{
    lafs_v4 acc[BENCH_CHAINS], x = {0.999f, 0.999f, 0.999f, 0.999f};
    for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = x * (float)i;
    for (int r = 0; r < BENCH_ROUNDS; r++)
#pragma GCC unroll 24
        for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = lafs_fma4(acc[i], x, x);
    for (int i = 1; i < BENCH_CHAINS; i++) acc[0] += acc[i];
    return acc[0][0];
}
#if defined __x86_64__
#include <immintrin.h>
__attribute__((target("avx512f"))) static float bench_fma512(void)
{
    __m512 acc[BENCH_CHAINS], x = _mm512_set1_ps(0.999f);
    for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < BENCH_ROUNDS; r++)
#pragma GCC unroll 12
        for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = _mm512_fmadd_ps(acc[i], x, x);
    for (int i = 1; i < BENCH_CHAINS; i++) acc[0] = _mm512_add_ps(acc[0], acc[i]);
    return _mm512_cvtss_f32(acc[0]);
}
__attribute__((target("avx2,fma"))) static float bench_fma256(void)
{
    __m256 acc[BENCH_CHAINS], x = _mm256_set1_ps(0.999f);
    for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = _mm256_set1_ps((float)i);
    for (int r = 0; r < BENCH_ROUNDS; r++)
#pragma GCC unroll 12
        for (int i = 0; i < BENCH_CHAINS; i++) acc[i] = _mm256_fmadd_ps(acc[i], x, x);
    for (int i = 1; i < BENCH_CHAINS; i++) acc[0] = _mm256_add_ps(acc[0], acc[i]);
    return _mm256_cvtss_f32(acc[0]);
}
#endif

static volatile float bench_sink; /* keeps results alive */

static void bench_fma(void *arg, int64_t i, int worker)
{
    (void)i, (void)worker;
    double *flops = arg;
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level > 0) {
        bench_sink = level > 1 ? bench_fma512() : bench_fma256();
        *flops = 2.0 * (level > 1 ? 16 : 8) * BENCH_CHAINS * BENCH_ROUNDS;
        return;
    }
#endif
    bench_sink = bench_fma128();
    *flops = 2.0 * 4 * BENCH_CHAINS * BENCH_ROUNDS;
}

enum { BENCH_MEMORY = 64 << 20 }; /* floats each thread reads */
struct bench_memory {
    float *p;
    int64_t part;
};
LAFS_INLINE void bench_read_part(const struct bench_memory *m, int64_t i)
{
    const float *p = m->p + i * m->part;
    float s[64] = {0};
    for (int64_t j = 0; j + 64 <= m->part; j += 64)
        LAFS_EACH
        for (int c = 0; c < 64; c++) s[c] += p[j + c];
    bench_sink = s[0];
}
LAFS_ISA_TILES(bench_read, struct bench_memory, bench_read_part(j, tile))

/* Many short tries: threads may share a processor for a while after they are woken. */
static void bench_peaks(void)
{
    for (int i = 0; i < 30; i++) {
        double flops = 0, start = lafs_clock_now();
        lafs_pool_for(bench.pool, bench.threads, bench_fma, &flops);
        flops *= bench.threads / (lafs_clock_now() - start);
        if (flops > bench.flops) bench.flops = flops;
    }
    struct bench_memory m = {malloc(sizeof(float) * BENCH_MEMORY), BENCH_MEMORY / bench.threads};
    if (!m.p) return;
    memset(m.p, 1, sizeof(float) * BENCH_MEMORY);
    for (int i = 0; i < 30; i++) {
        double start = lafs_clock_now();
        lafs_pool_for(bench.pool, bench.threads, lafs_isa_bench_read(), &m);
        double rate = sizeof(float) * (double)BENCH_MEMORY / (lafs_clock_now() - start);
        if (rate > bench.read) bench.read = rate;
    }
    free(m.p);
}

/* -- the peer: a child that reads work from its input and writes seconds; begun when it is first asked, so that it is at
 * rest while something else is measured -- */

static void bench_start_peer(const char *command)
{
    int in[2], out[2];
    if (pipe(in) || pipe(out)) exit(1);
    signal(SIGPIPE, SIG_IGN); /* a peer that dies is one that knows no work */
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0) _exit(1);
        close(in[1]);
        close(out[0]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    bench.peer = child;
    bench.to_peer = fdopen(in[1], "w");
    bench.from_peer = fdopen(out[0], "r");
}

/* Seconds of one run of the peer; < 0: it does not know this work, or is gone. */
static double bench_ask_peer(const char *work)
{
    char line[256];
    const char *command = getenv("BENCH_PEER");
    if (!command || !*command || !work || bench.precision == LAFS_PRECISION_BF16X3) return -1;
    if (!bench.to_peer) bench_start_peer(command);
    const char *half = bench.precision == LAFS_PRECISION_BF16 ? "bf16 " : "";
    if (fprintf(bench.to_peer, "%s%s\n", half, work) < 0 || fflush(bench.to_peer)) return -1;
    if (!fgets(line, sizeof line, bench.from_peer)) return -1;
    char *end;
    double s = strtod(line, &end);
    return end > line ? s : -1;
}

/* -- rows -- */

/* Whether this row is wanted: before costly preparation. */
static inline int bench_wants(const char *name) { return !bench.only || strstr(name, bench.only); }

static void bench_head(void)
{
    printf("%-34s %11s %6s %11s %8s %12s %9s %9s\n", "", "ms a unit", "+-", "rate", "of peak", "bar met", "peer ms",
           "peer/ours");
}

static inline struct lafs_pool *bench_begin(const char *program)
{
    struct lafs_err err = {0};
    const char *s = getenv("BENCH_SECONDS"), *json = getenv("BENCH_JSON"), *precision = getenv("PRECISION");
    bench.program = program;
    bench.only = getenv("BENCH_ONLY");
    bench.threads = bench_from_env("THREADS", lafs_processors());
    bench.seconds = s && atof(s) > 0 ? atof(s) : 0.8;
    if (precision && *precision && !lafs_precision_by_name(precision, &bench.precision)) {
        fprintf(stderr, "PRECISION: '%s' is none of fp32, bf16, bf16x3\n", precision);
        exit(1);
    }
    if (lafs_pool_new(&bench.pool, bench.threads, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    if (json && *json && !(bench.json = fopen(json, "a"))) {
        perror(json);
        exit(1);
    }
    bench.device = getenv("DEVICE") && *getenv("DEVICE") ? getenv("DEVICE") : "cpu";
    bench.gpu = strcmp(bench.device, "cpu") != 0;
    if (bench.gpu) return bench.pool; /* what it can is measured when it is open */
    bench_peaks();
    printf("%s: %d threads, peak %.1f GF/s, memory read at %.1f GB/s\n", program, bench.threads, bench.flops * 1e-9,
           bench.read * 1e-9);
    bench_head();
    return bench.pool;
}

static void bench_need(lafs_status st, const struct lafs_err *err)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "%s\n", err->msg);
    exit(1);
}

/* Seconds of the best of a few runs, of many calls each. */
static double bench_best(struct lafs_backend *b, void (*run)(struct lafs_backend *, float *const p[3]),
                         float *const p[3])
{
    enum { CALLS = 10 };
    double best = 1e9;
    for (int i = 0; i < 6; i++) {
        struct lafs_err err = {0};
        const double start = lafs_clock_now();
        for (int k = 0; k < CALLS; k++) run(b, p);
        bench_need(b->ops->sync(b->dev, &err), &err);
        const double s = (lafs_clock_now() - start) / CALLS;
        if (s < best) best = s;
    }
    return best;
}
static int64_t bench_side; /* of the square matrices by which a GPU is measured */
static void bench_product(struct lafs_backend *b, float *const p[3])
{
    const int64_t off[2] = {0, bench_side};
    const struct lafs_seqs s = {1, off, off, bench_side};
    if (b->precision == LAFS_PRECISION_BF16 && b->ops->bf16)
        b->ops->bf16->linear(b->dev, &s, bench_side, bench_side, (struct lafs_bf16 *)p[0], (struct lafs_bf16 *)p[1],
                             NULL, LAFS_ACT_NONE, NULL, NULL, (struct lafs_bf16 *)p[2]);
    else
        b->ops->linear(b->dev, b->precision, &s, bench_side, bench_side, p[0], p[1], NULL, LAFS_ACT_NONE, NULL, NULL,
                       p[2]);
}
static void bench_copy(struct lafs_backend *b, float *const p[3])
{
    b->ops->copy(b->dev, p[2], p[0], sizeof(float) * (size_t)(bench_side * bench_side));
}
/* On random numbers: zeros are faster. */
static void bench_gpu_peaks(struct lafs_backend *b)
{
    bench_side = bench_from_env("BENCH_SIDE", 8192);
    const size_t n = (size_t)(bench_side * bench_side);
    struct lafs_err err = {0};
    float *p[3], *host = malloc(n * sizeof *host);
    uint32_t x = 12345;
    if (!host) exit(1);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        host[i] = (float)(x >> 8) * 0x1p-24f - 0.5f;
    }
    for (int i = 0; i < 3; i++) {
        void *at;
        bench_need(b->ops->alloc(b->dev, &at, n * sizeof *host, &err), &err);
        p[i] = at;
        b->ops->upload(b->dev, p[i], host, n * sizeof *host);
    }
    free(host);
    if (b->precision == LAFS_PRECISION_BF16 && b->ops->bf16)
        for (int i = 0; i < 2; i++) b->ops->bf16->round(b->dev, (int64_t)n, p[2], (struct lafs_bf16 *)p[i]);
    bench.flops = 2.0 * (double)bench_side * (double)n / bench_best(b, bench_product, p);
    bench.read = 2.0 * sizeof(float) * (double)n / bench_best(b, bench_copy, p);
    for (int i = 0; i < 3; i++) b->ops->free(b->dev, p[i]);
}

/* The wanted device, with the wanted precision; pool: bench.pool, or NULL for one thread. */
static inline void bench_open(struct lafs_backend *b, struct lafs_pool *pool)
{
    struct lafs_err err = {0};
    bench_need(lafs_backend_open(b, bench.device, pool, NULL, &err), &err);
    b->precision = bench.precision;
    if (!bench.gpu) return;
    bench_gpu_peaks(b);
    printf("%s: %s; products of %d at %.1f TF/s, copies at %.2f TB/s\n", bench.program, b->ops->describe(b->dev),
           (int)bench_side, bench.flops * 1e-12, bench.read * 1e-12);
    bench_head();
}

static int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { BENCH_RUNS = 64 };
struct bench_times {
    double t[BENCH_RUNS];
    int n;
    double sum;
};
static void bench_add(struct bench_times *x, double t)
{
    x->t[x->n++] = t;
    x->sum += t;
}
static double bench_quantile(struct bench_times *x, double q)
{
    if (!x->n) return 0;
    qsort(x->t, (size_t)x->n, sizeof *x->t, bench_compare);
    double at = q * (x->n - 1);
    int i = (int)at;
    return x->t[i] + (at - i) * (x->t[i + 1 < x->n ? i + 1 : i] - x->t[i]);
}

static void bench_print(const struct bench_row *r, struct bench_times *ours, struct bench_times *peer)
{
    double units = r->units > 0 ? r->units : 1, s = bench_quantile(ours, 0.5), theirs = bench_quantile(peer, 0.5);
    double spread = (bench_quantile(ours, 0.75) - bench_quantile(ours, 0.25)) / 2 / s;
    int threads = bench.gpu ? 1 : r->threads > 0 ? r->threads : bench.threads;
    double work = r->flops > 0 ? r->flops : r->bytes, used = bench.gpu ? 1 : (double)threads / bench.threads;
    double top = (r->flops > 0 ? bench.flops : bench.read) * used;
    double asked = bench.gpu ? (bench.precision == LAFS_PRECISION_BF16 ? r->bar_gpu : 0)
                   : bench.precision == LAFS_PRECISION_FP32 ? r->bar : r->bar_bf16;
    double met = asked * 1e-3 * (r->cores > 0 && !bench.gpu ? r->cores : 1) / (s / units * threads);
    double equal = met * 240e9 / (bench.flops / bench.threads);
    char rate[32] = "", share[32] = "", bar[32] = "", theirs_ms[32] = "", ratio[32] = "";
    if (work > 0) snprintf(rate, sizeof rate, "%.1f %s", work / s * 1e-9, r->flops > 0 ? "GF/s" : "GB/s");
    if (work > 0) snprintf(share, sizeof share, "%.0f %%", 100 * work / s / top);
    if (asked > 0) snprintf(bar, sizeof bar, bench.gpu ? "%.2f" : "%.2f (%.2f)", met, equal);
    if (peer->n) snprintf(theirs_ms, sizeof theirs_ms, "%.4g", theirs / units * 1e3);
    if (peer->n) snprintf(ratio, sizeof ratio, "%.2f", theirs / s);
    char ms[48];
    snprintf(ms, sizeof ms, "%.4g/%s", s / units * 1e3, r->unit);
    printf("%-24s %21s %5.1f%% %11s %8s %12s %9s %9s\n", r->name, ms, 100 * spread, rate, share, bar, theirs_ms, ratio);
    fflush(stdout);
    if (!bench.json) return;
    static const char *const names[] = {"fp32", "bf16", "bf16x3"};
    const char *precision = names[bench.precision];
    fprintf(bench.json,
            "{\"program\": \"%s\", \"device\": \"%s\", \"name\": \"%s\", \"unit\": \"%s\", \"threads\": %d, \"precision\": \"%s\", \"runs\": %d, \"ms\": %.6g, "
            "\"units_per_s\": %.6g, \"spread\": %.3g",
            bench.program, bench.device, r->name, r->unit, threads, precision, ours->n, s / units * 1e3, units / s, spread);
    if (work > 0)
        fprintf(bench.json, ", \"%s\": %.6g, \"share_of_peak\": %.4g", r->flops > 0 ? "flop_per_s" : "byte_per_s",
                work / s, work / s / top);
    if (asked > 0) fprintf(bench.json, ", \"bar_ms\": %g, \"bar_met\": %.4g, \"bar_met_at_equal_peak\": %.4g", asked,
                met, equal);
    if (peer->n)
        fprintf(bench.json, ", \"peer_ms\": %.6g, \"peer_over_ours\": %.4g", theirs / units * 1e3, theirs / s);
    fprintf(bench.json, ", \"peak_flop_per_s\": %.6g, \"peak_read_byte_per_s\": %.6g}\n", bench.flops, bench.read);
    fflush(bench.json);
}

static inline void bench_row(const struct bench_row *r)
{
    struct bench_times ours = {0}, peer = {0};
    if (!bench_wants(r->name)) return;
    r->run(); /* once to warm up */
    int asks = bench_ask_peer(r->peer) >= 0;
    while (ours.n < BENCH_RUNS && (ours.n < 3 || ours.sum < bench.seconds)) {
        double start = lafs_clock_now(), s;
        r->run();
        bench_add(&ours, lafs_clock_now() - start);
        if (asks && (peer.n < 3 || peer.sum < bench.seconds) && (s = bench_ask_peer(r->peer)) >= 0)
            bench_add(&peer, s);
    }
    bench_print(r, &ours, &peer);
}

static inline int bench_end(void)
{
    if (bench.to_peer) { /* the peer ends with its input; what is measured next shall not meet it */
        fclose(bench.to_peer);
        waitpid(bench.peer, NULL, 0);
    }
    if (bench.json && fclose(bench.json)) return 1;
    lafs_pool_free(bench.pool);
    return 0;
}

#endif
