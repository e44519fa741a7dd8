/* What a training says that it needs is what it takes of the device. And a step of training allocates nothing: malloc and
 * its kin are counted in this program. On the training thread while it steps (data is decoded by another thread, which may allocate), and on all threads while it learns from batches that
 * are ready. Not before some steps have been made: scratch memory grows in the first ones. */
#include "tests/test.h"

#include <stdatomic.h>
#include <unistd.h>

#include "data/stream.h"
#include "image/image.h"
#include "train/feed.h"
#include "train/finetune.h"
#include "train/pretrain.h"

#if defined __GLIBC__ && !defined LAFS_SAN
static _Thread_local int here; /* calls of this thread are counted */
static _Atomic int everywhere; /* those of all threads are */
static _Atomic int64_t calls;

static void count(void)
{
    if (here || everywhere) calls++;
}

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);
void *malloc(size_t n) { return count(), __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return count(), __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return count(), __libc_realloc(p, n); }
void *aligned_alloc(size_t alignment, size_t n) { return count(), __libc_memalign(alignment, n); }
int posix_memalign(void **p, size_t alignment, size_t n)
{
    count();
    *p = __libc_memalign(alignment, n);
    return *p ? 0 : 12 /* ENOMEM */;
}

enum { IMAGES = 8, MICRO = 4, R = 16, P = 8, WARM = 3, STEPS = 4, CROP = 112 * 112 * 3 };

static struct lafs_err e;
static struct lafs_pool *pool, *data_pool;
static struct lafs_backend b, data;
static struct lafs_index *ix;
static char dir[40];

/* Device memory as the backends give it out. */
static struct lafs_ops counting;
static size_t taken;
static lafs_status counted_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    taken += size;
    return lafs_cpu_ops()->alloc(d, out, size, err);
}

/* Calls of this thread, or of all, since the counting began; it ends. */
static int64_t counted(void)
{
    here = 0;
    everywhere = 0;
    return atomic_exchange(&calls, 0);
}
static void begin_counting(int all)
{
    calls = 0;
    here = 1;
    everywhere = all;
}

/* Eight faces of two people: noise. */
static void make_faces(void)
{
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_image im = {0};
    struct lafs_buf jpeg;
    char path[96];
    snprintf(dir, sizeof dir, "/tmp/lafs-allocations.XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/faces.tar", dir);
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){112, "given", "rgb"};
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = path}, &h, &e), &e);
    lafs_buf_init(&jpeg);
    REQUIRE_OK(lafs_image_new(&im, 112, 112, &e), &e);
    for (int i = 0; i < IMAGES; i++) {
        struct lafs_sample s;
        char key[32];
        for (int k = 0; k < CROP; k++) im.px[k] = (uint8_t)((k / 7 + i) * 2654435761u >> 24);
        lafs_buf_clear(&jpeg);
        REQUIRE_OK(lafs_jpeg_encode(&jpeg, &im, 90, &e), &e);
        lafs_sample_init(&s);
        snprintf(key, sizeof key, "p%d/%d", i % 2, i);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_str(&s, "name", i % 2 ? "p1" : "p0");
        lafs_sample_set_bin(&s, "jpg", jpeg.data, jpeg.size);
        REQUIRE_OK(lafs_writer_put(w, &s, &e), &e);
        lafs_sample_release(&s);
    }
    REQUIRE_OK(lafs_writer_close(w, &(struct lafs_totals){.count = IMAGES, .ok = 1}, &e), &e);
    lafs_buf_release(&jpeg);
    lafs_image_release(&im);
    lafs_header_release(&h);
    snprintf(path, sizeof path, "%s/faces.lafs", dir);
    REQUIRE_OK(lafs_index_open(&ix, path, &e), &e);
}

static void open_all(void)
{
    make_faces();
    REQUIRE_OK(lafs_pool_new(&pool, 2, &e), &e);
    REQUIRE_OK(lafs_pool_new(&data_pool, 2, &e), &e);
    REQUIRE_OK(lafs_backend_open(&b, "cpu", pool, NULL, &e), &e);
    REQUIRE_OK(lafs_backend_open(&data, "cpu", data_pool, NULL, &e), &e);
    counting = *lafs_cpu_ops();
    counting.alloc = counted_alloc;
    b.ops = data.ops = &counting;
}

static void close_all(void)
{
    char command[64];
    lafs_index_free(ix);
    lafs_backend_close(&b);
    lafs_backend_close(&data);
    lafs_pool_free(pool);
    lafs_pool_free(data_pool);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    CHECK_INT(dir[0] ? system(command) : 0, 0);
}

static const struct lafs_vit_config small = {.dim = 64, .depth = 3, .heads = 1, .mlp = 96, .patches = R, .patch = P,
                                             .dropout = 0.1f, .drop_path = 0.1f};

/* -- pretraining -- */

static struct lafs_feed_batch ready;

static lafs_status same_tokens(void *arg, int64_t i, struct lafs_feed_batch *batch, struct lafs_err *err)
{
    (void)arg, (void)i, (void)err;
    *batch = ready;
    return LAFS_OK;
}

static void pretrain_steps(struct lafs_pretrain *t, struct lafs_feed *feed)
{
    struct lafs_pretrain_report r;
    for (int i = 0; i < WARM + STEPS; i++) {
        if (i == WARM) begin_counting(0);
        REQUIRE_OK(lafs_pretrain_step(t, &r, &e), &e);
    }
    CHECK_INT(counted(), 0);
    REQUIRE_OK(lafs_feed_next(feed, 2 * (WARM + STEPS), &ready, &e), &e);
    CHECK(lafs_feed_stop(feed, -1));
    for (int i = 0; i < 1 + STEPS; i++) {
        if (i == 1) begin_counting(1);
        REQUIRE_OK(lafs_pretrain_learn(t, same_tokens, NULL, &r, &e), &e);
    }
    CHECK_INT(counted(), 0);
}

static void pretrain(enum lafs_precision precision)
{
    struct lafs_pretrain_config c;
    struct lafs_model_config mc;
    struct lafs_model cnn;
    struct lafs_feed *feed;
    struct lafs_pretrain *t;
    open_all();
    b.precision = precision;
    REQUIRE_OK(lafs_pretrain_config_default(&c, "xs", 0, &e), &e);
    c.model.vit = small;
    c.head = (struct lafs_dino_config){small.dim, 80, 32, 200};
    c.views.locals = 3;
    c.points.landmarks = R;
    c.points.subset = 5;
    c.images = c.batch = IMAGES;
    c.micro = MICRO;
    c.epochs = 40;
    mc = c.model;
    mc.parts = LAFS_PART_VIT | LAFS_PART_CNN;
    REQUIRE_OK(lafs_model_init(&cnn, &mc, &e), &e);
    REQUIRE_OK(lafs_params_place(&cnn.params, &b, &e), &e);
    REQUIRE_OK(lafs_params_fill(&cnn.params, &b, 1, &e), &e);
    struct lafs_feed_config f = {.views = c.views, .points = c.points, .micro = MICRO, .per_epoch = IMAGES / MICRO,
                                 .epochs = c.epochs, .ahead = 1, .cnn = &cnn};
    size_t need;
    REQUIRE_OK(lafs_pretrain_need(&c, &f, ix, &b, &data, 0, &need, &e), &e);
    taken = 0;
    REQUIRE_OK(lafs_feed_index(&feed, &f, &data, data_pool, ix, &e), &e);
    REQUIRE_OK(lafs_pretrain_open(&t, &c, &b, feed, &e), &e);
    pretrain_steps(t, feed);
    CHECK_INT(taken, need);
    lafs_pretrain_close(t);
    lafs_feed_close(feed);
    lafs_model_release(&cnn, &b);
    close_all();
}

TEST(pretraining) { pretrain(LAFS_PRECISION_FP32); }
TEST(pretraining_in_bf16) { pretrain(LAFS_PRECISION_BF16); }

/* -- fine-tuning: landmarks, their regulariser, mixup -- */

static struct lafs_finetune_batch ready_images;

static lafs_status same_images(void *arg, int64_t i, struct lafs_finetune_batch *batch, struct lafs_err *err)
{
    (void)arg, (void)i, (void)err;
    *batch = ready_images;
    return LAFS_OK;
}

static void configure(struct lafs_finetune_config *c)
{
    REQUIRE_OK(lafs_finetune_config_default(c, "xs", 3, &e), &e);
    c->model.vit = small;
    c->images = c->batch = IMAGES;
    c->micro = MICRO;
    c->classes = 2;
    c->epochs = 40;
    c->lr = 1e-3;
    c->landmark_constant = 1;
    c->mixup_p = 0.5;
}

TEST(finetuning)
{
    struct lafs_finetune_config c;
    struct lafs_classes classes;
    struct lafs_finetune *t;
    struct lafs_finetune_report r;
    open_all();
    configure(&c);
    c.ahead = &data;
    REQUIRE_OK(lafs_classes_init(&classes, ix, &e), &e);
    size_t need;
    REQUIRE_OK(lafs_finetune_need(&c, ix, &classes, &b, 0, &need, &e), &e);
    taken = 0;
    REQUIRE_OK(lafs_finetune_open(&t, &c, &b, data_pool, ix, &classes, &e), &e);
    for (int i = 0; i < WARM + STEPS; i++) {
        if (i == WARM) begin_counting(0);
        REQUIRE_OK(lafs_finetune_step(t, &r, &e), &e);
    }
    CHECK_INT(counted(), 0);
    CHECK_INT(taken, need);
    lafs_finetune_close(t);
    lafs_classes_release(&classes);
    close_all();
}

TEST(finetuning_on_all_threads)
{
    static const struct lafs_target target[MICRO] = {{0, 1, 0.7f}, {1, 0, 0.7f}, {0, 0, 1}, {1, 1, 1}};
    static const uint64_t hash[MICRO] = {1, 2, 3, 4};
    struct lafs_finetune_config c;
    struct lafs_finetune *t;
    struct lafs_finetune_report r;
    void *images;
    open_all();
    configure(&c);
    REQUIRE_OK(lafs_finetune_open(&t, &c, &b, pool, NULL, NULL, &e), &e);
    REQUIRE_OK(b.ops->alloc(b.dev, &images, MICRO * CROP * sizeof(float), &e), &e);
    for (int i = 0; i < MICRO * CROP; i++) ((float *)images)[i] = (float)(i % 255) / 127.5f - 1;
    ready_images = (struct lafs_finetune_batch){images, target, hash, MICRO};
    for (int i = 0; i < WARM + STEPS; i++) {
        if (i == WARM) begin_counting(1);
        REQUIRE_OK(lafs_finetune_learn(t, same_images, NULL, &r, &e), &e);
    }
    CHECK_INT(counted(), 0);
    lafs_finetune_close(t);
    b.ops->free(b.dev, images);
    close_all();
}

/* The counting counts. */
TEST(counting)
{
    void *volatile p[3]; /* a compiler may leave out what is not looked at */
    begin_counting(0);
    p[0] = malloc(1), p[1] = calloc(1, 1), p[2] = aligned_alloc(64, 64);
    free(p[0]), free(p[1]), free(p[2]);
    CHECK_INT(counted(), 3);
    CHECK_INT(counted(), 0);
}

TEST_MAIN(counting, pretraining, pretraining_in_bf16, finetuning, finetuning_on_all_threads)

#else
TEST(allocations) { SKIP("counts only where malloc is glibc's own"); }
TEST_MAIN(allocations)
#endif
