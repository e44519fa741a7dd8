/* Patch cutting against the authors' grid_sample: tests/golden/data/patch.safetensors. */
#include "tests/golden/golden.h"

enum { N = 2, R = 196, SIDE = 112, P = 8, WIDTH = P * P * 3 };

/* The mosaic picture of an image's tokens (R, x, y, channel): patch k at row k/14, column k%14; (3, side, side). */
static void mosaic(const float *tokens, int r, float *out)
{
    int across = (int)sqrt((double)r);
    int side = across * P;
    for (int k = 0; k < r; k++)
        for (int a = 0; a < P; a++)
            for (int b = 0; b < P; b++)
                for (int c = 0; c < 3; c++)
                    out[(c * side + k / across * P + a) * side + k % across * P + b] = tokens[k * WIDTH + (a * P + b) * 3 + c];
}

/* Gradient by the mosaic to gradient by the tokens: the same places, read instead of written. */
static void unmosaic(const float *in, float *tokens)
{
    for (int k = 0; k < R; k++)
        for (int a = 0; a < P; a++)
            for (int b = 0; b < P; b++)
                for (int c = 0; c < 3; c++)
                    tokens[k * WIDTH + (a * P + b) * 3 + c] = in[(c * SIDE + k / 14 * P + a) * SIDE + k % 14 * P + b];
}

static void forward(const struct lafs_st *g, const struct lafs_backend *b, const float *image, const float *lm)
{
    int64_t off[] = {0, R, 2 * R}, off36[] = {0, 36, 72};
    struct lafs_seqs s = {N, off, off, R}, s36 = {N, off36, off36, 36};
    float *tokens = golden_new("x", N * R * WIDTH, 7, 7), *m = golden_new("x", 3 * SIDE * SIDE, 0, 0);
    b->ops->patch_cut(b->dev, &s, SIDE, P, 1, image, lm, tokens);
    mosaic(tokens, R, m);
    golden_check(g, "mosaic", m, 3 * SIDE * SIDE, 1e-4);
    float *first = golden_new("x", N * 8 * WIDTH, 0, 0);
    for (int i = 0; i < N; i++) memcpy(first + i * 8 * WIDTH, tokens + i * R * WIDTH, 8 * WIDTH * sizeof *first);
    golden_check(g, "tokens_first8", first, N * 8 * WIDTH, 1e-4);
    double sum[N * R] = {0}, sum36[N * 3] = {0};
    for (int i = 0; i < N * R * WIDTH; i++) sum[i / WIDTH] += tokens[i];
    golden_check_f64(g, "tokens_sum", sum, N * R, 1e-4);

    float lm36[N * 36 * 2];
    for (int i = 0; i < N; i++) memcpy(lm36 + i * 72, lm + i * R * 2, 72 * sizeof *lm36);
    b->ops->patch_cut(b->dev, &s36, SIDE, P, 1, image, lm36, tokens);
    for (int i = 0; i < N * 36 * WIDTH; i++) sum36[i / (36 * WIDTH) * 3 + i % 3] += tokens[i];
    golden_check_f64(g, "mosaic36_sum", sum36, N * 3, 1e-4);
    free(tokens);
    free(m);
    free(first);
}

static void backward(const struct lafs_st *g, const struct lafs_backend *b, const float *image, const float *lm)
{
    int64_t off[] = {0, R, 2 * R};
    struct lafs_seqs s = {N, off, off, R};
    float *dout = golden_new("patch.dout", N * 3 * SIDE * SIDE, -1, 1);
    float *dtokens = golden_new("x", N * R * WIDTH, 0, 0), *dlm = golden_new("x", N * R * 2, 7, 7);
    float *dimage = golden_new("x", N * SIDE * SIDE * 3, 7, 7);
    for (int i = 0; i < N; i++) unmosaic(dout + i * 3 * SIDE * SIDE, dtokens + i * R * WIDTH);
    b->ops->patch_cut_bwd(b->dev, &s, SIDE, P, 1, image, lm, dtokens, dlm, dimage);
    golden_check(g, "dlandmarks", dlm, N * R * 2, 1e-3);
    double norm[N * 3] = {0};
    for (int i = 0; i < N * SIDE * SIDE * 3; i++) norm[i / (SIDE * SIDE * 3) * 3 + i % 3] += (double)dimage[i] * dimage[i];
    for (int i = 0; i < N * 3; i++) norm[i] = sqrt(norm[i]);
    golden_check_f64(g, "dimage_norm", norm, N * 3, 1e-3);
    free(dout);
    free(dtokens);
    free(dlm);
    free(dimage);
}

static void on(const char *device)
{
    struct lafs_st *g = golden_open("patch");
    struct lafs_backend b;
    struct lafs_err err;
    if (!g) return;
    REQUIRE_OK(lafs_backend_open(&b, device, NULL, NULL, &err), &err);
    float *image = golden_new("patch.image", N * 3 * SIDE * SIDE, -1, 1), *lm = golden_new("patch.landmarks", N * R * 2, -6, 118);
    golden_nchw_to_nhwc(image, N, 3, SIDE, SIDE);
    forward(g, &b, image, lm);
    backward(g, &b, image, lm);
    free(image);
    free(lm);
    lafs_backend_close(&b);
    lafs_st_close(g);
}

TEST(reference) { on("ref"); }
TEST(cpu) { on("cpu"); }
TEST_MAIN(reference, cpu)
