/* Tiles of smooth noise that every photo shares: each use takes its own offset and scale. */
#ifndef LAFS_SYNTH_NOISE_H
#define LAFS_SYNTH_NOISE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { NOISE_ONE = 40, NOISE_N = 256, NOISE_MASK = NOISE_N - 1 };
struct noise {
    /* (N, N) each, in units of 1 / NOISE_ONE: small, so that they stay in the cache. Mean 0, deviation 1. */
    int8_t *soft;   /* blotches of about 8 cells */
    int8_t *fine;   /* the same of about 2 cells */
    int8_t *grain;  /* independent values */
    int8_t *strand; /* streaks along the second coordinate, 1 cell wide and about 40 long */
    int8_t *spots;  /* 0..1: freckles */
    int8_t *curls;  /* ridges that wind */
};
lafs_status lafs_synth_noise_init(struct noise *n, struct lafs_err *err);
void lafs_synth_noise_release(struct noise *n);

/* Bilinear; tiles repeat. Coordinates in cells, above -4096 and below 1e5. */
static inline float noise_at(const int8_t *tile, float u, float v)
{
    u += 4096, v += 4096; /* a multiple of N: what is cut off is rounded down */
    int iu = (int)u, iv = (int)v;
    float fu = u - (float)iu, fv = v - (float)iv;
    const int8_t *r0 = tile + (size_t)(iv & NOISE_MASK) * NOISE_N,
                *r1 = tile + (size_t)((iv + 1) & NOISE_MASK) * NOISE_N;
    int a = iu & NOISE_MASK, b = (iu + 1) & NOISE_MASK;
    float p = (float)r0[a], q = (float)r1[a], x = p + ((float)r0[b] - p) * fu, y = q + ((float)r1[b] - q) * fu;
    return (x + (y - x) * fv) * (1.0f / NOISE_ONE);
}

/* Between two cells along u, of the nearest row along v: for streaks along v. */
static inline float noise_across(const int8_t *tile, float u, float v)
{
    u += 4096, v += 4096;
    int iu = (int)u;
    const int8_t *row = tile + (size_t)((int)v & NOISE_MASK) * NOISE_N;
    float a = (float)row[iu & NOISE_MASK];
    return (a + ((float)row[(iu + 1) & NOISE_MASK] - a) * (u - (float)iu)) * (1.0f / NOISE_ONE);
}

/* The value of the nearest cell below. */
static inline float noise_near(const int8_t *tile, float u, float v)
{
    return (float)tile[(size_t)((int)(v + 4096) & NOISE_MASK) * NOISE_N + (size_t)((int)(u + 4096) & NOISE_MASK)] *
           (1.0f / NOISE_ONE);
}

#endif
