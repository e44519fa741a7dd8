/* What reads samples from one kind of input, behind the one reader of data/stream.h. Private to lib/data. */
#ifndef LAFS_DATA_SOURCE_H
#define LAFS_DATA_SOURCE_H

#include "base/input.h"
#include "base/sha256.h"
#include "data/stream.h"

/* Names of the members and keys that open and close a stream. */
#define LAFS_OPENS "__lafs__"
#define LAFS_CLOSES "__end__"

/* What all inputs of a reader share. */
struct lafs_env {
    struct lafs_reader_options opt;
    struct lafs_header header;
    int headers;             /* headers read, those made up for photos included */
    struct lafs_totals totals;
    int64_t ignored;         /* files and members that are no samples */
    struct lafs_buf ignored_name; /* the first of them */
};
void lafs_env_ignore(struct lafs_env *env, const char *name);
/* Tells the user what the input is (`text`, a beginning) and what is assumed of its pictures. */
void lafs_env_note_pictures(struct lafs_env *env, struct lafs_buf *text);
/* A new header of `input`: refuses a differing pixel contract, keeps the merged one. h is emptied. */
lafs_status lafs_env_header(struct lafs_env *env, struct lafs_header *h, const char *input, struct lafs_err *err);

struct lafs_source;
struct lafs_source_ops {
    /* As lafs_reader_next. */
    lafs_status (*next)(struct lafs_source *src, struct lafs_sample *s, struct lafs_err *err);
    void (*close)(struct lafs_source *src);
};
struct lafs_source {
    const struct lafs_source_ops *ops;
    struct lafs_env *env;
    int64_t expected; /* samples, or -1 */
};

/* The header is read at once where there is one. Those that take `in` take it over, also when they fail. */
lafs_status lafs_msg_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, struct lafs_err *err);
/* scan 1: only names, spans and `.mp` members are read (for an index); pictures are empty then. */
lafs_status lafs_shard_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, int scan,
                            struct lafs_err *err);
/* Some members of a shard, in memory. foreign: as in a shard without a header. */
lafs_status lafs_shard_open_memory(struct lafs_source **out, struct lafs_env *env, const void *data, size_t size,
                                   const char *name, int foreign, struct lafs_err *err);
/* Where the sample that came last lies in the archive. */
void lafs_shard_span(const struct lafs_source *src, int64_t *offset, int64_t *length);
/* Whether that sample stood outside header and trailer of ours. */
int lafs_shard_foreign(const struct lafs_source *src);
/* "gzip", "zstd", or NULL. */
const char *lafs_shard_filter(const struct lafs_source *src);
/* A photo in `in`, a directory tree (prefix, "" or "NAME/", is put before its keys), a list of photos. */
lafs_status lafs_photo_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, const char *path,
                            int named, struct lafs_err *err);
lafs_status lafs_tree_open(struct lafs_source **out, struct lafs_env *env, const char *path, const char *prefix,
                           struct lafs_err *err);
lafs_status lafs_list_open(struct lafs_source **out, struct lafs_env *env, const char *path, struct lafs_err *err);
/* LAFS_OK: the directory is a folder of IJB; LAFS_END: it is not. */
lafs_status lafs_ijb_here(const char *dir, struct lafs_err *err);
/* Its photos with points, score, template and media. */
lafs_status lafs_ijb_open(struct lafs_source **out, struct lafs_env *env, const char *dir, const char *prefix,
                          struct lafs_err *err);
/* MXNet's RecordIO, with what lies beside it; a verification set. Both are taken for aligned crops. */
lafs_status lafs_rec_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, const char *path,
                          struct lafs_err *err);
lafs_status lafs_bin_open(struct lafs_source **out, struct lafs_env *env, struct lafs_input *in, struct lafs_err *err);
lafs_status lafs_indexed_open(struct lafs_source **out, struct lafs_env *env, const char *path, struct lafs_err *err);

/* ---- headers and trailers ---- */

struct lafs_trailer {
    struct lafs_totals totals;
    char sha256[65]; /* of the data between header and trailer; "" if not stated */
};
void lafs_header_encode(const struct lafs_header *h, struct lafs_buf *out);
lafs_status lafs_header_decode(struct lafs_header *h, const void *map, size_t size, struct lafs_err *err);
void lafs_trailer_encode(const struct lafs_trailer *t, struct lafs_buf *out);
lafs_status lafs_trailer_decode(struct lafs_trailer *t, const void *map, size_t size, struct lafs_err *err);
/* Whether the map's first key is `name`. */
int lafs_map_opens_with(const void *map, size_t size, const char *name);

/* Between header and trailer, and the checks of the trailer. `digest` is fed by the source. */
struct lafs_section {
    int no_digest;      /* 1: the data are not read, only counted */
    int open;           /* a header was read, its trailer was not */
    int passed_over;    /* not all of it was read: its digest is not known */
    int64_t count;      /* samples since */
    struct lafs_sha256 digest;
};
lafs_status lafs_section_begin(struct lafs_section *c, struct lafs_env *env, const void *map, size_t size,
                               const char *input, struct lafs_err *err);
lafs_status lafs_section_end(struct lafs_section *c, struct lafs_env *env, const void *map, size_t size,
                             const char *input, struct lafs_err *err);
/* At the end of the input: LAFS_END, or LAFS_CUT while open. */
lafs_status lafs_section_finish(const struct lafs_section *c, const char *input, struct lafs_err *err);
/* What a shard's digest is made of: name, size and bytes of each member between header and trailer. */
void lafs_digest_member(struct lafs_sha256 *d, const char *name, const void *data, size_t size);
/* Appends the first two of these. */
void lafs_digest_head(struct lafs_buf *b, const char *name, size_t size);

/* ---- samples from photos and members ---- */

/* Common to all readers: key, and where known `src`, checked. */
lafs_status lafs_sample_check_key(const struct lafs_sample *s, struct lafs_err *err);
/* Fills s with the photo at `path` (inside its tree or archive): key = path without suffix, dots of the base name
 * become '_' and the original goes to src; name = the directory that holds it, if `named`. LAFS_BAD_RECORD: neither
 * JPEG nor PNG (the key is set all the same). */
lafs_status lafs_photo_sample(struct lafs_sample *s, const char *path, const void *data, size_t size, int named,
                              struct lafs_err *err);
/* The same of the file at `disk`. What is wrong with it is its own affair: LAFS_BAD_RECORD. data: scratch. */
lafs_status lafs_photo_read(struct lafs_env *env, struct lafs_sample *s, struct lafs_buf *data, const char *disk,
                            const char *path, int named, struct lafs_err *err);
/* Opens a file of lines, behind the byte order mark that some editors write. */
lafs_status lafs_source_lines(struct lafs_input *in, const char *path, struct lafs_err *err);
/* Takes the next line that is not empty, without its end (LF or CR LF); LAFS_END behind the last. *lines grows by the
 * lines taken (may be NULL). LAFS_FAILED: NUL bytes, or a line that no list has. */
lafs_status lafs_source_line(struct lafs_input *in, struct lafs_buf *line, int64_t *lines, struct lafs_err *err);
/* Field `name` = the directory that holds the key, if any. */
void lafs_name_from_key(struct lafs_sample *s);
/* Foreign data number people: `cls` stands for the name that is not there. Negative ones are nobody's. */
void lafs_name_from_cls(struct lafs_sample *s);
/* What an input is, by its first bytes (512, or all there are). */
enum lafs_kind {
    LAFS_KIND_NONE,
    LAFS_KIND_MSG,
    LAFS_KIND_TAR, /* compressed ones included */
    LAFS_KIND_INDEX,
    LAFS_KIND_PHOTO,
    LAFS_KIND_REC,   /* RecordIO */
    LAFS_KIND_PICKLE /* a verification set, it is hoped */
};
enum lafs_kind lafs_input_kind(const void *data, size_t size);
/* Whether a name ends like a photo (.jpg, .png, ..), or like a picture of a kind that is not read; any case. */
int lafs_ends_as_photo(const char *name);
int lafs_ends_as_picture(const char *name);
/* Whether photos lie in more than one folder: then folders are names. Begun with {0}; the path of each photo, of len
 * bytes, is added. */
struct lafs_folders {
    uint64_t first; /* hash of the first one's path */
    int found, several;
};
void lafs_folders_add(struct lafs_folders *f, const char *path, size_t len);
/* A header for photos and faces that have none: unknown, or photos as they are. */
lafs_status lafs_env_photos(struct lafs_env *env, const char *input, struct lafs_err *err);

#endif
