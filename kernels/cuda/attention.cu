/* Attention inside packed sequences, forward and backward in one kernel each way, all precisions, of fp32 and of bf16
 * in memory. A block of four warps has 64 rows of one head of one sequence (queries, or keys for the gradients of keys
 * and values), a warp 16 of them; columns pass through shared memory 64 at a time. Products are mma's of bf16 with fp32
 * sums, three of them for bf16x3, or plain fp32; all take both factors from shared memory, rows of 64 along the summed
 * dimension.
 *
 *     forward    s = q k^T,  p = exp(scale s - max),  out = p v / sum p
 *     backward   p = exp(scale s - lse),  ds = p (dout v^T - dout.out),
 *                dq = scale ds k,  dk = scale ds^T q,  dv = p^T dout
 *
 * Of bf16 in memory, heads whose rows all fit into shared memory are heads.cu's.
 *
 * The largest score is found in a pass of its own, so that what is rounded to bf16 is what the op says; where all keys
 * fit one tile (a local view) its scores are kept. Where two tiles would hold the whole head in shared memory the
 * second read comes from the L2 cache. */
#include "kernels/cuda/dev.cuh"

enum { HEAD = 64, TILE = 64, ROWS = 16 /* of a warp */, ATT_WARPS = TILE / ROWS, ATT_THREADS = ATT_WARPS * WARP };
/* A precision of its own for kernels: bf16, in memory too. */
enum { STORED_BF16 = LAFS_PRECISION_BF16X3 + 1 };
template <int P> struct store {
    typedef float type;
};
template <> struct store<STORED_BF16> {
    typedef struct lafs_bf16 type;
};
enum { LD_BF16 = 72, LD_FP32 = 68 }; /* rows in shared memory, so far apart that a warp's reads hit different banks */

/* -- tiles of up to 64 rows of 64 in shared memory -- */

template <int P> struct tile { /* bf16: high parts, then for bf16x3 low ones */
    uint16_t *v;
    static constexpr int PARTS = P == LAFS_PRECISION_BF16X3 ? 2 : 1;
    static constexpr size_t BYTES = PARTS * TILE * LD_BF16 * sizeof(uint16_t);
};
template <> struct tile<LAFS_PRECISION_FP32> {
    float *v;
    static constexpr size_t BYTES = TILE * LD_FP32 * sizeof(float);
};
template <int P> DEVICE tile<P> tile_at(int i)
{
    tile<P> t;
    t.v = (decltype(t.v))(shared_memory<char>() + (size_t)i * tile<P>::BYTES);
    return t;
}

template <int P> DEVICE void put(tile<P> t, int r, int c, float x)
{
    t.v[r * LD_BF16 + c] = (uint16_t)bf16_bits(x);
    if (P == LAFS_PRECISION_BF16X3) t.v[(TILE + r) * LD_BF16 + c] = (uint16_t)bf16_bits(bf16_low(x));
}
DEVICE void put(tile<LAFS_PRECISION_FP32> t, int r, int c, float x) { t.v[r * LD_FP32 + c] = x; }

/* One float from global memory; copies_wait and block_sync come behind. */
template <int P> DEVICE void take(tile<P> t, int r, int c, const float *from) { put(t, r, c, *from); }
DEVICE void take(tile<LAFS_PRECISION_FP32> t, int r, int c, const float *from)
{
    copy_async(t.v + r * LD_FP32 + c, from);
}

/* Which element a thread moves, of those that go across: a warp has 4 rows of 8 columns, so that it reads whole sectors
 * and writes to banks that differ. */
DEVICE void place_across(int e, int *r, int *c)
{
    *c = e % 8 + e / 32 % 8 * 8;
    *r = e / 8 % 4 + e / 256 * 4;
}

template <int P>
DEVICE void load_rows(tile<P> t, const tile<P> *across, const float *from, int64_t stride, int count)
{
    for (int e = thread_index(); e < TILE * HEAD; e += ATT_THREADS) {
        int r = e / HEAD, c = e % HEAD;
        if (across) place_across(e, &r, &c);
        const float *at = from + r * stride + c;
        if (r < count) {
            take(t, r, c, at);
            if (across) take(*across, c, r, at);
        } else {
            put(t, r, c, 0);
            if (across) put(*across, c, r, 0);
        }
    }
}
template <int P> DEVICE void load_columns(tile<P> across, const float *from, int64_t stride, int count)
{
    for (int e = thread_index(); e < TILE * HEAD; e += ATT_THREADS) {
        int r, c;
        place_across(e, &r, &c);
        if (r < count) take(across, c, r, from + r * stride + c);
        else put(across, c, r, 0);
    }
}

/* From bf16 nothing is rounded: eight columns at a time. Of what goes across, a warp has 32 rows, two to a bank's word;
 * the rest of a row's sector comes from the L1 cache. */
DEVICE void scatter(tile<STORED_BF16> across, int r, int c, struct octet o)
{
#pragma unroll
    for (int k = 0; k < 8; k++) across.v[(c + k) * LD_BF16 + r] = (uint16_t)(o.word[k / 2] >> (k % 2 * 16));
}
DEVICE void load_rows(tile<STORED_BF16> t, const tile<STORED_BF16> *across, const struct lafs_bf16 *from,
                      int64_t stride, int count)
{
    for (int e = thread_index(); e < TILE * HEAD / 8; e += ATT_THREADS) {
        const int r = across ? e % TILE : e / 8, c = (across ? e / TILE : e % 8) * 8;
        const struct octet none = {{0, 0, 0, 0}}, o = r < count ? *(const struct octet *)(from + r * stride + c) : none;
        *(struct octet *)(t.v + r * LD_BF16 + c) = o;
        if (across) scatter(*across, r, c, o);
    }
}
DEVICE void load_columns(tile<STORED_BF16> across, const struct lafs_bf16 *from, int64_t stride, int count)
{
    for (int e = thread_index(); e < TILE * HEAD / 8; e += ATT_THREADS) {
        const int r = e % TILE, c = e / TILE * 8;
        const struct octet none = {{0, 0, 0, 0}};
        scatter(across, r, c, r < count ? *(const struct octet *)(from + r * stride + c) : none);
    }
}

/* Rows first.. of a matrix with rows `stride` apart, `count` of them, zeros behind; into rows of t and, unless NULL,
 * columns of `across`. */
template <int P>
DEVICE void load(tile<P> t, const tile<P> *across, const typename store<P>::type *from, int64_t stride, int64_t first,
                 int count)
{
    load_rows(t, across, from + first * stride, stride, count);
}
template <int P>
DEVICE void load_across(tile<P> across, const typename store<P>::type *from, int64_t stride, int64_t first, int count)
{
    load_columns(across, from + first * stride, stride, count);
}

/* -- products of a warp: sum (16, 8 n) += a's rows row.. (16, k) times b (8 n, k)^T; k a multiple of 16 --
 * Element e of sum[i] is in row g + 8 (e/2), column 8 i + 2 t + e%2, g = lane/4, t = lane%4. */

DEVICE uint32_t pair(const uint16_t *v, int r, int c)
{
    uint32_t u;
    memcpy(&u, v + r * LD_BF16 + c, sizeof u); /* c is even: one aligned word */
    return u;
}
DEVICE void a_fragment(const uint16_t *v, int row, int k, uint32_t a[4])
{
    const int g = lane_index() / 4, t = lane_index() % 4;
    a[0] = pair(v, row + g, k + 2 * t), a[1] = pair(v, row + g + 8, k + 2 * t);
    a[2] = pair(v, row + g, k + 2 * t + 8), a[3] = pair(v, row + g + 8, k + 2 * t + 8);
}
DEVICE void b_fragment(const uint16_t *v, int row, int k, uint32_t b[2])
{
    const int g = lane_index() / 4, t = lane_index() % 4;
    b[0] = pair(v, row + g, k + 2 * t), b[1] = pair(v, row + g, k + 2 * t + 8);
}

template <int P> DEVICE void multiply(tile<P> a, int row, tile<P> b, int k, int n, float sum[8][4])
{
    enum { LOW = TILE * LD_BF16, BOTH = tile<P>::PARTS == 2 };
    for (int at = 0; at < k; at += 16) {
        uint32_t ah[4], al[4], bh[2], bl[2];
        a_fragment(a.v, row, at, ah);
        if (BOTH) a_fragment(a.v + LOW, row, at, al);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if (i >= n) continue;
            b_fragment(b.v, 8 * i, at, bh);
            if (BOTH) {
                b_fragment(b.v + LOW, 8 * i, at, bl);
                mma_bf16(sum[i], ah, bl);
                mma_bf16(sum[i], al, bh);
            }
            mma_bf16(sum[i], ah, bh);
        }
    }
}
DEVICE void multiply(tile<LAFS_PRECISION_FP32> a, int row, tile<LAFS_PRECISION_FP32> b, int k, int n, float sum[8][4])
{
    const int g = lane_index() / 4, t = lane_index() % 4;
    const float *top = a.v + (row + g) * LD_FP32, *low = top + 8 * LD_FP32;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (i >= n) continue;
        const float *left = b.v + (8 * i + 2 * t) * LD_FP32, *right = left + LD_FP32;
#pragma unroll 4
        for (int j = 0; j < k; j++) {
            sum[i][0] += top[j] * left[j], sum[i][1] += top[j] * right[j];
            sum[i][2] += low[j] * left[j], sum[i][3] += low[j] * right[j];
        }
    }
}
DEVICE void clear(float sum[8][4])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        for (int e = 0; e < 4; e++) sum[i][e] = 0;
}

/* A block's place: tiles of a head beside each other, then the heads of a sequence, so that what they share is read
 * from memory once, and comes from the L2 cache. */
struct spot {
    int64_t seq, head;
    int tile;
};
DEVICE struct spot spot_of(int64_t heads, int64_t tiles)
{
    const int64_t i = block_x() / tiles;
    return {i / heads, i % heads, (int)(block_x() % tiles)};
}
DEVICE int tile_rows(int64_t all, int64_t first) { return all - first < TILE ? (int)(all - first) : (int)TILE; }
/* Columns in use, in pairs of 8: what a product over them takes. */
DEVICE int tile_columns(int count) { return (count + 15) / 16 * 2; }

/* -- forward -- */

template <int P>
KERNEL attention_kernel(struct head_rows<typename store<P>::type> a, int64_t tiles, int64_t whole,
                        typename store<P>::type *out, float *lse)
{
    const struct spot here = spot_of(a.heads, tiles);
    const int64_t seq = here.seq, head = here.head, q_first = a.q_off[seq], k_first = a.off[seq];
    const int64_t queries = a.q_off[seq + 1] - q_first, keys = a.off[seq + 1] - k_first,
                  first = (int64_t)here.tile * TILE;
    if (first >= queries || (queries <= whole && keys <= whole)) return; /* with its whole block */
    const tile<P> q = tile_at<P>(0), k = tile_at<P>(1), v = tile_at<P>(2), p = tile_at<P>(3);
    const typename store<P>::type *q_head = a.q + head * HEAD, *k_head = a.kv + head * HEAD,
                                  *v_head = k_head + a.heads * HEAD;
    const int rows = tile_rows(queries, first), row = warp_index() * ROWS, g = lane_index() / 4, t = lane_index() % 4;
    const int busy = row < rows;
    float s[8][4], o[8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    load<P>(q, NULL, q_head, a.ldq, q_first + first, rows);
    clear(o);
    for (int64_t at = 0; at < keys; at += TILE) {
        const int count = tile_rows(keys, at), n = tile_columns(count);
        block_sync(); /* nobody reads the last keys any more */
        load<P>(k, NULL, k_head, a.ldkv, k_first + at, count);
        copies_wait();
        block_sync();
        if (!busy) continue;
        clear(s);
        multiply(q, row, k, HEAD, n, s);
#pragma unroll
        for (int i = 0; i < 8; i++)
            for (int e = 0; e < 4; e++)
                if (8 * i + 2 * t + e % 2 < count) top[e / 2] = fmaxf(top[e / 2], a.scale * s[i][e]);
    }
    if (busy) top[0] = row_max(top[0]), top[1] = row_max(top[1]);
    for (int64_t at = 0; at < keys; at += TILE) {
        const int count = tile_rows(keys, at), n = tile_columns(count);
        block_sync();
        if (keys > TILE) load<P>(k, NULL, k_head, a.ldkv, k_first + at, count);
        load_across<P>(v, v_head, a.ldkv, k_first + at, count);
        copies_wait();
        block_sync();
        if (!busy) continue;
        if (keys > TILE) {
            clear(s);
            multiply(q, row, k, HEAD, n, s);
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            for (int e = 0; e < 4 && i < n; e++) {
                const int column = 8 * i + 2 * t + e % 2;
                const float x = column < count ? expf(a.scale * s[i][e] - top[e / 2]) : 0;
                sum[e / 2] += x;
                put(p, row + g + e / 2 * 8, column, x);
            }
        warp_sync();
        multiply(p, row, v, 8 * n, 8, o);
        warp_sync();
    }
    if (!busy) return;
    sum[0] = row_sum(sum[0]), sum[1] = row_sum(sum[1]);
    for (int half = 0; half < 2; half++) {
        const int64_t r = q_first + first + row + g + 8 * half;
        if (row + g + 8 * half >= rows) continue;
#pragma unroll
        for (int i = 0; i < 8; i++)
            give_pair(out + (r * a.heads + head) * HEAD + 8 * i + 2 * t, o[i][2 * half] / sum[half],
                      o[i][2 * half + 1] / sum[half]);
        if (lse && t == 0) lse[r * a.heads + head] = top[half] + logf(sum[half]);
    }
}

/* By precision; PARAMETERS(P) gives the tiles' number. */
#define BY_PRECISION(d, precision, kernel, grid, tiles, ...) \
    do { \
        if ((precision) == LAFS_PRECISION_FP32) \
            LAUNCH(d, kernel<LAFS_PRECISION_FP32>, grid, ATT_THREADS, (tiles)*tile<LAFS_PRECISION_FP32>::BYTES, \
                   __VA_ARGS__); \
        else if ((precision) == LAFS_PRECISION_BF16) \
            LAUNCH(d, kernel<LAFS_PRECISION_BF16>, grid, ATT_THREADS, (tiles)*tile<LAFS_PRECISION_BF16>::BYTES, \
                   __VA_ARGS__); \
        else \
            LAUNCH(d, kernel<LAFS_PRECISION_BF16X3>, grid, ATT_THREADS, (tiles)*tile<LAFS_PRECISION_BF16X3>::BYTES, \
                   __VA_ARGS__); \
    } while (0)

/* Kernels' `whole`: heads of so many rows are computed elsewhere. */
enum { NONE_WHOLE = 0 };
static int64_t tiles_of(int64_t longest) { return (longest + TILE - 1) / TILE; }

static void attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                      const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                      const float *kv, int64_t ldkv, float *out, float *lse)
{
    const struct head_rows<float> a = {heads, scale, qs->dev_off, s->dev_off, q, ldq, kv, ldkv};
    const int64_t tiles = tiles_of(qs->max_len);
    BY_PRECISION(d, precision, attention_kernel, grid_of(s->n * heads * tiles), 4, a, tiles, NONE_WHOLE, out, lse);
}
static void attention_bf16(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s, int64_t heads,
                           float scale, const struct lafs_bf16 *q, int64_t ldq, const struct lafs_bf16 *kv,
                           int64_t ldkv, struct lafs_bf16 *out, float *lse)
{
    const struct head_rows<struct lafs_bf16> a = {heads, scale, qs->dev_off, s->dev_off, q, ldq, kv, ldkv};
    const int64_t tiles = tiles_of(qs->max_len), whole = head_rows_most(d);
    heads_forward(d, qs, s, a, out, lse);
    if (qs->max_len > whole || s->max_len > whole)
        LAUNCH(d, attention_kernel<STORED_BF16>, grid_of(s->n * heads * tiles), ATT_THREADS,
               4 * tile<STORED_BF16>::BYTES, a, tiles, whole, out, lse);
}

/* -- backward -- */

/* along (query rows, heads) = dout.out: a warp each. */
template <class T> KERNEL along_kernel(int64_t n, const T *out, const T *dout, float *along)
{
    const int64_t i = global_index() / WARP, at = i * HEAD + 2 * lane_index();
    if (i >= n) return; /* with its whole warp */
    const float sum = warp_sum(number(out[at]) * number(dout[at]) + number(out[at + 1]) * number(dout[at + 1]));
    if (lane_index() == 0) along[i] = sum;
}

/* Of a tile of rows and columns: p in s, and with KEYS into `prob`; ds into `slope`, as rows of 64; zeros outside.
 * TIGHT: there is one tile for both, which ds has. */
template <int P, int KEYS, int TIGHT>
DEVICE void slopes(const struct head_rows<typename store<P>::type> *a, tile<P> prob, tile<P> slope, float s[8][4],
                   const float ds[8][4], int row, int rows, int count, int n, const float *lse, const float *along)
{
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int i = 0; i < 8; i++)
        for (int e = 0; e < 4 && i < n; e++) {
            const int r = row + g + e / 2 * 8, c = 8 * i + 2 * t + e % 2;
            const int inside = r < rows && c < count;
            const int64_t query = (int64_t)(KEYS ? c : r) * a->heads;
            const float p = inside ? expf(a->scale * s[i][e] - lse[query]) : 0;
            if (KEYS && !TIGHT) put(prob, r, c, p);
            put(slope, r, c, inside ? p * (ds[i][e] - along[query]) : 0);
            s[i][e] = p;
        }
}
template <int P> DEVICE void put_rows(tile<P> t, const float s[8][4], int row, int n)
{
    const int first = row + lane_index() / 4, at = lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; i++)
        for (int e = 0; e < 4 && i < n; e++) put(t, first + e / 2 * 8, 8 * i + at + e % 2, s[i][e]);
}

/* Tiles of a block. TIGHT, where blocks cannot have as many: columns come a second time, across, into the same room. */
enum { BWD_TILES = 8, BWD_TILES_TIGHT = 5 };

/* Rows are queries, columns keys; with KEYS the other way round. */
template <int P, int KEYS, int TIGHT>
DEVICE void attention_bwd_block(struct head_rows<typename store<P>::type> a, struct spot here, int64_t whole,
                                const typename store<P>::type *dout, const float *lse, const float *along,
                                typename store<P>::type *dq, typename store<P>::type *dkv)
{
    typedef typename store<P>::type T;
    const int64_t seq = here.seq, head = here.head, first = (int64_t)here.tile * TILE, wide = a.heads * HEAD;
    const int64_t q_first = a.q_off[seq], k_first = a.off[seq], queries = a.q_off[seq + 1] - q_first,
                  keys = a.off[seq + 1] - k_first;
    const T *q = a.q + q_first * a.ldq + head * HEAD, *k = a.kv + k_first * a.ldkv + head * HEAD, *v = k + wide;
    const T *go = dout + q_first * wide + head * HEAD;
    const int64_t all_rows = KEYS ? keys : queries, all_columns = KEYS ? queries : keys;
    if (first >= all_rows || (queries <= whole && keys <= whole)) return; /* with its whole block */
    const tile<P> r1 = tile_at<P>(0), r2 = tile_at<P>(1), c1 = tile_at<P>(2), c2 = tile_at<P>(3),
                  slope = tile_at<P>(4), c1_across = TIGHT ? c1 : tile_at<P>(5),
                  prob = TIGHT ? slope : tile_at<P>(6),
                  c2_across = TIGHT ? c2 : tile_at<P>(7); /* the last two with KEYS */
    const int rows = tile_rows(all_rows, first), row = warp_index() * ROWS, g = lane_index() / 4, t = lane_index() % 4;
    const int busy = row < rows;
    const T *from1 = KEYS ? q : k, *from2 = KEYS ? go : v;
    const int64_t stride1 = KEYS ? a.ldq : a.ldkv, stride2 = KEYS ? wide : a.ldkv;
    float s[8][4], ds[8][4], d1[8][4], d2[8][4];
    load<P>(r1, NULL, KEYS ? k : q, KEYS ? a.ldkv : a.ldq, first, rows);
    load<P>(r2, NULL, KEYS ? v : go, KEYS ? a.ldkv : wide, first, rows);
    clear(d1);
    clear(d2);
    lse += q_first * a.heads + head;
    along += q_first * a.heads + head;
    for (int64_t at = 0; at < all_columns; at += TILE) {
        const int count = tile_rows(all_columns, at), n = tile_columns(count);
        block_sync();
        load<P>(c1, TIGHT ? NULL : &c1_across, from1, stride1, at, count);
        load<P>(c2, KEYS && !TIGHT ? &c2_across : NULL, from2, stride2, at, count);
        copies_wait();
        block_sync();
        if (busy) {
            clear(s);
            clear(ds);
            multiply(r1, row, c1, HEAD, n, s);
            multiply(r2, row, c2, HEAD, n, ds);
            const int64_t query = (KEYS ? at : first) * a.heads;
            slopes<P, KEYS, TIGHT>(&a, prob, slope, s, ds, row, rows, count, n, lse + query, along + query);
        }
        if (TIGHT) {
            block_sync();
            load_across<P>(c1_across, from1, stride1, at, count);
            if (KEYS) load_across<P>(c2_across, from2, stride2, at, count);
            copies_wait();
            block_sync();
        }
        if (!busy) continue;
        warp_sync();
        multiply(slope, row, c1_across, 8 * n, 8, d1);
        if (KEYS && TIGHT) {
            warp_sync();
            put_rows(prob, s, row, n);
            warp_sync();
        }
        if (KEYS) multiply(prob, row, c2_across, 8 * n, 8, d2);
        warp_sync();
    }
    if (!busy) return;
    T *to = KEYS ? dkv + k_first * a.ldkv + head * HEAD : dq + q_first * a.ldq + head * HEAD;
    const int64_t stride = KEYS ? a.ldkv : a.ldq;
    for (int half = 0; half < 2; half++) {
        const int r = row + g + 8 * half;
        if (r >= rows) continue;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            T *at = to + (first + r) * stride + 8 * i + 2 * t;
            give_pair(at, a.scale * d1[i][2 * half], a.scale * d1[i][2 * half + 1]);
            if (KEYS) give_pair(at + wide, d2[i][2 * half], d2[i][2 * half + 1]);
        }
    }
}
/* The first q_tiles blocks of a head have queries, the other k_tiles have keys. */
template <int P, int TIGHT>
DEVICE void attention_bwd_either(struct head_rows<typename store<P>::type> a, int q_tiles, int k_tiles, int64_t whole,
                                 const typename store<P>::type *dout, const float *lse, const float *along,
                                 typename store<P>::type *dq, typename store<P>::type *dkv)
{
    struct spot here = spot_of(a.heads, q_tiles + k_tiles);
    if (here.tile < q_tiles) {
        attention_bwd_block<P, 0, TIGHT>(a, here, whole, dout, lse, along, dq, dkv);
    } else {
        here.tile -= q_tiles;
        attention_bwd_block<P, 1, TIGHT>(a, here, whole, dout, lse, along, dq, dkv);
    }
}
template <int P>
KERNEL attention_bwd_kernel(struct head_rows<typename store<P>::type> a, int q_tiles, int k_tiles, int64_t whole,
                            const typename store<P>::type *dout, const float *lse, const float *along,
                            typename store<P>::type *dq, typename store<P>::type *dkv)
{
    attention_bwd_either<P, 0>(a, q_tiles, k_tiles, whole, dout, lse, along, dq, dkv);
}
template <int P>
KERNEL attention_bwd_tight_kernel(struct head_rows<float> a, int q_tiles, int k_tiles, const float *dout,
                                  const float *lse, const float *along, float *dq, float *dkv)
{
    attention_bwd_either<P, 1>(a, q_tiles, k_tiles, NONE_WHOLE, dout, lse, along, dq, dkv);
}

/* NULL: no memory. */
template <class T>
static float *along_of(struct lafs_dev *d, const struct lafs_seqs *qs, int64_t heads, const T *out, const T *dout)
{
    const int64_t n = lafs_seqs_rows(qs) * heads;
    float *along = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)n * sizeof *along);
    if (along) LAUNCH_OF(T, d, along_kernel, grid_for(n * WARP), THREADS, 0, n, out, dout, along);
    return along;
}

static void attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                          const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                          const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                          float *dq, float *dkv)
{
    const struct head_rows<float> a = {heads, scale, qs->dev_off, s->dev_off, q, ldq, kv, ldkv};
    const float *along = along_of(d, qs, heads, out, dout);
    if (!along) return;
    const int q_tiles = (int)tiles_of(qs->max_len), k_tiles = (int)tiles_of(s->max_len);
    const struct grid grid = grid_of(s->n * heads * (q_tiles + k_tiles));
    if (precision == LAFS_PRECISION_FP32 && BWD_TILES * tile<LAFS_PRECISION_FP32>::BYTES > d->most_shared)
        LAUNCH(d, attention_bwd_tight_kernel<LAFS_PRECISION_FP32>, grid, ATT_THREADS,
               BWD_TILES_TIGHT * tile<LAFS_PRECISION_FP32>::BYTES, a, q_tiles, k_tiles, dout, lse, along, dq, dkv);
    else if (precision == LAFS_PRECISION_BF16X3 && BWD_TILES * tile<LAFS_PRECISION_BF16X3>::BYTES > d->most_shared)
        LAUNCH(d, attention_bwd_tight_kernel<LAFS_PRECISION_BF16X3>, grid, ATT_THREADS,
               BWD_TILES_TIGHT * tile<LAFS_PRECISION_BF16X3>::BYTES, a, q_tiles, k_tiles, dout, lse, along, dq, dkv);
    else
        BY_PRECISION(d, precision, attention_bwd_kernel, grid, BWD_TILES, a, q_tiles, k_tiles, NONE_WHOLE, dout, lse,
                     along, dq, dkv);
}
static void attention_bwd_bf16(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                               int64_t heads, float scale, const struct lafs_bf16 *q, int64_t ldq,
                               const struct lafs_bf16 *kv, int64_t ldkv, const struct lafs_bf16 *out, const float *lse,
                               const struct lafs_bf16 *dout, struct lafs_bf16 *dq, struct lafs_bf16 *dkv)
{
    const struct head_rows<struct lafs_bf16> a = {heads, scale, qs->dev_off, s->dev_off, q, ldq, kv, ldkv};
    const int64_t whole = head_rows_most(d);
    heads_backward(d, qs, s, a, out, lse, dout, dq, dkv);
    if (qs->max_len <= whole && s->max_len <= whole) return;
    const float *along = along_of(d, qs, heads, out, dout);
    if (!along) return;
    const int q_tiles = (int)tiles_of(qs->max_len), k_tiles = (int)tiles_of(s->max_len);
    LAUNCH(d, attention_bwd_kernel<STORED_BF16>, grid_of(s->n * heads * (q_tiles + k_tiles)), ATT_THREADS,
           BWD_TILES * tile<STORED_BF16>::BYTES, a, q_tiles, k_tiles, whole, dout, lse, along, dq, dkv);
}

void ops_attention(struct lafs_ops *ops, struct lafs_bf16_ops *bf16)
{
    ops->attention = attention;
    ops->attention_bwd = attention_bwd;
    bf16->attention = attention_bf16;
    bf16->attention_bwd = attention_bwd_bf16;
}
