/* Crops of a batch of records, for the programs that compute on them: 112 x 112 RGB, in one array. */
#ifndef LAFS_CMD_FACES_H
#define LAFS_CMD_FACES_H

#include <stdint.h>

#include "cmd/filter.h"

enum { FACE_SIDE = 112, FACE_BYTES = FACE_SIDE * FACE_SIDE * 3 };

/* Decodes the pictures of items that are good, in parallel; want: (n), 1 for those that are wanted, or NULL for all.
 * crops: (n, 112, 112, 3); item i's crop is at i. Items whose picture is missing, broken or of another size become bad
 * records. */
void faces_decode(struct filter_item *items, int n, const uint8_t *want, uint8_t *crops);

#endif
