#include "cmd/searchout.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "cmd/printing.h"
#include "cmd/showvalue.h"
#include "data/record.h"

/* -- matches -- */

static void put_field(struct lafs_buf *b, const char *text)
{
    lafs_buf_putc(b, '\t');
    show_text(b, text, strlen(text), 1024);
}

void search_put_lines(struct lafs_buf *b, const char *probe, const struct lafs_match *m, int64_t n,
                      const struct lafs_kept *kept)
{
    for (int64_t t = 0; t < n; t++) {
        const struct lafs_kept_entry *e = lafs_kept_find(kept, m[t].entry);
        lafs_buf_printf(b, "%s\t%lld\t%.6f", probe, (long long)t + 1, (double)m[t].score);
        put_field(b, lafs_kept_key(kept, e));
        put_field(b, lafs_kept_name(kept, e));
        lafs_buf_putc(b, '\n');
    }
}

void search_put_json(struct lafs_buf *b, const char *probe, const char *name, const struct lafs_match *m, int64_t n,
                     const struct lafs_kept *kept)
{
    lafs_buf_putc(b, '{');
    put_text(b, "probe", probe);
    if (name) put_text(b, "name", name);
    put_key(b, "matches");
    lafs_buf_putc(b, '[');
    for (int64_t t = 0; t < n; t++) {
        const struct lafs_kept_entry *e = lafs_kept_find(kept, m[t].entry);
        lafs_buf_puts(b, t ? ", {" : "{");
        put_text(b, "key", lafs_kept_key(kept, e));
        if (*lafs_kept_name(kept, e)) put_text(b, "name", lafs_kept_name(kept, e));
        put_double(b, "cosine", (double)m[t].score);
        lafs_buf_putc(b, '}');
    }
    lafs_buf_puts(b, "]}\n");
}

void search_pack(struct lafs_buf *b, const struct lafs_match *m, int64_t n, const struct lafs_kept *kept)
{
    lafs_pack_array(b, (uint32_t)n);
    for (int64_t t = 0; t < n; t++) {
        const struct lafs_kept_entry *e = lafs_kept_find(kept, m[t].entry);
        const char *name = lafs_kept_name(kept, e);
        lafs_pack_map(b, *name ? 3 : 2);
        lafs_pack_str(b, "key");
        lafs_pack_str(b, lafs_kept_key(kept, e));
        if (*name) {
            lafs_pack_str(b, "name");
            lafs_pack_str(b, name);
        }
        lafs_pack_str(b, "cosine");
        lafs_pack_double(b, (double)m[t].score);
    }
}

/* -- figures -- */

struct report {
    const struct search_asked *asked;
    const struct search_figures *of;
    int n;
    int64_t bad;
};

static void put_share(struct lafs_buf *b, const struct lafs_interval *v, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void put_share(struct lafs_buf *b, const struct lafs_interval *v, const char *fmt, ...)
{
    char name[64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    lafs_buf_printf(b, "%-22s", name);
    put_percent(b, v->value, 12);
    put_interval(b, v->low, v->high);
    lafs_buf_putc(b, '\n');
}

static void put_one(struct lafs_buf *b, const struct search_asked *asked, const struct search_figures *g)
{
    const struct lafs_identify *what = &asked->what;
    const struct lafs_identified *f = &g->f;
    if (g->gallery) lafs_buf_printf(b, "gallery '%s': ", g->gallery);
    lafs_buf_printf(b, "%s of %s, %s (%lld of enrolled people, %lld of others)\n", counted(g->entries, "entries").text,
                    counted(g->people, "people").text, counted(f->probes, "probes").text, (long long)f->mated,
                    (long long)f->others);
    if (g->missing_probes || g->missing_entries)
        lafs_buf_printf(b, "%lld probes and %lld entries have no image: they are not found, and ring no alarm\n",
                        (long long)g->missing_probes, (long long)g->missing_entries);
    lafs_buf_printf(b, "\n%-22s%12s%s\n", "", "", what->bootstrap ? "   95 % interval" : "");
    for (int k = 0; k < LAFS_RANKS; k++) put_share(b, f->rank + k, "rank %d", lafs_rank[k]);
    for (int k = 0; k < what->fpirs; k++) {
        put_share(b, f->tpir + k, "TPIR at FPIR %s", asked->fpir_text[k]);
        if (isfinite(f->threshold[k]))
            lafs_buf_printf(b, "  threshold %.4f, FPIR met %.4f\n", f->threshold[k], f->met[k]);
        if (f->others && what->fpir[k] * (double)f->others < 1 - 1e-9)
            lafs_buf_printf(b, "  finer than %s of others can tell\n", counted(f->others, "probes").text);
    }
    if (!what->apply) return;
    put_share(b, &f->applied_tpir, "TPIR at cosine %.4f", what->threshold);
    if (!isnan(f->applied_fpir)) lafs_buf_printf(b, "  FPIR %.4f\n", f->applied_fpir);
}

/* A figure of struct lafs_identified, averaged over galleries; NaN where one has none. */
#define MEAN(r, field) mean_of(r, (const char *)&(r)->of->f.field - (const char *)&(r)->of->f)
static double mean_of(const struct report *r, ptrdiff_t at)
{
    double sum = 0, v;
    for (int g = 0; g < r->n; g++) {
        memcpy(&v, (const char *)&r->of[g].f + at, sizeof v);
        sum += v / r->n;
    }
    return sum;
}

static void put_means(struct lafs_buf *b, const struct report *r)
{
    const struct lafs_identify *what = &r->asked->what;
    struct lafs_interval v = {NAN, NAN, NAN, NAN};
    lafs_buf_printf(b, "\nmean of the %d galleries, each with its own threshold%s\n", r->n,
                    what->apply ? ", and at the given one" : "");
    for (int k = 0; k < LAFS_RANKS; k++) {
        v.value = MEAN(r, rank[k].value);
        put_share(b, &v, "rank %d", lafs_rank[k]);
    }
    for (int k = 0; k < what->fpirs; k++) {
        v.value = MEAN(r, tpir[k].value);
        put_share(b, &v, "TPIR at FPIR %s", r->asked->fpir_text[k]);
    }
    if (!what->apply) return;
    v.value = MEAN(r, applied_tpir.value);
    put_share(b, &v, "TPIR at cosine %.4f", what->threshold);
    double fpir = MEAN(r, applied_fpir);
    if (!isnan(fpir)) lafs_buf_printf(b, "  FPIR %.4f\n", fpir);
}

static void put_text_report(struct lafs_buf *b, const struct report *r)
{
    if (r->bad) lafs_buf_printf(b, "left out: %s\n", counted(r->bad, "bad records").text);
    for (int g = 0; g < r->n; g++) {
        if (g) lafs_buf_putc(b, '\n');
        put_one(b, r->asked, r->of + g);
    }
    if (r->n > 1) put_means(b, r);
}

static void put_share_json(struct lafs_buf *b, const char *key, const struct lafs_interval *v)
{
    char name[96];
    put_double(b, key, v->value);
    snprintf(name, sizeof name, "%s_low", key);
    put_double(b, name, v->low);
    snprintf(name, sizeof name, "%s_high", key);
    put_double(b, name, v->high);
}

static void put_gallery_json(struct lafs_buf *b, const struct search_asked *asked, const struct search_figures *g)
{
    const struct lafs_identify *what = &asked->what;
    const struct lafs_identified *f = &g->f;
    char name[64];
    if (g->gallery) put_text(b, "gallery", g->gallery);
    put_int(b, "entries", g->entries);
    put_int(b, "people", g->people);
    put_int(b, "probes", f->probes);
    put_int(b, "enrolled", f->mated);
    put_int(b, "others", f->others);
    put_int(b, "missing_entries", g->missing_entries);
    put_int(b, "missing_probes", g->missing_probes);
    for (int k = 0; k < LAFS_RANKS; k++) {
        snprintf(name, sizeof name, "rank%d", lafs_rank[k]);
        put_share_json(b, name, f->rank + k);
    }
    put_key(b, "rates");
    lafs_buf_putc(b, '[');
    for (int k = 0; k < what->fpirs; k++) {
        lafs_buf_puts(b, k ? ", {" : "{");
        put_double(b, "fpir", what->fpir[k]);
        put_share_json(b, "tpir", f->tpir + k);
        put_double(b, "threshold", isfinite(f->threshold[k]) ? f->threshold[k] : NAN);
        put_double(b, "met", f->met[k]);
        lafs_buf_putc(b, '}');
    }
    lafs_buf_putc(b, ']');
    if (!what->apply) return;
    put_double(b, "threshold", what->threshold);
    put_share_json(b, "tpir", &f->applied_tpir);
    put_double(b, "fpir", f->applied_fpir);
}

static void put_means_json(struct lafs_buf *b, const struct report *r)
{
    const struct lafs_identify *what = &r->asked->what;
    char name[64];
    for (int k = 0; k < LAFS_RANKS; k++) {
        snprintf(name, sizeof name, "rank%d", lafs_rank[k]);
        put_double(b, name, MEAN(r, rank[k].value));
    }
    put_key(b, "tpir");
    lafs_buf_putc(b, '{');
    for (int k = 0; k < what->fpirs; k++) put_double(b, r->asked->fpir_text[k], MEAN(r, tpir[k].value));
    lafs_buf_putc(b, '}');
    if (!what->apply) return;
    put_key(b, "applied");
    lafs_buf_putc(b, '{');
    put_double(b, "threshold", what->threshold);
    put_double(b, "tpir", MEAN(r, applied_tpir.value));
    put_double(b, "fpir", MEAN(r, applied_fpir));
    lafs_buf_putc(b, '}');
}

static void put_json_report(struct lafs_buf *b, const struct report *r)
{
    lafs_buf_putc(b, '{');
    put_int(b, "bootstrap", r->asked->what.bootstrap);
    put_int(b, "bad", r->bad);
    if (r->n == 1) put_gallery_json(b, r->asked, r->of);
    else {
        put_means_json(b, r);
        put_key(b, "galleries");
        lafs_buf_putc(b, '[');
        for (int g = 0; g < r->n; g++) {
            lafs_buf_puts(b, g ? ", {" : "{");
            put_gallery_json(b, r->asked, r->of + g);
            lafs_buf_putc(b, '}');
        }
        lafs_buf_putc(b, ']');
    }
    lafs_buf_puts(b, "}\n");
}

lafs_status search_report(const struct search_asked *asked, const struct search_figures *of, int n, int64_t bad,
                          FILE *f, struct lafs_err *err)
{
    const struct report r = {asked, of, n, bad};
    struct lafs_buf b;
    lafs_buf_init(&b);
    if (asked->json) put_json_report(&b, &r);
    else put_text_report(&b, &r);
    return put_out(&b, f, err);
}
