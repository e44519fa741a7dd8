/* One person of a photo as meshes in camera space, lit vertex by vertex. */
#ifndef LAFS_SYNTH_FIGURE_H
#define LAFS_SYNTH_FIGURE_H

#include "base/err.h"
#include "synth/head.h"
#include "synth/noise.h"
#include "synth/scene.h"

/* What is interpolated between vertices. */
enum { A_S, A_T, A_RED, A_GREEN, A_BLUE, A_GLOSS, A_HAIR, A_EXTRA, ATTRS };
struct attr {
    _Alignas(32) float v[ATTRS]; /* grid or cloth coordinates; light that arrives, by channel, with the tint of the
                                    place; mirror-like share; density of hair here (beard, or the shell); spare */
};

enum {
    EAR_COLS = 19,
    EAR_ROWS = 7,
    TORSO_COLS = 41,
    TORSO_ROWS = 12,
    RIM = 28,
    GLASSES_V = 2 * (2 * RIM + RIM + 1) + 4 + 12,
    BRIM_COLS = 19,
    BRIM_ROWS = 4
};
enum part { PART_HEAD, PART_EAR_LEFT, PART_EAR_RIGHT, PART_TORSO, PART_HAIR, PART_HAT, PART_BRIM, PART_GLASSES, PARTS };

struct mesh {
    int v, tris, front;  /* front as in lafs_synth_raster_draw */
    float *pos;          /* (3, v) camera axes, mm, origin at the head's */
    float *normal;       /* (3, v) */
    float *scr;          /* (3, v) pixels and nearness */
    struct attr *attr;   /* (v) */
    const int32_t *tri;  /* (tris, 3) */
    uint8_t *skip;       /* (v) or NULL */
};

/* Fields of the mean head that tints and beards are made of, by vertex. */
enum field { F_RUDDY, F_EYE, F_BEARD, F_MOUSTACHE, F_GOATEE, F_CHIN, F_BROWN, FIELDS };

struct model { /* everything that all photos share */
    struct head head;
    struct noise noise;
    float *field;                                     /* (FIELDS, V) */
    int32_t *ear_tri, *torso_tri, *brim_tri, *glasses_tri;
    int glasses_tris, lens_from;                      /* triangles of the lenses come last */
};
lafs_status lafs_synth_model_init(struct model *m, struct lafs_err *err);
void lafs_synth_model_release(struct model *m);

enum { SHADOW_N = 84 }; /* side of the depth picture from the light */
struct figure {
    struct mesh part[PARTS];
    float *local;        /* (3, V): the head in its own axes */
    float *light;        /* scratch (6, V) */
    float *shadow;       /* (SHADOW_N, SHADOW_N) nearness to the light */
    float shadow_u[3], shadow_w[3], shadow_d[3];
    int has[PARTS];
    int loose;           /* hair hangs, so that its inside may be seen */
    float gap[HEAD_COLS];/* mm between the lips, by column */
    float anchor[2];     /* pixels: offset of the projection */
    float pixel;         /* mm that a pixel covers at the face */
    int64_t cached;      /* the person whose base shape is in base; -2: none */
    float *base;         /* (3, V) */
};
lafs_status lafs_synth_figure_init(struct figure *f, const struct model *m, struct lafs_err *err);
void lafs_synth_figure_release(struct figure *f);

/* Poses, lights and projects all parts that this person has. */
void lafs_synth_figure_build(struct figure *f, const struct model *m, const struct pose *p, const struct lighting *l);

/* light.c */
/* Light at n vertices from normals, share of free sky and share of the key light that arrives (n each): rgb (3,n) and
 * gloss (n). wrap: how far light reaches round edges, by channel (skin: red reaches furthest). */
void lafs_synth_light_vertices(const struct lighting *l, int n, const float *normal, const float *ao, const float *key,
                    const float wrap[3], float *rgb, float *gloss);
void lafs_synth_shadow_begin(struct figure *f, const struct lighting *l);
/* A grid, every step-th vertex of it. side: as front in lafs_synth_raster_draw (-1: only what faces the light; 0:
 * all). */
void lafs_synth_shadow_cast(struct figure *f, const float *pos, int cols, int rows, int step, float side);
/* Share of the key light that arrives, (n). */
void lafs_synth_shadow_read(const struct figure *f, const struct lighting *l, int n, const float *pos,
                            const float *normal, float *key);

/* hair.c: the shells of hair and hat over the head. */
void lafs_synth_hair_build(struct figure *f, const struct model *m, const struct pose *p);

#endif
