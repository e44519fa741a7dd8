#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

enum { TILE = 1 << 14 }; /* floats of a tile; none spans two segments */

struct optim {
    int64_t n;
    const struct lafs_segment *seg;
    const struct lafs_rate *rate;
    const int64_t *first;   /* (n+1): number of the first tile of each segment */
    const double *norm;
    double beta1, beta2, eps;
    const float *x, *g;
    float *p, *m, *v;
    double *part;           /* (tiles) sums of squares */
};

/* Counts tiles: first (n+1), and room for `extra` doubles a tile behind it. NULL when memory is out. */
static int64_t *number_tiles(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, int extra)
{
    int64_t tiles = 0;
    for (int64_t i = 0; i < n; i++) tiles += (seg[i].size + TILE - 1) / TILE;
    int64_t *first = lafs_cpu_shared(d, (size_t)(n + 1 + extra * tiles) * sizeof *first);
    if (!first) return NULL;
    first[0] = 0;
    for (int64_t i = 0; i < n; i++) first[i + 1] = first[i] + (seg[i].size + TILE - 1) / TILE;
    return first;
}

/* Segment of a tile, and its range of floats. */
static const struct lafs_segment *tile_range(const struct optim *j, int64_t tile, int64_t *from, int64_t *to)
{
    struct lafs_seqs s = {.n = j->n, .off = j->first};
    const struct lafs_segment *seg = &j->seg[lafs_seq_of(&s, tile)];
    *from = seg->off + (tile - j->first[seg - j->seg]) * TILE;
    *to = lafs_min64(*from + TILE, seg->off + seg->size);
    return seg;
}

LAFS_INLINE void square_tile(const struct optim *j, int64_t tile)
{
    int64_t from, to;
    tile_range(j, tile, &from, &to);
    j->part[tile] = lafs_vec_dot_double(to - from, j->x + from, j->x + from);
}
LAFS_ISA_TILES(square, struct optim, square_tile(j, tile))

void lafs_cpu_norms(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm)
{
    struct optim j = {.n = n, .seg = seg, .x = x, .first = number_tiles(d, n, seg, 1)};
    if (!j.first) {
        for (int64_t i = 0; i < n; i++) norm[i] = 0;
        return;
    }
    j.part = (double *)(j.first + n + 1);
    lafs_pool_for(d->pool, j.first[n], lafs_isa_square(), &j);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t t = j.first[i]; t < j.first[i + 1]; t++) sum += j.part[t];
        norm[i] = sqrt(sum);
    }
}

LAFS_INLINE void adamw_tile(const struct optim *j, int64_t tile)
{
    int64_t from, to;
    const int64_t at = tile_range(j, tile, &from, &to) - j->seg;
    const struct lafs_rate *s = &j->rate[at];
    if (s->skip) return;
    double norm = s->clip > 0 ? j->norm[at] : 0;
    float clip = s->clip > 0 && s->clip < norm + 1e-6 ? (float)(s->clip / (norm + 1e-6)) : 1;
    float b1 = (float)j->beta1, r1 = (float)(1 - j->beta1), b2 = (float)j->beta2, r2 = (float)(1 - j->beta2);
    float shrink = (float)((double)s->lr * s->decay), eps = (float)j->eps;
    float step = (float)(s->lr / s->correct1);
    float root = (float)(1 / sqrt(s->correct2));
    const float *g = j->g;
    float *p = j->p, *m = j->m, *v = j->v;
    LAFS_EACH
    for (int64_t i = from; i < to; i++) {
        float grad = g[i] * clip, mi = b1 * m[i] + r1 * grad, vi = b2 * v[i] + r2 * (grad * grad);
        m[i] = mi;
        v[i] = vi;
        p[i] = (p[i] - shrink * p[i]) - step * (mi / (sqrtf(vi) * root + eps));
    }
}
LAFS_ISA_TILES(adamw, struct optim, adamw_tile(j, tile))

void lafs_cpu_adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                    const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                    float *v)
{
    struct optim j = {.n = n, .seg = seg, .rate = rate, .norm = norm, .beta1 = beta1, .beta2 = beta2, .eps = eps,
                      .p = p, .g = g, .m = m, .v = v};
    j.first = number_tiles(d, n, seg, 0);
    if (j.first) lafs_pool_for(d->pool, j.first[n], lafs_isa_adamw(), &j);
}
