/* AdamW over the parameters of a model: flat gradient and moments, one segment a tensor.
 *
 * The state of training changes in lafs_optim_step alone: under the lock another thread may take it for a
 * checkpoint. */
#ifndef LAFS_TRAIN_OPTIM_H
#define LAFS_TRAIN_OPTIM_H

#include <pthread.h>
#include <stdint.h>

#include "compute/repeat.h"
#include "compute/tensor.h"

/* Which decay a tensor gets. */
struct lafs_decay {
    float matrix;  /* tensors of >= 2 dimensions (position embedding and CLS included) */
    float vector;  /* 1-D tensors and biases */
    float cnn;     /* tensors of >= 2 dimensions named stn.*; < 0: like `matrix` */
    int cnn_all;   /* stage 1: cnn covers 1-D tensors of stn.* and all of output_layer.* too */
};

struct lafs_optim {
    const struct lafs_backend *backend;
    struct lafs_params *params;
    float *grad, *m, *v;       /* (params->size) device */
    struct lafs_segment *seg;  /* (params->count) host */
    struct lafs_rate *rate;    /* (params->count) host: this step's; those of buffers have skip 1 for ever */
    struct lafs_rate *dev_rate;
    double *dev_norm;          /* (params->count), behind it dev_rate: device */
    int64_t *step;             /* (params->count) updates made so far */
    float *lr_scale;           /* (params->count) 1, or layer-wise */
    double *norm;              /* (params->count) of the last step's gradients, before clipping */
    float beta1, beta2, eps;
    pthread_mutex_t lock;      /* over what a step changes */
    _Atomic int64_t done;      /* steps that have changed it */
    struct lafs_repeat again;
};
/* params must be placed, and outlive o. */
lafs_status lafs_optim_init(struct lafs_optim *o, const struct lafs_backend *b, struct lafs_params *params,
                            struct lafs_err *err);
/* Bytes of a training's device memory: values, gradient, both moments, each tensor's norm and rate, and `rest`;
 * SIZE_MAX: more than there can be. */
size_t lafs_optim_memory(const struct lafs_params *params, size_t rest);
void lafs_optim_release(struct lafs_optim *o);
/* lr_scale[i] = rate^(layers + 1 - depth): 1 at the head, smaller below. rate 1: off. */
void lafs_optim_layer_decay(struct lafs_optim *o, double rate, int layers);
void lafs_optim_zero_grad(struct lafs_optim *o);

struct lafs_update {
    int64_t step;                /* number of the step: then so many are done */
    double lr;
    struct lafs_decay decay;
    double decay_scale;
    double clip;                 /* norm of a tensor's gradient; <= 0: none */
    const unsigned char *frozen; /* (params->count) or NULL: tensors left alone (no decay, no moments, no count) */
    /* Queues lafs_optim_update and what goes with it, the same work in every step: it may be recorded
     * (compute/repeat.h). */
    void (*queue)(void *arg);
    void *arg;
};
/* The part of a step that changes the state, under o->lock. LAFS_FAILED names step and tensor whose gradient is not
 * finite: nothing has changed then. */
lafs_status lafs_optim_step(struct lafs_optim *o, const struct lafs_update *u, struct lafs_err *err);
void lafs_optim_update(struct lafs_optim *o);
/* L2 norm of all gradients of the last step that counted, before clipping. */
double lafs_optim_norm(const struct lafs_optim *o);

#endif
