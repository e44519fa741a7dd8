/* Races in shared and device memory, whatever the order of the fibers: two threads touch the same bytes in one launch,
 * one of them writes, and nothing keeps the two apart: a block_sync, where both are of one block, or inside a warp a
 * warp_sync. (A shuffle, a vote, or a product keeps lanes together, but orders no memory.)
 *
 * Kernels are compiled with -fsanitize=thread, which puts a call in front of each access; but instead of that
 * sanitizer's library, which knows nothing of barriers of fibers, the functions called are these. Nothing is seen under
 * another sanitizer, and without LAFS_SIM_RACES in the environment: looking takes three times as long. An asynchronous
 * copy counts as a write when it begins and when it is waited for.
 */
#include "kernels/cuda/dev.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <vector>

#include "tests/cuda/sim.h"

namespace {

/* GRAIN: bytes of shared memory that are told apart, those of a bf16. In device memory that is words, and, where less
 * is touched, bytes; words and bytes do not meet. */
enum { GRAIN = 2, WORD = 4, WARPS = 1024 / WARP, TABLE = 1 << 18 };

struct when { /* barriers counted: in all, since all launches; blocks run one after another */
    uint32_t of_block, of_warp;
};
struct cell {
    uintptr_t place;         /* of device memory: whose cell it is now */
    struct when written, read;
    uint32_t first_read;     /* in this launch */
    int16_t writer, reading; /* a thread; the warp that read last */
    uint32_t warps, lanes;   /* that have read since the block's last barrier; of that warp, since its last */
};

const char *const races = getenv("LAFS_SIM_RACES");
const int wanted = races != NULL, blind = races && !strcmp(races, "blind"); /* blind: to barriers, a test's */
int under_way;    /* a launch that is looked at */
const char *room; /* shared memory */
size_t size;
std::vector<struct cell> shared, device(TABLE); /* the latter forgets what meets in a place of it */
struct when last[WARPS];                        /* by warp */
uint32_t barriers, launch_began, block_began;

/* An access is of another block since `since`, or of this one with no barrier between; same: of this warp. */
int meets(struct when a, uint32_t since, int same, struct when now)
{
    if (a.of_block < block_began) return a.of_block >= since;
    return a.of_block == now.of_block && !(same && a.of_warp != now.of_warp);
}

[[noreturn]] void race(const char *what)
{
    static char text[128];
    snprintf(text, sizeof text, "a race: no barrier between what it %s", what);
    sim_stop(text);
}

/* since: of device memory the launch's beginning, of shared memory the block's. */
void touch(struct cell *c, uint32_t since, int write)
{
    const int t = sim_at.thread, w = t / WARP;
    const uint32_t lane = 1u << t % WARP, warp = 1u << w;
    const struct when now = last[w];
    if ((c->writer != t || c->written.of_block < block_began) && meets(c->written, since, c->writer / WARP == w, now))
        race(write ? "writes and what another thread writes" : "reads and what another thread writes");
    if (write) {
        const int other_block = c->first_read >= since && c->first_read < block_began;
        const int other_warp = c->read.of_block == now.of_block && (c->warps & ~warp);
        const int other_lane = c->reading == w && meets(c->read, since, 1, now) && (c->lanes & ~lane);
        if (other_block || other_warp || other_lane) race("writes and what another thread reads");
        c->written = now;
        c->writer = (int16_t)t;
        return;
    }
    if (c->first_read < since) c->first_read = now.of_block;
    if (c->read.of_block != now.of_block) c->warps = 0;
    if (c->reading != w || c->read.of_warp != now.of_warp) c->lanes = 0;
    c->warps |= warp, c->lanes |= lane;
    c->reading = (int16_t)w;
    c->read = now;
}

/* A barrier of a warp, or of the block (-1). */
void pass(int warp)
{
    barriers++;
    if (warp >= 0) last[warp].of_warp = barriers;
    else
        for (struct when &w : last) w = {barriers, barriers};
}

struct cell *cell_of(uintptr_t place)
{
    struct cell *c = &device[(place ^ place >> 18) % TABLE];
    if (c->place != place) *c = {}, c->place = place;
    return c;
}

} // namespace

void sim_races_begin(const void *p, size_t bytes)
{
    room = (const char *)p;
    size = bytes;
    if (shared.size() < size / GRAIN + 1) shared.resize(size / GRAIN + 1);
    launch_began = barriers + 1;
    under_way = wanted;
}
void sim_races_end() { under_way = 0; }
void sim_races_block()
{
    block_began = barriers + 1;
    pass(-1);
}
void sim_races_barrier(int warp)
{
    if (!blind) pass(warp);
}
void sim_races_touch(const void *p, size_t bytes, int write)
{
    if (!under_way) return;
    const size_t at = (size_t)((const char *)p - room), step = bytes < WORD ? 1 : (size_t)WORD;
    if (at < size)
        for (size_t i = at / GRAIN; i <= (at + bytes - 1) / GRAIN; i++) touch(&shared[i], block_began, write);
    else if (sim_in_device_memory(p))
        for (uintptr_t i = 0; i < bytes; i += step) touch(cell_of((uintptr_t)p + i), launch_began, write);
}

#define HOOK(name, bytes, write) \
    extern "C" void name(const void *p); \
    void name(const void *p) { sim_races_touch(p, bytes, write); }
#define HOOKS(bytes) \
    HOOK(__tsan_read##bytes, bytes, 0) HOOK(__tsan_write##bytes, bytes, 1) \
    HOOK(__tsan_unaligned_read##bytes, bytes, 0) HOOK(__tsan_unaligned_write##bytes, bytes, 1)
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
extern "C" void __tsan_read_range(const void *p, size_t bytes);
void __tsan_read_range(const void *p, size_t bytes) { sim_races_touch(p, bytes, 0); }
extern "C" void __tsan_write_range(const void *p, size_t bytes);
void __tsan_write_range(const void *p, size_t bytes) { sim_races_touch(p, bytes, 1); }
extern "C" void __tsan_init();
void __tsan_init() {}
extern "C" void __tsan_func_entry(const void *);
void __tsan_func_entry(const void *) {}
extern "C" void __tsan_func_exit();
void __tsan_func_exit() {}
