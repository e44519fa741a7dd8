/* The scan of a gallery: CPU against reference, for every instruction set and number of threads. Exact. */
#include "tests/ops/ops.h"

#include "tests/ops/levels.h"

enum { MOST_Q = 300, MOST_M = 200, MOST_DIM = 832 };
static int8_t q[MOST_Q * MOST_DIM], g[MOST_M * MOST_DIM];
static float c[MOST_Q], a[MOST_Q], x[MOST_M], y[MOST_M];
static uint64_t want[MOST_Q * 4 + 2], got[MOST_Q * 4 + 2];

static int64_t below(struct lafs_rng *r, int64_t lo, int64_t hi)
{
    return lo + (int64_t)lafs_rng_below(r, (uint64_t)(hi - lo + 1));
}

/* extreme: the largest values that the op allows, everywhere. */
static void draw(struct lafs_rng *r, int64_t nq, int64_t m, int64_t dim, int extreme)
{
    for (int64_t i = 0; i < nq * dim; i++)
        q[i] = (int8_t)(extreme ? (below(r, 0, 1) ? 63 : -63) : below(r, -63, 63));
    for (int64_t i = 0; i < m * dim; i++) g[i] = (int8_t)(extreme ? (below(r, 0, 1) ? 63 : -63) : below(r, -63, 63));
    if (extreme)
        for (int64_t i = 0; i < dim; i++) { /* sums of one sign, too */
            q[i] = 63;
            g[i] = 63;
        }
    for (int64_t i = 0; i < nq; i++) {
        c[i] = i % 7 == 0 ? -INFINITY : (float)below(r, -60000, 90000);
        a[i] = (float)below(r, 0, 1000);
    }
    for (int64_t j = 0; j < m; j++) {
        x[j] = (float)lafs_rng_uniform(r, 0.5, 2);
        y[j] = (float)lafs_rng_uniform(r, 0, 2);
    }
}

static void one_round(struct ops_set *o, struct lafs_rng *r, int extreme)
{
    int64_t nq = below(r, 1, MOST_Q), m = below(r, 1, MOST_M), dim = 64 * below(r, 1, MOST_DIM / 64);
    size_t words = (size_t)(nq * ((m + 63) / 64));
    draw(r, nq, m, dim, extreme);
    memset(want, 0xA5, sizeof want);
    o->ref.ops->scan(o->ref.dev, nq, m, dim, q, c, a, g, x, y, want);
    CHECK(want[words] == 0xA5A5A5A5A5A5A5A5u);
    for (int level = LAFS_ISA_PLAIN; level <= LAFS_ISA_AMX; level++)
        for (int threads = 0; threads < 2; threads++) {
            struct lafs_backend *b = threads ? &o->cpu3 : &o->cpu;
            if (!level_use(level)) continue;
            memset(got, 0xA5, sizeof got);
            b->ops->scan(b->dev, nq, m, dim, q, c, a, g, x, y, got);
            if (memcmp(got, want, sizeof got))
                FAIL_("scan of %lld x %lld x %lld, %s, differs", (long long)nq, (long long)m, (long long)dim,
                      level_name[level]);
        }
    level_free();
}

TEST(scan_finds_what_the_reference_finds)
{
    struct ops_set o;
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(4, LAFS_RNG_TEST, 0, 0, 0));
    levels_missing("scan_finds_what_the_reference_finds", LAFS_ISA_AMX);
    ops_open(&o);
    for (int round = 0; round < 12; round++) one_round(&o, &r, round % 4 == 3);
    ops_close(&o);
}

TEST_MAIN(scan_finds_what_the_reference_finds)
