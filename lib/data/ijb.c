/* A folder of IJB-B or IJB-C as published: photos in loose_crop/, and in meta/ the lists *_name_5pts_score.txt
 * (`IMAGE x1 y1 .. x5 y5 score`: which photos there are, and in which order) and *_face_tid_mid.txt (`IMAGE template
 * media`). The first is read line by line; of the second each image's numbers are held. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "data/ijbline.h"
#include "data/keyset.h"
#include "data/source.h"

#define POINTS_LIST "_name_5pts_score.txt"
#define TEMPLATES_LIST "_face_tid_mid.txt"

struct image {
    size_t name;      /* offset in names */
    int64_t template_id, media_id, line, taken; /* lines of the two lists; 0: none */
};
struct ijb {
    struct lafs_source base;
    struct lafs_input list; /* of points */
    int64_t line_number;
    struct lafs_buf line, data, disk, key;
    size_t disk_len;        /* of DIR/loose_crop/ in disk */
    size_t prefix_len;      /* in key */
    int has_templates;
    struct image *image;
    size_t count, cap;
    struct lafs_buf names;  /* as the lists have them, each ended by NUL */
    struct lafs_keyset set; /* of names; id: number in image */
};

/* ---- lines ---- */

/* The next line of a list into b->line; *number: which it is. */
static lafs_status next_line(struct ijb *b, struct lafs_input *in, int64_t *number, struct lafs_err *err)
{
    int64_t passed = 0;
    LAFS_TRY(lafs_source_line(in, &b->line, &passed, err));
    *number += passed;
    return LAFS_OK;
}

static lafs_status in_line(const struct lafs_input *in, int64_t number, struct lafs_err *err)
{
    return lafs_err_prefix(err, "%s line %lld", in->name, (long long)number);
}

/* ---- images ---- */

static int same_name(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct ijb *b = arg;
    const char *have = (const char *)b->names.data + b->image[id].name;
    return strlen(have) == len && memcmp(have, key, len) == 0;
}

/* The image of that name, old or new. */
static lafs_status find_image(struct ijb *b, const char *name, size_t len, struct image **out, struct lafs_err *err)
{
    uint64_t id;
    if (!lafs_keyset_find(&b->set, name, len, &id)) {
        if (b->count == b->cap) {
            size_t cap = b->cap ? b->cap * 2 : 1024;
            LAFS_TRY(lafs_resize(&b->image, b->count, cap, sizeof *b->image, err));
            b->cap = cap;
        }
        id = b->count;
        b->image[b->count++] = (struct image){.name = b->names.size};
        lafs_buf_put(&b->names, name, len);
        lafs_buf_putc(&b->names, 0);
        LAFS_TRY(lafs_buf_check(&b->names, err));
        LAFS_TRY(lafs_keyset_add(&b->set, name, len, id, err));
    }
    *out = &b->image[id];
    return LAFS_OK;
}

static lafs_status read_templates(struct ijb *b, const char *path, struct lafs_err *err)
{
    struct lafs_input in;
    struct lafs_ijb_line f;
    int64_t number = 0;
    LAFS_TRY(lafs_source_lines(&in, path, err));
    lafs_status st;
    while ((st = next_line(b, &in, &number, err)) == LAFS_OK) {
        struct image *im;
        int64_t template_id, media_id;
        st = lafs_ijb_template_line(&f, (const char *)b->line.data, b->line.size, &template_id, &media_id, err);
        if (st != LAFS_OK) {
            in_line(&in, number, err);
            break;
        }
        LAFS_TRY_GOTO(st, find_image(b, f.field[0], f.len[0], &im, err), done);
        if (im->line) {
            st = lafs_fail(err, LAFS_FAILED, "%s line %lld: '%s' was in line %lld already", in.name, (long long)number,
                           (const char *)b->names.data + im->name, (long long)im->line);
            break;
        }
        im->template_id = template_id, im->media_id = media_id, im->line = number;
    }
done:
    lafs_input_close(&in);
    return st == LAFS_END ? LAFS_OK : st;
}

/* ---- samples ---- */

static lafs_status add_fields(struct ijb *b, struct lafs_sample *s, const struct lafs_ijb_line *f,
                              const struct image *im, struct lafs_err *err)
{
    float points[LAFS_IJB_SCORE];
    double v;
    for (int i = 0; i <= LAFS_IJB_SCORE; i++) {
        if (lafs_ijb_number(f, i, &v, err) != LAFS_OK) return in_line(&b->list, b->line_number, err);
        if (i < LAFS_IJB_SCORE) points[i] = (float)v;
    }
    lafs_sample_set_f32(s, "points", (int64_t[]){5, 2}, 2, points);
    lafs_sample_set_double(s, "score", v);
    if (b->has_templates && !im->line)
        return lafs_fail(err, LAFS_BAD_RECORD, "its folder's list *%s names no template for it", TEMPLATES_LIST);
    if (!b->has_templates) return lafs_sample_check(s, err);
    lafs_sample_set_int(s, "template", im->template_id);
    lafs_sample_set_int(s, "media", im->media_id);
    return lafs_sample_check(s, err);
}

static int leads_out(const char *path)
{
    if (*path == '/') return 1;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2])) return 1;
    }
    return 0;
}

static lafs_status ijb_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct ijb *b = (struct ijb *)src;
    struct lafs_ijb_line f;
    struct image *im;
    LAFS_TRY(next_line(b, &b->list, &b->line_number, err));
    if (lafs_ijb_points_line(&f, (const char *)b->line.data, b->line.size, err) != LAFS_OK)
        return in_line(&b->list, b->line_number, err);
    LAFS_TRY(find_image(b, f.field[0], f.len[0], &im, err));
    b->disk.size = b->disk_len;
    lafs_buf_put(&b->disk, f.field[0], f.len[0]);
    b->key.size = b->prefix_len;
    lafs_buf_put(&b->key, f.field[0], f.len[0]);
    const char *disk = lafs_buf_str(&b->disk), *key = lafs_buf_str(&b->key);
    if (!disk || !key) return lafs_buf_check(disk ? &b->key : &b->disk, err);
    if (leads_out(disk + b->disk_len))
        return lafs_fail(err, LAFS_BAD_RECORD, "%s line %lld: '%s' leads out of the folder", b->list.name,
                         (long long)b->line_number, disk + b->disk_len);
    lafs_status st = lafs_photo_read(src->env, s, &b->data, disk, key, 0, err);
    if (st == LAFS_OK && im->taken)
        st = lafs_fail(err, LAFS_BAD_RECORD, "%s line %lld: it was in line %lld already", b->list.name,
                       (long long)b->line_number, (long long)im->taken);
    if (!im->taken) im->taken = b->line_number;
    return st == LAFS_OK ? add_fields(b, s, &f, im, err) : st;
}

static void ijb_close(struct lafs_source *src)
{
    struct ijb *b = (struct ijb *)src;
    lafs_input_close(&b->list);
    lafs_buf_release(&b->line);
    lafs_buf_release(&b->data);
    lafs_buf_release(&b->disk);
    lafs_buf_release(&b->key);
    lafs_buf_release(&b->names);
    lafs_free(b->image);
    lafs_keyset_release(&b->set);
    lafs_free(b);
}

/* ---- opening ---- */

/* The path of the one file of DIR/meta whose name ends so. LAFS_END: there is none, or no such directory. */
static lafs_status find_list(const char *dir, const char *ending, struct lafs_buf *path, struct lafs_err *err)
{
    lafs_buf_clear(path);
    lafs_buf_printf(path, "%s/meta/", dir);
    size_t len = path->size, end = strlen(ending);
    const char *meta = lafs_buf_str(path);
    if (!meta) return lafs_buf_check(path, err);
    DIR *d = opendir(meta);
    if (!d && (errno == ENOENT || errno == ENOTDIR)) return LAFS_END;
    if (!d) return lafs_fail(err, LAFS_FAILED, "cannot open '%s': %s", meta, lafs_strerror(errno));
    int found = 0;
    for (const struct dirent *e; errno = 0, (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' || n <= end || strcmp(e->d_name + n - end, ending)) continue;
        found++;
        path->size = len;
        lafs_buf_puts(path, e->d_name);
    }
    int why = errno;
    closedir(d);
    if (why) return lafs_fail(err, LAFS_FAILED, "cannot read '%s/meta': %s", dir, lafs_strerror(why));
    if (!lafs_buf_str(path)) return lafs_buf_check(path, err);
    if (found > 1) return lafs_fail(err, LAFS_FAILED, "'%s/meta' holds several lists *%s", dir, ending);
    return found ? LAFS_OK : LAFS_END;
}

lafs_status lafs_ijb_here(const char *dir, struct lafs_err *err)
{
    struct lafs_buf path;
    struct stat s;
    lafs_buf_init(&path);
    lafs_buf_printf(&path, "%s/loose_crop", dir);
    const char *p = lafs_buf_str(&path);
    lafs_status st = lafs_buf_check(&path, err);
    if (p) st = stat(p, &s) == 0 && S_ISDIR(s.st_mode) ? find_list(dir, POINTS_LIST, &path, err) : LAFS_END;
    lafs_buf_release(&path);
    return st;
}

static lafs_status open_lists(struct ijb *b, const char *dir, struct lafs_err *err)
{
    struct lafs_buf path;
    lafs_buf_init(&path);
    lafs_status st = find_list(dir, TEMPLATES_LIST, &path, err);
    b->has_templates = st == LAFS_OK;
    if (st == LAFS_OK) st = read_templates(b, (const char *)path.data, err);
    else if (st == LAFS_END) st = LAFS_OK;
    if (st == LAFS_OK) st = find_list(dir, POINTS_LIST, &path, err);
    if (st == LAFS_OK) st = lafs_source_lines(&b->list, (const char *)path.data, err);
    lafs_buf_release(&path);
    return st;
}

lafs_status lafs_ijb_open(struct lafs_source **out, struct lafs_env *env, const char *dir, const char *prefix,
                          struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {ijb_next, ijb_close};
    struct ijb *b;
    LAFS_TRY(lafs_alloc0(&b, 1, sizeof *b, err));
    b->base = (struct lafs_source){&ops, env, -1};
    b->list = (struct lafs_input){.fd = -1, .file_size = -1};
    b->set.same = same_name;
    b->set.arg = b;
    lafs_buf_printf(&b->disk, "%s/loose_crop/", dir);
    b->disk_len = b->disk.size;
    lafs_buf_puts(&b->key, prefix);
    b->prefix_len = b->key.size;
    lafs_status st = open_lists(b, dir, err);
    if (st == LAFS_OK) st = lafs_env_photos(env, dir, err);
    if (st != LAFS_OK) {
        ijb_close(&b->base);
        return st;
    }
    if (b->has_templates) b->base.expected = (int64_t)b->count;
    *out = &b->base;
    return LAFS_OK;
}
