#include "data/select.h"

#include "base/rng.h"
#include "tests/test.h"

static struct lafs_err e;

/* People p0.., person k with k+1 images, then two without a name; in an order of its own. */
enum { PEOPLE = 20, SAMPLES = PEOPLE * (PEOPLE + 1) / 2 + 2 };
static char key[SAMPLES][32], name[SAMPLES][16];

static void make_index(struct lafs_index *ix, struct lafs_index_shard *shard, struct lafs_index_sample *sample,
                       int turned)
{
    int n = 0;
    for (int k = 0; k < PEOPLE; k++)
        for (int i = 0; i <= k; i++, n++) {
            snprintf(key[n], sizeof key[n], "p%d/%d", k, i);
            snprintf(name[n], sizeof name[n], "p%d", k);
        }
    for (int i = 0; i < 2; i++, n++) snprintf(key[n], sizeof key[n], "x/%d", i), name[n][0] = 0;
    for (int i = 0; i < SAMPLES; i++) {
        int from = turned ? SAMPLES - 1 - i : i;
        sample[i] = (struct lafs_index_sample){0, 512 * i, 512, key[from], name[from]};
    }
    *shard = (struct lafs_index_shard){.path = (char *)"/a/b/x.tar", .size = 512 * SAMPLES};
    *ix = (struct lafs_index){.dir = (char *)"", .shard = shard, .sample = sample, .shards = 1, .samples = SAMPLES};
}

static int kept(const struct lafs_select *s, const char *k)
{
    for (int64_t i = 0; i < s->ix->samples; i++)
        if (strcmp(s->ix->sample[i].key, k) == 0) return s->drop[i] == LAFS_KEPT;
    return -1;
}

static int64_t count(const struct lafs_select *s, enum lafs_drop why)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->ix->samples; i++) n += s->drop[i] == why;
    return n;
}

TEST(order_does_not_matter)
{
    struct lafs_index a, b;
    static struct lafs_index_shard sa, sb;
    static struct lafs_index_sample ma[SAMPLES], mb[SAMPLES];
    struct lafs_select x, y;
    make_index(&a, &sa, ma, 0);
    make_index(&b, &sb, mb, 1);
    REQUIRE_OK(lafs_select_init(&x, &a, 3, &e), &e);
    REQUIRE_OK(lafs_select_init(&y, &b, 3, &e), &e);
    CHECK_INT(x.people, PEOPLE);
    REQUIRE_OK(lafs_select_min_images(&x, 4, &e), &e);
    REQUIRE_OK(lafs_select_min_images(&y, 4, &e), &e);
    CHECK_INT(count(&x, LAFS_DROP_FEW), 1 + 2 + 3);
    CHECK_INT(count(&x, LAFS_DROP_NAMELESS), 2);
    REQUIRE_OK(lafs_select_identities(&x, -1, 0.5, &e), &e);
    REQUIRE_OK(lafs_select_identities(&y, -1, 0.5, &e), &e);
    REQUIRE_OK(lafs_select_shots(&x, 3, &e), &e);
    REQUIRE_OK(lafs_select_shots(&y, 3, &e), &e);
    CHECK_INT(count(&x, LAFS_KEPT), 3 * 9); /* half of 17 people, rounded */
    for (int i = 0; i < SAMPLES; i++) {
        CHECK_INT(kept(&x, key[i]), kept(&y, key[i]));
        for (int64_t k = 0; k < SAMPLES; k++)
            if (strcmp(b.sample[k].key, key[i]) == 0) CHECK(lafs_select_place(&x, i) == lafs_select_place(&y, k));
    }
    lafs_select_release(&x);
    lafs_select_release(&y);
}

TEST(fewer_are_among_more)
{
    struct lafs_index a;
    static struct lafs_index_shard sa;
    static struct lafs_index_sample ma[SAMPLES];
    struct lafs_select less, more, other;
    make_index(&a, &sa, ma, 0);
    REQUIRE_OK(lafs_select_init(&less, &a, 1, &e), &e);
    REQUIRE_OK(lafs_select_init(&more, &a, 1, &e), &e);
    REQUIRE_OK(lafs_select_init(&other, &a, 2, &e), &e);
    lafs_select_identities(&less, 3, 0, &e);
    lafs_select_identities(&more, 7, 0, &e);
    lafs_select_identities(&other, 7, 0, &e);
    lafs_select_shots(&less, 2, &e);
    lafs_select_shots(&more, 4, &e);
    lafs_select_shots(&other, 4, &e);
    int differ = 0;
    for (int i = 0; i < SAMPLES; i++) {
        CHECK(less.drop[i] != LAFS_KEPT || more.drop[i] == LAFS_KEPT);
        differ += more.drop[i] != other.drop[i];
    }
    CHECK(differ > 0 && count(&less, LAFS_KEPT) > 0);
    /* Of people who are drawn as many as else come into each part of a split. */
    CHECK(lafs_select_draw(&more, LAFS_DRAW_IDENTITY, "p1") != lafs_select_draw(&more, LAFS_DRAW_SPLIT, "p1"));
    lafs_select_release(&less);
    lafs_select_release(&more);
    lafs_select_release(&other);
}

TEST(a_small_share_is_one_person)
{
    struct lafs_index a;
    static struct lafs_index_shard sa;
    static struct lafs_index_sample ma[SAMPLES];
    struct lafs_select s;
    make_index(&a, &sa, ma, 0);
    REQUIRE_OK(lafs_select_init(&s, &a, 1, &e), &e);
    REQUIRE_OK(lafs_select_identities(&s, -1, 0.001, &e), &e);
    REQUIRE_OK(lafs_select_shots(&s, 1, &e), &e);
    CHECK_INT(count(&s, LAFS_KEPT), 1);
    lafs_select_release(&s);
}

static lafs_status people(const char *text, const char *wanted, int64_t n)
{
    struct lafs_people *p;
    lafs_status st = lafs_people_parse(&p, text, strlen(text), &e);
    if (st != LAFS_OK) return st;
    CHECK(lafs_people_has(p, wanted));
    CHECK_INT(lafs_people_count(p), n);
    lafs_people_free(p);
    return st;
}

TEST(lists_of_people)
{
    CHECK_INT(people("p1\np2\r\n\np2", "p2", 2), LAFS_OK);
    CHECK_INT(people("000045\n17\n", "17", 2), LAFS_OK);           /* numbers are names in a plain list */
    CHECK_INT(people("2\np1\t10\np 2\t3\n1\np3\t4\n", "p 2", 3), LAFS_OK); /* LFW's, in sets */
    CHECK_INT(people("10\t300\np1\t1\t2\np1\t1\tp2\t4\n", "p2", 2), LAFS_OK);
    CHECK_INT(people("\xef\xbb\xbfp1\np2\n", "p1", 2), LAFS_OK); /* as some editors begin a file */
    CHECK_INT(people("p1\tx\n", "p1", 1), LAFS_FAILED);
    CHECK(strstr(e.msg, "line 1") != NULL);
    CHECK_INT(people("a\t1\t2\t3\t4\n", "a", 1), LAFS_FAILED);

    struct lafs_index a;
    static struct lafs_index_shard sa;
    static struct lafs_index_sample ma[SAMPLES];
    struct lafs_select s;
    struct lafs_people *p;
    int64_t found;
    make_index(&a, &sa, ma, 0);
    REQUIRE_OK(lafs_people_parse(&p, "p3\nnobody\np4", 12, &e), &e);
    REQUIRE_OK(lafs_select_init(&s, &a, 1, &e), &e);
    lafs_select_people(&s, p, 0, &found);
    CHECK_INT(found, 2);
    CHECK_INT(count(&s, LAFS_DROP_NOT_PEOPLE), 4 + 5);
    CHECK_INT(kept(&s, "x/0"), 1);
    lafs_select_people(&s, p, 1, &found);
    CHECK_INT(count(&s, LAFS_KEPT), 0);
    CHECK_INT(count(&s, LAFS_DROP_NAMELESS), 2);
    lafs_people_free(p);
    lafs_select_release(&s);
}

TEST(hashes)
{
    int64_t m;
    uint8_t *in;
    static const char *const bad[] = {"", "10", "10:", "0:0", "10:10", "10:1,", "10:3-1", "10:x", "1000001:1", "10:1-"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(lafs_select_parse_hash(bad[i], &m, &in, &e), LAFS_USAGE);
    REQUIRE_OK(lafs_select_parse_hash("10:0,2-4", &m, &in, &e), &e);
    CHECK(m == 10 && in[0] && !in[1] && in[2] && in[3] && in[4] && !in[5]);
    struct lafs_index a;
    static struct lafs_index_shard sa;
    static struct lafs_index_sample ma[SAMPLES];
    struct lafs_select s, t;
    make_index(&a, &sa, ma, 0);
    REQUIRE_OK(lafs_select_init(&s, &a, 1, &e), &e);
    REQUIRE_OK(lafs_select_init(&t, &a, 1, &e), &e);
    lafs_select_hash(&s, m, in, 1);
    lafs_select_hash(&t, m, in, 0);
    for (int i = 0; i < SAMPLES; i++) {
        int has = name[i][0] && in[lafs_fnv1a(name[i], strlen(name[i])) % 10];
        CHECK_INT(s.drop[i] == LAFS_KEPT, has);
        CHECK_INT(t.drop[i] == LAFS_KEPT, !has);
    }
    free(in);
    lafs_select_release(&s);
    lafs_select_release(&t);
}

/* Of LOTS people person k has 1 + k % 4 photos, but the last, who has 100. */
enum { LOTS = 40, PHOTOS = LOTS / 4 * 10 - 4 + 100 };
static char lot_key[PHOTOS][32], lot_name[PHOTOS][16];

static void make_lots(struct lafs_index *ix, struct lafs_index_shard *shard, struct lafs_index_sample *sample,
                      int turned)
{
    int n = 0;
    for (int k = 0; k < LOTS; k++)
        for (int i = 0; i < (k == LOTS - 1 ? 100 : 1 + k % 4); i++, n++) {
            snprintf(lot_key[n], sizeof lot_key[n], "p%02d/%d", k, i);
            snprintf(lot_name[n], sizeof lot_name[n], "p%02d", k);
        }
    for (int i = 0; i < PHOTOS; i++) {
        int from = turned ? PHOTOS - 1 - i : i;
        sample[i] = (struct lafs_index_sample){0, 512 * i, 512, lot_key[from], lot_name[from]};
    }
    *shard = (struct lafs_index_shard){.path = (char *)"/a/b/x.tar", .size = 512 * PHOTOS};
    *ix = (struct lafs_index){.dir = (char *)"", .shard = shard, .sample = sample, .shards = 1, .samples = PHOTOS};
}

/* Reads lines back: what kind they say they are is what they are, no pair is there twice; *apart: no person is in two
 * tenths. */
static void read_pairs(char *text, int64_t *count, int *apart)
{
    static char pair[8192][80];
    static int fold_of[LOTS];
    int64_t n = 0, lines = 0;
    for (const char *p = text; *p; p++) lines += *p == '\n';
    memset(fold_of, -1, sizeof fold_of);
    *apart = 1;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
        int p, q, same;
        char a[32], b[32];
        REQUIRE(n < 8192);
        REQUIRE(sscanf(line, "%31[^\t]\t%31[^\t]\t%d", a, b, &same) == 3);
        REQUIRE(sscanf(a, "p%d/", &p) == 1 && sscanf(b, "p%d/", &q) == 1);
        CHECK_INT(p == q, same);
        CHECK_INT(same, n % 2 == 0);
        CHECK(strcmp(a, b) != 0);
        snprintf(pair[n], sizeof pair[n], "%s %s", strcmp(a, b) < 0 ? a : b, strcmp(a, b) < 0 ? b : a);
        for (int64_t i = 0; i < n; i++) CHECK(strcmp(pair[i], pair[n]) != 0);
        int fold = (int)(n * 10 / lines);
        if ((fold_of[p] >= 0 && fold_of[p] != fold) || (fold_of[q] >= 0 && fold_of[q] != fold)) *apart = 0;
        fold_of[p] = fold_of[q] = fold;
    }
    *count = n;
}

TEST(pairs)
{
    struct lafs_index ix[2];
    static struct lafs_index_shard shard[2];
    static struct lafs_index_sample sample[2][PHOTOS];
    struct lafs_select s[2];
    struct lafs_buf text[2];
    struct lafs_drawn_pairs drawn[2];
    int apart = 0;
    int64_t lines = 0;
    for (int i = 0; i < 2; i++) {
        make_lots(&ix[i], &shard[i], sample[i], i);
        REQUIRE_OK(lafs_select_init(&s[i], &ix[i], 3, &e), &e);
        lafs_buf_init(&text[i]);
        REQUIRE_OK(lafs_select_pairs(&s[i], 300, &text[i], &drawn[i], &e), &e);
    }
    CHECK(text[0].size == text[1].size && memcmp(text[0].data, text[1].data, text[0].size) == 0);
    CHECK(drawn[0].apart == 1 && drawn[0].people == LOTS);
    /* A fold has three people of two photos and more: at least 3 + 1 + 1 pairs of one person. */
    CHECK(drawn[0].of_a_kind >= 50 && drawn[0].of_a_kind % 10 == 0);
    read_pairs((char *)(uintptr_t)lafs_buf_str(&text[0]), &lines, &apart);
    CHECK_INT(lines, 2 * drawn[0].of_a_kind);
    CHECK(apart);

    lafs_select_hash(&s[0], 2, (const uint8_t[]){1, 0}, 1); /* half the people */
    lafs_buf_clear(&text[0]);
    REQUIRE_OK(lafs_select_pairs(&s[0], 300, &text[0], &drawn[0], &e), &e);
    CHECK(!drawn[0].apart && drawn[0].people < LOTS && drawn[0].of_a_kind <= 3000);
    read_pairs((char *)(uintptr_t)lafs_buf_str(&text[0]), &lines, &apart);
    CHECK_INT(lines, 2 * drawn[0].of_a_kind);
    lafs_buf_clear(&text[0]);
    REQUIRE_OK(lafs_select_pairs(&s[0], 2, &text[0], &drawn[0], &e), &e);
    CHECK_INT(drawn[0].of_a_kind, 20);

    struct lafs_people *two; /* of four photos each: 12 of the 16 pairs there are of both */
    int64_t found;
    REQUIRE_OK(lafs_people_parse(&two, "p03\np07\n", 8, &e), &e);
    lafs_select_release(&s[0]);
    REQUIRE_OK(lafs_select_init(&s[0], &ix[0], 3, &e), &e);
    lafs_select_people(&s[0], two, 1, &found);
    lafs_people_free(two);
    lafs_buf_clear(&text[0]);
    REQUIRE_OK(lafs_select_pairs(&s[0], 300, &text[0], &drawn[0], &e), &e);
    read_pairs((char *)(uintptr_t)lafs_buf_str(&text[0]), &lines, &apart);
    CHECK_INT(lines, 24);

    REQUIRE_OK(lafs_select_shots(&s[0], 1, &e), &e);
    CHECK_INT(lafs_select_pairs(&s[0], 300, &text[0], &drawn[0], &e), LAFS_FAILED);
    snprintf(lot_key[0], sizeof lot_key[0], "a\tb/0");
    CHECK_INT(lafs_select_pairs(&s[1], 300, &text[1], &drawn[1], &e), LAFS_FAILED);
    for (int i = 0; i < 2; i++) {
        lafs_buf_release(&text[i]);
        lafs_select_release(&s[i]);
    }
}

/* An index of one sample in a shard that is there. */
static void one_sample(struct lafs_index *ix, struct lafs_index_shard *shard, struct lafs_index_sample *sample)
{
    *sample = (struct lafs_index_sample){0, 512, 512, "a", ""};
    *shard = (struct lafs_index_shard){.path = (char *)"/dev/null", .size = 2048};
    *ix = (struct lafs_index){.dir = (char *)"", .shard = shard, .sample = sample, .shards = 1, .samples = 1};
}

TEST(indexes_that_disagree_do_not_join)
{
    struct lafs_index a, b, *joined, *both[] = {&a, &b};
    struct lafs_index_shard sa, sb;
    struct lafs_index_sample ma, mb;
    one_sample(&a, &sa, &ma);
    one_sample(&b, &sb, &mb);
    REQUIRE_OK(lafs_index_join(&joined, both, 2, &e), &e);
    CHECK(joined->shards == 1 && joined->samples == 1);
    lafs_index_free(joined);
    sb.size = 4096;
    CHECK_INT(lafs_index_join(&joined, both, 2, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "disagree about the shard '/dev/null'") != NULL);
    sb.size = sa.size, mb.offset = 1024;
    CHECK_INT(lafs_index_join(&joined, both, 2, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "key 'a' is in ") != NULL);
}

TEST_MAIN(order_does_not_matter, fewer_are_among_more, a_small_share_is_one_person, lists_of_people, hashes, pairs,
          indexes_that_disagree_do_not_join)
