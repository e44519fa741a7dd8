#include "cmd/models.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[2 * PATH_MAX];

static const char *try(const char *dir, size_t len, const char *below, const char *name)
{
    int n = snprintf(path, sizeof path, "%.*s%s/%s", (int)len, dir, below, name);
    return len > 0 && n > 0 && (size_t)n < sizeof path && access(path, R_OK) == 0 ? path : NULL;
}

const char *find_model(const char *name)
{
    const char *found;
    for (const char *dir = getenv("LAFS_MODEL_PATH"); dir && *dir;) {
        size_t len = strcspn(dir, ":");
        if ((found = try(dir, len, "", name))) return found;
        dir += len + (dir[len] == ':');
    }
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash) return NULL;
    size_t len = (size_t)(slash - exe);
    if ((found = try(exe, len, "/../share/lafs/models", name))) return found;
    return try(exe, len, "/../../share/models", name);
}
