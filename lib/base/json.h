/* JSON: a strict reader into a flat tree, and string quoting for writers. */
#ifndef LAFS_BASE_JSON_H
#define LAFS_BASE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum lafs_json_type {
    LAFS_JSON_NULL, LAFS_JSON_BOOL, LAFS_JSON_NUMBER, LAFS_JSON_STRING, LAFS_JSON_ARRAY, LAFS_JSON_OBJECT
};
struct lafs_json {
    enum lafs_json_type type;
    int b;
    double num;
    int64_t integer;            /* valid if is_int */
    int is_int;
    const char *str;            /* NUL-terminated, unescaped UTF-8; an object member's value has its name in `key` */
    const char *key;
    struct lafs_json *child;    /* first item of an array or object */
    struct lafs_json *next;
    size_t count;               /* items */
};
/* Parses exactly one value (nesting <= 64, at most 4 million values; duplicate object keys, invalid UTF-8 and NUL in
 * strings are refused: LAFS_FAILED with the byte offset). The tree is one block: lafs_json_free. */
lafs_status lafs_json_parse(struct lafs_json **out, const char *text, size_t size, struct lafs_err *err);
void lafs_json_free(struct lafs_json *j);
const struct lafs_json *lafs_json_get(const struct lafs_json *object, const char *key); /* NULL: none */
/* Appends "..." with escapes; invalid UTF-8 bytes become U+FFFD. */
void lafs_json_put_string(struct lafs_buf *b, const char *s, size_t len);
/* Appends the shortest decimal that reads back to the same double ("null" for NaN and infinities). */
void lafs_json_put_double(struct lafs_buf *b, double v);
/* Bytes (1..4) of the UTF-8 character that s[0..len) starts with; 0: malformed, overlong, a surrogate or cut. */
size_t lafs_utf8_char(const char *s, size_t len);
/* Strict decimals, the whole string: [-]digits, [-][digits][.digits][e[+-]digits]. 1 if it is one and in range. */
int lafs_parse_int(const char *s, int64_t *v);
int lafs_parse_double(const char *s, double *v);

#endif
