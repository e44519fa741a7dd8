#include "base/pool.h"

#include <unistd.h>

#include "tests/test.h"

enum { THREADS = 4, TILES = 40, LOOPS = 3000, LONG_MICROSECONDS = 2000 };

struct tiles {
    struct lafs_pool *pool;
    int taken[TILES], by[THREADS]; /* plain: a loop orders what its tiles write before what follows it */
    int64_t slow;                  /* a tile that takes longer than anybody looks out; -1: none */
};

static void take(void *arg, int64_t i, int worker)
{
    struct tiles *t = arg;
    t->taken[i]++;
    t->by[worker]++;
    if (i == t->slow) usleep(LONG_MICROSECONDS);
}

/* Loops of few tiles and many, close behind each other, after a rest, and with a tile that lets the others wait. */
TEST(each_tile_once)
{
    struct lafs_err err;
    for (int threads = 1; threads <= THREADS; threads++) {
        struct tiles t = {0};
        REQUIRE_OK(lafs_pool_new(&t.pool, threads, &err), &err);
        CHECK_INT(lafs_pool_threads(t.pool), threads);
        for (int loop = 0; loop < LOOPS; loop++) {
            int64_t count = loop % (TILES + 1), sum = 0;
            memset(t.taken, 0, sizeof t.taken);
            memset(t.by, 0, sizeof t.by);
            t.slow = loop % 101 ? -1 : loop % 7;
            if (loop % 97 == 0) usleep(LONG_MICROSECONDS);
            lafs_pool_for(t.pool, count, take, &t);
            for (int64_t i = 0; i < TILES; i++) CHECK_INT(t.taken[i], i < count);
            for (int w = 0; w < threads; w++) sum += t.by[w];
            CHECK_INT(sum, count);
        }
        lafs_pool_free(t.pool);
    }
}

struct outer {
    struct lafs_pool *pool;
    struct tiles inner[TILES];
};

static void loop_inside(void *arg, int64_t i, int worker)
{
    struct outer *o = arg;
    o->inner[i].slow = -1;
    lafs_pool_for(o->pool, TILES, take, &o->inner[i]);
    CHECK_INT(o->inner[i].by[worker], TILES);
}

/* A loop inside a tile is run by the worker that runs the tile. */
TEST(loops_inside)
{
    static struct outer o;
    struct lafs_err err;
    REQUIRE_OK(lafs_pool_new(&o.pool, THREADS, &err), &err);
    lafs_pool_for(o.pool, TILES, loop_inside, &o);
    for (int i = 0; i < TILES; i++)
        for (int k = 0; k < TILES; k++) CHECK_INT(o.inner[i].taken[k], 1);
    lafs_pool_free(o.pool);
}

TEST_MAIN(each_tile_once, loops_inside)
