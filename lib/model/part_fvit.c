#include "model/part_fvit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { CROP = LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3 };

lafs_status lafs_model_config_named(struct lafs_model_config *c, const char *size, struct lafs_err *err)
{
    memset(c, 0, sizeof *c);
    LAFS_TRY(lafs_vit_config_named(&c->vit, size, err));
    c->parts = LAFS_PART_VIT | LAFS_PART_CNN;
    c->pixels.size = LAFS_CNN_SIDE;
    snprintf(c->pixels.aligner, sizeof c->pixels.aligner, "arcface5");
    snprintf(c->pixels.channels, sizeof c->pixels.channels, "rgb");
    return LAFS_OK;
}

lafs_status lafs_model_init(struct lafs_model *m, const struct lafs_model_config *c, struct lafs_err *err)
{
    memset(m, 0, sizeof *m);
    m->config = *c;
    lafs_params_init(&m->params);
    int side = c->vit.patch ? LAFS_CNN_SIDE / c->vit.patch : 0;
    if (c->tokens == LAFS_TOKENS_GRID && side * side != c->vit.patches)
        return lafs_fail(err, LAFS_USAGE, "a grid has %d patches of --patch %d, --patches is %d", side * side,
                         c->vit.patch, c->vit.patches);
    if (c->parts & LAFS_PART_CNN) LAFS_TRY(lafs_cnn_declare(&m->cnn, c->vit.patches, &m->params, err));
    if (c->parts & LAFS_PART_VIT) LAFS_TRY(lafs_vit_declare(&m->vit, &c->vit, &m->params, err));
    return LAFS_OK;
}

void lafs_model_release(struct lafs_model *m, const struct lafs_backend *b)
{
    lafs_params_release(&m->params, b);
    for (int i = 0; i < m->metas; i++) {
        lafs_free((void *)m->meta[i].key);
        lafs_free((void *)m->meta[i].value);
    }
    lafs_free(m->meta);
    memset(m, 0, sizeof *m);
}

/* -- computing -- */

lafs_status lafs_model_plan(struct lafs_model_work *w, const struct lafs_model *m, int64_t max_images,
                            enum lafs_model_mode mode, const struct lafs_backend *b, struct lafs_arena *a,
                            struct lafs_err *err)
{
    const struct lafs_vit_config *c = &m->config.vit;
    size_t n = (size_t)max_images, r = (size_t)c->patches, token = (size_t)lafs_token_width(c);
    int cnn = m->config.tokens == LAFS_TOKENS_LANDMARK, train = mode == LAFS_MODEL_TRAIN;
    if (cnn && !(m->config.parts & LAFS_PART_CNN))
        return lafs_fail(err, LAFS_USAGE, "the model has no landmark CNN, and its patches are cut at landmarks");
    if (w->model != m || w->max_images != max_images || !w->off) {
        lafs_model_work_release(w);
        LAFS_TRY(lafs_alloc(&w->off, n + 1, sizeof *w->off, err));
        for (size_t i = 0; i <= n; i++) w->off[i] = (int64_t)(i * r);
    }
    w->model = m;
    w->max_images = max_images;
    w->mode = mode;
    w->dev_off = lafs_arena_take(a, n + 1, sizeof *w->dev_off);
    w->tokens = lafs_arena_take(a, n * r * token, sizeof(float));
    w->landmarks = cnn ? lafs_arena_take(a, n * r * 2, sizeof(float)) : NULL;
    w->dtokens = cnn && train ? lafs_arena_take(a, n * r * token, sizeof(float)) : NULL;
    w->dlandmarks = cnn && train ? lafs_arena_take(a, n * r * 2, sizeof(float)) : NULL;
    enum lafs_cnn_mode cnn_mode = train ? LAFS_CNN_KEEP : LAFS_CNN_FOLDED;
    if (cnn) LAFS_TRY(lafs_cnn_plan(&w->cnn, &m->cnn, max_images, cnn_mode, b, a, err));
    return lafs_vit_plan(&w->vit, &m->vit, (int64_t)(n * r), max_images, mode != LAFS_MODEL_INFER, b, a, err);
}

void lafs_model_work_release(struct lafs_model_work *w)
{
    lafs_cnn_work_release(&w->cnn);
    lafs_vit_work_release(&w->vit);
    lafs_free(w->off);
    memset(w, 0, sizeof *w);
}

lafs_status lafs_model_fold(struct lafs_model_work *w, const struct lafs_backend *b, const float *value,
                            struct lafs_err *err)
{
    lafs_vit_weights(&w->vit, b, value);
    return w->landmarks && w->cnn.mode == LAFS_CNN_FOLDED ? lafs_cnn_fold(&w->cnn, b, value, err) : LAFS_OK;
}

void lafs_model_forward(struct lafs_model_work *w, const struct lafs_backend *b, const float *value, float *running,
                        int64_t n, const float *images, const uint64_t *keys, const uint64_t *host_keys,
                        float *emb)
{
    const struct lafs_vit_config *c = &w->model->config.vit;
    b->ops->upload(b->dev, w->dev_off, w->off, (size_t)(n + 1) * sizeof *w->off);
    w->seqs = (struct lafs_seqs){n, w->off, w->dev_off, c->patches};
    w->images = images;
    if (w->landmarks) {
        int train = w->cnn.mode == LAFS_CNN_KEEP;
        lafs_cnn_forward(&w->cnn, b, value, running, n, images, train ? keys : NULL, w->landmarks);
        b->ops->patch_cut(b->dev, &w->seqs, LAFS_CNN_SIDE, c->patch, 1, images, w->landmarks, w->tokens);
    } else b->ops->grid_cut(b->dev, n, LAFS_CNN_SIDE, c->patch, images, w->tokens);
    lafs_vit_forward(&w->vit, b, value, &w->seqs, w->tokens, keys, host_keys, emb);
}

void lafs_model_backward(struct lafs_model_work *w, const struct lafs_backend *b, const float *value, const float *demb,
                         const float *more_dlandmarks, float *grad)
{
    const struct lafs_vit_config *c = &w->model->config.vit;
    int64_t values = w->seqs.n * c->patches * 2;
    lafs_vit_backward(&w->vit, b, value, demb, grad, w->dtokens);
    if (!w->dtokens) return;
    b->ops->patch_cut_bwd(b->dev, &w->seqs, LAFS_CNN_SIDE, c->patch, 1, w->images, w->landmarks, w->dtokens,
                          w->dlandmarks, NULL);
    if (more_dlandmarks) b->ops->axpy(b->dev, values, 1, more_dlandmarks, w->dlandmarks);
    lafs_cnn_backward(&w->cnn, b, value, w->dlandmarks, grad, NULL);
}

lafs_status lafs_model_check_pixels(const struct lafs_model *m, const struct lafs_pixels *have, struct lafs_err *err)
{
    const struct lafs_pixels *want = &m->config.pixels;
    if (have->size && want->size && have->size != want->size)
        return lafs_fail(err, LAFS_USAGE, "the faces are %d pixels wide, the model wants %d", have->size, want->size);
    if (have->channels[0] && want->channels[0] && strcmp(have->channels, want->channels))
        return lafs_fail(err, LAFS_USAGE, "the faces' channels are %s, the model wants %s", have->channels,
                         want->channels);
    /* "given" says that somebody else aligned the faces: nothing contradicts the model then. */
    if (!strcmp(have->aligner, "none") && want->aligner[0])
        return lafs_fail(err, LAFS_USAGE,
                         "these are photos, not aligned faces, which the model wants: lafs-detect makes them");
    if (have->aligner[0] && want->aligner[0] && strcmp(have->aligner, want->aligner) &&
        strcmp(have->aligner, "given") && strcmp(want->aligner, "given"))
        return lafs_fail(err, LAFS_USAGE, "the faces are aligned by '%s', the model wants '%s'", have->aligner,
                         want->aligner);
    return LAFS_OK;
}

lafs_status lafs_model_take_pixels(struct lafs_model_config *c, const struct lafs_pixels *have, const char *path,
                                   struct lafs_err *err)
{
    const struct lafs_model any = {.config.pixels = {.size = LAFS_CNN_SIDE, .aligner = "given"}};
    if (lafs_model_check_pixels(&any, have, err) != LAFS_OK) return lafs_err_prefix(err, "'%s'", path);
    c->pixels = *have;
    c->pixels.size = LAFS_CNN_SIDE; /* foreign files do not say */
    return LAFS_OK;
}
