#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "eval/boot.h"
#include "eval/sort.h"

enum { MOST_RATES = 64 };

/* A replicate's value depends on its number alone, so the threads that share them out change nothing. */
struct boot {
    const struct lafs_paired *p;
    uint64_t seed;
    double threshold;
    const double *fmr; /* (k); NULL: accuracy */
    int k, nearest;
    const uint64_t *order; /* (n) pairs by ascending score; only with fmr */
    int64_t replicates;
    int32_t *weight; /* (threads, people) */
    double *value;   /* (k, replicates) */
};

void lafs_boot_draw(int32_t *weight, int64_t people, uint64_t seed, int64_t replicate)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_BOOTSTRAP, (uint64_t)replicate, 0, 0));
    memset(weight, 0, (size_t)people * sizeof *weight);
    for (int64_t i = 0; i < people; i++) weight[lafs_rng_below(&r, (uint64_t)people)]++;
}

double lafs_boot_accuracy(const struct lafs_paired *p, double threshold, const int32_t *weight)
{
    int64_t right = 0, all = 0;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t c = lafs_boot_times(p, i, weight);
        all += c;
        if (((double)p->score[i] >= threshold) == (p->same[i] != 0)) right += c;
    }
    return all ? (double)right / (double)all : NAN;
}

/* Pairs that have been let through. */
struct passed {
    int64_t genuine, impostor;
};

/* Walks down from the highest score: lets the next group of equal scores through, which ends at order[at - 1]; returns
 * where the one below it ends. */
static int64_t let_group(const struct boot *b, const int32_t *w, int64_t at, struct passed *in)
{
    const struct lafs_paired *p = b->p;
    const float s = p->score[b->order[at - 1]];
    for (; at > 0 && p->score[b->order[at - 1]] == s; at--) {
        const int64_t q = (int64_t)b->order[at - 1], c = lafs_boot_times(p, q, w);
        *(p->same[q] ? &in->genuine : &in->impostor) += c;
    }
    return at;
}

/* FNMR at the lowest threshold that keeps FMR <= fmr[j]. */
static void fnmr_at_most(const struct boot *b, const int32_t *w, const struct passed *all, double *out)
{
    struct passed in = {0};
    for (int64_t at = b->p->n; at > 0;) {
        int open = 0;
        at = let_group(b, w, at, &in);
        for (int j = 0; j < b->k; j++)
            if ((double)in.impostor <= b->fmr[j] * (double)all->impostor * (1 + 1e-12)) {
                out[j] = 1 - (double)in.genuine / (double)all->genuine;
                open = 1;
            }
        if (!open) break;
    }
}

/* A corner of the ROC, which comes behind those that were taken before: at equal distance the larger rate, at equal
 * rate the lower FNMR. 0: it is too far for all rates, and so are those behind it. */
static int take_corner(const struct boot *b, const struct passed *c, const struct passed *all, double *away,
                       double *out)
{
    int open = 0;
    for (int j = 0; j < b->k; j++) {
        const double off = (double)c->impostor - b->fmr[j] * (double)all->impostor;
        open |= off < 0 || off <= away[j];
        if (fabs(off) > away[j]) continue;
        away[j] = fabs(off);
        out[j] = 1 - (double)c->genuine / (double)all->genuine;
    }
    return open;
}

static int in_line(const struct passed *a, const struct passed *b, const struct passed *c)
{
    return (b->impostor - a->impostor) * (c->genuine - b->genuine) ==
           (b->genuine - a->genuine) * (c->impostor - b->impostor);
}

/* FNMR at the corner whose FMR is nearest to fmr[j], as lafs_roc_nearest has it. */
static void fnmr_nearest(const struct boot *b, const int32_t *w, const struct passed *all, double *out)
{
    struct passed corner = {0}, last = {0}, in = {0}; /* corner: taken; last: one, unless the next is in line */
    double away[MOST_RATES];
    for (int j = 0; j < b->k; j++) away[j] = INFINITY;
    take_corner(b, &corner, all, away, out);
    for (int64_t at = b->p->n; at > 0; last = in) {
        at = let_group(b, w, at, &in);
        if (in_line(&corner, &last, &in)) continue;
        if (!take_corner(b, &last, all, away, out)) return;
        corner = last;
    }
    take_corner(b, &last, all, away, out);
}

static void fnmr_of(const struct boot *b, const int32_t *w, double *out)
{
    const struct lafs_paired *p = b->p;
    struct passed all = {0};
    for (int64_t i = 0; i < p->n; i++)
        *(p->same[i] ? &all.genuine : &all.impostor) += lafs_boot_times(p, i, w);
    for (int j = 0; j < b->k; j++) out[j] = all.genuine && all.impostor ? 1 : NAN;
    if (!all.genuine || !all.impostor) return;
    (b->nearest ? fnmr_nearest : fnmr_at_most)(b, w, &all, out);
}

static void replicate(void *arg, int64_t r, int worker)
{
    struct boot *b = arg;
    int32_t *w = b->weight + worker * b->p->people;
    lafs_boot_draw(w, b->p->people, b->seed, r);
    if (!b->fmr) {
        b->value[r] = lafs_boot_accuracy(b->p, b->threshold, w);
        return;
    }
    double out[MOST_RATES];
    fnmr_of(b, w, out);
    for (int j = 0; j < b->k; j++) b->value[(int64_t)j * b->replicates + r] = out[j];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *x, int64_t n, double q)
{
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

void lafs_boot_interval(double *x, int64_t n, struct lafs_interval *out)
{
    int64_t m = 0;
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) x[m++] = x[i];
    if (m == 0 || m * 2 < n) {
        out->low = out->high = out->std = NAN;
        return;
    }
    qsort(x, (size_t)m, sizeof *x, by_value);
    for (int64_t i = 0; i < m; i++) mean += x[i] / (double)m;
    for (int64_t i = 0; i < m; i++) var += (x[i] - mean) * (x[i] - mean) / (double)m;
    out->low = quantile(x, m, 0.025);
    out->high = quantile(x, m, 0.975);
    out->std = sqrt(var);
}

static lafs_status check(const struct lafs_paired *p, int64_t replicates, int k, struct lafs_err *err)
{
    if (replicates < 1 || k < 1 || k > MOST_RATES || p->people < 1 || p->n > INT32_MAX)
        return lafs_fail(err, LAFS_USAGE, "bootstrap of %lld replicates over %lld people and %lld pairs",
                         (long long)replicates, (long long)p->people, (long long)p->n);
    for (int64_t i = 0; i < p->n; i++)
        if (p->pa[i] < 0 || p->pa[i] >= p->people || p->pb[i] < 0 || p->pb[i] >= p->people || isnan(p->score[i]))
            return lafs_fail(err, LAFS_USAGE, "pair %lld has no person or no score", (long long)i + 1);
    return LAFS_OK;
}

static lafs_status run(struct boot *b, struct lafs_pool *pool, struct lafs_interval *out, struct lafs_err *err)
{
    const struct lafs_paired *p = b->p;
    int threads = pool ? lafs_pool_threads(pool) : 1;
    size_t weights, values;
    if (!lafs_mul_ok((size_t)threads, (size_t)p->people, &weights) ||
        !lafs_mul_ok((size_t)b->replicates, (size_t)b->k, &values))
        return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&b->weight, weights, sizeof *b->weight, err));
    lafs_status st = lafs_alloc(&b->value, values, sizeof *b->value, err);
    if (st == LAFS_OK) {
        for (int64_t i = 0; i < p->people; i++) b->weight[i] = 1; /* the data as they are */
        double as_is[MOST_RATES];
        if (b->fmr) fnmr_of(b, b->weight, as_is);
        else as_is[0] = lafs_boot_accuracy(p, b->threshold, b->weight);
        lafs_pool_for(pool, b->replicates, replicate, b);
        for (int j = 0; j < b->k; j++) {
            out[j].value = as_is[j];
            lafs_boot_interval(b->value + (int64_t)j * b->replicates, b->replicates, out + j);
        }
    }
    lafs_free(b->weight);
    lafs_free(b->value);
    return st;
}

lafs_status lafs_bootstrap_accuracy(const struct lafs_paired *p, double threshold, int64_t replicates, uint64_t seed,
                                    struct lafs_pool *pool, struct lafs_interval *out, struct lafs_err *err)
{
    LAFS_TRY(check(p, replicates, 1, err));
    struct boot b = {.p = p, .seed = seed, .threshold = threshold, .k = 1, .replicates = replicates};
    return run(&b, pool, out, err);
}

lafs_status lafs_bootstrap_fnmr(const struct lafs_paired *p, const double *fmr, int k, int nearest,
                                int64_t replicates, uint64_t seed, struct lafs_pool *pool, struct lafs_interval *out,
                                struct lafs_err *err)
{
    LAFS_TRY(check(p, replicates, k, err));
    uint64_t *order = NULL, *tmp = NULL;
    struct boot b = {.p = p, .seed = seed, .fmr = fmr, .k = k, .nearest = nearest, .replicates = replicates};
    lafs_status st;
    LAFS_TRY_GOTO(st, lafs_alloc(&order, (size_t)p->n, sizeof *order, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&tmp, (size_t)p->n, sizeof *tmp, err), done);
    lafs_order_f32(p->score, p->n, order, tmp);
    b.order = order;
    st = run(&b, pool, out, err);
done:
    lafs_free(order);
    lafs_free(tmp);
    return st;
}
