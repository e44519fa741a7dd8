#include "eval/identify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eval/boot.h"

const int lafs_rank[LAFS_RANKS] = {1, 5, 10};

enum { FIGURES = LAFS_RANKS + LAFS_MAX_FPIRS + 1 }; /* that have an interval */

struct run {
    const struct lafs_identify *v;
    const struct lafs_found *f;
    int64_t n, people;
    const struct lafs_found **other; /* (others) probes without a mate, best first */
    int64_t others;
    int32_t *weight;                 /* (threads, people) */
    double *value;                   /* (FIGURES, bootstrap) */
};

static int by_best(const void *a, const void *b)
{
    const struct lafs_found *x = *(const struct lafs_found *const *)a, *y = *(const struct lafs_found *const *)b;
    if (x->best != y->best) return x->best > y->best ? -1 : 1;
    return (x > y) - (x < y);
}

static double share(int64_t part, int64_t all) { return all ? (double)part / (double)all : NAN; }

/* The lowest score that lets at most the share `fpir` of the others pass; *met = the share that passes. */
static double threshold_at(const struct run *r, double fpir, const int32_t *w, int64_t all, double *met)
{
    const double let = fpir * (double)all * (1 + 1e-12);
    int64_t passed = 0;
    *met = share(0, all);
    for (int64_t i = 0; i < r->others;) {
        const float score = r->other[i]->best;
        int64_t same = 0;
        if (score == -INFINITY) break; /* nothing was found for the rest: they ring no alarm */
        for (; i < r->others && r->other[i]->best == score; i++) same += w[r->other[i]->person];
        if ((double)(passed + same) > let) return (double)nextafterf(score, INFINITY);
        passed += same;
        *met = share(passed, all);
    }
    return -INFINITY;
}

/* All figures with people weighted by w. thresholds, met (fpirs), applied_fpir may be NULL. */
static void figures(const struct run *r, const int32_t *w, double out[FIGURES], double *thresholds, double *met,
                    double *applied_fpir)
{
    const struct lafs_identify *v = r->v;
    int64_t mated = 0, others = 0, ranked[LAFS_RANKS] = {0}, hits[LAFS_MAX_FPIRS + 1] = {0}, alarms = 0;
    double at[LAFS_MAX_FPIRS + 1], unused;
    for (int64_t i = 0; i < r->others; i++) {
        others += w[r->other[i]->person];
        if ((double)r->other[i]->best >= v->threshold) alarms += w[r->other[i]->person];
    }
    for (int k = 0; k < v->fpirs; k++) at[k] = threshold_at(r, v->fpir[k], w, others, met ? met + k : &unused);
    at[v->fpirs] = v->threshold;
    for (int64_t i = 0; i < r->n; i++) {
        const struct lafs_found *f = r->f + i;
        const int64_t c = w[f->person];
        if (!f->mated || !c) continue;
        mated += c;
        for (int k = 0; k < LAFS_RANKS; k++)
            if (f->rank > 0 && f->rank <= lafs_rank[k]) ranked[k] += c;
        for (int k = 0; k <= v->fpirs; k++)
            if (f->rank == 1 && (double)f->best >= at[k]) hits[k] += c;
    }
    for (int k = 0; k < LAFS_RANKS; k++) out[k] = share(ranked[k], mated);
    for (int k = 0; k < v->fpirs; k++) out[LAFS_RANKS + k] = others ? share(hits[k], mated) : NAN;
    out[FIGURES - 1] = v->apply ? share(hits[v->fpirs], mated) : NAN;
    if (thresholds) memcpy(thresholds, at, (size_t)v->fpirs * sizeof *at);
    if (applied_fpir) *applied_fpir = v->apply ? share(alarms, others) : NAN;
}

static void replicate(void *arg, int64_t i, int worker)
{
    struct run *r = arg;
    int32_t *w = r->weight + worker * r->people;
    double out[FIGURES] = {0};
    lafs_boot_draw(w, r->people, r->v->seed, i);
    figures(r, w, out, NULL, NULL, NULL);
    for (int k = 0; k < FIGURES; k++) r->value[(int64_t)k * r->v->bootstrap + i] = out[k];
}

static lafs_status intervals(struct run *r, struct lafs_pool *pool, struct lafs_interval *const *out,
                             struct lafs_err *err)
{
    const int64_t b = r->v->bootstrap;
    size_t values;
    if (!lafs_mul_ok((size_t)b, FIGURES, &values)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&r->value, values, sizeof *r->value, err));
    lafs_pool_for(pool, b, replicate, r);
    for (int k = 0; k < FIGURES; k++)
        if (out[k]) lafs_boot_interval(r->value + (int64_t)k * b, b, out[k]);
    return LAFS_OK;
}

static lafs_status check(const struct lafs_identify *v, const struct lafs_found *f, int64_t n, int64_t people,
                         struct lafs_err *err)
{
    if (v->fpirs < 0 || v->fpirs > LAFS_MAX_FPIRS || v->bootstrap < 0 || n < 0 || people < 0)
        return lafs_fail(err, LAFS_USAGE, "%d rates, %lld probes", v->fpirs, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (f[i].person < 0 || f[i].person >= people || isnan(f[i].best))
            return lafs_fail(err, LAFS_USAGE, "probe %lld has no person or no score", (long long)i + 1);
    return LAFS_OK;
}

lafs_status lafs_identify_figures(const struct lafs_identify *v, const struct lafs_found *f, int64_t n, int64_t people,
                                  struct lafs_pool *pool, struct lafs_identified *out, struct lafs_err *err)
{
    struct run r = {.v = v, .f = f, .n = n, .people = people};
    const int threads = pool ? lafs_pool_threads(pool) : 1;
    double as_is[FIGURES] = {0};
    struct lafs_interval *target[FIGURES] = {0};
    size_t weights;
    lafs_status st;
    LAFS_TRY(check(v, f, n, people, err));
    if (!lafs_mul_ok((size_t)threads, (size_t)people, &weights)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY_GOTO(st, lafs_alloc(&r.other, (size_t)n, sizeof *r.other, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&r.weight, weights, sizeof *r.weight, err), done);
    for (int64_t i = 0; i < n; i++)
        if (!f[i].mated) r.other[r.others++] = f + i;
    qsort(r.other, (size_t)r.others, sizeof *r.other, by_best);
    memset(out, 0, sizeof *out);
    out->probes = n;
    out->others = r.others;
    out->mated = n - r.others;
    for (int64_t i = 0; i < people; i++) r.weight[i] = 1;
    figures(&r, r.weight, as_is, out->threshold, out->met, &out->applied_fpir);
    for (int k = 0; k < LAFS_RANKS; k++) target[k] = out->rank + k;
    for (int k = 0; k < v->fpirs; k++) target[LAFS_RANKS + k] = out->tpir + k;
    target[FIGURES - 1] = &out->applied_tpir;
    for (int k = 0; k < FIGURES; k++)
        if (target[k]) *target[k] = (struct lafs_interval){as_is[k], NAN, NAN, NAN};
    st = v->bootstrap > 0 && people > 0 ? intervals(&r, pool, target, err) : LAFS_OK;
done:
    lafs_free(r.other);
    lafs_free(r.weight);
    lafs_free(r.value);
    return st;
}
