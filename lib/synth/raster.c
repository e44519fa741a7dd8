#include "synth/raster.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

lafs_status raster_init(struct raster *r, int w, int h, struct lafs_err *err)
{
    *r = (struct raster){.w = w, .h = h, .x1 = w, .y1 = h};
    LAFS_TRY(lafs_alloc(&r->px, (size_t)w * (size_t)h, sizeof *r->px, err));
    raster_clear(r);
    return LAFS_OK;
}

void raster_release(struct raster *r)
{
    lafs_free(r->px);
    *r = (struct raster){0};
}

static void clear(struct raster *r, int depth)
{
    for (int y = r->y0; y < r->y1; y++) {
        struct seen *row = r->px + (size_t)y * (size_t)r->w;
        if (depth)
            for (int x = r->x0; x < r->x1; x++) row[x] = (struct seen){0, -1, 0, 0};
        else
            for (int x = r->x0; x < r->x1; x++) row[x].id = -1;
    }
}

void raster_clear(struct raster *r)
{
    clear(r, 1);
    r->x0 = r->w, r->y0 = r->h;
    r->x1 = r->y1 = 0;
}

void raster_forget(struct raster *r) { clear(r, 0); }

static float min3(float a, float b, float c) { return a < b ? (a < c ? a : c) : (b < c ? b : c); }
static float max3(float a, float b, float c) { return a > b ? (a > c ? a : c) : (b > c ? b : c); }

/* One triangle; p[0..2] are x, y, nearness of its vertices. */
static void fill(struct raster *r, const float x[3], const float y[3], const float z[3], float area, int32_t id)
{
    float lox = min3(x[0], x[1], x[2]), hix = max3(x[0], x[1], x[2]);
    float loy = min3(y[0], y[1], y[2]), hiy = max3(y[0], y[1], y[2]);
    if (!(hix >= 0) || !(hiy >= 0) || !(lox <= (float)(r->w - 1)) || !(loy <= (float)(r->h - 1))) return;
    int x0 = lox > 0 ? (int)lox : 0, x1 = hix < (float)(r->w - 1) ? (int)hix : r->w - 1;
    int y0 = loy > 0 ? (int)loy : 0, y1 = hiy < (float)(r->h - 1) ? (int)hiy : r->h - 1;
    x0 += (float)x0 < lox, y0 += (float)y0 < loy;
    if (x0 > x1 || y0 > y1) return;
    if (x0 < r->x0) r->x0 = x0;
    if (y0 < r->y0) r->y0 = y0;
    if (x1 >= r->x1) r->x1 = x1 + 1;
    if (y1 >= r->y1) r->y1 = y1 + 1;
    /* The weights of the three vertices are linear in the pixel: value at (x0, y0), slopes along x and y. */
    float inv = 1 / area, ox = (float)x0 - x[0], oy = (float)y0 - y[0];
    float ux = (y[2] - y[0]) * inv, uy = (x[0] - x[2]) * inv, vx = (y[0] - y[1]) * inv, vy = (x[1] - x[0]) * inv;
    float u0 = ox * ux + oy * uy, v0 = ox * vx + oy * vy;
    float at[3] = {u0, v0, 1 - u0 - v0}, sx[3] = {ux, vx, -ux - vx}, sy[3] = {uy, vy, -uy - vy}, solve[3];
    for (int e = 0; e < 3; e++) solve[e] = sx[e] > 1e-12f || sx[e] < -1e-12f ? -1 / sx[e] : 0;
    float dz1 = z[1] - z[0], dz2 = z[2] - z[0], wide = (float)(x1 - x0);
    for (int py = y0; py <= y1; py++) {
        float lo = 0, hi = wide;
        for (int e = 0; e < 3; e++) { /* where the weight is at least nearly 0 */
            float edge = (at[e] + 1e-4f) * solve[e];
            if (sx[e] > 1e-12f) lo = edge > lo ? edge : lo;
            else if (sx[e] < -1e-12f) hi = edge < hi ? edge : hi;
            else if (at[e] < -1e-4f) hi = -1;
        }
        if (lo <= hi) {
            int from = (int)lo, to = (int)hi;
            from += (float)from < lo;
            struct seen *row = r->px + (size_t)py * (size_t)r->w + (size_t)x0;
            for (int k = from; k <= to; k++) {
                float u = at[0] + (float)k * sx[0], v = at[1] + (float)k * sx[1], near = z[0] + u * dz1 + v * dz2;
                if (near > row[k].z) row[k] = (struct seen){near, id, u, v};
            }
        }
        for (int e = 0; e < 3; e++) at[e] += sy[e];
    }
}

void raster_draw(struct raster *r, const float *p, int nv, const int32_t *tri, int n, int base, int front,
                 const uint8_t *skip)
{
    const float *X = p, *Y = p + nv, *Z = p + 2 * (size_t)nv;
    for (int k = 0; k < n; k++) {
        int a = tri[3 * k], b = tri[3 * k + 1], c = tri[3 * k + 2];
        if (skip && skip[a] && skip[b] && skip[c]) continue;
        float area = (X[b] - X[a]) * (Y[c] - Y[a]) - (X[c] - X[a]) * (Y[b] - Y[a]);
        if (front > 0 ? area <= 1e-6f : front < 0 ? area >= -1e-6f : fabsf(area) < 1e-6f) continue;
        float x[3] = {X[a], X[b], X[c]}, y[3] = {Y[a], Y[b], Y[c]}, z[3] = {Z[a], Z[b], Z[c]};
        fill(r, x, y, z, area, base + k);
    }
}
