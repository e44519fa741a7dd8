/* What lafs-show makes of a record: its JSON is JSON, a summary and a contact sheet do no harm. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/showsheet.h"
#include "cmd/showsummary.h"
#include "cmd/showvalue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_json(const struct lafs_sample *s)
{
    struct lafs_buf b;
    struct lafs_json *j;
    lafs_buf_init(&b);
    for (int i = 0; i < s->count; i++)
        for (size_t most = 0; most < 100; most += 64) {
            lafs_buf_clear(&b);
            if (show_json(&b, s->buf.data + s->field[i].at, s->field[i].len, most, NULL) != LAFS_OK) continue;
            struct lafs_err err;
            if (lafs_json_parse(&j, (const char *)b.data, b.size, &err) == LAFS_OK) lafs_json_free(j);
            else if (!strstr(err.msg, "twice") && !strstr(err.msg, "NUL")) abort(); /* our reader is stricter in these two */
        }
    lafs_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_sample s;
    struct lafs_buf out;
    struct summary sum;
    lafs_sample_init(&s);
    if (lafs_sample_decode(&s, data, size, NULL) == LAFS_OK) {
        as_json(&s);
        lafs_buf_init(&out);
        summary_init(&sum);
        for (int k = 0; k < 2; k++) (void)summary_add(&sum, &s, NULL);
        summary_text(&sum, "fuzz", NULL, 0, &out);
        summary_release(&sum);
        for (int kind = 0; kind < 4; kind++) {
            struct sheet sheet = {.mosaic = kind & 1, .views = kind >> 1, .size = 32, .max_pixels = 1 << 16};
            if (sheet_add(&sheet, &s, NULL) == LAFS_OK) (void)sheet_jpeg(&sheet, &out, NULL);
            sheet_release(&sheet);
        }
        lafs_buf_release(&out);
    }
    lafs_sample_release(&s);
    return 0;
}
