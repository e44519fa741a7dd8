/* lafs-shard: photos, tars, RecordIO, verification sets, streams and indexes to a stream or to shards; and back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cmd/addfields.h"
#include "cmd/cli.h"
#include "cmd/filter.h"
#include "cmd/packbin.h"
#include "cmd/packrec.h"
#include "cmd/printing.h"
#include "cmd/swapcheck.h"
#include "cmd/unpack.h"
#include "data/face.h"
#include "data/stream.h"

static struct {
    const char *list, *names, *channels, *to_dir, *to_rec, *to_bin, *pairs, *add;
    int rec_flat;
    int aligned;
} o = {.names = "auto"};

static const struct cli_option table[] = {
    CLI_OUT,
    CLI_SHARDS,
    {"to-dir", 0, CLI_STRING, &o.to_dir, "DIR",
     "write photos into the new directory DIR instead: NAME/FILE.jpg, or .png"},
    {"to-rec", 0, CLI_STRING, &o.to_rec, "PREFIX", "write MXNet's RecordIO instead: PREFIX.rec, PREFIX.idx, property"},
    {"rec-flat", 0, CLI_FLAG, &o.rec_flat, NULL, "with --to-rec: without identity ranges, in any order of people"},
    {"to-bin", 0, CLI_STRING, &o.to_bin, "FILE", "write a verification set instead, as InsightFace reads it"},
    {"pairs", 'p', CLI_STRING, &o.pairs, "FILE", "with --to-bin: the pairs of FILE; else those of the field pair"},
    {"list", 0, CLI_STRING, &o.list, "FILE", "read the photos that FILE lists, one path a line ('-': standard input)"},
    {"names", 0, CLI_CHOICE, &o.names, "auto|dir|none",
     "take names of people from directories: when there are several, always, never", 0, 0, "auto"},
    {"aligned", 0, CLI_FLAG, &o.aligned, NULL, "the photos are aligned crops already"},
    {"add", 0, CLI_STRING, &o.add, "FILE", "put in the fields that the JSON lines of FILE give for the keys they name"},
    {"channels", 0, CLI_CHOICE, &o.channels, "rgb|bgr", "bgr: red and blue are swapped in the pictures", 0, 0, "rgb"},
    CLI_TAKE,
    CLI_MAX_BAD,
    CLI_REJECTS,
    CLI_LOG,
    CLI_PRESET,
    CLI_ALWAYS,
    {0}};

static const struct cli_program program = {
    "lafs-shard", "[OPTION]... [DIRECTORY|TAR|PHOTO|REC|BIN|STREAM|INDEX]...",
    "make a stream or shards of photos, and photos of shards", table};

/* ---- the pixel contract ---- */

struct pack {
    struct lafs_pixels pixels; /* as the output's header states them */
    struct swapcheck check;
    struct addfields add; /* --add */
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
    /* A packed set states no size unless `property` does: that of its first picture, if it is a crop. */
    if (!px->size && !strcmp(px->aligner, "given") && first && picture_side(first, &px->size, err) != LAFS_OK)
        px->size = 0;
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
    if (!px->channels[0]) snprintf(px->channels, sizeof px->channels, "rgb");
    p->pixels = *px;
    p->check.wanted = strcmp(px->aligner, "none") != 0; /* faces fill crops; photos show anything */
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
    for (int i = 0; i < n && o.add; i++)
        if (items[i].status == LAFS_OK) items[i].status = addfields_put(&p->add, &items[i].in, &items[i].err);
    for (int i = 0; i < n; i++)
        if (items[i].status == LAFS_OK) swapcheck_look(&p->check, &items[i].in);
    return LAFS_OK;
}

int main(int argc, char **argv)
{
    int n;
    char **args = cli_parse(&program, argc, argv, &n);
    struct pack p = {.pixels = {0}};
    struct lafs_reader_options in = {.list = o.list, .photos = {0, "none", "rgb"}, .channels = o.channels};
    in.swapped = o.channels && strcmp(o.channels, "bgr") == 0;
    if (o.aligned) snprintf(in.photos.aligner, sizeof in.photos.aligner, "given");
    if (strcmp(o.names, "dir") == 0) in.names = LAFS_NAMES_DIR;
    if (strcmp(o.names, "none") == 0) in.names = LAFS_NAMES_NONE;
    const char *to = o.to_dir ? "--to-dir" : o.to_rec ? "--to-rec" : o.to_bin ? "--to-bin" : NULL;
    if ((o.to_dir != NULL) + (o.to_rec != NULL) + (o.to_bin != NULL) > 1)
        cli_misuse("--to-dir, --to-rec and --to-bin exclude each other");
    if (to && (cli.out || cli.log || o.aligned))
        cli_misuse("%s goes with no option about streams or shards, nor --log", to);
    if (o.rec_flat && !o.to_rec) cli_misuse("--rec-flat goes with --to-rec");
    if (o.pairs && !o.to_bin) cli_misuse("--pairs goes with --to-bin");
    cli_separate((const char *const *const[]){&o.to_bin, NULL});
    if (o.add && to) cli_misuse("--add adds to records: it does not go with %s", to);
    if (o.to_dir) return cli_finish(unpack_run(o.to_dir, &in, (const char *const *)args, n));
    if (o.to_rec) return cli_finish(pack_rec(o.to_rec, o.rec_flat, &in, (const char *const *)args, n));
    if (o.to_bin) return cli_finish(pack_bin(o.to_bin, o.pairs, &in, (const char *const *)args, n));
    struct filter f = {.program = &program, .arg = &p, .all = all, .first = first, .same_pixels = 1};
    f.batch = 256; /* small records go fast: .. */
    f.batch_bytes = 2 << 20; /* .. threads meet once in some 300 us, .. */
    f.batches = 6;           /* .. and need not wait for each other when others need a processor */
    f.reading = &in;
    struct lafs_err err = {0};
    if (o.add && addfields_open(&p.add, o.add, &err) != LAFS_OK) {
        addfields_close(&p.add);
        return cli_finish(cli_fail(&err));
    }
    int status = filter_run(&f, (const char *const *)args, n, NULL, NULL, 0);
    const char *first_left = "";
    int64_t left = o.add && status == EXIT_DONE && cli.take < 0 ? addfields_left(&p.add, &first_left) : 0;
    if (left)
        cli_warn("%s of '%s' %s that no record has, the first '%s'", counted(left, "lines").text, o.add,
                 left == 1 ? "names a key" : "name keys", first_left);
    if (o.add) addfields_close(&p.add);
    swapcheck_end(&p.check);
    return cli_finish(status);
}
