#include "cmd/jsonlog.h"

#include <unistd.h>

#include "base/buf.h"
#include "tests/test.h"

TEST(writes_lines)
{
    char path[] = "/tmp/lafs-jsonlog-XXXXXX";
    struct jsonlog l;
    struct lafs_err e;
    struct lafs_buf b;
    close(mkstemp(path));
    for (int append = 0; append < 2; append++) {
        REQUIRE_OK(jsonlog_open(&l, path, append, &e), &e);
        jsonlog_begin(&l);
        jsonlog_str(&l, "a", "x\"y");
        jsonlog_int(&l, "b", -3);
        jsonlog_double(&l, "c", append ? NAN : 0.5);
        REQUIRE_OK(jsonlog_end(&l, &e), &e);
        REQUIRE_OK(jsonlog_close(&l, &e), &e);
    }
    lafs_buf_init(&b);
    REQUIRE_OK(lafs_buf_read_file(&b, path, 1000, &e), &e);
    CHECK_STR(lafs_buf_str(&b), "{\"a\": \"x\\\"y\", \"b\": -3, \"c\": 0.5}\n{\"a\": \"x\\\"y\", \"b\": -3, \"c\": null}\n");
    lafs_buf_release(&b);
    unlink(path);
}

TEST(off_and_full)
{
    struct jsonlog l;
    struct lafs_err e;
    REQUIRE_OK(jsonlog_open(&l, NULL, 0, &e), &e);
    jsonlog_begin(&l);
    jsonlog_int(&l, "b", 1);
    CHECK(jsonlog_end(&l, &e) == LAFS_OK && jsonlog_close(&l, &e) == LAFS_OK);
    REQUIRE_OK(jsonlog_open(&l, "/dev/full", 0, &e), &e);
    jsonlog_begin(&l);
    CHECK(jsonlog_end(&l, &e) == LAFS_FAILED);
    CHECK_STR(e.msg, "cannot write '/dev/full': no space left on device");
    (void)jsonlog_close(&l, &e);
    CHECK(jsonlog_open(&l, "/nonexistent/x", 0, &e) == LAFS_FAILED);
}

TEST_MAIN(writes_lines, off_and_full)
