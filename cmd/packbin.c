/* lafs-shard --to-bin */
#include <string.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/pack.h"
#include "cmd/packbin.h"
#include "cmd/printing.h"
#include "cmd/readall.h"
#include "eval/embset.h"
#include "eval/pairfield.h"
#include "format/verifyset.h"

enum { FLUSH_SIZE = 4 << 20 };

/* The pictures are held until all have come: the pairs want them in an order of their own, some of them often. */
struct bin {
    struct lafs_pairs *pairs;
    const char *file;             /* of the pairs, or NULL: the records' own */
    struct lafs_wanted want;
    struct lafs_pairfield field;
    struct lafs_buf data, made;   /* data: all pictures, one after the other */
    size_t *at;                   /* (rows + 1) where each begins */
    int64_t rows, cap, swapped;
};

static lafs_status keep_picture(struct bin *b, const struct lafs_sample *s, struct lafs_err *err)
{
    const void *data;
    size_t size = 0;
    int swapped = 0;
    LAFS_TRY(pack_picture(s, &b->made, &data, &size, &swapped, err));
    if (size >= (size_t)1 << 30) return lafs_fail(err, LAFS_BAD_RECORD, "picture of %zu bytes", size);
    if (b->rows + 1 >= b->cap) {
        int64_t cap = b->cap ? 2 * b->cap : 1024;
        LAFS_TRY(lafs_resize(&b->at, (size_t)b->cap, (size_t)cap, sizeof *b->at, err));
        b->cap = cap;
    }
    b->at[b->rows++] = b->data.size;
    lafs_buf_put(&b->data, data, size);
    b->at[b->rows] = b->data.size;
    b->swapped += swapped;
    return lafs_buf_check(&b->data, err);
}

/* A picture of some pair, without which that pair would be lost. */
static lafs_status keep_needed(struct bin *b, const struct lafs_sample *s, struct lafs_err *err)
{
    lafs_status st = keep_picture(b, s, err);
    if (st != LAFS_BAD_RECORD) return st;
    err->status = LAFS_FAILED;
    return lafs_err_prefix(err, "'%s'", lafs_sample_key(s));
}

static lafs_status each(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct bin *b = arg;
    if (!b->file) {
        LAFS_TRY(lafs_pairfield_add(&b->field, s, err));
        return keep_needed(b, s, err);
    }
    int64_t before = b->want.found;
    LAFS_TRY(lafs_wanted_mark(&b->want, lafs_sample_key(s), b->rows, err));
    return b->want.found > before ? keep_needed(b, s, err) : LAFS_OK;
}

static lafs_status find_pairs(struct bin *b, struct lafs_err *err)
{
    if (b->file) return LAFS_OK;
    LAFS_TRY(lafs_pairfield_pairs(&b->field, &b->pairs, err));
    LAFS_TRY(lafs_wanted_init(&b->want, &b->pairs->photos, err));
    for (int64_t i = 0; i < b->rows; i++) b->want.row[i] = i;
    return LAFS_OK;
}

/* Brings the pairs into the order of their folds, as whoever reads a set takes tenths of it for the folds. */
static lafs_status sort_by_fold(const struct lafs_pairs *p, int64_t *order, uint8_t *same, struct lafs_err *err)
{
    int64_t *next;
    LAFS_TRY(lafs_alloc0(&next, (size_t)p->folds + 1, sizeof *next, err));
    for (int64_t i = 0; i < p->count; i++) next[p->fold[i] + 1]++;
    for (int f = 0; f < p->folds; f++) next[f + 1] += next[f];
    for (int64_t i = 0; i < p->count; i++) {
        int64_t at = next[p->fold[i]]++;
        order[at] = i;
        same[at] = p->same[i];
    }
    lafs_free(next);
    return LAFS_OK;
}

static lafs_status write_pairs(struct bin *b, const int64_t *order, const uint8_t *same, struct lafs_atomic *f,
                               struct lafs_err *err)
{
    struct lafs_buf out;
    lafs_status st = LAFS_OK;
    lafs_buf_init(&out);
    lafs_verifyset_begin(&out);
    for (int64_t i = 0; i < 2 * b->pairs->count && st == LAFS_OK; i++) {
        int64_t photo = (i % 2 ? b->pairs->b : b->pairs->a)[order[i / 2]], row = b->want.row[photo];
        if (row < 0)
            st = lafs_fail(err, LAFS_FAILED, "'%s' is in no input: a verification set cannot leave it out",
                           lafs_strset_at(&b->pairs->photos, photo));
        else lafs_verifyset_put(&out, b->data.data + b->at[row], b->at[row + 1] - b->at[row]);
        if (st == LAFS_OK) st = lafs_buf_check(&out, err);
        if (st != LAFS_OK || out.size < FLUSH_SIZE) continue;
        st = lafs_atomic_write(f, out.data, out.size, err);
        lafs_buf_clear(&out);
    }
    lafs_verifyset_end(&out, same, b->pairs->count);
    if (st == LAFS_OK) st = lafs_buf_check(&out, err);
    if (st == LAFS_OK) st = lafs_atomic_write(f, out.data, out.size, err);
    lafs_buf_release(&out);
    return st;
}

static lafs_status publish(struct bin *b, const char *path, struct lafs_err *err)
{
    struct lafs_atomic f = {.fd = -1};
    int64_t *order = NULL;
    uint8_t *same = NULL;
    LAFS_TRY(find_pairs(b, err));
    lafs_status st = lafs_alloc(&order, (size_t)b->pairs->count, sizeof *order, err);
    if (st == LAFS_OK) st = lafs_alloc(&same, (size_t)b->pairs->count, 1, err);
    if (st == LAFS_OK) st = sort_by_fold(b->pairs, order, same, err);
    if (st == LAFS_OK) st = lafs_atomic_open(&f, path, err);
    if (st == LAFS_OK) st = write_pairs(b, order, same, &f, err);
    if (st == LAFS_OK) st = lafs_atomic_commit(&f, err);
    else lafs_atomic_abort(&f);
    lafs_free(order);
    lafs_free(same);
    return st;
}

static lafs_status prepare(struct bin *b, const char *path, const char *const *args, int nargs, struct lafs_err *err)
{
    LAFS_TRY(lafs_writer_spares(path, args, nargs, err));
    if (!b->file) return LAFS_OK;
    LAFS_TRY(lafs_pairs_read(&b->pairs, b->file, err));
    return lafs_wanted_init(&b->want, &b->pairs->photos, err);
}

int pack_bin(const char *path, const char *pairs, const struct lafs_reader_options *opt, const char *const *args,
             int nargs)
{
    struct bin b = {.file = pairs};
    struct readall reading = {.what = "photos", .arg = &b, .each = each, .reading = opt};
    struct readall_totals totals;
    struct lafs_err err = {0};
    int status = prepare(&b, path, args, nargs, &err) == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    if (status == EXIT_DONE) status = readall_run(&reading, args, nargs, &totals);
    if (status == EXIT_DONE && publish(&b, path, &err) != LAFS_OK) status = cli_fail(&err);
    if (status == EXIT_DONE) {
        pack_say_swapped(b.swapped);
        cli_warn("%s read, %s written", counted(totals.records, "photos").text, counted(b.pairs->count, "pairs").text);
    }
    lafs_wanted_release(&b.want);
    lafs_pairs_free(b.pairs);
    lafs_pairfield_release(&b.field);
    lafs_buf_release(&b.data);
    lafs_buf_release(&b.made);
    lafs_free(b.at);
    return status;
}
