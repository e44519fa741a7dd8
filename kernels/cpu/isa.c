#include "kernels/cpu/isa.h"

#include <stdatomic.h>

static atomic_int limit = 2;

static int machine(void)
{
#if defined __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? 2 : 1;
#else
    return 0;
#endif
}

int lafs_isa_level(void)
{
    int have = machine(), most = atomic_load_explicit(&limit, memory_order_relaxed);
    return have < most ? have : most;
}

void lafs_isa_limit(int level) { atomic_store(&limit, level); }
