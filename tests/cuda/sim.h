/* The simulated device's memory, and who may touch it: tests/cuda/runtime.cc. Its pages cannot be read or written
 * between a download, or a wait, and the next kernel or copy, so that a host that takes it for its own ends the program;
 * but for what costs too much: it is not closed after every kernel, and in long runs not at every wait. */
#ifndef LAFS_TESTS_CUDA_SIM_H
#define LAFS_TESTS_CUDA_SIM_H

#include <stddef.h>

/* One at a time, from whichever thread; device memory is open from here on. */
void sim_enter();
void sim_leave();
/* Ends the program. */
[[noreturn]] void sim_refuse(const char *what, const char *why);
int sim_is_device(const volatile void *p);
/* What lies behind `size` bytes at p, up to the next 128, is nobody's, for the address sanitizer. */
void sim_limit(void *p, size_t size);
void sim_unlimit(void *p, size_t size);

#endif
