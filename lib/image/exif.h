/* What EXIF says about how a photo is shown. Private to lib/image. */
#ifndef LAFS_IMAGE_EXIF_H
#define LAFS_IMAGE_EXIF_H

#include "image/image.h"

/* Orientation 1..8 that the TIFF block tiff[0..n) states; 0 when it is none or says nothing valid. */
int lafs_exif_orientation(const void *tiff, size_t n);
/* Turns stored pixels into displayed ones; 0 and 1 leave them. */
lafs_status lafs_image_orient(struct lafs_image *im, int orientation, struct lafs_err *err);

#endif
