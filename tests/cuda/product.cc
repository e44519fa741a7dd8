/* Products of the simulated device: the formula, as in kernels/ref, with sums in double. */
#include "kernels/cuda/dev.cuh"

#include <vector>

#include "tests/cuda/sim.h"

lafs_status product_open(struct lafs_dev *, struct lafs_err *) { return LAFS_OK; }
void product_close(struct lafs_dev *) {}

static double value(float x) { return x; }
static double value(uint16_t x) { return bits_float((uint32_t)x << 16); }

/* c (m,n) (+)= a b: element (i,k) of a at a[i rows_a + k columns_a], (k,j) of b at b[k rows_b + j columns_b]. */
template <class T> static void multiply(const struct product *p, const T *a, const T *b)
{
    const int64_t across = p->form == PRODUCT_TN, ra = across ? 1 : p->k, ca = across ? p->m : 1;
    std::vector<double> sum((size_t)p->n), row((size_t)p->k);
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t k = 0; k < p->k; k++) row[(size_t)k] = value(a[i * ra + k * ca]);
        for (int64_t j = 0; j < p->n; j++) sum[(size_t)j] = p->bias ? p->bias[j] : 0;
        if (p->form == PRODUCT_NT) {
            for (int64_t j = 0; j < p->n; j++) {
                double part[8] = {0}; /* so that the compiler may use vectors */
                int64_t k = 0;
                for (; k + 8 <= p->k; k += 8)
                    for (int l = 0; l < 8; l++) part[l] += row[(size_t)(k + l)] * value(b[j * p->k + k + l]);
                for (; k < p->k; k++) part[0] += row[(size_t)k] * value(b[j * p->k + k]);
                for (int l = 0; l < 8; l++) sum[(size_t)j] += part[l];
            }
        } else {
            for (int64_t k = 0; k < p->k; k++)
                for (int64_t j = 0; j < p->n; j++) sum[(size_t)j] += row[(size_t)k] * value(b[k * p->n + j]);
        }
        float *c = p->c + i * p->n;
        for (int64_t j = 0; j < p->n; j++) c[j] = p->add ? c[j] + (float)sum[(size_t)j] : (float)sum[(size_t)j];
    }
}

void product_run(struct lafs_dev *, const struct product *p)
{
    sim_check_pointer("product", p->a);
    sim_check_pointer("product", p->b);
    sim_check_pointer("product", p->bias);
    sim_check_pointer("product", p->c);
    sim_enter();
    if (p->bf16) multiply(p, (const uint16_t *)p->a, (const uint16_t *)p->b);
    else multiply(p, (const float *)p->a, (const float *)p->b);
    sim_leave();
}
