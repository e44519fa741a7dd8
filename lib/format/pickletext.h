/* The ways in which pickles write text. Sizes are returned, -1: not so written. */
#ifndef LAFS_FORMAT_PICKLETEXT_H
#define LAFS_FORMAT_PICKLETEXT_H

#include <stddef.h>

int lafs_pickle_valid_utf8(const char *s, size_t len);
/* Room that `out` needs for a text of len bytes. */
#define LAFS_PICKLE_DECODED(len) (2 * (len) + 4)
/* Opcode UNICODE: latin-1 with \uXXXX and \UXXXXXXXX; to UTF-8. */
ptrdiff_t lafs_pickle_decode_unicode(const char *p, size_t len, char *out);
/* Opcode STRING: the repr of a str of Python 2; to its bytes. */
ptrdiff_t lafs_pickle_decode_repr(const char *p, size_t len, char *out);
/* UTF-8 of characters up to U+00FF, which stand for bytes; to these. out may hold len bytes only. */
ptrdiff_t lafs_pickle_decode_latin1(const char *p, size_t len, char *out);

#endif
