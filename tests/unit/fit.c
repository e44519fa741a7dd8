/* What of a work fits into memory: found by asking, for any need that grows with the items. */
#include "tests/test.h"

#include "compute/fit.h"

static int asked;

/* 100 bytes and 10 an item; in bf16 12; in bf16x3 4. */
static lafs_status need(void *arg, int64_t items, enum lafs_precision p, size_t *bytes, struct lafs_err *err)
{
    static const size_t each[] = {10, 12, 4};
    (void)err;
    asked++;
    *bytes = 100 + each[p] * (size_t)items;
    if (arg && items % *(const int64_t *)arg) FAIL_("%lld items were asked about", (long long)items);
    return LAFS_OK;
}
static lafs_status fails(void *arg, int64_t items, enum lafs_precision p, size_t *bytes, struct lafs_err *err)
{
    (void)arg, (void)p, (void)bytes;
    return items < 8 ? lafs_fail(err, LAFS_FAILED, "no") : need(NULL, items, p, bytes, err);
}

static struct lafs_err e;
static struct lafs_fit fit(struct lafs_fit_work w, size_t available)
{
    struct lafs_fit f = {0};
    w.need = w.need ? w.need : need;
    if (lafs_fit(&f, &w, available, &e) != LAFS_OK) FAIL_("%s", e.msg);
    return f;
}

/* Against trying all. */
TEST(offers)
{
    for (int64_t whole = 0; whole <= 60; whole += 60)
        for (int64_t least = 1; least <= 2; least++)
            for (size_t available = 100; available <= 720; available += 5) {
                const struct lafs_fit f = fit((struct lafs_fit_work){NULL, NULL, 60, least, whole, 0, 0}, available);
                int64_t best[3] = {0, 0, 0};
                for (int p = 0; p < 3; p++)
                    for (int64_t i = least; i <= 60; i++) {
                        size_t bytes;
                        if (whole && whole % i) continue;
                        need(NULL, i, (enum lafs_precision)p, &bytes, &e);
                        if (bytes <= available) best[p] = i;
                    }
                CHECK_INT(f.fits, best[0] == 60);
                CHECK_INT(f.need, 700);
                if (f.fits) continue;
                CHECK_INT(f.same.items, best[0]);
                CHECK_INT(f.same.need, 100 + 10 * (best[0] ? best[0] : least));
                const int64_t other = best[2] > best[1] ? best[2] : best[1];
                CHECK_INT(f.other.items, other > best[0] ? other : 0);
                if (f.other.items) CHECK_INT(f.other.precision, LAFS_PRECISION_BF16X3);
                if (f.other.items) CHECK_INT(f.other.need, 100 + 4 * other);
            }
}

TEST(asks_seldom)
{
    asked = 0;
    fit((struct lafs_fit_work){NULL, NULL, 4096, 1, 0, 0, 0}, 500);
    CHECK(asked < 50);
    asked = 0;
    int64_t step = 1;
    fit((struct lafs_fit_work){NULL, &step, 1, 1, 1, 0, 0}, 50); /* there is no smaller choice */
    CHECK(asked <= 3);
}

TEST(what_is_said)
{
    char text[256];
    struct lafs_fit_work w = {need, NULL, 600000, 2, 0, 0, LAFS_PRECISION_FP32};
    struct lafs_fit f = fit(w, 3000000);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    CHECK_STR(text, "6.0 MB are needed, 3.0 MB are free: --micro 299990 fits (3.0 MB); with --precision bf16x3, "
                    "--micro 600000 does (2.4 MB)");
    f = fit(w, 109);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    CHECK_STR(text, "6.0 MB are needed, 0.0 MB are free: not even --micro 2 fits (0.0 MB); with --precision bf16x3, "
                    "--micro 2 does (0.0 MB)");
    w.precision = LAFS_PRECISION_BF16X3; /* the others take more */
    f = fit(w, 2000000);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    CHECK_STR(text, "2.4 MB are needed, 2.0 MB are free: --micro 499975 fits (2.0 MB)");
    w.items = w.least = 1; /* and there is no smaller choice */
    f = fit(w, 50);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    CHECK_STR(text, "0.0 MB are needed, 0.0 MB are free");
    w = (struct lafs_fit_work){need, NULL, 600000, 2, 0, 0, LAFS_PRECISION_FP32};
    f = fit(w, 109);
    char little[24];
    lafs_fit_say(&f, "--micro", little, sizeof little);
    CHECK_INT(strlen(little), sizeof little - 1);
}

/* Parts of a whole want 500 bytes more than the whole at once. */
static lafs_status need_of_parts(void *arg, int64_t items, enum lafs_precision p, size_t *bytes, struct lafs_err *err)
{
    LAFS_TRY(need(NULL, items, p, bytes, err));
    if (items < *(const int64_t *)arg) *bytes += 500;
    return LAFS_OK;
}
TEST(the_whole_may_take_less)
{
    int64_t whole = 8;
    char text[256];
    struct lafs_fit_work w = {need_of_parts, &whole, 2, 1, whole, 1, LAFS_PRECISION_FP32};
    struct lafs_fit f = fit(w, 615); /* 2 need 620, 8 need 180 */
    CHECK_INT(f.same.items, 8);
    CHECK_INT(f.same.need, 180);
    CHECK_INT(f.other.items, 0);
    w.all = 0;
    f = fit(w, 615);
    CHECK_INT(f.same.items, 1);
    w.items = whole;
    f = fit(w, 150); /* a part needs more: that is of no use to anybody */
    CHECK_INT(f.same.items, 0);
    lafs_fit_say(&f, "--micro", text, sizeof text);
    CHECK_STR(text, "0.0 MB are needed, 0.0 MB are free; with --precision bf16x3, --micro 8 does (0.0 MB)");
}

TEST(failures_are_told)
{
    struct lafs_fit f;
    struct lafs_fit_work w = {fails, NULL, 16, 1, 0, 0, LAFS_PRECISION_FP32};
    CHECK_INT(lafs_fit(&f, &w, 120, &e), LAFS_FAILED);
    CHECK_STR(e.msg, "no");
}

TEST_MAIN(offers, asks_seldom, what_is_said, the_whole_may_take_less, failures_are_told)
