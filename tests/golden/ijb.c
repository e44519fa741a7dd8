#include "tests/golden/golden.h"

#include "base/mem.h"
#include "eval/metrics.h"

enum { IMAGES = 240, DIM = 32, TEMPLATES = 60, PAIRS = 1770 };

TEST(templates_and_tar)
{
    struct lafs_err err = {0};
    struct lafs_st *g = golden_open("ijb");
    REQUIRE(g);
    static float e[IMAGES * DIM], flipped[IMAGES * DIM], weight[IMAGES], score[PAIRS];
    static int32_t a[PAIRS], b[PAIRS];
    static uint8_t same[PAIRS];
    static int64_t row[IMAGES];
    REQUIRE_OK(lafs_st_read_f32(g, "features", (int64_t[]){IMAGES, DIM}, 2, e, &err), &err);
    REQUIRE_OK(lafs_st_read_f32(g, "flipped", (int64_t[]){IMAGES, DIM}, 2, flipped, &err), &err);
    REQUIRE_OK(lafs_st_read_f32(g, "score", (int64_t[]){IMAGES}, 1, weight, &err), &err);
    for (int i = 0; i < IMAGES * DIM; i++) e[i] += flipped[i];
    for (int i = 0; i < IMAGES; i++) row[i] = i;
    struct lafs_templates t;
    REQUIRE_OK(lafs_templates_build(&t, e, DIM, row, weight, lafs_st_find(g, "template")->data,
                                    lafs_st_find(g, "media")->data, IMAGES, 0, &err), &err);
    CHECK_INT(t.count, TEMPLATES);
    const double *want = lafs_st_find(g, "template_features")->data;
    for (int i = 0; i < TEMPLATES * DIM; i++) CHECK_NEAR(t.e[i], want[i], 1e-6);

    const int64_t *pair = lafs_st_find(g, "pairs")->data, *label = lafs_st_find(g, "label")->data;
    for (int i = 0; i < PAIRS; i++) {
        for (int k = 0; k < TEMPLATES; k++) {
            if (t.id[k] == pair[2 * i]) a[i] = k;
            if (t.id[k] == pair[2 * i + 1]) b[i] = k;
        }
        same[i] = label[i] != 0;
    }
    REQUIRE_OK(lafs_pair_scores(t.e, TEMPLATES, DIM, a, b, PAIRS, score, NULL, &err), &err);
    const double *want_score = lafs_st_find(g, "pair_scores")->data;
    for (int i = 0; i < PAIRS; i++) CHECK_NEAR(score[i], want_score[i], 1e-6);

    struct lafs_scores s;
    struct lafs_roc roc;
    REQUIRE_OK(lafs_scores_sort(&s, score, same, PAIRS, &err), &err);
    REQUIRE_OK(lafs_roc_build(&roc, &s, &err), &err);
    const double *far = lafs_st_find(g, "far")->data, *tar = lafs_st_find(g, "tar")->data;
    for (int k = 0; k < 3; k++) CHECK_NEAR((double)lafs_roc_nearest(&roc, far[k]).tp / s.genuines, tar[k], 1e-12);
    lafs_roc_release(&roc);
    lafs_scores_release(&s);
    lafs_templates_release(&t);
    lafs_st_close(g);
}

TEST_MAIN(templates_and_tar)
