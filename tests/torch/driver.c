/* usage: driver DEVICE IN.safetensors OUT.safetensors
 *
 * Computes one case of tests/torch/twin.py with the library: what to do stands in IN's metadata ("mode"), the model in
 * another file that it names, inputs and upstream gradients in its tensors. OUT receives results, `grad.NAME` of all
 * parameters and `value.NAME` of the buffers. "save" in the metadata: the model is written there again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/part_fvit.h"
#include "train/dino.h"

enum { MAX_OUT = 1024, NAME = 160 };

static struct {
    struct lafs_backend b;
    struct lafs_st *in;
    struct lafs_st_tensor out[MAX_OUT];
    char name[MAX_OUT][NAME];
    int outs;
} s;

static _Noreturn void die(const struct lafs_err *err)
{
    fprintf(stderr, "driver: %s\n", err->msg);
    exit(1);
}
#define DO(expr) do { struct lafs_err err = {0}; if ((expr) != LAFS_OK) die(&err); } while (0)

static void *memory(int64_t count, size_t size)
{
    void *p;
    DO(lafs_alloc0(&p, (size_t)count, size, &err));
    return p;
}

static const char *meta(const char *key)
{
    const char *v = lafs_st_meta(s.in, key);
    return v ? v : "";
}
static double number(const char *key) { return strtod(meta(key), NULL); }

static const struct lafs_st_tensor *tensor(const char *name)
{
    const struct lafs_st_tensor *t = lafs_st_find(s.in, name);
    struct lafs_err err = {0};
    if (!t) lafs_fail(&err, LAFS_FAILED, "the case has no tensor '%s'", name);
    if (!t) die(&err);
    return t;
}
static float *floats(const char *name)
{
    const struct lafs_st_tensor *t = tensor(name);
    float *p = memory(t->count, sizeof *p);
    DO(lafs_st_read_f32(s.in, name, t->shape, t->ndim, p, &err));
    return p;
}
/* 8-byte integers; NULL if there are none of that name. */
static void *integers(const char *name)
{
    if (!lafs_st_find(s.in, name)) return NULL;
    const struct lafs_st_tensor *t = tensor(name);
    void *p = memory(t->count, 8);
    memcpy(p, t->data, (size_t)t->count * 8);
    return p;
}

static void give(const char *label, const char *name, enum lafs_dtype type, int ndim, const int64_t *shape, const void *data)
{
    struct lafs_st_tensor *t = &s.out[s.outs];
    snprintf(s.name[s.outs], NAME, "%s%s", label, name);
    *t = (struct lafs_st_tensor){.name = s.name[s.outs++], .dtype = type, .ndim = ndim, .count = 1, .data = data};
    for (int i = 0; i < ndim; i++) t->count *= t->shape[i] = shape[i];
}
static void give_rows(const char *name, int64_t rows, int64_t width, const float *x)
{
    give("", name, LAFS_F32, 2, (const int64_t[]){rows, width}, x);
}
static void give_params(const struct lafs_params *ps, const float *grad)
{
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        const float *x = p->trainable ? grad : ps->value;
        give(p->trainable ? "grad." : "value.", p->name, LAFS_F32, p->ndim, p->shape, x + p->off);
    }
}

/* The model that the case names, and its gradients. */
static float *load(struct lafs_model *m)
{
    DO(lafs_model_load(m, &s.b, meta("model"), &err));
    if (*meta("save")) DO(lafs_model_save(m, &s.b, m->params.value, meta("save"), NULL, 0, &err));
    return memory(m->params.size, sizeof(float));
}

static void run_vit(void)
{
    struct lafs_model m;
    float *grad = load(&m), *tokens = floats("tokens"), *demb = floats("demb"), *emb;
    int64_t *off = integers("off"), n = tensor("off")->count - 1, width = lafs_token_width(&m.config.vit), longest = 0;
    for (int64_t i = 0; i < n; i++) longest = off[i + 1] - off[i] > longest ? off[i + 1] - off[i] : longest;
    struct lafs_seqs seqs = {n, off, off, longest};
    struct lafs_vit_work w = {0};
    struct lafs_arena a = {0};
    DO(lafs_vit_plan(&w, &m.vit, off[n], n, 1, &s.b, &a, &err));
    DO(lafs_arena_reserve(&a, &s.b, &err));
    DO(lafs_vit_plan(&w, &m.vit, off[n], n, 1, &s.b, &a, &err));
    emb = memory(n * m.config.vit.dim, sizeof *emb);
    float *dtokens = memory(off[n] * width, sizeof *dtokens);
    lafs_vit_weights(&w, &s.b, m.params.value);
    lafs_vit_forward(&w, &s.b, m.params.value, &seqs, tokens, integers("keys"), NULL, emb);
    lafs_vit_backward(&w, &s.b, m.params.value, demb, grad, dtokens);
    give_rows("emb", n, m.config.vit.dim, emb);
    give_rows("dtokens", off[n], width, dtokens);
    give_params(&m.params, grad);
}

static void run_cnn(void)
{
    struct lafs_model m;
    float *grad = load(&m), *images = floats("images"), *dlm = floats("dlandmarks");
    int64_t n = tensor("images")->shape[0], out = 2 * (int64_t)m.config.vit.patches;
    struct lafs_cnn_work w = {0}, folded = {0};
    struct lafs_arena a = {0};
    for (int pass = 0; pass < 2; pass++) {
        DO(lafs_cnn_plan(&w, &m.cnn, n, LAFS_CNN_KEEP, &s.b, &a, &err));
        DO(lafs_cnn_plan(&folded, &m.cnn, n, LAFS_CNN_FOLDED, &s.b, &a, &err));
        if (pass == 0) DO(lafs_arena_reserve(&a, &s.b, &err));
    }
    float *lm = memory(n * out, sizeof *lm), *fast = memory(n * out, sizeof *fast), *di = memory(tensor("images")->count, sizeof *di);
    DO(lafs_cnn_fold(&folded, &s.b, m.params.value, &err));
    lafs_cnn_forward(&folded, &s.b, m.params.value, NULL, n, images, NULL, fast);
    lafs_cnn_forward(&w, &s.b, m.params.value, number("train") ? m.params.value : NULL, n, images, integers("keys"), lm);
    lafs_cnn_backward(&w, &s.b, m.params.value, dlm, grad, di);
    give_rows("landmarks", n, out, lm);
    give_rows("landmarks_folded", n, out, fast);
    give_rows("dimages", n, 112 * 112 * 3, di);
    give_params(&m.params, grad);
}

static void run_part(void)
{
    struct lafs_model m;
    float *grad = load(&m), *images = floats("images"), *weight = floats("weight"), *lambda = floats("lambda"), *more = floats("dlandmarks");
    int64_t n = tensor("images")->shape[0], classes = tensor("weight")->shape[0], dim = m.config.vit.dim;
    int64_t *a_of = integers("a"), *b_of = integers("b");
    struct lafs_target *target = memory(n, sizeof *target);
    for (int64_t i = 0; i < n; i++) target[i] = (struct lafs_target){a_of[i], b_of[i], lambda[i]};
    struct lafs_model_work w = {0};
    struct lafs_arena a = {0};
    enum lafs_model_mode mode = number("frozen") ? LAFS_MODEL_VIT_ONLY : LAFS_MODEL_TRAIN;
    DO(lafs_model_plan(&w, &m, n, mode, &s.b, &a, &err));
    DO(lafs_arena_reserve(&a, &s.b, &err));
    DO(lafs_model_plan(&w, &m, n, mode, &s.b, &a, &err));
    DO(lafs_model_fold(&w, &s.b, m.params.value, &err));
    float *emb = memory(n * dim, sizeof *emb), *demb = memory(n * dim, sizeof *demb), *logits = memory(n * classes, sizeof *logits);
    float *dweight = memory(classes * dim, sizeof *dweight);
    double *loss = memory(1, sizeof *loss);
    lafs_model_forward(&w, &s.b, m.params.value, number("train") ? m.params.value : NULL, n, images, integers("keys"), NULL, emb);
    s.b.ops->margin_loss(s.b.dev, s.b.precision, n, dim, classes, emb, weight, target, *meta("kind") == 'a' ? LAFS_MARGIN_ARCFACE : LAFS_MARGIN_COSFACE,
                         (float)number("s"), (float)number("m"), 1, memory((int64_t)s.b.ops->margin_scratch(n, dim, classes), 1), loss,
                         demb, dweight, logits);
    lafs_model_backward(&w, &s.b, m.params.value, demb, more, grad);
    give_rows("emb", n, dim, emb);
    if (w.landmarks) give_rows("landmarks", n, 2 * m.config.vit.patches, w.landmarks);
    give_rows("logits", n, classes, logits);
    give_rows("grad.loss.weight", classes, dim, dweight);
    give("", "loss", LAFS_F64, 0, NULL, loss);
    give_params(&m.params, grad);
}

/* Head parameters of the case under `prefix`, placed. */
static void head_values(struct lafs_params *ps, const char *prefix)
{
    DO(lafs_params_place(ps, &s.b, &err));
    for (int i = 0; i < ps->count; i++) {
        char name[2 * NAME];
        snprintf(name, sizeof name, "%s%s", prefix, ps->p[i].name);
        DO(lafs_st_read_f32(s.in, name, ps->p[i].shape, ps->p[i].ndim, lafs_params_at(ps, i), &err));
    }
}

static void run_dino(void)
{
    const struct lafs_dino_config c = {(int64_t)number("dim"), (int64_t)number("hidden"), (int64_t)number("bottleneck"), (int64_t)number("out")};
    int vs = (int)number("vs"), vt = (int)number("vt");
    int64_t b = (int64_t)number("b"), rows[2] = {vs * b, vt * b};
    struct lafs_dino_head h;
    struct lafs_params ps[2]; /* student, teacher */
    struct lafs_dino_work w[2];
    struct lafs_arena a = {0};
    float *emb[2] = {floats("student"), floats("teacher")}, *center = floats("center"), *mean = memory(c.out, sizeof *mean);
    double *loss = memory(5, sizeof *loss);
    for (int i = 0; i < 2; i++) {
        lafs_params_init(&ps[i]);
        DO(lafs_dino_declare(&h, &c, &ps[i], 1, &err));
        head_values(&ps[i], i ? "t." : "s.");
        lafs_dino_plan(&w[i], &c, rows[i], 1, &a);
    }
    DO(lafs_arena_reserve(&a, &s.b, &err));
    for (int i = 0; i < 2; i++) {
        int64_t *off = memory(rows[i] + 1, sizeof *off);
        for (int64_t k = 0; k <= rows[i]; k++) off[k] = k;
        const struct lafs_seqs one = {rows[i], off, off, 1};
        lafs_dino_plan(&w[i], &c, rows[i], 1, &a);
        lafs_dino_forward(&h, &s.b, &ps[i], ps[i].value, &one, emb[i], &w[i]);
        give_rows(i ? "teacher_logits" : "student_logits", rows[i], c.out, w[i].logits);
    }
    const float temp[2] = {0.1f, (float)number("temp")};
    s.b.ops->dino_loss(s.b.dev, b, c.out, vs, vt, w[0].logits, w[1].logits, center, temp, 1, loss, w[0].dlogits, mean, loss + 1);
    int64_t *off = memory(rows[0] + 1, sizeof *off);
    for (int64_t k = 0; k <= rows[0]; k++) off[k] = k;
    const struct lafs_seqs one = {rows[0], off, off, 1};
    float *demb = memory(rows[0] * c.dim, sizeof *demb), *grad = memory(ps[0].size, sizeof *grad);
    lafs_dino_backward(&h, &s.b, &ps[0], ps[0].value, &one, emb[0], &w[0], 1, demb, grad);
    give("", "loss", LAFS_F64, 0, NULL, loss);
    give_rows("center_mean", 1, c.out, mean);
    give_rows("demb", rows[0], c.dim, demb);
    give_params(&ps[0], grad);
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    DO(lafs_backend_open(&s.b, argv[1], NULL, NULL, &err));
    DO(lafs_st_open(&s.in, argv[2], &err));
    static const struct { const char *mode; void (*run)(void); } modes[] = {{"vit", run_vit}, {"cnn", run_cnn}, {"part", run_part}, {"dino", run_dino}};
    for (int i = 0; i < 4; i++)
        if (!strcmp(meta("mode"), modes[i].mode)) modes[i].run();
    DO(s.b.ops->sync(s.b.dev, &err));
    DO(lafs_st_write(argv[3], s.out, s.outs, NULL, 0, &err));
    return s.outs == 0;
}
