#include "train/finetune.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "compute/fit.h"
#include "compute/repeat.h"
#include "data/loader.h"
#include "model/embed.h"
#include "train/ahead.h"
#include "train/mixup.h"
#include "train/sched.h"

enum { SIDE = LAFS_CNN_SIDE, CROP = SIDE * SIDE * 3, RANGE = 111 /* landmarks are 0..111 */ };

struct lafs_finetune {
    struct lafs_finetune_config c;
    const struct lafs_backend *b;
    struct lafs_model model;            /* CNN, ViT, then loss.weight */
    int classifier;
    struct lafs_optim optim; /* in a step, optim.grad also holds the running statistics that are being updated */
    unsigned char *frozen;              /* (params.count) */
    int64_t best_epoch;
    double best;
    float *frozen_cnn;                  /* (params.size) the CNN that the regulariser pulls towards; NULL: off */
    int frozen_set;
    /* activations */
    struct lafs_arena arena;
    struct lafs_model_work work;
    struct lafs_cnn_work frozen_work;
    float *images, *reversed, *emb, *demb, *logits, *frozen_landmarks, *dlandmarks;
    void *margin_scratch;
    double *loss;                       /* (2) device: cross-entropy, regulariser */
    struct lafs_target *target;         /* (micro) device */
    float *weight;                      /* (1) device: of the regulariser, in this step */
    uint64_t *keys;
    float *part;                        /* (params.size) of one pass; optim.grad where a step has one only */
    struct lafs_turns turns;
    struct lafs_fold fold;
    int split_on;
    struct lafs_split split;
    struct lafs_repeat begin_again, pass_again;
    double *result;                     /* (ranks, lafs_turns_max, 2) of a step: cross-entropy, regulariser */
    /* data */
    struct lafs_pool *pool;
    const struct lafs_index *ix;
    const struct lafs_classes *classes;
    struct lafs_fetch *fetch;
    int64_t *order, order_epoch;
    const int64_t *want;
    int64_t epoch;
    struct lafs_image *source;          /* (micro) */
    struct lafs_viewplan *plan;
    struct lafs_err *errs;
    uint64_t *host_keys;
    struct lafs_ahead *ahead;
    /* what is handed out: two of each, one in use while the other is made */
    struct slot {
        uint8_t *crops;                 /* (micro, 112, 112, 3) */
        struct lafs_target *target;     /* (micro) */
        uint64_t *key_hash;
    } slot[LAFS_AHEAD_SLOTS], *out;     /* out: being made */
    uint8_t **crop_at;
    const uint8_t **source_at;
    int *w, *h;
};

lafs_status lafs_finetune_config_default(struct lafs_finetune_config *c, const char *size, int stage,
                                         struct lafs_err *err)
{
    memset(c, 0, sizeof *c);
    LAFS_TRY(lafs_model_config_named(&c->model, size, err));
    c->epochs = 34;
    c->warmup_epochs = 5;
    c->lr_final = 1e-6;
    c->decay = stage == 1 ? (struct lafs_decay){.matrix = 0.1f, .vector = 0.1f, .cnn = 0.05f, .cnn_all = 1}
                          : (struct lafs_decay){.matrix = 0.1f, .vector = 0, .cnn = 0.05f};
    c->layer_decay = 1;
    c->cnn_dropout = 0.5;
    c->scale = 64;
    c->margin_m = 0.4;
    c->mixup_p = 0.1;
    c->mixup_alpha = 0.2;
    lafs_train_views_default(&c->views);
    return LAFS_OK;
}

double lafs_finetune_lr(int64_t micro, int64_t accumulation)
{
    return 1e-3 * ((double)accumulation / 480) * 336 * sqrt((double)micro / 336);
}

lafs_status lafs_finetune_config_check(const struct lafs_finetune_config *c, struct lafs_err *err)
{
    LAFS_TRY(lafs_turns_check(c->comm, c->images, c->batch, c->micro, c->epochs, c->warmup_epochs, err));
    if (c->classes < 2) return lafs_fail(err, LAFS_USAGE, "there must be at least 2 classes");
    if (c->mixup_p > 0 && c->micro < 2) return lafs_fail(err, LAFS_USAGE, "mixup needs a micro-batch of at least 2");
    return LAFS_OK;
}

/* -- classes -- */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

lafs_status lafs_classes_init(struct lafs_classes *c, const struct lafs_index *ix, struct lafs_err *err)
{
    memset(c, 0, sizeof *c);
    size_t n = (size_t)ix->samples;
    lafs_status st;
    LAFS_TRY(lafs_alloc(&c->name, n, sizeof *c->name, err));
    LAFS_TRY_GOTO(st, lafs_alloc(&c->label, n, sizeof *c->label, err), fail);
    for (size_t i = 0; i < n; i++) {
        c->name[i] = ix->sample[i].name;
        if (!c->name[i][0]) {
            st = lafs_fail(err, LAFS_FAILED, "sample '%s' has no name: supervised training needs identities",
                           ix->sample[i].key);
            goto fail;
        }
    }
    qsort(c->name, n, sizeof *c->name, by_name);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(c->name[i], c->name[c->n - 1])) c->name[c->n++] = c->name[i];
    if (c->n < 2) {
        st = lafs_fail(err, LAFS_FAILED, "it has %s: training needs two identities at least",
                       c->n ? "one identity only" : "no identity");
        goto fail;
    }
    for (size_t i = 0; i < n; i++) {
        const char **at = bsearch(&ix->sample[i].name, c->name, (size_t)c->n, sizeof *c->name, by_name);
        c->label[i] = at - c->name;
    }
    return LAFS_OK;
fail:
    lafs_classes_release(c);
    return st;
}

void lafs_classes_release(struct lafs_classes *c)
{
    lafs_free(c->name);
    lafs_free(c->label);
    memset(c, 0, sizeof *c);
}

/* -- opening -- */

static int has_cnn(const struct lafs_finetune *t) { return (t->c.model.parts & LAFS_PART_CNN) != 0; }

static int regularised(const struct lafs_finetune *t)
{
    return has_cnn(t) && !t->c.freeze_cnn && (t->c.landmark_weight > 0 || t->c.landmark_constant > 0);
}

static lafs_status carve(struct lafs_finetune *t, struct lafs_err *err)
{
    struct lafs_arena *a = &t->arena;
    size_t n = (size_t)t->c.micro, d = (size_t)t->c.model.vit.dim, r2 = (size_t)t->c.model.vit.patches * 2;
    int trained = has_cnn(t) && !t->c.freeze_cnn;
    t->images = lafs_arena_take(a, n * CROP, sizeof(float));
    t->reversed = t->c.mixup_p > 0 ? lafs_arena_take(a, n * CROP, sizeof(float)) : NULL;
    t->emb = lafs_arena_take(a, n * d, sizeof(float));
    t->demb = lafs_arena_take(a, n * d, sizeof(float));
    if (t->split_on) {
        lafs_split_carve(&t->split, a);
    } else {
        t->logits = lafs_arena_take(a, n * (size_t)t->c.classes, sizeof(float));
        t->margin_scratch = lafs_arena_take(a, t->b->ops->margin_scratch(t->c.micro, (int64_t)d, t->c.classes), 1);
        t->target = lafs_arena_take(a, n, sizeof *t->target);
    }
    t->loss = lafs_arena_take(a, 2, sizeof(double));
    t->weight = lafs_arena_take(a, 1, sizeof(float));
    t->keys = lafs_arena_take(a, n, sizeof(uint64_t));
    t->part = t->turns.passes > 1 ? lafs_arena_take(a, (size_t)t->model.params.size, sizeof(float)) : NULL;
    for (int i = 0; i < LAFS_AHEAD_SLOTS && t->ix; i++) t->slot[i].crops = lafs_arena_take(a, n * CROP, 1);
    LAFS_TRY(lafs_model_plan(&t->work, &t->model, t->c.micro,
                             trained || !has_cnn(t) ? LAFS_MODEL_TRAIN : LAFS_MODEL_VIT_ONLY, t->b, a, err));
    if (!regularised(t)) return LAFS_OK;
    t->frozen_landmarks = lafs_arena_take(a, n * r2, sizeof(float));
    t->dlandmarks = lafs_arena_take(a, n * r2, sizeof(float));
    t->frozen_cnn = lafs_arena_take(a, (size_t)t->model.params.size, sizeof(float));
    return lafs_cnn_plan(&t->frozen_work, &t->model.cnn, t->c.micro, LAFS_CNN_FOLDED, t->b, a, err);
}

static lafs_status host_memory(struct lafs_finetune *t, struct lafs_err *err)
{
    size_t n = (size_t)t->c.micro;
    LAFS_TRY(lafs_alloc0(&t->frozen, (size_t)t->model.params.count, 1, err));
    LAFS_TRY(lafs_alloc0(&t->host_keys, n, sizeof *t->host_keys, err));
    LAFS_TRY(lafs_alloc0(&t->result, (size_t)(t->turns.ranks * lafs_turns_max(&t->turns) * 2), sizeof(double), err));
    if (!t->ix) return LAFS_OK;
    LAFS_TRY(lafs_alloc(&t->order, (size_t)t->ix->samples, sizeof *t->order, err));
    LAFS_TRY(lafs_alloc0(&t->source, n, sizeof *t->source, err));
    LAFS_TRY(lafs_alloc0(&t->plan, n, sizeof *t->plan, err));
    LAFS_TRY(lafs_alloc0(&t->errs, n, sizeof *t->errs, err));
    for (int i = 0; i < LAFS_AHEAD_SLOTS; i++) {
        LAFS_TRY(lafs_alloc0(&t->slot[i].target, n, sizeof *t->slot[i].target, err));
        LAFS_TRY(lafs_alloc0(&t->slot[i].key_hash, n, sizeof *t->slot[i].key_hash, err));
    }
    LAFS_TRY(lafs_alloc0(&t->crop_at, n, sizeof *t->crop_at, err));
    LAFS_TRY(lafs_alloc0(&t->source_at, n, sizeof *t->source_at, err));
    LAFS_TRY(lafs_alloc0(&t->w, n, sizeof *t->w, err));
    LAFS_TRY(lafs_alloc0(&t->h, n, sizeof *t->h, err));
    return lafs_fetch_open(&t->fetch, t->ix, err);
}

static lafs_make_fn make;

/* Weights of all classes, or of this process's part. */
static lafs_status add_classifier(struct lafs_finetune *t, struct lafs_err *err)
{
    const int64_t dim = t->c.model.vit.dim;
    int64_t first = 0, count = t->c.classes;
    t->split_on = t->c.split_classes && t->turns.ranks > 1 && count >= t->turns.ranks;
    if (t->split_on) lafs_split_range(t->c.comm, t->c.classes, &first, &count);
    t->split = (struct lafs_split){.comm = t->c.comm, .b = t->b, .dim = dim,
                                   .classes = t->c.classes, .micro = t->c.micro, .kind = t->c.margin,
                                   .scale = t->c.scale, .margin = t->c.margin_m};
    const int64_t shape[2] = {count, dim};
    return lafs_params_add(&t->model.params, "loss.weight", 2, shape, 1, LAFS_INIT_UNIFORM,
                           (float)sqrt(6.0 / (double)(t->c.classes + dim)), t->c.model.vit.depth + 1, &t->classifier,
                           err);
}

/* What is everybody's: all parameters, or all but the classifier, the last one. */
static struct lafs_params common(const struct lafs_finetune *t)
{
    struct lafs_params ps = t->model.params;
    if (t->split_on) ps.count--, ps.size = ps.p[ps.count].off;
    return ps;
}

static lafs_status build(struct lafs_finetune *t, struct lafs_err *err)
{
    struct lafs_params *ps = &t->model.params;
    LAFS_TRY(lafs_finetune_config_check(&t->c, err));
    t->turns = lafs_turns_of(t->c.comm, t->c.batch / t->c.micro);
    LAFS_TRY(lafs_model_init(&t->model, &t->c.model, err));
    t->model.cnn.dropout = (float)t->c.cnn_dropout;
    LAFS_TRY(add_classifier(t, err));
    LAFS_TRY(carve(t, err));
    if (t->c.plan_only) return LAFS_OK;
    LAFS_TRY(lafs_params_place(ps, t->b, err));
    if (!t->c.rehearsal) LAFS_TRY(lafs_params_fill(ps, t->b, t->c.seed, err));
    int64_t skip = t->split.first * t->c.model.vit.dim;
    if (t->split_on && !t->c.rehearsal)
        LAFS_TRY(lafs_params_fill_part(ps, t->classifier, skip, t->b, t->c.seed, err));
    if (has_cnn(t) && t->c.landmarks_on_grid) lafs_cnn_start_on_grid(&t->model.cnn, t->b, ps->value);
    LAFS_TRY(lafs_optim_init(&t->optim, t->b, ps, err));
    if (t->c.layer_decay != 1) lafs_optim_layer_decay(&t->optim, t->c.layer_decay, t->c.model.vit.depth);
    LAFS_TRY(host_memory(t, err));
    for (int i = 0; i < ps->count; i++) t->frozen[i] = t->c.freeze_cnn && lafs_is_cnn_name(ps->p[i].name);
    LAFS_TRY(lafs_arena_reserve(&t->arena, t->b, err));
    LAFS_TRY(carve(t, err));
    if (!t->part) t->part = t->optim.grad;
    if (t->split_on) LAFS_TRY(lafs_split_init(&t->split, err));
    const struct lafs_params *averages = t->c.freeze_cnn ? NULL : ps; /* a frozen CNN's stay as they are */
    LAFS_TRY(lafs_fold_init(&t->fold, t->c.comm, t->b, common(t).size, averages, LAFS_CNN_MOMENTUM, err));
    if (!t->ix) return LAFS_OK;
    int64_t micros = lafs_finetune_steps(t) * t->turns.passes;
    return lafs_ahead_new(&t->ahead, make, t, lafs_turns_local(&t->turns, micros), t->c.ahead != NULL, err);
}

lafs_status lafs_finetune_open(struct lafs_finetune **out, const struct lafs_finetune_config *c,
                               const struct lafs_backend *b, struct lafs_pool *pool, const struct lafs_index *ix,
                               const struct lafs_classes *classes, struct lafs_err *err)
{
    struct lafs_finetune *t;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    t->c = *c;
    t->b = b;
    t->pool = pool;
    t->ix = ix;
    t->classes = classes;
    t->order_epoch = -1;
    t->best = -1;
    t->best_epoch = -1;
    lafs_status st = build(t, err);
    if (st != LAFS_OK) {
        lafs_finetune_close(t);
        return st;
    }
    *out = t;
    return LAFS_OK;
}

void lafs_finetune_close(struct lafs_finetune *t)
{
    if (!t) return;
    lafs_repeat_forget(&t->begin_again, t->b);
    lafs_repeat_forget(&t->pass_again, t->b);
    lafs_optim_release(&t->optim);
    lafs_ahead_free(t->ahead);
    if (t->source)
        for (int64_t i = 0; i < t->c.micro; i++) lafs_image_release(&t->source[i]);
    lafs_fetch_close(t->fetch);
    lafs_model_work_release(&t->work);
    lafs_cnn_work_release(&t->frozen_work);
    lafs_model_release(&t->model, t->b);
    lafs_arena_release(&t->arena, t->b);
    lafs_fold_release(&t->fold);
    lafs_split_release(&t->split);
    void *owned[] = {t->frozen, t->host_keys, t->result, t->order, t->source, t->plan, t->errs,
                     t->slot[0].target, t->slot[1].target, t->slot[0].key_hash, t->slot[1].key_hash, t->crop_at,
                     (void *)t->source_at, t->w, t->h};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) lafs_free(owned[i]);
    lafs_free(t);
}

int64_t lafs_finetune_step_number(const struct lafs_finetune *t) { return t->optim.done; }
int64_t lafs_finetune_steps(const struct lafs_finetune *t)
{
    return t->c.epochs * lafs_finetune_steps_per_epoch(&t->c);
}
const struct lafs_model *lafs_finetune_model(const struct lafs_finetune *t) { return &t->model; }

double lafs_finetune_best(const struct lafs_finetune *t, int64_t *epoch)
{
    *epoch = t->best_epoch;
    return t->best;
}

void lafs_finetune_set_best(struct lafs_finetune *t, double figure, int64_t epoch)
{
    t->best = figure;
    t->best_epoch = epoch;
}

size_t lafs_finetune_memory(const struct lafs_finetune *t)
{
    size_t rest = lafs_fold_memory(t->c.comm, t->b, common(t).size);
    if (t->split_on) rest += lafs_split_memory(&t->split);
    return lafs_add_ok(t->arena.used, rest, &rest) ? lafs_optim_memory(&t->model.params, rest) : SIZE_MAX;
}

void lafs_finetune_look(struct lafs_finetune *t, struct lafs_finetune_inside *in)
{
    *in = (struct lafs_finetune_inside){&t->model.params, t->optim.grad, t->work.landmarks, t->frozen_landmarks,
                                        t->logits,        t->optim.norm, t->frozen_cnn};
}

lafs_status lafs_finetune_init_from(struct lafs_finetune *t, const char *path, int parts, struct lafs_err *err)
{
    return lafs_model_load_parts(&t->model, t->b, path, parts, t->model.params.value, err);
}

/* -- one step -- */

lafs_status lafs_finetune_keep_frozen(struct lafs_finetune *t, struct lafs_err *err)
{
    if (t->frozen_cnn) LAFS_TRY(lafs_cnn_fold(&t->frozen_work, t->b, t->frozen_cnn, err));
    LAFS_TRY(lafs_model_fold(&t->work, t->b, t->model.params.value, err));
    t->frozen_set = 1;
    return LAFS_OK;
}

/* The CNN as training found it, for the regulariser. */
static lafs_status settle_frozen(struct lafs_finetune *t, struct lafs_err *err)
{
    const struct lafs_params *ps = &t->model.params;
    if (t->frozen_set) return LAFS_OK;
    if (t->frozen_cnn) t->b->ops->copy(t->b->dev, t->frozen_cnn, ps->value, (size_t)ps->size * sizeof(float));
    return lafs_finetune_keep_frozen(t, err);
}

struct pass {
    struct lafs_finetune *t;
    const struct lafs_finetune_batch *batch; /* NULL: this process has none */
    struct what { /* differs from pass to pass; the rest lies in device memory */
        const float *images;
        int64_t n, regularised;
    } of;
};
static float share_of(const struct lafs_finetune *t) { return (float)(1.0 / (double)t->turns.passes); }

/* Embeddings of a micro-batch. */
static void queue_forward(struct lafs_finetune *t, const struct what *of)
{
    float *running = has_cnn(t) && !t->c.freeze_cnn ? t->part : NULL;
    lafs_model_forward(&t->work, t->b, t->model.params.value, running, of->n, of->images, t->keys, t->host_keys,
                       t->emb);
}

/* Gradients of parameters into t->part, from t->demb; the regulariser. */
static void queue_backward(struct lafs_finetune *t, const struct what *of)
{
    const struct lafs_backend *b = t->b;
    const int64_t values = of->n * t->c.model.vit.patches * 2;
    if (of->regularised) {
        lafs_cnn_forward(&t->frozen_work, b, t->frozen_cnn, NULL, of->n, of->images, NULL, t->frozen_landmarks);
        b->ops->zero(b->dev, t->dlandmarks, (size_t)values * sizeof(float));
        /* mean((theta/111 - frozen/111)^2) */
        b->ops->mse(b->dev, values, t->work.landmarks, t->frozen_landmarks, t->weight, share_of(t), t->loss + 1,
                    t->dlandmarks);
    }
    lafs_model_backward(&t->work, b, t->model.params.value, t->demb, of->regularised ? t->dlandmarks : NULL, t->part);
}

/* All of a micro-batch, where this process has all classes. */
static void queue_pass(void *arg)
{
    const struct pass *p = arg;
    struct lafs_finetune *t = p->t;
    const struct lafs_backend *b = t->b;
    const int64_t at = t->model.params.p[t->classifier].off;
    queue_forward(t, &p->of);
    b->ops->margin_loss(b->dev, b->precision, p->of.n, t->c.model.vit.dim, t->c.classes, t->emb,
                        t->model.params.value + at, t->target, t->c.margin, (float)t->c.scale, (float)t->c.margin_m,
                        share_of(t), t->margin_scratch, t->loss, t->demb, t->part + at, t->logits);
    queue_backward(t, &p->of);
}

/* What a pass finds in device memory. */
static void upload_batch(struct lafs_finetune *t, const struct lafs_finetune_batch *batch, int64_t epoch)
{
    const struct lafs_backend *b = t->b;
    for (int64_t i = 0; i < batch->n; i++)
        t->host_keys[i] = lafs_rng_key(t->c.seed, LAFS_RNG_DROP, (uint64_t)epoch, batch->key_hash[i], 0);
    b->ops->upload(b->dev, t->keys, t->host_keys, (size_t)batch->n * sizeof *t->host_keys);
    if (t->target) b->ops->upload(b->dev, t->target, batch->target, (size_t)batch->n * sizeof *t->target);
}

static lafs_status pass_alone(struct pass *p, double result[2], struct lafs_err *err)
{
    struct lafs_finetune *t = p->t;
    const struct lafs_backend *b = t->b;
    if (lafs_vit_alike(&t->work.vit, b)) lafs_repeat(&t->pass_again, b, &p->of, sizeof p->of, queue_pass, p);
    else queue_pass(p);
    result[1] = 0;
    b->ops->download(b->dev, result, t->loss, (p->of.regularised ? 2 : 1) * sizeof *result);
    return b->ops->sync(b->dev, err);
}

/* All processes meet in the middle, for they split the classes; st: how this one has come there. */
static lafs_status pass_split(struct pass *p, lafs_status st, double result[2], struct lafs_err *err)
{
    struct lafs_finetune *t = p->t;
    const struct lafs_backend *b = t->b;
    if (st == LAFS_OK && p->batch) queue_forward(t, &p->of);
    LAFS_TRY(lafs_comm_agree(t->c.comm, st, err));
    st = lafs_split_pass(&t->split, p->batch ? p->of.n : 0, t->emb, p->batch ? p->batch->target : NULL,
                         1.0 / (double)t->turns.passes, result, t->demb, err);
    LAFS_TRY(lafs_comm_alone(t->c.comm, st));
    if (!p->batch) return LAFS_OK;
    queue_backward(t, &p->of);
    result[1] = 0;
    if (p->of.regularised) b->ops->download(b->dev, result + 1, t->loss + 1, sizeof *result);
    return b->ops->sync(b->dev, err);
}

/* A micro-batch, whose losses are result; batch NULL: this process has none. */
static lafs_status pass_of(struct lafs_finetune *t, const struct lafs_finetune_batch *batch, lafs_status st,
                           const struct lafs_finetune_report *r, double result[2], struct lafs_err *err)
{
    struct pass p = {.t = t, .batch = batch};
    if (st == LAFS_OK && batch) {
        upload_batch(t, batch, r->epoch);
        p.of = (struct what){batch->images, batch->n, r->landmark_weight > 0 && t->frozen_cnn};
    }
    if (t->split_on) return pass_split(&p, st, result, err);
    return st == LAFS_OK && batch ? pass_alone(&p, result, err) : st;
}

/* Pass i of all processes: this one's micro-batch, if it has one. */
static lafs_status pass(struct lafs_finetune *t, int64_t i, lafs_batch_fn *next, void *arg,
                        const struct lafs_finetune_report *r, double result[2], struct lafs_err *err)
{
    const int turn = t->turns.rank < lafs_turns_active(&t->turns, i);
    struct lafs_finetune_batch batch;
    lafs_status st = LAFS_OK;
    if (turn) {
        if (t->part != t->optim.grad) t->b->ops->zero(t->b->dev, t->part, (size_t)common(t).size * sizeof(float));
        st = next(arg, lafs_turns_micro(&t->turns, i), &batch, err);
    }
    return lafs_comm_agree(t->c.comm, pass_of(t, turn ? &batch : NULL, st, r, result, err), err);
}

/* The start of a step. */
static void queue_begin(void *arg)
{
    struct lafs_finetune *t = arg;
    lafs_optim_zero_grad(&t->optim);
    lafs_params_copy_buffers(&t->model.params, t->b, t->model.params.value, t->optim.grad);
}
static void begin(struct lafs_finetune *t, const struct lafs_finetune_report *r)
{
    const float weight = (float)(r->landmark_weight / (RANGE * RANGE));
    t->b->ops->upload(t->b->dev, t->weight, &weight, sizeof weight);
    lafs_repeat(&t->begin_again, t->b, NULL, 0, queue_begin, t);
}

/* All micro-batches of a step, each by the process whose turn it is: gradients and running statistics are summed, and
 * losses gathered, everywhere. */
static lafs_status passes(struct lafs_finetune *t, lafs_batch_fn *next, void *arg, struct lafs_finetune_report *r,
                          struct lafs_err *err)
{
    const int64_t most = lafs_turns_max(&t->turns), count = t->turns.passes;
    const double share = 1.0 / (double)count;
    double *mine = t->result + t->turns.rank * most * 2;
    const int apart = t->part != t->optim.grad;
    begin(t, r);
    LAFS_TRY(lafs_fold_begin(&t->fold, t->optim.grad, err));
    if (t->split_on) lafs_split_begin(&t->split, lafs_params_at(&t->model.params, t->classifier));
    for (int64_t i = 0; i < most; i++) {
        LAFS_TRY(pass(t, i, next, arg, r, mine + i * 2, err));
        const int active = lafs_turns_active(&t->turns, i);
        if (apart) LAFS_TRY(lafs_fold_add(&t->fold, t->optim.grad, t->part, active, err));
    }
    if (t->split_on) lafs_split_end(&t->split, t->optim.grad + t->model.params.p[t->classifier].off);
    LAFS_TRY(lafs_fold_end(&t->fold, t->optim.grad, err));
    LAFS_TRY(lafs_comm_gather(t->c.comm, t->result, (size_t)most * 2 * sizeof(double), err));
    for (int64_t i = 0; i < count; i++) {
        const double *one = t->result + lafs_turns_place(&t->turns, i) * 2;
        r->cross_entropy += share * one[0];
        r->regulariser += share * one[1];
    }
    return LAFS_OK;
}

static void queue_update(void *arg)
{
    struct lafs_finetune *t = arg;
    lafs_optim_update(&t->optim);
    lafs_params_copy_buffers(&t->model.params, t->b, t->optim.grad, t->model.params.value);
    lafs_vit_weights(&t->work.vit, t->b, t->model.params.value);
}

static lafs_status commit(struct lafs_finetune *t, const struct lafs_finetune_report *r, struct lafs_err *err)
{
    const struct lafs_update u = {.step = r->step, .lr = r->lr, .decay = t->c.decay, .decay_scale = 1,
                                  .frozen = t->frozen, .queue = queue_update, .arg = t};
    return lafs_optim_step(&t->optim, &u, err);
}

/* The norm of the gradient of all classes, from those of the parts. */
static lafs_status gather_norm(struct lafs_finetune *t, struct lafs_err *err)
{
    double norm[LAFS_COMM_MAX], sum = 0;
    norm[t->turns.rank] = t->optim.norm[t->classifier];
    LAFS_TRY(lafs_comm_gather(t->c.comm, norm, sizeof *norm, err));
    for (int i = 0; i < t->turns.ranks; i++) sum += norm[i] * norm[i];
    t->optim.norm[t->classifier] = sqrt(sum);
    return LAFS_OK;
}

static double landmark_weight(const struct lafs_finetune *t, int64_t epoch)
{
    if (!regularised(t)) return 0;
    if (t->c.landmark_constant > 0) return t->c.landmark_constant;
    return t->c.landmark_weight * lafs_sched_landmark(epoch, t->c.epochs);
}

lafs_status lafs_finetune_learn(struct lafs_finetune *t, lafs_batch_fn *next, void *arg, struct lafs_finetune_report *r,
                                struct lafs_err *err)
{
    int64_t per = lafs_finetune_steps_per_epoch(&t->c);
    *r = (struct lafs_finetune_report){.step = t->optim.done + 1, .epoch = t->optim.done / per};
    r->lr = lafs_sched_finetune(t->c.lr, t->c.lr_final, t->optim.done, t->c.epochs * per, t->c.warmup_epochs * per);
    r->landmark_weight = landmark_weight(t, r->epoch);
    pthread_mutex_lock(&t->optim.lock);
    lafs_status st = settle_frozen(t, err);
    pthread_mutex_unlock(&t->optim.lock);
    LAFS_TRY(lafs_comm_agree(t->c.comm, st, err));
    LAFS_TRY(passes(t, next, arg, r, err));
    r->loss = r->cross_entropy + r->regulariser;
    if (isfinite(r->loss)) st = commit(t, r, err);
    else st = lafs_fail(err, LAFS_FAILED, "step %" PRId64 ": the loss is not finite", r->step);
    LAFS_TRY(lafs_comm_agree(t->c.comm, st, err));
    if (t->split_on) LAFS_TRY(gather_norm(t, err));
    r->grad_norm = lafs_optim_norm(&t->optim);
    return LAFS_OK;
}

/* -- batches from an index -- */

static void prepare(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_finetune *t = arg;
    struct lafs_err *err = &t->errs[i];
    int64_t at = t->want[i];
    const char *key = t->ix->sample[at].key;
    err->status = lafs_index_image(t->ix, t->fetch, at, t->c.max_pixels, &t->source[i], err);
    if (err->status != LAFS_OK) return;
    lafs_plan_train(&t->c.views, t->source[i].w, t->source[i].h, t->c.seed, t->epoch, key, &t->plan[i]);
    t->out->key_hash[i] = lafs_fnv1a(key, strlen(key));
    t->out->target[i] = (struct lafs_target){t->classes->label[at], t->classes->label[at], 1};
    t->source_at[i] = t->source[i].px;
    t->w[i] = t->source[i].w;
    t->h[i] = t->source[i].h;
    t->crop_at[i] = t->out->crops + i * CROP;
}

/* The next micro-batch of this process: decoded and rendered. */
static lafs_status make(void *arg, int64_t local, int slot, struct lafs_err *err)
{
    struct lafs_finetune *t = arg;
    const int64_t number = lafs_turns_global(&t->turns, local);
    const struct lafs_backend *b = t->c.ahead ? t->c.ahead : t->b;
    int64_t n = t->c.micro, per = lafs_finetune_steps_per_epoch(&t->c) * (t->c.batch / n);
    t->out = &t->slot[slot];
    t->epoch = number / per;
    if (t->order_epoch != t->epoch) {
        LAFS_TRY(lafs_epoch_order(t->ix, t->c.seed, t->epoch, t->order, err));
        t->order_epoch = t->epoch;
    }
    t->want = t->order + number % per * n;
    lafs_pool_for(t->pool, n, prepare, t);
    LAFS_TRY(lafs_err_first(t->errs, n, err));
    b->ops->render(b->dev, n, t->plan, t->source_at, t->w, t->h, NULL, t->crop_at);
    return b->ops->sync(b->dev, err);
}

static lafs_status from_index(void *arg, int64_t i, struct lafs_finetune_batch *batch, struct lafs_err *err)
{
    struct lafs_finetune *t = arg;
    const struct lafs_backend *b = t->b;
    int64_t count = t->turns.passes, per = lafs_finetune_steps_per_epoch(&t->c), n = t->c.micro;
    int slot;
    LAFS_TRY(lafs_ahead_take(t->ahead, lafs_turns_local(&t->turns, t->optim.done * count + i), &slot, err));
    struct slot *in = &t->slot[slot];
    b->ops->u8_to_f32(b->dev, n * CROP, in->crops, t->images);
    const struct lafs_mixup mixup = {t->c.mixup_p, t->c.mixup_alpha, t->c.seed};
    n = lafs_mixup(&mixup, b, t->optim.done / per, t->optim.done % per * count + i, n, CROP, t->images, t->reversed,
                   in->target);
    *batch = (struct lafs_finetune_batch){t->images, in->target, in->key_hash, n};
    return LAFS_OK;
}

lafs_status lafs_finetune_step(struct lafs_finetune *t, struct lafs_finetune_report *r, struct lafs_err *err)
{
    const double began = lafs_clock_now(), waited = lafs_ahead_waited(t->ahead);
    LAFS_TRY(lafs_finetune_learn(t, from_index, t, r, err));
    r->seconds = lafs_clock_now() - began;
    r->wait = lafs_ahead_waited(t->ahead) - waited;
    return LAFS_OK;
}

/* -- checkpoints -- */

/* An array in the layout of the parameters, as prefix + name. Of classes that are split the first process gathers the
 * parts. */
static lafs_status add_array(struct lafs_finetune *t, struct lafs_ckpt *c, const char *prefix, const float *value,
                             struct lafs_err *err)
{
    const struct lafs_params ps = common(t);
    const struct lafs_param *w = &t->model.params.p[t->classifier];
    const int64_t shape[2] = {t->c.classes, t->c.model.vit.dim};
    char name[2 * LAFS_MAX_TENSOR_NAME];
    float *whole = NULL;
    if (t->turns.rank == 0) LAFS_TRY(lafs_ckpt_add_params(c, prefix, &ps, value, t->b, err));
    if (!t->split_on) return LAFS_OK;
    snprintf(name, sizeof name, "%s%s", prefix, w->name);
    if (t->turns.rank == 0) {
        LAFS_TRY(lafs_ckpt_add(c, name, LAFS_F32, shape, 2, NULL, err));
        whole = (float *)c->tensor[c->count - 1].data;
    }
    return lafs_split_gather(&t->split, value + w->off, whole, err);
}

static lafs_status read_array(struct lafs_finetune *t, const struct lafs_st *st, const char *prefix, float *value,
                              struct lafs_err *err)
{
    const struct lafs_params ps = common(t);
    const struct lafs_param *w = &t->model.params.p[t->classifier];
    char name[2 * LAFS_MAX_TENSOR_NAME];
    LAFS_TRY(lafs_ckpt_read_params(st, prefix, &ps, value, t->b, err));
    snprintf(name, sizeof name, "%s%s", prefix, w->name);
    return t->split_on ? lafs_split_read(&t->split, st, name, value + w->off, err) : LAFS_OK;
}

static lafs_status fill_checkpoint(struct lafs_finetune *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    int64_t n = t->model.params.count, per = lafs_finetune_steps_per_epoch(&t->c), one = 1, four = 4;
    if (t->turns.rank && !t->split_on) return LAFS_OK;
    LAFS_TRY(add_array(t, c, "model.", t->model.params.value, err));
    LAFS_TRY(add_array(t, c, "adamw.m.", t->optim.m, err));
    LAFS_TRY(add_array(t, c, "adamw.v.", t->optim.v, err));
    LAFS_TRY(settle_frozen(t, err));
    if (t->frozen_cnn) LAFS_TRY(add_array(t, c, "frozen.", t->frozen_cnn, err));
    if (t->turns.rank) return LAFS_OK;
    LAFS_TRY(lafs_ckpt_add(c, "adamw.step", LAFS_I64, &n, 1, t->optim.step, err));
    const int64_t done = t->optim.done, cursor[4] = {done, done / per, done % per * t->c.batch, t->best_epoch};
    LAFS_TRY(lafs_ckpt_add(c, "cursor", LAFS_I64, &four, 1, cursor, err));
    LAFS_TRY(lafs_ckpt_add(c, "best", LAFS_F64, &one, 1, &t->best, err));
    return lafs_ckpt_add_meta(c, "backend", b->ops->describe(b->dev), err);
}

lafs_status lafs_finetune_same(struct lafs_finetune *t, struct lafs_err *err)
{
    const int64_t size = common(t).size;
    LAFS_TRY(lafs_fold_same(t->c.comm, t->b, t->model.params.value, size, "weights", err));
    return lafs_fold_same(t->c.comm, t->b, t->optim.v, size, "moments", err);
}

lafs_status lafs_finetune_checkpoint(struct lafs_finetune *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    LAFS_TRY(lafs_finetune_same(t, err));
    pthread_mutex_lock(&t->optim.lock);
    lafs_status st = fill_checkpoint(t, c, err);
    pthread_mutex_unlock(&t->optim.lock);
    return t->split_on ? lafs_comm_alone(t->c.comm, st) : st; /* parts are gathered on the way */
}

/* A model with the weights of all classes. Its layout up to the classifier is that of t->model. */
static lafs_status assemble(struct lafs_finetune *t, struct lafs_model *m, float *whole, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    const int64_t shape[2] = {t->c.classes, t->c.model.vit.dim};
    int id;
    LAFS_TRY(lafs_model_init(m, &t->c.model, err));
    LAFS_TRY(lafs_params_add(&m->params, "loss.weight", 2, shape, 1, LAFS_INIT_ZERO, 0, 0, &id, err));
    LAFS_TRY(lafs_params_place(&m->params, b, err));
    b->ops->copy(b->dev, m->params.value, t->model.params.value, (size_t)common(t).size * sizeof(float));
    b->ops->upload(b->dev, lafs_params_at(&m->params, id), whole, (size_t)(shape[0] * shape[1]) * sizeof(float));
    return b->ops->sync(b->dev, err);
}

lafs_status lafs_finetune_save_model(struct lafs_finetune *t, const char *path, const struct lafs_st_meta *meta,
                                     int metas, struct lafs_err *err)
{
    const float *value = lafs_params_at(&t->model.params, t->classifier);
    struct lafs_model m;
    float *whole = NULL;
    lafs_status st = LAFS_OK;
    if (!t->split_on && t->turns.rank) return LAFS_OK;
    if (!t->split_on) return lafs_model_save(&t->model, t->b, t->model.params.value, path, meta, metas, err);
    if (t->turns.rank) return lafs_split_gather(&t->split, value, NULL, err);
    memset(&m, 0, sizeof m);
    const size_t row = (size_t)t->c.model.vit.dim * sizeof(float);
    LAFS_TRY(lafs_comm_alone(t->c.comm, lafs_alloc(&whole, (size_t)t->c.classes, row, err)));
    st = lafs_split_gather(&t->split, value, whole, err);
    if (st == LAFS_OK) st = assemble(t, &m, whole, err);
    if (st == LAFS_OK) st = lafs_model_save(&m, t->b, m.params.value, path, meta, metas, err);
    lafs_model_release(&m, t->b);
    lafs_free(whole);
    return st;
}

lafs_status lafs_finetune_restore(struct lafs_finetune *t, const struct lafs_st *st, struct lafs_err *err)
{
    struct lafs_params *ps = &t->model.params;
    int64_t cursor[4];
    LAFS_TRY(read_array(t, st, "model.", ps->value, err));
    LAFS_TRY(read_array(t, st, "adamw.m.", t->optim.m, err));
    LAFS_TRY(read_array(t, st, "adamw.v.", t->optim.v, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "adamw.step", t->optim.step, ps->count, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "cursor", cursor, 4, err));
    const struct lafs_st_tensor *best = lafs_st_find(st, "best");
    if (!best || best->dtype != LAFS_F64 || best->count != 1)
        return lafs_fail(err, LAFS_FAILED, "tensor 'best' is missing");
    memcpy(&t->best, best->data, sizeof t->best);
    t->optim.done = cursor[0];
    t->best_epoch = cursor[3];
    if (t->frozen_cnn) LAFS_TRY(read_array(t, st, "frozen.", t->frozen_cnn, err));
    return lafs_finetune_keep_frozen(t, err);
}

/* -- what it takes -- */

/* What `make` does with pictures as large as the index's. */
static lafs_status rehearse_batch(struct lafs_finetune *t, struct lafs_err *err)
{
    const struct lafs_backend *b = t->c.ahead ? t->c.ahead : t->b;
    const int64_t n = t->c.micro;
    uint8_t *blank;
    int w, h;
    lafs_index_largest(t->ix, t->fetch, &w, &h);
    if (w < 1) w = h = SIDE;
    const size_t bytes = (size_t)w * (size_t)h * 3;
    LAFS_TRY(lafs_alloc0(&blank, (size_t)n, bytes, err));
    for (int64_t i = 0; i < n; i++) {
        lafs_plan_train(&t->c.views, w, h, t->c.seed, 0, "", &t->plan[i]);
        t->source_at[i] = blank + (size_t)i * bytes;
        t->w[i] = w, t->h[i] = h;
        t->crop_at[i] = t->slot[0].crops + i * CROP;
    }
    b->ops->render(b->dev, n, t->plan, t->source_at, t->w, t->h, NULL, t->crop_at);
    lafs_free(blank);
    return b->ops->sync(b->dev, err);
}

/* Between steps, and when the model is saved. */
static lafs_status rehearse_rest(struct lafs_finetune *t, struct lafs_err *err)
{
    struct lafs_model m;
    lafs_status st = LAFS_OK;
    if (t->split_on && t->turns.rank == 0) {
        memset(&m, 0, sizeof m);
        st = assemble(t, &m, NULL, err);
        lafs_model_release(&m, t->b);
    }
    if (st != LAFS_OK || !t->c.validate) return st;
    return lafs_embedder_rehearse(&t->model, t->b, t->c.validate, LAFS_FOR_EMBEDDING, err);
}

/* The work of a step, and of the end: one pass stands for all. No branch is dropped, since any may be kept. */
static lafs_status rehearse(struct lafs_finetune *t, struct lafs_err *err)
{
    const struct lafs_finetune_report r = {.step = 1, .landmark_weight = regularised(t) ? 1 : 0};
    struct lafs_finetune_batch batch = {.images = t->images, .n = t->c.micro};
    struct lafs_target *target = t->slot[0].target;
    for (int64_t i = 0; i < t->c.micro; i++) target[i] = (struct lafs_target){0, 0, 1};
    batch.target = target;
    batch.key_hash = t->slot[0].key_hash;
    LAFS_TRY(rehearse_batch(t, err));
    LAFS_TRY(settle_frozen(t, err));
    begin(t, &r);
    if (t->split_on) lafs_split_begin(&t->split, lafs_params_at(&t->model.params, t->classifier));
    LAFS_TRY(pass_of(t, &batch, LAFS_OK, &r, t->result, err));
    if (t->split_on) lafs_split_end(&t->split, t->optim.grad + t->model.params.p[t->classifier].off);
    LAFS_TRY(commit(t, &r, err));
    return rehearse_rest(t, err);
}

static lafs_status rehearse_all(const struct lafs_finetune_config *c, const struct lafs_index *ix,
                                const struct lafs_classes *classes, struct lafs_rehearsal *r, struct lafs_err *err)
{
    struct lafs_finetune_config own = *c;
    struct lafs_finetune *t;
    struct lafs_comm silent;
    if (c->comm) {
        silent = lafs_comm_silent(c->comm);
        own.comm = &silent;
    }
    own.ahead = c->ahead ? r->data : NULL;
    own.rehearsal = 1;
    own.plan_only = 0;
    own.model.vit.drop_path = 0;
    LAFS_TRY(lafs_finetune_open(&t, &own, &r->plan[0], NULL, ix, classes, err));
    lafs_status st = rehearse(t, err);
    lafs_finetune_close(t);
    return st;
}

lafs_status lafs_finetune_need(const struct lafs_finetune_config *c, const struct lafs_index *ix,
                               const struct lafs_classes *classes, const struct lafs_backend *b, int reserve,
                               size_t *bytes, struct lafs_err *err)
{
    struct lafs_finetune_config own = *c;
    struct lafs_finetune *t;
    struct lafs_rehearsal r;
    if (b->ops->plan) {
        LAFS_TRY(lafs_rehearsal_open(&r, b, c->ahead, err));
        lafs_status st = rehearse_all(c, ix, classes, &r, err);
        return lafs_rehearsal_close(&r, st, reserve, bytes, err);
    }
    own.plan_only = 1;
    LAFS_TRY(lafs_finetune_open(&t, &own, b, NULL, ix, classes, err));
    *bytes = lafs_finetune_memory(t);
    lafs_finetune_close(t);
    return LAFS_OK;
}
