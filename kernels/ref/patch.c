/* Cutting patches out of images: bilinear at landmarks, forward and backward, and plain grid patches.
 *
 * The sample of offset (i, j), -p/2 <= i, j < p/2, at landmark (lx, ly) lies at pixel index
 * (lx + i - 0.5, ly + j - 0.5). As i and j are integers, all samples of a patch share the fractions fx, fy:
 *   value = (1-fy) ((1-fx) v00 + fx v01) + fy ((1-fx) v10 + fx v11), v = 0 outside the image. */
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"

struct corner {
    int64_t x, y; /* pixel of v00 for offset (0, 0) */
    float fx, fy;
};

/* 0 when no sample of the patch can touch the image (NaN included). */
static int locate(const float *lm, int side, int p, struct corner *c)
{
    float far = (float)side + (float)p;
    if (!(lm[0] > -far && lm[0] < 2 * far && lm[1] > -far && lm[1] < 2 * far)) return 0;
    float x = lm[0] - 0.5f, y = lm[1] - 0.5f, x0 = floorf(x), y0 = floorf(y);
    *c = (struct corner){(int64_t)x0, (int64_t)y0, x - x0, y - y0};
    return 1;
}

static float pixel(const float *image, int side, int64_t x, int64_t y, int ch)
{
    return x >= 0 && x < side && y >= 0 && y < side ? image[(y * side + x) * 3 + ch] : 0;
}

/* Place of offset (i, j) = (a - p/2, b - p/2) in a token. */
static int64_t place(int p, int transposed, int a, int b) { return (transposed ? a * p + b : b * p + a) * 3; }

void lafs_ref_patch_cut(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                        const float *images, const float *landmarks, float *tokens)
{
    (void)d;
    int64_t width = (int64_t)p * p * 3;
    for (int64_t n = 0; n < s->n; n++) {
        const float *image = images + n * side * side * 3;
        for (int64_t r = s->off[n]; r < s->off[n + 1]; r++) {
            float *t = tokens + r * width;
            struct corner c;
            memset(t, 0, (size_t)width * sizeof *t);
            if (!locate(landmarks + 2 * r, side, p, &c)) continue;
            for (int a = 0; a < p; a++)
                for (int b = 0; b < p; b++)
                    for (int ch = 0; ch < 3; ch++) {
                        int64_t x = c.x + a - p / 2, y = c.y + b - p / 2;
                        float top = (1 - c.fx) * pixel(image, side, x, y, ch) + c.fx * pixel(image, side, x + 1, y, ch);
                        float low = (1 - c.fx) * pixel(image, side, x, y + 1, ch) +
                                    c.fx * pixel(image, side, x + 1, y + 1, ch);
                        t[place(p, transposed, a, b) + ch] = (1 - c.fy) * top + c.fy * low;
                    }
        }
    }
}

static void add_pixel(float *image, int side, int64_t x, int64_t y, int ch, float v)
{
    if (x >= 0 && x < side && y >= 0 && y < side) image[(y * side + x) * 3 + ch] += v;
}

void lafs_ref_patch_cut_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int side, int p, int transposed,
                            const float *images, const float *landmarks, const float *dtokens, float *dlandmarks,
                            float *dimages)
{
    (void)d;
    int64_t width = (int64_t)p * p * 3, area = (int64_t)side * side * 3;
    if (dimages) memset(dimages, 0, (size_t)(s->n * area) * sizeof *dimages);
    for (int64_t n = 0; n < s->n; n++) {
        const float *image = images + n * area;
        for (int64_t r = s->off[n]; r < s->off[n + 1]; r++) {
            const float *t = dtokens + r * width;
            struct corner c;
            double gx = 0, gy = 0;
            int inside = locate(landmarks + 2 * r, side, p, &c);
            for (int k = 0; inside && k < p * p * 3; k++) {
                int a = k / 3 % p, b = k / 3 / p, ch = k % 3;
                int64_t x = c.x + a - p / 2, y = c.y + b - p / 2;
                float g = t[place(p, transposed, a, b) + ch];
                float v00 = pixel(image, side, x, y, ch), v01 = pixel(image, side, x + 1, y, ch);
                float v10 = pixel(image, side, x, y + 1, ch), v11 = pixel(image, side, x + 1, y + 1, ch);
                gx += (double)g * ((1 - c.fy) * (v01 - v00) + c.fy * (v11 - v10));
                gy += (double)g * ((1 - c.fx) * (v10 - v00) + c.fx * (v11 - v01));
                if (!dimages) continue;
                add_pixel(dimages + n * area, side, x, y, ch, g * (1 - c.fx) * (1 - c.fy));
                add_pixel(dimages + n * area, side, x + 1, y, ch, g * c.fx * (1 - c.fy));
                add_pixel(dimages + n * area, side, x, y + 1, ch, g * (1 - c.fx) * c.fy);
                add_pixel(dimages + n * area, side, x + 1, y + 1, ch, g * c.fx * c.fy);
            }
            if (dlandmarks) {
                dlandmarks[2 * r] = (float)gx;
                dlandmarks[2 * r + 1] = (float)gy;
            }
        }
    }
}

void lafs_ref_grid_cut(struct lafs_dev *d, int64_t n, int side, int p, const float *images, float *tokens)
{
    (void)d;
    int across = side / p;
    for (int64_t i = 0; i < n * across * across; i++) {
        int64_t image = i / (across * across), row = i / across % across, col = i % across;
        for (int y = 0; y < p; y++)
            memcpy(tokens + (i * p + y) * p * 3, images + ((image * side + row * p + y) * side + col * p) * 3,
                   (size_t)p * 3 * sizeof *tokens);
    }
}
