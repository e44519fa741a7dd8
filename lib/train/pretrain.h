/* Self-supervised pretraining: LAFS, and DINO as its baseline. Spec "Stage 2".
 *
 *     lafs_pretrain_open(&t, &config, &backend, feed, err);
 *     while (lafs_pretrain_step_number(t) < lafs_pretrain_steps(t)) LAFS_TRY(lafs_pretrain_step(t, &report, err));
 *     lafs_pretrain_save_model(t, "model.safetensors", ...);
 *
 * Several processes hold the same state. Each learns from micro-batches of its own; what these give is added in their
 * order (train/fold.h), so that results are the same to the bit for any number of processes. A failure of one ends the
 * step of all (lafs_comm_agree).
 *
 * The state (student, teacher, moments, centre, cursor) changes only in the last part of a step, under a lock:
 * lafs_pretrain_checkpoint may be called from another thread at any time and finds the state after a whole step. */
#ifndef LAFS_TRAIN_PRETRAIN_H
#define LAFS_TRAIN_PRETRAIN_H

#include <stdint.h>

#include "compute/backend.h"
#include "format/safetensors.h"
#include "model/part_fvit.h"
#include "train/dino.h"
#include "train/feed.h"
#include "train/fold.h"
#include "train/run.h"

struct lafs_pretrain_config {
    struct lafs_model_config model; /* parts: LAFS_PART_VIT */
    struct lafs_dino_config head;
    struct lafs_pretrain_views views;
    struct lafs_point_rule points;
    int64_t images, batch, micro;   /* per epoch; per step; per pass: batch is a multiple of micro */
    int64_t epochs;
    double lr, lr_final;            /* peak (5e-4 * batch/256) and end (1e-6) */
    int64_t warmup_epochs;          /* 10 */
    double decay, decay_final;      /* 0.04 -> 0.4 */
    double momentum;                /* 0.996 -> 1 */
    double clip;                    /* 3; <= 0: none */
    int64_t freeze_last;            /* epochs without a gradient for the head's last layer: 1 */
    double temp_student;            /* 0.1 */
    double temp_first, temp;        /* teacher: 0.07 -> 0.04 over temp_epochs (30) */
    int64_t temp_epochs;
    double center_momentum;         /* 0.9 */
    int teacher_eval;               /* 0: dropout and drop-path act in the teacher too (the authors' code) */
    uint64_t seed;
    struct lafs_comm *comm;         /* the processes that share the micro-batches of a step; NULL: this one alone */
    int plan_only;                  /* 1: parameters are declared and memory is counted; no step can follow */
    int rehearsal;                  /* 1: the backend is a plan (ops->plan): nothing has values */
};
/* The paper's numbers for a size; lr for the batch. method_dino as in lafs_pretrain_views_default. */
lafs_status lafs_pretrain_config_default(struct lafs_pretrain_config *c, const char *size, int method_dino,
                                         struct lafs_err *err);
/* LAFS_USAGE when numbers do not fit together; images and batch must be set. */
lafs_status lafs_pretrain_config_check(const struct lafs_pretrain_config *c, struct lafs_err *err);
static inline int64_t lafs_pretrain_steps_per_epoch(const struct lafs_pretrain_config *c)
{
    return c->images / c->batch;
}

/* What a step did. */
struct lafs_pretrain_report {
    int64_t step, epoch;      /* number of this step, from 1; its epoch, from 0 */
    double loss, lr, decay, momentum, temp;
    double entropy, kl;       /* of the teacher; spec of dino_loss */
    double information;       /* nats, of which view it is: entropy of the mean teacher output less the mean entropy */
    double classes;           /* outputs that are the largest of some view of a micro-batch */
    /* Of the teacher's L2-normalised embeddings of the last micro-batch: mean over dimensions of their deviation, times
     * sqrt(D), near 0 is collapse; share of the global views of up to 32 images whose most similar other one is of
     * the same image. */
    double spread, found;
    double grad_norm;         /* over all tensors, before clipping */
    double seconds, wait;     /* of lafs_pretrain_step: all, and those in which it stood still for want of data */
};

struct lafs_pretrain;
/* feed may be NULL when only lafs_pretrain_learn is called; it is borrowed. */
lafs_status lafs_pretrain_open(struct lafs_pretrain **out, const struct lafs_pretrain_config *c,
                               const struct lafs_backend *b, struct lafs_feed *feed, struct lafs_err *err);
void lafs_pretrain_close(struct lafs_pretrain *t);
int64_t lafs_pretrain_step_number(const struct lafs_pretrain *t); /* steps done */
int64_t lafs_pretrain_steps(const struct lafs_pretrain *t);       /* steps in all */
/* One step from the feed. LAFS_FAILED: NaN, collapse, or bad input; the state is that after the step before. */
lafs_status lafs_pretrain_step(struct lafs_pretrain *t, struct lafs_pretrain_report *r, struct lafs_err *err);
/* One step from batches the caller made: next(arg, i, &batch) gives micro-batch i, 0 <= i < batch/micro, if this
 * process is the one that learns from it. */
typedef lafs_status lafs_next_fn(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err);
lafs_status lafs_pretrain_learn(struct lafs_pretrain *t, lafs_next_fn *next, void *arg, struct lafs_pretrain_report *r,
                                struct lafs_err *err);
/* Do all processes have the same state, to the bit? What is done in common. LAFS_FAILED, agreed on: one has another. */
lafs_status lafs_pretrain_same(struct lafs_pretrain *t, struct lafs_err *err);
/* The state as the contents of a checkpoint file; and back. Of several processes all
 * call, and the first one fills it, once they have found that their states are the same. */
lafs_status lafs_pretrain_checkpoint(struct lafs_pretrain *t, struct lafs_ckpt *c, struct lafs_err *err);
lafs_status lafs_pretrain_restore(struct lafs_pretrain *t, const struct lafs_st *st, struct lafs_err *err);
/* The teacher's ViT as a model file; with `cnn`, its landmark CNN too, so that the file embeds faces as it is. */
lafs_status lafs_pretrain_save_model(struct lafs_pretrain *t, const struct lafs_model *cnn, const char *path,
                                     const struct lafs_st_meta *meta, int metas, struct lafs_err *err);
/* Starts the ViT (student and teacher) from a model file. */
lafs_status lafs_pretrain_init_from(struct lafs_pretrain *t, const char *path, struct lafs_err *err);

/* For tests: the parameter table, student and teacher values, the optimiser, the centre (K), last logits and teacher's
 * embeddings. */
struct lafs_pretrain_inside {
    const struct lafs_params *params;
    float *student, *teacher, *center;
    const double *grad_norm;           /* (params->count) of the last step */
    const float *student_logits, *teacher_logits; /* (views*micro, K), (globals*micro, K) */
    const float *teacher_emb;          /* (globals*micro, D) */
};
void lafs_pretrain_look(struct lafs_pretrain *t, struct lafs_pretrain_inside *in);
/* Bytes of device memory that the plan takes, and of the host's for what processes exchange; SIZE_MAX: more than there
 * can be. */
size_t lafs_pretrain_memory(const struct lafs_pretrain *t);
/* Bytes that training takes with its feed from now on, until its model is saved; SIZE_MAX: more than there can be.
 * c, f, ix (NULL: a stream): as for lafs_pretrain_open and lafs_feed_index; b, data: the backends that they will be
 * given. Where the backend makes plans it is all device memory, what ops take for themselves included: a step is
 * rehearsed. Elsewhere it is lafs_pretrain_memory and lafs_feed_memory. reserve: 1: what ops of b and data take for
 * themselves is taken now, so that no step takes any. */
lafs_status lafs_pretrain_need(const struct lafs_pretrain_config *c, const struct lafs_feed_config *f,
                               const struct lafs_index *ix, const struct lafs_backend *b,
                               const struct lafs_backend *data, int reserve, size_t *bytes, struct lafs_err *err);

#endif
