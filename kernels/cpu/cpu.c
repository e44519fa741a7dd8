#include "kernels/cpu/cpu.h"

#include <stdio.h>

#include "kernels/cpu/isa.h"

/* Under AddressSanitizer, what lies behind the size that an op asks for is out of bounds although it is there. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
static void fence(const struct lafs_host_mem *m, size_t size)
{
    ASAN_UNPOISON_MEMORY_REGION(m->p, m->size);
    ASAN_POISON_MEMORY_REGION((char *)m->p + size, m->size - size);
}
#else
static void fence(const struct lafs_host_mem *m, size_t size) { (void)m, (void)size; }
#endif

/* Aligned, and on large pages where it is large. Half as much again as is asked for: how many rows an op sees is drawn
 * anew in each step (drop-path), and a step that sees more than those before it shall find room. */
static int grow(struct lafs_dev *d, struct lafs_host_mem *m, size_t size)
{
    struct lafs_err err = {0};
    size += size / 2;
    lafs_host_free(d, m->p);
    m->size = 0;
    if (lafs_host_alloc(d, &m->p, size, &err) != LAFS_OK) {
        lafs_host_failed(d, &err);
        return 0;
    }
    m->size = size;
    return 1;
}

int lafs_cpu_reserve(struct lafs_dev *d, size_t size)
{
    for (int i = 0; i < d->workers; i++) {
        if (d->scratch[i].size < size && !grow(d, &d->scratch[i], size)) return 0;
        fence(&d->scratch[i], size);
    }
    return 1;
}

void *lafs_cpu_shared(struct lafs_dev *d, size_t size)
{
    if (d->shared.size < size && !grow(d, &d->shared, size)) return NULL;
    fence(&d->shared, size);
    return d->shared.p;
}

static lafs_status cpu_open(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    char isa[160];
    LAFS_TRY(lafs_isa_from_environment(err));
    LAFS_TRY(lafs_host_open(out, arg, pool, err));
    struct lafs_dev *d = *out;
    /* What a result can depend on: fused multiply-add or none, tiles, and the compiler. */
    lafs_isa_describe(isa, sizeof isa);
    snprintf(d->text, sizeof d->text, "cpu, %s, compiler %s", isa, __VERSION__);
    return LAFS_OK;
}

static const struct lafs_ops ops = {
    .version = LAFS_BACKEND_VERSION,
    .name = "cpu",
    .open = cpu_open,
    .close = lafs_host_close,
    .describe = lafs_host_describe,
    .alloc = lafs_host_alloc,
    .free = lafs_host_free,
    .upload = lafs_host_copy,
    .download = lafs_host_copy,
    .copy = lafs_host_copy,
    .zero = lafs_host_zero,
    .sync = lafs_host_sync,
    .scale = lafs_cpu_scale,
    .axpy = lafs_cpu_axpy,
    .lerp = lafs_cpu_lerp,
    .act_bwd = lafs_cpu_act_bwd,
    .dropout = lafs_cpu_dropout,
    .u8_to_f32 = lafs_cpu_u8_to_f32,
    .linear = lafs_cpu_linear,
    .linear_bwd_x = lafs_cpu_linear_bwd_x,
    .linear_bwd_w = lafs_cpu_linear_bwd_w,
    .assemble = lafs_cpu_assemble,
    .assemble_bwd = lafs_cpu_assemble_bwd,
    .add_norm = lafs_cpu_add_norm,
    .add_norm_bwd = lafs_cpu_add_norm_bwd,
    .attention = lafs_cpu_attention,
    .attention_bwd = lafs_cpu_attention_bwd,
    .rows_gather = lafs_cpu_rows_gather,
    .rows_scatter = lafs_cpu_rows_scatter,
    .patch_cut = lafs_cpu_patch_cut,
    .patch_cut_bwd = lafs_cpu_patch_cut_bwd,
    .grid_cut = lafs_ref_grid_cut,
    .batchnorm = lafs_cpu_batchnorm,
    .batchnorm_bwd = lafs_cpu_batchnorm_bwd,
    .unit = lafs_cpu_unit,
    .unit_bwd = lafs_cpu_unit_bwd,
    .unit_out = lafs_cpu_unit_out,
    .channel_mean = lafs_cpu_channel_mean,
    .channel_mean_bwd = lafs_cpu_channel_mean_bwd,
    .channel_scale = lafs_cpu_channel_scale,
    .channel_scale_bwd = lafs_cpu_channel_scale_bwd,
    .minmax = lafs_ref_minmax,
    .minmax_bwd = lafs_ref_minmax_bwd,
    .l2norm = lafs_cpu_l2norm,
    .l2norm_bwd = lafs_cpu_l2norm_bwd,
    .dino_loss = lafs_cpu_dino_loss,
    .margin_scratch = lafs_cpu_margin_scratch,
    .margin_loss = lafs_cpu_margin_loss,
    .margin_most = lafs_cpu_margin_most,
    .margin_sums = lafs_cpu_margin_sums,
    .margin_slopes = lafs_cpu_margin_slopes,
    .mse = lafs_cpu_mse,
    .norms = lafs_cpu_norms,
    .adamw = lafs_cpu_adamw,
    .render = lafs_cpu_render,
    .scan = lafs_cpu_scan,
    .conv = lafs_cpu_conv,
    .conv_bwd_x = lafs_cpu_conv_bwd_x,
    .conv_bwd_w = lafs_cpu_conv_bwd_w,
    .depthwise = lafs_cpu_depthwise,
    .depthwise_bwd_x = lafs_cpu_depthwise_bwd_x,
    .depthwise_bwd_w = lafs_cpu_depthwise_bwd_w,
    .separable = lafs_cpu_separable,
    .bottlenecks_size = lafs_cpu_bottlenecks_size,
    .bottlenecks_pack = lafs_cpu_bottlenecks_pack,
    .bottlenecks = lafs_cpu_bottlenecks,
    .maxpool2 = lafs_cpu_maxpool2,
    .upsample2_add = lafs_cpu_upsample2_add,
    .maxpool2_bwd = lafs_cpu_maxpool2_bwd,
    .upsample2_bwd = lafs_cpu_upsample2_bwd,
};

const struct lafs_ops *lafs_cpu_ops(void) { return &ops; }
