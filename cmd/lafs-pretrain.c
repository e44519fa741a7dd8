/* lafs-pretrain: self-supervised training on faces without labels. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/openindex.h"
#include "cmd/viewoptions.h"
#include "cmd/vitoptions.h"
#include "train/pretrain.h"

static struct {
    struct trainrun_options run;
    struct vitoptions vit;
    struct viewoptions views;
    const char *method, *landmarks, *init, *teacher;
    int64_t epochs, batch, micro, warmup, freeze_last, temp_epochs, out_dim, hidden, bottleneck, subset;
    double lr, lr_final, decay, decay_final, momentum, clip, temp_student, temp_first, temp, center_momentum, sigma;
    int ordered;
} o = {.run = TRAINRUN_DEFAULTS,
       .vit = VITOPTIONS_DEFAULTS,
       .views = VIEWOPTIONS_DEFAULTS,
       .method = "lafs",
       .teacher = "train",
       .epochs = 41,
       .batch = 164,
       .warmup = -1,
       .freeze_last = 1,
       .temp_epochs = -1,
       .out_dim = 100000,
       .hidden = 2048,
       .bottleneck = 256,
       .subset = 36,
       .lr = 5e-4,
       .lr_final = 1e-6,
       .decay = 0.04,
       .decay_final = 0.4,
       .momentum = 0.996,
       .clip = 3,
       .temp_student = 0.1,
       .temp_first = 0.07,
       .temp = 0.04,
       .center_momentum = 0.9,
       .sigma = 5};

#define BIG 9007199254740992.0
static const struct cli_option options[] = {
    TRAINRUN_OUTPUT(o.run),
    {"method", 0, CLI_CHOICE, &o.method, "lafs|dino", "landmark patches, or plain crops cut on a grid", 0, 0, "lafs"},
    {"landmarks", 0, CLI_STRING, &o.landmarks, "MODEL", "the model whose landmark CNN is used, or 'grid'", 0, 0, NULL},
    VITOPTIONS_SIZE(o.vit),
    {"epochs", 0, CLI_INT, &o.epochs, "N", "epochs", 1, 1e6, "41"},
    {"batch", 0, CLI_INT, &o.batch, "N", "images a step", 1, 1e6, "164"},
    {"micro", 0, CLI_INT, &o.micro, "N", "images a pass; the gradients of a step's passes are added", 0, 1e6,
     "the batch"},
    {"lr", 0, CLI_DOUBLE, &o.lr, "RATE", "peak learning rate for a batch of 256; scaled by batch/256", 0, 1, "0.0005"},
    {"lr-final", 0, CLI_DOUBLE, &o.lr_final, "RATE", "learning rate at the end", 0, 1, "1e-06"},
    {"warmup", 0, CLI_INT, &o.warmup, "N", "epochs of warm-up", 0, 1e6, "a quarter, at most 10"},
    {"decay", 0, CLI_DOUBLE, &o.decay, "X", "weight decay at the start", 0, 10, "0.04"},
    {"decay-final", 0, CLI_DOUBLE, &o.decay_final, "X", "weight decay at the end", 0, 10, "0.4"},
    {"momentum", 0, CLI_DOUBLE, &o.momentum, "X", "momentum of the teacher at the start; 1 at the end", 0, 1, "0.996"},
    {"clip", 0, CLI_DOUBLE, &o.clip, "X", "clip the gradient of each tensor at this norm; 0: do not", 0, BIG, "3"},
    {"freeze-last", 0, CLI_INT, &o.freeze_last, "N", "epochs in which the head's last layer stays", 0, 1e6, "1"},
    {"temp-student", 0, CLI_DOUBLE, &o.temp_student, "X", "temperature of the student", 1e-3, 100, "0.1"},
    {"temp-first", 0, CLI_DOUBLE, &o.temp_first, "X", "temperature of the teacher in the first epoch", 1e-3, 100,
     "0.07"},
    {"temp", 0, CLI_DOUBLE, &o.temp, "X", "temperature of the teacher after its way down", 1e-3, 100, "0.04"},
    {"temp-epochs", 0, CLI_INT, &o.temp_epochs, "N", "epochs of the temperature's way down", 0, 1e6,
     "three quarters, at most 30"},
    {"center-momentum", 0, CLI_DOUBLE, &o.center_momentum, "X", "momentum of the centre", 0, 1, "0.9"},
    {"out-dim", 0, CLI_INT, &o.out_dim, "K", "outputs of the head", 2, 1e7, "100000"},
    {"hidden", 0, CLI_INT, &o.hidden, "N", "width of the head's hidden layers", 1, 65536, "2048"},
    {"bottleneck", 0, CLI_INT, &o.bottleneck, "N", "width before the head's last layer", 1, 65536, "256"},
    {"sigma", 0, CLI_DOUBLE, &o.sigma, "PIXELS", "perturbation of the landmarks; 0: none", 0, 112, "5"},
    {"subset", 0, CLI_INT, &o.subset, "N", "patches of a local view", 1, 4096, "36"},
    {"ordered", 0, CLI_FLAG, &o.ordered, NULL, "keep a local view's patches in landmark order: no shuffle", 0, 0, NULL},
    VIEWOPTIONS(o.views),
    {"dropout", 0, CLI_DOUBLE, &o.vit.dropout, "P", "dropout", 0, 0.99, "0.1"},
    VITOPTIONS_BRANCHES(o.vit),
    {"teacher", 0, CLI_CHOICE, &o.teacher, "train|eval", "dropout in the teacher too as the authors, or none", 0, 0,
     "train"},
    {"init", 0, CLI_STRING, &o.init, "MODEL", "start the ViT from this model", 0, 0, NULL},
    TRAINRUN_PRECISION(o.run),
    TRAINRUN_CHECKPOINTS(o.run, "each epoch, and every ten minutes", "epochs"),
    TRAINRUN_DRY_RUN(o.run),
    TRAINRUN_RANKS(o.run),
    CLI_JOBS,
    CLI_DEVICE,
    CLI_SEED,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-pretrain", "-o RUN --landmarks MODEL [OPTION]... [FACES.lafs | VIEWS]",
                                           "learn from faces without labels", options};

static struct {
    struct lafs_pretrain_config c;
    struct lafs_pretrain_report report;
    struct lafs_model cnn;
    int has_cnn;
    const char *index; /* NULL: a stream of views */
    struct lafs_index *ix;
    struct lafs_reader *reader;
    struct lafs_feed *feed;
    struct lafs_pretrain *trainer;
    struct trainrun run;
    char cnn_digest[65], data_digest[65], init_digest[65];
} s;

static lafs_status configure(struct lafs_err *err)
{
    struct lafs_pretrain_config *c = &s.c;
    int dino = !strcmp(o.method, "dino");
    LAFS_TRY(lafs_pretrain_config_default(c, o.vit.size, dino, err));
    struct lafs_vit_config *v = &c->model.vit;
    LAFS_TRY(vitoptions_apply(&o.vit, v, err));
    int grid = dino || (o.landmarks && !strcmp(o.landmarks, "grid"));
    c->model.tokens = grid ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK;
    c->head = (struct lafs_dino_config){v->dim, o.hidden, o.bottleneck, o.out_dim};
    viewoptions_apply(&o.views, dino, &c->views);
    c->points = (struct lafs_point_rule){.landmarks = v->patches,
                                         .sigma = (float)o.sigma,
                                         .subset = (int)o.subset,
                                         .ordered = o.ordered,
                                         .dino = dino,
                                         .patch = v->patch,
                                         .seed = (uint64_t)cli.seed};
    c->batch = o.batch;
    c->micro = o.micro ? o.micro : o.batch;
    c->epochs = o.epochs;
    c->lr = o.lr * (double)o.batch / 256;
    c->lr_final = o.lr_final;
    c->warmup_epochs = o.warmup >= 0 ? o.warmup : o.epochs / 4 < 10 ? o.epochs / 4 : 10;
    c->decay = o.decay;
    c->decay_final = o.decay_final;
    c->momentum = o.momentum;
    c->clip = o.clip;
    c->freeze_last = o.freeze_last;
    c->temp_student = o.temp_student;
    c->temp_first = o.temp_first;
    c->temp = o.temp;
    c->temp_epochs = o.temp_epochs >= 0 ? o.temp_epochs : o.epochs * 3 / 4 < 30 ? o.epochs * 3 / 4 : 30;
    c->center_momentum = o.center_momentum;
    c->teacher_eval = !strcmp(o.teacher, "eval");
    c->seed = (uint64_t)cli.seed;
    return LAFS_OK;
}

static void record_options(void)
{
    const struct lafs_pretrain_config *c = &s.c;
    struct trainrun *r = &s.run;
    trainrun_option(r, "method", 0, "%s", o.method);
    trainrun_option(r, "tokens", 0, "%s", c->model.tokens == LAFS_TOKENS_GRID ? "grid" : "landmark");
    trainrun_option(r, "landmarks", 0, "%s", s.has_cnn ? s.cnn_digest : o.landmarks ? o.landmarks : "");
    trainrun_option(r, "data", 0, "%s", s.data_digest);
    trainrun_option(r, "images", 0, "%" PRId64, c->images);
    vitoptions_record(&o.vit, &c->model.vit, r);
    trainrun_option(r, "drop", 0, "dropout %g drop-path %g teacher %s", o.vit.dropout, o.vit.drop_path, o.teacher);
    trainrun_option(r, "epochs", 1, "%" PRId64, c->epochs);
    trainrun_option(r, "warmup", 1, "%" PRId64, c->warmup_epochs);
    trainrun_option(r, "temp-epochs", 1, "%" PRId64, c->temp_epochs);
    trainrun_option(r, "batch", 0, "%" PRId64, c->batch);
    trainrun_option(r, "micro", 0, "%" PRId64, c->micro);
    trainrun_option(r, "lr", 0, "%.9g", o.lr);
    trainrun_option(r, "lr-final", 0, "%.9g", o.lr_final);
    trainrun_option(r, "decay", 0, "%.9g", o.decay);
    trainrun_option(r, "decay-final", 0, "%.9g", o.decay_final);
    trainrun_option(r, "momentum", 0, "%.9g", o.momentum);
    trainrun_option(r, "clip", 0, "%.9g", o.clip);
    trainrun_option(r, "freeze-last", 0, "%" PRId64, o.freeze_last);
    trainrun_option(r, "temp-student", 0, "%.9g", o.temp_student);
    trainrun_option(r, "temp-first", 0, "%.9g", o.temp_first);
    trainrun_option(r, "temp", 0, "%.9g", o.temp);
    trainrun_option(r, "center-momentum", 0, "%.9g", o.center_momentum);
    trainrun_option(r, "head", 0, "hidden %" PRId64 " bottleneck %" PRId64 " out %" PRId64, o.hidden, o.bottleneck,
                    o.out_dim);
    trainrun_option(r, "views", 0, "globals %d of %g-%g locals %d of %g-%g at %d", c->views.globals,
                    (double)c->views.global_scale[0], (double)c->views.global_scale[1], c->views.locals,
                    (double)c->views.local_scale[0], (double)c->views.local_scale[1], c->views.local_size);
    trainrun_option(r, "points", 0, "sigma %g subset %d %s", o.sigma, c->points.subset,
                    o.ordered ? "ordered" : "shuffled");
    trainrun_option(r, "init", 0, "%s", s.init_digest);
    trainrun_option(r, "precision", 0, "%s", o.run.precision);
    trainrun_option(r, "seed", 0, "%" PRId64, cli.seed);
}

/* Opens the index, or the stream of views. */
static lafs_status open_data(struct lafs_err *err)
{
    struct lafs_pretrain_config *c = &s.c;
    if (s.index) {
        LAFS_TRY(openindex(&s.ix, s.index, err));
        if (s.has_cnn) LAFS_TRY(lafs_model_check_pixels(&s.cnn, &s.ix->pixels, err));
        LAFS_TRY(lafs_model_take_pixels(&c->model, &s.ix->pixels, s.index, err));
        c->images = s.ix->samples;
        return lafs_sha256_file(s.index, s.data_digest, err);
    }
    static const char *const standard_input[] = {"-"};
    if (s.run.comm.size > 1)
        return lafs_fail(err, LAFS_USAGE, "several processes cannot share a stream of views: give an index");
    LAFS_TRY(lafs_reader_open(&s.reader, standard_input, 1, NULL, err));
    const struct lafs_header *h = lafs_reader_header(s.reader);
    if (h->images < 0)
        return lafs_fail(
            err, LAFS_FAILED,
            "the stream's header does not say how many images an epoch has (was it made by lafs-augment?)");
    if (h->seed >= 0 && h->seed != cli.seed)
        return lafs_fail(err, LAFS_USAGE, "the views were drawn with --seed %" PRId64 ", this run has --seed %" PRId64,
                         h->seed, cli.seed);
    LAFS_TRY(lafs_model_take_pixels(&c->model, &h->pixels, "standard input", err));
    c->images = h->images;
    snprintf(s.data_digest, sizeof s.data_digest, "stream");
    return LAFS_OK;
}

static lafs_status open_landmarks(struct lafs_err *err)
{
    const struct lafs_pretrain_config *c = &s.c;
    if (!o.landmarks || !strcmp(o.landmarks, "grid") || c->points.dino) return LAFS_OK;
    LAFS_TRY(lafs_model_load_cnn(&s.cnn, &s.run.backend, o.landmarks, err));
    s.has_cnn = 1;
    if (!(s.cnn.config.parts & LAFS_PART_CNN))
        return lafs_fail(err, LAFS_USAGE, "'%s' has no landmark CNN", o.landmarks);
    if (s.cnn.config.vit.patches != c->model.vit.patches)
        return lafs_fail(err, LAFS_USAGE, "'%s' has %d landmarks, --patches is %d", o.landmarks,
                         s.cnn.config.vit.patches, c->model.vit.patches);
    return lafs_sha256_file(o.landmarks, s.cnn_digest, err);
}

static struct lafs_feed_config feed_config(const struct lafs_pretrain_config *c)
{
    return (struct lafs_feed_config){
        .views = c->views, .points = c->points, .micro = (int)c->micro, .epochs = c->epochs, .seed = c->seed,
        .cnn = s.has_cnn ? &s.cnn : NULL, .turns = lafs_turns_of(c->comm, c->batch / c->micro), .ahead = s.run.ahead,
        .per_epoch = lafs_pretrain_steps_per_epoch(c) * (c->batch / c->micro)};
}
static const struct lafs_backend *feed_backend(void) { return s.run.ahead ? &s.run.data : &s.run.backend; }

static lafs_status need(int64_t micro, const struct lafs_backend *b, int reserve, size_t *bytes, struct lafs_err *err)
{
    struct lafs_pretrain_config c = s.c;
    c.micro = micro;
    const struct lafs_feed_config f = feed_config(&c);
    return lafs_pretrain_need(&c, &f, s.ix, b, feed_backend(), reserve, bytes, err);
}

static lafs_status open_trainer(struct lafs_err *err)
{
    const struct lafs_feed_config f = feed_config(&s.c);
    const struct lafs_backend *b = feed_backend();
    LAFS_TRY(s.ix ? lafs_feed_index(&s.feed, &f, b, trainrun_data_pool(&s.run), s.ix, err)
                  : lafs_feed_stream(&s.feed, &f, b, s.reader, err));
    return lafs_pretrain_open(&s.trainer, &s.c, &s.run.backend, s.feed, err);
}

/* FLOP of a step per image, forward and backward (twice the forward) of the student, forward of the teacher and the
 * CNN. */
static double flop_per_image(const struct lafs_pretrain_config *c)
{
    const struct lafs_vit_config *v = &c->model.vit;
    double sum = 0;
    for (int i = 0; i < c->views.globals + c->views.locals; i++) {
        int global = i < c->views.globals;
        int64_t n = lafs_view_tokens(&c->points, global ? LAFS_VIEW_GLOBAL : LAFS_VIEW_LOCAL,
                                     global ? c->views.size : c->views.local_size);
        double head = 2 * ((double)v->dim * (double)c->head.hidden + (double)c->head.hidden * (double)c->head.hidden +
                           (double)(c->head.hidden * c->head.bottleneck) + (double)(c->head.bottleneck * c->head.out));
        sum += 3 * (lafs_vit_flop(v, n, 1) + head) + (s.has_cnn ? 0.113e9 : 0);
        if (global) sum += lafs_vit_flop(v, n, !c->teacher_eval) + head;
    }
    return sum;
}

static lafs_status dry_run(struct lafs_err *err)
{
    struct lafs_pretrain_inside in;
    int64_t weights = 0;
    s.c.plan_only = 1;
    LAFS_TRY(lafs_pretrain_open(&s.trainer, &s.c, &s.run.backend, NULL, err));
    lafs_pretrain_look(s.trainer, &in);
    for (int i = 0; i < in.params->count; i++) weights += in.params->p[i].size;
    printf("parameters   %" PRId64 " (ViT %d wide, %d deep, and the head of %" PRId64 " outputs)\n", weights,
           s.c.model.vit.dim, s.c.model.vit.depth, s.c.head.out);
    LAFS_TRY(trainrun_print_plan(&s.run, err));
    trainrun_print_time(&s.run, s.c.model.vit.dim, flop_per_image(&s.c));
    return LAFS_OK;
}

static lafs_status step(struct trainrun_step *r, struct lafs_err *err)
{
    struct lafs_pretrain_report *p = &s.report;
    LAFS_TRY(lafs_pretrain_step(s.trainer, p, err));
    *r = (struct trainrun_step){p->step, p->epoch, p->loss, p->seconds, p->wait};
    return LAFS_OK;
}

static lafs_status figures(struct lafs_err *err)
{
    const struct lafs_pretrain_report *p = &s.report;
    const struct { const char *name; double v; } member[] = {
        {"lr", p->lr}, {"decay", p->decay}, {"momentum", p->momentum}, {"temp", p->temp}, {"entropy", p->entropy},
        {"kl", p->kl}, {"information", p->information}, {"classes", p->classes}, {"spread", p->spread},
        {"found", p->found}, {"grad_norm", p->grad_norm}};
    (void)err;
    for (size_t i = 0; i < sizeof member / sizeof *member; i++) trainrun_number(&s.run, member[i].name, member[i].v);
    return LAFS_OK;
}

static lafs_status save_model(struct lafs_err *err)
{
    const char *path = trainrun_model_path(&s.run, err);
    char training[512];
    snprintf(training, sizeof training, "%s %s, self-supervised (%s), data %s, landmark CNN %s, begun from %s",
             program.name, lafs_version, o.method, s.data_digest, s.has_cnn ? s.cnn_digest : "none",
             o.init ? s.init_digest : "nothing");
    const struct lafs_st_meta meta[] = {{"training", training}};
    return path ? lafs_pretrain_save_model(s.trainer, s.has_cnn ? &s.cnn : NULL, path, meta, 1, err) : LAFS_FAILED;
}

/* What each process does by itself, before they meet. */
static lafs_status prepare(struct lafs_err *err)
{
    struct trainrun *r = &s.run;
    struct lafs_pretrain_config *c = &s.c;
    LAFS_TRY(configure(err));
    c->comm = &r->comm;
    LAFS_TRY(trainrun_open_backend(r, err));
    LAFS_TRY(open_landmarks(err));
    if (o.init) LAFS_TRY(trainrun_model_digest(o.init, s.init_digest, err));
    LAFS_TRY(open_data(err));
    LAFS_TRY(lafs_pretrain_config_check(c, err));
    trainrun_plan(r, c->epochs, c->images, c->batch, c->micro, 1);
    LAFS_TRY(trainrun_open_data(r, err));
    record_options();
    return LAFS_OK;
}

static lafs_status start(struct lafs_err *err)
{
    return o.init ? lafs_pretrain_init_from(s.trainer, o.init, err) : LAFS_OK;
}
static lafs_status restore(const struct lafs_st *st, struct lafs_err *err)
{
    return lafs_pretrain_restore(s.trainer, st, err);
}
static lafs_status same(struct lafs_err *err) { return lafs_pretrain_same(s.trainer, err); }
static lafs_status checkpoint(struct lafs_ckpt *c, struct lafs_err *err)
{
    return lafs_pretrain_checkpoint(s.trainer, c, err);
}
static int64_t step_number(void) { return lafs_pretrain_step_number(s.trainer); }
static lafs_status finish(struct lafs_err *err)
{
    LAFS_TRY(lafs_feed_drain(s.feed, err));
    return s.run.comm.rank ? LAFS_OK : save_model(err);
}

static const struct trainrun_trainer trainer = {
    .prepare = prepare, .dry_run = dry_run, .need = need, .open = open_trainer, .start = start, .restore = restore,
    .begun = same, .checkpoint = checkpoint, .step_number = step_number, .step = step, .figures = figures,
    .finish = finish};

int main(int argc, char **argv)
{
    int n;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    if (!o.run.dir && !o.run.dry_run) cli_misuse("where does the run go? give -o RUN");
    if (n > 1) cli_misuse("give one index, or a stream of views on standard input");
    if (n == 1 && strcmp(args[0], "-")) s.index = args[0];
    if (!o.landmarks && s.index && strcmp(o.method, "dino"))
        cli_misuse("whose landmarks? give --landmarks MODEL, or --landmarks grid");
    trainrun_init(&s.run, &trainer, &o.run);
    lafs_status st = trainrun_go(&s.run, &err);
    int status = trainrun_end(&s.run, st, &err);
    if (st != LAFS_OK && s.feed && !lafs_feed_stop(s.feed, 1)) return cli_finish(status);
    lafs_pretrain_close(s.trainer);
    lafs_feed_close(s.feed);
    lafs_reader_close(s.reader);
    lafs_index_free(s.ix);
    if (s.has_cnn) lafs_model_release(&s.cnn, &s.run.backend);
    trainrun_release(&s.run);
    return cli_finish(status);
}
