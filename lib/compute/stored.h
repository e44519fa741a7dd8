/* Activations stored as the backend likes: fp32, or bf16 where products are in bf16 and it has ops over that (`bf16` in
 * the table). One model, written with these ops, serves both. What is of unknown type is void *; weights, and biases of
 * linear layers, are places in flat arrays.
 *
 *     const struct lafs_bf16_ops *bf16 = lafs_stored_ops(&b, widths);   // once, when memory is planned
 *     void *y = lafs_arena_take(a, rows * width, lafs_stored_size(bf16));
 *     struct lafs_stored s = {&b, bf16, value, rounded, first};
 *     lafs_stored_linear(&s, &seqs, in, out, x, w, -1, LAFS_ACT_NONE, NULL, NULL, y);
 *
 * Arguments are those of compute/backend.h. */
#ifndef LAFS_COMPUTE_STORED_H
#define LAFS_COMPUTE_STORED_H

#include "compute/backend.h"

struct lafs_stored {
    const struct lafs_backend *b;
    const struct lafs_bf16_ops *bf16; /* NULL: activations are fp32 */
    const float *value;               /* the model's flat array */
    const struct lafs_bf16 *rounded;  /* with bf16: a copy of it, from number `first` on */
    int64_t first;
};

/* NULL: fp32. all_widths: of the activations, or-ed; bf16 wants multiples of 8. */
const struct lafs_bf16_ops *lafs_stored_ops(const struct lafs_backend *b, int64_t all_widths);
static inline size_t lafs_stored_size(const struct lafs_bf16_ops *bf16)
{
    return bf16 ? sizeof(struct lafs_bf16) : sizeof(float);
}
/* Element i of x. */
static inline void *lafs_stored_at(const struct lafs_stored *s, void *x, int64_t i)
{
    return (char *)x + i * (int64_t)lafs_stored_size(s->bf16);
}

/* w, b: places in the flat array; b < 0: no bias. */
void lafs_stored_linear(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t in, int64_t out,
                        const void *x, int64_t w, int64_t b, enum lafs_act act, const struct lafs_drop *drop, void *pre,
                        void *y);
void lafs_stored_linear_bwd_x(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t in, int64_t out,
                              const void *dy, int64_t w, void *dx);
/* The gradient of a bias is += once: in fp32 here, to db; in bf16 by the op that makes dy and has it at hand, to its
 * dbias. Both are told the place. */
void lafs_stored_linear_bwd_w(const struct lafs_stored *s, int64_t rows, int64_t in, int64_t out, const void *x,
                              const void *dy, float *dw, float *db);
/* dy becomes the gradient of what act was applied to: back through drop and act. */
void lafs_stored_act_bwd(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t width, enum lafs_act act,
                         const struct lafs_drop *drop, const void *pre, void *dy, float *dbias);

/* The residual stream's sequences, and which of them a branch and a norm have. */
struct lafs_stored_sum {
    const struct lafs_seqs *seqs;
    int64_t width;
    const struct lafs_some *from, *to;
    const struct lafs_drop *drop, *path;
};
/* g, b: places. */
void lafs_stored_add_norm(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *x,
                          const void *branch, int64_t g, int64_t b, float *x_out, void *y, float *mean, float *rstd);
/* The last of a model: y is fp32 in any case; of all sequences. */
void lafs_stored_add_norm_out(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *x,
                              const void *branch, int64_t g, int64_t b, float *x_out, float *y, float *mean,
                              float *rstd);
void lafs_stored_add_norm_bwd(const struct lafs_stored *s, const struct lafs_stored_sum *a, const void *dy,
                              const float *x_out, const float *mean, const float *rstd, int64_t g, float *dx,
                              void *dbranch, float *dg, float *db, float *dbias);
void lafs_stored_add_norm_out_bwd(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *dy,
                                  const float *x_out, const float *mean, const float *rstd, int64_t g, float *dx,
                                  void *dbranch, float *dg, float *db, float *dbias);

/* Where attention finds queries, keys and values; or their gradients. */
struct lafs_stored_heads {
    const struct lafs_seqs *qs, *seqs;
    int64_t heads;
    float scale;
    void *q;
    int64_t ldq;
    void *kv;
    int64_t ldkv;
};
void lafs_stored_attention(const struct lafs_stored *s, const struct lafs_stored_heads *a, void *out, float *lse);
/* dq, dkv: laid out as q and kv. */
void lafs_stored_attention_bwd(const struct lafs_stored *s, const struct lafs_stored_heads *a, const void *out,
                               const float *lse, const void *dout, void *dq, void *dkv);

void lafs_stored_rows_gather(const struct lafs_stored *s, int64_t n, int64_t width, const int64_t *row, const void *x,
                             void *y);
/* dx[row[i]] += dy[i]; dx has `rows`. */
void lafs_stored_rows_add(const struct lafs_stored *s, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                          const void *dy, void *dx);

#endif
