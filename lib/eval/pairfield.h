/* Pairs that the records themselves state, in the field `pair` ([number, same]): those of verification sets. */
#ifndef LAFS_EVAL_PAIRFIELD_H
#define LAFS_EVAL_PAIRFIELD_H

#include "data/record.h"
#include "eval/pairs.h"

struct lafs_pairfield {
    struct lafs_half {
        int64_t pair, photo; /* photo: its number, in the order of adding */
        int same;
    } *half;                 /* (count) */
    int64_t count, cap;
    struct lafs_strset keys; /* (count) */
};
/* LAFS_FAILED, with the key in the message: no such field, a malformed one, or a key that was there before. */
lafs_status lafs_pairfield_add(struct lafs_pairfield *f, const struct lafs_sample *s, struct lafs_err *err);
/* The pairs by their number, in ten folds of neighbours; photo i is the i-th that was added. One whose other half did
 * not come is paired with one of a key that is not there. LAFS_FAILED: a third photo of a pair, halves that contradict
 * each other, no pairs at all. */
lafs_status lafs_pairfield_pairs(struct lafs_pairfield *f, struct lafs_pairs **out, struct lafs_err *err);
void lafs_pairfield_release(struct lafs_pairfield *f);

#endif
