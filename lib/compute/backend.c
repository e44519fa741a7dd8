#include "compute/backend.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "compute/plugin.h"

/* Built-in backends, and those that are plugins (ops NULL). */
static const struct lafs_ops *builtin(const char *name)
{
    if (!strcmp(name, "cpu")) return lafs_cpu_ops();
    if (!strcmp(name, "ref")) return &lafs_ref_ops;
    return NULL;
}

/* A plugin is loaded at most once. */
static struct {
    pthread_mutex_t lock;
    const struct lafs_ops *cuda;
} loaded = {PTHREAD_MUTEX_INITIALIZER, NULL};

static lafs_status load_cuda(const struct lafs_ops **out, struct lafs_err *err)
{
    const void *table;
    lafs_status st = LAFS_OK;
    pthread_mutex_lock(&loaded.lock);
    if (!loaded.cuda) {
        st = lafs_plugin_load(&table, "lafs-cuda.so", LAFS_PLUGIN_ENTRY, LAFS_BACKEND_VERSION, err);
        if (st == LAFS_OK) loaded.cuda = table;
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

lafs_status lafs_backend_plan(struct lafs_backend *plan, const struct lafs_backend *b, struct lafs_err *err)
{
    *plan = (struct lafs_backend){0};
    LAFS_TRY(b->ops->plan(&plan->dev, b->dev, err));
    plan->ops = b->ops;
    plan->precision = b->precision;
    return LAFS_OK;
}

void lafs_backend_close(struct lafs_backend *b)
{
    if (b->ops) b->ops->close(b->dev);
    *b = (struct lafs_backend){0};
}

static const char *const precisions[] = {"fp32", "bf16", "bf16x3"};
const char *lafs_precision_name(enum lafs_precision p) { return precisions[p]; }
int lafs_precision_by_name(const char *name, enum lafs_precision *out)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, precisions[i])) {
            *out = (enum lafs_precision)i;
            return 1;
        }
    return 0;
}
