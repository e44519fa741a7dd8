/* Reading a MessagePack stream: header, records, trailer; or bare maps. */
#include <string.h>

#include "base/hasher.h"
#include "base/mem.h"
#include "data/source.h"
#include "data/walk.h"

struct msg {
    struct lafs_source base;
    struct lafs_input in;
    struct lafs_section section;
    struct lafs_hasher hasher; /* works on section.digest while the next block is read */
    size_t due;                /* bytes that were taken last and are still to be hashed */
};

/* Has all that was taken hashed; 1: beside us, so that its bytes must stay. */
static int hash_due(struct msg *m)
{
    size_t n = m->due;
    m->due = 0;
    int beside = n && lafs_hasher_add(&m->hasher, &m->section.digest, lafs_input_data(&m->in) - n, n);
    lafs_hasher_wait(&m->hasher, beside); /* the other buffer is free again */
    return beside;
}

static lafs_status fill(struct msg *m, size_t want, struct lafs_err *err)
{
    if (lafs_input_moves(&m->in, want) && hash_due(m)) LAFS_TRY(lafs_input_turn(&m->in, want, err));
    return lafs_input_fill(&m->in, want, err);
}

/* Brings one whole value into the buffer; *len = its bytes. LAFS_END at an end between values. */
static lafs_status whole_value(struct msg *m, size_t *len, struct lafs_err *err)
{
    struct lafs_measure measure;
    lafs_measure_init(&measure);
    LAFS_TRY(fill(m, 1, err));
    if (lafs_input_left(&m->in) == 0) return lafs_section_finish(&m->section, m->in.name, err);
    for (;;) {
        size_t have = lafs_input_left(&m->in);
        lafs_status st = lafs_measure_more(&measure, lafs_input_data(&m->in), have, len, err);
        if (st == LAFS_BAD_RECORD || (st == LAFS_OK && *len > m->base.env->opt.max_record)) {
            if (st == LAFS_OK) lafs_fail(err, st, "record of %zu bytes", *len);
            lafs_err_prefix(err, "%s is damaged behind byte %lld", m->in.name, (long long)m->in.pos);
            if (err) err->status = LAFS_FAILED;
            return LAFS_FAILED;
        }
        if (st == LAFS_OK) return st;
        if (m->in.eof)
            return lafs_fail(err, LAFS_CUT, "%s is cut off inside a record, at byte %lld", m->in.name,
                             (long long)m->in.pos + (long long)have);
        /* What is claimed is not believed: ask for twice what is there at most. */
        size_t want = *len, most = have < 65536 ? 131072 : 2 * have;
        LAFS_TRY(fill(m, want < most ? want : most, err));
    }
}

static int is_map(unsigned char c) { return (c & 0xf0) == 0x80 || c == 0xde || c == 0xdf; }

static lafs_status msg_next(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err)
{
    struct msg *m = (struct msg *)src;
    for (;;) {
        size_t len;
        LAFS_TRY(whole_value(m, &len, err));
        const unsigned char *p = lafs_input_data(&m->in);
        if (!is_map(p[0]))
            return lafs_fail(err, LAFS_FAILED, "%s is damaged at byte %lld: no record begins there", m->in.name,
                             (long long)m->in.pos);
        lafs_status st;
        int meta = 1;
        if (lafs_map_opens_with(p, len, LAFS_OPENS)) {
            st = lafs_section_begin(&m->section, src->env, p, len, m->in.name, err);
        } else if (lafs_map_opens_with(p, len, LAFS_CLOSES)) {
            hash_due(m);
            lafs_hasher_wait(&m->hasher, 0);
            st = lafs_section_end(&m->section, src->env, p, len, m->in.name, err);
        } else {
            meta = 0;
            if (m->section.open) m->due += len;
            m->section.count++;
            st = lafs_sample_decode(s, p, len, err);
            if (st == LAFS_OK) st = lafs_sample_check_key(s, err);
        }
        lafs_input_take(&m->in, len);
        if (!meta || st != LAFS_OK) return st;
    }
}

static void msg_close(struct lafs_source *src)
{
    struct msg *m = (struct msg *)src;
    lafs_hasher_release(&m->hasher);
    lafs_input_close(&m->in);
    lafs_free(m);
}

/* Reads the header, if one comes first. */
static lafs_status first_header(struct msg *m, struct lafs_err *err)
{
    size_t len;
    lafs_status st = whole_value(m, &len, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_CUT, "%s is empty", m->in.name);
    LAFS_TRY(st);
    if (!lafs_map_opens_with(lafs_input_data(&m->in), len, LAFS_OPENS)) return LAFS_OK;
    LAFS_TRY(lafs_section_begin(&m->section, m->base.env, lafs_input_data(&m->in), len, m->in.name, err));
    lafs_input_take(&m->in, len);
    m->base.expected = m->base.env->header.images;
    return LAFS_OK;
}

lafs_status lafs_msg_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, struct lafs_err *err)
{
    static const struct lafs_source_ops ops = {msg_next, msg_close};
    struct msg *m;
    lafs_status st = lafs_alloc0(&m, 1, sizeof *m, err);
    if (st != LAFS_OK) {
        lafs_input_close(in);
        return st;
    }
    m->base = (struct lafs_source){&ops, env, -1};
    lafs_hasher_init(&m->hasher);
    m->in = *in;
    *in = (struct lafs_input){.fd = -1, .file_size = -1};
    st = first_header(m, err);
    if (st != LAFS_OK) {
        msg_close(&m->base);
        return st;
    }
    *out = &m->base;
    return LAFS_OK;
}
