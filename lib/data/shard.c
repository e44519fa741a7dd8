/* Reading a tar shard: members of one key make a sample. The convention is WebDataset's; ours add a header and a
 * trailer as members. A tar of photos is such a shard, too. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "data/face.h"
#include "data/source.h"
#include "format/archive.h"

enum { NAMES_LOOK = 10000 }; /* members looked at to tell whether photos lie in several directories */

struct shard {
    struct lafs_source base;
    struct lafs_input in;
    char name[256];              /* for messages */
    struct lafs_archive *tar;
    struct lafs_archive_member m;    /* the member that was read last and not used, if `pending` */
    int pending, ended;
    int scan, foreign, named;
    int last_foreign;            /* as `foreign` was for the sample given out last */
    struct lafs_section section;
    struct lafs_buf data, key, suffix;
    /* the sample that is being put together */
    struct lafs_sample s;
    int members, plain;          /* of these not like KEY.more.jpg */
    size_t bytes;
    struct lafs_err why;         /* status LAFS_OK, or what is wrong with it */
    int64_t offset, end;
    /* photos with dots in their names, given out one by one: fields of `split` from `split_at` */
    struct lafs_sample split;
    int split_at;
};

/* ---- members ---- */

enum kind { KIND_SAMPLE, KIND_OPENS, KIND_CLOSES, KIND_LINK, KIND_SKIP };

static void lower(unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] |= 0x20;
}

/* KEY.more.jpg (or .png): perhaps a photo with dots in its name. */
static int is_plain(const char *suffix)
{
    const char *dot = strrchr(suffix, '.');
    return dot == suffix || !lafs_ends_as_photo(suffix);
}

/* Splits the member's name into key and suffix, at the first dot of its base name. */
static enum kind split_name(struct shard *sh, const char *name)
{
    while (name[0] == '.' && name[1] == '/') name += 2;
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strchr(base, '.');
    size_t len = strlen(base);
    if (strcmp(name, LAFS_OPENS) == 0) return KIND_OPENS;
    if (strcmp(name, LAFS_CLOSES) == 0) return KIND_CLOSES;
    if (len >= 4 && strncmp(base, "__", 2) == 0 && strcmp(base + len - 2, "__") == 0) return KIND_SKIP;
    if (!dot || dot == base) return KIND_SKIP;
    lafs_buf_clear(&sh->key);
    lafs_buf_put(&sh->key, name, (size_t)(dot - name));
    lafs_buf_clear(&sh->suffix);
    lafs_buf_puts(&sh->suffix, dot); /* with its dot: so are fields of foreign shards named */
    if (is_plain(dot)) lower(sh->suffix.data, sh->suffix.size);
    return KIND_SAMPLE;
}

static lafs_status read_member(struct shard *sh, size_t max, struct lafs_err *err)
{
    lafs_buf_clear(&sh->data);
    return lafs_archive_data(sh->tar, max, &sh->data, err);
}

static lafs_status parse_cls(const struct lafs_buf *b, int64_t *v, struct lafs_err *err)
{
    const unsigned char *p = b->data, *end = p + b->size;
    while (end > p && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' ')) end--;
    int minus = end > p && *p == '-';
    p += minus;
    *v = 0;
    if (p == end) return lafs_fail(err, LAFS_BAD_RECORD, "its .cls holds no number");
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || *v > (INT64_MAX - 9) / 10)
            return lafs_fail(err, LAFS_BAD_RECORD, "its .cls holds no number");
        *v = *v * 10 + (*p - '0');
    }
    if (minus) *v = -*v;
    return LAFS_OK;
}

/* Fields of a `.mp` member join the sample as they came. */
static lafs_status join_fields(struct lafs_sample *s, const struct lafs_buf *map, struct lafs_err *err)
{
    struct lafs_sample more;
    lafs_sample_init(&more);
    lafs_status st = lafs_sample_decode(&more, map->data, map->size, err);
    for (int i = 0; i < more.count && st == LAFS_OK; i++) {
        char name[LAFS_MAX_FIELD_NAME + 1];
        const struct lafs_field *f = &more.field[i];
        memcpy(name, more.buf.data + f->name, f->name_len);
        name[f->name_len] = 0;
        if (name[0] == '.' || strcmp(name, "key") == 0 || strcmp(name, "jpg") == 0 || strcmp(name, "png") == 0 ||
            strcmp(name, "cls") == 0)
            st = lafs_fail(err, LAFS_BAD_RECORD, "its .mp holds a field '%s', which has a member of its own", name);
        else lafs_sample_set_raw(s, name, more.buf.data + f->at, f->len);
    }
    lafs_sample_release(&more);
    return st == LAFS_OK ? lafs_sample_check(s, err) : st;
}

static lafs_status add_bytes(struct shard *sh, const char *field, struct lafs_err *err)
{
    if (sh->s.count == LAFS_MAX_FIELDS)
        return lafs_fail(err, LAFS_BAD_RECORD, "record of more than %d fields", LAFS_MAX_FIELDS);
    if (strlen(field) > LAFS_MAX_FIELD_NAME)
        return lafs_fail(err, LAFS_BAD_RECORD, "suffix of more than %d bytes", LAFS_MAX_FIELD_NAME);
    if (lafs_sample_has(&sh->s, field)) return lafs_fail(err, LAFS_BAD_RECORD, "'%s' occurs twice in it", field);
    lafs_sample_set_bin(&sh->s, field, sh->data.data, sh->data.size);
    return lafs_sample_check(&sh->s, err);
}

/* Puts the member into the sample. LAFS_BAD_RECORD spoils the sample, not the shard. */
static lafs_status use_member(struct shard *sh, struct lafs_err *err)
{
    const char *suffix = lafs_buf_str(&sh->suffix);
    size_t max = sh->base.env->opt.max_record;
    int64_t cls;
    if (!suffix) return lafs_buf_check(&sh->suffix, err);
    sh->members++;
    sh->plain += is_plain(suffix);
    int is_map = strcmp(suffix, ".mp") == 0 || strcmp(suffix, ".msg") == 0, is_cls = strcmp(suffix, ".cls") == 0;
    lafs_buf_clear(&sh->data);
    lafs_status st = !sh->scan || is_map || is_cls ? read_member(sh, max, err) : LAFS_OK;
    sh->section.passed_over |= st == LAFS_BAD_RECORD; /* too large: its bytes are not looked at */
    LAFS_TRY(st);
    if (sh->section.open && !sh->section.no_digest)
        lafs_digest_member(&sh->section.digest, sh->m.name, sh->data.data, sh->data.size);
    sh->bytes += sh->data.size;
    if (sh->bytes > max) return lafs_fail(err, LAFS_BAD_RECORD, "record of more than %zu bytes", max);
    int is_png = strcmp(suffix, ".png") == 0;
    if (is_png || strcmp(suffix, ".jpg") == 0 || strcmp(suffix, ".jpeg") == 0) {
        LAFS_TRY(add_bytes(sh, is_png ? "png" : "jpg", err));
        return sh->foreign && !sh->scan ? lafs_photo_check(sh->data.data, sh->data.size, err) : LAFS_OK;
    }
    if (is_cls) {
        if (lafs_sample_has(&sh->s, "cls")) return lafs_fail(err, LAFS_BAD_RECORD, "'.cls' occurs twice in it");
        LAFS_TRY(parse_cls(&sh->data, &cls, err));
        lafs_sample_set_int(&sh->s, "cls", cls);
        return lafs_sample_check(&sh->s, err);
    }
    if (is_map) {
        /* A mark, so that a second one is seen even when the first was empty. */
        if (lafs_sample_has(&sh->s, ".mp")) return lafs_fail(err, LAFS_BAD_RECORD, "'%s' occurs twice in it", suffix);
        lafs_sample_set_bin(&sh->s, ".mp", "", 0);
        return join_fields(&sh->s, &sh->data, err);
    }
    return add_bytes(sh, suffix, err);
}

/* ---- samples ---- */

static void begin_sample(struct shard *sh)
{
    lafs_sample_clear(&sh->s);
    lafs_sample_set_strn(&sh->s, "key", (const char *)sh->key.data, sh->key.size);
    sh->members = sh->plain = 0;
    sh->bytes = 0;
    sh->why.status = LAFS_OK;
    sh->offset = sh->m.offset;
}

static int same_key(const struct shard *sh)
{
    const char *key = lafs_sample_key(&sh->s);
    return strlen(key) == sh->key.size && memcmp(key, sh->key.data, sh->key.size) == 0;
}

/* KEY.more.jpg alone: a photo with dots in its name. */
static lafs_status next_split(struct shard *sh, struct lafs_sample *s, struct lafs_err *err)
{
    const struct lafs_field *f = &sh->split.field[sh->split_at++];
    struct lafs_buf path;
    lafs_buf_init(&path);
    lafs_buf_puts(&path, lafs_sample_key(&sh->split));
    lafs_buf_put(&path, sh->split.buf.data + f->name, f->name_len);
    struct lafs_walk w = {sh->split.buf.data + f->at, sh->split.buf.data + f->at + f->len};
    struct lafs_mp_value v;
    lafs_status st = lafs_walk_next(&w, &v, err);
    const char *p = lafs_buf_str(&path);
    if (!p) st = lafs_buf_check(&path, err);
    if (st == LAFS_OK && sh->scan) st = lafs_photo_sample(s, p, "\xff\xd8\xff", 3, sh->named, err);
    else if (st == LAFS_OK) st = lafs_photo_sample(s, p, v.data, v.len, sh->named, err);
    lafs_buf_release(&path);
    sh->section.count++;
    return st;
}

static const char *picture_in(const struct lafs_sample *s, char name[LAFS_MAX_FIELD_NAME + 1])
{
    for (int i = 0; i < s->count; i++) {
        size_t len = s->field[i].name_len;
        memcpy(name, s->buf.data + s->field[i].name, len);
        name[len] = 0;
        if (name[0] == '.' && lafs_ends_as_picture(name)) return name + 1;
    }
    return NULL;
}

/* Suffixes that kept their case, in case they were parts of names, are suffixes after all. */
static lafs_status lower_suffixes(struct lafs_sample *s, struct lafs_err *err)
{
    for (int i = 0; i < s->count; i++) {
        unsigned char *name = s->buf.data + s->field[i].name;
        size_t len = s->field[i].name_len;
        if (name[0] != '.') continue;
        lower(name, len);
        for (int k = 0; k < i; k++)
            if (s->field[k].name_len == len && memcmp(s->buf.data + s->field[k].name, name, len) == 0)
                return lafs_fail(err, LAFS_BAD_RECORD, "'%.*s' occurs twice in it", (int)len, (char *)name);
    }
    return LAFS_OK;
}

/* Photos with dots in their names may be many of one key, as frames of a film are: those that have come are given out
 * before the next one makes them too many, or too large, for one sample. */
static int is_full(const struct shard *sh)
{
    if (!sh->foreign || sh->plain) return 0;
    const int64_t span = sh->m.offset - sh->offset;
    return sh->s.count == LAFS_MAX_FIELDS || sh->m.size > (int64_t)sh->base.env->opt.max_record - span;
}

/* Gives the finished sample out. */
static lafs_status end_sample(struct shard *sh, struct lafs_sample *s, struct lafs_err *err)
{
    char name[LAFS_MAX_FIELD_NAME + 1];
    const char *picture;
    int members = sh->members;
    sh->members = 0;
    sh->end = lafs_tar_last_end(sh->tar);
    sh->last_foreign = sh->foreign;
    if (sh->foreign && sh->plain == 0 && sh->why.status == LAFS_OK) {
        lafs_sample_swap(&sh->split, &sh->s);
        sh->split_at = 1; /* behind the key */
        return next_split(sh, s, err);
    }
    sh->section.count++;
    lafs_sample_swap(s, &sh->s);
    lafs_sample_del(s, ".mp");
    if (sh->why.status != LAFS_OK) return lafs_fail(err, sh->why.status, "%s", sh->why.msg);
    LAFS_TRY(lafs_sample_check_key(s, err));
    LAFS_TRY(lower_suffixes(s, err));
    if (!sh->foreign) return lafs_sample_check(s, err);
    int photo = lafs_face_has(s);
    if (!photo && (picture = picture_in(s, name)))
        return lafs_fail(err, LAFS_BAD_RECORD, "%s pictures are not read: convert it to JPEG or PNG first", picture);
    if (sh->named && members == 1 && photo) lafs_name_from_key(s);
    if (sh->base.env->opt.names != LAFS_NAMES_NONE) lafs_name_from_cls(s);
    return lafs_sample_check(s, err);
}

/* What is wrong with a member is wrong with its sample. */
static lafs_status take_member(struct shard *sh, struct lafs_err *err)
{
    struct lafs_err why = {.status = LAFS_OK};
    if (sh->members == 0) begin_sample(sh);
    lafs_status st = use_member(sh, &why);
    if (st == LAFS_BAD_RECORD && sh->why.status == LAFS_OK) sh->why = why;
    if (st != LAFS_OK && st != LAFS_BAD_RECORD) return lafs_fail(err, st, "%s", why.msg);
    return LAFS_OK;
}

static lafs_status take_meta(struct shard *sh, enum kind kind, struct lafs_err *err)
{
    lafs_status st = read_member(sh, LAFS_MAX_HEADER, err);
    if (st == LAFS_BAD_RECORD)
        return lafs_fail(err, LAFS_FAILED, "%s: header of more than %d bytes", sh->name, LAFS_MAX_HEADER);
    LAFS_TRY(st);
    sh->foreign = kind == KIND_CLOSES; /* behind the trailer a foreign archive may follow */
    if (kind == KIND_CLOSES)
        return lafs_section_end(&sh->section, sh->base.env, sh->data.data, sh->data.size, sh->name, err);
    return lafs_section_begin(&sh->section, sh->base.env, sh->data.data, sh->data.size, sh->name, err);
}

static enum kind kind_of(struct shard *sh)
{
    if (sh->m.regular) return split_name(sh, sh->m.name);
    return sh->foreign && sh->m.link && lafs_ends_as_photo(sh->m.name) ? KIND_LINK : KIND_SKIP;
}

/* tar stores the second name of a file as a link to the first, which may be far behind us. No index lists it. */
static lafs_status refuse_link(struct shard *sh, struct lafs_sample *s, struct lafs_err *err)
{
    lafs_sample_clear(s);
    if (!sh->scan) LAFS_TRY(lafs_photo_sample(s, sh->m.name, "\xff\xd8\xff", 3, 0, err));
    return lafs_fail(err, LAFS_BAD_RECORD, "'%.200s' is a link: tar -h --hard-dereference stores the photo",
                     sh->m.name);
}

static lafs_status shard_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct shard *sh = (struct shard *)src;
    if (sh->split_at > 0 && sh->split_at < sh->split.count) return next_split(sh, s, err);
    for (;;) {
        if (!sh->pending && !sh->ended) {
            lafs_status st = lafs_archive_next(sh->tar, &sh->m, err);
            if (st != LAFS_OK && st != LAFS_END) return st;
            sh->pending = st == LAFS_OK;
            sh->ended = st == LAFS_END;
        }
        if (sh->ended)
            return sh->members ? end_sample(sh, s, err) : lafs_section_finish(&sh->section, sh->name, err);
        enum kind kind = kind_of(sh);
        LAFS_TRY(lafs_buf_check(&sh->key, err));
        LAFS_TRY(lafs_buf_check(&sh->suffix, err));
        if (kind == KIND_SKIP) {
            size_t len = strlen(sh->m.name);
            if (sh->m.regular || len == 0 || sh->m.name[len - 1] != '/') lafs_env_ignore(src->env, sh->m.name);
            sh->pending = 0;
            continue;
        }
        if (sh->members && (kind != KIND_SAMPLE || !same_key(sh) || is_full(sh))) return end_sample(sh, s, err);
        sh->pending = 0;
        if (kind == KIND_LINK) return refuse_link(sh, s, err);
        LAFS_TRY(kind == KIND_SAMPLE ? take_member(sh, err) : take_meta(sh, kind, err));
    }
}

/* ---- opening ---- */

static void shard_close(struct lafs_source *src)
{
    struct shard *sh = (struct shard *)src;
    lafs_archive_close(sh->tar);
    lafs_input_close(&sh->in);
    lafs_buf_release(&sh->data);
    lafs_buf_release(&sh->key);
    lafs_buf_release(&sh->suffix);
    lafs_sample_release(&sh->s);
    lafs_sample_release(&sh->split);
    lafs_free(sh);
}

/* Looks whether the tar's photos lie in several directories, and goes back to its start. Names are those of
 * directories then; a pipe cannot be looked through, and its directories are taken for names. */
static lafs_status guess_names(struct shard *sh, struct lafs_err *err)
{
    struct lafs_archive *t;
    struct lafs_archive_member m;
    struct lafs_folders f = {0};
    LAFS_TRY(lafs_tar_open(&t, &sh->in, err));
    for (int i = 0; i < NAMES_LOOK && !f.several && lafs_archive_next(t, &m, err) == LAFS_OK; i++) {
        if (strcmp(m.name, LAFS_OPENS) == 0) break;
        if ((m.regular || m.link) && lafs_ends_as_photo(m.name)) lafs_folders_add(&f, m.name, strlen(m.name));
    }
    sh->named = f.several;
    lafs_archive_close(t);
    /* What is wrong with it comes up again when it is read. */
    if (!lafs_input_rewind(&sh->in)) return lafs_fail(err, LAFS_FAILED, "cannot read %s twice", sh->name);
    return LAFS_OK;
}

static lafs_status first_member(struct shard *sh, struct lafs_err *err)
{
    lafs_status st = lafs_archive_next(sh->tar, &sh->m, err);
    if (st == LAFS_END) {
        sh->ended = 1;
        return LAFS_OK;
    }
    LAFS_TRY(st);
    if (split_name(sh, sh->m.name) == KIND_OPENS && sh->m.regular) return take_meta(sh, KIND_OPENS, err);
    sh->pending = 1;
    return LAFS_OK;
}

static lafs_status new_shard(struct shard **out, struct lafs_env *env, const char *name, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {shard_next, shard_close};
    LAFS_TRY(lafs_alloc0(out, 1, sizeof **out, err));
    (*out)->base = (struct lafs_source){&ops, env, -1};
    (*out)->in = (struct lafs_input){.fd = -1, .file_size = -1};
    (*out)->foreign = 1;
    (*out)->named = env->opt.names != LAFS_NAMES_NONE;
    snprintf((*out)->name, sizeof (*out)->name, "%s", name);
    return LAFS_OK;
}

lafs_status lafs_shard_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, int scan,
                            struct lafs_err *err)
{
    struct shard *sh;
    lafs_status st = new_shard(&sh, env, in->name, err);
    if (st != LAFS_OK) {
        lafs_input_close(in);
        return st;
    }
    sh->in = *in;
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
    sh->scan = sh->section.no_digest = scan;
    if (env->opt.names == LAFS_NAMES_AUTO && sh->in.file_size >= 0) st = guess_names(sh, err);
    if (st == LAFS_OK) st = lafs_tar_open(&sh->tar, &sh->in, err);
    if (st == LAFS_OK) st = first_member(sh, err);
    if (st != LAFS_OK) {
        shard_close(&sh->base);
        return st;
    }
    *out = &sh->base;
    return LAFS_OK;
}

lafs_status lafs_shard_open_memory(struct lafs_source **out, struct lafs_env *env, const void *data, size_t size,
                                   const char *name, int foreign, struct lafs_err *err)
{
    struct shard *sh;
    LAFS_TRY(new_shard(&sh, env, name, err));
    sh->foreign = foreign;
    sh->section.no_digest = 1;
    lafs_status st = lafs_tar_open_memory(&sh->tar, data, size, name, err);
    if (st != LAFS_OK) {
        shard_close(&sh->base);
        return st;
    }
    *out = &sh->base;
    return LAFS_OK;
}

void lafs_shard_span(const struct lafs_source *src, int64_t *offset, int64_t *length)
{
    const struct shard *sh = (const struct shard *)src;
    *offset = sh->offset;
    *length = sh->end - sh->offset;
}

int lafs_shard_foreign(const struct lafs_source *src) { return ((const struct shard *)src)->last_foreign; }

const char *lafs_shard_filter(const struct lafs_source *src)
{
    return lafs_tar_filter(((const struct shard *)src)->tar);
}
