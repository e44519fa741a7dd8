/* Any bytes as a stream: read from a file at once, and from a pipe in pieces of odd sizes, it gives the same records, the
 * same bad ones and the same end; and what is read can be read again as a stream of ours. */
#include <fcntl.h>
#include <string.h>

#include "data/source.h"
#include "tests/fuzz/fuzz.h"

enum { MOST_PIECES = 200, MAX_RECORD = 1 << 20 };

/* What came of an input: its records one behind the other, how many were bad, how it ended. */
struct result {
    struct lafs_buf records;
    int good, bad;
    lafs_status end;
};

static void read_all(int fd, struct result *r)
{
    char path[64];
    const char *paths[] = {path};
    struct lafs_reader_options opt = {.max_record = MAX_RECORD, .names = LAFS_NAMES_NONE};
    struct lafs_reader *reader;
    struct lafs_sample s;
    struct lafs_err err = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lafs_buf_init(&r->records);
    r->good = r->bad = 0;
    r->end = lafs_reader_open(&reader, paths, 1, &opt, &err);
    must(r->end == LAFS_OK || err.msg[0]);
    if (r->end != LAFS_OK) return;
    lafs_sample_init(&s);
    while ((r->end = lafs_reader_next(reader, &s, &err)) == LAFS_OK || r->end == LAFS_BAD_RECORD) {
        if (r->end == LAFS_OK) lafs_sample_encode(&s, &r->records);
        *(r->end == LAFS_OK ? &r->good : &r->bad) += 1;
    }
    must(r->end == LAFS_END || err.msg[0]);
    must(lafs_reader_next(reader, &s, &err) == r->end);
    const char *first;
    if (lafs_reader_ignored(reader, &first)) must(first != NULL);
    if (r->end == LAFS_END) must(lafs_reader_totals(reader)->count <= r->good + r->bad);
    lafs_sample_release(&s);
    lafs_reader_close(reader);
}

static void from_memory(const uint8_t *data, size_t size, struct result *r)
{
    int fd = fuzz_file();
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    read_all(fd, r);
    close(fd);
}

/* A pipe of packets: each read gives one piece. */
static void from_pipe(const uint8_t *data, size_t size, struct result *r)
{
    int fd[2];
    size_t step = size / MOST_PIECES + 1, at = 0, n;
    must(pipe2(fd, O_DIRECT | O_CLOEXEC) == 0);
    must(fcntl(fd[1], F_SETPIPE_SZ, 1 << 20) >= 0);
    if (size) step += data[size / 2] % 7 * (data[size - 1] & 31);
    for (; at < size; at += n) {
        n = size - at < step ? size - at : step;
        if (n > 4096) n = 4096;
        must(write(fd[1], data + at, n) == (ssize_t)n);
    }
    close(fd[1]);
    read_all(fd[0], r);
    close(fd[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result a, b;
    enum lafs_kind kind = lafs_input_kind(data, size < 512 ? size : 512);
    if (kind == LAFS_KIND_TAR || kind == LAFS_KIND_INDEX || size > MOST_PIECES * 4096) return -1; /* of target `tar` */
    from_memory(data, size, &a);
    from_pipe(data, size, &b);
    must(a.end == b.end && a.good == b.good && a.bad == b.bad && a.records.size == b.records.size);
    must(a.records.size == 0 || memcmp(a.records.data, b.records.data, a.records.size) == 0);
    lafs_buf_release(&b.records);
    /* Bare maps one behind the other are a stream. */
    from_memory(a.records.data, a.records.size, &b);
    must(a.good == 0 ? b.end == LAFS_CUT : b.end == LAFS_END && b.good == a.good && b.bad == 0);
    lafs_buf_release(&a.records);
    lafs_buf_release(&b.records);
    return 0;
}
