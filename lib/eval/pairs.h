/* Protocol files: which photos are compared. Everything is checked; messages name file and line. */
#ifndef LAFS_EVAL_PAIRS_H
#define LAFS_EVAL_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* A set of texts, such as keys and names. Numbers are given in the order of adding. */
struct lafs_strset {
    struct lafs_buf text;  /* the keys, each with a NUL behind it, one after the other */
    size_t *at;            /* (count) offset of each */
    int64_t count, cap;
    int32_t *slot;         /* open addressing: key number + 1, or 0 */
    int64_t slots;
};
void lafs_strset_init(struct lafs_strset *k);
void lafs_strset_release(struct lafs_strset *k);
/* *id = the key's number, old or new. At most 2^30 keys. */
lafs_status lafs_strset_add(struct lafs_strset *k, const char *key, size_t len, int64_t *id, struct lafs_err *err);
/* -1: not there. */
int64_t lafs_strset_find(const struct lafs_strset *k, const char *key, size_t len);
const char *lafs_strset_at(const struct lafs_strset *k, int64_t id);

/* LFW-style pairs. Three forms, told apart by the first line:
 *   "10 300"       10 folds, each 300 lines `NAME i j` (same), then 300 `NAME1 i NAME2 j` (different)
 *   "500"          500 same, then 500 different; folds take a tenth of both
 *   no such line   `KEY1 KEY2 0|1` each; folds are contiguous tenths
 * Photo i of NAME has key NAME/NAME_%04d. */
struct lafs_pairs {
    struct lafs_strset photos, people;
    int64_t count;
    int32_t *a, *b;     /* (count) photo numbers */
    uint8_t *same;      /* (count) */
    int32_t *fold;      /* (count) in [0, folds) */
    int folds;
    int32_t *person; /* (photos.count) number in people; for keys without names the directory stands for the person, and
                        where no key has one, photos linked by pairs of the same person are one, named like the first */
};
/* LAFS_FAILED: cannot read, or malformed. */
lafs_status lafs_pairs_read(struct lafs_pairs **out, const char *path, struct lafs_err *err);
/* The same from memory; what: the name for messages. */
lafs_status lafs_pairs_parse(struct lafs_pairs **out, const char *text, size_t size, const char *what,
                             struct lafs_err *err);
void lafs_pairs_free(struct lafs_pairs *p);

/* IJB's `IMAGE template media` lines. */
struct lafs_ijb_images {
    struct lafs_strset photos;  /* image names without suffix */
    int64_t count;
    int32_t *photo;             /* (count) number in photos */
    int64_t *template_id, *media_id;
};
lafs_status lafs_ijb_images_read(struct lafs_ijb_images **out, const char *path, struct lafs_err *err);
void lafs_ijb_images_free(struct lafs_ijb_images *p);

/* IJB's `t1 t2 label` lines, template ids replaced by their position in ids (n, ascending); LAFS_FAILED when one is not
 * there. */
struct lafs_ijb_pairs {
    int64_t count;
    int32_t *a, *b;
    uint8_t *same;
};
lafs_status lafs_ijb_pairs_read(struct lafs_ijb_pairs **out, const char *path, const int64_t *ids, int64_t n,
                                struct lafs_err *err);
void lafs_ijb_pairs_free(struct lafs_ijb_pairs *p);
/* IJB's `IMAGE x1 y1 .. x5 y5 score` lines: score[i] of photo i of the set; NaN for photos that are not named. */
lafs_status lafs_ijb_scores_read(const char *path, const struct lafs_strset *photos, float *score,
                                 struct lafs_err *err);

#endif
