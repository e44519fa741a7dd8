/* Will it fit? What work takes of a device's memory, known before it is begun; and how much of the work would fit.
 *
 *     struct lafs_fit_work w = {need, arg, micro, 1, batch, 1, precision};
 *     LAFS_TRY(lafs_fit(&f, &w, available, err));
 *     if (!f.fits) lafs_fit_say(&f, "--micro", text, sizeof text);
 */
#ifndef LAFS_COMPUTE_FIT_H
#define LAFS_COMPUTE_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"

struct lafs_fit_work {
    /* Bytes of device memory that the work takes with so many items at once, in this precision; more of them take no
     * less, unless they are the whole. SIZE_MAX: more than there can be. */
    lafs_status (*need)(void *arg, int64_t items, enum lafs_precision precision, size_t *bytes, struct lafs_err *err);
    void *arg;
    int64_t items, least;          /* wanted at once; no fewer than `least` will do */
    int64_t whole;                 /* > 0: of which items must be a divisor; 0: any number of them will do */
    int all;                       /* 1: all of the whole at once may take less than a part, and may be offered */
    enum lafs_precision precision; /* wanted */
};
struct lafs_fit_offer {
    int64_t items;                 /* at once, at most, so that it fits; 0: not even the least */
    size_t need;                   /* of these, or of the least */
    enum lafs_precision precision;
};
struct lafs_fit {
    int fits;
    size_t need, available;        /* as wanted; what there is */
    int64_t least;                 /* the fewest items that were considered */
    /* When it does not fit: in the wanted precision; in the one in which most items fit, if more do (otherwise its
     * items are 0). */
    struct lafs_fit_offer same, other;
};
lafs_status lafs_fit(struct lafs_fit *f, const struct lafs_fit_work *w, size_t available, struct lafs_err *err);
/* What is needed, what is there, what would fit; option: the items' name, "--micro". */
void lafs_fit_say(const struct lafs_fit *f, const char *option, char *text, size_t size);

/* -- rehearsals: work done on plans of the devices (ops->plan) shows what it takes -- */

struct lafs_rehearsal {
    const struct lafs_backend *real[2];
    struct lafs_backend plan[2];
    int count;
    const struct lafs_backend *data; /* the plan of the second one */
};
/* Of b, and of `data` if that is another backend. */
lafs_status lafs_rehearsal_open(struct lafs_rehearsal *r, const struct lafs_backend *b, const struct lafs_backend *data,
                                struct lafs_err *err);
/* st: how it went; returned, unless reserving fails. *bytes: what it took of both devices; SIZE_MAX: more than there
 * can be, which is no failure. reserve: 1: b and data take now what their ops took for themselves. */
lafs_status lafs_rehearsal_close(struct lafs_rehearsal *r, lafs_status st, int reserve, size_t *bytes,
                                 struct lafs_err *err);

#endif
