#include "tests/test.h"

#include "base/buf.h"
#include "format/onnx.h"
#include "model/detector.h"

/* -- writing protobuf, just enough -- */

static void varint(struct lafs_buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7) lafs_buf_putc(b, (int)(v & 127) | 128);
    lafs_buf_putc(b, (int)v);
}
static void put_int(struct lafs_buf *b, unsigned field, uint64_t v)
{
    varint(b, field << 3);
    varint(b, v);
}
static void put_bytes(struct lafs_buf *b, unsigned field, const void *p, size_t n)
{
    varint(b, field << 3 | 2);
    varint(b, n);
    lafs_buf_put(b, p, n);
}
static void put_str(struct lafs_buf *b, unsigned field, const char *s) { put_bytes(b, field, s, strlen(s)); }
static void put_message(struct lafs_buf *b, unsigned field, struct lafs_buf *m)
{
    put_bytes(b, field, m->data, m->size);
    lafs_buf_release(m);
}
static void put_tensor(struct lafs_buf *graph, const char *name, const int64_t *shape, int ndim, size_t values)
{
    struct lafs_buf t;
    lafs_buf_init(&t);
    float *v = calloc(values + 1, sizeof *v);
    for (size_t i = 0; i < values; i++) v[i] = (float)i;
    for (int i = 0; i < ndim; i++) put_int(&t, 1, (uint64_t)shape[i]);
    put_int(&t, 2, LAFS_ONNX_FLOAT);
    put_str(&t, 8, name);
    put_bytes(&t, 9, v, values * sizeof *v);
    put_message(graph, 5, &t);
    free(v);
}
static void put_conv(struct lafs_buf *graph, const char *weight, const char *bias)
{
    struct lafs_buf n;
    lafs_buf_init(&n);
    put_str(&n, 1, "x");
    put_str(&n, 1, weight);
    if (bias) put_str(&n, 1, bias);
    put_str(&n, 2, "y");
    put_str(&n, 4, "Conv");
    put_message(graph, 1, &n);
}

static lafs_status parse_graph(struct lafs_onnx **o, struct lafs_buf *graph, struct lafs_err *err)
{
    struct lafs_buf m;
    lafs_buf_init(&m);
    put_int(&m, 1, 8);
    put_message(&m, 7, graph);
    lafs_status rc = lafs_onnx_parse(o, m.data, m.size, err);
    lafs_buf_release(&m);
    return rc;
}

TEST(reads_nodes_and_weights)
{
    struct lafs_buf g;
    struct lafs_err e;
    struct lafs_onnx *o;
    lafs_buf_init(&g);
    put_conv(&g, "459", "460");
    put_conv(&g, "w", NULL);
    put_tensor(&g, "459", (int64_t[]){2, 3}, 2, 6);
    put_tensor(&g, "scalar", NULL, 0, 1);
    REQUIRE_OK(parse_graph(&o, &g, &e), &e);
    CHECK_INT(o->nodes, 2);
    CHECK_INT(o->node[0].inputs, 3);
    CHECK_INT(o->node[1].inputs, 2);
    CHECK_STR(o->node[0].input[2], "460");
    CHECK_STR(o->node[1].input[1], "w");
    CHECK_STR(o->node[1].op, "Conv");
    CHECK_STR(o->node[1].output, "y");
    const struct lafs_onnx_tensor *t = lafs_onnx_find(o, "459");
    REQUIRE(t != NULL);
    CHECK_INT(t->ndim, 2);
    CHECK_INT(t->count, 6);
    CHECK(t->data[5] == 5);
    CHECK_INT(lafs_onnx_find(o, "scalar")->count, 1);
    CHECK(lafs_onnx_find(o, "460") == NULL);
    lafs_onnx_close(o);
}

/* Shapes packed into one field or not, values in float_data, packed or not, or in another file. */
TEST(other_ways_to_write_a_tensor)
{
    static const float v[] = {1, 2, 3, 4, 5, 6};
    struct lafs_buf g, t;
    struct lafs_err e;
    struct lafs_onnx *o;
    for (int away = 0; away < 2; away++) {
        lafs_buf_init(&g);
        lafs_buf_init(&t);
        put_bytes(&t, 1, "\3\1", 2);
        put_int(&t, 1, 2);
        put_int(&t, 2, LAFS_ONNX_FLOAT);
        put_bytes(&t, 4, v, 4 * sizeof *v);
        for (int i = 4; i < 6; i++) {
            varint(&t, 4 << 3 | 5);
            lafs_buf_put(&t, v + i, sizeof *v);
        }
        put_str(&t, 8, "w");
        put_int(&t, 14, (uint64_t)away);
        put_message(&g, 5, &t);
        if (away) {
            CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
            CHECK(strstr(e.msg, "its weights in another file") != NULL);
            continue;
        }
        REQUIRE_OK(parse_graph(&o, &g, &e), &e);
        const struct lafs_onnx_tensor *w = lafs_onnx_find(o, "w");
        REQUIRE(w && w->ndim == 3 && w->count == 6);
        CHECK(w->shape[0] == 3 && w->shape[1] == 1 && w->shape[2] == 2);
        CHECK(!memcmp(w->data, v, sizeof v));
        lafs_onnx_close(o);
    }
}

TEST(broken_files)
{
    struct lafs_err e = {0};
    struct lafs_onnx *o;
    struct lafs_buf g, m;
    CHECK_INT(lafs_onnx_parse(&o, "", 0, &e), LAFS_FAILED);
    CHECK_INT(lafs_onnx_parse(&o, "\x08\x08", 2, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "no graph") != NULL);
    CHECK_INT(lafs_onnx_parse(&o, "{\"a\":1}", 7, &e), LAFS_FAILED);
    lafs_buf_init(&g);
    put_tensor(&g, "w", (int64_t[]){3}, 1, 2);
    CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "fit") != NULL);
    lafs_buf_init(&g);
    put_tensor(&g, "w", (int64_t[]){-1}, 1, 0);
    CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
    lafs_buf_init(&g);
    put_tensor(&g, "w", (int64_t[]){1ll << 32, 1ll << 32}, 2, 0);
    CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "shape") != NULL);
    lafs_buf_init(&g);
    put_tensor(&g, "w", (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, 9, 1);
    CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
    /* Cut anywhere: refused, or (between top-level fields) without a graph. */
    lafs_buf_init(&m);
    lafs_buf_init(&g);
    put_conv(&g, "w", "b");
    put_tensor(&g, "w", (int64_t[]){2}, 1, 2);
    put_message(&m, 7, &g);
    for (size_t n = 0; n < m.size; n++) {
        unsigned char *exact = malloc(n + 1);
        memcpy(exact, m.data, n);
        CHECK_INT(lafs_onnx_parse(&o, exact, n, &e), LAFS_FAILED);
        CHECK(o == NULL);
        free(exact);
    }
    lafs_buf_release(&m);
}

TEST(too_many)
{
    /* 70,000 nodes of two bytes each. */
    struct lafs_buf g;
    struct lafs_err e;
    struct lafs_onnx *o;
    lafs_buf_init(&g);
    for (int i = 0; i < 70000; i++) put_bytes(&g, 1, "", 0);
    CHECK_INT(parse_graph(&o, &g, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "nodes") != NULL);
}

TEST(detector_by_its_graph)
{
    struct lafs_detector_tensors ts;
    struct lafs_err e;
    struct lafs_onnx *o;
    for (int wrong = 0; wrong < 4; wrong++) { /* 0: right; one convolution less; one more; another shape */
        struct lafs_buf g;
        char w[32], b[32];
        lafs_detector_tensors(&ts);
        lafs_buf_init(&g);
        for (int k = 0; k < LAFS_DETECTOR_CONVS - (wrong == 1); k++) {
            snprintf(w, sizeof w, "w%d", k);
            snprintf(b, sizeof b, "b%d", k);
            put_conv(&g, w, b);
            struct lafs_st_tensor *t = &ts.t[2 * k];
            if (wrong == 3 && k == 7) t->shape[0] = 32, t->count /= 2;
            put_tensor(&g, w, t->shape, 4, (size_t)t->count);
            put_tensor(&g, b, t[1].shape, 1, (size_t)t[1].count);
        }
        if (wrong == 2) put_conv(&g, "w0", "b0");
        REQUIRE_OK(parse_graph(&o, &g, &e), &e);
        lafs_status rc = lafs_detector_from_onnx(o, &ts, &e);
        CHECK_INT(rc, wrong ? LAFS_FAILED : LAFS_OK);
        if (wrong == 3) CHECK(strstr(e.msg, "convolution 7 ") != NULL);
        if (!wrong) CHECK(ts.t[117].data == lafs_onnx_find(o, "b58")->data);
        lafs_onnx_close(o);
    }
}

TEST(what_is_written_is_read)
{
    static const float six[] = {0, 1, 2, 3, 4, 5};
    static const int64_t axes[] = {-1, 2}, one = 1, *no = NULL;
    const struct lafs_onnx_attr attr[] = {
        {.name = "axis", .type = LAFS_ONNX_ATTR_INT, .i = -1},
        {.name = "epsilon", .type = LAFS_ONNX_ATTR_FLOAT, .f = 1e-5f},
        {.name = "mode", .type = LAFS_ONNX_ATTR_STRING, .s = "bilinear"},
        {.name = "axes", .type = LAFS_ONNX_ATTR_INTS, .ints = axes, .i = 2},
    };
    struct lafs_onnx_writer w;
    struct lafs_buf out;
    struct lafs_err e;
    struct lafs_onnx *o;
    lafs_onnx_writer_init(&w);
    lafs_buf_init(&out);
    lafs_onnx_put_value(&w, 1, "x", (const int64_t[]){-1, 3}, 2);
    lafs_onnx_put_node(&w, "Thing", "y", (const char *const[]){"x", "", "w"}, 3, attr, 4);
    lafs_onnx_put_node(&w, "Other", "z", (const char *const[]){"y"}, 1, NULL, 0);
    lafs_onnx_put_tensor(&w, "w", LAFS_ONNX_FLOAT, (const int64_t[]){2, 3}, 2, six);
    lafs_onnx_put_tensor(&w, "scalar", LAFS_ONNX_FLOAT, no, 0, six + 5);
    lafs_onnx_put_tensor(&w, "axes", LAFS_ONNX_INT64, &one, 1, axes);
    lafs_onnx_put_value(&w, 0, "z", (const int64_t[]){-1, 3}, 2);
    lafs_onnx_put_meta(&w, "licence", "mine = yours");
    lafs_onnx_put_meta(&w, "empty", "");
    REQUIRE_OK(lafs_onnx_finish(&w, 17, "doc", "test", &out, &e), &e);
    lafs_onnx_writer_release(&w);
    /* What our reader passes over, byte by byte: the head, a node's attributes, what goes in and out. */
#define MINUS_1 "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"
#define SHAPE "\x12\x13\x0a\x11\x08\1\x12\x0d\x0a\7\x12\5" "batch" "\x0a\2\x08\3"
    static const char head[] = "\x08\x08\x12\4test\x32\3" "doc\x42\2\x10\x11";
    static const char node[] = "\x2a\x14\x0a\4axis\x18" MINUS_1 "\xa0\1\2" "\x2a\x11\x0a\7epsilon\x15\xac\xc5\x27\x37\xa0\1\1"
                               "\x2a\x13\x0a\4mode\x22\x08" "bilinear\xa0\1\3"
                               "\x2a\x16\x0a\4axes\x40" MINUS_1 "\x40\2\xa0\1\7";
    static const char in[] = "\x5a\x18\x0a\1x" SHAPE, to[] = "\x62\x18\x0a\1z" SHAPE;
    CHECK(!memcmp(out.data, head, sizeof head - 1));
    CHECK(memmem(out.data, out.size, node, sizeof node - 1) != NULL);
    CHECK(memmem(out.data, out.size, in, sizeof in - 1) && memmem(out.data, out.size, to, sizeof to - 1));
    REQUIRE_OK(lafs_onnx_parse(&o, out.data, out.size, &e), &e);
    CHECK_INT(o->nodes, 2);
    CHECK_STR(o->node[0].op, "Thing");
    CHECK_STR(o->node[0].name, "y");
    CHECK_STR(o->node[0].output, "y");
    CHECK_INT(o->node[0].inputs, 3);
    CHECK_STR(o->node[0].input[1], "");
    CHECK_STR(o->node[1].input[0], "y");
    CHECK_INT(o->tensors, 3);
    const struct lafs_onnx_tensor *t = lafs_onnx_find(o, "w");
    REQUIRE(t && t->count == 6 && t->ndim == 2 && t->shape[1] == 3);
    CHECK(!memcmp(t->data, six, sizeof six));
    CHECK(lafs_onnx_find(o, "scalar")->data[0] == 5);
    CHECK_STR(lafs_onnx_type_name(lafs_onnx_find(o, "axes")->type), "I64");
    CHECK(!lafs_onnx_find(o, "axes")->data);
    CHECK_INT(o->metas, 2);
    CHECK_STR(o->meta[0].key, "licence");
    CHECK_STR(o->meta[0].value, "mine = yours");
    CHECK_STR(o->meta[1].value, "");
    lafs_onnx_close(o);
    /* Too much is refused, not written. */
    lafs_onnx_writer_init(&w);
    lafs_buf_clear(&out);
    lafs_onnx_put_tensor(&w, "w", LAFS_ONNX_FLOAT, (const int64_t[]){1 << 20, 1 << 20}, 2, six);
    CHECK_INT(lafs_onnx_finish(&w, 17, "doc", "test", &out, &e), LAFS_FAILED);
    lafs_onnx_writer_release(&w);
    lafs_buf_release(&out);
}

TEST_MAIN(reads_nodes_and_weights, other_ways_to_write_a_tensor, broken_files, too_many, detector_by_its_graph,
          what_is_written_is_read)
