#include "eval/compare.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/boot.h"
#include "eval/sort.h"

/* -- files -- */

void lafs_answers_release(struct lafs_answers *a)
{
    lafs_free(a->score);
    memset(a, 0, sizeof *a);
}

static lafs_status take(struct lafs_answers *a, const struct lafs_json *j, struct lafs_err *err)
{
    if (j->type != LAFS_JSON_OBJECT) return lafs_fail(err, LAFS_FAILED, "it is no JSON object");
    const struct lafs_json *scores = lafs_json_get(j, "scores"), *threshold = lafs_json_get(j, "threshold"),
                           *pairs = lafs_json_get(j, "pairs_sha256");
    if (!scores || scores->type != LAFS_JSON_ARRAY || scores->count == 0)
        return lafs_fail(err, LAFS_FAILED, "it has no scores: was it written with --scores?");
    if (!threshold || threshold->type != LAFS_JSON_NUMBER || !isfinite(threshold->num))
        return lafs_fail(err, LAFS_FAILED, "it has no threshold");
    if (!pairs || pairs->type != LAFS_JSON_STRING || strlen(pairs->str) != 64 ||
        strspn(pairs->str, "0123456789abcdef") != 64)
        return lafs_fail(err, LAFS_FAILED, "it does not say of which pairs its scores are");
    LAFS_TRY(lafs_alloc(&a->score, scores->count, sizeof *a->score, err));
    for (const struct lafs_json *s = scores->child; s; s = s->next) {
        int missing = s->type == LAFS_JSON_NULL;
        if (!missing && !(s->type == LAFS_JSON_NUMBER && s->num >= -1 && s->num <= 1))
            return lafs_fail(err, LAFS_FAILED, "score %lld is no number from -1 to 1", (long long)a->n + 1);
        a->score[a->n++] = missing ? NAN : (float)s->num;
    }
    a->threshold = threshold->num;
    memcpy(a->pairs, pairs->str, sizeof a->pairs);
    return LAFS_OK;
}

lafs_status lafs_answers_parse(struct lafs_answers *a, const char *text, size_t size, struct lafs_err *err)
{
    struct lafs_json *j;
    memset(a, 0, sizeof *a);
    LAFS_TRY(lafs_json_parse(&j, text, size, err));
    lafs_status st = take(a, j, err);
    lafs_json_free(j);
    if (st != LAFS_OK) lafs_answers_release(a);
    return st;
}

lafs_status lafs_answers_read(struct lafs_answers *a, const char *path, struct lafs_err *err)
{
    enum { MOST = 1 << 28 };
    struct lafs_buf b;
    memset(a, 0, sizeof *a);
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, MOST, err);
    if (st == LAFS_OK) {
        const char *text = lafs_buf_str(&b);
        st = text ? lafs_answers_parse(a, text, b.size, err) : lafs_buf_check(&b, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    }
    lafs_buf_release(&b);
    return st;
}

/* -- comparing -- */

struct versus {
    const struct lafs_paired *p;
    const struct lafs_answers *model[2]; /* of, against */
    int models[2];
    uint64_t *order;   /* (models[0] + models[1], n) pairs by ascending score of each model */
    uint64_t seed;
    int64_t replicates;
    int32_t *weight;   /* (threads, people) */
    double *value;     /* (2, replicates) differences of accuracy and of AUC */
};

/* The share of couples of a genuine and an impostor pair that are in the right order, ties half: from the lowest score
 * up, a group of equal scores at a time. */
static double auc(const struct lafs_paired *p, const uint64_t *order, const int32_t *w)
{
    double right = 0, genuines = 0, impostors = 0;
    for (int64_t at = 0; at < p->n;) {
        float s = p->score[order[at]];
        double g = 0, i = 0;
        for (; at < p->n && p->score[order[at]] == s; at++) {
            int64_t q = (int64_t)order[at];
            *(p->same[q] ? &g : &i) += (double)lafs_boot_times(p, q, w);
        }
        right += g * (impostors + i / 2);
        genuines += g;
        impostors += i;
    }
    return genuines > 0 && impostors > 0 ? right / (genuines * impostors) : NAN;
}

/* Means of both figures over a side's models; with r, over as many drawn from them. */
static void side(const struct versus *v, int k, const int32_t *w, struct lafs_rng *r, double mean[2])
{
    int n = v->models[k], first = k ? v->models[0] : 0;
    mean[0] = mean[1] = 0;
    for (int i = 0; i < n; i++) {
        int m = r && n > 1 ? (int)lafs_rng_below(r, (uint64_t)n) : i;
        struct lafs_paired p = *v->p;
        p.score = v->model[k][m].score;
        mean[0] += lafs_boot_accuracy(&p, v->model[k][m].threshold, w) / n;
        mean[1] += auc(&p, v->order + (int64_t)(first + m) * p.n, w) / n;
    }
}

static void replicate(void *arg, int64_t number, int worker)
{
    struct versus *v = arg;
    int32_t *w = v->weight + worker * v->p->people;
    double mean[2][2];
    lafs_boot_draw(w, v->p->people, v->seed, number);
    for (int k = 0; k < 2; k++) {
        struct lafs_rng r;
        lafs_rng_init(&r, lafs_rng_key(v->seed, LAFS_RNG_BOOTSTRAP, (uint64_t)number, (uint64_t)k + 1, 0));
        side(v, k, w, &r, mean[k]);
    }
    for (int f = 0; f < 2; f++) v->value[f * v->replicates + number] = mean[0][f] - mean[1][f];
}

static lafs_status check(const struct versus *v, struct lafs_err *err)
{
    const struct lafs_paired *p = v->p;
    if (v->models[0] < 1 || v->models[1] < 1 || v->replicates < 0 || p->people < 1 || p->n < 1 || p->n > INT32_MAX)
        return lafs_fail(err, LAFS_USAGE, "%d models against %d on %lld pairs, %lld replicates", v->models[0],
                         v->models[1], (long long)p->n, (long long)v->replicates);
    for (int64_t i = 0; i < p->n; i++)
        if (p->pa[i] < 0 || p->pa[i] >= p->people || p->pb[i] < 0 || p->pb[i] >= p->people)
            return lafs_fail(err, LAFS_USAGE, "pair %lld has no person", (long long)i + 1);
    for (int k = 0; k < 2; k++)
        for (int m = 0; m < v->models[k]; m++) {
            if (v->model[k][m].n != p->n)
                return lafs_fail(err, LAFS_USAGE, "%lld scores for %lld pairs", (long long)v->model[k][m].n,
                                 (long long)p->n);
            for (int64_t i = 0; i < p->n; i++)
                if (isnan(v->model[k][m].score[i]))
                    return lafs_fail(err, LAFS_USAGE, "pair %lld has no score", (long long)i + 1);
        }
    return LAFS_OK;
}

static lafs_status sort_all(struct versus *v, struct lafs_err *err)
{
    uint64_t *tmp;
    size_t all;
    if (!lafs_mul_ok((size_t)v->models[0] + (size_t)v->models[1], (size_t)v->p->n, &all))
        return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&v->order, all, sizeof *v->order, err));
    LAFS_TRY(lafs_alloc(&tmp, (size_t)v->p->n, sizeof *tmp, err));
    uint64_t *at = v->order;
    for (int k = 0; k < 2; k++)
        for (int m = 0; m < v->models[k]; m++, at += v->p->n)
            lafs_order_f32(v->model[k][m].score, v->p->n, at, tmp);
    lafs_free(tmp);
    return LAFS_OK;
}

static void summarise(const struct versus *v, int f, struct lafs_difference *d)
{
    double *x = v->value + f * v->replicates, better = 0;
    int64_t n = 0;
    d->by.value = d->of - d->against;
    for (int64_t r = 0; r < v->replicates; r++) {
        if (isnan(x[r])) continue;
        better += x[r] > 0 ? 1 : x[r] == 0 ? 0.5 : 0;
        n++;
    }
    d->better = n ? better / (double)n : NAN;
    lafs_boot_interval(x, v->replicates, &d->by); /* reorders */
}

lafs_status lafs_compare(const struct lafs_paired *p, const struct lafs_answers *of, int ofs,
                         const struct lafs_answers *against, int againsts, int64_t replicates, uint64_t seed,
                         struct lafs_pool *pool, struct lafs_comparison *out, struct lafs_err *err)
{
    struct versus v = {
        .p = p, .model = {of, against}, .models = {ofs, againsts}, .seed = seed, .replicates = replicates};
    size_t weights;
    lafs_status st;
    memset(out, 0, sizeof *out);
    LAFS_TRY(check(&v, err));
    if (!lafs_mul_ok((size_t)(pool ? lafs_pool_threads(pool) : 1), (size_t)p->people, &weights))
        return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY_GOTO(st, sort_all(&v, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&v.weight, weights, sizeof *v.weight, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&v.value, (size_t)replicates + 1, 2 * sizeof *v.value, err), done);
    double mean[2][2];
    for (int64_t i = 0; i < p->people; i++) v.weight[i] = 1; /* the data as they are */
    for (int k = 0; k < 2; k++) side(&v, k, v.weight, NULL, mean[k]);
    out->accuracy.of = mean[0][0], out->accuracy.against = mean[1][0];
    out->auc.of = mean[0][1], out->auc.against = mean[1][1];
    lafs_pool_for(pool, replicates, replicate, &v);
    summarise(&v, 0, &out->accuracy);
    summarise(&v, 1, &out->auc);
done:
    lafs_free(v.order);
    lafs_free(v.weight);
    lafs_free(v.value);
    return st;
}
