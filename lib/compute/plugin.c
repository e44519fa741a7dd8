#include "compute/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LAFS_LIBDIR
#define LAFS_LIBDIR "/usr/local/lib/lafs" /* where `make install` puts plugins */
#endif

typedef const void *entry_fn(void);

/* Takes a plugin at `path`. LAFS_END: no file there. */
static lafs_status load_file(const void **table, const char *path, const char *entry, uint32_t version,
                             struct lafs_err *err)
{
    if (access(path, F_OK)) return LAFS_END;
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) return lafs_fail(err, LAFS_FAILED, "cannot load '%s': %s", path, dlerror());
    entry_fn *fn;
    *(void **)&fn = dlsym(so, entry);
    if (!fn) return lafs_fail(err, LAFS_FAILED, "'%s' is no lafs plugin: it has no %s", path, entry);
    const uint32_t *found = fn();
    if (!found) return lafs_fail(err, LAFS_FAILED, "'%s' gives no table of functions", path);
    if (*found != version)
        return lafs_fail(err, LAFS_FAILED, "'%s' has interface version %u, this program needs %u", path,
                         (unsigned)*found, (unsigned)version);
    *table = found;
    return LAFS_OK;
}

/* Tries the absolute directories of a colon-separated list. LAFS_END: in none of them. */
static lafs_status load_from(const char *dirs, const void **table, const char *file, const char *entry,
                             uint32_t version, struct lafs_err *err)
{
    while (dirs) {
        const char *colon = strchr(dirs, ':');
        int len = colon ? (int)(colon - dirs) : (int)strlen(dirs);
        char path[4096];
        /* A relative directory would mean the working directory, which is whoever's. */
        if (dirs[0] == '/' && snprintf(path, sizeof path, "%.*s/%s", len, dirs, file) < (int)sizeof path) {
            lafs_status st = load_file(table, path, entry, version, err);
            if (st != LAFS_END) return st;
        } else if (len > 0) {
            return lafs_fail(err, LAFS_FAILED, "LAFS_BACKEND_PATH: '%.*s' is not an absolute directory", len, dirs);
        }
        dirs = colon ? colon + 1 : NULL;
    }
    return LAFS_END;
}

lafs_status lafs_plugin_load(const void **table, const char *file, const char *entry, uint32_t version,
                             struct lafs_err *err)
{
    const char *dirs = secure_getenv("LAFS_BACKEND_PATH");
    lafs_status st = dirs && *dirs ? load_from(dirs, table, file, entry, version, err) : LAFS_END;
    if (st == LAFS_END) st = load_from(LAFS_LIBDIR, table, file, entry, version, err);
    if (st == LAFS_END)
        st = lafs_fail(err, LAFS_FAILED, "there is no %s in %s%s%s", file, dirs && *dirs ? dirs : "",
                       dirs && *dirs ? " or in " : "", LAFS_LIBDIR);
    return st;
}
