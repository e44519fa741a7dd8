#include "compute/stored.h"

const struct lafs_bf16_ops *lafs_stored_ops(const struct lafs_backend *b, int64_t all_widths)
{
    return b->precision == LAFS_PRECISION_BF16 && all_widths % 8 == 0 ? b->ops->bf16 : NULL;
}

static const struct lafs_bf16 *rounded_at(const struct lafs_stored *s, int64_t place)
{
    return place < 0 ? NULL : s->rounded + (place - s->first);
}
static const float *value_at(const struct lafs_stored *s, int64_t place) { return place < 0 ? NULL : s->value + place; }

void lafs_stored_linear(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t in, int64_t out,
                        const void *x, int64_t w, int64_t b, enum lafs_act act, const struct lafs_drop *drop, void *pre,
                        void *y)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16) s->bf16->linear(d, seqs, in, out, x, rounded_at(s, w), rounded_at(s, b), act, drop, pre, y);
    else
        s->b->ops->linear(d, s->b->precision, seqs, in, out, x, value_at(s, w), value_at(s, b), act, drop, pre, y);
}

void lafs_stored_linear_bwd_x(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t in, int64_t out,
                              const void *dy, int64_t w, void *dx)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16) s->bf16->linear_bwd_x(d, seqs, in, out, dy, rounded_at(s, w), dx);
    else s->b->ops->linear_bwd_x(d, s->b->precision, seqs, in, out, dy, value_at(s, w), dx);
}

void lafs_stored_linear_bwd_w(const struct lafs_stored *s, int64_t rows, int64_t in, int64_t out, const void *x,
                              const void *dy, float *dw, float *db)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16) s->bf16->linear_bwd_w(d, rows, in, out, x, dy, dw);
    else s->b->ops->linear_bwd_w(d, s->b->precision, rows, in, out, x, dy, dw, db);
}

void lafs_stored_act_bwd(const struct lafs_stored *s, const struct lafs_seqs *seqs, int64_t width, enum lafs_act act,
                         const struct lafs_drop *drop, const void *pre, void *dy, float *dbias)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16) {
        s->bf16->act_bwd(d, seqs, width, act, drop, pre, dy, dy, dbias);
        return;
    }
    s->b->ops->dropout(d, seqs, width, drop, dy, dy);
    s->b->ops->act_bwd(d, lafs_seqs_rows(seqs) * width, act, pre, dy, dy);
}

void lafs_stored_add_norm(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *x,
                          const void *branch, int64_t g, int64_t b, float *x_out, void *y, float *mean, float *rstd)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16)
        s->bf16->add_norm(d, a->seqs, a->width, x, a->from, branch, a->drop, a->path, a->to, value_at(s, g),
                          value_at(s, b), x_out, y, mean, rstd);
    else
        s->b->ops->add_norm(d, a->seqs, a->width, x, a->from, branch, a->drop, a->path, a->to, value_at(s, g),
                            value_at(s, b), x_out, y, mean, rstd);
}

void lafs_stored_add_norm_out(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *x,
                              const void *branch, int64_t g, int64_t b, float *x_out, float *y, float *mean,
                              float *rstd)
{
    const struct lafs_ops *op = s->b->ops;
    struct lafs_dev *d = s->b->dev;
    if (!s->bf16) {
        lafs_stored_add_norm(s, a, x, branch, g, b, x_out, y, mean, rstd);
        return;
    }
    s->bf16->add_norm(d, a->seqs, a->width, x, a->from, branch, a->drop, a->path, NULL, NULL, NULL, x_out, NULL, NULL,
                      NULL);
    op->add_norm(d, a->seqs, a->width, x_out, NULL, NULL, NULL, NULL, NULL, value_at(s, g), value_at(s, b), NULL, y,
                 mean, rstd);
}

void lafs_stored_add_norm_bwd(const struct lafs_stored *s, const struct lafs_stored_sum *a, const void *dy,
                              const float *x_out, const float *mean, const float *rstd, int64_t g, float *dx,
                              void *dbranch, float *dg, float *db, float *dbias)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16)
        s->bf16->add_norm_bwd(d, a->seqs, a->width, a->to, dy, x_out, mean, rstd, value_at(s, g), a->from, a->drop,
                              a->path, dx, dbranch, dg, db, dbias);
    else
        s->b->ops->add_norm_bwd(d, a->seqs, a->width, a->to, dy, x_out, mean, rstd, value_at(s, g), a->from, a->drop,
                                a->path, dx, dbranch, dg, db);
}

void lafs_stored_add_norm_out_bwd(const struct lafs_stored *s, const struct lafs_stored_sum *a, const float *dy,
                                  const float *x_out, const float *mean, const float *rstd, int64_t g, float *dx,
                                  void *dbranch, float *dg, float *db, float *dbias)
{
    struct lafs_dev *d = s->b->dev;
    if (!s->bf16) {
        lafs_stored_add_norm_bwd(s, a, dy, x_out, mean, rstd, g, dx, dbranch, dg, db, dbias);
        return;
    }
    s->b->ops->add_norm_bwd(d, a->seqs, a->width, NULL, dy, x_out, mean, rstd, value_at(s, g), NULL, NULL, NULL, dx,
                            NULL, dg, db);
    s->bf16->add_norm_bwd(d, a->seqs, a->width, NULL, NULL, x_out, NULL, NULL, NULL, a->from, a->drop, a->path, dx,
                          dbranch, NULL, NULL, dbias);
}

void lafs_stored_attention(const struct lafs_stored *s, const struct lafs_stored_heads *a, void *out, float *lse)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16) s->bf16->attention(d, a->qs, a->seqs, a->heads, a->scale, a->q, a->ldq, a->kv, a->ldkv, out, lse);
    else
        s->b->ops->attention(d, s->b->precision, a->qs, a->seqs, a->heads, a->scale, a->q, a->ldq, a->kv, a->ldkv, out,
                             lse);
}

void lafs_stored_attention_bwd(const struct lafs_stored *s, const struct lafs_stored_heads *a, const void *out,
                               const float *lse, const void *dout, void *dq, void *dkv)
{
    struct lafs_dev *d = s->b->dev;
    if (s->bf16)
        s->bf16->attention_bwd(d, a->qs, a->seqs, a->heads, a->scale, a->q, a->ldq, a->kv, a->ldkv, out, lse, dout, dq,
                               dkv);
    else
        s->b->ops->attention_bwd(d, s->b->precision, a->qs, a->seqs, a->heads, a->scale, a->q, a->ldq, a->kv, a->ldkv,
                                 out, lse, dout, dq, dkv);
}

void lafs_stored_rows_gather(const struct lafs_stored *s, int64_t n, int64_t width, const int64_t *row, const void *x,
                             void *y)
{
    if (s->bf16) s->bf16->rows_gather(s->b->dev, n, width, row, x, y);
    else s->b->ops->rows_gather(s->b->dev, n, width, row, x, y);
}

void lafs_stored_rows_add(const struct lafs_stored *s, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                          const void *dy, void *dx)
{
    if (s->bf16) s->bf16->rows_add(s->b->dev, n, width, row, dy, dx);
    else s->b->ops->rows_scatter(s->b->dev, n, rows, width, row, dy, dx, 1);
}
