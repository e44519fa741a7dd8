#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* Phi(x), the normal distribution function: GELU is x Phi(x). */
static double normal_cdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
static double normal_pdf(double x) { return 0.39894228040143268 * exp(-0.5 * x * x); }
static double relu6(double x) { return x < 0 ? 0 : x > 6 ? 6 : x; }

double lafs_ref_act(enum lafs_act act, double x)
{
    switch (act) {
    case LAFS_ACT_NONE: return x;
    case LAFS_ACT_RELU: return x > 0 ? x : 0;
    case LAFS_ACT_GELU: return x * normal_cdf(x);
    case LAFS_ACT_HSWISH: return x * relu6(x + 3) / 6;
    case LAFS_ACT_HSIGMOID: return relu6(x + 3) / 6;
    case LAFS_ACT_SIGMOID: return 1 / (1 + exp(-x));
    }
    return x;
}

double lafs_ref_act_slope(enum lafs_act act, double x)
{
    switch (act) {
    case LAFS_ACT_NONE: return 1;
    case LAFS_ACT_RELU: return x > 0;
    case LAFS_ACT_GELU: return normal_cdf(x) + x * normal_pdf(x);
    case LAFS_ACT_HSWISH: return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case LAFS_ACT_HSIGMOID: return x > -3 && x < 3 ? 1.0 / 6 : 0;
    case LAFS_ACT_SIGMOID: {
        double s = 1 / (1 + exp(-x));
        return s * (1 - s);
    }
    }
    return 1;
}

float lafs_ref_drop(const struct lafs_drop *drop, int64_t seq, int64_t e)
{
    if (!drop || drop->p <= 0) return 1;
    uint64_t block = (uint64_t)e / 8;
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), drop->site, 0}, word[4];
    lafs_philox(drop->key[seq], counter, word);
    uint32_t lane = word[e % 8 / 2] >> (e % 2 ? 16 : 0) & 0xffff;
    return lane < floor((double)drop->p * 65536 + 0.5) ? 0 : (float)(1 / (1 - (double)drop->p));
}

float lafs_ref_path(const struct lafs_drop *path, int64_t seq)
{
    if (!path || path->p <= 0) return 1;
    uint32_t counter[4] = {0, 0, path->site, 1}, word[4];
    lafs_philox(path->key[seq], counter, word);
    return word[0] < (double)path->p * 0x1p32 ? 0 : (float)(1 / (1 - (double)path->p));
}

void lafs_ref_scale(struct lafs_dev *d, int64_t n, float a, float *x)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) x[i] *= a;
}

void lafs_ref_axpy(struct lafs_dev *d, int64_t n, float a, const float *x, float *y)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

void lafs_ref_lerp(struct lafs_dev *d, int64_t n, const double *m, const float *x, float *y)
{
    (void)d;
    const float keep = (float)*m, take = (float)(1 - *m);
    for (int64_t i = 0; i < n; i++) y[i] = keep * y[i] + take * x[i];
}

void lafs_ref_act_bwd(struct lafs_dev *d, int64_t n, enum lafs_act act, const float *pre, const float *dy, float *dx)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) dx[i] = (float)(dy[i] * lafs_ref_act_slope(act, pre[i]));
}

void lafs_ref_dropout(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_drop *drop,
                      const float *x, float *y)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t first = s->off[i] * width, count = (s->off[i + 1] - s->off[i]) * width;
        for (int64_t e = 0; e < count; e++) y[first + e] = x[first + e] * lafs_ref_drop(drop, i, e);
    }
}

void lafs_ref_u8_to_f32(struct lafs_dev *d, int64_t n, const uint8_t *x, float *y)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i] / 127.5f - 1.0f;
}

void lafs_ref_rows_gather(struct lafs_dev *d, int64_t n, int64_t width, const int64_t *row, const float *x, float *y)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) y[i * width + j] = x[row[i] * width + j];
}

void lafs_ref_rows_scatter(struct lafs_dev *d, int64_t n, int64_t rows, int64_t width, const int64_t *row,
                           const float *dy, float *dx, int add)
{
    (void)d;
    for (int64_t e = 0; e < rows * width && !add; e++) dx[e] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j++) dx[row[i] * width + j] += dy[i * width + j];
}
