#include "image/align.h"

#include <math.h>
#include <string.h>

#include "image/resize.h"

void lafs_align_template(int size, float points[10])
{
    static const float at112[10] = {38.2946f, 51.6963f, 73.5318f, 51.5014f, 56.0252f,
                                    71.7366f, 41.5493f, 92.3655f, 70.7299f, 92.2041f};
    for (int i = 0; i < 10; i++) points[i] = at112[i] * ((float)size / 112.0f);
}

/* With points as complex numbers less their means, q = a p + t, the least-squares a is sum(conj(p) q) / sum |p|^2. */
lafs_status lafs_similarity(const float *from, const float *to, int n, double m[6], struct lafs_err *err)
{
    double px = 0, py = 0, qx = 0, qy = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(from[2 * i]) || !isfinite(from[2 * i + 1]) || !isfinite(to[2 * i]) || !isfinite(to[2 * i + 1]))
            return lafs_fail(err, LAFS_BAD_RECORD, "a point is not finite");
        px += from[2 * i];
        py += from[2 * i + 1];
        qx += to[2 * i];
        qy += to[2 * i + 1];
    }
    if (n < 2) return lafs_fail(err, LAFS_BAD_RECORD, "alignment needs two points");
    px /= n, py /= n, qx /= n, qy /= n;
    double re = 0, im = 0, pp = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        double ax = from[2 * i] - px, ay = from[2 * i + 1] - py, bx = to[2 * i] - qx, by = to[2 * i + 1] - qy;
        re += ax * bx + ay * by;
        im += ax * by - ay * bx;
        pp += ax * ax + ay * ay;
        qq += bx * bx + by * by;
    }
    /* Relative to where the points are: what is left of coinciding ones is the rounding of their mean. */
    if (pp <= 1e-10 * (px * px + py * py + 1e-20) || qq <= 1e-10 * (qx * qx + qy * qy + 1e-20))
        return lafs_fail(err, LAFS_BAD_RECORD, "the points coincide");
    re /= pp, im /= pp;
    if (re * re + im * im <= 1e-12 * qq / pp)
        return lafs_fail(err, LAFS_BAD_RECORD, "no similarity brings the points together");
    m[0] = re, m[1] = -im, m[2] = qx - re * px + im * py;
    m[3] = im, m[4] = re, m[5] = qy - im * px - re * py;
    return LAFS_OK;
}

void lafs_affine_apply(const double m[6], const float *in, int n, float *out)
{
    for (int i = 0; i < n; i++) {
        double x = in[2 * i], y = in[2 * i + 1];
        out[2 * i] = (float)(m[0] * x + m[1] * y + m[2]);
        out[2 * i + 1] = (float)(m[3] * x + m[4] * y + m[5]);
    }
}

lafs_status lafs_affine_invert(const double m[6], double inv[6], struct lafs_err *err)
{
    double det = m[0] * m[4] - m[1] * m[3], r[6];
    r[0] = m[4] / det, r[1] = -m[1] / det, r[3] = -m[3] / det, r[4] = m[0] / det;
    r[2] = -(r[0] * m[2] + r[1] * m[5]);
    r[5] = -(r[3] * m[2] + r[4] * m[5]);
    for (int i = 0; i < 6; i++)
        if (!isfinite(r[i]) || !isnormal(det)) return lafs_fail(err, LAFS_BAD_RECORD, "a transform without an inverse");
    memcpy(inv, r, sizeof r);
    return LAFS_OK;
}

/* -- warping -- */

/* A source for sampling: pixels of the photo, or of a reduced part of it. */
struct plane {
    const uint8_t *px; /* (h, w, 3) */
    int w, h;
};

/* Columns [*from, *to) of a row of `n` for which lo <= c + s*x < hi, found by arithmetic, then made exact. */
static void inside(double c, double s, int n, double lo, double hi, int *from, int *to)
{
    double a = 0, b = n;
    if (s != 0) {
        double u = (lo - c) / s, v = (hi - c) / s;
        a = fmax(a, fmin(u, v) - 1);
        b = fmin(b, fmax(u, v) + 2);
    }
    int f = a < b ? (int)a : 0, t = a < b ? (int)ceil(b) : 0;
    while (f < t && !(c + s * f >= lo && c + s * f < hi)) f++;
    while (t > f && !(c + s * (t - 1) >= lo && c + s * (t - 1) < hi)) t--;
    if (f > *from) *from = f;
    if (t < *to) *to = t;
}

/* Bilinear at (sx, sy), taps outside are 0. */
static void sample_edge(const struct plane *p, double sx, double sy, uint8_t out[3])
{
    memset(out, 0, 3);
    if (!(sx > -1 && sy > -1 && sx < p->w && sy < p->h)) return;
    int x = (int)floor(sx), y = (int)floor(sy);
    float fx = (float)(sx - x), fy = (float)(sy - y), acc[3] = {0.5f, 0.5f, 0.5f};
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 2; i++) {
            if (x + i < 0 || y + j < 0 || x + i >= p->w || y + j >= p->h) continue;
            float weight = (i ? fx : 1 - fx) * (j ? fy : 1 - fy);
            const uint8_t *q = p->px + ((size_t)(y + j) * (size_t)p->w + (size_t)(x + i)) * 3;
            for (int k = 0; k < 3; k++) acc[k] += weight * (float)q[k];
        }
    for (int k = 0; k < 3; k++) out[k] = (uint8_t)acc[k];
}

/* Columns [from, to) of row y, whose four taps are all inside. */
static void sample_row(const struct plane *p, const double inv[6], int y, int from, int to, uint8_t *out)
{
    const double cx = inv[1] * y + inv[2], cy = inv[4] * y + inv[5];
    const size_t stride = (size_t)p->w * 3;
    for (int x = from; x < to; x++) {
        double sx = cx + inv[0] * x, sy = cy + inv[3] * x;
        int ix = (int)sx, iy = (int)sy;
        float fx = (float)(sx - ix), fy = (float)(sy - iy);
        float w11 = fx * fy, w01 = fx - w11, w10 = fy - w11, w00 = 1 - fx - w10;
        const uint8_t *q = p->px + (size_t)iy * stride + (size_t)ix * 3;
        for (int k = 0; k < 3; k++) {
            float v = 0.5f + w00 * (float)q[k] + w01 * (float)q[k + 3] + w10 * (float)q[stride + (size_t)k] +
                      w11 * (float)q[stride + (size_t)k + 3];
            out[3 * x + k] = (uint8_t)v;
        }
    }
}

static void warp(const struct plane *p, const double inv[6], struct lafs_image *out)
{
    for (int y = 0; y < out->h; y++) {
        double cx = inv[1] * y + inv[2], cy = inv[4] * y + inv[5];
        int from = 0, to = out->w;
        inside(cx, inv[0], out->w, 0, p->w - 1, &from, &to);
        inside(cy, inv[3], out->w, 0, p->h - 1, &from, &to);
        if (to < from) to = from;
        uint8_t *row = out->px + (size_t)y * (size_t)out->w * 3;
        for (int x = 0; x < from; x++) sample_edge(p, cx + inv[0] * x, cy + inv[3] * x, row + 3 * x);
        sample_row(p, inv, y, from, to, row);
        for (int x = to; x < out->w; x++) sample_edge(p, cx + inv[0] * x, cy + inv[3] * x, row + 3 * x);
    }
}

/* The part of the source that the output sees, in whole blocks of f x f pixels: block columns [x0, x1), rows [y0, y1).
 */
static void seen(const struct lafs_image *in, const double inv[6], const struct lafs_image *out, int f, int box[4])
{
    double lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        double x = i & 1 ? out->w - 1 : 0, y = i & 2 ? out->h - 1 : 0;
        for (int k = 0; k < 2; k++) {
            double v = inv[3 * k] * x + inv[3 * k + 1] * y + inv[3 * k + 2];
            lo[k] = fmin(lo[k], v);
            hi[k] = fmax(hi[k], v);
        }
    }
    const int side[2] = {in->w, in->h};
    for (int k = 0; k < 2; k++) {
        int blocks = (side[k] + f - 1) / f;
        double a = floor(lo[k] / f) - 2, b = ceil(hi[k] / f) + 3;
        box[k] = (int)fmin(fmax(a, 0), blocks);
        box[2 + k] = (int)fmax(fmin(b, blocks), box[k]);
    }
}

lafs_status lafs_warp_affine(const struct lafs_image *in, const double m[6], struct lafs_image *out,
                             struct lafs_err *err)
{
    double inv[6];
    LAFS_TRY(lafs_affine_invert(m, inv, err));
    struct plane p = {in->px, in->w, in->h};
    double shrink = sqrt(fabs(inv[0] * inv[4] - inv[1] * inv[3]));
    if (!(shrink > 2)) {
        warp(&p, inv, out);
        return LAFS_OK;
    }
    int f = 2;
    while (2.0 * f <= shrink && f < 32768) f *= 2;
    int box[4];
    seen(in, inv, out, f, box);
    struct lafs_image small = {0};
    LAFS_TRY(lafs_image_reduce(in, f, box, &small, err));
    p = (struct plane){small.px, small.w, small.h};
    /* Block b covers pixels f b .. f b + f-1; its centre is f b + (f-1)/2. */
    for (int k = 0; k < 2; k++) {
        inv[3 * k] /= f;
        inv[3 * k + 1] /= f;
        inv[3 * k + 2] = (inv[3 * k + 2] - (f - 1) / 2.0) / f - box[k];
    }
    warp(&p, inv, out);
    lafs_image_release(&small);
    return LAFS_OK;
}

void lafs_points68_to_5(const float *p68, float *p5)
{
    static const int from[5][2] = {{36, 39}, {42, 45}, {30, 30}, {48, 48}, {54, 54}};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 2; k++) p5[2 * i + k] = (p68[2 * from[i][0] + k] + p68[2 * from[i][1] + k]) / 2;
}

/* The point that stands where k stood, of 68. */
static int mirror_of(int k)
{
    static const uint8_t eye[12] = {45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40};
    if (k < 17) return 16 - k; /* jaw */
    if (k < 27) return 43 - k; /* brows */
    if (k < 31) return k;      /* bridge of the nose */
    if (k < 36) return 66 - k;
    if (k < 48) return eye[k - 36];
    if (k < 55) return 102 - k; /* lips: outer above, below, inner above, below */
    if (k < 60) return 114 - k;
    if (k < 65) return 124 - k;
    return 132 - k;
}

void lafs_points68_mirror(float *p68, float edge)
{
    float was[136];
    memcpy(was, p68, sizeof was);
    for (int k = 0; k < 68; k++) {
        p68[2 * k] = edge - was[2 * mirror_of(k)];
        p68[2 * k + 1] = was[2 * mirror_of(k) + 1];
    }
}

void lafs_points5_mirror(float *p5, float edge)
{
    static const int from[5] = {1, 0, 2, 4, 3};
    float was[10];
    memcpy(was, p5, sizeof was);
    for (int k = 0; k < 5; k++) {
        p5[2 * k] = edge - was[2 * from[k]];
        p5[2 * k + 1] = was[2 * from[k] + 1];
    }
}
