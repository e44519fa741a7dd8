#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/limits.h"
#include "base/mem.h"

/* Whoever waits looks out for a moment before it sleeps, since loops are short and follow each other closely, and to be
 * woken takes tens of microseconds. So the lock is for those who sleep; the others meet in the atomics. */
enum { SPINS = 4000, OPEN = 1 << 30 };

struct lafs_pool {
    int threads;            /* the caller included */
    pthread_t *thread;      /* (threads - 1) */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    _Atomic uint64_t round; /* counts loops */
    _Atomic int crew;       /* workers inside the present round, + OPEN while it takes more in: those that come too late
                               are not waited for */
    _Atomic int asleep;     /* workers that wait for work */
    _Atomic int caller_asleep;
    _Atomic int quit;
    lafs_tile_fn *fn;       /* these: the present round's, only looked at inside it */
    void *arg;
    int64_t count;
    _Atomic int64_t next;
};

struct starter {
    struct lafs_pool *pool;
    int worker;
};

/* The pool and worker number of this thread while it runs a tile. */
static _Thread_local struct lafs_pool *inside;
static _Thread_local int inside_worker;

static void take_tiles(struct lafs_pool *p, int worker)
{
    struct lafs_pool *outer = inside; /* another pool's tile may run this one's loop */
    int outer_worker = inside_worker;
    inside = p;
    inside_worker = worker;
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->count) break;
        p->fn(p->arg, i, worker);
    }
    inside = outer;
    inside_worker = outer_worker;
}

static void pause_briefly(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#endif
}

/* Until there is another round than `seen`, or none will come. */
static void wait_for_work(struct lafs_pool *p, uint64_t seen)
{
    for (int i = 0; i < SPINS; i++, pause_briefly())
        if (atomic_load_explicit(&p->round, memory_order_relaxed) != seen || p->quit) return;
    pthread_mutex_lock(&p->lock);
    p->asleep++; /* before `round` is read, as the caller reads it after it has counted on */
    while (p->round == seen && !p->quit) pthread_cond_wait(&p->work, &p->lock);
    p->asleep--;
    pthread_mutex_unlock(&p->lock);
}

static int join(struct lafs_pool *p)
{
    int crew = p->crew;
    while (crew & OPEN)
        if (atomic_compare_exchange_weak(&p->crew, &crew, crew + 1)) return 1;
    return 0;
}

static void leave(struct lafs_pool *p)
{
    if (atomic_fetch_sub(&p->crew, 1) != 1 || !p->caller_asleep) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_crew(struct lafs_pool *p)
{
    for (int i = 0; i < SPINS; i++, pause_briefly())
        if (!p->crew) return;
    pthread_mutex_lock(&p->lock);
    p->caller_asleep = 1; /* before `crew` is read, as the last worker reads it after it has left */
    while (p->crew) pthread_cond_wait(&p->done, &p->lock);
    p->caller_asleep = 0;
    pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
    struct starter s = *(struct starter *)arg;
    lafs_free(arg);
    struct lafs_pool *p = s.pool;
    for (uint64_t seen = 0;;) {
        wait_for_work(p, seen);
        if (p->quit) return NULL;
        seen = p->round;
        if (!join(p)) continue; /* too late; or a later round than `seen`, which is then looked at again in vain */
        take_tiles(p, s.worker);
        leave(p);
    }
}

static void stop(struct lafs_pool *p, int started)
{
    pthread_mutex_lock(&p->lock);
    p->quit = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    lafs_free(p->thread);
    lafs_free(p);
}

lafs_status lafs_pool_new(struct lafs_pool **out, int threads, struct lafs_err *err)
{
    *out = NULL;
    if (threads <= 0) {
        const int n = lafs_processors();
        threads = n > 1024 ? 1024 : n;
    }
    struct lafs_pool *p;
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    p->threads = threads;
    lafs_status st = lafs_alloc0(&p->thread, (size_t)threads, sizeof *p->thread, err);
    if (st != LAFS_OK) {
        lafs_free(p);
        return st;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    for (int i = 1; i < threads; i++) {
        struct starter *s;
        st = lafs_alloc(&s, 1, sizeof *s, err);
        if (st == LAFS_OK) {
            *s = (struct starter){p, i};
            if (pthread_create(&p->thread[i - 1], NULL, run, s)) {
                lafs_free(s);
                st = lafs_fail(err, LAFS_FAILED, "cannot start thread %d of %d", i + 1, threads);
            }
        }
        if (st != LAFS_OK) {
            stop(p, i - 1);
            return st;
        }
    }
    *out = p;
    return LAFS_OK;
}

void lafs_pool_free(struct lafs_pool *pool)
{
    if (pool) stop(pool, pool->threads - 1);
}

int lafs_pool_threads(const struct lafs_pool *pool) { return pool ? pool->threads : 1; }

void lafs_pool_for(struct lafs_pool *p, int64_t count, lafs_tile_fn *fn, void *arg)
{
    if (!p || p->threads == 1 || count <= 1 || inside == p) {
        int worker = inside == p && p ? inside_worker : 0;
        for (int64_t i = 0; i < count; i++) fn(arg, i, worker);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->count = count;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->crew = OPEN;
    p->round++;
    if (p->asleep) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->work);
        pthread_mutex_unlock(&p->lock);
    }
    take_tiles(p, 0);
    if (atomic_fetch_and(&p->crew, ~OPEN) != OPEN) wait_for_crew(p);
}
