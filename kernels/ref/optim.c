#include "kernels/ref/ref.h"

#include <math.h>

void lafs_ref_norms(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const float *x, double *norm)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t e = seg[i].off; e < seg[i].off + seg[i].size; e++) sum += (double)x[e] * x[e];
        norm[i] = sqrt(sum);
    }
}

/* Loshchilov & Hutter's AdamW in PyTorch's order: decay, moments, step. */
void lafs_ref_adamw(struct lafs_dev *d, int64_t n, const struct lafs_segment *seg, const struct lafs_rate *rate,
                    const double *norm, double beta1, double beta2, double eps, float *p, const float *g, float *m,
                    float *v)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) {
        const struct lafs_segment *s = &seg[i];
        const struct lafs_rate *r = &rate[i];
        if (r->skip) continue;
        double clip = r->clip > 0 ? fmin(1, r->clip / (norm[i] + 1e-6)) : 1;
        for (int64_t e = s->off; e < s->off + s->size; e++) {
            double grad = g[e] * clip;
            double pe = p[e] - (double)r->lr * r->decay * p[e];
            m[e] = (float)(beta1 * m[e] + (1 - beta1) * grad);
            v[e] = (float)(beta2 * v[e] + (1 - beta2) * grad * grad);
            p[e] = (float)(pe - r->lr / r->correct1 * m[e] / (sqrt(v[e]) / sqrt(r->correct2) + eps));
        }
    }
}
