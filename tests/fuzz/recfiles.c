/* What lies beside a RecordIO file of three records as any bytes: its .idx up to the first byte 1, its .names up to the
 * second, then `property`. They may be refused; where they are not, the records are those three. */
#include <string.h>
#include <sys/stat.h>

#include "data/stream.h"
#include "format/recordio.h"
#include "tests/fuzz/fuzz.h"

enum { FILES = 4 };
static const char *const name[FILES] = {"x.idx", "x.names", "property", "x.rec"};
static char dir[64], path[FILES][96];

static void leave(void)
{
    for (int i = 0; i < FILES; i++) unlink(path[i]);
    rmdir(dir);
}

static void put(const char *to, const void *data, size_t size)
{
    FILE *f = fopen(to, "wb");
    must(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void enter(void)
{
    struct lafs_buf b;
    snprintf(dir, sizeof dir, "/tmp/lafs-fuzz-rec.XXXXXX");
    must(mkdtemp(dir) != NULL);
    for (int i = 0; i < FILES; i++) snprintf(path[i], sizeof path[i], "%s/%s", dir, name[i]);
    atexit(leave);
    lafs_buf_init(&b);
    for (uint64_t i = 0; i < 3; i++) /* of 36 bytes each: at 0, 36, 72 */
        must(lafs_rec_put(&b, i, 0, (float)(i / 2), NULL, "\xff\xd8\xff", 3, NULL) == LAFS_OK);
    put(path[3], b.data, b.size);
    lafs_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!dir[0]) enter();
    const uint8_t *end = data + size;
    for (int i = 0; i < FILES - 1; i++) { /* a file of which nothing is said is not there */
        const uint8_t *cut = data < end && i < 2 ? memchr(data, 1, (size_t)(end - data)) : NULL;
        const uint8_t *stop = cut ? cut : end;
        if (stop > data) put(path[i], data, (size_t)(stop - data));
        else unlink(path[i]);
        data = cut ? cut + 1 : end;
    }
    struct lafs_err err = {0};
    struct lafs_reader *r;
    struct lafs_sample s;
    const char *rec = path[3];
    int samples = 0;
    if (lafs_reader_open(&r, &rec, 1, NULL, &err) != LAFS_OK) {
        must(err.msg[0]);
        return 0;
    }
    int side = lafs_reader_header(r)->pixels.size;
    must(side >= 0 && side <= 65500);
    lafs_sample_init(&s);
    lafs_status st;
    for (; (st = lafs_reader_next(r, &s, &err)) == LAFS_OK; samples++) {
        int64_t cls;
        must(lafs_sample_int(&s, "cls", &cls, NULL) == LAFS_OK && cls == samples / 2 && lafs_sample_has(&s, "name"));
        must(strspn(lafs_sample_key(&s), "0123456789") >= 8);
    }
    must(st == LAFS_END ? samples == 3 : (st == LAFS_FAILED || st == LAFS_CUT || st == LAFS_BAD_RECORD) && err.msg[0]);
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return 0;
}
