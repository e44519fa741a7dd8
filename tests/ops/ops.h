/* Helpers of op tests: the reference, the CPU backend on one and on three threads; seeded inputs; outputs with sentinels
 * around them; comparison.
 *
 *     struct ops_set o;
 *     ops_open(&o);
 *     float *x = ops_random("x", n, -1, 1), *want = ops_out(n), *got = ops_out(n), *again = ops_out(n);
 *     o.ref.ops->scale(o.ref.dev, ...); o.cpu.ops->..; o.cpu3.ops->..;
 *     ops_close_to("scale", got, want, n, 1e-6);  // of the largest value
 *     ops_same("scale on 3 threads", again, got, n);
 *     ops_free(want); ...                         // fails the test when something was written outside
 *     ops_close(&o);
 */
#ifndef LAFS_TESTS_OPS_OPS_H
#define LAFS_TESTS_OPS_OPS_H

#include "tests/test.h"

#include <stdint.h>

#include "base/pool.h"
#include "base/rng.h"
#include "compute/backend.h"

struct ops_set {
    struct lafs_pool *pool;
    struct lafs_backend ref, cpu, cpu3;
};

static inline void ops_open(struct ops_set *o)
{
    struct lafs_err err;
    if (lafs_pool_new(&o->pool, 3, &err) != LAFS_OK || lafs_backend_open(&o->ref, "ref", NULL, NULL, &err) != LAFS_OK ||
        lafs_backend_open(&o->cpu, "cpu", NULL, NULL, &err) != LAFS_OK ||
        lafs_backend_open(&o->cpu3, "cpu", o->pool, NULL, &err) != LAFS_OK)
        abort();
}

static inline void ops_close(struct ops_set *o)
{
    struct lafs_err err;
    if (o->ref.ops->sync(o->ref.dev, &err) != LAFS_OK || o->cpu.ops->sync(o->cpu.dev, &err) != LAFS_OK ||
        o->cpu3.ops->sync(o->cpu3.dev, &err) != LAFS_OK)
        FAIL_("%s", err.msg);
    lafs_backend_close(&o->ref);
    lafs_backend_close(&o->cpu);
    lafs_backend_close(&o->cpu3);
    lafs_pool_free(o->pool);
}

enum { OPS_GUARD = 64 };

/* n floats, 42 everywhere, between sentinels. */
static inline float *ops_out(int64_t n)
{
    char *p = malloc(2 * OPS_GUARD + sizeof(int64_t) + (size_t)n * sizeof(float));
    if (!p) abort();
    memset(p, 0xA5, 2 * OPS_GUARD + sizeof(int64_t) + (size_t)n * sizeof(float));
    memcpy(p, &n, sizeof n);
    float *f = (float *)(p + OPS_GUARD);
    for (int64_t i = 0; i < n; i++) f[i] = 42;
    return f;
}

static inline float *ops_random(const char *name, int64_t n, double lo, double hi)
{
    float *f = ops_out(n);
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, lafs_fnv1a(name, strlen(name)), 0));
    for (int64_t i = 0; i < n; i++) f[i] = (float)lafs_rng_uniform(&r, lo, hi);
    return f;
}

static inline float *ops_copy(const float *x, int64_t n)
{
    float *f = ops_out(n);
    memcpy(f, x, (size_t)n * sizeof *f);
    return f;
}

static inline void ops_free(float *f)
{
    unsigned char *p = (unsigned char *)f - OPS_GUARD;
    int64_t n;
    memcpy(&n, p, sizeof n);
    for (int i = (int)sizeof n; i < OPS_GUARD; i++)
        if (p[i] != 0xA5) {
            FAIL_("something was written in front of an output");
            break;
        }
    for (int i = 0; i < OPS_GUARD + (int)sizeof n; i++)
        if (p[OPS_GUARD + (size_t)n * sizeof(float) + (size_t)i] != 0xA5) {
            FAIL_("something was written behind an output");
            break;
        }
    free(p);
}

/* |got - want| <= tol * max |want|, NaN fails. */
static inline void ops_close_to(const char *what, const float *got, const float *want, int64_t n, double tol)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tol * top)) {
            FAIL_("%s: element %lld of %lld is %.9g, not %.9g; the largest is %.3g", what, (long long)i, (long long)n, got[i],
                  want[i], top);
            return;
        }
}

static inline void ops_same(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, sizeof *got)) {
            FAIL_("%s: element %lld is %.9g, not %.9g", what, (long long)i, got[i], want[i]);
            return;
        }
}

#endif
