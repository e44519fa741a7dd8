#include "tests/ops/table.h"

static void draw_flat(struct op *o)
{
    o->dim[0] = below(o, 1, 70000);
    whole(o, "x", IN, o->dim[0]);
    whole(o, "y", ADD, o->dim[0]);
}
static void run_scale(struct op *o, const struct lafs_backend *b) { b->ops->scale(b->dev, o->dim[0], 0.7f, F(o, "y")); }
static void run_axpy(struct op *o, const struct lafs_backend *b)
{
    b->ops->axpy(b->dev, o->dim[0], -1.3f, F(o, "x"), F(o, "y"));
}
static void draw_lerp(struct op *o)
{
    draw_flat(o);
    *(double *)add_buf(o, "m", IN, WHOLE, 1, 8)->init = 0.996f;
}
static void run_lerp(struct op *o, const struct lafs_backend *b)
{
    b->ops->lerp(b->dev, o->dim[0], P(o, "m"), F(o, "x"), F(o, "y"));
}

static void draw_act(struct op *o)
{
    o->dim[0] = below(o, 1, 5000);
    o->dim[1] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    whole(o, "pre", IN, o->dim[0]);
    whole(o, "dy", IN, o->dim[0]);
    whole(o, "dx", OUT, o->dim[0])->tol = 2e-6;
    scale_buf(o, "pre", 7, 0);
    /* Finite differences must not straddle a kink. */
    float *pre = init_f(o, "pre");
    for (int64_t i = 0; i < o->dim[0]; i++)
        for (int kink = -3; kink <= 3; kink += 3)
            if (fabsf(pre[i] - (float)kink) < 0.03f) pre[i] += 0.08f;
}
static void run_act_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->act_bwd(b->dev, o->dim[0], (enum lafs_act)o->dim[1], F(o, "pre"), F(o, "dy"), F(o, "dx"));
}
/* The activation itself, through linear with the identity: y_i = act(pre_i 1 + 0) with in = out = 1. */
static double objective_act(struct op *o, const struct lafs_backend *ref)
{
    double sum = 0;
    const float *pre = init_f(o, "pre"), *dy = init_f(o, "dy");
    float one = 1;
    for (int64_t i = 0; i < o->dim[0]; i++) {
        int64_t off[2] = {0, 1};
        struct lafs_seqs s = {1, off, off, 1};
        float y;
        ref->ops->linear(ref->dev, LAFS_PRECISION_FP32, &s, 1, 1, &pre[i], &one, NULL, (enum lafs_act)o->dim[1], NULL,
                         NULL, &y);
        sum += (double)y * dy[i];
    }
    return sum;
}

static void draw_act_in_place(struct op *o)
{
    draw_act(o);
    find_buf(o, "dx")->kind = ADD;
}
static void run_act_in_place(struct op *o, const struct lafs_backend *b)
{
    b->ops->act_bwd(b->dev, o->dim[0], (enum lafs_act)o->dim[1], F(o, "pre"), F(o, "dx"), F(o, "dx"));
}

static void draw_dropout(struct op *o)
{
    draw_seqs(o, 300);
    o->dim[0] = below(o, 1, 50);
    o->num[0] = (double)below(o, 0, 9) / 10;
    rows(o, "x", IN, o->dim[0]);
    rows(o, "y", OUT, o->dim[0])->tol = 1e-6;
    draw_keys(o, "keys");
}
static void run_dropout(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 5);
    b->ops->dropout(b->dev, &o->s, o->dim[0], &drop, F(o, "x"), F(o, "y"));
}
static void draw_dropout_in_place(struct op *o)
{
    draw_dropout(o);
    find_buf(o, "y")->kind = ADD;
}
static void run_dropout_in_place(struct op *o, const struct lafs_backend *b)
{
    struct lafs_drop drop = drop_of(o, "keys", o->num[0], 5);
    b->ops->dropout(b->dev, &o->s, o->dim[0], &drop, F(o, "y"), F(o, "y"));
}
static void run_dropout_none(struct op *o, const struct lafs_backend *b)
{
    b->ops->dropout(b->dev, &o->s, o->dim[0], NULL, F(o, "x"), F(o, "y"));
}

static void draw_u8(struct op *o)
{
    o->dim[0] = below(o, 1, 40000);
    add_buf(o, "x", IN, WHOLE, o->dim[0], 1);
    whole(o, "y", OUT, o->dim[0])->tol = 1.2e-7;
}
static void run_u8(struct op *o, const struct lafs_backend *b)
{
    b->ops->u8_to_f32(b->dev, o->dim[0], P(o, "x"), F(o, "y"));
}

static void draw_gather(struct op *o)
{
    o->dim[0] = below(o, 1, 60);             /* rows */
    o->dim[1] = below(o, 1, o->dim[0]);      /* n */
    o->dim[2] = below(o, 1, 70);             /* width */
    int64_t *row = (void *)add_buf(o, "row", IN, WHOLE, o->dim[1], 8)->init;
    for (int64_t i = 0; i < o->dim[1]; i++) row[i] = i * o->dim[0] / o->dim[1];
    whole(o, "x", IN, o->dim[0] * o->dim[2]);
    whole(o, "y", OUT, o->dim[1] * o->dim[2])->tol = 0;
    store(o, " x y");
}
static void run_gather(struct op *o, const struct lafs_backend *b)
{
    b->ops->rows_gather(b->dev, o->dim[1], o->dim[2], P(o, "row"), F(o, "x"), F(o, "y"));
}
static void draw_scatter(struct op *o)
{
    draw_gather(o);
    find_buf(o, "y")->kind = IN;
    find_buf(o, "x")->kind = OUT;
    find_buf(o, "x")->tol = 0;
}
static void run_scatter(struct op *o, const struct lafs_backend *b)
{
    b->ops->rows_scatter(b->dev, o->dim[1], o->dim[0], o->dim[2], P(o, "row"), F(o, "y"), F(o, "x"), 0);
}
static void draw_scatter_add(struct op *o)
{
    draw_scatter(o);
    find_buf(o, "x")->kind = ADD;
}
static void run_scatter_add(struct op *o, const struct lafs_backend *b)
{
    b->ops->rows_scatter(b->dev, o->dim[1], o->dim[0], o->dim[2], P(o, "row"), F(o, "y"), F(o, "x"), 1);
}

/* The two over bf16 in memory; what is only moved keeps its bits. */
static void run_gather_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_gather(o, b);
        return;
    }
    struct lafs_bf16 *x = S(o, b, "x"), *y = S(o, b, "y");
    b->ops->bf16->rows_gather(b->dev, o->dim[1], o->dim[2], P(o, "row"), x, y);
    S_end(o, b, "x", x), S_end(o, b, "y", y);
}
static void run_add_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_scatter_add(o, b);
        return;
    }
    struct lafs_bf16 *y = S(o, b, "y"), *x = S(o, b, "x");
    b->ops->bf16->rows_add(b->dev, o->dim[1], o->dim[2], P(o, "row"), y, x);
    S_end(o, b, "y", y), S_end(o, b, "x", x);
}

static const struct op_case cases[] = {
    {"scale", draw_flat, run_scale},
    {"axpy", draw_flat, run_axpy},
    {"lerp", draw_lerp, run_lerp},
    {"act_bwd", draw_act, run_act_bwd, .objective = objective_act, .grad = {{"pre", "dx"}}},
    {"act_bwd in place", draw_act_in_place, run_act_in_place},
    {"dropout", draw_dropout, run_dropout},
    {"dropout in place", draw_dropout_in_place, run_dropout_in_place},
    {"dropout none", draw_dropout, run_dropout_none},
    {"u8_to_f32", draw_u8, run_u8},
    {"rows_gather", draw_gather, run_gather},
    {"rows_scatter", draw_scatter, run_scatter},
    {"rows_scatter add", draw_scatter_add, run_scatter_add},
    {"rows_gather stored", draw_gather, run_gather_stored, .stored = 1, .tol = 1e-9},
    {"rows_add stored", draw_scatter_add, run_add_stored, .stored = 1, .tol = 0x1p-8},
};
OPS_MAIN(cases)
