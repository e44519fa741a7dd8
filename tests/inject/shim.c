/* LD_PRELOADed: makes one call fail. LAFS_FAIL="KIND:N" fails the N-th call (from 1) of its kind:
 *   alloc   malloc, calloc, realloc, aligned_alloc, posix_memalign, called by the program or the C library: no memory,
 *           once (libarchive, for one, does not survive that: it is left alone)
 *   write   write, pwrite (not to stderr): no space, from then on
 *   fsync   input/output error, once
 *   rename  input/output error, once
 *   append  write to what was opened to append to: no space, from then on
 *   short   no failure: from then on writes of more than one byte write half
 * LAFS_FAIL_TRAP=1 raises SIGTRAP there, for a debugger.
 * LAFS_KILL="KIND:N" or "KIND:N:after": the process kills itself (SIGKILL) just before or just after the N-th call of its
 * kind, which is rename, fsync-file or fsync-dir.
 * LAFS_PROCESSORS=N: the machine says that it has N processors.
 * LAFS_FAIL_COUNT=FILE appends the number of calls of each kind at exit, as "KIND N" lines. Calls before main, and after
 * exit began, are not counted. */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { ALLOC, WRITE, FSYNC, RENAME, APPEND, SHORT, FSYNC_FILE, FSYNC_DIR, KINDS };
static const char *const kind_name[KINDS] = {"alloc", "write",  "fsync",      "rename",
                                              "append", "short", "fsync-file", "fsync-dir"};
static _Atomic long calls[KINDS];
static long fail_at[KINDS], kill_at[KINDS];
static int kill_after;
static _Atomic int running;
static int trap;

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *aligned_alloc(size_t alignment, size_t n);
int posix_memalign(void **p, size_t alignment, size_t n);

/* Counts a call; 1 if it is to fail. */
static int fails(enum kind k, int from_then_on)
{
    if (!atomic_load(&running)) return 0;
    long n = atomic_fetch_add(&calls[k], 1) + 1;
    int fail = fail_at[k] && (from_then_on ? n >= fail_at[k] : n == fail_at[k]);
    if (fail && trap) raise(SIGTRAP);
    return fail;
}

/* Stands before (after 0) and behind (after 1) a call that was counted. */
static void perhaps_die(enum kind k, int after)
{
    if (kill_at[k] && atomic_load(&calls[k]) == kill_at[k] && after == kill_after) kill(getpid(), SIGKILL);
}

/* Where the code of the program and of the C library lies. */
static struct { uintptr_t from, to; } ours[8];
static int spans;

static int note_code(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (info->dlpi_name[0] && !strstr(info->dlpi_name, "/libc.so")) return 0; /* the program itself has no name */
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) && spans < 8) {
            ours[spans].from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            ours[spans].to = ours[spans].from + info->dlpi_phdr[i].p_memsz;
            spans++;
        }
    return 0;
}

static int no_memory(const void *caller)
{
    for (int i = 0; i < spans; i++)
        if ((uintptr_t)caller >= ours[i].from && (uintptr_t)caller < ours[i].to) return fails(ALLOC, 0);
    return 0;
}
#define TRY(call) (no_memory(__builtin_return_address(0)) ? (errno = ENOMEM, NULL) : (call))

void *malloc(size_t n) { return TRY(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return TRY(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n) { return TRY(__libc_realloc(p, n)); }
void *aligned_alloc(size_t alignment, size_t n) { return TRY(__libc_memalign(alignment, n)); }

int posix_memalign(void **p, size_t alignment, size_t n)
{
    *p = TRY(__libc_memalign(alignment, n));
    return *p ? 0 : ENOMEM;
}

extern long __sysconf(int name);
long sysconf(int name)
{
    const char *many = name == _SC_NPROCESSORS_ONLN ? getenv("LAFS_PROCESSORS") : NULL;
    return many ? strtol(many, NULL, 10) : __sysconf(name);
}

static size_t half(size_t n) { return n > 1 && fails(SHORT, 1) ? n / 2 : n; }

ssize_t write(int fd, const void *data, size_t n)
{
    const int append = fd != STDERR_FILENO && (fcntl(fd, F_GETFL) & O_APPEND) && fails(APPEND, 1);
    if (append || (fd != STDERR_FILENO && fails(WRITE, 1))) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_write, fd, data, fd == STDERR_FILENO ? n : half(n));
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    if (fails(WRITE, 1)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, data, half(n), at);
}

int fsync(int fd)
{
    struct stat s;
    enum kind k = fstat(fd, &s) == 0 && S_ISDIR(s.st_mode) ? FSYNC_DIR : FSYNC_FILE;
    if (fails(FSYNC, 0)) {
        errno = EIO;
        return -1;
    }
    (void)fails(k, 0); /* counts */
    perhaps_die(k, 0);
    int result = (int)syscall(SYS_fsync, fd);
    perhaps_die(k, 1);
    return result;
}

int rename(const char *from, const char *to)
{
    if (fails(RENAME, 0)) {
        errno = EIO;
        return -1;
    }
    perhaps_die(RENAME, 0);
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    perhaps_die(RENAME, 1);
    return result;
}

static void at_end(void)
{
    char text[200];
    int n = 0;
    const char *path = getenv("LAFS_FAIL_COUNT");
    atomic_store(&running, 0);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd < 0) return;
    for (int k = 0; k < KINDS; k++) n += snprintf(text + n, sizeof text - (size_t)n, "%s %ld\n", kind_name[k], calls[k]);
    syscall(SYS_write, fd, text, (size_t)n);
    close(fd);
}

/* "KIND:N" of the environment; returns what follows it, or NULL. */
static const char *parse(const char *variable, long at[KINDS])
{
    char *rest = NULL;
    const char *s = getenv(variable), *colon = s ? strchr(s, ':') : NULL;
    for (int k = 0; k < KINDS; k++)
        if (colon && strlen(kind_name[k]) == (size_t)(colon - s) && !strncmp(s, kind_name[k], (size_t)(colon - s)))
            at[k] = strtol(colon + 1, &rest, 10);
    return rest;
}

/* The last constructor to run, as the library is preloaded. */
__attribute__((constructor)) static void begin(void)
{
    trap = getenv("LAFS_FAIL_TRAP") != NULL;
    parse("LAFS_FAIL", fail_at);
    const char *rest = parse("LAFS_KILL", kill_at);
    kill_after = rest && !strcmp(rest, ":after");
    atexit(at_end);
    dl_iterate_phdr(note_code, NULL);
    atomic_store(&running, 1);
}
