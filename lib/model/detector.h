/* The face detector: the YuNet-n network (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023) over the op
 * table. Weights: a .safetensors with conv{k}.weight and conv{k}.bias, k = 0..58 in graph order, for BGR input (see
 * lafs-model(5)); lafs-convert makes it from the published ONNX file.
 *
 *     LAFS_TRY(lafs_st_open(&st, "yunet.safetensors", err));
 *     LAFS_TRY(lafs_detector_open(&d, &backend, st, err));
 *     struct lafs_detect_options opt = LAFS_DETECT_DEFAULT;
 *     LAFS_TRY(lafs_detect(d, &photo, &opt, &faces, err));   // faces.v[0..faces.n), best score first
 *     lafs_faces_release(&faces);
 *     lafs_detector_close(d);
 */
#ifndef LAFS_MODEL_DETECTOR_H
#define LAFS_MODEL_DETECTOR_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"
#include "format/onnx.h"
#include "format/safetensors.h"
#include "image/image.h"

#define LAFS_DETECTOR_ARCHITECTURE "yunet-n"
enum {
    LAFS_DETECTOR_CONVS = 59,
    LAFS_DETECTOR_LEVELS = 3, /* strides 8, 16, 32 */
    LAFS_DETECTOR_CELL = 16   /* values of a cell: class logit, box (4), object logit, points (10) */
};
/* The tensors of a weights file: conv{k}.weight (out, in, kernel, kernel), in being 1 for depthwise ones, and
 * conv{k}.bias (out), in this order. */
struct lafs_detector_tensors {
    struct lafs_st_tensor t[2 * LAFS_DETECTOR_CONVS];
    char name[2 * LAFS_DETECTOR_CONVS][24];
};
/* Names and shapes; data is NULL. The struct must not move afterwards. */
void lafs_detector_tensors(struct lafs_detector_tensors *ts);
/* The same with the data of an ONNX graph, found by walking its Conv nodes; it stays owned by o. LAFS_FAILED: it is
 * another network, and where that shows. */
lafs_status lafs_detector_from_onnx(const struct lafs_onnx *o, struct lafs_detector_tensors *ts, struct lafs_err *err);

/* One instance is used by one thread at a time. */
struct lafs_detector;
/* weights may be closed afterwards. LAFS_FAILED: they are not of this network (the message names what differs). */
lafs_status lafs_detector_open(struct lafs_detector **out, const struct lafs_backend *b, const struct lafs_st *weights,
                               struct lafs_err *err);
void lafs_detector_close(struct lafs_detector *d);

/* The bare network: rgb (h,w,3) in 0..255, h and w multiples of 32. level[i] receives the cells (h/s, w/s, CELL) of
 * stride s = 8 << i, before the sigmoids; valid until the next call. */
lafs_status lafs_detector_forward(struct lafs_detector *d, int w, int h, const float *rgb,
                                  const float *level[LAFS_DETECTOR_LEVELS], struct lafs_err *err);

struct lafs_detected {
    float box[4];     /* left, top, width, height, in the photo's pixels */
    float score;      /* 0..1 */
    float points[10]; /* (5,2): image-left eye, image-right eye, nose, image-left and image-right mouth corner */
};
struct lafs_faces {
    struct lafs_detected *v; /* (n) best score first; owned */
    int n;
};
void lafs_faces_release(struct lafs_faces *f);

enum { LAFS_MAX_SCALES = 8 };
struct lafs_detect_options {
    float min_score;                /* faces below are dropped */
    float max_overlap;              /* of two boxes with a larger intersection over union, the better stays */
    float min_size;                 /* faces whose box has a shorter side are dropped; pixels of the photo */
    float smallest_face;            /* pixels that the network asks of a face; 0: what its file says, or 10 */
    int scales;                     /* 0: chosen by the photo's size, see lafs_detect_scales */
    float scale[LAFS_MAX_SCALES];   /* factors by which the photo is resized before it is looked at */
};
#define LAFS_DETECT_DEFAULT ((struct lafs_detect_options){.min_score = 0.8f, .max_overlap = 0.3f})

/* The factors used for a photo: those of the options, bounded so that no resized photo has more than 2^24 pixels; or,
 * when none are given, automatic ones: from the size, or 1600 pixels (larger photos), down by halves, while the longer
 * side has 80 pixels. A network that asks for faces of 10 pixels or more looks at photos up to 400 pixels in twice
 * their size first. Returns their number. */
int lafs_detect_scales(const struct lafs_detect_options *opt, int w, int h, float scale[LAFS_MAX_SCALES]);

/* All faces of a photo. The result depends on the photo and the options alone. */
lafs_status lafs_detect(struct lafs_detector *d, const struct lafs_image *photo, const struct lafs_detect_options *opt,
                        struct lafs_faces *faces, struct lafs_err *err);
/* The largest and most central face: the one with the greatest area - 2 * squared distance of its centre from the
 * photo's (ties: the better score). -1 if there are none. */
int lafs_faces_best(const struct lafs_faces *f, int w, int h);

#endif
