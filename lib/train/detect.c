#include "train/detect.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "compute/repeat.h"
#include "train/optim.h"
#include "train/sched.h"

enum { HEADS = LAFS_DTRAIN_HEADS, FIGURES = LAFS_DTRAIN_FIGURES, MAX_METAS = 16 };

struct lafs_dtrain {
    struct lafs_dtrain_config c;
    const struct lafs_dtrain_task *task;
    void *state; /* the task's */
    const struct lafs_backend *b;
    struct lafs_pool *pool;
    struct lafs_convnet net;
    struct lafs_optim optim; /* in a step, optim.grad also holds the running statistics that are being updated */
    float *mean;             /* (params.size) device: averaged weights and statistics */
    double *keep;            /* (1) device: the part of them that a step leaves */
    struct lafs_arena arena;
    struct lafs_convnet_work work;
    float *image;            /* device (batch, side, side, 3) */
    struct lafs_repeat forward_again, backward_again; /* the same in every step */
    /* host */
    float *examples;         /* (batch, side, side, 3) */
    size_t head_size[HEADS]; /* floats of one example's output */
    float *out[HEADS], *d[HEADS]; /* (batch, head_size) */
    double *figures;         /* (batch, FIGURES) */
    struct lafs_err *errs;   /* (batch) */
};

/* -- opening -- */

static lafs_status carve(struct lafs_dtrain *t, struct lafs_err *err)
{
    size_t side = (size_t)t->task->side;
    t->image = lafs_arena_take(&t->arena, (size_t)t->c.batch * side * side * 3, sizeof(float));
    t->mean = lafs_arena_take(&t->arena, (size_t)t->net.params.size, sizeof(float));
    t->keep = lafs_arena_take(&t->arena, 1, sizeof *t->keep);
    return lafs_convnet_plan(&t->work, &t->net, t->c.batch, t->task->side, t->task->side, LAFS_CONVNET_TRAIN, &t->arena,
                             err);
}

static lafs_status host_memory(struct lafs_dtrain *t, struct lafs_err *err)
{
    size_t n = (size_t)t->c.batch, side = (size_t)t->task->side;
    LAFS_TRY(lafs_alloc(&t->examples, n * side * side * 3, sizeof *t->examples, err));
    LAFS_TRY(lafs_alloc0(&t->figures, n * FIGURES, sizeof *t->figures, err));
    LAFS_TRY(lafs_alloc0(&t->errs, n, sizeof *t->errs, err));
    for (int k = 0; k < t->task->heads; k++) {
        const struct lafs_convnet_step *s = &t->work.step[t->task->head[k]];
        t->head_size[k] = (size_t)(s->h * s->w * t->net.c[t->task->head[k]]);
        LAFS_TRY(lafs_alloc(&t->out[k], n * t->head_size[k], sizeof(float), err));
        LAFS_TRY(lafs_alloc(&t->d[k], n * t->head_size[k], sizeof(float), err));
    }
    return LAFS_OK;
}

static lafs_status check(const struct lafs_dtrain_config *c, const struct lafs_index *ix, struct lafs_err *err)
{
    if (c->batch < 2) return lafs_fail(err, LAFS_USAGE, "a batch has at least 2 examples: BatchNorm learns from it");
    LAFS_TRY(lafs_sched_check(c->warmup, c->steps, "steps", err));
    if (ix->samples < 1) return lafs_fail(err, LAFS_FAILED, "the index is empty");
    return LAFS_OK;
}

static lafs_status build(struct lafs_dtrain *t, const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_params *ps = &t->net.params;
    LAFS_TRY(check(&t->c, ix, err));
    LAFS_TRY(t->task->net(&t->net, err));
    LAFS_TRY(lafs_params_place(ps, t->b, err));
    LAFS_TRY(lafs_params_fill(ps, t->b, t->c.seed, err));
    LAFS_TRY(lafs_optim_init(&t->optim, t->b, ps, err));
    LAFS_TRY(carve(t, err));
    LAFS_TRY(lafs_arena_reserve(&t->arena, t->b, err));
    LAFS_TRY(carve(t, err));
    LAFS_TRY(host_memory(t, err));
    t->b->ops->copy(t->b->dev, t->mean, ps->value, (size_t)ps->size * sizeof(float));
    LAFS_TRY(t->b->ops->sync(t->b->dev, err));
    int workers = t->pool ? lafs_pool_threads(t->pool) : 1;
    return t->task->open(&t->state, &t->c, ix, workers, err);
}

lafs_status lafs_dtrain_open(struct lafs_dtrain **out, const struct lafs_dtrain_config *c, const struct lafs_backend *b,
                             struct lafs_pool *pool, const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_dtrain *t;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    t->c = *c;
    t->task = c->task;
    t->b = b;
    t->pool = pool;
    lafs_status st = build(t, ix, err);
    if (st != LAFS_OK) {
        lafs_dtrain_close(t);
        return st;
    }
    *out = t;
    return LAFS_OK;
}

void lafs_dtrain_close(struct lafs_dtrain *t)
{
    if (!t) return;
    if (t->state) t->task->close(t->state);
    lafs_repeat_forget(&t->forward_again, t->b);
    lafs_repeat_forget(&t->backward_again, t->b);
    lafs_optim_release(&t->optim);
    lafs_convnet_release(&t->net, t->b);
    lafs_arena_release(&t->arena, t->b);
    for (int k = 0; k < HEADS; k++) {
        lafs_free(t->out[k]);
        lafs_free(t->d[k]);
    }
    lafs_free(t->examples);
    lafs_free(t->figures);
    lafs_free(t->errs);
    lafs_free(t);
}

lafs_status lafs_dtrain_init_from(struct lafs_dtrain *t, const struct lafs_st *checkpoint, struct lafs_err *err)
{
    const struct lafs_params *ps = &t->net.params;
    LAFS_TRY(lafs_ckpt_read_params(checkpoint, "mean.", ps, ps->value, t->b, err));
    t->b->ops->copy(t->b->dev, t->mean, ps->value, (size_t)ps->size * sizeof(float));
    return t->b->ops->sync(t->b->dev, err);
}

int64_t lafs_dtrain_step_number(const struct lafs_dtrain *t) { return t->optim.done; }

int64_t lafs_dtrain_parameters(const struct lafs_dtrain *t)
{
    int64_t n = 0;
    for (int i = 0; i < t->net.params.count; i++) n += t->net.params.p[i].trainable ? t->net.params.p[i].size : 0;
    return n;
}

/* -- one step -- */

static void make_one(void *arg, int64_t i, int worker)
{
    struct lafs_dtrain *t = arg;
    size_t size = (size_t)t->task->side * (size_t)t->task->side * 3;
    uint64_t key = lafs_rng_key(t->c.seed, LAFS_RNG_COMPOSE, (uint64_t)t->optim.done, (uint64_t)i, 0);
    t->errs[i].status = LAFS_OK;
    t->errs[i].status = t->task->make(t->state, key, i, worker, t->examples + (size_t)i * size, &t->errs[i]);
}

static void judge_one(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_dtrain *t = arg;
    const float *out[HEADS];
    float *d[HEADS];
    for (int k = 0; k < t->task->heads; k++) {
        out[k] = t->out[k] + (size_t)i * t->head_size[k];
        d[k] = t->d[k] + (size_t)i * t->head_size[k];
    }
    t->task->loss(t->state, i, out, d, t->figures + i * FIGURES);
    const float share = 1.0f / (float)t->c.batch;
    for (int k = 0; k < t->task->heads; k++)
        for (size_t j = 0; j < t->head_size[k]; j++) d[k][j] *= share;
}

static lafs_status make_batch(struct lafs_dtrain *t, struct lafs_err *err)
{
    size_t side = (size_t)t->task->side;
    lafs_pool_for(t->pool, t->c.batch, make_one, t);
    LAFS_TRY(lafs_err_first(t->errs, t->c.batch, err));
    t->b->ops->upload(t->b->dev, t->image, t->examples, (size_t)t->c.batch * side * side * 3 * sizeof(float));
    return LAFS_OK;
}

static void average_figures(const struct lafs_dtrain *t, double mean[FIGURES])
{
    for (int k = 0; k < FIGURES; k++) {
        double sum = 0;
        int64_t n = 0;
        for (int64_t i = 0; i < t->c.batch; i++) {
            double v = t->figures[i * FIGURES + k];
            if (k && isnan(v)) continue; /* the loss must be there */
            sum += v;
            n++;
        }
        mean[k] = n ? sum / (double)n : 0;
    }
}

static void queue_forward(void *arg)
{
    struct lafs_dtrain *t = arg;
    lafs_optim_zero_grad(&t->optim);
    lafs_params_copy_buffers(&t->net.params, t->b, t->net.params.value, t->optim.grad);
    lafs_convnet_forward(&t->work, t->b, t->net.params.value, t->optim.grad, t->c.batch, t->image);
}
static void queue_backward(void *arg)
{
    struct lafs_dtrain *t = arg;
    lafs_convnet_backward(&t->work, t->b, t->net.params.value, t->optim.grad);
}
static void queue_update(void *arg)
{
    struct lafs_dtrain *t = arg;
    lafs_optim_update(&t->optim);
    lafs_params_copy_buffers(&t->net.params, t->b, t->optim.grad, t->net.params.value);
    t->b->ops->lerp(t->b->dev, t->net.params.size, t->keep, t->net.params.value, t->mean);
}

static lafs_status pass(struct lafs_dtrain *t, struct lafs_dtrain_report *r, struct lafs_err *err)
{
    const struct lafs_ops *op = t->b->ops;
    lafs_repeat(&t->forward_again, t->b, NULL, 0, queue_forward, t);
    for (int k = 0; k < t->task->heads; k++)
        op->download(t->b->dev, t->out[k], lafs_convnet_out(&t->work, t->task->head[k]),
                     (size_t)t->c.batch * t->head_size[k] * sizeof(float));
    LAFS_TRY(op->sync(t->b->dev, err));
    lafs_pool_for(t->pool, t->c.batch, judge_one, t);
    for (int k = 0; k < t->task->heads; k++)
        op->upload(t->b->dev, lafs_convnet_grad(&t->work, t->task->head[k]), t->d[k],
                   (size_t)t->c.batch * t->head_size[k] * sizeof(float));
    lafs_repeat(&t->backward_again, t->b, NULL, 0, queue_backward, t);
    average_figures(t, r->figure);
    if (!isfinite(r->figure[0]))
        return lafs_fail(err, LAFS_FAILED, "step %" PRId64 ": the loss is not finite", r->step);
    return op->sync(t->b->dev, err);
}

static lafs_status commit(struct lafs_dtrain *t, const struct lafs_dtrain_report *r, struct lafs_err *err)
{
    const struct lafs_update u = {.step = r->step, .lr = r->lr, .decay = {.matrix = (float)t->c.decay, .cnn = -1},
                                  .decay_scale = 1, .queue = queue_update, .arg = t};
    const double keep = fmin(t->c.average, (double)r->step / ((double)r->step + 9));
    t->b->ops->upload(t->b->dev, t->keep, &keep, sizeof keep);
    return lafs_optim_step(&t->optim, &u, err);
}

lafs_status lafs_dtrain_step(struct lafs_dtrain *t, struct lafs_dtrain_report *r, struct lafs_err *err)
{
    const double began = lafs_clock_now();
    *r = (struct lafs_dtrain_report){.step = t->optim.done + 1};
    r->lr = lafs_sched_finetune(t->c.lr, t->c.lr_final, t->optim.done + 1, t->c.steps + 1, t->c.warmup);
    LAFS_TRY(make_batch(t, err));
    r->wait = lafs_clock_now() - began;
    LAFS_TRY(pass(t, r, err));
    LAFS_TRY(commit(t, r, err));
    r->grad_norm = lafs_optim_norm(&t->optim);
    r->seconds = lafs_clock_now() - began;
    return LAFS_OK;
}

/* -- checkpoints and models -- */

static lafs_status fill_checkpoint(struct lafs_dtrain *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    const struct lafs_params *ps = &t->net.params;
    int64_t n = ps->count, one = 1, step = t->optim.done;
    LAFS_TRY(lafs_ckpt_add_params(c, "model.", ps, ps->value, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "mean.", ps, t->mean, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "adamw.m.", ps, t->optim.m, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "adamw.v.", ps, t->optim.v, b, err));
    LAFS_TRY(lafs_ckpt_add(c, "adamw.step", LAFS_I64, &n, 1, t->optim.step, err));
    LAFS_TRY(lafs_ckpt_add(c, "cursor", LAFS_I64, &one, 1, &step, err));
    return lafs_ckpt_add_meta(c, "backend", b->ops->describe(b->dev), err);
}

lafs_status lafs_dtrain_checkpoint(struct lafs_dtrain *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    pthread_mutex_lock(&t->optim.lock);
    lafs_status st = fill_checkpoint(t, c, err);
    pthread_mutex_unlock(&t->optim.lock);
    return st;
}

lafs_status lafs_dtrain_restore(struct lafs_dtrain *t, const struct lafs_st *st, struct lafs_err *err)
{
    struct lafs_params *ps = &t->net.params;
    int64_t step;
    LAFS_TRY(lafs_ckpt_read_params(st, "model.", ps, ps->value, t->b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "mean.", ps, t->mean, t->b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "adamw.m.", ps, t->optim.m, t->b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "adamw.v.", ps, t->optim.v, t->b, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "adamw.step", t->optim.step, ps->count, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "cursor", &step, 1, err));
    t->optim.done = step;
    return LAFS_OK;
}

lafs_status lafs_dtrain_save(struct lafs_dtrain *t, const char *path, const struct lafs_st_meta *meta, int metas,
                             struct lafs_err *err)
{
    struct lafs_convnet_folded f;
    struct lafs_st_meta all[MAX_METAS] = {{"architecture", t->task->architecture}};
    if (metas >= MAX_METAS) return lafs_fail(err, LAFS_FAILED, "too many lines of metadata");
    for (int i = 0; i < metas; i++) all[1 + i] = meta[i];
    lafs_status st = lafs_convnet_fold(&t->net, t->b, t->mean, &f, err);
    if (st == LAFS_OK) {
        if (t->task->finish) t->task->finish(&f);
        st = lafs_st_write(path, f.t, f.tensors, all, 1 + metas, err);
    }
    lafs_convnet_folded_release(&f);
    return st;
}
