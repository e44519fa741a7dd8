/* Canvases that the detector learns from: photos with known faces, cut, scaled, turned and laid side by side, so that
 * faces of all sizes, in all lights, half hidden, alone and in crowds, are seen; and much that is no face.
 *
 * Records: photos with `faces`, as lafs-synth writes them, or with `box` and `points` (or `points68`); `score` below
 * LAFS_CANVAS_DOUBT means that nobody knows. Faces of one photo are neighbouring records whose keys are those of
 * lafs-detect: KEY-f0, KEY-f1, ... */
#ifndef LAFS_TRAIN_CANVAS_H
#define LAFS_TRAIN_CANVAS_H

#include <stdint.h>

#include "base/rng.h"
#include "data/index.h"
#include "image/image.h"

#define LAFS_CANVAS_DOUBT 0.7
#define LAFS_CANVAS_LEAST_FACE 7 /* pixels: smaller ones are not judged */
#define LAFS_CANVAS_FARTHEST 1e6f /* pixels: coordinates beyond are damage */
enum { LAFS_CANVAS_SIDE = 160, LAFS_CANVAS_FACES = 1024 };

/* Pixels, counted from the canvas' corner, as the detector does. */
struct lafs_canvas_face {
    float box[4];     /* left, top, width, height: what of it is seen */
    float points[10]; /* (5,2) */
    int known;        /* 0: no judging here: too small, too much hidden, or in doubt */
};
struct lafs_canvas {
    struct lafs_image image; /* (SIDE, SIDE), or as set */
    struct lafs_canvas_face face[LAFS_CANVAS_FACES];
    int faces;
};
void lafs_canvas_release(struct lafs_canvas *c);

struct lafs_canvas_maker;
/* ix: borrowed, of one sample at least. workers: threads that call lafs_canvas_make, each with its number. no_mirror 1:
 * nothing is mirrored. */
lafs_status lafs_canvas_open(struct lafs_canvas_maker **out, const struct lafs_index *ix, int workers, int no_mirror,
                             int64_t max_pixels, struct lafs_err *err);
void lafs_canvas_close(struct lafs_canvas_maker *m);
/* Makes canvases of side x side pixels, 160 or more: larger ones of up to 49 pieces. */
void lafs_canvas_set_side(struct lafs_canvas_maker *m, int side);
/* The canvas of a stream of random numbers. */
lafs_status lafs_canvas_make(struct lafs_canvas_maker *m, uint64_t key, int worker, struct lafs_canvas *c,
                             struct lafs_err *err);

#endif
