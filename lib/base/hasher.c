#include "base/hasher.h"

/* What takes less time to hash (some 60 us) than a thread may need to wake up is not worth one. */
enum { LARGE = 96 << 10 };

static void add(const struct lafs_hasher_job *j)
{
    if (j->sum2) lafs_sha256_add_two(j->sum, j->data, j->size, j->sum2, j->data2, j->size2);
    else lafs_sha256_add(j->sum, j->data, j->size);
}

static void *work(void *arg)
{
    struct lafs_hasher *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->jobs && !h->quit) pthread_cond_wait(&h->changed, &h->lock);
        if (!h->jobs) break;
        pthread_mutex_unlock(&h->lock);
        add(&h->job[h->first]); /* nobody else touches these */
        pthread_mutex_lock(&h->lock);
        h->first = (h->first + 1) % LAFS_HASHER_JOBS;
        h->jobs--;
        pthread_cond_signal(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

void lafs_hasher_init(struct lafs_hasher *h)
{
    *h = (struct lafs_hasher){.running = 0};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
}

void lafs_hasher_release(struct lafs_hasher *h)
{
    if (h->running) {
        pthread_mutex_lock(&h->lock);
        h->quit = 1;
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
    }
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
}

void lafs_hasher_wait(struct lafs_hasher *h, int left)
{
    if (!h->running) return;
    pthread_mutex_lock(&h->lock);
    while (h->jobs > left) pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static int add_job(struct lafs_hasher *h, struct lafs_hasher_job job)
{
    int large = job.size >= LARGE || job.size2 >= LARGE;
    if (large && !h->running) h->running = pthread_create(&h->thread, NULL, work, h) == 0;
    lafs_hasher_wait(h, large ? LAFS_HASHER_JOBS - 1 : 0);
    if (!large || !h->running) {
        add(&job);
        return 0;
    }
    pthread_mutex_lock(&h->lock);
    h->job[(h->first + h->jobs++) % LAFS_HASHER_JOBS] = job;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    return 1;
}

int lafs_hasher_add(struct lafs_hasher *h, struct lafs_sha256 *sum, const void *data, size_t size)
{
    return add_job(h, (struct lafs_hasher_job){.sum = sum, .data = data, .size = size});
}

int lafs_hasher_add_two(struct lafs_hasher *h, struct lafs_sha256 *sum, const void *data, size_t size,
                        struct lafs_sha256 *sum2, const void *data2, size_t size2)
{
    return add_job(h, (struct lafs_hasher_job){sum, sum2, data, data2, size, size2});
}
