/* The byte order mark that some editors write in front of a text in UTF-8. */
#ifndef LAFS_BASE_MARK_H
#define LAFS_BASE_MARK_H

#include <stddef.h>
#include <string.h>

/* Its bytes at the beginning of text: 3, or 0 where there is none. */
static inline size_t lafs_mark(const void *text, size_t size)
{
    return size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

#endif
