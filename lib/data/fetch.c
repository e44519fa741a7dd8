/* Random access to the samples of an index, and reading an index from its first sample to its last. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "data/index.h"
#include "data/source.h"

enum { OPEN_SHARDS = 64 };

struct handle {
    int fd;          /* -1: free */
    int64_t shard;
    int users;
    uint64_t used;   /* for the oldest to go first */
};
struct lafs_fetch {
    const struct lafs_index *ix; /* outlives us */
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct handle handle[OPEN_SHARDS];
    uint64_t clock;
};

lafs_status lafs_fetch_open(struct lafs_fetch **out, const struct lafs_index *ix, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(out, 1, sizeof **out, err));
    (*out)->ix = ix;
    pthread_mutex_init(&(*out)->lock, NULL);
    pthread_cond_init(&(*out)->freed, NULL);
    for (int i = 0; i < OPEN_SHARDS; i++) (*out)->handle[i].fd = -1;
    return LAFS_OK;
}

void lafs_fetch_close(struct lafs_fetch *f)
{
    if (!f) return;
    for (int i = 0; i < OPEN_SHARDS; i++)
        if (f->handle[i].fd >= 0) close(f->handle[i].fd);
    pthread_cond_destroy(&f->freed);
    pthread_mutex_destroy(&f->lock);
    lafs_free(f);
}

/* Closes the open handle that nobody has used for longest; 0: all that are open are in use. With the lock. */
static int close_oldest(struct lafs_fetch *f)
{
    struct handle *oldest = NULL;
    for (int i = 0; i < OPEN_SHARDS; i++) {
        struct handle *h = &f->handle[i];
        if (h->users == 0 && h->fd >= 0 && (!oldest || h->used < oldest->used)) oldest = h;
    }
    if (!oldest) return 0;
    close(oldest->fd);
    oldest->fd = -1;
    return 1;
}

static lafs_status open_shard(struct lafs_fetch *f, int64_t shard, int *fd, struct lafs_err *err)
{
    const struct lafs_index *ix = f->ix;
    struct lafs_buf b;
    struct stat s;
    lafs_buf_init(&b);
    const char *path = lafs_index_shard_path(ix, shard, &b);
    lafs_status st = path ? LAFS_OK : lafs_buf_check(&b, err);
    do /* fewer files may be open than we have handles: ulimit -n */
        *fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    while (path && *fd < 0 && errno == EMFILE && close_oldest(f));
    if (path && (*fd < 0 || fstat(*fd, &s)))
        st = lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    else if (path && s.st_size != ix->shard[shard].size)
        st = lafs_fail(err, LAFS_FAILED, "'%s' has %lld bytes, its index says %lld: it was changed or cut off", path,
                       (long long)s.st_size, (long long)ix->shard[shard].size);
    if (st != LAFS_OK && *fd >= 0) close(*fd);
    lafs_buf_release(&b);
    return st;
}

/* An open handle of the shard, for us until put_handle. */
static lafs_status get_handle(struct lafs_fetch *f, int64_t shard, struct handle **out, struct lafs_err *err)
{
    lafs_status st = LAFS_OK;
    pthread_mutex_lock(&f->lock);
    for (;;) {
        struct handle *found = NULL, *oldest = NULL;
        for (int i = 0; i < OPEN_SHARDS; i++) {
            struct handle *h = &f->handle[i];
            if (h->fd >= 0 && h->shard == shard) found = h;
            if (h->users == 0 && (!oldest || h->fd < 0 || (oldest->fd >= 0 && h->used < oldest->used))) oldest = h;
        }
        if (!found && !oldest) { /* more threads than handles: wait for one */
            pthread_cond_wait(&f->freed, &f->lock);
            continue;
        }
        if (!found) {
            if (oldest->fd >= 0) close(oldest->fd);
            oldest->fd = -1;
            st = open_shard(f, shard, &oldest->fd, err);
            if (st != LAFS_OK) oldest->fd = -1;
            oldest->shard = shard;
            found = oldest;
        }
        if (st == LAFS_OK) {
            found->users++;
            found->used = ++f->clock;
            *out = found;
        }
        break;
    }
    pthread_mutex_unlock(&f->lock);
    return st;
}

static void put_handle(struct lafs_fetch *f, struct handle *h)
{
    pthread_mutex_lock(&f->lock);
    if (--h->users == 0) pthread_cond_signal(&f->freed);
    pthread_mutex_unlock(&f->lock);
}

static lafs_status read_span(int fd, unsigned char *p, size_t size, int64_t offset, const char *shard,
                             struct lafs_err *err)
{
    while (size > 0) {
        ssize_t n = pread(fd, p, size, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot read '%s': %s", shard, lafs_strerror(errno));
        if (n == 0) return lafs_fail(err, LAFS_CUT, "'%s' is cut off", shard);
        p += n;
        size -= (size_t)n;
        offset += n;
    }
    return LAFS_OK;
}

/* Of the samples in these members, the one that the index means. */
static lafs_status pick_sample(const struct lafs_index_sample *want, const unsigned char *data, size_t size,
                               const char *shard, struct lafs_sample *s, struct lafs_err *err)
{
    struct lafs_env env = {.opt = {.max_record = LAFS_MAX_RECORD, .names = LAFS_NAMES_NONE}};
    struct lafs_source *src;
    struct lafs_err why = {.status = LAFS_OK};
    lafs_header_init(&env.header);
    lafs_status st = lafs_shard_open_memory(&src, &env, data, size, shard, want->foreign, err);
    LAFS_TRY(st);
    while ((st = src->ops->next(src, s, &why)) == LAFS_OK || st == LAFS_BAD_RECORD)
        if (strcmp(lafs_sample_key(s), want->key) == 0) break;
    src->ops->close(src);
    lafs_buf_release(&env.ignored_name);
    lafs_header_release(&env.header);
    if (st == LAFS_END)
        return lafs_fail(err, LAFS_FAILED, "'%s' is not what was indexed: no '%s' at byte %lld", shard, want->key,
                         (long long)want->offset);
    if (st != LAFS_OK) return lafs_fail(err, st, "%s", why.msg);
    if (want->name[0] && !lafs_sample_has(s, "name")) lafs_sample_set_str(s, "name", want->name);
    return lafs_sample_check(s, err);
}

lafs_status lafs_fetch_sample(struct lafs_fetch *f, int64_t i, struct lafs_sample *s, struct lafs_err *err)
{
    const struct lafs_index_sample *want = &f->ix->sample[i];
    const struct lafs_index_shard *shard = &f->ix->shard[want->shard];
    struct handle *h;
    unsigned char *data;
    lafs_sample_clear(s);
    if ((uint64_t)want->length > 2 * LAFS_MAX_RECORD)
        return lafs_fail(err, LAFS_BAD_RECORD, "record of more than %zu bytes", LAFS_MAX_RECORD);
    LAFS_TRY(lafs_alloc(&data, (size_t)want->length, 1, err));
    lafs_status st = get_handle(f, want->shard, &h, err);
    if (st == LAFS_OK) {
        st = read_span(h->fd, data, (size_t)want->length, want->offset, shard->path, err);
        put_handle(f, h);
    }
    if (st == LAFS_OK) st = pick_sample(want, data, (size_t)want->length, shard->path, s, err);
    lafs_free(data);
    return st;
}

/* ---- an index as a source ---- */

struct indexed {
    struct lafs_source base;
    struct lafs_index *ix;
    struct lafs_fetch *fetch;
    int64_t next;
};

static lafs_status indexed_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct indexed *x = (struct indexed *)src;
    if (x->next == x->ix->samples) {
        src->env->totals.count += x->ix->samples;
        x->next++;
    }
    if (x->next > x->ix->samples) return LAFS_END;
    lafs_status st = lafs_fetch_sample(x->fetch, x->next, s, err);
    if (st == LAFS_BAD_RECORD && !*lafs_sample_key(s)) lafs_sample_set_str(s, "key", x->ix->sample[x->next].key);
    x->next++;
    return st;
}

static void indexed_close(struct lafs_source *src)
{
    struct indexed *x = (struct indexed *)src;
    lafs_fetch_close(x->fetch);
    lafs_index_free(x->ix);
    lafs_free(x);
}

lafs_status lafs_indexed_open(struct lafs_source **out, struct lafs_env *env, const char *path, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {indexed_next, indexed_close};
    struct indexed *x;
    struct lafs_header h;
    LAFS_TRY(lafs_alloc0(&x, 1, sizeof *x, err));
    lafs_header_init(&h);
    lafs_status st = lafs_index_read(&x->ix, path, err);
    if (st == LAFS_OK) st = lafs_fetch_open(&x->fetch, x->ix, err);
    if (st == LAFS_OK) st = lafs_index_header(x->ix, &h, err);
    if (st == LAFS_OK) st = lafs_env_header(env, &h, path, err);
    lafs_header_release(&h);
    if (st != LAFS_OK) {
        indexed_close(&x->base);
        return st;
    }
    x->base = (struct lafs_source){&ops, env, x->ix->samples};
    *out = &x->base;
    return LAFS_OK;
}
