/* From the landmarks of a view to its tokens: what lafs-patch and lafs-pretrain share, so that the pipe and the one
 * process give the same bits. Spec "Stage 2". */
#ifndef LAFS_MODEL_VIEWTOKENS_H
#define LAFS_MODEL_VIEWTOKENS_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"

/* How landmarks become the points at which patches are cut. */
struct lafs_point_rule {
    int landmarks;  /* R */
    float sigma;    /* perturbation in pixels, 5; 0: none */
    int subset;     /* points of a local view, 36, drawn with replacement */
    int ordered;    /* 1: the subset in ascending order of landmark (no shuffle) */
    int dino;       /* 1: grid patches of the crop itself: no points at all */
    int patch;      /* p */
    uint64_t seed;
};
/* Tokens of a view with crops of `size` pixels. */
int64_t lafs_view_tokens(const struct lafs_point_rule *r, int kind /* enum lafs_view_kind */, int size);
/* landmarks (R,2) -> points (lafs_view_tokens, 2): all perturbed; of a local view, the subset, of at most 4096. index,
 * unless NULL, receives the landmarks' numbers. Drawn from (rule seed, LAFS_RNG_PERTURB, epoch, key, view). */
void lafs_view_points(const struct lafs_point_rule *r, int kind, int64_t epoch, const char *key, int view,
                      const float *landmarks, float *points, int32_t *index);
/* Landmarks (R,2) on a grid: with R = (112/p)^2 and no perturbation, patches there are the grid patches. */
void lafs_grid_landmarks(int R, float *landmarks);

#endif
