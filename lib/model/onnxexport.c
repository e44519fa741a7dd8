#include "model/onnxexport.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/onnx.h"

enum { SIDE = LAFS_CNN_SIDE, FIRST = 16, RANGE = SIDE - 1, WIDEST = 960, HEAD = LAFS_HEAD_WIDTH };
static const float LN_EPS = 1e-5f;

struct export {
    const struct lafs_model *m;
    const struct lafs_onnx_export *o;
    struct lafs_onnx_writer w;
    float *host;          /* all parameters */
    float *scratch;       /* as many as the largest parameter */
    float bias[WIDEST];
    int bgr;              /* the model wants BGR: its weights' channels are turned round */
};

/* Names are made where they are used, and live as long as the full expression. */
struct name {
    char s[64];
};
__attribute__((format(printf, 1, 2))) static struct name nm(const char *fmt, ...)
{
    struct name n;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n.s, sizeof n.s, fmt, ap);
    va_end(ap);
    return n;
}

#define INT(n, v) {.name = n, .type = LAFS_ONNX_ATTR_INT, .i = v}
#define FLOAT(n, v) {.name = n, .type = LAFS_ONNX_ATTR_FLOAT, .f = v}
#define STRING(n, v) {.name = n, .type = LAFS_ONNX_ATTR_STRING, .s = v}
#define INTS(n, ...)                                                                                     \
    {.name = n, .type = LAFS_ONNX_ATTR_INTS, .ints = (const int64_t[]){__VA_ARGS__},                     \
     .i = sizeof(const int64_t[]){__VA_ARGS__} / sizeof(int64_t)}

/* NODE(e, op, output, (inputs), attributes...) */
#define IN(...) (const char *const[]){__VA_ARGS__}, (int)(sizeof(const char *[]){__VA_ARGS__} / sizeof(char *))
#define ATTRS(...)                                                                                       \
    (const struct lafs_onnx_attr[]){__VA_ARGS__},                                                        \
        (int)(sizeof(const struct lafs_onnx_attr[]){__VA_ARGS__} / sizeof(struct lafs_onnx_attr))
#define NONE NULL, 0
#define NODE(e, op, out, ...) lafs_onnx_put_node(&(e)->w, op, out, __VA_ARGS__)
#define FLOATS(e, name, data, ...)                                                                       \
    lafs_onnx_put_tensor(&(e)->w, name, LAFS_ONNX_FLOAT, (const int64_t[]){__VA_ARGS__},                 \
                         (int)(sizeof(const int64_t[]){__VA_ARGS__} / sizeof(int64_t)), data)
#define LONGS(e, name, ...)                                                                              \
    lafs_onnx_put_tensor(&(e)->w, name, LAFS_ONNX_INT64,                                                 \
                         &(const int64_t){sizeof(const int64_t[]){__VA_ARGS__} / sizeof(int64_t)}, 1,    \
                         (const int64_t[]){__VA_ARGS__})

static void put_scalar(struct export *e, const char *name, float v)
{
    lafs_onnx_put_tensor(&e->w, name, LAFS_ONNX_FLOAT, NULL, 0, &v);
}

/* -- the landmark CNN -- */

/* A convolution with its BatchNorm folded in. w (out, per/(k*k), k, k). */
static void conv(struct export *e, const char *out, const char *in, int64_t weight, const struct lafs_bn_place *bn,
                 int64_t c, int64_t per, int k, int stride, int group)
{
    const float *w = e->host + weight;
    int pad = (k - 1) / 2;
    for (int64_t i = 0; i < c; i++) {
        double s = e->host[bn->gamma + i] / sqrt((double)e->host[bn->var + i] + LAFS_BN_EPS);
        for (int64_t j = 0; j < per; j++) e->scratch[i * per + j] = (float)(w[i * per + j] * s);
        e->bias[i] = (float)(e->host[bn->beta + i] - e->host[bn->mean + i] * s);
    }
    FLOATS(e, nm("%s.weight", out).s, e->scratch, c, per / (k * k), k, k);
    FLOATS(e, nm("%s.bias", out).s, e->bias, c);
    NODE(e, "Conv", out, IN(in, nm("%s.weight", out).s, nm("%s.bias", out).s),
         ATTRS(INTS("kernel_shape", k, k), INTS("strides", stride, stride), INTS("pads", pad, pad, pad, pad),
               INT("group", group)));
}

static void act(struct export *e, const char *out, const char *in, enum lafs_act a)
{
    if (a == LAFS_ACT_RELU) NODE(e, "Relu", out, IN(in), NONE);
    else NODE(e, "HardSwish", out, IN(in), NONE);
}

/* A layer without bias on the means of the channels, as a 1x1 convolution. */
static void dense(struct export *e, const char *out, const char *in, int64_t weight, int64_t to, int64_t from)
{
    FLOATS(e, nm("%s.weight", out).s, e->host + weight, to, from, 1, 1);
    NODE(e, "Conv", out, IN(in, nm("%s.weight", out).s), NONE);
}

static void squeeze(struct export *e, const char *p, const char *in, const struct lafs_cnn_block *b, int64_t c)
{
    NODE(e, "GlobalAveragePool", nm("%s.mean", p).s, IN(in), NONE);
    dense(e, nm("%s.squeeze", p).s, nm("%s.mean", p).s, b->se1_w, c / 4, c);
    NODE(e, "Relu", nm("%s.squeeze.act", p).s, IN(nm("%s.squeeze", p).s), NONE);
    dense(e, nm("%s.excite", p).s, nm("%s.squeeze.act", p).s, b->se2_w, c, c / 4);
    NODE(e, "HardSigmoid", nm("%s.gate", p).s, IN(nm("%s.excite", p).s),
         ATTRS(FLOAT("alpha", 1.0f / 6), FLOAT("beta", 0.5f)));
    NODE(e, "Mul", nm("%s.gated", p).s, IN(in, nm("%s.gate", p).s), NONE);
}

static struct name block(struct export *e, int i, const char *in)
{
    const struct lafs_cnn_block *b = &e->m->cnn.block[i];
    const struct lafs_cnn_plan_row r = lafs_cnn_plan_of(i);
    struct name at = nm("cnn.%d", i + 1), x = nm("%s.depthwise", at.s);
    const char *p = at.s;
    conv(e, nm("%s.expand", p).s, in, b->expand_w, &b->bn1, r.expansion, r.in, 1, 1, 1);
    act(e, nm("%s.expand.act", p).s, nm("%s.expand", p).s, r.act);
    conv(e, x.s, nm("%s.expand.act", p).s, b->depth_w, &b->bn2, r.expansion, r.kernel * r.kernel, r.kernel, r.stride,
         r.expansion);
    if (r.squeeze) {
        squeeze(e, p, x.s, b, r.expansion);
        x = nm("%s.gated", p);
    }
    act(e, nm("%s.depthwise.act", p).s, x.s, r.act);
    conv(e, nm("%s.project", p).s, nm("%s.depthwise.act", p).s, b->project_w, &b->bn3, r.out, r.expansion, 1, 1, 1);
    if (!r.residual) return nm("%s.project", p);
    NODE(e, "Add", nm("%s.sum", p).s, IN(in, nm("%s.project", p).s), NONE);
    return nm("%s.sum", p);
}

/* w (.., 3, distance), `values` in all: the three channels in the opposite order. */
static void turn_channels(float *w, int64_t values, int64_t distance)
{
    for (int64_t i = 0; i < values; i += 3 * distance)
        for (int64_t j = i; j < i + distance; j++) {
            float t = w[j];
            w[j] = w[j + 2 * distance];
            w[j + 2 * distance] = t;
        }
}

/* -> "landmarks" (batch, R, 1, 2), in pixels of the crop. */
static void landmarks(struct export *e, const char *images)
{
    const struct lafs_cnn *m = &e->m->cnn;
    int64_t out = 2 * (int64_t)m->landmarks;
    if (e->bgr) turn_channels(e->host + m->first_w, FIRST * 27, 9);
    conv(e, "cnn.0", images, m->first_w, &m->first_bn, FIRST, 27, 3, 2, 1);
    act(e, "cnn.0.act", "cnn.0", LAFS_ACT_HSWISH);
    struct name x = nm("cnn.0.act");
    for (int i = 0; i < LAFS_CNN_BLOCKS; i++) x = block(e, i, x.s);
    NODE(e, "GlobalAveragePool", "cnn.mean", IN(x.s), NONE);
    NODE(e, "Flatten", "cnn.features", IN("cnn.mean"), ATTRS(INT("axis", 1)));
    FLOATS(e, "cnn.output.weight", e->host + m->out_w, out, LAFS_CNN_OUT);
    FLOATS(e, "cnn.output.bias", e->host + m->out_b, out);
    NODE(e, "Gemm", "cnn.output", IN("cnn.features", "cnn.output.weight", "cnn.output.bias"),
         ATTRS(INT("transB", 1)));
    NODE(e, "ReduceMin", "cnn.min", IN("cnn.output"), ATTRS(INTS("axes", 1), INT("keepdims", 1)));
    NODE(e, "ReduceMax", "cnn.max", IN("cnn.output"), ATTRS(INTS("axes", 1), INT("keepdims", 1)));
    NODE(e, "Sub", "cnn.above", IN("cnn.output", "cnn.min"), NONE);
    NODE(e, "Sub", "cnn.range", IN("cnn.max", "cnn.min"), NONE);
    NODE(e, "Div", "cnn.share", IN("cnn.above", "cnn.range"), NONE);
    put_scalar(e, "cnn.side", RANGE);
    NODE(e, "Mul", "cnn.pixels", IN("cnn.share", "cnn.side"), NONE);
    LONGS(e, "landmarks.shape", 0, m->landmarks, 1, 2);
    NODE(e, "Reshape", "landmarks", IN("cnn.pixels", "landmarks.shape"), NONE);
}

/* -- patches -> "tokens" (batch, R, D): embedded, without bias and position -- */

/* (out, in) of the model as (in, out) for MatMul. */
static void put_transposed(struct export *e, const char *name, const float *w, int64_t out, int64_t in)
{
    for (int64_t i = 0; i < out; i++)
        for (int64_t j = 0; j < in; j++) e->scratch[j * out + i] = w[i * in + j];
    FLOATS(e, name, e->scratch, in, out);
}

/* Offsets of a patch's samples, first axis x, second y: what GridSample walks through in order. */
static void patches(struct export *e, const char *images)
{
    const struct lafs_vit_config *c = &e->m->config.vit;
    int p = c->patch;
    float *at = e->scratch;
    for (int a = 0; a < p; a++)
        for (int b = 0; b < p; b++, at += 2) {
            at[0] = (float)(a - p / 2);
            at[1] = (float)(b - p / 2);
        }
    FLOATS(e, "patch.offsets", e->scratch, 1, 1, p * p, 2);
    put_scalar(e, "patch.half", SIDE / 2);
    put_scalar(e, "patch.minus_one", -1);
    NODE(e, "Add", "patch.samples", IN("landmarks", "patch.offsets"), NONE);
    NODE(e, "Div", "patch.scaled", IN("patch.samples", "patch.half"), NONE);
    NODE(e, "Add", "patch.grid", IN("patch.scaled", "patch.minus_one"), NONE);
    NODE(e, "GridSample", "patch.planes", IN(images, "patch.grid"),
         ATTRS(STRING("mode", "bilinear"), STRING("padding_mode", "zeros"), INT("align_corners", 0)));
    NODE(e, "Transpose", "patch.pixels", IN("patch.planes"), ATTRS(INTS("perm", 0, 2, 3, 1)));
    LONGS(e, "patch.shape", 0, c->patches, lafs_token_width(c));
    NODE(e, "Reshape", "patches", IN("patch.pixels", "patch.shape"), NONE);
    float *w = e->host + e->m->vit.embed_w;
    if (e->bgr) turn_channels(w, c->dim * lafs_token_width(c), 1);
    put_transposed(e, "embed.weight", w, c->dim, lafs_token_width(c));
    NODE(e, "MatMul", "tokens", IN("patches", "embed.weight"), NONE);
}

/* Patches of the grid and their embedding are one convolution. A token is (y, x, channel). */
static void grid_patches(struct export *e, const char *images)
{
    const struct lafs_vit_config *c = &e->m->config.vit;
    const float *w = e->host + e->m->vit.embed_w;
    int64_t p = c->patch, places = p * p;
    for (int64_t d = 0; d < c->dim; d++)
        for (int64_t k = 0; k < places; k++)
            for (int64_t ch = 0; ch < 3; ch++)
                e->scratch[(d * 3 + (e->bgr ? 2 - ch : ch)) * places + k] = w[(d * places + k) * 3 + ch];
    FLOATS(e, "embed.weight", e->scratch, c->dim, 3, p, p);
    NODE(e, "Conv", "grid.maps", IN(images, "embed.weight"), ATTRS(INTS("kernel_shape", p, p), INTS("strides", p, p)));
    LONGS(e, "grid.shape", 0, c->dim, c->patches);
    NODE(e, "Reshape", "grid.columns", IN("grid.maps", "grid.shape"), NONE);
    NODE(e, "Transpose", "tokens", IN("grid.columns"), ATTRS(INTS("perm", 0, 2, 1)));
}

/* -- the ViT -- */

static void layer_norm(struct export *e, const char *out, const char *in, int64_t g, int64_t b)
{
    int64_t d = e->m->config.vit.dim;
    FLOATS(e, nm("%s.weight", out).s, e->host + g, d);
    FLOATS(e, nm("%s.bias", out).s, e->host + b, d);
    if (e->o->opset >= 17) {
        NODE(e, "LayerNormalization", out, IN(in, nm("%s.weight", out).s, nm("%s.bias", out).s),
             ATTRS(INT("axis", -1), FLOAT("epsilon", LN_EPS)));
        return;
    }
#define N(tail) nm("%s." tail, out).s
    NODE(e, "ReduceMean", N("mean"), IN(in), ATTRS(INTS("axes", -1), INT("keepdims", 1)));
    NODE(e, "Sub", N("centred"), IN(in, N("mean")), NONE);
    NODE(e, "Mul", N("squares"), IN(N("centred"), N("centred")), NONE);
    NODE(e, "ReduceMean", N("variance"), IN(N("squares")), ATTRS(INTS("axes", -1), INT("keepdims", 1)));
    put_scalar(e, N("epsilon"), LN_EPS);
    NODE(e, "Add", N("variance_eps"), IN(N("variance"), N("epsilon")), NONE);
    NODE(e, "Sqrt", N("deviation"), IN(N("variance_eps")), NONE);
    NODE(e, "Div", N("standard"), IN(N("centred"), N("deviation")), NONE);
    NODE(e, "Mul", N("scaled"), IN(N("standard"), N("weight")), NONE);
    NODE(e, "Add", out, IN(N("scaled"), N("bias")), NONE);
#undef N
}

static void linear(struct export *e, const char *out, const char *in, int64_t w, int64_t b, int64_t to, int64_t from)
{
    put_transposed(e, nm("%s.weight", out).s, e->host + w, to, from);
    if (b < 0) {
        NODE(e, "MatMul", out, IN(in, nm("%s.weight", out).s), NONE);
        return;
    }
    FLOATS(e, nm("%s.bias", out).s, e->host + b, to);
    NODE(e, "MatMul", nm("%s.product", out).s, IN(in, nm("%s.weight", out).s), NONE);
    NODE(e, "Add", out, IN(nm("%s.product", out).s, nm("%s.bias", out).s), NONE);
}

/* Rows of y (batch, tokens, D) through W, as heads: (batch, H, tokens, 64), or (batch, H, 64, tokens) for keys. */
static void heads(struct export *e, const char *out, const char *y, int64_t w, int64_t tokens, int keys)
{
    const struct lafs_vit_config *c = &e->m->config.vit;
    linear(e, nm("%s.rows", out).s, y, w, -1, (int64_t)c->heads * HEAD, c->dim);
    LONGS(e, nm("%s.shape", out).s, 0, tokens, c->heads, HEAD);
    NODE(e, "Reshape", nm("%s.split", out).s, IN(nm("%s.rows", out).s, nm("%s.shape", out).s), NONE);
    if (keys) NODE(e, "Transpose", out, IN(nm("%s.split", out).s), ATTRS(INTS("perm", 0, 2, 3, 1)));
    else NODE(e, "Transpose", out, IN(nm("%s.split", out).s), ATTRS(INTS("perm", 0, 2, 1, 3)));
}

/* y, and its rows that ask: all, or that of CLS alone. */
static void attention(struct export *e, const char *p, const char *y, const char *asking, int64_t rows,
                      const struct lafs_vit_block *b)
{
    const struct lafs_vit_config *c = &e->m->config.vit;
    int64_t wide = (int64_t)c->heads * HEAD, part = wide * c->dim, all = c->patches + 1;
#define N(tail) nm("%s." tail, p).s
    heads(e, N("q"), asking, b->qkv_w, rows, 0);
    heads(e, N("k"), y, b->qkv_w + part, all, 1);
    heads(e, N("v"), y, b->qkv_w + 2 * part, all, 0);
    NODE(e, "MatMul", N("products"), IN(N("q"), N("k")), NONE);
    NODE(e, "Mul", N("scores"), IN(N("products"), "vit.scale"), NONE);
    NODE(e, "Softmax", N("weights"), IN(N("scores")), ATTRS(INT("axis", -1)));
    NODE(e, "MatMul", N("mixed"), IN(N("weights"), N("v")), NONE);
    NODE(e, "Transpose", N("turned"), IN(N("mixed")), ATTRS(INTS("perm", 0, 2, 1, 3)));
    LONGS(e, N("shape"), 0, rows, wide);
    NODE(e, "Reshape", N("joined"), IN(N("turned"), N("shape")), NONE);
    linear(e, N("out"), N("joined"), b->out_w, b->out_b, c->dim, wide);
#undef N
}

static void mlp(struct export *e, const char *p, const char *y, const struct lafs_vit_block *b)
{
    const struct lafs_vit_config *c = &e->m->config.vit;
#define N(tail) nm("%s." tail, p).s
    linear(e, N("fc1"), y, b->fc1_w, b->fc1_b, c->mlp, c->dim);
    NODE(e, "Div", N("erf_of"), IN(N("fc1"), "vit.root_two"), NONE);
    NODE(e, "Erf", N("erf"), IN(N("erf_of")), NONE);
    NODE(e, "Add", N("erf_1"), IN(N("erf"), "vit.one"), NONE);
    NODE(e, "Mul", N("doubled"), IN(N("fc1"), N("erf_1")), NONE);
    NODE(e, "Mul", N("gelu"), IN(N("doubled"), "vit.half"), NONE);
    linear(e, N("fc2"), N("gelu"), b->fc2_w, b->fc2_b, c->dim, c->mlp);
#undef N
}

/* Block l from x to the name that it returns. Of the last block's rows nothing but CLS is needed. */
static struct name vit_block(struct export *e, int l, struct name x)
{
    const struct lafs_vit_block *b = &e->m->vit.block[l];
    struct name asking = nm("vit.%d.norm1", l);
    int last = l == e->m->config.vit.depth - 1;
    layer_norm(e, asking.s, x.s, b->norm1_g, b->norm1_b);
    if (last) {
        LONGS(e, "vit.first", 0);
        NODE(e, "Gather", "vit.cls", IN(x.s, "vit.first"), ATTRS(INT("axis", 1)));
        NODE(e, "Gather", "vit.cls.norm", IN(asking.s, "vit.first"), ATTRS(INT("axis", 1)));
        x = nm("vit.cls");
        asking = nm("vit.cls.norm");
    }
    attention(e, nm("vit.%d", l).s, nm("vit.%d.norm1", l).s, asking.s, last ? 1 : e->m->config.vit.patches + 1, b);
    NODE(e, "Add", nm("vit.%d.mid", l).s, IN(x.s, nm("vit.%d.out", l).s), NONE);
    layer_norm(e, nm("vit.%d.norm2", l).s, nm("vit.%d.mid", l).s, b->norm2_g, b->norm2_b);
    mlp(e, nm("vit.%d", l).s, nm("vit.%d.norm2", l).s, b);
    NODE(e, "Add", nm("vit.%d.end", l).s, IN(nm("vit.%d.mid", l).s, nm("vit.%d.fc2", l).s), NONE);
    return nm("vit.%d.end", l);
}

/* "tokens" -> "vit.embedding" (batch, 1, D). A row of zeros in front makes room for CLS; what is added to the rows
 * (CLS, position, the embedding's bias) is one constant. */
static void vit(struct export *e)
{
    const struct lafs_vit *v = &e->m->vit;
    const struct lafs_vit_config *c = &v->config;
    const float *pos = e->host + v->pos, *cls = e->host + v->cls, *bias = e->host + v->embed_b;
    int64_t rows = c->patches + 1, d = c->dim;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < d; k++) e->scratch[i * d + k] = pos[i * d + k] + (i ? bias[k] : cls[k]);
    FLOATS(e, "vit.places", e->scratch, 1, rows, d);
    LONGS(e, "vit.front", 0, 1, 0, 0, 0, 0);
    NODE(e, "Pad", "vit.rows", IN("tokens", "vit.front"), ATTRS(STRING("mode", "constant")));
    NODE(e, "Add", "vit.start", IN("vit.rows", "vit.places"), NONE);
    put_scalar(e, "vit.scale", (float)(1 / sqrt(c->scale == LAFS_SCALE_HEAD ? HEAD : c->dim)));
    put_scalar(e, "vit.root_two", (float)sqrt(2));
    put_scalar(e, "vit.one", 1);
    put_scalar(e, "vit.half", 0.5f);
    struct name x = nm("vit.start");
    for (int l = 0; l < c->depth; l++) x = vit_block(e, l, x);
    layer_norm(e, "vit.embedding", x.s, v->head_g, v->head_b);
}

/* -- the whole -- */

/* From what the caller gives to images in [-1, 1], mirror images behind them if wanted. */
static const char *begin(struct export *e)
{
    const char *x = "input";
    lafs_onnx_put_value(&e->w, 1, x, (const int64_t[]){-1, 3, SIDE, SIDE}, 4);
    if (e->o->normalise) { /* names of nodes that InsightFace's tools look for */
        put_scalar(e, "pixel.mean", 127.5f);
        put_scalar(e, "pixel.scale", 1 / 127.5f);
        NODE(e, "Sub", "Sub_mean", IN(x, "pixel.mean"), NONE);
        NODE(e, "Mul", "Mul_scale", IN("Sub_mean", "pixel.scale"), NONE);
        x = "Mul_scale";
    }
    if (!e->o->mirror) return x;
    LONGS(e, "mirror.from", -1);
    LONGS(e, "mirror.to", INT64_MIN + 1);
    LONGS(e, "mirror.axis", 3);
    NODE(e, "Slice", "mirror.images", IN(x, "mirror.from", "mirror.to", "mirror.axis", "mirror.from"), NONE);
    NODE(e, "Concat", "mirror.both", IN(x, "mirror.images"), ATTRS(INT("axis", 0)));
    return "mirror.both";
}

static void end(struct export *e)
{
    int64_t d = e->m->config.vit.dim;
    if (e->o->mirror) {
        LONGS(e, "mirror.shape", 2, -1, d);
        LONGS(e, "mirror.pair", 0);
        NODE(e, "Reshape", "mirror.pairs", IN("vit.embedding", "mirror.shape"), NONE);
        NODE(e, "ReduceSum", "embedding", IN("mirror.pairs", "mirror.pair"), ATTRS(INT("keepdims", 0)));
    } else NODE(e, "Flatten", "embedding", IN("vit.embedding"), ATTRS(INT("axis", 1)));
    lafs_onnx_put_value(&e->w, 0, "embedding", (const int64_t[]){-1, d}, 2);
}

static lafs_status memory(struct export *e, const struct lafs_backend *b, struct lafs_err *err)
{
    const struct lafs_params *ps = &e->m->params;
    int64_t most = 0;
    for (int i = 0; i < ps->count; i++) most = ps->p[i].size > most ? ps->p[i].size : most;
    int64_t offsets = 2 * (int64_t)e->m->config.vit.patch * e->m->config.vit.patch;
    LAFS_TRY(lafs_alloc(&e->scratch, (size_t)(most > offsets ? most : offsets), sizeof *e->scratch, err));
    lafs_buf_reserve(&e->w.graph, (size_t)ps->size * sizeof *e->host + (1 << 20));
    LAFS_TRY(lafs_alloc(&e->host, (size_t)ps->size, sizeof *e->host, err));
    b->ops->download(b->dev, e->host, ps->value, (size_t)ps->size * sizeof *e->host);
    return b->ops->sync(b->dev, err);
}

static void graph(struct export *e)
{
    const char *images = begin(e);
    if (e->m->config.tokens == LAFS_TOKENS_GRID) grid_patches(e, images);
    else {
        landmarks(e, images);
        patches(e, images);
    }
    vit(e);
    end(e);
}

lafs_status lafs_model_to_onnx(const struct lafs_model *m, const struct lafs_backend *b,
                               const struct lafs_onnx_export *o, const struct lafs_st_meta *meta, int metas,
                               struct lafs_buf *out, struct lafs_err *err)
{
    struct export e = {.m = m, .o = o, .bgr = !strcmp(m->config.pixels.channels, "bgr")};
    if (!(m->config.parts & LAFS_PART_VIT))
        return lafs_fail(err, LAFS_USAGE, "the model has no ViT: it gives landmarks, no embeddings");
    if (m->config.tokens == LAFS_TOKENS_LANDMARK && !(m->config.parts & LAFS_PART_CNN))
        return lafs_fail(err, LAFS_USAGE, "the model has no landmark CNN, and its patches are cut at landmarks");
    lafs_onnx_writer_init(&e.w);
    lafs_status s = memory(&e, b, err);
    if (s == LAFS_OK) {
        graph(&e);
        for (int i = 0; i < metas; i++) lafs_onnx_put_meta(&e.w, meta[i].key, meta[i].value);
        s = lafs_onnx_finish(&e.w, o->opset, "aligned faces to embeddings; see the metadata", o->producer, out, err);
    }
    lafs_onnx_writer_release(&e.w);
    lafs_free(e.host);
    lafs_free(e.scratch);
    return s;
}
