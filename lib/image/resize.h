/* Pictures made smaller and larger, upright: what is slower, and turns them too, is in image/align.h. */
#ifndef LAFS_IMAGE_RESIZE_H
#define LAFS_IMAGE_RESIZE_H

#include "base/err.h"
#include "image/image.h"

/* The means of blocks of f x f pixels, f a power of two up to 32768: block columns [box[0], box[2]), rows [box[1],
 * box[3]), which may be none. What the last blocks lack of the picture counts as black. */
lafs_status lafs_image_reduce(const struct lafs_image *in, int f, const int box[4], struct lafs_image *out,
                              struct lafs_err *err);

/* The whole picture in w x h pixels: bilinear between pixels' centres, the outermost ones going on outside; where both
 * sides shrink to less than a half, blocks are averaged first. */
lafs_status lafs_image_resize(const struct lafs_image *in, int w, int h, struct lafs_image *out, struct lafs_err *err);

#endif
