/* Any bytes as a stream of records that state their pairs: what is made of them can be compared. */
#include <string.h>

#include "data/stream.h"
#include "eval/pairfield.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct lafs_pairs *p, int64_t added)
{
    must(p->count >= 1 && p->count <= added && p->photos.count >= added && p->photos.count <= 2 * added);
    must(p->folds >= 1 && p->folds <= p->count);
    for (int64_t i = 0; i < p->count; i++) {
        must(p->a[i] >= 0 && p->a[i] < added && p->b[i] >= 0 && p->b[i] < p->photos.count && p->a[i] != p->b[i]);
        must(p->same[i] <= 1 && p->fold[i] >= 0 && p->fold[i] < p->folds);
        must((p->person[p->a[i]] == p->person[p->b[i]]) == p->same[i]);
    }
    for (int64_t i = 0; i < p->photos.count; i++) must(p->person[i] >= 0 && p->person[i] < p->people.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = fuzz_file();
    struct lafs_reader_options opt = {.names = LAFS_NAMES_NONE};
    struct lafs_pairfield f = {0};
    struct lafs_pairs *p = NULL;
    struct lafs_reader *r;
    struct lafs_sample s;
    struct lafs_err err = {0};
    const char *path = fuzz_put(fd, data, size);
    if (lafs_reader_open(&r, &path, 1, &opt, &err) != LAFS_OK) return 0;
    lafs_sample_init(&s);
    lafs_status st;
    while ((st = lafs_reader_next(r, &s, &err)) == LAFS_OK || st == LAFS_BAD_RECORD) {
        err.msg[0] = 0;
        if (st != LAFS_OK || (st = lafs_pairfield_add(&f, &s, &err)) == LAFS_OK) continue;
        must(st == LAFS_FAILED && strstr(err.msg, lafs_sample_key(&s)) != NULL);
        break;
    }
    int64_t added = f.count;
    err.msg[0] = 0;
    st = lafs_pairfield_pairs(&f, &p, &err);
    must(st == LAFS_OK ? p != NULL : st == LAFS_FAILED && !p && err.msg[0]);
    if (p) check(p, added);
    lafs_pairs_free(p);
    lafs_pairfield_release(&f);
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return 0;
}
