/* Backward passes of pooling and upsampling. */
#include "tests/ops/table.h"

static void draw_map(struct op *o)
{
    for (int i = 0; i < 3; i++) o->dim[i] = below(o, 1, 5); /* images, half the rows, half the columns */
    o->dim[3] = below(o, 1, 40);                            /* channels */
}
static int64_t cells(const struct op *o) { return o->dim[0] * o->dim[1] * o->dim[2] * o->dim[3]; }

static void draw_pool(struct op *o)
{
    draw_map(o);
    whole(o, "x", IN, 4 * cells(o));
    whole(o, "dy", IN, cells(o));
    whole(o, "dx", OUT, 4 * cells(o))->tol = 0;
    scale_buf(o, "x", 40, 0); /* so that no difference changes which one is the largest, but for a few */
}
static void run_pool(struct op *o, const struct lafs_backend *b)
{
    b->ops->maxpool2_bwd(b->dev, o->dim[0], 2 * o->dim[1], 2 * o->dim[2], o->dim[3], F(o, "x"), F(o, "dy"),
                         F(o, "dx"));
}
static double objective_pool(struct op *o, const struct lafs_backend *ref)
{
    float *y = malloc((size_t)cells(o) * sizeof *y);
    double sum = 0;
    if (!y) abort();
    ref->ops->maxpool2(ref->dev, o->dim[0], 2 * o->dim[1], 2 * o->dim[2], o->dim[3], init_f(o, "x"), y);
    for (int64_t i = 0; i < cells(o); i++) sum += (double)y[i] * init_f(o, "dy")[i];
    free(y);
    return sum;
}

/* Many equal values: the first one is the largest. */
static void draw_ties(struct op *o)
{
    draw_pool(o);
    float *x = init_f(o, "x");
    for (int64_t i = 0; i < 4 * cells(o); i++) x[i] = x[i] > 0;
}

static void draw_upsample(struct op *o)
{
    draw_map(o);
    whole(o, "dy", IN, 4 * cells(o));
    whole(o, "x", IN, cells(o));
    whole(o, "dx", OUT, cells(o))->tol = 0;
}
static void run_upsample(struct op *o, const struct lafs_backend *b)
{
    b->ops->upsample2_bwd(b->dev, o->dim[0], o->dim[1], o->dim[2], o->dim[3], F(o, "dy"), F(o, "dx"));
}
static double objective_upsample(struct op *o, const struct lafs_backend *ref)
{
    float *y = calloc((size_t)(4 * cells(o)), sizeof *y);
    double sum = 0;
    if (!y) abort();
    ref->ops->upsample2_add(ref->dev, o->dim[0], o->dim[1], o->dim[2], o->dim[3], init_f(o, "x"), y);
    for (int64_t i = 0; i < 4 * cells(o); i++) sum += (double)y[i] * init_f(o, "dy")[i];
    free(y);
    return sum;
}

static const struct op_case cases[] = {
    {"maxpool2_bwd", draw_pool, run_pool, .objective = objective_pool, .grad = {{"x", "dx"}}, .step = 1e-3},
    {"maxpool2_bwd of ties", draw_ties, run_pool},
    {"upsample2_bwd", draw_upsample, run_upsample, .objective = objective_upsample, .grad = {{"x", "dx"}}},
};
OPS_MAIN(cases)
