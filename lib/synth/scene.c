#include "synth/scene.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static float uni(struct lafs_rng *r, float lo, float hi) { return (float)lafs_rng_uniform(r, lo, hi); }
static float nor(struct lafs_rng *r, float mean, float dev)
{
    return mean + dev * clampf((float)lafs_rng_normal(r), -3, 3);
}
static int chance(struct lafs_rng *r, float p) { return lafs_rng_double(r) < p; }

/* A colour of given lightness and saturation (0..1), linear RGB. */
static void colour(struct lafs_rng *r, float light, float saturation, float out[3])
{
    float hue = uni(r, 0, 6.2831853f);
    for (int i = 0; i < 3; i++) out[i] = light * clampf(1 + saturation * cosf(hue - 2.0943951f * (float)i), 0.02f, 2);
}

/* A colour whose lightness and saturation are drawn, too. */
static void any_colour(struct lafs_rng *r, float light_lo, float light_hi, float saturation_lo, float saturation_hi,
                       float out[3])
{
    float saturation = uni(r, saturation_lo, saturation_hi), light = uni(r, light_lo, light_hi);
    colour(r, light, saturation, out);
}

/* Rotation by roll about z, after pitch about x, after yaw about y; y is down, so that yaw > 0 turns the face to image
 * right, pitch > 0 lifts it, roll > 0 tips it clockwise. */
static void rotation(float yaw, float pitch, float roll, float m[9])
{
    float cy = cosf(yaw), sy = sinf(yaw), cp = cosf(pitch), sp = sinf(pitch), cr = cosf(roll), sr = sinf(roll);
    const float a[9] = {cy, 0, sy, sp * sy, cp, -sp * cy, -cp * sy, sp, cp * cy};
    for (int c = 0; c < 3; c++) {
        m[c] = cr * a[c] - sr * a[3 + c];
        m[3 + c] = sr * a[c] + cr * a[3 + c];
        m[6 + c] = a[6 + c];
    }
}

static void draw_expression(struct pose *p, struct lafs_rng *r)
{
    memset(p->expr, 0, sizeof p->expr);
    float u = uni(r, 0, 1);
    if (u < 0.48f) {
        p->expr[EXPR_SMILE] = uni(r, 0.15f, 1.1f);
        p->expr[EXPR_OPEN] = chance(r, 0.65f) ? uni(r, 0.1f, 0.5f) * p->expr[EXPR_SMILE] : 0;
    } else if (u < 0.66f) {
        p->expr[EXPR_OPEN] = uni(r, 0.05f, 0.7f);
        p->expr[EXPR_PUCKER] = chance(r, 0.4f) ? uni(r, 0, 0.7f) : 0;
    } else if (u < 0.73f) {
        p->expr[EXPR_DOWN] = uni(r, 0.2f, 1);
    } else if (u < 0.78f) {
        p->expr[EXPR_PRESS] = uni(r, 0.2f, 1);
    }
    if (chance(r, 0.2f)) p->expr[EXPR_FROWN] = uni(r, 0.1f, 1);
    else if (chance(r, 0.2f)) p->expr[EXPR_RAISE] = uni(r, 0.1f, 1);
    if (chance(r, 0.25f)) p->expr[EXPR_SMIRK] = uni(r, 0, 0.6f);
    if (chance(r, 0.08f)) p->expr[EXPR_SNEER] = uni(r, 0, 0.8f);
    if (chance(r, 0.05f)) p->expr[EXPR_PUFF] = uni(r, 0, 0.8f);
    float open = clampf(nor(r, 0.93f, 0.09f) - 0.22f * p->expr[EXPR_SMILE] - 0.15f * p->expr[EXPR_FROWN] +
                            0.1f * p->expr[EXPR_RAISE],
                        0.4f, 1.12f);
    if (chance(r, 0.04f)) open = uni(r, 0, 0.3f);
    p->lids[0] = p->lids[1] = open;
    float droop = uni(r, 0.9f, 1);
    p->lids[chance(r, 0.5f)] *= droop;
    /* eyes turn partly back towards the camera */
    float follow = chance(r, 0.6f) ? uni(r, 0.4f, 1) : 0;
    p->gaze_x = clampf(-11 * sinf(p->yaw) * follow + nor(r, 0, 0.8f), -6, 6);
    p->gaze_y = clampf(6 * sinf(p->pitch) * follow + nor(r, 0, 0.5f), -2.5f, 2.5f);
}

static void draw_things(struct pose *p, struct lafs_rng *r)
{
    const struct identity *id = &p->id;
    p->style = id->style;
    if (!id->male && chance(r, 0.25f)) {
        static const enum hair_style others[] = {HAIR_MEDIUM, HAIR_LONG, HAIR_TIED, HAIR_TIED};
        if (id->style >= HAIR_BOB && id->style != HAIR_AFRO) p->style = others[lafs_rng_below(r, 4)];
    } else if (id->male && id->style != HAIR_BALD && chance(r, 0.2f)) {
        p->style = chance(r, 0.5f) ? HAIR_SHORT : id->curl > 0.7f ? HAIR_BUZZ : HAIR_SWEPT;
    }
    p->hair_length = uni(r, 0.75f, 1.25f);
    p->hair_u = uni(r, 0, 256);
    p->hair_v = uni(r, 0, 256);
    p->mess = uni(r, 0, 1);
    p->part = chance(r, 0.8f) ? id->part : uni(r, -1, 1);
    p->fringe = chance(r, 0.8f) ? id->fringe : chance(r, 0.5f) ? uni(r, 0, 1) : 0;
    p->beard = id->beard;
    p->stubble = id->beard_growth * uni(r, 0.05f, 0.8f);
    if (id->male && chance(r, 0.15f)) p->beard = chance(r, 0.6f) ? BEARD_STUBBLE : BEARD_NONE;
    p->glasses = chance(r, id->glasses_habit) ? id->glasses : GLASSES_NONE;
    if (chance(r, 0.03f)) p->glasses = GLASSES_SUN;
    p->tint = p->glasses == GLASSES_SUN ? uni(r, 0.75f, 0.97f) : uni(r, 0, 0.15f);
    p->glint = chance(r, 0.4f) ? uni(r, 0, 0.5f) : 0;
    p->hat = chance(r, 0.06f) ? HAT_CAP + (enum hat)lafs_rng_below(r, 3) : HAT_NONE;
    any_colour(r, 0.01f, 0.5f, 0, 0.9f, p->hat_rgb);
    p->hat_low = uni(r, -6, 14);
    p->makeup = id->makeup * uni(r, 0, 1.3f);
    colour(r, 1, 0, p->lipstick);
    p->lipstick[0] = uni(r, 0.75f, 1.1f);
    p->lipstick[1] = uni(r, 0.12f, 0.45f);
    p->lipstick[2] = uni(r, 0.15f, 0.5f);
    p->oil = uni(r, 0.2f, 1.2f);
    p->flush = uni(r, 0.6f, 1.4f);
    p->cloth = (enum cloth)lafs_rng_below(r, CLOTH_KINDS);
    if (id->age > 40 && chance(r, 0.3f)) p->cloth = CLOTH_SUIT;
    float vivid = uni(r, 0, 0.9f), light = chance(r, 0.4f) ? uni(r, 0.008f, 0.06f) : uni(r, 0.05f, 0.7f);
    colour(r, light, vivid, p->cloth_rgb);
    vivid = chance(r, 0.6f) ? 0.03f : 0.25f;
    light = uni(r, 0.45f, 0.85f);
    colour(r, light, vivid, p->shirt_rgb);
    any_colour(r, 0.02f, 0.35f, 0.2f, 0.95f, p->tie_rgb);
    p->stripes = chance(r, 0.25f) ? uni(r, 0.1f, 0.5f) : 0;
}

static void draw_pose(struct scene *sc, struct pose *p, struct lafs_rng *r, float distance, float share)
{
    /* A narrow and a wide bell: most look about at the camera, some far to the side. */
    p->yaw = (chance(r, 0.65f) ? nor(r, 0, 13) : nor(r, 0, 27)) * 0.0174533f;
    p->yaw = clampf(p->yaw, -1.15f, 1.15f);
    p->pitch = clampf(nor(r, 0.5f, 8) * 0.0174533f, -0.5f, 0.45f);
    p->roll = (chance(r, 0.8f) ? nor(r, 0, 5) : nor(r, 0, 14)) * 0.0174533f;
    rotation(p->yaw, p->pitch, p->roll, p->rot);
    float turn = uni(r, 0.1f, 0.7f);
    float lean = p->roll * 0.25f + nor(r, 0, 0.03f);
    rotation(p->yaw * turn + nor(r, 0, 0.15f), 0, lean, p->body);
    float small = (float)(sc->width < sc->height ? sc->width : sc->height);
    p->scale = small * share / 62;
    p->distance = distance;
    for (int m = 0; m < LAFS_SYNTH_SHAPES; m++) p->shape[m] = p->id.shape[m];
    p->shape[12] += nor(r, 0, 0.3f); /* fullness of the cheeks comes and goes */
    draw_expression(p, r);
    draw_things(p, r);
}

static void place(struct scene *sc, struct lafs_rng *r)
{
    float w = (float)sc->width, h = (float)sc->height, small = w < h ? w : h;
    float distance = expf(uni(r, logf(480), logf(2600)));
    int n = sc->faces;
    if (n == 1) {
        struct pose *p = &sc->pose[0];
        float share = expf(nor(r, logf(0.172f), 0.13f));
        draw_pose(sc, p, r, distance, share);
        p->cx = w / 2 + nor(r, 0, 0.035f) * small;
        p->cy = h / 2 + nor(r, 0, 0.035f) * small - 30 * p->scale;
        return;
    }
    /* Side by side, in two rows from five on; the person asked for takes any place. */
    int rows = n > 4 ? 2 : 1, first = (n + rows - 1) / rows, at = (int)lafs_rng_below(r, (uint64_t)n);
    for (int k = 0; k < n; k++) {
        int slot = (k + at) % n, row = slot >= first, in_row = row ? n - first : first, col = row ? slot - first : slot;
        float cell = w / (float)in_row,
              side = cell * 0.62f < h / (float)rows * 0.5f ? cell * 0.62f : h / (float)rows * 0.5f;
        float share = side / small * expf(nor(r, logf(0.40f), 0.12f));
        struct pose *p = &sc->pose[k];
        draw_pose(sc, p, r, distance * uni(r, 1.5f, 2.5f), share);
        p->cx = cell * ((float)col + 0.5f) + nor(r, 0, 0.04f) * cell;
        p->cy = h * ((float)row + 0.5f) / (float)rows + nor(r, 0, 0.06f) * h / (float)rows - 20 * p->scale;
    }
}

/* Colour of a light between candle (-1) and blue sky (1), of luminance about 1. */
static void warmth(float w, float out[3])
{
    out[0] = 1 - 0.20f * w;
    out[1] = 1 + 0.01f * w;
    out[2] = 1 + 0.34f * w;
}

static void direction(float azimuth, float elevation, float out[3])
{
    out[0] = sinf(azimuth) * cosf(elevation);
    out[1] = -sinf(elevation);
    out[2] = cosf(azimuth) * cosf(elevation);
}

static void draw_light(struct lighting *l, struct lafs_rng *r)
{
    float key, ambient, c[3];
    float u = uni(r, 0, 1), azimuth, elevation;
    if (u < 0.25f) { /* flash on or near the camera */
        azimuth = nor(r, 0, 0.15f), elevation = uni(r, 0, 0.3f);
        key = uni(r, 0.5f, 1), ambient = uni(r, 0.15f, 0.5f), l->soft = 0.2f;
    } else if (u < 0.6f) { /* window or lamps */
        azimuth = nor(r, 0, 0.8f), elevation = uni(r, 0.1f, 1.0f);
        key = uni(r, 0.4f, 1.2f), ambient = uni(r, 0.2f, 0.6f), l->soft = uni(r, 0.4f, 1);
    } else if (u < 0.85f) { /* sun */
        azimuth = uni(r, -1.9f, 1.9f), elevation = uni(r, 0.3f, 1.2f);
        key = uni(r, 0.6f, 1.6f), ambient = uni(r, 0.25f, 0.6f), l->soft = uni(r, 0, 0.3f);
    } else { /* even light */
        azimuth = nor(r, 0, 1), elevation = uni(r, 0.2f, 1.3f);
        key = uni(r, 0, 0.35f), ambient = uni(r, 0.6f, 0.9f), l->soft = 1;
    }
    azimuth = clampf(azimuth, -2, 2);
    direction(azimuth, elevation, l->dir[0]);
    float warm = nor(r, 0, 0.3f);
    warmth(clampf(warm, -1, 1), c);
    for (int i = 0; i < 3; i++) l->colour[0][i] = key * c[i];
    warmth(clampf(nor(r, 0.2f - 0.5f * warm, 0.3f), -1, 1), c);
    float bounce = uni(r, 0.25f, 0.7f), side = uni(r, -0.35f, 0.35f);
    for (int i = 0; i < 3; i++) {
        l->sky[i] = ambient * c[i] * uni(r, 0.95f, 1.1f);
        l->ground[i] = ambient * bounce * c[i] * uni(r, 0.9f, 1.12f);
        l->side[i] = ambient * side;
    }
    float height = uni(r, -0.2f, 0.7f), against = -azimuth * uni(r, 0.5f, 1.3f);
    direction(against + nor(r, 0, 0.3f), height, l->dir[1]);
    float fill = chance(r, 0.5f) ? uni(r, 0, 0.5f) * key : 0;
    warmth(clampf(nor(r, 0, 0.5f), -1, 1), c);
    for (int i = 0; i < 3; i++) l->colour[1][i] = fill * c[i];
}

static void draw_background(struct scene *sc, struct lafs_rng *r)
{
    float w = (float)sc->width, h = (float)sc->height;
    float light = expf(nor(r, logf(0.11f), 1.0f));
    float vivid = chance(r, 0.25f) ? uni(r, 0.2f, 0.9f) : uni(r, 0, 0.25f);
    light = clampf(light, 0.004f, 0.9f);
    colour(r, light, vivid, sc->back_top);
    float below = vivid * uni(r, 0, 1);
    colour(r, light * uni(r, 0.5f, 1.6f), below, sc->back_bottom);
    for (int i = 0; i < 3; i++) sc->back_bottom[i] = lerpf(sc->back_top[i], sc->back_bottom[i], uni(r, 0.2f, 0.9f));
    sc->back_texture = chance(r, 0.3f) ? uni(r, 0.05f, 0.3f) : 0.03f;
    sc->back_scale = expf(uni(r, logf(0.15f), logf(1.5f))) * 60 / w;
    sc->noise_u = uni(r, 0, 256);
    sc->noise_v = uni(r, 0, 256);
    sc->blobs = chance(r, 0.75f) ? (int)lafs_rng_below(r, MAX_SHAPES_BEHIND + 1) : 0;
    float edge = expf(uni(r, logf(0.003f), logf(0.2f)));
    for (int k = 0; k < sc->blobs; k++) {
        struct blob *b = &sc->blob[k];
        b->box = chance(r, 0.6f);
        b->x = uni(r, -0.1f, 1.1f) * w;
        b->y = uni(r, -0.1f, 1.1f) * h;
        b->rx = expf(uni(r, logf(0.03f), logf(0.5f))) * w;
        b->ry = expf(uni(r, logf(0.03f), logf(0.6f))) * w;
        b->angle = chance(r, 0.7f) ? nor(r, 0, 0.05f) : uni(r, 0, 3.14f);
        b->edge = edge * uni(r, 0.6f, 1.5f) * w;
        float saturation = uni(r, 0, 1) * (0.3f + vivid);
        colour(r, clampf(light * expf(nor(r, 0, 0.9f)), 0.003f, 0.95f), saturation, b->rgb);
    }
    sc->border = chance(r, 0.1f) ? uni(r, 0.02f, 0.12f) : 0;
}

static void draw_camera(struct camera *c, struct lafs_rng *r, float small)
{
    c->exposure = expf(nor(r, 0, 0.30f));
    float warm = nor(r, 0, 0.05f), green = nor(r, 0, 0.035f);
    c->balance[0] = 1 + warm;
    c->balance[1] = 1 + green;
    c->balance[2] = 1 - warm * 1.2f;
    c->contrast = clampf(nor(r, 1.17f, 0.15f), 0.8f, 1.6f);
    c->saturation = clampf(nor(r, 1.04f, 0.18f), 0.4f, 1.5f);
    c->blur = chance(r, 0.8f) ? uni(r, 0.3f, 0.7f) : uni(r, 0.7f, 1.6f);
    c->blur *= small < 250 ? small / 250 * 0.5f + 0.5f : 1;
    c->motion = chance(r, 0.12f) ? uni(r, 1, 5) * small / 250 : 0;
    float a = uni(r, 0, 3.14159f);
    c->motion_x = cosf(a);
    c->motion_y = sinf(a);
    float noisy = uni(r, 0, 1);
    c->read = 0.5f + 3.5f * noisy * noisy * noisy;
    c->shot = 1.1f * noisy * noisy;
    c->chroma_noise = uni(r, 0.2f, 0.8f);
    c->vignette = chance(r, 0.3f) ? uni(r, 0, 0.5f) : 0;
    c->grey = chance(r, 0.03f);
    c->quality = 62 + (int)lafs_rng_below(r, 36);
}

static void draw_occluders(struct scene *sc, struct lafs_rng *r)
{
    sc->occluders = 0;
    if (!chance(r, 0.13f)) return;
    sc->occluders = 1;
    struct occluder *o = &sc->occluder[0];
    const struct pose *p = &sc->pose[0];
    o->kind = (enum occluder_kind)lafs_rng_below(r, 4);
    o->angle = uni(r, -0.6f, 0.6f);
    o->size = p->scale * uni(r, 0.8f, 1.3f);
    float side = chance(r, 0.5f) ? 1 : -1;
    any_colour(r, 0.02f, 0.5f, 0, 0.8f, o->rgb);
    switch (o->kind) {
    case OCCLUDER_HAND:
        o->x = p->cx + side * uni(r, 15, 60) * p->scale, o->y = p->cy + uni(r, 85, 125) * p->scale;
        break;
    case OCCLUDER_MIKE:
        o->x = p->cx + side * uni(r, 5, 40) * p->scale, o->y = p->cy + uni(r, 85, 120) * p->scale;
        break;
    case OCCLUDER_BAR: o->x = p->cx + side * uni(r, 55, 80) * p->scale, o->y = p->cy; break;
    case OCCLUDER_BLUR:
        o->x = p->cx + side * uni(r, 60, 100) * p->scale, o->y = p->cy + uni(r, 60, 110) * p->scale;
        break;
    }
}

void lafs_synth_scene_draw(struct scene *sc, const struct lafs_synth_options *opt, int shapes,
                           const struct identity *who, int64_t number)
{
    struct lafs_rng rng, *r = &rng;
    uint64_t person = (uint64_t)who->person;
    lafs_rng_init(r, lafs_rng_key(opt->seed, LAFS_RNG_SYNTH, 1, person, (uint64_t)number));
    sc->width = opt->width;
    sc->height = opt->height;
    sc->faces = opt->faces_min + (int)lafs_rng_below(r, (uint64_t)(opt->faces_max - opt->faces_min + 1));
    sc->pose[0].id = *who;
    for (int k = 1; k < sc->faces; k++)
        lafs_synth_identity_draw(&sc->pose[k].id, opt->seed, 1,
                      lafs_rng_key(person, LAFS_RNG_SYNTH, 3, (uint64_t)number, (uint64_t)k), shapes);
    draw_light(&sc->light, r);
    draw_camera(&sc->camera, r, (float)(opt->width < opt->height ? opt->width : opt->height));
    draw_background(sc, r);
    place(sc, r);
    draw_occluders(sc, r);
}
