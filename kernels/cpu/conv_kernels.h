/* Inner loops of convolutions, one set per instruction set: what conv.c cuts work for. The sets are made from
 * conv_kernels.inc. A pixel's result is one chain of fused multiply-adds in an order that depends on the geometry
 * alone, so it is the same wherever the pixel lies in a tile. */
#ifndef LAFS_KERNELS_CPU_CONV_KERNELS_H
#define LAFS_KERNELS_CPU_CONV_KERNELS_H

#include "compute/backend.h"

enum { LAFS_CONV_MAX_K = 15 };

/* rows x cols outputs of a dense convolution or product:
 *   y[r][j] = act(bias[j] + sum over s < segs, q < run of a[s][r lda + q] panel[(s run + q) wide + j]) (+ add[r][j])
 * wide = cols rounded up to whole vectors; panel and bias are zero-padded to it. Vector v of row r is stored at
 * y + (place ? place[r] : r ldy) + v step. */
struct lafs_gemm_tile {
    int64_t rows, cols, wide;
    int64_t segs, run, lda;
    const float *const *a; /* (segs) */
    const float *panel;    /* (segs*run, wide), 64-byte aligned rows not needed */
    const float *bias;     /* (wide) or NULL */
    int more;              /* the sum goes on from y instead of bias: depth in steps, the same bits */
    enum lafs_act act;
    const float *add;      /* laid out as y, or NULL */
    float *y;              /* cols of each row written */
    int64_t ldy, step;
    const int32_t *place;  /* (rows) or NULL */
};

/* One output row of a depthwise convolution. */
struct lafs_dw_row {
    int64_t ow, w, c;
    int k, stride;
    const float *row[LAFS_CONV_MAX_K]; /* (w,c) input row under tap row ky; NULL: outside the image */
    const float *taps;  /* (k*k, cw): cw = c rounded up to whole vectors, zero-padded */
    int64_t cw;
    const float *bias;  /* (c) or NULL */
    enum lafs_act act;
    float *y;           /* (ow, c) */
};

/* c (m,n) += a^T b, a (depth,m), b (depth,n): each element one chain that goes on from c. */
struct lafs_cross_tile {
    int64_t depth, m, n;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
};

/* The gradient of the taps of one vector of channels, over output rows [from, to) of an image: pointers are at its
 * first channel. */
struct lafs_dw_grad {
    int64_t h, w, ow, c;
    int k, stride;
    int n;               /* lanes that there are */
    int64_t from, to;
    const float *x;      /* (..,w,c): input rows from `top` on, as far as they are needed */
    int64_t top;
    const float *dy;     /* (to-from,ow,c) */
    float *plane;        /* room for ((to - from - 1)*stride + k, w + 2*((k - 1)/2), lanes) */
    float *sum;          /* (k*k, lanes) */
};

/* A depthwise convolution of one vector of channels whose input rows lie padded in a plane: no tap leaves a row. */
struct lafs_dw_plane {
    int64_t oh, ow;
    int k, stride;
    const float *const *row; /* ((oh-1)*stride + k): where the plane's padded row begins; NULL: outside the image */
    int64_t off;             /* floats, added to each */
    const float *taps;       /* (k*k, lanes) */
    const float *bias;       /* (lanes) */
    enum lafs_act act;
    int n;                   /* lanes to be stored */
    float *y;                /* pixel (oy, ox) at y + (oy*ow + ox) * step */
    int64_t step;
    float *sum;              /* (lanes) += each row's sum, rows in order; or NULL */
};

/* Depthwise convolutions of several vectors of channels, pixel by pixel, so that an output's lines are written whole:
 * vector v of `vectors` is plane p with off + v * plane, its taps and bias behind each other, y + v * lanes; only the
 * last one has n lanes. No sums. */
struct lafs_dw_planes {
    struct lafs_dw_plane p;
    int64_t vectors, plane;
};

/* Rows of BatchNorm: z = (x - mean) scale + beta, scale = gamma/sqrt(var + eps), act(z). */
struct lafs_bn_tile {
    int64_t rows, c;
    enum lafs_act act;
    const float *x, *dy;               /* (rows,c) */
    const float *mean, *scale, *beta;  /* (c) */
    float *sum, *along;                /* (c), see bn_slopes and bn_back */
    const float *add;                  /* (rows,c) for bn_norm, or NULL */
    float *y;                          /* (rows,c) */
};

struct lafs_conv_kernels {
    int lanes;          /* floats in a vector */
    int panel;          /* widest panel, in floats */
    void (*gemm)(const struct lafs_gemm_tile *t);
    void (*dw_row)(const struct lafs_dw_row *r);
    void (*dw_plane)(const struct lafs_dw_plane *p);
    void (*dw_planes)(const struct lafs_dw_planes *p);
    /* y[i] = act(y[i] s), i < n vectors; s (lanes) */
    void (*scale)(int64_t n, const float *s, enum lafs_act act, float *y);
    /* One row of a depthwise convolution's gradient by its input: r->row[ky] is the row of outputs, (w,c), that saw it
     * under tap row ky, or NULL; y (ow,c) is written; no bias, act. */
    void (*dw_back_row)(const struct lafs_dw_row *r);
    /* Each tap's sum += sum over rows and pixels, in order, of dy x. */
    void (*dw_weight)(const struct lafs_dw_grad *t);
    void (*cross)(const struct lafs_cross_tile *t);
    /* sums[j] over the rows of x (rows,c), squares[j] = sum over rows of (x - mean)^2 */
    void (*bn_moments)(int64_t rows, int64_t c, const float *x, float *sums, float *squares);
    void (*bn_norm)(const struct lafs_bn_tile *t);   /* y = act(z) (+ add); y may be x */
    /* With dz = dy act'(z): sum = sum over rows of dz, along = sum over rows of dz (x - mean). */
    void (*bn_slopes)(const struct lafs_bn_tile *t);
    void (*bn_back)(const struct lafs_bn_tile *t);   /* y = (dz - (sum + (x - mean) along)) scale; y may be dy */
    /* y = act(x s) and its backward pass, x (rows,c), s (c): dx = dz s, ds += sum over rows of dz x */
    void (*channel_scale)(int64_t rows, int64_t c, const float *x, const float *s, enum lafs_act act, float *y);
    void (*channel_scale_back)(int64_t rows, int64_t c, const float *x, const float *s, enum lafs_act act,
                               const float *dy, float *dx, float *ds);
    void (*maxpool_row)(int64_t w, int64_t c, const float *x, float *y);  /* x: two rows (w,c); y (w/2,c) */
    void (*upsample_row)(int64_t w, int64_t c, const float *x, float *y); /* x (w,c); y (2w,c) += */
};

/* conv_kernels.c, conv_kernels_avx2.c, conv_kernels_avx512.c */
extern const struct lafs_conv_kernels lafs_conv_plain, lafs_conv_avx2, lafs_conv_avx512;
/* The set of lafs_isa_level(). */
const struct lafs_conv_kernels *lafs_conv_kernels(void);

#endif
