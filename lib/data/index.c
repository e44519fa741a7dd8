#include "data/index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/atomicfile.h"
#include "base/mem.h"
#include "data/keyset.h"
#include "data/source.h"
#include "image/image.h"

#define FIRST_LINE "lafs-index 1"

/* ---- writing ---- */

static void put_escaped(struct lafs_buf *b, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f || c == '%') {
            lafs_buf_putc(b, '%');
            lafs_buf_putc(b, hex[c >> 4]);
            lafs_buf_putc(b, hex[c & 15]);
        } else {
            lafs_buf_putc(b, c);
        }
    }
}

void lafs_index_put_head(struct lafs_buf *b, const struct lafs_pixels *p)
{
    lafs_buf_printf(b, FIRST_LINE "\npixels\t%d\t%s\t%s\n", p->size, p->aligner[0] ? p->aligner : "-",
                    p->channels[0] ? p->channels : "-");
}

void lafs_index_put_shard(struct lafs_buf *b, const char *path, int64_t size, const char *sha256)
{
    lafs_buf_puts(b, "shard\t");
    put_escaped(b, path);
    lafs_buf_printf(b, "\t%lld\t%s\n", (long long)size, sha256[0] ? sha256 : "-");
}

void lafs_index_put_sample(struct lafs_buf *b, int64_t shard, int64_t offset, int64_t length, const char *key,
                           const char *name)
{
    lafs_buf_printf(b, "%lld\t%lld\t%lld\t", (long long)shard, (long long)offset, (long long)length);
    put_escaped(b, key);
    lafs_buf_putc(b, '\t');
    put_escaped(b, name);
    lafs_buf_putc(b, '\n');
}

void lafs_index_put_end(struct lafs_buf *b, int64_t shards, int64_t samples)
{
    lafs_buf_printf(b, "end\t%lld\t%lld\n", (long long)shards, (long long)samples);
}

/* Writes what has gathered, so that a large index needs no second copy in memory. */
static lafs_status spill(struct lafs_atomic *f, struct lafs_buf *b, size_t above, struct lafs_err *err)
{
    LAFS_TRY(lafs_buf_check(b, err));
    if (b->size <= above) return LAFS_OK;
    LAFS_TRY(lafs_atomic_write(f, b->data, b->size, err));
    lafs_buf_clear(b);
    return LAFS_OK;
}

static lafs_status write_lines(const struct lafs_index *ix, struct lafs_atomic *f, struct lafs_buf *b,
                               struct lafs_err *err)
{
    lafs_index_put_head(b, &ix->pixels);
    for (int64_t i = 0; i < ix->shards; i++)
        lafs_index_put_shard(b, ix->shard[i].path, ix->shard[i].size, ix->shard[i].sha256);
    for (int64_t i = 0; i < ix->samples; i++) {
        const struct lafs_index_sample *s = &ix->sample[i];
        lafs_index_put_sample(b, s->shard, s->offset, s->length, s->key, s->name);
        LAFS_TRY(spill(f, b, 1 << 20, err));
    }
    lafs_index_put_end(b, ix->shards, ix->samples);
    return spill(f, b, 0, err);
}

lafs_status lafs_index_write(const struct lafs_index *ix, const char *path, struct lafs_err *err)
{
    struct lafs_atomic f;
    struct lafs_buf b;
    LAFS_TRY(lafs_atomic_open(&f, path, err));
    lafs_buf_init(&b);
    lafs_status st = write_lines(ix, &f, &b, err);
    lafs_buf_release(&b);
    if (st == LAFS_OK) return lafs_atomic_commit(&f, err);
    lafs_atomic_abort(&f);
    return st;
}

/* ---- reading ---- */

void lafs_index_free(struct lafs_index *ix)
{
    if (!ix) return;
    for (int64_t i = 0; ix->shard && i < ix->shards; i++) lafs_free(ix->shard[i].path);
    lafs_free(ix->shard);
    lafs_free(ix->sample);
    free(ix->strings); /* from a lafs_buf */
    lafs_free(ix->dir);
    lafs_free(ix);
}

static lafs_status new_index(struct lafs_index **out, const char *path, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(out, 1, sizeof **out, err));
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash + 1 - path) : 0;
    lafs_status st = lafs_alloc0(&(*out)->dir, len + 1, 1, err);
    if (st == LAFS_OK) {
        memcpy((*out)->dir, path, len);
        return LAFS_OK;
    }
    lafs_index_free(*out);
    *out = NULL;
    return st;
}

struct line {
    char *field[5];
    int n;
};

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* In place; 0 when an escape is malformed or hides a NUL. */
static int unescape(char *s)
{
    char *to = strchr(s, '%');
    if (!to) return 1;
    for (char *p = to; *p; p++) {
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        int a = hex_digit(p[1]), b = a < 0 ? -1 : hex_digit(p[2]);
        if (b < 0 || (a | b) == 0) return 0;
        *to++ = (char)(a << 4 | b);
        p += 2;
    }
    *to = 0;
    return 1;
}

/* Cuts the text at its next newline and the line at its tabs. 0: no whole line is left, or too many fields. */
static int cut_line(char **text, char *end, struct line *l)
{
    char *nl = *text < end ? memchr(*text, '\n', (size_t)(end - *text)) : NULL;
    l->n = 0;
    if (!nl) return 0;
    *nl = 0;
    for (char *p = *text; p;) {
        if (l->n == 5) return 0;
        l->field[l->n++] = p;
        p = strchr(p, '\t');
        if (p) *p++ = 0;
    }
    *text = nl + 1;
    return 1;
}

static int parse_int(const char *s, int64_t max, int64_t *v)
{
    *v = 0;
    if (!*s) return 0;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || *v > (max - (*s - '0')) / 10) return 0;
        *v = *v * 10 + (*s - '0');
    }
    return 1;
}

static int parse_pixels(const struct line *l, struct lafs_pixels *p)
{
    int64_t size;
    if (l->n != 4 || strcmp(l->field[0], "pixels") || !parse_int(l->field[1], 65500, &size)) return 0;
    if (strlen(l->field[2]) >= sizeof p->aligner || strlen(l->field[3]) >= sizeof p->channels) return 0;
    p->size = (int)size;
    if (strcmp(l->field[2], "-")) memcpy(p->aligner, l->field[2], strlen(l->field[2]) + 1);
    if (strcmp(l->field[3], "-")) memcpy(p->channels, l->field[3], strlen(l->field[3]) + 1);
    return 1;
}

static int parse_shard(const struct line *l, struct lafs_index_shard *s, struct lafs_err *err)
{
    if (l->n != 4 || !parse_int(l->field[2], INT64_MAX, &s->size) || !unescape(l->field[1]) || !*l->field[1]) return 0;
    const char *sha = l->field[3];
    size_t len = strspn(sha, "0123456789abcdef");
    if (strcmp(sha, "-") && (len != 64 || sha[64])) return 0;
    if (len == 64) memcpy(s->sha256, sha, 65);
    return lafs_strdup(&s->path, l->field[1], err) == LAFS_OK;
}

static int parse_sample(const struct line *l, const struct lafs_index *ix, struct lafs_index_sample *s)
{
    int64_t shard;
    if (l->n != 5 || !parse_int(l->field[0], INT32_MAX, &shard) || shard >= ix->shards) return 0;
    if (!parse_int(l->field[1], INT64_MAX, &s->offset) || !parse_int(l->field[2], INT64_MAX, &s->length)) return 0;
    int64_t size = ix->shard[shard].size;
    if (s->length < 1 || s->length > size - s->offset) return 0;
    if (!unescape(l->field[3]) || !unescape(l->field[4])) return 0;
    s->shard = (int32_t)shard;
    s->foreign = !ix->shard[shard].sha256[0];
    s->key = l->field[3];
    s->name = l->field[4];
    return lafs_key_valid(s->key, NULL) == LAFS_OK;
}

static int parse_end(const struct line *l, int64_t *shards, int64_t *samples)
{
    return l->n == 3 && strcmp(l->field[0], "end") == 0 && parse_int(l->field[1], INT32_MAX, shards) &&
           parse_int(l->field[2], INT64_MAX, samples);
}

static int same_key(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct lafs_index *ix = arg;
    return lafs_keyset_is(ix->sample[id].key, key, len);
}

static lafs_status check_unique(struct lafs_index *ix, const char *path, struct lafs_err *err)
{
    struct lafs_keyset set = {.same = same_key, .arg = ix};
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < ix->samples && st == LAFS_OK; i++) {
        st = lafs_keyset_add(&set, ix->sample[i].key, strlen(ix->sample[i].key), (uint64_t)i, err);
        if (st == LAFS_END) st = lafs_fail(err, LAFS_FAILED, "'%s': key '%s' occurs twice", path, ix->sample[i].key);
    }
    lafs_keyset_release(&set);
    return st;
}

/* The closing line says how much to make room for: looked at first. */
static lafs_status read_end(const char *text, size_t size, int64_t *shards, int64_t *samples, const char *path,
                            struct lafs_err *err)
{
    char copy[128] = "";
    const char *end = text + size, *last = end - 1;
    struct line l;
    if (size > 0 && *last == '\n') {
        while (last > text && last[-1] != '\n') last--;
        if ((size_t)(end - last) < sizeof copy) memcpy(copy, last, (size_t)(end - last));
    }
    char *p = copy;
    if (!cut_line(&p, copy + strlen(copy), &l) || !parse_end(&l, shards, samples) || (uint64_t)*samples > size ||
        (uint64_t)*shards > size)
        return lafs_fail(err, LAFS_CUT, "'%s' is cut off: it has no closing line", path);
    return LAFS_OK;
}

static lafs_status parse_index(struct lafs_index *ix, char *p, char *end, const char *path, struct lafs_err *err)
{
    struct line l;
    int64_t shards = 0, samples = 0, line = 2;
    LAFS_TRY(read_end(p, (size_t)(end - p), &shards, &samples, path, err));
    LAFS_TRY(lafs_alloc0(&ix->shard, (size_t)shards, sizeof *ix->shard, err));
    LAFS_TRY(lafs_alloc0(&ix->sample, (size_t)samples, sizeof *ix->sample, err));
    if (!cut_line(&p, end, &l) || l.n != 1 || strcmp(l.field[0], FIRST_LINE))
        return lafs_fail(err, LAFS_FAILED, "'%s' is no index of version 1", path);
    if (!cut_line(&p, end, &l) || !parse_pixels(&l, &ix->pixels))
        return lafs_fail(err, LAFS_FAILED, "'%s': line 2 states no pixel contract", path);
    for (;;) {
        line++;
        if (!cut_line(&p, end, &l)) break;
        if (strcmp(l.field[0], "end") == 0) break;
        if (strcmp(l.field[0], "shard") == 0 && ix->shards < shards && ix->samples == 0) {
            if (!parse_shard(&l, &ix->shard[ix->shards], err)) break;
            ix->shards++;
        } else if (ix->samples < samples && parse_sample(&l, ix, &ix->sample[ix->samples])) {
            ix->samples++;
        } else {
            return lafs_fail(err, LAFS_FAILED, "'%s': line %lld is damaged", path, (long long)line);
        }
    }
    if (p != end || l.n == 0 || strcmp(l.field[0], "end"))
        return lafs_fail(err, LAFS_FAILED, "'%s': line %lld is damaged", path, (long long)line);
    if (ix->shards != shards || ix->samples != samples)
        return lafs_fail(err, LAFS_CUT, "'%s' is cut off: %lld samples, its closing line says %lld", path,
                         (long long)ix->samples, (long long)samples);
    return check_unique(ix, path, err);
}

lafs_status lafs_index_read(struct lafs_index **out, const char *path, struct lafs_err *err)
{
    struct lafs_index *ix;
    struct lafs_buf b;
    LAFS_TRY(new_index(&ix, path, err));
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, SIZE_MAX / 4, err);
    if (st == LAFS_OK && b.size == 0) st = lafs_fail(err, LAFS_CUT, "'%s' is empty", path);
    ix->strings = (char *)b.data;
    if (st == LAFS_OK) st = parse_index(ix, (char *)b.data, (char *)b.data + b.size, path, err);
    if (st != LAFS_OK) {
        lafs_index_free(ix);
        return st;
    }
    *out = ix;
    return LAFS_OK;
}

/* ---- its shards alone ---- */

/* The next line, with its end, into b; LAFS_END when no whole one is left. */
static lafs_status read_line(struct lafs_input *in, struct lafs_buf *b, struct lafs_err *err)
{
    for (size_t want = 1;; want = lafs_input_left(in) + 1) {
        LAFS_TRY(lafs_input_fill(in, want, err));
        const unsigned char *p = lafs_input_data(in), *nl = memchr(p, '\n', lafs_input_left(in));
        if (!nl && in->eof) return LAFS_END;
        if (!nl) continue;
        lafs_buf_clear(b);
        lafs_buf_put(b, p, (size_t)(nl + 1 - p));
        lafs_input_take(in, (size_t)(nl + 1 - p));
        return lafs_buf_check(b, err);
    }
}

static lafs_status read_shards(struct lafs_index *ix, struct lafs_input *in, struct lafs_buf *b, struct lafs_err *err)
{
    size_t cap = 0;
    for (int64_t line = 1;; line++) {
        struct line l;
        lafs_status st = read_line(in, b, err);
        char *p = (char *)b->data;
        if (st == LAFS_OK && !cut_line(&p, p + b->size, &l)) st = LAFS_END;
        if (line == 1 && (st == LAFS_END || (st == LAFS_OK && strcmp(l.field[0], FIRST_LINE))))
            return lafs_fail(err, LAFS_FAILED, "%s is no index of version 1", in->name);
        if (st != LAFS_OK) return st == LAFS_END ? LAFS_OK : st;
        if (line == 2) (void)parse_pixels(&l, &ix->pixels);
        if (line <= 2) continue;
        if (strcmp(l.field[0], "shard")) return LAFS_OK;
        if ((size_t)ix->shards == cap) {
            size_t more = cap ? cap * 2 : 64;
            LAFS_TRY(lafs_resize(&ix->shard, cap, more, sizeof *ix->shard, err));
            cap = more;
        }
        ix->shard[ix->shards] = (struct lafs_index_shard){.size = 0};
        if (!parse_shard(&l, &ix->shard[ix->shards], err)) return LAFS_OK;
        ix->shards++;
    }
}

lafs_status lafs_index_read_shards(struct lafs_index **out, const char *path, struct lafs_err *err)
{
    struct lafs_input in;
    struct lafs_buf b;
    LAFS_TRY(lafs_input_open(&in, path, err));
    lafs_buf_init(&b);
    lafs_status st = new_index(out, path, err);
    if (st == LAFS_OK) {
        st = read_shards(*out, &in, &b, err);
        if (st != LAFS_OK) lafs_index_free(*out);
    }
    lafs_buf_release(&b);
    lafs_input_close(&in);
    return st;
}

/* ---- indexing a tar ---- */

struct scan {
    struct lafs_index *ix;
    struct lafs_env env;
    struct lafs_source *src;
    struct lafs_sample s;
    struct lafs_buf text;  /* keys and names, each ended by NUL */
    size_t cap;
};

static lafs_status add_scanned(struct scan *sc, struct lafs_err *err)
{
    struct lafs_index *ix = sc->ix;
    if ((size_t)ix->samples == sc->cap) {
        size_t cap = sc->cap ? sc->cap * 2 : 1024;
        LAFS_TRY(lafs_resize(&ix->sample, sc->cap, cap, sizeof *ix->sample, err));
        sc->cap = cap;
    }
    struct lafs_index_sample *t = &ix->sample[ix->samples];
    const char *name = "";
    size_t len = 0;
    if (lafs_sample_str(&sc->s, "name", &name, &len, NULL) != LAFS_OK) name = "", len = 0;
    *t = (struct lafs_index_sample){.foreign = lafs_shard_foreign(sc->src)};
    lafs_shard_span(sc->src, &t->offset, &t->length);
    /* The text moves while it grows: until the end, key and name are offsets. */
    t->key = (const char *)(uintptr_t)sc->text.size;
    lafs_buf_puts(&sc->text, lafs_sample_key(&sc->s));
    lafs_buf_putc(&sc->text, 0);
    t->name = (const char *)(uintptr_t)sc->text.size;
    lafs_buf_put(&sc->text, name, strnlen(name, len));
    lafs_buf_putc(&sc->text, 0);
    ix->samples++;
    return lafs_buf_check(&sc->text, err);
}

static lafs_status scan_samples(struct scan *sc, struct lafs_err *err)
{
    for (;;) {
        struct lafs_err why = {.status = LAFS_OK};
        lafs_status st = sc->src->ops->next(sc->src, &sc->s, &why);
        if (st == LAFS_END) break;
        if (st != LAFS_OK && st != LAFS_BAD_RECORD) return lafs_fail(err, st, "%s", why.msg);
        /* A sample that is bad otherwise is found to be so when it is read. */
        if (st == LAFS_BAD_RECORD && lafs_sample_check_key(&sc->s, NULL) != LAFS_OK) {
            if (sc->ix->bad++ == 0) sc->ix->bad_why = why;
        } else {
            LAFS_TRY(add_scanned(sc, err));
        }
    }
    struct lafs_index *ix = sc->ix;
    ix->strings = (char *)sc->text.data;
    lafs_buf_init(&sc->text);
    for (int64_t i = 0; i < ix->samples; i++) {
        ix->sample[i].key = ix->strings + (uintptr_t)ix->sample[i].key;
        ix->sample[i].name = ix->strings + (uintptr_t)ix->sample[i].name;
    }
    ix->pixels = sc->env.header.pixels;
    return LAFS_OK;
}

static lafs_status refuse_compressed(const char *filter, const char *path, struct lafs_err *err)
{
    return lafs_fail(err, LAFS_FAILED, "cannot index '%s': it is compressed; unpack it with: %s -dk '%s'", path,
                     strcmp(filter, "zstd") ? "gzip" : "zstd", path);
}

static lafs_status index_tar(struct lafs_index *ix, struct lafs_input *in, const char *path, struct lafs_err *err)
{
    struct scan sc = {.ix = ix};
    lafs_header_init(&sc.env.header);
    sc.env.opt.max_record = LAFS_MAX_RECORD;
    const char *slash = strrchr(path, '/');
    int64_t size = in->file_size;
    if (size < 0) {
        lafs_input_close(in);
        return lafs_fail(err, LAFS_FAILED, "cannot index '%s': not a regular file", path);
    }
    lafs_status st = lafs_shard_open(&sc.src, &sc.env, in, 1, err);
    if (st == LAFS_OK && lafs_shard_filter(sc.src)) st = refuse_compressed(lafs_shard_filter(sc.src), path, err);
    if (st == LAFS_OK) st = lafs_alloc0(&ix->shard, 1, sizeof *ix->shard, err);
    if (st == LAFS_OK) {
        ix->shards = 1;
        ix->shard[0].size = size;
        st = lafs_strdup(&ix->shard[0].path, slash ? slash + 1 : path, err);
    }
    if (st == LAFS_OK) st = scan_samples(&sc, err);
    if (sc.src) sc.src->ops->close(sc.src);
    lafs_sample_release(&sc.s);
    lafs_buf_release(&sc.text);
    lafs_header_release(&sc.env.header);
    lafs_buf_release(&sc.env.ignored_name);
    return st == LAFS_OK ? check_unique(ix, path, err) : st;
}

lafs_status lafs_index_open(struct lafs_index **out, const char *path, struct lafs_err *err)
{
    struct lafs_input in;
    struct stat s;
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        return lafs_fail(err, LAFS_FAILED, "'%s' is a directory, no index: lafs-detect makes one of its photos", path);
    LAFS_TRY(lafs_input_open(&in, path, err));
    lafs_status st = lafs_input_fill(&in, 512, err);
    enum lafs_kind kind = st == LAFS_OK ? lafs_input_kind(lafs_input_data(&in), lafs_input_left(&in)) : LAFS_KIND_NONE;
    if (st == LAFS_OK && (kind == LAFS_KIND_INDEX || kind == LAFS_KIND_TAR) && !lafs_input_rewind(&in))
        st = lafs_fail(err, LAFS_FAILED, "'%s' is no file, and an index or a tar is read here and there: give a file",
                       path);
    if (st != LAFS_OK || kind == LAFS_KIND_INDEX) {
        lafs_input_close(&in);
        return st == LAFS_OK ? lafs_index_read(out, path, err) : st;
    }
    if (kind == LAFS_KIND_TAR) {
        struct lafs_index *ix;
        st = new_index(&ix, path, err);
        if (st == LAFS_OK) st = index_tar(ix, &in, path, err);
        else lafs_input_close(&in);
        if (st == LAFS_OK) *out = ix;
        else lafs_index_free(ix);
        return st;
    }
    const char *what = lafs_looks_like(lafs_input_data(&in), lafs_input_left(&in));
    if (kind == LAFS_KIND_REC) what = "RecordIO: make shards of it with lafs-shard -o";
    if (kind == LAFS_KIND_MSG) what = "a stream: make shards of it with lafs-shard -o";
    if (lafs_input_left(&in) == 0) st = lafs_fail(err, LAFS_CUT, "'%s' is empty", path);
    else
        st = lafs_fail(err, LAFS_FAILED, "'%s' is neither an index nor a tar%s%s", path, what ? ", but " : "",
                       what ? what : "");
    lafs_input_close(&in);
    return st;
}

const char *lafs_index_shard_path(const struct lafs_index *ix, int64_t i, struct lafs_buf *b)
{
    lafs_buf_clear(b);
    if (ix->shard[i].path[0] != '/') lafs_buf_puts(b, ix->dir);
    lafs_buf_puts(b, ix->shard[i].path);
    return lafs_buf_str(b);
}

lafs_status lafs_index_header(const struct lafs_index *ix, struct lafs_header *h, struct lafs_err *err)
{
    struct lafs_env env = {.opt = {.max_record = LAFS_MAX_RECORD, .names = LAFS_NAMES_DIR}};
    struct lafs_source *src = NULL;
    struct lafs_input in;
    struct lafs_buf b;
    lafs_header_init(&env.header);
    lafs_header_release(h);
    lafs_status st = LAFS_OK;
    if (ix->shards > 0) {
        lafs_buf_init(&b);
        const char *path = lafs_index_shard_path(ix, 0, &b);
        st = path ? lafs_input_open(&in, path, err) : lafs_buf_check(&b, err);
        lafs_buf_release(&b);
        if (st == LAFS_OK) st = lafs_shard_open(&src, &env, &in, 1, err);
        if (src) src->ops->close(src);
        if (st == LAFS_OK) st = lafs_header_copy(h, &env.header, err);
    }
    h->pixels = ix->pixels;
    lafs_header_release(&env.header);
    return st;
}
