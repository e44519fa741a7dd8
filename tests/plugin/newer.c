/* A plugin of a later interface version. */
#include "compute/backend.h"

const struct lafs_ops *lafs_plugin_ops(void);

const struct lafs_ops *lafs_plugin_ops(void)
{
    static const struct lafs_ops ops = {.version = LAFS_BACKEND_VERSION + 41};
    return &ops;
}
