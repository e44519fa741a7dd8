/* Weights as gemm_tile and dw_plane of conv_kernels.h take them: columns in vectors, dealt evenly to panels of
 * kern->panel columns or a little less, each (depth, wide); depthwise taps as (vectors, k*k, lanes). */
#ifndef LAFS_KERNELS_CPU_PANELS_H
#define LAFS_KERNELS_CPU_PANELS_H

#include <string.h>

#include "kernels/cpu/conv_kernels.h"
#include "kernels/cpu/vec.h"

enum { LAFS_PACK_DEPTH = 16 };

static inline int64_t lafs_round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

struct lafs_panel {
    int64_t first, wide; /* columns */
};

static inline int64_t lafs_panels_of(const struct lafs_conv_kernels *kern, int64_t cols)
{
    return (lafs_round_up(cols, kern->lanes) + kern->panel - 1) / kern->panel;
}

static inline struct lafs_panel lafs_panel_at(const struct lafs_conv_kernels *kern, int64_t cols, int64_t i)
{
    int64_t vectors = (cols + kern->lanes - 1) / kern->lanes, n = lafs_panels_of(kern, cols), each = vectors / n,
            more = vectors % n;
    return (struct lafs_panel){(i * each + (i < more ? i : more)) * kern->lanes, (each + (i < more)) * kern->lanes};
}

/* to (n, wide)[q][j] = from (cols, in)[j][q], n of each row. */
static inline void lafs_panel_rows(const float *from, int64_t in, int64_t cols, int64_t n, float *to, int64_t wide)
{
    int64_t j = 0;
    for (; j + 4 <= cols; j += 4) {
        int64_t q = 0;
        for (; q + 4 <= n; q += 4) lafs_turn4(from + j * in + q, in, to + q * wide + j, wide);
        for (; q < n; q++)
            for (int l = 0; l < 4; l++) to[q * wide + j + l] = from[(j + l) * in + q];
    }
    for (; j < cols; j++)
        for (int64_t q = 0; q < n; q++) to[q * wide + j] = from[j * in + q];
}

/* w (cols, in) into panels (depth, wide); rows from in on and columns from cols on are zero. */
static inline void lafs_panels_pack(const struct lafs_conv_kernels *kern, const float *w, int64_t cols, int64_t in,
                                    int64_t depth, float *to)
{
    for (int64_t i = 0; i < lafs_panels_of(kern, cols); i++) {
        struct lafs_panel p = lafs_panel_at(kern, cols, i);
        int64_t there = cols - p.first < p.wide ? cols - p.first : p.wide;
        const float *from = w + p.first * in;
        if (there < p.wide || in < depth) memset(to, 0, (size_t)(depth * p.wide) * sizeof *to);
        for (int64_t q = 0; q < in; q += LAFS_PACK_DEPTH) /* so many rows of `to` stay in the cache */
            lafs_panel_rows(from + q, in, there, in - q < LAFS_PACK_DEPTH ? in - q : LAFS_PACK_DEPTH, to + q * p.wide,
                            p.wide);
        to += depth * p.wide;
    }
}

/* w (depth, cols) into panels (depth, wide); columns from cols on are zero. */
static inline void lafs_panels_turn(const struct lafs_conv_kernels *kern, const float *w, int64_t cols, int64_t depth,
                                    float *to)
{
    for (int64_t i = 0; i < lafs_panels_of(kern, cols); i++) {
        struct lafs_panel p = lafs_panel_at(kern, cols, i);
        int64_t there = cols - p.first < p.wide ? cols - p.first : p.wide;
        for (int64_t q = 0; q < depth; q++, to += p.wide) {
            memcpy(to, w + q * cols + p.first, (size_t)there * sizeof *to);
            memset(to + there, 0, (size_t)(p.wide - there) * sizeof *to);
        }
    }
}

/* b (n), zeros behind up to `rounded`. */
static inline void lafs_bias_pack(const float *b, int64_t n, int64_t rounded, float *to)
{
    memcpy(to, b, (size_t)n * sizeof *to);
    memset(to + n, 0, (size_t)(rounded - n) * sizeof *to);
}

/* w (n, kk) into (vectors, kk, lanes), zeros behind n up to `rounded` channels. */
static inline void lafs_taps_pack(const struct lafs_conv_kernels *kern, const float *w, int64_t n, int64_t kk,
                                  int64_t rounded, float *to)
{
    int64_t lanes = kern->lanes;
    for (int64_t j = 0; j < rounded; j++)
        for (int64_t t = 0; t < kk; t++)
            to[(j / lanes * kk + t) * lanes + j % lanes] = j < n ? w[j * kk + t] : 0;
}

#endif
