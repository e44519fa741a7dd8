#include "data/lines.h"

#include <string.h>

#include "base/mem.h"
#include "data/index.h"

enum {
    HOLD = 1 << 20,
    CHUNK = 64 << 10,                  /* of lines read again: many of them */
    MAX_TO_KEY = 64 + 3 * LAFS_MAX_KEY /* of a line: three numbers, the key, all of it escaped, the tab behind it */
};

void lafs_lines_init(struct lafs_lines *l, const char *index)
{
    *l = (struct lafs_lines){.index = index, .file.fd = -1, .hold = HOLD, .keys.beside = index};
}

void lafs_lines_release(struct lafs_lines *l)
{
    lafs_keyset_release(&l->keys);
    lafs_scratch_close(&l->file);
    lafs_buf_release(&l->tail);
}

/* ---- keys of lines ---- */

/* What stands behind the third tab of a line, as far as end; NULL: there are no three. */
static const char *key_in(const char *line, const char *end)
{
    for (int tabs = 0; tabs < 3; tabs++) {
        line = line < end ? memchr(line, '\t', (size_t)(end - line)) : NULL;
        if (!line) return NULL;
        line++;
    }
    return line;
}

/* Whether the line's key is key[0..len). Of what an index escapes, keys have the % only: %25. */
static int is_key_of(const char *line, const char *end, const char *key, size_t len)
{
    const char *have = key_in(line, end);
    for (size_t i = 0; have && i < len; i++) {
        if (have >= end || *have != key[i]) return 0;
        have += key[i] == '%' ? 3 : 1;
    }
    return have && have < end && *have == '\t';
}

static int same_key(void *arg, uint64_t id, const char *key, size_t len)
{
    struct lafs_lines *l = arg;
    char line[MAX_TO_KEY];
    size_t got;
    int64_t at = (int64_t)id, left = l->spilled - at;
    const char *tail = (const char *)l->tail.data;
    if (left <= 0) return is_key_of(tail - left, tail + l->tail.size, key, len);
    size_t n = left < (int64_t)sizeof line ? (size_t)left : sizeof line;
    if (lafs_scratch_read(&l->file, at, line, n, &got, &l->why) != LAFS_OK) return -1;
    return is_key_of(line, line + got, key, len);
}

static lafs_status add_key(struct lafs_lines *l, const char *key, size_t len, int64_t at, struct lafs_err *err)
{
    l->keys.same = same_key;
    l->keys.arg = l;
    l->why.status = LAFS_OK;
    lafs_status st = lafs_keyset_add(&l->keys, key, len, (uint64_t)at, err);
    return st == LAFS_FAILED && l->why.status != LAFS_OK ? lafs_fail(err, st, "%s", l->why.msg) : st;
}

/* Adds the keys of the whole lines in text, which stand at `at` among all; *used = their bytes. */
static lafs_status add_keys(struct lafs_lines *l, const char *text, size_t size, int64_t at, size_t *used,
                            struct lafs_err *err)
{
    const char *end = text + size, *nl;
    char key[LAFS_MAX_KEY + 1];
    for (*used = 0; *used < size && (nl = memchr(text + *used, '\n', size - *used)); *used = (size_t)(nl + 1 - text)) {
        const char *p = key_in(text + *used, end);
        size_t len = 0;
        for (; p && p < nl && *p != '\t' && len < LAFS_MAX_KEY; p += *p == '%' ? 3 : 1) key[len++] = *p;
        LAFS_TRY(add_key(l, key, len, at + (int64_t)*used, err));
    }
    return LAFS_OK;
}

static lafs_status add_all_keys(struct lafs_lines *l, struct lafs_err *err)
{
    char *chunk;
    size_t got, used;
    lafs_status st = lafs_alloc(&chunk, CHUNK, 1, err);
    for (int64_t at = 0; at < l->spilled && st == LAFS_OK; at += (int64_t)used) {
        int64_t left = l->spilled - at;
        st = lafs_scratch_read(&l->file, at, chunk, left < CHUNK ? (size_t)left : CHUNK, &got, err);
        if (st == LAFS_OK) st = add_keys(l, chunk, got, at, &used, err);
        if (st == LAFS_OK && used == 0) st = lafs_fail(err, LAFS_FAILED, "lines beside '%s' are damaged", l->index);
    }
    lafs_free(chunk);
    return st == LAFS_OK ? add_keys(l, (const char *)l->tail.data, l->tail.size, l->spilled, &used, err) : st;
}

lafs_status lafs_lines_claim(struct lafs_lines *l, const char *key, struct lafs_err *err)
{
    lafs_status st = LAFS_OK;
    size_t len = strlen(key);
    if (!l->unordered && strcmp(key, l->last) > 0) {
        memcpy(l->last, key, len + 1);
        return LAFS_OK;
    }
    if (!l->unordered) LAFS_TRY(add_all_keys(l, err));
    l->unordered = 1;
    st = add_key(l, key, len, l->spilled + (int64_t)l->tail.size, err);
    return st == LAFS_END ? lafs_fail(err, LAFS_BAD_RECORD, "key '%s' was there before", key) : st;
}

/* ---- lines ---- */

lafs_status lafs_lines_put(struct lafs_lines *l, int64_t shard, int64_t offset, int64_t length, const char *key,
                           const char *name, struct lafs_err *err)
{
    lafs_index_put_sample(&l->tail, shard, offset, length, key, name);
    LAFS_TRY(lafs_buf_check(&l->tail, err));
    if (l->tail.size < l->hold) return LAFS_OK;
    if (l->file.fd < 0) LAFS_TRY(lafs_scratch_open(&l->file, l->index, err));
    LAFS_TRY(lafs_scratch_write(&l->file, l->spilled, l->tail.data, l->tail.size, err));
    l->spilled += (int64_t)l->tail.size;
    lafs_buf_clear(&l->tail);
    return LAFS_OK;
}

lafs_status lafs_lines_copy(struct lafs_lines *l, struct lafs_atomic *to, struct lafs_err *err)
{
    char *chunk;
    size_t got;
    lafs_status st = lafs_alloc(&chunk, CHUNK, 1, err);
    for (int64_t at = 0; at < l->spilled && st == LAFS_OK; at += (int64_t)got) {
        int64_t left = l->spilled - at;
        st = lafs_scratch_read(&l->file, at, chunk, left < CHUNK ? (size_t)left : CHUNK, &got, err);
        if (st == LAFS_OK && got == 0) st = lafs_fail(err, LAFS_FAILED, "lines beside '%s' are damaged", l->index);
        if (st == LAFS_OK) st = lafs_atomic_write(to, chunk, got, err);
    }
    lafs_free(chunk);
    return st == LAFS_OK ? lafs_atomic_write(to, l->tail.data, l->tail.size, err) : st;
}
