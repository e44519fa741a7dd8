/* Which of the processor's instructions code may use: what there is, capped by $LAFS_CPU. Safe on any thread. */
#ifndef LAFS_BASE_ISA_H
#define LAFS_BASE_ISA_H

#include <stddef.h>

#include "base/err.h"

/* Defined where functions may be compiled for more than all of arm64 has: clang before 16 gives a file one set. */
#if defined __aarch64__ && (!defined __clang__ || __clang_major__ >= 16)
#define LAFS_ISA_ARM64
#endif

/* What a processor may have, each with all before it. */
enum lafs_isa {
    LAFS_ISA_PLAIN = 0,  /* what the compiler assumes: SSE2; NEON */
    LAFS_ISA_AVX2,       /* and fused multiply-add */
    LAFS_ISA_AVX512,     /* F, BW, DQ, VL */
    LAFS_ISA_AMX,        /* tiles of bf16 and int8: CPUID, XCR0, and the kernel's permission */
    LAFS_ISA_DOTPROD = 1 /* arm64, which has none of the others: sums of products of bytes */
};
/* The vectors to use: LAFS_ISA_PLAIN to LAFS_ISA_AVX512, or LAFS_ISA_DOTPROD. */
int lafs_isa_level(void);
/* Whether tiles may be used. */
int lafs_isa_amx(void);
/* Whether there are sums of products of bytes in vectors of 256 bits, which some processors of level AVX2 have. */
int lafs_isa_avx_vnni(void);
/* Use no more than this level, in the whole process; LAFS_ISA_AMX is no limit. */
void lafs_isa_limit(int level);
/* Takes the limit from $LAFS_CPU: plain, avx2, avx512 or amx (arm64: plain or dotprod); unset or empty: none.
 * LAFS_USAGE, and no change, for another name or one that this machine lacks. */
lafs_status lafs_isa_from_environment(struct lafs_err *err);
/* "avx2"; what limits it, where something does. */
void lafs_isa_describe(char *to, size_t size);

#endif
