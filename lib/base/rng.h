/* Counter-based randomness: Philox4x32-10 (Salmon et al., SC 2011). No state is hidden: a stream
 * is named by (seed, purpose, epoch, key hash, view), so order, threads and restarts change nothing. */
#ifndef LAFS_BASE_RNG_H
#define LAFS_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a stream is drawn for. Values are part of every result: append, never renumber. */
enum lafs_purpose {
    LAFS_RNG_INIT = 1,    /* initial weights; key hash = FNV of the parameter name */
    LAFS_RNG_ORDER = 2,   /* epoch order */
    LAFS_RNG_VIEW = 3,    /* crop, flip, photometric parameters of a view */
    LAFS_RNG_PERTURB = 4, /* landmark jitter and subset */
    LAFS_RNG_DROP = 5,    /* dropout, drop-path */
    LAFS_RNG_MIXUP = 6,
    LAFS_RNG_SYNTH = 7,
    LAFS_RNG_SELECT = 8,
    LAFS_RNG_BOOTSTRAP = 9,
    LAFS_RNG_TEST = 10,
    LAFS_RNG_COMPOSE = 11 /* pictures that detectors learn from */
};

/* out = Philox4x32-10 of the 128-bit counter under the 64-bit key. */
void lafs_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4]);

/* 64-bit key of a stream: a mix (splitmix64 finaliser) of all five names. */
uint64_t lafs_rng_key(uint64_t seed, enum lafs_purpose purpose, uint64_t epoch, uint64_t key_hash, uint64_t view);

/* FNV-1a-64, the hash of keys and names (offset 0xcbf29ce484222325, prime 0x100000001b3). */
uint64_t lafs_fnv1a(const void *data, size_t size);

/* A sequential reader of one stream. */
struct lafs_rng {
    uint64_t key, block;
    uint32_t word[4];
    int used;
};

void lafs_rng_init(struct lafs_rng *r, uint64_t key);
/* Goes on behind the first 4*block words: two doubles, or one normal, are 4 of them. */
static inline void lafs_rng_seek(struct lafs_rng *r, uint64_t block)
{
    r->block = block;
    r->used = 4;
}
uint32_t lafs_rng_u32(struct lafs_rng *r);
/* Uniform in [0, 1), 53 bits. */
double lafs_rng_double(struct lafs_rng *r);
/* Uniform in [lo, hi). */
double lafs_rng_uniform(struct lafs_rng *r, double lo, double hi);
/* Uniform integer in [0, n), n >= 1, without bias. */
uint64_t lafs_rng_below(struct lafs_rng *r, uint64_t n);
/* Normal N(0, 1): Box-Muller, one value per two draws. */
double lafs_rng_normal(struct lafs_rng *r);
/* Beta(a, b), a, b > 0: by Johnk's method up to 1, which takes for ever with large ones; else of two gammas. */
double lafs_rng_beta(struct lafs_rng *r, double a, double b);

#ifdef __cplusplus
}
#endif
#endif
