/* Named tensors and flat parameter arrays. */
#ifndef LAFS_COMPUTE_TENSOR_H
#define LAFS_COMPUTE_TENSOR_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"

enum { LAFS_MAX_TENSOR_NAME = 128, LAFS_MAX_DIMS = 4 };

/* What a model declares about a parameter. */
enum lafs_init {
    LAFS_INIT_ZERO, LAFS_INIT_ONE,
    LAFS_INIT_UNIFORM, /* U(-a, a) */
    LAFS_INIT_NORMAL   /* N(0, a) */
};
struct lafs_param {
    char name[LAFS_MAX_TENSOR_NAME]; /* the authors' name, spec "Parameter names" */
    uint64_t hash;                   /* of the name */
    int ndim;
    int64_t shape[LAFS_MAX_DIMS];
    int64_t off, size;               /* place in the flat arrays, floats */
    int trainable;                   /* 0: a buffer (BatchNorm running statistics) */
    enum lafs_init init;
    float a;
    /* layer-wise lr id: 0 patch embedding, CLS, position, CNN; block l: l+1; head: L+1 */
    int depth;
};

/* The parameters of one model: a table, and one flat device array. Ranges are padded to 64 bytes; padding stays 0. */
struct lafs_params {
    struct lafs_param *p;
    int count, cap;
    int64_t size;   /* floats in all, padding included */
    float *value;   /* (size) device, or NULL before lafs_params_place */
};
void lafs_params_init(struct lafs_params *ps);
void lafs_params_release(struct lafs_params *ps, const struct lafs_backend *b);
/* Declares a parameter; returns its index in *id. */
lafs_status lafs_params_add(struct lafs_params *ps, const char *name, int ndim, const int64_t *shape, int trainable,
                            enum lafs_init init, float a, int depth, int *id, struct lafs_err *err);
/* Allocates value (zeroed). */
lafs_status lafs_params_place(struct lafs_params *ps, const struct lafs_backend *b, struct lafs_err *err);
/* Initial values, each from (seed, LAFS_RNG_INIT, 0, FNV of the name, 0). */
lafs_status lafs_params_fill(struct lafs_params *ps, const struct lafs_backend *b, uint64_t seed, struct lafs_err *err);
/* The same for one parameter that holds a part of a larger tensor: the values from number `skip` on. */
lafs_status lafs_params_fill_part(struct lafs_params *ps, int id, int64_t skip, const struct lafs_backend *b,
                                  uint64_t seed, struct lafs_err *err);
/* NULL if there is none of that name. */
const struct lafs_param *lafs_params_find(const struct lafs_params *ps, const char *name);
/* Copies all that is not trained from one flat array to another, neighbours at once. Queued. */
void lafs_params_copy_buffers(const struct lafs_params *ps, const struct lafs_backend *b, const float *from, float *to);
static inline float *lafs_params_at(const struct lafs_params *ps, int id) { return ps->value + ps->p[id].off; }

/* Memory planned for the worst batch, reserved once, carved. First pass: base NULL, lafs_arena_take only adds up; then
 * lafs_arena_reserve; second pass gives pointers. */
struct lafs_arena {
    char *base;
    size_t used, size;
};
void *lafs_arena_take(struct lafs_arena *a, size_t count, size_t item); /* 256-byte aligned; NULL while measuring */
/* allocates `used`, rewinds */
lafs_status lafs_arena_reserve(struct lafs_arena *a, const struct lafs_backend *b, struct lafs_err *err);
void lafs_arena_release(struct lafs_arena *a, const struct lafs_backend *b);

#endif
