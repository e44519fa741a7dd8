#include "tests/test.h"

#include "train/mixup.h"

enum { N = 5, SIZE = 3 };

struct batch {
    float image[N][SIZE], scratch[N][SIZE];
    struct lafs_target target[N];
};

static void fill(struct batch *b)
{
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < SIZE; k++) b->image[i][k] = (float)(10 * i + k);
        b->target[i] = (struct lafs_target){i, i, 1};
    }
}

static int64_t mix(const struct lafs_backend *d, double p, int64_t epoch, int64_t pass, int64_t n, struct batch *b)
{
    const struct lafs_mixup m = {p, 0.2, 7};
    fill(b);
    return lafs_mixup(&m, d, epoch, pass, n, SIZE, b->image[0], b->scratch[0], b->target);
}

TEST(images_and_targets_are_mixed_alike)
{
    struct lafs_err err;
    struct lafs_backend d;
    struct batch b;
    REQUIRE_OK(lafs_backend_open(&d, "cpu", NULL, NULL, &err), &err);
    for (int64_t n = 4; n <= N; n++) { /* an odd batch loses its last */
        CHECK_INT(mix(&d, 1, 2, 3, n, &b), 4);
        const float lambda = b.target[0].lambda;
        CHECK(lambda > 0 && lambda < 1);
        for (int i = 0; i < 4; i++) {
            CHECK(b.target[i].a == i && b.target[i].b == 3 - i && b.target[i].lambda == lambda);
            for (int k = 0; k < SIZE; k++)
                CHECK_NEAR(b.image[i][k], lambda * (10 * i + k) + (1 - lambda) * (10 * (3 - i) + k), 1e-5);
        }
    }
    CHECK_INT(mix(&d, 0, 2, 3, N, &b), N);
    for (int i = 0; i < N; i++) CHECK(b.target[i].lambda == 1 && b.target[i].b == i && b.image[i][0] == (float)(10 * i));
    lafs_backend_close(&d);
}

/* Beta(0.2, 0.2): mean a half, variance 1 / (4 (2 * 0.2 + 1)). */
TEST(one_draw_a_micro_batch)
{
    enum { EPOCHS = 60, PASSES = 50 };
    struct lafs_err err;
    struct lafs_backend d;
    struct batch b;
    double sum = 0, square = 0, mixed = 0, sometimes = 0, before = -1;
    REQUIRE_OK(lafs_backend_open(&d, "cpu", NULL, NULL, &err), &err);
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (int pass = 0; pass < PASSES; pass++) {
            sometimes += mix(&d, 0.1, epoch, pass, N, &b) == 4;
            mix(&d, 1, epoch, pass, N, &b);
            const double lambda = (double)b.target[0].lambda;
            CHECK(lambda != before || lambda < 1e-6 || lambda > 1 - 1e-6);
            before = lambda;
            sum += lambda, square += lambda * lambda, mixed++;
        }
    CHECK_NEAR(sum / mixed, 0.5, 0.03);
    CHECK_NEAR(square / mixed - sum / mixed * (sum / mixed), 1 / 5.6, 0.01);
    CHECK_NEAR(sometimes / mixed, 0.1, 0.02);
    lafs_backend_close(&d);
}

TEST_MAIN(images_and_targets_are_mixed_alike, one_draw_a_micro_batch)
