/* Between attention and products: tokens put together, residual + LayerNorm. A warp has a row; the row lies in shared
 * memory between the passes over it, so that it is read and written once. */
#include "kernels/cuda/dev.cuh"

enum { NORM_THREADS = 128, NORM_WARPS = NORM_THREADS / WARP };
static const float NORM_EPS = 1e-5f;

struct some { /* a lafs_some as kernels take it; of NULL: all sequences */
    int64_t n;
    const int64_t *of, *off;
};
static struct some some_of(const struct lafs_seqs *s, const struct lafs_some *some)
{
    if (!some) return {s->n, NULL, s->dev_off};
    return {some->s.n, some->dev_of, some->s.dev_off};
}
/* Where row t of sequence seq is in a matrix that holds those of `some`; -1: nowhere. */
DEVICE int64_t row_among(const struct some *s, int64_t seq, int64_t t)
{
    const int64_t place = place_among(s->n, s->of, seq);
    return place < 0 ? -1 : s->off[place] + t;
}

/* -- tokens -- */

KERNEL assemble_kernel(int64_t n, const int64_t *off, int64_t width, const float *proj, const float *cls,
                       const float *pos, struct drop drop, float *x)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, first = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
    struct drop_mask mask;
    for (int64_t j = first; j < width && j < first + 8; j++) {
        const float token = t == 0 ? cls[j] : proj[(row - seq - 1) * width + j];
        x[row * width + j] = (token + pos[t * width + j]) * drop_factor(&drop, &mask, seq, t * width + j);
    }
}
static void assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj, const float *cls,
                     const float *pos, const struct lafs_drop *drop, float *x)
{
    LAUNCH(d, assemble_kernel, grid_for(lafs_seqs_rows(s) * ((width + 7) / 8)), THREADS, 0, s->n, s->dev_off, width,
           proj, cls, pos, drop_of(drop), x);
}

/* A thread has a column of a position, in all sequences. */
KERNEL assemble_bwd_kernel(int64_t n, const int64_t *off, int64_t longest, int64_t width, const float *dx,
                           struct drop drop, float *dproj, float *dcls, float *dpos)
{
    const int64_t t = global_index() / width, j = global_index() % width;
    if (t >= longest) return;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = off[i] + t;
        if (row >= off[i + 1]) continue;
        struct drop_mask mask;
        const float g = dx[row * width + j] * drop_factor(&drop, &mask, i, t * width + j);
        if (t) dproj[(row - i - 1) * width + j] = g;
        sum += g;
    }
    dpos[t * width + j] += (float)sum;
    if (t == 0) dcls[j] += (float)sum;
}
static void assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                         const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos)
{
    LAUNCH(d, assemble_bwd_kernel, grid_for(s->max_len * width), THREADS, 0, s->n, s->dev_off, s->max_len, width, dx,
           drop_of(drop), dproj, dcls, dpos);
}

/* -- residual + LayerNorm -- */

KERNEL add_norm_kernel(int64_t n, const int64_t *off, int64_t width, const float *x, struct some from,
                       const float *branch, struct drop drop, struct drop path, struct some to, const float *g,
                       const float *b, float *x_out, float *y, float *mean, float *rstd)
{
    const int64_t row = block_x() * NORM_WARPS + warp_index();
    if (row >= off[n]) return; /* with its whole warp */
    float *v = shared_memory<float>() + warp_index() * width;
    const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
    const int64_t at = branch ? row_among(&from, seq, t) : -1, out = g ? row_among(&to, seq, t) : -1;
    const float keep = at >= 0 ? path_factor(&path, seq) : 0;
    struct drop_mask mask;
    float sum = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) {
        float e = x[row * width + j];
        if (at >= 0) e += branch[at * width + j] * keep * drop_factor(&drop, &mask, seq, t * width + j);
        if (branch) x_out[row * width + j] = e;
        v[j] = e;
        sum += e;
    }
    if (out < 0) return;
    const float mu = warp_sum(sum) / (float)width;
    float squares = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) squares += (v[j] - mu) * (v[j] - mu);
    const float rs = 1 / sqrtf(warp_sum(squares) / (float)width + NORM_EPS);
    for (int64_t j = lane_index(); j < width; j += WARP) y[out * width + j] = (v[j] - mu) * rs * g[j] + b[j];
    if (lane_index()) return;
    if (mean) mean[out] = mu;
    if (rstd) rstd[out] = rs;
}
static void add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                     const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                     const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                     float *x_out, float *y, float *mean, float *rstd)
{
    LAUNCH(d, add_norm_kernel, grid_of((lafs_seqs_rows(s) + NORM_WARPS - 1) / NORM_WARPS), NORM_THREADS,
           NORM_WARPS * (size_t)width * sizeof(float), s->n, s->dev_off, width, x, some_of(s, from), branch,
           drop_of(drop), drop_of(path), some_of(s, to), g, b, x_out, y, mean, rstd);
}

/* With h = (x - mean) rstd and u = dy g:  dx += rstd (u - mean(u) - h mean(u h)); dbranch = dx path drop. */
KERNEL add_norm_bwd_kernel(int64_t n, const int64_t *off, int64_t width, struct some to, const float *dy,
                           const float *x_out, const float *mean, const float *rstd, const float *g, struct some from,
                           struct drop drop, struct drop path, float *dx, float *dbranch)
{
    const int64_t row = block_x() * NORM_WARPS + warp_index();
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
    const int64_t in = dy ? row_among(&to, seq, t) : -1, at = dbranch ? row_among(&from, seq, t) : -1;
    const float *x = x_out + row * width;
    float u = 0, uh = 0, mu = 0, rs = 0;
    if (in >= 0) {
        mu = mean[in], rs = rstd[in];
        for (int64_t j = lane_index(); j < width; j += WARP) {
            const float e = dy[in * width + j] * g[j];
            u += e;
            uh += e * ((x[j] - mu) * rs);
        }
        u = warp_sum(u) / (float)width;
        uh = warp_sum(uh) / (float)width;
    }
    const float keep = at >= 0 ? path_factor(&path, seq) : 0;
    struct drop_mask mask;
    for (int64_t j = lane_index(); j < width; j += WARP) {
        float e = dx[row * width + j];
        if (in >= 0) {
            e += rs * (dy[in * width + j] * g[j] - u - (x[j] - mu) * rs * uh);
            dx[row * width + j] = e;
        }
        if (at >= 0) dbranch[at * width + j] = e * keep * drop_factor(&drop, &mask, seq, t * width + j);
    }
}

/* Sums of SUM_ROWS rows of dy h into part (parts, width), of dy behind them all. A block has a warp of columns. */
KERNEL norm_part_kernel(const int64_t *off, int64_t rows, int64_t width, struct some to, const float *dy,
                        const float *x_out, const float *mean, const float *rstd, float *part)
{
    float *room = shared_memory<float>(), sum_g = 0, sum_b = 0;
    const int64_t column = (int64_t)block_y() * WARP + lane_index(), first = block_x() * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    for (int64_t r = first + warp_index(); r < end && column < width; r += THREADS / WARP) {
        const int64_t place = sequence_of(to.n, to.off, r), seq = to.of ? to.of[place] : place;
        const float e = dy[r * width + column], x = x_out[(off[seq] + r - to.off[place]) * width + column];
        sum_g += e * ((x - mean[r]) * rstd[r]);
        sum_b += e;
    }
    room[thread_index()] = sum_g;
    room[THREADS + thread_index()] = sum_b;
    block_sync();
    if (warp_index() > 1 || column >= width) return;
    float sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[warp_index() * THREADS + i * WARP + lane_index()];
    part[(warp_index() * grid_x() + block_x()) * width + column] = sum;
}
static void add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                         const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                         const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                         float *dx, float *dbranch, float *dg, float *db)
{
    const struct some in = some_of(s, to);
    LAUNCH(d, add_norm_bwd_kernel, grid_of((lafs_seqs_rows(s) + NORM_WARPS - 1) / NORM_WARPS), NORM_THREADS, 0, s->n,
           s->dev_off, width, in, dy, x_out, mean, rstd, g, some_of(s, from), drop_of(drop), drop_of(path), dx,
           dbranch);
    const int64_t rows = to ? lafs_seqs_rows(&to->s) : lafs_seqs_rows(s), parts = parts_of(rows);
    if (!dy || rows == 0 || (!dg && !db)) return;
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(2 * parts * width) * sizeof *part);
    if (!part) return;
    LAUNCH(d, norm_part_kernel, grid_of(parts, (width + WARP - 1) / WARP), THREADS, 2 * THREADS * sizeof(float),
           s->dev_off, rows, width, in, dy, x_out, mean, rstd, part);
    if (dg) sum_parts(d, parts, width, width, part, 1, dg);
    if (db) sum_parts(d, parts, width, width, part + parts * width, 1, db);
}

void ops_transformer(struct lafs_ops *ops)
{
    ops->assemble = assemble;
    ops->assemble_bwd = assemble_bwd;
    ops->add_norm = add_norm;
    ops->add_norm_bwd = add_norm_bwd;
}
