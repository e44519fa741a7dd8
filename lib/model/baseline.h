/* Classical embeddings, to compare with: what a recogniser must beat. No training, no weights. */
#ifndef LAFS_MODEL_BASELINE_H
#define LAFS_MODEL_BASELINE_H

#include <stdint.h>

#include "base/err.h"
#include "image/image.h"

enum lafs_baseline {
    LAFS_BASELINE_PIXEL, /* x/127.5 - 1 of the RGB crop, flattened: (size*size*3) */
    LAFS_BASELINE_LBP /* square roots of uniform local-binary-pattern histograms on a grid: cosine = Hellinger kernel */
};
/* "pixel", "lbp"; 0 when unknown. */
int lafs_baseline_by_name(const char *name, enum lafs_baseline *kind);
/* Length of the embedding of a crop of `size` pixels; 0 when the size is not supported (16..1024). */
int64_t lafs_baseline_dim(enum lafs_baseline kind, int size);
/* out (dim) = embedding of the image + embedding of its mirror image, not normalised, like every embedding of ours.
 * LAFS_BAD_RECORD: not square, or of another size. Thread-safe. */
lafs_status lafs_baseline_embed(enum lafs_baseline kind, const struct lafs_image *crop, int size, float *out,
                                struct lafs_err *err);

#endif
