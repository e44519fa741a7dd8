#include "format/recordio.h"

#include <math.h>
#include <string.h>

enum { HEAD = 8, RECORD_HEAD = 24, WHOLE = 0, FIRST = 1, MIDDLE = 2, LAST = 3 };

static uint32_t u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t u64(const unsigned char *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

static float f32(const unsigned char *p)
{
    uint32_t u = u32(p);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Brings one part into the buffer: its flag, its bytes, and in *taken what it is long with head and padding. */
static lafs_status part(struct lafs_input *in, size_t max, unsigned *flag, size_t *size, size_t *taken,
                        struct lafs_err *err)
{
    long long at = (long long)in->pos;
    LAFS_TRY(lafs_input_fill(in, HEAD, err));
    size_t have = lafs_input_left(in);
    if (have == 0) return LAFS_END;
    const unsigned char *p = lafs_input_data(in);
    if (have >= 4 && u32(p) != LAFS_REC_MAGIC)
        return lafs_fail(err, LAFS_FAILED, "%s is damaged at byte %lld: no record begins there", in->name, at);
    if (have < HEAD) return lafs_fail(err, LAFS_CUT, "%s is cut off inside a record, at byte %lld", in->name, at);
    *flag = u32(p + 4) >> 29;
    *size = u32(p + 4) & LAFS_REC_MAX_PART;
    *taken = HEAD + (*size + 3) / 4 * 4;
    if (*size > max) return lafs_fail(err, LAFS_FAILED, "%s: a record of %zu bytes at byte %lld", in->name, *size, at);
    /* A length is not believed before its bytes arrive. */
    for (size_t want = (size_t)1 << 20; lafs_input_left(in) < *taken; want *= 2) {
        LAFS_TRY(lafs_input_fill(in, want < *taken ? want : *taken, err));
        if (in->eof && lafs_input_left(in) < *taken)
            return lafs_fail(err, LAFS_CUT, "%s is cut off inside a record, at byte %lld", in->name, at);
    }
    return LAFS_OK;
}

/* The parts behind a first one, joined. */
static lafs_status join(struct lafs_input *in, struct lafs_buf *joined, size_t max, size_t size, size_t taken,
                        struct lafs_err *err)
{
    static const unsigned char magic[4] = {0x0a, 0x23, 0xd7, 0xce};
    unsigned flag = FIRST;
    lafs_buf_clear(joined);
    for (;;) {
        lafs_buf_put(joined, lafs_input_data(in) + HEAD, size);
        LAFS_TRY(lafs_buf_check(joined, err));
        lafs_input_take(in, taken);
        if (flag == LAST) return LAFS_OK;
        lafs_buf_put(joined, magic, sizeof magic);
        if (joined->size > max)
            return lafs_fail(err, LAFS_FAILED, "%s: a record of more than %zu bytes, up to byte %lld", in->name, max,
                             (long long)in->pos);
        lafs_status st = part(in, max - joined->size, &flag, &size, &taken, err);
        if (st == LAFS_END)
            return lafs_fail(err, LAFS_CUT, "%s is cut off inside a record, at byte %lld", in->name,
                             (long long)in->pos);
        LAFS_TRY(st);
        if (flag != MIDDLE && flag != LAST)
            return lafs_fail(err, LAFS_FAILED, "%s is damaged at byte %lld: a record's next part is missing", in->name,
                             (long long)in->pos);
    }
}

static lafs_status parse(struct lafs_rec *r, const unsigned char *p, size_t size, struct lafs_err *err)
{
    if (size < RECORD_HEAD) return lafs_fail(err, LAFS_BAD_RECORD, "record of %zu bytes, too few for its header", size);
    r->flag = u32(p);
    r->label = f32(p + 4);
    r->id = u64(p + 8);
    r->id2 = u64(p + 16);
    r->labels = p + RECORD_HEAD;
    if (r->flag > LAFS_REC_MAX_LABELS || r->flag * (size_t)4 > size - RECORD_HEAD)
        return lafs_fail(err, LAFS_BAD_RECORD, "record of %zu bytes with %u labels", size, r->flag);
    r->data = r->labels + r->flag * (size_t)4;
    r->size = size - RECORD_HEAD - r->flag * (size_t)4;
    return LAFS_OK;
}

lafs_status lafs_rec_next(struct lafs_input *in, struct lafs_buf *joined, size_t max, struct lafs_rec *r,
                          struct lafs_err *err)
{
    unsigned flag = 0;
    size_t size = 0, taken = 0;
    *r = (struct lafs_rec){.at = in->pos};
    LAFS_TRY(part(in, max, &flag, &size, &taken, err));
    if (flag == WHOLE) {
        lafs_status st = parse(r, lafs_input_data(in) + HEAD, size, err);
        lafs_input_take(in, taken); /* what r points to stays until the buffer is filled again */
        return st;
    }
    if (flag != FIRST)
        return lafs_fail(err, LAFS_FAILED, "%s is damaged at byte %lld: a record's first part is missing", in->name,
                         (long long)in->pos);
    LAFS_TRY(join(in, joined, max, size, taken, err));
    return parse(r, joined->data, joined->size, err);
}

float lafs_rec_label(const struct lafs_rec *r, uint32_t i)
{
    return r->flag ? f32(r->labels + 4 * (size_t)i) : r->label;
}

int lafs_rec_class(float label, int64_t *cls)
{
    if (!(fabsf(label) <= LAFS_REC_MAX_LABEL) || label != floorf(label)) return 0;
    *cls = (int64_t)label;
    return 1;
}

/* ---- writing ---- */

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> 8 * i);
}

static void put_float(unsigned char *p, float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    put32(p, u);
}

static void put_part(struct lafs_buf *out, unsigned flag, const unsigned char *data, size_t size)
{
    static const unsigned char zeros[4];
    unsigned char head[HEAD];
    put32(head, LAFS_REC_MAGIC);
    put32(head + 4, (uint32_t)flag << 29 | (uint32_t)size);
    lafs_buf_put(out, head, sizeof head);
    lafs_buf_put(out, data, size);
    lafs_buf_put(out, zeros, (4 - size % 4) % 4);
}

/* Appends the payload p as one part or, where the magic stands in it, as several without it. */
static void frame(struct lafs_buf *out, const unsigned char *p, size_t size)
{
    size_t begin = 0;
    for (size_t i = 0; i + 4 <= size; i += 4) { /* only at such places would a reader in search of a start look */
        if (p[i] != 0x0a || u32(p + i) != LAFS_REC_MAGIC) continue;
        put_part(out, begin ? MIDDLE : FIRST, p + begin, i - begin);
        begin = i + 4;
    }
    put_part(out, begin ? LAST : WHOLE, p + begin, size - begin);
}

lafs_status lafs_rec_put(struct lafs_buf *out, uint64_t id, uint32_t flag, float label, const float *labels,
                         const void *data, size_t size, struct lafs_err *err)
{
    size_t head = RECORD_HEAD + flag * (size_t)4;
    if (flag > LAFS_REC_MAX_LABELS || size > LAFS_REC_MAX_PART - head)
        return lafs_fail(err, LAFS_FAILED, "a record of %zu bytes with %u labels does not fit RecordIO", size, flag);
    struct lafs_buf b;
    lafs_buf_init(&b);
    lafs_buf_reserve(&b, head + size);
    if (!b.failed) {
        put32(b.data, flag);
        put_float(b.data + 4, label);
        put32(b.data + 8, (uint32_t)id);
        put32(b.data + 12, (uint32_t)(id >> 32));
        memset(b.data + 16, 0, 8);
        for (uint32_t i = 0; i < flag; i++) put_float(b.data + RECORD_HEAD + 4 * (size_t)i, labels[i]);
        b.size = head;
        lafs_buf_put(&b, data, size);
        frame(out, b.data, b.size);
    }
    if (b.failed) out->failed = 1;
    lafs_buf_release(&b);
    return lafs_buf_check(out, err);
}

/* ---- .idx ---- */

static int digits(const char **p, const char *end, int64_t *v)
{
    const char *from = *p;
    *v = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        if (*p - from == 18) return 0;
        *v = *v * 10 + (**p - '0');
    }
    return *p > from;
}

int lafs_rec_idx_line(const char *line, size_t len, int64_t *key, int64_t *offset)
{
    const char *p = line, *end = line + len;
    if (end > p && end[-1] == '\r') end--;
    if (!digits(&p, end, key) || p == end || *p++ != '\t') return 0;
    return digits(&p, end, offset) && p == end;
}
