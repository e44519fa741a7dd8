#include "format/pickletext.h"

#include <stdint.h>
#include <string.h>

#include "base/json.h"

int lafs_pickle_valid_utf8(const char *s, size_t len)
{
    while (len > 0) {
        size_t n = (unsigned char)*s < 0x80 ? 1 : lafs_utf8_char(s, len);
        if (n == 0) return 0;
        s += n;
        len -= n;
    }
    return 1;
}

static int hex_digits(const char *s, size_t len, size_t n, uint32_t *v)
{
    *v = 0;
    if (len < n) return 0;
    for (size_t i = 0; i < n; i++) {
        int c = s[i] | 0x20;
        if (s[i] >= '0' && s[i] <= '9') *v = *v << 4 | (uint32_t)(s[i] - '0');
        else if (c >= 'a' && c <= 'f') *v = *v << 4 | (uint32_t)(c - 'a' + 10);
        else return 0;
    }
    return 1;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((0xf00 >> n & 0xf0) | c);
    return n;
}

/* \uXXXX or \UXXXXXXXX at p, or a byte of latin-1: the bytes it takes, 0: a broken escape. */
static size_t unicode_char(const char *p, size_t len, uint32_t *c)
{
    size_t n = len > 1 && p[0] == '\\' ? (p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0) : 0;
    *c = (unsigned char)p[0];
    if (n == 0) return 1;
    return hex_digits(p + 2, len - 2, n, c) ? n + 2 : 0;
}

ptrdiff_t lafs_pickle_decode_unicode(const char *p, size_t len, char *out)
{
    size_t size = 0;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c, low;
        n = unicode_char(p + i, len - i, &c);
        if (n == 0) return -1;
        /* Narrow builds of Python 2 wrote a pair of surrogates. */
        if (c >= 0xd800 && c < 0xdc00 && i + n < len) {
            size_t more = unicode_char(p + i + n, len - i - n, &low);
            if (more == 0 || low < 0xdc00 || low > 0xdfff) return -1;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            n += more;
        }
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return -1;
        size += put_utf8(out + size, c);
    }
    return (ptrdiff_t)size;
}

/* One escape behind a backslash; *i moves behind it. -1: none that Python writes. */
static int unescape(const char *p, size_t len, size_t *i)
{
    static const char from[] = "\\'\"nrtabfv", to[] = "\\'\"\n\r\t\a\b\f\v";
    uint32_t v = 0;
    if (*i >= len) return -1;
    const char *at = memchr(from, p[*i], sizeof from - 1);
    if (at) {
        ++*i;
        return (unsigned char)to[at - from];
    }
    if (p[*i] == 'x' && hex_digits(p + *i + 1, len - *i - 1, 2, &v)) {
        *i += 3;
        return (int)v;
    }
    size_t digits = 0;
    for (; digits < 3 && *i < len && p[*i] >= '0' && p[*i] <= '7'; ++*i, digits++) v = v * 8 + (uint32_t)(p[*i] - '0');
    return digits && v < 256 ? (int)v : -1;
}

ptrdiff_t lafs_pickle_decode_repr(const char *p, size_t len, char *out)
{
    size_t size = 0;
    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\r')) len--;
    if (len < 2 || (p[0] != '\'' && p[0] != '"') || p[len - 1] != p[0]) return -1;
    p++;
    len -= 2;
    for (size_t i = 0; i < len;) {
        int c = (unsigned char)p[i++];
        if (c == '\\' && (c = unescape(p, len, &i)) < 0) return -1;
        out[size++] = (char)c;
    }
    return (ptrdiff_t)size;
}

ptrdiff_t lafs_pickle_decode_latin1(const char *p, size_t len, char *out)
{
    size_t size = 0;
    for (size_t i = 0; i < len; size++) {
        unsigned char c = (unsigned char)p[i++];
        if (c >= 0x80) {
            if (c < 0xc2 || c > 0xc3 || i == len) return -1;
            c = (unsigned char)(c << 6 | ((unsigned char)p[i++] & 0x3f));
        }
        out[size] = (char)c;
    }
    return (ptrdiff_t)size;
}
