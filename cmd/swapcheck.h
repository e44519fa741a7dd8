/* Whether red and blue look swapped in faces: skin is redder than blue, whoever's it is. Only says so. */
#ifndef LAFS_CMD_SWAPCHECK_H
#define LAFS_CMD_SWAPCHECK_H

#include "data/record.h"

struct swapcheck {
    int wanted;       /* 0: nothing is looked at */
    int looked;       /* at pictures, those included that could not be decoded */
    int seen, bluer;  /* of these decoded; those whose middle is bluer than red */
    int swapped;      /* the last was said to be swapped, and swapped back */
};
/* Looks at the first 64 pictures, as they come out of lafs_face_image. */
void swapcheck_look(struct swapcheck *c, const struct lafs_sample *s);
/* Warns if nearly all of them are bluer. */
void swapcheck_end(const struct swapcheck *c);

#endif
