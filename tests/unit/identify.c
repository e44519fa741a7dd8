#include "tests/test.h"

#include <math.h>

#include "base/rng.h"
#include "eval/identify.h"

static const double fpir[] = {0.25, 0.5};

TEST(rates_of_a_small_search)
{
    struct lafs_err err = {0};
    struct lafs_identified r;
    const struct lafs_identify v = {.fpir = fpir, .fpirs = 2, .apply = 1, .threshold = 0.5};
    /* Four probes of enrolled people, four of others. */
    const struct lafs_found f[] = {{0, 1, 1, 0.9f}, {1, 1, 1, 0.6f}, {2, 1, 3, 0.8f}, {3, 1, 0, -INFINITY},
                                   {4, 0, 0, 0.7f}, {5, 0, 0, 0.6f}, {6, 0, 0, 0.6f}, {7, 0, 0, 0.1f}};
    REQUIRE_OK(lafs_identify_figures(&v, f, 8, 8, NULL, &r, &err), &err);
    CHECK(r.probes == 8 && r.mated == 4 && r.others == 4);
    CHECK(r.rank[0].value == 0.5 && r.rank[1].value == 0.75 && r.rank[2].value == 0.75);
    /* A quarter of the others: 0.7 may pass, both of 0.6 would be too many, so that a hit at 0.6 is none. */
    CHECK(r.threshold[0] == (double)nextafterf(0.6f, 1) && r.met[0] == 0.25 && r.tpir[0].value == 0.25);
    /* Half of them: still not both. */
    CHECK(r.threshold[1] == r.threshold[0] && r.met[1] == 0.25);
    CHECK(r.applied_tpir.value == 0.5 && r.applied_fpir == 0.75);
    CHECK(isnan(r.rank[0].low));
}

/* Probes of others that found nothing ring no alarm, whatever may pass. */
TEST(nothing_found_is_no_alarm)
{
    struct lafs_err err = {0};
    struct lafs_identified r;
    const struct lafs_identify v = {.fpir = (double[]){0.5, 1}, .fpirs = 2};
    const struct lafs_found f[] = {{0, 1, 1, 0.9f}, {1, 0, 0, 0.5f}, {2, 0, 0, -INFINITY}};
    REQUIRE_OK(lafs_identify_figures(&v, f, 3, 3, NULL, &r, &err), &err);
    CHECK(r.threshold[0] == -INFINITY && r.met[0] == 0.5);
    CHECK(r.threshold[1] == -INFINITY && r.met[1] == 0.5);
}

TEST(nothing_to_tell_is_nan)
{
    struct lafs_err err = {0};
    struct lafs_identified r;
    const struct lafs_identify v = {.fpir = fpir, .fpirs = 2, .bootstrap = 10};
    const struct lafs_found mated[] = {{0, 1, 1, 0.9f}}, other[] = {{0, 0, 0, 0.9f}};
    REQUIRE_OK(lafs_identify_figures(&v, mated, 1, 1, NULL, &r, &err), &err);
    CHECK(r.rank[0].value == 1 && isnan(r.tpir[0].value) && isnan(r.tpir[0].low) && r.rank[0].low == 1);
    REQUIRE_OK(lafs_identify_figures(&v, other, 1, 1, NULL, &r, &err), &err);
    CHECK(isnan(r.rank[0].value) && isnan(r.tpir[0].value));
    CHECK(lafs_identify_figures(&v, &(struct lafs_found){1, 1, 1, 0}, 1, 1, NULL, &r, &err) == LAFS_USAGE);
    CHECK(lafs_identify_figures(&v, &(struct lafs_found){0, 1, 1, NAN}, 1, 1, NULL, &r, &err) == LAFS_USAGE);
}

/* Intervals hold the figure, are the same on threads, and of the width that sampling people gives. */
TEST(intervals_over_people)
{
    enum { N = 600, PEOPLE = 200 };
    static struct lafs_found f[N];
    struct lafs_err err = {0};
    struct lafs_identified one, three;
    struct lafs_rng rng;
    struct lafs_pool *pool;
    const struct lafs_identify v = {.fpir = fpir, .fpirs = 2, .bootstrap = 500, .seed = 3};
    lafs_rng_init(&rng, lafs_rng_key(8, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) {
        int person = i % PEOPLE, mated = person < PEOPLE / 2;
        f[i] = (struct lafs_found){person, mated, mated && lafs_rng_uniform(&rng, 0, 1) < 0.7 ? 1 : 0,
                                   (float)lafs_rng_uniform(&rng, 0, 1)};
    }
    REQUIRE_OK(lafs_identify_figures(&v, f, N, PEOPLE, NULL, &one, &err), &err);
    REQUIRE_OK(lafs_pool_new(&pool, 3, &err), &err);
    REQUIRE_OK(lafs_identify_figures(&v, f, N, PEOPLE, pool, &three, &err), &err);
    lafs_pool_free(pool);
    CHECK(!memcmp(&one.rank, &three.rank, sizeof one.rank));
    CHECK(one.rank[0].low < one.rank[0].value && one.rank[0].value < one.rank[0].high);
    CHECK(one.tpir[1].low < one.tpir[1].value && one.tpir[1].value < one.tpir[1].high);
    CHECK_NEAR(one.rank[0].std, sqrt(0.7 * 0.3 / 300), 0.012); /* 300 probes of enrolled people */
}

TEST_MAIN(rates_of_a_small_search, nothing_found_is_no_alarm, nothing_to_tell_is_nan, intervals_over_people)
