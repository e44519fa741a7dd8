#include "cmd/loadmodel.h"

#include "base/sha256.h"
#include "cmd/cli.h"

struct job {
    struct lafs_model *model;
    const struct lafs_backend *backend;
    const char *path;
    int cnn_only;
    char *digest;
    lafs_status status[2];
    struct lafs_err err[2];
};

static void half(void *arg, int64_t i, int worker)
{
    (void)worker;
    struct job *j = arg;
    struct lafs_err *err = &j->err[i];
    j->status[i] = i == 1       ? lafs_sha256_file(j->path, j->digest, err)
                   : j->cnn_only ? lafs_model_load_cnn(j->model, j->backend, j->path, err)
                                 : lafs_model_load(j->model, j->backend, j->path, err);
}

lafs_status load_model(struct lafs_model *m, const struct lafs_backend *b, const char *path, int cnn_only,
                       char digest[65], struct lafs_err *err)
{
    struct job j = {.model = m, .backend = b, .path = path, .cnn_only = cnn_only, .digest = digest};
    lafs_pool_for(cli_pool(), 2, half, &j);
    int bad = j.status[0] == LAFS_OK; /* which of the two is told: the model's failure says more */
    *err = j.err[bad];
    return j.status[bad];
}
