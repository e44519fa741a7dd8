#include "tests/test.h"

#include "train/optim.h"

/* One value a tensor; which decays how is a matter of its name and dimensions. */
enum { STN, STN_BIAS, LANDMARK, LANDMARK_BIAS, POSITION, BLOCK, BLOCK_BIAS, HEAD, RUNNING, N };
static const struct {
    const char *name;
    int ndim, trainable, depth;
} tensor[N] = {{"stn.features.0.0.weight", 4, 1, 0}, {"stn.features.0.1.bias", 1, 1, 0},
               {"output_layer.1.weight", 2, 1, 0},   {"output_layer.1.bias", 1, 1, 0},
               {"pos_embedding", 3, 1, 0},           {"transformer.layers.1.weight", 2, 1, 2},
               {"transformer.layers.1.bias", 1, 1, 2}, {"loss.weight", 2, 1, 3},
               {"stn.features.0.1.running_mean", 1, 0, 0}};

struct bench {
    struct lafs_backend b;
    struct lafs_params ps;
    struct lafs_optim o;
    struct lafs_err err;
};

static void update(void *arg) { lafs_optim_update(arg); }

static lafs_status begin(struct bench *t)
{
    static const int64_t ones[LAFS_MAX_DIMS] = {1, 1, 1, 1};
    memset(t, 0, sizeof *t);
    lafs_params_init(&t->ps);
    LAFS_TRY(lafs_backend_open(&t->b, "cpu", NULL, NULL, &t->err));
    for (int i = 0, id; i < N; i++)
        LAFS_TRY(lafs_params_add(&t->ps, tensor[i].name, tensor[i].ndim, ones, tensor[i].trainable, LAFS_INIT_ONE, 0,
                                 tensor[i].depth, &id, &t->err));
    LAFS_TRY(lafs_params_place(&t->ps, &t->b, &t->err));
    LAFS_TRY(lafs_params_fill(&t->ps, &t->b, 1, &t->err));
    LAFS_TRY(lafs_optim_init(&t->o, &t->b, &t->ps, &t->err));
    lafs_optim_zero_grad(&t->o);
    return LAFS_OK;
}

static void end(struct bench *t)
{
    lafs_optim_release(&t->o);
    lafs_params_release(&t->ps, &t->b);
    lafs_backend_close(&t->b);
}

static lafs_status step(struct bench *t, double lr, struct lafs_decay decay, double scale, const unsigned char *frozen)
{
    const struct lafs_update u = {.step = t->o.done + 1, .lr = lr, .decay = decay, .decay_scale = scale,
                                  .frozen = frozen, .queue = update, .arg = &t->o};
    return lafs_optim_step(&t->o, &u, &t->err);
}

static double value(const struct bench *t, int i) { return (double)t->ps.value[t->ps.p[i].off]; }

/* Without a gradient a step is the decay alone. */
static void check_decay(struct lafs_decay d, double scale, const double want[N])
{
    struct bench t;
    REQUIRE_OK(begin(&t), &t.err);
    REQUIRE_OK(step(&t, 0.5, d, scale, NULL), &t.err);
    for (int i = 0; i < N; i++) CHECK_NEAR(value(&t, i), 1 - 0.5 * scale * want[i], 1e-6);
    end(&t);
}

TEST(decay_by_name_and_dimensions)
{
    /* Stage 3: 0.05 on matrices of stn.*, 0.1 on others, none on vectors. */
    check_decay((struct lafs_decay){.matrix = 0.1f, .vector = 0, .cnn = 0.05f}, 1,
                (const double[N]){0.05, 0, 0.1, 0, 0.1, 0.1, 0, 0.1, 0});
    /* Stage 1: 0.05 on all of CNN and landmark layer, 0.1 on all else. */
    check_decay((struct lafs_decay){.matrix = 0.1f, .vector = 0.1f, .cnn = 0.05f, .cnn_all = 1}, 1,
                (const double[N]){0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0});
    /* Pretraining: one decay, by the schedule. */
    check_decay((struct lafs_decay){.matrix = 1, .vector = 0, .cnn = -1}, 0.4,
                (const double[N]){1, 0, 1, 0, 1, 1, 0, 1, 0});
}

TEST(learning_rate_by_layer)
{
    struct bench t;
    REQUIRE_OK(begin(&t), &t.err);
    lafs_optim_layer_decay(&t.o, 0.5, 2);
    REQUIRE_OK(step(&t, 0.1, (struct lafs_decay){.matrix = 1, .vector = 1, .cnn = -1}, 1, NULL), &t.err);
    CHECK_NEAR(value(&t, POSITION), 1 - 0.1 / 8, 1e-6);
    CHECK_NEAR(value(&t, BLOCK), 1 - 0.1 / 2, 1e-6);
    CHECK_NEAR(value(&t, HEAD), 1 - 0.1, 1e-6);
    end(&t);
}

/* What is frozen has no step: its first one later is a first step, of the length lr whatever the gradient. */
TEST(frozen_tensors_have_no_steps)
{
    struct bench t;
    const unsigned char frozen[N] = {[HEAD] = 1};
    const struct lafs_decay none = {.cnn = -1};
    REQUIRE_OK(begin(&t), &t.err);
    for (int i = 0; i < N; i++) t.o.grad[t.ps.p[i].off] = 0.25f;
    for (int i = 0; i < 3; i++) REQUIRE_OK(step(&t, 0.01, none, 1, frozen), &t.err);
    CHECK(value(&t, HEAD) == 1 && t.o.step[HEAD] == 0 && t.o.step[BLOCK] == 3 && t.o.step[RUNNING] == 0);
    CHECK_NEAR(value(&t, BLOCK), 1 - 3 * 0.01, 1e-6);
    CHECK_NEAR(lafs_optim_norm(&t.o), 0.25 * sqrt(7), 1e-9);
    REQUIRE_OK(step(&t, 0.01, none, 1, NULL), &t.err);
    CHECK_NEAR(value(&t, HEAD), 1 - 0.01, 1e-6);
    CHECK(value(&t, RUNNING) == 1);
    end(&t);
}

TEST(a_gradient_that_is_no_number_changes_nothing)
{
    struct bench t;
    const unsigned char frozen[N] = {[HEAD] = 1};
    const struct lafs_decay all = {.matrix = 1, .vector = 1, .cnn = -1};
    REQUIRE_OK(begin(&t), &t.err);
    t.o.grad[t.ps.p[HEAD].off] = NAN;
    CHECK_INT(step(&t, 0.1, all, 1, NULL), LAFS_FAILED);
    CHECK_STR(t.err.msg, "step 1: the gradient of 'loss.weight' is not finite");
    for (int i = 0; i < N; i++) CHECK(value(&t, i) == 1 && t.o.step[i] == 0);
    CHECK_INT(t.o.done, 0);
    REQUIRE_OK(step(&t, 0.1, all, 1, frozen), &t.err); /* nobody looks at it */
    CHECK_INT(t.o.done, 1);
    end(&t);
}

TEST_MAIN(decay_by_name_and_dimensions, learning_rate_by_layer, frozen_tensors_have_no_steps,
          a_gradient_that_is_no_number_changes_nothing)
