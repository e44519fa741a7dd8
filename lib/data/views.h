/* The field `views` of a sample: what lafs-augment, lafs-landmark, lafs-patch and lafs-pretrain pass on. Layout:
 * lafs-record(5). An array of maps, one a view:
 *
 *     kind       str: "global", "local" or "train"
 *     size       int: side of the crop in pixels
 *     clean_ops  int: the clean crop is what the first clean_ops operations give
 *     ops        array of arrays [name, number...]: every operation in order, with its parameters
 *     clean, augmented   u8 (size,size,3): the rendered crops
 *     landmarks  f32 (R,2)
 *     index      i32 (n): which landmarks the patches are of
 *     patches    f32 (n,p,p,3)
 *
 * The last five only where a program has put them there. Keys that we do not know are kept as they came. */
#ifndef LAFS_DATA_VIEWS_H
#define LAFS_DATA_VIEWS_H

#include <stdint.h>

#include "data/record.h"
#include "image/viewplan.h"

enum { LAFS_MAX_VIEWS = 64 };

/* One view. Pointers are borrowed: after lafs_views_get they point into the sample and are valid until it changes; they
 * have no alignment (copy out with memcpy before computing) and little-endian content. NULL: not there. */
struct lafs_view {
    struct lafs_viewplan plan;
    const uint8_t *clean;     /* (out_size, out_size, 3) RGB */
    const uint8_t *augmented; /* (out_size, out_size, 3) RGB */
    const void *landmarks;    /* float (R,2), as the CNN gives them: pixel index = value - 0.5 */
    int64_t R;
    const void *index;        /* int32 (n), each in 0..R-1 where landmarks are there */
    const void *patches;      /* float (n,p,p,3), in [-1,1]; n is the same as that of index where both are there */
    int64_t n, p;
    const void *other;        /* the whole map it came from, for the keys that are not ours; NULL: none */
    size_t other_len;
};

/* Reads the field `views` into v[0..*n), at most max. LAFS_END: no such field (*n = 0). LAFS_BAD_RECORD: malformed; a
 * plan is checked by itself (lafs_viewplan_check without a source), arrays for type and shape. */
lafs_status lafs_views_get(const struct lafs_sample *s, struct lafs_view *v, int max, int *n, struct lafs_err *err);
/* Sets the field; v may point into s. Failures are sticky (lafs_sample_check). */
void lafs_views_set(struct lafs_sample *s, const struct lafs_view *v, int n);

const char *lafs_view_kind_name(int kind);  /* "global".. */
const char *lafs_view_op_name(int kind);    /* "crop_bicubic".. ; NULL: unknown */
/* How many of a[] the operation has. */
int lafs_view_op_args(int kind);

#endif
