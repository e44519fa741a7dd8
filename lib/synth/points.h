/* True boxes and points of a figure. */
#ifndef LAFS_SYNTH_POINTS_H
#define LAFS_SYNTH_POINTS_H

#include "synth/figure.h"

/* Fills box and points of a face from the figure that was built. */
void lafs_synth_points_find(const struct figure *f, const struct model *m, const struct pose *p,
                            struct lafs_synth_face *face);

#endif
