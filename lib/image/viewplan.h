/* The plan of a view: which operations with which parameters. Drawn here, carried in records, carried out by the
 * `render` operation of a backend. A plan is the same wherever it is drawn: see the drawing functions. */
#ifndef LAFS_IMAGE_VIEWPLAN_H
#define LAFS_IMAGE_VIEWPLAN_H

#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lafs_view_kind { LAFS_VIEW_GLOBAL = 0, LAFS_VIEW_LOCAL = 1, LAFS_VIEW_TRAIN = 2 };

/* Operations on u8 RGB images, after spec "Augmentation, exactly" (PIL and torchvision semantics). */
enum lafs_view_op_kind {
    LAFS_OP_CROP_BICUBIC = 1, /* a: top, left, height, width (integers): cut out, resized to out_size, antialiased */
    LAFS_OP_CROP_BILINEAR,    /* the same with the triangle filter */
    LAFS_OP_FLIP,             /* mirror left-right */
    LAFS_OP_BRIGHTNESS,       /* a[0]: factor */
    LAFS_OP_CONTRAST,
    LAFS_OP_SATURATION,
    LAFS_OP_HUE,              /* a[0]: shift in turns, -0.5..0.5 */
    LAFS_OP_GRAY,
    LAFS_OP_BLUR,             /* a[0]: Gaussian sigma in pixels */
    LAFS_OP_SOLARIZE,         /* threshold 128 */
    LAFS_OP_ROTATE,           /* a[0]: degrees, counter-clockwise; a[1]: 0 bilinear, 1 bicubic; fill 128 */
    LAFS_OP_SHEAR_X,          /* a[0]: factor; a[1] as above */
    LAFS_OP_SHEAR_Y,
    LAFS_OP_TRANSLATE_X,      /* a[0]: pixels; a[1] as above */
    LAFS_OP_TRANSLATE_Y,
    LAFS_OP_AUTOCONTRAST,
    LAFS_OP_EQUALIZE,
    LAFS_OP_INVERT,
    LAFS_OP_POSTERIZE,        /* a[0]: bits kept */
    LAFS_OP_SHARPNESS,        /* a[0]: factor */
    LAFS_OP_ERASE             /* a: top, left, height, width, set to 0 */
};

struct lafs_view_op {
    int32_t kind; /* enum lafs_view_op_kind */
    float a[4];
};

enum { LAFS_VIEW_MAX_OPS = 20, LAFS_VIEW_MAX_SIZE = 1024 };

struct lafs_viewplan {
    int32_t kind;      /* enum lafs_view_kind */
    int32_t out_size;  /* side of the result in pixels: 112, or 48 (DINO local) */
    int32_t clean_ops; /* the clean crop is what the first clean_ops operations give */
    int32_t ops;       /* all operations: the augmented copy */
    struct lafs_view_op op[LAFS_VIEW_MAX_OPS];
};

/* LAFS_BAD_RECORD unless `render` can carry out the plan on a source of w x h pixels: known operations with finite
 * parameters in range, crops and erasures inside, the result (and the clean crop) out_size x out_size. w = 0: the
 * source is not known; everything but the fit of the source is checked. */
lafs_status lafs_viewplan_check(const struct lafs_viewplan *plan, int w, int h, struct lafs_err *err);

/* How pretraining draws views; the defaults are the paper's. */
struct lafs_pretrain_views {
    int method_dino;          /* 0: LAFS (all views out_size 112, scale 0.4-1); 1: DINO (local 48, scale 0.05-0.4) */
    int globals, locals;      /* 2, 8 */
    float global_scale[2], local_scale[2];
    int size, local_size;     /* 112, 112 (LAFS) or 48 (DINO) */
};
void lafs_pretrain_views_default(struct lafs_pretrain_views *v, int method_dino);
/* plan[0..globals+locals): drawn from (seed, LAFS_RNG_VIEW, epoch, FNV of key, view number). w, h: the source. */
void lafs_plan_pretrain(const struct lafs_pretrain_views *v, int w, int h, uint64_t seed, int64_t epoch,
                        const char *key, struct lafs_viewplan *plan);

/* How fine-tuning augments: flip, RandAugment, crop, jitter, erasing, each can be off. */
struct lafs_train_views {
    int size;             /* 112 */
    int flip;             /* 1: p 0.5 */
    float randaugment_m;  /* magnitude 1 (WebFace4M) or 2 (MS1MV3); < 0: off */
    float crop_scale_min; /* 0.9; 1: off */
    float jitter;         /* 0.1, of hue 0.5 at most; 0: off */
    float erase_p;        /* 0.5; 0: off */
};
void lafs_train_views_default(struct lafs_train_views *v);
void lafs_plan_train(const struct lafs_train_views *v, int w, int h, uint64_t seed, int64_t epoch, const char *key,
                     struct lafs_viewplan *plan);

/* Landmark perturbation and subset of a view (spec "Stage 2"), drawn from (seed, LAFS_RNG_PERTURB, epoch, FNV of key,
 * view number): for each of R landmarks N(0, sigma^2) pixels by x and y; then, for local views, `subset` indices with
 * replacement from 0..R-1. Either can be had without the other, and the noise of some landmarks without that of all. */
void lafs_plan_subset(int R, int subset, uint64_t seed, int64_t epoch, const char *key, int view, int32_t *index);
/* noise (n,2): of the landmarks index[0..n-1], or of 0..n-1 where index is NULL. */
void lafs_plan_noise(float sigma, int n, const int32_t *index, uint64_t seed, int64_t epoch, const char *key, int view,
                     float *noise);

#ifdef __cplusplus
}
#endif
#endif
