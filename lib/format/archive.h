/* Tar archives, and the zip archives of PyTorch, through libarchive. Tars plain, or inside gzip or zstd. Only filters
 * that are built in: none that would run another program. Reading tells a cut-off archive from a whole one, which
 * libarchive does not: two zero blocks must follow the last member. Archives one behind the other
 * (`cat a.tar b.tar`) read as one. */
#ifndef LAFS_FORMAT_ARCHIVE_H
#define LAFS_FORMAT_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/input.h"

/* Loads libarchive, which the functions below do when they first need it. LAFS_FAILED: it is not there. */
lafs_status lafs_archive_load(struct lafs_err *err);

/* An archive that is being read: lafs_archive_* are for both kinds. */
struct lafs_archive;
struct lafs_archive_member {
    const char *name; /* bytes as in the archive, in any locale; "" if there is none; valid until the next call */
    int64_t size;
    int64_t offset;   /* of its first header, in the uncompressed archive */
    int regular;      /* 0: directory, link, device, .. */
    int link;         /* 1: its bytes are another member's, or outside */
};
/* Reads from `in`, which outlives the archive. LAFS_CUT: nothing, or less than one block. LAFS_FAILED: no archive. */
lafs_status lafs_tar_open(struct lafs_archive **out, struct lafs_input *in, struct lafs_err *err);
/* Reads members from memory, with no demand for zero blocks; `name` is for messages, with its quotes. */
lafs_status lafs_tar_open_memory(struct lafs_archive **out, const void *data, size_t size, const char *name,
                                 struct lafs_err *err);
/* A zip archive in memory, by its directory. Encrypted ones are refused. */
lafs_status lafs_zip_open_memory(struct lafs_archive **out, const void *data, size_t size, const char *name,
                                 struct lafs_err *err);
void lafs_archive_close(struct lafs_archive *t);
/* The next member; what was not read of the last one is passed over. LAFS_END, LAFS_CUT, LAFS_FAILED. */
lafs_status lafs_archive_next(struct lafs_archive *t, struct lafs_archive_member *m, struct lafs_err *err);
/* Appends the member's data; out->data is not NULL then. LAFS_BAD_RECORD: more than max bytes (nothing appended).
 * LAFS_FAILED, naming the member: also where its checksum is wrong, which a zip has and a tar does not. */
lafs_status lafs_archive_data(struct lafs_archive *t, size_t max, struct lafs_buf *out, struct lafs_err *err);
/* Of a tar: where the last member ends, its padding included; to be asked right after lafs_archive_next has returned
 * the next one, or LAFS_END. */
int64_t lafs_tar_last_end(const struct lafs_archive *t);
/* Of a tar: "gzip", "zstd", or NULL. */
const char *lafs_tar_filter(const struct lafs_archive *t);

/* Writing: restricted pax (plain ustar where names allow), fixed time, mode 0444: the same bytes every time. */
typedef lafs_status lafs_tar_sink(void *arg, const void *data, size_t size, struct lafs_err *err);
struct lafs_tar_writer;
lafs_status lafs_tar_writer_open(struct lafs_tar_writer **out, lafs_tar_sink *sink, void *arg, struct lafs_err *err);
lafs_status lafs_tar_writer_put(struct lafs_tar_writer *w, const char *name, const void *data, size_t size,
                                struct lafs_err *err);
/* Writes the zero blocks and frees w. */
lafs_status lafs_tar_writer_close(struct lafs_tar_writer *w, struct lafs_err *err);
/* Frees w; nothing more is written. NULL is fine. */
void lafs_tar_writer_abort(struct lafs_tar_writer *w);

#endif
