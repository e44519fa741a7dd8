/* lafs-augment: the views of faces, as plans, and with --render as pixels. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/filter.h"
#include "cmd/viewoptions.h"
#include "data/face.h"
#include "data/loader.h"
#include "data/views.h"
#include "train/run.h"

enum { MAX_EPOCH = 1000000 };

static struct {
    struct viewoptions views;
    const char *epochs, *method, *resume;
    int render, keep, train, no_flip;
    double randaugment, crop_min, jitter, erase;
} o = {.views = VIEWOPTIONS_DEFAULTS, .epochs = "0", .method = "lafs", .randaugment = 1, .crop_min = 0.9, .jitter = 0.1,
       .erase = 0.5};

static const struct cli_option options[] = {
    {"epochs", 0, CLI_STRING, &o.epochs, "A-B", "draw the views of epochs A to B, both included, counted from 0", 0, 0,
     "0"},
    {"render", 0, CLI_FLAG, &o.render, NULL, "add the pixels of the views, and leave the picture out", 0, 0, NULL},
    {"keep", 0, CLI_FLAG, &o.keep, NULL, "with --render, keep the picture too", 0, 0, NULL},
    {"resume", 0, CLI_STRING, &o.resume, "RUN", "begin where the newest checkpoint of RUN stands", 0, 0, NULL},
    {"method", 0, CLI_CHOICE, &o.method, "lafs|dino", "views of landmark patches, or of plain crops", 0, 0, "lafs"},
    VIEWOPTIONS(o.views),
    {"train", 0, CLI_FLAG, &o.train, NULL, "one view an image, as fine-tuning sees it", 0, 0, NULL},
    {"randaugment", 0, CLI_DOUBLE, &o.randaugment, "M", "with --train: magnitude of RandAugment; -1: off", -1, 10, "1"},
    {"crop-min", 0, CLI_DOUBLE, &o.crop_min, "SHARE", "with --train: smallest area of the crop; 1: off", 0.01, 1,
     "0.9"},
    {"jitter", 0, CLI_DOUBLE, &o.jitter, "X", "with --train: colour jitter; 0: off", 0, 1, "0.1"},
    {"erase", 0, CLI_DOUBLE, &o.erase, "P", "with --train: share of images with an erased rectangle", 0, 1, "0.5"},
    {"no-flip", 0, CLI_FLAG, &o.no_flip, NULL, "with --train: do not mirror images", 0, 0, NULL},
    CLI_SEED, CLI_OUT, CLI_SHARDS, CLI_JOBS,
    CLI_TAKE, CLI_MAX_PIXELS, CLI_MAX_BAD, CLI_REJECTS, CLI_LOG, CLI_PRESET, CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-augment", "[OPTION]... [INDEX | FACES]...",
                                           "draw the views that training sees, and render them", options};

/* What a worker needs for one face at a time. */
struct worker {
    struct lafs_backend backend; /* without a pool: workers run side by side */
    struct lafs_image image;
    uint8_t *px[2];              /* clean and augmented: (views, side, side, 3) */
};

static struct {
    struct lafs_pretrain_views views;
    struct lafs_train_views train;
    int count, side;             /* views of an image, the largest side */
    int64_t from, to;            /* epochs, both included */
    struct worker *worker;
    /* from an index */
    struct lafs_index *ix;
    struct lafs_fetch *fetch;
    struct lafs_header header;
    int64_t *order, epoch, position, bad; /* where the next record is; order: (ix->samples) of that epoch, once there */
    int ordered;
    char digest[65];
} s;

/* -- faces in the order of the epochs -- */

/* The next sample, with its place in the fields `epoch` and `position`. */
static lafs_status next_of_index(void *arg, struct lafs_sample *sample, struct lafs_err *err)
{
    (void)arg;
    if (s.bad > 0) {
        s.bad--;
        if (err) *err = s.ix->bad_why;
        lafs_sample_clear(sample);
        return LAFS_BAD_RECORD;
    }
    if (s.position >= s.ix->samples) {
        s.position = 0;
        s.epoch++;
        s.ordered = 0;
    }
    if (s.epoch > s.to || s.ix->samples == 0) return LAFS_END;
    if (!s.ordered) LAFS_TRY(lafs_epoch_order(s.ix, (uint64_t)cli.seed, s.epoch, s.order, err));
    s.ordered = 1;
    int64_t i = s.order[s.position];
    lafs_status st = lafs_fetch_sample(s.fetch, i, sample, err);
    if (st == LAFS_BAD_RECORD) lafs_sample_clear(sample);
    if (!*lafs_sample_key(sample)) lafs_sample_set_str(sample, "key", s.ix->sample[i].key);
    lafs_sample_set_int(sample, "epoch", s.epoch);
    lafs_sample_set_int(sample, "position", s.position);
    s.position++;
    return st;
}

/* Whether the file has an order of its own to give up: an index, or a tar, which is indexed. */
static int can_be_ordered(const char *path)
{
    char head[512] = "";
    if (!strcmp(path, "-")) return 0;
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f) fclose(f);
    return (n >= 11 && !memcmp(head, "lafs-index ", 11)) || (n == sizeof head && !memcmp(head + 257, "ustar", 5));
}

/* Where the run stands. */
static lafs_status resume(struct lafs_err *err)
{
    struct lafs_st *st;
    int64_t cursor[4]; /* step, epoch, position, .. */
    lafs_status status = lafs_run_peek(o.resume, &st, err);
    if (status == LAFS_END) {
        cli_note("'%s' has no checkpoint yet: beginning at epoch %" PRId64, o.resume, s.epoch);
        return LAFS_OK;
    }
    LAFS_TRY(status);
    status = lafs_ckpt_read_i64(st, "cursor", cursor, 4, err);
    lafs_st_close(st);
    LAFS_TRY(status);
    if (cursor[1] < 0 || cursor[1] > MAX_EPOCH || cursor[2] < 0 || cursor[2] > s.ix->samples)
        return lafs_fail(err, LAFS_FAILED,
                         "'%s' stands at epoch %" PRId64 ", image %" PRId64 "; the index has %" PRId64 " images",
                         o.resume, cursor[1], cursor[2], s.ix->samples);
    s.epoch = cursor[1];
    s.position = cursor[2];
    cli_note("beginning at epoch %" PRId64 ", image %" PRId64, s.epoch, s.position);
    return LAFS_OK;
}

static lafs_status open_index(const char *path, struct filter_source *from, struct lafs_err *err)
{
    LAFS_TRY(lafs_index_open(&s.ix, path, err));
    LAFS_TRY(lafs_fetch_open(&s.fetch, s.ix, err));
    LAFS_TRY(lafs_index_header(s.ix, &s.header, err));
    LAFS_TRY(lafs_alloc(&s.order, (size_t)s.ix->samples, sizeof *s.order, err));
    LAFS_TRY(lafs_sha256_file(path, s.digest, err));
    s.bad = s.ix->bad;
    s.epoch = s.from;
    if (o.resume) LAFS_TRY(resume(err));
    int64_t left = (s.to - s.epoch + 1) * s.ix->samples - s.position;
    *from = (struct filter_source){NULL, &s.header, left > 0 ? left : 0, next_of_index};
    return LAFS_OK;
}

/* -- views -- */

static lafs_status render(struct worker *w, struct lafs_view *view, struct lafs_err *err)
{
    const struct lafs_image *im = &w->image;
    struct lafs_viewplan plan[LAFS_MAX_VIEWS];
    const uint8_t *source[LAFS_MAX_VIEWS];
    uint8_t *clean[LAFS_MAX_VIEWS], *augmented[LAFS_MAX_VIEWS];
    int width[LAFS_MAX_VIEWS], height[LAFS_MAX_VIEWS];
    /* Only the landmark CNN of LAFS looks at clean crops. */
    int want_clean = !o.train && !s.views.method_dino;
    for (int v = 0; v < s.count; v++) {
        size_t at = (size_t)v * (size_t)s.side * (size_t)s.side * 3;
        plan[v] = view[v].plan;
        source[v] = im->px;
        width[v] = im->w;
        height[v] = im->h;
        clean[v] = w->px[0] + at;
        augmented[v] = w->px[1] + at;
        view[v].clean = want_clean ? clean[v] : NULL;
        view[v].augmented = augmented[v];
    }
    const struct lafs_backend *b = &w->backend;
    b->ops->render(b->dev, s.count, plan, source, width, height, want_clean ? clean : NULL, augmented);
    return b->ops->sync(b->dev, err);
}

static lafs_status augment(void *arg, struct filter_item *it, int worker)
{
    (void)arg;
    struct worker *w = &s.worker[worker];
    struct lafs_view view[LAFS_MAX_VIEWS];
    struct lafs_viewplan plan[LAFS_MAX_VIEWS];
    int64_t epoch = s.from;
    const char *key = lafs_sample_key(&it->in);
    if (s.ix) LAFS_TRY(lafs_sample_int(&it->in, "epoch", &epoch, &it->err));
    LAFS_TRY(lafs_face_image(&it->in, cli.max_pixels, &w->image, &it->err));
    if (o.train) lafs_plan_train(&s.train, w->image.w, w->image.h, (uint64_t)cli.seed, epoch, key, plan);
    else lafs_plan_pretrain(&s.views, w->image.w, w->image.h, (uint64_t)cli.seed, epoch, key, plan);
    memset(view, 0, (size_t)s.count * sizeof *view);
    for (int v = 0; v < s.count; v++) view[v].plan = plan[v];
    if (o.render) LAFS_TRY(render(w, view, &it->err));
    if (!s.ix) {
        lafs_sample_set_int(&it->in, "epoch", epoch);
        lafs_sample_del(&it->in, "position"); /* of another order */
    }
    if (o.render && !o.keep) lafs_face_del(&it->in);
    lafs_views_set(&it->in, view, s.count);
    return LAFS_OK;
}

static lafs_status header(void *arg, const struct lafs_header *in, struct lafs_header *out, struct lafs_err *err)
{
    (void)arg;
    (void)in;
    (void)err;
    out->seed = cli.seed;
    out->epochs_from = s.ix ? s.epoch : s.from;
    out->epochs_to = s.to;
    out->images = s.ix ? s.ix->samples : -1;
    return LAFS_OK;
}

/* -- wiring -- */

/* "7" or "0-40". */
static void parse_epochs(const char *text)
{
    const char *p = text;
    int64_t *end[2] = {&s.from, &s.to};
    for (int i = 0; i < 2; i++) {
        int64_t v = 0;
        if (*p < '0' || *p > '9') cli_misuse("--epochs %s: neither a number nor a range like 0-40", text);
        for (; *p >= '0' && *p <= '9' && v <= MAX_EPOCH; p++) v = 10 * v + (*p - '0');
        if (v > MAX_EPOCH) cli_misuse("--epochs %s: more than %d", text, MAX_EPOCH);
        *end[i] = v;
        if (i == 0 && *p == 0) {
            s.to = v;
            return;
        }
        if (i == 0 && *p++ != '-') cli_misuse("--epochs %s: neither a number nor a range like 0-40", text);
    }
    if (*p) cli_misuse("--epochs %s: neither a number nor a range like 0-40", text);
    if (s.to < s.from) cli_misuse("--epochs %s: ends before it begins", text);
}

static void configure(void)
{
    struct lafs_pretrain_views *v = &s.views;
    const void *const of_training[] = {&o.randaugment, &o.crop_min, &o.jitter, &o.erase, &o.no_flip};
    for (size_t i = 0; !o.train && i < sizeof of_training / sizeof *of_training; i++)
        if (cli_given(of_training[i]))
            cli_misuse("--randaugment, --crop-min, --jitter, --erase and --no-flip go with --train");
    const void *const of_pretraining[] = {&o.method, &o.views.globals, &o.views.locals, &o.views.global_min,
                                          &o.views.local_min, &o.views.local_max};
    for (size_t i = 0; o.train && i < sizeof of_pretraining / sizeof *of_pretraining; i++)
        if (cli_given(of_pretraining[i]))
            cli_misuse("--method, --globals, --locals, --global-min, --local-min and --local-max do not go with "
                       "--train");
    parse_epochs(o.epochs);
    viewoptions_apply(&o.views, !strcmp(o.method, "dino"), v);
    lafs_train_views_default(&s.train);
    s.train.flip = !o.no_flip;
    s.train.randaugment_m = (float)o.randaugment;
    s.train.crop_scale_min = (float)o.crop_min;
    s.train.jitter = (float)o.jitter;
    s.train.erase_p = (float)o.erase;
    s.count = o.train ? 1 : v->globals + v->locals;
    s.side = v->size > v->local_size ? v->size : v->local_size;
}

static lafs_status open_workers(int n, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(&s.worker, (size_t)n, sizeof *s.worker, err));
    for (int i = 0; i < n; i++) {
        struct worker *w = &s.worker[i];
        LAFS_TRY(lafs_backend_open(&w->backend, "cpu", NULL, NULL, err));
        for (int k = 0; k < 2 && o.render; k++)
            LAFS_TRY(lafs_alloc(&w->px[k], (size_t)s.count, (size_t)s.side * (size_t)s.side * 3, err));
    }
    return LAFS_OK;
}

static void close_all(int n)
{
    for (int i = 0; s.worker && i < n; i++) {
        lafs_backend_close(&s.worker[i].backend);
        lafs_image_release(&s.worker[i].image);
        for (int k = 0; k < 2; k++) lafs_free(s.worker[i].px[k]);
    }
    lafs_free(s.worker);
    lafs_free(s.order);
    lafs_fetch_close(s.fetch);
    lafs_index_free(s.ix);
    lafs_header_release(&s.header);
}

static int run(const char *const *args, int n)
{
    struct lafs_err err = {0};
    struct filter_source from;
    struct filter f = {.program = &program, .what = "faces", .each = augment, .header = header};
    const char *const digest_names[] = {"index"}, *const digest_values[] = {s.digest};
    int ordered = n == 1 && can_be_ordered(args[0]);
    if (!ordered && s.from != s.to) cli_misuse("several epochs need one index, or one tar: other input passes by once");
    if (!ordered && o.resume) cli_misuse("--resume needs one index, or one tar");
    size_t len = cli.out ? strlen(cli.out) : 0;
    if (s.from != s.to && len > 4 && !strcmp(cli.out + len - 4, ".tar"))
        cli_misuse("several epochs cannot go into shards, where a key stands once: write a stream");
    if (open_workers(lafs_pool_threads(cli_pool()), &err) != LAFS_OK) return cli_fail(&err);
    if (ordered) {
        if (open_index(args[0], &from, &err) != LAFS_OK) return cli_fail(&err);
        f.source = &from;
    }
    return filter_run(&f, args, n, digest_names, digest_values, ordered);
}

int main(int argc, char **argv)
{
    int n;
    char **args = cli_parse(&program, argc, argv, &n);
    configure();
    lafs_header_init(&s.header);
    int status = run((const char *const *)args, n);
    close_all(lafs_pool_threads(cli_pool()));
    return cli_finish(status);
}
