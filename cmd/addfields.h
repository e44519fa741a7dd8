/* Fields from a file of JSON lines, put into the records whose keys they name. */
#ifndef LAFS_CMD_ADDFIELDS_H
#define LAFS_CMD_ADDFIELDS_H

#include "base/buf.h"
#include "data/record.h"

struct addfields {
    const char *path;
    struct lafs_buf text;
    struct addfields_line {
        char *key;          /* owned */
        size_t at, size;    /* of the line in text */
        long number;        /* of the line, from 1 */
        _Atomic int used;
    } *line; /* (lines) sorted by key */
    int64_t lines;
    size_t cap;
};
/* Lines are objects, each with a string "key", no two of them the same. LAFS_FAILED names the line that is not. */
lafs_status addfields_open(struct addfields *a, const char *path, struct lafs_err *err);
void addfields_close(struct addfields *a);
/* Adds, or replaces, what the line of the sample's key holds besides the key: strings, numbers, and arrays of numbers,
 * which become f4 arrays of one or two dimensions. A sample without a line is left alone. Thread-safe. LAFS_BAD_RECORD:
 * the line holds something else. */
lafs_status addfields_put(struct addfields *a, struct lafs_sample *s, struct lafs_err *err);
/* Lines that no sample took. */
int64_t addfields_left(const struct addfields *a, const char **first);

#endif
