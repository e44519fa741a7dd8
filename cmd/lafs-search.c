/* lafs-search: who in a gallery is most like each probe. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/rates.h"
#include "cmd/readall.h"
#include "cmd/searchijb.h"
#include "cmd/searchout.h"
#include "cmd/templates.h"
#include "compute/backend.h"
#include "data/stream.h"
#include "eval/embset.h"
#include "eval/kept.h"
#include "eval/search.h"

static struct {
    struct cli_list probes, gallery_lists;
    const char *probe_list, *fpir;
    struct templates_options ijb;
    int64_t top, bootstrap;
    double min_score, threshold;
    int per_person, exclude_own, figures, json;
} o = {.top = 10, .bootstrap = 1000, .min_score = -1, .threshold = NAN};

static const struct cli_option table[] = {
    {"probes", 'p', CLI_LIST, &o.probes, "FILE", "look for the embeddings of FILE; may be given several times"},
    {"top", 'k', CLI_INT, &o.top, "N", "give the N most similar entries", 1, LAFS_MAX_TOP, "10"},
    {"per-person", 0, CLI_FLAG, &o.per_person, NULL, "give each person once, by the most similar entry"},
    {"min-score", 0, CLI_DOUBLE, &o.min_score, "COSINE", "give no entry below COSINE", -1, 1, "-1: all"},
    {"exclude-own", 0, CLI_FLAG, &o.exclude_own, NULL, "pass over the entry that has the probe's own key"},
    {"figures", 0, CLI_FLAG, &o.figures, NULL, "print how often people are found, instead of matches"},
    {"fpir", 0, CLI_STRING, &o.fpir, "RATES", "report TPIR at these rates, separated by commas", 0, 0, "0.01,0.1"},
    {"threshold", 0, CLI_DOUBLE, &o.threshold, "COSINE", "report also at this threshold, chosen elsewhere", -1, 1},
    {"bootstrap", 0, CLI_INT, &o.bootstrap, "N", "intervals from N resamplings of the people; 0: none", 0, 1000000,
     "1000"},
    {"gallery-list", 0, CLI_LIST, &o.gallery_lists, "FILE",
     "IJB: the templates of a gallery; may be given several times"},
    {"probe-list", 0, CLI_STRING, &o.probe_list, "FILE", "IJB: the templates that are searched for"},
    CLI_TEMPLATES(o.ijb),
    {"json", 0, CLI_FLAG, &o.json, NULL, "print JSON: a line for each probe, or the figures"},
    {"output", 'o', CLI_STRING, &cli.out, "FILE", "write the matches to FILE as records, instead of printing them"},
    CLI_JOBS,
    CLI_DEVICE,
    CLI_SEED,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-search", "[OPTION]... --probes FILE [GALLERY]...",
                                           "who in a gallery is most like each probe", table};

enum { BLOCK = 8192, ROW_TILE = 64 };
/* A cosine is off by its rounding: that of an embedding and itself may be below 1. */
static const double ROUNDING = 1e-6;

/* A part of the gallery. */
struct block {
    struct lafs_buf e, text;      /* (rows, dim) float; keys and names, NUL-terminated */
    size_t *key, *name;           /* (BLOCK) offsets in text */
    int32_t *own, *who;           /* (BLOCK) probe with the entry's key, number in names; or -1 */
    int32_t *person;              /* (BLOCK) number in people, or -1; only with --per-person */
    int64_t rows;
};

struct job {
    const struct search_asked *asked;
    struct lafs_backend backend;
    struct embedders made_by;     /* probes and gallery */
    /* Probes. */
    struct lafs_buf probe;        /* (keys.count, dim) float */
    int64_t dim;
    struct lafs_strset keys, names;
    int32_t *person, *number;     /* (keys.count) number in names, or -1; 0, 1, 2 .. */
    int64_t cap;
    /* The gallery: one block is filled while the other is searched. */
    struct lafs_search *search;
    struct lafs_kept kept;
    struct block block[2], *now;
    int64_t entries;              /* searched */
    int64_t bad;                  /* records skipped: probes and entries */
    pthread_t searcher;
    int searching;                /* the thread is there, with the other block */
    lafs_status searched;         /* what came of it */
    struct lafs_err search_err;
    int64_t *enrolled, *enrolled_own; /* (names.count) entries of the person; (keys.count) with the probe's own key */
    struct lafs_strset people;    /* names of the gallery; only with --figures or --per-person */
};

static float *floats(const struct lafs_buf *b) { return (float *)(void *)b->data; }

/* -- probes -- */

/* The field `name`; "" where there is none. */
static lafs_status name_of(const struct lafs_sample *s, const char **name, size_t *len, struct lafs_err *err)
{
    lafs_status st = lafs_sample_str(s, "name", name, len, err);
    if (st == LAFS_END || (st == LAFS_OK && *len == 0)) {
        *name = "";
        *len = 0;
        return o.figures ? lafs_fail(err, LAFS_FAILED, "'%s' has no name: --figures needs everybody's",
                                     lafs_sample_key(s))
                         : LAFS_OK;
    }
    if (st != LAFS_OK) return st;
    return memchr(*name, 0, *len) ? lafs_fail(err, LAFS_BAD_RECORD, "field 'name' holds a zero byte") : LAFS_OK;
}

static lafs_status named(lafs_status st, const struct lafs_sample *s, struct lafs_err *err)
{
    if (st == LAFS_FAILED) lafs_err_prefix(err, "'%s'", lafs_sample_key(s));
    return st;
}

static lafs_status take_probe(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct job *j = arg;
    const char *name, *key = lafs_sample_key(s);
    size_t len;
    int64_t id, who = -1;
    LAFS_TRY(name_of(s, &name, &len, err));
    LAFS_TRY(named(lafs_embedding_append(&j->probe, &j->dim, s, err), s, err));
    if (j->dim > LAFS_MAX_SEARCH_DIM)
        return lafs_fail(err, LAFS_FAILED, "'%s': an embedding of %lld values, of more than %d", key, (long long)j->dim,
                         LAFS_MAX_SEARCH_DIM);
    const int64_t n = j->keys.count;
    LAFS_TRY(lafs_strset_add(&j->keys, key, strlen(key), &id, err));
    if (id != n) return lafs_fail(err, LAFS_FAILED, "the probe '%s' is there twice", key);
    if (len) LAFS_TRY(lafs_strset_add(&j->names, name, len, &who, err));
    if (n == j->cap) {
        int64_t cap = j->cap ? j->cap * 2 : 256;
        LAFS_TRY(lafs_resize(&j->person, (size_t)n, (size_t)cap, sizeof *j->person, err));
        LAFS_TRY(lafs_resize(&j->number, (size_t)n, (size_t)cap, sizeof *j->number, err));
        j->cap = cap;
    }
    j->number[n] = (int32_t)n;
    j->person[n] = (int32_t)who;
    return LAFS_OK;
}

/* -- the gallery -- */

struct rows {
    float *e;
    int64_t n, dim;
};

/* The rows are finite and not zero, so that this cannot fail. */
static void normalise(void *arg, int64_t tile, int worker)
{
    const struct rows *r = arg;
    struct lafs_err err;
    (void)worker;
    int64_t from = tile * ROW_TILE, n = r->n - from < ROW_TILE ? r->n - from : ROW_TILE;
    lafs_normalise_rows(r->e + from * r->dim, n, r->dim, NULL, NULL, &err);
}

static void normalise_all(float *e, int64_t n, int64_t dim)
{
    struct rows r = {e, n, dim};
    lafs_pool_for(cli_pool(), (n + ROW_TILE - 1) / ROW_TILE, normalise, &r);
}

static lafs_status open_search(struct job *j, struct lafs_err *err)
{
    const int64_t n = j->keys.count;
    const char *why = NULL;
    if (n == 0) return lafs_fail(err, LAFS_FAILED, "there are no probes");
    normalise_all(floats(&j->probe), n, j->dim);
    LAFS_TRY(lafs_backend_open(&j->backend, cli.device, cli_pool(), &why, err));
    if (why) cli_warn("device %s", why);
    for (int k = 0; k < 2; k++) {
        struct block *p = j->block + k;
        LAFS_TRY(lafs_alloc(&p->key, BLOCK, sizeof *p->key, err));
        LAFS_TRY(lafs_alloc(&p->name, BLOCK, sizeof *p->name, err));
        LAFS_TRY(lafs_alloc(&p->own, BLOCK, sizeof *p->own, err));
        LAFS_TRY(lafs_alloc(&p->who, BLOCK, sizeof *p->who, err));
        if (o.per_person) LAFS_TRY(lafs_alloc(&p->person, BLOCK, sizeof *p->person, err));
    }
    j->now = j->block;
    LAFS_TRY(lafs_alloc0(&j->enrolled, (size_t)j->names.count, sizeof *j->enrolled, err));
    LAFS_TRY(lafs_alloc0(&j->enrolled_own, (size_t)n, sizeof *j->enrolled_own, err));
    struct lafs_search_options opt = {.k = o.top, .min_score = (float)(o.min_score - ROUNDING),
                                      .own = o.exclude_own ? j->number : NULL, .per_person = o.per_person};
    if (o.figures) { /* ranks are over all entries, whatever is printed */
        opt.min_score = -1;
        if (opt.k < lafs_rank[LAFS_RANKS - 1]) opt.k = lafs_rank[LAFS_RANKS - 1];
    }
    return lafs_search_new(&j->search, &j->backend, cli_pool(), &opt, floats(&j->probe), n, j->dim, err);
}

static lafs_status search_block(struct job *j, struct block *b, struct lafs_err *err)
{
    uint8_t mark[BLOCK] = {0};
    if (b->rows == 0) return LAFS_OK;
    normalise_all(floats(&b->e), b->rows, j->dim);
    LAFS_TRY(lafs_search_add(j->search, &(struct lafs_search_block){floats(&b->e), b->rows, b->own, b->person}, err));
    lafs_search_mark(j->search, j->entries, b->rows, mark);
    const char *text = (const char *)b->text.data;
    for (int64_t i = 0; i < b->rows; i++)
        if (mark[i])
            LAFS_TRY(lafs_kept_add(&j->kept, j->entries + i, text + b->key[i], text + b->name[i], b->who[i], err));
    LAFS_TRY(lafs_kept_prune(&j->kept, j->search, err));
    j->entries += b->rows;
    b->rows = 0;
    b->e.size = b->text.size = 0;
    return LAFS_OK;
}

static struct block *other(struct job *j) { return j->now == j->block ? j->block + 1 : j->block; }

static void *searcher(void *arg)
{
    struct job *j = arg;
    j->searched = search_block(j, other(j), &j->search_err);
    return NULL;
}

/* Waits for the block that is being searched. */
static lafs_status await_search(struct job *j, struct lafs_err *err)
{
    if (!j->searching) return LAFS_OK;
    pthread_join(j->searcher, NULL);
    j->searching = 0;
    if (j->searched != LAFS_OK) *err = j->search_err;
    return j->searched;
}

/* The block that was filled is searched while the other one is filled; at once where there is but one thread. */
static lafs_status hand_over(struct job *j, struct lafs_err *err)
{
    LAFS_TRY(await_search(j, err));
    if (lafs_pool_threads(cli_pool()) == 1) return search_block(j, j->now, err);
    j->now = other(j);
    if (pthread_create(&j->searcher, NULL, searcher, j) != 0) return search_block(j, other(j), err);
    j->searching = 1;
    return LAFS_OK;
}

static lafs_status take_entry(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct job *j = arg;
    struct block *b = j->now;
    const char *name, *key = lafs_sample_key(s);
    size_t len;
    int64_t dim = j->dim; /* known: the searching thread reads it */
    LAFS_TRY(name_of(s, &name, &len, err));
    LAFS_TRY(named(lafs_embedding_append(&b->e, &dim, s, err), s, err));
    const int64_t i = b->rows, own = lafs_strset_find(&j->keys, key, strlen(key));
    const int64_t who = len ? lafs_strset_find(&j->names, name, len) : -1;
    b->own[i] = (int32_t)own;
    b->who[i] = (int32_t)who;
    b->key[i] = b->text.size;
    lafs_buf_put(&b->text, key, strlen(key) + 1);
    b->name[i] = b->text.size;
    lafs_buf_put(&b->text, name, len);
    lafs_buf_putc(&b->text, 0);
    LAFS_TRY(lafs_buf_check(&b->text, err));
    if (who >= 0) j->enrolled[who]++;
    if (own >= 0 && who >= 0 && who == j->person[own]) j->enrolled_own[own]++;
    int64_t person = -1;
    if (len && (o.figures || o.per_person)) LAFS_TRY(lafs_strset_add(&j->people, name, len, &person, err));
    if (b->person) b->person[i] = (int32_t)person;
    return ++b->rows == BLOCK ? hand_over(j, err) : LAFS_OK;
}

/* -- results -- */

static lafs_status open_writer(struct lafs_writer **w, int64_t n, struct lafs_err *err)
{
    struct lafs_header h;
    const char *const *names, *const *values;
    lafs_header_init(&h);
    h.images = n;
    int count = cli_prov_options(&program, &names, &values);
    lafs_status st = lafs_header_add_prov(&h, program.name, lafs_version, names, values, count, err);
    if (st == LAFS_OK) st = lafs_writer_open(w, &(struct lafs_writer_options){.out = cli.out}, &h, err);
    lafs_header_release(&h);
    return st;
}

/* The matches of probe i that are asked for. */
static const struct lafs_match *matches_of(const struct job *j, int64_t i, int64_t *n)
{
    const struct lafs_match *m = lafs_search_matches(j->search, i, n);
    if (*n > o.top) *n = o.top;
    while (*n > 0 && (double)m[*n - 1].score < o.min_score - ROUNDING) --*n;
    return m;
}

static lafs_status put_record(struct lafs_writer *w, struct lafs_sample *s, const struct job *j, int64_t i,
                              struct lafs_err *err)
{
    int64_t n;
    const struct lafs_match *m = matches_of(j, i, &n);
    struct lafs_buf b;
    lafs_buf_init(&b);
    search_pack(&b, m, n, &j->kept);
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", lafs_strset_at(&j->keys, i));
    if (j->person[i] >= 0) lafs_sample_set_str(s, "name", lafs_strset_at(&j->names, j->person[i]));
    lafs_status st = lafs_buf_check(&b, err);
    if (st == LAFS_OK) lafs_sample_set_raw(s, "matches", b.data, b.size);
    if (st == LAFS_OK) st = lafs_sample_check(s, err);
    if (st == LAFS_OK) st = lafs_writer_put(w, s, err);
    lafs_buf_release(&b);
    return st;
}

static lafs_status write_records(const struct job *j, struct lafs_err *err)
{
    struct lafs_writer *w;
    struct lafs_sample s;
    const int64_t n = j->keys.count;
    LAFS_TRY(open_writer(&w, n, err));
    lafs_sample_init(&s);
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < n && st == LAFS_OK; i++) st = put_record(w, &s, j, i, err);
    lafs_sample_release(&s);
    if (st == LAFS_OK) return lafs_writer_close(w, &(struct lafs_totals){.count = n, .ok = 1}, err);
    lafs_writer_abort(w);
    return st == LAFS_BAD_RECORD ? LAFS_FAILED : st;
}

static lafs_status print_matches(const struct job *j, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < j->keys.count && st == LAFS_OK; i++) {
        int64_t n;
        const struct lafs_match *m = matches_of(j, i, &n);
        const char *key = lafs_strset_at(&j->keys, i);
        b.size = 0;
        if (!o.json) search_put_lines(&b, key, m, n, &j->kept);
        else
            search_put_json(&b, key, j->person[i] >= 0 ? lafs_strset_at(&j->names, j->person[i]) : NULL, m, n,
                            &j->kept);
        st = lafs_buf_check(&b, err);
        if (st == LAFS_OK) st = cli_write_stdout(b.data, b.size, err);
    }
    lafs_buf_release(&b);
    return st;
}

static lafs_status figures(const struct job *j, struct lafs_err *err)
{
    const int64_t n = j->keys.count;
    struct search_figures of = {.entries = j->entries, .people = j->people.count};
    struct lafs_found *f;
    LAFS_TRY(lafs_alloc(&f, (size_t)n, sizeof *f, err));
    for (int64_t i = 0; i < n; i++) {
        int64_t count;
        const struct lafs_match *m = lafs_search_matches(j->search, i, &count);
        int64_t mates = j->enrolled[j->person[i]] - (o.exclude_own ? j->enrolled_own[i] : 0);
        f[i] = (struct lafs_found){j->person[i], mates > 0, 0, count ? m[0].score : -INFINITY};
        for (int64_t t = 0; t < count && !f[i].rank; t++)
            if (lafs_kept_find(&j->kept, m[t].entry)->person == j->person[i]) f[i].rank = (int32_t)t + 1;
    }
    lafs_status st = lafs_identify_figures(&j->asked->what, f, n, j->names.count, cli_pool(), &of.f, err);
    lafs_free(f);
    if (st == LAFS_OK) cli_few_people(j->names.count, j->asked->what.bootstrap);
    return st == LAFS_OK ? search_report(j->asked, &of, 1, j->bad, stdout, err) : st;
}

static lafs_status results(struct job *j, struct lafs_err *err)
{
    LAFS_TRY(await_search(j, err));
    LAFS_TRY(search_block(j, j->now, err));
    if (j->entries == 0) return lafs_fail(err, LAFS_FAILED, "the gallery is empty");
    cli_note("%lld of %lld cosines were computed in full", (long long)lafs_search_looked_at(j->search),
             (long long)(j->entries * j->keys.count));
    if (cli.out) LAFS_TRY(write_records(j, err));
    if (o.figures) return figures(j, err);
    return cli.out ? LAFS_OK : print_matches(j, err);
}

static int run_search(struct job *j, char **args, int n)
{
    struct lafs_err err = {0};
    struct readall_totals totals = {0};
    struct readall probes = {.what = "probes", .arg = j, .each = take_probe, .made_by = &j->made_by};
    struct readall gallery = {.what = "entries", .arg = j, .each = take_entry, .made_by = &j->made_by,
                              .more_rejects = 1};
    const char *const written[] = {cli.out, cli.rejects};
    for (int i = 0; i < 2; i++)
        if (written[i] && (lafs_writer_spares(written[i], o.probes.v, o.probes.n, &err) != LAFS_OK ||
                           lafs_writer_spares(written[i], (const char *const *)args, n, &err) != LAFS_OK))
            return cli_fail(&err);
    int status = readall_run(&probes, o.probes.v, o.probes.n, &totals);
    j->bad = totals.bad;
    if (status == EXIT_DONE && open_search(j, &err) != LAFS_OK) status = cli_fail(&err);
    if (status == EXIT_DONE) status = readall_run(&gallery, (const char *const *)args, n, &totals);
    j->bad += totals.bad;
    if (status == EXIT_DONE && results(j, &err) != LAFS_OK) status = cli_fail(&err);
    return status;
}

/* -- the whole -- */

static void check_options(char **args, int n)
{
    int ijb = o.gallery_lists.n || o.probe_list || o.ijb.templates, in = n == 0, out = cli.out && !strcmp(cli.out, "-");
    templates_check(&o.ijb);
    if (ijb) {
        if (!o.gallery_lists.n || !o.probe_list || !o.ijb.templates)
            cli_misuse("--templates, --gallery-list and --probe-list need each other");
        if (o.probes.n || cli.out || o.exclude_own || o.per_person || cli_given(&o.top) || cli_given(&o.min_score))
            cli_misuse("--probes, --top, --per-person, --min-score, --exclude-own and -o do not go with --templates");
        o.figures = 1;
    } else if (!o.probes.n) cli_misuse("--probes is needed: who to look for");
    if (!o.figures && (o.fpir || !isnan(o.threshold) || cli_given(&o.bootstrap) || cli_given(&cli.seed)))
        cli_misuse("--fpir, --threshold, --bootstrap and --seed need --figures");
    if (!o.figures && o.json && cli.out) cli_misuse("--json is about what is printed: -o writes records");
    if (o.figures && out) cli_misuse("--figures and -o - would write to the same place");
    for (int i = 0; i < n; i++) in += !strcmp(args[i], "-");
    for (int i = 0; i < o.probes.n; i++)
        if (!strcmp(o.probes.v[i], "-") && in++) cli_misuse("only one of probes and gallery can be standard input");
}

static void release(struct job *j)
{
    struct lafs_err ignored;
    (void)await_search(j, &ignored);
    lafs_search_free(j->search);
    lafs_backend_close(&j->backend);
    for (int k = 0; k < 2; k++) {
        struct block *b = j->block + k;
        lafs_buf_release(&b->e);
        lafs_buf_release(&b->text);
        lafs_free(b->key), lafs_free(b->name), lafs_free(b->own), lafs_free(b->who), lafs_free(b->person);
    }
    lafs_buf_release(&j->probe);
    lafs_strset_release(&j->keys);
    lafs_strset_release(&j->names);
    lafs_strset_release(&j->people);
    lafs_kept_release(&j->kept);
    lafs_free(j->person), lafs_free(j->number), lafs_free(j->enrolled), lafs_free(j->enrolled_own);
}

int main(int argc, char **argv)
{
    struct search_asked asked;
    int n, status;
    char **args = cli_parse(&program, argc, argv, &n);
    check_options(args, n);
    int rates = cli_rates("--fpir", o.fpir ? o.fpir : "0.01,0.1", asked.fpir, asked.fpir_text, LAFS_MAX_FPIRS);
    asked.json = o.json;
    asked.what = (struct lafs_identify){.fpir = asked.fpir, .fpirs = rates, .apply = !isnan(o.threshold),
                                        .threshold = o.threshold, .bootstrap = o.bootstrap, .seed = (uint64_t)cli.seed};
    if (o.gallery_lists.n) {
        struct searchijb s = {&asked, &o.ijb, &o.gallery_lists, o.probe_list};
        status = searchijb_run(&s, (const char *const *)args, n);
    } else {
        struct job j = {.asked = &asked};
        status = run_search(&j, args, n);
        release(&j);
    }
    return cli_finish(status);
}
