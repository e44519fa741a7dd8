/* Model files of any format that we read, as tensors and metadata in memory. */
#ifndef LAFS_CMD_MODELIN_H
#define LAFS_CMD_MODELIN_H

#include "base/buf.h"
#include "base/err.h"
#include "format/onnx.h"
#include "format/pth.h"
#include "format/safetensors.h"
#include "model/detector.h"
#include "model/part_fvit.h"

struct model {
    const char *path;
    const char *format;            /* "safetensors", "onnx", "pth" */
    struct lafs_buf bytes;         /* the file */
    char sha256[65];
    struct lafs_st *st;
    struct lafs_onnx *onnx;
    struct lafs_pth *pth;
    struct lafs_detector_tensors detector;
    struct lafs_st_tensor *tensor; /* (count); data NULL: only looked at */
    int count;
    struct lafs_st_meta *meta;     /* (metas); owned */
    int metas;
    char **name;                   /* (names) new names of tensors, or NULL; owned */
    int names;
};
/* Which of a checkpoint's networks is taken, and what goes with it. */
struct model_pick {
    const char *network; /* "student", "teacher", "all", or NULL: the teacher where there is one, else the student */
    int keep_heads;
};
/* looking 1: tensors that cannot be taken over are there too, with data NULL. m is to be released after a failure too.
 * Messages name the path. */
lafs_status model_read(struct model *m, const char *path, int looking, const struct model_pick *pick,
                       struct lafs_err *err);
void model_release(struct model *m);
/* Copies key and value. */
lafs_status model_set(struct model *m, const char *key, const char *value, struct lafs_err *err);
/* Adds what a recogniser's tensors tell of it, where the metadata does not say it yet. LAFS_USAGE: they are none's. */
lafs_status model_describe(struct model *m, const struct lafs_st *st, struct lafs_err *err);
const char *model_meta(const struct model *m, const char *key); /* NULL: none */
/* Says in the metadata what was converted, by what. */
lafs_status model_put_origin(struct model *m, struct lafs_err *err);
void model_drop_meta(struct model *m, int i);

#endif
