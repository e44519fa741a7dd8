#include "format/npy.h"

#include <stdio.h>
#include <string.h>

lafs_status lafs_npy_header(unsigned char out[LAFS_NPY_HEADER], const char *type, const int64_t *shape, int ndim,
                            struct lafs_err *err)
{
    char text[LAFS_NPY_HEADER + 1];
    if (ndim < 0 || ndim > LAFS_NPY_DIMS || strlen(type) > 7)
        return lafs_fail(err, LAFS_FAILED, "no .npy header for %d dimensions of type '%s'", ndim, type);
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) return lafs_fail(err, LAFS_FAILED, "no .npy header for a negative shape");
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "%s), }", ndim == 1 ? "," : "");
    if (n > LAFS_NPY_HEADER - 11) return lafs_fail(err, LAFS_FAILED, "no .npy header of %d bytes", n);
    memset(out, ' ', LAFS_NPY_HEADER);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (LAFS_NPY_HEADER - 10) & 255;
    out[9] = (LAFS_NPY_HEADER - 10) >> 8;
    memcpy(out + 10, text, (size_t)n);
    out[LAFS_NPY_HEADER - 1] = '\n';
    return LAFS_OK;
}
