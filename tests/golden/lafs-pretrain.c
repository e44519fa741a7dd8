/* Six steps of LAFS against the authors' code: losses, first outputs, gradients, final student, teacher and centre. */
#include "tests/golden/golden.h"

#include "model/part_fvit.h"
#include "train/pretrain.h"

enum { R = 196, LOCAL = 36, BATCH = 2, VIEWS = 10, CROP = 112 * 112 * 3, WIDTH = 192, STEPS = 6, K = 512 };

struct maker {
    const struct lafs_backend *b;
    const struct lafs_model *cnn;
    struct lafs_arena arena;
    struct lafs_cnn_work work;
    float *images, *landmarks, *points, *tokens;
    int64_t off[BATCH + 1], *dev_off;
    uint64_t hash[BATCH];
    int step;
};

static lafs_status plan(struct maker *m, struct lafs_err *err)
{
    struct lafs_arena *a = &m->arena;
    m->images = lafs_arena_take(a, BATCH * CROP, sizeof(float));
    m->landmarks = lafs_arena_take(a, BATCH * R * 2, sizeof(float));
    m->points = lafs_arena_take(a, BATCH * R * 2, sizeof(float));
    m->tokens = lafs_arena_take(a, BATCH * (2 * R + 8 * LOCAL) * WIDTH, sizeof(float));
    m->dev_off = lafs_arena_take(a, BATCH + 1, sizeof(int64_t));
    return lafs_cnn_plan(&m->work, &m->cnn->cnn, BATCH, LAFS_CNN_FOLDED, m->b, a, err);
}

static void put_images(struct maker *m, int view, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "step%d.view%d.%s", m->step, view, what);
    float *im = golden_new(name, BATCH * CROP, -1, 1);
    golden_nchw_to_nhwc(im, BATCH, 3, 112, 112);
    m->b->ops->upload(m->b->dev, m->images, im, BATCH * CROP * sizeof *im);
    free(im);
}

/* Cuts the patches of one view behind tokens `at`; returns their number per image. */
static int64_t put_view(struct maker *m, int view, int64_t at)
{
    const struct lafs_backend *b = m->b;
    char name[64];
    int n = view < 2 ? R : LOCAL;
    put_images(m, view, "clean");
    lafs_cnn_forward(&m->work, b, m->cnn->params.value, NULL, BATCH, m->images, NULL, m->landmarks);
    float *lm = golden_alloc(BATCH * R * 2, sizeof *lm), *pt = golden_alloc(BATCH * R * 2, sizeof *pt);
    b->ops->download(b->dev, lm, m->landmarks, BATCH * R * 2 * sizeof *lm);
    snprintf(name, sizeof name, "step%d.view%d.noise", m->step, view);
    float *noise = golden_new(name, BATCH * R * 2, -1.7320508, 1.7320508);
    snprintf(name, sizeof name, "step%d.view%d.index", m->step, view);
    float *index = golden_new(name, BATCH * LOCAL, 0, R);
    for (int i = 0; i < BATCH; i++)
        for (int j = 0; j < n; j++) {
            int k = view < 2 ? j : (int)floorf(index[i * LOCAL + j]);
            for (int c = 0; c < 2; c++)
                pt[(i * n + j) * 2 + c] = lm[(i * R + k) * 2 + c] + 5 * noise[(i * R + k) * 2 + c];
        }
    put_images(m, view, "aug");
    b->ops->upload(b->dev, m->points, pt, (size_t)(BATCH * n * 2) * sizeof *pt);
    for (int i = 0; i <= BATCH; i++) m->off[i] = i * n;
    b->ops->upload(b->dev, m->dev_off, m->off, sizeof m->off);
    struct lafs_seqs s = {BATCH, m->off, m->dev_off, n};
    b->ops->patch_cut(b->dev, &s, 112, 8, 1, m->images, m->points, m->tokens + at * WIDTH);
    free(lm), free(pt), free(noise), free(index);
    return n;
}

static lafs_status make(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    (void)i;
    struct maker *m = arg;
    int64_t at = 0;
    for (int v = 0; v < VIEWS; v++) at += BATCH * put_view(m, v, at);
    *batch = (struct lafs_feed_batch){m->tokens, m->hash, BATCH};
    return m->b->ops->sync(m->b->dev, err);
}

static void configure(struct lafs_pretrain_config *c, struct lafs_model_config *mc)
{
    struct lafs_err err;
    REQUIRE_OK(lafs_pretrain_config_default(c, "xs", 0, &err), &err);
    c->model.vit = (struct lafs_vit_config){.dim = 96, .depth = 3, .heads = 2, .mlp = 160, .patches = R, .patch = 8};
    c->head = (struct lafs_dino_config){96, 2048, 256, K};
    c->images = 4;
    c->batch = c->micro = BATCH;
    c->epochs = 3;
    c->lr = 5e-4 * 64 * 2 / 256;
    c->warmup_epochs = 1;
    c->clip = 0.3;
    c->temp_epochs = 2;
    *mc = c->model;
    mc->parts = LAFS_PART_VIT | LAFS_PART_CNN;
}

static void set_student(const struct lafs_pretrain_inside *in, const struct lafs_backend *b)
{
    golden_params(in->params, b, "");
    b->ops->copy(b->dev, in->teacher, in->student, (size_t)in->params->size * sizeof(float));
}

static double norm_of(const struct lafs_backend *b, const float *x, int64_t n)
{
    float *h = golden_alloc((size_t)n, sizeof *h);
    double s = 0;
    b->ops->download(b->dev, h, x, (size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++) s += (double)h[i] * h[i];
    free(h);
    return sqrt(s);
}

/* Names in the file: backbone.* and head.*; ours have no backbone. */
static void golden_name(char out[256], const char *label, const char *name)
{
    snprintf(out, 256, "%s/%s%s", label, strncmp(name, "head.", 5) ? "backbone." : "", name);
}

static void check_norms(const struct lafs_st *g, const struct lafs_backend *b, const char *label,
                        const struct lafs_params *ps, const float *value, double tol)
{
    int seen = 0;
    for (int i = 0; i < ps->count; i++) {
        char name[256];
        golden_name(name, label, ps->p[i].name);
        if (!lafs_st_find(g, name)) continue;
        golden_check_at(g, name, 0, norm_of(b, value + ps->p[i].off, ps->p[i].size), tol);
        seen++;
    }
    CHECK(seen > 30);
}

static void check_first(const struct lafs_st *g, const struct lafs_backend *b, struct maker *m, struct lafs_pretrain *t)
{
    struct lafs_pretrain_inside in;
    lafs_pretrain_look(t, &in);
    float *out = golden_alloc(VIEWS * BATCH * K, sizeof *out);
    b->ops->download(b->dev, out, in.student_logits, VIEWS * BATCH * K * sizeof *out);
    golden_check(g, "step0_student_out", out, 2 * BATCH * K, 1e-4);
    b->ops->download(b->dev, out, in.teacher_logits, 2 * BATCH * K * sizeof *out);
    golden_check(g, "step0_teacher_out", out, 2 * BATCH * K, 1e-4);
    free(out);
    double sum[VIEWS] = {0};
    int64_t rows = BATCH * (2 * R + 8 * LOCAL), at = 0;
    float *tok = golden_alloc((size_t)(rows * WIDTH), sizeof *tok);
    b->ops->download(b->dev, tok, m->tokens, (size_t)(rows * WIDTH) * sizeof *tok);
    for (int v = 0; v < VIEWS; v++)
        for (int64_t n = (v < 2 ? R : LOCAL) * BATCH * WIDTH; n > 0; n--) sum[v] += tok[at++];
    free(tok);
    golden_check_f64(g, "step0_token_sum", sum, VIEWS, 1e-4);
    int seen = 0;
    for (int i = 0; i < in.params->count; i++) {
        char name[256];
        golden_name(name, "step0_grad_norm", in.params->p[i].name);
        if (!lafs_st_find(g, name)) continue;
        if (golden_ends(name, "weight_v")) continue; /* frozen in this step: the file has the gradient that is thrown away */
        golden_check_at(g, name, 0, in.grad_norm[i], 1e-3);
        seen++;
    }
    CHECK(seen > 30);
}

/* What the first step's report says of the teacher, whose centre was 0 then, from its logits and embeddings. */
static void check_figures(const struct lafs_backend *b, struct lafs_pretrain *t, const struct lafs_pretrain_report *r)
{
    enum { ROWS = 2 * BATCH, DIM = 96 };
    struct lafs_pretrain_inside in;
    lafs_pretrain_look(t, &in);
    float *z = golden_alloc(ROWS * K, sizeof *z), *e = golden_alloc(ROWS * DIM, sizeof *e);
    double *mean = golden_alloc(K, sizeof *mean), entropy = 0, of_mean = 0;
    unsigned char *largest = golden_alloc(K, 1);
    int classes = 0, found = 0;
    b->ops->download(b->dev, z, in.teacher_logits, ROWS * K * sizeof *z);
    b->ops->download(b->dev, e, in.teacher_emb, ROWS * DIM * sizeof *e);
    memset(mean, 0, K * sizeof *mean);
    memset(largest, 0, K);
    for (int i = 0; i < ROWS; i++) {
        const float *row = z + i * K;
        double sum = 0;
        int best = 0;
        for (int j = 0; j < K; j++) {
            sum += exp(row[j] / r->temp);
            if (row[j] > row[best]) best = j;
        }
        for (int j = 0; j < K; j++) {
            double p = exp(row[j] / r->temp) / sum;
            mean[j] += p / ROWS;
            entropy -= p * log(p) / ROWS;
        }
        classes += !largest[best];
        largest[best] = 1;
    }
    for (int j = 0; j < K; j++) of_mean -= mean[j] * log(mean[j]);
    for (int i = 0; i < ROWS; i++) {
        double most = -2;
        int best = -1;
        for (int j = 0; j < ROWS; j++) {
            double xy = 0, yy = 0;
            for (int k = 0; k < DIM; k++) {
                xy += (double)e[i * DIM + k] * e[j * DIM + k];
                yy += (double)e[j * DIM + k] * e[j * DIM + k];
            }
            if (j != i && xy / sqrt(yy) > most * (1 + 1e-12)) most = xy / sqrt(yy), best = j;
        }
        found += best % BATCH == i % BATCH;
    }
    CHECK(of_mean - entropy > 1e-3);
    CHECK_NEAR(r->entropy, entropy, 1e-4);
    CHECK_NEAR(r->information, of_mean - entropy, 1e-4);
    CHECK_NEAR(r->classes, classes, 1e-9);
    CHECK_NEAR(r->found, (double)found / ROWS, 1e-9);
    free(z), free(e), free(mean), free(largest);
}

/* Closes what a test opened, whatever became of it. */
struct session {
    struct lafs_backend b;
    struct lafs_pretrain_config c;
    struct lafs_model cnn;
    struct maker m;
    struct lafs_pretrain *t;
    struct lafs_pretrain_inside in;
};

/* passes: micro-batches of a step. */
static lafs_status begin(struct session *s, int passes, struct lafs_err *err)
{
    struct lafs_model_config mc;
    memset(s, 0, sizeof *s);
    LAFS_TRY(lafs_backend_open(&s->b, "cpu", NULL, NULL, err));
    configure(&s->c, &mc);
    s->c.batch *= passes;
    s->c.images *= passes;
    LAFS_TRY(lafs_model_init(&s->cnn, &mc, err));
    LAFS_TRY(lafs_params_place(&s->cnn.params, &s->b, err));
    golden_params(&s->cnn.params, &s->b, "");
    s->m = (struct maker){.b = &s->b, .cnn = &s->cnn, .hash = {1, 2}};
    LAFS_TRY(plan(&s->m, err));
    LAFS_TRY(lafs_arena_reserve(&s->m.arena, &s->b, err));
    LAFS_TRY(plan(&s->m, err));
    LAFS_TRY(lafs_cnn_fold(&s->m.work, &s->b, s->cnn.params.value, err));
    LAFS_TRY(lafs_pretrain_open(&s->t, &s->c, &s->b, NULL, err));
    lafs_pretrain_look(s->t, &s->in);
    set_student(&s->in, &s->b);
    return LAFS_OK;
}

static void end(struct session *s)
{
    lafs_pretrain_close(s->t);
    lafs_cnn_work_release(&s->m.work);
    lafs_arena_release(&s->m.arena, &s->b);
    lafs_model_release(&s->cnn, &s->b);
    lafs_backend_close(&s->b);
}

TEST(six_steps)
{
    struct lafs_err err;
    struct session s;
    struct lafs_st *g = golden_open("lafs-pretrain");
    REQUIRE(g);
    REQUIRE_OK(begin(&s, 1, &err), &err);
    for (s.m.step = 0; s.m.step < STEPS; s.m.step++) {
        struct lafs_pretrain_report r;
        REQUIRE_OK(lafs_pretrain_learn(s.t, make, &s.m, &r, &err), &err);
        golden_check_at(g, "loss", s.m.step, r.loss, 1e-5);
        double *lr, *wd, *mo;
        int64_t n;
        lr = golden_values(g, "lr", &n), wd = golden_values(g, "wd", &n), mo = golden_values(g, "momentum", &n);
        CHECK_NEAR(r.lr, lr[s.m.step], 1e-12);
        CHECK_NEAR(r.decay, wd[s.m.step], 1e-12);
        CHECK_NEAR(r.momentum, mo[s.m.step], 1e-12);
        free(lr), free(wd), free(mo);
        if (s.m.step == 0) check_first(g, &s.b, &s.m, s.t), check_figures(&s.b, s.t, &r);
    }
    check_norms(g, &s.b, "final_student_norm", s.in.params, s.in.student, 1e-5);
    check_norms(g, &s.b, "final_teacher_norm", s.in.params, s.in.teacher, 1e-5);
    float center[K];
    s.b.ops->download(s.b.dev, center, s.in.center, sizeof center);
    golden_check(g, "center_first16", center, 16, 1e-4);
    golden_check_at(g, "center_norm", 0, norm_of(&s.b, s.in.center, K), 1e-4);
    end(&s);
    lafs_st_close(g);
}

/* A step of twice the same micro-batch is the step of that one, to the bit. */
TEST(micro_batches_are_averaged)
{
    enum { TWO = 2 };
    struct lafs_err err;
    struct session s[TWO];
    struct lafs_pretrain_report r[TWO];
    for (int k = 0; k < TWO; k++) {
        REQUIRE_OK(begin(&s[k], k + 1, &err), &err);
        for (int i = 0; i < 2; i++) /* the learning rate of the first step is 0 */
            REQUIRE_OK(lafs_pretrain_learn(s[k].t, make, &s[k].m, &r[k], &err), &err);
    }
    const size_t bytes = (size_t)s[0].in.params->size * sizeof(float);
    CHECK(!memcmp(s[0].in.student, s[1].in.student, bytes) && !memcmp(s[0].in.teacher, s[1].in.teacher, bytes));
    CHECK(!memcmp(s[0].in.center, s[1].in.center, K * sizeof(float)));
    CHECK(r[0].loss == r[1].loss && r[0].entropy == r[1].entropy && r[0].kl == r[1].kl);
    CHECK(r[0].grad_norm == r[1].grad_norm && r[0].lr > 0);
    for (int k = 0; k < TWO; k++) end(&s[k]);
}

TEST_MAIN(six_steps, micro_batches_are_averaged)
