/* The reference backend: plain loops that read like the formula, the truth in tests. What the host backends (this one
 * and kernels/cpu) share stands here too. Signatures and meaning of every op: compute/backend.h. */
#ifndef LAFS_KERNELS_REF_H
#define LAFS_KERNELS_REF_H

#include "compute/backend.h"

/* A device whose memory is the host's. */
struct lafs_dev {
    struct lafs_pool *pool; /* borrowed; NULL: one thread */
    int workers;
    struct lafs_host_mem {
        void *p;
        size_t size;
    } *scratch,             /* (workers), each one's own: see kernels/cpu/cpu.h */
        shared;             /* one for all */
    struct lafs_err err;    /* the first failure; reported by sync */
    char text[320];         /* what describe returns */
};

/* Device functions of both host backends, but for describe's text. */
lafs_status lafs_host_open(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err);
void lafs_host_close(struct lafs_dev *d);
const char *lafs_host_describe(struct lafs_dev *d);
lafs_status lafs_host_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err);
void lafs_host_free(struct lafs_dev *d, void *p);
void lafs_host_copy(struct lafs_dev *d, void *to, const void *from, size_t size);
void lafs_host_zero(struct lafs_dev *d, void *p, size_t size);
lafs_status lafs_host_sync(struct lafs_dev *d, struct lafs_err *err);
/* Remembers a failure inside an op (the first one stays). Call it from the thread that called the op. */
void lafs_host_failed(struct lafs_dev *d, const struct lafs_err *err);

/* -- what several ops need -- */
double lafs_ref_act(enum lafs_act act, double x);
double lafs_ref_act_slope(enum lafs_act act, double x); /* derivative, at kinks too as act.h has it */
/* Factors of element e of sequence i: 0 or 1/(1-p); 1 when drop is NULL. */
float lafs_ref_drop(const struct lafs_drop *drop, int64_t seq, int64_t e);
float lafs_ref_path(const struct lafs_drop *path, int64_t seq);

/* -- the ops: see compute/backend.h -- */
/* elementwise.c */
void lafs_ref_scale(struct lafs_dev *d, int64_t n, float a, float *x);
void lafs_ref_axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y);
void lafs_ref_lerp(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y);
void lafs_ref_act_bwd(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx);
void lafs_ref_dropout(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                      const float *x, float *y);
void lafs_ref_u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y);
void lafs_ref_rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y);
void lafs_ref_rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                           const float *dy, float *dx, int add);
/* linear.c */
void lafs_ref_linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                     int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                     const struct lafs_drop *drop, float *pre, float *y);
void lafs_ref_linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                           int64_t out, const float *dy, const float *w, float *dx);
void lafs_ref_linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                           const float *x, const float *dy, float *dw, float *db);
/* transformer.c */
void lafs_ref_assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj,
                       const float *cls, const float *pos, const struct lafs_drop *drop, float *x);
void lafs_ref_assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                           const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos);
void lafs_ref_add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                       const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                       const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                       float *x_out, float *y, float *mean, float *rstd);
void lafs_ref_add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                           const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                           const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                           float *dx, float *dbranch, float *dg, float *db);
void lafs_ref_attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                        const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                        const float *kv, int64_t ldkv, float *out, float *lse);
void lafs_ref_attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                            const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                            const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                            float *dq, float *dkv);
/* loss.c */
void lafs_ref_l2norm(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm);
void lafs_ref_l2norm_bwd(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx, int add);
void lafs_ref_dino_loss(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                        const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                        float *dstudent, float *center_mean, double *stats);
size_t lafs_ref_margin_scratch(int64_t b, int64_t dim, int64_t classes);
void lafs_ref_margin_loss(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                          const float *emb, const float *weight, const struct lafs_target *target,
                          enum lafs_margin kind, float s, float m, float grad_scale, void *scratch, double *loss,
                          float *demb, float *dweight, float *logits);
void lafs_ref_margin_most(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most);
void lafs_ref_margin_sums(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                          double *sums);
void lafs_ref_margin_slopes(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                            float *cosine);
void lafs_ref_mse(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                  double *loss, float *da);
/* optim.c */
void lafs_ref_norms(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm);
void lafs_ref_adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                    const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                    float *v);
/* patch.c */
void lafs_ref_patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                        const float *images, const float *landmarks, float *tokens);
void lafs_ref_patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                            const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                            float *dimages);
void lafs_ref_grid_cut(struct lafs_dev *d, int64_t n, int side, int p, const float *images, float *tokens);
/* norm2d.c */
void lafs_ref_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd);
void lafs_ref_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta);
void lafs_ref_channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y);
void lafs_ref_channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx,
                               int add);
void lafs_ref_channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                            enum lafs_act act, float *y);
void lafs_ref_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds);
void lafs_ref_minmax(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, float *theta,
                     int32_t *arg);
void lafs_ref_minmax_bwd(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, const int32_t *arg,
                         const float *dtheta, float *dt);

/* conv.c */
void lafs_ref_conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                   enum lafs_act act, float *y);
void lafs_ref_conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx);
void lafs_ref_conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw);
void lafs_ref_depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y);
void lafs_ref_depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w,
                              float *dx);
void lafs_ref_depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy,
                              float *dw);
void lafs_ref_separable(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w1,
                        const float *b1, const float *w2, const float *b2, enum lafs_act act, float *y);
void lafs_ref_maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
void lafs_ref_upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y);
void lafs_ref_maxpool2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                           const float *dy, float *dx);
void lafs_ref_upsample2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx);
/* bottleneck.c */
size_t lafs_ref_bottlenecks_size(int count, const struct lafs_bottleneck *g);
void lafs_ref_bottlenecks_pack(struct lafs_dev *d, int count, const struct lafs_bottleneck *g, void *packed);
void lafs_ref_bottlenecks(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g,
                          const void *packed, const float *x, float *y);
/* unit.c */
void lafs_ref_unit(struct lafs_dev *d, const struct lafs_bn_unit *u, float momentum, float *run_mean, float *run_var);
void lafs_ref_unit_bwd(struct lafs_dev *d, const struct lafs_bn_unit *u, const float *dy, const float *of_y,
                       const float *add, float *dx, float *of_x, float *dw, float *dgamma, float *dbeta);
void lafs_ref_unit_out(struct lafs_dev *d, int64_t rows, int64_t c, const struct lafs_bn_map *x, const float *add,
                       float *y);
/* render.c */
void lafs_ref_render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                     const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented);
/* scan.c */
void lafs_ref_scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                   const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits);
void lafs_ref_hit_list(struct lafs_dev *d, int64_t nq, int64_t words, const uint64_t *hits, int64_t most, int64_t *off,
                       struct lafs_hit_word *list);

#endif
