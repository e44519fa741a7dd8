/* 8-bit RGB images and their files. Origin (0, 0) is the centre of the top-left pixel. */
#ifndef LAFS_IMAGE_IMAGE_H
#define LAFS_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct lafs_image {
    int w, h;
    uint8_t *px; /* (h, w, 3) RGB, rows packed; owned, from lafs_alloc */
};
void lafs_image_release(struct lafs_image *im);
/* Uninitialised pixels; w, h in 1..65500, product checked. Releases what was there. */
lafs_status lafs_image_new(struct lafs_image *im, int w, int h, struct lafs_err *err);

#define LAFS_MAX_PIXELS_DEFAULT ((int64_t)100 * 1000 * 1000)

/* Decodes a JPEG to RGB, with its EXIF orientation applied. Grey, CMYK/YCCK (Adobe-inverted or not) and progressive are
 * normal. Headers that claim more than max_pixels are refused before decoding (0: the default). A truncated body is
 * LAFS_BAD_RECORD. */
lafs_status lafs_jpeg_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                             struct lafs_err *err);
/* Width and height as displayed, without decoding. */
lafs_status lafs_jpeg_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err);
/* Appends a baseline JPEG, 4:4:4 for quality >= 90 and 4:2:0 below; quality 1..100. The same bytes every time. */
lafs_status lafs_jpeg_encode(struct lafs_buf *out, const struct lafs_image *im, int quality, struct lafs_err *err);

/* Decodes a PNG to RGB: any depth (16 bits are rounded to 8), grey, palette, interlaced; of an animation the first
 * picture. What is transparent is blended with black, the colour of all that lies outside a picture; the orientation of
 * an eXIf chunk is applied; gamma and colour profiles are ignored, as in JPEG files. Limits and errors as for JPEG; a
 * wrong checksum is LAFS_BAD_RECORD, too. */
lafs_status lafs_png_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                            struct lafs_err *err);
lafs_status lafs_png_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err);

/* Photos of any kind that is read, known by their first bytes. */
enum lafs_photo { LAFS_PHOTO_NONE, LAFS_PHOTO_JPEG, LAFS_PHOTO_PNG };
enum lafs_photo lafs_photo_kind(const void *data, size_t size);
/* What the first bytes of a file look like, photo or not: "a PNG picture", .., or NULL. */
const char *lafs_looks_like(const void *data, size_t size);
/* Whether they are a picture's, of a kind that is read or not, and surely no text's. */
int lafs_begins_as_picture(const void *data, size_t size);
/* LAFS_BAD_RECORD unless the bytes begin like a photo that is read; says what they look like instead. */
lafs_status lafs_photo_check(const void *data, size_t size, struct lafs_err *err);
lafs_status lafs_photo_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                              struct lafs_err *err);
lafs_status lafs_photo_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err);

#endif
