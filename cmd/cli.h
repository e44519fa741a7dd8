/* What all programs share: one option table feeds the parser, --help, completion and the check against the man page.
 *
 *     static struct { const char *out; int64_t n; int best; } o = {.n = -1};
 *     static const struct cli_option table[] = {
 *         CLI_OUT,
 *         {"best", 0, CLI_FLAG, &o.best, NULL, "keep one face a photo, the largest and most central"},
 *         {"min-score", 0, CLI_DOUBLE, &o.min_score, "SCORE", "drop faces below SCORE", 0, 1, "0.8"},
 *         {0}};
 *     static const struct cli_program program = {
 *         "lafs-detect", "[OPTION]... [PHOTO]...", "find and align faces", table};
 *     int main(int argc, char **argv)
 *     {
 *         int n;
 *         char **args = cli_parse(&program, argc, argv, &n);
 *         ...
 *         return cli_finish(status);
 *     }
 */
#ifndef LAFS_CMD_CLI_H
#define LAFS_CMD_CLI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_MISUSE = 2, EXIT_CUT = 3 };

enum cli_type {
    CLI_FLAG,    /* int: set to 1; `--no-NAME` (listed as a row of its own with NAME "no-...") sets its own int */
    CLI_STRING,  /* const char * */
    CLI_INT,     /* int64_t, strict decimal, lo..hi; suffixes k, M, G are not accepted */
    CLI_DOUBLE,  /* double, strict, lo..hi */
    CLI_CHOICE,  /* const char *, one of `arg` split at '|' */
    CLI_LIST     /* struct cli_list: may be given several times */
};
struct cli_list {
    const char **v;
    int n;
};
struct cli_option {
    const char *name;  /* long name without dashes */
    char short_name;   /* or 0 */
    enum cli_type type;
    void *value;       /* holds the default before cli_parse */
    const char *arg;   /* metavariable; or "a|b|c": the choices, of another type words that completion offers */
    const char *help;  /* one line, lower case */
    double lo, hi;     /* inclusive bounds when lo < hi */
    const char *def;   /* default as shown by --help, or NULL */
    int no_effect;     /* 1: results do not depend on it, so it stays out of the provenance */
};
struct cli_program {
    const char *name, *synopsis, *summary;
    const struct cli_option *options; /* ends with name NULL */
};

/* Options that mean the same everywhere; their values live in `cli`. Programs list the rows that they take. */
struct cli_common {
    const char *out;      /* -o */
    int64_t jobs;         /* -j, 0: all processors */
    const char *device;   /* --device cpu|cuda[:n]|auto */
    int64_t seed;         /* --seed, default 1 */
    const char *preset;   /* --preset: handled by cli_parse */
    const char *log;      /* --log: JSON lines */
    double max_bad;       /* --max-bad, share, default 0.01 */
    const char *rejects;  /* --rejects: JSON lines */
    int progress, no_progress;
    int quiet, verbose;   /* -q, -v */
    int64_t take;         /* -n: records to take, -1: all */
    int64_t max_pixels;   /* --max-pixels */
    int64_t shard_samples, shard_bytes; /* where a shard ends; 0: no limit, the usual one */
};
extern struct cli_common cli;
#define CLI_OUT \
    {"output", 'o', CLI_STRING, &cli.out, "FILE", \
     "write to FILE: a stream, or shards with their index if it ends in .tar", 0, 0, "standard output"}
/* Beside CLI_OUT. Misuse where -o is no pattern of shards. */
#define CLI_SHARDS \
    {"shard-samples", 0, CLI_INT, &cli.shard_samples, "N", \
     "begin a new shard after N records", 1, 1e15, "no limit", .no_effect = 1}, \
    {"shard-bytes", 0, CLI_INT, &cli.shard_bytes, "N", \
     "begin a new shard before it outgrows N bytes", 1, 1e15, "1000000000", .no_effect = 1}
#define CLI_JOBS \
    {"jobs", 'j', CLI_INT, &cli.jobs, "N", \
     "use N threads; results do not depend on it", 0, 1024, "one per processor it may use"}
#define CLI_DEVICE \
    {"device", 0, CLI_STRING, &cli.device, "cpu|cuda|auto", \
     "compute on cpu, cuda, cuda:N or auto", 0, 0, "cpu"}
#define CLI_SEED \
    {"seed", 0, CLI_INT, &cli.seed, "N", \
     "seed of everything random", 0, 9007199254740992.0, "1"}
#define CLI_PRESET \
    {"preset", 0, CLI_STRING, &cli.preset, "NAME", \
     "read options from the preset NAME, a file of 'option = value' lines", 0, 0, NULL}
#define CLI_LOG \
    {"log", 0, CLI_STRING, &cli.log, "FILE", \
     "write a log of JSON lines to FILE", 0, 0, NULL}
#define CLI_MAX_BAD \
    {"max-bad", 0, CLI_DOUBLE, &cli.max_bad, "SHARE", \
     "fail when more than this share of the records is bad", 0, 1, "0.01"}
#define CLI_REJECTS \
    {"rejects", 0, CLI_STRING, &cli.rejects, "FILE", \
     "write key and reason of bad records to FILE as JSON lines", 0, 0, NULL}
#define CLI_TAKE \
    {"take", 'n', CLI_INT, &cli.take, "N", \
     "take the first N records", 0, 9007199254740992.0, "all"}
#define CLI_MAX_PIXELS \
    {"max-pixels", 0, CLI_INT, &cli.max_pixels, "N", \
     "refuse photos of more than N pixels", 1, 4290000000.0, "100000000"}
/* Rows of every program: --progress --no-progress -q -v (--help and --version are built in). */
#define CLI_ALWAYS \
    {"progress", 0, CLI_FLAG, &cli.progress, NULL, \
     "show progress even when standard error is no terminal", 0, 0, NULL}, \
    {"no-progress", 0, CLI_FLAG, &cli.no_progress, NULL, "never show progress", 0, 0, NULL}, \
    {"quiet", 'q', CLI_FLAG, &cli.quiet, NULL, "print errors only", 0, 0, NULL}, \
    {"verbose", 'v', CLI_FLAG, &cli.verbose, NULL, "print more", 0, 0, NULL}

/* Parses; handles --help, --version, completion and presets; on misuse prints and exits 2. Installs the signal handler
 * that removes partial output. Returns the positional arguments. */
char **cli_parse(const struct cli_program *program, int argc, char **argv, int *nargs);
/* Whether the option whose value lives there was given, on the command line or by a preset. */
int cli_given(const void *value);
/* 1: both names are of one file, as they are spelt, or since it is there, or would be in one directory. */
int cli_one_file(const char *a, const char *b);
/* Misuse where two of these options name one file to write, or one of them and any other option that names files: what
 * is read is not replaced. `file`: pointers to their values, NULL at the end. cli_parse has looked at --output, --log
 * and --rejects. */
void cli_separate(const char *const *const *file);
/* Exits when the suffix of a picture's file says another kind than `kind`, "JPEG" or "SVG". NULL is fine. */
void cli_picture_name(const char *path, const char *kind);
/* "lafs-x: message" on stderr. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* not with -q */
void cli_say(void *arg, const char *text); /* cli_warn for callbacks; arg is ignored */
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* only with -v */
/* Prints err and gives the exit status that fits it (LAFS_CUT 3, LAFS_USAGE 2, else 1). */
int cli_fail(const struct lafs_err *err);
/* That exit status, without a word. */
int cli_status(const struct lafs_err *err);
/* Whether a program may be writing what we read there ("-": standard input): then -n reads on to the end, lest that one
 * die of a closed pipe. */
int cli_has_writer(const char *path);
/* A directory that the main thread fills: it goes, with all in it, where a signal or exit() ends the process. NULL:
 * none. The string is kept. */
void cli_remove_unfinished(const char *dir);
/* Writes to standard output; after a failure cli_finish is silent about it. */
lafs_status cli_write_stdout(const void *data, size_t size, struct lafs_err *err);
/* Flushes and closes stdout, reports a failure of that; returns the exit status to use. */
int cli_finish(int status);
/* Misuse found after parsing: message, hint at --help, exit 2. */
_Noreturn void cli_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The thread pool of -j, made on first use; exits 1 on failure. */
struct lafs_pool *cli_pool(void);
const char *cli_program_name(void);
/* name/value strings of all options that were set away from their default and change results (not -o, -j, -q, ..): for
 * provenance. Arrays live until exit. */
int cli_prov_options(const struct cli_program *program, const char *const **names, const char *const **values);

extern const char lafs_version[];

#endif
