/* Verification sets as InsightFace ships them (lfw.bin, cfp_fp.bin, agedb_30.bin ..): a pickle of (images, issame),
 * images 2i and 2i + 1 being pair i. Images are bytes or NumPy arrays of u8, issame booleans, both from any Python. */
#ifndef LAFS_FORMAT_VERIFYSET_H
#define LAFS_FORMAT_VERIFYSET_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "format/pickle.h"

struct lafs_verifyset {
    int64_t pairs;
    struct lafs_span {
        const void *data;
        size_t size;
    } *image;             /* (2 * pairs) encoded pictures: in the caller's bytes, or in the pickle */
    uint8_t *same;        /* (pairs) */
    struct lafs_pickle *pickle;
    struct lafs_buf text; /* images that were written as text */
};
/* data must stay until lafs_verifyset_release. LAFS_CUT, LAFS_FAILED as lafs_pickle_parse; LAFS_FAILED: another pickle
 * than that, with what was met where. */
lafs_status lafs_verifyset_parse(struct lafs_verifyset *v, const void *data, size_t size, struct lafs_err *err);
void lafs_verifyset_release(struct lafs_verifyset *v);

/* Writing: begin, every image, end. Protocol 2, bytes as Python 3 writes them there: Python 2 and 3 read them, with any
 * `encoding`. */
void lafs_verifyset_begin(struct lafs_buf *out);
void lafs_verifyset_put(struct lafs_buf *out, const void *data, size_t size); /* size < 2^31 */
void lafs_verifyset_end(struct lafs_buf *out, const uint8_t *same, int64_t pairs);

#endif
