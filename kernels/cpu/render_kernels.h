/* What rendering spends its time in, once per instruction set (render_kernels.inc); all give the same bits.
 *
 * A picture is three planes of whole lines. Kernels that say so read and write whole vectors: up to SLACK bytes behind
 * the last value, whose content is then anything. */
#ifndef LAFS_CPU_RENDER_KERNELS_H
#define LAFS_CPU_RENDER_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "image/viewplan.h"

enum { LAFS_RENDER_SLACK = 64 };

/* One direction of a resize: output i is a sum over the lines first[i] .. first[i] + taps - 1. */
struct lafs_resize {
    int n;          /* outputs */
    int taps;       /* of every output, an even number; what one does not need has weight 0 */
    int32_t *first; /* (n) */
    int32_t *k;     /* (n, taps), 22 fractional bits: of each pair the upper 12, then the lower 12 bits, as two int16 */
};

/* A box of a fractional radius: full weight up to `radius`, `edge` for the two values next to them; 24 fractional
 * bits. */
struct lafs_box {
    int radius;
    uint32_t full, edge;
};

enum { LAFS_SPAN = 16 }; /* outputs whose weights are found together */

struct lafs_render_kernels {
    /* n pixels between RGB and planes; not a byte more. */
    void (*split)(const uint8_t *px, int64_t n, uint8_t *const p[3]);
    void (*join)(uint8_t *const p[3], int64_t n, uint8_t *px);
    /* Mirrors h rows of w values into out. */
    void (*flip)(const uint8_t *in, int w, int h, uint8_t *out);
    /* The reference's weights (kernels/ref/render.c) for len inputs, in the same arithmetic and order of sums.
     * scratch: taps x LAFS_SPAN doubles. */
    void (*weights)(const struct lafs_resize *r, int bicubic, int len, double *scratch);
    /* len lines at `in`, `stride` apart, to r->n lines of `out`, in reverse order with `mirror`: the first `width`
     * values of each, 8 bits. Whole vectors. */
    void (*resize)(const struct lafs_resize *r, const uint8_t *in, size_t stride, int len, int width, uint8_t *out,
                   size_t out_stride, int mirror);
    /* Point operations (kind BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY, SOLARIZE, INVERT, POSTERIZE) one after the
     * other on n pixels; only the first may be CONTRAST, around `mean`. *grey, unless grey is NULL, = the sum of the
     * results' grey. Whole vectors. */
    void (*points)(uint8_t *const p[3], int64_t n, const struct lafs_view_op *op, int ops, int mean, int64_t *grey);
    /* Three box passes of radius 0 or 1 across lines, in_stride and out_stride apart; of each the first `width` values.
     * Not in place. Whole vectors. room: lafs_blur_room(lines) values. */
    void (*blur)(const struct lafs_box *b, const uint8_t *in, size_t in_stride, int width, int lines, uint8_t *out,
                 size_t out_stride, uint16_t *room);
    /* Blend of the inside with the picture smoothed by 1 1 1 / 1 5 1 / 1 1 1 over 13. room: 2 (w + SLACK) bytes. */
    void (*sharpen)(const uint8_t *in, int w, int h, float factor, uint8_t *out, uint8_t *room);
    /* out(x, y) = in at m (x, y), 128 from outside. */
    void (*affine)(uint8_t *const in[3], int w, int h, const double m[6], int bicubic, uint8_t *const out[3]);
};

/* The best set within lafs_isa_level(). */
const struct lafs_render_kernels *lafs_render_kernels(void);

static inline size_t lafs_blur_room(int lines) { return 2 * LAFS_RENDER_SLACK * (size_t)lines; }

#endif
