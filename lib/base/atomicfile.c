#include "base/atomicfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

enum { LOOK_AT = 20000 }; /* entries of a directory that are looked through for what was left, at most */

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

/* ---- temporaries that were left behind ---- */

/* A temporary is locked by its process for as long as that lives. One that is not locked goes: nobody will rename it.
 * Where there are no locks, all stay. */
static void remove_left(int dir, const char *name)
{
    struct stat s;
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &s) == 0 && s.st_nlink > 0) unlinkat(dir, name, 0);
    close(fd);
}

/* Of a new temporary. 0: another process saw it before it was locked, and took it for one that was left. */
static int lock(int fd)
{
    struct stat s;
    if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) return 0;
    return fstat(fd, &s) != 0 || s.st_nlink > 0;
}

/* Whether the name is .X.tmp-PID-N, of X if that is not NULL. */
static int is_temporary(const char *name, const char *of)
{
    const char *at = name[0] == '.' ? strstr(name, ".tmp-") : NULL;
    for (const char *more; at && (more = strstr(at + 1, ".tmp-"));) at = more;
    if (!at || (of && ((size_t)(at - name - 1) != strlen(of) || memcmp(name + 1, of, strlen(of))))) return 0;
    const char *p = at + strlen(".tmp-");
    size_t pid = strspn(p, "0123456789");
    return pid && p[pid] == '-' && p[pid + 1] && !p[pid + 1 + strspn(p + pid + 1, "0123456789")];
}

/* Removes what was left of X (NULL: of all) in the directory. */
static void sweep(const char *dir, const char *of, int64_t entries)
{
    DIR *d = opendir(dir);
    if (!d) return;
    for (const struct dirent *e; entries-- > 0 && (e = readdir(d));)
        if (is_temporary(e->d_name, of)) remove_left(dirfd(d), e->d_name);
    closedir(d);
}

void lafs_atomic_sweep(const char *dir) { sweep(dir, NULL, INT64_MAX); }

/* The directory of a file. */
static void dir_of(const char *path, char dir[PATH_MAX])
{
    size_t n = dir_length(path);
    snprintf(dir, PATH_MAX, "%.*s", n ? (int)n : 1, n ? path : ".");
}

/* ---- */

static lafs_status open_temp(struct lafs_atomic *f, const struct stat *old, struct lafs_err *err)
{
    f->slot = claim_slot();
    if (f->slot < 0)
        return lafs_fail(err, LAFS_FAILED, "cannot create '%s': more than %d files being written", f->path, SLOTS);
    for (;;) {
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
        if (f->fd >= 0 ? lock(f->fd) : errno != EEXIST) break;
        if (f->fd >= 0) close(f->fd);
        f->fd = -1;
    }
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
    } else {
        char dir[PATH_MAX];
        dir_of(f->path, dir);
        sweep(dir, f->path + dir_length(f->path), LOOK_AT);
        st = open_temp(f, exists ? &s : NULL, err);
    }
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
    dir_of(path, dir);
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
    int locked = f->temp ? fcntl(f->fd, F_DUPFD_CLOEXEC, 0) : -1; /* for as long as the temporary has its name */
    int bad = fsync(f->fd) && !(errno == EINVAL && !f->temp);     /* devices and pipes know no fsync */
    if (!bad) {
        int fd = f->fd;
        f->fd = -1;
        bad = close(fd);
    }
    if (!bad && f->temp) bad = rename(f->temp, f->path);
    int why = errno;
    if (locked >= 0) close(locked);
    errno = why;
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
