/* What lafs-search prints: matches, and figures as a table or as JSON. */
#ifndef LAFS_CMD_SEARCHOUT_H
#define LAFS_CMD_SEARCHOUT_H

#include <stdio.h>

#include "base/buf.h"
#include "eval/identify.h"
#include "eval/kept.h"

/* One gallery's figures. */
struct search_figures {
    const char *gallery;  /* file, or NULL: the only one */
    int64_t entries, people, missing_entries, missing_probes;
    struct lafs_identified f;
};
/* What was asked for. */
struct search_asked {
    struct lafs_identify what;
    double fpir[LAFS_MAX_FPIRS];
    const char *fpir_text[LAFS_MAX_FPIRS]; /* as the user wrote them */
    int json;
};
/* The figures of n galleries, and behind several their means: a table, or a line of JSON. bad: records skipped. */
lafs_status search_report(const struct search_asked *asked, const struct search_figures *of, int n, int64_t bad,
                          FILE *f, struct lafs_err *err);

/* The matches of one probe: lines "probe, rank, cosine, key, name", separated by tabs; or a line of JSON; or the value
 * of the field `matches`. name: the probe's, or NULL. */
void search_put_lines(struct lafs_buf *b, const char *probe, const struct lafs_match *m, int64_t n,
                      const struct lafs_kept *kept);
void search_put_json(struct lafs_buf *b, const char *probe, const char *name, const struct lafs_match *m, int64_t n,
                     const struct lafs_kept *kept);
void search_pack(struct lafs_buf *b, const struct lafs_match *m, int64_t n, const struct lafs_kept *kept);

#endif
