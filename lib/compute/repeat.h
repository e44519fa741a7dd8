/* Work that is done again and again on the same memory: where the backend records, it is done the first time, recorded
 * the second time, and replayed from then on.
 *
 *     lafs_repeat(&r, &backend, &key, sizeof key, forward, &what); // queued, as if forward(&what) had been called
 *     lafs_repeat_forget(&r, &backend);                            // before memory that it works on is given back
 */
#ifndef LAFS_COMPUTE_REPEAT_H
#define LAFS_COMPUTE_REPEAT_H

#include "compute/backend.h"

enum { LAFS_REPEATS = 6 /* recordings kept; the one not used for the longest time goes first */, LAFS_REPEAT_KEY = 64 };

struct lafs_repeat {              /* zeroed at first */
    int64_t calls;
    struct lafs_repeated {
        unsigned char key[LAFS_REPEAT_KEY];
        size_t size;              /* of key */
        int64_t used;             /* the call that used it last; 0: never */
        int times;                /* done so far; -1: it cannot be recorded */
        struct lafs_recording *recording;
    } kept[LAFS_REPEATS];
};
/* key (NULL: none), at most LAFS_REPEAT_KEY bytes: what may differ from call to call: shapes, switches, pointers,
 * numbers taken by value. work queues the same on b whenever it is called with the same key: ops, copies, uploads of
 * the same content; no sync, no download. Nobody may rely on what it leaves on the host: it is not always called. */
void lafs_repeat(struct lafs_repeat *r, const struct lafs_backend *b, const void *key, size_t size,
                 void (*work)(void *arg), void *arg);
/* As if it had never been done. */
void lafs_repeat_forget(struct lafs_repeat *r, const struct lafs_backend *b);

#endif
