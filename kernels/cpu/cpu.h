/* The CPU backend: the same results as kernels/ref within rounding, fast, on all threads of a pool.
 *
 * How work is cut, so that no result depends on threads or neighbours: a tile is a set of rows of one sequence, or a
 * block of outputs; its size is fixed by the op and the sequence, never by the number of threads or by the batch. What
 * belongs to one tile is computed by one worker in one order; sums over tiles are added in tile order. */
#ifndef LAFS_KERNELS_CPU_H
#define LAFS_KERNELS_CPU_H

#include "kernels/cpu/blas.h"
#include "kernels/ref/ref.h"

/* Makes every worker's scratch at least `size` bytes. Called before a loop over tiles; 0 when memory is out (the device
 * then holds the failure, and the op returns without doing anything). Content does not survive an op. */
int lafs_cpu_reserve(struct lafs_dev *d, size_t size);
static inline void *lafs_cpu_scratch(struct lafs_dev *d, int worker) { return d->scratch[worker].p; }
/* One buffer for the whole op, shared by its tiles; NULL (and a failure in the device) when memory is out. */
void *lafs_cpu_shared(struct lafs_dev *d, size_t size);

/* patch.c */
void lafs_cpu_patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed, const float *images,
                        const float *landmarks, float *tokens);
void lafs_cpu_patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                            const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                            float *dimages);
/* norm2d.c */
void lafs_cpu_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act, float *y,
                        float *mean, float *rstd);
void lafs_cpu_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta);
void lafs_cpu_channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y);
void lafs_cpu_channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx, int add);
void lafs_cpu_channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                            enum lafs_act act, float *y);
void lafs_cpu_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds);
/* conv.c */
void lafs_cpu_conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                   enum lafs_act act, float *y);
void lafs_cpu_conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
void lafs_cpu_conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
void lafs_cpu_depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y);
void lafs_cpu_depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
void lafs_cpu_depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
void lafs_cpu_maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
void lafs_cpu_upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
/* render.c */
void lafs_cpu_render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                     const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented);

#endif
