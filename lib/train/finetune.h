/* Supervised training of Part fViT (or a grid ViT) with a margin softmax: stage 1, and stage 3 after pretraining. Spec
 * "Stages 1 and 3".
 *
 * Several processes: as in pretraining (train/pretrain.h). BatchNorm and mixup are those of a micro-batch; the running
 * statistics are averaged over the micro-batches in their order.
 *
 * The state changes only in the last part of a step, under a lock: BatchNorm's running statistics too, which the passes
 * of a step update in a scratch array. lafs_finetune_checkpoint may be called from another thread at any time. */
#ifndef LAFS_TRAIN_FINETUNE_H
#define LAFS_TRAIN_FINETUNE_H

#include <stdint.h>

#include "compute/backend.h"
#include "data/index.h"
#include "image/viewplan.h"
#include "model/part_fvit.h"
#include "train/fold.h"
#include "train/optim.h"
#include "train/run.h"
#include "train/split.h"

struct lafs_finetune_config {
    struct lafs_model_config model;
    int64_t images, classes;
    int64_t batch, micro;           /* batch = accumulation x micro */
    int64_t epochs, warmup_epochs;  /* 34, 5 */
    double lr, lr_final;            /* peak, end (1e-6) */
    struct lafs_decay decay;
    double layer_decay;             /* 0.58; 1: one learning rate (what the authors' code did) */
    double cnn_dropout;             /* before the landmark CNN's last layer, 0.5 */
    int landmarks_on_grid;          /* start the landmarks on a grid, instead of anywhere */
    int freeze_cnn;                 /* 1: landmark CNN in eval mode, not trained */
    double landmark_weight;         /* times the schedule of the regulariser; 0: off (the authors' default) */
    double landmark_constant;       /* > 0: this weight in every epoch instead of the schedule */
    enum lafs_margin margin;
    double scale, margin_m;         /* 64, 0.4 */
    double mixup_p, mixup_alpha;    /* 0.1, 0.2; p 0: off */
    struct lafs_train_views views;
    uint64_t seed;
    struct lafs_comm *comm;         /* the processes that share the micro-batches of a step; NULL: this one alone */
    /* 1: several processes share out the classes' weights (train/split.h), and results depend on their number by
     * rounding; 0: each has all of them */
    int split_classes;
    int plan_only;                  /* 1: parameters are declared and memory is counted; no step can follow */
    int rehearsal;                  /* 1: the backend is a plan (ops->plan): nothing has values */
    int validate;                   /* faces embedded at once between steps, on the same backend; 0: none are */
    int64_t max_pixels;
    /* a backend of its own on the same device: a thread then makes the next micro-batch on it (and on `pool`) while one
     * is used; NULL: each is made when it is wanted */
    const struct lafs_backend *ahead;
};
/* stage 1 or 3: the paper's numbers for a size. images, classes, batch, micro and lr are the caller's
 * (lafs_finetune_lr). */
lafs_status lafs_finetune_config_default(struct lafs_finetune_config *c, const char *size, int stage,
                                         struct lafs_err *err);
lafs_status lafs_finetune_config_check(const struct lafs_finetune_config *c, struct lafs_err *err);
/* The authors' peak: 1e-3 * (accumulation/480) * 336 * sqrt(micro/336). */
double lafs_finetune_lr(int64_t micro, int64_t accumulation);
static inline int64_t lafs_finetune_steps_per_epoch(const struct lafs_finetune_config *c)
{
    return c->images / c->batch;
}

/* The classes of an index: its names, sorted. LAFS_FAILED when a sample has no name, or there is only one. */
struct lafs_classes {
    const char **name;  /* (n) sorted; owned by the index */
    int64_t n;
    int64_t *label;     /* (index samples) */
};
lafs_status lafs_classes_init(struct lafs_classes *c, const struct lafs_index *ix, struct lafs_err *err);
void lafs_classes_release(struct lafs_classes *c);

struct lafs_finetune_report {
    int64_t step, epoch;
    double loss, cross_entropy, regulariser, lr, landmark_weight, grad_norm;
    double seconds, wait; /* of lafs_finetune_step: all, and those in which it stood still for want of data */
};

struct lafs_finetune;
/* ix, classes: borrowed; NULL when only lafs_finetune_learn is called. */
lafs_status lafs_finetune_open(struct lafs_finetune **out, const struct lafs_finetune_config *c,
                               const struct lafs_backend *b, struct lafs_pool *pool, const struct lafs_index *ix,
                               const struct lafs_classes *classes, struct lafs_err *err);
void lafs_finetune_close(struct lafs_finetune *t);
/* Takes parts (LAFS_PART_*) of a model file as the start; the frozen CNN of the regulariser is the CNN as it is at the
 * first step. */
lafs_status lafs_finetune_init_from(struct lafs_finetune *t, const char *path, int parts, struct lafs_err *err);
/* Takes the values that are in the array of the frozen CNN now (lafs_finetune_look) for its own. */
lafs_status lafs_finetune_keep_frozen(struct lafs_finetune *t, struct lafs_err *err);
int64_t lafs_finetune_step_number(const struct lafs_finetune *t);
int64_t lafs_finetune_steps(const struct lafs_finetune *t);
lafs_status lafs_finetune_step(struct lafs_finetune *t, struct lafs_finetune_report *r, struct lafs_err *err);

/* A micro-batch the caller made: images (n,112,112,3) device, already mixed; target (n) host; n <= micro. */
struct lafs_finetune_batch {
    const float *images;
    const struct lafs_target *target;
    const uint64_t *key_hash; /* (n) host: dropout */
    int64_t n;
};
/* Of the micro-batches 0 <= i < batch/micro of a step, those that are this process's. */
typedef lafs_status lafs_batch_fn(void *arg, int64_t i, struct lafs_finetune_batch *batch, struct lafs_err *err);
lafs_status lafs_finetune_learn(struct lafs_finetune *t, lafs_batch_fn *next, void *arg, struct lafs_finetune_report *r,
                                struct lafs_err *err);

/* Do all processes have the same state, to the bit? What is done in common. LAFS_FAILED, agreed on: one has another. */
lafs_status lafs_finetune_same(struct lafs_finetune *t, struct lafs_err *err);
/* Of several processes all call, and the first one fills it, once they have found that their states are the same. */
lafs_status lafs_finetune_checkpoint(struct lafs_finetune *t, struct lafs_ckpt *c, struct lafs_err *err);
lafs_status lafs_finetune_restore(struct lafs_finetune *t, const struct lafs_st *st, struct lafs_err *err);
/* Best verification figure so far and its epoch; part of the state. -1: none. */
double lafs_finetune_best(const struct lafs_finetune *t, int64_t *epoch);
void lafs_finetune_set_best(struct lafs_finetune *t, double figure, int64_t epoch);
/* Writes the model with its present values, and the classifier (loss.weight). As lafs_finetune_checkpoint. */
lafs_status lafs_finetune_save_model(struct lafs_finetune *t, const char *path, const struct lafs_st_meta *meta,
                                     int metas, struct lafs_err *err);
/* The model with its present values; of classes that are split, params have this process's part. */
const struct lafs_model *lafs_finetune_model(const struct lafs_finetune *t);
struct lafs_finetune_inside {
    struct lafs_params *params;
    const float *grad, *landmarks, *frozen_landmarks, *logits; /* device, of the last pass; logits: unless split */
    const double *grad_norm;
    float *frozen_cnn;        /* flat array of the frozen CNN's values (params layout); NULL without the regulariser */
};
void lafs_finetune_look(struct lafs_finetune *t, struct lafs_finetune_inside *in);
/* Bytes of device memory that the plan takes, and of the host's for what processes exchange; SIZE_MAX: more than there
 * can be. */
size_t lafs_finetune_memory(const struct lafs_finetune *t);
/* As lafs_pretrain_need. */
lafs_status lafs_finetune_need(const struct lafs_finetune_config *c, const struct lafs_index *ix,
                               const struct lafs_classes *classes, const struct lafs_backend *b, int reserve,
                               size_t *bytes, struct lafs_err *err);

#endif
