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

/* high and, unless NULL, low: bf16. Rows of `width`, ldx floats apart in x, ld apart in the others; zeros between. */
KERNEL round_kernel(int64_t n, int64_t width, int64_t ldx, int64_t ld, const float *x, uint16_t *high, uint16_t *low)
{
    const int64_t i = global_index();
    if (i >= n) return;
    float v;
    if (width == ld && width == ldx) {
        v = x[i];
    } else {
        const int64_t r = i / ld, c = i % ld;
        v = c < width ? x[r * ldx + c] : 0;
    }
    high[i] = (uint16_t)bf16_bits(v);
    if (low) low[i] = (uint16_t)bf16_bits(bf16_low(v));
}

/* An operand as bf16: rows of `width`, ld apart, a multiple of 8, as the GPU's units for products want them. */
struct rounded {
    const uint16_t *high, *low; /* low: of bf16x3 */
    int64_t ld;
};
/* 0: no memory. */
static int round_operand(struct lafs_dev *d, enum scratch kind, enum lafs_precision precision, int64_t rows,
                         int64_t width, int64_t ldx, const float *x, struct rounded *out)
{
    const int parts = precision == LAFS_PRECISION_BF16X3 ? 2 : 1;
    const int64_t ld = (width + 7) / 8 * 8, n = rows * ld, low_at = (n + 127) / 128 * 128;
    uint16_t *to = (uint16_t *)dev_scratch(d, kind, (size_t)(parts * low_at) * sizeof *to);
    if (!to) return 0;
    *out = {to, parts == 2 ? to + low_at : NULL, ld};
    LAUNCH(d, round_kernel, grid_for(n), THREADS, 0, n, width, ldx, ld, x, to, parts == 2 ? to + low_at : NULL);
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

/* What follows a product: a lane has eight columns, a block those of a warp and `rows` rows, which its warps share.
 * A warp reads AHEAD of its rows before it computes one. */
enum { FINISH_ROWS = 64, FINISH_COLUMNS = WARP * 8, AHEAD = 2, FINISH_BLOCKS = 264 /* they keep a GPU busy */ };

/* y = drop(act(x)); y may be x. */
template <class T> KERNEL finish_kernel(int64_t n, const int64_t *off, int64_t rows, int64_t width, int whole,
                                        enum lafs_act act, struct drop drop, const T *x, T *y)
{
    const int64_t column = (int64_t)block_y() * FINISH_COLUMNS + 8 * lane_index(), count = width - column;
    const int64_t first = block_x() * rows, end = first + rows < off[n] ? first + rows : off[n];
    const int step = block_threads() / WARP;
    struct place place = {0, 0, 0};
    if (count <= 0) return;
    for (int64_t row = first + warp_index(); row < end; row += AHEAD * step) {
        float v[AHEAD][8], keep[8];
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (row + a * step < end) take_eight(x + (row + a * step) * width + column, count, whole, v[a]);
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int64_t at = row + a * step;
            if (at >= end) continue;
            act_values(act, v[a]);
            if (drop.key) {
                place_row(&place, n, off, at);
                drop_factors(&drop, place.seq, (at - place.start) * width + column, whole, keep);
#pragma unroll
                for (int k = 0; k < 8; k++) v[a][k] *= keep[k];
            }
            give_eight(y + at * width + column, count, whole, v[a]);
        }
    }
}
template <class T> static void finish(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, enum lafs_act act,
                                      const struct lafs_drop *drop, const T *x, T *y)
{
    const struct drop mask = drop_of(drop);
    const int64_t all = lafs_seqs_rows(s), across = (width + FINISH_COLUMNS - 1) / FINISH_COLUMNS;
    const int64_t rows = all * across >= FINISH_BLOCKS * FINISH_ROWS ? FINISH_ROWS : THREADS / WARP;
    if (act == LAFS_ACT_NONE && !mask.key && x == y) return;
    LAUNCH_OF(T, d, finish_kernel, grid_of((all + rows - 1) / rows, across), THREADS, 0, s->n, s->dev_off, rows, width,
              in_quads(width, x, y), act, mask, x, y);
}

static void linear(struct lafs_dev *d, enum lafs_precision precision, const struct lafs_seqs *s, int64_t in,
                   int64_t out, const float *x, const float *w, const float *b, enum lafs_act act,
                   const struct lafs_drop *drop, float *pre, float *y)
{
    float *const to = pre ? pre : y;
    multiply(d, precision, {PRODUCT_NT, lafs_seqs_rows(s), out, in, 0, x, w, b, 0, to});
    finish<float>(d, s, out, act, drop, to, y);
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

/* dx = dy drop act'(pre); part (parts, width), or NULL: its column sums over parts of FINISH_ROWS rows. */
KERNEL finish_bwd_kernel(int64_t n, const int64_t *off, int64_t width, enum lafs_act act, struct drop drop,
                         const struct lafs_bf16 *pre, const struct lafs_bf16 *dy, struct lafs_bf16 *dx, float *part)
{
    float *room = shared_memory<float>(), sum[8] = {0};
    const int64_t column = (int64_t)block_y() * FINISH_COLUMNS + 8 * lane_index(), first = block_x() * FINISH_ROWS;
    const int64_t end = first + FINISH_ROWS < off[n] ? first + FINISH_ROWS : off[n];
    const int step = THREADS / WARP;
    struct place place = {0, 0, 0};
    for (int64_t row = first + warp_index(); row < end && column < width; row += AHEAD * step) {
        float v[AHEAD][8], x[AHEAD][8], keep[8];
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (row + a * step < end) {
                take_whole(dy + (row + a * step) * width + column, v[a]);
                take_whole(pre + (row + a * step) * width + column, x[a]);
            }
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int64_t at = row + a * step;
            if (at >= end) continue;
            act_slopes(act, x[a], v[a]);
            if (drop.key) {
                place_row(&place, n, off, at);
                drop_factors(&drop, place.seq, (at - place.start) * width + column, 1, keep);
#pragma unroll
                for (int k = 0; k < 8; k++) v[a][k] *= keep[k];
            }
#pragma unroll
            for (int k = 0; k < 8; k++) sum[k] += v[a][k];
            give_whole(dx + at * width + column, v[a]);
        }
    }
    if (!part) return; /* with the whole grid */
#pragma unroll
    for (int k = 0; k < 8; k++) room[warp_index() * FINISH_COLUMNS + k * WARP + lane_index()] = sum[k];
    block_sync();
    const int from = thread_index() % 8 * WARP + thread_index() / 8;
    float all = 0;
    for (int i = 0; i < THREADS / WARP; i++) all += room[i * FINISH_COLUMNS + from];
    const int64_t j = (int64_t)block_y() * FINISH_COLUMNS + thread_index();
    if (j < width) part[block_x() * width + j] = all;
}
static void act_bwd_bf16(struct lafs_dev *d, const struct lafs_seqs *s, int64_t width, enum lafs_act act,
                         const struct lafs_drop *drop, const struct lafs_bf16 *pre, const struct lafs_bf16 *dy,
                         struct lafs_bf16 *dx, float *dbias)
{
    static_assert((int)FINISH_COLUMNS == (int)THREADS, "a thread for each column's sum");
    const int64_t parts = (lafs_seqs_rows(s) + FINISH_ROWS - 1) / FINISH_ROWS;
    float *part = NULL;
    if (parts == 0) return;
    if (dbias && !(part = (float *)dev_scratch(d, SCRATCH_SUMS, (size_t)(parts * width) * sizeof *part))) return;
    LAUNCH(d, finish_bwd_kernel, grid_of(parts, (width + FINISH_COLUMNS - 1) / FINISH_COLUMNS), THREADS,
           THREADS / WARP * FINISH_COLUMNS * sizeof(float), s->n, s->dev_off, width, act, drop_of(drop), pre, dy, dx,
           part);
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
                                         int add, float *out)
{
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
void sum_parts(struct lafs_dev *d, int64_t parts, int64_t n, int64_t inner, const float *part, int add, float *out)
{
    /* Few columns: fewer to a block, so that there are more blocks, down to what memory gives at a time. */
    const int columns = n >= 4096 || parts < 128 ? WARP : 8;
    const int threads = parts_threads(parts * columns / WARP);
    LAUNCH(d, sum_parts_kernel, grid_of((n + columns - 1) / columns), threads, (size_t)threads * sizeof(double), parts,
           n, inner, columns, part, add, out);
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
