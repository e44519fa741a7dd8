#include "compute/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LAFS_LIBDIR
#define LAFS_LIBDIR "/usr/local/lib/lafs" /* where `make install` puts plugins */
#endif

/* Built-in backends, and those that are plugins (ops NULL). */
static const struct lafs_ops *builtin(const char *name)
{
    if (!strcmp(name, "cpu")) return lafs_cpu_ops();
    if (!strcmp(name, "ref")) return &lafs_ref_ops;
    return NULL;
}

/* A plugin is loaded at most once and never unloaded: its threads and driver state may outlive any device. */
static struct {
    pthread_mutex_t lock;
    const struct lafs_ops *cuda;
} loaded = {PTHREAD_MUTEX_INITIALIZER, NULL};

/* Takes a plugin at `path`. LAFS_END: no file there. */
static lafs_status load_file(const struct lafs_ops **out, const char *path, struct lafs_err *err)
{
    if (access(path, F_OK)) return LAFS_END;
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) return lafs_fail(err, LAFS_FAILED, "cannot load '%s': %s", path, dlerror());
    lafs_plugin_fn *entry;
    *(void **)&entry = dlsym(so, LAFS_PLUGIN_ENTRY);
    if (!entry) return lafs_fail(err, LAFS_FAILED, "'%s' is no lafs plugin: it has no " LAFS_PLUGIN_ENTRY, path);
    const struct lafs_ops *ops = entry();
    if (!ops) return lafs_fail(err, LAFS_FAILED, "'%s' gives no op table", path);
    if (ops->version != LAFS_BACKEND_VERSION)
        return lafs_fail(err, LAFS_FAILED, "'%s' has interface version %u, this program needs %d", path,
                         (unsigned)ops->version, LAFS_BACKEND_VERSION);
    *out = ops;
    return LAFS_OK;
}

/* Tries the absolute directories of a colon-separated list. LAFS_END: in none of them. */
static lafs_status load_from(const struct lafs_ops **out, const char *dirs, const char *file, struct lafs_err *err)
{
    while (dirs) {
        const char *colon = strchr(dirs, ':');
        int len = colon ? (int)(colon - dirs) : (int)strlen(dirs);
        char path[4096];
        /* A relative directory would mean the working directory, which is whoever's. */
        if (dirs[0] == '/' && snprintf(path, sizeof path, "%.*s/%s", len, dirs, file) < (int)sizeof path) {
            lafs_status st = load_file(out, path, err);
            if (st != LAFS_END) return st;
        } else if (len > 0) {
            return lafs_fail(err, LAFS_FAILED, "LAFS_BACKEND_PATH: '%.*s' is not an absolute directory", len, dirs);
        }
        dirs = colon ? colon + 1 : NULL;
    }
    return LAFS_END;
}

static lafs_status load_cuda(const struct lafs_ops **out, struct lafs_err *err)
{
    static const char file[] = "lafs-cuda.so";
    lafs_status st = LAFS_OK;
    pthread_mutex_lock(&loaded.lock);
    if (!loaded.cuda) {
        const char *dirs = secure_getenv("LAFS_BACKEND_PATH");
        st = dirs && *dirs ? load_from(&loaded.cuda, dirs, file, err) : LAFS_END;
        if (st == LAFS_END) st = load_from(&loaded.cuda, LAFS_LIBDIR, file, err);
        if (st == LAFS_END)
            st = lafs_fail(err, LAFS_FAILED, "there is no %s in %s%s%s", file, dirs && *dirs ? dirs : "",
                           dirs && *dirs ? " or in " : "", LAFS_LIBDIR);
    }
    *out = loaded.cuda;
    pthread_mutex_unlock(&loaded.lock);
    return st;
}

static lafs_status open_cuda(struct lafs_backend *b, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    const struct lafs_ops *ops = NULL;
    LAFS_TRY(load_cuda(&ops, err));
    LAFS_TRY(ops->open(&b->dev, arg, pool, err));
    b->ops = ops;
    return LAFS_OK;
}

/* The number behind "cuda:", digits alone. */
static int is_number(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n > 0 && n < 5 && s[n] == '\0';
}

lafs_status lafs_backend_open(struct lafs_backend *b, const char *name, struct lafs_pool *pool, const char **why,
                              struct lafs_err *err)
{
    static char reason[LAFS_ERR_MSG + 64];
    struct lafs_err own = {0};
    *b = (struct lafs_backend){0};
    if (why) *why = NULL;

    const struct lafs_ops *ops = builtin(name);
    if (ops) {
        LAFS_TRY(ops->open(&b->dev, "", pool, err));
        b->ops = ops;
        return LAFS_OK;
    }
    if (!strcmp(name, "cuda") || (!strncmp(name, "cuda:", 5) && is_number(name + 5))) {
        lafs_status st = open_cuda(b, name[4] ? name + 5 : "", pool, &own);
        if (st == LAFS_OK) return LAFS_OK;
        return lafs_fail(err, st, "cannot use device '%s': %s", name, own.msg);
    }
    if (!strcmp(name, "auto")) {
        if (open_cuda(b, "", pool, &own) == LAFS_OK) {
            snprintf(reason, sizeof reason, "cuda: %s", b->ops->describe(b->dev));
        } else {
            LAFS_TRY(lafs_cpu_ops()->open(&b->dev, "", pool, err));
            b->ops = lafs_cpu_ops();
            snprintf(reason, sizeof reason, "cpu: %s", own.msg);
        }
        if (why) *why = reason;
        return LAFS_OK;
    }
    return lafs_fail(err, LAFS_USAGE, "there is no device '%s'; use cpu, ref, cuda, cuda:N or auto", name);
}

void lafs_backend_close(struct lafs_backend *b)
{
    if (b->ops) b->ops->close(b->dev);
    *b = (struct lafs_backend){0};
}

int lafs_precision_by_name(const char *name, enum lafs_precision *out)
{
    static const char *const names[] = {"fp32", "bf16", "bf16x3"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out = (enum lafs_precision)i;
            return 1;
        }
    return 0;
}
