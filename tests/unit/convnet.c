#include "model/convnet.h"

#include "base/rng.h"
#include "tests/test.h"

/* A network with every kind of unit, and a unit that three others read. */
static const struct lafs_unit units[] = {
    {LAFS_UNIT_CONV, -1, 0, 5, 2},      {LAFS_UNIT_SEPARABLE, 0, 0, 6, 0}, {LAFS_UNIT_POOL, 1, 0, 0, 0},
    {LAFS_UNIT_SEPARABLE, 2, 0, 6, 0},  {LAFS_UNIT_SUM, 1, 3, 0, 0},       {LAFS_UNIT_SEPARABLE, 4, 0, 7, 0},
    {LAFS_UNIT_HEAD, 5, 0, 3, 0},       {LAFS_UNIT_HEAD, 3, 0, 2, 0},
};
enum { UNITS = sizeof units / sizeof *units, SIDE = 16, N = 3, HEAD = 6, LOW = 7 };

static struct {
    struct lafs_backend b;
    struct lafs_convnet net;
    struct lafs_convnet_work w;
    struct lafs_arena arena;
    float *image, *grad, *running;
} f;

static void open_net(const char *backend, enum lafs_convnet_mode mode)
{
    struct lafs_err err = {0};
    struct lafs_rng r;
    memset(&f, 0, sizeof f);
    REQUIRE_OK(lafs_backend_open(&f.b, backend, NULL, NULL, &err), &err);
    REQUIRE_OK(lafs_convnet_init(&f.net, units, UNITS, 3, &err), &err);
    REQUIRE_OK(lafs_params_place(&f.net.params, &f.b, &err), &err);
    REQUIRE_OK(lafs_params_fill(&f.net.params, &f.b, 7, &err), &err);
    for (int pass = 0; pass < 2; pass++) {
        f.image = lafs_arena_take(&f.arena, N * SIDE * SIDE * 3, sizeof(float));
        f.grad = lafs_arena_take(&f.arena, (size_t)f.net.params.size, sizeof(float));
        f.running = lafs_arena_take(&f.arena, (size_t)f.net.params.size, sizeof(float));
        REQUIRE_OK(lafs_convnet_plan(&f.w, &f.net, N, SIDE, SIDE, mode, &f.arena, &err), &err);
        if (!pass) REQUIRE_OK(lafs_arena_reserve(&f.arena, &f.b, &err), &err);
    }
    lafs_rng_init(&r, 5);
    for (int i = 0; i < N * SIDE * SIDE * 3; i++) f.image[i] = (float)lafs_rng_normal(&r);
    /* Statistics and biases that are not those of the start. */
    for (int i = 0; i < f.net.params.count; i++) {
        const struct lafs_param *p = &f.net.params.p[i];
        for (int64_t k = 0; k < p->size && p->ndim == 1; k++)
            f.net.params.value[p->off + k] += (float)lafs_rng_uniform(&r, 0, 0.5);
    }
}

static void close_net(void)
{
    lafs_convnet_release(&f.net, &f.b);
    lafs_arena_release(&f.arena, &f.b);
    lafs_backend_close(&f.b);
}

/* Some function of both heads, and its gradient to them. */
static double objective(int gradient)
{
    double sum = 0;
    for (int k = 0; k < 2; k++) {
        int unit = k ? LOW : HEAD;
        const struct lafs_convnet_step *s = &f.w.step[unit];
        int64_t n = N * s->h * s->w * f.net.c[unit];
        float *d = gradient ? lafs_convnet_grad(&f.w, unit) : NULL;
        for (int64_t i = 0; i < n; i++) {
            double weight = sin(1.3 * (double)i + k);
            sum += weight * (double)s->out[i];
            if (d) d[i] = (float)weight;
        }
    }
    return sum;
}

/* Every parameter's gradient against differences along it and along random directions, with the batch's statistics and
 * with the running ones. */
static void check_gradients(const char *backend, int train)
{
    open_net(backend, LAFS_CONVNET_TRAIN);
    const struct lafs_params *ps = &f.net.params;
    float *running = train ? f.running : NULL;
    struct lafs_rng r;
    if (test_failed_) return;
    lafs_rng_init(&r, 11);
    lafs_convnet_forward(&f.w, &f.b, ps->value, running, N, f.image);
    objective(1);
    lafs_convnet_backward(&f.w, &f.b, ps->value, f.grad);
    for (int i = 0; i < 3 * ps->count; i++) {
        const struct lafs_param *p = &ps->p[i / 3];
        float v[1024], keep[1024], *value = ps->value + p->off;
        double slope = 0, found = 0, norm = 0, length = 0, step = 2e-3;
        if (!p->trainable) continue;
        REQUIRE(p->size <= 1024);
        memcpy(keep, value, (size_t)p->size * sizeof *keep);
        for (int64_t k = 0; k < p->size; k++) {
            double g = f.grad[p->off + k];
            v[k] = i % 3 ? (float)lafs_rng_normal(&r) : (float)g;
            norm += g * g;
            length += (double)v[k] * v[k];
            slope += (double)v[k] * g;
        }
        norm = sqrt(norm), length = sqrt(length);
        CHECK(norm > 1e-3);
        for (int side = -1; side <= 1; side += 2) {
            for (int64_t k = 0; k < p->size; k++) value[k] = (float)(keep[k] + side * step * v[k] / length);
            lafs_convnet_forward(&f.w, &f.b, ps->value, running, N, f.image);
            found += side * objective(0) / (2 * step);
        }
        memcpy(value, keep, (size_t)p->size * sizeof *keep);
        if (fabs(found - slope / length) > 0.03 * norm + 0.02)
            FAIL_("%s, train %d: %g, differences say %g", p->name, train, slope / length, found);
    }
    close_net();
}

TEST(gradients)
{
    check_gradients("ref", 1);
    check_gradients("ref", 0);
    check_gradients("cpu", 1);
}

/* The folded network says what the network says with its running statistics, and each image what it says alone. */
TEST(folded)
{
    struct lafs_err err = {0};
    struct lafs_convnet_folded folded;
    struct lafs_st *st;
    float want[2][N * 8 * 8 * 3], got[2][N * 8 * 8 * 3];
    open_net("cpu", LAFS_CONVNET_TRAIN);
    if (test_failed_) return;
    lafs_convnet_forward(&f.w, &f.b, f.net.params.value, NULL, N, f.image);
    for (int k = 0; k < 2; k++)
        memcpy(want[k], lafs_convnet_out(&f.w, k ? LOW : HEAD), (k ? N * 4 * 4 * 2 : N * 8 * 8 * 3) * sizeof(float));
    REQUIRE_OK(lafs_convnet_fold(&f.net, &f.b, f.net.params.value, &folded, &err), &err);
    CHECK_INT(folded.tensors, 2 + 4 * 5);
    close_net();
    open_net("cpu", LAFS_CONVNET_INFER);
    if (test_failed_) return;
    REQUIRE_OK(lafs_st_wrap(&st, folded.t, folded.tensors, NULL, 0, &err), &err);
    REQUIRE_OK(lafs_convnet_load(&f.w, &f.b, st, &err), &err);
    lafs_st_close(st);
    lafs_convnet_forward(&f.w, &f.b, NULL, NULL, N, f.image);
    for (int k = 0; k < 2; k++) {
        int n = k ? N * 4 * 4 * 2 : N * 8 * 8 * 3;
        memcpy(got[k], lafs_convnet_out(&f.w, k ? LOW : HEAD), (size_t)n * sizeof(float));
        for (int i = 0; i < n; i++) CHECK_NEAR(got[k][i], want[k][i], 2e-4);
    }
    for (int i = 0; i < N; i++) {
        lafs_convnet_forward(&f.w, &f.b, NULL, NULL, 1, f.image + i * SIDE * SIDE * 3);
        CHECK(!memcmp(lafs_convnet_out(&f.w, HEAD), got[0] + i * 8 * 8 * 3, 8 * 8 * 3 * sizeof(float)));
    }
    /* a tensor of another shape is refused by name */
    folded.t[2].shape[0]++;
    REQUIRE_OK(lafs_st_wrap(&st, folded.t, folded.tensors, NULL, 0, &err), &err);
    CHECK_INT(lafs_convnet_load(&f.w, &f.b, st, &err), LAFS_FAILED);
    CHECK(strstr(err.msg, "conv1.weight") != NULL);
    lafs_st_close(st);
    lafs_convnet_folded_release(&folded);
    close_net();
}

/* Running statistics move towards the batch's; those of heads do not. */
TEST(statistics)
{
    open_net("cpu", LAFS_CONVNET_TRAIN);
    if (test_failed_) return;
    const struct lafs_params *ps = &f.net.params;
    memcpy(f.running, ps->value, (size_t)ps->size * sizeof(float));
    lafs_convnet_forward(&f.w, &f.b, ps->value, f.running, N, f.image);
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        int head = !strncmp(p->name, "unit6.", 6) || !strncmp(p->name, "unit7.", 6);
        int moved = memcmp(f.running + p->off, ps->value + p->off, (size_t)p->size * sizeof(float)) != 0;
        if (moved != (!p->trainable && !head)) FAIL_("%s", p->name);
    }
    close_net();
}

TEST(sizes_that_do_not_halve)
{
    struct lafs_err err = {0};
    struct lafs_arena a = {0};
    open_net("cpu", LAFS_CONVNET_TRAIN);
    if (test_failed_) return;
    CHECK_INT(lafs_convnet_plan(&f.w, &f.net, 1, 18, 18, LAFS_CONVNET_TRAIN, &a, &err), LAFS_FAILED);
    CHECK_INT(lafs_convnet_plan(&f.w, &f.net, 1, 20, 24, LAFS_CONVNET_TRAIN, &a, &err), LAFS_OK);
    close_net();
}

TEST_MAIN(gradients, folded, statistics, sizes_that_do_not_halve)
