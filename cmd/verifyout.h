/* What lafs-verify prints: as a table, or as JSON. */
#ifndef LAFS_CMD_VERIFYOUT_H
#define LAFS_CMD_VERIFYOUT_H

#include <stdio.h>

#include "base/buf.h"
#include "base/pool.h"
#include "eval/verify.h"

struct group_line {
    const char *name;             /* borrowed */
    int64_t pairs, genuines, impostors;
    double accuracy, low, high;   /* at the one threshold; 95 % interval */
    double fmr, fnmr, auc;        /* NaN where there are no pairs of the kind */
    struct lafs_roc roc;          /* n = 0 where a kind is missing */
};

struct report {
    double far[LAFS_MAX_FARS];
    const char *far_text[LAFS_MAX_FARS]; /* as the user wrote them: keys in JSON */
    int fars, folds, applied;            /* folds 0: none */
    int64_t bootstrap, people, photos, templates; /* people: -1 where they are not known */
    int64_t bad;                         /* records that were skipped */
    int64_t missing, missing_pairs;      /* photos, pairs */
    struct lafs_buf missing_names;       /* NUL-terminated, one after the other */
    struct lafs_figures all, present;    /* present: pairs with both photos; only if missing_pairs > 0 */
    struct lafs_roc roc;                 /* of all */
    int64_t fit_pairs, fit_missing_pairs;
    double fit_accuracy;
    const char *field;                   /* --group */
    struct group_line *group;            /* (groups); owned */
    int64_t groups;
    const float *score;                  /* (scores) of each pair, missing ones infinite; borrowed; NULL: not printed */
    int64_t scores;
    char pairs_sha256[65];               /* of the file of pairs; with score */
};
void report_release(struct report *r);
lafs_status report_add_missing(struct report *r, const char *key, struct lafs_err *err);
/* Fills all but the name. v: apply is set. */
lafs_status group_line(struct group_line *g, const struct lafs_paired *p, const struct lafs_verify *v,
                       struct lafs_pool *pool, struct lafs_err *err);
lafs_status report_text(const struct report *r, FILE *f, struct lafs_err *err);
lafs_status report_json(const struct report *r, FILE *f, struct lafs_err *err);

#endif
