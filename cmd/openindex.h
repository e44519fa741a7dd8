/* Opening an index that is an argument. */
#ifndef LAFS_CMD_OPENINDEX_H
#define LAFS_CMD_OPENINDEX_H

#include "data/index.h"

/* lafs_index_open; what of a tar cannot be listed is told in a warning. */
lafs_status openindex(struct lafs_index **out, const char *path, struct lafs_err *err);

#endif
