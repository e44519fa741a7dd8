/* The vision transformer over packed sequences of patches ("fViT"): spec "ViT".
 *
 *     struct lafs_vit v;                                        // what: configuration and places of the parameters
 *     lafs_vit_config_named(&c, "xs", err);
 *     lafs_vit_declare(&v, &c, &params, err);                   // adds the parameters under the authors' names
 *     struct lafs_vit_work w = {0};                             // where: activations, planned for the worst batch
 *     lafs_vit_plan(&w, &v, max_tokens, max_seqs, keep, &backend, &arena, err); // twice: measuring, then carving
 *     lafs_vit_weights(&w, &backend, value);                    // once, and again when value has changed
 *     lafs_vit_forward(&w, &backend, value, &seqs, tokens, keys, host_keys, emb);
 *     lafs_vit_backward(&w, &backend, value, demb, grad, NULL);
 *     lafs_vit_work_release(&w);
 *
 * Teacher and student share the table: value and grad are flat arrays of params.size floats on the device.
 */
#ifndef LAFS_MODEL_VIT_H
#define LAFS_MODEL_VIT_H

#include <stdint.h>

#include "base/err.h"
#include "compute/backend.h"
#include "compute/tensor.h"

enum { LAFS_VIT_MAX_DEPTH = 64, LAFS_VIT_MAX_DIM = 4096, LAFS_HEAD_WIDTH = 64 };

enum lafs_vit_scale {
    LAFS_SCALE_DIM = 0, /* dim^-0.5: the authors' code */
    LAFS_SCALE_HEAD     /* 64^-0.5: the textbook's */
};

struct lafs_vit_config {
    int dim, depth, heads, mlp; /* D, L, H (of width 64), M */
    int patches;                /* R: most tokens of a sequence, a square; R+1 position slots */
    int patch;                  /* p: side of a patch, even, 2..32; a token has p*p*3 values */
    float dropout, drop_path;   /* 0.1, 0.1 */
    enum lafs_vit_scale scale;
};
/* Named sizes, with R 196, p 8, dropout and drop-path 0.1, scale dim^-0.5:
 *   b   D 768, L 12, H 11, M 2048 (the paper's)      s   D 384, L 12, H 6, M 1024
 *   t   D 192, L 12, H 3, M 512                      xs  D 128, L 4, H 2, M 512
 * LAFS_USAGE for another name. */
lafs_status lafs_vit_config_named(struct lafs_vit_config *c, const char *size, struct lafs_err *err);
/* The name of the size that has these D, L, H, M; "custom" if none. */
const char *lafs_vit_size_name(const struct lafs_vit_config *c);
/* LAFS_USAGE unless all numbers are in range and R is a square. */
lafs_status lafs_vit_config_check(const struct lafs_vit_config *c, struct lafs_err *err);
static inline int64_t lafs_token_width(const struct lafs_vit_config *c) { return (int64_t)c->patch * c->patch * 3; }

/* Places of a block's parameters in the flat arrays, floats. */
struct lafs_vit_block {
    int64_t norm1_g, norm1_b;      /* (D) */
    int64_t qkv_w;                 /* (3*H*64, D) */
    int64_t out_w, out_b;          /* (D, H*64), (D) */
    int64_t norm2_g, norm2_b;      /* (D) */
    int64_t fc1_w, fc1_b;          /* (M, D), (M) */
    int64_t fc2_w, fc2_b;          /* (D, M), (D) */
};
struct lafs_vit {
    struct lafs_vit_config config;
    int64_t pos, cls;              /* (R+1, D), (D) */
    int64_t embed_w, embed_b;      /* (D, p*p*3), (D) */
    int64_t head_g, head_b;        /* (D): the LayerNorm on CLS */
    int64_t first, size;           /* of all these, in one piece */
    struct lafs_vit_block block[LAFS_VIT_MAX_DEPTH];
};
/* Checks the configuration and adds the parameters to ps, with the authors' names, initial values and lr depths. */
lafs_status lafs_vit_declare(struct lafs_vit *v, const struct lafs_vit_config *c, struct lafs_params *ps,
                             struct lafs_err *err);

/* Work of the forward pass over a view of that many patches, FLOP (two a multiply-add). What is left out (see below) is
 * not counted: with `train`, the share of branches that drop-path drops on average. */
double lafs_vit_flop(const struct lafs_vit_config *c, int64_t patches, int train);

/* Sites of dropout (struct lafs_drop): 0 the embedding; block l: 1+4l attention's output (dropout and drop-path),
 * 2+4l inside the MLP, 3+4l the MLP's output (dropout and drop-path). */

/* What is not computed, because no result depends on it: the branch of a block, for sequences whose drop-path drops it;
 * and in the last block queries, attention's output and the MLP, for all rows but CLS. So a branch works on some of the
 * sequences, packed, and the last block's residual stream is one row a sequence. */

/* The sequences of a branch (attention or MLP of a block), and their keys. */
struct lafs_vit_branch {
    struct lafs_some some;         /* with all their rows */
    struct lafs_some cls;          /* with their CLS rows only */
    const uint64_t *keys;          /* (n) device */
};

/* Activations of one forward pass. Zero it before the first plan; plan again to change the worst case. Rows, seqs: of
 * the branch where it is one's; in the last block (1, D) a sequence where others have rows, but for y1 and k, v. */
struct lafs_vit_work {
    const struct lafs_vit *vit;
    int64_t max_tokens, max_seqs;
    int keep;                      /* 1: keeps what backward needs */
    const struct lafs_bf16_ops *bf16; /* activations are stored in bf16 (compute/stored.h); NULL: in fp32 */
    int pack;                      /* set behind the plan: 1: what drop-path drops is in no case computed */
    /* of the last forward pass */
    struct lafs_seqs tokens, rows, heads; /* without CLS (the caller's), with CLS, one row each */
    const uint64_t *keys;
    int whole;                     /* 1: no branch is packed; what drop-path drops is computed, and multiplied by 0 */
    const float *in;               /* the tokens that came in: must stay until backward is done */
    struct lafs_vit_branch *branches; /* (2L) owned: attention and MLP of each block */
    /* host memory, owned */
    int64_t *rows_off, *heads_off;
    int64_t *sets;                 /* (2L, 2*max_seqs + 1): of and off of each branch */
    uint64_t *host_keys;           /* (1 + 2L, max_seqs): all, then those of each branch */
    /* device memory, carved */
    int64_t *dev_rows_off, *dev_heads_off, *dev_sets;
    uint64_t *dev_keys;            /* (2L, max_seqs) */
    struct lafs_bf16 *weights;     /* with bf16: the model's parameters, rounded */
    float *proj;                   /* (tokens, D) */
    float **x;                     /* owned array of 2L+1 pointers to (rows, D): the residual stream after each sum */
    float **lse;                   /* L: (rows, H) */
    float **mean1, **rstd1, **mean2, **rstd2; /* L each: (rows) */
    float *cls_mean, *cls_rstd;    /* (seqs) each */
    float *dx, *cls_dx;            /* (rows, D); last block: (seqs, D) */
    /* stored: fp32 or bf16 */
    void **y1, **y2;               /* L each: (rows, D), what the LayerNorms gave */
    void **qkv, **att;             /* L each: (rows, 3*H*64), last (rows, 2*H*64): k, v; (rows, H*64) */
    void **pre, **hid;             /* L each: (rows, M) before and after GELU */
    void *cls_y1, *cls_q, *cls_dq; /* last block: (seqs, D), (seqs, H*64) and its gradient */
    void *branch, *dy;             /* (rows, D) each */
    void *dwide, *datt;            /* (rows, max(3*H*64, M)), (rows, H*64) */
    void *pointers, **stored;      /* owned blocks behind the arrays above */
};
/* Plans for at most max_tokens tokens (CLS not counted) in at most max_seqs sequences. Called twice, around
 * lafs_arena_reserve; the same calls in the same order both times. b's precision is to stay as it is. */
lafs_status lafs_vit_plan(struct lafs_vit_work *w, const struct lafs_vit *v, int64_t max_tokens, int64_t max_seqs,
                          int keep, const struct lafs_backend *b, struct lafs_arena *a, struct lafs_err *err);
/* Before the first pass, and whenever value has changed: queues the rounding of weights where products take them from
 * a copy in bf16 (w->bf16), so that it is done once an update and not once a product; does nothing otherwise. */
void lafs_vit_weights(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value);
void lafs_vit_work_release(struct lafs_vit_work *w); /* host memory; the arena is the caller's */
/* 1: passes over sequences of the same lengths queue the same work, whatever the keys hold, so that it can be recorded,
 * and host_keys are not looked at: on backends that record, where drop-path drops nothing, or a block is computed
 * sooner than launched. A matter of the plan's sizes alone, so that results do not depend on who records. */
int lafs_vit_alike(const struct lafs_vit_work *w, const struct lafs_backend *b);
/* tokens (sum of lengths, p*p*3): sequence i is rows seqs->off[i].. (no CLS: the same seqs as patch_cut takes), each of
 * 1..R tokens, lengths may differ. keys (n) device, one per sequence, or NULL: no dropout, no drop-path (eval).
 * host_keys: the same on the host; NULL: fetched, which waits for the device. emb (n, D) device. Within the planned
 * worst case; the arrays behind seqs must stay until backward is done. */
void lafs_vit_forward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value,
                      const struct lafs_seqs *seqs, const float *tokens, const uint64_t *keys,
                      const uint64_t *host_keys, float *emb);
/* Of the last forward pass, planned with keep. demb (n, D); grad +=; dtokens (as tokens) written unless NULL. */
void lafs_vit_backward(struct lafs_vit_work *w, const struct lafs_backend *b, const float *value, const float *demb,
                       float *grad, float *dtokens);

#endif
