#include "cmd/vitoptions.h"

#include <string.h>

lafs_status vitoptions_apply(const struct vitoptions *o, struct lafs_vit_config *v, struct lafs_err *err)
{
    if (o->dim) v->dim = (int)o->dim;
    if (o->depth) v->depth = (int)o->depth;
    if (o->heads) v->heads = (int)o->heads;
    if (o->mlp) v->mlp = (int)o->mlp;
    v->patches = (int)o->patches;
    v->patch = (int)o->patch;
    v->dropout = (float)o->dropout;
    v->drop_path = (float)o->drop_path;
    v->scale = strcmp(o->scale, "dim") ? LAFS_SCALE_HEAD : LAFS_SCALE_DIM;
    return lafs_vit_config_check(v, err);
}

void vitoptions_record(const struct vitoptions *o, const struct lafs_vit_config *v, struct trainrun *t)
{
    trainrun_option(t, "vit", 0, "dim %d depth %d heads %d mlp %d patches %d patch %d scale %s", v->dim, v->depth,
                    v->heads, v->mlp, v->patches, v->patch, o->scale);
}
