/* A plugin that works: the table of a backend with one device, number 0. */
#include "compute/backend.h"

const struct lafs_ops *lafs_plugin_ops(void);

static int device;

static lafs_status open_device(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    (void)pool;
    if (*arg && *arg != '0') {
        err->status = LAFS_FAILED; /* a plugin brings its own messages: it is not linked with the library */
        __builtin_memcpy(err->msg, "there is one device only", sizeof "there is one device only");
        return LAFS_FAILED;
    }
    *out = (struct lafs_dev *)&device;
    return LAFS_OK;
}
static void close_device(struct lafs_dev *d) { (void)d; }
static const char *describe(struct lafs_dev *d)
{
    (void)d;
    return "a device made for tests";
}

const struct lafs_ops *lafs_plugin_ops(void)
{
    static const struct lafs_ops ops = {.version = LAFS_BACKEND_VERSION,
                                        .name = "cuda",
                                        .open = open_device,
                                        .close = close_device,
                                        .describe = describe};
    return &ops;
}
