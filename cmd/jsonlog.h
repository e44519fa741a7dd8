/* A log of JSON lines: one object a line, flushed a line at a time. */
#ifndef LAFS_CMD_JSONLOG_H
#define LAFS_CMD_JSONLOG_H
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

struct jsonlog {
    FILE *f; /* NULL: every call is a no-op */
    const char *path; /* borrowed */
    struct lafs_buf line;
};
lafs_status jsonlog_open(struct jsonlog *l, const char *path, int append, struct lafs_err *err); /* path NULL: off */
void jsonlog_begin(struct jsonlog *l);
void jsonlog_str(struct jsonlog *l, const char *key, const char *v);
void jsonlog_int(struct jsonlog *l, const char *key, int64_t v);
void jsonlog_double(struct jsonlog *l, const char *key, double v);
lafs_status jsonlog_end(struct jsonlog *l, struct lafs_err *err); /* writes the line, flushes */
lafs_status jsonlog_close(struct jsonlog *l, struct lafs_err *err);
#endif
