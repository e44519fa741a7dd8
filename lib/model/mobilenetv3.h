/* The landmark CNN: MobileNetV3-large body on 112x112, mean, dropout, Linear, min-max. Spec "Landmark CNN".
 *
 * Three modes of the forward pass:
 *   train        running != NULL: BatchNorm uses the batch's statistics and updates the running ones
 *   eval, kept   running NULL, planned with LAFS_CNN_KEEP: running statistics, backward works
 *   eval, folded planned with LAFS_CNN_FOLDED: BatchNorm folded into the convolutions; fastest, no backward
 */
#ifndef LAFS_MODEL_MOBILENETV3_H
#define LAFS_MODEL_MOBILENETV3_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"
#include "compute/tensor.h"

enum { LAFS_CNN_BLOCKS = 15, LAFS_CNN_SIDE = 112, LAFS_CNN_OUT = 160, LAFS_CNN_DROP_SITE = 0x10000 };

struct lafs_bn_place { /* in the flat arrays, floats */
    int64_t gamma, beta, mean, var; /* (c) */
    int64_t tracked;                /* (1): batches seen, num_batches_tracked; an I64 scalar in files */
};
struct lafs_cnn_block {
    int64_t expand_w;               /* (e, c, 1, 1) */
    int64_t depth_w;                /* (e, 1, k, k) */
    int64_t se1_w, se2_w;           /* (e/4, e), (e, e/4); -1: no SE */
    int64_t project_w;              /* (o, e, 1, 1) */
    struct lafs_bn_place bn1, bn2, bn3;
};
struct lafs_cnn {
    int landmarks;                  /* R */
    float dropout;                  /* 0.5, before the last Linear */
    int64_t first_w;                /* (16, 3, 3, 3) */
    struct lafs_bn_place first_bn;
    struct lafs_cnn_block block[LAFS_CNN_BLOCKS];
    int64_t out_w, out_b;           /* (2R, 160), (2R): output_layer.1 */
};
/* The plan of bottleneck i, for those who write the network down elsewhere. */
struct lafs_cnn_plan_row {
    int kernel, stride, in, expansion, out, squeeze, residual; /* squeeze, residual: 0 or 1 */
    enum lafs_act act;
};
struct lafs_cnn_plan_row lafs_cnn_plan_of(int i);
#define LAFS_BN_EPS 1e-5
/* Share of a batch's statistics in BatchNorm's running ones. */
#define LAFS_CNN_MOMENTUM 0.1f
/* Adds the parameters to ps (`stn.features...`, `output_layer.1...`; running statistics as buffers), dropout 0.5. */
lafs_status lafs_cnn_declare(struct lafs_cnn *m, int landmarks, struct lafs_params *ps, struct lafs_err *err);
/* Sets the last layer's bias so that landmarks start, within a few pixels, on the centres of a grid of sqrt(R) x
 * sqrt(R) cells, row by row; but the first and the last in the picture's corners, which the min-max needs. */
void lafs_cnn_start_on_grid(const struct lafs_cnn *m, const struct lafs_backend *b, float *value);

enum lafs_cnn_mode { LAFS_CNN_FOLDED = 0, LAFS_CNN_KEEP = 1 };

/* Activations of one unit (convolution, BatchNorm, activation). */
struct lafs_cnn_unit {
    float *conv, *out;              /* (n, h, w, c): before BatchNorm, after the activation; out NULL: not stored */
    float *mean, *rstd;             /* (c) */
};
struct lafs_cnn_stage {
    struct lafs_cnn_unit u1, u2, u3;
    float *pool, *pre1, *hid, *pre2, *gate; /* SE: (n,e) (n,e/4) (n,e/4) (n,e) (n,e) */
    float *scaled;                  /* (n, h, w, e): after SE and its activation */
    float *folded[3], *bias[3];     /* LAFS_CNN_FOLDED: weights and biases with BatchNorm in them */
    float *sum;                     /* (n, h, w, o): output of the block */
};
struct lafs_cnn_work {
    const struct lafs_cnn *cnn;
    int64_t max_images;
    enum lafs_cnn_mode mode;
    /* of the last forward pass */
    int64_t n;
    const float *images;
    const uint64_t *keys;
    int train;
    /* host memory, owned */
    int64_t *off;
    /* device memory, carved */
    int64_t *dev_off;
    float *one;                     /* (1) = 1 */
    struct lafs_cnn_unit first;
    /* LAFS_CNN_FOLDED */
    float *first_folded, *first_bias;
    struct lafs_bottleneck chain[LAFS_CNN_BLOCKS];
    void *packed;                   /* the chain's weights; NULL where the backend has no op for it */
    struct lafs_cnn_stage stage[LAFS_CNN_BLOCKS];
    float *mean, *dropped, *raw;    /* (n,160), (n,160), (n,2R) */
    int32_t *arg;                   /* (n,2) */
    float *draw, *dmean;            /* (n,2R), (n,160) */
    float *da, *db, *dc;            /* scratch of the largest map */
    float *slopes[2];               /* (2, max e): what one unit's backward pass leaves for the next; else NULL */
    float *dgate, *dhid;            /* (n, max e), (n, max e/4) */
};
/* Called twice, around lafs_arena_reserve. Of b only the table is looked at: what it packs decides on the memory. */
lafs_status lafs_cnn_plan(struct lafs_cnn_work *w, const struct lafs_cnn *m, int64_t max_images,
                          enum lafs_cnn_mode mode, const struct lafs_backend *b, struct lafs_arena *a,
                          struct lafs_err *err);
/* The arena is the caller's. */
void lafs_cnn_work_release(struct lafs_cnn_work *w);
/* LAFS_CNN_FOLDED: (re)computes the folded weights; after planning, and whenever value has changed. value must stay,
 * since squeeze-and-excitation and the last layer are not folded. */
lafs_status lafs_cnn_fold(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value,
                          struct lafs_err *err);
/* images (n,112,112,3) in [-1,1]; landmarks (n,R,2) in 0..111. running: flat array whose running statistics are updated
 * (usually value itself), batch statistics in use; NULL: eval. keys (n) device: dropout; NULL: none. images must stay
 * until backward is done. */
void lafs_cnn_forward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running,
                      int64_t n, const float *images, const uint64_t *keys, float *landmarks);
/* Host memory. LAFS_FAILED: one of these n values is not finite: neither were the network's outputs for an image, or
 * they were all equal, so that the min-max had nothing to divide by. */
lafs_status lafs_cnn_check(const float *landmarks, int64_t n, struct lafs_err *err);
/* Of the last forward pass, planned with LAFS_CNN_KEEP: dlandmarks (n,R,2); grad +=; dimages (n,112,112,3) written
 * unless NULL. */
void lafs_cnn_backward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value,
                       const float *dlandmarks, float *grad, float *dimages);
/* The body alone: dmap (n,4,4,160) is the gradient of its last map, w->stage[LAFS_CNN_BLOCKS-1].sum; it is
 * overwritten. */
void lafs_cnn_body_backward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *dmap,
                            float *grad, float *dimages);

#endif
