/* Reading and writing .safetensors. The header is not trusted: end >= begin, size = shape x dtype, full cover
 * without holes or overlap, everything inside the file, no name twice. */
#ifndef LAFS_FORMAT_SAFETENSORS_H
#define LAFS_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum lafs_dtype {
    LAFS_F32, LAFS_F64, LAFS_F16, LAFS_BF16, LAFS_I64, LAFS_I32, LAFS_I16, LAFS_I8, LAFS_U8, LAFS_BOOL, LAFS_U64,
    LAFS_U32, LAFS_U16
};
size_t lafs_dtype_size(enum lafs_dtype t);
const char *lafs_dtype_name(enum lafs_dtype t);

enum { LAFS_ST_MAX_DIMS = 8 };
struct lafs_st_tensor {
    const char *name;
    enum lafs_dtype dtype;
    int ndim;
    int64_t shape[LAFS_ST_MAX_DIMS];
    int64_t count;
    const void *data; /* count * item bytes, row-major, little-endian; 8-byte aligned only if the file is */
};
struct lafs_st_meta {
    const char *key, *value;
};
/* A file mapped into memory (or read, for pipes). Tensors in the file's order. */
struct lafs_st {
    struct lafs_st_tensor *tensor;
    int count;
    struct lafs_st_meta *meta;
    int metas;
    void *priv;
};
lafs_status lafs_st_open(struct lafs_st **out, const char *path, struct lafs_err *err);
/* The same from memory, which must stay. */
lafs_status lafs_st_parse(struct lafs_st **out, const void *data, size_t size, struct lafs_err *err);
/* The same interface to tensors that come from elsewhere: the arrays are copied, what they point to must stay. */
lafs_status lafs_st_wrap(struct lafs_st **out, const struct lafs_st_tensor *tensor, int count,
                         const struct lafs_st_meta *meta, int metas, struct lafs_err *err);
void lafs_st_close(struct lafs_st *st);
const struct lafs_st_tensor *lafs_st_find(const struct lafs_st *st, const char *name); /* NULL: none */
const char *lafs_st_meta_of(const struct lafs_st_meta *meta, int n, const char *key);  /* NULL: none */
const char *lafs_st_meta(const struct lafs_st *st, const char *key);                   /* NULL: none */
/* Copies a tensor of any numeric dtype into out (float); LAFS_FAILED when the shape differs (-1 matches any). */
lafs_status lafs_st_read_f32(const struct lafs_st *st, const char *name, const int64_t *shape, int ndim, float *out,
                             struct lafs_err *err);
/* The same of a network's weights, which must be finite. */
lafs_status lafs_st_read_weights(const struct lafs_st *st, const char *name, const int64_t *shape, int ndim, float *out,
                                 struct lafs_err *err);
/* LAFS_FAILED when a tensor's shape differs (-1 matches any). */
lafs_status lafs_st_check_shape(const struct lafs_st_tensor *t, const int64_t *shape, int ndim, struct lafs_err *err);
/* LAFS_FAILED when a value is no finite float: with such weights nothing can be computed. */
lafs_status lafs_st_check_finite(const struct lafs_st_tensor *t, struct lafs_err *err);
/* A tensor's values as floats: out (count), converted. Those of dtype F32 are there already, at t->data. */
void lafs_st_to_f32(const struct lafs_st_tensor *t, float *out);

/* Atomic write (temporary file, fsync, rename). Tensors are written in the given order, data aligned to 64 bytes by
 * header padding; the same input gives the same bytes. */
lafs_status lafs_st_write(const char *path, const struct lafs_st_tensor *tensor, int count,
                          const struct lafs_st_meta *meta, int metas, struct lafs_err *err);

#endif
