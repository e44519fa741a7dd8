/* How much a picture of a face is worth: what alignment, recognition and people choosing photos want to know. */
#ifndef LAFS_IMAGE_QUALITY_H
#define LAFS_IMAGE_QUALITY_H

#include "base/err.h"
#include "image/image.h"

enum { LAFS_QUALITY_SIDE = 112 /* of the aligned crop that is judged */ };

/* Each 0..1, 1 being all that can be asked for. */
struct lafs_quality {
    double value;    /* the product of the four below, to four digits */
    float size;      /* pixels of the photo to one of the crop, along a line, at most 1 (where the eyes are 35 pixels
                        apart); times the share of the middle of the face that the photo holds */
    float sharpness; /* fine detail against coarse: neither contrast nor, to a point, noise counts */
    float pose;      /* cosines of yaw and pitch, and (1 + cosine of roll) / 2 */
    float sure;      /* that it is a face, and that the points are right */
};

/* Angles in degrees, from five points p (5,2) of a photo: yaw and pitch after a mean head's proportions (on rendered
 * heads within 3 and 5 degrees, root mean square), roll exactly. Positive when the face is turned to image right, looks
 * up, is tipped clockwise. NaN where the points are on one line. */
void lafs_points5_pose(const float p[10], double *yaw, double *pitch, double *roll);

/* crop: (SIDE, SIDE), cut from the photo by m (photo -> crop), of a face with these points (5,2) in the photo. Where
 * the crop looks out of the photo nothing is sharp, and as much is taken off its size. score, refined: of the detector
 * and the refiner, < 0: unknown. */
lafs_status lafs_quality_of(const struct lafs_image *crop, const struct lafs_image *photo, const double m[6],
                            const float points[10], double score, double refined, struct lafs_quality *q,
                            struct lafs_err *err);

#endif
