/* The simulated device: memory and copies. */
#include "kernels/cuda/dev.cuh"

#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/cuda/sim.h"

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

int open_now; /* device memory can be touched */

void set_access(int how)
{
    if (open_now == (how != PROT_NONE)) return;
    open_now = how != PROT_NONE;
    for (const auto &r : ranges)
        if (mprotect(r.second.map, r.second.mapped, how)) abort();
}

size_t up(size_t n, size_t to) { return (n + to - 1) / to * to; }

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

lafs_status runtime_open(struct lafs_dev *d, const char *arg, struct lafs_err *err)
{
    if (*arg && (arg[0] != '0' || arg[1]))
        return lafs_fail(err, LAFS_FAILED, "there is one simulated device, number 0");
    snprintf(d->text, sizeof d->text, "simulated GPU (a test's)");
    return LAFS_OK;
}
void runtime_close(struct lafs_dev *d) { (void)d; }
void runtime_use(struct lafs_dev *d) { (void)d; }

/* Whole pages of its own, so that its end is a page's end as far as the alignment allows. */
lafs_status runtime_alloc(struct lafs_dev *d, void **out, size_t size, struct lafs_err *err)
{
    (void)d;
    *out = NULL;
    if (size > (size_t)1 << 40) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", size);
    const size_t rounded = up(size ? size : 1, ALIGNMENT), mapped = up(rounded, PAGE);
    void *map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return lafs_fail(err, LAFS_FAILED, "out of memory: %zu bytes", size);
    char *p = (char *)map + (mapped - rounded);
    memset(p, 0xff, rounded); /* device memory holds anything */
    ASAN_POISON_MEMORY_REGION(p + size, rounded - size);
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (!open_now && mprotect(map, mapped, PROT_NONE)) abort();
    ranges[p] = {(char *)map, mapped, size};
    *out = p;
    return LAFS_OK;
}

void runtime_free(struct lafs_dev *d, void *p)
{
    (void)d;
    if (!p) return;
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto r = ranges.find((const char *)p);
    if (r == ranges.end()) abort();
    ASAN_UNPOISON_MEMORY_REGION(r->first, up(r->second.size ? r->second.size : 1, ALIGNMENT));
    munmap(r->second.map, r->second.mapped);
    ranges.erase(r);
}

/* Between device memory and the host's, or inside device memory. */
static void close_memory()
{
    std::lock_guard<std::recursive_mutex> guard(lock);
    set_access(PROT_NONE);
}
static void move(void *to, const void *from, size_t size, int to_device, int from_device)
{
    if (!size) return;
    if (sim_is_device(to) != to_device || sim_is_device(from) != from_device) {
        fprintf(stderr, "simulator: a copy of %zu bytes to %s, from %s: the wrong memory\n", size,
                to_device ? "the device" : "the host", from_device ? "the device" : "the host");
        abort();
    }
    sim_enter();
    memcpy(to, from, size);
    sim_leave();
    close_memory();
}
void runtime_upload(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    (void)d;
    move(to, from, size, 1, 0);
}
void runtime_download(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    (void)d;
    move(to, from, size, 0, 1);
}
void runtime_copy(struct lafs_dev *d, void *to, const void *from, size_t size)
{
    (void)d;
    move(to, from, size, 1, 1);
}
void runtime_zero(struct lafs_dev *d, void *p, size_t size)
{
    (void)d;
    if (!size) return;
    sim_enter();
    memset(p, 0, size);
    sim_leave();
}
void runtime_wait(struct lafs_dev *d)
{
    (void)d;
    close_memory();
}
