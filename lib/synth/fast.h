/* Loops worth compiling for wider vectors, chosen when the program starts. The results do not differ: nothing is
 * contracted or reordered. Static functions only: clang 14 does not find others from another file. */
#ifndef LAFS_SYNTH_FAST_H
#define LAFS_SYNTH_FAST_H

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__) && !defined(LAFS_SAN)
#define FAST __attribute__((target_clones("avx2", "default")))
#else
#define FAST
#endif

/* Four floats that need no alignment. */
typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int vec4i __attribute__((vector_size(16), aligned(4), may_alias));

/* The smaller or larger of each two. */
static inline vec4 vec4_min(vec4 a, vec4 b)
{
    vec4i less = a < b;
    return (vec4)((less & (vec4i)a) | (~less & (vec4i)b));
}
static inline vec4 vec4_max(vec4 a, vec4 b)
{
    vec4i more = a > b;
    return (vec4)((more & (vec4i)a) | (~more & (vec4i)b));
}

#endif
