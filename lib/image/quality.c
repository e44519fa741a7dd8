#include "image/quality.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "image/align.h"

enum {
    SIDE = LAFS_QUALITY_SIDE,
    LEFT = 20, RIGHT = 92, TOP = 28, BOTTOM = 104, /* the middle of the face: brows to mouth, cheek to cheek */
    MIDDLE = (RIGHT - LEFT) * (BOTTOM - TOP),
    REACH = 15,     /* pixels to each side that the bands look at */
    LEAST_SEEN = 8, /* of less than such a part of the middle no sharpness is told */
    BINS = 1024 /* of the histogram whose median is the noise, in quarters of a level */
};
/* Variances of the bands of white noise whose own is 1, by their kernels: the finest one, and the two compared. */
#define NOISE_FINEST 0.6406
#define NOISE_FINE 0.0745
#define NOISE_COARSE 0.0246
#define SHARP 0.45     /* ratio of the bands in well focused faces */
#define WELL_REFINED 0.6 /* the refiner's confidence at an error of 0.05, about its median */
/* From places of the nose to tangents of angles: fitted to 400 rendered heads. */
#define YAW_PER_NOSE 1.52
#define PITCH_PER_NOSE (-1.13)
#define NOSE_LEVEL 0.523 /* of the way from eyes to mouth, facing the camera */

void lafs_points5_pose(const float p[10], double *yaw, double *pitch, double *roll)
{
    /* Right: along eyes and mouth. */
    double rx = (double)p[2] - p[0] + p[8] - p[6], ry = (double)p[3] - p[1] + p[9] - p[7], n = hypot(rx, ry);
    double ex = ((double)p[0] + p[2]) / 2, ey = ((double)p[1] + p[3]) / 2;
    double mx = ((double)p[6] + p[8]) / 2 - ex, my = ((double)p[7] + p[9]) / 2 - ey, nx = p[4] - ex, ny = p[5] - ey;
    rx /= n, ry /= n;
    double wide = ((double)p[2] - p[0]) * rx + ((double)p[3] - p[1]) * ry, high = my * rx - mx * ry;
    double down = (ny * rx - nx * ry) / high;
    double aside = (nx * rx + ny * ry - down * (mx * rx + my * ry)) / wide;
    const double degrees = 180 / M_PI;
    *roll = atan2(ry, rx) * degrees;
    *yaw = atan(YAW_PER_NOSE * aside) * degrees;
    *pitch = atan(PITCH_PER_NOSE * (down - NOSE_LEVEL)) * degrees;
    if (!(wide > 0 && high > 0)) *yaw = *pitch = NAN;
}

/* (1 2 1)/4 along rows and columns, taps `step` apart, the edge going on outside. from, to, mid: (SIDE,SIDE). */
static void smooth(const float *from, int step, float *mid, float *to)
{
    for (int y = 0; y < SIDE; y++) {
        const float *p = from + y * SIDE;
        float *q = mid + y * SIDE;
        for (int x = step; x < SIDE - step; x++) q[x] = 0.25f * (p[x - step] + p[x + step]) + 0.5f * p[x];
        for (int x = 0; x < step; x++) {
            q[x] = 0.25f * (p[0] + p[x + step]) + 0.5f * p[x];
            q[SIDE - 1 - x] = 0.25f * (p[SIDE - 1] + p[SIDE - 1 - x - step]) + 0.5f * p[SIDE - 1 - x];
        }
    }
    for (int y = 0; y < SIDE; y++) {
        const float *a = mid + (y < step ? 0 : y - step) * SIDE, *b = mid + y * SIDE;
        const float *c = mid + (y + step < SIDE ? y + step : SIDE - 1) * SIDE;
        float *q = to + y * SIDE;
        for (int x = 0; x < SIDE; x++) q[x] = 0.25f * (a[x] + c[x]) + 0.5f * b[x];
    }
}

/* Mean square of a - b over the middle, where `counts` is 1 (n pixels). */
static double band(const float *a, const float *b, const float *counts, int n)
{
    double sum = 0;
    for (int y = TOP; y < BOTTOM; y++) {
        float row = 0;
        for (int x = LEFT; x < RIGHT; x++) {
            float d = a[y * SIDE + x] - b[y * SIDE + x];
            row += d * d * counts[y * SIDE + x];
        }
        sum += (double)row;
    }
    return sum / n;
}

/* Variance of white noise that has the median of |a - b|: edges, which are few, do not count. */
static double noise_of(const float *a, const float *b, const float *counts, int n)
{
    int count[BINS] = {0}, k = 0;
    for (int y = TOP; y < BOTTOM; y++)
        for (int x = LEFT; x < RIGHT; x++) {
            if (!(counts[y * SIDE + x] > 0)) continue;
            int bin = (int)(4 * fabsf(a[y * SIDE + x] - b[y * SIDE + x]));
            count[bin < BINS ? bin : BINS - 1]++;
        }
    for (int sum = 0; k < BINS - 1; k++)
        if ((sum += count[k]) > n / 2) break;
    double sigma = 1.4826 * k / 4;
    return sigma * sigma / NOISE_FINEST;
}

/* -- what of the crop the photo holds -- */

struct inside {
    double m[6]; /* crop -> photo */
    int w, h;    /* of the photo */
};
/* Half a pixel beyond the outermost is theirs. */
static int holds(const struct inside *in, int x, int y)
{
    double u = in->m[0] * x + in->m[1] * y + in->m[2], v = in->m[3] * x + in->m[4] * y + in->m[5];
    return u >= -0.5 && v >= -0.5 && u <= in->w - 0.5 && v <= in->h - 0.5;
}
static int clamped(int v) { return v < 0 ? 0 : v >= SIDE ? SIDE - 1 : v; }

/* The photo's part of the crop is convex: it holds a square where it holds the square's corners. */
static int holds_around(const struct inside *in, int x, int y, int reach)
{
    int x0 = clamped(x - reach), x1 = clamped(x + reach), y0 = clamped(y - reach), y1 = clamped(y + reach);
    return holds(in, x0, y0) && holds(in, x1, y0) && holds(in, x0, y1) && holds(in, x1, y1);
}

/* counts (SIDE,SIDE): 1 where all that the bands look at is in the photo, of the middle; returns how many. */
static int where_to_look(const struct inside *in, float *counts)
{
    int n = 0, all = holds_around(in, SIDE / 2, SIDE / 2, SIDE);
    for (int y = TOP; y < BOTTOM; y++)
        for (int x = LEFT; x < RIGHT; x++) {
            int yes = all || holds_around(in, x, y, REACH);
            counts[y * SIDE + x] = (float)yes;
            n += yes;
        }
    return n;
}

static double share_inside(const struct inside *in)
{
    int n = 0;
    for (int y = TOP; y < BOTTOM; y++)
        for (int x = LEFT; x < RIGHT; x++) n += holds(in, x, y);
    return n / (double)MIDDLE;
}

/* Mean squares of two bands of spatial frequency, of about 3 pixels and of 6 to 12, over the middle of the face, less
 * what the noise (estimated from the finest band's median) adds to each; the square root of their ratio, in units of
 * SHARP, which a well focused face reaches. */
static lafs_status sharpness(const struct lafs_image *crop, const struct inside *in, float *out, struct lafs_err *err)
{
    enum { N = SIDE * SIDE };
    float *v;
    if (crop->w != SIDE || crop->h != SIDE) return lafs_fail(err, LAFS_USAGE, "the crop is not %d x %d", SIDE, SIDE);
    LAFS_TRY(lafs_alloc(&v, (size_t)7 * N, sizeof *v, err));
    float *level[5] = {v, v + N, v + 2 * N, v + 3 * N, v + 4 * N}, *counts = v + 6 * N;
    int n = where_to_look(in, counts);
    for (int i = 0; i < N; i++) {
        const uint8_t *p = crop->px + 3 * i;
        level[0][i] = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
    }
    double fine = 0, coarse = 0;
    if (n >= MIDDLE / LEAST_SEEN) {
        for (int k = 0; k < 4; k++) smooth(level[k], 1 << k, v + 5 * N, level[k + 1]);
        double noise = noise_of(level[0], level[1], counts, n);
        fine = band(level[1], level[2], counts, n) - NOISE_FINE * noise;
        coarse = band(level[2], level[4], counts, n) - NOISE_COARSE * noise;
    }
    lafs_free(v);
    *out = fine > 0 && coarse > 0 ? (float)fmin(1, sqrt(fine / coarse) / SHARP) : 0;
    return LAFS_OK;
}

lafs_status lafs_quality_of(const struct lafs_image *crop, const struct lafs_image *photo, const double m[6],
                            const float points[10], double score, double refined, struct lafs_quality *q,
                            struct lafs_err *err)
{
    double yaw, pitch, roll, scale = sqrt(fabs(m[0] * m[4] - m[1] * m[3]));
    struct inside in = {.w = photo->w, .h = photo->h};
    LAFS_TRY(lafs_affine_invert(m, in.m, err));
    LAFS_TRY(sharpness(crop, &in, &q->sharpness, err));
    lafs_points5_pose(points, &yaw, &pitch, &roll);
    double turned = cos(yaw * M_PI / 180) * cos(pitch * M_PI / 180) * (1 + cos(roll * M_PI / 180)) / 2;
    q->size = (float)(share_inside(&in) / fmax(scale, 1));
    q->pose = isfinite(turned) ? (float)fmax(turned, 0) : 0;
    q->sure = (float)((score < 0 ? 1 : fmin(score, 1)) * (refined < 0 ? 1 : fmin(refined / WELL_REFINED, 1)));
    q->value = floor(1e4 * q->size * q->sharpness * q->pose * q->sure + 0.5) / 1e4;
    return LAFS_OK;
}
