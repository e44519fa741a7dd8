#include "kernels/ref/bf16.h"
#include "kernels/ref/ref.h"

void lafs_ref_linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                     int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                     const struct lafs_drop *drop, float *pre, float *y)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t r = s->off[i]; r < s->off[i + 1]; r++)
            for (int64_t o = 0; o < out; o++) {
                double sum = b ? b[o] : 0;
                for (int64_t k = 0; k < in; k++) sum += lafs_bf16_multiply(precision, x[r * in + k], w[o * in + k]);
                if (pre) pre[r * out + o] = (float)sum;
                float keep = lafs_ref_drop(drop, i, (r - s->off[i]) * out + o);
                y[r * out + o] = (float)lafs_ref_act(act, (float)sum) * keep;
            }
}

void lafs_ref_linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                           int64_t out, const float *dy, const float *w, float *dx)
{
    (void)d;
    for (int64_t r = 0; r < lafs_seqs_rows(s); r++)
        for (int64_t k = 0; k < in; k++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++) sum += lafs_bf16_multiply(precision, dy[r * out + o], w[o * in + k]);
            dx[r * in + k] = (float)sum;
        }
}

void lafs_ref_linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                           const float *x, const float *dy, float *dw, float *db)
{
    (void)d;
    for (int64_t o = 0; o < out; o++) {
        for (int64_t k = 0; k < in; k++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++) sum += lafs_bf16_multiply(precision, dy[r * out + o], x[r * in + k]);
            dw[o * in + k] += (float)sum;
        }
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += dy[r * out + o];
        if (db) db[o] += (float)sum;
    }
}
