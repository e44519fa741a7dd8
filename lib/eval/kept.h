/* Keys and names of those entries of a gallery that are in some probe's list: all that is kept of a gallery that
 * streams by. */
#ifndef LAFS_EVAL_KEPT_H
#define LAFS_EVAL_KEPT_H

#include "base/buf.h"
#include "eval/search.h"

struct lafs_kept_entry {
    int64_t entry;       /* number in the gallery; the array ascends */
    size_t key, name;    /* offsets in text */
    int32_t person;      /* the caller's number, or -1 */
};
struct lafs_kept {
    struct lafs_buf text; /* NUL-terminated, one after the other */
    struct lafs_kept_entry *list;
    int64_t count, cap;
    int64_t live;        /* after the last pruning */
};
void lafs_kept_release(struct lafs_kept *k); /* {0} is an empty one */
/* entry: above all before. name: "" where there is none. */
lafs_status lafs_kept_add(struct lafs_kept *k, int64_t entry, const char *key, const char *name, int32_t person,
                          struct lafs_err *err);
/* NULL: not there. */
const struct lafs_kept_entry *lafs_kept_find(const struct lafs_kept *k, int64_t entry);
/* Drops entries that no list holds any more, when they may be many. */
lafs_status lafs_kept_prune(struct lafs_kept *k, const struct lafs_search *s, struct lafs_err *err);
static inline const char *lafs_kept_key(const struct lafs_kept *k, const struct lafs_kept_entry *e)
{
    return (const char *)k->text.data + e->key;
}
static inline const char *lafs_kept_name(const struct lafs_kept *k, const struct lafs_kept_entry *e)
{
    return (const char *)k->text.data + e->name;
}

#endif
