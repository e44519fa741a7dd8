/* The landmark CNN on a backend that lacks the optional ops, for whole chains of blocks and for units: the fallbacks
 * that backend.h names. Its figures themselves are golden (tests/golden/landmark.c). */
#include "tests/test.h"

#include "base/rng.h"
#include "model/mobilenetv3.h"

enum { N = 3, IMAGE = 112 * 112 * 3, R = 196 };

static struct lafs_backend b;
static struct lafs_cnn m;
static struct lafs_params ps;
static struct lafs_err e;

static void run(const struct lafs_backend *on, const float *images, float *landmarks)
{
    struct lafs_cnn_work w;
    struct lafs_arena a;
    memset(&w, 0, sizeof w);
    memset(&a, 0, sizeof a);
    REQUIRE_OK(lafs_cnn_plan(&w, &m, N, LAFS_CNN_FOLDED, on, &a, &e), &e);
    REQUIRE_OK(lafs_arena_reserve(&a, on, &e), &e);
    REQUIRE_OK(lafs_cnn_plan(&w, &m, N, LAFS_CNN_FOLDED, on, &a, &e), &e);
    REQUIRE_OK(lafs_cnn_fold(&w, on, ps.value, &e), &e);
    lafs_cnn_forward(&w, on, ps.value, NULL, N, images, NULL, landmarks);
    REQUIRE_OK(on->ops->sync(on->dev, &e), &e);
    lafs_cnn_work_release(&w);
    lafs_arena_release(&a, on);
}

static void open_all(float *images)
{
    struct lafs_rng r;
    lafs_rng_init(&r, 4);
    for (int i = 0; i < N * IMAGE; i++) images[i] = (float)lafs_rng_uniform(&r, -1, 1);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_cnn_declare(&m, R, &ps, &e), &e);
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&ps, &b, 1, &e), &e);
}

static void close_all(void)
{
    lafs_params_release(&ps, &b);
    lafs_backend_close(&b);
}

/* The backend without its ops for chains of blocks, and for units. */
static struct lafs_backend without_optional(void)
{
    static struct lafs_ops ops;
    struct lafs_backend without = b;
    ops = *b.ops;
    ops.bottlenecks = NULL;
    ops.bottlenecks_pack = NULL;
    ops.bottlenecks_size = NULL;
    ops.unit = NULL;
    ops.unit_bwd = NULL;
    ops.unit_out = NULL;
    without.ops = &ops;
    return without;
}

TEST(without_chains)
{
    static float images[N * IMAGE], want[N * R * 2], got[N * R * 2];
    open_all(images);
    run(&b, images, want);
    struct lafs_backend without = without_optional();
    run(&without, images, got);
    for (int i = 0; i < N * R * 2; i++) CHECK_NEAR(got[i], want[i], 1e-3); /* pixels of 112 */
    close_all();
}

/* What a step of training leaves: landmarks, the gradient, running statistics among the values. */
struct step {
    float landmarks[N * R * 2], dimages[N * IMAGE];
    float *grad, *value;
};

static void step(const struct lafs_backend *on, int train, const float *images, struct step *s)
{
    static float dlandmarks[N * R * 2];
    struct lafs_cnn_work w;
    struct lafs_arena a;
    struct lafs_rng r;
    size_t bytes = (size_t)ps.size * sizeof(float);
    lafs_rng_init(&r, 5);
    for (int i = 0; i < N * R * 2; i++) dlandmarks[i] = (float)lafs_rng_uniform(&r, -1, 1);
    memset(&w, 0, sizeof w);
    memset(&a, 0, sizeof a);
    s->grad = calloc(1, bytes);
    s->value = malloc(bytes);
    if (!s->grad || !s->value) abort();
    memcpy(s->value, ps.value, bytes);
    REQUIRE_OK(lafs_cnn_plan(&w, &m, N, LAFS_CNN_KEEP, on, &a, &e), &e);
    REQUIRE_OK(lafs_arena_reserve(&a, on, &e), &e);
    REQUIRE_OK(lafs_cnn_plan(&w, &m, N, LAFS_CNN_KEEP, on, &a, &e), &e);
    lafs_cnn_forward(&w, on, s->value, train ? s->value : NULL, N, images, NULL, s->landmarks);
    lafs_cnn_backward(&w, on, s->value, dlandmarks, s->grad, s->dimages);
    REQUIRE_OK(on->ops->sync(on->dev, &e), &e);
    lafs_cnn_work_release(&w);
    lafs_arena_release(&a, on);
}

/* |x - y| and |y| */
static double apart(const float *x, const float *y, int64_t n, double *length)
{
    double d = 0, of = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        of += (double)y[i] * y[i];
    }
    *length = sqrt(of);
    return sqrt(d);
}

/* Of each tensor for itself; where it should vanish, as the gradient of a bias in front of a BatchNorm does, rounding
 * is left of the whole. */
static void compare(const struct step *x, const struct step *y)
{
    double whole, of;
    apart(x->grad, y->grad, ps.size, &whole);
    for (int i = 0; i < ps.count; i++) {
        const struct lafs_param *p = &ps.p[i];
        double d = apart(x->grad + p->off, y->grad + p->off, p->size, &of);
        if (!(d <= 1e-3 * of + 1e-5 * whole)) FAIL_("gradient of %s: %g apart, of %g and %g", p->name, d, of, whole);
        d = apart(x->value + p->off, y->value + p->off, p->size, &of);
        if (!(d <= 1e-5 * (of + 1))) FAIL_("%s: %g apart, of %g", p->name, d, of);
    }
    double d = apart(x->dimages, y->dimages, N * IMAGE, &of);
    if (!(d <= 1e-3 * of)) FAIL_("gradient of the images: %g apart, of %g", d, of);
    for (int i = 0; i < N * R * 2; i++) CHECK_NEAR(x->landmarks[i], y->landmarks[i], 1e-2);
}

TEST(without_units)
{
    static float images[N * IMAGE];
    static struct step with, without;
    open_all(images);
    struct lafs_backend on = without_optional();
    for (int train = 0; train < 2; train++) {
        step(&b, train, images, &with);
        step(&on, train, images, &without);
        compare(&with, &without);
        free(with.grad), free(with.value), free(without.grad), free(without.value);
    }
    close_all();
}

TEST_MAIN(without_chains, without_units)
