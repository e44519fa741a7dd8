/* The tiles of AMX, as few primitives as the products need: tile registers 0 to 7 of 16 rows of 64 bytes.
 *
 *     static inline void lafs_tile_begin(void)          configures all eight as whole tiles, on this thread
 *     static inline void lafs_tile_end(void)            gives them back
 *     LAFS_TILE_ZERO(t)
 *     LAFS_TILE_LOAD(t, p, stride)  LAFS_TILE_STORE(t, p, stride)     rows `stride` bytes apart
 *     LAFS_TILE_DPBF16(c, a, b)    c (16 rows, 16 floats) += a (16 rows, 16 pairs of bf16) b (16 pairs, 16 columns)
 *     LAFS_TILE_DPI8(c, a, b)      c (16 rows, 16 int32) += a (16 rows, 16 fours of int8) b (16 fours, 16 columns)
 *     LAFS_TILE_FENCE()            what was stored before is there to load: gcc's intrinsics do not say that they read
 *
 * They are the processor's; or, with LAFS_TILE_EMULATION defined (tests/emulate/), what Intel's manual says of each,
 * in plain C, so that the code above them is tested where there are no tiles. Beside tiles there are 512-bit vectors,
 * and those that round to bfloat16. */
#ifndef LAFS_KERNELS_CPU_AMX_H
#define LAFS_KERNELS_CPU_AMX_H

#include <stdint.h>
#include <string.h>

#ifndef LAFS_TILE_EMULATION
#include <immintrin.h>

#define LAFS_TILE_TARGET \
    __attribute__((target("amx-tile,amx-bf16,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

LAFS_TILE_TARGET static inline void lafs_tile_begin(void)
{
    /* Palette 1; of each tile the bytes of a row and the rows. */
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    for (int i = 0; i < 8; i++) c.row_bytes[i] = 64, c.rows[i] = 16;
    __asm__ volatile("" : : "r"(&c) : "memory"); /* the intrinsic tells of its first word alone */
    _tile_loadconfig(&c);
}
LAFS_TILE_TARGET static inline void lafs_tile_end(void) { _tile_release(); }
#define LAFS_TILE_ZERO(t) _tile_zero(t)
#define LAFS_TILE_LOAD(t, p, stride) _tile_loadd(t, p, stride)
#define LAFS_TILE_STORE(t, p, stride) _tile_stored(t, p, stride)
#define LAFS_TILE_DPBF16(c, a, b) _tile_dpbf16ps(c, a, b)
#define LAFS_TILE_DPI8(c, a, b) _tile_dpbssd(c, a, b)
#define LAFS_TILE_FENCE() __asm__ volatile("" : : : "memory")

#else
#include <math.h>

#define LAFS_TILE_TARGET __attribute__((target("avx2,fma"))) /* as what emulates AVX-512 */

static _Thread_local uint32_t lafs_tile[8][16][16];

static inline void lafs_tile_begin(void) { memset(lafs_tile, 0xff, sizeof lafs_tile); }
static inline void lafs_tile_end(void) { memset(lafs_tile, 0xff, sizeof lafs_tile); }
#define LAFS_TILE_ZERO(t) memset(lafs_tile[t], 0, sizeof lafs_tile[t])
static inline void lafs_tile_load(int t, const void *p, int64_t stride)
{
    for (int i = 0; i < 16; i++) memcpy(lafs_tile[t][i], (const char *)p + i * stride, 64);
}
static inline void lafs_tile_store(int t, void *p, int64_t stride)
{
    for (int i = 0; i < 16; i++) memcpy((char *)p + i * stride, lafs_tile[t][i], 64);
}
#define LAFS_TILE_LOAD(t, p, stride) lafs_tile_load(t, p, stride)
#define LAFS_TILE_STORE(t, p, stride) lafs_tile_store(t, p, stride)

/* Denormals are zero, as operands and as results. */
static inline float lafs_tile_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }
static inline float lafs_tile_bf16(uint32_t pair, int odd)
{
    uint32_t u = odd ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return lafs_tile_flush(x);
}
/* TDPBF16PS: for each row of a two chains of fused multiply-adds from zero over the pairs, then c += their sum. */
static inline void lafs_tile_dpbf16(int c, int a, int b)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            float chain[2] = {0, 0}, sum;
            for (int k = 0; k < 16; k++)
                for (int odd = 0; odd < 2; odd++)
                    chain[odd] = lafs_tile_flush(fmaf(lafs_tile_bf16(lafs_tile[a][m][k], odd),
                                                      lafs_tile_bf16(lafs_tile[b][k][n], odd), chain[odd]));
            memcpy(&sum, &lafs_tile[c][m][n], sizeof sum);
            sum = lafs_tile_flush(lafs_tile_flush(sum) + lafs_tile_flush(chain[0] + chain[1]));
            memcpy(&lafs_tile[c][m][n], &sum, sizeof sum);
        }
}
#define LAFS_TILE_DPBF16(c, a, b) lafs_tile_dpbf16(c, a, b)
/* TDPBSSD: products of signed bytes, added without a limit being kept. */
static inline void lafs_tile_dpi8(int c, int a, int b)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++)
            for (int k = 0; k < 16; k++)
                for (int byte = 0; byte < 32; byte += 8) {
                    int32_t x = (int8_t)(lafs_tile[a][m][k] >> byte), y = (int8_t)(lafs_tile[b][k][n] >> byte);
                    lafs_tile[c][m][n] += (uint32_t)(x * y);
                }
}
#define LAFS_TILE_DPI8(c, a, b) lafs_tile_dpi8(c, a, b)
#define LAFS_TILE_FENCE() (void)0
#endif

#endif
