#include "tests/golden/golden.h"

#include "base/mem.h"
#include "eval/metrics.h"

enum { PAIRS = 600, FOLDS = 10, DIM = 64 };

static struct lafs_st *g;
static float score[PAIRS];
static uint8_t same[PAIRS];
static int32_t fold[PAIRS];

static const double *f64(const char *name)
{
    const struct lafs_st_tensor *t = lafs_st_find(g, name);
    return t ? t->data : NULL;
}

static int load(void)
{
    struct lafs_err err = {0};
    static float e[2 * PAIRS * DIM];
    int32_t a[PAIRS], b[PAIRS];
    if (g) return 1;
    g = golden_open("verification");
    if (!g) return 0;
    const struct lafs_st_tensor *t = lafs_st_find(g, "issame");
    if (!t || lafs_st_read_f32(g, "embeddings", (int64_t[]){2 * PAIRS, DIM}, 2, e, &err) != LAFS_OK) return 0;
    memcpy(same, t->data, PAIRS);
    for (int i = 0; i < PAIRS; i++) a[i] = 2 * i, b[i] = 2 * i + 1;
    lafs_folds_contiguous(fold, PAIRS, FOLDS);
    return lafs_normalise_rows(e, 2 * PAIRS, DIM, NULL, NULL, &err) == LAFS_OK &&
           lafs_pair_scores(e, 2 * PAIRS, DIM, a, b, PAIRS, score, NULL, &err) == LAFS_OK;
}

TEST(folds)
{
    struct lafs_err err = {0};
    REQUIRE(load());
    struct lafs_kfold k;
    double acc[FOLDS], threshold[FOLDS], tpr[LAFS_GRID], fpr[LAFS_GRID], mean = 0;
    REQUIRE_OK(lafs_kfold_accuracy(score, same, fold, PAIRS, FOLDS, &k, acc, threshold, tpr, fpr, &err), &err);
    const double *want_acc = f64("fold_accuracy"), *want_t = f64("best_thresholds"), *want_tpr = f64("tpr"),
                 *want_fpr = f64("fpr");
    REQUIRE(want_acc && want_t && want_tpr && want_fpr);
    for (int f = 0; f < FOLDS; f++) {
        CHECK_NEAR(acc[f], want_acc[f], 1e-12);
        CHECK_NEAR(threshold[f], want_t[f], 1e-12);
        mean += want_acc[f] / FOLDS;
    }
    CHECK_NEAR(k.accuracy, mean, 1e-12);
    for (int i = 0; i < LAFS_GRID; i++) {
        CHECK_NEAR(tpr[i], want_tpr[i], 1e-12);
        CHECK_NEAR(fpr[i], want_fpr[i], 1e-12);
    }
}

TEST(val_at_far)
{
    struct lafs_err err = {0};
    REQUIRE(load());
    struct lafs_val v;
    REQUIRE_OK(lafs_val_at_far(score, same, fold, PAIRS, FOLDS, 1e-2, &v, &err), &err);
    const double *want = f64("val_at_far_1e-2");
    REQUIRE(want);
    CHECK_NEAR(v.val, want[0], 1e-12);
    CHECK_NEAR(v.std, want[1], 1e-12);
    CHECK_NEAR(v.far, want[2], 1e-12);
}

TEST_MAIN(folds, val_at_far)
