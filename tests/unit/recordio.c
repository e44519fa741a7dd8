#include "format/recordio.h"

#include <unistd.h>

#include "tests/test.h"

static char dir[] = "/tmp/lafs-recordio.XXXXXX";

static const char *file(const char *name, const void *data, size_t size)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
    return path;
}

/* "flag label.. size" of each record, and how it ended. */
static lafs_status describe(const void *data, size_t size, struct lafs_buf *text, struct lafs_err *err)
{
    struct lafs_input in;
    struct lafs_buf joined;
    struct lafs_rec r;
    lafs_status st;
    lafs_buf_clear(text);
    lafs_buf_init(&joined);
    if (lafs_input_open(&in, file("x.rec", data, size), err) != LAFS_OK) return LAFS_FAILED;
    while ((st = lafs_rec_next(&in, &joined, 1 << 20, &r, err)) == LAFS_OK || st == LAFS_BAD_RECORD) {
        if (st == LAFS_BAD_RECORD) lafs_buf_puts(text, "bad ");
        else {
            lafs_buf_printf(text, "%u:%g", r.flag, (double)lafs_rec_label(&r, 0));
            for (uint32_t i = 1; i < r.flag; i++) lafs_buf_printf(text, ",%g", (double)lafs_rec_label(&r, i));
            lafs_buf_printf(text, ":%llu:%.*s ", (unsigned long long)r.id, (int)r.size, (const char *)r.data);
        }
    }
    lafs_buf_release(&joined);
    lafs_input_close(&in);
    return st;
}

/* By hand, as MXNet's own writer lays it out. */
TEST(layout)
{
    static const unsigned char want[] = {
        0x0a, 0x23, 0xd7, 0xce, 29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0x40, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        'p', 'h', 'o', 't', 'o', 0, 0, 0};
    struct lafs_buf b;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    REQUIRE_OK(lafs_rec_put(&b, 5, 0, 7, NULL, "photo", 5, &err), &err);
    CHECK_INT(b.size, sizeof want);
    CHECK(b.size == sizeof want && memcmp(b.data, want, sizeof want) == 0);
    lafs_buf_release(&b);
}

/* A payload that holds the magic at a multiple of 4 is three parts here, by hand, and comes back whole. */
TEST(parts)
{
    static const char data[] = "\x0a\x23\xd7\xce" "abcd" "\x0a\x23\xd7\xce" "e" "\x0a\x23\xd7\xce";
    struct lafs_buf b, text;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    lafs_buf_init(&text);
    REQUIRE_OK(lafs_rec_put(&b, 1, 0, 2, NULL, data, sizeof data - 1, &err), &err);
    /* 24 bytes of header, then "abcd", then the rest, whose last magic stands at an odd place. */
    CHECK_INT(b.size, 8 + 24 + 8 + 4 + 8 + 8);
    CHECK_INT(b.data[7] >> 5, 1);
    CHECK_INT(b.data[32 + 7] >> 5, 2);
    CHECK_INT(b.data[32 + 12 + 7] >> 5, 3);
    REQUIRE_OK(lafs_rec_put(&b, 2, 0, 3, NULL, "x", 1, &err), &err);
    REQUIRE_OK(lafs_rec_put(&b, 0x123456789a, 0, 4, NULL, data, sizeof data - 1, &err), &err);
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_END);
    char want[96];
    snprintf(want, sizeof want, "0:2:1:%s 0:3:2:x 0:4:78187493530:%s ", data, data);
    CHECK_STR(lafs_buf_str(&text), want);
    for (size_t n = 1; n < 60; n++) CHECK_INT(describe(b.data, n, &text, &err), LAFS_CUT);
    b.data[32 + 7] = 0; /* a whole record among parts */
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_FAILED);
    b.data[7] = 3 << 5; /* a last part that nothing comes before */
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_FAILED);
    lafs_buf_release(&b);
    lafs_buf_release(&text);
}

/* Parts without bytes bring the magic between them all the same: they end where the longest record does. */
TEST(endless_parts)
{
    struct lafs_buf b, text;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    lafs_buf_init(&text);
    lafs_buf_put(&b, "\x0a\x23\xd7\xce\xf8\xff\x0f\x20", 8); /* a first one of 8 bytes less than there may be */
    for (int i = 0; i < (1 << 20) - 8; i++) lafs_buf_putc(&b, 0);
    for (int i = 0; i < 1000; i++) lafs_buf_put(&b, "\x0a\x23\xd7\xce\0\0\0\x40", 8);
    lafs_buf_put(&b, "\x0a\x23\xd7\xce\0\0\0\x60", 8);
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "a record of more than 1048576 bytes, up to byte 1048592") != NULL);
    lafs_buf_release(&b);
    lafs_buf_release(&text);
}

TEST(labels_and_damage)
{
    static const float label[] = {3, 0.5f, -1};
    struct lafs_buf b, text;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    lafs_buf_init(&text);
    REQUIRE_OK(lafs_rec_put(&b, 1, 3, 0, label, "abc", 3, &err), &err);
    size_t first = b.size;
    REQUIRE_OK(lafs_rec_put(&b, 2, 2, 0, label, "", 0, &err), &err);
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_END);
    CHECK_STR(lafs_buf_str(&text), "3:3,0.5,-1:1:abc 2:3,0.5:2: ");
    b.data[8] = 200; /* more labels than bytes */
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_END);
    CHECK_STR(lafs_buf_str(&text), "bad 2:3,0.5:2: ");
    b.data[first] ^= 1;
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "is damaged at byte 48: no record begins there") != NULL);
    memset(b.data + 4, 0xff, 3);
    b.data[7] = 0x1f; /* 536870911 bytes */
    CHECK_INT(describe(b.data, b.size, &text, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "a record of 536870911 bytes") != NULL);
    CHECK_INT(describe("\x0a\x23\xd7\xce\x04\0\0\0abcd", 12, &text, &err), LAFS_END);
    CHECK_STR(lafs_buf_str(&text), "bad ");
    CHECK_INT(lafs_rec_put(&b, 1, LAFS_REC_MAX_LABELS + 1, 0, label, "", 0, &err), LAFS_FAILED);
    lafs_buf_release(&b);
    lafs_buf_release(&text);
}

TEST(classes)
{
    int64_t cls = -7;
    CHECK(lafs_rec_class(0, &cls) && cls == 0);
    CHECK(lafs_rec_class(16777215, &cls) && cls == 16777215);
    CHECK(!lafs_rec_class((float)16777217, &cls)); /* which is 16777216 then */
    CHECK(!lafs_rec_class(16777218, &cls) && !lafs_rec_class(0.5f, &cls));
    CHECK(!lafs_rec_class(NAN, &cls) && !lafs_rec_class(INFINITY, &cls));
}

TEST(idx_lines)
{
    int64_t key, at;
    CHECK(lafs_rec_idx_line("12\t345", 6, &key, &at) && key == 12 && at == 345);
    CHECK(lafs_rec_idx_line("0\t0\r", 4, &key, &at) && key == 0 && at == 0);
    CHECK(!lafs_rec_idx_line("", 0, &key, &at) && !lafs_rec_idx_line("1", 1, &key, &at));
    CHECK(!lafs_rec_idx_line("1\t", 2, &key, &at) && !lafs_rec_idx_line("1 2", 3, &key, &at));
    CHECK(!lafs_rec_idx_line("1\t2x", 4, &key, &at) && !lafs_rec_idx_line("-1\t2", 4, &key, &at));
    CHECK(!lafs_rec_idx_line("1\t1234567890123456789", 21, &key, &at));
}

TEST(end)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK(system(command) == 0);
}

TEST(begin) { REQUIRE(mkdtemp(dir) != NULL); }

TEST_MAIN(begin, layout, parts, endless_parts, labels_and_damage, classes, idx_lines, end)
