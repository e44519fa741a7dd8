#include "base/rng.h"

#include <math.h>

void lafs_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t lafs_rng_key(uint64_t seed, enum lafs_purpose purpose, uint64_t epoch, uint64_t key_hash, uint64_t view)
{
    const uint64_t part[5] = {seed, (uint64_t)purpose, epoch, key_hash, view};
    uint64_t h = 0x6C61667372616E64u;
    for (int i = 0; i < 5; i++) h = mix(h + 0x9E3779B97F4A7C15u + part[i]);
    return h;
}

uint64_t lafs_fnv1a(const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

void lafs_rng_init(struct lafs_rng *r, uint64_t key)
{
    r->key = key;
    r->block = 0;
    r->used = 4;
}

uint32_t lafs_rng_u32(struct lafs_rng *r)
{
    if (r->used == 4) {
        uint32_t c[4] = {(uint32_t)r->block, (uint32_t)(r->block >> 32), 0, 0};
        lafs_philox(r->key, c, r->word);
        r->block++;
        r->used = 0;
    }
    return r->word[r->used++];
}

double lafs_rng_double(struct lafs_rng *r)
{
    uint64_t hi = lafs_rng_u32(r) >> 5, lo = lafs_rng_u32(r) >> 6;
    return (double)((hi << 26) | lo) * 0x1p-53;
}

double lafs_rng_uniform(struct lafs_rng *r, double lo, double hi) { return lo + (hi - lo) * lafs_rng_double(r); }

uint64_t lafs_rng_below(struct lafs_rng *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    for (;;) {
        uint64_t v = (uint64_t)lafs_rng_u32(r) << 32;
        v |= lafs_rng_u32(r);
        if (v < limit) return v % n;
    }
}

double lafs_rng_normal(struct lafs_rng *r)
{
    double u = 1.0 - lafs_rng_double(r), v = lafs_rng_double(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

/* Gamma(a) by Marsaglia and Tsang's method; from Gamma(a + 1) where a < 1. */
static double gamma_of(struct lafs_rng *r, double a)
{
    const double d = (a < 1 ? a + 1 : a) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = lafs_rng_normal(r), t = 1 + c * x, v = t * t * t;
        if (t <= 0) continue;
        if (log(1.0 - lafs_rng_double(r)) >= 0.5 * x * x + d - d * v + d * log(v)) continue;
        return a < 1 ? d * v * pow(1.0 - lafs_rng_double(r), 1 / a) : d * v;
    }
}

double lafs_rng_beta(struct lafs_rng *r, double a, double b)
{
    if (a > 1 || b > 1) {
        double x = gamma_of(r, a), y = gamma_of(r, b);
        return x / (x + y);
    }
    for (;;) {
        /* In logarithms, since U^(1/0.2) underflows often. */
        double x = log(1.0 - lafs_rng_double(r)) / a, y = log(1.0 - lafs_rng_double(r)) / b;
        double m = x > y ? x : y;
        double ls = m + log(exp(x - m) + exp(y - m));
        if (ls <= 0) return exp(x - ls);
    }
}
