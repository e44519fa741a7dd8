/* The skin of the head: what is drawn on it at grid coordinates (s, t). */
#include <math.h>
#include <string.h>

#include "synth/fast.h"
#include "synth/paint.h"

static inline void mix(float *c, float r, float g, float b, float w)
{
    c[0] += (r - c[0]) * w;
    c[1] += (g - c[1]) * w;
    c[2] += (b - c[2]) * w;
}

static inline void times(float *c, float w)
{
    c[0] *= w;
    c[1] *= w;
    c[2] *= w;
}

/* 1 where x > 0, 0 where x < 0, a ramp of half width w between. */
static inline float step(float x, float w) { return clampf(0.5f + x / (2 * w), 0, 1); }

static inline int mole_cell(float v) { return (int)clampf((v + 64) * (MOLE_CELLS / 192.0f), 0, MOLE_CELLS - 1); }

static void mark_moles(struct skin *k)
{
    const struct identity *id = &k->p->id;
    for (int i = 0; i < id->moles; i++) {
        float s = id->mole[i].s + 32, t = id->mole[i].t, r = 1.5f * (id->mole[i].r + 0.3f * k->soft);
        for (int y = mole_cell(t - r); y <= mole_cell(t + r); y++)
            for (int x = mole_cell(s - r); x <= mole_cell(s + r); x++)
                k->moles[y * MOLE_CELLS + x] |= (uint8_t)(1 << i);
    }
}

void lafs_synth_skin_begin(struct skin *k, const struct model *m, const struct figure *f, const struct pose *p,
                const struct lighting *l)
{
    *k = (struct skin){.m = m, .f = f, .p = p, .l = l};
    k->soft = maxf(0.35f, 0.55f * f->pixel);
    for (int c = 0; c < 3; c++) {
        k->hair_rgb[c] = p->id.hair[c];
        /* brows are darker than the hair of the fair, and stay dark for longer */
        k->brow_rgb[c] = lerpf(p->id.hair[c], 0.03f - 0.006f * (float)c, 0.45f);
        k->gloss_rgb[c] = l->colour[0][c] / (l->colour[0][1] + 1e-3f);
    }
    k->lash = p->id.lash + 0.5f * p->makeup;
    k->crease = clampf(0.10f + 0.5f * p->id.wrinkle + 0.35f * p->expr[EXPR_SMILE], 0, 0.9f);
    k->stub = 1 / (1 + 0.35f * f->pixel * f->pixel);
    mark_moles(k);
    k->grain = 0.035f * p->id.pores * k->stub;
    k->glint_x = clampf(3.0f * l->dir[0][0], -2.6f, 2.6f);
    k->glint_y = clampf(3.0f * l->dir[0][1], -2.6f, 2.6f);
}

/* Open eye at (x, y) mm from its centre, x to image right. c holds the skin, lit; e the light. */
static void eye_colour(const struct skin *k, int right, float x, float y, const float e[3], float c[3])
{
    const struct pose *p = k->p;
    const struct identity *id = &p->id;
    float o = right ? x : -x, a = id->eye_wide, u = o / a;
    float bend = u - id->eye_peak, span = u > id->eye_peak ? 1 - id->eye_peak : 1 + id->eye_peak;
    bend /= span;
    float arc = 1 - bend * bend, low_arc = 1 - u * u;
    float open = p->lids[right];
    float low = id->eye_low * (low_arc > 0 ? low_arc : low_arc * 0.5f) + 0.6f * (u < 0 ? -u : 0);
    float rise = open * (1 + 0.12f * (1 - arc));
    float up =
        -id->eye_up * (arc > 0 ? powf(arc, 0.85f) : arc) * rise + (1 - open) * low * 0.95f + 0.6f * (u < 0 ? -u : 0);
    float w = k->soft, inside = step(y - up, w) * step(low - y, w) * step(a - fabsf(o), w);
    if (inside > 0) {
        float gx = x - p->gaze_x, gy = y - p->gaze_y + 0.5f, r2 = gx * gx + gy * gy, R = id->iris_r;
        /* the lid shades what is just below it; corners recede */
        float depth = y - up, shade = 0.34f + 0.66f * clampf(depth / 4.2f, 0, 1);
        shade *= 1 - 0.5f * u * u * u * u;
        float white[3] = {0.56f, 0.50f, 0.46f};
        mix(white, 0.60f, 0.30f, 0.26f, clampf((-u - 0.80f) * 5, 0, 0.8f));
        if (r2 < (R + 1) * (R + 1)) {
            float r = sqrtf(r2), ring = clampf((r / R - 0.72f) * 3, 0, 1),
                  inner = 1 - clampf((r / R - 0.35f) * 3, 0, 1);
            float iris[3];
            for (int i = 0; i < 3; i++) iris[i] = id->iris[i] * (1 - 0.65f * ring) * (1 + 0.35f * inner);
            mix(iris, 0.004f, 0.004f, 0.004f, step(R * 0.40f - r, w * 0.8f));
            mix(white, iris[0], iris[1], iris[2], step(R - r, w));
        }
        float lx = x - p->gaze_x * 0.6f - k->glint_x, ly = y + 1 - k->glint_y, g = lx * lx + ly * ly;
        float spark = clampf(1.3f - g / (0.5f + 0.2f * w * w), 0, 1) * 0.5f * k->l->colour[0][1];
        for (int i = 0; i < 3; i++) c[i] += (white[i] * e[i] * shade + spark - c[i]) * inside;
    }
    if (fabsf(u) > 1.25f) return;
    /* lashes: a dark rim above, a faint one below */
    float rim = k->lash * clampf(1.3f - fabsf(u) * fabsf(u), 0, 1), d = (y - up + 0.2f) / (0.65f + 0.6f * w);
    float dark = clampf(1.25f - d * d, 0, 1) * (0.35f + 0.65f * rim);
    times(c, 1 - 0.88f * dark);
    d = (y - low) / (0.5f + 0.6f * w);
    times(c, 1 - 0.30f * clampf(1 - d * d, 0, 1) * (0.5f + rim));
    if (y < up) { /* the fold of the upper lid, and what is painted on it */
        float above = up - y, fold = id->fold * (0.55f + 0.45f * arc) * (0.6f + 0.4f * open);
        if (id->fold > 0.6f) {
            d = (above - fold) / (0.6f + 0.5f * w);
            times(c, 1 - 0.42f * clampf(1 - d * d, 0, 1) * clampf(id->fold - 0.6f, 0, 1) * clampf(1.25f - u * u, 0, 1));
        }
        times(c, 1 - 0.35f * p->makeup * clampf(1 - above / 6, 0, 1) * clampf(1.2f - u * u, 0, 1));
    }
}

float lafs_synth_brow_middle(const struct identity *id, float u)
{
    return id->brow_t - id->brow_arch * sinf(3.14159f * clampf(u * 0.85f + 0.05f, 0, 1)) +
           id->brow_tail * smoothf(0.5f, 1, u) * 1.4f + 0.8f * (1 - u);
}

/* Brow at (s, t): weight 0..1. */
static float brow_weight(const struct skin *k, float s, float t)
{
    const struct identity *id = &k->p->id;
    float a = fabsf(s), u = (a - id->brow_in) / (id->brow_out - id->brow_in);
    if (u < -0.12f || u > 1.12f) return 0;
    float mid = lafs_synth_brow_middle(id, u);
    float half = 0.5f * id->brow_thick * (u < 0.15f ? 0.75f + u * 1.6f : 1.02f - 0.72f * smoothf(0.4f, 1.05f, u));
    float d = (half - fabsf(t - mid)) / (k->soft + 0.35f * half);
    if (d < -1) return 0;
    float hair = noise_at(k->m->noise.strand, t * 1.1f + s * 0.7f + id->noise_u, s * 0.7f - t * 0.8f + id->noise_v);
    float edge = clampf(0.5f + 0.5f * d + 0.18f * hair * k->stub, 0, 1);
    return edge * smoothf(-0.12f, 0.06f, u) * (1 - smoothf(0.94f, 1.1f, u)) * id->brow_density;
}

/* Between the lips. y: mm below the upper one. */
static void mouth_colour(const struct skin *k, float s, float y, float gap, const float e[3], float c[3])
{
    float a = fabsf(s), wide = k->p->id.lip_wide;
    float deep = 0.10f + 0.25f * clampf(1 - gap / 14, 0, 1);
    float in[3] = {0.20f * deep * e[0], 0.05f * deep * e[1], 0.05f * deep * e[2]};
    if (gap > 6)
        mix(in, 0.28f * e[0] * 0.5f, 0.09f * e[1] * 0.5f, 0.09f * e[2] * 0.5f,
            smoothf(0.55f, 0.9f, y / gap) * (1 - smoothf(8, 18, a)));
    float len = 8.0f - 0.012f * a * a, w = k->soft;
    float tooth = step(len - y, w) * step(wide - 3.5f - a, w * 2);
    float between = fabsf(a - 8.4f * floorf(a / 8.4f + 0.5f));
    float tile = a < 1.2f ? a : between;
    float shade = (0.72f - 0.016f * a) * (1 - 0.22f * clampf(1 - tile / (0.4f + 0.5f * w), 0, 1)) *
                  (0.72f + 0.28f * clampf(y / 2.5f, 0, 1));
    mix(in, 0.80f * e[0] * shade, 0.74f * e[1] * shade, 0.62f * e[2] * shade, tooth);
    float fill = clampf(gap / (0.8f + w), 0, 1);
    mix(c, in[0], in[1], in[2], fill);
}

float lafs_synth_lip_edge(const struct identity *id, float s, int lower)
{
    float a = fabsf(s), u = a / id->lip_wide, q = u < 1 ? 1 - u * u : 0, peak = (a - 5.5f) / 3.6f, dip = a / 3.2f;
    if (lower) return 70 + id->lip_low * powf(q, 0.75f) * (1 - 0.06f * expf(-dip * dip));
    return 70 - id->lip_up * (0.30f * q + 0.70f * powf(q, 1.6f)) - 0.55f * id->lip_bow * expf(-peak * peak) +
           0.9f * id->lip_bow * expf(-dip * dip);
}

static void lips_colour(const struct skin *k, float s, float t, const float e[3], float gloss, float c[3])
{
    const struct pose *p = k->p;
    const struct identity *id = &p->id;
    float a = fabsf(s), u = a / id->lip_wide, w = k->soft;
    if (u < 1.1f) {
        float up = lafs_synth_lip_edge(id, s, 0), low = lafs_synth_lip_edge(id, s, 1);
        float on = step(t - up, w + 0.3f) * step(low - t, w + 0.5f);
        if (on > 0) {
            float red[3];
            float lines = 1 + 0.07f * noise_at(k->m->noise.strand, s * 1.6f + id->noise_v, t * 1.2f) * k->stub;
            float stick = clampf(p->makeup * 1.1f - 0.35f, 0, 0.85f);
            for (int i = 0; i < 3; i++) {
                float natural = id->albedo[i] * id->lip[i], painted = p->lipstick[i] * 0.42f;
                red[i] =
                    lerpf(natural, painted, stick) * lines * e[i] + gloss * k->gloss_rgb[i] * (0.05f + 0.06f * stick);
            }
            mix(c, red[0], red[1], red[2], on * 0.92f);
        }
        float line = (t - 70) / (0.55f + 0.5f * w);
        times(c, 1 - 0.68f * clampf(1.1f - line * line, 0, 1) * clampf((1.08f - u) * 6, 0, 1));
    }
    if (t > 69.8f && t < 70.2f && u < 1.15f) {
        /* the gap of this column */
        const struct head *h = &k->m->head;
        int j = HEAD_COLS / 2 + (int)(s / 1.5f);
        while (j > 0 && h->s[j] > s) j--;
        while (j + 2 < HEAD_COLS && h->s[j + 1] <= s) j++;
        float f = (s - h->s[j]) / (h->s[j + 1] - h->s[j]);
        float gap = lerpf(k->f->gap[j], k->f->gap[j + 1], f);
        if (gap > 0.6f) mouth_colour(k, s, (t - 69.8f) / 0.4f * gap, gap, e, c);
    }
}

/* Fine lines of age and expression: a factor on the colour. */
static inline float lines_at(const struct skin *k, float s, float t)
{
    const struct identity *id = &k->p->id;
    float a = fabsf(s), dark = 0, w = 0.9f + 0.5f * k->f->pixel;
    if (t > 36 && t < 76 && a > 10 && a < 45) { /* from the wing of the nose past the corner of the mouth */
        float v = (t - 38) / 34, path = 18.5f + 12.5f * v * (1.15f - 0.35f * v), d = (a - path) / (w + 0.5f);
        dark += k->crease * 0.34f * clampf(1 - d * d, 0, 1) * smoothf(36, 44, t) * (1 - smoothf(60, 76, t));
    }
    if (t < -24 && id->wrinkle > 0.1f && a < 55) {
        float wave = noise_at(k->m->noise.soft, s * 0.08f + id->noise_u, id->noise_v) * 1.6f,
              q = (t + wave + 62) / 9.5f;
        float d = (q - floorf(q) - 0.5f) * 9.5f / w;
        dark += 0.17f * id->wrinkle * (1 + k->p->expr[EXPR_RAISE]) * clampf(1 - d * d, 0, 1) *
                (1 - smoothf(30, 55, a)) * smoothf(-68, -60, t);
    }
    if (a > 44 && a < 62 && t > -16 && t < 16) { /* crow's feet */
        float q = (t + 2) / (4 + 0.28f * (a - 44)), d = (q - floorf(q) - 0.5f) * 4.5f / w;
        dark += 0.25f * (id->wrinkle + 0.3f * k->p->expr[EXPR_SMILE] * id->wrinkle) * clampf(1 - d * d, 0, 1) *
                smoothf(45, 49, a) * (1 - smoothf(54, 62, a));
    }
    if (a > 16 && a < 46 && t > 5 && t < 20) { /* below the lower lid */
        float o = (a - 30) / 15, d = (t - 13 + 3.5f * o * o) / (w + 0.3f);
        dark += (0.10f + 0.22f * id->wrinkle) * clampf(1 - d * d, 0, 1) * clampf(1 - o * o, 0, 1);
    }
    if (a < 14 && t > -32 && t < -8 && k->p->expr[EXPR_FROWN] + id->wrinkle > 0.4f) {
        float d = (a - 4.5f) / w;
        dark += 0.22f * (k->p->expr[EXPR_FROWN] + 0.5f * id->wrinkle) * clampf(1 - d * d, 0, 1) * smoothf(-32, -26, t) *
                (1 - smoothf(-14, -8, t));
    }
    return 1 - clampf(dark, 0, 0.7f);
}

FAST static void colour(const struct skin *k, const float a[ATTRS], float out[3])
{
    const struct pose *p = k->p;
    const struct identity *id = &p->id;
    const struct noise *n = &k->m->noise;
    const float s = a[A_S], t = a[A_T], *e = a + A_RED, side = fabsf(s);
    float u = s * 0.55f + id->noise_u, v = t * 0.55f + id->noise_v;
    float blotch = id->blotch * noise_near(n->soft, u, v), grain = k->grain * noise_near(n->fine, u * 3.1f, v * 3.1f);
    float mel = 1 + 0.04f * blotch + grain, red = -0.025f * blotch;
    float c[3] = {id->albedo[0] * mel, id->albedo[1] * (mel - red), id->albedo[2] * (mel - red)};
    if (id->freckle > 0 && t > -50 && side < 80) {
        float f =
            id->freckle * noise_at(n->spots, u * 1.9f, v * 1.9f) * (1 - smoothf(35, 80, side)) * (t < 60 ? 1 : 0.5f);
        c[0] *= 1 - 0.28f * f, c[1] *= 1 - 0.45f * f, c[2] *= 1 - 0.55f * f;
    }
    unsigned near = k->moles[mole_cell(t) * MOLE_CELLS + mole_cell(s + 32)];
    for (int i = 0; near; i++, near >>= 1) {
        if (!(near & 1)) continue;
        float x = s - id->mole[i].s, y = t - id->mole[i].t, r = id->mole[i].r + 0.3f * k->soft, q = x * x + y * y;
        if (q < 2 * r * r) {
            float w = id->mole[i].dark * clampf(1.5f - q / (r * r), 0, 1) * clampf(id->mole[i].r / r, 0, 1);
            mix(c, c[0] * 0.25f, c[1] * 0.17f, c[2] * 0.14f, w);
        }
    }
    if (t > -70 && side < 62) times(c, lines_at(k, s, t));
    float gloss = a[A_GLOSS] * (0.022f + 0.032f * p->oil) * (1 + 0.8f * (side < 25 && t < 40 ? 1 : 0)), lit[3];
    for (int i = 0; i < 3; i++) lit[i] = c[i] * e[i] + gloss * k->gloss_rgb[i];

    float density = a[A_HAIR];
    if (density > 0.01f) {
        float strand = noise_across(n->strand, s * 1.3f + p->hair_u, t * 0.55f + p->hair_v) +
                       0.6f * noise_near(n->fine, s * 1.7f, t * 1.7f);
        float w = clampf(density * (0.85f + 0.4f * strand * k->stub), 0, 0.96f),
              shine = (0.8f + 0.35f * strand * k->stub);
        mix(lit, (k->hair_rgb[0] * 0.85f + 0.004f) * e[0] * shine, (k->hair_rgb[1] * 0.85f + 0.004f) * e[1] * shine,
            (k->hair_rgb[2] * 0.85f + 0.005f) * e[2] * shine, w);
    }
    if (t < -8 && t > -34 && side < 62) {
        float w = brow_weight(k, s, t);
        if (w > 0) mix(lit, k->brow_rgb[0] * e[0], k->brow_rgb[1] * e[1], k->brow_rgb[2] * e[2], w * 0.9f);
    }
    if (t > -17 && t < 12 && side > 11 && side < 51) eye_colour(k, s > 0, s > 0 ? s - 31 : s + 31, t, e, lit);
    if (t > 57 && t < 86 && side < 31) lips_colour(k, s, t, e, a[A_GLOSS], lit);
    if (t > 38 && t < 46 && side < 12) {
        float x = (side - 6.4f) / 3.1f, y = (t - 42.2f) / 1.4f, w = clampf(1.4f - x * x - y * y, 0, 1);
        times(lit, 1 - 0.88f * w);
    }
    memcpy(out, lit, sizeof lit);
}

void lafs_synth_skin_colour(const struct skin *k, const float a[ATTRS], float out[3]) { colour(k, a, out); }
