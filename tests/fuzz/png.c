/* Any bytes as a photo, and as a PNG whose checksums are made right, so that the fuzzer gets behind them: what decodes
 * has the size that its header claims. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

static void check(const uint8_t *data, size_t size)
{
    enum { MAX_PIXELS = 1 << 18 };
    struct lafs_err err = {0};
    struct lafs_image im = {0};
    int w, h;
    lafs_status st = lafs_photo_size(data, size, &w, &h, &err);
    if (st != LAFS_OK && st != LAFS_BAD_RECORD) abort();
    lafs_status decoded = lafs_photo_decode(&im, data, size, MAX_PIXELS, &err);
    if (decoded != LAFS_OK) {
        if (decoded != LAFS_BAD_RECORD || im.px || !err.msg[0]) abort();
        return;
    }
    if (st != LAFS_OK || im.w != w || im.h != h || (int64_t)w * h > MAX_PIXELS) abort();
    volatile unsigned sum = 0; /* every pixel is defined */
    for (size_t i = 0; i < (size_t)w * (size_t)h * 3; i++) sum += im.px[i];
    (void)sum;
    lafs_image_release(&im);
}

static uint32_t checksum(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size);
    if (size < 8) return 0;
    uint8_t *p = malloc(size);
    if (!p) return 0;
    memcpy(p, data, size);
    memcpy(p, "\x89PNG\r\n\x1a\n", 8);
    for (size_t at = 8; size - at >= 12;) {
        size_t len = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
        if (len > size - at - 12) break;
        uint32_t crc = checksum(p + at + 4, len + 4);
        for (int k = 0; k < 4; k++) p[at + 8 + len + (size_t)k] = (uint8_t)(crc >> (24 - 8 * k));
        at += 12 + len;
    }
    check(p, size);
    free(p);
    return 0;
}
