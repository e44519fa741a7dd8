#include "data/near.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/test.h"

static struct lafs_err e;

/* A smooth picture of its own, size w x h. */
static void make_picture(struct lafs_image *im, int w, int h, uint64_t seed)
{
    struct lafs_rng r;
    double grid[7][7];
    lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_TEST, 1, 0, 0));
    for (int i = 0; i < 49; i++) grid[i / 7][i % 7] = lafs_rng_uniform(&r, 0, 255);
    if (lafs_image_new(im, w, h, &e) != LAFS_OK) abort();
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double gx = 5.999 * x / w, gy = 5.999 * y / h, fx = gx - (int)gx, fy = gy - (int)gy;
            const double *a = &grid[(int)gy][(int)gx], *b = &grid[(int)gy + 1][(int)gx];
            double v = (a[0] * (1 - fx) + a[1] * fx) * (1 - fy) + (b[0] * (1 - fx) + b[1] * fx) * fy;
            for (int c = 0; c < 3; c++) im->px[(y * w + x) * 3 + c] = (uint8_t)v;
        }
}

static void move_picture(struct lafs_image *to, const struct lafs_image *from, int dx, int dy, int mirror)
{
    if (lafs_image_new(to, from->w, from->h, &e) != LAFS_OK) abort();
    for (int y = 0; y < from->h; y++)
        for (int x = 0; x < from->w; x++) {
            int u = mirror ? from->w - 1 - x : x, v = y - dy;
            u -= dx;
            u = u < 0 ? 0 : u >= from->w ? from->w - 1 : u;
            v = v < 0 ? 0 : v >= from->h ? from->h - 1 : v;
            memcpy(&to->px[(y * from->w + x) * 3], &from->px[(v * from->w + u) * 3], 3);
        }
}

/* The definition, in plain loops, for pictures that are 32x32 already. */
static double plain(const struct lafs_image *a, const struct lafs_image *b)
{
    double best = -2;
    for (int k = 0; k < 50; k++) {
        int dx = k % 5, dy = k / 5 % 5, mirror = k >= 25;
        double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
        for (int y = 0; y < 28; y++)
            for (int x = 0; x < 28; x++) {
                int u = mirror ? 31 - (x + dx) : x + dx;
                double p = a->px[((y + 2) * 32 + x + 2) * 3], q = b->px[((y + dy) * 32 + u) * 3];
                sa += p, sb += q, saa += p * p, sbb += q * q, sab += p * q;
            }
        double n = 28 * 28, va = saa - sa * sa / n, vb = sbb - sb * sb / n;
        if (va < 1 || vb < 1) continue;
        double c = (sab - sa * sb / n) / sqrt(va * vb);
        best = c > best ? c : best;
    }
    return best;
}

/* The bounds leave nothing out: equal to the definition wherever that reaches the threshold. */
TEST(equals_the_definition)
{
    enum { N = 40 };
    struct lafs_image im[N] = {{0}}, probe = {0};
    struct lafs_near *s;
    REQUIRE_OK(lafs_near_new(&s, &e), &e);
    for (int i = 0; i < N; i++) {
        make_picture(&im[i], 32, 32, (uint64_t)i);
        REQUIRE_OK(lafs_near_add(s, &im[i], &e), &e);
    }
    int over = 0, under = 0;
    for (int p = 0; p < 200; p++) {
        make_picture(&probe, 32, 32, 1000 + (uint64_t)p);
        double best = -2, min = 0.3 + 0.003 * p;
        int64_t want = -1, got = -1;
        for (int i = 0; i < N; i++) {
            double c = plain(&probe, &im[i]);
            if (c > best) best = c, want = i;
        }
        double c = lafs_near_best(s, &probe, min, &got);
        if (best < min - 1e-4) {
            CHECK(c == -2);
            under++;
        }
        if (best > min + 1e-4) {
            CHECK_NEAR(c, best, 1e-4);
            CHECK_INT(got, want);
            over++;
        }
    }
    CHECK(over > 20 && under > 20);
    for (int i = 0; i < N; i++) lafs_image_release(&im[i]);
    lafs_image_release(&probe);
    lafs_near_free(s);
}

static int noisy(int v, struct lafs_rng *r, int most)
{
    v += (int)lafs_rng_below(r, (uint64_t)(2 * most + 1)) - most;
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* Near-duplicates of every shift and mirroring, spoilt more and more, are found when little less than their
 * correlation is asked for: nothing on the way may rule them out. */
TEST(nothing_is_ruled_out_that_reaches_the_threshold)
{
    enum { N = 19, COPIES = 150 };
    struct lafs_image im[N] = {{0}}, probe = {0};
    struct lafs_near *s;
    struct lafs_rng r;
    int high = 0, odd = 0;
    lafs_rng_init(&r, lafs_rng_key(3, LAFS_RNG_TEST, 2, 0, 0));
    REQUIRE_OK(lafs_near_new(&s, &e), &e);
    for (int i = 0; i < N; i++) {
        make_picture(&im[i], 32, 32, (uint64_t)i);
        REQUIRE_OK(lafs_near_add(s, &im[i], &e), &e);
    }
    for (int p = 0; p < COPIES; p++) {
        const int of = p % N, k = p % 50;
        struct lafs_near_picture *drawn[LAFS_NEAR_GROUP] = {NULL};
        double best = -2, got[LAFS_NEAR_GROUP];
        int64_t want = -1, which[LAFS_NEAR_GROUP], alone = -1;
        move_picture(&probe, &im[of], k % 5 - 2, k / 5 % 5 - 2, k >= 25);
        for (int i = 0; i < 32 * 32; i++)
            memset(&probe.px[3 * i], noisy(probe.px[3 * i], &r, 100 * p / COPIES), 3);
        for (int i = 0; i < N; i++) {
            double c = plain(&probe, &im[i]);
            if (c > best) best = c, want = i;
        }
        CHECK(lafs_near_best(s, &probe, best - 1e-4, &alone) > best - 1e-4);
        CHECK_INT(alone, want);
        REQUIRE_OK(lafs_near_draw(s, &probe, &drawn[p % 4], &e), &e);
        lafs_near_best_drawn(s, drawn, LAFS_NEAR_GROUP, want - (want > 0), best - 1e-4, got, which);
        for (int i = 0; i < LAFS_NEAR_GROUP; i++) CHECK_INT(which[i], i == p % 4 ? want : -1);
        lafs_near_best_drawn(s, drawn, LAFS_NEAR_GROUP, want + 1, best - 1e-4, got, which);
        CHECK_INT(which[p % 4], -1); /* of those behind it none is as alike, and it is not looked at */
        high += best > 0.97;
        odd += best < 0.8;
        lafs_near_picture_free(drawn[p % 4]);
        lafs_image_release(&probe);
    }
    CHECK(high > COPIES / 10 && odd > COPIES / 10);
    for (int i = 0; i < N; i++) lafs_image_release(&im[i]);
    lafs_near_free(s);
}

TEST(shifts_mirrors_and_sizes)
{
    struct lafs_image a = {0}, b = {0}, small = {0};
    struct lafs_near *s;
    REQUIRE_OK(lafs_near_new(&s, &e), &e);
    make_picture(&a, 112, 112, 5);
    make_picture(&small, 50, 50, 5);
    REQUIRE_OK(lafs_near_add(s, &a, &e), &e);
    static const struct {
        int dx, dy, mirror, near;
    } cases[] = {{0, 0, 0, 1}, {7, 0, 0, 1}, {-7, 7, 0, 1}, {0, 0, 1, 1}, {7, -7, 1, 1}, {25, 0, 0, 0}, {0, -25, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        move_picture(&b, &a, cases[i].dx, cases[i].dy, cases[i].mirror);
        int64_t which = -1;
        double c = lafs_near_best(s, &b, 0.95, &which);
        CHECK_INT(c >= 0.95, cases[i].near);
        CHECK_INT(which, cases[i].near ? 0 : -1);
    }
    CHECK(lafs_near_best(s, &small, 0.98, NULL) >= 0.98);
    memset(b.px, 128, 112 * 112 * 3); /* a flat picture is like nothing */
    CHECK(lafs_near_best(s, &b, 0.05, NULL) == -2);
    REQUIRE_OK(lafs_near_add(s, &b, &e), &e);
    CHECK(lafs_near_best(s, &b, 0.05, NULL) == -2);
    lafs_image_release(&a);
    lafs_image_release(&b);
    lafs_image_release(&small);
    lafs_near_free(s);
}

/* Drawn first, and four in one go, pictures are compared as they are one by one; of the set only from a number on. */
TEST(drawn_pictures_and_groups)
{
    enum { SET = 60, PROBES = 4 };
    struct lafs_near *s;
    struct lafs_image im = {0};
    struct lafs_near_picture *drawn[PROBES] = {NULL};
    double best[PROBES], alone[PROBES];
    int64_t which[PROBES], which_alone[PROBES];
    int found = 0;
    REQUIRE_OK(lafs_near_new(&s, &e), &e);
    for (int i = 0; i < SET; i++) {
        make_picture(&im, 40, 36, (uint64_t)i);
        REQUIRE_OK(lafs_near_add(s, &im, &e), &e);
        lafs_image_release(&im);
    }
    for (int p = 0; p < 3; p++) { /* one of the set, one that is like some of it, a flat one; the last is none */
        make_picture(&im, 40, 36, p == 0 ? 7 : 500);
        if (p == 2) memset(im.px, 90, 40 * 36 * 3);
        REQUIRE_OK(lafs_near_draw(s, &im, &drawn[p], &e), &e);
        which_alone[p] = -1;
        alone[p] = lafs_near_best(s, &im, 0.3, &which_alone[p]);
        lafs_image_release(&im);
    }
    lafs_near_best_drawn(s, drawn, PROBES, 0, 0.3, best, which);
    for (int p = 0; p < 3; p++) {
        double one;
        int64_t which_one;
        lafs_near_best_drawn(s, &drawn[p], 1, 0, 0.3, &one, &which_one);
        CHECK(best[p] == alone[p] && one == alone[p]);
        CHECK(which[p] == which_alone[p] && which_one == which_alone[p]);
        found += which[p] >= 0;
    }
    CHECK_INT(found, 2);
    CHECK_INT(which[0], 7);
    CHECK(best[3] == -2 && which[3] == -1);
    lafs_near_best_drawn(s, drawn, PROBES, 8, 0.3, best, which);
    CHECK(which[0] != 7 && best[0] < 0.9 && (which[0] == -1 || which[0] >= 8));
    REQUIRE_OK(lafs_near_put(s, drawn[0], &e), &e); /* the set has it twice now: the first of equals counts */
    drawn[0] = NULL;
    lafs_near_best_drawn(s, &drawn[1], 1, 0, 0.3, best, which);
    CHECK(best[0] == alone[1] && which[0] == which_alone[1]);
    for (int p = 0; p < PROBES; p++) lafs_near_picture_free(drawn[p]);
    lafs_near_free(s);
}

TEST_MAIN(equals_the_definition, nothing_is_ruled_out_that_reaches_the_threshold, shifts_mirrors_and_sizes,
          drawn_pictures_and_groups)
