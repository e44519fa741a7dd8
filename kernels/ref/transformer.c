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

/* Where the rows of sequence i begin in a matrix that holds those of `some`; -1: it has none. */
static int64_t first_row(const struct lafs_seqs *s, const struct lafs_some *some, int64_t i)
{
    if (!some) return s->off[i];
    for (int64_t k = 0; k < some->s.n; k++)
        if (some->of[k] == i) return some->s.off[k];
    return -1;
}

void lafs_ref_add_norm(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const float *x,
                       const struct lafs_some *from, const float *branch, const struct lafs_drop *drop,
                       const struct lafs_drop *path, const struct lafs_some *to, const float *g, const float *b,
                       float *x_out, float *y, float *mean, float *rstd)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++) {
        float keep = lafs_ref_path(path, i);
        int64_t at = first_row(s, from, i), out = first_row(s, to, i);
        for (int64_t t = 0; t < s->off[i + 1] - s->off[i]; t++) {
            int64_t r = s->off[i] + t, yr = out + t;
            const float *v = x + r * width; /* (width) what is normalised */
            if (branch) {
                for (int64_t j = 0; j < width; j++) {
                    x_out[r * width + j] = x[r * width + j];
                    if (at >= 0)
                        x_out[r * width + j] +=
                            branch[(at + t) * width + j] * keep * lafs_ref_drop(drop, i, t * width + j);
                }
                v = x_out + r * width;
            }
            if (!g || out < 0) continue;
            double sum = 0, var = 0;
            for (int64_t j = 0; j < width; j++) sum += v[j];
            double mu = sum / (double)width;
            for (int64_t j = 0; j < width; j++) var += (v[j] - mu) * (v[j] - mu);
            double rs = 1 / sqrt(var / (double)width + 1e-5);
            for (int64_t j = 0; j < width; j++) y[yr * width + j] = (float)((v[j] - mu) * rs * g[j] + b[j]);
            if (mean) mean[yr] = (float)mu;
            if (rstd) rstd[yr] = (float)rs;
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

/* dg += and db += the sums over the rows of sequence i: rows yr.. of dy, mean and rstd. */
static void norm_sums(int64_t width, int64_t rows, const float *dy, const float *x, const float *mean,
                      const float *rstd, float *dg, float *db)
{
    for (int64_t j = 0; j < width; j++) {
        double sum_g = 0, sum_b = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum_g += (double)dy[r * width + j] * ((double)x[r * width + j] - mean[r]) * rstd[r];
            sum_b += dy[r * width + j];
        }
        if (dg) dg[j] += (float)sum_g;
        if (db) db[j] += (float)sum_b;
    }
}

void lafs_ref_add_norm_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, const struct lafs_some *to,
                           const float *dy, const float *x_out, const float *mean, const float *rstd, const float *g,
                           const struct lafs_some *from, const struct lafs_drop *drop, const struct lafs_drop *path,
                           float *dx, float *dbranch, float *dg, float *db)
{
    (void)d;
    for (int64_t i = 0; i < s->n; i++) {
        float keep = lafs_ref_path(path, i);
        int64_t at = first_row(s, from, i), in = first_row(s, to, i), rows = s->off[i + 1] - s->off[i];
        for (int64_t t = 0; t < rows; t++) {
            int64_t r = s->off[i] + t, yr = in + t;
            if (dy && in >= 0)
                norm_row_bwd(width, dy + yr * width, x_out + r * width, mean[yr], rstd[yr], g, dx + r * width);
            if (!dbranch || at < 0) continue;
            for (int64_t j = 0; j < width; j++)
                dbranch[(at + t) * width + j] = dx[r * width + j] * keep * lafs_ref_drop(drop, i, t * width + j);
        }
        if (dy && in >= 0)
            norm_sums(width, rows, dy + in * width, x_out + s->off[i] * width, mean + in, rstd + in, dg, db);
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
void lafs_ref_attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                        const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                        const float *kv, int64_t ldkv, float *out, float *lse)
{
    (void)d;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = qs->off[n]; i < qs->off[n + 1]; i++) {
                const float *qi = q + i * ldq + h * HEAD, *k = kv + h * HEAD, *v = k + heads * HEAD;
                double max = -INFINITY, sum = 0, o[HEAD] = {0};
                for (int64_t j = s->off[n]; j < s->off[n + 1]; j++)
                    max = fmax(max, scale * dot(precision, qi, k + j * ldkv));
                for (int64_t j = s->off[n]; j < s->off[n + 1]; j++) {
                    double e = exp(scale * dot(precision, qi, k + j * ldkv) - max);
                    sum += e;
                    for (int c = 0; c < HEAD; c++) o[c] += times(precision, e, v[j * ldkv + c]);
                }
                for (int c = 0; c < HEAD; c++) out[(i * heads + h) * HEAD + c] = (float)(o[c] / sum);
                if (lse) lse[i * heads + h] = (float)(max + log(sum));
            }
}

/* What a head's backward pass reads, from its first column on: row i of q is q + i*ldq, and so on. */
struct head {
    enum lafs_precision precision;
    float scale;
    int64_t heads, ldq, ldkv;
    const float *q, *k, *v, *out, *dout, *lse;
};

/* p_ij, and ds_ij = p_ij (do_i.v_j - D_i) with D_i = do_i.o_i */
static double score(const struct head *a, int64_t i, int64_t j, double *ds)
{
    const float *dout = a->dout + i * a->heads * HEAD;
    double p = exp(a->scale * dot(a->precision, a->q + i * a->ldq, a->k + j * a->ldkv) - a->lse[i * a->heads]);
    double along = dot(LAFS_PRECISION_FP32, dout, a->out + i * a->heads * HEAD);
    *ds = p * (dot(a->precision, dout, a->v + j * a->ldkv) - along);
    return p;
}

/* dq_i = scale sum_j ds_ij k_j */
static void query_bwd(const struct head *a, int64_t i, int64_t first, int64_t end, float *dq)
{
    double sum[HEAD] = {0}, ds;
    for (int64_t j = first; j < end; j++) {
        score(a, i, j, &ds);
        for (int c = 0; c < HEAD; c++) sum[c] += a->scale * times(a->precision, ds, a->k[j * a->ldkv + c]);
    }
    for (int c = 0; c < HEAD; c++) dq[c] = (float)sum[c];
}

/* dv_j = sum_i p_ij do_i,  dk_j = scale sum_i ds_ij q_i */
static void key_bwd(const struct head *a, int64_t j, int64_t first, int64_t end, float *dk, float *dv)
{
    double sk[HEAD] = {0}, sv[HEAD] = {0}, ds;
    for (int64_t i = first; i < end; i++) {
        double p = score(a, i, j, &ds);
        for (int c = 0; c < HEAD; c++) {
            sk[c] += a->scale * times(a->precision, ds, a->q[i * a->ldq + c]);
            sv[c] += times(a->precision, p, a->dout[i * a->heads * HEAD + c]);
        }
    }
    for (int c = 0; c < HEAD; c++) {
        dk[c] = (float)sk[c];
        dv[c] = (float)sv[c];
    }
}

void lafs_ref_attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                            const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                            const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                            float *dq, float *dkv)
{
    (void)d;
    for (int64_t h = 0; h < heads; h++) {
        int64_t c = h * HEAD, v = (heads + h) * HEAD;
        const struct head a = {precision, scale,  heads,   ldq,      ldkv,   q + c,
                               kv + c,    kv + v, out + c, dout + c, lse + h};
        for (int64_t n = 0; n < s->n; n++) {
            for (int64_t i = qs->off[n]; i < qs->off[n + 1]; i++)
                query_bwd(&a, i, s->off[n], s->off[n + 1], dq + i * ldq + c);
            for (int64_t j = s->off[n]; j < s->off[n + 1]; j++)
                key_bwd(&a, j, qs->off[n], qs->off[n + 1], dkv + j * ldkv + c, dkv + j * ldkv + v);
        }
    }
}
