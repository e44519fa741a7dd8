/* lafs-show --check: are the shards of an index what was written? */
#ifndef LAFS_CMD_SHOWCHECK_H
#define LAFS_CMD_SHOWCHECK_H
#include "base/buf.h"

/* Compares size and SHA-256 of every shard with the index; names those that differ, and says in a line what came
 * of it. LAFS_FAILED, with err: some differ, or it is no index. */
lafs_status check_index(const char *path, struct lafs_buf *text, struct lafs_err *err);
#endif
