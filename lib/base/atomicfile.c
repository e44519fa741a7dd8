#include "base/atomicfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

/* The temporaries that exist now. Fixed memory: the signal handler reads it at any moment. */
enum { SLOTS = 64, FREE = 0, CLAIMED, LIVE };
static struct {
    _Atomic int state;
    pid_t pid; /* a forked child must not remove its parent's files */
    char path[PATH_MAX];
} live[SLOTS];
static _Atomic unsigned serial;
static _Atomic pid_t leaving; /* this process, once it has removed its temporaries: it makes no more */

static int claim_slot(void)
{
    for (int i = 0; i < SLOTS; i++) {
        int expected = FREE;
        if (atomic_compare_exchange_strong(&live[i].state, &expected, CLAIMED)) return i;
    }
    return -1;
}

void lafs_atomic_unlink_all(void)
{
    pid_t self = getpid();
    atomic_store(&leaving, self);
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load(&live[i].state) == LIVE && live[i].pid == self) unlink(live[i].path);
}

/* Splits at the last '/': the length of the directory part, '/' included. */
static size_t dir_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static lafs_status temp_name(char **out, const char *path, struct lafs_err *err)
{
    size_t dir = dir_length(path);
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_put(&b, path, dir);
    lafs_buf_printf(&b, ".%s.tmp-%ld-%u", path + dir, (long)getpid(), atomic_fetch_add(&serial, 1));
    const char *s = lafs_buf_str(&b);
    lafs_status st = !s ? lafs_buf_check(&b, err)
                     : b.size >= PATH_MAX ? lafs_fail(err, LAFS_FAILED, "cannot create '%s': name too long", path)
                                          : lafs_strdup(out, s, err);
    lafs_buf_release(&b);
    return st;
}

static lafs_status open_temp(struct lafs_atomic *f, const struct stat *old, struct lafs_err *err)
{
    f->slot = claim_slot();
    if (f->slot < 0)
        return lafs_fail(err, LAFS_FAILED, "cannot create '%s': more than %d files being written", f->path, SLOTS);
    do {
        lafs_free(f->temp);
        f->temp = NULL;
        LAFS_TRY(temp_name(&f->temp, f->path, err));
        atomic_store(&live[f->slot].state, CLAIMED); /* nobody reads the path now */
        snprintf(live[f->slot].path, sizeof live[f->slot].path, "%s", f->temp);
        live[f->slot].pid = getpid();
        atomic_store(&live[f->slot].state, LIVE); /* before the file is there: a signal may come in between */
        if (atomic_load(&leaving) == getpid())
            return lafs_fail(err, LAFS_FAILED, "cannot create '%s': the program is ending", f->path);
        f->fd = open(f->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (f->fd < 0 && errno == EEXIST);
    if (f->fd < 0) return lafs_fail(err, LAFS_FAILED, "cannot create '%s': %s", f->path, lafs_strerror(errno));
    if (atomic_load(&leaving) == getpid()) unlink(f->temp); /* it came too late for lafs_atomic_unlink_all */
    if (old && fchmod(f->fd, old->st_mode & 07777))
        return lafs_fail(err, LAFS_FAILED, "cannot create '%s': %s", f->path, lafs_strerror(errno));
    return LAFS_OK;
}

lafs_status lafs_atomic_open(struct lafs_atomic *f, const char *path, struct lafs_err *err)
{
    struct stat s;
    *f = (struct lafs_atomic){-1, NULL, NULL, -1};
    char *real = lstat(path, &s) == 0 && S_ISLNK(s.st_mode) ? realpath(path, NULL) : NULL;
    lafs_status st = lafs_strdup(&f->path, real ? real : path, err);
    free(real);
    if (st != LAFS_OK) return st;
    int exists = stat(f->path, &s) == 0;
    if (exists && S_ISDIR(s.st_mode)) st = lafs_fail(err, LAFS_FAILED, "cannot create '%s': is a directory", path);
    else if (exists && !S_ISREG(s.st_mode)) {
        f->fd = open(f->path, O_WRONLY | O_CLOEXEC);
        if (f->fd < 0) st = lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    } else
        st = open_temp(f, exists ? &s : NULL, err);
    if (st != LAFS_OK) lafs_atomic_abort(f);
    return st;
}

lafs_status lafs_atomic_write(struct lafs_atomic *f, const void *data, size_t size, struct lafs_err *err)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(f->fd, p, size < INT_MAX ? size : INT_MAX);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", f->path, lafs_strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return LAFS_OK;
}

lafs_status lafs_atomic_rewrite(struct lafs_atomic *f, int64_t at, const void *data, size_t size, struct lafs_err *err)
{
    if (lseek(f->fd, at, SEEK_SET) != at)
        return lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", f->path, lafs_strerror(errno));
    LAFS_TRY(lafs_atomic_write(f, data, size, err));
    if (lseek(f->fd, 0, SEEK_END) >= 0) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", f->path, lafs_strerror(errno));
}

/* A rename lasts over a power cut only once its directory is on disk. */
static int sync_dir(const char *path)
{
    char dir[PATH_MAX];
    size_t n = dir_length(path);
    snprintf(dir, sizeof dir, "%.*s", n ? (int)n : 1, n ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == EACCES ? 0 : -1; /* a directory one may write but not read */
    int bad = fsync(fd) && errno != EINVAL;
    close(fd);
    return bad ? -1 : 0;
}

static void forget(struct lafs_atomic *f)
{
    if (f->slot >= 0) atomic_store(&live[f->slot].state, FREE);
    if (f->fd >= 0) close(f->fd);
    lafs_free(f->path);
    lafs_free(f->temp);
    *f = (struct lafs_atomic){-1, NULL, NULL, -1};
}

lafs_status lafs_atomic_commit(struct lafs_atomic *f, struct lafs_err *err)
{
    int bad = fsync(f->fd) && !(errno == EINVAL && !f->temp); /* devices and pipes know no fsync */
    if (!bad) {
        int fd = f->fd;
        f->fd = -1;
        bad = close(fd);
    }
    if (!bad && f->temp) bad = rename(f->temp, f->path);
    if (bad) {
        lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", f->path, lafs_strerror(errno));
        lafs_atomic_abort(f);
        return LAFS_FAILED;
    }
    lafs_status st = LAFS_OK;
    if (f->temp && sync_dir(f->path))
        st = lafs_fail(err, LAFS_FAILED, "cannot sync the directory of '%s': %s", f->path, lafs_strerror(errno));
    forget(f);
    return st;
}

void lafs_atomic_abort(struct lafs_atomic *f)
{
    if (f->slot >= 0 && atomic_load(&live[f->slot].state) == LIVE) unlink(live[f->slot].path);
    forget(f);
}

lafs_status lafs_atomic_put(const char *path, const void *data, size_t size, struct lafs_err *err)
{
    struct lafs_atomic f;
    LAFS_TRY(lafs_atomic_open(&f, path, err));
    lafs_status st = lafs_atomic_write(&f, data, size, err);
    if (st == LAFS_OK) return lafs_atomic_commit(&f, err);
    lafs_atomic_abort(&f);
    return st;
}

/* ---- scratch files ---- */

lafs_status lafs_scratch_open(struct lafs_scratch *s, const char *beside, struct lafs_err *err)
{
    struct lafs_atomic f = {-1, NULL, NULL, -1};
    *s = (struct lafs_scratch){-1, NULL};
    lafs_status st = lafs_strdup(&s->beside, beside, err);
    if (st == LAFS_OK) st = lafs_strdup(&f.path, beside, err);
    if (st == LAFS_OK) st = open_temp(&f, NULL, err);
    if (st == LAFS_OK) {
        s->fd = f.fd;
        f.fd = -1;
    }
    lafs_atomic_abort(&f); /* its name goes */
    if (st != LAFS_OK) lafs_scratch_close(s);
    return st;
}

void lafs_scratch_close(struct lafs_scratch *s)
{
    if (s->fd >= 0) close(s->fd);
    lafs_free(s->beside);
    *s = (struct lafs_scratch){-1, NULL};
}

lafs_status lafs_scratch_write(struct lafs_scratch *s, int64_t at, const void *data, size_t size, struct lafs_err *err)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = pwrite(s->fd, p, size < INT_MAX ? size : INT_MAX, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return lafs_fail(err, LAFS_FAILED, "cannot write beside '%s': %s", s->beside, lafs_strerror(errno));
        p += n;
        at += n;
        size -= (size_t)n;
    }
    return LAFS_OK;
}

lafs_status lafs_scratch_read(struct lafs_scratch *s, int64_t at, void *data, size_t size, size_t *got,
                              struct lafs_err *err)
{
    char *p = data;
    *got = 0;
    while (*got < size) {
        ssize_t n = pread(s->fd, p + *got, size - *got, at + (int64_t)*got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot read beside '%s': %s", s->beside, lafs_strerror(errno));
        if (n == 0) break;
        *got += (size_t)n;
    }
    return LAFS_OK;
}

void lafs_atomic_sweep(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d));) {
        const char *at = e->d_name[0] == '.' ? strstr(e->d_name, ".tmp-") : NULL;
        for (const char *more; at && (more = strstr(at + 1, ".tmp-"));) at = more;
        char *end;
        long pid = at ? strtol(at + 5, &end, 10) : 0;
        if (pid > 0 && *end == '-' && kill((pid_t)pid, 0) && errno == ESRCH) unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}
