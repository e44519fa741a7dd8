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

/* -- add_norm: dim 0 width, 1: branch, 2: norm, 3: in place; num 0 dropout, 1 drop-path -- */
static void draw_norm_inputs(struct op *o)
{
    draw_tokens(o);
    o->dim[0] = below(o, 2, 200);
    o->dim[1] = below(o, 0, 3) > 0;
    o->dim[2] = !o->dim[1] || below(o, 0, 3) > 0;
    o->num[1] = below(o, 0, 1) ? 0.3 : 0;
    rows(o, "x", IN, o->dim[0]);
    rows(o, "branch", IN, o->dim[0])->absent = !o->dim[1];
    whole(o, "g", IN, o->dim[0])->absent = !o->dim[2];
    whole(o, "b", IN, o->dim[0])->absent = !o->dim[2];
    scale_buf(o, "g", 0.5f, 1);
    scale_buf(o, "x", 2, 0.5f);
}
static void draw_add_norm(struct op *o)
{
    draw_norm_inputs(o);
    rows(o, "x_out", OUT, o->dim[0])->absent = !o->dim[1];
    rows(o, "y", OUT, o->dim[0])->absent = !o->dim[2];
    rows(o, "mean", OUT, 1)->absent = !o->dim[2];
    rows(o, "rstd", OUT, 1)->absent = !o->dim[2] || below(o, 0, 1);
}
static void run_add_norm(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 1), path = drop_of(o, "keys", o->num[1], 2);
    b->ops->add_norm(b->dev, &o->s, o->dim[0], F(o, "x"), F(o, "branch"), &drop, o->num[1] > 0 ? &path : NULL,
                     F(o, "g"), F(o, "b"), F(o, "x_out"), F(o, "y"), F(o, "mean"), F(o, "rstd"));
}
static void draw_add_norm_in_place(struct op *o)
{
    draw_add_norm(o);
    find_buf(o, "x")->kind = o->dim[1] ? ADD : IN;
    find_buf(o, "x_out")->absent = 1;
}
static void run_add_norm_in_place(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 1), path = drop_of(o, "keys", o->num[1], 2);
    b->ops->add_norm(b->dev, &o->s, o->dim[0], F(o, "x"), F(o, "branch"), &drop, &path, F(o, "g"), F(o, "b"), F(o, "x"),
                     F(o, "y"), F(o, "mean"), F(o, "rstd"));
}

/* Objective: y.dy + x_out.later; `later` is what dx holds before the call. Without a branch x_out is x. */
static void draw_add_norm_bwd(struct op *o)
{
    draw_norm_inputs(o);
    rows(o, "x_out", IN, o->dim[0]);
    rows(o, "y", IN, o->dim[0])->absent = !o->dim[2];
    rows(o, "mean", IN, 1)->absent = !o->dim[2];
    rows(o, "rstd", IN, 1)->absent = !o->dim[2];
    rows(o, "dy", IN, o->dim[0])->absent = !o->dim[2];
    rows(o, "dx", ADD, o->dim[0]);
    rows(o, "dbranch", OUT, o->dim[0])->absent = !o->dim[1];
    whole(o, "dg", ADD, o->dim[0])->absent = !o->dim[2];
    whole(o, "db", ADD, o->dim[0])->absent = !o->dim[2];
}
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
    b->ops->add_norm_bwd(b->dev, &o->s, o->dim[0], F(o, "dy"), F(o, "x_out"), F(o, "mean"), F(o, "rstd"), F(o, "g"),
                         &drop, o->num[1] > 0 ? &path : NULL, F(o, "dx"), F(o, "dbranch"), F(o, "dg"), F(o, "db"));
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

/* -- attention: dim 0 heads -- */
static void draw_attention(struct op *o)
{
    draw_seqs(o, 270);
    o->dim[0] = below(o, 1, 4);
    o->num[0] = below(o, 0, 1) ? 0.125 : 0.7;
    rows(o, "qkv", IN, 3 * 64 * o->dim[0]);
    rows(o, "out", OUT, 64 * o->dim[0]);
    rows(o, "lse", OUT, o->dim[0])->absent = (int)below(o, 0, 1);
}
static void run_attention(struct op *o, const struct lafs_backend *b)
{
    b->ops->attention(b->dev, o->precision, &o->s, o->dim[0], (float)o->num[0], F(o, "qkv"), F(o, "out"), F(o, "lse"));
}
static void draw_attention_bwd(struct op *o)
{
    draw_seqs(o, 100);
    o->dim[0] = below(o, 1, 3);
    o->num[0] = below(o, 0, 1) ? 0.125 : 0.4;
    rows(o, "qkv", IN, 3 * 64 * o->dim[0]);
    rows(o, "out", IN, 64 * o->dim[0]);
    rows(o, "lse", IN, o->dim[0]);
    rows(o, "dout", IN, 64 * o->dim[0]);
    rows(o, "dqkv", OUT, 3 * 64 * o->dim[0]);
}
static void prepare_attention_bwd(struct op *o, const struct lafs_backend *ref)
{
    static const char *const made[] = {"out", "lse"};
    run_ref_into(o, run_attention, ref, 2, made);
}
static void run_attention_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->attention_bwd(b->dev, o->precision, &o->s, o->dim[0], (float)o->num[0], F(o, "qkv"), F(o, "out"),
                          F(o, "lse"), F(o, "dout"), F(o, "dqkv"));
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
    {"attention", draw_attention, run_attention},
    {"attention_bwd",
     draw_attention_bwd,
     run_attention_bwd,
     prepare_attention_bwd,
     objective_attention,
     {{"qkv", "dqkv"}},
     .step = 0.05},
    /* Probabilities that both round to bf16 may round to neighbours: 2^-8 of one of many terms. */
    {"attention bf16", draw_attention, run_attention, .precision = LAFS_PRECISION_BF16, .tol = 1e-3},
    {"attention bf16x3", draw_attention, run_attention, .precision = LAFS_PRECISION_BF16X3},
    {"attention_bwd bf16", draw_attention_bwd, run_attention_bwd, prepare_attention_bwd,
     .precision = LAFS_PRECISION_BF16, .tol = 2e-3},
    {"attention_bwd bf16x3", draw_attention_bwd, run_attention_bwd, prepare_attention_bwd,
     .precision = LAFS_PRECISION_BF16X3},
};
OPS_MAIN(cases)
