/* What a model file or a run directory is. */
#ifndef LAFS_CMD_SHOWMODEL_H
#define LAFS_CMD_SHOWMODEL_H

#include "base/buf.h"
#include "base/err.h"

/* Reads up to n first bytes; 0 of what is no file: a pipe would not give them again. */
size_t first_bytes(const char *path, void *to, size_t n);
/* Looks at the first bytes. */
int is_model(const char *path);
/* A directory with config.json or log.jsonl. */
int is_run(const char *path);
/* Appends metadata and tensors, as text or as one JSON object. */
lafs_status model_text(const char *path, int json, struct lafs_buf *out, struct lafs_err *err);
/* Appends one tensor as .npy. */
lafs_status model_npy(const char *path, const char *tensor, struct lafs_buf *out, struct lafs_err *err);
/* Appends options, checkpoints and the last line of the log. */
lafs_status run_text(const char *path, int json, struct lafs_buf *out, struct lafs_err *err);
/* Appends the curves of n log.jsonl (path: the runs, or the files) as SVG, one over the other. LAFS_USAGE: too many. */
lafs_status run_curves(const char *const *path, int n, struct lafs_buf *out, struct lafs_err *err);

#endif
