#include "train/spoil.h"

#include <math.h>
#include <string.h>

static uint8_t clamp8(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }
static int chance(struct lafs_rng *r, double p) { return lafs_rng_double(r) < p; }

/* Exposure, contrast, gamma and cast as one table a channel. Draws the same number of values in any case. */
static void tone(struct lafs_image *im, struct lafs_rng *r)
{
    uint8_t table[3][256];
    double gamma = exp(0.25 * lafs_rng_normal(r)), contrast = exp(0.2 * lafs_rng_normal(r));
    double shift = 18 * lafs_rng_normal(r), dark = lafs_rng_uniform(r, 0.12, 0.6);
    if (!chance(r, 0.12)) dark = 1;
    double cast = chance(r, 0.3) ? 0.12 : 0.03;
    for (int c = 0; c < 3; c++) {
        double gain = exp(cast * lafs_rng_normal(r));
        for (int i = 0; i < 256; i++) {
            double v = 255 * pow(i / 255.0, gamma);
            table[c][i] = clamp8((128 + (v - 128) * contrast + shift) * gain * dark);
        }
    }
    size_t n = (size_t)im->w * (size_t)im->h;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) im->px[3 * i + (size_t)c] = table[c][im->px[3 * i + (size_t)c]];
}

static void grey(struct lafs_image *im)
{
    size_t n = (size_t)im->w * (size_t)im->h;
    for (size_t i = 0; i < n; i++) {
        uint8_t *p = im->px + 3 * i;
        p[0] = p[1] = p[2] = (uint8_t)((77 * p[0] + 151 * p[1] + 28 * p[2] + 128) >> 8);
    }
}

/* Brighter towards one side, darker towards the other. */
static void side_light(struct lafs_image *im, struct lafs_rng *r)
{
    double angle = lafs_rng_uniform(r, 0, 2 * M_PI), depth = lafs_rng_uniform(r, 0.1, 0.6);
    int gx = (int)(65536 * depth * cos(angle) * 2 / im->w), gy = (int)(65536 * depth * sin(angle) * 2 / im->h);
    for (int y = 0; y < im->h; y++) {
        uint8_t *p = im->px + (size_t)y * (size_t)im->w * 3;
        for (int x = 0; x < im->w; x++, p += 3) {
            int gain = 65536 + gx * (x - im->w / 2) + gy * (y - im->h / 2);
            for (int c = 0; c < 3; c++) {
                int v = (int)((int64_t)p[c] * gain >> 16);
                p[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
    }
}

/* (1 2 1)/4 along rows, or along columns, in place; the ends stay. */
static void soften(struct lafs_image *im, int columns)
{
    size_t step = columns ? (size_t)im->w * 3 : 3, line = columns ? 3 : (size_t)im->w * 3;
    int lines = columns ? im->w : im->h, n = columns ? im->h : im->w;
    for (int l = 0; l < lines; l++)
        for (size_t c = 0; c < 3; c++) {
            uint8_t *p = im->px + (size_t)l * line + c;
            int before = p[0];
            for (int i = 1; i + 1 < n; i++) {
                int here = p[(size_t)i * step];
                p[(size_t)i * step] = (uint8_t)((before + 2 * here + p[(size_t)(i + 1) * step] + 2) >> 2);
                before = here;
            }
        }
}

/* Triangular noise of up to `most` levels. */
static void noise(struct lafs_image *im, struct lafs_rng *r, int most)
{
    size_t n = (size_t)im->w * (size_t)im->h * 3;
    uint32_t word = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 2 == 0) word = lafs_rng_u32(r);
        int v = im->px[i] + (((int)(word & 255) + (int)(word >> 8 & 255) - 255) * most >> 8);
        word >>= 16;
        im->px[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

void lafs_spoil(struct lafs_image *im, struct lafs_rng *r)
{
    tone(im, r);
    if (chance(r, 0.12)) grey(im);
    if (chance(r, 0.25)) side_light(im, r);
    if (chance(r, 0.25)) {
        int times = 1 + (int)lafs_rng_below(r, 2), both = chance(r, 0.6), first = chance(r, 0.5);
        for (int i = 0; i < times; i++) {
            soften(im, first);
            if (both) soften(im, !first);
        }
    }
    if (chance(r, 0.3)) noise(im, r, 4 + (int)lafs_rng_below(r, 40));
}

void lafs_cover(struct lafs_image *im, struct lafs_rng *r, int left, int top, int right, int bottom)
{
    int kind = (int)lafs_rng_below(r, 3), period = 2 + (int)lafs_rng_below(r, 9);
    uint8_t colour[2][3];
    for (int i = 0; i < 6; i++) colour[i / 3][i % 3] = (uint8_t)lafs_rng_u32(r);
    left = left < 0 ? 0 : left;
    top = top < 0 ? 0 : top;
    right = right > im->w ? im->w : right;
    bottom = bottom > im->h ? im->h : bottom;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            uint8_t *p = im->px + ((size_t)y * (size_t)im->w + (size_t)x) * 3;
            uint32_t word = kind == 2 ? lafs_rng_u32(r) : 0;
            for (int c = 0; c < 3; c++)
                p[c] = kind == 2 ? (uint8_t)(word >> 8 * c) : colour[kind == 1 && y / period % 2][c];
        }
}
