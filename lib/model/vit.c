#include "model/vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "compute/stored.h"

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
    v->first = v->pos = ps->p[id].off;
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
    v->size = ps->size - v->first;
    return d.status;
}

double lafs_vit_flop(const struct lafs_vit_config *c, int64_t patches, int train)
{
    double n = 1 + (double)patches, d = c->dim, wide = (double)c->heads * LAFS_HEAD_WIDTH;
    double mlp = 2 * (double)c->mlp * d; /* multiply-adds a row */
    double block = n * (4 * wide * d + mlp) + 2 * n * n * wide;
    double last = n * 2 * wide * d + (2 * wide * d + mlp) + 2 * n * wide;
    double keep = train ? 1 - (double)c->drop_path : 1;
    return 2 * ((n - 1) * (double)lafs_token_width(c) * d + keep * ((c->depth - 1) * block + last));
}

/* -- memory -- */

static lafs_status host_memory(struct lafs_vit_work *w, struct lafs_err *err)
{
    size_t n = (size_t)w->max_seqs, l = (size_t)w->vit->config.depth;
    float ***list[] = {&w->lse, &w->mean1, &w->rstd1, &w->mean2, &w->rstd2};
    void ***stored[] = {&w->y1, &w->y2, &w->qkv, &w->att, &w->pre, &w->hid};
    enum { LISTS = sizeof list / sizeof *list, STORED = sizeof stored / sizeof *stored };
    float **block;
    LAFS_TRY(lafs_alloc0(&block, 2 * l + 1 + LISTS * l, sizeof *block, err));
    w->pointers = (void *)block;
    w->x = block;
    for (size_t i = 0; i < LISTS; i++) *list[i] = block + 2 * l + 1 + i * l;
    LAFS_TRY(lafs_alloc0(&w->stored, STORED * l, sizeof *w->stored, err));
    for (size_t i = 0; i < STORED; i++) *stored[i] = w->stored + i * l;
    LAFS_TRY(lafs_alloc(&w->rows_off, n + 1, sizeof *w->rows_off, err));
    LAFS_TRY(lafs_alloc(&w->heads_off, n + 1, sizeof *w->heads_off, err));
    LAFS_TRY(lafs_alloc(&w->branches, 2 * l, sizeof *w->branches, err));
    LAFS_TRY(lafs_alloc0(&w->sets, 2 * l * (2 * n + 1), sizeof *w->sets, err));
    return lafs_alloc0(&w->host_keys, (1 + 2 * l) * n, sizeof *w->host_keys, err);
}

void lafs_vit_work_release(struct lafs_vit_work *w)
{
    lafs_free(w->pointers);
    lafs_free(w->stored);
    lafs_free(w->rows_off);
    lafs_free(w->heads_off);
    lafs_free(w->branches);
    lafs_free(w->sets);
    lafs_free(w->host_keys);
    memset(w, 0, sizeof *w);
}

/* Without `keep`, all blocks share one block's memory; the last one's stream of CLS rows stands apart. */
static void carve(struct lafs_vit_work *w, struct lafs_arena *a)
{
    const struct lafs_vit_config *c = &w->vit->config;
    size_t all = (size_t)(w->max_tokens + w->max_seqs), seqs = (size_t)w->max_seqs, d = (size_t)c->dim;
    size_t wide = (size_t)c->heads * LAFS_HEAD_WIDTH, m = (size_t)c->mlp, sets = 2 * (size_t)c->depth;
    const size_t item = lafs_stored_size(w->bf16);
#define TAKE(n) lafs_arena_take(a, n, sizeof(float))
#define STORE(n) lafs_arena_take(a, n, item)
    w->weights = w->bf16 ? STORE((size_t)w->vit->size) : NULL;
    w->proj = TAKE((size_t)w->max_tokens * d);
    w->x[0] = TAKE(all * d);
    for (int l = 0; l < c->depth; l++) {
        int last = l + 1 == c->depth, own = w->keep || l == 0;
        size_t rows = last ? seqs : all;
        w->x[2 * l + 1] = w->keep || last ? TAKE(rows * d) : w->x[0];
        w->x[2 * l + 2] = w->keep ? TAKE(rows * d) : w->x[2 * l + 1];
        w->y1[l] = own ? STORE(all * d) : w->y1[0];
        w->y2[l] = w->keep ? STORE(rows * d) : w->y1[0];
        w->qkv[l] = own ? STORE(all * (last ? 2 : 3) * wide) : w->qkv[0];
        w->att[l] = own ? STORE(rows * wide) : w->att[0];
        w->hid[l] = own ? STORE(rows * m) : w->hid[0];
        w->lse[l] = w->keep ? TAKE(rows * (size_t)c->heads) : NULL;
        w->pre[l] = w->keep ? STORE(rows * m) : NULL;
        w->mean1[l] = w->keep ? TAKE(all) : NULL;
        w->rstd1[l] = w->keep ? TAKE(all) : NULL;
        w->mean2[l] = w->keep ? TAKE(rows) : NULL;
        w->rstd2[l] = w->keep ? TAKE(rows) : NULL;
    }
    w->branch = STORE(all * d);
    w->cls_y1 = STORE(seqs * d);
    w->cls_q = STORE(seqs * wide);
    w->cls_mean = TAKE(seqs);
    w->cls_rstd = TAKE(seqs);
    w->dx = w->keep ? TAKE(all * d) : NULL;
    w->dy = w->keep ? STORE(all * d) : NULL;
    w->dwide = w->keep ? STORE(all * (3 * wide > m ? 3 * wide : m)) : NULL;
    w->datt = w->keep ? STORE(all * wide) : NULL;
    w->cls_dx = w->keep ? TAKE(seqs * d) : NULL;
    w->cls_dq = w->keep ? STORE(seqs * wide) : NULL;
#undef TAKE
#undef STORE
    w->dev_rows_off = lafs_arena_take(a, seqs + 1, sizeof(int64_t));
    w->dev_heads_off = lafs_arena_take(a, seqs + 1, sizeof(int64_t));
    w->dev_sets = lafs_arena_take(a, sets * (2 * seqs + 1), sizeof(int64_t));
    w->dev_keys = lafs_arena_take(a, sets * seqs, sizeof(uint64_t));
}

lafs_status lafs_vit_plan(struct lafs_vit_work *w, const struct lafs_vit *v, int64_t max_tokens, int64_t max_seqs,
                          int keep, const struct lafs_backend *b, struct lafs_arena *a, struct lafs_err *err)
{
    if (w->vit != v || w->max_tokens != max_tokens || w->max_seqs != max_seqs || w->keep != keep) {
        lafs_vit_work_release(w);
        w->vit = v;
        w->max_tokens = max_tokens;
        w->max_seqs = max_seqs;
        w->keep = keep;
        LAFS_TRY(host_memory(w, err));
    }
    w->bf16 = lafs_stored_ops(b, v->config.dim | v->config.mlp);
    carve(w, a);
    return LAFS_OK;
}

void lafs_vit_weights(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value)
{
    if (w->bf16) w->bf16->round(b->dev, w->vit->size, value + w->vit->first, w->weights);
}
static struct lafs_stored stored_of(const struct lafs_vit_work *w, const struct lafs_backend *b, const float *value)
{
    return (struct lafs_stored){b, w->bf16, value, w->weights, w->vit->first};
}

/* -- which sequences a branch computes -- */

/* A block's passes, at 2e14 FLOP/s, against its launches (what is stored in bf16 needs no rounding), of 5 us each. None
 * of it was measured. Where the host is slower a recording gains what it saves there; elsewhere launching costs
 * nothing, and dropping gains. */
static const double SECONDS_PER_FLOP = 1 / 2e14, LAUNCHES = 60, LAUNCHES_BF16 = 30, LAUNCHING_SECONDS = 5e-6;

int lafs_vit_alike(const struct lafs_vit_work *w, const struct lafs_backend *b)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const double rows = (double)(w->max_tokens + w->max_seqs);
    const double block = 3 * 2 * rows * c->dim * (4.0 * c->heads * LAFS_HEAD_WIDTH + 2.0 * c->mlp);
    if (!b->ops->record || !(c->drop_path > 0)) return b->ops->record != NULL;
    return !w->pack && block * SECONDS_PER_FLOP <= (w->bf16 ? LAUNCHES_BF16 : LAUNCHES) * LAUNCHING_SECONDS;
}

/* The drop-path of branch k = 2l (attention of block l) or 2l+1 (its MLP). */
static uint32_t site_of(int k) { return 4u * (uint32_t)(k / 2) + (k % 2 ? 3 : 1); }

/* The sequences that the drop-path of branch k keeps. */
static void choose(struct lafs_vit_work *w, int k)
{
    int64_t all = w->rows.n, kept = 0, longest = 0;
    int64_t *of = w->sets + k * (2 * w->max_seqs + 1), *off = of + w->max_seqs;
    uint64_t *keys = w->host_keys + (1 + k) * w->max_seqs;
    float path = w->keys ? w->vit->config.drop_path : 0;
    off[0] = 0;
    for (int64_t i = 0; i < all; i++) {
        int64_t len = w->rows_off[i + 1] - w->rows_off[i];
        if (lafs_path_dropped(path, site_of(k), w->host_keys[i])) continue;
        keys[kept] = w->host_keys[i];
        of[kept++] = i;
        off[kept] = off[kept - 1] + len;
        if (len > longest) longest = len;
    }
    struct lafs_vit_branch *b = &w->branches[k];
    const int64_t *dev_of = w->dev_sets + (of - w->sets), *dev_off = w->dev_sets + (off - w->sets);
    b->some = (struct lafs_some){{kept, off, dev_off, longest}, of, dev_of};
    b->cls = (struct lafs_some){{kept, w->heads_off, w->dev_heads_off, 1}, of, dev_of};
    b->keys = w->dev_keys + k * w->max_seqs;
}

/* All of them. */
static void choose_all(struct lafs_vit_work *w)
{
    for (int k = 0; k < 2 * w->vit->config.depth; k++)
        w->branches[k] = (struct lafs_vit_branch){.some.s = w->rows, .cls.s = w->heads, .keys = w->keys};
}
/* What ops are told of a branch's sequences. */
static const struct lafs_some *among(const struct lafs_vit_work *w, const struct lafs_some *some)
{
    return w->whole ? NULL : some;
}

/* Sequences with their CLS row, single rows, and what each branch keeps of them. */
static void lay_out(struct lafs_vit_work *w, const struct lafs_backend *b, const struct lafs_seqs *tokens,
                    const uint64_t *keys, const uint64_t *host_keys)
{
    int64_t n = tokens->n;
    size_t sets = 2 * (size_t)w->vit->config.depth, most = (size_t)w->max_seqs;
    for (int64_t i = 0; i <= n; i++) {
        w->rows_off[i] = tokens->off[i] + i;
        w->heads_off[i] = i;
    }
    w->keys = keys;
    w->tokens = *tokens;
    w->rows = (struct lafs_seqs){n, w->rows_off, w->dev_rows_off, tokens->max_len + 1};
    w->heads = (struct lafs_seqs){n, w->heads_off, w->dev_heads_off, 1};
    b->ops->upload(b->dev, w->dev_rows_off, w->rows_off, (size_t)(n + 1) * sizeof *w->rows_off);
    b->ops->upload(b->dev, w->dev_heads_off, w->heads_off, (size_t)(n + 1) * sizeof *w->heads_off);
    w->whole = lafs_vit_alike(w, b) || (b->ops->record && !keys);
    if (w->whole) {
        choose_all(w);
        return;
    }
    if (keys && host_keys) memcpy(w->host_keys, host_keys, (size_t)n * sizeof *keys);
    else if (keys) b->ops->download(b->dev, w->host_keys, keys, (size_t)n * sizeof *keys);
    for (size_t k = 0; k < sets; k++) choose(w, (int)k);
    b->ops->upload(b->dev, w->dev_sets, w->sets, sets * (2 * most + 1) * sizeof *w->sets);
    if (keys) b->ops->upload(b->dev, w->dev_keys, w->host_keys + most, sets * most * sizeof *w->host_keys);
}

/* Block l: what its residual stream's rows belong to, and its branches. */
struct place {
    int last;
    const struct lafs_seqs *stream;           /* all sequences: their rows, or their CLS rows in the last block */
    const struct lafs_vit_branch *att, *mlp;
    const struct lafs_some *att_out, *mlp_in; /* what attention gives, what the MLP takes and gives */
};
static struct place place_of(const struct lafs_vit_work *w, int l)
{
    const struct lafs_vit_branch *branch = &w->branches[2 * l];
    struct place p = {.last = l + 1 == w->vit->config.depth, .att = branch, .mlp = branch + 1};
    p.stream = p.last ? &w->heads : &w->rows;
    p.att_out = p.last ? &p.att->cls : &p.att->some;
    p.mlp_in = p.last ? &p.mlp->cls : &p.mlp->some;
    return p;
}

struct drops {
    struct lafs_drop embed, att, mid, out, att_path, out_path;
};

/* What is dropped in block l; without keys, nothing. `mid` is inside the MLP: its keys are those of the branch. */
static struct drops drops_of(const struct lafs_vit_work *w, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    float p = w->keys ? c->dropout : 0, path = w->keys ? c->drop_path : 0;
    uint32_t site = 4u * (uint32_t)l;
    return (struct drops){
        .embed = {p, 0, w->keys},
        .att = {p, site + 1, w->keys},
        .mid = {p, site + 2, w->branches[2 * l + 1].keys},
        .out = {p, site + 3, w->keys},
        .att_path = {path, site_of(2 * l), w->keys},
        .out_path = {path, site_of(2 * l + 1), w->keys},
    };
}

static float scale_of(const struct lafs_vit_config *c)
{
    return 1 / sqrtf(c->scale == LAFS_SCALE_DIM ? (float)c->dim : (float)LAFS_HEAD_WIDTH);
}

/* Queries, keys and values of block l: one matrix, but for the last one's, where queries are of CLS rows only. */
static struct lafs_stored_heads heads_of(const struct lafs_vit_work *w, const struct lafs_stored *st, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct place p = place_of(w, l);
    const int64_t wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    struct lafs_stored_heads h = {&p.att_out->s, &p.att->some.s, c->heads, scale_of(c), w->cls_q, wide, w->qkv[l],
                                  2 * wide};
    if (!p.last) h.q = w->qkv[l], h.kv = lafs_stored_at(st, w->qkv[l], wide), h.ldq = h.ldkv = 3 * wide;
    return h;
}

/* -- forward -- */

/* From y1 to the attention's branch, in w->branch. */
static void attention_forward(struct lafs_vit_work *w, const struct lafs_stored *st, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct place p = place_of(w, l);
    const struct lafs_seqs *s = &p.att->some.s, *out = &p.att_out->s;
    int64_t d = c->dim, wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    if (p.last) {
        lafs_stored_rows_gather(st, s->n, d, s->dev_off, w->y1[l], w->cls_y1);
        lafs_stored_linear(st, out, d, wide, w->cls_y1, k->qkv_w, -1, LAFS_ACT_NONE, NULL, NULL, w->cls_q);
        lafs_stored_linear(st, s, d, 2 * wide, w->y1[l], k->qkv_w + wide * d, -1, LAFS_ACT_NONE, NULL, NULL,
                           w->qkv[l]);
    } else
        lafs_stored_linear(st, s, d, 3 * wide, w->y1[l], k->qkv_w, -1, LAFS_ACT_NONE, NULL, NULL, w->qkv[l]);
    const struct lafs_stored_heads h = heads_of(w, st, l);
    lafs_stored_attention(st, &h, w->att[l], w->lse[l]);
    lafs_stored_linear(st, out, wide, d, w->att[l], k->out_w, k->out_b, LAFS_ACT_NONE, NULL, NULL, w->branch);
}

/* From y2 to the MLP's branch, in w->branch. */
static void mlp_forward(struct lafs_vit_work *w, const struct lafs_stored *st, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct lafs_seqs *s = &place_of(w, l).mlp_in->s;
    const struct drops drop = drops_of(w, l);
    lafs_stored_linear(st, s, c->dim, c->mlp, w->y2[l], k->fc1_w, k->fc1_b, LAFS_ACT_GELU, &drop.mid, w->pre[l],
                       w->hid[l]);
    lafs_stored_linear(st, s, c->mlp, c->dim, w->hid[l], k->fc2_w, k->fc2_b, LAFS_ACT_NONE, NULL, NULL, w->branch);
}

void lafs_vit_forward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value,
                      const struct lafs_seqs *seqs, const float *tokens, const uint64_t *keys,
                      const uint64_t *host_keys, float *emb)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit *v = w->vit;
    const struct lafs_vit_config *c = &v->config;
    const struct lafs_stored st = stored_of(w, b, value);
    int64_t d = c->dim;
    lay_out(w, b, seqs, keys, host_keys);
    w->in = tokens;
    const struct drops first = drops_of(w, 0);
    op->linear(b->dev, b->precision, &w->tokens, lafs_token_width(c), d, tokens, value + v->embed_w, value + v->embed_b,
               LAFS_ACT_NONE, NULL, NULL, w->proj);
    op->assemble(b->dev, &w->rows, d, w->proj, value + v->cls, value + v->pos, &first.embed, w->x[0]);
    const struct lafs_stored_sum begin = {&w->rows, d, NULL, among(w, &w->branches[0].some), NULL, NULL};
    lafs_stored_add_norm(&st, &begin, w->x[0], NULL, v->block[0].norm1_g, v->block[0].norm1_b, NULL, w->y1[0],
                         w->mean1[0], w->rstd1[0]);
    for (int l = 0; l < c->depth; l++) {
        const struct lafs_vit_block *k = &v->block[l], *next = k + 1;
        const struct place p = place_of(w, l);
        const struct drops s = drops_of(w, l);
        float **x = w->x + 2 * l;
        attention_forward(w, &st, l);
        if (p.last) op->rows_gather(b->dev, seqs->n, d, w->dev_rows_off, x[0], x[1]);
        struct lafs_stored_sum a = {p.stream, d, among(w, p.att_out), among(w, p.mlp_in), &s.att, &s.att_path};
        lafs_stored_add_norm(&st, &a, p.last ? x[1] : x[0], w->branch, k->norm2_g, k->norm2_b, x[1], w->y2[l],
                             w->mean2[l], w->rstd2[l]);
        mlp_forward(w, &st, l);
        a = (struct lafs_stored_sum){p.stream, d, among(w, p.mlp_in), NULL, &s.out, &s.out_path};
        if (p.last) {
            lafs_stored_add_norm_out(&st, &a, x[1], w->branch, v->head_g, v->head_b, x[2], emb, w->cls_mean,
                                     w->cls_rstd);
            break;
        }
        a.to = among(w, &w->branches[2 * (l + 1)].some);
        lafs_stored_add_norm(&st, &a, x[1], w->branch, next->norm1_g, next->norm1_b, x[2], w->y1[l + 1],
                             w->mean1[l + 1], w->rstd1[l + 1]);
    }
}

/* -- backward -- */

/* Through the MLP of block l: dx is the gradient of x[2l+2] on entry, of x[2l+1] on return (w->branch: of the
 * attention's branch). */
static void mlp_backward(struct lafs_vit_work *w, const struct lafs_stored *st, float *grad, int l, float *dx)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct drops drop = drops_of(w, l);
    const struct place p = place_of(w, l);
    const struct lafs_seqs *s = &p.mlp_in->s;
    const struct lafs_stored_sum a = {p.stream, c->dim, among(w, p.att_out), among(w, p.mlp_in), &drop.att,
                                      &drop.att_path};
    int64_t rows = lafs_seqs_rows(s), d = c->dim;
    lafs_stored_linear_bwd_w(st, rows, c->mlp, d, w->hid[l], w->branch, grad + k->fc2_w, grad + k->fc2_b);
    lafs_stored_linear_bwd_x(st, s, c->mlp, d, w->branch, k->fc2_w, w->dwide);
    lafs_stored_act_bwd(st, s, c->mlp, LAFS_ACT_GELU, &drop.mid, w->pre[l], w->dwide, grad + k->fc1_b);
    lafs_stored_linear_bwd_w(st, rows, d, c->mlp, w->y2[l], w->dwide, grad + k->fc1_w, grad + k->fc1_b);
    lafs_stored_linear_bwd_x(st, s, d, c->mlp, w->dwide, k->fc1_w, w->dy);
    lafs_stored_add_norm_bwd(st, &a, w->dy, w->x[2 * l + 1], w->mean2[l], w->rstd2[l], k->norm2_g, dx, w->branch,
                             grad + k->norm2_g, grad + k->norm2_b, grad + k->out_b);
}

/* From attention's gradient in w->datt to that of y1 in w->dy. In the last block queries are of CLS rows only. */
static void qkv_backward(struct lafs_vit_work *w, const struct lafs_stored *st, float *grad, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct place p = place_of(w, l);
    const struct lafs_seqs *s = &p.att->some.s, *cls = &p.att->cls.s;
    const struct lafs_stored_heads h = heads_of(w, st, l);
    int64_t rows = lafs_seqs_rows(s), d = c->dim, wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    if (!p.last) {
        lafs_stored_attention_bwd(st, &h, w->att[l], w->lse[l], w->datt, w->dwide, lafs_stored_at(st, w->dwide, wide));
        lafs_stored_linear_bwd_w(st, rows, d, 3 * wide, w->y1[l], w->dwide, grad + k->qkv_w, NULL);
        lafs_stored_linear_bwd_x(st, s, d, 3 * wide, w->dwide, k->qkv_w, w->dy);
        return;
    }
    float *grad_q = grad + k->qkv_w, *grad_kv = grad_q + wide * d;
    lafs_stored_attention_bwd(st, &h, w->att[l], w->lse[l], w->datt, w->cls_dq, w->dwide);
    lafs_stored_linear_bwd_w(st, cls->n, d, wide, w->cls_y1, w->cls_dq, grad_q, NULL);
    lafs_stored_linear_bwd_w(st, rows, d, 2 * wide, w->y1[l], w->dwide, grad_kv, NULL);
    lafs_stored_linear_bwd_x(st, s, d, 2 * wide, w->dwide, k->qkv_w + wide * d, w->dy);
    lafs_stored_linear_bwd_x(st, cls, d, wide, w->cls_dq, k->qkv_w, w->branch);
    lafs_stored_rows_add(st, cls->n, rows, d, s->dev_off, w->branch, w->dy);
}

/* Through the attention of block l: w->dx becomes the gradient of x[2l], w->branch that of the MLP's branch before it.
 * In the last block w->cls_dx holds the gradient of x[2l+1]. */
static void attention_backward(struct lafs_vit_work *w, const struct lafs_stored *st, float *grad, int l)
{
    const struct lafs_vit_config *c = &w->vit->config;
    const struct lafs_vit_block *k = &w->vit->block[l];
    const struct place p = place_of(w, l);
    const struct drops s = drops_of(w, l ? l - 1 : 0); /* of what lies before */
    int64_t d = c->dim, wide = (int64_t)c->heads * LAFS_HEAD_WIDTH;
    struct lafs_stored_sum a = {.seqs = &w->rows, .width = d, .to = among(w, &p.att->some)};
    lafs_stored_linear_bwd_w(st, lafs_seqs_rows(&p.att_out->s), wide, d, w->att[l], w->branch, grad + k->out_w,
                             grad + k->out_b);
    lafs_stored_linear_bwd_x(st, &p.att_out->s, wide, d, w->branch, k->out_w, w->datt);
    qkv_backward(w, st, grad, l);
    if (p.last)
        st->b->ops->rows_scatter(st->b->dev, w->rows.n, lafs_seqs_rows(&w->rows), d, w->dev_rows_off, w->cls_dx, w->dx,
                                 0);
    if (l) a.from = among(w, &w->branches[2 * l - 1].some), a.drop = &s.out, a.path = &s.out_path;
    lafs_stored_add_norm_bwd(st, &a, w->dy, w->x[2 * l], w->mean1[l], w->rstd1[l], k->norm1_g, w->dx,
                             l ? w->branch : NULL, grad + k->norm1_g, grad + k->norm1_b,
                             l ? grad + (k - 1)->fc2_b : NULL);
}

void lafs_vit_backward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value, const float *demb,
                       float *grad, float *dtokens)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_vit *v = w->vit;
    const struct lafs_vit_config *c = &v->config;
    const struct lafs_stored st = stored_of(w, b, value);
    int64_t n = w->tokens.n, d = c->dim, token = lafs_token_width(c);
    const struct drops last = drops_of(w, c->depth - 1), first = drops_of(w, 0);
    const struct lafs_stored_sum end = {&w->heads, d, among(w, &w->branches[2 * c->depth - 1].cls), NULL, &last.out,
                                        &last.out_path};
    op->zero(b->dev, w->cls_dx, (size_t)(n * d) * sizeof(float));
    lafs_stored_add_norm_out_bwd(&st, &end, demb, w->x[2 * c->depth], w->cls_mean, w->cls_rstd, v->head_g, w->cls_dx,
                                 w->branch, grad + v->head_g, grad + v->head_b,
                                 grad + v->block[c->depth - 1].fc2_b);
    for (int l = c->depth - 1; l >= 0; l--) {
        mlp_backward(w, &st, grad, l, l + 1 == c->depth ? w->cls_dx : w->dx);
        attention_backward(w, &st, grad, l);
    }
    op->assemble_bwd(b->dev, &w->rows, d, w->dx, &first.embed, w->proj, grad + v->cls, grad + v->pos);
    op->linear_bwd_w(b->dev, b->precision, lafs_seqs_rows(&w->tokens), token, d, w->in, w->proj, grad + v->embed_w,
                     grad + v->embed_b);
    if (dtokens) op->linear_bwd_x(b->dev, b->precision, &w->tokens, token, d, w->proj, value + v->embed_w, dtokens);
}
