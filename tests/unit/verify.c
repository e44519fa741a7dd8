#include "tests/test.h"

#include "base/mem.h"
#include "eval/verify.h"

static struct lafs_err err;

TEST(people_are_linked_by_genuine_pairs)
{
    const int32_t a[] = {0, 4, 2, 1, 5}, b[] = {3, 3, 5, 2, 1};
    const uint8_t same[] = {1, 1, 1, 0, 1};
    int32_t person[7];
    int64_t people;
    REQUIRE_OK(lafs_people_from_pairs(a, b, same, 5, 7, person, &people, &err), &err);
    CHECK_INT(people, 3); /* 0 3 4, 1 2 5, 6 */
    CHECK(person[0] == 0 && person[3] == 0 && person[4] == 0);
    CHECK(person[1] == 1 && person[2] == 1 && person[5] == 1);
    CHECK(person[6] == 2);
}

TEST(figures_of_forty_pairs)
{
    enum { N = 40 };
    float score[N];
    uint8_t same[N];
    int32_t who[N], fold[N], keep[N];
    for (int i = 0; i < N; i++) {
        same[i] = i % 2;
        score[i] = same[i] ? 0.6f : 0.2f;
        who[i] = i / 2;
        fold[i] = i / 4;
        keep[i] = i >= 4;
    }
    score[0] = INFINITY, score[1] = -INFINITY; /* both sorts of missing pair */
    score[2] = 0.7f, score[3] = 0.1f;          /* and both sorts of error */
    struct lafs_paired p = {score, same, who, who, N, 20};
    double far[] = {0.1, 0.05};
    struct lafs_verify v = {.far = far, .fars = 2};
    struct lafs_figures f;
    REQUIRE_OK(lafs_verify_figures(&v, &p, fold, 10, NULL, &f, NULL, &err), &err);
    CHECK(f.pairs == 40 && f.genuines == 20 && f.impostors == 20);
    CHECK_NEAR(f.accuracy, 36.0 / 40, 1e-12);
    CHECK_NEAR(f.fmr, 0.1, 1e-12);
    CHECK_NEAR(f.fnmr, 0.1, 1e-12);
    CHECK_NEAR(f.tar[0], 0.9, 1e-12);
    CHECK_NEAR(f.tar_far[0], 0.1, 1e-12);
    CHECK_NEAR(f.tar[1], 0, 1e-12);
    CHECK(isnan(f.accuracy_low) && isnan(f.fnmr_at[0].low));
    v.apply = 1;
    v.threshold = 0.5;
    v.bootstrap = 200;
    v.seed = 1;
    struct lafs_roc roc;
    REQUIRE_OK(lafs_verify_figures(&v, &p, NULL, 0, NULL, &f, &roc, &err), &err);
    CHECK_NEAR(f.accuracy, 0.9, 1e-12);
    CHECK(f.accuracy_low < 0.9 && f.accuracy_high > 0.9);
    CHECK(f.fnmr_at[0].low <= 0.1 && f.fnmr_at[0].high >= 0.1);
    CHECK(roc.n > 2);
    lafs_roc_release(&roc);
    struct lafs_subset s;
    REQUIRE_OK(lafs_subset_take(&s, &p, fold, keep, 1, &err), &err);
    CHECK_INT(s.paired.n, 36);
    REQUIRE_OK(lafs_verify_figures(&v, &s.paired, NULL, 0, NULL, &f, NULL, &err), &err);
    CHECK_NEAR(f.accuracy, 1, 1e-12);
    CHECK_NEAR(f.auc, 1, 1e-12);
    v.apply = 0; /* the first fold is empty now: no folds, but figures */
    REQUIRE_OK(lafs_verify_figures(&v, &s.paired, s.fold, 10, NULL, &f, NULL, &err), &err);
    CHECK(isnan(f.accuracy));
    CHECK_NEAR(f.eer, 0, 1e-12);
    lafs_subset_release(&s);
}

TEST(a_subset_is_of_whole_pairs)
{
    const float score[] = {0.1f, 0.2f, 0.3f};
    const uint8_t same[] = {0, 1, 0};
    const int32_t pa[] = {0, 1, 2}, pb[] = {3, 1, 4}, fold[] = {5, 6, 7}, kind[] = {1, 0, 1};
    const struct lafs_paired p = {score, same, pa, pb, 3, 5};
    struct lafs_subset s;
    REQUIRE_OK(lafs_subset_take(&s, &p, fold, kind, 1, &err), &err);
    CHECK(s.paired.n == 2 && s.paired.people == 5 && s.paired.score[1] == 0.3f && s.paired.same[1] == 0);
    CHECK(s.paired.pa[0] == 0 && s.paired.pb[0] == 3 && s.paired.pa[1] == 2 && s.paired.pb[1] == 4);
    CHECK(s.fold[0] == 5 && s.fold[1] == 7);
    lafs_subset_release(&s);
}

TEST_MAIN(people_are_linked_by_genuine_pairs, figures_of_forty_pairs, a_subset_is_of_whole_pairs)
