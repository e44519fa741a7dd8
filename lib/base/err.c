#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is one line: control characters from file names become '?'. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

lafs_status lafs_fail(struct lafs_err *err, lafs_status status, const char *fmt, ...)
{
    if (!err) return status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    one_line(err->msg);
    err->status = status;
    return status;
}

lafs_status lafs_err_prefix(struct lafs_err *err, const char *fmt, ...)
{
    if (!err) return LAFS_FAILED;
    char old[LAFS_ERR_MSG], head[LAFS_ERR_MSG];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    one_line(head);
    snprintf(err->msg, sizeof err->msg, "%.400s: %.600s", head, old);
    return err->status;
}
