#include "base/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

enum { FIRST_SIZE = 1 << 20, LEAST_SIZE = 4096, PIPE_SIZE = 1 << 20 }; /* of a buffer; of small files less is enough */

static lafs_status make_name(struct lafs_input *in, const char *path, struct lafs_err *err)
{
    if (in->keep_fd) return lafs_strdup(&in->name, "standard input", err);
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_printf(&b, "'%s'", path);
    lafs_status st = lafs_buf_check(&b, err);
    if (st == LAFS_OK) st = lafs_strdup(&in->name, lafs_buf_str(&b), err);
    lafs_buf_release(&b);
    return st;
}

lafs_status lafs_input_open(struct lafs_input *in, const char *path, struct lafs_err *err)
{
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
    in->keep_fd = strcmp(path, "-") == 0;
    lafs_status st = make_name(in, path, err);
    if (st == LAFS_OK) {
        in->fd = in->keep_fd ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
        if (in->fd < 0) st = lafs_fail(err, LAFS_FAILED, "cannot open %s: %s", in->name, lafs_strerror(errno));
    }
    struct stat s;
    if (st == LAFS_OK && fstat(in->fd, &s) == 0) {
        if (S_ISDIR(s.st_mode)) st = lafs_fail(err, LAFS_FAILED, "cannot read %s: it is a directory", in->name);
        if (S_ISREG(s.st_mode) && lseek(in->fd, 0, SEEK_CUR) == 0) in->file_size = s.st_size;
#ifdef F_SETPIPE_SZ
        if (S_ISFIFO(s.st_mode)) (void)!fcntl(in->fd, F_SETPIPE_SZ, PIPE_SIZE); /* a wish: smaller works too */
#endif
    }
    in->cap = FIRST_SIZE;
    if (in->file_size >= 0 && in->file_size < FIRST_SIZE - LEAST_SIZE) in->cap = (size_t)in->file_size + LEAST_SIZE;
    if (st == LAFS_OK) st = lafs_alloc(&in->buf, in->cap, 1, err);
    if (st != LAFS_OK) lafs_input_close(in);
    return st;
}

void lafs_input_close(struct lafs_input *in)
{
    if (in->fd >= 0 && !in->keep_fd) close(in->fd);
    lafs_free(in->name);
    lafs_free(in->buf);
    lafs_free(in->spare);
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
}

static lafs_status make_room(struct lafs_input *in, size_t want, struct lafs_err *err)
{
    size_t left = in->end - in->at;
    if (in->at > 0) memmove(in->buf, in->buf + in->at, left);
    in->at = 0;
    in->end = left;
    size_t cap = in->cap;
    while (cap < want) cap += cap / 2;
    if (cap == in->cap) return LAFS_OK;
    LAFS_TRY(lafs_resize(&in->buf, left, cap, 1, err));
    in->cap = cap;
    return LAFS_OK;
}

int lafs_input_moves(const struct lafs_input *in, size_t want)
{
    return in->end - in->at < want && (in->cap - in->at < want || in->at == in->end);
}

lafs_status lafs_input_turn(struct lafs_input *in, size_t want, struct lafs_err *err)
{
    size_t left = in->end - in->at, cap = in->cap;
    if (want > SIZE_MAX / 4) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", want);
    while (cap < want) cap += cap / 2;
    if (in->spare_cap < cap) {
        lafs_free(in->spare);
        in->spare = NULL;
        in->spare_cap = 0;
        LAFS_TRY(lafs_alloc(&in->spare, cap, 1, err));
        in->spare_cap = cap;
    }
    unsigned char *old = in->buf;
    size_t old_cap = in->cap;
    memcpy(in->spare, old + in->at, left);
    in->buf = in->spare;
    in->cap = in->spare_cap;
    in->spare = old;
    in->spare_cap = old_cap;
    in->at = 0;
    in->end = left;
    return LAFS_OK;
}

lafs_status lafs_input_fill(struct lafs_input *in, size_t want, struct lafs_err *err)
{
    if (want > SIZE_MAX / 4) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", want);
    if (in->end - in->at >= want) return LAFS_OK;
    if (lafs_input_moves(in, want)) LAFS_TRY(make_room(in, want, err));
    while (in->end - in->at < want && !in->eof) {
        ssize_t n = read(in->fd, in->buf + in->end, in->cap - in->end);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot read %s: %s", in->name, lafs_strerror(errno));
        if (n == 0) in->eof = 1;
        in->end += (size_t)n;
    }
    return LAFS_OK;
}

void lafs_input_take(struct lafs_input *in, size_t n)
{
    in->at += n;
    in->pos += (int64_t)n;
}

int lafs_input_seek(struct lafs_input *in, int64_t n)
{
    if (in->at != in->end || in->file_size < 0 || n > in->file_size - in->pos) return 0;
    if (lseek(in->fd, in->pos + n, SEEK_SET) < 0) return 0;
    in->pos += n;
    return 1;
}

int lafs_input_rewind(struct lafs_input *in)
{
    if (in->file_size < 0 || lseek(in->fd, 0, SEEK_SET) < 0) return 0;
    in->at = in->end = 0;
    in->pos = 0;
    in->eof = 0;
    return 1;
}
