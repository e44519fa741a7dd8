/* Colours of what the raster saw, and the picture they go into. */
#ifndef LAFS_SYNTH_PAINT_H
#define LAFS_SYNTH_PAINT_H

#include "synth/figure.h"
#include "synth/raster.h"

struct canvas {
    int w, h;
    float *px[3];   /* (h, w) each: linear red, green, blue */
    float *scratch; /* of the camera */
    float *small;   /* for the surroundings */
};
/* The surroundings are painted in cells of so many pixels, a power of two. */
enum { CANVAS_UNIT = 32 };
int lafs_synth_canvas_unit(int w);
lafs_status lafs_synth_canvas_init(struct canvas *c, int w, int h, struct lafs_err *err);
void lafs_synth_canvas_release(struct canvas *c);

/* The surroundings, before any figure. */
void lafs_synth_backdrop_paint(struct canvas *c, const struct model *m, const struct scene *sc);
/* Things in front of the faces. */
void lafs_synth_occluders_paint(struct canvas *c, const struct scene *sc);
/* Rasters and colours one figure that has been built. */
void lafs_synth_figure_paint(struct canvas *c, struct raster *r, const struct model *m, const struct figure *f,
                  const struct pose *p, const struct lighting *l);

/* skin.c: everything on the skin of the head at one pixel. */
enum { MOLE_CELLS = 32 };
struct skin {                       /* prepared once a face */
    const struct model *m;
    const struct figure *f;
    const struct pose *p;
    const struct lighting *l;
    float soft;                     /* half width of edges, mm */
    float brow_rgb[3], hair_rgb[3], gloss_rgb[3];
    float glint_x, glint_y;         /* where a light mirrors in the eye, mm from its centre */
    float lash;                     /* strength of the lashes */
    float crease;                   /* strength of the nasolabial line */
    float grain;                    /* of the skin */
    float stub;                     /* strength of strand noise at this size */
    uint8_t moles[MOLE_CELLS * MOLE_CELLS]; /* which moles may reach into a cell of the face, as bits */
};
void lafs_synth_skin_begin(struct skin *k, const struct model *m, const struct figure *f, const struct pose *p,
                const struct lighting *l);
/* Where skin.c draws, mm of the grid's t: the middle of the brow at u = 0 (inner end) .. 1 (outer end); the edge of a
 * lip at column s. */
float lafs_synth_brow_middle(const struct identity *id, float u);
float lafs_synth_lip_edge(const struct identity *id, float s, int lower);
void lafs_synth_skin_colour(const struct skin *k, const float a[ATTRS], float out[3]);

/* camera.c: what the camera makes of it, as 8-bit RGB (h, w, 3). */
void lafs_synth_camera_take(struct canvas *c, const struct model *m, const struct scene *sc, uint8_t *rgb);
void lafs_synth_camera_tables(void);

#endif
