/* A plugin that needs a function which nobody has: told when it is loaded, not when it is called. */
#include "compute/backend.h"

const struct lafs_ops *lafs_plugin_ops(void);
const struct lafs_ops *lafs_test_nobody_has(void);

const struct lafs_ops *lafs_plugin_ops(void) { return lafs_test_nobody_has(); }
