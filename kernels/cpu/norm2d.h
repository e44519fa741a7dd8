/* BatchNorm over tiles of rows, for norm2d.c and for ops that do more with a tile while it is in cache (unit.c). */
#ifndef LAFS_KERNELS_CPU_NORM2D_H
#define LAFS_KERNELS_CPU_NORM2D_H

#include "kernels/cpu/conv_kernels.h"

/* What tiles have summed. Tiles have tile_rows rows each; of every `cycle` tiles, which have cycle_rows in all, the
 * last has what is left. */
struct lafs_bn_parts {
    int64_t rows, c, tiles;
    int64_t tile_rows, cycle, cycle_rows;
    float *part; /* (tiles, 2, c) */
};
/* Of rows that are cut from the first to the last; part is not set. */
struct lafs_bn_parts lafs_bn_parts_of(int64_t rows, int64_t c, int64_t tile_rows);

/* From tiles' sums and sums of squared deviations: mean, rstd (c), and running statistics unless NULL. */
void lafs_bn_take_moments(const struct lafs_bn_parts *p, float momentum, float *run_mean, float *run_var, float *mean,
                          float *rstd);
/* From running statistics. */
void lafs_bn_take_running(int64_t c, const float *run_mean, const float *run_var, float *mean, float *rstd);
/* total (2,c): the sums of tiles' sums, in their order. */
void lafs_bn_take_slopes(const struct lafs_bn_parts *p, float *total);
/* The gradients of gamma and beta (+=), and what bn_back takes, from the total of slopes; train: as in the forward
 * pass. */
void lafs_bn_take_gradients(int64_t rows, int64_t c, int train, const float *total, const float *rstd, float *dgamma,
                            float *dbeta, float *sum, float *along);

#endif
