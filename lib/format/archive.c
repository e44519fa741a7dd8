#include "format/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#ifndef LAFS_LIBARCHIVE
#define LAFS_LIBARCHIVE "libarchive.so.13" /* the Makefile gives the name that this machine links with */
#endif

/* ---- libarchive, loaded when the first archive is opened ----
 *
 * It brings XML, Unicode and cryptography: libraries whose loading would take twice as long as all the rest of a small
 * program's start, and most runs see no archive. */

/* clang-format off */
#define EACH_FUNCTION(X)                                                                                              \
    X(archive_entry_clear) X(archive_entry_copy_pathname) X(archive_entry_filetype) X(archive_entry_free)             \
    X(archive_entry_hardlink) X(archive_entry_new) X(archive_entry_pathname) X(archive_entry_pathname_utf8)           \
    X(archive_entry_set_filetype) X(archive_entry_set_mtime) X(archive_entry_set_perm) X(archive_entry_set_size)      \
    X(archive_entry_size) X(archive_errno) X(archive_error_string) X(archive_filter_bytes) X(archive_filter_count)    \
    X(archive_filter_name) X(archive_read_data) X(archive_read_data_skip) X(archive_read_free)                        \
    X(archive_read_header_position) X(archive_read_new) X(archive_read_next_header) X(archive_read_open1)             \
    X(archive_read_open_memory) X(archive_read_set_callback_data)                                                     \
    X(archive_read_set_format_option) X(archive_read_set_read_callback) X(archive_read_set_skip_callback)             \
    X(archive_read_support_filter_gzip) X(archive_read_support_filter_zstd) X(archive_read_support_format_tar)        \
    X(archive_read_support_format_zip_seekable) X(archive_set_error) X(archive_write_close) X(archive_write_data)     \
    X(archive_write_finish_entry) X(archive_write_free) X(archive_write_header) X(archive_write_new)                  \
    X(archive_write_open) X(archive_write_set_bytes_in_last_block) X(archive_write_set_bytes_per_block)               \
    X(archive_write_set_format_option) X(archive_write_set_format_pax_restricted)
/* clang-format on */

static struct {
#define X(name) __typeof__(name) *name;
    EACH_FUNCTION(X)
#undef X
} la;

static pthread_once_t load_once = PTHREAD_ONCE_INIT;
static struct lafs_err load_err;

static void load(void)
{
    void *so = dlopen(LAFS_LIBARCHIVE, RTLD_LAZY | RTLD_GLOBAL), *at = so;
    const char *missing = NULL;
#define X(name)                                          \
    if (at && !(at = dlsym(so, #name))) missing = #name; \
    *(void **)&la.name = at;
    EACH_FUNCTION(X)
#undef X
    if (!so) lafs_fail(&load_err, LAFS_FAILED, "cannot load libarchive: %s", dlerror());
    else if (missing) lafs_fail(&load_err, LAFS_FAILED, "'%s' has no '%s'", LAFS_LIBARCHIVE, missing);
}

lafs_status lafs_archive_load(struct lafs_err *err)
{
    pthread_once(&load_once, load);
    if (load_err.status != LAFS_OK && err) *err = load_err;
    return load_err.status;
}

enum { MTIME = 1000000000, ZERO_BLOCKS = 1024, BLOCK = 512 };

struct lafs_archive {
    struct archive *a;
    struct archive_entry *entry;
    int is_zip;
    struct lafs_input *in;  /* NULL: from memory */
    size_t taken;           /* bytes of `in` that libarchive looks at now */
    struct lead *lead;      /* NULL: not a tar in memory */
    char name[256];         /* for messages */
    int64_t last_end;
    lafs_status broken;     /* the input itself failed, with `why` */
    struct lafs_err why;
};

/* ---- reading ---- */

/* A tar in memory, and a member before it that is always in order: a first header is looked at more strictly than one
 * in the middle, and what lies in memory may be any member of an archive. */
struct lead {
    char header[BLOCK];
    const void *data;
    size_t size;
    int given; /* blocks of the two */
};

static void make_lead(struct lead *l, const void *data, size_t size)
{
    unsigned sum = 0;
    memset(l, 0, sizeof *l);
    memcpy(l->header, "lead", 4);
    memcpy(l->header + 100, "0000444", 7);
    memcpy(l->header + 124, "00000000000", 11);
    memcpy(l->header + 136, "00000000000", 11);
    memcpy(l->header + 148, "        ", 8);
    l->header[156] = '0';
    memcpy(l->header + 257, "ustar\0" "00", 8);
    for (int i = 0; i < BLOCK; i++) sum += (unsigned char)l->header[i];
    snprintf(l->header + 148, 7, "%06o", sum);
    l->data = data;
    l->size = size;
}

static la_ssize_t read_memory(struct archive *a, void *arg, const void **block)
{
    struct lead *l = arg;
    (void)a;
    *block = l->given ? l->data : l->header;
    return l->given++ == 0 ? BLOCK : l->given == 2 ? (la_ssize_t)l->size : 0;
}

static la_ssize_t read_block(struct archive *a, void *arg, const void **block)
{
    struct lafs_archive *t = arg;
    lafs_input_take(t->in, t->taken);
    t->taken = 0;
    if (lafs_input_fill(t->in, 1, &t->why) != LAFS_OK) {
        t->broken = LAFS_FAILED;
        la.archive_set_error(a, EIO, "read error");
        return -1;
    }
    *block = lafs_input_data(t->in);
    t->taken = lafs_input_left(t->in);
    return (la_ssize_t)t->taken;
}

static la_int64_t skip_bytes(struct archive *a, void *arg, la_int64_t request)
{
    (void)a;
    struct lafs_archive *t = arg;
    lafs_input_take(t->in, t->taken);
    t->taken = 0;
    return lafs_input_seek(t->in, request) ? request : 0;
}

static const char *member_name(const struct lafs_archive *t)
{
    const char *name = la.archive_entry_pathname(t->entry);
    if (!name) name = la.archive_entry_pathname_utf8(t->entry);
    return name ? name : "";
}

/* How much of the archive has been read. */
static int64_t place(const struct lafs_archive *t)
{
    return la.archive_filter_bytes(t->a, 0) - (t->lead ? BLOCK : 0);
}

/* What libarchive says, told apart: the input failed, it ended too early, or it holds nonsense. */
static lafs_status archive_failure(struct lafs_archive *t, struct lafs_err *err)
{
    const char *why = la.archive_error_string(t->a);
    if (t->broken != LAFS_OK) return lafs_fail(err, t->broken, "%s", t->why.msg);
    if (la.archive_errno(t->a) == ENOMEM) return lafs_fail(err, LAFS_FAILED, "out of memory reading %s", t->name);
    if (t->in && t->in->eof && lafs_input_left(t->in) == t->taken)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: %s", t->name, why ? why : "unexpected end");
    if (!why) why = t->is_zip ? "no zip member" : "no tar member";
    if (t->is_zip && t->entry)
        return lafs_fail(err, LAFS_FAILED, "%s is damaged in '%.200s': %s", t->name, member_name(t), why);
    return lafs_fail(err, LAFS_FAILED, "%s is damaged behind byte %lld: %s", t->name, (long long)place(t), why);
}

static lafs_status configure(struct lafs_archive *t, struct lafs_err *err)
{
    t->a = la.archive_read_new();
    if (!t->a) return lafs_fail(err, LAFS_FAILED, "out of memory");
    if (la.archive_read_support_format_tar(t->a) != ARCHIVE_OK ||
        la.archive_read_set_format_option(t->a, "tar", "read_concatenated_archives", "1") != ARCHIVE_OK)
        return lafs_fail(err, LAFS_FAILED, "this libarchive cannot read tar");
    return LAFS_OK;
}

/* A filter that is not built in would run a program: ARCHIVE_WARN tells. */
static lafs_status add_filter(struct lafs_archive *t, const unsigned char *p, size_t size, struct lafs_err *err)
{
    int st = ARCHIVE_OK;
    if (size >= 2 && memcmp(p, "\x1f\x8b", 2) == 0) st = la.archive_read_support_filter_gzip(t->a);
    if (size >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0) st = la.archive_read_support_filter_zstd(t->a);
    if (st != ARCHIVE_OK) return lafs_fail(err, LAFS_FAILED, "this libarchive cannot unpack %s", t->name);
    return LAFS_OK;
}

static lafs_status open_input(struct lafs_archive *t, struct lafs_err *err)
{
    LAFS_TRY(configure(t, err));
    LAFS_TRY(lafs_input_fill(t->in, 512, err));
    size_t have = lafs_input_left(t->in);
    if (have == 0) return lafs_fail(err, LAFS_CUT, "%s is empty", t->name);
    LAFS_TRY(add_filter(t, lafs_input_data(t->in), have, err));
    la.archive_read_set_skip_callback(t->a, skip_bytes);
    la.archive_read_set_read_callback(t->a, read_block);
    la.archive_read_set_callback_data(t->a, t);
    if (la.archive_read_open1(t->a) == ARCHIVE_OK) return LAFS_OK;
    if (t->broken == LAFS_OK && have < 512)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: less than one tar block", t->name);
    return archive_failure(t, err);
}

static lafs_status new_archive(struct lafs_archive **out, int is_zip, struct lafs_input *in, const char *name,
                               struct lafs_err *err)
{
    LAFS_TRY(lafs_archive_load(err));
    LAFS_TRY(lafs_alloc0(out, 1, sizeof **out, err));
    (*out)->is_zip = is_zip;
    (*out)->in = in;
    size_t n = strlen(name);
    if (n >= sizeof (*out)->name) n = sizeof (*out)->name - 1;
    memcpy((*out)->name, name, n);
    return LAFS_OK;
}

static lafs_status keep_or_close(struct lafs_archive **out, lafs_status st)
{
    if (st == LAFS_OK) return st;
    lafs_archive_close(*out);
    *out = NULL;
    return st;
}

lafs_status lafs_tar_open(struct lafs_archive **out, struct lafs_input *in, struct lafs_err *err)
{
    LAFS_TRY(new_archive(out, 0, in, in->name, err));
    return keep_or_close(out, open_input(*out, err));
}

lafs_status lafs_tar_open_memory(struct lafs_archive **out, const void *data, size_t size, const char *name,
                                 struct lafs_err *err)
{
    LAFS_TRY(new_archive(out, 0, NULL, name, err));
    struct lafs_archive *t = *out;
    lafs_status st = lafs_alloc(&t->lead, 1, sizeof *t->lead, err);
    if (st == LAFS_OK) st = configure(t, err);
    if (st == LAFS_OK) {
        make_lead(t->lead, data, size);
        la.archive_read_set_read_callback(t->a, read_memory);
        la.archive_read_set_callback_data(t->a, t->lead);
        if (la.archive_read_open1(t->a) != ARCHIVE_OK || la.archive_read_next_header(t->a, &t->entry) != ARCHIVE_OK)
            st = archive_failure(t, err);
        t->entry = NULL;
    }
    return keep_or_close(out, st);
}

lafs_status lafs_zip_open_memory(struct lafs_archive **out, const void *data, size_t size, const char *name,
                                 struct lafs_err *err)
{
    LAFS_TRY(new_archive(out, 1, NULL, name, err));
    struct archive *a = (*out)->a = la.archive_read_new();
    lafs_status st = a ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "out of memory");
    if (st == LAFS_OK && la.archive_read_support_format_zip_seekable(a) != ARCHIVE_OK)
        st = lafs_fail(err, LAFS_FAILED, "this libarchive cannot read zip");
    if (st == LAFS_OK && la.archive_read_open_memory(a, data, size) != ARCHIVE_OK)
        st = lafs_fail(err, LAFS_FAILED, "%s is cut off: it lacks the directory at its end", name);
    return keep_or_close(out, st);
}

void lafs_archive_close(struct lafs_archive *t)
{
    if (!t) return;
    if (t->a) la.archive_read_free(t->a);
    lafs_free(t->lead);
    lafs_free(t);
}

/* Passes over the rest of the member, so that the position is that of its end, padding included. */
static lafs_status finish_member(struct lafs_archive *t, struct lafs_err *err)
{
    if (!t->entry) return LAFS_OK;
    int st = la.archive_read_data_skip(t->a);
    if (st != ARCHIVE_OK && st != ARCHIVE_WARN && st != ARCHIVE_EOF) return archive_failure(t, err);
    t->last_end = place(t);
    t->entry = NULL;
    return LAFS_OK;
}

static lafs_status check_end(struct lafs_archive *t, struct lafs_err *err)
{
    if (t->in && place(t) - t->last_end < ZERO_BLOCKS)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: no two zero blocks at its end", t->name);
    return LAFS_END;
}

lafs_status lafs_archive_next(struct lafs_archive *t, struct lafs_archive_member *m, struct lafs_err *err)
{
    LAFS_TRY(finish_member(t, err));
    int st = la.archive_read_next_header(t->a, &t->entry);
    if (st == ARCHIVE_EOF) {
        t->entry = NULL;
        return check_end(t, err);
    }
    /* ARCHIVE_WARN: a name that the locale cannot show, an odd attribute; the bytes of the name are there. */
    if (st != ARCHIVE_OK && st != ARCHIVE_WARN) {
        t->entry = NULL;
        return archive_failure(t, err);
    }
    m->name = member_name(t);
    m->size = la.archive_entry_size(t->entry);
    m->offset = la.archive_read_header_position(t->a) - (t->lead ? BLOCK : 0);
    m->link = la.archive_entry_filetype(t->entry) == AE_IFLNK || la.archive_entry_hardlink(t->entry) != NULL;
    m->regular = la.archive_entry_filetype(t->entry) == AE_IFREG && !m->link && m->size >= 0;
    return LAFS_OK;
}

/* Only who reads on behind a member's last byte is told that its checksum was wrong. */
static lafs_status check_zip_end(struct lafs_archive *t, struct lafs_err *err)
{
    char more;
    la_ssize_t n = la.archive_read_data(t->a, &more, 1);
    if (n == 0) return LAFS_OK;
    if (n < 0) return archive_failure(t, err);
    return lafs_fail(err, LAFS_FAILED, "%s is damaged in '%.200s': longer than stated", t->name, member_name(t));
}

lafs_status lafs_archive_data(struct lafs_archive *t, size_t max, struct lafs_buf *out, struct lafs_err *err)
{
    int64_t size = la.archive_entry_size(t->entry);
    if (size < 0 || (uint64_t)size > max)
        return lafs_fail(err, LAFS_BAD_RECORD, "member of more than %zu bytes", max);
    size_t done = 0, want = (size_t)size;
    lafs_buf_reserve(out, 1); /* an empty member too has an address */
    LAFS_TRY(lafs_buf_check(out, err));
    while (done < want) {
        /* A size is not believed before its bytes arrive. */
        size_t step = want - done < 1 << 20 ? want - done : 1 << 20;
        lafs_buf_reserve(out, step);
        LAFS_TRY(lafs_buf_check(out, err));
        la_ssize_t n = la.archive_read_data(t->a, out->data + out->size, step);
        if (n <= 0) return archive_failure(t, err);
        out->size += (size_t)n;
        done += (size_t)n;
    }
    return t->is_zip ? check_zip_end(t, err) : LAFS_OK;
}

int64_t lafs_tar_last_end(const struct lafs_archive *t) { return t->last_end; }

const char *lafs_tar_filter(const struct lafs_archive *t)
{
    return la.archive_filter_count(t->a) > 1 ? la.archive_filter_name(t->a, 0) : NULL;
}

/* ---- writing ---- */

/* Names beyond ASCII pass through any locale only with hdrcharset=BINARY, and then libarchive gives every member an
 * extended header of 1 KB, at which GNU tar grumbles. So two archives share the sink: one for plain names, without
 * extended headers, and one for the others. */
struct lafs_tar_writer {
    struct archive *plain, *binary;
    struct archive_entry *entry;
    lafs_tar_sink *sink;
    void *arg;
    int muted;           /* the end of one of the two: its zero blocks are not wanted */
    int dead;            /* the sink failed, or the archive is given up */
    struct lafs_err why;
};

static la_ssize_t write_block(struct archive *a, void *arg, const void *data, size_t size)
{
    struct lafs_tar_writer *w = arg;
    if (w->muted || (!w->dead && w->sink(w->arg, data, size, &w->why) == LAFS_OK)) return (la_ssize_t)size;
    w->dead = 1;
    la.archive_set_error(a, EIO, "write error");
    return -1;
}

static lafs_status write_failure(struct lafs_tar_writer *w, struct archive *a, struct lafs_err *err)
{
    const char *why = la.archive_error_string(a);
    if (w->dead) return lafs_fail(err, LAFS_FAILED, "%s", w->why.msg);
    return lafs_fail(err, LAFS_FAILED, "cannot write tar: %s", why ? why : "unknown reason");
}

static lafs_status open_archive(struct lafs_tar_writer *w, struct archive **out, int binary, struct lafs_err *err)
{
    struct archive *a = *out = la.archive_write_new();
    if (!a) return lafs_fail(err, LAFS_FAILED, "out of memory");
    /* Blocks of 0: the sink sees every byte at once, and buffers itself. */
    if (la.archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
        (binary && la.archive_write_set_format_option(a, "pax", "hdrcharset", "BINARY") != ARCHIVE_OK) ||
        la.archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
        la.archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
        la.archive_write_open(a, w, NULL, write_block, NULL) != ARCHIVE_OK)
        return write_failure(w, a, err);
    return LAFS_OK;
}

lafs_status lafs_tar_writer_open(struct lafs_tar_writer **out, lafs_tar_sink *sink, void *arg, struct lafs_err *err)
{
    struct lafs_tar_writer *w;
    LAFS_TRY(lafs_archive_load(err));
    LAFS_TRY(lafs_alloc0(&w, 1, sizeof *w, err));
    w->sink = sink;
    w->arg = arg;
    w->entry = la.archive_entry_new();
    lafs_status st = w->entry ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "out of memory");
    if (st == LAFS_OK) st = open_archive(w, &w->plain, 0, err);
    if (st == LAFS_OK) st = open_archive(w, &w->binary, 1, err);
    if (st != LAFS_OK) {
        lafs_tar_writer_abort(w);
        return st;
    }
    *out = w;
    return LAFS_OK;
}

lafs_status lafs_tar_writer_put(struct lafs_tar_writer *w, const char *name, const void *data, size_t size,
                                struct lafs_err *err)
{
    struct archive *a = w->plain;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p >= 0x80) a = w->binary;
    la.archive_entry_clear(w->entry);
    la.archive_entry_copy_pathname(w->entry, name);
    la.archive_entry_set_filetype(w->entry, AE_IFREG);
    la.archive_entry_set_perm(w->entry, 0444);
    la.archive_entry_set_mtime(w->entry, MTIME, 0);
    la.archive_entry_set_size(w->entry, (la_int64_t)size);
    if (la.archive_write_header(a, w->entry) != ARCHIVE_OK) return write_failure(w, a, err);
    if (size && la.archive_write_data(a, data, size) != (la_ssize_t)size) return write_failure(w, a, err);
    return la.archive_write_finish_entry(a) == ARCHIVE_OK ? LAFS_OK : write_failure(w, a, err);
}

lafs_status lafs_tar_writer_close(struct lafs_tar_writer *w, struct lafs_err *err)
{
    lafs_status st = la.archive_write_close(w->plain) == ARCHIVE_OK ? LAFS_OK : write_failure(w, w->plain, err);
    lafs_tar_writer_abort(w);
    return st;
}

void lafs_tar_writer_abort(struct lafs_tar_writer *w)
{
    if (!w) return;
    w->muted = 1;
    if (w->entry) la.archive_entry_free(w->entry);
    if (w->plain) la.archive_write_free(w->plain);
    if (w->binary) la.archive_write_free(w->binary);
    lafs_free(w);
}
