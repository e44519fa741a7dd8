/* Which rows of a gallery are worth a closer look: dot products of bytes, four at a time. A warp has 32 rows of the
 * gallery and QUERIES queries; a lane a row, which it reads once, 16 bytes at a time. Neighbouring blocks have the same
 * rows and other queries: rows come from memory once. */
#include "kernels/cuda/dev.cuh"

enum { QUERIES = 8, BLOCK_WARPS = THREADS / WARP };

struct alignas(16) bytes16 { /* rows begin at multiples of 64 bytes */
    int32_t four[4];
};

/* first: the block row of the grid's first one. */
KERNEL scan_kernel(int64_t first, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c, const float *a,
                   const int8_t *g, const float *x, const float *y, uint32_t *hits)
{
    const int64_t half = (first + block_y()) * BLOCK_WARPS + warp_index(), query = block_x() * QUERIES;
    const int64_t j = half * WARP + lane_index(), halves = (m + 63) / 64 * 2;
    if (half >= halves) return; /* with its whole warp */
    int32_t dot[QUERIES] = {0};
    const bytes16 *row = (const bytes16 *)(g + j * dim), *queries = (const bytes16 *)(q + query * dim);
    const int64_t pieces = dim / (int64_t)sizeof *row;
    for (int64_t t = 0; t < pieces && j < m; t++) {
        const bytes16 r = row[t];
#pragma unroll
        for (int k = 0; k < QUERIES; k++) {
            if (query + k >= nq) continue;
            const bytes16 o = queries[k * pieces + t];
            for (int e = 0; e < 4; e++) dot[k] = dot_bytes(r.four[e], o.four[e], dot[k]);
        }
    }
#pragma unroll
    for (int k = 0; k < QUERIES; k++) {
        const int64_t i = query + k;
        if (i >= nq) continue; /* for all lanes */
        const int hit = j < m && (float)dot[k] >= multiply_rounded(c[i], x[j]) - multiply_rounded(a[i], y[j]);
        const uint32_t bits = warp_ballot(hit);
        if (lane_index() == 0) hits[i * halves + half] = bits;
    }
}
static void scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                 const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    const int64_t warps = (m + 63) / 64 * 2, blocks = (warps + BLOCK_WARPS - 1) / BLOCK_WARPS;
    for (int64_t first = 0; first < blocks; first += MOST_Y) {
        const int64_t rows = blocks - first < MOST_Y ? blocks - first : (int64_t)MOST_Y;
        LAUNCH(d, scan_kernel, grid_of((nq + QUERIES - 1) / QUERIES, rows), THREADS, 0, first, nq, m, dim, q, c, a, g,
               x, y, (uint32_t *)hits);
    }
}

void ops_scan(struct lafs_ops *ops) { ops->scan = scan; }
