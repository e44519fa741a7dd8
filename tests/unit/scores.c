#include "tests/test.h"

#include "base/isa.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"
#include "eval/sort.h"

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

TEST(radix_sort_is_a_sort)
{
    enum { N = 5000 };
    static float x[N], want[N], tmp[N];
    static uint64_t order[N], scratch[N];
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) x[i] = (float)lafs_rng_normal(&r) * (i % 3 ? 1 : 1e-30f);
    x[7] = INFINITY, x[8] = -INFINITY, x[9] = 0, x[10] = -0.0f, x[11] = x[12];
    memcpy(want, x, sizeof x);
    lafs_order_f32(x, N, order, scratch);
    for (int i = 1; i < N; i++) {
        float a = x[order[i - 1]], b = x[order[i]];
        CHECK(a < b || (a == b && order[i - 1] < order[i]));
    }
    qsort(want, N, sizeof *want, by_value);
    lafs_sort_f32(x, tmp, N);
    for (int i = 0; i < N; i++) CHECK(x[i] == want[i]);
}

/* Many rows, so that the order of visits matters, and an odd width. */
enum { ROWS = 300, DIM = 71, PAIRS = 40000 };
static float e[ROWS * DIM], score[PAIRS], again[PAIRS];
static int32_t a[PAIRS], b[PAIRS];

static void make_pairs(void)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(2, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < ROWS * DIM; i++) e[i] = (float)lafs_rng_normal(&r);
    for (int i = 0; i < PAIRS; i++) {
        a[i] = (int32_t)lafs_rng_below(&r, ROWS);
        b[i] = (int32_t)lafs_rng_below(&r, ROWS);
    }
}

/* The sum as metrics.h defines it: every instruction set must give its bits. */
static float dot(const float *x, const float *y)
{
    float s[16] = {0};
    for (int d = 0; d < DIM; d++) s[d % 16] += x[d] * y[d];
    for (int w = 8; w > 0; w /= 2)
        for (int l = 0; l < w; l++) s[l] += s[l + w];
    return s[0] > 1 ? 1 : s[0] < -1 ? -1 : s[0];
}

TEST(pair_scores_are_cosines)
{
    struct lafs_err err = {0};
    make_pairs();
    a[5] = -1;
    b[6] = -1;
    REQUIRE_OK(lafs_normalise_rows(e, ROWS, DIM, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, score, NULL, &err), &err);
    CHECK(isnan(score[5]) && isnan(score[6]));
    for (int i = 7; i < PAIRS; i++) {
        double s = 0;
        for (int d = 0; d < DIM; d++) s += (double)e[a[i] * DIM + d] * e[b[i] * DIM + d];
        CHECK_NEAR(score[i], s, 1e-6);
        CHECK(score[i] == dot(e + a[i] * DIM, e + b[i] * DIM));
    }
    a[0] = ROWS;
    CHECK(lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, score, NULL, &err) == LAFS_USAGE);
}

TEST(pair_scores_do_not_depend_on_order_or_threads)
{
    struct lafs_err err = {0};
    make_pairs();
    REQUIRE_OK(lafs_normalise_rows(e, ROWS, DIM, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, score, NULL, &err), &err);
    struct lafs_pool *pool;
    REQUIRE_OK(lafs_pool_new(&pool, 3, &err), &err);
    REQUIRE_OK(lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, again, pool, &err), &err);
    lafs_pool_free(pool);
    CHECK(memcmp(score, again, sizeof score) == 0);
    for (int i = 0; i < 100; i++) /* one by one: no neighbours, no sorting */
        REQUIRE_OK(lafs_pair_scores(e, ROWS, DIM, a + i, b + i, 1, again + i, NULL, &err), &err);
    CHECK(memcmp(score, again, 100 * sizeof *score) == 0);
}

/* $LAFS_CPU decides which instructions are used, and none of them changes a bit; a name that does not exist is told. */
TEST(pair_scores_heed_the_environment)
{
    static const char *const name[] = {"plain", "avx2", "avx512"};
    struct lafs_err err;
    make_pairs();
    for (int level = 0; level < 3; level++) {
        setenv("LAFS_CPU", name[level], 1);
        lafs_status st = lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, level ? again : score, NULL, &err);
        if (st != LAFS_OK) {
            CHECK(level > 0 && strstr(err.msg, "this machine cannot use"));
            printf("skip pair_scores_heed_the_environment: no %s here\n", name[level]);
            continue;
        }
        CHECK_INT(lafs_isa_level(), level);
        CHECK(!level || !memcmp(score, again, sizeof score));
    }
    setenv("LAFS_CPU", "sse9", 1);
    CHECK_INT(lafs_pair_scores(e, ROWS, DIM, a, b, PAIRS, score, NULL, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "LAFS_CPU: there is no 'sse9'"));
    unsetenv("LAFS_CPU");
}

TEST(normalise_refuses_what_has_no_direction)
{
    struct lafs_err err = {0};
    int64_t bad = -1;
    float norm[2], x[4] = {3, 4, 0, 0};
    CHECK(lafs_normalise_rows(x, 2, 2, norm, &bad, &err) == LAFS_FAILED);
    CHECK_INT(bad, 1);
    CHECK_NEAR(norm[0], 5, 1e-6);
    float y[4] = {1, 1, NAN, 0};
    CHECK(lafs_normalise_rows(y, 2, 2, NULL, &bad, &err) == LAFS_FAILED);
    CHECK_STR(err.msg, "a value is not a finite number");
}

TEST(sorting_scores_checks_them)
{
    struct lafs_err err = {0};
    struct lafs_scores s;
    CHECK(lafs_scores_sort(&s, (float[]){0.5f, NAN}, (uint8_t[]){1, 0}, 2, &err) == LAFS_FAILED);
    CHECK(lafs_scores_sort(&s, (float[]){0.5f, 0.4f}, (uint8_t[]){1, 1}, 2, &err) == LAFS_FAILED);
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){0.5f, 0.4f, 0.1f}, (uint8_t[]){1, 0, 1}, 3, &err), &err);
    CHECK(s.genuines == 2 && s.impostors == 1 && s.genuine[0] == 0.1f && s.genuine[1] == 0.5f);
    lafs_scores_release(&s);
}

/* Rows are taken several at a time; a row's bits are its own, and the bad one is told. */
TEST(rows_are_normalised_alone)
{
    enum { N = 19, D = 37 };
    float all[N * D], one[N * D], norm[N];
    struct lafs_err err;
    struct lafs_rng r;
    lafs_rng_init(&r, 3);
    for (int i = 0; i < N * D; i++) all[i] = one[i] = (float)lafs_rng_normal(&r);
    REQUIRE_OK(lafs_normalise_rows(all, N, D, norm, NULL, &err), &err);
    for (int k = 0; k < N; k++) {
        float alone;
        double sum = 0;
        REQUIRE_OK(lafs_normalise_rows(one + k * D, 1, D, &alone, NULL, &err), &err);
        for (int i = 0; i < D; i++) sum += (double)all[k * D + i] * all[k * D + i];
        CHECK(norm[k] == alone && fabs(sum - 1) < 1e-6);
    }
    CHECK(!memcmp(all, one, sizeof all));
    for (int at = 0; at < N; at += 6) {
        int64_t bad = -1;
        memset(one + at * D, 0, D * sizeof *one);
        CHECK_INT(lafs_normalise_rows(one, N, D, NULL, &bad, &err), LAFS_FAILED);
        CHECK_INT(bad, at);
        CHECK_STR(err.msg, "all values are zero");
        one[at * D + 3] = NAN;
        CHECK_INT(lafs_normalise_rows(one, N, D, NULL, &bad, &err), LAFS_FAILED);
        CHECK_INT(bad, at);
        memcpy(one, all, sizeof one);
    }
}

TEST_MAIN(rows_are_normalised_alone, radix_sort_is_a_sort, pair_scores_are_cosines,
          pair_scores_do_not_depend_on_order_or_threads, pair_scores_heed_the_environment,
          normalise_refuses_what_has_no_direction, sorting_scores_checks_them)
