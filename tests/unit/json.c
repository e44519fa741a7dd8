#include "base/json.h"

#include "base/mem.h"
#include "tests/test.h"

static lafs_status parse(struct lafs_json **j, const char *text, struct lafs_err *e)
{
    return lafs_json_parse(j, text, strlen(text), e);
}

TEST(reads_a_tree)
{
    struct lafs_json *j;
    struct lafs_err e;
    REQUIRE_OK(parse(&j, " {\"a\": [1, -2.5e3, true, null, \"x\\n\\u00e9\\ud83d\\ude00\"], \"b\": {}, \"c\": 9007199254740993} ", &e), &e);
    CHECK_INT(j->count, 3);
    const struct lafs_json *a = lafs_json_get(j, "a");
    REQUIRE(a && a->type == LAFS_JSON_ARRAY && a->count == 5);
    CHECK(a->child->is_int && a->child->integer == 1);
    CHECK_NEAR(a->child->next->num, -2500, 0);
    CHECK(!a->child->next->is_int);
    CHECK(a->child->next->next->b == 1);
    CHECK_STR(a->child->next->next->next->next->str, "x\n\xc3\xa9\xf0\x9f\x98\x80");
    CHECK(lafs_json_get(j, "b")->type == LAFS_JSON_OBJECT && !lafs_json_get(j, "b")->child);
    CHECK_INT(lafs_json_get(j, "c")->integer, 9007199254740993);
    CHECK(!lafs_json_get(j, "d"));
    lafs_json_free(j);
}

TEST(refuses_what_is_not_json)
{
    static const char *const bad[] = {
        "", " ", "{", "[1", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "01", "-", "1.", ".5", "+1", "1e", "0x1",
        "nul", "truee", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
        "\"\n\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "1 2", "{\"a\":1,\"a\":2}", "1e999", "NaN", "[1}", "\"\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lafs_json *j = (void *)1;
        struct lafs_err e = {0};
        if (parse(&j, bad[i], &e) != LAFS_FAILED || j || !e.msg[0]) FAIL_("case %zu was accepted: %s", i, bad[i]);
    }
}

TEST(bounds_depth)
{
    char deep[200];
    struct lafs_json *j;
    memset(deep, '[', 100), memset(deep + 100, ']', 100);
    CHECK(lafs_json_parse(&j, deep, 200, NULL) == LAFS_FAILED);
    CHECK(lafs_json_parse(&j, deep + 40, 120, NULL) == LAFS_OK);
    lafs_json_free(j);
}

TEST(every_prefix_is_refused)
{
    const char *text = "{\"a\":[1,2.5,\"\\u00e9\"],\"b\":{\"c\":null}}";
    for (size_t n = 0; n < strlen(text); n++) {
        struct lafs_json *j;
        char *copy; /* exact size, so that a sanitizer sees an overrun */
        REQUIRE(lafs_alloc(&copy, n, 1, NULL) == LAFS_OK);
        memcpy(copy, text, n);
        CHECK(lafs_json_parse(&j, copy, n, NULL) == LAFS_FAILED);
        lafs_free(copy);
    }
}

TEST(quotes_strings)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_json_put_string(&b, "a\"\\\n\x01\x7f\xc3\xa9\xc2\x9b\xc2\xa0\xff", 13);
    CHECK_STR(lafs_buf_str(&b), "\"a\\\"\\\\\\n\\u0001\\u007f\xc3\xa9\\u009b\xc2\xa0\xef\xbf\xbd\"");
    lafs_buf_release(&b);
}

TEST(doubles_read_back)
{
    static const double v[] = {0, 1, -1, 0.1, 1.0 / 3, 1e-300, 1.7976931348623157e308, 5e-324, 123456789.125, 0.1f};
    static const char *const want[] = {"0", "1", "-1", "0.1", NULL, "1e-300", NULL, NULL, "123456789.125", NULL};
    struct lafs_buf b;
    lafs_buf_init(&b);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        double back;
        lafs_buf_clear(&b);
        lafs_json_put_double(&b, v[i]);
        if (want[i]) CHECK_STR(lafs_buf_str(&b), want[i]);
        CHECK(lafs_parse_double(lafs_buf_str(&b), &back) && back == v[i]);
    }
    lafs_buf_clear(&b);
    lafs_json_put_double(&b, NAN);
    CHECK_STR(lafs_buf_str(&b), "null");
    lafs_buf_release(&b);
}

TEST(strict_numbers)
{
    int64_t i;
    double d;
    CHECK(lafs_parse_int("-9223372036854775808", &i) && i == INT64_MIN);
    CHECK(lafs_parse_double("1e-3", &d) && d == 1e-3);
    CHECK(lafs_parse_double("-.5", &d) && d == -0.5 && !lafs_parse_int(".5", &i)); /* people write it, JSON does not */
    static const char *const bad[] = {"", "12x", " 1", "1 ", "+1", "--1", "0x10", "1e", "1.", ".", "-.", ".e1", "inf", "nan", "1e999", "1,5"};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) CHECK(!lafs_parse_int(bad[n], &i) && !lafs_parse_double(bad[n], &d));
    CHECK(!lafs_parse_int("1.5", &i) && !lafs_parse_int("9223372036854775808", &i));
}

TEST_MAIN(reads_a_tree, refuses_what_is_not_json, bounds_depth, every_prefix_is_refused, quotes_strings, doubles_read_back,
          strict_numbers)
