/* What pretraining learns from: the tokens of all views of a micro-batch of images, in epoch order; from an index
 * (everything is made here) or from a stream of patches (made by lafs-augment --render | lafs-landmark | lafs-patch).
 * Both give the same bits, made ahead by a thread of its own or not. */
#ifndef LAFS_TRAIN_FEED_H
#define LAFS_TRAIN_FEED_H

#include <stdint.h>

#include "data/index.h"
#include "data/stream.h"
#include "image/viewplan.h"
#include "model/part_fvit.h"
#include "model/viewtokens.h"
#include "train/fold.h"

struct lafs_feed_config {
    struct lafs_pretrain_views views;
    struct lafs_point_rule points;
    int micro;             /* images of a micro-batch */
    int64_t per_epoch;     /* micro-batches of an epoch: whole batches of them */
    int64_t epochs;        /* nothing is read ahead beyond */
    struct lafs_turns turns; /* several processes: which micro-batches are made here; of 0 ranks: all */
    int ahead;             /* 1: while a micro-batch is used, a thread makes the next one */
    uint64_t seed;
    int64_t max_pixels;
    int plan_only;         /* 1: memory is counted; nothing can be taken */
    /* its landmark CNN sees the clean crops, in eval mode; NULL: grid landmarks, or DINO */
    const struct lafs_model *cnn;
};

struct lafs_feed_batch {
    const float *tokens;       /* device; view-major: (view, image, lafs_view_tokens of the view, p*p*3) */
    const uint64_t *key_hash;  /* (n) host: FNV-1a-64 of the images' keys; both stand until the next call */
    int64_t n;
};

struct lafs_feed;
/* b, pool: with `ahead` the feed's own, since another thread uses them; the device is the one that the tokens are used
 * on.
 * From an index, which must outlive the feed. */
lafs_status lafs_feed_index(struct lafs_feed **out, const struct lafs_feed_config *c, const struct lafs_backend *b,
                            struct lafs_pool *pool, const struct lafs_index *ix, struct lafs_err *err);
/* From a stream whose records hold views with patches; the reader stays the caller's. */
lafs_status lafs_feed_stream(struct lafs_feed **out, const struct lafs_feed_config *c, const struct lafs_backend *b,
                             struct lafs_reader *reader, struct lafs_err *err);
void lafs_feed_close(struct lafs_feed *f);
/* Micro-batch `number` of all, from 0: calls come in order, from any start. A stream is read forward to the place.
 * With several processes, those of this one's turns only.
 * LAFS_CUT when a stream ends or goes elsewhere before that; LAFS_FAILED names the image that cannot be used. */
lafs_status lafs_feed_next(struct lafs_feed *f, int64_t number, struct lafs_feed_batch *batch, struct lafs_err *err);
/* Nothing more is made ahead. 0: something still is, after so many whole seconds (it may wait for a producer that does
 * not go on): the feed, and all that it reads and computes with, must stay until the program ends. */
int lafs_feed_stop(struct lafs_feed *f, double seconds);
/* Seconds that lafs_feed_next took in all: waiting, or making what was not made ahead. */
double lafs_feed_waited(const struct lafs_feed *f);
/* On a feed from an index whose backend is a plan (ops->plan): a micro-batch of blank pictures as large as the
 * index's (lafs_index_largest). */
lafs_status lafs_feed_rehearse(struct lafs_feed *f, struct lafs_err *err);
/* Bytes of device memory that the feed takes; SIZE_MAX: more than there can be. */
size_t lafs_feed_memory(const struct lafs_feed *f);
/* Reads a stream to its end, so that its producers finish and its trailer is checked. Nothing to do for an index. */
lafs_status lafs_feed_drain(struct lafs_feed *f, struct lafs_err *err);

#endif
