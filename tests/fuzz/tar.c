/* Any bytes as a tar of photos, a shard, or an index. A tar gives the same samples when it is read from its start to its
 * end, and when it is indexed and they are fetched one by one; an index that is read can be written and read again. */
#include <string.h>

#include "data/index.h"
#include "data/source.h"
#include "format/archive.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_RECORD = 1 << 20 };

/* ---- members ---- */

static void members(const uint8_t *data, size_t size)
{
    struct lafs_archive *t;
    struct lafs_archive_member m;
    struct lafs_buf b;
    struct lafs_err err = {0};
    lafs_status st;
    if (lafs_tar_open_memory(&t, data, size, "'fuzz'", &err) != LAFS_OK) return;
    lafs_buf_init(&b);
    int64_t end = 0;
    while ((st = lafs_archive_next(t, &m, &err)) == LAFS_OK) {
        must(m.name != NULL && m.offset >= end);
        lafs_buf_clear(&b);
        if (m.regular && lafs_archive_data(t, MAX_RECORD, &b, &err) == LAFS_OK) must((int64_t)b.size == m.size);
        end = m.offset;
    }
    must(st == LAFS_END || err.msg[0]);
    lafs_buf_release(&b);
    lafs_archive_close(t);
}

/* ---- the same samples both ways ---- */

/* The same fields; their order may differ. */
static int equal(const struct lafs_sample *s, const struct lafs_sample *t)
{
    int same = s->count == t->count;
    for (int i = 0; i < s->count && same; i++) {
        char name[LAFS_MAX_FIELD_NAME + 1];
        const struct lafs_field *f = &s->field[i];
        const void *raw;
        size_t size;
        memcpy(name, s->buf.data + f->name, f->name_len);
        name[f->name_len] = 0;
        same = lafs_sample_raw(t, name, &raw, &size) == LAFS_OK && size == f->len &&
               memcmp(raw, s->buf.data + f->at, size) == 0;
    }
    return same;
}

static void compare(struct lafs_reader *r, const struct lafs_index *ix)
{
    struct lafs_fetch *f;
    struct lafs_sample s, t;
    struct lafs_err err;
    lafs_status st;
    int64_t at = 0;
    lafs_sample_init(&s);
    lafs_sample_init(&t);
    must(lafs_fetch_open(&f, ix, &err) == LAFS_OK);
    while ((st = lafs_reader_next(r, &s, &err)) == LAFS_OK || st == LAFS_BAD_RECORD) {
        if (at == ix->samples || strcmp(lafs_sample_key(&s), ix->sample[at].key)) {
            must(st == LAFS_BAD_RECORD); /* of no usable key */
            continue;
        }
        lafs_status fetched = lafs_fetch_sample(f, at++, &t, &err);
        must(fetched == st);
        if (st == LAFS_OK) must(equal(&s, &t));
    }
    must(st != LAFS_END || at == ix->samples);
    lafs_fetch_close(f);
    lafs_sample_release(&s);
    lafs_sample_release(&t);
}

static void samples(int fd, const uint8_t *data, size_t size)
{
    struct lafs_reader_options opt = {.max_record = MAX_RECORD};
    struct lafs_reader *r;
    struct lafs_index *ix = NULL;
    struct lafs_sample s;
    struct lafs_err err = {0};
    const char *path = fuzz_put(fd, data, size);
    lafs_status indexed = lafs_index_open(&ix, path, &err);
    must(indexed == LAFS_OK || err.msg[0]);
    if (lafs_reader_open(&r, &path, 1, &opt, &err) == LAFS_OK) {
        if (indexed == LAFS_OK) {
            compare(r, ix);
        } else {
            lafs_status st;
            lafs_sample_init(&s);
            while ((st = lafs_reader_next(r, &s, &err)) == LAFS_OK || st == LAFS_BAD_RECORD) continue;
            lafs_sample_release(&s);
        }
        lafs_reader_close(r);
    } else {
        must(err.msg[0] != 0);
    }
    if (indexed == LAFS_OK) lafs_index_free(ix);
}

/* ---- an index ---- */

static void index_text(int fd, const uint8_t *data, size_t size)
{
    struct lafs_index *ix, *again;
    struct lafs_buf b;
    struct lafs_err err = {0};
    if (lafs_index_read(&ix, fuzz_put(fd, data, size), &err) != LAFS_OK) {
        must(err.msg[0] != 0);
        return;
    }
    lafs_buf_init(&b);
    lafs_index_put_head(&b, &ix->pixels);
    for (int64_t i = 0; i < ix->shards; i++)
        lafs_index_put_shard(&b, ix->shard[i].path, ix->shard[i].size, ix->shard[i].sha256);
    for (int64_t i = 0; i < ix->samples; i++) {
        const struct lafs_index_sample *s = &ix->sample[i];
        lafs_index_put_sample(&b, s->shard, s->offset, s->length, s->key, s->name);
    }
    lafs_index_put_end(&b, ix->shards, ix->samples);
    must(lafs_index_read(&again, fuzz_put(fd, b.data, b.size), &err) == LAFS_OK);
    must(again->shards == ix->shards && again->samples == ix->samples);
    for (int64_t i = 0; i < ix->samples; i++)
        must(strcmp(ix->sample[i].key, again->sample[i].key) == 0 && strcmp(ix->sample[i].name, again->sample[i].name) == 0);
    lafs_index_free(ix);
    lafs_index_free(again);
    lafs_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) fd = fuzz_file();
    if (lafs_input_kind(data, size < 512 ? size : 512) == LAFS_KIND_INDEX) {
        index_text(fd, data, size);
    } else {
        members(data, size);
        samples(fd, data, size);
    }
    return 0;
}
