#include "tests/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/run.h"

static char dir[256];

static void fresh(void)
{
    snprintf(dir, sizeof dir, "/tmp/lafs-test-run-XXXXXX");
    if (!mkdtemp(dir)) abort();
}

static void tidy(void)
{
    static const char *const name[] = {"config.json", "log.jsonl", "checkpoint-3.safetensors", "checkpoint-5.safetensors",
                                       "checkpoint-12.safetensors", "model.safetensors"};
    char path[400];
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        unlink(path);
    }
    rmdir(dir);
}

static long size_of(const char *name)
{
    char path[400];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &s) ? -1 : (long)s.st_size;
}

static const struct lafs_run_option options[] = {{"epochs", "10", 1}, {"batch", "8", 0}};

/* A step's line in the log, and no checkpoint yet. */
static void begin(struct lafs_run *r)
{
    struct lafs_err err;
    struct lafs_buf line;
    lafs_buf_init(&line);
    lafs_buf_puts(&line, "{\"step\": 1}");
    REQUIRE_OK(lafs_run_log_open(r, -1, &err), &err);
    REQUIRE_OK(lafs_run_log(r, &line, &err), &err);
    lafs_buf_release(&line);
    lafs_run_close(r);
}

TEST(options_are_compared)
{
    struct lafs_run r, second;
    struct lafs_err err;
    fresh();
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    CHECK(lafs_run_open(&second, dir, "prog", "1", options, 2, 0, &err) == LAFS_FAILED); /* held */
    CHECK(strstr(err.msg, "in use") != NULL);
    begin(&r);
    const struct lafs_run_option other[] = {{"epochs", "20", 1}, {"batch", "9", 0}};
    CHECK(lafs_run_open(&r, dir, "prog", "1", other, 2, 0, &err) == LAFS_USAGE);
    CHECK(strstr(err.msg, "epochs was '10', is '20'; batch was '8', is '9'") != NULL);
    CHECK(lafs_run_open(&r, dir, "other", "1", options, 2, 0, &err) == LAFS_USAGE);
    const struct lafs_run_option longer[] = {{"epochs", "20", 1}, {"batch", "8", 0}}, shorter[] = {{"epochs", "5", 1}, {"batch", "8", 0}};
    CHECK(lafs_run_open(&r, dir, "prog", "1", shorter, 2, 1, &err) == LAFS_USAGE);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", longer, 2, 1, &err), &err);
    lafs_run_close(&r);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", longer, 2, 0, &err), &err); /* the change was written down */
    lafs_run_close(&r);
    CHECK(lafs_run_open(&r, "", "prog", "1", options, 2, 0, &err) == LAFS_USAGE);
    CHECK_STR(err.msg, "the run's directory has an empty name");
    tidy();
}

/* What could not be begun is begun with other options: a wrong model to start from, say. */
TEST(options_of_no_step_may_differ)
{
    static const char was[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                      is[] = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const struct lafs_run_option first[] = {{"data", was, 0}}, next[] = {{"data", is, 0}};
    struct lafs_run r;
    struct lafs_err err;
    fresh();
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", first, 1, 0, &err), &err);
    lafs_run_close(&r);
    CHECK(lafs_run_open(&r, dir, "other", "1", first, 1, 0, &err) == LAFS_USAGE);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", next, 1, 0, &err), &err);
    begin(&r);
    CHECK(lafs_run_open(&r, dir, "prog", "1", first, 1, 0, &err) == LAFS_USAGE);
    CHECK(strstr(err.msg, "data was fedcba987654.., is 0123456789ab..") != NULL);
    tidy();
}

/* A config.json that somebody has edited: its values need not be strings. */
TEST(options_of_other_types_differ)
{
    static const char text[] = "{\"program\": \"prog\", \"options\": {\"epochs\": 10, \"batch\": null, \"x\": []}}";
    struct lafs_run r;
    struct lafs_err err;
    char path[400];
    fresh();
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "w");
    if (!f || fclose(f)) abort();
    for (int extend = 0; extend < 2; extend++) {
        CHECK(lafs_run_open(&r, dir, "prog", "1", options, 2, extend, &err) == LAFS_USAGE);
        CHECK(strstr(err.msg, "epochs was '', is '10'; batch was '', is '8'; x was '', is not known") != NULL);
    }
    tidy();
}

static void save(struct lafs_run *r, int64_t step)
{
    struct lafs_ckpt c;
    struct lafs_err err;
    const int64_t one = 1;
    lafs_ckpt_init(&c);
    REQUIRE_OK(lafs_ckpt_add(&c, "cursor", LAFS_I64, &one, 1, &step, &err), &err);
    REQUIRE_OK(lafs_run_save(r, step, &c, &err), &err);
    lafs_ckpt_release(&c);
}

TEST(checkpoints_are_kept_and_found)
{
    struct lafs_run r;
    struct lafs_err err;
    struct lafs_st *st;
    int64_t step = 0;
    fresh();
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    CHECK_INT(r.resume, -1);
    CHECK(lafs_run_peek(dir, &st, &err) == LAFS_END);
    save(&r, 3), save(&r, 5), save(&r, 12);
    CHECK(size_of("checkpoint-3.safetensors") < 0);
    CHECK(size_of("checkpoint-5.safetensors") > 0);
    lafs_run_close(&r);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    CHECK_INT(r.resume, 12);
    REQUIRE_OK(lafs_run_load(&r, &st, &err), &err);
    REQUIRE_OK(lafs_ckpt_read_i64(st, "cursor", &step, 1, &err), &err);
    CHECK_INT(step, 12);
    CHECK(lafs_ckpt_read_i64(st, "cursor", &step, 2, &err) == LAFS_FAILED);
    lafs_st_close(st);
    lafs_run_close(&r);
    tidy();
}

static void line(struct lafs_run *r, const char *text)
{
    struct lafs_buf b;
    struct lafs_err err;
    lafs_buf_init(&b);
    lafs_buf_puts(&b, text);
    REQUIRE_OK(lafs_run_log(r, &b, &err), &err);
    lafs_buf_release(&b);
}

TEST(log_is_cut_back)
{
    struct lafs_run r;
    struct lafs_err err;
    fresh();
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    REQUIRE_OK(lafs_run_log_open(&r, -1, &err), &err);
    line(&r, "{\"step\": 1}"), line(&r, "{\"step\": 2}"), line(&r, "{\"step\": 3}");
    if (write(r.log, "{\"step\": ", 9) != 9) abort(); /* killed in the middle of a line */
    lafs_run_close(&r);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    REQUIRE_OK(lafs_run_log_open(&r, 3, &err), &err);
    CHECK_INT(size_of("log.jsonl"), 36);
    lafs_run_close(&r);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    REQUIRE_OK(lafs_run_log_open(&r, 2, &err), &err);
    CHECK_INT(size_of("log.jsonl"), 24);
    line(&r, "\1\1damaged"), line(&r, "{\"step\": 4}"), line(&r, "{\"note\": 0}"), line(&r, "{\"step\": 5}");
    lafs_run_close(&r);
    REQUIRE_OK(lafs_run_open(&r, dir, "prog", "1", options, 2, 0, &err), &err);
    REQUIRE_OK(lafs_run_log_open(&r, 4, &err), &err); /* a good line behind a damaged one is not lost */
    CHECK_INT(size_of("log.jsonl"), 24 + 10 + 12);
    lafs_run_close(&r);
    tidy();
}

TEST_MAIN(options_are_compared, options_of_no_step_may_differ, options_of_other_types_differ, checkpoints_are_kept_and_found,
          log_is_cut_back)
