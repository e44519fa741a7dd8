/* Embeddings from crops. */
#include "tests/test.h"

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

/* Images are read by the first convolution, and as patches: half of an image, or half of what it is multiplied by. */
TEST(half_the_amplitude)
{
    static uint8_t crops[BYTES];
    static float full[FACES * DIM], half[FACES * DIM], halved[FACES * DIM];
    struct lafs_err err = {0};
    struct lafs_backend cpu;
    struct lafs_model_config c;
    struct lafs_model m;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < BYTES; i++) crops[i] = (uint8_t)lafs_rng_below(&r, 256);
    REQUIRE_OK(lafs_backend_open(&cpu, "cpu", NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_model_config_named(&c, "xs", &err), &err);
    c.vit.dim = DIM;
    c.vit.depth = 1;
    REQUIRE_OK(lafs_model_init(&m, &c, &err), &err);
    REQUIRE_OK(lafs_params_place(&m.params, &cpu, &err), &err);
    REQUIRE_OK(lafs_params_fill(&m.params, &cpu, 1, &err), &err);
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

TEST_MAIN(half_the_amplitude)
