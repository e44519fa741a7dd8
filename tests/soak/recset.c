/* usage: recset COUNT BYTES writes so many records of RecordIO to standard output: a small JPEG, with zeros behind it up to
 * so many bytes, of people who have 20 each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/recordio.h"
#include "image/image.h"

static lafs_status small_photo(struct lafs_buf *jpg, struct lafs_err *err)
{
    struct lafs_image im = {0};
    lafs_status st = lafs_image_new(&im, 16, 16, err);
    for (int i = 0; st == LAFS_OK && i < 16 * 16 * 3; i++) im.px[i] = (uint8_t)(200 - 40 * (i % 3));
    if (st == LAFS_OK) st = lafs_jpeg_encode(jpg, &im, 50, err);
    lafs_image_release(&im);
    return st;
}

int main(int argc, char **argv)
{
    struct lafs_buf b, jpg;
    struct lafs_err err;
    long long count = argc == 3 ? atoll(argv[1]) : 0, size = argc == 3 ? atoll(argv[2]) : 0;
    if (count < 1 || size < 1 || size > 1 << 20) return 2;
    lafs_buf_init(&b);
    lafs_buf_init(&jpg);
    lafs_status st = small_photo(&jpg, &err);
    while (st == LAFS_OK && !jpg.failed && jpg.size < (size_t)size) lafs_buf_putc(&jpg, 0);
    for (long long i = 0; i < count && st == LAFS_OK; i++) {
        st = lafs_rec_put(&b, (uint64_t)i, 0, (float)(i / 20), NULL, jpg.data, jpg.size, &err);
        if (st == LAFS_OK && b.size < 1 << 18 && i + 1 < count) continue;
        if (st == LAFS_OK && fwrite(b.data, 1, b.size, stdout) != b.size) st = LAFS_FAILED;
        lafs_buf_clear(&b);
    }
    lafs_buf_release(&b);
    lafs_buf_release(&jpg);
    return fflush(stdout) || st != LAFS_OK;
}
