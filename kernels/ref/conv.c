/* Convolutions, channels last. For an output pixel (oy, ox) and a tap (ky, kx) the input pixel is
 *     iy = oy stride + ky - p,  ix = ox stride + kx - p,  p = (k-1)/2,
 * and counts as zero outside the image. Dense: y[o] = act(b[o] + sum over taps and i of w[o][i][ky][kx] x[iy][ix][i]);
 * depthwise: y[c] = act(b[c] + sum over taps of w[c][ky][kx] x[iy][ix][c]). Sums in double: this is the truth. */
#include "kernels/ref/ref.h"

/* Input pixel of a tap; NULL outside. x (n,h,w,c) */
static const float *tap(const struct lafs_conv *g, const float *x, int64_t i, int64_t oy, int64_t ox, int ky, int kx)
{
    int p = (g->k - 1) / 2;
    int64_t iy = oy * g->stride + ky - p, ix = ox * g->stride + kx - p;
    if (iy < 0 || iy >= g->h || ix < 0 || ix >= g->w) return NULL;
    return x + ((i * g->h + iy) * g->w + ix) * g->c;
}

void lafs_ref_conv(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                   enum lafs_act act, float *y)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t r = 0; r < g->n * oh * ow; r++)
        for (int64_t o = 0; o < g->out; o++) {
            double s = b ? b[o] : 0;
            for (int t = 0; t < kk; t++) {
                const float *in = tap(g, x, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k); /* (c) */
                for (int64_t c = 0; in && c < g->c; c++) s += (double)w[(o * g->c + c) * kk + t] * in[c];
            }
            y[r * g->out + o] = (float)lafs_ref_act(act, s);
        }
}

void lafs_ref_conv_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t j = 0; j < g->n * g->h * g->w * g->c; j++) dx[j] = 0;
    for (int64_t r = 0; r < g->n * oh * ow; r++)
        for (int t = 0; t < kk; t++) {
            const float *in = tap(g, dx, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k);
            if (!in) continue;
            float *out = dx + (in - dx); /* (c) */
            for (int64_t c = 0; c < g->c; c++) {
                double s = 0;
                for (int64_t o = 0; o < g->out; o++) s += (double)dy[r * g->out + o] * w[(o * g->c + c) * kk + t];
                out[c] += (float)s;
            }
        }
}

void lafs_ref_conv_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t o = 0; o < g->out; o++)
        for (int64_t c = 0; c < g->c; c++)
            for (int t = 0; t < kk; t++) {
                double s = 0;
                for (int64_t r = 0; r < g->n * oh * ow; r++) {
                    const float *in = tap(g, x, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k);
                    if (in) s += (double)in[c] * dy[r * g->out + o];
                }
                dw[(o * g->c + c) * kk + t] += (float)s;
            }
}

void lafs_ref_depthwise(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w, const float *b,
                        enum lafs_act act, float *y)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t r = 0; r < g->n * oh * ow; r++)
        for (int64_t c = 0; c < g->c; c++) {
            double s = b ? b[c] : 0;
            for (int t = 0; t < kk; t++) {
                const float *in = tap(g, x, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k);
                if (in) s += (double)w[c * kk + t] * in[c];
            }
            y[r * g->c + c] = (float)lafs_ref_act(act, s);
        }
}

void lafs_ref_depthwise_bwd_x(struct lafs_dev *d, const struct lafs_conv *g, const float *dy, const float *w, float *dx)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t j = 0; j < g->n * g->h * g->w * g->c; j++) dx[j] = 0;
    for (int64_t r = 0; r < g->n * oh * ow; r++)
        for (int t = 0; t < kk; t++) {
            const float *in = tap(g, dx, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k);
            if (!in) continue;
            float *out = dx + (in - dx); /* (c) */
            for (int64_t c = 0; c < g->c; c++) out[c] += dy[r * g->c + c] * w[c * kk + t];
        }
}

void lafs_ref_depthwise_bwd_w(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *dy, float *dw)
{
    (void)d;
    int64_t oh = lafs_conv_side(g->h, g->k, g->stride), ow = lafs_conv_side(g->w, g->k, g->stride), kk = g->k * g->k;
    for (int64_t c = 0; c < g->c; c++)
        for (int t = 0; t < kk; t++) {
            double s = 0;
            for (int64_t r = 0; r < g->n * oh * ow; r++) {
                const float *in = tap(g, x, r / (oh * ow), r / ow % oh, r % ow, t / g->k, t % g->k);
                if (in) s += (double)in[c] * dy[r * g->c + c];
            }
            dw[c * kk + t] += (float)s;
        }
}

void lafs_ref_separable(struct lafs_dev *d, const struct lafs_conv *g, const float *x, const float *w1,
                        const float *b1, const float *w2, const float *b2, enum lafs_act act, float *y)
{
    const struct lafs_conv point = {g->n, g->h, g->w, g->c, 1, 1, g->out}, depth = {g->n, g->h, g->w, g->out, g->k,
                                                                                   g->stride, g->out};
    float *mid; /* (n,h,w,out) */
    struct lafs_err err = {0};
    if (lafs_alloc(&mid, (size_t)(g->n * g->h * g->w * g->out), sizeof *mid, &err) != LAFS_OK) {
        lafs_host_failed(d, &err);
        return;
    }
    lafs_ref_conv(d, &point, x, w1, b1, LAFS_ACT_NONE, mid);
    lafs_ref_depthwise(d, &depth, mid, w2, b2, act, y);
    lafs_free(mid);
}

void lafs_ref_maxpool2(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    (void)d;
    for (int64_t r = 0; r < n * (h / 2); r++) /* a row of the output: image r / (h/2), row r % (h/2) */
        for (int64_t j = 0; j < w / 2 * c; j++) {
            const float *a = x + (2 * r * w + 2 * (j / c)) * c + j % c, *b = a + w * c;
            float top = a[0] > a[c] ? a[0] : a[c], low = b[0] > b[c] ? b[0] : b[c];
            y[r * (w / 2) * c + j] = top > low ? top : low;
        }
}

void lafs_ref_upsample2_add(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x, float *y)
{
    (void)d;
    for (int64_t r = 0; r < n * 2 * h; r++) /* a row of y */
        for (int64_t j = 0; j < 2 * w * c; j++) y[r * 2 * w * c + j] += x[(r / 2 * w + j / c / 2) * c + j % c];
}

void lafs_ref_maxpool2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *x,
                           const float *dy, float *dx)
{
    (void)d;
    for (int64_t j = 0; j < n * h * w * c; j++) dx[j] = 0;
    for (int64_t r = 0; r < n * (h / 2); r++)
        for (int64_t j = 0; j < w / 2 * c; j++) {
            int64_t first = (2 * r * w + 2 * (j / c)) * c + j % c, at[4] = {0, c, w * c, w * c + c}, best = 0;
            for (int64_t k = 1; k < 4; k++)
                if (x[first + at[k]] > x[first + at[best]]) best = k;
            dx[first + at[best]] = dy[r * (w / 2) * c + j];
        }
}

void lafs_ref_upsample2_bwd(struct lafs_dev *d, int64_t n, int64_t h, int64_t w, int64_t c, const float *dy, float *dx)
{
    (void)d;
    for (int64_t r = 0; r < n * h; r++)
        for (int64_t j = 0; j < w * c; j++) {
            const float *a = dy + (4 * r * w + 2 * (j / c)) * c + j % c, *b = a + 2 * w * c;
            dx[r * w * c + j] = ((a[0] + a[c]) + b[0]) + b[c];
        }
}
