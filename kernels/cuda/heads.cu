/* Attention of bf16 in memory, where all rows of a head fit into shared memory: a block has a head of a sequence, a
 * warp 16 rows of it at a time. What is longer is attention.cu's.
 *
 *     forward    s = q k^T,  p = exp(scale s - max),  out = p v / sum p
 *     backward   p = exp(scale s - lse),  ds = p (dout v^T - dout.out),
 *                dq = scale ds k,  dk = scale ds^T q,  dv = p^T dout
 *
 * Forward, a warp keeps the scores of its 16 queries with all keys in registers, so that the largest is known before p
 * is rounded. Backward, a warp has 16 keys and walks over queries, or 16 queries and walks over keys; it waits for
 * nobody.
 *
 * Rows of 64 lie in shared memory without gaps, the eight octets of row r in the order i ^ (r % 8), so that neither
 * eight rows of a column nor the reads of `sixteen` meet in a bank. Along the summed columns of q k^T and dout v^T both
 * factors are taken in the order that lets lane t of four read columns 16 t.. at once. p and ds go from the sums of one
 * product to the left side of the next inside registers. */
#include "kernels/cuda/dev.cuh"

enum { HEAD = 64, OCTETS = HEAD / 8, ROWS = 16 /* of a warp */, FEW = 64 /* rows of a short head */ };
enum { FORWARD_WARPS = 4, BACKWARD_WARPS = 8 };
static const float LOG2E = 1.44269504f;

/* What a launch does: heads of more than `above` and at most `most` rows. */
typedef struct head_rows<struct lafs_bf16> heads;
struct head {
    int64_t q_first, k_first, head;
    int queries, keys;
};
DEVICE int find_head(const heads *a, int above, int most, struct head *h)
{
    const int64_t seq = block_x() / a->heads;
    h->head = block_x() % a->heads;
    h->q_first = a->q_off[seq], h->k_first = a->off[seq];
    const int64_t queries = a->q_off[seq + 1] - h->q_first, keys = a->off[seq + 1] - h->k_first;
    const int64_t rows = queries > keys ? queries : keys;
    h->queries = (int)queries, h->keys = (int)keys;
    return rows > above && rows <= most;
}
DEVICE int padded(int rows) { return (rows + ROWS - 1) / ROWS * ROWS; }

/* -- shared memory -- */

DEVICE int place_of(int r, int octet) { return r * OCTETS + (octet ^ (r & 7)); }
/* `rows` rows, zeros behind them up to a multiple of 16; copies_wait and block_sync come behind. */
DEVICE void load(struct octet *to, const struct lafs_bf16 *from, int64_t stride, int rows)
{
    const struct octet none = {{0, 0, 0, 0}};
    for (int e = thread_index(); e < padded(rows) * OCTETS; e += block_threads()) {
        const int r = e / OCTETS, c = e % OCTETS;
        if (r < rows) copy_async_16(to + place_of(r, c), from + r * stride + 8 * c);
        else to[place_of(r, c)] = none;
    }
}

/* -- factors and products of a warp; g = lane/4, t = lane%4 -- */

/* Columns 16 t.. of a row. */
struct sixteen {
    uint32_t w[8];
};
DEVICE struct sixteen sixteen_of(struct octet a, struct octet b)
{
    return {{a.word[0], a.word[1], a.word[2], a.word[3], b.word[0], b.word[1], b.word[2], b.word[3]}};
}
DEVICE struct sixteen sixteen_at(const struct octet *rows, int r)
{
    const int c = lane_index() % 4 * 2;
    return sixteen_of(rows[place_of(r, c)], rows[place_of(r, c + 1)]);
}
/* Rows g and g + 8 of 16. */
struct left {
    struct sixteen top, low;
};
DEVICE struct left left_at(const struct octet *rows, int first)
{
    const int g = lane_index() / 4;
    return {sixteen_at(rows, first + g), sixteen_at(rows, first + g + 8)};
}
/* sum (16, 8) += a (16, 64) b's rows first..first+7 (8, 64)^T */
DEVICE void score(float sum[4], const struct left *a, const struct octet *rows, int first)
{
    const struct sixteen b = sixteen_at(rows, first + lane_index() / 4);
#pragma unroll
    for (int k = 0; k < 8; k += 2) {
        const uint32_t both[4] = {a->top.w[k], a->low.w[k], a->top.w[k + 1], a->low.w[k + 1]};
        const uint32_t right[2] = {b.w[k], b.w[k + 1]};
        mma_bf16(sum, both, right);
    }
}
/* sum (16, 64) += p (16, 16) rows first..first+15 (16, 64); p: two tiles of sums, as `score` leaves them. */
DEVICE void gather(float sum[8][4], const float p[2][4], const struct octet *rows, int first)
{
    const uint32_t a[4] = {bf16_pair(p[0][0], p[0][1]), bf16_pair(p[0][2], p[0][3]), bf16_pair(p[1][0], p[1][1]),
                           bf16_pair(p[1][2], p[1][3])};
    const int r = first + lane_index() % 16;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        uint32_t b[4];
        matrices_across(b, rows + place_of(r, 2 * c + lane_index() / 16));
        mma_bf16(sum[2 * c], a, b);
        mma_bf16(sum[2 * c + 1], a, b + 2);
    }
}
DEVICE void clear(float sum[8][4])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        for (int e = 0; e < 4; e++) sum[i][e] = 0;
}

/* Of four words the lanes of four take each the lane's own: w[i] becomes lane i's w[t]. */
DEVICE void turn(uint32_t w[4])
{
    const int t = lane_index() % 4;
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int i = bit == 1 ? 2 * k : k;
            const uint32_t other = warp_xor(t & bit ? w[i] : w[i + bit], bit);
            if (t & bit) w[i] = other;
            else w[i + bit] = other;
        }
}
/* sum (16, 64), row g times factor[0] and row g + 8 times factor[1], to `rows` rows that are `stride` apart. */
DEVICE void store(struct lafs_bf16 *to, int64_t stride, int rows, const float sum[8][4], const float factor[2])
{
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            uint32_t w[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                w[i] = bf16_pair(sum[j + i][2 * half] * factor[half], sum[j + i][2 * half + 1] * factor[half]);
            turn(w);
            const int r = g + 8 * half;
            if (r < rows) give_words(to + r * stride + 8 * (j + t), w);
        }
}

/* -- forward -- */

/* Rows of q come from memory as they are wanted. */
DEVICE struct sixteen take_query(const struct lafs_bf16 *q, int64_t ldq, int r, int queries)
{
    const struct octet none = {{0, 0, 0, 0}};
    const struct octet *at = (const struct octet *)(q + r * ldq) + lane_index() % 4 * 2;
    return r < queries ? sixteen_of(at[0], at[1]) : sixteen_of(none, none);
}

/* 16 queries; n: tiles of eight keys. */
template <int TILES>
DEVICE void forward_rows(const heads *a, const struct head *h, const struct octet *k, const struct octet *v, int first,
                         struct lafs_bf16 *out, float *lse)
{
    const int g = lane_index() / 4, t = lane_index() % 4, n = padded(h->keys) / 8;
    const struct lafs_bf16 *q = a->q + h->q_first * a->ldq + h->head * HEAD;
    const struct left left = {take_query(q, a->ldq, first + g, h->queries),
                              take_query(q, a->ldq, first + g + 8, h->queries)};
    float s[TILES][4], o[8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        for (int e = 0; e < 4; e++) s[i][e] = i < n ? 0 : -INFINITY;
        if (i >= n) continue;
        score(s[i], &left, k, 8 * i);
        if (8 * i + 8 > h->keys)
            for (int e = 0; e < 4; e++)
                if (8 * i + 2 * t + e % 2 >= h->keys) s[i][e] = -INFINITY;
        for (int e = 0; e < 4; e++) top[e / 2] = fmaxf(top[e / 2], s[i][e]);
    }
    /* In powers of 2, of which what is below the largest is taken in one step. */
    const float scale = a->scale * LOG2E;
    top[0] = scale * row_max(top[0]), top[1] = scale * row_max(top[1]);
    clear(o);
#pragma unroll
    for (int i = 0; i < TILES; i += 2) {
        if (i >= n) continue;
#pragma unroll
        for (int e = 0; e < 8; e++) {
            float *x = &s[i + e / 4][e % 4];
            *x = quick_exp2(scale * *x - top[e % 4 / 2]);
            sum[e % 4 / 2] += *x;
        }
        gather(o, s + i, v, 8 * i);
    }
    sum[0] = row_sum(sum[0]), sum[1] = row_sum(sum[1]);
    const float factor[2] = {1 / sum[0], 1 / sum[1]};
    store(out + ((h->q_first + first) * a->heads + h->head) * HEAD, a->heads * HEAD, h->queries - first, o, factor);
    if (!lse || t) return;
    for (int half = 0; half < 2; half++)
        if (first + g + 8 * half < h->queries)
            lse[(h->q_first + first + g + 8 * half) * a->heads + h->head] = top[half] / LOG2E + logf(sum[half]);
}
template <int TILES> DEVICE void forward(const heads *a, int above, int most, struct lafs_bf16 *out, float *lse)
{
    struct head h;
    if (!find_head(a, above, most, &h)) return; /* with its whole block */
    struct octet *k = shared_memory<struct octet>(), *v = k + padded(h.keys) * OCTETS;
    const struct lafs_bf16 *k_head = a->kv + h.k_first * a->ldkv + h.head * HEAD;
    load(k, k_head, a->ldkv, h.keys);
    load(v, k_head + a->heads * HEAD, a->ldkv, h.keys);
    copies_wait();
    block_sync();
    for (int first = warp_index() * ROWS; first < h.queries; first += FORWARD_WARPS * ROWS)
        forward_rows<TILES>(a, &h, k, v, first, out, lse);
}
KERNEL_FOR(FORWARD_WARPS * WARP, 5) head_few_kernel(heads a, int above, int most, struct lafs_bf16 *out, float *lse)
{
    forward<FEW / 8>(&a, above, most, out, lse);
}
KERNEL_FOR(FORWARD_WARPS * WARP, 3) head_kernel(heads a, int above, int most, struct lafs_bf16 *out, float *lse)
{
    forward<HEAD_ROWS / 8>(&a, above, most, out, lse);
}

/* -- backward -- */

struct slopes { /* of a launch */
    const struct lafs_bf16 *out, *dout;
    const float *lse;
    struct lafs_bf16 *dq, *dkv;
};
struct room { /* shared memory: rows, and of each query the lse in powers of 2 and dout.out */
    struct octet *q, *dout, *k, *v;
    float *lse, *along;
};
DEVICE struct room room_of(int queries, int keys)
{
    struct room m;
    m.q = shared_memory<struct octet>();
    m.dout = m.q + padded(queries) * OCTETS;
    m.k = m.dout + padded(queries) * OCTETS;
    m.v = m.k + padded(keys) * OCTETS;
    m.lse = (float *)(m.v + padded(keys) * OCTETS);
    m.along = m.lse + padded(queries);
    return m;
}
static size_t room_size(int64_t queries, int64_t keys)
{
    const int64_t q = (queries + ROWS - 1) / ROWS * ROWS, k = (keys + ROWS - 1) / ROWS * ROWS;
    return (size_t)(2 * (q + k) * HEAD) * sizeof(struct lafs_bf16) + (size_t)(2 * q) * sizeof(float);
}

/* dout.out of all queries, eight lanes a row. Behind the last query p shall be 0. */
DEVICE void dot_rows(const heads *a, const struct head *h, const struct slopes *s, const struct room *m)
{
    const int64_t wide = a->heads * HEAD, at = h->q_first * wide + h->head * HEAD;
    for (int e = thread_index(); e < padded(h->queries) * OCTETS; e += block_threads()) { /* by whole warps */
        const int r = e / OCTETS, c = e % OCTETS;
        float x[8], y[8], sum = 0;
        if (r < h->queries) {
            take_whole(s->out + at + r * wide + 8 * c, x);
            take_whole(s->dout + at + r * wide + 8 * c, y);
#pragma unroll
            for (int k = 0; k < 8; k++) sum += x[k] * y[k];
        }
        for (int bits = OCTETS / 2; bits; bits /= 2) sum += warp_xor(sum, bits);
        if (c) continue;
        m->along[r] = sum;
        m->lse[r] = r < h->queries ? LOG2E * s->lse[(h->q_first + r) * a->heads + h->head] : INFINITY;
    }
}

/* 16 keys and all queries (KEYS), or 16 queries and all keys. d1: dk or dq; d2: dv. */
template <int KEYS>
DEVICE void backward_rows(float scale, const struct head *h, const struct room *m, int first, float d1[8][4],
                          float d2[8][4])
{
    const int g = lane_index() / 4, t = lane_index() % 4, columns = KEYS ? h->queries : h->keys;
    const struct octet *across = KEYS ? m->q : m->k, *slopes = KEYS ? m->dout : m->v;
    const struct left left = left_at(KEYS ? m->k : m->q, first), right = left_at(KEYS ? m->v : m->dout, first);
    float lse[4], along[4];
    clear(d1);
    if (KEYS) clear(d2);
    for (int half = 0; half < 2 && !KEYS; half++)
        lse[half] = m->lse[first + g + 8 * half], along[half] = m->along[first + g + 8 * half];
    for (int at = 0; at < columns; at += ROWS) {
        float p[2][4] = {{0}}, ds[2][4] = {{0}};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            score(p[i], &left, across, at + 8 * i);
            score(ds[i], &right, slopes, at + 8 * i);
        }
        for (int i = 0; i < 4 && KEYS; i++)
            lse[i] = m->lse[at + 8 * (i / 2) + 2 * t + i % 2], along[i] = m->along[at + 8 * (i / 2) + 2 * t + i % 2];
#pragma unroll
        for (int e = 0; e < 8; e++) {
            const int i = e / 4, query = KEYS ? 2 * i + e % 2 : e % 4 / 2;
            float *x = &p[i][e % 4], *y = &ds[i][e % 4];
            *x = quick_exp2(scale * LOG2E * *x - lse[query]);
            if (!KEYS && at + 8 * i + 2 * t + e % 2 >= columns) *x = 0; /* exp of a score of 0 may be infinite */
            *y = *x * (*y - along[query]);
        }
        gather(d1, ds, across, at);
        if (KEYS) gather(d2, p, slopes, at);
    }
}
DEVICE void backward(const heads *a, int above, int most, const struct slopes *s)
{
    struct head h;
    if (!find_head(a, above, most, &h)) return; /* with its whole block */
    const int64_t wide = a->heads * HEAD;
    const struct room m = room_of(h.queries, h.keys);
    const struct lafs_bf16 *k = a->kv + h.k_first * a->ldkv + h.head * HEAD;
    load(m.q, a->q + h.q_first * a->ldq + h.head * HEAD, a->ldq, h.queries);
    load(m.dout, s->dout + h.q_first * wide + h.head * HEAD, wide, h.queries);
    load(m.k, k, a->ldkv, h.keys);
    load(m.v, k + wide, a->ldkv, h.keys);
    dot_rows(a, &h, s, &m);
    copies_wait();
    block_sync();
    const int k_tiles = padded(h.keys) / ROWS, tiles = k_tiles + padded(h.queries) / ROWS;
    const float scales[2] = {a->scale, a->scale}, ones[2] = {1, 1};
    for (int i = warp_index(); i < tiles; i += block_threads() / WARP) {
        const int keys = i < k_tiles, first = (keys ? i : i - k_tiles) * ROWS;
        float d1[8][4], d2[8][4];
        if (keys) {
            struct lafs_bf16 *to = s->dkv + (h.k_first + first) * a->ldkv + h.head * HEAD;
            backward_rows<1>(a->scale, &h, &m, first, d1, d2);
            store(to, a->ldkv, h.keys - first, d1, scales);
            store(to + wide, a->ldkv, h.keys - first, d2, ones);
        } else {
            backward_rows<0>(a->scale, &h, &m, first, d1, d2);
            store(s->dq + (h.q_first + first) * a->ldq + h.head * HEAD, a->ldq, h.queries - first, d1, scales);
        }
    }
}
KERNEL_FOR(BACKWARD_WARPS * WARP, 2) head_bwd_kernel(heads a, int above, int most, struct slopes s)
{
    backward(&a, above, most, &s);
}

/* -- launches -- */

/* Some sequence has more than `above` and at most `most` rows. */
static int any_between(const struct lafs_seqs *qs, const struct lafs_seqs *s, int64_t above, int64_t most)
{
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t queries = qs->off[i + 1] - qs->off[i], keys = s->off[i + 1] - s->off[i];
        const int64_t rows = queries > keys ? queries : keys;
        if (rows > above && rows <= most) return 1;
    }
    return 0;
}
static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t head_rows_most(const struct lafs_dev *d)
{
    int64_t rows = HEAD_ROWS;
    while (rows > FEW && room_size(rows, rows) > d->most_shared) rows -= ROWS;
    return rows;
}

void heads_forward(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                   struct head_rows<struct lafs_bf16> a, struct lafs_bf16 *out, float *lse)
{
    const int most = (int)head_rows_most(d);
    const struct grid all = grid_of(s->n * a.heads);
    const size_t row = 2 * HEAD * sizeof(struct lafs_bf16);
    if (any_between(qs, s, 0, FEW))
        LAUNCH(d, head_few_kernel, all, FORWARD_WARPS * WARP, FEW * row, a, 0, FEW, out, lse);
    const int64_t longest = (at_most(s->max_len, most) + ROWS - 1) / ROWS * ROWS;
    if (any_between(qs, s, FEW, most))
        LAUNCH(d, head_kernel, all, FORWARD_WARPS * WARP, (size_t)longest * row, a, FEW, most, out, lse);
}

void heads_backward(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                    struct head_rows<struct lafs_bf16> a, const struct lafs_bf16 *out, const float *lse,
                    const struct lafs_bf16 *dout, struct lafs_bf16 *dq, struct lafs_bf16 *dkv)
{
    const struct slopes slopes = {out, dout, lse, dq, dkv};
    const int64_t most = head_rows_most(d), bounds[3] = {0, FEW, most};
    for (int i = 0; i < 2; i++) {
        const int64_t queries = at_most(qs->max_len, bounds[i + 1]), keys = at_most(s->max_len, bounds[i + 1]);
        /* As many warps as share the tiles evenly. */
        const int64_t tiles = (queries + ROWS - 1) / ROWS + (keys + ROWS - 1) / ROWS;
        const int64_t rounds = (tiles + BACKWARD_WARPS - 1) / BACKWARD_WARPS;
        if (!any_between(qs, s, bounds[i], bounds[i + 1])) continue;
        LAUNCH(d, head_bwd_kernel, grid_of(s->n * a.heads), (int)((tiles + rounds - 1) / rounds) * WARP,
               room_size(queries, keys), a, (int)bounds[i], (int)bounds[i + 1], slopes);
    }
}
