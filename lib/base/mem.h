/* Checked allocation. All pointers are released with lafs_free. Sizes are never
 * computed by callers: products go through the array forms. */
#ifndef LAFS_BASE_MEM_H
#define LAFS_BASE_MEM_H

#include <stddef.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *out receives count*size uninitialised bytes, aligned to 64 (count*size == 0 gives a valid
 * pointer). LAFS_FAILED "out of memory" on overflow or exhaustion; *out is then NULL. */
lafs_status lafs_alloc(void *out, size_t count, size_t size, struct lafs_err *err);
/* The same, zeroed. */
lafs_status lafs_alloc0(void *out, size_t count, size_t size, struct lafs_err *err);
/* Grows or shrinks *ptr (from lafs_alloc* or NULL) holding `old` elements; unchanged on failure. */
lafs_status lafs_resize(void *ptr, size_t old, size_t count, size_t size, struct lafs_err *err);
/* NULL is fine. */
void lafs_free(void *ptr);
/* Copies a NUL-terminated string. */
lafs_status lafs_strdup(char **out, const char *s, struct lafs_err *err);

/* *out = a*b or a+b; 0 on overflow, else 1. */
int lafs_mul_ok(size_t a, size_t b, size_t *out);
int lafs_add_ok(size_t a, size_t b, size_t *out);

#ifdef __cplusplus
}
#endif
#endif
