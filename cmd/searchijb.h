/* IJB's 1:N protocol: templates of a list searched among those of another. */
#ifndef LAFS_CMD_SEARCHIJB_H
#define LAFS_CMD_SEARCHIJB_H

#include "cmd/searchout.h"
#include "compute/backend.h"
#include "eval/ijblist.h"
#include "eval/metrics.h"

/* Fills all of out but the name. t: templates of all images; those that are not there are not found. */
lafs_status searchijb_gallery(struct search_figures *out, const struct lafs_identify *asked,
                              const struct lafs_templates *t, const struct lafs_ijb_list *gallery,
                              const struct lafs_ijb_list *probes, const struct lafs_backend *b,
                              struct lafs_pool *pool, struct lafs_err *err);

#endif
