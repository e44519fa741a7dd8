#include "tests/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/compare.h"

enum { PEOPLE = 50, N = 1000, MODELS = 3 };
static float score[MODELS][N];
static uint8_t same[N];
static int32_t pa[N], pb[N];
static struct lafs_answers model[MODELS];
static struct lafs_err err;

/* How hard a pair is, is what all models share; model m tells the two kinds apart by 0.3 + 0.1 m. */
static struct lafs_paired make(double shared, double own)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(7, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) {
        same[i] = i % 2;
        pa[i] = (int32_t)lafs_rng_below(&r, PEOPLE);
        pb[i] = same[i] ? pa[i] : (int32_t)((pa[i] + 1 + lafs_rng_below(&r, PEOPLE - 1)) % PEOPLE);
        double hard = lafs_rng_normal(&r) * shared;
        for (int m = 0; m < MODELS; m++)
            score[m][i] = (float)(hard + lafs_rng_normal(&r) * own + (same[i] ? 0.3 + 0.1 * m : 0));
    }
    for (int m = 0; m < MODELS; m++)
        model[m] = (struct lafs_answers){.n = N, .score = score[m], .threshold = 0.15 + 0.05 * m};
    return (struct lafs_paired){NULL, same, pa, pb, N, PEOPLE};
}

static double accuracy(int m)
{
    int right = 0;
    for (int i = 0; i < N; i++) right += (score[m][i] >= model[m].threshold) == same[i];
    return (double)right / N;
}

static double auc(int m) /* by its definition */
{
    double right = 0, all = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) {
            if (!same[i] || same[k]) continue;
            all++;
            right += score[m][i] > score[m][k] ? 1 : score[m][i] == score[m][k] ? 0.5 : 0;
        }
    return right / all;
}

TEST(values_are_those_of_the_models)
{
    struct lafs_comparison c;
    struct lafs_paired p = make(0.2, 0.1);
    for (int i = 0; i < N; i++) score[2][i] = roundf(score[2][i] * 20) / 20; /* ties */
    score[0][0] = INFINITY; /* a missing photo */
    REQUIRE_OK(lafs_compare(&p, model + 2, 1, model, 2, 0, 1, NULL, &c, &err), &err);
    CHECK_NEAR(c.accuracy.of, accuracy(2), 1e-12);
    CHECK_NEAR(c.accuracy.against, (accuracy(0) + accuracy(1)) / 2, 1e-12);
    CHECK_NEAR(c.accuracy.by.value, c.accuracy.of - c.accuracy.against, 1e-12);
    CHECK_NEAR(c.auc.of, auc(2), 1e-12);
    CHECK_NEAR(c.auc.against, (auc(0) + auc(1)) / 2, 1e-12);
    CHECK(isnan(c.auc.by.low) && isnan(c.auc.by.high) && isnan(c.auc.better)); /* no replicates */
}

/* What pairing is for: of two models that fail at the same pairs, a small difference is certain; of two that fail each
 * where it will, it is not. */
TEST(what_is_hard_for_all_cancels_out)
{
    struct lafs_comparison alike, apart;
    struct lafs_paired p = make(0.2, 0.01);
    REQUIRE_OK(lafs_compare(&p, model + 1, 1, model, 1, 1000, 1, NULL, &alike, &err), &err);
    CHECK(alike.auc.by.low > 0 && alike.auc.better == 1);
    CHECK(alike.auc.by.low < alike.auc.by.value && alike.auc.by.value < alike.auc.by.high);
    p = make(0.01, 0.2);
    REQUIRE_OK(lafs_compare(&p, model + 1, 1, model, 1, 1000, 1, NULL, &apart, &err), &err);
    CHECK(apart.auc.by.std > 1.3 * alike.auc.by.std);
    CHECK(apart.accuracy.by.std > 1.3 * alike.accuracy.by.std);
}

/* The same model on both sides: no difference, and no side is better. The two sides' runs are drawn apart, so with two
 * runs there is one in single replicates, but none on average. */
TEST(no_difference_is_none)
{
    struct lafs_comparison c;
    struct lafs_paired p = make(0.1, 0.1);
    REQUIRE_OK(lafs_compare(&p, model, 1, model, 1, 200, 1, NULL, &c, &err), &err);
    CHECK(c.accuracy.by.value == 0 && c.accuracy.by.low == 0 && c.accuracy.by.high == 0 && c.accuracy.better == 0.5);
    CHECK(c.auc.by.low == 0 && c.auc.by.high == 0 && c.auc.better == 0.5);
    REQUIRE_OK(lafs_compare(&p, model, 2, model, 2, 2000, 1, NULL, &c, &err), &err);
    CHECK(c.auc.by.value == 0 && c.auc.by.low < 0 && c.auc.by.high > 0);
    CHECK_NEAR(c.auc.better, 0.5, 0.05);
    /* A side draws one of its two runs: half the difference is the deviation of each side. */
    CHECK_NEAR(c.auc.by.std, sqrt(0.5) * (auc(1) - auc(0)), 0.1 * (auc(1) - auc(0)));
    CHECK(c.groups[0] == 2 && c.groups[1] == 2 && c.level[0] == -1 && c.level[1] == -1);
}

/* -- runs within runs: one person, so that seeds alone are drawn; a run's AUC is the share of same pairs above the one
 * pair of two -- */

enum { OUTER = 3, INNER = 2, RUNS = OUTER * INNER, STEPS = 200 };
static float of_run[RUNS + 1][STEPS + 1];
static struct lafs_answers run[RUNS + 1];

/* Run r with that AUC, rounded to STEPS; the last has 0.5. Seeds: outer, inner. */
static struct lafs_paired nest(const double *figure)
{
    static uint8_t is_same[STEPS + 1];
    static int32_t person[STEPS + 1];
    for (int r = 0; r <= RUNS; r++) {
        double above = r < RUNS ? round(figure[r] * STEPS) : STEPS / 2;
        for (int i = 0; i < STEPS; i++) of_run[r][i] = i < above ? 0.5f : -0.5f;
        of_run[r][STEPS] = 0;
        run[r] = (struct lafs_answers){.n = STEPS + 1,
                                       .score = of_run[r],
                                       .seeds = 2,
                                       .seed = {{"outer", 7 + r / INNER}, {"inner", r % INNER}}};
    }
    memset(is_same, 1, STEPS);
    return (struct lafs_paired){NULL, is_same, person, person, STEPS + 1, 1};
}

TEST(runs_that_share_a_seed_are_drawn_together)
{
    /* Outer seeds differ by 0.1, inner ones by 0.01: means 0.6, 0.7, 0.8, whose mean varies by 0.01 / 3. */
    static const double figure[RUNS] = {0.595, 0.605, 0.695, 0.705, 0.795, 0.805};
    struct lafs_comparison c, apart;
    struct lafs_paired p = nest(figure);
    REQUIRE_OK(lafs_compare(&p, run, RUNS, run + RUNS, 1, 20000, 1, NULL, &c, &err), &err);
    CHECK_NEAR(c.auc.by.value, 0.2, 1e-9);
    CHECK_NEAR(c.auc.by.std, 0.1 / sqrt(3), 0.001);
    CHECK_NEAR(c.auc.by.low, 0.1, 1e-9); /* the worst outer seed twice: 1 in 9 */
    CHECK_NEAR(c.auc.by.high, 0.3, 1e-9);
    CHECK(c.groups[0] == OUTER && c.level[0] == 0 && c.groups[1] == 1 && c.level[1] == -1);
    for (int r = 0; r < RUNS; r++) run[r].seeds = 0; /* as if they were six */
    REQUIRE_OK(lafs_compare(&p, run, RUNS, run + RUNS, 1, 20000, 1, NULL, &apart, &err), &err);
    CHECK_NEAR(apart.auc.by.std, sqrt(0.04015 / 5 / 6), 0.001);
    CHECK(apart.auc.by.std < 0.7 * c.auc.by.std);
    CHECK(apart.auc.by.high - apart.auc.by.low < 0.8 * (c.auc.by.high - c.auc.by.low));
    /* One outer seed: the inner ones are what is drawn. */
    nest(figure);
    REQUIRE_OK(lafs_compare(&p, run, INNER, run + RUNS, 1, 20000, 1, NULL, &c, &err), &err);
    CHECK(c.groups[0] == INNER && c.level[0] == 1);
    CHECK_NEAR(c.auc.by.std, 0.005, 0.0005);
    /* An outer seed weighs the same however many inner ones it has. */
    REQUIRE_OK(lafs_compare(&p, run + 1, 3, run + RUNS, 1, 0, 1, NULL, &c, &err), &err);
    CHECK_NEAR(c.auc.of, (0.605 + 0.7) / 2, 1e-9);
}

/* Over many experiments with outer and inner seeds of known deviations, the stated variance is that of the mean; where
 * runs are taken for independent it is far too small. */
TEST(stated_variance_is_the_true_one)
{
    enum { EXPERIMENTS = 300 };
    const double outer = 0.08, inner = 0.04, truth = (outer * outer + inner * inner / INNER) / OUTER;
    double nested = 0, independent = 0;
    struct lafs_comparison c;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int e = 0; e < EXPERIMENTS; e++) {
        double figure[RUNS];
        for (int o = 0; o < OUTER; o++) {
            double shared = 0.5 + outer * lafs_rng_normal(&r);
            for (int i = 0; i < INNER; i++) figure[o * INNER + i] = shared + inner * lafs_rng_normal(&r);
        }
        struct lafs_paired p = nest(figure);
        REQUIRE_OK(lafs_compare(&p, run, RUNS, run + RUNS, 1, 60, (uint64_t)e, NULL, &c, &err), &err);
        nested += c.auc.by.std * c.auc.by.std / EXPERIMENTS;
        for (int i = 0; i < RUNS; i++) run[i].seeds = 0;
        REQUIRE_OK(lafs_compare(&p, run, RUNS, run + RUNS, 1, 60, (uint64_t)e, NULL, &c, &err), &err);
        independent += c.auc.by.std * c.auc.by.std / EXPERIMENTS;
    }
    CHECK_NEAR(nested / truth, 1, 0.15);
    CHECK(independent < 0.6 * truth);
}

/* What runs do differently with each person, and nothing else: of one run it is counted once, of several twice. */
TEST(differences_with_people_are_not_counted_thrice)
{
    enum { EXPERIMENTS = 200, HERE = 60, MOST = 3 };
    static float right[MOST + 1][HERE];
    static uint8_t is_same[HERE];
    static int32_t person[HERE];
    struct lafs_answers a[MOST + 1];
    struct lafs_comparison c;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(6, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < HERE; i++) is_same[i] = 1, person[i] = i, right[MOST][i] = 1;
    for (int m = 0; m <= MOST; m++) a[m] = (struct lafs_answers){.n = HERE, .score = right[m], .threshold = 0};
    struct lafs_paired p = {NULL, is_same, person, person, HERE, HERE};
    for (int runs = 1; runs <= MOST; runs++) {
        double stated = 0;
        for (int e = 0; e < EXPERIMENTS; e++) {
            for (int m = 0; m < runs; m++)
                for (int i = 0; i < HERE; i++) right[m][i] = lafs_rng_below(&r, 2) ? 0.5f : -0.5f;
            REQUIRE_OK(lafs_compare(&p, a, runs, a + MOST, 1, 100, (uint64_t)e, NULL, &c, &err), &err);
            stated += c.accuracy.by.std * c.accuracy.by.std / EXPERIMENTS;
        }
        CHECK_NEAR(stated / (0.25 / (HERE * runs)), runs > 1 ? 2 : 1, 0.2);
    }
}

TEST(runs_whose_seeds_make_no_sense_are_refused)
{
    static const double figure[RUNS] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
    struct lafs_comparison c;
    struct lafs_paired p = nest(figure);
    run[2].seed[0].value = 7, run[2].seed[1].value = 1;
    CHECK_INT(lafs_compare(&p, run, RUNS, run + RUNS, 1, 10, 1, NULL, &c, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "runs 2 and 3 of a side are of the same seeds"));
    run[2].seed[1].name[0] = 'x';
    CHECK_INT(lafs_compare(&p, run + RUNS, 1, run, RUNS, 10, 1, NULL, &c, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "runs 1 and 3 of a side do not state the same kinds"));
    REQUIRE_OK(lafs_compare(&p, run + RUNS, 1, run, RUNS, 0, 1, NULL, &c, &err), &err);
    CHECK_NEAR(c.auc.against, 0.5, 1e-9);
    run[2].seeds = 1;
    CHECK_INT(lafs_compare(&p, run, RUNS, run + RUNS, 1, 10, 1, NULL, &c, &err), LAFS_USAGE);
}

TEST(seed_decides_threads_do_not)
{
    struct lafs_comparison a, b, c;
    struct lafs_paired p = make(0.1, 0.1);
    struct lafs_pool *pool;
    REQUIRE_OK(lafs_pool_new(&pool, 3, &err), &err);
    REQUIRE_OK(lafs_compare(&p, model, 2, model + 2, 1, 100, 1, NULL, &a, &err), &err);
    REQUIRE_OK(lafs_compare(&p, model, 2, model + 2, 1, 100, 1, pool, &b, &err), &err);
    REQUIRE_OK(lafs_compare(&p, model, 2, model + 2, 1, 100, 2, pool, &c, &err), &err);
    lafs_pool_free(pool);
    CHECK(!memcmp(&a, &b, sizeof a));
    CHECK(a.auc.by.std != c.auc.by.std);
}

TEST(what_cannot_be_compared_is_refused)
{
    struct lafs_comparison c;
    struct lafs_paired p = make(0.1, 0.1);
    CHECK_INT(lafs_compare(&p, model, 0, model, 1, 10, 1, NULL, &c, &err), LAFS_USAGE);
    model[1].n--;
    CHECK_INT(lafs_compare(&p, model, 2, model, 1, 10, 1, NULL, &c, &err), LAFS_USAGE);
    model[1].n++;
    score[1][3] = NAN;
    CHECK_INT(lafs_compare(&p, model, 1, model + 1, 1, 10, 1, NULL, &c, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "pair 4"));
}

static lafs_status parse(const char *text, struct lafs_answers *a)
{
    return lafs_answers_parse(a, text, strlen(text), &err);
}
#define DIGEST "\"pairs_sha256\": \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""

TEST(files_of_answers)
{
    struct lafs_answers a;
    REQUIRE_OK(parse("{\"x\": 1, \"threshold\": 0.25, " DIGEST ", \"scores\": [0.5, null, -1]}", &a), &err);
    CHECK_INT(a.n, 3);
    CHECK(a.score[0] == 0.5f && isnan(a.score[1]) && a.score[2] == -1 && a.threshold == 0.25);
    CHECK(!strncmp(a.pairs, "0123456789abcdef0", 17) && strlen(a.pairs) == 64);
    CHECK_INT(a.seeds, 0);
    lafs_answers_release(&a);
    REQUIRE_OK(parse("{\"seeds\": {\"b\": 12, \"a\": -1}, \"threshold\": 0, " DIGEST ", \"scores\": [0]}", &a), &err);
    CHECK_INT(a.seeds, 2);
    CHECK_STR(a.seed[0].name, "b");
    CHECK(a.seed[0].value == 12 && a.seed[1].value == -1);
    lafs_answers_release(&a);
#define SEEDS(text) "{\"threshold\": 0, " DIGEST ", \"scores\": [0], \"seeds\": " text "}"
    const struct {
        const char *text, *says;
    } bad[] = {{"[1]", "no JSON object"},
               {SEEDS("[1]"), "1 to 4"},
               {SEEDS("{}"), "1 to 4"},
               {SEEDS("{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1}"), "1 to 4"},
               {SEEDS("{\"a\": 0.5}"), "its seed 'a'"},
               {SEEDS("{\"a\": \"1\"}"), "its seed 'a'"},
               {SEEDS("{\"abcdefghijklmnopqrstuvwx\": 1}"), "its seed 'abcdefghijklmnopqrstuvwx'"},
               {"{\"threshold\": 0, " DIGEST "}", "--scores"},
               {"{\"threshold\": 0, " DIGEST ", \"scores\": []}", "--scores"},
               {"{\"threshold\": 0, " DIGEST ", \"scores\": 7}", "--scores"},
               {"{\"threshold\": 0, " DIGEST ", \"scores\": [0, 1.5]}", "score 2 "},
               {"{\"threshold\": 0, " DIGEST ", \"scores\": [\"0\"]}", "score 1 "},
               {"{\"threshold\": null, " DIGEST ", \"scores\": [0]}", "no threshold"},
               {"{\"threshold\": 0, \"pairs_sha256\": \"abc\", \"scores\": [0]}", "which pairs"},
               {"{\"threshold\": 0, \"scores\": [0]}", "which pairs"},
               {"{\"threshold\": 0", "byte"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(parse(bad[i].text, &a), LAFS_FAILED);
        if (!strstr(err.msg, bad[i].says)) printf("%s: %s\n", bad[i].text, err.msg);
        CHECK(strstr(err.msg, bad[i].says) && !a.score);
    }
}

TEST_MAIN(values_are_those_of_the_models, what_is_hard_for_all_cancels_out, no_difference_is_none,
          runs_that_share_a_seed_are_drawn_together, stated_variance_is_the_true_one,
          differences_with_people_are_not_counted_thrice, runs_whose_seeds_make_no_sense_are_refused,
          seed_decides_threads_do_not, what_cannot_be_compared_is_refused, files_of_answers)
