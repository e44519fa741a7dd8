#include "train/dino.h"

#include <math.h>

lafs_status lafs_dino_declare(struct lafs_dino_head *h, const struct lafs_dino_config *cfg, struct lafs_params *ps,
                              int depth, struct lafs_err *err)
{
    const float std = 0.02f;
    int64_t d = cfg->dim, n = cfg->hidden, k = cfg->bottleneck;
    h->cfg = *cfg;
    const struct {
        const char *name;
        int ndim;
        int64_t shape[2];
        int trainable;
        enum lafs_init init;
        float a;
        int *id;
    } t[] = {
        {"head.mlp.0.weight", 2, {n, d}, 1, LAFS_INIT_NORMAL, std, &h->w0},
        {"head.mlp.0.bias", 1, {n}, 1, LAFS_INIT_ZERO, 0, &h->b0},
        {"head.mlp.2.weight", 2, {n, n}, 1, LAFS_INIT_NORMAL, std, &h->w2},
        {"head.mlp.2.bias", 1, {n}, 1, LAFS_INIT_ZERO, 0, &h->b2},
        {"head.mlp.4.weight", 2, {k, n}, 1, LAFS_INIT_NORMAL, std, &h->w4},
        {"head.mlp.4.bias", 1, {k}, 1, LAFS_INIT_ZERO, 0, &h->b4},
        {"head.last_layer.weight_g", 2, {cfg->out, 1}, 0, LAFS_INIT_ONE, 0, &h->g},
        {"head.last_layer.weight_v", 2, {cfg->out, k}, 1, LAFS_INIT_UNIFORM, 1.0f / sqrtf((float)k), &h->v},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        LAFS_TRY(lafs_params_add(ps, t[i].name, t[i].ndim, t[i].shape, t[i].trainable, t[i].init, t[i].a, depth,
                                 t[i].id, err));
    return LAFS_OK;
}

static float *take(struct lafs_arena *a, int64_t rows, int64_t width)
{
    return lafs_arena_take(a, (size_t)rows * (size_t)width, sizeof(float));
}

void lafs_dino_plan(struct lafs_dino_work *w, const struct lafs_dino_config *c, int64_t rows, int train,
                    struct lafs_arena *a)
{
    w->rows = rows;
    w->pre0 = train ? take(a, rows, c->hidden) : NULL;
    w->h0 = take(a, rows, c->hidden);
    w->pre2 = train ? take(a, rows, c->hidden) : NULL;
    w->h2 = take(a, rows, c->hidden);
    w->z = take(a, rows, c->bottleneck);
    w->zn = take(a, rows, c->bottleneck);
    w->norm = take(a, rows, 1);
    w->wn = take(a, c->out, c->bottleneck);
    w->wnorm = take(a, c->out, 1);
    w->logits = take(a, rows, c->out);
    w->dlogits = train ? take(a, rows, c->out) : NULL;
    w->dwn = train ? take(a, c->out, c->bottleneck) : NULL;
    w->dz = train ? take(a, rows, c->bottleneck) : NULL;
    w->dh = train ? take(a, rows, c->hidden) : NULL;
}

void lafs_dino_forward(const struct lafs_dino_head *h, const struct lafs_backend *b, const struct lafs_params *ps,
                       const float *value, const struct lafs_seqs *s, const float *emb, struct lafs_dino_work *w)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_dino_config *c = &h->cfg;
#define P(id) (value + ps->p[id].off)
    op->linear(b->dev, b->precision, s, c->dim, c->hidden, emb, P(h->w0), P(h->b0), LAFS_ACT_GELU, NULL, w->pre0,
               w->h0);
    op->linear(b->dev, b->precision, s, c->hidden, c->hidden, w->h0, P(h->w2), P(h->b2), LAFS_ACT_GELU, NULL, w->pre2,
               w->h2);
    op->linear(b->dev, b->precision, s, c->hidden, c->bottleneck, w->h2, P(h->w4), P(h->b4), LAFS_ACT_NONE, NULL, NULL,
               w->z);
    op->l2norm(b->dev, s->n, c->bottleneck, w->z, w->zn, w->norm);
    /* Weight normalisation with g = 1 is the same operation on the rows of v. */
    op->l2norm(b->dev, c->out, c->bottleneck, P(h->v), w->wn, w->wnorm);
    op->linear(b->dev, b->precision, s, c->bottleneck, c->out, w->zn, w->wn, NULL, LAFS_ACT_NONE, NULL, NULL,
               w->logits);
}

void lafs_dino_backward(const struct lafs_dino_head *h, const struct lafs_backend *b, const struct lafs_params *ps,
                        const float *value, const struct lafs_seqs *s, const float *emb, struct lafs_dino_work *w,
                        int last, float *demb, float *grad)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_dino_config *c = &h->cfg;
    int64_t rows = s->n;
#define G(id) (grad + ps->p[id].off)
    if (last) {
        op->zero(b->dev, w->dwn, (size_t)(c->out * c->bottleneck) * sizeof(float));
        op->linear_bwd_w(b->dev, b->precision, rows, c->bottleneck, c->out, w->zn, w->dlogits, w->dwn, NULL);
        op->l2norm_bwd(b->dev, c->out, c->bottleneck, w->wn, w->wnorm, w->dwn, G(h->v), 1);
    }
    op->linear_bwd_x(b->dev, b->precision, s, c->bottleneck, c->out, w->dlogits, w->wn, w->dz);
    op->l2norm_bwd(b->dev, rows, c->bottleneck, w->zn, w->norm, w->dz, w->dz, 0);
    op->linear_bwd_w(b->dev, b->precision, rows, c->hidden, c->bottleneck, w->h2, w->dz, G(h->w4), G(h->b4));
    op->linear_bwd_x(b->dev, b->precision, s, c->hidden, c->bottleneck, w->dz, P(h->w4), w->dh);
    op->act_bwd(b->dev, rows * c->hidden, LAFS_ACT_GELU, w->pre2, w->dh, w->dh);
    op->linear_bwd_w(b->dev, b->precision, rows, c->hidden, c->hidden, w->h0, w->dh, G(h->w2), G(h->b2));
    /* h2 is no longer needed: its memory takes the gradient of h0. */
    op->linear_bwd_x(b->dev, b->precision, s, c->hidden, c->hidden, w->dh, P(h->w2), w->h2);
    op->act_bwd(b->dev, rows * c->hidden, LAFS_ACT_GELU, w->pre0, w->h2, w->h2);
    op->linear_bwd_w(b->dev, b->precision, rows, c->dim, c->hidden, emb, w->h2, G(h->w0), G(h->b0));
    op->linear_bwd_x(b->dev, b->precision, s, c->dim, c->hidden, w->h2, P(h->w0), demb);
#undef G
#undef P
}
