#include "tests/test.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "eval/dots.h"
#include "eval/metrics.h"
#include "eval/search.h"

/* A search and what it must find: everything is compared with everything, in the order of the gallery. */
struct world {
    int64_t n, m, dim, k;
    float *q, *g, min_score;
    int32_t *own_q, *own_g, *person;
    int per_person;
    struct lafs_match *want;
    int64_t *wants;
};

static int by_score(const void *a, const void *b)
{
    const struct lafs_match *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->entry < y->entry ? -1 : 1;
}

static void brute_force(struct world *w)
{
    lafs_dots_fn *dots = lafs_dots();
    struct lafs_match *all = malloc((size_t)w->m * sizeof *all);
    if (!all) abort();
    for (int64_t i = 0; i < w->n; i++) {
        struct lafs_match *list = w->want + i * w->k;
        int64_t n = 0, t;
        for (int64_t j = 0; j < w->m; j++) {
            const float *y[4] = {w->g + j * w->dim, w->g, w->g, w->g};
            float out[4];
            dots(w->q + i * w->dim, (const float *const *)y, w->dim, out);
            float s = lafs_cosine(out[0]);
            if (s < w->min_score || (w->own_q[i] >= 0 && w->own_q[i] == w->own_g[j])) continue;
            all[n++] = (struct lafs_match){j, s, w->person[j]};
        }
        qsort(all, (size_t)n, sizeof *all, by_score);
        w->wants[i] = 0;
        for (int64_t j = 0; j < n && w->wants[i] < w->k; j++) {
            for (t = 0; t < w->wants[i]; t++)
                if (w->per_person && all[j].person >= 0 && list[t].person == all[j].person) break;
            if (t == w->wants[i]) list[w->wants[i]++] = all[j];
        }
    }
    free(all);
}

static void search(const struct world *w, const char *device, struct lafs_pool *pool, int64_t block, int64_t *looked)
{
    struct lafs_err err = {0};
    struct lafs_backend b;
    struct lafs_search *s;
    REQUIRE_OK(lafs_backend_open(&b, device, pool, NULL, &err), &err);
    struct lafs_search_options opt = {.k = w->k, .min_score = w->min_score, .own = w->own_q,
                                      .per_person = w->per_person};
    REQUIRE_OK(lafs_search_new(&s, &b, pool, &opt, w->q, w->n, w->dim, &err), &err);
    for (int64_t from = 0; from < w->m; from += block) {
        struct lafs_search_block part = {w->g + from * w->dim, w->m - from < block ? w->m - from : block,
                                         w->own_g + from, w->person + from};
        REQUIRE_OK(lafs_search_add(s, &part, &err), &err);
    }
    int64_t wrong = 0;
    *looked = lafs_search_looked_at(s);
    for (int64_t i = 0; i < w->n; i++) {
        int64_t count;
        const struct lafs_match *got = lafs_search_matches(s, i, &count), *want = w->want + i * w->k;
        if (count != w->wants[i]) wrong++;
        for (int64_t t = 0; t < count && t < w->wants[i]; t++)
            wrong += got[t].entry != want[t].entry || got[t].score != want[t].score ||
                     got[t].person != want[t].person;
    }
    CHECK_INT(wrong, 0);
    lafs_search_free(s);
    lafs_backend_close(&b);
}

static struct lafs_rng rng;

static void world_new(struct world *w)
{
    w->q = malloc((size_t)(w->n * w->dim) * sizeof(float));
    w->g = malloc((size_t)(w->m * w->dim) * sizeof(float));
    w->own_q = malloc((size_t)w->n * sizeof(int32_t));
    w->own_g = malloc((size_t)w->m * sizeof(int32_t));
    w->person = malloc((size_t)w->m * sizeof(int32_t));
    w->want = malloc((size_t)(w->n * w->k) * sizeof *w->want);
    w->wants = malloc((size_t)w->n * sizeof *w->wants);
    if (!w->q || !w->g || !w->own_q || !w->own_g || !w->person || !w->want || !w->wants) abort();
    for (int64_t i = 0; i < w->n * w->dim; i++) w->q[i] = (float)lafs_rng_normal(&rng);
    for (int64_t i = 0; i < w->m * w->dim; i++) w->g[i] = (float)lafs_rng_normal(&rng);
    for (int64_t i = 0; i < w->n; i++) w->own_q[i] = -1;
    for (int64_t i = 0; i < w->m; i++) w->own_g[i] = w->person[i] = -1;
}

static void world_free(struct world *w)
{
    free(w->q), free(w->g), free(w->own_q), free(w->own_g), free(w->person), free(w->want), free(w->wants);
}

/* Normalises, and finds the same in blocks of several sizes, with and without threads, by hits and by lists of them. */
static void check_world(struct world *w, int64_t *looked)
{
    struct lafs_err err = {0};
    struct lafs_pool *pool;
    REQUIRE_OK(lafs_normalise_rows(w->q, w->n, w->dim, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_normalise_rows(w->g, w->m, w->dim, NULL, NULL, &err), &err);
    brute_force(w);
    REQUIRE_OK(lafs_pool_new(&pool, 3, &err), &err);
    int64_t again;
    search(w, "cpu", NULL, w->m, looked);
    search(w, "cpu", pool, w->m, &again);
    CHECK_INT(again, *looked);
    search(w, "ref", pool, w->m, &again); /* lists its hits */
    CHECK_INT(again, *looked);
    search(w, "cpu", pool, 1 + w->m / 3, &again);
    search(w, "cpu", NULL, 97, &again);
    lafs_pool_free(pool);
    world_free(w);
}

TEST(search_finds_what_comparing_all_finds)
{
    static const int64_t dims[] = {1, 15, 71, 128, 300};
    lafs_rng_init(&rng, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int d = 0; d < 5; d++) {
        struct world w = {.n = 7, .m = 3001, .dim = dims[d], .k = 1 + 4 * d, .min_score = d == 3 ? 0.25f : -1};
        world_new(&w);
        for (int64_t j = 0; j < w.m; j += 3) w.own_g[j] = (int32_t)(j / 3 % 7);
        for (int64_t i = 0; i < 5; i++) w.own_q[i] = (int32_t)i;
        check_world(&w, &(int64_t){0});
    }
    struct world few = {.n = 3, .m = 5, .dim = 40, .k = 9, .min_score = -1}; /* fewer entries than are asked for */
    world_new(&few);
    check_world(&few, &(int64_t){0});
}

/* Rounding to 7 bits cannot tell these apart: equal rows, rows one bit apart, and rows that round badly, with one value
 * that makes the scale coarse. Their order must come out all the same. */
TEST(ties_and_near_ties_are_kept_in_order)
{
    lafs_rng_init(&rng, lafs_rng_key(6, LAFS_RNG_TEST, 0, 0, 0));
    for (int kind = 0; kind < 3; kind++) {
        struct world w = {.n = 5, .m = 2500, .dim = 96, .k = 20, .min_score = -1};
        world_new(&w);
        for (int64_t j = 0; j < w.m; j++) {
            float *g = w.g + j * w.dim;
            if (j % 50 == 0) continue; /* others in between */
            memcpy(g, w.q + j % 5 * w.dim, (size_t)w.dim * sizeof *g);
            if (kind == 1) {
                int64_t at = (int64_t)lafs_rng_below(&rng, (uint64_t)w.dim);
                g[at] = nextafterf(g[at], lafs_rng_below(&rng, 2) ? 10.0f : -10.0f);
            }
            if (kind == 2)
                for (int64_t t = 0; t < w.dim; t++)
                    g[t] = t == j % 7 ? 30 : g[t] * 0.4f + (float)lafs_rng_uniform(&rng, -0.02, 0.02);
        }
        check_world(&w, &(int64_t){0});
    }
}

/* Each person once: many photos of few people, or fewer people than are asked for; one photo in eight is nobody's.
 * Photos of a person are alike and get better towards the probes block by block, so that a person leaves the list,
 * comes back, and rises in it; a third of all are equal rows, of several people. */
TEST(each_person_is_there_once)
{
    static const int64_t people[] = {5, 60, 900};
    lafs_rng_init(&rng, lafs_rng_key(8, LAFS_RNG_TEST, 0, 0, 0));
    for (int kind = 0; kind < 9; kind++) {
        struct world w = {.n = 5, .m = 2600, .dim = 48, .k = kind < 3 ? 1 : 24, .min_score = kind > 5 ? 0.1f : -1,
                          .per_person = 1};
        world_new(&w);
        for (int64_t j = 0; j < w.m; j++) {
            float *g = w.g + j * w.dim, near = 0.6f * (float)(j / 200) / 13;
            const float *q = w.q + j % 5 * w.dim;
            for (int64_t t = 0; t < w.dim; t++) g[t] = near * q[t] + (1 - near) * g[t];
            if (j % 3 == 0) memcpy(g, w.g + (j / 300 * 300 + j % 7 * 3) * w.dim, (size_t)w.dim * sizeof *g);
            w.person[j] = lafs_rng_below(&rng, 8) ? (int32_t)lafs_rng_below(&rng, (uint64_t)people[kind % 3]) : -1;
            w.own_g[j] = (int32_t)(j % 100);
        }
        for (int64_t i = 1; i < w.n; i++) w.own_q[i] = (int32_t)i;
        check_world(&w, &(int64_t){0});
    }
}

/* What rounding to 7 bits loses of a row makes up a cosine of 0.17 (one value at the top of the scale, all others just
 * below half a step): once of the probe, once of the entry. Such an entry is found behind those of 0.1. */
TEST(what_rounding_loses_is_not_missed)
{
    for (int of_entry = 0; of_entry < 2; of_entry++) {
        struct world w = {.n = 1, .m = 400, .dim = 512, .k = 1, .min_score = -1};
        world_new(&w);
        float *lossy = of_entry ? w.g + 399 * w.dim : w.q, *even = of_entry ? w.q : w.g + 399 * w.dim;
        for (int64_t t = 0; t < w.dim; t++) lossy[t] = t ? 0.49f : 63, even[t] = t != 0;
        for (int64_t j = 0; j < 399; j++)
            for (int64_t t = 0; t < w.dim; t++) w.g[j * w.dim + t] = (of_entry ? t < 6 : t == 0) ? 0.1f : 0;
        for (int64_t j = 0; j < 399; j++) w.g[j * w.dim + 1] = 1;
        check_world(&w, &(int64_t){0});
    }
}

/* What the scan is for: few cosines are computed. */
TEST(search_looks_at_few)
{
    lafs_rng_init(&rng, lafs_rng_key(7, LAFS_RNG_TEST, 0, 0, 0));
    struct world w = {.n = 4, .m = 30000, .dim = 128, .k = 5, .min_score = -1};
    world_new(&w);
    int64_t looked = 0;
    check_world(&w, &looked);
    printf("note %lld of %lld cosines computed\n", (long long)looked, (long long)(4 * 30000));
    CHECK(looked < 4 * 30000 / 10);
}

TEST(searches_that_make_no_sense_are_refused)
{
    struct lafs_err err = {0};
    struct lafs_backend b;
    struct lafs_search *s;
    float q[4] = {1, 0, 0, 0};
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &err), &err);
    CHECK(lafs_search_new(&s, &b, NULL, &(struct lafs_search_options){.k = 0}, q, 1, 4, &err) == LAFS_USAGE);
    CHECK(lafs_search_new(&s, &b, NULL, &(struct lafs_search_options){.k = 1001}, q, 1, 4, &err) == LAFS_USAGE);
    CHECK(s == NULL);
    lafs_backend_close(&b);
}

TEST_MAIN(search_finds_what_comparing_all_finds, ties_and_near_ties_are_kept_in_order, each_person_is_there_once,
          what_rounding_loses_is_not_missed, search_looks_at_few,
          searches_that_make_no_sense_are_refused)
