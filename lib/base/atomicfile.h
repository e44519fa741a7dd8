/* Files that appear whole or not at all: a temporary beside the target, fsync, rename, fsync of the directory. */
#ifndef LAFS_BASE_ATOMICFILE_H
#define LAFS_BASE_ATOMICFILE_H

#include <stddef.h>

#include "base/err.h"

struct lafs_atomic {
    int fd;            /* -1: closed */
    char *path, *temp; /* owned */
};
lafs_status lafs_atomic_open(struct lafs_atomic *f, const char *path, struct lafs_err *err);
lafs_status lafs_atomic_write(struct lafs_atomic *f, const void *data, size_t size, struct lafs_err *err);
lafs_status lafs_atomic_commit(struct lafs_atomic *f, struct lafs_err *err);
void lafs_atomic_abort(struct lafs_atomic *f);
/* All three at once. */
lafs_status lafs_atomic_put(const char *path, const void *data, size_t size, struct lafs_err *err);
/* Removes the temporaries of files that are open now; async-signal-safe, for cmd/'s signal handler. */
void lafs_atomic_unlink_all(void);

#endif
