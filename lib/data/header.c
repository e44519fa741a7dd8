/* Headers and trailers: what opens and closes a stream or shard, and what is checked of them. */
#include <stdio.h>
#include <string.h>

#include "data/source.h"

void lafs_header_init(struct lafs_header *h)
{
    memset(h, 0, sizeof *h);
    h->version = 1;
    h->seed = h->epochs_from = h->epochs_to = h->images = -1;
    lafs_buf_init(&h->prov);
}

void lafs_header_release(struct lafs_header *h)
{
    lafs_buf_release(&h->prov);
    lafs_header_init(h);
}

lafs_status lafs_header_copy(struct lafs_header *to, const struct lafs_header *from, struct lafs_err *err)
{
    struct lafs_buf prov = to->prov;
    *to = *from;
    to->prov = prov;
    lafs_buf_clear(&to->prov);
    lafs_buf_put(&to->prov, from->prov.data, from->prov.size);
    if (from->prov.failed) to->prov.failed = 1;
    return lafs_buf_check(&to->prov, err);
}

static void pack_link(struct lafs_buf *b, const char *program, const char *version, const char *const *names,
                      const char *const *values, int n)
{
    lafs_pack_map(b, n > 0 ? 3 : 2);
    lafs_pack_str(b, "program");
    lafs_pack_str(b, program);
    lafs_pack_str(b, "version");
    lafs_pack_str(b, version);
    if (n <= 0) return;
    lafs_pack_str(b, "options");
    lafs_pack_map(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        lafs_pack_str(b, names[i]);
        lafs_pack_str(b, values[i]);
    }
}

lafs_status lafs_header_add_prov(struct lafs_header *h, const char *program, const char *version,
                                 const char *const *names, const char *const *values, int n, struct lafs_err *err)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_pack_array(&b, (uint32_t)h->prov_count + 1);
    if (h->prov.size) {
        struct lafs_walk w = {h->prov.data, h->prov.data + h->prov.size};
        struct lafs_mp_value v;
        lafs_status st = lafs_walk_next(&w, &v, err);
        if (st != LAFS_OK) {
            lafs_buf_release(&b);
            return st;
        }
        lafs_buf_put(&b, w.p, (size_t)(w.end - w.p));
    }
    pack_link(&b, program, version, names, values, n);
    lafs_status st = lafs_buf_check(&b, err);
    if (st == LAFS_OK && b.size > LAFS_MAX_HEADER / 2)
        st = lafs_fail(err, LAFS_FAILED, "provenance of %zu bytes", b.size);
    if (st != LAFS_OK) {
        lafs_buf_release(&b);
        return st;
    }
    lafs_buf_release(&h->prov);
    h->prov = b;
    h->prov_count++;
    return LAFS_OK;
}

/* The text at `name` in a map, as lafs_header_prov_option gives it. */
static lafs_status text_in(const void *map, size_t size, const char *name, char *value, size_t cap,
                           struct lafs_err *err)
{
    const void *at;
    size_t len;
    struct lafs_mp_value v;
    LAFS_TRY(lafs_map_find(map, size, name, &at, &len, err));
    struct lafs_walk w = {at, (const unsigned char *)at + len};
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type != LAFS_MP_STR || v.len >= cap) return lafs_fail(err, LAFS_FAILED, "provenance: bad '%s'", name);
    memcpy(value, v.data, v.len);
    value[v.len] = 0;
    return LAFS_OK;
}

lafs_status lafs_header_prov_option(const struct lafs_header *h, const char *program, const char *name, char *value,
                                    size_t cap, struct lafs_err *err)
{
    struct lafs_walk w = {h->prov.data, h->prov.data + h->prov.size};
    struct lafs_mp_value list;
    lafs_status found = LAFS_END;
    if (h->prov.size == 0) return LAFS_END;
    LAFS_TRY(lafs_walk_next(&w, &list, err));
    for (size_t i = 0; i < list.len; i++) {
        const unsigned char *link = w.p;
        const void *options;
        char by[64];
        size_t len;
        LAFS_TRY(lafs_walk_skip(&w, err));
        const size_t size = (size_t)(w.p - link);
        if (text_in(link, size, "program", by, sizeof by, err) != LAFS_OK || strcmp(by, program)) continue;
        found = lafs_map_find(link, size, "options", &options, &len, err);
        if (found == LAFS_OK) found = text_in(options, len, name, value, cap, err);
    }
    return found;
}

/* ---- as MessagePack ---- */

void lafs_header_encode(const struct lafs_header *h, struct lafs_buf *out)
{
    int epochs = h->epochs_from >= 0;
    lafs_pack_map(out, 3u + (h->seed >= 0) + (unsigned)epochs + (h->images >= 0));
    lafs_pack_str(out, LAFS_OPENS);
    lafs_pack_int(out, h->version);
    lafs_pack_str(out, "pixels");
    lafs_pack_map(out, 3);
    lafs_pack_str(out, "size");
    lafs_pack_int(out, h->pixels.size);
    lafs_pack_str(out, "aligner");
    lafs_pack_str(out, h->pixels.aligner);
    lafs_pack_str(out, "channels");
    lafs_pack_str(out, h->pixels.channels);
    if (h->seed >= 0) {
        lafs_pack_str(out, "seed");
        lafs_pack_int(out, h->seed);
    }
    if (epochs) {
        lafs_pack_str(out, "epochs");
        lafs_pack_array(out, 2);
        lafs_pack_int(out, h->epochs_from);
        lafs_pack_int(out, h->epochs_to);
    }
    if (h->images >= 0) {
        lafs_pack_str(out, "images");
        lafs_pack_int(out, h->images);
    }
    lafs_pack_str(out, "prov");
    if (h->prov.size) lafs_buf_put(out, h->prov.data, h->prov.size);
    else lafs_pack_array(out, 0);
}

static lafs_status get_value(const void *map, size_t size, const char *name, struct lafs_mp_value *v,
                             struct lafs_walk *inside, struct lafs_err *err)
{
    const void *at;
    size_t len;
    LAFS_TRY(lafs_map_find(map, size, name, &at, &len, err));
    *inside = (struct lafs_walk){at, (const unsigned char *)at + len};
    return lafs_walk_next(inside, v, err);
}

static lafs_status get_int(const void *map, size_t size, const char *name, int64_t *out, struct lafs_err *err)
{
    struct lafs_mp_value v;
    struct lafs_walk w;
    lafs_status st = get_value(map, size, name, &v, &w, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    if (v.type != LAFS_MP_INT || v.i < -1) return lafs_fail(err, LAFS_FAILED, "header: bad '%s'", name);
    *out = v.i;
    return LAFS_OK;
}

static lafs_status get_word(const void *map, size_t size, const char *name, char *out, size_t cap, struct lafs_err *err)
{
    struct lafs_mp_value v;
    struct lafs_walk w;
    lafs_status st = get_value(map, size, name, &v, &w, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    if (v.type != LAFS_MP_STR || v.len >= cap) return lafs_fail(err, LAFS_FAILED, "header: bad '%s'", name);
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.data[i] <= 0x20 || (unsigned char)v.data[i] >= 0x7f)
            return lafs_fail(err, LAFS_FAILED, "header: bad '%s'", name);
    memcpy(out, v.data, v.len);
    out[v.len] = 0;
    return LAFS_OK;
}

static lafs_status get_pixels(struct lafs_pixels *p, const void *map, size_t size, struct lafs_err *err)
{
    const void *at;
    size_t len;
    int64_t side = 0;
    lafs_status st = lafs_map_find(map, size, "pixels", &at, &len, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    LAFS_TRY(get_int(at, len, "size", &side, err));
    if (side < 0 || side > 65500) return lafs_fail(err, LAFS_FAILED, "header: bad 'size'");
    p->size = (int)side;
    LAFS_TRY(get_word(at, len, "aligner", p->aligner, sizeof p->aligner, err));
    return get_word(at, len, "channels", p->channels, sizeof p->channels, err);
}

static lafs_status get_epochs(struct lafs_header *h, const void *map, size_t size, struct lafs_err *err)
{
    struct lafs_mp_value v, from, to;
    struct lafs_walk w;
    lafs_status st = get_value(map, size, "epochs", &v, &w, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    if (v.type != LAFS_MP_ARRAY || v.len != 2 || lafs_walk_next(&w, &from, err) != LAFS_OK ||
        lafs_walk_next(&w, &to, err) != LAFS_OK || from.type != LAFS_MP_INT || to.type != LAFS_MP_INT || from.i < 0 ||
        to.i < from.i)
        return lafs_fail(err, LAFS_FAILED, "header: bad 'epochs'");
    h->epochs_from = from.i;
    h->epochs_to = to.i;
    return LAFS_OK;
}

static lafs_status get_prov(struct lafs_header *h, const void *map, size_t size, struct lafs_err *err)
{
    const void *at;
    size_t len;
    lafs_status st = lafs_map_find(map, size, "prov", &at, &len, err);
    if (st == LAFS_END) return LAFS_OK;
    LAFS_TRY(st);
    struct lafs_walk w = {at, (const unsigned char *)at + len};
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type != LAFS_MP_ARRAY || v.len > 4096) return lafs_fail(err, LAFS_FAILED, "header: bad 'prov'");
    h->prov_count = (int)v.len;
    lafs_buf_put(&h->prov, at, len);
    return lafs_buf_check(&h->prov, err);
}

static lafs_status decode_header(struct lafs_header *h, const void *map, size_t size, struct lafs_err *err)
{
    int64_t version = 0;
    if (size > LAFS_MAX_HEADER) return lafs_fail(err, LAFS_FAILED, "header of more than %d bytes", LAFS_MAX_HEADER);
    LAFS_TRY(get_int(map, size, LAFS_OPENS, &version, err));
    if (version != 1)
        return lafs_fail(err, LAFS_FAILED, "format version %lld: this program reads version 1", (long long)version);
    LAFS_TRY(get_pixels(&h->pixels, map, size, err));
    LAFS_TRY(get_int(map, size, "seed", &h->seed, err));
    LAFS_TRY(get_int(map, size, "images", &h->images, err));
    LAFS_TRY(get_epochs(h, map, size, err));
    return get_prov(h, map, size, err);
}

/* A bad header is no bad record: the stream is unusable. */
static lafs_status as_failure(lafs_status st, struct lafs_err *err)
{
    if (st != LAFS_BAD_RECORD) return st;
    if (err) err->status = LAFS_FAILED;
    return LAFS_FAILED;
}

lafs_status lafs_header_decode(struct lafs_header *h, const void *map, size_t size, struct lafs_err *err)
{
    lafs_header_release(h);
    return as_failure(decode_header(h, map, size, err), err);
}

void lafs_trailer_encode(const struct lafs_trailer *t, struct lafs_buf *out)
{
    lafs_pack_map(out, 6);
    lafs_pack_str(out, LAFS_CLOSES);
    lafs_pack_int(out, 1);
    lafs_pack_str(out, "count");
    lafs_pack_int(out, t->totals.count);
    lafs_pack_str(out, "skipped");
    lafs_pack_int(out, t->totals.skipped);
    lafs_pack_str(out, "no_face");
    lafs_pack_int(out, t->totals.no_face);
    lafs_pack_str(out, "ok");
    lafs_pack_bool(out, t->totals.ok);
    lafs_pack_str(out, "sha256");
    lafs_pack_str(out, t->sha256);
}

static lafs_status decode_trailer(struct lafs_trailer *t, const void *map, size_t size, struct lafs_err *err)
{
    struct lafs_mp_value v;
    struct lafs_walk w;
    LAFS_TRY(get_int(map, size, "count", &t->totals.count, err));
    LAFS_TRY(get_int(map, size, "skipped", &t->totals.skipped, err));
    LAFS_TRY(get_int(map, size, "no_face", &t->totals.no_face, err));
    LAFS_TRY(get_word(map, size, "sha256", t->sha256, sizeof t->sha256, err));
    lafs_status st = get_value(map, size, "ok", &v, &w, err);
    if (st == LAFS_BAD_RECORD) return st;
    if (t->totals.count < 0 || t->totals.skipped < 0 || t->totals.no_face < 0 || st == LAFS_END ||
        v.type != LAFS_MP_BOOL)
        return lafs_fail(err, LAFS_FAILED, "bad trailer");
    t->totals.ok = (int)v.i;
    return LAFS_OK;
}

lafs_status lafs_trailer_decode(struct lafs_trailer *t, const void *map, size_t size, struct lafs_err *err)
{
    *t = (struct lafs_trailer){.totals = {.count = -1}};
    return as_failure(decode_trailer(t, map, size, err), err);
}

int lafs_map_opens_with(const void *map, size_t size, const char *name)
{
    struct lafs_walk w = {map, (const unsigned char *)map + size};
    struct lafs_mp_value v;
    if (lafs_walk_next(&w, &v, NULL) != LAFS_OK || v.type != LAFS_MP_MAP || v.len == 0) return 0;
    if (lafs_walk_next(&w, &v, NULL) != LAFS_OK || v.type != LAFS_MP_STR) return 0;
    return v.len == strlen(name) && memcmp(v.data, name, v.len) == 0;
}

/* ---- sections ---- */

static lafs_status merge_word(char *to, size_t cap, const char *from, const char *what, const char *input,
                              struct lafs_err *err)
{
    if (!from[0]) return LAFS_OK;
    if (to[0] && strcmp(to, from))
        return lafs_fail(err, LAFS_FAILED, "%s has %s '%s', what came before has '%s': they do not go together", input,
                         what, from, to);
    snprintf(to, cap, "%s", from);
    return LAFS_OK;
}

static lafs_status merge_pixels(struct lafs_pixels *to, const struct lafs_pixels *from, const char *input,
                                struct lafs_err *err)
{
    LAFS_TRY(merge_word(to->aligner, sizeof to->aligner, from->aligner, "aligner", input, err));
    LAFS_TRY(merge_word(to->channels, sizeof to->channels, from->channels, "channel order", input, err));
    if (from->size && to->size && from->size != to->size)
        return lafs_fail(err, LAFS_FAILED,
                         "%s has crops of %d pixels, what came before has %d: they do not go together", input,
                         from->size, to->size);
    if (from->size) to->size = from->size;
    return LAFS_OK;
}

lafs_status lafs_env_header(struct lafs_env *env, struct lafs_header *h, const char *input, struct lafs_err *err)
{
    struct lafs_pixels merged = env->header.pixels;
    const char *stated = h->pixels.channels, *said = env->opt.channels;
    lafs_status st = said && stated[0] && strcmp(stated, "rgb")
                         ? lafs_fail(err, LAFS_USAGE, "%s says itself that its channels are '%s': not --channels %s",
                                     input, stated, said)
                         : merge_pixels(&merged, &h->pixels, input, err);
    if (st == LAFS_OK) {
        h->pixels = merged;
        lafs_header_release(&env->header);
        env->header = *h;
        lafs_header_init(h);
        env->headers++;
    }
    lafs_header_release(h);
    return st;
}

void lafs_env_ignore(struct lafs_env *env, const char *name)
{
    if (env->ignored++ == 0) lafs_buf_puts(&env->ignored_name, name);
}

void lafs_env_note_pictures(struct lafs_env *env, struct lafs_buf *text)
{
    lafs_buf_printf(text, "; taken as aligned crops with channels in the order %s%s",
                    env->opt.swapped ? "bgr: red and blue will be swapped" : "rgb",
                    env->opt.swapped ? "" : " (lafs-shard --channels bgr: red and blue are swapped in them)");
    const char *t = lafs_buf_str(text);
    if (t && env->opt.note) env->opt.note(env->opt.note_arg, t);
}

lafs_status lafs_section_begin(struct lafs_section *c, struct lafs_env *env, const void *map, size_t size,
                               const char *input, struct lafs_err *err)
{
    if (c->open)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: after %lld records a new stream begins before the trailer",
                         input, (long long)c->count);
    struct lafs_header h;
    lafs_header_init(&h);
    lafs_status st = lafs_header_decode(&h, map, size, err);
    if (st != LAFS_OK) {
        lafs_header_release(&h);
        lafs_err_prefix(err, "%s", input);
        return st;
    }
    c->open = 1;
    c->passed_over = 0;
    c->count = 0;
    lafs_sha256_init(&c->digest);
    return lafs_env_header(env, &h, input, err);
}

/* Adds a count that an input states: what sums to more than any real one stays at half of what fits, so that programs
 * can add their own. */
static void add_stated(int64_t *sum, int64_t n)
{
    const int64_t most = INT64_MAX / 2;
    *sum = n < most - *sum ? *sum + n : most;
}

lafs_status lafs_section_end(struct lafs_section *c, struct lafs_env *env, const void *map, size_t size,
                             const char *input, struct lafs_err *err)
{
    if (!c->open) return lafs_fail(err, LAFS_FAILED, "%s is damaged: a trailer without its header", input);
    struct lafs_trailer t;
    lafs_status st = lafs_trailer_decode(&t, map, size, err);
    if (st != LAFS_OK) {
        lafs_err_prefix(err, "%s", input);
        return st;
    }
    c->open = 0;
    if (!t.totals.ok)
        return lafs_fail(err, LAFS_CUT, "the producer of %s failed: %lld records written, %lld bad", input,
                         (long long)t.totals.count, (long long)t.totals.skipped);
    if (t.totals.count != c->count)
        return lafs_fail(err, LAFS_CUT, "%s is cut off: %lld records, its trailer says %lld", input,
                         (long long)c->count, (long long)t.totals.count);
    char hex[65];
    lafs_sha256_hex(&c->digest, hex);
    if (t.sha256[0] && !c->no_digest && !c->passed_over && strcmp(hex, t.sha256))
        return lafs_fail(err, LAFS_FAILED, "%s is damaged: its data do not fit the digest in its trailer", input);
    env->totals.count += t.totals.count;
    add_stated(&env->totals.skipped, t.totals.skipped);
    add_stated(&env->totals.no_face, t.totals.no_face);
    return LAFS_OK;
}

lafs_status lafs_section_finish(const struct lafs_section *c, const char *input, struct lafs_err *err)
{
    if (!c->open) return LAFS_END;
    return lafs_fail(err, LAFS_CUT, "%s is cut off: it ends after %lld records, without its trailer", input,
                     (long long)c->count);
}

static void size_bytes(size_t size, unsigned char n[8])
{
    for (int i = 0; i < 8; i++) n[i] = (unsigned char)((uint64_t)size >> (8 * i));
}

void lafs_digest_head(struct lafs_buf *b, const char *name, size_t size)
{
    unsigned char n[8];
    size_bytes(size, n);
    lafs_buf_put(b, name, strlen(name) + 1);
    lafs_buf_put(b, n, sizeof n);
}

void lafs_digest_member(struct lafs_sha256 *d, const char *name, const void *data, size_t size)
{
    unsigned char n[8];
    size_bytes(size, n);
    lafs_sha256_add(d, name, strlen(name) + 1);
    lafs_sha256_add(d, n, sizeof n);
    if (size) lafs_sha256_add(d, data, size);
}
