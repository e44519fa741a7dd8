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

#include "base/isa.h"
#include "base/pool.h"

#define LAFS_INLINE static inline __attribute__((always_inline))

/* In front of a loop whose rounds do not depend on each other: arrays are the same or do not overlap. */
#if defined __clang__
#define LAFS_EACH _Pragma("clang loop vectorize(assume_safety)")
#else
#define LAFS_EACH _Pragma("GCC ivdep")
#endif

#if defined __x86_64__
/* 512-bit registers for what is bound by arithmetic; gcc would otherwise stay at 256. */
#if defined __clang__
#define LAFS_TARGET_512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2")))
#else
#define LAFS_TARGET_512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,prefer-vector-width=512")))
#endif
#define LAFS_TARGET_256 __attribute__((target("avx2")))
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
        return level == LAFS_ISA_AVX512 ? name##_512_ : level == LAFS_ISA_AVX2 ? name##_256_ : name##_base_;        \
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

/* The same for any function without a result: params and args in parentheses. lafs_isa_NAME() gives the best one. */
#if defined __x86_64__
#define LAFS_ISA_FN(name, params, args)                                            \
    LAFS_TARGET_512 static void name##_512_ params { name args; }                  \
    LAFS_TARGET_256 static void name##_256_ params { name args; }                  \
    static void name##_base_ params { name args; }                                 \
    static void (*lafs_isa_##name(void)) params                                    \
    {                                                                              \
        int level = lafs_isa_level();                                              \
        return level == LAFS_ISA_AVX512 ? name##_512_ : level == LAFS_ISA_AVX2 ? name##_256_ : name##_base_; \
    }
#else
#define LAFS_ISA_FN(name, params, args)              \
    static void name##_base_ params { name args; }   \
    static void (*lafs_isa_##name(void)) params { return name##_base_; }
#endif

#endif
