/* Loops of plain C that compilers turn into vector code, for bodies compiled through isa.h. Written so that every
 * instruction set gives the same bits: no fused operations, and sums over 16 lanes, added in one fixed order. */
#ifndef LAFS_KERNELS_CPU_VEC_H
#define LAFS_KERNELS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#include "compute/backend.h"
#include "kernels/cpu/isa.h"

/* 32 bytes: what AVX2 has. Wider ones gcc takes apart lane by lane where there is no AVX-512. */
typedef float lafs_v8 __attribute__((vector_size(32)));
typedef int32_t lafs_i8 __attribute__((vector_size(32)));
typedef float lafs_v4 __attribute__((vector_size(16)));
typedef double lafs_d4 __attribute__((vector_size(32)));

typedef int32_t lafs_i4 __attribute__((vector_size(16)));

/* -- four lanes of whatever the compiler has for them; vectors.inc -- */

LAFS_INLINE lafs_v4 lafs_load4(const float *p)
{
    lafs_v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}
LAFS_INLINE void lafs_store4(float *p, lafs_v4 v) { memcpy(p, &v, sizeof v); }
LAFS_INLINE lafs_v4 lafs_load4n(const float *p, int n)
{
    lafs_v4 v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
LAFS_INLINE void lafs_store4n(float *p, lafs_v4 v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
LAFS_INLINE lafs_v4 lafs_fma4(lafs_v4 a, lafs_v4 b, lafs_v4 c)
{
#ifdef __FP_FAST_FMAF
    for (int i = 0; i < 4; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return a * b + c;
#endif
}
LAFS_INLINE lafs_v4 lafs_max4(lafs_v4 a, lafs_v4 b)
{
    for (int i = 0; i < 4; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}
LAFS_INLINE lafs_v4 lafs_min4(lafs_v4 a, lafs_v4 b)
{
    for (int i = 0; i < 4; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}
/* to[q*stride + i] = from[i*ld + q] for 4 rows i and 4 q. */
LAFS_INLINE void lafs_turn4(const float *from, int64_t ld, float *to, int64_t stride)
{
    lafs_v4 r0 = lafs_load4(from), r1 = lafs_load4(from + ld), r2 = lafs_load4(from + 2 * ld),
            r3 = lafs_load4(from + 3 * ld);
    lafs_v4 a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    lafs_v4 c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    lafs_store4(to, __builtin_shufflevector(a, b, 0, 1, 4, 5));
    lafs_store4(to + stride, __builtin_shufflevector(a, b, 2, 3, 6, 7));
    lafs_store4(to + 2 * stride, __builtin_shufflevector(c, d, 0, 1, 4, 5));
    lafs_store4(to + 3 * stride, __builtin_shufflevector(c, d, 2, 3, 6, 7));
}
/* -1 in the first n of eight lanes, read at 8 - n. */
#if defined __x86_64__
static const int32_t lafs_lane_mask[16] __attribute__((unused)) = {-1, -1, -1, -1, -1, -1, -1, -1};
#endif

static inline int64_t lafs_min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* -- elementary functions -- */

/* exp, relative error 2e-7, for -87.3 <= x <= 88.3; cut to the value at these ends outside. NaN stays NaN.
 * 2^n (1 + r + r^2 P(r)) with x = n ln 2 + r, |r| <= ln(2)/2; P a minimax fit of degree 4. */
LAFS_INLINE float lafs_vec_exp(float x)
{
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.3f ? 88.3f : x;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, kept in the low bits */
    float z = x * 1.442695041f + magic, n = z - magic;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.3814559892e-3f;
    p = p * r + 8.3687355645e-3f;
    p = p * r + 4.1668389859e-2f;
    p = p * r + 1.6666520478e-1f;
    p = p * r + 4.9999993437e-1f;
    float e = 1 + (r + r * r * p);
    uint32_t bits;
    memcpy(&bits, &z, sizeof bits);
    bits = (bits - 0x4B400000u + 127u) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return e * scale;
}

/* The upper tail of the normal distribution at |x|, 1 - Phi(|x|), absolute error 2e-8, and *density exp(-x^2/2):
 * density * t P(t) with t = 1/(1 + 0.28 |x|), P a minimax fit weighted for x Phi(x). */
LAFS_INLINE float lafs_vec_tail(float x, float *density)
{
    float u = x < 0 ? -x : x;
    u = u < 13.0f ? u : 13.0f;
    float d = lafs_vec_exp(-0.5f * u * u), t = 1.0f / (1.0f + 0.28f * u);
    float p = -0.10655125055f;
    p = p * t + 0.39295566759f;
    p = p * t - 0.24207487775f;
    p = p * t + 0.27307299062f;
    p = p * t + 0.065802892691f;
    p = p * t + 0.11679457256f;
    *density = d;
    return d * (p * t);
}

LAFS_INLINE float lafs_vec_gelu(float x)
{
    float d, tail = lafs_vec_tail(x, &d);
    return x < 0 ? x * tail : x - x * tail;
}

/* Phi(x) + x phi(x) */
LAFS_INLINE float lafs_vec_gelu_slope(float x)
{
    float d, tail = lafs_vec_tail(x, &d);
    return (x < 0 ? tail : 1 - tail) + x * (0.3989422804f * d);
}

LAFS_INLINE float lafs_vec_sigmoid(float x) { return 1 / (1 + lafs_vec_exp(-x)); }
LAFS_INLINE float lafs_vec_relu6(float x) { return x < 0 ? 0 : x > 6 ? 6 : x; }

/* y = act(x); y may be x. One loop per activation, so that each becomes vector code. */
LAFS_INLINE void lafs_vec_act(enum lafs_act act, int64_t n, const float *x, float *y)
{
    switch (act) {
    case LAFS_ACT_NONE:
        if (y != x) memcpy(y, x, (size_t)n * sizeof *y);
        break;
    case LAFS_ACT_RELU:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
        break;
    case LAFS_ACT_GELU:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) y[i] = lafs_vec_gelu(x[i]);
        break;
    case LAFS_ACT_HSWISH:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * lafs_vec_relu6(x[i] + 3) / 6;
        break;
    case LAFS_ACT_HSIGMOID:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) y[i] = lafs_vec_relu6(x[i] + 3) / 6;
        break;
    case LAFS_ACT_SIGMOID:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) y[i] = lafs_vec_sigmoid(x[i]);
        break;
    }
}

/* dx = dy act'(pre), with the slopes at kinks that PyTorch takes; dx may be dy. */
LAFS_INLINE void lafs_vec_act_bwd(enum lafs_act act, int64_t n, const float *pre, const float *dy, float *dx)
{
    switch (act) {
    case LAFS_ACT_NONE:
        if (dx != dy) memcpy(dx, dy, (size_t)n * sizeof *dx);
        break;
    case LAFS_ACT_RELU:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) {
            float g = dy[i]; /* read always: plain vector sets have no loads under a mask */
            dx[i] = pre[i] > 0 ? g : 0;
        }
        break;
    case LAFS_ACT_GELU:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * lafs_vec_gelu_slope(pre[i]);
        break;
    case LAFS_ACT_HSWISH:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) {
            float x = pre[i];
            dx[i] = dy[i] * (lafs_vec_relu6(x + 3) / 6 + (x > -3 && x < 3 ? x / 6 : 0.0f));
        }
        break;
    case LAFS_ACT_HSIGMOID:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (pre[i] > -3 && pre[i] < 3 ? 1.0f / 6 : 0.0f);
        break;
    case LAFS_ACT_SIGMOID:
        LAFS_EACH
        for (int64_t i = 0; i < n; i++) {
            float s = lafs_vec_sigmoid(pre[i]);
            dx[i] = dy[i] * (s * (1 - s));
        }
        break;
    }
}

/* -- sums: 16 lanes, the rest of n in the first lanes, then the upper half onto the lower -- */

struct lafs_lanes { lafs_v8 lo, hi; };

LAFS_INLINE void lafs_lanes_load(const float *p, struct lafs_lanes *v)
{
    memcpy(&v->lo, p, sizeof v->lo);
    memcpy(&v->hi, p + 8, sizeof v->hi);
}
/* The n < 16 values at p, zeros behind. */
LAFS_INLINE void lafs_lanes_part(const float *p, int64_t n, struct lafs_lanes *v)
{
    float lane[16] = {0};
    for (int64_t i = 0; i < n; i++) lane[i] = p[i];
    lafs_lanes_load(lane, v);
}
LAFS_INLINE float lafs_lanes_sum(const struct lafs_lanes *v)
{
    float lane[8];
    lafs_v8 half = v->lo + v->hi;
    memcpy(lane, &half, sizeof lane);
    for (int h = 4; h > 0; h /= 2)
        for (int l = 0; l < h; l++) lane[l] += lane[l + h];
    return lane[0];
}

LAFS_INLINE float lafs_vec_sum(int64_t n, const float *x)
{
    struct lafs_lanes sum = {{0}, {0}}, v;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        lafs_lanes_load(x + i, &v);
        sum.lo += v.lo;
        sum.hi += v.hi;
    }
    if (i < n) {
        lafs_lanes_part(x + i, n - i, &v);
        sum.lo += v.lo;
        sum.hi += v.hi;
    }
    return lafs_lanes_sum(&sum);
}

/* Sum of (x - mean)^2. */
LAFS_INLINE float lafs_vec_spread(int64_t n, const float *x, float mean)
{
    struct lafs_lanes sum = {{0}, {0}}, v;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        lafs_lanes_load(x + i, &v);
        v.lo -= mean;
        v.hi -= mean;
        sum.lo += v.lo * v.lo;
        sum.hi += v.hi * v.hi;
    }
    if (i < n) {
        float rest[16] = {0};
        for (int64_t l = 0; i + l < n; l++) rest[l] = x[i + l] - mean;
        lafs_lanes_load(rest, &v);
        sum.lo += v.lo * v.lo;
        sum.hi += v.hi * v.hi;
    }
    return lafs_lanes_sum(&sum);
}

LAFS_INLINE float lafs_vec_dot(int64_t n, const float *x, const float *y)
{
    struct lafs_lanes sum = {{0}, {0}}, v, w;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        lafs_lanes_load(x + i, &v);
        lafs_lanes_load(y + i, &w);
        sum.lo += v.lo * w.lo;
        sum.hi += v.hi * w.hi;
    }
    if (i < n) {
        lafs_lanes_part(x + i, n - i, &v);
        lafs_lanes_part(y + i, n - i, &w);
        sum.lo += v.lo * w.lo;
        sum.hi += v.hi * w.hi;
    }
    return lafs_lanes_sum(&sum);
}

/* acc += x.y over 16 values */
LAFS_INLINE void lafs_vec_dot16_double(const float *x, const float *y, lafs_d4 acc[4])
{
    for (int h = 0; h < 4; h++) {
        lafs_v4 v, w;
        memcpy(&v, x + 4 * h, sizeof v);
        memcpy(&w, y + 4 * h, sizeof w);
        acc[h] += __builtin_convertvector(v, lafs_d4) * __builtin_convertvector(w, lafs_d4);
    }
}

/* x.y in double */
LAFS_INLINE double lafs_vec_dot_double(int64_t n, const float *x, const float *y)
{
    lafs_d4 acc[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lafs_vec_dot16_double(x + i, y + i, acc);
    if (i < n) {
        float v[16] = {0}, w[16] = {0};
        for (int64_t l = 0; i + l < n; l++) {
            v[l] = x[i + l];
            w[l] = y[i + l];
        }
        lafs_vec_dot16_double(v, w, acc);
    }
    acc[0] = (acc[0] + acc[2]) + (acc[1] + acc[3]);
    double lane[4];
    memcpy(lane, &acc[0], sizeof lane);
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

LAFS_INLINE float lafs_vec_max(int64_t n, const float *x)
{
    float lane[16], m = x[0];
    int64_t i = 0;
    if (n >= 16) {
        struct lafs_lanes top, v;
        lafs_lanes_load(x, &top);
        for (i = 16; i + 16 <= n; i += 16) {
            lafs_lanes_load(x + i, &v);
            lafs_i8 lo = v.lo > top.lo, hi = v.hi > top.hi;
            top.lo = (lafs_v8)((lo & (lafs_i8)v.lo) | (~lo & (lafs_i8)top.lo));
            top.hi = (lafs_v8)((hi & (lafs_i8)v.hi) | (~hi & (lafs_i8)top.hi));
        }
        memcpy(lane, &top, sizeof lane);
        m = lane[0];
        for (int l = 1; l < 16; l++) m = lane[l] > m ? lane[l] : m;
    }
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

/* -- dropout -- */

/* 16 successive Philox blocks; site, kind: words 2 and 3 of the counter. Lane e of block + b (struct lafs_drop) is
 * lane[8 b + e]. philox.c */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lanes are read as the halves of words, low half first");
union lafs_drawn {
    uint64_t word[32];
    uint16_t lane[128];
};
void lafs_cpu_philox(uint64_t key, uint64_t block, uint32_t site, uint32_t kind, uint64_t word[32]);

/* y = x dropped, for elements e0..e0+n-1 of sequence seq; y may be x. drop NULL or p = 0: a copy. */
LAFS_INLINE void lafs_vec_drop(const struct lafs_drop *drop, int64_t seq, int64_t e0, int64_t n, const float *x,
                               float *y)
{
    if (!drop || drop->p <= 0) {
        if (y != x) memcpy(y, x, (size_t)n * sizeof *y);
        return;
    }
    double p = drop->p;
    uint32_t limit = (uint32_t)(p * 65536 + 0.5);
    float scale = p < 1 ? (float)(1 / (1 - p)) : 0;
    union lafs_drawn drawn;
    for (int64_t e = e0; e < e0 + n;) {
        lafs_cpu_philox(drop->key[seq], (uint64_t)e / 8, drop->site, 0, drawn.word);
        int64_t skip = e % 8, end = lafs_min64(e0 + n, e - skip + 128), count = end - e;
        const uint16_t *lane = drawn.lane + skip;
        LAFS_EACH
        for (int64_t i = 0; i < count; i++) {
            float kept = x[e - e0 + i] * scale;
            y[e - e0 + i] = lane[i] < limit ? 0 : kept;
        }
        e = end;
    }
}

/* The factor of a drop-path: 0 or 1/(1-p). */
static inline float lafs_path_factor(const struct lafs_drop *path, int64_t seq)
{
    if (!path || path->p <= 0) return 1;
    return lafs_path_dropped(path->p, path->site, path->key[seq]) ? 0 : (float)(1 / (1 - (double)path->p));
}

/* -- rows of packed sequences -- */

/* The sequence that holds a row. */
static inline int64_t lafs_seq_of(const struct lafs_seqs *s, int64_t row)
{
    int64_t lo = 0, hi = s->n; /* off[lo] <= row < off[hi] */
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (s->off[mid] <= row) lo = mid;
        else hi = mid;
    }
    return lo;
}

#endif
