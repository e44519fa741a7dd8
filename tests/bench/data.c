/* Speed of the data path on one thread: rendering of views (an image, and each operation), patches, JPEG, and all of it
 * together as pretraining's feed does it. Bytes are those of the pixels (or tokens) that come out. Where pictures are
 * needed, rendered faces are. bench.h says how; no test. */
#include <inttypes.h>

#include "data/index.h"
#include "data/stream.h"
#include "image/image.h"
#include "image/viewplan.h"
#include "synth/synth.h"
#include "tests/bench/bench.h"
#include "train/feed.h"

enum { SIDE = 112, CROP = SIDE * SIDE * 3, IMAGES = 16, VIEWS = 10, R = 196, SUBSET = 36, PATCH = 8 * 8 * 3 };

static struct lafs_backend be;
static struct lafs_err err;

static void need(lafs_status st)
{
    if (st == LAFS_OK) return;
    fprintf(stderr, "bench/data: %s\n", err.msg);
    exit(1);
}

static void *room(size_t size)
{
    void *p;
    need(lafs_alloc0(&p, size, 1, &err));
    return p;
}

/* units: a call does; bytes: come out of a unit. */
static void report(const char *name, void (*run)(void), double units, double bytes, const char *unit, double bar)
{
    bench_row(&(struct bench_row){.name = name, .unit = unit, .units = units, .bytes = bytes * units, .bar = bar,
                                  .threads = 1, .run = run});
}

/* -- pictures -- */

static struct lafs_image photo[IMAGES], face[IMAGES]; /* 250x250, and aligned 112x112 */

static void make_pictures(void)
{
    struct lafs_synth_options opt = LAFS_SYNTH_DEFAULTS;
    struct lafs_synth *s;
    struct lafs_synth_work *w;
    struct lafs_synth_photo p;
    double matrix[6];
    float points[10], points68[136], box[4];
    need(lafs_synth_new(&s, &opt, &err));
    need(lafs_synth_work_new(&w, s, &err));
    for (int i = 0; i < IMAGES; i++) {
        lafs_synth_photo_init(&p);
        need(lafs_synth_render(s, w, i, 1, &p, &err));
        need(lafs_synth_align(&p, SIDE, &face[i], matrix, points, points68, box, &err));
        photo[i] = p.image;
        memset(&p.image, 0, sizeof p.image);
        lafs_synth_photo_release(&p);
    }
    lafs_synth_work_free(w);
    lafs_synth_free(s);
}

/* -- rendering -- */

static struct lafs_viewplan plan[IMAGES * VIEWS];
static const uint8_t *source[IMAGES * VIEWS];
static int width[IMAGES * VIEWS], height[IMAGES * VIEWS];
static uint8_t *clean[IMAGES * VIEWS], *augmented[IMAGES * VIEWS];
static int64_t views;

static void render_both(void) { be.ops->render(be.dev, views, plan, source, width, height, clean, augmented); }
static void render_augmented(void) { be.ops->render(be.dev, views, plan, source, width, height, NULL, augmented); }

static void take_sources(const struct lafs_image *from, int each)
{
    views = IMAGES * each;
    for (int i = 0; i < views; i++) {
        source[i] = from[i / each].px;
        width[i] = from[i / each].w;
        height[i] = from[i / each].h;
    }
}

static const char *key_of(int i)
{
    static char key[32];
    snprintf(key, sizeof key, "face/%d", i);
    return key;
}

static void bench_images(void)
{
    struct lafs_pretrain_views v;
    struct lafs_train_views t;
    for (int i = 0; i < IMAGES * VIEWS; i++) clean[i] = room(CROP), augmented[i] = room(CROP);
    lafs_pretrain_views_default(&v, 0);
    take_sources(face, VIEWS);
    for (int i = 0; i < IMAGES; i++) lafs_plan_pretrain(&v, SIDE, SIDE, 1, 0, key_of(i), plan + i * VIEWS);
    report("LAFS image, 10 x 2 crops", render_both, IMAGES, 2 * VIEWS * CROP, "image", 0.4);
    lafs_pretrain_views_default(&v, 1);
    for (int i = 0; i < IMAGES; i++) lafs_plan_pretrain(&v, SIDE, SIDE, 1, 0, key_of(i), plan + i * VIEWS);
    report("DINO image, 2 + 8 crops", render_augmented, IMAGES, 2 * CROP + 8 * 48 * 48 * 3, "image", 0);
    lafs_train_views_default(&t);
    take_sources(face, VIEWS);
    for (int i = 0; i < IMAGES * VIEWS; i++) lafs_plan_train(&t, SIDE, SIDE, 1, 0, key_of(i), plan + i);
    report("training view", render_augmented, IMAGES * VIEWS, CROP, "view", 0);
    take_sources(photo, VIEWS);
    for (int i = 0; i < IMAGES * VIEWS; i++) lafs_plan_train(&t, 250, 250, 1, 0, key_of(i), plan + i);
    report("training view of 250x250", render_augmented, IMAGES * VIEWS, CROP, "view", 0);
}

/* An operation alone: REPEAT of it in a plan. */
static void bench_op(const char *name, struct lafs_view_op op)
{
    enum { REPEAT = 16 };
    char label[64];
    snprintf(label, sizeof label, "op %s", name);
    if (!bench_wants(label)) return;
    take_sources(face, 1);
    for (int i = 0; i < views; i++) {
        plan[i] = (struct lafs_viewplan){.kind = LAFS_VIEW_TRAIN, .out_size = SIDE, .ops = REPEAT};
        for (int k = 0; k < REPEAT; k++) plan[i].op[k] = op;
    }
    report(label, render_augmented, IMAGES * REPEAT, CROP, "view", 0);
}

static void bench_ops(void)
{
    static const struct {
        const char *name;
        struct lafs_view_op op;
    } list[] = {
        {"bicubic 80x100", {LAFS_OP_CROP_BICUBIC, {10, 5, 80, 100}}},
        {"bilinear 108x108", {LAFS_OP_CROP_BILINEAR, {2, 2, 108, 108}}},
        {"flip", {LAFS_OP_FLIP, {0}}},
        {"brightness", {LAFS_OP_BRIGHTNESS, {1.1f}}},
        {"contrast", {LAFS_OP_CONTRAST, {1.1f}}},
        {"saturation", {LAFS_OP_SATURATION, {1.1f}}},
        {"hue", {LAFS_OP_HUE, {0.05f}}},
        {"grey", {LAFS_OP_GRAY, {0}}},
        {"blur 0.5", {LAFS_OP_BLUR, {0.5f}}},
        {"blur 1.2", {LAFS_OP_BLUR, {1.2f}}},
        {"blur 1.9", {LAFS_OP_BLUR, {1.9f}}},
        {"solarise", {LAFS_OP_SOLARIZE, {0}}},
        {"rotate, bilinear", {LAFS_OP_ROTATE, {3, 0}}},
        {"rotate, bicubic", {LAFS_OP_ROTATE, {3, 1}}},
        {"shear x, bicubic", {LAFS_OP_SHEAR_X, {0.03f, 1}}},
        {"shear y, bilinear", {LAFS_OP_SHEAR_Y, {0.03f, 0}}},
        {"translate, bicubic", {LAFS_OP_TRANSLATE_X, {5.04f, 1}}},
        {"autocontrast", {LAFS_OP_AUTOCONTRAST, {0}}},
        {"equalise", {LAFS_OP_EQUALIZE, {0}}},
        {"invert", {LAFS_OP_INVERT, {0}}},
        {"posterise", {LAFS_OP_POSTERIZE, {4}}},
        {"sharpness", {LAFS_OP_SHARPNESS, {1.09f}}},
        {"erase", {LAFS_OP_ERASE, {20, 30, 30, 20}}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) bench_op(list[i].name, list[i].op);
}

/* -- patches -- */

static struct lafs_seqs cut_seqs;
static float *crops, *points, *tokens, *dpoints, *dcrops;
static uint8_t *crops_u8;

static void cut(void) { be.ops->patch_cut(be.dev, &cut_seqs, SIDE, 8, 1, crops, points, tokens); }
static void cut_back(void)
{
    be.ops->patch_cut_bwd(be.dev, &cut_seqs, SIDE, 8, 1, crops, points, tokens, dpoints, NULL);
}
static void cut_back_both(void)
{
    be.ops->patch_cut_bwd(be.dev, &cut_seqs, SIDE, 8, 1, crops, points, tokens, dpoints, dcrops);
}
static void convert(void) { be.ops->u8_to_f32(be.dev, (int64_t)IMAGES * CROP, crops_u8, crops); }

static void bench_patches(void)
{
    int64_t *off = room((IMAGES + 1) * sizeof *off);
    crops_u8 = room((size_t)IMAGES * CROP);
    crops = room((size_t)IMAGES * CROP * sizeof *crops);
    dcrops = room((size_t)IMAGES * CROP * sizeof *crops);
    points = room((size_t)IMAGES * R * 2 * sizeof *points);
    dpoints = room((size_t)IMAGES * R * 2 * sizeof *points);
    tokens = room((size_t)IMAGES * R * PATCH * sizeof *tokens);
    for (int i = 0; i < IMAGES; i++) {
        memcpy(crops_u8 + (size_t)i * CROP, face[i].px, CROP);
        struct lafs_rng r;
        lafs_rng_init(&r, (uint64_t)i);
        for (int k = 0; k < 2 * R; k++) points[i * 2 * R + k] = (float)lafs_rng_uniform(&r, -2, 114);
    }
    report("crop from u8 to f32", convert, IMAGES, CROP * sizeof(float), "view", 0);
    for (int n = R; n; n = n == R ? SUBSET : 0) {
        for (int i = 0; i <= IMAGES; i++) off[i] = (int64_t)i * n;
        cut_seqs = (struct lafs_seqs){IMAGES, off, off, n};
        double bytes = (double)n * PATCH * sizeof(float);
        report(n == R ? "patch cut, 196" : "patch cut, 36", cut, IMAGES, bytes, "view", n == R ? 7e-3 : 0);
        if (n != R) continue;
        report("patch backward, landmarks", cut_back, IMAGES, bytes, "view", 0);
        report("patch backward, and image", cut_back_both, IMAGES, bytes, "view", 0);
    }
}

/* -- JPEG -- */

static struct lafs_buf coded[IMAGES];
static int pictures;

static void decode(void)
{
    static struct lafs_image im;
    for (int i = 0; i < pictures; i++) need(lafs_jpeg_decode(&im, coded[i].data, coded[i].size, 0, &err));
}

static void bench_decode(const char *name, const struct lafs_image *im, int n, int quality, double bar)
{
    if (!bench_wants(name)) return;
    pictures = n;
    for (int i = 0; i < n; i++) {
        lafs_buf_clear(&coded[i]);
        need(lafs_jpeg_encode(&coded[i], &im[i], quality, &err));
    }
    report(name, decode, n, 3.0 * im->w * im->h, "image", bar);
}

/* The faces as tiles of one picture. */
static struct lafs_image tiled(int across, int down)
{
    struct lafs_image im = {0};
    need(lafs_image_new(&im, 250 * across, 250 * down, &err));
    for (int y = 0; y < im.h; y++)
        for (int x = 0; x < across; x++)
            memcpy(im.px + ((size_t)y * (size_t)im.w + (size_t)x * 250) * 3,
                   photo[(x + y / 250 * across) % IMAGES].px + (size_t)(y % 250) * 750, 750);
    return im;
}

static void bench_jpeg(void)
{
    struct lafs_image large = tiled(4, 4);
    for (int i = 0; i < IMAGES; i++) lafs_buf_init(&coded[i]);
    bench_decode("JPEG 112x112, quality 95", face, IMAGES, 95, 0.1);
    bench_decode("JPEG 250x250, quality 95", photo, IMAGES, 95, 0.2);
    bench_decode("JPEG 250x250, quality 80", photo, IMAGES, 80, 0.2);
    bench_decode("JPEG 1 MP, quality 80", &large, 1, 80, 4);
    lafs_image_release(&large);
}

/* -- the feed -- */

static struct lafs_feed *feed;
static int64_t feed_epoch;
static void feed_all(void)
{
    struct lafs_feed_batch batch;
    need(lafs_feed_next(feed, feed_epoch++, &batch, &err));
}

static void write_faces(const char *dir, char tar[128], char index[128])
{
    struct lafs_writer *w;
    struct lafs_header h;
    struct lafs_sample s;
    snprintf(tar, 128, "%s/f.tar", dir);
    snprintf(index, 128, "%s/f.lafs", dir);
    lafs_header_init(&h);
    need(lafs_writer_open(&w, &(struct lafs_writer_options){.out = tar}, &h, &err));
    lafs_sample_init(&s);
    struct lafs_buf jpg;
    lafs_buf_init(&jpg);
    for (int i = 0; i < IMAGES; i++) {
        lafs_sample_clear(&s);
        lafs_buf_clear(&jpg);
        need(lafs_jpeg_encode(&jpg, &face[i], 95, &err));
        lafs_sample_set_str(&s, "key", key_of(i));
        lafs_sample_set_bin(&s, "jpg", jpg.data, jpg.size);
        need(lafs_writer_put(w, &s, &err));
    }
    need(lafs_writer_close(w, &(struct lafs_totals){.count = IMAGES, .ok = 1}, &err));
    lafs_buf_release(&jpg);
    lafs_sample_release(&s);
    lafs_header_release(&h);
}

static void bench_feed(void)
{
    char dir[] = "/tmp/lafs-bench-XXXXXX", tar[128], path[128];
    static const char *const name[] = {"feed, LAFS, grid", "feed, LAFS, CNN",
                                       "feed, DINO"};
    struct lafs_index *ix;
    struct lafs_model m;
    if (!mkdtemp(dir)) exit(1);
    write_faces(dir, tar, path);
    lafs_status st = lafs_index_open(&ix, path, &err);
    unlink(path);
    need(st);
    struct lafs_model_config mc;
    need(lafs_model_config_named(&mc, "xs", &err));
    mc.parts = LAFS_PART_CNN;
    need(lafs_model_init(&m, &mc, &err));
    need(lafs_params_place(&m.params, &be, &err));
    need(lafs_params_fill(&m.params, &be, 1, &err));
    for (int i = 0; i < 3; i++) {
        if (!bench_wants(name[i])) continue;
        struct lafs_feed_config c = {.micro = IMAGES, .per_epoch = 1, .epochs = INT32_MAX, .seed = 1,
                                    .cnn = i == 1 ? &m : NULL};
        c.points = (struct lafs_point_rule){.landmarks = R, .sigma = 5, .subset = SUBSET, .dino = i == 2, .patch = 8,
                                            .seed = 1};
        lafs_pretrain_views_default(&c.views, i == 2);
        need(lafs_feed_index(&feed, &c, &be, NULL, ix, &err));
        report(name[i], feed_all, IMAGES, (2 * R + 8 * SUBSET) * PATCH * sizeof(float), "image", 0);
        lafs_feed_close(feed);
    }
    unlink(tar);
    rmdir(dir);
}

int main(void)
{
    bench_begin("data");
    bench_open(&be, NULL);
    make_pictures();
    bench_images();
    bench_ops();
    bench_patches();
    bench_jpeg();
    bench_feed();
    return bench_end(); /* the process takes the memory with it */
}
