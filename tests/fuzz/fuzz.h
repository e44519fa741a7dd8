/* What fuzz targets share: the entry, assertions, and bytes as a file. */
#ifndef LAFS_TESTS_FUZZ_H
#define LAFS_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What does not hold is a finding. */
static inline void must(int holds)
{
    if (!holds) abort();
}

/* A file in memory, empty. */
static inline int fuzz_file(void) { return memfd_create("fuzz", MFD_CLOEXEC); }

/* Makes these bytes its content; its path is good until the next call. */
static inline const char *fuzz_put(int fd, const void *data, size_t size)
{
    static char path[64];
    must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

#endif
