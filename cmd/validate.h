/* Verification of a model in training: pairs of photos in an index. */
#ifndef LAFS_CMD_VALIDATE_H
#define LAFS_CMD_VALIDATE_H

#include "compute/backend.h"
#include "data/index.h"
#include "eval/embset.h"
#include "eval/pairs.h"
#include "model/part_fvit.h"

struct validate {
    struct lafs_index *ix;
    struct lafs_fetch *fetch;
    struct lafs_pairs *pairs;
    struct lafs_wanted want; /* its rows: positions in the index */
    uint8_t *crops;     /* (photos, 112, 112, 3): decoded once */
    float *emb, *score; /* (photos, D) grown on first use, (pairs) */
    int64_t dim;
};
/* LAFS_FAILED names a photo of the pairs that the index does not have, or twice, or that is no 112 x 112 crop; or pairs
 * that are too few for folds. */
lafs_status validate_open(struct validate *v, const char *pairs, const char *index, struct lafs_err *err);
void validate_close(struct validate *v);
/* One digest of what is in both files. */
lafs_status validate_digest(const char *pairs, const char *index, char hex[65], struct lafs_err *err);
/* Faces embedded at once, at most. */
int validate_batch(const struct validate *v);
/* 10-fold accuracy, by lafs-verify's rule, of the model with its present values. */
lafs_status validate_run(struct validate *v, const struct lafs_model *m, const struct lafs_backend *b,
                         struct lafs_pool *pool, double *accuracy, struct lafs_err *err);

#endif
