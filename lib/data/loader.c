#include "data/loader.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/face.h"

struct place {
    uint64_t rank;
    int64_t at;
};

/* qsort_r: equal ranks go by key, so that the place in the index decides nothing. */
static int by_rank(const void *a, const void *b, void *arg)
{
    const struct place *x = a, *y = b;
    const struct lafs_index *ix = arg;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(ix->sample[x->at].key, ix->sample[y->at].key);
}

lafs_status lafs_epoch_order(const struct lafs_index *ix, uint64_t seed, int64_t epoch, int64_t *order,
                             struct lafs_err *err)
{
    struct place *p;
    LAFS_TRY(lafs_alloc(&p, (size_t)ix->samples, sizeof *p, err));
    for (int64_t i = 0; i < ix->samples; i++) {
        uint64_t hash = lafs_fnv1a(ix->sample[i].key, strlen(ix->sample[i].key));
        uint32_t counter[4] = {0, 0, 0, 0}, out[4];
        lafs_philox(lafs_rng_key(seed, LAFS_RNG_ORDER, (uint64_t)epoch, hash, 0), counter, out);
        p[i] = (struct place){(uint64_t)out[0] << 32 | out[1], i};
    }
    qsort_r(p, (size_t)ix->samples, sizeof *p, by_rank, (void *)ix);
    for (int64_t i = 0; i < ix->samples; i++) order[i] = p[i].at;
    lafs_free(p);
    return LAFS_OK;
}

lafs_status lafs_index_image(const struct lafs_index *ix, struct lafs_fetch *f, int64_t at, int64_t max_pixels,
                             struct lafs_image *im, struct lafs_err *err)
{
    struct lafs_sample s;
    lafs_sample_init(&s);
    lafs_status st = lafs_fetch_sample(f, at, &s, err);
    if (st == LAFS_OK) st = lafs_face_image(&s, max_pixels, im, err);
    lafs_sample_release(&s);
    if (st == LAFS_OK) return LAFS_OK;
    lafs_err_prefix(err, "image '%s'", ix->sample[at].key);
    if (err) err->status = LAFS_FAILED;
    return LAFS_FAILED;
}

void lafs_index_largest(const struct lafs_index *ix, struct lafs_fetch *f, int *w, int *h)
{
    const int64_t most = 64, n = ix->samples < most ? ix->samples : most;
    *w = *h = ix->pixels.size;
    for (int64_t i = 0; i < n && ix->pixels.size == 0; i++) {
        struct lafs_err err;
        struct lafs_sample s;
        int one_w, one_h;
        lafs_sample_init(&s);
        if (lafs_fetch_sample(f, i * (ix->samples / n), &s, &err) == LAFS_OK &&
            lafs_face_size(&s, &one_w, &one_h, &err) == LAFS_OK) {
            if (one_w > *w) *w = one_w;
            if (one_h > *h) *h = one_h;
        }
        lafs_sample_release(&s);
    }
}
