/* A model file for programs that compute with it. */
#ifndef LAFS_CMD_LOADMODEL_H
#define LAFS_CMD_LOADMODEL_H

#include "model/part_fvit.h"

/* lafs_model_load, or lafs_model_load_cnn, and at the same time the file's SHA-256, which takes as long. */
lafs_status load_model(struct lafs_model *m, const struct lafs_backend *b, const char *path, int cnn_only,
                       char digest[65], struct lafs_err *err);

#endif
