/* A recogniser as an ONNX graph: aligned faces in, embeddings out, nothing else needed to run it.
 *
 *   input      (batch, 3, 112, 112) float, RGB planes, aligned by the five-point template; x/127.5 - 1, or 0..255
 *   embedding  (batch, D) float, not normalised
 *
 * Landmark CNN (BatchNorm folded into its convolutions), min-max, patches by GridSample, ViT; or patches of the grid.
 * A model that was trained on BGR gets its weights reordered: the input is RGB all the same. */
#ifndef LAFS_MODEL_ONNXEXPORT_H
#define LAFS_MODEL_ONNXEXPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "model/part_fvit.h"

enum { LAFS_ONNX_OPSET_MIN = 16, LAFS_ONNX_OPSET_MAX = 17 };

struct lafs_onnx_export {
    int opset;     /* 16: LayerNorm in small operations; 17: as one */
    int normalise; /* 0: the input is in [-1, 1]; 1: it is 0..255, and the graph begins with nodes Sub and Mul, by which
                    * InsightFace's tools tell that they need not */
    int mirror;    /* 1: the embedding of the image plus that of its mirror image, as lafs_embed gives it */
    const char *producer;
};
/* Appends the file to out, with `meta` as its metadata. LAFS_USAGE: the model cannot embed: a part is missing.
 * LAFS_FAILED: no memory, or too large. */
lafs_status lafs_model_to_onnx(const struct lafs_model *m, const struct lafs_backend *b,
                               const struct lafs_onnx_export *o, const struct lafs_st_meta *meta, int metas,
                               struct lafs_buf *out, struct lafs_err *err);

#endif
