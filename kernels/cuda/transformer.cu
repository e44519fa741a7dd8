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

/* A thread takes eight neighbours of a row. */
KERNEL assemble_kernel(int64_t n, const int64_t *off, int64_t width, int whole, const float *proj, const float *cls,
                       const float *pos, struct drop drop, float *x)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, j = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
    float v[8], add[8], keep[8];
    take_eight(t == 0 ? cls + j : proj + (row - seq - 1) * width + j, width - j, whole, v);
    take_eight(pos + t * width + j, width - j, whole, add);
    drop_factors(&drop, seq, t * width + j, whole, keep);
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = (v[k] + add[k]) * keep[k];
    give_eight(x + row * width + j, width - j, whole, v);
}
static void assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj, const float *cls,
                     const float *pos, const struct lafs_drop *drop, float *x)
{
    LAUNCH(d, assemble_kernel, grid_for(lafs_seqs_rows(s) * ((width + 7) / 8)), THREADS, 0, s->n, s->dev_off, width,
           in_quads(width, proj, cls, pos, x), proj, cls, pos, drop_of(drop), x);
}

/* A thread has eight columns of a position, in a part of the sequences; part (parts, longest, width): their sums. */
enum { SEQUENCES = 64 };
KERNEL assemble_bwd_kernel(int64_t n, const int64_t *off, int64_t longest, int64_t width, int whole, const float *dx,
                           struct drop drop, float *dproj, float *part)
{
    const int64_t groups = (width + 7) / 8, t = global_index() / groups, j = global_index() % groups * 8;
    const int64_t first = (int64_t)block_y() * SEQUENCES, end = first + SEQUENCES < n ? first + SEQUENCES : n;
    float sum[8] = {0}, v[8], keep[8];
    if (t >= longest) return;
    for (int64_t i = first; i < end; i++) {
        const int64_t row = off[i] + t;
        if (row >= off[i + 1]) continue;
        take_eight(dx + row * width + j, width - j, whole, v);
        drop_factors(&drop, i, t * width + j, whole, keep);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            v[k] *= keep[k];
            sum[k] += v[k];
        }
        if (t) give_eight(dproj + (row - i - 1) * width + j, width - j, whole, v);
    }
    give_eight(part + (block_y() * longest + t) * width + j, width - j, whole, sum);
}
/* Those of a column, summed: position 0 has the CLS token. */
KERNEL_FOR(PARTS_BLOCK) assemble_sums_kernel(int64_t parts, int64_t n, int64_t width, const float *part, float *dcls,
                                             float *dpos)
{
    const int64_t j = block_x() * WARP + lane_index();
    const float sum = (float)parts_sum(parts, n, j, part, shared_memory<double>());
    if (warp_index() || j >= n) return;
    dpos[j] += sum;
    if (j < width) dcls[j] += sum;
}
static void assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                         const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos)
{
    const int64_t parts = (s->n + SEQUENCES - 1) / SEQUENCES, columns = s->max_len * width;
    const int threads = parts_threads(parts);
    if (parts == 0 || columns == 0) return;
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * columns) * sizeof *part);
    if (!part) return;
    LAUNCH(d, assemble_bwd_kernel, grid_of(grid_for(s->max_len * ((width + 7) / 8)).x, parts), THREADS, 0, s->n,
           s->dev_off, s->max_len, width, in_quads(width, dx, dproj), dx, drop_of(drop), dproj, part);
    LAUNCH(d, assemble_sums_kernel, grid_of((columns + WARP - 1) / WARP), threads, (size_t)threads * sizeof(double),
           parts, columns, width, part, dcls, dpos);
}

/* -- residual + LayerNorm: a lane takes eight neighbours at a time, which share a draw of dropout -- */

/* Rows of up to KEPT octets a lane lie in registers between the passes; backward the sums for parameters, too. */
enum { KEPT = 3, KEPT_WIDTH = KEPT * 8 * WARP };
static int norm_kept(int64_t width, int whole) { return whole && width <= KEPT_WIDTH; }

/* Where a sequence's rows are in the matrices beside the stream, and its factor: the same from row to row. */
struct beside {
    int64_t in, at; /* of its first row; -1: nowhere */
    float keep;
};
DEVICE void beside_of(struct beside *b, const struct some *to, const struct some *from, const struct drop *path,
                      int64_t seq, int in, int at)
{
    b->in = in ? row_among(to, seq, 0) : -1, b->at = at ? row_among(from, seq, 0) : -1;
    b->keep = b->at >= 0 ? path_factor(path, seq) : 0;
}

/* A lane's part of a kept row, as it lies in memory. */
template <class T> DEVICE void take_row(const T *from, int64_t width, stored_eight<T> to[KEPT])
{
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        const int j = 8 * lane_index() + i * 8 * WARP;
        if (j < width) to[i] = as_stored(from + j);
    }
}
/* A warp's row, and what belongs to its sequence. */
struct norm_row {
    struct place place;
    struct beside beside;
    struct drawing drawing;
};
DEVICE void find_row(struct norm_row *r, int64_t n, const int64_t *off, int64_t row, const struct some *to,
                     const struct some *from, const struct drop *drop, const struct drop *path, int in, int at)
{
    if (!place_row(&r->place, n, off, row)) return;
    beside_of(&r->beside, to, from, path, r->place.seq, in, at);
    if (drop->key) drawing_of(drop, r->place.seq, &r->drawing);
}
/* Dropout's factors of the eight at column j of row t of a sequence. */
DEVICE void row_factors(const struct drop *drop, const struct norm_row *r, int64_t t, int64_t width, int j,
                        float factor[8])
{
    if (drop->key) {
        drawn_factors(drop, &r->drawing, (uint32_t)t * (uint32_t)(width / 8) + (uint32_t)j / 8, factor);
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++) factor[k] = 1;
}

/* What add_norm_kernel does, of rows that are kept: a warp has every NORM_WARPS'th of NORM_KEPT_ROWS, and its next one
 * on its way while it computes one. */
enum { NORM_KEPT_ROWS = 64 };
template <class T> constexpr int norm_blocks = sizeof(T) == sizeof(float) ? 3 : 4; /* at once: of their registers */
template <class T>
KERNEL_FOR(NORM_THREADS, norm_blocks<T>) add_norm_kept_kernel(int64_t n, const int64_t *off, int64_t rows,
                                                              int64_t width, const float *x, struct some from,
                                                              const T *branch, struct drop drop, struct drop path,
                                                              struct some to, const float *g, const float *b,
                                                              float *x_out, T *y, float *mean, float *rstd)
{
    const int64_t first = block_x() * NORM_KEPT_ROWS;
    const int64_t end = first + NORM_KEPT_ROWS < rows ? first + NORM_KEPT_ROWS : rows;
    const int lane = 8 * lane_index();
    struct norm_row r = {{0, 0, 0}, {-1, -1, 0}, {}};
    stored_eight<float> next_x[KEPT] = {};
    stored_eight<T> next_branch[KEPT] = {};
    int64_t row = first + warp_index();
    if (row < end) {
        take_row(x + row * width, width, next_x);
        find_row(&r, n, off, row, &to, &from, &drop, &path, g != NULL, branch != NULL);
        if (r.beside.at >= 0) take_row(branch + (r.beside.at + row - r.place.start) * width, width, next_branch);
    }
    for (; row < end; row += NORM_WARPS) {
        const int64_t t = row - r.place.start, out = r.beside.in < 0 ? -1 : r.beside.in + t;
        float e[KEPT][8], scale[8], sum = 0, squares = 0;
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int j = lane + i * 8 * WARP;
            if (j >= width) continue;
            unpack(next_x[i], e[i]);
            if (r.beside.at >= 0) {
                float other[8];
                unpack(next_branch[i], other);
                row_factors(&drop, &r, t, width, j, scale);
#pragma unroll
                for (int k = 0; k < 8; k++) e[i][k] += other[k] * r.beside.keep * scale[k];
            }
        }
        if (row + NORM_WARPS < end) {
            take_row(x + (row + NORM_WARPS) * width, width, next_x);
            find_row(&r, n, off, row + NORM_WARPS, &to, &from, &drop, &path, g != NULL, branch != NULL);
            if (r.beside.at >= 0)
                take_row(branch + (r.beside.at + row + NORM_WARPS - r.place.start) * width, width, next_branch);
        }
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int j = lane + i * 8 * WARP;
            if (j >= width) continue;
            if (branch) give_whole(x_out + row * width + j, e[i]);
#pragma unroll
            for (int k = 0; k < 8; k++) sum += e[i][k];
        }
        if (out < 0) continue; /* with its whole warp */
        const float mu = warp_sum(sum) / (float)width;
#pragma unroll
        for (int i = 0; i < KEPT; i++)
            for (int k = 0; k < 8 && lane + i * 8 * WARP < width; k++) squares += (e[i][k] - mu) * (e[i][k] - mu);
        const float rs = 1 / sqrtf(warp_sum(squares) / (float)width + NORM_EPS);
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int j = lane + i * 8 * WARP;
            float offset[8];
            if (j >= width) continue;
            take_whole(g + j, scale);
            take_whole(b + j, offset);
#pragma unroll
            for (int k = 0; k < 8; k++) e[i][k] = (e[i][k] - mu) * rs * scale[k] + offset[k];
            give_whole(y + out * width + j, e[i]);
        }
        if (lane_index()) continue;
        if (mean) mean[out] = mu;
        if (rstd) rstd[out] = rs;
    }
}

template <class T>
KERNEL add_norm_kernel(int64_t n, const int64_t *off, int64_t width, int whole, const float *x, struct some from,
                       const T *branch, struct drop drop, struct drop path, struct some to, const float *g,
                       const float *b, float *x_out, T *y, float *mean, float *rstd)
{
    const int64_t row = block_x() * NORM_WARPS + warp_index();
    if (row >= off[n]) return; /* with its whole warp */
    float *v = shared_memory<float>() + warp_index() * width;
    const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
    const int64_t at = branch ? row_among(&from, seq, t) : -1, out = g ? row_among(&to, seq, t) : -1;
    const float keep = at >= 0 ? path_factor(&path, seq) : 0;
    float sum = 0, e[8], other[8], scale[8];
    for (int64_t j = 8 * lane_index(); j < width; j += 8 * WARP) {
        take_eight(x + row * width + j, width - j, whole, e);
        if (at >= 0) {
            take_eight(branch + at * width + j, width - j, whole, other);
            drop_factors(&drop, seq, t * width + j, whole, scale);
#pragma unroll
            for (int k = 0; k < 8; k++) e[k] += other[k] * keep * scale[k];
        }
        if (branch) give_eight(x_out + row * width + j, width - j, whole, e);
        give_eight(v + j, width - j, whole, e);
#pragma unroll
        for (int k = 0; k < 8; k++) sum += j + k < width ? e[k] : 0;
    }
    if (out < 0) return;
    const float mu = warp_sum(sum) / (float)width;
    float squares = 0;
    for (int64_t j = 8 * lane_index(); j < width; j += 8 * WARP) {
        take_eight(v + j, width - j, whole, e);
#pragma unroll
        for (int k = 0; k < 8; k++) squares += j + k < width ? (e[k] - mu) * (e[k] - mu) : 0;
    }
    const float rs = 1 / sqrtf(warp_sum(squares) / (float)width + NORM_EPS);
    for (int64_t j = 8 * lane_index(); j < width; j += 8 * WARP) {
        take_eight(v + j, width - j, whole, e);
        take_eight(g + j, width - j, whole, scale);
        take_eight(b + j, width - j, whole, other);
#pragma unroll
        for (int k = 0; k < 8; k++) e[k] = (e[k] - mu) * rs * scale[k] + other[k];
        give_eight(y + out * width + j, width - j, whole, e);
    }
    if (lane_index()) return;
    if (mean) mean[out] = mu;
    if (rstd) rstd[out] = rs;
}
template <class T>
static void add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                     const struct lafs_some *from, const T *branch, const struct lafs_drop *drop,
                     const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                     float *x_out, T *y, float *mean, float *rstd)
{
    const int whole = in_quads(width, x, branch, x_out, y) && in_quads(width, g, b);
    if (norm_kept(width, whole)) {
        LAUNCH_OF(T, d, add_norm_kept_kernel, grid_of((lafs_seqs_rows(s) + NORM_KEPT_ROWS - 1) / NORM_KEPT_ROWS),
                  NORM_THREADS, 0, s->n, s->dev_off, lafs_seqs_rows(s), width, x, some_of(s, from), branch,
                  drawn_drop_of(drop), drop_of(path), some_of(s, to), g, b, x_out, y, mean, rstd);
        return;
    }
    LAUNCH_OF(T, d, add_norm_kernel, grid_of((lafs_seqs_rows(s) + NORM_WARPS - 1) / NORM_WARPS), NORM_THREADS,
              NORM_WARPS * (size_t)width * sizeof(float), s->n, s->dev_off, width, whole, x, some_of(s, from), branch,
              drop_of(drop), drop_of(path), some_of(s, to), g, b, x_out, y, mean, rstd);
}

/* A block has NORM_ROWS rows of the residual stream, a warp every so many'th of them. What it adds to gradients of
 * parameters lies in shared memory, for each warp so many rows of `width`. */
enum { NORM_ROWS = 64 };
static int norm_bwd_threads(int64_t width) { return width <= 2048 ? NORM_THREADS : NORM_THREADS / 2; }

/* sum += v */
DEVICE void add_eight(float *sum, int64_t count, int whole, const float v[8])
{
    float all[8];
    take_eight(sum, count, whole, all);
#pragma unroll
    for (int k = 0; k < 8; k++) all[k] += v[k];
    give_eight(sum, count, whole, all);
}

/* The block's sums, over its warps in their order, to `part`. All threads come. */
DEVICE void norm_parts(int64_t width, int64_t room, float *part)
{
    block_sync();
    for (int64_t j = thread_index(); j < room; j += block_threads()) {
        float all = 0;
        for (int i = 0; i < block_threads() / WARP; i++) all += shared_memory<float>()[i * room + j];
        part[(j / width * grid_x() + block_x()) * width + j % width] = all;
    }
}

/* With h = (x - mean) rstd and u = dy g:  dx += rstd (u - mean(u) - h mean(u h)); dbranch = dx path drop. part (norm +
 * bias, blocks, width), norm 2 or 0, bias 1 or 0: sums of dy h and of dy; of dbranch. */
template <class T>
KERNEL add_norm_bwd_kernel(int64_t n, const int64_t *off, int64_t width, int whole, struct some to, const T *dy,
                           const float *x_out, const float *mean, const float *rstd, const float *g, struct some from,
                           struct drop drop, struct drop path, float *dx, T *dbranch, int norm, int bias, float *part)
{
    const int warps = block_threads() / WARP;
    const int64_t room = (norm + bias) * width;
    float *sum_g = shared_memory<float>() + warp_index() * room, *sum_b = sum_g + width, *sum_d = sum_g + norm * width;
    const int64_t first = block_x() * NORM_ROWS, end = first + NORM_ROWS < off[n] ? first + NORM_ROWS : off[n];
    for (int64_t j = lane_index(); j < room; j += WARP) sum_g[j] = 0;
    warp_sync();
    for (int64_t row = first + warp_index(); row < end; row += warps) {
        const int64_t seq = sequence_of(n, off, row), t = row - off[seq];
        const int64_t in = dy ? row_among(&to, seq, t) : -1, at = dbranch ? row_among(&from, seq, t) : -1;
        float u = 0, uh = 0, mu = 0, rs = 0, e[8], h[8], slope[8], scale[8];
        if (in >= 0) {
            mu = mean[in], rs = rstd[in];
            for (int64_t j = 8 * lane_index(); j < width; j += 8 * WARP) {
                take_eight(dy + in * width + j, width - j, whole, slope);
                take_eight(x_out + row * width + j, width - j, whole, h);
                take_eight(g + j, width - j, whole, scale); /* zeros behind the row: nothing is added */
                if (norm) add_eight(sum_b + j, width - j, whole, slope);
#pragma unroll
                for (int k = 0; k < 8; k++) {
                    h[k] = slope[k] * ((h[k] - mu) * rs);
                    u += slope[k] * scale[k];
                    uh += scale[k] * h[k];
                }
                if (norm) add_eight(sum_g + j, width - j, whole, h);
            }
            u = warp_sum(u) / (float)width;
            uh = warp_sum(uh) / (float)width;
        }
        const float keep = at >= 0 ? path_factor(&path, seq) : 0;
        for (int64_t j = 8 * lane_index(); j < width && (in >= 0 || at >= 0); j += 8 * WARP) {
            take_eight(dx + row * width + j, width - j, whole, e);
            if (in >= 0) {
                take_eight(dy + in * width + j, width - j, whole, slope);
                take_eight(x_out + row * width + j, width - j, whole, h);
                take_eight(g + j, width - j, whole, scale);
#pragma unroll
                for (int k = 0; k < 8; k++) e[k] += rs * (slope[k] * scale[k] - u - (h[k] - mu) * rs * uh);
                give_eight(dx + row * width + j, width - j, whole, e);
            }
            if (at < 0) continue;
            drop_factors(&drop, seq, t * width + j, whole, scale);
#pragma unroll
            for (int k = 0; k < 8; k++) e[k] *= keep * scale[k];
            give_eight(dbranch + at * width + j, width - j, whole, e);
            if (bias) add_eight(sum_d + j, width - j, whole, e);
        }
    }
    norm_parts(width, room, part);
}
/* The same of rows that are kept. What a row needs first is taken while the one before it is computed. */
template <class T>
KERNEL_FOR(NORM_THREADS, 2) add_norm_bwd_kept_kernel(int64_t n, const int64_t *off, int64_t rows, int64_t width,
                                                     struct some to, const T *dy, const float *x_out,
                                                     const float *mean, const float *rstd, const float *g,
                                                     struct some from, struct drop drop, struct drop path, float *dx,
                                                     T *dbranch, int norm, int bias, float *part)
{
    const int64_t room = (norm + bias) * width;
    const int64_t first = block_x() * NORM_ROWS, end = first + NORM_ROWS < rows ? first + NORM_ROWS : rows;
    const int lane = 8 * lane_index();
    float sum_g[KEPT][8] = {{0}}, sum_b[KEPT][8] = {{0}}, sum_d[KEPT][8] = {{0}}, next_mu = 0, next_rs = 0;
    struct norm_row r = {{0, 0, 0}, {-1, -1, 0}, {}};
    stored_eight<T> next_dy[KEPT] = {};
    stored_eight<float> next_x[KEPT] = {}, have[KEPT] = {};
    int64_t row = first + warp_index();
    if (row < end) {
        take_row(dx + row * width, width, have);
        if (dy) take_row(x_out + row * width, width, next_x);
        find_row(&r, n, off, row, &to, &from, &drop, &path, dy != NULL, dbranch != NULL);
        if (r.beside.in >= 0) {
            const int64_t in = r.beside.in + row - r.place.start;
            take_row(dy + in * width, width, next_dy);
            next_mu = mean[in], next_rs = rstd[in];
        }
    }
    for (; row < end; row += NORM_WARPS) {
        const int64_t t = row - r.place.start, at = r.beside.at < 0 ? -1 : r.beside.at + t, after = row + NORM_WARPS;
        const bool in = r.beside.in >= 0;
        const float keep = r.beside.keep, mu = next_mu, rs = next_rs;
        float e[KEPT][8], slope[KEPT][8], h[KEPT][8], scale[8], u = 0, uh = 0;
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int j = lane + i * 8 * WARP;
            if (j >= width || !in) continue;
            unpack(next_dy[i], slope[i]);
            unpack(next_x[i], h[i]);
            take_whole(g + j, scale);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                h[i][k] = (h[i][k] - mu) * rs;
                sum_b[i][k] += slope[i][k];
                sum_g[i][k] += slope[i][k] * h[i][k];
                slope[i][k] *= scale[k];
                u += slope[i][k];
                uh += slope[i][k] * h[i][k];
            }
        }
        if (in) {
            u = warp_sum(u) / (float)width;
            uh = warp_sum(uh) / (float)width;
        }
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int j = lane + i * 8 * WARP;
            if (j >= width) continue;
            unpack(have[i], e[i]);
            if (in) {
#pragma unroll
                for (int k = 0; k < 8; k++) e[i][k] += rs * (slope[i][k] - u - h[i][k] * uh);
                give_whole(dx + row * width + j, e[i]);
            }
            if (at < 0) continue;
            row_factors(&drop, &r, t, width, j, scale);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                e[i][k] *= keep * scale[k];
                sum_d[i][k] += e[i][k];
            }
            give_whole(dbranch + at * width + j, e[i]);
        }
        if (after >= end) continue;
        take_row(dx + after * width, width, have);
        if (dy) take_row(x_out + after * width, width, next_x);
        find_row(&r, n, off, after, &to, &from, &drop, &path, dy != NULL, dbranch != NULL);
        if (r.beside.in >= 0) {
            const int64_t place = r.beside.in + after - r.place.start;
            take_row(dy + place * width, width, next_dy);
            next_mu = mean[place], next_rs = rstd[place];
        }
    }
    float *sums = shared_memory<float>() + warp_index() * room;
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        const int j = lane + i * 8 * WARP;
        if (j >= width) continue;
        if (norm) give_whole(sums + j, sum_g[i]), give_whole(sums + width + j, sum_b[i]);
        if (bias) give_whole(sums + norm * width + j, sum_d[i]);
    }
    norm_parts(width, room, part);
}
template <class T>
static void add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                         const T *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                         const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                         float *dx, T *dbranch, float *dg, float *db, float *dbias)
{
    const int64_t parts = (lafs_seqs_rows(s) + NORM_ROWS - 1) / NORM_ROWS, n = parts * width;
    const int threads = norm_bwd_threads(width), norm = dy && (dg || db) ? 2 : 0, bias = dbranch && dbias;
    const int whole = in_quads(width, dy, x_out, dx, dbranch, g), sums = norm + bias;
    float *part = NULL;
    if (parts == 0) return;
    if (sums && !(part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(sums * n) * sizeof *part))) return;
    const size_t shared = (size_t)(threads / WARP * sums * width) * sizeof(float);
    if (norm_kept(width, whole))
        LAUNCH_OF(T, d, add_norm_bwd_kept_kernel, grid_of(parts), threads, shared, s->n, s->dev_off, lafs_seqs_rows(s),
                  width, some_of(s, to), dy, x_out, mean, rstd, g, some_of(s, from), drawn_drop_of(drop), drop_of(path),
                  dx, dbranch, norm, bias, part);
    else
        LAUNCH_OF(T, d, add_norm_bwd_kernel, grid_of(parts), threads, shared, s->n, s->dev_off, width, whole,
                  some_of(s, to), dy, x_out, mean, rstd, g, some_of(s, from), drop_of(drop), drop_of(path), dx,
                  dbranch, norm, bias, part);
    if (norm) add_parts(d, parts, width, part, sums, {{dg, db, bias ? dbias : NULL}});
    else if (bias) add_parts(d, parts, width, part, 1, {{dbias}});
}
static void add_norm_bwd_fp32(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                              const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                              const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                              float *dx, float *dbranch, float *dg, float *db)
{
    add_norm_bwd<float>(d, s, width, to, dy, x_out, mean, rstd, g, from, drop, path, dx, dbranch, dg, db, NULL);
}

void ops_transformer(struct lafs_ops *ops, struct lafs_bf16_ops *bf16)
{
    ops->assemble = assemble;
    ops->assemble_bwd = assemble_bwd;
    ops->add_norm = add_norm<float>;
    ops->add_norm_bwd = add_norm_bwd_fp32;
    bf16->add_norm = add_norm<struct lafs_bf16>;
    bf16->add_norm_bwd = add_norm_bwd<struct lafs_bf16>;
}
