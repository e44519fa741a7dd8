/* MXNet's RecordIO: `train.rec` with its `train.idx` and `property`, as InsightFace ships its training sets.
 *
 * A part is u32 magic, u32 lrec (its upper 3 bits: 0 whole, 1 first, 2 middle, 3 last part; the lower 29: length), the
 * bytes, zeros up to a multiple of 4. Parts are joined with the magic between them. A record is u32 flag, f32 label,
 * u64 id, u64 id2, then `flag` f32 labels where flag > 0, then the picture's bytes. All little-endian. */
#ifndef LAFS_FORMAT_RECORDIO_H
#define LAFS_FORMAT_RECORDIO_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/input.h"

#define LAFS_REC_MAGIC 0xced7230aU
enum { LAFS_REC_MAX_LABELS = 4096 };
enum { LAFS_REC_MAX_LABEL = (1 << 24) - 1 }; /* of 2^24 a float no longer says whether it was that */
#define LAFS_REC_MAX_PART (((size_t)1 << 29) - 1)

struct lafs_rec {
    int64_t at;                  /* where it begins in the file */
    uint32_t flag;               /* labels behind the header; 0: only `label` */
    float label;
    uint64_t id, id2;
    const unsigned char *labels; /* (flag) f32, of any alignment */
    const unsigned char *data;   /* the picture */
    size_t size;
};
/* Reads the next record, of at most max bytes; what it points to is good until the next call. joined: for records of
 * several parts. LAFS_END: the file ends behind a record. LAFS_CUT: inside one. LAFS_FAILED: damaged (no magic where a
 * record should begin, parts out of order, too long). LAFS_BAD_RECORD: this record is too short for its header. */
lafs_status lafs_rec_next(struct lafs_input *in, struct lafs_buf *joined, size_t max, struct lafs_rec *r,
                          struct lafs_err *err);
/* Label i, 0 <= i < flag; of flag 0, label 0 is `label`. */
float lafs_rec_label(const struct lafs_rec *r, uint32_t i);
/* The label as the number of a class: *cls. 0 where it is none: not whole, or beyond what a float holds exactly. */
int lafs_rec_class(float label, int64_t *cls);

/* Appends the record with its framing; `labels` (flag) floats. LAFS_FAILED: over 2^29 bytes, or no memory. */
lafs_status lafs_rec_put(struct lafs_buf *out, uint64_t id, uint32_t flag, float label, const float *labels,
                         const void *data, size_t size, struct lafs_err *err);

/* One line of an .idx: `KEY<tab>OFFSET`. 1 if it is one. */
int lafs_rec_idx_line(const char *line, size_t len, int64_t *key, int64_t *offset);

#endif
