/* Streams, shards and indexes behind one reader and one writer.
 *
 * Reader: looks at the first bytes of each input (a MessagePack stream, a tar shard, an index, or stdin as "-")
 * and gives samples one by one. Writer: a MessagePack stream to stdout or a file, or tar shards with their index.
 *
 *     LAFS_TRY(lafs_reader_open(&r, paths, n, &opt, err));
 *     while ((st = lafs_reader_next(r, &sample, err)) != LAFS_END) {
 *         if (st == LAFS_BAD_RECORD) { report; continue; }
 *         if (st != LAFS_OK) break;                       // LAFS_CUT: cut off; LAFS_FAILED: dead
 *         LAFS_TRY(lafs_writer_put(w, &sample, err));
 *     }
 *     lafs_writer_close(w, &totals, err);                // or lafs_writer_abort(w)
 */
#ifndef LAFS_DATA_STREAM_H
#define LAFS_DATA_STREAM_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/record.h"

/* What the pixels of a stream are. Empty strings mean unknown; two known ones that differ are refused. */
struct lafs_pixels {
    int size;          /* side of an aligned crop, 112; 0: photos of any size, or unknown */
    char aligner[32];  /* "none" (photos), "arcface5" (similarity of five points), "given" (--aligned) */
    char channels[8];  /* "rgb" or "bgr" */
};

enum { LAFS_MAX_HEADER = 4 << 20 };

struct lafs_header {
    int version;              /* 1 */
    struct lafs_pixels pixels;
    int64_t seed, epochs_from, epochs_to, images; /* -1: not stated */
    struct lafs_buf prov;     /* MessagePack array of maps {program, version, options, digests} */
    int prov_count;
};
void lafs_header_init(struct lafs_header *h);
void lafs_header_release(struct lafs_header *h);
lafs_status lafs_header_copy(struct lafs_header *to, const struct lafs_header *from, struct lafs_err *err);
/* Appends one link to the provenance chain: name/value pairs of options that change results and digests of
 * models and lists; n strings each. */
lafs_status lafs_header_add_prov(struct lafs_header *h, const char *program, const char *version,
                                 const char *const *names, const char *const *values, int n, struct lafs_err *err);

/* What the last link of the chain that is of `program` says of its option `name` (a digest is one), ended by a zero, in
 * value (cap). LAFS_END: there is no such link, or it does not say; LAFS_FAILED: it does not fit, or is no text. */
lafs_status lafs_header_prov_option(const struct lafs_header *h, const char *program, const char *name, char *value,
                                    size_t cap, struct lafs_err *err);

struct lafs_totals {
    int64_t count;    /* samples written */
    int64_t skipped;  /* bad records dropped, here and upstream */
    int64_t no_face;  /* photos without a face, here and upstream: not bad */
    int ok;           /* 0: the producer judged its input too bad */
};

struct lafs_reader;
/* Where photos get their `name` from. */
enum lafs_names {
    LAFS_NAMES_AUTO, /* the directory that holds the photo, unless all photos lie in one directory */
    LAFS_NAMES_DIR,  /* the directory that holds the photo */
    LAFS_NAMES_NONE
};
struct lafs_reader_options {
    size_t max_record;     /* 0: LAFS_MAX_RECORD */
    enum lafs_names names;
    struct lafs_pixels photos; /* what photos count as; without an aligner: {0, "none", "rgb"}, photos of any size */
    const char *channels;  /* NULL, or what is said of the pictures: an input that states another order is refused */
    int swapped;           /* 1: red and blue are swapped in the pictures: each sample gets the field `swapped` */
    void (*note)(void *arg, const char *text); /* NULL, or told what was assumed of an input, once for each */
    void *note_arg;
    const char *list;      /* NULL, or a file ("-": stdin) of paths of photos, one a line, read after `paths` */
};
/* paths: read one after the other, as one stream; "-" is stdin. By their first bytes: MessagePack streams, tar shards
 * and tars of photos (plain, gzip, zstd), indexes, photos (JPEG, PNG), MXNet's RecordIO, verification sets; and
 * directories, walked in sorted order for their photos (of several directories, keys begin with the directory's own
 * name). The header of the first input is there at once. LAFS_CUT: zero bytes. LAFS_FAILED: cannot open, unknown format
 * (says what it looks like). */
lafs_status lafs_reader_open(struct lafs_reader **out, const char *const *paths, int n,
                             const struct lafs_reader_options *opt, struct lafs_err *err);
void lafs_reader_close(struct lafs_reader *r);
/* Header of the input being read; merged pixel contract of all so far. */
const struct lafs_header *lafs_reader_header(const struct lafs_reader *r);
/* How many headers have been read; those of photos and other foreign input count. */
int lafs_reader_headers(const struct lafs_reader *r);
/* LAFS_OK, LAFS_END (all inputs ended well), LAFS_BAD_RECORD (go on), LAFS_CUT, LAFS_FAILED. After LAFS_BAD_RECORD the
 * sample's key, where known, is in it. */
lafs_status lafs_reader_next(struct lafs_reader *r, struct lafs_sample *s, struct lafs_err *err);
/* The first good sample to come, which lafs_reader_next will give all the same: for headers that state what the
 * pictures are. Looks at LAFS_MAX_PEEK records at most. Copied into s; LAFS_END when there is none. */
enum { LAFS_MAX_PEEK = 64 };
lafs_status lafs_reader_peek(struct lafs_reader *r, struct lafs_sample *s, struct lafs_err *err);
/* From now on inputs of another pixel contract than this are refused, as if the first had stated it. */
void lafs_reader_expect_pixels(struct lafs_reader *r, const struct lafs_pixels *p);
/* Sums over the trailers read so far. */
const struct lafs_totals *lafs_reader_totals(const struct lafs_reader *r);
/* Files and members that were passed over as no samples (neither photos nor hidden); *first = one of them. */
int64_t lafs_reader_ignored(const struct lafs_reader *r, const char **first);
/* Samples in all inputs when indexes or headers tell, else -1: for progress. */
int64_t lafs_reader_expected(const struct lafs_reader *r);

/* To be asked before a writer is opened: LAFS_USAGE when one of `paths`, as a reader takes them ("-" is stdin; of an
 * index its shards count, too), is a file that a writer to `out` would replace: by device and inode, so whatever its
 * path. Of numbered shards all that are there count, as it is not known how many there will be. */
lafs_status lafs_writer_spares(const char *out, const char *const *paths, int n, struct lafs_err *err);

struct lafs_writer;
struct lafs_writer_options {
    const char *out;        /* NULL or "-": MessagePack stream on stdout; "x-%06d.tar": shards + index "x.lafs";
                               "x.tar": one shard + index; anything else: a stream in that file, whole or not at all
                               (names that end as those of other files are refused) */
    int64_t shard_samples;  /* new shard after so many samples; 0: no limit */
    int64_t shard_bytes;    /* new shard after so many bytes; 0: 1 GB */
};
lafs_status lafs_writer_open(struct lafs_writer **out, const struct lafs_writer_options *opt,
                             const struct lafs_header *header, struct lafs_err *err);
/* LAFS_FAILED: cannot write (disk full, closed pipe). LAFS_BAD_RECORD: this sample cannot go there (key invalid, or
 * twice in an index). */
lafs_status lafs_writer_put(struct lafs_writer *w, const struct lafs_sample *s, struct lafs_err *err);
/* Trailer, flush, fsync, rename, index. With totals->ok 0 the trailer says so and no index is written. Frees w. */
lafs_status lafs_writer_close(struct lafs_writer *w, const struct lafs_totals *totals, struct lafs_err *err);
/* Removes what was begun; a stream on stdout ends without its trailer. Frees w. NULL is fine. */
void lafs_writer_abort(struct lafs_writer *w);

#endif
