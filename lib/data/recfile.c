/* Reading MXNet's RecordIO as InsightFace ships its training sets: `x.rec`, and beside it `x.idx`, `x.names` (our own:
 * lines `CLASS<tab>NAME`) and `property`, where they are there. In the file's order, in constant memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "data/face.h"
#include "data/source.h"
#include "format/recordio.h"

enum { MAX_PROPERTY = 1 << 16, MAX_NAMES = 1 << 30 };

/* A line of x.names. */
struct class_name {
    int64_t cls;
    size_t name; /* offset in names */
};

struct recfile {
    struct lafs_source base;
    struct lafs_input in;
    struct lafs_buf joined, file; /* file: the path of what lies beside */
    struct lafs_rec ahead;        /* the first record, read at opening */
    lafs_status ahead_st;
    struct lafs_err ahead_why;
    int has_ahead;
    struct lafs_input idx;        /* fd -1: none */
    int64_t idx_line;
    struct lafs_buf line;         /* of .idx or .names */
    int64_t records, images;      /* read so far */
    int64_t first_key;            /* without .idx: 1 where record 0 comes last, as some tools write it */
    int ranges;                   /* record 0 says where images end and identities begin, .. */
    int64_t image_end, identity_end; /* .. and these are the keys; 0: not known yet */
    struct lafs_buf names;        /* the text of x.names, each name ended by NUL */
    struct class_name *name;      /* (named) by class, each once */
    size_t named, name_cap;
};

/* ---- what lies beside ---- */

/* The path beside the file: its suffix replaced (beside ".idx"), or another file of its folder ("property"). */
static const char *path_beside(struct recfile *r, const char *path, const char *beside)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    size_t folder = slash ? (size_t)(slash + 1 - path) : 0, stem = dot ? (size_t)(dot - path) : strlen(path);
    size_t len = beside[0] == '.' ? stem : folder;
    lafs_buf_clear(&r->file);
    lafs_buf_put(&r->file, path, len);
    lafs_buf_puts(&r->file, beside);
    const char *p = lafs_buf_str(&r->file);
    return p && access(p, F_OK) == 0 ? p : NULL;
}

/* The key of the record at `at`, by the .idx, whose lines stand in the order of the file. */
static lafs_status indexed_key(struct recfile *r, int64_t at, int64_t *key, struct lafs_err *err)
{
    int64_t offset = 0;
    lafs_status st = lafs_source_line(&r->idx, &r->line, &r->idx_line, err);
    if (st == LAFS_END) {
        return lafs_fail(err, LAFS_FAILED, "%s ends before the record at byte %lld of %s (from standard input it is "
                         "read without it)", r->idx.name, (long long)at, r->in.name);
    }
    LAFS_TRY(st);
    if (!lafs_rec_idx_line((const char *)r->line.data, r->line.size, key, &offset))
        return lafs_fail(err, LAFS_FAILED, "%s: line %lld is not 'KEY<tab>OFFSET'", r->idx.name,
                         (long long)r->idx_line);
    if (offset != at)
        return lafs_fail(err, LAFS_FAILED, "%s does not fit %s: it says that record %lld begins at byte %lld, not %lld",
                         r->idx.name, r->in.name, (long long)*key, (long long)offset, (long long)at);
    return LAFS_OK;
}

/* A line of x.names: CLASS<tab>NAME. */
static lafs_status add_name(struct recfile *r, int64_t number, const char *path, struct lafs_err *err)
{
    char *line = (char *)lafs_buf_str(&r->line), *tab = line ? strchr(line, '\t') : NULL;
    int64_t cls;
    if (!line) return lafs_buf_check(&r->line, err);
    if (tab) *tab = 0;
    if (!tab || !lafs_parse_int(line, &cls) || cls < 0 || cls > LAFS_REC_MAX_LABEL || !tab[1])
        return lafs_fail(err, LAFS_FAILED, "'%s' line %lld is not 'CLASS<tab>NAME'", path, (long long)number);
    if (r->named == r->name_cap) {
        size_t cap = r->name_cap ? 2 * r->name_cap : 1024;
        LAFS_TRY(lafs_resize(&r->name, r->named, cap, sizeof *r->name, err));
        r->name_cap = cap;
    }
    r->name[r->named++] = (struct class_name){cls, r->names.size};
    lafs_buf_put(&r->names, tab + 1, strlen(tab + 1) + 1);
    if (r->names.size > MAX_NAMES) return lafs_fail(err, LAFS_FAILED, "'%s': too many names", path);
    return lafs_buf_check(&r->names, err);
}

static int by_class(const void *a, const void *b)
{
    const struct class_name *x = a, *y = b;
    if (x->cls != y->cls) return x->cls < y->cls ? -1 : 1;
    return (x->name > y->name) - (x->name < y->name);
}

/* Sorts the names; of several of one class the last stays. */
static void sort_names(struct recfile *r)
{
    size_t n = 0;
    qsort(r->name, r->named, sizeof *r->name, by_class);
    for (size_t i = 0; i < r->named; i++)
        if (i + 1 == r->named || r->name[i].cls != r->name[i + 1].cls) r->name[n++] = r->name[i];
    r->named = n;
}

static lafs_status read_names(struct recfile *r, const char *path, struct lafs_err *err)
{
    struct lafs_input in;
    int64_t number = 0;
    lafs_status st;
    LAFS_TRY(lafs_source_lines(&in, path, err));
    while ((st = lafs_source_line(&in, &r->line, &number, err)) == LAFS_OK)
        if ((st = add_name(r, number, path, err)) != LAFS_OK) break;
    lafs_input_close(&in);
    if (st != LAFS_END) return st;
    if (r->named) sort_names(r);
    return LAFS_OK;
}

/* NULL: none. */
static const char *name_of(const struct recfile *r, int64_t cls)
{
    size_t lo = 0, hi = r->named;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->name[mid].cls < cls) lo = mid + 1;
        else hi = mid;
    }
    return lo < r->named && r->name[lo].cls == cls ? (const char *)r->names.data + r->name[lo].name : NULL;
}

/* `property`: CLASSES,HEIGHT,WIDTH. 0 where it says nothing that helps. */
static int stated_size(const char *path)
{
    struct lafs_buf b;
    int h = 0, w = 0, side = 0;
    long classes;
    lafs_buf_init(&b);
    if (lafs_buf_read_file(&b, path, MAX_PROPERTY, NULL) == LAFS_OK && lafs_buf_str(&b) &&
        sscanf(lafs_buf_str(&b), "%9ld,%9d,%9d", &classes, &h, &w) == 3 && h == w && h >= 1 && h <= 65500)
        side = h;
    lafs_buf_release(&b);
    return side;
}

/* ---- records ---- */

static lafs_status check_class(struct recfile *r, float label, int64_t key, int64_t *cls, struct lafs_err *err)
{
    if (lafs_rec_class(label, cls)) return LAFS_OK;
    if (label > LAFS_REC_MAX_LABEL)
        return lafs_fail(err, LAFS_FAILED, "%s: label %.9g of record %lld is 2^24 or more, from where on RecordIO's "
                         "labels are not exact: people would be mixed up", r->in.name, (double)label, (long long)key);
    return lafs_fail(err, LAFS_BAD_RECORD, "label %.9g is no number of a class", (double)label);
}

static lafs_status to_sample(struct recfile *r, const struct lafs_rec *rec, int64_t number, struct lafs_sample *s,
                             struct lafs_err *err)
{
    char key[32];
    int64_t cls = 0;
    snprintf(key, sizeof key, "%08lld", (long long)number);
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", key);
    if (r->image_end && number >= r->image_end)
        return lafs_fail(err, LAFS_BAD_RECORD, "a picture behind the %lld that record 0 tells of",
                         (long long)r->image_end - 1);
    LAFS_TRY(lafs_photo_check(rec->data, rec->size, err));
    LAFS_TRY(check_class(r, lafs_rec_label(rec, 0), number, &cls, err));
    lafs_face_set(s, rec->data, rec->size);
    lafs_sample_set_int(s, "cls", cls);
    const char *name = name_of(r, cls);
    if (name) lafs_sample_set_str(s, "name", name);
    else if (r->base.env->opt.names != LAFS_NAMES_NONE) lafs_name_from_cls(s);
    if (rec->flag > 1) {
        float label[LAFS_REC_MAX_LABELS];
        for (uint32_t i = 0; i < rec->flag; i++) label[i] = lafs_rec_label(rec, i);
        lafs_sample_set_f32(s, "labels", (int64_t[]){rec->flag}, 1, label);
    }
    return lafs_sample_check(s, err);
}

/* Record 0, or one of a person's range: no picture. */
static int is_meta(struct recfile *r, const struct lafs_rec *rec, int64_t key)
{
    int empty = rec->flag > 0 && rec->size == 0;
    if (empty && key == 0) {
        r->ranges = 1;
        if (rec->flag >= 2) {
            int64_t a, b;
            if (lafs_rec_class(lafs_rec_label(rec, 0), &a) && lafs_rec_class(lafs_rec_label(rec, 1), &b) && a >= 1)
                r->image_end = a, r->identity_end = b;
        }
    }
    return empty || (r->image_end && key >= r->image_end && rec->size == 0);
}

/* What is known of the file's end: the rest of its .idx, and record 0. */
static lafs_status at_end(struct recfile *r, struct lafs_err *err)
{
    lafs_status st = r->idx.fd >= 0 ? lafs_source_line(&r->idx, &r->line, &r->idx_line, err) : LAFS_END;
    if (st != LAFS_OK && st != LAFS_END) return st;
    if (st == LAFS_OK)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: it ends after %lld records, %s lists more", r->in.name,
                         (long long)r->records, r->idx.name);
    if (r->image_end && r->images < r->image_end - 1)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: it ends after %lld images, its record 0 says %lld", r->in.name,
                         (long long)r->images, (long long)r->image_end - 1);
    return LAFS_END;
}

static lafs_status next_record(struct recfile *r, struct lafs_rec *rec, struct lafs_err *err)
{
    if (!r->has_ahead) return lafs_rec_next(&r->in, &r->joined, r->base.env->opt.max_record, rec, err);
    r->has_ahead = 0;
    *rec = r->ahead;
    return r->ahead_st == LAFS_OK ? LAFS_OK : lafs_fail(err, r->ahead_st, "%s", r->ahead_why.msg);
}

static lafs_status rec_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct recfile *r = (struct recfile *)src;
    struct lafs_rec rec;
    for (;;) {
        lafs_status st = next_record(r, &rec, err);
        if (st == LAFS_END) return at_end(r, err);
        if (st != LAFS_OK && st != LAFS_BAD_RECORD) return st;
        int64_t key = r->first_key + r->records;
        if (r->idx.fd >= 0) LAFS_TRY(indexed_key(r, rec.at, &key, err));
        r->records++;
        if (st == LAFS_OK && is_meta(r, &rec, key)) continue;
        r->images++;
        if (st == LAFS_OK) return to_sample(r, &rec, key, s, err);
        char text[32];
        snprintf(text, sizeof text, "%08lld", (long long)key);
        lafs_sample_clear(s);
        lafs_sample_set_str(s, "key", text);
        return st;
    }
}

static void rec_close(struct lafs_source *src)
{
    struct recfile *r = (struct recfile *)src;
    lafs_input_close(&r->in);
    lafs_input_close(&r->idx);
    lafs_buf_release(&r->joined);
    lafs_buf_release(&r->file);
    lafs_buf_release(&r->line);
    lafs_buf_release(&r->names);
    lafs_free(r->name);
    lafs_free(r);
}

/* ---- opening ---- */

/* Says what is assumed, to the user and in the provenance. */
static lafs_status describe(struct recfile *r, int side, struct lafs_err *err)
{
    struct lafs_env *env = r->base.env;
    const char *channels = env->opt.swapped ? "bgr" : "rgb";
    const char *layout = r->ranges ? "ranges" : "flat";
    struct lafs_header h;
    struct lafs_buf b;
    lafs_header_init(&h);
    lafs_buf_init(&b);
    h.pixels = (struct lafs_pixels){side, "given", "rgb"};
    lafs_status st = lafs_header_add_prov(&h, "recordio", "1", (const char *[]){"layout", "channels"},
                                          (const char *[]){layout, channels}, 2, err);
    lafs_buf_printf(&b, "%s: RecordIO, ", r->in.name);
    if (r->image_end)
        lafs_buf_printf(&b, "%lld images of %lld people, ", (long long)r->image_end - 1,
                        (long long)(r->identity_end - r->image_end));
    lafs_buf_printf(&b, "read %s .idx%s", r->idx.fd >= 0 ? "with its" : "without", r->named ? " and with names" : "");
    lafs_env_note_pictures(env, &b);
    lafs_buf_release(&b);
    if (st != LAFS_OK) lafs_header_release(&h);
    return st == LAFS_OK ? lafs_env_header(env, &h, r->in.name, err) : st;
}

static lafs_status open_rec(struct recfile *r, const char *path, struct lafs_err *err)
{
    int side = 0;
    if (!r->in.keep_fd) {
        const char *idx = path_beside(r, path, ".idx");
        if (idx) LAFS_TRY(lafs_input_open(&r->idx, idx, err));
        const char *names = path_beside(r, path, ".names");
        if (names) LAFS_TRY(read_names(r, names, err));
        const char *property = path_beside(r, path, "property");
        if (property) side = stated_size(property);
        LAFS_TRY(lafs_buf_check(&r->file, err));
    }
    r->ahead_st = lafs_rec_next(&r->in, &r->joined, r->base.env->opt.max_record, &r->ahead, &r->ahead_why);
    r->has_ahead = 1;
    if (r->ahead_st == LAFS_OK && is_meta(r, &r->ahead, 0) && r->image_end) r->base.expected = r->image_end - 1;
    r->first_key = r->ahead_st == LAFS_OK && !r->ranges && r->ahead.id == 1;
    return describe(r, side, err);
}

lafs_status lafs_rec_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, const char *path,
                          struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {rec_next, rec_close};
    struct recfile *r;
    lafs_status st = lafs_alloc0(&r, 1, sizeof *r, err);
    if (st != LAFS_OK) {
        lafs_input_close(in);
        return st;
    }
    r->base = (struct lafs_source){&ops, env, -1};
    r->in = *in;
    *in = r->idx = (struct lafs_input){.fd = -1, .file_size = -1};
    st = open_rec(r, path, err);
    if (st != LAFS_OK) {
        rec_close(&r->base);
        return st;
    }
    *out = &r->base;
    return LAFS_OK;
}
