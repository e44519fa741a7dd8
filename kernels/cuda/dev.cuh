/* All that kernels need of a GPU, and the only header of ours, beside the op table, that they include. Each primitive
 * has two bodies: one for nvcc, and one for the host's compiler, with which the simulator of tests/cuda compiles the
 * same kernels and runs them: blocks one after another, a block's threads as fibers.
 *
 *     KERNEL add_kernel(int64_t n, const float *x, float *y)
 *     {
 *         const int64_t i = global_index();
 *         if (i < n) y[i] += x[i];
 *     }
 *     LAUNCH(d, add_kernel, grid_for(n), THREADS, 0, n, x, y);
 *
 * Rules for kernels:
 * - Blocks are one-dimensional, of whole warps; shared memory is what LAUNCH asks for, got by shared_memory<T>().
 * - A kernel for blocks of more than THREADS says so, KERNEL_FOR(1024), so that its registers suffice;
 *   KERNEL_FOR(128, 3) leaves registers for three blocks at once.
 * - block_sync, warp functions and mma are reached by all threads of the block or warp; no thread returns before the
 *   last of them. (The simulator stops where that is not so.)
 * - Every pointer is to device memory. What is on the host travels by value or by `upload`.
 * - No atomics on sums: a sum has one order, whatever the grid. */
#ifndef LAFS_KERNELS_CUDA_DEV_CUH
#define LAFS_KERNELS_CUDA_DEV_CUH

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "compute/backend.h"

struct link;
enum { WARP = 32, THREADS = 256 /* of a block, where nothing says otherwise */ };

/* -- the device, on the host's side: cuda.cu, and runtime.cu or tests/cuda/runtime.cc -- */

/* Memory that ops need for themselves; each kind is one block, which grows. */
enum scratch { SCRATCH_A, SCRATCH_B, SCRATCH_ROWS, SCRATCH_SUMS, SCRATCH_PARTS, SCRATCH_KINDS };

/* Host memory that the GPU reads by itself, in blocks used in turn: what is uploaded passes through, so that the caller
 * may use its own again at once. A block is used again when its mark has been passed. */
enum { STAGES = 4, STAGE_SIZE = 4 << 20 };

struct plan; /* cuda.cu */
struct lafs_dev {
    int number;
    struct plan *plan;    /* of a plan (the table's `plan`): memory is counted, nothing computed; NULL: a GPU */
    void *stream;         /* cudaStream_t; all work of a device is on one */
    void *products;       /* what product.cu keeps */
    struct link *link;    /* to other processes' GPUs: link.cu */
    void *mark[STAGES];   /* cudaEvent_t, behind the last copy from a stage */
    struct {
        char *p;          /* (STAGES, STAGE_SIZE), pinned */
        int now;          /* the block in use */
        size_t used;      /* bytes of it */
    } stage;
    struct {
        void *p;
        size_t size;
    } scratch[SCRATCH_KINDS];
    size_t most_shared;   /* bytes of shared memory that a block can have */
    int processors;       /* multiprocessors */
    int moves;            /* how often scratch memory has changed its place */
    struct lafs_recording *recording; /* under way; NULL: none */
    struct lafs_err err;  /* the first failure; reported by sync */
    char text[512];       /* what describe returns */
};

/* What is uploaded while it is recorded, and what the runtime made of it. */
enum { KEPT_UPLOADS = 1 << 20 };
struct lafs_recording {
    char *kept;           /* (KEPT_UPLOADS) pinned */
    size_t used;
    int failed, moves;    /* moves: of the device, when it was recorded */
    void *graph;          /* cudaGraphExec_t */
};

/* Opens a device by its number ("" is 0), made usable; its description, its stream, its stages and their marks. */
lafs_status runtime_open(struct lafs_dev *d, const char *arg, struct lafs_err *err);
void runtime_close(struct lafs_dev *d);
void runtime_use(struct lafs_dev *d); /* the calling thread's launches and calls go to this device from now on */
lafs_status runtime_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err); /* 256-byte aligned */
/* Bytes that can still be taken, and that there are. */
lafs_status runtime_memory(struct lafs_dev *d, size_t *available, size_t *all, struct lafs_err *err);
/* A GPU's memory is given out in blocks of this many bytes; several small pieces may share one. */
enum { MEMORY_BLOCK = 2 << 20 };
void runtime_free(struct lafs_dev *d, void *p);
/* Queued; failures are sticky. */
/* `from` is in the stages and is left alone until a mark behind it has been passed; or in a recording. */
void runtime_send(struct lafs_dev *d, void *to, const void *from, size_t size);
void runtime_mark(struct lafs_dev *d, int stage);  /* behind all that is queued */
void runtime_await(struct lafs_dev *d, int stage); /* until its last mark has been passed; none: not at all */
void runtime_download(struct lafs_dev *d, void *to, const void *from, size_t size); /* complete on return */
void runtime_copy(struct lafs_dev *d, void *to, const void *from, size_t size);
void runtime_zero(struct lafs_dev *d, void *p, size_t size);
/* Waits for all that is queued. */
void runtime_wait(struct lafs_dev *d);
int runtime_busy(struct lafs_dev *d); /* 1: some of it is not done yet */
/* Between the two, which return 0 on failure, nothing may be called but launches, sends, copies and zeros. */
int runtime_record(struct lafs_dev *d, struct lafs_recording *r); /* takes `kept` as well */
int runtime_recorded(struct lafs_dev *d, struct lafs_recording *r);
void runtime_replay(struct lafs_dev *d, struct lafs_recording *r);
void runtime_forget(struct lafs_dev *d, struct lafs_recording *r); /* after the last replay of it is done */

/* -- what ops use; on a plan nothing happens -- */
/* Queues a copy from the host, whose memory has been read on return. */
void dev_upload(struct lafs_dev *d, void *to, const void *from, size_t size);
void dev_download(struct lafs_dev *d, void *to, const void *from, size_t size); /* complete on return; a plan's: 0 */
void dev_copy(struct lafs_dev *d, void *to, const void *from, size_t size);
void dev_zero(struct lafs_dev *d, void *p, size_t size);
/* Remembers a failure inside an op; the first one stays. */
void dev_failed(struct lafs_dev *d, const char *what, const char *why);
/* At least `size` bytes, whose content nobody relies on; NULL when there are none (the failure is remembered). */
void *dev_scratch(struct lafs_dev *d, enum scratch kind, size_t size);
/* The same, filled from the host. */
void *dev_scratch_from(struct lafs_dev *d, enum scratch kind, const void *host, size_t size);

/* -- products of row-major matrices: product.cu (cuBLASLt), or tests/cuda/product.cc -- */
enum product_form {
    PRODUCT_NT, /* c (m,n) = a (m,k) b (n,k)^T */
    PRODUCT_NN, /* c (m,n) = a (m,k) b (k,n) */
    PRODUCT_TN  /* c (m,n) = a (k,m)^T b (k,n) */
};
struct product {
    enum product_form form;
    int64_t m, n, k;
    int bf16;           /* a and b are bf16 (sums are fp32), otherwise fp32 (and no less: TF32 is not fp32) */
    const void *a, *b;
    const void *bias;   /* (n) is added to each row; NULL: none */
    int add;            /* 1: c += */
    void *c;            /* fp32, as is bias; or */
    int64_t lda, ldb, ldc; /* elements from row to row of the arrays; 0: as many as are in one. bf16: multiples of 8 */
    int64_t count;         /* so many products beside each other (0: one), the arrays of one `step` elements behind */
    int64_t step_a, step_b, step_c; /* those of the one before; bf16: multiples of 8 */
    int c_bf16;            /* 1: c and bias are bf16 too; one product, and none is added */
    int relu;              /* 1: negative results are 0; of fp32 arrays, and nothing is added but the bias */
};
static inline int64_t lda_of(const struct product *p) { return p->lda ? p->lda : p->form == PRODUCT_TN ? p->m : p->k; }
static inline int64_t ldb_of(const struct product *p) { return p->ldb ? p->ldb : p->form == PRODUCT_NT ? p->k : p->n; }
static inline int64_t ldc_of(const struct product *p) { return p->ldc ? p->ldc : p->n; }
/* An element's bits do not depend on m in forms NT and NN. Not on a plan: see linear.cu. */
void product_run(struct lafs_dev *d, const struct product *p);
/* The product of fp32 matrices, taken as `precision` says: linear.cu. Where it is a gradient of weights, of form TN,
 * with so few results that they keep no GPU busy: parts of its sum side by side, then those in their order. */
void multiply(struct lafs_dev *d, enum lafs_precision precision, struct product p);
/* The product of bf16 matrices in memory: linear.cu. */
void multiply_bf16(struct lafs_dev *d, struct product p);
/* As multiply, of form NN and c without gaps, where the sum over k is long and c small: in parts, too. */
void multiply_long(struct lafs_dev *d, enum lafs_precision precision, struct product p);
/* y = act(y), of n numbers: linear.cu */
void activate(struct lafs_dev *d, int64_t n, enum lafs_act act, float *y);
lafs_status product_open(struct lafs_dev *d, struct lafs_err *err);
void product_close(struct lafs_dev *d);

/* Long sums over rows, in two steps: parts of SUM_ROWS rows each, then those in their order. linear.cu */
enum { SUM_ROWS = 256 };
/* part (parts, width): sums of the columns of x (rows, width). */
void column_parts(struct lafs_dev *d, int64_t rows, int64_t width, const float *x, float *part);
/* Column j of part (parts, n), summed, goes to (+)= out[j % inner * (n / inner) + j / inner]; inner = n: out[j]. */
void sum_parts(struct lafs_dev *d, int64_t parts, int64_t n, int64_t inner, const float *part, int add, float *out);
/* The same of up to three that lie behind each other, inner = n, each added to its own; NULL: to nothing. */
struct sums_to {
    float *out[3];
};
void add_parts(struct lafs_dev *d, int64_t parts, int64_t n, const float *part, int count, struct sums_to to);
static inline int64_t parts_of(int64_t rows) { return (rows + SUM_ROWS - 1) / SUM_ROWS; }
/* Threads of a block that sums parts: as many warps as find something to do. Kernels: KERNEL_FOR(PARTS_BLOCK). */
enum { PARTS_BLOCK = 1024, PARTS_OF_WARP = 16 };
static inline int parts_threads(int64_t parts)
{
    const int64_t warps = (parts + PARTS_OF_WARP - 1) / PARTS_OF_WARP, most = PARTS_BLOCK / WARP;
    return (int)(warps < 1 ? 1 : warps > most ? most : warps) * WARP;
}

/* Leaves the other processes' GPUs, if it has joined any: link.cu */
void link_close(struct lafs_dev *d);

/* -- attention -- */
/* Where a head's rows are: of q, ldq numbers apart, of k and v, ldkv apart; of out and its gradient. */
template <class T> struct head_rows {
    int64_t heads;
    float scale;
    const int64_t *q_off, *off;
    const T *q;
    int64_t ldq;
    const T *kv;
    int64_t ldkv;
};
/* Of bf16 in memory, sequences whose queries and keys are at most head_rows_most; others are left alone: heads.cu */
enum { HEAD_ROWS = 208 /* the most that there are registers for; fewer where shared memory is small */ };
int64_t head_rows_most(const struct lafs_dev *d);
void heads_forward(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                   struct head_rows<struct lafs_bf16> a, struct lafs_bf16 *out, float *lse);
void heads_backward(struct lafs_dev *d, const struct lafs_seqs *qs, const struct lafs_seqs *s,
                    struct head_rows<struct lafs_bf16> a, const struct lafs_bf16 *out, const float *lse,
                    const struct lafs_bf16 *dout, struct lafs_bf16 *dq, struct lafs_bf16 *dkv);

/* -- groups of ops: each file sets its slots -- */
void ops_elementwise(struct lafs_ops *ops, struct lafs_bf16_ops *bf16);
void ops_linear(struct lafs_ops *ops, struct lafs_bf16_ops *bf16);
void ops_transformer(struct lafs_ops *ops, struct lafs_bf16_ops *bf16);
void ops_attention(struct lafs_ops *ops, struct lafs_bf16_ops *bf16);
void ops_conv(struct lafs_ops *ops);
void ops_norm2d(struct lafs_ops *ops);
void ops_patch(struct lafs_ops *ops);
void ops_loss(struct lafs_ops *ops);
void ops_optim(struct lafs_ops *ops);
void ops_render(struct lafs_ops *ops);
void ops_scan(struct lafs_ops *ops);
void ops_link(struct lafs_ops *ops);

struct grid {
    int64_t x, y, z;
};
enum { MOST_Y = 65535 /* and z; x: 2^31 - 1 */ };
static inline struct grid grid_of(int64_t x, int64_t y = 1, int64_t z = 1) { return {x, y, z}; }
static inline int grid_there(struct grid g) { return g.x <= INT32_MAX && g.y <= MOST_Y && g.z <= MOST_Y; }
/* A thread for each of n things. */
static inline struct grid grid_for(int64_t n) { return {(n + THREADS - 1) / THREADS, 1, 1}; }

/* == nvcc's bodies ================================================================================================ */
#ifdef __CUDACC__

#include <cuda_runtime.h>

#define KERNEL static __global__ void
#define KERNEL_FOR(...) static __global__ void __launch_bounds__(__VA_ARGS__)
#define DEVICE static __device__ __forceinline__
#define DEVICE_APART static __device__ __noinline__
#define ANYTHING /* a type through which values of others are moved */

template <class... P, class... A>
void launch(struct lafs_dev *d, void (*kernel)(P...), const char *name, struct grid g, int threads, size_t shared,
            A... a)
{
    if (g.x == 0 || g.y == 0 || g.z == 0) return;
    if (!grid_there(g)) {
        dev_failed(d, name, "more blocks than a launch can have");
        return;
    }
    if (d->plan) return;
    runtime_use(d);
    if (shared > 48 * 1024)
        (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    kernel<<<dim3((unsigned)g.x, (unsigned)g.y, (unsigned)g.z), (unsigned)threads, shared, (cudaStream_t)d->stream>>>(
        (P)a...);
    /* Says, too, that the attribute was refused, and forgets it: the next launch is not to be blamed. */
    const cudaError_t e = cudaGetLastError();
    if (e != cudaSuccess) dev_failed(d, name, cudaGetErrorString(e));
}

DEVICE int thread_index() { return (int)threadIdx.x; }
DEVICE int block_threads() { return (int)blockDim.x; }
DEVICE int64_t block_x() { return blockIdx.x; }
DEVICE int block_y() { return (int)blockIdx.y; }
DEVICE int block_z() { return (int)blockIdx.z; }
DEVICE int64_t grid_x() { return gridDim.x; }

template <class T> DEVICE T *shared_memory()
{
    extern __shared__ __align__(128) unsigned char lafs_shared[];
    return (T *)lafs_shared;
}
DEVICE void block_sync() { __syncthreads(); }
DEVICE void warp_sync() { __syncwarp(); }
/* What the lane has whose number differs by `bits`. */
template <class T> DEVICE T warp_xor(T v, int bits) { return __shfl_xor_sync(~0u, v, bits); }
/* Bit i: lane i's v. */
DEVICE uint32_t warp_ballot(bool v) { return __ballot_sync(~0u, v); }
DEVICE int bits_set(uint32_t v) { return __popc(v); }
/* To global memory, in one access of 16 bytes, or 8, where the compiler makes several of a struct's at times. */
DEVICE void put_16(void *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(a), "r"(b), "r"(c), "r"(d)
                 : "memory");
}
DEVICE void put_8(void *to, uint32_t a, uint32_t b)
{
    asm volatile("st.global.v2.b32 [%0], {%1, %2};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(a), "r"(b)
                 : "memory");
}
/* The larger of x and 0; of a NaN a NaN. */
DEVICE float rectified(float x)
{
    float y;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(y) : "f"(x));
    return y;
}

/* The next number of a count in shared memory; all lanes get it. */
DEVICE int warp_number(int *next)
{
    int number = 0;
    if (threadIdx.x % WARP == 0) number = atomicAdd(next, 1);
    return __shfl_sync(~0u, number, 0);
}

/* 1: others may set it meanwhile. */
DEVICE void set_byte(uint8_t *to) { *to = 1; }

/* c (16,8) += a (16,16) b (16,8), bf16 in, fp32 sums. With g = lane/4 and t = lane%4 a lane holds, two to a word:
 * a: (g, 2t..), (g+8, 2t..), (g, 2t+8..), (g+8, 2t+8..); b: (2t.., g), (2t+8.., g); c: (g, 2t), (g, 2t+1), (g+8, 2t),
 * (g+8, 2t+1). */
DEVICE void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* c (16,8) += a (16,32) b (32,8), signed bytes in, exact. A lane holds, four to a word:
 * a: (g, 4t..), (g+8, 4t..), (g, 4t+16..), (g+8, 4t+16..); b: (4t.., g), (4t+16.., g); c as above. */
DEVICE void mma_bytes(int32_t c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* a b, rounded, whatever is done with it; for what must not depend on whether a compiler adds in the same step. */
DEVICE float multiply_rounded(float a, float b) { return __fmul_rn(a, b); }
/* exp(x) of x <= 0, and 1/x of 2^-126 <= x < 2^126, by the GPU's own approximations: exp to 2 + 1.2 |x| units in the
 * last place, so to less than 2^-22 of what exp(0) is; 1/x to one. */
DEVICE float quick_exp(float x) { return __expf(x); }
DEVICE float quick_inverse(float x) { return __fdividef(1, x); }
/* Two floats rounded to bf16, the first in the lower half; of a NaN, some NaN. */
DEVICE uint32_t bf16_pair(float first, float second)
{
    uint32_t u;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(second), "f"(first));
    return u;
}
/* Copies a float to shared memory; it is there for this thread after copies_wait, for the block after block_sync. */
DEVICE void copy_async(float *shared, const float *global)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;"
                 :
                 : "r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(global)
                 : "memory");
}
/* The same for 16 bytes, both ends at multiples of 16. */
DEVICE void copy_async_16(void *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 :
                 : "r"((uint32_t)__cvta_generic_to_shared(shared)), "l"(global)
                 : "memory");
}
DEVICE void copies_wait() { asm volatile("cp.async.wait_all;" : : : "memory"); }
/* What is in global memory there will be wanted: its 64 bytes begin their way to the L2 cache. */
DEVICE void expect(const void *global)
{
    asm volatile("prefetch.global.L2 [%0];" : : "l"(__cvta_generic_to_global(global)));
}
/* Four matrices of 8 x 8 bf16 in shared memory, turned: lane l gives where row l % 8 of matrix l / 8 begins (16 bytes,
 * at a multiple of 16), and gets of each matrix the elements (2t, g), (2t+1, g), g = lane/4, t = lane%4: b of
 * mma_bf16. */
DEVICE void matrices_across(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}
/* The same, not turned: of each matrix (g, 2t), (g, 2t+1): a of mma_bf16, or b whose columns are these rows. Likewise
 * of matrices of 8 x 16 bytes (g, 4t..): a or b of mma_bytes. */
DEVICE void matrices(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}
/* 2^x within 2 units of the last place; 0 for what is too small to be normal. */
DEVICE float quick_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else
/* == the simulator's bodies ======================================================================================= */

#include <functional>

#define KERNEL static void
#define KERNEL_FOR(...) static void
#define DEVICE static inline
#define DEVICE_APART static
#define ANYTHING [[gnu::may_alias]]

/* Where the running thread is; tests/cuda/sim.cc keeps it. */
struct sim_place {
    int thread, threads;
    int64_t x, grid_x;
    int y, z;
    void *shared;
};
extern struct sim_place sim_at;

enum { SIM_SLOT = 40 }; /* bytes that a lane may hand to its warp */
void sim_block_sync();
/* Waits for all lanes, which must have come for the same purpose; gives what each one brought, SIM_SLOT bytes apart. */
const char *sim_warp_meet(const char *purpose, const void *bring, size_t size);
void sim_copy_async(void *to, const void *from, size_t size);
void sim_copies_wait();
/* What several threads may do at a time. */
int sim_next(int *count);
void sim_set_byte(uint8_t *to);
/* 1: the launch is recorded, and done when the recording is replayed. */
int sim_recording(struct lafs_dev *d);
void sim_record(struct lafs_dev *d, std::function<void()> what);
/* Runs body(arg) in every thread of the grid. */
void sim_launch(struct lafs_dev *d, const char *name, struct grid g, int threads, size_t shared,
                void (*body)(const void *), const void *arg);
/* Stops the program when p is no device memory. */
void sim_check_pointer(const char *kernel, const volatile void *p);
/* Stops it when p is no multiple of `size`. */
void sim_check_place(const void *p, size_t size);

template <class T> static inline void sim_check(const char *kernel, T *p) { sim_check_pointer(kernel, p); }
template <class T> static inline void sim_check(const char *, const T &) {}

template <class F> static void sim_call(const void *arg) { (*(const F *)arg)(); }
template <class... P, class... A>
void launch(struct lafs_dev *d, void (*kernel)(P...), const char *name, struct grid g, int threads, size_t shared,
            A... a)
{
    if (d->plan) return; /* its addresses are no memory */
    (sim_check(name, (P)a), ...);
    auto call = [=]() { kernel((P)a...); };
    if (sim_recording(d))
        sim_record(d, [=]() { sim_launch(d, name, g, threads, shared, sim_call<decltype(call)>, &call); });
    else sim_launch(d, name, g, threads, shared, sim_call<decltype(call)>, &call);
}

DEVICE int thread_index() { return sim_at.thread; }
DEVICE int block_threads() { return sim_at.threads; }
DEVICE int64_t block_x() { return sim_at.x; }
DEVICE int block_y() { return sim_at.y; }
DEVICE int block_z() { return sim_at.z; }
DEVICE int64_t grid_x() { return sim_at.grid_x; }
template <class T> DEVICE T *shared_memory() { return (T *)sim_at.shared; }
DEVICE void block_sync() { sim_block_sync(); }
DEVICE void warp_sync() { sim_warp_meet("warp_sync", "", 1); }
template <class T> DEVICE T warp_xor(T v, int bits)
{
    T out;
    static_assert(sizeof v <= SIM_SLOT, "too much for a lane");
    memcpy(&out, sim_warp_meet("warp_xor", &v, sizeof v) + ((sim_at.thread % WARP) ^ bits) * SIM_SLOT, sizeof out);
    return out;
}
DEVICE uint32_t warp_ballot(bool v)
{
    uint32_t bits = 0;
    const char *all = sim_warp_meet("warp_ballot", &v, 1);
    for (int i = 0; i < WARP; i++) bits |= (uint32_t)(all[i * SIM_SLOT] != 0) << i;
    return bits;
}
DEVICE int bits_set(uint32_t v) { return __builtin_popcount(v); }
DEVICE void put_16(void *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    const uint32_t all[4] = {a, b, c, d};
    sim_check_place(to, sizeof all);
    memcpy(to, all, sizeof all);
}
DEVICE void put_8(void *to, uint32_t a, uint32_t b)
{
    const uint32_t all[2] = {a, b};
    sim_check_place(to, sizeof all);
    memcpy(to, all, sizeof all);
}
DEVICE float rectified(float x) { return x < 0 ? 0 : x; }
DEVICE int warp_number(int *next)
{
    const int mine = sim_at.thread % WARP == 0 ? sim_next(next) : 0;
    int number;
    memcpy(&number, sim_warp_meet("warp_number", &mine, sizeof mine), sizeof number);
    return number;
}
DEVICE void set_byte(uint8_t *to) { sim_set_byte(to); }
DEVICE float sim_half(const char *all, int lane, int word, int high)
{
    uint32_t u;
    float f;
    memcpy(&u, all + lane * SIM_SLOT + 4 * word, 4);
    u = high ? u & 0xffff0000u : u << 16;
    memcpy(&f, &u, 4);
    return f;
}
DEVICE void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    const uint32_t bring[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const char *all = sim_warp_meet("mma", bring, sizeof bring);
    const int g = sim_at.thread % WARP / 4, t = sim_at.thread % 4;
    for (int e = 0; e < 4; e++) /* element (g + 8 (e/2), 2t + e%2) */
        for (int k = 0; k < 16; k++)
            c[e] += sim_half(all, g * 4 + k % 8 / 2, e / 2 + k / 8 * 2, k % 2) *
                    sim_half(all, (2 * t + e % 2) * 4 + k % 8 / 2, 4 + k / 8, k % 2);
}
DEVICE int32_t sim_byte(const char *all, int lane, int word, int k)
{
    return (int8_t)all[lane * SIM_SLOT + 4 * word + k];
}
DEVICE void mma_bytes(int32_t c[4], const uint32_t a[4], const uint32_t b[2])
{
    const uint32_t bring[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const char *all = sim_warp_meet("mma_bytes", bring, sizeof bring);
    const int g = sim_at.thread % WARP / 4, t = sim_at.thread % 4;
    for (int e = 0; e < 4; e++) /* element (g + 8 (e/2), 2t + e%2) */
        for (int k = 0; k < 32; k++)
            c[e] += sim_byte(all, g * 4 + k % 16 / 4, e / 2 + k / 16 * 2, k % 4) *
                    sim_byte(all, (2 * t + e % 2) * 4 + k % 16 / 4, 4 + k / 16, k % 4);
}
DEVICE float multiply_rounded(float a, float b) { return a * b; }
DEVICE float quick_exp(float x) { return expf(x); }
DEVICE float quick_inverse(float x) { return 1 / x; }
DEVICE uint32_t bf16_bits(float x);
DEVICE uint32_t bf16_pair(float first, float second) { return bf16_bits(first) | bf16_bits(second) << 16; }
DEVICE void copy_async(float *shared, const float *global) { sim_copy_async(shared, global, sizeof *shared); }
DEVICE void copy_async_16(void *shared, const void *global) { sim_copy_async(shared, global, 16); }
DEVICE void copies_wait() { sim_copies_wait(); }
DEVICE void expect(const void *global) { sim_check_pointer("expect", global); }
DEVICE void matrices_across(uint32_t out[4], const void *row)
{
    sim_check_place(row, 16);
    const char *all = sim_warp_meet("matrices_across", &row, sizeof row);
    for (int i = 0; i < 8; i++) {
        const int lane = i / 2 * 8 + sim_at.thread % 4 * 2 + i % 2; /* whose row has element i of what this lane gets */
        const char *from;
        memcpy(&from, all + lane * SIM_SLOT, sizeof from);
        memcpy((char *)out + 2 * i, from + sim_at.thread % WARP / 4 * 2, 2);
    }
}
DEVICE void matrices(uint32_t out[4], const void *row)
{
    sim_check_place(row, 16);
    const char *all = sim_warp_meet("matrices", &row, sizeof row);
    for (int i = 0; i < 4; i++) {
        const char *from;
        memcpy(&from, all + (8 * i + sim_at.thread % WARP / 4) * SIM_SLOT, sizeof from);
        memcpy(out + i, from + sim_at.thread % 4 * 4, 4);
    }
}
DEVICE float quick_exp2(float x) { return exp2f(x); }

#endif
/* == for both ===================================================================================================== */

#define LAUNCH(d, kernel, grid, threads, shared, ...) launch(d, kernel, #kernel, grid, threads, shared, __VA_ARGS__)
/* Of a kernel over T, what an array is stored as: float or lafs_bf16. */
#define LAUNCH_OF(T, d, kernel, grid, threads, shared, ...) \
    launch(d, kernel<T>, sizeof(T) == sizeof(float) ? #kernel "<float>" : #kernel "<lafs_bf16>", grid, threads, \
           shared, __VA_ARGS__)

DEVICE int lane_index() { return thread_index() % WARP; }
DEVICE int warp_index() { return thread_index() / WARP; }
DEVICE int64_t global_index() { return block_x() * block_threads() + thread_index(); }

/* All lanes get the same bits: both orders of two summands are one. */
template <class T> DEVICE T warp_sum(T v)
{
    for (int bits = WARP / 2; bits; bits /= 2) v += warp_xor(v, bits);
    return v;
}
template <class T> DEVICE T warp_max(T v)
{
    for (int bits = WARP / 2; bits; bits /= 2) {
        const T other = warp_xor(v, bits);
        v = other > v ? other : v;
    }
    return v;
}
/* Over the four lanes that share a row of mma's sums. */
DEVICE float row_max(float v)
{
    v = fmaxf(v, warp_xor(v, 1));
    return fmaxf(v, warp_xor(v, 2));
}
DEVICE float row_sum(float v)
{
    v += warp_xor(v, 1);
    return v + warp_xor(v, 2);
}
/* Over the block, in the order of warps; all threads get it. room: shared, a T a warp. */
template <class T> DEVICE T block_sum(T v, T *room)
{
    T sum = 0;
    v = warp_sum(v);
    block_sync();
    if (lane_index() == 0) room[warp_index()] = v;
    block_sync();
    for (int i = 0; i < block_threads() / WARP; i++) sum += room[i];
    return sum;
}
template <class T> DEVICE T block_max(T v, T *room)
{
    v = warp_max(v);
    block_sync();
    if (lane_index() == 0) room[warp_index()] = v;
    block_sync();
    T best = room[0];
    for (int i = 1; i < block_threads() / WARP; i++) best = room[i] > best ? room[i] : best;
    return best;
}

/* part[first], part[first + step], .. up to `end`, summed in their order; several are on their way at once. */
DEVICE double strided_sum(const float *part, int64_t first, int64_t end, int64_t step)
{
    enum { AT_ONCE = 8 };
    double sum = 0;
    int64_t i = first;
    for (; i + (AT_ONCE - 1) * step < end; i += AT_ONCE * step) {
        float v[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) v[k] = part[i + k * step];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) sum += v[k];
    }
    for (; i < end; i += step) sum += part[i];
    return sum;
}
/* The sum of a column of part (parts, n): the block's warps share the parts, a lane has a column. For lanes of the
 * first warp; all threads come. room: shared, a double a thread. */
DEVICE double parts_sum(int64_t parts, int64_t n, int64_t column, const float *part, double *room)
{
    double sum = 0;
    if (column < n) sum = strided_sum(part, warp_index() * n + column, parts * n, block_threads() / WARP * n);
    room[thread_index()] = sum;
    block_sync();
    sum = 0;
    for (int i = 0; i < block_threads() / WARP; i++) sum += room[i * WARP + lane_index()];
    return sum;
}

/* -- four floats that lie together: one access -- */
struct alignas(16) quad {
    float v[4];
};
/* V of them, 1, 2 or 4. */
template <int V> struct alignas(4 * V) few {
    float v[V];
};
/* Rows of `width` can be taken by quads, two at a time. */
static inline int in_quads(int64_t width, const void *a, const void *b = NULL, const void *c = NULL,
                           const void *d = NULL, const void *e = NULL)
{
    return width % 8 == 0 &&
           (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d | (uintptr_t)e) & 15) == 0;
}

/* -- bf16: the upper half of a float, to the nearest, to even where two are; a NaN stays one -- */
DEVICE uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
DEVICE float bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
/* To global memory. */
template <int V> DEVICE void give_few(float *to, const struct few<V> &v)
{
    if constexpr (V == 4)
        put_16(to, float_bits(v.v[0]), float_bits(v.v[1]), float_bits(v.v[2]), float_bits(v.v[3]));
    else if constexpr (V == 2) put_8(to, float_bits(v.v[0]), float_bits(v.v[1]));
    else *to = v.v[0];
}
DEVICE uint32_t bf16_bits(float x)
{
    const uint32_t u = float_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return u >> 16 | 0x40u;
    return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}
DEVICE float bf16_high(float x) { return bits_float(bf16_bits(x) << 16); }
/* What is left of x behind its high part, rounded; 0 where that is infinite or no number. */
DEVICE float bf16_low(float x)
{
    const float low = x - bf16_high(x);
    return low - low == 0 ? bf16_high(low) : 0;
}

/* -- what is stored as float or as bf16 -- */
DEVICE float number(float x) { return x; }
DEVICE float number(struct lafs_bf16 x) { return bits_float((uint32_t)x.bits << 16); }
DEVICE void put_number(float *to, float x) { *to = x; }
DEVICE void put_number(struct lafs_bf16 *to, float x) { to->bits = (uint16_t)bf16_bits(x); }

/* Eight bf16 that lie together, and two: one access. */
struct alignas(16) ANYTHING octet {
    uint32_t word[4];
};
struct alignas(4) ANYTHING couple {
    uint32_t word;
};
struct eight { /* of floats, two accesses */
    struct quad half[2];
};
/* As they lie in memory: taken long before they are wanted, in as few registers as that takes. */
DEVICE struct eight as_stored(const float *from) { return *(const struct eight *)from; }
DEVICE struct octet as_stored(const struct lafs_bf16 *from) { return *(const struct octet *)from; }
template <class T> using stored_eight = decltype(as_stored((const T *)NULL));
DEVICE void unpack(const struct eight &from, float v[8])
{
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = from.half[k / 4].v[k % 4];
}
DEVICE void unpack(const struct octet &from, float v[8])
{
#pragma unroll
    for (int k = 0; k < 4; k++)
        v[2 * k] = bits_float(from.word[k] << 16), v[2 * k + 1] = bits_float(from.word[k] & 0xffff0000u);
}
template <class T> DEVICE void take_whole(const T *from, float v[8]) { unpack(as_stored(from), v); }
DEVICE void give_whole(float *to, const float v[8])
{
    ((struct quad *)to)[0] = {v[0], v[1], v[2], v[3]};
    ((struct quad *)to)[1] = {v[4], v[5], v[6], v[7]};
}
DEVICE void give_whole(struct lafs_bf16 *to, const float v[8]) /* in global memory */
{
    put_16(to, bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7]));
}
/* Eight neighbours of a row, or the `count` that are left of it, zeros behind. whole (in_quads): rows are of eights, at
 * multiples of 16 bytes. */
template <class T> DEVICE void take_eight(const T *from, int64_t count, int whole, float v[8])
{
    if (whole) {
        take_whole(from, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = k < count ? number(from[k]) : 0;
}
template <class T> DEVICE void give_eight(T *to, int64_t count, int whole, const float v[8])
{
    if (whole) {
        give_whole(to, v);
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; k++)
        if (k < count) put_number(to + k, v[k]);
}
/* Two neighbours; bf16: at an even place. */
DEVICE void give_pair(float *to, float first, float second) { to[0] = first, to[1] = second; }
DEVICE void give_pair(struct lafs_bf16 *to, float first, float second)
{
    ((struct couple *)to)->word = bf16_pair(first, second);
}

/* -- dropout and drop-path, as compute/backend.h says -- */
DEVICE void philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

struct drop { /* a lafs_drop as kernels take it */
    const uint64_t *key; /* NULL: nothing is dropped */
    uint32_t site, below;
    double below_path;
    float scale;
};
static inline struct drop drop_of(const struct lafs_drop *d)
{
    if (!d || !(d->p > 0)) return {NULL, 0, 0, 0, 1};
    return {d->key, d->site, (uint32_t)floor((double)d->p * 65536 + 0.5), (double)d->p * 0x1p32,
            (float)(1 / (1 - (double)d->p))};
}
/* Factors of the elements of a sequence; eight neighbours share a draw. */
struct drop_mask {
    uint32_t word[4];
    int64_t at = -1;
};
DEVICE float drop_factor(const struct drop *d, struct drop_mask *m, int64_t seq, int64_t e)
{
    if (!d->key) return 1;
    if (m->at != e / 8) {
        m->at = e / 8;
        philox(d->key[seq], (uint32_t)(e / 8), (uint32_t)((uint64_t)(e / 8) >> 32), d->site, 0, m->word);
    }
    const uint32_t lane = m->word[e % 8 / 2] >> (e % 2 ? 16 : 0) & 0xffff;
    return lane < d->below ? 0 : d->scale;
}
/* Of elements e.. e+7; whole: e is a multiple of 8, so that they share a draw. */
DEVICE void drop_factors(const struct drop *d, int64_t seq, int64_t e, int whole, float factor[8])
{
    uint32_t word[4];
    struct drop_mask mask;
    if (whole && d->key) philox(d->key[seq], (uint32_t)(e / 8), (uint32_t)((uint64_t)(e / 8) >> 32), d->site, 0, word);
#pragma unroll
    for (int k = 0; k < 8; k++)
        factor[k] = !d->key ? 1
                    : whole ? ((word[k / 2] >> (k % 2 * 16) & 0xffff) < d->below ? 0 : d->scale)
                            : drop_factor(d, &mask, seq, e + k);
}
/* The same of many eights of a sequence, beginning at elements 8 block: what they have in common is computed once, the
 * keys of philox's rounds and half of its first two. block < 2^32: a sequence is no 64 GB. */
struct drawing {
    uint32_t k0[10], k1[10], low;
};
/* A drop for drawn_factors. */
static inline struct drop drawn_drop_of(const struct lafs_drop *d)
{
    struct drop drop = drop_of(d);
    if (drop.below >> 16) drop.scale = 0; /* none is kept, and `below` does not fit */
    return drop;
}
DEVICE void drawing_of(const struct drop *d, int64_t seq, struct drawing *to)
{
    const uint64_t key = d->key[seq], p1 = (uint64_t)0xCD9E8D57u * d->site;
#pragma unroll
    for (int r = 0; r < 10; r++)
        to->k0[r] = (uint32_t)key + r * 0x9E3779B9u, to->k1[r] = (uint32_t)(key >> 32) + r * 0xBB67AE85u;
    const uint64_t p0 = (uint64_t)0xD2511F53u * ((uint32_t)(p1 >> 32) ^ to->k0[0]);
    to->k0[1] ^= (uint32_t)p1;
    to->k1[1] ^= (uint32_t)(p0 >> 32);
    to->low = (uint32_t)p0;
}
DEVICE void draw(const struct drawing *d, uint32_t block, uint32_t out[4])
{
    uint64_t p0 = (uint64_t)0xD2511F53u * block, p1 = (uint64_t)0xCD9E8D57u * ((uint32_t)(p0 >> 32) ^ d->k1[0]);
    uint32_t c0 = (uint32_t)(p1 >> 32) ^ d->k0[1], c1 = (uint32_t)p1, c2 = (uint32_t)p0 ^ d->k1[1], c3 = d->low;
#pragma unroll
    for (int r = 2; r < 10; r++) {
        p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ d->k0[r];
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ d->k1[r];
        c1 = (uint32_t)p1, c3 = (uint32_t)p0;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}
/* Of the eight at `block`. */
DEVICE void drawn_factors(const struct drop *d, const struct drawing *of, uint32_t block, float factor[8])
{
    const uint32_t below = d->below << 16;
    uint32_t word[4];
    draw(of, block, word);
#pragma unroll
    for (int k = 0; k < 8; k++) factor[k] = (k % 2 ? word[k / 2] : word[k / 2] << 16) < below ? 0 : d->scale;
}
DEVICE float path_factor(const struct drop *d, int64_t seq)
{
    uint32_t word[4];
    if (!d->key) return 1;
    philox(d->key[seq], 0, 0, d->site, 1, word);
    return word[0] < d->below_path ? 0 : d->scale;
}

/* -- sequences -- */
/* The sequence, of n, that a row belongs to: the last i with off[i] <= row. */
DEVICE int64_t sequence_of(int64_t n, const int64_t *off, int64_t row)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const int64_t mid = (lo + hi + 1) / 2;
        if (off[mid] <= row) lo = mid;
        else hi = mid - 1;
    }
    return lo;
}
/* The same for a whole warp, whose lanes ask for one row: they look in as many places at once. 0 if there is none. */
DEVICE int64_t sequence_of_warp(int64_t n, const int64_t *off, int64_t row)
{
    int64_t lo = 0, end = n; /* off[lo] <= row < off[end] */
    while (end - lo > 1) {
        const int64_t step = (end - lo + WARP - 1) / WARP, at = lo + step * lane_index();
        lo += step * (bits_set(warp_ballot(lane_index() == 0 || (at < end && off[at] <= row))) - 1);
        end = lo + step < end ? lo + step : end;
    }
    return lo;
}
/* The sequence of a row, kept from row to row of those that a warp has: they ascend, and one search is enough. All
 * lanes come. */
struct place {
    int64_t seq, start, end; /* its rows; at first 0: none */
};
/* 1: it is another sequence than before. */
DEVICE int place_row(struct place *at, int64_t n, const int64_t *off, int64_t row)
{
    if (row < at->end) return 0;
    if (at->end == 0) at->seq = sequence_of_warp(n, off, row);
    else
        while (at->seq + 1 < n && off[at->seq + 1] <= row) at->seq++;
    at->start = off[at->seq], at->end = off[at->seq + 1];
    return 1;
}
/* The place of i, a warp's, in the ascending of[0..n); -1: it is not there. of NULL: i itself. All lanes come. */
DEVICE int64_t place_among(int64_t n, const int64_t *of, int64_t i)
{
    if (!of) return i;
    const int64_t place = sequence_of_warp(n, of, i);
    return n && of[place] == i ? place : -1;
}

/* -- activations -- */
DEVICE float relu6(float x) { return x < 0 ? 0 : x > 6 ? 6 : x; }
/* The upper tail of the normal distribution at |x|, 1 - Phi(|x|), to 1e-7, and *density exp(-x^2/2); by the numbers of
 * kernels/cpu/vec.h. */
DEVICE float normal_tail(float x, float *density)
{
    const float u = fminf(fabsf(x), 13.0f), t = quick_inverse(1.0f + 0.28f * u);
    float p = -0.10655125055f;
    p = p * t + 0.39295566759f;
    p = p * t - 0.24207487775f;
    p = p * t + 0.27307299062f;
    p = p * t + 0.065802892691f;
    p = p * t + 0.11679457256f;
    *density = quick_exp2(-0.72134752f * u * u);
    return *density * (p * t);
}
DEVICE float gelu(float x)
{
    float density;
    const float part = x * normal_tail(x, &density);
    return x < 0 ? part : x - part;
}
/* Phi(x) + x phi(x) */
DEVICE float gelu_slope(float x)
{
    float density;
    const float tail = normal_tail(x, &density);
    return (x < 0 ? tail : 1 - tail) + x * (0.39894228f * density);
}
/* The same for what is stored as bf16: that tail within 4.2e-5 of itself up to |x| = 5, farther out within 1e-9, a
 * fortieth of what storing rounds. Its logarithm is a polynomial nearly. */
DEVICE float stored_tail(float u)
{
    float p = 2.3285596e-5f;
    p = p * u - 6.1670935e-4f;
    p = p * u + 7.233581e-3f;
    p = p * u - 5.1299702e-2f;
    p = p * u - 0.46112114f;
    p = p * u - 1.1502452f;
    p = p * u - 1.0000595f;
    return quick_exp2(p);
}
DEVICE float stored_gelu(float x)
{
    const float u = fminf(fabsf(x), 16);
    return rectified(x) - u * stored_tail(u);
}
DEVICE float stored_gelu_slope(float x)
{
    const float u = fminf(fabsf(x), 16);
    const float s = stored_tail(u) - u * quick_exp2(-0.72134752f * (x * x) - 1.3257481f);
    return x < 0 ? s : 1 - s;
}
/* By what the result is stored as. */
DEVICE float gelu_as(const float *, float x) { return gelu(x); }
DEVICE float gelu_as(const struct lafs_bf16 *, float x) { return stored_gelu(x); }
DEVICE float act_value(enum lafs_act act, float x)
{
    switch (act) {
    case LAFS_ACT_RELU: return x < 0 ? 0 : x;
    case LAFS_ACT_GELU: return gelu(x);
    case LAFS_ACT_HSWISH: return x * fminf(fmaxf(x + 3, 0), 6) * (1.0f / 6);
    case LAFS_ACT_HSIGMOID: return relu6(x + 3) * (1.0f / 6);
    case LAFS_ACT_SIGMOID: return 1 / (1 + expf(-x));
    default: return x;
    }
}
DEVICE float act_slope(enum lafs_act act, float x)
{
    switch (act) {
    case LAFS_ACT_RELU: return x > 0 ? 1.0f : 0.0f;
    case LAFS_ACT_GELU: return gelu_slope(x);
    case LAFS_ACT_HSWISH: return (relu6(x + 3) + (x > -3 && x < 3 ? x : 0.0f)) * (1.0f / 6);
    case LAFS_ACT_HSIGMOID: return x > -3 && x < 3 ? 1.0f / 6 : 0.0f;
    case LAFS_ACT_SIGMOID: {
        const float s = 1 / (1 + expf(-x));
        return s * (1 - s);
    }
    default: return 1;
    }
}

/* Of N numbers; which it is, is asked for once. */
#define EACH(a, to, what) \
    case a: \
        _Pragma("unroll") for (int k = 0; k < N; k++) to[k] what; \
        break
template <int N> DEVICE void act_values(enum lafs_act act, float *v)
{
    switch (act) {
        EACH(LAFS_ACT_RELU, v, = act_value(LAFS_ACT_RELU, v[k]));
        EACH(LAFS_ACT_GELU, v, = act_value(LAFS_ACT_GELU, v[k]));
        EACH(LAFS_ACT_HSWISH, v, = act_value(LAFS_ACT_HSWISH, v[k]));
        EACH(LAFS_ACT_HSIGMOID, v, = act_value(LAFS_ACT_HSIGMOID, v[k]));
        EACH(LAFS_ACT_SIGMOID, v, = act_value(LAFS_ACT_SIGMOID, v[k]));
    default: break;
    }
}
/* v *= act'(x) */
template <int N> DEVICE void act_slopes(enum lafs_act act, const float *x, float *v)
{
    switch (act) {
        EACH(LAFS_ACT_RELU, v, *= act_slope(LAFS_ACT_RELU, x[k]));
        EACH(LAFS_ACT_GELU, v, *= act_slope(LAFS_ACT_GELU, x[k]));
        EACH(LAFS_ACT_HSWISH, v, *= act_slope(LAFS_ACT_HSWISH, x[k]));
        EACH(LAFS_ACT_HSIGMOID, v, *= act_slope(LAFS_ACT_HSIGMOID, x[k]));
        EACH(LAFS_ACT_SIGMOID, v, *= act_slope(LAFS_ACT_SIGMOID, x[k]));
    default: break;
    }
}
#undef EACH

#endif
