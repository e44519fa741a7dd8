#include "kernels/cpu/scan_set.h"

#if defined __x86_64__
#include "kernels/cpu/scan_amx.inc"

const struct lafs_scan_set *lafs_scan_amx(void) { return &scan_amx_set; }
#else
const struct lafs_scan_set *lafs_scan_amx(void) { return 0; }
#endif
