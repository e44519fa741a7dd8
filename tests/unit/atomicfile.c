#include "base/atomicfile.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/test.h"

static char dir[] = "/tmp/lafs-atomic-XXXXXX";

static int files_in_dir(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (d) closedir(d);
    return n;
}

static int holds(const char *path, const char *want)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    int same = lafs_buf_read_file(&b, path, 1000, NULL) == LAFS_OK && !strcmp(lafs_buf_str(&b), want);
    lafs_buf_release(&b);
    return same;
}

TEST(appears_whole)
{
    struct lafs_atomic f;
    struct lafs_err e;
    REQUIRE(mkdtemp(dir) && !chdir(dir));
    REQUIRE_OK(lafs_atomic_put("x", "old", 3, &e), &e);
    chmod("x", 0640);
    REQUIRE_OK(lafs_atomic_open(&f, "x", &e), &e);
    REQUIRE_OK(lafs_atomic_write(&f, "new", 3, &e), &e);
    CHECK(holds("x", "old"));
    REQUIRE_OK(lafs_atomic_commit(&f, &e), &e);
    CHECK(holds("x", "new"));
    struct stat s;
    CHECK(stat("x", &s) == 0 && (s.st_mode & 0777) == 0640);
    CHECK_INT(files_in_dir(), 1);
}

TEST(or_not_at_all)
{
    struct lafs_atomic f;
    struct lafs_err e;
    REQUIRE_OK(lafs_atomic_open(&f, "x", &e), &e);
    REQUIRE_OK(lafs_atomic_write(&f, "part", 4, &e), &e);
    CHECK_INT(files_in_dir(), 2);
    lafs_atomic_abort(&f);
    lafs_atomic_abort(&f);
    CHECK_INT(files_in_dir(), 1);
    CHECK(holds("x", "new"));
}

TEST(a_signal_handler_removes_the_temporary)
{
    struct lafs_atomic f;
    struct lafs_err e;
    REQUIRE_OK(lafs_atomic_open(&f, "y", &e), &e);
    CHECK_INT(files_in_dir(), 2);
    pid_t child = fork();
    if (child == 0) { /* a child leaves its parent's files alone, and removes its own */
        struct lafs_atomic mine, late;
        int good = lafs_atomic_open(&mine, "z", &e) == LAFS_OK && files_in_dir() == 3;
        lafs_atomic_unlink_all();
        good &= files_in_dir() == 2 && lafs_atomic_commit(&mine, &e) == LAFS_FAILED;
        good &= lafs_atomic_open(&late, "z", &e) == LAFS_FAILED; /* whatever its other threads are at */
        _exit(!(good && files_in_dir() == 2));
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    CHECK_INT(files_in_dir(), 2);
    lafs_atomic_abort(&f);
    CHECK_INT(files_in_dir(), 1);
}

/* As a killed process does. */
static void leave_behind(const char *name)
{
    struct lafs_err e;
    struct lafs_atomic f;
    pid_t child = fork();
    if (child == 0) _exit(lafs_atomic_open(&f, name, &e) != LAFS_OK);
    int status;
    waitpid(child, &status, 0);
    CHECK(status == 0);
}

TEST(sweeps_what_a_killed_process_left)
{
    struct lafs_err e;
    struct lafs_atomic mine, again, other;
    leave_behind("z");
    leave_behind("zz");
    CHECK_INT(files_in_dir(), 3);
    REQUIRE_OK(lafs_atomic_put(".z.tmp-1-x", "not ours", 8, &e), &e);
    REQUIRE_OK(lafs_atomic_open(&mine, "z", &e), &e); /* what was left of z goes, and nothing else */
    CHECK_INT(files_in_dir(), 4);
    REQUIRE_OK(lafs_atomic_open(&again, "z", &e), &e); /* the first is in use */
    CHECK_INT(files_in_dir(), 5);
    lafs_atomic_sweep(".");
    CHECK_INT(files_in_dir(), 4);
    REQUIRE_OK(lafs_atomic_open(&other, "zz", &e), &e);
    lafs_atomic_abort(&other);
    REQUIRE_OK(lafs_atomic_write(&mine, "mine", 4, &e), &e);
    REQUIRE_OK(lafs_atomic_commit(&mine, &e), &e);
    lafs_atomic_abort(&again);
    CHECK(holds("z", "mine"));
    CHECK_INT(files_in_dir(), 3);
    CHECK(!unlink("z") && !unlink(".z.tmp-1-x"));
}

/* Processes that begin the same file at the same time: each has its own temporary until it is done. */
TEST(nobody_takes_a_temporary_in_use_for_one_that_was_left)
{
    enum { WRITERS = 4, TIMES = 100 };
    pid_t child[WRITERS];
    for (int k = 0; k < WRITERS; k++)
        if ((child[k] = fork()) == 0) {
            struct lafs_err e;
            int bad = 0;
            for (int i = 0; i < TIMES; i++) bad |= lafs_atomic_put("shared", "text", 4, &e) != LAFS_OK;
            _exit(bad);
        }
    for (int k = 0; k < WRITERS; k++) {
        int status;
        waitpid(child[k], &status, 0);
        CHECK(status == 0);
    }
    CHECK(holds("shared", "text"));
    CHECK_INT(files_in_dir(), 2);
    CHECK(!unlink("shared"));
}

TEST(devices_links_and_failures)
{
    struct lafs_err e;
    CHECK(lafs_atomic_put("/dev/null", "x", 1, &e) == LAFS_OK);
    struct stat s;
    CHECK(stat("/dev/null", &s) == 0 && S_ISCHR(s.st_mode));
    CHECK(lafs_atomic_put("/dev/full", "x", 1, &e) == LAFS_FAILED);
    CHECK_STR(e.msg, "cannot write '/dev/full': no space left on device");
    CHECK(symlink("x", "link") == 0 && lafs_atomic_put("link", "linked", 6, &e) == LAFS_OK && holds("x", "linked"));
    CHECK(lstat("link", &s) == 0 && S_ISLNK(s.st_mode));
    CHECK(lafs_atomic_put(".", "x", 1, &e) == LAFS_FAILED);
    CHECK(lafs_atomic_put("no/such/x", "x", 1, &e) == LAFS_FAILED);
    CHECK_STR(e.msg, "cannot create 'no/such/x': no such file or directory");
    struct lafs_atomic f[65];
    for (int i = 0; i < 65; i++) CHECK(lafs_atomic_open(&f[i], "many", &e) == (i < 64 ? LAFS_OK : LAFS_FAILED));
    for (int i = 0; i < 65; i++) lafs_atomic_abort(&f[i]);
    CHECK_INT(files_in_dir(), 2);
    CHECK(!unlink("x") && !unlink("link") && !rmdir(dir));
}

TEST_MAIN(appears_whole, or_not_at_all, a_signal_handler_removes_the_temporary, sweeps_what_a_killed_process_left,
          nobody_takes_a_temporary_in_use_for_one_that_was_left, devices_links_and_failures)
