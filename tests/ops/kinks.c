/* act_bwd where an activation has no slope. */
#include "tests/ops/ops.h"

/* Slopes at kinks, where differences do not say: those of PyTorch. */
TEST(kinks)
{
    static const struct {
        enum lafs_act act;
        float at, slope;
    } kink[] = {{LAFS_ACT_RELU, 0, 0},       {LAFS_ACT_HSWISH, -3, 0},        {LAFS_ACT_HSWISH, 3, 1},
                {LAFS_ACT_HSIGMOID, -3, 0}, {LAFS_ACT_HSIGMOID, 3, 0},        {LAFS_ACT_HSWISH, 0, 0.5f},
                {LAFS_ACT_GELU, 0, 0.5f},   {LAFS_ACT_HSIGMOID, 0, 1.0f / 6}, {LAFS_ACT_SIGMOID, 0, 0.25f}};
    enum { N = 37 }; /* vectors and what is left */
    struct ops_set o;
    ops_open(&o);
    for (size_t k = 0; k < sizeof kink / sizeof *kink; k++) {
        float x[N], one[N], dx[2][N];
        for (int i = 0; i < N; i++) x[i] = kink[k].at, one[i] = 1;
        o.ref.ops->act_bwd(o.ref.dev, N, kink[k].act, x, one, dx[0]);
        o.cpu.ops->act_bwd(o.cpu.dev, N, kink[k].act, x, one, dx[1]);
        for (int i = 0; i < N; i++) {
            CHECK_NEAR(dx[0][i], kink[k].slope, 1e-7);
            CHECK_NEAR(dx[1][i], kink[k].slope, 1e-6);
        }
    }
    ops_close(&o);
}

TEST_MAIN(kinks)
