/* The embeddings that a protocol wants, gathered from a stream: all others pass by without being held. */
#ifndef LAFS_EVAL_EMBSET_H
#define LAFS_EVAL_EMBSET_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/record.h"
#include "eval/pairs.h"

/* The photos of one protocol, and where their embeddings are. A photo is found by the tail of a record's key:
 * "Ann/Ann_0001" as "Ann/Ann_0001" and as "lfw/Ann/Ann_0001". */
struct lafs_wanted {
    const struct lafs_strset *photos; /* borrowed */
    int64_t *row;                     /* (photos->count) row of the embedding, or -1; owned */
    int64_t found;
    int depths;                       /* bit d: some wanted key has d slashes */
};
lafs_status lafs_wanted_init(struct lafs_wanted *w, const struct lafs_strset *photos, struct lafs_err *err);
void lafs_wanted_release(struct lafs_wanted *w);
/* Gives `row` to the wanted photos that the sample of this key is, if any: w->found grows. LAFS_FAILED: one of them has
 * a row. */
lafs_status lafs_wanted_mark(struct lafs_wanted *w, const char *key, int64_t row, struct lafs_err *err);

/* Appends the sample's embedding to data, as floats. *dim: values that it must have, 0: any; set. LAFS_BAD_RECORD:
 * none, not finite, or all zero; LAFS_FAILED: of another size, or of several dimensions. */
lafs_status lafs_embedding_append(struct lafs_buf *data, int64_t *dim, const struct lafs_sample *sample,
                                  struct lafs_err *err);

struct lafs_embset {
    struct lafs_buf data;       /* (rows, dim) float, as they came */
    int64_t dim;                /* 0 before the first */
    int64_t rows, cap;
    int64_t seen;               /* samples offered, wanted or not */
    int64_t bad;                /* of them, wanted ones that were refused with LAFS_BAD_RECORD */
    int64_t faces;              /* of them, keys that end in -f0, -f1 ..: photos with several faces */
    struct lafs_strset keys;    /* the rows' keys */
    float *score;               /* (rows) field `score`; NaN where there is none */
    struct lafs_strset groups;  /* values of the group field, as text */
    int32_t *group;             /* (rows) number in groups */
};
void lafs_embset_init(struct lafs_embset *s);
void lafs_embset_release(struct lafs_embset *s);
static inline float *lafs_embset_data(const struct lafs_embset *s) { return (float *)(void *)s->data.data; }
/* Keeps the sample's embedding if one of the n protocols wants it. group: name of a field, or NULL.
 * LAFS_BAD_RECORD: a wanted photo has no embedding, or one that is not finite or all zero; it stays without a row.
 * LAFS_FAILED, with the key in the message: it is there twice (or two keys end alike), or its embedding has another
 * size. */
lafs_status lafs_embset_add(struct lafs_embset *s, struct lafs_wanted *w, int n, const struct lafs_sample *sample,
                            const char *group, struct lafs_err *err);
/* Keeps it whether wanted or not, as the next row. */
lafs_status lafs_embset_add_any(struct lafs_embset *s, const struct lafs_sample *sample, const char *group,
                                struct lafs_err *err);

#endif
