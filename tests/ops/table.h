/* The test of an op, driven by a table. For every case, at random odd shapes with a printed seed:
 *   - the CPU backend agrees with the reference (and CUDA with both, where there is one),
 *   - nothing is written around or outside the outputs, and no input is changed,
 *   - 1 and 4 threads give the same bits, and so does a sequence alone or in its batch, and AVX2 and AVX-512,
 *   - gradients of the reference agree with finite differences of the reference's forward op.
 *
 * To add an op: write `draw` (shapes, buffers), `run` (the call), for a gradient also `objective`, and a line in the
 * table; see tests/ops/elementwise.c for the shortest examples.
 *
 *     static void draw_scale(struct op *o) { o->dim[0] = below(o, 1, 3000); whole(o, "x", ADD, o->dim[0]); }
 *     static void run_scale(struct op *o, const struct lafs_backend *b)
 *     {
 *         b->ops->scale(b->dev, o->dim[0], 0.7f, F(o, "x"));
 *     }
 *     static const struct op_case cases[] = {{"scale", draw_scale, run_scale}};
 *     OPS_MAIN(cases)
 */
#ifndef LAFS_TESTS_OPS_TABLE_H
#define LAFS_TESTS_OPS_TABLE_H

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "compute/backend.h"
#include "tests/ops/levels.h"

enum { MAX_BUFS = 20, MAX_SEQS = 12, GUARD = 1024, ROUNDS = 8 };
enum buf_kind {
    IN,  /* read only */
    OUT, /* written */
    ADD  /* read and written: += gradients, in-place ops */
};
enum buf_unit {
    WHOLE,    /* belongs to the whole batch: weights, sums */
    PER_ROW,  /* (rows, width) */
    PER_SEQ,  /* (n, width): one per sequence or image */
    PER_TOKEN /* (rows - n, width): rows without the CLS row of each sequence */
};
struct buf {
    char name[24];
    enum buf_kind kind;
    enum buf_unit unit;
    int64_t width;      /* elements a row, sequence or token; elements in all for WHOLE */
    size_t item;        /* bytes an element: 4 float, 8 double or int64, 1 u8; 4 with `integer` int32 */
    int integer;        /* compared exactly */
    double tol;         /* of ref against the others, relative to the largest value */
    int absent;         /* pass NULL to the op */
    int stored;         /* bf16 in memory, see store */
    unsigned char *host; /* content before and, after run_on, behind the op */
    unsigned char *init; /* content before */
    char *dev;          /* during run: the guarded device array */
};
struct op {
    struct lafs_rng rng;
    struct lafs_seqs s;        /* n, off, max_len; n = 0 when the op has none */
    int64_t off[MAX_SEQS + 1];
    int64_t dim[8];            /* whatever the case needs */
    double num[8];
    enum lafs_precision precision; /* of the case's products */
    int stored;                /* of the case */
    struct buf buf[MAX_BUFS];
    int bufs;
    int failed;
};
/* The tables that the case will run on, for what an op asks for in advance (margin_scratch). */
static const struct lafs_ops *op_tables[3];

struct op_case {
    const char *name;
    void (*draw)(struct op *o);
    void (*run)(struct op *o, const struct lafs_backend *b);
    /* Optional: inputs that other ops compute, on the reference, in o->buf[].init (see run_ref_into). */
    void (*prepare)(struct op *o, const struct lafs_backend *ref);
    /* Optional: the scalar whose gradients the op computes; x -> gradient pairs of buffer names. */
    double (*objective)(struct op *o, const struct lafs_backend *ref);
    const char *grad[6][2];
    double step; /* of the finite differences; 0: 0.01 */
    double grad_tol; /* 0: 2e-3 */
    enum lafs_precision precision;
    double tol;      /* of all outputs, unless 0; of a stored case: of those that are stored */
    int rounds;      /* 0: the usual number */
    /* 1: CUDA's ops over bf16 in memory, against the reference's over fp32 in LAFS_PRECISION_BF16, from rounded inputs;
     * other backends have none. */
    int stored;
};

/* -- for draw -- */

static inline int64_t below(struct op *o, int64_t lo, int64_t hi)
{
    return lo + (int64_t)lafs_rng_below(&o->rng, (uint64_t)(hi - lo + 1));
}

static inline struct buf *find_buf(struct op *o, const char *name)
{
    for (int i = 0; i < o->bufs; i++)
        if (!strcmp(o->buf[i].name, name)) return &o->buf[i];
    fprintf(stderr, "no buffer '%s' in this case\n", name);
    abort();
}

static inline int64_t count_of(const struct op *o, const struct buf *b)
{
    int64_t rows = o->s.n ? lafs_seqs_rows(&o->s) : 0;
    switch (b->unit) {
    case PER_ROW: return rows * b->width;
    case PER_SEQ: return o->s.n * b->width;
    case PER_TOKEN: return (rows - o->s.n) * b->width;
    default: return b->width;
    }
}

/* Adds a buffer of floats, filled with values in (-1, 1). */
static inline struct buf *add_buf(struct op *o, const char *name, enum buf_kind kind, enum buf_unit unit, int64_t width,
                                  size_t item)
{
    if (o->bufs == MAX_BUFS) abort();
    struct buf *b = &o->buf[o->bufs++];
    *b = (struct buf){.kind = kind, .unit = unit, .width = width, .item = item, .tol = 1e-5};
    snprintf(b->name, sizeof b->name, "%s", name);
    size_t bytes = (size_t)count_of(o, b) * item;
    b->init = calloc(bytes + 1, 1);
    b->host = calloc(bytes + 1, 1);
    if (!b->init || !b->host) abort();
    for (size_t e = 0; e < bytes / item; e++) {
        if (item == 4) ((float *)b->init)[e] = (float)lafs_rng_uniform(&o->rng, -1, 1);
        if (item == 8) ((double *)b->init)[e] = lafs_rng_uniform(&o->rng, -1, 1);
        if (item == 1) b->init[e] = (unsigned char)lafs_rng_u32(&o->rng);
    }
    return b;
}
static inline struct buf *rows(struct op *o, const char *name, enum buf_kind kind, int64_t width)
{
    return add_buf(o, name, kind, PER_ROW, width, 4);
}
static inline struct buf *whole(struct op *o, const char *name, enum buf_kind kind, int64_t n)
{
    return add_buf(o, name, kind, WHOLE, n, 4);
}
static inline struct buf *per_seq(struct op *o, const char *name, enum buf_kind kind, int64_t width)
{
    return add_buf(o, name, kind, PER_SEQ, width, 4);
}
static inline float *init_f(struct op *o, const char *name) { return (float *)find_buf(o, name)->init; }
static inline void scale_buf(struct op *o, const char *name, float a, float shift)
{
    struct buf *b = find_buf(o, name);
    for (int64_t e = 0; e < count_of(o, b); e++) ((float *)b->init)[e] = ((float *)b->init)[e] * a + shift;
}

/* n sequences of random lengths: often a few short ones, sometimes single rows, sometimes one over 256 rows. */
static inline void draw_seqs(struct op *o, int64_t longest)
{
    o->s.n = below(o, 1, MAX_SEQS);
    int64_t kind = below(o, 0, 3), big = below(o, 0, o->s.n - 1);
    for (int64_t i = 0; i < o->s.n; i++) {
        int64_t len = kind == 0 ? 1 : kind == 1 && i == big ? longest : below(o, 1, longest < 40 ? longest : 40);
        o->off[i + 1] = o->off[i] + len;
    }
    o->s.off = o->s.dev_off = o->off;
    o->s.max_len = 0;
    for (int64_t i = 0; i < o->s.n; i++)
        if (o->off[i + 1] - o->off[i] > o->s.max_len) o->s.max_len = o->off[i + 1] - o->off[i];
}
/* n images or rows without a length of their own: n sequences of one row. */
static inline void draw_images(struct op *o, int64_t most)
{
    o->s.n = below(o, 1, most);
    for (int64_t i = 0; i <= o->s.n; i++) o->off[i] = i;
    o->s.off = o->s.dev_off = o->off;
    o->s.max_len = 1;
}
/* Keys of a dropout, one per sequence. */
static inline void draw_keys(struct op *o, const char *name)
{
    struct buf *b = add_buf(o, name, IN, PER_SEQ, 1, 8);
    for (int64_t i = 0; i < o->s.n; i++)
        ((uint64_t *)b->init)[i] = (uint64_t)lafs_rng_u32(&o->rng) << 32 | lafs_rng_u32(&o->rng);
}

/* A width of lo..hi; of a stored case, a multiple of 8 of at most hi. */
static inline int64_t draw_width(struct op *o, int64_t lo, int64_t hi)
{
    return o->stored ? 8 * below(o, 1, hi / 8) : below(o, lo, hi);
}
/* These buffers (names behind spaces) of a stored case are bf16 in memory. */
static inline void store(struct op *o, const char *names)
{
    for (int i = 0; i < o->bufs && o->stored; i++) {
        char name[sizeof o->buf[i].name + 2], all[256];
        snprintf(name, sizeof name, " %s ", o->buf[i].name);
        snprintf(all, sizeof all, "%s ", names);
        if (strstr(all, name)) o->buf[i].stored = 1;
    }
}
static inline void round_stored(struct op *o)
{
    for (int i = 0; i < o->bufs; i++) {
        struct buf *b = &o->buf[i];
        for (int64_t e = 0; e < count_of(o, b) && b->stored; e++) {
            uint32_t u;
            memcpy(&u, b->init + 4 * e, sizeof u);
            u = (u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u;
            memcpy(b->init + 4 * e, &u, sizeof u);
        }
    }
}

/* -- for run: the device array of a buffer (NULL when absent) -- */

static inline void *P(struct op *o, const char *name)
{
    struct buf *b = find_buf(o, name);
    return b->absent ? NULL : b->dev + GUARD;
}
static inline float *F(struct op *o, const char *name) { return P(o, name); }
static inline unsigned char guard_byte(size_t i) { return (unsigned char)(0xA5 ^ i * 7); }

#define OP_FAIL(o, ...)                    \
    do {                                   \
        fprintf(stderr, __VA_ARGS__);      \
        fputc('\n', stderr);               \
        (o)->failed = 1;                   \
    } while (0)

/* n floats of device memory as bf16, between guards; NULL of NULL. */
enum { STORED_GUARD = 64 };
static inline struct lafs_bf16 *stored(const struct lafs_backend *b, const float *x, int64_t n)
{
    const size_t all = (size_t)n + 2 * STORED_GUARD;
    unsigned char *stage = malloc(all * 2);
    struct lafs_err err;
    void *dev;
    if (!stage || b->ops->alloc(b->dev, &dev, all * 2, &err) != LAFS_OK) abort();
    for (size_t i = 0; i < all * 2; i++) stage[i] = guard_byte(i);
    b->ops->upload(b->dev, dev, stage, all * 2);
    free(stage);
    struct lafs_bf16 *p = (struct lafs_bf16 *)dev + STORED_GUARD;
    if (x) b->ops->bf16->round(b->dev, n, x, p);
    else b->ops->free(b->dev, dev);
    return x ? p : NULL;
}
/* Back to x (NULL: it was read only), and given back; nothing may have been written around it. */
static inline void stored_end(struct op *o, const struct lafs_backend *b, struct lafs_bf16 *p, int64_t n, float *x)
{
    const size_t all = (size_t)n + 2 * STORED_GUARD;
    int wrong = 0;
    if (!p) return;
    uint16_t *host = malloc(all * 2);
    uint32_t *wide = malloc((size_t)n * 4 + 1);
    if (!host || !wide) abort();
    b->ops->download(b->dev, host, p - STORED_GUARD, all * 2);
    for (size_t i = 0; i < all * 2; i++)
        if ((i < 2 * STORED_GUARD || i >= all * 2 - 2 * STORED_GUARD) && ((unsigned char *)host)[i] != guard_byte(i))
            wrong = 1;
    if (wrong) OP_FAIL(o, "something was written around an array of bf16");
    for (int64_t i = 0; i < n; i++) wide[i] = (uint32_t)host[STORED_GUARD + i] << 16;
    if (x) b->ops->upload(b->dev, x, wide, (size_t)n * 4);
    b->ops->free(b->dev, p - STORED_GUARD);
    free(host);
    free(wide);
}
/* sum += the columns of x: what an op over bf16 does besides; of backends whose memory is the host's. */
static inline void add_columns(struct op *o, const struct lafs_backend *b, const char *x, const char *sum)
{
    const float *v = F(o, x);
    float *to = F(o, sum);
    const int64_t width = find_buf(o, x)->width, n = count_of(o, find_buf(o, x)) / width;
    if (b->ops->bf16) abort();
    for (int64_t j = 0; j < width && to; j++) {
        double all = 0;
        for (int64_t i = 0; i < n; i++) all += v[i * width + j];
        to[j] += (float)all;
    }
}

/* `stored` and `stored_end` of a buffer. */
static inline struct lafs_bf16 *S(struct op *o, const struct lafs_backend *b, const char *name)
{
    return stored(b, F(o, name), count_of(o, find_buf(o, name)));
}
static inline void S_end(struct op *o, const struct lafs_backend *b, const char *name, struct lafs_bf16 *p)
{
    const struct buf *u = find_buf(o, name);
    stored_end(o, b, p, count_of(o, u), u->kind == IN ? NULL : F(o, name));
}
static inline struct lafs_drop drop_of(struct op *o, const char *keys, double p, uint32_t site)
{
    return (struct lafs_drop){(float)p, site, P(o, keys)};
}

/* -- the machinery -- */

static inline void op_release(struct op *o)
{
    for (int i = 0; i < o->bufs; i++) {
        free(o->buf[i].init);
        free(o->buf[i].host);
    }
}

/* Uploads all buffers between guards, calls `run`, downloads; checks guards, inputs and sticky errors. */
static inline void run_on(struct op *o, void (*run)(struct op *, const struct lafs_backend *),
                          const struct lafs_backend *b, const char *label)
{
    struct lafs_err err = {0};
    int64_t *dev_off = NULL;
    for (int i = 0; i < o->bufs; i++) {
        struct buf *u = &o->buf[i];
        size_t bytes = (size_t)count_of(o, u) * u->item, all = bytes + 2 * GUARD;
        unsigned char *stage = malloc(all);
        void *dev;
        if (!stage || b->ops->alloc(b->dev, &dev, all, &err) != LAFS_OK) abort();
        for (size_t e = 0; e < all; e++) stage[e] = guard_byte(e);
        /* Outputs start as NaN, so that a value not written shows. */
        if (u->kind == OUT) memset(stage + GUARD, 0xff, bytes);
        else memcpy(stage + GUARD, u->init, bytes);
        b->ops->upload(b->dev, dev, stage, all);
        if (b->ops->sync(b->dev, &err) != LAFS_OK) OP_FAIL(o, "%s: %s", label, err.msg);
        free(stage);
        u->dev = dev;
    }
    struct lafs_seqs keep = o->s;
    if (o->s.n) {
        void *p;
        size_t bytes = (size_t)(o->s.n + 1) * sizeof *dev_off;
        if (b->ops->alloc(b->dev, &p, bytes, &err) != LAFS_OK) abort();
        b->ops->upload(b->dev, p, o->s.off, bytes);
        o->s.dev_off = dev_off = p;
    }
    run(o, b);
    if (b->ops->sync(b->dev, &err) != LAFS_OK) OP_FAIL(o, "%s: %s", label, err.msg);
    o->s = keep;
    for (int i = 0; i < o->bufs; i++) {
        struct buf *u = &o->buf[i];
        size_t bytes = (size_t)count_of(o, u) * u->item, all = bytes + 2 * GUARD;
        unsigned char *stage = malloc(all);
        if (!stage) abort();
        b->ops->download(b->dev, stage, u->dev, all);
        for (size_t e = 0; e < all; e++)
            if ((e < GUARD || e >= GUARD + bytes) && stage[e] != guard_byte(e)) {
                OP_FAIL(o, "%s: wrote %s its buffer '%s'", label, e < GUARD ? "before" : "behind", u->name);
                break;
            }
        memcpy(u->host, stage + GUARD, bytes);
        if (u->kind == IN && memcmp(u->host, u->init, bytes)) OP_FAIL(o, "%s: changed its input '%s'", label, u->name);
        free(stage);
        b->ops->free(b->dev, u->dev);
        u->dev = NULL;
    }
    if (dev_off) b->ops->free(b->dev, dev_off);
}

/* For prepare: runs a forward op on the reference and keeps what it wrote as the input `to` of this case. */
static inline void run_ref_into(struct op *o, void (*run)(struct op *, const struct lafs_backend *),
                                const struct lafs_backend *ref, int n, const char *const *to)
{
    enum buf_kind kind[MAX_BUFS];
    for (int i = 0; i < o->bufs; i++) {
        kind[i] = o->buf[i].kind;
        o->buf[i].kind = ADD;
    }
    run_on(o, run, ref, "prepare");
    for (int i = 0; i < n; i++) {
        struct buf *b = find_buf(o, to[i]);
        memcpy(b->init, b->host, (size_t)count_of(o, b) * b->item);
    }
    for (int i = 0; i < o->bufs; i++) o->buf[i].kind = kind[i];
}

/* For objective: runs a forward op on the reference; results are read with result(). */
static inline void run_ref(struct op *o, void (*run)(struct op *, const struct lafs_backend *),
                           const struct lafs_backend *ref)
{
    enum buf_kind kind[MAX_BUFS];
    for (int i = 0; i < o->bufs; i++) {
        kind[i] = o->buf[i].kind;
        o->buf[i].kind = ADD;
    }
    run_on(o, run, ref, "objective");
    for (int i = 0; i < o->bufs; i++) o->buf[i].kind = kind[i];
}
static inline const float *result(struct op *o, const char *name) { return (const float *)find_buf(o, name)->host; }
/* sum of result(y) * init(dy): the objective of most gradients. */
static inline double weighted(struct op *o, const char *y, const char *dy)
{
    const float *a = result(o, y), *w = init_f(o, dy);
    double sum = 0;
    for (int64_t e = 0; e < count_of(o, find_buf(o, y)); e++) sum += (double)a[e] * w[e];
    return sum;
}

static inline double value_at(const struct buf *b, const unsigned char *p, int64_t e)
{
    if (b->integer)
        return b->item == 4 ? ((const int32_t *)p)[e] : b->item == 8 ? (double)((const int64_t *)p)[e] : p[e];
    return b->item == 4 ? ((const float *)p)[e] : b->item == 8 ? ((const double *)p)[e] : p[e];
}

static inline void compare(struct op *o, const struct buf *b, const unsigned char *want, const char *label)
{
    int64_t n = count_of(o, b), worst = -1;
    double big = 0, off = 0;
    for (int64_t e = 0; e < n; e++) big = fmax(big, fabs(value_at(b, want, e)));
    for (int64_t e = 0; e < n; e++) {
        double diff = fabs(value_at(b, b->host, e) - value_at(b, want, e));
        if (!(diff <= off)) {
            off = diff;
            worst = e;
            if (isnan(diff)) break;
        }
    }
    double limit = b->integer ? 0 : b->tol * (big > 0 ? big : 1);
    if (!(off <= limit))
        OP_FAIL(o, "%s: '%s'[%lld of %lld] is %.9g, the reference says %.9g (off %.3g of the largest, allowed %.3g)",
                label, b->name, (long long)worst, (long long)n, value_at(b, b->host, worst), value_at(b, want, worst),
                off / (big > 0 ? big : 1), b->tol);
}

static inline size_t bytes_of(const struct op *o, const struct buf *b) { return (size_t)count_of(o, b) * b->item; }

/* Compares outputs with those kept in `want`: bits, or within tolerance. */
static inline void check_outputs(struct op *o, unsigned char *const *want, int bits, const char *label)
{
    for (int i = 0; i < o->bufs; i++) {
        struct buf *b = &o->buf[i];
        if (b->kind == IN || b->absent) continue;
        if (!bits) compare(o, b, want[i], label);
        else if (memcmp(b->host, want[i], bytes_of(o, b))) OP_FAIL(o, "%s: other bits in '%s'", label, b->name);
    }
}

static inline void keep_outputs(const struct op *o, unsigned char **kept)
{
    for (int i = 0; i < o->bufs; i++) {
        kept[i] = malloc(bytes_of(o, &o->buf[i]) + 1);
        if (!kept[i]) abort();
        memcpy(kept[i], o->buf[i].host, bytes_of(o, &o->buf[i]));
    }
}
static inline void drop_outputs(const struct op *o, unsigned char **kept)
{
    for (int i = 0; i < o->bufs; i++) free(kept[i]);
}

/* Where sequence q of buffer b begins, in elements. */
static inline int64_t first_of(const struct op *o, const struct buf *b, int64_t q)
{
    return b->unit == PER_ROW     ? o->off[q] * b->width
           : b->unit == PER_SEQ   ? q * b->width
           : b->unit == PER_TOKEN ? (o->off[q] - q) * b->width
                                  : 0;
}

/* Runs each sequence alone; its rows must have the bits that they have in the batch (`want`). */
static inline void check_alone(struct op *o, const struct op_case *c, const struct lafs_backend *b,
                               unsigned char *const *want, const char *label)
{
    for (int64_t q = 0; q < o->s.n && o->s.n > 1 && !o->failed; q++) {
        struct op one = *o;
        one.s.n = 1;
        one.off[0] = 0;
        one.off[1] = o->off[q + 1] - o->off[q];
        one.s.off = one.s.dev_off = one.off;
        one.s.max_len = one.off[1];
        for (int i = 0; i < o->bufs; i++) {
            struct buf *u = &one.buf[i];
            size_t bytes = bytes_of(&one, u);
            u->init = malloc(bytes + 1);
            u->host = malloc(bytes + 1);
            if (!u->init || !u->host) abort();
            memcpy(u->init, o->buf[i].init + (size_t)first_of(o, u, q) * u->item, bytes);
        }
        run_on(&one, c->run, b, label);
        for (int i = 0; i < o->bufs; i++) {
            struct buf *u = &one.buf[i];
            if (u->kind == IN || u->absent || u->unit == WHOLE) continue;
            if (memcmp(u->host, want[i] + (size_t)first_of(o, u, q) * u->item, bytes_of(&one, u)))
                OP_FAIL(o, "%s: sequence %lld of %lld alone has other bits in '%s'", label, (long long)q,
                        (long long)o->s.n, u->name);
        }
        o->failed |= one.failed;
        op_release(&one);
    }
}

/* Fourth-order central differences at up to 24 places of each pair; the op's outputs are in host. */
static inline void check_gradients(struct op *o, const struct op_case *c, const struct lafs_backend *ref)
{
    double step = c->step ? c->step : 0.01, tol = c->grad_tol ? c->grad_tol : 2e-3;
    unsigned char *kept[MAX_BUFS];
    run_on(o, c->run, ref, "ref");
    keep_outputs(o, kept);
    for (int p = 0; p < 6 && c->grad[p][0]; p++) {
        struct buf *x = find_buf(o, c->grad[p][0]), *g = find_buf(o, c->grad[p][1]);
        int64_t n = count_of(o, x);
        if (x->absent || g->absent || n == 0) continue;
        const float *got = (const float *)kept[g - o->buf], *before = (const float *)g->init;
        float *v = (float *)x->init;
        double big = 0;
        for (int64_t e = 0; e < n; e++) big = fmax(big, fabs((double)got[e] - (g->kind == ADD ? before[e] : 0)));
        for (int i = 0; i < 24; i++) {
            int64_t e = below(o, 0, n - 1);
            float at = v[e];
            double f[4], place[4] = {-2, -1, 1, 2};
            for (int j = 0; j < 4; j++) {
                v[e] = (float)(at + place[j] * step);
                f[j] = c->objective(o, ref);
            }
            v[e] = at;
            double want = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step),
                   have = (double)got[e] - (g->kind == ADD ? before[e] : 0);
            if (!(fabs(have - want) <= tol * fmax(big, 1e-3)))
                OP_FAIL(o, "ref: gradient '%s'[%lld of %lld] is %.7g, differences say %.7g (largest %.3g)", g->name,
                        (long long)e, (long long)n, have, want, big);
        }
    }
    drop_outputs(o, kept);
}

struct op_devices { /* pool.., label */
    struct lafs_pool *pool;
    struct lafs_backend ref, cpu1, cpu4, cuda;
    int have_cuda;
    int cuda_only; /* 1: CUDA against the reference, and nothing else */
    int level; /* enum lafs_isa: the most that the machine, or $LAFS_CPU, lets the CPU backend use */
};

/* The same bits at every level of the processor below the best one, where `fast` is from; but for fp32 without fused
 * multiply-add, where products round otherwise, and for tiles, of which that is believed, not promised. */
static inline void check_levels(struct op *o, const struct op_case *c, const struct op_devices *v,
                                unsigned char *const *truth, unsigned char **fast)
{
    for (int level = v->level - 1; level >= LAFS_ISA_PLAIN; level--) {
        lafs_isa_limit(level);
        run_on(o, c->run, &v->cpu4, level_name[level]);
        lafs_isa_limit(v->level);
        int tiles = level == LAFS_ISA_AVX512 && c->precision != LAFS_PRECISION_FP32;
#ifdef __FP_FAST_FMAF
        int fused = 1;
#else
        int fused = level > LAFS_ISA_PLAIN;
#endif
        int bits = !tiles && (fused || c->precision != LAFS_PRECISION_FP32);
        check_outputs(o, bits ? fast : truth, bits, level_name[level]);
        for (int i = 0; i < o->bufs && tiles; i++) {
            if (memcmp(fast[i], o->buf[i].host, bytes_of(o, &o->buf[i])))
                printf("note %s: tiles give other bits than vectors in '%s'\n", c->name, o->buf[i].name);
            memcpy(fast[i], o->buf[i].host, bytes_of(o, &o->buf[i]));
        }
    }
}

static inline void check_cpu(struct op *o, const struct op_case *c, const struct op_devices *v,
                             unsigned char *const *truth)
{
    unsigned char *fast[MAX_BUFS];
    run_on(o, c->run, &v->cpu1, "cpu");
    keep_outputs(o, fast);
    check_outputs(o, truth, 0, "cpu");
    run_on(o, c->run, &v->cpu4, "cpu, 4 threads");
    check_outputs(o, fast, 1, "cpu, 4 threads");
    check_alone(o, c, &v->cpu4, fast, "cpu");
    check_levels(o, c, v, truth, fast);
    drop_outputs(o, fast);
}

/* The same bits twice, and for a sequence alone. */
static inline void check_cuda(struct op *o, const struct op_case *c, const struct op_devices *v,
                              unsigned char *const *truth)
{
    unsigned char *first[MAX_BUFS];
    run_on(o, c->run, &v->cuda, "cuda");
    keep_outputs(o, first);
    check_outputs(o, truth, 0, "cuda");
    run_on(o, c->run, &v->cuda, "cuda again");
    check_outputs(o, first, 1, "cuda again");
    check_alone(o, c, &v->cuda, first, "cuda");
    drop_outputs(o, first);
}

static inline int run_case(const struct op_case *c, const struct op_devices *v, uint64_t seed)
{
    int bad = 0, rounds = c->rounds ? c->rounds : v->cuda_only ? ROUNDS / 2 : ROUNDS;
    if (c->stored && !v->have_cuda) return 0;
    for (uint64_t round = 0; round < (uint64_t)rounds && !bad; round++) {
        struct op o;
        memset(&o, 0, sizeof o);
        lafs_rng_init(&o.rng, lafs_rng_key(seed, LAFS_RNG_TEST, round, lafs_fnv1a(c->name, strlen(c->name)), 0));
        o.precision = c->stored ? LAFS_PRECISION_BF16 : c->precision;
        o.stored = c->stored;
        c->draw(&o);
        for (int i = 0; i < o.bufs && c->tol > 0; i++)
            if (!c->stored || o.buf[i].stored) o.buf[i].tol = c->tol;
        o.s.off = o.s.n ? o.off : NULL;
        if (c->prepare) c->prepare(&o, &v->ref);
        round_stored(&o);
        unsigned char *truth[MAX_BUFS];
        run_on(&o, c->run, &v->ref, "ref");
        keep_outputs(&o, truth);
        if (!v->cuda_only && !c->stored) check_cpu(&o, c, v, truth);
        if (v->have_cuda) check_cuda(&o, c, v, truth);
        if (c->objective && !v->cuda_only) check_gradients(&o, c, &v->ref);
        bad = o.failed;
        if (bad) {
            fprintf(stderr, "%s: seed %llu, round %llu", c->name, (unsigned long long)seed, (unsigned long long)round);
            for (int i = 0; i < 8; i++) fprintf(stderr, "%s%lld", i ? " " : "; dim ", (long long)o.dim[i]);
            fprintf(stderr, "; sequences");
            for (int64_t i = 0; i < o.s.n; i++) fprintf(stderr, " %lld", (long long)(o.off[i + 1] - o.off[i]));
            fprintf(stderr, "\n");
        }
        drop_outputs(&o, truth);
        op_release(&o);
    }
    printf("%s %s\n", bad ? "FAIL" : "ok", c->name);
    fflush(stdout);
    return bad;
}

/* The first slot that the reference fills, CUDA does not, and compute/backend.h does not call optional; -1: none. */
static inline int empty_slot(const struct lafs_ops *cuda)
{
    static const size_t optional[] = {offsetof(struct lafs_ops, separable), offsetof(struct lafs_ops, bottlenecks_size),
                                      offsetof(struct lafs_ops, bottlenecks_pack), offsetof(struct lafs_ops, bottlenecks),
                                      offsetof(struct lafs_ops, unit), offsetof(struct lafs_ops, unit_bwd),
                                      offsetof(struct lafs_ops, unit_out)};
    const char *have = (const char *)cuda, *want = (const char *)&lafs_ref_ops;
    static const char none[sizeof(void *)];
    for (size_t at = offsetof(struct lafs_ops, open); at < sizeof(struct lafs_ops); at += sizeof(void *)) {
        int may = 0;
        for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) may |= at == optional[i];
        if (!may && !memcmp(have + at, none, sizeof none) && memcmp(want + at, none, sizeof none))
            return (int)(at / sizeof(void *));
    }
    return -1;
}

/* LAFS_TEST_SEED=N draws other shapes and values. LAFS_TEST_CUDA=sim or gpu compares CUDA with the reference, and nothing
 * else; where it cannot be had the test fails. LAFS_TEST_TRUTH=cpu: with the CPU backend, on all processors, where the
 * reference would take hours. */
static inline int ops_main(const struct op_case *c, int n)
{
    const char *text = getenv("LAFS_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
    const char *truth = getenv("LAFS_TEST_TRUTH");
    const int threads = truth ? 0 : 4; /* 0: of all processors */
    struct op_devices v;
    struct lafs_err err = {0};
    memset(&v, 0, sizeof v);
    if (lafs_pool_new(&v.pool, threads, &err) != LAFS_OK ||
        lafs_backend_open(&v.ref, truth ? truth : "ref", truth ? v.pool : NULL, NULL, &err) != LAFS_OK ||
        lafs_backend_open(&v.cpu1, "cpu", NULL, NULL, &err) != LAFS_OK ||
        lafs_backend_open(&v.cpu4, "cpu", v.pool, NULL, &err) != LAFS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    v.have_cuda = lafs_backend_open(&v.cuda, "cuda", NULL, NULL, &err) == LAFS_OK;
    v.cuda_only = getenv("LAFS_TEST_CUDA") != NULL;
    if (v.cuda_only && !v.have_cuda) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    if (v.have_cuda && empty_slot(v.cuda.ops) >= 0) {
        fprintf(stderr, "slot %d of cuda is empty\n", empty_slot(v.cuda.ops));
        return 1;
    }
    op_tables[0] = v.ref.ops;
    op_tables[1] = v.cpu1.ops;
    op_tables[2] = v.have_cuda ? v.cuda.ops : v.ref.ops;
    fprintf(stderr, "%s%s%s\n", v.cpu1.ops->describe(v.cpu1.dev), v.have_cuda ? ", " : "",
            v.have_cuda ? v.cuda.ops->describe(v.cuda.dev) : "");
    v.level = lafs_isa_amx() ? LAFS_ISA_AMX : lafs_isa_level();
    for (int level = v.level + 1; level <= LEVEL_MOST && !v.cuda_only; level++)
        printf("skip all of them: no %s here\n", level_name[level]);
    int bad = 0;
    for (int i = 0; i < n; i++) bad |= run_case(&c[i], &v, seed);
    lafs_backend_close(&v.ref);
    lafs_backend_close(&v.cpu1);
    lafs_backend_close(&v.cpu4);
    lafs_backend_close(&v.cuda);
    lafs_pool_free(v.pool);
    return bad || n == 0;
}
#define OPS_MAIN(cases) int main(void) { return ops_main(cases, (int)(sizeof cases / sizeof *cases)); }

#endif
