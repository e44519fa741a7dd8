/* Options of the views that pretraining sees. */
#ifndef LAFS_CMD_VIEWOPTIONS_H
#define LAFS_CMD_VIEWOPTIONS_H

#include "cmd/cli.h"
#include "image/viewplan.h"

struct viewoptions {
    int64_t globals, locals;
    double global_min, local_min, local_max; /* local_*: -1: not given, the method's */
};
#define VIEWOPTIONS_DEFAULTS {.globals = 2, .locals = 8, .global_min = 0.4, .local_min = -1, .local_max = -1}
#define VIEWOPTIONS(o) \
    {"globals", 0, CLI_INT, &(o).globals, "N", "global views of an image", 1, 16, "2"}, \
    {"locals", 0, CLI_INT, &(o).locals, "N", "local views of an image", 0, 48, "8"}, \
    {"global-min", 0, CLI_DOUBLE, &(o).global_min, "SHARE", "smallest area of a global crop", 0.01, 1, "0.4"}, \
    {"local-min", 0, CLI_DOUBLE, &(o).local_min, "SHARE", "smallest area of a local crop", 0.01, 1, "0.4, dino 0.05"}, \
    {"local-max", 0, CLI_DOUBLE, &(o).local_max, "SHARE", "largest area of a local crop", 0.01, 1, "1, dino 0.4"}

/* Ends the program where local crops have no area. */
static inline void viewoptions_apply(const struct viewoptions *o, int dino, struct lafs_pretrain_views *v)
{
    lafs_pretrain_views_default(v, dino);
    v->globals = (int)o->globals;
    v->locals = (int)o->locals;
    v->global_scale[0] = (float)o->global_min;
    if (o->local_min >= 0) v->local_scale[0] = (float)o->local_min;
    if (o->local_max >= 0) v->local_scale[1] = (float)o->local_max;
    if (v->local_scale[0] > v->local_scale[1] || v->local_scale[0] <= 0)
        cli_misuse("a local crop's area cannot be from %g to %g of the image's", (double)v->local_scale[0],
                   (double)v->local_scale[1]);
}

#endif
