#include "data/views.h"

#include <math.h>
#include <string.h>

static const char *const kind_name[] = {"global", "local", "train"};

static const struct {
    const char *name;
    int args;
} op_table[] = {
    [LAFS_OP_CROP_BICUBIC] = {"crop_bicubic", 4},
    [LAFS_OP_CROP_BILINEAR] = {"crop_bilinear", 4},
    [LAFS_OP_FLIP] = {"flip", 0},
    [LAFS_OP_BRIGHTNESS] = {"brightness", 1},
    [LAFS_OP_CONTRAST] = {"contrast", 1},
    [LAFS_OP_SATURATION] = {"saturation", 1},
    [LAFS_OP_HUE] = {"hue", 1},
    [LAFS_OP_GRAY] = {"gray", 0},
    [LAFS_OP_BLUR] = {"blur", 1},
    [LAFS_OP_SOLARIZE] = {"solarize", 0},
    [LAFS_OP_ROTATE] = {"rotate", 2},
    [LAFS_OP_SHEAR_X] = {"shear_x", 2},
    [LAFS_OP_SHEAR_Y] = {"shear_y", 2},
    [LAFS_OP_TRANSLATE_X] = {"translate_x", 2},
    [LAFS_OP_TRANSLATE_Y] = {"translate_y", 2},
    [LAFS_OP_AUTOCONTRAST] = {"autocontrast", 0},
    [LAFS_OP_EQUALIZE] = {"equalize", 0},
    [LAFS_OP_INVERT] = {"invert", 0},
    [LAFS_OP_POSTERIZE] = {"posterize", 1},
    [LAFS_OP_SHARPNESS] = {"sharpness", 1},
    [LAFS_OP_ERASE] = {"erase", 4},
};
enum { OPS = sizeof op_table / sizeof *op_table };

const char *lafs_view_kind_name(int kind) { return kind >= 0 && kind <= LAFS_VIEW_TRAIN ? kind_name[kind] : NULL; }
const char *lafs_view_op_name(int kind) { return kind > 0 && kind < OPS ? op_table[kind].name : NULL; }
int lafs_view_op_args(int kind) { return kind > 0 && kind < OPS ? op_table[kind].args : 0; }

static int is(const struct lafs_mp_value *v, const char *name)
{
    return v->len == strlen(name) && !memcmp(v->data, name, v->len);
}

/* -- reading -- */

static lafs_status bad(struct lafs_err *err, const char *what)
{
    return lafs_fail(err, LAFS_BAD_RECORD, "field 'views': %s", what);
}

static lafs_status read_small(struct lafs_walk *w, const char *what, int32_t *out, struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(w, &v, err));
    if (v.type != LAFS_MP_INT || v.i < 0 || v.i > 1 << 20) return bad(err, what);
    *out = (int32_t)v.i;
    return LAFS_OK;
}

static lafs_status read_kind(struct lafs_walk *w, int32_t *kind, struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(w, &v, err));
    for (*kind = 0; v.type == LAFS_MP_STR && *kind <= LAFS_VIEW_TRAIN; ++*kind)
        if (is(&v, kind_name[*kind])) return LAFS_OK;
    return bad(err, "a view's kind is not global, local or train");
}

static lafs_status read_op(struct lafs_walk *w, struct lafs_view_op *op, struct lafs_err *err)
{
    struct lafs_mp_value v, name;
    LAFS_TRY(lafs_walk_next(w, &v, err));
    if (v.type != LAFS_MP_ARRAY || v.len < 1) return bad(err, "an operation is no array of name and numbers");
    LAFS_TRY(lafs_walk_next(w, &name, err));
    if (name.type != LAFS_MP_STR) return bad(err, "an operation has no name");
    op->kind = 0;
    for (int k = 1; k < OPS && !op->kind; k++)
        if (is(&name, op_table[k].name)) op->kind = k;
    if (!op->kind)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'views': unknown operation '%.*s'",
                         (int)(name.len > 40 ? 40 : name.len), name.data);
    if ((int)v.len - 1 != op_table[op->kind].args)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'views': operation '%s' takes %d numbers",
                         op_table[op->kind].name, op_table[op->kind].args);
    for (int i = 0; i < op_table[op->kind].args; i++) {
        LAFS_TRY(lafs_walk_next(w, &v, err));
        if (v.type != LAFS_MP_INT && v.type != LAFS_MP_FLOAT) return bad(err, "an operation's parameter is no number");
        op->a[i] = (float)(fabs(v.f) < 1e30 ? v.f : NAN);
    }
    return LAFS_OK;
}

static lafs_status read_ops(struct lafs_walk *w, struct lafs_viewplan *p, struct lafs_err *err)
{
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(w, &v, err));
    if (v.type != LAFS_MP_ARRAY || v.len > LAFS_VIEW_MAX_OPS)
        return bad(err, "the operations of a view are no array, or too many");
    p->ops = (int32_t)v.len;
    for (int i = 0; i < p->ops; i++) LAFS_TRY(read_op(w, &p->op[i], err));
    return LAFS_OK;
}

/* Reads the array at w: type and number of dimensions as given. */
static lafs_status read_nd(struct lafs_walk *w, const char *name, const char *type, int ndim, struct lafs_nd *a,
                           struct lafs_err *err)
{
    const unsigned char *from = w->p;
    LAFS_TRY(lafs_walk_skip(w, err));
    lafs_status st = lafs_nd_decode(from, (size_t)(w->p - from), a, err);
    if (st != LAFS_OK) {
        lafs_err_prefix(err, "field 'views': '%s'", name);
        return st;
    }
    if (a->ndim != ndim || strcmp(a->type, type))
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'views': '%s' is not an array %s of %d dimensions", name, type,
                         ndim);
    return LAFS_OK;
}

/* Which key of ours; -1: another's. */
static int our_key(const struct lafs_mp_value *key)
{
    static const char *const name[] = {"kind",      "size",      "clean_ops", "ops",    "clean",
                                       "augmented", "landmarks", "index",     "patches"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (is(key, name[i])) return (int)i;
    return -1;
}

static lafs_status read_pair(struct lafs_walk *w, const struct lafs_mp_value *key, struct lafs_view *v,
                             int64_t pixels[2][2], struct lafs_err *err)
{
    struct lafs_nd a;
    if (is(key, "kind")) return read_kind(w, &v->plan.kind, err);
    if (is(key, "size")) return read_small(w, "a view's size is no fit number", &v->plan.out_size, err);
    if (is(key, "clean_ops")) return read_small(w, "a view's clean_ops is no fit number", &v->plan.clean_ops, err);
    if (is(key, "ops")) return read_ops(w, &v->plan, err);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "augmented" : "clean";
        if (!is(key, name)) continue;
        LAFS_TRY(read_nd(w, name, "|u1", 3, &a, err));
        if (a.shape[2] != 3) return bad(err, "crops have three channels");
        pixels[i][0] = a.shape[0];
        pixels[i][1] = a.shape[1];
        *(i ? &v->augmented : &v->clean) = a.data;
        return LAFS_OK;
    }
    if (is(key, "landmarks")) {
        LAFS_TRY(read_nd(w, "landmarks", "<f4", 2, &a, err));
        if (a.shape[1] != 2 || a.shape[0] < 1) return bad(err, "'landmarks' is not of shape (R, 2)");
        v->landmarks = a.data;
        v->R = a.shape[0];
        return LAFS_OK;
    }
    if (is(key, "index")) {
        LAFS_TRY(read_nd(w, "index", "<i4", 1, &a, err));
        if (v->patches && v->n != a.shape[0]) return bad(err, "'index' and 'patches' differ in length");
        v->index = a.data;
        v->n = a.shape[0];
        return LAFS_OK;
    }
    if (is(key, "patches")) {
        LAFS_TRY(read_nd(w, "patches", "<f4", 4, &a, err));
        if (a.shape[1] != a.shape[2] || a.shape[3] != 3 || a.shape[0] < 1 || a.shape[1] < 1)
            return bad(err, "'patches' is not of shape (n, p, p, 3)");
        if (v->index && v->n != a.shape[0]) return bad(err, "'index' and 'patches' differ in length");
        v->patches = a.data;
        v->n = a.shape[0];
        v->p = a.shape[1];
        return LAFS_OK;
    }
    return lafs_walk_skip(w, err);
}

static lafs_status check_index(const struct lafs_view *v, struct lafs_err *err)
{
    for (int64_t i = 0; v->index && v->landmarks && i < v->n; i++) {
        int32_t k;
        memcpy(&k, (const char *)v->index + 4 * i, 4);
        if (k < 0 || k >= v->R) return bad(err, "'index' points past the landmarks");
    }
    return LAFS_OK;
}

static lafs_status read_view(struct lafs_walk *w, struct lafs_view *v, struct lafs_err *err)
{
    struct lafs_mp_value map, key;
    int64_t pixels[2][2] = {{-1, -1}, {-1, -1}}; /* height and width of clean and augmented */
    unsigned seen = 0;
    memset(v, 0, sizeof *v);
    v->plan.kind = -1;
    v->other = w->p;
    LAFS_TRY(lafs_walk_next(w, &map, err));
    if (map.type != LAFS_MP_MAP) return bad(err, "a view is no map");
    for (size_t i = 0; i < map.len; i++) {
        LAFS_TRY(lafs_walk_next(w, &key, err));
        if (key.type != LAFS_MP_STR && key.type != LAFS_MP_BIN) return bad(err, "a view has a key that is no string");
        int known = our_key(&key);
        if (known >= 0 && seen >> known & 1) return bad(err, "a view has a key twice");
        if (known >= 0) seen |= 1u << known;
        LAFS_TRY(read_pair(w, &key, v, pixels, err));
    }
    v->other_len = (size_t)(w->p - (const unsigned char *)v->other);
    if (lafs_viewplan_check(&v->plan, 0, 0, err) != LAFS_OK) {
        lafs_err_prefix(err, "field 'views'");
        return LAFS_BAD_RECORD;
    }
    for (int i = 0; i < 2; i++)
        if (pixels[i][0] >= 0 && (pixels[i][0] != v->plan.out_size || pixels[i][1] != v->plan.out_size))
            return bad(err, "a crop is not of the view's size");
    return check_index(v, err);
}

lafs_status lafs_views_get(const struct lafs_sample *s, struct lafs_view *v, int max, int *n, struct lafs_err *err)
{
    const void *data;
    size_t size;
    *n = 0;
    LAFS_TRY(lafs_sample_raw(s, "views", &data, &size));
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    struct lafs_mp_value a;
    LAFS_TRY(lafs_walk_next(&w, &a, err));
    if (a.type != LAFS_MP_ARRAY) return bad(err, "not an array");
    if (a.len > (size_t)(max < LAFS_MAX_VIEWS ? max : LAFS_MAX_VIEWS)) return bad(err, "too many views");
    for (size_t i = 0; i < a.len; i++) LAFS_TRY(read_view(&w, &v[i], err));
    *n = (int)a.len;
    return LAFS_OK;
}

/* -- writing -- */

/* Pairs of v->other that are not ours: their number, and, if b is not NULL, their bytes appended. */
static uint32_t other_pairs(const struct lafs_view *v, struct lafs_buf *b)
{
    struct lafs_walk w = {v->other, (const unsigned char *)v->other + v->other_len};
    struct lafs_mp_value map, key;
    uint32_t n = 0;
    if (!v->other || lafs_walk_next(&w, &map, NULL) != LAFS_OK) return 0;
    for (size_t i = 0; i < map.len; i++) {
        const unsigned char *from = w.p;
        if (lafs_walk_next(&w, &key, NULL) != LAFS_OK || lafs_walk_skip(&w, NULL) != LAFS_OK) break;
        if (our_key(&key) >= 0) continue;
        n++;
        if (b) lafs_buf_put(b, from, (size_t)(w.p - from));
    }
    return n;
}

static void put_ops(struct lafs_buf *b, const struct lafs_viewplan *p)
{
    lafs_pack_array(b, (uint32_t)p->ops);
    for (int i = 0; i < p->ops; i++) {
        const struct lafs_view_op *op = &p->op[i];
        int args = lafs_view_op_args(op->kind);
        lafs_pack_array(b, (uint32_t)args + 1);
        lafs_pack_str(b, lafs_view_op_name(op->kind) ? lafs_view_op_name(op->kind) : "");
        for (int k = 0; k < args; k++) {
            if (op->a[k] == rintf(op->a[k]) && fabsf(op->a[k]) < 1e6f && (op->a[k] != 0 || !signbit(op->a[k])))
                lafs_pack_int(b, (int64_t)op->a[k]);
            else lafs_pack_double(b, op->a[k]);
        }
    }
}

static void put_view(struct lafs_buf *b, const struct lafs_view *v)
{
    const int64_t side = v->plan.out_size;
    uint32_t pairs = 4 + (v->clean != NULL) + (v->augmented != NULL) + (v->landmarks != NULL) + (v->index != NULL) +
                     (v->patches != NULL);
    lafs_pack_map(b, pairs + other_pairs(v, NULL));
    lafs_pack_str(b, "kind");
    lafs_pack_str(b, lafs_view_kind_name(v->plan.kind) ? lafs_view_kind_name(v->plan.kind) : "");
    lafs_pack_str(b, "size");
    lafs_pack_int(b, side);
    lafs_pack_str(b, "clean_ops");
    lafs_pack_int(b, v->plan.clean_ops);
    lafs_pack_str(b, "ops");
    put_ops(b, &v->plan);
    if (v->clean) lafs_pack_str(b, "clean"), lafs_pack_nd(b, "|u1", (int64_t[]){side, side, 3}, 3, v->clean, 1);
    if (v->augmented)
        lafs_pack_str(b, "augmented"), lafs_pack_nd(b, "|u1", (int64_t[]){side, side, 3}, 3, v->augmented, 1);
    if (v->landmarks) lafs_pack_str(b, "landmarks"), lafs_pack_nd(b, "<f4", (int64_t[]){v->R, 2}, 2, v->landmarks, 4);
    if (v->index) lafs_pack_str(b, "index"), lafs_pack_nd(b, "<i4", (int64_t[]){v->n}, 1, v->index, 4);
    if (v->patches)
        lafs_pack_str(b, "patches"), lafs_pack_nd(b, "<f4", (int64_t[]){v->n, v->p, v->p, 3}, 4, v->patches, 4);
    other_pairs(v, b);
}

void lafs_views_set(struct lafs_sample *s, const struct lafs_view *v, int n)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_pack_array(&b, (uint32_t)n);
    for (int i = 0; i < n; i++) put_view(&b, &v[i]);
    if (b.failed) s->buf.failed = 1;
    else lafs_sample_set_raw(s, "views", b.data, b.size);
    lafs_buf_release(&b);
}
