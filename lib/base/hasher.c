#include "base/hasher.h"

/* What takes less time to hash (some 60 us) than a thread may need to wake up is not worth one. */
enum { LARGE = 96 << 10 };

static void *work(void *arg)
{
    struct lafs_hasher *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->sum && !h->quit) pthread_cond_wait(&h->changed, &h->lock);
        if (!h->sum) break;
        pthread_mutex_unlock(&h->lock);
        lafs_sha256_add(h->sum, h->data, h->size); /* nobody else looks at these now */
        pthread_mutex_lock(&h->lock);
        h->sum = NULL;
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

void lafs_hasher_wait(struct lafs_hasher *h)
{
    if (!h->running) return;
    pthread_mutex_lock(&h->lock);
    while (h->sum) pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

int lafs_hasher_add(struct lafs_hasher *h, struct lafs_sha256 *sum, const void *data, size_t size)
{
    lafs_hasher_wait(h);
    if (size >= LARGE && !h->running) h->running = pthread_create(&h->thread, NULL, work, h) == 0;
    if (size < LARGE || !h->running) {
        lafs_sha256_add(sum, data, size);
        return 0;
    }
    pthread_mutex_lock(&h->lock);
    h->sum = sum;
    h->data = data;
    h->size = size;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    return 1;
}
