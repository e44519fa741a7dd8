/* Linear layers: products by product_run, of operands that kernels here round; what follows a product in one kernel. */
#include "kernels/cuda/dev.cuh"

static void run_product(struct lafs_dev *d, const struct product *p)
{
    if (!d->plan) product_run(d, p);
}

/* -- long sums with few results: a block of a product has a tile of the result and walks all of the sum, so that few
 * tiles leave most of the GPU idle. The sum is cut into parts, by the shape alone: products side by side. -- */

enum { PART_K = 4096 /* summands of a part, in form NN */, TILE = 128, BLOCKS = 1056, LEAST_PART = 512,
       BLOCKS_BF16 = 264, FEW_TILES_BF16 = 60, LEAST_PART_BF16 = 1024 };

/* At most so many parts of a gradient of weights, one more for what is left over; 0, 1: none. Never more of fewer
 * rows: memory is planned by the most. bf16: tensor units, which whole products keep busy much sooner. */
static int64_t most_parts(const struct product *p, int bf16)
{
    const int64_t tiles = ((p->m + TILE - 1) / TILE) * ((p->n + TILE - 1) / TILE);
    if (p->form != PRODUCT_TN || ldc_of(p) != p->n || tiles == 0 || (bf16 && tiles >= FEW_TILES_BF16)) return 0;
    const int64_t most = p->k / (bf16 ? LEAST_PART_BF16 : LEAST_PART);
    const int64_t want = ((bf16 ? BLOCKS_BF16 : BLOCKS) + tiles - 1) / tiles;
    return want < most ? want : most;
}
/* Summands of each of at most `parts`: multiples of 8, and of those somewhat larger what leaves the fewest over, which
 * few blocks have to take behind the others. */
static int64_t part_length(int64_t k, int64_t parts)
{
    const int64_t least = ((k + parts - 1) / parts + 7) / 8 * 8, most = least + least / 4;
    int64_t best = least;
    for (int64_t i = least; i <= most && k % best; i += 8)
        if (k % i < k % best) best = i;
    return best;
}

/* high and, unless NULL, low: bf16. Rows of `width`, ldx floats apart in x, ld apart in the others, a multiple of 8;
 * zeros between. A thread has eight; whole: those of x lie together as well. */
KERNEL round_kernel(int64_t n, int64_t width, int64_t ldx, int64_t ld, int whole, const float *x,
                    struct lafs_bf16 *high, struct lafs_bf16 *low)
{
    const int64_t i = global_index() * 8;
    float v[8];
    if (i >= n) return;
    if (whole) {
        take_whole(x + i, v);
    } else {
        const int64_t r = i / ld, c = i - r * ld;
        take_eight(x + r * ldx + c, width - c, 0, v);
    }
    give_whole(high + i, v);
    if (!low) return;
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = bf16_low(v[k]);
    give_whole(low + i, v);
}

/* An operand as bf16: rows of `width`, ld apart, a multiple of 8, as the GPU's units for products want them. */
struct rounded {
    const struct lafs_bf16 *high, *low; /* low: of bf16x3 */
    int64_t ld;
};
/* 0: no memory. */
static int round_operand(struct lafs_dev *d, enum scratch kind, enum lafs_precision precision, int64_t rows,
                         int64_t width, int64_t ldx, const float *x, struct rounded *out)
{
    const int parts = precision == LAFS_PRECISION_BF16X3 ? 2 : 1;
    const int64_t ld = (width + 7) / 8 * 8, n = rows * ld, low_at = (n + 127) / 128 * 128;
    struct lafs_bf16 *to = (struct lafs_bf16 *)dev_scratch(d, kind, (size_t)(parts * low_at) * sizeof *to);
    if (!to) return 0;
    *out = {to, parts == 2 ? to + low_at : NULL, ld};
    LAUNCH(d, round_kernel, grid_for(n / 8), THREADS, 0, n, width, ldx, ld, width == ldx && in_quads(width, x), x, to,
           parts == 2 ? to + low_at : NULL);
    return 1;
}

/* c: (parts, m, n), of `length` summands each. All whole parts in one call, then what is left. */
static void run_parts(struct lafs_dev *d, const struct product *whole, int64_t length)
{
    const int64_t item = whole->bf16 ? sizeof(uint16_t) : sizeof(float), count = whole->k / length;
    struct product p = *whole;
    p.lda = lda_of(whole), p.ldb = ldb_of(whole);
    p.step_a = whole->form == PRODUCT_TN ? length * p.lda : length, p.step_b = length * p.ldb, p.step_c = p.m * p.n;
    p.count = count;
    p.k = length;
    run_product(d, &p);
    p.a = (const char *)whole->a + count * p.step_a * item;
    p.b = (const char *)whole->b + count * p.step_b * item;
    p.c = (float *)whole->c + count * p.step_c;
    p.count = p.step_a = p.step_b = p.step_c = 0;
    p.k = whole->k % length;
    if (p.k) run_product(d, &p);
}
static void run(struct lafs_dev *d, const struct product *p, int64_t length)
{
    if (length) run_parts(d, p, length);
    else run_product(d, p);
}

/* Runs p, in parts of `length` (0: whole), on operands as `precision` wants them. */
static void on_operands(struct lafs_dev *d, enum lafs_precision precision, struct product p, int64_t length)
{
    const int64_t a_rows = p.form == PRODUCT_TN ? p.k : p.m, a_width = p.form == PRODUCT_TN ? p.m : p.k;
    const int64_t b_rows = p.form == PRODUCT_NT ? p.n : p.k, b_width = p.form == PRODUCT_NT ? p.k : p.n;
    struct rounded a, b;
    if (p.m == 0 || p.n == 0) return;
    if (p.bf16 || precision == LAFS_PRECISION_FP32) {
        run(d, &p, length);
        return;
    }
    if (!round_operand(d, SCRATCH_A, precision, a_rows, a_width, lda_of(&p), (const float *)p.a, &a) ||
        !round_operand(d, SCRATCH_B, precision, b_rows, b_width, ldb_of(&p), (const float *)p.b, &b))
        return;
    p.bf16 = 1;
    p.lda = a.ld, p.ldb = b.ld;
    p.a = a.high, p.b = b.high;
    run(d, &p, length);
    if (precision == LAFS_PRECISION_BF16) return;
    p.add = 1, p.bias = NULL;
    p.b = b.low;
    run(d, &p, length);
    p.a = a.low, p.b = b.high;
    run(d, &p, length);
}
/* The same with c as it was wanted: room is for `parts`. */
static void in_parts(struct lafs_dev *d, enum lafs_precision precision, struct product p, int64_t length, int64_t parts)
{
    const int64_t n = p.m * p.n;
    float *const c = (float *)p.c, *part = (float *)dev_scratch(d, SCRATCH_PARTS, (size_t)(parts * n) * sizeof *part);
    const int add = p.add;
    if (!part) return;
    p.c = part;
    p.add = 0;
    on_operands(d, precision, p, length);
    sum_parts(d, (p.k + length - 1) / length, n, n, part, add, c);
}

void multiply(struct lafs_dev *d, enum lafs_precision precision, struct product p)
{
    const int64_t parts = most_parts(&p, p.bf16 || precision != LAFS_PRECISION_FP32);
    if (parts > 1) in_parts(d, precision, p, part_length(p.k, parts), parts + 1);
    else on_operands(d, precision, p, 0);
}

void multiply_long(struct lafs_dev *d, enum lafs_precision precision, struct product p)
{
    const int64_t parts = (p.k + PART_K - 1) / PART_K;
    if (parts > 1) in_parts(d, precision, p, PART_K, parts);
    else on_operands(d, precision, p, 0);
}

void multiply_bf16(struct lafs_dev *d, struct product p)
{
    p.bf16 = 1;
    multiply(d, LAFS_PRECISION_BF16, p);
}

/* -- what follows a product -- */

/* Eight neighbours, by what they are stored as. */
template <class T> DEVICE void stored_values(enum lafs_act act, float v[8])
{
    if (act != LAFS_ACT_GELU) {
        act_values<8>(act, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = gelu_as((const T *)NULL, v[k]);
}

/* y = act(x), of n numbers, wherever rows begin; y may be x. A thread has AHEAD eights, a block's width apart. whole:
 * both begin at multiples of 16 bytes. */
enum { AHEAD = 2, ACT_BLOCK = THREADS * AHEAD * 8 };
template <class T> KERNEL act_kernel(int64_t n, int whole, enum lafs_act act, const T *x, T *y)
{
    const int64_t first = block_x() * ACT_BLOCK + 8 * thread_index();
    float v[AHEAD][8];
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
        const int64_t i = first + a * THREADS * 8;
        if (i < n) take_eight(x + i, n - i, whole && n - i >= 8, v[a]);
    }
#pragma unroll
    for (int a = 0; a < AHEAD; a++) {
        const int64_t i = first + a * THREADS * 8;
        if (i >= n) continue;
        stored_values<T>(act, v[a]);
        give_eight(y + i, n - i, whole && n - i >= 8, v[a]);
    }
}
template <class T> static void activate_as(struct lafs_dev *d, int64_t n, enum lafs_act act, const T *x, T *y)
{
    if (act == LAFS_ACT_NONE && x == y) return;
    LAUNCH_OF(T, d, act_kernel, grid_of((n + ACT_BLOCK - 1) / ACT_BLOCK), THREADS, 0, n, in_quads(0, x, y), act, x, y);
}
void activate(struct lafs_dev *d, int64_t n, enum lafs_act act, float *y) { activate_as<float>(d, n, act, y, y); }

/* y = drop(act(x)); y may be x. A thread takes eight neighbours of a row. */
template <class T> KERNEL finish_kernel(int64_t n, const int64_t *off, int64_t width, int whole, enum lafs_act act,
                                        struct drop drop, const T *x, T *y)
{
    const int64_t groups = (width + 7) / 8, row = global_index() / groups, j = global_index() % groups * 8;
    if (row >= off[n]) return;
    const int64_t seq = sequence_of(n, off, row), at = row * width + j;
    float v[8], keep[8];
    take_eight(x + at, width - j, whole, v);
    stored_values<T>(act, v);
    drop_factors(&drop, seq, (row - off[seq]) * width + j, whole, keep);
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] *= keep[k];
    give_eight(y + at, width - j, whole, v);
}

/* The same for GELU, of whole rows: a lane has eight columns, a block those of a warp and `each` rows, which its warps
 * share. A warp has its next row on its way while it computes one. */
enum { FINISH_ROWS = 128, FINISH_COLUMNS = WARP * 8, FINISH_WARPS = THREADS / WARP, FINISH_BLOCKS = 264 };
template <class T> constexpr int finish_blocks = sizeof(T) == sizeof(float) ? 3 : 4; /* at once: of their registers */
template <class T>
KERNEL_FOR(THREADS, finish_blocks<T>) gelu_drop_kernel(int64_t n, const int64_t *off, int64_t rows, int64_t each,
                                                       int64_t width, struct drop drop, const T *x, T *y)
{
    const int64_t column = (int64_t)block_y() * FINISH_COLUMNS + 8 * lane_index(), first = block_x() * each;
    const int count = (int)((first + each < rows ? first + each : rows) - first); /* of the block's rows */
    const int64_t step = FINISH_WARPS * width;
    const uint32_t across = (uint32_t)(width / 8), block = (uint32_t)(column / 8);
    const bool in = column < width; /* lanes that are not come along: a warp looks for sequences */
    struct place place = {0, 0, 0};
    struct drawing drawing = {};
    int until = 0; /* the sequence's end, from `first` on */
    uint32_t begin = 0; /* its draw of the column's eight, in row `first` */
    stored_eight<T> have[AHEAD] = {};
    x += (first + warp_index()) * width + column;
    y += (first + warp_index()) * width + column;
#pragma unroll
    for (int a = 0; a < AHEAD; a++)
        if (in && warp_index() + a * FINISH_WARPS < count) have[a] = as_stored(x + a * step);
    x += AHEAD * step;
    for (int i = warp_index(); i < count; i += AHEAD * FINISH_WARPS) {
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int at = i + a * FINISH_WARPS;
            float v[8], keep[8];
            if (at >= count) continue;
            if (at >= until) {
                place_row(&place, n, off, first + at);
                drawing_of(&drop, place.seq, &drawing);
                until = (int)(place.end - first), begin = (uint32_t)(first - place.start) * across + block;
            }
            drawn_factors(&drop, &drawing, begin + (uint32_t)at * across, keep);
            unpack(have[a], v);
#pragma unroll
            for (int k = 0; k < 8; k++) v[k] = gelu_as((const T *)NULL, v[k]) * keep[k];
            if (in) give_whole(y, v);
            if (in && at + AHEAD * FINISH_WARPS < count) have[a] = as_stored(x);
            x += step, y += step;
        }
    }
}
template <class T> static void finish(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, enum lafs_act act,
                                      const struct lafs_drop *drop, const T *x, T *y)
{
    const struct drop mask = drawn_drop_of(drop);
    const int64_t all = lafs_seqs_rows(s), across = (width + FINISH_COLUMNS - 1) / FINISH_COLUMNS;
    const int whole = in_quads(width, x, y);
    if (!mask.key) {
        activate_as<T>(d, all * width, act, x, y);
    } else if (act == LAFS_ACT_GELU && whole) {
        const int64_t each = all * across >= FINISH_BLOCKS * FINISH_ROWS ? FINISH_ROWS : FINISH_WARPS * AHEAD;
        LAUNCH_OF(T, d, gelu_drop_kernel, grid_of((all + each - 1) / each, across), THREADS, 0, s->n, s->dev_off, all,
                  each, width, mask, x, y);
    } else {
        LAUNCH_OF(T, d, finish_kernel, grid_for(all * ((width + 7) / 8)), THREADS, 0, s->n, s->dev_off, width, whole,
                  act, mask, x, y);
    }
}

static void linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                   int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                   const struct lafs_drop *drop, float *pre, float *y)
{
    float *const to = pre ? pre : y;
    struct product p = {PRODUCT_NT, lafs_seqs_rows(s), out, in, 0, x, w, b, 0, to};
    p.relu = act == LAFS_ACT_RELU && !pre && precision == LAFS_PRECISION_FP32;
    multiply(d, precision, p);
    finish<float>(d, s, out, p.relu ? LAFS_ACT_NONE : act, drop, to, y);
}
static void linear_bf16(struct lafs_dev *d, const struct lafs_seqs *s, int64_t in, int64_t out,
                        const struct lafs_bf16 *x, const struct lafs_bf16 *w, const struct lafs_bf16 *b,
                        enum lafs_act act, const struct lafs_drop *drop, struct lafs_bf16 *pre, struct lafs_bf16 *y)
{
    struct lafs_bf16 *const to = pre ? pre : y;
    struct product p = {PRODUCT_NT, lafs_seqs_rows(s), out, in, 1, x, w, b, 0, to};
    p.c_bf16 = 1;
    multiply_bf16(d, p);
    finish<struct lafs_bf16>(d, s, out, act, drop, to, y);
}

/* v *= act'(x), of what is stored as bf16. What is rare is by itself: it takes none of the other's registers. */
DEVICE_APART void rare_slopes(enum lafs_act act, const float *x, float *v) { act_slopes<8>(act, x, v); }
DEVICE void stored_slopes(enum lafs_act act, const float x[8], float v[8])
{
    if (act != LAFS_ACT_GELU) {
        float at[8], slope[8];
#pragma unroll
        for (int k = 0; k < 8; k++) at[k] = x[k], slope[k] = v[k];
        rare_slopes(act, at, slope);
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = slope[k];
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] *= stored_gelu_slope(x[k]);
}
/* dx = dy drop act'(pre), shared as by gelu_drop_kernel, FINISH_ROWS rows to a block; part (parts, width), or NULL: its
 * column sums over them. */
KERNEL_FOR(THREADS, 3) finish_bwd_kernel(int64_t n, const int64_t *off, int64_t rows, int64_t width, enum lafs_act act,
                                         struct drop drop, const struct lafs_bf16 *pre, const struct lafs_bf16 *dy,
                                         struct lafs_bf16 *dx, float *part)
{
    float *room = shared_memory<float>(), sum[8] = {0};
    const int64_t column = (int64_t)block_y() * FINISH_COLUMNS + 8 * lane_index(), first = block_x() * FINISH_ROWS;
    const int count = (int)((first + FINISH_ROWS < rows ? first + FINISH_ROWS : rows) - first);
    const int64_t step = FINISH_WARPS * width;
    const uint32_t across = (uint32_t)(width / 8), block = (uint32_t)(column / 8);
    const bool in = column < width;
    struct place place = {0, 0, 0};
    struct drawing drawing = {};
    int until = 0;
    uint32_t begin = 0;
    struct octet slope = {}, at_x = {};
    const int64_t start = (first + warp_index()) * width + column;
    pre += start, dy += start, dx += start;
    if (in && warp_index() < count) slope = as_stored(dy), at_x = as_stored(pre);
    pre += step, dy += step;
    for (int i = warp_index(); i < count; i += FINISH_WARPS) {
        float v[8], x[8], keep[8];
        unpack(slope, v);
        unpack(at_x, x);
        if (drop.key) {
            if (i >= until) {
                place_row(&place, n, off, first + i);
                drawing_of(&drop, place.seq, &drawing);
                until = (int)(place.end - first), begin = (uint32_t)(first - place.start) * across + block;
            }
            drawn_factors(&drop, &drawing, begin + (uint32_t)i * across, keep);
#pragma unroll
            for (int k = 0; k < 8; k++) v[k] *= keep[k];
        }
        stored_slopes(act, x, v);
#pragma unroll
        for (int k = 0; k < 8; k++) sum[k] += v[k];
        if (in) give_whole(dx, v);
        if (in && i + FINISH_WARPS < count) slope = as_stored(dy), at_x = as_stored(pre);
        pre += step, dy += step, dx += step;
    }
    if (!part) return; /* with the whole grid */
#pragma unroll
    for (int k = 0; k < 8; k++) room[warp_index() * FINISH_COLUMNS + k * WARP + lane_index()] = sum[k];
    block_sync();
    const int from = thread_index() % 8 * WARP + thread_index() / 8;
    float all = 0;
    for (int i = 0; i < FINISH_WARPS; i++) all += room[i * FINISH_COLUMNS + from];
    const int64_t j = (int64_t)block_y() * FINISH_COLUMNS + thread_index();
    if (j < width) part[block_x() * width + j] = all;
}
static void act_bwd_bf16(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, enum lafs_act act,
                         const struct lafs_drop *drop, const struct lafs_bf16 *pre, const struct lafs_bf16 *dy,
                         struct lafs_bf16 *dx, float *dbias)
{
    static_assert((int)FINISH_COLUMNS == (int)THREADS, "a thread for each column's sum");
    const int64_t rows = lafs_seqs_rows(s), parts = (rows + FINISH_ROWS - 1) / FINISH_ROWS;
    float *part = NULL;
    if (parts == 0) return;
    if (dbias && !(part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * width) * sizeof *part))) return;
    LAUNCH(d, finish_bwd_kernel, grid_of(parts, (width + FINISH_COLUMNS - 1) / FINISH_COLUMNS), THREADS,
           FINISH_WARPS * FINISH_COLUMNS * sizeof(float), s->n, s->dev_off, rows, width, act, drawn_drop_of(drop), pre,
           dy, dx, part);
    if (part) sum_parts(d, parts, width, width, part, 1, dbias);
}

KERNEL store_kernel(int64_t n, const float *x, struct lafs_bf16 *y)
{
    const int64_t i = global_index() * 8;
    float v[8];
    if (i >= n) return;
    take_eight(x + i, n - i, n - i >= 8, v);
    give_eight(y + i, n - i, n - i >= 8, v);
}
static void round_bf16(struct lafs_dev *d, int64_t n, const float *x, struct lafs_bf16 *y)
{
    LAUNCH(d, store_kernel, grid_for((n + 7) / 8), THREADS, 0, n, x, y);
}

static void linear_bwd_x(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                         int64_t out, const float *dy, const float *w, float *dx)
{
    const int64_t rows = lafs_seqs_rows(s);
    multiply(d, precision, {PRODUCT_NN, rows, in, out, 0, dy, w, NULL, 0, dx});
}

static void linear_bwd_x_bf16(struct lafs_dev *d, const struct lafs_seqs *s, int64_t in, int64_t out,
                              const struct lafs_bf16 *dy, const struct lafs_bf16 *w, struct lafs_bf16 *dx)
{
    struct product p = {PRODUCT_NN, lafs_seqs_rows(s), in, out, 1, dy, w, NULL, 0, dx};
    p.c_bf16 = 1;
    multiply_bf16(d, p);
}

/* part (parts, width): sums of SUM_ROWS rows of x each. A block has a warp of columns; its warps share the rows. */
KERNEL column_part_kernel(int64_t rows, int64_t width, const float *x, float *part)
{
    float *room = shared_memory<float>();
    const int64_t column = (int64_t)block_y() * WARP + lane_index(), first = block_x() * SUM_ROWS;
    const int64_t end = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
    float sum = 0;
    for (int64_t r = first + warp_index(); r < end && column < width; r += THREADS / WARP) sum += x[r * width + column];
    room[thread_index()] = sum;
    block_sync();
    if (warp_index() || column >= width) return;
    sum = 0;
    for (int i = 0; i < THREADS / WARP; i++) sum += room[i * WARP + lane_index()];
    part[block_x() * width + column] = sum;
}

void column_parts(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *part)
{
    LAUNCH(d, column_part_kernel, grid_of(parts_of(rows), (width + WARP - 1) / WARP), THREADS, THREADS * sizeof(float),
           rows, width, x, part);
}

/* A block has `columns` columns, a whole fraction of a warp's lanes; what is left of a warp shares its parts. */
KERNEL_FOR(PARTS_BLOCK) sum_parts_kernel(int64_t parts, int64_t n, int64_t inner, int columns, const float *part,
                                         int add, struct sums_to to_each)
{
    float *const out = to_each.out[block_y()];
    if (!out) return; /* with its whole block */
    part += block_y() * parts * n;
    double *room = shared_memory<double>();
    const int across = WARP / columns, warps = block_threads() / WARP, column = lane_index() % columns;
    const int64_t j = block_x() * columns + column, own = warp_index() * across + lane_index() / columns;
    double sum = j < n ? strided_sum(part, own * n + j, parts * n, warps * across * n) : 0;
    for (int bits = columns; bits < WARP; bits *= 2) sum += warp_xor(sum, bits);
    if (lane_index() < columns) room[warp_index() * columns + column] = sum;
    block_sync();
    if (thread_index() >= columns || j >= n) return;
    sum = 0;
    for (int i = 0; i < warps; i++) sum += room[i * columns + column];
    const int64_t to = j % inner * (n / inner) + j / inner;
    out[to] = add ? out[to] + (float)sum : (float)sum;
}
static void sum_each(struct lafs_dev *d, int64_t parts, int64_t n, int64_t inner, const float *part, int add, int count,
                     struct sums_to to)
{
    /* Few columns: fewer to a block, so that there are more blocks, down to what memory gives at a time. */
    const int columns = n >= 4096 || parts < 128 ? WARP : 8;
    const int threads = parts_threads(parts * columns / WARP);
    LAUNCH(d, sum_parts_kernel, grid_of((n + columns - 1) / columns, count), threads, (size_t)threads * sizeof(double),
           parts, n, inner, columns, part, add, to);
}
void sum_parts(struct lafs_dev *d, int64_t parts, int64_t n, int64_t inner, const float *part, int add, float *out)
{
    sum_each(d, parts, n, inner, part, add, 1, {{out}});
}
void add_parts(struct lafs_dev *d, int64_t parts, int64_t n, const float *part, int count, struct sums_to to)
{
    sum_each(d, parts, n, n, part, 1, count, to);
}

static void linear_bwd_w(struct lafs_dev *d, enum lafs_precision precision, int64_t rows, int64_t in, int64_t out,
                         const float *x, const float *dy, float *dw, float *db)
{
    if (rows == 0) return;
    multiply(d, precision, {PRODUCT_TN, out, in, rows, 0, dy, x, NULL, 1, dw});
    if (!db) return;
    float *part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts_of(rows) * out) * sizeof *part);
    if (!part) return;
    column_parts(d, rows, out, dy, part);
    sum_parts(d, parts_of(rows), out, out, part, 1, db);
}
static void linear_bwd_w_bf16(struct lafs_dev *d, int64_t rows, int64_t in, int64_t out, const struct lafs_bf16 *x,
                              const struct lafs_bf16 *dy, float *dw)
{
    if (rows > 0) multiply_bf16(d, {PRODUCT_TN, out, in, rows, 1, dy, x, NULL, 1, dw});
}

void ops_linear(struct lafs_ops *ops, struct lafs_bf16_ops *bf16)
{
    ops->linear = linear;
    ops->linear_bwd_x = linear_bwd_x;
    ops->linear_bwd_w = linear_bwd_w;
    bf16->round = round_bf16;
    bf16->linear = linear_bf16;
    bf16->linear_bwd_x = linear_bwd_x_bf16;
    bf16->linear_bwd_w = linear_bwd_w_bf16;
    bf16->act_bwd = act_bwd_bf16;
}
