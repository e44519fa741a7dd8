/* Any bytes as a verification set: images and answers can be read to their last byte, and written and read again. */
#include <string.h>

#include "format/verifyset.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_verifyset v, again;
    struct lafs_err err = {0};
    if (lafs_verifyset_parse(&v, data, size, &err) != LAFS_OK) {
        must(err.msg[0] && !v.pickle && !v.image);
        return 0;
    }
    struct lafs_buf out;
    size_t total = 0;
    for (int64_t i = 0; i < 2 * v.pairs; i++) total += v.image[i].size;
    if (total > (size_t)32 << 20) { /* the same few, very often: written, each would stand there */
        lafs_verifyset_release(&v);
        return 0;
    }
    lafs_buf_init(&out);
    lafs_verifyset_begin(&out);
    for (int64_t i = 0; i < 2 * v.pairs; i++) lafs_verifyset_put(&out, v.image[i].data, v.image[i].size);
    lafs_verifyset_end(&out, v.same, v.pairs);
    must(lafs_verifyset_parse(&again, out.data, out.size, &err) == LAFS_OK && again.pairs == v.pairs);
    for (int64_t i = 0; i < 2 * v.pairs; i++) {
        must(again.image[i].size == v.image[i].size);
        must(v.image[i].size == 0 || memcmp(again.image[i].data, v.image[i].data, v.image[i].size) == 0);
    }
    must(memcmp(again.same, v.same, (size_t)v.pairs) == 0);
    lafs_verifyset_release(&v);
    lafs_verifyset_release(&again);
    lafs_buf_release(&out);
    return 0;
}
