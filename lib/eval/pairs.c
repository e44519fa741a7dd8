#include "eval/pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mark.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/face.h"
#include "data/ijbline.h"
#include "eval/metrics.h"
#include "eval/verify.h"

#define MAX_FILE ((size_t)4 << 30) /* bytes of a protocol file; IJB-C's largest has 190 MB */
enum { MAX_KEY = 1024, MAX_KEYS = 1 << 30, MAX_FOLDS = 1000, FOLDS = 10 };

/* -- key sets -- */

void lafs_strset_init(struct lafs_strset *k) { memset(k, 0, sizeof *k); }

void lafs_strset_release(struct lafs_strset *k)
{
    lafs_buf_release(&k->text);
    lafs_free(k->at);
    lafs_free(k->slot);
    memset(k, 0, sizeof *k);
}

const char *lafs_strset_at(const struct lafs_strset *k, int64_t id) { return (const char *)k->text.data + k->at[id]; }

/* Of key `id`: it may hold NULs. */
static size_t length_of(const struct lafs_strset *k, int64_t id)
{
    return (id + 1 < k->count ? k->at[id + 1] : k->text.size) - k->at[id] - 1;
}

/* The slot that holds the key, or the empty one where it belongs. */
static int64_t find_slot(const struct lafs_strset *k, const char *key, size_t len)
{
    uint64_t mask = (uint64_t)k->slots - 1, i = lafs_fnv1a(key, len) & mask;
    for (;; i = (i + 1) & mask) {
        int64_t id = (int64_t)k->slot[i] - 1;
        if (id < 0 || (length_of(k, id) == len && !memcmp(lafs_strset_at(k, id), key, len))) return (int64_t)i;
    }
}

static lafs_status grow_slots(struct lafs_strset *k, struct lafs_err *err)
{
    struct lafs_strset bigger = *k;
    bigger.slots = k->slots ? k->slots * 2 : 64;
    LAFS_TRY(lafs_alloc0(&bigger.slot, (size_t)bigger.slots, sizeof *bigger.slot, err));
    for (int64_t i = 0; i < k->count; i++)
        bigger.slot[find_slot(&bigger, lafs_strset_at(k, i), length_of(k, i))] = (int32_t)i + 1;
    lafs_free(k->slot);
    k->slot = bigger.slot;
    k->slots = bigger.slots;
    return LAFS_OK;
}

lafs_status lafs_strset_add(struct lafs_strset *k, const char *key, size_t len, int64_t *id, struct lafs_err *err)
{
    if (k->count >= MAX_KEYS) return lafs_fail(err, LAFS_FAILED, "more than %d keys", MAX_KEYS);
    if (k->count * 2 >= k->slots) LAFS_TRY(grow_slots(k, err));
    int64_t slot = find_slot(k, key, len);
    if (k->slot[slot]) {
        *id = k->slot[slot] - 1;
        return LAFS_OK;
    }
    if (k->count == k->cap) {
        int64_t cap = k->cap ? k->cap * 2 : 64;
        LAFS_TRY(lafs_resize(&k->at, (size_t)k->count, (size_t)cap, sizeof *k->at, err));
        k->cap = cap;
    }
    k->at[k->count] = k->text.size;
    lafs_buf_put(&k->text, key, len);
    lafs_buf_putc(&k->text, 0);
    LAFS_TRY(lafs_buf_check(&k->text, err));
    *id = k->count++;
    k->slot[slot] = (int32_t)k->count;
    return LAFS_OK;
}

int64_t lafs_strset_find(const struct lafs_strset *k, const char *key, size_t len)
{
    if (k->count == 0) return -1;
    return (int64_t)k->slot[find_slot(k, key, len)] - 1;
}

/* -- lines -- */

struct lines {
    const char *p, *end;
    const char *what; /* the file's name */
    int64_t number;
    const char *field[16];
    size_t len[16];
    int fields;
};

static void lines_init(struct lines *l, const char *text, size_t size, const char *what)
{
    memset(l, 0, sizeof *l);
    l->p = text + lafs_mark(text, size);
    l->end = text + size;
    l->what = what;
}

/* The next line that is not empty, as it is. 0 at the end. */
static int raw_line(struct lines *l, const char **line, size_t *len)
{
    while (l->p < l->end) {
        const char *eol = memchr(l->p, '\n', (size_t)(l->end - l->p)), *stop = eol ? eol : l->end;
        *line = l->p;
        l->p = eol ? eol + 1 : l->end;
        l->number++;
        while (stop > *line && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t')) stop--;
        *len = (size_t)(stop - *line);
        if (*len) return 1;
    }
    return 0;
}

/* The fields of the next line that is not empty: split at tabs where there are any, else at blanks. 0 at the end. More
 * than 16 fields count as 17. */
static int next_line(struct lines *l)
{
    const char *p;
    size_t len;
    if (!raw_line(l, &p, &len)) return 0;
    const char *stop = p + len;
    int tabs = memchr(p, '\t', len) != NULL;
    l->fields = 0;
    while (p < stop) {
        while (*p == '\t' || *p == ' ') p++; /* what is last is neither */
        const char *from = p;
        while (p < stop && *p != '\t' && (tabs || *p != ' ')) p++;
        const char *to = p;
        while (to > from && to[-1] == ' ') to--;
        if (l->fields == 16) {
            l->fields = 17;
            return 1;
        }
        l->field[l->fields] = from;
        l->len[l->fields++] = (size_t)(to - from);
    }
    return 1;
}

static lafs_status bad_line(const struct lines *l, struct lafs_err *err, const char *want)
{
    return lafs_fail(err, LAFS_FAILED, "'%s' line %lld: expected %s", l->what, (long long)l->number, want);
}

static lafs_status in_line(const struct lines *l, struct lafs_err *err)
{
    return lafs_err_prefix(err, "'%s' line %lld", l->what, (long long)l->number);
}

/* A decimal integer of at most 18 digits, perhaps signed, and nothing else. */
static int to_int(const char *s, size_t len, int64_t *v)
{
    int64_t x = 0;
    size_t i = len > 0 && s[0] == '-';
    if (len == i || len > i + 18) return 0;
    for (size_t k = i; k < len; k++) {
        if (s[k] < '0' || s[k] > '9') return 0;
        x = x * 10 + (s[k] - '0');
    }
    *v = i ? -x : x;
    return 1;
}

/* Makes a key of less than MAX_KEY bytes like those of our streams: without a photo's suffix, and with _ for the dots
 * of its base name. Returns its length. */
static size_t canonical(const char *s, size_t len, char out[MAX_KEY])
{
    memcpy(out, s, len);
    out[len] = 0;
    if (!memchr(out, 0, len)) len = lafs_photo_stem(out);
    for (size_t i = len; i > 0 && out[i - 1] != '/'; i--)
        if (out[i - 1] == '.') out[i - 1] = '_';
    return len;
}

/* -- LFW pairs -- */

static lafs_status add_photo(struct lafs_pairs *p, const char *key, size_t key_len, const char *person,
                             size_t person_len, int32_t *number, struct lafs_err *err)
{
    int64_t id, who, before = p->photos.count, cap = p->photos.cap;
    LAFS_TRY(lafs_strset_add(&p->photos, key, key_len, &id, err));
    *number = (int32_t)id;
    if (p->photos.count == before) return LAFS_OK;
    if (p->photos.cap != cap)
        LAFS_TRY(lafs_resize(&p->person, (size_t)before, (size_t)p->photos.cap, sizeof *p->person, err));
    LAFS_TRY(lafs_strset_add(&p->people, person, person_len, &who, err));
    p->person[id] = (int32_t)who;
    return LAFS_OK;
}

static lafs_status add_lfw_photo(struct lafs_pairs *p, const struct lines *l, int name, int number, int32_t *out,
                                 struct lafs_err *err)
{
    char key[2 * MAX_KEY + 32];
    int64_t i;
    size_t len = l->len[name];
    if (len > MAX_KEY / 2 - 16 || memchr(l->field[name], '/', len) || memchr(l->field[name], 0, len) ||
        !to_int(l->field[number], l->len[number], &i) || i < 0 || i > 9999999)
        return bad_line(l, err, "names and photo numbers");
    char base[MAX_KEY];
    memcpy(base, l->field[name], len);
    for (size_t k = 0; k < len; k++)
        if (base[k] == '.') base[k] = '_'; /* dots of a base name, as in the keys of our streams */
    int n = snprintf(key, sizeof key, "%.*s/%.*s_%04lld", (int)len, l->field[name], (int)len, base, (long long)i);
    return add_photo(p, key, (size_t)n, l->field[name], len, out, err);
}

static lafs_status add_pair(struct lafs_pairs *p, int64_t *cap, int32_t a, int32_t b, int same, int32_t fold,
                            struct lafs_err *err)
{
    if (p->count == *cap) {
        int64_t more = *cap ? *cap * 2 : 1024;
        if (more > INT32_MAX) return lafs_fail(err, LAFS_FAILED, "too many pairs");
        size_t old = (size_t)p->count, now = (size_t)more;
        LAFS_TRY(lafs_resize(&p->a, old, now, sizeof *p->a, err));
        LAFS_TRY(lafs_resize(&p->b, old, now, sizeof *p->b, err));
        LAFS_TRY(lafs_resize(&p->same, old, now, sizeof *p->same, err));
        LAFS_TRY(lafs_resize(&p->fold, old, now, sizeof *p->fold, err));
        *cap = more;
    }
    p->a[p->count] = a;
    p->b[p->count] = b;
    p->same[p->count] = (uint8_t)same;
    p->fold[p->count++] = fold;
    return LAFS_OK;
}

/* n lines of one kind; tenth: the folds are tenths of them, else all are of `fold`. */
static lafs_status read_block(struct lafs_pairs *p, int64_t *cap, struct lines *l, int64_t n, int same, int tenths,
                              int32_t fold, struct lafs_err *err)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t a, b;
        const char *form = same ? "'NAME i j' (the same person)" : "'NAME1 i NAME2 j' (different people)";
        if (!next_line(l))
            return lafs_fail(err, LAFS_FAILED, "'%s' ends after line %lld: %lld more %s pairs were announced", l->what,
                             (long long)l->number, (long long)(n - i), same ? "same" : "different");
        if (l->fields != (same ? 3 : 4)) return bad_line(l, err, form);
        LAFS_TRY(add_lfw_photo(p, l, 0, 1, &a, err));
        LAFS_TRY(same ? add_lfw_photo(p, l, 0, 2, &b, err) : add_lfw_photo(p, l, 2, 3, &b, err));
        LAFS_TRY(add_pair(p, cap, a, b, same, tenths ? (int32_t)(i * p->folds / n) : fold, err));
    }
    return LAFS_OK;
}

static lafs_status read_lfw(struct lafs_pairs *p, struct lines *l, int64_t folds, int64_t n, struct lafs_err *err)
{
    int64_t cap = 0;
    if (n < 1 || n > INT32_MAX / 2 || folds < 0 || folds > MAX_FOLDS || folds == 1)
        return bad_line(l, err, "the numbers of folds (2 to 1000) and of pairs");
    if (folds == 0) {
        p->folds = n < FOLDS ? (int)n : FOLDS;
        LAFS_TRY(read_block(p, &cap, l, n, 1, 1, 0, err));
        LAFS_TRY(read_block(p, &cap, l, n, 0, 1, 0, err));
    } else {
        p->folds = (int)folds;
        for (int32_t f = 0; f < folds; f++) {
            LAFS_TRY(read_block(p, &cap, l, n, 1, 0, f, err));
            LAFS_TRY(read_block(p, &cap, l, n, 0, 0, f, err));
        }
    }
    if (next_line(l)) return bad_line(l, err, "the end of the file: all announced pairs are read");
    return LAFS_OK;
}

/* People by pairs, where keys do not name them. */
static lafs_status link_people(struct lafs_pairs *p, struct lafs_err *err)
{
    int64_t people, who;
    LAFS_TRY(lafs_people_from_pairs(p->a, p->b, p->same, p->count, p->photos.count, p->person, &people, err));
    lafs_strset_release(&p->people);
    for (int64_t i = 0; i < p->photos.count; i++) {
        const char *key = lafs_strset_at(&p->photos, i);
        if (p->person[i] == p->people.count) LAFS_TRY(lafs_strset_add(&p->people, key, strlen(key), &who, err));
    }
    return LAFS_OK;
}

static lafs_status read_keys(struct lafs_pairs *p, struct lines *l, struct lafs_err *err)
{
    int64_t cap = 0;
    int named = 0;
    do {
        int32_t id[2];
        int64_t same;
        if (l->fields != 3 || !to_int(l->field[2], l->len[2], &same) || same < 0 || same > 1)
            return bad_line(l, err, l->number == 1 ? "the number of pairs ('10 300' or '500'), or 'KEY1 KEY2 0|1'"
                                                   : "'KEY1 KEY2 0|1'");
        for (int k = 0; k < 2; k++) {
            char key[MAX_KEY];
            if (l->len[k] >= MAX_KEY || memchr(l->field[k], 0, l->len[k])) return bad_line(l, err, "a shorter key");
            size_t n = canonical(l->field[k], l->len[k], key), dir = n;
            while (dir > 0 && key[dir - 1] != '/') dir--;
            named |= dir > 0;
            LAFS_TRY(add_photo(p, key, n, key, dir ? dir - 1 : n, id + k, err));
        }
        LAFS_TRY(add_pair(p, &cap, id[0], id[1], (int)same, 0, err));
    } while (next_line(l));
    p->folds = p->count < FOLDS ? (int)p->count : FOLDS;
    lafs_folds_contiguous(p->fold, p->count, p->folds);
    return named ? LAFS_OK : link_people(p, err);
}

lafs_status lafs_pairs_parse(struct lafs_pairs **out, const char *text, size_t size, const char *what,
                             struct lafs_err *err)
{
    struct lafs_pairs *p;
    struct lines l;
    int64_t v[2] = {0};
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    lines_init(&l, text, size, what);
    lafs_status st;
    if (!next_line(&l)) st = lafs_fail(err, LAFS_FAILED, "'%s' is empty", what);
    else if (l.fields == 1 && to_int(l.field[0], l.len[0], v)) st = read_lfw(p, &l, 0, v[0], err);
    else if (l.fields == 2 && to_int(l.field[0], l.len[0], v) && to_int(l.field[1], l.len[1], v + 1))
        st = read_lfw(p, &l, v[0] == 0 ? -1 : v[0], v[1], err);
    else st = read_keys(p, &l, err);
    if (st != LAFS_OK) {
        lafs_pairs_free(p);
        return st;
    }
    *out = p;
    return LAFS_OK;
}

lafs_status lafs_pairs_read(struct lafs_pairs **out, const char *path, struct lafs_err *err)
{
    struct lafs_buf b;
    *out = NULL;
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, MAX_FILE, err);
    if (st == LAFS_OK) st = lafs_pairs_parse(out, (const char *)b.data, b.size, path, err);
    lafs_buf_release(&b);
    return st;
}

void lafs_pairs_free(struct lafs_pairs *p)
{
    if (!p) return;
    lafs_strset_release(&p->photos);
    lafs_strset_release(&p->people);
    lafs_free(p->a);
    lafs_free(p->b);
    lafs_free(p->same);
    lafs_free(p->fold);
    lafs_free(p->person);
    lafs_free(p);
}

/* -- IJB -- */

static lafs_status read_images(struct lafs_ijb_images *p, struct lines *l, int64_t most, struct lafs_err *err)
{
    size_t n = (size_t)most;
    LAFS_TRY(lafs_alloc(&p->photo, n, sizeof *p->photo, err));
    LAFS_TRY(lafs_alloc(&p->template_id, n, sizeof *p->template_id, err));
    LAFS_TRY(lafs_alloc(&p->media_id, n, sizeof *p->media_id, err));
    const char *line;
    size_t len;
    while (raw_line(l, &line, &len)) {
        struct lafs_ijb_line f;
        char key[MAX_KEY];
        int64_t id;
        if (lafs_ijb_template_line(&f, line, len, p->template_id + p->count, p->media_id + p->count, err) != LAFS_OK)
            return in_line(l, err);
        if (f.len[0] >= MAX_KEY) return bad_line(l, err, "a shorter name");
        len = canonical(f.field[0], f.len[0], key);
        LAFS_TRY(lafs_strset_add(&p->photos, key, len, &id, err));
        p->photo[p->count++] = (int32_t)id;
    }
    return p->count ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "'%s' is empty", l->what);
}

static int64_t count_lines(const struct lafs_buf *b)
{
    int64_t n = 1;
    for (size_t i = 0; i < b->size; i++) n += b->data[i] == '\n';
    return n;
}

lafs_status lafs_ijb_images_read(struct lafs_ijb_images **out, const char *path, struct lafs_err *err)
{
    struct lafs_buf b;
    struct lines l;
    struct lafs_ijb_images *p;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    lafs_buf_init(&b);
    lafs_status st = lafs_buf_read_file(&b, path, MAX_FILE, err);
    if (st == LAFS_OK) {
        lines_init(&l, (const char *)b.data, b.size, path);
        st = read_images(p, &l, count_lines(&b), err);
    }
    lafs_buf_release(&b);
    if (st != LAFS_OK) lafs_ijb_images_free(p);
    else *out = p;
    return st;
}

void lafs_ijb_images_free(struct lafs_ijb_images *p)
{
    if (!p) return;
    lafs_strset_release(&p->photos);
    lafs_free(p->photo);
    lafs_free(p->template_id);
    lafs_free(p->media_id);
    lafs_free(p);
}

/* Position of an id by direct table, where the ids are dense enough (they are in IJB), else by binary search. */
struct id_map {
    const int64_t *id;
    int64_t n, span;
    int32_t *table; /* (span) position + 1 of id[0] + i; NULL: search */
};

static lafs_status id_map_init(struct id_map *m, const int64_t *id, int64_t n, struct lafs_err *err)
{
    *m = (struct id_map){id, n, 0, NULL};
    if (n == 0 || n > INT32_MAX || (uint64_t)id[n - 1] - (uint64_t)id[0] >= 16 * (uint64_t)n + 1024) return LAFS_OK;
    m->span = id[n - 1] - id[0] + 1;
    LAFS_TRY(lafs_alloc0(&m->table, (size_t)m->span, sizeof *m->table, err));
    for (int64_t i = 0; i < n; i++) m->table[id[i] - id[0]] = (int32_t)i + 1;
    return LAFS_OK;
}

static int32_t id_map_find(const struct id_map *m, int64_t id)
{
    if (m->n == 0 || id < m->id[0] || id > m->id[m->n - 1]) return -1;
    if (m->table) return m->table[id - m->id[0]] - 1;
    int64_t lo = 0, hi = m->n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (m->id[mid] < id) lo = mid + 1;
        else hi = mid;
    }
    return lo < m->n && m->id[lo] == id ? (int32_t)lo : -1;
}

/* A line of the usual form, digits and single blanks, without splitting it into fields first: there are 15 million. 0:
 * it is not, or too near the end of the file to look without care; nothing is taken then. */
static int plain_pair(struct lines *l, int64_t t[2], int64_t *same)
{
    const char *p = l->p;
    if (l->end - p < 64) return 0;
    for (int k = 0; k < 2; k++) {
        const char *from = p;
        int64_t x = 0;
        for (; *p >= '0' && *p <= '9' && p - from < 18; p++) x = x * 10 + (*p - '0');
        if (p == from || (*p != ' ' && *p != '\t')) return 0;
        p++;
        t[k] = x;
    }
    if ((*p != '0' && *p != '1') || p[1] != '\n') return 0;
    *same = *p - '0';
    l->p = p + 2;
    l->number++;
    return 1;
}

/* Any other line. LAFS_END at the end. */
static lafs_status other_pair(struct lines *l, int64_t t[2], int64_t *same, struct lafs_err *err)
{
    if (!next_line(l)) return LAFS_END;
    if (l->fields != 3 || !to_int(l->field[0], l->len[0], t) || !to_int(l->field[1], l->len[1], t + 1) ||
        !to_int(l->field[2], l->len[2], same) || *same < 0 || *same > 1)
        return bad_line(l, err, "'template1 template2 0|1'");
    return LAFS_OK;
}

static lafs_status read_ijb_pairs(struct lafs_ijb_pairs *p, struct lines *l, int64_t most, const struct id_map *map,
                                  struct lafs_err *err)
{
    if (most > INT32_MAX) return lafs_fail(err, LAFS_FAILED, "'%s': too many pairs", l->what);
    LAFS_TRY(lafs_alloc(&p->a, (size_t)most, sizeof *p->a, err));
    LAFS_TRY(lafs_alloc(&p->b, (size_t)most, sizeof *p->b, err));
    LAFS_TRY(lafs_alloc(&p->same, (size_t)most, sizeof *p->same, err));
    for (;;) {
        int64_t t[2], same = 0;
        if (!plain_pair(l, t, &same)) {
            lafs_status st = other_pair(l, t, &same, err);
            if (st == LAFS_END) break;
            if (st != LAFS_OK) return st;
        }
        p->a[p->count] = id_map_find(map, t[0]);
        p->b[p->count] = id_map_find(map, t[1]);
        if (p->a[p->count] < 0 || p->b[p->count] < 0)
            return lafs_fail(err, LAFS_FAILED, "'%s' line %lld: template %lld has no images", l->what,
                             (long long)l->number, (long long)t[p->a[p->count] < 0 ? 0 : 1]);
        p->same[p->count++] = (uint8_t)same;
    }
    return p->count ? LAFS_OK : lafs_fail(err, LAFS_FAILED, "'%s' is empty", l->what);
}

lafs_status lafs_ijb_pairs_read(struct lafs_ijb_pairs **out, const char *path, const int64_t *ids, int64_t n,
                                struct lafs_err *err)
{
    struct lafs_buf b;
    struct lines l;
    struct id_map map;
    struct lafs_ijb_pairs *p;
    *out = NULL;
    LAFS_TRY(lafs_alloc0(&p, 1, sizeof *p, err));
    lafs_buf_init(&b);
    lafs_status st = id_map_init(&map, ids, n, err);
    if (st == LAFS_OK) st = lafs_buf_read_file(&b, path, MAX_FILE, err);
    if (st == LAFS_OK) {
        lines_init(&l, (const char *)b.data, b.size, path);
        st = read_ijb_pairs(p, &l, count_lines(&b), &map, err);
    }
    lafs_buf_release(&b);
    lafs_free(map.table);
    if (st != LAFS_OK) lafs_ijb_pairs_free(p);
    else *out = p;
    return st;
}

void lafs_ijb_pairs_free(struct lafs_ijb_pairs *p)
{
    if (!p) return;
    lafs_free(p->a);
    lafs_free(p->b);
    lafs_free(p->same);
    lafs_free(p);
}

/* The points are passed over. */
static lafs_status take_score(const struct lines *l, const char *line, size_t len, const struct lafs_strset *photos,
                              float *score, struct lafs_err *err)
{
    struct lafs_ijb_line f;
    char key[MAX_KEY];
    double v;
    if (lafs_ijb_points_line(&f, line, len, err) != LAFS_OK ||
        lafs_ijb_number(&f, LAFS_IJB_SCORE, &v, err) != LAFS_OK) {
        in_line(l, err);
        return err ? (err->status = LAFS_FAILED) : LAFS_FAILED;
    }
    if (f.len[0] >= MAX_KEY) return bad_line(l, err, "a shorter name");
    int64_t id = lafs_strset_find(photos, key, canonical(f.field[0], f.len[0], key));
    if (id >= 0) score[id] = (float)v;
    return LAFS_OK;
}

lafs_status lafs_ijb_scores_read(const char *path, const struct lafs_strset *photos, float *score, struct lafs_err *err)
{
    struct lafs_buf b;
    struct lines l;
    lafs_buf_init(&b);
    for (int64_t i = 0; i < photos->count; i++) score[i] = NAN;
    lafs_status st = lafs_buf_read_file(&b, path, MAX_FILE, err);
    lines_init(&l, (const char *)b.data, b.size, path);
    const char *line;
    size_t len;
    while (st == LAFS_OK && raw_line(&l, &line, &len)) st = take_score(&l, line, len, photos, score, err);
    lafs_buf_release(&b);
    return st;
}
