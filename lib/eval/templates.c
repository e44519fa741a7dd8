#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eval/metrics.h"

struct place {
    int64_t template_id, media_id, image;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->template_id != y->template_id) return x->template_id < y->template_id ? -1 : 1;
    if (x->media_id != y->media_id) return x->media_id < y->media_id ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

/* sum (dim) += the mean over the images p[0..n), all of one media; returns how many of them were there. */
static int64_t add_media(double *sum, double *mean, const struct place *p, int64_t n, const float *e, int dim,
                         const int64_t *row, const float *weight, int unit_norm)
{
    int64_t there = 0;
    memset(mean, 0, (size_t)dim * sizeof *mean);
    for (int64_t i = 0; i < n; i++) {
        int64_t r = row[p[i].image];
        if (r < 0) continue;
        const float *x = e + r * dim;
        double w = weight ? weight[p[i].image] : 1, length = 0;
        if (unit_norm) {
            for (int d = 0; d < dim; d++) length += (double)x[d] * x[d];
            if (length > 0) w /= sqrt(length);
        }
        for (int d = 0; d < dim; d++) mean[d] += w * x[d];
        there++;
    }
    for (int d = 0; d < dim && there; d++) sum[d] += mean[d] / (double)there;
    return there;
}

static void fill_template(float *out, double *sum, double *mean, const struct place *p, int64_t n, const float *e,
                          int dim, const int64_t *row, const float *weight, int unit_norm)
{
    memset(sum, 0, (size_t)dim * sizeof *sum);
    for (int64_t from = 0; from < n;) {
        int64_t to = from;
        while (to < n && p[to].media_id == p[from].media_id) to++;
        add_media(sum, mean, p + from, to - from, e, dim, row, weight, unit_norm);
        from = to;
    }
    double length = 0;
    for (int d = 0; d < dim; d++) length += sum[d] * sum[d];
    length = sqrt(length);
    for (int d = 0; d < dim; d++) out[d] = length > 0 ? (float)(sum[d] / length) : 0;
}

lafs_status lafs_templates_build(struct lafs_templates *t, const float *e, int dim, const int64_t *row,
                                 const float *weight, const int64_t *template_id, const int64_t *media_id,
                                 int64_t images, int unit_norm, struct lafs_err *err)
{
    memset(t, 0, sizeof *t);
    struct place *p = NULL;
    double *sum = NULL;
    size_t cells;
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_alloc(&p, (size_t)images, sizeof *p, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&sum, (size_t)dim * 2, sizeof *sum, err), fail);
    for (int64_t i = 0; i < images; i++) p[i] = (struct place){template_id[i], media_id[i], i};
    qsort(p, (size_t)images, sizeof *p, by_place);
    for (int64_t i = 0; i < images; i++) t->count += i == 0 || p[i].template_id != p[i - 1].template_id;
    t->dim = dim;
    if (!lafs_mul_ok((size_t)t->count, (size_t)dim, &cells)) {
        st = lafs_fail(err, LAFS_FAILED, "out of memory");
        goto fail;
    }
    LAFS_TRY_GOTO(st, lafs_alloc(&t->id, (size_t)t->count, sizeof *t->id, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&t->e, cells, sizeof *t->e, err), fail);
    int64_t k = 0;
    for (int64_t from = 0; from < images; k++) {
        int64_t to = from;
        while (to < images && p[to].template_id == p[from].template_id) to++;
        t->id[k] = p[from].template_id;
        fill_template(t->e + k * dim, sum, sum + dim, p + from, to - from, e, dim, row, weight, unit_norm);
        from = to;
    }
    goto done;
fail:
    lafs_templates_release(t);
done:
    lafs_free(p);
    lafs_free(sum);
    return st;
}

void lafs_templates_release(struct lafs_templates *t)
{
    lafs_free(t->id);
    lafs_free(t->e);
    memset(t, 0, sizeof *t);
}

int lafs_templates_there(const struct lafs_templates *t, int64_t position)
{
    const float *e = t->e + position * t->dim;
    for (int d = 0; d < t->dim; d++)
        if (e[d] != 0) return 1;
    return 0;
}
