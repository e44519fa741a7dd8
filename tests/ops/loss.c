#include "tests/ops/table.h"

/* -- l2norm: dim 0 width -- */
static const float SHORT = 4e-13f; /* of a row, less than the minimum */
static void draw_l2norm(struct op *o)
{
    draw_images(o, 9);
    o->dim[0] = below(o, 1, 300);
    per_seq(o, "x", IN, o->dim[0]);
    per_seq(o, "y", OUT, o->dim[0]);
    per_seq(o, "norm", OUT, 1);
    const int64_t first = below(o, 0, 2); /* a row of zeros is divided by the minimum, and so is a short one */
    const float factor = first ? SHORT / sqrtf((float)o->dim[0]) : 0;
    for (int64_t j = 0; first < 2 && j < o->dim[0]; j++) init_f(o, "x")[j] *= factor;
}
static void run_l2norm(struct op *o, const struct lafs_backend *b)
{
    b->ops->l2norm(b->dev, o->s.n, o->dim[0], F(o, "x"), F(o, "y"), F(o, "norm"));
}
static void draw_l2norm_bwd(struct op *o)
{
    draw_images(o, 9);
    o->dim[0] = below(o, 2, 300);
    o->dim[1] = below(o, 0, 1);
    per_seq(o, "x", IN, o->dim[0]);
    per_seq(o, "y", IN, o->dim[0]);
    per_seq(o, "norm", IN, 1);
    per_seq(o, "dy", IN, o->dim[0]);
    per_seq(o, "dx", o->dim[1] ? ADD : OUT, o->dim[0]);
}
static void draw_l2norm_bwd_short(struct op *o)
{
    draw_l2norm_bwd(o);
    scale_buf(o, "x", SHORT / sqrtf((float)o->dim[0]), 0);
}
static void prepare_l2norm_bwd(struct op *o, const struct lafs_backend *ref)
{
    static const char *const made[] = {"y", "norm"};
    run_ref_into(o, run_l2norm, ref, 2, made);
}
static void run_l2norm_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->l2norm_bwd(b->dev, o->s.n, o->dim[0], F(o, "y"), F(o, "norm"), F(o, "dy"), F(o, "dx"), (int)o->dim[1]);
}
static double objective_l2norm(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_l2norm, ref);
    return weighted(o, "y", "dy");
}

/* -- DINO: dim 0 b, 1 k, 2 vs, 3 vt -- */
static void draw_dino_of(struct op *o, int64_t b, int64_t k, int64_t vs, int64_t vt)
{
    o->dim[0] = b;
    o->dim[1] = k;
    o->dim[2] = vs;
    o->dim[3] = vt;
    whole(o, "student", IN, o->dim[2] * o->dim[0] * o->dim[1]);
    whole(o, "teacher", IN, o->dim[3] * o->dim[0] * o->dim[1]);
    whole(o, "center", IN, o->dim[1]);
    scale_buf(o, "student", 0.5f, 0);
    scale_buf(o, "teacher", 0.5f, 0);
    scale_buf(o, "center", 0.1f, 0);
    whole(o, "temp", IN, 2);
    init_f(o, "temp")[0] = (float)(0.1 + 0.01 * (double)below(o, 0, 9));
    init_f(o, "temp")[1] = (float)(0.04 + 0.01 * (double)below(o, 0, 3));
    add_buf(o, "loss", OUT, WHOLE, 1, 8);
    whole(o, "dstudent", OUT, o->dim[2] * o->dim[0] * o->dim[1]);
    whole(o, "center_mean", OUT, o->dim[1]);
    add_buf(o, "stats", OUT, WHOLE, 5, 8);
}
static void draw_dino(struct op *o)
{
    const int64_t b = below(o, 1, 4), k = below(o, 2, below(o, 0, 1) ? 40 : 3000), vt = below(o, 1, 3);
    draw_dino_of(o, b, k, below(o, 2, 6), vt);
}
static void draw_dino_many(struct op *o)
{
    const int64_t vt = below(o, 9, 11), vs = vt + below(o, -2, 2);
    draw_dino_of(o, 2, below(o, 2, 40), vs, vt);
}
static void run_dino(struct op *o, const struct lafs_backend *b)
{
    b->ops->dino_loss(b->dev, o->dim[0], o->dim[1], (int)o->dim[2], (int)o->dim[3], F(o, "student"), F(o, "teacher"),
                      F(o, "center"), F(o, "temp"), 1.7f, P(o, "loss"), F(o, "dstudent"), F(o, "center_mean"),
                      P(o, "stats"));
}
static void run_dino_forward(struct op *o, const struct lafs_backend *b)
{
    b->ops->dino_loss(b->dev, o->dim[0], o->dim[1], (int)o->dim[2], (int)o->dim[3], F(o, "student"), F(o, "teacher"),
                      F(o, "center"), F(o, "temp"), 1.7f, P(o, "loss"), NULL, F(o, "center_mean"), P(o, "stats"));
}
static void draw_dino_forward(struct op *o)
{
    draw_dino(o);
    find_buf(o, "dstudent")->absent = 1;
}
static double objective_dino(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_dino_forward, ref);
    return 1.7f * *(double *)find_buf(o, "loss")->host;
}

/* -- margin: dim 0 b, 1 dim, 2 classes, 3 kind -- */
static void draw_targets(struct op *o, int64_t classes)
{
    struct lafs_target *t = (void *)add_buf(o, "target", IN, WHOLE, o->dim[0] * (int64_t)sizeof *t, 1)->init;
    for (int64_t i = 0; i < o->dim[0]; i++) {
        int mixed = (int)below(o, 0, 1);
        t[i].a = below(o, 0, classes - 1);
        t[i].b = below(o, 0, classes - 1);
        t[i].lambda = mixed ? (float)lafs_rng_double(&o->rng) : 1;
    }
}
static void draw_margin_of(struct op *o, int64_t b, int64_t dim, int64_t classes)
{
    o->dim[0] = b;
    o->dim[1] = dim;
    o->dim[2] = classes;
    o->dim[3] = below(o, 0, 1);
    o->num[0] = below(o, 0, 1) ? 64 : 8;
    whole(o, "emb", IN, o->dim[0] * o->dim[1]);
    whole(o, "weight", IN, o->dim[2] * o->dim[1]);
    size_t scratch = 0;
    for (int i = 0; i < 3; i++) {
        size_t size = op_tables[i]->margin_scratch(o->dim[0], o->dim[1], o->dim[2]);
        scratch = size > scratch ? size : scratch;
    }
    add_buf(o, "scratch", OUT, WHOLE, (int64_t)scratch, 1);
    add_buf(o, "loss", OUT, WHOLE, 1, 8);
    whole(o, "demb", OUT, o->dim[0] * o->dim[1])->tol = 3e-5;
    whole(o, "dweight", ADD, o->dim[2] * o->dim[1])->tol = 3e-5;
    whole(o, "logits", OUT, o->dim[0] * o->dim[2])->absent = (int)below(o, 0, 1);
    draw_targets(o, classes);
}
static void draw_margin(struct op *o)
{
    const int64_t b = below(o, 1, 16), dim = below(o, 4, 100);
    draw_margin_of(o, b, dim, below(o, 2, below(o, 0, 1) ? 20 : 1500));
}
/* So many classes that sums over them are taken in parts. */
static void draw_margin_long(struct op *o)
{
    const int64_t b = below(o, 1, 4), dim = below(o, 4, 9);
    draw_margin_of(o, b, dim, below(o, 0, 3) ? below(o, 4090, 12300) : 8192);
}
static void run_margin(struct op *o, const struct lafs_backend *b)
{
    b->ops->margin_loss(b->dev, o->precision, o->dim[0], o->dim[1], o->dim[2], F(o, "emb"), F(o, "weight"), P(o, "target"),
                        (enum lafs_margin)o->dim[3], (float)o->num[0], 0.4f, 0.6f, P(o, "scratch"), P(o, "loss"),
                        F(o, "demb"), F(o, "dweight"), F(o, "logits"));
    /* What is left in scratch is nobody's business. */
    b->ops->zero(b->dev, P(o, "scratch"), bytes_of(o, find_buf(o, "scratch")));
}
static void run_margin_forward(struct op *o, const struct lafs_backend *b)
{
    b->ops->margin_loss(b->dev, o->precision, o->dim[0], o->dim[1], o->dim[2], F(o, "emb"), F(o, "weight"), P(o, "target"),
                        (enum lafs_margin)o->dim[3], (float)o->num[0], 0.4f, 0.6f, P(o, "scratch"), P(o, "loss"), NULL,
                        NULL, F(o, "logits"));
    b->ops->zero(b->dev, P(o, "scratch"), bytes_of(o, find_buf(o, "scratch")));
}
static void draw_margin_forward(struct op *o)
{
    draw_margin(o);
    find_buf(o, "demb")->absent = find_buf(o, "dweight")->absent = 1;
}
static double objective_margin(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_margin_forward, ref);
    return 0.6f * *(double *)find_buf(o, "loss")->host;
}

/* -- a part of the classes of a margin softmax: dim 0 rows, 2 classes here, 3 kind, 4 the first of them -- */
static void draw_part(struct op *o)
{
    const int64_t all = below(o, 3, below(o, 0, 1) ? 20 : 4500);
    o->dim[0] = below(o, 1, 9);
    o->dim[4] = below(o, 0, all - 1);
    o->dim[2] = below(o, 1, all - o->dim[4]);
    o->dim[3] = below(o, 0, 1);
    o->num[0] = below(o, 0, 1) ? 64 : 8;
    draw_targets(o, all);
    const struct lafs_target *t = (void *)find_buf(o, "target")->init;
    struct lafs_margin_row *r = (void *)add_buf(o, "row", IN, WHOLE, o->dim[0] * (int64_t)sizeof *r, 1)->init;
    for (int64_t i = 0; i < o->dim[0]; i++)
        r[i] = (struct lafs_margin_row){t[i], below(o, 0, 4) ? 0.3 : 0}; /* some are not there */
    double *most = (double *)add_buf(o, "most", IN, WHOLE, o->dim[0], 8)->init;
    double *sum = (double *)add_buf(o, "sum", IN, WHOLE, o->dim[0], 8)->init;
    for (int64_t i = 0; i < o->dim[0]; i++) {
        most[i] = r[i].factor != 0 ? o->num[0] + 0.1 * most[i] : -INFINITY; /* as margin_most and margin_sums have it */
        sum[i] = r[i].factor != 0 ? sum[i] + 3 : 0;
    }
    whole(o, "cosine", IN, o->dim[0] * o->dim[2]);
}
static struct lafs_margin_part part_of(struct op *o)
{
    return (struct lafs_margin_part){o->dim[0], o->dim[2], o->dim[4], P(o, "row"), (enum lafs_margin)o->dim[3],
                                     (float)o->num[0], 0.4f};
}
static void draw_most(struct op *o)
{
    draw_part(o);
    add_buf(o, "out", OUT, WHOLE, o->dim[0], 8);
}
static void run_most(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_margin_part p = part_of(o);
    double none[16];
    b->ops->margin_most(b->dev, &p, F(o, "cosine"), P(o, "out"));
    /* Where there is no row that is an infinity, which does not compare. */
    b->ops->download(b->dev, none, P(o, "out"), (size_t)o->dim[0] * sizeof *none);
    for (int64_t i = 0; i < o->dim[0]; i++) {
        const int there = ((struct lafs_margin_row *)find_buf(o, "row")->init)[i].factor != 0;
        if (!there && none[i] == -INFINITY) none[i] = -1e3;
    }
    b->ops->upload(b->dev, P(o, "out"), none, (size_t)o->dim[0] * sizeof *none);
}
static void draw_sums(struct op *o)
{
    draw_part(o);
    add_buf(o, "out", OUT, WHOLE, 2 * o->dim[0], 8)->tol = 3e-5;
}
static void run_sums(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_margin_part p = part_of(o);
    b->ops->margin_sums(b->dev, &p, F(o, "cosine"), P(o, "most"), P(o, "out"));
}
static void draw_slopes(struct op *o)
{
    draw_part(o);
    find_buf(o, "cosine")->kind = ADD;
    find_buf(o, "cosine")->tol = 3e-5;
}
static void run_slopes(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_margin_part p = part_of(o);
    b->ops->margin_slopes(b->dev, &p, P(o, "most"), P(o, "sum"), F(o, "cosine"));
}

static void draw_mse(struct op *o)
{
    o->dim[0] = below(o, 1, 9000);
    whole(o, "a", IN, o->dim[0]);
    whole(o, "b", IN, o->dim[0]);
    whole(o, "weight", IN, 1);
    init_f(o, "weight")[0] = 30;
    add_buf(o, "loss", OUT, WHOLE, 1, 8);
    whole(o, "da", ADD, o->dim[0])->absent = below(o, 0, 3) == 0;
}
static void run_mse(struct op *o, const struct lafs_backend *b)
{
    b->ops->mse(b->dev, o->dim[0], F(o, "a"), F(o, "b"), F(o, "weight"), 0.5f, P(o, "loss"), F(o, "da"));
}
static double objective_mse(struct op *o, const struct lafs_backend *ref)
{
    run_ref(o, run_mse, ref);
    return 0.5 * *(double *)find_buf(o, "loss")->host;
}

/* -- optimiser: dim 0 segments, 1 floats -- */
static struct lafs_segment segment[6];

static void draw_segments(struct op *o)
{
    int64_t at = 0;
    o->dim[0] = below(o, 1, 6);
    for (int64_t i = 0; i < o->dim[0]; i++) {
        segment[i] = (struct lafs_segment){.off = at, .size = below(o, 1, i == 0 ? 150000 : 500)};
        at += (segment[i].size + 15) / 16 * 16;
    }
    o->dim[1] = at;
    whole(o, "g", IN, at);
    add_buf(o, "norm", OUT, WHOLE, o->dim[0], 8)->tol = 1e-9;
}
static void run_norms(struct op *o, const struct lafs_backend *b)
{
    b->ops->norms(b->dev, o->dim[0], segment, F(o, "g"), P(o, "norm"));
}
static void draw_adamw(struct op *o)
{
    draw_segments(o);
    struct lafs_rate *r = (void *)add_buf(o, "rate", IN, WHOLE, o->dim[0] * (int64_t)sizeof *r, 1)->init;
    for (int64_t i = 0; i < o->dim[0]; i++) {
        const double step = (double)below(o, 1, 300);
        r[i] = (struct lafs_rate){.lr = 1e-3f, .decay = 0.1f, .clip = (float[]){0, 0.3f, 3}[below(o, 0, 2)],
                                  .skip = below(o, 0, 4) == 0, .correct1 = 1 - pow(0.9, step),
                                  .correct2 = 1 - pow(0.999, step)};
    }
    whole(o, "p", ADD, o->dim[1]);
    whole(o, "m", ADD, o->dim[1]);
    whole(o, "v", ADD, o->dim[1]);
    scale_buf(o, "v", 0.5f, 0.5f);
}
static void run_adamw(struct op *o, const struct lafs_backend *b)
{
    run_norms(o, b);
    b->ops->adamw(b->dev, o->dim[0], segment, P(o, "rate"), P(o, "norm"), 0.9, 0.999, 1e-8, F(o, "p"), F(o, "g"),
                  F(o, "m"), F(o, "v"));
}

static const struct op_case cases[] = {
    {"l2norm", draw_l2norm, run_l2norm},
    {"l2norm_bwd", draw_l2norm_bwd, run_l2norm_bwd, prepare_l2norm_bwd, objective_l2norm, {{"x", "dx"}}},
    {"l2norm_bwd, short rows", draw_l2norm_bwd_short, run_l2norm_bwd, prepare_l2norm_bwd},
    {"dino_loss", draw_dino, run_dino, .objective = objective_dino, .grad = {{"student", "dstudent"}}},
    {"dino_loss, many teachers", draw_dino_many, run_dino},
    {"dino_loss forward", draw_dino_forward, run_dino_forward},
    {"margin_loss", draw_margin, run_margin, .objective = objective_margin,
     .grad = {{"emb", "demb"}, {"weight", "dweight"}}, .step = 2e-3},
    {"margin_loss bf16", draw_margin, run_margin, .precision = LAFS_PRECISION_BF16, .tol = 1e-4},
    {"margin_loss long", draw_margin_long, run_margin},
    {"margin_loss long bf16x3", draw_margin_long, run_margin, .precision = LAFS_PRECISION_BF16X3, .tol = 1e-4},
    {"margin_loss forward", draw_margin_forward, run_margin_forward},
    {"margin_most", draw_most, run_most},
    {"margin_sums", draw_sums, run_sums},
    {"margin_slopes", draw_slopes, run_slopes},
    {"mse", draw_mse, run_mse, .objective = objective_mse, .grad = {{"a", "da"}}},
    {"norms", draw_segments, run_norms},
    {"adamw", draw_adamw, run_adamw},
};
OPS_MAIN(cases)
