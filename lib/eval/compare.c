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

static lafs_status take_seeds(struct lafs_answers *a, const struct lafs_json *seeds, struct lafs_err *err)
{
    if (!seeds) return LAFS_OK;
    if (seeds->type != LAFS_JSON_OBJECT || seeds->count < 1 || seeds->count > LAFS_SEEDS_MAX)
        return lafs_fail(err, LAFS_FAILED, "its seeds are no object of 1 to %d numbers", LAFS_SEEDS_MAX);
    for (const struct lafs_json *s = seeds->child; s; s = s->next) {
        struct lafs_seed *to = a->seed + a->seeds++;
        if (s->type != LAFS_JSON_NUMBER || !s->is_int || strlen(s->key) >= sizeof to->name)
            return lafs_fail(err, LAFS_FAILED, "its seed '%.40s' is no whole number, or has a long name", s->key);
        memcpy(to->name, s->key, strlen(s->key) + 1);
        to->value = s->integer;
    }
    return LAFS_OK;
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
    return take_seeds(a, lafs_json_get(j, "seeds"), err);
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

struct side {
    const struct lafs_answers *model; /* (models) */
    int models, groups, level;        /* as in lafs_comparison */
    int *group;                       /* (models) */
    double *share;                    /* (models) of its group */
    double (*figure)[2];              /* (models) accuracy and AUC on the people as they are */
    const uint64_t *order;            /* (models, n) pairs by ascending score */
};
struct versus {
    const struct lafs_paired *p;
    struct side side[2]; /* of, against */
    uint64_t *order;     /* of both */
    uint64_t seed;
    int64_t replicates;
    int32_t *weight;     /* (threads, people) */
    int *times;          /* (threads, models of both) how often each group was drawn */
    double *value;       /* (2, replicates) differences of accuracy and of AUC */
};

/* -- runs -- */

static int seeds_agree(const struct lafs_answers *a, const struct lafs_answers *b, int levels)
{
    for (int l = 0; l < levels; l++)
        if (a->seed[l].value != b->seed[l].value) return 0;
    return 1;
}

/* How many seeds of level l there are under the outer ones of model i; *at: which of them model i has. */
static int siblings(const struct side *s, int i, int l, int *at)
{
    int n = 0;
    for (int k = 0; k < s->models; k++) {
        int known = !seeds_agree(s->model + k, s->model + i, l);
        for (int h = 0; h < k && !known; h++) known = seeds_agree(s->model + h, s->model + k, l + 1);
        if (at && !known && seeds_agree(s->model + k, s->model + i, l + 1)) *at = n;
        n += !known;
    }
    return n;
}

static lafs_status check_seeds(const struct side *s, struct lafs_err *err)
{
    const int levels = s->model[0].seeds;
    for (int i = 1; i < s->models; i++) {
        const struct lafs_answers *first = s->model, *a = s->model + i;
        int other = a->seeds != levels;
        for (int l = 0; l < levels && !other; l++) other = strcmp(a->seed[l].name, first->seed[l].name) != 0;
        if (other)
            return lafs_fail(err, LAFS_USAGE, "runs 1 and %d of a side do not state the same kinds of seeds", i + 1);
        for (int k = 0; levels && k < i; k++)
            if (seeds_agree(a, s->model + k, levels))
                return lafs_fail(err, LAFS_USAGE, "runs %d and %d of a side are of the same seeds", k + 1, i + 1);
    }
    return LAFS_OK;
}

static lafs_status group_runs(struct side *s, int64_t replicates, struct lafs_err *err)
{
    int levels = s->model[0].seeds;
    lafs_status st = check_seeds(s, err);
    if (st != LAFS_OK && replicates > 0) return st;
    if (st != LAFS_OK) levels = 0; /* curves in one picture need not be of one recipe */
    LAFS_TRY(lafs_alloc0(&s->group, (size_t)s->models, sizeof *s->group, err));
    LAFS_TRY(lafs_alloc0(&s->share, (size_t)s->models, sizeof *s->share, err));
    s->level = -1, s->groups = levels ? 1 : s->models;
    for (int l = 0; l < levels && s->groups == 1; l++) {
        s->groups = siblings(s, 0, l, NULL);
        if (s->groups > 1) s->level = l;
    }
    for (int i = 0; i < s->models; i++) {
        s->group[i] = levels ? 0 : i;
        if (s->level >= 0) siblings(s, i, s->level, s->group + i);
        s->share[i] = 1;
        for (int l = s->level + 1; l < levels; l++) s->share[i] /= siblings(s, i, l, NULL);
    }
    return LAFS_OK;
}

/* -- figures -- */

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

static void judge(const struct versus *v, const struct side *s, int m, const int32_t *w, double figure[2])
{
    struct lafs_paired p = *v->p;
    p.score = s->model[m].score;
    figure[0] = lafs_boot_accuracy(&p, s->model[m].threshold, w);
    figure[1] = auc(&p, s->order + (int64_t)m * p.n, w);
}

/* Adds to mean what drawing runs moves it by, people being as they are. times: room for a number a group. */
static void draw_runs(const struct side *s, struct lafs_rng *r, int *times, double mean[2])
{
    const int drawn = s->groups - 1;
    if (drawn < 1) return;
    memset(times, 0, (size_t)s->groups * sizeof *times);
    for (int i = 0; i < drawn; i++) times[lafs_rng_below(r, (uint64_t)s->groups)]++;
    for (int m = 0; m < s->models; m++)
        for (int f = 0; f < 2; f++)
            mean[f] += s->figure[m][f] * s->share[m] * ((double)times[s->group[m]] / drawn - 1. / s->groups);
}

static void replicate(void *arg, int64_t number, int worker)
{
    struct versus *v = arg;
    int32_t *w = v->weight + worker * v->p->people;
    int *times = v->times + worker * (v->side[0].models + v->side[1].models);
    double mean[2][2] = {{0}}, figure[2];
    lafs_boot_draw(w, v->p->people, v->seed, number);
    for (int k = 0; k < 2; k++) {
        const struct side *s = &v->side[k];
        struct lafs_rng r;
        for (int m = 0; m < s->models; m++) {
            judge(v, s, m, w, figure);
            for (int f = 0; f < 2; f++) mean[k][f] += figure[f] * s->share[m] / s->groups;
        }
        lafs_rng_init(&r, lafs_rng_key(v->seed, LAFS_RNG_BOOTSTRAP, (uint64_t)number, (uint64_t)k + 1, 0));
        draw_runs(s, &r, times, mean[k]);
    }
    for (int f = 0; f < 2; f++) v->value[f * v->replicates + number] = mean[0][f] - mean[1][f];
}

/* The figures of all models on the people as they are, and their means. */
static lafs_status judge_all(struct versus *v, struct lafs_comparison *out, struct lafs_err *err)
{
    double mean[2][2] = {{0}};
    for (int64_t i = 0; i < v->p->people; i++) v->weight[i] = 1;
    for (int k = 0; k < 2; k++) {
        struct side *s = &v->side[k];
        LAFS_TRY(lafs_alloc(&s->figure, (size_t)s->models, sizeof *s->figure, err));
        for (int m = 0; m < s->models; m++) {
            judge(v, s, m, v->weight, s->figure[m]);
            for (int f = 0; f < 2; f++) mean[k][f] += s->figure[m][f] * s->share[m] / s->groups;
        }
        out->groups[k] = s->groups, out->level[k] = s->level;
    }
    out->accuracy.of = mean[0][0], out->accuracy.against = mean[1][0];
    out->auc.of = mean[0][1], out->auc.against = mean[1][1];
    return LAFS_OK;
}

static lafs_status check(const struct versus *v, struct lafs_err *err)
{
    const struct lafs_paired *p = v->p;
    const int ofs = v->side[0].models, againsts = v->side[1].models;
    if (ofs < 1 || againsts < 1 || v->replicates < 0 || p->people < 1 || p->n < 1 || p->n > INT32_MAX)
        return lafs_fail(err, LAFS_USAGE, "%d models against %d on %lld pairs, %lld replicates", ofs, againsts,
                         (long long)p->n, (long long)v->replicates);
    for (int64_t i = 0; i < p->n; i++)
        if (p->pa[i] < 0 || p->pa[i] >= p->people || p->pb[i] < 0 || p->pb[i] >= p->people)
            return lafs_fail(err, LAFS_USAGE, "pair %lld has no person", (long long)i + 1);
    for (int k = 0; k < 2; k++)
        for (int m = 0; m < v->side[k].models; m++) {
            const struct lafs_answers *a = v->side[k].model + m;
            if (a->n != p->n)
                return lafs_fail(err, LAFS_USAGE, "%lld scores for %lld pairs", (long long)a->n, (long long)p->n);
            for (int64_t i = 0; i < p->n; i++)
                if (isnan(a->score[i])) return lafs_fail(err, LAFS_USAGE, "pair %lld has no score", (long long)i + 1);
        }
    return LAFS_OK;
}

static lafs_status sort_all(struct versus *v, struct lafs_err *err)
{
    uint64_t *tmp;
    size_t all;
    if (!lafs_mul_ok((size_t)v->side[0].models + (size_t)v->side[1].models, (size_t)v->p->n, &all))
        return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&v->order, all, sizeof *v->order, err));
    LAFS_TRY(lafs_alloc(&tmp, (size_t)v->p->n, sizeof *tmp, err));
    uint64_t *at = v->order;
    for (int k = 0; k < 2; k++) {
        v->side[k].order = at;
        for (int m = 0; m < v->side[k].models; m++, at += v->p->n)
            lafs_order_f32(v->side[k].model[m].score, v->p->n, at, tmp);
    }
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
    const size_t threads = (size_t)(pool ? lafs_pool_threads(pool) : 1);
    struct versus v = {.p = p,
                       .side = {{.model = of, .models = ofs}, {.model = against, .models = againsts}},
                       .seed = seed,
                       .replicates = replicates};
    size_t weights, times;
    lafs_status st;
    memset(out, 0, sizeof *out);
    LAFS_TRY(check(&v, err));
    if (!lafs_mul_ok(threads, (size_t)p->people, &weights) ||
        !lafs_mul_ok(threads, (size_t)ofs + (size_t)againsts, &times))
        return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY_GOTO(st, group_runs(&v.side[0], replicates, err), done);
    LAFS_TRY_GOTO(st, group_runs(&v.side[1], replicates, err), done);
    LAFS_TRY_GOTO(st, sort_all(&v, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&v.weight, weights, sizeof *v.weight, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&v.times, times, sizeof *v.times, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&v.value, (size_t)replicates + 1, 2 * sizeof *v.value, err), done);
    LAFS_TRY_GOTO(st, judge_all(&v, out, err), done);
    lafs_pool_for(pool, replicates, replicate, &v);
    summarise(&v, 0, &out->accuracy);
    summarise(&v, 1, &out->auc);
done:
    for (int k = 0; k < 2; k++) {
        lafs_free(v.side[k].group);
        lafs_free(v.side[k].share);
        lafs_free(v.side[k].figure);
    }
    lafs_free(v.order);
    lafs_free(v.times);
    lafs_free(v.weight);
    lafs_free(v.value);
    return st;
}
