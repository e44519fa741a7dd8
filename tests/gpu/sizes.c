/* Ops of the GPU at the sizes of the paper's training, where products choose other algorithms, grids are large and sums
 * long: against the CPU backend, twice, and sequences alone. LAFS_TEST_SHRINK=N divides the sizes, for the simulator.
 * tests/gpu/check runs it. */
#include "tests/ops/table.h"

enum { TOKENS = 197, VIEWS = 10, TEACHERS = 2 };

static int64_t sized(int64_t n)
{
    const char *s = getenv("LAFS_TEST_SHRINK");
    int64_t by = s && atoi(s) > 0 ? atoi(s) : 1;
    return n / by > 1 ? n / by : 1;
}
static void sequences(struct op *o, int64_t len)
{
    o->s.n = 8;
    for (int64_t i = 0; i < o->s.n; i++) o->off[i + 1] = o->off[i] + len;
    o->s.off = o->s.dev_off = o->off;
    o->s.max_len = len;
}
/* 64 views' rows. */
static void views(struct op *o) { sequences(o, sized(8 * TOKENS)); }

/* -- the layers of an MLP: dim 0 in, 1 out -- */
static void draw_layer(struct op *o, int64_t in, int64_t out)
{
    o->dim[0] = in;
    o->dim[1] = out;
    rows(o, "x", IN, in);
    whole(o, "w", IN, in * out);
    scale_buf(o, "w", 0.1f, 0);
}
static void draw_forward(struct op *o, int64_t in, int64_t out)
{
    draw_layer(o, in, out);
    whole(o, "b", IN, out);
    rows(o, "y", OUT, out);
    draw_keys(o, "keys");
}
static int64_t eights(int64_t n) { return (sized(n) + 7) / 8 * 8; }
static void draw_fc1(struct op *o)
{
    views(o);
    if (o->stored) draw_forward(o, eights(768), eights(2048));
    else draw_forward(o, sized(768), sized(2048));
    store(o, " x w b y");
}
/* The DINO head's last layer, of every view's CLS token. */
static void draw_last(struct op *o)
{
    sequences(o, 4);
    draw_forward(o, 256, sized(100000));
}
static void run_forward(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_drop drop = drop_of(o, "keys", 0.1, 3);
    b->ops->linear(b->dev, o->precision, &o->s, o->dim[0], o->dim[1], F(o, "x"), F(o, "w"), F(o, "b"), LAFS_ACT_GELU,
                   &drop, NULL, F(o, "y"));
}
static void run_forward_stored(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_drop drop = drop_of(o, "keys", 0.1, 3);
    if (!b->ops->bf16) {
        run_forward(o, b);
        return;
    }
    struct lafs_bf16 *x = S(o, b, "x"), *w = S(o, b, "w"), *bias = S(o, b, "b"), *y = S(o, b, "y");
    b->ops->bf16->linear(b->dev, &o->s, o->dim[0], o->dim[1], x, w, bias, LAFS_ACT_GELU, &drop, NULL, y);
    S_end(o, b, "x", x), S_end(o, b, "w", w), S_end(o, b, "b", bias), S_end(o, b, "y", y);
}
static void draw_backward(struct op *o)
{
    views(o);
    if (o->stored) draw_layer(o, eights(768), eights(2048));
    else draw_layer(o, sized(768), sized(2048));
    rows(o, "dy", IN, o->dim[1]);
    rows(o, "dx", OUT, o->dim[0]);
    /* Tensor cores cut sums off where others round: 2e-5 of the largest behind 12,608 rows on an H200. */
    whole(o, "dw", ADD, o->dim[0] * o->dim[1])->tol = 1e-4;
    whole(o, "db", ADD, o->dim[1])->absent = o->stored;
    store(o, " x w dy dx");
}
static void run_backward(struct op *o, const struct lafs_backend *b)
{
    b->ops->linear_bwd_x(b->dev, o->precision, &o->s, o->dim[0], o->dim[1], F(o, "dy"), F(o, "w"), F(o, "dx"));
    b->ops->linear_bwd_w(b->dev, o->precision, lafs_seqs_rows(&o->s), o->dim[0], o->dim[1], F(o, "x"), F(o, "dy"),
                         F(o, "dw"), F(o, "db"));
}

static void run_backward_stored(struct op *o, const struct lafs_backend *b)
{
    if (!b->ops->bf16) {
        run_backward(o, b);
        return;
    }
    struct lafs_bf16 *x = S(o, b, "x"), *w = S(o, b, "w"), *dy = S(o, b, "dy"), *dx = S(o, b, "dx");
    b->ops->bf16->linear_bwd_x(b->dev, &o->s, o->dim[0], o->dim[1], dy, w, dx);
    b->ops->bf16->linear_bwd_w(b->dev, lafs_seqs_rows(&o->s), o->dim[0], o->dim[1], x, dy, F(o, "dw"));
    S_end(o, b, "x", x), S_end(o, b, "w", w), S_end(o, b, "dy", dy), S_end(o, b, "dx", dx);
}

/* -- DINO: dim 0 images, 1 classes -- */
static void draw_dino(struct op *o)
{
    o->dim[0] = sized(16);
    o->dim[1] = sized(100000);
    whole(o, "student", IN, VIEWS * o->dim[0] * o->dim[1]);
    whole(o, "teacher", IN, TEACHERS * o->dim[0] * o->dim[1]);
    whole(o, "center", IN, o->dim[1]);
    scale_buf(o, "student", 0.5f, 0);
    scale_buf(o, "teacher", 0.5f, 0);
    scale_buf(o, "center", 0.1f, 0);
    whole(o, "temp", IN, 2);
    init_f(o, "temp")[0] = 0.1f, init_f(o, "temp")[1] = 0.04f;
    add_buf(o, "loss", OUT, WHOLE, 1, 8);
    whole(o, "dstudent", OUT, VIEWS * o->dim[0] * o->dim[1])->tol = 1e-4;
    whole(o, "center_mean", OUT, o->dim[1]);
    add_buf(o, "stats", OUT, WHOLE, 5, 8)->tol = 1e-4;
}
static void run_dino(struct op *o, const struct lafs_backend *b)
{
    b->ops->dino_loss(b->dev, o->dim[0], o->dim[1], VIEWS, TEACHERS, F(o, "student"), F(o, "teacher"), F(o, "center"),
                      F(o, "temp"), 1, P(o, "loss"), F(o, "dstudent"), F(o, "center_mean"), P(o, "stats"));
}

/* -- the classifier: dim 0 images, 1 width, 2 classes (a number that no alignment likes) -- */
enum { IMAGES = 100 };
static void draw_margin(struct op *o)
{
    const int64_t b = sized(IMAGES), dim = sized(768), classes = sized(205990);
    o->dim[0] = b, o->dim[1] = dim, o->dim[2] = classes;
    whole(o, "emb", IN, b * dim);
    whole(o, "weight", IN, classes * dim);
    size_t scratch = 0;
    for (int i = 0; i < 3; i++) {
        size_t size = op_tables[i]->margin_scratch(b, dim, classes);
        scratch = size > scratch ? size : scratch;
    }
    add_buf(o, "scratch", OUT, WHOLE, (int64_t)scratch, 1);
    add_buf(o, "loss", OUT, WHOLE, 1, 8);
    whole(o, "demb", OUT, b * dim);
    whole(o, "dweight", ADD, classes * dim);
    struct lafs_target *target = (void *)add_buf(o, "target", IN, WHOLE, b * (int64_t)sizeof *target, 1)->init;
    for (int64_t i = 0; i < b; i++) target[i] = (struct lafs_target){below(o, 0, classes - 1), below(o, 0, classes - 1), 0.75f};
}
static void run_margin(struct op *o, const struct lafs_backend *b)
{
    b->ops->margin_loss(b->dev, o->precision, o->dim[0], o->dim[1], o->dim[2], F(o, "emb"), F(o, "weight"), P(o, "target"),
                        LAFS_MARGIN_COSFACE, 64, 0.4f, 1, P(o, "scratch"), P(o, "loss"), F(o, "demb"), F(o, "dweight"),
                        NULL);
    b->ops->zero(b->dev, P(o, "scratch"), bytes_of(o, find_buf(o, "scratch"))); /* nobody's business */
}

/* -- more probes than a grid is high: dim 0 probes, 1 rows -- */
static void draw_scan(struct op *o)
{
    o->dim[0] = sized(600000);
    o->dim[1] = 200;
    for (int k = 0; k < 2; k++) {
        int8_t *v = (int8_t *)add_buf(o, k ? "g" : "q", IN, WHOLE, o->dim[k] * 64, 1)->init;
        for (int64_t e = 0; e < o->dim[k] * 64; e++) v[e] = (int8_t)below(o, -60, 60);
    }
    whole(o, "c", IN, o->dim[0]);
    whole(o, "a", IN, o->dim[0]);
    whole(o, "x", IN, o->dim[1]);
    whole(o, "y", IN, o->dim[1]);
    scale_buf(o, "c", 30000, 0);
    scale_buf(o, "a", 3000, 0);
    scale_buf(o, "x", 0.5f, 1);
    whole(o, "hits", OUT, (o->dim[1] + 63) / 64 * 2 * o->dim[0])->integer = 1;
}
static void run_scan(struct op *o, const struct lafs_backend *b)
{
    b->ops->scan(b->dev, o->dim[0], o->dim[1], 64, P(o, "q"), F(o, "c"), F(o, "a"), P(o, "g"), F(o, "x"), F(o, "y"),
                 P(o, "hits"));
}

#define ONCE .rounds = 1
static const struct op_case cases[] = {
    {"fc1", draw_fc1, run_forward, ONCE},
    {"fc1 bf16", draw_fc1, run_forward, .precision = LAFS_PRECISION_BF16, .tol = 1e-4, ONCE},
    {"fc1 backward", draw_backward, run_backward, .tol = 1e-4, ONCE},
    {"fc1 backward bf16", draw_backward, run_backward, .precision = LAFS_PRECISION_BF16, .tol = 1e-4, ONCE},
    {"fc1 stored", draw_fc1, run_forward_stored, .stored = 1, .tol = 0x1p-7, ONCE},
    {"fc1 backward stored", draw_backward, run_backward_stored, .stored = 1, .tol = 0x1p-8 + 1e-4, ONCE},
    {"100,000 outputs bf16", draw_last, run_forward, .precision = LAFS_PRECISION_BF16, .tol = 1e-4, ONCE},
    {"DINO loss of 100,000", draw_dino, run_dino, ONCE},
    {"margin loss of 205,990", draw_margin, run_margin, .tol = 2e-4, ONCE},
    {"margin loss of 205,990 bf16x3", draw_margin, run_margin, .precision = LAFS_PRECISION_BF16X3, .tol = 2e-4, ONCE},
    {"scan of 600,000 probes", draw_scan, run_scan, ONCE},
};
OPS_MAIN(cases)
