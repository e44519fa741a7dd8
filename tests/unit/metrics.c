#include "tests/test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "eval/metrics.h"

/* Scores in steps of 1/50, so that there are many ties. */
enum { N = 700 };
static float score[N];
static uint8_t same[N];
static int32_t fold[N];

static void make(void)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(3, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < N; i++) {
        same[i] = lafs_rng_below(&r, 3) == 0;
        score[i] = (float)(floor((lafs_rng_normal(&r) * 0.2 + (same[i] ? 0.4 : 0.1)) * 50) / 50);
        score[i] = score[i] > 1 ? 1 : score[i] < -1 ? -1 : score[i];
    }
}

static void count_at(double t, int64_t *fp, int64_t *tp)
{
    *fp = *tp = 0;
    for (int i = 0; i < N; i++)
        if (score[i] >= t) ++*(same[i] ? tp : fp);
}

TEST(roc_agrees_with_counting)
{
    struct lafs_err err = {0};
    struct lafs_scores s;
    struct lafs_roc roc;
    make();
    REQUIRE_OK(lafs_scores_sort(&s, score, same, N, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK(roc.point[0].fp == 0 && roc.point[0].tp == 0);
    CHECK(roc.point[roc.n - 1].fp == s.impostors && roc.point[roc.n - 1].tp == s.genuines);
    for (int64_t k = 1; k < roc.n; k++) {
        int64_t fp, tp;
        count_at(roc.point[k].threshold, &fp, &tp);
        CHECK_INT(roc.point[k].fp, fp);
        CHECK_INT(roc.point[k].tp, tp);
        struct lafs_operating o = lafs_rates_at(&s, roc.point[k].threshold);
        CHECK_NEAR(o.fmr, (double)fp / s.impostors, 1e-12);
        CHECK_NEAR(o.fnmr, 1 - (double)tp / s.genuines, 1e-12);
    }
    for (int64_t k = 2; k < roc.n; k++) { /* corners only */
        const struct lafs_roc_point *p = roc.point + k;
        CHECK((p[-1].fp - p[-2].fp) * (p[0].tp - p[-1].tp) != (p[-1].tp - p[-2].tp) * (p[0].fp - p[-1].fp));
    }
    double order = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            if (same[i] && !same[j]) order += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
    CHECK_NEAR(lafs_roc_auc(&roc), order / s.genuines / s.impostors, 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
}

TEST(operating_points)
{
    struct lafs_err err = {0};
    struct lafs_scores s;
    make();
    REQUIRE_OK(lafs_scores_sort(&s, score, same, N, &err), &err);
    const double far[] = {0, 0.01, 0.1, 0.5, 1};
    for (int k = 0; k < 5; k++) {
        struct lafs_operating o = lafs_operate(&s, far[k]);
        CHECK(o.fmr <= far[k] + 1e-9);
        double best = 1; /* no threshold within the target does better */
        for (int i = 0; i < N; i++) {
            struct lafs_operating other = lafs_rates_at(&s, score[i]);
            if (other.fmr <= far[k] + 1e-9 && other.fnmr < best) best = other.fnmr;
        }
        CHECK_NEAR(o.fnmr, best, 1e-12);
    }
    lafs_scores_release(&s);
    /* 1 of 100 impostors is exactly 1 %: it may pass. */
    float x[101];
    uint8_t y[101] = {0};
    for (int i = 0; i < 101; i++) x[i] = (float)i / 100;
    x[100] = 0.985f;
    y[100] = 1;
    REQUIRE_OK(lafs_scores_sort(&s, x, y, 101, &err), &err);
    CHECK_NEAR(lafs_operate(&s, 0.01).fmr, 0.01, 1e-12);
    CHECK_NEAR(lafs_operate(&s, 0.01).fnmr, 0, 1e-12);
    CHECK_NEAR(lafs_operate(&s, 0.009).fnmr, 1, 1e-12);
    CHECK_NEAR(lafs_operate(&s, 0.29).fmr, 0.29, 1e-12); /* 29 of 100, though 0.29 * 100 is less than 29 */
    lafs_scores_release(&s);
}

TEST(equal_error_rate)
{
    struct lafs_err err = {0};
    struct lafs_scores s;
    struct lafs_roc roc;
    double t;
    /* One of four wrong on both sides. */
    const float x[8] = {0.9f, 0.8f, 0.7f, 0.2f, 0.75f, 0.3f, 0.1f, 0};
    const uint8_t y[8] = {1, 1, 1, 1, 0, 0, 0, 0};
    REQUIRE_OK(lafs_scores_sort(&s, x, y, 8, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK_NEAR(lafs_roc_eer(&roc, &t), 0.25, 1e-12);
    CHECK_NEAR(lafs_rates_at(&s, t).fmr, 0.25, 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
    /* The rates cross between 0.9 (FMR 1/4, FNMR 1/2) and 0 (FMR 1, FNMR 0), nearer to the first. */
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){0.9f, 0, 0.9f, 0, 0, 0}, (uint8_t[]){1, 1, 0, 0, 0, 0}, 6, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK_NEAR(lafs_roc_eer(&roc, &t), 0.4, 1e-12);
    CHECK_NEAR(t, 0.9, 1e-6);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
    /* Perfect: 0. All equal: half. */
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){1, 0}, (uint8_t[]){1, 0}, 2, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK_NEAR(lafs_roc_eer(&roc, NULL), 0, 1e-12);
    CHECK_NEAR(lafs_roc_auc(&roc), 1, 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){1, 1}, (uint8_t[]){1, 0}, 2, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    CHECK_NEAR(lafs_roc_eer(&roc, NULL), 0.5, 1e-12);
    CHECK_NEAR(lafs_roc_auc(&roc), 0.5, 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
}

TEST(nearest_corner_and_its_ties)
{
    struct lafs_roc_point p[] = {{INFINITY, 0, 0}, {0.9, 0, 5}, {0.8, 10, 5}, {0.7, 10, 7}, {0.6, 20, 8}, {0, 100, 10}};
    struct lafs_roc r = {p, 6, 10, 100};
    CHECK_INT(lafs_roc_nearest(&r, 0.01).tp, 5);  /* rate 0, the highest there */
    CHECK_INT(lafs_roc_nearest(&r, 0.11).tp, 7);  /* equal rate: the highest TAR */
    CHECK_INT(lafs_roc_nearest(&r, 0.15).tp, 8);  /* equal distance: the larger rate */
    CHECK_INT(lafs_roc_nearest(&r, 1).tp, 10);
}

TEST(fitted_threshold)
{
    struct lafs_err err = {0};
    struct lafs_scores s;
    double t, acc;
    make();
    score[0] = INFINITY, same[0] = 0; /* missing photos do not count */
    score[1] = -INFINITY, same[1] = 1;
    REQUIRE_OK(lafs_scores_sort(&s, score, same, N, &err), &err);
    REQUIRE_OK(lafs_fit_threshold(&s, &t, &acc, &err), &err);
    int best = 0, got = 0;
    for (int k = -100; k <= 101; k++) {
        int right = 0;
        for (int i = 2; i < N; i++) right += (score[i] >= k / 50.0 - 0.01) == same[i];
        best = right > best ? right : best;
    }
    for (int i = 2; i < N; i++) got += (score[i] >= t) == same[i];
    CHECK_INT(got, best);
    CHECK_NEAR(acc, (double)best / (N - 2), 1e-12);
    lafs_scores_release(&s);
    /* Half-way to the next lower score; the highest among equals; ends. */
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){0.75f, 0.25f, 0.5f, 0}, (uint8_t[]){1, 1, 0, 0}, 4, &err), &err);
    REQUIRE_OK(lafs_fit_threshold(&s, &t, NULL, &err), &err);
    CHECK_NEAR(t, 0.625, 1e-9);
    lafs_scores_release(&s);
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){0, 0.5f, 0.75f}, (uint8_t[]){1, 0, 0}, 3, &err), &err);
    REQUIRE_OK(lafs_fit_threshold(&s, &t, &acc, &err), &err);
    CHECK(t > 0.75 && t < 0.7501);
    CHECK_NEAR(acc, 2.0 / 3, 1e-12);
    lafs_scores_release(&s);
    REQUIRE_OK(lafs_scores_sort(&s, (float[]){0.25f, 0.5f, INFINITY}, (uint8_t[]){1, 1, 0}, 3, &err), &err);
    CHECK(lafs_fit_threshold(&s, &t, NULL, &err) == LAFS_USAGE);
    lafs_scores_release(&s);
}

TEST(contiguous_folds)
{
    lafs_folds_contiguous(fold, 23, 10);
    int size[10] = {0};
    for (int i = 0; i < 23; i++) {
        CHECK(i == 0 || fold[i] >= fold[i - 1]);
        size[fold[i]]++;
    }
    for (int f = 0; f < 10; f++) CHECK_INT(size[f], f < 3 ? 3 : 2);
}

TEST(folds_agree_with_counting)
{
    struct lafs_err err = {0};
    struct lafs_kfold k;
    double acc[7], threshold[7], mean = 0;
    make();
    lafs_folds_contiguous(fold, N, 7);
    REQUIRE_OK(lafs_kfold_accuracy(score, same, fold, N, 7, &k, acc, threshold, NULL, NULL, &err), &err);
    for (int f = 0; f < 7; f++) {
        int best = -1, at = 0, right = 0, all = 0;
        for (int i = 0; i < LAFS_GRID; i++) {
            int r = 0;
            for (int j = 0; j < N; j++) r += fold[j] != f && (2 - 2 * (double)score[j] < i * 0.01) == same[j];
            if (r > best) best = r, at = i;
        }
        for (int j = 0; j < N; j++)
            if (fold[j] == f) right += (2 - 2 * (double)score[j] < at * 0.01) == same[j], all++;
        CHECK_NEAR(threshold[f], at * 0.01, 1e-12);
        CHECK_NEAR(acc[f], (double)right / all, 1e-12);
        mean += acc[f] / 7;
    }
    CHECK_NEAR(k.accuracy, mean, 1e-12);
    CHECK(lafs_kfold_accuracy(score, same, fold, N, 8, &k, NULL, NULL, NULL, NULL, &err) ==
          LAFS_USAGE); /* an empty fold */
}

TEST(missing_pairs_are_wrong_everywhere)
{
    struct lafs_err err = {0};
    struct lafs_kfold k;
    enum { M = 40 };
    float x[M];
    uint8_t y[M];
    int32_t f[M];
    for (int i = 0; i < M; i++) y[i] = i % 2, x[i] = y[i] ? 0.9f : 0.1f;
    x[0] = INFINITY;
    x[1] = -INFINITY;
    lafs_folds_contiguous(f, M, 10);
    REQUIRE_OK(lafs_kfold_accuracy(x, y, f, M, 10, &k, NULL, NULL, NULL, NULL, &err), &err);
    CHECK_NEAR(k.accuracy, 38.0 / 40, 1e-12);
    struct lafs_scores s;
    REQUIRE_OK(lafs_scores_sort(&s, x, y, M, &err), &err);
    struct lafs_operating o = lafs_rates_at(&s, 0.5);
    CHECK_NEAR(o.fmr, 1.0 / 20, 1e-12);
    CHECK_NEAR(o.fnmr, 1.0 / 20, 1e-12);
    CHECK_NEAR(lafs_operate(&s, 0.01).fnmr, 1, 1e-12);
    lafs_scores_release(&s);
}

TEST(val_that_is_never_reached)
{
    struct lafs_err err = {0};
    struct lafs_val v;
    float x[20];
    uint8_t y[20];
    int32_t f[20];
    for (int i = 0; i < 20; i++) y[i] = i % 2, x[i] = y[i] ? 0.9f : -INFINITY; /* no impostor ever passes */
    lafs_folds_contiguous(f, 20, 10);
    REQUIRE_OK(lafs_val_at_far(x, y, f, 20, 10, 1e-2, &v, &err), &err);
    CHECK_NEAR(v.val, 0, 0);
    CHECK_NEAR(v.far, 0, 0);
}

/* One of ten impostors passes at distances above 0.4, two above 1: at a rate of just 0.1 the last threshold is 1. */
TEST(val_at_a_rate_that_is_met_exactly)
{
    struct lafs_err err = {0};
    struct lafs_val v;
    enum { M = 22 };
    float x[M];
    uint8_t y[M];
    int32_t f[M];
    for (int i = 0; i < M; i++) {
        static const float other[10] = {0.8f, 0.5f, -0.5f, -0.5f, -0.5f, -0.5f, -0.5f, -0.5f, -0.5f, -0.5f};
        y[i] = i % 11 == 10;
        x[i] = y[i] ? 0.6f : other[i % 11];
    }
    lafs_folds_contiguous(f, M, 2);
    REQUIRE_OK(lafs_val_at_far(x, y, f, M, 2, 0.1, &v, &err), &err);
    CHECK_NEAR(v.val, 1, 0);
    CHECK_NEAR(v.far, 0.1, 1e-12);
}

TEST(templates_by_hand)
{
    struct lafs_err err = {0};
    struct lafs_templates t;
    /* template 9: media 1 = images 0, 1 and a missing one, media 2 = image 2; template 4: image 3, missing. */
    const float e[] = {2, 0, 0, 4, 0, 1}, w[] = {1, 0.5f, 3, 1, 1};
    const int64_t row[] = {0, 1, 2, -1, -1}, id[] = {9, 9, 9, 4, 9}, media[] = {1, 1, 2, 1, 1};
    REQUIRE_OK(lafs_templates_build(&t, e, 2, row, w, id, media, 5, 0, &err), &err);
    CHECK(t.count == 2 && t.id[0] == 4 && t.id[1] == 9);
    CHECK(t.e[0] == 0 && t.e[1] == 0);
    CHECK_NEAR(t.e[2], 1 / sqrt(17), 1e-6); /* (2+0)/2 = 1; (0+2)/2 + 3 = 4 */
    CHECK_NEAR(t.e[3], 4 / sqrt(17), 1e-6);
    lafs_templates_release(&t);
    REQUIRE_OK(lafs_templates_build(&t, e, 2, row, NULL, id, media, 5, 1, &err), &err);
    CHECK_NEAR(t.e[2], 0.5 / sqrt(2.5), 1e-6); /* unit vectors: (1/2, 1/2) + (0, 1) */
    CHECK_NEAR(t.e[3], 1.5 / sqrt(2.5), 1e-6);
    lafs_templates_release(&t);
}

TEST_MAIN(roc_agrees_with_counting, operating_points, equal_error_rate, nearest_corner_and_its_ties, fitted_threshold,
          contiguous_folds, folds_agree_with_counting, missing_pairs_are_wrong_everywhere, val_that_is_never_reached,
          val_at_a_rate_that_is_met_exactly, templates_by_hand)
