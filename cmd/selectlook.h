/* Choices of lafs-select for which samples must be read, not the index alone. */
#ifndef LAFS_CMD_SELECTLOOK_H
#define LAFS_CMD_SELECTLOOK_H

#include "cmd/cli.h"
#include "data/near.h"
#include "data/select.h"

struct looking {
    struct lafs_select *s;
    struct like *like;         /* (samples) of those dropped as near-duplicates; NULL where none are looked for */
    struct lafs_fetch *fetch;  /* opened on first use */
    lafs_status (*look)(struct looking *l, int64_t i, struct lafs_err *err);
    uint8_t *trouble;          /* (samples) could not be looked into */
    int64_t from;              /* of the block at hand */
    double min;                /* quality or correlation asked for */
    uint8_t *unjudged;         /* (samples) without the field `quality` */
    struct lafs_near *near;
    struct lafs_buf near_keys; /* keys of its pictures, each ended by NUL */
    int64_t *near_key;         /* (near_n) offsets in it */
    int64_t near_n, near_cap;
    int64_t *order;            /* (samples) in which they are looked into; NULL: as they come */
    struct lafs_near *own;     /* pictures that stay, of samples own_sample (own_n) */
    int64_t *own_sample, own_n;
    struct lafs_near_picture **drawn; /* (samples) of those of the block at hand that may stay */
};
/* What a sample is a near-duplicate of. */
struct like {
    const char *key, *name; /* name: of a sample of the index; empty: it has none, or is no such sample */
    double correlation;
};
/* s, with its index, outlives l. */
void looking_init(struct looking *l, struct lafs_select *s);
void looking_release(struct looking *l);

/* Each of these looks into the samples that s still keeps, on all threads; those that cannot be read are dropped, and
 * are an error when they are more than --max-bad. This one drops by the field `quality`. */
lafs_status looking_quality(struct looking *l, double min, struct lafs_err *err);
/* Drops near-duplicates of pictures in `inputs`. */
lafs_status looking_near(struct looking *l, const struct cli_list *inputs, double min, struct lafs_err *err);
/* Drops near-duplicates of samples that stay: of each two that with the key that sorts first, in the order of bytes.
 * After all other choices of this header. */
lafs_status looking_unique(struct looking *l, double min, struct lafs_err *err);

#endif
