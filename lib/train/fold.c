#include "train/fold.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "train/sched.h"

enum { SHARE = 1 << 16 /* 256 KiB */, LINKED_ROUND = 1 << 23 /* 32 MiB of all processes */ };

lafs_status lafs_turns_check(const struct lafs_comm *comm, int64_t images, int64_t batch, int64_t micro, int64_t epochs,
                             int64_t warmup_epochs, struct lafs_err *err)
{
    if (micro < 1 || batch % micro)
        return lafs_fail(err, LAFS_USAGE, "the batch of %" PRId64 " is no multiple of the micro-batch of %" PRId64,
                         batch, micro);
    if (images < batch)
        return lafs_fail(err, LAFS_USAGE, "%" PRId64 " images are less than one batch of %" PRId64
                         ": the batch must be smaller (presets few-* are for few faces)", images, batch);
    LAFS_TRY(lafs_sched_check(warmup_epochs, epochs, "epochs", err));
    if (images > INT64_MAX / epochs) /* a stream's header says any number */
        return lafs_fail(err, LAFS_USAGE, "%" PRId64 " epochs of %" PRId64 " images are too many", epochs, images);
    if (batch / micro < lafs_comm_size(comm))
        return lafs_fail(err, LAFS_USAGE,
                         "%d processes cannot share the %" PRId64 " micro-batches of a batch: give a smaller --micro",
                         lafs_comm_size(comm), batch / micro);
    return LAFS_OK;
}

static int is_average(const struct lafs_param *p) { return !p->trainable && p->ndim > 0; } /* others are counters */

static lafs_status list_averages(struct lafs_fold *f, const struct lafs_params *ps, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&f->average, (size_t)ps->count + 1, sizeof *f->average, err));
    for (int i = 0; i < ps->count; i++)
        if (is_average(&ps->p[i]) && ps->p[i].off + ps->p[i].size <= f->size)
            f->average[f->averages++] = (struct lafs_fold_average){ps->p[i].off, ps->p[i].size};
    return LAFS_OK;
}

/* Numbers that two processes exchange at once. A device is worth asking for more, but what all send it must fit. */
static int64_t share_of(int64_t size, int64_t ranks, int linked)
{
    const int64_t even = (size + ranks - 1) / ranks;
    const int64_t most = linked && LINKED_ROUND / ranks > SHARE ? LINKED_ROUND / ranks : SHARE;
    return even < most ? even : most;
}

size_t lafs_fold_memory(const struct lafs_comm *comm, const struct lafs_backend *b, int64_t size)
{
    const int64_t ranks = lafs_comm_size(comm), share = share_of(size, ranks, lafs_comm_linked(comm, b));
    return ranks == 1 ? 0 : (size_t)(2 * ranks * share + size / ranks + share) * sizeof(float);
}

static lafs_status take(const struct lafs_fold *f, float **out, int64_t count, struct lafs_err *err)
{
    if (!f->linked) return lafs_alloc0(out, (size_t)count, sizeof(float), err);
    return f->b->ops->alloc(f->b->dev, (void **)out, (size_t)count * sizeof(float), err);
}

lafs_status lafs_fold_init(struct lafs_fold *f, struct lafs_comm *comm, const struct lafs_backend *b, int64_t size,
                           const struct lafs_params *ps, float momentum, struct lafs_err *err)
{
    const int64_t ranks = lafs_comm_size(comm);
    *f = (struct lafs_fold){.comm = comm, .b = b, .size = size, .keep = (float)(1 - (double)momentum)};
    if (ps) LAFS_TRY(list_averages(f, ps, err));
    if (ranks == 1) return LAFS_OK;
    f->linked = lafs_comm_linked(comm, b);
    f->share = share_of(size, ranks, f->linked);
    f->rounds = (size + ranks * f->share - 1) / (ranks * f->share);
    LAFS_TRY(take(f, &f->send, ranks * f->share, err));
    LAFS_TRY(take(f, &f->got, ranks * f->share, err));
    return take(f, &f->own, f->rounds * f->share, err);
}

void lafs_fold_release(struct lafs_fold *f)
{
    float *owned[] = {f->send, f->got, f->own};
    if (f->b) lafs_repeat_forget(&f->again, f->b);
    for (int i = 0; i < 3; i++) {
        if (f->linked) f->b->ops->free(f->b->dev, owned[i]);
        else lafs_free(owned[i]);
    }
    lafs_free(f->average);
    memset(f, 0, sizeof *f);
}

/* The numbers of a round: [from, to). */
static int64_t round_of(const struct lafs_fold *f, int64_t round, int64_t *to)
{
    const int64_t width = lafs_comm_size(f->comm) * f->share, from = round * width;
    *to = from + width < f->size ? from + width : f->size;
    return from;
}

/* This process's numbers of a round: how many, from *first on. There may be none in the last one. */
static int64_t own_of(const struct lafs_fold *f, int64_t round, int64_t *first)
{
    int64_t to, from = round_of(f, round, &to);
    *first = from + lafs_comm_rank(f->comm) * f->share;
    if (*first >= to) return 0;
    return to - *first < f->share ? to - *first : f->share;
}

lafs_status lafs_fold_begin(struct lafs_fold *f, const float *sum, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    if (lafs_comm_size(f->comm) == 1) return LAFS_OK;
    for (int64_t i = 0; i < f->rounds; i++) {
        int64_t first, n = own_of(f, i, &first);
        if (n == 0) continue;
        (f->linked ? b->ops->copy : b->ops->download)(b->dev, f->own + i * f->share, sum + first,
                                                      (size_t)n * sizeof(float));
    }
    return f->linked ? LAFS_OK : lafs_comm_alone(f->comm, b->ops->sync(b->dev, err));
}

/* own (n): the numbers from `first` on. Those among them that are averages decay. */
static void decay(const struct lafs_fold *f, int64_t first, int64_t n, float *own)
{
    for (int i = 0; i < f->averages; i++) {
        const struct lafs_fold_average *a = &f->average[i];
        int64_t from = a->off > first ? a->off : first, to = a->off + a->size;
        if (to > first + n) to = first + n;
        if (from >= to) continue;
        if (f->linked) f->b->ops->scale(f->b->dev, to - from, f->keep, own + from - first);
        for (int64_t j = from; j < to && !f->linked; j++) own[j - first] *= f->keep;
    }
}

/* A single process: in place, on the device. */
struct alone {
    struct lafs_fold *f;
    float *sum;
    const float *part;
};
static void add_in_place(void *arg)
{
    const struct alone *a = arg;
    const struct lafs_fold *f = a->f;
    const struct lafs_backend *b = f->b;
    for (int i = 0; i < f->averages; i++)
        b->ops->scale(b->dev, f->average[i].size, f->keep, a->sum + f->average[i].off);
    b->ops->axpy(b->dev, f->size, 1, a->part, a->sum);
}
static lafs_status add_alone(struct lafs_fold *f, float *sum, const float *part)
{
    struct alone a = {f, sum, part};
    lafs_repeat(&f->again, f->b, &a, sizeof a, add_in_place, &a);
    return LAFS_OK;
}

/* own += x, both on the host or both on the device: the same bits. */
static void add(const struct lafs_fold *f, int64_t n, const float *x, float *own)
{
    if (f->linked) f->b->ops->axpy(f->b->dev, n, 1, x, own);
    for (int64_t j = 0; j < n && !f->linked; j++) own[j] += x[j];
}

/* Everybody's contributions to this process's share of a round, into f->got. */
static lafs_status exchange(struct lafs_fold *f, int64_t round, const float *part, int has_part, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    const size_t each = (size_t)f->share * sizeof(float);
    int64_t to, from = round_of(f, round, &to);
    const int full = to - from == lafs_comm_size(f->comm) * f->share;
    if (f->linked) {
        if (full) return lafs_comm_link_exchange(f->comm, part + from, f->got, each, err);
        b->ops->copy(b->dev, f->send, part + from, (size_t)(to - from) * sizeof(float));
        return lafs_comm_link_exchange(f->comm, f->send, f->got, each, err);
    }
    if (has_part) b->ops->download(b->dev, f->send, part + from, (size_t)(to - from) * sizeof(float));
    LAFS_TRY(lafs_comm_alone(f->comm, b->ops->sync(b->dev, err)));
    return lafs_comm_exchange(f->comm, f->send, f->got, each, err);
}

lafs_status lafs_fold_add(struct lafs_fold *f, float *sum, const float *part, int active, struct lafs_err *err)
{
    if (lafs_comm_size(f->comm) == 1) return add_alone(f, sum, part);
    for (int64_t i = 0; i < f->rounds; i++) {
        int64_t first, n = own_of(f, i, &first);
        float *own = f->own + i * f->share;
        LAFS_TRY(exchange(f, i, part, lafs_comm_rank(f->comm) < active, err));
        for (int r = 0; r < active && n > 0; r++) {
            decay(f, first, n, own);
            add(f, n, f->got + r * f->share, own);
        }
    }
    return LAFS_OK;
}

/* The sums of a round, everywhere. */
static lafs_status collect(struct lafs_fold *f, int64_t round, float *sum, struct lafs_err *err)
{
    const struct lafs_backend *b = f->b;
    const size_t each = (size_t)f->share * sizeof(float);
    int64_t to, from = round_of(f, round, &to);
    float *mine = f->got + lafs_comm_rank(f->comm) * f->share;
    if (f->linked) {
        b->ops->copy(b->dev, mine, f->own + round * f->share, each);
        LAFS_TRY(lafs_comm_link_gather(f->comm, f->got, each, err));
        b->ops->copy(b->dev, sum + from, f->got, (size_t)(to - from) * sizeof(float));
        return LAFS_OK;
    }
    memcpy(mine, f->own + round * f->share, each);
    LAFS_TRY(lafs_comm_gather(f->comm, f->got, each, err));
    b->ops->upload(b->dev, sum + from, f->got, (size_t)(to - from) * sizeof(float));
    return lafs_comm_alone(f->comm, b->ops->sync(b->dev, err)); /* got is used again */
}

lafs_status lafs_fold_end(struct lafs_fold *f, float *sum, struct lafs_err *err)
{
    for (int64_t i = 0; i < f->rounds; i++) LAFS_TRY(collect(f, i, sum, err));
    return LAFS_OK;
}

/* FNV-1a by words of 32 bits, in four lanes, since there may be much to hash. */
static void hash_words(uint64_t lane[4], const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, x + i, sizeof word);
        lane[i % 4] = (lane[i % 4] ^ word) * 0x100000001b3u;
    }
}

static lafs_status hash_device(const struct lafs_backend *b, const float *value, int64_t size, uint64_t lane[4],
                               struct lafs_err *err)
{
    float *host;
    for (int i = 0; i < 4; i++) lane[i] = 0xcbf29ce484222325u;
    LAFS_TRY(lafs_alloc(&host, SHARE, sizeof *host, err));
    lafs_status st = LAFS_OK;
    for (int64_t at = 0; at < size && st == LAFS_OK; at += SHARE) {
        int64_t n = size - at < SHARE ? size - at : SHARE;
        b->ops->download(b->dev, host, value + at, (size_t)n * sizeof *host);
        st = b->ops->sync(b->dev, err);
        if (st == LAFS_OK) hash_words(lane, host, n);
    }
    lafs_free(host);
    return st;
}

lafs_status lafs_fold_same(struct lafs_comm *comm, const struct lafs_backend *b, const float *value, int64_t size,
                           const char *what, struct lafs_err *err)
{
    struct { int32_t status, none; uint64_t lane[4]; } all[LAFS_COMM_MAX], *own = &all[lafs_comm_rank(comm)];
    if (lafs_comm_size(comm) == 1) return LAFS_OK;
    own->none = 0;
    lafs_status st = hash_device(b, value, size, own->lane, err);
    LAFS_TRY(lafs_comm_agree_on(comm, st, all, sizeof *all, err));
    for (int i = 1; i < comm->size; i++) {
        if (!memcmp(all[i].lane, all[0].lane, sizeof all[0].lane)) continue;
        comm->agreed = 1;
        return lafs_fail(err, LAFS_FAILED, "the processes have drifted apart: process %d has other %s than process 0",
                         i, what);
    }
    return LAFS_OK;
}
