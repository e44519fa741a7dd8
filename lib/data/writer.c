/* The one writer: a MessagePack stream, or tar shards and their index. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/clock.h"
#include "base/hasher.h"
#include "base/mem.h"
#include "data/index.h"
#include "data/lines.h"
#include "data/pattern.h"
#include "data/source.h"
#include "format/archive.h"

/* What gathers before it is written: with what is hashed of it, little enough for caches. SENT of them: as far as
 * hashing may lag behind while others need a processor. */
enum { FLUSH_SIZE = 512 << 10, SENT = 6, LARGE = FLUSH_SIZE / 2, PIPE_SIZE = 1 << 20 };
#define FLUSH_SECONDS 0.05
#define SHARD_BYTES_DEFAULT ((int64_t)1000 * 1000 * 1000)

struct lafs_writer {
    struct lafs_header header;
    struct lafs_buf buf;        /* bytes on their way out */
    struct lafs_buf digested;   /* (shards) of these, and others before, what `data` is to be fed with */
    struct {
        struct lafs_buf buf, digested;
    } sent[SENT];               /* those before them, perhaps still to be hashed; empty: place for the two in use */
    int turn;                   /* that place */
    struct lafs_hasher hasher;  /* works on `data` and `whole` */
    struct lafs_atomic file;    /* a stream in a file, or the shard being written; fd -1: closed */
    int64_t count;
    /* a stream */
    int to_stdout;
    struct lafs_sha256 data;    /* between header and trailer; of the shard's members likewise */
    double flushed;
    /* shards */
    struct lafs_pattern names;  /* path NULL: a stream */
    int64_t shard_samples, shard_bytes;
    struct lafs_tar_writer *tar;
    struct lafs_sha256 whole;   /* of the shard's file */
    const void *large;          /* (large_size) a member's bytes, to be fed to `data` and not copied; NULL: none */
    size_t large_size;
    int64_t at;                 /* bytes of the shard so far */
    int64_t in_shard;           /* samples in it */
    int64_t shards, published;  /* begun; in place under their names */
    struct lafs_buf shard_lines; /* of the index */
    struct lafs_lines lines;    /* its samples */
    struct lafs_buf stale;      /* shards of the index that was there, each ended by NUL */
    struct lafs_buf sizes;      /* int64_t (published) of the shards */
    struct lafs_buf scratch, member;
};

/* Whether shard i, which was published as `path`, is what was written. Its size tells, as it does those who read it;
 * times and numbers of files are not to be relied on everywhere. */
static int is_ours(const struct lafs_writer *w, int64_t i, const char *path)
{
    struct stat s;
    int64_t size;
    memcpy(&size, w->sizes.data + (size_t)i * sizeof size, sizeof size);
    return stat(path, &s) == 0 && (!S_ISREG(s.st_mode) || s.st_size == size);
}

static void free_writer(struct lafs_writer *w)
{
    lafs_tar_writer_abort(w->tar);
    lafs_atomic_abort(&w->file);
    lafs_hasher_release(&w->hasher);
    lafs_header_release(&w->header);
    lafs_buf_release(&w->buf);
    lafs_buf_release(&w->digested);
    for (int i = 0; i < SENT; i++) {
        lafs_buf_release(&w->sent[i].buf);
        lafs_buf_release(&w->sent[i].digested);
    }
    lafs_buf_release(&w->shard_lines);
    lafs_lines_release(&w->lines);
    lafs_buf_release(&w->stale);
    lafs_buf_release(&w->sizes);
    lafs_buf_release(&w->scratch);
    lafs_buf_release(&w->member);
    lafs_pattern_release(&w->names);
    lafs_free(w);
}

/* ---- bytes out ---- */

static lafs_status write_stdout(const unsigned char *p, size_t size, struct lafs_err *err)
{
    while (size > 0) {
        ssize_t n = write(STDOUT_FILENO, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lafs_fail(err, LAFS_FAILED, "cannot write standard output: %s", lafs_strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return LAFS_OK;
}

static struct lafs_buf take_buf(struct lafs_buf *b)
{
    struct lafs_buf t = *b;
    lafs_buf_init(b);
    lafs_buf_clear(&t);
    return t;
}

/* Writes what has gathered. hashed: its digests are fed beside the writing, and on beside what comes then:
 * lafs_hasher_wait comes before a look at them. */
static lafs_status flush(struct lafs_writer *w, int hashed, struct lafs_err *err)
{
    struct lafs_buf full = w->buf, digested = w->digested;
    LAFS_TRY(lafs_buf_check(&full, err));
    LAFS_TRY(lafs_buf_check(&digested, err));
    if (hashed && w->names.path)
        lafs_hasher_add_two(&w->hasher, &w->whole, full.data, full.size, &w->data, digested.data, digested.size);
    else if (hashed) lafs_hasher_add(&w->hasher, &w->data, full.data, full.size);
    w->sent[w->turn].buf = full;
    w->sent[w->turn].digested = digested;
    w->turn = (w->turn + 1) % SENT;
    lafs_hasher_wait(&w->hasher, hashed ? SENT - 1 : 0);
    w->buf = take_buf(&w->sent[w->turn].buf);
    w->digested = take_buf(&w->sent[w->turn].digested);
    return w->to_stdout ? write_stdout(full.data, full.size, err)
                        : lafs_atomic_write(&w->file, full.data, full.size, err);
}

/* ---- a stream ---- */

/* A stream by the name of something else would be taken for that. */
static lafs_status check_out(const char *path, struct lafs_err *err)
{
    static const char shards[] = "is written as shards, with their index beside: name them NAME-%06d.tar";
    static const char arrays[] = "is what lafs-show --npy makes of records";
    static const char lines[] = "is what lafs-show --json makes of records";
    static const char pictures[] = "is what lafs-show --contact-sheet, or lafs-shard --to-dir, makes of records";
    static const char *const other[][2] = {
        {".lafs", shards}, {".tar.gz", shards}, {".tgz", shards},   {".tar.zst", shards}, {".tar.xz", shards},
        {".npy", arrays},  {".npz", arrays},    {".json", lines},   {".jsonl", lines},    {".jpg", pictures},
        {".jpeg", pictures}, {".png", pictures}, {".rec", "is what lafs-shard --to-rec makes of records"},
    };
    size_t len = strlen(path);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        size_t end = strlen(other[i][0]);
        if (len >= end && !strcmp(path + len - end, other[i][0]))
            return lafs_fail(err, LAFS_USAGE, "a stream is no '%s': that %s", path, other[i][1]);
    }
    return LAFS_OK;
}

static lafs_status stream_open(struct lafs_writer *w, const char *path, struct lafs_err *err)
{
    w->to_stdout = !path || strcmp(path, "-") == 0;
    if (!w->to_stdout) LAFS_TRY(check_out(path, err));
    if (!w->to_stdout) LAFS_TRY(lafs_atomic_open(&w->file, path, err));
    struct stat s;
    if (w->to_stdout && isatty(STDOUT_FILENO))
        return lafs_fail(err, LAFS_USAGE, "a stream is not for a terminal: name a file with -o, or use a pipe");
#ifdef F_SETPIPE_SZ
    if (w->to_stdout && fstat(STDOUT_FILENO, &s) == 0 && S_ISFIFO(s.st_mode))
        (void)!fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE); /* a wish: smaller works too */
#endif
    lafs_sha256_init(&w->data);
    lafs_header_encode(&w->header, &w->buf);
    w->flushed = lafs_clock_now();
    return flush(w, 0, err);
}

static lafs_status stream_put(struct lafs_writer *w, const struct lafs_sample *s, struct lafs_err *err)
{
    LAFS_TRY(lafs_sample_check(s, err));
    LAFS_TRY(lafs_sample_check_key(s, err));
    lafs_sample_encode(s, &w->buf);
    LAFS_TRY(lafs_buf_check(&w->buf, err));
    w->count++;
    /* A reader need not wait for the buffer to fill when records come slowly. */
    double now = lafs_clock_now();
    if (w->buf.size < FLUSH_SIZE && now - w->flushed < FLUSH_SECONDS) return LAFS_OK;
    w->flushed = now;
    return flush(w, 1, err);
}

static lafs_status stream_close(struct lafs_writer *w, const struct lafs_totals *totals, struct lafs_err *err)
{
    struct lafs_trailer t = {.totals = *totals};
    t.totals.count = w->count;
    LAFS_TRY(flush(w, 1, err));
    lafs_hasher_wait(&w->hasher, 0);
    lafs_sha256_hex(&w->data, t.sha256);
    lafs_trailer_encode(&t, &w->buf);
    LAFS_TRY(flush(w, 0, err));
    /* A file whose producer failed does not appear. */
    if (w->to_stdout || !totals->ok) return LAFS_OK;
    return lafs_atomic_commit(&w->file, err);
}

/* ---- shards ---- */

static lafs_status shard_sink(void *arg, const void *data, size_t size, struct lafs_err *err)
{
    struct lafs_writer *w = arg;
    w->at += (int64_t)size;
    if (size >= LARGE) {
        LAFS_TRY(flush(w, 1, err));
        if (data == w->large && size == w->large_size) {
            lafs_hasher_add_two(&w->hasher, &w->whole, data, size, &w->data, data, size);
            w->large = NULL;
        } else {
            lafs_hasher_add(&w->hasher, &w->whole, data, size);
        }
        lafs_status st = lafs_atomic_write(&w->file, data, size, err);
        lafs_hasher_wait(&w->hasher, 0); /* the caller's bytes are not ours to keep */
        return st;
    }
    lafs_buf_put(&w->buf, data, size);
    return w->buf.size >= FLUSH_SIZE ? flush(w, 1, err) : lafs_buf_check(&w->buf, err);
}

static lafs_status shard_begin(struct lafs_writer *w, struct lafs_err *err)
{
    const char *path = lafs_pattern_path(&w->names, w->shards);
    if (!path) return lafs_buf_check(&w->names.scratch, err);
    LAFS_TRY(lafs_atomic_open(&w->file, path, err));
    w->shards++;
    w->at = w->in_shard = 0;
    lafs_sha256_init(&w->whole);
    lafs_sha256_init(&w->data);
    LAFS_TRY(lafs_tar_writer_open(&w->tar, shard_sink, w, err));
    lafs_buf_clear(&w->member);
    lafs_header_encode(&w->header, &w->member);
    LAFS_TRY(lafs_buf_check(&w->member, err));
    return lafs_tar_writer_put(w->tar, LAFS_OPENS, w->member.data, w->member.size, err);
}

/* Before a shard changes, the index that is there goes, and what it listed is remembered: an older one, before the
 * first shard; that of another program that writes the same shards, before any. */
static lafs_status retire_old_index(struct lafs_writer *w, struct lafs_err *err)
{
    struct lafs_index *old;
    if (lafs_index_read_shards(&old, w->names.index, NULL) == LAFS_OK) {
        for (int64_t i = 0; i < old->shards; i++) {
            lafs_buf_puts(&w->stale, old->shard[i].path);
            lafs_buf_putc(&w->stale, 0);
        }
        lafs_index_free(old);
    }
    if (unlink(w->names.index) && errno != ENOENT)
        return lafs_fail(err, LAFS_FAILED, "cannot remove '%s': %s", w->names.index, lafs_strerror(errno));
    return lafs_buf_check(&w->stale, err);
}

static lafs_status shard_end(struct lafs_writer *w, const struct lafs_totals *totals, struct lafs_err *err)
{
    struct lafs_trailer t = {.totals = *totals};
    char hex[65];
    t.totals.count = w->in_shard;
    LAFS_TRY(flush(w, 1, err));
    lafs_hasher_wait(&w->hasher, 0);
    lafs_sha256_hex(&w->data, t.sha256);
    lafs_buf_clear(&w->member);
    lafs_trailer_encode(&t, &w->member);
    LAFS_TRY(lafs_buf_check(&w->member, err));
    LAFS_TRY(lafs_tar_writer_put(w->tar, LAFS_CLOSES, w->member.data, w->member.size, err));
    struct lafs_tar_writer *tar = w->tar;
    w->tar = NULL;
    LAFS_TRY(lafs_tar_writer_close(tar, err));
    LAFS_TRY(flush(w, 1, err));
    lafs_hasher_wait(&w->hasher, 0);
    lafs_sha256_hex(&w->whole, hex);
    const char *path = lafs_pattern_path(&w->names, w->shards - 1);
    if (!path) return lafs_buf_check(&w->names.scratch, err);
    lafs_index_put_shard(&w->shard_lines, lafs_base_name(path), w->at, hex);
    LAFS_TRY(retire_old_index(w, err));
    lafs_buf_put(&w->sizes, &w->at, sizeof w->at);
    LAFS_TRY(lafs_buf_check(&w->sizes, err));
    LAFS_TRY(lafs_atomic_commit(&w->file, err));
    w->published = w->shards;
    return LAFS_OK;
}

static lafs_status put_member(struct lafs_writer *w, const char *key, const char *suffix, const void *data, size_t size,
                              struct lafs_err *err)
{
    lafs_buf_clear(&w->scratch);
    lafs_buf_puts(&w->scratch, key);
    lafs_buf_puts(&w->scratch, suffix);
    const char *name = lafs_buf_str(&w->scratch);
    if (!name) return lafs_buf_check(&w->scratch, err);
    lafs_digest_head(&w->digested, name, size);
    w->large = size < LARGE ? NULL : data;
    w->large_size = size;
    if (!w->large) lafs_buf_put(&w->digested, data, size);
    LAFS_TRY(lafs_tar_writer_put(w->tar, name, data, size, err));
    if (w->large) { /* they did not come to shard_sink in one piece */
        LAFS_TRY(flush(w, 1, err));
        lafs_hasher_wait(&w->hasher, 0);
        lafs_sha256_add(&w->data, data, size);
    }
    return LAFS_OK;
}

/* A field that becomes a member of its own. */
static int is_member(const unsigned char *name, size_t len)
{
    return name[0] == '.' || (len == 3 && (memcmp(name, "jpg", 3) == 0 || memcmp(name, "png", 3) == 0 ||
                                           memcmp(name, "cls", 3) == 0));
}

static int is_key(const unsigned char *name, size_t len) { return len == 3 && memcmp(name, "key", 3) == 0; }

/* What a member's name could not carry back. */
static lafs_status check_suffix(const char *name, size_t len, struct lafs_err *err)
{
    static const char *const taken[] = {".jpg", ".jpeg", ".png", ".cls", ".mp", ".msg"};
    int bad = len < 2 || memchr(name, '/', len) != NULL;
    for (size_t i = 0; i < len; i++)
        bad |= (unsigned char)name[i] < 0x20 || name[i] == 0x7f || (name[i] >= 'A' && name[i] <= 'Z');
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        bad |= strlen(taken[i]) == len && memcmp(taken[i], name, len) == 0;
    if (bad) return lafs_fail(err, LAFS_BAD_RECORD, "field '%.*s' cannot be a member of a shard", (int)len, name);
    return LAFS_OK;
}

/* A line of the index holds it. */
static lafs_status check_name(const struct lafs_sample *s, struct lafs_err *err)
{
    const char *str;
    size_t len;
    if (lafs_sample_str(s, "name", &str, &len, NULL) != LAFS_OK) return LAFS_OK;
    if (len > LAFS_MAX_KEY)
        return lafs_fail(err, LAFS_BAD_RECORD, "the name has %zu bytes, and may have %d", len, LAFS_MAX_KEY);
    return memchr(str, 0, len) ? lafs_fail(err, LAFS_BAD_RECORD, "the name holds a zero byte") : LAFS_OK;
}

/* Everything that may be wrong with a sample, before anything of it is written. */
static lafs_status check_sample(const struct lafs_sample *s, struct lafs_err *err)
{
    LAFS_TRY(lafs_sample_check(s, err));
    LAFS_TRY(lafs_sample_check_key(s, err));
    LAFS_TRY(check_name(s, err));
    const void *p;
    size_t n;
    int64_t v;
    lafs_status st = lafs_sample_bin(s, "jpg", &p, &n, err);
    if (st != LAFS_OK && st != LAFS_END) return st;
    st = lafs_sample_bin(s, "png", &p, &n, err);
    if (st != LAFS_OK && st != LAFS_END) return st;
    st = lafs_sample_int(s, "cls", &v, err);
    if (st != LAFS_OK && st != LAFS_END) return st;
    for (int i = 0; i < s->count; i++) {
        const struct lafs_field *f = &s->field[i];
        const char *name = (const char *)s->buf.data + f->name;
        if (name[0] != '.') continue;
        LAFS_TRY(check_suffix(name, f->name_len, err));
        struct lafs_walk walk = {s->buf.data + f->at, s->buf.data + f->at + f->len};
        struct lafs_mp_value value;
        LAFS_TRY(lafs_walk_next(&walk, &value, err));
        if (value.type != LAFS_MP_BIN)
            return lafs_fail(err, LAFS_BAD_RECORD, "field '%.*s': not bin", (int)f->name_len, name);
    }
    return LAFS_OK;
}

/* KEY.jpg, KEY.png, KEY.cls, other members, KEY.mp with all the rest. */
static lafs_status put_members(struct lafs_writer *w, const struct lafs_sample *s, const char *key,
                               struct lafs_err *err)
{
    const void *p;
    size_t n;
    int64_t v;
    char text[LAFS_MAX_FIELD_NAME + 1];
    uint32_t rest = 0;
    int members = 0;
    if (lafs_sample_bin(s, "jpg", &p, &n, NULL) == LAFS_OK) {
        LAFS_TRY(put_member(w, key, ".jpg", p, n, err));
        members++;
    }
    if (lafs_sample_bin(s, "png", &p, &n, NULL) == LAFS_OK) {
        LAFS_TRY(put_member(w, key, ".png", p, n, err));
        members++;
    }
    if (lafs_sample_int(s, "cls", &v, NULL) == LAFS_OK) {
        int len = snprintf(text, sizeof text, "%lld", (long long)v);
        LAFS_TRY(put_member(w, key, ".cls", text, (size_t)len, err));
        members++;
    }
    for (int i = 0; i < s->count; i++) {
        const unsigned char *name = s->buf.data + s->field[i].name;
        size_t len = s->field[i].name_len;
        rest += !is_member(name, len) && !is_key(name, len);
        if (name[0] != '.') continue;
        memcpy(text, name, len);
        text[len] = 0;
        LAFS_TRY(lafs_sample_bin(s, text, &p, &n, err));
        LAFS_TRY(put_member(w, key, text, p, n, err));
        members++;
    }
    if (rest == 0 && members > 0) return LAFS_OK;
    lafs_buf_clear(&w->member);
    lafs_pack_map(&w->member, rest);
    for (int i = 0; i < s->count; i++) {
        const struct lafs_field *f = &s->field[i];
        const unsigned char *name = s->buf.data + f->name;
        if (is_member(name, f->name_len) || is_key(name, f->name_len)) continue;
        lafs_pack_strn(&w->member, (const char *)name, f->name_len);
        lafs_buf_put(&w->member, s->buf.data + f->at, f->len);
    }
    LAFS_TRY(lafs_buf_check(&w->member, err));
    return put_member(w, key, ".mp", w->member.data, w->member.size, err);
}

static lafs_status add_line(struct lafs_writer *w, const struct lafs_sample *s, const char *key, int64_t offset,
                            struct lafs_err *err)
{
    char name[LAFS_MAX_KEY + 1] = "";
    const char *str;
    size_t len;
    if (lafs_sample_str(s, "name", &str, &len, NULL) == LAFS_OK) memcpy(name, str, len); /* checked before */
    return lafs_lines_put(&w->lines, w->shards - 1, offset, w->at - offset, key, name, err);
}

/* At most what a member takes beside its bytes: a header, blocks of 512 bytes that are filled up, and one that has its
 * name, where that is long or not ASCII. */
static int64_t around_member(size_t name_len, int ascii)
{
    enum { BLOCK = 512, PLAIN_NAME = 99 };
    return ascii && name_len <= PLAIN_NAME ? 2 * BLOCK : 5 * BLOCK + (int64_t)name_len;
}

/* At most what a shard grows by with the sample, and then by its end. */
static int64_t growth(const struct lafs_sample *s)
{
    const char *key = lafs_sample_key(s);
    const size_t len = strlen(key);
    int ascii = 1;
    for (size_t i = 0; i < len; i++) ascii &= (unsigned char)key[i] < 0x80;
    int64_t size = around_member(len + 3, ascii) + 2048; /* of KEY.mp; the trailer and two blocks of zeros */
    for (int i = 0; i < s->count; i++) {
        const struct lafs_field *f = &s->field[i];
        size += (int64_t)(f->name_len + 2 + f->len);
        if (is_member(s->buf.data + f->name, f->name_len)) size += around_member(len + 1 + f->name_len, ascii);
    }
    return size;
}

static lafs_status shards_put(struct lafs_writer *w, const struct lafs_sample *s, struct lafs_err *err)
{
    static const struct lafs_totals fine = {.ok = 1};
    LAFS_TRY(check_sample(s, err));
    int full = w->in_shard > 0 && ((w->shard_samples > 0 && w->in_shard >= w->shard_samples) ||
                                   w->at + growth(s) > w->shard_bytes);
    if (full && w->names.digits) {
        LAFS_TRY(shard_end(w, &fine, err));
        LAFS_TRY(shard_begin(w, err));
    }
    const char *key = lafs_sample_key(s);
    int64_t offset = w->at;
    LAFS_TRY(lafs_lines_claim(&w->lines, key, err));
    LAFS_TRY(put_members(w, s, key, err));
    w->in_shard++;
    w->count++;
    return add_line(w, s, key, offset, err);
}

/* Shards of the index that was there, of our own numbering, that this run did not write again. */
static void remove_stale(struct lafs_writer *w)
{
    if (!w->stale.size) return;
    const char *end = (const char *)w->stale.data + w->stale.size;
    for (const char *old = (const char *)w->stale.data; old < end; old += strlen(old) + 1)
        if (lafs_pattern_number(&w->names, old) >= w->shards)
            unlink(lafs_pattern_path(&w->names, lafs_pattern_number(&w->names, old)));
}

/* An index says that its shards are there: not when another program has replaced some meanwhile. */
static lafs_status check_shards(struct lafs_writer *w, struct lafs_err *err)
{
    for (int64_t i = 0; i < w->published; i++) {
        const char *path = lafs_pattern_path(&w->names, i);
        if (!path) return lafs_buf_check(&w->names.scratch, err);
        if (!is_ours(w, i, path))
            return lafs_fail(err, LAFS_FAILED,
                             "'%s' was replaced before the index was written: does another program write it, too?",
                             path);
    }
    return LAFS_OK;
}

static lafs_status write_index(struct lafs_writer *w, struct lafs_err *err)
{
    struct lafs_buf head, tail;
    struct lafs_atomic f;
    LAFS_TRY(lafs_atomic_open(&f, w->names.index, err));
    lafs_buf_init(&head);
    lafs_buf_init(&tail);
    lafs_index_put_head(&head, &w->header.pixels);
    lafs_buf_put(&head, w->shard_lines.data, w->shard_lines.size);
    lafs_index_put_end(&tail, w->shards, w->count);
    lafs_status st = lafs_buf_check(&head, err);
    if (st == LAFS_OK) st = lafs_buf_check(&tail, err);
    if (st == LAFS_OK) st = lafs_atomic_write(&f, head.data, head.size, err);
    if (st == LAFS_OK) st = lafs_lines_copy(&w->lines, &f, err);
    if (st == LAFS_OK) st = lafs_atomic_write(&f, tail.data, tail.size, err);
    lafs_buf_release(&head);
    lafs_buf_release(&tail);
    if (st == LAFS_OK) return lafs_atomic_commit(&f, err);
    lafs_atomic_abort(&f);
    return st;
}

static lafs_status shards_close(struct lafs_writer *w, const struct lafs_totals *totals, struct lafs_err *err)
{
    LAFS_TRY(shard_end(w, totals, err));
    LAFS_TRY(lafs_buf_check(&w->shard_lines, err));
    if (!totals->ok) return LAFS_OK;
    LAFS_TRY(check_shards(w, err));
    remove_stale(w);
    return write_index(w, err);
}

/* ---- both ---- */

lafs_status lafs_writer_open(struct lafs_writer **out, const struct lafs_writer_options *opt,
                             const struct lafs_header *header, struct lafs_err *err)
{
    struct lafs_writer *w;
    LAFS_TRY(lafs_alloc0(&w, 1, sizeof *w, err));
    w->file.fd = -1;
    w->file.slot = -1;
    lafs_hasher_init(&w->hasher);
    w->shard_samples = opt->shard_samples;
    w->shard_bytes = opt->shard_bytes > 0 ? opt->shard_bytes : SHARD_BYTES_DEFAULT;
    lafs_header_init(&w->header);
    int shards = lafs_pattern_is(opt->out);
    lafs_status st = lafs_header_copy(&w->header, header, err);
    if (st == LAFS_OK && shards) st = lafs_pattern_init(&w->names, opt->out, err);
    lafs_lines_init(&w->lines, w->names.index);
    if (st == LAFS_OK) st = shards ? shard_begin(w, err) : stream_open(w, opt->out, err);
    if (st != LAFS_OK) {
        free_writer(w);
        return st;
    }
    *out = w;
    return LAFS_OK;
}

lafs_status lafs_writer_put(struct lafs_writer *w, const struct lafs_sample *s, struct lafs_err *err)
{
    return w->names.path ? shards_put(w, s, err) : stream_put(w, s, err);
}

lafs_status lafs_writer_close(struct lafs_writer *w, const struct lafs_totals *totals, struct lafs_err *err)
{
    lafs_status st = w->names.path ? shards_close(w, totals, err) : stream_close(w, totals, err);
    if (st != LAFS_OK) lafs_writer_abort(w);
    else free_writer(w);
    return st;
}

void lafs_writer_abort(struct lafs_writer *w)
{
    if (!w) return;
    /* Shards of this run that are whole but belong to nothing. The one being written is a temporary. */
    for (int64_t i = 0; i < w->published; i++) {
        const char *path = lafs_pattern_path(&w->names, i);
        if (path && is_ours(w, i, path)) unlink(path);
    }
    free_writer(w);
}
