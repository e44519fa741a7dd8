#include "model/convnet.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const float BN_MOMENTUM = 0.1f;
#define BN_EPS 1e-5

static int has_weights(enum lafs_unit_kind k)
{
    return k == LAFS_UNIT_CONV || k == LAFS_UNIT_SEPARABLE || k == LAFS_UNIT_HEAD;
}
static enum lafs_act act_of(enum lafs_unit_kind k) { return k == LAFS_UNIT_HEAD ? LAFS_ACT_NONE : LAFS_ACT_RELU; }

/* -- parameters -- */

static lafs_status declare(struct lafs_convnet *net, int i, const char *what, int ndim, const int64_t *shape,
                           enum lafs_init init, double a, int *id, struct lafs_err *err)
{
    char name[LAFS_MAX_TENSOR_NAME];
    snprintf(name, sizeof name, "unit%d.%s", i, what);
    int statistic = !strcmp(what, "mean") || !strcmp(what, "var");
    return lafs_params_add(&net->params, name, ndim, shape, !statistic, init, (float)a, 0, id, err);
}

/* Weights are drawn so that values keep their size; BatchNorm mends the rest. A head begins near its biases. */
static lafs_status declare_unit(struct lafs_convnet *net, int i, int64_t in, struct lafs_err *err)
{
    const struct lafs_unit *u = &net->unit[i];
    struct lafs_convnet_ids *id = &net->id[i];
    int64_t out = u->out, dense = u->kind == LAFS_UNIT_CONV;
    const int64_t weight[4] = {out, in, dense ? 3 : 1, dense ? 3 : 1}, depth[4] = {out, 1, 3, 3};
    double fan = (double)(in * (dense ? 9 : 1));
    LAFS_TRY(declare(net, i, "weight", 4, weight, LAFS_INIT_NORMAL, sqrt(2 / fan), &id->weight, err));
    if (!dense)
        LAFS_TRY(declare(net, i, "depth", 4, depth, LAFS_INIT_NORMAL, u->kind == LAFS_UNIT_HEAD ? 0.05 : 1.0 / 3,
                         &id->depth, err));
    LAFS_TRY(declare(net, i, "gamma", 1, &out, LAFS_INIT_ONE, 0, &id->gamma, err));
    LAFS_TRY(declare(net, i, "beta", 1, &out, LAFS_INIT_ZERO, 0, &id->beta, err));
    LAFS_TRY(declare(net, i, "mean", 1, &out, LAFS_INIT_ZERO, 0, &id->mean, err));
    return declare(net, i, "var", 1, &out, LAFS_INIT_ONE, 0, &id->var, err);
}

lafs_status lafs_convnet_init(struct lafs_convnet *net, const struct lafs_unit *unit, int units, int channels,
                              struct lafs_err *err)
{
    memset(net, 0, sizeof *net);
    lafs_params_init(&net->params);
    net->units = units;
    net->channels = channels;
    for (int i = 0; i < units; i++) {
        const struct lafs_unit *u = &unit[i];
        int64_t in = u->in < 0 ? channels : net->c[u->in];
        net->unit[i] = *u;
        net->c[i] = has_weights(u->kind) ? u->out : (int)in;
        if (has_weights(u->kind)) LAFS_TRY(declare_unit(net, i, in, err));
    }
    return LAFS_OK;
}

void lafs_convnet_release(struct lafs_convnet *net, const struct lafs_backend *b)
{
    lafs_params_release(&net->params, b);
}

/* -- folding -- */

/* The next tensor of f; data is handed out in order. */
static float *next_tensor(struct lafs_convnet_folded *f, int conv, int bias, int64_t out, int64_t in, int64_t k,
                          float **at)
{
    struct lafs_st_tensor *t = &f->t[f->tensors];
    snprintf(f->name[f->tensors], sizeof f->name[0], "conv%d.%s", conv, bias ? "bias" : "weight");
    *t = (struct lafs_st_tensor){.name = f->name[f->tensors], .dtype = LAFS_F32, .ndim = bias ? 1 : 4, .count = out};
    t->shape[0] = out;
    if (!bias) {
        t->shape[1] = in;
        t->shape[2] = t->shape[3] = k;
        t->count = out * in * k * k;
    }
    float *data = *at;
    if (*at) *at += t->count;
    t->data = data;
    f->tensors++;
    return data;
}

/* Names and shapes of all folded tensors; data NULL: only those. Returns the number of floats. */
static size_t lay_out(const struct lafs_convnet *net, struct lafs_convnet_folded *f, float *data)
{
    size_t size = 0;
    int conv = 0;
    f->tensors = 0;
    for (int i = 0; i < net->units; i++) {
        const struct lafs_unit *u = &net->unit[i];
        if (!has_weights(u->kind)) continue;
        int64_t in = u->in < 0 ? net->channels : net->c[u->in];
        int dense = u->kind == LAFS_UNIT_CONV;
        next_tensor(f, conv, 0, u->out, in, dense ? 3 : 1, &data);
        next_tensor(f, conv, 1, u->out, 0, 0, &data);
        conv++;
        if (dense) continue;
        next_tensor(f, conv, 0, u->out, 1, 3, &data);
        next_tensor(f, conv, 1, u->out, 0, 0, &data);
        conv++;
    }
    for (int k = 0; k < f->tensors; k++) size += (size_t)f->t[k].count;
    return size;
}

/* What normalisation does to unit i's last convolution (out, per): w times scale, and the bias. */
static void fold_unit(const struct lafs_convnet *net, int i, const float *host, float *w, float *bias, int64_t per)
{
    const struct lafs_param *p = net->params.p;
    const struct lafs_convnet_ids *id = &net->id[i];
    const float *gamma = host + p[id->gamma].off, *beta = host + p[id->beta].off;
    const float *mean = host + p[id->mean].off, *var = host + p[id->var].off;
    for (int64_t c = 0; c < net->c[i]; c++) {
        double s = gamma[c] / sqrt((double)var[c] + BN_EPS);
        for (int64_t k = 0; k < per; k++) w[c * per + k] = (float)(w[c * per + k] * s);
        bias[c] = (float)(beta[c] - mean[c] * s);
    }
}

lafs_status lafs_convnet_fold(const struct lafs_convnet *net, const struct lafs_backend *b, const float *value,
                              struct lafs_convnet_folded *f, struct lafs_err *err)
{
    float *host;
    memset(f, 0, sizeof *f);
    size_t size = lay_out(net, f, NULL);
    LAFS_TRY(lafs_alloc0(&f->data, size, sizeof *f->data, err));
    lafs_status st = lafs_alloc(&host, (size_t)net->params.size, sizeof *host, err);
    if (st != LAFS_OK) return st;
    b->ops->download(b->dev, host, value, (size_t)net->params.size * sizeof *host);
    st = b->ops->sync(b->dev, err);
    lay_out(net, f, f->data);
    struct lafs_st_tensor *t = f->t;
    for (int i = 0; i < net->units && st == LAFS_OK; i++) {
        if (!has_weights(net->unit[i].kind)) continue;
        const struct lafs_param *w = &net->params.p[net->id[i].weight], *depth = &net->params.p[net->id[i].depth];
        memcpy((float *)t[0].data, host + w->off, (size_t)w->size * sizeof *host);
        if (net->unit[i].kind == LAFS_UNIT_CONV) {
            fold_unit(net, i, host, (float *)t[0].data, (float *)t[1].data, (int64_t)9 * net->channels);
            t += 2;
            continue;
        }
        memcpy((float *)t[2].data, host + depth->off, (size_t)depth->size * sizeof *host);
        fold_unit(net, i, host, (float *)t[2].data, (float *)t[3].data, 9);
        t += 4;
    }
    lafs_free(host);
    return st;
}

void lafs_convnet_folded_release(struct lafs_convnet_folded *f)
{
    lafs_free(f->data);
    f->data = NULL;
}

/* -- memory -- */

/* Size of unit i's output. */
static lafs_status place_unit(struct lafs_convnet_work *w, int i, struct lafs_err *err)
{
    const struct lafs_unit *u = &w->net->unit[i];
    struct lafs_convnet_step *s = &w->step[i];
    int64_t h = u->in < 0 ? w->h : w->step[u->in].h, width = u->in < 0 ? w->w : w->step[u->in].w;
    int halves = u->kind == LAFS_UNIT_POOL || (u->kind == LAFS_UNIT_CONV && u->stride == 2);
    int fits = !halves || (h % 2 == 0 && width % 2 == 0);
    if (u->kind == LAFS_UNIT_SUM) fits = 2 * w->step[u->with].h == h && 2 * w->step[u->with].w == width;
    if (!fits)
        return lafs_fail(err, LAFS_FAILED, "images of %d x %d do not halve as the network asks", (int)w->w, (int)w->h);
    s->h = halves ? h / 2 : h;
    s->w = halves ? width / 2 : width;
    return LAFS_OK;
}

lafs_status lafs_convnet_plan(struct lafs_convnet_work *w, const struct lafs_convnet *net, int64_t n, int64_t h,
                              int64_t width, enum lafs_convnet_mode mode, struct lafs_arena *a, struct lafs_err *err)
{
    size_t most = 0;
    *w = (struct lafs_convnet_work){.net = net, .mode = mode, .n = n, .h = h, .w = width};
    for (int i = 0; i < net->units; i++) {
        struct lafs_convnet_step *s = &w->step[i];
        enum lafs_unit_kind kind = net->unit[i].kind;
        LAFS_TRY(place_unit(w, i, err));
        size_t c = (size_t)net->c[i], size = (size_t)(n * s->h * s->w) * c;
        most = size > most ? size : most;
        s->out = lafs_arena_take(a, size, sizeof(float));
        if (has_weights(kind) && kind != LAFS_UNIT_CONV) s->mid = lafs_arena_take(a, size, sizeof(float));
        if (mode == LAFS_CONVNET_INFER) continue;
        s->d = lafs_arena_take(a, size, sizeof(float));
        if (!has_weights(kind)) continue;
        s->conv = lafs_arena_take(a, size, sizeof(float));
        s->mean = lafs_arena_take(a, c, sizeof(float));
        s->rstd = lafs_arena_take(a, c, sizeof(float));
    }
    w->dev_off = lafs_arena_take(a, 2 * LAFS_CONVNET_UNITS, sizeof *w->dev_off);
    if (mode == LAFS_CONVNET_TRAIN)
        for (int k = 0; k < 2; k++) w->scratch[k] = lafs_arena_take(a, most, sizeof(float));
    else {
        struct lafs_convnet_folded f;
        w->folded_size = lay_out(net, &f, NULL);
        w->folded = lafs_arena_take(a, w->folded_size, sizeof(float));
    }
    return LAFS_OK;
}

lafs_status lafs_convnet_load(struct lafs_convnet_work *w, const struct lafs_backend *b, const struct lafs_st *st,
                              struct lafs_err *err)
{
    struct lafs_convnet_folded f;
    float *host;
    LAFS_TRY(lafs_alloc(&host, w->folded_size, sizeof *host, err));
    lay_out(w->net, &f, host);
    lafs_status rc = LAFS_OK;
    for (int k = 0; k < f.tensors && rc == LAFS_OK; k++)
        rc = lafs_st_read_weights(st, f.name[k], f.t[k].shape, f.t[k].ndim, (float *)f.t[k].data, err);
    if (rc == LAFS_OK) {
        b->ops->upload(b->dev, w->folded, host, w->folded_size * sizeof *host);
        rc = b->ops->sync(b->dev, err);
    }
    lafs_free(host);
    lay_out(w->net, &f, w->folded);
    const struct lafs_st_tensor *t = f.t;
    for (int i = 0; i < w->net->units; i++) {
        if (!has_weights(w->net->unit[i].kind)) continue;
        int dense = w->net->unit[i].kind == LAFS_UNIT_CONV;
        struct lafs_convnet_step *s = &w->step[i];
        s->weight = t[0].data;
        s->point_bias = dense ? NULL : t[1].data;
        s->depth = dense ? NULL : t[2].data;
        s->bias = dense ? t[1].data : t[3].data;
        t += dense ? 2 : 4;
    }
    return rc;
}

/* -- forward -- */

static const float *input_of(const struct lafs_convnet_work *w, int i)
{
    int in = w->net->unit[i].in;
    return in < 0 ? w->image : w->step[in].out;
}
static int64_t channels_in(const struct lafs_convnet_work *w, int i)
{
    int in = w->net->unit[i].in;
    return in < 0 ? w->net->channels : w->net->c[in];
}

/* Geometry of unit i's 3x3 convolution. */
static struct lafs_conv conv_of(const struct lafs_convnet_work *w, int i)
{
    const struct lafs_unit *u = &w->net->unit[i];
    const struct lafs_convnet_step *s = &w->step[i];
    if (u->kind == LAFS_UNIT_CONV)
        return (struct lafs_conv){w->n, w->h, w->w, w->net->channels, 3, u->stride, u->out};
    return (struct lafs_conv){w->n, s->h, s->w, u->out, 3, 1, u->out};
}

/* BatchNorm, or a head's factor and bias: the same with statistics that never change, mean 0 and variance 1. */
static void normalise(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *running,
                      int i)
{
    const struct lafs_param *p = w->net->params.p;
    const struct lafs_convnet_ids *id = &w->net->id[i];
    struct lafs_convnet_step *s = &w->step[i];
    int train = running != NULL && w->net->unit[i].kind != LAFS_UNIT_HEAD;
    float *stat = train ? running : (float *)value; /* only read then */
    b->ops->batchnorm(b->dev, w->n * s->h * s->w, w->net->c[i], train, BN_MOMENTUM, s->conv, value + p[id->gamma].off,
                      value + p[id->beta].off, stat + p[id->mean].off, stat + p[id->var].off,
                      act_of(w->net->unit[i].kind), s->out, s->mean, s->rstd);
}

/* Output of unit i as one sequence of rows. */
static struct lafs_seqs rows_of(const struct lafs_convnet_work *w, int i)
{
    return (struct lafs_seqs){1, w->off[i], w->dev_off + 2 * i, w->off[i][1]};
}

/* 1x1 convolution of unit i with weights (out, in) into mid; bias (out) may be NULL. */
static void pointwise(struct lafs_convnet_work *w, const struct lafs_backend *b, int i, const float *weight,
                      const float *bias)
{
    struct lafs_convnet_step *s = &w->step[i];
    const struct lafs_seqs rows = rows_of(w, i);
    b->ops->linear(b->dev, LAFS_PRECISION_FP32, &rows, channels_in(w, i), w->net->c[i], input_of(w, i), weight, bias,
                   LAFS_ACT_NONE, NULL, NULL, s->mid);
}

static void unit_train(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *running,
                       int i)
{
    const struct lafs_param *p = w->net->params.p;
    const struct lafs_convnet_ids *id = &w->net->id[i];
    const struct lafs_conv g = conv_of(w, i);
    struct lafs_convnet_step *s = &w->step[i];
    if (w->net->unit[i].kind == LAFS_UNIT_CONV) {
        b->ops->conv(b->dev, &g, w->image, value + p[id->weight].off, NULL, LAFS_ACT_NONE, s->conv);
    } else {
        pointwise(w, b, i, value + p[id->weight].off, NULL);
        b->ops->depthwise(b->dev, &g, s->mid, value + p[id->depth].off, NULL, LAFS_ACT_NONE, s->conv);
    }
    normalise(w, b, value, running, i);
}

static void unit_infer(struct lafs_convnet_work *w, const struct lafs_backend *b, int i)
{
    const struct lafs_conv g = conv_of(w, i);
    struct lafs_convnet_step *s = &w->step[i];
    enum lafs_act act = act_of(w->net->unit[i].kind);
    if (w->net->unit[i].kind == LAFS_UNIT_CONV) {
        b->ops->conv(b->dev, &g, w->image, s->weight, s->bias, act, s->out);
    } else if (b->ops->separable) {
        const struct lafs_conv both = {g.n, g.h, g.w, channels_in(w, i), g.k, g.stride, g.out};
        b->ops->separable(b->dev, &both, input_of(w, i), s->weight, s->point_bias, s->depth, s->bias, act, s->out);
    } else {
        pointwise(w, b, i, s->weight, s->point_bias);
        b->ops->depthwise(b->dev, &g, s->mid, s->depth, s->bias, act, s->out);
    }
}

void lafs_convnet_forward(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *running,
                          int64_t n, const float *image)
{
    const struct lafs_ops *op = b->ops;
    w->n = n;
    w->image = image;
    w->train = running != NULL;
    for (int i = 0; i < w->net->units; i++) w->off[i][1] = n * w->step[i].h * w->step[i].w;
    op->upload(b->dev, w->dev_off, w->off, sizeof w->off);
    for (int i = 0; i < w->net->units; i++) {
        const struct lafs_unit *u = &w->net->unit[i];
        struct lafs_convnet_step *s = &w->step[i];
        int64_t c = w->net->c[i];
        s->has_d = 0;
        switch (u->kind) {
        case LAFS_UNIT_POOL: op->maxpool2(b->dev, n, 2 * s->h, 2 * s->w, c, input_of(w, i), s->out); break;
        case LAFS_UNIT_SUM:
            op->copy(b->dev, s->out, input_of(w, i), (size_t)(n * s->h * s->w * c) * sizeof(float));
            op->upsample2_add(b->dev, n, s->h / 2, s->w / 2, c, w->step[u->with].out, s->out);
            break;
        default:
            if (w->mode == LAFS_CONVNET_TRAIN) unit_train(w, b, value, running, i);
            else unit_infer(w, b, i);
        }
    }
}

/* -- backward -- */

float *lafs_convnet_grad(struct lafs_convnet_work *w, int unit)
{
    w->step[unit].has_d = 1;
    return w->step[unit].d;
}

/* Where a gradient of unit k's output is to be written: straight to its place, or, when there is one already, to
 * scratch, from where `merge` adds it. */
static float *open_grad(struct lafs_convnet_work *w, int k, float *scratch)
{
    return w->step[k].has_d ? scratch : w->step[k].d;
}
static void merge(struct lafs_convnet_work *w, const struct lafs_backend *b, int k, const float *from)
{
    struct lafs_convnet_step *s = &w->step[k];
    if (from != s->d) b->ops->axpy(b->dev, w->n * s->h * s->w * w->net->c[k], 1, from, s->d);
    s->has_d = 1;
}

static void unit_back(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *grad, int i)
{
    const struct lafs_ops *op = b->ops;
    const struct lafs_param *p = w->net->params.p;
    const struct lafs_convnet_ids *id = &w->net->id[i];
    const struct lafs_unit *u = &w->net->unit[i];
    const struct lafs_conv g = conv_of(w, i);
    struct lafs_convnet_step *s = &w->step[i];
    const struct lafs_seqs all = rows_of(w, i);
    int64_t rows = w->off[i][1], out = u->out, in = channels_in(w, i);
    op->batchnorm_bwd(b->dev, rows, out, w->train && u->kind != LAFS_UNIT_HEAD, s->conv, value + p[id->gamma].off,
                      value + p[id->beta].off, s->mean, s->rstd, act_of(u->kind), s->d, s->d, grad + p[id->gamma].off,
                      grad + p[id->beta].off);
    if (u->kind == LAFS_UNIT_CONV) {
        op->conv_bwd_w(b->dev, &g, w->image, s->d, grad + p[id->weight].off);
        return;
    }
    op->depthwise_bwd_w(b->dev, &g, s->mid, s->d, grad + p[id->depth].off);
    op->depthwise_bwd_x(b->dev, &g, s->d, value + p[id->depth].off, w->scratch[0]);
    op->linear_bwd_w(b->dev, LAFS_PRECISION_FP32, rows, in, out, input_of(w, i), w->scratch[0],
                     grad + p[id->weight].off, NULL);
    if (u->in < 0) return;
    float *dx = open_grad(w, u->in, w->scratch[1]);
    op->linear_bwd_x(b->dev, LAFS_PRECISION_FP32, &all, in, out, w->scratch[0], value + p[id->weight].off, dx);
    merge(w, b, u->in, dx);
}

void lafs_convnet_backward(struct lafs_convnet_work *w, const struct lafs_backend *b, const float *value, float *grad)
{
    const struct lafs_ops *op = b->ops;
    for (int i = w->net->units - 1; i >= 0; i--) {
        const struct lafs_unit *u = &w->net->unit[i];
        struct lafs_convnet_step *s = &w->step[i];
        int64_t c = w->net->c[i];
        if (!s->has_d) continue;
        if (u->kind == LAFS_UNIT_POOL) {
            float *dx = open_grad(w, u->in, w->scratch[0]);
            op->maxpool2_bwd(b->dev, w->n, 2 * s->h, 2 * s->w, c, w->step[u->in].out, s->d, dx);
            merge(w, b, u->in, dx);
        } else if (u->kind == LAFS_UNIT_SUM) {
            float *dx = open_grad(w, u->with, w->scratch[0]);
            op->upsample2_bwd(b->dev, w->n, s->h / 2, s->w / 2, c, s->d, dx);
            merge(w, b, u->with, dx);
            if (!w->step[u->in].has_d)
                op->copy(b->dev, w->step[u->in].d, s->d, (size_t)(w->n * s->h * s->w * c) * sizeof(float));
            merge(w, b, u->in, w->step[u->in].has_d ? s->d : w->step[u->in].d);
        } else unit_back(w, b, value, grad, i);
        s->has_d = 0;
    }
}
