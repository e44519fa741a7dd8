#include "model/baseline.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum {
    MIN_SIZE = 16,
    MAX_SIZE = 1024,
    GRID = 8,      /* cells a side: 14 pixels each of a crop of 112 */
    RADIUS = 2,    /* of the ring of 8 neighbours */
    UNIFORM = 58,  /* patterns of 8 bits with at most two changes around the ring; all others share one bin */
    BINS = UNIFORM + 1
};

int lafs_baseline_by_name(const char *name, enum lafs_baseline *kind)
{
    if (!strcmp(name, "pixel")) *kind = LAFS_BASELINE_PIXEL;
    else if (!strcmp(name, "lbp")) *kind = LAFS_BASELINE_LBP;
    else return 0;
    return 1;
}

int64_t lafs_baseline_dim(enum lafs_baseline kind, int size)
{
    if (size < MIN_SIZE || size > MAX_SIZE) return 0;
    return kind == LAFS_BASELINE_PIXEL ? (int64_t)size * size * 3 : GRID * GRID * BINS;
}

static void embed_pixels(const uint8_t *px, int size, float *out)
{
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            for (int c = 0; c < 3; c++) {
                const uint8_t *row = px + (size_t)y * size * 3;
                *out++ = ((float)row[x * 3 + c] + (float)row[(size - 1 - x) * 3 + c]) / 127.5f - 2;
            }
}

/* Local binary patterns (Ojala et al. 2002; for faces Ahonen et al. 2006). */

static int is_uniform(int pattern)
{
    int turned = (pattern >> 1) | ((pattern & 1) << 7);
    return __builtin_popcount((unsigned)(pattern ^ turned)) <= 2;
}

static void make_bins(uint8_t bin[256])
{
    int next = 0;
    for (int p = 0; p < 256; p++) bin[p] = is_uniform(p) ? (uint8_t)next++ : UNIFORM;
}

/* A neighbour on the ring: whole-pixel corner and weights of the four pixels around it, in 1/65536. */
struct neighbour {
    int dx, dy;
    int32_t w[4];
};

static void make_ring(struct neighbour n[8])
{
    static const double diagonal = 0.70710678118654752440;
    static const double ring[8][2] = {{1, 0}, {diagonal, diagonal}, {0, 1}, {-diagonal, diagonal},
                                      {-1, 0}, {-diagonal, -diagonal}, {0, -1}, {diagonal, -diagonal}};
    for (int k = 0; k < 8; k++) {
        double x = RADIUS * ring[k][0], y = RADIUS * ring[k][1];
        n[k].dx = (int)floor(x);
        n[k].dy = (int)floor(y);
        double fx = x - n[k].dx, fy = y - n[k].dy;
        n[k].w[0] = (int32_t)lround((1 - fx) * (1 - fy) * 65536);
        n[k].w[1] = (int32_t)lround(fx * (1 - fy) * 65536);
        n[k].w[2] = (int32_t)lround((1 - fx) * fy * 65536);
        n[k].w[3] = 65536 - n[k].w[0] - n[k].w[1] - n[k].w[2];
    }
}

/* The bin of pixel (x, y): RADIUS <= x, y < size - RADIUS - 1. Integers only, so that all machines agree. */
static int pattern_at(const uint8_t *grey, int size, int x, int y, const struct neighbour ring[8])
{
    int pattern = 0, centre = grey[y * size + x] << 16;
    for (int k = 0; k < 8; k++) {
        const uint8_t *p = grey + (y + ring[k].dy) * size + x + ring[k].dx;
        const int32_t *w = ring[k].w;
        int v = w[0] * p[0] + (w[1] ? w[1] * p[1] : 0) + (w[2] ? w[2] * p[size] : 0) + (w[3] ? w[3] * p[size + 1] : 0);
        pattern |= (v >= centre) << k;
    }
    return pattern;
}

/* out (GRID, GRID, BINS) += square root of each cell's share of patterns. */
static void add_lbp(const uint8_t *grey, int size, const struct neighbour ring[8], const uint8_t bin[256], float *out)
{
    int inner = size - 2 * RADIUS;
    for (int gy = 0; gy < GRID; gy++)
        for (int gx = 0; gx < GRID; gx++, out += BINS) {
            int x0 = RADIUS + gx * inner / GRID, x1 = RADIUS + (gx + 1) * inner / GRID;
            int y0 = RADIUS + gy * inner / GRID, y1 = RADIUS + (gy + 1) * inner / GRID;
            int count[BINS] = {0};
            for (int y = y0; y < y1; y++)
                for (int x = x0; x < x1; x++) count[bin[pattern_at(grey, size, x, y, ring)]]++;
            float all = (float)((x1 - x0) * (y1 - y0));
            for (int k = 0; k < BINS; k++) out[k] += sqrtf((float)count[k] / all);
        }
}

static lafs_status embed_lbp(const uint8_t *px, int size, float *out, struct lafs_err *err)
{
    uint8_t *grey, bin[256];
    struct neighbour ring[8];
    size_t pixels = (size_t)size * (size_t)size;
    LAFS_TRY(lafs_alloc(&grey, pixels, 2, err));
    uint8_t *mirror = grey + pixels;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            const uint8_t *p = px + ((size_t)y * size + x) * 3;
            uint8_t l = (uint8_t)((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
            grey[y * size + x] = mirror[y * size + size - 1 - x] = l;
        }
    make_bins(bin);
    make_ring(ring);
    memset(out, 0, GRID * GRID * BINS * sizeof *out);
    add_lbp(grey, size, ring, bin, out);
    add_lbp(mirror, size, ring, bin, out);
    lafs_free(grey);
    return LAFS_OK;
}

lafs_status lafs_baseline_embed(enum lafs_baseline kind, const struct lafs_image *crop, int size, float *out,
                                struct lafs_err *err)
{
    if (crop->w != size || crop->h != size)
        return lafs_fail(err, LAFS_BAD_RECORD, "the crop is %dx%d, not %dx%d", crop->w, crop->h, size, size);
    if (lafs_baseline_dim(kind, size) == 0)
        return lafs_fail(err, LAFS_BAD_RECORD, "crops of %d pixels are not supported (%d to %d)", size, MIN_SIZE,
                         MAX_SIZE);
    if (kind == LAFS_BASELINE_LBP) return embed_lbp(crop->px, size, out, err);
    embed_pixels(crop->px, size, out);
    return LAFS_OK;
}
