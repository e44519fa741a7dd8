/* The second look: a small network that sees a face upright, in a crop that some detector's five points cut out of the
 * photo, and says where 68 points of it are, and how sure it is.
 *
 *     LAFS_TRY(lafs_refiner_open(&r, &backend, weights, err));
 *     LAFS_TRY(lafs_refine(r, &photo, n, points, refined, err));   // points: (n,5,2) of a detector
 *     lafs_refiner_close(r);
 */
#ifndef LAFS_MODEL_REFINER_H
#define LAFS_MODEL_REFINER_H

#include "image/image.h"
#include "model/convnet.h"

#define LAFS_REFINER_ARCHITECTURE "lafs-refiner-1"
enum {
    LAFS_REFINER_SIDE = 64,      /* of the crop */
    LAFS_REFINER_MAP = 16,       /* of the maps: one cell is 4x4 pixels */
    LAFS_REFINER_POINTS = 68,
    LAFS_REFINER_CHANNELS = 69,  /* a map a point, and one whose mean is the logit of its confidence */
    LAFS_REFINER_HEAD = 18       /* the unit whose output they are */
};
/* Its units; parameters are declared. */
lafs_status lafs_refiner_net(struct lafs_convnet *net, struct lafs_err *err);
/* Where the ArcFace template's five points lie in the crop: (5,2). */
void lafs_refiner_template(float points[10]);
/* Pixels of a crop as the network takes them: (side,side,3) u8 -> float. */
void lafs_refiner_input(const uint8_t *px, float *out);
/* Maps (MAP,MAP,CHANNELS) to points: the mean place under the softmax of each map, in pixels of the crop (68,2). share
 * (POINTS, MAP * MAP), or NULL, receives the softmax. Returns the logit of the confidence. */
float lafs_refiner_decode(const float *maps, float *points68, float *share);

/* One instance is used by one thread at a time. */
struct lafs_refiner;
/* weights may be closed afterwards. LAFS_FAILED: they are not of this network. */
lafs_status lafs_refiner_open(struct lafs_refiner **out, const struct lafs_backend *b, const struct lafs_st *weights,
                              struct lafs_err *err);
void lafs_refiner_close(struct lafs_refiner *r);

struct lafs_refined {
    float points[10];     /* (5,2) in the photo; those given where `looked` is 0 */
    float points68[136];  /* (68,2) in the photo, in the order of 300-W; of use only where `looked` is 1 */
    float confidence;     /* 0..1: that these are a face's points; 0 where `looked` is 0 */
    int looked;           /* 0: the points given cannot be aligned by */
};
/* A face's result depends on the photo and its own points alone. */
lafs_status lafs_refine(struct lafs_refiner *r, const struct lafs_image *photo, int n, const float *points,
                        struct lafs_refined *out, struct lafs_err *err);

#endif
