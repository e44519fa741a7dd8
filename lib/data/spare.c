/* Whether a writer would replace what is being read. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "data/index.h"
#include "data/pattern.h"
#include "data/source.h"

struct file {
    dev_t dev;
    ino_t ino;
};
struct outputs {
    const char *out;   /* as given */
    char name[300];    /* for messages: in quotes, or "standard output" */
    struct file *file; /* (count) those that are there now */
    size_t count, cap;
};

static lafs_status add(struct outputs *o, const struct stat *s, struct lafs_err *err)
{
    if (!S_ISREG(s->st_mode)) return LAFS_OK;
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        LAFS_TRY(lafs_resize(&o->file, o->cap, cap, sizeof *o->file, err));
        o->cap = cap;
    }
    o->file[o->count++] = (struct file){s->st_dev, s->st_ino};
    return LAFS_OK;
}

static lafs_status add_path(struct outputs *o, const char *path, struct lafs_err *err)
{
    struct stat s;
    return stat(path, &s) == 0 ? add(o, &s, err) : LAFS_OK;
}

/* What cannot be looked at cannot be written either: the writer will say so. */
static lafs_status add_numbered(struct outputs *o, struct lafs_pattern *p, struct lafs_err *err)
{
    struct lafs_buf dir;
    lafs_buf_init(&dir);
    size_t len = (size_t)(lafs_base_name(p->path) - p->path);
    if (len) lafs_buf_put(&dir, p->path, len);
    else lafs_buf_putc(&dir, '.');
    const char *path = lafs_buf_str(&dir);
    lafs_status st = path ? LAFS_OK : lafs_buf_check(&dir, err);
    DIR *d = path ? opendir(path) : NULL;
    for (const struct dirent *e; d && st == LAFS_OK && (e = readdir(d));) {
        struct stat s;
        if (lafs_pattern_number(p, e->d_name) >= 0 && fstatat(dirfd(d), e->d_name, &s, 0) == 0) st = add(o, &s, err);
    }
    if (d) closedir(d);
    lafs_buf_release(&dir);
    return st;
}

static lafs_status collect(struct outputs *o, struct lafs_err *err)
{
    struct stat s;
    if (!o->out || strcmp(o->out, "-") == 0) {
        snprintf(o->name, sizeof o->name, "standard output");
        return fstat(STDOUT_FILENO, &s) == 0 ? add(o, &s, err) : LAFS_OK;
    }
    snprintf(o->name, sizeof o->name, "the output '%.250s'", o->out);
    if (!lafs_pattern_is(o->out)) return add_path(o, o->out, err);
    struct lafs_pattern p = {.digits = 0};
    lafs_status st = lafs_pattern_init(&p, o->out, err);
    if (st == LAFS_OK) st = add_path(o, p.index, err);
    if (st == LAFS_OK) st = add_numbered(o, &p, err);
    lafs_pattern_release(&p);
    return st;
}

static int is_output(const struct outputs *o, const struct stat *s)
{
    if (!S_ISREG(s->st_mode)) return 0;
    for (size_t i = 0; i < o->count; i++)
        if (o->file[i].dev == s->st_dev && o->file[i].ino == s->st_ino) return 1;
    return 0;
}

static int is_index(const char *path)
{
    char first[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, first, sizeof first);
    if (fd >= 0) close(fd);
    return n > 0 && lafs_input_kind(first, (size_t)n) == LAFS_KIND_INDEX;
}

static lafs_status check_shards(const struct outputs *o, const char *path, struct lafs_err *err)
{
    struct lafs_index *ix;
    struct lafs_buf b;
    struct stat s;
    LAFS_TRY(lafs_index_read_shards(&ix, path, err));
    lafs_buf_init(&b);
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < ix->shards && st == LAFS_OK; i++) {
        const char *shard = lafs_index_shard_path(ix, i, &b);
        if (!shard) st = lafs_buf_check(&b, err);
        else if (stat(shard, &s) == 0 && is_output(o, &s))
            st = lafs_fail(err, LAFS_USAGE, "'%s', a shard of the input '%s', would be replaced by %s", shard,
                           path, o->name);
    }
    lafs_buf_release(&b);
    lafs_index_free(ix);
    return st;
}

static lafs_status check_input(const struct outputs *o, const char *path, struct lafs_err *err)
{
    struct stat s;
    int std = strcmp(path, "-") == 0;
    if ((std ? fstat(STDIN_FILENO, &s) : stat(path, &s)) || !S_ISREG(s.st_mode)) return LAFS_OK;
    if (is_output(o, &s) && std)
        return lafs_fail(err, LAFS_USAGE, "the file on standard input would be replaced by %s", o->name);
    if (is_output(o, &s))
        return lafs_fail(err, LAFS_USAGE, "the input '%s' would be replaced by %s", path, o->name);
    return !std && is_index(path) ? check_shards(o, path, err) : LAFS_OK;
}

lafs_status lafs_writer_spares(const char *out, const char *const *paths, int n, struct lafs_err *err)
{
    struct outputs o = {.out = out};
    lafs_status st = collect(&o, err);
    for (int i = 0; i < n && st == LAFS_OK && o.count; i++) st = check_input(&o, paths[i], err);
    lafs_free(o.file);
    return st;
}
