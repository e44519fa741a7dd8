/* What a stream or an index is, in a screenful. */
#ifndef LAFS_CMD_SHOWSUMMARY_H
#define LAFS_CMD_SHOWSUMMARY_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/stream.h"
#include "eval/pairs.h"

struct summary_field {
    char *name;        /* owned */
    int64_t count;
    char type[96];     /* numbers that differ between records are '*' */
    char example[64];
};
struct summary {
    struct lafs_header header;
    int has_header;
    int64_t records, looked;       /* in all; whose fields were looked at */
    struct summary_field *field;   /* (fields), in order of appearance */
    int fields;
    struct lafs_strset people;
    int many_people;               /* more than we count */
    int unnamed_fields;            /* more fields than we list */
};
void summary_init(struct summary *s);
void summary_release(struct summary *s);
lafs_status summary_header(struct summary *s, const struct lafs_header *h, struct lafs_err *err);
lafs_status summary_name(struct summary *s, const char *name, size_t len, struct lafs_err *err);
/* Looks at one record. */
lafs_status summary_add(struct summary *s, const struct lafs_sample *sample, struct lafs_err *err);
/* Appends the text. what: first line; upstream: sums of trailers, or NULL. */
void summary_text(const struct summary *s, const char *what, const struct lafs_totals *upstream, int64_t bad,
                  struct lafs_buf *out);

#endif
