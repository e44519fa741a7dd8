#include "cmd/addfields.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

enum { MAX_VALUES = 1 << 16 };

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct addfields_line *)a)->key, ((const struct addfields_line *)b)->key);
}

static lafs_status add_line(struct addfields *a, size_t at, size_t size, long number, struct lafs_err *err)
{
    struct lafs_json *j = NULL;
    lafs_status st = lafs_json_parse(&j, (const char *)a->text.data + at, size, err);
    const struct lafs_json *key = st == LAFS_OK && j->type == LAFS_JSON_OBJECT ? lafs_json_get(j, "key") : NULL;
    if (st == LAFS_OK && (!key || key->type != LAFS_JSON_STRING))
        st = lafs_fail(err, LAFS_FAILED, "no object with a string \"key\"");
    if (st == LAFS_OK && (size_t)a->lines == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 1024;
        st = lafs_resize(&a->line, a->cap, cap, sizeof *a->line, err);
        if (st == LAFS_OK) a->cap = cap;
    }
    if (st == LAFS_OK) {
        struct addfields_line *l = &a->line[a->lines];
        *l = (struct addfields_line){.at = at, .size = size, .number = number};
        st = lafs_strdup(&l->key, key->str, err);
        a->lines += st == LAFS_OK;
    }
    lafs_json_free(j);
    return st == LAFS_OK ? st : lafs_err_prefix(err, "'%s', line %ld", a->path, number);
}

lafs_status addfields_open(struct addfields *a, const char *path, struct lafs_err *err)
{
    memset(a, 0, sizeof *a);
    a->path = path;
    lafs_buf_init(&a->text);
    LAFS_TRY(lafs_buf_read_file(&a->text, path, SIZE_MAX / 4, err));
    long number = 0;
    for (size_t at = 0; at < a->text.size;) {
        const unsigned char *line = a->text.data + at, *nl = memchr(line, '\n', a->text.size - at);
        size_t size = nl ? (size_t)(nl - line) : a->text.size - at;
        number++;
        if (size) LAFS_TRY(add_line(a, at, size, number, err));
        at += size + (nl != NULL);
    }
    if (a->lines) qsort(a->line, (size_t)a->lines, sizeof *a->line, by_key);
    for (int64_t i = 1; i < a->lines; i++)
        if (!strcmp(a->line[i].key, a->line[i - 1].key))
            return lafs_fail(err, LAFS_FAILED, "'%s': the key '%s' stands in lines %ld and %ld", path, a->line[i].key,
                             a->line[i - 1].number, a->line[i].number);
    return LAFS_OK;
}

void addfields_close(struct addfields *a)
{
    for (int64_t i = 0; i < a->lines; i++) lafs_free(a->line[i].key);
    lafs_free(a->line);
    lafs_buf_release(&a->text);
}

/* An array of numbers, or of arrays of as many numbers each. */
static lafs_status put_array(struct lafs_sample *s, const struct lafs_json *v, struct lafs_err *err)
{
    int64_t shape[2] = {(int64_t)v->count, 0};
    int ndim = 1;
    float *out;
    size_t n = 0;
    if (v->child && v->child->type == LAFS_JSON_ARRAY) {
        ndim = 2;
        shape[1] = (int64_t)v->child->count;
    }
    if (v->count > MAX_VALUES || shape[1] > MAX_VALUES || shape[0] * (ndim == 2 ? shape[1] : 1) > MAX_VALUES)
        return lafs_fail(err, LAFS_BAD_RECORD, "more than %d numbers", MAX_VALUES);
    LAFS_TRY(lafs_alloc(&out, MAX_VALUES + 1, sizeof *out, err));
    int good = 1;
    for (const struct lafs_json *row = v->child; row && good; row = row->next) {
        const struct lafs_json *from = ndim == 2 ? row->child : row;
        size_t want = ndim == 2 ? (size_t)shape[1] : 1;
        good = ndim == 1 || (row->type == LAFS_JSON_ARRAY && row->count == want);
        for (size_t k = 0; k < want && good; k++, from = from->next) {
            good = from->type == LAFS_JSON_NUMBER;
            if (good) out[n++] = (float)from->num;
        }
    }
    if (good) lafs_sample_set_f32(s, v->key, shape, ndim, out);
    lafs_free(out);
    return good ? LAFS_OK : lafs_fail(err, LAFS_BAD_RECORD, "no array of numbers, or of rows of as many numbers each");
}

static lafs_status put_value(struct lafs_sample *s, const struct lafs_json *v, struct lafs_err *err)
{
    if (!lafs_field_name_ok(v->key, strlen(v->key)))
        return lafs_fail(err, LAFS_BAD_RECORD, "no field can be called so: 1 to %d bytes, and no __ at the beginning",
                         LAFS_MAX_FIELD_NAME);
    switch (v->type) {
    case LAFS_JSON_STRING: lafs_sample_set_str(s, v->key, v->str); return LAFS_OK;
    case LAFS_JSON_NUMBER:
        if (v->is_int) lafs_sample_set_int(s, v->key, v->integer);
        else lafs_sample_set_double(s, v->key, v->num);
        return LAFS_OK;
    case LAFS_JSON_ARRAY: return put_array(s, v, err);
    default: return lafs_fail(err, LAFS_BAD_RECORD, "neither a string nor a number nor an array of numbers");
    }
}

lafs_status addfields_put(struct addfields *a, struct lafs_sample *s, struct lafs_err *err)
{
    struct addfields_line want = {.key = (char *)lafs_sample_key(s)};
    struct addfields_line *l =
        a->lines ? bsearch(&want, a->line, (size_t)a->lines, sizeof *a->line, by_key) : NULL;
    struct lafs_json *j = NULL;
    if (!l) return LAFS_OK;
    l->used = 1;
    lafs_status st = lafs_json_parse(&j, (const char *)a->text.data + l->at, l->size, err);
    for (const struct lafs_json *v = st == LAFS_OK ? j->child : NULL; v && st == LAFS_OK; v = v->next) {
        if (!strcmp(v->key, "key")) continue;
        st = put_value(s, v, err);
        if (st != LAFS_OK) lafs_err_prefix(err, "'%s', line %ld, field '%s'", a->path, l->number, v->key);
    }
    lafs_json_free(j);
    if (st == LAFS_OK && (st = lafs_sample_check(s, err)) != LAFS_OK)
        lafs_err_prefix(err, "'%s', line %ld", a->path, l->number);
    return st;
}

int64_t addfields_left(const struct addfields *a, const char **first)
{
    int64_t left = 0;
    for (int64_t i = 0; i < a->lines; i++)
        if (!a->line[i].used && left++ == 0) *first = a->line[i].key;
    return left;
}
