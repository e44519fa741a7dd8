#include "compute/comm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/backend.h"
#include "compute/plugin.h"

/* How many processes the launcher says that there are; 0: there was none. OpenMPI's mpirun, MPICH's and srun's PMI,
 * MVAPICH; then srun with PMIx, which tells the library alone. SLURM_NTASKS is no sign: a batch script has it too. */
static long promised(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE",
                                        "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *v = secure_getenv(names[i]);
        if (v && *v) return strtol(v, NULL, 10);
    }
    return 0;
}

/* local_rank, local_size: from everybody's node. */
static lafs_status find_neighbours(struct lafs_comm *c, struct lafs_err *err)
{
    int *node;
    LAFS_TRY(lafs_alloc0(&node, (size_t)c->size, sizeof *node, err));
    node[c->rank] = c->node;
    lafs_status st = c->ops->gather(node, sizeof *node, err);
    c->local_size = c->local_rank = 0;
    for (int i = 0; i < c->size && st == LAFS_OK; i++) {
        if (node[i] != c->node) continue;
        if (i == c->rank) c->local_rank = c->local_size;
        c->local_size++;
    }
    lafs_free(node);
    return st;
}

static lafs_status join(struct lafs_comm *c, long expected, struct lafs_err *err)
{
    const void *table;
    LAFS_TRY(lafs_plugin_load(&table, "lafs-mpi.so", LAFS_COMM_ENTRY, LAFS_COMM_VERSION, err));
    const struct lafs_comm_ops *ops = table;
    LAFS_TRY(ops->open(&c->rank, &c->size, &c->node, err));
    c->ops = ops;
    if (c->size > LAFS_COMM_MAX)
        return lafs_fail(err, LAFS_FAILED, "%d processes are more than %d", c->size, LAFS_COMM_MAX);
    if (expected > 1 && c->size != expected)
        return lafs_fail(err, LAFS_FAILED,
                         "the launcher says that there are %ld processes, MPI that there are %d: was lafs-mpi.so built "
                         "for this MPI? (srun may need --mpi=pmix or --mpi=pmi2)",
                         expected, c->size);
    return find_neighbours(c, err);
}

lafs_status lafs_comm_open(struct lafs_comm *c, const char *how, struct lafs_err *err)
{
    const struct lafs_comm single = {.size = 1, .local_size = 1};
    *c = single;
    long expected = promised();
    if (!strcmp(how, "none") || (!strcmp(how, "auto") && expected < 2)) return LAFS_OK;
    if (strcmp(how, "auto") && strcmp(how, "mpi") && strcmp(how, "nccl"))
        return lafs_fail(err, LAFS_USAGE, "'%s' is no way to find other processes; use auto, none, mpi or nccl", how);
    lafs_status st = join(c, expected, err);
    if (st == LAFS_OK) return LAFS_OK;
    if (expected > 1) lafs_err_prefix(err, "cannot join the other processes");
    if (!c->ops) *c = single; /* otherwise abort still reaches the others */
    return st;
}

void lafs_comm_close(struct lafs_comm *c)
{
    if (c->link) c->link->ops->link_close(c->link->dev);
    if (c->ops) c->ops->close();
    *c = (struct lafs_comm){.size = 1, .local_size = 1};
}

struct lafs_comm lafs_comm_silent(const struct lafs_comm *c)
{
    struct lafs_comm s = *c;
    s.silent = 1;
    return s;
}

void lafs_comm_abort(struct lafs_comm *c, int status)
{
    if (c->ops) c->ops->abort(status);
}

lafs_status lafs_comm_alone(struct lafs_comm *c, lafs_status st)
{
    if (st != LAFS_OK && lafs_comm_size(c) > 1 && !c->agreed) c->alone = 1;
    return st;
}

static int has_others(const struct lafs_comm *c) { return lafs_comm_size(c) > 1 && !c->silent; }

lafs_status lafs_comm_gather(struct lafs_comm *c, void *all, size_t each, struct lafs_err *err)
{
    return has_others(c) ? lafs_comm_alone(c, c->ops->gather(all, each, err)) : LAFS_OK;
}

lafs_status lafs_comm_exchange(struct lafs_comm *c, const void *send, void *recv, size_t each, struct lafs_err *err)
{
    if (has_others(c)) return lafs_comm_alone(c, c->ops->exchange(send, recv, each, err));
    if (c && c->silent) return LAFS_OK;
    memcpy(recv, send, each);
    return LAFS_OK;
}

lafs_status lafs_comm_broadcast(struct lafs_comm *c, void *data, size_t bytes, int root, struct lafs_err *err)
{
    return has_others(c) ? lafs_comm_alone(c, c->ops->broadcast(data, bytes, root, err)) : LAFS_OK;
}

lafs_status lafs_comm_agree_on(struct lafs_comm *c, lafs_status st, void *all, size_t each, struct lafs_err *err)
{
    struct lafs_err told = {0};
    int failed = 0, first = -1;
    int32_t status = st;
    if (!has_others(c) || c->agreed || c->alone) return st;
    memcpy((char *)all + (size_t)c->rank * each, &status, sizeof status);
    if (st != LAFS_OK) { /* its message counts for more than that of a gathering that fails */
        if (lafs_comm_gather(c, all, each, &told) != LAFS_OK) return st;
    } else LAFS_TRY(lafs_comm_gather(c, all, each, err));
    for (int i = c->size - 1; i >= 0; i--) {
        memcpy(&status, (char *)all + (size_t)i * each, sizeof status);
        if (status == LAFS_OK) continue;
        failed++;
        /* Who waited in vain did so for want of one that failed. */
        if (first >= 0 && status == LAFS_CUT && told.status != LAFS_CUT) continue;
        first = i;
        told.status = (lafs_status)status;
    }
    if (first < 0) return LAFS_OK;
    if (err) memcpy(told.msg, err->msg, sizeof told.msg);
    LAFS_TRY(lafs_comm_broadcast(c, told.msg, sizeof told.msg, first, err));
    c->agreed = 1;
    told.msg[sizeof told.msg - 1] = '\0';
    if (failed < c->size) lafs_err_prefix(&told, "process %d of %d", first, c->size);
    if (err) *err = told;
    return told.status;
}

lafs_status lafs_comm_agree(struct lafs_comm *c, lafs_status st, struct lafs_err *err)
{
    int32_t status[LAFS_COMM_MAX];
    return lafs_comm_agree_on(c, st, status, sizeof *status, err);
}

/* -- linked devices -- */

/* Agrees, but not on a failure of c: there is another way. */
static lafs_status agree_quietly(struct lafs_comm *c, lafs_status st, struct lafs_err *why)
{
    struct lafs_comm asked = *c;
    st = lafs_comm_agree(&asked, st, why);
    c->alone = asked.alone;
    return st;
}

/* Before anything is done about it: does it make sense to this process? */
static lafs_status can_link(const struct lafs_backend *b, const char *how, struct lafs_err *why)
{
    if (!strcmp(how, "mpi")) return lafs_fail(why, LAFS_USAGE, "--ranks mpi");
    if (!b->ops->link_id) return lafs_fail(why, LAFS_USAGE, "device '%s' has no link to others", b->ops->name);
    return b->ops->link_id(b->dev, NULL, why);
}

static lafs_status link_devices(struct lafs_comm *c, const struct lafs_backend *b, const char *how,
                                struct lafs_err *why)
{
    unsigned char id[LAFS_LINK_ID] = {0};
    lafs_status st;
    LAFS_TRY(agree_quietly(c, can_link(b, how, why), why));
    st = LAFS_OK;
    if (c->rank == 0) st = b->ops->link_id(b->dev, id, why);
    LAFS_TRY(agree_quietly(c, st, why));
    LAFS_TRY(lafs_comm_broadcast(c, id, sizeof id, 0, why));
    st = b->ops->link_open(b->dev, id, c->rank, c->size, why);
    const lafs_status all = agree_quietly(c, st, why);
    if (all == LAFS_OK) c->link = b;
    else b->ops->link_close(b->dev);
    return all;
}

lafs_status lafs_comm_link(struct lafs_comm *c, const struct lafs_backend *b, const char *how, struct lafs_err *why,
                           struct lafs_err *err)
{
    *why = (struct lafs_err){0};
    const int must = !strcmp(how, "nccl");
    if (lafs_comm_size(c) == 1) return LAFS_OK;
    lafs_status st = link_devices(c, b, how, why);
    if (st == LAFS_CUT) st = why->status = LAFS_FAILED; /* of a program it is a failure */
    if (st != LAFS_OK && (must || c->alone) && err) *err = *why;
    if (c->alone) return st;
    if (st != LAFS_OK) LAFS_TRY(lafs_comm_agree(c, must ? st : LAFS_OK, err)); /* to one of them it may matter */
    if (!strcmp(how, "mpi") || !b->ops->link_id) *why = (struct lafs_err){0}; /* nobody has asked for it */
    return LAFS_OK;
}

int lafs_comm_linked(const struct lafs_comm *c, const struct lafs_backend *b)
{
    return c && c->link && c->link->ops == b->ops;
}

/* A link that waits in vain says LAFS_CUT, so that another's failure is told instead. */
static lafs_status linked(struct lafs_comm *c, lafs_status st, struct lafs_err *err)
{
    if (st == LAFS_CUT) st = LAFS_FAILED;
    if (st != LAFS_OK && err) err->status = st;
    return lafs_comm_alone(c, st);
}

lafs_status lafs_comm_link_gather(struct lafs_comm *c, void *all, size_t each, struct lafs_err *err)
{
    if (!has_others(c)) return LAFS_OK;
    return linked(c, c->link->ops->link_gather(c->link->dev, all, each, err), err);
}

lafs_status lafs_comm_link_exchange(struct lafs_comm *c, const void *send, void *recv, size_t each,
                                    struct lafs_err *err)
{
    if (!has_others(c)) return LAFS_OK;
    return linked(c, c->link->ops->link_exchange(c->link->dev, send, recv, each, err), err);
}
