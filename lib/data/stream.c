/* The one reader: what its inputs are, and reading them one after the other. */
#include "data/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "data/face.h"
#include "data/source.h"
#include "format/onnx.h"
#include "format/pickle.h"
#include "format/pth.h"
#include "image/image.h"

/* What was read ahead, to be given out again. */
struct ahead {
    lafs_status st;
    struct lafs_sample s;
    struct lafs_err why;
};
struct lafs_reader {
    struct lafs_env env;
    struct lafs_source *src; /* NULL between inputs */
    char **path;             /* (paths) owned */
    int paths, next;
    int list_done;
    int several_trees;       /* more than one directory: their names go into the keys */
    int photos_named;        /* photos given one by one have the names of their directories */
    lafs_status dead;        /* what every further call returns */
    struct lafs_err why;
    struct ahead *ahead;     /* (LAFS_MAX_PEEK) or NULL */
    int ahead_n, ahead_at;
};

lafs_status lafs_sample_check_key(const struct lafs_sample *s, struct lafs_err *err)
{
    const char *key;
    size_t len;
    lafs_status st = lafs_sample_str(s, "key", &key, &len, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "record without a key");
    LAFS_TRY(st);
    if (memchr(key, 0, len)) return lafs_fail(err, LAFS_BAD_RECORD, "key with a NUL byte");
    return lafs_key_valid(lafs_sample_key(s), err);
}

/* ---- what an input is ---- */

/* The header checksum of tar, or an archive of nothing but zero blocks. */
static int is_tar(const unsigned char *p, size_t size)
{
    if (size < 512) return 0;
    unsigned sum = 0, stated = 0, any = 0;
    for (int i = 0; i < 512; i++) {
        any |= p[i];
        sum += i >= 148 && i < 156 ? ' ' : p[i];
    }
    if (!any) return 1;
    int i = 148;
    while (i < 156 && p[i] == ' ') i++;
    for (; i < 156 && p[i] >= '0' && p[i] <= '7'; i++) stated = stated * 8 + (p[i] - '0');
    return sum == stated;
}

enum lafs_kind lafs_input_kind(const void *data, size_t size)
{
    const unsigned char *p = data;
    if (size >= 2 && p[0] == 0x1f && p[1] == 0x8b) return LAFS_KIND_TAR;
    if (size >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0) return LAFS_KIND_TAR;
    if (is_tar(p, size) || (size >= 9 && memcmp(p, LAFS_OPENS, 9) == 0)) return LAFS_KIND_TAR;
    if (size >= 11 && memcmp(p, "lafs-index ", 11) == 0) return LAFS_KIND_INDEX;
    if (lafs_photo_kind(p, size) != LAFS_PHOTO_NONE) return LAFS_KIND_PHOTO;
    if (size >= 4 && memcmp(p, "\x0a\x23\xd7\xce", 4) == 0) return LAFS_KIND_REC;
    if (lafs_pickle_begins(p, size)) return LAFS_KIND_PICKLE;
    if (size >= 1 && ((p[0] & 0xf0) == 0x80 || p[0] == 0xde || p[0] == 0xdf)) return LAFS_KIND_MSG;
    return LAFS_KIND_NONE;
}

static int is_dir(const char *path)
{
    struct stat s;
    return strcmp(path, "-") && stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* The directory's own name and '/', "" where it has none (".", "/"). */
static void tree_prefix(const char *path, struct lafs_buf *b)
{
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/') len--;
    size_t from = len;
    while (from > 0 && path[from - 1] != '/') from--;
    if (len == from || (path[from] == '.' && len - from <= 2 && path[len - 1] == '.')) return;
    lafs_buf_put(b, path + from, len - from);
    lafs_buf_putc(b, '/');
}

static lafs_status open_tree(struct lafs_reader *r, const char *path, struct lafs_err *err)
{
    struct lafs_buf prefix;
    lafs_buf_init(&prefix);
    if (r->several_trees) tree_prefix(path, &prefix);
    const char *p = lafs_buf_str(&prefix);
    lafs_status st = p ? lafs_ijb_here(path, err) : lafs_buf_check(&prefix, err);
    if (st == LAFS_OK) st = lafs_ijb_open(&r->src, &r->env, path, p, err);
    else if (st == LAFS_END) st = lafs_tree_open(&r->src, &r->env, path, p, err);
    lafs_buf_release(&prefix);
    return st;
}

static lafs_status refuse_unknown(struct lafs_input *in, const char *path, struct lafs_err *err)
{
    const unsigned char *p = lafs_input_data(in);
    size_t size = lafs_input_left(in), i = 0;
    const char *what = lafs_looks_like(p, size), *then = what && strstr(what, "archive") ? ": unpack it" : "";
    while (i < size && (p[i] >= 0x20 || p[i] == '\n' || p[i] == '\t' || p[i] == '\r')) i++;
    if (!what && i == size) what = "text (a list of photos is given with lafs-shard --list)";
    if (!what && lafs_ends_as_picture(path)) what = "a picture of another kind";
    if (lafs_pth_begins(p, size)) {
        what = "a zip archive";
        then = ": unpack it (a checkpoint of PyTorch: see lafs-convert --list)";
    }
    if (!what && lafs_onnx_begins(p, size)) what = "an ONNX graph: see lafs-convert --list";
    lafs_status st = lafs_fail(err, LAFS_FAILED, "%s is neither a stream, a shard, an index, RecordIO, a verification "
                               "set nor a photo%s%s%s",
                               in->name, what ? ": it looks like " : "", what ? what : "", then);
    lafs_input_close(in);
    return st;
}

static int ends_as_bin(const char *path)
{
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".bin") == 0;
}

static lafs_status open_file(struct lafs_reader *r, const char *path, struct lafs_err *err)
{
    struct lafs_input in;
    LAFS_TRY(lafs_input_open(&in, path, err));
    /* A stream of ours is known by its first bytes, which no name in a tar begins with: its header is there before its
     * records, however slowly these come. */
    lafs_status st = lafs_input_fill(&in, 4, err);
    int stream = lafs_input_left(&in) && (lafs_input_data(&in)[0] & 0xf0) == 0x80 &&
                 !lafs_pickle_begins(lafs_input_data(&in), lafs_input_left(&in));
    if (st == LAFS_OK && !stream) st = lafs_input_fill(&in, 512, err);
    if (st == LAFS_OK && lafs_input_left(&in) == 0) st = lafs_fail(err, LAFS_CUT, "%s is empty", in.name);
    if (st != LAFS_OK) {
        lafs_input_close(&in);
        return st;
    }
    enum lafs_kind kind = lafs_input_kind(lafs_input_data(&in), lafs_input_left(&in));
    if (kind == LAFS_KIND_NONE && ends_as_bin(path)) kind = LAFS_KIND_PICKLE; /* old pickles begin with any letter */
    switch (kind) {
    case LAFS_KIND_MSG: return lafs_msg_open(&r->src, &r->env, &in, err);
    case LAFS_KIND_PHOTO: return lafs_photo_open(&r->src, &r->env, &in, path, r->photos_named, err);
    case LAFS_KIND_TAR: return lafs_shard_open(&r->src, &r->env, &in, 0, err);
    case LAFS_KIND_REC: return lafs_rec_open(&r->src, &r->env, &in, path, err);
    case LAFS_KIND_PICKLE: return lafs_bin_open(&r->src, &r->env, &in, err);
    case LAFS_KIND_INDEX:
        if (in.keep_fd || !lafs_input_rewind(&in)) break;
        lafs_input_close(&in);
        return lafs_indexed_open(&r->src, &r->env, path, err);
    case LAFS_KIND_NONE: return refuse_unknown(&in, path, err);
    }
    st = lafs_fail(err, LAFS_FAILED, "an index cannot come from %s: its shards lie beside its file",
                   in.keep_fd ? "standard input" : "a pipe");
    lafs_input_close(&in);
    return st;
}

/* Opens the next input; LAFS_END behind the last. */
static lafs_status open_next(struct lafs_reader *r, struct lafs_err *err)
{
    if (r->next < r->paths) {
        const char *path = r->path[r->next++];
        return is_dir(path) ? open_tree(r, path, err) : open_file(r, path, err);
    }
    if (!r->env.opt.list || r->list_done) return LAFS_END;
    r->list_done = 1;
    return lafs_list_open(&r->src, &r->env, r->env.opt.list, err);
}

/* Photos given one by one: their directories are names when there are several. */
static int several_folders(char **path, int n)
{
    struct lafs_folders f = {0};
    for (int i = 0; i < n; i++)
        if (lafs_ends_as_photo(path[i])) lafs_folders_add(&f, path[i], strlen(path[i]));
    return f.several;
}

/* A name that is wrong is told now, not after hours of reading what stands before it. */
static lafs_status check_there(const char *path, struct lafs_err *err)
{
    struct stat s;
    if (!strcmp(path, "-") || stat(path, &s) == 0) return LAFS_OK;
    return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
}

static lafs_status copy_paths(struct lafs_reader *r, const char *const *paths, int n, struct lafs_err *err)
{
    int trees = 0;
    LAFS_TRY(lafs_alloc0(&r->path, (size_t)n, sizeof *r->path, err));
    for (; r->paths < n; r->paths++) {
        LAFS_TRY(check_there(paths[r->paths], err));
        LAFS_TRY(lafs_strdup(&r->path[r->paths], paths[r->paths], err));
        trees += is_dir(paths[r->paths]);
    }
    r->several_trees = trees > 1;
    r->photos_named = r->env.opt.names == LAFS_NAMES_DIR ||
                      (r->env.opt.names == LAFS_NAMES_AUTO && several_folders(r->path, r->paths));
    return LAFS_OK;
}

lafs_status lafs_reader_open(struct lafs_reader **out, const char *const *paths, int n,
                             const struct lafs_reader_options *opt, struct lafs_err *err)
{
    struct lafs_reader *r;
    LAFS_TRY(lafs_alloc0(&r, 1, sizeof *r, err));
    lafs_header_init(&r->env.header);
    if (opt) r->env.opt = *opt;
    if (r->env.opt.max_record == 0) r->env.opt.max_record = LAFS_MAX_RECORD;
    lafs_status st = copy_paths(r, paths, n, err);
    if (st == LAFS_OK) st = open_next(r, err);
    if (st == LAFS_END) st = lafs_fail(err, LAFS_USAGE, "no input");
    if (st != LAFS_OK) {
        lafs_reader_close(r);
        return st;
    }
    *out = r;
    return LAFS_OK;
}

void lafs_reader_close(struct lafs_reader *r)
{
    if (!r) return;
    if (r->src) r->src->ops->close(r->src);
    for (int i = 0; i < r->paths; i++) lafs_free(r->path[i]);
    lafs_free(r->path);
    for (int i = 0; i < r->ahead_n; i++) lafs_sample_release(&r->ahead[i].s);
    lafs_free(r->ahead);
    lafs_header_release(&r->env.header);
    lafs_buf_release(&r->env.ignored_name);
    lafs_free(r);
}

static lafs_status read_next(struct lafs_reader *r, struct lafs_sample *s, struct lafs_err *err)
{
    lafs_sample_clear(s);
    if (r->dead == LAFS_END) return LAFS_END;
    if (r->dead != LAFS_OK) return lafs_fail(err, r->dead, "%s", r->why.msg);
    lafs_status st = LAFS_OK;
    for (;;) {
        if (!r->src) st = open_next(r, &r->why);
        if (st == LAFS_OK) st = r->src->ops->next(r->src, s, &r->why);
        if (st == LAFS_END && r->src) {
            r->src->ops->close(r->src);
            r->src = NULL;
            st = LAFS_OK;
            continue;
        }
        break;
    }
    if (st == LAFS_OK && r->env.opt.swapped && lafs_face_has(s)) {
        lafs_sample_set_raw(s, "swapped", "\xc3", 1);
        st = lafs_sample_check(s, &r->why);
    }
    if (st == LAFS_OK) return st;
    if (st != LAFS_BAD_RECORD) r->dead = st;
    return st == LAFS_END ? st : lafs_fail(err, st, "%s", r->why.msg);
}

lafs_status lafs_reader_next(struct lafs_reader *r, struct lafs_sample *s, struct lafs_err *err)
{
    if (r->ahead_at == r->ahead_n) return read_next(r, s, err);
    struct ahead *a = &r->ahead[r->ahead_at++];
    lafs_sample_clear(s);
    lafs_sample_swap(s, &a->s);
    return a->st == LAFS_OK || a->st == LAFS_END ? a->st : lafs_fail(err, a->st, "%s", a->why.msg);
}

lafs_status lafs_reader_peek(struct lafs_reader *r, struct lafs_sample *s, struct lafs_err *err)
{
    if (!r->ahead) LAFS_TRY(lafs_alloc0(&r->ahead, LAFS_MAX_PEEK, sizeof *r->ahead, err));
    for (int i = r->ahead_at; i < LAFS_MAX_PEEK; i++) {
        struct ahead *a = &r->ahead[i];
        if (i == r->ahead_n) {
            a->st = read_next(r, &a->s, &a->why);
            r->ahead_n++;
        }
        if (a->st == LAFS_OK) return lafs_sample_copy(s, &a->s, err);
        if (a->st != LAFS_BAD_RECORD) break; /* comes up again in its turn */
    }
    return LAFS_END;
}

const struct lafs_header *lafs_reader_header(const struct lafs_reader *r) { return &r->env.header; }

int lafs_reader_headers(const struct lafs_reader *r) { return r->env.headers; }

void lafs_reader_expect_pixels(struct lafs_reader *r, const struct lafs_pixels *p) { r->env.header.pixels = *p; }

const struct lafs_totals *lafs_reader_totals(const struct lafs_reader *r) { return &r->env.totals; }

int64_t lafs_reader_ignored(const struct lafs_reader *r, const char **first)
{
    if (first) *first = r->env.ignored ? lafs_buf_str((struct lafs_buf *)&r->env.ignored_name) : NULL;
    return r->env.ignored;
}

int64_t lafs_reader_expected(const struct lafs_reader *r)
{
    return r->paths + (r->env.opt.list != NULL) == 1 && r->src ? r->src->expected : -1;
}
