/* Options of the ViT that is trained. */
#ifndef LAFS_CMD_VITOPTIONS_H
#define LAFS_CMD_VITOPTIONS_H

#include "cmd/trainrun.h"
#include "model/vit.h"

struct vitoptions {
    const char *size, *scale;
    int64_t dim, depth, heads, mlp, patches, patch;
    double dropout, drop_path;
};
#define VITOPTIONS_DEFAULTS \
    {.size = "b", .scale = "dim", .patches = 196, .patch = 8, .dropout = 0.1, .drop_path = 0.1}
#define VITOPTIONS_SIZE(o) \
    {"size", 0, CLI_CHOICE, &(o).size, "xs|t|s|b", "named size of the ViT; b is the paper's", 0, 0, "b"}, \
    {"dim", 0, CLI_INT, &(o).dim, "N", "width, instead of the named size's", 1, 4096, NULL}, \
    {"depth", 0, CLI_INT, &(o).depth, "N", "blocks, instead of the named size's", 1, 64, NULL}, \
    {"heads", 0, CLI_INT, &(o).heads, "N", "heads of width 64, instead of the named size's", 1, 64, NULL}, \
    {"mlp", 0, CLI_INT, &(o).mlp, "N", "width of the MLP, instead of the named size's", 1, 65536, NULL}, \
    {"patches", 0, CLI_INT, &(o).patches, "N", "landmarks, a square number", 1, 4096, "196"}, \
    {"patch", 0, CLI_INT, &(o).patch, "N", "side of a patch in pixels, an even number", 8, 16, "8"}
#define VITOPTIONS_BRANCHES(o) \
    {"drop-path", 0, CLI_DOUBLE, &(o).drop_path, "P", "share of residual branches that are dropped", 0, 0.99, "0.1"}, \
    {"scale", 0, CLI_CHOICE, &(o).scale, "dim|head", \
     "scale of attention: width^-0.5 as the authors, or 64^-0.5", 0, 0, "dim"}

/* What they make of v, which is of the named size. LAFS_USAGE: there is no such ViT. */
lafs_status vitoptions_apply(const struct vitoptions *o, struct lafs_vit_config *v, struct lafs_err *err);
/* The line of config.json about v's shape. */
void vitoptions_record(const struct vitoptions *o, const struct lafs_vit_config *v, struct trainrun *t);

#endif
