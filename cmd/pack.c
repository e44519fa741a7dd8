#include "cmd/pack.h"

#include "cmd/cli.h"
#include "data/face.h"

enum { JPEG_QUALITY = 95 };

lafs_status pack_picture(const struct lafs_sample *s, struct lafs_buf *made, const void **data, size_t *size,
                         int *swapped, struct lafs_err *err)
{
    lafs_status st = lafs_face_bytes(s, data, size, err);
    *swapped = st == LAFS_OK && lafs_face_swapped(s);
    if (st != LAFS_END) return st;
    struct lafs_image im = {0};
    st = lafs_face_image(s, cli.max_pixels, &im, err);
    lafs_buf_clear(made);
    if (st == LAFS_OK) st = lafs_jpeg_encode(made, &im, JPEG_QUALITY, err);
    lafs_image_release(&im);
    *data = made->data;
    *size = made->size;
    return st;
}

void pack_say_swapped(int64_t swapped)
{
    if (swapped)
        cli_warn("red and blue are swapped in %lld of the pictures, as they came: whoever reads them must know",
                 (long long)swapped);
}
