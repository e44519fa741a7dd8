/* What of the machine this process may use: less than there is under taskset, in a batch job, in a container. */
#ifndef LAFS_BASE_LIMITS_H
#define LAFS_BASE_LIMITS_H

/* Processors that its threads may be scheduled on; at least 1. */
int lafs_processors_allowed(void);
/* The same, and no more than the time that its control groups give it, rounded up; at least 1. */
int lafs_processors(void);
/* Bytes of memory: the machine's, and no more than its control groups let it have. */
double lafs_memory(void);

/* For tests, which have `root` in front of all paths: the same two; and what control groups of either version say, the
 * least of the process' own and those around it, 0: no limit, or none that can be read. */
int lafs_processors_by(const char *root);
double lafs_memory_by(const char *root);
double lafs_processor_quota(const char *root); /* seconds of processors a second */
double lafs_memory_quota(const char *root);    /* bytes */

#endif
