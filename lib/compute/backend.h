/* The op table: all that a backend (reference, CPU, CUDA) computes, and the only header that kernels/ sees.
 *
 * Rules, true everywhere:
 * - Tensors are row-major fp32 in device memory unless said otherwise; images are (n, h, w, c), channels last.
 * - Gradients of parameters accumulate (+=); gradients of activations are written (=), unless said otherwise.
 * - Outputs do not overlap inputs unless the op says that they may be the same.
 * - Ops are queued and return nothing. Errors are sticky and reported by `sync`.
 * - No result depends on the number of threads. A row's forward result depends on its own sequence or image alone,
 *   never on its neighbours in the batch. Parameter gradients are summed over tokens in a fixed order.
 * - Weights are as PyTorch stores them: linear (out, in); conv (out, in, k, k); depthwise (c, 1, k, k).
 * - A slot may be NULL only where "optional" is written, with its fallback.
 */
#ifndef LAFS_COMPUTE_BACKEND_H
#define LAFS_COMPUTE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "image/viewplan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LAFS_BACKEND_VERSION = 9 };

struct lafs_dev; /* a backend's state; every backend defines its own */
struct lafs_recording;

/* How the operands of products are taken; sums, and all else, are fp32 at least. */
enum lafs_precision {
    LAFS_PRECISION_FP32 = 0,
    LAFS_PRECISION_BF16,  /* rounded to bfloat16, to the nearest and to even where two are */
    LAFS_PRECISION_BF16X3 /* as the sum of two bfloat16, high + low: high high + high low + low high; near fp32 */
};

/* Slopes at kinks are those of PyTorch's relu and relu6: ReLU 0 at 0, h-sigmoid 0 at +-3, h-swish 0 at -3, 1 at 3. */
enum lafs_act {
    LAFS_ACT_NONE = 0,
    LAFS_ACT_RELU,
    LAFS_ACT_GELU,     /* exact: x/2 (1 + erf(x/sqrt 2)) */
    LAFS_ACT_HSWISH,   /* x relu6(x+3)/6 */
    LAFS_ACT_HSIGMOID, /* relu6(x+3)/6 */
    LAFS_ACT_SIGMOID
};

/* Packed sequences (views' tokens, images' pixels, single rows): sequence i is rows off[i]..off[i+1]-1. */
struct lafs_seqs {
    int64_t n;
    const int64_t *off;     /* (n+1), host; off[0] = 0 */
    const int64_t *dev_off; /* the same in device memory (equal to off on a CPU) */
    int64_t max_len;
};
static inline int64_t lafs_seqs_rows(const struct lafs_seqs *s) { return s->off[s->n]; }
/* Some sequences of a set, whole and in order: sequence i of `s` is sequence of[i] of the set. */
struct lafs_some {
    struct lafs_seqs s;
    const int64_t *of;      /* (s.n), host, ascending */
    const int64_t *dev_of;  /* the same in device memory */
};

/* Dropout. Element e (counted row-major inside its sequence, over the op's width) of sequence i is dropped iff the
 * 16-bit lane e%8 of Philox4x32-10(key[i], counter {lo(e/8), hi(e/8), site, 0}) < round(p*65536); lane l is word l/2's
 * low half for even l, high half for odd l. Kept ones are scaled by 1/(1-p). NULL or p = 0: identity. */
struct lafs_drop {
    float p;
    uint32_t site;       /* which dropout of the network */
    const uint64_t *key; /* (n) one per sequence, device */
};
/* Drop-path: sequence i's branch is dropped iff word 0 of Philox(key[i], {0, 0, site, 1}) < p*2^32; kept ones are
 * scaled by 1/(1-p). Same struct. */
static inline int lafs_path_dropped(float p, uint32_t site, uint64_t key)
{
    uint32_t counter[4] = {0, 0, site, 1}, word[4];
    if (p <= 0) return 0;
    lafs_philox(key, counter, word);
    return word[0] < (double)p * 0x1p32;
}

enum lafs_margin { LAFS_MARGIN_COSFACE = 0, LAFS_MARGIN_ARCFACE = 1 };

/* A soft target on two classes: lambda on a, 1-lambda on b (mixup); lambda = 1: one-hot. */
struct lafs_target {
    int64_t a, b;
    float lambda;
};

/* A parameter tensor inside the flat arrays. Host memory. */
struct lafs_segment {
    int64_t off, size;
};
/* How one optimiser step treats it. Device memory. */
struct lafs_rate {
    float lr, decay;            /* this step's, layer-wise scale included */
    float clip;                 /* > 0: gradient *= min(1, clip / (its norm + 1e-6)) */
    int32_t skip;               /* 1: no update at all this step (moments untouched) */
    double correct1, correct2;  /* 1 - beta1^n, 1 - beta2^n, n this tensor's update count, 1 for the first */
};

/* A row of a margin softmax whose classes are split among processes. Device memory. */
struct lafs_margin_row {
    struct lafs_target target;
    double factor;              /* of its gradient; 0: there is no such row */
};
/* The part of it that a process has: `classes` of all, from number `first` on. */
struct lafs_margin_part {
    int64_t rows, classes, first;
    const struct lafs_margin_row *row; /* (rows) device */
    enum lafs_margin kind;
    float s, m;                 /* s > 0 */
};

struct lafs_conv {  /* geometry of a convolution; padding (k-1)/2 on all sides */
    int64_t n, h, w, c;    /* input */
    int k, stride;
    int64_t out;           /* channels of the output (= c for depthwise) */
};
static inline int64_t lafs_conv_side(int64_t side, int k, int stride)
{
    return (side + 2 * ((k - 1) / 2) - k) / stride + 1;
}

/* A map of a network in training, kept as its convolution left it. Where mean is not NULL it stands for
 * act((conv - mean) rstd gamma + beta), else for conv itself. */
struct lafs_bn_map {
    float *conv;               /* (n,h,w,c) */
    const float *gamma, *beta; /* (c) */
    float *mean, *rstd;        /* (c) */
    enum lafs_act act;
};

/* A unit of a network in training: a convolution from what x stands for to y, which has a mean. */
struct lafs_bn_unit {
    struct lafs_conv g; /* 1x1: k and stride 1; or depthwise: out = c */
    int depthwise;
    const float *w;     /* (out,c), or (c,1,k,k) */
    int train;          /* y is normed by its own statistics; 0: by running ones */
    struct lafs_bn_map x, y;
};

/* An inverted bottleneck whose BatchNorms are folded into its convolutions, from x (h,w,c):
 *     t = act(x expand^T + expand_b)               (h,w,mid)
 *     u = depthwise(t, depth, k, stride) + depth_b (h',w',mid), h' = lafs_conv_side(h, k, stride)
 *     u = act(u), or with squeeze-and-excitation (se > 0)
 *     u = act(u hsigmoid(relu(mean(u) se1^T) se2^T)), the mean over all pixels
 *     y = u project^T + project_b (+ x if residual)  (h',w',out)
 * Weights are device memory. */
struct lafs_bottleneck {
    int64_t h, w, c, mid, out;
    int k, stride;
    int64_t se;                       /* width of the squeeze; 0: none */
    enum lafs_act act;
    int residual;                     /* 1: needs stride 1, out = c */
    const float *expand, *expand_b;   /* (mid,c), (mid) */
    const float *depth, *depth_b;     /* (mid,1,k,k), (mid) */
    const float *se1, *se2;           /* (se,mid), (mid,se) */
    const float *project, *project_b; /* (out,mid), (out) */
};

enum { LAFS_LINK_ID = 128 /* bytes */ };

/* Word `at` of a row of hits. */
struct lafs_hit_word {
    uint64_t bits;
    int64_t at;
};

/* A bfloat16 in memory: the upper half of a float. */
struct lafs_bf16 {
    uint16_t bits;
};
/* Ops over activations and their gradients that are bf16 in device memory, and a copy in bf16 of the weights: what the
 * ops of the same names compute in LAFS_PRECISION_BF16. What is read is taken as it is, sums and all that lies between
 * are fp32, and what is written as bf16 is rounded once, to the nearest. Residual streams, statistics and gradients of
 * parameters are fp32. Widths, 64 heads too, and strides are multiples of 8; arrays begin at multiples of 16 bytes. */
struct lafs_bf16_ops {
    void (*round)(struct lafs_dev *d, int64_t n, const float *x, struct lafs_bf16 *y);
    /* What act is applied to is rounded first, with `pre` or without. */
    void (*linear)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t in, int64_t out, const struct lafs_bf16 *x,
                   const struct lafs_bf16 *w, const struct lafs_bf16 *b, enum lafs_act act,
                   const struct lafs_drop *drop, struct lafs_bf16 *pre, struct lafs_bf16 *y);
    void (*linear_bwd_x)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t in, int64_t out,
                         const struct lafs_bf16 *dy, const struct lafs_bf16 *w, struct lafs_bf16 *dx);
    /* dw alone: a bias's gradient is of the op that makes dy. */
    void (*linear_bwd_w)(struct lafs_dev *d, int64_t rows, int64_t in, int64_t out, const struct lafs_bf16 *x,
                         const struct lafs_bf16 *dy, float *dw);
    /* dx = drop(dy) act'(pre): back through what linear does behind the product; dx may be dy. dbias (width), unless
     * NULL, += its column sums before it is rounded: the gradient of the layer's bias. */
    void (*act_bwd)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, enum lafs_act act,
                    const struct lafs_drop *drop, const struct lafs_bf16 *pre, const struct lafs_bf16 *dy,
                    struct lafs_bf16 *dx, float *dbias);
    void (*add_norm)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                     const struct lafs_some *from, const struct lafs_bf16 *branch, const struct lafs_drop *drop,
                     const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                     float *x_out, struct lafs_bf16 *y, float *mean, float *rstd);
    /* dbias: as above, of dbranch. */
    void (*add_norm_bwd)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                         const struct lafs_bf16 *dy, const float *x_out, const float *mean, const float *rstd,
                         const float *g, const struct lafs_some *from, const struct lafs_drop *drop,
                         const struct lafs_drop *path, float *dx, struct lafs_bf16 *dbranch, float *dg, float *db,
                         float *dbias);
    void (*attention)(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s, int64_t heads,
                      float scale, const struct lafs_bf16 *q, int64_t ldq, const struct lafs_bf16 *kv, int64_t ldkv,
                      struct lafs_bf16 *out, float *lse);
    void (*attention_bwd)(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s, int64_t heads,
                          float scale, const struct lafs_bf16 *q, int64_t ldq, const struct lafs_bf16 *kv, int64_t ldkv,
                          const struct lafs_bf16 *out, const float *lse, const struct lafs_bf16 *dout,
                          struct lafs_bf16 *dq, struct lafs_bf16 *dkv);
    void (*rows_gather)(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const struct lafs_bf16 *x,
                        struct lafs_bf16 *y);
    /* dx[row[i]] += dy[i] */
    void (*rows_add)(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const struct lafs_bf16 *dy,
                     struct lafs_bf16 *dx);
};

struct lafs_ops {
    uint32_t version; /* LAFS_BACKEND_VERSION */
    const char *name; /* "ref", "cpu", "cuda" */

    /* -- device -- */
    /* arg: "" or device number. pool: threads for CPU backends (may be NULL), borrowed until close. */
    lafs_status (*open)(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err);
    void (*close)(struct lafs_dev *d);
    /* One line: silicon, instruction set, library versions; belongs in checkpoints. */
    const char *(*describe)(struct lafs_dev *d);
    /* 256-byte aligned, zeroed */
    lafs_status (*alloc)(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err);
    void (*free)(struct lafs_dev *d, void *p);
    void (*upload)(struct lafs_dev *d, void *to, const void *from_host, size_t size); /* from_host: read on return */
    void (*download)(struct lafs_dev *d, void *to_host, const void *from, size_t size); /* complete on return */
    void (*copy)(struct lafs_dev *d, void *to, const void *from, size_t size);
    void (*zero)(struct lafs_dev *d, void *p, size_t size);
    lafs_status (*sync)(struct lafs_dev *d, struct lafs_err *err);

    /* -- a device's own memory: optional, all four; fallback: it has the machine's, and is not asked -- */
    /* Bytes that can still be taken, what ops hold for themselves included, and that there are. */
    lafs_status (*memory)(struct lafs_dev *d, size_t *available, size_t *all, struct lafs_err *err);
    /* A plan of d: a device that computes nothing and has no memory. alloc gives addresses that nobody may touch, ops
     * look at host memory only, what is downloaded is 0. Work that is done on it shows what it takes of d. */
    lafs_status (*plan)(struct lafs_dev **out, struct lafs_dev *d, struct lafs_err *err);
    /* Bytes that the work on a plan would have taken: of alloc at the worst moment, and of ops for themselves.
     * SIZE_MAX: more than there can be; alloc has failed. */
    size_t (*planned)(const struct lafs_dev *plan);
    /* Takes now what ops took for themselves on the plan: the same work on d will not have to. */
    lafs_status (*reserve)(struct lafs_dev *d, const struct lafs_dev *plan, struct lafs_err *err);

    /* -- recordings, of work that is done again on the same memory: optional, all four; fallback: to do it -- */
    /* What is queued from here on is not done, but recorded: ops, copies, zeros, and uploads, whose content is kept, as
     * are numbers that ops take by value. What is to vary lies in device memory. No alloc, free, download or sync until
     * it has been `recorded`. 0: nothing can be recorded. */
    int (*record)(struct lafs_dev *d);
    /* The end of it; NULL: it could not be recorded (ops wanted more memory, say), and is still to be done. The
     * recording is the caller's, until it is forgotten. */
    struct lafs_recording *(*recorded)(struct lafs_dev *d);
    /* Queues all of it. 0: it is out of date, since ops have taken other memory; nothing was queued. */
    int (*replay)(struct lafs_dev *d, struct lafs_recording *r);
    void (*forget)(struct lafs_dev *d, struct lafs_recording *r); /* NULL is fine */

    /* -- elementwise -- */
    void (*scale)(struct lafs_dev *d, int64_t n, float a, float *x);                        /* x *= a */
    void (*axpy)(struct lafs_dev *d, int64_t n, float a, const float *x, float *y);         /* y += a x */
    /* y = (float)m y + (float)(1-m) x: EMA; m (1) in double, since 1-m may be tiny */
    void (*lerp)(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y);
    /* dx = dy act'(pre); dx may be dy */
    void (*act_bwd)(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx);
    /* y may be x; its own backward */
    void (*dropout)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                    const float *x, float *y);
    void (*u8_to_f32)(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y);           /* x/127.5 - 1 */

    /* -- linear -- */
    /* y = drop(act(x w^T + b)). x (rows,in), w (out,in), b (out) or NULL, y (rows,out).
     * pre (rows,out) or NULL receives what act was applied to. */
    void (*linear)(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                   int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                   const struct lafs_drop *drop, float *pre, float *y);
    /* dx (rows,in) = dy (rows,out) w */
    void (*linear_bwd_x)(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                         int64_t out, const float *dy, const float *w, float *dx);
    /* dw (out,in) += dy^T x; db (out) += column sums of dy, unless NULL */
    void (*linear_bwd_w)(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                         const float *x, const float *dy, float *dw, float *db);

    /* -- transformer -- */
    /* x = [cls; proj rows] + pos[0..len-1], dropped. proj (rows - n, width): the tokens of sequence i start at row
     * off[i]-i. cls (width), pos (>= max_len, width), x (rows, width). */
    void (*assemble)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj, const float *cls,
                     const float *pos, const struct lafs_drop *drop, float *x);
    /* dproj written; dcls, dpos += */
    void (*assemble_bwd)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                         const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos);
    /* Residual, then LayerNorm: x_out = x + path(drop(branch)); y = LN(x_out) g + b, eps 1e-5, two-pass variance.
     * branch NULL: x_out not written, y = LN(x). g NULL: only the sum. x_out may be x. mean, rstd (rows) or NULL.
     * from: the sequences whose rows `branch` holds; for others x_out = x. to: those whose rows y, mean and rstd hold.
     * Either NULL: all. Keys of drop and path are those of s. */
    void (*add_norm)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                     const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                     const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                     float *x_out, float *y, float *mean, float *rstd);
    /* dx (rows,width) holds the gradient that reaches x_out from later layers; on return it is the gradient of x (and
     * x_out): dx += LN backward of dy (dy NULL: nothing added). dbranch, unless NULL, = that total through path and
     * drop. dg, db +=. x_out is the normalised input. to: the sequences whose rows dy, mean and rstd hold, from: those
     * of dbranch, as in add_norm. */
    void (*add_norm_bwd)(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                         const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                         const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                         float *dx, float *dbranch, float *dg, float *db);
    /* Softmax attention inside each sequence: the queries of sequence i of qs look at the keys of sequence i of s,
     * at least one of each. q (query rows, ldq): heads*64 floats of each row are read; kv (rows, ldkv): all heads of
     * k, then of v. A matrix (rows, 3*heads*64) of q, k and v serves as both: ldq = ldkv = 3*heads*64, kv = q +
     * heads*64, qs = s. out (query rows, heads*64). lse (query rows, heads) or NULL: log-sum-exp of the scaled
     * scores. scale > 0. Scores are products before they are scaled; v is multiplied by exp(score - the row's largest),
     * the sum of which divides last. */
    void (*attention)(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                      const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                      const float *kv, int64_t ldkv, float *out, float *lse);
    /* dq and dkv are laid out as q and kv. */
    void (*attention_bwd)(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                          const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                          const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                          float *dq, float *dkv);
    /* y (n,width) = x[row[i]]; and its backward: dx[row[i]] = dy[i], all other rows of dx zero; or, when add,
     * dx[row[i]] += dy[i] and nothing else. row (n): ascending. */
    void (*rows_gather)(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y);
    void (*rows_scatter)(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                         const float *dy, float *dx, int add);

    /* -- patches -- */
    /* Bilinear patches at landmarks: image i of images (n, side, side, 3) serves the landmarks rows of sequence i.
     * landmarks (rows,2): pixel index = value - 0.5. tokens (rows, p*p*3): first axis x, second y (the authors' order);
     * transposed = 0 gives first y, second x. Zero outside. */
    void (*patch_cut)(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                      const float *images, const float *landmarks, float *tokens);
    /* dlandmarks (rows,2) and dimages (n,side,side,3) written; either may be NULL. */
    void (*patch_cut_bwd)(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                          const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                          float *dimages);
    /* Grid patches, row-major, token = (y, x, channel): images (n,side,side,3) -> tokens (n, (side/p)^2, p*p*3). */
    void (*grid_cut)(struct lafs_dev *d, int64_t n, int side, int p, const float *images, float *tokens);

    /* -- convolution (channels last) -- */
    void (*conv)(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                 enum lafs_act act, float *y);          /* dense k x k; b may be NULL */
    void (*conv_bwd_x)(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
    void (*conv_bwd_w)(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
    void (*depthwise)(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                      enum lafs_act act, float *y);
    void (*depthwise_bwd_x)(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
    void (*depthwise_bwd_w)(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
    /* A separable convolution: y = act(depthwise(x w1^T + b1, w2) + b2), the depthwise part of geometry g; x (n,h,w,c),
     * w1 (out,c), b1 (out), w2 (out,1,k,k), b2 (out), y (n,h',w',out), not x. The bits of conv and depthwise.
     * Optional: fallback those two. */
    void (*separable)(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w1, const float *b1,
                      const float *w2, const float *b2, enum lafs_act act, float *y);
    /* BatchNorm over rows, eps 1e-5, two-pass variance, then act. train: batch statistics; running ones updated with
     * momentum (unbiased variance) unless NULL. Not train: run_mean, run_var are used. mean, rstd (c) receive what was
     * used. y may be x when not train. */
    void (*batchnorm)(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                      const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                      float *y, float *mean, float *rstd);
    /* dx written (may be dy); dgamma, dbeta +=. train as in the forward pass. */
    void (*batchnorm_bwd)(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                          const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                          float *dx, float *dgamma, float *dbeta);
    /* (n,hw,c) -> (n,c) */
    void (*channel_mean)(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y);
    /* add: dx += */
    void (*channel_mean_bwd)(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx, int add);
    /* y = act(x s), s (n,c): squeeze-and-excitation's last step. */
    void (*channel_scale)(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                          enum lafs_act act, float *y);
    void (*channel_scale_bwd)(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                              enum lafs_act act, const float *dy, float *dx, float *ds);
    /* Units: optional, all three; fallback linear or depthwise, batchnorm, axpy, over maps stored as what they stand
     * for. `unit` writes y.conv, the convolution of x; y.mean and y.rstd, and run_mean and run_var (out), as batchnorm
     * says. */
    void (*unit)(struct lafs_dev *d, const struct lafs_bn_unit *u, float momentum, float *run_mean, float *run_var);
    /* dy, dx: the gradients of what y and x stand for; dx, which is not dy, is written, plus, for 1x1, add unless NULL.
     * dw (as w), and dgamma and dbeta (out) of y, +=. The slopes (2,c) of a map are the sums over its rows of dz and of
     * dz (conv - mean), dz the gradient of what its act is given: where x has a mean they are written to of_x unless
     * NULL; of_y: what the unit behind this one wrote so of the same map and the same dy, or NULL. */
    void (*unit_bwd)(struct lafs_dev *d, const struct lafs_bn_unit *u, const float *dy, const float *of_y,
                     const float *add, float *dx, float *of_x, float *dw, float *dgamma, float *dbeta);
    /* y (rows,c) = what x, which has a mean, stands for, + add unless NULL; y may be add. */
    void (*unit_out)(struct lafs_dev *d, int64_t rows, int64_t c, const struct lafs_bn_map *x, const float *add,
                     float *y);
    /* Per row of t (n,width): theta = (t - min)/(max - min) * range; arg (n,2) receives the places of min and max. */
    void (*minmax)(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, float *theta,
                   int32_t *arg);
    void (*minmax_bwd)(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, const int32_t *arg,
                       const float *dtheta, float *dt);
    /* A chain of inverted bottlenecks, each map the next one's input; g: host. x (n,h,w,c) of the first block, y
     * (n,h',w',out) of the last. packed: bottlenecks_size bytes of device memory that
     * bottlenecks_pack has filled from the weights, which are not looked at afterwards. What a chain packs is what its
     * blocks pack, one behind the other: they may be packed one by one. Optional, all three: fallback linear,
     * depthwise, channel_mean, channel_scale, axpy. */
    size_t (*bottlenecks_size)(int count, const struct lafs_bottleneck *g);
    void (*bottlenecks_pack)(struct lafs_dev *d, int count, const struct lafs_bottleneck *g, void *packed);
    void (*bottlenecks)(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g, const void *packed,
                        const float *x, float *y);
    /* h, w even */
    void (*maxpool2)(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
    /* y (2h,2w) += nearest x2 of x */
    void (*upsample2_add)(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
    /* dx (n,h,w,c): dy (n,h/2,w/2,c) at the first largest of each 2x2 of x, row by row; 0 elsewhere. */
    void (*maxpool2_bwd)(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                         const float *dy, float *dx);
    /* dx (n,h,w,c) = sums of 2x2 of dy (n,2h,2w,c): ((a + b) + c) + d, row by row */
    void (*upsample2_bwd)(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx);

    /* -- heads and losses -- */
    /* y = x / max(norm, 1e-12) */
    void (*l2norm)(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm);
    void (*l2norm_bwd)(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                       const float *dy, float *dx, int add);
    /* DINO. student (vs*b, k), teacher (vt*b, k), view-major; student view i < vt is the same view as teacher view i.
     * loss (1, double) = mean over pairs t != s and over b of -sum softmax((T-c)/temp[1]) log softmax(S/temp[0]).
     * dstudent (vs*b,k), or NULL, written, = d loss * grad_scale. center_mean (k) = mean of all teacher rows.
     * stats (5, double): mean teacher entropy, mean KL(teacher view 0 || student of the pairs), mean max probability of
     * the teacher, share of classes that are some teacher row's maximum, entropy of the mean of the teacher rows. */
    void (*dino_loss)(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                      const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                      float *dstudent, float *center_mean, double *stats);
    /* Margin softmax. emb (b,dim), weight (classes,dim), both normalised inside. logits = s (cos - m y) (CosFace) or
     * s cos(acos(cos) + m y) (ArcFace where y > 0, cos cut to +-(1-1e-7)), y the soft target; loss (1,double) = mean
     * soft cross-entropy. target (b). demb written (NULL: forward only), dweight +=; both times grad_scale.
     * logits (b,classes) or NULL. scratch: margin_scratch bytes of device memory. The scale makes small errors large:
     * LAFS_PRECISION_BF16 is taken for LAFS_PRECISION_BF16X3 here. */
    size_t (*margin_scratch)(int64_t b, int64_t dim, int64_t classes);
    void (*margin_loss)(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                        const float *emb, const float *weight, const struct lafs_target *target, enum lafs_margin kind,
                        float s, float m, float grad_scale, void *scratch, double *loss, float *demb, float *dweight,
                        float *logits);
    /* The same over classes that are split, from the cosines (rows,classes) of those here, in three steps, between
     * which the processes tell each other numbers of rows. Without a row: -INFINITY, 0, 0.
     * most (rows,double) = the largest logit here. */
    void (*margin_most)(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most);
    /* sums (rows,2,double) = the sum of exp(logit - most), and of target x logit, here; most: the largest anywhere. */
    void (*margin_sums)(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                        double *sums);
    /* cosine becomes its gradient, factor (exp(logit - most) / sum - y) slope; sum (rows,double): of all processes. */
    void (*margin_slopes)(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                          float *cosine);
    /* loss (1,double) = weight * mean((a-b)^2), weight (1); da (n), unless NULL, += grad_scale * its gradient. */
    void (*mse)(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                double *loss, float *da);

    /* -- optimiser, over flat arrays -- */
    /* norm[i] (n) = L2 norm of segment i of x, summed in double. */
    void (*norms)(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm);
    /* One AdamW step in PyTorch's order: p -= lr decay p; moments; p -= lr/c1 m / (sqrt(v)/sqrt(c2) + eps), c1 and c2
     * the corrections of rate (n). norm (n): from `norms`, for clipping; NULL when no segment clips. The betas are
     * double: 1 - 0.999f is off by 1.3e-5. */
    void (*adamw)(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                  const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                  float *v);

    /* -- views -- */
    /* Carries out plan[i] on source[i] (h[i], w[i], 3 u8, host pointers). clean[i], augmented[i]: (out_size, out_size,
     * 3) u8, device; either array may be NULL. */
    void (*render)(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                   const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented);

    /* -- search -- */
    /* Which rows of a gallery are worth a closer look. D(i,j) = the integer dot product of q_i and g_j; bit j % 64 of
     * word j / 64 of row i of hits (nq, (m + 63) / 64) is 1 where D(i,j) >= c[i] x[j] - a[i] y[j] in float, 0
     * elsewhere and behind m. q (nq,dim) and g (m,dim) in [-63, 63], dim a multiple of 64; c, a (nq),
     * x, y (m); c may be -INFINITY, all x > 0. All device memory. */
    void (*scan)(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                 const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits);
    /* Of the words of hits (nq, words) those that are not 0, row by row: row i's are list[off[i]] to list[off[i+1]-1],
     * off (nq+1); from list[most] on nothing is written. So little travels where little was found. Optional; fallback:
     * to read hits. */
    void (*hit_list)(struct lafs_dev *d, int64_t nq, int64_t words, const uint64_t *hits, int64_t most, int64_t *off,
                     struct lafs_hit_word *list);

    /* -- devices of several processes, one each, that exchange by themselves: optional, all five; fallback: through the
     *    host (compute/comm.h, which is what calls them) -- */
    /* id: LAFS_LINK_ID bytes, made by one process and told to the others; NULL: could there be one? */
    lafs_status (*link_id)(struct lafs_dev *d, void *id, struct lafs_err *err);
    /* Of all `size` processes; returns when all have come, or within three minutes. LAFS_CUT: others were waited for in
     * vain. */
    lafs_status (*link_open)(struct lafs_dev *d, const void *id, int rank, int size, struct lafs_err *err);
    /* After that, in common: `gather` and `exchange` of struct lafs_comm_ops, on device memory. All that was queued
     * before is complete on return. After a failure there is no link any more. */
    lafs_status (*link_gather)(struct lafs_dev *d, void *all, size_t each, struct lafs_err *err);
    lafs_status (*link_exchange)(struct lafs_dev *d, const void *send, void *recv, size_t each, struct lafs_err *err);
    void (*link_close)(struct lafs_dev *d); /* no link: nothing happens */

    /* -- activations that are bf16 in memory: optional; fallback: fp32, rounded as operands of products -- */
    const struct lafs_bf16_ops *bf16;
};

/* The built-in backends. */
extern const struct lafs_ops lafs_ref_ops; /* plain loops: the truth in tests */
/* Fastest paths of this machine; slots that it does not better are the reference's. */
const struct lafs_ops *lafs_cpu_ops(void);

/* A plugin, `lafs-NAME.so`, exports one function under this name; it returns the plugin's table (static). The table's
 * `version` is read before anything else in it. */
#define LAFS_PLUGIN_ENTRY "lafs_plugin_ops"
typedef const struct lafs_ops *lafs_plugin_fn(void);

/* An opened device: what model code carries around. */
struct lafs_backend {
    const struct lafs_ops *ops;
    struct lafs_dev *dev;
    /* What ViT and heads ask of their products: LAFS_PRECISION_FP32 after lafs_backend_open, the opener's to change.
     * The landmark CNN and the detector are always in fp32. */
    enum lafs_precision precision;
};
/* name: "cpu", "ref", "cuda", "cuda:N" or "auto". On "auto" *why (unless why is NULL) receives the choice and the
 * reason; the text is static and stands until the next call.
 * "cuda" is the plugin lafs-cuda.so: looked for in the absolute directories of $LAFS_BACKEND_PATH (separated by
 * colons), then beside the program (compute/plugin.h); it stays loaded for the life of the process. LAFS_USAGE: no
 * such name or a bad device number; LAFS_FAILED: the device cannot be used, the message says why. */
lafs_status lafs_backend_open(struct lafs_backend *b, const char *name, struct lafs_pool *pool, const char **why,
                              struct lafs_err *err);
/* A plan of b's device (ops->plan, which must be there), with b's precision. Nothing of b is looked at afterwards. */
lafs_status lafs_backend_plan(struct lafs_backend *plan, const struct lafs_backend *b, struct lafs_err *err);
void lafs_backend_close(struct lafs_backend *b);
/* "fp32", "bf16" or "bf16x3"; 0 for another name. */
const char *lafs_precision_name(enum lafs_precision p);
int lafs_precision_by_name(const char *name, enum lafs_precision *out);

#ifdef __cplusplus
}
#endif
#endif
