/* Mixup of a micro-batch with itself in reverse. Spec "Stages 1 and 3". */
#ifndef LAFS_TRAIN_MIXUP_H
#define LAFS_TRAIN_MIXUP_H

#include <stdint.h>

#include "compute/backend.h"

struct lafs_mixup {
    double p, alpha; /* probability; lambda ~ Beta(alpha, alpha), one draw a micro-batch, not folded */
    uint64_t seed;
};
/* With probability p: images (n, size) = lambda images + (1 - lambda) those of the reversed batch, and each target is a
 * with lambda, b with the rest. Returns how many images count: an odd batch that is mixed loses its last. The draw is
 * that of (seed, epoch, pass). scratch (n, size); images and scratch on the device. Queued. */
int64_t lafs_mixup(const struct lafs_mixup *m, const struct lafs_backend *b, int64_t epoch, int64_t pass, int64_t n,
                   int64_t size, float *images, float *scratch, struct lafs_target *target);

#endif
