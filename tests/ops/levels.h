/* The levels of a processor (base/isa.h) in tests that go through them. What a machine lacks is said, not passed
 * over in silence:
 *
 *     levels_missing("products", LAFS_ISA_AVX512);   // skip products: no avx512 here
 *     for (int level = 0; level <= LAFS_ISA_AVX512; level++)
 *         if (level_use(level)) ...
 *     level_free();
 */
#ifndef LAFS_TESTS_OPS_LEVELS_H
#define LAFS_TESTS_OPS_LEVELS_H

#include <stdio.h>

#include "kernels/cpu/isa.h"

#if defined __aarch64__
static const char *const level_name[] = {"plain code", "dotprod"};
enum { LEVEL_MOST = LAFS_ISA_DOTPROD };
#else
static const char *const level_name[] = {"plain code", "avx2", "avx512", "amx"};
enum { LEVEL_MOST = LAFS_ISA_AMX };
#endif

/* Uses no more than this level; 0: the machine lacks it. */
static inline int level_use(int level)
{
    lafs_isa_limit(level);
    return level == LAFS_ISA_AMX ? lafs_isa_amx() : lafs_isa_level() == level;
}

/* All that there is, again. */
static inline void level_free(void) { lafs_isa_limit(LAFS_ISA_AMX); }

/* A line for each level up to `most` that the test cannot be run at. */
static inline void levels_missing(const char *test, int most)
{
    for (int level = 0; level <= most && level <= LEVEL_MOST; level++)
        if (!level_use(level)) printf("skip %s: no %s here\n", test, level_name[level]);
    level_free();
}

#endif
