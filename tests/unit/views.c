#include "tests/test.h"

#include "base/rng.h"
#include "data/views.h"

static struct lafs_err e;

/* Pixels for every view; views of DINO's sizes, so that they differ. */
static uint8_t px[2][10][112 * 112 * 3];
static float landmarks[10][196 * 2], patches[10][36 * 192];
static int32_t index_of[10][36];

static void fill(struct lafs_view *v)
{
    struct lafs_pretrain_views pv;
    struct lafs_viewplan plan[10];
    struct lafs_rng r;
    lafs_rng_init(&r, 5);
    lafs_pretrain_views_default(&pv, 1);
    lafs_plan_pretrain(&pv, 112, 112, 1, 2, "a/b", plan);
    memset(v, 0, 10 * sizeof *v);
    for (int i = 0; i < 10; i++) {
        v[i].plan = plan[i];
        for (int k = 0; k < 112 * 112 * 3; k++)
            px[0][i][k] = (uint8_t)lafs_rng_u32(&r), px[1][i][k] = (uint8_t)lafs_rng_u32(&r);
        for (int k = 0; k < 392; k++) landmarks[i][k] = (float)lafs_rng_uniform(&r, 0, 112);
        for (int k = 0; k < 36; k++) index_of[i][k] = (int32_t)lafs_rng_below(&r, 196);
        for (int k = 0; k < 36 * 192; k++) patches[i][k] = (float)lafs_rng_uniform(&r, -1, 1);
        v[i].clean = px[0][i];
        v[i].augmented = i == 3 ? NULL : px[1][i];
        if (i & 1) v[i].landmarks = landmarks[i], v[i].R = 196;
        if (i & 2) v[i].index = index_of[i], v[i].n = 36;
        if (i & 4) v[i].patches = patches[i], v[i].n = 36, v[i].p = 8;
    }
}

static int same(const void *a, const void *b, size_t n) { return !a || !b ? a == b : !memcmp(a, b, n); }

TEST(round_trip)
{
    struct lafs_view v[10], w[10];
    struct lafs_sample s;
    int n;
    fill(v);
    lafs_sample_init(&s);
    CHECK_INT(lafs_views_get(&s, w, 10, &n, &e), LAFS_END);
    lafs_sample_set_str(&s, "key", "a/b");
    lafs_views_set(&s, v, 10);
    REQUIRE_OK(lafs_sample_check(&s, &e), &e);
    for (int round = 0; round < 2; round++) { /* the second time from what was read, pointing into the sample itself */
        REQUIRE_OK(lafs_views_get(&s, w, 10, &n, &e), &e);
        CHECK_INT(n, 10);
        for (int i = 0; i < 10; i++) {
            size_t size = (size_t)v[i].plan.out_size * (size_t)v[i].plan.out_size * 3;
            CHECK(!memcmp(&v[i].plan, &w[i].plan, sizeof v[i].plan));
            CHECK(same(v[i].clean, w[i].clean, size) && same(v[i].augmented, w[i].augmented, size));
            CHECK(same(v[i].landmarks, w[i].landmarks, sizeof landmarks[0]) && v[i].R == w[i].R);
            CHECK(same(v[i].index, w[i].index, sizeof index_of[0]) &&
                  same(v[i].patches, w[i].patches, sizeof patches[0]));
            CHECK(v[i].n == w[i].n && v[i].p == w[i].p);
        }
        lafs_views_set(&s, w, 10);
        REQUIRE_OK(lafs_sample_check(&s, &e), &e);
    }
    CHECK_INT(lafs_views_get(&s, w, 9, &n, &e), LAFS_BAD_RECORD);
    lafs_sample_release(&s);
}

TEST(unknown_keys_stay)
{
    struct lafs_sample s;
    struct lafs_buf b;
    struct lafs_view v[2];
    int n;
    lafs_buf_init(&b);
    lafs_pack_array(&b, 1);
    lafs_pack_map(&b, 4);
    lafs_pack_str(&b, "mine");
    lafs_pack_array(&b, 2);
    lafs_pack_int(&b, 7);
    lafs_buf_putc(&b, 0xc0); /* nil */
    lafs_pack_str(&b, "size");
    lafs_pack_int(&b, 48);
    lafs_pack_str(&b, "kind");
    lafs_pack_str(&b, "local");
    lafs_pack_bin(&b, "note", 4);
    lafs_pack_str(&b, "x");
    lafs_sample_init(&s);
    lafs_sample_set_raw(&s, "views", b.data, b.size);
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(lafs_views_get(&s, v, 2, &n, &e), &e);
        CHECK(n == 1 && v[0].plan.kind == LAFS_VIEW_LOCAL && v[0].plan.out_size == 48 && v[0].plan.ops == 0);
        const void *at;
        size_t len;
        REQUIRE_OK(lafs_map_find(v[0].other, v[0].other_len, "mine", &at, &len, &e), &e);
        CHECK(len == 3 && !memcmp(at, "\x92\x07\xc0", 3));
        REQUIRE_OK(lafs_map_find(v[0].other, v[0].other_len, "note", &at, &len, &e), &e);
        lafs_views_set(&s, v, n);
    }
    lafs_sample_release(&s);
    lafs_buf_release(&b);
}

/* Views from a text: each case one defect. */
static lafs_status decode(const char *bytes, size_t size)
{
    struct lafs_sample s;
    struct lafs_view v[4];
    int n;
    lafs_sample_init(&s);
    lafs_sample_set_raw(&s, "views", bytes, size);
    e.msg[0] = 0;
    lafs_status st = lafs_views_get(&s, v, 4, &n, &e);
    lafs_sample_release(&s);
    return st;
}
#define DECODE(literal) decode(literal, sizeof(literal) - 1)
#define HEAD "\xa4kind\xa6global\xa4size\x0a"

TEST(refused)
{
    CHECK_INT(DECODE("\x91\x82" HEAD), LAFS_OK);
    CHECK_INT(DECODE("\x91\x84" HEAD "\xa3ops\x91\x91\xa4" "flip\xa9" "clean_ops\x01"), LAFS_OK);
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa3ops\x91\x92\xa4" "flip\x01"), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "field 'views': operation 'flip' takes 0 numbers");
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa3ops\x91\x91\xa4" "flop"), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "field 'views': unknown operation 'flop'");
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa3ops\x91\x92\xa4" "blur\xa1x"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa3ops\x91\x92\xa4" "blur\xff"), LAFS_BAD_RECORD); /* sigma -1 */
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa9" "clean_ops\x01"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x91\x81\xa4kind\xa6global"), LAFS_BAD_RECORD); /* no size */
    CHECK_INT(DECODE("\x91\x81\xa4size\x0a"), LAFS_BAD_RECORD);       /* no kind */
    CHECK_INT(DECODE("\x91\x82\xa4kind\xa6globul\xa4size\x0a"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x80"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x91\x90"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x95\x82" HEAD "\x82" HEAD "\x82" HEAD "\x82" HEAD "\x82" HEAD), LAFS_BAD_RECORD);
    CHECK_INT(DECODE("\x91\x83" HEAD "\xa5" "clean\x80"), LAFS_BAD_RECORD);
    CHECK(strstr(e.msg, "clean"));
}

TEST(wrong_arrays)
{
    static const struct { const char *name, *type; int64_t shape[4]; int ndim; size_t item; lafs_status want;
    } t[] = {{"clean", "|u1", {10, 10, 3}, 3, 1, LAFS_OK},
             {"clean", "|u1", {10, 11, 3}, 3, 1, LAFS_BAD_RECORD},
             {"augmented", "|u1", {11, 10, 3}, 3, 1, LAFS_BAD_RECORD},
             {"clean", "<f4", {10, 10, 3}, 3, 4, LAFS_BAD_RECORD},
             {"clean", "|u1", {10, 10, 1}, 3, 1, LAFS_BAD_RECORD},
             {"landmarks", "<f4", {5, 2}, 2, 4, LAFS_OK},
             {"landmarks", "<f8", {5, 2}, 2, 8, LAFS_BAD_RECORD},
             {"landmarks", "<f4", {5, 3}, 2, 4, LAFS_BAD_RECORD},
             {"index", "<i4", {3}, 1, 4, LAFS_OK},
             {"index", "<i8", {3}, 1, 8, LAFS_BAD_RECORD},
             {"patches", "<f4", {2, 8, 8, 3}, 4, 4, LAFS_OK},
             {"patches", "<f4", {2, 8, 7, 3}, 4, 4, LAFS_BAD_RECORD},
             {"patches", "<f4", {2, 8, 8, 4}, 4, 4, LAFS_BAD_RECORD},
             {"patches", "<f4", {0, 8, 8, 3}, 4, 4, LAFS_BAD_RECORD}};
    static const char zero[8192];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct lafs_buf b;
        lafs_buf_init(&b);
        lafs_buf_put(&b, "\x91\x83" HEAD, sizeof("\x91\x83" HEAD) - 1);
        lafs_pack_str(&b, t[i].name);
        lafs_pack_nd(&b, t[i].type, t[i].shape, t[i].ndim, zero, t[i].item);
        lafs_status st = decode((const char *)b.data, b.size);
        if (st != t[i].want) FAIL_("case %zu (%s): %d: %s", i, t[i].name, st, e.msg);
        lafs_buf_release(&b);
    }
}

TEST(index_must_fit)
{
    struct lafs_view v = {.plan = {.out_size = 10}, .R = 5, .n = 2}, w;
    float lm[10] = {0}, pt[3 * 12] = {0};
    int32_t ix[2] = {0, 4};
    struct lafs_sample s;
    int n;
    v.landmarks = lm;
    v.index = ix;
    lafs_sample_init(&s);
    lafs_views_set(&s, &v, 1);
    CHECK_INT(lafs_views_get(&s, &w, 1, &n, &e), LAFS_OK);
    ix[1] = 5;
    lafs_views_set(&s, &v, 1);
    CHECK_INT(lafs_views_get(&s, &w, 1, &n, &e), LAFS_BAD_RECORD);
    ix[1] = -1;
    lafs_views_set(&s, &v, 1);
    CHECK_INT(lafs_views_get(&s, &w, 1, &n, &e), LAFS_BAD_RECORD);
    /* Lengths of index and patches that differ cannot be written by put_view: spliced. */
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_put(&b, "\x91\x84" HEAD, sizeof("\x91\x84" HEAD) - 1);
    lafs_pack_str(&b, "index");
    lafs_pack_nd(&b, "<i4", (int64_t[]){2}, 1, ix, 4);
    lafs_pack_str(&b, "patches");
    lafs_pack_nd(&b, "<f4", (int64_t[]){3, 2, 2, 3}, 4, pt, 4);
    CHECK_INT(decode((const char *)b.data, b.size), LAFS_BAD_RECORD);
    lafs_buf_release(&b);
    lafs_sample_release(&s);
}

TEST(random_bytes)
{
    struct lafs_view v[10], w[64];
    struct lafs_sample s;
    struct lafs_rng r;
    const void *data;
    size_t size;
    int n, good = 0;
    fill(v);
    for (int i = 0; i < 10; i++) v[i].clean = v[i].augmented = NULL, v[i].patches = NULL;
    lafs_rng_init(&r, 1);
    lafs_sample_init(&s);
    lafs_views_set(&s, v, 10);
    REQUIRE_OK(lafs_sample_raw(&s, "views", &data, &size), &e);
    unsigned char *good_bytes = malloc(size);
    memcpy(good_bytes, data, size);
    for (int i = 0; i < 4000; i++) {
        struct lafs_sample t;
        size_t cut = i % 4 ? size : lafs_rng_below(&r, size);
        unsigned char *p = malloc(cut + 1);
        memcpy(p, good_bytes, cut);
        for (int k = 0; k < 1 + i % 3 && cut; k++)
            p[lafs_rng_below(&r, i & 8 ? cut : cut < 600 ? cut : 600)] = (unsigned char)lafs_rng_u32(&r);
        lafs_sample_init(&t);
        lafs_sample_set_raw(&t, "views", p, cut);
        lafs_status st = lafs_views_get(&t, w, 64, &n, &e);
        CHECK(st == LAFS_OK || st == LAFS_BAD_RECORD);
        if (st == LAFS_OK) good++, lafs_views_set(&t, w, n);
        lafs_sample_release(&t);
        free(p);
    }
    CHECK(good > 100 && good < 3900);
    free(good_bytes);
    lafs_sample_release(&s);
}

TEST(names)
{
    CHECK_STR(lafs_view_op_name(LAFS_OP_ERASE), "erase");
    CHECK_STR(lafs_view_kind_name(LAFS_VIEW_TRAIN), "train");
    CHECK(!lafs_view_op_name(0) && !lafs_view_op_name(LAFS_OP_ERASE + 1) && !lafs_view_kind_name(3) &&
          !lafs_view_kind_name(-1));
    CHECK_INT(lafs_view_op_args(LAFS_OP_ROTATE), 2);
}

TEST_MAIN(round_trip, unknown_keys_stay, refused, wrong_arrays, index_must_fit, random_bytes, names)
