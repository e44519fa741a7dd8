#include "data/record.h"

#include "base/rng.h"
#include "data/walk.h"
#include "tests/test.h"

static struct lafs_err e;

static lafs_status decode(struct lafs_sample *s, const char *bytes, size_t size)
{
    return lafs_sample_decode(s, bytes, size, &e);
}
#define DECODE(s, literal) decode(s, literal, sizeof(literal) - 1)

TEST(sets_and_gets)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    CHECK_STR(lafs_sample_key(&s), "");
    float points[10] = {1, 2.5f, -3, 4, 5, 6, 7, 8, 9, 10}, back[10];
    lafs_sample_set_str(&s, "key", "ann/ann_0001");
    lafs_sample_set_f32(&s, "points", (int64_t[]){5, 2}, 2, points);
    lafs_sample_set_int(&s, "cls", -7);
    lafs_sample_set_double(&s, "score", 0.25);
    lafs_sample_set_bin(&s, "jpg", "\xff\xd8\xff", 3);
    lafs_sample_set_u8(&s, "rgb", (int64_t[]){1, 1, 3}, 3, (const uint8_t *)"abc");
    REQUIRE_OK(lafs_sample_check(&s, &e), &e);

    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_sample_encode(&s, &b);
    struct lafs_sample t;
    lafs_sample_init(&t);
    REQUIRE_OK(lafs_sample_decode(&t, b.data, b.size, &e), &e);
    CHECK_STR(lafs_sample_key(&t), "ann/ann_0001");
    int64_t shape[2] = {-1, 2}, i;
    CHECK_INT(lafs_sample_f32(&t, "points", shape, 2, back, 10, &e), LAFS_OK);
    CHECK_INT(shape[0], 5);
    CHECK(memcmp(points, back, sizeof back) == 0);
    CHECK_INT(lafs_sample_f32(&t, "points", (int64_t[]){4, 2}, 2, back, 10, &e), LAFS_BAD_RECORD);
    CHECK_INT(lafs_sample_f32(&t, "points", (int64_t[]){5, 2}, 2, back, 9, &e), LAFS_BAD_RECORD);
    CHECK_INT(lafs_sample_f32(&t, "none", shape, 2, back, 10, &e), LAFS_END);
    CHECK_INT(lafs_sample_int(&t, "cls", &i, &e), LAFS_OK);
    CHECK_INT(i, -7);
    CHECK_INT(lafs_sample_int(&t, "score", &i, &e), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "field 'score': not an integer");
    double d;
    CHECK_INT(lafs_sample_double(&t, "score", &d, &e), LAFS_OK);
    CHECK_NEAR(d, 0.25, 0);
    CHECK_INT(lafs_sample_double(&t, "cls", &d, &e), LAFS_OK);
    CHECK_NEAR(d, -7, 0);
    const void *p;
    size_t n;
    CHECK_INT(lafs_sample_bin(&t, "jpg", &p, &n, &e), LAFS_OK);
    CHECK(n == 3 && memcmp(p, "\xff\xd8\xff", 3) == 0);
    struct lafs_nd a;
    CHECK_INT(lafs_sample_nd(&t, "rgb", &a, &e), LAFS_OK);
    CHECK_STR(a.type, "|u1");
    CHECK(a.ndim == 3 && a.count == 3 && memcmp(a.data, "abc", 3) == 0);

    struct lafs_buf c;
    lafs_buf_init(&c);
    lafs_sample_encode(&t, &c);
    CHECK(b.size == c.size && memcmp(b.data, c.data, b.size) == 0);
    lafs_buf_release(&b);
    lafs_buf_release(&c);
    lafs_sample_release(&s);
    lafs_sample_release(&t);
}

/* Odd encodings (a small number in nine bytes, an ext, a float32) must leave as they came. */
TEST(unknown_fields_pass_as_they_came)
{
    static const char map[] =
        "\x84\xa3key\xd9\x01k\xa1z\xd3\0\0\0\0\0\0\0\x05\xa1y\xd5\x07\x61\x62\xa1x\xdc\0\x01\xca\x3f\x80\0\0";
    struct lafs_sample s;
    lafs_sample_init(&s);
    CHECK_INT(DECODE(&s, map), LAFS_OK);
    lafs_sample_set_str(&s, "name", "ann");
    lafs_sample_del(&s, "y");
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_sample_encode(&s, &b);
    static const char want[] =
        "\x84\xa3key\xd9\x01k\xa1z\xd3\0\0\0\0\0\0\0\x05\xa1x\xdc\0\x01\xca\x3f\x80\0\0\xa4name\xa3"
        "ann";
    CHECK_INT(b.size, sizeof want - 1);
    CHECK(memcmp(b.data, want, sizeof want - 1) == 0);
    lafs_buf_release(&b);
    lafs_sample_release(&s);
}

TEST(replaced_values_are_compacted)
{
    struct lafs_sample s, t;
    lafs_sample_init(&s);
    lafs_sample_init(&t);
    char big[3000];
    memset(big, 'x', sizeof big);
    lafs_sample_set_str(&s, "key", "k");
    for (int i = 0; i < 1000; i++) {
        big[0] = (char)i;
        lafs_sample_set_bin(&s, "jpg", big, sizeof big);
        lafs_sample_set_strn(&s, "copy", lafs_sample_key(&s), 1); /* from inside the record */
    }
    REQUIRE_OK(lafs_sample_check(&s, &e), &e);
    CHECK(s.buf.size < 200000);
    CHECK_INT(lafs_sample_copy(&t, &s, &e), LAFS_OK);
    CHECK_STR(lafs_sample_key(&t), "k");
    const void *p;
    size_t n;
    CHECK_INT(lafs_sample_bin(&t, "jpg", &p, &n, &e), LAFS_OK);
    CHECK(n == sizeof big && memcmp(p, big, n) == 0);
    CHECK(t.buf.size < sizeof big + 100); /* without what was replaced */
    lafs_sample_del(&t, "jpg");
    CHECK_INT(lafs_sample_copy(&s, &t, &e), LAFS_OK);
    CHECK(s.buf.size < 100 && !lafs_sample_has(&s, "jpg") && lafs_sample_has(&s, "copy"));
    lafs_sample_swap(&s, &t);
    lafs_sample_release(&s);
    CHECK_STR(lafs_sample_key(&t), "k");
    lafs_sample_release(&t);
}

TEST(limits_are_sticky)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    char name[16];
    for (int i = 0; i < LAFS_MAX_FIELDS; i++) {
        snprintf(name, sizeof name, "f%d", i);
        lafs_sample_set_int(&s, name, i);
    }
    CHECK_INT(lafs_sample_check(&s, &e), LAFS_OK);
    lafs_sample_set_int(&s, "onemore", 1);
    CHECK_INT(lafs_sample_check(&s, &e), LAFS_BAD_RECORD);
    lafs_sample_clear(&s);
    CHECK_INT(lafs_sample_check(&s, &e), LAFS_OK);
    CHECK(!lafs_field_name_ok("__x", 3) && !lafs_field_name_ok("", 0) && lafs_field_name_ok("x__", 3));
    lafs_sample_set_int(&s, "__x", 1);
    CHECK_INT(lafs_sample_check(&s, &e), LAFS_BAD_RECORD);
    lafs_sample_release(&s);
}

TEST(bad_records_are_refused)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    CHECK_INT(DECODE(&s, "\xdd\x03\xff\xff\xff"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\xdf\x03\xff\xff\xff"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\x81\xa1k\xdd\x03\xff\xff\xff"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\x81\xa1k\xc6\xff\xff\xff\xff"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\x81\xa1k\xc1"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\x81\x01\x01"), LAFS_BAD_RECORD);           /* name no string */
    CHECK_INT(DECODE(&s, "\x81\x91\x01\x01"), LAFS_BAD_RECORD);       /* name an array */
    CHECK_INT(DECODE(&s, "\x81\xa0\x01"), LAFS_BAD_RECORD);           /* empty name */
    CHECK_INT(DECODE(&s, "\x81\xa3__x\x01"), LAFS_BAD_RECORD);        /* reserved */
    CHECK_INT(DECODE(&s, "\x82\xa1k\x01\xa1k\x02"), LAFS_BAD_RECORD); /* twice */
    CHECK_STR(e.msg, "field 'k' occurs twice");
    CHECK_INT(DECODE(&s, "\x81\xa1k\x01\x01"), LAFS_BAD_RECORD); /* bytes behind */
    CHECK_INT(DECODE(&s, "\x91\x01"), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, ""), LAFS_BAD_RECORD);
    CHECK_INT(DECODE(&s, "\x80"), LAFS_OK);
    unsigned char deep[64];
    memcpy(deep, "\x81\xa1k", 3);
    memset(deep + 3, 0x91, LAFS_MAX_DEPTH - 1);
    deep[3 + LAFS_MAX_DEPTH - 1] = 1;
    CHECK_INT(lafs_sample_decode(&s, deep, 3 + LAFS_MAX_DEPTH, &e), LAFS_OK);
    deep[3 + LAFS_MAX_DEPTH - 1] = 0x91;
    deep[3 + LAFS_MAX_DEPTH] = 1;
    size_t len;
    CHECK_INT(lafs_walk_measure(deep, 4 + LAFS_MAX_DEPTH, &len, &e), LAFS_BAD_RECORD);
    lafs_sample_release(&s);
}

static const char array[] =
    "\x85\xc4\x02nd\xc3\xc4\x04type\xa3<f4\xc4\x04kind\xc4\0\xc4\x05shape\x91\x02\xc4\x04" "data\xc4\x08" "12345678";

TEST(numpy_arrays)
{
    struct lafs_nd a;
    const size_t n = sizeof array - 1;
    char bad[64];
    CHECK_INT(lafs_nd_decode(array, n, &a, &e), LAFS_OK);
    CHECK(a.count == 2 && a.item == 4 && a.ndim == 1 && a.shape[0] == 2);
    memcpy(bad, array, n);
    bad[5] = '\xc2'; /* nd: false */
    CHECK_INT(lafs_nd_decode(bad, n, &a, &e), LAFS_BAD_RECORD);
    memcpy(bad, array, n);
    memcpy(strchr(bad + 12, '<'), ">f4", 3);
    CHECK_INT(lafs_nd_decode(bad, n, &a, &e), LAFS_BAD_RECORD);
    memcpy(bad, array, n);
    bad[32] = 3; /* shape says 3 */
    CHECK_INT(lafs_nd_decode(bad, n, &a, &e), LAFS_BAD_RECORD);
    bad[32] = (char)0xff; /* -1 */
    CHECK_INT(lafs_nd_decode(bad, n, &a, &e), LAFS_BAD_RECORD);
    for (size_t cut = 0; cut < n; cut++) CHECK_INT(lafs_nd_decode(array, cut, &a, &e), LAFS_BAD_RECORD);
}

/* A record that arrives byte by byte measures the same, with a lower bound that never exceeds the truth. */
TEST(measures_cut_records)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    struct lafs_buf b, views;
    lafs_buf_init(&b);
    lafs_buf_init(&views);
    lafs_pack_array(&views, 3);
    for (int i = 0; i < 3; i++) {
        lafs_pack_map(&views, 2);
        lafs_pack_str(&views, "kind");
        lafs_pack_double(&views, 1.5);
        lafs_pack_str(&views, "crop");
        lafs_pack_bin(&views, "0123456789", 10);
    }
    lafs_sample_set_str(&s, "key", "a/b");
    lafs_sample_set_raw(&s, "views", views.data, views.size);
    lafs_sample_set_int(&s, "epoch", 1 << 20);
    lafs_sample_encode(&s, &b);
    struct lafs_measure m;
    lafs_measure_init(&m);
    size_t len, again;
    for (size_t cut = 0; cut < b.size; cut++) {
        CHECK_INT(lafs_walk_measure(b.data, cut, &len, &e), LAFS_END);
        CHECK(len > cut && len <= b.size);
        CHECK_INT(lafs_measure_more(&m, b.data, cut, &again, &e), LAFS_END);
        CHECK(again > cut && again <= b.size);
        CHECK_INT(lafs_sample_decode(&s, b.data, cut, &e), LAFS_BAD_RECORD);
    }
    CHECK_INT(lafs_measure_more(&m, b.data, b.size, &again, &e), LAFS_OK);
    CHECK_INT(again, b.size);
    lafs_buf_putc(&b, 0);
    CHECK_INT(lafs_walk_measure(b.data, b.size, &len, &e), LAFS_OK);
    CHECK_INT(len, b.size - 1);
    CHECK_INT(lafs_walk_measure("\xdd\x03\xff\xff\xff", 5, &len, &e), LAFS_END);
    CHECK_INT(len, 5 + 0x03ffffff);
    CHECK_INT(lafs_walk_measure("\xdd\x30\xff\xff\xff", 5, &len, &e), LAFS_BAD_RECORD);
    lafs_buf_release(&b);
    lafs_buf_release(&views);
    lafs_sample_release(&s);
}

TEST(damaged_records_never_crash)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    struct lafs_sample s, t;
    lafs_sample_init(&s);
    lafs_sample_init(&t);
    float v[6] = {0};
    lafs_sample_set_str(&s, "key", "a/b");
    lafs_sample_set_f32(&s, "points", (int64_t[]){3, 2}, 2, v);
    lafs_sample_set_str(&s, "name", "someone");
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_sample_encode(&s, &b);
    unsigned char copy[256];
    REQUIRE(b.size <= sizeof copy);
    int good = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, b.data, b.size);
        for (int k = 0; k < 3; k++) copy[lafs_rng_below(&r, b.size)] = (unsigned char)lafs_rng_u32(&r);
        if (lafs_sample_decode(&t, copy, b.size, &e) == LAFS_OK) good++;
        float out[6];
        lafs_sample_f32(&t, "points", (int64_t[]){-1, 2}, 2, out, 6, &e);
        lafs_key_valid(lafs_sample_key(&t), &e);
    }
    CHECK(good > 0 && good < 20000);
    lafs_buf_release(&b);
    lafs_sample_release(&s);
    lafs_sample_release(&t);
}

TEST(integers_of_all_widths)
{
    static const int64_t v[] = {0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, INT64_MAX,
                                -1, -32, -33, -128, -129, -32768, -32769, -2147483648LL, -2147483649LL, INT64_MIN};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct lafs_buf b;
        lafs_buf_init(&b);
        lafs_pack_int(&b, v[i]);
        struct lafs_walk w = {b.data, b.data + b.size};
        struct lafs_mp_value m;
        CHECK_INT(lafs_walk_next(&w, &m, &e), LAFS_OK);
        CHECK(m.type == LAFS_MP_INT && m.i == v[i] && w.p == w.end);
        lafs_buf_release(&b);
    }
    struct lafs_mp_value m;
    struct lafs_walk w = {(const unsigned char *)"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", NULL};
    w.end = w.p + 9;
    CHECK_INT(lafs_walk_next(&w, &m, &e), LAFS_OK);
    CHECK(m.i == INT64_MAX && m.f == 18446744073709551615.0);
}

TEST(keys)
{
    static const char *const good[] = {"a", "a/b", "a.b/c", "J\xc3\xb6rg/1", "a b/c-d_e", "\xf0\x9f\x98\x80"};
    static const char *const bad[] = {"", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "a.b", "a/b.jpg", "a\tb",
                                      "a\x7f", "a\nb", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) CHECK_INT(lafs_key_valid(good[i], &e), LAFS_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_INT(lafs_key_valid(bad[i], &e), LAFS_BAD_RECORD);
    char lengthy[LAFS_MAX_KEY + 2];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[LAFS_MAX_KEY + 1] = 0;
    CHECK_INT(lafs_key_valid(lengthy, &e), LAFS_BAD_RECORD);
    lengthy[LAFS_MAX_KEY] = 0;
    CHECK_INT(lafs_key_valid(lengthy, &e), LAFS_OK);
}

TEST_MAIN(sets_and_gets, unknown_fields_pass_as_they_came, replaced_values_are_compacted, limits_are_sticky,
          bad_records_are_refused, numpy_arrays, measures_cut_records, damaged_records_never_crash,
          integers_of_all_widths, keys)
