#include <string.h>

#include "kernels/ref/ref.h"

void lafs_ref_scan(struct lafs_dev *d, int64_t nq, int64_t m, int64_t dim, const int8_t *q, const float *c,
                   const float *a, const int8_t *g, const float *x, const float *y, uint64_t *hits)
{
    const int64_t words = (m + 63) / 64;
    (void)d;
    memset(hits, 0, (size_t)(nq * words) * sizeof *hits);
    for (int64_t i = 0; i < nq; i++)
        for (int64_t j = 0; j < m; j++) {
            int32_t dot = 0;
            for (int64_t t = 0; t < dim; t++) dot += q[i * dim + t] * g[j * dim + t];
            if ((float)dot >= c[i] * x[j] - a[i] * y[j]) hits[i * words + j / 64] |= (uint64_t)1 << j % 64;
        }
}

void lafs_ref_hit_list(struct lafs_dev *d, int64_t nq, int64_t words, const uint64_t *hits, int64_t most, int64_t *off,
                       struct lafs_hit_word *list)
{
    int64_t n = 0;
    (void)d;
    off[0] = 0;
    for (int64_t i = 0; i < nq; i++) {
        for (int64_t k = 0; k < words; k++) {
            const uint64_t bits = hits[i * words + k];
            if (bits && n < most) list[n] = (struct lafs_hit_word){bits, k};
            n += bits != 0;
        }
        off[i + 1] = n;
    }
}
