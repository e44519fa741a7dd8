#include "synth/head.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "synth/fast.h"
#include "synth/shape.h"

/* Right half of the columns and all rows of the grid: dense where a face has its features. */
static const float half_s[] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18.5f, 21, 23.5f, 26, 28.5f, 31,  34,  37,  40,
                               43.5f, 47, 51, 56, 62, 69, 77, 86, 96, 106, 116, 126, 137, 150, 175, 215, HEAD_S_MAX};
static const float all_t[] = {-119.5f, -117,   -111,  -102,  -91,   -80,   -70, -60,   -50,   -42,   -36,   -31,
                              -27,     -23.5f, -20,   -17,   -14,   -11,   -8,  -5.5f, -3,    -0.5f, 2,     4.5f,
                              7.5f,    11,     15,    19,    23,    27,    30,  33,    35.5f, 38,    40.5f, 43,
                              45.5f,   48.5f,  52,    56,    59.5f, 62.5f, 65,  67.3f, 69,    69.8f, 70.2f, 71.2f,
                              73,      75.3f,  77.8f, 80.5f, 84,    88,    93,  98,    103,   108,   112,   HEAD_T_JAW,
                              118,     122,    128,   137,   150,   165,   182};
_Static_assert(sizeof half_s / sizeof *half_s == HEAD_COLS / 2 + 1, "columns");
_Static_assert(sizeof all_t / sizeof *all_t == HEAD_ROWS, "rows");

float lafs_synth_curve(const float (*k)[2], int n, float x)
{
    if (x <= k[0][0]) return k[0][1];
    if (x >= k[n - 1][0]) return k[n - 1][1];
    int i = 0;
    while (x > k[i + 1][0]) i++;
    float h = k[i + 1][0] - k[i][0], d = (k[i + 1][1] - k[i][1]) / h;
    float m[2];
    for (int e = 0; e < 2; e++) { /* slopes: harmonic means of the neighbours', 0 at extremes (Fritsch and Butland) */
        int a = i + e;
        if (a == 0 || a == n - 1) {
            m[e] = d;
            continue;
        }
        float l = (k[a][1] - k[a - 1][1]) / (k[a][0] - k[a - 1][0]);
        float r = (k[a + 1][1] - k[a][1]) / (k[a + 1][0] - k[a][0]);
        m[e] = l * r > 0 ? 2 * l * r / (l + r) : 0;
    }
    float u = (x - k[i][0]) / h, v = 1 - u;
    return k[i][1] * (1 + 2 * u) * v * v + k[i + 1][1] * u * u * (3 - 2 * u) +
           h * (m[0] * u * v * v - m[1] * u * u * v);
}

/* The solid without features: at height y a superellipse of half-width w about z = zc, reaching zf in front and zb
 * behind. */
struct section {
    float w, zc, zf, zb, nf;
};

static struct section section_at(float y)
{
    static const float w[][2] = {{-120, 0},   {-119, 13}, {-117, 24}, {-112, 38}, {-104, 53}, {-92, 64}, {-75, 71.5f},
                                 {-55, 75},   {-30, 75},  {-10, 72.5f}, {10, 71.5f}, {25, 70.5f}, {40, 68.5f}, {55, 66},
                                 {70, 62.5f}, {82, 58.5f}, {92, 53}, {100, 46}, {106, 38}, {111, 29}, {115, 19}};
    static const float zc[][2] = {{-120, -14}, {-60, -12}, {0, -10},  {25, -6},  {45, 1},  {60, 8},
                                  {75, 18},    {90, 31},   {100, 42}, {108, 52}, {115, 60}};
    static const float zf[][2] = {{-120, -14},  {-119, 8},    {-117, 22},   {-112, 41}, {-104, 58},  {-92, 72},
                                  {-75, 83.5f}, {-55, 91},    {-35, 94.5f}, {-20, 95},  {-5, 91},    {10, 88},
                                  {30, 87.5f},  {48, 89.5f},  {60, 91},     {72, 91},   {84, 88.5f}, {98, 89},
                                  {106, 87},    {111, 83.5f}, {115, 78}};
    static const float zb[][2] = {{-120, -14}, {-119, -38}, {-117, -52}, {-112, -66}, {-104, -79},
                                  {-92, -90},  {-75, -98},  {-50, -103}, {-20, -102}, {10, -96},
                                  {30, -91},   {45, -86},   {70, -78}};
    static const float nf[][2] = {{-115, 2},   {-60, 2.25f}, {-20, 2.45f}, {5, 2.4f}, {30, 2.2f},
                                  {60, 1.95f}, {85, 2.0f},   {105, 2.15f}, {115, 2}};
    struct section c = {CURVE(w, y), CURVE(zc, y), CURVE(zf, y), CURVE(zb, y), CURVE(nf, y)};
    return c;
}

/* Height of the edge of the jaw, and of the hairline behind the ear, by column. */
static float jaw_y(float s)
{
    static const float k[][2] = {{0, 115},  {12, 114.6f}, {22, 112.6f}, {32, 108.5f}, {42, 103.5f}, {55, 97},
                                 {70, 90},  {85, 83},     {98, 75},     {110, 65},    {122, 54},    {134, 44},
                                 {146, 40}, {170, 42},    {200, 48},    {270, 52}};
    return CURVE(k, fabsf(s));
}

/* Half sections at heights TOP, TOP + 1, .. as points at equal arc lengths from the midline in front to that behind. */
enum { TOP = -120, LEVELS = 238, ARC = 128, FINE = 400 };
struct solid {
    float length[LEVELS];
    float x[LEVELS][ARC + 1], z[LEVELS][ARC + 1];
};

static void trace(struct solid *o, int level)
{
    struct section c = section_at((float)(TOP + level));
    float x[FINE + 1], z[FINE + 1], len[FINE + 1];
    for (int i = 0; i <= FINE; i++) {
        float a = 3.14159265f * (float)i / FINE;
        int front = i <= FINE / 2;
        float n = front ? c.nf : 2.05f, d = front ? c.zf - c.zc : c.zb - c.zc;
        x[i] = c.w * powf(fabsf(sinf(a)), 2 / n);
        z[i] = c.zc + d * powf(fabsf(cosf(a)), 2 / n);
        len[i] = i ? len[i - 1] + hypotf(x[i] - x[i - 1], z[i] - z[i - 1]) : 0;
    }
    o->length[level] = len[FINE];
    for (int j = 0, i = 0; j <= ARC; j++) {
        float at = len[FINE] * (float)j / ARC;
        while (i < FINE - 1 && len[i + 1] < at) i++;
        float u = len[i + 1] > len[i] ? clampf((at - len[i]) / (len[i + 1] - len[i]), 0, 1) : 0;
        o->x[level][j] = lerpf(x[i], x[i + 1], u);
        o->z[level][j] = lerpf(z[i], z[i + 1], u);
    }
}

/* Where column s lies on a section of the given length, as a share of it: 1 to 1 in front, the ear's column
 * at the ear. */
static float arc_of(float s, float y, float length)
{
    static const float ear[][2] = {{-120, 0.52f}, {-60, 0.52f}, {0, 0.5f},   {25, 0.49f},
                                   {45, 0.48f},   {75, 0.46f},  {115, 0.45f}};
    const float flat = 45, ear_s = 140;
    float a = fabsf(s), at_ear = CURVE(ear, y) * length, front = minf(1, length / HEAD_S_MAX), at;
    if (a <= flat) {
        at = a * front;
    } else if (a <= ear_s) { /* a quadratic that leaves the front with its slope */
        float u = (a - flat) / (ear_s - flat), run = at_ear - flat * front, slope = front * (ear_s - flat);
        at = flat * front + slope * u + (run - slope) * u * u;
    } else {
        at = at_ear + (length - at_ear) * (a - ear_s) / (HEAD_S_MAX - ear_s);
    }
    return clampf(at / maxf(length, 1e-3f), 0, 1);
}

static void section_point(const struct solid *o, float s, float y, float out[3])
{
    float level = clampf(y - TOP, 0, LEVELS - 1.001f);
    int l = (int)level;
    float w = level - (float)l, p[2][2];
    for (int e = 0; e < 2; e++) {
        float at = arc_of(s, y, lerpf(o->length[l], o->length[l + 1], w)) * ARC;
        int i = at < ARC ? (int)at : ARC - 1;
        p[e][0] = lerpf(o->x[l + e][i], o->x[l + e][i + 1], at - (float)i);
        p[e][1] = lerpf(o->z[l + e][i], o->z[l + e][i + 1], at - (float)i);
    }
    out[0] = lerpf(p[0][0], p[1][0], w);
    out[1] = y;
    out[2] = lerpf(p[0][1], p[1][1], w);
    if (s < 0) out[0] = -out[0];
}

static void neck_point(const struct solid *o, float s, float t, float out[3])
{
    static const float share[][2] = {{115, 0}, {117, 0.07f}, {120, 0.2f}, {125, 0.46f}, {133, 0.86f}, {143, 1}};
    static const float height[][2] = {{115, 113}, {117, 115.5f}, {120, 118}, {125, 121.5f}, {133, 128},
                                      {143, 138}, {155, 150},    {168, 165}, {182, 182}};
    float phi = 3.14159265f * s / HEAD_S_MAX, w = CURVE(share, t);
    float flare = smoothf(140, 182, t);
    float neck[3] = {(54 + 14 * flare) * sinf(phi), CURVE(height, t), -28 + (54 + 6 * flare) * cosf(phi)};
    float jaw[3];
    section_point(o, s, jaw_y(s), jaw);
    for (int c = 0; c < 3; c++) out[c] = lerpf(jaw[c], neck[c], w);
    out[1] = lerpf(jaw[1], neck[1], smoothf(115, 150, t) * 0.6f + 0.4f * w);
}

static void mean_point(const struct solid *o, float s, float t, float out[3])
{
    if (t > HEAD_T_JAW) {
        neck_point(o, s, t, out);
        return;
    }
    float y = t;
    if (t > 20) y = 20 + (t - 20) / (HEAD_T_JAW - 20) * (jaw_y(s) - 20);
    section_point(o, s, y, out);
}

void lafs_synth_grid_triangles(int cols, int rows, int32_t *tri)
{
    for (int i = 0; i + 1 < rows; i++)
        for (int j = 0; j + 1 < cols; j++) {
            int32_t a = i * cols + j, b = a + 1, c = a + cols, d = c + 1;
            /* The diagonal runs towards the midline on both sides, so that the mesh is symmetric. */
            const int32_t left[6] = {a, c, b, b, c, d}, right[6] = {a, c, d, a, d, b};
            memcpy(tri, 2 * j + 1 < cols - 1 ? left : right, sizeof left);
            tri += 6;
        }
}

FAST static void normals_of(const float *pos, int cols, int rows, int closed, float *normal)
{
    const int v = cols * rows;
    const float *x = pos, *y = pos + v, *z = pos + 2 * v;
    for (int i = 0; i < rows; i++) {
        int up = (i ? i - 1 : 0) * cols, down = (i + 1 < rows ? i + 1 : i) * cols;
        for (int j = 0; j < cols; j++) {
            int l = j ? j - 1 : closed ? cols - 2 : 0, r = j + 1 < cols ? j + 1 : closed ? 1 : j, k = i * cols + j;
            int kl = i * cols + l, kr = i * cols + r, ku = up + j, kd = down + j;
            float ax = x[kr] - x[kl], ay = y[kr] - y[kl], az = z[kr] - z[kl];
            float bx = x[kd] - x[ku], by = y[kd] - y[ku], bz = z[kd] - z[ku];
            float nx = ay * bz - az * by, ny = az * bx - ax * bz, nz = ax * by - ay * bx;
            float g = 1 / sqrtf(nx * nx + ny * ny + nz * nz + 1e-12f);
            normal[k] = nx * g;
            normal[v + k] = ny * g;
            normal[2 * v + k] = nz * g;
        }
    }
}

void lafs_synth_grid_normals(const float *pos, int cols, int rows, int closed, float *normal)
{
    normals_of(pos, cols, rows, closed, normal);
}

static int locate(const float *knots, int n, float x, float *frac)
{
    int lo = 0, hi = n - 1;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (knots[mid] <= x) lo = mid;
        else hi = mid;
    }
    *frac = clampf((x - knots[lo]) / (knots[lo + 1] - knots[lo]), 0, 1);
    return lo;
}

void lafs_synth_head_point(const struct head *h, const float *pos, float s, float t, float out[3])
{
    float fs, ft;
    int j = locate(h->s, HEAD_COLS, s, &fs), i = locate(h->t, HEAD_ROWS, t, &ft);
    for (int c = 0; c < 3; c++) {
        const float *p = pos + (size_t)c * HEAD_V + (size_t)i * HEAD_COLS + (size_t)j;
        out[c] = lerpf(lerpf(p[0], p[1], fs), lerpf(p[HEAD_COLS], p[HEAD_COLS + 1], fs), ft);
    }
}

/* Free sky by looking at the mean head from many sides: a vertex is lit from a side if nothing lies before it in a
 * coarse depth picture taken from there. */
static lafs_status occlusion(struct head *h, struct lafs_err *err)
{
    enum { VIEWS = 96, N = 90 };
    const float cell = 4, origin = -N * cell / 2;
    float *depth, *sum;
    LAFS_TRY(lafs_alloc(&depth, N * N, sizeof *depth, err));
    lafs_status st = lafs_alloc0(&sum, HEAD_V, sizeof *sum, err);
    for (int view = 0; st == LAFS_OK && view < VIEWS; view++) {
        /* Directions of a Fibonacci sphere. */
        float dy = 1 - 2 * ((float)view + 0.5f) / VIEWS, r = sqrtf(1 - dy * dy), a = 2.39996323f * (float)view;
        float d[3] = {r * cosf(a), dy, r * sinf(a)};
        float u[3] = {-sinf(a), 0, cosf(a)}, w[3] = {d[1] * u[2], d[2] * u[0] - d[0] * u[2], -d[1] * u[0]};
        for (int i = 0; i < N * N; i++) depth[i] = -1e9f;
        for (int pass = 0; pass < 2; pass++)
            for (int k = 0; k < HEAD_V; k++) {
                float p[3] = {h->pos[k], h->pos[HEAD_V + k] - 20, h->pos[2 * HEAD_V + k]};
                float px = (p[0] * u[0] + p[1] * u[1] + p[2] * u[2] - origin) / cell;
                float py = (p[0] * w[0] + p[1] * w[1] + p[2] * w[2] - origin) / cell;
                float pz = p[0] * d[0] + p[1] * d[1] + p[2] * d[2];
                int ix = (int)px, iy = (int)py;
                if (px < 0 || py < 0 || ix >= N || iy >= N) continue;
                if (pass == 0) {
                    if (pz > depth[iy * N + ix]) depth[iy * N + ix] = pz;
                    continue;
                }
                float cosine = h->normal[k] * d[0] + h->normal[HEAD_V + k] * d[1] + h->normal[2 * HEAD_V + k] * d[2];
                if (cosine <= 0) continue;
                /* slopes within a cell must not shade themselves */
                float slack = 2 + cell * sqrtf(1 - cosine * cosine) / (cosine + 0.15f);
                float over = depth[iy * N + ix] - pz - slack;
                sum[k] += cosine * (1 - smoothf(0, 6, over));
            }
    }
    for (int k = 0; st == LAFS_OK && k < HEAD_V; k++) {
        float free = clampf(sum[k] * 4 / VIEWS, 0, 1);
        h->ao[k] = free * sqrtf(free); /* light that enters a hollow is dimmed at its walls */
    }
    /* The midline's two ends and the pole see the same. Two rounds of smoothing take out the noise of the cells. */
    for (int round = 0; st == LAFS_OK && round < 2; round++) {
        memcpy(sum, h->ao, HEAD_V * sizeof *sum);
        for (int i = 1; i + 1 < HEAD_ROWS; i++)
            for (int j = 1; j + 1 < HEAD_COLS; j++) {
                int k = i * HEAD_COLS + j;
                h->ao[k] = 0.4f * sum[k] + 0.15f * (sum[k - 1] + sum[k + 1] + sum[k - HEAD_COLS] + sum[k + HEAD_COLS]);
            }
    }
    lafs_free(depth);
    lafs_free(sum);
    return st;
}

static void sculpt(struct head *h, const struct solid *o, int i, int j)
{
    size_t k = (size_t)i * HEAD_COLS + (size_t)j;
    float p[3], d[3];
    mean_point(o, h->s[j], h->t[i], p);
    lafs_synth_shape_features(h->s[j], h->t[i], d);
    for (size_t c = 0; c < 3; c++) h->pos[c * HEAD_V + k] = p[c] + d[c];
    for (int m = 0; m < h->shapes; m++) {
        lafs_synth_shape_direction(m, h->s[j], h->t[i], p, d);
        for (size_t c = 0; c < 3; c++) h->shape[((size_t)m * 3 + c) * HEAD_V + k] = d[c];
    }
    for (int m = 0; m < EXPR_COUNT; m++) {
        lafs_synth_shape_expression(m, h->s[j], h->t[i], d);
        for (size_t c = 0; c < 3; c++) h->expr[((size_t)m * 3 + c) * HEAD_V + k] = d[c];
    }
}

lafs_status lafs_synth_head_init(struct head *h, struct lafs_err *err)
{
    *h = (struct head){.shapes = lafs_synth_shape_count()};
    LAFS_TRY(lafs_alloc(&h->pos, 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&h->normal, 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&h->ao, HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&h->shape, (size_t)h->shapes * 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&h->expr, (size_t)EXPR_COUNT * 3 * HEAD_V, sizeof(float), err));
    LAFS_TRY(lafs_alloc(&h->tri, 3 * HEAD_TRIS, sizeof(int32_t), err));
    struct solid *o;
    LAFS_TRY(lafs_alloc(&o, 1, sizeof *o, err));
    for (int l = 0; l < LEVELS; l++) trace(o, l);
    const int mid = HEAD_COLS / 2;
    for (int j = 0; j <= mid; j++) {
        h->s[mid + j] = half_s[j];
        h->s[mid - j] = -half_s[j];
    }
    memcpy(h->t, all_t, sizeof all_t);
    lafs_synth_grid_triangles(HEAD_COLS, HEAD_ROWS, h->tri);
    for (int i = 0; i < HEAD_ROWS; i++)
        for (int j = 0; j < HEAD_COLS; j++) sculpt(h, o, i, j);
    lafs_free(o);
    lafs_synth_grid_normals(h->pos, HEAD_COLS, HEAD_ROWS, 1, h->normal);
    return occlusion(h, err);
}

void lafs_synth_head_release(struct head *h)
{
    lafs_free(h->pos);
    lafs_free(h->shape);
    lafs_free(h->expr);
    lafs_free(h->normal);
    lafs_free(h->ao);
    lafs_free(h->tri);
    *h = (struct head){0};
}

FAST static void add(float *restrict pos, const float *restrict d, float w)
{
    for (int k = 0; k < 3 * HEAD_V; k++) pos[k] += w * d[k];
}

void lafs_synth_head_add(float *restrict pos, const float *restrict d, float w) { add(pos, d, w); }

void lafs_synth_head_pose(const struct head *h, const float *shape, const float *expr, float *pos)
{
    memcpy(pos, h->pos, 3 * HEAD_V * sizeof(float));
    for (int m = 0; m < h->shapes; m++)
        if (shape[m] != 0) lafs_synth_head_add(pos, h->shape + (size_t)m * 3 * HEAD_V, shape[m]);
    for (int m = 0; expr && m < EXPR_COUNT; m++)
        if (expr[m] != 0) lafs_synth_head_add(pos, h->expr + (size_t)m * 3 * HEAD_V, expr[m]);
}
