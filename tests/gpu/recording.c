/* Work that a device records and replays: on the device "cuda" of LAFS_BACKEND_PATH. On the simulated one what CUDA forbids
 * while it records ends the program. */
#include "tests/test.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "compute/backend.h"
#include "compute/repeat.h"
#include "model/vit.h"

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

/* -- a model whose dropout is another one in each pass -- */

enum { SEQS = 7, LEN = 9, WIDTH = 32, TOKEN = 192, PASSES = 4 };
static struct lafs_vit vit;
static struct lafs_params ps;
static struct lafs_vit_work w;
static struct lafs_arena arena;
static struct lafs_seqs seqs;
static float *tokens, *demb, *emb, *grad;
static uint64_t *keys, host_keys[SEQS];

static void carve(void)
{
    tokens = lafs_arena_take(&arena, SEQS * LEN * TOKEN, sizeof(float));
    demb = lafs_arena_take(&arena, SEQS * WIDTH, sizeof(float));
    emb = lafs_arena_take(&arena, SEQS * WIDTH, sizeof(float));
    grad = lafs_arena_take(&arena, (size_t)ps.size, sizeof(float));
    keys = lafs_arena_take(&arena, SEQS, sizeof *keys);
    seqs.dev_off = lafs_arena_take(&arena, SEQS + 1, sizeof *seqs.dev_off);
    REQUIRE_OK(lafs_vit_plan(&w, &vit, SEQS * LEN, SEQS, 1, &b, &arena, &e), &e);
}
static void make_vit(enum lafs_precision precision)
{
    static int64_t off[SEQS + 1];
    static float host[SEQS * LEN * TOKEN];
    const struct lafs_vit_config c = {.dim = WIDTH, .depth = 3, .heads = 1, .mlp = 64, .patches = LEN, .patch = 8,
                                      .dropout = 0.1f, .drop_path = 0.4f};
    struct lafs_rng r;
    b.precision = precision;
    memset(&w, 0, sizeof w);
    memset(&arena, 0, sizeof arena);
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_vit_declare(&vit, &c, &ps, &e), &e);
    REQUIRE_OK(lafs_params_place(&ps, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&ps, &b, 3, &e), &e);
    for (int i = 0; i <= SEQS; i++) off[i] = i * LEN;
    carve();
    REQUIRE_OK(lafs_arena_reserve(&arena, &b, &e), &e);
    seqs = (struct lafs_seqs){SEQS, off, NULL, LEN};
    carve();
    lafs_rng_init(&r, 5);
    for (int i = 0; i < SEQS * LEN * TOKEN; i++) host[i] = (float)lafs_rng_uniform(&r, -1, 1);
    b.ops->upload(b.dev, tokens, host, sizeof host);
    b.ops->upload(b.dev, demb, host, SEQS * WIDTH * sizeof *host);
    b.ops->upload(b.dev, (void *)seqs.dev_off, off, sizeof off);
    lafs_vit_weights(&w, &b, ps.value);
}
static void both_ways(void *arg)
{
    (void)arg;
    lafs_vit_forward(&w, &b, ps.value, &seqs, tokens, keys, host_keys, emb);
    lafs_vit_backward(&w, &b, ps.value, demb, grad, NULL);
}

/* What is recorded with some keys is replayed with others. Where branches are packed the same is computed, but for the
 * order of the gradients' sums. */
enum { MOST_PARAMS = 1 << 17 };
/* gradient: of all passes. */
static void record_model(enum lafs_precision precision, float gradient[MOST_PARAMS])
{
    static float kept[2][PASSES][SEQS * WIDTH], slope[2][MOST_PARAMS];
    struct lafs_repeat again = {0};
    make_vit(precision);
    CHECK(!w.bf16 == (precision != LAFS_PRECISION_BF16));
    REQUIRE((size_t)ps.size <= sizeof slope[0] / sizeof(float));
    for (int way = 0; way < 2; way++) {
        w.pack = way;
        CHECK(lafs_vit_alike(&w, &b) == !way);
        b.ops->zero(b.dev, grad, (size_t)ps.size * sizeof *grad);
        for (int i = 0; i < PASSES; i++) {
            for (int j = 0; j < SEQS; j++) host_keys[j] = lafs_rng_key(1, LAFS_RNG_TEST, (uint64_t)i, (uint64_t)j, 0);
            b.ops->upload(b.dev, keys, host_keys, sizeof host_keys);
            if (way) both_ways(NULL);
            else lafs_repeat(&again, &b, "both", 4, both_ways, NULL);
            b.ops->download(b.dev, kept[way][i], emb, sizeof kept[way][i]);
        }
        b.ops->download(b.dev, slope[way], grad, (size_t)ps.size * sizeof *grad);
    }
    CHECK(again.kept[0].recording && again.kept[0].times == 1);
    CHECK(!memcmp(kept[0], kept[1], sizeof kept[0]));
    CHECK(memcmp(kept[0][1], kept[0][2], sizeof kept[0][1]) && memcmp(kept[0][2], kept[0][3], sizeof kept[0][2]));
    double off_by = 0, all = 0;
    for (int64_t i = 0; i < ps.size; i++)
        off_by += pow((double)slope[0][i] - slope[1][i], 2), all += pow(slope[1][i], 2);
    CHECK(sqrt(off_by / all) < 1e-6);
    CHECK_INT(b.ops->sync(b.dev, &e), LAFS_OK);
    memcpy(gradient, slope[0], sizeof slope[0]);
    lafs_repeat_forget(&again, &b);
    lafs_vit_work_release(&w);
    lafs_arena_release(&arena, &b);
    lafs_params_release(&ps, &b);
    lafs_backend_close(&b);
}

TEST(a_model)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    static float gradient[MOST_PARAMS];
    record_model(LAFS_PRECISION_FP32, gradient);
}
/* Of each parameter the gradient is that of fp32 but for rounding: none is added twice, or forgotten. */
TEST(a_model_stored_in_bf16)
{
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    static float want[MOST_PARAMS], got[MOST_PARAMS];
    record_model(LAFS_PRECISION_FP32, want);
    REQUIRE(there());
    record_model(LAFS_PRECISION_BF16, got);
    lafs_params_init(&ps);
    REQUIRE_OK(lafs_vit_declare(&vit, &vit.config, &ps, &e), &e);
    for (int i = 0; i < ps.count; i++) {
        double off_by = 0, all = 0;
        for (int64_t j = ps.p[i].off; j < ps.p[i].off + ps.p[i].size; j++)
            off_by += pow((double)got[j] - want[j], 2), all += pow(want[j], 2);
        if (!(all > 0 && sqrt(off_by / all) < 0.02)) FAIL_("%s: %g apart", ps.p[i].name, sqrt(off_by / all));
    }
    lafs_params_release(&ps, NULL);
}

static void double_it(void *arg) { b.ops->scale(b.dev, N, 2, arg); }

/* More keys than are kept: none is taken for another, and what is not used for long is forgotten. */
TEST(keys_of_recordings)
{
    struct lafs_repeat again = {0};
    float *x[LAFS_REPEATS + 1], want[LAFS_REPEATS + 1];
    if (!there()) SKIP("no device cuda in LAFS_BACKEND_PATH");
    for (int i = 0; i <= LAFS_REPEATS; i++) fill(x[i] = device(N), want[i] = (float)(i + 1));
    for (int round = 0; round < 4; round++)
        for (int i = 0; i <= LAFS_REPEATS; i++) {
            if (i == LAFS_REPEATS && round != 2) continue;
            lafs_repeat(&again, &b, &x[i], sizeof x[i], double_it, x[i]);
            CHECK(first(x[i]) == (want[i] *= 2));
        }
    int recorded = 0;
    for (int i = 0; i < LAFS_REPEATS; i++) recorded += again.kept[i].recording != NULL;
    CHECK_INT(recorded, 0); /* the odd one sent each away before its turn */
    for (int round = 0; round < 2; round++) lafs_repeat(&again, &b, &x[0], sizeof x[0], double_it, x[0]);
    CHECK(first(x[0]) == want[0] * 4);
    for (int i = 0; i < LAFS_REPEATS; i++) recorded += again.kept[i].recording != NULL;
    CHECK_INT(recorded, 1);
    lafs_repeat_forget(&again, &b);
    for (int i = 0; i <= LAFS_REPEATS; i++) b.ops->free(b.dev, x[i]);
    CHECK_INT(b.ops->sync(b.dev, &e), LAFS_OK);
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

TEST_MAIN(replays, more_memory_is_wanted, a_model, a_model_stored_in_bf16, keys_of_recordings, switched_off,
          forbidden_calls)
