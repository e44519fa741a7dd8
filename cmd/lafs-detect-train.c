/* lafs-detect-train: training of the face detector, and of the refiner of its points. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "cmd/canvases.h"
#include "cmd/cli.h"
#include "cmd/openindex.h"
#include "cmd/trainrun.h"
#include "train/canvas.h"
#include "train/detect.h"

static struct {
    struct trainrun_options run;
    const char *what, *init, *note, *licence, *with;
    int64_t steps, batch, warmup, canvases, side;
    double lr, lr_final, decay, average;
    int no_mirror;
} o = {.run = TRAINRUN_DEFAULTS,
       .what = "refiner",
       .steps = 20000,
       .batch = 32,
       .warmup = 200,
       .side = 160,
       .with = "none",
       .lr = 0.002,
       .lr_final = 1e-5,
       .decay = 0.01,
       .average = 0.998};

static const struct cli_option options[] = {
    TRAINRUN_OUTPUT(o.run),
    {"what", 0, CLI_CHOICE, &o.what, "detector|refiner", "which network to train", 0, 0, "refiner"},
    {"init", 0, CLI_STRING, &o.init, "RUN", "start from the newest checkpoint of another run of the same network", 0, 0,
     NULL},
    {"no-mirror", 0, CLI_FLAG, &o.no_mirror, NULL, "mirror no example: for points whose left is not their right"},
    {"steps", 0, CLI_INT, &o.steps, "N", "optimiser steps", 1, 1e9, "20000"},
    {"batch", 0, CLI_INT, &o.batch, "N", "examples a step", 2, 65536, "32"},
    {"lr", 0, CLI_DOUBLE, &o.lr, "RATE", "peak learning rate", 0, 10, "0.002"},
    {"lr-final", 0, CLI_DOUBLE, &o.lr_final, "RATE", "learning rate at the end", 0, 10, "1e-05"},
    {"warmup", 0, CLI_INT, &o.warmup, "N", "steps of warm-up", 0, 1e9, "200"},
    {"decay", 0, CLI_DOUBLE, &o.decay, "X", "weight decay", 0, 10, "0.01"},
    {"average", 0, CLI_DOUBLE, &o.average, "X", "what is kept a step of the mean of weights that is saved", 0, 0.999999,
     "0.998"},
    {"note", 0, CLI_STRING, &o.note, "TEXT", "where the data came from: goes into the model file", 0, 0, NULL},
    {"licence", 0, CLI_STRING, &o.licence, "TEXT", "the model's licence: goes into the model file", 0, 0, NULL},
    TRAINRUN_CHECKPOINTS(o.run, "1000, and every ten minutes", "steps"),
    {"canvases", 0, CLI_INT, &o.canvases, "N", "train nothing: write N canvases that the detector would see to RUN", 1,
     1e9, NULL},
    {"canvas-side", 0, CLI_INT, &o.side, "N", "side of those canvases", 160, 4096, "160"},
    {"canvas-with", 0, CLI_CHOICE, &o.with, "none|dark|mask", "what is done to those canvases besides", 0, 0, "none"},
    CLI_JOBS,
    CLI_DEVICE,
    CLI_SEED,
    CLI_MAX_PIXELS,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {"lafs-detect-train", "-o RUN [OPTION]... PHOTOS.lafs",
                                           "train the face detector, or the refiner of its points", options};

enum { PER_EPOCH = 1000 /* steps between checkpoints */ };

static struct {
    const char *path; /* of the index */
    struct lafs_dtrain_config c;
    struct lafs_dtrain_report report;
    struct lafs_index *ix;
    struct lafs_dtrain *trainer;
    struct lafs_st *init; /* checkpoint of --init */
    struct trainrun run;
    char data_digest[65];
} s;

static void record_options(void)
{
    struct trainrun *r = &s.run;
    trainrun_option(r, "what", 0, "%s", o.what);
    trainrun_option(r, "data", 0, "%s", s.data_digest);
    trainrun_option(r, "records", 0, "%" PRId64, s.ix->samples);
    trainrun_option(r, "init", 0, "%s", o.init ? o.init : "");
    trainrun_option(r, "no-mirror", 0, "%d", o.no_mirror);
    trainrun_option(r, "steps", 1, "%" PRId64, o.steps);
    trainrun_option(r, "batch", 0, "%" PRId64, o.batch);
    trainrun_option(r, "lr", 0, "%.9g", o.lr);
    trainrun_option(r, "lr-final", 0, "%.9g", o.lr_final);
    trainrun_option(r, "warmup", 0, "%" PRId64, o.warmup);
    trainrun_option(r, "decay", 0, "%.9g", o.decay);
    trainrun_option(r, "average", 0, "%.9g", o.average);
    trainrun_option(r, "seed", 0, "%" PRId64, cli.seed);
}

static lafs_status save_model(struct lafs_err *err)
{
    const char *path = trainrun_model_path(&s.run, err);
    if (!path) return LAFS_FAILED;
    char training[512];
    snprintf(training, sizeof training, "%s %s, data %s, %" PRId64 " records, %" PRId64 " steps of %" PRId64,
             program.name, lafs_version, s.data_digest, s.ix->samples, lafs_dtrain_step_number(s.trainer), o.batch);
    struct lafs_st_meta meta[5] = {{"training", training}};
    int n = 1;
    if (o.note) meta[n++] = (struct lafs_st_meta){"data", o.note};
    if (o.licence) meta[n++] = (struct lafs_st_meta){"licence", o.licence};
    char smallest[16];
    snprintf(smallest, sizeof smallest, "%d", LAFS_CANVAS_LEAST_FACE);
    if (!strcmp(o.what, "detector")) meta[n++] = (struct lafs_st_meta){"smallest_face", smallest};
    meta[n++] = (struct lafs_st_meta){"intended_use", "finding and aligning faces in photos; it recognises nobody"};
    return lafs_dtrain_save(s.trainer, path, meta, n, err);
}

static lafs_status step(struct trainrun_step *r, struct lafs_err *err)
{
    struct lafs_dtrain_report *p = &s.report;
    LAFS_TRY(lafs_dtrain_step(s.trainer, p, err));
    *r = (struct trainrun_step){p->step, (p->step - 1) / PER_EPOCH, p->figure[0], p->seconds, p->wait};
    return LAFS_OK;
}

static lafs_status figures(struct lafs_err *err)
{
    const char *const *name = s.c.task->figure;
    (void)err;
    for (int i = 1; i < LAFS_DTRAIN_FIGURES && name[i]; i++) trainrun_number(&s.run, name[i], s.report.figure[i]);
    trainrun_number(&s.run, "lr", s.report.lr);
    trainrun_number(&s.run, "grad_norm", s.report.grad_norm);
    return LAFS_OK;
}

/* What a new run starts from; one that goes on needs it no longer. */
static lafs_status open_init(struct lafs_err *err)
{
    struct lafs_st *own;
    if (!o.init) return LAFS_OK;
    if (lafs_run_peek(o.run.dir, &own, NULL) == LAFS_OK) {
        lafs_st_close(own);
        return LAFS_OK;
    }
    lafs_status st = lafs_run_peek(o.init, &s.init, err);
    return st == LAFS_END ? lafs_fail(err, LAFS_FAILED, "'%s' holds no checkpoint to start from", o.init) : st;
}

static lafs_status open_index(const char *path, struct lafs_err *err)
{
    LAFS_TRY(openindex(&s.ix, path, err));
    return s.ix->samples ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "'%s' holds no records", path);
}

static lafs_status write_canvases(const char *path, struct lafs_err *err)
{
    const struct canvases_options c = {o.canvases, o.side, o.no_mirror, o.with};
    LAFS_TRY(lafs_writer_spares(o.run.dir, &path, 1, err));
    LAFS_TRY(open_index(path, err));
    return canvases_write(&program, &c, s.ix, o.run.dir, err);
}

static lafs_status prepare(struct lafs_err *err)
{
    s.c = (struct lafs_dtrain_config){.task = strcmp(o.what, "detector") ? &lafs_refiner_task : &lafs_detector_task,
                                      .batch = o.batch,
                                      .steps = o.steps,
                                      .warmup = o.warmup,
                                      .lr = o.lr,
                                      .lr_final = o.lr_final,
                                      .decay = o.decay,
                                      .average = o.average,
                                      .no_mirror = o.no_mirror,
                                      .seed = (uint64_t)cli.seed,
                                      .max_pixels = cli.max_pixels};
    s.run.steps = o.steps;
    s.run.per_epoch = PER_EPOCH;
    LAFS_TRY(open_index(s.path, err));
    LAFS_TRY(lafs_sha256_file(s.path, s.data_digest, err));
    LAFS_TRY(open_init(err));
    LAFS_TRY(trainrun_open_backend(&s.run, err));
    record_options();
    return lafs_dtrain_open(&s.trainer, &s.c, &s.run.backend, cli_pool(), s.ix, err);
}

static lafs_status start(struct lafs_err *err)
{
    if (!o.init) return LAFS_OK;
    lafs_status found = lafs_dtrain_init_from(s.trainer, s.init, err);
    return found == LAFS_OK ? found : lafs_err_prefix(err, "'%s', taken for a run of a %s", o.init, o.what);
}
static lafs_status restore(const struct lafs_st *st, struct lafs_err *err)
{
    return lafs_dtrain_restore(s.trainer, st, err);
}
static lafs_status tell_size(struct lafs_err *err)
{
    (void)err;
    cli_note("%" PRId64 " parameters", lafs_dtrain_parameters(s.trainer));
    return LAFS_OK;
}
static lafs_status checkpoint(struct lafs_ckpt *c, struct lafs_err *err)
{
    return lafs_dtrain_checkpoint(s.trainer, c, err);
}
static int64_t step_number(void) { return lafs_dtrain_step_number(s.trainer); }

static const struct trainrun_trainer trainer = {
    .prepare = prepare, .start = start, .restore = restore, .begun = tell_size, .checkpoint = checkpoint,
    .step_number = step_number, .step = step, .figures = figures, .saved = save_model, .finish = save_model};

int main(int argc, char **argv)
{
    int n;
    struct lafs_err err = {0};
    char **args = cli_parse(&program, argc, argv, &n);
    if (!o.run.dir) cli_misuse("where does the run go? give -o RUN");
    if (n != 1) cli_misuse("give one index of photos with points");
    if (!o.canvases && (cli_given(&o.side) || cli_given(&o.with)))
        cli_misuse("--canvas-side and --canvas-with need --canvases");
    s.path = args[0];
    o.run.ranks = "none"; /* one process does it all */
    if (!o.canvases) trainrun_init(&s.run, &trainer, &o.run); /* which takes signals over */
    lafs_status st = o.canvases ? write_canvases(args[0], &err) : trainrun_go(&s.run, &err);
    int status = !o.canvases ? trainrun_end(&s.run, st, &err) : st == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    lafs_dtrain_close(s.trainer);
    lafs_st_close(s.init);
    lafs_index_free(s.ix);
    trainrun_release(&s.run);
    return cli_finish(status);
}
