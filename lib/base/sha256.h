#ifndef LAFS_BASE_SHA256_H
#define LAFS_BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* SHA-256 (FIPS 180-4). */
struct lafs_sha256 {
    uint32_t h[8];
    uint64_t bytes;
    unsigned char block[64];
};
void lafs_sha256_init(struct lafs_sha256 *s);
void lafs_sha256_add(struct lafs_sha256 *s, const void *data, size_t size);
/* lafs_sha256_add(s, data, size) and lafs_sha256_add(t, more, more_size), s != t: where the processor has SHA
 * instructions, in little more than the time of the longer one. */
void lafs_sha256_add_two(struct lafs_sha256 *s, const void *data, size_t size, struct lafs_sha256 *t, const void *more,
                         size_t more_size);
void lafs_sha256_hex(struct lafs_sha256 *s, char hex[65]); /* finishes */
/* For tests: 1 leaves the processor's SHA instructions unused. The digests are the same. */
void lafs_sha256_plain(int plain);
/* Of what its caller reads, too: a pipe, whose bytes come once, is refused. */
lafs_status lafs_sha256_file(const char *path, char hex[65], struct lafs_err *err);
#endif
