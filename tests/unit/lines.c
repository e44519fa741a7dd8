/* Lines and keys of an index that do not fit into memory: against a table of all keys that do. */
#include "data/lines.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/rng.h"
#include "data/index.h"
#include "tests/test.h"

static struct lafs_err e;
static char dir[] = "/tmp/lafs-lines-XXXXXX";

enum { KINDS = 9000 };

/* Many that begin alike, some with what is escaped, some long. */
static const char *key_of(int i)
{
    static char key[LAFS_MAX_KEY + 1];
    int n = snprintf(key, sizeof key, "p%d/%s%06d", i / 3000, i % 5 ? "" : "%100%", i);
    if (i % 997 == 0)
        for (; n < LAFS_MAX_KEY; n++) key[n] = '%';
    key[n] = 0;
    return key;
}

static int files_in_dir(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *f; d && (f = readdir(d));) n += strcmp(f->d_name, ".") && strcmp(f->d_name, "..");
    if (d) closedir(d);
    return n;
}

/* The keys of `which` (count): each is refused when it was there before, and the lines come out as they were put in. */
static void all_is_right(const int *which, int count, size_t hold, size_t held)
{
    static unsigned char there[KINDS];
    struct lafs_lines l;
    struct lafs_buf want, got;
    struct lafs_atomic f;
    int wrong = 0;
    memset(there, 0, sizeof there);
    lafs_buf_init(&want);
    lafs_buf_init(&got);
    lafs_lines_init(&l, "x.lafs");
    l.hold = hold;
    l.keys.held = held;
    for (int i = 0; i < count; i++) {
        const char *key = key_of(which[i]);
        lafs_status st = lafs_lines_claim(&l, key, &e);
        wrong += st != (there[which[i]] ? LAFS_BAD_RECORD : LAFS_OK);
        if (st == LAFS_BAD_RECORD && strlen(key) < 100) wrong += strstr(e.msg, "was there before") == NULL;
        if (st != LAFS_OK) continue;
        there[which[i]] = 1;
        REQUIRE_OK(lafs_lines_put(&l, i / 100, i, 512, key, i % 3 ? "n\tm" : "", &e), &e);
        lafs_index_put_sample(&want, i / 100, i, 512, key, i % 3 ? "n\tm" : "");
    }
    CHECK_INT(wrong, 0);
    CHECK((l.spilled > 0) == (want.size >= hold));
    CHECK_INT(files_in_dir(), 0); /* they have no names */
    REQUIRE_OK(lafs_atomic_open(&f, "x.lafs", &e), &e);
    REQUIRE_OK(lafs_lines_copy(&l, &f, &e), &e);
    REQUIRE_OK(lafs_atomic_commit(&f, &e), &e);
    REQUIRE_OK(lafs_buf_read_file(&got, "x.lafs", 1 << 26, &e), &e);
    CHECK(got.size == want.size && memcmp(got.data, want.data, want.size) == 0);
    unlink("x.lafs");
    lafs_lines_release(&l);
    lafs_buf_release(&want);
    lafs_buf_release(&got);
}

static void in_every_size(const int *which, int count)
{
    static const size_t hold[] = {1, 3000, 1 << 20}, held[] = {1024, 4096, 0};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) all_is_right(which, count, hold[i], held[k]);
}

TEST(as_a_table_of_all_keys)
{
    static int which[2 * KINDS];
    struct lafs_rng r;
    REQUIRE(mkdtemp(dir) && !chdir(dir));
    lafs_rng_init(&r, lafs_rng_key(5, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < 2 * KINDS; i++) which[i] = (int)lafs_rng_below(&r, KINDS);
    in_every_size(which, 2 * KINDS);
    in_every_size(which, 1);
    /* In order for long, then all once more from the middle on. */
    for (int i = 0; i < KINDS; i++) which[i] = i, which[KINDS + i] = (KINDS / 2 + i) % KINDS;
    in_every_size(which, 2 * KINDS);
    /* The last one again, and again. */
    for (int i = 0; i < 40; i++) which[i] = i / 4 + 1;
    in_every_size(which, 40);
}

/* Whatever write fails, of lines or of a table: said so, and nothing stays behind. */
TEST(a_full_disk)
{
    struct rlimit was, few;
    struct lafs_lines l;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &was) == 0);
    for (int limit = 0; limit < 200000; limit += 30000 - limit % 7) {
        few = (struct rlimit){(rlim_t)limit, was.rlim_max};
        lafs_status st = LAFS_OK;
        lafs_lines_init(&l, "x.lafs");
        l.hold = limit % 2 ? 4096 : 1 << 20;
        l.keys.held = 1024;
        REQUIRE(setrlimit(RLIMIT_FSIZE, &few) == 0);
        for (int i = KINDS; i-- > 0 && st == LAFS_OK;) {
            st = lafs_lines_claim(&l, key_of(i), &e);
            if (st == LAFS_OK) st = lafs_lines_put(&l, 0, i, 512, key_of(i), "", &e);
        }
        setrlimit(RLIMIT_FSIZE, &was);
        CHECK_INT(st, LAFS_FAILED);
        CHECK(strstr(e.msg, "cannot write beside 'x.lafs': "));
        lafs_lines_release(&l);
        CHECK_INT(files_in_dir(), 0);
    }
    lafs_lines_init(&l, "nowhere/x.lafs");
    l.hold = 1;
    CHECK_INT(lafs_lines_claim(&l, "a", &e), LAFS_OK);
    CHECK_INT(lafs_lines_put(&l, 0, 0, 512, "a", "", &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "cannot create 'nowhere/x.lafs': "));
    lafs_lines_release(&l);
    rmdir(dir);
}

TEST_MAIN(as_a_table_of_all_keys, a_full_disk)
