/* Work that a device records and replays: on the device "cuda" of LAFS_BACKEND_PATH. On the simulated one what CUDA forbids
 * while it records ends the program. */
#include "tests/test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "compute/backend.h"

enum { N = 1000, BIG = 1 << 20 };

static struct lafs_backend b;
static struct lafs_err e;

static int there(void)
{
    if (getenv("LAFS_BACKEND_PATH") && lafs_backend_open(&b, "cuda", NULL, NULL, &e) == LAFS_OK) return 1;
    return 0;
}
static float *device(int64_t n)
{
    void *p;
    if (b.ops->alloc(b.dev, &p, (size_t)n * sizeof(float), &e) != LAFS_OK) abort();
    return p;
}
static float first(const float *x)
{
    float v[N];
    b.ops->download(b.dev, v, x, sizeof v);
    for (int i = 1; i < N; i++) CHECK_INT(memcmp(&v[i], &v[0], sizeof *v), 0);
    return v[0];
}
static void fill(float *x, float v)
{
    float host[N];
    for (int i = 0; i < N; i++) host[i] = v;
    b.ops->upload(b.dev, x, host, sizeof host);
}

TEST(replays)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    float *x = device(N), *y = device(N), *z = device(N);
    fill(x, 3);
    fill(z, 7);
    CHECK(b.ops->record(b.dev));
    CHECK(!b.ops->record(b.dev));
    fill(y, 5);                          /* kept: filled with 5 whenever it is replayed */
    b.ops->scale(b.dev, N, 2, x);
    b.ops->axpy(b.dev, N, 1, x, y);
    b.ops->zero(b.dev, z, N * sizeof *z);
    b.ops->copy(b.dev, z, y, N / 2 * sizeof *z);
    b.ops->copy(b.dev, z + N / 2, y, N / 2 * sizeof *z);
    struct lafs_recording *r = b.ops->recorded(b.dev);
    REQUIRE(r);
    CHECK(first(x) == 3); /* nothing has been done */
    CHECK(first(z) == 7);
    for (int i = 1; i <= 3; i++) {
        CHECK(b.ops->replay(b.dev, r));
        CHECK(first(x) == 3 * (float)(1 << i));
        CHECK(first(y) == 5 + 3 * (float)(1 << i));
        CHECK(first(z) == first(y));
    }
    b.ops->forget(b.dev, r);
    b.ops->forget(b.dev, NULL);
    b.ops->free(b.dev, x);
    b.ops->free(b.dev, y);
    b.ops->free(b.dev, z);
    CHECK_INT(b.ops->sync(b.dev, &e), LAFS_OK);
    lafs_backend_close(&b);
}

/* A product that rounds its operands wants memory for them. */
static void multiply(int64_t rows, const float *x, float *y)
{
    const int64_t off[2] = {0, rows};
    const struct lafs_seqs s = {1, off, NULL, rows};
    b.ops->linear(b.dev, LAFS_PRECISION_BF16, &s, 64, 64, x, x, NULL, LAFS_ACT_NONE, NULL, NULL, y);
}

TEST(more_memory_is_wanted)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    float *x = device(BIG), *y = device(BIG), *mark = device(N);
    fill(mark, 1);
    REQUIRE(b.ops->record(b.dev)); /* no operand has been rounded yet: it cannot be recorded */
    multiply(64, x, y);
    b.ops->scale(b.dev, N, 2, mark);
    CHECK(b.ops->recorded(b.dev) == NULL);
    CHECK(first(mark) == 1);
    CHECK_INT(b.ops->sync(b.dev, &e), LAFS_OK);
    multiply(64, x, y);
    REQUIRE(b.ops->record(b.dev));
    multiply(64, x, y);
    struct lafs_recording *r = b.ops->recorded(b.dev);
    REQUIRE(r);
    CHECK(b.ops->replay(b.dev, r));
    multiply(BIG / 64, x, y); /* and now it lies elsewhere */
    CHECK(!b.ops->replay(b.dev, r));
    b.ops->forget(b.dev, r);
    REQUIRE(b.ops->record(b.dev)); /* too much to keep */
    static const float much[BIG];
    b.ops->upload(b.dev, x, much, sizeof much);
    CHECK(b.ops->recorded(b.dev) == NULL);
    CHECK_INT(b.ops->sync(b.dev, &e), LAFS_OK);
    b.ops->free(b.dev, x);
    b.ops->free(b.dev, y);
    b.ops->free(b.dev, mark);
    lafs_backend_close(&b);
}

TEST(switched_off)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    setenv("LAFS_CUDA_GRAPHS", "no", 1);
    CHECK(!b.ops->record(b.dev));
    unsetenv("LAFS_CUDA_GRAPHS");
    CHECK(b.ops->record(b.dev));
    b.ops->forget(b.dev, b.ops->recorded(b.dev));
    lafs_backend_close(&b);
}

/* What CUDA does not let be done while it records: the simulated device ends the program. */
static void forbidden(int what)
{
    float host[N], *x = device(N);
    void *p;
    if (!freopen("/dev/null", "w", stderr) || !b.ops->record(b.dev)) _exit(3);
    if (what == 0) b.ops->download(b.dev, host, x, sizeof host);
    else if (what == 1) b.ops->sync(b.dev, &e);
    else if (what == 2) b.ops->alloc(b.dev, &p, 1, &e);
    else if (what == 3) b.ops->free(b.dev, x);
    _exit(0);
}
TEST(forbidden_calls)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    const int simulated = strstr(b.ops->describe(b.dev), "simulated") != NULL;
    for (int what = 0; what < 5 && simulated; what++) {
        int status;
        const pid_t child = fork();
        if (child == 0) forbidden(what);
        REQUIRE(waitpid(child, &status, 0) == child);
        if (what < 4) CHECK(WIFSIGNALED(status));
        else CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    lafs_backend_close(&b);
}

TEST_MAIN(replays, more_memory_is_wanted, switched_off, forbidden_calls)
