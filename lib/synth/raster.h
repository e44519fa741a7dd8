/* Triangles to pixels: which triangle is seen where. Colours come afterwards, pixel by pixel. */
#ifndef LAFS_SYNTH_RASTER_H
#define LAFS_SYNTH_RASTER_H

#include <stdint.h>

#include "base/err.h"

struct seen {
    float z;       /* nearness: larger is nearer; 0: nothing there */
    int32_t id;    /* number of the triangle; -1: none */
    float b1, b2;  /* weights of its second and third vertex */
};
struct raster {
    int w, h;
    struct seen *px;    /* (h, w) */
    int x0, y0, x1, y1; /* what has been drawn lies in [x0, x1) x [y0, y1) */
};
lafs_status raster_init(struct raster *r, int w, int h, struct lafs_err *err);
void raster_release(struct raster *r);
/* Forgets what was drawn; raster_forget leaves the depths, so that what follows is hidden by what was there. */
void raster_clear(struct raster *r);
void raster_forget(struct raster *r);

/* Draws triangles of which the front is seen (vertices clockwise in the picture if front is 1, the others if -1, all if
 * 0). p: (3, v): x and y in pixels, nearness > 0. Triangle k gets number base + k. skip, if not NULL: (v), triangles
 * with three such vertices are left out. */
void raster_draw(struct raster *r, const float *p, int v, const int32_t *tri, int n, int base, int front,
                 const uint8_t *skip);

#endif
