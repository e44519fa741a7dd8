/* Any bytes as a PyTorch checkpoint: zip, pickle, shapes, strides; what opens is read to its last byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/pth.h"

static void read_all(const struct lafs_pth *p, const unsigned char *want)
{
    volatile unsigned char sink = 0;
    for (int i = 0; i < p->count; i++) {
        const struct lafs_st_tensor *t = &p->tensor[i];
        const unsigned char *b = t->data;
        size_t bytes = (size_t)t->count * lafs_dtype_size(t->dtype);
        if ((want && !want[i]) != !b) abort();
        for (size_t k = 0; b && k < bytes; k++) sink ^= b[k];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_err err;
    struct lafs_pth *p;
    size_t text = 0;
    for (int some = 0; some < 2; some++) {
        if (lafs_pth_parse(&p, data, size, &err) != LAFS_OK) {
            if (!*err.msg || p) abort();
            return 0;
        }
        unsigned char *want = some ? calloc((size_t)p->count + 1, 1) : NULL;
        for (int i = 0; want && i < p->count; i += 2) want[i] = 1;
        for (int i = 0; i < p->count; i++) {
            if (p->tensor[i].data) abort();
            text += strlen(p->tensor[i].name);
        }
        for (int i = 0; i < p->metas; i++) text += strlen(p->meta[i].key) + strlen(p->meta[i].value);
        if (lafs_pth_load(p, want, &err) == LAFS_OK) read_all(p, want);
        lafs_pth_close(p);
        free(want);
    }
    return text > 1 << 30;
}
