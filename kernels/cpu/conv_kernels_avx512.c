#if defined __x86_64__
#define LAFS_VECTORS 512
#include "kernels/cpu/vectors.inc"
#define NV 4
#define ROWS1 12
#define ROWS2 12
#define ROWS3 8
#define ROWS4 6
#include "kernels/cpu/conv_kernels.inc"
#else
typedef int lafs_conv_kernels_avx512_are_not_here;
#endif
