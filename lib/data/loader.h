/* Epoch order over an index, and reading ahead. */
#ifndef LAFS_DATA_LOADER_H
#define LAFS_DATA_LOADER_H

#include <stdint.h>

#include "base/err.h"
#include "data/index.h"
#include "image/image.h"

/* order[0..ix->samples) = positions of the index sorted by Philox(seed, epoch, FNV-1a-64(key)), ties by key:
 * depends on keys alone, not on shards or their order. */
lafs_status lafs_epoch_order(const struct lafs_index *ix, uint64_t seed, int64_t epoch, int64_t *order,
                             struct lafs_err *err);

/* Decodes the picture of the index's record number `at`, as lafs_face_image does. LAFS_FAILED names the record. */
lafs_status lafs_index_image(const struct lafs_index *ix, struct lafs_fetch *f, int64_t at, int64_t max_pixels,
                             struct lafs_image *im, struct lafs_err *err);

/* The width and height of an index's pictures as its header says, or, where that does not, the largest of 64 records,
 * spread over it; 0: none can be read. */
void lafs_index_largest(const struct lafs_index *ix, struct lafs_fetch *f, int *w, int *h);

#endif
