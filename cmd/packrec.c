/* lafs-shard --to-rec */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/pack.h"
#include "cmd/packrec.h"
#include "cmd/printing.h"
#include "cmd/readall.h"
#include "data/face.h"
#include "eval/pairs.h"
#include "format/recordio.h"

enum { FLUSH_SIZE = 1 << 20, CLASSES = LAFS_REC_MAX_LABEL + 1 };

/* An output file and what is on its way into it. */
struct part {
    struct lafs_atomic file;
    struct lafs_buf buf;
    int64_t at; /* bytes so far */
};
struct rec {
    struct part rec, idx, names;
    int flat;
    int by_name;              /* 1: classes are numbers of names, in order of appearance; -1: not known yet */
    struct lafs_strset people;
    unsigned char *seen;      /* (CLASSES / 8 + 1) bit c: class c has come */
    int64_t images, swapped, labelled, last_class, top_class, named;
    float *range;             /* (ranges, 2) first and last + 1 key of each person */
    int64_t ranges, range_cap;
    int w, h;                 /* of the first picture */
    struct lafs_buf made;
};

static lafs_status flush(struct part *p, size_t least, struct lafs_err *err)
{
    LAFS_TRY(lafs_buf_check(&p->buf, err));
    if (p->buf.size < least) return LAFS_OK;
    lafs_status st = lafs_atomic_write(&p->file, p->buf.data, p->buf.size, err);
    p->at += (int64_t)p->buf.size;
    lafs_buf_clear(&p->buf);
    return st;
}

/* A record, and its line in the .idx. */
static lafs_status put_record(struct rec *r, int64_t key, uint32_t flag, float label, const float *labels,
                              const void *data, size_t size, struct lafs_err *err)
{
    lafs_buf_printf(&r->idx.buf, "%lld\t%lld\n", (long long)key, (long long)(r->rec.at + (int64_t)r->rec.buf.size));
    LAFS_TRY(lafs_rec_put(&r->rec.buf, (uint64_t)key, flag, label, labels, data, size, err));
    LAFS_TRY(flush(&r->rec, FLUSH_SIZE, err));
    return flush(&r->idx, FLUSH_SIZE, err);
}

/* ---- classes ---- */

/* The record's name, which must be one that .names can hold. LAFS_END: it has none. */
static lafs_status name_of(const struct lafs_sample *s, const char **name, size_t *len, struct lafs_err *err)
{
    LAFS_TRY(lafs_sample_str(s, "name", name, len, err));
    if (*len == 0) return LAFS_END;
    if (*len > LAFS_MAX_KEY) return lafs_fail(err, LAFS_BAD_RECORD, "a name of %zu bytes", *len);
    for (size_t i = 0; i < *len; i++)
        if ((unsigned char)(*name)[i] < 0x20)
            return lafs_fail(err, LAFS_BAD_RECORD, "a name with a control character");
    return LAFS_OK;
}

/* A new person's class is the next one; begin_class takes it. */
static lafs_status class_of(struct rec *r, const char *name, size_t len, const struct lafs_sample *s, int64_t *cls,
                            struct lafs_err *err)
{
    lafs_status st = lafs_sample_int(s, "cls", cls, err);
    if (st == LAFS_BAD_RECORD) return st;
    if (r->by_name < 0) r->by_name = st == LAFS_END;
    if (r->by_name) {
        if (st == LAFS_OK) return lafs_fail(err, LAFS_BAD_RECORD, "a class number (cls) among records with names only");
        if (len == 0) return lafs_fail(err, LAFS_BAD_RECORD, "neither a class number (cls) nor a name");
        *cls = lafs_strset_find(&r->people, name, len);
        if (*cls < 0) *cls = r->people.count;
    } else if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no class number (cls) among records with one");
    if (*cls > LAFS_REC_MAX_LABEL)
        return lafs_fail(err, LAFS_FAILED, "class %lld: RecordIO's labels are told apart only below 2^24",
                         (long long)*cls);
    return *cls < 0 ? lafs_fail(err, LAFS_BAD_RECORD, "class %lld", (long long)*cls) : LAFS_OK;
}

static lafs_status put_name(struct rec *r, const char *name, size_t len, int64_t cls, struct lafs_err *err)
{
    char digits[24];
    if (len == 0 || (snprintf(digits, sizeof digits, "%lld", (long long)cls) == (int)len && !memcmp(digits, name, len)))
        return LAFS_OK; /* a reader finds that name by itself */
    lafs_buf_printf(&r->names.buf, "%lld\t%.*s\n", (long long)cls, (int)len, name);
    r->named++;
    return lafs_buf_check(&r->names.buf, err);
}

/* The first picture of a person. */
static lafs_status begin_class(struct rec *r, const char *name, size_t len, int64_t cls, struct lafs_err *err)
{
    int64_t id;
    if (r->by_name) LAFS_TRY(lafs_strset_add(&r->people, name, len, &id, err));
    LAFS_TRY(put_name(r, name, len, cls, err));
    r->seen[cls / 8] |= (unsigned char)(1 << cls % 8);
    if (cls > r->top_class) r->top_class = cls;
    if (r->flat) return LAFS_OK;
    if (r->ranges == r->range_cap) {
        int64_t cap = r->range_cap ? 2 * r->range_cap : 1024;
        LAFS_TRY(lafs_resize(&r->range, 2 * (size_t)r->ranges, 2 * (size_t)cap, sizeof *r->range, err));
        r->range_cap = cap;
    }
    r->range[2 * r->ranges++] = (float)(r->images + 1);
    return LAFS_OK;
}

/* ---- records ---- */

/* The labels to write: those of the field `labels`, if they fit cls. *n = 0: cls alone. */
static lafs_status labels_of(const struct lafs_sample *s, int64_t cls, float *label, uint32_t *n, struct lafs_err *err)
{
    int64_t shape = -1;
    *n = 0;
    lafs_status st = lafs_sample_f32(s, "labels", &shape, 1, label, LAFS_REC_MAX_LABELS, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    if (shape < 1 || label[0] != (float)cls)
        return lafs_fail(err, LAFS_BAD_RECORD, "field 'labels' does not begin with class %lld", (long long)cls);
    *n = (uint32_t)shape;
    return LAFS_OK;
}

static lafs_status each(void *arg, struct lafs_sample *s, struct lafs_err *err)
{
    struct rec *r = arg;
    const void *data;
    float label[LAFS_REC_MAX_LABELS];
    uint32_t labels = 0;
    const char *name = "";
    size_t size = 0, len = 0;
    int64_t cls = 0;
    int swapped = 0;
    LAFS_TRY(pack_picture(s, &r->made, &data, &size, &swapped, err));
    lafs_status st = name_of(s, &name, &len, err);
    if (st != LAFS_END) LAFS_TRY(st);
    LAFS_TRY(class_of(r, name, len, s, &cls, err));
    LAFS_TRY(labels_of(s, cls, label, &labels, err));
    int known = r->seen[cls / 8] >> cls % 8 & 1;
    if (!r->flat && known && cls != r->last_class)
        return lafs_fail(err, LAFS_FAILED, "'%s': class %lld came before, and others in between: identity ranges need "
                         "each person's photos side by side (--rec-flat does without)", lafs_sample_key(s),
                         (long long)cls);
    if (!known) LAFS_TRY(begin_class(r, name, len, cls, err));
    r->last_class = cls;
    if (!r->w && lafs_photo_size(data, size, &r->w, &r->h, NULL) != LAFS_OK) r->w = r->h = 0;
    LAFS_TRY(put_record(r, r->images + !r->flat, labels, labels ? 0 : (float)cls, label, data, size, err));
    r->images++;
    r->swapped += swapped;
    r->labelled += labels > 0;
    if (!r->flat) r->range[2 * r->ranges - 1] = (float)(r->images + 1);
    if (!r->flat && r->images + r->ranges >= LAFS_REC_MAX_LABEL)
        return lafs_fail(err, LAFS_FAILED, "2^24 records or more: identity ranges would not be exact (--rec-flat)");
    return LAFS_OK;
}

/* Record 0, which stands at the beginning, is known at the end: [N0, N1]. */
static lafs_status finish_ranges(struct rec *r, struct lafs_err *err)
{
    float bounds[2] = {(float)(r->images + 1), (float)(r->images + 1 + r->ranges)};
    struct lafs_buf b;
    for (int64_t i = 0; i < r->ranges; i++)
        LAFS_TRY(put_record(r, r->images + 1 + i, 2, 0, r->range + 2 * i, "", 0, err));
    LAFS_TRY(flush(&r->rec, 0, err));
    lafs_buf_init(&b);
    lafs_status st = lafs_rec_put(&b, 0, 2, 0, bounds, "", 0, err);
    if (st == LAFS_OK) st = lafs_atomic_rewrite(&r->rec.file, 0, b.data, b.size, err);
    lafs_buf_release(&b);
    return st;
}

/* Says so where the folder's `property` was, or is also, of another .rec. */
static void warn_of_others(const char *folder, const char *own)
{
    DIR *d = opendir(folder[0] ? folder : ".");
    if (!d) return;
    for (const struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), stem = len > 4 ? len - 4 : 0;
        if (!stem || strcmp(e->d_name + stem, ".rec")) continue;
        if (stem == strlen(own) && !memcmp(e->d_name, own, stem)) continue;
        cli_warn("'%sproperty' tells of '%s.rec' now, no longer of '%s': a folder has one", folder, own, e->d_name);
        break;
    }
    closedir(d);
}

static lafs_status put_property(const struct rec *r, const char *prefix, struct lafs_err *err)
{
    struct lafs_buf path, text;
    const char *slash = strrchr(prefix, '/'), *own = slash ? slash + 1 : prefix;
    lafs_buf_init(&path);
    lafs_buf_init(&text);
    lafs_buf_put(&path, prefix, (size_t)(own - prefix));
    if (lafs_buf_str(&path)) warn_of_others(lafs_buf_str(&path), own);
    lafs_buf_puts(&path, "property");
    lafs_buf_printf(&text, "%lld,%d,%d\n", (long long)r->top_class + 1, r->h, r->w);
    lafs_status st = lafs_buf_str(&path) ? lafs_buf_check(&text, err) : lafs_buf_check(&path, err);
    if (st == LAFS_OK) st = lafs_atomic_put(lafs_buf_str(&path), text.data, text.size, err);
    lafs_buf_release(&path);
    lafs_buf_release(&text);
    return st;
}

/* The .rec comes last: where it is, all is. */
static lafs_status publish(struct rec *r, const char *prefix, struct lafs_err *err)
{
    if (!r->flat) LAFS_TRY(finish_ranges(r, err));
    LAFS_TRY(flush(&r->rec, 0, err));
    LAFS_TRY(flush(&r->idx, 0, err));
    LAFS_TRY(flush(&r->names, 0, err));
    if (r->rec.file.temp && unlink(r->rec.file.path) && errno != ENOENT)
        return lafs_fail(err, LAFS_FAILED, "cannot remove '%s': %s", r->rec.file.path, lafs_strerror(errno));
    LAFS_TRY(put_property(r, prefix, err));
    LAFS_TRY(lafs_atomic_commit(&r->idx.file, err));
    if (r->named) LAFS_TRY(lafs_atomic_commit(&r->names.file, err));
    else if (r->names.file.temp) unlink(r->names.file.path); /* of other records */
    return lafs_atomic_commit(&r->rec.file, err);
}

static lafs_status open_part(struct part *p, const char *prefix, const char *suffix, const char *const *args, int nargs,
                             struct lafs_err *err)
{
    struct lafs_buf path;
    lafs_buf_init(&path);
    lafs_buf_puts(&path, prefix);
    lafs_buf_puts(&path, suffix);
    const char *at = lafs_buf_str(&path);
    lafs_status st = at ? lafs_writer_spares(at, args, nargs, err) : lafs_buf_check(&path, err);
    if (st == LAFS_OK) st = lafs_atomic_open(&p->file, at, err);
    lafs_buf_release(&path);
    return st;
}

static lafs_status open_all(struct rec *r, const char *prefix, const char *const *args, int nargs, struct lafs_err *err)
{
    static const float unknown[2];
    const char *slash = strrchr(prefix, '/');
    if (!*prefix || (slash && !slash[1]))
        return lafs_fail(err, LAFS_USAGE, "--to-rec '%s': the name of the files is missing, as in '%strain'", prefix,
                         prefix);
    LAFS_TRY(lafs_alloc0(&r->seen, CLASSES / 8 + 1, 1, err));
    LAFS_TRY(open_part(&r->rec, prefix, ".rec", args, nargs, err));
    LAFS_TRY(open_part(&r->idx, prefix, ".idx", args, nargs, err));
    LAFS_TRY(open_part(&r->names, prefix, ".names", args, nargs, err));
    return r->flat ? LAFS_OK : put_record(r, 0, 2, 0, unknown, "", 0, err);
}

static void release(struct rec *r)
{
    struct part *all[] = {&r->rec, &r->idx, &r->names};
    for (int i = 0; i < 3; i++) {
        lafs_atomic_abort(&all[i]->file);
        lafs_buf_release(&all[i]->buf);
    }
    lafs_strset_release(&r->people);
    lafs_free(r->seen);
    lafs_free(r->range);
    lafs_buf_release(&r->made);
}

int pack_rec(const char *prefix, int flat, const struct lafs_reader_options *opt, const char *const *args, int nargs)
{
    struct rec r = {.flat = flat, .by_name = -1, .last_class = -1, .top_class = -1};
    struct readall reading = {.what = "photos", .arg = &r, .each = each, .reading = opt};
    struct readall_totals totals;
    struct lafs_err err = {0};
    r.rec.file.fd = r.idx.file.fd = r.names.file.fd = -1;
    int status = open_all(&r, prefix, args, nargs, &err) == LAFS_OK ? EXIT_DONE : cli_fail(&err);
    if (status == EXIT_DONE) status = readall_run(&reading, args, nargs, &totals);
    if (status == EXIT_DONE && publish(&r, prefix, &err) != LAFS_OK) status = cli_fail(&err);
    if (status == EXIT_DONE) {
        pack_say_swapped(r.swapped);
        if (r.flat && r.labelled)
            cli_warn("%s with several labels: a reader that looks for identity ranges, as InsightFace's does, takes "
                     "those of the first for ranges", counted(r.labelled, "records").text);
        cli_warn("%s read, %lld written%s", counted(totals.records, "photos").text, (long long)r.images,
                 totals.bad ? ", others bad" : "");
    }
    release(&r);
    return status;
}
