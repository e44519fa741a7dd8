#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lafs_buf_init(struct lafs_buf *b) { memset(b, 0, sizeof *b); }

void lafs_buf_release(struct lafs_buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

void lafs_buf_clear(struct lafs_buf *b)
{
    b->size = 0;
    b->failed = 0;
}

void lafs_buf_reserve(struct lafs_buf *b, size_t n)
{
    if (b->failed) return;
    if (n > SIZE_MAX / 2 - b->size - 1) {
        b->failed = 1;
        return;
    }
    size_t need = b->size + n + 1; /* one for the NUL of lafs_buf_str */
    if (need <= b->cap) return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need) cap += cap / 2;
    unsigned char *p = realloc(b->data, cap);
    if (!p) {
        b->failed = 1;
        return;
    }
    b->data = p;
    b->cap = cap;
}

void lafs_buf_put(struct lafs_buf *b, const void *data, size_t n)
{
    lafs_buf_reserve(b, n);
    if (b->failed || n == 0) return;
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

void lafs_buf_putc(struct lafs_buf *b, int c)
{
    unsigned char u = (unsigned char)c;
    lafs_buf_put(b, &u, 1);
}

void lafs_buf_puts(struct lafs_buf *b, const char *s) { lafs_buf_put(b, s, strlen(s)); }

void lafs_buf_printf(struct lafs_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) b->failed = 1;
    else {
        lafs_buf_reserve(b, (size_t)n);
        if (!b->failed) {
            vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, again);
            b->size += (size_t)n;
        }
    }
    va_end(again);
}

lafs_status lafs_buf_check(const struct lafs_buf *b, struct lafs_err *err)
{
    return b->failed ? lafs_fail(err, LAFS_FAILED, "out of memory") : LAFS_OK;
}

const char *lafs_buf_str(struct lafs_buf *b)
{
    lafs_buf_reserve(b, 0);
    if (b->failed) return NULL;
    b->data[b->size] = 0;
    return (const char *)b->data;
}

lafs_status lafs_buf_read_file(struct lafs_buf *b, const char *path, size_t max, struct lafs_err *err)
{
    FILE *f = fopen(path, "rbe");
    if (!f) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    lafs_status st = LAFS_OK;
    size_t start = b->size;
    for (;;) {
        lafs_buf_reserve(b, 65536);
        if (b->failed) {
            st = lafs_buf_check(b, err);
            break;
        }
        size_t n = fread(b->data + b->size, 1, b->cap - b->size - 1, f);
        b->size += n;
        if (b->size - start > max) {
            st = lafs_fail(err, LAFS_FAILED, "'%s' is larger than %zu bytes", path, max);
            break;
        }
        if (n == 0) {
            if (ferror(f)) st = lafs_fail(err, LAFS_FAILED, "cannot read '%s': %s", path, lafs_strerror(errno));
            break;
        }
    }
    fclose(f);
    return st;
}
