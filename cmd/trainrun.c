#include "cmd/trainrun.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "cmd/printing.h"
#include "compute/fit.h"
#include "format/safetensors.h"

static const double SAVE_SECONDS = 600, PATIENCE_SECONDS = 10;
/* Several processes: how long they may take to stop, beside two steps; signals within SAME_SECONDS are one. */
static const double TOGETHER_SECONDS = 240, SAME_SECONDS = 2;

/* What the thread of its own waits for. */
static void signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    sigaddset(set, SIGUSR2);
}

void trainrun_init(struct trainrun *t, const struct trainrun_trainer *trainer, const struct trainrun_options *o)
{
    memset(t, 0, sizeof *t);
    t->trainer = trainer;
    t->o = o;
    t->run.lock = t->run.log = -1;
    t->saved = -1;
    t->comm.size = 1;
    pthread_mutex_init(&t->save_lock, NULL);
    lafs_buf_init(&t->line);
    lafs_buf_init(&t->path);
    sigset_t set;
    signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void trainrun_option(struct trainrun *t, const char *name, int may_grow, const char *fmt, ...)
{
    int i = t->options++;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->value[i], sizeof t->value[i], fmt, ap);
    va_end(ap);
    t->option[i] = (struct lafs_run_option){name, t->value[i], may_grow};
}

lafs_status trainrun_model_digest(const char *path, char hex[65], struct lafs_err *err)
{
    struct lafs_st *st;
    LAFS_TRY(lafs_st_open(&st, path, err));
    lafs_st_close(st);
    return lafs_sha256_file(path, hex, err);
}

/* Processes that compute otherwise, or with other values of options, would each train another model. */
static lafs_status compare(struct trainrun *t, const char *device, struct lafs_err *err)
{
    struct { uint64_t options; char version[32], device[160]; } all[LAFS_COMM_MAX], *own = &all[t->comm.rank];
    if (t->comm.size == 1) return LAFS_OK;
    memset(own, 0, sizeof *own);
    for (int i = 0; i < t->options; i++)
        own->options = own->options * 31 + lafs_fnv1a(t->value[i], strlen(t->value[i]));
    snprintf(own->version, sizeof own->version, "%s", lafs_version);
    snprintf(own->device, sizeof own->device, "%s", device);
    LAFS_TRY(lafs_comm_gather(&t->comm, all, sizeof *all, err));
    for (int i = 1; i < t->comm.size; i++) {
        if (strcmp(all[i].version, all[0].version))
            return lafs_fail(err, LAFS_USAGE, "process %d is of version %s, process 0 of %s", i, all[i].version,
                             all[0].version);
        if (all[i].options != all[0].options)
            return lafs_fail(err, LAFS_USAGE, "process %d has other options, or other data, than process 0", i);
        if (strcmp(all[i].device, all[0].device))
            return lafs_fail(err, LAFS_USAGE,
                             "process %d computes on '%s', process 0 on '%s': their rounding would part them", i,
                             all[i].device, all[0].device);
    }
    return LAFS_OK;
}

/* Creates or checks the run directory. What is done in common. */
static lafs_status open_run(struct trainrun *t, struct lafs_err *err)
{
    lafs_status st = compare(t, t->backend.ops->describe(t->backend.dev), err);
    if (st != LAFS_OK) return lafs_comm_agree(&t->comm, st, err);
    if (t->comm.rank) st = lafs_run_follow(&t->run, t->o->dir, err);
    else
        st = lafs_run_open(&t->run, t->o->dir, cli_program_name(), lafs_version, t->option, t->options, t->o->extend,
                           err);
    LAFS_TRY(lafs_comm_agree(&t->comm, st, err));
    return lafs_comm_broadcast(&t->comm, &t->run.resume, sizeof t->run.resume, 0, err);
}

/* -- backends -- */

lafs_status trainrun_open_backend(struct trainrun *t, struct lafs_err *err)
{
    const char *why = NULL;
    LAFS_TRY(lafs_backend_open(&t->backend, cli.device, cli_pool(), &why, err));
    lafs_precision_by_name(t->o->precision, &t->backend.precision);
    if (why) cli_warn("device %s", why);
    return LAFS_OK;
}

lafs_status trainrun_open_data(struct trainrun *t, struct lafs_err *err)
{
    int threads = lafs_pool_threads(cli_pool());
    if (threads < 2) return LAFS_OK;
    LAFS_TRY(lafs_pool_new(&t->data_pool, threads, err));
    const char *why; /* said when the first one was opened */
    LAFS_TRY(lafs_backend_open(&t->data, cli.device, t->data_pool, &why, err));
    t->ahead = 1;
    return LAFS_OK;
}

struct lafs_pool *trainrun_data_pool(const struct trainrun *t) { return t->ahead ? t->data_pool : cli_pool(); }

void trainrun_release(struct trainrun *t)
{
    lafs_backend_close(&t->data);
    lafs_pool_free(t->data_pool);
    lafs_backend_close(&t->backend);
}

/* -- other processes -- */

/* Threads of a process that was given no -j: the processors it may use, shared with those that may use the same. */
static lafs_status share_processors(struct trainrun *t, struct lafs_err *err)
{
    struct { uint64_t mask; int64_t node; } who[LAFS_COMM_MAX], *own = &who[t->comm.rank];
    cpu_set_t set;
    int sharing = 0;
    memset(own, 0, sizeof *own);
    own->node = t->comm.node;
    if (sched_getaffinity(0, sizeof set, &set) == 0) own->mask = lafs_fnv1a(&set, sizeof set);
    LAFS_TRY(lafs_comm_gather(&t->comm, who, sizeof *who, err));
    for (int i = 0; i < t->comm.size; i++) sharing += who[i].node == own->node && who[i].mask == own->mask;
    if (cli_given(&cli.jobs)) return LAFS_OK;
    const int count = lafs_processors();
    cli.jobs = count > sharing ? count / sharing : 1;
    const int64_t allowed = lafs_processors_allowed(), share = allowed > sharing ? allowed / sharing : 1;
    const int64_t fair = sysconf(_SC_NPROCESSORS_ONLN) / t->comm.local_size;
    if (share * 2 <= fair && !t->comm.rank)
        cli_warn("the launcher lets a process use %" PRId64 " of this machine's processors, where %" PRId64
                 " are its share: mpirun --bind-to none, or srun --cpus-per-task, gives it more",
                 share, fair);
    return LAFS_OK;
}

/* Each process of a machine has its own GPU, unless the launcher has given it one already. */
static void choose_gpu(const struct trainrun *t)
{
    static char device[32];
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    const int any = !strcmp(cli.device, "auto");
    struct lafs_backend b;
    if ((strcmp(cli.device, "cuda") && !any) || t->comm.local_size == 1) return;
    if (visible && *visible && !strchr(visible, ',')) return;
    snprintf(device, sizeof device, "cuda:%d", t->comm.local_rank);
    if (any && lafs_backend_open(&b, device, NULL, NULL, NULL) != LAFS_OK) return;
    if (any) lafs_backend_close(&b);
    cli.device = device;
}

static lafs_status join(struct trainrun *t, struct lafs_err *err)
{
    LAFS_TRY(lafs_comm_open(&t->comm, t->o->ranks, err));
    if (t->comm.size == 1) return LAFS_OK;
    LAFS_TRY(share_processors(t, err));
    choose_gpu(t);
    if (t->comm.rank) cli.quiet = 1;
    cli_note("%d processes, %d of them on this machine, of %" PRId64 " threads each", t->comm.size, t->comm.local_size,
             cli.jobs);
    return LAFS_OK;
}

/* Links their GPUs, if it is not the CPU that they compute on. What is done in common. */
static lafs_status link_gpus(struct trainrun *t, struct lafs_err *err)
{
    struct lafs_err why;
    LAFS_TRY(lafs_comm_link(&t->comm, &t->backend, t->o->ranks, &why, err));
    if (why.status != LAFS_OK) cli_warn("gradients go through the machine's memory and MPI: %s", why.msg);
    if (t->comm.link) cli_note("the processes' GPUs exchange by NCCL");
    return LAFS_OK;
}

/* The exit status of a failure, said by one process; those that do not know of it are ended. */
static int say_failure(struct trainrun *t, struct lafs_err *err)
{
    if (t->comm.agreed && t->comm.rank) return cli_status(err);
    if (t->comm.agreed || t->comm.size == 1) return cli_fail(err);
    lafs_err_prefix(err, "process %d of %d", t->comm.rank, t->comm.size);
    int status = cli_fail(err);
    lafs_atomic_unlink_all();
    lafs_comm_abort(&t->comm, status);
    return status;
}

void trainrun_plan(struct trainrun *t, int64_t epochs, int64_t images, int64_t batch, int64_t micro, int64_t least)
{
    const int64_t passes = batch / micro, idle = t->comm.size - passes % t->comm.size;
    t->epochs = epochs;
    t->images = images;
    t->batch = batch;
    t->micro = micro;
    t->least = least;
    t->per_epoch = images / batch;
    t->steps = epochs * t->per_epoch;
    if (passes % t->comm.size)
        cli_warn("%" PRId64 " micro-batches among %d processes: %" PRId64 " of them wait for the others in each step",
                 passes, t->comm.size, idle);
}

/* -- checkpoints -- */

/* Takes the state and its step. */
static lafs_status collect(struct trainrun *t, struct lafs_ckpt *c, int64_t *step, struct lafs_err *err)
{
    lafs_ckpt_init(c);
    LAFS_TRY(t->trainer->checkpoint(c, err));
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->tensor[i].name, "cursor")) memcpy(step, c->tensor[i].data, sizeof *step);
    return LAFS_OK;
}

static lafs_status write_out(struct trainrun *t, const struct lafs_ckpt *c, int64_t step, struct lafs_err *err)
{
    LAFS_TRY(lafs_run_save(&t->run, step, c, err));
    t->saved = step;
    t->saved_at = lafs_clock_now();
    return LAFS_OK;
}

static int is_due(const struct trainrun *t, int64_t step)
{
    if (t->o->every) return step % t->o->every == 0;
    return step % t->per_epoch == 0 || lafs_clock_now() - t->saved_at > SAVE_SECONDS;
}

static lafs_status save_now(struct trainrun *t, struct lafs_err *err)
{
    struct lafs_ckpt c;
    int64_t step = t->trainer->step_number();
    lafs_status st = collect(t, &c, &step, err);
    if (st == LAFS_OK && t->comm.rank == 0) st = write_out(t, &c, step, err);
    lafs_ckpt_release(&c);
    return st;
}

static void die(int sig);
static void say_stopped(const struct trainrun *t)
{
    cli_warn("stopped after step %" PRId64 "; the same command goes on from there", t->saved < 0 ? 0 : t->saved);
}

/* Several processes: the first one knows when it is time; a signal may have come to any. All save, and stop, after the
 * same step. */
static lafs_status save_together(struct trainrun *t, int force, struct lafs_err *err)
{
    struct { int32_t stop, save; } all[LAFS_COMM_MAX], *own = &all[t->comm.rank];
    const int64_t step = t->trainer->step_number();
    int stop = 0;
    own->stop = t->stop;
    own->save = step != t->saved && (force || is_due(t, step) || step == t->steps);
    LAFS_TRY(lafs_comm_gather(&t->comm, all, sizeof *all, err));
    for (int i = 0; i < t->comm.size; i++)
        if (all[i].stop) stop = all[i].stop;
    if (all[0].save || (stop && step != t->saved)) {
        LAFS_TRY(lafs_comm_agree(&t->comm, save_now(t, err), err));
        t->saved = step;
    }
    if (!stop) return LAFS_OK;
    say_stopped(t);
    lafs_comm_close(&t->comm);
    die(stop);
    return LAFS_OK;
}

/* Writes a checkpoint when one is due (force: in any case, unless this step has one). What is done in common; with
 * several processes, does not return after a signal. */
static lafs_status save(struct trainrun *t, int force, struct lafs_err *err)
{
    int64_t step = t->trainer->step_number();
    lafs_status st = LAFS_OK;
    if (t->comm.size > 1) return save_together(t, force, err);
    pthread_mutex_lock(&t->save_lock);
    if (step != t->saved && (force || is_due(t, step) || step == t->steps)) st = save_now(t, err);
    pthread_mutex_unlock(&t->save_lock);
    return st;
}

/* -- signals -- */

static void die(int sig)
{
    lafs_atomic_unlink_all();
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(sig, &dfl, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(sig);
    _exit(128 + sig);
}

/* Per cent of the steps' time. */
static double waiting(const struct trainrun *t) { return t->stepped > 0 ? 100 * t->waited / t->stepped : 0; }

static void tell(struct trainrun *t)
{
    int64_t step = t->trainer->step_number(), done = step - t->started_step;
    double spent = lafs_clock_now() - t->started;
    fprintf(stderr, "%s: step %" PRId64 " of %" PRId64 ", epoch %" PRId64 ", loss %.5g", cli_program_name(), step,
            t->steps, step / t->per_epoch, t->last_loss);
    if (done > 0) fprintf(stderr, ", %.2f s a step, %.1f %% of it waiting for data, %.0f minutes left",
                          spent / (double)done, waiting(t),
                          spent / (double)done * (double)(t->steps - step) / 60);
    fputc('\n', stderr);
}

/* Writes the state of a step whose log line is there, so that the log has no gap: while verification runs at the end of
 * an epoch there is none for a while, and the checkpoint before it must do. */
static lafs_status save_last(struct trainrun *t, struct lafs_err *err)
{
    const struct timespec nap = {0, 5000000};
    const double deadline = lafs_clock_now() + PATIENCE_SECONDS;
    while (lafs_clock_now() < deadline) {
        int64_t step = t->trainer->step_number();
        if (step == t->saved) return LAFS_OK;
        if (t->logged == step) {
            struct lafs_ckpt c;
            lafs_status st = collect(t, &c, &step, err);
            int good = st == LAFS_OK && t->logged >= step;
            if (good) st = write_out(t, &c, step, err);
            lafs_ckpt_release(&c);
            if (good || st != LAFS_OK) return st;
        }
        nanosleep(&nap, NULL);
    }
    return LAFS_OK;
}

/* Several processes: the main threads stop together, after the step that they are in. If they do not (one may be gone,
 * and nobody has noticed), or at a second signal, this process ends by itself. */
static void stop_together(struct trainrun *t, const sigset_t *set, int sig)
{
    const int64_t done = t->trainer->step_number() - t->started_step;
    const double step = done > 0 ? t->stepped / (double)done : 0, began = lafs_clock_now();
    const double until = began + TOGETHER_SECONDS + 2 * step;
    int second = 0;
    t->stop = sig;
    while (!second && lafs_clock_now() < until) {
        const struct timespec left = {1, 0};
        int again = sigtimedwait(set, NULL, &left);
        second = again > 0 && again != SIGUSR1 && lafs_clock_now() - began > SAME_SECONDS;
    }
    cli_error("process %d of %d ends without its last state: %s", t->comm.rank, t->comm.size,
              second ? "a second signal" : "the others do not come to the end of a step");
    die(sig);
}

static void *wait_for_signals(void *arg)
{
    struct trainrun *t = arg;
    sigset_t set;
    signals(&set);
    for (int sig; sigwait(&set, &sig) == 0;) {
        if (sig == SIGUSR1) {
            if (t->comm.rank == 0) tell(t);
            continue;
        }
        if (t->comm.size > 1) stop_together(t, &set, sig);
        struct lafs_err err = {0};
        pthread_mutex_lock(&t->save_lock); /* held for ever: nothing is written after this */
        if (save_last(t, &err) != LAFS_OK) cli_error("%s", err.msg);
        else say_stopped(t);
        die(sig);
    }
    return NULL;
}

/* -- memory and time -- */

/* Bytes that training takes, asked of a device before anything is taken (struct lafs_fit_work). */
static lafs_status need(void *arg, int64_t micro, enum lafs_precision precision, size_t *bytes, struct lafs_err *err)
{
    const struct trainrun *t = arg;
    struct lafs_backend b = t->backend;
    b.precision = precision;
    return t->trainer->need(micro, &b, 0, bytes, err);
}

/* Does it fit into what the device has left of its own memory, or into the machine's that may be used? *all: what there
 * is. */
static lafs_status fit(struct trainrun *t, struct lafs_fit *f, size_t *all, struct lafs_err *err)
{
    const struct lafs_fit_work w = {need, t, t->micro, t->least, t->batch, t->comm.size == 1, t->backend.precision};
    const struct lafs_backend *b = &t->backend;
    size_t available = (size_t)lafs_memory();
    *all = available;
    if (b->ops->memory) LAFS_TRY(b->ops->memory(b->dev, &available, all, err));
    return lafs_fit(f, &w, available, err);
}

lafs_status trainrun_print_plan(struct trainrun *t, struct lafs_err *err)
{
    const int own = t->backend.ops->memory != NULL;
    struct lafs_fit f;
    size_t all;
    char text[256];
    LAFS_TRY(fit(t, &f, &all, err));
    printf("memory       %.0f MB\n", (double)f.need / 1e6);
    if (own) printf("free         %.0f MB of the device's %.0f MB\n", (double)f.available / 1e6, (double)all / 1e6);
    fflush(stdout); /* before the warning where both go to one place */
    lafs_fit_say(&f, "--micro", text, sizeof text);
    if (!f.fits && own) cli_warn("training does not fit: %s", text);
    else if (!f.fits) cli_warn("training will not fit into the memory that there is: %s", text);
    printf("steps        %" PRId64 " (%" PRId64 " epochs of %" PRId64 ", batch %" PRId64 ", %" PRId64 " images)\n",
           t->steps, t->epochs, t->per_epoch, t->batch, t->images);
    return LAFS_OK;
}

/* Before the first step, where the device makes plans: training fits, and what ops take for themselves is taken. */
static lafs_status take_memory(struct trainrun *t, struct lafs_err *err)
{
    const struct lafs_backend *b = &t->backend;
    struct lafs_fit f;
    size_t bytes;
    char text[256];
    if (!t->trainer->need || !b->ops->plan) return LAFS_OK;
    LAFS_TRY(fit(t, &f, &bytes, err));
    if (f.fits) return t->trainer->need(t->micro, b, 1, &bytes, err);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    return lafs_fail(err, LAFS_FAILED, "training does not fit into the memory of %s: %s", b->ops->describe(b->dev),
                     text);
}

/* GF/s of a product of this width. */
static double measure(const struct lafs_backend *b, int64_t width)
{
    enum { ROWS = 197, SEQS = 16, ENOUGH = 1024 }; /* wider products are no faster, and take long to measure */
    int64_t off[SEQS + 1];
    if (width > ENOUGH) width = ENOUGH;
    for (int i = 0; i <= SEQS; i++) off[i] = (int64_t)i * ROWS;
    struct lafs_err err;
    float *x = NULL, *w = NULL, *y = NULL;
    int64_t *dev_off = NULL;
    size_t act = (size_t)(SEQS * ROWS * width) * sizeof(float);
    double rate = 0;
    if (b->ops->alloc(b->dev, (void **)&x, act, &err) == LAFS_OK &&
        b->ops->alloc(b->dev, (void **)&y, act, &err) == LAFS_OK &&
        b->ops->alloc(b->dev, (void **)&w, (size_t)(width * width) * sizeof(float), &err) == LAFS_OK &&
        b->ops->alloc(b->dev, (void **)&dev_off, sizeof off, &err) == LAFS_OK) {
        b->ops->upload(b->dev, dev_off, off, sizeof off);
        struct lafs_seqs s = {SEQS, off, dev_off, ROWS};
        double begin = 0, end = 0, flop = 0;
        for (int i = 0; end - begin < 0.2; i++) { /* the first round warms up */
            b->ops->linear(b->dev, b->precision, &s, width, width, x, w, NULL, LAFS_ACT_NONE, NULL, NULL, y);
            if (b->ops->sync(b->dev, &err) != LAFS_OK) break;
            end = lafs_clock_now();
            if (i == 0) begin = end;
            else flop += 2.0 * SEQS * ROWS * (double)width * (double)width;
        }
        rate = flop / (end - begin) / 1e9;
    }
    b->ops->free(b->dev, x);
    b->ops->free(b->dev, w);
    b->ops->free(b->dev, y);
    b->ops->free(b->dev, dev_off);
    return rate;
}

void trainrun_print_time(const struct trainrun *t, int64_t width, double flop)
{
    const double rate = measure(&t->backend, width), seconds = flop * (double)t->batch / rate / 1e9;
    const double minutes = seconds * (double)t->steps / 60;
    printf("work         %.1f GFLOP an image\n", flop / 1e9);
    if (rate > 0)
        printf("time         about %.2f s a step, %.1f %s in all, if all of it ran at the %.0f GFLOP/s of a product "
               "measured just now\n",
               seconds, minutes < 120 ? minutes : minutes / 60, minutes < 120 ? "minutes" : "hours", rate);
}

/* -- the run -- */

static void tell_last_good(const struct trainrun *t)
{
    if (t->comm.rank) return;
    if (t->saved >= 0)
        cli_error("the last good state is '%s/checkpoint-%" PRId64 ".safetensors'", t->run.dir, t->saved);
    else cli_error("no checkpoint was written yet");
}

static void log_begin(struct trainrun *t, const struct trainrun_step *r)
{
    t->last_loss = r->loss;
    lafs_buf_clear(&t->line);
    lafs_buf_printf(&t->line, "{\"step\": %" PRId64 ", \"epoch\": %" PRId64, r->step, r->epoch);
    trainrun_number(t, "loss", r->loss);
    progress_update(&t->progress, r->step);
}

void trainrun_number(struct trainrun *t, const char *name, double v)
{
    lafs_buf_printf(&t->line, ", \"%s\": ", name);
    lafs_json_put_double(&t->line, v);
}

static lafs_status log_end(struct trainrun *t, const struct trainrun_step *r, struct lafs_err *err)
{
    t->stepped = t->stepped + r->seconds;
    t->waited = t->waited + r->wait;
    lafs_buf_printf(&t->line, ", \"seconds\": %.3f, \"wait\": %.3f}", lafs_clock_now() - t->started,
                    r->wait / (r->seconds + 1e-9));
    if (t->comm.rank == 0) LAFS_TRY(lafs_run_log(&t->run, &t->line, err));
    t->logged = t->trainer->step_number();
    return LAFS_OK;
}

static lafs_status resume(struct trainrun *t, struct lafs_err *err)
{
    struct lafs_st *st;
    LAFS_TRY(lafs_run_load(&t->run, &st, err));
    const char *now = t->backend.ops->describe(t->backend.dev), *then = lafs_st_meta(st, "backend");
    if (then && strcmp(then, now)) cli_warn("this run was begun on '%s'; here, on '%s', bits may differ", then, now);
    lafs_status status = t->trainer->restore(st, err);
    lafs_st_close(st);
    const int64_t step = t->trainer->step_number();
    if (status == LAFS_OK && step != t->run.resume)
        return lafs_fail(err, LAFS_FAILED, "'%s': the checkpoint of step %" PRId64 " says that it is of step %" PRId64,
                         t->run.dir, t->run.resume, step);
    if (status == LAFS_OK) cli_note("going on after step %" PRId64, t->run.resume);
    return status;
}

/* What each process does by itself, knowing the run: the state is there, the log cut back to it, and signals are taken
 * over. */
static lafs_status begin(struct trainrun *t, struct lafs_err *err)
{
    if (t->trainer->open) LAFS_TRY(t->trainer->open(err));
    LAFS_TRY(t->run.resume < 0 ? t->trainer->start(err) : resume(t, err));
    t->run.keep = t->o->keep > 0 ? (int)t->o->keep : 1;
    t->saved = t->run.resume;
    t->saved_at = t->started = lafs_clock_now();
    t->started_step = t->trainer->step_number();
    t->logged = t->started_step;
    if (t->comm.rank == 0) LAFS_TRY(lafs_run_log_open(&t->run, t->run.resume, err));
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_signals, t))
        return lafs_fail(err, LAFS_FAILED, "cannot start the thread that waits for signals");
    pthread_detach(thread);
    progress_begin(&t->progress, "steps", t->steps);
    return LAFS_OK;
}

/* To the last step. */
static lafs_status train(struct trainrun *t, struct lafs_err *err)
{
    const struct trainrun_trainer *trainer = t->trainer;
    while (trainer->step_number() < t->steps) {
        struct trainrun_step r;
        lafs_status st = trainer->step(&r, err);
        if (st != LAFS_OK) {
            tell_last_good(t);
            return st;
        }
        log_begin(t, &r);
        LAFS_TRY(trainer->figures(err));
        LAFS_TRY(log_end(t, &r, err));
        LAFS_TRY(save(t, 0, err));
        if (trainer->saved && t->saved == r.step) LAFS_TRY(trainer->saved(err));
    }
    int64_t done = trainer->step_number() - t->started_step;
    if (done > 0)
        cli_note("%" PRId64 " steps of %.3g s, %.1f %% of it waiting for data", done, t->stepped / (double)done,
                 waiting(t));
    return save(t, 1, err);
}

/* The last word, when the model is there: where. */
static void say_end(struct trainrun *t)
{
    struct lafs_err ignored;
    const char *path = trainrun_model_path(t, &ignored);
    if (t->comm.rank || !path) return;
    if (t->trainer->step_number() == t->started_step)
        cli_warn("the run is complete since before: its model is '%s'", path);
    else cli_warn("%s done, the model is '%s'", counted(t->steps, "steps").text, path);
}

lafs_status trainrun_go(struct trainrun *t, struct lafs_err *err)
{
    LAFS_TRY(join(t, err));
    LAFS_TRY(lafs_comm_agree(&t->comm, t->trainer->prepare(err), err));
    LAFS_TRY(link_gpus(t, err));
    if (t->o->dry_run) return t->comm.rank ? LAFS_OK : t->trainer->dry_run(err);
    LAFS_TRY(lafs_comm_agree(&t->comm, take_memory(t, err), err));
    LAFS_TRY(open_run(t, err));
    LAFS_TRY(lafs_comm_agree(&t->comm, begin(t, err), err));
    if (t->trainer->begun(err) != LAFS_OK) return lafs_err_prefix(err, "at the start, from '%s'", t->o->dir);
    LAFS_TRY(train(t, err));
    LAFS_TRY(t->trainer->finish(err));
    say_end(t);
    return LAFS_OK;
}

const char *trainrun_model_path(struct trainrun *t, struct lafs_err *err)
{
    return lafs_run_path(&t->run, "model.safetensors", &t->path, err) == LAFS_OK ? (const char *)t->path.data : NULL;
}

int trainrun_end(struct trainrun *t, lafs_status st, struct lafs_err *err)
{
    int status = st == LAFS_OK ? EXIT_DONE : say_failure(t, err);
    progress_end(&t->progress);
    pthread_mutex_lock(&t->save_lock); /* a signal from here on finds nothing to write: the caller exits */
    lafs_run_close(&t->run);
    lafs_buf_release(&t->line);
    lafs_buf_release(&t->path);
    lafs_comm_close(&t->comm);
    return status;
}
