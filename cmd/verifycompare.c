#include "cmd/verifycompare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/atomicfile.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/printing.h"
#include "cmd/rates.h"
#include "eval/compare.h"
#include "eval/pairs.h"
#include "eval/plot.h"

enum { MOST_MODELS = 30 }; /* curves of one picture */

struct comparison {
    const struct verifycompare *c;
    struct lafs_pairs *pairs;
    char digest[65];
    int32_t *person[2];          /* (pairs->count) people of each pair */
    struct lafs_answers *answers; /* (models) first those of the arguments, then those against */
    int models;
    struct lafs_comparison result;
};

static const char *path_of(const struct verifycompare *c, int i)
{
    return i < c->ofs ? c->of[i] : c->against->v[i - c->ofs];
}

static lafs_status read_answers(struct comparison *j, int i, struct lafs_err *err)
{
    struct lafs_answers *a = j->answers + i;
    const char *path = path_of(j->c, i);
    LAFS_TRY(lafs_answers_read(a, path, err));
    if (strcmp(a->pairs, j->digest))
        return lafs_fail(err, LAFS_FAILED, "'%s' holds scores of other pairs than those of '%s'", path, j->c->pairs);
    if (a->n != j->pairs->count)
        return lafs_fail(err, LAFS_FAILED, "'%s' has %lld scores, but there are %lld pairs", path, (long long)a->n,
                         (long long)j->pairs->count);
    for (int64_t k = 0; k < a->n; k++) /* missing: wrong at every threshold */
        if (isnan(a->score[k])) a->score[k] = j->pairs->same[k] ? -INFINITY : INFINITY;
    return LAFS_OK;
}

static lafs_status read_all(struct comparison *j, struct lafs_err *err)
{
    const struct verifycompare *c = j->c;
    LAFS_TRY(lafs_sha256_file(c->pairs, j->digest, err));
    LAFS_TRY(lafs_pairs_read(&j->pairs, c->pairs, err));
    const struct lafs_pairs *p = j->pairs;
    for (int k = 0; k < 2; k++) {
        LAFS_TRY(lafs_alloc(j->person + k, (size_t)p->count, sizeof **j->person, err));
        for (int64_t i = 0; i < p->count; i++) j->person[k][i] = p->person[(k ? p->b : p->a)[i]];
    }
    LAFS_TRY(lafs_alloc0(&j->answers, (size_t)(c->ofs + c->against->n), sizeof *j->answers, err));
    for (j->models = 0; j->models < c->ofs + c->against->n; j->models++) LAFS_TRY(read_answers(j, j->models, err));
    return LAFS_OK;
}

/* -- pictures -- */

/* The name of a file without directories and what is behind the last dot. */
static void label_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    snprintf(out, size, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot && dot != out) *dot = 0;
}

static lafs_status draw(const struct comparison *j, const char *path, int det, struct lafs_err *err)
{
    struct lafs_roc curve[MOST_MODELS] = {{0}};
    const struct lafs_roc *roc[MOST_MODELS];
    char label[MOST_MODELS][120], title[120], name[80];
    const char *labels[MOST_MODELS];
    struct lafs_buf svg;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&svg);
    for (int i = 0; i < j->models && st == LAFS_OK; i++) {
        struct lafs_scores s;
        st = lafs_scores_sort(&s, j->answers[i].score, j->pairs->same, j->pairs->count, err);
        if (st == LAFS_OK) st = lafs_roc_build(curve + i, &s, err);
        lafs_scores_release(&s);
        if (st != LAFS_OK) break;
        label_of(path_of(j->c, i), name, sizeof name);
        snprintf(label[i], sizeof label[i], "%s (AUC %.4f)", name, lafs_roc_auc(curve + i));
        labels[i] = label[i];
        roc[i] = curve + i;
    }
    snprintf(title, sizeof title, "%lld pairs of %lld people", (long long)j->pairs->count,
             (long long)j->pairs->people.count);
    if (st == LAFS_OK) st = (det ? lafs_plot_det : lafs_plot_roc)(&svg, roc, labels, j->models, title, err);
    if (st == LAFS_OK) st = lafs_atomic_put(path, svg.data, svg.size, err);
    for (int i = 0; i < j->models; i++) lafs_roc_release(curve + i);
    lafs_buf_release(&svg);
    return st;
}

/* -- printing -- */

static void put_row(struct lafs_buf *b, const char *name, const struct lafs_difference *d, int percent)
{
    char interval[64] = "";
    double by = percent ? 100 : 1;
    int digits = percent ? 2 : 4;
    if (!isnan(d->by.low))
        snprintf(interval, sizeof interval, "[%.*f, %.*f]", digits, d->by.low * by, digits, d->by.high * by);
    lafs_buf_printf(b, "%-10s %10.*f %10.*f %+12.*f  %-20s", name, digits, d->of * by, digits, d->against * by, digits,
                    d->by.value * by, interval);
    if (!isnan(d->better)) put_percent(b, d->better, 10);
    lafs_buf_putc(b, '\n');
}

/* What tells the runs of side k that are drawn apart; NULL: they are taken as they are. */
static const char *drawn(const struct comparison *j, int k)
{
    const struct lafs_comparison *r = &j->result;
    if (r->groups[k] < 2 || !j->c->bootstrap) return NULL;
    return r->level[k] < 0 ? "run" : j->answers[k ? j->c->ofs : 0].seed[r->level[k]].name;
}

static void put_drawn(struct lafs_buf *b, const struct comparison *j)
{
    static const char *const of[] = {"", " of those against"};
    if (!j->c->bootstrap) return;
    lafs_buf_puts(b, "\ndrawn: people");
    for (int k = 0; k < 2; k++)
        if (drawn(j, k)) lafs_buf_printf(b, "; %s%s (%d)", drawn(j, k), of[k], j->result.groups[k]);
    if (!drawn(j, 0) && !drawn(j, 1)) lafs_buf_puts(b, " only");
    lafs_buf_putc(b, '\n');
}

static lafs_status print_text(const struct comparison *j, struct lafs_err *err)
{
    const struct verifycompare *c = j->c;
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_printf(&b, "%lld pairs of %lld people; %d %s against %d\n\n", (long long)j->pairs->count,
                    (long long)j->pairs->people.count, c->ofs, c->ofs == 1 ? "model" : "models", c->against->n);
    lafs_buf_printf(&b, "%-10s %10s %10s %12s  %-20s%10s\n", "", c->ofs == 1 ? "model" : "models", "against",
                    "difference", c->bootstrap ? " 95 % interval" : "", c->bootstrap ? "better in" : "");
    put_row(&b, "accuracy %", &j->result.accuracy, 1);
    put_row(&b, "AUC", &j->result.auc, 0);
    put_drawn(&b, j);
    return put_out(&b, stdout, err);
}

static void put_difference(struct lafs_buf *b, const char *key, const struct lafs_difference *d)
{
    put_key(b, key);
    lafs_buf_putc(b, '{');
    put_double(b, "of", d->of);
    put_double(b, "against", d->against);
    put_double(b, "difference", d->by.value);
    put_double(b, "low", d->by.low);
    put_double(b, "high", d->by.high);
    put_double(b, "std", d->by.std);
    put_double(b, "better", d->better);
    lafs_buf_putc(b, '}');
}

static lafs_status print_json(const struct comparison *j, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_putc(&b, '{');
    put_int(&b, "pairs", j->pairs->count);
    put_int(&b, "people", j->pairs->people.count);
    put_int(&b, "models", j->c->ofs);
    put_int(&b, "models_against", j->c->against->n);
    put_int(&b, "bootstrap", j->c->bootstrap);
    put_difference(&b, "accuracy", &j->result.accuracy);
    put_difference(&b, "auc", &j->result.auc);
    for (int k = 0; k < 2; k++) {
        put_key(&b, k ? "drawn_against" : "drawn");
        if (drawn(j, k)) lafs_json_put_string(&b, drawn(j, k), strlen(drawn(j, k)));
        else lafs_buf_puts(&b, "null");
    }
    lafs_buf_puts(&b, "}\n");
    return put_out(&b, stdout, err);
}

static lafs_status run(struct comparison *j, struct lafs_err *err)
{
    const struct verifycompare *c = j->c;
    LAFS_TRY(read_all(j, err));
    struct lafs_paired p = {NULL, j->pairs->same, j->person[0], j->person[1], j->pairs->count, j->pairs->people.count};
    LAFS_TRY(lafs_compare(&p, j->answers, c->ofs, j->answers + c->ofs, c->against->n, c->bootstrap,
                          (uint64_t)cli.seed, cli_pool(), &j->result, err));
    cli_few_people(p.people, c->bootstrap);
    if (c->plot) LAFS_TRY(draw(j, c->plot, 0, err));
    if (c->det) LAFS_TRY(draw(j, c->det, 1, err));
    return c->json ? print_json(j, err) : print_text(j, err);
}

lafs_status verifycompare_run(const struct verifycompare *c, struct lafs_err *err)
{
    struct comparison j = {.c = c};
    if (!c->pairs) return lafs_fail(err, LAFS_USAGE, "--compare needs --pairs");
    if (c->ofs < 1) return lafs_fail(err, LAFS_USAGE, "what is to be compared with '%s'?", c->against->v[0]);
    if ((c->plot || c->det) && c->ofs + c->against->n > MOST_MODELS)
        return lafs_fail(err, LAFS_USAGE, "at most %d curves go into one picture", MOST_MODELS);
    lafs_status st = run(&j, err);
    for (int i = 0; j.answers && i < c->ofs + c->against->n; i++) lafs_answers_release(j.answers + i);
    lafs_free(j.answers);
    for (int k = 0; k < 2; k++) lafs_free(j.person[k]);
    lafs_pairs_free(j.pairs);
    return st;
}
