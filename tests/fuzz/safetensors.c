/* Any bytes as a safetensors file: what opens is read to its last byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_err err;
    struct lafs_st *st;
    if (lafs_st_parse(&st, data, size, &err) != LAFS_OK) return 0;
    volatile unsigned char sink = 0;
    for (int i = 0; i < st->count; i++) {
        const struct lafs_st_tensor *t = &st->tensor[i];
        const unsigned char *p = t->data;
        size_t bytes = (size_t)t->count * lafs_dtype_size(t->dtype);
        for (size_t k = 0; k < bytes; k++) sink ^= p[k];
        (void)sink;
        if (lafs_st_find(st, t->name) != t) abort();
        if (bytes < 4096) {
            float *v = malloc((size_t)t->count * sizeof *v + 1);
            if (v && lafs_st_read_f32(st, t->name, t->shape, t->ndim, v, &err) != LAFS_OK) abort();
            free(v);
        }
    }
    for (int i = 0; i < st->metas; i++)
        if (strlen(st->meta[i].value) > size || !lafs_st_meta(st, st->meta[i].key)) abort();
    lafs_st_close(st);
    return 0;
}
