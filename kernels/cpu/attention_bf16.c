/* Attention whose products are of bfloat16 (LAFS_PRECISION_BF16, and BF16X3): a tile per head of a sequence, products
 * of packed blocks as everywhere (gemm.h), probabilities and their gradients in fp32 between them. */
#include <math.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm_set.h"
#include "kernels/cpu/vec.h"

enum { HEAD = LAFS_ATTENTION_HEAD, QUERIES = 96 /* handled at once: whole panels of every set */ };

LAFS_INLINE void scale_block(int64_t m, int64_t n, float by, float *x, int64_t ld)
{
    for (int64_t i = 0; i < m; i++, x += ld)
        LAFS_EACH
        for (int64_t c = 0; c < n; c++) x[c] *= by;
}
LAFS_ISA_FN(scale_block, (int64_t m, int64_t n, float by, float *x, int64_t ld), (m, n, by, x, ld))

/* The four kinds of operand: x (n, ld) as the left matrix, or the right one, whose k run along a row or across rows. */
static struct lafs_gemm_source along(const float *x, int64_t ld) { return (struct lafs_gemm_source){x, ld, 1}; }
static struct lafs_gemm_source across(const float *x, int64_t ld) { return (struct lafs_gemm_source){x, 1, ld}; }
static void pack_a(const struct lafs_gemm_set *s, struct lafs_gemm_source from, int64_t n, int64_t k, float *to)
{
    s->pack_a(s, &from, 0, n, 0, k, to);
}
static void pack_b(const struct lafs_gemm_set *s, struct lafs_gemm_source from, int64_t n, int64_t k, float *to)
{
    s->pack_b(s, &from, 0, n, 0, k, to);
}

/* Where things stand in a worker's scratch; n: keys. */
struct room {
    float *by_column[2], *by_row;    /* packed: right matrices (HEAD, n) of k and v; (n, HEAD) of v, or of k */
    float *left;                     /* packed: (QUERIES, HEAD), (QUERIES, n) or (n, QUERIES) */
    float *right;                    /* packed: (QUERIES, HEAD) */
    float *p, *ds;                   /* (QUERIES, lds) */
    int64_t lds;
};
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t rounded(int64_t n) { return (n + 63) / 64 * 64; }

/* Places, from `base` (NULL: for the size alone); returns the floats used. */
static int64_t lay_out(struct room *r, const struct lafs_gemm_set *s, int64_t n, float *base)
{
    int64_t at = 0;
#define TAKE(to, size)                     \
    do {                                   \
        to = base ? base + at : NULL;      \
        at += rounded(size);               \
    } while (0)
    for (int i = 0; i < 2; i++) TAKE(r->by_column[i], lafs_gemm_size_b(s, n, HEAD));
    TAKE(r->by_row, lafs_gemm_size_b(s, HEAD, n));
    TAKE(r->left, most(most(lafs_gemm_size_a(s, QUERIES, HEAD), lafs_gemm_size_a(s, QUERIES, n)),
                       lafs_gemm_size_a(s, n, QUERIES)));
    TAKE(r->right, lafs_gemm_size_b(s, HEAD, QUERIES));
    r->lds = (n + 15) / 16 * 16 + 16;
    TAKE(r->p, QUERIES * r->lds);
    TAKE(r->ds, QUERIES * r->lds);
#undef TAKE
    return at;
}

size_t lafs_attention_bf16_scratch(enum lafs_precision precision, int64_t n)
{
    struct room r;
    return (size_t)lay_out(&r, lafs_gemm_set_for(precision), n, NULL) * sizeof(float);
}

void lafs_attention_bf16_tile(void *arg, int64_t tile, int worker)
{
    const struct lafs_attention *j = arg;
    const struct lafs_gemm_set *s = lafs_gemm_set_for(j->precision);
    const struct lafs_attention_place t = lafs_attention_place(j, tile);
    int64_t n = t.n, wide = j->heads * HEAD;
    const float *kv = j->kv + t.row * j->ldkv + t.h * HEAD;
    float inv[QUERIES];
    struct room r;
    lay_out(&r, s, n, lafs_cpu_scratch(j->d, worker));
    pack_b(s, along(kv, j->ldkv), n, HEAD, r.by_column[0]);
    pack_b(s, across(kv + wide, j->ldkv), HEAD, n, r.by_row);
    for (int64_t i = 0; i < t.queries; i += QUERIES) {
        int64_t m = lafs_min64(QUERIES, t.queries - i), row = t.query + i;
        float *out = j->out + row * wide + t.h * HEAD;
        pack_a(s, along(j->q + row * j->ldq + t.h * HEAD, j->ldq), m, HEAD, r.left);
        lafs_gemm_multiply(s, m, n, HEAD, r.left, r.by_column[0], 0, r.p, r.lds);
        lafs_attention_softmax(m, n, j->scale, r.p, r.lds, inv, j->lse ? j->lse + row * j->heads + t.h : NULL,
                               j->heads);
        pack_a(s, along(r.p, r.lds), m, n, r.left);
        lafs_gemm_multiply(s, m, HEAD, n, r.left, r.by_row, 0, out, wide);
        lafs_attention_divide(m, inv, out, wide);
    }
}

/* dv = p^T do; dp = do v^T; ds = p (dp - D); dq = scale ds k; dk = scale ds^T q; blocks of queries added in order. */
void lafs_attention_bf16_bwd_tile(void *arg, int64_t tile, int worker)
{
    const struct lafs_attention *j = arg;
    const struct lafs_gemm_set *s = lafs_gemm_set_for(j->precision);
    const struct lafs_attention_place t = lafs_attention_place(j, tile);
    int64_t n = t.n, wide = j->heads * HEAD, ldq = j->ldq, ldkv = j->ldkv;
    const float *kv = j->kv + t.row * ldkv + t.h * HEAD;
    float *dk = j->dkv + t.row * ldkv + t.h * HEAD, *dv = dk + wide;
    struct room r;
    lay_out(&r, s, n, lafs_cpu_scratch(j->d, worker));
    for (int i = 0; i < 2; i++) pack_b(s, along(kv + i * wide, ldkv), n, HEAD, r.by_column[i]);
    pack_b(s, across(kv, ldkv), HEAD, n, r.by_row);
    for (int64_t i = 0; i < t.queries; i += QUERIES) {
        int64_t m = lafs_min64(QUERIES, t.queries - i), row = t.query + i, at = row * wide + t.h * HEAD;
        const float *q = j->q + row * ldq + t.h * HEAD, *out = j->saved + at, *dout = j->dout + at;
        float *dq = j->dq + row * ldq + t.h * HEAD;
        pack_a(s, along(q, ldq), m, HEAD, r.left);
        lafs_gemm_multiply(s, m, n, HEAD, r.left, r.by_column[0], 0, r.p, r.lds);
        pack_a(s, along(dout, wide), m, HEAD, r.left);
        lafs_gemm_multiply(s, m, n, HEAD, r.left, r.by_column[1], 0, r.ds, r.lds);
        lafs_attention_scores_bwd(m, n, j->scale, j->saved_lse + row * j->heads + t.h, j->heads, out, dout, wide, r.p,
                                  r.ds, r.lds);
        pack_a(s, along(r.ds, r.lds), m, n, r.left);
        lafs_gemm_multiply(s, m, HEAD, n, r.left, r.by_row, 0, dq, ldq);
        lafs_isa_scale_block()(m, HEAD, j->scale, dq, ldq);
        pack_a(s, across(r.p, r.lds), n, m, r.left);
        pack_b(s, across(dout, wide), HEAD, m, r.right);
        lafs_gemm_multiply(s, n, HEAD, m, r.left, r.right, i > 0, dv, ldkv);
        pack_a(s, across(r.ds, r.lds), n, m, r.left);
        pack_b(s, across(q, ldq), HEAD, m, r.right);
        lafs_gemm_multiply(s, n, HEAD, m, r.left, r.right, i > 0, dk, ldkv);
    }
    lafs_isa_scale_block()(n, HEAD, j->scale, dk, ldkv);
}
