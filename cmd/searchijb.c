#include "cmd/searchijb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/rates.h"
#include "cmd/readall.h"
#include "compute/backend.h"
#include "eval/embset.h"
#include "eval/ijblist.h"
#include "eval/search.h"

struct job {
    const struct searchijb *s;
    struct lafs_ijb_list probes, *gallery; /* (galleries) */
    struct search_figures *of;             /* (galleries) */
    struct lafs_ijb_images *images;
    struct lafs_wanted want;
    struct lafs_embset set;
    struct lafs_backend backend;
    char first_key[256];
    int64_t bad;                           /* records skipped */
};

/* Those templates of a list that are there, as rows. */
struct rows {
    float *e;         /* (count, dim) */
    int64_t *at;      /* (count) place in the list */
    int64_t count;
};

static int64_t template_place(const struct lafs_templates *t, int64_t id)
{
    int64_t lo = 0, hi = t->count;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (t->id[mid] < id) lo = mid + 1;
        else hi = mid;
    }
    return lo < t->count && t->id[lo] == id && lafs_templates_there(t, lo) ? lo : -1;
}

static lafs_status take(struct rows *r, const struct lafs_templates *t, const struct lafs_ijb_list *l,
                        struct lafs_err *err)
{
    size_t cells;
    if (!lafs_mul_ok((size_t)l->count, (size_t)t->dim, &cells)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&r->e, cells, sizeof *r->e, err));
    LAFS_TRY(lafs_alloc(&r->at, (size_t)l->count, sizeof *r->at, err));
    for (int64_t i = 0; i < l->count; i++) {
        int64_t k = template_place(t, l->template_id[i]);
        if (k < 0) continue;
        memcpy(r->e + r->count * t->dim, t->e + k * t->dim, (size_t)t->dim * sizeof *r->e);
        r->at[r->count++] = i;
    }
    return LAFS_OK;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The subjects of a list, each once, ascending. */
static lafs_status subjects(int64_t **out, int64_t *n, const struct lafs_ijb_list *l, struct lafs_err *err)
{
    int64_t *s, k = 0;
    LAFS_TRY(lafs_alloc(&s, (size_t)l->count, sizeof *s, err));
    memcpy(s, l->subject_id, (size_t)l->count * sizeof *s);
    qsort(s, (size_t)l->count, sizeof *s, by_id);
    for (int64_t i = 0; i < l->count; i++)
        if (k == 0 || s[i] != s[k - 1]) s[k++] = s[i];
    *out = s;
    *n = k;
    return LAFS_OK;
}

static int64_t subject_place(const int64_t *s, int64_t n, int64_t id)
{
    const int64_t *p = n ? bsearch(&id, s, (size_t)n, sizeof *s, by_id) : NULL;
    return p ? p - s : -1;
}

/* Ranks of the probes that are there. */
static void find_ranks(struct lafs_found *f, const struct lafs_search *s, const struct rows *p,
                       const struct rows *g, const struct lafs_ijb_list *gallery, const struct lafs_ijb_list *probes)
{
    for (int64_t i = 0; i < p->count; i++) {
        int64_t n, at = p->at[i];
        const struct lafs_match *m = lafs_search_matches(s, i, &n);
        if (n > 0) f[at].best = m[0].score;
        for (int64_t t = 0; t < n && !f[at].rank; t++)
            if (gallery->subject_id[g->at[m[t].entry]] == probes->subject_id[at]) f[at].rank = (int32_t)t + 1;
    }
}

static lafs_status search(struct job *j, struct lafs_found *f, int64_t dim, const struct rows *g, const struct rows *p,
                          const struct lafs_ijb_list *gallery, struct lafs_err *err)
{
    struct lafs_search *s;
    const struct lafs_search_options opt = {.k = lafs_rank[LAFS_RANKS - 1], .min_score = -1};
    LAFS_TRY(lafs_search_new(&s, &j->backend, cli_pool(), &opt, p->e, p->count, dim, err));
    lafs_status st = lafs_search_add(s, &(struct lafs_search_block){g->e, g->count, NULL, NULL}, err);
    if (st == LAFS_OK) find_ranks(f, s, p, g, gallery, &j->probes);
    lafs_search_free(s);
    return st;
}

/* Fills all of out but the name. */
static lafs_status search_gallery(struct job *j, struct search_figures *out, const struct lafs_templates *t,
                                  const struct lafs_ijb_list *gallery, struct lafs_err *err)
{
    const struct lafs_ijb_list *probes = &j->probes;
    struct rows g = {0}, p = {0};
    int64_t *enrolled = NULL, *people = NULL, enrolled_n, people_n;
    struct lafs_found *f = NULL;
    lafs_status st;
    LAFS_TRY_GOTO(st, subjects(&enrolled, &enrolled_n, gallery, err), done);
    LAFS_TRY_GOTO(st, subjects(&people, &people_n, probes, err), done);
    LAFS_TRY_GOTO(st, take(&g, t, gallery, err), done);
    LAFS_TRY_GOTO(st, take(&p, t, probes, err), done);
    if (g.count == 0 || p.count == 0) {
        st = lafs_fail(err, LAFS_FAILED, "no template of the %s is in the input", g.count ? "probes" : "gallery");
        goto done;
    }
    LAFS_TRY_GOTO(st, lafs_alloc(&f, (size_t)probes->count, sizeof *f, err), done);
    for (int64_t i = 0; i < probes->count; i++)
        f[i] = (struct lafs_found){(int32_t)subject_place(people, people_n, probes->subject_id[i]),
                                   subject_place(enrolled, enrolled_n, probes->subject_id[i]) >= 0, 0, -INFINITY};
    LAFS_TRY_GOTO(st, search(j, f, t->dim, &g, &p, gallery, err), done);
    out->entries = gallery->count;
    out->people = enrolled_n;
    out->missing_entries = gallery->count - g.count;
    out->missing_probes = probes->count - p.count;
    st = lafs_identify_figures(&j->s->asked->what, f, probes->count, people_n, cli_pool(), &out->f, err);
    if (st == LAFS_OK && gallery == j->gallery) cli_few_people(people_n, j->s->asked->what.bootstrap); /* said once */
done:
    lafs_free(g.e), lafs_free(g.at), lafs_free(p.e), lafs_free(p.at);
    lafs_free(enrolled);
    lafs_free(people);
    lafs_free(f);
    return st;
}

static lafs_status take_image(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct job *j = arg;
    if (!j->first_key[0]) snprintf(j->first_key, sizeof j->first_key, "%s", lafs_sample_key(s));
    return lafs_embset_add(&j->set, &j->want, 1, s, NULL, err);
}

static lafs_status read_lists(struct job *j, struct lafs_err *err)
{
    const struct cli_list *galleries = j->s->galleries;
    LAFS_TRY(lafs_alloc0(&j->gallery, (size_t)galleries->n, sizeof *j->gallery, err));
    LAFS_TRY(lafs_alloc0(&j->of, (size_t)galleries->n, sizeof *j->of, err));
    LAFS_TRY(lafs_ijb_list_read(&j->probes, j->s->probes, err));
    for (int g = 0; g < galleries->n; g++) LAFS_TRY(lafs_ijb_list_read(j->gallery + g, galleries->v[g], err));
    LAFS_TRY(lafs_ijb_images_read(&j->images, j->s->templates->templates, err));
    return lafs_wanted_init(&j->want, &j->images->photos, err);
}

static lafs_status search_all(struct job *j, struct lafs_err *err)
{
    const struct cli_list *galleries = j->s->galleries;
    struct lafs_templates t = {0};
    const char *why = NULL;
    LAFS_TRY(templates_report_missing(&j->set, &j->want, j->first_key, j->s->templates->templates, err));
    LAFS_TRY(lafs_backend_open(&j->backend, cli.device, cli_pool(), &why, err));
    if (why) cli_warn("device %s", why);
    lafs_status st = templates_make(&t, j->s->templates, j->images, &j->want, &j->set, err);
    for (int g = 0; st == LAFS_OK && g < galleries->n; g++) {
        j->of[g].gallery = galleries->v[g];
        st = search_gallery(j, j->of + g, &t, j->gallery + g, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", galleries->v[g]);
    }
    lafs_templates_release(&t);
    return st == LAFS_OK ? search_report(j->s->asked, j->of, galleries->n, j->bad, stdout, err) : st;
}

static void release(struct job *j)
{
    lafs_ijb_list_release(&j->probes);
    for (int g = 0; j->gallery && g < j->s->galleries->n; g++) lafs_ijb_list_release(j->gallery + g);
    lafs_free(j->gallery);
    lafs_free(j->of);
    lafs_ijb_images_free(j->images);
    lafs_wanted_release(&j->want);
    lafs_embset_release(&j->set);
    lafs_backend_close(&j->backend);
}

int searchijb_run(const struct searchijb *s, const char *const *args, int nargs)
{
    struct lafs_err err = {0};
    struct job j = {.s = s};
    struct readall_totals totals = {0};
    struct embedders made_by = {.told = 0};
    struct readall reading = {.what = "embeddings", .arg = &j, .each = take_image, .made_by = &made_by};
    lafs_embset_init(&j.set);
    int status = read_lists(&j, &err) == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    if (status == EXIT_DONE) status = readall_run(&reading, args, nargs, &totals);
    j.bad = totals.bad;
    if (status == EXIT_DONE && search_all(&j, &err) != LAFS_OK) status = cli_fail(&err);
    release(&j);
    return status;
}
