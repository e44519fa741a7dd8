/* Near-duplicates of a set of pictures: to keep a test set out of what is trained on.
 *
 * Two pictures are compared as grey 32x32 ones: the middle 28x28 of one with those of the other and of its mirror
 * image, shifted by up to 2 pixels each way; of the 50 correlations of mean-free pixels the highest counts. */
#ifndef LAFS_DATA_NEAR_H
#define LAFS_DATA_NEAR_H

#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

struct lafs_near;
lafs_status lafs_near_new(struct lafs_near **out, struct lafs_err *err);
void lafs_near_free(struct lafs_near *s);
/* Adds a picture (20 KB); pictures are numbered from 0. */
lafs_status lafs_near_add(struct lafs_near *s, const struct lafs_image *im, struct lafs_err *err);
/* The highest correlation (-1..1) with a picture of the set, and which it is (*which may be NULL; the first of equals),
 * if that is `min` or more; otherwise -2. Thread-safe. min in (0, 1]. */
double lafs_near_best(const struct lafs_near *s, const struct lafs_image *im, double min, int64_t *which);

#endif
