/* The validating walker over MessagePack. Nothing here allocates, and no count is believed before the bytes
 * that it promises are there: five bytes can claim 600 million pairs. */
#include <string.h>

#include "data/record.h"
#include "data/walk.h"

static uint64_t big_endian(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static void set_int(struct lafs_mp_value *v, int64_t i)
{
    v->type = LAFS_MP_INT;
    v->i = i;
    v->f = (double)i;
}

static void set_unsigned(struct lafs_mp_value *v, uint64_t u)
{
    set_int(v, u > INT64_MAX ? INT64_MAX : (int64_t)u);
    v->f = (double)u;
}

/* What the first byte of a value promises. */
struct shape {
    enum lafs_mp type;
    int extra;    /* bytes of number, length or count behind the first byte */
    uint64_t len; /* length or count, where the first byte holds it */
};

static int shape_of(unsigned char c, struct shape *s)
{
    static const struct shape fixed[] = {
        /* c0 */ {LAFS_MP_NIL, 0, 0},   {LAFS_MP_NIL, -1, 0},   {LAFS_MP_BOOL, 0, 0},  {LAFS_MP_BOOL, 0, 0},
        /* c4 */ {LAFS_MP_BIN, 1, 0},   {LAFS_MP_BIN, 2, 0},    {LAFS_MP_BIN, 4, 0},   {LAFS_MP_EXT, 1, 0},
        /* c8 */ {LAFS_MP_EXT, 2, 0},   {LAFS_MP_EXT, 4, 0},    {LAFS_MP_FLOAT, 4, 0}, {LAFS_MP_FLOAT, 8, 0},
        /* cc */ {LAFS_MP_INT, 1, 0},   {LAFS_MP_INT, 2, 0},    {LAFS_MP_INT, 4, 0},   {LAFS_MP_INT, 8, 0},
        /* d0 */ {LAFS_MP_INT, 1, 1},   {LAFS_MP_INT, 2, 1},    {LAFS_MP_INT, 4, 1},   {LAFS_MP_INT, 8, 1},
        /* d4 */ {LAFS_MP_EXT, 0, 1},   {LAFS_MP_EXT, 0, 2},    {LAFS_MP_EXT, 0, 4},   {LAFS_MP_EXT, 0, 8},
        /* d8 */ {LAFS_MP_EXT, 0, 16},  {LAFS_MP_STR, 1, 0},    {LAFS_MP_STR, 2, 0},   {LAFS_MP_STR, 4, 0},
        /* dc */ {LAFS_MP_ARRAY, 2, 0}, {LAFS_MP_ARRAY, 4, 0},  {LAFS_MP_MAP, 2, 0},   {LAFS_MP_MAP, 4, 0},
    };
    if (c < 0x80 || c >= 0xe0) *s = (struct shape){LAFS_MP_INT, 0, 0};
    else if (c < 0x90) *s = (struct shape){LAFS_MP_MAP, 0, c & 15};
    else if (c < 0xa0) *s = (struct shape){LAFS_MP_ARRAY, 0, c & 15};
    else if (c < 0xc0) *s = (struct shape){LAFS_MP_STR, 0, c & 31};
    else *s = fixed[c - 0xc0];
    return s->extra >= 0;
}

static void read_number(unsigned char c, const unsigned char *p, const struct shape *s, struct lafs_mp_value *v)
{
    if (s->type == LAFS_MP_BOOL) v->i = c & 1;
    if (s->type == LAFS_MP_INT && s->extra == 0) set_int(v, (int8_t)c);
    if (s->type == LAFS_MP_INT && s->extra > 0) {
        uint64_t u = big_endian(p, s->extra);
        int spare = 64 - 8 * s->extra;
        if (s->len) set_int(v, (int64_t)(u << spare) >> spare); /* signed: extend the sign */
        else set_unsigned(v, u);
    }
    if (s->type == LAFS_MP_FLOAT) {
        uint64_t u = big_endian(p, s->extra);
        uint32_t u32 = (uint32_t)u;
        float f;
        memcpy(&f, &u32, sizeof f);
        if (s->extra == 4) v->f = f;
        else memcpy(&v->f, &u, sizeof v->f);
    }
}

/* Reads the head of the value at p. LAFS_END: *need bytes are wanted to tell. Otherwise *head = bytes of the head,
 * *body = bytes of string, bin or ext behind it. */
static lafs_status read_head(const unsigned char *p, size_t size, struct lafs_mp_value *v, size_t *head, size_t *body,
                             struct lafs_err *err)
{
    *head = 1;
    *body = 0;
    *v = (struct lafs_mp_value){.type = LAFS_MP_NIL};
    if (size < 1) return LAFS_END;
    struct shape s;
    if (!shape_of(p[0], &s)) return lafs_fail(err, LAFS_BAD_RECORD, "malformed MessagePack: byte c1");
    *head = 1 + (size_t)s.extra;
    if (size < *head) return LAFS_END;
    *v = (struct lafs_mp_value){.type = s.type};
    read_number(p[0], p + 1, &s, v);
    if (s.type < LAFS_MP_STR) return LAFS_OK;
    uint64_t len = s.extra ? big_endian(p + 1, s.extra) : s.len;
    v->len = (size_t)len;
    if (s.type == LAFS_MP_ARRAY || s.type == LAFS_MP_MAP) return LAFS_OK;
    if (s.type == LAFS_MP_EXT) *head += 1; /* its type byte */
    *body = (size_t)len;
    return LAFS_OK;
}

void lafs_measure_init(struct lafs_measure *m)
{
    m->pos = 0;
    m->depth = 0;
    m->left[0] = 1;
    m->owed = 1;
}

/* Values that are done leave their containers, and so on outwards. */
static void close_containers(struct lafs_measure *m)
{
    m->left[m->depth]--;
    while (m->depth > 0 && m->left[m->depth] == 0) {
        m->depth--;
        m->left[m->depth]--;
    }
}

lafs_status lafs_measure_more(struct lafs_measure *m, const void *data, size_t size, size_t *len, struct lafs_err *err)
{
    const unsigned char *p = data;
    while (m->left[0] > 0) {
        struct lafs_mp_value v;
        size_t head, body;
        size_t have = m->pos < size ? size - m->pos : 0;
        lafs_status st = read_head(p + (have ? m->pos : 0), have, &v, &head, &body, err);
        /* Every value that is still owed takes one byte at least. */
        *len = m->pos + head + body + (size_t)(m->owed - 1);
        if (st == LAFS_BAD_RECORD) return st;
        if (*len > LAFS_MAX_RECORD)
            return lafs_fail(err, LAFS_BAD_RECORD, "record of more than %zu bytes", LAFS_MAX_RECORD);
        if (st == LAFS_END) return LAFS_END;
        uint64_t items = 0;
        if (v.type == LAFS_MP_ARRAY) items = v.len;
        if (v.type == LAFS_MP_MAP) items = (uint64_t)v.len * 2;
        if (m->pos + head + m->owed - 1 + items > LAFS_MAX_RECORD)
            return lafs_fail(err, LAFS_BAD_RECORD, "record of more than %zu bytes", LAFS_MAX_RECORD);
        m->pos += head + body;
        m->owed += items - 1;
        if (items) {
            if (m->depth + 1 >= LAFS_MAX_DEPTH + 1)
                return lafs_fail(err, LAFS_BAD_RECORD, "nested deeper than %d", LAFS_MAX_DEPTH);
            m->left[++m->depth] = items;
        } else {
            close_containers(m);
        }
    }
    *len = m->pos;
    return m->pos <= size ? LAFS_OK : LAFS_END;
}

lafs_status lafs_walk_measure(const void *data, size_t size, size_t *len, struct lafs_err *err)
{
    struct lafs_measure m;
    lafs_measure_init(&m);
    return lafs_measure_more(&m, data, size, len, err);
}

lafs_status lafs_walk_next(struct lafs_walk *w, struct lafs_mp_value *v, struct lafs_err *err)
{
    size_t head, body, left = (size_t)(w->end - w->p);
    lafs_status st = read_head(w->p, left, v, &head, &body, err);
    if (st == LAFS_BAD_RECORD) return st;
    if (st == LAFS_END || head > left || body > left - head)
        return lafs_fail(err, LAFS_BAD_RECORD, "malformed MessagePack: a value ends behind its record");
    left -= head + body;
    if ((v->type == LAFS_MP_ARRAY && v->len > left) || (v->type == LAFS_MP_MAP && v->len > left / 2))
        return lafs_fail(err, LAFS_BAD_RECORD, "malformed MessagePack: %zu items claimed, %zu bytes left", v->len,
                         left);
    v->data = (const char *)w->p + head;
    w->p += head + body;
    return LAFS_OK;
}

lafs_status lafs_walk_skip(struct lafs_walk *w, struct lafs_err *err)
{
    size_t len;
    struct lafs_walk at = *w;
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(w, &v, err));
    if (v.type != LAFS_MP_ARRAY && v.type != LAFS_MP_MAP) return LAFS_OK;
    *w = at;
    lafs_status st = lafs_walk_measure(w->p, (size_t)(w->end - w->p), &len, err);
    if (st == LAFS_END) return lafs_fail(err, LAFS_BAD_RECORD, "malformed MessagePack: a value ends behind its record");
    LAFS_TRY(st);
    w->p += len;
    return LAFS_OK;
}

/* A value of a map, by its key; at: NULL until it is found. */
struct entry {
    const char *name;
    const unsigned char *at;
    size_t len;
};

/* Finds the first value of each of n keys, in one walk that ends when all are there. */
static lafs_status find_entries(const void *map, size_t size, struct entry *e, int n, struct lafs_err *err)
{
    if (!size) return lafs_fail(err, LAFS_BAD_RECORD, "not a map"); /* map may be NULL */
    struct lafs_walk w = {map, (const unsigned char *)map + size};
    struct lafs_mp_value v;
    int found = 0;
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type != LAFS_MP_MAP) return lafs_fail(err, LAFS_BAD_RECORD, "not a map");
    for (size_t left = v.len; left > 0 && found < n; left--) {
        struct lafs_walk key = w;
        LAFS_TRY(lafs_walk_skip(&w, err));
        LAFS_TRY(lafs_walk_next(&key, &v, err));
        const unsigned char *at = w.p;
        LAFS_TRY(lafs_walk_skip(&w, err));
        if (v.type != LAFS_MP_STR && v.type != LAFS_MP_BIN) continue;
        for (int i = 0; i < n; i++) {
            if (e[i].at || v.len != strlen(e[i].name) || memcmp(v.data, e[i].name, v.len)) continue;
            e[i].at = at;
            e[i].len = (size_t)(w.p - at);
            found++;
        }
    }
    return LAFS_OK;
}

lafs_status lafs_map_find(const void *map, size_t size, const char *name, const void **value, size_t *len,
                          struct lafs_err *err)
{
    struct entry e = {.name = name};
    LAFS_TRY(find_entries(map, size, &e, 1, err));
    if (!e.at) return LAFS_END;
    *value = e.at;
    *len = e.len;
    return LAFS_OK;
}

/* "<f4" and friends: a little-endian or one-byte number of NumPy. */
static int parse_type(const char *s, size_t len, struct lafs_nd *a)
{
    if (len != 3 || !memchr("fiub", s[1], 4) || !memchr("1248", s[2], 4)) return 0;
    a->item = (size_t)(s[2] - '0');
    if (s[0] != '<' && !(s[0] == '|' && a->item == 1)) return 0;
    if ((s[1] == 'f' && a->item == 1) || (s[1] == 'b' && a->item != 1)) return 0;
    memcpy(a->type, s, 3);
    a->type[3] = 0;
    return 1;
}

static lafs_status parse_shape(const void *data, size_t size, struct lafs_nd *a, struct lafs_err *err)
{
    struct lafs_walk w = {data, (const unsigned char *)data + size};
    struct lafs_mp_value v;
    LAFS_TRY(lafs_walk_next(&w, &v, err));
    if (v.type != LAFS_MP_ARRAY || v.len > LAFS_MAX_NDIM)
        return lafs_fail(err, LAFS_BAD_RECORD, "bad shape of an array");
    a->ndim = (int)v.len;
    a->count = 1;
    for (int i = 0; i < a->ndim; i++) {
        LAFS_TRY(lafs_walk_next(&w, &v, err));
        if (v.type != LAFS_MP_INT || v.i < 0 || __builtin_mul_overflow(a->count, (uint64_t)v.i, &a->count))
            return lafs_fail(err, LAFS_BAD_RECORD, "bad shape of an array");
        a->shape[i] = v.i;
    }
    return LAFS_OK;
}

static lafs_status value_of(const struct entry *e, struct lafs_mp_value *v, struct lafs_err *err)
{
    if (!e->at) return lafs_fail(err, LAFS_BAD_RECORD, "not an array: no '%s'", e->name);
    struct lafs_walk w = {e->at, e->at + e->len};
    return lafs_walk_next(&w, v, err);
}

lafs_status lafs_nd_decode(const void *data, size_t size, struct lafs_nd *a, struct lafs_err *err)
{
    *a = (struct lafs_nd){.ndim = 0};
    struct lafs_mp_value v;
    size_t bytes;
    enum { ND, TYPE, SHAPE, DATA, PARTS };
    struct entry part[PARTS] = {{.name = "nd"}, {.name = "type"}, {.name = "shape"}, {.name = "data"}};
    LAFS_TRY(find_entries(data, size, part, PARTS, err));
    LAFS_TRY(value_of(&part[ND], &v, err));
    if (v.type != LAFS_MP_BOOL || !v.i) return lafs_fail(err, LAFS_BAD_RECORD, "not an array: 'nd' is not true");
    LAFS_TRY(value_of(&part[TYPE], &v, err));
    if ((v.type != LAFS_MP_STR && v.type != LAFS_MP_BIN) || !parse_type(v.data, v.len, a))
        return lafs_fail(err, LAFS_BAD_RECORD, "array of an unknown type");
    LAFS_TRY(value_of(&part[SHAPE], &v, err));
    LAFS_TRY(parse_shape(part[SHAPE].at, part[SHAPE].len, a, err));
    LAFS_TRY(value_of(&part[DATA], &v, err));
    if (v.type != LAFS_MP_BIN && v.type != LAFS_MP_STR)
        return lafs_fail(err, LAFS_BAD_RECORD, "'data' of an array is not bin");
    if (__builtin_mul_overflow(a->count, a->item, &bytes) || bytes != v.len)
        return lafs_fail(err, LAFS_BAD_RECORD, "'data' of an array has %zu bytes, its shape says otherwise", v.len);
    a->data = v.data;
    return LAFS_OK;
}
