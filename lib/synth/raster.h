/* Triangles to pixels: which triangle is seen where. Colours come afterwards, pixel by pixel. */
#ifndef LAFS_SYNTH_RASTER_H
#define LAFS_SYNTH_RASTER_H

#include <stdint.h>

#include "base/err.h"

struct raster {
    int w, h, stride;   /* rows are stride apart, a multiple of 4 */
    float *z;           /* (h, stride) nearness: larger is nearer; 0: nothing there */
    int32_t *id;        /* (h, stride) number of the triangle seen; -1: none */
    uint32_t *weight;   /* (h, stride) those of its second and third vertex: raster_weights */
    int x0, y0, x1, y1; /* what has been drawn lies in [x0, x1) x [y0, y1) */
};
static inline void raster_weights(uint32_t packed, float *b1, float *b2)
{
    *b1 = (float)(int)(packed >> 16) * (1.0f / 60000) - 0.01f;
    *b2 = (float)(int)(packed & 0xffff) * (1.0f / 60000) - 0.01f;
}
lafs_status lafs_synth_raster_init(struct raster *r, int w, int h, struct lafs_err *err);
void lafs_synth_raster_release(struct raster *r);
/* Forgets what was drawn; lafs_synth_raster_forget leaves the depths, so that what follows is hidden by what was
 * there. */
void lafs_synth_raster_clear(struct raster *r);
void lafs_synth_raster_forget(struct raster *r);

/* Draws triangles of which the front is seen (vertices clockwise in the picture if front is 1, the others if -1, all if
 * 0). p: (3, v): x and y in pixels, nearness > 0. Triangle k gets number base + k. skip, if not NULL: (v), triangles
 * with three such vertices are left out. */
void lafs_synth_raster_draw(struct raster *r, const float *p, int v, const int32_t *tri, int n, int base, int front,
                 const uint8_t *skip);

#endif
