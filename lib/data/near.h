/* Near-duplicates in a set of pictures: to keep a test set out of what is trained on, and no photo there twice.
 *
 * Two pictures are compared as grey 32x32 ones: the middle 28x28 of one with those of the other and of its mirror
 * image, shifted by up to 2 pixels each way; of the 50 correlations of mean-free pixels the highest counts. */
#ifndef LAFS_DATA_NEAR_H
#define LAFS_DATA_NEAR_H

#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

struct lafs_near;
struct lafs_near_picture; /* what a picture is compared by (20 KB) */
lafs_status lafs_near_new(struct lafs_near **out, struct lafs_err *err);
void lafs_near_free(struct lafs_near *s);
/* Adds a picture; pictures are numbered from 0. */
lafs_status lafs_near_add(struct lafs_near *s, const struct lafs_image *im, struct lafs_err *err);
/* The same in two steps. The first, the slow one, is thread-safe; the second takes the picture over unless it fails. */
lafs_status lafs_near_draw(const struct lafs_near *s, const struct lafs_image *im, struct lafs_near_picture **out,
                           struct lafs_err *err);
lafs_status lafs_near_put(struct lafs_near *s, struct lafs_near_picture *p, struct lafs_err *err);
void lafs_near_picture_free(struct lafs_near_picture *p);
/* The highest correlation (-1..1) with a picture of the set, and which it is (*which may be NULL; the first of equals),
 * if that is `min` or more; otherwise -2. Thread-safe. min in (0, 1]. */
double lafs_near_best(const struct lafs_near *s, const struct lafs_image *im, double min, int64_t *which);
/* The same of n pictures that are drawn (1 or, in one go, up to LAFS_NEAR_GROUP; NULL is like nothing), with those of
 * the set from number `from` on: best (n), which (n; -1: none). Thread-safe. */
enum { LAFS_NEAR_GROUP = 4 };
void lafs_near_best_drawn(const struct lafs_near *s, struct lafs_near_picture *const *p, int n, int64_t from,
                          double min, double *best, int64_t *which);

#endif
