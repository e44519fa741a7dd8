#include "kernels/ref/bf16.h"
#include "kernels/ref/ref.h"

#include <math.h>

void lafs_ref_assemble(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *proj,
                       const float *cls, const float *pos, const struct lafs_drop *drop, float *x)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t t = 0; t < s->off[i + 1] - s->off[i]; t++)
            for (int64_t j = 0; j < width; j++) {
                /* Sequence i has one row less in proj than in x, as had the i sequences before it. */
                float token = t == 0 ? cls[j] : proj[(s->off[i] - i + t - 1) * width + j];
                x[(s->off[i] + t) * width + j] = (token + pos[t * width + j]) * lafs_ref_drop(drop, i, t * width + j);
            }
}

void lafs_ref_assemble_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dx,
                           const struct lafs_drop *drop, float *dproj, float *dcls, float *dpos)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t t = 0; t < s->off[i + 1] - s->off[i]; t++)
            for (int64_t j = 0; j < width; j++) {
                float g = dx[(s->off[i] + t) * width + j] * lafs_ref_drop(drop, i, t * width + j);
                if (t == 0) dcls[j] += g;
                else dproj[(s->off[i] - i + t - 1) * width + j] = g;
                dpos[t * width + j] += g;
            }
}

void lafs_ref_add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                       const float *branch, const struct lafs_drop *drop, const struct lafs_drop *path, const float *g,
                       const float *b, float *x_out, float *y, float *mean, float *rstd)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++) {
        float keep = lafs_ref_path(path, i);
        for (int64_t r = s->off[i]; r < s->off[i + 1]; r++) {
            const float *v = x + r * width; /* (width) what is normalised */
            if (branch) {
                for (int64_t j = 0; j < width; j++)
                    x_out[r * width + j] = x[r * width + j] + branch[r * width + j] * keep *
                                           lafs_ref_drop(drop, i, (r - s->off[i]) * width + j);
                v = x_out + r * width;
            }
            if (!g) continue;
            double sum = 0, var = 0;
            for (int64_t j = 0; j < width; j++) sum += v[j];
            double mu = sum / (double)width;
            for (int64_t j = 0; j < width; j++) var += (v[j] - mu) * (v[j] - mu);
            double rs = 1 / sqrt(var / (double)width + 1e-5);
            for (int64_t j = 0; j < width; j++) y[r * width + j] = (float)((v[j] - mu) * rs * g[j] + b[j]);
            if (mean) mean[r] = (float)mu;
            if (rstd) rstd[r] = (float)rs;
        }
    }
}

/* With h = (x - mean) rstd, y = g h + b and u = dy g:  dx = rstd (u - mean(u) - h mean(u h)). */
static void norm_row_bwd(int64_t width, const float *dy, const float *x, double mean, double rstd, const float *g,
                         float *dx)
{
    double u = 0, uh = 0;
    for (int64_t j = 0; j < width; j++) {
        u += (double)dy[j] * g[j];
        uh += (double)dy[j] * g[j] * (x[j] - mean) * rstd;
    }
    u /= (double)width;
    uh /= (double)width;
    for (int64_t j = 0; j < width; j++)
        dx[j] = (float)(dx[j] + rstd * ((double)dy[j] * g[j] - u - (x[j] - mean) * rstd * uh));
}

void lafs_ref_add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *dy,
                           const float *x_out, const float *mean, const float *rstd, const float *g,
                           const struct lafs_drop *drop, const struct lafs_drop *path, float *dx, float *dbranch,
                           float *dg, float *db)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++) {
        float keep = lafs_ref_path(path, i);
        for (int64_t r = s->off[i]; r < s->off[i + 1]; r++) {
            if (dy) norm_row_bwd(width, dy + r * width, x_out + r * width, mean[r], rstd[r], g, dx + r * width);
            if (!dbranch) continue;
            for (int64_t j = 0; j < width; j++)
                dbranch[r * width + j] = dx[r * width + j] * keep * lafs_ref_drop(drop, i, (r - s->off[i]) * width + j);
        }
    }
    if (!dy) return;
    for (int64_t j = 0; j < width; j++) {
        double sum_g = 0, sum_b = 0;
        for (int64_t r = 0; r < lafs_seqs_rows(s); r++) {
            sum_g += (double)dy[r * width + j] * ((double)x_out[r * width + j] - mean[r]) * rstd[r];
            sum_b += dy[r * width + j];
        }
        if (dg) dg[j] += (float)sum_g;
        if (db) db[j] += (float)sum_b;
    }
}

enum { HEAD = 64 };

static double dot(enum lafs_precision precision, const float *a, const float *b)
{
    double sum = 0;
    for (int j = 0; j < HEAD; j++) sum += lafs_bf16_multiply(precision, a[j], b[j]);
    return sum;
}

/* x v where x is an intermediate result: kept in double in fp32, a float to be rounded otherwise. */
static double times(enum lafs_precision precision, double x, float v)
{
    return precision == LAFS_PRECISION_FP32 ? x * v : lafs_bf16_multiply(precision, (float)x, v);
}

/* o_i = sum_j p_ij v_j with p_ij = exp(scale q_i.k_j - lse_i), lse_i = log sum_j exp(scale q_i.k_j). */
void lafs_ref_attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t heads,
                        float scale, const float *qkv, float *out, float *lse)
{
    (void)d;
    int64_t row = 3 * heads * HEAD;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = s->off[n]; i < s->off[n + 1]; i++) {
                const float *q = qkv + i * row + h * HEAD, *k = qkv + (heads + h) * HEAD, *v = k + heads * HEAD;
                double max = -INFINITY, sum = 0, o[HEAD] = {0};
                for (int64_t j = s->off[n]; j < s->off[n + 1]; j++) max = fmax(max, scale * dot(precision, q,
                                                                                                k + j * row));
                for (int64_t j = s->off[n]; j < s->off[n + 1]; j++) {
                    double e = exp(scale * dot(precision, q, k + j * row) - max);
                    sum += e;
                    for (int c = 0; c < HEAD; c++) o[c] += times(precision, e, v[j * row + c]);
                }
                for (int c = 0; c < HEAD; c++) out[(i * heads + h) * HEAD + c] = (float)(o[c] / sum);
                if (lse) lse[i * heads + h] = (float)(max + log(sum));
            }
}

/* With D_i = do_i.o_i and ds_ij = p_ij (do_i.v_j - D_i):
 * dv_j = sum_i p_ij do_i,  dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i. */
static void attention_head_bwd(enum lafs_precision precision, int64_t first, int64_t end, int64_t heads, int64_t h,
                               float scale, const float *qkv, const float *out, const float *lse, const float *dout,
float *dqkv)
{
    int64_t row = 3 * heads * HEAD, orow = heads * HEAD;
    const float *q = qkv + h * HEAD, *k = q + heads * HEAD, *v = k + heads * HEAD;
    float *dq = dqkv + h * HEAD, *dk = dq + heads * HEAD, *dv = dk + heads * HEAD;
    for (int64_t a = first; a < end; a++) { /* the row whose dq, dk and dv are summed */
        double sq[HEAD] = {0}, sk[HEAD] = {0}, sv[HEAD] = {0};
        for (int64_t b = first; b < end; b++) {
            const float *da = dout + a * orow + h * HEAD, *db = dout + b * orow + h * HEAD;
            double pab = exp(scale * dot(precision, q + a * row, k + b * row) - lse[a * heads + h]);
            double pba = exp(scale * dot(precision, q + b * row, k + a * row) - lse[b * heads + h]);
            double along_a = dot(LAFS_PRECISION_FP32, da, out + a * orow + h * HEAD);
            double along_b = dot(LAFS_PRECISION_FP32, db, out + b * orow + h * HEAD);
            double dab = pab * (dot(precision, da, v + b * row) - along_a);
            double dba = pba * (dot(precision, db, v + a * row) - along_b);
            for (int c = 0; c < HEAD; c++) {
                sq[c] += scale * times(precision, dab, k[b * row + c]);
                sk[c] += scale * times(precision, dba, q[b * row + c]);
                sv[c] += times(precision, pba, db[c]);
            }
        }
        for (int c = 0; c < HEAD; c++) {
            dq[a * row + c] = (float)sq[c];
            dk[a * row + c] = (float)sk[c];
            dv[a * row + c] = (float)sv[c];
        }
    }
}

void lafs_ref_attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s,
                            int64_t heads, float scale, const float *qkv, const float *out, const float *lse,
const float *dout, float *dqkv)
{
    (void)d;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t h = 0; h < heads; h++)
            attention_head_bwd(precision, s->off[n], s->off[n + 1], heads, h, scale, qkv, out, lse, dout, dqkv);
}
