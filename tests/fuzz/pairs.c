/* Pairs files in all forms: what is accepted is whole. */
#include <stdlib.h>

#include "eval/pairs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_pairs *p;
    if (lafs_pairs_parse(&p, (const char *)data, size, "fuzz", NULL) != LAFS_OK) return 0;
    if (p->count < 1 || p->folds < 1) abort();
    for (int64_t i = 0; i < p->count; i++) {
        if (p->a[i] < 0 || p->a[i] >= p->photos.count || p->b[i] < 0 || p->b[i] >= p->photos.count) abort();
        if (p->fold[i] < 0 || p->fold[i] >= p->folds || p->same[i] > 1) abort();
    }
    for (int64_t i = 0; i < p->photos.count; i++)
        if (p->person[i] < 0 || p->person[i] >= p->people.count || !lafs_strset_at(&p->photos, i)) abort();
    lafs_pairs_free(p);
    return 0;
}
