/* Progress on stderr: only on a terminal (or --progress), after one second, once a second, with rate and time left.
 * One at a time. */
#ifndef LAFS_CMD_PROGRESS_H
#define LAFS_CMD_PROGRESS_H
#include <stdint.h>

struct progress {
    const char *what;      /* "faces" */
    int64_t expected;      /* -1: unknown */
    double started, shown;
    int active, drawn;
    double (*now)(void);   /* a test may put its own clock here before progress_begin */
};
void progress_begin(struct progress *p, const char *what, int64_t expected);
void progress_update(struct progress *p, int64_t done);
void progress_end(struct progress *p);  /* clears the line */
/* Clears the line that is drawn now, if any: before a message is printed. */
void progress_clear(void);
#endif
