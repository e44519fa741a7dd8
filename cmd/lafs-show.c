/* lafs-show: look at streams, shards, indexes, models and runs. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/json.h"
#include "cmd/cli.h"
#include "cmd/readall.h"
#include "cmd/showcheck.h"
#include "cmd/showmodel.h"
#include "cmd/showsheet.h"
#include "cmd/showsummary.h"
#include "cmd/showvalue.h"
#include "data/index.h"
#include "format/npy.h"

static struct {
    int json, full, count, check, sheet, mosaic, views, curves;
    const char *npy, *keys;
    int64_t columns, cell;
} o;

static const struct cli_option table[] = {
    {"json", 0, CLI_FLAG, &o.json, NULL, "print records as JSON lines"},
    {"full", 0, CLI_FLAG, &o.full, NULL, "with --json: print all values of arrays"},
    {"count", 0, CLI_FLAG, &o.count, NULL, "print the number of records"},
    {"check", 0, CLI_FLAG, &o.check, NULL, "compare the shards of indexes with the digests there"},
    {"npy", 0, CLI_STRING, &o.npy, "FIELD", "stack the arrays or numbers of FIELD, or take the tensor FIELD, as .npy"},
    {"keys", 0, CLI_STRING, &o.keys, "FILE", "with --npy: write the key of each row to FILE", 0, 0, "as -o, but .keys"},
    {"contact-sheet", 0, CLI_FLAG, &o.sheet, NULL, "draw the pictures, with boxes, points and landmarks, as JPEG"},
    {"mosaic", 0, CLI_FLAG, &o.mosaic, NULL, "the same with patches instead of pictures"},
    {"views", 0, CLI_FLAG, &o.views, NULL, "the same with a row of views for each face"},
    {"columns", 0, CLI_INT, &o.columns, "N", "pictures in a row", 1, 4096, "as fits"},
    {"cell", 0, CLI_INT, &o.cell, "PIXELS", "side of a picture on the sheet", 16, 4096, "160, with landmarks 224"},
    {"curves", 0, CLI_FLAG, &o.curves, NULL, "draw the logs of one run or several as SVG"},
    {"output", 'o', CLI_STRING, &cli.out, "FILE", "write to FILE", 0, 0, "standard output"},
    CLI_TAKE,
    CLI_MAX_PIXELS,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_ALWAYS,
    {0}};
static const struct cli_program program = {"lafs-show", "[OPTION]... [FILE]...",
                                           "look at streams, shards, indexes, models and runs", table};

enum { SHEET_CELLS = 64, SHEET_ROWS = 12, INLINE = 64, LOOKED = 100 };

/* -- output: standard output, or a file that appears whole -- */

static struct lafs_atomic file = {.fd = -1};

static int to_file(void) { return cli.out && strcmp(cli.out, "-"); }

static lafs_status out_open(struct lafs_err *err)
{
    return to_file() ? lafs_atomic_open(&file, cli.out, err) : LAFS_OK;
}

static lafs_status out_put(const void *data, size_t size, struct lafs_err *err)
{
    if (to_file()) return lafs_atomic_write(&file, data, size, err);
    return cli_write_stdout(data, size, err);
}

static lafs_status out_commit(struct lafs_err *err) { return to_file() ? lafs_atomic_commit(&file, err) : LAFS_OK; }

/* Writes all of a buffer at once. */
static lafs_status out_buf(const struct lafs_buf *b, struct lafs_err *err)
{
    LAFS_TRY(lafs_buf_check(b, err));
    LAFS_TRY(out_open(err));
    LAFS_TRY(out_put(b->data, b->size, err));
    return out_commit(err);
}

static void no_binary_on_terminal(const char *what)
{
    if (!to_file() && isatty(STDOUT_FILENO))
        cli_misuse("not writing %s to a terminal: name a file with -o, or redirect", what);
}

/* -- --count -- */

static lafs_status count_one(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    (void)arg, (void)s, (void)err;
    return LAFS_OK;
}

static int show_count(const char *const *args, int n)
{
    struct readall_totals t;
    struct readall r = {.each = count_one};
    struct lafs_err err = {0};
    struct lafs_buf b;
    int status = readall_run(&r, args, n, &t);
    if (status != EXIT_DONE) return status;
    lafs_buf_init(&b);
    lafs_buf_printf(&b, "%lld\n", (long long)(t.records - t.bad));
    if (out_buf(&b, &err) != LAFS_OK) status = cli_fail(&err);
    lafs_buf_release(&b);
    return status;
}

/* -- --json -- */

static lafs_status print_json(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct lafs_buf *b = arg;
    lafs_buf_clear(b);
    lafs_buf_putc(b, '{');
    for (int i = 0; i < s->count; i++) {
        const struct lafs_field *f = &s->field[i];
        const char *name = (const char *)s->buf.data + f->name;
        /* Who looks at a record need not see what could be used to recognise the person. */
        int shy = f->name_len == 9 && !memcmp(name, "embedding", 9);
        if (i) lafs_buf_puts(b, ", ");
        lafs_json_put_string(b, name, f->name_len);
        lafs_buf_puts(b, ": ");
        LAFS_TRY(show_json(b, s->buf.data + f->at, f->len, o.full ? SIZE_MAX : shy ? 0 : INLINE, err));
    }
    lafs_buf_puts(b, "}\n");
    LAFS_TRY(lafs_buf_check(b, err));
    return out_put(b->data, b->size, err);
}

static int show_as_json(const char *const *args, int n)
{
    struct readall_totals t;
    struct lafs_buf b;
    struct lafs_err err = {0};
    lafs_buf_init(&b);
    struct readall r = {.each = print_json, .arg = &b};
    int status = out_open(&err) == LAFS_OK ? readall_run(&r, args, n, &t) : cli_fail(&err);
    if (status == EXIT_DONE && out_commit(&err) != LAFS_OK) status = cli_fail(&err);
    lafs_buf_release(&b);
    return status;
}

/* -- --npy -- */

struct npy {
    int64_t rows, without;
    char type[8];
    int ndim;                       /* of one row */
    int64_t shape[1 + LAFS_MAX_NDIM]; /* [0]: rows */
    struct lafs_buf keys;
    FILE *spool;                    /* rows, when they go to standard output: the header comes first */
};

/* The field as an array; numbers become arrays without dimensions. *number is where they are kept. */
static lafs_status npy_field(const struct lafs_sample *s, struct lafs_nd *a, uint64_t *number, struct lafs_err *err)
{
    const void *raw;
    size_t size;
    struct lafs_mp_value v;
    if (lafs_sample_raw(s, o.npy, &raw, &size) != LAFS_OK) return LAFS_END;
    struct lafs_walk w = {raw, (const unsigned char *)raw + size};
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type == LAFS_MP_MAP) return lafs_sample_nd(s, o.npy, a, err);
    memset(a, 0, sizeof *a);
    a->count = 1;
    a->item = 8;
    a->data = number;
    if (v.type == LAFS_MP_INT || v.type == LAFS_MP_BOOL) {
        memcpy(number, &v.i, 8);
        memcpy(a->type, "<i8", 4);
    } else if (v.type == LAFS_MP_FLOAT) {
        memcpy(number, &v.f, 8);
        memcpy(a->type, "<f8", 4);
    } else return lafs_fail(err, LAFS_FAILED, "field '%s' is neither array nor number: --json shows it", o.npy);
    return LAFS_OK;
}

static lafs_status npy_row(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct npy *n = arg;
    struct lafs_nd a;
    uint64_t number;
    lafs_status st = npy_field(s, &a, &number, err);
    if (st == LAFS_END) {
        n->without++;
        return LAFS_OK;
    }
    LAFS_TRY(st);
    if (n->rows == 0) {
        memcpy(n->type, a.type, sizeof n->type);
        n->ndim = a.ndim;
        for (int d = 0; d < a.ndim; d++) n->shape[1 + d] = a.shape[d];
    }
    int fits = a.ndim == n->ndim && !strcmp(a.type, n->type);
    for (int d = 0; fits && d < a.ndim; d++) fits = a.shape[d] == n->shape[1 + d];
    if (!fits)
        return lafs_fail(err, LAFS_FAILED, "'%s': field '%s' has another type or shape than in the records before",
                         lafs_sample_key(s), o.npy);
    n->rows++;
    lafs_buf_puts(&n->keys, lafs_sample_key(s));
    lafs_buf_putc(&n->keys, '\n');
    LAFS_TRY(lafs_buf_check(&n->keys, err));
    if (!n->spool) return out_put(a.data, a.count * a.item, err);
    if (fwrite(a.data, a.item, a.count, n->spool) == a.count) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "cannot write a temporary file: %s", lafs_strerror(errno));
}

static lafs_status npy_begin(struct npy *n, struct lafs_err *err)
{
    static const unsigned char nothing[LAFS_NPY_HEADER];
    lafs_buf_init(&n->keys);
    LAFS_TRY(out_open(err));
    if (to_file()) return out_put(nothing, sizeof nothing, err);
    n->spool = tmpfile();
    return n->spool ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "cannot make a temporary file: %s", lafs_strerror(errno));
}

/* The keys' file where none is named: known before anything is written, as it must be checked like any output. */
static lafs_status name_keys(struct lafs_buf *path, struct lafs_err *err)
{
    if (!o.npy || o.keys || !to_file()) return LAFS_OK;
    size_t len = strlen(cli.out);
    if (len > 4 && !strcmp(cli.out + len - 4, ".npy")) len -= 4;
    lafs_buf_put(path, cli.out, len);
    lafs_buf_puts(path, ".keys");
    o.keys = lafs_buf_str(path);
    return lafs_buf_check(path, err);
}

static lafs_status npy_end(struct npy *n, struct lafs_err *err)
{
    unsigned char head[LAFS_NPY_HEADER], block[65536];
    size_t got;
    if (n->rows == 0) return lafs_fail(err, LAFS_FAILED, "no record has the field '%s'", o.npy);
    if (n->without) cli_warn("%lld records have no field '%s'", (long long)n->without, o.npy);
    n->shape[0] = n->rows;
    LAFS_TRY(lafs_npy_header(head, n->type, n->shape, n->ndim + 1, err));
    if (n->spool) {
        rewind(n->spool);
        LAFS_TRY(out_put(head, sizeof head, err));
        while ((got = fread(block, 1, sizeof block, n->spool)) > 0) LAFS_TRY(out_put(block, got, err));
        if (ferror(n->spool))
            return lafs_fail(err, LAFS_FAILED, "cannot read a temporary file: %s", lafs_strerror(errno));
    } else LAFS_TRY(lafs_atomic_rewrite(&file, 0, head, sizeof head, err));
    if (o.keys) LAFS_TRY(lafs_atomic_put(o.keys, n->keys.data, n->keys.size, err));
    return out_commit(err);
}

static int show_npy(const char *const *args, int n)
{
    struct npy npy = {0};
    struct readall_totals t;
    struct readall r = {.each = npy_row, .arg = &npy};
    struct lafs_err err = {0};
    no_binary_on_terminal("an array");
    int status = npy_begin(&npy, &err) == LAFS_OK ? readall_run(&r, args, n, &t) : cli_fail(&err);
    if (status == EXIT_DONE && npy_end(&npy, &err) != LAFS_OK) status = cli_fail(&err);
    if (npy.spool) fclose(npy.spool);
    lafs_buf_release(&npy.keys);
    return status;
}

/* -- contact sheets -- */

struct sheet_job {
    struct sheet sheet;
    int64_t records;
};

static lafs_status sheet_record(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct sheet_job *j = arg;
    if (cli.take < 0 && j->records >= (o.views ? SHEET_ROWS : SHEET_CELLS)) return LAFS_END;
    j->records++;
    return sheet_add(&j->sheet, s, err);
}

static int show_sheet(const char *const *args, int n)
{
    struct sheet_job j = {.sheet = {.mosaic = o.mosaic,
                                    .views = o.views,
                                    .size = (int)o.cell,
                                    .columns = (int)o.columns,
                                    .max_pixels = cli.max_pixels}};
    struct readall_totals t;
    struct readall r = {.each = sheet_record, .arg = &j, .what = "pictures"};
    struct lafs_err err = {0};
    struct lafs_buf jpeg;
    no_binary_on_terminal("a picture");
    lafs_buf_init(&jpeg);
    int status = readall_run(&r, args, n, &t);
    if (status == EXIT_DONE && (sheet_jpeg(&j.sheet, &jpeg, &err) != LAFS_OK || out_buf(&jpeg, &err) != LAFS_OK))
        status = cli_fail(&err);
    lafs_buf_release(&jpeg);
    sheet_release(&j.sheet);
    return status;
}

/* -- summaries -- */

static lafs_status summary_begin(void *arg, const struct lafs_header *h, struct lafs_err *err)
{
    return summary_header(arg, h, err);
}

static lafs_status summary_record(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct summary *sum = arg;
    sum->records++;
    return summary_add(sum, s, err);
}

static int summarise_stream(const char *const *args, int n)
{
    struct summary s;
    struct readall_totals t;
    struct lafs_err err = {0};
    struct lafs_buf text;
    char what[300];
    summary_init(&s);
    lafs_buf_init(&text);
    struct readall r = {.header = summary_begin, .each = summary_record, .arg = &s};
    int status = readall_run(&r, args, n, &t);
    if (status == EXIT_DONE) {
        s.records = t.records;
        snprintf(what, sizeof what, "%.200s%s: records", n ? args[0] : "standard input", n > 1 ? " and others" : "");
        summary_text(&s, what, &t.upstream, t.bad, &text);
        if (out_buf(&text, &err) != LAFS_OK) status = cli_fail(&err);
    }
    lafs_buf_release(&text);
    summary_release(&s);
    return status;
}

/* The fields of a few samples, spread over all shards. */
static lafs_status look_at_samples(struct summary *s, const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_fetch *fetch;
    struct lafs_sample sample;
    int64_t n = ix->samples < LOOKED ? ix->samples : LOOKED;
    LAFS_TRY(lafs_fetch_open(&fetch, ix, err));
    lafs_sample_init(&sample);
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < n && st == LAFS_OK; i++) {
        st = lafs_fetch_sample(fetch, i, &sample, err);
        if (st == LAFS_OK) st = summary_add(s, &sample, err);
    }
    lafs_sample_release(&sample);
    lafs_fetch_close(fetch);
    return st;
}

static lafs_status index_summary(const char *path, const struct lafs_index *ix, struct summary *s,
                                 struct lafs_buf *text, struct lafs_err *err)
{
    struct lafs_header h;
    char what[300];
    int64_t bytes = 0;
    lafs_header_init(&h);
    lafs_status st = lafs_index_header(ix, &h, err);
    if (st == LAFS_OK) st = summary_header(s, &h, err);
    lafs_header_release(&h);
    LAFS_TRY(st);
    LAFS_TRY(look_at_samples(s, ix, err));
    lafs_strset_release(&s->people); /* the index knows all names */
    for (int64_t i = 0; i < ix->samples; i++)
        if (ix->sample[i].name[0]) LAFS_TRY(summary_name(s, ix->sample[i].name, strlen(ix->sample[i].name), err));
    s->records = ix->samples;
    for (int64_t i = 0; i < ix->shards; i++) bytes += ix->shard[i].size;
    snprintf(what, sizeof what, "%.200s: an index of %lld %s, %.1f MB", path, (long long)ix->shards,
             ix->shards == 1 ? "shard" : "shards", (double)bytes / 1e6);
    summary_text(s, what, NULL, 0, text);
    return LAFS_OK;
}

static int summarise_index(const char *path)
{
    struct summary s;
    struct lafs_index *ix;
    struct lafs_err err = {0};
    struct lafs_buf text;
    if (lafs_index_read(&ix, path, &err) != LAFS_OK) return cli_fail(&err);
    summary_init(&s);
    lafs_buf_init(&text);
    lafs_status st = index_summary(path, ix, &s, &text, &err);
    if (st == LAFS_OK) st = out_buf(&text, &err);
    lafs_buf_release(&text);
    summary_release(&s);
    lafs_index_free(ix);
    return st == LAFS_OK ? EXIT_DONE : cli_fail(&err);
}

/* -- which of them -- */

static int is_index(const char *path)
{
    char b[10];
    return first_bytes(path, b, sizeof b) == sizeof b && !memcmp(b, "lafs-index", sizeof b);
}

/* All indexes are looked at, whatever is wrong with the first. */
static int show_check(const char *const *args, int n)
{
    struct lafs_buf b;
    struct lafs_err err = {0};
    int status = EXIT_DONE;
    if (n < 1) cli_misuse("--check wants indexes");
    for (int i = 0; i < n; i++)
        if (access(args[i], F_OK) == 0 && !is_index(args[i]))
            cli_misuse("'%s' is no index: what is in shards and streams is checked as they are read, by --count too",
                       args[i]);
    lafs_buf_init(&b);
    for (int i = 0; i < n; i++)
        if (check_index(args[i], &b, &err) != LAFS_OK) status = cli_fail(&err);
    if (b.size && out_buf(&b, &err) != LAFS_OK) status = cli_fail(&err);
    lafs_buf_release(&b);
    return status;
}

/* Output that is made in one piece. */
static int show_whole(lafs_status st, struct lafs_buf *b, struct lafs_err *err)
{
    if (st == LAFS_OK) st = out_buf(b, err);
    lafs_buf_release(b);
    return st == LAFS_OK ? EXIT_DONE : cli_fail(err);
}

static int show_model(const char *path)
{
    struct lafs_buf b;
    struct lafs_err err = {0};
    if (o.count || o.sheet || o.mosaic || o.views || o.curves)
        cli_misuse("'%s' is a model: it has no records, pictures or curves", path);
    lafs_buf_init(&b);
    if (o.npy) {
        no_binary_on_terminal("an array");
        return show_whole(model_npy(path, o.npy, &b, &err), &b, &err);
    }
    return show_whole(model_text(path, o.json, &b, &err), &b, &err);
}

static int show_run(const char *path)
{
    struct lafs_buf b;
    struct lafs_err err = {0};
    if (o.count || o.sheet || o.mosaic || o.views || o.npy)
        cli_misuse("'%s' is a training run: it has no records", path);
    lafs_buf_init(&b);
    return show_whole(run_text(path, o.json, &b, &err), &b, &err);
}

static int show_records(const char *const *args, int n)
{
    if (o.count) return show_count(args, n);
    if (o.json) return show_as_json(args, n);
    if (o.npy) return show_npy(args, n);
    if (o.sheet || o.mosaic || o.views) return show_sheet(args, n);
    if (n == 1 && cli.take < 0 && is_index(args[0])) return summarise_index(args[0]);
    return summarise_stream(args, n);
}

int main(int argc, char **argv)
{
    int n, status;
    const char *const *args = (const char *const *)cli_parse(&program, argc, argv, &n);
    int modes = o.json + o.count + o.check + (o.npy != NULL) + (o.sheet || o.mosaic || o.views) + o.curves;
    if (modes > 1) cli_misuse("one of --json, --count, --check, --npy, --contact-sheet, --curves at a time");
    if (o.full && !o.json) cli_misuse("--full goes with --json");
    if (o.keys && !o.npy) cli_misuse("--keys goes with --npy");
    if ((o.columns || o.cell) && !(o.sheet || o.mosaic || o.views))
        cli_misuse("--columns and --cell go with --contact-sheet, --mosaic and --views");
    struct lafs_buf keys;
    struct lafs_err err = {0};
    lafs_buf_init(&keys);
    if (name_keys(&keys, &err) != LAFS_OK) return cli_finish(cli_fail(&err));
    cli_separate((const char *const *const[]){&o.keys, &cli.out, &cli.rejects, NULL});
    if (o.curves) cli_picture_name(cli.out, "SVG");
    if (o.sheet || o.mosaic || o.views) cli_picture_name(cli.out, "JPEG");
    if ((to_file() && lafs_writer_spares(cli.out, args, n, &err) != LAFS_OK) ||
        (o.keys && lafs_writer_spares(o.keys, args, n, &err) != LAFS_OK))
        return cli_finish(cli_fail(&err));
    if (o.check) status = show_check(args, n);
    else if (o.curves) {
        struct lafs_buf b;
        if (n < 1) cli_misuse("--curves wants run directories, or their log.jsonl");
        lafs_buf_init(&b);
        status = show_whole(run_curves(args, n, &b, &err), &b, &err);
    } else if (n == 1 && is_run(args[0])) status = show_run(args[0]);
    else if (n == 1 && is_model(args[0])) status = show_model(args[0]);
    else status = show_records(args, n);
    if (status != EXIT_DONE) lafs_atomic_abort(&file);
    lafs_buf_release(&keys);
    return cli_finish(status);
}
