/* A sample: a key and named fields, held as the MessagePack bytes they came in.
 *
 * Reading a field decodes it on demand; setting one appends new bytes; what nobody touches leaves
 * as it came. Names of fields and their meaning: lafs-record(5).
 *
 *     struct lafs_sample s;
 *     lafs_sample_init(&s);
 *     lafs_sample_set_str(&s, "key", "ann/ann_0001");
 *     lafs_sample_set_f32(&s, "points", (int64_t[]){5, 2}, 2, points);
 *     LAFS_TRY(lafs_sample_check(&s, err));          // sticky: setters do not fail one by one
 *     lafs_sample_release(&s);
 */
#ifndef LAFS_DATA_RECORD_H
#define LAFS_DATA_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    LAFS_MAX_KEY = 1024,       /* bytes of a key */
    LAFS_MAX_FIELDS = 256,
    LAFS_MAX_FIELD_NAME = 128,
    LAFS_MAX_DEPTH = 24        /* nesting of maps and arrays */
};
#define LAFS_MAX_RECORD ((size_t)256 << 20) /* bytes of one record */

struct lafs_field {
    size_t name, name_len; /* offset and length in buf */
    size_t at, len;        /* the value's MessagePack bytes in buf */
};

struct lafs_sample {
    struct lafs_buf buf;      /* owns everything below */
    struct lafs_field *field; /* in the order of the record */
    int count, cap;
    size_t dead;              /* bytes of replaced values, compacted now and then */
    int failed;
};

void lafs_sample_init(struct lafs_sample *s);
void lafs_sample_release(struct lafs_sample *s);
void lafs_sample_clear(struct lafs_sample *s);
/* Deep copy into an initialised sample. */
lafs_status lafs_sample_copy(struct lafs_sample *to, const struct lafs_sample *from, struct lafs_err *err);
/* Exchanges contents. */
void lafs_sample_swap(struct lafs_sample *a, struct lafs_sample *b);
/* LAFS_BAD_RECORD when a setter ran into the limits of records, LAFS_FAILED when it ran out of memory. */
lafs_status lafs_sample_check(const struct lafs_sample *s, struct lafs_err *err);

/* Takes over one MessagePack map (copied). LAFS_BAD_RECORD: not a map with string keys, a name
 * twice, nothing known violated beyond that; the walker's limits apply. */
lafs_status lafs_sample_decode(struct lafs_sample *s, const void *map, size_t size, struct lafs_err *err);
/* Appends the sample as a MessagePack map, fields in order. */
void lafs_sample_encode(const struct lafs_sample *s, struct lafs_buf *out);

/* The sample's key; "" if it has none. Valid until the sample changes. */
const char *lafs_sample_key(const struct lafs_sample *s);
/* LAFS_BAD_RECORD with the reason unless key is valid (formats: path-like, no `..`, no leading '/',
 * no dot in the base name, no control character, 1..LAFS_MAX_KEY bytes of UTF-8). */
lafs_status lafs_key_valid(const char *key, struct lafs_err *err);

/* Whether a field may be called so: 1..LAFS_MAX_FIELD_NAME bytes, no zero byte, not beginning with "__". */
int lafs_field_name_ok(const char *name, size_t len);

int lafs_sample_has(const struct lafs_sample *s, const char *name);
void lafs_sample_del(struct lafs_sample *s, const char *name);

/* Getters. LAFS_OK; LAFS_END when the field is absent (no message); LAFS_BAD_RECORD when it is of another
 * type or shape ("field 'points': ..."). Pointers stay valid until the sample changes. */
lafs_status lafs_sample_str(const struct lafs_sample *s, const char *name, const char **str, size_t *len,
                            struct lafs_err *err);
lafs_status lafs_sample_int(const struct lafs_sample *s, const char *name, int64_t *v, struct lafs_err *err);
/* Integers too. */
lafs_status lafs_sample_double(const struct lafs_sample *s, const char *name, double *v, struct lafs_err *err);
lafs_status lafs_sample_bin(const struct lafs_sample *s, const char *name, const void **data, size_t *size,
                            struct lafs_err *err);
/* The value's own MessagePack bytes. */
lafs_status lafs_sample_raw(const struct lafs_sample *s, const char *name, const void **data, size_t *size);

/* An array in the msgpack-numpy convention. data points into the record, little-endian, C order,
 * with no alignment: copy it out (lafs_nd_f32) before computing. */
enum { LAFS_MAX_NDIM = 8 };
struct lafs_nd {
    char type[8];                  /* "<f4", "|u1", "<i8", .. */
    int ndim;
    int64_t shape[LAFS_MAX_NDIM];
    size_t count, item;            /* elements, bytes of one */
    const void *data;              /* count * item bytes */
};
lafs_status lafs_sample_nd(const struct lafs_sample *s, const char *name, struct lafs_nd *a, struct lafs_err *err);
/* Parses the msgpack-numpy map at data (as found inside `views`). */
lafs_status lafs_nd_decode(const void *data, size_t size, struct lafs_nd *a, struct lafs_err *err);
/* The values of an array of f4, f8 or u1 into out (count). `name` is for messages. */
lafs_status lafs_nd_f32(const struct lafs_nd *a, const char *name, float *out, struct lafs_err *err);
/* Reads exactly shape[] of f4 or f8 (or u1) into out (float). A -1 in shape matches any size and is filled in. */
lafs_status lafs_sample_f32(const struct lafs_sample *s, const char *name, int64_t *shape, int ndim, float *out,
                            size_t out_cap, struct lafs_err *err);

/* Setters: replace or append. Failures are sticky (lafs_sample_check). */
void lafs_sample_set_str(struct lafs_sample *s, const char *name, const char *v);
void lafs_sample_set_strn(struct lafs_sample *s, const char *name, const char *v, size_t len);
void lafs_sample_set_int(struct lafs_sample *s, const char *name, int64_t v);
void lafs_sample_set_double(struct lafs_sample *s, const char *name, double v);
void lafs_sample_set_bin(struct lafs_sample *s, const char *name, const void *data, size_t size);
void lafs_sample_set_f32(struct lafs_sample *s, const char *name, const int64_t *shape, int ndim, const float *v);
void lafs_sample_set_u8(struct lafs_sample *s, const char *name, const int64_t *shape, int ndim, const uint8_t *v);
/* Any finished MessagePack value (built with lafs_pack_*). */
void lafs_sample_set_raw(struct lafs_sample *s, const char *name, const void *data, size_t size);

/* Building nested values (src, views, header maps) into a buffer. */
void lafs_pack_map(struct lafs_buf *b, uint32_t pairs);
void lafs_pack_array(struct lafs_buf *b, uint32_t count);
void lafs_pack_str(struct lafs_buf *b, const char *s);
void lafs_pack_strn(struct lafs_buf *b, const char *s, size_t len);
void lafs_pack_bin(struct lafs_buf *b, const void *data, size_t size);
void lafs_pack_int(struct lafs_buf *b, int64_t v);
void lafs_pack_double(struct lafs_buf *b, double v);
void lafs_pack_bool(struct lafs_buf *b, int v);
void lafs_pack_nd(struct lafs_buf *b, const char *type, const int64_t *shape, int ndim, const void *data, size_t item);

/* Walking nested values: the validating walker. */
struct lafs_walk {
    const unsigned char *p, *end;
};
enum lafs_mp {
    LAFS_MP_NIL, LAFS_MP_BOOL, LAFS_MP_INT, LAFS_MP_FLOAT, LAFS_MP_STR, LAFS_MP_BIN, LAFS_MP_ARRAY, LAFS_MP_MAP,
    LAFS_MP_EXT
};
struct lafs_mp_value {
    enum lafs_mp type;
    int64_t i;          /* INT (saturated to int64), BOOL */
    double f;           /* FLOAT, INT */
    const char *data;   /* STR, BIN, EXT: len bytes */
    size_t len;         /* STR, BIN, EXT: bytes; ARRAY: items; MAP: pairs */
};
/* Reads one head (a container's items follow). LAFS_BAD_RECORD on malformed bytes or a count larger than
 * the bytes that are left. */
lafs_status lafs_walk_next(struct lafs_walk *w, struct lafs_mp_value *v, struct lafs_err *err);
/* Skips one whole value, depth-limited. */
lafs_status lafs_walk_skip(struct lafs_walk *w, struct lafs_err *err);
/* Size of the first whole value of data[0..size): LAFS_OK and *len, LAFS_END when more bytes are needed
 * (*len = a lower bound of the bytes that are needed), LAFS_BAD_RECORD when malformed or over a limit. */
lafs_status lafs_walk_measure(const void *data, size_t size, size_t *len, struct lafs_err *err);
/* In the map at data: the span of the value under the string (or bin) key `name`; LAFS_END if absent. */
lafs_status lafs_map_find(const void *map, size_t size, const char *name, const void **value, size_t *len,
                          struct lafs_err *err);

#endif
