#include "model/vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name;
    int dim, depth, heads, mlp;
} sizes[] = {{"b", 768, 12, 11, 2048}, {"s", 384, 12, 6, 1024}, {"t", 192, 12, 3, 512}, {"xs", 128, 4, 2, 512}};
enum { SIZES = sizeof sizes / sizeof *sizes };

lafs_status lafs_vit_config_named(struct lafs_vit_config *c, const char *size, struct lafs_err *err)
{
    for (int i = 0; i < SIZES; i++)
        if (!strcmp(size, sizes[i].name)) {
            *c = (struct lafs_vit_config){
                .dim = sizes[i].dim,
                .depth = sizes[i].depth,
                .heads = sizes[i].heads,
                .mlp = sizes[i].mlp,
                .patches = 196,
                .patch = 8,
                .dropout = 0.1f,
                .drop_path = 0.1f,
            };
            return LAFS_OK;
        }
    return lafs_fail(err, LAFS_USAGE, "there is no size '%s': it is b, s, t or xs", size);
}

const char *lafs_vit_size_name(const struct lafs_vit_config *c)
{
    for (int i = 0; i < SIZES; i++)
        if (c->dim == sizes[i].dim && c->depth == sizes[i].depth && c->heads == sizes[i].heads &&
            c->mlp == sizes[i].mlp)
            return sizes[i].name;
    return "custom";
}

lafs_status lafs_vit_config_check(const struct lafs_vit_config *c, struct lafs_err *err)
{
    int root = (int)lround(sqrt(c->patches > 0 ? c->patches : 0));
    if (c->dim < 1 || c->dim > LAFS_VIT_MAX_DIM)
        return lafs_fail(err, LAFS_USAGE, "width %d is not in 1..%d", c->dim, LAFS_VIT_MAX_DIM);
    if (c->depth < 1 || c->depth > LAFS_VIT_MAX_DEPTH)
        return lafs_fail(err, LAFS_USAGE, "depth %d is not in 1..%d", c->depth, LAFS_VIT_MAX_DEPTH);
    if (c->heads < 1 || c->heads > 64) return lafs_fail(err, LAFS_USAGE, "%d heads are not in 1..64", c->heads);
    if (c->mlp < 1 || c->mlp > 65536) return lafs_fail(err, LAFS_USAGE, "MLP width %d is not in 1..65536", c->mlp);
    if (c->patches < 1 || c->patches > 4096 || root * root != c->patches)
        return lafs_fail(err, LAFS_USAGE, "%d patches are no square number of at most 4096", c->patches);
    if (c->patch < 2 || c->patch > 32 || c->patch % 2)
        return lafs_fail(err, LAFS_USAGE, "a patch of %d pixels is not even and in 2..32", c->patch);
    return LAFS_OK;
}

/* -- parameters -- */

struct declaration {
    struct lafs_params *ps;
    int depth;
    struct lafs_err *err;
    lafs_status status;
};

/* Adds a parameter (b = 0: one dimension) and gives its place; a failure is remembered. */
static int64_t add(struct declaration *d, const char *name, int64_t a, int64_t b, enum lafs_init init, double range)
{
    const int64_t shape[2] = {a, b};
    int id;
    if (d->status == LAFS_OK)
        d->status = lafs_params_add(d->ps, name, b ? 2 : 1, shape, 1, init, (float)range, d->depth, &id, d->err);
    return d->status == LAFS_OK ? d->ps->p[id].off : 0;
}

/* PyTorch's Linear: weight and bias U(+-1/sqrt(fan_in)). */
static void add_linear(struct declaration *d, const char *name, int64_t out, int64_t in, int64_t *w, int64_t *b)
{
    char full[2 * LAFS_MAX_TENSOR_NAME];
    double range = 1 / sqrt((double)in);
    snprintf(full, sizeof full, "%s.weight", name);
    *w = add(d, full, out, in, LAFS_INIT_UNIFORM, range);
    snprintf(full, sizeof full, "%s.bias", name);
    if (b) *b = add(d, full, out, 0, LAFS_INIT_UNIFORM, range);
}

static void add_norm(struct declaration *d, const char *name, int64_t width, int64_t *g, int64_t *b)
{
    char full[2 * LAFS_MAX_TENSOR_NAME];
    snprintf(full, sizeof full, "%s.weight", name);
    *g = add(d, full, width, 0, LAFS_INIT_ONE, 0);
    snprintf(full, sizeof full, "%s.bias", name);
    *b = add(d, full, width, 0, LAFS_INIT_ZERO, 0);
}

static void add_block(struct declaration *d, struct lafs_vit_block *k, const struct lafs_vit_config *c, int l)
{
    char name[LAFS_MAX_TENSOR_NAME];
    int64_t wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
#define NAME(tail) (snprintf(name, sizeof name, "transformer.layers.%d.%s", l, tail), name)
    add_norm(d, NAME("0.fn.norm"), c->dim, &k->norm1_g, &k->norm1_b);
    add_linear(d, NAME("0.fn.fn.to_qkv"), 3 * wide, c->dim, &k->qkv_w, NULL);
    add_linear(d, NAME("0.fn.fn.to_out.0"), c->dim, wide, &k->out_w, &k->out_b);
    add_norm(d, NAME("1.fn.norm"), c->dim, &k->norm2_g, &k->norm2_b);
    add_linear(d, NAME("1.fn.fn.net.0"), c->mlp, c->dim, &k->fc1_w, &k->fc1_b);
    add_linear(d, NAME("1.fn.fn.net.3"), c->dim, c->mlp, &k->fc2_w, &k->fc2_b);
#undef NAME
}

lafs_status lafs_vit_declare(struct lafs_vit *v, const struct lafs_vit_config *c, struct lafs_params *ps,
                             struct lafs_err *err)
{
    const int64_t pos_shape[3] = {1, c->patches + 1, c->dim}, cls_shape[3] = {1, 1, c->dim};
    int id;
    LAFS_TRY(lafs_vit_config_check(c, err));
    v->config = *c;
    LAFS_TRY(lafs_params_add(ps, "pos_embedding", 3, pos_shape, 1, LAFS_INIT_NORMAL, 1, 0, &id, err));
    v->pos = ps->p[id].off;
    LAFS_TRY(lafs_params_add(ps, "cls_token", 3, cls_shape, 1, LAFS_INIT_NORMAL, 1, 0, &id, err));
    v->cls = ps->p[id].off;
    struct declaration d = {ps, 0, err, LAFS_OK};
    add_linear(&d, "patch_to_embedding", c->dim, lafs_token_width(c), &v->embed_w, &v->embed_b);
    for (int l = 0; l < c->depth; l++) {
        d.depth = l + 1;
        add_block(&d, &v->block[l], c, l);
    }
    d.depth = c->depth + 1;
    add_norm(&d, "mlp_head.0", c->dim, &v->head_g, &v->head_b);
    return d.status;
}

/* -- memory -- */

static lafs_status host_memory(struct lafs_vit_work *w, struct lafs_err *err)
{
    size_t n = (size_t)w->max_seqs, l = (size_t)w->vit->config.depth;
    float ***list[] = {&w->y1,  &w->y2,    &w->qkv,   &w->att,   &w->lse,  &w->pre,
                       &w->hid, &w->mean1, &w->rstd1, &w->mean2, &w->rstd2};
    enum { LISTS = sizeof list / sizeof *list };
    float **block;
    LAFS_TRY(lafs_alloc0(&block, 2 * l + 1 + LISTS * l, sizeof *block, err));
    w->pointers = (void *)block;
    w->x = block;
    for (size_t i = 0; i < LISTS; i++) *list[i] = block + 2 * l + 1 + i * l;
    LAFS_TRY(lafs_alloc(&w->rows_off, n + 1, sizeof *w->rows_off, err));
    LAFS_TRY(lafs_alloc(&w->heads_off, n + 1, sizeof *w->heads_off, err));
    return lafs_alloc(&w->cls_row, n, sizeof *w->cls_row, err);
}

void lafs_vit_work_release(struct lafs_vit_work *w)
{
    lafs_free(w->pointers);
    lafs_free(w->rows_off);
    lafs_free(w->heads_off);
    lafs_free(w->cls_row);
    memset(w, 0, sizeof *w);
}

/* Without `keep`, all blocks share one block's memory. */
static void carve(struct lafs_vit_work *w, struct lafs_arena *a)
{
    const struct lafs_vit_config *c = &w->vit->config;
    size_t rows = (size_t)(w->max_tokens + w->max_seqs), seqs = (size_t)w->max_seqs, d = (size_t)c->dim;
    size_t wide = (size_t)c->heads * LAFS_HEAD_WIDTH, m = (size_t)c->mlp;
#define TAKE(n) lafs_arena_take(a, n, sizeof(float))
    w->proj = TAKE((size_t)w->max_tokens * d);
    w->x[0] = TAKE(rows * d);
    for (int l = 0; l < c->depth; l++) {
        int own = w->keep || l == 0;
        w->x[2 * l + 1] = w->keep ? TAKE(rows * d) : w->x[0];
        w->x[2 * l + 2] = w->keep ? TAKE(rows * d) : w->x[0];
        w->y1[l] = own ? TAKE(rows * d) : w->y1[0];
        w->y2[l] = w->keep ? TAKE(rows * d) : w->y1[0];
        w->qkv[l] = own ? TAKE(rows * 3 * wide) : w->qkv[0];
        w->att[l] = own ? TAKE(rows * wide) : w->att[0];
        w->hid[l] = own ? TAKE(rows * m) : w->hid[0];
        w->lse[l] = w->keep ? TAKE(rows * (size_t)c->heads) : NULL;
        w->pre[l] = w->keep ? TAKE(rows * m) : NULL;
        w->mean1[l] = w->keep ? TAKE(rows) : NULL;
        w->rstd1[l] = w->keep ? TAKE(rows) : NULL;
        w->mean2[l] = w->keep ? TAKE(rows) : NULL;
        w->rstd2[l] = w->keep ? TAKE(rows) : NULL;
    }
    w->branch = TAKE(rows * d);
    w->cls_in = TAKE(seqs * d);
    w->cls_mean = TAKE(seqs);
    w->cls_rstd = TAKE(seqs);
    w->dx = w->keep ? TAKE(rows * d) : NULL;
    w->dy = w->keep ? TAKE(rows * d) : NULL;
    w->dwide = w->keep ? TAKE(rows * (3 * wide > m ? 3 * wide : m)) : NULL;
    w->datt = w->keep ? TAKE(rows * wide) : NULL;
#undef TAKE
    w->dev_rows_off = lafs_arena_take(a, seqs + 1, sizeof(int64_t));
    w->dev_heads_off = lafs_arena_take(a, seqs + 1, sizeof(int64_t));
}

lafs_status lafs_vit_plan(struct lafs_vit_work *w, const struct lafs_vit *v, int64_t max_tokens, int64_t max_seqs,
                          int keep, struct lafs_arena *a, struct lafs_err *err)
{
    if (w->vit != v || w->max_tokens != max_tokens || w->max_seqs != max_seqs || w->keep != keep) {
        lafs_vit_work_release(w);
        w->vit = v;
        w->max_tokens = max_tokens;
        w->max_seqs = max_seqs;
        w->keep = keep;
        LAFS_TRY(host_memory(w, err));
    }
    carve(w, a);
    return LAFS_OK;
}

/* -- forward -- */

/* Sequences with their CLS row, and single rows. */
static void lay_out(struct lafs_vit_work *w, const struct lafs_backend *b, const struct lafs_seqs *tokens)
{
    int64_t n = tokens->n;
    for (int64_t i = 0; i <= n; i++) {
        w->rows_off[i] = tokens->off[i] + i;
        w->heads_off[i] = i;
        if (i < n) w->cls_row[i] = w->rows_off[i];
    }
    b->ops->upload(b->dev, w->dev_rows_off, w->rows_off, (size_t)(n + 1) * sizeof *w->rows_off);
    b->ops->upload(b->dev, w->dev_heads_off, w->heads_off, (size_t)(n + 1) * sizeof *w->heads_off);
    w->tokens = *tokens;
    w->rows = (struct lafs_seqs){n, w->rows_off, w->dev_rows_off, tokens->max_len + 1};
    w->heads = (struct lafs_seqs){n, w->heads_off, w->dev_heads_off, 1};
}

struct drops {
    struct lafs_drop embed, att, mid, out, att_path, out_path;
};

/* What is dropped in block l; without keys, nothing. */
static struct drops drops_of(const struct lafs_vit_work *w, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    float p = w->keys ? c->dropout : 0, path = w->keys ? c->drop_path : 0;
    uint32_t site = 4u * (uint32_t)l;
    return (struct drops){{p, 0, w->keys},        {p, site + 1, w->keys},    {p, site + 2, w->keys},
                          {p, site + 3, w->keys}, {path, site + 1, w->keys}, {path, site + 3, w->keys}};
}

static float scale_of(const struct lafs_vit_config *c)
{
    return 1 / sqrtf(c->scale == LAFS_SCALE_DIM ? (float)c->dim : (float)LAFS_HEAD_WIDTH);
}

void lafs_vit_forward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value,
                      const struct lafs_seqs *seqs, const float *tokens, const uint64_t *keys, float *emb)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit *v = w->vit;
    const struct lafs_vit_config *c = &v->config;
    int64_t d = c->dim, wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    lay_out(w, b, seqs);
    w->keys = keys;
    w->in = tokens;
    const struct drops first = drops_of(w, 0);
    op->linear(b->dev, b->precision, &w->tokens, lafs_token_width(c), d, tokens, value + v->embed_w, value + v->embed_b,
               LAFS_ACT_NONE, NULL, NULL, w->proj);
    op->assemble(b->dev, &w->rows, d, w->proj, value + v->cls, value + v->pos, &first.embed, w->x[0]);
    op->add_norm(b->dev, &w->rows, d, w->x[0], NULL, NULL, NULL, value + v->block[0].norm1_g,
                 value + v->block[0].norm1_b, NULL, w->y1[0], w->mean1[0], w->rstd1[0]);
    for (int l = 0; l < c->depth; l++) {
        const struct lafs_vit_block *k = &v->block[l], *next = l + 1 < c->depth ? k + 1 : NULL;
        const struct drops s = drops_of(w, l);
        float **x = w->x + 2 * l;
        op->linear(b->dev, b->precision, &w->rows, d, 3 * wide, w->y1[l], value + k->qkv_w, NULL, LAFS_ACT_NONE, NULL,
                   NULL, w->qkv[l]);
        op->attention(b->dev, b->precision, &w->rows, c->heads, scale_of(c), w->qkv[l], w->att[l], w->lse[l]);
        op->linear(b->dev, b->precision, &w->rows, wide, d, w->att[l], value + k->out_w, value + k->out_b,
                   LAFS_ACT_NONE, NULL, NULL, w->branch);
        op->add_norm(b->dev, &w->rows, d, x[0], w->branch, &s.att, &s.att_path, value + k->norm2_g, value + k->norm2_b,
                     x[1], w->y2[l], w->mean2[l], w->rstd2[l]);
        op->linear(b->dev, b->precision, &w->rows, d, c->mlp, w->y2[l], value + k->fc1_w, value + k->fc1_b,
                   LAFS_ACT_GELU, &s.mid, w->pre[l], w->hid[l]);
        op->linear(b->dev, b->precision, &w->rows, c->mlp, d, w->hid[l], value + k->fc2_w, value + k->fc2_b,
                   LAFS_ACT_NONE, NULL, NULL, w->branch);
        op->add_norm(b->dev, &w->rows, d, x[1], w->branch, &s.out, &s.out_path, next ? value + next->norm1_g : NULL,
                     next ? value + next->norm1_b : NULL, x[2], next ? w->y1[l + 1] : NULL,
                     next ? w->mean1[l + 1] : NULL, next ? w->rstd1[l + 1] : NULL);
    }
    op->rows_gather(b->dev, seqs->n, d, w->cls_row, w->x[2 * c->depth], w->cls_in);
    op->add_norm(b->dev, &w->heads, d, w->cls_in, NULL, NULL, NULL, value + v->head_g, value + v->head_b, NULL, emb,
                 w->cls_mean, w->cls_rstd);
}

/* -- backward -- */

/* Through the MLP of block l: w->dx is the gradient of x[2l+2] on entry, of x[2l+1] on return (w->branch: of the
 * attention's branch). */
static void mlp_backward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value, float *grad, int l)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct drops s = drops_of(w, l);
    int64_t rows = lafs_seqs_rows(&w->rows), d = c->dim;
    op->linear_bwd_w(b->dev, b->precision, rows, c->mlp, d, w->hid[l], w->branch, grad + k->fc2_w, grad + k->fc2_b);
    op->linear_bwd_x(b->dev, b->precision, &w->rows, c->mlp, d, w->branch, value + k->fc2_w, w->dwide);
    op->dropout(b->dev, &w->rows, c->mlp, &s.mid, w->dwide, w->dwide);
    op->act_bwd(b->dev, rows * c->mlp, LAFS_ACT_GELU, w->pre[l], w->dwide, w->dwide);
    op->linear_bwd_w(b->dev, b->precision, rows, d, c->mlp, w->y2[l], w->dwide, grad + k->fc1_w, grad + k->fc1_b);
    op->linear_bwd_x(b->dev, b->precision, &w->rows, d, c->mlp, w->dwide, value + k->fc1_w, w->dy);
    op->add_norm_bwd(b->dev, &w->rows, d, w->dy, w->x[2 * l + 1], w->mean2[l], w->rstd2[l], value + k->norm2_g, &s.att,
                     &s.att_path, w->dx, w->branch, grad + k->norm2_g, grad + k->norm2_b);
}

/* Through the attention of block l: w->dx becomes the gradient of x[2l], w->branch that of the MLP's branch before it.
 * */
static void attention_backward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value, float *grad,
                               int l)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct drops s = drops_of(w, l - 1);
    int64_t rows = lafs_seqs_rows(&w->rows), d = c->dim, wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    op->linear_bwd_w(b->dev, b->precision, rows, wide, d, w->att[l], w->branch, grad + k->out_w, grad + k->out_b);
    op->linear_bwd_x(b->dev, b->precision, &w->rows, wide, d, w->branch, value + k->out_w, w->datt);
    op->attention_bwd(b->dev, b->precision, &w->rows, c->heads, scale_of(c), w->qkv[l], w->att[l], w->lse[l], w->datt,
                      w->dwide);
    op->linear_bwd_w(b->dev, b->precision, rows, d, 3 * wide, w->y1[l], w->dwide, grad + k->qkv_w, NULL);
    op->linear_bwd_x(b->dev, b->precision, &w->rows, d, 3 * wide, w->dwide, value + k->qkv_w, w->dy);
    op->add_norm_bwd(b->dev, &w->rows, d, w->dy, w->x[2 * l], w->mean1[l], w->rstd1[l], value + k->norm1_g,
                     l ? &s.out : NULL, l ? &s.out_path : NULL, w->dx, l ? w->branch : NULL, grad + k->norm1_g,
                     grad + k->norm1_b);
}

void lafs_vit_backward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value, const float *demb,
                       float *grad, float *dtokens)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit *v = w->vit;
    const struct lafs_vit_config *c = &v->config;
    int64_t n = w->tokens.n, rows = lafs_seqs_rows(&w->rows), d = c->dim, token = lafs_token_width(c);
    /* dy serves for the CLS rows' gradient, then for whole rows. */
    op->zero(b->dev, w->dy, (size_t)(n * d) * sizeof(float));
    op->add_norm_bwd(b->dev, &w->heads, d, demb, w->cls_in, w->cls_mean, w->cls_rstd, value + v->head_g, NULL, NULL,
                     w->dy, NULL, grad + v->head_g, grad + v->head_b);
    op->rows_scatter(b->dev, n, rows, d, w->cls_row, w->dy, w->dx);
    const struct drops last = drops_of(w, c->depth - 1), first = drops_of(w, 0);
    op->add_norm_bwd(b->dev, &w->rows, d, NULL, w->x[2 * c->depth], NULL, NULL, NULL, &last.out, &last.out_path, w->dx,
                     w->branch, NULL, NULL);
    for (int l = c->depth - 1; l >= 0; l--) {
        mlp_backward(w, b, value, grad, l);
        attention_backward(w, b, value, grad, l);
    }
    op->assemble_bwd(b->dev, &w->rows, d, w->dx, &first.embed, w->proj, grad + v->cls, grad + v->pos);
    op->linear_bwd_w(b->dev, b->precision, lafs_seqs_rows(&w->tokens), token, d, w->in, w->proj, grad + v->embed_w,
                     grad + v->embed_b);
    if (dtokens) op->linear_bwd_x(b->dev, b->precision, &w->tokens, token, d, w->proj, value + v->embed_w, dtokens);
}
