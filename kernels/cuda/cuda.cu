/* The device, the table, and the plugin's entry. */
#include <stdio.h>

#include "kernels/cuda/dev.cuh"

void dev_failed(struct lafs_dev *d, const char *what, const char *why)
{
    if (d->err.status == LAFS_OK) lafs_fail(&d->err, LAFS_FAILED, "cuda: %s: %s", what, why);
}

void *dev_scratch(struct lafs_dev *d, enum scratch kind, size_t size)
{
    if (d->scratch[kind].size >= size && d->scratch[kind].p) return d->scratch[kind].p;
    struct lafs_err err = {LAFS_OK, {0}};
    runtime_wait(d); /* what is queued may still use it */
    runtime_free(d, d->scratch[kind].p);
    d->scratch[kind] = {NULL, 0};
    size += size / 8 + 1;
    if (runtime_alloc(d, &d->scratch[kind].p, size, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        return NULL;
    }
    d->scratch[kind].size = size;
    return d->scratch[kind].p;
}

void dev_upload(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    while (size) {
        if (d->stage.used == STAGE_SIZE) {
            runtime_mark(d, d->stage.now);
            d->stage.now = (d->stage.now + 1) % STAGES;
            d->stage.used = 0;
            runtime_await(d, d->stage.now);
        }
        char *at = d->stage.p + (size_t)d->stage.now * STAGE_SIZE + d->stage.used;
        const size_t free = STAGE_SIZE - d->stage.used, n = size < free ? size : free, next = (n + 255) / 256 * 256;
        memcpy(at, from, n);
        runtime_send(d, to, at, n);
        d->stage.used += next;
        to = (char *)to + n, from = (const char *)from + n, size -= n;
    }
}

void *dev_scratch_from(struct lafs_dev *d, enum scratch kind, const void *host, size_t size)
{
    void *p = dev_scratch(d, kind, size);
    if (p) dev_upload(d, p, host, size);
    return p;
}

static void close_device(struct lafs_dev *d)
{
    if (!d) return;
    for (int i = 0; i < SCRATCH_KINDS; i++) runtime_free(d, d->scratch[i].p);
    product_close(d);
    runtime_close(d);
    lafs_free(d);
}

static lafs_status open_device(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    (void)pool;
    struct lafs_dev *d;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&d, 1, sizeof *d, err));
    lafs_status st = runtime_open(d, arg, err);
    if (st == LAFS_OK) st = product_open(d, err);
    if (st != LAFS_OK) {
        close_device(d);
        return st;
    }
    *out = d;
    return LAFS_OK;
}

static const char *describe(struct lafs_dev *d) { return d->text; }

/* Zeros when it returns, also for the work of another handle of the same GPU, whose stream knows nothing of ours. */
static lafs_status alloc_zeroed(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    LAFS_TRY(runtime_alloc(d, out, size, err));
    runtime_zero(d, *out, size);
    runtime_wait(d);
    return LAFS_OK;
}

static lafs_status wait_for_all(struct lafs_dev *d, struct lafs_err *err)
{
    runtime_wait(d);
    if (d->err.status != LAFS_OK && err) *err = d->err;
    return d->err.status;
}

static void fill(struct lafs_ops *ops)
{
    ops->version = LAFS_BACKEND_VERSION;
    ops->name = "cuda";
    ops->open = open_device;
    ops->close = close_device;
    ops->describe = describe;
    ops->alloc = alloc_zeroed;
    ops->free = runtime_free;
    ops->upload = dev_upload;
    ops->download = runtime_download;
    ops->copy = runtime_copy;
    ops->zero = runtime_zero;
    ops->sync = wait_for_all;
    ops_elementwise(ops);
    ops_linear(ops);
    ops_transformer(ops);
    ops_attention(ops);
    ops_conv(ops);
    ops_norm2d(ops);
    ops_patch(ops);
    ops_loss(ops);
    ops_optim(ops);
    ops_render(ops);
    ops_scan(ops);
}

extern "C" __attribute__((visibility("default"))) const struct lafs_ops *lafs_plugin_ops(void)
{
    static struct lafs_ops ops;
    if (!ops.version) fill(&ops);
    return &ops;
}
