/* The header of a .npy file (version 1.0). */
#ifndef LAFS_FORMAT_NPY_H
#define LAFS_FORMAT_NPY_H

#include <stdint.h>

#include "base/err.h"

enum { LAFS_NPY_HEADER = 256, LAFS_NPY_DIMS = 9 }; /* bytes: always the same, so that it can be written last */
/* out = the header of a C-order array; type: "<f4", "|u1", .. (at most 7 letters). */
lafs_status lafs_npy_header(unsigned char out[LAFS_NPY_HEADER], const char *type, const int64_t *shape, int ndim,
                            struct lafs_err *err);

#endif
