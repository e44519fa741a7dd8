#include "train/split.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { GATHERED_ROWS = 256 /* of each process at once, on the way to the first one */ };

struct lafs_split_row {
    struct lafs_target target;
    double factor; /* of its gradient; 0: there is no such row */
    /* of this process's classes: which of the target's two are among them, their share of the target, their logits */
    int64_t at[2];
    double y[2], logit[2], slope[2];
};
struct lafs_split_told {
    struct lafs_target target;
    double factor;
};

void lafs_split_range(const struct lafs_comm *comm, int64_t classes, int64_t *first, int64_t *count)
{
    const int64_t rank = lafs_comm_rank(comm), ranks = lafs_comm_size(comm);
    *first = classes * rank / ranks;
    *count = classes * (rank + 1) / ranks - *first;
}

void lafs_split_carve(struct lafs_split *s, struct lafs_arena *a)
{
    s->rows = s->micro * lafs_comm_size(s->comm);
    lafs_split_range(s->comm, s->classes, &s->first, &s->count);
    const size_t rows = (size_t)s->rows, dim = (size_t)s->dim, count = (size_t)s->count;
    s->emb = lafs_arena_take(a, rows * dim, sizeof(float));
    s->unit = lafs_arena_take(a, rows * dim, sizeof(float));
    s->norm = lafs_arena_take(a, rows, sizeof(float));
    s->weight_unit = lafs_arena_take(a, count * dim, sizeof(float));
    s->weight_norm = lafs_arena_take(a, count, sizeof(float));
    s->dweight_unit = lafs_arena_take(a, count * dim, sizeof(float));
    s->cosine = lafs_arena_take(a, rows * count, sizeof(float));
    s->dunit = lafs_arena_take(a, rows * dim, sizeof(float));
    s->dev_off = lafs_arena_take(a, rows + 1, sizeof(int64_t));
}

lafs_status lafs_split_init(struct lafs_split *s, struct lafs_err *err)
{
    const size_t rows = (size_t)s->rows, dim = (size_t)s->dim, ranks = (size_t)lafs_comm_size(s->comm);
    LAFS_TRY(lafs_alloc0(&s->off, rows + 1, sizeof *s->off, err));
    LAFS_TRY(lafs_alloc0(&s->host_rows, rows * dim, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&s->host_mine, rows * dim, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&s->host_cosine, rows * (size_t)s->count, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&s->row, rows, sizeof *s->row, err));
    LAFS_TRY(lafs_alloc0(&s->told, rows, sizeof *s->told, err));
    LAFS_TRY(lafs_alloc0(&s->most, ranks * rows, sizeof *s->most, err));
    LAFS_TRY(lafs_alloc0(&s->sums, ranks * rows * 2, sizeof *s->sums, err));
    for (int64_t i = 0; i <= s->rows; i++) s->off[i] = i;
    s->b->ops->upload(s->b->dev, s->dev_off, s->off, (rows + 1) * sizeof *s->off);
    return s->b->ops->sync(s->b->dev, err);
}

size_t lafs_split_memory(const struct lafs_split *s)
{
    const size_t ranks = (size_t)lafs_comm_size(s->comm);
    const size_t row = sizeof *s->off + sizeof *s->row + sizeof *s->told + 3 * ranks * sizeof(double) +
                       (size_t)(2 * s->dim + s->count) * sizeof(float);
    return (size_t)s->rows * row;
}

void lafs_split_release(struct lafs_split *s)
{
    void *owned[] = {s->off, s->host_rows, s->host_mine, s->host_cosine, s->row, s->told, s->most, s->sums};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) lafs_free(owned[i]);
    memset(s, 0, sizeof *s);
}

/* The margin's scale makes small errors large, as margin_loss says. */
static enum lafs_precision precision(const struct lafs_split *s)
{
    return s->b->precision == LAFS_PRECISION_BF16 ? LAFS_PRECISION_BF16X3 : s->b->precision;
}

void lafs_split_begin(struct lafs_split *s, const float *weight)
{
    const struct lafs_backend *b = s->b;
    b->ops->l2norm(b->dev, s->count, s->dim, weight, s->weight_unit, s->weight_norm);
    b->ops->zero(b->dev, s->dweight_unit, (size_t)(s->count * s->dim) * sizeof(float));
}

void lafs_split_end(struct lafs_split *s, float *grad)
{
    const struct lafs_backend *b = s->b;
    b->ops->l2norm_bwd(b->dev, s->count, s->dim, s->weight_unit, s->weight_norm, s->dweight_unit, grad, 1);
}

/* -- rows, on the host -- */

/* As in kernels/ref/loss.c. */
static double margin_logit(const struct lafs_split *s, double cosine, double y, double *slope)
{
    *slope = s->scale;
    if (s->kind == LAFS_MARGIN_COSFACE) return s->scale * (cosine - s->margin * y);
    double c = fmin(fmax(cosine, -1 + 1e-7), 1 - 1e-7), angle = acos(c) + s->margin * y;
    *slope = s->scale * sin(angle) / sqrt(1 - c * c);
    return s->scale * cos(angle);
}

/* Finds the row's targets among the classes here, and sets their cosines apart. */
static void set_apart(const struct lafs_split *s, struct lafs_split_row *r, float *cosine)
{
    const double lambda = r->target.lambda, y[2] = {lambda, 1 - lambda};
    const int64_t class[2] = {r->target.a, r->target.b};
    for (int k = 0; k < 2; k++) {
        r->at[k] = class[k] - s->first;
        r->y[k] = y[k] + (k == 0 && class[0] == class[1] ? y[1] : 0);
        if (r->at[k] < 0 || r->at[k] >= s->count || !(r->y[k] > 0) || (k == 1 && class[0] == class[1])) r->at[k] = -1;
        if (r->at[k] < 0) continue;
        r->logit[k] = margin_logit(s, cosine[r->at[k]], r->y[k], &r->slope[k]);
    }
    for (int k = 0; k < 2; k++)
        if (r->at[k] >= 0) cosine[r->at[k]] = -INFINITY;
}

static void find_most(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_split *s = arg;
    struct lafs_split_row *r = &s->row[i];
    float *cosine = s->host_cosine + i * s->count, most = -INFINITY;
    double *out = s->most + lafs_comm_rank(s->comm) * s->rows + i;
    *out = -INFINITY;
    if (r->factor == 0) return;
    set_apart(s, r, cosine);
    for (int64_t c = 0; c < s->count; c++) most = cosine[c] > most ? cosine[c] : most;
    *out = s->scale * (double)most;
    for (int k = 0; k < 2; k++)
        if (r->at[k] >= 0) *out = fmax(*out, r->logit[k]);
}

static double most_of_all(const struct lafs_split *s, int64_t i)
{
    double most = -INFINITY;
    for (int p = 0; p < lafs_comm_size(s->comm); p++) most = fmax(most, s->most[p * s->rows + i]);
    return most;
}

/* Cosines become exp(logit - the row's largest); sums: of these, and of target x logit. */
static void find_sums(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_split *s = arg;
    const struct lafs_split_row *r = &s->row[i];
    float *cosine = s->host_cosine + i * s->count;
    double *out = s->sums + (lafs_comm_rank(s->comm) * s->rows + i) * 2, most = most_of_all(s, i), sum = 0;
    out[0] = out[1] = 0;
    if (r->factor == 0) return;
    for (int64_t c = 0; c < s->count; c++) {
        double e = exp(s->scale * (double)cosine[c] - most);
        cosine[c] = (float)e;
        sum += e;
    }
    for (int k = 0; k < 2; k++) {
        if (r->at[k] < 0) continue;
        sum += exp(r->logit[k] - most);
        out[1] += r->y[k] * r->logit[k];
    }
    out[0] = sum;
}

/* A row's logarithm of the sum of exponentials, less its largest logit; and its target x logit. */
static double log_sum(const struct lafs_split *s, int64_t i, double *target_logit)
{
    double sum = 0, logit = 0;
    for (int p = 0; p < lafs_comm_size(s->comm); p++) {
        sum += s->sums[(p * s->rows + i) * 2];
        logit += s->sums[(p * s->rows + i) * 2 + 1];
    }
    *target_logit = logit;
    return log(sum);
}

/* Exponentials become the gradient by the cosines. */
static void find_gradient(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct lafs_split *s = arg;
    const struct lafs_split_row *r = &s->row[i];
    float *d = s->host_cosine + i * s->count;
    double logit, lse = log_sum(s, i, &logit), most = most_of_all(s, i);
    if (r->factor == 0) {
        memset(d, 0, (size_t)s->count * sizeof *d);
        return;
    }
    const double f = r->factor * s->scale * exp(-lse);
    for (int64_t c = 0; c < s->count; c++) d[c] = (float)(f * (double)d[c]);
    for (int k = 0; k < 2; k++)
        if (r->at[k] >= 0)
            d[r->at[k]] = (float)(r->factor * (exp(r->logit[k] - most - lse) - r->y[k]) * r->slope[k]);
}

/* -- a pass -- */

/* Everybody's embeddings on the device, everybody's rows on the host. */
static lafs_status gather_rows(struct lafs_split *s, int64_t n, const float *emb, const struct lafs_target *target,
                               double share, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const int64_t rank = lafs_comm_rank(s->comm), own = rank * s->micro;
    const size_t each = (size_t)(s->micro * s->dim) * sizeof(float);
    float *mine = s->host_rows + own * s->dim;
    memset(mine, 0, each);
    if (n) b->ops->download(b->dev, mine, emb, (size_t)(n * s->dim) * sizeof(float));
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(lafs_comm_gather(s->comm, s->host_rows, each, err));
    b->ops->upload(b->dev, s->emb, s->host_rows, (size_t)(s->rows * s->dim) * sizeof(float));
    for (int64_t i = 0; i < s->micro; i++)
        s->told[own + i] = i < n ? (struct lafs_split_told){target[i], share / (double)n} : (struct lafs_split_told){0};
    LAFS_TRY(lafs_comm_gather(s->comm, s->told, (size_t)s->micro * sizeof *s->told, err));
    for (int64_t i = 0; i < s->rows; i++)
        s->row[i] = (struct lafs_split_row){.target = s->told[i].target, .factor = s->told[i].factor};
    return b->ops->sync(b->dev, err);
}

/* This process's part of host_rows (the gradients of all unit embeddings, by its classes) goes to whom it belongs to;
 * what comes back is added in the order of the processes: host_mine (micro, dim). */
static lafs_status return_gradients(struct lafs_split *s, struct lafs_err *err)
{
    const int64_t size = s->micro * s->dim;
    LAFS_TRY(lafs_comm_exchange(s->comm, s->host_rows, s->host_mine, (size_t)size * sizeof(float), err));
    for (int64_t j = 0; j < size; j++) {
        double sum = 0;
        for (int p = 0; p < lafs_comm_size(s->comm); p++) sum += (double)s->host_mine[p * size + j];
        s->host_mine[j] = (float)sum;
    }
    return LAFS_OK;
}

lafs_status lafs_split_pass(struct lafs_split *s, int64_t n, const float *emb, const struct lafs_target *target,
                            double share, double *loss, float *demb, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const struct lafs_seqs rows = {s->rows, s->off, s->dev_off, 1};
    const int64_t own = lafs_comm_rank(s->comm) * s->micro;
    const size_t all = (size_t)(s->rows * s->count) * sizeof(float);
    LAFS_TRY(gather_rows(s, n, emb, target, share, err));
    b->ops->l2norm(b->dev, s->rows, s->dim, s->emb, s->unit, s->norm);
    b->ops->linear(b->dev, precision(s), &rows, s->dim, s->count, s->unit, s->weight_unit, NULL, LAFS_ACT_NONE, NULL,
                   NULL, s->cosine);
    b->ops->download(b->dev, s->host_cosine, s->cosine, all);
    LAFS_TRY(b->ops->sync(b->dev, err));

    lafs_pool_for(s->pool, s->rows, find_most, s);
    LAFS_TRY(lafs_comm_gather(s->comm, s->most, (size_t)s->rows * sizeof *s->most, err));
    lafs_pool_for(s->pool, s->rows, find_sums, s);
    LAFS_TRY(lafs_comm_gather(s->comm, s->sums, (size_t)s->rows * 2 * sizeof *s->sums, err));
    lafs_pool_for(s->pool, s->rows, find_gradient, s);
    *loss = 0;
    for (int64_t i = own; i < own + n; i++) {
        double logit, lse = log_sum(s, i, &logit);
        *loss += (most_of_all(s, i) + lse - logit) / (double)n;
    }

    b->ops->upload(b->dev, s->cosine, s->host_cosine, all);
    b->ops->linear_bwd_w(b->dev, precision(s), s->rows, s->dim, s->count, s->unit, s->cosine, s->dweight_unit, NULL);
    b->ops->linear_bwd_x(b->dev, precision(s), &rows, s->dim, s->count, s->cosine, s->weight_unit, s->dunit);
    b->ops->download(b->dev, s->host_rows, s->dunit, (size_t)(s->rows * s->dim) * sizeof(float));
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(return_gradients(s, err));
    if (!n) return LAFS_OK;
    b->ops->upload(b->dev, s->dunit, s->host_mine, (size_t)(n * s->dim) * sizeof(float));
    b->ops->l2norm_bwd(b->dev, n, s->dim, s->unit + own * s->dim, s->norm + own, s->dunit, demb, 0);
    return b->ops->sync(b->dev, err);
}

/* -- files -- */

lafs_status lafs_split_gather(const struct lafs_split *s, const float *value, float *whole, struct lafs_err *err)
{
    const int ranks = lafs_comm_size(s->comm), rank = lafs_comm_rank(s->comm);
    const int64_t most = (s->classes + ranks - 1) / ranks, width = GATHERED_ROWS * s->dim;
    float *all;
    LAFS_TRY(lafs_alloc0(&all, (size_t)ranks * (size_t)width, sizeof *all, err));
    lafs_status st = LAFS_OK;
    for (int64_t at = 0; at < most && st == LAFS_OK; at += GATHERED_ROWS) {
        int64_t n = s->count - at < GATHERED_ROWS ? s->count - at : GATHERED_ROWS;
        if (n > 0)
            s->b->ops->download(s->b->dev, all + rank * width, value + at * s->dim, (size_t)(n * s->dim) * sizeof *all);
        LAFS_TRY_GOTO(st, s->b->ops->sync(s->b->dev, err), out);
        LAFS_TRY_GOTO(st, lafs_comm_gather(s->comm, all, (size_t)width * sizeof *all, err), out);
        for (int p = 0; p < ranks && whole; p++) {
            int64_t first = s->classes * p / ranks + at, end = s->classes * (p + 1) / ranks;
            int64_t rows = end - first < GATHERED_ROWS ? end - first : GATHERED_ROWS;
            if (rows > 0)
                memcpy(whole + first * s->dim, all + p * width, (size_t)(rows * s->dim) * sizeof *all);
        }
    }
out:
    lafs_free(all);
    return st;
}

lafs_status lafs_split_read(const struct lafs_split *s, const struct lafs_st *st, const char *name, float *value,
                            struct lafs_err *err)
{
    const int64_t shape[2] = {s->classes, s->dim};
    const struct lafs_st_tensor *t = lafs_st_find(st, name);
    float *host;
    if (!t) return lafs_fail(err, LAFS_FAILED, "there is no tensor '%.100s'", name);
    LAFS_TRY(lafs_st_check_shape(t, shape, 2, err));
    struct lafs_st_tensor part = *t;
    part.count = s->count * s->dim;
    part.data = (const char *)t->data + (size_t)(s->first * s->dim) * lafs_dtype_size(t->dtype);
    LAFS_TRY(lafs_alloc(&host, (size_t)part.count, sizeof *host, err));
    lafs_st_to_f32(&part, host);
    s->b->ops->upload(s->b->dev, value, host, (size_t)part.count * sizeof *host);
    lafs_status got = s->b->ops->sync(s->b->dev, err); /* before host goes */
    lafs_free(host);
    return got;
}
