/* Products of the simulated device: the formula, as in kernels/ref, with sums in double. */
#include "kernels/cuda/dev.cuh"

#include <vector>

#include "tests/cuda/sim.h"

lafs_status product_open(struct lafs_dev *, struct lafs_err *) { return LAFS_OK; }
void product_close(struct lafs_dev *) {}

static double value(float x) { return x; }
static double value(uint16_t x) { return bits_float((uint32_t)x << 16); }

/* c (m,n) (+)= a b: element (i,k) of a at a[i rows_a + k columns_a], (k,j) of b at b[k ldb + j], in NT b[j ldb + k]. */
template <class T, class C> static void multiply(const struct product *p, const T *a, const T *b, C *out)
{
    const int64_t lda = lda_of(p), ldb = ldb_of(p), across = p->form == PRODUCT_TN;
    const int64_t rows_a = across ? 1 : lda, columns_a = across ? lda : 1;
    std::vector<double> sum((size_t)p->n), row((size_t)p->k);
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t k = 0; k < p->k; k++) row[(size_t)k] = value(a[i * rows_a + k * columns_a]);
        for (int64_t j = 0; j < p->n; j++) sum[(size_t)j] = p->bias ? number(((const C *)p->bias)[j]) : 0;
        if (p->form == PRODUCT_NT) {
            for (int64_t j = 0; j < p->n; j++) {
                double part[8] = {0}; /* so that the compiler may use vectors */
                int64_t k = 0;
                for (; k + 8 <= p->k; k += 8)
                    for (int l = 0; l < 8; l++) part[l] += row[(size_t)(k + l)] * value(b[j * ldb + k + l]);
                for (; k < p->k; k++) part[0] += row[(size_t)k] * value(b[j * ldb + k]);
                for (int l = 0; l < 8; l++) sum[(size_t)j] += part[l];
            }
        } else {
            for (int64_t k = 0; k < p->k; k++)
                for (int64_t j = 0; j < p->n; j++) sum[(size_t)j] += row[(size_t)k] * value(b[k * ldb + j]);
        }
        C *c = out + i * ldc_of(p);
        for (int64_t j = 0; j < p->n; j++) {
            if (p->relu && sum[(size_t)j] < 0) sum[(size_t)j] = 0;
            put_number(c + j, p->add ? number(c[j]) + (float)sum[(size_t)j] : (float)sum[(size_t)j]);
        }
    }
}
template <class T> static void all_of(const struct product *p, const T *a, const T *b)
{
    for (int64_t i = 0; i < (p->count ? p->count : 1); i++)
        if (p->c_bf16)
            multiply(p, a + i * p->step_a, b + i * p->step_b, (struct lafs_bf16 *)p->c + i * p->step_c);
        else multiply(p, a + i * p->step_a, b + i * p->step_b, (float *)p->c + i * p->step_c);
}

void product_run(struct lafs_dev *d, const struct product *p)
{
    if (sim_recording(d)) {
        const struct product later = *p;
        sim_record(d, [=]() { product_run(d, &later); });
        return;
    }
    sim_check_pointer("product", p->a);
    sim_check_pointer("product", p->b);
    sim_check_pointer("product", p->bias);
    sim_check_pointer("product", p->c);
    if (p->m < 1 || p->n < 1 || p->k < 1) sim_refuse("a product", "an empty matrix");
    if (p->bf16 && (lda_of(p) % 8 || ldb_of(p) % 8 || p->step_a % 8 || p->step_b % 8))
        sim_refuse("a product", "rows of bf16 that do not begin at multiples of 16 bytes");
    if (p->bf16 && (((uintptr_t)p->a | (uintptr_t)p->b) & 15)) sim_refuse("a product", "bf16 at no multiple of 16 bytes");
    if (p->c_bf16 && (p->add || !p->bf16 || p->count > 1 || ldc_of(p) % 8 || (uintptr_t)p->c & 15))
        sim_refuse("a product", "a result in bf16 that is added to, or lies wrong");
    if (p->relu && (p->add || p->bf16 || p->count > 1))
        sim_refuse("a product", "negative results left out of what is added to, or bf16");
    sim_enter();
    if (p->bf16) all_of(p, (const uint16_t *)p->a, (const uint16_t *)p->b);
    else all_of(p, (const float *)p->a, (const float *)p->b);
    sim_leave();
}
