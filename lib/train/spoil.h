/* What light, cameras and things in the way do to a picture: how detectors are taught to bear it. */
#ifndef LAFS_TRAIN_SPOIL_H
#define LAFS_TRAIN_SPOIL_H

#include "base/rng.h"
#include "image/image.h"

/* In place, each with its own probability: exposure, contrast, gamma and cast of colours, grey, light from one side,
 * blur, noise. Depends on the picture and the stream alone. */
void lafs_spoil(struct lafs_image *im, struct lafs_rng *r);
/* Covers the rectangle, cut to the picture, with a colour, with stripes, or with noise. */
void lafs_cover(struct lafs_image *im, struct lafs_rng *r, int left, int top, int right, int bottom);

#endif
