/* Several processes that train together, on one machine or many: who they are, and the few things they do in common.
 *
 *     struct lafs_comm c;
 *     LAFS_TRY(lafs_comm_open(&c, "auto", err));       // one process, unless mpirun or srun started more
 *     all[c.rank] = mine;
 *     LAFS_TRY(lafs_comm_gather(&c, all, sizeof *all, err));
 *     lafs_comm_close(&c);
 *
 * What is done in common, all processes do, in the same order, each on its main thread. The single process needs no
 * plugin: the operations return at once. Nothing here adds numbers: sums are made by who needs them, in rank order, so
 * that they are the same everywhere.
 *
 * Failures of one process never meet what the others do in common. Work that is each process's own ends in
 * lafs_comm_agree: all come to it, and go on or fail together. Who fails where the others are on their way to
 * something else says so (lafs_comm_alone) and speaks to nobody any more: the program ends them all
 * (lafs_comm_abort). */
#ifndef LAFS_COMPUTE_COMM_H
#define LAFS_COMPUTE_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lafs_backend;

enum { LAFS_COMM_VERSION = 1, LAFS_COMM_MAX = 4096 /* processes */ };

/* What a plugin provides, exported as the static table that this function returns. Memory is the host's. */
#define LAFS_COMM_ENTRY "lafs_plugin_comm"
struct lafs_comm_ops {
    uint32_t version; /* LAFS_COMM_VERSION */
    const char *name; /* "mpi" */
    /* Joins the others. node: the lowest rank on the same machine. */
    lafs_status (*open)(int *rank, int *size, int *node, struct lafs_err *err);
    /* all: `size` parts of `each` bytes; part `rank` is given, the others are filled in. */
    lafs_status (*gather)(void *all, size_t each, struct lafs_err *err);
    /* `size` parts of `each` bytes both: part j of send becomes part `rank` of recv at process j. */
    lafs_status (*exchange)(const void *send, void *recv, size_t each, struct lafs_err *err);
    /* data of process `root` to all. */
    lafs_status (*broadcast)(void *data, size_t bytes, int root, struct lafs_err *err);
    /* Ends all processes with this exit status; does not return. */
    void (*abort)(int status);
    /* Waits for the others, and leaves. */
    void (*close)(void);
};

struct lafs_comm {
    const struct lafs_comm_ops *ops; /* NULL: a single process */
    int rank, size;
    int node;                        /* lowest rank on this machine */
    int local_rank, local_size;      /* among those on this machine */
    const struct lafs_backend *link; /* whose devices exchange by themselves; NULL: through the host */
    int agreed;                      /* 1: all know of the failure that one of them had */
    int alone;                       /* 1: this one has failed, and the others, somewhere in common, do not know */
    int silent;                      /* 1: the others are not asked: see lafs_comm_silent */
};
/* how: "auto" (as the environment says that mpirun or srun started it), "none", "mpi", or "nccl", which is the same
 * here. The plugin lafs-mpi.so is loaded only when there are others. LAFS_FAILED: the environment promises others, but
 * they cannot be joined. */
lafs_status lafs_comm_open(struct lafs_comm *c, const char *how, struct lafs_err *err);
/* Leaves. After a failure that not all know of, end the others first (lafs_comm_abort): they would wait. */
void lafs_comm_close(struct lafs_comm *c);
/* One that has c's place among the processes, and exchanges nothing: memory stays as it is, all agree. For
 * rehearsals. */
struct lafs_comm lafs_comm_silent(const struct lafs_comm *c);
/* Ends all processes with this exit status. Returns when there is only one. */
void lafs_comm_abort(struct lafs_comm *c, int status);

/* As in struct lafs_comm_ops; c may be NULL: a single process. One that fails leaves this process alone. */
lafs_status lafs_comm_gather(struct lafs_comm *c, void *all, size_t each, struct lafs_err *err);
lafs_status lafs_comm_exchange(struct lafs_comm *c, const void *send, void *recv, size_t each, struct lafs_err *err);
lafs_status lafs_comm_broadcast(struct lafs_comm *c, void *data, size_t bytes, int root, struct lafs_err *err);
/* Do all go on? Each brings its own status and message; all take home those of the first one that failed, and know
 * that the others know (c->agreed). The message says which process it was, unless all failed. Who is alone, or has
 * agreed on a failure before, takes home its own, and asks nobody. */
lafs_status lafs_comm_agree(struct lafs_comm *c, lafs_status st, struct lafs_err *err);
/* The same, and a gathering in one: of `size` parts of `each` bytes, which begin with an int32_t that is not the
 * caller's. They are the others' only when all go on. */
lafs_status lafs_comm_agree_on(struct lafs_comm *c, lafs_status st, void *all, size_t each, struct lafs_err *err);
/* A status of what is done partly in common: unless it is LAFS_OK, or all know, this process is alone. */
lafs_status lafs_comm_alone(struct lafs_comm *c, lafs_status st);

/* Links the processes' devices (backend.h, link_id), each b's own device, for c's lifetime: c->link. how: "auto", "mpi"
 * (not linked) or "nccl" (LAFS_FAILED, agreed on, where they cannot be). What is done in common. why: empty, or with
 * "auto" and devices that should be linked, why they are not. */
lafs_status lafs_comm_link(struct lafs_comm *c, const struct lafs_backend *b, const char *how, struct lafs_err *why,
                           struct lafs_err *err);
/* Are devices of b, or of a plan of it, linked? */
int lafs_comm_linked(const struct lafs_comm *c, const struct lafs_backend *b);
/* As those above, on memory of linked devices; what was queued on the device before is complete on return. */
lafs_status lafs_comm_link_gather(struct lafs_comm *c, void *all, size_t each, struct lafs_err *err);
lafs_status lafs_comm_link_exchange(struct lafs_comm *c, const void *send, void *recv, size_t each,
                                    struct lafs_err *err);

static inline int lafs_comm_rank(const struct lafs_comm *c) { return c ? c->rank : 0; }
static inline int lafs_comm_size(const struct lafs_comm *c) { return c && c->size > 1 ? c->size : 1; }

#endif
