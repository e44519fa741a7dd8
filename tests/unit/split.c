#include "tests/test.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/rng.h"
#include "compute/backend.h"
#include "train/fold.h"
#include "train/split.h"

enum { N = 6, DIM = 64, CLASSES = 37, MICRO = 8 };

static float *device(const struct lafs_backend *b, int64_t n, const float *from)
{
    struct lafs_err e;
    void *p;
    if (b->ops->alloc(b->dev, &p, (size_t)n * sizeof(float), &e) != LAFS_OK) abort();
    if (from) b->ops->upload(b->dev, p, from, (size_t)n * sizeof(float));
    return p;
}

/* The largest difference, relative to the largest value. */
static double apart(const float *a, const float *b, int64_t n)
{
    double most = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - b[i]));
        size = fmax(size, fabs((double)b[i]));
    }
    return most / size;
}

static void against_op(const char *backend, enum lafs_margin kind, int passes)
{
    static const struct lafs_target target[N] = {{0, 0, 1}, {36, 36, 1}, {3, 4, 0.3f}, {5, 5, 0.6f}, {7, 8, 0}, {9, 1, 0.5f}};
    struct lafs_backend b;
    struct lafs_err e;
    struct lafs_arena a = {0};
    struct lafs_rng r;
    double loss, want;
    REQUIRE_OK(lafs_backend_open(&b, backend, NULL, NULL, &e), &e);
    float host[CLASSES * DIM], other[CLASSES * DIM];
    lafs_rng_init(&r, 7);
    for (int i = 0; i < N * DIM; i++) host[i] = (float)lafs_rng_normal(&r);
    float *emb = device(&b, N * DIM, host), *demb = device(&b, N * DIM, NULL), *demb_op = device(&b, N * DIM, NULL);
    for (int i = 0; i < CLASSES * DIM; i++) host[i] = (float)lafs_rng_normal(&r);
    float *w = device(&b, CLASSES * DIM, host), *dw = device(&b, CLASSES * DIM, NULL), *dw_op = device(&b, CLASSES * DIM, NULL);
    void *scratch = device(&b, (int64_t)b.ops->margin_scratch(N, DIM, CLASSES), NULL);

    struct lafs_split s = {.b = &b, .dim = DIM, .classes = CLASSES, .micro = MICRO, .kind = kind, .scale = 64, .margin = 0.4};
    lafs_split_carve(&s, &a);
    REQUIRE_OK(lafs_arena_reserve(&a, &b, &e), &e);
    lafs_split_carve(&s, &a);
    REQUIRE_OK(lafs_split_init(&s, &e), &e);
    CHECK_INT(s.count, CLASSES);
    lafs_split_begin(&s, w);
    for (int i = 0; i < passes; i++) {
        REQUIRE_OK(lafs_split_pass(&s, N, emb, target, 0.5, &loss, demb, &e), &e);
        b.ops->margin_loss(b.dev, b.precision, N, DIM, CLASSES, emb, w, target, kind, 64, 0.4f, 0.5f, scratch, &want, demb_op, dw_op, NULL);
    }
    double none = -1;
    REQUIRE_OK(lafs_split_pass(&s, 0, NULL, NULL, 0.5, &none, NULL, &e), &e); /* no micro-batch: no change */
    CHECK(none == 0);
    lafs_split_end(&s, dw);
    CHECK(fabs(loss / want - 1) < 1e-6);
    b.ops->download(b.dev, host, demb, N * DIM * sizeof(float));
    b.ops->download(b.dev, other, demb_op, N * DIM * sizeof(float));
    CHECK(apart(host, other, N * DIM) < 1e-5);
    b.ops->download(b.dev, host, dw, CLASSES * DIM * sizeof(float));
    b.ops->download(b.dev, other, dw_op, CLASSES * DIM * sizeof(float));
    CHECK(apart(host, other, CLASSES * DIM) < 1e-5);

    lafs_split_release(&s);
    lafs_arena_release(&a, &b);
    void *all[] = {emb, demb, demb_op, w, dw, dw_op, scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) b.ops->free(b.dev, all[i]);
    lafs_backend_close(&b);
}

TEST(margin_loss)
{
    against_op("ref", LAFS_MARGIN_COSFACE, 1);
    against_op("ref", LAFS_MARGIN_COSFACE, 2);
    against_op("ref", LAFS_MARGIN_ARCFACE, 1);
    against_op("cpu", LAFS_MARGIN_COSFACE, 2);
    against_op("cpu", LAFS_MARGIN_ARCFACE, 1);
}

/* Every class belongs to one process, and none of them is without; turns are dealt out once. */
TEST(shares)
{
    for (int size = 1; size <= 7; size++) {
        int64_t next = 0;
        for (int rank = 0; rank < size; rank++) {
            struct lafs_comm c = {.rank = rank, .size = size};
            int64_t first, count;
            lafs_split_range(&c, 10, &first, &count);
            CHECK(first == next && count > 0);
            next = first + count;
        }
        CHECK_INT(next, 10);
        for (int64_t passes = size; passes < 20; passes++) {
            int64_t all = 0;
            for (int rank = 0; rank < size; rank++) {
                struct lafs_comm c = {.rank = rank, .size = size};
                struct lafs_turns t = lafs_turns_of(&c, passes);
                for (int64_t local = 0; local < 3 * lafs_turns_mine(&t); local++, all++) {
                    int64_t number = lafs_turns_global(&t, local);
                    CHECK_INT(number % passes % size, rank);
                    CHECK_INT(lafs_turns_local(&t, number), local);
                }
                for (int64_t i = 0; i < lafs_turns_max(&t); i++)
                    CHECK_INT(rank < lafs_turns_active(&t, i), i < lafs_turns_mine(&t));
            }
            CHECK_INT(all, 3 * passes);
        }
    }
}

/* -- sums of devices that exchange by themselves: threads are the processes -- */

enum { RANKS = 2, PASSES = 3, NUMBERS = (1 << 23) + 1000003 /* more than a round, and no multiple */ };

static struct {
    pthread_barrier_t barrier;
    struct lafs_dev *dev[RANKS];
    const char *from[RANKS];
} meeting;

static int rank_of(const struct lafs_dev *d)
{
    for (int i = 0; i < RANKS; i++)
        if (meeting.dev[i] == d) return i;
    abort();
}
static lafs_status link_exchange(struct lafs_dev *d, const void *send, void *recv, size_t each, struct lafs_err *err)
{
    const int own = rank_of(d);
    (void)err;
    meeting.from[own] = send;
    pthread_barrier_wait(&meeting.barrier);
    for (int i = 0; i < RANKS; i++) memcpy((char *)recv + (size_t)i * each, meeting.from[i] + (size_t)own * each, each);
    pthread_barrier_wait(&meeting.barrier);
    return LAFS_OK;
}
static lafs_status link_gather(struct lafs_dev *d, void *all, size_t each, struct lafs_err *err)
{
    const int own = rank_of(d);
    (void)err;
    meeting.from[own] = (char *)all + (size_t)own * each;
    pthread_barrier_wait(&meeting.barrier);
    for (int i = 0; i < RANKS; i++)
        if (i != own) memcpy((char *)all + (size_t)i * each, meeting.from[i], each);
    pthread_barrier_wait(&meeting.barrier);
    return LAFS_OK;
}

static float number(int64_t i, int64_t micro)
{
    uint32_t h = (uint32_t)(i * 2654435761u + micro * 40503u);
    h ^= h >> 15;
    return (float)(h * 2246822519u) * 0x1p-31f - 1;
}

struct process {
    int rank, size;
    struct lafs_backend b;
    float *sum;
};

/* The sums of a step, some of them averages. */
static void step(struct process *p)
{
    struct lafs_comm c = {.rank = p->rank, .size = p->size, .link = &p->b};
    const struct lafs_turns turns = lafs_turns_of(&c, PASSES);
    struct lafs_params ps;
    struct lafs_fold f;
    struct lafs_err e;
    int id;
    lafs_params_init(&ps);
    const int64_t first = NUMBERS / 3, then = NUMBERS / 2;
    REQUIRE_OK(lafs_params_add(&ps, "w", 1, &first, 1, LAFS_INIT_ZERO, 0, 0, &id, &e), &e);
    REQUIRE_OK(lafs_params_add(&ps, "running", 1, &then, 0, LAFS_INIT_ZERO, 0, 0, &id, &e), &e);
    float *part = device(&p->b, NUMBERS, NULL);
    p->sum = device(&p->b, NUMBERS, NULL);
    for (int64_t i = 0; i < NUMBERS; i++) p->sum[i] = number(i, -1);
    REQUIRE_OK(lafs_fold_init(&f, &c, &p->b, NUMBERS, &ps, 0.1f, &e), &e);
    CHECK_INT(f.linked, p->size > 1);
    CHECK(p->size == 1 || f.rounds == 2);
    REQUIRE_OK(lafs_fold_begin(&f, p->sum, &e), &e);
    for (int64_t i = 0; i < lafs_turns_max(&turns); i++) {
        const int active = lafs_turns_active(&turns, i);
        for (int64_t j = 0; j < NUMBERS && p->rank < active; j++) part[j] = number(j, lafs_turns_micro(&turns, i));
        REQUIRE_OK(lafs_fold_add(&f, p->sum, part, active, &e), &e);
    }
    REQUIRE_OK(lafs_fold_end(&f, p->sum, &e), &e);
    lafs_fold_release(&f);
    p->b.ops->free(p->b.dev, part);
    lafs_params_release(&ps, &p->b);
}
static void *step_of_thread(void *arg)
{
    step(arg);
    return NULL;
}

TEST(linked_devices)
{
    struct lafs_ops ops = *lafs_cpu_ops();
    struct process all[RANKS + 1];
    pthread_t thread[RANKS];
    struct lafs_err e;
    ops.link_exchange = link_exchange;
    ops.link_gather = link_gather;
    pthread_barrier_init(&meeting.barrier, NULL, RANKS);
    for (int i = 0; i <= RANKS; i++) {
        all[i] = (struct process){.rank = i % RANKS, .size = i < RANKS ? RANKS : 1};
        REQUIRE_OK(lafs_backend_open(&all[i].b, "cpu", NULL, NULL, &e), &e);
        all[i].b.ops = &ops;
        if (i < RANKS) meeting.dev[i] = all[i].b.dev;
    }
    for (int i = 0; i < RANKS; i++) CHECK(pthread_create(&thread[i], NULL, step_of_thread, &all[i]) == 0);
    for (int i = 0; i < RANKS; i++) pthread_join(thread[i], NULL);
    step(&all[RANKS]);
    for (int i = 0; i < RANKS; i++) CHECK(!memcmp(all[i].sum, all[RANKS].sum, (size_t)NUMBERS * sizeof(float)));
    for (int i = 0; i <= RANKS; i++) {
        all[i].b.ops->free(all[i].b.dev, all[i].sum);
        lafs_backend_close(&all[i].b);
    }
    pthread_barrier_destroy(&meeting.barrier);
}

TEST_MAIN(margin_loss, shares, linked_devices)
