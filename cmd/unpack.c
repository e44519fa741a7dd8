#include "cmd/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cmd/cli.h"
#include "cmd/pack.h"
#include "cmd/printing.h"
#include "cmd/readall.h"
#include "image/image.h"

struct unpack {
    struct lafs_buf temp;  /* the directory that is being filled */
    struct lafs_buf path;
    struct lafs_buf made;  /* a JPEG of raw pixels */
    int64_t written, swapped;
};

/* Makes the directories of the file u->path, below u->temp. */
static lafs_status make_dirs(struct unpack *u, struct lafs_err *err)
{
    char *path = (char *)u->path.data;
    for (size_t i = u->temp.size + 1; i < u->path.size; i++) {
        if (path[i] != '/') continue;
        path[i] = 0;
        int bad = mkdir(path, 0777) && errno != EEXIST;
        path[i] = '/';
        if (bad)
            return lafs_fail(err, LAFS_FAILED, "cannot make the directory of '%s': %s", path, lafs_strerror(errno));
    }
    return LAFS_OK;
}

/* Whether the key leads through a directory of that name to its photo. */
static int leads_through(const char *key, const char *name, size_t len)
{
    const char *slash = strrchr(key, '/'), *from = slash;
    while (from && from > key && from[-1] != '/') from--;
    return from && (size_t)(slash - from) == len && memcmp(from, name, len) == 0;
}

static lafs_status file_path(struct unpack *u, const struct lafs_sample *s, enum lafs_photo kind, struct lafs_err *err)
{
    const char *key = lafs_sample_key(s), *name;
    size_t len;
    lafs_buf_clear(&u->path);
    lafs_buf_put(&u->path, u->temp.data, u->temp.size);
    lafs_buf_putc(&u->path, '/');
    lafs_status st = lafs_sample_str(s, "name", &name, &len, err);
    if (st == LAFS_OK && len > 0 && !leads_through(key, name, len)) {
        if (memchr(name, '/', len) || memchr(name, 0, len) || len > 255 || name[0] == '.')
            return lafs_fail(err, LAFS_BAD_RECORD, "name '%.*s' is no name for a directory", len > 80 ? 80 : (int)len,
                             name);
        lafs_buf_put(&u->path, name, len);
        lafs_buf_putc(&u->path, '/');
    } else if (st != LAFS_OK && st != LAFS_END) {
        return st;
    }
    lafs_buf_puts(&u->path, key);
    lafs_buf_puts(&u->path, kind == LAFS_PHOTO_PNG ? ".png" : ".jpg");
    return lafs_buf_str(&u->path) ? LAFS_OK : lafs_buf_check(&u->path, err);
}

static lafs_status write_file(const char *path, const char *data, size_t size, struct lafs_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) return lafs_fail(err, LAFS_BAD_RECORD, "a photo of that key was there before");
    if (fd < 0) return lafs_fail(err, LAFS_FAILED, "cannot create '%s': %s", path, lafs_strerror(errno));
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        data += n;
        size -= (size_t)n;
    }
    int bad = size > 0, why = errno;
    if (close(fd) && !bad) bad = 1, why = errno;
    return bad ? lafs_fail(err, LAFS_FAILED, "cannot write '%s': %s", path, lafs_strerror(why)) : LAFS_OK;
}

static lafs_status each(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct unpack *u = arg;
    const void *data;
    size_t size;
    int swapped = 0;
    LAFS_TRY(pack_picture(s, &u->made, &data, &size, &swapped, err));
    u->swapped += swapped;
    LAFS_TRY(file_path(u, s, lafs_photo_kind(data, size), err));
    LAFS_TRY(make_dirs(u, err));
    LAFS_TRY(write_file((const char *)u->path.data, data, size, err));
    u->written++;
    return LAFS_OK;
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *where)
{
    (void)s, (void)kind, (void)where;
    remove(path);
    return 0;
}

static int is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT;
    int entries = 0;
    for (const struct dirent *e; (e = readdir(d));) entries += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return entries == 0;
}

int unpack_run(const char *dir, const struct lafs_reader_options *opt, const char *const *args, int nargs)
{
    struct unpack u = {.written = 0};
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') len--;
    if (!is_empty(dir)) {
        cli_error("'%s' is there already, and no empty directory", dir);
        return EXIT_FAILED;
    }
    lafs_buf_printf(&u.temp, "%.*s.tmp-%ld", (int)len, dir, (long)getpid());
    const char *temp = lafs_buf_str(&u.temp);
    if (!temp || mkdir(temp, 0777)) {
        cli_error("cannot make '%s': %s", temp ? temp : dir, lafs_strerror(temp ? errno : ENOMEM));
        lafs_buf_release(&u.temp);
        return EXIT_FAILED;
    }
    cli_remove_unfinished(temp);
    struct readall r = {.what = "photos", .arg = &u, .each = each, .reading = opt};
    struct readall_totals totals;
    int status = readall_run(&r, args, nargs, &totals);
    if (status == EXIT_DONE && rename(temp, dir)) {
        cli_error("cannot make '%s': %s", dir, lafs_strerror(errno));
        status = EXIT_FAILED;
    }
    cli_remove_unfinished(NULL);
    if (status != EXIT_DONE) nftw(temp, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    else {
        pack_say_swapped(u.swapped);
        cli_warn("%s read, %lld written%s", counted(totals.records, "photos").text, (long long)u.written,
                 totals.bad ? ", others bad" : "");
    }
    lafs_buf_release(&u.temp);
    lafs_buf_release(&u.path);
    lafs_buf_release(&u.made);
    return status;
}
