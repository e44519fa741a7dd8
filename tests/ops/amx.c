/* Products of bf16 on tiles: the kernel and the packing of gemm_amx.inc over emulated tiles give the bits of vectors
 * and of plain code, whatever the shape; so, it is hoped, do real tiles, where there are any. And the scan's products
 * of int8, which are exact (real tiles: tests/ops/scan.c). */
#include "tests/test.h"

#define LAFS_TILE_EMULATION
#include "tests/emulate/avx512.h"
#include "kernels/cpu/gemm_amx.inc"
#include "kernels/cpu/scan_amx.inc"

#include "base/rng.h"
#include "tests/ops/levels.h"

static struct lafs_rng rng;
static int64_t below(int64_t lo, int64_t hi) { return lo + (int64_t)lafs_rng_below(&rng, (uint64_t)(hi - lo + 1)); }

/* Mostly about 1; sometimes zeros of both signs, far larger or smaller, denormals, and the largest of them, which would
 * be rounded up to a number that is none. */
static float value(void)
{
    float x = (float)lafs_rng_uniform(&rng, -1, 1);
    switch (below(0, 40)) {
    case 0: return copysignf(0, x);
    case 1: return ldexpf(x, (int)below(-60, 30));
    case 2: return ldexpf(x, -128);
    case 3: return copysignf(0x1.fffp-127f, x);
    default: return x;
    }
}

enum { GUARD = 64 };
static float *floats(int64_t n, int fill)
{
    float *p = aligned_alloc(64, (size_t)(n + GUARD + 15) / 16 * 64);
    if (!p) abort();
    for (int64_t i = 0; i < n + GUARD; i++) p[i] = fill && i < n ? value() : (float)(i * 7 % 31) + 0.5f;
    return p;
}
static int guarded(const float *p, int64_t n)
{
    for (int64_t i = n; i < n + GUARD; i++)
        if (p[i] != (float)(i * 7 % 31) + 0.5f) return 0;
    return 1;
}

struct product {
    int64_t m, n, k, ldc;
    struct lafs_gemm_source a, b;
    int add;
    float *from_a, *from_b, *c;
};

static struct product draw(int big)
{
    struct product p = {.m = below(1, big ? 200 : 70), .n = below(1, big ? 150 : 70), .k = below(1, big ? 700 : 100)};
    int ta = (int)below(0, 1), tb = (int)below(0, 1);
    int64_t lda = (ta ? p.m : p.k) + below(0, 5), ldb = (tb ? p.k : p.n) + below(0, 5);
    p.add = (int)below(0, 1);
    p.ldc = p.n + below(0, 5);
    p.from_a = floats((ta ? p.k : p.m) * lda, 1);
    p.from_b = floats((tb ? p.n : p.k) * ldb, 1);
    p.c = floats(p.m * p.ldc, 1);
    p.a = ta ? (struct lafs_gemm_source){p.from_a, 1, lda} : (struct lafs_gemm_source){p.from_a, lda, 1};
    p.b = tb ? (struct lafs_gemm_source){p.from_b, ldb, 1} : (struct lafs_gemm_source){p.from_b, 1, ldb};
    return p;
}

/* c, ldc floats a row: all of it, so that what lies between rows is compared too. */
static float *run(const struct product *p, const struct lafs_gemm_set *s)
{
    int64_t size_a = lafs_gemm_size_a(s, p->m, p->k), size_b = lafs_gemm_size_b(s, p->n, p->k);
    float *a = floats(size_a, 0), *b = floats(size_b, 0), *c = floats(p->m * p->ldc, 0);
    memcpy(c, p->c, (size_t)(p->m * p->ldc) * sizeof *c);
    s->pack_a(s, &p->a, 0, p->m, 0, p->k, a);
    s->pack_b(s, &p->b, 0, p->n, 0, p->k, b);
    lafs_gemm_multiply(s, p->m, p->n, p->k, a, b, p->add, c, p->ldc);
    CHECK(guarded(a, size_a));
    CHECK(guarded(b, size_b));
    CHECK(guarded(c, p->m * p->ldc));
    free(a);
    free(b);
    return c;
}

static void release(struct product *p)
{
    free(p->from_a);
    free(p->from_b);
    free(p->c);
}

TEST(emulated_tiles_vectors_and_plain_code)
{
    levels_missing("emulated_tiles_vectors_and_plain_code", LAFS_ISA_AVX512);
    lafs_rng_init(&rng, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int round = 0; round < 60; round++) {
        struct product p = draw(round % 10 == 0);
        enum lafs_precision precision = round % 2 ? LAFS_PRECISION_BF16X3 : LAFS_PRECISION_BF16;
        size_t bytes = (size_t)(p.m * p.ldc) * sizeof(float);
        float *tiles = run(&p, &amx_sets[precision]);
        for (int level = LAFS_ISA_AVX512; level >= LAFS_ISA_PLAIN; level--) {
            if (!level_use(level)) continue;
            float *c = run(&p, lafs_gemm_set_for(precision));
            if (memcmp(c, tiles, bytes))
                FAIL_("round %d, %s: %lld x %lld x %lld, add %d: other bits", round, level_name[level], (long long)p.m,
                      (long long)p.n, (long long)p.k, p.add);
            free(c);
        }
        level_free();
        free(tiles);
        release(&p);
    }
}

TEST(real_tiles)
{
    if (!lafs_isa_amx()) SKIP("no amx here");
    lafs_rng_init(&rng, lafs_rng_key(6, LAFS_RNG_TEST, 0, 0, 0));
    int other = 0;
    for (int round = 0; round < 60; round++) {
        struct product p = draw(round % 10 == 0);
        enum lafs_precision precision = round % 2 ? LAFS_PRECISION_BF16X3 : LAFS_PRECISION_BF16;
        float *c = run(&p, lafs_gemm_amx(precision)), *want = run(&p, &amx_sets[precision]);
        double most = 0;
        for (int64_t i = 0; i < p.m * p.ldc; i++) most = fmax(most, fabs((double)want[i]));
        for (int64_t i = 0; i < p.m * p.ldc; i++) {
            CHECK(fabs((double)c[i] - want[i]) <= 1e-5 * most);
            other += c[i] != want[i];
        }
        free(c);
        free(want);
        release(&p);
    }
    printf("note real tiles differ from emulated ones in %d values\n", other);
}

TEST(emulated_tiles_scan)
{
    enum { R = 32, Q = 32, G = LAFS_SCAN_GROUP, MOST = 832 };
    static int8_t g[R * MOST], q[Q * MOST], packed[Q * MOST];
    static int32_t out[R * Q + 1], start[R];
    lafs_rng_init(&rng, lafs_rng_key(8, LAFS_RNG_TEST, 0, 0, 0));
    for (int round = 0; round < 6; round++) {
        const int64_t dim = 64 * below(1, MOST / 64);
        const int extreme = round == 5; /* the largest sums that the op allows */
        for (int64_t i = 0; i < R * dim; i++) g[i] = (int8_t)(extreme ? 63 : below(-63, 63));
        for (int64_t i = 0; i < Q * dim; i++) q[i] = (int8_t)(extreme ? (i < G * dim ? 63 : -63) : below(-63, 63));
        for (int64_t i = 0; i < Q; i++)
            for (int64_t t = 0; t < dim; t++)
                packed[i / G * G * dim + (t / 4 * G + i % G) * 4 + t % 4] = q[i * dim + t];
        out[R * Q] = 42;
        scan_amx_set.begin();
        scan_amx_set.dots(packed, g, start, dim, out);
        scan_amx_set.end();
        CHECK(out[R * Q] == 42);
        for (int k = 0; k < R; k++)
            for (int i = 0; i < Q; i++) {
                int32_t want = 0;
                for (int64_t t = 0; t < dim; t++) want += g[k * dim + t] * q[i * dim + t];
                if (out[k * Q + i] != want) FAIL_("round %d, row %d, query %d: another product", round, k, i);
            }
    }
    CHECK(scan_amx_set.rows == R && scan_amx_set.groups * G == Q && !scan_amx_set.above);
}

/* How near products of length 768 are to exact ones: relative root mean square errors. */
TEST(accuracy)
{
    static const double most[] = {[LAFS_PRECISION_BF16] = 3e-3, [LAFS_PRECISION_BF16X3] = 8e-6};
    static const double least[] = {[LAFS_PRECISION_BF16] = 1.5e-3, [LAFS_PRECISION_BF16X3] = 1e-6};
    enum { M = 48, N = 48, K = 768 };
    lafs_rng_init(&rng, lafs_rng_key(7, LAFS_RNG_TEST, 0, 0, 0));
    float *a = floats(M * K, 0), *b = floats(N * K, 0), *zero = floats(M * N, 0);
    for (int i = 0; i < M * K; i++) a[i] = (float)lafs_rng_uniform(&rng, -1, 1);
    for (int i = 0; i < N * K; i++) b[i] = (float)lafs_rng_uniform(&rng, -1, 1);
    for (enum lafs_precision precision = LAFS_PRECISION_BF16; precision <= LAFS_PRECISION_BF16X3; precision++) {
        struct product p = {.m = M, .n = N, .k = K, .ldc = N, .c = zero};
        p.a = (struct lafs_gemm_source){a, K, 1};
        p.b = (struct lafs_gemm_source){b, K, 1};
        float *c = run(&p, lafs_gemm_set_for(precision));
        double error = 0, size = 0;
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double want = 0;
                for (int q = 0; q < K; q++) want += (double)a[i * K + q] * b[j * K + q];
                error += (c[i * N + j] - want) * (c[i * N + j] - want);
                size += want * want;
            }
        double rms = sqrt(error / size);
        printf("note %s: relative rms error %.2g\n", precision == LAFS_PRECISION_BF16 ? "bf16" : "bf16x3", rms);
        CHECK(rms < most[precision] && rms > least[precision]);
        free(c);
    }
    free(a);
    free(b);
    free(zero);
}

TEST_MAIN(emulated_tiles_vectors_and_plain_code, real_tiles, emulated_tiles_scan, accuracy)
