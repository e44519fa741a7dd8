#include "kernels/ref/ref.h"

#include <math.h>

static const double NORM_MIN = 1e-12; /* what PyTorch's normalize divides by at least */

void lafs_ref_l2norm(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm)
{
    (void)d;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t j = 0; j < width; j++) sum += (double)x[r * width + j] * x[r * width + j];
        double n = sqrt(sum);
        for (int64_t j = 0; j < width; j++) y[r * width + j] = (float)(x[r * width + j] / fmax(n, NORM_MIN));
        norm[r] = (float)n;
    }
}

/* dx = (dy - y (y.dy)) / |x|; below the minimum the divisor is a constant, and dx = dy / 1e-12. */
void lafs_ref_l2norm_bwd(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                         const float *dy, float *dx, int add)
{
    (void)d;
    for (int64_t r = 0; r < rows; r++) {
        const float *yr = y + r * width, *dyr = dy + r * width;
        double along = 0;
        for (int64_t j = 0; j < width; j++) along += (double)yr[j] * dyr[j];
        if (norm[r] < NORM_MIN) along = 0;
        for (int64_t j = 0; j < width; j++) {
            double v = (dyr[j] - yr[j] * along) / fmax(norm[r], NORM_MIN);
            dx[r * width + j] = (float)(add ? dx[r * width + j] + v : v);
        }
    }
}

/* log sum_j exp((x_j - c_j) / temp); c NULL: zeros. */
static double log_sum_exp(int64_t k, const float *x, const float *c, double temp)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < k; j++) max = fmax(max, ((double)x[j] - (c ? c[j] : 0)) / temp);
    for (int64_t j = 0; j < k; j++) sum += exp(((double)x[j] - (c ? c[j] : 0)) / temp - max);
    return max + log(sum);
}

struct dino { /* what the loops below need of one call */
    int64_t b, k;
    int vs, vt;
    const float *student, *teacher, *center; /* (vs*b,k) (vt*b,k) (k) */
    double temp_s, temp_t;
    double *lse_s, *lse_t;                   /* (vs*b) (vt*b) */
};

static double log_p(const struct dino *g, int64_t row, int64_t j)
{
    return g->student[row * g->k + j] / g->temp_s - g->lse_s[row];
}

static double log_q(const struct dino *g, int64_t row, int64_t j)
{
    return ((double)g->teacher[row * g->k + j] - g->center[j]) / g->temp_t - g->lse_t[row];
}

/* Mean over the pairs t != s, and over pairs with t = 0 the mean KL(q_0 || p_s). */
static void dino_forward(const struct dino *g, double *loss, double *kl)
{
    double sum = 0, kl_sum = 0;
    int64_t pairs = 0, kl_pairs = 0;
    for (int t = 0; t < g->vt; t++)
        for (int s = 0; s < g->vs; s++) {
            if (s == t) continue;
            pairs++;
            kl_pairs += t == 0;
            for (int64_t i = 0; i < g->b; i++)
                for (int64_t j = 0; j < g->k; j++) {
                    double lq = log_q(g, t * g->b + i, j), lp = log_p(g, s * g->b + i, j);
                    sum -= exp(lq) * lp;
                    if (t == 0) kl_sum += exp(lq) * (lq - lp);
                }
        }
    *loss = pairs ? sum / (double)(pairs * g->b) : 0;
    *kl = kl_pairs ? kl_sum / (double)(kl_pairs * g->b) : 0;
}

/* d loss / d S = sum over the teacher views t != s of (p_s - q_t), / (pairs b temp_s). */
static void dino_backward(const struct dino *g, double grad_scale, float *dstudent)
{
    int64_t pairs = 0;
    for (int t = 0; t < g->vt; t++) pairs += g->vs - (t < g->vs);
    for (int s = 0; s < g->vs; s++)
        for (int64_t i = 0; i < g->b; i++)
            for (int64_t j = 0; j < g->k; j++) {
                double sum = 0;
                for (int t = 0; t < g->vt; t++)
                    if (t != s) sum += exp(log_p(g, s * g->b + i, j)) - exp(log_q(g, t * g->b + i, j));
                dstudent[(s * g->b + i) * g->k + j] =
                    (float)(pairs ? grad_scale * sum / ((double)(pairs * g->b) * g->temp_s) : 0);
            }
}

/* stats 0, 2, 3, 4: entropy, largest probability, share of classes that are some row's maximum, entropy of the mean. */
static void dino_stats(const struct dino *g, unsigned char *hit, double *stats)
{
    double entropy = 0, peak = 0, of_mean = 0;
    int64_t rows = g->vt * g->b, hits = 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t best = 0;
        for (int64_t j = 0; j < g->k; j++) {
            double lq = log_q(g, r, j);
            entropy -= exp(lq) * lq;
            if (lq > log_q(g, r, best)) best = j;
        }
        peak += exp(log_q(g, r, best));
        hits += !hit[best];
        hit[best] = 1;
    }
    for (int64_t j = 0; j < g->k; j++) {
        double mean = 0;
        for (int64_t r = 0; r < rows; r++) mean += exp(log_q(g, r, j)) / (double)rows;
        if (mean > 0) of_mean -= mean * log(mean);
    }
    stats[0] = entropy / (double)rows;
    stats[2] = peak / (double)rows;
    stats[3] = (double)hits / (double)g->k;
    stats[4] = of_mean;
}

void lafs_ref_dino_loss(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                        const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                        float *dstudent, float *center_mean, double *stats)
{
    struct dino g = {b, k, vs, vt, student, teacher, center, temp[0], temp[1], NULL, NULL};
    struct lafs_err err = {0};
    unsigned char *hit = NULL;
    if (lafs_alloc(&g.lse_s, (size_t)(vs * b), sizeof(double), &err) == LAFS_OK &&
        lafs_alloc(&g.lse_t, (size_t)(vt * b), sizeof(double), &err) == LAFS_OK &&
        lafs_alloc0(&hit, (size_t)k, 1, &err) == LAFS_OK) {
        for (int64_t r = 0; r < vs * b; r++) g.lse_s[r] = log_sum_exp(k, student + r * k, NULL, g.temp_s);
        for (int64_t r = 0; r < vt * b; r++) g.lse_t[r] = log_sum_exp(k, teacher + r * k, center, g.temp_t);
        dino_forward(&g, loss, &stats[1]);
        dino_stats(&g, hit, stats);
        if (dstudent) dino_backward(&g, grad_scale, dstudent);
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t r = 0; r < vt * b; r++) sum += teacher[r * k + j];
            center_mean[j] = (float)(sum / (double)(vt * b));
        }
    } else {
        lafs_host_failed(d, &err);
    }
    lafs_free(hit);
    lafs_free(g.lse_t);
    lafs_free(g.lse_s);
}

/* Kept in scratch, as doubles: cos (b,classes), its gradient (b,classes), 1/|emb| (b), 1/|weight| (classes). */
size_t lafs_ref_margin_scratch(int64_t b, int64_t dim, int64_t classes)
{
    (void)dim;
    return sizeof(double) * (size_t)(2 * b * classes + b + classes);
}

static double inverse_norm(int64_t n, const float *x)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += (double)x[j] * x[j];
    return 1 / fmax(sqrt(sum), NORM_MIN);
}

static double target_weight(const struct lafs_target *t, int64_t c)
{
    return (t->a == c ? t->lambda : 0) + (t->b == c ? 1 - (double)t->lambda : 0);
}

/* Logit and its slope by the cosine. */
static double margin_logit(enum lafs_margin kind, double s, double m, double cosine, double y, double *slope)
{
    *slope = s;
    if (kind == LAFS_MARGIN_COSFACE) return s * (cosine - m * y);
    if (y == 0) return s * cosine;
    double c = fmin(fmax(cosine, -1 + 1e-7), 1 - 1e-7), angle = acos(c) + m * y;
    *slope = s * sin(angle) / sqrt(1 - c * c);
    return s * cos(angle);
}

/* Row i: logits, its share of the loss, and the gradient by the cosines. */
static double margin_row(int64_t classes, const struct lafs_target *t, enum lafs_margin kind, double s, double m,
                         double factor, const double *cosine, double *dcos, float *logits)
{
    double max = -INFINITY, sum = 0, loss = 0, slope;
    for (int64_t c = 0; c < classes; c++)
        max = fmax(max, margin_logit(kind, s, m, cosine[c], target_weight(t, c), &slope));
    for (int64_t c = 0; c < classes; c++)
        sum += exp(margin_logit(kind, s, m, cosine[c], target_weight(t, c), &slope) - max);
    double lse = max + log(sum);
    for (int64_t c = 0; c < classes; c++) {
        double y = target_weight(t, c), z = margin_logit(kind, s, m, cosine[c], y, &slope);
        loss -= y * (z - lse);
        dcos[c] = factor * (exp(z - lse) - y) * slope;
        if (logits) logits[c] = (float)z;
    }
    return loss;
}

void lafs_ref_margin_loss(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                          const float *emb, const float *weight, const struct lafs_target *target,
                          enum lafs_margin kind, float s, float m, float grad_scale, void *scratch, double *loss,
                          float *demb, float *dweight, float *logits)
{
    (void)d;
    (void)precision; /* never less than bf16x3, which is near what others make of fp32 */
    double *cosine = scratch, *dcos = cosine + b * classes, *inv_e = dcos + b * classes, *inv_w = inv_e + b;
    for (int64_t i = 0; i < b; i++) inv_e[i] = inverse_norm(dim, emb + i * dim);
    for (int64_t c = 0; c < classes; c++) inv_w[c] = inverse_norm(dim, weight + c * dim);
    double total = 0;
    for (int64_t i = 0; i < b; i++) {
        for (int64_t c = 0; c < classes; c++) {
            double sum = 0;
            for (int64_t j = 0; j < dim; j++) sum += (double)emb[i * dim + j] * weight[c * dim + j];
            cosine[i * classes + c] = sum * inv_e[i] * inv_w[c];
        }
        total += margin_row(classes, &target[i], kind, s, m, grad_scale / (double)b, cosine + i * classes,
                            dcos + i * classes, logits ? logits + i * classes : NULL);
    }
    *loss = total / (double)b;
    if (!demb) return;
    /* d cos / d e = (w^ - cos e^) / |e|, and the same with the roles exchanged. */
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < dim; j++) {
            double sum = 0;
            for (int64_t c = 0; c < classes; c++)
                sum += dcos[i * classes + c] *
                       (weight[c * dim + j] * inv_w[c] - cosine[i * classes + c] * emb[i * dim + j] * inv_e[i]);
            demb[i * dim + j] = (float)(sum * inv_e[i]);
        }
    for (int64_t c = 0; c < classes; c++)
        for (int64_t j = 0; j < dim; j++) {
            double sum = 0;
            for (int64_t i = 0; i < b; i++)
                sum += dcos[i * classes + c] *
                       (emb[i * dim + j] * inv_e[i] - cosine[i * classes + c] * weight[c * dim + j] * inv_w[c]);
            dweight[c * dim + j] += (float)(sum * inv_w[c]);
        }
}

/* Logit of class c of row i, and its slope; *y: its part of the target. */
static double part_logit(const struct lafs_margin_part *p, int64_t i, int64_t c, const float *cosine, double *y,
                         double *slope)
{
    *y = target_weight(&p->row[i].target, p->first + c);
    return margin_logit(p->kind, p->s, p->m, cosine[i * p->classes + c], *y, slope);
}

void lafs_ref_margin_most(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most)
{
    (void)d;
    double y, slope;
    for (int64_t i = 0; i < p->rows; i++) {
        most[i] = -INFINITY;
        for (int64_t c = 0; c < p->classes && p->row[i].factor != 0; c++)
            most[i] = fmax(most[i], part_logit(p, i, c, cosine, &y, &slope));
    }
}

void lafs_ref_margin_sums(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                          double *sums)
{
    (void)d;
    double y, slope;
    for (int64_t i = 0; i < p->rows; i++) {
        sums[2 * i] = sums[2 * i + 1] = 0;
        for (int64_t c = 0; c < p->classes && p->row[i].factor != 0; c++) {
            const double z = part_logit(p, i, c, cosine, &y, &slope);
            sums[2 * i] += exp(z - most[i]);
            sums[2 * i + 1] += y * z;
        }
    }
}

void lafs_ref_margin_slopes(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                            float *cosine)
{
    (void)d;
    double y, slope;
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t c = 0; c < p->classes; c++) {
            const double z = part_logit(p, i, c, cosine, &y, &slope), factor = p->row[i].factor;
            cosine[i * p->classes + c] =
                factor != 0 ? (float)(factor * (exp(z - most[i]) / sum[i] - y) * slope) : 0;
        }
}

void lafs_ref_mse(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                  double *loss, float *da)
{
    (void)d;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double diff = (double)a[i] - b[i];
        sum += diff * diff;
        if (da) da[i] += (float)(grad_scale * 2.0 * *weight / (double)n * diff);
    }
    *loss = n ? *weight * sum / (double)n : 0;
}
