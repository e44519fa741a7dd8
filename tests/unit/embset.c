#include "tests/test.h"

#include "base/mem.h"
#include "eval/embset.h"

static struct lafs_err err;

static lafs_status add(struct lafs_embset *s, struct lafs_wanted *w, int n, const char *key, int64_t dim, float first,
                       const char *group)
{
    struct lafs_sample sample;
    float e[8] = {first, 2, 3, 4};
    lafs_sample_init(&sample);
    lafs_sample_set_str(&sample, "key", key);
    if (dim) lafs_sample_set_f32(&sample, "embedding", &dim, 1, e);
    if (group) lafs_sample_set_str(&sample, "kind", group);
    lafs_sample_set_double(&sample, "score", 0.5);
    lafs_status st = lafs_embset_add(s, w, n, &sample, group ? "kind" : NULL, &err);
    lafs_sample_release(&sample);
    return st;
}

struct bench {
    struct lafs_pairs *p;
    struct lafs_wanted w[1];
    struct lafs_embset s;
};

static int begin(struct bench *b)
{
    const char *text = "1\nAnn 1 2\nAnn 1 Bob 1\n";
    lafs_embset_init(&b->s);
    return lafs_pairs_parse(&b->p, text, strlen(text), "p", &err) == LAFS_OK &&
           lafs_wanted_init(b->w, &b->p->photos, &err) == LAFS_OK;
}

static void end(struct bench *b)
{
    lafs_wanted_release(b->w);
    lafs_embset_release(&b->s);
    lafs_pairs_free(b->p);
}

TEST(found_by_the_tail_of_the_key)
{
    struct bench b;
    REQUIRE(begin(&b));
    CHECK(add(&b.s, b.w, 1, "x/lfw/Ann/Ann_0001", 4, 1, "g1") == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "Bob/Bob_0001", 4, 9, "g2") == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "Ann/xAnn_0002", 4, 9, "g2") == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "xAnn/Ann_0002", 4, 9, "g2") == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0002/other", 4, 9, "g2") == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0002-f0", 4, 9, "g2") == LAFS_OK);
    CHECK_INT(b.s.seen, 6);
    CHECK_INT(b.s.rows, 2);
    CHECK_INT(b.s.faces, 1);
    CHECK_INT(b.w->found, 2);
    int64_t id = lafs_strset_find(&b.p->photos, "Ann/Ann_0001", 12),
            bob = lafs_strset_find(&b.p->photos, "Bob/Bob_0001", 12);
    CHECK(id >= 0 && b.w->row[id] == 0 && b.w->row[bob] == 1);
    CHECK(lafs_embset_data(&b.s)[4] == 9 && b.s.score[1] == 0.5f);
    CHECK_STR(lafs_strset_at(&b.s.groups, b.s.group[1]), "g2");
    end(&b);
}

TEST(ambiguity_is_an_error)
{
    struct bench b;
    REQUIRE(begin(&b));
    CHECK(add(&b.s, b.w, 1, "a/Ann/Ann_0001", 4, 1, NULL) == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "b/Ann/Ann_0001", 4, 1, NULL) == LAFS_FAILED);
    CHECK_STR(err.msg, "'Ann/Ann_0001' may be 'a/Ann/Ann_0001' or 'b/Ann/Ann_0001'");
    CHECK(add(&b.s, b.w, 1, "a/Ann/Ann_0001", 4, 1, NULL) == LAFS_FAILED);
    CHECK_STR(err.msg, "'a/Ann/Ann_0001' is there twice");
    end(&b);
}

TEST(bad_embeddings_leave_no_row)
{
    struct bench b;
    REQUIRE(begin(&b));
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0001", 4, NAN, NULL) == LAFS_BAD_RECORD);
    CHECK_STR(err.msg, "the embedding holds a value that is not a finite number");
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0001", 1, 0, NULL) == LAFS_BAD_RECORD);
    CHECK_STR(err.msg, "the embedding is all zeros");
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0001", 0, 0, NULL) == LAFS_BAD_RECORD);
    CHECK_STR(err.msg, "no field 'embedding': lafs-embed adds it");
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0001", 4, 1, NULL) == LAFS_OK);
    CHECK(add(&b.s, b.w, 1, "Ann/Ann_0002", 3, 1, NULL) == LAFS_FAILED);
    CHECK_STR(err.msg, "'Ann/Ann_0002': the embedding has 3 values, others have 4");
    CHECK(add(&b.s, b.w, 1, "someone/else", 3, NAN, NULL) == LAFS_OK); /* nobody asked for it */
    CHECK_INT(b.s.rows, 1);
    CHECK_INT(b.s.bad, 3);
    CHECK_INT(b.w->found, 1);
    end(&b);
}

TEST(no_key_is_kept_twice)
{
    struct lafs_embset s;
    struct lafs_sample sample;
    lafs_embset_init(&s);
    lafs_sample_init(&sample);
    lafs_sample_set_str(&sample, "key", "a");
    lafs_sample_set_f32(&sample, "embedding", (int64_t[]){2}, 1, (float[]){1, 2});
    CHECK(lafs_embset_add_any(&s, &sample, NULL, &err) == LAFS_OK);
    CHECK(lafs_embset_add_any(&s, &sample, NULL, &err) == LAFS_FAILED);
    CHECK_STR(err.msg, "'a': this key is there twice");
    CHECK_INT(s.rows, 1);
    lafs_sample_release(&sample);
    lafs_embset_release(&s);
}

TEST_MAIN(found_by_the_tail_of_the_key, ambiguity_is_an_error, bad_embeddings_leave_no_row, no_key_is_kept_twice)
