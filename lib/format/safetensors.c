#include "format/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/onnx.h"
#include "format/pth.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are handed out as they lie in the file");

#define MAX_HEADER ((uint64_t)100000000) /* the format's own bound */
enum { DATA_ALIGN = 64 };

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {[LAFS_F32] = {"F32", 4}, [LAFS_F64] = {"F64", 8}, [LAFS_F16] = {"F16", 2}, [LAFS_BF16] = {"BF16", 2},
              [LAFS_I64] = {"I64", 8}, [LAFS_I32] = {"I32", 4}, [LAFS_I16] = {"I16", 2}, [LAFS_I8] = {"I8", 1},
              [LAFS_U8] = {"U8", 1},   [LAFS_BOOL] = {"BOOL", 1}, [LAFS_U64] = {"U64", 8}, [LAFS_U32] = {"U32", 4},
              [LAFS_U16] = {"U16", 2}};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

size_t lafs_dtype_size(enum lafs_dtype t) { return (unsigned)t < DTYPES ? dtypes[t].size : 0; }
const char *lafs_dtype_name(enum lafs_dtype t) { return (unsigned)t < DTYPES ? dtypes[t].name : "?"; }

/* A tensor and where its bytes lie, in the file's order and sorted by name. */
struct span {
    uint64_t begin, end;
    int header_place;
    struct lafs_st_tensor t;
};

struct priv {
    void *map;           /* mmapped file, or NULL */
    size_t map_size;
    struct lafs_buf buf; /* content of what cannot be mapped */
    struct lafs_json *json; /* owns all strings */
    int *by_name;        /* (count) positions sorted by name */
};

static int by_place(const void *pa, const void *pb)
{
    const struct span *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return a->header_place < b->header_place ? -1 : a->header_place > b->header_place;
}

static int by_string(const void *pa, const void *pb)
{
    const char *const *a = pa, *const *b = pb;
    return strcmp(*a, *b);
}

static const struct lafs_json *member(const struct lafs_json *object, const char *key, enum lafs_json_type type)
{
    const struct lafs_json *v = lafs_json_get(object, key);
    return v && v->type == type ? v : NULL;
}

static lafs_status parse_shape(struct lafs_st_tensor *t, const struct lafs_json *shape, struct lafs_err *err)
{
    if (shape->count > LAFS_ST_MAX_DIMS)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has %zu dimensions, more than %d", t->name, shape->count,
                         LAFS_ST_MAX_DIMS);
    t->count = 1;
    for (const struct lafs_json *d = shape->child; d; d = d->next) {
        if (d->type != LAFS_JSON_NUMBER || !d->is_int || d->integer < 0)
            return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has a bad shape", t->name);
        t->shape[t->ndim++] = d->integer;
        if (__builtin_mul_overflow(t->count, d->integer, &t->count))
            return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has an impossible shape", t->name);
    }
    return LAFS_OK;
}

static lafs_status parse_tensor(struct span *s, const struct lafs_json *j, uint64_t data_size, struct lafs_err *err)
{
    struct lafs_st_tensor *t = &s->t;
    t->name = j->key;
    if (j->type != LAFS_JSON_OBJECT) return lafs_fail(err, LAFS_FAILED, "entry '%.100s' is no object", t->name);
    const struct lafs_json *dtype = member(j, "dtype", LAFS_JSON_STRING), *shape = member(j, "shape", LAFS_JSON_ARRAY),
                           *off = member(j, "data_offsets", LAFS_JSON_ARRAY);
    if (!dtype || !shape || !off)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' lacks dtype, shape or data_offsets", t->name);
    int k = 0;
    while (k < DTYPES && strcmp(dtypes[k].name, dtype->str)) k++;
    if (k == DTYPES)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has the unknown dtype '%.20s'", t->name, dtype->str);
    t->dtype = (enum lafs_dtype)k;
    LAFS_TRY(parse_shape(t, shape, err));
    if (off->count != 2 || !off->child->is_int || !off->child->next->is_int || off->child->integer < 0 ||
        off->child->next->integer < off->child->integer)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has bad data_offsets", t->name);
    s->begin = (uint64_t)off->child->integer;
    s->end = (uint64_t)off->child->next->integer;
    if (s->end > data_size)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' reaches beyond the end of the file: cut off?", t->name);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)t->count, (uint64_t)dtypes[k].size, &bytes) || bytes != s->end - s->begin)
        return lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has %llu bytes, which does not fit its shape", t->name,
                         (unsigned long long)(s->end - s->begin));
    return LAFS_OK;
}

static lafs_status parse_meta(struct lafs_st *st, const struct lafs_json *j, struct lafs_err *err)
{
    if (j->type != LAFS_JSON_OBJECT) return lafs_fail(err, LAFS_FAILED, "__metadata__ is no object");
    LAFS_TRY(lafs_alloc0(&st->meta, j->count, sizeof *st->meta, err));
    for (const struct lafs_json *m = j->child; m; m = m->next) {
        if (m->type != LAFS_JSON_STRING)
            return lafs_fail(err, LAFS_FAILED, "__metadata__ holds '%.100s', which is no string", m->key);
        st->meta[st->metas++] = (struct lafs_st_meta){m->key, m->str};
    }
    return LAFS_OK;
}

/* No holes, no overlaps, no bytes behind the last tensor. */
static lafs_status check_cover(const struct span *s, int n, uint64_t data_size, struct lafs_err *err)
{
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {
        if (s[i].begin != at)
            return lafs_fail(err, LAFS_FAILED, "there is %s before tensor '%.100s'",
                             s[i].begin < at ? "an overlap" : "a hole", s[i].t.name);
        at = s[i].end;
    }
    if (at != data_size)
        return lafs_fail(err, LAFS_FAILED, "%llu bytes belong to no tensor", (unsigned long long)(data_size - at));
    return LAFS_OK;
}

static lafs_status index_names(struct lafs_st *st, struct lafs_err *err)
{
    struct priv *p = st->priv;
    const char **name;
    LAFS_TRY(lafs_alloc(&p->by_name, (size_t)st->count, sizeof *p->by_name, err));
    LAFS_TRY(lafs_alloc(&name, (size_t)st->count, 2 * sizeof *name, err));
    /* Pairs (name, tensor), so that sorting by the first pointer's string carries the place along. */
    for (int i = 0; i < st->count; i++) {
        name[2 * i] = st->tensor[i].name;
        name[2 * i + 1] = (const char *)&st->tensor[i];
    }
    qsort(name, (size_t)st->count, 2 * sizeof *name, by_string);
    lafs_status rc = LAFS_OK;
    for (int i = 0; i < st->count && rc == LAFS_OK; i++) {
        p->by_name[i] = (int)((const struct lafs_st_tensor *)(const void *)name[2 * i + 1] - st->tensor);
        if (i && !strcmp(name[2 * i], name[2 * i - 2]))
            rc = lafs_fail(err, LAFS_FAILED, "tensor '%.100s' is there twice", name[2 * i]);
    }
    lafs_free(name);
    return rc;
}

static lafs_status parse_entries(struct lafs_st *st, const struct lafs_json *root, struct span *s,
                                 const unsigned char *data, uint64_t data_size, struct lafs_err *err)
{
    int n = 0;
    for (const struct lafs_json *j = root->child; j; j = j->next) {
        if (!strcmp(j->key, "__metadata__")) {
            LAFS_TRY(parse_meta(st, j, err));
            continue;
        }
        s[n].header_place = n;
        LAFS_TRY(parse_tensor(&s[n], j, data_size, err));
        n++;
    }
    qsort(s, (size_t)n, sizeof *s, by_place);
    LAFS_TRY(check_cover(s, n, data_size, err));
    LAFS_TRY(lafs_alloc(&st->tensor, (size_t)n, sizeof *st->tensor, err));
    st->count = n;
    for (int i = 0; i < n; i++) {
        st->tensor[i] = s[i].t;
        st->tensor[i].data = data + s[i].begin;
    }
    return index_names(st, err);
}

/* What else people give for a model. */
static lafs_status no_safetensors(const unsigned char *p, size_t size, struct lafs_err *err)
{
    const char *is = NULL;
    if (lafs_pth_begins(p, size)) is = "a checkpoint of PyTorch";
    if (lafs_onnx_begins(p, size)) is = "an ONNX graph";
    if (is) return lafs_fail(err, LAFS_FAILED, "no safetensors file but, by its beginning, %s: see lafs-convert", is);
    if (size > 8 && p[8] == '{')
        return lafs_fail(err, LAFS_FAILED, "cut off: %zu bytes, but a header of more", size);
    return lafs_fail(err, LAFS_FAILED, "no safetensors file: it does not begin like one");
}

static lafs_status parse(struct lafs_st *st, const unsigned char *p, size_t size, struct lafs_err *err)
{
    struct priv *pv = st->priv;
    uint64_t header;
    if (size < sizeof header) return lafs_fail(err, LAFS_FAILED, "no safetensors file: only %zu bytes", size);
    memcpy(&header, p, sizeof header);
    if (header > MAX_HEADER || header > size - sizeof header) return no_safetensors(p, size, err);
    const char *text = (const char *)p + sizeof header;
    if (header < 2 || text[0] != '{') return lafs_fail(err, LAFS_FAILED, "no safetensors file: no JSON header");
    lafs_status rc = lafs_json_parse(&pv->json, text, (size_t)header, err);
    if (rc != LAFS_OK) return lafs_err_prefix(err, "bad safetensors header");
    if (pv->json->type != LAFS_JSON_OBJECT || pv->json->count > 0x7fffffff / 2)
        return lafs_fail(err, LAFS_FAILED, "bad safetensors header");
    struct span *s;
    LAFS_TRY(lafs_alloc0(&s, pv->json->count, sizeof *s, err));
    rc = parse_entries(st, pv->json, s, p + sizeof header + header, size - sizeof header - header, err);
    lafs_free(s);
    return rc;
}

static lafs_status st_new(struct lafs_st **out, struct lafs_err *err)
{
    *out = NULL;
    struct lafs_st *st;
    LAFS_TRY(lafs_alloc0(&st, 1, sizeof *st, err));
    lafs_status rc = lafs_alloc0(&st->priv, 1, sizeof(struct priv), err);
    if (rc != LAFS_OK) {
        lafs_free(st);
        return rc;
    }
    *out = st;
    return LAFS_OK;
}

lafs_status lafs_st_parse(struct lafs_st **out, const void *data, size_t size, struct lafs_err *err)
{
    LAFS_TRY(st_new(out, err));
    lafs_status rc = parse(*out, data, size, err);
    if (rc != LAFS_OK) {
        lafs_st_close(*out);
        *out = NULL;
    }
    return rc;
}

static lafs_status wrap(struct lafs_st *st, const struct lafs_st_tensor *tensor, int count,
                        const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&st->tensor, (size_t)count, sizeof *tensor, err));
    LAFS_TRY(lafs_alloc(&st->meta, (size_t)metas, sizeof *meta, err));
    if (count) memcpy(st->tensor, tensor, (size_t)count * sizeof *tensor);
    if (metas) memcpy(st->meta, meta, (size_t)metas * sizeof *meta);
    st->count = count;
    st->metas = metas;
    return index_names(st, err);
}

lafs_status lafs_st_wrap(struct lafs_st **out, const struct lafs_st_tensor *tensor, int count,
                         const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    LAFS_TRY(st_new(out, err));
    lafs_status rc = wrap(*out, tensor, count, meta, metas, err);
    if (rc != LAFS_OK) {
        lafs_st_close(*out);
        *out = NULL;
    }
    return rc;
}

/* Maps a regular file; anything else (a pipe) is read. */
static lafs_status load(struct priv *p, const char *path, struct lafs_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    struct stat sb = {0};
    if (fstat(fd, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size > 0) {
        p->map_size = (size_t)sb.st_size;
        p->map = mmap(NULL, p->map_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p->map == MAP_FAILED) p->map = NULL;
    }
    close(fd);
    if (p->map) return LAFS_OK;
    if (S_ISDIR(sb.st_mode))
        return lafs_fail(err, LAFS_FAILED, "'%s' is a directory; a run's model is model.safetensors in it", path);
    return lafs_buf_read_file(&p->buf, path, (size_t)1 << 36, err);
}

lafs_status lafs_st_open(struct lafs_st **out, const char *path, struct lafs_err *err)
{
    LAFS_TRY(st_new(out, err));
    struct priv *p = (*out)->priv;
    lafs_status rc = load(p, path, err);
    if (rc == LAFS_OK) {
        rc = p->map ? parse(*out, p->map, p->map_size, err) : parse(*out, p->buf.data, p->buf.size, err);
        if (rc != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    }
    if (rc != LAFS_OK) {
        lafs_st_close(*out);
        *out = NULL;
    }
    return rc;
}

void lafs_st_close(struct lafs_st *st)
{
    if (!st) return;
    struct priv *p = st->priv;
    if (p->map) munmap(p->map, p->map_size);
    lafs_buf_release(&p->buf);
    lafs_json_free(p->json);
    lafs_free(p->by_name);
    lafs_free(p);
    lafs_free(st->tensor);
    lafs_free(st->meta);
    lafs_free(st);
}

const struct lafs_st_tensor *lafs_st_find(const struct lafs_st *st, const char *name)
{
    const struct priv *p = st->priv;
    int lo = 0, hi = st->count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(name, st->tensor[p->by_name[mid]].name);
        if (c == 0) return &st->tensor[p->by_name[mid]];
        if (c < 0) hi = mid;
        else lo = mid + 1;
    }
    return NULL;
}

const char *lafs_st_meta_of(const struct lafs_st_meta *meta, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(meta[i].key, key)) return meta[i].value;
    return NULL;
}

const char *lafs_st_meta(const struct lafs_st *st, const char *key)
{
    return lafs_st_meta_of(st->meta, st->metas, key);
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 31, mantissa = h & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float f = (float)mantissa * 0x1p-24f; /* subnormal or zero */
    return sign ? -f : f;
}

void lafs_st_to_f32(const struct lafs_st_tensor *t, float *out)
{
    const unsigned char *p = t->data;
#define EACH(type, expr)                                              \
    for (int64_t i = 0; i < t->count; i++) {                          \
        type v;                                                       \
        memcpy(&v, p + (size_t)i * sizeof v, sizeof v);               \
        out[i] = (float)(expr);                                       \
    }                                                                 \
    break
    switch (t->dtype) {
    case LAFS_F32:
        if (t->count) memcpy(out, p, (size_t)t->count * sizeof *out);
        break;
    case LAFS_F64: EACH(double, v);
    case LAFS_F16: EACH(uint16_t, half_to_float(v));
    case LAFS_BF16: EACH(uint16_t, from_bits((uint32_t)v << 16));
    case LAFS_I64: EACH(int64_t, v);
    case LAFS_I32: EACH(int32_t, v);
    case LAFS_I16: EACH(int16_t, v);
    case LAFS_I8: EACH(int8_t, v);
    case LAFS_U8: EACH(uint8_t, v);
    case LAFS_BOOL: EACH(uint8_t, v != 0);
    case LAFS_U64: EACH(uint64_t, v);
    case LAFS_U32: EACH(uint32_t, v);
    case LAFS_U16: EACH(uint16_t, v);
    }
#undef EACH
}

lafs_status lafs_st_check_finite(const struct lafs_st_tensor *t, struct lafs_err *err)
{
    const unsigned char *p = t->data;
    int odd = 0;
#define EACH(type, expr)                                              \
    for (int64_t i = 0; i < t->count; i++) {                          \
        type v;                                                       \
        memcpy(&v, p + (size_t)i * sizeof v, sizeof v);               \
        odd |= expr;                                                  \
    }                                                                 \
    break
    switch (t->dtype) { /* of the largest exponent are infinity and what is no number */
    case LAFS_F32: EACH(uint32_t, (v & 0x7f800000u) == 0x7f800000u);
    case LAFS_F64: EACH(double, !isfinite((float)v));
    case LAFS_F16: EACH(uint16_t, (v & 0x7c00) == 0x7c00);
    case LAFS_BF16: EACH(uint16_t, (v & 0x7f80) == 0x7f80);
    default: break;
    }
#undef EACH
    return odd ? lafs_fail(err, LAFS_FAILED, "tensor '%.100s' holds a value that is not finite", t->name) : LAFS_OK;
}

/* "(3, 16, 1)" */
static void shape_text(const int64_t *shape, int ndim, struct lafs_buf *b)
{
    lafs_buf_putc(b, '(');
    for (int i = 0; i < ndim; i++) lafs_buf_printf(b, "%s%lld", i ? ", " : "", (long long)shape[i]);
    lafs_buf_putc(b, ')');
}

static lafs_status wrong_shape(const struct lafs_st_tensor *t, const int64_t *shape, int ndim, struct lafs_err *err)
{
    struct lafs_buf have, want;
    lafs_buf_init(&have);
    lafs_buf_init(&want);
    shape_text(t->shape, t->ndim, &have);
    shape_text(shape, ndim, &want);
    const char *h = lafs_buf_str(&have), *w = lafs_buf_str(&want);
    lafs_fail(err, LAFS_FAILED, "tensor '%.100s' has the shape %s, not %s", t->name, h ? h : "?", w ? w : "?");
    lafs_buf_release(&have);
    lafs_buf_release(&want);
    return LAFS_FAILED;
}

lafs_status lafs_st_check_shape(const struct lafs_st_tensor *t, const int64_t *shape, int ndim, struct lafs_err *err)
{
    int same = t->ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = shape[i] == -1 || shape[i] == t->shape[i];
    return same ? LAFS_OK : wrong_shape(t, shape, ndim, err);
}

lafs_status lafs_st_read_f32(const struct lafs_st *st, const char *name, const int64_t *shape, int ndim, float *out,
                             struct lafs_err *err)
{
    const struct lafs_st_tensor *t = lafs_st_find(st, name);
    if (!t) return lafs_fail(err, LAFS_FAILED, "there is no tensor '%.100s'", name);
    LAFS_TRY(lafs_st_check_shape(t, shape, ndim, err));
    lafs_st_to_f32(t, out);
    return LAFS_OK;
}

lafs_status lafs_st_read_weights(const struct lafs_st *st, const char *name, const int64_t *shape, int ndim, float *out,
                                 struct lafs_err *err)
{
    LAFS_TRY(lafs_st_read_f32(st, name, shape, ndim, out, err));
    return lafs_st_check_finite(lafs_st_find(st, name), err);
}

/* -- writing -- */

static lafs_status check_input(const struct lafs_st_tensor *tensor, int count, struct lafs_err *err)
{
    const char **name;
    LAFS_TRY(lafs_alloc(&name, (size_t)count, sizeof *name, err));
    lafs_status rc = LAFS_OK;
    for (int i = 0; i < count && rc == LAFS_OK; i++) {
        const struct lafs_st_tensor *t = &tensor[i];
        int64_t n = 1;
        name[i] = t->name;
        for (int k = 0; k < t->ndim; k++)
            if (t->shape[k] < 0 || __builtin_mul_overflow(n, t->shape[k], &n)) n = -1;
        if ((unsigned)t->ndim > LAFS_ST_MAX_DIMS || !lafs_dtype_size(t->dtype) || n != t->count ||
            n > INT64_MAX / (int64_t)lafs_dtype_size(t->dtype) || !strcmp(t->name, "__metadata__"))
            rc = lafs_fail(err, LAFS_FAILED, "tensor '%.100s' cannot be written: bad name, dtype or shape", t->name);
    }
    if (rc == LAFS_OK) qsort(name, (size_t)count, sizeof *name, by_string);
    for (int i = 1; i < count && rc == LAFS_OK; i++)
        if (!strcmp(name[i - 1], name[i])) rc = lafs_fail(err, LAFS_FAILED, "two tensors are called '%.100s'", name[i]);
    lafs_free(name);
    return rc;
}

static void put_header(struct lafs_buf *b, const struct lafs_st_tensor *tensor, int count,
                       const struct lafs_st_meta *meta, int metas)
{
    lafs_buf_putc(b, '{');
    if (metas) {
        lafs_buf_puts(b, "\"__metadata__\":{");
        for (int i = 0; i < metas; i++) {
            if (i) lafs_buf_putc(b, ',');
            lafs_json_put_string(b, meta[i].key, strlen(meta[i].key));
            lafs_buf_putc(b, ':');
            lafs_json_put_string(b, meta[i].value, strlen(meta[i].value));
        }
        lafs_buf_putc(b, '}');
    }
    uint64_t at = 0;
    for (int i = 0; i < count; i++) {
        const struct lafs_st_tensor *t = &tensor[i];
        if (i || metas) lafs_buf_putc(b, ',');
        lafs_json_put_string(b, t->name, strlen(t->name));
        lafs_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", lafs_dtype_name(t->dtype));
        for (int k = 0; k < t->ndim; k++) lafs_buf_printf(b, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        uint64_t end = at + (uint64_t)t->count * lafs_dtype_size(t->dtype);
        lafs_buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
        at = end;
    }
    lafs_buf_putc(b, '}');
    while ((b->size + sizeof(uint64_t)) % DATA_ALIGN && !b->failed) lafs_buf_putc(b, ' ');
}

lafs_status lafs_st_write(const char *path, const struct lafs_st_tensor *tensor, int count,
                          const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    LAFS_TRY(check_input(tensor, count, err));
    struct lafs_buf header;
    lafs_buf_init(&header);
    put_header(&header, tensor, count, meta, metas);
    struct lafs_atomic f;
    lafs_status rc = lafs_buf_check(&header, err);
    if (rc == LAFS_OK && header.size > MAX_HEADER)
        rc = lafs_fail(err, LAFS_FAILED, "cannot write '%s': its header would be too large", path);
    if (rc == LAFS_OK) rc = lafs_atomic_open(&f, path, err);
    if (rc != LAFS_OK) goto out;
    uint64_t size = header.size;
    rc = lafs_atomic_write(&f, &size, sizeof size, err);
    if (rc == LAFS_OK) rc = lafs_atomic_write(&f, header.data, header.size, err);
    for (int i = 0; i < count && rc == LAFS_OK; i++) {
        size_t bytes = (size_t)tensor[i].count * lafs_dtype_size(tensor[i].dtype);
        if (bytes) rc = lafs_atomic_write(&f, tensor[i].data, bytes, err);
    }
    if (rc == LAFS_OK) rc = lafs_atomic_commit(&f, err);
    else lafs_atomic_abort(&f);
out:
    lafs_buf_release(&header);
    return rc;
}
