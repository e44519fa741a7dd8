/* The CPU backend: the same results as kernels/ref within rounding, fast, on all threads of a pool.
 *
 * How work is cut, so that no result depends on threads or neighbours: a tile is a set of rows of one sequence, or a
 * block of outputs; its size is fixed by the op and the sequence, never by the number of threads or by the batch. What
 * belongs to one tile is computed by one worker in one order; sums over tiles are added in tile order. */
#ifndef LAFS_KERNELS_CPU_H
#define LAFS_KERNELS_CPU_H

#include "kernels/cpu/gemm.h"
#include "kernels/ref/ref.h"

/* Makes every worker's scratch at least `size` bytes. Called before a loop over tiles; 0 when memory is out (the device
 * then holds the failure, and the op returns without doing anything). Content does not survive an op. */
int lafs_cpu_reserve(struct lafs_dev *d, size_t size);
static inline void *lafs_cpu_scratch(struct lafs_dev *d, int worker) { return d->scratch[worker].p; }
/* One buffer for the whole op, shared by its tiles; NULL (and a failure in the device) when memory is out. */
void *lafs_cpu_shared(struct lafs_dev *d, size_t size);

/* elementwise.c */
void lafs_cpu_scale(struct lafs_dev *d, int64_t n, float a, float *x);
void lafs_cpu_axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y);
void lafs_cpu_lerp(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y);
void lafs_cpu_act_bwd(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx);
void lafs_cpu_dropout(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                      const float *x, float *y);
void lafs_cpu_u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y);
void lafs_cpu_rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y);
void lafs_cpu_rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                           const float *dy, float *dx, int add);
/* linear.c */
void lafs_cpu_linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                     int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                     const struct lafs_drop *drop, float *pre, float *y);
void lafs_cpu_linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                           int64_t out, const float *dy, const float *w, float *dx);
void lafs_cpu_linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                           const float *x, const float *dy, float *dw, float *db);
/* transformer.c */
void lafs_cpu_assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj,
                       const float *cls, const float *pos, const struct lafs_drop *drop, float *x);
void lafs_cpu_assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                           const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos);
void lafs_cpu_add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                       const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                       const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                       float *x_out, float *y, float *mean, float *rstd);
void lafs_cpu_add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                           const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                           const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                           float *dx, float *dbranch, float *dg, float *db);
void lafs_cpu_attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                        const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                        const float *kv, int64_t ldkv, float *out, float *lse);
void lafs_cpu_attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                            const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                            const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                            float *dq, float *dkv);
/* norm.c, dino.c, margin.c */
void lafs_cpu_l2norm(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm);
void lafs_cpu_l2norm_bwd(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx, int add);
void lafs_cpu_dino_loss(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                        const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                        float *dstudent, float *center_mean, double *stats);
size_t lafs_cpu_margin_scratch(int64_t b, int64_t dim, int64_t classes);
void lafs_cpu_margin_loss(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                          const float *emb, const float *weight, const struct lafs_target *target,
                          enum lafs_margin kind, float s, float m, float grad_scale, void *scratch, double *loss,
                          float *demb, float *dweight, float *logits);
void lafs_cpu_margin_most(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most);
void lafs_cpu_margin_sums(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                          double *sums);
void lafs_cpu_margin_slopes(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                            float *cosine);
void lafs_cpu_mse(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                  double *loss, float *da);
/* optim.c */
void lafs_cpu_norms(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm);
void lafs_cpu_adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                    const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                    float *v);
/* patch.c */
void lafs_cpu_patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                        const float *images, const float *landmarks, float *tokens);
void lafs_cpu_patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                            const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                            float *dimages);
/* norm2d.c */
void lafs_cpu_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd);
void lafs_cpu_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta);
void lafs_cpu_channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y);
void lafs_cpu_channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx,
                               int add);
void lafs_cpu_channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                            enum lafs_act act, float *y);
void lafs_cpu_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds);
/* unit.c */
void lafs_cpu_unit(struct lafs_dev *d, const struct lafs_bn_unit *u, float momentum, float *run_mean, float *run_var);
void lafs_cpu_unit_bwd(struct lafs_dev *d, const struct lafs_bn_unit *u, const float *dy, const float *of_y,
                       const float *add, float *dx, float *of_x, float *dw, float *dgamma, float *dbeta);
void lafs_cpu_unit_out(struct lafs_dev *d, int64_t rows, int64_t c, const struct lafs_bn_map *x, const float *add,
                       float *y);
/* conv.c */
void lafs_cpu_conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                   enum lafs_act act, float *y);
void lafs_cpu_conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
void lafs_cpu_conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
void lafs_cpu_depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y);
void lafs_cpu_depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w,
                              float *dx);
void lafs_cpu_depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy,
                              float *dw);
void lafs_cpu_maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
void lafs_cpu_upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
void lafs_cpu_maxpool2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                           const float *dy, float *dx);
void lafs_cpu_upsample2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx);
/* separable.c */
void lafs_cpu_separable(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w1,
                        const float *b1, const float *w2, const float *b2, enum lafs_act act, float *y);
/* bottleneck.c */
size_t lafs_cpu_bottlenecks_size(int count, const struct lafs_bottleneck *g);
void lafs_cpu_bottlenecks_pack(struct lafs_dev *d, int count, const struct lafs_bottleneck *g, void *packed);
void lafs_cpu_bottlenecks(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g,
                          const void *packed, const float *x, float *y);
/* render.c */
void lafs_cpu_render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                     const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented);
/* scan.c */
void lafs_cpu_scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                   const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits);

#endif
