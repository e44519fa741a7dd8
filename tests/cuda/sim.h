/* The simulated device's memory, and who may touch it: tests/cuda/runtime.cc. Pages of device memory cannot be read or
 * written outside of kernels and copies, so that a host's access to it ends the program. */
#ifndef LAFS_TESTS_CUDA_SIM_H
#define LAFS_TESTS_CUDA_SIM_H

#include <stddef.h>

/* One at a time, from whichever thread: device memory is open in between. */
void sim_enter();
void sim_leave();
int sim_is_device(const volatile void *p);
/* What lies behind `size` bytes at p, up to the next 128, is nobody's, for the address sanitizer. */
void sim_limit(void *p, size_t size);
void sim_unlimit(void *p, size_t size);

#endif
