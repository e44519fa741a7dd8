/* Loops worth compiling for wider vectors, chosen when the program starts. The results do not differ: nothing is
 * contracted or reordered. */
#ifndef LAFS_SYNTH_FAST_H
#define LAFS_SYNTH_FAST_H

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__) && !defined(LAFS_SAN)
#define FAST __attribute__((target_clones("avx2", "default")))
#else
#define FAST
#endif

#endif
