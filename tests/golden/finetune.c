/* Supervised training against the authors' code: one step with everything trainable and the landmark regulariser, and six
 * AdamW steps with accumulation and a frozen CNN. */
#include "tests/golden/golden.h"

#include "train/finetune.h"

enum { R = 196, BATCH = 4, CROP = 112 * 112 * 3, CLASSES = 10, DIM = 96 };

struct maker {
    const struct lafs_backend *b;
    float *images;                     /* device */
    struct lafs_target target[BATCH];
    uint64_t hash[BATCH];
    int step;
    const char *image;                 /* the only one's name; NULL: ft{step}.{pass} */
    const int *labels;
};

static lafs_status make(void *arg, int64_t i, struct lafs_finetune_batch *batch, struct lafs_err *err)
{
    struct maker *m = arg;
    char name[64];
    if (m->image) snprintf(name, sizeof name, "%s", m->image);
    else snprintf(name, sizeof name, "ft%d.%d.image", m->step, (int)i);
    float *im = golden_new(name, BATCH * CROP, -1, 1), label[BATCH];
    golden_nchw_to_nhwc(im, BATCH, 3, 112, 112);
    m->b->ops->upload(m->b->dev, m->images, im, BATCH * CROP * sizeof *im);
    free(im);
    snprintf(name, sizeof name, "ft%d.%d.label", m->step, (int)i);
    golden_fill(name, BATCH, 0, CLASSES, label);
    for (int k = 0; k < BATCH; k++) {
        int64_t l = m->labels ? m->labels[k] : (int64_t)floorf(label[k]);
        m->target[k] = (struct lafs_target){l, l, 1};
    }
    *batch = (struct lafs_finetune_batch){m->images, m->target, m->hash, BATCH};
    return m->b->ops->sync(m->b->dev, err);
}

static void configure(struct lafs_finetune_config *c)
{
    struct lafs_err err;
    REQUIRE_OK(lafs_finetune_config_default(c, "xs", 3, &err), &err);
    c->model.vit = (struct lafs_vit_config){.dim = DIM, .depth = 3, .heads = 2, .mlp = 160, .patches = R, .patch = 8};
    c->classes = CLASSES;
    c->images = 1000;
    c->micro = BATCH;
    c->mixup_p = 0;
    c->cnn_dropout = 0;
}

/* Closes what a test opened, whatever became of it. */
struct session {
    struct lafs_backend b;
    struct lafs_st *g;
    struct lafs_finetune *t;
    struct maker m;
    struct lafs_finetune_inside in;
};

static int begin(struct session *s, const char *file, const struct lafs_finetune_config *c)
{
    struct lafs_err err = {0};
    memset(s, 0, sizeof *s);
    s->g = golden_open(file);
    if (!s->g || lafs_backend_open(&s->b, "cpu", NULL, NULL, &err) != LAFS_OK ||
        s->b.ops->alloc(s->b.dev, (void **)&s->m.images, BATCH * CROP * sizeof(float), &err) != LAFS_OK ||
        lafs_finetune_open(&s->t, c, &s->b, NULL, NULL, NULL, &err) != LAFS_OK) {
        FAIL_("%s", err.msg);
        return 0;
    }
    s->m.b = &s->b;
    lafs_finetune_look(s->t, &s->in);
    golden_params(s->in.params, &s->b, "");
    return 1;
}

static void end(struct session *s)
{
    lafs_finetune_close(s->t);
    if (s->b.ops) s->b.ops->free(s->b.dev, s->m.images);
    lafs_backend_close(&s->b);
    lafs_st_close(s->g);
}

static float *fetch(const struct session *s, const float *x, int64_t n)
{
    float *h = golden_alloc((size_t)n, sizeof *h);
    s->b.ops->download(s->b.dev, h, x, (size_t)n * sizeof *h);
    return h;
}

/* One whole step, the first of the warm-up: the learning rate is 0, so that gradients and running statistics are all that changes. */
TEST(step)
{
    static const int labels[BATCH] = {3, 0, 8, 3};
    struct lafs_finetune_config c;
    struct lafs_finetune_report r;
    struct session s;
    struct lafs_err err;
    configure(&c);
    c.batch = BATCH;
    c.landmark_constant = 100;
    c.warmup_epochs = 1;
    REQUIRE(begin(&s, "finetune-step", &c));
    s.m.image = "step.29.image";
    s.m.labels = labels;
    /* The frozen CNN has weights of its own. */
    struct lafs_params frozen = *s.in.params;
    frozen.value = s.in.frozen_cnn;
    golden_params(&frozen, &s.b, "frozen.");
    REQUIRE_OK(lafs_finetune_keep_frozen(s.t, &err), &err);
    REQUIRE_OK(lafs_finetune_learn(s.t, make, &s.m, &r, &err), &err);
    golden_check_at(s.g, "cross_entropy", 0, r.cross_entropy, 1e-4);
    golden_check_at(s.g, "regulariser", 0, r.regulariser / 100, 1e-4);
    float *lm = fetch(&s, s.in.landmarks, BATCH * R * 2), *fl = fetch(&s, s.in.frozen_landmarks, BATCH * R * 2),
          *lo = fetch(&s, s.in.logits, BATCH * CLASSES);
    golden_check(s.g, "landmarks", lm, BATCH * R * 2, 1e-4);
    golden_check(s.g, "frozen_landmarks", fl, BATCH * R * 2, 1e-4);
    golden_check(s.g, "logits", lo, BATCH * CLASSES, 1e-4);
    free(lm), free(fl), free(lo);
    int seen = 0;
    for (int i = 0; i < s.in.params->count; i++) {
        char name[256];
        snprintf(name, sizeof name, "grad_norm/%s", s.in.params->p[i].name);
        if (!lafs_st_find(s.g, name)) continue;
        golden_check_at(s.g, name, 0, s.in.grad_norm[i], 1e-3);
        seen++;
    }
    CHECK_INT(seen, 184);
    const struct lafs_param *p = lafs_params_find(s.in.params, "output_layer.1.weight");
    float *grad = fetch(&s, s.in.grad + p->off, 4 * 160);
    golden_check(s.g, "grad/output_layer.1.weight_first4", grad, 4 * 160, 1e-3);
    free(grad);
    end(&s);
}

TEST(six_steps)
{
    struct lafs_finetune_config c;
    struct lafs_finetune_report r;
    struct session s;
    struct lafs_err err;
    configure(&c);
    c.batch = 2 * BATCH;
    c.freeze_cnn = 1;
    c.decay.cnn = -1;
    c.lr = c.lr_final = 1e-3;
    c.warmup_epochs = 0;
    REQUIRE(begin(&s, "finetune", &c));
    for (s.m.step = 0; s.m.step < 6; s.m.step++) {
        REQUIRE_OK(lafs_finetune_learn(s.t, make, &s.m, &r, &err), &err);
        golden_check_at(s.g, "loss", s.m.step, r.loss, 1e-4);
        for (int i = 0; s.m.step == 0 && i < s.in.params->count; i++) {
            char name[256];
            snprintf(name, sizeof name, "step0_grad_norm/%s", s.in.params->p[i].name);
            if (lafs_st_find(s.g, name)) golden_check_at(s.g, name, 0, s.in.grad_norm[i], 1e-3);
        }
    }
    int seen = 0;
    for (int i = 0; i < s.in.params->count; i++) {
        const struct lafs_param *p = &s.in.params->p[i];
        char name[256];
        snprintf(name, sizeof name, "final_norm/%s", p->name);
        if (!lafs_st_find(s.g, name)) continue;
        float *v = fetch(&s, s.in.params->value + p->off, p->size);
        double sum = 0;
        for (int64_t k = 0; k < p->size; k++) sum += (double)v[k] * v[k];
        free(v);
        golden_check_at(s.g, name, 0, sqrt(sum), 1e-4);
        seen++;
    }
    CHECK(seen > 250);
    end(&s);
}

TEST_MAIN(step, six_steps)
