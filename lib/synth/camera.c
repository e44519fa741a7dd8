/* From light to the bytes of a photo: lens, exposure, tone, noise. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "synth/fast.h"
#include "synth/paint.h"

enum { TONE = 2048 };
static float tone[TONE]; /* by the root of linear light, 0..sqrt 2, to 0..255 */
static const float tone_scale = (TONE - 1) / 1.41421356f;

static void fill_tone(void)
{
    for (int i = 0; i < TONE; i++) {
        float r = (float)i / tone_scale, x = r * r;
        if (x > 0.45f) x = 0.45f + 0.55f * (1 - expf(-(x - 0.45f) / 0.55f)); /* shoulder */
        tone[i] = 255 * (x <= 0.0031308f ? 12.92f * x : 1.055f * powf(x, 1 / 2.4f) - 0.055f);
    }
}

void lafs_synth_camera_tables(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_tone);
}

enum { REACH = 11 };

/* out = in convolved with the symmetric kernel k[0..r]; in has r values beyond both ends. */
FAST static void convolve_row(const float *in, float *out, int w, const float *k, int r)
{
    if (r == 1) {
        for (int x = 0; x < w; x++) out[x] = k[0] * in[x] + k[1] * (in[x - 1] + in[x + 1]);
    } else if (r == 2) {
        for (int x = 0; x < w; x++)
            out[x] = k[0] * in[x] + k[1] * (in[x - 1] + in[x + 1]) + k[2] * (in[x - 2] + in[x + 2]);
    } else {
        for (int x = 0; x < w; x++) out[x] = k[0] * in[x];
        for (int d = 1; d <= r; d++)
            for (int x = 0; x < w; x++) out[x] += k[d] * (in[x - d] + in[x + d]);
    }
}

/* out = the sum of 2 r + 1 rows, weighted; row[r] is the middle one. */
FAST static void convolve_column(const float *const *row, float *out, int w, const float *k, int r)
{
    if (r == 1) {
        const float *a = row[0], *b = row[1], *c = row[2];
        for (int x = 0; x < w; x++) out[x] = k[0] * b[x] + k[1] * (a[x] + c[x]);
    } else if (r == 2) {
        const float *a = row[0], *b = row[1], *c = row[2], *d = row[3], *e = row[4];
        for (int x = 0; x < w; x++) out[x] = k[0] * c[x] + k[1] * (b[x] + d[x]) + k[2] * (a[x] + e[x]);
    } else {
        for (int x = 0; x < w; x++) out[x] = k[0] * row[r][x];
        for (int d = 1; d <= r; d++)
            for (int x = 0; x < w; x++) out[x] += k[d] * (row[r - d][x] + row[r + d][x]);
    }
}

/* Half of a Gaussian kernel; returns its reach. */
static int gaussian(float sigma, float k[REACH + 1])
{
    float sum = 0;
    int r = (int)ceilf(2.2f * sigma);
    r = r < 1 ? 1 : r > REACH ? REACH : r;
    for (int i = 0; i <= r; i++) {
        k[i] = expf(-0.5f * (float)(i * i) / (sigma * sigma));
        sum += i ? 2 * k[i] : k[i];
    }
    for (int i = 0; i <= r; i++) k[i] /= sum;
    return r;
}

/* out += in, moved by `by` pixels; the ends of the row repeat. */
FAST static void add_moved(const float *restrict in, float *restrict out, int w, int by)
{
    int from = by < 0 ? -by : 0, to = by > 0 ? w - by : w;
    from = from < w ? from : w;
    to = to > from ? to : from;
    for (int x = 0; x < from; x++) out[x] += in[0];
    for (int x = from; x < to; x++) out[x] += in[x + by];
    for (int x = to; x < w; x++) out[x] += in[w - 1];
}

/* The picture moved while the shutter was open. */
static void smear(struct canvas *c, float length, float dx, float dy)
{
    int n = (int)length + 2;
    n = n > 16 ? 16 : n;
    size_t all = (size_t)c->w * (size_t)c->h;
    float inv = 1 / (float)n;
    for (int p = 0; p < 3; p++) {
        memset(c->scratch, 0, all * sizeof(float));
        for (int k = 0; k < n; k++) {
            float at = length * ((float)k / (float)(n - 1) - 0.5f);
            int ox = (int)lrintf(at * dx), oy = (int)lrintf(at * dy);
            for (int y = 0; y < c->h; y++) {
                int sy = y + oy < 0 ? 0 : y + oy >= c->h ? c->h - 1 : y + oy;
                add_moved(c->px[p] + (size_t)sy * (size_t)c->w, c->scratch + (size_t)y * (size_t)c->w, c->w, ox);
            }
        }
        for (size_t i = 0; i < all; i++) c->px[p][i] = c->scratch[i] * inv;
    }
}

/* Gain as a camera's meter sets it: most weight in the middle. */
static float meter(const struct canvas *c)
{
    float sum = 0, weight = 0;
    int step = 1 + c->w / 50;
    for (int y = step / 2; y < c->h; y += step)
        for (int x = step / 2; x < c->w; x += step) {
            float u = 2 * (float)x / (float)c->w - 1, v = 2 * (float)y / (float)c->h - 1,
                  w = 1 / (0.12f + u * u + v * v);
            size_t at = (size_t)y * (size_t)c->w + (size_t)x;
            float l = 0.25f * c->px[0][at] + 0.6f * c->px[1][at] + 0.15f * c->px[2][at];
            sum += w * sqrtf(l > 0 ? l : 0);
            weight += w;
        }
    float root = weight > 0 ? sum / weight : 0.4f;
    return powf(0.44f / maxf(root, 0.05f), 1.65f);
}

/* What is the same for all pixels. */
struct film {
    float gain[3], saturation, contrast, centre, chroma, read, shot;
};

struct range {
    float gain, fall; /* in the middle of the row, and what it loses with u^2 */
    float lo, hi, scale;
};

/* Indices into tone of n pixels; u goes from -1 to 1 across the picture. */
FAST static void expose(const float *px, int n, float u0, float step, const struct range *v, int32_t *index)
{
    for (int x = 0; x < n; x++) {
        float u = u0 + step * (float)x, l = px[x] * (v->gain - v->fall * u * u);
        l = v->lo > l ? v->lo : l;
        l = v->hi < l ? v->hi : l;
        index[x] = (int32_t)(sqrtf(l) * v->scale);
    }
}

FAST static void finish_row(const struct film *f, int w, const float *const t[3], const float *const g[4],
                            uint8_t *const out[3])
{
    for (int c = 0; c < 3; c++) {
        const float *r = t[0], *gr = t[1], *b = t[2], *own = g[c], *shared = g[3], *v = t[c];
        uint8_t *o = out[c];
        for (int x = 0; x < w; x++) {
            float luma = 0.3f * r[x] + 0.59f * gr[x] + 0.11f * b[x],
                  size = f->read + f->shot * (0.4f + luma * (1 / 300.0f));
            float p = (luma + (v[x] - luma) * f->saturation) * f->contrast + f->centre +
                      size * (shared[x] + f->chroma * own[x]);
            p = p < 0 ? 0 : p;
            p = p > 255 ? 255 : p;
            o[x] = (uint8_t)(int32_t)p;
        }
    }
}

FAST static void widen(const int8_t *restrict in, int n, float *restrict out)
{
    for (int x = 0; x < n; x++) out[x] = (float)in[x] * (1.0f / NOISE_ONE);
}

/* px: the three channels of row y. */
static void develop_row(const struct canvas *c, const float *const px[3], const struct model *m, const struct scene *sc,
                        int y, const struct film *f, uint8_t *rgb)
{
    enum { STRIP = 256 };
    float v = 2 * (float)y / (float)c->h - 1, fall = sc->camera.vignette * 0.35f;
    uint32_t seed_u = (uint32_t)(sc->noise_u * 7), seed_v = (uint32_t)(sc->noise_v * 5);
    float step = 2 / (float)c->w;
    int32_t index[STRIP];
    for (int x0 = 0; x0 < c->w; x0 += STRIP) {
        int n = c->w - x0 < STRIP ? c->w - x0 : STRIP;
        float t[3][STRIP], g[4][STRIP];
        uint8_t out[3][STRIP];
        for (int i = 0; i < 3; i++) {
            struct range range = {f->gain[i] * (1 - fall * v * v), f->gain[i] * fall, 0, 1.999f, tone_scale};
            expose(px[i] + x0, n, step * (float)x0 - 1, step, &range, index);
            for (int x = 0; x < n; x++) t[i][x] = tone[index[x]];
        }
        for (uint32_t i = 0; i < 4; i++) {
            const int8_t *row = m->noise.grain + (size_t)(((uint32_t)y + seed_v + 61 * i) & NOISE_MASK) * NOISE_N;
            uint32_t at = ((uint32_t)x0 + seed_u + 89 * i) & NOISE_MASK,
                     first = NOISE_N - at < (uint32_t)n ? NOISE_N - at : (uint32_t)n;
            widen(row + at, (int)first, g[i]);
            widen(row, n - (int)first, g[i] + first);
        }
        finish_row(f, n, (const float *const[3]){t[0], t[1], t[2]}, (const float *const[4]){g[0], g[1], g[2], g[3]},
                   (uint8_t *const[3]){out[0], out[1], out[2]});
        for (int x = 0; x < n; x++)
            for (int i = 0; i < 3; i++) rgb[3 * (x0 + x) + i] = out[i][x];
    }
}

/* The black corners of a photo that was turned upright. */
static void black_border(const struct scene *sc, uint8_t *rgb)
{
    int w = sc->width, h = sc->height;
    float roll = sc->pose[0].roll - 0.25f * sc->border * 10, c = cosf(roll), s = sinf(roll),
          grow = 0.5f * (1 - sc->border * 0.5f);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float u = ((float)x / (float)w - 0.5f), v = ((float)y / (float)h - 0.5f);
            float p = c * u + s * v, q = c * v - s * u;
            if (fabsf(p) > grow || fabsf(q) > grow) memset(rgb + 3 * ((size_t)y * (size_t)w + (size_t)x), 0, 3);
        }
}

void lafs_synth_camera_take(struct canvas *c, const struct model *m, const struct scene *sc, uint8_t *rgb)
{
    const struct camera *cam = &sc->camera;
    float g = meter(c) * cam->exposure;
    if (cam->motion > 0.8f) smear(c, cam->motion, cam->motion_x, cam->motion_y);
    struct film f = {.saturation = cam->grey ? 0 : cam->saturation, .contrast = cam->contrast,
                     .centre = 127.5f * (1 - cam->contrast) + 4 + 0.5f, .chroma = cam->grey ? 0 : cam->chroma_noise,
                     .read = cam->read, .shot = cam->shot};
    for (int i = 0; i < 3; i++) f.gain[i] = g * cam->balance[i];
    /* The lens blurs rows as they come in, and columns over the 2 r + 1 rows that are held. */
    float k[REACH + 1], line[LAFS_SYNTH_MAX_SIZE + 2 * REACH];
    int r = gaussian(cam->blur, k), w = c->w, h = c->h, held = 2 * r + 1;
    size_t plane = (size_t)held * (size_t)w;
    float *ring = c->scratch, *out = ring + 3 * plane;
    for (int y = 0; y < h + r; y++) {
        for (size_t p = 0; p < 3 && y < h; p++) {
            const float *in = c->px[p] + (size_t)y * (size_t)w;
            memcpy(line + REACH, in, (size_t)w * sizeof *in);
            for (int i = 1; i <= r; i++) line[REACH - i] = in[0], line[REACH + w - 1 + i] = in[w - 1];
            convolve_row(line + REACH, ring + p * plane + (size_t)(y % held) * (size_t)w, w, k, r);
        }
        int mid = y - r;
        if (mid < 0) continue;
        for (size_t p = 0; p < 3; p++) {
            const float *row[2 * REACH + 1];
            for (int i = -r; i <= r; i++) {
                int at = mid + i < 0 ? 0 : mid + i >= h ? h - 1 : mid + i;
                row[i + r] = ring + p * plane + (size_t)(at % held) * (size_t)w;
            }
            convolve_column(row, out + p * (size_t)w, w, k, r);
        }
        develop_row(c, (const float *const[3]){out, out + w, out + 2 * w}, m, sc, mid, &f,
                    rgb + 3 * (size_t)mid * (size_t)w);
    }
    if (sc->border > 0) black_border(sc, rgb);
}
