#include "data/select.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mark.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/keyset.h"

/* ---- who is who ---- */

static int same_name(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct lafs_select *s = arg;
    return lafs_keyset_is(s->name[id], key, len);
}

static lafs_status number_people(struct lafs_select *s, struct lafs_err *err)
{
    struct lafs_keyset set = {.same = same_name, .arg = s};
    size_t cap = 0;
    lafs_status st = LAFS_OK;
    for (int64_t i = 0; i < s->ix->samples && st == LAFS_OK; i++) {
        const char *name = s->ix->sample[i].name;
        uint64_t id;
        s->person[i] = -1;
        if (!name[0]) continue;
        if (lafs_keyset_find(&set, name, strlen(name), &id)) {
            s->person[i] = (int32_t)id;
            continue;
        }
        if (s->people == INT32_MAX) st = lafs_fail(err, LAFS_FAILED, "more than %d people", INT32_MAX);
        if (st == LAFS_OK && (size_t)s->people == cap) {
            st = lafs_resize(&s->name, cap, cap ? 2 * cap : 256, sizeof *s->name, err);
            cap = cap ? 2 * cap : 256;
        }
        if (st != LAFS_OK) break;
        s->name[s->people] = name;
        s->person[i] = (int32_t)s->people;
        st = lafs_keyset_add(&set, name, strlen(name), (uint64_t)s->people++, err);
    }
    lafs_keyset_release(&set);
    return st;
}

lafs_status lafs_select_init(struct lafs_select *s, const struct lafs_index *ix, uint64_t seed, struct lafs_err *err)
{
    *s = (struct lafs_select){.ix = ix, .seed = seed};
    lafs_status st = lafs_alloc0(&s->drop, (size_t)ix->samples, 1, err);
    if (st == LAFS_OK) st = lafs_alloc(&s->person, (size_t)ix->samples, sizeof *s->person, err);
    if (st == LAFS_OK) st = number_people(s, err);
    if (st != LAFS_OK) lafs_select_release(s);
    return st;
}

void lafs_select_release(struct lafs_select *s)
{
    lafs_free(s->drop);
    lafs_free(s->person);
    lafs_free(s->name);
    *s = (struct lafs_select){.ix = NULL};
}

/* Drops the samples of the people that are marked (or not marked: keep 1). */
static void drop_people(struct lafs_select *s, const uint8_t *marked, int keep, enum lafs_drop why)
{
    for (int64_t i = 0; i < s->ix->samples; i++) {
        int in = s->person[i] >= 0 && marked[s->person[i]];
        if (s->drop[i] == LAFS_KEPT && in != keep)
            s->drop[i] = (uint8_t)(keep && s->person[i] < 0 ? LAFS_DROP_NAMELESS : why);
    }
}

/* ---- lists of people ---- */

struct lafs_people {
    struct lafs_buf text; /* names, each ended by NUL */
    struct lafs_keyset set; /* id: offset in text */
};

static int same_listed(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct lafs_people *p = arg;
    return lafs_keyset_is((const char *)p->text.data + id, key, len);
}

static lafs_status add_person(struct lafs_people *p, const char *name, size_t len, struct lafs_err *err)
{
    if (len == 0 || memchr(name, 0, len)) return lafs_fail(err, LAFS_FAILED, "an empty name, or a NUL byte in one");
    uint64_t id;
    if (lafs_keyset_find(&p->set, name, len, &id)) return LAFS_OK;
    size_t at = p->text.size;
    lafs_buf_put(&p->text, name, len);
    lafs_buf_putc(&p->text, 0);
    LAFS_TRY(lafs_buf_check(&p->text, err));
    return lafs_keyset_add(&p->set, name, len, at, err);
}

static int is_number(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] < '0' || s[i] > '9') return 0;
    return len > 0;
}

struct fields {
    const char *at[4];
    size_t len[4];
    int n; /* 5: too many */
};

/* The next line of text[0..size), cut at its tabs. */
static int next_fields(const char **text, const char *end, struct fields *f)
{
    if (*text >= end) return 0;
    const char *nl = memchr(*text, '\n', (size_t)(end - *text)), *stop = nl ? nl : end, *p = *text;
    *text = nl ? nl + 1 : end;
    while (stop > p && (stop[-1] == '\r' || stop[-1] == ' ')) stop--;
    for (f->n = 0; f->n < 5; p++) {
        const char *tab = memchr(p, '\t', (size_t)(stop - p)), *to = tab ? tab : stop;
        if (f->n < 4) f->at[f->n] = p, f->len[f->n] = (size_t)(to - p);
        f->n++;
        p = to;
        if (!tab) break;
    }
    return 1;
}

static lafs_status add_line(struct lafs_people *p, const struct fields *f, int form, struct lafs_err *err)
{
    if (f->n == 1 && f->len[0] == 0) return LAFS_OK;
    /* Beside columns a lone number, or two of them, are counts; in a plain list a number may be a name. */
    if (form > 1 && f->n == 1 && is_number(f->at[0], f->len[0])) return LAFS_OK;
    if (form > 2 && f->n == 2 && is_number(f->at[0], f->len[0]) && is_number(f->at[1], f->len[1])) return LAFS_OK;
    if (f->n == 5) return lafs_fail(err, LAFS_FAILED, "more than four columns");
    if (f->n >= 2 && !is_number(f->at[1], f->len[1]))
        return lafs_fail(err, LAFS_FAILED, "the second column is no number");
    LAFS_TRY(add_person(p, f->at[0], f->len[0], err));
    return f->n == 4 ? add_person(p, f->at[2], f->len[2], err) : LAFS_OK;
}

lafs_status lafs_people_parse(struct lafs_people **out, const char *text, size_t size, struct lafs_err *err)
{
    const char *p = text, *end = text + size;
    struct fields f;
    struct lafs_people *people;
    int form = 1;
    LAFS_TRY(lafs_alloc0(&people, 1, sizeof *people, err));
    people->set.same = same_listed;
    people->set.arg = people;
    p = text += lafs_mark(text, size);
    while (next_fields(&p, end, &f)) form = f.n > form ? f.n : form;
    lafs_status st = LAFS_OK;
    p = text;
    for (long line = 1; st == LAFS_OK && next_fields(&p, end, &f); line++) {
        st = add_line(people, &f, form, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "line %ld", line);
    }
    if (st != LAFS_OK) {
        lafs_people_free(people);
        return st;
    }
    *out = people;
    return LAFS_OK;
}

lafs_status lafs_people_read(struct lafs_people **out, const char *path, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, (size_t)1 << 32, err);
    if (st == LAFS_OK) {
        const char *text = lafs_buf_str(&b);
        st = text ? lafs_people_parse(out, text, b.size, err) : lafs_buf_check(&b, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "'%s'", path);
    }
    lafs_buf_release(&b);
    return st;
}

void lafs_people_free(struct lafs_people *p)
{
    if (!p) return;
    lafs_keyset_release(&p->set);
    lafs_buf_release(&p->text);
    lafs_free(p);
}

int64_t lafs_people_count(const struct lafs_people *p) { return (int64_t)p->set.count; }

int lafs_people_has(const struct lafs_people *p, const char *name)
{
    uint64_t id;
    return lafs_keyset_find(&p->set, name, strlen(name), &id);
}

void lafs_select_people(struct lafs_select *s, const struct lafs_people *p, int keep, int64_t *found)
{
    *found = 0;
    for (int64_t k = 0; k < s->people; k++) *found += lafs_people_has(p, s->name[k]);
    for (int64_t i = 0; i < s->ix->samples; i++) {
        if (s->drop[i] != LAFS_KEPT) continue;
        int in = s->person[i] >= 0 && lafs_people_has(p, s->name[s->person[i]]);
        if (keep && !in) s->drop[i] = s->person[i] < 0 ? LAFS_DROP_NAMELESS : LAFS_DROP_PEOPLE;
        if (!keep && in) s->drop[i] = LAFS_DROP_NOT_PEOPLE;
    }
}

void lafs_select_keys(struct lafs_select *s, const struct lafs_people *keys, int64_t *found)
{
    *found = 0;
    for (int64_t i = 0; i < s->ix->samples; i++) {
        int in = lafs_people_has(keys, s->ix->sample[i].key); /* an index has a key once */
        *found += in;
        if (!in && s->drop[i] == LAFS_KEPT) s->drop[i] = LAFS_DROP_KEYS;
    }
}

/* ---- hashes ---- */

void lafs_select_hash(struct lafs_select *s, int64_t m, const uint8_t *in, int keep)
{
    for (int64_t i = 0; i < s->ix->samples; i++) {
        if (s->drop[i] != LAFS_KEPT) continue;
        const char *name = s->ix->sample[i].name;
        int has = name[0] && in[lafs_fnv1a(name, strlen(name)) % (uint64_t)m];
        if (has != keep) s->drop[i] = keep && !name[0] ? LAFS_DROP_NAMELESS : LAFS_DROP_HASH;
    }
}

static int take_number(const char **p, int64_t below, int64_t *v)
{
    *v = 0;
    if (**p < '0' || **p > '9') return 0;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        *v = *v * 10 + (**p - '0');
        if (*v >= below) return 0;
    }
    return 1;
}

static int parse_ranges(const char *p, int64_t m, uint8_t *in)
{
    for (;;) {
        int64_t from, to;
        if (!take_number(&p, m, &from)) return 0;
        to = from;
        if (*p == '-' && (p++, !take_number(&p, m, &to) || to < from)) return 0;
        memset(in + from, 1, (size_t)(to - from + 1));
        if (*p == 0) return 1;
        if (*p++ != ',') return 0;
    }
}

lafs_status lafs_select_parse_hash(const char *text, int64_t *m, uint8_t **in, struct lafs_err *err)
{
    const char *p = text;
    *in = NULL;
    if (!take_number(&p, 1000001, m) || *m < 1 || *p != ':')
        return lafs_fail(err, LAFS_USAGE, "'%s': write M:R[,R]..., as in 10:0,1", text);
    LAFS_TRY(lafs_alloc0(in, (size_t)*m, 1, err));
    if (parse_ranges(p + 1, *m, *in)) return LAFS_OK;
    lafs_free(*in);
    *in = NULL;
    return lafs_fail(err, LAFS_USAGE, "'%s': remainders are numbers below %lld, or ranges of them", text,
                     (long long)*m);
}

/* ---- draws ---- */

uint64_t lafs_select_draw(const struct lafs_select *s, enum lafs_draw what, const char *text)
{
    uint32_t counter[4] = {0, 0, 0, 0}, out[4];
    uint64_t hash = lafs_fnv1a(text, strlen(text));
    lafs_philox(lafs_rng_key(s->seed, LAFS_RNG_SELECT, 0, hash, (uint64_t)what), counter, out);
    return (uint64_t)out[0] << 32 | out[1];
}

double lafs_select_place(const struct lafs_select *s, int64_t i)
{
    const char *name = s->ix->sample[i].name;
    return (double)(lafs_select_draw(s, LAFS_DRAW_SPLIT, name[0] ? name : s->ix->sample[i].key) >> 11) * 0x1p-53;
}

/* Images of each person that are still kept. */
static lafs_status count_images(const struct lafs_select *s, int64_t **out, struct lafs_err *err)
{
    LAFS_TRY(lafs_alloc0(out, (size_t)s->people, sizeof **out, err));
    for (int64_t i = 0; i < s->ix->samples; i++)
        if (s->drop[i] == LAFS_KEPT && s->person[i] >= 0) (*out)[s->person[i]]++;
    return LAFS_OK;
}

lafs_status lafs_select_min_images(struct lafs_select *s, int64_t n, struct lafs_err *err)
{
    int64_t *images;
    LAFS_TRY(count_images(s, &images, err));
    for (int64_t i = 0; i < s->ix->samples; i++) {
        if (s->drop[i] != LAFS_KEPT) continue;
        if (s->person[i] < 0) s->drop[i] = LAFS_DROP_NAMELESS;
        else if (images[s->person[i]] < n) s->drop[i] = LAFS_DROP_FEW;
    }
    lafs_free(images);
    return LAFS_OK;
}

struct drawn {
    int64_t group; /* person, for shots */
    uint64_t rank;
    const char *key;
    int64_t at;
};

static int by_draw(const void *a, const void *b)
{
    const struct drawn *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return strcmp(x->key, y->key);
}

lafs_status lafs_select_identities(struct lafs_select *s, int64_t n, double share, struct lafs_err *err)
{
    int64_t *images, there = 0;
    struct drawn *d = NULL;
    uint8_t *chosen = NULL;
    LAFS_TRY(count_images(s, &images, err));
    lafs_status st = lafs_alloc(&d, (size_t)s->people, sizeof *d, err);
    if (st == LAFS_OK) st = lafs_alloc0(&chosen, (size_t)s->people, 1, err);
    if (st == LAFS_OK) {
        for (int64_t k = 0; k < s->people; k++) {
            const char *name = s->name[k];
            if (images[k]) d[there++] = (struct drawn){0, lafs_select_draw(s, LAFS_DRAW_IDENTITY, name), name, k};
        }
        qsort(d, (size_t)there, sizeof *d, by_draw);
        if (n < 0) n = (int64_t)(share * (double)there + 0.5);
        if (n < 1) n = 1;
        for (int64_t k = 0; k < n && k < there; k++) chosen[d[k].at] = 1;
        drop_people(s, chosen, 1, LAFS_DROP_IDENTITIES);
    }
    lafs_free(images);
    lafs_free(d);
    lafs_free(chosen);
    return st;
}

lafs_status lafs_select_shots(struct lafs_select *s, int64_t k, struct lafs_err *err)
{
    struct drawn *d;
    int64_t n = 0, taken = 0;
    LAFS_TRY(lafs_alloc(&d, (size_t)s->ix->samples, sizeof *d, err));
    for (int64_t i = 0; i < s->ix->samples; i++) {
        if (s->drop[i] != LAFS_KEPT) continue;
        const char *key = s->ix->sample[i].key;
        if (s->person[i] < 0) s->drop[i] = LAFS_DROP_NAMELESS;
        else d[n++] = (struct drawn){s->person[i], lafs_select_draw(s, LAFS_DRAW_SHOT, key), key, i};
    }
    qsort(d, (size_t)n, sizeof *d, by_draw);
    for (int64_t i = 0; i < n; i++) {
        taken = i > 0 && d[i].group == d[i - 1].group ? taken + 1 : 1;
        if (taken > k) s->drop[d[i].at] = LAFS_DROP_SHOTS;
    }
    lafs_free(d);
    return LAFS_OK;
}

/* ---- joining and cutting indexes ---- */

/* The shard's path, absolute and without links, so that the same file has the same name. */
static lafs_status absolute_path(const struct lafs_index *ix, int64_t shard, char **out, struct lafs_err *err)
{
    struct lafs_buf b;
    char real[PATH_MAX];
    lafs_buf_init(&b);
    const char *path = lafs_index_shard_path(ix, shard, &b);
    lafs_status st = path ? LAFS_OK : lafs_buf_check(&b, err);
    if (path && !realpath(path, real))
        st = lafs_fail(err, LAFS_FAILED, "cannot find the shard '%s' of the index: %s", path, lafs_strerror(errno));
    if (st == LAFS_OK) st = lafs_strdup(out, real, err);
    lafs_buf_release(&b);
    return st;
}

struct joining {
    struct lafs_index *to;
    struct lafs_keyset shards, keys;
    int32_t *number; /* of the shards of the index at hand */
};

static int same_shard(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct joining *j = arg;
    return lafs_keyset_is(j->to->shard[id].path, key, len);
}

static int same_key(void *arg, uint64_t id, const char *key, size_t len)
{
    const struct joining *j = arg;
    return lafs_keyset_is(j->to->sample[id].key, key, len);
}

static lafs_status join_shards(struct joining *j, const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_index *to = j->to;
    for (int64_t i = 0; i < ix->shards; i++) {
        char *path;
        uint64_t id;
        LAFS_TRY(absolute_path(ix, i, &path, err));
        if (lafs_keyset_find(&j->shards, path, strlen(path), &id)) {
            lafs_free(path);
            if (to->shard[id].size != ix->shard[i].size || (to->shard[id].sha256[0] && ix->shard[i].sha256[0] &&
                                                            strcmp(to->shard[id].sha256, ix->shard[i].sha256)))
                return lafs_fail(err, LAFS_FAILED, "two indexes disagree about the shard '%s': one is out of date",
                                 to->shard[id].path);
            j->number[i] = (int32_t)id;
            continue;
        }
        struct lafs_index_shard *s = &to->shard[to->shards];
        *s = ix->shard[i];
        s->path = path;
        j->number[i] = (int32_t)to->shards++;
        LAFS_TRY(lafs_keyset_add(&j->shards, path, strlen(path), (uint64_t)j->number[i], err));
    }
    return LAFS_OK;
}

static lafs_status join_samples(struct joining *j, const struct lafs_index *ix, struct lafs_err *err)
{
    struct lafs_index *to = j->to;
    for (int64_t i = 0; i < ix->samples; i++) {
        struct lafs_index_sample s = ix->sample[i];
        uint64_t id;
        s.shard = j->number[s.shard];
        if (lafs_keyset_find(&j->keys, s.key, strlen(s.key), &id)) {
            const struct lafs_index_sample *t = &to->sample[id];
            if (t->shard == s.shard && t->offset == s.offset) continue; /* the same sample, listed twice */
            return lafs_fail(err, LAFS_FAILED, "key '%s' is in '%s' and in '%s'", s.key, to->shard[t->shard].path,
                             to->shard[s.shard].path);
        }
        to->sample[to->samples] = s;
        LAFS_TRY(lafs_keyset_add(&j->keys, s.key, strlen(s.key), (uint64_t)to->samples++, err));
    }
    return LAFS_OK;
}

static lafs_status join_pixels(struct lafs_pixels *to, const struct lafs_pixels *p, struct lafs_err *err)
{
    if ((to->aligner[0] && p->aligner[0] && strcmp(to->aligner, p->aligner)) ||
        (to->channels[0] && p->channels[0] && strcmp(to->channels, p->channels)) ||
        (to->size && p->size && to->size != p->size))
        return lafs_fail(err, LAFS_FAILED, "indexes of different pixels: %d '%s' %s and %d '%s' %s", to->size,
                         to->aligner, to->channels, p->size, p->aligner, p->channels);
    if (p->aligner[0]) memcpy(to->aligner, p->aligner, sizeof to->aligner);
    if (p->channels[0]) memcpy(to->channels, p->channels, sizeof to->channels);
    if (p->size) to->size = p->size;
    return LAFS_OK;
}

lafs_status lafs_index_join(struct lafs_index **out, struct lafs_index *const *ix, int n, struct lafs_err *err)
{
    struct joining j = {.shards = {.same = same_shard}, .keys = {.same = same_key}};
    size_t shards = 0, samples = 0;
    for (int i = 0; i < n; i++) shards += (size_t)ix[i]->shards, samples += (size_t)ix[i]->samples;
    LAFS_TRY(lafs_alloc0(&j.to, 1, sizeof *j.to, err));
    j.shards.arg = j.keys.arg = &j;
    lafs_status st = lafs_alloc0(&j.to->shard, shards, sizeof *j.to->shard, err);
    if (st == LAFS_OK) st = lafs_alloc0(&j.to->sample, samples, sizeof *j.to->sample, err);
    if (st == LAFS_OK) st = lafs_alloc0(&j.number, shards, sizeof *j.number, err);
    if (st == LAFS_OK) st = lafs_strdup(&j.to->dir, "", err);
    for (int i = 0; i < n && st == LAFS_OK; i++) {
        st = join_pixels(&j.to->pixels, &ix[i]->pixels, err);
        if (st == LAFS_OK) st = join_shards(&j, ix[i], err);
        if (st == LAFS_OK) st = join_samples(&j, ix[i], err);
    }
    lafs_keyset_release(&j.shards);
    lafs_keyset_release(&j.keys);
    lafs_free(j.number);
    if (st != LAFS_OK) {
        lafs_index_free(j.to);
        return st;
    }
    *out = j.to;
    return LAFS_OK;
}

/* From the directory `base` to the file `path`, both absolute; base ends in '/'. */
static lafs_status relative_path(const char *base, const char *path, char **out, struct lafs_err *err)
{
    struct lafs_buf b;
    size_t same = 0;
    lafs_buf_init(&b);
    for (size_t i = 0; base[i] && base[i] == path[i]; i++)
        if (base[i] == '/') same = i + 1;
    for (const char *p = base + same; (p = strchr(p, '/')); p++) lafs_buf_puts(&b, "../");
    lafs_buf_puts(&b, path + same);
    lafs_status st = lafs_buf_check(&b, err);
    if (st == LAFS_OK) st = lafs_strdup(out, lafs_buf_str(&b), err);
    lafs_buf_release(&b);
    return st;
}

/* The directory in which the file `path` lies, absolute, with '/' at its end. */
static lafs_status directory_of(const char *path, char real[PATH_MAX + 1], struct lafs_err *err)
{
    const char *slash = strrchr(path, '/');
    struct lafs_buf b;
    lafs_buf_init(&b);
    if (slash) lafs_buf_put(&b, path, slash == path ? 1 : (size_t)(slash - path));
    else lafs_buf_putc(&b, '.');
    const char *dir = lafs_buf_str(&b);
    lafs_status st = dir ? LAFS_OK : lafs_buf_check(&b, err);
    if (dir && !realpath(dir, real))
        st = lafs_fail(err, LAFS_FAILED, "cannot write '%s': '%s': %s", path, dir, lafs_strerror(errno));
    lafs_buf_release(&b);
    if (st != LAFS_OK) return st;
    size_t n = strlen(real);
    if (n == 0 || real[n - 1] != '/') memcpy(real + n, "/", 2);
    return LAFS_OK;
}

lafs_status lafs_index_subset(struct lafs_index **out, const struct lafs_index *ix, const uint8_t *take,
                              const char *path, struct lafs_err *err)
{
    struct lafs_index *to;
    int32_t *number = NULL; /* of each shard + 1, 0: not needed */
    char base[PATH_MAX + 1];
    LAFS_TRY(directory_of(path, base, err));
    LAFS_TRY(lafs_alloc0(&to, 1, sizeof *to, err));
    lafs_status st = lafs_alloc0(&to->shard, (size_t)ix->shards, sizeof *to->shard, err);
    if (st == LAFS_OK) st = lafs_alloc0(&to->sample, (size_t)ix->samples, sizeof *to->sample, err);
    if (st == LAFS_OK) st = lafs_alloc0(&number, (size_t)ix->shards, sizeof *number, err);
    for (int64_t i = 0; i < ix->samples && st == LAFS_OK; i++)
        if (take[i]) number[ix->sample[i].shard] = 1;
    for (int64_t i = 0; i < ix->shards && st == LAFS_OK; i++) { /* in the order that they have */
        if (!number[i]) continue;
        to->shard[to->shards] = ix->shard[i];
        st = relative_path(base, ix->shard[i].path, &to->shard[to->shards].path, err);
        if (st == LAFS_OK) number[i] = (int32_t)++to->shards;
    }
    for (int64_t i = 0; i < ix->samples && st == LAFS_OK; i++) {
        if (!take[i]) continue;
        to->sample[to->samples] = ix->sample[i];
        to->sample[to->samples++].shard = number[ix->sample[i].shard] - 1;
    }
    if (number) lafs_free(number);
    to->pixels = ix->pixels;
    if (st != LAFS_OK) {
        lafs_index_free(to);
        return st;
    }
    *out = to;
    return LAFS_OK;
}
