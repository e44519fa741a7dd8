/* Any bytes as a list of people or keys: who stands first in a line is on it, and a list twice over is the same list. */
#include <string.h>

#include "data/select.h"
#include "tests/fuzz/fuzz.h"

/* The first column of every line, but of those that are a number alone: these may be counts. */
static void all_are_listed(const struct lafs_people *p, const char *text, const char *end)
{
    while (text < end) {
        char name[256];
        const char *nl = memchr(text, '\n', (size_t)(end - text));
        const size_t line = (size_t)((nl ? nl : end) - text);
        size_t stop = line, len;
        while (stop && (text[stop - 1] == '\r' || text[stop - 1] == ' ')) stop--;
        for (len = 0; len < stop && text[len] != '\t';) len++;
        if (len && len < sizeof name) {
            memcpy(name, text, len);
            name[len] = 0;
            must(strspn(name, "0123456789") == len || lafs_people_has(p, name));
        }
        text += line + 1;
    }
}

/* Bytes of a byte order mark, of which nothing is a name. */
static size_t mark(const char *text, size_t size) { return size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0; }

static int64_t parse(const char *text, size_t size, struct lafs_err *err)
{
    struct lafs_people *p;
    lafs_status st = lafs_people_parse(&p, text, size, err);
    must(st == LAFS_OK || (st == LAFS_FAILED && !strncmp(err->msg, "line ", 5)));
    if (st != LAFS_OK) return -1;
    const int64_t n = lafs_people_count(p);
    must(n >= 0 && (size_t)n <= size && !lafs_people_has(p, ""));
    all_are_listed(p, text + mark(text, size), text + size);
    lafs_people_free(p);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_err err = {0};
    char *text = malloc(2 * size + 2);
    must(text != NULL);
    if (size) memcpy(text, data, size);
    text[size] = 0;
    const int64_t once = parse(text, size, &err);
    text[size] = '\n';
    const size_t skip = mark(text, size);
    memcpy(text + size + 1, text + skip, size - skip);
    text[2 * size + 1 - skip] = 0;
    must(parse(text, 2 * size + 1 - skip, &err) == once);
    free(text);
    return 0;
}
