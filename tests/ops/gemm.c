/* The matrix product and the elementary functions under the ops of the CPU. */
#include "tests/test.h"

#include "base/pool.h"
#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"
#include "tests/ops/levels.h"

static struct lafs_rng rng;

static float *random_floats(int64_t n)
{
    float *p = malloc((size_t)(n + 1) * sizeof *p);
    if (!p) abort();
    for (int64_t i = 0; i < n; i++) p[i] = (float)lafs_rng_uniform(&rng, -1, 1);
    return p;
}
static int64_t below(int64_t lo, int64_t hi) { return lo + (int64_t)lafs_rng_below(&rng, (uint64_t)(hi - lo + 1)); }

struct product {
    int ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    int add;
    float *a, *b, *c;
};

static struct product draw_product(int big)
{
    struct product p = {.ta = (int)below(0, 1), .tb = (int)below(0, 1)};
    p.m = below(1, big ? 300 : 40);
    p.n = below(1, big ? 600 : 70);
    p.k = below(1, big ? 700 : 40);
    p.lda = (p.ta ? p.m : p.k) + below(0, 5);
    p.ldb = (p.tb ? p.k : p.n) + below(0, 5);
    p.ldc = p.n + below(0, 5);
    p.add = (int)below(0, 1);
    p.a = random_floats((p.ta ? p.k : p.m) * p.lda);
    p.b = random_floats((p.tb ? p.n : p.k) * p.ldb);
    p.c = random_floats(p.m * p.ldc);
    return p;
}
static void release(struct product *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
}
static void run(const struct product *p, float *c)
{
    memcpy(c, p->c, (size_t)(p->m * p->ldc) * sizeof *c);
    lafs_cpu_gemm(p->ta, p->tb, p->m, p->n, p->k, p->a, p->lda, p->b, p->ldb, p->add, c, p->ldc);
}

static void check_product(const struct product *p, const float *c, const char *what)
{
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->ldc; j++) {
            double want = 0;
            for (int64_t q = 0; q < p->k && j < p->n; q++)
                want += (double)(p->ta ? p->a[q * p->lda + i] : p->a[i * p->lda + q]) *
                        (p->tb ? p->b[j * p->ldb + q] : p->b[q * p->ldb + j]);
            if (j >= p->n || p->add) want += p->c[i * p->ldc + j];
            if (!(fabs(c[i * p->ldc + j] - want) <= (j < p->n ? 1e-5 * (1 + sqrt((double)p->k)) : 0))) {
                FAIL_("%s: %lld x %lld x %lld, trans %d %d: element %lld %lld is %.8g, not %.8g", what, (long long)p->m,
                      (long long)p->n, (long long)p->k, p->ta, p->tb, (long long)i, (long long)j, c[i * p->ldc + j],
                      want);
                return;
            }
        }
}

TEST(products)
{
    levels_missing("products", LAFS_ISA_AVX512);
    lafs_rng_init(&rng, lafs_rng_key(3, LAFS_RNG_TEST, 0, 0, 0));
    for (int round = 0; round < 60; round++) {
        struct product p = draw_product(round % 10 == 0);
        size_t bytes = (size_t)(p.m * p.ldc) * sizeof(float);
        float *c = malloc(bytes), *narrow = malloc(bytes);
        REQUIRE(c && narrow);
        for (int level = LAFS_ISA_PLAIN; level <= LAFS_ISA_AVX512; level++) {
            if (!level_use(level)) continue;
            run(&p, c);
            check_product(&p, c, level_name[level]);
            if (level == LAFS_ISA_AVX2) memcpy(narrow, c, bytes);
            if (level == LAFS_ISA_AVX512) CHECK(!memcmp(narrow, c, bytes));
        }
        level_free();
        free(c);
        free(narrow);
        release(&p);
    }
}

/* What is not added to is not read: it may be NaN. */
TEST(without_add_c_is_not_read)
{
    float a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, 0, 2, 1, 0, 1}, c[4] = {NAN, NAN, NAN, NAN};
    lafs_cpu_gemm(0, 0, 2, 2, 3, a, 3, b, 2, 0, c, 2);
    CHECK(c[0] == 5 && c[1] == 5 && c[2] == 14 && c[3] == 11);
    lafs_cpu_gemm(0, 0, 2, 2, 0, a, 3, b, 2, 0, c, 2); /* the empty sum */
    CHECK(c[0] == 0 && c[3] == 0);
    struct lafs_backend one;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&one, "cpu", NULL, NULL, &e), &e);
    struct lafs_matmul p = {.m = 2, .n = 2, .k = 3, .a = a, .lda = 3, .b = b, .ldb = 2, .c = c, .ldc = 2};
    for (p.k = 3; p.k >= 0; p.k -= 3) {
        for (int i = 0; i < 4; i++) c[i] = NAN;
        lafs_cpu_matmul(one.dev, &p);
        for (int i = 0; i < 4; i++) CHECK(c[i] == (p.k ? (float[]){5, 5, 14, 11}[i] : 0));
    }
    p.k = 0, p.add = 1, c[1] = 7;
    lafs_cpu_matmul(one.dev, &p);
    CHECK(c[0] == 0 && c[1] == 7);
    lafs_backend_close(&one);
}

/* A row has the same bits wherever it stands, among however many, in gemm and in matmul, on any number of threads. */
TEST(rows_do_not_see_their_neighbours)
{
    enum { M = 231, N = 531, K_ = 613 };
    struct lafs_pool *pool;
    struct lafs_backend one, four;
    struct lafs_err e;
    REQUIRE_OK(lafs_pool_new(&pool, 4, &e), &e);
    REQUIRE_OK(lafs_backend_open(&one, "cpu", NULL, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&four, "cpu", pool, NULL, &e), &e);
    float *a = random_floats(M * K_), *b = random_floats(N * K_), *c = random_floats(M * N), *d = random_floats(M * N);
    lafs_cpu_gemm(0, 1, M, N, K_, a, K_, b, K_, 0, c, N);
    struct lafs_matmul p = {
        .transb = 1, .m = M, .n = N, .k = K_, .a = a, .lda = K_, .b = b, .ldb = K_, .c = d, .ldc = N};
    lafs_cpu_matmul(one.dev, &p);
    CHECK(!memcmp(c, d, sizeof(float) * M * N));
    memset(d, 0, sizeof(float) * M * N);
    lafs_cpu_matmul(four.dev, &p);
    CHECK(!memcmp(c, d, sizeof(float) * M * N));
    for (int round = 0; round < 30; round++) {
        int64_t first = below(0, M - 1), rows = below(1, M - first), left = below(0, N - 1), cols = below(1, N - left);
        lafs_cpu_gemm(0, 1, rows, cols, K_, a + first * K_, K_, b + left * K_, K_, 0, d, cols);
        for (int64_t i = 0; i < rows; i++)
            CHECK(!memcmp(d + i * cols, c + (first + i) * N + left, (size_t)cols * sizeof *d));
    }
    free(a), free(b), free(c), free(d);
    lafs_backend_close(&one);
    lafs_backend_close(&four);
    lafs_pool_free(pool);
}

/* Large products go through several chunks of rows, columns and the sum, and may add to what is there. */
static void check_large(struct lafs_backend *b1, int64_t m, int64_t n, int64_t k, int add)
{
    float *a = random_floats(m * k), *b = random_floats(n * k), *c = random_floats(m * n);
    float *d = malloc(sizeof(float) * (size_t)(m * n));
    REQUIRE(d);
    memcpy(d, c, sizeof(float) * (size_t)(m * n));
    struct lafs_matmul p = {
        .transb = 1, .m = m, .n = n, .k = k, .a = a, .lda = k, .b = b, .ldb = k, .add = add, .c = d, .ldc = n};
    lafs_cpu_matmul(b1->dev, &p);
    lafs_cpu_gemm(0, 1, m, n, k, a, k, b, k, add, c, n);
    CHECK(!memcmp(c, d, sizeof(float) * (size_t)(m * n)));
    free(a), free(b), free(c), free(d);
}

/* In bf16: each small part as if it were alone. */
static void check_parts(struct lafs_backend *b1, enum lafs_precision precision, int64_t m, int64_t n, int64_t k)
{
    enum { ROWS = 9, COLS = 40 };
    float *a = random_floats(m * k), *b = random_floats(n * k), *c = random_floats(m * n), d[ROWS * COLS];
    struct lafs_matmul p = {.precision = precision, .transb = 1, .m = m, .n = n, .k = k, .a = a, .lda = k, .b = b,
                            .ldb = k, .c = c, .ldc = n};
    lafs_cpu_matmul(b1->dev, &p);
    for (int t = 0; t < 12; t++) {
        int64_t i = t * 37 % (m - ROWS), j = t * 611 % (n - COLS);
        struct lafs_matmul q = {.precision = precision, .transb = 1, .m = ROWS, .n = COLS, .k = k, .a = a + i * k,
                                .lda = k, .b = b + j * k, .ldb = k, .c = d, .ldc = COLS};
        lafs_cpu_matmul(b1->dev, &q);
        for (int r = 0; r < ROWS; r++) CHECK(!memcmp(d + r * COLS, c + (i + r) * n + j, COLS * sizeof *d));
    }
    free(a), free(b), free(c);
}

TEST(large_products)
{
    struct lafs_backend b1;
    struct lafs_err e;
    REQUIRE_OK(lafs_backend_open(&b1, "cpu", NULL, NULL, &e), &e);
    check_large(&b1, 300, 500, 5000, 1);
    check_large(&b1, 1100, 40, 2500, 0);
    check_large(&b1, 40, 2500, 1200, 1);
    check_parts(&b1, LAFS_PRECISION_BF16, 300, 500, 2900);
    check_parts(&b1, LAFS_PRECISION_BF16X3, 100, 3000, 400);
    lafs_backend_close(&b1);
}

TEST(elementary_functions)
{
    double off_exp = 0, off_gelu = 0, off_slope = 0, off_sigmoid = 0;
    for (int i = -4000000; i <= 4000000; i++) {
        float x = (float)i * 2e-6f; /* -8..8 */
        double t = x, phi = 0.5 * erfc(-t * M_SQRT1_2), density = exp(-0.5 * t * t) * 0.3989422804014327;
        off_exp = fmax(off_exp, fabs(lafs_vec_exp(x) / exp(t) - 1));
        off_gelu = fmax(off_gelu, fabs(lafs_vec_gelu(x) - t * phi));
        off_slope = fmax(off_slope, fabs(lafs_vec_gelu_slope(x) - (phi + t * density)));
        off_sigmoid = fmax(off_sigmoid, fabs(lafs_vec_sigmoid(x) - 1 / (1 + exp(-t))));
    }
    fprintf(stderr, "largest errors: exp %.2g (relative), gelu %.2g, its slope %.2g, sigmoid %.2g\n", off_exp, off_gelu,
            off_slope, off_sigmoid);
    CHECK(off_exp < 2.5e-7);
    CHECK(off_gelu < 5e-7);
    CHECK(off_slope < 5e-7);
    CHECK(off_sigmoid < 2.5e-7);
    for (float x = -87; x < 88; x += 0.0371f) CHECK(fabs(lafs_vec_exp(x) / exp((double)x) - 1) < 2.5e-7);
    CHECK(lafs_vec_exp(-1000) < 2e-38f && lafs_vec_exp(1000) > 2e38f && isnan(lafs_vec_exp(NAN)));
    CHECK(isnan(lafs_vec_gelu(NAN)) && isnan(lafs_vec_gelu_slope(NAN)));
    CHECK(lafs_vec_gelu(50) == 50 && fabsf(lafs_vec_gelu(-50)) < 1e-30f && lafs_vec_gelu(0) == 0);
}

TEST_MAIN(products, without_add_c_is_not_read, rows_do_not_see_their_neighbours, large_products, elementary_functions)
