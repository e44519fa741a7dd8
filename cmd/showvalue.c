#include "cmd/showvalue.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "image/image.h"

double show_element(const struct lafs_nd *a, size_t i)
{
    const unsigned char *p = (const unsigned char *)a->data + i * a->item;
    char kind = a->type[0] && a->type[1] ? a->type[1] : 0;
    union {
        float f4;
        double f8;
        uint64_t u;
        int64_t s;
    } v = {0};
    if (a->item > 8 || a->type[0] == '>') return NAN;
    memcpy(&v, p, a->item); /* little-endian, like the machines that we run on */
    if (kind == 'f') return a->item == 4 ? (double)v.f4 : a->item == 8 ? v.f8 : NAN;
    if (kind == 'u' || kind == 'b') return (double)v.u;
    if (kind != 'i') return NAN;
    int shift = 64 - 8 * (int)a->item;
    return (double)((int64_t)(v.u << shift) >> shift);
}

void show_text(struct lafs_buf *out, const char *s, size_t len, size_t max)
{
    size_t n = len < max ? len : max;
    while (n < len && n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) n--; /* not inside a letter */
    lafs_buf_put(out, s, n);
    if (!out->failed) lafs_no_controls((char *)out->data + out->size - n, n);
    if (n < len) lafs_buf_puts(out, "..");
}

/* -- JSON -- */

static void put_element(struct lafs_buf *out, const struct lafs_nd *a, size_t i)
{
    double v = show_element(a, i);
    float f = (float)v;
    if (a->type[1] == 'f' && a->item == 4 && isfinite(v)) { /* the shortest text that reads back to the same float */
        char text[32];
        for (int digits = 1; digits <= 9; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, (double)f);
            float back = strtof(text, NULL);
            if (memcmp(&back, &f, sizeof f) == 0) break;
        }
        lafs_buf_puts(out, text);
    } else lafs_json_put_double(out, v);
}

static void put_nested(struct lafs_buf *out, const struct lafs_nd *a, int dim, size_t *at)
{
    if (dim == a->ndim) {
        put_element(out, a, (*at)++);
        return;
    }
    lafs_buf_putc(out, '[');
    for (int64_t i = 0; i < a->shape[dim]; i++) {
        if (i) lafs_buf_puts(out, ", ");
        put_nested(out, a, dim + 1, at);
    }
    lafs_buf_putc(out, ']');
}

static void put_array(struct lafs_buf *out, const struct lafs_nd *a, size_t inline_max)
{
    size_t at = 0;
    if (a->count <= inline_max) {
        put_nested(out, a, 0, &at);
        return;
    }
    lafs_buf_puts(out, "{\"array\": ");
    lafs_json_put_string(out, a->type + 1, strlen(a->type + 1));
    lafs_buf_puts(out, ", \"shape\": [");
    for (int d = 0; d < a->ndim; d++) lafs_buf_printf(out, "%s%lld", d ? ", " : "", (long long)a->shape[d]);
    double lo = INFINITY, hi = -INFINITY, sum = 0;
    for (size_t i = 0; i < a->count; i++) {
        double v = show_element(a, i);
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
        sum += v;
    }
    lafs_buf_puts(out, "], \"min\": ");
    lafs_json_put_double(out, lo);
    lafs_buf_puts(out, ", \"max\": ");
    lafs_json_put_double(out, hi);
    lafs_buf_puts(out, ", \"mean\": ");
    lafs_json_put_double(out, a->count ? sum / (double)a->count : NAN);
    lafs_buf_putc(out, '}');
}

static enum lafs_photo photo_size(const struct lafs_mp_value *v, int *w, int *h)
{
    return lafs_photo_size(v->data, v->len, w, h, NULL) == LAFS_OK ? lafs_photo_kind(v->data, v->len) : LAFS_PHOTO_NONE;
}

/* An array of NumPy: a map whose first key is the bytes "nd". */
static int is_nd(const void *data, size_t size, struct lafs_nd *a)
{
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    struct lafs_mp_value map, key;
    return lafs_walk_next(&w, &map, NULL) == LAFS_OK && map.type == LAFS_MP_MAP && map.len > 0 &&
           lafs_walk_next(&w, &key, NULL) == LAFS_OK && key.type == LAFS_MP_BIN &&
           lafs_nd_decode(data, size, a, NULL) == LAFS_OK;
}

static lafs_status put_value(struct lafs_buf *out, struct lafs_walk *w, size_t inline_max, int depth,
                             struct lafs_err *err);

static lafs_status put_map(struct lafs_buf *out, struct lafs_walk *w, size_t pairs, size_t inline_max, int depth,
                           struct lafs_err *err)
{
    struct lafs_mp_value key;
    lafs_buf_putc(out, '{');
    for (size_t i = 0; i < pairs; i++) {
        if (i) lafs_buf_puts(out, ", ");
        LAFS_TRY(lafs_walk_next(w, &key, err));
        if (key.type == LAFS_MP_STR || key.type == LAFS_MP_BIN) lafs_json_put_string(out, key.data, key.len);
        else if (key.type == LAFS_MP_INT) lafs_buf_printf(out, "\"%lld\"", (long long)key.i);
        else return lafs_fail(err, LAFS_BAD_RECORD, "a map with keys that are no text");
        lafs_buf_puts(out, ": ");
        LAFS_TRY(put_value(out, w, inline_max, depth + 1, err));
    }
    lafs_buf_putc(out, '}');
    return LAFS_OK;
}

static lafs_status put_value(struct lafs_buf *out, struct lafs_walk *w, size_t inline_max, int depth,
                             struct lafs_err *err)
{
    struct lafs_walk from = *w, after = *w;
    struct lafs_mp_value v;
    struct lafs_nd a;
    int width, height;
    enum lafs_photo photo;
    if (depth > LAFS_MAX_DEPTH) return lafs_fail(err, LAFS_BAD_RECORD, "nested too deeply");
    LAFS_TRY(lafs_walk_next(w, &v, err));
    switch (v.type) {
    case LAFS_MP_NIL: lafs_buf_puts(out, "null"); break;
    case LAFS_MP_BOOL: lafs_buf_puts(out, v.i ? "true" : "false"); break;
    case LAFS_MP_INT: lafs_buf_printf(out, "%lld", (long long)v.i); break;
    case LAFS_MP_FLOAT: lafs_json_put_double(out, v.f); break;
    case LAFS_MP_STR: lafs_json_put_string(out, v.data, v.len); break;
    case LAFS_MP_EXT: lafs_buf_printf(out, "{\"bytes\": %zu}", v.len); break;
    case LAFS_MP_BIN:
        lafs_buf_printf(out, "{\"bytes\": %zu", v.len);
        photo = photo_size(&v, &width, &height);
        if (photo != LAFS_PHOTO_NONE)
            lafs_buf_printf(out, ", \"%s\": [%d, %d]", photo == LAFS_PHOTO_PNG ? "png" : "jpeg", width, height);
        lafs_buf_putc(out, '}');
        break;
    case LAFS_MP_ARRAY:
        lafs_buf_putc(out, '[');
        for (size_t i = 0; i < v.len; i++) {
            if (i) lafs_buf_puts(out, ", ");
            LAFS_TRY(put_value(out, w, inline_max, depth + 1, err));
        }
        lafs_buf_putc(out, ']');
        break;
    case LAFS_MP_MAP:
        LAFS_TRY(lafs_walk_skip(&after, err));
        if (!is_nd(from.p, (size_t)(after.p - from.p), &a)) return put_map(out, w, v.len, inline_max, depth, err);
        put_array(out, &a, inline_max);
        *w = after;
        break;
    }
    return LAFS_OK;
}

lafs_status show_json(struct lafs_buf *out, const void *data, size_t size, size_t inline_max, struct lafs_err *err)
{
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    return put_value(out, &w, inline_max, 0, err);
}

/* -- types -- */

lafs_status show_type(struct lafs_buf *out, const void *data, size_t size, struct lafs_err *err)
{
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    struct lafs_mp_value v;
    struct lafs_nd a;
    int width, height;
    enum lafs_photo photo;
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    switch (v.type) {
    case LAFS_MP_NIL: lafs_buf_puts(out, "nothing"); break;
    case LAFS_MP_BOOL: lafs_buf_puts(out, "yes or no"); break;
    case LAFS_MP_INT: lafs_buf_puts(out, "integer"); break;
    case LAFS_MP_FLOAT: lafs_buf_puts(out, "number"); break;
    case LAFS_MP_STR: lafs_buf_puts(out, "text"); break;
    case LAFS_MP_EXT: lafs_buf_puts(out, "extension"); break;
    case LAFS_MP_BIN:
        photo = photo_size(&v, &width, &height);
        if (photo != LAFS_PHOTO_NONE)
            lafs_buf_printf(out, "%s %dx%d", photo == LAFS_PHOTO_PNG ? "PNG" : "JPEG", width, height);
        else lafs_buf_puts(out, "bytes");
        break;
    case LAFS_MP_ARRAY: lafs_buf_printf(out, "list of %zu", v.len); break;
    case LAFS_MP_MAP:
        if (is_nd(data, size, &a)) {
            lafs_buf_printf(out, "%s (", a.type + 1);
            for (int d = 0; d < a.ndim; d++) lafs_buf_printf(out, "%s%lld", d ? ", " : "", (long long)a.shape[d]);
            lafs_buf_putc(out, ')');
        } else lafs_buf_printf(out, "map of %zu", v.len);
        break;
    }
    return LAFS_OK;
}
