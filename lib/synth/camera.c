/* From light to the bytes of a photo: exposure, lens, noise, tone. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "synth/paint.h"

enum { TONE = 4096 };
static float tone[TONE + 1]; /* linear 0..2 to 0..255 */

static void fill_tone(void)
{
    for (int i = 0; i <= TONE; i++) {
        float x = 2 * (float)i / TONE;
        if (x > 0.7f) x = 0.7f + 0.3f * (1 - expf(-(x - 0.7f) / 0.3f)); /* shoulder */
        tone[i] = 255 * (x <= 0.0031308f ? 12.92f * x : 1.055f * powf(x, 1 / 2.4f) - 0.055f);
    }
}

void camera_tables(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_tone);
}

/* Convolves rows (stride 4 floats a pixel) or columns with a symmetric kernel k[0..r]; borders repeat. */
static void convolve(const float *in, float *out, int w, int h, const float *k, int r, int columns)
{
    size_t row = 4 * (size_t)w;
    for (int y = 0; y < h; y++) {
        float *o = out + (size_t)y * row;
        if (columns) {
            const float *c = in + (size_t)y * row;
            for (size_t i = 0; i < row; i++) o[i] = k[0] * c[i];
            for (int d = 1; d <= r; d++) {
                const float *a = in + (size_t)(y - d < 0 ? 0 : y - d) * row, *b = in + (size_t)(y + d >= h ? h - 1 : y + d) * row;
                for (size_t i = 0; i < row; i++) o[i] += k[d] * (a[i] + b[i]);
            }
            continue;
        }
        const float *c = in + (size_t)y * row;
        for (size_t i = 0; i < row; i++) o[i] = k[0] * c[i];
        for (int d = 1; d <= r; d++) {
            size_t e = 4 * (size_t)d;
            if (e >= row) break;
            for (size_t i = e; i < row - e; i++) o[i] += k[d] * (c[i - e] + c[i + e]);
            for (size_t i = 0; i < e && i < row; i++) o[i] += k[d] * (c[i & 3] + c[i + e < row ? i + e : row - 4 + (i & 3)]);
            for (size_t i = row - e > e ? row - e : e; i < row; i++) o[i] += k[d] * (c[i - e] + c[row - 4 + (i & 3)]);
        }
    }
}

static void blur(struct canvas *c, float sigma)
{
    float k[12], sum = 0;
    int r = (int)ceilf(2.4f * sigma);
    if (r < 1) r = 1;
    if (r > 11) r = 11;
    for (int i = 0; i <= r; i++) {
        k[i] = expf(-0.5f * (float)(i * i) / (sigma * sigma));
        sum += i ? 2 * k[i] : k[i];
    }
    for (int i = 0; i <= r; i++) k[i] /= sum;
    convolve(c->px, c->scratch, c->w, c->h, k, r, 0);
    convolve(c->scratch, c->px, c->w, c->h, k, r, 1);
}

static void smear(struct canvas *c, float length, float dx, float dy)
{
    int n = (int)(2 * length) + 1;
    if (n > 32) n = 32;
    size_t all = 4 * (size_t)c->w * (size_t)c->h;
    memset(c->scratch, 0, all * sizeof(float));
    for (int k = 0; k < n; k++) {
        float at = length * ((float)k / (float)(n > 1 ? n - 1 : 1) - 0.5f);
        int ox = (int)lrintf(at * dx), oy = (int)lrintf(at * dy);
        for (int y = 0; y < c->h; y++) {
            int sy = y + oy < 0 ? 0 : y + oy >= c->h ? c->h - 1 : y + oy;
            const float *in = c->px + 4 * (size_t)sy * (size_t)c->w;
            float *out = c->scratch + 4 * (size_t)y * (size_t)c->w;
            for (int x = 0; x < c->w; x++) {
                int sx = x + ox < 0 ? 0 : x + ox >= c->w ? c->w - 1 : x + ox;
                for (int i = 0; i < 4; i++) out[4 * x + i] += in[4 * sx + i];
            }
        }
    }
    float inv = 1 / (float)n;
    for (size_t i = 0; i < all; i++) c->px[i] = c->scratch[i] * inv;
}

/* Gain as a camera's meter sets it: most weight in the middle. */
static float meter(const struct canvas *c)
{
    float sum = 0, weight = 0;
    for (int y = 2; y < c->h; y += 5)
        for (int x = 2; x < c->w; x += 5) {
            float u = 2 * (float)x / (float)c->w - 1, v = 2 * (float)y / (float)c->h - 1;
            float w = 1 / (0.2f + u * u + v * v);
            const float *p = c->px + 4 * ((size_t)y * (size_t)c->w + (size_t)x);
            float l = 0.25f * p[0] + 0.6f * p[1] + 0.15f * p[2];
            sum += w * sqrtf(l > 0 ? l : 0);
            weight += w;
        }
    float root = weight > 0 ? sum / weight : 0.4f;
    return powf(0.42f / fmaxf(root, 0.05f), 1.5f);
}

static void develop_row(const struct canvas *c, const struct model *m, const struct scene *sc, int y, const float gain[3], uint8_t *out)
{
    const struct camera *cam = &sc->camera;
    const float *px = c->px + 4 * (size_t)y * (size_t)c->w;
    uint32_t seed_u = (uint32_t)(sc->noise_u * 7), seed_v = (uint32_t)(sc->noise_v * 5);
    const float *g[4];
    for (unsigned i = 0; i < 4; i++) g[i] = m->noise.grain + (size_t)(((uint32_t)y + seed_v + 61 * i) & NOISE_MASK) * NOISE_N;
    float v = 2 * (float)y / (float)c->h - 1, centre = 127.5f * (1 - cam->contrast) + 4;
    for (int x = 0; x < c->w; x++) {
        float u = 2 * (float)x / (float)c->w - 1, dim = 1 - cam->vignette * 0.35f * (u * u + v * v), t[3];
        for (int i = 0; i < 3; i++) {
            float l = px[4 * x + i] * gain[i] * dim;
            l = l < 0 ? 0 : l > 1.999f ? 1.999f : l;
            float at = l * (TONE / 2);
            int k = (int)at;
            t[i] = tone[k] + (tone[k + 1] - tone[k]) * (at - (float)k);
        }
        float luma = 0.3f * t[0] + 0.59f * t[1] + 0.11f * t[2], sat = cam->grey ? 0 : cam->saturation;
        float shared = g[3][((uint32_t)x + seed_u + 7u) & NOISE_MASK];
        float size = cam->read + cam->shot * (0.4f + luma * (1 / 300.0f));
        for (unsigned i = 0; i < 3; i++) {
            float own = g[i][((uint32_t)x + seed_u + 89u * i) & NOISE_MASK];
            float w = (luma + (t[i] - luma) * sat) * cam->contrast + centre + size * (shared + (cam->grey ? 0 : cam->chroma_noise * own));
            w += 0.5f;
            out[3 * x + (int)i] = (uint8_t)(w < 0 ? 0 : w > 255 ? 255 : w);
        }
    }
}

/* The black corners of a photo that was turned upright. */
static void black_border(const struct scene *sc, uint8_t *rgb)
{
    int w = sc->width, h = sc->height;
    float roll = sc->pose[0].roll - 0.25f * sc->border * 10, c = cosf(roll), s = sinf(roll), grow = 0.5f * (1 - sc->border * 0.5f);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float u = ((float)x / (float)w - 0.5f), v = ((float)y / (float)h - 0.5f);
            float p = c * u + s * v, q = c * v - s * u;
            if (fabsf(p) > grow || fabsf(q) > grow) memset(rgb + 3 * ((size_t)y * (size_t)w + (size_t)x), 0, 3);
        }
}

void camera_take(struct canvas *c, const struct model *m, const struct scene *sc, uint8_t *rgb)
{
    const struct camera *cam = &sc->camera;
    float gain[3], g = meter(c) * cam->exposure;
    for (int i = 0; i < 3; i++) gain[i] = g * cam->balance[i];
    if (cam->motion > 0.8f) smear(c, cam->motion, cam->motion_x, cam->motion_y);
    blur(c, cam->blur);
    for (int y = 0; y < c->h; y++) develop_row(c, m, sc, y, gain, rgb + 3 * (size_t)y * (size_t)c->w);
    if (sc->border > 0) black_border(sc, rgb);
}
