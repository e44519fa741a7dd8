/* The DINO loss, a tile per image: two passes over its rows of logits. The first finds the largest value of each row;
 * the second sums exponentials and products. With A = sum over student views of S_s, the sum over pairs t != s is
 *   sum_t sum_{s != t} lse_s - sum_k q_t[k] (A[k] - S_t[k]) / temp_s,
 * so a pair costs nothing of its own. The gradient pass computes the exponentials again instead of storing them. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

enum { BLOCK = 1024 }; /* columns at a time: their sums are float, sums of blocks double */

struct view {         /* of one row of logits, in units of the temperature */
    float max;
    double sum;       /* of exp(z - max) */
    double zsum;      /* teacher: of exp(z - max) (z - max) */
    double cross;     /* teacher: of exp(z - max) (A - S of the same view) */
    int64_t best;     /* teacher: first place of the maximum */
};

struct row { /* of the teacher: exp(z - max) / sum are its probabilities */
    int64_t best;
    double sum;
    float max;
};

struct image { /* what an image contributes, summed in image order */
    double loss, entropy, kl, peak;
};

struct dino {
    struct lafs_dev *d;
    int64_t b, k;
    int vs, vt;
    const float *student, *teacher, *center; /* (vs*b,k) (vt*b,k) (k) */
    float inv_s, inv_t;                      /* 1 / temperature */
    float factor;                            /* of the gradient by S */
    float *dstudent, *center_mean;           /* (vs*b,k) or NULL, (k) */
    struct image *image;                     /* (b) */
    struct row *row;                         /* (vt*b) */
    double *mixed;                           /* (blocks of k) shares of the entropy of the rows' mean */
};

/* z = (x - c) inv - shift over n columns; c NULL: zeros. */
LAFS_INLINE void logits(int64_t n, const float *x, const float *c, float inv, float shift, float *z)
{
    if (c) {
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) z[i] = (x[i] - c[i]) * inv - shift;
    } else {
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) z[i] = x[i] * inv - shift;
    }
}

LAFS_INLINE void exps(int64_t n, const float *z, float *e)
{
    LAFS_EACH
    for (int64_t i = 0; i < n; i++) e[i] = lafs_vec_exp(z[i]);
}

LAFS_INLINE const float *row_of(const struct dino *j, int teacher, int view, int64_t i)
{
    return (teacher ? j->teacher : j->student) + (view * j->b + i) * j->k;
}

LAFS_INLINE float row_max(const struct dino *j, const float *x, const float *c, float inv, int64_t *best)
{
    float z[BLOCK], max = -INFINITY;
    *best = 0;
    for (int64_t at = 0; at < j->k; at += BLOCK) {
        int64_t n = lafs_min64(BLOCK, j->k - at);
        logits(n, x + at, c ? c + at : NULL, inv, 0, z);
        float m = lafs_vec_max(n, z);
        if (!(m > max)) continue;
        max = m;
        for (int64_t i = 0; i < n; i++)
            if (z[i] == m) {
                *best = at + i;
                break;
            }
    }
    return max;
}

/* The second pass over all rows of image i: s (vs), t (vt). */
LAFS_INLINE void sum_rows(const struct dino *j, int64_t i, struct view *s, struct view *t)
{
    float all[BLOCK], z[BLOCK], e[BLOCK]; /* all: A */
    for (int64_t at = 0; at < j->k; at += BLOCK) {
        int64_t n = lafs_min64(BLOCK, j->k - at);
        memset(all, 0, sizeof all);
        for (int v = 0; v < j->vs; v++) {
            const float *x = row_of(j, 0, v, i) + at;
            LAFS_EACH
            for (int64_t c = 0; c < n; c++) all[c] += x[c];
            logits(n, x, NULL, j->inv_s, s[v].max, z);
            exps(n, z, e);
            s[v].sum += lafs_vec_sum(n, e);
        }
        for (int v = 0; v < j->vt; v++) {
            logits(n, row_of(j, 1, v, i) + at, j->center + at, j->inv_t, t[v].max, z);
            exps(n, z, e);
            t[v].sum += lafs_vec_sum(n, e);
            t[v].zsum += lafs_vec_dot(n, e, z);
            t[v].cross += lafs_vec_dot(n, e, all);
            if (v < j->vs) t[v].cross -= lafs_vec_dot(n, e, row_of(j, 0, v, i) + at);
        }
    }
}

/* dS_s = factor (sum over t != s of (p_s - q_t)) */
LAFS_INLINE void gradient(const struct dino *j, int64_t i, const struct view *s, const struct view *t, float *q)
{
    float z[BLOCK], e[BLOCK], all[BLOCK]; /* all: sum of q_t; q (vt, BLOCK) */
    for (int64_t at = 0; at < j->k; at += BLOCK) {
        int64_t n = lafs_min64(BLOCK, j->k - at);
        memset(all, 0, sizeof all);
        for (int v = 0; v < j->vt; v++) {
            float *qv = q + v * BLOCK, inv = (float)(1 / t[v].sum);
            logits(n, row_of(j, 1, v, i) + at, j->center + at, j->inv_t, t[v].max, z);
            exps(n, z, e);
            LAFS_EACH
            for (int64_t c = 0; c < n; c++) {
                qv[c] = e[c] * inv;
                all[c] += qv[c];
            }
        }
        for (int v = 0; v < j->vs; v++) {
            float *to = j->dstudent + (v * j->b + i) * j->k + at, *qv = q + v * BLOCK;
            float inv = (float)((j->vt - (v < j->vt)) / s[v].sum), factor = j->factor;
            logits(n, row_of(j, 0, v, i) + at, NULL, j->inv_s, s[v].max, z);
            exps(n, z, e);
            if (v < j->vt) {
                LAFS_EACH
                for (int64_t c = 0; c < n; c++) to[c] = factor * (e[c] * inv - (all[c] - qv[c]));
            } else {
                LAFS_EACH
                for (int64_t c = 0; c < n; c++) to[c] = factor * (e[c] * inv - all[c]);
            }
        }
    }
}

/* The image's loss, entropy, divergence and peak, from its sums. */
static struct image totals(const struct dino *j, const struct view *s, const struct view *t)
{
    struct image r = {0};
    double lse_all = 0;
    for (int v = 0; v < j->vs; v++) lse_all += s[v].max + log(s[v].sum);
    for (int v = 0; v < j->vt; v++) {
        double lse = lse_all - (v < j->vs ? s[v].max + log(s[v].sum) : 0); /* of the other student views */
        double cross = lse - t[v].cross / t[v].sum * j->inv_s, entropy = log(t[v].sum) - t[v].zsum / t[v].sum;
        r.loss += cross;
        r.entropy += entropy;
        r.peak += 1 / t[v].sum;
        if (v == 0) r.kl = cross - (j->vs - 1) * entropy;
    }
    return r;
}

LAFS_INLINE void image_tile(const struct dino *j, int64_t i, void *room)
{
    struct view *s = room, *t = s + j->vs;
    float *q = (float *)(t + j->vt); /* (vt, BLOCK) */
    memset(s, 0, (size_t)(j->vs + j->vt) * sizeof *s);
    for (int v = 0; v < j->vs; v++) s[v].max = row_max(j, row_of(j, 0, v, i), NULL, j->inv_s, &s[v].best);
    for (int v = 0; v < j->vt; v++) t[v].max = row_max(j, row_of(j, 1, v, i), j->center, j->inv_t, &t[v].best);
    sum_rows(j, i, s, t);
    for (int v = 0; v < j->vt; v++) j->row[v * j->b + i] = (struct row){t[v].best, t[v].sum, t[v].max};
    j->image[i] = totals(j, s, t);
    if (j->dstudent) gradient(j, i, s, t, q);
}
LAFS_ISA_TILES(image, struct dino, image_tile(j, tile, lafs_cpu_scratch(j->d, worker)))

/* center_mean of BLOCK columns, and what they add to the entropy of the rows' mean. */
LAFS_INLINE void center_tile(const struct dino *j, int64_t tile)
{
    int64_t from = tile * BLOCK, n = lafs_min64(BLOCK, j->k - from), rows = j->vt * j->b;
    double sum[BLOCK] = {0}, mean[BLOCK] = {0}, entropy = 0;
    float z[BLOCK], e[BLOCK];
    for (int64_t r = 0; r < rows; r++) {
        const float *x = j->teacher + r * j->k + from;
        double share = 1 / (j->row[r].sum * (double)rows);
        logits(n, x, j->center + from, j->inv_t, j->row[r].max, z);
        exps(n, z, e);
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) {
            sum[c] += x[c];
            mean[c] += e[c] * share;
        }
    }
    for (int64_t c = 0; c < n; c++) {
        j->center_mean[from + c] = (float)(sum[c] / (double)rows);
        if (mean[c] > 0) entropy -= mean[c] * log(mean[c]);
    }
    j->mixed[tile] = entropy;
}
LAFS_ISA_TILES(center, struct dino, center_tile(j, tile))

void lafs_cpu_dino_loss(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                        const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                        float *dstudent, float *center_mean, double *stats)
{
    const int64_t blocks = (k + BLOCK - 1) / BLOCK, rows = vt * b;
    int64_t pairs = 0, kl_pairs = vt > 0 ? vs - 1 : 0, hits = 0;
    for (int t = 0; t < vt; t++) pairs += vs - (t < vs);
    struct dino j = {.d = d, .b = b, .k = k, .vs = vs, .vt = vt, .student = student, .teacher = teacher,
                     .center = center, .inv_s = 1 / temp[0], .inv_t = 1 / temp[1], .dstudent = dstudent,
                     .center_mean = center_mean};
    j.factor = pairs ? (float)(grad_scale / ((double)(pairs * b) * temp[0])) : 0;
    size_t room = (size_t)(vs + vt) * sizeof(struct view) + (size_t)(vt > vs ? vt : vs) * BLOCK * sizeof(float);
    j.image = lafs_cpu_shared(d, (size_t)b * sizeof *j.image + (size_t)rows * sizeof *j.row +
                                     (size_t)blocks * sizeof *j.mixed + (size_t)k);
    if (!j.image || !lafs_cpu_reserve(d, room)) return;
    j.row = (struct row *)(j.image + b);
    j.mixed = (double *)(j.row + rows);
    unsigned char *hit = (unsigned char *)(j.mixed + blocks);
    lafs_pool_for(d->pool, b, lafs_isa_image(), &j);
    lafs_pool_for(d->pool, blocks, lafs_isa_center(), &j);

    struct image sum = {0};
    memset(hit, 0, (size_t)k);
    for (int64_t i = 0; i < b; i++) {
        sum.loss += j.image[i].loss;
        sum.entropy += j.image[i].entropy;
        sum.kl += j.image[i].kl;
        sum.peak += j.image[i].peak;
    }
    for (int64_t r = 0; r < rows; r++) {
        hits += !hit[j.row[r].best];
        hit[j.row[r].best] = 1;
    }
    *loss = pairs ? sum.loss / (double)(pairs * b) : 0;
    stats[0] = sum.entropy / (double)rows;
    stats[1] = kl_pairs > 0 ? sum.kl / (double)(kl_pairs * b) : 0;
    stats[2] = sum.peak / (double)rows;
    stats[3] = (double)hits / (double)k;
    stats[4] = 0;
    for (int64_t i = 0; i < blocks; i++) stats[4] += j.mixed[i];
}
