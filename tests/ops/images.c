/* Ops on images and their channels, by the table: convolutions, BatchNorm, squeeze-and-excitation, landmarks, patches. */
#include "tests/ops/table.h"

/* -- convolutions: dim 0 h, 1 w, 2 c, 3 k, 4 stride, 5 out, 6 act -- */
static struct lafs_conv conv_of(const struct op *o)
{
    return (struct lafs_conv){o->s.n, o->dim[0], o->dim[1], o->dim[2], (int)o->dim[3], (int)o->dim[4], o->dim[5]};
}
static int64_t out_pixels(const struct op *o)
{
    return lafs_conv_side(o->dim[0], (int)o->dim[3], (int)o->dim[4]) * lafs_conv_side(o->dim[1], (int)o->dim[3], (int)o->dim[4]);
}
/* depthwise: 0, or the k of one: kernels may differ by it. */
static void draw_conv_inputs(struct op *o, int depthwise)
{
    draw_images(o, 3);
    o->dim[0] = below(o, 1, 12);
    o->dim[1] = below(o, 1, 12);
    o->dim[2] = below(o, 1, depthwise ? 70 : 12);
    /* As vectors like it, or not. */
    if (depthwise) o->dim[2] = below(o, 0, 1) ? (o->dim[2] + 3) / 4 * 4 : o->dim[2] | 1;
    o->dim[3] = depthwise ? depthwise : 1 + 2 * below(o, 0, 2);
    o->dim[4] = below(o, 1, 2);
    o->dim[5] = depthwise ? o->dim[2] : below(o, 1, 40);
    o->dim[6] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1] * o->dim[2]);
    whole(o, "w", IN, o->dim[5] * (depthwise ? 1 : o->dim[2]) * o->dim[3] * o->dim[3]);
}
static void draw_outputs(struct op *o)
{
    whole(o, "b", IN, o->dim[5])->absent = (int)below(o, 0, 1);
    per_seq(o, "y", OUT, out_pixels(o) * o->dim[5]);
}
static void draw_gradients(struct op *o)
{
    per_seq(o, "dy", IN, out_pixels(o) * o->dim[5]);
    per_seq(o, "dx", OUT, o->dim[0] * o->dim[1] * o->dim[2]);
    whole(o, "dw", ADD, find_buf(o, "w")->width);
}
static void draw_forward(struct op *o, int depthwise)
{
    draw_conv_inputs(o, depthwise);
    draw_outputs(o);
}
static void draw_backward(struct op *o, int depthwise)
{
    draw_conv_inputs(o, depthwise);
    draw_gradients(o);
}
/* Of an image, and as many channels as networks begin with. */
static void draw_image_inputs(struct op *o)
{
    draw_images(o, 3);
    o->dim[0] = below(o, 1, 20);
    o->dim[1] = below(o, 1, 20);
    o->dim[2] = o->dim[3] = 3;
    o->dim[4] = below(o, 1, 2);
    o->dim[5] = 8 * below(o, 1, 5);
    o->dim[6] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1] * 3);
    whole(o, "w", IN, o->dim[5] * 27);
}
static void draw_image_conv(struct op *o)
{
    draw_image_inputs(o);
    draw_outputs(o);
}
static void draw_image_conv_bwd(struct op *o)
{
    draw_image_inputs(o);
    draw_gradients(o);
}
/* So many channels and pixels that a GPU's threads have several each. */
static void draw_many_inputs(struct op *o)
{
    draw_images(o, 1);
    o->dim[0] = below(o, 1, 2);
    o->dim[2] = o->dim[5] = 1280;
    o->dim[3] = 3 + 2 * below(o, 0, 1);
    o->dim[4] = below(o, 1, 2);
    o->dim[1] = 430 * o->dim[4];
    o->dim[6] = LAFS_ACT_HSWISH;
    per_seq(o, "x", IN, o->dim[0] * o->dim[1] * o->dim[2]);
    whole(o, "w", IN, o->dim[2] * o->dim[3] * o->dim[3]);
}
static void draw_many(struct op *o)
{
    draw_many_inputs(o);
    draw_outputs(o);
}
static void draw_many_bwd(struct op *o)
{
    draw_many_inputs(o);
    draw_gradients(o);
}
static void draw_conv(struct op *o) { draw_forward(o, 0); }
/* One pixel: a product. */
static void draw_conv_1x1(struct op *o)
{
    draw_images(o, 3);
    o->dim[0] = below(o, 1, 12);
    o->dim[1] = below(o, 1, 12);
    o->dim[2] = below(o, 1, 70);
    o->dim[3] = o->dim[4] = 1;
    o->dim[5] = below(o, 1, 40);
    o->dim[6] = below(o, LAFS_ACT_RELU, LAFS_ACT_SIGMOID);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1] * o->dim[2]);
    whole(o, "w", IN, o->dim[5] * o->dim[2]);
    whole(o, "b", IN, o->dim[5]);
    per_seq(o, "y", OUT, o->dim[0] * o->dim[1] * o->dim[5]);
}
static void draw_depthwise1(struct op *o) { draw_forward(o, 1); }
static void draw_depthwise3(struct op *o) { draw_forward(o, 3); }
static void draw_depthwise5(struct op *o) { draw_forward(o, 5); }
static void draw_conv_bwd(struct op *o) { draw_backward(o, 0); }
static void draw_depthwise1_bwd(struct op *o) { draw_backward(o, 1); }
static void draw_depthwise3_bwd(struct op *o) { draw_backward(o, 3); }
static void draw_depthwise5_bwd(struct op *o) { draw_backward(o, 5); }
static void run_conv(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_conv g = conv_of(o);
    b->ops->conv(b->dev, &g, F(o, "x"), F(o, "w"), F(o, "b"), (enum lafs_act)o->dim[6], F(o, "y"));
}
static void run_depthwise(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_conv g = conv_of(o);
    b->ops->depthwise(b->dev, &g, F(o, "x"), F(o, "w"), F(o, "b"), (enum lafs_act)o->dim[6], F(o, "y"));
}
static void run_conv_bwd(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_conv g = conv_of(o);
    b->ops->conv_bwd_x(b->dev, &g, F(o, "dy"), F(o, "w"), F(o, "dx"));
    b->ops->conv_bwd_w(b->dev, &g, F(o, "x"), F(o, "dy"), F(o, "dw"));
}
static void run_depthwise_bwd(struct op *o, const struct lafs_backend *b)
{
    const struct lafs_conv g = conv_of(o);
    b->ops->depthwise_bwd_x(b->dev, &g, F(o, "dy"), F(o, "w"), F(o, "dx"));
    b->ops->depthwise_bwd_w(b->dev, &g, F(o, "x"), F(o, "dy"), F(o, "dw"));
}

/* dim 0 h, 1 w of the smaller map, 2 c */
static void draw_maps(struct op *o)
{
    draw_images(o, 3);
    o->dim[0] = below(o, 1, 5);
    o->dim[1] = below(o, 1, 5);
    o->dim[2] = below(o, 1, 40);
}
static void draw_maxpool2(struct op *o)
{
    draw_maps(o);
    per_seq(o, "x", IN, 4 * o->dim[0] * o->dim[1] * o->dim[2]);
    per_seq(o, "y", OUT, o->dim[0] * o->dim[1] * o->dim[2])->tol = 0;
}
static void run_maxpool2(struct op *o, const struct lafs_backend *b)
{
    b->ops->maxpool2(b->dev, o->s.n, 2 * o->dim[0], 2 * o->dim[1], o->dim[2], F(o, "x"), F(o, "y"));
}
static void draw_upsample2(struct op *o)
{
    draw_maps(o);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1] * o->dim[2]);
    per_seq(o, "y", ADD, 4 * o->dim[0] * o->dim[1] * o->dim[2])->tol = 0;
}
static void run_upsample2(struct op *o, const struct lafs_backend *b)
{
    b->ops->upsample2_add(b->dev, o->s.n, o->dim[0], o->dim[1], o->dim[2], F(o, "x"), F(o, "y"));
}

static void draw_maps_bwd(struct op *o)
{
    draw_maps(o);
    int64_t n = o->dim[0] * o->dim[1] * o->dim[2];
    per_seq(o, "x", IN, 4 * n);
    per_seq(o, "dy", IN, n);
    per_seq(o, "dx", OUT, 4 * n)->tol = 0;
    per_seq(o, "dsmall", OUT, n)->tol = 0;
    for (int64_t e = 0; e < o->s.n * 4 * n; e++) init_f(o, "x")[e] = roundf(2 * init_f(o, "x")[e]); /* equals */
}
static void run_maps_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->maxpool2_bwd(b->dev, o->s.n, 2 * o->dim[0], 2 * o->dim[1], o->dim[2], F(o, "x"), F(o, "dy"), F(o, "dx"));
    b->ops->upsample2_bwd(b->dev, o->s.n, o->dim[0], o->dim[1], o->dim[2], F(o, "x"), F(o, "dsmall"));
}

/* -- BatchNorm: dim 0 rows, 1 c, 2 train, 3 act -- */
static void draw_bn_inputs(struct op *o)
{
    o->dim[0] = below(o, 2, below(o, 0, 1) ? 60 : 1200);
    o->dim[1] = below(o, 0, 1) ? 4 * below(o, 1, 40) : below(o, 1, 50);
    o->dim[2] = below(o, 0, 1);
    o->dim[3] = below(o, LAFS_ACT_NONE, LAFS_ACT_SIGMOID);
    whole(o, "x", IN, o->dim[0] * o->dim[1]);
    whole(o, "gamma", IN, o->dim[1]);
    whole(o, "beta", IN, o->dim[1]);
    scale_buf(o, "x", 2, 1);
    scale_buf(o, "gamma", 0.5f, 1);
}
static void draw_bn(struct op *o)
{
    draw_bn_inputs(o);
    whole(o, "run_mean", ADD, o->dim[1]);
    whole(o, "run_var", ADD, o->dim[1]);
    whole(o, "y", OUT, o->dim[0] * o->dim[1]);
    whole(o, "mean", OUT, o->dim[1]);
    whole(o, "rstd", OUT, o->dim[1]);
    scale_buf(o, "run_var", 1, 2);
}
static void run_bn(struct op *o, const struct lafs_backend *b)
{
    b->ops->batchnorm(b->dev, o->dim[0], o->dim[1], (int)o->dim[2], 0.1f, F(o, "x"), F(o, "gamma"), F(o, "beta"),
                      F(o, "run_mean"), F(o, "run_var"), (enum lafs_act)o->dim[3], F(o, "y"), F(o, "mean"), F(o, "rstd"));
}
static void draw_bn_bwd(struct op *o)
{
    draw_bn_inputs(o);
    whole(o, "mean", IN, o->dim[1]);
    whole(o, "rstd", IN, o->dim[1]);
    whole(o, "dx", ADD, o->dim[0] * o->dim[1]); /* in place of dy */
    whole(o, "dgamma", ADD, o->dim[1]);
    whole(o, "dbeta", ADD, o->dim[1]);
    scale_buf(o, "rstd", 0.2f, 0.8f);
    /* No kink between one backend's value and another's. */
    if (o->dim[3] == LAFS_ACT_RELU || o->dim[3] == LAFS_ACT_HSIGMOID) o->dim[3] = LAFS_ACT_HSWISH;
}
static void run_bn_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->batchnorm_bwd(b->dev, o->dim[0], o->dim[1], (int)o->dim[2], F(o, "x"), F(o, "gamma"), F(o, "beta"), F(o, "mean"),
                          F(o, "rstd"), (enum lafs_act)o->dim[3], F(o, "dx"), F(o, "dx"), F(o, "dgamma"), F(o, "dbeta"));
}

/* -- channels: dim 0 hw, 1 c, 2 act -- */
static void draw_channels(struct op *o)
{
    static const enum lafs_act act[] = {LAFS_ACT_NONE, LAFS_ACT_HSWISH, LAFS_ACT_SIGMOID};
    draw_images(o, 4);
    o->dim[0] = below(o, 1, 60);
    o->dim[1] = below(o, 1, 70);
    o->dim[2] = act[below(o, 0, 2)];
}
static void draw_channel_mean(struct op *o)
{
    draw_channels(o);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1]);
    per_seq(o, "y", OUT, o->dim[1]);
    per_seq(o, "dx", OUT, o->dim[0] * o->dim[1]);
    per_seq(o, "sum", ADD, o->dim[0] * o->dim[1]);
    per_seq(o, "dy", IN, o->dim[1]);
}
static void run_channel_mean(struct op *o, const struct lafs_backend *b)
{
    b->ops->channel_mean(b->dev, o->s.n, o->dim[0], o->dim[1], F(o, "x"), F(o, "y"));
    b->ops->channel_mean_bwd(b->dev, o->s.n, o->dim[0], o->dim[1], F(o, "dy"), F(o, "dx"), 0);
    b->ops->channel_mean_bwd(b->dev, o->s.n, o->dim[0], o->dim[1], F(o, "dy"), F(o, "sum"), 1);
}
static void draw_channel_scale(struct op *o)
{
    draw_channels(o);
    per_seq(o, "x", IN, o->dim[0] * o->dim[1]);
    per_seq(o, "s", IN, o->dim[1]);
    per_seq(o, "y", OUT, o->dim[0] * o->dim[1]);
    per_seq(o, "dy", IN, o->dim[0] * o->dim[1]);
    per_seq(o, "dx", OUT, o->dim[0] * o->dim[1]);
    per_seq(o, "ds", OUT, o->dim[1]);
}
static void run_channel_scale(struct op *o, const struct lafs_backend *b)
{
    b->ops->channel_scale(b->dev, o->s.n, o->dim[0], o->dim[1], F(o, "x"), F(o, "s"), (enum lafs_act)o->dim[2], F(o, "y"));
    b->ops->channel_scale_bwd(b->dev, o->s.n, o->dim[0], o->dim[1], F(o, "x"), F(o, "s"), (enum lafs_act)o->dim[2], F(o, "dy"),
                              F(o, "dx"), F(o, "ds"));
}
static void draw_minmax(struct op *o)
{
    draw_images(o, 9);
    o->dim[0] = below(o, 2, 400);
    per_seq(o, "t", IN, o->dim[0]);
    per_seq(o, "theta", OUT, o->dim[0]);
    per_seq(o, "arg", OUT, 2)->integer = 1;
    per_seq(o, "dtheta", IN, o->dim[0]);
    per_seq(o, "dt", OUT, o->dim[0]);
    if (below(o, 0, 1)) /* equals: the first counts */
        for (int64_t e = 0; e < o->s.n * o->dim[0]; e++) init_f(o, "t")[e] = roundf(8 * init_f(o, "t")[e]);
    for (int64_t i = 0; i < o->s.n; i++) init_f(o, "t")[i * o->dim[0]] = 9;
}
/* Where NaNs are: only places are looked at. */
static void draw_minmax_nan(struct op *o)
{
    draw_images(o, 9);
    o->dim[0] = below(o, 2, 100);
    per_seq(o, "t", IN, o->dim[0]);
    per_seq(o, "arg", OUT, 2)->integer = 1;
    for (int64_t e = 0; e < o->s.n * o->dim[0]; e++)
        if (below(o, 0, 3) == 0) init_f(o, "t")[e] = below(o, 0, 2) ? NAN : INFINITY;
    init_f(o, "t")[0] = NAN; /* the others of the first row are no smaller, and no larger */
}
static void run_minmax_nan(struct op *o, const struct lafs_backend *b)
{
    void *theta;
    struct lafs_err err;
    if (b->ops->alloc(b->dev, &theta, (size_t)(o->s.n * o->dim[0]) * sizeof(float), &err) != LAFS_OK) abort();
    b->ops->minmax(b->dev, o->s.n, o->dim[0], 100, F(o, "t"), theta, P(o, "arg"));
    if (b->ops->sync(b->dev, &err) != LAFS_OK) abort();
    b->ops->free(b->dev, theta);
}
static void run_minmax(struct op *o, const struct lafs_backend *b)
{
    b->ops->minmax(b->dev, o->s.n, o->dim[0], 111, F(o, "t"), F(o, "theta"), P(o, "arg"));
    b->ops->minmax_bwd(b->dev, o->s.n, o->dim[0], 111, F(o, "t"), P(o, "arg"), F(o, "dtheta"), F(o, "dt"));
}

/* -- patches: dim 0 side, 1 p, 2 transposed -- */
static void draw_patches(struct op *o)
{
    draw_seqs(o, 50);
    o->dim[0] = below(o, 9, 30);
    o->dim[1] = 2 * below(o, 1, 5);
    o->dim[2] = below(o, 0, 1);
    per_seq(o, "images", IN, o->dim[0] * o->dim[0] * 3);
    rows(o, "landmarks", IN, 2);
    scale_buf(o, "landmarks", (float)o->dim[0], (float)o->dim[0] / 2);
    init_f(o, "landmarks")[0] = NAN;
}
static void draw_patch_cut(struct op *o)
{
    draw_patches(o);
    rows(o, "tokens", OUT, o->dim[1] * o->dim[1] * 3)->tol = 1e-6;
}
static void run_patch_cut(struct op *o, const struct lafs_backend *b)
{
    b->ops->patch_cut(b->dev, &o->s, (int)o->dim[0], (int)o->dim[1], (int)o->dim[2], F(o, "images"), F(o, "landmarks"),
                      F(o, "tokens"));
}
static void draw_patch_cut_bwd(struct op *o)
{
    draw_patches(o);
    rows(o, "dtokens", IN, o->dim[1] * o->dim[1] * 3);
    rows(o, "dlandmarks", OUT, 2)->absent = below(o, 0, 3) == 0;
    per_seq(o, "dimages", OUT, o->dim[0] * o->dim[0] * 3)->absent = below(o, 0, 3) == 0;
}
static void run_patch_cut_bwd(struct op *o, const struct lafs_backend *b)
{
    b->ops->patch_cut_bwd(b->dev, &o->s, (int)o->dim[0], (int)o->dim[1], (int)o->dim[2], F(o, "images"), F(o, "landmarks"),
                          F(o, "dtokens"), F(o, "dlandmarks"), F(o, "dimages"));
}
static void draw_grid_cut(struct op *o)
{
    draw_images(o, 4);
    o->dim[1] = 2 * below(o, 1, 4);
    o->dim[0] = o->dim[1] * below(o, 1, 5);
    per_seq(o, "images", IN, o->dim[0] * o->dim[0] * 3);
    per_seq(o, "tokens", OUT, o->dim[0] * o->dim[0] * 3)->tol = 0;
}
static void run_grid_cut(struct op *o, const struct lafs_backend *b)
{
    b->ops->grid_cut(b->dev, o->s.n, (int)o->dim[0], (int)o->dim[1], F(o, "images"), F(o, "tokens"));
}

/* -- scan: dim 0 queries, 1 rows, 2 dim -- */
static void draw_bytes(struct op *o, const char *name, int64_t n)
{
    int8_t *b = (int8_t *)add_buf(o, name, IN, WHOLE, n, 1)->init;
    for (int64_t e = 0; e < n; e++) b[e] = (int8_t)below(o, -63, 63);
}
static void draw_scan(struct op *o)
{
    o->dim[0] = below(o, 1, 300);
    o->dim[1] = below(o, 1, below(o, 0, 3) ? 300 : 4300); /* now and then more than blocks of a GPU share */
    o->dim[2] = 64 * below(o, 1, 6);
    draw_bytes(o, "q", o->dim[0] * o->dim[2]);
    draw_bytes(o, "g", o->dim[1] * o->dim[2]);
    whole(o, "c", IN, o->dim[0]);
    whole(o, "a", IN, o->dim[0]);
    whole(o, "x", IN, o->dim[1]);
    whole(o, "y", IN, o->dim[1]);
    scale_buf(o, "c", 30000, 0);
    scale_buf(o, "a", 3000, 0);
    scale_buf(o, "x", 0.5f, 1);
    init_f(o, "c")[0] = -INFINITY;
    whole(o, "hits", OUT, (o->dim[1] + 63) / 64 * 2 * o->dim[0])->integer = 1;
}
static void run_scan(struct op *o, const struct lafs_backend *b)
{
    b->ops->scan(b->dev, o->dim[0], o->dim[1], o->dim[2], P(o, "q"), F(o, "c"), F(o, "a"), P(o, "g"), F(o, "x"),
                 F(o, "y"), P(o, "hits"));
}

/* -- hit_list: dim 0 queries, 1 words, 2 room -- */
static void draw_hit_list(struct op *o)
{
    o->dim[0] = below(o, 0, 3) ? below(o, 1, 40) : below(o, 1000, 3000);
    o->dim[1] = below(o, 1, 130);
    const int64_t words = o->dim[0] * o->dim[1];
    uint64_t *hits = (void *)add_buf(o, "hits", IN, WHOLE, words, 8)->init;
    const int64_t every = 1 + below(o, 0, 1) * below(o, 0, 30);
    int64_t count = 0;
    for (int64_t k = 0; k < words; k++) {
        hits[k] = below(o, 1, every) == 1 ? (uint64_t)1 << below(o, 0, 63) | (uint64_t)below(o, 0, 1) << 63 : 0;
        count += hits[k] != 0;
    }
    o->dim[2] = below(o, 0, 1) ? words : count / 2;
    add_buf(o, "off", OUT, WHOLE, o->dim[0] + 1, 8)->integer = 1;
    whole(o, "list", OUT, 4 * words)->integer = 1; /* words may be too large for a comparison's double */
}
static void run_hit_list(struct op *o, const struct lafs_backend *b)
{
    /* Optional: where it is not there, nothing is compared. */
    (b->ops->hit_list ? b->ops : &lafs_ref_ops)->hit_list(b->dev, o->dim[0], o->dim[1], P(o, "hits"), o->dim[2],
                                                          P(o, "off"), P(o, "list"));
}

/* -- views: dim 0 width, 1 height of the source, 2 result's side; what the programs draw, and every operation -- */
enum { VIEWS = 11 };
static struct lafs_viewplan plans[VIEWS];

static void draw_views(struct op *o)
{
    struct lafs_pretrain_views v;
    struct lafs_train_views t;
    char key[24];
    o->dim[0] = below(o, 60, 150);
    o->dim[1] = below(o, 60, 150);
    snprintf(key, sizeof key, "k%lld", (long long)below(o, 0, 1 << 30));
    lafs_pretrain_views_default(&v, 0);
    lafs_train_views_default(&t);
    lafs_plan_pretrain(&v, (int)o->dim[0], (int)o->dim[1], 5, 1, key, plans);
    lafs_plan_train(&t, (int)o->dim[0], (int)o->dim[1], 5, 1, key, &plans[VIEWS - 1]);
    o->dim[2] = plans[0].out_size;
    plans[VIEWS - 3].out_size = (int32_t)below(o, 20, 60); /* less than the one behind it, from more of the source */
    /* One view is of random operations behind a crop. */
    struct lafs_viewplan *p = &plans[VIEWS - 2];
    p->ops = 1;
    for (int kind = LAFS_OP_FLIP; kind <= LAFS_OP_ERASE; kind++) {
        struct lafs_view_op op = {kind, {(float)lafs_rng_uniform(&o->rng, -0.4, 0.4), (float)below(o, 0, 1)}};
        if (kind == LAFS_OP_BLUR || kind == LAFS_OP_SHARPNESS) op.a[0] += 1;
        if (kind == LAFS_OP_BRIGHTNESS || kind == LAFS_OP_CONTRAST || kind == LAFS_OP_SATURATION) op.a[0] += 1;
        if (kind == LAFS_OP_POSTERIZE) op.a[0] = (float)below(o, 1, 8);
        if (kind == LAFS_OP_ROTATE) op.a[0] *= 90;
        if (kind == LAFS_OP_ERASE) op = (struct lafs_view_op){kind, {5, 7, 20, 30}};
        if (p->ops < LAFS_VIEW_MAX_OPS && below(o, 0, 2)) p->op[p->ops++] = op;
    }
    p->clean_ops = 1;
    add_buf(o, "source", IN, WHOLE, o->dim[0] * o->dim[1] * 3, 1);
    add_buf(o, "other source", IN, WHOLE, o->dim[0] * o->dim[1] * 3, 1);
    for (int i = 0; i < 2; i++)
        add_buf(o, i ? "augmented" : "clean", OUT, WHOLE, VIEWS * o->dim[2] * o->dim[2] * 3, 1)->tol = 0;
}
static void run_render(struct op *o, const struct lafs_backend *b)
{
    const uint8_t *source[VIEWS];
    uint8_t *clean[VIEWS], *augmented[VIEWS];
    int w[VIEWS], h[VIEWS];
    for (int i = 0; i < VIEWS; i++) {
        source[i] = find_buf(o, i % 2 ? "other source" : "source")->init; /* the host's */
        w[i] = (int)o->dim[0], h[i] = (int)o->dim[1];
        clean[i] = (uint8_t *)P(o, "clean") + i * o->dim[2] * o->dim[2] * 3;
        augmented[i] = (uint8_t *)P(o, "augmented") + i * o->dim[2] * o->dim[2] * 3;
    }
    b->ops->render(b->dev, VIEWS, plans, source, w, h, clean, augmented);
}

static const struct op_case cases[] = {
    {"conv", draw_conv, run_conv},
    {"conv 1x1", draw_conv_1x1, run_conv},
    {"conv backward", draw_conv_bwd, run_conv_bwd},
    {"conv of an image", draw_image_conv, run_conv, .rounds = 4},
    {"conv of an image backward", draw_image_conv_bwd, run_conv_bwd, .rounds = 4},
    {"depthwise 1 x 1", draw_depthwise1, run_depthwise, .rounds = 2},
    {"depthwise 3 x 3", draw_depthwise3, run_depthwise, .rounds = 8},
    {"depthwise 5 x 5", draw_depthwise5, run_depthwise, .rounds = 8},
    {"depthwise 1 x 1 backward", draw_depthwise1_bwd, run_depthwise_bwd, .rounds = 2},
    {"depthwise 3 x 3 backward", draw_depthwise3_bwd, run_depthwise_bwd, .rounds = 8},
    {"depthwise 5 x 5 backward", draw_depthwise5_bwd, run_depthwise_bwd, .rounds = 8},
    {"depthwise, many channels", draw_many, run_depthwise, .rounds = 2},
    {"depthwise, many channels, backward", draw_many_bwd, run_depthwise_bwd, .rounds = 2},
    {"maxpool2", draw_maxpool2, run_maxpool2},
    {"upsample2_add", draw_upsample2, run_upsample2},
    {"maxpool2_bwd, upsample2_bwd", draw_maps_bwd, run_maps_bwd},
    {"batchnorm", draw_bn, run_bn, .tol = 2e-5},
    {"batchnorm backward", draw_bn_bwd, run_bn_bwd, .tol = 2e-5},
    {"channel_mean", draw_channel_mean, run_channel_mean},
    {"channel_scale", draw_channel_scale, run_channel_scale},
    {"minmax", draw_minmax, run_minmax},
    {"minmax of NaN", draw_minmax_nan, run_minmax_nan},
    {"patch_cut", draw_patch_cut, run_patch_cut},
    {"patch_cut_bwd", draw_patch_cut_bwd, run_patch_cut_bwd},
    {"grid_cut", draw_grid_cut, run_grid_cut},
    {"scan", draw_scan, run_scan},
    {"hit_list", draw_hit_list, run_hit_list},
    {"render", draw_views, run_render},
};
OPS_MAIN(cases)
