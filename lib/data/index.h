/* The index `x.lafs` of a set of tar shards: what is complete, selected, split and trained from. Text format:
 * lafs-record(5). Random access by position. */
#ifndef LAFS_DATA_INDEX_H
#define LAFS_DATA_INDEX_H

#include <stdint.h>

#include "base/err.h"
#include "data/record.h"
#include "data/stream.h"

struct lafs_index_shard {
    char *path;         /* as written in the file: relative to the index */
    int64_t size;
    char sha256[65];    /* "" for a foreign tar that was indexed on first use */
};
struct lafs_index_sample {
    int32_t shard;
    int64_t offset, length; /* the sample's members in the tar, headers included */
    const char *key;        /* owned by the index */
    const char *name;       /* identity; "" if none */
    int32_t foreign;        /* 1: of a tar without a header of ours */
};
struct lafs_index {
    struct lafs_pixels pixels;
    char *dir;                          /* directory of the index file, ends in '/' or is "" */
    struct lafs_index_shard *shard;
    struct lafs_index_sample *sample;   /* in file order */
    int64_t shards, samples;
    char *strings;                      /* owns key and name */
    int64_t bad;                        /* samples of an indexed tar that have no usable key, or are links: not here */
    struct lafs_err bad_why;            /* the first of them */
};
/* LAFS_CUT when the closing line is missing or counts differ. */
lafs_status lafs_index_read(struct lafs_index **out, const char *path, struct lafs_err *err);
/* Only pixel contract and shards, without samples: as far as its lines are whole. LAFS_FAILED: no index. */
lafs_status lafs_index_read_shards(struct lafs_index **out, const char *path, struct lafs_err *err);
/* Opens an index file, or indexes a tar (foreign ones on first use; nothing is written beside them). Names are taken
 * from directories as by a reader (LAFS_NAMES_AUTO). LAFS_FAILED: neither; compressed (says how to unpack); a key
 * twice. */
lafs_status lafs_index_open(struct lafs_index **out, const char *path, struct lafs_err *err);
/* Atomically writes the index to path; shard paths are taken as they are. */
lafs_status lafs_index_write(const struct lafs_index *ix, const char *path, struct lafs_err *err);
void lafs_index_free(struct lafs_index *ix);
/* Path of shard i on disk, into an initialised buffer; NULL when out of memory. */
const char *lafs_index_shard_path(const struct lafs_index *ix, int64_t i, struct lafs_buf *b);
/* The header of the first shard, with the pixel contract of the index. h is initialised. */
lafs_status lafs_index_header(const struct lafs_index *ix, struct lafs_header *h, struct lafs_err *err);

/* The lines of an index, for writers. */
void lafs_index_put_head(struct lafs_buf *b, const struct lafs_pixels *p);
void lafs_index_put_shard(struct lafs_buf *b, const char *path, int64_t size, const char *sha256);
void lafs_index_put_sample(struct lafs_buf *b, int64_t shard, int64_t offset, int64_t length, const char *key,
                           const char *name);
void lafs_index_put_end(struct lafs_buf *b, int64_t shards, int64_t samples);

/* Random access: thread-safe (pread). Shards are opened as needed, at most 64 at once. */
struct lafs_fetch;
lafs_status lafs_fetch_open(struct lafs_fetch **out, const struct lafs_index *ix, struct lafs_err *err);
void lafs_fetch_close(struct lafs_fetch *f);
/* The sample at position i of the index, 0 <= i < ix->samples. */
lafs_status lafs_fetch_sample(struct lafs_fetch *f, int64_t i, struct lafs_sample *s, struct lafs_err *err);

#endif
