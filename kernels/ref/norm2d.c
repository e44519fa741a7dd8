/* Batch normalisation over rows, and the small ops of squeeze-and-excitation and of the landmark output:
 *   batchnorm      y = act((x - m) / sqrt(v + 1e-5) g + b), m and v by channel
 *   channel_mean   mean over the places of an image; channel_scale: y = act(x s), s by image and channel
 *   minmax         theta = (t - min t) / (max t - min t) * range, by row */
#include <math.h>
#include <string.h>

#include "kernels/ref/act.h"
#include "kernels/ref/ref.h"

static const double eps = 1e-5;

void lafs_ref_batchnorm(struct lafs_dev *d, int64_t rows, int64_t c, int train, float momentum, const float *x,
                        const float *gamma, const float *beta, float *run_mean, float *run_var, enum lafs_act act,
                        float *y, float *mean, float *rstd)
{
    (void)d;
    for (int64_t j = 0; j < c; j++) {
        double m, v;
        if (train) {
            double sum = 0, squares = 0;
            for (int64_t i = 0; i < rows; i++) sum += x[i * c + j];
            m = sum / (double)rows;
            for (int64_t i = 0; i < rows; i++) squares += (x[i * c + j] - m) * (x[i * c + j] - m);
            v = squares / (double)rows;
            double unbiased = rows > 1 ? squares / (double)(rows - 1) : v;
            if (run_mean) run_mean[j] = (float)((1 - (double)momentum) * run_mean[j] + momentum * m);
            if (run_var) run_var[j] = (float)((1 - (double)momentum) * run_var[j] + momentum * unbiased);
        } else {
            m = run_mean[j];
            v = run_var[j];
        }
        double r = 1 / sqrt(v + eps);
        if (mean) mean[j] = (float)m;
        if (rstd) rstd[j] = (float)r;
        for (int64_t i = 0; i < rows; i++) {
            double z = (x[i * c + j] - m) * r * gamma[j] + beta[j];
            y[i * c + j] = lafs_act_value(act, (float)z);
        }
    }
}

void lafs_ref_batchnorm_bwd(struct lafs_dev *d, int64_t rows, int64_t c, int train, const float *x, const float *gamma,
                            const float *beta, const float *mean, const float *rstd, enum lafs_act act, const float *dy,
                            float *dx, float *dgamma, float *dbeta)
{
    (void)d;
    for (int64_t j = 0; j < c; j++) {
        double sum = 0, along = 0; /* of dz and dz xhat, where z = xhat g + b */
        for (int64_t i = 0; i < rows; i++) {
            double xhat = ((double)x[i * c + j] - mean[j]) * rstd[j];
            double dz = (double)dy[i * c + j] * lafs_act_slope(act, (float)(xhat * gamma[j] + beta[j]));
            sum += dz;
            along += dz * xhat;
        }
        dgamma[j] += (float)along;
        dbeta[j] += (float)sum;
        if (!dx) continue;
        for (int64_t i = 0; i < rows; i++) {
            double xhat = ((double)x[i * c + j] - mean[j]) * rstd[j];
            double dz = (double)dy[i * c + j] * lafs_act_slope(act, (float)(xhat * gamma[j] + beta[j]));
            if (train) dz -= (sum + xhat * along) / (double)rows;
            dx[i * c + j] = (float)(dz * gamma[j] * rstd[j]);
        }
    }
}

void lafs_ref_channel_mean(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, float *y)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            double sum = 0;
            for (int64_t k = 0; k < hw; k++) sum += x[(i * hw + k) * c + j];
            y[i * c + j] = (float)(sum / (double)hw);
        }
}

void lafs_ref_channel_mean_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *dy, float *dx,
                               int add)
{
    (void)d;
    for (int64_t i = 0; i < n * hw; i++)
        for (int64_t j = 0; j < c; j++) {
            float g = dy[i / hw * c + j] / (float)hw;
            dx[i * c + j] = add ? dx[i * c + j] + g : g;
        }
}

void lafs_ref_channel_scale(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                            enum lafs_act act, float *y)
{
    (void)d;
    for (int64_t i = 0; i < n * hw; i++)
        for (int64_t j = 0; j < c; j++) y[i * c + j] = lafs_act_value(act, x[i * c + j] * s[i / hw * c + j]);
}

void lafs_ref_channel_scale_bwd(struct lafs_dev *d, int64_t n, int64_t hw, int64_t c, const float *x, const float *s,
                                enum lafs_act act, const float *dy, float *dx, float *ds)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            double sum = 0;
            float scale = s[i * c + j];
            for (int64_t k = 0; k < hw; k++) {
                int64_t e = (i * hw + k) * c + j;
                float g = dy[e] * lafs_act_slope(act, x[e] * scale);
                sum += (double)g * x[e];
                dx[e] = g * scale;
            }
            ds[i * c + j] = (float)sum;
        }
}

void lafs_ref_minmax(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, float *theta,
                     int32_t *arg)
{
    (void)d;
    for (int64_t i = 0; i < n; i++, t += width, theta += width, arg += 2) {
        arg[0] = arg[1] = 0;
        for (int64_t j = 1; j < width; j++) {
            if (t[j] < t[arg[0]]) arg[0] = (int32_t)j;
            if (t[j] > t[arg[1]]) arg[1] = (int32_t)j;
        }
        float lo = t[arg[0]], span = t[arg[1]] - lo;
        for (int64_t j = 0; j < width; j++) theta[j] = (t[j] - lo) / span * range;
    }
}

/* theta_j = range (t_j - lo) / span: d t_j += g_j range / span; lo and hi get what remains. */
void lafs_ref_minmax_bwd(struct lafs_dev *d, int64_t n, int64_t width, float range, const float *t, const int32_t *arg,
                         const float *dtheta, float *dt)
{
    (void)d;
    for (int64_t i = 0; i < n; i++, t += width, dtheta += width, dt += width, arg += 2) {
        double lo = t[arg[0]], span = t[arg[1]] - lo, sum = 0, along = 0;
        for (int64_t j = 0; j < width; j++) {
            sum += dtheta[j];
            along += dtheta[j] * (t[j] - lo) / span;
        }
        for (int64_t j = 0; j < width; j++) dt[j] = (float)(dtheta[j] * range / span);
        dt[arg[0]] += (float)(range / span * (along - sum));
        dt[arg[1]] -= (float)(range / span * along);
    }
}
