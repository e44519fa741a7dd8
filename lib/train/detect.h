/* Training of the face detector and of the refiner of points: the same loop around two tasks. A task makes its examples
 * from records and says how wrong the network's outputs are.
 *
 * Example i of step s depends on (seed, s, i) and the index alone. The state changes only in the last part of a step,
 * under a lock; lafs_dtrain_checkpoint may be called from another thread at any time. */
#ifndef LAFS_TRAIN_DETECT_H
#define LAFS_TRAIN_DETECT_H

#include <stdint.h>

#include "compute/backend.h"
#include "data/index.h"
#include "model/convnet.h"
#include "train/run.h"

enum { LAFS_DTRAIN_HEADS = 3, LAFS_DTRAIN_FIGURES = 4 };

struct lafs_dtrain_config;
/* What is learnt. Functions on examples are called from several threads, each with its own `i` and worker. */
struct lafs_dtrain_task {
    const char *name, *architecture;
    int side;                                 /* of the examples, which are square */
    int heads, head[LAFS_DTRAIN_HEADS];       /* units whose outputs are judged */
    const char *figure[LAFS_DTRAIN_FIGURES];  /* names of the figures of a loss, the first being the loss; NULL ends */
    lafs_status (*net)(struct lafs_convnet *net, struct lafs_err *err);
    /* ix: borrowed; workers: threads; of c: batch, no_mirror, max_pixels */
    lafs_status (*open)(void **task, const struct lafs_dtrain_config *c, const struct lafs_index *ix, int workers,
                        struct lafs_err *err);
    void (*close)(void *task);
    /* Example i of a step, drawn from the stream `key`: image (side,side,3) as the network takes it; what is true of it
     * stays with the task. */
    lafs_status (*make)(void *task, uint64_t key, int64_t i, int worker, float *image, struct lafs_err *err);
    /* Loss of example i: out[k] (h,w,c) of head k, gradient of the loss to d[k]; figures (LAFS_DTRAIN_FIGURES),
     * NAN: this example has no such figure. */
    void (*loss)(void *task, int64_t i, const float *const *out, float *const *d, double *figures);
    /* Turns the folded tensors into those of a model file, in place. */
    void (*finish)(struct lafs_convnet_folded *f);
};
extern const struct lafs_dtrain_task lafs_refiner_task, lafs_detector_task;

struct lafs_dtrain_config {
    const struct lafs_dtrain_task *task;
    int64_t batch, steps, warmup;
    double lr, lr_final, decay;
    double average; /* of the weights over steps: what is saved is their exponential mean; 0.998 */
    int no_mirror;  /* 1: no example is mirrored */
    uint64_t seed;
    int64_t max_pixels;
};
struct lafs_dtrain_report {
    int64_t step;
    double figure[LAFS_DTRAIN_FIGURES]; /* means over those examples of the batch that have it; 0: none has */
    double lr, grad_norm, seconds, wait; /* wait: the part of seconds in which examples were made */
};

struct lafs_dtrain;
/* b, pool, ix: borrowed. LAFS_USAGE: numbers that do not fit. */
lafs_status lafs_dtrain_open(struct lafs_dtrain **out, const struct lafs_dtrain_config *c, const struct lafs_backend *b,
                             struct lafs_pool *pool, const struct lafs_index *ix, struct lafs_err *err);
void lafs_dtrain_close(struct lafs_dtrain *t);
/* Takes the averaged weights of a checkpoint of another run as the start. */
lafs_status lafs_dtrain_init_from(struct lafs_dtrain *t, const struct lafs_st *checkpoint, struct lafs_err *err);
int64_t lafs_dtrain_step_number(const struct lafs_dtrain *t);
lafs_status lafs_dtrain_step(struct lafs_dtrain *t, struct lafs_dtrain_report *r, struct lafs_err *err);
lafs_status lafs_dtrain_checkpoint(struct lafs_dtrain *t, struct lafs_ckpt *c, struct lafs_err *err);
lafs_status lafs_dtrain_restore(struct lafs_dtrain *t, const struct lafs_st *st, struct lafs_err *err);
/* Writes the averaged weights as a model file, with `architecture` and the given lines of metadata. */
lafs_status lafs_dtrain_save(struct lafs_dtrain *t, const char *path, const struct lafs_st_meta *meta, int metas,
                             struct lafs_err *err);
int64_t lafs_dtrain_parameters(const struct lafs_dtrain *t);

#endif
