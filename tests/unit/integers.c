#include "tests/test.h"

#include <math.h>
#include <string.h>

#include "base/isa.h"
#include "base/rng.h"
#include "eval/integers.h"

enum { MOST = 320 };
static float x[MOST];
static int8_t out[MOST + 64], first[MOST + 64];

static void draw(struct lafs_rng *r, int64_t dim, int kind)
{
    for (int64_t i = 0; i < dim; i++) {
        const double v = lafs_rng_normal(r);
        x[i] = (float)(kind == 0 ? v : kind == 1 ? v * 1e-20 : kind == 2 ? (i == dim / 2 ? -1 : v * 1e-4) : 0);
    }
}

/* Every instruction set rounds alike, to the nearest, and says no less than what is lost and kept. */
TEST(rounded)
{
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(1, LAFS_RNG_TEST, 0, 0, 0));
    for (int round = 0; round < 200; round++) {
        const int64_t dim = 1 + (int64_t)lafs_rng_below(&r, MOST), padded = (dim + 63) / 64 * 64;
        const int kind = round % 4, top = round % 3 ? 63 : 127;
        double scale = 0, left = 0, kept = 0;
        draw(&r, dim, kind);
        for (int level = LAFS_ISA_PLAIN; level <= LAFS_ISA_AVX512; level++) {
            double l, k;
            lafs_isa_limit(LAFS_ISA_AMX);
            if (lafs_isa_level() < level) continue;
            lafs_isa_limit(level);
            memset(out, 42, sizeof out);
            const double s = lafs_integers()(x, dim, padded, top, out, &l, &k);
            if (level == LAFS_ISA_PLAIN) scale = s, left = l, kept = k, memcpy(first, out, sizeof out);
            CHECK(s == scale && l == left && k == kept && memcmp(out, first, sizeof out) == 0);
        }
        double lost = 0, have = 0;
        for (int64_t i = 0; i < dim; i++) {
            const double back = first[i] * scale, d = x[i] - back;
            CHECK(first[i] >= -top && first[i] <= top && fabs(d) <= 0.5001 * scale);
            lost += d * d;
            have += back * back;
        }
        for (int64_t i = dim; i < padded; i++) CHECK(first[i] == 0);
        CHECK(first[padded] == 42);
        CHECK(left >= sqrt(lost) && left <= sqrt(lost) * 1.001 + 1e-19);
        CHECK(kept >= sqrt(have) && kept <= sqrt(have) * 1.001 + 1e-19);
    }
    lafs_isa_limit(LAFS_ISA_AMX);
}

TEST_MAIN(rounded)
