#include "tests/test.h"

#include "base/rng.h"
#include "compute/tensor.h"

static struct lafs_backend b;
static struct lafs_err e;

static int open_cpu(void) { return lafs_backend_open(&b, "cpu", NULL, NULL, &e) == LAFS_OK; }

TEST(declare_and_find)
{
    struct lafs_params ps;
    int id = -1;
    lafs_params_init(&ps);
    for (int i = 0; i < 100; i++) { /* more than the first table holds */
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        REQUIRE_OK(lafs_params_add(&ps, name, 2, (int64_t[]){3, 7}, 1, LAFS_INIT_ZERO, 0, i, &id, &e), &e);
        CHECK_INT(id, i);
    }
    const struct lafs_param *p = lafs_params_find(&ps, "w7");
    REQUIRE(p);
    CHECK_INT(p->size, 21);
    CHECK(p->ndim == 2 && p->shape[0] == 3 && p->shape[1] == 7);
    CHECK_INT(p->off, 7 * 32); /* padded to 64 bytes */
    CHECK_INT(ps.size, 3200);
    CHECK(lafs_params_find(&ps, "w100") == NULL);
    REQUIRE_OK(lafs_params_add(&ps, "scalar", 0, NULL, 0, LAFS_INIT_ONE, 0, 0, NULL, &e), &e);
    CHECK_INT(lafs_params_find(&ps, "scalar")->size, 1);
    lafs_params_release(&ps, &b);
}

TEST(refusals)
{
    struct lafs_params ps;
    char long_name[LAFS_MAX_TENSOR_NAME + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_params_add(&ps, "a", 1, (int64_t[]){1}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), &e);
    CHECK_INT(lafs_params_add(&ps, "a", 1, (int64_t[]){1}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), LAFS_FAILED);
    CHECK_INT(lafs_params_add(&ps, long_name, 1, (int64_t[]){1}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), LAFS_FAILED);
    CHECK_INT(lafs_params_add(&ps, "b", 5, (int64_t[]){1, 1, 1, 1, 1}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), LAFS_FAILED);
    CHECK_INT(lafs_params_add(&ps, "b", 2, (int64_t[]){4, 0}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), LAFS_FAILED);
    CHECK_INT(lafs_params_add(&ps, "b", 2, (int64_t[]){4, -1}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e), LAFS_FAILED);
    CHECK_INT(lafs_params_add(&ps, "b", 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30}, 1, LAFS_INIT_ZERO, 0, 0, NULL, &e),
              LAFS_FAILED);
    CHECK_INT(ps.count, 1);
    lafs_params_release(&ps, &b);
}

TEST(initial_values)
{
    struct lafs_params ps, other;
    int u, n, one;
    REQUIRE(open_cpu());
    lafs_params_init(&ps);
    lafs_params_init(&other);
    REQUIRE_OK(lafs_params_add(&ps, "u", 2, (int64_t[]){301, 303}, 1, LAFS_INIT_UNIFORM, 0.5f, 0, &u, &e), &e);
    REQUIRE_OK(lafs_params_add(&ps, "n", 2, (int64_t[]){301, 301}, 1, LAFS_INIT_NORMAL, 0.02f, 0, &n, &e), &e);
    REQUIRE_OK(lafs_params_add(&ps, "one", 1, (int64_t[]){5}, 1, LAFS_INIT_ONE, 0, 0, &one, &e), &e);
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&ps, &b, 9, &e), &e);
    double sum = 0, square = 0, top = 0;
    for (int i = 0; i < 301 * 301; i++) {
        double v = lafs_params_at(&ps, n)[i];
        sum += v, square += v * v;
    }
    CHECK_NEAR(sum / (301 * 301), 0, 3e-4);
    CHECK_NEAR(sqrt(square / (301 * 301)), 0.02, 2e-4);
    for (int i = 0; i < 301 * 303; i++) top = fmax(top, fabs(lafs_params_at(&ps, u)[i]));
    CHECK(top <= 0.5 && top > 0.499);
    /* A training that is begun anew begins with these, whatever the version. */
    CHECK(lafs_params_at(&ps, u)[0] == -0x1.be4b2ep-9f && lafs_params_at(&ps, u)[301 * 303 - 1] == -0x1.371fd4p-9f);
    for (int i = 0; i < 5; i++) CHECK(lafs_params_at(&ps, one)[i] == 1);
    for (int i = 5; i < 16; i++) CHECK(lafs_params_at(&ps, one)[i] == 0); /* padding */
    /* A value depends on seed and name alone, not on what stands before it. */
    REQUIRE_OK(lafs_params_add(&other, "n", 2, (int64_t[]){301, 301}, 1, LAFS_INIT_NORMAL, 0.02f, 0, NULL, &e), &e);
    REQUIRE_OK(lafs_params_place(&other, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&other, &b, 9, &e), &e);
    CHECK(!memcmp(other.value, lafs_params_at(&ps, n), sizeof(float) * 301 * 301));
    REQUIRE_OK(lafs_params_fill(&other, &b, 10, &e), &e);
    CHECK(memcmp(other.value, lafs_params_at(&ps, n), sizeof(float) * 301 * 301) != 0);
    lafs_params_release(&ps, &b);
    lafs_params_release(&other, &b);
    lafs_backend_close(&b);
}

TEST(arena)
{
    struct lafs_arena a = {0};
    REQUIRE(open_cpu());
    CHECK(lafs_arena_take(&a, 3, 4) == NULL);
    CHECK(lafs_arena_take(&a, 100, 8) == NULL);
    CHECK_INT(a.used, 256 + 1024);
    REQUIRE_OK(lafs_arena_reserve(&a, &b, &e), &e);
    char *p = lafs_arena_take(&a, 3, 4), *q = lafs_arena_take(&a, 100, 8);
    CHECK(p && (size_t)p % 256 == 0 && q == p + 256);
    CHECK(lafs_arena_take(&a, 1, 1) == NULL); /* more than was measured */
    lafs_arena_release(&a, &b);
    CHECK(lafs_arena_take(&a, SIZE_MAX / 2, 4) == NULL);
    CHECK(lafs_arena_take(&a, 1, 4) == NULL);
    CHECK_INT(lafs_arena_reserve(&a, &b, &e), LAFS_FAILED);
    lafs_arena_release(&a, &b);
    lafs_backend_close(&b);
}

/* What is not trained goes over, whole, and nothing else. */
TEST(buffers_are_copied)
{
    static const struct {
        const char *name;
        int64_t size;
        int trainable;
    } each[] = {{"a", 5, 1}, {"b", 70, 0}, {"c", 3, 0}, {"d", 9, 1}, {"e", 20, 1}, {"f", 17, 0}};
    enum { N = sizeof each / sizeof *each };
    struct lafs_params ps;
    float from[512], to[512];
    REQUIRE(open_cpu());
    lafs_params_init(&ps);
    for (int i = 0; i < N; i++)
        REQUIRE_OK(lafs_params_add(&ps, each[i].name, 1, &each[i].size, each[i].trainable, LAFS_INIT_ZERO, 0, 0, NULL,
                                   &e), &e);
    REQUIRE(ps.size <= 512);
    for (int i = 0; i < 512; i++) from[i] = (float)i, to[i] = -1;
    lafs_params_copy_buffers(&ps, &b, from, to);
    for (int i = 0; i < N; i++)
        for (int64_t k = ps.p[i].off; k < ps.p[i].off + each[i].size; k++)
            CHECK(to[k] == (each[i].trainable ? -1 : (float)k));
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    for (int64_t i = 0; i < ps.size; i++) ps.value[i] = 7;
    REQUIRE_OK(lafs_params_fill(&ps, &b, 1, &e), &e);
    for (int64_t k = 0; k < each[1].size; k++) CHECK(ps.value[ps.p[1].off + k] == 0);
    lafs_params_release(&ps, &b);
    lafs_backend_close(&b);
}

TEST_MAIN(declare_and_find, refusals, initial_values, arena, buffers_are_copied)
