/* Photos as samples: names and keys from paths, single files, directory trees, lists of paths. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mark.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/face.h"
#include "data/source.h"

/* ---- paths and bytes ---- */

static int ends_with_any(const char *name, const char *const *suffix)
{
    const char *base = strrchr(name, '/'), *dot = strrchr(base ? base : name, '.');
    for (; dot && *suffix; suffix++)
        if (strcasecmp(dot + 1, *suffix) == 0) return 1;
    return 0;
}

int lafs_ends_as_photo(const char *name)
{
    static const char *const suffix[] = {"jpg", "jpeg", "jpe", "jfif", "png", NULL};
    return ends_with_any(name, suffix);
}

int lafs_ends_as_picture(const char *name)
{
    static const char *const suffix[] = {"gif", "bmp", "tif", "tiff", "webp", "heic", "heif", "avif", "jxl", "jp2",
                                         "ppm", "pgm", "pnm", "tga",  "ico",  "psd",  "exr",  "hdr",  "jxr", "dng",
                                         "cr2", "cr3", "nef", "arw",  "raf",  "orf",  "rw2",  "svg",  NULL};
    return ends_with_any(name, suffix);
}

void lafs_folders_add(struct lafs_folders *f, const char *path, size_t len)
{
    const char *slash = memrchr(path, '/', len);
    uint64_t folder = lafs_fnv1a(path, slash ? (size_t)(slash - path) : 0);
    if (!f->found) f->first = folder;
    f->several |= folder != f->first;
    f->found = 1;
}

size_t lafs_photo_stem(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!dot || dot == path || dot[-1] == '/') return strlen(path);
    return lafs_ends_as_photo(path) || lafs_ends_as_picture(path) ? (size_t)(dot - path) : strlen(path);
}

void lafs_name_from_key(struct lafs_sample *s)
{
    const char *key = lafs_sample_key(s), *slash = strrchr(key, '/'), *from = slash;
    if (!slash) return;
    while (from > key && from[-1] != '/') from--;
    if (from < slash) lafs_sample_set_strn(s, "name", from, (size_t)(slash - from));
}

void lafs_name_from_cls(struct lafs_sample *s)
{
    int64_t cls;
    char text[24];
    if (lafs_sample_has(s, "name") || lafs_sample_int(s, "cls", &cls, NULL) != LAFS_OK || cls < 0) return;
    snprintf(text, sizeof text, "%lld", (long long)cls);
    lafs_sample_set_str(s, "name", text);
}

/* What leads out of a tree, or nowhere, is no part of a key. */
static const char *inner_path(const char *path)
{
    for (const char *up; (up = strstr(path, "/../")) != NULL;) path = up + 4;
    for (;;) {
        if (path[0] == '/') path += 1;
        else if (path[0] == '.' && path[1] == '/') path += 2;
        else if (path[0] == '.' && path[1] == '.' && path[2] == '/') path += 3;
        else return path;
    }
}

lafs_status lafs_photo_sample(struct lafs_sample *s, const char *path, const void *data, size_t size, int named,
                              struct lafs_err *err)
{
    path = inner_path(path);
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t len = dot && dot > base ? (size_t)(dot - path) : strlen(path);
    struct lafs_buf key;
    lafs_buf_init(&key);
    lafs_buf_put(&key, path, len);
    size_t dots = 0;
    for (size_t i = (size_t)(base - path); i < key.size; i++)
        if (key.data[i] == '.') key.data[i] = '_', dots++;
    lafs_sample_clear(s);
    lafs_status st = lafs_buf_check(&key, err);
    if (st == LAFS_OK) lafs_sample_set_strn(s, "key", (const char *)key.data, key.size);
    if (st == LAFS_OK) st = lafs_sample_check_key(s, err);
    if (st == LAFS_OK) st = lafs_photo_check(data, size, err);
    if (st == LAFS_OK) {
        lafs_face_set(s, data, size);
        if (named) lafs_name_from_key(s);
        if (dots) {
            lafs_buf_clear(&key);
            lafs_pack_map(&key, 1);
            lafs_pack_str(&key, "key");
            lafs_pack_strn(&key, path, len);
            lafs_sample_set_raw(s, "src", key.data, key.size);
        }
        st = lafs_sample_check(s, err);
    }
    lafs_buf_release(&key);
    return st;
}

lafs_status lafs_env_photos(struct lafs_env *env, const char *input, struct lafs_err *err)
{
    struct lafs_header h;
    lafs_header_init(&h);
    h.pixels = (struct lafs_pixels){0, "none", "rgb"};
    if (env->opt.photos.aligner[0]) h.pixels = env->opt.photos;
    return lafs_env_header(env, &h, input, err);
}

lafs_status lafs_photo_read(struct lafs_env *env, struct lafs_sample *s, struct lafs_buf *data, const char *disk,
                            const char *path, int named, struct lafs_err *err)
{
    lafs_buf_clear(data);
    lafs_status st = lafs_photo_sample(s, path, "\xff\xd8\xff", 3, named, err);
    LAFS_TRY(st);
    st = lafs_buf_read_file(data, disk, env->opt.max_record, err);
    if (st == LAFS_OK && lafs_ends_as_picture(path) && !lafs_looks_like(data->data, data->size))
        return lafs_fail(err, LAFS_BAD_RECORD, "neither a JPEG nor a PNG photo but, by its name, one of kind '%s'",
                         strrchr(path, '.') + 1);
    if (st == LAFS_OK) return lafs_photo_sample(s, path, data->data, data->size, named, err);
    if (data->failed) return st;
    if (err) err->status = LAFS_BAD_RECORD;
    return LAFS_BAD_RECORD;
}

/* ---- one photo ---- */

struct photo {
    struct lafs_source base;
    struct lafs_input in;
    char *path;
    int named, done;
};

static lafs_status photo_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct photo *p = (struct photo *)src;
    if (p->done) return LAFS_END;
    size_t want = 0;
    do {
        want += (size_t)1 << 20;
        LAFS_TRY(lafs_input_fill(&p->in, want, err));
    } while (!p->in.eof && want <= src->env->opt.max_record);
    p->done = 1;
    if (!p->in.eof) return lafs_fail(err, LAFS_BAD_RECORD, "photo of more than %zu bytes", src->env->opt.max_record);
    return lafs_photo_sample(s, p->path, lafs_input_data(&p->in), lafs_input_left(&p->in), p->named, err);
}

static void photo_close(struct lafs_source *src)
{
    struct photo *p = (struct photo *)src;
    lafs_input_close(&p->in);
    lafs_free(p->path);
    lafs_free(p);
}

lafs_status lafs_photo_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, const char *path,
                            int named, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {photo_next, photo_close};
    struct photo *p;
    lafs_status st = lafs_alloc0(&p, 1, sizeof *p, err);
    if (st != LAFS_OK) {
        lafs_input_close(in);
        return st;
    }
    p->base = (struct lafs_source){&ops, env, 1};
    p->in = *in;
    p->named = named;
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
    st = lafs_strdup(&p->path, strcmp(path, "-") ? path : "photo.jpg", err);
    if (st == LAFS_OK) st = lafs_env_photos(env, p->in.name, err);
    if (st != LAFS_OK) {
        photo_close(&p->base);
        return st;
    }
    *out = &p->base;
    return LAFS_OK;
}

/* ---- a directory tree ---- */

enum { MAX_TREE_DEPTH = 64 };

struct folder {
    size_t path_len;      /* of the tree's `path`, up to and with this folder's '/' */
    struct lafs_buf text; /* names of its entries, each ended by NUL; a folder's name ends in '/' */
    size_t *entry;        /* (count) offsets in text, sorted */
    size_t count, cap, next;
    dev_t dev;
    ino_t ino;
};
struct tree {
    struct lafs_source base;
    struct lafs_buf path; /* on disk: root + what is below it */
    size_t root_len;      /* of the root in path, '/' included */
    char *prefix;
    struct folder stack[MAX_TREE_DEPTH];
    int depth;
    int named, found; /* directories are names; there was a photo */
    struct lafs_buf data, key;
    struct lafs_buf container; /* the first file on the way that holds many pictures, or "" */
};

static void leave_folder(struct tree *t)
{
    struct folder *f = &t->stack[--t->depth];
    lafs_buf_release(&f->text);
    lafs_free(f->entry);
}

static int by_name(const void *a, const void *b, void *text)
{
    return strcmp((const char *)text + *(const size_t *)a, (const char *)text + *(const size_t *)b);
}

static lafs_status add_entry(struct folder *f, const char *name, int is_dir, struct lafs_err *err)
{
    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 64;
        LAFS_TRY(lafs_resize(&f->entry, f->count, cap, sizeof *f->entry, err));
        f->cap = cap;
    }
    f->entry[f->count++] = f->text.size;
    lafs_buf_puts(&f->text, name);
    if (is_dir) lafs_buf_putc(&f->text, '/');
    lafs_buf_putc(&f->text, 0);
    return lafs_buf_check(&f->text, err);
}

/* Files and folders of the open directory; links are followed; what begins with a dot is hidden. */
static lafs_status list_folder(struct tree *t, struct folder *f, DIR *d, struct lafs_err *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e && errno)
            return lafs_fail(err, LAFS_FAILED, "cannot read '%s': %s", lafs_buf_str(&t->path), lafs_strerror(errno));
        if (!e) break;
        if (e->d_name[0] == '.') continue;
        int is_dir = e->d_type == DT_DIR;
        struct stat s;
        /* What leads nowhere stays a file: reading it will say so. */
        if (e->d_type != DT_REG && e->d_type != DT_DIR && fstatat(dirfd(d), e->d_name, &s, 0) == 0) {
            is_dir = S_ISDIR(s.st_mode);
            if (!is_dir && !S_ISREG(s.st_mode)) {
                lafs_env_ignore(t->base.env, e->d_name);
                continue;
            }
        }
        LAFS_TRY(add_entry(f, e->d_name, is_dir, err));
    }
    if (f->count) qsort_r(f->entry, f->count, sizeof *f->entry, by_name, f->text.data);
    return LAFS_OK;
}

/* Enters the folder whose name, ended by '/', is at the end of path. */
static lafs_status enter_folder(struct tree *t, struct lafs_err *err)
{
    const char *path = lafs_buf_str(&t->path);
    if (!path) return lafs_buf_check(&t->path, err);
    if (t->depth == MAX_TREE_DEPTH)
        return lafs_fail(err, LAFS_FAILED, "'%s': more than %d folders deep", path, MAX_TREE_DEPTH);
    DIR *d = opendir(path);
    if (!d) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", path, lafs_strerror(errno));
    struct folder *f = &t->stack[t->depth++];
    *f = (struct folder){.path_len = t->path.size};
    lafs_buf_init(&f->text);
    struct stat s;
    if (fstat(dirfd(d), &s) == 0) f->dev = s.st_dev, f->ino = s.st_ino;
    int above = 0;
    while (t->stack[above].dev != f->dev || t->stack[above].ino != f->ino) above++;
    lafs_status st = LAFS_OK;
    if (above + 1 == t->depth) st = list_folder(t, f, d, err);
    else lafs_env_ignore(t->base.env, path); /* a link upward: all that is in there is read by its shorter path */
    closedir(d);
    return st;
}

/* The next file of the walk: path = its path on disk. LAFS_END behind the last. */
static lafs_status next_file(struct tree *t, struct lafs_err *err)
{
    while (t->depth > 0) {
        struct folder *f = &t->stack[t->depth - 1];
        t->path.size = f->path_len;
        if (f->next == f->count) {
            leave_folder(t);
            continue;
        }
        const char *name = (const char *)f->text.data + f->entry[f->next++];
        size_t len = strlen(name);
        lafs_buf_put(&t->path, name, len);
        LAFS_TRY(lafs_buf_check(&t->path, err));
        if (name[len - 1] != '/') return LAFS_OK;
        LAFS_TRY(enter_folder(t, err));
    }
    return LAFS_END;
}

/* Whether the file, whose name has no suffix to tell by, begins like a picture. */
static int begins_as_picture(const char *path)
{
    char first[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, first, sizeof first);
    if (fd >= 0) close(fd);
    return n > 0 && lafs_begins_as_picture(first, (size_t)n);
}

static int is_picture(struct tree *t)
{
    const char *path = lafs_buf_str(&t->path);
    if (!path) return 0;
    if (lafs_ends_as_photo(path) || lafs_ends_as_picture(path)) return 1;
    return !strchr(strrchr(path, '/') + 1, '.') && begins_as_picture(path);
}

/* The folder that a data set was unpacked into is easily given in place of the file in it. */
static void note_container(struct tree *t)
{
    static const char *const suffix[] = {"rec", "tar", "bin", "lafs", NULL};
    const char *path = lafs_buf_str(&t->path);
    if (path && t->container.size == 0 && ends_with_any(path, suffix)) lafs_buf_puts(&t->container, path);
}

static lafs_status no_photos(struct tree *t, struct lafs_err *err)
{
    t->path.size = t->root_len;
    const char *root = lafs_buf_str(&t->path);
    if (t->container.size == 0) return lafs_fail(err, LAFS_FAILED, "no photos in '%s'", root);
    return lafs_fail(err, LAFS_FAILED, "no photos in '%s', but '%s': give that itself", root,
                     lafs_buf_str(&t->container));
}

static lafs_status tree_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct tree *t = (struct tree *)src;
    for (;;) {
        lafs_status st = next_file(t, err);
        if (st == LAFS_END && !t->found) return no_photos(t, err);
        LAFS_TRY(st);
        if (is_picture(t)) break;
        note_container(t);
        lafs_env_ignore(src->env, lafs_buf_str(&t->path));
    }
    t->found = 1;
    lafs_buf_clear(&t->key);
    lafs_buf_puts(&t->key, t->prefix);
    lafs_buf_puts(&t->key, lafs_buf_str(&t->path) + t->root_len);
    LAFS_TRY(lafs_buf_check(&t->key, err));
    return lafs_photo_read(src->env, s, &t->data, lafs_buf_str(&t->path), lafs_buf_str(&t->key), t->named, err);
}

static void tree_close(struct lafs_source *src)
{
    struct tree *t = (struct tree *)src;
    while (t->depth > 0) leave_folder(t);
    lafs_buf_release(&t->path);
    lafs_buf_release(&t->data);
    lafs_buf_release(&t->key);
    lafs_buf_release(&t->container);
    lafs_free(t->prefix);
    lafs_free(t);
}

/* Walks until it is certain whether folders are names, and starts again. */
static lafs_status guess_names(struct tree *t, struct lafs_err *err)
{
    struct lafs_folders f = {0};
    lafs_status st = LAFS_OK;
    while (!f.several && (st = next_file(t, err)) == LAFS_OK)
        if (is_picture(t)) lafs_folders_add(&f, (const char *)t->path.data, t->path.size);
    if (!f.several && st != LAFS_END) return st;
    t->named = f.several;
    while (t->depth > 0) leave_folder(t);
    t->path.size = t->root_len;
    return enter_folder(t, err);
}

lafs_status lafs_tree_open(struct lafs_source **out, struct lafs_env *env, const char *path, const char *prefix,
                           struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {tree_next, tree_close};
    struct tree *t;
    LAFS_TRY(lafs_alloc0(&t, 1, sizeof *t, err));
    t->base = (struct lafs_source){&ops, env, -1};
    lafs_buf_puts(&t->path, path);
    if (t->path.size && t->path.data[t->path.size - 1] != '/') lafs_buf_putc(&t->path, '/');
    t->root_len = t->path.size;
    lafs_status st = lafs_strdup(&t->prefix, prefix, err);
    if (st == LAFS_OK) st = lafs_env_photos(env, path, err);
    if (st == LAFS_OK) st = enter_folder(t, err);
    t->named = env->opt.names == LAFS_NAMES_DIR || (env->opt.names == LAFS_NAMES_AUTO && *prefix);
    if (st == LAFS_OK && !t->named && env->opt.names == LAFS_NAMES_AUTO) {
        int64_t ignored = env->ignored;
        st = guess_names(t, err);
        env->ignored = ignored;
        if (ignored == 0) lafs_buf_clear(&env->ignored_name);
    }
    if (st != LAFS_OK) {
        tree_close(&t->base);
        return st;
    }
    *out = &t->base;
    return LAFS_OK;
}

/* ---- a list of photos ---- */

struct list {
    struct lafs_source base;
    struct lafs_input in;
    struct lafs_buf line, data;
    int named;
};

enum { MAX_LINE = 65536 };

lafs_status lafs_source_lines(struct lafs_input *in, const char *path, struct lafs_err *err)
{
    LAFS_TRY(lafs_input_open(in, path, err));
    lafs_status st = lafs_input_fill(in, 3, err);
    if (st != LAFS_OK) lafs_input_close(in);
    else lafs_input_take(in, lafs_mark(lafs_input_data(in), lafs_input_left(in)));
    return st;
}

lafs_status lafs_source_line(struct lafs_input *in, struct lafs_buf *line, int64_t *lines, struct lafs_err *err)
{
    for (;;) {
        size_t want = 1, left;
        const unsigned char *p, *nl;
        for (;;) {
            LAFS_TRY(lafs_input_fill(in, want, err));
            p = lafs_input_data(in);
            left = lafs_input_left(in);
            nl = left ? memchr(p, '\n', left) : NULL;
            if (nl || in->eof) break;
            if (left > MAX_LINE)
                return lafs_fail(err, LAFS_FAILED, "%s is no list: a line of more than %d bytes", in->name,
                                 MAX_LINE);
            want = left + 1;
        }
        if (left == 0) return LAFS_END;
        size_t len = nl ? (size_t)(nl - p) : left, take = nl ? len + 1 : len;
        if (len && p[len - 1] == '\r') len--;
        if (memchr(p, 0, len))
            return lafs_fail(err, LAFS_FAILED, "%s is no list: it holds NUL bytes", in->name);
        lafs_buf_clear(line);
        lafs_buf_put(line, p, len);
        lafs_input_take(in, take);
        if (lines) ++*lines;
        LAFS_TRY(lafs_buf_check(line, err));
        if (len) return LAFS_OK;
    }
}

static lafs_status list_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct list *l = (struct list *)src;
    LAFS_TRY(lafs_source_line(&l->in, &l->line, NULL, err));
    const char *path = lafs_buf_str(&l->line);
    return lafs_photo_read(src->env, s, &l->data, path, path, l->named, err);
}

static void list_close(struct lafs_source *src)
{
    struct list *l = (struct list *)src;
    lafs_input_close(&l->in);
    lafs_buf_release(&l->line);
    lafs_buf_release(&l->data);
    lafs_free(l);
}

/* Whether the first lines, as far as they are whole, name files of more than one folder. */
static int list_has_folders(const struct lafs_input *in)
{
    const unsigned char *p = lafs_input_data(in), *end = p + lafs_input_left(in);
    struct lafs_folders f = {0};
    while (p < end && !f.several) {
        const unsigned char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        if (!nl && !in->eof) break;
        if (stop > p && stop[-1] == '\r') stop--;
        if (stop > p) lafs_folders_add(&f, (const char *)p, (size_t)(stop - p)); /* an empty line names none */
        p = nl ? nl + 1 : end;
    }
    return f.several;
}

lafs_status lafs_list_open(struct lafs_source **out, struct lafs_env *env, const char *path, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {list_next, list_close};
    struct list *l;
    LAFS_TRY(lafs_alloc0(&l, 1, sizeof *l, err));
    l->base = (struct lafs_source){&ops, env, -1};
    lafs_status st = lafs_source_lines(&l->in, path, err);
    if (st == LAFS_OK) st = lafs_input_fill(&l->in, 1 << 20, err);
    if (st == LAFS_OK && lafs_input_left(&l->in) == 0) st = lafs_fail(err, LAFS_CUT, "%s is empty", l->in.name);
    if (st == LAFS_OK) st = lafs_env_photos(env, l->in.name, err);
    if (st != LAFS_OK) {
        list_close(&l->base);
        return st;
    }
    l->named = env->opt.names == LAFS_NAMES_DIR;
    if (env->opt.names == LAFS_NAMES_AUTO) l->named = list_has_folders(&l->in);
    *out = &l->base;
    return LAFS_OK;
}
