/* What the simulated GPU passes for a CUDA stream, so that the stand-in for NCCL can touch its memory. */
#ifndef LAFS_TESTS_RANKS_STREAM_H
#define LAFS_TESTS_RANKS_STREAM_H

struct sim_stream {
    void (*enter)(void); /* device memory is open from here on */
    void (*leave)(void);
};

#endif
