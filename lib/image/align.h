/* Alignment of faces by five points. */
#ifndef LAFS_IMAGE_ALIGN_H
#define LAFS_IMAGE_ALIGN_H

#include "base/err.h"
#include "image/image.h"

/* A 2x3 matrix maps (x, y): x' = m[0] x + m[1] y + m[2], y' = m[3] x + m[4] y + m[5]. */

/* The ArcFace template for a crop of `size` pixels (a multiple of 112): points (5,2), pixels. */
void lafs_align_template(int size, float points[10]);

/* Least-squares similarity (rotation, uniform scale, translation; no reflection) from `from` (n,2) to `to` (n,2), in
 * closed form, in double. LAFS_BAD_RECORD when the points coincide or are not finite. */
lafs_status lafs_similarity(const float *from, const float *to, int n, double m[6], struct lafs_err *err);

void lafs_affine_apply(const double m[6], const float *in, int n, float *out); /* (n,2) */
lafs_status lafs_affine_invert(const double m[6], double inv[6], struct lafs_err *err);

/* out (out->w x out->h, allocated by the caller) = in warped by m (in -> out), bilinear, zero border. Where the map
 * shrinks by more than 2, the source is box-filtered down first, by powers of two, so that large faces do not alias. */
lafs_status lafs_warp_affine(const struct lafs_image *in, const double m[6], struct lafs_image *out,
                             struct lafs_err *err);

/* 68 points (68,2) -> 5: means of corners 36,39 and 42,45; 30; 48; 54. */
void lafs_points68_to_5(const float *p68, float *p5);

/* Points of a mirrored picture, in place: x' = edge - x (edge: the last column's number); what was left is right. */
void lafs_points5_mirror(float *p5, float edge);
void lafs_points68_mirror(float *p68, float edge);

#endif
