#include "tests/test.h"

#include <unistd.h>

#include "base/atomicfile.h"
#include "eval/pairs.h"

static struct lafs_err err;

static struct lafs_pairs *parse(const char *text)
{
    struct lafs_pairs *p;
    return lafs_pairs_parse(&p, text, strlen(text), "p.txt", &err) == LAFS_OK ? p : NULL;
}

TEST(folds_form)
{
    struct lafs_pairs *p = parse("2\t1\nAnn\t1\t2\nAnn\t3\tBob_B\t4\r\nBob_B 10 12345\nCid 1 Ann 1\n\n");
    REQUIRE(p);
    CHECK_INT(p->count, 4);
    CHECK_INT(p->folds, 2);
    CHECK_STR(lafs_strset_at(&p->photos, p->a[0]), "Ann/Ann_0001");
    CHECK_STR(lafs_strset_at(&p->photos, p->b[0]), "Ann/Ann_0002");
    CHECK_STR(lafs_strset_at(&p->photos, p->b[1]), "Bob_B/Bob_B_0004");
    CHECK_STR(lafs_strset_at(&p->photos, p->b[2]), "Bob_B/Bob_B_12345");
    CHECK(p->same[0] && !p->same[1] && p->same[2] && !p->same[3]);
    CHECK(p->fold[0] == 0 && p->fold[1] == 0 && p->fold[2] == 1 && p->fold[3] == 1);
    CHECK_INT(p->photos.count, 7);
    CHECK_INT(p->people.count, 3);
    CHECK(p->b[3] == p->a[0]);
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->b[1]]), "Bob_B");
    lafs_pairs_free(p);
}

TEST(count_form_deals_both_kinds_into_every_fold)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "20\n");
    for (int i = 0; i < 20; i++) n += snprintf(text + n, sizeof text - (size_t)n, "P%d\t1\t2\n", i);
    for (int i = 0; i < 20; i++) n += snprintf(text + n, sizeof text - (size_t)n, "P%d\t1\tQ%d\t1\n", i, i);
    struct lafs_pairs *p = parse(text);
    REQUIRE(p);
    CHECK_INT(p->folds, 10);
    int same[10] = {0}, diff[10] = {0};
    for (int i = 0; i < 40; i++) {
        (p->same[i] ? same : diff)[p->fold[i]]++;
        CHECK_INT(p->fold[i], i % 20 / 2); /* contiguous tenths */
    }
    for (int f = 0; f < 10; f++) CHECK(same[f] == 2 && diff[f] == 2);
    CHECK_INT(p->photos.count, 60);
    lafs_pairs_free(p);
}

TEST(keys_form)
{
    struct lafs_pairs *p = parse("set/ann/1.jpg\tset/ann/a b.c\t1\nset/ann/1\tbob\t0\n");
    REQUIRE(p);
    CHECK_INT(p->count, 2);
    CHECK_STR(lafs_strset_at(&p->photos, p->a[0]), "set/ann/1");
    CHECK_STR(lafs_strset_at(&p->photos, p->b[0]), "set/ann/a b_c");
    CHECK(p->a[1] == p->a[0]);
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->a[0]]), "set/ann");
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->b[1]]), "bob");
    lafs_pairs_free(p);
    p = parse("\xef\xbb\xbf" "a\tb\t1\n"); /* a byte order mark is of no key */
    REQUIRE(p);
    CHECK_STR(lafs_strset_at(&p->photos, p->a[0]), "a");
    lafs_pairs_free(p);
    p = parse("a/1.Jpg\ta/2.jfif\t1\na/1.x.JPEG\ta/3.webp\t1\na/1.2\ta/.png\t1\n"); /* suffixes of any photo */
    REQUIRE(p);
    static const char *const keys[] = {"a/1", "a/2", "a/1_x", "a/3", "a/1_2", "a/_png"};
    for (int i = 0; i < 6; i++) CHECK_STR(lafs_strset_at(&p->photos, i % 2 ? p->b[i / 2] : p->a[i / 2]), keys[i]);
    lafs_pairs_free(p);
    p = parse("b\tc\t0\nb\ta\t1\na\te\t1\nd\tc\t1\nf\tc\t0\n"); /* b, a and e are linked, and c and d */
    REQUIRE(p);
    CHECK_INT(p->people.count, 3);
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->b[2]]), "b");
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->a[3]]), "c");
    CHECK_STR(lafs_strset_at(&p->people, p->person[p->a[4]]), "f");
    lafs_pairs_free(p);
}

TEST(messages_name_file_and_line)
{
    CHECK(!parse(""));
    CHECK_STR(err.msg, "'p.txt' is empty");
    CHECK(!parse("1\nAnn 1\n"));
    CHECK_STR(err.msg, "'p.txt' line 2: expected 'NAME i j' (the same person)");
    CHECK(!parse("1\nAnn 1 2\n"));
    CHECK_STR(err.msg, "'p.txt' ends after line 2: 1 more different pairs were announced");
    CHECK(!parse("1\nAnn 1 2\nAnn 1 Bob x\n"));
    CHECK_STR(err.msg, "'p.txt' line 3: expected names and photo numbers");
    CHECK(!parse("1\nAnn 1 2\nAnn 1 Bob 1\nAnn 1 Bob 2\n"));
    CHECK_STR(err.msg, "'p.txt' line 4: expected the end of the file: all announced pairs are read");
    CHECK(!parse("a b 2\n"));
    CHECK(!parse("0 5\n"));
    CHECK(!parse("-3\n"));
    CHECK(!parse("999999999999999999999\n"));
    CHECK(!parse("a b 1\na b\n"));
    CHECK_STR(err.msg, "'p.txt' line 2: expected 'KEY1 KEY2 0|1'");
    CHECK(!parse("1\na/b 1 2\na 1 b 1\n"));
}

TEST(hostile_bytes_do_no_harm)
{
    /* Every prefix of a good file and every single changed byte: parsed or refused, nothing else. */
    const char good[] = "2\t1\nAnn\t1\t2\nAnn\t3\tBob\t4\nBob 1 2\nCid 1 Ann 1\n";
    char text[sizeof good];
    struct lafs_pairs *p;
    for (size_t n = 0; n < sizeof good; n++) {
        if (lafs_pairs_parse(&p, good, n, "p", &err) == LAFS_OK) lafs_pairs_free(p);
        for (int c = 0; c < 256; c++) {
            memcpy(text, good, sizeof good);
            text[n] = (char)c;
            if (lafs_pairs_parse(&p, text, sizeof good - 1, "p", &err) == LAFS_OK) lafs_pairs_free(p);
        }
    }
    CHECK(1);
}

TEST(name_set)
{
    struct lafs_strset k;
    int64_t id;
    char key[32];
    lafs_strset_init(&k);
    CHECK_INT(lafs_strset_find(&k, "x", 1), -1);
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(key, sizeof key, "k%d", i);
        REQUIRE_OK(lafs_strset_add(&k, key, (size_t)n, &id, &err), &err);
        CHECK_INT(id, i);
    }
    REQUIRE_OK(lafs_strset_add(&k, "k17", 3, &id, &err), &err);
    CHECK_INT(id, 17);
    CHECK_INT(k.count, 1000);
    CHECK_INT(lafs_strset_find(&k, "k999xx", 4), 999);
    CHECK_INT(lafs_strset_find(&k, "k9", 1), -1); /* a prefix is another key */
    /* Names of hostile records: NULs are letters like others, and what lies behind a key is not looked at. */
    static const char nuls[1 << 16];
    for (int i = 1; i <= 1000; i++) {
        REQUIRE_OK(lafs_strset_add(&k, nuls, (size_t)i * 65, &id, &err), &err);
        CHECK_INT(id, 999 + i);
    }
    CHECK_INT(lafs_strset_find(&k, nuls, 65 * 65), 999 + 65);
    CHECK_INT(lafs_strset_find(&k, nuls, 66), -1);
    CHECK_INT(lafs_strset_find(&k, "k17", 3), 17);
    lafs_strset_release(&k);
}

static const char *put(const char *text)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/lafs-test-pairs-%d", (int)getpid());
    if (lafs_atomic_put(path, text, strlen(text), &err) != LAFS_OK) FAIL_("%s", err.msg);
    return path;
}

TEST(ijb_files)
{
    struct lafs_ijb_images *im;
    struct lafs_ijb_pairs *p;
    const char *path = put("1.jpg 5 70\n2.jpg 5 70\nx/3.jpg 9 71\n1.jpg 10000000 71\n");
    REQUIRE_OK(lafs_ijb_images_read(&im, path, &err), &err);
    CHECK_INT(im->count, 4);
    CHECK_INT(im->photos.count, 3);
    CHECK_STR(lafs_strset_at(&im->photos, 2), "x/3");
    CHECK(im->photo[3] == 0 && im->template_id[3] == 10000000 && im->media_id[2] == 71);
    float score[3];
    REQUIRE_OK(lafs_ijb_scores_read(put("1.jpg 1 2 3 4 5 6 7 8 9 10 0.25\nx/3.jpg 1 1 1 1 1 1 1 1 1 1 9.5e-1\n"),
                                    &im->photos, score, &err), &err);
    CHECK_NEAR(score[0], 0.25, 1e-7);
    CHECK(isnan(score[1]));
    CHECK_NEAR(score[2], 0.95, 1e-7);
    CHECK(lafs_ijb_scores_read(put("1.jpg 1\n"), &im->photos, score, &err) == LAFS_FAILED);
    CHECK(strstr(err.msg, "' line 1: 2 fields, not the 12 of 'IMAGE x1 y1 .. x5 y5 score'") != NULL);
    CHECK(lafs_ijb_scores_read(put("\n1.jpg 1 2 3 4 5 6 7 8 9 10 0x1\n"), &im->photos, score, &err) == LAFS_FAILED);
    CHECK_INT(err.status, LAFS_FAILED);
    CHECK(strstr(err.msg, "' line 2: '0x1' is no number") != NULL);
    lafs_ijb_images_free(im);
    const int64_t ids[] = {5, 9, 10000000}, dense[] = {5, 6, 9};
    REQUIRE_OK(lafs_ijb_pairs_read(&p, put("5 9 1\n10000000 5 0\n"), ids, 3, &err), &err);
    CHECK(p->count == 2 && p->a[0] == 0 && p->b[0] == 1 && p->same[0] && p->a[1] == 2 && p->b[1] == 0 && !p->same[1]);
    lafs_ijb_pairs_free(p);
    REQUIRE_OK(lafs_ijb_pairs_read(&p, put("5 9 1\n6 5 0\n"), dense, 3, &err), &err);
    CHECK(p->a[0] == 0 && p->b[0] == 2 && p->a[1] == 1);
    lafs_ijb_pairs_free(p);
    /* Lines of the usual form and others, mixed, far from the end of the file and near it. */
    REQUIRE_OK(lafs_ijb_pairs_read(&p, put("5 9 1\n5  6 0\n\n9\t5\t1\r\n6 5 0\n000000000000000005 9 1\n6 6 1 \n"
                                           "                                                                \n9 9 0"),
                                   dense, 3, &err), &err);
    static const int want[][3] = {{0, 2, 1}, {0, 1, 0}, {2, 0, 1}, {1, 0, 0}, {0, 2, 1}, {1, 1, 1}, {2, 2, 0}};
    CHECK_INT(p->count, 7);
    for (int i = 0; i < 7 && i < p->count; i++)
        CHECK(p->a[i] == want[i][0] && p->b[i] == want[i][1] && p->same[i] == want[i][2]);
    lafs_ijb_pairs_free(p);
    CHECK(lafs_ijb_pairs_read(&p, put("5 9 1\n\n6 5 2\n                                                            \n"),
                              dense, 3, &err) == LAFS_FAILED);
    CHECK(strstr(err.msg, "line 3: expected 'template1 template2 0|1'"));
    CHECK(lafs_ijb_pairs_read(&p, put("5 9 1\n7 5 0\n"), dense, 3, &err) == LAFS_FAILED);
    CHECK(strstr(err.msg, "line 2: template 7 has no images"));
    CHECK(lafs_ijb_pairs_read(&p, put("5 9 1\n6 5 2\n"), dense, 3, &err) == LAFS_FAILED);
    const int64_t wide[] = {INT64_MIN, 5, INT64_MAX}; /* further apart than a number of 64 bits can say */
    REQUIRE_OK(lafs_ijb_pairs_read(&p, put("5 5 1\n"), wide, 3, &err), &err);
    CHECK(p->count == 1 && p->a[0] == 1 && p->b[0] == 1);
    lafs_ijb_pairs_free(p);
    unlink(path);
}

TEST_MAIN(folds_form, count_form_deals_both_kinds_into_every_fold, keys_form, messages_name_file_and_line,
          hostile_bytes_do_no_harm, name_set, ijb_files)
