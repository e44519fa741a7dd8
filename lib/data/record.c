#include "data/record.h"

#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays in records are little-endian, and so must the machine be"
#endif

/* ---- packing ---- */

static int write_to_buf(void *data, const char *bytes, size_t size)
{
    lafs_buf_put(data, bytes, size);
    return 0;
}

static msgpack_packer packer(struct lafs_buf *b)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, b, write_to_buf);
    return pk;
}

void lafs_pack_map(struct lafs_buf *b, uint32_t pairs)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_map(&pk, pairs);
}

void lafs_pack_array(struct lafs_buf *b, uint32_t count)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_array(&pk, count);
}

void lafs_pack_str(struct lafs_buf *b, const char *s) { lafs_pack_strn(b, s, strlen(s)); }

void lafs_pack_strn(struct lafs_buf *b, const char *s, size_t len)
{
    msgpack_packer pk = packer(b);
    if (len > UINT32_MAX) b->failed = 1;
    else if (msgpack_pack_str(&pk, len) == 0) lafs_buf_put(b, s, len);
}

void lafs_pack_bin(struct lafs_buf *b, const void *data, size_t size)
{
    msgpack_packer pk = packer(b);
    if (size > UINT32_MAX) b->failed = 1;
    else if (msgpack_pack_bin(&pk, size) == 0) lafs_buf_put(b, data, size);
}

void lafs_pack_int(struct lafs_buf *b, int64_t v)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_int64(&pk, v);
}

void lafs_pack_double(struct lafs_buf *b, double v)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_double(&pk, v);
}

void lafs_pack_bool(struct lafs_buf *b, int v)
{
    msgpack_packer pk = packer(b);
    if (v) msgpack_pack_true(&pk);
    else msgpack_pack_false(&pk);
}

static void pack_bin_key(struct lafs_buf *b, const char *key) { lafs_pack_bin(b, key, strlen(key)); }

void lafs_pack_nd(struct lafs_buf *b, const char *type, const int64_t *shape, int ndim, const void *data, size_t item)
{
    size_t bytes = item;
    lafs_pack_map(b, 5);
    pack_bin_key(b, "nd");
    lafs_pack_bool(b, 1);
    pack_bin_key(b, "type");
    lafs_pack_str(b, type);
    pack_bin_key(b, "kind");
    lafs_pack_bin(b, "", 0);
    pack_bin_key(b, "shape");
    lafs_pack_array(b, (uint32_t)ndim);
    for (int i = 0; i < ndim; i++) {
        lafs_pack_int(b, shape[i]);
        if (shape[i] < 0 || !lafs_mul_ok(bytes, (size_t)shape[i], &bytes)) b->failed = 1;
    }
    pack_bin_key(b, "data");
    if (!b->failed) lafs_pack_bin(b, data, bytes);
}

/* ---- the sample ---- */

void lafs_sample_init(struct lafs_sample *s) { memset(s, 0, sizeof *s); }

void lafs_sample_release(struct lafs_sample *s)
{
    lafs_buf_release(&s->buf);
    lafs_free(s->field);
    lafs_sample_init(s);
}

void lafs_sample_clear(struct lafs_sample *s)
{
    lafs_buf_clear(&s->buf);
    s->count = 0;
    s->dead = 0;
    s->failed = 0;
}

void lafs_sample_swap(struct lafs_sample *a, struct lafs_sample *b)
{
    struct lafs_sample t = *a;
    *a = *b;
    *b = t;
}

lafs_status lafs_sample_check(const struct lafs_sample *s, struct lafs_err *err)
{
    LAFS_TRY(lafs_buf_check(&s->buf, err));
    return s->failed ? lafs_fail(err, LAFS_BAD_RECORD, "record of too many fields or bytes") : LAFS_OK;
}

static int more_fields(struct lafs_sample *s, int count)
{
    if (count <= s->cap) return 1;
    if (count > LAFS_MAX_FIELDS) return 0;
    int cap = count < 16 ? 16 : count < 64 ? 64 : LAFS_MAX_FIELDS;
    if (lafs_resize(&s->field, (size_t)s->count, (size_t)cap, sizeof *s->field, NULL) != LAFS_OK) {
        s->buf.failed = 1;
        return 0;
    }
    s->cap = cap;
    return 1;
}

/* Appends the fields of `from`, without what was replaced, to an empty buffer; `field`: where they are then. */
static void put_living(struct lafs_buf *fresh, const struct lafs_sample *from, struct lafs_field *field)
{
    for (int i = 0; i < from->count; i++) {
        const struct lafs_field f = from->field[i];
        field[i] = (struct lafs_field){.name = fresh->size, .name_len = f.name_len, .len = f.len};
        lafs_buf_put(fresh, from->buf.data + f.name, f.name_len);
        field[i].at = fresh->size;
        lafs_buf_put(fresh, from->buf.data + f.at, f.len);
        lafs_buf_putc(fresh, 0); /* behind `key` a NUL must stand */
    }
}

lafs_status lafs_sample_copy(struct lafs_sample *to, const struct lafs_sample *from, struct lafs_err *err)
{
    lafs_sample_clear(to);
    LAFS_TRY(lafs_sample_check(from, err));
    if (!more_fields(to, from->count)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    put_living(&to->buf, from, to->field);
    to->count = from->count;
    return lafs_buf_check(&to->buf, err);
}

static struct lafs_field *find(const struct lafs_sample *s, const char *name, size_t len)
{
    if (s->buf.failed) return NULL;
    for (int i = 0; i < s->count; i++) {
        struct lafs_field *f = &s->field[i];
        if (f->name_len == len && memcmp(s->buf.data + f->name, name, len) == 0) return f;
    }
    return NULL;
}

int lafs_field_name_ok(const char *name, size_t len)
{
    return len >= 1 && len <= LAFS_MAX_FIELD_NAME && !(len >= 2 && name[0] == '_' && name[1] == '_') &&
           !memchr(name, 0, len);
}

/* lafs_sample_key gives a C string, so the value of `key` is kept where a NUL follows. */
static void end_key(struct lafs_sample *s)
{
    struct lafs_field *f = find(s, "key", 3);
    if (!f) return;
    size_t at = s->buf.size, len = f->len, from = f->at;
    lafs_buf_reserve(&s->buf, len + 1);
    if (s->buf.failed) return;
    lafs_buf_put(&s->buf, s->buf.data + from, len);
    lafs_buf_putc(&s->buf, 0);
    f->at = at;
    s->dead += len + 1;
}

static lafs_status add_field(struct lafs_sample *s, const struct lafs_mp_value *name, const unsigned char *from,
                             const unsigned char *to, struct lafs_err *err)
{
    if (name->type != LAFS_MP_STR) return lafs_fail(err, LAFS_BAD_RECORD, "field whose name is no string");
    if (!lafs_field_name_ok(name->data, name->len))
        return lafs_fail(err, LAFS_BAD_RECORD, "bad field name '%.*s'", name->len > 40 ? 40 : (int)name->len,
                         name->data);
    if (find(s, name->data, name->len))
        return lafs_fail(err, LAFS_BAD_RECORD, "field '%.*s' occurs twice", (int)name->len, name->data);
    s->field[s->count++] = (struct lafs_field){(size_t)(name->data - (const char *)s->buf.data), name->len,
                                               (size_t)(from - s->buf.data), (size_t)(to - from)};
    return LAFS_OK;
}

lafs_status lafs_sample_decode(struct lafs_sample *s, const void *map, size_t size, struct lafs_err *err)
{
    lafs_sample_clear(s);
    lafs_buf_put(&s->buf, map, size);
    LAFS_TRY(lafs_buf_check(&s->buf, err));
    struct lafs_walk w = {s->buf.data, s->buf.data + size};
    struct lafs_mp_value v;
    lafs_status st = lafs_walk_next(&w, &v, err);
    if (st == LAFS_OK && v.type != LAFS_MP_MAP) st = lafs_fail(err, LAFS_BAD_RECORD, "record is no map");
    if (st == LAFS_OK && v.len > LAFS_MAX_FIELDS)
        st = lafs_fail(err, LAFS_BAD_RECORD, "record of more than %d fields", LAFS_MAX_FIELDS);
    size_t fields = st == LAFS_OK ? v.len : 0;
    if (!more_fields(s, (int)fields)) st = lafs_fail(err, LAFS_FAILED, "out of memory");
    for (size_t i = 0; i < fields && st == LAFS_OK; i++) {
        const unsigned char *from;
        struct lafs_err *e = err;
        LAFS_TRY_GOTO(st, lafs_walk_next(&w, &v, e), out);
        if (v.type == LAFS_MP_ARRAY || v.type == LAFS_MP_MAP)
            v.type = LAFS_MP_EXT; /* refused below, whatever is in it */
        from = w.p;
        LAFS_TRY_GOTO(st, lafs_walk_skip(&w, e), out);
        st = add_field(s, &v, from, w.p, e);
    }
    if (st == LAFS_OK && w.p != w.end) st = lafs_fail(err, LAFS_BAD_RECORD, "bytes behind the record's map");
out:
    if (s->buf.size) end_key(s);
    if (st == LAFS_OK) st = lafs_buf_check(&s->buf, err);
    return st;
}

void lafs_sample_encode(const struct lafs_sample *s, struct lafs_buf *out)
{
    lafs_pack_map(out, (uint32_t)s->count);
    if (s->failed || s->buf.failed) out->failed = 1;
    for (int i = 0; i < s->count && !out->failed; i++) {
        const struct lafs_field *f = &s->field[i];
        lafs_pack_strn(out, (const char *)s->buf.data + f->name, f->name_len);
        lafs_buf_put(out, s->buf.data + f->at, f->len);
    }
}

int lafs_sample_has(const struct lafs_sample *s, const char *name) { return find(s, name, strlen(name)) != NULL; }

void lafs_sample_del(struct lafs_sample *s, const char *name)
{
    struct lafs_field *f = find(s, name, strlen(name));
    if (!f) return;
    s->dead += f->len + f->name_len;
    s->count--;
    memmove(f, f + 1, (size_t)(s->field + s->count - f) * sizeof *f);
}

/* ---- getters ---- */

static lafs_status value_of(const struct lafs_sample *s, const char *name, struct lafs_mp_value *v,
                            struct lafs_err *err)
{
    const struct lafs_field *f = find(s, name, strlen(name));
    if (!f) return s->buf.failed ? lafs_fail(err, LAFS_FAILED, "out of memory") : LAFS_END;
    struct lafs_walk w = {s->buf.data + f->at, s->buf.data + f->at + f->len};
    return lafs_walk_next(&w, v, err);
}

const char *lafs_sample_key(const struct lafs_sample *s)
{
    struct lafs_mp_value v;
    if (value_of(s, "key", &v, NULL) != LAFS_OK || v.type != LAFS_MP_STR) return "";
    return v.data;
}

lafs_status lafs_sample_str(const struct lafs_sample *s, const char *name, const char **str, size_t *len,
                            struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(value_of(s, name, &v, err));
    if (v.type != LAFS_MP_STR) return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': not a string", name);
    *str = v.data;
    *len = v.len;
    return LAFS_OK;
}

lafs_status lafs_sample_int(const struct lafs_sample *s, const char *name, int64_t *out, struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(value_of(s, name, &v, err));
    if (v.type != LAFS_MP_INT) return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': not an integer", name);
    *out = v.i;
    return LAFS_OK;
}

lafs_status lafs_sample_double(const struct lafs_sample *s, const char *name, double *out, struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(value_of(s, name, &v, err));
    if (v.type != LAFS_MP_INT && v.type != LAFS_MP_FLOAT)
        return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': not a number", name);
    *out = v.f;
    return LAFS_OK;
}

lafs_status lafs_sample_bin(const struct lafs_sample *s, const char *name, const void **data, size_t *size,
                            struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(value_of(s, name, &v, err));
    if (v.type != LAFS_MP_BIN) return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': not bin", name);
    *data = v.data;
    *size = v.len;
    return LAFS_OK;
}

lafs_status lafs_sample_raw(const struct lafs_sample *s, const char *name, const void **data, size_t *size)
{
    const struct lafs_field *f = find(s, name, strlen(name));
    if (!f) return LAFS_END;
    *data = s->buf.data + f->at;
    *size = f->len;
    return LAFS_OK;
}

lafs_status lafs_sample_nd(const struct lafs_sample *s, const char *name, struct lafs_nd *a, struct lafs_err *err)
{
    const void *data;
    size_t size;
    LAFS_TRY(lafs_sample_raw(s, name, &data, &size));
    lafs_status st = lafs_nd_decode(data, size, a, err);
    if (st != LAFS_OK) lafs_err_prefix(err, "field '%s'", name);
    return st;
}

static lafs_status check_floats(const struct lafs_nd *a, const char *name, struct lafs_err *err)
{
    if (!strcmp(a->type, "<f4") || !strcmp(a->type, "<f8") || !strcmp(a->type, "|u1")) return LAFS_OK;
    return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': array of type %s, not of floats", name, a->type);
}

lafs_status lafs_nd_f32(const struct lafs_nd *a, const char *name, float *out, struct lafs_err *err)
{
    const unsigned char *p = a->data;
    LAFS_TRY(check_floats(a, name, err));
    if (a->type[1] == 'f' && a->item == 4) memcpy(out, p, a->count * 4);
    for (size_t i = 0; i < a->count && a->type[1] == 'f' && a->item == 8; i++) {
        double v;
        memcpy(&v, p + 8 * i, 8);
        out[i] = (float)v;
    }
    for (size_t i = 0; i < a->count && a->type[1] == 'u'; i++) out[i] = p[i];
    return LAFS_OK;
}

lafs_status lafs_sample_f32(const struct lafs_sample *s, const char *name, int64_t *shape, int ndim, float *out,
                            size_t out_cap, struct lafs_err *err)
{
    struct lafs_nd a;
    LAFS_TRY(lafs_sample_nd(s, name, &a, err));
    LAFS_TRY(check_floats(&a, name, err));
    int fits = a.ndim == ndim && a.count <= out_cap;
    for (int i = 0; i < ndim && fits; i++) fits = shape[i] == -1 || shape[i] == a.shape[i];
    if (!fits) return lafs_fail(err, LAFS_BAD_RECORD, "field '%s': array of an unexpected shape", name);
    for (int i = 0; i < ndim; i++) shape[i] = a.shape[i];
    return lafs_nd_f32(&a, name, out, err);
}

/* ---- setters ---- */

/* Drops the bytes of replaced values once they outweigh the living ones. */
static void compact(struct lafs_sample *s)
{
    if (s->dead < 65536 || s->dead < s->buf.size / 2) return;
    struct lafs_buf fresh;
    lafs_buf_init(&fresh);
    put_living(&fresh, s, s->field);
    lafs_buf_release(&s->buf);
    s->buf = fresh;
    s->dead = 0;
}

/* Opens the value of `name` at the buffer's end, with room for `size` bytes and any head. *data may point into the
 * record itself, whose buffer may move: it is put right. NULL after a failure. */
static struct lafs_field *open_value(struct lafs_sample *s, const char *name, const void **data, size_t size)
{
    size_t len = strlen(name), need;
    if (s->failed || s->buf.failed) return NULL;
    if (!lafs_field_name_ok(name, len) || !lafs_add_ok(size, 4096, &need) || size > LAFS_MAX_RECORD) {
        s->failed = 1;
        return NULL;
    }
    uintptr_t base = (uintptr_t)s->buf.data, p = (uintptr_t)*data;
    int inside = base && p >= base && p < base + s->buf.size;
    lafs_buf_reserve(&s->buf, need);
    if (s->buf.failed) return NULL;
    if (inside) *data = s->buf.data + (p - base);
    struct lafs_field *f = find(s, name, len);
    if (f) {
        s->dead += f->len;
    } else {
        if (!more_fields(s, s->count + 1)) {
            s->failed = 1;
            return NULL;
        }
        f = &s->field[s->count++];
        f->name = s->buf.size;
        f->name_len = len;
        lafs_buf_put(&s->buf, name, len);
    }
    f->at = s->buf.size;
    f->len = 0;
    return f;
}

static void close_value(struct lafs_sample *s, struct lafs_field *f)
{
    f->len = s->buf.size - f->at;
    lafs_buf_putc(&s->buf, 0);
    if (s->buf.size - s->dead > LAFS_MAX_RECORD) s->failed = 1;
    if (!s->buf.failed) compact(s);
}

void lafs_sample_set_str(struct lafs_sample *s, const char *name, const char *v)
{
    lafs_sample_set_strn(s, name, v, strlen(v));
}

void lafs_sample_set_strn(struct lafs_sample *s, const char *name, const char *v, size_t len)
{
    const void *data = v;
    struct lafs_field *f = open_value(s, name, &data, len);
    if (!f) return;
    lafs_pack_strn(&s->buf, data, len);
    close_value(s, f);
}

void lafs_sample_set_int(struct lafs_sample *s, const char *name, int64_t v)
{
    const void *none = NULL;
    struct lafs_field *f = open_value(s, name, &none, 0);
    if (!f) return;
    lafs_pack_int(&s->buf, v);
    close_value(s, f);
}

void lafs_sample_set_double(struct lafs_sample *s, const char *name, double v)
{
    const void *none = NULL;
    struct lafs_field *f = open_value(s, name, &none, 0);
    if (!f) return;
    lafs_pack_double(&s->buf, v);
    close_value(s, f);
}

void lafs_sample_set_bin(struct lafs_sample *s, const char *name, const void *data, size_t size)
{
    struct lafs_field *f = open_value(s, name, &data, size);
    if (!f) return;
    lafs_pack_bin(&s->buf, data, size);
    close_value(s, f);
}

static void set_nd(struct lafs_sample *s, const char *name, const char *type, const int64_t *shape, int ndim,
                   const void *data, size_t item)
{
    size_t bytes = item;
    int ok = ndim >= 0 && ndim <= LAFS_MAX_NDIM;
    for (int i = 0; i < ndim && ok; i++) ok = shape[i] >= 0 && lafs_mul_ok(bytes, (size_t)shape[i], &bytes);
    if (!ok) {
        s->failed = 1;
        return;
    }
    struct lafs_field *f = open_value(s, name, &data, bytes);
    if (!f) return;
    lafs_pack_nd(&s->buf, type, shape, ndim, data, item);
    close_value(s, f);
}

void lafs_sample_set_f32(struct lafs_sample *s, const char *name, const int64_t *shape, int ndim, const float *v)
{
    set_nd(s, name, "<f4", shape, ndim, v, 4);
}

void lafs_sample_set_u8(struct lafs_sample *s, const char *name, const int64_t *shape, int ndim, const uint8_t *v)
{
    set_nd(s, name, "|u1", shape, ndim, v, 1);
}

void lafs_sample_set_raw(struct lafs_sample *s, const char *name, const void *data, size_t size)
{
    struct lafs_field *f = open_value(s, name, &data, size);
    if (!f) return;
    lafs_buf_put(&s->buf, data, size);
    close_value(s, f);
}

/* ---- keys ---- */

lafs_status lafs_key_valid(const char *key, struct lafs_err *err)
{
    size_t len = strnlen(key, LAFS_MAX_KEY + 1);
    if (len == 0) return lafs_fail(err, LAFS_BAD_RECORD, "record without a key");
    if (len > LAFS_MAX_KEY) return lafs_fail(err, LAFS_BAD_RECORD, "key of more than %d bytes", LAFS_MAX_KEY);
    for (size_t i = 0, n; i < len; i += n) {
        unsigned char c = (unsigned char)key[i];
        n = c < 0x80 ? c >= 0x20 && c != 0x7f : lafs_utf8_char(key + i, len - i);
        if (n == 0)
            return lafs_fail(err, LAFS_BAD_RECORD, "key '%s': byte %02x is %s", key, c,
                             c < 0x80 ? "a control character" : "not UTF-8 text");
    }
    const char *part = key;
    for (;;) {
        size_t n = strcspn(part, "/");
        if (n == 0) return lafs_fail(err, LAFS_BAD_RECORD, "key '%s': an empty part of the path", key);
        if ((n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return lafs_fail(err, LAFS_BAD_RECORD, "key '%s': '.' or '..' in the path", key);
        if (!part[n]) break;
        part += n + 1;
    }
    if (strchr(part, '.')) return lafs_fail(err, LAFS_BAD_RECORD, "key '%s': a dot in the base name", key);
    return LAFS_OK;
}
