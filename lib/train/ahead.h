/* Work made ahead of its use, in order, by a thread of its own: while one item is used, the next one is made.
 *
 *     LAFS_TRY(lafs_ahead_new(&a, make, arg, end, 1, err));
 *     LAFS_TRY(lafs_ahead_take(a, 7, &slot, err));      // waits for item 7 in its slot; item 8 is being made
 *     lafs_ahead_free(a);
 */
#ifndef LAFS_TRAIN_AHEAD_H
#define LAFS_TRAIN_AHEAD_H

#include <stdint.h>

#include "base/err.h"

enum { LAFS_AHEAD_SLOTS = 2 };

/* Makes item `number` into slot `slot`; never called twice at once, and never for the slot that is in use. */
typedef lafs_status lafs_make_fn(void *arg, int64_t number, int slot, struct lafs_err *err);

struct lafs_ahead;
/* Items are numbered up to end - 1: nothing is made beyond. threaded 0: each is made when it is taken, by the taker. */
lafs_status lafs_ahead_new(struct lafs_ahead **out, lafs_make_fn *make, void *arg, int64_t end, int threaded,
                           struct lafs_err *err);
/* Lets an item in the making be finished first. NULL is fine. */
void lafs_ahead_free(struct lafs_ahead *a);
/* Item `number` is in *slot until the next call; what its making failed with is returned by the call that wants it.
 * The first call may begin anywhere, later ones go on; another number than the next one is made anew. */
lafs_status lafs_ahead_take(struct lafs_ahead *a, int64_t number, int *slot, struct lafs_err *err);
/* The thread ends, and `arg` is the caller's again: what is taken from now on is made by the taker. Waits for an item
 * in the making, at most so many whole seconds (negative: for ever). 0: it was not done, and all stays as it was. */
int lafs_ahead_stop(struct lafs_ahead *a, double seconds);
/* Seconds that takers have waited, in all. */
double lafs_ahead_waited(const struct lafs_ahead *a);

#endif
