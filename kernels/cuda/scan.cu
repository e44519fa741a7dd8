/* Which rows of a gallery are worth a closer look: dot products of bytes, four at a time. A warp has 32 rows of the
 * gallery and QUERIES queries; a lane a row, which it reads once. */
#include "kernels/cuda/dev.cuh"

enum { QUERIES = 8 };

KERNEL scan_kernel(int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c, const float *a, const int8_t *g,
                   const float *x, const float *y, uint32_t *hits)
{
    const int64_t half = block_x() * (THREADS / WARP) + warp_index(), first = (int64_t)block_y() * QUERIES;
    const int64_t j = half * WARP + lane_index(), halves = (m + 63) / 64 * 2;
    if (half >= halves) return; /* with its whole warp */
    int32_t dot[QUERIES] = {0};
    for (int64_t t = 0; t < dim && j < m; t += 4) {
        int32_t row;
        memcpy(&row, g + j * dim + t, sizeof row);
#pragma unroll
        for (int k = 0; k < QUERIES; k++) {
            int32_t query;
            if (first + k >= nq) continue;
            memcpy(&query, q + (first + k) * dim + t, sizeof query);
            dot[k] = dot_bytes(row, query, dot[k]);
        }
    }
#pragma unroll
    for (int k = 0; k < QUERIES; k++) {
        const int64_t i = first + k;
        if (i >= nq) continue; /* for all lanes */
        const int hit = j < m && (float)dot[k] >= multiply_rounded(c[i], x[j]) - multiply_rounded(a[i], y[j]);
        const uint32_t bits = warp_ballot(hit);
        if (lane_index() == 0) hits[i * halves + half] = bits;
    }
}
static void scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                 const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    const int64_t warps = (m + 63) / 64 * 2, blocks = (warps + THREADS / WARP - 1) / (THREADS / WARP);
    LAUNCH(d, scan_kernel, grid_of(blocks, (nq + QUERIES - 1) / QUERIES), THREADS, 0, nq, m, dim, q, c, a, g, x, y,
           (uint32_t *)hits);
}

void ops_scan(struct lafs_ops *ops) { ops->scan = scan; }
