/* Small convolutional networks, trained and run: a list of units over the op table. What the face detector and the
 * refiner of points are made of.
 *
 *     LAFS_TRY(lafs_convnet_init(&net, unit, units, 3, err));            // parameters are declared
 *     LAFS_TRY(lafs_params_place(&net.params, &b, err)); LAFS_TRY(lafs_params_fill(&net.params, &b, seed, err));
 *     lafs_convnet_plan(&w, &net, n, side, side, LAFS_CONVNET_TRAIN, &arena);     // twice: measured, then carved
 *     lafs_convnet_forward(&w, &b, net.params.value, running, image);
 *     // gradients of heads go to lafs_convnet_grad(&w, head), then:
 *     lafs_convnet_backward(&w, &b, net.params.value, grad);
 */
#ifndef LAFS_MODEL_CONVNET_H
#define LAFS_MODEL_CONVNET_H

#include <stdint.h>

#include "compute/backend.h"
#include "compute/tensor.h"
#include "format/safetensors.h"

enum lafs_unit_kind {
    LAFS_UNIT_CONV,      /* dense 3x3, BatchNorm, ReLU; of the image only */
    LAFS_UNIT_SEPARABLE, /* 1x1, depthwise 3x3, BatchNorm, ReLU */
    LAFS_UNIT_HEAD,      /* 1x1, depthwise 3x3, a factor and a bias for each channel */
    LAFS_UNIT_POOL,      /* the largest of 2x2 */
    LAFS_UNIT_SUM        /* `in` + the nearest of `with`, which is half as large */
};
struct lafs_unit {
    enum lafs_unit_kind kind;
    int in, with; /* earlier units; in -1: the image */
    int out;      /* channels of CONV, SEPARABLE, HEAD; other units keep them */
    int stride;   /* of CONV: 1 or 2 */
};
enum { LAFS_CONVNET_UNITS = 40 };

struct lafs_convnet {
    struct lafs_unit unit[LAFS_CONVNET_UNITS];
    int c[LAFS_CONVNET_UNITS]; /* channels of each unit's output */
    int units, channels;       /* channels: of the image */
    struct lafs_params params;
    /* ids of parameters by unit: weight (out,in,3,3) or (out,in,1,1), depth (out,1,3,3), the others (out) */
    struct lafs_convnet_ids {
        int weight, depth, gamma, beta, mean, var;
    } id[LAFS_CONVNET_UNITS];
};
/* Copies the list. Parameters are called unit{i}.{weight,depth,gamma,beta,mean,var}. */
lafs_status lafs_convnet_init(struct lafs_convnet *net, const struct lafs_unit *unit, int units, int channels,
                              struct lafs_err *err);
void lafs_convnet_release(struct lafs_convnet *net, const struct lafs_backend *b);

/* The network's convolutions with all that follows them folded in: tensors conv{k}.weight and conv{k}.bias in the order
 * of the units (two convolutions for SEPARABLE and HEAD: 1x1, whose bias is 0, then depthwise). value: flat array,
 * device. */
struct lafs_convnet_folded {
    struct lafs_st_tensor t[4 * LAFS_CONVNET_UNITS];
    char name[4 * LAFS_CONVNET_UNITS][24];
    int tensors;
    float *data; /* owned: all tensors, one after the other */
};
lafs_status lafs_convnet_fold(const struct lafs_convnet *net, const struct lafs_backend *b, const float *value,
                              struct lafs_convnet_folded *f, struct lafs_err *err);
void lafs_convnet_folded_release(struct lafs_convnet_folded *f);

enum lafs_convnet_mode { LAFS_CONVNET_TRAIN, LAFS_CONVNET_INFER };
struct lafs_convnet_work {
    const struct lafs_convnet *net;
    enum lafs_convnet_mode mode;
    int64_t n, h, w; /* images, and their size */
    int train;       /* the last forward pass had batch statistics */
    const float *image;
    struct lafs_convnet_step {
        int64_t h, w;             /* of the output */
        float *mid, *conv, *out;  /* (n,h,w,c): after the 1x1, before and after normalisation */
        float *d;                 /* (n,h,w,c): gradient of out; TRAIN */
        float *mean, *rstd;       /* (c) */
        int has_d;                /* some gradient has been written to d */
        const float *weight, *bias, *depth, *point_bias; /* INFER: folded, device; the last one: of the 1x1 */
    } step[LAFS_CONVNET_UNITS];
    int64_t off[LAFS_CONVNET_UNITS][2]; /* 0 and the rows of each unit's output: as one sequence */
    int64_t *dev_off;             /* the same, device */
    float *scratch[2];            /* as large as the largest map */
    float *folded;                /* INFER: all folded tensors */
    size_t folded_size;           /* floats */
};
/* Memory for n images of (h, w, channels); h and w divisible by all that halves them. */
lafs_status lafs_convnet_plan(struct lafs_convnet_work *w, const struct lafs_convnet *net, int64_t n, int64_t h,
                              int64_t width, enum lafs_convnet_mode mode, struct lafs_arena *a, struct lafs_err *err);
/* INFER: takes the tensors that lafs_convnet_fold has made and a file holds. LAFS_FAILED names what differs. */
lafs_status lafs_convnet_load(struct lafs_convnet_work *w, const struct lafs_backend *b, const struct lafs_st *st,
                              struct lafs_err *err);
/* n images, at most those planned for. TRAIN: value holds all parameters; running (same layout) receives the running
 * statistics, NULL: they are used instead of the batch's. INFER: value and running are ignored. */
void lafs_convnet_forward(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *running,
                          int64_t n, const float *image);
/* Output of a unit (n, h, w, c), device. */
static inline const float *lafs_convnet_out(const struct lafs_convnet_work *w, int unit) { return w->step[unit].out; }
/* Where the caller puts the gradient of a unit's output before lafs_convnet_backward; it then counts. */
float *lafs_convnet_grad(struct lafs_convnet_work *w, int unit);
/* grad (flat, params layout) +=. The gradients given are used up. */
void lafs_convnet_backward(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *grad);

#endif
