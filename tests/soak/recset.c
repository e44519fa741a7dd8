/* usage: recset COUNT BYTES writes so many records of RecordIO to standard output, each with so many bytes that begin like a
 * JPEG, of people who have 20 each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/recordio.h"

int main(int argc, char **argv)
{
    struct lafs_buf b;
    struct lafs_err err;
    long long count = argc == 3 ? atoll(argv[1]) : 0, size = argc == 3 ? atoll(argv[2]) : 0;
    if (count < 1 || size < 16 || size > 1 << 20) return 2;
    unsigned char *photo = calloc(1, (size_t)size);
    if (!photo) return 1;
    memcpy(photo, "\xff\xd8\xff", 3);
    lafs_buf_init(&b);
    for (long long i = 0; i < count; i++) {
        memcpy(photo + 4, &i, sizeof i);
        lafs_status st = lafs_rec_put(&b, (uint64_t)i, 0, (float)(i / 20), NULL, photo, (size_t)size, &err);
        if (st == LAFS_OK && b.size < 1 << 18 && i + 1 < count) continue;
        if (st != LAFS_OK || fwrite(b.data, 1, b.size, stdout) != b.size) return 1;
        lafs_buf_clear(&b);
    }
    lafs_buf_release(&b);
    free(photo);
    return fflush(stdout) != 0;
}
