/* Margin softmax over normalised embeddings and classes. With e^ = emb/|emb|, w^ = weight/|weight|, cos = e^.w^, the
 * gradients are, for g = d loss / d cos:
 *   d e = (sum_c g w^ - e^ (e^ . that)) / |e|,      d w = (sum_i g e^ - w^ sum_i g cos) / |w|.
 * Only the two target classes of a row have a margin: their entries are set apart before the softmax. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

static const double NORM_MIN = 1e-12;
enum { COLS = 512, ROWS = 64 }; /* columns and rows of a tile */

struct side {           /* the target entries of a row */
    double cosine[2], y[2], slope[2]; /* slope: d logit / d cos */
    int64_t c[2];
    int n;              /* 1 when both targets are the same class */
    double lse, loss;
};

struct margin {
    struct lafs_dev *d;
    int64_t b, dim, classes;
    const float *emb, *weight;      /* (b,dim) (classes,dim) */
    const struct lafs_target *target;
    enum lafs_margin kind;
    double s, m, factor;
    float *cosine;                  /* (b,classes): cos, then logit/s, then g / |w| */
    float *unit, *dunit;            /* (b,dim): e^, sum_c g w^ */
    float *inv_e, *inv_w;           /* (b) (classes) */
    float *along;                   /* (classes): sum_i g cos / |w|^2, what dweight loses along w */
    struct side *side;              /* (b) */
    float *demb, *dweight, *logits;
};

static size_t aligned(size_t n) { return (n + 63) / 64 * 64; }

size_t lafs_cpu_margin_scratch(int64_t b, int64_t dim, int64_t classes)
{
    size_t f = sizeof(float);
    return aligned((size_t)(b * classes) * f) + 2 * aligned((size_t)(b * dim) * f) + aligned((size_t)b * f) +
           2 * aligned((size_t)classes * f) + aligned((size_t)b * sizeof(struct side));
}

static void carve(struct margin *j, void *scratch)
{
    char *p = scratch;
    size_t f = sizeof(float);
    j->cosine = (float *)p;
    p += aligned((size_t)(j->b * j->classes) * f);
    j->unit = (float *)p;
    p += aligned((size_t)(j->b * j->dim) * f);
    j->dunit = (float *)p;
    p += aligned((size_t)(j->b * j->dim) * f);
    j->inv_e = (float *)p;
    p += aligned((size_t)j->b * f);
    j->inv_w = (float *)p;
    p += aligned((size_t)j->classes * f);
    j->along = (float *)p;
    p += aligned((size_t)j->classes * f);
    j->side = (struct side *)p;
}

LAFS_INLINE void unit_tile(const struct margin *j, int64_t i)
{
    const float *e = j->emb + i * j->dim;
    float *u = j->unit + i * j->dim;
    float inv = (float)(1 / fmax(sqrt(lafs_vec_dot_double(j->dim, e, e)), NORM_MIN));
    LAFS_EACH
    for (int64_t c = 0; c < j->dim; c++) u[c] = e[c] * inv;
    j->inv_e[i] = inv;
}
LAFS_ISA_TILES(unit, struct margin, unit_tile(j, tile))

LAFS_INLINE void weight_tile(const struct margin *j, int64_t tile)
{
    for (int64_t c = tile * ROWS; c < lafs_min64((tile + 1) * ROWS, j->classes); c++) {
        const float *w = j->weight + c * j->dim;
        j->inv_w[c] = (float)(1 / fmax(sqrt(lafs_vec_dot_double(j->dim, w, w)), NORM_MIN));
    }
}
LAFS_ISA_TILES(weight, struct margin, weight_tile(j, tile))

/* A block of e^.w becomes cosines. */
LAFS_INLINE void cosine_rows(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    const struct margin *j = p->arg;
    for (int64_t r = row; r < row + rows; r++) {
        float *c = p->c + r * p->ldc + col;
        const float *inv = j->inv_w + col;
        LAFS_EACH
        for (int64_t i = 0; i < cols; i++) c[i] *= inv[i];
    }
}
LAFS_ISA_FN(cosine_rows, (const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols),
            (p, row, rows, col, cols))
static void cosine_block(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, int worker)
{
    (void)worker;
    lafs_isa_cosine_rows()(p, row, rows, col, cols);
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

/* Sets the target entries of row i apart, and puts their logits / s in their place. */
static void set_apart(const struct margin *j, int64_t i, double logit[2])
{
    const struct lafs_target *t = &j->target[i];
    struct side *s = &j->side[i];
    s->n = t->a == t->b || t->lambda == 1 ? 1 : 2;
    s->c[0] = t->a;
    s->c[1] = t->b;
    s->y[0] = t->a == t->b ? 1 : t->lambda;
    s->y[1] = 1 - (double)t->lambda;
    for (int k = 0; k < s->n; k++) {
        float *place = j->cosine + i * j->classes + s->c[k];
        s->cosine[k] = *place;
        logit[k] = margin_logit(j->kind, j->s, j->m, s->cosine[k], s->y[k], &s->slope[k]);
        *place = (float)(logit[k] / j->s);
    }
}

/* Row i: its log-sum-exp and its loss. */
LAFS_INLINE void softmax_tile(const struct margin *j, int64_t i)
{
    enum { BLOCK = 1024 };
    struct side *s = &j->side[i];
    float *z = j->cosine + i * j->classes, e[BLOCK], scale = (float)j->s;
    double logit[2], sum = 0;
    set_apart(j, i, logit);
    float max = scale * (scale < 0 ? z[0] : lafs_vec_max(j->classes, z));
    for (int64_t at = 0; at < j->classes; at += BLOCK) {
        int64_t n = lafs_min64(BLOCK, j->classes - at);
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) e[c] = lafs_vec_exp(scale * z[at + c] - max);
        sum += lafs_vec_sum(n, e);
    }
    s->lse = max + log(sum);
    s->loss = 0;
    for (int k = 0; k < s->n; k++) s->loss += s->y[k] * (s->lse - logit[k]);
    if (j->logits) {
        float *to = j->logits + i * j->classes;
        LAFS_EACH
        for (int64_t c = 0; c < j->classes; c++) to[c] = scale * z[c];
    }
}
LAFS_ISA_TILES(softmax, struct margin, softmax_tile(j, tile))

/* COLS columns of all rows: g / |w| into `cosine`, and the sums along w. */
LAFS_INLINE void slope_tile(const struct margin *j, int64_t tile)
{
    int64_t from = tile * COLS, n = lafs_min64(COLS, j->classes - from);
    float along[COLS] = {0}, scale = (float)j->s, factor = (float)(j->factor * j->s);
    const float *inv = j->inv_w + from;
    for (int64_t i = 0; i < j->b; i++) {
        const struct side *s = &j->side[i];
        float *z = j->cosine + i * j->classes + from, lse = (float)s->lse, hidden[2] = {0};
        for (int k = 0; k < s->n; k++) { /* 0: p, before it is overwritten */
            int64_t c = s->c[k] - from;
            if (c < 0 || c >= n) continue;
            double p = exp(j->s * (double)z[c] - s->lse);
            hidden[k] = (float)(j->factor * (p - s->y[k]) * s->slope[k]) * inv[c];
            along[c] += hidden[k] * (float)s->cosine[k];
            z[c] = 0; /* its share of the sums below is p(0) * 0 */
        }
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) {
            float g = factor * lafs_vec_exp(scale * z[c] - lse) * inv[c];
            along[c] += g * z[c];
            z[c] = g;
        }
        for (int k = 0; k < s->n; k++)
            if (s->c[k] >= from && s->c[k] < from + n) z[s->c[k] - from] = hidden[k];
    }
    for (int64_t c = 0; c < n; c++) j->along[from + c] = along[c] * inv[c];
}
LAFS_ISA_TILES(slope, struct margin, slope_tile(j, tile))

/* A finished block of dweight loses its part along w. */
LAFS_INLINE void along_rows(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    const struct margin *j = p->arg;
    for (int64_t r = row; r < row + rows; r++) {
        const float *w = j->weight + r * j->dim + col;
        float *dw = p->c + r * p->ldc + col, a = j->along[r];
        LAFS_EACH
        for (int64_t c = 0; c < cols; c++) dw[c] -= a * w[c];
    }
}
LAFS_ISA_FN(along_rows, (const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols),
            (p, row, rows, col, cols))
static void along_block(const struct lafs_matmul *p, int64_t row, int64_t rows, int64_t col, int64_t cols, int worker)
{
    (void)worker;
    lafs_isa_along_rows()(p, row, rows, col, cols);
}

LAFS_INLINE void demb_tile(const struct margin *j, int64_t i)
{
    const float *u = j->unit + i * j->dim, *g = j->dunit + i * j->dim;
    float *to = j->demb + i * j->dim, along = lafs_vec_dot(j->dim, u, g), inv = j->inv_e[i];
    LAFS_EACH
    for (int64_t c = 0; c < j->dim; c++) to[c] = (g[c] - u[c] * along) * inv;
}
LAFS_ISA_TILES(demb, struct margin, demb_tile(j, tile))

void lafs_cpu_margin_loss(struct lafs_dev *d, enum lafs_precision precision, int64_t b, int64_t dim, int64_t classes,
                          const float *emb, const float *weight, const struct lafs_target *target,
                          enum lafs_margin kind, float s, float m, float grad_scale, void *scratch, double *loss,
                          float *demb, float *dweight, float *logits)
{
    struct margin j = {.d = d, .b = b, .dim = dim, .classes = classes, .emb = emb, .weight = weight, .target = target,
                       .kind = kind, .s = s, .m = m, .factor = grad_scale / (double)b, .demb = demb, .dweight = dweight,
                       .logits = logits};
    if (precision == LAFS_PRECISION_BF16) precision = LAFS_PRECISION_BF16X3;
    carve(&j, scratch);
    lafs_pool_for(d->pool, b, lafs_isa_unit(), &j);
    lafs_pool_for(d->pool, (classes + ROWS - 1) / ROWS, lafs_isa_weight(), &j);
    struct lafs_matmul cosines = {.precision = precision, .transb = 1, .m = b, .n = classes, .k = dim, .a = j.unit,
                                  .lda = dim, .b = weight, .ldb = dim, .c = j.cosine, .ldc = classes,
                                  .finish = cosine_block, .arg = &j};
    lafs_cpu_matmul(d, &cosines);
    lafs_pool_for(d->pool, b, lafs_isa_softmax(), &j);
    double sum = 0;
    for (int64_t i = 0; i < b; i++) sum += j.side[i].loss;
    *loss = sum / (double)b;
    if (!demb) return;
    lafs_pool_for(d->pool, (classes + COLS - 1) / COLS, lafs_isa_slope(), &j);
    struct lafs_matmul back_e = {.precision = precision, .m = b, .n = dim, .k = classes, .a = j.cosine, .lda = classes,
                                 .b = weight, .ldb = dim, .c = j.dunit, .ldc = dim};
    struct lafs_matmul back_w = {.precision = precision, .transa = 1, .m = classes, .n = dim, .k = b, .a = j.cosine,
                                 .lda = classes, .b = j.unit, .ldb = dim, .add = 1, .c = dweight, .ldc = dim,
                                 .finish = along_block, .arg = &j};
    lafs_cpu_matmul(d, &back_e);
    lafs_cpu_matmul(d, &back_w);
    lafs_pool_for(d->pool, b, lafs_isa_demb(), &j);
}

/* -- classes that are split among processes: a tile is a row -- */

struct part {
    const struct lafs_margin_part *p;
    const float *cosine;
    float *slope;
    const double *most, *sum;
    double *out;
};
struct apart {          /* the row's targets among the classes here, ascending; a last one behind all classes */
    int n;
    int64_t at[3];
    double y[2], logit[2], slope[2];
};

static struct apart part_apart(const struct lafs_margin_part *p, int64_t i, const float *cosine)
{
    const struct lafs_target *t = &p->row[i].target;
    const int64_t class[2] = {t->a, t->b};
    const double y[2] = {t->a == t->b ? 1 : t->lambda, t->a == t->b ? 0 : 1 - (double)t->lambda};
    const int first = t->b < t->a;
    struct apart s = {0};
    for (int k = 0; k < 2; k++) {
        const int which = k ^ first;
        const int64_t at = class[which] - p->first;
        if (at < 0 || at >= p->classes || y[which] == 0) continue;
        s.at[s.n] = at;
        s.y[s.n] = y[which];
        s.logit[s.n] = margin_logit(p->kind, p->s, p->m, cosine[at], y[which], &s.slope[s.n]);
        s.n++;
    }
    s.at[s.n] = p->classes;
    return s;
}

LAFS_INLINE void most_tile(const struct part *j, int64_t i)
{
    const struct lafs_margin_part *p = j->p;
    const float *z = j->cosine + i * p->classes;
    double most = -INFINITY;
    if (p->row[i].factor != 0) {
        const struct apart s = part_apart(p, i, z);
        int64_t from = 0;
        for (int k = 0; k <= s.n; k++) {
            if (s.at[k] > from) most = fmax(most, (double)p->s * lafs_vec_max(s.at[k] - from, z + from));
            if (k < s.n) most = fmax(most, s.logit[k]);
            from = s.at[k] + 1;
        }
    }
    j->out[i] = most;
}
LAFS_ISA_TILES(most, struct part, most_tile(j, tile))

LAFS_INLINE void sums_tile(const struct part *j, int64_t i)
{
    enum { BLOCK = 1024 };
    const struct lafs_margin_part *p = j->p;
    const float *z = j->cosine + i * p->classes, scale = p->s, most = (float)j->most[i];
    float e[BLOCK];
    double sum = 0, wanted = 0;
    if (p->row[i].factor != 0) {
        const struct apart s = part_apart(p, i, z);
        int64_t from = 0;
        for (int k = 0; k <= s.n; k++) {
            for (int64_t at = from; at < s.at[k]; at += BLOCK) {
                int64_t n = lafs_min64(BLOCK, s.at[k] - at);
                LAFS_EACH
                for (int64_t c = 0; c < n; c++) e[c] = lafs_vec_exp(scale * z[at + c] - most);
                sum += lafs_vec_sum(n, e);
            }
            if (k < s.n) sum += exp(s.logit[k] - j->most[i]), wanted += s.y[k] * s.logit[k];
            from = s.at[k] + 1;
        }
    }
    j->out[2 * i] = sum;
    j->out[2 * i + 1] = wanted;
}
LAFS_ISA_TILES(sums, struct part, sums_tile(j, tile))

LAFS_INLINE void slopes_tile(const struct part *j, int64_t i)
{
    const struct lafs_margin_part *p = j->p;
    const double factor = p->row[i].factor;
    float *z = j->slope + i * p->classes;
    if (factor == 0) {
        memset(z, 0, (size_t)p->classes * sizeof *z);
        return;
    }
    const struct apart s = part_apart(p, i, z);
    const float scale = p->s, most = (float)j->most[i], f = (float)(factor * p->s / j->sum[i]);
    int64_t from = 0;
    for (int k = 0; k <= s.n; k++) {
        LAFS_EACH
        for (int64_t c = from; c < s.at[k]; c++) z[c] = f * lafs_vec_exp(scale * z[c] - most);
        if (k < s.n)
            z[s.at[k]] = (float)(factor * (exp(s.logit[k] - j->most[i]) / j->sum[i] - s.y[k]) * s.slope[k]);
        from = s.at[k] + 1;
    }
}
LAFS_ISA_TILES(slopes, struct part, slopes_tile(j, tile))

void lafs_cpu_margin_most(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, double *most)
{
    struct part j = {.p = p, .cosine = cosine, .out = most};
    lafs_pool_for(d->pool, p->rows, lafs_isa_most(), &j);
}

void lafs_cpu_margin_sums(struct lafs_dev *d, const struct lafs_margin_part *p, const float *cosine, const double *most,
                          double *sums)
{
    struct part j = {.p = p, .cosine = cosine, .most = most, .out = sums};
    lafs_pool_for(d->pool, p->rows, lafs_isa_sums(), &j);
}

void lafs_cpu_margin_slopes(struct lafs_dev *d, const struct lafs_margin_part *p, const double *most, const double *sum,
                            float *cosine)
{
    struct part j = {.p = p, .slope = cosine, .most = most, .sum = sum};
    lafs_pool_for(d->pool, p->rows, lafs_isa_slopes(), &j);
}
