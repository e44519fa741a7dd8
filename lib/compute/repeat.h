/* Work that is done again and again on the same memory: where the backend records, it is done the first time, recorded
 * the second time, and replayed from then on.
 *
 *     lafs_repeat(&r, &backend, forward, &of_what);   // queued, as if forward(&of_what) had been called
 *     lafs_repeat_forget(&r, &backend);               // before memory that it works on is given back
 */
#ifndef LAFS_COMPUTE_REPEAT_H
#define LAFS_COMPUTE_REPEAT_H

#include "compute/backend.h"

struct lafs_repeat {      /* zeroed at first */
    struct lafs_recording *recording;
    int times;            /* done so far; -1: it cannot be recorded */
};
/* work queues the same on b whenever it is called: ops, copies, uploads of the same content; no sync, no download. */
void lafs_repeat(struct lafs_repeat *r, const struct lafs_backend *b, void (*work)(void *arg), void *arg);
/* As if it had never been done. */
void lafs_repeat_forget(struct lafs_repeat *r, const struct lafs_backend *b);

#endif
