#include "data/face.h"

#include <string.h>

lafs_status lafs_face_image(const struct lafs_sample *s, int64_t max_pixels, struct lafs_image *im,
                            struct lafs_err *err)
{
    if (max_pixels <= 0) max_pixels = LAFS_MAX_PIXELS_DEFAULT;
    struct lafs_nd a;
    lafs_status st = lafs_sample_nd(s, "rgb", &a, err);
    if (st == LAFS_OK) {
        if (strcmp(a.type, "|u1") || a.ndim != 3 || a.shape[2] != 3 || a.shape[0] < 1 || a.shape[1] < 1 ||
            a.shape[0] > 65500 || a.shape[1] > 65500)
            return lafs_fail(err, LAFS_BAD_RECORD, "field 'rgb': not a u8 array (h, w, 3)");
        if (a.shape[0] * a.shape[1] > max_pixels)
            return lafs_fail(err, LAFS_BAD_RECORD, "field 'rgb': %lld x %lld is more than %lld pixels",
                             (long long)a.shape[1], (long long)a.shape[0], (long long)max_pixels);
        LAFS_TRY(lafs_image_new(im, (int)a.shape[1], (int)a.shape[0], err));
        memcpy(im->px, a.data, a.count);
        return LAFS_OK;
    }
    if (st != LAFS_END) return st;
    const void *data;
    size_t size;
    st = lafs_sample_bin(s, "jpg", &data, &size, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no picture: neither field 'jpg' nor 'rgb'");
    LAFS_TRY(st);
    return lafs_jpeg_decode(im, data, size, max_pixels, err);
}
