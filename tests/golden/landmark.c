/* The landmark CNN against the authors' code: every block, landmarks and mosaic in eval mode, kept and folded; gradients
 * and running statistics in train mode. */
#include "tests/golden/golden.h"

#include "model/mobilenetv3.h"

enum { N = 4, R = 196, CROP = 112 * 112 * 3, MAP = 4 * 4 * 160 };

struct session {
    struct lafs_backend b;
    struct lafs_params ps;
    struct lafs_cnn m;
    struct lafs_arena arena;
    struct lafs_cnn_work w;
    float *images, *landmarks, *dmap, *grad, *dimages, *tokens;
    int64_t off[N + 1], *dev_off;
};

static lafs_status carve(struct session *s, enum lafs_cnn_mode mode, struct lafs_err *err)
{
    struct lafs_arena *a = &s->arena;
    s->images = lafs_arena_take(a, N * CROP, sizeof(float));
    s->landmarks = lafs_arena_take(a, N * R * 2, sizeof(float));
    s->dmap = lafs_arena_take(a, N * MAP, sizeof(float));
    s->dimages = lafs_arena_take(a, N * CROP, sizeof(float));
    s->tokens = lafs_arena_take(a, N * R * 192, sizeof(float));
    s->grad = lafs_arena_take(a, (size_t)s->ps.size, sizeof(float));
    s->dev_off = lafs_arena_take(a, N + 1, sizeof(int64_t));
    return lafs_cnn_plan(&s->w, &s->m, N, mode, &s->b, a, err);
}

static lafs_status begin(struct session *s, enum lafs_cnn_mode mode, struct lafs_err *err)
{
    memset(s, 0, sizeof *s);
    LAFS_TRY(lafs_backend_open(&s->b, "cpu", NULL, NULL, err));
    LAFS_TRY(lafs_cnn_declare(&s->m, R, &s->ps, err));
    LAFS_TRY(lafs_params_place(&s->ps, &s->b, err));
    golden_params(&s->ps, &s->b, "");
    LAFS_TRY(carve(s, mode, err));
    LAFS_TRY(lafs_arena_reserve(&s->arena, &s->b, err));
    LAFS_TRY(carve(s, mode, err));
    if (mode == LAFS_CNN_FOLDED) LAFS_TRY(lafs_cnn_fold(&s->w, &s->b, s->ps.value, err));
    float *im = golden_new("landmark.image", N * CROP, -1, 1);
    golden_nchw_to_nhwc(im, N, 3, 112, 112);
    s->b.ops->upload(s->b.dev, s->images, im, N * CROP * sizeof *im);
    free(im);
    return LAFS_OK;
}

static void end(struct session *s)
{
    lafs_cnn_work_release(&s->w);
    lafs_arena_release(&s->arena, &s->b);
    lafs_params_release(&s->ps, &s->b);
    lafs_backend_close(&s->b);
}

static float *fetch(const struct session *s, const float *x, int64_t n)
{
    float *h = golden_alloc((size_t)n, sizeof *h);
    s->b.ops->download(s->b.dev, h, x, (size_t)n * sizeof *h);
    return h;
}

/* Mean over the map and largest absolute value of a block's output (N, hw, c). */
static void check_map(const struct session *s, const struct lafs_st *g, int block, const float *map, int hw, int c)
{
    char name[64];
    double *mean = golden_alloc((size_t)(N * c), sizeof *mean), top = 0;
    float *x = fetch(s, map, (int64_t)N * hw * c);
    for (int64_t i = 0; i < N; i++)
        for (int p = 0; p < hw; p++)
            for (int k = 0; k < c; k++) {
                double v = x[(i * hw + p) * c + k];
                mean[i * c + k] += v / hw;
                if (fabs(v) > top) top = fabs(v);
            }
    snprintf(name, sizeof name, "eval_block%02d_mean", block);
    golden_check_f64(g, name, mean, (int64_t)N * c, 1e-4);
    snprintf(name, sizeof name, "eval_block%02d_absmax", block);
    golden_check_at(g, name, 0, top, 1e-4);
    free(mean);
    free(x);
}

static void check_mosaic(struct session *s, const struct lafs_st *g)
{
    double sum[N * 3] = {0};
    for (int i = 0; i <= N; i++) s->off[i] = (int64_t)i * R;
    s->b.ops->upload(s->b.dev, s->dev_off, s->off, sizeof s->off);
    struct lafs_seqs q = {N, s->off, s->dev_off, R};
    s->b.ops->patch_cut(s->b.dev, &q, 112, 8, 1, s->images, s->landmarks, s->tokens);
    float *t = fetch(s, s->tokens, N * R * 192);
    for (int64_t i = 0; i < (int64_t)N * R * 192; i++) sum[i / (R * 192) * 3 + i % 3] += t[i];
    golden_check_f64(g, "eval_mosaic_sum", sum, N * 3, 1e-4);
    free(t);
}

static void check_results(struct session *s, const struct lafs_st *g)
{
    float *mean = fetch(s, s->w.mean, N * 160), *raw = fetch(s, s->w.raw, N * 2 * R), *lm = fetch(s, s->landmarks, N * R * 2);
    golden_check(g, "eval_features_mean", mean, N * 160, 1e-4);
    golden_check(g, "eval_raw", raw, N * 2 * R, 1e-4);
    golden_check(g, "eval_landmarks", lm, N * R * 2, 1e-4);
    free(mean), free(raw), free(lm);
    check_mosaic(s, g);
}

TEST(eval_every_block)
{
    static const int side[] = {56, 28, 28, 14, 14, 14, 7, 7, 7, 7, 7, 7, 4, 4, 4};
    static const int out[] = {16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160};
    struct session s;
    struct lafs_err err;
    struct lafs_st *g = golden_open("landmark");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, LAFS_CNN_KEEP, &err), &err);
    lafs_cnn_forward(&s.w, &s.b, s.ps.value, NULL, N, s.images, NULL, s.landmarks);
    check_map(&s, g, 0, s.w.first.out, 56 * 56, 16);
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) check_map(&s, g, i + 1, s.w.stage[i].sum, side[i] * side[i], out[i]);
    check_results(&s, g);
    end(&s);
    lafs_st_close(g);
}

TEST(eval_folded)
{
    struct session s;
    struct lafs_err err;
    struct lafs_st *g = golden_open("landmark");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, LAFS_CNN_FOLDED, &err), &err);
    lafs_cnn_forward(&s.w, &s.b, s.ps.value, NULL, N, s.images, NULL, s.landmarks);
    check_results(&s, g);
    end(&s);
    lafs_st_close(g);
}

static int zero_in_theory(const char *name)
{
    int block = 0;
    return sscanf(name, "stn.features.%d.", &block) == 1 && block >= 1 && block <= 12 && golden_ends(name, "conv.8.bias");
}

TEST(train)
{
    struct session s;
    struct lafs_err err;
    struct lafs_st *g = golden_open("landmark");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, LAFS_CNN_KEEP, &err), &err);
    lafs_cnn_forward(&s.w, &s.b, s.ps.value, s.ps.value, N, s.images, NULL, s.landmarks);
    float *mean = fetch(&s, s.w.mean, N * 160), *d = golden_new("landmark.dout", N * MAP, -1, 1);
    golden_check(g, "train_features_mean", mean, N * 160, 1e-4);
    golden_nchw_to_nhwc(d, N, 160, 4, 4);
    s.b.ops->upload(s.b.dev, s.dmap, d, N * MAP * sizeof *d);
    lafs_cnn_body_backward(&s.w, &s.b, s.ps.value, s.dmap, s.grad, s.dimages);
    free(mean), free(d);
    float *grad = fetch(&s, s.grad, s.ps.size), *value = fetch(&s, s.ps.value, s.ps.size), *di = fetch(&s, s.dimages, N * CROP);
    int grads = 0, buffers = 0;
    for (int i = 0; i < s.ps.count; i++) {
        const struct lafs_param *p = &s.ps.p[i];
        char name[256];
        double sq = 0, sum = 0;
        for (int64_t k = p->off; k < p->off + p->size; k++) sq += (double)grad[k] * grad[k], sum += value[k];
        snprintf(name, sizeof name, "train_grad_norm/%s", p->name);
        if (lafs_st_find(g, name) && !zero_in_theory(p->name)) golden_check_at(g, name, 0, sqrt(sq), 1e-3), grads++;
        snprintf(name, sizeof name, "train_buffer_sum/%s", p->name);
        if (lafs_st_find(g, name)) golden_check_at(g, name, 0, sum, 1e-4), buffers++;
    }
    CHECK_INT(grads, 142);
    CHECK_INT(buffers, 92);
    double norm[N * 3] = {0};
    for (int64_t i = 0; i < (int64_t)N * CROP; i++) norm[i / CROP * 3 + i % 3] += (double)di[i] * di[i];
    for (int i = 0; i < N * 3; i++) norm[i] = sqrt(norm[i]);
    golden_check_f64(g, "train_dimage_norm", norm, N * 3, 1e-3);
    free(grad), free(value), free(di);
    end(&s);
    lafs_st_close(g);
}

TEST_MAIN(eval_every_block, eval_folded, train)
