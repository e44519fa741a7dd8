/* The lists of IJB's 1:N protocol: which templates are a gallery, which are probes, and whose they are. */
#ifndef LAFS_EVAL_IJBLIST_H
#define LAFS_EVAL_IJBLIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lafs_ijb_list {
    int64_t count;
    int64_t *template_id; /* (count) ascending, each once */
    int64_t *subject_id;  /* (count) */
};
/* Comma-separated values with a line of names, which has TEMPLATE_ID and SUBJECT_ID; other columns are passed over. A
 * template may have a line for each of its images. LAFS_FAILED, naming file and line: malformed, or a template of two
 * subjects. */
lafs_status lafs_ijb_list_read(struct lafs_ijb_list *list, const char *path, struct lafs_err *err);
/* The same from memory; what: the name for messages. */
lafs_status lafs_ijb_list_parse(struct lafs_ijb_list *list, const char *text, size_t size, const char *what,
                                struct lafs_err *err);
void lafs_ijb_list_release(struct lafs_ijb_list *list);

#endif
