/* Writing the pictures of records into a directory, for lafs-shard --to-dir. */
#ifndef LAFS_CMD_UNPACK_H
#define LAFS_CMD_UNPACK_H

#include "data/stream.h"

/* Reads args and writes KEY.jpg below the directory, or NAME/KEY.jpg where the key does not lead through the name. The
 * directory must not exist or be empty; it appears whole or not at all. Returns the exit status. */
int unpack_run(const char *dir, const struct lafs_reader_options *opt, const char *const *args, int nargs);

#endif
