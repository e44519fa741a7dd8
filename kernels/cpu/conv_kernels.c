#define LAFS_VECTORS 128
#include "kernels/cpu/vectors.inc"
#if defined __aarch64__ /* as many registers as AVX-512 has */
#define NV 4
#define ROWS1 12
#define ROWS2 12
#define ROWS3 8
#define ROWS4 6
#else
#define NV 2
#define ROWS1 4
#define ROWS2 4
#endif
#include "kernels/cpu/conv_kernels.inc"

const struct lafs_conv_kernels *lafs_conv_kernels(void)
{
#if defined __x86_64__
    int level = lafs_isa_level();
    if (level == LAFS_ISA_AVX512) return &lafs_conv_avx512;
    if (level == LAFS_ISA_AVX2) return &lafs_conv_avx2;
#endif
    return &lafs_conv_plain;
}
