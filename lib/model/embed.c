#include "model/embed.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "compute/fit.h"

enum { SIDE = LAFS_CNN_SIDE, CROP = SIDE * SIDE * 3 };

static lafs_status carve(struct lafs_embedder *e, int n, struct lafs_err *err)
{
    struct lafs_arena *a = &e->arena;
    const struct lafs_vit_config *c = &e->model->config.vit;
    size_t crops = (size_t)(e->purpose & LAFS_FOR_EMBEDDING ? 2 * n : n);
    e->crops = lafs_arena_take(a, crops * CROP, 1);
    e->images = lafs_arena_take(a, crops * CROP, sizeof(float));
    if (e->purpose & LAFS_FOR_EMBEDDING) {
        e->emb = lafs_arena_take(a, crops * (size_t)c->dim, sizeof(float));
        LAFS_TRY(lafs_model_plan(&e->work, e->model, (int64_t)crops, LAFS_MODEL_INFER, e->backend, a, err));
    }
    if (e->purpose & LAFS_FOR_LANDMARKS) {
        e->landmarks = lafs_arena_take(a, (size_t)n * (size_t)c->patches * 2, sizeof(float));
        LAFS_TRY(lafs_cnn_plan(&e->cnn, &e->model->cnn, n, LAFS_CNN_FOLDED, e->backend, a, err));
    }
    return LAFS_OK;
}

/* What was recorded is of memory that is given back. */
static void forget(struct lafs_embedder *e)
{
    lafs_repeat_forget(&e->embeddings_again, e->backend);
    lafs_repeat_forget(&e->landmarks_again, e->backend);
}

static lafs_status plan(struct lafs_embedder *e, int n, struct lafs_err *err)
{
    const struct lafs_backend *b = e->backend;
    const float *value = e->model->params.value;
    forget(e);
    lafs_arena_release(&e->arena, b);
    LAFS_TRY(carve(e, n, err));
    LAFS_TRY(lafs_arena_reserve(&e->arena, b, err));
    LAFS_TRY(carve(e, n, err));
    if (e->purpose & LAFS_FOR_EMBEDDING) LAFS_TRY(lafs_model_fold(&e->work, b, value, err));
    if (e->purpose & LAFS_FOR_LANDMARKS) LAFS_TRY(lafs_cnn_fold(&e->cnn, b, value, err));
    e->room = n;
    return LAFS_OK;
}

void lafs_embedder_forget(struct lafs_embedder *e)
{
    forget(e);
    lafs_arena_release(&e->arena, e->backend);
    e->room = 0;
}

/* Room for n <= batch crops. A program that is given one face does not pay for sixteen; whoever comes with more than
 * before gets all. */
static lafs_status make_room(struct lafs_embedder *e, int64_t n, struct lafs_err *err)
{
    int want = e->room ? e->batch : (int)n;
    if (n <= e->room) return LAFS_OK;
    e->room = 0;
    return plan(e, want, err);
}

lafs_status lafs_embedder_open(struct lafs_embedder *e, const struct lafs_model *m, const struct lafs_backend *b,
                               int batch, int purpose, struct lafs_err *err)
{
    memset(e, 0, sizeof *e);
    if ((purpose & LAFS_FOR_EMBEDDING) && !(m->config.parts & LAFS_PART_VIT))
        return lafs_fail(err, LAFS_USAGE, "the model has no ViT: it gives landmarks, no embeddings");
    if ((purpose & LAFS_FOR_LANDMARKS) && !(m->config.parts & LAFS_PART_CNN))
        return lafs_fail(err, LAFS_USAGE, "the model has no landmark CNN");
    const size_t crops = 2 * (size_t)batch, r2 = 2 * (size_t)m->config.vit.patches;
    LAFS_TRY(lafs_alloc(&e->flipped, (size_t)batch * CROP, 1, err));
    lafs_status st = lafs_alloc0(&e->host, crops * (size_t)m->config.vit.dim, sizeof *e->host, err);
    if (st == LAFS_OK && (purpose & LAFS_FOR_EMBEDDING) && m->config.tokens == LAFS_TOKENS_LANDMARK)
        st = lafs_alloc0(&e->found, crops * r2, sizeof *e->found, err); /* a plan leaves both as they are */
    if (st != LAFS_OK) {
        lafs_free(e->flipped);
        lafs_free(e->host);
        return st;
    }
    e->model = m;
    e->backend = b;
    e->batch = batch;
    e->amplitude = 1;
    e->purpose = purpose;
    return LAFS_OK;
}

void lafs_embedder_close(struct lafs_embedder *e)
{
    if (!e->backend) return;
    forget(e);
    lafs_model_work_release(&e->work);
    lafs_cnn_work_release(&e->cnn);
    lafs_arena_release(&e->arena, e->backend);
    lafs_free(e->flipped);
    lafs_free(e->host);
    lafs_free(e->found);
    memset(e, 0, sizeof *e);
}

static void mirror(const uint8_t *in, uint8_t *out)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) memcpy(out + (y * SIDE + x) * 3, in + (y * SIDE + SIDE - 1 - x) * 3, 3);
}

struct crops {
    struct lafs_embedder *e;
    int64_t n;
};
/* From n crops, and their mirrors, on the device to embeddings. */
static void compute_embeddings(void *arg)
{
    struct lafs_embedder *e = ((struct crops *)arg)->e;
    const struct lafs_backend *b = e->backend;
    const int64_t images = 2 * ((struct crops *)arg)->n;
    b->ops->u8_to_f32(b->dev, images * CROP, e->crops, e->images);
    if (e->amplitude != 1) b->ops->scale(b->dev, images * CROP, e->amplitude, e->images);
    lafs_model_forward(&e->work, b, e->model->params.value, NULL, images, e->images, NULL, NULL, e->emb);
}
static void compute_landmarks(void *arg)
{
    struct lafs_embedder *e = ((struct crops *)arg)->e;
    const struct lafs_backend *b = e->backend;
    const int64_t n = ((struct crops *)arg)->n;
    b->ops->u8_to_f32(b->dev, n * CROP, e->crops, e->images);
    lafs_cnn_forward(&e->cnn, b, e->model->params.value, NULL, n, e->images, NULL, e->landmarks);
}
static void compute(struct lafs_embedder *e, int64_t n, struct lafs_repeat *again, void (*what)(void *arg))
{
    struct crops of = {e, n};
    if (n == e->batch) lafs_repeat(again, e->backend, NULL, 0, what, &of);
    else what(&of);
}

/* Weights that are no numbers, or too large, give none. */
static lafs_status check_embeddings(const float *emb, int64_t values, struct lafs_err *err)
{
    for (int64_t i = 0; i < values; i++)
        if (!isfinite(emb[i])) return lafs_fail(err, LAFS_FAILED, "the model gives an embedding that is not finite");
    return LAFS_OK;
}

/* n <= batch: images first, then their mirrors. */
static lafs_status embed_batch(struct lafs_embedder *e, int64_t n, const uint8_t *crops, float *emb,
                               struct lafs_err *err)
{
    const struct lafs_backend *b = e->backend;
    const int64_t d = e->model->config.vit.dim, values = e->found ? 2 * n * 2 * e->model->config.vit.patches : 0;
    b->ops->upload(b->dev, e->crops, crops, (size_t)(n * CROP));
    for (int64_t i = 0; i < n; i++) mirror(crops + i * CROP, e->flipped + i * CROP);
    b->ops->upload(b->dev, e->crops + n * CROP, e->flipped, (size_t)(n * CROP));
    compute(e, n, &e->embeddings_again, compute_embeddings);
    b->ops->download(b->dev, e->host, e->emb, (size_t)(2 * n * d) * sizeof(float));
    if (e->found) b->ops->download(b->dev, e->found, e->work.landmarks, (size_t)values * sizeof(float));
    LAFS_TRY(b->ops->sync(b->dev, err));
    LAFS_TRY(lafs_cnn_check(e->found, values, err));
    for (int64_t i = 0; i < n * d; i++) emb[i] = e->host[i] + e->host[n * d + i];
    return check_embeddings(emb, n * d, err);
}

lafs_status lafs_embed(struct lafs_embedder *e, int64_t n, const uint8_t *crops, float *emb, struct lafs_err *err)
{
    for (int64_t i = 0; i < n; i += e->batch) {
        int64_t m = n - i < e->batch ? n - i : e->batch;
        LAFS_TRY(make_room(e, m, err));
        LAFS_TRY(embed_batch(e, m, crops + i * CROP, emb + i * e->model->config.vit.dim, err));
    }
    return LAFS_OK;
}

lafs_status lafs_landmarks(struct lafs_embedder *e, int64_t n, const uint8_t *crops, float *landmarks,
                           struct lafs_err *err)
{
    const struct lafs_backend *b = e->backend;
    int64_t r2 = 2 * (int64_t)e->model->config.vit.patches;
    for (int64_t i = 0; i < n; i += e->batch) {
        int64_t m = n - i < e->batch ? n - i : e->batch;
        LAFS_TRY(make_room(e, m, err));
        b->ops->upload(b->dev, e->crops, crops + i * CROP, (size_t)(m * CROP));
        compute(e, m, &e->landmarks_again, compute_landmarks);
        b->ops->download(b->dev, landmarks + i * r2, e->landmarks, (size_t)(m * r2) * sizeof(float));
        LAFS_TRY(b->ops->sync(b->dev, err));
        LAFS_TRY(lafs_cnn_check(landmarks + i * r2, m * r2, err));
    }
    return LAFS_OK;
}

lafs_status lafs_embedder_rehearse(const struct lafs_model *m, const struct lafs_backend *plan, int batch, int purpose,
                                   struct lafs_err *err)
{
    const struct lafs_vit_config *c = &m->config.vit;
    const size_t n = (size_t)batch, width = (size_t)(c->dim > 2 * c->patches ? c->dim : 2 * c->patches);
    struct lafs_embedder e;
    uint8_t *crops;
    float *out = NULL;
    LAFS_TRY(lafs_alloc0(&crops, n, CROP, err));
    lafs_status st = lafs_alloc0(&out, n, width * sizeof *out, err);
    if (st == LAFS_OK && (st = lafs_embedder_open(&e, m, plan, batch, purpose, err)) == LAFS_OK) {
        if (purpose & LAFS_FOR_EMBEDDING) st = lafs_embed(&e, batch, crops, out, err);
        if (st == LAFS_OK && (purpose & LAFS_FOR_LANDMARKS)) st = lafs_landmarks(&e, batch, crops, out, err);
        lafs_embedder_close(&e);
    }
    lafs_free(out);
    lafs_free(crops);
    return st;
}

lafs_status lafs_embedder_need(const struct lafs_model *m, const struct lafs_backend *b, int batch, int purpose,
                               int reserve, size_t *bytes, struct lafs_err *err)
{
    struct lafs_rehearsal r;
    LAFS_TRY(lafs_rehearsal_open(&r, b, NULL, err));
    lafs_status st = lafs_embedder_rehearse(m, &r.plan[0], batch, purpose, err);
    return lafs_rehearsal_close(&r, st, reserve, bytes, err);
}
