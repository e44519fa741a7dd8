#include "eval/verify.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

void lafs_figures_none(const struct lafs_verify *v, int64_t genuines, int64_t impostors, struct lafs_figures *out)
{
    memset(out, 0, sizeof *out);
    out->genuines = genuines;
    out->impostors = impostors;
    out->pairs = genuines + impostors;
    out->auc = out->eer = out->eer_threshold = NAN;
    out->accuracy = out->accuracy_std = out->accuracy_low = out->accuracy_high = NAN;
    out->threshold = out->fmr = out->fnmr = NAN;
    for (int k = 0; k < v->fars; k++) {
        out->tar[k] = out->tar_far[k] = out->far_threshold[k] = NAN;
        out->fnmr_at[k] = (struct lafs_interval){NAN, NAN, NAN, NAN};
        out->val[k] = (struct lafs_val){NAN, NAN, NAN};
    }
}

static void at_rates(const struct lafs_verify *v, const struct lafs_scores *s, const struct lafs_roc *roc,
                     struct lafs_figures *out)
{
    for (int k = 0; k < v->fars; k++) {
        struct lafs_operating o = lafs_operate(s, v->far[k]);
        out->fnmr_at[k].value = o.fnmr;
        out->tar[k] = (double)llround((1 - o.fnmr) * (double)s->genuines) / (double)s->genuines;
        out->tar_far[k] = o.fmr;
        out->far_threshold[k] = o.threshold;
        if (!v->nearest) continue;
        struct lafs_roc_point p = lafs_roc_nearest(roc, v->far[k]);
        out->tar[k] = (double)p.tp / (double)roc->genuines;
        out->tar_far[k] = (double)p.fp / (double)roc->impostors;
        out->far_threshold[k] = p.threshold;
        out->fnmr_at[k].value = 1 - out->tar[k];
    }
}

static lafs_status applied(const struct lafs_verify *v, const struct lafs_paired *p, struct lafs_pool *pool,
                           struct lafs_figures *out, struct lafs_err *err)
{
    out->threshold = v->threshold;
    if (v->bootstrap > 0) {
        struct lafs_interval a;
        LAFS_TRY(lafs_bootstrap_accuracy(p, v->threshold, v->bootstrap, v->seed, pool, &a, err));
        out->accuracy_low = a.low;
        out->accuracy_high = a.high;
        out->accuracy_std = a.std;
    }
    int64_t right = 0;
    for (int64_t i = 0; i < p->n; i++) right += ((double)p->score[i] >= v->threshold) == (p->same[i] != 0);
    out->accuracy = (double)right / (double)p->n;
    return LAFS_OK;
}

static lafs_status folded(const struct lafs_verify *v, const struct lafs_paired *p, const int32_t *fold, int folds,
                          struct lafs_figures *out, struct lafs_err *err)
{
    struct lafs_kfold k;
    lafs_status st = lafs_kfold_accuracy(p->score, p->same, fold, p->n, folds, &k, NULL, NULL, NULL, NULL, err);
    if (st == LAFS_USAGE) return LAFS_OK; /* too few pairs for folds: no figure */
    if (st != LAFS_OK) return st;
    out->accuracy = k.accuracy;
    out->accuracy_std = k.std;
    out->threshold = k.threshold;
    for (int i = 0; i < v->fars; i++)
        LAFS_TRY(lafs_val_at_far(p->score, p->same, fold, p->n, folds, v->far[i], out->val + i, err));
    return LAFS_OK;
}

lafs_status lafs_verify_figures(const struct lafs_verify *v, const struct lafs_paired *p, const int32_t *fold,
                                int folds, struct lafs_pool *pool, struct lafs_figures *out, struct lafs_roc *roc,
                                struct lafs_err *err)
{
    struct lafs_scores s;
    struct lafs_roc curve = {0};
    lafs_status st;
    if (roc) memset(roc, 0, sizeof *roc);
    if (v->fars > LAFS_MAX_FARS) return lafs_fail(err, LAFS_USAGE, "more than %d rates", LAFS_MAX_FARS);
    LAFS_TRY(lafs_scores_sort(&s, p->score, p->same, p->n, err));
    lafs_figures_none(v, s.genuines, s.impostors, out);
    LAFS_TRY_GOTO(st, lafs_roc_build(&curve, &s, err), done);
    out->auc = lafs_roc_auc(&curve);
    out->eer = lafs_roc_eer(&curve, &out->eer_threshold);
    at_rates(v, &s, &curve, out);
    if (v->fars > 0 && v->bootstrap > 0)
        LAFS_TRY_GOTO(st, lafs_bootstrap_fnmr(p, v->far, v->fars, v->nearest, v->bootstrap, v->seed, pool,
                                              out->fnmr_at, err), done);
    if (v->apply) LAFS_TRY_GOTO(st, applied(v, p, pool, out, err), done);
    else if (fold) LAFS_TRY_GOTO(st, folded(v, p, fold, folds, out, err), done);
    if (!isnan(out->threshold)) {
        struct lafs_operating o = lafs_rates_at(&s, out->threshold);
        out->fmr = o.fmr;
        out->fnmr = o.fnmr;
    }
done:
    lafs_scores_release(&s);
    if (roc && st == LAFS_OK) *roc = curve;
    else lafs_roc_release(&curve);
    return st;
}

lafs_status lafs_subset_take(struct lafs_subset *s, const struct lafs_paired *p, const int32_t *fold,
                             const int32_t *keep, int32_t which, struct lafs_err *err)
{
    int64_t n = 0;
    lafs_status st;
    memset(s, 0, sizeof *s);
    for (int64_t i = 0; i < p->n; i++) n += keep[i] == which;
    LAFS_TRY_GOTO(st, lafs_alloc(&s->score, (size_t)n, sizeof *s->score, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->same, (size_t)n, sizeof *s->same, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->pa, (size_t)n, sizeof *s->pa, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->pb, (size_t)n, sizeof *s->pb, err), fail);
    if (fold) LAFS_TRY_GOTO(st, lafs_alloc(&s->fold, (size_t)n, sizeof *s->fold, err), fail);
    int64_t k = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (keep[i] != which) continue;
        s->score[k] = p->score[i];
        s->same[k] = p->same[i];
        s->pa[k] = p->pa[i];
        s->pb[k] = p->pb[i];
        if (fold) s->fold[k] = fold[i];
        k++;
    }
    s->paired = (struct lafs_paired){s->score, s->same, s->pa, s->pb, n, p->people};
    return LAFS_OK;
fail:
    lafs_subset_release(s);
    return st;
}

void lafs_subset_release(struct lafs_subset *s)
{
    lafs_free(s->score);
    lafs_free(s->same);
    lafs_free(s->pa);
    lafs_free(s->pb);
    lafs_free(s->fold);
    memset(s, 0, sizeof *s);
}

static int32_t root(int32_t *parent, int32_t i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

lafs_status lafs_people_from_pairs(const int32_t *a, const int32_t *b, const uint8_t *same, int64_t n,
                                   int64_t templates, int32_t *person, int64_t *people, struct lafs_err *err)
{
    int32_t *parent;
    if (templates > INT32_MAX) return lafs_fail(err, LAFS_FAILED, "too many templates");
    LAFS_TRY(lafs_alloc(&parent, (size_t)templates, sizeof *parent, err));
    for (int64_t i = 0; i < templates; i++) parent[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        if (!same[i]) continue;
        int32_t x = root(parent, a[i]), y = root(parent, b[i]);
        parent[x > y ? x : y] = x > y ? y : x; /* the root is the smallest member */
    }
    *people = 0;
    for (int64_t i = 0; i < templates; i++) { /* roots come before their members */
        int32_t r = root(parent, (int32_t)i);
        person[i] = r == i ? (int32_t)(*people)++ : person[r];
    }
    lafs_free(parent);
    return LAFS_OK;
}
