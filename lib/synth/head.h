/* The head: one grid of vertices over skull, face and neck, its mean shape, and the ways in which it varies.
 *
 * Millimetres; x to image right, y down, z towards the camera; the origin lies between the pupils, on the axis of the
 * head. Column j of the grid has lateral coordinate s (0 on the midline, negative on image left, about the arc length
 * along the skin), row i has coordinate t (about the height y of the mean head down to t = 20, from there to
 * t = HEAD_T_JAW rows bend so that the last follows the edge of the jaw; below is the neck). Whatever is drawn on the
 * skin is defined in (s, t), so it moves with the shape. */
#ifndef LAFS_SYNTH_HEAD_H
#define LAFS_SYNTH_HEAD_H

#include <stdint.h>

#include "base/err.h"

#define HEAD_T_JAW 115.0f
#define HEAD_S_MAX 270.0f
enum {
    HEAD_COLS = 69,
    HEAD_ROWS = 67,
    HEAD_V = HEAD_COLS * HEAD_ROWS,
    HEAD_TRIS = 2 * (HEAD_COLS - 1) * (HEAD_ROWS - 1)
};

/* Expressions, each 0..1 (some may be negative). */
enum expression {
    EXPR_SMILE,
    EXPR_OPEN,      /* jaw dropped */
    EXPR_PUCKER,
    EXPR_FROWN,     /* brows down and together */
    EXPR_RAISE,     /* brows up */
    EXPR_DOWN,      /* mouth corners down */
    EXPR_SMIRK,     /* one-sided smile; negative: the other side */
    EXPR_SNEER,     /* upper lip and wings of the nose up */
    EXPR_PUFF,      /* cheeks out */
    EXPR_PRESS,     /* lips pressed */
    EXPR_COUNT
};

struct head {
    int shapes;                 /* number of shape directions, <= LAFS_SYNTH_SHAPES */
    float s[HEAD_COLS], t[HEAD_ROWS];
    float *pos;                 /* (3, V) mean */
    float *shape;               /* (shapes, 3, V): one standard deviation of each */
    float *expr;                /* (EXPR_COUNT, 3, V) */
    float *normal;              /* (3, V) of the mean */
    float *ao;                  /* (V) share of the sky that the mean head leaves free, cosine-weighted, 0..1 */
    int32_t *tri;               /* (TRIS, 3), counter-clockwise seen from outside with y up */
};
lafs_status lafs_synth_head_init(struct head *h, struct lafs_err *err);
void lafs_synth_head_release(struct head *h);

/* pos (3,V) = mean + shapes and expressions. */
void lafs_synth_head_pose(const struct head *h, const float *shape, const float *expr, float *pos);

/* pos += w d, both (3,V). */
void lafs_synth_head_add(float *restrict pos, const float *restrict d, float w);

/* Unit normals (3,V), outward, of any grid of cols x rows vertices; the first and last column are one where closed. */
void lafs_synth_grid_normals(const float *pos, int cols, int rows, int closed, float *normal);
/* Triangles of a grid, two a cell. */
void lafs_synth_grid_triangles(int cols, int rows, int32_t *tri);

/* The point of the surface at (s, t): bilinear in the grid. */
void lafs_synth_head_point(const struct head *h, const float *pos, float s, float t, float out[3]);

/* Smooth curve through knots (x ascending), C1, monotone where the knots are; constant outside. */
float lafs_synth_curve(const float (*knot)[2], int n, float x);
#define CURVE(k, x) lafs_synth_curve(k, (int)(sizeof(k) / sizeof((k)[0])), x)

static inline float minf(float a, float b) { return a < b ? a : b; }
static inline float maxf(float a, float b) { return a > b ? a : b; }
static inline float clampf(float v, float lo, float hi) { return minf(hi, maxf(lo, v)); }
static inline float lerpf(float a, float b, float w) { return a + (b - a) * w; }
/* 0 below a, 1 above b (a < b), smooth in between. */
static inline float smoothf(float a, float b, float x)
{
    float u = clampf((x - a) * (1 / (b - a)), 0, 1);
    return u * u * (3 - 2 * u);
}

#endif
