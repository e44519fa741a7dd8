/* What attention in fp32 (attention.c) and of bfloat16 (attention_bf16.c) share. */
#ifndef LAFS_KERNELS_CPU_ATTENTION_H
#define LAFS_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"

enum { LAFS_ATTENTION_HEAD = 64 }; /* width of a head */

struct lafs_attention {
    struct lafs_dev *d;
    enum lafs_precision precision;
    const struct lafs_seqs *qs, *s;
    int64_t heads;
    float scale; /* > 0 */
    const float *q, *kv;         /* (query rows, ldq), (rows, ldkv): keys, then values */
    int64_t ldq, ldkv;
    float *out, *lse;            /* (query rows, heads*64), (query rows, heads) */
    /* backward */
    const float *saved, *saved_lse, *dout;
    float *dq, *dkv;
};

/* What a tile works on: one head of one sequence. */
struct lafs_attention_place {
    int64_t h, n, queries, row, query; /* keys, queries; first row of kv, of q */
};
static inline struct lafs_attention_place lafs_attention_place(const struct lafs_attention *j, int64_t tile)
{
    int64_t i = tile / j->heads;
    struct lafs_attention_place t = {.h = tile % j->heads, .row = j->s->off[i], .query = j->qs->off[i]};
    t.n = j->s->off[i + 1] - t.row;
    t.queries = j->qs->off[i + 1] - t.query;
    return t;
}

/* attention.c. Rows of scores s (m, ld), n of each -> exp(scale (score - the largest)), zeros behind to a multiple of
 * 16; inv (m) receives 1 / their sums, lse (m, stride heads) the log-sum-exp of scaled scores unless NULL. */
void lafs_attention_softmax(int64_t m, int64_t n, float scale, float *s, int64_t ld, float *inv, float *lse,
                            int64_t heads);
/* out (m, 64) rows times inv. */
void lafs_attention_divide(int64_t m, const float *inv, float *out, int64_t ld);
/* p = exp(scale s - lse) in place; ds = p (dp - D) with D_i = dout_i . out_i. Rows of p and ds are ldp floats apart;
 * what lies behind n, to a multiple of 16, is not to be used. */
void lafs_attention_scores_bwd(int64_t m, int64_t n, float scale, const float *lse, int64_t heads, const float *out,
                               const float *dout, int64_t ld, float *p, float *ds, int64_t ldp);

/* attention_bf16.c: a tile is one head of one sequence; scratch: bytes a worker needs for a sequence of n rows. */
size_t lafs_attention_bf16_scratch(enum lafs_precision precision, int64_t n);
void lafs_attention_bf16_tile(void *arg, int64_t tile, int worker);
void lafs_attention_bf16_bwd_tile(void *arg, int64_t tile, int worker);

#endif
