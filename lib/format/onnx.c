/* Field numbers: ModelProto graph 7, metadata_props 14 (key 1, value 2); GraphProto node 1, initializer 5; NodeProto
 * input 1, output 2, name 3, op_type 4; TensorProto dims 1, data_type 2, float_data 4, name 8, raw_data 9,
 * data_location 14. All others are skipped. */
#include "format/onnx.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

/* A tensor of two bytes in the file costs us over a hundred: these bounds keep that ratio from mattering. */
enum { MAX_TENSORS = 1 << 16, MAX_NODES = 1 << 16, MAX_INPUTS = 1 << 18, MAX_METAS = 1 << 12 };
#define MAX_FILE ((size_t)1 << 31) /* a protobuf message is never larger */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct bytes {
    const unsigned char *p, *end;
};
static size_t left(const struct bytes *b) { return (size_t)(b->end - b->p); }

struct field {
    uint32_t number;
    enum wire wire;
    uint64_t value;     /* VARINT */
    struct bytes bytes; /* BYTES, FIXED32, FIXED64 */
};

struct priv {
    char *text;         /* all strings */
    size_t text_size, text_cap;
    const char **input; /* inputs of all nodes */
    int inputs, input_cap;
    int tensor_cap, node_cap, meta_cap;
    float **block;      /* (tensor_cap) the data of each tensor, or NULL */
};

static int varint(struct bytes *b, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (b->p == b->end) return 0;
        unsigned char c = *b->p++;
        *v |= (uint64_t)(c & 127) << shift;
        if (c < 128) return 1;
    }
    return 0;
}

/* LAFS_END: no more fields. */
static lafs_status next(struct bytes *b, struct field *f, struct lafs_err *err)
{
    *f = (struct field){0};
    if (b->p == b->end) return LAFS_END;
    uint64_t tag, n = 0;
    if (!varint(b, &tag) || tag >> 3 == 0 || tag >> 32)
        return lafs_fail(err, LAFS_FAILED, "no ONNX file, or a broken one");
    f->number = (uint32_t)(tag >> 3);
    f->wire = (enum wire)(tag & 7);
    switch (f->wire) {
    case VARINT:
        if (!varint(b, &f->value)) return lafs_fail(err, LAFS_FAILED, "broken ONNX file: cut inside a number");
        return LAFS_OK;
    case FIXED64: n = 8; break;
    case FIXED32: n = 4; break;
    case BYTES:
        if (!varint(b, &n)) n = UINT64_MAX;
        break;
    default: return lafs_fail(err, LAFS_FAILED, "no ONNX file, or a broken one");
    }
    if (n > left(b)) return lafs_fail(err, LAFS_FAILED, "broken ONNX file: cut off, or a length beyond its end");
    f->bytes = (struct bytes){b->p, b->p + n};
    b->p += n;
    return LAFS_OK;
}

/* Room for one more item in an array of `size` bytes each. */
static lafs_status grow(void *array, int count, int *cap, size_t size, int max, const char *what, struct lafs_err *err)
{
    if (count < *cap) return LAFS_OK;
    if (count >= max) return lafs_fail(err, LAFS_FAILED, "ONNX file with more than %d %s", max, what);
    int fresh = *cap ? 2 * *cap : 64;
    LAFS_TRY(lafs_resize(array, (size_t)count, (size_t)fresh, size, err));
    *cap = fresh;
    return LAFS_OK;
}

/* Strings lie in one block of as many bytes as the file can need: they never move. */
static lafs_status keep(struct priv *p, const struct bytes *b, const char **out, struct lafs_err *err)
{
    size_t n = left(b);
    if (n > p->text_cap - p->text_size || p->text_cap - p->text_size - n < 1)
        return lafs_fail(err, LAFS_FAILED, "broken ONNX file: names longer than the file");
    if (memchr(b->p, 0, n)) return lafs_fail(err, LAFS_FAILED, "ONNX file with a NUL in a name");
    char *to = p->text + p->text_size;
    if (n) memcpy(to, b->p, n);
    to[n] = 0;
    p->text_size += n + 1;
    *out = to;
    return LAFS_OK;
}

static lafs_status add_dim(struct lafs_onnx_tensor *t, uint64_t v, struct lafs_err *err)
{
    if (t->ndim == LAFS_ONNX_MAX_DIMS || v > INT64_MAX || __builtin_mul_overflow(t->count, (int64_t)v, &t->count))
        return lafs_fail(err, LAFS_FAILED, "ONNX tensor with an impossible shape");
    t->shape[t->ndim++] = (int64_t)v;
    return LAFS_OK;
}

/* What a TensorProto's fields say before its data is copied. */
struct source {
    struct bytes raw;
    int has_raw;
    struct lafs_buf floats; /* float_data, joined */
};

static lafs_status tensor_field(struct lafs_onnx_tensor *t, struct source *s, struct priv *p, const struct field *f,
                                struct lafs_err *err)
{
    struct bytes b = f->bytes;
    uint64_t v;
    if (f->number == 1 && f->wire == VARINT) return add_dim(t, f->value, err);
    if (f->number == 1 && f->wire == BYTES) {
        while (b.p < b.end) {
            if (!varint(&b, &v)) return lafs_fail(err, LAFS_FAILED, "broken ONNX file: cut inside a shape");
            LAFS_TRY(add_dim(t, v, err));
        }
    } else if (f->number == 2 && f->wire == VARINT) {
        t->type = f->value < 1000 ? (int)f->value : 0;
    } else if (f->number == 4 && (f->wire == FIXED32 || f->wire == BYTES)) {
        lafs_buf_put(&s->floats, b.p, left(&b));
        return lafs_buf_check(&s->floats, err);
    } else if (f->number == 8 && f->wire == BYTES) {
        return keep(p, &b, &t->name, err);
    } else if (f->number == 9 && f->wire == BYTES) {
        s->raw = b;
        s->has_raw = 1;
    } else if (f->number == 14 && f->wire == VARINT && f->value != 0) {
        return lafs_fail(err, LAFS_FAILED, "ONNX file with its weights in another file: not supported");
    }
    return LAFS_OK;
}

static lafs_status take_data(struct lafs_onnx_tensor *t, const struct source *s, float **block, struct lafs_err *err)
{
    if (t->type != LAFS_ONNX_FLOAT) return LAFS_OK;
    const void *from = s->has_raw ? s->raw.p : s->floats.data;
    size_t have = s->has_raw ? left(&s->raw) : s->floats.size;
    if (have % 4 || have / 4 != (uint64_t)t->count)
        return lafs_fail(err, LAFS_FAILED, "ONNX tensor '%.100s' has %zu bytes, which does not fit its shape", t->name,
                         have);
    LAFS_TRY(lafs_alloc(block, (size_t)t->count, sizeof **block, err));
    if (have) memcpy(*block, from, have);
    t->data = *block;
    return LAFS_OK;
}

static lafs_status parse_tensor(struct lafs_onnx *o, struct bytes b, struct lafs_err *err)
{
    struct priv *p = o->priv;
    int cap = p->tensor_cap;
    LAFS_TRY(grow(&o->tensor, o->tensors, &cap, sizeof *o->tensor, MAX_TENSORS, "tensors", err));
    LAFS_TRY(grow(&p->block, o->tensors, &p->tensor_cap, sizeof *p->block, MAX_TENSORS, "tensors", err));
    struct lafs_onnx_tensor *t = &o->tensor[o->tensors];
    *t = (struct lafs_onnx_tensor){.name = "", .count = 1};
    p->block[o->tensors] = NULL;
    o->tensors++;
    struct source s = {.has_raw = 0};
    struct field f;
    lafs_status rc;
    lafs_buf_init(&s.floats);
    while ((rc = next(&b, &f, err)) == LAFS_OK)
        if ((rc = tensor_field(t, &s, p, &f, err)) != LAFS_OK) break;
    if (rc == LAFS_END) rc = take_data(t, &s, &p->block[o->tensors - 1], err);
    lafs_buf_release(&s.floats);
    return rc;
}

static lafs_status parse_node(struct lafs_onnx *o, struct bytes b, struct lafs_err *err)
{
    struct priv *p = o->priv;
    LAFS_TRY(grow(&o->node, o->nodes, &p->node_cap, sizeof *o->node, MAX_NODES, "nodes", err));
    struct lafs_onnx_node *n = &o->node[o->nodes++];
    *n = (struct lafs_onnx_node){.op = "", .name = "", .output = ""};
    struct field f;
    lafs_status rc;
    while ((rc = next(&b, &f, err)) == LAFS_OK) {
        if (f.wire != BYTES) continue;
        if (f.number == 1) {
            LAFS_TRY(grow(&p->input, p->inputs, &p->input_cap, sizeof *p->input, MAX_INPUTS, "inputs of nodes", err));
            LAFS_TRY(keep(p, &f.bytes, &p->input[p->inputs], err));
            p->inputs++;
            n->inputs++;
        } else if (f.number == 2 && !*n->output) {
            LAFS_TRY(keep(p, &f.bytes, &n->output, err));
        } else if (f.number == 3) {
            LAFS_TRY(keep(p, &f.bytes, &n->name, err));
        } else if (f.number == 4) {
            LAFS_TRY(keep(p, &f.bytes, &n->op, err));
        }
    }
    return rc == LAFS_END ? LAFS_OK : rc;
}

static lafs_status parse_graph(struct lafs_onnx *o, struct bytes b, struct lafs_err *err)
{
    struct field f;
    lafs_status rc;
    while ((rc = next(&b, &f, err)) == LAFS_OK) {
        if (f.number == 1 && f.wire == BYTES) LAFS_TRY(parse_node(o, f.bytes, err));
        if (f.number == 5 && f.wire == BYTES) LAFS_TRY(parse_tensor(o, f.bytes, err));
    }
    return rc == LAFS_END ? LAFS_OK : rc;
}

static lafs_status parse_meta(struct lafs_onnx *o, struct bytes b, struct lafs_err *err)
{
    struct priv *p = o->priv;
    LAFS_TRY(grow(&o->meta, o->metas, &p->meta_cap, sizeof *o->meta, MAX_METAS, "metadata entries", err));
    struct lafs_onnx_meta *m = &o->meta[o->metas++];
    *m = (struct lafs_onnx_meta){"", ""};
    struct field f;
    lafs_status rc;
    while ((rc = next(&b, &f, err)) == LAFS_OK) {
        if (f.number == 1 && f.wire == BYTES) LAFS_TRY(keep(p, &f.bytes, &m->key, err));
        if (f.number == 2 && f.wire == BYTES) LAFS_TRY(keep(p, &f.bytes, &m->value, err));
    }
    return rc == LAFS_END ? LAFS_OK : rc;
}

static lafs_status parse(struct lafs_onnx *o, struct bytes b, struct lafs_err *err)
{
    struct priv *p = o->priv;
    /* A string of n bytes takes at least n + 2 in the file, so n + 1 of ours fit. */
    p->text_cap = left(&b) + 1;
    LAFS_TRY(lafs_alloc(&p->text, p->text_cap, 1, err));
    struct field f;
    lafs_status rc;
    int graphs = 0;
    while ((rc = next(&b, &f, err)) == LAFS_OK)
        if (f.number == 7 && f.wire == BYTES) {
            if (graphs++) return lafs_fail(err, LAFS_FAILED, "ONNX file with two graphs");
            LAFS_TRY(parse_graph(o, f.bytes, err));
        } else if (f.number == 14 && f.wire == BYTES) LAFS_TRY(parse_meta(o, f.bytes, err));
    if (rc != LAFS_END) return rc;
    if (!graphs) return lafs_fail(err, LAFS_FAILED, "no ONNX file: it holds no graph");
    /* Inputs moved while they grew: hand out their places now. */
    for (int i = 0, at = 0; i < o->nodes; at += o->node[i].inputs, i++)
        o->node[i].input = o->node[i].inputs ? p->input + at : NULL;
    return LAFS_OK;
}

/* Field 1, the version, a small number; then field 2, the producer's name. */
int lafs_onnx_begins(const void *data, size_t size)
{
    const unsigned char *p = data;
    return size > 3 && p[0] == 0x08 && p[1] < 32 && p[2] == 0x12;
}

lafs_status lafs_onnx_parse(struct lafs_onnx **out, const void *data, size_t size, struct lafs_err *err)
{
    *out = NULL;
    if (size == 0 || size > MAX_FILE) return lafs_fail(err, LAFS_FAILED, "no ONNX file: %zu bytes", size);
    struct lafs_onnx *o;
    LAFS_TRY(lafs_alloc0(&o, 1, sizeof *o, err));
    lafs_status rc = lafs_alloc0(&o->priv, 1, sizeof(struct priv), err);
    if (rc == LAFS_OK) rc = parse(o, (struct bytes){data, (const unsigned char *)data + size}, err);
    if (rc != LAFS_OK) {
        lafs_onnx_close(o);
        return rc;
    }
    *out = o;
    return LAFS_OK;
}

void lafs_onnx_close(struct lafs_onnx *o)
{
    if (!o) return;
    struct priv *p = o->priv;
    if (p) {
        for (int i = 0; i < o->tensors; i++) lafs_free(p->block[i]);
        lafs_free(p->block);
        lafs_free(p->input);
        lafs_free(p->text);
        lafs_free(p);
    }
    lafs_free(o->tensor);
    lafs_free(o->node);
    lafs_free(o->meta);
    lafs_free(o);
}

const struct lafs_onnx_tensor *lafs_onnx_find(const struct lafs_onnx *o, const char *name)
{
    for (int i = 0; i < o->tensors; i++)
        if (!strcmp(o->tensor[i].name, name)) return &o->tensor[i];
    return NULL;
}

const char *lafs_onnx_type_name(int type)
{
    static const char *const name[] = {"?",   "F32", "U8",  "I8",  "U16", "I16", "I32", "I64", "?",
                                       "BOOL", "F16", "F64", "U32", "U64", "?",   "?",   "BF16"};
    return type >= 0 && type < (int)(sizeof name / sizeof *name) ? name[type] : "?";
}
