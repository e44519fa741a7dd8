/* The picture in a record. */
#ifndef LAFS_DATA_FACE_H
#define LAFS_DATA_FACE_H

#include <stdint.h>

#include "data/record.h"
#include "image/image.h"

/* Decodes field `rgb` (u8 (h,w,3)) or, without it, `jpg` into im. LAFS_BAD_RECORD: neither is there, or it is broken;
 * the message names the field. max_pixels 0: the default. */
lafs_status lafs_face_image(const struct lafs_sample *s, int64_t max_pixels, struct lafs_image *im,
                            struct lafs_err *err);

#endif
