/* Tiles of smooth noise that every photo shares: each use takes its own offset and scale. */
#ifndef LAFS_SYNTH_NOISE_H
#define LAFS_SYNTH_NOISE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { NOISE_N = 256, NOISE_MASK = NOISE_N - 1 };
struct noise {
    float *soft;    /* (N, N) blotches of about 8 cells, mean 0, deviation 1 */
    float *fine;    /* the same of about 2 cells */
    float *grain;   /* independent values, mean 0, deviation 1 */
    float *strand;  /* streaks along the second coordinate, about 1.5 cells wide and 40 long */
    float *spots;   /* 0..1: freckles */
    float *curls;   /* ridges that wind */
};
lafs_status noise_init(struct noise *n, struct lafs_err *err);
void noise_release(struct noise *n);

/* Bilinear; tiles repeat. Coordinates in cells, |u|, |v| < 1e6. */
static inline float noise_at(const float *tile, float u, float v)
{
    int iu = (int)u, iv = (int)v;
    iu -= u < (float)iu, iv -= v < (float)iv;
    float fu = u - (float)iu, fv = v - (float)iv;
    const float *r0 = tile + (size_t)(iv & NOISE_MASK) * NOISE_N,
                *r1 = tile + (size_t)((iv + 1) & NOISE_MASK) * NOISE_N;
    int a = iu & NOISE_MASK, b = (iu + 1) & NOISE_MASK;
    float x = r0[a] + (r0[b] - r0[a]) * fu, y = r1[a] + (r1[b] - r1[a]) * fu;
    return x + (y - x) * fv;
}

/* The value of the nearest cell below. */
static inline float noise_near(const float *tile, float u, float v)
{
    return tile[(size_t)((int)v & NOISE_MASK) * NOISE_N + (size_t)((int)u & NOISE_MASK)];
}

#endif
