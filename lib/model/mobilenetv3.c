#include "model/mobilenetv3.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Bottlenecks: kernel, expansion, output, squeeze-and-excitation, nonlinearity, stride. */
static const struct block {
    int k, e, o, se;
    enum lafs_act act;
    int stride;
} net[LAFS_CNN_BLOCKS] = {
    {3, 16, 16, 0, LAFS_ACT_RELU, 1},     {3, 64, 24, 0, LAFS_ACT_RELU, 2},     {3, 72, 24, 0, LAFS_ACT_RELU, 1},
    {5, 72, 40, 1, LAFS_ACT_RELU, 2},     {5, 120, 40, 1, LAFS_ACT_RELU, 1},    {5, 120, 40, 1, LAFS_ACT_RELU, 1},
    {3, 240, 80, 0, LAFS_ACT_HSWISH, 2},  {3, 200, 80, 0, LAFS_ACT_HSWISH, 1},  {3, 184, 80, 0, LAFS_ACT_HSWISH, 1},
    {3, 184, 80, 0, LAFS_ACT_HSWISH, 1},  {3, 480, 112, 1, LAFS_ACT_HSWISH, 1}, {3, 672, 112, 1, LAFS_ACT_HSWISH, 1},
    {5, 672, 160, 1, LAFS_ACT_HSWISH, 2}, {5, 960, 160, 1, LAFS_ACT_HSWISH, 1}, {5, 960, 160, 1, LAFS_ACT_HSWISH, 1}};
enum { FIRST = 16, FIRST_SIDE = 56, LAST_SIDE = 4, RANGE = 111, MAPS = 6, WIDEST = 960 };
static const float BN_MOMENTUM = LAFS_CNN_MOMENTUM;
/* Sides of all maps, for the offsets of their rows; 1: rows of their own. */
static const int map_side[MAPS] = {56, 28, 14, 7, 4, 1};

/* What a block sees: its input's side and channels, its output's side. */
struct shape {
    int side, c, out_side, residual;
};

static struct shape shape_of(int i)
{
    int side = FIRST_SIDE, c = FIRST;
    for (int j = 0; j < i; j++) {
        side = (int)lafs_conv_side(side, net[j].k, net[j].stride);
        c = net[j].o;
    }
    return (struct shape){side, c, (int)lafs_conv_side(side, net[i].k, net[i].stride),
                          net[i].stride == 1 && c == net[i].o};
}

struct lafs_cnn_plan_row lafs_cnn_plan_of(int i)
{
    struct shape s = shape_of(i);
    return (struct lafs_cnn_plan_row){.kernel = net[i].k, .stride = net[i].stride, .in = s.c, .expansion = net[i].e,
                                      .out = net[i].o, .squeeze = net[i].se, .residual = s.residual, .act = net[i].act};
}

/* -- parameters -- */

struct declaration {
    struct lafs_params *ps;
    struct lafs_err *err;
    lafs_status status;
};

static int64_t add(struct declaration *d, const char *name, int ndim, const int64_t *shape, int trainable,
                   enum lafs_init init, double a)
{
    int id;
    if (d->status == LAFS_OK)
        d->status = lafs_params_add(d->ps, name, ndim, shape, trainable, init, (float)a, 0, &id, d->err);
    return d->status == LAFS_OK ? d->ps->p[id].off : 0;
}

static int64_t add_conv(struct declaration *d, const char *name, int64_t out, int64_t in, int64_t k)
{
    char full[2 * LAFS_MAX_TENSOR_NAME];
    const int64_t shape[4] = {out, in, k, k};
    snprintf(full, sizeof full, "%s.weight", name);
    return add(d, full, 4, shape, 1, LAFS_INIT_NORMAL, sqrt(2.0 / (double)(out * k * k)));
}

static struct lafs_bn_place add_bn(struct declaration *d, const char *name, int64_t c)
{
    char full[2 * LAFS_MAX_TENSOR_NAME];
    struct lafs_bn_place p;
#define NAME(tail) (snprintf(full, sizeof full, "%s.%s", name, tail), full)
    p.gamma = add(d, NAME("weight"), 1, &c, 1, LAFS_INIT_ONE, 0);
    p.beta = add(d, NAME("bias"), 1, &c, 1, LAFS_INIT_ZERO, 0);
    p.mean = add(d, NAME("running_mean"), 1, &c, 0, LAFS_INIT_ZERO, 0);
    p.var = add(d, NAME("running_var"), 1, &c, 0, LAFS_INIT_ONE, 0);
    p.tracked = add(d, NAME("num_batches_tracked"), 0, NULL, 0, LAFS_INIT_ZERO, 0);
#undef NAME
    return p;
}

lafs_status lafs_cnn_declare(struct lafs_cnn *m, int landmarks, struct lafs_params *ps, struct lafs_err *err)
{
    struct declaration d = {ps, err, LAFS_OK};
    char name[LAFS_MAX_TENSOR_NAME];
    m->landmarks = landmarks;
    m->dropout = 0.5f;
    m->first_w = add_conv(&d, "stn.features.0.0", FIRST, 3, 3);
    m->first_bn = add_bn(&d, "stn.features.0.1", FIRST);
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        const struct block *n = &net[i];
        struct lafs_cnn_block *b = &m->block[i];
        const int64_t squeeze[2] = {n->e / 4, n->e}, excite[2] = {n->e, n->e / 4};
#define NAME(tail) (snprintf(name, sizeof name, "stn.features.%d.conv.%s", i + 1, tail), name)
        b->expand_w = add_conv(&d, NAME("0"), n->e, shape_of(i).c, 1);
        b->bn1 = add_bn(&d, NAME("1"), n->e);
        b->depth_w = add_conv(&d, NAME("3"), n->e, 1, n->k);
        b->bn2 = add_bn(&d, NAME("4"), n->e);
        b->se1_w = n->se ? add(&d, NAME("5.fc.0.weight"), 2, squeeze, 1, LAFS_INIT_NORMAL, 0.01) : -1;
        b->se2_w = n->se ? add(&d, NAME("5.fc.2.weight"), 2, excite, 1, LAFS_INIT_NORMAL, 0.01) : -1;
        b->project_w = add_conv(&d, NAME("7"), n->o, n->e, 1);
        b->bn3 = add_bn(&d, NAME("8"), n->o);
#undef NAME
    }
    const int64_t out[2] = {2 * (int64_t)landmarks, LAFS_CNN_OUT};
    m->out_w = add(&d, "output_layer.1.weight", 2, out, 1, LAFS_INIT_UNIFORM, 1 / sqrt(LAFS_CNN_OUT));
    m->out_b = add(&d, "output_layer.1.bias", 1, out, 1, LAFS_INIT_UNIFORM, 1 / sqrt(LAFS_CNN_OUT));
    return d.status;
}

void lafs_cnn_start_on_grid(const struct lafs_cnn *m, const struct lafs_backend *b, float *value)
{
    /* Raw outputs of -REACH..REACH: the untrained weights move them by about a tenth of a unit, half a pixel. */
    enum { REACH = 10 };
    int root = (int)lround(sqrt(m->landmarks));
    for (int k = 0; k < m->landmarks; k++) {
        int corner = k == 0 ? -1 : k == m->landmarks - 1 ? 1 : 0;
        float x = (float)(2 * (k % root) + 1) / (float)root - 1, y = (float)(2 * (k / root) + 1) / (float)root - 1;
        const float at[2] = {corner ? REACH * (float)corner : REACH * x, corner ? REACH * (float)corner : REACH * y};
        b->ops->upload(b->dev, value + m->out_b + 2 * k, at, sizeof at);
    }
}

/* -- memory -- */

static size_t largest_map(void)
{
    size_t most = 0;
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        struct shape s = shape_of(i);
        size_t n = (size_t)(s.side * s.side) * (size_t)net[i].e;
        if (n > most) most = n;
    }
    return most;
}

#define TAKE(n) lafs_arena_take(a, n, sizeof(float))

static void carve_unit(struct lafs_cnn_unit *u, size_t values, size_t c, int stored, struct lafs_arena *a)
{
    u->conv = TAKE(values);
    u->out = stored ? TAKE(values) : NULL;
    u->mean = TAKE(c);
    u->rstd = TAKE(c);
}

static void carve_se(struct lafs_cnn_stage *s, size_t n, size_t e, int keep, struct lafs_arena *a)
{
    s->pool = TAKE(n * e);
    s->hid = TAKE(n * (e / 4));
    s->gate = TAKE(n * e);
    s->pre1 = keep ? TAKE(n * (e / 4)) : NULL;
    s->pre2 = keep ? TAKE(n * e) : NULL;
}

/* Where the backend has ops for units, what a map becomes by BatchNorm and activation is stored for others only. */
static void carve_kept(struct lafs_cnn_work *w, size_t n, const struct lafs_ops *op, struct lafs_arena *a)
{
    int stored = !op->unit;
    carve_unit(&w->first, n * FIRST_SIDE * FIRST_SIDE * FIRST, FIRST, 1, a);
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        struct lafs_cnn_stage *s = &w->stage[i];
        struct shape h = shape_of(i);
        size_t e = (size_t)net[i].e, o = (size_t)net[i].o, in = n * (size_t)(h.side * h.side),
               out = n * (size_t)(h.out_side * h.out_side);
        carve_unit(&s->u1, in * e, e, stored, a);
        carve_unit(&s->u2, out * e, e, stored || net[i].se, a);
        carve_unit(&s->u3, out * o, o, stored, a);
        if (net[i].se) carve_se(s, n, e, 1, a);
        s->scaled = net[i].se ? TAKE(out * e) : s->u2.out;
        s->sum = h.residual || !stored ? TAKE(out * o) : s->u3.out;
    }
    for (int k = 0; k < 2 && !stored; k++) w->slopes[k] = TAKE(2 * WIDEST);
    w->da = TAKE(n * largest_map());
    w->db = TAKE(n * largest_map());
    w->dc = TAKE(n * largest_map());
    w->draw = TAKE(n * 2 * (size_t)w->cnn->landmarks);
    w->dmean = TAKE(n * LAFS_CNN_OUT);
    w->dgate = TAKE(n * WIDEST);
    w->dhid = TAKE(n * WIDEST / 4);
}

/* The blocks as ops->bottlenecks takes them. */
static void describe_blocks(struct lafs_cnn_work *w, const float *value)
{
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        const struct lafs_cnn_block *k = &w->cnn->block[i];
        const struct lafs_cnn_stage *s = &w->stage[i];
        const struct block *n = &net[i];
        struct shape h = shape_of(i);
        w->chain[i] = (struct lafs_bottleneck){
            .h = h.side, .w = h.side, .c = h.c, .mid = n->e, .out = n->o, .k = n->k, .stride = n->stride,
            .se = n->se ? n->e / 4 : 0, .act = n->act, .residual = h.residual, .expand = s->folded[0],
            .expand_b = s->bias[0], .depth = s->folded[1], .depth_b = s->bias[1],
            .se1 = n->se ? value + k->se1_w : NULL, .se2 = n->se ? value + k->se2_w : NULL, .project = s->folded[2],
            .project_b = s->bias[2]};
    }
}

/* Maps between ops, where the backend has no op for whole blocks: they take turns in four places. */
static void carve_maps(struct lafs_cnn_work *w, size_t n, struct lafs_arena *a)
{
    float *wide[2] = {TAKE(n * largest_map()), TAKE(n * largest_map())};
    float *sum[2] = {TAKE(n * FIRST_SIDE * FIRST_SIDE * FIRST), w->first.out};
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        struct lafs_cnn_stage *s = &w->stage[i];
        s->u1.out = wide[0];
        s->u2.out = wide[1];
        s->scaled = net[i].se ? wide[0] : wide[1];
        s->sum = sum[i % 2];
        if (net[i].se) carve_se(s, n, (size_t)net[i].e, 0, a);
    }
}

/* The weights of block i with its BatchNorms folded in. */
static void carve_weights(struct lafs_cnn_work *w, int i, struct lafs_arena *a)
{
    struct lafs_cnn_stage *s = &w->stage[i];
    size_t e = (size_t)net[i].e, o = (size_t)net[i].o;
    s->folded[0] = TAKE(e * (size_t)shape_of(i).c);
    s->folded[1] = TAKE(e * (size_t)(net[i].k * net[i].k));
    s->folded[2] = TAKE(o * e);
    s->bias[0] = TAKE(e);
    s->bias[1] = TAKE(e);
    s->bias[2] = TAKE(o);
}

/* Without backward. */
static void carve_folded(struct lafs_cnn_work *w, size_t n, const struct lafs_ops *op, struct lafs_arena *a)
{
    w->first.out = TAKE(n * FIRST_SIDE * FIRST_SIDE * FIRST);
    w->first_folded = TAKE(FIRST * 27);
    w->first_bias = TAKE(FIRST);
    if (!op->bottlenecks) {
        for (int i = 0; i < LAFS_CNN_BLOCKS; i++) carve_weights(w, i, a);
        carve_maps(w, n, a);
        return;
    }
    describe_blocks(w, NULL); /* shapes; the weights' places are not known yet */
    w->packed = lafs_arena_take(a, op->bottlenecks_size(LAFS_CNN_BLOCKS, w->chain), 1);
    w->stage[LAFS_CNN_BLOCKS - 1].sum = TAKE(n * LAST_SIDE * LAST_SIDE * LAFS_CNN_OUT);
    /* One block's folded weights at a time, until they are packed. */
    size_t start = a->used, end = start;
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        a->used = start;
        carve_weights(w, i, a);
        if (a->used > end) end = a->used;
    }
    a->used = end;
}

lafs_status lafs_cnn_plan(struct lafs_cnn_work *w, const struct lafs_cnn *m, int64_t max_images,
                          enum lafs_cnn_mode mode, const struct lafs_backend *b, struct lafs_arena *a,
                          struct lafs_err *err)
{
    size_t n = (size_t)max_images;
    if (w->cnn != m || w->max_images != max_images || w->mode != mode || !w->off) {
        lafs_cnn_work_release(w);
        w->cnn = m;
        w->max_images = max_images;
        w->mode = mode;
        LAFS_TRY(lafs_alloc(&w->off, MAPS * (n + 1), sizeof *w->off, err));
        for (int k = 0; k < MAPS; k++)
            for (size_t i = 0; i <= n; i++) w->off[(size_t)k * (n + 1) + i] = (int64_t)i * map_side[k] * map_side[k];
    }
    w->dev_off = lafs_arena_take(a, MAPS * (n + 1), sizeof(int64_t));
    w->one = TAKE(1);
    if (mode == LAFS_CNN_KEEP) carve_kept(w, n, b->ops, a);
    else carve_folded(w, n, b->ops, a);
    w->mean = TAKE(n * LAFS_CNN_OUT);
    w->dropped = TAKE(n * LAFS_CNN_OUT);
    w->raw = TAKE(n * 2 * (size_t)m->landmarks);
    w->arg = lafs_arena_take(a, n * 2, sizeof(int32_t));
    return LAFS_OK;
}
#undef TAKE

void lafs_cnn_work_release(struct lafs_cnn_work *w)
{
    lafs_free(w->off);
    memset(w, 0, sizeof *w);
}

/* -- folding -- */

struct fold {
    const struct lafs_backend *b;
    const float *value;
    struct lafs_err *err;
    lafs_status status;
};

/* w (c, per) from value, times gamma/sqrt(var + eps), into folded; what is left into bias (c). */
static void fold(struct fold *f, int64_t weight, const struct lafs_bn_place *bn, int64_t c, int64_t per, float *folded,
                 float *bias)
{
    const struct lafs_ops *op = f->b->ops;
    struct lafs_dev *d = f->b->dev;
    float *h;
    if (f->status != LAFS_OK) return;
    f->status = lafs_alloc(&h, (size_t)(c * (per + 5)), sizeof *h, f->err);
    if (f->status != LAFS_OK) return;
    float *gamma = h + c * per, *beta = gamma + c, *mean = beta + c, *var = mean + c, *rest = var + c;
    size_t bytes = (size_t)c * sizeof *h;
    op->download(d, h, f->value + weight, bytes * (size_t)per);
    op->download(d, gamma, f->value + bn->gamma, bytes);
    op->download(d, beta, f->value + bn->beta, bytes);
    op->download(d, mean, f->value + bn->mean, bytes);
    op->download(d, var, f->value + bn->var, bytes);
    for (int64_t i = 0; i < c; i++) {
        double s = gamma[i] / sqrt((double)var[i] + LAFS_BN_EPS);
        for (int64_t j = 0; j < per; j++) h[i * per + j] = (float)(h[i * per + j] * s);
        rest[i] = (float)(beta[i] - mean[i] * s);
    }
    op->upload(d, folded, h, bytes * (size_t)per);
    op->upload(d, bias, rest, bytes);
    f->status = op->sync(d, f->err); /* before h goes */
    lafs_free(h);
}

lafs_status lafs_cnn_fold(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value,
                          struct lafs_err *err)
{
    const struct lafs_cnn *m = w->cnn;
    struct fold f = {b, value, err, LAFS_OK};
    fold(&f, m->first_w, &m->first_bn, FIRST, 27, w->first_folded, w->first_bias);
    if (b->ops->bottlenecks) describe_blocks(w, value);
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) {
        struct lafs_cnn_stage *s = &w->stage[i];
        const struct lafs_cnn_block *k = &m->block[i];
        fold(&f, k->expand_w, &k->bn1, net[i].e, shape_of(i).c, s->folded[0], s->bias[0]);
        fold(&f, k->depth_w, &k->bn2, net[i].e, net[i].k * net[i].k, s->folded[1], s->bias[1]);
        fold(&f, k->project_w, &k->bn3, net[i].o, net[i].e, s->folded[2], s->bias[2]);
        if (f.status != LAFS_OK || !b->ops->bottlenecks) continue;
        char *to = (char *)w->packed + b->ops->bottlenecks_size(i, w->chain);
        b->ops->bottlenecks_pack(b->dev, 1, &w->chain[i], to);
    }
    return f.status == LAFS_OK ? b->ops->sync(b->dev, err) : f.status;
}

/* -- forward -- */

/* Rows of n maps of this side. */
static struct lafs_seqs rows_of(const struct lafs_cnn_work *w, int side)
{
    int k = 0;
    while (map_side[k] != side) k++;
    size_t at = (size_t)k * (size_t)(w->max_images + 1);
    return (struct lafs_seqs){w->n, w->off + at, w->dev_off + at, (int64_t)side * side};
}

/* BatchNorm and activation of a unit whose conv is there. */
static void normalise(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running,
                      struct lafs_cnn_unit *u, const struct lafs_bn_place *bn, int64_t rows, int64_t c,
                      enum lafs_act act)
{
    /* Without training the running statistics are only read. */
    float *stat = running ? running : (float *)value;
    b->ops->batchnorm(b->dev, rows, c, running != NULL, BN_MOMENTUM, u->conv, value + bn->gamma, value + bn->beta,
                      stat + bn->mean, stat + bn->var, act, u->out, u->mean, u->rstd);
    if (running) b->ops->axpy(b->dev, 1, 1, w->one, running + bn->tracked);
}

/* gate (n,e) of squeeze-and-excitation over x (n,hw,e); scaled = act(x gate). */
static void excite(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, int i)
{
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    int64_t e = net[i].e, side = shape_of(i).out_side;
    struct lafs_seqs one = rows_of(w, 1);
    b->ops->channel_mean(b->dev, w->n, side * side, e, s->u2.out, s->pool);
    b->ops->linear(b->dev, LAFS_PRECISION_FP32, &one, e, e / 4, s->pool, value + k->se1_w, NULL, LAFS_ACT_RELU, NULL,
                   s->pre1, s->hid);
    b->ops->linear(b->dev, LAFS_PRECISION_FP32, &one, e / 4, e, s->hid, value + k->se2_w, NULL, LAFS_ACT_HSIGMOID,
                   NULL, s->pre2, s->gate);
    b->ops->channel_scale(b->dev, w->n, side * side, e, s->u2.out, s->gate, net[i].act, s->scaled);
}

static void block_kept(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running, int i,
                       const float *in)
{
    const struct lafs_ops *op = b->ops;
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    const struct block *n = &net[i];
    struct shape h = shape_of(i);
    struct lafs_seqs from = rows_of(w, h.side), to = rows_of(w, h.out_side);
    const struct lafs_conv g = {w->n, h.side, h.side, n->e, n->k, n->stride, n->e};
    op->linear(b->dev, LAFS_PRECISION_FP32, &from, h.c, n->e, in, value + k->expand_w, NULL, LAFS_ACT_NONE, NULL, NULL,
               s->u1.conv);
    normalise(w, b, value, running, &s->u1, &k->bn1, lafs_seqs_rows(&from), n->e, n->act);
    op->depthwise(b->dev, &g, s->u1.out, value + k->depth_w, NULL, LAFS_ACT_NONE, s->u2.conv);
    normalise(w, b, value, running, &s->u2, &k->bn2, lafs_seqs_rows(&to), n->e, n->se ? LAFS_ACT_NONE : n->act);
    if (n->se) excite(w, b, value, i);
    op->linear(b->dev, LAFS_PRECISION_FP32, &to, n->e, n->o, s->scaled, value + k->project_w, NULL, LAFS_ACT_NONE,
               NULL, NULL, s->u3.conv);
    normalise(w, b, value, running, &s->u3, &k->bn3, lafs_seqs_rows(&to), n->o, LAFS_ACT_NONE);
    if (!h.residual) return;
    int64_t values = lafs_seqs_rows(&to) * n->o;
    op->copy(b->dev, s->sum, s->u3.out, (size_t)values * sizeof(float));
    op->axpy(b->dev, values, 1, in, s->sum);
}

static struct lafs_bn_map normed(const struct lafs_cnn_unit *u, const struct lafs_bn_place *bn, const float *value,
                                 enum lafs_act act)
{
    return (struct lafs_bn_map){u->conv, value + bn->gamma, value + bn->beta, u->mean, u->rstd, act};
}

/* A block's units: expansion, depthwise, projection. */
struct block_units {
    struct lafs_bn_unit expand, depth, project;
};
static struct block_units units_of(const struct lafs_cnn_work *w, const float *value, int i)
{
    const struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    const struct block *n = &net[i];
    struct shape h = shape_of(i);
    struct block_units u = {
        .expand = {.g = {w->n, h.side, h.side, h.c, 1, 1, n->e}, .w = value + k->expand_w, .train = w->train},
        .depth = {.g = {w->n, h.side, h.side, n->e, n->k, n->stride, n->e}, .depthwise = 1, .w = value + k->depth_w,
                  .train = w->train},
        .project = {.g = {w->n, h.out_side, h.out_side, n->e, 1, 1, n->o}, .w = value + k->project_w,
                    .train = w->train}};
    u.expand.x = (struct lafs_bn_map){.conv = i ? w->stage[i - 1].sum : w->first.out};
    u.expand.y = u.depth.x = normed(&s->u1, &k->bn1, value, n->act);
    u.depth.y = normed(&s->u2, &k->bn2, value, n->se ? LAFS_ACT_NONE : n->act);
    u.project.x = n->se ? (struct lafs_bn_map){.conv = s->scaled} : u.depth.y;
    u.project.y = normed(&s->u3, &k->bn3, value, LAFS_ACT_NONE);
    return u;
}

static void unit(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running,
                 const struct lafs_bn_unit *u, const struct lafs_bn_place *bn)
{
    float *stat = running ? running : (float *)value; /* as in normalise */
    b->ops->unit(b->dev, u, BN_MOMENTUM, stat + bn->mean, stat + bn->var);
    if (running) b->ops->axpy(b->dev, 1, 1, w->one, running + bn->tracked);
}

/* block_kept where the backend has ops for units. */
static void block_units(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running,
                        int i)
{
    const struct lafs_ops *op = b->ops;
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    struct shape h = shape_of(i);
    const struct block_units u = units_of(w, value, i);
    int64_t rows = w->n * h.out_side * h.out_side;
    unit(w, b, value, running, &u.expand, &k->bn1);
    unit(w, b, value, running, &u.depth, &k->bn2);
    if (net[i].se) {
        op->unit_out(b->dev, rows, net[i].e, &u.depth.y, NULL, s->u2.out);
        excite(w, b, value, i);
    }
    unit(w, b, value, running, &u.project, &k->bn3);
    op->unit_out(b->dev, rows, net[i].o, &u.project.y, h.residual ? u.expand.x.conv : NULL, s->sum);
}

static void block_folded(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, int i,
                         const float *in)
{
    const struct lafs_ops *op = b->ops;
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct block *n = &net[i];
    struct shape h = shape_of(i);
    struct lafs_seqs from = rows_of(w, h.side), to = rows_of(w, h.out_side);
    const struct lafs_conv g = {w->n, h.side, h.side, n->e, n->k, n->stride, n->e};
    op->linear(b->dev, LAFS_PRECISION_FP32, &from, h.c, n->e, in, s->folded[0], s->bias[0], n->act, NULL, NULL,
               s->u1.out);
    op->depthwise(b->dev, &g, s->u1.out, s->folded[1], s->bias[1], n->se ? LAFS_ACT_NONE : n->act, s->u2.out);
    if (n->se) excite(w, b, value, i);
    op->linear(b->dev, LAFS_PRECISION_FP32, &to, n->e, n->o, s->scaled, s->folded[2], s->bias[2], LAFS_ACT_NONE, NULL,
               NULL, s->sum);
    if (h.residual) op->axpy(b->dev, lafs_seqs_rows(&to) * n->o, 1, in, s->sum);
}

static struct lafs_drop dropout_of(const struct lafs_cnn_work *w)
{
    return (struct lafs_drop){w->keys ? w->cnn->dropout : 0, LAFS_CNN_DROP_SITE, w->keys};
}

void lafs_cnn_forward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *running,
                      int64_t n, const float *images, const uint64_t *keys, float *landmarks)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_cnn *m = w->cnn;
    const struct lafs_conv g = {n, LAFS_CNN_SIDE, LAFS_CNN_SIDE, 3, 3, 2, FIRST};
    const float one = 1;
    w->n = n;
    w->images = images;
    w->keys = keys;
    w->train = running != NULL;
    op->upload(b->dev, w->dev_off, w->off, (size_t)(MAPS * (w->max_images + 1)) * sizeof *w->off);
    op->upload(b->dev, w->one, &one, sizeof one);
    if (w->mode == LAFS_CNN_KEEP) {
        op->conv(b->dev, &g, images, value + m->first_w, NULL, LAFS_ACT_NONE, w->first.conv);
        normalise(w, b, value, running, &w->first, &m->first_bn, n * FIRST_SIDE * FIRST_SIDE, FIRST, LAFS_ACT_HSWISH);
    } else op->conv(b->dev, &g, images, w->first_folded, w->first_bias, LAFS_ACT_HSWISH, w->first.out);
    const float *in = w->first.out;
    int chained = w->mode != LAFS_CNN_KEEP && op->bottlenecks;
    for (int i = 0; i < LAFS_CNN_BLOCKS && !chained; i++) {
        if (w->mode == LAFS_CNN_KEEP && op->unit) block_units(w, b, value, running, i);
        else if (w->mode == LAFS_CNN_KEEP) block_kept(w, b, value, running, i, in);
        else block_folded(w, b, value, i, in);
        in = w->stage[i].sum;
    }
    if (chained) {
        float *last = w->stage[LAFS_CNN_BLOCKS - 1].sum;
        op->bottlenecks(b->dev, n, LAFS_CNN_BLOCKS, w->chain, w->packed, in, last);
        in = last;
    }
    struct lafs_seqs rows = rows_of(w, 1);
    const struct lafs_drop drop = dropout_of(w);
    op->channel_mean(b->dev, n, LAST_SIDE * LAST_SIDE, LAFS_CNN_OUT, in, w->mean);
    op->dropout(b->dev, &rows, LAFS_CNN_OUT, &drop, w->mean, w->dropped);
    op->linear(b->dev, LAFS_PRECISION_FP32, &rows, LAFS_CNN_OUT, 2 * m->landmarks, w->dropped, value + m->out_w,
               value + m->out_b, LAFS_ACT_NONE, NULL, NULL, w->raw);
    op->minmax(b->dev, n, 2 * m->landmarks, RANGE, w->raw, landmarks, w->arg);
}

lafs_status lafs_cnn_check(const float *landmarks, int64_t n, struct lafs_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(landmarks[i]))
            return lafs_fail(err, LAFS_FAILED,
                             "the landmark CNN gives no landmarks: its outputs are all equal, or not finite");
    return LAFS_OK;
}

/* -- backward -- */

static void normalise_bwd(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *grad,
                          const struct lafs_cnn_unit *u, const struct lafs_bn_place *bn, int64_t rows, int64_t c,
                          enum lafs_act act, const float *dy, float *dx)
{
    b->ops->batchnorm_bwd(b->dev, rows, c, w->train, u->conv, value + bn->gamma, value + bn->beta, u->mean, u->rstd,
                          act, dy, dx, grad + bn->gamma, grad + bn->beta);
}

/* dscaled (n,hw,e) -> dx: the gradient of the depthwise unit's output, through scaling and gate. */
static void excite_bwd(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *grad, int i,
                       const float *dscaled, float *dx)
{
    const struct lafs_ops *op = b->ops;
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    int64_t e = net[i].e, side = shape_of(i).out_side, n = w->n;
    struct lafs_seqs one = rows_of(w, 1);
    op->channel_scale_bwd(b->dev, n, side * side, e, s->u2.out, s->gate, net[i].act, dscaled, dx, w->dgate);
    op->act_bwd(b->dev, n * e, LAFS_ACT_HSIGMOID, s->pre2, w->dgate, w->dgate);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, n, e / 4, e, s->hid, w->dgate, grad + k->se2_w, NULL);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &one, e / 4, e, w->dgate, value + k->se2_w, w->dhid);
    op->act_bwd(b->dev, n * (e / 4), LAFS_ACT_RELU, s->pre1, w->dhid, w->dhid);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, n, e, e / 4, s->pool, w->dhid, grad + k->se1_w, NULL);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &one, e, e / 4, w->dhid, value + k->se1_w, w->dgate);
    op->channel_mean_bwd(b->dev, n, side * side, e, w->dgate, dx, 1);
}

/* d[0] holds the gradient of block i's output on entry, of its input on return; d[1], d[2] are scratch. */
static void block_bwd(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *grad, int i,
                      float *d[3])
{
    const struct lafs_ops *op = b->ops;
    struct lafs_cnn_stage *s = &w->stage[i];
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    const struct block *n = &net[i];
    struct shape h = shape_of(i);
    struct lafs_seqs from = rows_of(w, h.side), to = rows_of(w, h.out_side);
    const struct lafs_conv g = {w->n, h.side, h.side, n->e, n->k, n->stride, n->e};
    const float *in = i ? w->stage[i - 1].sum : w->first.out;
    int64_t rows_in = lafs_seqs_rows(&from), rows_out = lafs_seqs_rows(&to);
    float *mid = d[2], *low = d[1];
    normalise_bwd(w, b, value, grad, &s->u3, &k->bn3, rows_out, n->o, LAFS_ACT_NONE, d[0], low);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, rows_out, n->e, n->o, s->scaled, low, grad + k->project_w, NULL);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &to, n->e, n->o, low, value + k->project_w, mid);
    if (n->se) {
        excite_bwd(w, b, value, grad, i, mid, low);
        float *t = mid;
        mid = low;
        low = t;
    }
    normalise_bwd(w, b, value, grad, &s->u2, &k->bn2, rows_out, n->e, n->se ? LAFS_ACT_NONE : n->act, mid, mid);
    op->depthwise_bwd_w(b->dev, &g, s->u1.out, mid, grad + k->depth_w);
    op->depthwise_bwd_x(b->dev, &g, mid, value + k->depth_w, low);
    normalise_bwd(w, b, value, grad, &s->u1, &k->bn1, rows_in, n->e, n->act, low, low);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, rows_in, h.c, n->e, in, low, grad + k->expand_w, NULL);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &from, h.c, n->e, low, value + k->expand_w, mid);
    if (h.residual) op->axpy(b->dev, rows_in * h.c, 1, d[0], mid);
    d[2] = d[0];
    d[0] = mid;
    d[1] = low;
}

/* block_bwd where the backend has ops for units. */
static void block_units_bwd(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *grad,
                            int i, float *d[3])
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_cnn_block *k = &w->cnn->block[i];
    const struct block_units u = units_of(w, value, i);
    const float *add = shape_of(i).residual ? d[0] : NULL;
    float *mid = d[2], *low = d[1], *of_u2 = net[i].se ? NULL : w->slopes[0], *of_u1 = w->slopes[1];
    op->unit_bwd(b->dev, &u.project, d[0], NULL, NULL, mid, of_u2, grad + k->project_w, grad + k->bn3.gamma,
                 grad + k->bn3.beta);
    if (net[i].se) {
        excite_bwd(w, b, value, grad, i, mid, low);
        float *t = mid;
        mid = low;
        low = t;
    }
    op->unit_bwd(b->dev, &u.depth, mid, of_u2, NULL, low, of_u1, grad + k->depth_w, grad + k->bn2.gamma,
                 grad + k->bn2.beta);
    op->unit_bwd(b->dev, &u.expand, low, of_u1, add, mid, NULL, grad + k->expand_w, grad + k->bn1.gamma,
                 grad + k->bn1.beta);
    d[2] = d[0];
    d[0] = mid;
    d[1] = low;
}

void lafs_cnn_body_backward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value, float *dmap,
                            float *grad, float *dimages)
{
    const struct lafs_conv g = {w->n, LAFS_CNN_SIDE, LAFS_CNN_SIDE, 3, 3, 2, FIRST};
    float *d[3] = {w->da, w->db, w->dc};
    if (dmap != w->da) b->ops->copy(b->dev, w->da, dmap, (size_t)(w->n * 16 * LAFS_CNN_OUT) * sizeof(float));
    for (int i = LAFS_CNN_BLOCKS - 1; i >= 0; i--)
        (b->ops->unit ? block_units_bwd : block_bwd)(w, b, value, grad, i, d);
    normalise_bwd(w, b, value, grad, &w->first, &w->cnn->first_bn, w->n * FIRST_SIDE * FIRST_SIDE, FIRST,
                  LAFS_ACT_HSWISH, d[0], d[0]);
    b->ops->conv_bwd_w(b->dev, &g, w->images, d[0], grad + w->cnn->first_w);
    if (dimages) b->ops->conv_bwd_x(b->dev, &g, d[0], value + w->cnn->first_w, dimages);
}

void lafs_cnn_backward(struct lafs_cnn_work *w, const struct lafs_backend *b, const float *value,
                       const float *dlandmarks, float *grad, float *dimages)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_cnn *m = w->cnn;
    struct lafs_seqs rows = rows_of(w, 1);
    const struct lafs_drop drop = dropout_of(w);
    int64_t out = 2 * m->landmarks;
    op->minmax_bwd(b->dev, w->n, out, RANGE, w->raw, w->arg, dlandmarks, w->draw);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, w->n, LAFS_CNN_OUT, out, w->dropped, w->draw, grad + m->out_w,
                     grad + m->out_b);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &rows, LAFS_CNN_OUT, out, w->draw, value + m->out_w, w->dmean);
    op->dropout(b->dev, &rows, LAFS_CNN_OUT, &drop, w->dmean, w->dmean);
    op->channel_mean_bwd(b->dev, w->n, 16, LAFS_CNN_OUT, w->dmean, w->da, 0);
    lafs_cnn_body_backward(w, b, value, w->da, grad, dimages);
}
