/* Views from u8 sources: PIL's and torchvision's arithmetic, as kernels/ref/render.c spells it out, 8 bits between
 * operations. A block has a view and walks through its plan; pictures, (h, w, 3) u8 RGB, lie in two places of its own
 * that take turns. Sources are uploaded once each, however many views they give. This file is compiled without fused
 * multiply-add, and turns' sines come from the host: pixels are the CPU's to the bit. */
#include <stdlib.h>

#include "kernels/cuda/dev.cuh"

struct turn {
    double cosine, sine;
};
struct view { /* a view as the kernel takes it */
    const uint8_t *source;
    int w, h, skip;          /* skip: its plan cannot be carried out */
    uint8_t *clean, *augmented;
    struct lafs_viewplan plan;
    struct turn turn[LAFS_VIEW_MAX_OPS]; /* of rotations */
};
struct room { /* of each view: two pictures, what lies between passes, weights of a resize; multiples of 16 bytes */
    size_t picture, between, weights;
    int taps, outs;          /* weights of an output, at most; outputs of a row or column, at most */
};
static size_t room_size(const struct room *r) { return 2 * r->picture + r->between + r->weights; }

struct picture {
    int w, h;
    const uint8_t *px;
};

DEVICE const uint8_t *at(const struct picture *p, int y, int x) { return p->px + ((size_t)y * p->w + x) * 3; }
DEVICE int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }
DEVICE uint8_t truncated(double v) { return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v; }
DEVICE int grey(const uint8_t *p) { return (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16; }

/* Lines of a picture are the warps', in turn, and their bytes or pixels the lanes': nobody divides by a width. */
DEVICE int warps() { return block_threads() / WARP; }

/* Copies n bytes of a picture. */
DEVICE void copy(const uint8_t *from, uint8_t *to, int n)
{
    if ((((uintptr_t)from | (uintptr_t)to | (uintptr_t)n) & 3) == 0) {
        const struct couple *words = (const struct couple *)from;
        for (int i = thread_index(); i < n / 4; i += block_threads()) ((struct couple *)to)[i] = words[i];
        return;
    }
    for (int i = thread_index(); i < n; i += block_threads()) to[i] = from[i];
}

/* -- crop and resize -- */

DEVICE double filter(int bicubic, double x) /* a = -0.5 */
{
    x = fabs(x);
    if (!bicubic) return x < 1 ? 1 - x : 0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
}
/* Of a thread each output: k[0] is the first input, k[1] their number, then their weights in 22 bits. */
DEVICE void make_weights(int bicubic, int len, int n, int taps, int32_t *table)
{
    for (int i = thread_index(); i < n; i += block_threads()) {
        int32_t *k = table + (size_t)i * (taps + 2);
        const double scale = (double)len / n, stretch = scale < 1 ? 1 : scale, support = (bicubic ? 2 : 1) * stretch;
        const double centre = (i + 0.5) * scale;
        double sum = 0;
        int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5);
        if (lo < 0) lo = 0;
        if (hi > len) hi = len;
        for (int j = lo; j < hi; j++) sum += filter(bicubic, (j - centre + 0.5) / stretch);
        for (int j = lo; j < hi; j++) {
            double v = filter(bicubic, (j - centre + 0.5) / stretch);
            if (sum != 0) v /= sum;
            k[2 + j - lo] = (int32_t)(v < 0 ? v * (1 << 22) - 0.5 : v * (1 << 22) + 0.5);
        }
        k[0] = lo;
        k[1] = hi - lo;
    }
}
/* Cuts out a = top, left, height, width and resizes it to n x n: columns first, then rows, 8 bits between. */
DEVICE void crop(const struct picture *in, const float *a, int bicubic, int n, int taps, uint8_t *wide, int32_t *table,
                 uint8_t *out)
{
    const int top = (int)a[0], left = (int)a[1], h = (int)a[2], w = (int)a[3];
    make_weights(bicubic, w, n, taps, table);
    block_sync();
    for (int y = warp_index(); y < h; y += warps()) {
        const uint8_t *line = at(in, top + y, left);
        for (int i = lane_index(); i < 3 * n; i += WARP) {
            const int32_t *k = table + i / 3 * (taps + 2);
            const uint8_t *from = line + 3 * k[0] + i % 3;
            const int count = k[1];
            int32_t sum = 1 << 21; /* weights' sizes sum to less than 2, so that 255 of them fit */
            for (int j = 0; j < count; j++) sum += k[2 + j] * from[3 * j];
            wide[y * n * 3 + i] = (uint8_t)clamp(sum >> 22, 0, 255);
        }
    }
    block_sync();
    make_weights(bicubic, h, n, taps, table);
    block_sync();
    for (int y = warp_index(); y < n; y += warps()) {
        const int32_t *k = table + y * (taps + 2);
        const uint8_t *line = wide + k[0] * n * 3;
        const int count = k[1];
        for (int i = lane_index(); i < 3 * n; i += WARP) {
            int32_t sum = 1 << 21;
            for (int j = 0; j < count; j++) sum += k[2 + j] * line[j * n * 3 + i];
            out[y * n * 3 + i] = (uint8_t)clamp(sum >> 22, 0, 255);
        }
    }
}

/* -- geometry -- */

DEVICE double cubic_between(const double v[4], double d)
{
    return v[1] + d * (v[2] - v[0] + d * (2 * (v[0] - v[1]) + v[2] - v[3] + d * (v[1] - v[0] - v[2] + v[3])));
}
/* Value of channel c at (x, y), pixel centres at integers here, edges replicated. */
DEVICE double sample(const struct picture *in, double x, double y, int c, int bicubic)
{
    const int ix = (int)floor(x), iy = (int)floor(y), lo = bicubic ? -1 : 0, n = bicubic ? 4 : 2;
    const double dx = x - ix, dy = y - iy;
    double row[4];
    for (int j = 0; j < n; j++) {
        double v[4];
        for (int i = 0; i < n; i++)
            v[i] = at(in, clamp(iy + lo + j, 0, in->h - 1), clamp(ix + lo + i, 0, in->w - 1))[c];
        row[j] = bicubic ? cubic_between(v, dx) : v[0] + (v[1] - v[0]) * dx;
    }
    return bicubic ? cubic_between(row, dy) : row[0] + (row[1] - row[0]) * dy;
}
DEVICE void geometry(const struct picture *in, const struct lafs_view_op *op, const struct turn *turn, uint8_t *out)
{
    double m[6] = {1, 0, 0, 0, 1, 0};
    const double v = op->a[0];
    if (op->kind == LAFS_OP_SHEAR_X) m[1] = v;
    else if (op->kind == LAFS_OP_SHEAR_Y) m[3] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_X) m[2] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_Y) m[5] = v;
    else {
        const double cx = in->w / 2.0, cy = in->h / 2.0;
        m[0] = m[4] = turn->cosine;
        m[1] = turn->sine;
        m[3] = -m[1];
        m[2] = cx - m[0] * cx - m[1] * cy;
        m[5] = cy - m[3] * cx - m[4] * cy;
    }
    for (int y = warp_index(); y < in->h; y += warps())
        for (int x = lane_index(); x < in->w; x += WARP) {
            const double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
            const double sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            const int inside = sx >= 0 && sy >= 0 && sx < in->w && sy < in->h;
            for (int c = 0; c < 3; c++)
                out[3 * (y * in->w + x) + c] =
                    inside ? truncated(sample(in, sx - 0.5, sy - 0.5, c, op->a[1] != 0)) : 128;
        }
}

/* -- photometry -- */

/* From + factor (to - from), clipped and truncated. */
DEVICE uint8_t blend(int from, int to, float factor) { return truncated((float)from + factor * (float)(to - from)); }
DEVICE void blends(const struct picture *in, const struct lafs_view_op *op, double *room, uint8_t *out)
{
    const int n = in->w * in->h;
    int mean = 0;
    if (op->kind == LAFS_OP_CONTRAST) {
        int64_t sum = 0;
        for (int i = thread_index(); i < n; i += block_threads()) sum += grey(in->px + 3 * i);
        mean = (int)(block_sum((double)sum, room) / (double)n + 0.5);
    }
    for (int i = thread_index(); i < n; i += block_threads()) {
        const uint8_t *p = in->px + 3 * i;
        const int from = op->kind == LAFS_OP_BRIGHTNESS ? 0 : op->kind == LAFS_OP_CONTRAST ? mean : grey(p);
        for (int c = 0; c < 3; c++) out[3 * i + c] = blend(from, p[c], op->a[0]);
    }
}

/* Through 8-bit HSV; h gets `shift` added, modulo 256. */
DEVICE void hue_pixel(const uint8_t *in, int shift, uint8_t *out)
{
    const int r = in[0], g = in[1], b = in[2], most = r > g ? r : g, least = r < g ? r : g;
    const int max = b > most ? b : most, min = b < least ? b : least;
    int h8 = 0, s8 = 0;
    if (max != min) {
        const float range = (float)(max - min), rc = (float)(max - r) / range, gc = (float)(max - g) / range,
                    bc = (float)(max - b) / range;
        float h = r == max ? bc - gc : g == max ? (float)(2.0 + rc - bc) : (float)(4.0 + gc - rc);
        const double turns = h / 6.0 + 1.0; /* less than 2 */
        h = (float)(turns >= 1 ? turns - 1 : turns);
        h8 = clamp((int)(h * 255.0), 0, 255);
        s8 = clamp((int)(range / (float)max * 255.0), 0, 255);
    }
    h8 = (h8 + shift) & 255;
    if (s8 == 0) {
        out[0] = out[1] = out[2] = (uint8_t)max;
        return;
    }
    const double six = h8 * 6.0 / 255.0;
    const int i = (int)six;
    const float f = (float)(six - i), s = (float)s8 / 255.0f;
    const int v = max, p = clamp((int)round(max * (1.0 - s)), 0, 255);
    const int q = clamp((int)round(max * (1.0 - s * f)), 0, 255);
    const int t = clamp((int)round(max * (1.0 - s * (1.0 - f))), 0, 255);
    const int turn = i % 6;
    out[0] = (uint8_t)(turn == 0 || turn == 5 ? v : turn == 1 ? q : turn == 4 ? t : p);
    out[1] = (uint8_t)(turn == 1 || turn == 2 ? v : turn == 3 ? q : turn == 0 ? t : p);
    out[2] = (uint8_t)(turn == 3 || turn == 4 ? v : turn == 5 ? q : turn == 2 ? t : p);
}

/* Each pixel from itself alone: hue, grey, solarise, invert, posterise, mirrored and erased ones. */
DEVICE void pointwise(const struct picture *in, const struct lafs_view_op *op, uint8_t *out)
{
    const int mask = op->kind == LAFS_OP_POSTERIZE ? 0xFF & ~((1 << (8 - (int)op->a[0])) - 1) : 0;
    const int shift = op->kind == LAFS_OP_HUE ? (int)(op->a[0] * 255.0) : 0;
    const int top = (int)op->a[0], left = (int)op->a[1], h = (int)op->a[2], w = (int)op->a[3];
    for (int y = warp_index(); y < in->h; y += warps())
        for (int x = lane_index(); x < in->w; x += WARP) {
            const uint8_t *p = at(in, y, op->kind == LAFS_OP_FLIP ? in->w - 1 - x : x);
            uint8_t *to = out + 3 * (y * in->w + x);
            if (op->kind == LAFS_OP_HUE) {
                hue_pixel(p, shift, to);
                continue;
            }
            for (int c = 0; c < 3; c++) {
                int v = p[c];
                if (op->kind == LAFS_OP_GRAY) v = grey(p);
                else if (op->kind == LAFS_OP_SOLARIZE) v = v < 128 ? v : 255 - v;
                else if (op->kind == LAFS_OP_INVERT) v = 255 - v;
                else if (op->kind == LAFS_OP_POSTERIZE) v &= mask;
                else if (op->kind == LAFS_OP_ERASE && y >= top && y < top + h && x >= left && x < left + w) v = 0;
                to[c] = (uint8_t)v;
            }
        }
}

/* Per channel, by a table made from the histogram: autocontrast stretches to 0..255, equalise flattens. A thread counts
 * one value, and a few others make the tables. count: 256 of each channel; table behind it. */
DEVICE void histogram_op(const struct picture *in, int kind, int32_t *count, uint8_t *out)
{
    const int n = in->w * in->h;
    uint8_t *table = (uint8_t *)(count + 3 * 256);
    for (int k = thread_index(); k < 3 * 256; k += block_threads()) {
        int sum = 0;
        for (int i = 0; i < n; i++) sum += in->px[3 * i + k / 256] == k % 256;
        count[k] = sum;
    }
    block_sync();
    if (thread_index() < 3) {
        const int32_t *of = count + 256 * thread_index();
        uint8_t *to = table + 256 * thread_index();
        int lo = 0, hi = 255;
        while (of[lo] == 0) lo++;
        while (of[hi] == 0) hi--;
        const int step = (n - of[hi]) / 255, same = lo == hi || (kind == LAFS_OP_EQUALIZE && step == 0);
        const double scale = 255.0 / (hi - lo), offset = -lo * scale;
        int sum = step / 2;
        for (int v = 0; v < 256; v++) {
            if (same) to[v] = (uint8_t)v;
            else if (kind == LAFS_OP_AUTOCONTRAST) to[v] = (uint8_t)clamp((int)(v * scale + offset), 0, 255);
            else to[v] = (uint8_t)(sum / step > 255 ? 255 : sum / step), sum += of[v];
        }
    }
    block_sync();
    for (int e = thread_index(); e < 3 * n; e += block_threads()) out[e] = table[e % 3 * 256 + in->px[e]];
}

/* -- neighbourhoods -- */

/* Blend with the picture smoothed by 1 1 1 / 1 5 1 / 1 1 1 over 13, whose border is the picture's own. */
DEVICE void sharpness(const struct picture *in, float factor, uint8_t *out)
{
    const int across = 3 * in->w;
    for (int y = warp_index(); y < in->h; y += warps())
        for (int i = lane_index(); i < across; i += WARP) {
            const uint8_t *here = in->px + y * across + i;
            const int v = *here;
            int smooth = v;
            if (i >= 3 && y > 0 && i < across - 3 && y < in->h - 1) {
                int sum = 4 * v;
                for (int j = -1; j <= 1; j++)
                    for (int k = -3; k <= 3; k += 3) sum += here[j * across + k];
                smooth = (2 * sum + 13) / 26;
            }
            out[y * across + i] = blend(smooth, v, factor);
        }
}

/* Three box passes along rows, three along columns: 2 radius + 1 full values and `edge` of the two next to them. */
DEVICE void blur(const struct picture *in, float sigma, uint8_t *between, uint8_t *out)
{
    const float s = sigma * sigma / 3, l = floorf((sqrtf(12 * s + 1) - 1) / 2);
    const float r = l + (2 * l + 1) * (l * (l + 1) - 3 * s) / (6 * (s - (l + 1) * (l + 1)));
    const int radius = (int)r, across = 3 * in->w;
    const uint32_t full = (uint32_t)((1 << 24) / (r * 2 + 1));
    const uint32_t edge = ((1u << 24) - (uint32_t)(radius * 2 + 1) * full) / 2;
    const uint8_t *from = in->px;
    for (int pass = 0; pass < 6; pass++) {
        uint8_t *to = pass % 2 ? out : between;
        const int n = pass < 3 ? in->w : in->h, step = pass < 3 ? 3 : across;
        for (int y = warp_index(); y < in->h; y += warps())
            for (int e = lane_index(); e < across; e += WARP) {
                const int place = pass < 3 ? e / 3 : y;
                const uint8_t *line = from + (pass < 3 ? y * across + e % 3 : e);
                uint32_t sum = 0, ends;
                if (place > radius && place + radius + 1 < n) {
                    const uint8_t *at = line + (place - radius - 1) * step;
                    ends = *at;
                    for (int i = -radius; i <= radius; i++) sum += *(at += step);
                    ends += at[step];
                } else {
                    for (int i = -radius; i <= radius; i++) sum += line[clamp(place + i, 0, n - 1) * step];
                    ends = (uint32_t)line[clamp(place - radius - 1, 0, n - 1) * step] +
                           line[clamp(place + radius + 1, 0, n - 1) * step];
                }
                to[y * across + e] = (uint8_t)((sum * full + ends * edge + (1u << 23)) >> 24);
            }
        block_sync();
        from = to;
    }
}

/* -- plans -- */

KERNEL_FOR(THREADS, 4) render_kernel(const struct view *views, struct room room, uint8_t *rooms)
{
    const struct view *v = views + block_x();
    uint8_t *turn[2], *between;
    turn[0] = rooms + (size_t)block_x() * (2 * room.picture + room.between + room.weights);
    turn[1] = turn[0] + room.picture;
    between = turn[1] + room.picture;
    int32_t *weights = (int32_t *)(between + room.between);
    double *sums = shared_memory<double>();
    struct picture p = {v->w, v->h, v->source};
    const int n = v->plan.out_size;
    for (int i = 0; !v->skip; i++) {
        if (i == v->plan.clean_ops && v->clean) copy(p.px, v->clean, n * n * 3);
        if (i == v->plan.ops && v->augmented) copy(p.px, v->augmented, n * n * 3);
        if (i == v->plan.ops) break;
        const struct lafs_view_op *op = &v->plan.op[i];
        uint8_t *out = turn[i % 2];
        switch (op->kind) {
        case LAFS_OP_CROP_BICUBIC:
        case LAFS_OP_CROP_BILINEAR:
            crop(&p, op->a, op->kind == LAFS_OP_CROP_BICUBIC, n, room.taps, between, weights, out);
            p.w = p.h = n;
            break;
        case LAFS_OP_BLUR: blur(&p, op->a[0], between, out); break;
        case LAFS_OP_BRIGHTNESS:
        case LAFS_OP_CONTRAST:
        case LAFS_OP_SATURATION: blends(&p, op, sums, out); break;
        case LAFS_OP_SHARPNESS: sharpness(&p, op->a[0], out); break;
        case LAFS_OP_AUTOCONTRAST:
        case LAFS_OP_EQUALIZE: histogram_op(&p, op->kind, (int32_t *)sums, out); break;
        case LAFS_OP_ROTATE:
        case LAFS_OP_SHEAR_X:
        case LAFS_OP_SHEAR_Y:
        case LAFS_OP_TRANSLATE_X:
        case LAFS_OP_TRANSLATE_Y: geometry(&p, op, &v->turn[i], out); break;
        default: pointwise(&p, op, out);
        }
        p.px = out;
        block_sync();
    }
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t round_up(size_t n) { return (n + 15) / 16 * 16; }

/* What the view's pictures and weights need: as if a crop of the whole source were among its operations, and a blur
 * behind it, so that sizes alone decide, not what was drawn, and memory planned for some views is enough for others
 * like them. Pictures of the source's size are wanted by views that do not crop first. */
static void measure(const struct view *v, struct room *r)
{
    const struct lafs_viewplan *plan = &v->plan;
    size_t w = (size_t)v->w, h = (size_t)v->h;
    const size_t n = (size_t)plan->out_size;
    const size_t side = larger(w, h), pixels = plan->kind == LAFS_VIEW_TRAIN ? larger(w * h, n * n) : n * n;
    const int taps = (int)(4 * fmax((double)side / (double)n, 1)) + 3;
    if (taps > r->taps) r->taps = taps;
    r->between = larger(r->between, round_up(larger(side, n) * n * 3));
    r->picture = larger(r->picture, round_up(pixels * 3));
    for (int i = 0; i < plan->ops; i++) {
        const struct lafs_view_op *op = &plan->op[i];
        if (op->kind == LAFS_OP_CROP_BICUBIC || op->kind == LAFS_OP_CROP_BILINEAR) {
            const double stretch = fmax((double)fmaxf(op->a[2], op->a[3]) / plan->out_size, 1);
            const int wanted = (int)(4 * stretch) + 3;
            if (wanted > r->taps) r->taps = wanted;
            r->between = larger(r->between, round_up((size_t)op->a[2] * n * 3));
            w = h = n;
        } else if (op->kind == LAFS_OP_BLUR) {
            r->between = larger(r->between, round_up(w * h * 3));
        }
        r->picture = larger(r->picture, round_up(w * h * 3));
    }
    if (plan->out_size > r->outs) r->outs = plan->out_size;
    r->weights = round_up((size_t)r->outs * (size_t)(r->taps + 2) * sizeof(int32_t));
}

struct source {
    const uint8_t *px;
    size_t size;
    int64_t view;
};
static int by_place(const void *a, const void *b)
{
    const struct source *x = (const struct source *)a, *y = (const struct source *)b;
    if (x->px != y->px) return x->px < y->px ? -1 : 1;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->view > y->view) - (x->view < y->view);
}
static int another(const struct source *a, const struct source *b) { return a->px != b->px || a->size != b->size; }
/* Uploads each source once, whichever views it serves. 0: no memory. */
static int upload_sources(struct lafs_dev *d, int64_t n, struct source *of, struct view *view)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < n; i++) of[i] = {view[i].source, (size_t)view[i].w * (size_t)view[i].h * 3, i};
    qsort(of, (size_t)n, sizeof *of, by_place);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || another(&of[i], &of[i - 1])) bytes += of[i].size;
    uint8_t *at = (uint8_t *)dev_scratch(d, SCRATCH_A, bytes), *last = NULL;
    for (int64_t i = 0; i < n && at; i++) {
        if (i == 0 || another(&of[i], &of[i - 1])) {
            dev_upload(d, at, of[i].px, of[i].size);
            last = at;
            at += of[i].size;
        }
        view[of[i].view].source = last;
    }
    return at != NULL;
}

/* A view as the kernel takes it; a plan that cannot be carried out is set apart, and remembered. */
static struct view view_of(struct lafs_dev *d, const struct lafs_viewplan *plan, const uint8_t *source, int w, int h,
                           uint8_t *clean, uint8_t *augmented)
{
    struct lafs_err err = {LAFS_OK, {0}};
    struct view v = {source, w, h, 0, clean, augmented, *plan, {{0, 0}}};
    v.skip = lafs_viewplan_check(plan, w, h, &err) != LAFS_OK;
    if (v.skip && d->err.status == LAFS_OK) d->err = err;
    for (int i = 0; !v.skip && i < plan->ops; i++) {
        const double turn = -(double)plan->op[i].a[0] * 3.14159265358979323846 / 180;
        if (plan->op[i].kind == LAFS_OP_ROTATE) v.turn[i] = {cos(turn), sin(turn)};
    }
    return v;
}

/* Views at a time, so that their rooms stay small. */
static void render_views(struct lafs_dev *d, int64_t n, const struct view *view)
{
    const size_t most = (size_t)256 << 20;
    struct room room = {0, 0, 0, 0, 0};
    for (int64_t i = 0; i < n; i++)
        if (!view[i].skip) measure(&view[i], &room);
    const int64_t fit = (int64_t)(most / larger(room_size(&room), 1)), slice = fit < 1 ? 1 : fit < n ? fit : n;
    const struct view *dev = (const struct view *)dev_scratch_from(d, SCRATCH_ROWS, view, (size_t)n * sizeof *view);
    uint8_t *rooms = (uint8_t *)dev_scratch(d, SCRATCH_B, (size_t)slice * room_size(&room));
    for (int64_t i = 0; i < n && dev && rooms; i += slice)
        LAUNCH(d, render_kernel, grid_of(n - i < slice ? n - i : slice), THREADS, 3 * 256 * (sizeof(int32_t) + 1),
               dev + i, room, rooms);
}

static void render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                   const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented)
{
    struct lafs_err err = {LAFS_OK, {0}};
    struct view *view = NULL;
    struct source *of = NULL;
    if (n == 0) return;
    if (lafs_alloc(&view, (size_t)n, sizeof *view, &err) != LAFS_OK ||
        lafs_alloc(&of, (size_t)n, sizeof *of, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        lafs_free(view);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        view[i] = view_of(d, &plan[i], source[i], w[i], h[i], clean ? clean[i] : NULL, augmented ? augmented[i] : NULL);
    if (upload_sources(d, n, of, view)) render_views(d, n, view);
    lafs_free(view);
    lafs_free(of);
}

void ops_render(struct lafs_ops *ops) { ops->render = render; }
