/* Measuring a MessagePack value that arrives in pieces. */
#ifndef LAFS_DATA_WALK_H
#define LAFS_DATA_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "data/record.h"

/* Where the measuring of one value stands: a later call goes on there, so that a value costs one pass however
 * small the pieces. */
struct lafs_measure {
    size_t pos;                         /* bytes understood */
    uint64_t owed;                      /* values still to come, the outermost included */
    int depth;
    uint64_t left[LAFS_MAX_DEPTH + 1];  /* values missing in each open container */
};
void lafs_measure_init(struct lafs_measure *m);
/* As lafs_walk_measure; data[0..size) grows from call to call, its beginning unchanged. */
lafs_status lafs_measure_more(struct lafs_measure *m, const void *data, size_t size, size_t *len, struct lafs_err *err);

#endif
