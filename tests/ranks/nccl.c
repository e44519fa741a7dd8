/* libnccl.so.2 for tests: what kernels/cuda/link.cu uses of NCCL, over a shared file and the memory of the simulated GPU
 * (tests/cuda). As NCCL when it is told not to block, operations are under way when they return, and go on when their
 * state is asked for. LAFS_TEST_NCCL makes it fail:
 *   old      it is of version 2.9
 *   usage    process 1 cannot join
 *   gone:N   the N-th operation finds that another process has gone
 *   stuck:N  the N-th operation of process 1 never comes to the others */
#include <stdio.h>
#include <stdlib.h>

#include "tests/ranks/meet.h"
#include "tests/ranks/stream.h"

enum result { SUCCESS = 0, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE_ERROR = 6, IN_PROGRESS = 7 };
enum { INT8 = 0, MOST_CALLS = 64 };
typedef struct { char internal[128]; } id_bytes;
struct config { size_t size; unsigned magic, version; int blocking; };
struct call { int is_recv, peer; const char *from; char *to; size_t bytes; };
enum doing { NOTHING, JOINING, GATHERING, EXCHANGING };

struct comm {
    struct meeting *m;
    int rank, size;
    enum result state;
    enum doing doing;
    int half;      /* 1: data has been taken out, the others may still be at it */
    int round;     /* whose end is waited for */
    int stuck, count;
    struct sim_stream *stream;
    char *gathered;
    size_t bytes;
    struct call call[MOST_CALLS];
    int calls;
};

int ncclGetVersion(int *version);
int ncclGetUniqueId(id_bytes *id);
int ncclCommInitRankConfig(struct comm **out, int size, id_bytes id, int rank, struct config *config);
int ncclCommGetAsyncError(struct comm *c, int *state);
int ncclCommFinalize(struct comm *c);
int ncclCommDestroy(struct comm *c);
int ncclCommAbort(struct comm *c);
const char *ncclGetErrorString(int result);
const char *ncclGetLastError(struct comm *c);
int ncclAllGather(const void *from, void *to, size_t count, int type, struct comm *c, struct sim_stream *stream);
int ncclSend(const void *from, size_t count, int type, int peer, struct comm *c, struct sim_stream *stream);
int ncclRecv(void *to, size_t count, int type, int peer, struct comm *c, struct sim_stream *stream);
int ncclGroupStart(void);
int ncclGroupEnd(void);

static struct comm *grouped; /* whose calls are being collected */
static int in_group;

/* Is this the moment of "KIND:N"? */
static int fault(const char *kind, int n)
{
    const char *s = getenv("LAFS_TEST_NCCL");
    size_t len = strlen(kind);
    return s && !strncmp(s, kind, len) && (s[len] == ':' ? atoi(s + len + 1) == n : n == 0 && !s[len]);
}

int ncclGetVersion(int *version)
{
    *version = fault("old", 0) ? 20908 : 22809;
    return SUCCESS;
}

int ncclGetUniqueId(id_bytes *id)
{
    const char *path = getenv("LAFS_TEST_MEET");
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%s.nccl", path ? path : "");
    return SUCCESS;
}

const char *ncclGetErrorString(int result)
{
    return result == INVALID_USAGE ? "invalid usage" : result == REMOTE_ERROR ? "remote process exited" : "an error";
}
const char *ncclGetLastError(struct comm *c)
{
    return c && c->state == INVALID_USAGE ? "Duplicate GPU detected : rank 0 and rank 1" : "";
}

/* What was prepared is there for the others. */
static int begin(struct comm *c, enum doing doing, size_t bytes)
{
    c->doing = doing;
    c->half = 0;
    c->state = IN_PROGRESS;
    c->count++;
    c->m->does[c->rank].what = (int)doing;
    c->m->does[c->rank].bytes = bytes;
    c->stuck = c->rank == 1 && fault("stuck", c->count - 1);
    if (fault("gone", c->count - 1)) c->state = REMOTE_ERROR;
    else if (!c->stuck) c->round = meet_arrive(c->m, c->size);
    return IN_PROGRESS;
}

int ncclCommInitRankConfig(struct comm **out, int size, id_bytes id, int rank, struct config *config)
{
    struct comm *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c || config->magic != 0xcafebeef || config->size < sizeof *config || config->blocking || size > MEET_MOST)
        return INVALID_ARGUMENT;
    c->m = meet_open(id.internal);
    if (!c->m) return INVALID_ARGUMENT;
    c->rank = rank;
    c->size = size;
    *out = c;
    if (rank == 1 && fault("usage", 0)) {
        c->state = INVALID_USAGE;
        return IN_PROGRESS;
    }
    return begin(c, JOINING, 0);
}

/* -- data -- */

/* A box holds how many messages there are, what they are, and the messages. */
struct message { int peer; size_t at, bytes; };

static enum result take_messages(struct comm *c)
{
    int taken[MEET_MOST] = {0};
    for (int i = 0; i < c->calls; i++) {
        const struct call *r = &c->call[i];
        if (!r->is_recv) continue;
        const char *box = c->m->box[r->peer];
        const struct message *found = NULL;
        int count, seen = 0;
        memcpy(&count, box, sizeof count);
        const struct message *all = (const void *)(box + sizeof(struct message));
        for (int j = 0; j < count && !found; j++)
            if (all[j].peer == c->rank && seen++ == taken[r->peer]) found = &all[j];
        taken[r->peer]++;
        if (!found || found->bytes != r->bytes) return INVALID_USAGE;
        memcpy(r->to, box + found->at, r->bytes);
    }
    return SUCCESS;
}

static enum result take_out(struct comm *c)
{
    enum result result = SUCCESS;
    if (!meet_same(c->m, c->rank, c->size)) return INVALID_USAGE;
    if (c->doing == JOINING) return SUCCESS;
    c->stream->enter();
    for (int p = 0; c->doing == GATHERING && p < c->size; p++)
        memcpy(c->gathered + (size_t)p * c->bytes, c->m->box[p], c->bytes);
    if (c->doing == EXCHANGING) result = take_messages(c);
    c->stream->leave();
    c->calls = 0;
    return result;
}

int ncclCommGetAsyncError(struct comm *c, int *state)
{
    if (c->state == IN_PROGRESS && !c->stuck && meet_came(c->m, c->round)) {
        const enum result result = c->half ? SUCCESS : take_out(c);
        if (result != SUCCESS) c->state = result;
        else if (c->half) c->state = SUCCESS;
        else c->round = meet_arrive(c->m, c->size);
        c->half = 1;
    }
    *state = c->state;
    return SUCCESS;
}

int ncclAllGather(const void *from, void *to, size_t count, int type, struct comm *c, struct sim_stream *stream)
{
    if (type != INT8 || count > MEET_BOX || c->state != SUCCESS) return INVALID_ARGUMENT;
    c->stream = stream;
    stream->enter();
    memcpy(c->m->box[c->rank], from, count);
    stream->leave();
    c->gathered = to;
    c->bytes = count;
    return begin(c, GATHERING, count);
}

static int collect(struct comm *c, struct call call, int type, struct sim_stream *stream)
{
    if (type != INT8 || !in_group || c->calls == MOST_CALLS || c->state != SUCCESS) return INVALID_ARGUMENT;
    c->stream = stream;
    c->call[c->calls++] = call;
    grouped = c;
    return SUCCESS;
}
int ncclSend(const void *from, size_t count, int type, int peer, struct comm *c, struct sim_stream *stream)
{
    return collect(c, (struct call){0, peer, from, NULL, count}, type, stream);
}
int ncclRecv(void *to, size_t count, int type, int peer, struct comm *c, struct sim_stream *stream)
{
    return collect(c, (struct call){1, peer, NULL, to, count}, type, stream);
}

int ncclGroupStart(void)
{
    in_group = 1;
    grouped = NULL;
    return SUCCESS;
}

int ncclGroupEnd(void)
{
    struct comm *c = grouped;
    int count = 0;
    in_group = 0;
    if (!c) return SUCCESS;
    char *box = c->m->box[c->rank];
    struct message *all = (void *)(box + sizeof *all);
    size_t at = sizeof *all * (MOST_CALLS + 1);
    c->stream->enter();
    for (int i = 0; i < c->calls; i++) {
        const struct call *s = &c->call[i];
        if (s->is_recv) continue;
        if (s->bytes > MEET_BOX - at) abort();
        memcpy(box + at, s->from, s->bytes);
        all[count++] = (struct message){s->peer, at, s->bytes};
        at += s->bytes;
    }
    c->stream->leave();
    memcpy(box, &count, sizeof count);
    return begin(c, EXCHANGING, 0);
}

int ncclCommFinalize(struct comm *c) { return c->state; }
int ncclCommDestroy(struct comm *c)
{
    meet_close(c->m);
    free(c);
    return SUCCESS;
}
int ncclCommAbort(struct comm *c) { return ncclCommDestroy(c); }
