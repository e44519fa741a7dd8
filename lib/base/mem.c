#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

int lafs_mul_ok(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
int lafs_add_ok(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

lafs_status lafs_alloc(void *out, size_t count, size_t size, struct lafs_err *err)
{
    void **p = out;
    *p = NULL;
    size_t bytes, padded;
    if (!lafs_mul_ok(count, size, &bytes) || !lafs_add_ok(bytes, ALIGNMENT, &padded))
        return lafs_fail(err, LAFS_FAILED, "out of memory: %zu x %zu bytes", count, size);
    padded = (padded - 1) / ALIGNMENT * ALIGNMENT;
    if (padded == 0) padded = ALIGNMENT;
    *p = aligned_alloc(ALIGNMENT, padded);
    if (!*p) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", bytes);
    return LAFS_OK;
}

lafs_status lafs_alloc0(void *out, size_t count, size_t size, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(out, count, size, err));
    memset(*(void **)out, 0, count * size);
    return LAFS_OK;
}

lafs_status lafs_resize(void *ptr, size_t old, size_t count, size_t size, struct lafs_err *err)
{
    void **p = ptr, *fresh;
    LAFS_TRY(lafs_alloc(&fresh, count, size, err));
    if (*p) memcpy(fresh, *p, (old < count ? old : count) * size);
    free(*p);
    *p = fresh;
    return LAFS_OK;
}

void lafs_free(void *ptr) { free(ptr); }

lafs_status lafs_strdup(char **out, const char *s, struct lafs_err *err)
{
    size_t n = strlen(s) + 1;
    LAFS_TRY(lafs_alloc(out, n, 1, err));
    memcpy(*out, s, n);
    return LAFS_OK;
}
