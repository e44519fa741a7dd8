/* What programs that train share: the run directory, checkpoints in time, the log, signals, other processes.
 *
 * A thread of its own waits for signals. SIGTERM, SIGINT, SIGHUP and SIGUSR2: the state after the last whole step is
 * written, then the process dies of the signal. SIGUSR1: prints where training is.
 *
 * Of several processes the first one holds the run directory and says what there is to say. A signal to any of them
 * lets all finish the step that they are in. A failure that they agree on (lafs_comm_agree) is said once; another one
 * ends them all. */
#ifndef LAFS_CMD_TRAINRUN_H
#define LAFS_CMD_TRAINRUN_H

#include <pthread.h>
#include <stdint.h>

#include "base/buf.h"
#include "cmd/progress.h"
#include "compute/backend.h"
#include "compute/comm.h"
#include "compute/fit.h"
#include "train/run.h"

enum { TRAINRUN_MAX_OPTIONS = 80 };

struct trainrun {
    struct lafs_run run;
    struct lafs_run_option option[TRAINRUN_MAX_OPTIONS];
    char value[TRAINRUN_MAX_OPTIONS][512];
    int options;
    /* filled by the program before trainrun_start */
    void *trainer;
    lafs_status (*checkpoint)(void *trainer, struct lafs_ckpt *c, struct lafs_err *err);
    int64_t (*step)(const void *trainer);
    int64_t steps, per_epoch;
    int64_t every, keep;       /* --checkpoint-every, 0: at the end of epochs and every ten minutes; --keep */
    /* inside */
    struct lafs_comm comm;
    _Atomic int stop;          /* several processes: the signal that came */
    pthread_mutex_t save_lock;
    int64_t saved;             /* step of the newest checkpoint */
    double saved_at, started;
    int64_t started_step;
    _Atomic double last_loss;
    _Atomic double stepped, waited; /* seconds of all steps, and those of them without data */
    struct lafs_pool *data_pool;
    struct lafs_backend data;  /* what makes batches ahead */
    int ahead;
    _Atomic int64_t logged;    /* newest step whose log line is written */
    struct progress progress;
    struct lafs_buf line;
};

/* The option --ranks. */
#define TRAINRUN_RANKS(where) \
    {"ranks", 0, CLI_CHOICE, &where, "auto|none|mpi|nccl", \
     "share each step with the processes that mpirun or srun started", 0, 0, "auto", .no_effect = 1}

/* Before any thread is started: signals are blocked, for the thread that waits for them. */
void trainrun_init(struct trainrun *t);
/* After that: joins the processes that mpirun or srun started. Without -j, the processors of a machine are shared among
 * the processes there; --device cuda is a GPU of its own for each. Only the first process warns and notes. */
lafs_status trainrun_join(struct trainrun *t, const char *ranks, struct lafs_err *err);
/* Links their GPUs, if it is not the CPU that they compute on. What is done in common, once all have b. */
lafs_status trainrun_link(struct trainrun *t, const char *ranks, const struct lafs_backend *b, struct lafs_err *err);
/* Leaves them, or ends them all. */
void trainrun_leave(struct trainrun *t);
/* The exit status of a failure, said by one process; those that do not know of it are ended. */
int trainrun_fail(struct trainrun *t, struct lafs_err *err);
/* What the options of processes are about: warns when some of them have nothing to do in a part of the step. */
void trainrun_check_turns(const struct trainrun *t, int64_t passes);
/* Records an option that changes results: the line of config.json. */
void trainrun_option(struct trainrun *t, const char *name, int may_grow, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Creates or checks the run directory. What is done in common; device: what this process computes on, in words. */
lafs_status trainrun_open(struct trainrun *t, const char *dir, int extend, const char *device, struct lafs_err *err);
/* A second pool of threads and backend t->data on the same device, on which batches are made while training computes
 * (t->ahead is then 1); with -j 1 there is neither, and t->ahead is 0. */
lafs_status trainrun_open_data(struct trainrun *t, struct lafs_err *err);
void trainrun_close_data(struct trainrun *t);
/* After the trainer is restored: cuts the log, starts the signal thread and the progress line. */
lafs_status trainrun_start(struct trainrun *t, struct lafs_err *err);
/* After each step: begins the step's log line in t->line ({"step": ..., "epoch": ..., "loss": ...); the program appends
 * its own members (", \"lr\": ..."), then calls trainrun_log_end. */
void trainrun_log_begin(struct trainrun *t, int64_t step, int64_t epoch, double loss);
void trainrun_number(struct trainrun *t, const char *name, double v);
/* Of the step: all its seconds, and those in which it stood still for want of data. */
lafs_status trainrun_log_end(struct trainrun *t, double seconds, double wait, struct lafs_err *err);
/* After the last step: how long steps took, and how much of it training waited for data. */
void trainrun_tell_done(const struct trainrun *t);
/* Writes a checkpoint when one is due (force: in any case, unless this step has one). What is done in common; with
 * several processes, does not return after a signal. */
lafs_status trainrun_save(struct trainrun *t, int force, struct lafs_err *err);
/* "DIR/model.safetensors" in a buffer of the run's. */
const char *trainrun_model_path(struct trainrun *t, struct lafs_err *err);
/* The last word, when the model is there: where. */
void trainrun_say_end(struct trainrun *t);
void trainrun_close(struct trainrun *t);
/* The message after a failed step: names the last good checkpoint. */
void trainrun_tell_last_good(struct trainrun *t);

/* The lines of --dry-run about memory, and a warning, with what would fit, where the device, or the machine, has not so
 * much. w: of --micro. */
lafs_status trainrun_print_memory(const struct lafs_backend *b, const struct lafs_fit_work *w, struct lafs_err *err);
/* Before the first step, where the device has memory of its own and makes plans: LAFS_FAILED, with what would fit, when
 * training does not. */
lafs_status trainrun_check_memory(const struct lafs_backend *b, const struct lafs_fit_work *w, struct lafs_err *err);
/* The lines of --dry-run about work (FLOP an image) and time: by a product of this width, measured for a fraction of a
 * second, which takes memory; none where that fails. */
void trainrun_print_time(const struct lafs_backend *b, int64_t width, double flop, int64_t batch, int64_t steps);

#endif
