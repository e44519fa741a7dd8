#include "train/ahead.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"

/* What is made, and what must never happen. */
static struct shop {
    int64_t slot[LAFS_AHEAD_SLOTS];
    atomic_int made, inside, used; /* used: the slot that the taker looks at, -1: none */
    int64_t fails, last;
    int spoilt;
} shop;

static lafs_status make(void *arg, int64_t number, int slot, struct lafs_err *err)
{
    struct shop *s = arg;
    s->spoilt |= atomic_fetch_add(&s->inside, 1) != 0 || slot == s->used;
    usleep(number % 3 * 200);
    s->slot[slot] = number * 10;
    s->last = number;
    s->made++;
    atomic_fetch_sub(&s->inside, 1);
    if (number == s->fails) return lafs_fail(err, LAFS_FAILED, "number %d", (int)number);
    return LAFS_OK;
}

static struct lafs_ahead *open_shop(int64_t end, int threaded)
{
    struct lafs_ahead *a;
    struct lafs_err err;
    memset(&shop, 0, sizeof shop);
    shop.used = shop.fails = -1;
    CHECK_INT(lafs_ahead_new(&a, make, &shop, end, threaded, &err), LAFS_OK);
    return a;
}

static lafs_status take(struct lafs_ahead *a, int64_t number)
{
    int slot;
    struct lafs_err err = {0};
    shop.used = -1;
    lafs_status st = lafs_ahead_take(a, number, &slot, &err);
    if (st != LAFS_OK) return st;
    shop.used = slot;
    usleep(number % 2 * 300);
    CHECK_INT(shop.slot[slot], number * 10);
    return st;
}

TEST(in_order)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct lafs_ahead *a = open_shop(40, threaded);
        for (int i = 3; i < 40; i++) CHECK_INT(take(a, i), LAFS_OK);
        CHECK_INT(take(a, 40), LAFS_USAGE);
        CHECK(lafs_ahead_waited(a) > 0);
        lafs_ahead_free(a);
        CHECK_INT(shop.made, 37); /* nothing twice, nothing beyond the end */
        CHECK(!shop.spoilt);
    }
}

TEST(made_while_the_last_is_used)
{
    struct lafs_ahead *a = open_shop(10, 1);
    CHECK_INT(take(a, 0), LAFS_OK);
    for (int i = 0; i < 2000 && shop.made < 2; i++) usleep(1000);
    usleep(2000);
    CHECK_INT(shop.made, 2); /* the next one, and no more */
    CHECK(lafs_ahead_stop(a, -1));
    CHECK_INT(shop.made, 2);
    CHECK_INT(take(a, 1), LAFS_OK); /* it is there */
    CHECK_INT(take(a, 2), LAFS_OK); /* and made by the taker from now on */
    CHECK_INT(shop.made, 3);
    lafs_ahead_free(a);
    lafs_ahead_free(NULL);
}

TEST(a_failure_comes_with_its_number)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct lafs_ahead *a = open_shop(10, threaded);
        shop.fails = 3;
        for (int i = 0; i < 3; i++) CHECK_INT(take(a, i), LAFS_OK);
        CHECK_INT(take(a, 3), LAFS_FAILED);
        usleep(3000);
        CHECK_INT(shop.last, 3); /* there is nothing to go on with */
        CHECK_INT(take(a, 4), LAFS_OK);
        lafs_ahead_free(a);
        CHECK(!shop.spoilt);
    }
}

TEST(elsewhere)
{
    for (int threaded = 0; threaded < 2; threaded++) {
        struct lafs_ahead *a = open_shop(100, threaded);
        const int64_t number[] = {5, 6, 50, 51, 51, 0, 1, 99, 98};
        for (size_t i = 0; i < sizeof number / sizeof *number; i++) CHECK_INT(take(a, number[i]), LAFS_OK);
        lafs_ahead_free(a);
        CHECK(!shop.spoilt);
    }
}

TEST_MAIN(in_order, made_while_the_last_is_used, a_failure_comes_with_its_number, elsewhere)
