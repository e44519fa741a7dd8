/* Helpers of golden tests: inputs and weights made by the rule of tests/golden/data/README.md, and comparison with
 * the stored tensors.
 *
 *     struct lafs_st *g = golden_open("patch");                 // NULL (and the test failed) when it is not there
 *     float *image = golden_new("patch.image", 2 * 3 * 112 * 112, -1, 1);
 *     golden_nchw_to_nhwc(image, 2, 3, 112, 112);               // ours are channels last
 *     ...
 *     golden_check(g, "d_landmarks", dl, 2 * 196 * 2, 1e-3);    // relative to the tensor's largest value
 *     free(image);
 *     lafs_st_close(g);
 *
 * Run from the project's root, or with LAFS_GOLDEN naming the folder. */
#ifndef LAFS_TESTS_GOLDEN_H
#define LAFS_TESTS_GOLDEN_H

#include "tests/test.h"

#include <stdint.h>

#include "base/rng.h"
#include "compute/backend.h"
#include "compute/tensor.h"
#include "format/safetensors.h"

static inline void *golden_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) abort();
    return p;
}

/* out[0..count) = fill(name, .., lo, hi) of the README; only the product of the shape matters. */
static inline void golden_fill(const char *name, int64_t count, double lo, double hi, float *out)
{
    uint64_t h = lafs_fnv1a(name, strlen(name));
    for (int64_t i = 0; i < count; i++) {
        uint64_t z = h + ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        out[i] = (float)(lo + (hi - lo) * ((double)(z >> 40) * 0x1p-24));
    }
}

/* The same into fresh memory (free it). */
static inline float *golden_new(const char *name, int64_t count, double lo, double hi)
{
    float *p = golden_alloc((size_t)count, sizeof *p);
    golden_fill(name, count, lo, hi, p);
    return p;
}

static inline int golden_ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* The value of a parameter by its name and shape. A leading "backbone." is not part of the hashed name. */
static inline void golden_weight(const char *name, const int64_t *shape, int ndim, float *out)
{
    if (!strncmp(name, "backbone.", 9)) name += 9;
    int64_t count = 1, fan_in = 1;
    for (int i = 0; i < ndim; i++) count *= shape[i];
    for (int i = 1; i < ndim; i++) fan_in *= shape[i];
    double lo, hi;
    if (golden_ends(name, "running_mean")) lo = -0.1, hi = 0.1;
    else if (golden_ends(name, "running_var")) lo = 0.5, hi = 1.5;
    else if (golden_ends(name, "weight_g")) lo = hi = 1;
    else if (golden_ends(name, "pos_embedding") || golden_ends(name, "cls_token")) lo = -0.5, hi = 0.5;
    else if (golden_ends(name, "bias")) lo = -0.1, hi = 0.1;
    else if (ndim == 1) lo = 0.8, hi = 1.2;
    else hi = sqrt(3.0 / (double)fan_in), lo = -hi;
    golden_fill(name, count, lo, hi, out);
}

/* All parameters of a model, by golden_weight of prefix + name. */
static inline void golden_params(const struct lafs_params *ps, const struct lafs_backend *b, const char *prefix)
{
    for (int i = 0; i < ps->count; i++) {
        const struct lafs_param *p = &ps->p[i];
        char name[2 * LAFS_MAX_TENSOR_NAME];
        snprintf(name, sizeof name, "%s%s", prefix, p->name);
        float *v = golden_alloc((size_t)p->size, sizeof *v);
        golden_weight(name, p->shape, p->ndim, v);
        b->ops->upload(b->dev, lafs_params_at(ps, i), v, (size_t)p->size * sizeof *v);
        free(v);
    }
}

/* In place: (n, c, h, w) -> (n, h, w, c), and back. */
static inline void golden_nchw_to_nhwc(float *x, int64_t n, int64_t c, int64_t h, int64_t w)
{
    float *t = golden_alloc((size_t)(n * c * h * w), sizeof *t);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++)
            for (int64_t p = 0; p < h * w; p++) t[(i * h * w + p) * c + k] = x[(i * c + k) * h * w + p];
    memcpy(x, t, (size_t)(n * c * h * w) * sizeof *t);
    free(t);
}
static inline void golden_nhwc_to_nchw(float *x, int64_t n, int64_t c, int64_t h, int64_t w)
{
    golden_nchw_to_nhwc(x, n, h * w, c, 1);
}

static inline struct lafs_st *golden_open_path(const char *path)
{
    struct lafs_st *st = NULL;
    struct lafs_err err;
    if (lafs_st_open(&st, path, &err) != LAFS_OK) FAIL_("%s", err.msg);
    return st;
}

/* tests/golden/data/FILE.safetensors; NULL, with the test failed, when it cannot be read. */
static inline struct lafs_st *golden_open(const char *file)
{
    const char *dir = getenv("LAFS_GOLDEN");
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.safetensors", dir ? dir : "tests/golden/data", file);
    return golden_open_path(path);
}

/* The stored tensor as doubles (free them); NULL, with the test failed, when it is not there. */
static inline double *golden_values(const struct lafs_st *g, const char *name, int64_t *count)
{
    const struct lafs_st_tensor *t = lafs_st_find(g, name);
    if (!t) {
        FAIL_("the golden file has no tensor '%s'", name);
        return NULL;
    }
    double *v = golden_alloc((size_t)t->count, sizeof *v);
    *count = t->count;
    if (t->dtype == LAFS_F64) {
        memcpy(v, t->data, (size_t)t->count * sizeof *v);
        return v;
    }
    float *f = golden_alloc((size_t)t->count, sizeof *f);
    struct lafs_err err;
    if (lafs_st_read_f32(g, name, t->shape, t->ndim, f, &err) != LAFS_OK) FAIL_("%s", err.msg);
    for (int64_t i = 0; i < t->count; i++) v[i] = f[i];
    free(f);
    return v;
}

/* |got - want| <= tol * max |want| everywhere; otherwise fails the test and prints the worst element. Returns the
 * worst difference in units of max |want|. */
static inline double golden_compare_f64(const char *what, const double *got, const double *want, int64_t n, double tol)
{
    double top = 0, worst = -1;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) top = fabs(want[i]) > top ? fabs(want[i]) : top;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(got[i] - want[i]);
        if (!(d <= worst)) { /* NaN counts as worst, and stays it */
            worst = d;
            at = i;
            if (d != d) break;
        }
    }
    double rel = n == 0 ? 0 : worst == 0 ? 0 : top > 0 ? worst / top : INFINITY;
    if (!(rel <= tol))
        FAIL_("%s: element %lld of %lld is %.9g, not %.9g: off by %.3g of the largest value %.6g (allowed %.3g)", what,
              (long long)at, (long long)n, got[at], want[at], rel, top, tol);
    return rel;
}

static inline double golden_compare(const char *what, const float *got, const float *want, int64_t n, double tol)
{
    double *a = golden_alloc((size_t)n, sizeof *a), *b = golden_alloc((size_t)n, sizeof *b);
    for (int64_t i = 0; i < n; i++) a[i] = got[i], b[i] = want[i];
    double rel = golden_compare_f64(what, a, b, n, tol);
    free(a);
    free(b);
    return rel;
}

/* The same against the golden file's tensor `name`, which must have n elements. */
static inline double golden_check_f64(const struct lafs_st *g, const char *name, const double *got, int64_t n, double tol)
{
    int64_t count = 0;
    double rel = INFINITY, *want = golden_values(g, name, &count);
    if (want && count != n) FAIL_("'%s' has %lld elements, not %lld", name, (long long)count, (long long)n);
    else if (want) rel = golden_compare_f64(name, got, want, n, tol);
    free(want);
    return rel;
}
static inline double golden_check(const struct lafs_st *g, const char *name, const float *got, int64_t n, double tol)
{
    double *v = golden_alloc((size_t)n, sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = got[i];
    double rel = golden_check_f64(g, name, v, n, tol);
    free(v);
    return rel;
}
/* One number against one element of a stored tensor (losses, norms), relative to that element. */
static inline void golden_check_at(const struct lafs_st *g, const char *name, int64_t i, double got, double tol)
{
    int64_t count = 0;
    double *want = golden_values(g, name, &count);
    char what[512];
    snprintf(what, sizeof what, "%s[%lld]", name, (long long)i);
    if (want && i >= count) FAIL_("'%s' has %lld elements only", name, (long long)count);
    else if (want) golden_compare_f64(what, &got, want + i, 1, tol);
    free(want);
}

#endif
