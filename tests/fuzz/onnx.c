/* Any bytes as an ONNX file: what opens is read to its last value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/onnx.h"
#include "model/detector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_err err;
    struct lafs_onnx *o;
    struct lafs_detector_tensors ts;
    if (lafs_onnx_parse(&o, data, size, &err) != LAFS_OK) return 0;
    volatile float sink = 0; /* read every byte */
    size_t text = 0;
    for (int i = 0; i < o->tensors; i++) {
        const struct lafs_onnx_tensor *t = &o->tensor[i];
        for (int64_t k = 0; t->data && k < t->count; k++) sink = t->data[k];
        text += strlen(t->name);
        if (i < 64 && !lafs_onnx_find(o, t->name)) abort();
    }
    for (int i = 0; i < o->nodes; i++) {
        text += strlen(o->node[i].op) + strlen(o->node[i].name) + strlen(o->node[i].output);
        for (int k = 0; k < o->node[i].inputs; k++) text += strlen(o->node[i].input[k]);
    }
    (void)sink;
    if (text > size) abort();
    lafs_detector_from_onnx(o, &ts, &err);
    lafs_onnx_close(o);
    return 0;
}
