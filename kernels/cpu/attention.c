#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

enum { HEAD = 64, QUERIES = 256 }; /* width of a head; queries handled at once */

struct attention {
    struct lafs_dev *d;
    const struct lafs_seqs *s;
    int64_t heads;
    float scale;
    const float *qkv;            /* (rows, 3*heads*HEAD) */
    float *out, *lse;            /* (rows, heads*HEAD), (rows, heads) */
    /* backward */
    const float *saved, *saved_lse, *dout;
    float *dqkv;
};

/* Row of scaled scores s (n) -> p = exp(s - max); returns 1 / their sum. */
LAFS_INLINE float softmax_row(int64_t n, float *s, float *lse)
{
    float max = lafs_vec_max(n, s);
    LAFS_EACH
    for (int64_t i = 0; i < n; i++) s[i] = lafs_vec_exp(s[i] - max);
    float sum = lafs_vec_sum(n, s);
    *lse = max + logf(sum);
    return 1 / sum;
}

/* Rows of scores (m, n) -> exponentials; inv (m) receives 1 / their sums, lse (m, stride heads) if wanted. */
LAFS_INLINE void softmax_rows(int64_t m, int64_t n, float *s, float *inv, float *lse, int64_t heads)
{
    for (int64_t i = 0; i < m; i++) {
        float l;
        inv[i] = softmax_row(n, s + i * n, &l);
        if (lse) lse[i * heads] = l;
    }
}
LAFS_ISA_FN(softmax_rows, (int64_t m, int64_t n, float *s, float *inv, float *lse, int64_t heads),
            (m, n, s, inv, lse, heads))

/* out (m, HEAD) rows times inv. */
static void scale_rows(int64_t m, const float *inv, float *out, int64_t ld)
{
    for (int64_t i = 0; i < m; i++)
        for (int c = 0; c < HEAD; c++) out[i * ld + c] *= inv[i];
}

/* Tile: one head of one sequence. */
static void forward_tile(void *arg, int64_t tile, int worker)
{
    const struct attention *j = arg;
    int64_t seq = tile / j->heads, h = tile % j->heads, first = j->s->off[seq], n = j->s->off[seq + 1] - first;
    int64_t ld = 3 * j->heads * HEAD, old = j->heads * HEAD;
    const float *q = j->qkv + first * ld + h * HEAD, *k = q + old, *v = k + old;
    float *inv = lafs_cpu_scratch(j->d, worker), *p = inv + QUERIES; /* (QUERIES) and (QUERIES, n) */
    for (int64_t i = 0; i < n; i += QUERIES) {
        int64_t m = lafs_min64(QUERIES, n - i);
        float *out = j->out + (first + i) * old + h * HEAD;
        lafs_cpu_gemm(0, 1, m, n, HEAD, j->scale, q + i * ld, ld, k, ld, 0, p, n);
        lafs_isa_softmax_rows()(m, n, p, inv, j->lse ? j->lse + (first + i) * j->heads + h : NULL, j->heads);
        lafs_cpu_gemm(0, 0, m, HEAD, n, 1, p, n, v, ld, 0, out, old);
        scale_rows(m, inv, out, old);
    }
}

void lafs_cpu_attention(struct lafs_dev *d, const struct lafs_seqs *s, int64_t heads, float scale, const float *qkv,
                        float *out, float *lse)
{
    struct attention j = {.d = d, .s = s, .heads = heads, .scale = scale, .qkv = qkv, .out = out, .lse = lse};
    int64_t m = lafs_min64(QUERIES, s->max_len);
    if (lafs_cpu_reserve(d, (size_t)(QUERIES + m * s->max_len) * sizeof(float)))
        lafs_pool_for(d->pool, s->n * heads, forward_tile, &j);
}

/* p = exp(s - lse) in place; ds = p (dp - D) with D_i = dout_i . out_i. */
LAFS_INLINE void score_rows_bwd(int64_t m, int64_t n, const float *lse, int64_t heads, const float *out,
                                const float *dout, int64_t ld, float *p, float *ds)
{
    for (int64_t i = 0; i < m; i++, p += n, ds += n) {
        float l = lse[i * heads], along = lafs_vec_dot(HEAD, out + i * ld, dout + i * ld);
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) p[c] = lafs_vec_exp(p[c] - l);
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) ds[c] = p[c] * (ds[c] - along);
    }
}
LAFS_ISA_FN(score_rows_bwd, (int64_t m, int64_t n, const float *lse, int64_t heads, const float *out, const float *dout,
                             int64_t ld, float *p, float *ds), (m, n, lse, heads, out, dout, ld, p, ds))

/* dv = p^T do; dp = do v^T; ds = p (dp - D); dq = scale ds k; dk = scale ds^T q; blocks of queries added in order. */
static void backward_tile(void *arg, int64_t tile, int worker)
{
    const struct attention *j = arg;
    int64_t seq = tile / j->heads, h = tile % j->heads, first = j->s->off[seq], n = j->s->off[seq + 1] - first;
    int64_t old = j->heads * HEAD, ld = 3 * old;
    const float *q = j->qkv + first * ld + h * HEAD, *k = q + old, *v = k + old;
    float *dq = j->dqkv + first * ld + h * HEAD, *dk = dq + old, *dv = dk + old;
    float *p = lafs_cpu_scratch(j->d, worker); /* (QUERIES, n), and ds behind it */
    for (int64_t i = 0; i < n; i += QUERIES) {
        int64_t m = lafs_min64(QUERIES, n - i);
        const float *out = j->saved + (first + i) * old + h * HEAD, *dout = j->dout + (first + i) * old + h * HEAD;
        float *ds = p + m * n, beta = i > 0;
        lafs_cpu_gemm(0, 1, m, n, HEAD, j->scale, q + i * ld, ld, k, ld, 0, p, n);
        lafs_cpu_gemm(0, 1, m, n, HEAD, 1, dout, old, v, ld, 0, ds, n);
        lafs_isa_score_rows_bwd()(m, n, j->saved_lse + (first + i) * j->heads + h, j->heads, out, dout, old, p, ds);
        lafs_cpu_gemm(1, 0, n, HEAD, m, 1, p, n, dout, old, beta, dv, ld);
        lafs_cpu_gemm(0, 0, m, HEAD, n, j->scale, ds, n, k, ld, 0, dq + i * ld, ld);
        lafs_cpu_gemm(1, 0, n, HEAD, m, j->scale, ds, n, q + i * ld, ld, beta, dk, ld);
    }
}

void lafs_cpu_attention_bwd(struct lafs_dev *d, const struct lafs_seqs *s, int64_t heads, float scale, const float *qkv,
                            const float *out, const float *lse, const float *dout, float *dqkv)
{
    struct attention j = {.d = d, .s = s, .heads = heads, .scale = scale, .qkv = qkv, .saved = out, .saved_lse = lse,
                          .dout = dout, .dqkv = dqkv};
    int64_t m = lafs_min64(QUERIES, s->max_len);
    if (lafs_cpu_reserve(d, (size_t)(2 * m * s->max_len) * sizeof(float)))
        lafs_pool_for(d->pool, s->n * heads, backward_tile, &j);
}
