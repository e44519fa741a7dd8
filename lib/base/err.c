#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* U+0080 to U+009F, two bytes each, are such too: U+009B is what ESC [ is. */
void lafs_no_controls(char *text, size_t n)
{
    unsigned char *s = (unsigned char *)text;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == 0xc2 && i + 1 < n && s[i + 1] >= 0x80 && s[i + 1] < 0xa0) s[i] = s[i + 1] = '?';
        if (s[i] < 0x20 || s[i] == 0x7f) s[i] = '?';
    }
}

lafs_status lafs_fail(struct lafs_err *err, lafs_status status, const char *fmt, ...)
{
    if (!err) return status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    lafs_no_controls(err->msg, strlen(err->msg)); /* one line, whatever names hold */
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
    lafs_no_controls(head, strlen(head));
    snprintf(err->msg, sizeof err->msg, "%.400s: %.600s", head, old);
    return err->status;
}

lafs_status lafs_err_first(const struct lafs_err *all, int64_t n, struct lafs_err *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (all[i].status == LAFS_OK) continue;
        if (err) *err = all[i];
        if (err) err->status = LAFS_FAILED;
        return LAFS_FAILED;
    }
    return LAFS_OK;
}

const char *lafs_strerror(int e)
{
    static _Thread_local char text[128];
    const char *s = strerror_r(e, text, sizeof text); /* GNU's: may or may not use the buffer */
    if (s != text) snprintf(text, sizeof text, "%s", s);
    if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z')) text[0] = (char)(text[0] - 'A' + 'a');
    return text;
}
