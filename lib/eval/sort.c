#include "eval/sort.h"

#include <string.h>

enum { BITS = 11, BUCKETS = 1 << BITS, PASSES = 3 };

/* Bits of a float as an unsigned number that sorts like the float; -0 becomes 0. */
static inline uint32_t to_key(float f)
{
    uint32_t u;
    f += 0.0f;
    memcpy(&u, &f, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static inline float from_key(uint32_t u)
{
    float f;
    u = u & 0x80000000u ? u & 0x7fffffffu : ~u;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void starts(int64_t count[BUCKETS])
{
    int64_t sum = 0;
    for (int k = 0; k < BUCKETS; k++) {
        int64_t c = count[k];
        count[k] = sum;
        sum += c;
    }
}

void lafs_sort_f32(float *x, float *tmp, int64_t n)
{
    static const int shift[PASSES] = {0, BITS, 2 * BITS};
    int64_t count[PASSES][BUCKETS];
    memset(count, 0, sizeof count);
    uint32_t k;
    for (int64_t i = 0; i < n; i++) {
        k = to_key(x[i]);
        for (int p = 0; p < PASSES; p++) count[p][(k >> shift[p]) & (BUCKETS - 1)]++;
        memcpy(x + i, &k, sizeof k);
    }
    float *from = x, *to = tmp;
    for (int p = 0; p < PASSES; p++) {
        starts(count[p]);
        for (int64_t i = 0; i < n; i++) {
            memcpy(&k, from + i, sizeof k);
            memcpy(to + count[p][(k >> shift[p]) & (BUCKETS - 1)]++, &k, sizeof k);
        }
        float *swap = from;
        from = to;
        to = swap;
    }
    for (int64_t i = 0; i < n; i++) { /* an odd number of passes: the result lies in tmp */
        memcpy(&k, from + i, sizeof k);
        x[i] = from_key(k);
    }
}

void lafs_order_f32(const float *score, int64_t n, uint64_t *order, uint64_t *tmp)
{
    int64_t count[BUCKETS];
    uint64_t *from = order, *to = tmp;
    for (int64_t i = 0; i < n; i++) tmp[i] = (uint64_t)to_key(score[i]) << 32 | (uint64_t)i;
    from = tmp, to = order;
    for (int p = 0; p < PASSES; p++) {
        int shift = 32 + p * BITS;
        memset(count, 0, sizeof count);
        for (int64_t i = 0; i < n; i++) count[(from[i] >> shift) & (BUCKETS - 1)]++;
        starts(count);
        for (int64_t i = 0; i < n; i++) to[count[(from[i] >> shift) & (BUCKETS - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    /* tmp -> order -> tmp -> order */
    for (int64_t i = 0; i < n; i++) order[i] &= 0xffffffffu;
}
