#include "kernels/cpu/gemm_set.h"

#if defined __x86_64__
#include "kernels/cpu/gemm_amx.inc"

const struct lafs_gemm_set *lafs_gemm_amx(enum lafs_precision precision) { return &amx_sets[precision]; }
#else
const struct lafs_gemm_set *lafs_gemm_amx(enum lafs_precision precision)
{
    (void)precision;
    return NULL;
}
#endif
