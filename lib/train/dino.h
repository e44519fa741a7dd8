/* The DINO head (Linear GELU Linear GELU Linear, L2 normalise, weight-normalised Linear without bias, g frozen at 1)
 * and its place in a student and a teacher that share one parameter table. */
#ifndef LAFS_TRAIN_DINO_H
#define LAFS_TRAIN_DINO_H

#include <stdint.h>

#include "compute/tensor.h"

struct lafs_dino_config {
    int64_t dim;        /* D of the backbone */
    int64_t hidden;     /* 2048 */
    int64_t bottleneck; /* 256 */
    int64_t out;        /* K, 100000 */
};

struct lafs_dino_head {
    struct lafs_dino_config cfg;
    int w0, b0, w2, b2, w4, b4, g, v; /* ids in the table */
};
/* Declares head.mlp.{0,2,4}.{weight,bias}, head.last_layer.weight_g (not trained) and weight_v. depth: layer-wise id.
 * */
lafs_status lafs_dino_declare(struct lafs_dino_head *h, const struct lafs_dino_config *cfg, struct lafs_params *ps,
                              int depth, struct lafs_err *err);

/* Activations of one pass over at most `rows` rows. */
struct lafs_dino_work {
    int64_t rows;
    float *pre0, *h0, *pre2, *h2; /* (rows, hidden) */
    float *z, *zn, *norm;         /* (rows, bottleneck) x2, (rows) */
    float *wn, *wnorm;            /* (K, bottleneck), (K): normalised last layer */
    float *logits;                /* (rows, K) */
    /* backward */
    float *dlogits;               /* (rows, K): in */
    float *dwn;                   /* (K, bottleneck) */
    float *dz, *dh;               /* (rows, bottleneck), (rows, hidden) */
};
/* train 0 leaves out what only the backward pass needs. */
void lafs_dino_plan(struct lafs_dino_work *w, const struct lafs_dino_config *cfg, int64_t rows, int train,
                    struct lafs_arena *a);
/* emb (rows, D) -> w->logits (rows, K). s: single-row sequences, s->n <= w->rows. */
void lafs_dino_forward(const struct lafs_dino_head *h, const struct lafs_backend *b, const struct lafs_params *ps,
                       const float *value, const struct lafs_seqs *s, const float *emb, struct lafs_dino_work *w);
/* From w->dlogits: demb (rows, D) written, grad (flat) +=. last: 0 leaves weight_v without a gradient (frozen). */
void lafs_dino_backward(const struct lafs_dino_head *h, const struct lafs_backend *b, const struct lafs_params *ps,
                        const float *value, const struct lafs_seqs *s, const float *emb, struct lafs_dino_work *w,
                        int last, float *demb, float *grad);

#endif
