#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* sum[i] += row[i] */
static void add_row(const uint8_t *row, size_t n, uint32_t *sum)
{
    for (size_t i = 0; i < n; i++) sum[i] += row[i];
}

/* Sums of f pixels each of a row of sums, `there` pixels wide, as blocks' means. */
static void mean_row(const uint32_t *sum, int there, int f, int blocks, uint8_t *to)
{
    const int shift = 2 * __builtin_ctz((unsigned)f);
    const uint64_t half = (uint64_t)1 << shift >> 1;
    for (int b = 0; b < blocks; b++, to += 3) {
        int n = there - b * f < f ? there - b * f : f;
        uint64_t all[3] = {half, half, half};
        for (int i = 0; i < n; i++, sum += 3)
            for (int k = 0; k < 3; k++) all[k] += sum[k];
        for (int k = 0; k < 3; k++) to[k] = (uint8_t)(all[k] >> shift);
    }
}

lafs_status lafs_image_reduce(const struct lafs_image *in, int f, const int box[4], struct lafs_image *out,
                              struct lafs_err *err)
{
    int left = box[0] * f, right = box[2] * f < in->w ? box[2] * f : in->w;
    size_t n = right > left ? (size_t)(right - left) * 3 : 0;
    uint32_t *sum;
    lafs_image_release(out);
    LAFS_TRY(lafs_alloc(&out->px, (size_t)(box[2] - box[0]) * 3, (size_t)(box[3] - box[1]), err));
    out->w = box[2] - box[0];
    out->h = box[3] - box[1];
    lafs_status rc = lafs_alloc(&sum, n, sizeof *sum, err);
    if (rc != LAFS_OK) {
        lafs_image_release(out);
        return rc;
    }
    for (int b = box[1]; b < box[3]; b++) {
        if (n) memset(sum, 0, n * sizeof *sum);
        for (int64_t y = (int64_t)b * f; y < (int64_t)(b + 1) * f && y < in->h; y++)
            add_row(in->px + ((size_t)y * (size_t)in->w + (size_t)left) * 3, n, sum);
        mean_row(sum, (int)(n / 3), f, out->w, out->px + (size_t)(b - box[1]) * (size_t)out->w * 3);
    }
    lafs_free(sum);
    return LAFS_OK;
}

/* -- any size -- */

/* Where an output pixel lies among `from` pixels: between `at` and `next`, `part` of the way. step: pixels to one. */
struct tap {
    int at, next;
    float part;
};
static struct tap tap_of(int i, double step, int from)
{
    double x = (i + 0.5) * step - 0.5, last = from - 1;
    x = x < 0 ? 0 : x > last ? last : x;
    int at = (int)x;
    return (struct tap){at, at + 1 < from ? at + 1 : at, (float)(x - at)};
}

static void stretch_row(const uint8_t *row, const struct tap *tap, int w, float *to)
{
    for (int x = 0; x < w; x++) {
        const uint8_t *p = row + (size_t)tap[x].at * 3, *q = row + (size_t)tap[x].next * 3;
        for (int k = 0; k < 3; k++) to[3 * x + k] = (float)p[k] + tap[x].part * ((float)q[k] - (float)p[k]);
    }
}

static void mix_rows(const float *a, const float *b, float part, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++) to[i] = (uint8_t)(int)(a[i] + part * (b[i] - a[i]) + 0.5f);
}

/* row[0], row[1]: source rows have[0], have[1] stretched; makes sure that `y` is in one of them, and not the one that
 * holds `keep`. */
static const float *row_of(const struct lafs_image *in, const struct tap *tap, int w, float *row[2], int have[2], int y,
                           int keep)
{
    int slot = have[0] == y ? 0 : have[1] == y ? 1 : have[0] == keep ? 1 : 0;
    if (have[slot] != y) stretch_row(in->px + (size_t)y * (size_t)in->w * 3, tap, w, row[slot]);
    have[slot] = y;
    return row[slot];
}

/* x, y: pixels of `in` to a pixel of `out`. */
static lafs_status stretch(const struct lafs_image *in, double x_step, double y_step, struct lafs_image *out,
                           struct lafs_err *err)
{
    struct tap *tap;
    float *rows, *row[2];
    int have[2] = {-1, -1};
    size_t n = (size_t)out->w * 3;
    LAFS_TRY(lafs_alloc(&tap, (size_t)out->w, sizeof *tap, err));
    lafs_status rc = lafs_alloc(&rows, 2 * n, sizeof *rows, err);
    if (rc == LAFS_OK) {
        row[0] = rows;
        row[1] = rows + n;
        for (int x = 0; x < out->w; x++) tap[x] = tap_of(x, x_step, in->w);
        for (int y = 0; y < out->h; y++) {
            struct tap t = tap_of(y, y_step, in->h);
            const float *a = row_of(in, tap, out->w, row, have, t.at, t.next);
            const float *b = row_of(in, tap, out->w, row, have, t.next, t.at);
            mix_rows(a, b, t.part, n, out->px + (size_t)y * n);
        }
        lafs_free(rows);
    }
    lafs_free(tap);
    return rc;
}

lafs_status lafs_image_resize(const struct lafs_image *in, int w, int h, struct lafs_image *out, struct lafs_err *err)
{
    double x_step = (double)in->w / w, y_step = (double)in->h / h, least = fmin(x_step, y_step);
    int f = 1;
    while (2.0 * f <= least && f < 32768) f *= 2;
    LAFS_TRY(lafs_image_new(out, w, h, err));
    if (f == 1 || least == 2) return stretch(in, x_step, y_step, out, err); /* 2: taps are the four pixels' mean */
    const int box[4] = {0, 0, in->w / f, in->h / f}; /* whole blocks: what is left over is less than an output pixel */
    struct lafs_image small = {0};
    lafs_status rc = lafs_image_reduce(in, f, box, &small, err);
    if (rc == LAFS_OK) rc = stretch(&small, x_step / f, y_step / f, out, err);
    lafs_image_release(&small);
    return rc;
}
