/* The files of a run directory as any bytes: config.json up to the first byte 1, log.jsonl up to the second, then the
 * checkpoint of step 7. A run that is taken up again keeps the whole lines up to that step; what lafs-show makes of it as
 * JSON is JSON. */
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cmd/showmodel.h"
#include "tests/fuzz/fuzz.h"
#include "train/run.h"

enum { FILES = 3, STEP = 7 };
static const char *const name[FILES] = {"config.json", "log.jsonl", "checkpoint-7.safetensors"};
static char dir[64], path[FILES][96];
static struct lafs_backend backend;
static struct lafs_params params;

static void leave(void)
{
    for (int i = 0; i < FILES; i++) unlink(path[i]);
    rmdir(dir);
    lafs_params_release(&params, &backend);
    lafs_backend_close(&backend);
}

static void enter(void)
{
    const int64_t shape[] = {2, 3};
    const char *why = NULL;
    int id;
    snprintf(dir, sizeof dir, "/tmp/lafs-fuzz-run.XXXXXX");
    must(mkdtemp(dir) != NULL);
    for (int i = 0; i < FILES; i++) snprintf(path[i], sizeof path[i], "%s/%s", dir, name[i]);
    must(lafs_backend_open(&backend, "cpu", NULL, &why, NULL) == LAFS_OK);
    lafs_params_init(&params);
    must(lafs_params_add(&params, "w", 2, shape, 1, LAFS_INIT_ZERO, 0, 0, &id, NULL) == LAFS_OK);
    must(lafs_params_place(&params, &backend, NULL) == LAFS_OK);
    atexit(leave);
}

static void put(const char *to, const void *data, size_t size)
{
    FILE *f = fopen(to, "wb");
    must(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* The log begins with what it was, ends with a whole line, and none of the lines is of a later step. */
static void check_log(const uint8_t *was, size_t size, struct lafs_buf *now)
{
    lafs_buf_clear(now);
    must(lafs_buf_read_file(now, path[1], SIZE_MAX / 4, NULL) == LAFS_OK);
    must(now->size <= size && (now->size == 0 || (!memcmp(now->data, was, now->size) && now->data[now->size - 1] == '\n')));
    for (size_t at = 0, len; at < now->size; at += len + 1) {
        struct lafs_json *j;
        len = (size_t)((const uint8_t *)memchr(now->data + at, '\n', now->size - at) - (now->data + at));
        must(lafs_json_parse(&j, (const char *)now->data + at, len, NULL) == LAFS_OK);
        must(lafs_json_get(j, "step")->integer <= STEP);
        lafs_json_free(j);
    }
}

static void resume(const uint8_t *log, size_t size, struct lafs_buf *b)
{
    static const struct lafs_run_option option[] = {{"epochs", "10", 1}, {"batch", "8", 0}};
    struct lafs_run r;
    struct lafs_st *st;
    struct lafs_err err = {0};
    int64_t cursor[4];
    lafs_status s = lafs_run_open(&r, dir, "prog", "1", option, 2, 1, &err);
    must(s == LAFS_OK || ((s == LAFS_FAILED || s == LAFS_USAGE) && err.msg[0]));
    if (s != LAFS_OK) return;
    must(r.resume == (access(path[2], F_OK) ? -1 : STEP));
    if (r.resume >= 0 && lafs_run_load(&r, &st, &err) == LAFS_OK) {
        (void)lafs_ckpt_read_params(st, "model.", &params, params.value, &backend, &err);
        (void)lafs_ckpt_read_i64(st, "cursor", cursor, 4, &err);
        lafs_st_close(st);
    }
    must(lafs_run_log_open(&r, STEP, &err) == LAFS_OK);
    check_log(log, size, b);
    const size_t kept = b->size;
    lafs_run_close(&r);
    must(lafs_run_open(&r, dir, "prog", "1", option, 2, 0, &err) == LAFS_OK && lafs_run_log_open(&r, STEP, &err) == LAFS_OK);
    lafs_run_close(&r);
    check_log(log, size, b);
    must(b->size == kept);
}

static void show(struct lafs_buf *b)
{
    const char *run = dir;
    struct lafs_json *j;
    struct lafs_err err = {0};
    lafs_buf_clear(b);
    if (run_text(dir, 1, b, &err) == LAFS_OK) {
        must(lafs_json_parse(&j, (const char *)b->data, b->size, &err) == LAFS_OK);
        lafs_json_free(j);
        must(run_text(dir, 0, b, &err) == LAFS_OK);
    } else must(err.msg[0]);
    lafs_buf_clear(b);
    must(run_curves(&run, 1, b, &err) == LAFS_OK || err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_buf b;
    const uint8_t *end = data + size, *log = data;
    size_t log_size = 0;
    if (!dir[0]) enter();
    for (int i = 0; i < FILES; i++) { /* a file of which nothing is said is not there */
        const uint8_t *cut = data < end && i < 2 ? memchr(data, 1, (size_t)(end - data)) : NULL;
        const uint8_t *stop = cut ? cut : end;
        if (stop > data) put(path[i], data, (size_t)(stop - data));
        else unlink(path[i]);
        if (i == 1) log = data, log_size = (size_t)(stop - data);
        data = cut ? cut + 1 : end;
    }
    lafs_buf_init(&b);
    show(&b);
    resume(log, log_size, &b);
    lafs_buf_release(&b);
    return 0;
}
