/* The simulator: runs kernels compiled by the host's compiler. Blocks run one after another; a block's threads are
 * fibers of one real thread, which change places only where the kernel waits, in an order that is always the same.
 * Shared memory holds NaNs when a block starts and is exactly as large as the launch says.
 *
 * With LAFS_SIM_ORDER=N the orders of blocks, of threads, and of who goes on are drawn, by the seed N.
 *
 * It stops the program, naming kernel, block and thread, where threads of a block wait for different things, where one
 * has ended that others wait for, where an argument of a launch is a pointer to no device memory, where something lies
 * at no multiple of its alignment, and with LAFS_SIM_RACES where there is a race: races.cc.
 *
 * With LAFS_SIM_LAUNCHES=FILE the names of the kernels launched are appended to FILE at the end. */
#include "kernels/cuda/dev.cuh"

#include <set>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <vector>

#include "tests/cuda/sim.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SIM_ASAN 1
#else
#define SIM_ASAN 0
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct sim_place sim_at;

namespace {

enum { STACK = 256 << 10, MOST_THREADS = 1024 };

/* -- fibers -- */
struct fiber {
    char *stack;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake;                /* of the address sanitizer */
};

#if defined(__x86_64__)
/* Keeps what a call must keep, changes the stack. */
extern "C" void sim_switch(void **from, void *to);
asm(R"(
.text
.type sim_switch,@function
sim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size sim_switch,.-sim_switch
)");
#endif

struct group { /* threads that wait for each other */
    int arrived, generation;
    const char *purpose;
    std::vector<int> waiting;
};

struct pending { /* an asynchronous copy */
    void *to;
    const void *from;
    size_t size;
};

struct thread {
    int ended, fiber;
    std::vector<pending> copies;
};

struct block {
    const char *kernel;
    int threads, next, ended;
    void (*body)(const void *);
    const void *arg;
    struct group all, warp[MOST_THREADS / WARP];
    char slot[MOST_THREADS / WARP][2][WARP * SIM_SLOT];
    struct thread thread[MOST_THREADS];
    int order[MOST_THREADS];      /* in which they start */
    std::vector<int> ready;       /* threads that may go on, first in first out from `head` */
    size_t head;
    std::vector<int> idle;        /* fibers whose thread has ended: they may start another */
};

struct block now;
uint64_t drawn; /* of LAFS_SIM_ORDER; 0: orders are not drawn */

/* One of n. */
size_t draw(size_t n)
{
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(drawn >> 33) % n;
}

/* 0 is the caller. Never destroyed: their stacks would count as lost. */
std::vector<struct fiber> &fibers = *new std::vector<struct fiber>;
int running;
std::set<std::string> launched;

[[noreturn]] void stop(const char *what)
{
    fprintf(stderr, "simulator: kernel %s, block %lld %d %d, thread %d: %s\n", now.kernel, (long long)sim_at.x,
            sim_at.y, sim_at.z, sim_at.thread, what);
    abort();
}

void fiber_main();

int before;
#if SIM_ASAN
const void *caller_stack;          /* the caller's, as told on the first arrival in a fiber */
size_t caller_stack_size;
#endif

void arrive_in_fiber()
{
#if SIM_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(fibers[(size_t)running].fake, &bottom, &size);
    if (before == 0) caller_stack = bottom, caller_stack_size = size;
#endif
}

void go(int to)
{
    struct fiber *a = &fibers[(size_t)running], *b = &fibers[(size_t)to];
    if (to == running) return;
#if SIM_ASAN
    __sanitizer_start_switch_fiber(&a->fake, to ? b->stack : caller_stack, to ? (size_t)STACK : caller_stack_size);
#endif
    before = running;
    running = to;
#if defined(__x86_64__)
    sim_switch(&a->sp, b->sp);
#else
    swapcontext(&a->context, &b->context);
#endif
    arrive_in_fiber();
}

int new_fiber()
{
    struct fiber f = {};
    f.stack = (char *)aligned_alloc(4096, STACK);
    if (!f.stack) abort();
#if defined(__x86_64__)
    void **top = (void **)(f.stack + STACK) - 2; /* after the pops and the return the stack is as behind a call */
    *top = (void *)fiber_main;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    f.sp = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = NULL;
    makecontext(&f.context, fiber_main, 0);
#endif
    fibers.push_back(f);
    return (int)fibers.size() - 1;
}

/* The running fiber has nothing to do: goes to one that has, or to the caller. */
void leave()
{
    const size_t ready = now.ready.size() - now.head;
    if (drawn && ready) std::swap(now.ready[now.head], now.ready[now.head + draw(ready)]);
    if (ready && !(drawn && now.next < now.threads && draw(2))) {
        const int t = now.ready[now.head++];
        const int fiber = now.thread[t].fiber;
        go(fiber);
    } else if (now.next < now.threads) {
        if (now.idle.empty()) now.idle.push_back(new_fiber());
        const int fiber = now.idle.back();
        now.idle.pop_back();
        go(fiber);
    } else if (now.ended == now.threads) {
        go(0);
    } else {
        stop("some threads wait for others that have ended, or wait for something else");
    }
}

void start_threads()
{
    while (now.next < now.threads) {
        const int t = now.order[now.next++];
        now.thread[t].fiber = running;
        sim_at.thread = t;
        now.body(now.arg);
        sim_at.thread = t;
        if (!now.thread[t].copies.empty()) stop("ended with asynchronous copies under way");
        now.thread[t].ended = 1;
        now.ended++;
    }
}

void fiber_main()
{
    arrive_in_fiber();
    for (;;) {
        start_threads();
        now.idle.push_back(running);
        leave();
    }
}

/* Waits until all `size` threads of g have come. */
void meet(struct group *g, int size, const char *purpose)
{
    const int t = sim_at.thread;
    if (g->arrived == 0) g->purpose = purpose;
    else if (strcmp(g->purpose, purpose)) stop("threads wait for different things");
    if (++g->arrived == size) {
        g->arrived = 0;
        g->generation++;
        now.ready.insert(now.ready.end(), g->waiting.begin(), g->waiting.end());
        g->waiting.clear();
        if (g == &now.all) sim_races_barrier(-1);
        else if (!strcmp(purpose, "warp_sync")) sim_races_barrier(t / WARP);
        if (!drawn) return;
        now.ready.push_back(t);
        leave();
        sim_at.thread = t;
        return;
    }
    const int generation = g->generation;
    g->waiting.push_back(t);
    leave();
    sim_at.thread = t;
    if (g->generation == generation) stop("woken too early");
}

void run_block()
{
    sim_races_block();
    now.next = now.ended = 0;
    now.head = 0;
    now.ready.clear();
    for (int i = 0; i < now.threads; i++) {
        now.thread[i].ended = 0;
        now.thread[i].copies.clear();
        now.order[i] = i;
        if (drawn) std::swap(now.order[i], now.order[draw((size_t)i + 1)]);
    }
    leave();
    if (now.ended != now.threads) stop("not all threads ended");
}

void say_launches()
{
    const char *path = getenv("LAFS_SIM_LAUNCHES");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    for (const std::string &name : launched) fprintf(f, "%s\n", name.c_str());
    fclose(f);
}

} // namespace

void sim_stop(const char *what) { stop(what); }
int sim_next(int *count) { return (*count)++; }
void sim_set_byte(uint8_t *to) { *to = 1; }
void sim_block_sync() { meet(&now.all, now.threads, "block_sync"); }

const char *sim_warp_meet(const char *purpose, const void *bring, size_t size)
{
    const int w = sim_at.thread / WARP, lane = sim_at.thread % WARP;
    struct group *g = &now.warp[w];
    /* Two places in turn: nobody comes to the next meeting but one before all have read at this one. */
    char *place = now.slot[w][g->generation & 1];
    memcpy(place + lane * SIM_SLOT, bring, size);
    meet(g, WARP, purpose);
    return place;
}

static const char ODD[] = "what is touched lies at no multiple of its size";
void sim_check_place(const void *p, size_t size)
{
    if ((uintptr_t)p % size) stop(ODD);
}

void sim_copy_async(void *to, const void *from, size_t size)
{
    sim_check_place(to, size);
    sim_check_place(from, size);
    sim_races_touch(to, size, 1);
    now.thread[sim_at.thread].copies.push_back({to, from, size});
}

void sim_copies_wait()
{
    for (const pending &p : now.thread[sim_at.thread].copies) {
        memcpy(p.to, p.from, p.size);
        sim_races_touch(p.to, p.size, 1);
    }
    now.thread[sim_at.thread].copies.clear();
}

void sim_check_pointer(const char *kernel, const volatile void *p)
{
    if (p && !sim_is_device(p)) sim_refuse(kernel, "an argument points to no device memory");
}

void sim_launch(struct lafs_dev *d, const char *name, struct grid g, int threads, size_t shared,
                void (*body)(const void *), const void *arg)
{
    if (g.x == 0 || g.y == 0 || g.z == 0) return;
    sim_enter();
    now.kernel = name;
    sim_at = {};
    if (threads < WARP || threads > MOST_THREADS || threads % WARP) stop("no such block");
    if (g.x < 0 || g.y < 0 || g.z < 0 || !grid_there(g)) stop("no such grid");
    if (shared > d->most_shared) stop("more shared memory than there is");
    if (launched.empty()) atexit(say_launches);
    launched.insert(name);
    if (fibers.empty()) {
        const char *order = getenv("LAFS_SIM_ORDER");
        drawn = order ? strtoull(order, NULL, 10) : 0;
        fibers.push_back({});
        signal(SIGILL, [](int) { stop(ODD); }); /* a trap, of -fsanitize=alignment */
    }
    now.threads = threads;
    now.body = body;
    now.arg = arg;
    /* Of exact size, so that the address sanitizer sees what is written behind it. */
    void *room = shared ? aligned_alloc(128, (shared + 127) / 128 * 128) : NULL;
    sim_at = {0, threads, 0, g.x, 0, 0, room};
    const int64_t first = drawn ? (int64_t)draw((size_t)g.x) : 0, down = drawn ? (int64_t)draw(2) : 0;
    sim_races_begin(room, shared);
    for (int z = 0; z < (int)g.z; z++)
        for (int y = 0; y < (int)g.y; y++)
            for (int64_t i = 0; i < g.x; i++) {
                const int64_t x = (first + (down ? g.x - i : i)) % g.x;
                sim_at.x = x, sim_at.y = y, sim_at.z = z;
                if (shared) memset(room, 0xff, (shared + 127) / 128 * 128);
                sim_limit(room, shared);
                run_block();
                sim_unlimit(room, shared);
            }
    sim_races_end();
    free(room);
    sim_leave();
}
