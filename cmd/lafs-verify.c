/* lafs-verify: how well embeddings tell people apart. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/printing.h"
#include "cmd/rates.h"
#include "cmd/readall.h"
#include "cmd/templates.h"
#include "cmd/verifycompare.h"
#include "cmd/verifyout.h"
#include "eval/embset.h"
#include "eval/pairfield.h"
#include "eval/pairs.h"
#include "eval/plot.h"
#include "eval/verify.h"

static struct {
    const char *pairs, *fit, *far, *group, *plot, *det, *label;
    struct templates_options ijb;
    double threshold;
    int64_t bootstrap;
    struct cli_list compare;
    int json, scores;
} o = {.threshold = NAN, .bootstrap = -1};

static const struct cli_option table[] = {
    {"pairs", 'p', CLI_STRING, &o.pairs, "FILE",
     "compare the photos of FILE: LFW's pairs, 'KEY1 KEY2 0|1', or template pairs", 0, 0,
     "the records' field pair"},
    {"fit", 0, CLI_STRING, &o.fit, "FILE", "fit the threshold on the pairs of FILE and apply it"},
    {"threshold", 0, CLI_DOUBLE, &o.threshold, "COSINE", "apply this threshold, chosen elsewhere", -1, 1},
    {"far", 0, CLI_STRING, &o.far, "RATES", "report TAR, VAL and FNMR at these rates, separated by commas", 0, 0,
     "1e-3,1e-2; with --templates 1e-6 to 1e-1"},
    {"bootstrap", 0, CLI_INT, &o.bootstrap, "N", "intervals from N resamplings of the people; 0: none", 0, 1000000,
     "1000; with --templates 0"},
    {"group", 0, CLI_STRING, &o.group, "FIELD", "report by the value of FIELD, at one threshold for all"},
    CLI_TEMPLATES(o.ijb),
    {"plot", 0, CLI_STRING, &o.plot, "FILE", "write the ROC as SVG"},
    {"det", 0, CLI_STRING, &o.det, "FILE", "write the DET curve as SVG"},
    {"label", 0, CLI_STRING, &o.label, "TEXT", "name of the curve in the pictures", 0, 0, "embeddings"},
    {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON"},
    {"scores", 0, CLI_FLAG, &o.scores, NULL, "with --json: add the score of each pair, for --compare"},
    {"compare", 0, CLI_LIST, &o.compare, "JSON",
     "is a model better? The arguments and JSON are what --json --scores wrote of two models on the same --pairs"},
    CLI_JOBS,
    CLI_SEED,
    CLI_TAKE,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-verify", "[OPTION]... [--pairs FILE] [EMBEDDINGS]...",
                                           "how well embeddings tell people apart", table};

enum { MAX_GROUPS = 1000, GROUP_CURVES = 6 };

/* Everything between reading and printing. */
struct job {
    struct lafs_pairs *pairs, *fit;
    struct lafs_pairfield field; /* without --pairs: what the records say */
    struct lafs_ijb_images *images;
    struct lafs_wanted want[2]; /* of pairs or images; of fit */
    int wants;
    struct lafs_embset set;
    char first_key[256];        /* of the input: for messages */
    /* The scored pairs. */
    float *score;
    const uint8_t *same;        /* borrowed */
    const int32_t *a, *b, *fold;
    int folds;
    int64_t n, people;
    int32_t *pa, *pb;           /* (n) people */
    int32_t *present;           /* (n) 1: both photos were there */
    struct lafs_ijb_pairs *template_pairs;
    struct report report;
};

/* -- reading -- */

static lafs_status take_sample(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct job *j = arg;
    if (!o.pairs) {
        LAFS_TRY(lafs_pairfield_add(&j->field, s, err));
        return lafs_embset_add_any(&j->set, s, o.group, err);
    }
    if (!j->first_key[0]) snprintf(j->first_key, sizeof j->first_key, "%s", lafs_sample_key(s));
    return lafs_embset_add(&j->set, j->want, j->wants, s, o.group, err);
}

/* Pairs as the records have stated them. The missing half of a pair is a photo, too: one that no record has. */
static lafs_status take_field(struct job *j, struct lafs_err *err)
{
    LAFS_TRY(lafs_pairfield_pairs(&j->field, &j->pairs, err));
    LAFS_TRY(lafs_wanted_init(j->want, &j->pairs->photos, err));
    for (int64_t i = 0; i < j->pairs->photos.count; i++) {
        const char *key = lafs_strset_at(&j->pairs->photos, i);
        j->want->row[i] = lafs_strset_find(&j->set.keys, key, strlen(key));
    }
    j->want->found = j->set.rows;
    return LAFS_OK;
}

static lafs_status read_protocols(struct job *j, struct lafs_err *err)
{
    if (!o.pairs) return LAFS_OK;
    if (o.scores) LAFS_TRY(lafs_sha256_file(o.pairs, j->report.pairs_sha256, err));
    if (o.ijb.templates) {
        LAFS_TRY(lafs_ijb_images_read(&j->images, o.ijb.templates, err));
        LAFS_TRY(lafs_wanted_init(j->want, &j->images->photos, err));
    } else {
        LAFS_TRY(lafs_pairs_read(&j->pairs, o.pairs, err));
        LAFS_TRY(lafs_wanted_init(j->want, &j->pairs->photos, err));
    }
    j->wants = 1;
    if (!o.fit) return LAFS_OK;
    LAFS_TRY(lafs_pairs_read(&j->fit, o.fit, err));
    LAFS_TRY(lafs_wanted_init(j->want + 1, &j->fit->photos, err));
    j->wants = 2;
    return LAFS_OK;
}

/* -- scoring -- */

/* Scores of the pairs (a, b) of photos; rows of e are normalised. Missing: NaN. */
static lafs_status score_pairs(const struct job *j, const struct lafs_pairs *p, const struct lafs_wanted *w,
                               float *score, struct lafs_err *err)
{
    int32_t *row;
    LAFS_TRY(lafs_alloc(&row, (size_t)p->count * 2, sizeof *row, err));
    for (int64_t i = 0; i < p->count; i++) {
        row[i] = (int32_t)w->row[p->a[i]];
        row[p->count + i] = (int32_t)w->row[p->b[i]];
    }
    lafs_status st = lafs_pair_scores(lafs_embset_data(&j->set), j->set.rows, j->set.dim, row, row + p->count, p->count,
                                      score, cli_pool(), err);
    lafs_free(row);
    return st;
}

static lafs_status fit_threshold(struct job *j, struct lafs_err *err)
{
    float *score;
    struct lafs_scores s = {0};
    const struct lafs_pairs *p = j->fit;
    LAFS_TRY(lafs_alloc(&score, (size_t)p->count, sizeof *score, err));
    lafs_status st = score_pairs(j, p, j->want + 1, score, err);
    for (int64_t i = 0; i < p->count && st == LAFS_OK; i++)
        if (isnan(score[i])) {
            score[i] = p->same[i] ? -INFINITY : INFINITY; /* left out by the fit */
            j->report.fit_missing_pairs++;
        }
    if (st == LAFS_OK) st = lafs_scores_sort(&s, score, p->same, p->count, err);
    if (st == LAFS_OK) st = lafs_fit_threshold(&s, &o.threshold, &j->report.fit_accuracy, err);
    if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", o.fit);
    lafs_scores_release(&s);
    lafs_free(score);
    j->report.fit_pairs = p->count;
    int64_t both = 0;
    for (int64_t i = 0; j->pairs && i < p->people.count; i++) {
        const char *name = lafs_strset_at(&p->people, i);
        both += lafs_strset_find(&j->pairs->people, name, strlen(name)) >= 0;
    }
    if (both)
        cli_warn("%s in both '%s' and '%s': the threshold has seen people that it is judged on",
                 counted(both, "people").text, o.fit, o.pairs);
    return st;
}

static lafs_status score_photos(struct job *j, struct lafs_err *err)
{
    const struct lafs_pairs *p = j->pairs;
    int64_t bad;
    if (lafs_normalise_rows(lafs_embset_data(&j->set), j->set.rows, j->set.dim, NULL, &bad, err) != LAFS_OK)
        return lafs_err_prefix(err, "'%s'", lafs_strset_at(&j->set.keys, bad));
    LAFS_TRY(templates_report_missing(&j->set, j->want, j->first_key, o.pairs ? o.pairs : "pair", err));
    if (o.fit) {
        LAFS_TRY(templates_report_missing(&j->set, j->want + 1, j->first_key, o.fit, err));
        LAFS_TRY(fit_threshold(j, err));
    }
    LAFS_TRY(lafs_alloc(&j->score, (size_t)p->count, sizeof *j->score, err));
    LAFS_TRY(lafs_alloc(&j->pa, (size_t)p->count, sizeof *j->pa, err));
    LAFS_TRY(lafs_alloc(&j->pb, (size_t)p->count, sizeof *j->pb, err));
    LAFS_TRY(score_pairs(j, p, j->want, j->score, err));
    for (int64_t i = 0; i < p->count; i++) {
        j->pa[i] = p->person[p->a[i]];
        j->pb[i] = p->person[p->b[i]];
    }
    j->a = p->a, j->b = p->b, j->same = p->same, j->n = p->count;
    j->fold = p->fold, j->folds = p->folds;
    j->people = p->people.count;
    j->report.photos = p->photos.count;
    j->report.missing = p->photos.count - j->want->found;
    return LAFS_OK;
}

static lafs_status score_templates(struct job *j, struct lafs_err *err)
{
    const struct lafs_ijb_images *im = j->images;
    struct lafs_templates t = {0};
    int32_t *person = NULL;
    lafs_status st;
    LAFS_TRY(templates_report_missing(&j->set, j->want, j->first_key, o.ijb.templates, err));
    LAFS_TRY_GOTO(st, templates_make(&t, &o.ijb, im, j->want, &j->set, err), done);
    LAFS_TRY_GOTO(st, lafs_ijb_pairs_read(&j->template_pairs, o.pairs, t.id, t.count, err), done);
    struct lafs_ijb_pairs *p = j->template_pairs;
    LAFS_TRY_GOTO(st, lafs_alloc(&person, (size_t)t.count, 2 * sizeof *person, err), done);
    int32_t *there = person + t.count;
    for (int64_t k = 0; k < t.count; k++) there[k] = lafs_templates_there(&t, k);
    LAFS_TRY_GOTO(st, lafs_people_from_pairs(p->a, p->b, p->same, p->count, t.count, person, &j->people, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&j->score, (size_t)p->count, sizeof *j->score, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&j->pa, (size_t)p->count, sizeof *j->pa, err), done);
    LAFS_TRY_GOTO(st, lafs_alloc(&j->pb, (size_t)p->count, sizeof *j->pb, err), done);
    for (int64_t i = 0; i < p->count; i++) {
        j->pa[i] = person[p->a[i]];
        j->pb[i] = person[p->b[i]];
        if (!there[p->a[i]]) p->a[i] = -1; /* all its images are missing */
        if (!there[p->b[i]]) p->b[i] = -1;
    }
    LAFS_TRY_GOTO(st, lafs_pair_scores(t.e, t.count, t.dim, p->a, p->b, p->count, j->score, cli_pool(), err), done);
    j->a = p->a, j->b = p->b, j->same = p->same, j->n = p->count;
    j->report.photos = im->photos.count;
    j->report.missing = im->photos.count - j->want->found;
    j->report.templates = t.count;
done:
    lafs_templates_release(&t);
    lafs_free(person);
    return st;
}

/* Missing pairs become wrong ones. */
static lafs_status mark_missing(struct job *j, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&j->present, (size_t)j->n, sizeof *j->present, err));
    for (int64_t i = 0; i < j->n; i++) {
        j->present[i] = !isnan(j->score[i]);
        if (j->present[i]) continue;
        j->score[i] = j->same[i] ? -INFINITY : INFINITY;
        j->report.missing_pairs++;
    }
    if (j->report.missing_pairs == j->n) return lafs_fail(err, LAFS_FAILED, "every pair lacks a photo");
    return LAFS_OK;
}

/* -- figures -- */

static int rates(double far[LAFS_MAX_FARS], const char *text[LAFS_MAX_FARS])
{
    const char *usual = o.ijb.templates ? "1e-6,1e-5,1e-4,1e-3,1e-2,1e-1" : "1e-3,1e-2";
    return cli_rates("--far", o.far ? o.far : usual, far, text, LAFS_MAX_FARS);
}

/* group (n) of each pair: 0 "(missing)", 1 "(different groups)", then those of the field in order of appearance. */
static lafs_status pair_groups(struct job *j, int32_t **out, struct lafs_err *err)
{
    int32_t *g;
    LAFS_TRY(lafs_alloc(&g, (size_t)j->n, sizeof *g, err));
    for (int64_t i = 0; i < j->n; i++) {
        int64_t ra = j->want->row[j->a[i]], rb = j->want->row[j->b[i]];
        if (ra < 0 || rb < 0) g[i] = 0;
        else g[i] = j->set.group[ra] == j->set.group[rb] ? 2 + j->set.group[ra] : 1;
    }
    *out = g;
    return LAFS_OK;
}

static lafs_status group_figures(struct job *j, const struct lafs_paired *p, const struct lafs_verify *v,
                                 double threshold, struct lafs_err *err)
{
    struct report *r = &j->report;
    int32_t *g = NULL;
    int64_t groups = j->set.groups.count + 2;
    if (j->set.groups.count == 1 && !strcmp(lafs_strset_at(&j->set.groups, 0), "(none)"))
        cli_warn("no record has the field '%s'", o.group);
    if (groups > MAX_GROUPS)
        return lafs_fail(err, LAFS_FAILED, "field '%s' has %lld values: too many for groups", o.group,
                         (long long)groups - 2);
    LAFS_TRY(pair_groups(j, &g, err));
    struct lafs_verify at = *v;
    at.apply = 1;
    at.threshold = threshold;
    at.fars = 0;
    lafs_status st = lafs_alloc0(&r->group, (size_t)groups, sizeof *r->group, err);
    for (int64_t k = 0; k < groups && st == LAFS_OK; k++) {
        struct lafs_subset s;
        struct group_line *line = r->group + r->groups;
        /* The field's values first, then pairs across groups, then those without a photo. */
        int32_t which = (int32_t)(k < groups - 2 ? k + 2 : groups - 1 - k);
        st = lafs_subset_take(&s, p, NULL, g, which, err);
        if (st != LAFS_OK) break;
        if (s.paired.n > 0) {
            line->name = which == 0   ? "(missing)"
                         : which == 1 ? "(different groups)"
                                      : lafs_strset_at(&j->set.groups, which - 2);
            st = group_line(line, &s.paired, &at, cli_pool(), err);
            r->groups++;
        }
        lafs_subset_release(&s);
    }
    lafs_free(g);
    return st;
}

/* The same without the pairs that lack a photo. */
static lafs_status present_figures(struct job *j, const struct lafs_paired *p, const struct lafs_verify *v,
                                   struct lafs_err *err)
{
    struct lafs_subset s;
    int64_t genuine = 0;
    LAFS_TRY(lafs_subset_take(&s, p, j->fold, j->present, 1, err));
    for (int64_t i = 0; i < s.paired.n; i++) genuine += s.same[i] != 0;
    lafs_status st = LAFS_OK;
    if (genuine == 0 || genuine == s.paired.n)
        lafs_figures_none(v, genuine, s.paired.n - genuine, &j->report.present); /* one kind of pair only */
    else st = lafs_verify_figures(v, &s.paired, s.fold, j->folds, cli_pool(), &j->report.present, NULL, err);
    lafs_subset_release(&s);
    return st;
}

/* Thresholds of folds are far apart where scores hardly vary: say so. */
static void warn_alike(const struct job *j)
{
    const double step = 2.0 / LAFS_GRID; /* in the cosine */
    double sum = 0, squares = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < j->n; i++)
        if (isfinite(j->score[i])) sum += (double)j->score[i], n++;
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < j->n; i++)
        if (isfinite(j->score[i])) squares += ((double)j->score[i] - mean) * ((double)j->score[i] - mean);
    const double deviation = sqrt(squares / (double)n);
    if (deviation < 2 * step)
        cli_warn("similarities are nearly alike (%.4f, deviation %.4f), and thresholds of folds %.3f apart: accuracy "
                 "says little. Has the model collapsed? The AUC has no steps, nor has --fit",
                 mean, deviation, step);
}

static lafs_status all_figures(struct job *j, struct lafs_err *err)
{
    struct report *r = &j->report;
    struct lafs_paired p = {j->score, j->same, j->pa, j->pb, j->n, j->people};
    struct lafs_verify v = {.far = r->far,
                            .fars = r->fars,
                            .nearest = o.ijb.templates != NULL,
                            .apply = !isnan(o.threshold),
                            .threshold = o.threshold,
                            .seed = (uint64_t)cli.seed,
                            .bootstrap = o.bootstrap};
    if (v.bootstrap < 0) v.bootstrap = o.ijb.templates ? 0 : 1000;
    r->bootstrap = v.bootstrap;
    r->people = o.pairs ? j->people : -1; /* the field pair has each pair of people of its own */
    r->applied = v.apply;
    r->folds = v.apply || !j->fold ? 0 : j->folds;
    LAFS_TRY(lafs_verify_figures(&v, &p, j->fold, j->folds, cli_pool(), &r->all, &r->roc, err));
    if (r->folds) warn_alike(j);
    if (o.pairs) cli_few_people(j->people, v.bootstrap);
    if (r->missing_pairs) LAFS_TRY(present_figures(j, &p, &v, err));
    if (!o.group) return LAFS_OK;
    if (isnan(r->all.threshold)) return lafs_fail(err, LAFS_FAILED, "too few pairs for a threshold: --group needs one");
    r->field = o.group;
    return group_figures(j, &p, &v, r->all.threshold, err);
}

/* -- pictures -- */

static lafs_status draw(const struct job *j, const char *path, int det, struct lafs_err *err)
{
    const struct report *r = &j->report;
    char label[1 + GROUP_CURVES][200], title[200];
    const struct lafs_roc *roc[1 + GROUP_CURVES] = {&r->roc};
    const char *labels[1 + GROUP_CURVES] = {label[0]};
    int n = 1;
    struct lafs_buf svg;
    snprintf(label[0], sizeof label[0], "%s (AUC %.4f, EER %.2f %%)", o.label ? o.label : "embeddings", r->all.auc,
             r->all.eer * 100);
    if (r->people < 0) snprintf(title, sizeof title, "%lld pairs", (long long)r->all.pairs);
    else snprintf(title, sizeof title, "%lld pairs of %lld people", (long long)r->all.pairs, (long long)r->people);
    for (int64_t k = 0; k < r->groups && n <= GROUP_CURVES; k++) {
        if (r->group[k].roc.n == 0 || r->group[k].name[0] == '(') continue;
        snprintf(label[n], sizeof label[n], "%s = %.60s (AUC %.4f)", r->field, r->group[k].name, r->group[k].auc);
        labels[n] = label[n];
        roc[n++] = &r->group[k].roc;
    }
    lafs_buf_init(&svg);
    lafs_status st = (det ? lafs_plot_det : lafs_plot_roc)(&svg, roc, labels, n, title, err);
    if (st == LAFS_OK) st = lafs_atomic_put(path, svg.data, svg.size, err);
    lafs_buf_release(&svg);
    return st;
}

/* -- the whole -- */

static void check_options(void)
{
    cli_picture_name(o.plot, "SVG");
    cli_picture_name(o.det, "SVG");
    cli_separate((const char *const *const[]){&o.plot, &o.det, &cli.rejects, NULL});
    if (!o.pairs && (o.ijb.templates || o.fit)) cli_misuse("--templates and --fit need --pairs");
    if (o.fit && !isnan(o.threshold)) cli_misuse("--fit and --threshold exclude each other");
    if (o.ijb.templates && o.fit) cli_misuse("--fit does not go with --templates");
    if (o.ijb.templates && o.group) cli_misuse("--group does not go with --templates");
    if (o.scores && !o.json) cli_misuse("--scores goes with --json");
    if (o.scores && !o.pairs) cli_misuse("--scores needs --pairs");
    if (o.scores && o.ijb.templates) cli_misuse("--scores does not go with --templates");
    if (o.compare.n && (o.ijb.templates || o.fit || o.far || o.group || o.label || o.scores || !isnan(o.threshold) ||
                        cli.rejects || cli_given(&cli.take) || cli_given(&cli.max_bad)))
        cli_misuse("--compare goes with --pairs, --bootstrap, --plot, --det, --json and --seed alone");
    templates_check(&o.ijb);
}

/* Nothing that is read is replaced by a picture; what other options name was looked at. */
static lafs_status spare_inputs(const char *const *args, int n, struct lafs_err *err)
{
    if (o.plot) LAFS_TRY(lafs_writer_spares(o.plot, args, n, err));
    return o.det ? lafs_writer_spares(o.det, args, n, err) : LAFS_OK;
}

static lafs_status compare(const char *const *args, int n, struct lafs_err *err)
{
    const struct verifycompare c = {.pairs = o.pairs, .against = &o.compare, .of = args, .ofs = n, .plot = o.plot,
                                    .det = o.det, .bootstrap = o.bootstrap < 0 ? 1000 : o.bootstrap, .json = o.json};
    return verifycompare_run(&c, err);
}

static lafs_status evaluate(struct job *j, struct lafs_err *err)
{
    if (!o.pairs) LAFS_TRY(take_field(j, err));
    LAFS_TRY(o.ijb.templates ? score_templates(j, err) : score_photos(j, err));
    LAFS_TRY(mark_missing(j, err));
    LAFS_TRY(all_figures(j, err));
    for (int64_t i = 0; i < j->want->photos->count; i++)
        if (j->want->row[i] < 0) LAFS_TRY(report_add_missing(&j->report, lafs_strset_at(j->want->photos, i), err));
    if (o.plot) LAFS_TRY(draw(j, o.plot, 0, err));
    if (o.det) LAFS_TRY(draw(j, o.det, 1, err));
    if (o.scores) {
        j->report.score = j->score;
        j->report.scores = j->n;
    }
    return o.json ? report_json(&j->report, stdout, err) : report_text(&j->report, stdout, err);
}

static void release(struct job *j)
{
    lafs_pairs_free(j->pairs);
    lafs_pairs_free(j->fit);
    lafs_pairfield_release(&j->field);
    lafs_ijb_images_free(j->images);
    lafs_ijb_pairs_free(j->template_pairs);
    for (int k = 0; k < 2; k++) lafs_wanted_release(j->want + k);
    lafs_embset_release(&j->set);
    lafs_free(j->score);
    lafs_free(j->pa);
    lafs_free(j->pb);
    lafs_free(j->present);
    report_release(&j->report);
}

int main(int argc, char **argv)
{
    struct lafs_err err = {0};
    struct job j = {0};
    struct readall_totals totals = {0};
    int n;
    char **args = cli_parse(&program, argc, argv, &n);
    check_options();
    if (spare_inputs((const char *const *)args, n, &err) != LAFS_OK) return cli_finish(cli_fail(&err));
    if (o.compare.n)
        return cli_finish(compare((const char *const *)args, n, &err) == LAFS_OK ? EXIT_DONE : cli_fail(&err));
    j.report.fars = rates(j.report.far, j.report.far_text);
    lafs_embset_init(&j.set);
    int status = read_protocols(&j, &err) == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    struct embedders made_by = {.told = 0};
    struct readall reading = {.what = "embeddings", .arg = &j, .each = take_sample, .made_by = &made_by};
    if (status == EXIT_DONE) status = readall_run(&reading, (const char *const *)args, n, &totals);
    j.report.bad = totals.bad;
    if (status == EXIT_DONE && evaluate(&j, &err) != LAFS_OK) status = cli_fail(&err);
    release(&j);
    return cli_finish(status);
}
