/* Views in plain loops: PIL's and torchvision's arithmetic, 8 bits between operations. Spec "Augmentation, exactly".
 *
 * A picture is (h, w, 3) u8 RGB. Every operation makes a new picture from one; render walks through a plan. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct picture {
    int w, h;
    uint8_t *px; /* (h, w, 3); malloc */
};

static const uint8_t *at(const struct picture *p, int y, int x)
{
    return p->px + ((size_t)y * (size_t)p->w + (size_t)x) * 3;
}

static int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

static uint8_t truncated(double v) { return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v; }

static int grey(const uint8_t *p) { return (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16; }

/* -- crop and resize -- */

static double cubic(double x) /* a = -0.5 */
{
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Output i of n reads inputs first..first+count-1 of len with weights k (fixed point, 22 bits): the kernel is stretched
 * by the factor when reducing, cut at the border, and scaled to sum 1. */
static int weights(int bicubic, int len, int n, int i, int *first, int32_t *k)
{
    double scale = (double)len / n, stretch = scale < 1 ? 1 : scale, support = (bicubic ? 2 : 1) * stretch;
    double centre = (i + 0.5) * scale, sum = 0;
    int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5);
    if (lo < 0) lo = 0;
    if (hi > len) hi = len;
    *first = lo;
    for (int j = lo; j < hi; j++)
        sum += bicubic ? cubic((j - centre + 0.5) / stretch) : triangle((j - centre + 0.5) / stretch);
    for (int j = lo; j < hi; j++) {
        double v = bicubic ? cubic((j - centre + 0.5) / stretch) : triangle((j - centre + 0.5) / stretch);
        if (sum != 0) v /= sum;
        k[j - lo] = (int32_t)(v < 0 ? v * (1 << 22) - 0.5 : v * (1 << 22) + 0.5);
    }
    return hi - lo;
}

/* Cuts out a = top, left, height, width and resizes it to n x n: columns first, then rows, 8 bits between. */
static int crop(const struct picture *in, const float a[4], int bicubic, int n, struct picture *out)
{
    int top = (int)a[0], left = (int)a[1], h = (int)a[2], w = (int)a[3];
    uint8_t *wide = malloc((size_t)h * (size_t)n * 3); /* (h, n, 3) */
    int32_t *k = malloc(((size_t)(h > w ? h : w) + 8) * sizeof *k);
    int first, count;
    if (wide && k) {
        for (int x = 0; x < n; x++) {
            count = weights(bicubic, w, n, x, &first, k);
            for (int y = 0; y < h; y++)
                for (int c = 0; c < 3; c++) {
                    int64_t sum = 1 << 21;
                    for (int j = 0; j < count; j++) sum += (int64_t)k[j] * at(in, top + y, left + first + j)[c];
                    wide[((size_t)y * (size_t)n + (size_t)x) * 3 + (size_t)c] =
                        (uint8_t)clamp((int)(sum >> 22), 0, 255);
                }
        }
        for (int y = 0; y < n; y++) {
            count = weights(bicubic, h, n, y, &first, k);
            for (int i = 0; i < n * 3; i++) {
                int64_t sum = 1 << 21;
                for (int j = 0; j < count; j++)
                    sum += (int64_t)k[j] * wide[(size_t)(first + j) * (size_t)n * 3 + (size_t)i];
                out->px[(size_t)y * (size_t)n * 3 + (size_t)i] = (uint8_t)clamp((int)(sum >> 22), 0, 255);
            }
        }
    }
    int ok = wide && k;
    free(wide);
    free(k);
    return ok;
}

/* -- geometry -- */

static void flip(const struct picture *in, struct picture *out)
{
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < in->w; x++)
            memcpy(out->px + ((size_t)y * (size_t)in->w + (size_t)x) * 3, at(in, y, in->w - 1 - x), 3);
}

/* Value of channel c at (x, y), pixel centres at integers here, edges replicated. */
static double sample(const struct picture *in, double x, double y, int c, int bicubic)
{
    int ix = (int)floor(x), iy = (int)floor(y), lo = bicubic ? -1 : 0, hi = bicubic ? 2 : 1;
    double dx = x - ix, dy = y - iy, row[4];
    for (int j = lo; j <= hi; j++) {
        double v[4];
        for (int i = lo; i <= hi; i++) v[i - lo] = at(in, clamp(iy + j, 0, in->h - 1), clamp(ix + i, 0, in->w - 1))[c];
        row[j - lo] =
            bicubic
                ? v[1] + dx * (v[2] - v[0] + dx * (2 * (v[0] - v[1]) + v[2] - v[3] + dx * (v[1] - v[0] - v[2] + v[3])))
                : v[0] + (v[1] - v[0]) * dx;
    }
    if (!bicubic) return row[0] + (row[1] - row[0]) * dy;
    return row[1] + dy * (row[2] - row[0] +
                          dy * (2 * (row[0] - row[1]) + row[2] - row[3] + dy * (row[1] - row[0] - row[2] + row[3])));
}

/* out(x, y) = in at m (x, y), positions counted from the picture's corner; what comes from outside is 128. Here (unlike
 * in resizing) PIL's bicubic has a = -1. */
static void affine(const struct picture *in, const double m[6], int bicubic, struct picture *out)
{
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < in->w; x++) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            uint8_t *to = out->px + ((size_t)y * (size_t)in->w + (size_t)x) * 3;
            int inside = sx >= 0 && sy >= 0 && sx < in->w && sy < in->h;
            for (int c = 0; c < 3; c++) to[c] = inside ? truncated(sample(in, sx - 0.5, sy - 0.5, c, bicubic)) : 128;
        }
}

static void geometry(const struct picture *in, const struct lafs_view_op *op, struct picture *out)
{
    double m[6] = {1, 0, 0, 0, 1, 0}, v = op->a[0];
    if (op->kind == LAFS_OP_SHEAR_X) m[1] = v;
    else if (op->kind == LAFS_OP_SHEAR_Y) m[3] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_X) m[2] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_Y) m[5] = v;
    else {
        double turn = -v * 3.14159265358979323846 / 180, cx = in->w / 2.0, cy = in->h / 2.0;
        m[0] = m[4] = cos(turn);
        m[1] = sin(turn);
        m[3] = -m[1];
        m[2] = cx - m[0] * cx - m[1] * cy;
        m[5] = cy - m[3] * cx - m[4] * cy;
    }
    affine(in, m, op->a[1] != 0, out);
}

static void erase(const struct picture *in, const float a[4], struct picture *out)
{
    memcpy(out->px, in->px, (size_t)in->w * (size_t)in->h * 3);
    for (int y = (int)a[0]; y < (int)a[0] + (int)a[2]; y++)
        memset(out->px + ((size_t)y * (size_t)in->w + (size_t)a[1]) * 3, 0, (size_t)a[3] * 3);
}

/* -- photometry -- */

/* from + factor (to - from), clipped and truncated. */
static uint8_t blend(int from, int to, float factor) { return truncated((float)from + factor * (float)(to - from)); }

static void blends(const struct picture *in, const struct lafs_view_op *op, struct picture *out)
{
    size_t n = (size_t)in->w * (size_t)in->h;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += grey(in->px + 3 * i);
    int mean = (int)(sum / (double)n + 0.5);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = in->px + 3 * i;
        int from = op->kind == LAFS_OP_BRIGHTNESS ? 0 : op->kind == LAFS_OP_CONTRAST ? mean : grey(p);
        for (int c = 0; c < 3; c++) out->px[3 * i + (size_t)c] = blend(from, p[c], op->a[0]);
    }
}

/* Through 8-bit HSV; h gets trunc(255 turns) added, modulo 256. */
static void hue_pixel(const uint8_t in[3], int shift, uint8_t out[3])
{
    int r = in[0], g = in[1], b = in[2], max = r > g ? r : g, min = r < g ? r : g;
    if (b > max) max = b;
    if (b < min) min = b;
    int h8 = 0, s8 = 0;
    if (max != min) {
        float range = (float)(max - min), rc = (float)(max - r) / range, gc = (float)(max - g) / range,
              bc = (float)(max - b) / range;
        float h = r == max ? bc - gc : g == max ? (float)(2.0 + rc - bc) : (float)(4.0 + gc - rc);
        h = (float)fmod(h / 6.0 + 1.0, 1.0);
        h8 = clamp((int)(h * 255.0), 0, 255);
        s8 = clamp((int)(range / (float)max * 255.0), 0, 255);
    }
    h8 = (h8 + shift) & 255;
    if (s8 == 0) {
        out[0] = out[1] = out[2] = (uint8_t)max;
        return;
    }
    double six = h8 * 6.0 / 255.0;
    int i = (int)six;
    float f = (float)(six - i), s = (float)s8 / 255.0f;
    int v = max, p = clamp((int)round(max * (1.0 - s)), 0, 255);
    int q = clamp((int)round(max * (1.0 - s * f)), 0, 255), t = clamp((int)round(max * (1.0 - s * (1.0 - f))), 0, 255);
    const int rgb[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
    for (int c = 0; c < 3; c++) out[c] = (uint8_t)rgb[i % 6][c];
}

static void hue(const struct picture *in, float turns, struct picture *out)
{
    int shift = (int)(turns * 255.0);
    for (size_t i = 0; i < (size_t)in->w * (size_t)in->h; i++) hue_pixel(in->px + 3 * i, shift, out->px + 3 * i);
}

/* Each pixel from itself alone: grey, solarise, invert, posterise. */
static void pointwise(const struct picture *in, const struct lafs_view_op *op, struct picture *out)
{
    int mask = op->kind == LAFS_OP_POSTERIZE ? 0xFF & ~((1 << (8 - (int)op->a[0])) - 1) : 0;
    for (size_t i = 0; i < (size_t)in->w * (size_t)in->h; i++)
        for (int c = 0; c < 3; c++) {
            int v = in->px[3 * i + (size_t)c];
            if (op->kind == LAFS_OP_GRAY) v = grey(in->px + 3 * i);
            else if (op->kind == LAFS_OP_SOLARIZE) v = v < 128 ? v : 255 - v;
            else if (op->kind == LAFS_OP_INVERT) v = 255 - v;
            else v &= mask;
            out->px[3 * i + (size_t)c] = (uint8_t)v;
        }
}

/* Per channel, by a table made from the histogram: autocontrast stretches to 0..255, equalise flattens. */
static void histogram_op(const struct picture *in, int kind, struct picture *out)
{
    size_t n = (size_t)in->w * (size_t)in->h;
    for (size_t c = 0; c < 3; c++) {
        int64_t count[256] = {0};
        uint8_t table[256];
        for (size_t i = 0; i < n; i++) count[in->px[3 * i + c]]++;
        int lo = 0, hi = 255;
        while (count[lo] == 0) lo++;
        while (count[hi] == 0) hi--;
        int64_t step = ((int64_t)n - count[hi]) / 255, sum = step / 2;
        int same = lo == hi || (kind == LAFS_OP_EQUALIZE && step == 0);
        double scale = 255.0 / (hi - lo), offset = -lo * scale;
        for (int v = 0; v < 256; v++) {
            if (same) table[v] = (uint8_t)v;
            else if (kind == LAFS_OP_AUTOCONTRAST) table[v] = (uint8_t)clamp((int)(v * scale + offset), 0, 255);
            else table[v] = (uint8_t)(sum / step > 255 ? 255 : sum / step), sum += count[v];
        }
        for (size_t i = 0; i < n; i++) out->px[3 * i + c] = table[in->px[3 * i + c]];
    }
}

/* -- neighbourhoods -- */

/* Blend with the picture smoothed by 1 1 1 / 1 5 1 / 1 1 1 over 13, whose border is the picture's own. */
static void sharpness(const struct picture *in, float factor, struct picture *out)
{
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < in->w; x++)
            for (int c = 0; c < 3; c++) {
                int v = at(in, y, x)[c], smooth = v;
                if (x > 0 && y > 0 && x < in->w - 1 && y < in->h - 1) {
                    int sum = 4 * v;
                    for (int j = -1; j <= 1; j++)
                        for (int i = -1; i <= 1; i++) sum += at(in, y + j, x + i)[c];
                    smooth = (2 * sum + 13) / 26;
                }
                out->px[((size_t)y * (size_t)in->w + (size_t)x) * 3 + (size_t)c] = blend(smooth, v, factor);
            }
}

/* One box pass along lines of n values `step` bytes apart: 2 radius + 1 full values and `edge` of the two next to them.
 */
static void box_line(const uint8_t *in, uint8_t *out, int n, size_t step, int radius, uint32_t full, uint32_t edge)
{
    for (int x = 0; x < n; x++) {
        uint32_t sum = 0;
        for (int i = -radius; i <= radius; i++) sum += in[(size_t)clamp(x + i, 0, n - 1) * step];
        uint32_t ends = (uint32_t)in[(size_t)clamp(x - radius - 1, 0, n - 1) * step] +
                        in[(size_t)clamp(x + radius + 1, 0, n - 1) * step];
        out[(size_t)x * step] = (uint8_t)((sum * full + ends * edge + (1u << 23)) >> 24);
    }
}

static int blur(const struct picture *in, float sigma, struct picture *out)
{
    float s = sigma * sigma / 3, l = floorf((sqrtf(12 * s + 1) - 1) / 2);
    float r = l + (2 * l + 1) * (l * (l + 1) - 3 * s) / (6 * (s - (l + 1) * (l + 1)));
    int radius = (int)r;
    uint32_t full = (uint32_t)((1 << 24) / (r * 2 + 1)), edge = ((1u << 24) - (uint32_t)(radius * 2 + 1) * full) / 2;
    size_t row = (size_t)in->w * 3, size = row * (size_t)in->h;
    uint8_t *other = malloc(size);
    if (!other) return 0;
    memcpy(out->px, in->px, size);
    for (int pass = 0; pass < 6; pass++) {
        uint8_t *t = out->px;
        if (pass < 3)
            for (size_t y = 0; y < (size_t)in->h; y++)
                for (size_t c = 0; c < 3; c++)
                    box_line(out->px + y * row + c, other + y * row + c, in->w, 3, radius, full, edge);
        else
            for (size_t x = 0; x < row; x++) box_line(out->px + x, other + x, in->h, row, radius, full, edge);
        out->px = other;
        other = t;
    }
    free(other);
    return 1;
}

/* -- plans -- */

/* out->px has room for the result. 0: out of memory. */
static int carry_out(const struct picture *in, const struct lafs_view_op *op, int n, struct picture *out)
{
    switch (op->kind) {
    case LAFS_OP_CROP_BICUBIC:
    case LAFS_OP_CROP_BILINEAR: return crop(in, op->a, op->kind == LAFS_OP_CROP_BICUBIC, n, out);
    case LAFS_OP_BLUR: return blur(in, op->a[0], out);
    case LAFS_OP_FLIP: flip(in, out); return 1;
    case LAFS_OP_BRIGHTNESS:
    case LAFS_OP_CONTRAST:
    case LAFS_OP_SATURATION: blends(in, op, out); return 1;
    case LAFS_OP_HUE: hue(in, op->a[0], out); return 1;
    case LAFS_OP_SHARPNESS: sharpness(in, op->a[0], out); return 1;
    case LAFS_OP_AUTOCONTRAST:
    case LAFS_OP_EQUALIZE: histogram_op(in, op->kind, out); return 1;
    case LAFS_OP_ERASE: erase(in, op->a, out); return 1;
    case LAFS_OP_GRAY:
    case LAFS_OP_SOLARIZE:
    case LAFS_OP_INVERT:
    case LAFS_OP_POSTERIZE: pointwise(in, op, out); return 1;
    default: geometry(in, op, out); return 1;
    }
}

/* Replaces p by what op makes of it. */
static int advance(struct picture *p, const struct lafs_view_op *op, int n)
{
    int cut = op->kind == LAFS_OP_CROP_BICUBIC || op->kind == LAFS_OP_CROP_BILINEAR;
    struct picture out = {cut ? n : p->w, cut ? n : p->h, NULL};
    out.px = malloc((size_t)out.w * (size_t)out.h * 3);
    int ok = out.px && carry_out(p, op, n, &out);
    free(p->px);
    *p = out;
    return ok;
}

static lafs_status view(const struct lafs_viewplan *plan, const uint8_t *source, int w, int h, uint8_t *clean,
                        uint8_t *augmented, struct lafs_err *err)
{
    LAFS_TRY(lafs_viewplan_check(plan, w, h, err));
    size_t size = (size_t)w * (size_t)h * 3, result = (size_t)plan->out_size * (size_t)plan->out_size * 3;
    struct picture p = {w, h, malloc(size)};
    int ok = p.px != NULL;
    if (ok) memcpy(p.px, source, size);
    for (int i = 0; ok; i++) {
        if (i == plan->clean_ops && clean) memcpy(clean, p.px, result);
        if (i == plan->ops && augmented) memcpy(augmented, p.px, result);
        if (i == plan->ops) break;
        ok = advance(&p, &plan->op[i], plan->out_size);
    }
    free(p.px);
    return ok ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "out of memory");
}

void lafs_ref_render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                     const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented)
{
    for (int64_t i = 0; i < n; i++) {
        struct lafs_err err = {0};
        if (view(&plan[i], source[i], w[i], h[i], clean ? clean[i] : NULL, augmented ? augmented[i] : NULL, &err) !=
            LAFS_OK)
            lafs_host_failed(d, &err);
    }
}
