/* lafs-mpi.so for tests: processes of one machine that meet in a shared file, where there is no MPI, and under
 * sanitizers. It sees what MPI does not: whether all do the same thing, of the same size. Who they are is in the
 * environment that OpenMPI's mpirun would set; LAFS_TEST_MEET names the file. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compute/comm.h"
#include "tests/ranks/meet.h"

static const int PATIENCE_SECONDS = 100;
enum doing { GATHERING = 1, EXCHANGING, BROADCASTING, LEAVING };
static struct meeting *m;
static int rank, size;

const struct lafs_comm_ops *lafs_plugin_comm(void);

static lafs_status fail(struct lafs_err *err, const char *why)
{
    if (err) {
        err->status = LAFS_FAILED;
        snprintf(err->msg, sizeof err->msg, "%s", why);
    }
    return LAFS_FAILED;
}

static lafs_status barrier(struct lafs_err *err)
{
    const struct timespec nap = {0, 20000};
    const time_t until = time(NULL) + PATIENCE_SECONDS;
    const int round = meet_arrive(m, size);
    while (!meet_came(m, round)) {
        if (m->ended) _exit(m->ended - 1);
        if (time(NULL) > until) return fail(err, "the other processes do not come");
        nanosleep(&nap, NULL);
    }
    return LAFS_OK;
}

static lafs_status open_meeting(int *r, int *n, int *node, struct lafs_err *err)
{
    const char *of = getenv("OMPI_COMM_WORLD_RANK"), *all = getenv("OMPI_COMM_WORLD_SIZE");
    m = meet_open(getenv("LAFS_TEST_MEET"));
    if (!m || !of || !all) return fail(err, "there is no place to meet");
    rank = *r = atoi(of);
    size = *n = atoi(all);
    *node = 0;
    return size <= MEET_MOST ? barrier(err) : fail(err, "too many");
}

/* What process `from` has put into its box at `at`. */
static const char *box(int from, size_t at) { return m->box[from] + at; }

static lafs_status put(enum doing what, int root, const void *data, size_t bytes, struct lafs_err *err)
{
    if (bytes > MEET_BOX) return fail(err, "too large for the box");
    memcpy(m->box[rank], data, bytes);
    m->does[rank].what = (int)what;
    m->does[rank].root = root;
    m->does[rank].bytes = bytes;
    if (barrier(err) != LAFS_OK) return LAFS_FAILED;
    return meet_same(m, rank, size) ? LAFS_OK : fail(err, "processes do different things");
}

static lafs_status gather(void *all, size_t each, struct lafs_err *err)
{
    if (put(GATHERING, 0, (char *)all + (size_t)rank * each, each, err) != LAFS_OK) return LAFS_FAILED;
    for (int i = 0; i < size; i++) memcpy((char *)all + (size_t)i * each, box(i, 0), each);
    return barrier(err);
}

static lafs_status exchange(const void *send, void *recv, size_t each, struct lafs_err *err)
{
    if (put(EXCHANGING, 0, send, each * (size_t)size, err) != LAFS_OK) return LAFS_FAILED;
    for (int i = 0; i < size; i++) memcpy((char *)recv + (size_t)i * each, box(i, (size_t)rank * each), each);
    return barrier(err);
}

static lafs_status broadcast(void *data, size_t bytes, int root, struct lafs_err *err)
{
    for (size_t at = 0; at < bytes; at += MEET_BOX) {
        size_t n = bytes - at < MEET_BOX ? bytes - at : MEET_BOX;
        if (put(BROADCASTING, root, (char *)data + at, n, err) != LAFS_OK) return LAFS_FAILED;
        memcpy((char *)data + at, box(root, 0), n);
        if (barrier(err) != LAFS_OK) return LAFS_FAILED;
    }
    return LAFS_OK;
}

static void end_all(int status)
{
    m->ended = status + 1;
    _exit(status);
}

static void leave(void)
{
    put(LEAVING, 0, "", 0, NULL);
    meet_close(m);
}

const struct lafs_comm_ops *lafs_plugin_comm(void)
{
    static const struct lafs_comm_ops ops = {.version = LAFS_COMM_VERSION,
                                             .name = "shm",
                                             .open = open_meeting,
                                             .gather = gather,
                                             .exchange = exchange,
                                             .broadcast = broadcast,
                                             .abort = end_all,
                                             .close = leave};
    return &ops;
}
