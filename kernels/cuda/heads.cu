/* Attention of bf16 in memory, where all rows of a head fit into shared memory: a block has a head of a sequence, a
 * warp 16 or 32 rows of it at a time. What is longer is attention.cu's.
 *
 *     forward    s = q k^T,  p = exp(scale s - max),  out = p v / sum p
 *     backward   p = exp(scale s - lse),  ds = p (dout v^T - dout.out),
 *                dq = scale ds k,  dk = scale ds^T q,  dv = p^T dout
 *
 * A warp walks over the other side's rows, 16 at a time, and waits for nobody. Forward, p is divided by a whole power
 * of 2, raised on the way where scores grow beyond it, so that no bit depends on when. Backward, a warp has keys and
 * walks over queries, or queries and walks over keys. With 32 rows a warp reads half as much shared memory as with 16.
 *
 * Rows of 64 lie in shared memory without gaps, the eight octets of row r in the order i ^ (r % 8), so that eight rows
 * of an octet do not meet in a bank. p and ds go from the sums of one product to the left side of the next inside
 * registers. */
#include "kernels/cuda/dev.cuh"

enum { HEAD = 64, OCTETS = HEAD / 8, ROWS = 16 /* of a product */, FEW = 64 /* rows of a short head */ };
enum { WARPS = 4 /* of a block, at most */ };
static const float LOG2E = 1.44269504f, LN2 = 0.69314718f;

/* What a launch does: heads of more than `above` and at most `most` rows. */
typedef struct head_rows<struct lafs_bf16> heads;
struct head {
    int64_t q_first, k_first, head;
    int queries, keys;
};
DEVICE int find_head(const heads *a, int64_t block, int above, int most, struct head *h)
{
    const uint32_t n = (uint32_t)a->heads, seq = (uint32_t)block / n; /* a grid has less than 2^31 blocks */
    h->head = (uint32_t)block % n;
    h->q_first = a->q_off[seq], h->k_first = a->off[seq];
    const int64_t queries = a->q_off[seq + 1] - h->q_first, keys = a->off[seq + 1] - h->k_first;
    const int64_t rows = queries > keys ? queries : keys;
    h->queries = (int)queries, h->keys = (int)keys;
    return rows > above && rows <= most;
}
/* A block's tiles are taken by whichever warp is ready, of 16 M rows each, but where the last 16 rows are alone, those
 * are a tile. The first of a warp: not the same one in every block, since warps of the same number share a part of a
 * multiprocessor. The others: warp_number, which counts on from the block's warps. */
DEVICE int first_tile() { return (int)(((uint32_t)warp_index() + (uint32_t)block_x()) % (block_threads() / WARP)); }
DEVICE int padded(int rows) { return (rows + ROWS - 1) / ROWS * ROWS; }

/* -- shared memory -- */

DEVICE int place_of(int r, int octet) { return r * OCTETS + (octet ^ (r & 7)); }
/* `rows` rows, zeros behind them up to `room`, by so many threads, of which this is one; copies_wait and block_sync
 * come behind (warp_sync, where it is for a warp). */
DEVICE void load(struct octet *to, const struct lafs_bf16 *from, int64_t stride, int rows, int room, int thread,
                 int threads)
{
    const struct octet none = {{0, 0, 0, 0}};
    const int c = thread % OCTETS;
    from += thread / OCTETS * stride + 8 * c;
    for (int r = thread / OCTETS; r < room; r += threads / OCTETS, from += threads / OCTETS * stride)
        if (r < rows) copy_async_16(to + place_of(r, c), from);
        else to[place_of(r, c)] = none;
}
DEVICE void load(struct octet *to, const struct lafs_bf16 *from, int64_t stride, int rows)
{
    load(to, from, stride, rows, padded(rows), thread_index(), block_threads());
}

/* A block's loads have little to hide behind: the blocks of a multiprocessor are few, and began together. So a block,
 * when its own rows are there, has those of the block that comes `ahead` blocks later, about when this one ends, sent
 * to the L2 cache. 0: it does not. */
DEVICE int find_later(const heads *a, int ahead, int above, int most, struct head *h)
{
    const int64_t block = block_x() + ahead;
    return ahead && block < grid_x() && find_head(a, block, above, most, h);
}
DEVICE void expect_rows(const struct lafs_bf16 *from, int64_t stride, int rows)
{
    for (int e = thread_index(); e < 2 * rows; e += block_threads()) expect(from + e / 2 * stride + e % 2 * (HEAD / 2));
}
DEVICE void expect_head(const heads *a, const struct head *h)
{
    const struct lafs_bf16 *k = a->kv + h->k_first * a->ldkv + h->head * HEAD;
    expect_rows(k, a->ldkv, h->keys);
    expect_rows(k + a->heads * HEAD, a->ldkv, h->keys);
    expect_rows(a->q + h->q_first * a->ldq + h->head * HEAD, a->ldq, h->queries);
}

/* -- factors and products of a warp; g = lane/4, t = lane%4. All that begins at a row begins at a multiple of 8. -- */

/* The rows of a warp, M times 16: a of mma_bf16, of four times 16 columns. */
template <int M> struct own {
    uint32_t w[M][4][4];
};
template <int M> DEVICE struct own<M> own_at(const struct octet *rows, int first)
{
    struct own<M> a;
#pragma unroll
    for (int i = 0; i < 4 * M; i++)
        matrices(a.w[i / 4][i % 4], rows + (first + i / 4 * ROWS) * OCTETS +
                                        place_of(lane_index() % 16, i % 4 * 2 + lane_index() / 16));
    return a;
}
/* 16 rows of the other factor: b of mma_bf16, of rows 0..7 and 8..15, of four times 16 columns. */
struct across {
    uint32_t w[2][2][4];
};
DEVICE struct across across_at(const struct octet *rows, int first)
{
    struct across b;
#pragma unroll
    for (int i = 0; i < 4; i++)
        matrices(b.w[i % 2][i / 2], rows + (first + i % 2 * 8) * OCTETS +
                                        place_of(lane_index() % 8, i / 2 * 4 + lane_index() / 8));
    return b;
}
/* sum[m][n] (16, 8) += a's rows m (16, 64) b's rows n (8, 64)^T: products that do not wait for each other in turn. */
template <int M> DEVICE void score(float sum[M][2][4], const uint32_t a[M][4][4], const struct across *b)
{
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 2 * M; i++) mma_bf16(sum[i / 2][i % 2], a[i / 2][k], b->w[i % 2][k / 2] + k % 2 * 2);
}
/* sum[m] (16, 64) += p[m] (16, 16) rows first..first+15 (16, 64); p: as `score` leaves it. */
template <int M>
DEVICE void gather(float sum[M][8][4], const float p[M][2][4], const struct octet *rows, int first)
{
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) a[m][i] = bf16_pair(p[m][i / 2][i % 2 * 2], p[m][i / 2][i % 2 * 2 + 1]);
    rows += first * OCTETS;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        uint32_t b[4];
        matrices_across(b, rows + place_of(lane_index() % 16, 2 * c + lane_index() / 16));
#pragma unroll
        for (int m = 0; m < M; m++) {
            mma_bf16(sum[m][2 * c], a[m], b);
            mma_bf16(sum[m][2 * c + 1], a[m], b + 2);
        }
    }
}
template <int M> DEVICE void clear(float sum[M][8][4])
{
#pragma unroll
    for (int i = 0; i < 32 * M; i++) sum[i / 32][i / 4 % 8][i % 4] = 0;
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
            if (r < rows) put_16(to + r * stride + 8 * (j + t), w[0], w[1], w[2], w[3]);
        }
}

/* -- forward -- */

/* What a warp knows of its queries, rows g and g + 8 of each 16, behind some of the keys: p is 2^(scale s - less). */
template <int M> struct known {
    float o[M][8][4], less[M][2], sum[M][2];
};
/* `less` is a whole number, so that another one makes a p of other powers of 2 and of the same bits; it is raised where
 * a score is more than ROOM above it. Before the first: a number below every score. */
enum { ROOM = 8 };
static const float LOWEST = -0x1p100f;
DEVICE float power_of_2(float n) { return n < -126 ? 0 : bits_float((uint32_t)((int)n + 127) << 23); }
/* top: the largest scores of these lanes. */
template <int M> DEVICE void raise(struct known<M> *w, float scale, const float top[M][2])
{
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
        float *less = &w->less[i / 2][i % 2];
        const float largest = scale * row_max(top[i / 2][i % 2]);
        const float now = largest > *less + ROOM ? ceilf(largest) : *less, factor = power_of_2(*less - now);
        *less = now;
        w->sum[i / 2][i % 2] *= factor;
#pragma unroll
        for (int e = 0; e < 16; e++) w->o[i / 2][e / 2][i % 2 * 2 + e % 2] *= factor;
    }
}

/* 16 M queries from `first` on. */
template <int M>
DEVICE void forward_rows(const heads *a, const struct head *h, const uint32_t q[M][4][4], const struct octet *k,
                         const struct octet *v, int first, struct lafs_bf16 *out, float *lse)
{
    const int g = lane_index() / 4, t = lane_index() % 4;
    const float scale = a->scale * LOG2E;
    struct known<M> w;
    clear<M>(w.o);
#pragma unroll
    for (int i = 0; i < 2 * M; i++) w.less[i / 2][i % 2] = LOWEST, w.sum[i / 2][i % 2] = 0;
    struct across rows = across_at(k, 0);
#pragma unroll 1
    for (int at = 0; at < h->keys; at += ROWS) {
        float s[M][2][4] = {}, top[M][2];
        score<M>(s, q, &rows);
        rows = across_at(k, at + ROWS); /* in time for the next; behind the last key v begins */
        if (at + ROWS > h->keys)
#pragma unroll
            for (int e = 0; e < 8; e++)
                if (at + 8 * (e / 4) + 2 * t + e % 2 >= h->keys)
#pragma unroll
                    for (int m = 0; m < M; m++) s[m][e / 4][e % 4] = -INFINITY;
        bool above = false;
#pragma unroll
        for (int i = 0; i < 2 * M; i++) {
            const float *x = &s[i / 2][0][i % 2 * 2], *y = &s[i / 2][1][i % 2 * 2];
            top[i / 2][i % 2] = fmaxf(fmaxf(x[0], x[1]), fmaxf(y[0], y[1]));
            above |= scale * top[i / 2][i % 2] > w.less[i / 2][i % 2] + ROOM;
        }
        if (warp_ballot(above)) raise<M>(&w, scale, top);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int e = 0; e < 8; e++) {
                float *x = &s[m][e / 4][e % 4];
                *x = quick_exp2(scale * *x - w.less[m][e % 4 / 2]);
                w.sum[m][e % 4 / 2] += *x;
            }
        gather<M>(w.o, s, v, at);
    }
    float lse_less = 0, lse_sum = 1; /* of row g + 8 t */
#pragma unroll
    for (int m = 0; m < M; m++) {
        const int from = first + m * ROWS;
        float factor[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float sum = row_sum(w.sum[m][half]);
            factor[half] = quick_inverse(sum);
            if (t == 2 * m + half) lse_less = w.less[m][half], lse_sum = sum;
        }
        store(out + ((h->q_first + from) * a->heads + h->head) * HEAD, a->heads * HEAD, h->queries - from, w.o[m],
              factor);
    }
    const int r = first + g + 8 * t;
    if (lse && t < 2 * M && r < h->queries)
        lse[(h->q_first + r) * a->heads + h->head] = lse_less * LN2 + logf(lse_sum);
}
template <int M> DEVICE void forward(const heads *a, int above, int most, int ahead, struct lafs_bf16 *out, float *lse)
{
    struct head h, later;
    if (!find_head(a, block_x(), above, most, &h)) return; /* with its whole block */
    const int more = find_later(a, ahead, above, most, &later);
    const int warps = block_threads() / WARP, rows = M * ROWS;
    struct octet *k = shared_memory<struct octet>(), *v = k + padded(h.keys) * OCTETS;
    struct octet *rooms = v + padded(h.keys) * OCTETS, *room = rooms + warp_index() * rows * OCTETS; /* for queries */
    int *turn = (int *)(rooms + warps * rows * OCTETS);
    const struct lafs_bf16 *k_head = a->kv + h.k_first * a->ldkv + h.head * HEAD;
    const struct lafs_bf16 *q = a->q + h.q_first * a->ldq + h.head * HEAD;
    int first = first_tile() * rows;
    if (thread_index() == 0) *turn = warps;
    load(k, k_head, a->ldkv, h.keys);
    load(v, k_head + a->heads * HEAD, a->ldkv, h.keys);
    if (first < h.queries) load(room, q + first * a->ldq, a->ldq, h.queries - first, rows, lane_index(), WARP);
    copies_wait();
    block_sync();
    if (more) expect_head(a, &later);
    while (first < h.queries) {
        const int next = warp_number(turn) * rows;
        const struct own<M> mine = own_at<M>(room, 0);
        warp_sync();
        if (next < h.queries) load(room, q + next * a->ldq, a->ldq, h.queries - next, rows, lane_index(), WARP);
        if (M == 1 || first + ROWS < h.queries) forward_rows<M>(a, &h, mine.w, k, v, first, out, lse);
        else forward_rows<1>(a, &h, mine.w, k, v, first, out, lse);
        copies_wait();
        warp_sync();
        first = next;
    }
}
KERNEL_FOR(WARPS * WARP, 5) head_few_kernel(heads a, int above, int most, struct lafs_bf16 *out, float *lse)
{
    forward<1>(&a, above, most, 0, out, lse);
}
KERNEL_FOR(WARPS * WARP, 3) head_kernel(heads a, int above, int most, int ahead, struct lafs_bf16 *out, float *lse)
{
    forward<2>(&a, above, most, ahead, out, lse);
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
    int *turn;
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
    m.turn = (int *)(m.along + padded(queries));
    return m;
}
static int64_t tiles_of(int64_t rows, int m = 1) { return (rows + m * ROWS - 1) / (m * ROWS); }
static size_t room_size(int64_t queries, int64_t keys)
{
    const int64_t q = tiles_of(queries) * ROWS, k = tiles_of(keys) * ROWS;
    return (size_t)(2 * (q + k) * HEAD) * sizeof(struct lafs_bf16) + (size_t)(2 * q) * sizeof(float) + sizeof(int);
}

/* dout.out of all queries, eight lanes a row; a lane takes those octets of dout that it has copied itself, and waits
 * for its copies when many of `out` are on their way, too. Behind the last query p shall be 0. */
DEVICE void dot_rows(const heads *a, const struct head *h, const struct slopes *s, const struct room *m)
{
    enum { AT_ONCE = 7 };
    const int64_t wide = a->heads * HEAD;
    const int c = thread_index() % OCTETS, step = block_threads() / OCTETS;
    const struct lafs_bf16 *out = s->out + h->q_first * wide + h->head * HEAD + 8 * c;
    for (int first = thread_index() / OCTETS; first < padded(h->queries); first += AT_ONCE * step) { /* warps alike */
        struct octet o[AT_ONCE];
        float lse[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int r = first + i * step;
            const int there = r < h->queries ? r : h->queries - 1;
            o[i] = *(const struct octet *)(out + there * wide);
            lse[i] = s->lse[(h->q_first + there) * a->heads + h->head];
        }
        warp_sync(); /* a compiler may wait first and load then, if it can */
        copies_wait();
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int r = first + i * step;
            if (r >= padded(h->queries)) continue; /* for the whole warp */
            const struct octet d = m->dout[place_of(r, c)];
            float sum = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                sum += bits_float(o[i].word[k] << 16) * bits_float(d.word[k] << 16);
                sum += bits_float(o[i].word[k] & 0xffff0000u) * bits_float(d.word[k] & 0xffff0000u);
            }
            for (int bits = OCTETS / 2; bits; bits /= 2) sum += warp_xor(sum, bits);
            if (c) continue;
            m->along[r] = r < h->queries ? sum : 0;
            m->lse[r] = r < h->queries ? LOG2E * lse[i] : INFINITY;
        }
    }
}

/* 16 M keys and all queries (KEYS), or 16 M queries and all keys. d1: dk or dq; d2: dv. */
template <int M, int KEYS>
DEVICE void backward_rows(float scale, const struct head *h, const struct room *m, int first, float d1[M][8][4],
                          float d2[M][8][4])
{
    const int g = lane_index() / 4, t = lane_index() % 4, columns = KEYS ? h->queries : h->keys;
    const struct octet *across = KEYS ? m->q : m->k, *slopes = KEYS ? m->dout : m->v;
    const struct own<M> mine = own_at<M>(KEYS ? m->k : m->q, first), other = own_at<M>(KEYS ? m->v : m->dout, first);
    float lse[KEYS ? 4 : 2 * M], along[KEYS ? 4 : 2 * M]; /* of this lane's queries */
    clear<M>(d1);
    if (KEYS) clear<M>(d2);
#pragma unroll
    for (int i = 0; i < 2 * M && !KEYS; i++) {
        const int r = first + g + 8 * i;
        lse[i] = m->lse[r], along[i] = m->along[r];
    }
#pragma unroll 1
    for (int at = 0; at < columns; at += ROWS) {
        float p[M][2][4] = {}, ds[M][2][4] = {};
        const struct across one = across_at(across, at), two = across_at(slopes, at);
        score<M>(p, mine.w, &one);
        score<M>(ds, other.w, &two);
        for (int i = 0; i < 4 && KEYS; i++)
            lse[i] = m->lse[at + 8 * (i / 2) + 2 * t + i % 2], along[i] = m->along[at + 8 * (i / 2) + 2 * t + i % 2];
#pragma unroll
        for (int e = 0; e < 8 * M; e++) {
            const int i = e / 4 % 2, query = KEYS ? 2 * i + e % 2 : e / 8 * 2 + e % 4 / 2;
            float *x = &p[e / 8][i][e % 4], *y = &ds[e / 8][i][e % 4];
            *x = quick_exp2(scale * LOG2E * *x - lse[query]);
            if (!KEYS && at + 8 * i + 2 * t + e % 2 >= columns) *x = 0; /* exp of a score of 0 may be infinite */
            *y = *x * (*y - along[query]);
        }
        gather<M>(d1, ds, across, at);
        if (KEYS) gather<M>(d2, p, slopes, at);
    }
}
template <int M, int KEYS>
DEVICE void backward_tile(const heads *a, const struct head *h, const struct slopes *s, const struct room *m, int first)
{
    const float scales[2] = {a->scale, a->scale}, ones[2] = {1, 1};
    const int64_t stride = KEYS ? a->ldkv : a->ldq;
    float d1[M][8][4], d2[M][8][4];
    backward_rows<M, KEYS>(a->scale, h, m, first, d1, d2);
#pragma unroll
    for (int i = 0; i < M; i++) {
        const int from = first + i * ROWS, rows = (KEYS ? h->keys : h->queries) - from;
        const int64_t at = ((KEYS ? h->k_first : h->q_first) + from) * stride + h->head * HEAD;
        struct lafs_bf16 *to = (KEYS ? s->dkv : s->dq) + at;
        store(to, stride, rows, d1[i], scales);
        if (KEYS) store(to + a->heads * HEAD, stride, rows, d2[i], ones);
    }
}
template <int M> DEVICE void backward(const heads *a, int above, int most, int ahead, const struct slopes *s)
{
    struct head h, later;
    if (!find_head(a, block_x(), above, most, &h)) return; /* with its whole block */
    const int more = find_later(a, ahead, above, most, &later);
    const int64_t wide = a->heads * HEAD;
    const struct room m = room_of(h.queries, h.keys);
    const struct lafs_bf16 *k = a->kv + h.k_first * a->ldkv + h.head * HEAD;
    load(m.q, a->q + h.q_first * a->ldq + h.head * HEAD, a->ldq, h.queries);
    load(m.dout, s->dout + h.q_first * wide + h.head * HEAD, wide, h.queries);
    load(m.k, k, a->ldkv, h.keys);
    load(m.v, k + wide, a->ldkv, h.keys);
    dot_rows(a, &h, s, &m);
    if (thread_index() == 0) *m.turn = block_threads() / WARP;
    copies_wait();
    block_sync();
    if (more) {
        const int64_t at = later.q_first * wide + later.head * HEAD;
        expect_head(a, &later);
        expect_rows(s->dout + at, wide, later.queries);
        expect_rows(s->out + at, wide, later.queries);
    }
    const int rows = M * ROWS, k_tiles = (h.keys + rows - 1) / rows, tiles = k_tiles + (h.queries + rows - 1) / rows;
    for (int i = first_tile(); i < tiles; i = warp_number(m.turn)) {
        const int keys = i < k_tiles, first = (keys ? i : i - k_tiles) * rows;
        const int whole = M == 1 || first + ROWS < (keys ? h.keys : h.queries);
        if (keys && whole) backward_tile<M, 1>(a, &h, s, &m, first);
        else if (keys) backward_tile<1, 1>(a, &h, s, &m, first);
        else if (whole) backward_tile<M, 0>(a, &h, s, &m, first);
        else backward_tile<1, 0>(a, &h, s, &m, first);
    }
}
KERNEL_FOR(WARPS * WARP, 4) head_bwd_few_kernel(heads a, int above, int most, struct slopes s)
{
    backward<1>(&a, above, most, 0, &s);
}
KERNEL_FOR(WARPS * WARP, 2) head_bwd_kernel(heads a, int above, int most, int ahead, struct slopes s)
{
    backward<2>(&a, above, most, ahead, &s);
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
/* As many as share the tiles evenly. */
static int warps_for(int64_t tiles)
{
    const int64_t rounds = (tiles + WARPS - 1) / WARPS;
    return (int)((tiles + rounds - 1) / rounds);
}

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
    const size_t sixteen = ROWS * HEAD * sizeof(struct lafs_bf16);
    if (any_between(qs, s, 0, FEW)) {
        const int64_t keys = tiles_of(at_most(s->max_len, FEW));
        const int warps = warps_for(tiles_of(at_most(qs->max_len, FEW)));
        LAUNCH(d, head_few_kernel, all, warps * WARP, (size_t)(2 * keys + warps) * sixteen + sizeof(int), a, 0, FEW,
               out, lse);
    }
    if (any_between(qs, s, FEW, most)) {
        const int64_t keys = tiles_of(at_most(s->max_len, most));
        const int warps = warps_for(tiles_of(at_most(qs->max_len, most), 2));
        LAUNCH(d, head_kernel, all, warps * WARP, (size_t)(2 * (keys + warps)) * sixteen + sizeof(int), a, FEW, most,
               3 * d->processors, out, lse);
    }
}

void heads_backward(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                    struct head_rows<struct lafs_bf16> a, const struct lafs_bf16 *out, const float *lse,
                    const struct lafs_bf16 *dout, struct lafs_bf16 *dq, struct lafs_bf16 *dkv)
{
    const struct slopes slopes = {out, dout, lse, dq, dkv};
    const struct grid all = grid_of(s->n * a.heads);
    const int most = (int)head_rows_most(d);
    if (any_between(qs, s, 0, FEW)) {
        const int64_t queries = at_most(qs->max_len, FEW), keys = at_most(s->max_len, FEW);
        LAUNCH(d, head_bwd_few_kernel, all, warps_for(tiles_of(queries) + tiles_of(keys)) * WARP,
               room_size(queries, keys), a, 0, FEW, slopes);
    }
    if (any_between(qs, s, FEW, most)) {
        const int64_t queries = at_most(qs->max_len, most), keys = at_most(s->max_len, most);
        LAUNCH(d, head_bwd_kernel, all, warps_for(tiles_of(queries, 2) + tiles_of(keys, 2)) * WARP,
               room_size(queries, keys), a, FEW, most, 2 * d->processors, slopes);
    }
}
