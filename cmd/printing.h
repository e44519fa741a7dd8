/* Tables and JSON objects, as the programs that measure print them. */
#ifndef LAFS_CMD_PRINTING_H
#define LAFS_CMD_PRINTING_H

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

/* Prints, without blanks at the ends of lines, and releases b. */
lafs_status put_out(struct lafs_buf *b, FILE *f, struct lafs_err *err);
/* "3 photos", "1 photo": of `things`, named in the plural. */
struct counted {
    char text[64];
};
struct counted counted(int64_t n, const char *things);
/* v as "12.34 %", or "-" where there is none, right-aligned in `width`. */
void put_percent(struct lafs_buf *b, double v, int width);
/* " [12.00, 13.00]", or as many blanks where there is none. */
void put_interval(struct lafs_buf *b, double low, double high);
/* Of a JSON object: what comes before the value, with a comma where one is due. */
void put_key(struct lafs_buf *b, const char *key);
void put_double(struct lafs_buf *b, const char *key, double v); /* NaN: null */
void put_int(struct lafs_buf *b, const char *key, int64_t v);
void put_text(struct lafs_buf *b, const char *key, const char *v);

#endif
