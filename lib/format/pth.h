/* PyTorch checkpoints (.pth, .pt): tensors by name out of them, and state dictionaries into them, without PyTorch.
 *
 * Reading: the zip that torch.save writes since 1.6, and what it wrote before. The pickle within is interpreted, never
 * run, by pickle.h: dictionaries, numbers, text, tensors; a tensor's place in nested dictionaries is its name, joined
 * by dots ("teacher.backbone.cls_token"). Any global but those of state dictionaries is refused by its name. Nothing
 * is trusted: sizes, strides and offsets are checked.
 *
 *     LAFS_TRY(lafs_pth_parse(&p, data, size, err));
 *     LAFS_TRY(lafs_pth_load(p, NULL, err));
 *     use(p->tensor[0].data);
 *     lafs_pth_close(p);                    // before data
 */
#ifndef LAFS_FORMAT_PTH_H
#define LAFS_FORMAT_PTH_H

#include <stddef.h>

#include "base/err.h"
#include "format/safetensors.h"

enum { LAFS_PTH_MAX_METAS = 4096 };

struct lafs_pth {
    struct lafs_st_tensor *tensor; /* (count), in the file's order; data NULL until loaded */
    int count;
    struct lafs_st_meta *meta;     /* numbers and texts of the outermost dictionary ("epoch"), and what lafs_pth_write
                                    * was given */
    int metas;
    int metas_left;                /* numbers and texts beyond LAFS_PTH_MAX_METAS, which are not taken */
    int ours;                      /* 1: lafs_pth_write wrote it */
    int legacy;                    /* 1: not a zip */
    void *priv;
};
/* Whether these bytes begin like such a file. */
int lafs_pth_begins(const void *data, size_t size);
/* data must stay. Tensors' data is not looked at. LAFS_FAILED: no checkpoint, a broken one, or "refused: it calls for
 * os.system". */
lafs_status lafs_pth_parse(struct lafs_pth **out, const void *data, size_t size, struct lafs_err *err);
/* Fetches the data, row-major, of those tensors whose want (count) is not 0, or of all (NULL); once. */
lafs_status lafs_pth_load(struct lafs_pth *p, const unsigned char *want, struct lafs_err *err);
void lafs_pth_close(struct lafs_pth *p); /* NULL is fine */

/* Writes an OrderedDict of tensors that torch.load takes, also with weights_only=True; whole or not at all; the same
 * input gives the same bytes. The metadata lies beside, where PyTorch does not look. LAFS_FAILED names a tensor whose
 * type PyTorch lacks; also: more than LAFS_PTH_MAX_METAS. */
lafs_status lafs_pth_write(const char *path, const struct lafs_st_tensor *tensor, int count,
                           const struct lafs_st_meta *meta, int metas, struct lafs_err *err);

/* For those who write and read: the name of the storage class of a type ("FloatStorage"), NULL if PyTorch has none. */
const char *lafs_pth_storage_class(enum lafs_dtype t);
#define LAFS_PTH_METADATA "extra/lafs-metadata.json"

#endif
