#include "cmd/filter.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static char dir[] = "/tmp/lafs-filter-XXXXXX";
static char said[8192]; /* stderr of the last run */

static const struct cli_option table[] = {CLI_OUT, CLI_JOBS, CLI_SEED, CLI_MAX_BAD, CLI_REJECTS, CLI_TAKE, CLI_LOG, CLI_ALWAYS, {0}};
static const struct cli_program program = {"lafs-test", "", "", table};

/* Records k0, k1, .. with a number; every `bad`-th key is invalid. */
static void make(const char *path, int n)
{
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    struct lafs_err e;
    char key[32];
    lafs_header_init(&h);
    lafs_sample_init(&s);
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = path}, &h, &e), &e);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "k%d", i);
        lafs_sample_clear(&s);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_int(&s, "i", i);
        REQUIRE_OK(lafs_writer_put(w, &s, &e), &e);
    }
    REQUIRE_OK(lafs_writer_close(w, &(struct lafs_totals){.count = n, .ok = 1}, &e), &e);
    lafs_sample_release(&s);
    lafs_header_release(&h);
}

/* What `each` does with record i is decided by these. */
static int bad_every, no_face_every, drop_every, fail_at = -1, twice;

static lafs_status each(void *arg, struct filter_item *it, int worker)
{
    int64_t i = 0;
    (void)arg, (void)worker;
    if (lafs_sample_int(&it->in, "i", &i, &it->err) != LAFS_OK) return it->err.status;
    if (i == fail_at) return lafs_fail(&it->err, LAFS_FAILED, "record %lld is too much", (long long)i);
    if (bad_every && i % bad_every == bad_every - 1) return lafs_fail(&it->err, LAFS_BAD_RECORD, "made bad");
    if (no_face_every && i % no_face_every == 0) it->verdict = FILTER_NO_FACE;
    else if (drop_every && i % drop_every == 0) it->verdict = FILTER_DROP;
    lafs_sample_set_int(&it->in, "square", i * i);
    if (twice) {
        LAFS_TRY(filter_reserve(it, 2, &it->err));
        LAFS_TRY(lafs_sample_copy(&it->out[0], &it->in, &it->err));
        LAFS_TRY(lafs_sample_copy(&it->out[1], &it->in, &it->err));
        if (twice == 1) lafs_sample_set_str(&it->out[1], "key", "other");
    }
    return LAFS_OK;
}

static lafs_status all(void *arg, struct filter_item *items, int n)
{
    for (int i = 0; i < n; i++) items[i].status = each(arg, &items[i], 0);
    return LAFS_OK;
}

/* The number of records in a stream whose numbers ascend and whose squares are right; -status if it does not end well. */
static int count(const char *path)
{
    struct lafs_reader *r;
    struct lafs_sample s;
    struct lafs_err e;
    int n = 0;
    int64_t last = -1, i, square;
    lafs_status st = lafs_reader_open(&r, &path, 1, NULL, &e);
    if (st != LAFS_OK) return -(int)st;
    lafs_sample_init(&s);
    while ((st = lafs_reader_next(r, &s, &e)) == LAFS_OK) {
        n++;
        CHECK(lafs_sample_int(&s, "i", &i, &e) == LAFS_OK && i >= last);
        CHECK(lafs_sample_int(&s, "square", &square, &e) == LAFS_OK && square == i * i);
        last = i;
    }
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return st == LAFS_END ? n : -(int)st;
}

/* filter_run in a child with these arguments, stdin and stdout (-1: as they are, or /dev/null); exit status or 128 + signal. */
static int run(int in, int out, int batched, const char *const *argv)
{
    int p[2], argc = 0, status;
    const char *args[20];
    for (; argv[argc]; argc++) args[argc] = argv[argc];
    args[argc] = NULL;
    fflush(stdout);
    if (pipe(p)) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int n;
        if (in >= 0) dup2(in, 0);
        dup2(out >= 0 ? out : open("/dev/null", O_WRONLY), 1), dup2(p[1], 2), close(p[0]), close(p[1]);
        char **rest = cli_parse(&program, argc, (char **)args, &n);
        struct filter f = {.program = &program, .batch = batched ? 7 : 0, .each = batched ? NULL : each, .all = batched ? all : NULL};
        exit(cli_finish(filter_run(&f, (const char *const *)rest, n, NULL, NULL, 0)));
    }
    close(p[1]);
    size_t have = 0;
    for (ssize_t n; (n = read(p[0], said + have, sizeof said - 1 - have)) > 0;) have += (size_t)n;
    said[have] = 0;
    close(p[0]);
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
#define RUN(...) run(-1, -1, 0, (const char *const[]){"lafs-test", __VA_ARGS__, NULL})
#define SAID(text) do { if (!strstr(said, text)) FAIL_("'%s' is not in: %s", text, said); } while (0)

static int same_files(const char *a, const char *b)
{
    struct lafs_buf x, y;
    lafs_buf_init(&x), lafs_buf_init(&y);
    int same = lafs_buf_read_file(&x, a, 1 << 24, NULL) == LAFS_OK && lafs_buf_read_file(&y, b, 1 << 24, NULL) == LAFS_OK &&
               x.size == y.size && !memcmp(x.data, y.data, x.size);
    lafs_buf_release(&x), lafs_buf_release(&y);
    return same;
}

TEST(same_bytes_whatever_j)
{
    REQUIRE(mkdtemp(dir) && !chdir(dir));
    make("in", 1000);
    bad_every = 200, no_face_every = 10, drop_every = 7;
    CHECK_INT(RUN("-j1", "-o", "a", "in"), 0);
    SAID("lafs-test: 1000 records read, 768 written, 100 without a face, 127 dropped, 5 bad\n");
    SAID("lafs-test: skipping 'k199': made bad\n");
    CHECK_INT(RUN("-j5", "-o", "b", "-q", "in"), 0);
    CHECK_STR(said, "");
    CHECK_INT(run(-1, -1, 1, (const char *const[]){"lafs-test", "-o", "c", "in", NULL}), 0);
    CHECK_INT(count("a"), 768);
    CHECK(same_files("a", "b"));
    CHECK(same_files("a", "c"));
    bad_every = no_face_every = drop_every = 0;
}

TEST(too_many_bad)
{
    bad_every = 10;
    CHECK_INT(RUN("-o", "none", "in"), 1);
    SAID("100 of 1000 records were bad, more than --max-bad 0.01 allows");
    SAID("skipping more");
    CHECK(access("none", F_OK) != 0);
    int fd = open("a", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    CHECK_INT(run(-1, fd, 0, (const char *const[]){"lafs-test", "in", NULL}), 1);
    close(fd);
    CHECK_INT(count("a"), -LAFS_CUT);
    CHECK_INT(RUN("-o", "x-%06d.tar", "in"), 1);
    CHECK(access("x.lafs", F_OK) != 0);
    CHECK_INT(RUN("--max-bad", "0.1", "--rejects", "rejects", "--log", "log", "-o", "x-%06d.tar", "in"), 0);
    CHECK_INT(count("x.lafs"), 900);
    struct lafs_buf b;
    lafs_buf_init(&b);
    CHECK(lafs_buf_read_file(&b, "rejects", 1 << 20, NULL) == LAFS_OK);
    int lines = 0;
    for (size_t i = 0; i < b.size; i++) lines += b.data[i] == '\n';
    CHECK_INT(lines, 100);
    static const char first[] = "{\"key\": \"k9\", \"reason\": \"made bad\"}\n";
    CHECK(!strncmp(lafs_buf_str(&b), first, strlen(first)));
    lafs_buf_clear(&b);
    CHECK(lafs_buf_read_file(&b, "log", 1 << 20, NULL) == LAFS_OK);
    CHECK(strstr(lafs_buf_str(&b), "\"records\": 1000, \"written\": 900, \"bad\": 100,"));
    lafs_buf_release(&b);
    bad_every = 0;
}

TEST(takes_and_drains)
{
    int p[2], status;
    CHECK_INT(RUN("-n", "3", "-o", "a", "in"), 0);
    CHECK_INT(count("a"), 3);
    CHECK_INT(RUN("-n", "0", "-o", "a", "in"), 0);
    CHECK_INT(count("a"), 0);
    REQUIRE(!pipe(p));
    fflush(stdout);
    pid_t pid = fork(); /* a producer that would die of a closed pipe */
    if (pid == 0) {
        struct lafs_buf b;
        lafs_buf_init(&b);
        close(p[0]);
        _exit(lafs_buf_read_file(&b, "in", 1 << 24, NULL) != LAFS_OK || write(p[1], b.data, b.size) != (ssize_t)b.size);
    }
    close(p[1]);
    CHECK_INT(run(p[0], -1, 0, (const char *const[]){"lafs-test", "-n", "3", "-o", "a", NULL}), 0);
    close(p[0]);
    waitpid(pid, &status, 0);
    CHECK_INT(status, 0);
    CHECK_INT(count("a"), 3);
}

TEST(cut_input_publishes_nothing)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    REQUIRE(lafs_buf_read_file(&b, "in", 1 << 24, NULL) == LAFS_OK);
    for (size_t cut = b.size - 1; cut > 0 && cut < b.size; cut -= b.size / 5) {
        int fd = open("cut", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        CHECK(write(fd, b.data, cut) == (ssize_t)cut);
        close(fd);
        CHECK_INT(RUN("-o", "none", "cut"), 3);
        CHECK(said[0]);
        CHECK_INT(RUN("-o", "none-%06d.tar", "cut"), 3);
        CHECK(access("none", F_OK) != 0 && access("none.lafs", F_OK) != 0 && access("none-000000.tar", F_OK) != 0);
    }
    CHECK_INT(RUN("-o", "none", "/dev/null"), 3);
    CHECK_INT(RUN("-o", "none", "missing"), 1);
    SAID("cannot open 'missing': no such file or directory");
    lafs_buf_release(&b);
}

TEST(failures)
{
    fail_at = 500;
    CHECK_INT(RUN("-o", "none", "in"), 1);
    SAID("lafs-test: record 500 is too much\n");
    CHECK(access("none", F_OK) != 0);
    fail_at = -1;
    int full = open("/dev/full", O_WRONLY), p[2], q[2];
    CHECK_INT(run(-1, full, 0, (const char *const[]){"lafs-test", "in", NULL}), 1);
    SAID("no space left on device");
    close(full);
    CHECK_INT(RUN("-o", "/dev/full", "in"), 1);
    SAID("no space left on device");
    REQUIRE(!pipe(p));
    close(p[0]);
    CHECK_INT(run(-1, p[1], 0, (const char *const[]){"lafs-test", "in", NULL}), 128 + SIGPIPE);
    close(p[1]);
    /* A failure while the producer is silent: not waited for for ever. */
    REQUIRE(!pipe(q));
    struct lafs_buf b;
    lafs_buf_init(&b);
    REQUIRE(lafs_buf_read_file(&b, "in", 1 << 24, NULL) == LAFS_OK);
    CHECK(write(q[1], b.data, b.size / 2) == (ssize_t)(b.size / 2));
    fail_at = 3;
    CHECK_INT(run(q[0], -1, 0, (const char *const[]){"lafs-test", "-j1", "-o", "none", NULL}), 1);
    SAID("record 3 is too much");
    fail_at = -1;
    close(q[0]), close(q[1]);
    lafs_buf_release(&b);
}

TEST(several_outputs_and_unwritable_ones)
{
    twice = 1; /* "other" cannot stand in one index twice: all but the first are bad */
    CHECK_INT(RUN("-o", "y.tar", "-n", "2", "--max-bad", "0.5", "in"), 0);
    SAID("3 written, 1 bad");
    CHECK_INT(RUN("-o", "a", "in"), 0);
    CHECK_INT(count("a"), 2000);
    twice = 0;
}

TEST(nothing_is_left)
{
    DIR *d = opendir(".");
    int temps = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        temps += strstr(e->d_name, ".tmp-") != NULL;
        unlink(e->d_name);
    }
    if (d) closedir(d);
    CHECK_INT(temps, 0);
    CHECK(!chdir("/") && !rmdir(dir));
}

TEST_MAIN(same_bytes_whatever_j, too_many_bad, takes_and_drains, cut_input_publishes_nothing, failures,
          several_outputs_and_unwritable_ones, nothing_is_left)
