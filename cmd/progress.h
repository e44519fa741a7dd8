/* Progress on stderr: only on a terminal (or --progress), after one second, once a second, with rate and time left. */
#ifndef LAFS_CMD_PROGRESS_H
#define LAFS_CMD_PROGRESS_H
#include <stdint.h>

struct progress {
    const char *what;      /* "faces" */
    int64_t expected;      /* -1: unknown */
    double started, shown;
    int active, drawn;
    double (*now)(void);   /* a test may put its own clock here */
};
void progress_begin(struct progress *p, const char *what, int64_t expected);
void progress_update(struct progress *p, int64_t done);
void progress_end(struct progress *p);  /* clears the line */
#endif
