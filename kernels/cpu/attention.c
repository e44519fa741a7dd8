/* Softmax attention, a tile per head of a sequence: its keys and values are packed once and stay in the second-level
 * cache, and rows of scores are made, turned into probabilities and used up a block at a time. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/vec.h"

enum {
    HEAD = LAFS_ATTENTION_HEAD,
    QUERIES = 24,  /* queries handled at once in the forward pass: their scores fit into the first-level cache */
    QUERIES_B = 96 /* in the backward pass: sums over queries are added block by block */
};

/* -- products -- */

struct kernel_set {
    int mr, nr, lanes; /* rows and columns of a register block, floats of a vector; nr is 2 vectors */
    void (*tile)(int rows, int nv, int across, int64_t k, const float *a, int64_t lda, const float *b, float alpha,
                 int add, float *c, int64_t ldc);
};

#if defined __x86_64__
#define LAFS_VECTORS 512
#include "kernels/cpu/vectors.inc"
#define MR 12
#define NV 2
#include "kernels/cpu/attention_kernels.inc"

#define LAFS_VECTORS 256
#include "kernels/cpu/vectors.inc"
#define MR 6
#define NV 2
#include "kernels/cpu/attention_kernels.inc"
#endif

#define LAFS_VECTORS 128
#include "kernels/cpu/vectors.inc"
#if defined __aarch64__
#define MR 12
#else
#define MR 4
#endif
#define NV 2
#include "kernels/cpu/attention_kernels.inc"

static const struct kernel_set *kernels(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return &set_avx512;
    if (level == LAFS_ISA_AVX2) return &set_avx2;
#endif
    return &set_plain;
}

/* c (m,n) = or += alpha a b. b is packed: panels of nr columns, (k, nr) each. Whole panels of c are written, zeros or
 * sums of b's padding behind column n. */
static void product(const struct kernel_set *ks, int across, int64_t m, int64_t n, int64_t k, float alpha,
                    const float *a, int64_t lda, const float *b, int add, float *c, int64_t ldc)
{
    for (int64_t j = 0; j < n; j += ks->nr, b += k * ks->nr)
        for (int64_t q = 0; q < k; q += LAFS_GEMM_KC)
            for (int64_t i = 0; i < m; i += ks->mr)
                ks->tile((int)lafs_min64(ks->mr, m - i), n - j > ks->lanes ? 2 : 1, across,
                         lafs_min64(LAFS_GEMM_KC, k - q), a + (across ? i + q * lda : i * lda + q), lda,
                         b + q * ks->nr, alpha, add || q > 0, c + i * ldc + j, ldc);
}

/* -- packing -- */

/* x (n, HEAD) as the right matrix of a product over rows: panels of nr columns, (n, nr) each. */
static void pack_rows(int nr, int64_t n, const float *x, int64_t ld, float *to)
{
    for (int64_t i = 0; i < n; i++, x += ld)
        for (int j = 0; j < HEAD; j += nr)
            for (int l = 0; l < nr; l += 4) lafs_store4(to + j * n + i * nr + l, lafs_load4(x + j + l));
}

/* x (n, HEAD) as the right matrix of a product over columns: panels of nr rows, (HEAD, nr) each, zeros behind row n. */
static void pack_columns(int nr, int64_t n, const float *x, int64_t ld, float *to)
{
    for (int64_t i = 0; i < n; i += nr, to += HEAD * nr) {
        for (int l = 0; l < nr; l += 4)
            if (i + l + 4 <= n)
                for (int q = 0; q < HEAD; q += 4) lafs_turn4(x + (i + l) * ld + q, ld, to + q * nr + l, nr);
            else
                for (int q = 0; q < HEAD; q++)
                    for (int t = l; t < l + 4; t++) to[q * nr + t] = i + t < n ? x[(i + t) * ld + q] : 0;
    }
}

/* -- a head -- */

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
/* Floats between rows of scores of n keys: whole panels of any set, and no power of two. */
static int64_t score_stride(int64_t n) { return round_up(n, 32) + 16; }
/* Floats of a packed head of n rows. */
static int64_t packed_size(int64_t n) { return round_up(n, 32) * HEAD; }

/* Rows of scores s (m, ld), n of each -> exponentials, zeros behind to a multiple of 16; inv (m) receives 1 / their
 * sums, lse (m, stride heads) if wanted. */
LAFS_INLINE void softmax_rows(int64_t m, int64_t n, float scale, float *s, int64_t ld, float *inv, float *lse,
                              int64_t heads)
{
    int64_t wide = (n + 15) / 16 * 16;
    for (int64_t i = 0; i < m; i++, s += ld) {
        for (int64_t c = n; c < wide; c++) s[c] = s[0];
        float max = scale * lafs_vec_max(wide, s);
        LAFS_EACH
        for (int64_t c = 0; c < wide; c++) s[c] = lafs_vec_exp(scale * s[c] - max);
        for (int64_t c = n; c < wide; c++) s[c] = 0;
        float sum = lafs_vec_sum(wide, s);
        inv[i] = 1 / sum;
        if (lse) lse[i * heads] = max + logf(sum);
    }
}
LAFS_ISA_FN(softmax_rows, (int64_t m, int64_t n, float scale, float *s, int64_t ld, float *inv, float *lse,
                           int64_t heads),
            (m, n, scale, s, ld, inv, lse, heads))
void lafs_attention_softmax(int64_t m, int64_t n, float scale, float *s, int64_t ld, float *inv, float *lse,
                            int64_t heads)
{
    lafs_isa_softmax_rows()(m, n, scale, s, ld, inv, lse, heads);
}

void lafs_attention_divide(int64_t m, const float *inv, float *out, int64_t ld)
{
    for (int64_t i = 0; i < m; i++)
        for (int c = 0; c < HEAD; c++) out[i * ld + c] *= inv[i];
}

static void forward_tile(void *arg, int64_t tile, int worker)
{
    const struct lafs_attention *j = arg;
    const struct kernel_set *ks = kernels();
    const struct lafs_attention_place t = lafs_attention_place(j, tile);
    int64_t n = t.n, wide = j->heads * HEAD, lds = score_stride(n);
    const float *kv = j->kv + t.row * j->ldkv + t.h * HEAD;
    float *k = lafs_cpu_scratch(j->d, worker), *v = k + packed_size(n), *p = v + packed_size(n), inv[QUERIES];
    pack_columns(ks->nr, n, kv, j->ldkv, k);
    pack_rows(ks->nr, n, kv + wide, j->ldkv, v);
    for (int64_t i = 0; i < t.queries; i += QUERIES) {
        int64_t m = lafs_min64(QUERIES, t.queries - i), row = t.query + i;
        float *out = j->out + row * wide + t.h * HEAD;
        product(ks, 0, m, n, HEAD, 1, j->q + row * j->ldq + t.h * HEAD, j->ldq, k, 0, p, lds);
        lafs_isa_softmax_rows()(m, n, j->scale, p, lds, inv, j->lse ? j->lse + row * j->heads + t.h : NULL, j->heads);
        product(ks, 0, m, HEAD, n, 1, p, lds, v, 0, out, wide);
        lafs_attention_divide(m, inv, out, wide);
    }
}

void lafs_cpu_attention(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                        const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                        const float *kv, int64_t ldkv, float *out, float *lse)
{
    struct lafs_attention j = {.d = d, .precision = precision, .qs = qs, .s = s, .heads = heads, .scale = scale,
                               .q = q, .kv = kv, .ldq = ldq, .ldkv = ldkv, .out = out, .lse = lse};
    if (precision != LAFS_PRECISION_FP32) {
        if (lafs_cpu_reserve(d, lafs_attention_bf16_scratch(precision, s->max_len)))
            lafs_pool_for(d->pool, s->n * heads, lafs_attention_bf16_tile, &j);
        return;
    }
    int64_t room = 2 * packed_size(s->max_len) + QUERIES * score_stride(s->max_len);
    if (lafs_cpu_reserve(d, (size_t)room * sizeof(float))) lafs_pool_for(d->pool, s->n * heads, forward_tile, &j);
}

/* p = exp(scale s - lse) in place; ds = p (dp - D) with D_i = dout_i . out_i. Rows are ldp floats apart. */
LAFS_INLINE void score_rows_bwd(int64_t m, int64_t n, float scale, const float *lse, int64_t heads, const float *out,
                                const float *dout, int64_t ld, float *p, float *ds, int64_t ldp)
{
    int64_t wide = (n + 15) / 16 * 16; /* what lies behind n is not used, whatever it is */
    for (int64_t i = 0; i < m; i++, p += ldp, ds += ldp) {
        float l = lse[i * heads], along = lafs_vec_dot(HEAD, out + i * ld, dout + i * ld);
        LAFS_EACH
        for (int64_t c = 0; c < wide; c++) {
            float e = lafs_vec_exp(scale * p[c] - l);
            p[c] = e;
            ds[c] = e * (ds[c] - along);
        }
    }
}
LAFS_ISA_FN(score_rows_bwd, (int64_t m, int64_t n, float scale, const float *lse, int64_t heads, const float *out,
                             const float *dout, int64_t ld, float *p, float *ds, int64_t ldp),
            (m, n, scale, lse, heads, out, dout, ld, p, ds, ldp))
void lafs_attention_scores_bwd(int64_t m, int64_t n, float scale, const float *lse, int64_t heads, const float *out,
                               const float *dout, int64_t ld, float *p, float *ds, int64_t ldp)
{
    lafs_isa_score_rows_bwd()(m, n, scale, lse, heads, out, dout, ld, p, ds, ldp);
}

/* dv = p^T do; dp = do v^T; ds = p (dp - D); dq = scale ds k; dk = scale ds^T q; blocks of queries added in order. */
static void backward_tile(void *arg, int64_t tile, int worker)
{
    const struct lafs_attention *j = arg;
    const struct kernel_set *ks = kernels();
    const struct lafs_attention_place t = lafs_attention_place(j, tile);
    int64_t n = t.n, wide = j->heads * HEAD, size = packed_size(n), lds = score_stride(n), ldq = j->ldq, ldkv = j->ldkv;
    const float *kv = j->kv + t.row * ldkv + t.h * HEAD;
    float *dk = j->dkv + t.row * ldkv + t.h * HEAD, *dv = dk + wide;
    float *kt = lafs_cpu_scratch(j->d, worker), *vt = kt + size, *k = vt + size, *side = k + size; /* (block, HEAD) */
    float *p = side + packed_size(QUERIES_B), *ds = p + QUERIES_B * lds;
    pack_columns(ks->nr, n, kv, ldkv, kt);
    pack_columns(ks->nr, n, kv + wide, ldkv, vt);
    pack_rows(ks->nr, n, kv, ldkv, k);
    for (int64_t i = 0; i < t.queries; i += QUERIES_B) {
        int64_t m = lafs_min64(QUERIES_B, t.queries - i), row = t.query + i, at = row * wide + t.h * HEAD;
        const float *q = j->q + row * ldq + t.h * HEAD, *out = j->saved + at, *dout = j->dout + at;
        product(ks, 0, m, n, HEAD, 1, q, ldq, kt, 0, p, lds);
        product(ks, 0, m, n, HEAD, 1, dout, wide, vt, 0, ds, lds);
        lafs_isa_score_rows_bwd()(m, n, j->scale, j->saved_lse + row * j->heads + t.h, j->heads, out, dout, wide, p, ds,
                                  lds);
        product(ks, 0, m, HEAD, n, j->scale, ds, lds, k, 0, j->dq + row * ldq + t.h * HEAD, ldq);
        pack_rows(ks->nr, m, dout, wide, side);
        product(ks, 1, n, HEAD, m, 1, p, lds, side, i > 0, dv, ldkv);
        pack_rows(ks->nr, m, q, ldq, side);
        product(ks, 1, n, HEAD, m, j->scale, ds, lds, side, i > 0, dk, ldkv);
    }
}

void lafs_cpu_attention_bwd(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *qs,
                            const struct lafs_seqs *s, int64_t heads, float scale, const float *q, int64_t ldq,
                            const float *kv, int64_t ldkv, const float *out, const float *lse, const float *dout,
                            float *dq, float *dkv)
{
    struct lafs_attention j = {.d = d, .precision = precision, .qs = qs, .s = s, .heads = heads, .scale = scale,
                               .q = q, .kv = kv, .ldq = ldq, .ldkv = ldkv, .saved = out, .saved_lse = lse,
                               .dout = dout, .dq = dq, .dkv = dkv};
    if (precision != LAFS_PRECISION_FP32) {
        if (lafs_cpu_reserve(d, lafs_attention_bf16_scratch(precision, s->max_len)))
            lafs_pool_for(d->pool, s->n * heads, lafs_attention_bf16_bwd_tile, &j);
        return;
    }
    int64_t room = 3 * packed_size(s->max_len) + packed_size(QUERIES_B) + 2 * QUERIES_B * score_stride(s->max_len);
    if (lafs_cpu_reserve(d, (size_t)room * sizeof(float))) lafs_pool_for(d->pool, s->n * heads, backward_tile, &j);
}
