#include "synth/raster.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

lafs_status raster_init(struct raster *r, int w, int h, struct lafs_err *err)
{
    *r = (struct raster){.w = w, .h = h};
    size_t n = (size_t)w * (size_t)h;
    LAFS_TRY(lafs_alloc0(&r->z, n, sizeof *r->z, err));
    LAFS_TRY(lafs_alloc(&r->id, n, sizeof *r->id, err));
    LAFS_TRY(lafs_alloc(&r->b1, n, sizeof *r->b1, err));
    LAFS_TRY(lafs_alloc(&r->b2, n, sizeof *r->b2, err));
    memset(r->id, 0xff, n * sizeof *r->id);
    r->x0 = w, r->y0 = h;
    return LAFS_OK;
}

void raster_release(struct raster *r)
{
    lafs_free(r->z);
    lafs_free(r->id);
    lafs_free(r->b1);
    lafs_free(r->b2);
    *r = (struct raster){0};
}

static void clear(struct raster *r, int depth)
{
    for (int y = r->y0; y < r->y1; y++) {
        size_t at = (size_t)y * (size_t)r->w + (size_t)r->x0, n = (size_t)(r->x1 - r->x0);
        if (depth) memset(r->z + at, 0, n * sizeof *r->z);
        memset(r->id + at, 0xff, n * sizeof *r->id);
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
    int x0 = lox > 0 ? (int)ceilf(lox) : 0, x1 = hix < (float)(r->w - 1) ? (int)hix : r->w - 1;
    int y0 = loy > 0 ? (int)ceilf(loy) : 0, y1 = hiy < (float)(r->h - 1) ? (int)hiy : r->h - 1;
    if (x0 > x1 || y0 > y1) return;
    if (x0 < r->x0) r->x0 = x0;
    if (y0 < r->y0) r->y0 = y0;
    if (x1 >= r->x1) r->x1 = x1 + 1;
    if (y1 >= r->y1) r->y1 = y1 + 1;
    float inv = 1 / area;
    /* weights of vertices 1 and 2 as linear functions of the pixel */
    float ax = (y[2] - y[0]) * inv, ay = -(x[2] - x[0]) * inv;
    float bx = -(y[1] - y[0]) * inv, by = (x[1] - x[0]) * inv;
    float dz1 = z[1] - z[0], dz2 = z[2] - z[0];
    const float eps = -1e-4f;
    for (int py = y0; py <= y1; py++) {
        size_t row = (size_t)py * (size_t)r->w;
        float oy = (float)py - y[0];
        for (int px = x0; px <= x1; px++) {
            float ox = (float)px - x[0];
            float u = ox * ax + oy * ay, v = ox * bx + oy * by;
            if (u < eps || v < eps || u + v > 1 - eps) continue;
            float near = z[0] + u * dz1 + v * dz2;
            size_t at = row + (size_t)px;
            if (near <= r->z[at]) continue;
            r->z[at] = near;
            r->id[at] = id;
            r->b1[at] = u;
            r->b2[at] = v;
        }
    }
}

void raster_draw(struct raster *r, const float *p, int nv, const int32_t *tri, int n, int base, int front,
                 const uint8_t *skip)
{
    const float *X = p, *Y = p + nv, *Z = p + 2 * (size_t)nv;
    for (int k = 0; k < n; k++) {
        int a = tri[3 * k], b = tri[3 * k + 1], c = tri[3 * k + 2];
        float area = (X[b] - X[a]) * (Y[c] - Y[a]) - (X[c] - X[a]) * (Y[b] - Y[a]);
        if (front > 0 ? area <= 1e-6f : front < 0 ? area >= -1e-6f : fabsf(area) < 1e-6f) continue;
        if (skip && skip[a] && skip[b] && skip[c]) continue;
        float x[3] = {X[a], X[b], X[c]}, y[3] = {Y[a], Y[b], Y[c]}, z[3] = {Z[a], Z[b], Z[c]};
        fill(r, x, y, z, area, base + k);
    }
}
