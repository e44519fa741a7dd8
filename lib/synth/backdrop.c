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

/* How much of a blob is seen in n cells of a row; u, v: coordinates in its axes of the first, steps to the next. */
FAST static void coverage(const struct blob *b, float u0, float v0, float du, float dv, float inv, int n,
                          float *restrict alpha)
{
    const float rx = b->rx, ry = b->ry, ix = 1 / rx, iy = 1 / ry, small = rx < ry ? rx : ry, none = 0, full = 1;
    if (b->box) {
        for (int x = 0; x < n; x++) {
            float p = rx - fabsf(u0 + du * (float)x), q = ry - fabsf(v0 + dv * (float)x), d = p < q ? p : q,
                  a = 0.5f + d * inv;
            a = a > none ? a : none;
            alpha[x] = a < full ? a : full;
        }
    } else {
        for (int x = 0; x < n; x++) {
            float p = (u0 + du * (float)x) * ix, q = (v0 + dv * (float)x) * iy,
                  a = 0.5f + (1 - sqrtf(p * p + q * q)) * small * inv;
            a = a > none ? a : none;
            alpha[x] = a < full ? a : full;
        }
    }
}

FAST static void cover(float *restrict px, const float *restrict alpha, int n, float colour)
{
    for (int x = 0; x < n; x++) px[x] += (colour - px[x]) * alpha[x];
}

static void blob_paint(struct grid *g, const struct blob *b)
{
    float unit = (float)g->unit, c = cosf(b->angle), s = sinf(b->angle), alpha[LAFS_SYNTH_MAX_SIZE + 2];
    float inv = 1 / (2 * maxf(b->edge, 0.7f * unit));
    float wide = fabsf(c) * b->rx + fabsf(s) * b->ry + 2 * b->edge,
          high = fabsf(s) * b->rx + fabsf(c) * b->ry + 2 * b->edge;
    int x0 = (int)maxf(0, (b->x - wide) / unit), x1 = (int)minf((float)g->w - 1, (b->x + wide) / unit);
    int y0 = (int)maxf(0, (b->y - high) / unit), y1 = (int)minf((float)g->h - 1, (b->y + high) / unit);
    for (int y = y0; y <= y1 && x0 <= x1; y++) {
        size_t row = (size_t)y * (size_t)g->w + (size_t)x0;
        float oy = (float)y * unit - b->y, ox = (float)x0 * unit - b->x;
        coverage(b, c * ox + s * oy, c * oy - s * ox, c * unit, -s * unit, inv, x1 - x0 + 1, alpha);
        for (int i = 0; i < 3; i++) cover(g->px[i] + row, alpha, x1 - x0 + 1, b->rgb[i]);
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

/* Between n + 1 values of a, the n half way: out[2 i] = a[i], out[2 i + 1] lies between a[i] and a[i + 1]. */
static void twice(const float *a, int n, float *out)
{
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        vec4 p = *(const vec4 *)(a + i), q = 0.5f * (p + *(const vec4 *)(a + i + 1));
        *(vec4 *)(out + 2 * i) = __builtin_shufflevector(p, q, 0, 4, 1, 5);
        *(vec4 *)(out + 2 * i + 4) = __builtin_shufflevector(p, q, 2, 6, 3, 7);
    }
    for (; i < n; i++) {
        out[2 * i] = a[i];
        out[2 * i + 1] = 0.5f * (a[i] + a[i + 1]);
    }
    out[2 * n] = a[n];
}

void lafs_synth_backdrop_paint(struct canvas *cv, const struct model *m, const struct scene *sc)
{
    struct grid g = {.unit = lafs_synth_canvas_unit(cv->w)};
    float line[2][LAFS_SYNTH_MAX_SIZE + 2 * CANVAS_UNIT + 2];
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
            int turn = 0, n = g.w - 1;
            for (int x = 0; x < g.w; x++) line[0][x] = a[x] + (b[x] - a[x]) * fy;
            for (int unit = g.unit; unit > 1; unit /= 2, n *= 2, turn ^= 1) twice(line[turn], n, line[turn ^ 1]);
            memcpy(cv->px[i] + (size_t)y * (size_t)cv->w, line[turn], (size_t)cv->w * sizeof(float));
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

void lafs_synth_occluders_paint(struct canvas *cv, const struct scene *sc)
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
