/* A growing byte buffer. Appends never fail one by one: a failed growth is remembered
 * (`failed`), later appends are ignored, and the caller checks once at the end. */
#ifndef LAFS_BASE_BUF_H
#define LAFS_BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

struct lafs_buf {
    unsigned char *data; /* size bytes; owned */
    size_t size, cap;
    int failed;
};

void lafs_buf_init(struct lafs_buf *b);
void lafs_buf_release(struct lafs_buf *b);
/* Forgets the content (and the failure), keeps the memory. */
void lafs_buf_clear(struct lafs_buf *b);
/* Makes room for n more bytes. */
void lafs_buf_reserve(struct lafs_buf *b, size_t n);
void lafs_buf_put(struct lafs_buf *b, const void *data, size_t n);
void lafs_buf_putc(struct lafs_buf *b, int c);
void lafs_buf_puts(struct lafs_buf *b, const char *s);
void lafs_buf_printf(struct lafs_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* LAFS_FAILED "out of memory" when any append failed. */
lafs_status lafs_buf_check(const struct lafs_buf *b, struct lafs_err *err);
/* The content as a string (a NUL is kept behind the last byte); NULL after a failure. */
const char *lafs_buf_str(struct lafs_buf *b);

/* Reads a whole file of at most max bytes. "-" is not special. */
lafs_status lafs_buf_read_file(struct lafs_buf *b, const char *path, size_t max, struct lafs_err *err);

#endif
