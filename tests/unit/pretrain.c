/* What no golden number shows: whose dropout is whose, and what collapse looks like. */
#include "tests/test.h"

#include <unistd.h>

#include "base/rng.h"
#include "train/pretrain.h"

enum { R = 4, SUBSET = 2, MICRO = 2, GLOBALS = 2, LOCALS = 2, VIEWS = GLOBALS + LOCALS, WIDTH = 192, K = 16 };
enum { TOKENS = MICRO * (GLOBALS * R + LOCALS * SUBSET) };

struct session {
    struct lafs_backend b;
    struct lafs_pretrain *t;
    struct lafs_pretrain_inside in;
    struct lafs_pretrain_report r;
    struct lafs_err err;
    int alike;          /* all tokens are; 2: those of an image; 0: none */
    float *tokens;      /* (TOKENS, WIDTH) device */
    uint64_t hash[MICRO];
};

static lafs_status next(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    struct session *s = arg;
    float x[TOKENS * WIDTH];
    struct lafs_rng rng;
    (void)i, (void)err;
    lafs_rng_init(&rng, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    for (int k = 0; k < TOKENS * WIDTH; k++) x[k] = s->alike ? 0.25f : (float)lafs_rng_uniform(&rng, -1, 1);
    for (int k = 0; s->alike == 2 && k < TOKENS * WIDTH; k++) /* right for global views */
        x[k] = k / WIDTH / R % MICRO ? 0.25f : -0.5f;
    s->b.ops->upload(s->b.dev, s->tokens, x, sizeof x);
    *batch = (struct lafs_feed_batch){s->tokens, s->hash, MICRO};
    return s->b.ops->sync(s->b.dev, err);
}

static lafs_status begin(struct session *s, int alike, float dropout)
{
    struct lafs_pretrain_config c;
    struct lafs_err *err = &s->err;
    *s = (struct session){.alike = alike, .hash = {1, 2}};
    LAFS_TRY(lafs_backend_open(&s->b, "cpu", NULL, NULL, err));
    LAFS_TRY(s->b.ops->alloc(s->b.dev, (void **)&s->tokens, TOKENS * WIDTH * sizeof(float), err));
    LAFS_TRY(lafs_pretrain_config_default(&c, "xs", 0, err));
    c.model.vit = (struct lafs_vit_config){.dim = 64, .depth = 1, .heads = 1, .mlp = 64, .patches = R, .patch = 8,
                                           .dropout = dropout};
    c.head = (struct lafs_dino_config){.dim = 64, .hidden = 32, .bottleneck = 16, .out = K};
    c.views.globals = GLOBALS;
    c.views.locals = LOCALS;
    c.points.landmarks = R;
    c.points.subset = SUBSET;
    c.batch = c.micro = MICRO;
    c.images = 100 * MICRO;
    c.epochs = 2;
    c.warmup_epochs = 0;
    c.seed = 5;
    c.lr = c.lr_final = 0;
    if (alike == 1) c.center_momentum = 1; /* or the centre would make the teacher uniform */
    LAFS_TRY(lafs_pretrain_open(&s->t, &c, &s->b, NULL, err));
    lafs_pretrain_look(s->t, &s->in);
    return LAFS_OK;
}

static void end(struct session *s)
{
    lafs_pretrain_close(s->t);
    s->b.ops->free(s->b.dev, s->tokens);
    lafs_backend_close(&s->b);
}

static lafs_status step(struct session *s) { return lafs_pretrain_learn(s->t, next, s, &s->r, &s->err); }

/* Rows of logits that are equal to an earlier one. */
static int repeated(const float *const *row, int n)
{
    int found = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) found += !memcmp(row[i], row[k], K * sizeof(float));
    return found;
}

/* Where all see the same, outputs differ by dropout: of images, views, student and teacher, epochs. */
TEST(each_view_has_a_dropout_of_its_own)
{
    enum { ROWS = MICRO * (2 * GLOBALS) };
    struct session s;
    float student[2][MICRO * VIEWS * K];
    REQUIRE_OK(begin(&s, 1, 0.1f), &s.err);
    for (int epoch = 0; epoch < 2; epoch++) {
        const float *row[ROWS];
        for (int i = 0; i < (epoch ? 100 : 1); i++) REQUIRE_OK(step(&s), &s.err);
        CHECK_INT(s.r.epoch, epoch);
        for (int i = 0; i < ROWS; i++)
            row[i] = i < ROWS / 2 ? s.in.student_logits + i * K : s.in.teacher_logits + (i - ROWS / 2) * K;
        CHECK_INT(repeated(row, ROWS), 0);
        memcpy(student[epoch], s.in.student_logits, sizeof student[epoch]);
    }
    CHECK(memcmp(student[0], student[1], sizeof student[0]));
    end(&s);
    REQUIRE_OK(begin(&s, 1, 0), &s.err); /* without dropout all global views are one */
    REQUIRE_OK(step(&s), &s.err);
    const float *row[2] = {s.in.student_logits, s.in.teacher_logits + (MICRO * GLOBALS - 1) * K};
    CHECK_INT(repeated(row, 2), 1);
    end(&s);
}

/* Steps until training stops, 0: it goes on. A checkpoint on the way, restored into *second, which then goes on instead
 * (and is s's error, too), changes nothing. */
static int steps_to_collapse(struct session *s, struct session *second, int restart)
{
    struct session *now = s;
    for (int i = 1; i <= 60; i++) {
        if (step(now) != LAFS_OK) {
            s->err = now->err;
            return i;
        }
        if (i != restart) continue;
        struct lafs_ckpt c;
        struct lafs_st *st;
        lafs_ckpt_init(&c);
        if (lafs_pretrain_checkpoint(s->t, &c, &s->err) != LAFS_OK ||
            lafs_st_wrap(&st, c.tensor, c.count, c.meta, c.metas, &s->err) != LAFS_OK ||
            lafs_pretrain_restore(second->t, st, &s->err) != LAFS_OK)
            return -1;
        lafs_st_close(st);
        lafs_ckpt_release(&c);
        now = second;
    }
    return 0;
}

TEST(equal_embeddings_are_collapse)
{
    struct session s, second;
    for (int restart = 0; restart < 40; restart += 30) {
        REQUIRE_OK(begin(&s, 1, 0), &s.err);
        REQUIRE_OK(begin(&second, 1, 0), &second.err);
        CHECK_INT(steps_to_collapse(&s, &second, restart), 50);
        CHECK_STR(s.err.msg, "step 50: training has collapsed: all embeddings are equal for 50 steps");
        end(&s);
        end(&second);
    }
    REQUIRE_OK(begin(&s, 0, 0), &s.err);
    CHECK_INT(steps_to_collapse(&s, NULL, 0), 0);
    end(&s);
}

/* All classes have the same direction. */
TEST(a_uniform_teacher_is_collapse)
{
    struct session s;
    REQUIRE_OK(begin(&s, 0, 0), &s.err);
    const struct lafs_param *v = lafs_params_find(s.in.params, "head.last_layer.weight_v");
    REQUIRE(v);
    for (int64_t i = v->shape[1]; i < v->size; i++) {
        s.in.student[v->off + i] = s.in.student[v->off + i % v->shape[1]];
        s.in.teacher[v->off + i] = s.in.teacher[v->off + i % v->shape[1]];
    }
    CHECK_INT(steps_to_collapse(&s, NULL, 0), 50);
    CHECK_STR(s.err.msg, "step 50: training has collapsed: the teacher's output is uniform for 50 steps");
    end(&s);
}

/* The views of an image are alike, and those of two are not. */
TEST(views_are_found_by_their_image)
{
    struct session s;
    REQUIRE_OK(begin(&s, 2, 0), &s.err);
    REQUIRE_OK(step(&s), &s.err);
    CHECK_NEAR(s.r.found, 1, 0);
    CHECK(s.r.spread > 0.01);
    end(&s);
}

TEST(the_model_is_the_teacher)
{
    struct session s;
    struct lafs_st *st;
    char dir[] = "/tmp/lafs-pretrain.XXXXXX", path[64];
    REQUIRE(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.safetensors", dir);
    REQUIRE_OK(begin(&s, 0, 0), &s.err);
    const struct lafs_param *p = lafs_params_find(s.in.params, "cls_token");
    REQUIRE(p);
    for (int64_t i = 0; i < p->size; i++) s.in.teacher[p->off + i] = 2 + s.in.student[p->off + i];
    REQUIRE_OK(lafs_pretrain_save_model(s.t, NULL, path, NULL, 0, &s.err), &s.err);
    REQUIRE_OK(lafs_st_open(&st, path, &s.err), &s.err);
    const struct lafs_st_tensor *t = lafs_st_find(st, "cls_token");
    CHECK(t && t->count == p->size && !memcmp(t->data, s.in.teacher + p->off, (size_t)p->size * sizeof(float)));
    lafs_st_close(st);
    unlink(path);
    rmdir(dir);
    end(&s);
}

TEST_MAIN(each_view_has_a_dropout_of_its_own, equal_embeddings_are_collapse, a_uniform_teacher_is_collapse,
          views_are_found_by_their_image, the_model_is_the_teacher)
