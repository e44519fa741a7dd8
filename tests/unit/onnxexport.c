/* The exported graph, without anything that could run it: every value is made once and before it is used, the input's
 * normalisation is said in the way that InsightFace's tools look for, channels are turned round where a model wants it.
 * tests/interop runs it. */
#include "tests/test.h"

#include "format/onnx.h"
#include "model/onnxexport.h"

static struct lafs_err err;
static struct lafs_backend cpu;

static lafs_status make(struct lafs_model *m, enum lafs_tokens tokens, int parts, const char *channels)
{
    struct lafs_model_config c;
    if (!cpu.ops) LAFS_TRY(lafs_backend_open(&cpu, "cpu", NULL, NULL, &err));
    LAFS_TRY(lafs_model_config_named(&c, "xs", &err));
    c.vit.dim = 8;
    c.vit.depth = 2;
    c.vit.heads = 1;
    c.vit.mlp = 6;
    c.vit.patches = 49;
    c.vit.patch = 16;
    c.parts = parts;
    c.tokens = tokens;
    snprintf(c.pixels.channels, sizeof c.pixels.channels, "%s", channels);
    LAFS_TRY(lafs_model_init(m, &c, &err));
    LAFS_TRY(lafs_params_place(&m->params, &cpu, &err));
    return lafs_params_fill(&m->params, &cpu, 3, &err);
}

static lafs_status export(struct lafs_onnx **o, enum lafs_tokens tokens, const char *channels, int opset, int normalise,
                          int mirror)
{
    struct lafs_model m;
    struct lafs_buf out;
    const struct lafs_onnx_export e = {opset, normalise, mirror, "test"};
    const struct lafs_st_meta meta = {"licence", "mine"};
    *o = NULL;
    lafs_buf_init(&out);
    LAFS_TRY(make(&m, tokens, tokens ? LAFS_PART_VIT : LAFS_PART_VIT | LAFS_PART_CNN, channels));
    lafs_status s = lafs_model_to_onnx(&m, &cpu, &e, &meta, 1, &out, &err);
    if (s == LAFS_OK) s = lafs_onnx_parse(o, out.data, out.size, &err);
    lafs_model_release(&m, &cpu);
    lafs_buf_release(&out);
    return s;
}

static int made(const struct lafs_onnx *o, int nodes, const char *name)
{
    int n = !strcmp(name, "input") || lafs_onnx_find(o, name) != NULL;
    for (int i = 0; i < nodes; i++) n += !strcmp(o->node[i].output, name);
    return n;
}

static void check_graph(const struct lafs_onnx *o)
{
    for (int i = 0; i < o->nodes; i++) {
        const struct lafs_onnx_node *n = &o->node[i];
        CHECK_INT(made(o, o->nodes, n->output), 1);
        CHECK_STR(n->name, n->output);
        for (int k = 0; k < n->inputs; k++)
            if (made(o, i, n->input[k]) != 1) FAIL_("'%s' takes '%s', which is not there yet", n->output, n->input[k]);
    }
    for (int i = 0; i < o->tensors; i++) { /* every weight is of use */
        int used = 0;
        for (int k = 0; k < o->nodes; k++)
            for (int j = 0; j < o->node[k].inputs; j++) used += !strcmp(o->node[k].input[j], o->tensor[i].name);
        if (!used) FAIL_("'%s' is not used", o->tensor[i].name);
    }
    CHECK_STR(o->node[o->nodes - 1].output, "embedding");
    CHECK(o->metas == 1 && !strcmp(o->meta[0].key, "licence"));
}

static int ops(const struct lafs_onnx *o, const char *op)
{
    int n = 0;
    for (int i = 0; i < o->nodes; i++) n += !strcmp(o->node[i].op, op);
    return n;
}

/* InsightFace: a Sub and a Mul among the first eight names of nodes mean that the graph normalises. */
static int says_it_normalises(const struct lafs_onnx *o)
{
    int sub = 0, mul = 0;
    for (int i = 0; i < 8; i++) {
        sub |= !strncmp(o->node[i].name, "Sub", 3) || !strncmp(o->node[i].name, "_minus", 6);
        mul |= !strncmp(o->node[i].name, "Mul", 3) || !strncmp(o->node[i].name, "_mul", 4);
    }
    return sub && mul;
}

TEST(graphs_are_in_order)
{
    struct lafs_onnx *o;
    for (int code = 0; code < 16; code++) {
        enum lafs_tokens tokens = code & 1 ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK;
        int opset = code & 2 ? 16 : 17, normalise = code >> 2 & 1, mirror = code >> 3;
        REQUIRE_OK(export(&o, tokens, "rgb", opset, normalise, mirror), &err);
        check_graph(o);
        CHECK_INT(ops(o, "LayerNormalization"), opset == 17 ? 5 : 0);
        CHECK_INT(ops(o, "GridSample"), tokens == LAFS_TOKENS_LANDMARK);
        CHECK_INT(ops(o, "BatchNormalization"), 0);
        CHECK_INT(ops(o, "Erf"), 2);
        CHECK_INT(ops(o, "Slice"), mirror);
        CHECK_INT(says_it_normalises(o), normalise);
        lafs_onnx_close(o);
    }
}

static float at(const struct lafs_onnx *o, const char *name, int64_t i)
{
    const struct lafs_onnx_tensor *t = lafs_onnx_find(o, name);
    return t && i < t->count ? t->data[i] : NAN;
}

TEST(the_input_is_rgb_whatever_the_model_wants)
{
    struct lafs_onnx *rgb, *bgr;
    for (int grid = 0; grid < 2; grid++) {
        REQUIRE_OK(export(&rgb, grid ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK, "rgb", 17, 0, 0), &err);
        REQUIRE_OK(export(&bgr, grid ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK, "bgr", 17, 0, 0), &err);
        if (grid) /* (8, 3, 16, 16) */
            for (int64_t i = 0; i < 8 * 3 * 256; i++) {
                int64_t d = i / 768, ch = i / 256 % 3, k = i % 256;
                CHECK(at(rgb, "embed.weight", i) == at(bgr, "embed.weight", (d * 3 + 2 - ch) * 256 + k));
            }
        else {
            for (int64_t i = 0; i < 768 * 8; i++) { /* (16 * 16 * 3, 8) */
                int64_t row = i / 8, other = row / 3 * 3 + 2 - row % 3;
                CHECK(at(rgb, "embed.weight", i) == at(bgr, "embed.weight", other * 8 + i % 8));
            }
            for (int64_t i = 0; i < 16 * 27; i++) { /* (16, 3, 3, 3) */
                int64_t o = i / 27, ch = i / 9 % 3;
                CHECK(at(rgb, "cnn.0.weight", i) == at(bgr, "cnn.0.weight", o * 27 + (2 - ch) * 9 + i % 9));
            }
            CHECK(at(rgb, "cnn.1.expand.weight", 5) == at(bgr, "cnn.1.expand.weight", 5));
        }
        lafs_onnx_close(rgb);
        lafs_onnx_close(bgr);
    }
}

TEST(parts_alone_are_refused)
{
    struct lafs_model m;
    struct lafs_buf out;
    const struct lafs_onnx_export e = {17, 0, 0, "test"};
    lafs_buf_init(&out);
    REQUIRE_OK(make(&m, LAFS_TOKENS_LANDMARK, LAFS_PART_CNN, "rgb"), &err);
    CHECK_INT(lafs_model_to_onnx(&m, &cpu, &e, NULL, 0, &out, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "no ViT"));
    lafs_model_release(&m, &cpu);
    REQUIRE_OK(make(&m, LAFS_TOKENS_LANDMARK, LAFS_PART_VIT, "rgb"), &err);
    CHECK_INT(lafs_model_to_onnx(&m, &cpu, &e, NULL, 0, &out, &err), LAFS_USAGE);
    CHECK(strstr(err.msg, "no landmark CNN"));
    lafs_model_release(&m, &cpu);
    CHECK_INT(out.size, 0);
    lafs_buf_release(&out);
    lafs_backend_close(&cpu);
}

TEST_MAIN(graphs_are_in_order, the_input_is_rgb_whatever_the_model_wants, parts_alone_are_refused)
