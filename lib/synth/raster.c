#include "synth/raster.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "synth/fast.h"

lafs_status lafs_synth_raster_init(struct raster *r, int w, int h, struct lafs_err *err)
{
    *r = (struct raster){.w = w, .h = h, .stride = (w + 3) / 4 * 4, .x1 = w, .y1 = h};
    size_t n = (size_t)r->stride * (size_t)h;
    LAFS_TRY(lafs_alloc(&r->z, n, sizeof *r->z, err));
    LAFS_TRY(lafs_alloc(&r->id, n, sizeof *r->id, err));
    LAFS_TRY(lafs_alloc(&r->weight, n, sizeof *r->weight, err));
    memset(r->weight, 0, n * sizeof *r->weight);
    lafs_synth_raster_clear(r);
    return LAFS_OK;
}

void lafs_synth_raster_release(struct raster *r)
{
    lafs_free(r->z);
    lafs_free(r->id);
    lafs_free(r->weight);
    *r = (struct raster){0};
}

static void clear(struct raster *r, int depth)
{
    for (int y = r->y0; y < r->y1; y++) {
        size_t at = (size_t)y * (size_t)r->stride + (size_t)r->x0, n = (size_t)(r->x1 - r->x0);
        if (depth) memset(r->z + at, 0, n * sizeof *r->z);
        memset(r->id + at, 0xff, n * sizeof *r->id);
    }
}

void lafs_synth_raster_clear(struct raster *r)
{
    clear(r, 1);
    r->x0 = r->w, r->y0 = r->h;
    r->x1 = r->y1 = 0;
}

void lafs_synth_raster_forget(struct raster *r) { clear(r, 0); }

static inline float min3(float a, float b, float c)
{
    float m = a < b ? a : b;
    return m < c ? m : c;
}

static inline float max3(float a, float b, float c)
{
    float m = a > b ? a : b;
    return m > c ? m : c;
}

/* One triangle; p[0..2] are x, y, nearness of its vertices. */
static inline void fill(struct raster *r, const float x[3], const float y[3], const float z[3], float area, int32_t id)
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
    const vec4 lanes = {0, 1, 2, 3}, eps = {-1e-4f, -1e-4f, -1e-4f, -1e-4f};
    const vec4i number = {id, id, id, id};
    float dz1 = z[1] - z[0], dz2 = z[2] - z[0];
    /* Four pixels at a time, at multiples of four, without a branch: most triangles are a few pixels small. */
    int from = x0 & ~3;
    vec4 offset = lanes + (float)(from - x0);
    for (int py = y0; py <= y1; py++, u0 += uy, v0 += vy) {
        size_t row = (size_t)py * (size_t)r->stride;
        vec4 u = u0 + offset * ux, v = v0 + offset * vx;
        for (int px = from; px <= x1; px += 4, u += 4 * ux, v += 4 * vx) {
            vec4 *zs = (vec4 *)(r->z + row + px), near = z[0] + u * dz1 + v * dz2, old = *zs;
            vec4i *ids = (vec4i *)(r->id + row + px), *weights = (vec4i *)(r->weight + row + px);
            vec4i in = (u >= eps) & (v >= eps) & ((1 - u - v) >= eps) & (near > old);
            vec4i pack = (__builtin_convertvector((u + 0.01f) * 60000, vec4i) << 16) |
                         __builtin_convertvector((v + 0.01f) * 60000, vec4i);
            *zs = (vec4)((in & (vec4i)near) | (~in & (vec4i)old));
            *ids = (in & number) | (~in & *ids);
            *weights = (in & pack) | (~in & *weights);
        }
    }
}

FAST static void draw(struct raster *r, const float *p, int nv, const int32_t *tri, int n, int base, int front,
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

void lafs_synth_raster_draw(struct raster *r, const float *p, int v, const int32_t *tri, int n, int base, int front,
                 const uint8_t *skip)
{
    draw(r, p, v, tri, n, base, front, skip);
}
