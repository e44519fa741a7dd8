/* The canvases that a detector is trained on, as records: to look at, and to measure detectors on. */
#ifndef LAFS_CMD_CANVASES_H
#define LAFS_CMD_CANVASES_H

#include "cmd/cli.h"
#include "data/index.h"

struct canvases_options {
    int64_t count, side;
    int no_mirror;
    const char *with; /* "none"; "dark": a tenth of the light; "mask": nose and mouth of every face covered */
};
/* Writes them to `out` (as -o): a photo each, with `faces`. The same for the same index, seed, side and number. */
lafs_status canvases_write(const struct cli_program *p, const struct canvases_options *o, const struct lafs_index *ix,
                           const char *out, struct lafs_err *err);

#endif
