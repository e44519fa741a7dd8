/* Writing ONNX: the other half of onnx.h. Field numbers: ModelProto ir_version 1, producer_name 2, doc_string 6,
 * graph 7, opset_import 8 (version 2), metadata_props 14 (key 1, value 2); GraphProto node 1, name 2, initializer 5,
 * input 11, output 12; NodeProto input 1, output 2, name 3, op_type 4, attribute 5; AttributeProto name 1, f 2, i 3,
 * s 4, ints 8, type 20; TensorProto dims 1, data_type 2, name 8, raw_data 9; ValueInfoProto name 1, type 2; TypeProto
 * tensor_type 1 (elem_type 1, shape 2); TensorShapeProto dim 1 (dim_value 1, dim_param 2). */
#include <string.h>

#include "format/onnx.h"

enum { IR_VERSION = 8 };
#define MAX_MESSAGE ((size_t)0x7fffffff)

static void varint(struct lafs_buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7) lafs_buf_putc(b, (int)(v & 127) | 128);
    lafs_buf_putc(b, (int)v);
}

static void put_int(struct lafs_buf *b, unsigned field, uint64_t v)
{
    varint(b, field << 3);
    varint(b, v);
}

static void put_bytes(struct lafs_buf *b, unsigned field, const void *p, size_t n)
{
    varint(b, field << 3 | 2);
    varint(b, n);
    if (n) lafs_buf_put(b, p, n);
}

static void put_string(struct lafs_buf *b, unsigned field, const char *s) { put_bytes(b, field, s, strlen(s)); }

/* m as a field of b; m is empty then. */
static void put_message(struct lafs_buf *b, unsigned field, struct lafs_buf *m)
{
    put_bytes(b, field, m->data, m->size);
    b->failed |= m->failed;
    lafs_buf_clear(m);
}

void lafs_onnx_writer_init(struct lafs_onnx_writer *w)
{
    lafs_buf_init(&w->graph);
    lafs_buf_init(&w->meta);
    lafs_buf_init(&w->part);
    lafs_buf_init(&w->inner);
}

void lafs_onnx_writer_release(struct lafs_onnx_writer *w)
{
    lafs_buf_release(&w->graph);
    lafs_buf_release(&w->meta);
    lafs_buf_release(&w->part);
    lafs_buf_release(&w->inner);
}

static void put_attr(struct lafs_buf *b, const struct lafs_onnx_attr *a)
{
    put_string(b, 1, a->name);
    if (a->type == LAFS_ONNX_ATTR_FLOAT) {
        varint(b, 2 << 3 | 5);
        lafs_buf_put(b, &a->f, sizeof a->f);
    } else if (a->type == LAFS_ONNX_ATTR_INT) put_int(b, 3, (uint64_t)a->i);
    else if (a->type == LAFS_ONNX_ATTR_STRING) put_string(b, 4, a->s);
    else
        for (int64_t k = 0; k < a->i; k++) put_int(b, 8, (uint64_t)a->ints[k]);
    put_int(b, 20, (uint64_t)a->type);
}

void lafs_onnx_put_node(struct lafs_onnx_writer *w, const char *op, const char *output, const char *const *input,
                        int inputs, const struct lafs_onnx_attr *attr, int attrs)
{
    for (int i = 0; i < inputs; i++) put_string(&w->part, 1, input[i]);
    put_string(&w->part, 2, output);
    put_string(&w->part, 3, output);
    put_string(&w->part, 4, op);
    for (int i = 0; i < attrs; i++) {
        put_attr(&w->inner, &attr[i]);
        put_message(&w->part, 5, &w->inner);
    }
    put_message(&w->graph, 1, &w->part);
}

void lafs_onnx_put_tensor(struct lafs_onnx_writer *w, const char *name, int type, const int64_t *shape, int ndim,
                          const void *data)
{
    size_t count = 1, item = type == LAFS_ONNX_INT64 ? 8 : 4;
    for (int i = 0; i < ndim; i++) {
        put_int(&w->part, 1, (uint64_t)shape[i]);
        if (__builtin_mul_overflow(count, (size_t)shape[i], &count)) w->graph.failed = 1;
    }
    put_int(&w->part, 2, (uint64_t)type);
    put_string(&w->part, 8, name);
    if (count > MAX_MESSAGE / item) w->graph.failed = 1;
    if (!w->graph.failed) {
        /* The data goes straight to its place: it is most of the file. */
        varint(&w->inner, count * item);
        varint(&w->graph, 5 << 3 | 2);
        varint(&w->graph, w->part.size + 1 + w->inner.size + count * item);
        lafs_buf_put(&w->graph, w->part.data, w->part.size);
        w->graph.failed |= w->part.failed | w->inner.failed;
        put_bytes(&w->graph, 9, data, count * item);
    }
    lafs_buf_clear(&w->part);
    lafs_buf_clear(&w->inner);
}

void lafs_onnx_put_value(struct lafs_onnx_writer *w, int is_input, const char *name, const int64_t *shape, int ndim)
{
    struct lafs_buf dim, dims;
    lafs_buf_init(&dim);
    lafs_buf_init(&dims);
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) put_string(&dim, 2, "batch");
        else put_int(&dim, 1, (uint64_t)shape[i]);
        put_message(&dims, 1, &dim);
    }
    put_int(&w->inner, 1, LAFS_ONNX_FLOAT);
    put_message(&w->inner, 2, &dims);
    put_message(&dim, 1, &w->inner); /* the type */
    put_string(&w->part, 1, name);
    put_message(&w->part, 2, &dim);
    put_message(&w->graph, is_input ? 11 : 12, &w->part);
    lafs_buf_release(&dim);
    lafs_buf_release(&dims);
}

void lafs_onnx_put_meta(struct lafs_onnx_writer *w, const char *key, const char *value)
{
    put_string(&w->part, 1, key);
    put_string(&w->part, 2, value);
    put_message(&w->meta, 14, &w->part);
}

lafs_status lafs_onnx_finish(struct lafs_onnx_writer *w, int opset, const char *doc, const char *producer,
                             struct lafs_buf *out, struct lafs_err *err)
{
    size_t before = out->size;
    put_string(&w->graph, 2, "lafs");
    put_int(out, 1, IR_VERSION);
    put_string(out, 2, producer);
    put_string(out, 6, doc);
    put_int(&w->part, 2, (uint64_t)opset);
    put_message(out, 8, &w->part);
    lafs_buf_put(out, w->meta.data, w->meta.size);
    out->failed |= w->meta.failed;
    put_message(out, 7, &w->graph);
    LAFS_TRY(lafs_buf_check(out, err));
    if (out->size - before > MAX_MESSAGE)
        return lafs_fail(err, LAFS_FAILED, "an ONNX file holds at most 2 GiB, this model has %zu bytes",
                         out->size - before);
    return LAFS_OK;
}
