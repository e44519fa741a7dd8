/* A pool of threads for loops over independent tiles. Which thread takes which tile is left open,
 * so a tile's result must depend on its number alone. */
#ifndef LAFS_BASE_POOL_H
#define LAFS_BASE_POOL_H

#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lafs_pool;

/* threads >= 1 (the caller counts as one); 0 means one per processor that the process may use (limits.h). */
lafs_status lafs_pool_new(struct lafs_pool **out, int threads, struct lafs_err *err);
void lafs_pool_free(struct lafs_pool *pool);
int lafs_pool_threads(const struct lafs_pool *pool);

/* Calls fn(arg, index, worker) for index 0..count-1 and returns when all are done.
 * worker is in [0, threads) and is not used by two calls at once: index per-thread scratch by it.
 * Not re-entrant: a call from inside fn runs its loop on the calling thread, as the same worker.
 * pool may be NULL: the caller does all the work as worker 0. */
typedef void lafs_tile_fn(void *arg, int64_t index, int worker);
void lafs_pool_for(struct lafs_pool *pool, int64_t count, lafs_tile_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
