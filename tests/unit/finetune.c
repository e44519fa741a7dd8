/* What fine-tuning keeps between its starts, and its table of classes. */
#include "tests/test.h"

#include "train/finetune.h"

TEST(classes_are_sorted_names)
{
    static const char *const name[] = {"mia", "bob", "zoe", "bob", "ann"};
    static const int64_t want[] = {2, 1, 3, 1, 0};
    struct lafs_index_sample sample[5];
    struct lafs_index ix = {.sample = sample, .samples = 5};
    struct lafs_classes c;
    struct lafs_err err;
    for (int i = 0; i < 5; i++) sample[i] = (struct lafs_index_sample){.key = name[i], .name = name[i]};
    REQUIRE_OK(lafs_classes_init(&c, &ix, &err), &err);
    CHECK_INT(c.n, 4);
    CHECK_STR(c.name[0], "ann");
    CHECK_STR(c.name[3], "zoe");
    for (int i = 0; i < 5; i++) CHECK_INT(c.label[i], want[i]);
    lafs_classes_release(&c);
    sample[1].name = "";
    CHECK_INT(lafs_classes_init(&c, &ix, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "sample 'bob' has no name: supervised training needs identities");
}

static lafs_status begin(struct lafs_finetune **t, const struct lafs_backend *b, struct lafs_finetune_inside *in,
                         struct lafs_err *err)
{
    struct lafs_finetune_config c;
    LAFS_TRY(lafs_finetune_config_default(&c, "xs", 3, err));
    c.model.vit = (struct lafs_vit_config){.dim = 64, .depth = 1, .heads = 1, .mlp = 64, .patches = 4, .patch = 8};
    c.classes = 3;
    c.images = 8;
    c.batch = c.micro = 2;
    c.landmark_constant = 1;
    LAFS_TRY(lafs_finetune_open(t, &c, b, NULL, NULL, NULL, err));
    lafs_finetune_look(*t, in);
    return LAFS_OK;
}

/* The CNN that the regulariser pulls towards is the one of the first start; so is the best epoch remembered. */
TEST(a_checkpoint_has_the_frozen_cnn_and_the_best_epoch)
{
    struct lafs_err err;
    struct lafs_backend b;
    struct lafs_finetune *t[2];
    struct lafs_finetune_inside in[2];
    struct lafs_ckpt c[2];
    struct lafs_st *st;
    int64_t epoch;
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &err), &err);
    for (int k = 0; k < 2; k++) REQUIRE_OK(begin(&t[k], &b, &in[k], &err), &err);
    REQUIRE(in[0].frozen_cnn);
    for (int k = 0; k < 2; k++) { /* the second with other weights than those that were frozen */
        lafs_finetune_set_best(t[0], 0.75, 5);
        lafs_ckpt_init(&c[k]);
        REQUIRE_OK(lafs_finetune_checkpoint(t[0], &c[k], &err), &err);
        in[0].params->value[0] += 1;
    }
    REQUIRE_OK(lafs_st_wrap(&st, c[1].tensor, c[1].count, c[1].meta, c[1].metas, &err), &err);
    REQUIRE_OK(lafs_finetune_restore(t[1], st, &err), &err);
    for (int i = 0; i < in[0].params->count; i++) {
        const struct lafs_param *p = &in[0].params->p[i];
        const size_t bytes = (size_t)p->size * sizeof(float);
        CHECK(!memcmp(in[1].frozen_cnn + p->off, in[0].frozen_cnn + p->off, bytes));
    }
    CHECK(in[1].frozen_cnn[0] + 1 == in[1].params->value[0]);
    CHECK(lafs_finetune_best(t[1], &epoch) == 0.75 && epoch == 5);
    lafs_st_close(st);
    for (int k = 0; k < 2; k++) {
        lafs_ckpt_release(&c[k]);
        lafs_finetune_close(t[k]);
    }
    lafs_backend_close(&b);
}

TEST_MAIN(classes_are_sorted_names, a_checkpoint_has_the_frozen_cnn_and_the_best_epoch)
