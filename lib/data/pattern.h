/* Names of shards: "x-%06d.tar" stands for x-000000.tar, x-000001.tar, .. and their index x.lafs; "x.tar" for itself
 * and x.lafs. Private to lib/data. */
#ifndef LAFS_DATA_PATTERN_H
#define LAFS_DATA_PATTERN_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct lafs_pattern {
    char *path, *index; /* as given, and of the index; owned */
    int digits;         /* of the number, 0: one shard without a number */
    struct lafs_buf scratch;
};
/* Whether `out` (as in lafs_writer_options) names shards. */
int lafs_pattern_is(const char *out);
/* LAFS_USAGE: no such pattern. p is zeroed before; to be released also after a failure. */
lafs_status lafs_pattern_init(struct lafs_pattern *p, const char *out, struct lafs_err *err);
void lafs_pattern_release(struct lafs_pattern *p);
/* Path of shard i, valid until the next call; NULL when out of memory (lafs_buf_check of p->scratch tells). */
const char *lafs_pattern_path(struct lafs_pattern *p, int64_t i);
/* The number of the shard whose file, without its directory, has that name; -1 if it is none of ours. */
int64_t lafs_pattern_number(struct lafs_pattern *p, const char *name);
/* What stands behind the last '/'. */
const char *lafs_base_name(const char *path);

#endif
