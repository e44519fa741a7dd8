#include "train/optim.h"

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
    size_t bytes = (size_t)params->size * sizeof(float), n = (size_t)params->count;
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->grad, bytes, err));
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->m, bytes, err));
    LAFS_TRY(b->ops->alloc(b->dev, (void **)&o->v, bytes, err));
    LAFS_TRY(lafs_alloc0(&o->seg, n, sizeof *o->seg, err));
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
    size_t bytes;
    if (!lafs_mul_ok((size_t)params->size, 4 * sizeof(float), &bytes) || !lafs_add_ok(bytes, rest, &bytes))
        return SIZE_MAX;
    return bytes;
}

void lafs_optim_release(struct lafs_optim *o)
{
    if (o->backend) {
        o->backend->ops->free(o->backend->dev, o->grad);
        o->backend->ops->free(o->backend->dev, o->m);
        o->backend->ops->free(o->backend->dev, o->v);
    }
    lafs_free(o->seg);
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

lafs_status lafs_optim_step(struct lafs_optim *o, double lr, const struct lafs_decay *decay, double decay_scale,
                            double clip, const unsigned char *frozen, struct lafs_err *err)
{
    const struct lafs_backend *b = o->backend;
    const struct lafs_params *ps = o->params;
    for (int i = 0; i < ps->count; i++) {
        struct lafs_segment *s = &o->seg[i];
        s->skip = !ps->p[i].trainable || (frozen && frozen[i]);
        s->lr = (float)(lr * o->lr_scale[i]);
        s->decay = (float)(decay_scale * decay_of(decay, &ps->p[i]));
        s->clip = clip > 0 ? (float)clip : 0;
        s->step = o->step[i] + 1;
    }
    b->ops->norms(b->dev, ps->count, o->seg, o->grad, o->norm);
    LAFS_TRY(b->ops->sync(b->dev, err));
    for (int i = 0; i < ps->count; i++)
        if (!o->seg[i].skip && !isfinite(o->norm[i]))
            return lafs_fail(err, LAFS_FAILED, "the gradient of '%s' is not finite", ps->p[i].name);
    b->ops->adamw(b->dev, ps->count, o->seg, o->norm, o->beta1, o->beta2, o->eps, ps->value, o->grad, o->m, o->v);
    for (int i = 0; i < ps->count; i++)
        if (!o->seg[i].skip) o->step[i]++;
    return b->ops->sync(b->dev, err);
}
