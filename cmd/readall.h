/* The loop of programs that read samples to the end and write no samples: bad-record policy, -n, progress, exit
 * status. */
#ifndef LAFS_CMD_READALL_H
#define LAFS_CMD_READALL_H

#include "cmd/cli.h"
#include "cmd/embedders.h"
#include "data/stream.h"

struct readall {
    const char *what; /* what records are called in messages; NULL: "records" */
    void *arg;
    /* Called once, when the first header is known; may be NULL. */
    lafs_status (*header)(void *arg, const struct lafs_header *h, struct lafs_err *err);
    /* Called for each sample. LAFS_BAD_RECORD: counted and reported with err; LAFS_END: wants no more (the rest is read
     * and dropped, as a cut-off producer would be an error); worse: the program fails with err. */
    lafs_status (*each)(void *arg, struct lafs_sample *s, struct lafs_err *err);
    struct embedders *made_by; /* NULL, or the samples are embeddings: is told of every header that has samples */
    const struct lafs_reader_options *reading; /* NULL: the usual */
    int more_rejects; /* 1: --rejects has been written to by an earlier run: its lines stay */
};
struct readall_totals {
    int64_t records; /* good and bad ones, those after -n or LAFS_END left out */
    int64_t bad;
    struct lafs_totals upstream; /* sums of the trailers */
};
/* Reads args (no args: stdin). Refuses an input that --rejects would replace. Honours -n, --max-bad, --rejects,
 * --progress, -q. Returns the exit status and has said what was wrong; EXIT_FAILED also when too many records were
 * bad. */
int readall_run(const struct readall *r, const char *const *args, int nargs, struct readall_totals *totals);

#endif
