/* The margin softmax over classes that are split among processes: process r holds the weights of a range of them.
 * Exact: the same sums as of the op margin_loss, in another order.
 *
 * In a pass all processes meet: the embeddings and targets of all micro-batches are gathered, each process takes their
 * cosines with its own classes, two or three numbers a row are told to the others (largest logit, sum of exponentials,
 * target's logit), and the gradients of the embeddings go back to where these came from; embeddings and gradients from
 * device to device where these are linked. Cosines, and the gradients of the weights, stay where the weights are. */
#ifndef LAFS_TRAIN_SPLIT_H
#define LAFS_TRAIN_SPLIT_H

#include <stdint.h>

#include "compute/comm.h"
#include "compute/tensor.h"
#include "format/safetensors.h"

struct lafs_split {
    struct lafs_comm *comm;
    const struct lafs_backend *b;
    int64_t dim, classes, micro, rows; /* rows: ranks x micro */
    int64_t first, count;          /* own classes */
    enum lafs_margin kind;
    double scale, margin;
    /* device */
    float *emb, *unit, *norm;      /* (rows, dim) x2, (rows): gathered, and normalised; then emb: what comes back */
    float *weight_unit, *weight_norm, *dweight_unit; /* (count, dim), (count), (count, dim) */
    float *cosine;                 /* (rows, count), and its gradient */
    float *dunit;                  /* (rows, dim) */
    int64_t *dev_off;
    struct lafs_margin_row *dev_row; /* (rows) */
    double *dev_most, *dev_sums;   /* (rows), (rows, 2) */
    /* host */
    int linked;                    /* 1: devices exchange by themselves */
    int64_t *off;
    float *host_rows;              /* (2, rows, dim), unless linked */
    struct lafs_margin_row *row;   /* (rows) gathered */
    double *most, *sums;           /* (ranks + 1, rows), (ranks + 1, rows, 2): by process, then of all */
};
/* The range of a process. */
void lafs_split_range(const struct lafs_comm *comm, int64_t classes, int64_t *first, int64_t *count);
/* Fields up to `margin` are the caller's, set before; carve twice (see struct lafs_arena). */
void lafs_split_carve(struct lafs_split *s, struct lafs_arena *a);
lafs_status lafs_split_init(struct lafs_split *s, struct lafs_err *err); /* after the second carving */
void lafs_split_release(struct lafs_split *s);
size_t lafs_split_memory(const struct lafs_split *s); /* bytes of the host's that init takes */

/* Of a step: weight (count, dim) is normalised once; in the end, grad (count, dim) += its gradient. */
void lafs_split_begin(struct lafs_split *s, const float *weight);
void lafs_split_end(struct lafs_split *s, float *grad);
/* A pass, of all processes. n: embeddings of this one's micro-batch, emb (n, dim) device, target (n) host; 0: it has
 * none. *loss: mean cross-entropy of the micro-batch; demb (n, dim) device: its gradient, times share. */
lafs_status lafs_split_pass(struct lafs_split *s, int64_t n, const float *emb, const struct lafs_target *target,
                            double share, double *loss, float *demb, struct lafs_err *err);

/* value (count, dim) device, of all processes: whole (classes, dim) host, at the first process; NULL at the others. */
lafs_status lafs_split_gather(const struct lafs_split *s, const float *value, float *whole, struct lafs_err *err);
/* This process's part of a tensor (classes, dim) of a file. */
lafs_status lafs_split_read(const struct lafs_split *s, const struct lafs_st *st, const char *name, float *value,
                            struct lafs_err *err);

#endif
