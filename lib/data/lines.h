/* The sample lines of an index that is being written, however many, in constant memory; and whether a key was there
 * before. Private to lib/data.
 *
 * Lines go to a scratch file beside the index until its first lines, the shards' digests, are known. While keys come in
 * ascending order, as those of directories and RecordIO do, comparing with the last one is all it takes; the first that
 * does not makes a table of all keys so far, which beyond 4 MB is in another scratch file. */
#ifndef LAFS_DATA_LINES_H
#define LAFS_DATA_LINES_H

#include <stdint.h>

#include "base/atomicfile.h"
#include "base/buf.h"
#include "data/keyset.h"
#include "data/record.h"

struct lafs_lines {
    const char *index;          /* its path; not owned */
    struct lafs_buf tail;       /* the lines that came last */
    struct lafs_scratch file;   /* those before them; fd -1: none yet */
    int64_t spilled;            /* bytes of these */
    size_t hold;                /* bytes of lines from which on they are spilled */
    char last[LAFS_MAX_KEY + 1]; /* the key that came last; "": none */
    int unordered;              /* 1: keys did not ascend, and are in .. */
    struct lafs_keyset keys;    /* id: where the line begins */
    struct lafs_err why;        /* what kept a line from being read again */
};
void lafs_lines_init(struct lafs_lines *l, const char *index);
void lafs_lines_release(struct lafs_lines *l);
/* A key (lafs_key_valid), whose line comes next. LAFS_BAD_RECORD: it was there before. */
lafs_status lafs_lines_claim(struct lafs_lines *l, const char *key, struct lafs_err *err);
/* As lafs_index_put_sample. */
lafs_status lafs_lines_put(struct lafs_lines *l, int64_t shard, int64_t offset, int64_t length, const char *key,
                           const char *name, struct lafs_err *err);
/* Writes all lines. */
lafs_status lafs_lines_copy(struct lafs_lines *l, struct lafs_atomic *to, struct lafs_err *err);

#endif
