#include "tests/ops/table.h"

/* dim: 0 in, 1 out, 2 act; num 0: dropout. */
static void draw_linear(struct op *o)
{
    draw_seqs(o, 300);
    o->dim[0] = draw_width(o, 1, 300);
    o->dim[1] = draw_width(o, 1, 150);
    o->dim[2] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    o->num[0] = below(o, 0, 1) ? 0.1 : 0;
    rows(o, "x", IN, o->dim[0]);
    whole(o, "w", IN, o->dim[0] * o->dim[1]);
    whole(o, "b", IN, o->dim[1])->absent = (int)below(o, 0, 1);
    rows(o, "pre", OUT, o->dim[1])->absent = (int)below(o, 0, 1);
    rows(o, "y", OUT, o->dim[1]);
    draw_keys(o, "keys");
    scale_buf(o, "w", 0.3f, 0);
    store(o, " x w b pre y");
}
static void run_linear(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 3);
    b->ops->linear(b->dev, o->precision, &o->s, o->dim[0], o->dim[1], F(o, "x"), F(o, "w"), F(o, "b"),
                   (enum lafs_act)o->dim[2], o->num[0] > 0 ? &drop : NULL, F(o, "pre"), F(o, "y"));
}
static void run_linear_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_linear(o, b);
        return;
    }
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 3);
    struct lafs_bf16 *x = S(o, b, "x"), *w = S(o, b, "w"), *bias = S(o, b, "b"), *pre = S(o, b, "pre"), *y = S(o, b, "y");
    b->ops->bf16->linear(b->dev, &o->s, o->dim[0], o->dim[1], x, w, bias, (enum lafs_act)o->dim[2],
                         o->num[0] > 0 ? &drop : NULL, pre, y);
    S_end(o, b, "x", x), S_end(o, b, "w", w), S_end(o, b, "b", bias), S_end(o, b, "pre", pre), S_end(o, b, "y", y);
}
/* Wide outputs and long products: the DINO head's last layer, the classifier. */
static void draw_wide(struct op *o)
{
    draw_images(o, 9);
    o->dim[0] = below(o, 200, 900);
    o->dim[1] = below(o, 1000, 5000);
    o->dim[2] = LAFS_ACT_NONE;
    o->num[0] = 0;
    rows(o, "x", IN, o->dim[0]);
    whole(o, "w", IN, o->dim[0] * o->dim[1]);
    whole(o, "b", IN, o->dim[1]);
    rows(o, "pre", OUT, o->dim[1])->absent = 1;
    rows(o, "y", OUT, o->dim[1]);
    draw_keys(o, "keys");
}

/* Backward: the forward op with act none, no dropout. */
static void run_plain(struct op *o, const struct lafs_backend *b)
{
    b->ops->linear(b->dev, o->precision, &o->s, o->dim[0], o->dim[1], F(o, "x"), F(o, "w"), F(o, "b"), LAFS_ACT_NONE,
                   NULL, NULL, F(o, "y"));
}
static double objective_linear(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_plain, ref);
    return weighted(o, "y", "dy");
}
static void draw_linear_bwd(struct op *o)
{
    draw_seqs(o, 290);
    o->dim[0] = draw_width(o, 1, 200);
    o->dim[1] = draw_width(o, 1, 120);
    rows(o, "x", IN, o->dim[0]);
    whole(o, "w", IN, o->dim[0] * o->dim[1]);
    whole(o, "b", IN, o->dim[1]);
    rows(o, "dy", IN, o->dim[1]);
    rows(o, "y", IN, o->dim[1]); /* room for the objective */
}
static void draw_bwd_x(struct op *o)
{
    draw_linear_bwd(o);
    rows(o, "dx", OUT, o->dim[0]);
    store(o, " dy w dx");
}
static void run_bwd_x(struct op *o, const struct lafs_backend *b)
{
    b->ops->linear_bwd_x(b->dev, o->precision, &o->s, o->dim[0], o->dim[1], F(o, "dy"), F(o, "w"), F(o, "dx"));
}
static void run_bwd_x_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_bwd_x(o, b);
        return;
    }
    struct lafs_bf16 *dy = S(o, b, "dy"), *w = S(o, b, "w"), *dx = S(o, b, "dx");
    b->ops->bf16->linear_bwd_x(b->dev, &o->s, o->dim[0], o->dim[1], dy, w, dx);
    S_end(o, b, "dy", dy), S_end(o, b, "w", w), S_end(o, b, "dx", dx);
}
static void draw_bwd_w(struct op *o)
{
    draw_linear_bwd(o);
    whole(o, "dw", ADD, o->dim[0] * o->dim[1]);
    whole(o, "db", ADD, o->dim[1])->absent = o->stored || below(o, 0, 1);
    store(o, " x dy");
}
static void run_bwd_w(struct op *o, const struct lafs_backend *b)
{
    b->ops->linear_bwd_w(b->dev, o->precision, lafs_seqs_rows(&o->s), o->dim[0], o->dim[1], F(o, "x"), F(o, "dy"),
                         F(o, "dw"), F(o, "db"));
}
static void run_bwd_w_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_bwd_w(o, b);
        return;
    }
    struct lafs_bf16 *x = S(o, b, "x"), *dy = S(o, b, "dy");
    b->ops->bf16->linear_bwd_w(b->dev, lafs_seqs_rows(&o->s), o->dim[0], o->dim[1], x, dy, F(o, "dw"));
    S_end(o, b, "x", x), S_end(o, b, "dy", dy);
}
static void draw_bwd_w_long(struct op *o)
{
    draw_seqs(o, 3000);
    o->dim[0] = draw_width(o, 1, 70);
    o->dim[1] = draw_width(o, 1, 70);
    rows(o, "x", IN, o->dim[0]);
    rows(o, "dy", IN, o->dim[1]);
    whole(o, "dw", ADD, o->dim[0] * o->dim[1]);
    whole(o, "db", ADD, o->dim[1])->absent = o->stored;
    store(o, " x dy");
}

/* Behind a linear layer: dx = drop(dy) act'(pre). dim: 1 width, 2 act. */
static void draw_act_bwd(struct op *o)
{
    draw_seqs(o, 60);
    o->dim[1] = draw_width(o, 1, 150);
    o->dim[2] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    o->num[0] = below(o, 0, 1) ? 0.1 : 0;
    rows(o, "pre", IN, o->dim[1]);
    rows(o, "dx", ADD, o->dim[1]);
    draw_keys(o, "keys");
    scale_buf(o, "pre", 3.9f, 0);
    whole(o, "dbias", ADD, o->dim[1])->absent = (int)below(o, 0, 2) == 0;
    store(o, " pre dx");
}
static void run_act_bwd_stored(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_drop drop = drop_of(o, "keys", o->num[0], 3);
    const enum lafs_act act = (enum lafs_act)o->dim[2];
    if (!b->ops->bf16) {
        b->ops->dropout(b->dev, &o->s, o->dim[1], &drop, F(o, "dx"), F(o, "dx"));
        b->ops->act_bwd(b->dev, lafs_seqs_rows(&o->s) * o->dim[1], act, F(o, "pre"), F(o, "dx"), F(o, "dx"));
        add_columns(o, b, "dx", "dbias");
        return;
    }
    struct lafs_bf16 *pre = S(o, b, "pre"), *dx = S(o, b, "dx");
    b->ops->bf16->act_bwd(b->dev, &o->s, o->dim[1], act, &drop, pre, dx, dx, F(o, "dbias"));
    S_end(o, b, "pre", pre), S_end(o, b, "dx", dx);
}

/* What is written in bf16 is rounded, by 2^-8 at most; what act is applied to, before that. */
#define STORED .stored = 1, .tol = 0x1p-8 + 1e-5
static const struct op_case cases[] = {
    {"linear", draw_linear, run_linear},
    {"linear wide", draw_wide, run_linear},
    {"linear_bwd_x", draw_bwd_x, run_bwd_x, .objective = objective_linear, .grad = {{"x", "dx"}}, .step = 0.25},
    {"linear_bwd_w", draw_bwd_w, run_bwd_w, .objective = objective_linear, .grad = {{"w", "dw"}, {"b", "db"}},
     .step = 0.25},
    {"linear_bwd_w long", draw_bwd_w_long, run_bwd_w},
    {"linear bf16", draw_linear, run_linear, .precision = LAFS_PRECISION_BF16},
    {"linear bf16x3", draw_linear, run_linear, .precision = LAFS_PRECISION_BF16X3},
    {"linear wide bf16", draw_wide, run_linear, .precision = LAFS_PRECISION_BF16},
    {"linear_bwd_x bf16", draw_bwd_x, run_bwd_x, .precision = LAFS_PRECISION_BF16},
    {"linear_bwd_x bf16x3", draw_bwd_x, run_bwd_x, .precision = LAFS_PRECISION_BF16X3},
    {"linear_bwd_w bf16", draw_bwd_w, run_bwd_w, .precision = LAFS_PRECISION_BF16},
    {"linear_bwd_w bf16x3", draw_bwd_w, run_bwd_w, .precision = LAFS_PRECISION_BF16X3},
    {"linear stored", draw_linear, run_linear_stored, .stored = 1, .tol = 0x1p-7},
    {"linear_bwd_x stored", draw_bwd_x, run_bwd_x_stored, STORED},
    {"linear_bwd_w stored", draw_bwd_w, run_bwd_w_stored, STORED},
    {"linear_bwd_w long stored", draw_bwd_w_long, run_bwd_w_stored, STORED},
    {"act_bwd stored", draw_act_bwd, run_act_bwd_stored, STORED},
    {"linear_bwd_w long bf16", draw_bwd_w_long, run_bwd_w, .precision = LAFS_PRECISION_BF16},
};
OPS_MAIN(cases)
