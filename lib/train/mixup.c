#include "train/mixup.h"

#include "base/rng.h"

int64_t lafs_mixup(const struct lafs_mixup *m, const struct lafs_backend *b, int64_t epoch, int64_t pass, int64_t n,
                   int64_t size, float *images, float *scratch, struct lafs_target *target)
{
    struct lafs_rng rng;
    lafs_rng_init(&rng, lafs_rng_key(m->seed, LAFS_RNG_MIXUP, (uint64_t)epoch, (uint64_t)pass, 0));
    if (!(m->p > 0) || lafs_rng_double(&rng) >= m->p) return n;
    float lambda = (float)lafs_rng_beta(&rng, m->alpha, m->alpha);
    n -= n % 2;
    for (int64_t i = 0; i < n; i++)
        b->ops->copy(b->dev, scratch + i * size, images + (n - 1 - i) * size, (size_t)size * sizeof(float));
    b->ops->scale(b->dev, n * size, lambda, images);
    b->ops->axpy(b->dev, n * size, 1 - lambda, scratch, images);
    for (int64_t i = 0; i < n; i++) target[i].lambda = lambda;
    for (int64_t i = 0; i < n; i++) target[i].b = target[n - 1 - i].a;
    return n;
}
