/* Input from a file or pipe through one big buffer: look ahead, then take. */
#ifndef LAFS_BASE_INPUT_H
#define LAFS_BASE_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lafs_input {
    int fd;               /* -1: closed */
    int keep_fd;          /* 1: not ours to close (standard input) */
    char *name;           /* for messages: the path in quotes, or "standard input"; owned */
    unsigned char *buf;   /* (cap) owned */
    size_t at, end, cap;  /* buf[at..end) is what was read and not taken */
    unsigned char *spare; /* (spare_cap) the other buffer, for lafs_input_turn; owned; NULL: never needed */
    size_t spare_cap;
    int64_t pos;          /* bytes taken so far */
    int64_t file_size;    /* of a regular file read from its start, else -1 */
    int eof;              /* the last read met the end */
};
/* Opens path, "-" for standard input. LAFS_FAILED: cannot open, or a directory. */
lafs_status lafs_input_open(struct lafs_input *in, const char *path, struct lafs_err *err);
void lafs_input_close(struct lafs_input *in);
/* Reads until `want` bytes lie in buf[at..], or the input ends (then fewer do). */
lafs_status lafs_input_fill(struct lafs_input *in, size_t want, struct lafs_err *err);
/* Whether that would move, or read over, bytes that were taken. */
int lafs_input_moves(const struct lafs_input *in, size_t want);
/* Goes on in another buffer with room for `want` bytes, to which what was not taken is copied: what was taken stays
 * where it was until the next turn. */
lafs_status lafs_input_turn(struct lafs_input *in, size_t want, struct lafs_err *err);
/* n <= end - at */
void lafs_input_take(struct lafs_input *in, size_t n);
/* Passes over n bytes that are not in the buffer, without reading them; 0 when that cannot be done here (a pipe, or
 * the file is shorter than that). */
int lafs_input_seek(struct lafs_input *in, int64_t n);
/* Back to the start of a regular file; 0 where that cannot be done. */
int lafs_input_rewind(struct lafs_input *in);
static inline const unsigned char *lafs_input_data(const struct lafs_input *in) { return in->buf + in->at; }
static inline size_t lafs_input_left(const struct lafs_input *in) { return in->end - in->at; }

#endif
