/* A helper that works on SHA-256s, one or two at once, beside its caller: of large blocks, in the order in which they
 * come, in a thread that starts with the first of them.
 *
 *     lafs_hasher_init(&h);
 *     lafs_hasher_add(&h, &sum, block, size); // block stays as it is ..
 *     write it, fill others
 *     lafs_hasher_wait(&h, 0);                // .. until here
 *     lafs_hasher_release(&h);
 */
#ifndef LAFS_BASE_HASHER_H
#define LAFS_BASE_HASHER_H

#include <pthread.h>

#include "base/sha256.h"

enum { LAFS_HASHER_JOBS = 8 };

struct lafs_hasher {
    pthread_t thread;
    int running;             /* whether there is one */
    pthread_mutex_t lock;    /* over all that follows */
    pthread_cond_t changed;
    int quit;
    struct lafs_hasher_job {
        struct lafs_sha256 *sum, *sum2; /* sum2 NULL: one only */
        const void *data, *data2;       /* (size), (size2) */
        size_t size, size2;
    } job[LAFS_HASHER_JOBS];
    int first, jobs; /* job[first] is being worked on, jobs - 1 behind it, round the end, wait */
};
void lafs_hasher_init(struct lafs_hasher *h);
/* Finishes all that was added. */
void lafs_hasher_release(struct lafs_hasher *h);
/* As lafs_sha256_add(sum, data, size), which comes after all that was added before, to whatever sum: sum and data are
 * not to be touched until lafs_hasher_wait says so. Small blocks are added at once: then it returns 0, and all that was
 * added is done. */
int lafs_hasher_add(struct lafs_hasher *h, struct lafs_sha256 *sum, const void *data, size_t size);
/* The same of two, as lafs_sha256_add_two. */
int lafs_hasher_add_two(struct lafs_hasher *h, struct lafs_sha256 *sum, const void *data, size_t size,
                        struct lafs_sha256 *sum2, const void *data2, size_t size2);
/* Until at most `left` blocks, those that were added last, are still to be done. */
void lafs_hasher_wait(struct lafs_hasher *h, int left);

#endif
