/* Processes of one machine that meet in a shared file: what the stand-ins for MPI (shm.c) and NCCL (nccl.c) have in
 * common. A file is zero at first. */
#ifndef LAFS_TESTS_RANKS_MEET_H
#define LAFS_TESTS_RANKS_MEET_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEET_MOST = 8 /* processes */, MEET_BOX = 1 << 26 /* bytes, of which few are touched */ };

struct meeting {
    _Atomic int arrived, round, ended;
    struct meet_doing { int what, root; size_t bytes; } does[MEET_MOST]; /* set before arriving, looked at afterwards */
    char box[MEET_MOST][MEET_BOX];
};

static inline struct meeting *meet_open(const char *path)
{
    int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    if (fd < 0) return NULL;
    void *m = ftruncate(fd, sizeof(struct meeting))
                  ? MAP_FAILED
                  : mmap(NULL, sizeof(struct meeting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return m == MAP_FAILED ? NULL : m;
}
static inline void meet_close(struct meeting *m) { munmap(m, sizeof *m); }

/* Arrives; all `size` have when meet_came says so of what is returned. */
static inline int meet_arrive(struct meeting *m, int size)
{
    int round = m->round;
    if (atomic_fetch_add(&m->arrived, 1) == size - 1) {
        m->arrived = 0;
        m->round = round + 1;
    }
    return round;
}
static inline int meet_came(const struct meeting *m, int round) { return m->round != round; }

/* Do all do what process `rank` does? */
static inline int meet_same(const struct meeting *m, int rank, int size)
{
    for (int i = 0; i < size; i++)
        if (memcmp(&m->does[i], &m->does[rank], sizeof m->does[i])) return 0;
    return 1;
}

#endif
