/* What lies behind and before the figures. */
#include <math.h>
#include <string.h>

#include "synth/fast.h"
#include "synth/paint.h"

/* The surroundings are out of focus: they are painted on a small grid, one cell for unit x unit pixels. */
struct grid {
    int w, h, unit;
    float *px[3]; /* (h, w) each */
};

static void blob_paint(struct grid *g, const struct blob *b)
{
    float unit = (float)g->unit, c = cosf(b->angle), s = sinf(b->angle), reach = b->rx + b->ry + 2 * b->edge;
    float inv = 1 / (2 * maxf(b->edge, 0.7f * unit)), small = minf(b->rx, b->ry), ix = 1 / b->rx, iy = 1 / b->ry;
    int x0 = (int)maxf(0, (b->x - reach) / unit), x1 = (int)minf((float)g->w - 1, (b->x + reach) / unit);
    int y0 = (int)maxf(0, (b->y - reach) / unit), y1 = (int)minf((float)g->h - 1, (b->y + reach) / unit);
    for (int y = y0; y <= y1; y++) {
        size_t row = (size_t)y * (size_t)g->w;
        float oy = (float)y * unit - b->y;
        for (int x = x0; x <= x1; x++) {
            float ox = (float)x * unit - b->x, u = fabsf(c * ox + s * oy), v = fabsf(c * oy - s * ox), d;
            if (b->box) {
                float du = b->rx - u, dv = b->ry - v;
                d = du < dv ? du : dv;
            } else {
                float p = u * ix, q = v * iy;
                d = (1 - sqrtf(p * p + q * q)) * small;
            }
            float a = clampf(0.5f + d * inv, 0, 1);
            for (int i = 0; i < 3; i++) g->px[i][row + (size_t)x] += (b->rgb[i] - g->px[i][row + (size_t)x]) * a;
        }
    }
}

static void fill(struct grid *g, const struct model *m, const struct scene *sc)
{
    int rough = sc->back_texture > 0.04f;
    for (int y = 0; y < g->h; y++) {
        float v = (float)y / (float)g->h, fy = (float)(y * g->unit) * sc->back_scale, mean[3];
        for (int i = 0; i < 3; i++) mean[i] = lerpf(sc->back_top[i], sc->back_bottom[i], v);
        for (int x = 0; x < g->w; x++) {
            float n = 1;
            if (rough) {
                float fx = (float)(x * g->unit) * sc->back_scale;
                n += sc->back_texture * (noise_at(m->noise.soft, fx + sc->noise_u, fy + sc->noise_v) +
                                         0.5f * noise_at(m->noise.soft, fx * 3.3f + sc->noise_v, fy * 3.3f));
                n = n < 0.05f ? 0.05f : n;
            }
            for (int i = 0; i < 3; i++) g->px[i][(size_t)y * (size_t)g->w + (size_t)x] = mean[i] * n;
        }
    }
}

/* out[x] = row a, where it lies between two cells, bilinearly. */
FAST static void spread(const float *a, int w, int unit, float *out)
{
    float inv = 1 / (float)unit;
    if (unit == 2) {
        for (int x = 0; x + 1 < w; x += 2) {
            out[x] = a[x / 2];
            out[x + 1] = 0.5f * (a[x / 2] + a[x / 2 + 1]);
        }
        if (w & 1) out[w - 1] = a[(w - 1) / 2];
        return;
    }
    for (int x = 0, s = 0, r = 0; x < w; x++) {
        out[x] = a[s] + (a[s + 1] - a[s]) * ((float)r * inv);
        if (++r == unit) r = 0, s++;
    }
}

void backdrop_paint(struct canvas *cv, const struct model *m, const struct scene *sc)
{
    struct grid g = {.unit = (cv->w + 124) / 125};
    float row[LAFS_SYNTH_MAX_SIZE + 2];
    g.w = cv->w / g.unit + 2;
    g.h = cv->h / g.unit + 2;
    for (int i = 0; i < 3; i++) g.px[i] = cv->small + (size_t)i * (size_t)g.w * (size_t)g.h;
    fill(&g, m, sc);
    for (int k = 0; k < sc->blobs; k++) blob_paint(&g, &sc->blob[k]);
    float inv = 1 / (float)g.unit;
    for (int y = 0; y < cv->h; y++) {
        float fy = (float)(y % g.unit) * inv;
        for (int i = 0; i < 3; i++) {
            const float *a = g.px[i] + (size_t)(y / g.unit) * (size_t)g.w, *b = a + g.w;
            for (int x = 0; x < g.w; x++) row[x] = a[x] + (b[x] - a[x]) * fy;
            spread(row, cv->w, g.unit, cv->px[i] + (size_t)y * (size_t)cv->w);
        }
    }
}

/* A rounded bar from (x, y) along angle, `len` long and `rad` thick, shaded like a cylinder. */
static void capsule(struct canvas *cv, float x, float y, float angle, float len, float rad, float soft,
                    const float rgb[3], float light)
{
    float dx = sinf(angle), dy = cosf(angle);
    float lox = minf(x, x + dx * len) - rad - soft, hix = maxf(x, x + dx * len) + rad + soft;
    float loy = minf(y, y + dy * len) - rad - soft, hiy = maxf(y, y + dy * len) + rad + soft;
    int x0 = (int)maxf(0, lox), x1 = (int)minf((float)cv->w - 1, hix), y0 = (int)maxf(0, loy),
        y1 = (int)minf((float)cv->h - 1, hiy);
    for (int py = y0; py <= y1; py++)
        for (int px = x0; px <= x1; px++) {
            float ox = (float)px - x, oy = (float)py - y, along = clampf(ox * dx + oy * dy, 0, len);
            float ex = ox - dx * along, ey = oy - dy * along, d = sqrtf(ex * ex + ey * ey);
            float a = clampf(0.5f + (rad - d) / (2 * soft), 0, 1), q = clampf(d / rad, 0, 1);
            if (a <= 0) continue;
            float shade = light * (0.35f + 0.65f * sqrtf(1 - 0.97f * q * q)) * (1 - 0.25f * ex / rad);
            size_t at = (size_t)py * (size_t)cv->w + (size_t)px;
            for (int i = 0; i < 3; i++) cv->px[i][at] += (rgb[i] * shade - cv->px[i][at]) * a;
        }
}

void occluders_paint(struct canvas *cv, const struct scene *sc)
{
    const float *skin = sc->pose[0].id.albedo;
    float light = 0.5f * (sc->light.sky[1] + sc->light.ground[1]) + 0.6f * sc->light.colour[0][1];
    for (int k = 0; k < sc->occluders; k++) {
        const struct occluder *o = &sc->occluder[k];
        float u = o->size; /* pixels a mm */
        switch (o->kind) {
        case OCCLUDER_HAND:
            for (int i = 0; i < 4; i++) {
                float spread_ = o->angle + ((float)i - 1.5f) * 0.12f;
                capsule(cv, o->x + ((float)i - 1.5f) * 17 * u, o->y - (i == 1 || i == 2 ? 8 : 0) * u, spread_, 75 * u,
                        9 * u, 1, skin, light);
            }
            capsule(cv, o->x, o->y + 75 * u, o->angle, 90 * u, 38 * u, 2, skin, light);
            break;
        case OCCLUDER_MIKE: {
            const float dark[3] = {0.02f, 0.02f, 0.022f};
            capsule(cv, o->x, o->y, o->angle, 12 * u, 20 * u, 1.5f, dark, light * 1.5f);
            capsule(cv, o->x, o->y + 20 * u, o->angle, 150 * u, 11 * u, 1.2f, o->rgb, light);
            break;
        }
        case OCCLUDER_BAR:
            capsule(cv, o->x - 300 * u * sinf(o->angle * 0.3f), o->y - 300 * u, o->angle * 0.3f, 900 * u, 14 * u,
                    2 + 4 * u, o->rgb, light);
            break;
        case OCCLUDER_BLUR: capsule(cv, o->x, o->y, o->angle, 100 * u, 45 * u, 10 * u, o->rgb, light); break;
        }
    }
}
