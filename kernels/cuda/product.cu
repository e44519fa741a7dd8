/* Products through cuBLASLt, whose matrices are column-major: ours, read so, are transposed, and c^T = op(b)^T op(a)^T.
 *
 * Which algorithm makes a product is decided by its shape and nothing else: no clock, no earlier call. The number of
 * rows, what the batch decides, takes no part where that can be helped: candidates are the library's for CHOSEN_ROWS
 * rows, those first that also take other numbers of rows, and the first that takes the product at hand is used. (Rows:
 * m in forms NT and NN, k in form TN, gradients of weights; of those in parts, k and how many parts there are.) None of
 * them splits the sum over k between blocks, which would add in another order, or with atomics. So a row's bits depend
 * on neither the batch nor the time, and a run gone on with has the algorithms that it had, as long as GPU and library
 * are the same. */
#include <cublasLt.h>

#include <stdio.h>

#include "kernels/cuda/dev.cuh"

enum { CHOSEN_ROWS = 8192, CHOSEN_PARTS = 64, ASKED = 24, CANDIDATES = 8, MOST_CHOICES = 256, WORKSPACE = 32 << 20 };

struct key { /* of a choice: all that describes a product but its rows and where it is */
    int form, bf16, c_bf16, bias, relu, add, aligned /* all pointers to so many bytes */;
    int64_t m /* in form TN, 0 otherwise */, n, k /* 0 in form TN */, lda, ldb, ldc, count, step_a, step_b, step_c;
};
struct choice {
    struct key key;
    int candidates;
    cublasLtMatmulAlgo_t algo[CANDIDATES];
};
struct products {
    cublasLtHandle_t lt;
    void *workspace;
    int choices;
    struct choice choice[MOST_CHOICES];
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

/* An array as cuBLASLt sees it: columns of `rows`, ld apart. */
static cublasStatus_t lay_out(cublasLtMatrixLayout_t *to, cudaDataType_t type, int64_t rows, int64_t columns,
                              int64_t ld, int64_t count, int64_t step)
{
    const int32_t n = (int32_t)count;
    cublasStatus_t s = cublasLtMatrixLayoutCreate(to, type, (uint64_t)rows, (uint64_t)columns, ld);
    if (s || n < 2) return s;
    if ((s = cublasLtMatrixLayoutSetAttribute(*to, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n, sizeof n))) return s;
    return cublasLtMatrixLayoutSetAttribute(*to, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
}

/* cuBLASLt's A is our b and its B our a, since everything is transposed. */
static cublasStatus_t describe(struct call *c, const struct product *p)
{
    const cudaDataType_t type = p->bf16 ? CUDA_R_16BF : CUDA_R_32F, c_type = p->c_bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasOperation_t ta = p->form == PRODUCT_NT ? CUBLAS_OP_T : CUBLAS_OP_N,
                            tb = p->form == PRODUCT_TN ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t s;
    memset(c, 0, sizeof *c);
    if ((s = cublasLtMatmulDescCreate(&c->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F))) return s;
    if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta))) return s;
    if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb))) return s;
    if (p->bias || p->relu) {
        const cublasLtEpilogue_t epilogue = !p->relu  ? CUBLASLT_EPILOGUE_BIAS
                                            : p->bias ? CUBLASLT_EPILOGUE_RELU_BIAS
                                                      : CUBLASLT_EPILOGUE_RELU;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue)))
            return s;
    }
    if (p->bias) {
        const void *bias = p->bias;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &c_type, sizeof c_type)))
            return s;
        if ((s = cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias)))
            return s;
    }
    const int nt = p->form == PRODUCT_NT, tn = p->form == PRODUCT_TN;
    if ((s = lay_out(&c->a, type, nt ? p->k : p->n, nt ? p->n : p->k, ldb_of(p), p->count, p->step_b))) return s;
    if ((s = lay_out(&c->b, type, tn ? p->m : p->k, tn ? p->k : p->m, lda_of(p), p->count, p->step_a))) return s;
    return lay_out(&c->c, c_type, p->n, p->m, ldc_of(p), p->count, p->step_c);
}

/* The library's proposals for the call, best first, none of which divides the sum over k. */
static cublasStatus_t propose(struct products *all, const struct call *c, uint32_t aligned,
                              cublasLtMatmulHeuristicResult_t found[ASKED], int *n)
{
    static const cublasLtMatmulPreferenceAttributes_t alignment[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint64_t workspace = WORKSPACE;
    cublasLtMatmulPreference_t want;
    *n = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceCreate(&want);
    if (s) return s;
    s = cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction,
                                             sizeof reduction);
    if (!s)
        s = cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                 sizeof workspace);
    for (int i = 0; i < 4 && !s; i++)
        s = cublasLtMatmulPreferenceSetAttribute(want, alignment[i], &aligned, sizeof aligned);
    if (!s) s = cublasLtMatmulAlgoGetHeuristic(all->lt, c->desc, c->a, c->b, c->c, c->c, want, ASKED, found, n);
    cublasLtMatmulPreferenceDestroy(want);
    return s;
}

/* The algorithm can make the product that c describes, in the workspace that there is. */
static int takes(struct products *all, const struct call *c, const cublasLtMatmulAlgo_t *algo)
{
    cublasLtMatmulHeuristicResult_t r;
    memset(&r, 0, sizeof r);
    if (cublasLtMatmulAlgoCheck(all->lt, c->desc, c->a, c->b, c->c, c->c, algo, &r)) return 0;
    return r.state == CUBLAS_STATUS_SUCCESS && r.workspaceSize <= WORKSPACE;
}

/* A gradient of weights in parts of its rows: their number and length are the rows'. */
static int in_parts(const struct product *p) { return p->form == PRODUCT_TN && p->count > 1; }

static struct product with_rows(const struct product *p, int64_t rows)
{
    struct product q = *p;
    if (p->form == PRODUCT_TN) q.k = rows;
    else q.m = rows;
    if (in_parts(p)) {
        q.count = CHOSEN_PARTS;
        q.step_a = 32 * CHOSEN_ROWS * lda_of(p), q.step_b = 32 * CHOSEN_ROWS * ldb_of(p);
    }
    q.lda = lda_of(p), q.ldb = ldb_of(p), q.ldc = ldc_of(p);
    return q;
}
/* The algorithm takes p with whatever number of rows. */
static int takes_any_rows(struct products *all, const struct product *p, const cublasLtMatmulAlgo_t *algo)
{
    static const int64_t numbers[] = {1, 100, CHOSEN_ROWS + 1, 16 * CHOSEN_ROWS + 8};
    int ok = 1;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && ok; i++) {
        const struct product q = with_rows(p, numbers[i]);
        struct call c;
        ok = !describe(&c, &q) && takes(all, &c, algo);
        release(&c);
    }
    return ok;
}

/* 16, or what fewer bytes all three arrays are aligned to, each of `count`. */
static int alignment_of(const struct product *p)
{
    const int64_t item = p->bf16 ? sizeof(uint16_t) : sizeof(float);
    const int64_t item_c = p->c_bf16 ? sizeof(uint16_t) : sizeof(float);
    const uintptr_t steps = (uintptr_t)((p->step_a | p->step_b) * item) | (uintptr_t)(p->step_c * item_c);
    const uintptr_t all = (uintptr_t)p->a | (uintptr_t)p->b | (uintptr_t)p->c | steps | 16;
    return (int)(all & (~all + 1));
}

/* Fills in the candidates for products of choice->key. */
static cublasStatus_t choose(struct products *all, const struct product *p, struct choice *choice)
{
    cublasLtMatmulHeuristicResult_t found[ASKED];
    const struct product chosen = with_rows(p, CHOSEN_ROWS);
    struct call c;
    int n = 0, any[ASKED];
    choice->candidates = 0;
    cublasStatus_t s = describe(&c, &chosen);
    if (!s) s = propose(all, &c, (uint32_t)choice->key.aligned, found, &n);
    release(&c);
    if (s == CUBLAS_STATUS_NOT_SUPPORTED) return CUBLAS_STATUS_SUCCESS; /* the product at hand is asked about later */
    for (int i = 0; i < n && !s; i++)
        any[i] = found[i].state == CUBLAS_STATUS_SUCCESS ? takes_any_rows(all, p, &found[i].algo) : -1;
    for (int want = 1; want >= 0 && !s; want--)
        for (int i = 0; i < n && choice->candidates < CANDIDATES; i++)
            if (any[i] == want) choice->algo[choice->candidates++] = found[i].algo;
    return s;
}

/* The choice for products like p: made before, or now, into `room` when all places are taken. */
static cublasStatus_t choice_for(struct products *all, const struct product *p, struct choice *room,
                                 const struct choice **out)
{
    const int tn = p->form == PRODUCT_TN;
    struct key key;
    memset(&key, 0, sizeof key);
    key.form = p->form, key.bf16 = p->bf16, key.c_bf16 = p->c_bf16, key.bias = p->bias != NULL;
    key.relu = p->relu, key.add = p->add, key.aligned = alignment_of(p);
    key.m = tn ? p->m : 0, key.n = p->n, key.k = tn ? 0 : p->k;
    key.lda = lda_of(p), key.ldb = ldb_of(p), key.ldc = ldc_of(p);
    key.count = p->count, key.step_a = p->step_a, key.step_b = p->step_b, key.step_c = p->step_c;
    if (in_parts(p)) key.count = CHOSEN_PARTS, key.step_a = key.step_b = 0;
    for (int i = 0; i < all->choices; i++)
        if (!memcmp(&all->choice[i].key, &key, sizeof key)) {
            *out = &all->choice[i];
            return CUBLAS_STATUS_SUCCESS;
        }
    struct choice *to = all->choices < MOST_CHOICES ? &all->choice[all->choices] : room;
    to->key = key;
    const cublasStatus_t s = choose(all, p, to);
    if (!s && to != room) all->choices++;
    *out = to;
    return s;
}

/* The algorithm for p, which c describes: the first candidate that takes it, otherwise the first proposal for it. */
static cublasStatus_t algorithm(struct products *all, const struct product *p, const struct call *c,
                                cublasLtMatmulAlgo_t *algo)
{
    cublasLtMatmulHeuristicResult_t found[ASKED];
    struct choice room;
    const struct choice *choice;
    int n = 0;
    cublasStatus_t s = choice_for(all, p, &room, &choice);
    if (s) return s;
    for (int i = 0; i < choice->candidates; i++)
        if (takes(all, c, &choice->algo[i])) {
            *algo = choice->algo[i];
            return CUBLAS_STATUS_SUCCESS;
        }
    if ((s = propose(all, c, (uint32_t)choice->key.aligned, found, &n))) return s;
    for (int i = 0; i < n; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && takes(all, c, &found[i].algo)) {
            *algo = found[i].algo;
            return CUBLAS_STATUS_SUCCESS;
        }
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

/* A failure that names the product. */
static void failed(struct lafs_dev *d, const struct product *p, const char *what, cublasStatus_t s)
{
    static const char *const form[] = {"NT", "NN", "TN"};
    char text[128];
    snprintf(text, sizeof text, "%s a product, form %s, %s, m %lld, n %lld, k %lld", what, form[p->form],
             p->bf16 ? "bf16" : "fp32", (long long)p->m, (long long)p->n, (long long)p->k);
    dev_failed(d, text, cublasLtGetStatusString(s));
}

void product_run(struct lafs_dev *d, const struct product *p)
{
    struct products *all = (struct products *)d->products;
    const float one = 1, add = p->add ? 1 : 0;
    cublasLtMatmulAlgo_t algo;
    struct call c;
    runtime_use(d);
    cublasStatus_t s = describe(&c, p);
    if (!s) s = algorithm(all, p, &c, &algo);
    if (s) {
        failed(d, p, "choosing", s);
    } else if ((s = cublasLtMatmul(all->lt, c.desc, &one, p->b, c.a, p->a, c.b, &add, p->c, c.c, p->c, c.c, &algo,
                                   all->workspace, WORKSPACE, (cudaStream_t)d->stream))) {
        failed(d, p, "making", s);
    }
    release(&c);
}

lafs_status product_open(struct lafs_dev *d, struct lafs_err *err)
{
    struct products *all;
    LAFS_TRY(lafs_alloc0(&all, 1, sizeof *all, err));
    d->products = all;
    const cublasStatus_t s = cublasLtCreate(&all->lt);
    if (s) return lafs_fail(err, LAFS_FAILED, "cuBLASLt: %s", cublasLtGetStatusString(s));
    const size_t v = cublasLtGetVersion(), at = strlen(d->text);
    snprintf(d->text + at, sizeof d->text - at, ", cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
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
