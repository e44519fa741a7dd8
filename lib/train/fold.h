/* Sums over the micro-batches of a step, in their order, to the bit the same for any number of processes.
 *
 * Micro-batch i is pass i / N of process i % N. Each pass leaves its contribution in an array of its own; then all
 * meet: each process gets everybody's contributions to its share of the numbers, and adds them in the order of the
 * micro-batches. What a single process adds up is the same: ((start + c0) + c1) + c2 ...
 *
 *     lafs_fold_begin(&f, sum, err);                  // sum holds what it starts from
 *     for (pass = 0; pass < lafs_turns_max(&turns); pass++) {
 *         ... if it is this process's turn: part = contribution ...
 *         lafs_fold_add(&f, sum, part, number of processes that had a turn, err);
 *     }
 *     lafs_fold_end(&f, sum, err);                    // sum holds the sum, everywhere */
#ifndef LAFS_TRAIN_FOLD_H
#define LAFS_TRAIN_FOLD_H

#include <stdint.h>

#include "compute/comm.h"
#include "compute/repeat.h"
#include "compute/tensor.h"

/* -- whose turn it is -- */

struct lafs_turns {
    int rank, ranks;
    int64_t passes; /* micro-batches of a step, in all */
};
static inline struct lafs_turns lafs_turns_of(const struct lafs_comm *c, int64_t passes)
{
    return (struct lafs_turns){lafs_comm_rank(c), lafs_comm_size(c), passes};
}
/* Can a run share its micro-batches? LAFS_USAGE says which of its numbers do not go together; epochs and those of
 * warm-up are two of them. */
lafs_status lafs_turns_check(const struct lafs_comm *comm, int64_t images, int64_t batch, int64_t micro, int64_t epochs,
                             int64_t warmup_epochs, struct lafs_err *err);
/* Passes of a step: of the process that has most; of this one. */
static inline int64_t lafs_turns_max(const struct lafs_turns *t) { return (t->passes + t->ranks - 1) / t->ranks; }
static inline int64_t lafs_turns_mine(const struct lafs_turns *t)
{
    return (t->passes - t->rank + t->ranks - 1) / t->ranks;
}
/* How many processes have a pass number `pass` in a step: the first ones. */
static inline int lafs_turns_active(const struct lafs_turns *t, int64_t pass)
{
    int64_t left = t->passes - pass * t->ranks;
    return left < t->ranks ? (int)left : t->ranks;
}
/* Number in a step of this process's micro-batch of a pass. */
static inline int64_t lafs_turns_micro(const struct lafs_turns *t, int64_t pass) { return pass * t->ranks + t->rank; }
/* Where a micro-batch's result is among those that each process has gathered of each, lafs_turns_max of a process. */
static inline int64_t lafs_turns_place(const struct lafs_turns *t, int64_t micro)
{
    return micro % t->ranks * lafs_turns_max(t) + micro / t->ranks;
}
/* All micro-batches of a run are numbered; so are those of one process. Between the two: */
static inline int64_t lafs_turns_local(const struct lafs_turns *t, int64_t number)
{
    return number / t->passes * lafs_turns_mine(t) + number % t->passes / t->ranks;
}
static inline int64_t lafs_turns_global(const struct lafs_turns *t, int64_t local)
{
    int64_t mine = lafs_turns_mine(t);
    return local / mine * t->passes + lafs_turns_micro(t, local % mine);
}

/* -- sums -- */

/* Running averages among the numbers: they decay by `keep` before a contribution is added. */
struct lafs_fold_average {
    int64_t off, size;
};

struct lafs_fold {
    struct lafs_comm *comm;        /* NULL: a single process */
    const struct lafs_backend *b;
    int64_t size;
    struct lafs_fold_average *average; /* (averages), ascending */
    int averages;
    float keep;
    struct lafs_repeat again;      /* a single process: what is added in place */
    /* several processes: the numbers are cut into rounds of ranks x share; of each round, process r owns share r */
    int64_t share, rounds;
    int linked;                    /* 1: what follows is on the device, which exchanges by itself */
    float *send, *got;             /* (ranks, share) host; send of a linked device: for a round that is not full */
    float *own;                    /* (rounds, share) host: the sum of what is this process's */
};
/* Of `size` numbers. ps: the table of an array of parameters whose BatchNorm statistics are averages with this
 * momentum; NULL: none. comm and b are borrowed. */
lafs_status lafs_fold_init(struct lafs_fold *f, struct lafs_comm *comm, const struct lafs_backend *b, int64_t size,
                           const struct lafs_params *ps, float momentum, struct lafs_err *err);
void lafs_fold_release(struct lafs_fold *f);
/* Bytes of memory that it takes for so many numbers: the host's, or that of linked devices. */
size_t lafs_fold_memory(const struct lafs_comm *comm, const struct lafs_backend *b, int64_t size);
/* sum, part: (size) device. Processes 0 to active - 1 have a part. */
lafs_status lafs_fold_begin(struct lafs_fold *f, const float *sum, struct lafs_err *err);
lafs_status lafs_fold_add(struct lafs_fold *f, float *sum, const float *part, int active, struct lafs_err *err);
lafs_status lafs_fold_end(struct lafs_fold *f, float *sum, struct lafs_err *err);

/* Do all processes hold the same numbers, to the bit? value: (size) device. LAFS_FAILED, agreed on: one has others. */
lafs_status lafs_fold_same(struct lafs_comm *comm, const struct lafs_backend *b, const float *value, int64_t size,
                           const char *what, struct lafs_err *err);

#endif
