#include "tests/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/boot.h"

enum { PEOPLE = 60, N = 900 };
static float score[N];
static uint8_t same[N];
static int32_t pa[N], pb[N];

static struct lafs_paired make(void)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(4, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) {
        same[i] = i % 2;
        pa[i] = (int32_t)lafs_rng_below(&r, PEOPLE);
        pb[i] = same[i] ? pa[i] : (int32_t)((pa[i] + 1 + lafs_rng_below(&r, PEOPLE - 1)) % PEOPLE);
        score[i] = (float)(lafs_rng_normal(&r) * 0.2 + (same[i] ? 0.5 : 0));
    }
    return (struct lafs_paired){score, same, pa, pb, N, PEOPLE};
}

TEST(intervals_hold_the_value)
{
    struct lafs_err err = {0};
    struct lafs_paired p = make();
    struct lafs_interval acc, fnmr[2];
    int right = 0;
    for (int i = 0; i < N; i++) right += (score[i] >= 0.25) == same[i];
    REQUIRE_OK(lafs_bootstrap_accuracy(&p, 0.25, 500, 1, NULL, &acc, &err), &err);
    CHECK_NEAR(acc.value, (double)right / N, 1e-12);
    CHECK(acc.low < acc.value && acc.value < acc.high && acc.high - acc.low < 0.1);
    REQUIRE_OK(lafs_bootstrap_fnmr(&p, (double[]){0.01, 0.1}, 2, 0, 500, 1, NULL, fnmr, &err), &err);
    struct lafs_scores s;
    REQUIRE_OK(lafs_scores_sort(&s, score, same, N, &err), &err);
    CHECK_NEAR(fnmr[0].value, lafs_operate(&s, 0.01).fnmr, 1e-12);
    CHECK_NEAR(fnmr[1].value, lafs_operate(&s, 0.1).fnmr, 1e-12);
    CHECK(fnmr[0].low <= fnmr[0].value && fnmr[0].value <= fnmr[0].high);
    CHECK(fnmr[1].value < fnmr[0].value);
    lafs_scores_release(&s);
}

/* A person drawn twice is there with as many genuine pairs, and meets another as often as both were drawn. */
TEST(how_often_a_pair_counts)
{
    const struct lafs_paired p = {(float[]){0, 0}, (uint8_t[]){1, 0}, (int32_t[]){0, 0}, (int32_t[]){0, 1}, 2, 2};
    const int32_t drawn[] = {2, 3};
    CHECK_INT(lafs_boot_times(&p, 0, drawn), 2);
    CHECK_INT(lafs_boot_times(&p, 1, drawn), 6);
}

/* 1 - TAR at the corner nearest to fmr, each pair written out as often as its people were drawn. */
static void check_written_out(const struct lafs_paired *p, const int32_t *weight, double fmr, double got)
{
    static float many[100 * N];
    static uint8_t kind[100 * N];
    struct lafs_err err = {0};
    struct lafs_scores s;
    struct lafs_roc roc;
    int n = 0;
    for (int i = 0; i < N; i++)
        for (int64_t c = lafs_boot_times(p, i, weight); c > 0 && n < 100 * N; c--, n++)
            many[n] = score[i], kind[n] = same[i];
    REQUIRE_OK(lafs_scores_sort(&s, many, kind, n, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK_NEAR(got, 1 - (double)lafs_roc_nearest(&roc, fmr).tp / (double)s.genuines, 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
}

/* For templates, FNMR and its interval are 1 - TAR at the same corner. */
TEST(the_nearest_corner_as_for_templates)
{
    static const double fmr[] = {1e-6, 0.002, 0.01, 0.0333, 0.1, 0.5};
    enum { RATES = sizeof fmr / sizeof *fmr };
    struct lafs_err err = {0};
    struct lafs_paired p = make();
    struct lafs_interval v[RATES];
    int32_t once[PEOPLE], drawn[PEOPLE];
    for (int i = 0; i < PEOPLE; i++) once[i] = 1;
    for (int coarse = 0; coarse < 2; coarse++) { /* coarse: many equal scores, and corners far apart */
        for (int i = 0; coarse && i < N; i++) score[i] = rintf(score[i] * 8) / 8;
        if (coarse) score[0] = INFINITY, score[1] = -INFINITY;
        for (uint64_t seed = 1; seed <= 20; seed++) {
            REQUIRE_OK(lafs_bootstrap_fnmr(&p, fmr, RATES, 1, 1, seed, NULL, v, &err), &err);
            lafs_boot_draw(drawn, PEOPLE, seed, 0);
            for (int j = 0; j < RATES; j++) {
                check_written_out(&p, once, fmr[j], v[j].value);
                check_written_out(&p, drawn, fmr[j], v[j].low);
            }
        }
    }
}

TEST(seed_decides_threads_do_not)
{
    struct lafs_err err = {0};
    struct lafs_paired p = make();
    struct lafs_interval a, b, c;
    struct lafs_pool *pool;
    REQUIRE_OK(lafs_pool_new(&pool, 3, &err), &err);
    REQUIRE_OK(lafs_bootstrap_accuracy(&p, 0.25, 200, 1, NULL, &a, &err), &err);
    REQUIRE_OK(lafs_bootstrap_accuracy(&p, 0.25, 200, 1, pool, &b, &err), &err);
    REQUIRE_OK(lafs_bootstrap_accuracy(&p, 0.25, 200, 2, pool, &c, &err), &err);
    lafs_pool_free(pool);
    CHECK(a.low == b.low && a.high == b.high && a.std == b.std);
    CHECK(a.std != c.std);
}

/* The deviation over people must be that of people, not of pairs: 60 people of 15 identical pairs each are 60 draws. */
TEST(people_not_pairs_are_drawn)
{
    struct lafs_err err = {0};
    struct lafs_interval v;
    for (int i = 0; i < N; i++) {
        pa[i] = pb[i] = i % PEOPLE;
        same[i] = 1;
        score[i] = pa[i] < 20 ? 0 : 1; /* a third of the people always fails */
    }
    struct lafs_paired p = {score, same, pa, pb, N, PEOPLE};
    REQUIRE_OK(lafs_bootstrap_accuracy(&p, 0.5, 2000, 1, NULL, &v, &err), &err);
    CHECK_NEAR(v.std, sqrt(1.0 / 3 * 2 / 3 / PEOPLE), 0.004);
    CHECK_NEAR(v.low, 2.0 / 3 - 1.96 * v.std, 0.02);
    CHECK_NEAR(v.high, 2.0 / 3 + 1.96 * v.std, 0.02);
}

/* The interval is that of the others, if these are half at least. */
TEST(replicates_without_a_value_are_left_out)
{
    struct lafs_interval v;
    double half[] = {NAN, 3, NAN, 1, 2, NAN}, less[] = {NAN, 3, NAN, 1, NAN};
    lafs_boot_interval(half, 6, &v);
    CHECK_NEAR(v.low, 1.05, 1e-12);
    CHECK_NEAR(v.high, 2.95, 1e-12);
    CHECK_NEAR(v.std, sqrt(2.0 / 3), 1e-12);
    lafs_boot_interval(less, 5, &v);
    CHECK(isnan(v.low) && isnan(v.high) && isnan(v.std));
}

/* 29 of 100 impostors are 29 %, though 0.29 * 100 is less than 29. */
TEST(a_rate_that_is_met_exactly)
{
    enum { M = 101 };
    struct lafs_err err = {0};
    struct lafs_interval v[2];
    float x[M];
    uint8_t y[M] = {0};
    int32_t who[M], other[M];
    for (int i = 0; i < M; i++) x[i] = (float)i / M, who[i] = i, other[i] = i + 1;
    x[M - 1] = 70.5f / M; /* below 29 of them */
    y[M - 1] = 1;
    struct lafs_paired p = {x, y, who, other, M, M + 1};
    REQUIRE_OK(lafs_bootstrap_fnmr(&p, (double[]){0.29, 0.28}, 2, 0, 1, 1, NULL, v, &err), &err);
    CHECK(v[0].value == 0 && v[1].value == 1);
}

TEST(nothing_to_draw_from_gives_no_interval)
{
    struct lafs_err err = {0};
    struct lafs_interval v;
    struct lafs_paired p = {(float[]){1, 1}, (uint8_t[]){1, 1}, (int32_t[]){0, 1}, (int32_t[]){0, 1}, 2, 2};
    REQUIRE_OK(lafs_bootstrap_fnmr(&p, (double[]){0.1}, 1, 0, 50, 1, NULL, &v, &err), &err);
    CHECK(isnan(v.value) && isnan(v.low) && isnan(v.high));
    p.pa = (int32_t[]){0, 2};
    CHECK(lafs_bootstrap_fnmr(&p, (double[]){0.1}, 1, 0, 50, 1, NULL, &v, &err) == LAFS_USAGE);
}

TEST_MAIN(intervals_hold_the_value, how_often_a_pair_counts, the_nearest_corner_as_for_templates,
          seed_decides_threads_do_not, people_not_pairs_are_drawn, replicates_without_a_value_are_left_out, a_rate_that_is_met_exactly,
          nothing_to_draw_from_gives_no_interval)
