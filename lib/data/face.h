/* The picture in a record. */
#ifndef LAFS_DATA_FACE_H
#define LAFS_DATA_FACE_H

#include <stdint.h>

#include "data/record.h"
#include "image/image.h"

/* A record holds one picture: field `rgb` (u8 (h,w,3)), or the bytes of a file in `jpg` or `png`, named by what they
 * are. Readers go by the bytes all the same. */

/* Decodes the picture, of `rgb` where there are several, into im. LAFS_BAD_RECORD: none is there, or it is broken.
 * max_pixels 0: the default. Field `swapped` true: its red and blue are exchanged, so that what comes out is RGB in any
 * case. */
lafs_status lafs_face_image(const struct lafs_sample *s, int64_t max_pixels, struct lafs_image *im,
                            struct lafs_err *err);
/* Its width and height as displayed, undecoded. LAFS_BAD_RECORD as above. */
lafs_status lafs_face_size(const struct lafs_sample *s, int *w, int *h, struct lafs_err *err);
/* The encoded bytes; LAFS_END (no message) when there are none. */
lafs_status lafs_face_bytes(const struct lafs_sample *s, const void **data, size_t *size, struct lafs_err *err);
/* Length of a key without -f0, -f1 .. at its end: what lafs-detect calls the faces of a photo unless it keeps the best
 * one. Of other keys: their whole length. */
size_t lafs_face_stem(const char *key);
/* Length of a photo's path without its suffix, as in its key; of what does not end like a picture: its whole length. */
size_t lafs_photo_stem(const char *path);
/* Whether there is any picture. */
int lafs_face_has(const struct lafs_sample *s);
/* Removes every picture, and what was said of its colours. */
void lafs_face_del(struct lafs_sample *s);
/* Leaves the picture's fields where they stand, without their bytes, for copies that are kept in memory .. */
void lafs_face_hollow(struct lafs_sample *s);
/* .. and puts the bytes in again, those that `from` has. */
void lafs_face_fill(struct lafs_sample *s, const struct lafs_sample *from);
/* Makes the bytes of a photo the picture: field `png` of a PNG, otherwise `jpg`. */
void lafs_face_set(struct lafs_sample *s, const void *data, size_t size);
/* Whether the field `swapped` says that red and blue are exchanged in the picture. */
int lafs_face_swapped(const struct lafs_sample *s);

#endif
