/* Which rows of a gallery are worth a closer look: dot products of bytes by tensor cores, and a list of what they find.
 *
 * A block has TILE queries and TILE entries. Of both, STEP bytes a row are in shared memory while the next ones are on
 * their way; rows lie STEP + 16 bytes apart, so that eight of them are in different banks. A warp has 64 queries and
 * 32 entries, whose products stay in registers: four by four of mma_bytes. */
#include "kernels/cuda/dev.cuh"

enum {
    TILE = 128, STEP = 128, ROW = STEP + 16, STAGE = 2 * TILE * ROW,
    HALF = 32,              /* entries of a warp, bits of half a word of hits */
    HALVES = TILE / HALF, ACROSS = 4, DOWN = 4, MMA_ROWS = 16, MMA_COLUMNS = 8, SLICE = 32,
    GROUP = 32              /* tiles of entries that blocks near each other share: some MB, which the L2 cache holds */
};

struct scanned {
    int64_t nq, m, dim;
    const int8_t *q;
    const float *c, *a;
    const int8_t *g;
    const float *x, *y;
    uint32_t *hits;
    int64_t tiles;          /* of entries */
};

/* The block's tile of queries and that of entries: entries of a group first, then the next queries. */
DEVICE void own_tiles(const struct scanned &s, int64_t *queries, int64_t *entries)
{
    const int64_t per_group = (s.nq + TILE - 1) / TILE * GROUP, first = block_x() / per_group * GROUP;
    const int64_t width = s.tiles - first < GROUP ? s.tiles - first : (int64_t)GROUP, at = block_x() % per_group;
    *queries = at / width;
    *entries = first + at % width;
}

/* Bytes from..from+STEP of the rows of both tiles begin their way to `stage`; behind the last row it again. */
DEVICE void fetch(const struct scanned &s, int64_t queries, int64_t entries, int64_t from, int8_t *stage)
{
    enum { PIECE = 16, PIECES = STEP / PIECE, AT_ONCE = THREADS / PIECES };
    const int64_t piece = from + thread_index() % PIECES * PIECE;
    if (piece >= s.dim) return;
    int8_t *to = stage + thread_index() % PIECES * PIECE;
#pragma unroll
    for (int r = 0; r < TILE / AT_ONCE; r++) {
        const int k = thread_index() / PIECES + r * AT_ONCE;
        const int64_t i = queries * TILE + k, j = entries * TILE + k;
        copy_async_16(to + k * ROW, s.q + (i < s.nq ? i : s.nq - 1) * s.dim + piece);
        copy_async_16(to + (TILE + k) * ROW, s.g + (j < s.m ? j : s.m - 1) * s.dim + piece);
    }
}

/* dot += products of the warp's queries and entries over SLICE bytes, which begin at column `from` of `stage`. */
DEVICE void multiply_slice(const int8_t *stage, int from, int32_t dot[DOWN][ACROSS][4])
{
    const int l = lane_index(), warp = warp_index();
    const int8_t *queries = stage + (warp / HALVES * DOWN * MMA_ROWS + l % 16) * ROW + from + l / 16 * 16;
    const int8_t *entries = stage + (TILE + warp % HALVES * HALF + l % 8 + l / 16 * 8) * ROW + from + l / 8 % 2 * 16;
    uint32_t a[DOWN][4], b[ACROSS / 2][4]; /* b: of two mma's columns each */
#pragma unroll
    for (int k = 0; k < DOWN; k++) matrices(a[k], queries + k * MMA_ROWS * ROW);
#pragma unroll
    for (int k = 0; k < ACROSS / 2; k++) matrices(b[k], entries + 2 * k * MMA_COLUMNS * ROW);
#pragma unroll
    for (int i = 0; i < DOWN; i++)
#pragma unroll
        for (int j = 0; j < ACROSS; j++) mma_bytes(dot[i][j], a[i], b[j / 2] + j % 2 * 2);
}

/* The bits of the warp's entries, for each of its queries: a lane has two columns of eight, four lanes share a row. */
DEVICE void tell(const struct scanned &s, int64_t queries, int64_t entries, const int32_t dot[DOWN][ACROSS][4])
{
    const int g = lane_index() / 4, t = lane_index() % 4;
    const int64_t half = entries * HALVES + warp_index() % HALVES, halves = (s.m + 63) / 64 * 2;
    const int64_t first = queries * TILE + warp_index() / HALVES * DOWN * MMA_ROWS + g;
    float x[ACROSS][2], y[ACROSS][2];
#pragma unroll
    for (int k = 0; k < 2 * ACROSS; k++) {
        const int64_t j = half * HALF + k / 2 * MMA_COLUMNS + 2 * t + k % 2;
        x[k / 2][k % 2] = j < s.m ? s.x[j] : 0;
        y[k / 2][k % 2] = j < s.m ? s.y[j] : 0;
    }
#pragma unroll
    for (int r = 0; r < 2 * DOWN; r++) {
        const int64_t i = first + r * MMA_COLUMNS; /* the two halves of an mma's rows are eight apart, as are mmas */
        const float c = i < s.nq ? s.c[i] : 0, a = i < s.nq ? s.a[i] : 0;
        uint32_t bits = 0;
#pragma unroll
        for (int k = 0; k < 2 * ACROSS; k++) {
            const int column = k / 2 * MMA_COLUMNS + 2 * t + k % 2;
            const float least = multiply_rounded(c, x[k / 2][k % 2]) - multiply_rounded(a, y[k / 2][k % 2]);
            const int hit = (float)dot[r / 2][k / 2][r % 2 * 2 + k % 2] >= least && half * HALF + column < s.m;
            bits |= (uint32_t)hit << column;
        }
        bits |= warp_xor(bits, 1);
        bits |= warp_xor(bits, 2);
        if (t == 0 && i < s.nq && half < halves) s.hits[i * halves + half] = bits;
    }
}

/* Two blocks side by side on a multiprocessor, so that one multiplies while the other waits. */
KERNEL_FOR(THREADS, 2) scan_kernel(struct scanned s)
{
    int8_t *stages = shared_memory<int8_t>();
    int64_t queries, entries;
    int32_t dot[DOWN][ACROSS][4] = {};
    own_tiles(s, &queries, &entries);
    fetch(s, queries, entries, 0, stages);
    for (int64_t from = 0; from < s.dim; from += STEP) {
        const int8_t *stage = stages + from / STEP % 2 * STAGE;
        copies_wait();
        block_sync(); /* all has come, and the other stage is read no more */
        if (from + STEP < s.dim) fetch(s, queries, entries, from + STEP, stages + (from / STEP + 1) % 2 * STAGE);
#pragma unroll
        for (int k = 0; k < STEP; k += SLICE)
            if (from + k < s.dim) multiply_slice(stage, k, dot);
    }
    tell(s, queries, entries, dot);
}

static void scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                 const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    const int64_t tiles = (m + TILE - 1) / TILE;
    const struct scanned s = {nq, m, dim, q, c, a, g, x, y, (uint32_t *)hits, tiles};
    LAUNCH(d, scan_kernel, grid_of((nq + TILE - 1) / TILE * tiles, 1), THREADS, 2 * STAGE, s);
}

/* -- what was found, as a list -- */

/* count[i]: of row i's words those that are not 0. A warp a row. */
KERNEL hit_count_kernel(int64_t nq, int64_t words, const uint64_t *hits, int64_t *count)
{
    const int64_t i = global_index() / WARP;
    if (i >= nq) return; /* with its whole warp */
    int64_t n = 0;
    for (int64_t k = lane_index(); k < words; k += WARP) n += hits[i * words + k] != 0;
    n = warp_sum(n);
    if (lane_index() == 0) count[i] = n;
}

enum { SCAN_BLOCK = 1024 };

/* n counts become what lies before each, and off[n] all of them. One block, whose threads have so many in a row. */
KERNEL_FOR(SCAN_BLOCK) offsets_kernel(int64_t n, int64_t *off)
{
    int64_t *sums = shared_memory<int64_t>();
    const int me = thread_index();
    const int64_t each = (n + SCAN_BLOCK - 1) / SCAN_BLOCK, from = me * each < n ? me * each : n;
    const int64_t to = from + each < n ? from + each : n;
    int64_t sum = 0;
    for (int64_t i = from; i < to; i++) sum += off[i];
    sums[me] = sum;
    for (int step = 1; step < SCAN_BLOCK; step *= 2) {
        block_sync();
        const int64_t before = me >= step ? sums[me - step] : 0;
        block_sync();
        sums[me] += before;
    }
    sum = sums[me] - sum;
    for (int64_t i = from; i < to; i++) {
        const int64_t count = off[i];
        off[i] = sum;
        sum += count;
    }
    if (me == SCAN_BLOCK - 1) off[n] = sum;
}

/* A warp a row. */
KERNEL hit_list_kernel(int64_t nq, int64_t words, const uint64_t *hits, int64_t most, const int64_t *off,
                       struct lafs_hit_word *list)
{
    const int64_t i = global_index() / WARP;
    if (i >= nq) return; /* with its whole warp */
    int64_t at = off[i];
    if (at == off[i + 1]) return;
    for (int64_t first = 0; first < words; first += WARP) {
        const int64_t k = first + lane_index();
        const uint64_t bits = k < words ? hits[i * words + k] : 0;
        const uint32_t all = warp_ballot(bits != 0);
        const int64_t mine = at + bits_set(all & ((1u << lane_index()) - 1));
        if (bits && mine < most) list[mine] = {bits, k};
        at += bits_set(all);
    }
}

static void hit_list(struct lafs_dev *d, int64_t nq, int64_t words, const uint64_t *hits, int64_t most, int64_t *off,
                     struct lafs_hit_word *list)
{
    const struct grid rows = grid_for(nq * WARP);
    LAUNCH(d, hit_count_kernel, rows, THREADS, 0, nq, words, hits, off);
    LAUNCH(d, offsets_kernel, grid_of(1), SCAN_BLOCK, SCAN_BLOCK * sizeof(int64_t), nq, off);
    LAUNCH(d, hit_list_kernel, rows, THREADS, 0, nq, words, hits, most, off, list);
}

void ops_scan(struct lafs_ops *ops)
{
    ops->scan = scan;
    ops->hit_list = hit_list;
}
