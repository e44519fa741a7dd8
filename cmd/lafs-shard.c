/* lafs-shard: photos, tars, streams and indexes to a stream or to shards; and back to a directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/filter.h"
#include "cmd/readall.h"
#include "cmd/unpack.h"
#include "data/face.h"
#include "data/stream.h"

static struct {
    const char *list, *names, *channels, *to_dir;
    int aligned;
    int64_t shard_samples, shard_bytes;
} o = {.names = "auto"};

static const struct cli_option table[] = {
    CLI_OUT,
    {"shard-samples", 0, CLI_INT, &o.shard_samples, "N", "begin a new shard after N records", 1, 1e15, "no limit"},
    {"shard-bytes", 0, CLI_INT, &o.shard_bytes, "N", "begin a new shard before it outgrows N bytes", 1, 1e15,
     "1000000000"},
    {"to-dir", 0, CLI_STRING, &o.to_dir, "DIR",
     "write photos into the new directory DIR instead: NAME/FILE.jpg, or .png"},
    {"list", 0, CLI_STRING, &o.list, "FILE", "read the photos that FILE lists, one path a line ('-': standard input)"},
    {"names", 0, CLI_CHOICE, &o.names, "auto|dir|none",
     "take names of people from directories: when there are several, always, never", 0, 0, "auto"},
    {"aligned", 0, CLI_FLAG, &o.aligned, NULL, "the photos are aligned crops already"},
    {"channels", 0, CLI_CHOICE, &o.channels, "rgb|bgr", "channel order of the pictures", 0, 0, "rgb"},
    CLI_TAKE,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_LOG,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {
    "lafs-shard", "[OPTION]... [DIRECTORY|TAR|PHOTO|STREAM|INDEX]...",
    "make a stream or shards of photos, and photos of shards", table};

/* ---- the pixel contract ---- */

struct pack {
    struct lafs_pixels pixels; /* as the output's header states them */
};

/* Side of the square picture; LAFS_BAD_RECORD when there is none. */
static lafs_status picture_side(const struct lafs_sample *s, int *side, struct lafs_err *err)
{
    int w, h;
    LAFS_TRY(lafs_face_size(s, &w, &h, err));
    if (w != h)
        return lafs_fail(err, LAFS_BAD_RECORD, "picture of %d x %d: aligned crops are square", w, h);
    *side = w;
    return LAFS_OK;
}

static lafs_status set_pixels(struct pack *p, const struct lafs_sample *first, struct lafs_header *out,
                              struct lafs_err *err)
{
    struct lafs_pixels *px = &out->pixels;
    int stated = px->aligner[0] && strcmp(px->aligner, "none") && strcmp(px->aligner, "given");
    if (o.aligned && stated)
        return lafs_fail(err, LAFS_USAGE, "--aligned: the input says itself how it is aligned: '%s'", px->aligner);
    if (o.channels && px->channels[0] && strcmp(px->channels, o.channels))
        return lafs_fail(err, LAFS_USAGE, "--channels %s: the input says itself that it is '%s'", o.channels,
                         px->channels);
    if (o.aligned) {
        lafs_status st = first ? picture_side(first, &px->size, err)
                               : lafs_fail(err, LAFS_FAILED, "--aligned: no picture to tell the size by");
        if (st == LAFS_BAD_RECORD) {
            lafs_err_prefix(err, "--aligned: '%s'", lafs_sample_key(first));
            err->status = st = LAFS_FAILED;
        }
        LAFS_TRY(st);
        snprintf(px->aligner, sizeof px->aligner, "given");
    }
    if (!px->aligner[0]) snprintf(px->aligner, sizeof px->aligner, "none");
    if (!px->channels[0]) snprintf(px->channels, sizeof px->channels, "%s", o.channels ? o.channels : "rgb");
    p->pixels = *px;
    return LAFS_OK;
}

static lafs_status first(void *arg, const struct lafs_sample *s, const struct lafs_header *in, struct lafs_header *out,
                         struct lafs_err *err)
{
    (void)in;
    return set_pixels(arg, s, out, err);
}

static lafs_status all(void *arg, struct filter_item *items, int n)
{
    struct pack *p = arg;
    for (int i = 0; i < n && o.aligned; i++) {
        int side = 0;
        items[i].status = picture_side(&items[i].in, &side, &items[i].err);
        if (items[i].status == LAFS_OK && side != p->pixels.size)
            items[i].status = lafs_fail(&items[i].err, LAFS_BAD_RECORD, "picture of %d x %d among crops of %d x %d",
                                        side, side, p->pixels.size, p->pixels.size);
    }
    return LAFS_OK;
}

int main(int argc, char **argv)
{
    int n;
    char **args = cli_parse(&program, argc, argv, &n);
    struct pack p = {.pixels = {0}};
    struct lafs_reader_options in = {.list = o.list, .photos = {0, "none", "rgb"}};
    struct lafs_writer_options out = {.shard_samples = o.shard_samples, .shard_bytes = o.shard_bytes};
    if (o.aligned) snprintf(in.photos.aligner, sizeof in.photos.aligner, "given");
    if (o.channels) snprintf(in.photos.channels, sizeof in.photos.channels, "%s", o.channels);
    if (strcmp(o.names, "dir") == 0) in.names = LAFS_NAMES_DIR;
    if (strcmp(o.names, "none") == 0) in.names = LAFS_NAMES_NONE;
    if (o.to_dir) {
        if (cli.out || o.aligned || o.channels || o.shard_bytes || o.shard_samples)
            cli_misuse("--to-dir goes with no option about streams or shards");
        return cli_finish(unpack_run(o.to_dir, &in, (const char *const *)args, n));
    }
    size_t len = cli.out ? strlen(cli.out) : 0;
    if ((o.shard_samples || o.shard_bytes) && (len < 4 || strcmp(cli.out + len - 4, ".tar") || !strchr(cli.out, '%')))
        cli_misuse("--shard-samples and --shard-bytes go with -o NAME-%%06d.tar");
    struct filter f = {.program = &program, .arg = &p, .batch = 64, .all = all, .first = first, .same_pixels = 1};
    f.reading = &in;
    f.writing = &out;
    return cli_finish(filter_run(&f, (const char *const *)args, n, NULL, NULL, 0));
}
