/* Embeddings from crops. */
#include "tests/test.h"

#include <float.h>
#include <math.h>

#include "base/rng.h"
#include "model/embed.h"

enum { FACES = 3, BYTES = FACES * LAFS_CNN_SIDE * LAFS_CNN_SIDE * 3, DIM = 64 };

static lafs_status embed(const struct lafs_model *m, const struct lafs_backend *b, float amplitude,
                         const uint8_t *crops, float *emb, struct lafs_err *err)
{
    struct lafs_embedder e;
    LAFS_TRY(lafs_embedder_open(&e, m, b, 2, LAFS_FOR_EMBEDDING, err));
    if (amplitude != 1) e.amplitude = amplitude;
    lafs_status st = lafs_embed(&e, FACES, crops, emb, err);
    lafs_embedder_close(&e);
    return st;
}

static void halve(const struct lafs_model *m, const char *name)
{
    const struct lafs_param *p = lafs_params_find(&m->params, name);
    REQUIRE(p);
    for (int64_t i = 0; i < p->size; i++) m->params.value[p->off + i] *= 0.5f;
}

/* A model of some values. */
static lafs_status begin(struct lafs_model *m, const struct lafs_backend *b, uint8_t *crops, struct lafs_err *err)
{
    struct lafs_model_config c;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < BYTES; i++) crops[i] = (uint8_t)lafs_rng_below(&r, 256);
    LAFS_TRY(lafs_model_config_named(&c, "xs", err));
    c.vit.dim = DIM;
    c.vit.depth = 1;
    LAFS_TRY(lafs_model_init(m, &c, err));
    LAFS_TRY(lafs_params_place(&m->params, b, err));
    return lafs_params_fill(&m->params, b, 1, err);
}

/* The sum of image and mirror image is that of mirror image and image. */
TEST(mirror_images_are_embedded_alike)
{
    enum { SIDE = LAFS_CNN_SIDE, PIXELS = FACES * SIDE * SIDE };
    static uint8_t crops[BYTES], mirrored[BYTES];
    static float emb[FACES * DIM], other[FACES * DIM];
    struct lafs_err err = {0};
    struct lafs_backend cpu;
    struct lafs_model m;
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(begin(&m, &cpu, crops, &err), &err);
    for (int i = 0; i < PIXELS; i++) memcpy(mirrored + 3 * i, crops + 3 * (i / SIDE * SIDE + SIDE - 1 - i % SIDE), 3);
    REQUIRE_OK(embed(&m, &cpu, 1, crops, emb, &err), &err);
    REQUIRE_OK(embed(&m, &cpu, 1, mirrored, other, &err), &err);
    CHECK(memcmp(emb, other, sizeof emb) == 0);
    CHECK(memcmp(emb, emb + DIM, DIM * sizeof *emb) != 0);
    lafs_model_release(&m, &cpu);
    lafs_backend_close(&cpu);
}

/* Images are read by the first convolution, and as patches: half of an image, or half of what it is multiplied by. */
TEST(half_the_amplitude)
{
    static uint8_t crops[BYTES];
    static float full[FACES * DIM], half[FACES * DIM], halved[FACES * DIM];
    struct lafs_err err = {0};
    struct lafs_backend cpu;
    struct lafs_model m;
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(begin(&m, &cpu, crops, &err), &err);
    REQUIRE_OK(embed(&m, &cpu, 1, crops, full, &err), &err);
    REQUIRE_OK(embed(&m, &cpu, 0.5f, crops, half, &err), &err);
    halve(&m, "stn.features.0.0.weight");
    halve(&m, "patch_to_embedding.weight");
    REQUIRE_OK(embed(&m, &cpu, 1, crops, halved, &err), &err);
    CHECK(memcmp(half, full, sizeof half) != 0);
    CHECK(memcmp(half, halved, sizeof half) == 0);
    lafs_model_release(&m, &cpu);
    lafs_backend_close(&cpu);
}

/* What the min-max divides by may be nothing, and weights may be no numbers. */
TEST(outputs_that_are_none)
{
    static uint8_t crops[BYTES];
    static float emb[FACES * DIM], landmarks[FACES * 2 * 196];
    struct lafs_err err = {0};
    struct lafs_backend cpu;
    struct lafs_embedder e;
    struct lafs_model m;
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(begin(&m, &cpu, crops, &err), &err);
    REQUIRE_OK(lafs_embedder_open(&e, &m, &cpu, 2, LAFS_FOR_EMBEDDING | LAFS_FOR_LANDMARKS, &err), &err);
    REQUIRE_OK(lafs_landmarks(&e, FACES, crops, landmarks, &err), &err);
    REQUIRE_OK(lafs_embed(&e, FACES, crops, emb, &err), &err);
    struct lafs_param const *bias = lafs_params_find(&m.params, "mlp_head.0.bias");
    const float odd[] = {NAN, INFINITY, FLT_MAX}; /* the last: its sum with the mirror image's */
    for (int k = 0; k < 3; k++) {
        m.params.value[bias->off + DIM - 1] = odd[k];
        CHECK_INT(lafs_embed(&e, FACES, crops, emb, &err), LAFS_FAILED);
        CHECK_STR(err.msg, "the model gives an embedding that is not finite");
    }
    const char *const last[] = {"output_layer.1.weight", "output_layer.1.bias"};
    for (int k = 0; k < 2; k++) {
        const struct lafs_param *p = lafs_params_find(&m.params, last[k]);
        for (int64_t i = 0; i < p->size; i++) m.params.value[p->off + i] = 0.25f * (float)k;
    }
    CHECK_INT(lafs_landmarks(&e, FACES, crops, landmarks, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "outputs are all equal"));
    CHECK_INT(lafs_embed(&e, FACES, crops, emb, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "outputs are all equal"));
    lafs_embedder_close(&e);
    lafs_model_release(&m, &cpu);
    lafs_backend_close(&cpu);
}

TEST_MAIN(outputs_that_are_none, mirror_images_are_embedded_alike, half_the_amplitude)
