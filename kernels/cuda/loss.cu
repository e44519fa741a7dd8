/* Normalised rows, a warp each; losses. */
#include "kernels/cuda/dev.cuh"

enum { WIDE_BLOCK = 1024, ROW_BLOCK = 512 };
static const float NORM_MIN = 1e-12f;

KERNEL l2norm_kernel(int64_t rows, int64_t width, const float *x, float *y, float *norm)
{
    const int64_t r = global_index() / WARP;
    if (r >= rows) return; /* with its whole warp */
    float sum = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) sum += x[r * width + j] * x[r * width + j];
    const float length = sqrtf(warp_sum(sum));
    for (int64_t j = lane_index(); j < width; j += WARP) y[r * width + j] = x[r * width + j] / fmaxf(length, NORM_MIN);
    if (lane_index() == 0) norm[r] = length;
}
static void l2norm(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *y, float *norm)
{
    LAUNCH(d, l2norm_kernel, grid_for(rows * WARP), THREADS, 0, rows, width, x, y, norm);
}

KERNEL l2norm_bwd_kernel(int64_t rows, int64_t width, const float *y, const float *norm, const float *dy, float *dx,
                         int add)
{
    const int64_t r = global_index() / WARP;
    if (r >= rows) return;
    float along = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) along += y[r * width + j] * dy[r * width + j];
    along = warp_sum(along);
    if (norm[r] < NORM_MIN) along = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) {
        const float v = (dy[r * width + j] - y[r * width + j] * along) / fmaxf(norm[r], NORM_MIN);
        dx[r * width + j] = add ? dx[r * width + j] + v : v;
    }
}
static void l2norm_bwd(struct lafs_dev *d, int64_t rows, int64_t width, const float *y, const float *norm,
                       const float *dy, float *dx, int add)
{
    LAUNCH(d, l2norm_bwd_kernel, grid_for(rows * WARP), THREADS, 0, rows, width, y, norm, dy, dx, add);
}

/* One block: landmarks of a batch are few. */
KERNEL_FOR(WIDE_BLOCK) mse_kernel(int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                                  double *loss, float *da)
{
    const double w = *weight;
    double sum = 0;
    for (int64_t i = thread_index(); i < n; i += block_threads()) {
        const double diff = (double)a[i] - b[i];
        sum += diff * diff;
        if (da) da[i] += (float)(grad_scale * 2.0 * w / (double)n * diff);
    }
    sum = block_sum(sum, shared_memory<double>());
    if (thread_index() == 0) *loss = n ? w * sum / (double)n : 0;
}
static void mse(struct lafs_dev *d, int64_t n, const float *a, const float *b, const float *weight, float grad_scale,
                double *loss, float *da)
{
    LAUNCH(d, mse_kernel, grid_of(1), WIDE_BLOCK, WIDE_BLOCK / WARP * sizeof(double), n, a, b, weight, grad_scale, loss,
           da);
}

/* -- DINO: every row's log-sum-exp, then one pass over the classes that has all views of an image at once -- */

enum { DINO_CHUNK = 2048 /* classes of a block */, KEPT_TEACHERS = 8, /* whose values a thread keeps */
       STUDENTS = 5, CLASSES = 4 /* whose values are on their way at once */ };

struct row_stats {
    double lse, entropy, peak; /* the last two: of teachers */
    int64_t best;
};
struct dino {
    int64_t b, k;
    int vs, vt;
    const float *student, *teacher, *center, *temp;
    double inv_s, inv_t; /* 1 / temperature: filled in by kernels */
};
DEVICE void dino_temperatures(struct dino *g) { g->inv_s = 1 / (double)g->temp[0], g->inv_t = 1 / (double)g->temp[1]; }
/* z of what a student or a teacher says; no branch between load and load. Of a teacher `center` is taken off. */
DEVICE double student_z(const struct dino *g, float x) { return x * g->inv_s; }
DEVICE double teacher_z(const struct dino *g, float x, float center) { return ((double)x - center) * g->inv_t; }
DEVICE double dino_z(const struct dino *g, int64_t row, int64_t j)
{
    if (row < g->vs * g->b) return student_z(g, g->student[row * g->k + j]);
    return teacher_z(g, g->teacher[(row - g->vs * g->b) * g->k + j], g->center[j]);
}
/* The first place of a row's largest value. */
DEVICE int64_t first_of_largest(double top, int64_t place, double *room, int64_t *places)
{
    const double best = block_max(top, room);
    int64_t mine = top == best ? place : INT64_MAX;
    for (int bits = WARP / 2; bits; bits /= 2) {
        const int64_t other = warp_xor(mine, bits);
        mine = other < mine ? other : mine;
    }
    if (lane_index() == 0) places[warp_index()] = mine;
    block_sync();
    for (int i = 0; i < block_threads() / WARP; i++) mine = places[i] < mine ? places[i] : mine;
    return mine;
}
/* A block has a row: student rows, then teacher rows. */
KERNEL_FOR(ROW_BLOCK) dino_rows_kernel(struct dino g, struct row_stats *stats)
{
    double *room = shared_memory<double>();
    const int64_t row = block_x();
    dino_temperatures(&g);
    double top = -INFINITY, sum = 0, along = 0; /* sum of exp(z - top), and of exp(z - top) z */
    int64_t place = INT64_MAX;
    for (int64_t from = thread_index(); from < g.k; from += CLASSES * block_threads()) {
        double of[CLASSES];
#pragma unroll
        for (int a = 0; a < CLASSES; a++) {
            const int64_t j = from + a * block_threads();
            of[a] = j < g.k ? dino_z(&g, row, j) : -INFINITY;
        }
#pragma unroll
        for (int a = 0; a < CLASSES; a++) {
            const int64_t j = from + a * block_threads();
            const double z = of[a];
            if (j >= g.k) continue;
            if (z > top) {
                const float shrink = expf((float)(top - z));
                sum *= shrink, along *= shrink;
                top = z, place = j;
            }
            const float e = expf((float)(z - top));
            sum += e, along += e * z;
        }
    }
    const double best = block_max(top, room);
    const float shrink = sum > 0 ? expf((float)(top - best)) : 0;
    sum = block_sum(sum * shrink, room);
    along = block_sum(along * shrink, room);
    place = first_of_largest(top, place, room, (int64_t *)(room + WARP));
    if (thread_index()) return;
    const double lse = best + log(sum);
    stats[row] = {lse, lse - along / sum, exp(best - lse), place};
}
DEVICE double dino_lq(const struct dino *g, const struct row_stats *of_teacher, int t, int64_t i, int64_t j)
{
    return dino_z(g, (g->vs + t) * g->b + i, j) - of_teacher[t * g->b + i].lse;
}
/* A block has an image and DINO_CHUNK classes: its part of the loss, of the KL, and dstudent. scale: of that, but for
 * the student's temperature. */
KERNEL dino_pairs_kernel(struct dino g, const struct row_stats *stats, double scale, float *dstudent, double *part)
{
    double *room = shared_memory<double>(), loss = 0, kl = 0;
    const double grad = scale / (double)g.temp[0];
    dino_temperatures(&g);
    const int64_t i = block_x(), first = (int64_t)block_y() * DINO_CHUNK;
    const int64_t end = first + DINO_CHUNK < g.k ? first + DINO_CHUNK : g.k;
    const struct row_stats *of_teacher = stats + g.vs * g.b;
    for (int64_t j = first + thread_index(); j < end; j += block_threads()) {
        const float *const teachers = g.teacher + i * g.k + j, *const students = g.student + i * g.k + j;
        const int64_t step = g.b * g.k;
        const float center = g.center[j];
        float q[KEPT_TEACHERS];
        double lq0 = 0;
#pragma unroll
        for (int t = 0; t < KEPT_TEACHERS; t++) q[t] = t < g.vt ? teachers[t * step] : 0;
#pragma unroll
        for (int t = 0; t < KEPT_TEACHERS; t++) {
            if (t >= g.vt) continue;
            const double lq = teacher_z(&g, q[t], center) - of_teacher[t * g.b + i].lse;
            if (t == 0) lq0 = lq;
            q[t] = expf((float)lq);
        }
        for (int from = 0; from < g.vs; from += STUDENTS) {
            float of[STUDENTS];
#pragma unroll
            for (int a = 0; a < STUDENTS; a++) of[a] = from + a < g.vs ? students[(from + a) * step] : 0;
#pragma unroll
            for (int a = 0; a < STUDENTS; a++) {
                const int s = from + a, count = g.vt - (s < g.vt);
                if (s >= g.vs) continue;
                const double lp = student_z(&g, of[a]) - stats[s * g.b + i].lse;
                float others = 0; /* of teacher views that are not this one */
#pragma unroll
                for (int t = 0; t < KEPT_TEACHERS; t++)
                    if (t < g.vt && t != s) others += q[t];
                for (int t = KEPT_TEACHERS; t < g.vt; t++)
                    if (t != s) others += expf((float)dino_lq(&g, of_teacher, t, i, j));
                loss -= others * lp;
                if (s) kl += q[0] * (lq0 - lp);
                if (dstudent)
                    dstudent[(s * g.b + i) * g.k + j] = (float)(grad * ((double)count * expf((float)lp) - others));
            }
        }
    }
    loss = block_sum(loss, room);
    kl = block_sum(kl, room);
    if (thread_index()) return;
    const int64_t at = (int64_t)block_y() * grid_x() + block_x();
    part[2 * at] = loss, part[2 * at + 1] = kl;
}
/* mean (k); mixed (blocks): what a block's classes add to the entropy of the teacher rows' mean. */
KERNEL dino_center_kernel(struct dino g, const struct row_stats *stats, float *mean, double *mixed)
{
    const int64_t j = global_index(), rows = g.vt * g.b;
    double sum = 0, share = 0;
    dino_temperatures(&g);
#pragma unroll 8
    for (int64_t r = 0; r < (j < g.k ? rows : 0); r++) {
        sum += g.teacher[r * g.k + j];
        share += expf((float)(dino_z(&g, g.vs * g.b + r, j) - stats[g.vs * g.b + r].lse));
    }
    share /= (double)rows;
    if (j < g.k) mean[j] = (float)(sum / (double)rows);
    const double entropy = block_sum(share > 0 ? -share * log(share) : 0, shared_memory<double>());
    if (thread_index() == 0) mixed[block_x()] = entropy;
}
/* Which classes are some teacher row's maximum: rows may say the same, and write the same. */
KERNEL dino_hits_kernel(struct dino g, const struct row_stats *stats, uint8_t *hit)
{
    const int64_t r = global_index();
    if (r < g.vt * g.b && stats[g.vs * g.b + r].best < g.k) set_byte(hit + stats[g.vs * g.b + r].best);
}
/* One block: parts, rows and hits come together. */
KERNEL_FOR(WIDE_BLOCK) dino_end_kernel(struct dino g, const struct row_stats *stats, int64_t parts, const double *part,
                       int64_t blocks, const double *mixed, const uint8_t *hit, double pairs, double kl_pairs,
                       double *loss, double *out)
{
    double *room = shared_memory<double>(), sum[6] = {0, 0, 0, 0, 0, 0};
    const int64_t rows = g.vt * g.b;
    for (int64_t i = thread_index(); i < parts; i += block_threads()) sum[0] += part[2 * i], sum[1] += part[2 * i + 1];
    for (int64_t r = thread_index(); r < rows; r += block_threads())
        sum[2] += stats[g.vs * g.b + r].entropy, sum[3] += stats[g.vs * g.b + r].peak;
    for (int64_t w = thread_index(); w < (g.k + 3) / 4; w += block_threads())
        sum[4] += (double)(((const uint32_t *)hit)[w] * 0x01010101u >> 24); /* the sum of four bytes */
    for (int64_t i = thread_index(); i < blocks; i += block_threads()) sum[5] += mixed[i];
    for (int i = 0; i < 6; i++) sum[i] = block_sum(sum[i], room);
    if (thread_index()) return;
    *loss = pairs > 0 ? sum[0] / pairs : 0;
    out[0] = sum[2] / (double)rows;
    out[1] = kl_pairs > 0 ? sum[1] / kl_pairs : 0;
    out[2] = sum[3] / (double)rows;
    out[3] = sum[4] / (double)g.k;
    out[4] = sum[5];
}
static void dino_loss(struct lafs_dev *d, int64_t b, int64_t k, int vs, int vt, const float *student,
                      const float *teacher, const float *center, const float *temp, float grad_scale, double *loss,
                      float *dstudent, float *center_mean, double *stats)
{
    const struct dino g = {b, k, vs, vt, student, teacher, center, temp, 0, 0};
    const int64_t rows = (vs + vt) * b, chunks = (k + DINO_CHUNK - 1) / DINO_CHUNK, parts = chunks * b;
    const int64_t blocks = (k + THREADS - 1) / THREADS;
    int64_t pairs = 0;
    for (int t = 0; t < vt; t++) pairs += vs - (t < vs);
    const size_t rows_size = (size_t)rows * sizeof(struct row_stats);
    const size_t parts_size = (size_t)(2 * parts + blocks) * sizeof(double);
    const size_t hits_size = (size_t)(k + 3) / 4 * 4;
    char *room = (char *)dev_scratch(d, SCRATCH_SUMS, rows_size + parts_size + hits_size);
    if (!room) return;
    struct row_stats *of_rows = (struct row_stats *)room;
    double *part = (double *)(room + rows_size), *mixed = part + 2 * parts;
    uint8_t *hit = (uint8_t *)(room + rows_size + parts_size);
    const double all = (double)(pairs * b), scale = pairs ? grad_scale / all : 0;
    const size_t shared = 2 * WARP * sizeof(double);
    LAUNCH(d, dino_rows_kernel, grid_of(rows), ROW_BLOCK, shared, g, of_rows);
    LAUNCH(d, dino_pairs_kernel, grid_of(b, chunks), THREADS, shared, g, of_rows, scale, dstudent, part);
    LAUNCH(d, dino_center_kernel, grid_for(k), THREADS, shared, g, of_rows, center_mean, mixed);
    dev_zero(d, hit, hits_size);
    LAUNCH(d, dino_hits_kernel, grid_for(vt * b), THREADS, 0, g, of_rows, hit);
    LAUNCH(d, dino_end_kernel, grid_of(1), WIDE_BLOCK, shared, g, of_rows, parts, part, blocks, mixed, hit, all,
           (double)((vs - 1) * b), loss, stats);
}

/* -- margin softmax. With e^ = emb/|emb|, w^ = weight/|weight| and g = d loss / d cos:
 *   d e = (u - e^ (e^ . u)) / |e| with u = sum_c g w^,      d w = (sum_i g e^ - w^ sum_i g cos) / |w|.
 * One array of (b,classes) holds e^ . w, then g / |w|; its rows begin where products like them to. -- */

struct margin {
    int64_t b, dim, classes, ld; /* ld: from row to row of cosine */
    int kind;
    double s, m, factor;
    float *cosine;            /* (b,classes), rows ld apart */
    float *unit, *u;          /* (b,dim): e^, sum_c g w^ */
    float *inv_e, *inv_w;     /* (b) (classes) */
    double *lse, *row_loss;   /* (b) */
    const struct lafs_target *target;
};
static size_t room_of(int64_t n, size_t item) { return ((size_t)n * item + 255) / 256 * 256; }
/* Places in scratch; returns their size. */
static size_t carve(struct margin *g, char *at)
{
    char *const start = at;
#define TAKE(field, n)                         \
    do {                                       \
        g->field = (decltype(g->field))at;     \
        at += room_of(n, sizeof *g->field);    \
    } while (0)
    TAKE(cosine, g->b * g->ld);
    TAKE(unit, g->b * g->dim);
    TAKE(u, g->b * g->dim);
    TAKE(inv_e, g->b);
    TAKE(inv_w, g->classes);
    TAKE(lse, g->b);
    TAKE(row_loss, g->b);
#undef TAKE
    return (size_t)(at - start);
}
static int64_t row_of(int64_t classes) { return (classes + 7) / 8 * 8; }
static size_t margin_scratch(int64_t b, int64_t dim, int64_t classes)
{
    static char nowhere[1];
    struct margin g = {b, dim, classes, row_of(classes)};
    return carve(&g, nowhere);
}

/* inv (rows) = 1 / |x|; unit, unless NULL, = x / |x|. A warp has a row. */
KERNEL unit_kernel(int64_t rows, int64_t width, const float *x, float *inv, float *unit)
{
    const int64_t r = global_index() / WARP;
    if (r >= rows) return; /* with its whole warp */
    float sum = 0;
    for (int64_t j = lane_index(); j < width; j += WARP) sum += x[r * width + j] * x[r * width + j];
    const float f = 1 / fmaxf(sqrtf(warp_sum(sum)), NORM_MIN);
    if (lane_index() == 0) inv[r] = f;
    for (int64_t j = lane_index(); unit && j < width; j += WARP) unit[r * width + j] = x[r * width + j] * f;
}

DEVICE double target_weight(const struct lafs_target *t, int64_t c)
{
    return (t->a == c ? t->lambda : 0) + (t->b == c ? 1 - (double)t->lambda : 0);
}
/* Logit and its slope by the cosine. */
DEVICE double margin_logit(const struct margin *g, double cosine, double y, double *slope)
{
    *slope = g->s;
    if (g->kind == LAFS_MARGIN_COSFACE) return g->s * (cosine - g->m * y);
    if (y == 0) return g->s * cosine;
    const double c = fmin(fmax(cosine, -1 + 1e-7), 1 - 1e-7), angle = acos(c) + g->m * y;
    *slope = g->s * sin(angle) / sqrt(1 - c * c);
    return g->s * cos(angle);
}
/* A block has a row: logits, their log-sum-exp, the row's loss. */
KERNEL_FOR(WIDE_BLOCK) margin_rows_kernel(struct margin g, float *logits)
{
    double *room = shared_memory<double>();
    const int64_t i = block_x();
    const struct lafs_target target = g.target[i];
    double top = -INFINITY, sum = 0, wanted = 0, slope;
    for (int64_t c = thread_index(); c < g.classes; c += block_threads()) {
        const double y = target_weight(&target, c);
        const double z = margin_logit(&g, (double)g.cosine[i * g.ld + c] * g.inv_w[c], y, &slope);
        if (logits) logits[i * g.classes + c] = (float)z;
        wanted += y * z;
        if (z > top) {
            sum *= expf((float)(top - z));
            top = z;
        }
        sum += expf((float)(z - top));
    }
    const double best = block_max(top, room);
    sum = block_sum(sum > 0 ? sum * expf((float)(top - best)) : 0, room);
    wanted = block_sum(wanted, room);
    if (thread_index()) return;
    g.lse[i] = best + log(sum);
    g.row_loss[i] = g.lse[i] - wanted; /* the targets' weights sum to 1 */
}
KERNEL margin_loss_kernel(int64_t b, const double *row, double *loss)
{
    double sum = 0;
    for (int64_t i = thread_index(); i < b; i += block_threads()) sum += row[i];
    sum = block_sum(sum, shared_memory<double>());
    if (thread_index() == 0) *loss = sum / (double)b;
}
/* A thread has a class: the cosines become g / |w|, and dweight loses its part along w. */
KERNEL margin_grad_kernel(struct margin g, float *along)
{
    const int64_t c = global_index();
    if (c >= g.classes) return;
    double sum = 0, slope;
    for (int64_t i = 0; i < g.b; i++) {
        const double y = target_weight(&g.target[i], c);
        float *place = &g.cosine[i * g.ld + c];
        const double cosine = (double)*place * g.inv_w[c], z = margin_logit(&g, cosine, y, &slope);
        const double grad = g.factor * (expf((float)(z - g.lse[i])) - y) * slope;
        sum += grad * cosine;
        *place = (float)(grad * g.inv_w[c]);
    }
    along[c] = (float)(sum * g.inv_w[c] * g.inv_w[c]);
}
KERNEL margin_weight_kernel(int64_t n, int64_t dim, const float *along, const float *weight, float *dweight)
{
    const int64_t i = global_index();
    if (i < n) dweight[i] -= along[i / dim] * weight[i];
}
KERNEL margin_emb_kernel(struct margin g, float *demb)
{
    const int64_t i = global_index() / WARP;
    if (i >= g.b) return;
    float along = 0;
    for (int64_t j = lane_index(); j < g.dim; j += WARP) along += g.unit[i * g.dim + j] * g.u[i * g.dim + j];
    along = warp_sum(along);
    for (int64_t j = lane_index(); j < g.dim; j += WARP)
        demb[i * g.dim + j] = (g.u[i * g.dim + j] - g.unit[i * g.dim + j] * along) * g.inv_e[i];
}
static void margin_loss(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                        const float *emb, const float *weight, const struct lafs_target *target, enum lafs_margin kind,
                        float s, float m, float grad_scale, void *scratch, double *loss, float *demb, float *dweight,
                        float *logits)
{
    const int64_t ld = row_of(classes);
    struct margin g = {b, dim, classes, ld, kind, s, m, grad_scale / (double)b};
    if (precision == LAFS_PRECISION_BF16) precision = LAFS_PRECISION_BF16X3;
    carve(&g, (char *)scratch);
    g.target = target;
    LAUNCH(d, unit_kernel, grid_for(b * WARP), THREADS, 0, b, dim, emb, g.inv_e, g.unit);
    LAUNCH(d, unit_kernel, grid_for(classes * WARP), THREADS, 0, classes, dim, weight, g.inv_w, NULL);
    multiply(d, precision, {PRODUCT_NT, b, classes, dim, 0, g.unit, weight, NULL, 0, g.cosine, 0, 0, ld});
    LAUNCH(d, margin_rows_kernel, grid_of(b), WIDE_BLOCK, WARP * sizeof(double), g, logits);
    LAUNCH(d, margin_loss_kernel, grid_of(1), THREADS, WARP * sizeof(double), b, g.row_loss, loss);
    if (!demb) return;
    float *along = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)classes * sizeof *along);
    if (!along) return;
    LAUNCH(d, margin_grad_kernel, grid_for(classes), THREADS, 0, g, along);
    multiply_long(d, precision, {PRODUCT_NN, b, dim, classes, 0, g.cosine, weight, NULL, 0, g.u, ld});
    multiply(d, precision, {PRODUCT_TN, classes, dim, b, 0, g.cosine, g.unit, NULL, 1, dweight, ld});
    LAUNCH(d, margin_weight_kernel, grid_for(classes * dim), THREADS, 0, classes * dim, dim, along, weight, dweight);
    LAUNCH(d, margin_emb_kernel, grid_for(b * WARP), THREADS, 0, g, demb);
}

/* -- the same over classes that are split among processes -- */

enum { PART_CHUNK = 2048 /* classes of a block */ };

/* Logit of class c of a row, and its slope; *y: its part of the target. */
DEVICE double part_logit(const struct lafs_margin_part *p, const struct lafs_margin_row *row, int64_t c, float cosine,
                         double *y, double *slope)
{
    struct margin g;
    g.kind = p->kind, g.s = p->s, g.m = p->m;
    *y = target_weight(&row->target, p->first + c);
    return margin_logit(&g, cosine, *y, slope);
}
/* A block has a row. */
KERNEL_FOR(WIDE_BLOCK) margin_most_kernel(struct lafs_margin_part p, const float *cosine, double *most)
{
    const int64_t i = block_x();
    const struct lafs_margin_row row = p.row[i];
    double top = -INFINITY, y, slope;
    for (int64_t c = thread_index(); c < p.classes && row.factor != 0; c += block_threads())
        top = fmax(top, part_logit(&p, &row, c, cosine[i * p.classes + c], &y, &slope));
    top = block_max(top, shared_memory<double>());
    if (thread_index() == 0) most[i] = top;
}
KERNEL_FOR(WIDE_BLOCK) margin_sums_kernel(struct lafs_margin_part p, const float *cosine, const double *most,
                                          double *sums)
{
    const int64_t i = block_x();
    const struct lafs_margin_row row = p.row[i];
    double *room = shared_memory<double>(), sum = 0, wanted = 0, y, slope;
    for (int64_t c = thread_index(); c < p.classes && row.factor != 0; c += block_threads()) {
        const double z = part_logit(&p, &row, c, cosine[i * p.classes + c], &y, &slope);
        sum += expf((float)(z - most[i]));
        wanted += y * z;
    }
    sum = block_sum(sum, room);
    wanted = block_sum(wanted, room);
    if (thread_index() == 0) sums[2 * i] = sum, sums[2 * i + 1] = wanted;
}
/* A block has PART_CHUNK classes of a row. */
KERNEL margin_slopes_kernel(struct lafs_margin_part p, const double *most, const double *sum, float *cosine)
{
    const int64_t i = block_x(), first = (int64_t)block_y() * PART_CHUNK;
    const int64_t end = first + PART_CHUNK < p.classes ? first + PART_CHUNK : p.classes;
    const struct lafs_margin_row row = p.row[i];
    double y, slope;
    for (int64_t c = first + thread_index(); c < end; c += block_threads()) {
        float *place = &cosine[i * p.classes + c];
        const double z = part_logit(&p, &row, c, *place, &y, &slope);
        *place = row.factor != 0 ? (float)(row.factor * (expf((float)(z - most[i])) / sum[i] - y) * slope) : 0.0f;
    }
}
static void margin_most(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most)
{
    LAUNCH(d, margin_most_kernel, grid_of(p->rows), WIDE_BLOCK, WARP * sizeof(double), *p, cosine, most);
}
static void margin_sums(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                        double *sums)
{
    LAUNCH(d, margin_sums_kernel, grid_of(p->rows), WIDE_BLOCK, WARP * sizeof(double), *p, cosine, most, sums);
}
static void margin_slopes(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                          float *cosine)
{
    LAUNCH(d, margin_slopes_kernel, grid_of(p->rows, (p->classes + PART_CHUNK - 1) / PART_CHUNK), THREADS, 0, *p, most,
           sum, cosine);
}

void ops_loss(struct lafs_ops *ops)
{
    ops->l2norm = l2norm;
    ops->l2norm_bwd = l2norm_bwd;
    ops->mse = mse;
    ops->dino_loss = dino_loss;
    ops->margin_scratch = margin_scratch;
    ops->margin_loss = margin_loss;
    ops->margin_most = margin_most;
    ops->margin_sums = margin_sums;
    ops->margin_slopes = margin_slopes;
}
