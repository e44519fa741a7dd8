#include "train/fold.h"

#include <string.h>

#include "base/mem.h"

enum { SHARE = 1 << 16 /* numbers that two processes exchange at once: 256 KiB */ };

static int is_average(const struct lafs_param *p) { return !p->trainable && p->ndim > 0; } /* others are counters */

static lafs_status list_averages(struct lafs_fold *f, const struct lafs_params *ps, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc(&f->average, (size_t)ps->count + 1, sizeof *f->average, err));
    for (int i = 0; i < ps->count; i++)
        if (is_average(&ps->p[i]) && ps->p[i].off + ps->p[i].size <= f->size)
            f->average[f->averages++] = (struct lafs_fold_average){ps->p[i].off, ps->p[i].size};
    return LAFS_OK;
}

static int64_t share_of(int64_t size, int64_t ranks)
{
    return (size + ranks - 1) / ranks < SHARE ? (size + ranks - 1) / ranks : SHARE;
}

size_t lafs_fold_memory(const struct lafs_comm *comm, int64_t size)
{
    const int64_t ranks = lafs_comm_size(comm), share = share_of(size, ranks);
    return ranks == 1 ? 0 : (size_t)(2 * ranks * share + size / ranks + share) * sizeof(float);
}

lafs_status lafs_fold_init(struct lafs_fold *f, struct lafs_comm *comm, const struct lafs_backend *b, int64_t size,
                           const struct lafs_params *ps, float momentum, struct lafs_err *err)
{
    const int64_t ranks = lafs_comm_size(comm);
    *f = (struct lafs_fold){.comm = comm, .b = b, .size = size, .keep = (float)(1 - (double)momentum)};
    if (ps) LAFS_TRY(list_averages(f, ps, err));
    if (ranks == 1) return LAFS_OK;
    f->share = share_of(size, ranks);
    f->rounds = (size + ranks * f->share - 1) / (ranks * f->share);
    LAFS_TRY(lafs_alloc0(&f->send, (size_t)(ranks * f->share), sizeof(float), err));
    LAFS_TRY(lafs_alloc0(&f->got, (size_t)(ranks * f->share), sizeof(float), err));
    return lafs_alloc0(&f->own, (size_t)(f->rounds * f->share), sizeof(float), err);
}

void lafs_fold_release(struct lafs_fold *f)
{
    lafs_free(f->average);
    lafs_free(f->send);
    lafs_free(f->got);
    lafs_free(f->own);
    memset(f, 0, sizeof *f);
}

/* The numbers of a round: [from, to). */
static int64_t round_of(const struct lafs_fold *f, int64_t round, int64_t *to)
{
    const int64_t width = lafs_comm_size(f->comm) * f->share, from = round * width;
    *to = from + width < f->size ? from + width : f->size;
    return from;
}

lafs_status lafs_fold_begin(struct lafs_fold *f, const float *sum, struct lafs_err *err)
{
    const int64_t rank = lafs_comm_rank(f->comm);
    if (lafs_comm_size(f->comm) == 1) return LAFS_OK;
    for (int64_t i = 0; i < f->rounds; i++) {
        int64_t to, from = round_of(f, i, &to) + rank * f->share, n = to - from < f->share ? to - from : f->share;
        if (n > 0) f->b->ops->download(f->b->dev, f->own + i * f->share, sum + from, (size_t)n * sizeof(float));
    }
    return f->b->ops->sync(f->b->dev, err);
}

/* own (n): the numbers from `first` on. */
static void decay(const struct lafs_fold *f, int64_t first, int64_t n, float *own)
{
    for (int i = 0; i < f->averages; i++) {
        const struct lafs_fold_average *a = &f->average[i];
        int64_t from = a->off > first ? a->off : first, to = a->off + a->size;
        if (to > first + n) to = first + n;
        for (int64_t j = from; j < to; j++) own[j - first] *= f->keep;
    }
}

/* A single process: in place, on the device. */
static lafs_status add_alone(struct lafs_fold *f, float *sum, const float *part)
{
    const struct lafs_backend *b = f->b;
    for (int i = 0; i < f->averages; i++)
        b->ops->scale(b->dev, f->average[i].size, f->keep, sum + f->average[i].off);
    b->ops->axpy(b->dev, f->size, 1, part, sum);
    return LAFS_OK;
}

lafs_status lafs_fold_add(struct lafs_fold *f, float *sum, const float *part, int active, struct lafs_err *err)
{
    const int64_t ranks = lafs_comm_size(f->comm), rank = lafs_comm_rank(f->comm);
    if (ranks == 1) return add_alone(f, sum, part);
    for (int64_t i = 0; i < f->rounds; i++) {
        int64_t to, from = round_of(f, i, &to), first = from + rank * f->share;
        int64_t n = to - first < f->share ? to - first : f->share; /* may be none in the last round */
        float *own = f->own + i * f->share;
        if (rank < active)
            f->b->ops->download(f->b->dev, f->send, part + from, (size_t)(to - from) * sizeof(float));
        LAFS_TRY(f->b->ops->sync(f->b->dev, err));
        LAFS_TRY(lafs_comm_exchange(f->comm, f->send, f->got, (size_t)f->share * sizeof(float), err));
        for (int r = 0; r < active && n > 0; r++) {
            const float *x = f->got + r * f->share;
            decay(f, first, n, own);
            for (int64_t j = 0; j < n; j++) own[j] += x[j];
        }
    }
    return LAFS_OK;
}

lafs_status lafs_fold_end(struct lafs_fold *f, float *sum, struct lafs_err *err)
{
    const int64_t rank = lafs_comm_rank(f->comm);
    if (lafs_comm_size(f->comm) == 1) return LAFS_OK;
    for (int64_t i = 0; i < f->rounds; i++) {
        int64_t to, from = round_of(f, i, &to);
        memcpy(f->got + rank * f->share, f->own + i * f->share, (size_t)f->share * sizeof(float));
        LAFS_TRY(lafs_comm_gather(f->comm, f->got, (size_t)f->share * sizeof(float), err));
        f->b->ops->upload(f->b->dev, sum + from, f->got, (size_t)(to - from) * sizeof(float));
        LAFS_TRY(f->b->ops->sync(f->b->dev, err)); /* got is used again */
    }
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
