/* Views from u8 sources: PIL's and torchvision's arithmetic, as kernels/ref/render.c spells it out, 8 bits between
 * operations. A block has a view and walks through its plan; pictures, (h, w, 3) u8 RGB, lie in two places of its own
 * that take turns. Sources are uploaded once each, however many views they give. */
#include "kernels/cuda/dev.cuh"

struct view { /* a view as the kernel takes it */
    const uint8_t *source;
    int w, h, skip;          /* skip: its plan cannot be carried out */
    uint8_t *clean, *augmented;
    struct lafs_viewplan plan;
};
struct room { /* of each view: two pictures, one more for what lies between passes, weights of a resize */
    size_t picture, weights;
    int taps;                /* weights of an output, at most */
};
static size_t room_size(const struct room *r) { return 3 * r->picture + r->weights; }

struct picture {
    int w, h;
    const uint8_t *px;
};

DEVICE const uint8_t *at(const struct picture *p, int y, int x) { return p->px + ((size_t)y * p->w + x) * 3; }
DEVICE int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }
DEVICE uint8_t truncated(double v) { return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v; }
DEVICE int grey(const uint8_t *p) { return (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16; }

/* Copies n bytes of a picture. */
DEVICE void copy(const uint8_t *from, uint8_t *to, int n)
{
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
    for (int e = thread_index(); e < h * n * 3; e += block_threads()) {
        const int32_t *k = table + (size_t)(e / 3 % n) * (taps + 2);
        const uint8_t *from = at(in, top + e / 3 / n, left + k[0]) + e % 3;
        int64_t sum = 1 << 21;
        for (int j = 0; j < k[1]; j++) sum += (int64_t)k[2 + j] * from[3 * j];
        wide[e] = (uint8_t)clamp((int)(sum >> 22), 0, 255);
    }
    block_sync();
    make_weights(bicubic, h, n, taps, table);
    block_sync();
    for (int e = thread_index(); e < n * n * 3; e += block_threads()) {
        const int32_t *k = table + (size_t)(e / 3 / n) * (taps + 2);
        const uint8_t *from = wide + (size_t)k[0] * n * 3 + e % (n * 3);
        int64_t sum = 1 << 21;
        for (int j = 0; j < k[1]; j++) sum += (int64_t)k[2 + j] * from[(size_t)j * n * 3];
        out[e] = (uint8_t)clamp((int)(sum >> 22), 0, 255);
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
DEVICE void geometry(const struct picture *in, const struct lafs_view_op *op, uint8_t *out)
{
    double m[6] = {1, 0, 0, 0, 1, 0};
    const double v = op->a[0];
    if (op->kind == LAFS_OP_SHEAR_X) m[1] = v;
    else if (op->kind == LAFS_OP_SHEAR_Y) m[3] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_X) m[2] = v;
    else if (op->kind == LAFS_OP_TRANSLATE_Y) m[5] = v;
    else {
        const double turn = -v * 3.14159265358979323846 / 180, cx = in->w / 2.0, cy = in->h / 2.0;
        m[0] = m[4] = cos(turn);
        m[1] = sin(turn);
        m[3] = -m[1];
        m[2] = cx - m[0] * cx - m[1] * cy;
        m[5] = cy - m[3] * cx - m[4] * cy;
    }
    for (int i = thread_index(); i < in->w * in->h; i += block_threads()) {
        const int x = i % in->w, y = i / in->w;
        const double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
        const int inside = sx >= 0 && sy >= 0 && sx < in->w && sy < in->h;
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = inside ? truncated(sample(in, sx - 0.5, sy - 0.5, c, op->a[1] != 0)) : 128;
    }
}

/* -- photometry -- */

/* From + factor (to - from), clipped and truncated; rounded as the CPU does. */
DEVICE uint8_t blend(int from, int to, float factor)
{
    return truncated((float)from + multiply_rounded(factor, (float)(to - from)));
}
DEVICE void blends(const struct picture *in, const struct lafs_view_op *op, double *room, uint8_t *out)
{
    const int n = in->w * in->h;
    double sum = 0;
    for (int i = thread_index(); i < n; i += block_threads()) sum += grey(in->px + 3 * i);
    const int mean = (int)(block_sum(sum, room) / (double)n + 0.5);
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
        h = (float)fmod(h / 6.0 + 1.0, 1.0);
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
    const int q = clamp((int)round(max * (1.0 - multiply_rounded(s, f))), 0, 255);
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
    for (int i = thread_index(); i < in->w * in->h; i += block_threads()) {
        const int x = i % in->w, y = i / in->w;
        const uint8_t *p = op->kind == LAFS_OP_FLIP ? at(in, y, in->w - 1 - x) : in->px + 3 * i;
        if (op->kind == LAFS_OP_HUE) {
            hue_pixel(p, shift, out + 3 * i);
            continue;
        }
        for (int c = 0; c < 3; c++) {
            int v = p[c];
            if (op->kind == LAFS_OP_GRAY) v = grey(p);
            else if (op->kind == LAFS_OP_SOLARIZE) v = v < 128 ? v : 255 - v;
            else if (op->kind == LAFS_OP_INVERT) v = 255 - v;
            else if (op->kind == LAFS_OP_POSTERIZE) v &= mask;
            else if (op->kind == LAFS_OP_ERASE && y >= top && y < top + h && x >= left && x < left + w) v = 0;
            out[3 * i + c] = (uint8_t)v;
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
    for (int e = thread_index(); e < in->w * in->h * 3; e += block_threads()) {
        const int x = e / 3 % in->w, y = e / 3 / in->w, c = e % 3, v = in->px[e];
        int smooth = v;
        if (x > 0 && y > 0 && x < in->w - 1 && y < in->h - 1) {
            int sum = 4 * v;
            for (int j = -1; j <= 1; j++)
                for (int i = -1; i <= 1; i++) sum += at(in, y + j, x + i)[c];
            smooth = (2 * sum + 13) / 26;
        }
        out[e] = blend(smooth, v, factor);
    }
}

/* Three box passes along rows, three along columns: 2 radius + 1 full values and `edge` of the two next to them. */
DEVICE void blur(const struct picture *in, float sigma, uint8_t *between, uint8_t *out)
{
    const float s = multiply_rounded(sigma, sigma) / 3, l = floorf((sqrtf(multiply_rounded(12, s) + 1) - 1) / 2);
    const float under = multiply_rounded(6, s - multiply_rounded(l + 1, l + 1));
    const float over =
        multiply_rounded(multiply_rounded(2, l) + 1, multiply_rounded(l, l + 1) - multiply_rounded(3, s));
    const float r = l + over / under;
    const int radius = (int)r, size = in->w * in->h * 3;
    const uint32_t full = (uint32_t)((1 << 24) / (multiply_rounded(r, 2) + 1));
    const uint32_t edge = ((1u << 24) - (uint32_t)(radius * 2 + 1) * full) / 2;
    const uint8_t *from = in->px;
    for (int pass = 0; pass < 6; pass++) {
        uint8_t *to = pass % 2 ? out : between;
        for (int e = thread_index(); e < size; e += block_threads()) {
            const int c = e % 3, x = e / 3 % in->w, y = e / 3 / in->w, n = pass < 3 ? in->w : in->h;
            const int place = pass < 3 ? x : y, step = pass < 3 ? 3 : 3 * in->w;
            const uint8_t *line = from + (pass < 3 ? y * in->w * 3 + c : 3 * x + c);
            uint32_t sum = 0;
            for (int i = -radius; i <= radius; i++) sum += line[clamp(place + i, 0, n - 1) * step];
            const uint32_t ends = (uint32_t)line[clamp(place - radius - 1, 0, n - 1) * step] +
                                  line[clamp(place + radius + 1, 0, n - 1) * step];
            to[e] = (uint8_t)((sum * full + ends * edge + (1u << 23)) >> 24);
        }
        block_sync();
        from = to;
    }
}

/* -- plans -- */

KERNEL render_kernel(const struct view *views, struct room room, uint8_t *rooms)
{
    const struct view *v = views + block_x();
    uint8_t *mine = rooms + (size_t)block_x() * (3 * room.picture + room.weights);
    uint8_t *turn[2] = {mine, mine + room.picture}, *between = mine + 2 * room.picture;
    int32_t *weights = (int32_t *)(mine + 3 * room.picture);
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
        case LAFS_OP_TRANSLATE_Y: geometry(&p, op, out); break;
        default: pointwise(&p, op, out);
        }
        p.px = out;
        block_sync();
    }
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* What the plan's pictures and weights need. */
static void measure(const struct lafs_viewplan *plan, int w, int h, struct room *r)
{
    r->picture = larger(r->picture, larger((size_t)w * (size_t)h, (size_t)plan->out_size * (size_t)plan->out_size) * 3);
    for (int i = 0; i < plan->ops; i++) {
        if (plan->op[i].kind != LAFS_OP_CROP_BICUBIC && plan->op[i].kind != LAFS_OP_CROP_BILINEAR) continue;
        const int most = (int)fmaxf(plan->op[i].a[2], plan->op[i].a[3]);
        const double stretch = fmax((double)most / plan->out_size, 1);
        const int taps = (int)(4 * stretch) + 3;
        if (taps > r->taps) r->taps = taps;
        r->picture = larger(r->picture, (size_t)most * (size_t)plan->out_size * 3); /* between the passes */
    }
}

/* Views as the kernel takes them: sources uploaded, plans that cannot be carried out set apart. 0: no memory. */
static int prepare(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                   const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented, struct view *view,
                   struct room *room, int *widest)
{
    size_t bytes = 0;
    *room = {0, 0, 0};
    *widest = 0;
    for (int64_t i = 0; i < n; i++) {
        struct lafs_err err = {LAFS_OK, {0}};
        view[i] = {NULL, w[i], h[i], 0, clean ? clean[i] : NULL, augmented ? augmented[i] : NULL, plan[i]};
        view[i].skip = lafs_viewplan_check(&plan[i], w[i], h[i], &err) != LAFS_OK;
        if (view[i].skip && d->err.status == LAFS_OK) d->err = err;
        if (i == 0 || source[i] != source[i - 1]) bytes += (size_t)w[i] * (size_t)h[i] * 3;
        if (view[i].skip) continue;
        measure(&plan[i], w[i], h[i], room);
        if (plan[i].out_size > *widest) *widest = plan[i].out_size;
    }
    uint8_t *at = (uint8_t *)dev_scratch(d, SCRATCH_A, bytes);
    for (int64_t i = 0; i < n && at; i++) {
        const size_t size = (size_t)w[i] * (size_t)h[i] * 3;
        if (i && source[i] == source[i - 1]) {
            view[i].source = view[i - 1].source;
            continue;
        }
        runtime_upload(d, at, source[i], size);
        view[i].source = at;
        at += size;
    }
    return at != NULL;
}

static void render(struct lafs_dev *d, int64_t n, const struct lafs_viewplan *plan, const uint8_t *const *source,
                   const int *w, const int *h, uint8_t *const *clean, uint8_t *const *augmented)
{
    struct lafs_err err = {LAFS_OK, {0}};
    struct view *view = NULL;
    struct room room;
    int widest;
    if (n == 0) return;
    if (lafs_alloc(&view, (size_t)n, sizeof *view, &err) != LAFS_OK) {
        if (d->err.status == LAFS_OK) d->err = err;
        return;
    }
    if (prepare(d, n, plan, source, w, h, clean, augmented, view, &room, &widest)) {
        room.picture = (room.picture + 15) / 16 * 16;
        room.weights = ((size_t)widest * (size_t)(room.taps + 2) * sizeof(int32_t) + 15) / 16 * 16;
        const struct view *dev =
            (const struct view *)dev_scratch_from(d, SCRATCH_ROWS, view, (size_t)n * sizeof *view);
        uint8_t *rooms = (uint8_t *)dev_scratch(d, SCRATCH_B, (size_t)n * room_size(&room));
        if (dev && rooms)
            LAUNCH(d, render_kernel, grid_of(n), THREADS, 3 * 256 * (sizeof(int32_t) + 1), dev, room, rooms);
    }
    lafs_free(view);
}

void ops_render(struct lafs_ops *ops) { ops->render = render; }
