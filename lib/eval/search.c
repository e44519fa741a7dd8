#include "eval/search.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "eval/dots.h"
#include "eval/integers.h"

enum {
    FIRST_BLOCK = 256,  /* entries scanned at first: there all are looked at, as no list is full */
    MOST_BLOCK = 8192,  /* and later, twice as many each time */
    TOP = 63,           /* as the scan has it */
    LISTED = 8,         /* of so many words of hits one may be in a list: it takes a quarter of their memory */
    GROUP = 64          /* entries rounded by a pool tile */
};
/* What is added to the error bound for the arithmetic of the bound itself: floats, all below 3. */
#define SLACK 2e-6

/* Memory on the device and its image here. */
struct both {
    void *host, *dev;
    size_t size;
};

struct lafs_search {
    struct lafs_backend b;
    struct lafs_pool *pool;
    struct lafs_search_options opt;
    const float *q;             /* (n, dim) */
    int64_t n, dim, padded, seen, block;
    struct both q8, c, a;       /* of the probes */
    struct both g8, x, y;       /* of a block */
    struct both hits;
    struct both off, list;      /* what of them is not 0, where the device lists it */
    int listed;                 /* of this part it has: hits are not here */
    double *scale, *rest;       /* (n) s_q; |r_q| and all that does not depend on the entry */
    struct lafs_match *match;   /* (n, k) */
    int64_t *matches, *looked;  /* (n) */
    int64_t *newest;            /* (n) the entry that came into the list last, -1: none did */
    lafs_dots_fn *dots;
    lafs_integers_fn *round;
    const struct lafs_search_block *now; /* during add */
    int64_t from, rows;
};

static lafs_status both_alloc(struct lafs_search *s, struct both *m, int64_t count, int64_t item, struct lafs_err *err)
{
    size_t size;
    if (!lafs_mul_ok((size_t)count, (size_t)item, &size)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    m->size = size;
    LAFS_TRY(lafs_alloc(&m->host, size, 1, err));
    return s->b.ops->alloc(s->b.dev, &m->dev, size, err);
}

static void both_free(struct lafs_search *s, struct both *m)
{
    lafs_free(m->host);
    if (m->dev) s->b.ops->free(s->b.dev, m->dev);
}

static void up(struct lafs_search *s, struct both *m, size_t size)
{
    s->b.ops->upload(s->b.dev, m->dev, m->host, size);
}

/* The cosine that a new entry must not stay below; an equal one is too late for a full list, but harmless. */
static float floor_of(const struct lafs_search *s, int64_t i)
{
    if (s->matches[i] < s->opt.k) return s->opt.min_score > -1 ? s->opt.min_score : -INFINITY;
    return s->match[i * s->opt.k + s->opt.k - 1].score;
}

static void set_bound(struct lafs_search *s, int64_t i)
{
    ((float *)s->c.host)[i] = (float)(((double)floor_of(s, i) - s->rest[i]) / s->scale[i]);
}

static void round_probe(void *arg, int64_t i, int worker)
{
    struct lafs_search *s = arg;
    (void)worker;
    double left, kept;
    double scale = s->round(s->q + i * s->dim, s->dim, s->padded, TOP, (int8_t *)s->q8.host + i * s->padded, &left,
                            &kept);
    s->scale[i] = scale;
    /* The length of a normalised row of floats is 1 within dim + 2 roundings at most, and a cosine is off by those of
     * its sum. */
    s->rest[i] = left * (1 + (double)(s->dim + 2) * 0x1p-24) + (double)(s->dim / 16 + 6) * 0x1p-23 + SLACK;
    ((float *)s->a.host)[i] = (float)(kept / scale);
    s->newest[i] = -1;
    set_bound(s, i);
}

static lafs_status alloc_list(struct lafs_search *s, struct lafs_err *err)
{
    if (!s->b.ops->hit_list) return LAFS_OK;
    LAFS_TRY(both_alloc(s, &s->off, s->n + 1, sizeof(int64_t), err));
    return both_alloc(s, &s->list, s->n * (MOST_BLOCK / 64) / LISTED, sizeof(struct lafs_hit_word), err);
}

lafs_status lafs_search_new(struct lafs_search **out, const struct lafs_backend *b, struct lafs_pool *pool,
                            const struct lafs_search_options *opt, const float *q, int64_t n, int64_t dim,
                            struct lafs_err *err)
{
    struct lafs_search *s;
    size_t cells;
    lafs_status st;
    *out = NULL;
    if (opt->k < 1 || opt->k > LAFS_MAX_TOP || n < 0 || n > INT32_MAX || dim < 1 || dim > LAFS_MAX_SEARCH_DIM)
        return lafs_fail(err, LAFS_USAGE, "a search for the %lld best of %lld probes of %lld values", (long long)opt->k,
                         (long long)n, (long long)dim);
    LAFS_TRY(lafs_alloc0(&s, 1, sizeof *s, err));
    s->b = *b;
    s->pool = pool;
    s->opt = *opt;
    s->q = q;
    s->n = n;
    s->dim = dim;
    s->padded = (dim + 63) / 64 * 64;
    s->block = FIRST_BLOCK;
    s->dots = lafs_dots();
    s->round = lafs_integers();
    if (!lafs_mul_ok((size_t)n, (size_t)opt->k, &cells)) {
        st = lafs_fail(err, LAFS_FAILED, "out of memory");
        goto fail;
    }
    LAFS_TRY_GOTO(st, both_alloc(s, &s->q8, n, s->padded, err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->c, n, sizeof(float), err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->a, n, sizeof(float), err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->g8, MOST_BLOCK, s->padded, err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->x, MOST_BLOCK, sizeof(float), err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->y, MOST_BLOCK, sizeof(float), err), fail);
    LAFS_TRY_GOTO(st, both_alloc(s, &s->hits, n, MOST_BLOCK / 8, err), fail);
    LAFS_TRY_GOTO(st, alloc_list(s, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->scale, (size_t)n, sizeof *s->scale, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->rest, (size_t)n, sizeof *s->rest, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->match, cells, sizeof *s->match, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc0(&s->matches, (size_t)n, sizeof *s->matches, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc0(&s->looked, (size_t)n, sizeof *s->looked, err), fail);
    LAFS_TRY_GOTO(st, lafs_alloc(&s->newest, (size_t)n, sizeof *s->newest, err), fail);
    lafs_pool_for(pool, n, round_probe, s);
    up(s, &s->q8, s->q8.size);
    up(s, &s->a, s->a.size);
    *out = s;
    return LAFS_OK;
fail:
    lafs_search_free(s);
    return st;
}

void lafs_search_free(struct lafs_search *s)
{
    if (!s) return;
    struct both *all[] = {&s->q8, &s->c, &s->a, &s->g8, &s->x, &s->y, &s->hits, &s->off, &s->list};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) both_free(s, all[i]);
    lafs_free(s->scale);
    lafs_free(s->rest);
    lafs_free(s->match);
    lafs_free(s->matches);
    lafs_free(s->looked);
    lafs_free(s->newest);
    lafs_free(s);
}

static void round_entries(void *arg, int64_t tile, int worker)
{
    struct lafs_search *s = arg;
    (void)worker;
    int64_t end = (tile + 1) * GROUP < s->rows ? (tile + 1) * GROUP : s->rows;
    for (int64_t j = tile * GROUP; j < end; j++) {
        double left, kept;
        double scale = s->round(s->now->e + (s->from + j) * s->dim, s->dim, s->padded, TOP,
                                (int8_t *)s->g8.host + j * s->padded, &left, &kept);
        ((float *)s->x.host)[j] = (float)(1 / scale);
        ((float *)s->y.host)[j] = (float)(left / scale);
    }
}

/* Where in the list of n the person is; n: nowhere. */
static int64_t place_of(const struct lafs_search *s, const struct lafs_match *m, int64_t n, int32_t person)
{
    int64_t at = 0;
    if (!s->opt.per_person || person < 0) return n;
    while (at < n && m[at].person != person) at++;
    return at;
}

/* Behind all that are as good; in the place of what the list has of the person, if that is worse. */
static void insert(struct lafs_search *s, int64_t i, int64_t entry, float score, int32_t person)
{
    struct lafs_match *m = s->match + i * s->opt.k;
    int64_t n = s->matches[i], lo = 0, hi = n;
    if (s->opt.min_score > -1 && score < s->opt.min_score) return;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (m[mid].score >= score) lo = mid + 1;
        else hi = mid;
    }
    if (lo == s->opt.k) return;
    int64_t gone = place_of(s, m, n, person);
    if (gone < lo) return;
    if (gone == n) { /* a new one */
        if (n == s->opt.k) gone--;
        else s->matches[i]++;
    }
    memmove(m + lo + 1, m + lo, (size_t)(gone - lo) * sizeof *m);
    m[lo] = (struct lafs_match){entry, score, person};
    s->newest[i] = entry;
}

static void look_at(struct lafs_search *s, int64_t i, const int64_t *row, int n)
{
    const float *e[4];
    float out[4];
    for (int k = 0; k < 4; k++) e[k] = s->now->e + (s->from + row[k < n ? k : 0]) * s->dim;
    s->dots(s->q + i * s->dim, (const float *const *)e, s->dim, out);
    const int32_t *person = s->now->person;
    for (int k = 0; k < n; k++)
        insert(s, i, s->seen + row[k], lafs_cosine(out[k]), person ? person[s->from + row[k]] : -1);
    s->looked[i] += n;
}

/* Entries of the part that wait to be looked at, since four are as quick as one. */
struct waiting {
    int64_t row[4];
    int n;
};

static void take_word(struct lafs_search *s, int64_t i, int64_t at, uint64_t bits, struct waiting *w)
{
    const int32_t *own = s->opt.own ? s->now->own : NULL;
    for (; bits; bits &= bits - 1) {
        int64_t j = at * 64 + __builtin_ctzll(bits);
        if (own && own[s->from + j] >= 0 && own[s->from + j] == s->opt.own[i]) continue;
        w->row[w->n++] = j;
        if (w->n < 4) continue;
        look_at(s, i, w->row, 4);
        w->n = 0;
    }
}

static void rank_hits(void *arg, int64_t i, int worker)
{
    struct lafs_search *s = arg;
    struct waiting w = {.n = 0};
    (void)worker;
    if (s->listed) {
        const int64_t *off = s->off.host;
        const struct lafs_hit_word *list = s->list.host;
        for (int64_t k = off[i]; k < off[i + 1]; k++) take_word(s, i, list[k].at, list[k].bits, &w);
    } else {
        const int64_t words = (s->rows + 63) / 64;
        const uint64_t *hits = (const uint64_t *)s->hits.host + i * words;
        for (int64_t k = 0; k < words; k++) take_word(s, i, k, hits[k], &w);
    }
    if (w.n) look_at(s, i, w.row, w.n);
    set_bound(s, i);
}

/* What the scan found comes here: as a list, where the device makes one and has room for it. */
static lafs_status fetch_hits(struct lafs_search *s, struct lafs_err *err)
{
    const struct lafs_ops *ops = s->b.ops;
    const int64_t words = (s->rows + 63) / 64, most = (int64_t)(s->list.size / sizeof(struct lafs_hit_word));
    int64_t found = most + 1;
    if (ops->hit_list) {
        ops->hit_list(s->b.dev, s->n, words, s->hits.dev, most, s->off.dev, s->list.dev);
        ops->download(s->b.dev, s->off.host, s->off.dev, s->off.size);
        LAFS_TRY(ops->sync(s->b.dev, err)); /* what a device that failed gives is no number */
        found = ((const int64_t *)s->off.host)[s->n];
    }
    s->listed = found <= most;
    if (s->listed)
        ops->download(s->b.dev, s->list.host, s->list.dev, (size_t)found * sizeof(struct lafs_hit_word));
    else ops->download(s->b.dev, s->hits.host, s->hits.dev, (size_t)(s->n * words) * sizeof(uint64_t));
    return ops->sync(s->b.dev, err);
}

/* Entries from..from+rows of the block. */
static lafs_status add_part(struct lafs_search *s, struct lafs_err *err)
{
    const int64_t rows = s->rows;
    lafs_pool_for(s->pool, (rows + GROUP - 1) / GROUP, round_entries, s);
    up(s, &s->c, s->c.size);
    up(s, &s->g8, (size_t)(rows * s->padded));
    up(s, &s->x, (size_t)rows * sizeof(float));
    up(s, &s->y, (size_t)rows * sizeof(float));
    s->b.ops->scan(s->b.dev, s->n, rows, s->padded, s->q8.dev, s->c.dev, s->a.dev, s->g8.dev, s->x.dev, s->y.dev,
                   s->hits.dev);
    LAFS_TRY(fetch_hits(s, err));
    lafs_pool_for(s->pool, s->n, rank_hits, s);
    return LAFS_OK;
}

lafs_status lafs_search_add(struct lafs_search *s, const struct lafs_search_block *b, struct lafs_err *err)
{
    s->now = b;
    for (s->from = 0; s->from < b->rows && s->n > 0; s->from += s->rows) {
        s->rows = b->rows - s->from < s->block ? b->rows - s->from : s->block;
        LAFS_TRY(add_part(s, err));
        s->seen += s->rows;
        if (s->block < MOST_BLOCK) s->block *= 2;
    }
    return LAFS_OK;
}

int64_t lafs_search_probes(const struct lafs_search *s) { return s->n; }

void lafs_search_mark(const struct lafs_search *s, int64_t first, int64_t rows, uint8_t *mark)
{
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t t = 0; s->newest[i] >= first && t < s->matches[i]; t++) {
            int64_t at = s->match[i * s->opt.k + t].entry - first;
            if (at >= 0 && at < rows) mark[at] = 1;
        }
}

const struct lafs_match *lafs_search_matches(const struct lafs_search *s, int64_t i, int64_t *count)
{
    *count = s->matches[i];
    return s->match + i * s->opt.k;
}

int64_t lafs_search_looked_at(const struct lafs_search *s)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += s->looked[i];
    return sum;
}
