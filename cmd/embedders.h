/* Embeddings that are compared should be of one model, and made with one amplitude. */
#ifndef LAFS_CMD_EMBEDDERS_H
#define LAFS_CMD_EMBEDDERS_H

#include "data/stream.h"

struct embedders {
    char first[96]; /* what made the embeddings that came first, "" while nothing is known */
    char amplitude[8];
    int told;
};
/* Looks at the header of embeddings, and warns once when it names another model, or amplitude, than one before it
 * did. Headers that name no model, of foreign records, are passed over. */
void embedders_note(struct embedders *e, const struct lafs_header *h);

#endif
