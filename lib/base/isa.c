#include "base/isa.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By level; then those of other kinds of processors, so that they are not taken for a slip of the pen. */
#if defined __aarch64__
static const char *const names[] = {"plain", "dotprod", "avx2", "avx512", "amx"};
#else
static const char *const names[] = {"plain", "avx2", "avx512", "amx", "dotprod"};
#endif
enum { NAMES = sizeof names / sizeof *names };

static atomic_int limit = LAFS_ISA_AMX;

/* What this machine has, found out once. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int vectors;        /* LAFS_ISA_PLAIN to LAFS_ISA_AVX512, or LAFS_ISA_DOTPROD */
static int tiles;          /* AMX may be used */
static int avx_vnni;
static char refused[96];   /* why AMX may not be used that the processor has; else "" */

#if defined __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the kernel saves. */
__attribute__((target("xsave"))) static uint64_t xcr0(void) { return _xgetbv(0); }

/* Tiles need the processor's bits, state that the kernel saves, and, once for the process, its permission. */
static void look_for_tiles(void)
{
    enum { OSXSAVE = 1 << 27, STATE = 3 << 17, REQUEST = 0x1023, DATA = 18 };
    enum { AMX = 1 << 22 | 1 << 24 | 1 << 25 }; /* bf16, tiles, int8 */
    enum { AVX512_BF16 = 1 << 5 };
    uint32_t a, b, c, d, more;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & AMX) != AMX) return;
    if (!__get_cpuid_count(7, 1, &more, &b, &c, &d)) more = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || (xcr0() & STATE) != STATE)
        snprintf(refused, sizeof refused, "the kernel does not save tiles");
    else if (vectors < LAFS_ISA_AVX512 || !(more & AVX512_BF16))
        snprintf(refused, sizeof refused, "no avx512 beside it");
    else if (syscall(SYS_arch_prctl, REQUEST, DATA))
        snprintf(refused, sizeof refused, "the kernel does not permit it: %s", lafs_strerror(errno));
    else
        tiles = 1;
}

static int has_avx_vnni(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1 << 4;
}

static void look(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
    int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    vectors = wide ? LAFS_ISA_AVX512 : LAFS_ISA_AVX2;
    avx_vnni = has_avx_vnni();
    look_for_tiles();
}
#elif defined LAFS_ISA_ARM64
#include <sys/auxv.h>

static void look(void)
{
    enum { ASIMDDP = 1 << 20 };
    if (getauxval(AT_HWCAP) & ASIMDDP) vectors = LAFS_ISA_DOTPROD;
}
#else
static void look(void) {}
#endif

static int machine(void)
{
    pthread_once(&once, look);
    return tiles ? LAFS_ISA_AMX : vectors;
}

static int allowed(void)
{
    int have = machine(), most = atomic_load_explicit(&limit, memory_order_relaxed);
    return have < most ? have : most;
}

int lafs_isa_level(void)
{
    int level = allowed();
    return level < LAFS_ISA_AVX512 ? level : LAFS_ISA_AVX512;
}

int lafs_isa_amx(void) { return allowed() == LAFS_ISA_AMX; }

int lafs_isa_avx_vnni(void) { return allowed() >= LAFS_ISA_AVX2 && avx_vnni; }

void lafs_isa_limit(int level) { atomic_store(&limit, level); }

/* The names of levels 0 to `most`: "plain, avx2". */
static const char *list(int most, char *to, size_t size)
{
    size_t n = 0;
    for (int i = 0; i <= most && n < size; i++)
        n += (size_t)snprintf(to + n, size - n, "%s%s", i ? ", " : "", names[i]);
    return to;
}

lafs_status lafs_isa_from_environment(struct lafs_err *err)
{
    char all[64];
    const char *want = secure_getenv("LAFS_CPU");
    int have = machine(), level = 0;
    if (!want || !*want) {
        lafs_isa_limit(LAFS_ISA_AMX);
        return LAFS_OK;
    }
    while (level < NAMES && strcmp(want, names[level])) level++;
    if (level == NAMES)
        return lafs_fail(err, LAFS_USAGE, "LAFS_CPU: there is no '%s'; this machine has %s", want,
                         list(have, all, sizeof all));
    if (level > have)
        return lafs_fail(err, LAFS_USAGE, "LAFS_CPU: this machine cannot use '%s'%s%s; it has %s", want,
                         level == LAFS_ISA_AMX && refused[0] ? ": " : "", level == LAFS_ISA_AMX ? refused : "",
                         list(have, all, sizeof all));
    lafs_isa_limit(level);
    return LAFS_OK;
}

void lafs_isa_describe(char *to, size_t size)
{
    int have = machine(), used = allowed();
    int n = snprintf(to, size, "%s", names[used]);
    if (n < 0 || (size_t)n >= size) return;
    if (used < have) snprintf(to + n, size - (size_t)n, " by LAFS_CPU (the machine has %s)", names[have]);
    else if (refused[0]) snprintf(to + n, size - (size_t)n, " (not amx: %s)", refused);
}
