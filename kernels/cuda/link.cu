/* Processes' GPUs that exchange by themselves: NCCL, which is loaded when several processes train on GPUs.
 *
 * Only data is moved: what is added is added by who needs it, in the order of the processes, so NCCL has no say in how
 * a sum is rounded. Operations are complete on return. NCCL is asked not to block: this file waits, looks for errors of
 * the others meanwhile, and gives up when nothing has come of an operation for a while. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/cuda/dev.cuh"

/* What is used of NCCL, whose binary interface is one from 2.14 on: declared here, so that its header is not needed.
 * Where nvcc finds one, the compiler compares. */
#if defined(__CUDACC__) && !defined(LAFS_NO_NCCL_H) && __has_include(<nccl.h>)
#include <nccl.h>
#include <type_traits>
#define SAME_AS(name) \
    static_assert(std::is_same<decltype(&::name), decltype(nccl_functions::name)>::value, "nccl.h has another " #name)
#else
#define SAME_AS(name) static_assert(true, #name)
typedef struct ncclComm *ncclComm_t;
typedef struct { char internal[128]; } ncclUniqueId;
enum ncclResult_t { ncclSuccess = 0, ncclInvalidUsage = 5, ncclRemoteError = 6, ncclInProgress = 7 };
enum ncclDataType_t { ncclInt8 = 0 };
typedef struct ncclConfig ncclConfig_t;
#ifndef __CUDACC__
typedef void *cudaStream_t;
#endif
#endif

struct nccl_functions {
    ncclResult_t (*ncclGetVersion)(int *);
    ncclResult_t (*ncclGetUniqueId)(ncclUniqueId *);
    ncclResult_t (*ncclCommInitRankConfig)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
    ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t, ncclResult_t *);
    ncclResult_t (*ncclCommFinalize)(ncclComm_t);
    ncclResult_t (*ncclCommDestroy)(ncclComm_t);
    ncclResult_t (*ncclCommAbort)(ncclComm_t);
    const char *(*ncclGetErrorString)(ncclResult_t);
    const char *(*ncclGetLastError)(ncclComm_t);
    ncclResult_t (*ncclAllGather)(const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*ncclSend)(const void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    ncclResult_t (*ncclRecv)(void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    ncclResult_t (*ncclGroupStart)();
    ncclResult_t (*ncclGroupEnd)();
};
SAME_AS(ncclGetVersion);
SAME_AS(ncclGetUniqueId);
SAME_AS(ncclCommInitRankConfig);
SAME_AS(ncclCommGetAsyncError);
SAME_AS(ncclCommFinalize);
SAME_AS(ncclCommDestroy);
SAME_AS(ncclCommAbort);
SAME_AS(ncclGetErrorString);
SAME_AS(ncclGetLastError);
SAME_AS(ncclAllGather);
SAME_AS(ncclSend);
SAME_AS(ncclRecv);
SAME_AS(ncclGroupStart);
SAME_AS(ncclGroupEnd);
static_assert(sizeof(ncclUniqueId) == LAFS_LINK_ID, "an id is told to the others as so many bytes");

/* The head of NCCL's configuration, as it was in 2.14: later ones read as much of it as there is. */
struct link_config {
    size_t size;
    unsigned magic, version;
    int blocking;
};
enum { LEAST = 21400 /* 2.14.0: does not block */ };
static const unsigned CONFIG_MAGIC = 0xcafebeef;
enum { SPINS = 2000, NAP_NS = 20000, PATIENCE_SECONDS = 50, LEAVING_SECONDS = 5 };

struct link {
    ncclComm_t comm;
    int rank, size;
};

static struct nccl_functions nccl; /* filled by the first `load` that succeeds; never unloaded */

static lafs_status find_functions(void *so, struct nccl_functions *f, struct lafs_err *err)
{
    const struct {
        const char *name;
        void *at;
    } want[] = {
#define WANT(name) {#name, &f->name}
        WANT(ncclGetVersion), WANT(ncclGetUniqueId), WANT(ncclCommGetAsyncError), WANT(ncclCommAbort),
        WANT(ncclGetErrorString), WANT(ncclAllGather), WANT(ncclSend), WANT(ncclRecv), WANT(ncclGroupStart),
        WANT(ncclGroupEnd), WANT(ncclCommDestroy), WANT(ncclCommInitRankConfig), WANT(ncclCommFinalize),
        WANT(ncclGetLastError)
#undef WANT
    };
    int version = 0, thousand = 10000;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        void *p = dlsym(so, want[i].name);
        memcpy(want[i].at, &p, sizeof p);
        if (i == 0 && p && f->ncclGetVersion(&version) == ncclSuccess && version < LEAST) {
            if (version < thousand) thousand = 1000; /* as they were numbered up to 2.8 */
            return lafs_fail(err, LAFS_FAILED, "libnccl.so.2 is of version %d.%d.%d; 2.14 is the least",
                             version / thousand, version % thousand / 100, version % 100);
        }
        if (!p) return lafs_fail(err, LAFS_FAILED, "libnccl.so.2 has no %s", want[i].name);
    }
    return LAFS_OK;
}

static lafs_status load(struct lafs_err *err)
{
    struct nccl_functions found = {};
    if (nccl.ncclGetVersion) return LAFS_OK;
    void *so = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!so) return lafs_fail(err, LAFS_FAILED, "NCCL cannot be loaded: %s", dlerror());
    LAFS_TRY(find_functions(so, &found, err));
    nccl = found;
    return LAFS_OK;
}

static double now()
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double patience()
{
    const char *s = getenv("LAFS_NCCL_SECONDS");
    const double seconds = s ? strtod(s, NULL) : 0;
    return seconds > 0 ? seconds : (double)PATIENCE_SECONDS;
}

/* Ends the link at once: what is under way on the GPU is ended, too. */
static void drop(struct lafs_dev *d)
{
    runtime_use(d);
    if (d->link->comm) (void)nccl.ncclCommAbort(d->link->comm);
    lafs_free(d->link);
    d->link = NULL;
}

/* Says why, and drops the link. */
static lafs_status refuse(struct lafs_dev *d, const char *what, ncclResult_t code, struct lafs_err *err)
{
    const char *more = nccl.ncclGetLastError(d->link->comm);
    const char *hint = code == ncclRemoteError ? " (has another process ended?)" : "";
    lafs_fail(err, LAFS_FAILED, "NCCL cannot %s: %s%s%s%s%s", what, nccl.ncclGetErrorString(code), hint,
              more && *more ? " (" : "", more && *more ? more : "", more && *more ? ")" : "");
    drop(d);
    return LAFS_FAILED;
}

/* Until what was begun has been accepted by NCCL, and carried out on the stream. */
static lafs_status finish(struct lafs_dev *d, const char *what, ncclResult_t begun, struct lafs_err *err)
{
    const struct timespec nap = {0, NAP_NS};
    const double until = now() + patience();
    ncclResult_t state = begun;
    if (begun != ncclSuccess && begun != ncclInProgress) return refuse(d, what, begun, err);
    for (int i = 0;; i++) {
        const ncclResult_t asked = nccl.ncclCommGetAsyncError(d->link->comm, &state);
        if (asked != ncclSuccess) state = asked;
        if (state != ncclSuccess && state != ncclInProgress) return refuse(d, what, state, err);
        if (state == ncclSuccess && !runtime_busy(d)) break;
        if (i < SPINS) continue;
        nanosleep(&nap, NULL);
        if (now() < until) continue;
        drop(d);
        return lafs_fail(err, LAFS_CUT,
                         "NCCL cannot %s: nothing has come from the other processes' GPUs for %.0f s "
                         "(LAFS_NCCL_SECONDS gives them longer)",
                         what, patience());
    }
    if (d->err.status != LAFS_OK && err) *err = d->err;
    return d->err.status;
}

static lafs_status link_id(struct lafs_dev *d, void *id, struct lafs_err *err)
{
    ncclUniqueId own;
    runtime_use(d);
    LAFS_TRY(load(err));
    if (!id) return LAFS_OK;
    const ncclResult_t made = nccl.ncclGetUniqueId(&own);
    if (made != ncclSuccess)
        return lafs_fail(err, LAFS_FAILED, "NCCL cannot make an address: %s", nccl.ncclGetErrorString(made));
    memcpy(id, &own, sizeof own);
    return LAFS_OK;
}

static lafs_status missing(struct lafs_err *err) { return lafs_fail(err, LAFS_FAILED, "cuda: there is no link"); }

static lafs_status link_gather(struct lafs_dev *d, void *all, size_t each, struct lafs_err *err)
{
    const struct link *l = d->link;
    if (!l) return missing(err);
    if (!each) return LAFS_OK;
    runtime_use(d);
    return finish(d, "gather",
                  nccl.ncclAllGather((char *)all + (size_t)l->rank * each, all, each, ncclInt8, l->comm,
                                     (cudaStream_t)d->stream),
                  err);
}

static lafs_status link_exchange(struct lafs_dev *d, const void *send, void *recv, size_t each, struct lafs_err *err)
{
    const struct link *l = d->link;
    ncclResult_t code;
    if (!l) return missing(err);
    if (!each) return LAFS_OK;
    const size_t own = (size_t)l->rank * each;
    runtime_copy(d, (char *)recv + own, (const char *)send + own, each);
    if ((code = nccl.ncclGroupStart()) != ncclSuccess) return refuse(d, "exchange", code, err);
    for (int i = 1; i < l->size && (code == ncclSuccess || code == ncclInProgress); i++) {
        /* To the next but i, from the last but i: not all to the same one first. */
        const int to = (l->rank + i) % l->size, from = (l->rank + l->size - i) % l->size;
        cudaStream_t stream = (cudaStream_t)d->stream;
        code = nccl.ncclSend((const char *)send + (size_t)to * each, each, ncclInt8, to, l->comm, stream);
        if (code == ncclSuccess || code == ncclInProgress)
            code = nccl.ncclRecv((char *)recv + (size_t)from * each, each, ncclInt8, from, l->comm, stream);
    }
    const ncclResult_t ended = nccl.ncclGroupEnd();
    return finish(d, "exchange", code == ncclSuccess || code == ncclInProgress ? ended : code, err);
}

/* A little of each kind is exchanged before anybody relies on it: NCCL connects the GPUs only then. */
static lafs_status try_out(struct lafs_dev *d, struct lafs_err *err)
{
    enum { EACH = 256 };
    const size_t all = (size_t)d->link->size * EACH;
    void *p;
    LAFS_TRY(runtime_alloc(d, &p, 2 * all, err));
    runtime_zero(d, p, 2 * all);
    lafs_status st = link_gather(d, p, EACH, err);
    if (st == LAFS_OK) st = link_exchange(d, p, (char *)p + all, EACH, err);
    runtime_free(d, p);
    return st;
}

static lafs_status link_open(struct lafs_dev *d, const void *id, int rank, int size, struct lafs_err *err)
{
    struct link_config config = {sizeof config, CONFIG_MAGIC, LEAST, 0};
    ncclUniqueId others;
    struct link *l;
    memcpy(&others, id, sizeof others);
    LAFS_TRY(load(err));
    link_close(d);
    LAFS_TRY(lafs_alloc0(&l, 1, sizeof *l, err));
    l->rank = rank;
    l->size = size;
    d->link = l;
    runtime_use(d);
    static const char what[] = "join the other processes' GPUs";
    const ncclResult_t begun = nccl.ncclCommInitRankConfig(&l->comm, size, others, rank, (ncclConfig_t *)&config);
    if (begun != ncclSuccess && begun != ncclInProgress && !l->comm) return refuse(d, what, begun, err);
    LAFS_TRY(finish(d, what, begun, err));
    return try_out(d, err);
}

void link_close(struct lafs_dev *d)
{
    const struct timespec nap = {0, NAP_NS};
    const double until = now() + LEAVING_SECONDS;
    ncclResult_t state = ncclInProgress;
    if (!d->link) return;
    runtime_use(d);
    ncclResult_t code = nccl.ncclCommFinalize(d->link->comm);
    while ((code == ncclSuccess || code == ncclInProgress) && state == ncclInProgress && now() < until) {
        code = nccl.ncclCommGetAsyncError(d->link->comm, &state);
        nanosleep(&nap, NULL);
    }
    if (state == ncclSuccess) {
        nccl.ncclCommDestroy(d->link->comm); /* whatever it says, it is no communicator any more */
        d->link->comm = NULL;
    }
    drop(d);
}

void ops_link(struct lafs_ops *ops)
{
    ops->link_id = link_id;
    ops->link_open = link_open;
    ops->link_gather = link_gather;
    ops->link_exchange = link_exchange;
    ops->link_close = link_close;
}
