/* One body of plain C, compiled for several instruction sets and chosen at run time.
 *
 *     LAFS_INLINE void add_tile(const struct job *j, int64_t tile) { plain loops }
 *     LAFS_ISA_TILES(add, struct job, add_tile(j, tile))
 *     ... lafs_pool_for(d->pool, tiles, lafs_isa_add(), &j);
 *
 * The compiler may not contract or reorder (-ffp-contract=off), so every set gives the same bits. */
#ifndef LAFS_KERNELS_CPU_ISA_H
#define LAFS_KERNELS_CPU_ISA_H

#include <stdint.h>

#include "base/pool.h"

#define LAFS_INLINE static inline __attribute__((always_inline))

#if defined __x86_64__
/* 512-bit registers for what is bound by arithmetic; gcc would otherwise stay at 256. */
#if defined __clang__
#define LAFS_TARGET_512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2")))
#else
#define LAFS_TARGET_512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,prefer-vector-width=512")))
#endif
#define LAFS_TARGET_256 __attribute__((target("avx2")))
static inline int lafs_isa_level(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") ? 1 : 0;
}
#define LAFS_ISA_TILES(name, type, call)                                                                            \
    LAFS_TARGET_512 static void name##_512_(void *arg, int64_t tile, int worker)                                   \
    {                                                                                                               \
        const type *j = arg;                                                                                        \
        (void)worker;                                                                                               \
        call;                                                                                                       \
    }                                                                                                               \
    LAFS_TARGET_256 static void name##_256_(void *arg, int64_t tile, int worker)                                   \
    {                                                                                                               \
        const type *j = arg;                                                                                        \
        (void)worker;                                                                                               \
        call;                                                                                                       \
    }                                                                                                               \
    static void name##_base_(void *arg, int64_t tile, int worker)                                                  \
    {                                                                                                               \
        const type *j = arg;                                                                                        \
        (void)worker;                                                                                               \
        call;                                                                                                       \
    }                                                                                                               \
    static lafs_tile_fn *lafs_isa_##name(void)                                                                      \
    {                                                                                                               \
        int level = lafs_isa_level();                                                                               \
        return level == 2 ? name##_512_ : level == 1 ? name##_256_ : name##_base_;                                  \
    }
#else
#define LAFS_ISA_TILES(name, type, call)                                                                            \
    static void name##_base_(void *arg, int64_t tile, int worker)                                                  \
    {                                                                                                               \
        const type *j = arg;                                                                                        \
        (void)worker;                                                                                               \
        call;                                                                                                       \
    }                                                                                                               \
    static lafs_tile_fn *lafs_isa_##name(void) { return name##_base_; }
#endif

#endif
