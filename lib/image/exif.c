#include "image/exif.h"

#include <string.h>

static unsigned tiff_u16(const unsigned char *p, int big) { return big ? p[0] << 8 | p[1] : p[1] << 8 | p[0]; }
static size_t tiff_u32(const unsigned char *p, int big)
{
    return big ? (size_t)tiff_u16(p, 1) << 16 | tiff_u16(p + 2, 1) : (size_t)tiff_u16(p + 2, 0) << 16 | tiff_u16(p, 0);
}

/* TIFF 6.0 layout: byte order, 42, offset of the first directory; there a count and entries of 12 bytes: tag, type,
 * count, value. */
int lafs_exif_orientation(const void *tiff, size_t n)
{
    const unsigned char *p = tiff;
    if (n < 8) return 0;
    int big = p[0] == 'M';
    if (memcmp(p, big ? "MM" : "II", 2) || tiff_u16(p + 2, big) != 42) return 0;
    size_t at = tiff_u32(p + 4, big);
    if (at < 8 || at > n || n - at < 2) return 0;
    size_t entries = tiff_u16(p + at, big);
    at += 2;
    for (size_t i = 0; i < entries && n - at >= 12; i++, at += 12) {
        if (tiff_u16(p + at, big) != 0x0112) continue;
        unsigned type = tiff_u16(p + at + 2, big);
        if ((type != 3 && type != 4) || tiff_u32(p + at + 4, big) != 1) return 0;
        size_t v = type == 3 ? tiff_u16(p + at + 8, big) : tiff_u32(p + at + 8, big);
        return v >= 1 && v <= 8 ? (int)v : 0;
    }
    return 0;
}

/* Displayed (x, y) is stored (x, y), for 5..8 (y, x), counted from the right or from the bottom as listed. */
lafs_status lafs_image_orient(struct lafs_image *im, int o, struct lafs_err *err)
{
    if (o <= 1) return LAFS_OK;
    int swap = o >= 5;
    int from_right = o == 2 || o == 3 || o == 7 || o == 8;
    int from_bottom = o == 3 || o == 4 || o == 6 || o == 7;
    struct lafs_image out = {0};
    LAFS_TRY(lafs_image_new(&out, swap ? im->h : im->w, swap ? im->w : im->h, err));
    for (int y = 0; y < out.h; y++) {
        uint8_t *to = out.px + (size_t)y * (size_t)out.w * 3;
        for (int x = 0; x < out.w; x++, to += 3) {
            int sx = swap ? y : x, sy = swap ? x : y;
            if (from_right) sx = im->w - 1 - sx;
            if (from_bottom) sy = im->h - 1 - sy;
            memcpy(to, im->px + ((size_t)sy * (size_t)im->w + (size_t)sx) * 3, 3);
        }
    }
    lafs_image_release(im);
    *im = out;
    return LAFS_OK;
}
