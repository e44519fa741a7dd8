/* What lies behind and before the figures. */
#include <math.h>
#include <string.h>

#include "synth/paint.h"

static void blob_paint(float *px, int w, int h, float unit, const struct blob *b)
{
    float c = cosf(b->angle), s = sinf(b->angle), reach = b->rx + b->ry + 2 * b->edge;
    float soft = fmaxf(b->edge, 0.7f * unit), inv = 1 / (2 * soft);
    int x0 = (int)fmaxf(0, (b->x - reach) / unit), x1 = (int)fminf((float)w - 1, (b->x + reach) / unit);
    int y0 = (int)fmaxf(0, (b->y - reach) / unit), y1 = (int)fminf((float)h - 1, (b->y + reach) / unit);
    float small = fminf(b->rx, b->ry);
    for (int y = y0; y <= y1; y++) {
        float *row = px + 4 * (size_t)y * (size_t)w, oy = (float)y * unit - b->y;
        for (int x = x0; x <= x1; x++) {
            float ox = (float)x * unit - b->x, u = fabsf(c * ox + s * oy), v = fabsf(c * oy - s * ox), d;
            if (b->box) d = fminf(b->rx - u, b->ry - v);
            else {
                float p = u / b->rx, q = v / b->ry;
                d = (1 - sqrtf(p * p + q * q)) * small;
            }
            float a = clampf(0.5f + d * inv, 0, 1);
            for (int i = 0; i < 3; i++) row[4 * x + i] += (b->rgb[i] - row[4 * x + i]) * a;
        }
    }
}

/* The surroundings are out of focus: they are painted on a grid of `unit` pixels and spread bilinearly. */
void backdrop_paint(struct canvas *cv, const struct model *m, const struct scene *sc)
{
    int unit = cv->w < 200 ? 1 : (cv->w + 149) / 150, w = cv->w / unit + 2, h = cv->h / unit + 2;
    float *small = cv->scratch; /* (h, w, 4): fits, but for the tiniest pictures, where unit is 1 */
    if ((size_t)w * (size_t)h > (size_t)cv->w * (size_t)cv->h) unit = 1, w = cv->w, h = cv->h;
    for (int y = 0; y < h; y++) {
        float v = (float)y / (float)h;
        for (int x = 0; x < w; x++) {
            float fx = (float)(x * unit) * sc->back_scale, fy = (float)(y * unit) * sc->back_scale;
            float n = 1 + sc->back_texture * (noise_at(m->noise.soft, fx + sc->noise_u, fy + sc->noise_v) +
                                              0.5f * noise_at(m->noise.soft, fx * 3.3f + sc->noise_v, fy * 3.3f));
            n = n < 0.05f ? 0.05f : n;
            float *px = small + 4 * ((size_t)y * (size_t)w + (size_t)x);
            for (int i = 0; i < 3; i++) px[i] = lerpf(sc->back_top[i], sc->back_bottom[i], v) * n;
            px[3] = 0;
        }
    }
    for (int k = 0; k < sc->blobs; k++) blob_paint(small, w, h, (float)unit, &sc->blob[k]);
    if (unit == 1 && w == cv->w) {
        memcpy(cv->px, small, 16 * (size_t)w * (size_t)h);
        return;
    }
    float inv = 1 / (float)unit;
    for (int y = 0; y < cv->h; y++) {
        int sy = y / unit;
        float fy = (float)(y % unit) * inv;
        const float *a = small + 4 * (size_t)sy * (size_t)w, *b = sy + 1 < h ? a + 4 * (size_t)w : a;
        float *out = cv->px + 4 * (size_t)y * (size_t)cv->w;
        for (int x = 0; x < cv->w; x++) {
            int sx = x / unit, nx = sx + 1 < w ? sx + 1 : sx;
            float fx = (float)(x % unit) * inv;
            for (int i = 0; i < 4; i++) {
                float p = lerpf(a[4 * sx + i], b[4 * sx + i], fy), q = lerpf(a[4 * nx + i], b[4 * nx + i], fy);
                out[4 * x + i] = lerpf(p, q, fx);
            }
        }
    }
}

/* A rounded bar from (x, y) along angle, `len` long and `rad` thick, shaded like a cylinder. */
static void capsule(struct canvas *cv, float x, float y, float angle, float len, float rad, float soft, const float rgb[3], float light)
{
    float dx = sinf(angle), dy = cosf(angle);
    float lox = fminf(x, x + dx * len) - rad - soft, hix = fmaxf(x, x + dx * len) + rad + soft;
    float loy = fminf(y, y + dy * len) - rad - soft, hiy = fmaxf(y, y + dy * len) + rad + soft;
    int x0 = (int)fmaxf(0, lox), x1 = (int)fminf((float)cv->w - 1, hix), y0 = (int)fmaxf(0, loy), y1 = (int)fminf((float)cv->h - 1, hiy);
    for (int py = y0; py <= y1; py++)
        for (int px = x0; px <= x1; px++) {
            float ox = (float)px - x, oy = (float)py - y, along = clampf(ox * dx + oy * dy, 0, len);
            float ex = ox - dx * along, ey = oy - dy * along, d = sqrtf(ex * ex + ey * ey);
            float a = clampf(0.5f + (rad - d) / (2 * soft), 0, 1), q = clampf(d / rad, 0, 1);
            if (a <= 0) continue;
            float shade = light * (0.35f + 0.65f * sqrtf(1 - 0.97f * q * q)) * (1 - 0.25f * ex / rad);
            float *c = cv->px + 4 * ((size_t)py * (size_t)cv->w + (size_t)px);
            for (int i = 0; i < 3; i++) c[i] += (rgb[i] * shade - c[i]) * a;
        }
}

void occluders_paint(struct canvas *cv, const struct model *m, const struct scene *sc)
{
    (void)m;
    const struct pose *p = &sc->pose[0];
    float light = 0.5f * (sc->light.sky[1] + sc->light.ground[1]) + 0.6f * sc->light.colour[0][1];
    for (int k = 0; k < sc->occluders; k++) {
        const struct occluder *o = &sc->occluder[k];
        float u = o->size; /* pixels a mm */
        switch (o->kind) {
        case OCCLUDER_HAND:
            for (int i = 0; i < 4; i++) {
                float spread = o->angle + ((float)i - 1.5f) * 0.12f;
                capsule(cv, o->x + ((float)i - 1.5f) * 17 * u, o->y - (i == 1 || i == 2 ? 8 : 0) * u, spread, 75 * u, 9 * u, 1, p->id.albedo, light);
            }
            capsule(cv, o->x, o->y + 75 * u, o->angle, 90 * u, 38 * u, 2, p->id.albedo, light);
            break;
        case OCCLUDER_MIKE: {
            float dark[3] = {0.02f, 0.02f, 0.022f};
            capsule(cv, o->x, o->y, o->angle, 12 * u, 20 * u, 1.5f, dark, light * 1.5f);
            capsule(cv, o->x, o->y + 20 * u, o->angle, 150 * u, 11 * u, 1.2f, o->rgb, light);
            break;
        }
        case OCCLUDER_BAR: capsule(cv, o->x - 300 * u * sinf(o->angle * 0.3f), o->y - 300 * u, o->angle * 0.3f, 900 * u, 14 * u, 2 + 4 * u, o->rgb, light); break;
        case OCCLUDER_BLUR: capsule(cv, o->x, o->y, o->angle, 100 * u, 45 * u, 10 * u, o->rgb, light); break;
        }
    }
}
