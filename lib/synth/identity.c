#include "synth/identity.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "synth/head.h"
#include "synth/shape.h"

static float uni(struct lafs_rng *r, float lo, float hi) { return (float)lafs_rng_uniform(r, lo, hi); }
static float nor(struct lafs_rng *r, float mean, float dev)
{
    return mean + dev * clampf((float)lafs_rng_normal(r), -2.5f, 2.5f);
}
static int chance(struct lafs_rng *r, float p) { return lafs_rng_double(r) < p; }
static float srgb(float v) { return v <= 0.04045f ? v / 12.92f : powf((v + 0.055f) / 1.055f, 2.4f); }

/* Traits that come together: means of a few measures by cluster, so that the faces are as varied as people are.
 * Numbers in standard deviations of the shape directions named in shape.c, or as the fields say. */
enum { CLUSTERS = 4 };
struct cluster {
    float tone, tone_dev;          /* skin */
    float bridge, wings, tip, root, lips, muzzle, brow, slant, eye, cheek, jaw, depth;
    float fold, dark_eyes, dark_hair, curl, curl_dev, beard;
};
static const struct cluster clusters[CLUSTERS] = {
    {0.16f, 0.11f, 0.5f, -0.6f, 0.4f, -0.3f, -0.4f, -0.4f, 0.4f, -0.3f,
     0.1f,  -0.4f, 0.1f, 0.2f,  3.2f, 0.45f, 0.45f, 0.25f, 0.2f, 0.9f},
    {0.30f, 0.10f, -0.9f, 0.2f,  -0.4f, 0.7f, 0.1f, 0.1f,  -0.5f, 0.9f,
     -0.5f, 0.8f,  0.1f,  -0.4f, 1.2f,  1.0f, 1.0f, 0.05f, 0.1f,  0.35f},
    {0.50f, 0.13f, 0.6f, 0.1f, 0.4f, 0.0f,  0.2f,  0.0f,  0.3f, 0.0f,
     0.4f,  0.0f,  0.0f, 0.0f, 3.0f, 0.95f, 0.97f, 0.25f, 0.2f, 1.0f},
    {0.80f, 0.13f, -0.7f, 1.4f, -0.2f, 0.2f, 1.3f, 1.1f, 0.1f, 0.0f,
     0.1f,  0.2f,  -0.1f, 0.2f, 2.8f,  1.0f, 1.0f, 0.9f, 0.1f, 0.6f},
};

static void draw_skin(struct identity *id, struct lafs_rng *r, const struct cluster *c)
{
    /* sRGB of skin in even light, from light to dark; in between linear. */
    static const float tones[6][3] = {{0.93f, 0.76f, 0.66f}, {0.88f, 0.69f, 0.56f}, {0.79f, 0.59f, 0.44f},
                                      {0.67f, 0.47f, 0.33f}, {0.51f, 0.34f, 0.24f}, {0.37f, 0.25f, 0.18f}};
    id->tone = clampf(nor(r, c->tone, c->tone_dev), 0, 1);
    id->skin = 1 + (int)minf(5, id->tone * 6);
    float at = id->tone * 5;
    int k = at >= 5 ? 4 : (int)at;
    float warm = nor(r, 0, 0.03f), red = nor(r, 0, 0.03f);
    const float tint[3] = {1 + red, 1 - 0.5f * red + 0.3f * warm, 1 - warm - 0.5f * red};
    for (int i = 0; i < 3; i++)
        id->albedo[i] = lerpf(srgb(tones[k][i]), srgb(tones[k + 1][i]), at - (float)k) * tint[i];
    float young = clampf((50 - id->age) / 32, 0, 1), old = clampf((id->age - 30) / 45, 0, 1);
    id->freckle = id->tone < 0.35f && chance(r, 0.3f) ? uni(r, 0.2f, 1) : 0;
    id->blotch = uni(r, 0.3f, 1) * (0.6f + 0.7f * old);
    id->ruddy = clampf(nor(r, 0.5f, 0.35f), 0, 1.3f);
    id->wrinkle = clampf(old * 1.1f + nor(r, 0, 0.1f), 0, 1);
    id->pores = uni(r, 0.4f, 1);
    id->noise_u = uni(r, 0, 256);
    id->noise_v = uni(r, 0, 256);
    id->eye_dark = clampf(nor(r, 0.45f + 0.2f * id->tone, 0.25f) - 0.1f * young, 0, 1);
    id->moles = (int)lafs_rng_below(r, MAX_MOLES);
    for (int i = 0; i < id->moles; i++) {
        float x = nor(r, 0, 34), y = uni(r, -50, 105), size = uni(r, 0.5f, 1.0f), more = uni(r, 0.7f, 1.7f);
        id->mole[i] = (struct mole){x, y, size * more, uni(r, 0.35f, 0.85f)};
    }
}

static void draw_shape(struct identity *id, struct lafs_rng *r, const struct cluster *c, int shapes)
{
    float man = id->male ? 0.5f : -0.5f, years = (id->age - 40) / 10;
    for (int m = 0; m < shapes; m++) {
        float male, age, weight;
        lafs_synth_shape_bias(m, &male, &age, &weight);
        id->shape[m] = nor(r, 0, 1) + male * man + age * years * 0.6f + weight * id->weight;
    }
    /* numbers of directions: see shape.c */
    id->shape[23] += c->bridge;
    id->shape[25] += c->wings;
    id->shape[22] += c->tip;
    id->shape[29] += c->root;
    id->shape[33] += 0.7f * c->lips;
    id->shape[34] += 0.7f * c->lips;
    id->shape[35] += c->muzzle;
    id->shape[15] += c->brow;
    id->shape[19] += c->slant;
    id->shape[20] += c->eye;
    id->shape[10] += 0.6f * c->cheek;
    id->shape[11] += 0.5f * c->cheek;
    id->shape[6] += c->jaw;
    id->shape[2] += c->depth;
    for (int m = 0; m < shapes; m++) id->shape[m] = clampf(id->shape[m], -3, 3);
}

static void draw_eyes(struct identity *id, struct lafs_rng *r, const struct cluster *c)
{
    static const float colours[7][3] = {{0.10f, 0.05f, 0.03f}, {0.16f, 0.085f, 0.045f}, {0.24f, 0.15f, 0.07f},
                                        {0.24f, 0.22f, 0.10f}, {0.20f, 0.27f, 0.22f},   {0.22f, 0.33f, 0.45f},
                                        {0.33f, 0.38f, 0.42f}};
    int dark = chance(r, c->dark_eyes);
    int k = dark ? (int)lafs_rng_below(r, 2) : 2 + (int)lafs_rng_below(r, 5);
    for (int i = 0; i < 3; i++) id->iris[i] = colours[k][i] * uni(r, 0.8f, 1.2f);
    id->iris_r = nor(r, 5.9f, 0.2f);
    id->eye_up = clampf(nor(r, 4.9f + 0.25f * c->eye, 0.6f) - 0.012f * (id->age - 40), 3.4f, 7.5f);
    id->eye_low = clampf(nor(r, 4.0f, 0.4f), 3.0f, 5.2f);
    id->eye_wide = clampf(nor(r, 14.6f, 0.7f), 12.8f, 16.4f);
    id->eye_peak = nor(r, -0.1f, 0.16f);
    id->fold = clampf(nor(r, c->fold, 1.1f), 0, 6);
    id->lash = clampf(nor(r, id->male ? 0.35f : 0.6f, 0.15f), 0.1f, 1);
    id->brow_t = clampf(nor(r, -16.8f, 1.6f), -21, -13.5f);
    id->brow_thick = clampf(nor(r, id->male ? 5.6f : 4.1f, 1.0f), 1.6f, 7);
    id->brow_arch = nor(r, id->male ? 1.7f : 2.9f, 1.3f);
    id->brow_in = clampf(nor(r, id->male ? 11.5f : 13, 2.2f), 5, 17);
    id->brow_out = clampf(nor(r, 51, 2.5f), 45, 57);
    id->brow_tail = nor(r, 2.0f, 1.6f);
    id->brow_density = clampf(nor(r, id->male ? 0.9f : 0.75f, 0.15f) + 0.1f * c->dark_hair - 0.1f, 0.2f, 1);
}

static void draw_mouth(struct identity *id, struct lafs_rng *r, const struct cluster *c)
{
    float old = clampf((id->age - 45) / 35, 0, 1);
    id->lip_up = clampf(nor(r, 6.6f + 1.1f * c->lips, 1.1f) - 1.6f * old - (id->male ? 0.4f : 0), 2.8f, 11);
    id->lip_low = clampf(nor(r, 8.8f + 1.2f * c->lips, 1.2f) - 1.4f * old, 4.5f, 13);
    id->lip_bow = clampf(nor(r, 1.2f, 0.6f), 0, 2.8f);
    id->lip_wide = clampf(nor(r, 27.4f, 1.3f), 24, 30.5f);
    float deep = uni(r, 0.7f, 1.1f), red = nor(r, 0, 0.06f);
    /* Dark skins have lips nearer to their own colour. */
    float far = (1 - 0.55f * id->tone) * (id->male ? 0.85f : 1);
    const float full[3] = {0.78f + red, 0.46f, 0.50f};
    for (int i = 0; i < 3; i++) id->lip[i] = lerpf(1, full[i] * deep, far);
    if (id->tone > 0.6f) id->lip[0] *= 1.1f;
}

static void draw_hair(struct identity *id, struct lafs_rng *r, const struct cluster *c)
{
    static const float colours[7][3] = {{0.006f, 0.005f, 0.005f}, {0.016f, 0.010f, 0.007f}, {0.04f, 0.022f, 0.012f},
                                        {0.085f, 0.048f, 0.024f}, {0.17f, 0.105f, 0.052f},  {0.38f, 0.26f, 0.13f},
                                        {0.22f, 0.07f, 0.022f}};
    int k = chance(r, c->dark_hair) ? (int)lafs_rng_below(r, 2) : 2 + (int)lafs_rng_below(r, 5);
    int dyed = !id->male && chance(r, 0.15f);
    if (dyed) k = 2 + (int)lafs_rng_below(r, 5);
    float f = uni(r, 0.75f, 1.3f);
    id->grey = dyed ? 0 : clampf((id->age - nor(r, 48, 9)) / 22, 0, 1) * (id->male ? 1 : 0.6f);
    for (int i = 0; i < 3; i++) id->hair[i] = lerpf(colours[k][i] * f, 0.42f - 0.02f * (float)i, id->grey);
    id->curl = clampf(nor(r, c->curl, c->curl_dev), 0, 1);
    id->hairline = nor(r, 0, 5);
    id->temples = id->male ? clampf(nor(r, 4 + 0.25f * (id->age - 30), 6), 0, 26) : nor(r, 0, 2);
    id->thin = id->male ? clampf(nor(r, (id->age - 48) / 40, 0.35f), 0, 1) : 0;
    float u = uni(r, 0, 1);
    if (id->male) {
        id->style = id->thin > 0.72f ? HAIR_BALD
                    : u < 0.12f      ? HAIR_BUZZ
                    : u < 0.55f      ? HAIR_SHORT
                    : u < 0.9f       ? HAIR_SWEPT
                    : u < 0.96f      ? HAIR_MEDIUM
                                     : HAIR_LONG;
        if (id->curl > 0.7f && id->style > HAIR_BUZZ)
            id->style = u < 0.6f ? HAIR_BUZZ : u < 0.85f ? HAIR_SHORT : HAIR_AFRO;
    } else {
        id->style = u < 0.08f   ? HAIR_SHORT
                    : u < 0.22f ? HAIR_MEDIUM
                    : u < 0.45f ? HAIR_BOB
                    : u < 0.75f ? HAIR_LONG
                                : HAIR_TIED;
        if (id->curl > 0.7f && chance(r, 0.4f)) id->style = HAIR_AFRO;
    }
    id->part = uni(r, -1, 1);
    id->fringe = chance(r, id->male ? 0.25f : 0.35f) ? uni(r, 0.4f, 1) : 0;
    id->volume = clampf(nor(r, 1, 0.22f), 0.5f, 1.6f);
    id->beard_growth = id->male ? clampf(nor(r, 0.75f * c->beard, 0.2f), 0.05f, 1) : 0;
    u = uni(r, 0, 1);
    id->beard = !id->male || u < 0.58f ? BEARD_NONE
                : u < 0.7f             ? BEARD_STUBBLE
                : u < 0.79f            ? BEARD_MOUSTACHE
                : u < 0.86f            ? BEARD_GOATEE
                : u < 0.97f            ? BEARD_FULL
                                       : BEARD_CHIN;
}

void lafs_synth_identity_draw(struct identity *id, uint64_t seed, int bystander, uint64_t which, int shapes)
{
    struct lafs_rng rng, *r = &rng;
    lafs_rng_init(r, lafs_rng_key(seed, LAFS_RNG_SYNTH, bystander ? 2 : 0, which, 0));
    memset(id, 0, sizeof *id);
    id->person = bystander ? -1 : (int64_t)which;
    const struct cluster *c = &clusters[lafs_rng_below(r, CLUSTERS)];
    id->male = (int)lafs_rng_below(r, 2);
    id->age = 18 + 60 * powf(uni(r, 0, 1), 1.3f);
    id->weight = nor(r, 0, 1);
    draw_skin(id, r, c);
    draw_shape(id, r, c, shapes);
    draw_eyes(id, r, c);
    draw_mouth(id, r, c);
    draw_hair(id, r, c);
    id->ear_size = clampf(nor(r, 0.93f + 0.002f * (id->age - 40), 0.07f), 0.8f, 1.25f);
    id->ear_flare = clampf(nor(r, 0.38f, 0.16f), 0.1f, 0.9f);
    if (chance(r, 0.12f + 0.004f * (id->age - 18))) {
        id->glasses = GLASSES_ROUND + (enum glasses_kind)lafs_rng_below(r, 4);
        id->glasses_habit = uni(r, 0.5f, 1);
    }
    static const float frames[5][3] = {{0.01f, 0.01f, 0.01f},
                                       {0.06f, 0.03f, 0.015f},
                                       {0.35f, 0.33f, 0.30f},
                                       {0.30f, 0.22f, 0.10f},
                                       {0.04f, 0.05f, 0.12f}};
    memcpy(id->frame, frames[lafs_rng_below(r, 5)], sizeof id->frame);
    id->frame_thick = uni(r, 0.8f, 2.6f);
    id->glasses_wide = uni(r, 21, 26);
    id->glasses_high = uni(r, 0.62f, 1);
    id->makeup = id->male ? 0 : clampf(uni(r, -0.2f, 1), 0, 1);
}
