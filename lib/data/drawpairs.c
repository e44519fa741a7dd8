/* Pairs of photos to verify, drawn from a selection. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/select.h"

enum { FOLDS = 10, MAX_PHOTOS = 64, MAX_KEY = 1000 };

struct photo {
    int32_t person;
    uint64_t rank;
    const char *key;
};
struct person {
    int64_t from, n; /* its photos, in drawn order, and how many of them may be used */
    uint64_t rank;
    const char *name;
    int fold;
};
struct draw {
    struct photo *photo;
    struct person *person; /* in the end by fold, in drawn order */
    int64_t photos, people;
    int folds;
    int64_t start[FOLDS + 1]; /* where the people of a fold begin */
};

static int by_person(const void *a, const void *b)
{
    const struct photo *x = a, *y = b;
    if (x->person != y->person) return x->person < y->person ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(x->key, y->key);
}

static int by_rank(const struct person *x, const struct person *y)
{
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int most_photos_first(const void *a, const void *b)
{
    const struct person *x = a, *y = b;
    if (x->n != y->n) return x->n > y->n ? -1 : 1;
    return by_rank(x, y);
}

static int by_fold(const void *a, const void *b)
{
    const struct person *x = a, *y = b;
    return x->fold != y->fold ? x->fold - y->fold : by_rank(x, y);
}

/* What a line of KEY, tab, KEY, tab, number can hold so that it is read as what it was. */
static lafs_status check_key(const char *key, struct lafs_err *err)
{
    size_t len = strlen(key);
    if (len > MAX_KEY || strpbrk(key, "\t\r\n") || key[0] == ' ' || (len && key[len - 1] == ' '))
        return lafs_fail(err, LAFS_FAILED, "key '%s' cannot stand in a list of pairs: it %s", key,
                         len > MAX_KEY ? "is too long" : "has a tab, a line's end, or a blank at an end");
    return LAFS_OK;
}

static lafs_status gather(struct draw *d, const struct lafs_select *s, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&d->photo, (size_t)s->ix->samples, sizeof *d->photo, err));
    LAFS_TRY(lafs_alloc(&d->person, (size_t)s->people, sizeof *d->person, err));
    for (int64_t i = 0; i < s->ix->samples; i++) {
        if (s->drop[i] != LAFS_KEPT || s->person[i] < 0) continue;
        const char *key = s->ix->sample[i].key;
        LAFS_TRY(check_key(key, err));
        d->photo[d->photos++] = (struct photo){s->person[i], lafs_select_draw(s, LAFS_DRAW_PAIR_PHOTO, key), key};
    }
    if (d->photos) qsort(d->photo, (size_t)d->photos, sizeof *d->photo, by_person);
    for (int64_t i = 0; i < d->photos; i++) {
        if (i > 0 && d->photo[i].person == d->photo[i - 1].person) {
            d->person[d->people - 1].n += d->person[d->people - 1].n < MAX_PHOTOS;
            continue;
        }
        const char *name = s->name[d->photo[i].person];
        uint64_t rank = lafs_select_draw(s, LAFS_DRAW_PAIR_PERSON, name);
        d->person[d->people++] = (struct person){.from = i, .n = 1, .rank = rank, .name = name};
    }
    return LAFS_OK;
}

/* Deals people to folds as cards, to and fro, those with most photos first; to one fold where there are too few. */
static void deal(struct draw *d)
{
    int64_t several = 0;
    for (int64_t i = 0; i < d->people; i++) several += d->person[i].n > 1;
    d->folds = several >= 2 * FOLDS ? FOLDS : 1;
    if (d->people) qsort(d->person, (size_t)d->people, sizeof *d->person, most_photos_first);
    for (int64_t i = 0; i < d->people; i++) {
        int at = (int)(i % d->folds), back = (int)(i / d->folds % 2);
        d->person[i].fold = back ? d->folds - 1 - at : at;
        d->start[d->person[i].fold + 1]++;
    }
    for (int k = 0; k < d->folds; k++) d->start[k + 1] += d->start[k];
    if (d->people) qsort(d->person, (size_t)d->people, sizeof *d->person, by_fold);
}

/* The most that every fold can give of both kinds, at most `most`. */
static int64_t common_count(const struct draw *d, int64_t most)
{
    for (int k = 0; k < d->folds; k++) {
        int64_t photos = 0, squares = 0;
        for (int64_t i = d->start[k]; i < d->start[k + 1]; i++)
            photos += d->person[i].n, squares += d->person[i].n * d->person[i].n;
        int64_t same = (squares - photos) / 2;
        double different = ((double)photos * (double)photos - (double)squares) / 2;
        if (same < most) most = same;
        if (different < (double)most) most = (int64_t)different;
    }
    return most;
}

/* Unordered pairs of n things by distance on a circle: every k below n (n - 1) / 2 gives another. */
static void on_circle(int64_t n, int64_t k, int64_t *a, int64_t *b)
{
    *a = k % n;
    *b = (*a + 1 + k / n) % n;
}

static void put(struct lafs_buf *text, const struct photo *a, const struct photo *b, int same)
{
    lafs_buf_printf(text, "%s\t%s\t%d\n", a->key, b->key, same);
}

/* Where a fold's pairs stand that come next. */
struct cursor {
    const struct photo *photo;
    const struct person *person; /* (people) of the fold */
    int64_t people, at, round;
};

/* In rounds: a pair of each person that has one left. */
static void next_same(struct cursor *c, struct lafs_buf *text)
{
    for (;; c->at = 0, c->round++)
        while (c->at < c->people) {
            const struct person *p = c->person + c->at++;
            int64_t a, b;
            if (c->round >= p->n * (p->n - 1) / 2) continue;
            on_circle(p->n, c->round, &a, &b);
            put(text, c->photo + p->from + a, c->photo + p->from + b, 1);
            return;
        }
}

/* In rounds: two photos of each two people that have some left, other photos each time. */
static void next_different(struct cursor *c, struct lafs_buf *text)
{
    int64_t pairs = c->people * (c->people - 1) / 2;
    for (;; c->at = 0, c->round++)
        while (c->at < pairs) {
            int64_t k = c->at++, x, y;
            on_circle(c->people, k, &x, &y);
            const struct person *p = c->person + x, *q = c->person + y;
            if (c->round >= p->n * q->n) continue;
            int64_t turn = k / c->people, a = (c->round + turn) % p->n, b = (c->round / p->n + a + turn + 1) % q->n;
            put(text, c->photo + p->from + a, c->photo + q->from + b, 0);
            return;
        }
}

static void write_fold(const struct draw *d, int k, int64_t n, struct lafs_buf *text)
{
    struct cursor same = {.photo = d->photo, .person = d->person + d->start[k]};
    same.people = d->start[k + 1] - d->start[k];
    struct cursor different = same;
    for (int64_t i = 0; i < n; i++) {
        next_same(&same, text);
        next_different(&different, text);
    }
}

lafs_status lafs_select_pairs(const struct lafs_select *s, int64_t fold_pairs, struct lafs_buf *text,
                              struct lafs_drawn_pairs *drawn, struct lafs_err *err)
{
    struct draw d = {.photos = 0};
    int64_t n = 0;
    lafs_status st = gather(&d, s, err);
    if (st == LAFS_OK) {
        deal(&d);
        n = common_count(&d, d.folds > 1 ? fold_pairs : FOLDS * fold_pairs);
        if (n < 1)
            st = lafs_fail(err, LAFS_FAILED, d.people < 2 ? "no pairs: two people with names are needed, not %lld"
                                                          : "no pairs: of none of %lld people there are two photos",
                           (long long)d.people);
    }
    for (int k = 0; k < d.folds && st == LAFS_OK; k++) write_fold(&d, k, n, text);
    *drawn = (struct lafs_drawn_pairs){d.folds * n, d.people, d.folds > 1};
    lafs_free(d.photo);
    lafs_free(d.person);
    return st == LAFS_OK ? lafs_buf_check(text, err) : st;
}
