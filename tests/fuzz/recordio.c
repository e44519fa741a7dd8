/* Any bytes as a RecordIO file: records come out within their bounds, what is read can be written and read again, and
 * the reader of samples gets to an end. */
#include <string.h>

#include "data/stream.h"
#include "format/recordio.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_RECORD = 1 << 20 };

/* Writes the record to `again` and compares what comes back. */
static void write_again(const struct lafs_rec *r, int fd)
{
    float label[LAFS_REC_MAX_LABELS];
    struct lafs_buf out, joined;
    struct lafs_input in;
    struct lafs_rec back;
    for (uint32_t i = 0; i < r->flag; i++) label[i] = lafs_rec_label(r, i);
    lafs_buf_init(&out);
    lafs_buf_init(&joined);
    must(lafs_rec_put(&out, r->id, r->flag, r->label, label, r->data, r->size, NULL) == LAFS_OK);
    must(lafs_input_open(&in, fuzz_put(fd, out.data, out.size), NULL) == LAFS_OK);
    must(lafs_rec_next(&in, &joined, 2 * MAX_RECORD, &back, NULL) == LAFS_OK);
    must(back.flag == r->flag && back.id == r->id && back.size == r->size);
    must(back.size == 0 || memcmp(back.data, r->data, r->size) == 0);
    must(memcmp(back.labels, r->labels, r->flag * sizeof *label) == 0 || r->flag == 0);
    must(lafs_rec_next(&in, &joined, 2 * MAX_RECORD, &back, NULL) == LAFS_END);
    lafs_input_close(&in);
    lafs_buf_release(&out);
    lafs_buf_release(&joined);
}

static void records(const char *path, int fd)
{
    struct lafs_buf joined;
    struct lafs_input in;
    struct lafs_rec r;
    struct lafs_err err = {0};
    lafs_status st;
    lafs_buf_init(&joined);
    must(lafs_input_open(&in, path, &err) == LAFS_OK);
    while ((st = lafs_rec_next(&in, &joined, MAX_RECORD, &r, &err)) == LAFS_OK || st == LAFS_BAD_RECORD)
        if (st == LAFS_OK && r.id2 == 0) write_again(&r, fd);
    must(st == LAFS_END || err.msg[0]);
    lafs_input_close(&in);
    lafs_buf_release(&joined);
}

static void samples(const char *path)
{
    struct lafs_reader_options opt = {.max_record = MAX_RECORD};
    struct lafs_reader *r;
    struct lafs_sample s;
    struct lafs_err err = {0};
    lafs_status st;
    if (lafs_reader_open(&r, &path, 1, &opt, &err) != LAFS_OK) {
        must(err.msg[0]);
        return;
    }
    lafs_sample_init(&s);
    do st = lafs_reader_next(r, &s, &err);
    while (st == LAFS_OK || st == LAFS_BAD_RECORD);
    must(st == LAFS_END || err.msg[0]);
    lafs_sample_release(&s);
    lafs_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1, other = -1;
    char path[64];
    if (fd < 0) fd = fuzz_file(), other = fuzz_file();
    snprintf(path, sizeof path, "%s", fuzz_put(fd, data, size));
    records(path, other);
    if (size >= 4 && memcmp(data, "\x0a\x23\xd7\xce", 4) == 0) samples(path);
    return 0;
}
