/* The JSON reader; what it accepts, its string writer and the number parser must survive as well. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(const struct lafs_json *j, struct lafs_buf *b)
{
    for (; j; j = j->next) {
        if (j->str) lafs_json_put_string(b, j->str, strlen(j->str));
        if (j->key) lafs_json_put_string(b, j->key, strlen(j->key));
        if (j->type == LAFS_JSON_NUMBER) lafs_json_put_double(b, j->num);
        visit(j->child, b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_json *j;
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_json_put_string(&b, (const char *)data, size);
    if (lafs_json_parse(&j, (const char *)b.data, b.size, NULL) != LAFS_OK || j->type != LAFS_JSON_STRING) {
        if (!memchr(data, 0, size)) abort(); /* what the writer writes the reader reads */
    } else
        lafs_json_free(j);
    lafs_buf_clear(&b);
    if (lafs_json_parse(&j, (const char *)data, size, NULL) == LAFS_OK) {
        visit(j, &b);
        lafs_json_free(j);
    }
    lafs_buf_release(&b);
    return 0;
}
