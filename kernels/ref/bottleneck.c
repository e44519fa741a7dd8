/* Inverted bottlenecks, as compute/backend.h spells them out, from the ops that they consist of. Packing copies. */
#include <string.h>

#include "kernels/ref/ref.h"

/* A block's weights one behind the other, padded to 64 bytes. Copies them to `to` unless it is NULL; *g then points to
 * the copies. Returns their number. */
static int64_t take(struct lafs_bottleneck *g, float *to, int copy)
{
    const struct {
        const float **w;
        int64_t n;
    } part[] = {{&g->expand, g->mid * g->c}, {&g->expand_b, g->mid}, {&g->depth, g->mid * g->k * g->k},
                {&g->depth_b, g->mid},       {&g->se1, g->se * g->mid}, {&g->se2, g->mid * g->se},
                {&g->project, g->out * g->mid}, {&g->project_b, g->out}};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; at += part[i++].n) {
        if (!to || !part[i].n) continue;
        if (copy) memcpy(to + at, *part[i].w, (size_t)part[i].n * sizeof *to);
        *part[i].w = to + at;
    }
    return (at + 15) / 16 * 16;
}

size_t lafs_ref_bottlenecks_size(int count, const struct lafs_bottleneck *g)
{
    int64_t n = 0;
    for (int i = 0; i < count; i++) {
        struct lafs_bottleneck b = g[i];
        n += take(&b, NULL, 0);
    }
    return (size_t)n * sizeof(float);
}

void lafs_ref_bottlenecks_pack(struct lafs_dev *d, int count, const struct lafs_bottleneck *g, void *packed)
{
    (void)d;
    float *to = packed;
    for (int i = 0; i < count; i++) {
        struct lafs_bottleneck b = g[i];
        to += take(&b, to, 1);
    }
}

/* y (rows,out) = act(x w^T + b) */
static void product(struct lafs_dev *d, int64_t rows, int64_t in, int64_t out, const float *x, const float *w,
                    const float *b, enum lafs_act act, float *y)
{
    const int64_t off[2] = {0, rows};
    const struct lafs_seqs s = {1, off, off, rows};
    lafs_ref_linear(d, LAFS_PRECISION_FP32, &s, in, out, x, w, b, act, NULL, NULL, y);
}

/* scratch: (n, hw, mid) of the input's, twice of the output's, then (n, se), (n, mid) twice */
static void bottleneck(struct lafs_dev *d, int64_t n, const struct lafs_bottleneck *g, const float *x, float *scratch,
                       float *y)
{
    int64_t hw = lafs_conv_side(g->h, g->k, g->stride) * lafs_conv_side(g->w, g->k, g->stride);
    float *t = scratch, *u = t + n * g->h * g->w * g->mid, *v = u + n * hw * g->mid, *squeeze = v + n * hw * g->mid,
          *mean = squeeze + n * g->se, *gate = mean + n * g->mid;
    const struct lafs_conv conv = {n, g->h, g->w, g->mid, g->k, g->stride, g->mid};
    product(d, n * g->h * g->w, g->c, g->mid, x, g->expand, g->expand_b, g->act, t);
    lafs_ref_depthwise(d, &conv, t, g->depth, g->depth_b, g->se ? LAFS_ACT_NONE : g->act, u);
    if (g->se) {
        lafs_ref_channel_mean(d, n, hw, g->mid, u, mean);
        product(d, n, g->mid, g->se, mean, g->se1, NULL, LAFS_ACT_RELU, squeeze);
        product(d, n, g->se, g->mid, squeeze, g->se2, NULL, LAFS_ACT_HSIGMOID, gate);
        lafs_ref_channel_scale(d, n, hw, g->mid, u, gate, g->act, v);
    }
    product(d, n * hw, g->mid, g->out, g->se ? v : u, g->project, g->project_b, LAFS_ACT_NONE, y);
    if (g->residual) lafs_ref_axpy(d, n * hw * g->out, 1, x, y);
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

void lafs_ref_bottlenecks(struct lafs_dev *d, int64_t n, int count, const struct lafs_bottleneck *g,
                          const void *packed, const float *x, float *y)
{
    float *weights = (float *)packed;
    int64_t wide = 0, narrow = 0; /* what scratch and a map need */
    for (int i = 0; i < count; i++) {
        int64_t in = g[i].h * g[i].w, hw = lafs_conv_side(g[i].h, g[i].k, g[i].stride) *
                                           lafs_conv_side(g[i].w, g[i].k, g[i].stride);
        wide = max64(wide, n * ((in + 2 * hw + 2) * g[i].mid + g[i].se));
        narrow = max64(narrow, n * hw * g[i].out);
    }
    float *room;
    struct lafs_err err = {0};
    if (lafs_alloc(&room, (size_t)(wide + 2 * narrow), sizeof *room, &err) != LAFS_OK) {
        lafs_host_failed(d, &err);
        return;
    }
    for (int i = 0; i < count; i++) {
        float *map = i == count - 1 ? y : room + wide + i % 2 * narrow;
        struct lafs_bottleneck b = g[i];
        weights += take(&b, weights, 0);
        bottleneck(d, n, &b, x, room, map);
        x = map;
    }
    lafs_free(room);
}
