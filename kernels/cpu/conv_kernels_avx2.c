#if defined __x86_64__
#define LAFS_VECTORS 256
#include "kernels/cpu/vectors.inc"
#define NV 3
#define ROWS1 8
#define ROWS2 6
#define ROWS3 4
#include "kernels/cpu/conv_kernels.inc"
#else
typedef int lafs_conv_kernels_avx2_are_not_here;
#endif
