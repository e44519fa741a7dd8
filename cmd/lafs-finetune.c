/* lafs-finetune: supervised training with a margin softmax. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "cmd/cli.h"
#include "cmd/openindex.h"
#include "cmd/validate.h"
#include "cmd/vitoptions.h"
#include "train/finetune.h"

static struct {
    struct trainrun_options run;
    struct vitoptions vit;
    const char *tokens, *init, *landmarks, *start, *margin, *pairs, *pairs_index, *classifier;
    int64_t stage, epochs, batch, micro, warmup;
    double lr, lr_final, decay, layer_decay, landmark_reg, margin_scale, margin_m, mixup, mixup_alpha;
    double randaugment, crop_min, jitter, erase, landmark_dropout;
    int freeze, no_flip;
} o = {.run = TRAINRUN_DEFAULTS,
       .vit = VITOPTIONS_DEFAULTS,
       .tokens = "landmark",
       .start = "random",
       .margin = "cosface",
       .classifier = "auto",
       .stage = 3,
       .epochs = 34,
       .batch = 600,
       .micro = 200,
       .warmup = -1,
       .lr = -1,
       .lr_final = 1e-6,
       .decay = 0.1,
       .layer_decay = 1,
       .landmark_reg = -1,
       .margin_scale = 64,
       .margin_m = 0.4,
       .mixup = 0.1,
       .mixup_alpha = 0.2,
       .randaugment = 1,
       .crop_min = 0.9,
       .jitter = 0.1,
       .erase = 0.5,
       .landmark_dropout = 0.5};

enum { SPLIT_FROM = 10000 /* classes: below, all of their weights are little beside the ViT */ };
static const struct cli_option options[] = {
    TRAINRUN_OUTPUT(o.run),
    {"stage", 0, CLI_INT, &o.stage, "1|3", "1: all from scratch, for the landmark CNN; 3: after pretraining", 1, 3,
     "3"},
    {"init", 0, CLI_STRING, &o.init, "MODEL",
     "start the ViT from this model, and the landmark CNN without --landmarks", 0, 0, NULL},
    {"landmarks", 0, CLI_STRING, &o.landmarks, "MODEL", "start the landmark CNN from this model", 0, 0, NULL},
    {"landmark-start", 0, CLI_CHOICE, &o.start, "random|grid",
     "where landmarks start that no model gives: anywhere, as the authors', or on a grid", 0, 0, "random"},
    {"freeze-landmarks", 0, CLI_FLAG, &o.freeze, NULL, "do not train the landmark CNN", 0, 0, NULL},
    {"landmark-reg", 0, CLI_DOUBLE, &o.landmark_reg, "X",
     "X times the schedule that keeps the landmarks in place; 0: off", 0, 1e6, "1 in stage 3, 0 in stage 1"},
    {"tokens", 0, CLI_CHOICE, &o.tokens, "landmark|grid", "patches at landmarks, or on a grid without a landmark CNN",
     0, 0, "landmark"},
    VITOPTIONS_SIZE(o.vit),
    {"epochs", 0, CLI_INT, &o.epochs, "N", "epochs", 1, 1e6, "34"},
    {"batch", 0, CLI_INT, &o.batch, "N", "images an optimiser step", 1, 1e6, "600"},
    {"micro", 0, CLI_INT, &o.micro, "N", "images a pass: the unit of BatchNorm and mixup; 0: the batch", 0, 1e6, "200"},
    {"lr", 0, CLI_DOUBLE, &o.lr, "RATE", "peak learning rate", 0, 10, "by the authors' formula from batch and micro"},
    {"lr-final", 0, CLI_DOUBLE, &o.lr_final, "RATE", "learning rate at the end", 0, 10, "1e-06"},
    {"warmup", 0, CLI_INT, &o.warmup, "N", "epochs of warm-up", 0, 1e6, "5 of 34, in proportion"},
    {"decay", 0, CLI_DOUBLE, &o.decay, "X", "weight decay; the landmark CNN has half of it", 0, 10, "0.1"},
    {"layer-decay", 0, CLI_DOUBLE, &o.layer_decay, "X",
     "learning rate of a block relative to the next; the paper says 0.58, its code does 1", 0.01, 1, "1"},
    {"margin", 0, CLI_CHOICE, &o.margin, "cosface|arcface", "margin softmax", 0, 0, "cosface"},
    {"margin-m", 0, CLI_DOUBLE, &o.margin_m, "M", "margin", 0, 2, "0.4"},
    {"margin-scale", 0, CLI_DOUBLE, &o.margin_scale, "S", "scale of the logits", 1, 1000, "64"},
    {"mixup", 0, CLI_DOUBLE, &o.mixup, "P", "share of passes that are mixed with their reverse", 0, 1, "0.1"},
    {"mixup-alpha", 0, CLI_DOUBLE, &o.mixup_alpha, "X", "both parameters of mixup's Beta distribution", 0.01, 100,
     "0.2"},
    {"randaugment", 0, CLI_DOUBLE, &o.randaugment, "M", "magnitude of RandAugment; -1: off", -1, 10, "1"},
    {"crop-min", 0, CLI_DOUBLE, &o.crop_min, "SHARE", "smallest area of a random crop; 1: off", 0.01, 1, "0.9"},
    {"jitter", 0, CLI_DOUBLE, &o.jitter, "X", "colour jitter; 0: off", 0, 1, "0.1"},
    {"erase", 0, CLI_DOUBLE, &o.erase, "P", "share of images with an erased rectangle", 0, 1, "0.5"},
    {"no-flip", 0, CLI_FLAG, &o.no_flip, NULL, "do not mirror images", 0, 0, NULL},
    {"dropout", 0, CLI_DOUBLE, &o.vit.dropout, "P", "dropout in the ViT", 0, 0.99, "0.1"},
    {"landmark-dropout", 0, CLI_DOUBLE, &o.landmark_dropout, "P", "dropout before the landmark CNN's last layer", 0,
     0.99, "0.5"},
    VITOPTIONS_BRANCHES(o.vit),
    {"pairs", 0, CLI_STRING, &o.pairs, "FILE", "verify these pairs after every epoch, and keep the best model", 0, 0,
     NULL},
    {"pairs-index", 0, CLI_STRING, &o.pairs_index, "FACES.lafs", "index of the photos of --pairs", 0, 0, NULL},
    TRAINRUN_PRECISION(o.run),
    TRAINRUN_CHECKPOINTS(o.run, "each epoch, and every ten minutes", "epochs"),
    TRAINRUN_DRY_RUN(o.run),
    TRAINRUN_RANKS(o.run),
    {"classifier", 0, CLI_CHOICE, &o.classifier, "auto|whole|split",
     "several processes each hold the weights of all classes, or of a part", 0, 0, "auto: split from 10000 classes on",
     .no_effect = 1},
    CLI_JOBS,
    CLI_DEVICE,
    CLI_SEED,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-finetune", "-o RUN [OPTION]... FACES.lafs",
                                           "learn to recognise labelled faces", options};

static struct {
    const char *path; /* of the index */
    struct lafs_finetune_config c;
    struct lafs_finetune_report report;
    struct lafs_index *ix;
    struct lafs_classes classes;
    struct lafs_finetune *trainer;
    struct validate validate;
    struct trainrun run;
    char data_digest[65], init_digest[65], landmarks_digest[65], pairs_digest[65];
} s;

static lafs_status configure(struct lafs_err *err)
{
    struct lafs_finetune_config *c = &s.c;
    LAFS_TRY(lafs_finetune_config_default(c, o.vit.size, (int)o.stage, err));
    struct lafs_vit_config *v = &c->model.vit;
    LAFS_TRY(vitoptions_apply(&o.vit, v, err));
    int grid = !strcmp(o.tokens, "grid");
    c->model.tokens = grid ? LAFS_TOKENS_GRID : LAFS_TOKENS_LANDMARK;
    c->model.parts = grid ? LAFS_PART_VIT : LAFS_PART_VIT | LAFS_PART_CNN;
    c->batch = o.batch;
    c->micro = o.micro && o.micro < o.batch ? o.micro : o.batch;
    c->epochs = o.epochs;
    c->warmup_epochs = o.warmup >= 0 ? o.warmup : (o.epochs * 5 + 17) / 34;
    c->lr = o.lr >= 0 ? o.lr : lafs_finetune_lr(c->micro, c->batch / c->micro);
    c->lr_final = o.lr_final;
    c->decay.matrix = (float)o.decay;
    c->decay.vector = o.stage == 1 ? (float)o.decay : 0;
    c->decay.cnn = (float)(o.decay / 2);
    c->layer_decay = o.layer_decay;
    c->landmarks_on_grid = !strcmp(o.start, "grid");
    c->freeze_cnn = o.freeze || grid;
    c->cnn_dropout = o.landmark_dropout;
    c->landmark_weight = o.landmark_reg >= 0 ? o.landmark_reg : o.stage == 3 ? 1 : 0;
    c->margin = strcmp(o.margin, "cosface") ? LAFS_MARGIN_ARCFACE : LAFS_MARGIN_COSFACE;
    c->scale = o.margin_scale;
    c->margin_m = o.margin_m;
    c->mixup_p = o.mixup;
    c->mixup_alpha = o.mixup_alpha;
    c->views.flip = !o.no_flip;
    c->views.randaugment_m = (float)o.randaugment;
    c->views.crop_scale_min = (float)o.crop_min;
    c->views.jitter = (float)o.jitter;
    c->views.erase_p = (float)o.erase;
    c->seed = (uint64_t)cli.seed;
    return LAFS_OK;
}

static void record_options(void)
{
    const struct lafs_finetune_config *c = &s.c;
    struct trainrun *r = &s.run;
    trainrun_option(r, "stage", 0, "%" PRId64, o.stage);
    trainrun_option(r, "tokens", 0, "%s", o.tokens);
    trainrun_option(r, "data", 0, "%s", s.data_digest);
    trainrun_option(r, "images", 0, "%" PRId64, c->images);
    trainrun_option(r, "classes", 0, "%" PRId64, c->classes);
    trainrun_option(r, "init", 0, "%s", s.init_digest);
    trainrun_option(r, "landmarks", 0, "%s", s.landmarks_digest);
    trainrun_option(r, "landmark-start", 0, "%s", o.start);
    trainrun_option(r, "freeze-landmarks", 0, "%d", c->freeze_cnn);
    trainrun_option(r, "landmark-reg", 0, "%.9g", c->landmark_weight);
    vitoptions_record(&o.vit, &c->model.vit, r);
    trainrun_option(r, "drop", 0, "dropout %g drop-path %g landmarks %g", o.vit.dropout, o.vit.drop_path,
                    o.landmark_dropout);
    trainrun_option(r, "epochs", 1, "%" PRId64, c->epochs);
    trainrun_option(r, "warmup", 1, "%" PRId64, c->warmup_epochs);
    trainrun_option(r, "batch", 0, "%" PRId64, c->batch);
    trainrun_option(r, "micro", 0, "%" PRId64, c->micro);
    trainrun_option(r, "lr", 0, "%.9g", c->lr);
    trainrun_option(r, "lr-final", 0, "%.9g", c->lr_final);
    trainrun_option(r, "decay", 0, "%.9g", o.decay);
    trainrun_option(r, "layer-decay", 0, "%.9g", o.layer_decay);
    trainrun_option(r, "margin", 0, "%s m %g scale %g", o.margin, o.margin_m, o.margin_scale);
    trainrun_option(r, "mixup", 0, "%g alpha %g", o.mixup, o.mixup_alpha);
    trainrun_option(r, "augment", 0, "flip %d randaugment %g crop %g jitter %g erase %g", !o.no_flip, o.randaugment,
                    o.crop_min, o.jitter, o.erase);
    trainrun_option(r, "pairs", 0, "%s", s.pairs_digest);
    trainrun_option(r, "precision", 0, "%s", o.run.precision);
    trainrun_option(r, "seed", 0, "%" PRId64, cli.seed);
}

static lafs_status need(int64_t micro, const struct lafs_backend *b, int reserve, size_t *bytes, struct lafs_err *err)
{
    struct lafs_finetune_config c = s.c;
    c.micro = micro;
    return lafs_finetune_need(&c, s.ix, &s.classes, b, reserve, bytes, err);
}

static lafs_status open_trainer(struct lafs_err *err)
{
    return lafs_finetune_open(&s.trainer, &s.c, &s.run.backend, trainrun_data_pool(&s.run), s.ix, &s.classes, err);
}

static lafs_status dry_run(struct lafs_err *err)
{
    const struct lafs_vit_config *v = &s.c.model.vit;
    struct lafs_finetune_inside in;
    int64_t weights = 0;
    s.c.plan_only = 1;
    LAFS_TRY(open_trainer(err));
    lafs_finetune_look(s.trainer, &in);
    for (int i = 0; i < in.params->count; i++) weights += in.params->p[i].trainable ? in.params->p[i].size : 0;
    double forward = lafs_vit_flop(v, v->patches, 1) + 2.0 * v->dim * (double)s.c.classes +
                     (s.c.model.parts & LAFS_PART_CNN ? 0.113e9 : 0);
    printf("parameters   %" PRId64 " (%" PRId64 " classes)\n", weights, s.c.classes);
    LAFS_TRY(trainrun_print_plan(&s.run, err));
    printf("peak lr      %.3g\n", s.c.lr);
    trainrun_print_time(&s.run, v->dim, 3 * forward);
    return LAFS_OK;
}

static lafs_status save_model(struct lafs_err *err)
{
    const char *path = trainrun_model_path(&s.run, err);
    if (!path) return LAFS_FAILED;
    char training[512];
    snprintf(training, sizeof training,
             "%s %s, supervised (stage %" PRId64 "), data %s, %" PRId64 " identities, begun from %s%s%s", program.name,
             lafs_version, o.stage, s.data_digest, s.classes.n, o.init ? s.init_digest : "nothing",
             o.landmarks ? ", landmark CNN " : "", s.landmarks_digest);
    const struct lafs_st_meta meta[] = {{"training", training}};
    return lafs_finetune_save_model(s.trainer, path, meta, 1, err);
}

/* At the end of an epoch: verification, by the first process, and the best model (or, without pairs, the last one of
 * all). */
static lafs_status end_of_epoch(int64_t epoch, struct lafs_err *err)
{
    struct trainrun *r = &s.run;
    double accuracy = 0;
    int64_t best_epoch;
    lafs_status st = LAFS_OK;
    if (!o.pairs) return LAFS_OK;
    if (r->comm.rank == 0)
        st = validate_run(&s.validate, lafs_finetune_model(s.trainer), &r->backend, cli_pool(), &accuracy, err);
    LAFS_TRY(lafs_comm_agree(&r->comm, st, err));
    LAFS_TRY(lafs_comm_broadcast(&r->comm, &accuracy, sizeof accuracy, 0, err));
    trainrun_number(r, "accuracy", accuracy);
    cli_note("epoch %" PRId64 ": accuracy %.4f", epoch, accuracy);
    if (accuracy <= lafs_finetune_best(s.trainer, &best_epoch)) return LAFS_OK;
    lafs_finetune_set_best(s.trainer, accuracy, epoch);
    return save_model(err);
}

static lafs_status step(struct trainrun_step *r, struct lafs_err *err)
{
    struct lafs_finetune_report *p = &s.report;
    LAFS_TRY(lafs_finetune_step(s.trainer, p, err));
    *r = (struct trainrun_step){p->step, p->epoch, p->loss, p->seconds, p->wait};
    return LAFS_OK;
}

static lafs_status figures(struct lafs_err *err)
{
    const struct lafs_finetune_report *p = &s.report;
    trainrun_number(&s.run, "cross_entropy", p->cross_entropy);
    trainrun_number(&s.run, "regulariser", p->regulariser);
    trainrun_number(&s.run, "lr", p->lr);
    trainrun_number(&s.run, "grad_norm", p->grad_norm);
    return p->step % s.run.per_epoch ? LAFS_OK : end_of_epoch(p->epoch, err);
}

static lafs_status open_data(struct lafs_err *err)
{
    struct lafs_finetune_config *c = &s.c;
    LAFS_TRY(openindex(&s.ix, s.path, err));
    LAFS_TRY(lafs_sha256_file(s.path, s.data_digest, err));
    if (lafs_classes_init(&s.classes, s.ix, err) != LAFS_OK) return lafs_err_prefix(err, "'%s'", s.path);
    if (o.init) LAFS_TRY(trainrun_model_digest(o.init, s.init_digest, err));
    if (o.landmarks) LAFS_TRY(trainrun_model_digest(o.landmarks, s.landmarks_digest, err));
    if (o.pairs && s.run.comm.rank == 0) LAFS_TRY(validate_open(&s.validate, o.pairs, o.pairs_index, err));
    if (o.pairs) LAFS_TRY(validate_digest(o.pairs, o.pairs_index, s.pairs_digest, err));
    c->images = s.ix->samples;
    c->classes = s.classes.n;
    c->split_classes = strcmp(o.classifier, "auto") ? !strcmp(o.classifier, "split") : c->classes >= SPLIT_FROM;
    LAFS_TRY(lafs_model_take_pixels(&c->model, &s.ix->pixels, s.path, err));
    return lafs_finetune_config_check(c, err);
}

/* What each process does by itself, before they meet. */
static lafs_status prepare(struct lafs_err *err)
{
    struct trainrun *r = &s.run;
    struct lafs_finetune_config *c = &s.c;
    LAFS_TRY(configure(err));
    c->comm = &r->comm;
    LAFS_TRY(open_data(err));
    LAFS_TRY(trainrun_open_backend(r, err));
    /* a pass that is mixed has two images */
    trainrun_plan(r, c->epochs, c->images, c->batch, c->micro, c->mixup_p > 0 ? 2 : 1);
    LAFS_TRY(trainrun_open_data(r, err));
    c->ahead = r->ahead ? &r->data : NULL;
    c->validate = o.pairs && r->comm.rank == 0 ? validate_batch(&s.validate) : 0;
    record_options();
    return LAFS_OK;
}

static lafs_status start(struct lafs_err *err)
{
    int parts = LAFS_PART_VIT;
    if (o.init && !o.landmarks && strcmp(o.tokens, "grid")) parts |= LAFS_PART_CNN;
    if (o.init) LAFS_TRY(lafs_finetune_init_from(s.trainer, o.init, parts, err));
    return o.landmarks ? lafs_finetune_init_from(s.trainer, o.landmarks, LAFS_PART_CNN, err) : LAFS_OK;
}
static lafs_status restore(const struct lafs_st *st, struct lafs_err *err)
{
    return lafs_finetune_restore(s.trainer, st, err);
}
static lafs_status same(struct lafs_err *err) { return lafs_finetune_same(s.trainer, err); }
static lafs_status checkpoint(struct lafs_ckpt *c, struct lafs_err *err)
{
    return lafs_finetune_checkpoint(s.trainer, c, err);
}
static int64_t step_number(void) { return lafs_finetune_step_number(s.trainer); }
static lafs_status finish(struct lafs_err *err) { return o.pairs ? LAFS_OK : save_model(err); }

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
    if (n != 1) cli_misuse("give one index of labelled faces");
    if (o.stage == 2) cli_misuse("stage 2 is lafs-pretrain's; give --stage 1 or 3");
    if (!o.pairs != !o.pairs_index) cli_misuse("--pairs and --pairs-index go together");
    s.path = args[0];
    trainrun_init(&s.run, &trainer, &o.run);
    lafs_status st = trainrun_go(&s.run, &err);
    int status = trainrun_end(&s.run, st, &err);
    lafs_finetune_close(s.trainer);
    validate_close(&s.validate);
    lafs_classes_release(&s.classes);
    lafs_index_free(s.ix);
    trainrun_release(&s.run);
    return cli_finish(status);
}
