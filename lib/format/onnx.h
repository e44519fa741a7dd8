/* ONNX files. Reading: nodes in graph order, initializers, metadata. Nothing is run. The file is not trusted: lengths,
 * counts, shapes and sizes are checked before use.
 *
 *     LAFS_TRY(lafs_onnx_parse(&o, data, size, err));
 *     for (i = 0; i < o->nodes; i++)
 *         if (!strcmp(o->node[i].op, "Conv")) w = lafs_onnx_find(o, o->node[i].input[1]);
 *
 * Writing: parts in any order, one call each; a failure is remembered until the end.
 *
 *     lafs_onnx_writer_init(&w);
 *     lafs_onnx_put_value(&w, 1, "input", (const int64_t[]){-1, 3}, 2);
 *     lafs_onnx_put_tensor(&w, "weight", LAFS_ONNX_FLOAT, (const int64_t[]){3, 5}, 2, weight);
 *     lafs_onnx_put_node(&w, "MatMul", "output", (const char *const[]){"input", "weight"}, 2, NULL, 0);
 *     lafs_onnx_put_value(&w, 0, "output", (const int64_t[]){-1, 5}, 2);
 *     LAFS_TRY(lafs_onnx_finish(&w, 17, "a product", "prog 1.0", &bytes, err));
 *     lafs_onnx_writer_release(&w);
 */
#ifndef LAFS_FORMAT_ONNX_H
#define LAFS_FORMAT_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { LAFS_ONNX_FLOAT = 1, LAFS_ONNX_INT64 = 7 }; /* TensorProto.DataType */
enum { LAFS_ONNX_MAX_DIMS = 8 };

struct lafs_onnx_tensor {
    const char *name;
    int type;                  /* TensorProto.DataType; only floats have data */
    int ndim;
    int64_t shape[LAFS_ONNX_MAX_DIMS];
    int64_t count;
    const float *data;         /* (count), row-major; NULL for other types */
};
struct lafs_onnx_node {
    const char *op, *name;
    const char **input;        /* (inputs) names of tensors; "" where an optional one is left out */
    int inputs;
    const char *output;        /* the first one; "" if none */
};
struct lafs_onnx {
    struct lafs_onnx_tensor *tensor; /* initializers, in the file's order */
    struct lafs_onnx_node *node;     /* in graph order */
    int tensors, nodes;
    struct lafs_onnx_meta {
        const char *key, *value;
    } *meta;                         /* metadata_props */
    int metas;
    void *priv;
};
/* Whether these bytes begin like such a file. */
int lafs_onnx_begins(const void *data, size_t size);
/* Of the bytes of a file, of which nothing is needed afterwards. LAFS_FAILED: no ONNX model, or a broken one. */
lafs_status lafs_onnx_parse(struct lafs_onnx **out, const void *data, size_t size, struct lafs_err *err);
void lafs_onnx_close(struct lafs_onnx *o);
const struct lafs_onnx_tensor *lafs_onnx_find(const struct lafs_onnx *o, const char *name); /* NULL: none */
/* "F32", "I64", ..: as safetensors calls TensorProto.DataType; "?" where it has no such type. */
const char *lafs_onnx_type_name(int type);

/* -- writing -- */

struct lafs_onnx_attr {
    const char *name;
    enum { LAFS_ONNX_ATTR_FLOAT = 1, LAFS_ONNX_ATTR_INT = 2, LAFS_ONNX_ATTR_STRING = 3, LAFS_ONNX_ATTR_INTS = 7 } type;
    float f;
    int64_t i;           /* INT; INTS: how many of ints */
    const char *s;
    const int64_t *ints;
};
struct lafs_onnx_writer {
    struct lafs_buf graph, meta, part, inner; /* messages under construction; sticky failure */
};
void lafs_onnx_writer_init(struct lafs_onnx_writer *w);
void lafs_onnx_writer_release(struct lafs_onnx_writer *w);
/* A node of one output; the node is called as its output is. Inputs come before: nodes stand in graph order. */
void lafs_onnx_put_node(struct lafs_onnx_writer *w, const char *op, const char *output, const char *const *input,
                        int inputs, const struct lafs_onnx_attr *attr, int attrs);
/* An initializer: floats or int64, row-major, copied. */
void lafs_onnx_put_tensor(struct lafs_onnx_writer *w, const char *name, int type, const int64_t *shape, int ndim,
                          const void *data);
/* A float input (or output) of the graph; a dimension of -1 is the free one called "batch". */
void lafs_onnx_put_value(struct lafs_onnx_writer *w, int is_input, const char *name, const int64_t *shape, int ndim);
void lafs_onnx_put_meta(struct lafs_onnx_writer *w, const char *key, const char *value);
/* The model appended to out. LAFS_FAILED: no memory, or more than the 2 GiB that protobuf allows. */
lafs_status lafs_onnx_finish(struct lafs_onnx_writer *w, int opset, const char *doc, const char *producer,
                             struct lafs_buf *out, struct lafs_err *err);

#endif
