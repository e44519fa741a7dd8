/* Light on vertices, and shadows. */
#include <math.h>
#include <string.h>

#include "synth/fast.h"
#include "synth/figure.h"

static const float shadow_cell = 4.2f, shadow_origin = -SHADOW_N * 4.2f / 2;

/* One channel: ambient, key and second light at n normals. */
struct channel {
    float mid, up, side, key, fill, wrap, inv; /* inv: 1 / (1 + wrap) */
    const float *d0, *d1;
};

FAST static void diffuse(const struct channel *c, int n, const float *restrict normal, const float *restrict ao,
                         const float *restrict key, float *restrict out)
{
    const float *nx = normal, *ny = normal + n, *nz = normal + 2 * (size_t)n;
    const float x0 = c->d0[0], y0 = c->d0[1], z0 = c->d0[2], x1 = c->d1[0], y1 = c->d1[1], z1 = c->d1[2];
    for (int i = 0; i < n; i++) {
        float a = (c->mid - c->up * ny[i] + c->side * nx[i]) * ao[i];
        float e0 = (nx[i] * x0 + ny[i] * y0 + nz[i] * z0 + c->wrap) * c->inv;
        float e1 = (nx[i] * x1 + ny[i] * y1 + nz[i] * z1 + c->wrap) * c->inv;
        e0 = e0 > 0 ? e0 : 0;
        e1 = e1 > 0 ? e1 : 0;
        a = a > 0 ? a : 0;
        out[i] = a + c->key * e0 * key[i] * (0.45f + 0.55f * ao[i]) + c->fill * e1 * ao[i];
    }
}

/* h: the unit vectors half way between the lights and the camera. */
FAST static void mirror(const float h[LIGHTS][3], const float strength[3], int n, const float *restrict normal,
                        const float *restrict ao, const float *restrict key, float *restrict gloss)
{
    const float *nx = normal, *ny = normal + n, *nz = normal + 2 * (size_t)n;
    for (int i = 0; i < n; i++) {
        float a = nx[i] * h[0][0] + ny[i] * h[0][1] + nz[i] * h[0][2],
              b = nx[i] * h[1][0] + ny[i] * h[1][1] + nz[i] * h[1][2];
        float edge = nz[i] > 0 ? 1 - nz[i] : 1;
        a = a > 0 ? a : 0;
        b = b > 0 ? b : 0;
        a *= a, a *= a, a *= a, b *= b, b *= b, b *= b; /* 8th power */
        float tight = a * a * a * a;                    /* 32nd */
        edge *= edge;
        gloss[i] =
            strength[0] * (0.35f * a + 0.65f * tight) * key[i] + strength[1] * b + strength[2] * edge * edge * ao[i];
    }
}

void lafs_synth_light_vertices(const struct lighting *l, int n, const float *normal, const float *ao, const float *key,
                    const float wrap[3], float *rgb, float *gloss)
{
    for (int c = 0; c < 3; c++) {
        struct channel ch = {0.5f * (l->sky[c] + l->ground[c]),
                             0.5f * (l->sky[c] - l->ground[c]),
                             l->side[c],
                             l->colour[0][c],
                             l->colour[1][c],
                             wrap[c],
                             1 / (1 + wrap[c]),
                             l->dir[0],
                             l->dir[1]};
        diffuse(&ch, n, normal, ao, key, rgb + (size_t)c * (size_t)n);
    }
    float half[LIGHTS][3];
    for (int k = 0; k < LIGHTS; k++) {
        float h[3] = {l->dir[k][0], l->dir[k][1], l->dir[k][2] + 1};
        float g = 1 / sqrtf(h[0] * h[0] + h[1] * h[1] + h[2] * h[2] + 1e-6f);
        for (int c = 0; c < 3; c++) half[k][c] = h[c] * g;
    }
    const float strength[3] = {l->colour[0][1], 0.5f * l->colour[1][1], 0.4f * (l->sky[1] + l->ground[1])};
    mirror((const float (*)[3])half, strength, n, normal, ao, key, gloss);
}

void lafs_synth_shadow_begin(struct figure *f, const struct lighting *l)
{
    const float *d = l->dir[0];
    float flat = sqrtf(d[0] * d[0] + d[2] * d[2]) + 1e-6f;
    float u[3] = {d[2] / flat, 0, -d[0] / flat};
    memcpy(f->shadow_u, u, sizeof u);
    f->shadow_w[0] = d[1] * u[2];
    f->shadow_w[1] = d[2] * u[0] - d[0] * u[2];
    f->shadow_w[2] = -d[1] * u[0];
    memcpy(f->shadow_d, d, 3 * sizeof(float));
    for (int i = 0; i < SHADOW_N * SHADOW_N; i++) f->shadow[i] = -1e9f;
}

static void place(const struct figure *f, float x, float y, float z, float out[3])
{
    const float *u = f->shadow_u, *w = f->shadow_w, *d = f->shadow_d;
    y -= 15;
    out[0] = (x * u[0] + y * u[1] + z * u[2] - shadow_origin) / shadow_cell;
    out[1] = (x * w[0] + y * w[1] + z * w[2] - shadow_origin) / shadow_cell;
    out[2] = x * d[0] + y * d[1] + z * d[2];
}

/* turn: 1 leaves out triangles that are clockwise in the map, -1 the others, 0 none. */
static void cast_triangle(float *map, const float *a, const float *b, const float *c, float turn)
{
    float lox = minf(minf(a[0], b[0]), c[0]), hix = maxf(maxf(a[0], b[0]), c[0]);
    float loy = minf(minf(a[1], b[1]), c[1]), hiy = maxf(maxf(a[1], b[1]), c[1]);
    int x0 = lox > 0 ? (int)lox : 0, x1 = hix < SHADOW_N - 1 ? (int)hix : SHADOW_N - 1;
    int y0 = loy > 0 ? (int)loy : 0, y1 = hiy < SHADOW_N - 1 ? (int)hiy : SHADOW_N - 1;
    x0 += (float)x0 < lox, y0 += (float)y0 < loy;
    float area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    if (fabsf(area) < 1e-4f || area * turn > 0) return;
    float inv = 1 / area;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            float ox = (float)x - a[0], oy = (float)y - a[1];
            float u = (ox * (c[1] - a[1]) - (c[0] - a[0]) * oy) * inv,
                  v = ((b[0] - a[0]) * oy - ox * (b[1] - a[1])) * inv;
            if (u < -0.001f || v < -0.001f || u + v > 1.001f) continue;
            float z = a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2]);
            if (z > map[y * SHADOW_N + x]) map[y * SHADOW_N + x] = z;
        }
}

void lafs_synth_shadow_cast(struct figure *f, const float *pos, int cols, int rows, int step, float side)
{
    int v = cols * rows;
    float line[2][HEAD_COLS][3];
    for (int i = 0, turn = 0; i < rows; i += step, turn ^= 1) {
        int n = 0;
        for (int j = 0; j < cols; j += step, n++) {
            int k = i * cols + j;
            place(f, pos[k], pos[v + k], pos[2 * v + k], line[turn][n]);
        }
        if (i == 0) continue;
        for (int j = 0; j + 1 < n; j++) {
            cast_triangle(f->shadow, line[turn ^ 1][j], line[turn ^ 1][j + 1], line[turn][j], side);
            cast_triangle(f->shadow, line[turn ^ 1][j + 1], line[turn][j + 1], line[turn][j], side);
        }
    }
}

/* Share of the 3 x 3 cells about a place that lie before z, of 4 x 4 from map on: between the cells bilinear. */
static inline float covered(const float *map, float z, float inv, float fx, float fy)
{
    const float wy[4] = {1 - fy, 1, 1, fy};
    const vec4 none = {0, 0, 0, 0}, full = {1, 1, 1, 1};
    vec4 sum = none;
    for (int e = 0; e < 4; e++, map += SHADOW_N) {
        vec4 over = (*(const vec4 *)map - z) * inv;
        sum += vec4_min(vec4_max(over, none), full) * wy[e];
    }
    return (sum[0] * (1 - fx) + sum[1] + sum[2] + sum[3] * fx) * (1.0f / 9);
}

void lafs_synth_shadow_read(const struct figure *f, const struct lighting *l, int n, const float *pos,
                            const float *normal, float *key)
{
    float inv = 1 / (3 + 9 * l->soft);
    for (int k = 0; k < n; k++) {
        float cosine = normal[k] * f->shadow_d[0] + normal[n + k] * f->shadow_d[1] + normal[2 * n + k] * f->shadow_d[2];
        if (cosine < -0.35f || normal[2 * n + k] < -0.3f) { /* in its own shadow, or not seen */
            key[k] = 0.3f;
            continue;
        }
        float p[3];
        place(f, pos[k], pos[n + k], pos[2 * n + k], p);
        int x = (int)p[0], y = (int)p[1];
        if (p[0] < 1 || p[1] < 1 || x >= SHADOW_N - 2 || y >= SHADOW_N - 2) {
            key[k] = 1;
            continue;
        }
        float slope = 2.2f / (maxf(cosine, 0) + 0.25f), fx = p[0] - (float)x, fy = p[1] - (float)y;
        key[k] = 1 - covered(&f->shadow[(y - 1) * SHADOW_N + x - 1], p[2] + 2.5f + slope, inv, fx, fy);
    }
}
