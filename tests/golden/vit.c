/* The ViT against the authors' code: packed views of 196 and 36 tokens, gradients, grid patches. */
#include "tests/golden/golden.h"

#include "model/part_fvit.h"

enum { R = 196, L = 36, D = 96, WIDTH = 192, A = 2, B = 3, CROP = 112 * 112 * 3 };

struct session {
    struct lafs_backend b;
    struct lafs_params ps;
    struct lafs_vit v;
    struct lafs_arena arena;
    struct lafs_vit_work w;
    float *tokens, *dtokens, *emb, *demb, *grad, *images;
    int64_t off[A + B + 1], *dev_off;
};

static lafs_status carve(struct session *s, struct lafs_err *err)
{
    struct lafs_arena *a = &s->arena;
    s->tokens = lafs_arena_take(a, (A + B) * R * WIDTH, sizeof(float));
    s->dtokens = lafs_arena_take(a, (A + B) * R * WIDTH, sizeof(float));
    s->emb = lafs_arena_take(a, (A + B) * D, sizeof(float));
    s->demb = lafs_arena_take(a, (A + B) * D, sizeof(float));
    s->grad = lafs_arena_take(a, (size_t)s->ps.size, sizeof(float));
    s->images = lafs_arena_take(a, A * CROP, sizeof(float));
    s->dev_off = lafs_arena_take(a, A + B + 1, sizeof(int64_t));
    return lafs_vit_plan(&s->w, &s->v, (A + B) * R, A + B, 1, &s->b, a, err);
}

static lafs_status begin(struct session *s, const char *backend, struct lafs_err *err)
{
    const struct lafs_vit_config c = {.dim = D, .depth = 3, .heads = 2, .mlp = 160, .patches = R, .patch = 8, .dropout = 0.1f};
    memset(s, 0, sizeof *s);
    LAFS_TRY(lafs_backend_open(&s->b, backend, NULL, NULL, err));
    LAFS_TRY(lafs_vit_declare(&s->v, &c, &s->ps, err));
    LAFS_TRY(lafs_params_place(&s->ps, &s->b, err));
    golden_params(&s->ps, &s->b, "");
    LAFS_TRY(carve(s, err));
    LAFS_TRY(lafs_arena_reserve(&s->arena, &s->b, err));
    return carve(s, err);
}

static void end(struct session *s)
{
    lafs_vit_work_release(&s->w);
    lafs_arena_release(&s->arena, &s->b);
    lafs_params_release(&s->ps, &s->b);
    lafs_backend_close(&s->b);
}

/* Host data that golden_new made, into device memory. */
static void put(struct session *s, float *to, const char *name, int64_t n)
{
    float *v = golden_new(name, n, -1, 1);
    s->b.ops->upload(s->b.dev, to, v, (size_t)n * sizeof *v);
    free(v);
}

static struct lafs_seqs seqs(struct session *s, int a, int la, int b, int lb)
{
    s->off[0] = 0;
    for (int i = 0; i < a + b; i++) s->off[i + 1] = s->off[i] + (i < a ? la : lb);
    s->b.ops->upload(s->b.dev, s->dev_off, s->off, sizeof s->off);
    return (struct lafs_seqs){a + b, s->off, s->dev_off, la > lb ? la : lb};
}

static void check_gradients(struct session *s, const struct lafs_st *g)
{
    int seen = 0;
    float *grad = golden_alloc((size_t)s->ps.size, sizeof *grad);
    s->b.ops->download(s->b.dev, grad, s->grad, (size_t)s->ps.size * sizeof *grad);
    for (int i = 0; i < s->ps.count; i++) {
        char name[256];
        double sum = 0;
        snprintf(name, sizeof name, "grad_norm/%s", s->ps.p[i].name);
        if (!lafs_st_find(g, name)) continue;
        for (int64_t k = 0; k < s->ps.p[i].size; k++) sum += (double)grad[s->ps.p[i].off + k] * grad[s->ps.p[i].off + k];
        golden_check_at(g, name, 0, sqrt(sum), 1e-3);
        seen++;
    }
    CHECK_INT(seen, s->ps.count);
    free(grad);
}

static void check_token_norms(struct session *s, const struct lafs_st *g, const char *name, int64_t first, int64_t n)
{
    float *d = golden_alloc((size_t)(n * WIDTH), sizeof *d);
    double *norm = golden_alloc((size_t)n, sizeof *norm);
    s->b.ops->download(s->b.dev, d, s->dtokens + first * WIDTH, (size_t)(n * WIDTH) * sizeof *d);
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < WIDTH; k++) norm[i] += (double)d[i * WIDTH + k] * d[i * WIDTH + k];
        norm[i] = sqrt(norm[i]);
    }
    golden_check_f64(g, name, norm, n, 1e-3);
    free(d);
    free(norm);
}

static void views(const char *backend)
{
    struct session s;
    struct lafs_err err;
    float emb[(A + B) * D];
    struct lafs_st *g = golden_open("vit");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, backend, &err), &err);
    put(&s, s.tokens, "vit.tokens196", A * R * WIDTH);
    put(&s, s.tokens + A * R * WIDTH, "vit.tokens36", B * L * WIDTH);
    put(&s, s.demb, "vit.dout196", A * D);
    put(&s, s.demb + A * D, "vit.dout36", B * D);
    struct lafs_seqs q = seqs(&s, A, R, B, L);
    lafs_vit_forward(&s.w, &s.b, s.ps.value, &q, s.tokens, NULL, NULL, s.emb);
    s.b.ops->download(s.b.dev, emb, s.emb, sizeof emb);
    golden_check(g, "embedding196", emb, A * D, 1e-4);
    golden_check(g, "embedding36", emb + A * D, B * D, 1e-4);
    lafs_vit_backward(&s.w, &s.b, s.ps.value, s.demb, s.grad, s.dtokens);
    check_gradients(&s, g);
    check_token_norms(&s, g, "dtokens196_norm", 0, A * R);
    check_token_norms(&s, g, "dtokens36_norm", A * R, B * L);
    end(&s);
    lafs_st_close(g);
}

static void grid_of(struct session *s, const struct lafs_st *g, int side, const char *input, const char *want)
{
    int n = side / 8 * (side / 8);
    float emb[A * D], *im = golden_new(input, A * side * side * 3, -1, 1);
    golden_nchw_to_nhwc(im, A, 3, side, side);
    s->b.ops->upload(s->b.dev, s->images, im, (size_t)(A * side * side * 3) * sizeof *im);
    free(im);
    struct lafs_seqs q = seqs(s, A, n, 0, 0);
    s->b.ops->grid_cut(s->b.dev, A, side, 8, s->images, s->tokens);
    lafs_vit_forward(&s->w, &s->b, s->ps.value, &q, s->tokens, NULL, NULL, s->emb);
    s->b.ops->download(s->b.dev, emb, s->emb, sizeof emb);
    golden_check(g, want, emb, A * D, 1e-4);
}

TEST(packed_views_reference) { views("ref"); }
TEST(packed_views_cpu) { views("cpu"); }

TEST(grid)
{
    struct session s;
    struct lafs_err err;
    struct lafs_st *g = golden_open("vit");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, "cpu", &err), &err);
    grid_of(&s, g, 112, "vit.image112", "embedding_grid112");
    grid_of(&s, g, 48, "vit.image48", "embedding_grid48");
    end(&s);
    lafs_st_close(g);
}

TEST_MAIN(packed_views_reference, packed_views_cpu, grid)
