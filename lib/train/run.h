/* A run directory: config.json, checkpoint-STEP.safetensors, log.jsonl, model.safetensors.
 *
 * The directory is locked while a run holds it. A checkpoint is one file that appears whole; the log is cut back to it
 * on resume, so that a run that was stopped at any instant continues as if it had not been. */
#ifndef LAFS_TRAIN_RUN_H
#define LAFS_TRAIN_RUN_H

#include <stdint.h>

#include "base/buf.h"
#include "compute/tensor.h"
#include "format/safetensors.h"

struct lafs_run_option {
    const char *name, *value;
    int may_grow; /* 1: with `extend`, a larger number is no change (epochs) */
};

struct lafs_run {
    char *dir;      /* owned */
    int lock;       /* file descriptor of the directory */
    int log;        /* file descriptor of log.jsonl, -1 before lafs_run_log_open */
    int64_t resume; /* step of the newest checkpoint, -1: none */
    int keep;       /* checkpoints kept, >= 1 */
};

/* Creates dir and config.json, or compares with the config.json that is there: LAFS_USAGE lists the options that
 * differ, unless no step was done by them: then it is written anew. LAFS_FAILED when another process holds the run. */
lafs_status lafs_run_open(struct lafs_run *r, const char *dir, const char *program, const char *version,
                          const struct lafs_run_option *option, int n, int extend, struct lafs_err *err);
/* A run that another process holds, of which this one is a part: nothing is created, checked or written. The caller
 * says which step it goes on from (r->resume). */
lafs_status lafs_run_follow(struct lafs_run *r, const char *dir, struct lafs_err *err);
void lafs_run_close(struct lafs_run *r);
/* "DIR/NAME" in buf. */
lafs_status lafs_run_path(const struct lafs_run *r, const char *name, struct lafs_buf *buf, struct lafs_err *err);
/* Opens the checkpoint of r->resume. */
lafs_status lafs_run_load(const struct lafs_run *r, struct lafs_st **st, struct lafs_err *err);
/* Opens the newest checkpoint of any run directory, without holding the run. LAFS_END: there is none. */
lafs_status lafs_run_peek(const char *dir, struct lafs_st **st, struct lafs_err *err);

/* Opens log.jsonl, cut back to its last line whose "step" is at most `step` (-1: emptied). */
lafs_status lafs_run_log_open(struct lafs_run *r, int64_t step, struct lafs_err *err);
/* Appends one line (a JSON object without its newline) in one write. */
lafs_status lafs_run_log(struct lafs_run *r, struct lafs_buf *line, struct lafs_err *err);

/* Tensors on their way into a file: host copies, owned. */
struct lafs_ckpt {
    struct lafs_st_tensor *tensor;
    int count, cap;
    struct lafs_st_meta *meta;
    int metas, metas_cap;
};
void lafs_ckpt_init(struct lafs_ckpt *c);
void lafs_ckpt_release(struct lafs_ckpt *c);
lafs_status lafs_ckpt_add(struct lafs_ckpt *c, const char *name, enum lafs_dtype type, const int64_t *shape, int ndim,
                          const void *data, struct lafs_err *err);
lafs_status lafs_ckpt_add_meta(struct lafs_ckpt *c, const char *key, const char *value, struct lafs_err *err);
/* All parameters of the table from the flat device array `value`, as prefix + name. */
lafs_status lafs_ckpt_add_params(struct lafs_ckpt *c, const char *prefix, const struct lafs_params *ps,
                                 const float *value, const struct lafs_backend *b, struct lafs_err *err);
/* The reverse: names that are missing, or of another shape, are errors. */
lafs_status lafs_ckpt_read_params(const struct lafs_st *st, const char *prefix, const struct lafs_params *ps,
                                  float *value, const struct lafs_backend *b, struct lafs_err *err);
/* Exactly n integers. */
lafs_status lafs_ckpt_read_i64(const struct lafs_st *st, const char *name, int64_t *out, int64_t n,
                               struct lafs_err *err);
/* Writes checkpoint-STEP.safetensors, then removes all but the newest r->keep. */
lafs_status lafs_run_save(struct lafs_run *r, int64_t step, const struct lafs_ckpt *c, struct lafs_err *err);

#endif
