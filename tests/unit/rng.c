#include "tests/test.h"

#include <pthread.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/rng.h"

TEST(philox_known_answers)
{
    /* Known-answer vectors of the Random123 distribution. */
    uint32_t out[4], zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    lafs_philox(0, zero, out);
    CHECK(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
    lafs_philox(~0ull, ones, out);
    CHECK(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd);
}

TEST(fnv_known_answers)
{
    CHECK(lafs_fnv1a("", 0) == 0xcbf29ce484222325u);
    CHECK(lafs_fnv1a("foobar", 6) == 0x85944171f73967e8u);
}

TEST(moments)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    double s = 0, s2 = 0, b = 0, b2 = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double v = lafs_rng_normal(&r), w = lafs_rng_beta(&r, 0.2, 0.2);
        s += v, s2 += v * v, b += w, b2 += w * w;
    }
    CHECK_NEAR(s / N, 0, 0.01);
    CHECK_NEAR(s2 / N, 1, 0.015);
    CHECK_NEAR(b / N, 0.5, 0.005);
    CHECK_NEAR(b2 / N - 0.25, 1.0 / 4 / 1.4, 0.005); /* variance of Beta(a,a) = 1/(4(2a+1)) */
}

TEST(beta_of_any_parameters)
{
    static const double of[][2] = {{0.01, 0.01}, {1, 1}, {1.5, 1.5}, {100, 100}, {0.5, 4}, {8, 2}};
    for (int k = 0; k < 6; k++) {
        struct lafs_rng r;
        lafs_rng_init(&r, lafs_rng_key(2, LAFS_RNG_TEST, 0, (uint64_t)k, 0));
        enum { N = 50000 };
        const double a = of[k][0], b = of[k][1], mean = a / (a + b), var = mean * (1 - mean) / (a + b + 1);
        double s = 0, s2 = 0;
        for (int i = 0; i < N; i++) {
            double v = lafs_rng_beta(&r, a, b) - mean;
            s += v, s2 += v * v;
        }
        CHECK_NEAR(s / N, 0, 5 * sqrt(var / N));
        CHECK_NEAR(s2 / N, var, 0.05 * var);
    }
}

static void mark(void *arg, int64_t i, int worker)
{
    (void)worker;
    ((int *)arg)[i]++;
}

TEST(pool_covers_each_index_once)
{
    struct lafs_pool *p;
    struct lafs_err e;
    REQUIRE_OK(lafs_pool_new(&p, 4, &e), &e);
    for (int round = 0; round < 200; round++) {
        int hit[97] = {0};
        lafs_pool_for(p, 97, mark, hit);
        for (int i = 0; i < 97; i++) CHECK(hit[i] == 1);
    }
    lafs_pool_free(p);
}

/* A tile that runs a loop of another pool, then one of its own pool's: that one runs on its thread, as its worker. */
struct nested {
    struct lafs_pool *mine, *other;
    int hit[8], elsewhere, worker;
    pthread_t thread;
};

static void inner_tile(void *arg, int64_t i, int worker)
{
    struct nested *n = arg;
    usleep(1000); /* others would have the time to help */
    n->elsewhere += worker != n->worker || !pthread_equal(pthread_self(), n->thread);
    n->hit[i]++;
}

static void outer_tile(void *arg, int64_t i, int worker)
{
    struct nested *n = arg;
    int hit[8] = {0};
    if (i != 0) return;
    n->worker = worker;
    n->thread = pthread_self();
    lafs_pool_for(n->other, 8, mark, hit);
    lafs_pool_for(n->mine, 8, inner_tile, n);
}

TEST(pools_nest)
{
    struct nested n = {0};
    struct lafs_err e;
    REQUIRE_OK(lafs_pool_new(&n.mine, 4, &e), &e);
    REQUIRE_OK(lafs_pool_new(&n.other, 2, &e), &e);
    lafs_pool_for(n.mine, 2, outer_tile, &n);
    for (int i = 0; i < 8; i++) CHECK_INT(n.hit[i], 1);
    CHECK_INT(n.elsewhere, 0);
    lafs_pool_free(n.other);
    lafs_pool_free(n.mine);
}

/* A stream does not begin again after 2^32 blocks. */
TEST(long_streams)
{
    struct lafs_rng a, b;
    lafs_rng_init(&a, 5);
    lafs_rng_init(&b, 5);
    lafs_rng_seek(&b, (uint64_t)1 << 32);
    CHECK(lafs_rng_u32(&a) != lafs_rng_u32(&b));
}

TEST_MAIN(philox_known_answers, fnv_known_answers, moments, long_streams, beta_of_any_parameters,
          pool_covers_each_index_once, pools_nest)
