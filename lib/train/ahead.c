#include "train/ahead.h"

#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

struct lafs_ahead {
    lafs_make_fn *make;
    void *arg;
    int64_t end;
    int threaded;
    double waited;
    pthread_t thread;
    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t changed;
    int64_t wanted;       /* newest number asked for; -1: none yet */
    int64_t next;         /* to be made */
    int making, quit;
    struct item {
        int64_t number;   /* -1: nothing */
        lafs_status status;
        struct lafs_err err;
    } item[LAFS_AHEAD_SLOTS];
};

/* The slot of the item before the wanted one is free. After a failure there is nothing to go on with. */
static int may_make(const struct lafs_ahead *a)
{
    if (a->wanted < 0 || a->next > a->wanted + 1 || a->next >= a->end) return 0;
    const struct item *before = &a->item[(a->next + 1) % LAFS_AHEAD_SLOTS];
    return a->next == a->wanted || before->number != a->next - 1 || before->status == LAFS_OK;
}

/* Makes item a->next; the lock is held before and after. */
static void make_next(struct lafs_ahead *a)
{
    const int64_t number = a->next;
    struct item *it = &a->item[number % LAFS_AHEAD_SLOTS];
    it->number = -1;
    it->err = (struct lafs_err){.status = LAFS_OK};
    a->making = 1;
    pthread_mutex_unlock(&a->lock);
    lafs_status st = a->make(a->arg, number, (int)(number % LAFS_AHEAD_SLOTS), &it->err);
    pthread_mutex_lock(&a->lock);
    it->status = st;
    it->number = number;
    a->making = 0;
    a->next = number + 1;
}

static void *run(void *arg)
{
    struct lafs_ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->quit) {
        if (may_make(a)) make_next(a);
        else {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

lafs_status lafs_ahead_new(struct lafs_ahead **out, lafs_make_fn *make, void *arg, int64_t end, int threaded,
                           struct lafs_err *err)
{
    struct lafs_ahead *a;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&a, 1, sizeof *a, err));
    a->make = make;
    a->arg = arg;
    a->end = end;
    a->threaded = threaded;
    a->wanted = -1;
    for (int i = 0; i < LAFS_AHEAD_SLOTS; i++) a->item[i].number = -1;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (threaded && pthread_create(&a->thread, NULL, run, a)) {
        a->threaded = 0;
        lafs_ahead_free(a);
        return lafs_fail(err, LAFS_FAILED, "cannot start the thread that reads data ahead");
    }
    *out = a;
    return LAFS_OK;
}

int lafs_ahead_stop(struct lafs_ahead *a, double seconds)
{
    struct timespec until;
    if (!a->threaded) return 1;
    pthread_mutex_lock(&a->lock);
    a->quit = 1;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    if (seconds < 0 ? pthread_join(a->thread, NULL) : pthread_timedjoin_np(a->thread, NULL, &until)) return 0;
    a->threaded = 0;
    return 1;
}

void lafs_ahead_free(struct lafs_ahead *a)
{
    if (!a) return;
    lafs_ahead_stop(a, -1);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    lafs_free(a);
}

lafs_status lafs_ahead_take(struct lafs_ahead *a, int64_t number, int *slot, struct lafs_err *err)
{
    const double began = lafs_clock_now();
    struct item *it = &a->item[number % LAFS_AHEAD_SLOTS];
    *slot = (int)(number % LAFS_AHEAD_SLOTS);
    if (number < 0 || number >= a->end) return lafs_fail(err, LAFS_USAGE, "there is no batch %" PRId64, number);
    pthread_mutex_lock(&a->lock);
    if (a->wanted < 0 || number != a->wanted + 1) { /* the first, or elsewhere: what is there is of no use */
        while (a->making) pthread_cond_wait(&a->changed, &a->lock);
        for (int i = 0; i < LAFS_AHEAD_SLOTS; i++) a->item[i].number = -1;
        a->next = number;
    }
    a->wanted = number;
    if (a->threaded) pthread_cond_broadcast(&a->changed);
    while (it->number != number) {
        if (a->threaded) pthread_cond_wait(&a->changed, &a->lock);
        else {
            a->next = number;
            make_next(a);
        }
    }
    lafs_status st = it->status;
    if (st != LAFS_OK && err) *err = it->err;
    pthread_mutex_unlock(&a->lock);
    a->waited += lafs_clock_now() - began;
    return st;
}

double lafs_ahead_waited(const struct lafs_ahead *a) { return a->waited; }
