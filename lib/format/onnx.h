/* Reading the weights of an ONNX file: its nodes in graph order and its initializers. Nothing is run. The file is not
 * trusted: lengths, counts, shapes and sizes are checked before use.
 *
 *     LAFS_TRY(lafs_onnx_open(&o, "yunet.onnx", err));
 *     for (i = 0; i < o->nodes; i++)
 *         if (!strcmp(o->node[i].op, "Conv")) w = lafs_onnx_find(o, o->node[i].input[1]);
 */
#ifndef LAFS_FORMAT_ONNX_H
#define LAFS_FORMAT_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { LAFS_ONNX_FLOAT = 1 }; /* TensorProto.DataType */
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
    void *priv;
};
lafs_status lafs_onnx_open(struct lafs_onnx **out, const char *path, struct lafs_err *err);
/* The same from memory; nothing of it is needed afterwards. LAFS_FAILED: no ONNX model, or a broken one. */
lafs_status lafs_onnx_parse(struct lafs_onnx **out, const void *data, size_t size, struct lafs_err *err);
void lafs_onnx_close(struct lafs_onnx *o);
const struct lafs_onnx_tensor *lafs_onnx_find(const struct lafs_onnx *o, const char *name); /* NULL: none */

#endif
