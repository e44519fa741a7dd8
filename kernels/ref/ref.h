/* The reference backend: plain loops that read like the formula, the truth in tests. What the host backends (this one
 * and kernels/cpu) share stands here too. Signatures and meaning of every op: compute/backend.h. */
#ifndef LAFS_KERNELS_REF_H
#define LAFS_KERNELS_REF_H

#include "compute/backend.h"

/* A device whose memory is the host's. */
struct lafs_dev {
    struct lafs_pool *pool; /* borrowed; NULL: one thread */
    int workers;
    struct lafs_host_mem {
        void *p;
        size_t size;
    } *scratch,             /* (workers), each one's own: see kernels/cpu/cpu.h */
        shared;             /* one for all */
    struct lafs_err err;    /* the first failure; reported by sync */
    char text[320];         /* what describe returns */
};

/* Device functions of both host backends, but for describe's text. */
lafs_status lafs_host_open(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err);
void lafs_host_close(struct lafs_dev *d);
const char *lafs_host_describe(struct lafs_dev *d);
lafs_status lafs_host_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err);
void lafs_host_free(struct lafs_dev *d, void *p);
void lafs_host_copy(struct lafs_dev *d, void *to, const void *from, size_t size);
void lafs_host_zero(struct lafs_dev *d, void *p, size_t size);
lafs_status lafs_host_sync(struct lafs_dev *d, struct lafs_err *err);
/* Remembers a failure inside an op (the first one stays). Call it from the thread that called the op. */
void lafs_host_failed(struct lafs_dev *d, const struct lafs_err *err);

#endif
