#include "tests/test.h"

#include "base/rng.h"
#include "eval/kept.h"
#include "eval/metrics.h"

/* A gallery streams by: what is in a list stays under its names, memory does not grow with the gallery. */
TEST(kept_entries_outlive_their_blocks)
{
    enum { N = 3, DIM = 16, BLOCK = 512, BLOCKS = 60, K = 4 };
    static float q[N * DIM], g[BLOCK * DIM];
    struct lafs_err err = {0};
    struct lafs_backend b;
    struct lafs_search *s;
    struct lafs_kept k = {0};
    struct lafs_rng rng;
    int64_t most = 0;
    lafs_rng_init(&rng, lafs_rng_key(9, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N * DIM; i++) q[i] = (float)lafs_rng_normal(&rng);
    REQUIRE_OK(lafs_normalise_rows(q, N, DIM, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_search_new(&s, &b, NULL, &(struct lafs_search_options){.k = K, .min_score = -1}, q, N, DIM, &err),
               &err);
    for (int64_t block = 0; block < BLOCKS; block++) {
        for (int i = 0; i < BLOCK * DIM; i++) g[i] = (float)lafs_rng_normal(&rng);
        REQUIRE_OK(lafs_normalise_rows(g, BLOCK, DIM, NULL, NULL, &err), &err);
        REQUIRE_OK(lafs_search_add(s, &(struct lafs_search_block){g, BLOCK, NULL, NULL}, &err), &err);
        /* All of the block are kept, as if all had been in a list. */
        for (int64_t i = 0; i < BLOCK; i++) {
            char key[32], name[32];
            snprintf(key, sizeof key, "k%lld", (long long)(block * BLOCK + i));
            snprintf(name, sizeof name, "%s", i % 2 ? key + 1 : "");
            REQUIRE_OK(lafs_kept_add(&k, block * BLOCK + i, key, name, (int32_t)i, &err), &err);
        }
        REQUIRE_OK(lafs_kept_prune(&k, s, &err), &err);
        if (k.count > most) most = k.count;
    }
    CHECK(most < 8192);
    for (int64_t i = 0; i < N; i++) {
        int64_t n;
        const struct lafs_match *m = lafs_search_matches(s, i, &n);
        CHECK_INT(n, K);
        for (int64_t t = 0; t < n; t++) {
            char key[32];
            const struct lafs_kept_entry *e = lafs_kept_find(&k, m[t].entry);
            snprintf(key, sizeof key, "k%lld", (long long)m[t].entry);
            REQUIRE(e);
            CHECK_STR(lafs_kept_key(&k, e), key);
            CHECK_STR(lafs_kept_name(&k, e), m[t].entry % 2 ? key + 1 : "");
            CHECK_INT(e->person, m[t].entry % BLOCK);
        }
    }
    CHECK(lafs_kept_find(&k, BLOCKS * BLOCK) == NULL);
    lafs_search_free(s);
    lafs_kept_release(&k);
    lafs_backend_close(&b);
}

TEST_MAIN(kept_entries_outlive_their_blocks)
