/* Shared objects that are looked for, checked and loaded at run time: `lafs-NAME.so`. */
#ifndef LAFS_COMPUTE_PLUGIN_H
#define LAFS_COMPUTE_PLUGIN_H

#include <stdint.h>

#include "base/err.h"

/* Loads `file` from the absolute directories of $LAFS_BACKEND_PATH (separated by colons), else from ../lib/lafs beside
 * the program's directory (where `make install` puts it), else from that directory itself (where make does), and calls
 * its function `entry`, which takes nothing and returns the address of a static table that begins with a uint32_t: the
 * interface's version. *table: that address. LAFS_FAILED, with a message: it is not there, cannot be loaded, or is of
 * another version. A plugin is never unloaded: its threads and state may outlive any use. */
lafs_status lafs_plugin_load(const void **table, const char *file, const char *entry, uint32_t version,
                             struct lafs_err *err);

#endif
