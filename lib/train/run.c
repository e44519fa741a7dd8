#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/json.h"
#include "base/mem.h"

enum { MAX_CONFIG = 1 << 20 };

lafs_status lafs_run_path(const struct lafs_run *r, const char *name, struct lafs_buf *buf, struct lafs_err *err)
{
    lafs_buf_clear(buf);
    lafs_buf_printf(buf, "%s/%s", r->dir, name);
    return lafs_buf_str(buf) ? LAFS_OK : lafs_buf_check(buf, err);
}

/* -- config.json -- */

static lafs_status write_config(const char *path, const char *program, const char *version,
                                const struct lafs_run_option *option, int n, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_puts(&b, "{\n  \"program\": ");
    lafs_json_put_string(&b, program, strlen(program));
    lafs_buf_puts(&b, ",\n  \"version\": ");
    lafs_json_put_string(&b, version, strlen(version));
    lafs_buf_puts(&b, ",\n  \"options\": {");
    for (int i = 0; i < n; i++) {
        lafs_buf_puts(&b, i ? ",\n    " : "\n    ");
        lafs_json_put_string(&b, option[i].name, strlen(option[i].name));
        lafs_buf_puts(&b, ": ");
        lafs_json_put_string(&b, option[i].value, strlen(option[i].value));
    }
    lafs_buf_puts(&b, "\n  }\n}\n");
    lafs_status st = lafs_buf_check(&b, err);
    if (st == LAFS_OK) st = lafs_atomic_put(path, b.data, b.size, err);
    lafs_buf_release(&b);
    return st;
}

static const struct lafs_run_option *find_option(const struct lafs_run_option *option, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(option[i].name, name)) return &option[i];
    return NULL;
}

/* What a run's configuration says of an option: "" unless it is a string. */
static const char *text_of(const struct lafs_json *v) { return v && v->type == LAFS_JSON_STRING ? v->str : ""; }

/* The values of an option; digests of models and of data, some first digits of them. */
static void put_change(struct lafs_buf *diff, const char *name, const char *was, const char *is)
{
    const char *sep = diff->size ? "; " : "";
    if (strlen(was) == 64 && strlen(is) == 64 && strspn(was, "0123456789abcdef") == 64)
        lafs_buf_printf(diff, "%s%s was %.12s.., is %.12s..", sep, name, was, is);
    else lafs_buf_printf(diff, "%s%s was '%s', is '%s'", sep, name, was, is);
}

/* Appends "; NAME was OLD, is NEW" to diff for every difference. *grown: an option that may grow has grown; where
 * `extend` does not allow that, it is a difference. */
static void compare_options(const struct lafs_json *old, const struct lafs_run_option *option, int n, int extend,
                            struct lafs_buf *diff, int *grown)
{
    for (int i = 0; i < n; i++) {
        const struct lafs_json *v = lafs_json_get(old, option[i].name);
        const char *was = text_of(v);
        if (v && v->type == LAFS_JSON_STRING && !strcmp(was, option[i].value)) continue;
        if (option[i].may_grow && *was && strtod(option[i].value, NULL) > strtod(was, NULL)) {
            *grown = 1;
            if (extend) continue;
        }
        put_change(diff, option[i].name, was, option[i].value);
    }
    for (const struct lafs_json *v = old->child; v; v = v->next)
        if (!find_option(option, n, v->key))
            lafs_buf_printf(diff, "%s%s was '%s', is not known", diff->size ? "; " : "", v->key,
                            text_of(v));
}

/* *options: those of the configuration of a run of this program, inside *j. */
static lafs_status read_config(struct lafs_json **j, const struct lafs_json **options, const char *path,
                               const char *program, struct lafs_err *err)
{
    struct lafs_buf text;
    lafs_buf_init(&text);
    lafs_status st = lafs_buf_read_file(&text, path, MAX_CONFIG, err);
    if (st == LAFS_OK) {
        st = lafs_json_parse(j, (const char *)text.data, text.size, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    }
    lafs_buf_release(&text);
    if (st != LAFS_OK) return st;
    const struct lafs_json *p = lafs_json_get(*j, "program");
    *options = lafs_json_get(*j, "options");
    if (!p || p->type != LAFS_JSON_STRING || !*options || (*options)->type != LAFS_JSON_OBJECT)
        return lafs_fail(err, LAFS_FAILED, "'%s' is not the configuration of a run", path);
    if (strcmp(p->str, program)) return lafs_fail(err, LAFS_USAGE, "'%s' is a run of %s", path, p->str);
    return LAFS_OK;
}

static lafs_status check_options(const struct lafs_json *old, const struct lafs_run_option *option, int n, int extend,
                                 int *grown, struct lafs_err *err)
{
    struct lafs_buf diff;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&diff);
    compare_options(old, option, n, extend, &diff, grown);
    if (diff.size)
        st = lafs_fail(err, LAFS_USAGE,
                       "the run was begun with other options: %s (take them back, or give another -o%s)",
                       lafs_buf_str(&diff), *grown && !extend ? "; --extend lets the run grow" : "");
    lafs_buf_release(&diff);
    return st;
}

/* -- checkpoints on disk -- */

/* The step of "checkpoint-STEP.safetensors", or -1. */
static int64_t step_of(const char *name)
{
    static const char head[] = "checkpoint-", tail[] = ".safetensors";
    if (strncmp(name, head, sizeof head - 1)) return -1;
    const char *digits = name + sizeof head - 1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 18 || strcmp(digits + n, tail)) return -1;
    return strtoll(digits, NULL, 10);
}

/* The newest step below `below` of a checkpoint in dir, -1 if none. */
static int64_t newest_step(const char *dir, int64_t below)
{
    DIR *d = opendir(dir);
    if (!d) return -1;
    int64_t best = -1;
    for (struct dirent *e; (e = readdir(d));) {
        int64_t s = step_of(e->d_name);
        if (s > best && s < below) best = s;
    }
    closedir(d);
    return best;
}

static void checkpoint_name(int64_t step, char name[64])
{
    snprintf(name, 64, "checkpoint-%" PRId64 ".safetensors", step);
}

static lafs_status open_checkpoint(const char *dir, int64_t step, struct lafs_st **st, struct lafs_err *err)
{
    struct lafs_buf path;
    char name[64];
    lafs_buf_init(&path);
    checkpoint_name(step, name);
    lafs_buf_printf(&path, "%s/%s", dir, name);
    const char *p = lafs_buf_str(&path);
    lafs_status s = p ? lafs_st_open(st, p, err) : lafs_buf_check(&path, err);
    lafs_buf_release(&path);
    return s;
}

lafs_status lafs_run_load(const struct lafs_run *r, struct lafs_st **st, struct lafs_err *err)
{
    return open_checkpoint(r->dir, r->resume, st, err);
}

lafs_status lafs_run_peek(const char *dir, struct lafs_st **st, struct lafs_err *err)
{
    int64_t step = newest_step(dir, INT64_MAX);
    return step < 0 ? LAFS_END : open_checkpoint(dir, step, st, err);
}

/* -- the run -- */

/* mkdir -p. */
static lafs_status make_dirs(const char *dir, struct lafs_err *err)
{
    char *copy;
    if (!*dir) return lafs_fail(err, LAFS_USAGE, "the run's directory has an empty name");
    LAFS_TRY(lafs_strdup(&copy, dir, err));
    lafs_status st = LAFS_OK;
    for (char *p = copy + 1; st == LAFS_OK; p++) {
        if (*p != '/' && *p) continue;
        char c = *p;
        *p = 0;
        if (mkdir(copy, 0777) && errno != EEXIST)
            st = lafs_fail(err, LAFS_FAILED, "cannot create directory '%s': %s", copy, lafs_strerror(errno));
        *p = c;
        if (!c) break;
    }
    lafs_free(copy);
    return st;
}

/* 0: there is a configuration and nothing else, since what it said could not be done. */
static int has_begun(const struct lafs_run *r, struct lafs_buf *path)
{
    struct stat log;
    if (newest_step(r->dir, INT64_MAX) >= 0 || lafs_run_path(r, "model.safetensors", path, NULL) != LAFS_OK ||
        access((const char *)path->data, F_OK) == 0)
        return 1;
    return lafs_run_path(r, "log.jsonl", path, NULL) != LAFS_OK ||
           (stat((const char *)path->data, &log) == 0 && log.st_size > 0);
}

static lafs_status settle_config(struct lafs_run *r, const char *program, const char *version,
                                 const struct lafs_run_option *option, int n, int extend, struct lafs_err *err)
{
    struct lafs_buf path, other;
    struct lafs_json *j = NULL;
    const struct lafs_json *old;
    lafs_buf_init(&path);
    lafs_buf_init(&other);
    int write = 0;
    lafs_status st = lafs_run_path(r, "config.json", &path, err);
    if (st != LAFS_OK) goto out;
    const char *p = (const char *)path.data;
    if (access(p, F_OK)) {
        if (newest_step(r->dir, INT64_MAX) >= 0)
            st = lafs_fail(err, LAFS_FAILED, "'%s' holds checkpoints but no config.json", r->dir);
        else st = write_config(p, program, version, option, n, err);
        goto out;
    }
    LAFS_TRY_GOTO(st, read_config(&j, &old, p, program, err), out);
    if (!has_begun(r, &other)) write = 1;
    else st = check_options(old, option, n, extend, &write, err);
    if (st == LAFS_OK && write) st = write_config(p, program, version, option, n, err);
out:
    lafs_json_free(j);
    lafs_buf_release(&path);
    lafs_buf_release(&other);
    return st;
}

lafs_status lafs_run_open(struct lafs_run *r, const char *dir, const char *program, const char *version,
                          const struct lafs_run_option *option, int n, int extend, struct lafs_err *err)
{
    memset(r, 0, sizeof *r);
    r->lock = r->log = -1;
    r->keep = 2;
    LAFS_TRY(make_dirs(dir, err));
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_strdup(&r->dir, dir, err), fail);
    r->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock < 0) {
        st = lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", dir, lafs_strerror(errno));
        goto fail;
    }
    if (flock(r->lock, LOCK_EX | LOCK_NB)) {
        st = errno == EWOULDBLOCK
                 ? lafs_fail(err, LAFS_FAILED, "'%s' is in use by another process", dir)
                 : lafs_fail(err, LAFS_FAILED, "cannot lock '%s': %s", dir, lafs_strerror(errno));
        goto fail;
    }
    lafs_atomic_sweep(dir); /* a killed process leaves as much as a whole checkpoint behind */
    LAFS_TRY_GOTO(st, settle_config(r, program, version, option, n, extend, err), fail);
    r->resume = newest_step(dir, INT64_MAX);
    return LAFS_OK;
fail:
    lafs_run_close(r);
    return st;
}

lafs_status lafs_run_follow(struct lafs_run *r, const char *dir, struct lafs_err *err)
{
    memset(r, 0, sizeof *r);
    r->lock = r->log = -1;
    r->resume = -1;
    return lafs_strdup(&r->dir, dir, err);
}

void lafs_run_close(struct lafs_run *r)
{
    if (r->log >= 0) close(r->log);
    if (r->lock >= 0) close(r->lock);
    lafs_free(r->dir);
    memset(r, 0, sizeof *r);
    r->lock = r->log = -1;
}

/* -- log.jsonl -- */

/* Bytes of the log's beginning, up to its last whole line of a step of at most `step`. What is damaged before that
 * stays: lafs-show --curves names it, and the lines behind it are good. */
static size_t keep_lines(const struct lafs_buf *text, int64_t step)
{
    size_t at = 0, keep = 0;
    int later = 0;
    while (at < text->size && !later) {
        const unsigned char *line = text->data + at, *nl = memchr(line, '\n', text->size - at);
        if (!nl) break;
        at = (size_t)(nl + 1 - text->data);
        struct lafs_json *j;
        if (lafs_json_parse(&j, (const char *)line, (size_t)(nl - line), NULL) != LAFS_OK) continue;
        const struct lafs_json *s = lafs_json_get(j, "step");
        if (s && s->is_int && s->integer <= step) keep = at;
        later = s && s->is_int && s->integer > step;
        lafs_json_free(j);
    }
    return keep;
}

lafs_status lafs_run_log_open(struct lafs_run *r, int64_t step, struct lafs_err *err)
{
    struct lafs_buf path, text;
    lafs_buf_init(&path);
    lafs_buf_init(&text);
    lafs_status st = lafs_run_path(r, "log.jsonl", &path, err);
    if (st != LAFS_OK) goto out;
    const char *p = (const char *)path.data;
    size_t keep = 0;
    if (step >= 0 && access(p, F_OK) == 0) {
        LAFS_TRY_GOTO(st, lafs_buf_read_file(&text, p, SIZE_MAX / 4, err), out);
        keep = keep_lines(&text, step);
    }
    r->log = open(p, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (r->log < 0 || ftruncate(r->log, (off_t)keep))
        st = lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", p, lafs_strerror(errno));
out:
    lafs_buf_release(&path);
    lafs_buf_release(&text);
    return st;
}

lafs_status lafs_run_log(struct lafs_run *r, struct lafs_buf *line, struct lafs_err *err)
{
    lafs_buf_putc(line, '\n');
    LAFS_TRY(lafs_buf_check(line, err));
    for (size_t at = 0; at < line->size;) {
        ssize_t n = write(r->log, line->data + at, line->size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot write '%s/log.jsonl': %s", r->dir, lafs_strerror(errno));
        at += (size_t)n;
    }
    return LAFS_OK;
}

/* -- checkpoint contents -- */

void lafs_ckpt_init(struct lafs_ckpt *c) { memset(c, 0, sizeof *c); }

void lafs_ckpt_release(struct lafs_ckpt *c)
{
    for (int i = 0; i < c->count; i++) {
        lafs_free((void *)c->tensor[i].name);
        lafs_free((void *)c->tensor[i].data);
    }
    for (int i = 0; i < c->metas; i++) {
        lafs_free((void *)c->meta[i].key);
        lafs_free((void *)c->meta[i].value);
    }
    lafs_free(c->tensor);
    lafs_free(c->meta);
    memset(c, 0, sizeof *c);
}

lafs_status lafs_ckpt_add(struct lafs_ckpt *c, const char *name, enum lafs_dtype type, const int64_t *shape, int ndim,
                          const void *data, struct lafs_err *err)
{
    if (c->count == c->cap) {
        int cap = c->cap ? 2 * c->cap : 64;
        LAFS_TRY(lafs_resize(&c->tensor, (size_t)c->cap, (size_t)cap, sizeof *c->tensor, err));
        c->cap = cap;
    }
    struct lafs_st_tensor t = {.dtype = type, .ndim = ndim, .count = 1};
    for (int i = 0; i < ndim; i++) t.count *= t.shape[i] = shape[i];
    char *own_name;
    void *own;
    LAFS_TRY(lafs_strdup(&own_name, name, err));
    lafs_status st = lafs_alloc(&own, (size_t)t.count, lafs_dtype_size(type), err);
    if (st != LAFS_OK) {
        lafs_free(own_name);
        return st;
    }
    if (data) memcpy(own, data, (size_t)t.count * lafs_dtype_size(type));
    t.name = own_name;
    t.data = own;
    c->tensor[c->count++] = t;
    return LAFS_OK;
}

lafs_status lafs_ckpt_add_meta(struct lafs_ckpt *c, const char *key, const char *value, struct lafs_err *err)
{
    if (c->metas == c->metas_cap) {
        int cap = c->metas_cap ? 2 * c->metas_cap : 16;
        LAFS_TRY(lafs_resize(&c->meta, (size_t)c->metas_cap, (size_t)cap, sizeof *c->meta, err));
        c->metas_cap = cap;
    }
    char *k, *v;
    LAFS_TRY(lafs_strdup(&k, key, err));
    lafs_status st = lafs_strdup(&v, value, err);
    if (st != LAFS_OK) {
        lafs_free(k);
        return st;
    }
    c->meta[c->metas++] = (struct lafs_st_meta){k, v};
    return LAFS_OK;
}

static lafs_status prefixed(const char *prefix, const char *name, char out[2 * LAFS_MAX_TENSOR_NAME],
                            struct lafs_err *err)
{
    int n = snprintf(out, 2 * LAFS_MAX_TENSOR_NAME, "%s%s", prefix, name);
    return n < 2 * LAFS_MAX_TENSOR_NAME ? LAFS_OK
                                        : lafs_fail(err, LAFS_FAILED, "tensor name too long: '%s%s'", prefix, name);
}

lafs_status lafs_ckpt_add_params(struct lafs_ckpt *c, const char *prefix, const struct lafs_params *ps,
                                 const float *value, const struct lafs_backend *b, struct lafs_err *err)
{
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        char name[2 * LAFS_MAX_TENSOR_NAME];
        LAFS_TRY(prefixed(prefix, p->name, name, err));
        LAFS_TRY(lafs_ckpt_add(c, name, LAFS_F32, p->shape, p->ndim, NULL, err));
        b->ops->download(b->dev, (void *)c->tensor[c->count - 1].data, value + p->off, (size_t)p->size * sizeof(float));
    }
    return b->ops->sync(b->dev, err);
}

lafs_status lafs_ckpt_read_params(const struct lafs_st *st, const char *prefix, const struct lafs_params *ps,
                                  float *value, const struct lafs_backend *b, struct lafs_err *err)
{
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        char name[2 * LAFS_MAX_TENSOR_NAME];
        float *host;
        LAFS_TRY(prefixed(prefix, p->name, name, err));
        LAFS_TRY(lafs_alloc(&host, (size_t)p->size, sizeof *host, err));
        lafs_status s = lafs_st_read_f32(st, name, p->shape, p->ndim, host, err);
        if (s == LAFS_OK) b->ops->upload(b->dev, value + p->off, host, (size_t)p->size * sizeof(float));
        if (s == LAFS_OK) s = b->ops->sync(b->dev, err); /* before host goes */
        lafs_free(host);
        LAFS_TRY(s);
    }
    return LAFS_OK;
}

lafs_status lafs_ckpt_read_i64(const struct lafs_st *st, const char *name, int64_t *out, int64_t n,
                               struct lafs_err *err)
{
    const struct lafs_st_tensor *t = lafs_st_find(st, name);
    if (!t || t->dtype != LAFS_I64 || t->count != n)
        return lafs_fail(err, LAFS_FAILED, "tensor '%s' of %" PRId64 " integers is missing", name, n);
    memcpy(out, t->data, (size_t)n * sizeof *out);
    return LAFS_OK;
}

lafs_status lafs_run_save(struct lafs_run *r, int64_t step, const struct lafs_ckpt *c, struct lafs_err *err)
{
    struct lafs_buf path;
    char name[64];
    lafs_buf_init(&path);
    checkpoint_name(step, name);
    lafs_status st = lafs_run_path(r, name, &path, err);
    if (st == LAFS_OK && r->log >= 0 && fdatasync(r->log)) /* a power cut leaves the lines of a checkpoint's steps */
        st = lafs_fail(err, LAFS_FAILED, "cannot write '%s/log.jsonl': %s", r->dir, lafs_strerror(errno));
    if (st == LAFS_OK) st = lafs_st_write((const char *)path.data, c->tensor, c->count, c->meta, c->metas, err);
    if (st == LAFS_OK) {
        r->resume = step;
        int64_t s = step + 1;
        for (int kept = 0; (s = newest_step(r->dir, s)) >= 0; kept++) {
            if (kept < r->keep) continue;
            checkpoint_name(s, name);
            if (lafs_run_path(r, name, &path, err) == LAFS_OK) unlink((const char *)path.data);
        }
    }
    lafs_buf_release(&path);
    return st;
}
