/* Processes that MPI started: the plugin lafs-mpi.so, a table of lib/compute/comm.h. Built against the MPI that is
 * installed, since implementations differ in their binary interfaces.
 *
 * Waiting gives the processor away: the threads that make the next batch, and other processes on this machine, need
 * it. MPI's own blocking calls would spin. */
#include <dlfcn.h>
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compute/comm.h"

const struct lafs_comm_ops *lafs_plugin_comm(void) __attribute__((visibility("default")));

enum { SPINS = 2000, NAP_NS = 50000, PIECE = 1 << 30 /* bytes of one broadcast */ };

static struct {
    MPI_Comm world; /* a communicator of our own */
    int rank, size;
} self;

static lafs_status check(int code, const char *what, struct lafs_err *err)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int n = 0;
    if (code == MPI_SUCCESS) return LAFS_OK;
    MPI_Error_string(code, text, &n);
    return lafs_fail(err, LAFS_FAILED, "MPI cannot %s: %s", what, text);
}

/* How long the others are waited for: longer than what one process does by itself, like checking pairs. */
static double patience(void)
{
    const char *s = getenv("LAFS_MPI_SECONDS");
    const double v = s ? strtod(s, NULL) : 0;
    return v > 0 ? v : 3 * 3600;
}
/* Since *last, but no more than a second: a job that was suspended has not waited. */
static double elapsed(struct timespec *last)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double s = (double)(now.tv_sec - last->tv_sec) + 1e-9 * (double)(now.tv_nsec - last->tv_nsec);
    *last = now;
    return s < 1 ? s : 1;
}

/* begun: what starting the operation returned. */
static lafs_status finish(int begun, MPI_Request *request, const char *what, struct lafs_err *err)
{
    const struct timespec nap = {0, NAP_NS};
    const double limit = patience();
    double waited = 0;
    struct timespec last;
    int done = 0;
    LAFS_TRY(check(begun, what, err));
    clock_gettime(CLOCK_MONOTONIC, &last);
    for (int64_t i = 0; !done; i++) {
        LAFS_TRY(check(MPI_Test(request, &done, MPI_STATUS_IGNORE), what, err));
        if (done || i < SPINS) continue;
        nanosleep(&nap, NULL);
        if ((waited += elapsed(&last)) > limit)
            return lafs_fail(err, LAFS_FAILED,
                             "MPI cannot %s: the other processes were waited for in vain for %.0f seconds "
                             "(LAFS_MPI_SECONDS gives them longer)",
                             what, limit);
    }
    return LAFS_OK;
}

static lafs_status fits(size_t each, struct lafs_err *err)
{
    return each <= INT_MAX ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "%zu bytes are too many for MPI at once", each);
}

/* Implementations open modules of their own, which look for MPI's symbols among those of all. */
static void show_mpi_to_its_modules(void)
{
    Dl_info info;
    if (dladdr((void *)MPI_Init_thread, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

static lafs_status open_world(int *rank, int *size, int *node, struct lafs_err *err)
{
    int provided, begun = 0;
    MPI_Comm local;
    show_mpi_to_its_modules();
    MPI_Initialized(&begun);
    if (!begun) LAFS_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), "start", err));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    LAFS_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &self.world), "copy a communicator", err));
    MPI_Comm_set_errhandler(self.world, MPI_ERRORS_RETURN);
    MPI_Comm_rank(self.world, &self.rank);
    MPI_Comm_size(self.world, &self.size);
    LAFS_TRY(check(MPI_Comm_split_type(self.world, MPI_COMM_TYPE_SHARED, self.rank, MPI_INFO_NULL, &local),
                   "find the processes of this machine", err));
    *node = self.rank;
    lafs_status st = check(MPI_Bcast(node, 1, MPI_INT, 0, local), "find the processes of this machine", err);
    MPI_Comm_free(&local);
    *rank = self.rank;
    *size = self.size;
    return st;
}

static lafs_status gather(void *all, size_t each, struct lafs_err *err)
{
    MPI_Request request;
    LAFS_TRY(fits(each, err));
    return finish(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, (int)each, MPI_BYTE, self.world, &request),
                  &request, "gather", err);
}

static lafs_status exchange(const void *send, void *recv, size_t each, struct lafs_err *err)
{
    MPI_Request request;
    LAFS_TRY(fits(each, err));
    return finish(MPI_Ialltoall(send, (int)each, MPI_BYTE, recv, (int)each, MPI_BYTE, self.world, &request), &request,
                  "exchange", err);
}

static lafs_status broadcast(void *data, size_t bytes, int root, struct lafs_err *err)
{
    for (size_t at = 0; at < bytes; at += PIECE) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        MPI_Request request;
        LAFS_TRY(finish(MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, self.world, &request), &request,
                        "broadcast", err));
    }
    return LAFS_OK;
}

static void end_all(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

static void close_world(void)
{
    MPI_Comm_free(&self.world);
    MPI_Finalize();
}

const struct lafs_comm_ops *lafs_plugin_comm(void)
{
    static const struct lafs_comm_ops ops = {.version = LAFS_COMM_VERSION,
                                             .name = "mpi",
                                             .open = open_world,
                                             .gather = gather,
                                             .exchange = exchange,
                                             .broadcast = broadcast,
                                             .abort = end_all,
                                             .close = close_world};
    return &ops;
}
