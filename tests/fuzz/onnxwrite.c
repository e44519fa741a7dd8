/* Any bytes as calls of the ONNX writer: what was put is what the reader finds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/onnx.h"

enum { MOST = 64, TEXT = 24 };

struct source {
    const uint8_t *p;
    size_t left;
};
static unsigned take(struct source *s)
{
    if (!s->left) return 0;
    s->left--;
    return *s->p++;
}
static void take_text(struct source *s, char *out)
{
    unsigned n = take(s) % TEXT, i = 0;
    for (; i < n; i++) out[i] = (char)(take(s) | 1); /* no NUL */
    out[i] = 0;
}

struct kept { /* what was put */
    char a[TEXT], b[TEXT];
    int n, type;
    int64_t shape[LAFS_ONNX_MAX_DIMS];
    float value;
};
static struct kept node[MOST], tensor[MOST], meta[MOST];
static int nodes, tensors, metas;

static void put(struct source *s, struct lafs_onnx_writer *w)
{
    struct kept *k;
    unsigned what = take(s) % 3;
    if (what == 0 && nodes < MOST) {
        int64_t ints[4] = {(int64_t)take(s) - 128, INT64_MIN, take(s), INT64_MAX};
        k = &node[nodes++];
        take_text(s, k->a);
        take_text(s, k->b);
        k->n = (int)(take(s) % 4);
        const char *const in[4] = {k->a, k->b, k->a, ""};
        const struct lafs_onnx_attr attr[] = {{.name = k->a, .type = LAFS_ONNX_ATTR_INTS, .ints = ints, .i = 4},
                                              {.name = k->b, .type = LAFS_ONNX_ATTR_STRING, .s = k->a},
                                              {.name = "f", .type = LAFS_ONNX_ATTR_FLOAT, .f = (float)ints[2]},
                                              {.name = "i", .type = LAFS_ONNX_ATTR_INT, .i = ints[0]}};
        lafs_onnx_put_node(w, k->a, k->b, in, k->n, attr, (int)(take(s) % 5));
    } else if (what == 1 && tensors < MOST) {
        static union {
            float f[4 * 4 * 4];
            int64_t i[4 * 4 * 4];
        } data;
        k = &tensor[tensors++];
        take_text(s, k->a);
        k->n = (int)(take(s) % 4);
        k->type = take(s) % 2 ? LAFS_ONNX_FLOAT : LAFS_ONNX_INT64;
        for (int i = 0; i < k->n; i++) k->shape[i] = take(s) % 5;
        k->value = (float)take(s);
        data.i[0] = 0;
        data.f[0] = k->value;
        lafs_onnx_put_tensor(w, k->a, k->type, k->shape, k->n, &data);
    } else if (what == 2 && metas < MOST) {
        k = &meta[metas++];
        take_text(s, k->a);
        take_text(s, k->b);
        lafs_onnx_put_meta(w, k->a, k->b);
    }
}

#define SAME(a, b) \
    if (strcmp(a, b)) abort()

static void compare(const struct lafs_onnx *o)
{
    if (o->nodes != nodes || o->tensors != tensors || o->metas != metas) abort();
    for (int i = 0; i < nodes; i++) {
        SAME(o->node[i].op, node[i].a);
        SAME(o->node[i].output, node[i].b);
        SAME(o->node[i].name, node[i].b);
        if (o->node[i].inputs != node[i].n) abort();
        if (node[i].n > 1) SAME(o->node[i].input[1], node[i].b);
    }
    for (int i = 0; i < tensors; i++) {
        const struct lafs_onnx_tensor *t = &o->tensor[i];
        SAME(t->name, tensor[i].a);
        if (t->ndim != tensor[i].n || t->type != tensor[i].type) abort();
        for (int k = 0; k < t->ndim; k++)
            if (t->shape[k] != tensor[i].shape[k]) abort();
        if (t->data && t->count && t->data[0] != tensor[i].value) abort();
        if (!t->data == (t->type == LAFS_ONNX_FLOAT)) abort();
    }
    for (int i = 0; i < metas; i++) {
        SAME(o->meta[i].key, meta[i].a);
        SAME(o->meta[i].value, meta[i].b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source s = {data, size};
    struct lafs_onnx_writer w;
    struct lafs_onnx *o;
    struct lafs_buf out;
    struct lafs_err err;
    nodes = tensors = metas = 0;
    lafs_onnx_writer_init(&w);
    lafs_buf_init(&out);
    while (s.left) put(&s, &w);
    lafs_onnx_put_value(&w, 1, "x", (const int64_t[]){-1, 3}, 2);
    if (lafs_onnx_finish(&w, 17, "doc", "fuzz", &out, &err) != LAFS_OK) abort();
    if (lafs_onnx_parse(&o, out.data, out.size, &err) != LAFS_OK) abort();
    compare(o);
    lafs_onnx_close(o);
    lafs_onnx_writer_release(&w);
    lafs_buf_release(&out);
    return 0;
}
