/* The simulated device: memory and copies. It has LAFS_SIM_MEMORY bytes (1 TiB unless that is set), given out in blocks as
 * a GPU's. With LAFS_SIM_PEAK=FILE the most that was taken at one time is written to FILE at the end.
 *
 * While something is recorded nothing is done, and what CUDA forbids then ends the program: memory taken or given back,
 * waiting, downloads, uploads through the stages. With LAFS_SIM_REPLAYS=FILE the number of replays is written to FILE at
 * the end.
 *
 * A block has 227 KiB of shared memory, or LAFS_SIM_SHARED. */
#include "kernels/cuda/dev.cuh"

#include <map>
#include <mutex>
#include <vector>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/cuda/sim.h"
#include "tests/ranks/stream.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace {

enum { PAGE = 4096, ALIGNMENT = 256 };

struct range {
    char *map;
    size_t mapped, size;
};
std::map<const char *, struct range> ranges; /* by where the user's part begins; under `lock` */
std::recursive_mutex lock;
size_t taken, peak;                          /* bytes, in blocks; under `lock` */

int open_now; /* device memory can be touched */

struct sent { /* a copy from a stage that nobody has waited for */
    struct lafs_dev *dev;
    const char *from;
    std::vector<char> was;
    unsigned mark; /* bit i: mark i came behind it */
};
std::vector<struct sent> sent; /* under `lock` */

using actions = std::vector<std::function<void()>>;
long replays;

void set_access(int how)
{
    if (open_now == (how != PROT_NONE)) return;
    open_now = how != PROT_NONE;
    for (const auto &r : ranges)
        if (mprotect(r.second.map, r.second.mapped, how)) abort();
}

size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }

size_t memory()
{
    const char *s = getenv("LAFS_SIM_MEMORY");
    return s ? strtoull(s, NULL, 10) : (size_t)1 << 40;
}

void say_replays()
{
    const char *path = getenv("LAFS_SIM_REPLAYS");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld\n", replays);
    fclose(f);
}

void say_peak()
{
    const char *path = getenv("LAFS_SIM_PEAK");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%zu\n", peak);
    fclose(f);
}

} // namespace

void sim_enter()
{
    lock.lock();
    set_access(PROT_READ | PROT_WRITE);
}
void sim_leave() { lock.unlock(); }
int sim_is_device(const volatile void *p)
{
    const char *c = (const char *)p;
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto r = ranges.upper_bound(c);
    if (r == ranges.begin()) return 0;
    --r;
    return c <= r->first + r->second.size;
}
void sim_limit(void *p, size_t size)
{
    if (size) ASAN_POISON_MEMORY_REGION((char *)p + size, up(size, 128) - size);
}
void sim_unlimit(void *p, size_t size)
{
    if (size) ASAN_UNPOISON_MEMORY_REGION((char *)p + size, up(size, 128) - size);
}

void sim_refuse(const char *what, const char *why)
{
    fprintf(stderr, "simulator: %s: %s\n", what, why);
    abort();
}

int sim_recording(struct lafs_dev *d) { return d->recording != NULL; }
void sim_record(struct lafs_dev *d, std::function<void()> what) { ((actions *)d->recording->graph)->push_back(what); }
static void not_recorded(struct lafs_dev *d, const char *what)
{
    if (d && d->recording) sim_refuse(what, "not while something is recorded");
}

/* A copy from a stage is made at once here, but counts as under way until it has been waited for: its source must be
 * what it was by then. */
enum { SETTLE_ALL = -1 };
static void settle(struct lafs_dev *d, int stage)
{
    not_recorded(d, "waiting");
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (size_t i = 0; i < sent.size();) {
        const struct sent *s = &sent[i];
        if (s->dev != d || (stage != SETTLE_ALL && (s->mark & 1u << stage) == 0)) {
            i++;
            continue;
        }
        if (memcmp(s->from, s->was.data(), s->was.size()))
            sim_refuse("an upload", "its source was used again before the copy was waited for");
        sent.erase(sent.begin() + (long)i);
    }
}

lafs_status runtime_open(struct lafs_dev *d, const char *arg, struct lafs_err *err)
{
    static struct sim_stream stream = {sim_enter, sim_leave};
    const char *gpus = getenv("LAFS_SIM_GPUS"), *shared = getenv("LAFS_SIM_SHARED");
    const int count = gpus ? (int)strtol(gpus, NULL, 10) : 1;
    if (strtol(arg, NULL, 10) >= count)
        return lafs_fail(err, LAFS_FAILED, "there is one simulated device, number 0, or LAFS_SIM_GPUS");
    d->stream = &stream;
    d->most_shared = (size_t)(shared ? strtol(shared, NULL, 10) : 227) << 10;
    d->processors = 1;
    snprintf(d->text, sizeof d->text, "simulated GPU (a test's)");
    if (!(d->stage.p = (char *)malloc((size_t)STAGES * STAGE_SIZE)))
        return lafs_fail(err, LAFS_FAILED, "out of memory: stages");
    return LAFS_OK;
}
void runtime_close(struct lafs_dev *d)
{
    settle(d, SETTLE_ALL);
    free(d->stage.p);
}
void runtime_use(struct lafs_dev *d) { (void)d; }

lafs_status runtime_memory(struct lafs_dev *d, size_t *available, size_t *all, struct lafs_err *err)
{
    (void)d, (void)err;
    std::lock_guard<std::recursive_mutex> guard(lock);
    *all = memory();
    *available = *all > taken ? *all - taken : 0;
    return LAFS_OK;
}

/* Whole pages of its own, so that its end is a page's end as far as the alignment allows. */
lafs_status runtime_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    not_recorded(d, "taking memory");
    *out = NULL;
    std::lock_guard<std::recursive_mutex> guard(lock);
    const size_t left = memory() > taken ? memory() - taken : 0;
    if (size > left || up(size ? size : 1, MEMORY_BLOCK) > left)
        return lafs_fail(err, LAFS_FAILED, "out of simulated memory: %zu bytes are wanted, %zu are free", size, left);
    const size_t rounded = up(size ? size : 1, ALIGNMENT), mapped = up(rounded, PAGE);
    static uintptr_t place = SIM_DEVICE;
    void *map = mmap((void *)place, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    place += mapped + PAGE;
    if (map == MAP_FAILED) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", size);
    char *p = (char *)map + (mapped - rounded);
    memset(p, 0xff, rounded); /* device memory holds anything */
    ASAN_POISON_MEMORY_REGION(p + size, rounded - size);
    if (taken == 0 && peak == 0) atexit(say_peak);
    taken += up(size ? size : 1, MEMORY_BLOCK);
    if (taken > peak) peak = taken;
    if (!open_now && mprotect(map, mapped, PROT_NONE)) abort();
    ranges[p] = {(char *)map, mapped, size};
    *out = p;
    return LAFS_OK;
}

void runtime_free(struct lafs_dev *d, void *p)
{
    if (!p) return;
    not_recorded(d, "giving memory back");
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto r = ranges.find((const char *)p);
    if (r == ranges.end()) abort();
    ASAN_UNPOISON_MEMORY_REGION(r->first, up(r->second.size ? r->second.size : 1, ALIGNMENT));
    taken -= up(r->second.size ? r->second.size : 1, MEMORY_BLOCK);
    munmap(r->second.map, r->second.mapped);
    ranges.erase(r);
}

/* Closing costs as much as many kernels: after the first times it is done now and then only. */
static void close_memory()
{
    enum { FIRST = 100, LATER = 32 };
    static unsigned times;
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (++times <= FIRST || times % LATER == 0) set_access(PROT_NONE);
}
/* Between device memory and the host's, or inside device memory. */
static void move(void *to, const void *from, size_t size, int to_device, int from_device)
{
    if (!size) return;
    if (sim_is_device(to) != to_device || sim_is_device(from) != from_device) {
        char what[96];
        snprintf(what, sizeof what, "a copy of %zu bytes to %s, from %s", size, to_device ? "the device" : "the host",
                 from_device ? "the device" : "the host");
        sim_refuse(what, "the wrong memory");
    }
    sim_enter();
    memcpy(to, from, size);
    sim_leave();
}
void runtime_send(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    const struct lafs_recording *r = d->recording;
    if (r) {
        const char *kept = (const char *)from;
        if (kept < r->kept || size > (size_t)(r->kept + KEPT_UPLOADS - kept))
            sim_refuse("an upload", "its source is in no recording");
        sim_record(d, [=]() { move(to, from, size, 1, 0); });
        return;
    }
    const char *p = (const char *)from, *end = d->stage.p + (size_t)STAGES * STAGE_SIZE;
    if (p < d->stage.p || p > end || size > (size_t)(end - p)) sim_refuse("an upload", "its source is in no stage");
    move(to, from, size, 1, 0);
    std::lock_guard<std::recursive_mutex> guard(lock);
    sent.push_back({d, p, std::vector<char>(p, p + size), 0});
}
void runtime_mark(struct lafs_dev *d, int stage)
{
    not_recorded(d, "an event");
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (struct sent &s : sent)
        if (s.dev == d) s.mark |= 1u << stage;
}
void runtime_await(struct lafs_dev *d, int stage) { settle(d, stage); }
void runtime_download(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    not_recorded(d, "a download");
    move(to, from, size, 0, 1);
    close_memory();
}
void runtime_copy(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    if (sim_recording(d)) sim_record(d, [=]() { move(to, from, size, 1, 1); });
    else move(to, from, size, 1, 1);
}
static void clear(void *p, size_t size)
{
    if (!size) return;
    sim_enter();
    memset(p, 0, size);
    sim_leave();
}
void runtime_zero(struct lafs_dev *d, void *p, size_t size)
{
    if (sim_recording(d)) sim_record(d, [=]() { clear(p, size); });
    else clear(p, size);
}
int runtime_busy(struct lafs_dev *d)
{
    runtime_wait(d);
    return 0;
}
void runtime_wait(struct lafs_dev *d)
{
    settle(d, SETTLE_ALL);
    close_memory();
}

int runtime_record(struct lafs_dev *d, struct lafs_recording *r)
{
    not_recorded(d, "a recording");
    if (!(r->kept = (char *)malloc(KEPT_UPLOADS))) return 0;
    r->graph = new actions;
    return 1;
}
int runtime_recorded(struct lafs_dev *, struct lafs_recording *) { return 1; }
void runtime_replay(struct lafs_dev *d, struct lafs_recording *r)
{
    not_recorded(d, "a replay");
    if (replays++ == 0) atexit(say_replays);
    for (const auto &what : *(const actions *)r->graph) what();
}
void runtime_forget(struct lafs_dev *, struct lafs_recording *r)
{
    delete (actions *)r->graph;
    free(r->kept);
}
