/* lafs-verify --compare: two models, or two recipes of several runs, on the same pairs. */
#ifndef LAFS_CMD_VERIFYCOMPARE_H
#define LAFS_CMD_VERIFYCOMPARE_H

#include <stdint.h>

#include "base/err.h"
#include "cmd/cli.h"

struct verifycompare {
    const char *pairs;              /* --pairs */
    const struct cli_list *against; /* --compare */
    const char *const *of;          /* (ofs) arguments */
    int ofs;
    const char *plot, *det;         /* or NULL */
    int64_t bootstrap;
    int json;
};
/* Reads what lafs-verify --json --scores wrote, and prints the difference. */
lafs_status verifycompare_run(const struct verifycompare *c, struct lafs_err *err);

#endif
