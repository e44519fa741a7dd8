/* IJB's lists of templates: what is accepted is in order, and each template once. */
#include <stdlib.h>

#include "eval/ijblist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_ijb_list l;
    if (lafs_ijb_list_parse(&l, (const char *)data, size, "fuzz", NULL) != LAFS_OK) return 0;
    if (l.count < 1) abort();
    for (int64_t i = 0; i < l.count; i++)
        if (l.template_id[i] < 0 || l.subject_id[i] < 0 || (i > 0 && l.template_id[i] <= l.template_id[i - 1])) abort();
    lafs_ijb_list_release(&l);
    return 0;
}
