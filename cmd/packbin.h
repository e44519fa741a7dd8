/* A verification set, as InsightFace reads it, made of samples. */
#ifndef LAFS_CMD_PACKBIN_H
#define LAFS_CMD_PACKBIN_H

#include "data/stream.h"

/* Of the pairs in the file `pairs`, or (NULL) of those that the records themselves state. Gives an exit status and has
 * said what was wrong. */
int pack_bin(const char *path, const char *pairs, const struct lafs_reader_options *opt, const char *const *args,
             int nargs);

#endif
