/* L2 normalisation of rows, and the mean squared error. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

static const double NORM_MIN = 1e-12;

struct l2 {
    int64_t width;
    const float *x, *y, *dy, *norm; /* (rows,width), norm (rows) */
    float *to, *to_norm;
    int add;
};

LAFS_INLINE void l2norm_row(const struct l2 *j, int64_t r)
{
    const float *x = j->x + r * j->width;
    float *y = j->to + r * j->width;
    double norm = sqrt(lafs_vec_dot_double(j->width, x, x));
    float inv = (float)(1 / fmax(norm, NORM_MIN));
    LAFS_EACH
    for (int64_t i = 0; i < j->width; i++) y[i] = x[i] * inv;
    j->to_norm[r] = (float)norm;
}
LAFS_ISA_TILES(l2norm, struct l2, l2norm_row(j, tile))

void lafs_cpu_l2norm(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm)
{
    struct l2 j = {.width = width, .x = x, .to = y, .to_norm = norm};
    lafs_pool_for(d->pool, rows, lafs_isa_l2norm(), &j);
}

/* dx = (dy - y (y.dy)) / |x|; below the minimum the divisor is a constant. */
LAFS_INLINE void l2norm_bwd_row(const struct l2 *j, int64_t r)
{
    const float *y = j->y + r * j->width, *dy = j->dy + r * j->width;
    float *dx = j->to + r * j->width, inv = (float)(1 / fmax(j->norm[r], NORM_MIN));
    float along = j->norm[r] < NORM_MIN ? 0 : (float)lafs_vec_dot_double(j->width, y, dy);
    if (j->add) {
        LAFS_EACH
        for (int64_t i = 0; i < j->width; i++) dx[i] += (dy[i] - y[i] * along) * inv;
    } else {
        LAFS_EACH
        for (int64_t i = 0; i < j->width; i++) dx[i] = (dy[i] - y[i] * along) * inv;
    }
}
LAFS_ISA_TILES(l2norm_bwd, struct l2, l2norm_bwd_row(j, tile))

void lafs_cpu_l2norm_bwd(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx, int add)
{
    struct l2 j = {.width = width, .y = y, .norm = norm, .dy = dy, .to = dx, .add = add};
    lafs_pool_for(d->pool, rows, lafs_isa_l2norm_bwd(), &j);
}

enum { TILE = 1 << 12 };

struct mse {
    int64_t n;
    const float *a, *b;
    float *da, factor;
    double *part; /* (tiles) */
};

LAFS_INLINE void mse_tile(const struct mse *j, int64_t tile)
{
    int64_t from = tile * TILE, n = lafs_min64(TILE, j->n - from);
    const float *a = j->a + from, *b = j->b + from;
    float diff[TILE];
    for (int64_t i = 0; i < n; i++) diff[i] = a[i] - b[i];
    j->part[tile] = lafs_vec_dot_double(n, diff, diff);
    if (!j->da) return;
    float *da = j->da + from, factor = j->factor;
    LAFS_EACH
    for (int64_t i = 0; i < n; i++) da[i] += factor * diff[i];
}
LAFS_ISA_TILES(mse, struct mse, mse_tile(j, tile))

void lafs_cpu_mse(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                  double *loss, float *da)
{
    int64_t tiles = (n + TILE - 1) / TILE;
    struct mse j = {.n = n, .a = a, .b = b, .da = da};
    j.factor = (float)(grad_scale * 2.0 * *weight / (double)n);
    j.part = lafs_cpu_shared(d, (size_t)(tiles + 1) * sizeof *j.part);
    if (!j.part) return;
    lafs_pool_for(d->pool, tiles, lafs_isa_mse(), &j);
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++) sum += j.part[t];
    *loss = n ? *weight * sum / (double)n : 0;
}
