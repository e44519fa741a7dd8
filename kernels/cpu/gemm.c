#include "kernels/cpu/gemm.h"

#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_set.h"
#include "kernels/cpu/isa.h"

enum {
    NB = 256,          /* columns of a tile, or a little fewer: whole panels */
    MB = 96,           /* rows of a tile: whole panels of every set */
    SMALL = 2 << 20,   /* multiply-adds that are not worth waking other threads for, tens of microseconds */
    CHUNK = 2 << 20    /* floats packed at once, of either matrix: 8 MiB, to stay in the last cache */
};

#if defined __x86_64__
#include <immintrin.h>

/* Tiles take denormals for zero and give zero for them, so bf16 does everywhere. */
static unsigned flush_begin(void)
{
    enum { DENORMALS_ARE_ZERO = 0x40, FLUSH_TO_ZERO = 0x8000 };
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | DENORMALS_ARE_ZERO | FLUSH_TO_ZERO);
    return before;
}
static void flush_end(unsigned before) { _mm_setcsr(before); }

#define LAFS_VECTORS 512
#include "kernels/cpu/vectors.inc"
#define MR LAFS_GEMM_MR_512
#define NV LAFS_GEMM_NV_512
#include "kernels/cpu/gemm_kernels.inc"

#define LAFS_VECTORS 256
#include "kernels/cpu/vectors.inc"
#define MR LAFS_GEMM_MR_256
#define NV LAFS_GEMM_NV_256
#include "kernels/cpu/gemm_kernels.inc"
#else
#define flush_begin NULL
#define flush_end NULL
#endif

#define LAFS_VECTORS 128
#include "kernels/cpu/vectors.inc"
#define MR LAFS_GEMM_MR_128
#define NV LAFS_GEMM_NV_128
#include "kernels/cpu/gemm_kernels.inc"

const struct lafs_gemm_set *lafs_gemm_set_for(enum lafs_precision precision)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (precision != LAFS_PRECISION_FP32 && lafs_isa_amx()) return lafs_gemm_amx(precision);
    if (level == LAFS_ISA_AVX512) return &set_avx512[precision];
    if (level == LAFS_ISA_AVX2) return &set_avx2[precision];
#endif
    return &set_plain[precision];
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t panels(int64_t n, int width) { return (n + width - 1) / width; }

static struct lafs_gemm_source source_a(int trans, const float *a, int64_t lda)
{
    return trans ? (struct lafs_gemm_source){a, 1, lda} : (struct lafs_gemm_source){a, lda, 1};
}
static struct lafs_gemm_source source_b(int trans, const float *b, int64_t ldb)
{
    return trans ? (struct lafs_gemm_source){b, ldb, 1} : (struct lafs_gemm_source){b, 1, ldb};
}

/* While a panel of b serves all of a, the next is fetched. */
void lafs_gemm_multiply(const struct lafs_gemm_set *s, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                        int add, float *c, int64_t ldc)
{
    enum { LINE = 16 };
    int64_t depth = lafs_gemm_depth(s, k), size_a = depth * s->sa, size_b = depth * s->sb;
    int64_t share = m > 0 ? size_b / panels(m, s->mr) + LINE : 0;
    unsigned state = s->begin ? s->begin() : 0;
    for (int64_t j = 0; j < n; j += s->nr, b += size_b) {
        const float *next = b + size_b, *end = j + s->nr < n ? next + size_b : next;
        for (int64_t i = 0; i < m; i += s->mr) {
            for (const float *to = next + share; next < to && next < end; next += LINE) __builtin_prefetch(next, 0, 2);
            s->kernel((int)min64(s->mr, m - i), (int)min64(s->nr, n - j), depth, a + i / s->mr * size_a, b, add,
                      c + i * ldc + j, ldc);
        }
    }
    if (s->end) s->end(state);
}

/* The empty sum. */
static void clear_rows(int64_t m, int64_t n, float *c, int64_t ldc)
{
    for (int64_t i = 0; i < m; i++) memset(c + i * ldc, 0, (size_t)n * sizeof *c);
}

void lafs_cpu_gemm(int transa, int transb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                   int64_t ldb, int add, float *c, int64_t ldc)
{
    _Alignas(64) float pa[MB * LAFS_GEMM_KC], pb[NB * LAFS_GEMM_KC];
    const struct lafs_gemm_set *s = lafs_gemm_set_for(LAFS_PRECISION_FP32);
    const struct lafs_gemm_source sa = source_a(transa, a, lda), sb = source_b(transb, b, ldb);
    int64_t columns = NB / s->nr * s->nr;
    if (k <= 0 && !add) clear_rows(m, n, c, ldc);
    for (int64_t j = 0; j < n; j += columns)
        for (int64_t q = 0; q < k; q += s->kc) {
            int64_t nb = min64(columns, n - j), kb = min64(s->kc, k - q);
            s->pack_b(s, &sb, j, nb, q, kb, pb);
            for (int64_t i = 0; i < m; i += MB) {
                int64_t mb = min64(MB, m - i);
                s->pack_a(s, &sa, i, mb, q, kb, pa);
                lafs_gemm_multiply(s, mb, nb, kb, pa, pb, add || q > 0, c + i * ldc + j, ldc);
            }
        }
}

/* -- the product on all threads -- */

/* A chunk of one matrix. What several tiles need is packed once for all of them: for each block of k its panels, one
 * after another. What only one tile needs that tile packs, and finds in its own cache. */
struct operand {
    struct lafs_gemm_source from;
    int width, stride; /* of a panel: rows or columns, floats a packed k */
    int64_t i0, n;     /* rows of op(a), or columns of op(b), in this chunk */
    int64_t block;     /* of a tile */
    float *shared;     /* NULL: each tile packs its own */
    float *own;        /* (workers, own_size) */
    int64_t own_size;
};

struct job {
    const struct lafs_matmul *p;
    const struct lafs_gemm_set *set;
    struct operand a, b;
    int64_t q0, k;     /* chunk of k */
    int64_t tiles_n;
};

enum { GROUP = 8 }; /* panels packed by one task */

static void pack(const struct job *j, const struct operand *o, int64_t i, int64_t n, int64_t q, int64_t k, float *to)
{
    (o == &j->a ? j->set->pack_a : j->set->pack_b)(j->set, &o->from, o->i0 + i, n, j->q0 + q, k, to);
}

/* Where the panel of row or column i of the block of k at q stands in `shared`. */
static float *shared_at(const struct job *j, const struct operand *o, int64_t i, int64_t q)
{
    int64_t kb = min64(j->set->kc, j->k - q);
    int64_t before = lafs_gemm_depth(j->set, q) * panels(o->n, o->width);
    return o->shared + (before + i / o->width * lafs_gemm_depth(j->set, kb)) * o->stride;
}

static int64_t pack_tasks(const struct job *j, const struct operand *o)
{
    return panels(o->n, GROUP * o->width) * panels(j->k, j->set->kc);
}
static void pack_task(const struct job *j, const struct operand *o, int64_t index)
{
    int64_t groups = panels(o->n, GROUP * o->width), q = index / groups * j->set->kc;
    int64_t i = index % groups * GROUP * o->width;
    pack(j, o, i, min64(GROUP * o->width, o->n - i), q, min64(j->set->kc, j->k - q), shared_at(j, o, i, q));
}
static void pack_a(void *arg, int64_t index, int worker)
{
    (void)worker;
    pack_task(arg, &((struct job *)arg)->a, index);
}
static void pack_b(void *arg, int64_t index, int worker)
{
    (void)worker;
    pack_task(arg, &((struct job *)arg)->b, index);
}

static const float *operand_at(const struct job *j, const struct operand *o, int64_t i, int64_t n, int64_t q, int64_t k,
                               int worker)
{
    if (o->shared) return shared_at(j, o, i, q);
    float *own = o->own + worker * o->own_size;
    pack(j, o, i, n, q, k, own);
    return own;
}

static void multiply_tile(void *arg, int64_t index, int worker)
{
    const struct job *j = arg;
    const struct lafs_matmul *p = j->p;
    const struct lafs_gemm_set *s = j->set;
    int64_t i = index / j->tiles_n * j->a.block, n = index % j->tiles_n * j->b.block;
    int64_t mb = min64(j->a.block, j->a.n - i), nb = min64(j->b.block, j->b.n - n);
    int64_t row = j->a.i0 + i, col = j->b.i0 + n;
    float *c = p->c + row * p->ldc + col;
    for (int64_t q = 0; q < j->k; q += s->kc) {
        int64_t kb = min64(s->kc, j->k - q);
        const float *a = operand_at(j, &j->a, i, mb, q, kb, worker), *b = operand_at(j, &j->b, n, nb, q, kb, worker);
        lafs_gemm_multiply(s, mb, nb, kb, a, b, p->add || j->q0 + q > 0, c, p->ldc);
    }
    if (j->q0 + j->k == p->k && p->finish) p->finish(p, row, mb, col, nb, worker);
}

/* Room for a chunk of `n` and `k`, in floats. */
static int64_t size_of(const struct lafs_gemm_set *s, const struct operand *o, int64_t n, int64_t k)
{
    int64_t floats = panels(n, o->width) * lafs_gemm_depth(s, k) * o->stride;
    return (floats + 63) / 64 * 64;
}

/* The rows and columns of a tile: large where there are many, so that panels serve long; no result depends on them. */
static void cut(struct job *j, int workers)
{
    const struct lafs_matmul *p = j->p;
    int64_t columns = NB / j->set->nr * j->set->nr, tiles_n = panels(p->n, (int)columns), rows = 2 * MB;
    while (rows > MB / 2 && rows / 2 % j->set->mr == 0 && panels(p->m, (int)rows) * tiles_n < 4 * workers) rows /= 2;
    j->a.block = rows;
    j->b.block = columns;
}

/* At most `most` of n, in whole blocks. */
static int64_t chunk(int64_t n, int64_t most, int64_t block)
{
    return min64(n, most < block ? block : most / block * block);
}

static void multiply_chunks(struct job *j, struct lafs_pool *pool, int64_t nc, int64_t mc, int64_t kc)
{
    const struct lafs_matmul *p = j->p;
    for (j->b.i0 = 0; j->b.i0 < p->n; j->b.i0 += nc) {
        j->b.n = min64(nc, p->n - j->b.i0);
        j->tiles_n = panels(j->b.n, (int)j->b.block);
        for (j->q0 = 0; j->q0 < p->k; j->q0 += kc) {
            j->k = min64(kc, p->k - j->q0);
            if (j->b.shared) lafs_pool_for(pool, pack_tasks(j, &j->b), pack_b, j);
            for (j->a.i0 = 0; j->a.i0 < p->m; j->a.i0 += mc) {
                j->a.n = min64(mc, p->m - j->a.i0);
                if (j->a.shared) lafs_pool_for(pool, pack_tasks(j, &j->a), pack_a, j);
                lafs_pool_for(pool, panels(j->a.n, (int)j->a.block) * j->tiles_n, multiply_tile, j);
            }
        }
    }
}

void lafs_cpu_matmul(struct lafs_dev *d, const struct lafs_matmul *p)
{
    const struct lafs_gemm_set *s = lafs_gemm_set_for(p->precision);
    struct job j = {.p = p, .set = s};
    if (p->m <= 0 || p->n <= 0) return;
    if (p->k <= 0 && !p->add) clear_rows(p->m, p->n, p->c, p->ldc);
    if (p->k <= 0) {
        if (p->finish) p->finish(p, 0, p->m, 0, p->n, 0);
        return;
    }
    j.a = (struct operand){.from = source_a(p->transa, p->a, p->lda), .width = s->mr, .stride = s->sa};
    j.b = (struct operand){.from = source_b(p->transb, p->b, p->ldb), .width = s->nr, .stride = s->sb};
    cut(&j, d->workers);
    int share_a = p->n > j.b.block, share_b = p->m > j.a.block;
    /* Chunks: k up to 8 blocks of it, then as many columns and rows as fit. */
    int64_t kc = share_a || share_b ? min64(p->k, 8 * s->kc) : p->k;
    int64_t a_floats = lafs_gemm_depth(s, kc) * s->sa / s->mr, b_floats = lafs_gemm_depth(s, kc) * s->sb / s->nr;
    int64_t mc = share_a ? chunk(p->m, CHUNK / (a_floats + 1), j.a.block) : p->m;
    int64_t nc = share_b ? chunk(p->n, CHUNK / (b_floats + 1), j.b.block) : p->n;
    int64_t size_a = share_a ? size_of(s, &j.a, mc, kc) : 0, size_b = share_b ? size_of(s, &j.b, nc, kc) : 0;
    j.a.own_size = share_a ? 0 : size_of(s, &j.a, j.a.block, s->kc);
    j.b.own_size = share_b ? 0 : size_of(s, &j.b, j.b.block, s->kc);
    size_t all = (size_t)(size_a + size_b + d->workers * (j.a.own_size + j.b.own_size));
    float *room = lafs_cpu_shared(d, all * sizeof *room);
    if (!room) return;
    j.a.shared = share_a ? room : NULL;
    j.b.shared = share_b ? room + size_a : NULL;
    j.a.own = room + size_a + size_b;
    j.b.own = j.a.own + d->workers * j.a.own_size;
    multiply_chunks(&j, p->m * p->n * p->k < SMALL ? NULL : d->pool, nc, mc, kc);
}
