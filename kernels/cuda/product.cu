/* Products through cuBLASLt, whose matrices are column-major: ours, read so, are transposed, and c^T = op(b)^T op(a)^T.
 *
 * An algorithm is chosen once for a shape of n and k, and in forms NT and NN without regard to m: among those that do
 * not split the sum over k between blocks (which would add in another order, or with atomics), the best for CHOSEN_ROWS
 * rows.
 * So a row's bits depend on neither the batch nor the time, as long as the library is the same. */
#include <cublasLt.h>

#include <stdio.h>

#include "kernels/cuda/dev.cuh"

enum { CHOSEN_ROWS = 8192, MOST_CHOICES = 256, WORKSPACE = 32 << 20 };

struct key { /* of a choice; m is 0 where it does not matter */
    int form, bf16, bias, add, aligned /* all pointers to so many bytes */, unused;
    int64_t m, n, k;
};
struct products {
    cublasLtHandle_t lt;
    void *workspace;
    int choices;
    struct {
        struct key key;
        cublasLtMatmulAlgo_t algo;
    } choice[MOST_CHOICES];
};

/* What describes one product to cuBLASLt. */
struct call {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
};

static void release(struct call *c)
{
    if (c->desc) cublasLtMatmulDescDestroy(c->desc);
    if (c->a) cublasLtMatrixLayoutDestroy(c->a);
    if (c->b) cublasLtMatrixLayoutDestroy(c->b);
    if (c->c) cublasLtMatrixLayoutDestroy(c->c);
}

/* cuBLASLt's A is our b and its B our a, since everything is transposed. m: rows of c. */
static cublasStatus_t describe(struct call *c, const struct product *p, int64_t m)
{
    const cudaDataType_t type = p->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasOperation_t ta = p->form == PRODUCT_NT ? CUBLAS_OP_T : CUBLAS_OP_N,
                            tb = p->form == PRODUCT_TN ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t s;
    memset(c, 0, sizeof *c);
    if ((s = cublasLtMatmulDescCreate(&c->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F))) return s;
    if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta))) return s;
    if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb))) return s;
    if (p->bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        const cudaDataType_t bias_type = CUDA_R_32F;
        const void *bias = p->bias;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue)))
            return s;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type,
                                                sizeof bias_type)))
            return s;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias)))
            return s;
    }
    /* rows and columns as cuBLASLt sees the arrays */
    if (p->form == PRODUCT_NT) s = cublasLtMatrixLayoutCreate(&c->a, type, (uint64_t)p->k, (uint64_t)p->n, p->k);
    else s = cublasLtMatrixLayoutCreate(&c->a, type, (uint64_t)p->n, (uint64_t)p->k, p->n);
    if (s) return s;
    if (p->form == PRODUCT_TN) s = cublasLtMatrixLayoutCreate(&c->b, type, (uint64_t)m, (uint64_t)p->k, m);
    else s = cublasLtMatrixLayoutCreate(&c->b, type, (uint64_t)p->k, (uint64_t)m, p->k);
    if (s) return s;
    return cublasLtMatrixLayoutCreate(&c->c, CUDA_R_32F, (uint64_t)p->n, (uint64_t)m, p->n);
}

/* The best algorithm for the call whose sum over k one block makes. */
static cublasStatus_t choose(struct products *all, const struct call *c, uint32_t aligned, cublasLtMatmulAlgo_t *algo)
{
    static const cublasLtMatmulPreferenceAttributes_t alignment[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint64_t workspace = WORKSPACE;
    cublasLtMatmulPreference_t want;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceCreate(&want);
    if (s) return s;
    s = cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                                             sizeof reduction);
    if (!s)
        s = cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace);
    for (int i = 0; i < 4 && !s; i++)
        s = cublasLtMatmulPreferenceSetAttribute(want, alignment[i], &aligned, sizeof aligned);
    if (!s) s = cublasLtMatmulAlgoGetHeuristic(all->lt, c->desc, c->a, c->b, c->c, c->c, want, 1, &found, &n);
    cublasLtMatmulPreferenceDestroy(want);
    if (!s && !n) s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (!s) *algo = found.algo;
    return s;
}

/* 16, or what fewer bytes all three arrays are aligned to. */
static int alignment_of(const struct product *p)
{
    const uintptr_t all = (uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c | 16;
    return (int)(all & (~all + 1));
}

/* The algorithm for p: chosen before, or now. */
static cublasStatus_t algorithm(struct products *all, const struct product *p, cublasLtMatmulAlgo_t *algo)
{
    const struct key key = {p->form,
                            p->bf16,
                            p->bias != NULL,
                            p->add,
                            alignment_of(p),
                            0,
                            p->form == PRODUCT_TN ? p->m : 0,
                            p->n,
                            p->form == PRODUCT_TN ? 0 : p->k};
    struct call c;
    for (int i = 0; i < all->choices; i++)
        if (!memcmp(&all->choice[i].key, &key, sizeof key)) {
            *algo = all->choice[i].algo;
            return CUBLAS_STATUS_SUCCESS;
        }
    cublasStatus_t s = describe(&c, p, p->form == PRODUCT_TN ? p->m : CHOSEN_ROWS);
    if (!s) s = choose(all, &c, (uint32_t)key.aligned, algo);
    release(&c);
    if (s || all->choices == MOST_CHOICES) return s;
    all->choice[all->choices].key = key;
    all->choice[all->choices++].algo = *algo;
    return s;
}

void product_run(struct lafs_dev *d, const struct product *p)
{
    struct products *all = (struct products *)d->products;
    const float one = 1, add = p->add ? 1 : 0;
    cublasLtMatmulAlgo_t algo;
    struct call c;
    runtime_use(d);
    cublasStatus_t s = algorithm(all, p, &algo);
    if (s) {
        dev_failed(d, "choosing a product", cublasLtGetStatusString(s));
        return;
    }
    s = describe(&c, p, p->m);
    if (!s)
        s = cublasLtMatmul(all->lt, c.desc, &one, p->b, c.a, p->a, c.b, &add, p->c, c.c, p->c, c.c, &algo,
                           all->workspace, WORKSPACE, (cudaStream_t)d->stream);
    release(&c);
    if (s) dev_failed(d, "product", cublasLtGetStatusString(s));
}

lafs_status product_open(struct lafs_dev *d, struct lafs_err *err)
{
    struct products *all;
    LAFS_TRY(lafs_alloc0(&all, 1, sizeof *all, err));
    d->products = all;
    const cublasStatus_t s = cublasLtCreate(&all->lt);
    if (s) return lafs_fail(err, LAFS_FAILED, "cuBLASLt: %s", cublasLtGetStatusString(s));
    return runtime_alloc(d, &all->workspace, WORKSPACE, err);
}

void product_close(struct lafs_dev *d)
{
    struct products *all = (struct products *)d->products;
    if (!all) return;
    runtime_free(d, all->workspace);
    if (all->lt) cublasLtDestroy(all->lt);
    lafs_free(all);
}
