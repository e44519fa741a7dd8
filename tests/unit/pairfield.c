#include "eval/pairfield.h"

#include "tests/test.h"

/* A record of that pair; same < 0: without the field. */
static lafs_status add(struct lafs_pairfield *f, const char *key, int64_t pair, int same, struct lafs_err *err)
{
    struct lafs_sample s;
    struct lafs_buf b;
    lafs_sample_init(&s);
    lafs_buf_init(&b);
    lafs_sample_set_str(&s, "key", key);
    lafs_pack_array(&b, 2);
    lafs_pack_int(&b, pair);
    lafs_pack_bool(&b, same);
    if (same >= 0) lafs_sample_set_raw(&s, "pair", b.data, b.size);
    lafs_status st = lafs_pairfield_add(f, &s, err);
    lafs_buf_release(&b);
    lafs_sample_release(&s);
    return st;
}

TEST(pairs_in_any_order)
{
    struct lafs_pairfield f = {0};
    struct lafs_pairs *p;
    struct lafs_err err = {0};
    REQUIRE_OK(add(&f, "d", 7, 0, &err), &err);
    REQUIRE_OK(add(&f, "a", 2, 1, &err), &err);
    REQUIRE_OK(add(&f, "c", 7, 0, &err), &err);
    REQUIRE_OK(add(&f, "e", 9, 1, &err), &err); /* alone */
    REQUIRE_OK(add(&f, "b", 2, 1, &err), &err);
    REQUIRE_OK(lafs_pairfield_pairs(&f, &p, &err), &err);
    CHECK_INT(p->count, 3);
    CHECK_INT(p->folds, 3);
    static const int a[] = {1, 0, 3}, b[] = {4, 2, 5}, same[] = {1, 0, 1};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(p->a[i], a[i]);
        CHECK_INT(p->b[i], b[i]);
        CHECK_INT(p->same[i], same[i]);
        CHECK_INT(p->fold[i], i);
        CHECK_INT(p->person[a[i]] == p->person[b[i]], same[i]);
    }
    CHECK_INT(p->people.count, 4);
    CHECK_STR(lafs_strset_at(&p->photos, 5), "the other half of pair no. 9");
    lafs_pairs_free(p);
    lafs_pairfield_release(&f);
}

TEST(what_makes_no_pairs)
{
    struct lafs_pairfield f = {0};
    struct lafs_pairs *p;
    struct lafs_err err = {0};
    CHECK_INT(lafs_pairfield_pairs(&f, &p, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "the input holds no pairs");
    CHECK_INT(add(&f, "a", 0, -1, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "'a': no field 'pair', and no --pairs that names the pairs: lafs-select --pairs makes some");
    CHECK_INT(add(&f, "a", -1, 1, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "'a': field 'pair' is not [number, same]");
    REQUIRE_OK(add(&f, "a", 1, 1, &err), &err);
    CHECK_INT(add(&f, "a", 2, 1, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "'a' is there twice");
    REQUIRE_OK(add(&f, "b", 1, 0, &err), &err);
    CHECK_INT(lafs_pairfield_pairs(&f, &p, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "pair 1: 'a' and 'b' contradict each other");
    CHECK(p == NULL);
    lafs_pairfield_release(&f);
    REQUIRE_OK(add(&f, "a", 1, 1, &err), &err);
    REQUIRE_OK(add(&f, "b", 1, 1, &err), &err);
    REQUIRE_OK(add(&f, "c", 1, 1, &err), &err);
    CHECK_INT(lafs_pairfield_pairs(&f, &p, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "pair 1 has 3 photos, 'a' is one of them");
    lafs_pairfield_release(&f);
}

TEST_MAIN(pairs_in_any_order, what_makes_no_pairs)
