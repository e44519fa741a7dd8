/* Values of records for people and programs to read. */
#ifndef LAFS_CMD_SHOWVALUE_H
#define LAFS_CMD_SHOWVALUE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/record.h"

/* Appends the MessagePack value at data as JSON. Binary is given by its size (and, of a photo, width and height); an
 * array is nested lists up to `inline_max` elements, else type, shape, least, greatest and mean value. */
lafs_status show_json(struct lafs_buf *out, const void *data, size_t size, size_t inline_max, struct lafs_err *err);
/* Appends what the value is, in a few words: "text", "f4 (5, 2)", "JPEG 112x112", "map of 4". */
lafs_status show_type(struct lafs_buf *out, const void *data, size_t size, struct lafs_err *err);
/* Element i of an array as a number; NaN when the type is none of ours. */
double show_element(const struct lafs_nd *a, size_t i);
/* Text for a terminal: control characters become '?'; cut off after `max` bytes. */
void show_text(struct lafs_buf *out, const char *s, size_t len, size_t max);

#endif
