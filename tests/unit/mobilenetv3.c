/* The landmark CNN on a backend that lacks the optional op for whole chains of blocks: the fallback that backend.h
 * names. Its figures themselves are golden (tests/golden/landmark.c). */
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

TEST(without_chains)
{
    static float images[N * IMAGE], want[N * R * 2], got[N * R * 2];
    static struct lafs_ops ops;
    struct lafs_rng r;
    lafs_rng_init(&r, 4);
    for (int i = 0; i < N * IMAGE; i++) images[i] = (float)lafs_rng_uniform(&r, -1, 1);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", NULL, NULL, &e), &e);
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_cnn_declare(&m, R, &ps, &e), &e);
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&ps, &b, 1, &e), &e);
    run(&b, images, want);
    struct lafs_backend without = b;
    ops = *b.ops;
    ops.bottlenecks = NULL;
    ops.bottlenecks_pack = NULL;
    ops.bottlenecks_size = NULL;
    without.ops = &ops;
    run(&without, images, got);
    for (int i = 0; i < N * R * 2; i++) CHECK_NEAR(got[i], want[i], 1e-3); /* pixels of 112 */
    lafs_params_release(&ps, &b);
    lafs_backend_close(&b);
}

TEST_MAIN(without_chains)
