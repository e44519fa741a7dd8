#include "train/pretrain.h"

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
#include "data/views.h"
#include "train/optim.h"
#include "train/sched.h"

enum { STATS = 5, RESULTS = 1 + STATS /* of a pass: the loss and the statistics of dino_loss */ };
enum { LOOKED_AT = 32 /* images among which the other view of one is looked for */ };
enum { TEACHER_VIEWS = 1000 /* added to a view's number: the teacher's own dropout */ };
/* Steps in a row that must look collapsed before training stops: one odd batch is no collapse. */
enum { COLLAPSE_STEPS = 50 };
static const double COLLAPSE_ENTROPY = 1e-3, COLLAPSE_SPREAD = 1e-3;

/* What varies from step to step, in device memory, where recorded work finds it. */
struct varying {
    double momentum, center_momentum;
    float temp[2];                     /* student, teacher */
};
struct nearest {
    double along;
    int64_t row;
};
struct lafs_pretrain {
    struct lafs_pretrain_config c;
    const struct lafs_backend *b;
    struct lafs_feed *feed;
    struct lafs_model model;           /* ViT, then the head */
    struct lafs_dino_head head;
    struct lafs_optim optim;
    unsigned char *frozen;             /* (params.count): the last layer in its first epochs */
    float *teacher;                    /* (params.size); like the centre a part of the state (optim.lock) */
    float *center;                     /* (K) */
    /* activations */
    struct lafs_arena arena;
    struct lafs_vit_work student_vit, teacher_vit;
    struct lafs_dino_work student_head, teacher_head;
    float *student_emb, *teacher_emb, *demb; /* (views*micro, D), (globals*micro, D), like the first */
    float *center_mean, *center_sum;   /* (K) */
    float *part;                       /* (params.size) gradient of one pass; optim.grad where a step has one only */
    double *found_out;                 /* (RESULTS) device */
    struct varying *varying;           /* device */
    uint64_t *student_keys, *teacher_keys;   /* device */
    struct lafs_seqs tokens, teacher_tokens, rows, teacher_rows;
    int64_t *off;                      /* host: behind the seqs above */
    int64_t *dev_off;
    uint64_t *host_keys;               /* (views*micro), then (globals*micro) of the teacher */
    float *host_emb;                   /* (globals*micro, D) */
    struct nearest *nearest;           /* (globals*LOOKED_AT) */
    int collapsed;                     /* steps in a row */
    int alike;                         /* 1: passes can be recorded */
    struct lafs_repeat pass_again;
    struct lafs_turns turns;
    struct lafs_fold fold, center_fold; /* of gradients; of centres */
    double *result;                    /* (ranks, lafs_turns_max, RESULTS) of a step */
};

lafs_status lafs_pretrain_config_default(struct lafs_pretrain_config *c, const char *size, int method_dino,
                                         struct lafs_err *err)
{
    memset(c, 0, sizeof *c);
    LAFS_TRY(lafs_model_config_named(&c->model, size, err));
    c->model.parts = LAFS_PART_VIT;
    c->head = (struct lafs_dino_config){.dim = c->model.vit.dim, .hidden = 2048, .bottleneck = 256, .out = 100000};
    lafs_pretrain_views_default(&c->views, method_dino);
    c->points = (struct lafs_point_rule){.landmarks = c->model.vit.patches, .sigma = 5, .subset = 36,
                                         .dino = method_dino, .patch = c->model.vit.patch};
    c->batch = c->micro = 164;
    c->epochs = 41;
    c->lr = 5e-4 * 164 / 256;
    c->lr_final = 1e-6;
    c->warmup_epochs = 10;
    c->decay = 0.04;
    c->decay_final = 0.4;
    c->momentum = 0.996;
    c->clip = 3;
    c->freeze_last = 1;
    c->temp_student = 0.1;
    c->temp_first = 0.07;
    c->temp = 0.04;
    c->temp_epochs = 30;
    c->center_momentum = 0.9;
    return LAFS_OK;
}

lafs_status lafs_pretrain_config_check(const struct lafs_pretrain_config *c, struct lafs_err *err)
{
    if (c->views.globals < 1 || c->views.locals < 0 || c->views.globals + c->views.locals > LAFS_MAX_VIEWS ||
        c->views.globals + c->views.locals < 2)
        return lafs_fail(err, LAFS_USAGE, "there must be at least 1 global view, and 2 to %d views in all",
                         LAFS_MAX_VIEWS);
    LAFS_TRY(lafs_turns_check(c->comm, c->images, c->batch, c->micro, c->epochs, c->warmup_epochs, err));
    if (!c->points.dino && c->points.subset > c->model.vit.patches)
        return lafs_fail(err, LAFS_USAGE, "a local view of %d patches is more than the model's %d", c->points.subset,
                         c->model.vit.patches);
    return LAFS_OK;
}

/* -- opening -- */

static int64_t views_of(const struct lafs_pretrain *t) { return t->c.views.globals + t->c.views.locals; }

static int64_t view_len(const struct lafs_pretrain *t, int64_t v)
{
    int global = v < t->c.views.globals;
    return lafs_view_tokens(&t->c.points, global ? LAFS_VIEW_GLOBAL : LAFS_VIEW_LOCAL,
                            global ? t->c.views.size : t->c.views.local_size);
}

/* Offsets of the micro-batch's tokens (view-major), and of single rows. */
static lafs_status lay_out(struct lafs_pretrain *t, struct lafs_err *err)
{
    int64_t n = views_of(t) * t->c.micro, longest = 0;
    LAFS_TRY(lafs_alloc(&t->off, (size_t)(2 * (n + 1)), sizeof *t->off, err));
    int64_t *rows = t->off + n + 1;
    t->off[0] = rows[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t len = view_len(t, i / t->c.micro);
        if (len > longest) longest = len;
        t->off[i + 1] = t->off[i] + len;
        rows[i + 1] = i + 1;
    }
    int64_t nt = t->c.views.globals * t->c.micro;
    t->tokens = (struct lafs_seqs){n, t->off, NULL, longest};
    t->teacher_tokens = (struct lafs_seqs){nt, t->off, NULL, view_len(t, 0)};
    t->rows = (struct lafs_seqs){n, rows, NULL, 1};
    t->teacher_rows = (struct lafs_seqs){nt, rows, NULL, 1};
    LAFS_TRY(lafs_alloc(&t->host_keys, (size_t)(n + nt), sizeof *t->host_keys, err));
    LAFS_TRY(lafs_alloc(&t->nearest, (size_t)t->c.views.globals * LOOKED_AT, sizeof *t->nearest, err));
    return lafs_alloc(&t->host_emb, (size_t)nt * (size_t)t->c.model.vit.dim, sizeof *t->host_emb, err);
}

static lafs_status carve(struct lafs_pretrain *t, struct lafs_err *err)
{
    struct lafs_arena *a = &t->arena;
    size_t n = (size_t)t->tokens.n, nt = (size_t)t->teacher_tokens.n, d = (size_t)t->c.model.vit.dim,
           k = (size_t)t->c.head.out;
    t->teacher = lafs_arena_take(a, (size_t)t->model.params.size, sizeof(float));
    t->center = lafs_arena_take(a, k, sizeof(float));
    t->center_mean = lafs_arena_take(a, k, sizeof(float));
    t->center_sum = lafs_arena_take(a, k, sizeof(float));
    t->part = t->turns.passes > 1 ? lafs_arena_take(a, (size_t)t->model.params.size, sizeof(float)) : NULL;
    t->student_emb = lafs_arena_take(a, n * d, sizeof(float));
    t->teacher_emb = lafs_arena_take(a, nt * d, sizeof(float));
    t->demb = lafs_arena_take(a, n * d, sizeof(float));
    t->found_out = lafs_arena_take(a, RESULTS, sizeof(double));
    t->varying = lafs_arena_take(a, 1, sizeof *t->varying);
    t->student_keys = lafs_arena_take(a, n, sizeof(uint64_t));
    t->teacher_keys = lafs_arena_take(a, nt, sizeof(uint64_t));
    t->dev_off = lafs_arena_take(a, 2 * (n + 1), sizeof(int64_t));
    LAFS_TRY(lafs_vit_plan(&t->student_vit, &t->model.vit, lafs_seqs_rows(&t->tokens), t->tokens.n, 1, t->b, a,
                           err));
    LAFS_TRY(lafs_vit_plan(&t->teacher_vit, &t->model.vit, lafs_seqs_rows(&t->teacher_tokens), t->teacher_tokens.n, 0,
                           t->b, a, err));
    lafs_dino_plan(&t->student_head, &t->c.head, t->tokens.n, 1, a);
    lafs_dino_plan(&t->teacher_head, &t->c.head, t->teacher_tokens.n, 0, a);
    return LAFS_OK;
}

/* Whenever values have changed. */
static void take_weights(struct lafs_pretrain *t)
{
    lafs_vit_weights(&t->student_vit, t->b, t->model.params.value);
    lafs_vit_weights(&t->teacher_vit, t->b, t->teacher);
}

static lafs_status build(struct lafs_pretrain *t, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    struct lafs_params *ps = &t->model.params;
    LAFS_TRY(lafs_pretrain_config_check(&t->c, err));
    LAFS_TRY(lafs_model_init(&t->model, &t->c.model, err));
    t->turns = lafs_turns_of(t->c.comm, t->c.batch / t->c.micro);
    LAFS_TRY(lafs_dino_declare(&t->head, &t->c.head, ps, t->c.model.vit.depth + 1, err));
    LAFS_TRY(lay_out(t, err));
    LAFS_TRY(carve(t, err));
    if (t->c.plan_only) return LAFS_OK;
    LAFS_TRY(lafs_params_place(ps, b, err));
    if (!t->c.rehearsal) LAFS_TRY(lafs_params_fill(ps, b, t->c.seed, err));
    LAFS_TRY(lafs_optim_init(&t->optim, b, ps, err));
    LAFS_TRY(lafs_alloc0(&t->frozen, (size_t)ps->count, 1, err));
    LAFS_TRY(lafs_arena_reserve(&t->arena, b, err));
    LAFS_TRY(carve(t, err));
    if (!t->part) t->part = t->optim.grad;
    t->alike = lafs_vit_alike(&t->student_vit, b) && lafs_vit_alike(&t->teacher_vit, b);
    LAFS_TRY(lafs_fold_init(&t->fold, t->c.comm, b, ps->size, NULL, 0, err));
    LAFS_TRY(lafs_fold_init(&t->center_fold, t->c.comm, b, t->c.head.out, NULL, 0, err));
    const size_t results = (size_t)(t->turns.ranks * lafs_turns_max(&t->turns) * RESULTS);
    LAFS_TRY(lafs_alloc0(&t->result, results, sizeof(double), err));
    b->ops->upload(b->dev, t->dev_off, t->off, (size_t)(2 * (t->tokens.n + 1)) * sizeof *t->off);
    t->tokens.dev_off = t->teacher_tokens.dev_off = t->dev_off;
    t->rows.dev_off = t->teacher_rows.dev_off = t->dev_off + t->tokens.n + 1;
    b->ops->copy(b->dev, t->teacher, ps->value, (size_t)ps->size * sizeof(float));
    take_weights(t);
    return b->ops->sync(b->dev, err);
}

lafs_status lafs_pretrain_open(struct lafs_pretrain **out, const struct lafs_pretrain_config *c,
                               const struct lafs_backend *b, struct lafs_feed *feed, struct lafs_err *err)
{
    struct lafs_pretrain *t;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    t->c = *c;
    t->c.points.seed = c->seed;
    t->b = b;
    t->feed = feed;
    lafs_status st = build(t, err);
    if (st != LAFS_OK) {
        lafs_pretrain_close(t);
        return st;
    }
    *out = t;
    return LAFS_OK;
}

void lafs_pretrain_close(struct lafs_pretrain *t)
{
    if (!t) return;
    lafs_repeat_forget(&t->pass_again, t->b);
    lafs_optim_release(&t->optim);
    lafs_vit_work_release(&t->student_vit);
    lafs_vit_work_release(&t->teacher_vit);
    lafs_model_release(&t->model, t->b);
    lafs_arena_release(&t->arena, t->b);
    lafs_free(t->frozen);
    lafs_free(t->off);
    lafs_free(t->host_keys);
    lafs_free(t->host_emb);
    lafs_free(t->nearest);
    lafs_free(t->result);
    lafs_fold_release(&t->fold);
    lafs_fold_release(&t->center_fold);
    lafs_free(t);
}

int64_t lafs_pretrain_step_number(const struct lafs_pretrain *t) { return t->optim.done; }

int64_t lafs_pretrain_steps(const struct lafs_pretrain *t)
{
    return t->c.epochs * lafs_pretrain_steps_per_epoch(&t->c);
}

size_t lafs_pretrain_memory(const struct lafs_pretrain *t)
{
    size_t rest = lafs_fold_memory(t->c.comm, t->b, t->model.params.size) +
                  lafs_fold_memory(t->c.comm, t->b, t->c.head.out);
    return lafs_add_ok(t->arena.used, rest, &rest) ? lafs_optim_memory(&t->model.params, rest) : SIZE_MAX;
}

void lafs_pretrain_look(struct lafs_pretrain *t, struct lafs_pretrain_inside *in)
{
    *in = (struct lafs_pretrain_inside){&t->model.params, t->model.params.value, t->teacher, t->center, t->optim.norm,
                                        t->student_head.logits, t->teacher_head.logits, t->teacher_emb};
}

/* -- one step -- */

static void set_keys(struct lafs_pretrain *t, const struct lafs_feed_batch *batch, int64_t epoch, int64_t count,
                     int first_view, uint64_t *host, uint64_t *dev)
{
    for (int64_t i = 0; i < count; i++)
        host[i] = lafs_rng_key(t->c.seed, LAFS_RNG_DROP, (uint64_t)epoch, batch->key_hash[i % t->c.micro],
                               (uint64_t)(first_view + i / t->c.micro));
    t->b->ops->upload(t->b->dev, dev, host, (size_t)count * sizeof *host);
}

struct pass {
    struct lafs_pretrain *t;
    struct what { /* differs from pass to pass; the rest lies in device memory */
        const float *tokens;
        int64_t last;
    } of;
};

/* Forward and backward of a micro-batch: its part of the gradient += and of the centre; found_out. */
static void queue_pass(void *arg)
{
    const struct pass *p = arg;
    struct lafs_pretrain *t = p->t;
    const struct lafs_backend *b = t->b;
    const struct lafs_ops *op = b->ops;
    const struct lafs_params *ps = &t->model.params;
    const float *student = ps->value, share = (float)(1.0 / (double)t->turns.passes);
    const uint64_t *teacher_host = t->host_keys + t->tokens.n;
    int vs = (int)views_of(t), vt = t->c.views.globals;
    lafs_vit_forward(&t->teacher_vit, b, t->teacher, &t->teacher_tokens, p->of.tokens,
                     t->c.teacher_eval ? NULL : t->teacher_keys, teacher_host, t->teacher_emb);
    lafs_dino_forward(&t->head, b, ps, t->teacher, &t->teacher_rows, t->teacher_emb, &t->teacher_head);
    lafs_vit_forward(&t->student_vit, b, student, &t->tokens, p->of.tokens, t->student_keys, t->host_keys,
                     t->student_emb);
    lafs_dino_forward(&t->head, b, ps, student, &t->rows, t->student_emb, &t->student_head);
    op->dino_loss(b->dev, t->c.micro, t->c.head.out, vs, vt, t->student_head.logits, t->teacher_head.logits, t->center,
                  t->varying->temp, share, t->found_out, t->student_head.dlogits, t->center_mean, t->found_out + 1);
    op->scale(b->dev, t->c.head.out, share, t->center_mean);
    lafs_dino_backward(&t->head, b, ps, student, &t->rows, t->student_emb, &t->student_head, (int)p->of.last, t->demb,
                       t->part);
    lafs_vit_backward(&t->student_vit, b, student, t->demb, t->part, NULL);
}

/* result: loss and statistics of a micro-batch. */
static lafs_status pass(struct lafs_pretrain *t, const struct lafs_feed_batch *batch, int64_t epoch,
                        double result[RESULTS], struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    struct pass p = {t, {batch->tokens, epoch >= t->c.freeze_last}};
    set_keys(t, batch, epoch, t->teacher_tokens.n, TEACHER_VIEWS, t->host_keys + t->tokens.n, t->teacher_keys);
    set_keys(t, batch, epoch, t->tokens.n, 0, t->host_keys, t->student_keys);
    if (t->alike) lafs_repeat(&t->pass_again, b, &p.of, sizeof p.of, queue_pass, &p);
    else queue_pass(&p);
    b->ops->download(b->dev, result, t->found_out, RESULTS * sizeof *result);
    return b->ops->sync(b->dev, err);
}

static void set_varying(struct lafs_pretrain *t, const struct lafs_pretrain_report *r)
{
    const struct varying v = {r->momentum, t->c.center_momentum, {(float)t->c.temp_student, (float)r->temp}};
    t->b->ops->upload(t->b->dev, t->varying, &v, sizeof v);
}

/* All micro-batches of a step, each by the process whose turn it is: gradients and centres are summed everywhere. */
static lafs_status passes(struct lafs_pretrain *t, lafs_next_fn *next, void *arg, const struct lafs_pretrain_report *r,
                          struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    const int64_t most = lafs_turns_max(&t->turns);
    double *mine = t->result + t->turns.rank * most * RESULTS;
    set_varying(t, r);
    lafs_optim_zero_grad(&t->optim);
    b->ops->zero(b->dev, t->center_sum, (size_t)t->c.head.out * sizeof(float));
    LAFS_TRY(lafs_fold_begin(&t->fold, t->optim.grad, err));
    LAFS_TRY(lafs_fold_begin(&t->center_fold, t->center_sum, err));
    for (int64_t i = 0; i < most; i++) {
        const int active = lafs_turns_active(&t->turns, i);
        struct lafs_feed_batch batch;
        lafs_status st = LAFS_OK;
        if (t->turns.rank < active) {
            st = next(arg, lafs_turns_micro(&t->turns, i), &batch, err);
            if (t->part != t->optim.grad) b->ops->zero(b->dev, t->part, (size_t)t->model.params.size * sizeof(float));
            if (st == LAFS_OK)
                st = pass(t, &batch, r->epoch, mine + i * RESULTS, err);
        }
        LAFS_TRY(lafs_comm_agree(t->c.comm, st, err));
        LAFS_TRY(lafs_fold_add(&t->center_fold, t->center_sum, t->center_mean, active, err));
        if (t->part != t->optim.grad) LAFS_TRY(lafs_fold_add(&t->fold, t->optim.grad, t->part, active, err));
    }
    LAFS_TRY(lafs_fold_end(&t->center_fold, t->center_sum, err));
    return lafs_fold_end(&t->fold, t->optim.grad, err);
}

/* The teacher's embeddings of the last micro-batch, at length 1, into host_emb. */
static void fetch_embeddings(struct lafs_pretrain *t)
{
    int64_t n = t->teacher_tokens.n, d = t->c.model.vit.dim;
    t->b->ops->download(t->b->dev, t->host_emb, t->teacher_emb, (size_t)(n * d) * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        float *e = t->host_emb + i * d;
        for (int64_t j = 0; j < d; j++) s += (double)e[j] * e[j];
        for (int64_t j = 0; j < d; j++) e[j] = (float)(e[j] / sqrt(s + 1e-24));
    }
}

/* How far they spread: 1 if they were uniform on the sphere, 0 if equal. */
static double spread(const struct lafs_pretrain *t)
{
    int64_t n = t->teacher_tokens.n, d = t->c.model.vit.dim;
    double sum = 0;
    for (int64_t j = 0; j < d; j++) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < n; i++) mean += t->host_emb[i * d + j];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) var += (t->host_emb[i * d + j] - mean) * (t->host_emb[i * d + j] - mean);
        sum += sqrt(var / (double)n);
    }
    return sum / sqrt((double)d);
}

static double along(const float *x, const float *y, int64_t d)
{
    double s[4] = {0};
    for (int64_t j = 0; j < d; j += 4)
        for (int64_t k = j; k < j + 4 && k < d; k++) s[k - j] += (double)x[k] * y[k];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* How often the view that is most like a view is of the same image; of equals the first counts. 0: images have one. */
static double found(struct lafs_pretrain *t)
{
    const int64_t micro = t->c.micro, n = micro < LOOKED_AT ? micro : LOOKED_AT, d = t->c.model.vit.dim;
    const int64_t rows = t->c.views.globals * n;
    int64_t hits = 0;
    if (rows == n) return 0;
    for (int64_t a = 0; a < rows; a++) t->nearest[a] = (struct nearest){-INFINITY, a};
    for (int64_t a = 0; a < rows; a++)
        for (int64_t b = a + 1; b < rows; b++) {
            double s = along(t->host_emb + (a / n * micro + a % n) * d, t->host_emb + (b / n * micro + b % n) * d, d);
            if (s > t->nearest[a].along) t->nearest[a] = (struct nearest){s, b};
            if (s > t->nearest[b].along) t->nearest[b] = (struct nearest){s, a};
        }
    for (int64_t a = 0; a < rows; a++) hits += t->nearest[a].row % n == a % n;
    return (double)hits / (double)rows;
}

/* The report's figures of a step, from all processes; those of embeddings are of the step's last micro-batch. */
static lafs_status gather_results(struct lafs_pretrain *t, struct lafs_pretrain_report *r, struct lafs_err *err)
{
    const int64_t most = lafs_turns_max(&t->turns), passes = t->turns.passes, ranks = t->turns.ranks;
    const int last = (int)((passes - 1) % ranks);
    double sum[RESULTS] = {0}, of_embeddings[2] = {0};
    LAFS_TRY(lafs_comm_gather(t->c.comm, t->result, (size_t)(most * RESULTS) * sizeof(double), err));
    for (int64_t i = 0; i < passes; i++)
        for (int j = 0; j < RESULTS; j++)
            sum[j] += t->result[lafs_turns_place(&t->turns, i) * RESULTS + j] / (double)passes;
    r->loss = sum[0];
    r->entropy = sum[1];
    r->kl = sum[2];
    r->classes = sum[4] * (double)t->c.head.out;
    r->information = sum[5] - sum[1];
    if (t->turns.rank == last) {
        fetch_embeddings(t);
        of_embeddings[0] = spread(t);
        of_embeddings[1] = found(t);
    }
    LAFS_TRY(lafs_comm_broadcast(t->c.comm, of_embeddings, sizeof of_embeddings, last, err));
    r->spread = of_embeddings[0];
    r->found = of_embeddings[1];
    return LAFS_OK;
}

static lafs_status check_health(struct lafs_pretrain *t, const struct lafs_pretrain_report *r, struct lafs_err *err)
{
    if (!isfinite(r->loss)) return lafs_fail(err, LAFS_FAILED, "step %" PRId64 ": the loss is not finite", r->step);
    double most = log((double)t->c.head.out);
    const char *sign = r->entropy < COLLAPSE_ENTROPY         ? "the teacher's output is the same class for all images"
                       : most - r->entropy < COLLAPSE_ENTROPY ? "the teacher's output is uniform"
                       : r->spread < COLLAPSE_SPREAD          ? "all embeddings are equal"
                                                              : NULL;
    t->collapsed = sign ? t->collapsed + 1 : 0;
    if (t->collapsed < COLLAPSE_STEPS) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "step %" PRId64 ": training has collapsed: %s for %d steps", r->step, sign,
                     COLLAPSE_STEPS);
}

static void queue_update(void *arg)
{
    struct lafs_pretrain *t = arg;
    const struct lafs_backend *b = t->b;
    const struct lafs_params *ps = &t->model.params;
    lafs_optim_update(&t->optim);
    b->ops->lerp(b->dev, ps->size, &t->varying->momentum, ps->value, t->teacher);
    b->ops->lerp(b->dev, t->c.head.out, &t->varying->center_momentum, t->center_sum, t->center);
    take_weights(t);
}

/* The part of a step that changes the state. */
static lafs_status commit(struct lafs_pretrain *t, const struct lafs_pretrain_report *r, struct lafs_err *err)
{
    const struct lafs_update u = {.step = r->step, .lr = r->lr, .decay = {.matrix = 1, .vector = 0, .cnn = -1},
                                  .decay_scale = r->decay, .clip = t->c.clip, .frozen = t->frozen,
                                  .queue = queue_update, .arg = t};
    t->frozen[t->head.v] = r->epoch < t->c.freeze_last;
    return lafs_optim_step(&t->optim, &u, err);
}

lafs_status lafs_pretrain_learn(struct lafs_pretrain *t, lafs_next_fn *next, void *arg, struct lafs_pretrain_report *r,
                                struct lafs_err *err)
{
    int64_t per = lafs_pretrain_steps_per_epoch(&t->c), total = lafs_pretrain_steps(t), s = t->optim.done;
    *r = (struct lafs_pretrain_report){.step = s + 1, .epoch = s / per};
    r->lr = lafs_sched_cosine(t->c.lr, t->c.lr_final, s, total, t->c.warmup_epochs * per);
    r->decay = lafs_sched_cosine(t->c.decay, t->c.decay_final, s, total, 0);
    r->momentum = lafs_sched_cosine(t->c.momentum, 1, s, total, 0);
    r->temp = lafs_sched_linear(t->c.temp_first, t->c.temp, r->epoch, t->c.temp_epochs);
    LAFS_TRY(passes(t, next, arg, r, err));
    LAFS_TRY(gather_results(t, r, err));
    lafs_status st = check_health(t, r, err);
    if (st == LAFS_OK) st = commit(t, r, err);
    LAFS_TRY(lafs_comm_agree(t->c.comm, st, err));
    r->grad_norm = lafs_optim_norm(&t->optim);
    return LAFS_OK;
}

static lafs_status from_feed(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    struct lafs_pretrain *t = arg;
    return lafs_feed_next(t->feed, t->optim.done * t->turns.passes + i, batch, err);
}

lafs_status lafs_pretrain_step(struct lafs_pretrain *t, struct lafs_pretrain_report *r, struct lafs_err *err)
{
    const double began = lafs_clock_now(), waited = lafs_feed_waited(t->feed);
    LAFS_TRY(lafs_pretrain_learn(t, from_feed, t, r, err));
    r->seconds = lafs_clock_now() - began;
    r->wait = lafs_feed_waited(t->feed) - waited;
    return LAFS_OK;
}

/* -- checkpoints and models -- */

static lafs_status fill_checkpoint(struct lafs_pretrain *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    const struct lafs_params *ps = &t->model.params;
    int64_t n = ps->count, k = t->c.head.out, per = lafs_pretrain_steps_per_epoch(&t->c);
    LAFS_TRY(lafs_ckpt_add_params(c, "student.", ps, ps->value, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "teacher.", ps, t->teacher, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "adamw.m.", ps, t->optim.m, b, err));
    LAFS_TRY(lafs_ckpt_add_params(c, "adamw.v.", ps, t->optim.v, b, err));
    LAFS_TRY(lafs_ckpt_add(c, "adamw.step", LAFS_I64, &n, 1, t->optim.step, err));
    LAFS_TRY(lafs_ckpt_add(c, "center", LAFS_F32, &k, 1, NULL, err));
    b->ops->download(b->dev, (void *)c->tensor[c->count - 1].data, t->center, (size_t)k * sizeof(float));
    LAFS_TRY(b->ops->sync(b->dev, err));
    const int64_t done = t->optim.done, cursor[4] = {done, done / per, done % per * t->c.batch, t->collapsed}, four = 4;
    LAFS_TRY(lafs_ckpt_add(c, "cursor", LAFS_I64, &four, 1, cursor, err));
    return lafs_ckpt_add_meta(c, "backend", b->ops->describe(b->dev), err);
}

lafs_status lafs_pretrain_same(struct lafs_pretrain *t, struct lafs_err *err)
{
    const struct lafs_params *ps = &t->model.params;
    LAFS_TRY(lafs_fold_same(t->c.comm, t->b, ps->value, ps->size, "weights", err));
    LAFS_TRY(lafs_fold_same(t->c.comm, t->b, t->teacher, ps->size, "weights of the teacher", err));
    return lafs_fold_same(t->c.comm, t->b, t->optim.v, ps->size, "moments", err);
}

lafs_status lafs_pretrain_checkpoint(struct lafs_pretrain *t, struct lafs_ckpt *c, struct lafs_err *err)
{
    LAFS_TRY(lafs_pretrain_same(t, err));
    if (t->turns.rank) return LAFS_OK;
    pthread_mutex_lock(&t->optim.lock);
    lafs_status st = fill_checkpoint(t, c, err);
    pthread_mutex_unlock(&t->optim.lock);
    return st;
}

lafs_status lafs_pretrain_restore(struct lafs_pretrain *t, const struct lafs_st *st, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    const struct lafs_params *ps = &t->model.params;
    int64_t cursor[4], k = t->c.head.out;
    LAFS_TRY(lafs_ckpt_read_params(st, "student.", ps, ps->value, b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "teacher.", ps, t->teacher, b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "adamw.m.", ps, t->optim.m, b, err));
    LAFS_TRY(lafs_ckpt_read_params(st, "adamw.v.", ps, t->optim.v, b, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "adamw.step", t->optim.step, ps->count, err));
    LAFS_TRY(lafs_ckpt_read_i64(st, "cursor", cursor, 4, err));
    float *host;
    LAFS_TRY(lafs_alloc(&host, (size_t)k, sizeof *host, err));
    lafs_status s = lafs_st_read_f32(st, "center", &k, 1, host, err);
    if (s == LAFS_OK) {
        b->ops->upload(b->dev, t->center, host, (size_t)k * sizeof(float));
        s = b->ops->sync(b->dev, err);
    }
    lafs_free(host);
    LAFS_TRY(s);
    t->optim.done = cursor[0];
    t->collapsed = (int)cursor[3];
    take_weights(t);
    return LAFS_OK;
}

lafs_status lafs_pretrain_init_from(struct lafs_pretrain *t, const char *path, struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    struct lafs_params *ps = &t->model.params;
    LAFS_TRY(lafs_model_load_parts(&t->model, b, path, LAFS_PART_VIT, ps->value, err));
    b->ops->copy(b->dev, t->teacher, ps->value, (size_t)ps->size * sizeof(float));
    take_weights(t);
    return b->ops->sync(b->dev, err);
}

/* A model of the wanted parts, its values copied from the teacher's ViT and the CNN. */
static lafs_status assemble_model(struct lafs_pretrain *t, const struct lafs_model *cnn, struct lafs_model *m,
                                  struct lafs_err *err)
{
    const struct lafs_backend *b = t->b;
    struct lafs_model_config c = t->c.model;
    if (cnn) c.parts |= LAFS_PART_CNN;
    LAFS_TRY(lafs_model_init(m, &c, err));
    LAFS_TRY(lafs_params_place(&m->params, b, err));
    for (int i = 0; i < m->params.count; i++) {
        const struct lafs_param *to = &m->params.p[i];
        int of_cnn = lafs_is_cnn_name(to->name);
        const struct lafs_params *from = of_cnn ? &cnn->params : &t->model.params;
        const float *value = of_cnn ? cnn->params.value : t->teacher;
        const struct lafs_param *p = lafs_params_find(from, to->name);
        if (!p || p->size != to->size)
            return lafs_fail(err, LAFS_FAILED, "the landmark CNN has no '%s' of that size", to->name);
        b->ops->copy(b->dev, m->params.value + to->off, value + p->off, (size_t)p->size * sizeof(float));
    }
    return b->ops->sync(b->dev, err);
}

lafs_status lafs_pretrain_save_model(struct lafs_pretrain *t, const struct lafs_model *cnn, const char *path,
                                     const struct lafs_st_meta *meta, int metas, struct lafs_err *err)
{
    struct lafs_model m;
    memset(&m, 0, sizeof m);
    lafs_status st = assemble_model(t, cnn, &m, err);
    if (st == LAFS_OK) st = lafs_model_save(&m, t->b, m.params.value, path, meta, metas, err);
    lafs_model_release(&m, t->b);
    return st;
}

/* -- what it takes -- */

/* The work of a step, and of the end: one pass stands for all. No branch is dropped, since any may be kept. */
static lafs_status rehearse(struct lafs_pretrain *t, const struct lafs_model *cnn, struct lafs_err *err)
{
    const int64_t last = t->c.epochs - 1;
    const struct lafs_pretrain_report r = {.step = 1, .epoch = last, .momentum = 1};
    struct lafs_feed_batch batch = {.tokens = t->part, .n = t->c.micro};
    struct lafs_model m;
    uint64_t *hash;
    LAFS_TRY(lafs_alloc0(&hash, (size_t)t->c.micro, sizeof *hash, err));
    batch.key_hash = hash;
    lafs_optim_zero_grad(&t->optim);
    lafs_status st = pass(t, &batch, last, t->result, err);
    lafs_free(hash);
    LAFS_TRY(st);
    LAFS_TRY(commit(t, &r, err));
    memset(&m, 0, sizeof m);
    st = assemble_model(t, cnn, &m, err);
    lafs_model_release(&m, t->b);
    return st;
}

static lafs_status rehearse_all(const struct lafs_pretrain_config *c, const struct lafs_feed_config *f,
                                const struct lafs_index *ix, const struct lafs_backend *b,
                                const struct lafs_backend *data, struct lafs_err *err)
{
    struct lafs_pretrain_config own = *c;
    struct lafs_feed *feed;
    struct lafs_pretrain *t;
    struct lafs_comm silent;
    own.comm = NULL; /* gradients meet in the host's memory, unless devices are linked */
    if (lafs_comm_linked(c->comm, b)) {
        silent = lafs_comm_silent(c->comm);
        own.comm = &silent;
    }
    own.rehearsal = 1;
    own.plan_only = 0;
    own.model.vit.drop_path = 0;
    LAFS_TRY(ix ? lafs_feed_index(&feed, f, data, NULL, ix, err) : lafs_feed_stream(&feed, f, data, NULL, err));
    lafs_status st = ix ? lafs_feed_rehearse(feed, err) : LAFS_OK;
    if (st == LAFS_OK && (st = lafs_pretrain_open(&t, &own, b, feed, err)) == LAFS_OK) {
        st = rehearse(t, f->cnn, err);
        lafs_pretrain_close(t);
    }
    lafs_feed_close(feed);
    return st;
}

/* Where there are no plans. */
static lafs_status add_up(const struct lafs_pretrain_config *c, const struct lafs_feed_config *f,
                          const struct lafs_index *ix, const struct lafs_backend *b, size_t *bytes,
                          struct lafs_err *err)
{
    struct lafs_pretrain_config own = *c;
    struct lafs_feed_config feed_config = *f;
    struct lafs_feed *feed;
    struct lafs_pretrain *t;
    own.plan_only = feed_config.plan_only = 1;
    LAFS_TRY(ix ? lafs_feed_index(&feed, &feed_config, b, NULL, ix, err)
                : lafs_feed_stream(&feed, &feed_config, b, NULL, err));
    lafs_status st = lafs_pretrain_open(&t, &own, b, feed, err);
    if (st == LAFS_OK) {
        if (!lafs_add_ok(lafs_pretrain_memory(t), lafs_feed_memory(feed), bytes)) *bytes = SIZE_MAX;
        lafs_pretrain_close(t);
    }
    lafs_feed_close(feed);
    return st;
}

lafs_status lafs_pretrain_need(const struct lafs_pretrain_config *c, const struct lafs_feed_config *f,
                               const struct lafs_index *ix, const struct lafs_backend *b,
                               const struct lafs_backend *data, int reserve, size_t *bytes, struct lafs_err *err)
{
    struct lafs_rehearsal r;
    if (!b->ops->plan) return add_up(c, f, ix, b, bytes, err);
    LAFS_TRY(lafs_rehearsal_open(&r, b, data, err));
    lafs_status st = rehearse_all(c, f, ix, &r.plan[0], r.data, err);
    return lafs_rehearsal_close(&r, st, reserve, bytes, err);
}
