#include "compute/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { PAD = 64 / sizeof(float), ALIGNMENT = 256 };

void lafs_params_init(struct lafs_params *ps) { *ps = (struct lafs_params){0}; }

void lafs_params_release(struct lafs_params *ps, const struct lafs_backend *b)
{
    if (ps->value) b->ops->free(b->dev, ps->value);
    lafs_free(ps->p);
    lafs_params_init(ps);
}

const struct lafs_param *lafs_params_find(const struct lafs_params *ps, const char *name)
{
    uint64_t hash = lafs_fnv1a(name, strlen(name));
    for (int i = 0; i < ps->count; i++)
        if (ps->p[i].hash == hash && !strcmp(ps->p[i].name, name)) return &ps->p[i];
    return NULL;
}

/* Product of the dimensions, each >= 1, such that padded sums of bytes stay far from overflow; 0 otherwise. */
static int64_t elements(int ndim, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(n, shape[i], &n) || n > INT64_MAX / 64) return 0;
    return n;
}

lafs_status lafs_params_add(struct lafs_params *ps, const char *name, int ndim, const int64_t *shape, int trainable,
                            enum lafs_init init, float a, int depth, int *id, struct lafs_err *err)
{
    struct lafs_param p = {.ndim = ndim, .off = ps->size, .trainable = trainable, .init = init, .a = a, .depth = depth};
    if (strlen(name) >= sizeof p.name) return lafs_fail(err, LAFS_FAILED, "parameter name '%s' is too long", name);
    if (lafs_params_find(ps, name)) return lafs_fail(err, LAFS_FAILED, "parameter '%s' is declared twice", name);
    if (ndim < 0 || ndim > LAFS_MAX_DIMS)
        return lafs_fail(err, LAFS_FAILED, "parameter '%s' has %d dimensions", name, ndim);
    memcpy(p.name, name, strlen(name) + 1);
    p.hash = lafs_fnv1a(name, strlen(name));
    for (int i = 0; i < ndim; i++) p.shape[i] = shape[i];
    p.size = elements(ndim, shape);
    int64_t end;
    if (p.size == 0 || __builtin_add_overflow(ps->size, (p.size + PAD - 1) / PAD * PAD, &end) || end > INT64_MAX / 64)
        return lafs_fail(err, LAFS_FAILED, "parameter '%s' has an impossible shape", name);
    if (ps->count == ps->cap) {
        int cap = ps->cap ? 2 * ps->cap : 64;
        LAFS_TRY(lafs_resize(&ps->p, (size_t)ps->count, (size_t)cap, sizeof *ps->p, err));
        ps->cap = cap;
    }
    ps->p[ps->count] = p;
    ps->size = end;
    if (id) *id = ps->count;
    ps->count++;
    return LAFS_OK;
}

lafs_status lafs_params_place(struct lafs_params *ps, const struct lafs_backend *b, struct lafs_err *err)
{
    void *p;
    LAFS_TRY(b->ops->alloc(b->dev, &p, (size_t)ps->size * sizeof(float), err));
    ps->value = p;
    return LAFS_OK;
}

/* The next n initial values of parameter p. */
static void draw(const struct lafs_param *p, struct lafs_rng *r, float *to, int64_t n)
{
    double a = p->a;
    switch (p->init) {
    case LAFS_INIT_ZERO:
        for (int64_t i = 0; i < n; i++) to[i] = 0;
        break;
    case LAFS_INIT_ONE:
        for (int64_t i = 0; i < n; i++) to[i] = 1;
        break;
    case LAFS_INIT_UNIFORM:
        for (int64_t i = 0; i < n; i++) to[i] = (float)lafs_rng_uniform(r, -a, a);
        break;
    case LAFS_INIT_NORMAL:
        for (int64_t i = 0; i < n; i++) to[i] = (float)(a * lafs_rng_normal(r));
        break;
    }
}

enum { FILL_CHUNK = 1 << 16 };

/* buf: FILL_CHUNK floats, in use until a sync. */
static lafs_status fill_one(const struct lafs_params *ps, const struct lafs_param *p, int64_t skip, float *buf,
                            const struct lafs_backend *b, uint64_t seed, struct lafs_err *err)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_INIT, 0, lafs_fnv1a(p->name, strlen(p->name)), 0));
    for (; skip > 0; skip -= FILL_CHUNK) draw(p, &r, buf, skip < FILL_CHUNK ? skip : FILL_CHUNK);
    for (int64_t at = 0; at < p->size; at += FILL_CHUNK) {
        int64_t n = p->size - at < FILL_CHUNK ? p->size - at : FILL_CHUNK;
        draw(p, &r, buf, n);
        b->ops->upload(b->dev, ps->value + p->off + at, buf, (size_t)n * sizeof *buf);
        LAFS_TRY(b->ops->sync(b->dev, err)); /* the upload may still be reading buf */
    }
    return LAFS_OK;
}

lafs_status lafs_params_fill(struct lafs_params *ps, const struct lafs_backend *b, uint64_t seed, struct lafs_err *err)
{
    float *buf;
    lafs_status st = LAFS_OK;
    LAFS_TRY(lafs_alloc(&buf, FILL_CHUNK, sizeof *buf, err));
    for (int i = 0; i < ps->count && st == LAFS_OK; i++) st = fill_one(ps, &ps->p[i], 0, buf, b, seed, err);
    lafs_free(buf);
    return st;
}

lafs_status lafs_params_fill_part(struct lafs_params *ps, int id, int64_t skip, const struct lafs_backend *b,
                                  uint64_t seed, struct lafs_err *err)
{
    float *buf;
    LAFS_TRY(lafs_alloc(&buf, FILL_CHUNK, sizeof *buf, err));
    lafs_status st = fill_one(ps, &ps->p[id], skip, buf, b, seed, err);
    lafs_free(buf);
    return st;
}

void lafs_params_copy_buffers(const struct lafs_params *ps, const struct lafs_backend *b, const float *from, float *to)
{
    for (int i = 0, next; i < ps->count; i = next) {
        const int64_t off = ps->p[i].off;
        for (next = i; next < ps->count && !ps->p[next].trainable; next++)
            ;
        const int64_t end = next < ps->count ? ps->p[next].off : ps->size;
        if (next > i) b->ops->copy(b->dev, to + off, from + off, (size_t)(end - off) * sizeof(float));
        else next++;
    }
}

void *lafs_arena_take(struct lafs_arena *a, size_t count, size_t item)
{
    size_t bytes, end;
    /* An impossible size sticks at SIZE_MAX, so that lafs_arena_reserve refuses it. */
    if (!lafs_mul_ok(count, item, &bytes) || !lafs_add_ok(bytes, ALIGNMENT - 1, &bytes) ||
        !lafs_add_ok(a->used, bytes / ALIGNMENT * ALIGNMENT, &end)) {
        a->used = SIZE_MAX;
        return NULL;
    }
    size_t at = a->used;
    if (a->base && end > a->size) return NULL;
    a->used = end;
    return a->base ? a->base + at : NULL;
}

lafs_status lafs_arena_reserve(struct lafs_arena *a, const struct lafs_backend *b, struct lafs_err *err)
{
    void *p;
    LAFS_TRY(b->ops->alloc(b->dev, &p, a->used, err));
    a->base = p;
    a->size = a->used;
    a->used = 0;
    return LAFS_OK;
}

void lafs_arena_release(struct lafs_arena *a, const struct lafs_backend *b)
{
    if (a->base) b->ops->free(b->dev, a->base);
    *a = (struct lafs_arena){0};
}
