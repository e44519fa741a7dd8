/* Files that appear whole or not at all: a temporary beside the target, fsync, rename, fsync of the directory.
 *
 * The temporary of `dir/x` is `dir/.x.tmp-PID-N`, locked (flock) for as long as its process lives: what a killed
 * process left of x goes when x is opened again. A target that exists and is no regular file (/dev/null, a FIFO) is
 * written directly; a symbolic link is followed. An existing file's mode is kept. At most 64 files are open at once. */
#ifndef LAFS_BASE_ATOMICFILE_H
#define LAFS_BASE_ATOMICFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lafs_atomic {
    int fd;            /* -1: closed */
    char *path, *temp; /* owned; temp NULL: written directly */
    int slot;          /* in the list of lafs_atomic_unlink_all */
};
lafs_status lafs_atomic_open(struct lafs_atomic *f, const char *path, struct lafs_err *err);
lafs_status lafs_atomic_write(struct lafs_atomic *f, const void *data, size_t size, struct lafs_err *err);
/* Writes over bytes that were written already: [at, at + size) of the file. */
lafs_status lafs_atomic_rewrite(struct lafs_atomic *f, int64_t at, const void *data, size_t size, struct lafs_err *err);
/* Publishes and closes. After a failure the file is closed, the temporary gone, the target as it was. */
lafs_status lafs_atomic_commit(struct lafs_atomic *f, struct lafs_err *err);
/* Closes and removes the temporary; does nothing to a closed file. */
void lafs_atomic_abort(struct lafs_atomic *f);
/* All three at once. */
lafs_status lafs_atomic_put(const char *path, const void *data, size_t size, struct lafs_err *err);
/* Removes the temporaries of files that this process has open now, and lets it make no more; async-signal-safe, for
 * cmd/'s signal handler. */
void lafs_atomic_unlink_all(void);
/* Removes all temporaries in `dir` whose process is gone (killed). */
void lafs_atomic_sweep(const char *dir);

/* A file without a name, for what does not fit into memory: in the directory of `beside` (in messages, too), for
 * reading and writing. Its space is free again when it is closed, however the process ends. */
struct lafs_scratch {
    int fd;       /* -1: closed */
    char *beside; /* owned */
};
lafs_status lafs_scratch_open(struct lafs_scratch *s, const char *beside, struct lafs_err *err);
void lafs_scratch_close(struct lafs_scratch *s);
lafs_status lafs_scratch_write(struct lafs_scratch *s, int64_t at, const void *data, size_t size, struct lafs_err *err);
/* *got < size at the end of the file only. */
lafs_status lafs_scratch_read(struct lafs_scratch *s, int64_t at, void *data, size_t size, size_t *got,
                              struct lafs_err *err);

#endif
