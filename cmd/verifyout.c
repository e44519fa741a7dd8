#include "cmd/verifyout.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/printing.h"

void report_release(struct report *r)
{
    lafs_buf_release(&r->missing_names);
    lafs_roc_release(&r->roc);
    for (int64_t k = 0; k < r->groups; k++) lafs_roc_release(&r->group[k].roc);
    lafs_free(r->group);
}

lafs_status report_add_missing(struct report *r, const char *key, struct lafs_err *err)
{
    lafs_buf_put(&r->missing_names, key, strlen(key) + 1);
    return lafs_buf_check(&r->missing_names, err);
}

lafs_status group_line(struct group_line *g, const struct lafs_paired *p, const struct lafs_verify *v,
                       struct lafs_pool *pool, struct lafs_err *err)
{
    int64_t right = 0, accepted[2] = {0}, count[2] = {0};
    g->low = g->high = g->auc = NAN;
    for (int64_t i = 0; i < p->n; i++) {
        int same = p->same[i] != 0, accept = (double)p->score[i] >= v->threshold;
        count[same]++;
        accepted[same] += accept;
        right += accept == same;
    }
    g->pairs = p->n;
    g->impostors = count[0];
    g->genuines = count[1];
    g->accuracy = (double)right / (double)p->n;
    g->fmr = count[0] ? (double)accepted[0] / (double)count[0] : NAN;
    g->fnmr = count[1] ? 1 - (double)accepted[1] / (double)count[1] : NAN;
    if (v->bootstrap > 0) {
        struct lafs_interval a;
        LAFS_TRY(lafs_bootstrap_accuracy(p, v->threshold, v->bootstrap, v->seed, pool, &a, err));
        g->low = a.low;
        g->high = a.high;
    }
    if (!count[0] || !count[1]) return LAFS_OK;
    struct lafs_scores s;
    LAFS_TRY(lafs_scores_sort(&s, p->score, p->same, p->n, err));
    lafs_status st = lafs_roc_build(&g->roc, &s, err);
    if (st == LAFS_OK) g->auc = lafs_roc_auc(&g->roc);
    lafs_scores_release(&s);
    return st;
}

/* -- text -- */

static void put_row(struct lafs_buf *b, const char *name, double all, double present, int both, int percent)
{
    lafs_buf_printf(b, "%-22s", name);
    for (int k = 0; k <= both; k++) {
        double v = k ? present : all;
        if (percent || isnan(v)) put_percent(b, v, k ? 22 : 12);
        else lafs_buf_printf(b, "%*.4f  ", k ? 20 : 10, v);
    }
    lafs_buf_putc(b, '\n');
}

static void put_head(struct lafs_buf *b, const struct report *r)
{
    lafs_buf_printf(b, "%lld pairs (%lld same, %lld different) of ", (long long)r->all.pairs,
                    (long long)r->all.genuines, (long long)r->all.impostors);
    if (r->people < 0) lafs_buf_puts(b, "people unknown");
    else lafs_buf_printf(b, "%lld people", (long long)r->people);
    lafs_buf_printf(b, ", %lld photos", (long long)r->photos);
    if (r->templates) lafs_buf_printf(b, " in %lld templates", (long long)r->templates);
    lafs_buf_putc(b, '\n');
    if (r->bad) lafs_buf_printf(b, "left out: %s\n", counted(r->bad, "bad records").text);
    if (r->missing)
        lafs_buf_printf(b, "%lld %s missing: %lld %s counted as wrong\n", (long long)r->missing,
                        r->missing == 1 ? "photo is" : "photos are", (long long)r->missing_pairs,
                        r->missing_pairs == 1 ? "pair is" : "pairs are");
    if (r->fit_pairs)
        lafs_buf_printf(b, "threshold fitted on %lld other pairs, where accuracy is %.2f %%\n",
                        (long long)(r->fit_pairs - r->fit_missing_pairs), r->fit_accuracy * 100);
    lafs_buf_putc(b, '\n');
}

static void put_rates(struct lafs_buf *b, const struct report *r, const struct lafs_figures *f)
{
    lafs_buf_printf(b, "\n%-10s %10s %10s %10s %-16s", "FAR", "TAR", "threshold", "FNMR",
                    r->bootstrap ? " 95 % interval" : "");
    if (r->folds) lafs_buf_printf(b, " %10s %9s %10s", "VAL", "+-", "FAR held");
    lafs_buf_putc(b, '\n');
    int coarse = 0;
    for (int k = 0; k < r->fars; k++) {
        int few = r->far[k] * (double)f->impostors < 1 - 1e-9;
        coarse |= few;
        lafs_buf_printf(b, "%-10s ", r->far_text[k]);
        put_percent(b, f->tar[k], 10);
        if (!isfinite(f->far_threshold[k])) lafs_buf_printf(b, " %10s ", "-");
        else lafs_buf_printf(b, " %10.4f ", f->far_threshold[k]);
        put_percent(b, f->fnmr_at[k].value, 10);
        put_interval(b, f->fnmr_at[k].low, f->fnmr_at[k].high);
        if (r->folds) {
            lafs_buf_putc(b, ' ');
            put_percent(b, f->val[k].val, 10);
            put_percent(b, f->val[k].std, 10);
            put_percent(b, f->val[k].far, 11);
        }
        lafs_buf_puts(b, few ? " *\n" : "\n");
    }
    if (coarse)
        lafs_buf_printf(b, "* finer than %lld different pairs can tell\n", (long long)f->impostors);
}

static void put_groups(struct lafs_buf *b, const struct report *r)
{
    lafs_buf_printf(b, "\nat the one threshold %.4f\n%-20s %8s %8s %8s %10s %-16s %10s %10s\n", r->all.threshold,
                    r->field, "pairs", "same", "diff.", "accuracy", r->bootstrap ? " 95 % interval" : "", "FMR",
                    "FNMR");
    for (int64_t k = 0; k < r->groups; k++) {
        const struct group_line *g = r->group + k;
        char name[64];
        snprintf(name, sizeof name, "%.60s", g->name);
        lafs_no_controls(name, strlen(name));
        lafs_buf_printf(b, "%-20s %8lld %8lld %8lld ", name, (long long)g->pairs, (long long)g->genuines,
                        (long long)g->impostors);
        put_percent(b, g->accuracy, 10);
        put_interval(b, g->low, g->high);
        lafs_buf_putc(b, ' ');
        put_percent(b, g->fmr, 10);
        lafs_buf_putc(b, ' ');
        put_percent(b, g->fnmr, 10);
        lafs_buf_putc(b, '\n');
    }
}

lafs_status report_text(const struct report *r, FILE *f, struct lafs_err *err)
{
    struct lafs_buf b;
    const struct lafs_figures *x = &r->all, *y = &r->present;
    int both = r->missing_pairs > 0;
    char name[64];
    lafs_buf_init(&b);
    put_head(&b, r);
    if (both) lafs_buf_printf(&b, "%-22s%12s%22s\n", "", "all pairs", "without missing");
    put_row(&b, "accuracy", x->accuracy, y->accuracy, both, 1);
    if (r->applied && !isnan(x->accuracy_low)) {
        put_row(&b, "  95 % interval from", x->accuracy_low, y->accuracy_low, both, 1);
        put_row(&b, "                to", x->accuracy_high, y->accuracy_high, both, 1);
    }
    if (r->folds) {
        snprintf(name, sizeof name, "  +- over %d folds", r->folds);
        put_row(&b, name, x->accuracy_std, y->accuracy_std, both, 1);
    }
    if (!isnan(x->threshold)) {
        put_row(&b, r->folds ? "threshold, mean" : "threshold", x->threshold, y->threshold, both, 0);
        put_row(&b, "  FMR", x->fmr, y->fmr, both, 1);
        put_row(&b, "  FNMR", x->fnmr, y->fnmr, both, 1);
    }
    put_row(&b, "AUC", x->auc, y->auc, both, 0);
    put_row(&b, "EER", x->eer, y->eer, both, 1);
    put_rates(&b, r, x);
    if (both) {
        lafs_buf_puts(&b, "without missing photos:");
        put_rates(&b, r, y);
    }
    if (r->groups) put_groups(&b, r);
    return put_out(&b, f, err);
}

/* -- JSON -- */

static void put_figures(struct lafs_buf *b, const struct report *r, const struct lafs_figures *f)
{
    put_double(b, "accuracy", f->accuracy);
    put_double(b, "accuracy_std", f->accuracy_std);
    if (r->applied) {
        put_double(b, "accuracy_low", f->accuracy_low);
        put_double(b, "accuracy_high", f->accuracy_high);
    }
    put_double(b, "auc", f->auc);
    put_double(b, "eer", f->eer);
    put_double(b, "eer_threshold", f->eer_threshold);
    put_double(b, "threshold", f->threshold);
    put_double(b, "fmr", f->fmr);
    put_double(b, "fnmr", f->fnmr);
    put_int(b, "pairs", f->pairs);
    put_int(b, "same", f->genuines);
    put_int(b, "different", f->impostors);
    put_key(b, "tar");
    lafs_buf_putc(b, '{');
    for (int k = 0; k < r->fars; k++) put_double(b, r->far_text[k], f->tar[k]);
    lafs_buf_putc(b, '}');
    put_key(b, "rates");
    lafs_buf_putc(b, '[');
    for (int k = 0; k < r->fars; k++) {
        lafs_buf_puts(b, k ? ", {" : "{");
        put_double(b, "far", r->far[k]);
        put_double(b, "tar", f->tar[k]);
        put_double(b, "met", f->tar_far[k]);
        put_double(b, "threshold", f->far_threshold[k]);
        put_double(b, "fnmr", f->fnmr_at[k].value);
        put_double(b, "fnmr_low", f->fnmr_at[k].low);
        put_double(b, "fnmr_high", f->fnmr_at[k].high);
        if (r->folds) {
            put_double(b, "val", f->val[k].val);
            put_double(b, "val_std", f->val[k].std);
            put_double(b, "val_far", f->val[k].far);
        }
        lafs_buf_putc(b, '}');
    }
    lafs_buf_putc(b, ']');
}

static void put_group_objects(struct lafs_buf *b, const struct report *r)
{
    put_key(b, "group_field");
    lafs_json_put_string(b, r->field, strlen(r->field));
    put_key(b, "groups");
    lafs_buf_putc(b, '[');
    for (int64_t k = 0; k < r->groups; k++) {
        const struct group_line *g = r->group + k;
        lafs_buf_puts(b, k ? ", {" : "{");
        put_key(b, "group");
        lafs_json_put_string(b, g->name, strlen(g->name));
        put_int(b, "pairs", g->pairs);
        put_int(b, "same", g->genuines);
        put_int(b, "different", g->impostors);
        put_double(b, "accuracy", g->accuracy);
        put_double(b, "accuracy_low", g->low);
        put_double(b, "accuracy_high", g->high);
        put_double(b, "fmr", g->fmr);
        put_double(b, "fnmr", g->fnmr);
        put_double(b, "auc", g->auc);
        lafs_buf_putc(b, '}');
    }
    lafs_buf_putc(b, ']');
}

/* Nine digits give back the same float: two files are compared score by score. */
static void put_scores(struct lafs_buf *b, const struct report *r)
{
    put_text(b, "pairs_sha256", r->pairs_sha256);
    put_key(b, "scores");
    lafs_buf_putc(b, '[');
    for (int64_t i = 0; i < r->scores; i++) {
        if (i) lafs_buf_puts(b, ", ");
        if (isfinite(r->score[i])) lafs_buf_printf(b, "%.9g", (double)r->score[i]);
        else lafs_buf_puts(b, "null");
    }
    lafs_buf_putc(b, ']');
}

lafs_status report_json(const struct report *r, FILE *f, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_putc(&b, '{');
    put_key(&b, "protocol");
    lafs_buf_puts(&b, r->templates ? "\"templates\"" : r->folds ? "\"folds\"" : "\"threshold\"");
    put_figures(&b, r, &r->all);
    put_int(&b, "folds", r->folds);
    if (r->people < 0) put_double(&b, "people", NAN);
    else put_int(&b, "people", r->people);
    put_int(&b, "photos", r->photos);
    if (r->templates) put_int(&b, "templates", r->templates);
    put_int(&b, "bootstrap", r->bootstrap);
    if (r->fit_pairs) {
        put_int(&b, "fit_pairs", r->fit_pairs - r->fit_missing_pairs);
        put_double(&b, "fit_accuracy", r->fit_accuracy);
    }
    put_int(&b, "bad", r->bad);
    put_int(&b, "missing", r->missing);
    put_int(&b, "missing_pairs", r->missing_pairs);
    put_key(&b, "missing_photos");
    lafs_buf_putc(&b, '[');
    for (size_t at = 0; at < r->missing_names.size;) {
        const char *key = (const char *)r->missing_names.data + at;
        if (at) lafs_buf_puts(&b, ", ");
        lafs_json_put_string(&b, key, strlen(key));
        at += strlen(key) + 1;
    }
    lafs_buf_putc(&b, ']');
    if (r->missing_pairs) {
        put_key(&b, "without_missing");
        lafs_buf_putc(&b, '{');
        put_figures(&b, r, &r->present);
        lafs_buf_putc(&b, '}');
    }
    if (r->field) put_group_objects(&b, r);
    if (r->score) put_scores(&b, r);
    lafs_buf_puts(&b, "}\n");
    return put_out(&b, f, err);
}
