#include "cmd/validate.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "data/face.h"
#include "eval/metrics.h"
#include "model/embed.h"

enum { CROP = LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3, BATCH = 32 };

static lafs_status load_crops(struct validate *v, const char *index, struct lafs_err *err)
{
    int64_t n = v->pairs->photos.count;
    struct lafs_sample s;
    struct lafs_image im = {0};
    lafs_status st = LAFS_OK;
    lafs_sample_init(&s);
    for (int64_t i = 0; i < v->ix->samples && st == LAFS_OK; i++)
        st = lafs_wanted_mark(&v->want, v->ix->sample[i].key, i, err);
    if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", index);
    for (int64_t i = 0; st == LAFS_OK && i < n; i++) {
        const char *key = lafs_strset_at(&v->pairs->photos, i);
        if (v->want.row[i] < 0) {
            st = lafs_fail(err, LAFS_FAILED, "photo '%s' of the pairs is not in '%s'", key, index);
            break;
        }
        st = lafs_fetch_sample(v->fetch, v->want.row[i], &s, err);
        if (st == LAFS_OK) st = lafs_face_image(&s, 0, &im, err);
        if (st == LAFS_OK && (im.w != LAFS_CNN_SIDE || im.h != LAFS_CNN_SIDE))
            st = lafs_fail(err, LAFS_FAILED, "%d x %d pixels, not 112 x 112", im.w, im.h);
        if (st != LAFS_OK) {
            lafs_err_prefix(err, "photo '%s'", key);
            st = LAFS_FAILED;
            break;
        }
        memcpy(v->crops + i * CROP, im.px, CROP);
    }
    lafs_image_release(&im);
    lafs_sample_release(&s);
    return st;
}

/* 10-fold accuracy of the scores. */
static lafs_status judge(const struct validate *v, double *accuracy, struct lafs_err *err)
{
    const struct lafs_pairs *p = v->pairs;
    struct lafs_kfold k;
    LAFS_TRY(lafs_kfold_accuracy(v->score, p->same, p->fold, p->count, p->folds, &k, NULL, NULL, NULL, NULL, err));
    *accuracy = k.accuracy;
    return LAFS_OK;
}

lafs_status validate_open(struct validate *v, const char *pairs, const char *index, struct lafs_err *err)
{
    memset(v, 0, sizeof *v);
    LAFS_TRY(lafs_pairs_read(&v->pairs, pairs, err));
    LAFS_TRY(lafs_index_open(&v->ix, index, err));
    LAFS_TRY(lafs_fetch_open(&v->fetch, v->ix, err));
    int64_t n = v->pairs->photos.count;
    LAFS_TRY(lafs_wanted_init(&v->want, &v->pairs->photos, err));
    LAFS_TRY(lafs_alloc(&v->crops, (size_t)n, CROP, err));
    LAFS_TRY(lafs_alloc0(&v->score, (size_t)v->pairs->count, sizeof *v->score, err));
    struct lafs_err why = {0};
    double unused; /* that pairs cannot be judged is found now, not after an epoch */
    if (judge(v, &unused, &why) != LAFS_OK) return lafs_fail(err, LAFS_FAILED, "'%s': %s", pairs, why.msg);
    return load_crops(v, index, err);
}

void validate_close(struct validate *v)
{
    lafs_fetch_close(v->fetch);
    lafs_index_free(v->ix);
    lafs_pairs_free(v->pairs);
    lafs_wanted_release(&v->want);
    lafs_free(v->crops);
    lafs_free(v->emb);
    lafs_free(v->score);
    memset(v, 0, sizeof *v);
}

lafs_status validate_digest(const char *pairs, const char *index, char hex[65], struct lafs_err *err)
{
    struct lafs_sha256 both;
    char own[2][65];
    LAFS_TRY(lafs_sha256_file(pairs, own[0], err));
    LAFS_TRY(lafs_sha256_file(index, own[1], err));
    lafs_sha256_init(&both);
    lafs_sha256_add(&both, own, sizeof own);
    lafs_sha256_hex(&both, hex);
    return LAFS_OK;
}

int validate_batch(const struct validate *v)
{
    return v->pairs->photos.count < BATCH ? (int)v->pairs->photos.count : BATCH;
}

lafs_status validate_run(struct validate *v, const struct lafs_model *m, const struct lafs_backend *b,
                         struct lafs_pool *pool, double *accuracy, struct lafs_err *err)
{
    const struct lafs_pairs *p = v->pairs;
    struct lafs_embedder e;
    int64_t bad = -1, n = p->photos.count;
    if (!v->emb) {
        v->dim = m->config.vit.dim;
        LAFS_TRY(lafs_alloc(&v->emb, (size_t)(n * v->dim), sizeof *v->emb, err));
    }
    LAFS_TRY(lafs_embedder_open(&e, m, b, BATCH, LAFS_FOR_EMBEDDING, err));
    lafs_status st = lafs_embed(&e, n, v->crops, v->emb, err);
    lafs_embedder_close(&e);
    LAFS_TRY(st);
    st = lafs_normalise_rows(v->emb, n, v->dim, NULL, &bad, err);
    if (st != LAFS_OK && bad >= 0) lafs_err_prefix(err, "photo '%s'", lafs_strset_at(&p->photos, bad));
    LAFS_TRY(st);
    LAFS_TRY(lafs_pair_scores(v->emb, n, v->dim, p->a, p->b, p->count, v->score, pool, err));
    return judge(v, accuracy, err);
}
