#include "kernels/ref/ref.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 256, HUGE_PAGE = 2 << 20 };

lafs_status lafs_host_open(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    *out = NULL;
    if (arg && *arg) return lafs_fail(err, LAFS_USAGE, "the host has no device '%s'", arg);
    struct lafs_dev *d;
    LAFS_TRY(lafs_alloc0(&d, 1, sizeof *d, err));
    d->pool = pool;
    d->workers = lafs_pool_threads(pool);
    lafs_status st = lafs_alloc0(&d->scratch, (size_t)d->workers, sizeof *d->scratch, err);
    if (st != LAFS_OK) {
        lafs_free(d);
        return st;
    }
    *out = d;
    return LAFS_OK;
}

void lafs_host_close(struct lafs_dev *d)
{
    if (!d) return;
    for (int i = 0; i < d->workers; i++) lafs_host_free(d, d->scratch[i].p);
    lafs_free(d->scratch);
    lafs_host_free(d, d->shared.p);
    lafs_free(d);
}

const char *lafs_host_describe(struct lafs_dev *d) { return d->text; }

/* Zeros come from the system, page by page as they are first touched: what is planned and not used costs nothing. In
 * front of the aligned block lies the address to free. */
lafs_status lafs_host_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    (void)d;
    *out = NULL;
    /* Weights and activations are walked in strides of a row: large pages save most of the address misses. */
    size_t unit = size >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT, bytes;
    void *base = lafs_add_ok(size, unit + sizeof base, &bytes) ? calloc(bytes, 1) : NULL;
    if (!base) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", size);
    uintptr_t at = ((uintptr_t)base + sizeof base + unit - 1) / unit * unit;
    *out = (void *)at;
    memcpy((void *)(at - sizeof base), &base, sizeof base);
    /* Advice: failing is fine. */
    if (unit == HUGE_PAGE) madvise(*out, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return LAFS_OK;
}

void lafs_host_free(struct lafs_dev *d, void *p)
{
    (void)d;
    if (!p) return;
    void *base;
    memcpy(&base, (char *)p - sizeof base, sizeof base);
    free(base);
}

void lafs_host_copy(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    (void)d;
    if (size) memcpy(to, from, size);
}

void lafs_host_zero(struct lafs_dev *d, void *p, size_t size)
{
    (void)d;
    if (size) memset(p, 0, size);
}

void lafs_host_failed(struct lafs_dev *d, const struct lafs_err *err)
{
    if (d->err.status == LAFS_OK) d->err = *err;
}

lafs_status lafs_host_sync(struct lafs_dev *d, struct lafs_err *err)
{
    if (d->err.status == LAFS_OK) return LAFS_OK;
    if (err) *err = d->err;
    return d->err.status;
}

static lafs_status ref_open(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    (void)pool; /* the truth runs on one thread */
    LAFS_TRY(lafs_host_open(out, arg, NULL, err));
    snprintf((*out)->text, sizeof (*out)->text, "reference (plain loops)");
    return LAFS_OK;
}

const struct lafs_ops lafs_ref_ops = {
    .version = LAFS_BACKEND_VERSION,
    .name = "ref",
    .open = ref_open,
    .close = lafs_host_close,
    .describe = lafs_host_describe,
    .alloc = lafs_host_alloc,
    .free = lafs_host_free,
    .upload = lafs_host_copy,
    .download = lafs_host_copy,
    .copy = lafs_host_copy,
    .zero = lafs_host_zero,
    .sync = lafs_host_sync,
    .scale = lafs_ref_scale,
    .axpy = lafs_ref_axpy,
    .lerp = lafs_ref_lerp,
    .act_bwd = lafs_ref_act_bwd,
    .dropout = lafs_ref_dropout,
    .u8_to_f32 = lafs_ref_u8_to_f32,
    .linear = lafs_ref_linear,
    .linear_bwd_x = lafs_ref_linear_bwd_x,
    .linear_bwd_w = lafs_ref_linear_bwd_w,
    .assemble = lafs_ref_assemble,
    .assemble_bwd = lafs_ref_assemble_bwd,
    .add_norm = lafs_ref_add_norm,
    .add_norm_bwd = lafs_ref_add_norm_bwd,
    .attention = lafs_ref_attention,
    .attention_bwd = lafs_ref_attention_bwd,
    .rows_gather = lafs_ref_rows_gather,
    .rows_scatter = lafs_ref_rows_scatter,
    .patch_cut = lafs_ref_patch_cut,
    .patch_cut_bwd = lafs_ref_patch_cut_bwd,
    .grid_cut = lafs_ref_grid_cut,
    .batchnorm = lafs_ref_batchnorm,
    .batchnorm_bwd = lafs_ref_batchnorm_bwd,
    .unit = lafs_ref_unit,
    .unit_bwd = lafs_ref_unit_bwd,
    .unit_out = lafs_ref_unit_out,
    .channel_mean = lafs_ref_channel_mean,
    .channel_mean_bwd = lafs_ref_channel_mean_bwd,
    .channel_scale = lafs_ref_channel_scale,
    .channel_scale_bwd = lafs_ref_channel_scale_bwd,
    .minmax = lafs_ref_minmax,
    .minmax_bwd = lafs_ref_minmax_bwd,
    .l2norm = lafs_ref_l2norm,
    .l2norm_bwd = lafs_ref_l2norm_bwd,
    .dino_loss = lafs_ref_dino_loss,
    .margin_scratch = lafs_ref_margin_scratch,
    .margin_loss = lafs_ref_margin_loss,
    .margin_most = lafs_ref_margin_most,
    .margin_sums = lafs_ref_margin_sums,
    .margin_slopes = lafs_ref_margin_slopes,
    .mse = lafs_ref_mse,
    .norms = lafs_ref_norms,
    .adamw = lafs_ref_adamw,
    .render = lafs_ref_render,
    .scan = lafs_ref_scan,
    .hit_list = lafs_ref_hit_list,
    .conv = lafs_ref_conv,
    .conv_bwd_x = lafs_ref_conv_bwd_x,
    .conv_bwd_w = lafs_ref_conv_bwd_w,
    .depthwise = lafs_ref_depthwise,
    .depthwise_bwd_x = lafs_ref_depthwise_bwd_x,
    .depthwise_bwd_w = lafs_ref_depthwise_bwd_w,
    .separable = lafs_ref_separable,
    .bottlenecks_size = lafs_ref_bottlenecks_size,
    .bottlenecks_pack = lafs_ref_bottlenecks_pack,
    .bottlenecks = lafs_ref_bottlenecks,
    .maxpool2 = lafs_ref_maxpool2,
    .upsample2_add = lafs_ref_upsample2_add,
    .maxpool2_bwd = lafs_ref_maxpool2_bwd,
    .upsample2_bwd = lafs_ref_upsample2_bwd,
};
