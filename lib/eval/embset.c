#include "eval/embset.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "data/face.h"

static int slashes(const char *s)
{
    int n = 0;
    for (; *s; s++) n += *s == '/';
    return n;
}

lafs_status lafs_wanted_init(struct lafs_wanted *w, const struct lafs_strset *photos, struct lafs_err *err)
{
    memset(w, 0, sizeof *w);
    w->photos = photos;
    LAFS_TRY(lafs_alloc(&w->row, (size_t)photos->count, sizeof *w->row, err));
    for (int64_t i = 0; i < photos->count; i++) {
        int d = slashes(lafs_strset_at(photos, i));
        w->row[i] = -1;
        w->depths |= 1 << (d < 30 ? d : 30);
    }
    return LAFS_OK;
}

void lafs_wanted_release(struct lafs_wanted *w)
{
    lafs_free(w->row);
    memset(w, 0, sizeof *w);
}

void lafs_embset_init(struct lafs_embset *s) { memset(s, 0, sizeof *s); }

void lafs_embset_release(struct lafs_embset *s)
{
    lafs_buf_release(&s->data);
    lafs_strset_release(&s->keys);
    lafs_strset_release(&s->groups);
    lafs_free(s->score);
    lafs_free(s->group);
    memset(s, 0, sizeof *s);
}

/* The next wanted photo whose key is *tail, or a tail of it after a slash; -1: none. *tail moves on. */
static int64_t next_match(const struct lafs_wanted *w, const char **tail)
{
    while (*tail) {
        const char *t = *tail, *slash = strchr(t, '/');
        int d = slashes(t);
        *tail = slash ? slash + 1 : NULL;
        if (!(w->depths >> (d < 30 ? d : 30) & 1)) continue;
        int64_t id = lafs_strset_find(w->photos, t, strlen(t));
        if (id >= 0) return id;
    }
    return -1;
}

/* The value of a field as text: strings as they are, numbers in decimal. */
static lafs_status field_text(const struct lafs_sample *sample, const char *field, struct lafs_buf *out,
                              struct lafs_err *err)
{
    const char *str;
    size_t len;
    int64_t i;
    double d;
    if (!lafs_sample_has(sample, field)) lafs_buf_puts(out, "(none)");
    else if (lafs_sample_str(sample, field, &str, &len, NULL) == LAFS_OK) {
        if (memchr(str, 0, len) || len > 256) return lafs_fail(err, LAFS_FAILED, "field '%s' is no short text", field);
        lafs_buf_put(out, str, len);
    } else if (lafs_sample_int(sample, field, &i, NULL) == LAFS_OK) lafs_buf_printf(out, "%lld", (long long)i);
    else if (lafs_sample_double(sample, field, &d, NULL) == LAFS_OK) lafs_json_put_double(out, d);
    else return lafs_fail(err, LAFS_FAILED, "field '%s' is neither text nor a number", field);
    return lafs_buf_check(out, err);
}

static lafs_status grow(struct lafs_embset *s, struct lafs_err *err)
{
    if (s->rows < s->cap) return LAFS_OK;
    int64_t cap = s->cap ? s->cap * 2 : 256;
    LAFS_TRY(lafs_resize(&s->score, (size_t)s->rows, (size_t)cap, sizeof *s->score, err));
    LAFS_TRY(lafs_resize(&s->group, (size_t)s->rows, (size_t)cap, sizeof *s->group, err));
    s->cap = cap;
    return LAFS_OK;
}

static lafs_status check_values(const float *x, int64_t n, struct lafs_err *err)
{
    int any = 0, finite = 1;
    for (int64_t i = 0; i < n; i++) {
        finite &= isfinite(x[i]) != 0;
        any |= x[i] != 0;
    }
    if (!finite)
        return lafs_fail(err, LAFS_BAD_RECORD, "the embedding holds a value that is not a finite number");
    return any ? LAFS_OK : lafs_fail(err, LAFS_BAD_RECORD, "the embedding is all zeros");
}

lafs_status lafs_embedding_append(struct lafs_buf *data, int64_t *dim, const struct lafs_sample *sample,
                                  struct lafs_err *err)
{
    struct lafs_nd nd;
    lafs_status st = lafs_sample_nd(sample, "embedding", &nd, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "no field 'embedding': lafs-embed adds it");
    if (st != LAFS_OK) return st;
    if (nd.ndim != 1 || nd.count == 0 || nd.count > (1 << 24))
        return lafs_fail(err, LAFS_FAILED, "the embedding has %zu values in %d dimensions, not 1 to %d in one",
                         nd.count, nd.ndim, 1 << 24);
    if (*dim && nd.shape[0] != *dim)
        return lafs_fail(err, LAFS_FAILED, "the embedding has %zu values, others have %lld", nd.count,
                         (long long)*dim);
    size_t bytes = nd.count * sizeof(float);
    lafs_buf_reserve(data, bytes);
    LAFS_TRY(lafs_buf_check(data, err));
    float *row = (float *)(void *)(data->data + data->size);
    LAFS_TRY(lafs_nd_f32(&nd, "embedding", row, err));
    LAFS_TRY(check_values(row, nd.shape[0], err));
    data->size += bytes;
    *dim = nd.shape[0];
    return LAFS_OK;
}

/* Appends the sample as a row. */
static lafs_status add_row(struct lafs_embset *s, const struct lafs_sample *sample, const char *group,
                           struct lafs_err *err)
{
    int64_t id;
    LAFS_TRY(grow(s, err));
    lafs_status st = lafs_embedding_append(&s->data, &s->dim, sample, err);
    s->bad += st == LAFS_BAD_RECORD;
    if (st != LAFS_OK) return st;
    double score;
    s->score[s->rows] = lafs_sample_double(sample, "score", &score, NULL) == LAFS_OK ? (float)score : NAN;
    s->group[s->rows] = 0;
    if (group) {
        struct lafs_buf text;
        lafs_buf_init(&text);
        st = field_text(sample, group, &text, err);
        const char *value = lafs_buf_str(&text); /* not text.data, which is NULL where the text is "" */
        if (st == LAFS_OK && !value) st = lafs_buf_check(&text, err);
        if (st == LAFS_OK) st = lafs_strset_add(&s->groups, value, text.size, &id, err);
        lafs_buf_release(&text);
        if (st != LAFS_OK) return st;
        s->group[s->rows] = (int32_t)id;
    }
    const char *key = lafs_sample_key(sample);
    LAFS_TRY(lafs_strset_add(&s->keys, key, strlen(key), &id, err));
    if (id != s->rows) return lafs_fail(err, LAFS_FAILED, "this key is there twice");
    s->rows++;
    return LAFS_OK;
}

static lafs_status ambiguous(const struct lafs_embset *s, const struct lafs_wanted *w, int64_t id, const char *key,
                             struct lafs_err *err)
{
    const char *old = lafs_strset_at(&s->keys, w->row[id]);
    if (!strcmp(old, key)) return lafs_fail(err, LAFS_FAILED, "'%s' is there twice", key);
    return lafs_fail(err, LAFS_FAILED, "'%s' may be '%s' or '%s'", lafs_strset_at(w->photos, id), old, key);
}

/* Who skips a bad record names it. */
static lafs_status named(lafs_status st, const char *key, struct lafs_err *err)
{
    if (st != LAFS_OK && st != LAFS_BAD_RECORD) lafs_err_prefix(err, "'%s'", key);
    return st;
}

lafs_status lafs_embset_add(struct lafs_embset *s, struct lafs_wanted *w, int n, const struct lafs_sample *sample,
                            const char *group, struct lafs_err *err)
{
    const char *key = lafs_sample_key(sample);
    int64_t row = -1;
    s->seen++;
    s->faces += lafs_face_stem(key) < strlen(key);
    for (int k = 0; k < n; k++) {
        const char *tail = key;
        int64_t id;
        while ((id = next_match(w + k, &tail)) >= 0) {
            if (w[k].row[id] >= 0) return ambiguous(s, w + k, id, key, err);
            if (row < 0) {
                lafs_status st = add_row(s, sample, group, err);
                if (st != LAFS_OK) return named(st, key, err);
                row = s->rows - 1;
            }
            w[k].row[id] = row;
            w[k].found++;
        }
    }
    return LAFS_OK;
}

lafs_status lafs_embset_add_any(struct lafs_embset *s, const struct lafs_sample *sample, const char *group,
                                struct lafs_err *err)
{
    s->seen++;
    return named(add_row(s, sample, group, err), lafs_sample_key(sample), err);
}

lafs_status lafs_wanted_mark(struct lafs_wanted *w, const char *key, int64_t row, struct lafs_err *err)
{
    const char *tail = key;
    int64_t id;
    while ((id = next_match(w, &tail)) >= 0) {
        if (w->row[id] >= 0)
            return lafs_fail(err, LAFS_FAILED, "'%s': this photo, or another whose key ends in '%s', was there before",
                             key, lafs_strset_at(w->photos, id));
        w->row[id] = row;
        w->found++;
    }
    return LAFS_OK;
}
