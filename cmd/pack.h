/* Pictures as the formats of others take them. */
#ifndef LAFS_CMD_PACK_H
#define LAFS_CMD_PACK_H

#include "data/record.h"

/* The record's encoded picture as it is, or a JPEG of its `rgb` in `made`. *swapped: red and blue are, in what is
 * given. LAFS_BAD_RECORD: there is none. */
lafs_status pack_picture(const struct lafs_sample *s, struct lafs_buf *made, const void **data, size_t *size,
                         int *swapped, struct lafs_err *err);
/* Says of how many pictures that they are swapped still. */
void pack_say_swapped(int64_t swapped);

#endif
