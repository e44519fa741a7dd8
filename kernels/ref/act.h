/* The activations and their slopes, one value at a time. */
#ifndef LAFS_KERNELS_REF_ACT_H
#define LAFS_KERNELS_REF_ACT_H

#include <math.h>

#include "compute/backend.h"

static inline float lafs_relu6(float x) { return x < 0 ? 0 : x > 6 ? 6 : x; }

static inline float lafs_act_value(enum lafs_act act, float x)
{
    switch (act) {
    case LAFS_ACT_RELU: return x < 0 ? 0 : x;
    case LAFS_ACT_GELU: return (float)(0.5 * x * (1 + erf(x * M_SQRT1_2)));
    case LAFS_ACT_HSWISH: return x * lafs_relu6(x + 3) / 6;
    case LAFS_ACT_HSIGMOID: return lafs_relu6(x + 3) / 6;
    case LAFS_ACT_SIGMOID: return (float)(1 / (1 + exp(-(double)x)));
    case LAFS_ACT_NONE: break;
    }
    return x;
}

/* d act(x) / dx; at a kink, what PyTorch takes: 0 for ReLU at 0 and for h-sigmoid at +-3, h-swish's inner relu6 too. */
static inline float lafs_act_slope(enum lafs_act act, float x)
{
    switch (act) {
    case LAFS_ACT_RELU: return x > 0 ? 1.0f : 0.0f;
    case LAFS_ACT_GELU: {
        double phi = exp(-0.5 * (double)x * x) * (M_SQRT1_2 * M_2_SQRTPI * 0.5);
        return (float)(0.5 * (1 + erf(x * M_SQRT1_2)) + x * phi);
    }
    case LAFS_ACT_HSWISH: return lafs_relu6(x + 3) / 6 + (x > -3 && x < 3 ? x / 6 : 0.0f);
    case LAFS_ACT_HSIGMOID: return x > -3 && x < 3 ? 1.0f / 6 : 0.0f;
    case LAFS_ACT_SIGMOID: {
        double s = 1 / (1 + exp(-(double)x));
        return (float)(s * (1 - s));
    }
    case LAFS_ACT_NONE: break;
    }
    return 1;
}

#endif
