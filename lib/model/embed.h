/* From 8-bit crops to what the programs write: embeddings and landmarks. */
#ifndef LAFS_MODEL_EMBED_H
#define LAFS_MODEL_EMBED_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"
#include "compute/repeat.h"
#include "model/part_fvit.h"

/* A model for inference: crops in host memory in, results in host memory out. One caller at a time. Memory is planned
 * when the first crops come, for as many of them. */
struct lafs_embedder {
    const struct lafs_model *model; /* borrowed */
    const struct lafs_backend *backend;
    int batch;                      /* crops computed at once at most; the result does not depend on it */
    int purpose;
    float amplitude;                /* images are multiplied by it: 1, or what the caller sets after opening */
    int room;                       /* crops that memory is planned for: of the first call, of more the batch */
    struct lafs_arena arena;
    struct lafs_model_work work;
    struct lafs_cnn_work cnn;       /* landmarks only */
    uint8_t *crops, *flipped;       /* flipped: host */
    float *images, *emb, *landmarks;
    float *host;                    /* (2*batch, D) */
    float *found;                   /* (2*batch, R, 2) host: landmarks on the way to embeddings; NULL: none are */
    struct lafs_repeat embeddings_again, landmarks_again; /* whole batches are alike */
};
enum { LAFS_FOR_EMBEDDING = 1, LAFS_FOR_LANDMARKS = 2 };
/* purpose: LAFS_FOR_*: what it will be asked for. The model's values must stay as they are. */
lafs_status lafs_embedder_open(struct lafs_embedder *e, const struct lafs_model *m, const struct lafs_backend *b,
                               int batch, int purpose, struct lafs_err *err);
/* On a plan (ops->plan): an embedder is opened, given `batch` crops, and closed. */
lafs_status lafs_embedder_rehearse(const struct lafs_model *m, const struct lafs_backend *plan, int batch, int purpose,
                                   struct lafs_err *err);
/* Bytes of device memory that an embedder of these takes, where the backend makes plans (ops->plan): `batch` crops are
 * rehearsed. reserve: 1: what ops take for themselves is taken now. */
lafs_status lafs_embedder_need(const struct lafs_model *m, const struct lafs_backend *b, int batch, int purpose,
                               int reserve, size_t *bytes, struct lafs_err *err);
/* Gives back the memory that was planned for the first crops. */
void lafs_embedder_forget(struct lafs_embedder *e);
void lafs_embedder_close(struct lafs_embedder *e);
/* crops (n,112,112,3) u8, any n; emb (n,D): embedding of the image + that of its mirror, summed, not normalised. */
lafs_status lafs_embed(struct lafs_embedder *e, int64_t n, const uint8_t *crops, float *emb, struct lafs_err *err);
/* landmarks (n,R,2). */
lafs_status lafs_landmarks(struct lafs_embedder *e, int64_t n, const uint8_t *crops, float *landmarks,
                           struct lafs_err *err);

#endif
