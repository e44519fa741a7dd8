#include "eval/pairfield.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eval/metrics.h"

enum { FOLDS = 10 };

static lafs_status read_field(const struct lafs_sample *s, struct lafs_half *h, struct lafs_err *err)
{
    const void *data;
    size_t size;
    struct lafs_mp_value v, number, same;
    if (lafs_sample_raw(s, "pair", &data, &size) != LAFS_OK)
        return lafs_fail(err, LAFS_FAILED,
                         "no field 'pair', and no --pairs that names the pairs: lafs-select --pairs makes some");
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    if (lafs_walk_next(&w, &v, NULL) != LAFS_OK || v.type != LAFS_MP_ARRAY || v.len != 2 ||
        lafs_walk_next(&w, &number, NULL) != LAFS_OK || number.type != LAFS_MP_INT || number.i < 0 ||
        lafs_walk_next(&w, &same, NULL) != LAFS_OK || same.type != LAFS_MP_BOOL)
        return lafs_fail(err, LAFS_FAILED, "field 'pair' is not [number, same]");
    h->pair = number.i;
    h->same = (int)same.i;
    return LAFS_OK;
}

lafs_status lafs_pairfield_add(struct lafs_pairfield *f, const struct lafs_sample *s, struct lafs_err *err)
{
    const char *key = lafs_sample_key(s);
    struct lafs_half h;
    if (read_field(s, &h, err) != LAFS_OK) return lafs_err_prefix(err, "'%s'", key);
    LAFS_TRY(lafs_strset_add(&f->keys, key, strlen(key), &h.photo, err));
    if (h.photo != f->count) return lafs_fail(err, LAFS_FAILED, "'%s' is there twice", key);
    if (f->count == f->cap) {
        int64_t cap = f->cap ? 2 * f->cap : 1024;
        LAFS_TRY(lafs_resize(&f->half, (size_t)f->count, (size_t)cap, sizeof *f->half, err));
        f->cap = cap;
    }
    f->half[f->count++] = h;
    return LAFS_OK;
}

static int by_pair(const void *a, const void *b)
{
    const struct lafs_half *x = a, *y = b;
    if (x->pair != y->pair) return x->pair < y->pair ? -1 : 1;
    return (x->photo > y->photo) - (x->photo < y->photo);
}

/* Nothing is known of people but that a pair shows one or two. */
static lafs_status set_person(struct lafs_pairs *p, int64_t photo, int64_t pair, int second, struct lafs_err *err)
{
    char name[32];
    int64_t who;
    int n = snprintf(name, sizeof name, "%lld%s", (long long)pair, second ? "-b" : "");
    LAFS_TRY(lafs_strset_add(&p->people, name, (size_t)n, &who, err));
    p->person[photo] = (int32_t)who;
    return LAFS_OK;
}

/* halves [i, i + n) have one number; n is 1 or 2. */
static lafs_status add_pair(struct lafs_pairs *p, const struct lafs_half *h, int n, struct lafs_err *err)
{
    int64_t other = n == 2 ? h[1].photo : 0;
    if (n == 2 && h[0].same != h[1].same)
        return lafs_fail(err, LAFS_FAILED, "pair %lld: '%s' and '%s' contradict each other", (long long)h->pair,
                         lafs_strset_at(&p->photos, h[0].photo), lafs_strset_at(&p->photos, other));
    if (n == 1) {
        char key[64];
        /* No key has a dot in its last part. */
        int len = snprintf(key, sizeof key, "the other half of pair no. %lld", (long long)h->pair);
        LAFS_TRY(lafs_strset_add(&p->photos, key, (size_t)len, &other, err));
    }
    p->a[p->count] = (int32_t)h->photo;
    p->b[p->count] = (int32_t)other;
    p->same[p->count++] = (uint8_t)h->same;
    LAFS_TRY(set_person(p, h->photo, h->pair, 0, err));
    return set_person(p, other, h->pair, !h->same, err);
}

static lafs_status fill(struct lafs_pairfield *f, struct lafs_pairs *p, struct lafs_err *err)
{
    size_t n = (size_t)f->count;
    LAFS_TRY(lafs_alloc(&p->a, n, sizeof *p->a, err));
    LAFS_TRY(lafs_alloc(&p->b, n, sizeof *p->b, err));
    LAFS_TRY(lafs_alloc(&p->same, n, sizeof *p->same, err));
    LAFS_TRY(lafs_alloc(&p->fold, n, sizeof *p->fold, err));
    LAFS_TRY(lafs_alloc0(&p->person, 2 * n, sizeof *p->person, err)); /* a missing half for each at most */
    p->photos = f->keys;
    lafs_strset_init(&f->keys);
    qsort(f->half, n, sizeof *f->half, by_pair);
    for (int64_t i = 0, k; i < f->count; i += k) {
        for (k = 1; i + k < f->count && f->half[i + k].pair == f->half[i].pair; k++) continue;
        if (k > 2)
            return lafs_fail(err, LAFS_FAILED, "pair %lld has %lld photos, '%s' is one of them",
                             (long long)f->half[i].pair, (long long)k, lafs_strset_at(&p->photos, f->half[i].photo));
        LAFS_TRY(add_pair(p, f->half + i, (int)k, err));
    }
    p->folds = p->count < FOLDS ? (int)p->count : FOLDS;
    lafs_folds_contiguous(p->fold, p->count, p->folds);
    return LAFS_OK;
}

lafs_status lafs_pairfield_pairs(struct lafs_pairfield *f, struct lafs_pairs **out, struct lafs_err *err)
{
    *out = NULL;
    if (f->count == 0) return lafs_fail(err, LAFS_FAILED, "the input holds no pairs");
    if (f->count > INT32_MAX / 4) return lafs_fail(err, LAFS_FAILED, "too many pairs");
    LAFS_TRY(lafs_alloc0(out, 1, sizeof **out, err));
    lafs_status st = fill(f, *out, err);
    if (st == LAFS_OK) return st;
    lafs_pairs_free(*out);
    *out = NULL;
    return st;
}

void lafs_pairfield_release(struct lafs_pairfield *f)
{
    lafs_free(f->half);
    lafs_strset_release(&f->keys);
    *f = (struct lafs_pairfield){0};
}
