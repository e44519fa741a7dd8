#include "tests/ops/table.h"

/* -- assemble: dim 0 width -- */
static void draw_tokens(struct op *o)
{
    draw_seqs(o, 197);
    o->dim[0] = below(o, 1, 90);
    o->num[0] = below(o, 0, 1) ? 0.1 : 0;
    draw_keys(o, "keys");
}
static void draw_assemble(struct op *o)
{
    draw_tokens(o);
    add_buf(o, "proj", IN, PER_TOKEN, o->dim[0], 4);
    whole(o, "cls", IN, o->dim[0]);
    whole(o, "pos", IN, o->dim[0] * (o->s.max_len + 2));
    rows(o, "x", OUT, o->dim[0])->tol = 1e-6;
}
static void run_assemble(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 0);
    b->ops->assemble(b->dev, &o->s, o->dim[0], F(o, "proj"), F(o, "cls"), F(o, "pos"), &drop, F(o, "x"));
}
static void draw_assemble_bwd(struct op *o)
{
    draw_assemble(o);
    find_buf(o, "x")->kind = IN;
    rows(o, "dx", IN, o->dim[0]);
    add_buf(o, "dproj", OUT, PER_TOKEN, o->dim[0], 4);
    whole(o, "dcls", ADD, o->dim[0]);
    whole(o, "dpos", ADD, o->dim[0] * (o->s.max_len + 2));
}
static void run_assemble_bwd(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 0);
    b->ops->assemble_bwd(b->dev, &o->s, o->dim[0], F(o, "dx"), &drop, F(o, "dproj"), F(o, "dcls"), F(o, "dpos"));
}
static double objective_assemble(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_assemble, ref);
    return weighted(o, "x", "dx");
}

/* -- add_norm: dim 0 width, 1: branch, 2: norm; num 0 dropout, 1 drop-path. Buffers "from" and "to" say of each
 * sequence whether the branch and the norm have it; the case's buffers hold rows of all, the op gets them packed. -- */
struct chosen {
    struct lafs_some some;
    int64_t of[MAX_SEQS], off[MAX_SEQS + 1];
};
static const struct lafs_some *choose(struct op *o, const struct lafs_backend *b, const char *name, struct chosen *c)
{
    const struct buf *u = find_buf(o, name);
    struct lafs_err err;
    void *dev;
    if (u->absent) return NULL;
    *c = (struct chosen){.some = {.s = {.off = c->off}, .of = c->of}};
    for (int64_t i = 0; i < o->s.n; i++) {
        int64_t len = o->s.off[i + 1] - o->s.off[i], *n = &c->some.s.n;
        if (((const float *)u->init)[i] < -0.3f) continue;
        c->of[*n] = i;
        c->off[*n + 1] = c->off[*n] + len;
        c->some.s.max_len = len > c->some.s.max_len ? len : c->some.s.max_len;
        ++*n;
    }
    if (b->ops->alloc(b->dev, &dev, sizeof c->of + sizeof c->off, &err) != LAFS_OK) abort();
    b->ops->upload(b->dev, dev, c->of, sizeof c->of);
    b->ops->upload(b->dev, (char *)dev + sizeof c->of, c->off, sizeof c->off);
    c->some.dev_of = dev;
    c->some.s.dev_off = (int64_t *)dev + MAX_SEQS;
    return &c->some;
}

/* Rows of the chosen sequences, packed. */
static float *pack(struct op *o, const struct lafs_backend *b, const struct lafs_some *c, const char *name)
{
    const struct buf *u = find_buf(o, name);
    struct lafs_err err;
    void *p;
    if (!c || u->absent) return F(o, name);
    size_t row = (size_t)u->width * sizeof(float);
    if (b->ops->alloc(b->dev, &p, (size_t)lafs_seqs_rows(&c->s) * row, &err) != LAFS_OK) abort();
    for (int64_t i = 0; i < c->s.n; i++)
        b->ops->copy(b->dev, (float *)p + c->s.off[i] * u->width, F(o, name) + o->s.off[c->of[i]] * u->width,
                     (size_t)(c->s.off[i + 1] - c->s.off[i]) * row);
    return p;
}
/* Back to where they came from. */
static void unpack(struct op *o, const struct lafs_backend *b, const struct lafs_some *c, const char *name, float *p)
{
    const struct buf *u = find_buf(o, name);
    if (!c || u->absent) return;
    for (int64_t i = 0; i < c->s.n && u->kind != IN; i++)
        b->ops->copy(b->dev, F(o, name) + o->s.off[c->of[i]] * u->width, p + c->s.off[i] * u->width,
                     (size_t)(c->s.off[i + 1] - c->s.off[i]) * (size_t)u->width * sizeof(float));
    b->ops->free(b->dev, p);
}
static void choose_end(const struct lafs_backend *b, const struct lafs_some *c)
{
    if (c) b->ops->free(b->dev, (void *)c->dev_of);
}

static void draw_norm_inputs(struct op *o, int64_t least, int64_t most)
{
    draw_tokens(o);
    o->dim[0] = draw_width(o, least, most);
    if (o->stored && below(o, 0, 3) == 0) o->dim[0] = 8 * below(o, 90, 110); /* about 768, the most that a GPU keeps in registers */
    o->dim[1] = below(o, 0, 3) > 0;
    o->dim[2] = !o->dim[1] || below(o, 0, 3) > 0;
    o->num[1] = below(o, 0, 1) ? 0.3 : 0;
    rows(o, "x", IN, o->dim[0]);
    rows(o, "branch", IN, o->dim[0])->absent = !o->dim[1];
    whole(o, "g", IN, o->dim[0])->absent = !o->dim[2];
    whole(o, "b", IN, o->dim[0])->absent = !o->dim[2];
    per_seq(o, "from", IN, 1)->absent = (int)below(o, 0, 1);
    per_seq(o, "to", IN, 1)->absent = (int)below(o, 0, 1);
    scale_buf(o, "g", 0.5f, 1);
    scale_buf(o, "x", 2, 0.5f);
}
static void draw_add_norm(struct op *o)
{
    draw_norm_inputs(o, 2, 200);
    enum buf_kind kind = find_buf(o, "to")->absent ? OUT : ADD; /* what is not chosen stays */
    rows(o, "x_out", OUT, o->dim[0])->absent = !o->dim[1];
    rows(o, "y", kind, o->dim[0])->absent = !o->dim[2];
    rows(o, "mean", kind, 1)->absent = !o->dim[2];
    rows(o, "rstd", kind, 1)->absent = !o->dim[2] || below(o, 0, 1);
    store(o, " branch y");
}
/* Elements of a buffer that holds rows of all sequences or, packed, of c. */
static int64_t elements(const struct op *o, const struct buf *u, const struct lafs_some *c)
{
    return (c ? lafs_seqs_rows(&c->s) : lafs_seqs_rows(&o->s)) * u->width;
}
static void call_add_norm(struct op *o, const struct lafs_backend *b, float *x_out)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 1), path = drop_of(o, "keys", o->num[1], 2);
    struct chosen from_room, to_room;
    const struct lafs_some *from = choose(o, b, "from", &from_room), *to = choose(o, b, "to", &to_room);
    float *branch = pack(o, b, from, "branch"), *y = pack(o, b, to, "y");
    float *mean = pack(o, b, to, "mean"), *rstd = pack(o, b, to, "rstd");
    if (o->stored && b->ops->bf16) {
        const int64_t nb = elements(o, find_buf(o, "branch"), from), ny = elements(o, find_buf(o, "y"), to);
        struct lafs_bf16 *sb = stored(b, branch, nb), *sy = stored(b, y, ny);
        b->ops->bf16->add_norm(b->dev, &o->s, o->dim[0], F(o, "x"), from, sb, &drop, o->num[1] > 0 ? &path : NULL, to,
                               F(o, "g"), F(o, "b"), x_out, sy, mean, rstd);
        stored_end(o, b, sb, nb, NULL), stored_end(o, b, sy, ny, y);
    } else
        b->ops->add_norm(b->dev, &o->s, o->dim[0], F(o, "x"), from, branch, &drop, o->num[1] > 0 ? &path : NULL, to,
                         F(o, "g"), F(o, "b"), x_out, y, mean, rstd);
    unpack(o, b, from, "branch", branch);
    unpack(o, b, to, "y", y);
    unpack(o, b, to, "mean", mean);
    unpack(o, b, to, "rstd", rstd);
    choose_end(b, from);
    choose_end(b, to);
}
static void run_add_norm(struct op *o, const struct lafs_backend *b) { call_add_norm(o, b, F(o, "x_out")); }
static void draw_add_norm_in_place(struct op *o)
{
    draw_add_norm(o);
    find_buf(o, "x")->kind = o->dim[1] ? ADD : IN;
    find_buf(o, "x_out")->absent = 1;
}
static void run_add_norm_in_place(struct op *o, const struct lafs_backend *b) { call_add_norm(o, b, F(o, "x")); }

/* Objective: y.dy + x_out.later; `later` is what dx holds before the call. Without a branch x_out is x. */
static void draw_add_norm_bwd_of(struct op *o, int64_t least, int64_t most)
{
    draw_norm_inputs(o, least, most);
    rows(o, "x_out", IN, o->dim[0]);
    rows(o, "y", IN, o->dim[0])->absent = !o->dim[2];
    rows(o, "mean", IN, 1)->absent = !o->dim[2];
    rows(o, "rstd", IN, 1)->absent = !o->dim[2];
    rows(o, "dy", IN, o->dim[0])->absent = !o->dim[2];
    rows(o, "dx", ADD, o->dim[0]);
    rows(o, "dbranch", find_buf(o, "from")->absent ? OUT : ADD, o->dim[0])->absent = !o->dim[1];
    whole(o, "dg", ADD, o->dim[0])->absent = !o->dim[2];
    whole(o, "db", ADD, o->dim[0])->absent = !o->dim[2];
    for (int64_t e = 0; e < count_of(o, find_buf(o, "dbranch")); e++) init_f(o, "dbranch")[e] = 0;
    if (o->stored) whole(o, "dbias", ADD, o->dim[0])->absent = find_buf(o, "dbranch")->absent || below(o, 0, 2) == 0;
    store(o, " dy dbranch");
}
static void draw_add_norm_bwd(struct op *o) { draw_add_norm_bwd_of(o, 2, 200); }
/* More columns than are summed at a time. */
static void draw_add_norm_bwd_wide(struct op *o) { draw_add_norm_bwd_of(o, 257, 600); }
static void prepare_add_norm_bwd(struct op *o, const struct lafs_backend *ref)
{
    static const char *const made[] = {"x_out", "y", "mean", "rstd"};
    run_ref_into(o, run_add_norm, ref, 4, made);
    struct buf *x = find_buf(o, "x");
    if (!o->dim[1]) memcpy(find_buf(o, "x_out")->init, x->init, bytes_of(o, x));
}
static void run_add_norm_bwd(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 1), path = drop_of(o, "keys", o->num[1], 2);
    struct chosen from_room, to_room;
    const struct lafs_some *from = choose(o, b, "from", &from_room), *to = choose(o, b, "to", &to_room);
    float *dy = pack(o, b, to, "dy"), *mean = pack(o, b, to, "mean"), *rstd = pack(o, b, to, "rstd");
    float *dbranch = pack(o, b, from, "dbranch");
    if (o->stored && b->ops->bf16) {
        const int64_t ny = elements(o, find_buf(o, "dy"), to), nb = elements(o, find_buf(o, "dbranch"), from);
        struct lafs_bf16 *sy = stored(b, dy, ny), *sb = stored(b, dbranch, nb);
        b->ops->bf16->add_norm_bwd(b->dev, &o->s, o->dim[0], to, sy, F(o, "x_out"), mean, rstd, F(o, "g"), from, &drop,
                                   o->num[1] > 0 ? &path : NULL, F(o, "dx"), sb, F(o, "dg"), F(o, "db"),
                                   F(o, "dbias"));
        stored_end(o, b, sy, ny, NULL), stored_end(o, b, sb, nb, dbranch);
    } else
        b->ops->add_norm_bwd(b->dev, &o->s, o->dim[0], to, dy, F(o, "x_out"), mean, rstd, F(o, "g"), from, &drop,
                             o->num[1] > 0 ? &path : NULL, F(o, "dx"), dbranch, F(o, "dg"), F(o, "db"));
    unpack(o, b, to, "dy", dy);
    unpack(o, b, to, "mean", mean);
    unpack(o, b, to, "rstd", rstd);
    unpack(o, b, from, "dbranch", dbranch);
    if (o->stored && !b->ops->bf16) add_columns(o, b, "dbranch", "dbias");
    choose_end(b, from);
    choose_end(b, to);
}
static double objective_add_norm(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_add_norm, ref);
    const float *later = init_f(o, "dx"), *out = o->dim[1] ? result(o, "x_out") : init_f(o, "x");
    double sum = o->dim[2] ? weighted(o, "y", "dy") : 0;
    for (int64_t e = 0; e < count_of(o, find_buf(o, "dx")); e++) sum += (double)later[e] * out[e];
    return sum;
}
/* "dx" is += and holds `later` before; the gradient by x is all of it, so it counts as written here. */
static double objective_add_norm_x(struct op *o, const struct lafs_backend *ref)
{
    double sum = objective_add_norm(o, ref);
    const float *later = init_f(o, "dx"), *x = init_f(o, "x");
    for (int64_t e = 0; e < count_of(o, find_buf(o, "dx")); e++) sum -= (double)later[e] * x[e];
    return sum;
}

/* -- attention: dim 0 heads, 1: one query a sequence (else one a row, in one matrix with k and v) -- */
static int64_t beyond(const struct op *o) { return o->stored ? 8 : 3; } /* between rows of q */
/* A GPU has three ways of its own for what is bf16 in memory, by length: a sequence for each, the longest one at times. */
static void draw_lengths(struct op *o)
{
    const int64_t length[4] = {below(o, 1, 64), below(o, 65, 208), below(o, 1, 64), below(o, 209, 270)};
    o->s.n = below(o, 0, 1) ? 4 : 3;
    for (int64_t i = 0; i < o->s.n; i++) o->off[i + 1] = o->off[i] + length[i];
    o->s.off = o->s.dev_off = o->off;
    o->s.max_len = o->s.n == 4 ? length[3] : length[1];
}
/* Some sequence has `least` rows or more. */
static void draw_attention_inputs(struct op *o, int64_t longest, int64_t least)
{
    if (o->stored && below(o, 0, 2)) draw_lengths(o);
    else draw_seqs(o, longest);
    if (o->s.max_len < least) o->off[o->s.n] += least - o->s.max_len, o->s.max_len = least;
    o->dim[0] = below(o, 1, 3);
    o->dim[1] = below(o, 0, 2) == 0;
    o->num[0] = below(o, 0, 1) ? 0.125 : 0.4;
    per_seq(o, "q", IN, 64 * o->dim[0] + beyond(o))->absent = !o->dim[1];
    rows(o, "qkv", IN, (o->dim[1] ? 2 : 3) * 64 * o->dim[0]);
}
/* Buffers with a row a query. */
static struct buf *queries(struct op *o, const char *name, enum buf_kind kind, int64_t width)
{
    return add_buf(o, name, kind, o->dim[1] ? PER_SEQ : PER_ROW, width, 4);
}
/* Where things are: q, kv and their strides. */
struct heads {
    struct lafs_seqs qs;
    int64_t off[MAX_SEQS + 1], ldq, ldkv;
    float *q, *kv;
};
static void heads_of(struct op *o, const struct lafs_backend *b, const char *q, const char *qkv, struct heads *h)
{
    int64_t wide = 64 * o->dim[0];
    struct lafs_err err;
    void *dev;
    h->qs = o->s;
    h->ldq = o->dim[1] ? wide + beyond(o) : 3 * wide;
    h->ldkv = o->dim[1] ? 2 * wide : 3 * wide;
    h->q = o->dim[1] ? F(o, q) : F(o, qkv);
    h->kv = o->dim[1] ? F(o, qkv) : F(o, qkv) + wide;
    for (int64_t i = 0; i <= o->s.n; i++) h->off[i] = i;
    if (b->ops->alloc(b->dev, &dev, sizeof h->off, &err) != LAFS_OK) abort();
    b->ops->upload(b->dev, dev, h->off, sizeof h->off);
    if (o->dim[1]) h->qs = (struct lafs_seqs){o->s.n, h->off, dev, 1};
    else b->ops->free(b->dev, dev);
}
static void heads_end(struct op *o, const struct lafs_backend *b, struct heads *h)
{
    if (o->dim[1]) b->ops->free(b->dev, (void *)h->qs.dev_off);
}
static void draw_attention(struct op *o)
{
    draw_attention_inputs(o, 270, 1);
    queries(o, "out", OUT, 64 * o->dim[0]);
    queries(o, "lse", OUT, o->dim[0])->absent = (int)below(o, 0, 1);
    store(o, " q qkv out");
}
static void run_attention(struct op *o, const struct lafs_backend *b)
{
    struct heads h;
    heads_of(o, b, "q", "qkv", &h);
    b->ops->attention(b->dev, o->precision, &h.qs, &o->s, o->dim[0], (float)o->num[0], h.q, h.ldq, h.kv,
                      h.ldkv, F(o, "out"), F(o, "lse"));
    heads_end(o, b, &h);
}
/* q and kv of stored arrays. */
static void heads_stored(struct op *o, struct lafs_bf16 *q, struct lafs_bf16 *qkv, struct lafs_bf16 *out[2])
{
    out[0] = o->dim[1] ? q : qkv;
    out[1] = o->dim[1] ? qkv : qkv + 64 * o->dim[0];
}
static void run_attention_stored(struct op *o, const struct lafs_backend *b)
{
    struct lafs_bf16 *q, *qkv, *out, *in[2];
    struct heads h;
    if (!b->ops->bf16) {
        run_attention(o, b);
        return;
    }
    heads_of(o, b, "q", "qkv", &h);
    q = S(o, b, "q"), qkv = S(o, b, "qkv"), out = S(o, b, "out");
    heads_stored(o, q, qkv, in);
    b->ops->bf16->attention(b->dev, &h.qs, &o->s, o->dim[0], (float)o->num[0], in[0], h.ldq, in[1], h.ldkv, out,
                            F(o, "lse"));
    S_end(o, b, "q", q), S_end(o, b, "qkv", qkv), S_end(o, b, "out", out);
    heads_end(o, b, &h);
}
static void draw_attention_bwd(struct op *o)
{
    draw_attention_inputs(o, 100, 2); /* of a single key q has no gradient, only what rounding leaves */
    queries(o, "out", IN, 64 * o->dim[0]);
    queries(o, "lse", IN, o->dim[0]);
    queries(o, "dout", IN, 64 * o->dim[0]);
    per_seq(o, "dq", ADD, 64 * o->dim[0] + beyond(o))->absent = !o->dim[1]; /* what lies between rows stays */
    rows(o, "dqkv", OUT, (o->dim[1] ? 2 : 3) * 64 * o->dim[0]);
    for (int64_t e = 0; e < count_of(o, find_buf(o, "dq")); e++) init_f(o, "dq")[e] = 0;
    store(o, " q qkv out dout dq dqkv");
}
static void prepare_attention_bwd(struct op *o, const struct lafs_backend *ref)
{
    static const char *const made[] = {"out", "lse"};
    run_ref_into(o, run_attention, ref, 2, made);
}
static void run_attention_bwd(struct op *o, const struct lafs_backend *b)
{
    struct heads h, g;
    heads_of(o, b, "q", "qkv", &h);
    heads_of(o, b, "dq", "dqkv", &g);
    b->ops->attention_bwd(b->dev, o->precision, &h.qs, &o->s, o->dim[0], (float)o->num[0], h.q, h.ldq, h.kv,
                          h.ldkv, F(o, "out"), F(o, "lse"), F(o, "dout"), g.q, g.kv);
    heads_end(o, b, &g);
    heads_end(o, b, &h);
}
static void run_attention_bwd_stored(struct op *o, const struct lafs_backend *b)
{
    struct lafs_bf16 *q, *qkv, *out, *dout, *dq, *dqkv, *in[2], *to[2];
    struct heads h;
    if (!b->ops->bf16) {
        run_attention_bwd(o, b);
        return;
    }
    heads_of(o, b, "q", "qkv", &h);
    q = S(o, b, "q"), qkv = S(o, b, "qkv"), out = S(o, b, "out");
    dout = S(o, b, "dout"), dq = S(o, b, "dq"), dqkv = S(o, b, "dqkv");
    heads_stored(o, q, qkv, in);
    heads_stored(o, dq, dqkv, to);
    b->ops->bf16->attention_bwd(b->dev, &h.qs, &o->s, o->dim[0], (float)o->num[0], in[0], h.ldq, in[1], h.ldkv, out,
                                F(o, "lse"), dout, to[0], to[1]);
    S_end(o, b, "q", q), S_end(o, b, "qkv", qkv), S_end(o, b, "out", out);
    S_end(o, b, "dout", dout), S_end(o, b, "dq", dq), S_end(o, b, "dqkv", dqkv);
    heads_end(o, b, &h);
}
static double objective_attention(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_attention, ref);
    return weighted(o, "out", "dout");
}

static const struct op_case cases[] = {
    {"assemble", draw_assemble, run_assemble},
    {"assemble_bwd", draw_assemble_bwd, run_assemble_bwd, .objective = objective_assemble,
     .grad = {{"proj", "dproj"}, {"cls", "dcls"}, {"pos", "dpos"}}, .step = 0.25},
    {"add_norm", draw_add_norm, run_add_norm},
    {"add_norm in place", draw_add_norm_in_place, run_add_norm_in_place},
    {"add_norm_bwd",
     draw_add_norm_bwd,
     run_add_norm_bwd,
     prepare_add_norm_bwd,
     objective_add_norm,
     {{"branch", "dbranch"}, {"g", "dg"}, {"b", "db"}},
     .step = 0.02},
    {"add_norm_bwd x",
     draw_add_norm_bwd,
     run_add_norm_bwd,
     prepare_add_norm_bwd,
     objective_add_norm_x,
     {{"x", "dx"}},
     .step = 0.02},
    {"add_norm_bwd wide", draw_add_norm_bwd_wide, run_add_norm_bwd, prepare_add_norm_bwd, .rounds = 3},
    {"attention", draw_attention, run_attention},
    {"attention_bwd",
     draw_attention_bwd,
     run_attention_bwd,
     prepare_attention_bwd,
     objective_attention,
     {{"qkv", "dqkv"}, {"q", "dq"}},
     .step = 0.05},
    /* Probabilities that both round to bf16 may round to neighbours: 2^-8 of one of many terms. */
    {"attention bf16", draw_attention, run_attention, .precision = LAFS_PRECISION_BF16, .tol = 1e-3},
    {"attention bf16x3", draw_attention, run_attention, .precision = LAFS_PRECISION_BF16X3},
    {"attention_bwd bf16", draw_attention_bwd, run_attention_bwd, prepare_attention_bwd,
     .precision = LAFS_PRECISION_BF16, .tol = 2e-3},
    /* What is written in bf16 is rounded, by 2^-8 at most. */
    {"add_norm stored", draw_add_norm, run_add_norm, .stored = 1, .tol = 0x1p-8 + 1e-5},
    {"add_norm in place stored", draw_add_norm_in_place, run_add_norm_in_place, .stored = 1, .tol = 0x1p-8 + 1e-5},
    {"add_norm_bwd stored", draw_add_norm_bwd, run_add_norm_bwd, prepare_add_norm_bwd, .stored = 1,
     .tol = 0x1p-8 + 1e-5},
    {"attention stored", draw_attention, run_attention_stored, .stored = 1, .tol = 0x1p-8 + 1e-3},
    {"attention_bwd stored", draw_attention_bwd, run_attention_bwd_stored, prepare_attention_bwd, .stored = 1,
     .tol = 0x1p-8 + 2e-3},
    {"attention_bwd bf16x3", draw_attention_bwd, run_attention_bwd, prepare_attention_bwd,
     .precision = LAFS_PRECISION_BF16X3},
};
OPS_MAIN(cases)
