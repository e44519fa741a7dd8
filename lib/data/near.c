/* Most pairs are ruled out without computing their correlation: with unit vectors a, b and a few orthonormal directions
 * (low frequencies of the cosine transform) a.b is the product along these plus that of what remains, and the latter is
 * at most the product of its lengths (Cauchy-Schwarz). The bound is exact, so nothing is missed.
 *
 * Nearly all pictures are ruled out before, without looking at their windows one by one: where a.b >= min, a and b are
 * at most sqrt(2 - 2 min) apart, so a is as near to any box that holds b and the picture's other windows. */
#include "data/near.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum {
    SIDE = 32,
    SHIFT = 2,
    WIN = SIDE - 2 * SHIFT,                       /* side of what is compared */
    WINS = 2 * (2 * SHIFT + 1) * (2 * SHIFT + 1), /* shifts of the picture, then of its mirror image */
    MIDDLE = WINS / 4,                            /* the window of no shift */
    WINS_PADDED = 52,
    FEW = 15, /* directions of the first bound: frequencies below 4 each way, the mean left out */
    MANY = 63 /* of the second: below 8 */
};
#define SLACK 1e-5f /* of single-precision sums */
#define BOX_SLACK 1e-4f /* of squares of distances from boxes, and of a mirror image's coefficients */

struct lafs_near_picture {
    float grey[SIDE * SIDE];     /* rows */
    float many[WINS][MANY + 1];  /* per window, all directions, and the length of what remains */
};
/* For the first bound: of four windows each, the first directions, then the length of what remains beyond them. */
typedef float few_of[WINS_PADDED / 4][FEW + 1][4];
/* Of four pictures each, the least and the most that windows of the picture itself have along the first directions, and
 * of the length of what remains. A window of the mirror image has that of another window, mirrored. */
struct boxes {
    float least[FEW + 1][4], most[FEW + 1][4];
};
struct lafs_near {
    int64_t n, cap;
    struct lafs_near_picture **picture; /* (n) */
    few_of *few;                        /* (n) by themselves, as the second bounds are less often needed */
    struct boxes *box;                  /* (n / 4, rounded up), which nearly all comparisons read and nothing else */
    float cosine[8][WIN];               /* orthonormal rows of the cosine transform */
};

static double less(double a, double b) { return a < b ? a : b; }

/* Area averages: every source pixel counts by the area that it covers. */
static void shrink(const struct lafs_image *im, float *grey)
{
    for (int y = 0; y < SIDE; y++) {
        double y0 = (double)y * im->h / SIDE, y1 = (double)(y + 1) * im->h / SIDE;
        for (int x = 0; x < SIDE; x++) {
            double x0 = (double)x * im->w / SIDE, x1 = (double)(x + 1) * im->w / SIDE, sum = 0;
            for (int v = (int)y0; v < y1 && v < im->h; v++) {
                double fy = less(v + 1, y1) - (v > y0 ? v : y0);
                const uint8_t *p = im->px + ((size_t)v * (size_t)im->w + (size_t)x0) * 3;
                for (int u = (int)x0; u < x1 && u < im->w; u++, p += 3)
                    sum += fy * (less(u + 1, x1) - (u > x0 ? u : x0)) * (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]);
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

/* Coefficients of the window along the directions, those of FEW first; then the length of what remains beyond. */
static void project(const struct lafs_near *s, const float *win, float *out)
{
    float rows[WIN][8], all[8][8];
    double many = 0;
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
    for (int ring = 0; ring < 2; ring++)
        for (int v = 0; v < 8; v++)
            for (int u = 0; u < 8; u++) {
                if ((u < 4 && v < 4) != (ring == 0) || u + v == 0) continue;
                out[n++] = all[v][u];
                many += (double)all[v][u] * all[v][u];
            }
    out[MANY] = many < 1 ? (float)sqrt(1 - many) : 0;
}

/* Length of what remains beyond FEW. */
static float beyond_few(const float *many)
{
    double sum = 0;
    for (int k = FEW; k <= MANY; k++) sum += (double)many[k] * many[k];
    return (float)sqrt(sum);
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
    lafs_free(s->few);
    lafs_free(s->box);
    lafs_free(s);
}

lafs_status lafs_near_draw(const struct lafs_near *s, const struct lafs_image *im, struct lafs_near_picture **out,
                           struct lafs_err *err)
{
    struct lafs_near_picture *p;
    float win[WIN * WIN];
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    *out = p;
    shrink(im, p->grey);
    for (int w = 0; w < WINS; w++) {
        /* A flat window is at right angles to everything, with nothing remaining: its bound is 0. */
        if (!window(p->grey, w, win)) continue;
        project(s, win, p->many[w]);
    }
    return LAFS_OK;
}

void lafs_near_picture_free(struct lafs_near_picture *p) { lafs_free(p); }

#define NOWHERE 100.0f /* where the boxes of pictures are that do not exist */

/* Flat windows are at the origin, where they do no harm. */
static void put_box(struct boxes *b, int64_t at, const few_of few)
{
    if (at == 0)
        for (int k = 0; k <= FEW; k++)
            for (int i = 0; i < 4; i++) b->least[k][i] = b->most[k][i] = NOWHERE;
    for (int k = 0; k <= FEW; k++) {
        float least = few[0][k][0], most = least;
        for (int w = 1; w < WINS / 2; w++) {
            const float v = few[w / 4][k][w % 4];
            least = v < least ? v : least;
            most = v > most ? v : most;
        }
        b->least[k][at] = least;
        b->most[k][at] = most;
    }
}

lafs_status lafs_near_put(struct lafs_near *s, struct lafs_near_picture *p, struct lafs_err *err)
{
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 256;
        LAFS_TRY(lafs_resize(&s->picture, (size_t)s->cap, (size_t)cap, sizeof *s->picture, err));
        LAFS_TRY(lafs_resize(&s->few, (size_t)s->cap, (size_t)cap, sizeof *s->few, err));
        LAFS_TRY(lafs_resize(&s->box, (size_t)(s->cap / 4), (size_t)(cap / 4), sizeof *s->box, err));
        s->cap = cap;
    }
    memset(s->few[s->n], 0, sizeof *s->few);
    for (int w = 0; w < WINS; w++) {
        for (int k = 0; k < FEW; k++) s->few[s->n][w / 4][k][w % 4] = p->many[w][k];
        s->few[s->n][w / 4][FEW][w % 4] = beyond_few(p->many[w]);
    }
    put_box(&s->box[s->n / 4], s->n % 4, s->few[s->n]);
    s->picture[s->n++] = p;
    return LAFS_OK;
}

lafs_status lafs_near_add(struct lafs_near *s, const struct lafs_image *im, struct lafs_err *err)
{
    struct lafs_near_picture *p;
    LAFS_TRY(lafs_near_draw(s, im, &p, err));
    lafs_status st = lafs_near_put(s, p, err);
    if (st != LAFS_OK) lafs_near_picture_free(p);
    return st;
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t four_masks __attribute__((vector_size(16), may_alias));

/* The middle window of a picture, which is held against all windows of others. */
struct probe {
    float win[WIN * WIN], many[MANY + 1];
    four few[FEW + 1]; /* the first of many and the length of what remains beyond, each four times */
    four mirrored[FEW + 1]; /* the same of the mirror image */
};

/* many is there; the rest follows from it. */
static void spread(struct probe *a)
{
    for (int k = 0; k <= FEW; k++) {
        float v = k < FEW ? a->many[k] : beyond_few(a->many);
        a->few[k] = (four){v, v, v, v};
        /* An odd frequency along the rows; see the order in project. */
        a->mirrored[k] = k < FEW && (k + 1) % 2 ? -a->few[k] : a->few[k];
    }
}

static inline __attribute__((always_inline)) four positive(four x) { return (four)((four_masks)x & (x > 0)); }

/* near[i]: which of the four pictures may have a window whose distance from probe i, of n, or from its mirror image is
 * at most the root of `most`. Inlined for each n. */
static inline __attribute__((always_inline)) void near_boxes(const struct boxes *b, const struct probe *a, int n,
                                                             float most, four_masks *near)
{
    four square[2 * LAFS_NEAR_GROUP] = {{0}};
    for (int k = 0; k <= FEW; k++) {
        const four low = *(const four *)b->least[k], high = *(const four *)b->most[k];
        for (int i = 0; i < 2 * n; i++) {
            const four x = i < n ? a[i].few[k] : a[i - n].mirrored[k];
            const four off = positive(low - x) + positive(x - high);
            square[i] += off * off;
        }
    }
    for (int i = 0; i < n; i++) near[i] = (square[i] <= most) | (square[n + i] <= most);
}

static void near_boxes_of_one(const struct boxes *b, const struct probe *a, float most, four_masks *near)
{
    near_boxes(b, a, 1, most, near);
}

static void near_boxes_of_group(const struct boxes *b, const struct probe *a, float most, four_masks *near)
{
    near_boxes(b, a, LAFS_NEAR_GROUP, most, near);
}

/* Bounds of all windows by the first few directions. Returns whether any reaches `need`. */
static int bounds(const few_of few, const struct probe *a, float need, float *bound)
{
    four_masks reached = {0};
    for (int w = 0; w < WINS_PADDED / 4; w++) {
        four sum = a->few[FEW] * *(const four *)few[w][FEW];
        for (int k = 0; k < FEW; k++) sum += a->few[k] * *(const four *)few[w][k];
        *(four *)&bound[4 * w] = sum;
        reached |= sum >= need;
    }
    return (reached[0] | reached[1] | reached[2] | reached[3]) != 0;
}

static float bound_many(const float *a, const float *b)
{
    four sum = {0};
    for (int k = 0; k <= MANY; k += 4) sum += *(const four *)&a[k] * *(const four *)&b[k];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

static double correlation(const float *a, const struct lafs_near_picture *p, int w)
{
    float b[WIN * WIN];
    double sum = 0;
    if (!window(p->grey, w, b)) return -2;
    for (int i = 0; i < WIN * WIN; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* Picture i of the set, some of whose windows' bounds reach what is needed, against one probe. */
static void compare(const struct lafs_near *s, int64_t i, const struct probe *a, const float *bound, double min,
                    double *best, int64_t *which)
{
    const struct lafs_near_picture *p = s->picture[i];
    for (int w = 0; w < WINS; w++) {
        float need = (float)(*best > min ? *best : min) - SLACK;
        if (bound[w] < need || bound_many(a->many, p->many[w]) < need) continue;
        double c = correlation(a->win, p, w);
        if (c < min || c <= *best) continue;
        *best = c;
        *which = i;
    }
}

/* n: 1 or LAFS_NEAR_GROUP. */
static void best_of(const struct lafs_near *s, const struct probe *a, int n, int64_t from, double min, double *best,
                    int64_t *which)
{
    const float most = 2 - 2 * (float)min + BOX_SLACK;
    float bound[WINS_PADDED];
    four_masks near[LAFS_NEAR_GROUP];
    for (int k = 0; k < n; k++) {
        best[k] = -2;
        which[k] = -1;
    }
    for (int64_t four_of = from / 4; four_of * 4 < s->n; four_of++) {
        (n == 1 ? near_boxes_of_one : near_boxes_of_group)(&s->box[four_of], a, most, near);
        for (int k = 0; k < n; k++)
            for (int64_t i = 4 * four_of; i < 4 * four_of + 4; i++) {
                const float need = (float)(best[k] > min ? best[k] : min) - SLACK;
                if (i >= from && near[k][i % 4] && bounds(s->few[i], &a[k], need, bound))
                    compare(s, i, &a[k], bound, min, &best[k], &which[k]);
            }
    }
}

double lafs_near_best(const struct lafs_near *s, const struct lafs_image *im, double min, int64_t *which)
{
    float grey[SIDE * SIDE];
    struct probe a;
    double best;
    int64_t at;
    shrink(im, grey);
    if (!window(grey, MIDDLE, a.win)) return -2;
    project(s, a.win, a.many);
    spread(&a);
    best_of(s, &a, 1, 0, min, &best, &at);
    if (which && at >= 0) *which = at;
    return best;
}

void lafs_near_best_drawn(const struct lafs_near *s, struct lafs_near_picture *const *p, int n, int64_t from,
                          double min, double *best, int64_t *which)
{
    struct probe a[LAFS_NEAR_GROUP];
    double group_best[LAFS_NEAR_GROUP];
    int64_t group_which[LAFS_NEAR_GROUP];
    memset(a, 0, sizeof a); /* what is no picture, or a flat one, is at right angles to everything */
    for (int i = 0; i < n && i < LAFS_NEAR_GROUP; i++) {
        if (!p[i] || !window(p[i]->grey, MIDDLE, a[i].win)) continue;
        memcpy(a[i].many, p[i]->many[MIDDLE], sizeof a[i].many);
        spread(&a[i]);
    }
    best_of(s, a, n == 1 ? 1 : LAFS_NEAR_GROUP, from, min, group_best, group_which);
    memcpy(best, group_best, (size_t)n * sizeof *best);
    memcpy(which, group_which, (size_t)n * sizeof *which);
}
