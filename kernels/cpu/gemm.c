#include "kernels/cpu/gemm.h"

#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/isa.h"

enum {
    KC = LAFS_GEMM_KC,
    MB = 96,           /* rows of a tile: a multiple of every set's MR */
    NB = 256,          /* columns of a tile: a multiple of every set's width */
    SMALL = 2 << 20,   /* multiply-adds that are not worth waking other threads for, tens of microseconds */
    CHUNK = 2 << 20    /* floats packed at once, of either matrix: 8 MiB, to stay in the last cache */
};

struct kernel_set {
    int mr, stride, nr; /* rows of a tile, floats a k of packed a (>= mr, a multiple of 4), columns of a tile */
    void (*kernel)(int rows, int cols, int64_t k, const float *a, const float *b, float alpha, int add, float *c,
                   int64_t ldc);
};

#if defined __x86_64__
#include <immintrin.h>

#define FN(name) name##_avx512
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define LANES 16
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define LOADN(p, n) _mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p)
#define STOREN(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), v)
#define SPLAT(x) _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define MUL(a, b) _mm512_mul_ps(a, b)
#define ADD(a, b) _mm512_add_ps(a, b)
#define MR 12
#define STRIDE 12
#define NV 2
#include "kernels/cpu/gemm_kernels.inc"

/* -1 in the first n lanes, read at an offset. */
static const int lane_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#define MASK8(n) _mm256_loadu_si256((const __m256i *)(const void *)(lane_mask + 8 - (n)))

#define FN(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define LANES 8
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define LOADN(p, n) _mm256_maskload_ps(p, MASK8(n))
#define STOREN(p, v, n) _mm256_maskstore_ps(p, MASK8(n), v)
#define SPLAT(x) _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define MUL(a, b) _mm256_mul_ps(a, b)
#define ADD(a, b) _mm256_add_ps(a, b)
#define MR 6
#define STRIDE 8
#define NV 2
#include "kernels/cpu/gemm_kernels.inc"
#endif

/* Four lanes of whatever the compiler has for them. */
typedef float vec4 __attribute__((vector_size(16)));
static inline vec4 load4(const float *p, int n)
{
    vec4 v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
static inline void store4(float *p, vec4 v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
static inline vec4 fma4(vec4 a, vec4 b, vec4 c)
{
#ifdef __FP_FAST_FMAF
    for (int i = 0; i < 4; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return a * b + c;
#endif
}

#define FN(name) name##_generic
#define TARGET
#define V vec4
#define LANES 4
#define LOAD(p) load4(p, 4)
#define STORE(p, v) store4(p, v, 4)
#define LOADN(p, n) load4(p, n)
#define STOREN(p, v, n) store4(p, v, n)
#define SPLAT(x) ((vec4){x, x, x, x})
#define FMA(a, b, c) fma4(a, b, c)
#define MUL(a, b) ((a) * (b))
#define ADD(a, b) ((a) + (b))
#define MR 4
#define STRIDE 4
#define NV 2
#include "kernels/cpu/gemm_kernels.inc"

static const struct kernel_set *kernels(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == 2) return &set_avx512;
    if (level == 1) return &set_avx2;
#endif
    return &set_generic;
}

/* A matrix as the packer sees it: element (i, q) of op(a), or (q, i) of op(b), is p[i*si + q*sq]; q runs over k. */
struct source {
    const float *p;
    int64_t si, sq; /* one of them is 1 */
};

static struct source source_a(int trans, const float *a, int64_t lda)
{
    return trans ? (struct source){a, 1, lda} : (struct source){a, lda, 1};
}
static struct source source_b(int trans, const float *b, int64_t ldb)
{
    return trans ? (struct source){b, ldb, 1} : (struct source){b, 1, ldb};
}

/* to (k, stride): to[q*stride + i] = from[i][q] for 4 rows i and 4 k. */
static inline void transpose4(const float *from, int64_t si, float *to, int stride)
{
    vec4 r0 = load4(from, 4), r1 = load4(from + si, 4), r2 = load4(from + 2 * si, 4), r3 = load4(from + 3 * si, 4);
    vec4 a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    vec4 c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    store4(to, __builtin_shufflevector(a, b, 0, 1, 4, 5), 4);
    store4(to + stride, __builtin_shufflevector(a, b, 2, 3, 6, 7), 4);
    store4(to + 2 * stride, __builtin_shufflevector(c, d, 0, 1, 4, 5), 4);
    store4(to + 3 * stride, __builtin_shufflevector(c, d, 2, 3, 6, 7), 4);
}

/* Rows i..i+w-1 (w <= stride; the rest zero), k from q0 on: to (k, stride). */
static void pack_panel(const struct source *s, int64_t i, int w, int64_t q0, int64_t k, float *to, int stride)
{
    const float *p = s->p + i * s->si + q0 * s->sq;
    if (s->si == 1) {
        for (int64_t q = 0; q < k; q++, p += s->sq, to += stride) {
            int j = 0;
            for (; j + 4 <= w; j += 4) store4(to + j, load4(p + j, 4), 4);
            for (; j < w; j++) to[j] = p[j];
            for (; j < stride; j++) to[j] = 0;
        }
        return;
    }
    /* 16 k at a time: whole cache lines of the source, few of the target. */
    for (int64_t q = 0; q < k; q += 16) {
        int64_t end = q + 16 < k ? q + 16 : k;
        for (int j = 0; j < stride; j += 4) {
            int64_t t = q;
            if (j + 4 <= w)
                for (; t + 4 <= end; t += 4) transpose4(p + j * s->si + t, s->si, to + t * stride + j, stride);
            for (; t < end; t++)
                for (int l = j; l < j + 4; l++) to[t * stride + l] = l < w ? p[l * s->si + t] : 0;
        }
    }
}

/* All panels of `width` of rows i0..i0+rows-1, one k block: to (panels, k, stride). */
static void pack_block(const struct source *s, int64_t i0, int64_t rows, int width, int64_t q0, int64_t k, float *to,
                       int stride)
{
    for (int64_t i = 0; i < rows; i += width, to += k * stride) {
        int64_t w = rows - i < width ? rows - i : width;
        pack_panel(s, i0 + i, (int)w, q0, k, to, stride);
    }
}

/* c (m,n) = or += alpha a b for packed blocks of one k block: m <= MB, n <= NB. */
static void multiply(const struct kernel_set *ks, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                     float alpha, int add, float *c, int64_t ldc)
{
    for (int64_t j = 0; j < n; j += ks->nr) {
        const float *bp = b + j / ks->nr * k * ks->nr;
        int cols = n - j < ks->nr ? (int)(n - j) : ks->nr;
        for (int64_t i = 0; i < m; i += ks->mr) {
            int rows = m - i < ks->mr ? (int)(m - i) : ks->mr;
            ks->kernel(rows, cols, k, a + i / ks->mr * k * ks->stride, bp, alpha, add, c + i * ldc + j, ldc);
        }
    }
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* c *= beta, without reading c when beta is 0. */
static void scale_rows(int64_t m, int64_t n, float beta, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

void lafs_cpu_gemm(int transa, int transb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                   const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    _Alignas(64) float pa[(MB * 8 / 6) * KC], pb[NB * KC];
    const struct kernel_set *ks = kernels();
    struct source sa = source_a(transa, a, lda), sb = source_b(transb, b, ldb);
    if ((beta != 0 && beta != 1) || (k <= 0 && beta == 0)) scale_rows(m, n, beta, c, ldc);
    for (int64_t j = 0; j < n; j += NB)
        for (int64_t q = 0; q < k; q += KC) {
            int64_t nb = min64(NB, n - j), kb = min64(KC, k - q);
            pack_block(&sb, j, nb, ks->nr, q, kb, pb, ks->nr);
            for (int64_t i = 0; i < m; i += MB) {
                int64_t mb = min64(MB, m - i);
                pack_block(&sa, i, mb, ks->mr, q, kb, pa, ks->stride);
                multiply(ks, mb, nb, kb, pa, pb, alpha, q > 0 || beta != 0, c + i * ldc + j, ldc);
            }
        }
}

/* -- the product on all threads -- */

/* One chunk of k of one matrix, packed: for each block of KC its panels one after another. */
struct packed {
    struct source s;
    int64_t i0, rows;    /* of op(a), or columns of op(b), in this chunk */
    int width, stride;
    int64_t q0, k;
    int64_t panels;
    float *to;
};

struct job {
    const struct lafs_matmul *p;
    const struct kernel_set *ks;
    struct packed a, b;
    int64_t tiles_n;
    int first, last; /* chunk of k */
};

enum { GROUP = 8 }; /* panels packed by one task */

static const float *packed_at(const struct packed *x, int64_t block, int64_t i)
{
    int64_t kb = min64(KC, x->k - block * KC);
    return x->to + block * KC * x->panels * x->stride + i / x->width * kb * x->stride;
}

static int64_t pack_tasks(const struct packed *x) { return (x->panels + GROUP - 1) / GROUP * ((x->k + KC - 1) / KC); }

static void pack_task(const struct packed *x, int64_t index)
{
    int64_t groups = (x->panels + GROUP - 1) / GROUP, block = index / groups, i = index % groups * GROUP * x->width;
    int64_t kb = min64(KC, x->k - block * KC);
    pack_block(&x->s, x->i0 + i, min64(GROUP * x->width, x->rows - i), x->width, x->q0 + block * KC, kb,
               x->to + block * KC * x->panels * x->stride + i / x->width * kb * x->stride, x->stride);
}

/* Packs a; b too where its chunk is new. */
static void pack_a(void *arg, int64_t index, int worker)
{
    (void)worker;
    pack_task(&((struct job *)arg)->a, index);
}
static void pack_b(void *arg, int64_t index, int worker)
{
    (void)worker;
    pack_task(&((struct job *)arg)->b, index);
}

static void multiply_tile(void *arg, int64_t index, int worker)
{
    const struct job *j = arg;
    const struct lafs_matmul *p = j->p;
    int64_t i = index / j->tiles_n * MB, n = index % j->tiles_n * NB;
    int64_t mb = min64(MB, j->a.rows - i), nb = min64(NB, j->b.rows - n);
    int64_t row = j->a.i0 + i, col = j->b.i0 + n;
    float *c = p->c + row * p->ldc + col;
    for (int64_t block = 0; block * KC < j->a.k; block++)
        multiply(j->ks, mb, nb, min64(KC, j->a.k - block * KC), packed_at(&j->a, block, i), packed_at(&j->b, block, n),
                 1, p->add || !j->first || block > 0, c, p->ldc);
    if (j->last && p->finish) p->finish(p, row, mb, col, nb, worker);
}

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
/* The largest multiple of unit that is at most n, but at least unit. */
static int64_t round_down(int64_t n, int64_t unit) { return n < unit ? unit : n / unit * unit; }

void lafs_cpu_matmul(struct lafs_dev *d, const struct lafs_matmul *p)
{
    struct job j = {.p = p, .ks = kernels()};
    const struct kernel_set *ks = j.ks;
    if (p->m <= 0 || p->n <= 0) return;
    if (p->k <= 0 && !p->add) scale_rows(p->m, p->n, 0, p->c, p->ldc);
    /* Chunks: all of k up to 2048, then as many columns and rows as fit. */
    int64_t kc = min64(p->k, 8 * KC);
    int64_t most = CHUNK / (kc > 0 ? kc : 1);
    int64_t nc = min64(p->n, round_down(most, NB)), mc = min64(p->m, round_down(most, MB));
    int64_t size_b = round_up(nc, ks->nr) * kc, size_a = round_up(mc, ks->mr) / ks->mr * ks->stride * kc;
    size_b = round_up(size_b, 16);
    float *room = lafs_cpu_shared(d, (size_t)(size_a + size_b) * sizeof *room);
    if (!room) return;
    struct lafs_pool *pool = p->m * p->n * p->k < SMALL ? NULL : d->pool;
    j.b = (struct packed){.s = source_b(p->transb, p->b, p->ldb), .width = ks->nr, .stride = ks->nr, .to = room};
    j.a = (struct packed){
        .s = source_a(p->transa, p->a, p->lda), .width = ks->mr, .stride = ks->stride, .to = room + size_b};
    for (j.b.i0 = 0; j.b.i0 < p->n; j.b.i0 += nc) {
        j.b.rows = min64(nc, p->n - j.b.i0);
        j.b.panels = (j.b.rows + ks->nr - 1) / ks->nr;
        j.tiles_n = (j.b.rows + NB - 1) / NB;
        for (int64_t q = 0; q < p->k; q += kc) {
            j.a.q0 = j.b.q0 = q;
            j.a.k = j.b.k = min64(kc, p->k - q);
            j.first = q == 0;
            j.last = q + kc >= p->k;
            lafs_pool_for(pool, pack_tasks(&j.b), pack_b, &j);
            for (j.a.i0 = 0; j.a.i0 < p->m; j.a.i0 += mc) {
                j.a.rows = min64(mc, p->m - j.a.i0);
                j.a.panels = (j.a.rows + ks->mr - 1) / ks->mr;
                lafs_pool_for(pool, pack_tasks(&j.a), pack_a, &j);
                lafs_pool_for(pool, (j.a.rows + MB - 1) / MB * j.tiles_n, multiply_tile, &j);
            }
        }
    }
}
