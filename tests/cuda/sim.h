/* The simulated device's memory, and who may touch it: tests/cuda/runtime.cc. Its pages cannot be read or written
 * between a download, or a wait, and the next kernel or copy, so that a host that takes it for its own ends the program;
 * but for what costs too much: it is not closed after every kernel, and in long runs not at every wait. */
#ifndef LAFS_TESTS_CUDA_SIM_H
#define LAFS_TESTS_CUDA_SIM_H

#include <stddef.h>
#include <stdint.h>

/* One at a time, from whichever thread; device memory is open from here on. */
void sim_enter();
void sim_leave();
/* Ends the program. */
[[noreturn]] void sim_refuse(const char *what, const char *why);
/* The same for a kernel, of which it names thread and block. */
[[noreturn]] void sim_stop(const char *what);
/* What races.cc is told: a launch and its blocks' shared memory, and its end; a block; a barrier of a warp, or of the
 * block (-1); an access by the thread that runs. */
void sim_races_begin(const void *shared, size_t size);
void sim_races_block();
void sim_races_end();
void sim_races_barrier(int warp);
void sim_races_touch(const void *p, size_t size, int write);
int sim_is_device(const volatile void *p);
/* Device memory is taken from there on, where the system agrees, so that an address tells whether it is of it. */
static const uintptr_t SIM_DEVICE = (uintptr_t)1 << 45;
static inline int sim_in_device_memory(const void *p) { return (uintptr_t)p - SIM_DEVICE < SIM_DEVICE; }
/* What lies behind `size` bytes at p, up to the next 128, is nobody's, for the address sanitizer. */
void sim_limit(void *p, size_t size);
void sim_unlimit(void *p, size_t size);

#endif
