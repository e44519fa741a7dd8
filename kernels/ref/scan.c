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
