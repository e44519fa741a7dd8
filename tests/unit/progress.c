#include "cmd/progress.h"

#include <unistd.h>

#include "cmd/cli.h"
#include "tests/test.h"

static double clock_now;
static double fake_clock(void) { return clock_now; }

static char seen[4096];

/* Runs body with stderr in a file, then reads it into `seen`. */
static void capture(void (*body)(void))
{
    char path[] = "/tmp/lafs-progress-XXXXXX";
    int fd = mkstemp(path), old = dup(2);
    unlink(path);
    dup2(fd, 2);
    body();
    dup2(old, 2);
    close(old);
    ssize_t n = pread(fd, seen, sizeof seen - 1, 0);
    seen[n > 0 ? n : 0] = 0;
    close(fd);
}

static void work(void)
{
    struct progress p = {.now = fake_clock};
    clock_now = 100;
    progress_begin(&p, "faces", 1000);
    for (int i = 0; i <= 25; i++) {
        clock_now = 100 + i / 10.0;
        progress_update(&p, i * 10);
    }
    progress_end(&p);
}

TEST(is_silent_where_nobody_looks)
{
    capture(work);
    CHECK_STR(seen, "");
}

TEST(is_drawn_once_a_second)
{
    cli.progress = 1;
    capture(work);
    CHECK_STR(seen, "\r\033[Klafs: 100 faces of 1000 (10 %), 100/s, 0:09 left"
                    "\r\033[Klafs: 200 faces of 1000 (20 %), 100/s, 0:08 left\r\033[K");
    cli.quiet = 1;
    capture(work);
    CHECK_STR(seen, "");
    cli.quiet = cli.progress = 0;
}

TEST_MAIN(is_silent_where_nobody_looks, is_drawn_once_a_second)
