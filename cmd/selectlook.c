#include "cmd/selectlook.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/printing.h"
#include "cmd/progress.h"
#include "data/face.h"
#include "data/index.h"
#include "data/stream.h"

enum { BLOCK = 512 };

static int64_t samples(const struct looking *l) { return l->s->ix->samples; }

void looking_init(struct looking *l, struct lafs_select *s)
{
    *l = (struct looking){.s = s};
    lafs_buf_init(&l->near_keys);
}

void looking_release(struct looking *l)
{
    lafs_fetch_close(l->fetch);
    lafs_near_free(l->near);
    lafs_buf_release(&l->near_keys);
    lafs_free(l->near_key);
    lafs_near_free(l->own);
    for (int64_t i = 0; l->drawn && i < samples(l); i++) lafs_near_picture_free(l->drawn[i]);
    lafs_free(l->drawn);
    lafs_free(l->order);
    lafs_free(l->own_sample);
    lafs_free(l->like);
    lafs_free(l->unjudged);
    lafs_free(l->trouble);
}

/* The k-th sample to be looked into. */
static int64_t at(const struct looking *l, int64_t k) { return l->order ? l->order[k] : k; }

/* Looks into sample i, which is kept so far, and may drop it. Called from several threads. */
typedef lafs_status look_fn(struct looking *l, int64_t i, struct lafs_err *err);

static void look_into_one(void *arg, int64_t k, int worker)
{
    struct looking *l = arg;
    struct lafs_err err = {.status = LAFS_OK};
    int64_t i = at(l, l->from + k);
    (void)worker;
    l->trouble[i] = l->s->drop[i] == LAFS_KEPT && l->look(l, i, &err) != LAFS_OK;
}

/* Those of a block that could not be looked into, in their order. */
static lafs_status judge_block(struct looking *l, int64_t n, int64_t *bad, struct lafs_err *err)
{
    for (int64_t k = l->from; k < l->from + n; k++) {
        int64_t i = at(l, k);
        if (!l->trouble[i]) continue;
        lafs_status st = l->look(l, i, err); /* again, for its message */
        if (st == LAFS_OK) return lafs_fail(err, LAFS_FAILED, "out of memory");
        if (st != LAFS_BAD_RECORD) return st;
        if ((*bad)++ < 5) cli_warn("leaving out '%s': %s", l->s->ix->sample[i].key, err->msg);
        l->s->drop[i] = LAFS_DROP_BAD;
    }
    return LAFS_OK;
}

/* settle (NULL: nothing) is called behind each block, of n samples. */
static lafs_status look_into_all(struct looking *l, look_fn *look,
                                 lafs_status (*settle)(struct looking *l, int64_t n, struct lafs_err *err),
                                 struct lafs_err *err)
{
    int64_t all = samples(l), bad = 0, looked = 0;
    struct progress p = {0};
    if (!l->fetch) LAFS_TRY(lafs_fetch_open(&l->fetch, l->s->ix, err));
    if (!l->trouble) LAFS_TRY(lafs_alloc0(&l->trouble, (size_t)all, 1, err));
    for (int64_t i = 0; i < all; i++) looked += l->s->drop[i] == LAFS_KEPT;
    l->look = look;
    progress_begin(&p, "samples", all);
    lafs_status st = LAFS_OK;
    for (l->from = 0; l->from < all && st == LAFS_OK; l->from += BLOCK) {
        int64_t n = all - l->from < BLOCK ? all - l->from : BLOCK;
        lafs_pool_for(cli_pool(), n, look_into_one, l);
        st = judge_block(l, n, &bad, err);
        if (st == LAFS_OK && settle) st = settle(l, n, err);
        progress_update(&p, l->from + n);
    }
    progress_end(&p);
    if (st == LAFS_OK && (double)bad > cli.max_bad * (double)looked)
        st = lafs_fail(err, LAFS_FAILED, "%lld of %lld samples cannot be read, more than --max-bad %g allows",
                       (long long)bad, (long long)looked, cli.max_bad);
    return st;
}

/* ---- quality ---- */

static lafs_status judge_one(struct looking *l, int64_t i, struct lafs_err *err)
{
    struct lafs_sample s;
    double quality;
    lafs_sample_init(&s);
    lafs_status st = lafs_fetch_sample(l->fetch, i, &s, err);
    if (st == LAFS_OK) st = lafs_sample_double(&s, "quality", &quality, err);
    lafs_sample_release(&s);
    l->unjudged[i] = st == LAFS_END;
    if (st != LAFS_OK && st != LAFS_END) return st;
    if (st == LAFS_END || !(quality >= l->min)) l->s->drop[i] = LAFS_DROP_QUALITY;
    return LAFS_OK;
}

lafs_status looking_quality(struct looking *l, double min, struct lafs_err *err)
{
    int64_t unjudged = 0, asked = 0;
    l->min = min;
    LAFS_TRY(lafs_alloc0(&l->unjudged, (size_t)samples(l), 1, err));
    for (int64_t i = 0; i < samples(l); i++) asked += l->s->drop[i] == LAFS_KEPT;
    LAFS_TRY(look_into_all(l, judge_one, NULL, err));
    for (int64_t i = 0; i < samples(l); i++) unjudged += l->unjudged[i];
    if (asked && unjudged == asked)
        return lafs_fail(err, LAFS_FAILED, "no sample has the field 'quality', which lafs-detect writes");
    if (unjudged) cli_warn("%lld samples have no field 'quality', and are left out", (long long)unjudged);
    return LAFS_OK;
}

/* ---- near-duplicates ---- */

static lafs_status remember_key(struct looking *l, const char *key, struct lafs_err *err)
{
    if (l->near_n == l->near_cap) {
        int64_t cap = l->near_cap ? 2 * l->near_cap : 1024;
        LAFS_TRY(lafs_resize(&l->near_key, (size_t)l->near_cap, (size_t)cap, sizeof *l->near_key, err));
        l->near_cap = cap;
    }
    l->near_key[l->near_n++] = (int64_t)l->near_keys.size;
    lafs_buf_put(&l->near_keys, key, strlen(key) + 1);
    return lafs_buf_check(&l->near_keys, err);
}

static lafs_status add_pictures(struct looking *l, struct lafs_reader *r, struct lafs_err *err)
{
    struct lafs_sample s;
    struct lafs_image im = {0};
    int64_t bad = 0;
    lafs_status st;
    lafs_sample_init(&s);
    struct progress p = {0};
    progress_begin(&p, "pictures to compare with", lafs_reader_expected(r));
    for (;;) {
        st = lafs_reader_next(r, &s, err);
        if (st == LAFS_OK) st = lafs_face_image(&s, cli.max_pixels, &im, err);
        if (st == LAFS_BAD_RECORD) {
            if (bad++ < 5) cli_warn("cannot compare with '%s': %s", lafs_sample_key(&s), err->msg);
            continue;
        }
        if (st == LAFS_OK) st = lafs_near_add(l->near, &im, err);
        if (st == LAFS_OK) st = remember_key(l, lafs_sample_key(&s), err);
        if (st != LAFS_OK) break;
        progress_update(&p, l->near_n);
    }
    progress_end(&p);
    lafs_image_release(&im);
    lafs_sample_release(&s);
    if (st != LAFS_END) return st;
    if ((double)bad > cli.max_bad * (double)(bad + l->near_n))
        return lafs_fail(err, LAFS_FAILED,
                         "%lld of %lld pictures of --not-near cannot be read, more than --max-bad %g allows",
                         (long long)bad, (long long)(bad + l->near_n), cli.max_bad);
    return LAFS_OK;
}

static lafs_status read_picture(struct looking *l, int64_t i, struct lafs_image *im, struct lafs_err *err)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    lafs_status st = lafs_fetch_sample(l->fetch, i, &s, err);
    if (st == LAFS_OK) st = lafs_face_image(&s, cli.max_pixels, im, err);
    lafs_sample_release(&s);
    return st;
}

static lafs_status compare_one(struct looking *l, int64_t i, struct lafs_err *err)
{
    struct lafs_image im = {0};
    int64_t which = -1;
    lafs_status st = read_picture(l, i, &im, err);
    if (st == LAFS_OK) {
        double correlation = lafs_near_best(l->near, &im, l->min, &which);
        if (which >= 0) {
            l->s->drop[i] = LAFS_DROP_NEAR;
            l->like[i] = (struct like){(const char *)l->near_keys.data + l->near_key[which], "", correlation};
        }
    }
    lafs_image_release(&im);
    return st;
}

static lafs_status begin_near(struct looking *l, double min, struct lafs_err *err)
{
    l->min = min;
    if (l->like) return LAFS_OK;
    return lafs_alloc0(&l->like, (size_t)samples(l), sizeof *l->like, err);
}

lafs_status looking_near(struct looking *l, const struct cli_list *inputs, double min, struct lafs_err *err)
{
    struct lafs_reader *r;
    LAFS_TRY(begin_near(l, min, err));
    LAFS_TRY(lafs_near_new(&l->near, err));
    LAFS_TRY(lafs_reader_open(&r, inputs->v, inputs->n, NULL, err));
    lafs_status st = add_pictures(l, r, err);
    lafs_reader_close(r);
    return st == LAFS_OK ? look_into_all(l, compare_one, NULL, err) : st;
}

/* ---- near-duplicates among the samples ---- */

struct keyed {
    const char *key;
    int64_t i;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct keyed *)a)->key, ((const struct keyed *)b)->key);
}

/* Samples are taken by their keys, so that which one stays does not depend on their order in the index. */
static lafs_status put_in_order(struct looking *l, struct lafs_err *err)
{
    struct keyed *k;
    LAFS_TRY(lafs_alloc(&l->order, (size_t)samples(l), sizeof *l->order, err));
    LAFS_TRY(lafs_alloc(&k, (size_t)samples(l), sizeof *k, err));
    for (int64_t i = 0; i < samples(l); i++) k[i] = (struct keyed){l->s->ix->sample[i].key, i};
    qsort(k, (size_t)samples(l), sizeof *k, by_key);
    for (int64_t i = 0; i < samples(l); i++) l->order[i] = k[i].i;
    lafs_free(k);
    return LAFS_OK;
}

static void drop_twin(struct looking *l, int64_t i, int64_t which, double correlation)
{
    const struct lafs_index_sample *of = &l->s->ix->sample[l->own_sample[which]];
    l->s->drop[i] = LAFS_DROP_TWIN;
    l->like[i] = (struct like){of->key, of->name, correlation};
    lafs_near_picture_free(l->drawn[i]);
    l->drawn[i] = NULL;
}

static lafs_status draw_one(struct looking *l, int64_t i, struct lafs_err *err)
{
    struct lafs_image im = {0};
    lafs_status st = read_picture(l, i, &im, err);
    if (st == LAFS_OK) st = lafs_near_draw(l->own, &im, &l->drawn[i], err);
    lafs_image_release(&im);
    return st;
}

/* Compares some pictures of the block with what stays of the blocks before. */
static void compare_group(void *arg, int64_t g, int worker)
{
    enum { N = LAFS_NEAR_GROUP };
    struct looking *l = arg;
    struct lafs_near_picture *p[N] = {NULL};
    int64_t first = l->from + g * N, i[N], which[N];
    double best[N];
    (void)worker;
    for (int k = 0; k < N && first + k < samples(l); k++) p[k] = l->drawn[i[k] = at(l, first + k)];
    lafs_near_best_drawn(l->own, p, N, 0, l->min, best, which);
    for (int k = 0; k < N; k++)
        if (which[k] >= 0) drop_twin(l, i[k], which[k], best[k]);
}

/* Compares with all that stays, of this block, too, in order; what is no twin stays. */
static lafs_status settle_twins(struct looking *l, int64_t n, struct lafs_err *err)
{
    int64_t before = l->own_n, which;
    double best;
    lafs_pool_for(cli_pool(), (n + LAFS_NEAR_GROUP - 1) / LAFS_NEAR_GROUP, compare_group, l);
    for (int64_t k = l->from; k < l->from + n; k++) {
        int64_t i = at(l, k);
        if (!l->drawn[i]) continue;
        lafs_near_best_drawn(l->own, &l->drawn[i], 1, before, l->min, &best, &which);
        if (which >= 0) {
            drop_twin(l, i, which, best);
            continue;
        }
        LAFS_TRY(lafs_near_put(l->own, l->drawn[i], err));
        l->drawn[i] = NULL;
        l->own_sample[l->own_n++] = i;
    }
    return LAFS_OK;
}

lafs_status looking_unique(struct looking *l, double min, struct lafs_err *err)
{
    int64_t others = 0;
    LAFS_TRY(begin_near(l, min, err));
    LAFS_TRY(put_in_order(l, err));
    LAFS_TRY(lafs_near_new(&l->own, err));
    LAFS_TRY(lafs_alloc0(&l->drawn, (size_t)samples(l), sizeof *l->drawn, err));
    LAFS_TRY(lafs_alloc(&l->own_sample, (size_t)samples(l), sizeof *l->own_sample, err));
    LAFS_TRY(look_into_all(l, draw_one, settle_twins, err));
    for (int64_t i = 0; i < samples(l); i++) {
        const char *name = l->s->ix->sample[i].name;
        if (l->s->drop[i] == LAFS_DROP_TWIN && *name && *l->like[i].name) others += strcmp(name, l->like[i].name) != 0;
    }
    if (others)
        cli_warn("%s named otherwise than the near-duplicate that stays: one of the names may be wrong "
                 "(--dropped FILE lists them)", counted(others, "images").text);
    return LAFS_OK;
}
