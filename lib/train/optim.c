#include "train/optim.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

lafs_status lafs_optim_init(struct lafs_optim *o, const struct lafs_backend *b, struct lafs_params *params,
                            struct lafs_err *err)
{
    memset(o, 0, sizeof *o);
    o->backend = b;
    o->params = params;
    o->beta1 = 0.9f;
    o->beta2 = 0.999f;
    o->eps = 1e-8f;
    pthread_mutex_init(&o->lock, NULL);
    size_t bytes = (size_t)params->size * sizeof(float), n = (size_t)params->count;
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->grad, bytes, err));
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->m, bytes, err));
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->v, bytes, err));
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->dev_norm, n * (sizeof *o->dev_norm + sizeof *o->dev_rate), err));
    o->dev_rate = (struct lafs_rate *)(o->dev_norm + n);
    LAFS_TRY(lafs_alloc0(&o->seg, n, sizeof *o->seg, err));
    LAFS_TRY(lafs_alloc0(&o->rate, n, sizeof *o->rate, err));
    LAFS_TRY(lafs_alloc0(&o->step, n, sizeof *o->step, err));
    LAFS_TRY(lafs_alloc0(&o->norm, n, sizeof *o->norm, err));
    LAFS_TRY(lafs_alloc0(&o->lr_scale, n, sizeof *o->lr_scale, err));
    for (size_t i = 0; i < n; i++) {
        o->seg[i].off = params->p[i].off;
        o->seg[i].size = params->p[i].size;
        o->lr_scale[i] = 1;
    }
    return LAFS_OK;
}

size_t lafs_optim_memory(const struct lafs_params *params, size_t rest)
{
    const struct lafs_optim *o = NULL;
    const size_t tensors = (size_t)params->count * (sizeof *o->dev_norm + sizeof *o->dev_rate);
    size_t bytes;
    if (!lafs_mul_ok((size_t)params->size, 4 * sizeof(float), &bytes) || !lafs_add_ok(bytes, rest, &bytes) ||
        !lafs_add_ok(bytes, tensors, &bytes))
        return SIZE_MAX;
    return bytes;
}

void lafs_optim_release(struct lafs_optim *o)
{
    if (o->backend) {
        lafs_repeat_forget(&o->again, o->backend);
        pthread_mutex_destroy(&o->lock);
        o->backend->ops->free(o->backend->dev, o->grad);
        o->backend->ops->free(o->backend->dev, o->m);
        o->backend->ops->free(o->backend->dev, o->v);
        o->backend->ops->free(o->backend->dev, o->dev_norm);
    }
    lafs_free(o->seg);
    lafs_free(o->rate);
    lafs_free(o->step);
    lafs_free(o->norm);
    lafs_free(o->lr_scale);
    memset(o, 0, sizeof *o);
}

void lafs_optim_layer_decay(struct lafs_optim *o, double rate, int layers)
{
    for (int i = 0; i < o->params->count; i++)
        o->lr_scale[i] = (float)pow(rate, layers + 1 - o->params->p[i].depth);
}

void lafs_optim_zero_grad(struct lafs_optim *o)
{
    o->backend->ops->zero(o->backend->dev, o->grad, (size_t)o->params->size * sizeof(float));
}

static int starts(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

static float decay_of(const struct lafs_decay *d, const struct lafs_param *p)
{
    int cnn = starts(p->name, "stn."), landmark_layer = starts(p->name, "output_layer.");
    if (d->cnn >= 0 && d->cnn_all && (cnn || landmark_layer)) return d->cnn;
    if (p->ndim < 2) return d->vector;
    return d->cnn >= 0 && cnn ? d->cnn : d->matrix;
}

/* This step's rates and norms, on the host and on the device. */
static lafs_status judge(struct lafs_optim *o, const struct lafs_update *u, struct lafs_err *err)
{
    const struct lafs_backend *b = o->backend;
    const struct lafs_params *ps = o->params;
    const size_t n = (size_t)ps->count;
    for (int i = 0; i < ps->count; i++) {
        const double step = (double)(o->step[i] + 1);
        o->rate[i] = (struct lafs_rate){
            .lr = (float)(u->lr * o->lr_scale[i]),
            .decay = (float)(u->decay_scale * decay_of(&u->decay, &ps->p[i])),
            .clip = u->clip > 0 ? (float)u->clip : 0,
            .skip = !ps->p[i].trainable || (u->frozen && u->frozen[i]),
            .correct1 = 1 - pow(o->beta1, step),
            .correct2 = 1 - pow(o->beta2, step),
        };
    }
    b->ops->upload(b->dev, o->dev_rate, o->rate, n * sizeof *o->rate);
    b->ops->norms(b->dev, ps->count, o->seg, o->grad, o->dev_norm);
    b->ops->download(b->dev, o->norm, o->dev_norm, n * sizeof *o->norm);
    LAFS_TRY(b->ops->sync(b->dev, err));
    for (int i = 0; i < ps->count; i++)
        if (!o->rate[i].skip && !isfinite(o->norm[i]))
            return lafs_fail(err, LAFS_FAILED, "the gradient of '%s' is not finite", ps->p[i].name);
    return LAFS_OK;
}

void lafs_optim_update(struct lafs_optim *o)
{
    const struct lafs_backend *b = o->backend;
    b->ops->adamw(b->dev, o->params->count, o->seg, o->dev_rate, o->dev_norm, o->beta1, o->beta2, o->eps,
                  o->params->value, o->grad, o->m, o->v);
}

lafs_status lafs_optim_step(struct lafs_optim *o, const struct lafs_update *u, struct lafs_err *err)
{
    pthread_mutex_lock(&o->lock);
    lafs_status st = judge(o, u, err);
    if (st == LAFS_OK) {
        lafs_repeat(&o->again, o->backend, NULL, 0, u->queue, u->arg);
        for (int i = 0; i < o->params->count; i++)
            if (!o->rate[i].skip) o->step[i]++;
        o->done = u->step;
        st = o->backend->ops->sync(o->backend->dev, err);
    } else lafs_err_prefix(err, "step %" PRId64, u->step);
    pthread_mutex_unlock(&o->lock);
    return st;
}

double lafs_optim_norm(const struct lafs_optim *o)
{
    double sum = 0;
    for (int i = 0; i < o->params->count; i++)
        if (!o->rate[i].skip) sum += o->norm[i] * o->norm[i];
    return sqrt(sum);
}
