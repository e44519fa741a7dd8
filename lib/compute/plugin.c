#include "compute/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

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

static lafs_status load_in(const char *dir, int len, const void **table, const char *file, const char *entry,
                           uint32_t version, struct lafs_err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%.*s/%s", len, dir, file) >= (int)sizeof path)
        return lafs_fail(err, LAFS_FAILED, "the name of the directory '%.60s..' is too long", dir);
    return load_file(table, path, entry, version, err);
}

/* Tries the absolute directories of a colon-separated list. LAFS_END: in none of them. */
static lafs_status load_from(const char *dirs, const void **table, const char *file, const char *entry,
                             uint32_t version, struct lafs_err *err)
{
    while (dirs) {
        const char *colon = strchr(dirs, ':');
        int len = colon ? (int)(colon - dirs) : (int)strlen(dirs);
        /* A relative directory would mean the working directory, which is whoever's. */
        if (len > 0 && dirs[0] != '/')
            return lafs_fail(err, LAFS_FAILED, "LAFS_BACKEND_PATH: '%.*s' is not an absolute directory", len, dirs);
        lafs_status st = len > 0 ? load_in(dirs, len, table, file, entry, version, err) : LAFS_END;
        if (st != LAFS_END) return st;
        dirs = colon ? colon + 1 : NULL;
    }
    return LAFS_END;
}

/* The program's directory, and PREFIX/lib/lafs of a program in PREFIX/bin: they move together, so nothing is built in.
 * Empty where that is unknown, or where whoever started a program with another's rights could choose it by a link. */
static void places(char own[PATH_MAX], char installed[PATH_MAX + 16])
{
    ssize_t n = getauxval(AT_SECURE) ? 0 : readlink("/proc/self/exe", own, PATH_MAX - 1);
    own[n > 0 ? n : 0] = '\0';
    installed[0] = '\0';
    char *slash = strrchr(own, '/');
    if (!slash) return;
    *slash = '\0';
    const char *parent = strrchr(own, '/');
    snprintf(installed, PATH_MAX + 16, "%.*s/lib/lafs", parent ? (int)(parent - own) : 0, own);
}

lafs_status lafs_plugin_load(const void **table, const char *file, const char *entry, uint32_t version,
                             struct lafs_err *err)
{
    char own[PATH_MAX], installed[PATH_MAX + 16];
    places(own, installed);
    const char *dirs = secure_getenv("LAFS_BACKEND_PATH");
    lafs_status st = dirs && *dirs ? load_from(dirs, table, file, entry, version, err) : LAFS_END;
    if (st == LAFS_END && *installed) st = load_in(installed, INT_MAX, table, file, entry, version, err);
    if (st == LAFS_END && *own) st = load_in(own, INT_MAX, table, file, entry, version, err);
    if (st == LAFS_END)
        st = lafs_fail(err, LAFS_FAILED, "there is no %s in %s%s%s, nor beside the program", file,
                       dirs && *dirs ? dirs : "", dirs && *dirs ? " or in " : "", *installed ? installed : "lib/lafs");
    return st;
}
