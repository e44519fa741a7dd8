/* Most pairs are ruled out without computing their correlation: with unit vectors a, b and a few orthonormal directions
 * (low frequencies of the cosine transform) a.b is the product along these plus that of what remains, and the latter is
 * at most the product of its lengths (Cauchy-Schwarz). The bound is exact, so nothing is missed. */
#include "data/near.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum {
    SIDE = 32,
    SHIFT = 2,
    WIN = SIDE - 2 * SHIFT,                       /* side of what is compared */
    WINS = 2 * (2 * SHIFT + 1) * (2 * SHIFT + 1), /* shifts of the picture, then of its mirror image */
    WINS_PADDED = 52,
    FEW = 15, /* directions of the first bound: frequencies below 4 each way, the mean left out */
    MANY = 63 /* of the second: below 8 */
};
#define SLACK 1e-5f /* of single-precision sums */

struct picture {
    float grey[SIDE * SIDE];            /* rows */
    float few[FEW + 1][WINS_PADDED];    /* per direction, all windows; the last row: length of what remains */
    float many[WINS][MANY + 1];         /* per window, all directions, and the length of what remains */
};
struct lafs_near {
    int64_t n, cap;
    struct picture **picture;           /* (n) */
    float cosine[8][WIN];               /* orthonormal rows of the cosine transform */
};

/* Area averages: every source pixel counts by the area that it covers. */
static void shrink(const struct lafs_image *im, float *grey)
{
    for (int y = 0; y < SIDE; y++) {
        double y0 = (double)y * im->h / SIDE, y1 = (double)(y + 1) * im->h / SIDE;
        for (int x = 0; x < SIDE; x++) {
            double x0 = (double)x * im->w / SIDE, x1 = (double)(x + 1) * im->w / SIDE, sum = 0;
            for (int v = (int)y0; v < y1 && v < im->h; v++) {
                double fy = fmin(v + 1, y1) - fmax(v, y0);
                const uint8_t *p = im->px + ((size_t)v * (size_t)im->w + (size_t)x0) * 3;
                for (int u = (int)x0; u < x1 && u < im->w; u++, p += 3)
                    sum += fy * (fmin(u + 1, x1) - fmax(u, x0)) * (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]);
            }
            grey[y * SIDE + x] = (float)(sum / ((y1 - y0) * (x1 - x0)));
        }
    }
}

/* Window w of the picture: mean-free and of length 1; 0 when it is flat. out (WIN, WIN). */
static int window(const float *grey, int w, float *out)
{
    int mirror = w >= WINS / 2, shift = w % (WINS / 2), dy = shift / (2 * SHIFT + 1), dx = shift % (2 * SHIFT + 1);
    double sum = 0, square = 0;
    for (int y = 0; y < WIN; y++)
        for (int x = 0; x < WIN; x++) {
            int at = (y + dy) * SIDE + (mirror ? SIDE - 1 - (x + dx) : x + dx);
            out[y * WIN + x] = grey[at];
            sum += grey[at];
        }
    float mean = (float)(sum / (WIN * WIN));
    for (int i = 0; i < WIN * WIN; i++) {
        out[i] -= mean;
        square += (double)out[i] * out[i];
    }
    if (square < WIN * WIN * 0.25) return 0; /* half a grey level */
    float scale = (float)(1 / sqrt(square));
    for (int i = 0; i < WIN * WIN; i++) out[i] *= scale;
    return 1;
}

/* Coefficients of the window along the directions, those of FEW first; then the length of what remains beyond FEW (in
 * *rest) and beyond MANY (out[MANY]). */
static void project(const struct lafs_near *s, const float *win, float *out, float *rest)
{
    float rows[WIN][8], all[8][8];
    double few = 0, many = 0;
    for (int y = 0; y < WIN; y++)
        for (int u = 0; u < 8; u++) {
            float sum = 0;
            for (int x = 0; x < WIN; x++) sum += s->cosine[u][x] * win[y * WIN + x];
            rows[y][u] = sum;
        }
    for (int v = 0; v < 8; v++)
        for (int u = 0; u < 8; u++) {
            float sum = 0;
            for (int y = 0; y < WIN; y++) sum += s->cosine[v][y] * rows[y][u];
            all[v][u] = sum;
        }
    int n = 0;
    for (int ring = 0; ring < 2; ring++) {
        for (int v = 0; v < 8; v++)
            for (int u = 0; u < 8; u++) {
                if ((u < 4 && v < 4) != (ring == 0) || u + v == 0) continue;
                out[n++] = all[v][u];
                many += (double)all[v][u] * all[v][u];
            }
        if (ring == 0) few = many;
    }
    *rest = (float)sqrt(fmax(0, 1 - few));
    out[MANY] = (float)sqrt(fmax(0, 1 - many));
}

lafs_status lafs_near_new(struct lafs_near **out, struct lafs_err *err)
{
    struct lafs_near *s;
    LAFS_TRY(lafs_alloc0(&s, 1, sizeof *s, err));
    for (int u = 0; u < 8; u++)
        for (int x = 0; x < WIN; x++)
            s->cosine[u][x] = (float)(sqrt((u ? 2.0 : 1.0) / WIN) * cos(3.14159265358979323846 * (x + 0.5) * u / WIN));
    *out = s;
    return LAFS_OK;
}

void lafs_near_free(struct lafs_near *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->n; i++) lafs_free(s->picture[i]);
    lafs_free(s->picture);
    lafs_free(s);
}

lafs_status lafs_near_add(struct lafs_near *s, const struct lafs_image *im, struct lafs_err *err)
{
    struct picture *p;
    float win[WIN * WIN], rest;
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 256;
        LAFS_TRY(lafs_resize(&s->picture, (size_t)s->cap, (size_t)cap, sizeof *s->picture, err));
        s->cap = cap;
    }
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    s->picture[s->n++] = p;
    shrink(im, p->grey);
    for (int w = 0; w < WINS; w++) {
        /* A flat window is at right angles to everything, with nothing remaining: its bound is 0. */
        if (!window(p->grey, w, win)) continue;
        project(s, win, p->many[w], &rest);
        for (int k = 0; k < FEW; k++) p->few[k][w] = p->many[w][k];
        p->few[FEW][w] = rest;
    }
    return LAFS_OK;
}

/* Bounds of all windows by the first few directions; the highest of them. */
static float bound_few(const struct picture *p, const float *a, float rest, float *bound)
{
    for (int w = 0; w < WINS_PADDED; w++) bound[w] = rest * p->few[FEW][w];
    for (int k = 0; k < FEW; k++)
        for (int w = 0; w < WINS_PADDED; w++) bound[w] += a[k] * p->few[k][w];
    float best = bound[0];
    for (int w = 1; w < WINS; w++) best = bound[w] > best ? bound[w] : best;
    return best;
}

static float bound_many(const float *a, const float *b)
{
    float sum = 0;
    for (int k = 0; k <= MANY; k++) sum += a[k] * b[k];
    return sum;
}

static double correlation(const float *a, const struct picture *p, int w)
{
    float b[WIN * WIN];
    double sum = 0;
    if (!window(p->grey, w, b)) return -2;
    for (int i = 0; i < WIN * WIN; i++) sum += (double)a[i] * b[i];
    return sum;
}

double lafs_near_best(const struct lafs_near *s, const struct lafs_image *im, double min, int64_t *which)
{
    float grey[SIDE * SIDE], win[WIN * WIN], many[MANY + 1], rest, bound[WINS_PADDED];
    double best = -2;
    shrink(im, grey);
    if (!window(grey, WINS / 4, win)) return -2; /* the middle one: no shift */
    project(s, win, many, &rest);
    for (int64_t i = 0; i < s->n; i++) {
        const struct picture *p = s->picture[i];
        float need = (float)(best > min ? best : min) - SLACK;
        if (bound_few(p, many, rest, bound) < need) continue;
        for (int w = 0; w < WINS; w++) {
            if (bound[w] < need || bound_many(many, p->many[w]) < need) continue;
            double c = correlation(win, p, w);
            if (c < min || c <= best) continue;
            best = c;
            need = (float)best - SLACK;
            if (which) *which = i;
        }
    }
    return best;
}
