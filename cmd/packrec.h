/* MXNet's RecordIO, as InsightFace reads it, made of samples. */
#ifndef LAFS_CMD_PACKREC_H
#define LAFS_CMD_PACKREC_H

#include "data/stream.h"

/* PREFIX.rec, .idx, .names (where there are names) and `property` in the same folder. flat 0: record 0 says where the
 * images end, and behind them each person's range is a record; people must come one after the other. Gives an exit
 * status and has said what was wrong. */
int pack_rec(const char *prefix, int flat, const struct lafs_reader_options *opt, const char *const *args, int nargs);

#endif
