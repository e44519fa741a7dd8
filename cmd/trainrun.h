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
#include "cmd/cli.h"
#include "cmd/progress.h"
#include "compute/backend.h"
#include "compute/comm.h"
#include "train/run.h"

enum { TRAINRUN_MAX_OPTIONS = 80 };

/* Options of every run; a program has one of these among its own. */
struct trainrun_options {
    const char *dir, *precision, *ranks;
    int64_t every, keep; /* --checkpoint-every, 0: at the end of epochs and every ten minutes */
    int extend, dry_run;
};
#define TRAINRUN_DEFAULTS {.precision = "fp32", .ranks = "auto", .keep = 2}
#define TRAINRUN_OUTPUT(o) \
    {"output", 'o', CLI_STRING, &(o).dir, "RUN", \
     "the run's directory; the same command again goes on where it stopped", 0, 0, NULL}
#define TRAINRUN_PRECISION(o) \
    {"precision", 0, CLI_CHOICE, &(o).precision, "fp32|bf16|bf16x3", \
     "of the ViT's and the heads' products; the landmark CNN is always fp32", 0, 0, "fp32"}
/* unless: when there are checkpoints without --checkpoint-every; more: what --extend adds. */
#define TRAINRUN_CHECKPOINTS(o, unless, more) \
    {"checkpoint-every", 0, CLI_INT, &(o).every, "STEPS", "write a checkpoint after so many steps", 0, \
     9007199254740992.0, unless}, \
    {"keep", 0, CLI_INT, &(o).keep, "N", "checkpoints to keep", 1, 1000, "2"}, \
    {"extend", 0, CLI_FLAG, &(o).extend, NULL, "let more " more " than the run was begun with be no change", 0, 0, NULL}
#define TRAINRUN_DRY_RUN(o) \
    {"dry-run", 0, CLI_FLAG, &(o).dry_run, NULL, "print parameters, memory, steps and time, and stop", 0, 0, NULL}
#define TRAINRUN_RANKS(o) \
    {"ranks", 0, CLI_CHOICE, &(o).ranks, "auto|none|mpi|nccl", \
     "share each step with the processes that mpirun or srun started", 0, 0, "auto", .no_effect = 1}

/* What the log says first of a step; wait: of its seconds, those in which it stood still for want of data. */
struct trainrun_step {
    int64_t step, epoch;
    double loss, seconds, wait;
};

/* What is trained: what trainrun_go asks of the program, in this order. The trainer is the program's own. */
struct trainrun_trainer {
    /* What each process does by itself, before they meet: opens its data and the backend, says what is planned and
     * records options. */
    lafs_status (*prepare)(struct lafs_err *err);
    lafs_status (*dry_run)(struct lafs_err *err);
    /* Bytes that training takes with so many images a pass on b, a copy of the run's backend in some precision; reserve
     * 1: what ops take for themselves is taken. NULL: nothing is asked of the device beforehand. */
    lafs_status (*need)(int64_t micro, const struct lafs_backend *b, int reserve, size_t *bytes, struct lafs_err *err);
    lafs_status (*open)(struct lafs_err *err); /* NULL: prepare has opened the trainer */
    /* The start of a run: weights of other models; or its newest checkpoint. */
    lafs_status (*start)(struct lafs_err *err);
    lafs_status (*restore)(const struct lafs_st *st, struct lafs_err *err);
    lafs_status (*begun)(struct lafs_err *err); /* before the first step; what is done in common */
    /* From any thread, once the trainer is open. */
    lafs_status (*checkpoint)(struct lafs_ckpt *c, struct lafs_err *err);
    int64_t (*step_number)(void);
    lafs_status (*step)(struct trainrun_step *r, struct lafs_err *err);
    lafs_status (*figures)(struct lafs_err *err); /* of that step: the rest of its log line (trainrun_number) */
    lafs_status (*saved)(struct lafs_err *err);   /* after a step that has a checkpoint; NULL: nothing */
    lafs_status (*finish)(struct lafs_err *err);  /* after the last step and its checkpoint */
};

struct trainrun {
    const struct trainrun_trainer *trainer;
    const struct trainrun_options *o;
    struct lafs_backend backend; /* what computes */
    struct lafs_run run;
    struct lafs_run_option option[TRAINRUN_MAX_OPTIONS];
    char value[TRAINRUN_MAX_OPTIONS][512];
    int options;
    /* what is planned: known after `prepare` */
    int64_t steps, per_epoch;
    int64_t epochs, images, batch, micro, least; /* of trainrun_plan */
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
    struct lafs_buf line, path;
};

/* Before any thread is started: signals are blocked, for the thread that waits for them. */
void trainrun_init(struct trainrun *t, const struct trainrun_trainer *trainer, const struct trainrun_options *o);
/* All of it: joins the processes that mpirun or srun started, creates or checks the run directory, goes on from its
 * newest checkpoint, and trains to the end. Without -j, the processors of a machine are shared among the processes
 * there; --device cuda is a GPU of its own for each. Only the first process warns and notes. After a signal, does not
 * return. */
lafs_status trainrun_go(struct trainrun *t, struct lafs_err *err);
/* The exit status of what trainrun_go returned; a failure is said by one process, and those that do not know of it are
 * ended. Closes the run and leaves the other processes. */
int trainrun_end(struct trainrun *t, lafs_status st, struct lafs_err *err);
/* After the trainer: closes the backends. */
void trainrun_release(struct trainrun *t);

/* For `prepare`. t->backend, on --device and in the precision of the options. */
lafs_status trainrun_open_backend(struct trainrun *t, struct lafs_err *err);
/* Of a trainer that takes images by the micro-batch, of `least` at least. Warns when some of the processes have nothing
 * to do in a part of the step. */
void trainrun_plan(struct trainrun *t, int64_t epochs, int64_t images, int64_t batch, int64_t micro, int64_t least);
/* A second pool of threads and backend t->data on the same device, on which batches are made while training computes
 * (t->ahead is then 1); with -j 1 there is neither, and t->ahead is 0. */
lafs_status trainrun_open_data(struct trainrun *t, struct lafs_err *err);
/* The threads that make batches. */
struct lafs_pool *trainrun_data_pool(const struct trainrun *t);
/* The SHA-256 of a file that training will start from. One that is no model at all is told now, not after the start. */
lafs_status trainrun_model_digest(const char *path, char hex[65], struct lafs_err *err);
/* Records an option that changes results: the line of config.json. */
void trainrun_option(struct trainrun *t, const char *name, int may_grow, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* For `dry_run`. The lines about memory, with a warning, and with what would fit, where the device, or the machine, has
 * not so much; and the line about steps. */
lafs_status trainrun_print_plan(struct trainrun *t, struct lafs_err *err);
/* The lines about work (FLOP an image) and time: by a product of this width, measured for a fraction of a second, which
 * takes memory; none where that fails. */
void trainrun_print_time(const struct trainrun *t, int64_t width, double flop);

/* For `figures`: appends a member to the step's log line. */
void trainrun_number(struct trainrun *t, const char *name, double v);
/* "DIR/model.safetensors", the run's. */
const char *trainrun_model_path(struct trainrun *t, struct lafs_err *err);

#endif
