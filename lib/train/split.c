#include "train/split.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { GATHERED_ROWS = 256 /* of each process at once, on the way to the first one */ };

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
    s->dev_row = lafs_arena_take(a, rows, sizeof *s->dev_row);
    s->dev_most = lafs_arena_take(a, rows, sizeof(double));
    s->dev_sums = lafs_arena_take(a, 2 * rows, sizeof(double));
}

lafs_status lafs_split_init(struct lafs_split *s, struct lafs_err *err)
{
    const size_t rows = (size_t)s->rows, dim = (size_t)s->dim, ranks = (size_t)lafs_comm_size(s->comm);
    s->linked = lafs_comm_linked(s->comm, s->b);
    LAFS_TRY(lafs_alloc0(&s->off, rows + 1, sizeof *s->off, err));
    if (!s->linked) LAFS_TRY(lafs_alloc0(&s->host_rows, 2 * rows * dim, sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&s->row, rows, sizeof *s->row, err));
    LAFS_TRY(lafs_alloc0(&s->most, (ranks + 1) * rows, sizeof *s->most, err));
    LAFS_TRY(lafs_alloc0(&s->sums, (ranks + 1) * rows * 2, sizeof *s->sums, err));
    for (int64_t i = 0; i <= s->rows; i++) s->off[i] = i;
    s->b->ops->upload(s->b->dev, s->dev_off, s->off, (rows + 1) * sizeof *s->off);
    return s->b->ops->sync(s->b->dev, err);
}

size_t lafs_split_memory(const struct lafs_split *s)
{
    const size_t ranks = (size_t)lafs_comm_size(s->comm), linked = (size_t)lafs_comm_linked(s->comm, s->b);
    const size_t row = sizeof *s->off + sizeof *s->row + 3 * (ranks + 1) * sizeof(double) +
                       (linked ? 0 : 2 * (size_t)s->dim * sizeof(float));
    return (size_t)s->rows * row;
}

void lafs_split_release(struct lafs_split *s)
{
    void *owned[] = {s->off, s->host_rows, s->row, s->most, s->sums};
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

/* -- a pass -- */

/* Everybody's embeddings and rows on the device. */
static lafs_status gather_rows(struct lafs_split *s, int64_t n, const float *emb, const struct lafs_target *target,
                               double share, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const int64_t own = lafs_comm_rank(s->comm) * s->micro;
    const size_t each = (size_t)(s->micro * s->dim) * sizeof(float), there = (size_t)(n * s->dim) * sizeof(float);
    for (int64_t i = 0; i < s->micro; i++)
        s->row[own + i] = i < n ? (struct lafs_margin_row){target[i], share / (double)n} : (struct lafs_margin_row){0};
    LAFS_TRY(lafs_comm_gather(s->comm, s->row, (size_t)s->micro * sizeof *s->row, err));
    b->ops->upload(b->dev, s->dev_row, s->row, (size_t)s->rows * sizeof *s->row);
    if (s->linked) {
        b->ops->zero(b->dev, s->emb + own * s->dim, each);
        if (n) b->ops->copy(b->dev, s->emb + own * s->dim, emb, there);
        return lafs_comm_link_gather(s->comm, s->emb, each, err);
    }
    float *mine = s->host_rows + own * s->dim;
    memset(mine, 0, each);
    if (n) b->ops->download(b->dev, mine, emb, there);
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(lafs_comm_gather(s->comm, s->host_rows, each, err));
    b->ops->upload(b->dev, s->emb, s->host_rows, (size_t)(s->rows * s->dim) * sizeof(float));
    return LAFS_OK;
}

/* Each row's largest logit of all, behind those of the processes, and on the device. */
static lafs_status agree_on_most(struct lafs_split *s, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const size_t each = (size_t)s->rows * sizeof(double);
    const int ranks = lafs_comm_size(s->comm);
    double *most = s->most + ranks * s->rows;
    b->ops->download(b->dev, s->most + lafs_comm_rank(s->comm) * s->rows, s->dev_most, each);
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(lafs_comm_gather(s->comm, s->most, each, err));
    for (int64_t i = 0; i < s->rows; i++) {
        most[i] = -INFINITY;
        for (int p = 0; p < ranks; p++) most[i] = fmax(most[i], s->most[p * s->rows + i]);
    }
    b->ops->upload(b->dev, s->dev_most, most, each);
    return LAFS_OK;
}

/* Each row's sum of exponentials, and target x logit, behind those of the processes; the first on the device. */
static lafs_status agree_on_sums(struct lafs_split *s, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const size_t each = 2 * (size_t)s->rows * sizeof(double);
    const int ranks = lafs_comm_size(s->comm);
    double *sum = s->sums + 2 * ranks * s->rows, *logit = sum + s->rows;
    b->ops->download(b->dev, s->sums + 2 * lafs_comm_rank(s->comm) * s->rows, s->dev_sums, each);
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(lafs_comm_gather(s->comm, s->sums, each, err));
    for (int64_t i = 0; i < s->rows; i++) {
        sum[i] = logit[i] = 0;
        for (int p = 0; p < ranks; p++) {
            sum[i] += s->sums[2 * (p * s->rows + i)];
            logit[i] += s->sums[2 * (p * s->rows + i) + 1];
        }
    }
    b->ops->upload(b->dev, s->dev_sums, sum, (size_t)s->rows * sizeof *sum);
    return LAFS_OK;
}

/* s->dunit (the gradients of all unit embeddings, by the classes here) goes to whom it belongs to; what comes back is
 * added in the order of the processes: the first (micro, dim) of s->emb. */
static lafs_status return_gradients(struct lafs_split *s, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const int64_t size = s->micro * s->dim;
    const size_t each = (size_t)size * sizeof(float), all = (size_t)(s->rows * s->dim) * sizeof(float);
    if (s->linked) {
        LAFS_TRY(lafs_comm_link_exchange(s->comm, s->dunit, s->emb, each, err));
    } else {
        float *came = s->host_rows + s->rows * s->dim;
        b->ops->download(b->dev, s->host_rows, s->dunit, all);
        LAFS_TRY(b->ops->sync(b->dev, err));
        LAFS_TRY(lafs_comm_exchange(s->comm, s->host_rows, came, each, err));
        b->ops->upload(b->dev, s->emb, came, all);
    }
    for (int p = 1; p < lafs_comm_size(s->comm); p++) b->ops->axpy(b->dev, size, 1, s->emb + p * size, s->emb);
    return LAFS_OK;
}

lafs_status lafs_split_pass(struct lafs_split *s, int64_t n, const float *emb, const struct lafs_target *target,
                            double share, double *loss, float *demb, struct lafs_err *err)
{
    const struct lafs_backend *b = s->b;
    const struct lafs_seqs rows = {s->rows, s->off, s->dev_off, 1};
    const struct lafs_margin_part part = {s->rows, s->count, s->first, s->dev_row, s->kind, (float)s->scale,
                                          (float)s->margin};
    const int64_t own = lafs_comm_rank(s->comm) * s->micro;
    const double *most = s->most + lafs_comm_size(s->comm) * s->rows;
    const double *sum = s->sums + 2 * lafs_comm_size(s->comm) * s->rows, *logit = sum + s->rows;
    LAFS_TRY(gather_rows(s, n, emb, target, share, err));
    b->ops->l2norm(b->dev, s->rows, s->dim, s->emb, s->unit, s->norm);
    b->ops->linear(b->dev, precision(s), &rows, s->dim, s->count, s->unit, s->weight_unit, NULL, LAFS_ACT_NONE, NULL,
                   NULL, s->cosine);
    b->ops->margin_most(b->dev, &part, s->cosine, s->dev_most);
    LAFS_TRY(agree_on_most(s, err));
    b->ops->margin_sums(b->dev, &part, s->cosine, s->dev_most, s->dev_sums);
    LAFS_TRY(agree_on_sums(s, err));
    b->ops->margin_slopes(b->dev, &part, s->dev_most, s->dev_sums, s->cosine);
    *loss = 0;
    for (int64_t i = own; i < own + n; i++) *loss += (most[i] + log(sum[i]) - logit[i]) / (double)n;

    b->ops->linear_bwd_w(b->dev, precision(s), s->rows, s->dim, s->count, s->unit, s->cosine, s->dweight_unit, NULL);
    b->ops->linear_bwd_x(b->dev, precision(s), &rows, s->dim, s->count, s->cosine, s->weight_unit, s->dunit);
    LAFS_TRY(return_gradients(s, err));
    if (n) b->ops->l2norm_bwd(b->dev, n, s->dim, s->unit + own * s->dim, s->norm + own, s->emb, demb, 0);
    return b->ops->sync(b->dev, err);
}

/* -- files -- */

lafs_status lafs_split_gather(const struct lafs_split *s, const float *value, float *whole, struct lafs_err *err)
{
    const int ranks = lafs_comm_size(s->comm), rank = lafs_comm_rank(s->comm);
    const int64_t most = (s->classes + ranks - 1) / ranks, width = GATHERED_ROWS * s->dim;
    float *all;
    LAFS_TRY(lafs_comm_alone(s->comm, lafs_alloc0(&all, (size_t)ranks * (size_t)width, sizeof *all, err)));
    lafs_status st = LAFS_OK;
    for (int64_t at = 0; at < most && st == LAFS_OK; at += GATHERED_ROWS) {
        int64_t n = s->count - at < GATHERED_ROWS ? s->count - at : GATHERED_ROWS;
        if (n > 0)
            s->b->ops->download(s->b->dev, all + rank * width, value + at * s->dim, (size_t)(n * s->dim) * sizeof *all);
        LAFS_TRY_GOTO(st, lafs_comm_alone(s->comm, s->b->ops->sync(s->b->dev, err)), out);
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
