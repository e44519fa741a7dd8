/* The loop of programs that read samples, work on each, and write samples: parallel work, ordered output, bad-record
 * policy, progress, provenance, exit status. One thread reads ahead while the others work. */
#ifndef LAFS_CMD_FILTER_H
#define LAFS_CMD_FILTER_H

#include "cmd/cli.h"
#include "data/stream.h"

/* What came of one sample. */
enum filter_verdict {
    FILTER_KEEP,    /* write out[0..n) */
    FILTER_NO_FACE, /* nothing to write, and not bad: counted apart */
    FILTER_DROP     /* not wanted: not counted as bad */
};
struct filter_item {
    struct lafs_sample in;
    struct lafs_sample *out; /* (cap) results. At the start n = 1 and out[0] is empty; an out[0] that is still empty
                                then means that `in`, as the program has changed it, is what is written */
    int n, cap;
    enum filter_verdict verdict; /* FILTER_KEEP at the start */
    /* LAFS_BAD_RECORD: skipped, counted, reported with err; worse: the program fails with err */
    lafs_status status;
    struct lafs_err err;
};
/* Makes out[0..n) exist (initialised, empty) and sets it->n. */
lafs_status filter_reserve(struct filter_item *it, int n, struct lafs_err *err);

/* Where records come from instead of a reader over the command line's files: another order, or several rounds. */
struct filter_source {
    void *arg;
    const struct lafs_header *header; /* what a reader's header would be */
    int64_t expected;                 /* records; -1: unknown */
    /* As lafs_reader_next; called from one thread, which is not the one that works. */
    lafs_status (*next)(void *arg, struct lafs_sample *s, struct lafs_err *err);
};

struct filter {
    const struct cli_program *program;
    const struct filter_source *source;     /* NULL: a reader over args */
    void *arg;
    const char *what;                       /* what records are called in messages: "faces"; NULL: "records" */
    int batch;                              /* samples in flight; 0: 16 per thread */
    size_t batch_bytes;                     /* .. and about as many bytes at most; 0: 64 MB */
    int batches;                            /* of these, as far as reading may be ahead; 0: 2; at most 6 */
    const struct lafs_reader_options *reading; /* NULL: the usual */
    /* Called for each item, in parallel; worker in [0, threads). May swap in and out[0]. */
    lafs_status (*each)(void *arg, struct filter_item *it, int worker);
    /* Or: called with a whole batch, from one thread, for programs that compute in batches. A failure of the whole
     * batch is returned with its message in items[0].err. */
    lafs_status (*all)(void *arg, struct filter_item *items, int n);
    /* Called once when the first header is known, to check the pixel contract and set that of the output. */
    lafs_status (*header)(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err);
    /* The same with the first good sample (NULL: none), for contracts that the pictures tell. */
    lafs_status (*first)(void *arg, const struct lafs_sample *first, const struct lafs_header *in,
                         struct lafs_header *out, struct lafs_err *err);
    /* Called for each of out[0..n), copied, as it is written: puts in what would be in memory as often as there are
     * results if they had it from the start. */
    void (*complete)(void *arg, const struct filter_item *it, struct lafs_sample *whole);
    int same_pixels; /* 1: the output's pixel contract must hold for every input: later ones of another are refused */
};
/* Reads args (files and directories as lafs_reader_open takes them; none: stdin), runs, writes to -o, prints the
 * summary; returns the exit status. Refuses an input that -o, --rejects or --log would replace; `args` of a source,
 * too. Honours -n, --max-bad, --rejects, --log, --progress, -q. Provenance: the program's options that change results,
 * and `digests` (n name/value pairs). */
int filter_run(const struct filter *f, const char *const *args, int nargs, const char *const *digest_names,
               const char *const *digest_values, int ndigests);

#endif
