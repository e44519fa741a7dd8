#include "tests/test.h"

#include "train/finetune.h"
#include "train/sched.h"

TEST(cosine_with_warmup)
{
    /* linspace(0, 2, 5), then half a cosine over 5 steps */
    const double want[] = {0, 0.5, 1, 1.5, 2, 2, 1 + 0.8090169943749475, 1 + 0.3090169943749474, 1 - 0.3090169943749474};
    for (int i = 0; i < 9; i++) CHECK_NEAR(lafs_sched_cosine(2, 0, i, 10, 5), want[i], 1e-12);
    CHECK_NEAR(lafs_sched_cosine(0.04, 0.4, 0, 100, 0), 0.04, 1e-15);
    CHECK(lafs_sched_cosine(0.04, 0.4, 99, 100, 0) < 0.4);
    CHECK_NEAR(lafs_sched_cosine(1, 0, 0, 10, 1), 0, 0); /* one step of warm-up is the step at 0 */
}

TEST(finetune)
{
    CHECK_NEAR(lafs_sched_finetune(1, 0, 0, 34, 5), 0, 0);
    CHECK_NEAR(lafs_sched_finetune(1, 0, 4, 34, 5), 0.8, 1e-15);
    CHECK_NEAR(lafs_sched_finetune(1, 0, 5, 34, 5), 1, 1e-15);
    CHECK(lafs_sched_finetune(1, 1e-6, 33, 34, 5) > 1e-6);
}

TEST(finetune_peak_of_the_paper)
{
    CHECK_NEAR(lafs_finetune_lr(400, 3), 2.29e-3, 5e-6); /* two GPUs with 200 each, accumulation 3 */
}

TEST(teacher_temperature)
{
    CHECK_NEAR(lafs_sched_linear(0.07, 0.04, 0, 30), 0.07, 1e-15);
    CHECK_NEAR(lafs_sched_linear(0.07, 0.04, 29, 30), 0.04, 1e-15);
    CHECK_NEAR(lafs_sched_linear(0.07, 0.04, 40, 30), 0.04, 0);
    CHECK_NEAR(lafs_sched_linear(0.07, 0.04, 0, 0), 0.04, 0);
}

TEST(landmark_regulariser)
{
    CHECK_NEAR(lafs_sched_landmark(7, 34), 1000, 0);
    CHECK_NEAR(lafs_sched_landmark(8, 34), 100, 0);
    CHECK_NEAR(lafs_sched_landmark(20, 34), 1, 0);
    CHECK_NEAR(lafs_sched_landmark(27, 34), 0.11, 0);
    CHECK_NEAR(lafs_sched_landmark(28, 34), 0, 0);
    CHECK_NEAR(lafs_sched_landmark(0, 5), 1000, 0);
    CHECK_NEAR(lafs_sched_landmark(4, 5), 0.11, 0);
}

TEST_MAIN(cosine_with_warmup, finetune, finetune_peak_of_the_paper, teacher_temperature, landmark_regulariser)
