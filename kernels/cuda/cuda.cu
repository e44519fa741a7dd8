/* The device, the table, and the plugin's entry. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dev.cuh"

void dev_failed(struct lafs_dev *d, const char *what, const char *why)
{
    if (d->err.status == LAFS_OK) lafs_fail(&d->err, LAFS_FAILED, "cuda: %s: %s", what, why);
}

/* -- plans: what calls would take, counted -- */

struct plan {
    struct piece {
        void *p;
        size_t size;
    } *piece;          /* (pieces) what is taken now */
    int pieces, room;
    char *next;        /* the next address that is given out; nobody may touch it */
    size_t now, most;  /* bytes taken by alloc; at the worst moment */
};

/* Bytes that a piece of memory costs, at most. */
static size_t cost_of(size_t size)
{
    size_t bytes;
    return lafs_add_ok(size, MEMORY_BLOCK - 1, &bytes) ? bytes / MEMORY_BLOCK * MEMORY_BLOCK : SIZE_MAX;
}

static const size_t MOST_PLANNED = (size_t)1 << 60;

static lafs_status plan_alloc(struct plan *p, void **out, size_t size, struct lafs_err *err)
{
    const size_t cost = cost_of(size ? size : 1);
    size_t now;
    *out = NULL;
    if (cost > MOST_PLANNED || !lafs_add_ok(p->now, cost, &now) || now > MOST_PLANNED) {
        p->most = SIZE_MAX;
        return lafs_fail(err, LAFS_FAILED, "more memory than there can be");
    }
    if (p->pieces == p->room) {
        const int room = p->room ? 2 * p->room : 64;
        LAFS_TRY(lafs_resize(&p->piece, (size_t)p->pieces, (size_t)room, sizeof *p->piece, err));
        p->room = room;
    }
    p->piece[p->pieces++] = {p->next, cost};
    *out = p->next;
    p->next += cost;
    p->now = now;
    if (now > p->most) p->most = now;
    return LAFS_OK;
}
static void plan_free(struct plan *p, void *at)
{
    for (int i = 0; i < p->pieces; i++) {
        if (p->piece[i].p != at) continue;
        p->now -= p->piece[i].size;
        p->piece[i] = p->piece[--p->pieces];
        return;
    }
}

static lafs_status make_plan(struct lafs_dev **out, struct lafs_dev *d, struct lafs_err *err)
{
    static const uintptr_t FIRST = (uintptr_t)1 << 56; /* above all that a process or a GPU has */
    struct lafs_dev *p;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    if (lafs_alloc0(&p->plan, 1, sizeof *p->plan, err) != LAFS_OK) {
        lafs_free(p);
        return LAFS_FAILED;
    }
    p->number = d->number;
    p->most_shared = d->most_shared;
    p->processors = d->processors;
    memcpy(p->text, d->text, sizeof p->text);
    p->plan->next = (char *)FIRST;
    *out = p;
    return LAFS_OK;
}

static size_t planned(const struct lafs_dev *d)
{
    size_t sum = d->plan->most;
    for (int i = 0; i < SCRATCH_KINDS; i++)
        if (d->scratch[i].size && !lafs_add_ok(sum, cost_of(d->scratch[i].size), &sum)) return SIZE_MAX;
    return sum;
}

/* -- memory that ops need for themselves -- */

/* Makes it `size` bytes; what was in it is gone. */
static lafs_status resize_scratch(struct lafs_dev *d, enum scratch kind, size_t size, struct lafs_err *err)
{
    static char nowhere;
    if (d->plan) {
        d->scratch[kind] = {&nowhere, size};
        return LAFS_OK;
    }
    runtime_wait(d); /* what is queued may still use it */
    d->moves++;
    runtime_free(d, d->scratch[kind].p);
    d->scratch[kind] = {NULL, 0};
    LAFS_TRY(runtime_alloc(d, &d->scratch[kind].p, size, err));
    d->scratch[kind].size = size;
    return LAFS_OK;
}

void *dev_scratch(struct lafs_dev *d, enum scratch kind, size_t size)
{
    struct lafs_err err = {LAFS_OK, {0}};
    if (d->scratch[kind].size >= size && d->scratch[kind].p) return d->scratch[kind].p;
    if (d->recording) { /* nothing is taken meanwhile: the op is not recorded, and so all are to be done */
        d->recording->failed = 1;
        return NULL;
    }
    /* A plan has what is wanted; elsewhere some more, since the next one may want some more. */
    if (resize_scratch(d, kind, d->plan ? size : size + size / 8 + 1, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        return NULL;
    }
    return d->scratch[kind].p;
}

/* What ops hold is given back before they take more. */
static lafs_status memory_left(struct lafs_dev *d, size_t *available, size_t *all, struct lafs_err *err)
{
    LAFS_TRY(runtime_memory(d, available, all, err));
    for (int i = 0; i < SCRATCH_KINDS; i++) *available += cost_of(d->scratch[i].size);
    return LAFS_OK;
}

static lafs_status reserve(struct lafs_dev *d, const struct lafs_dev *plan, struct lafs_err *err)
{
    for (int i = 0; i < SCRATCH_KINDS; i++)
        if (plan->scratch[i].size > d->scratch[i].size)
            LAFS_TRY(resize_scratch(d, (enum scratch)i, plan->scratch[i].size, err));
    return LAFS_OK;
}

/* -- copies -- */

/* An upload that is recorded: from memory of the recording's own. */
static void keep_upload(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    struct lafs_recording *r = d->recording;
    if (size > KEPT_UPLOADS - r->used) {
        r->failed = 1;
        return;
    }
    memcpy(r->kept + r->used, from, size);
    if (size) runtime_send(d, to, r->kept + r->used, size);
    r->used += (size + 255) / 256 * 256; /* KEPT_UPLOADS is a multiple */
}

void dev_upload(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    if (d->plan) return;
    if (d->recording) {
        keep_upload(d, to, from, size);
        return;
    }
    while (size) {
        if (d->stage.used == STAGE_SIZE) {
            runtime_mark(d, d->stage.now);
            d->stage.now = (d->stage.now + 1) % STAGES;
            d->stage.used = 0;
            runtime_await(d, d->stage.now);
        }
        char *at = d->stage.p + (size_t)d->stage.now * STAGE_SIZE + d->stage.used;
        const size_t free = STAGE_SIZE - d->stage.used, n = size < free ? size : free, next = (n + 255) / 256 * 256;
        memcpy(at, from, n);
        runtime_send(d, to, at, n);
        d->stage.used += next;
        to = (char *)to + n, from = (const char *)from + n, size -= n;
    }
}
void dev_download(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    if (d->plan) memset(to, 0, size);
    else runtime_download(d, to, from, size);
}
void dev_copy(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    if (!d->plan) runtime_copy(d, to, from, size);
}
void dev_zero(struct lafs_dev *d, void *p, size_t size)
{
    if (!d->plan) runtime_zero(d, p, size);
}

void *dev_scratch_from(struct lafs_dev *d, enum scratch kind, const void *host, size_t size)
{
    void *p = dev_scratch(d, kind, size);
    if (p) dev_upload(d, p, host, size);
    return p;
}

/* -- recordings -- */

static void forget(struct lafs_dev *d, struct lafs_recording *r)
{
    if (!r) return;
    runtime_wait(d);
    runtime_forget(d, r);
    lafs_free(r);
}

static int record(struct lafs_dev *d)
{
    const char *wanted = getenv("LAFS_CUDA_GRAPHS");
    struct lafs_recording *r;
    if (d->plan || d->recording || d->err.status != LAFS_OK || (wanted && !strcmp(wanted, "no"))) return 0;
    if (lafs_alloc0(&r, 1, sizeof *r, NULL) != LAFS_OK) return 0;
    if (!runtime_record(d, r)) {
        forget(d, r);
        return 0;
    }
    d->recording = r;
    return 1;
}

static struct lafs_recording *recorded(struct lafs_dev *d)
{
    struct lafs_recording *r = d->recording;
    d->recording = NULL;
    const int ok = runtime_recorded(d, r) && !r->failed && d->err.status == LAFS_OK;
    r->moves = d->moves;
    if (ok) return r;
    d->err.status = LAFS_OK; /* as it was: who does the work now will see what is wrong */
    forget(d, r);
    return NULL;
}

static int replay(struct lafs_dev *d, struct lafs_recording *r)
{
    if (r->moves != d->moves) return 0;
    runtime_replay(d, r);
    return 1;
}

static void close_device(struct lafs_dev *d)
{
    if (!d) return;
    if (d->plan) {
        lafs_free(d->plan->piece);
        lafs_free(d->plan);
        lafs_free(d);
        return;
    }
    link_close(d);
    for (int i = 0; i < SCRATCH_KINDS; i++) runtime_free(d, d->scratch[i].p);
    product_close(d);
    runtime_close(d);
    lafs_free(d);
}

static lafs_status open_device(struct lafs_dev **out, const char *arg, struct lafs_pool *pool, struct lafs_err *err)
{
    (void)pool;
    struct lafs_dev *d;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&d, 1, sizeof *d, err));
    lafs_status st = runtime_open(d, arg, err);
    if (st == LAFS_OK) st = product_open(d, err);
    if (st != LAFS_OK) {
        close_device(d);
        return st;
    }
    *out = d;
    return LAFS_OK;
}

static const char *describe(struct lafs_dev *d) { return d->text; }

/* Zeros when it returns, also for the work of another handle of the same GPU, whose stream knows nothing of ours. */
static lafs_status alloc_zeroed(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    if (d->plan) return plan_alloc(d->plan, out, size, err);
    LAFS_TRY(runtime_alloc(d, out, size, err));
    runtime_zero(d, *out, size);
    runtime_wait(d);
    return LAFS_OK;
}

static void free_memory(struct lafs_dev *d, void *p)
{
    if (d->plan) plan_free(d->plan, p);
    else runtime_free(d, p);
}

static lafs_status wait_for_all(struct lafs_dev *d, struct lafs_err *err)
{
    if (!d->plan) runtime_wait(d);
    if (d->err.status != LAFS_OK && err) *err = d->err;
    return d->err.status;
}

static void fill(struct lafs_ops *ops)
{
    static struct lafs_bf16_ops bf16;
    ops->version = LAFS_BACKEND_VERSION;
    ops->name = "cuda";
    ops->open = open_device;
    ops->close = close_device;
    ops->describe = describe;
    ops->alloc = alloc_zeroed;
    ops->free = free_memory;
    ops->upload = dev_upload;
    ops->download = dev_download;
    ops->copy = dev_copy;
    ops->zero = dev_zero;
    ops->sync = wait_for_all;
    ops->memory = memory_left;
    ops->plan = make_plan;
    ops->planned = planned;
    ops->reserve = reserve;
    ops->record = record;
    ops->recorded = recorded;
    ops->replay = replay;
    ops->forget = forget;
    ops_elementwise(ops, &bf16);
    ops_linear(ops, &bf16);
    ops_transformer(ops, &bf16);
    ops_attention(ops, &bf16);
    ops_conv(ops);
    ops_norm2d(ops);
    ops_patch(ops);
    ops_loss(ops);
    ops_optim(ops);
    ops_render(ops);
    ops_scan(ops);
    ops_link(ops);
    ops->bf16 = &bf16;
}

extern "C" __attribute__((visibility("default"))) const struct lafs_ops *lafs_plugin_ops(void)
{
    static struct lafs_ops ops;
    if (!ops.version) fill(&ops);
    return &ops;
}
