#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_DEPTH = 64, MAX_VALUES = 1 << 22 };

struct parser {
    const char *start, *p, *end;
    struct lafs_json *node; /* next free node of the block */
    char *text;             /* next free byte for strings */
    struct lafs_err *err;
};

static lafs_status wrong(struct parser *ps, const char *what)
{
    return lafs_fail(ps->err, LAFS_FAILED, "not JSON: %s at byte %zu", what, (size_t)(ps->p - ps->start));
}

static void skip_space(struct parser *ps)
{
    while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\t' || *ps->p == '\n' || *ps->p == '\r')) ps->p++;
}

size_t lafs_utf8_char(const char *str, size_t len)
{
    const unsigned char *s = (const unsigned char *)str;
    if (len == 0) return 0;
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0; /* overlong; surrogate */
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0; /* overlong; above U+10FFFF */
    return n;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) *to++ = (char)c;
    else if (c < 0x800) *to++ = (char)(0xc0 | c >> 6), *to++ = (char)(0x80 | (c & 63));
    else if (c < 0x10000)
        *to++ = (char)(0xe0 | c >> 12), *to++ = (char)(0x80 | (c >> 6 & 63)), *to++ = (char)(0x80 | (c & 63));
    else
        *to++ = (char)(0xf0 | c >> 18), *to++ = (char)(0x80 | (c >> 12 & 63)), *to++ = (char)(0x80 | (c >> 6 & 63)),
        *to++ = (char)(0x80 | (c & 63));
    return to;
}

/* The four digits behind "\u"; -1 if they are not there. */
static int hex4(struct parser *ps)
{
    static const char hex[] = "0123456789abcdef0123456789ABCDEF";
    if (ps->end - ps->p < 4) return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = *ps->p++;
        const char *at = c ? strchr(hex, c) : NULL;
        if (!at) return -1;
        v = v * 16 + ((int)(at - hex) & 15);
    }
    return v;
}

static lafs_status escape(struct parser *ps)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (ps->p == ps->end) return wrong(ps, "unfinished string");
    char c = *ps->p++;
    if (c == 'u') {
        int v = hex4(ps);
        if (v >= 0xd800 && v < 0xdc00) { /* the first half of a surrogate pair */
            if (ps->end - ps->p < 6 || ps->p[0] != '\\' || ps->p[1] != 'u') return wrong(ps, "half a surrogate pair");
            ps->p += 2;
            int low = hex4(ps);
            if (low < 0xdc00 || low > 0xdfff) return wrong(ps, "half a surrogate pair");
            v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
        } else if (v < 0 || (v >= 0xdc00 && v < 0xe000))
            return wrong(ps, "bad \\u escape");
        if (v == 0) return wrong(ps, "NUL in a string");
        ps->text = put_utf8(ps->text, (unsigned)v);
        return LAFS_OK;
    }
    const char *at = c ? strchr(from, c) : NULL;
    if (!at) return wrong(ps, "unknown escape");
    *ps->text++ = to[at - from];
    return LAFS_OK;
}

/* An unescaped string is never longer than its source, and its NUL fits in the place of a quote. */
static lafs_status string(struct parser *ps, const char **out)
{
    *out = ps->text;
    ps->p++;
    for (;;) {
        if (ps->p == ps->end) return wrong(ps, "unfinished string");
        unsigned char c = (unsigned char)*ps->p;
        if (c == '"') break;
        if (c < 0x20) return wrong(ps, "control character in a string");
        if (c == '\\') {
            ps->p++;
            LAFS_TRY(escape(ps));
            continue;
        }
        size_t n = lafs_utf8_char(ps->p, (size_t)(ps->end - ps->p));
        if (n == 0) return wrong(ps, "invalid UTF-8");
        memcpy(ps->text, ps->p, n);
        ps->text += n;
        ps->p += n;
    }
    ps->p++;
    *ps->text++ = 0;
    return LAFS_OK;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

/* Length of the number that p starts with (0: none); *is_int: it has neither fraction nor exponent. bare: a fraction
 * may do without digits before its point, as people write it and JSON does not. */
static size_t number_length(const char *p, const char *end, int bare, int *is_int)
{
    const char *s = p, *q;
    if (p < end && *p == '-') p++;
    if ((q = digits(p, end)) == p && !(bare && p < end && *p == '.')) return 0;
    p = q;
    *is_int = 1;
    if (p < end && *p == '.') {
        if ((q = digits(p + 1, end)) == p + 1) return 0;
        p = q;
        *is_int = 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *x = p + 1 + (p + 1 < end && (p[1] == '+' || p[1] == '-'));
        if ((q = digits(x, end)) == x) return 0;
        p = q;
        *is_int = 0;
    }
    return (size_t)(p - s);
}

int lafs_parse_int(const char *s, int64_t *v)
{
    int is_int;
    size_t len = strlen(s);
    if (len == 0 || number_length(s, s + len, 0, &is_int) != len || !is_int) return 0;
    errno = 0;
    long long x = strtoll(s, NULL, 10);
    if (errno) return 0;
    *v = x;
    return 1;
}

int lafs_parse_double(const char *s, double *v)
{
    int is_int;
    size_t len = strlen(s);
    if (len == 0 || number_length(s, s + len, 1, &is_int) != len) return 0;
    double x = strtod(s, NULL); /* nothing calls setlocale: the decimal point is '.' */
    if (!isfinite(x)) return 0;
    *v = x;
    return 1;
}

static lafs_status number(struct parser *ps, struct lafs_json *j)
{
    char buf[400];
    int is_int;
    size_t n = number_length(ps->p, ps->end, 0, &is_int);
    const char *first = ps->p + (*ps->p == '-');
    if (n == 0) return wrong(ps, "unexpected character");
    if (n >= sizeof buf || (*first == '0' && first + 1 < ps->p + n && first[1] >= '0' && first[1] <= '9'))
        return wrong(ps, "bad number");
    memcpy(buf, ps->p, n);
    buf[n] = 0;
    j->type = LAFS_JSON_NUMBER;
    if (!lafs_parse_double(buf, &j->num)) return wrong(ps, "number out of range");
    j->is_int = is_int && lafs_parse_int(buf, &j->integer);
    ps->p += n;
    return LAFS_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(struct lafs_json *const *)a)->key, (*(struct lafs_json *const *)b)->key);
}

static lafs_status check_unique(struct parser *ps, const struct lafs_json *object)
{
    if (object->count < 2) return LAFS_OK;
    const struct lafs_json **v;
    LAFS_TRY(lafs_alloc(&v, object->count, sizeof *v, ps->err));
    size_t n = 0;
    for (const struct lafs_json *m = object->child; m; m = m->next) v[n++] = m;
    qsort(v, n, sizeof *v, by_key);
    lafs_status st = LAFS_OK;
    for (size_t i = 1; i < n && st == LAFS_OK; i++)
        if (!strcmp(v[i - 1]->key, v[i]->key))
            st = lafs_fail(ps->err, LAFS_FAILED, "not JSON: key '%s' twice", v[i]->key);
    lafs_free(v);
    return st;
}

static lafs_status value(struct parser *ps, struct lafs_json *j, int depth);

static lafs_status items(struct parser *ps, struct lafs_json *j, char close, int depth)
{
    if (depth >= MAX_DEPTH) return wrong(ps, "nested too deeply");
    struct lafs_json **link = &j->child;
    ps->p++;
    skip_space(ps);
    if (ps->p < ps->end && *ps->p == close) {
        ps->p++;
        return LAFS_OK;
    }
    for (;;) {
        struct lafs_json *m = ps->node++;
        memset(m, 0, sizeof *m);
        if (j->type == LAFS_JSON_OBJECT) {
            skip_space(ps);
            if (ps->p == ps->end || *ps->p != '"') return wrong(ps, "no name of a member");
            LAFS_TRY(string(ps, &m->key));
            skip_space(ps);
            if (ps->p == ps->end || *ps->p != ':') return wrong(ps, "no ':'");
            ps->p++;
        }
        LAFS_TRY(value(ps, m, depth + 1));
        *link = m;
        link = &m->next;
        j->count++;
        skip_space(ps);
        if (ps->p == ps->end) return wrong(ps, "unexpected end");
        char c = *ps->p;
        if (c != close && c != ',') return wrong(ps, "neither ',' nor the end of the list");
        ps->p++;
        if (c == close) return j->type == LAFS_JSON_OBJECT ? check_unique(ps, j) : LAFS_OK;
    }
}

static int word(struct parser *ps, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, w, n)) return 0;
    ps->p += n;
    return 1;
}

static lafs_status value(struct parser *ps, struct lafs_json *j, int depth)
{
    skip_space(ps);
    if (ps->p == ps->end) return wrong(ps, "unexpected end");
    switch (*ps->p) {
    case '{': j->type = LAFS_JSON_OBJECT; return items(ps, j, '}', depth);
    case '[': j->type = LAFS_JSON_ARRAY; return items(ps, j, ']', depth);
    case '"': j->type = LAFS_JSON_STRING; return string(ps, &j->str);
    case 't': case 'f': case 'n':
        j->type = *ps->p == 'n' ? LAFS_JSON_NULL : LAFS_JSON_BOOL;
        j->b = *ps->p == 't';
        return word(ps, "true") || word(ps, "false") || word(ps, "null") ? LAFS_OK : wrong(ps, "unknown word");
    default: return number(ps, j);
    }
}

/* An upper bound of the values: the root, and one behind each opening bracket and comma outside strings. */
static size_t bound_values(const char *p, const char *end)
{
    size_t n = 1;
    int quoted = 0;
    for (; p < end; p++) {
        if (quoted && *p == '\\') p++;
        else if (*p == '"') quoted = !quoted;
        else if (!quoted) n += *p == '[' || *p == '{' || *p == ',';
    }
    return n;
}

lafs_status lafs_json_parse(struct lafs_json **out, const char *text, size_t size, struct lafs_err *err)
{
    *out = NULL;
    size_t values = bound_values(text, text + size), bytes;
    if (values > MAX_VALUES) return lafs_fail(err, LAFS_FAILED, "JSON of more than %d values", MAX_VALUES);
    struct lafs_json *root;
    if (!lafs_add_ok(values * sizeof *root, size, &bytes)) return lafs_fail(err, LAFS_FAILED, "out of memory");
    LAFS_TRY(lafs_alloc(&root, bytes, 1, err));
    memset(root, 0, sizeof *root);
    struct parser ps = {text, text, text + size, root + 1, (char *)(root + values), err};
    lafs_status st = value(&ps, root, 0);
    if (st == LAFS_OK) {
        skip_space(&ps);
        if (ps.p != ps.end) st = wrong(&ps, "something behind the value");
    }
    if (st == LAFS_OK) *out = root;
    else lafs_free(root);
    return st;
}

void lafs_json_free(struct lafs_json *j) { lafs_free(j); }

const struct lafs_json *lafs_json_get(const struct lafs_json *object, const char *key)
{
    if (!object || object->type != LAFS_JSON_OBJECT) return NULL;
    for (const struct lafs_json *m = object->child; m; m = m->next)
        if (!strcmp(m->key, key)) return m;
    return NULL;
}

void lafs_json_put_string(struct lafs_buf *b, const char *s, size_t len)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    lafs_buf_putc(b, '"');
    while (len > 0) {
        size_t n = lafs_utf8_char(s, len);
        unsigned char c = (unsigned char)*s, second = n == 2 ? (unsigned char)s[1] : 0;
        const char *at = c ? strchr(from, c) : NULL;
        if (n == 0) lafs_buf_puts(b, "\xef\xbf\xbd");
        else if (at) lafs_buf_putc(b, '\\'), lafs_buf_putc(b, to[at - from]);
        else if (c < 0x20 || c == 0x7f) lafs_buf_printf(b, "\\u%04x", c);
        else if (c == 0xc2 && second < 0xa0) lafs_buf_printf(b, "\\u%04x", second); /* controls are there, too */
        else lafs_buf_put(b, s, n);
        s += n ? n : 1;
        len -= n ? n : 1;
    }
    lafs_buf_putc(b, '"');
}

void lafs_json_put_double(struct lafs_buf *b, double v)
{
    if (!isfinite(v)) {
        lafs_buf_puts(b, "null");
        return;
    }
    char s[40];
    for (int precision = 15; precision <= 17; precision++) { /* %g drops zeros, so 15 digits come out short */
        snprintf(s, sizeof s, "%.*g", precision, v);
        if (strtod(s, NULL) == v) break;
    }
    lafs_buf_puts(b, s);
}
