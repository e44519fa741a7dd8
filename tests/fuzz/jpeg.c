/* Any bytes as a JPEG: what decodes has the size that its header claims, and can be written again. */
#include <stdint.h>
#include <stdlib.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX_PIXELS = 1 << 18 };
    struct lafs_err err;
    struct lafs_image im = {0};
    int w, h;
    lafs_status st = lafs_jpeg_size(data, size, &w, &h, &err);
    if (st != LAFS_OK && st != LAFS_BAD_RECORD) abort();
    lafs_status decoded = lafs_jpeg_decode(&im, data, size, MAX_PIXELS, &err);
    if (decoded != LAFS_OK) {
        if (decoded != LAFS_BAD_RECORD || im.px || !err.msg[0]) abort();
        return 0;
    }
    if (st != LAFS_OK || im.w != w || im.h != h || (int64_t)w * h > MAX_PIXELS) abort();
    struct lafs_buf b;
    lafs_buf_init(&b);
    if (w * h <= 4096 && lafs_jpeg_encode(&b, &im, 1 + (int)(size % 100), &err) != LAFS_OK) abort();
    lafs_buf_release(&b);
    volatile unsigned sum = 0; /* every pixel is defined */
    for (size_t i = 0; i < (size_t)w * (size_t)h * 3; i++) sum += im.px[i];
    (void)sum;
    lafs_image_release(&im);
    return 0;
}
