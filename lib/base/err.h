/* Status codes and error messages of the library.
 *
 * Every function that can fail returns a lafs_status and takes a caller-owned
 * `struct lafs_err *` (may be NULL) that receives message and culprit.
 *
 *     struct lafs_err err = {0};
 *     LAFS_TRY(lafs_buf_read_file(&buf, path, max, &err));     // forward
 *     return lafs_fail(&err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
 */
#ifndef LAFS_BASE_ERR_H
#define LAFS_BASE_ERR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ordered by severity: a caller may go on after LAFS_BAD_RECORD, never after what follows it. */
typedef enum lafs_status {
    LAFS_OK = 0,
    LAFS_END = 1,        /* ordinary end of input; no message */
    LAFS_BAD_RECORD = 2, /* this record is unusable (message says why), the stream goes on */
    LAFS_FAILED = 3,     /* I/O, memory, or content that makes the whole input unusable */
    LAFS_USAGE = 4,      /* the caller's options make no sense together */
    LAFS_CUT = 5         /* input was cut off, or its producer failed */
} lafs_status;

enum { LAFS_ERR_MSG = 1024 };

struct lafs_err {
    lafs_status status;
    char msg[LAFS_ERR_MSG]; /* one line, lower case, no final newline */
};

/* Formats the message into err (when not NULL) and returns `status`. */
lafs_status lafs_fail(struct lafs_err *err, lafs_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the message that is there; returns err->status. */
lafs_status lafs_err_prefix(struct lafs_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Control characters of a text that is shown become '?': in names they could speak to the terminal. */
void lafs_no_controls(char *text, size_t n);

/* The first failure among n (what each of several threads met), as LAFS_FAILED. */
lafs_status lafs_err_first(const struct lafs_err *all, int64_t n, struct lafs_err *err);

/* What errno value e means, as our messages say it: lower case ("no such file or directory"). Thread-local buffer. */
const char *lafs_strerror(int e);

/* Returns from the calling function when expr is not LAFS_OK. */
#define LAFS_TRY(expr)                                \
    do {                                              \
        lafs_status lafs_try_ = (expr);               \
        if (lafs_try_ != LAFS_OK) return lafs_try_;   \
    } while (0)

/* The same, but jumps to `label` after storing the status in `var`. */
#define LAFS_TRY_GOTO(var, expr, label)               \
    do {                                              \
        (var) = (expr);                               \
        if ((var) != LAFS_OK) goto label;             \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
