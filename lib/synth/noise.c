#include "synth/noise.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { CELLS = NOISE_N * NOISE_N };

/* Gaussian-like smoothing by three box passes of the given radius along one axis, wrapping round. */
static void smooth(float *tile, float *scratch, int radius, int step, int across)
{
    for (int pass = 0; pass < 3 && radius > 0; pass++) {
        for (int l = 0; l < NOISE_N; l++) {
            float *row = tile + (size_t)l * (size_t)across, sum = 0;
            for (int i = -radius; i <= radius; i++) sum += row[(size_t)(i & NOISE_MASK) * (size_t)step];
            for (int i = 0; i < NOISE_N; i++) {
                scratch[i] = sum;
                sum += row[(size_t)((i + radius + 1) & NOISE_MASK) * (size_t)step] -
                       row[(size_t)((i - radius) & NOISE_MASK) * (size_t)step];
            }
            for (int i = 0; i < NOISE_N; i++) row[(size_t)i * (size_t)step] = scratch[i];
        }
    }
}

static void normalise(float *tile)
{
    double sum = 0, sq = 0;
    for (int i = 0; i < CELLS; i++) sum += tile[i], sq += (double)tile[i] * tile[i];
    double mean = sum / CELLS, dev = sqrt(sq / CELLS - mean * mean);
    for (int i = 0; i < CELLS; i++) tile[i] = (float)((tile[i] - mean) / (dev + 1e-9));
}

static void white(float *tile, uint64_t which)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(0, LAFS_RNG_SYNTH, 99, which, 0));
    for (int i = 0; i < CELLS; i++) {
        float s = 0; /* nearly normal, in four draws */
        for (int k = 0; k < 4; k++) s += (float)(lafs_rng_u32(&r) >> 8) * 0x1p-24f;
        tile[i] = (s - 2) * 1.7320508f;
    }
}

static void make(float *tile, float *scratch, uint64_t which, int ru, int rv)
{
    white(tile, which);
    smooth(tile, scratch, ru, 1, NOISE_N);
    smooth(tile, scratch, rv, NOISE_N, 1);
    normalise(tile);
}

static void make_spots(float *tile)
{
    memset(tile, 0, CELLS * sizeof *tile);
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(0, LAFS_RNG_SYNTH, 99, 77, 0));
    for (int k = 0; k < 900; k++) {
        float cx = (float)lafs_rng_uniform(&r, 0, NOISE_N), cy = (float)lafs_rng_uniform(&r, 0, NOISE_N);
        float rad = (float)lafs_rng_uniform(&r, 0.8, 2.0), dark = (float)lafs_rng_uniform(&r, 0.3, 1);
        for (int dy = -4; dy <= 4; dy++)
            for (int dx = -4; dx <= 4; dx++) {
                int x = (int)cx + dx, y = (int)cy + dy;
                float ex = ((float)x - cx) / rad, ey = ((float)y - cy) / rad;
                float v = dark * expf(-(ex * ex + ey * ey));
                float *c = &tile[(y & NOISE_MASK) * NOISE_N + (x & NOISE_MASK)];
                if (v > *c) *c = v;
            }
    }
}

static void keep(const float *work, int8_t *tile)
{
    for (int i = 0; i < CELLS; i++) tile[i] = (int8_t)lrintf(fmaxf(-127, fminf(127, work[i] * NOISE_ONE)));
}

lafs_status lafs_synth_noise_init(struct noise *n, struct lafs_err *err)
{
    *n = (struct noise){0};
    int8_t **tile[] = {&n->soft, &n->fine, &n->grain, &n->strand, &n->spots, &n->curls};
    for (size_t i = 0; i < sizeof tile / sizeof *tile; i++) LAFS_TRY(lafs_alloc(tile[i], CELLS, 1, err));
    float *work, scratch[NOISE_N];
    LAFS_TRY(lafs_alloc(&work, CELLS, sizeof *work, err));
    make(work, scratch, 1, 4, 4);
    keep(work, n->soft);
    make(work, scratch, 2, 1, 1);
    keep(work, n->fine);
    make(work, scratch, 3, 0, 0);
    keep(work, n->grain);
    make(work, scratch, 4, 0, 14);
    keep(work, n->strand);
    make(work, scratch, 5, 2, 2);
    for (int i = 0; i < CELLS; i++) work[i] = 1 - 2 * fminf(1, fabsf(work[i]));
    normalise(work);
    keep(work, n->curls);
    make_spots(work);
    keep(work, n->spots);
    lafs_free(work);
    return LAFS_OK;
}

void lafs_synth_noise_release(struct noise *n)
{
    int8_t *tile[] = {n->soft, n->fine, n->grain, n->strand, n->spots, n->curls};
    for (size_t i = 0; i < sizeof tile / sizeof *tile; i++) lafs_free(tile[i]);
    *n = (struct noise){0};
}
