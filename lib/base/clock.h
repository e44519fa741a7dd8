#ifndef LAFS_BASE_CLOCK_H
#define LAFS_BASE_CLOCK_H
/* Seconds of a monotonic clock; only differences mean anything. */
double lafs_clock_now(void);
#endif
