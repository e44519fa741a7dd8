#include "cmd/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomicfile.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "cmd/clihelp.h"
#include "cmd/progress.h"
#include "data/pattern.h"

const char lafs_version[] = "0.1.0";

struct cli_common cli = {.device = "cpu", .seed = 1, .max_bad = 0.01, .take = -1, .max_pixels = 100000000};

/* Where an option's value came from: the command line goes before the preset. */
enum origin { FROM_DEFAULT, FROM_PRESET, FROM_COMMAND_LINE };
struct option_state {
    enum origin origin;
    union { int flag; int64_t i; double d; const char *s; } initial;
};

static const struct cli_program *program;
static struct option_state *state; /* one per row of the table */
static struct lafs_pool *pool;

/* -- messages -- */

const char *cli_program_name(void) { return program ? program->name : "lafs"; }

/* One write per message, so that those of a pipeline's programs do not mix. */
static void message(const char *fmt, va_list ap)
{
    char line[1400];
    int n = snprintf(line, sizeof line, "%s: ", cli_program_name());
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    n += m < 0 ? 0 : m;
    if ((size_t)n > sizeof line - 2) n = (int)sizeof line - 2;
    lafs_no_controls(line, (size_t)n); /* names may hold anything */
    line[n++] = '\n';
    progress_clear();
    fflush(stderr);
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return; /* nobody to tell */
}

void cli_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
}

void cli_warn(const char *fmt, ...)
{
    va_list ap;
    if (cli.quiet) return;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
}

void cli_say(void *arg, const char *text)
{
    (void)arg;
    cli_warn("%s", text);
}

void cli_note(const char *fmt, ...)
{
    va_list ap;
    if (!cli.verbose || cli.quiet) return;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
}

void cli_misuse(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
    cli_error("try '%s --help'", cli_program_name());
    exit(EXIT_MISUSE);
}

_Noreturn static void no_memory(void)
{
    cli_error("out of memory");
    exit(EXIT_FAILED);
}

int cli_status(const struct lafs_err *err)
{
    return err->status == LAFS_CUT ? EXIT_CUT : err->status == LAFS_USAGE ? EXIT_MISUSE : EXIT_FAILED;
}

int cli_fail(const struct lafs_err *err)
{
    cli_error("%s", err->msg[0] ? err->msg : "failed");
    return cli_status(err);
}

int cli_has_writer(const char *path)
{
    struct stat s;
    if ((strcmp(path, "-") ? stat(path, &s) : fstat(STDIN_FILENO, &s)) != 0) return 0;
    return !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

static int stdout_told; /* its failure is in an error that somebody prints */

lafs_status cli_write_stdout(const void *data, size_t size, struct lafs_err *err)
{
    if (size == 0 || fwrite(data, 1, size, stdout) == size) return LAFS_OK;
    stdout_told = 1;
    return lafs_fail(err, LAFS_FAILED, "cannot write standard output: %s", lafs_strerror(errno));
}

int cli_finish(int status)
{
    lafs_pool_free(pool);
    pool = NULL;
    int bad = fflush(stdout) != 0 || ferror(stdout);
    int e = errno;
    if (fclose(stdout) && !bad && errno != EBADF)
        bad = 1, e = errno; /* EBADF: closed from the start, nothing written */
    if (!bad) return status;
    if (!stdout_told) cli_error("cannot write standard output: %s", lafs_strerror(e));
    return status ? status : EXIT_FAILED;
}

struct lafs_pool *cli_pool(void)
{
    struct lafs_err err = {0};
    if (!pool && lafs_pool_new(&pool, (int)cli.jobs, &err) != LAFS_OK) exit(cli_fail(&err));
    return pool;
}

/* -- signals -- */

static const char *volatile half_made; /* a directory */
void cli_remove_unfinished(const char *dir) { half_made = dir; }

/* Here nothing but what POSIX allows in a handler: that rules out walking through a directory oneself. */
static void remove_half_made(void)
{
    pid_t child = half_made ? fork() : -1;
    if (child == 0) {
        execl("/bin/rm", "rm", "-rf", "--", half_made, (char *)NULL);
        _exit(1);
    }
    if (child > 0) waitpid(child, NULL, 0);
}

/* No way out leaves half a file, or half a directory. */
static void remove_unfinished(void)
{
    lafs_atomic_unlink_all();
    remove_half_made();
}

static void die(int sig)
{
    remove_unfinished();
    signal(sig, SIG_DFL);
    raise(sig); /* delivered when this handler returns */
}

static void install_signals(void)
{
    static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        struct sigaction old, act = {.sa_handler = die};
        sigemptyset(&act.sa_mask);
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) continue; /* nohup, background jobs */
        sigaction(fatal[i], &act, NULL);
    }
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit then fails with a message */
}

/* Descriptors 0 to 2 that came closed would be given to the next files opened: fill them with ones that fail. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) _exit(EXIT_FAILED);
}

/* -- values -- */

static const char *option_name(const void *table, int i) { return ((const struct cli_option *)table)[i].name; }

/* The i-th of the choices "a|b|c", until the next call; NULL behind the last. */
static const char *choice(const void *choices, int i)
{
    static char word[64];
    const char *c = choices;
    for (; i > 0 && c; i--) {
        c = strchr(c, '|');
        if (c) c++;
    }
    if (!c) return NULL;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(c, "|"), c);
    return word;
}

static void set_choice(const struct cli_option *o, const char *value, const char *where)
{
    const char *c;
    for (int i = 0; (c = choice(o->arg, i)); i++)
        if (!strcmp(c, value)) {
            *(const char **)o->value = value;
            return;
        }
    int near = cli_nearest(value, choice, o->arg);
    if (near >= 0)
        cli_misuse("%soption '--%s': '%s' is none of %s; did you mean '%s'?", where, o->name, value, o->arg,
                   choice(o->arg, near));
    cli_misuse("%soption '--%s': '%s' is none of %s", where, o->name, value, o->arg);
}

static void set_number(const struct cli_option *o, const char *value, const char *where)
{
    double d;
    int64_t i = 0;
    if (o->type == CLI_INT ? !lafs_parse_int(value, &i) : !lafs_parse_double(value, &d))
        cli_misuse("%soption '--%s': '%s' is not a %s", where, o->name, value,
                   o->type == CLI_INT ? "whole number" : "number");
    if (o->type == CLI_INT) d = (double)i;
    if (o->lo < o->hi && !(d >= o->lo && d <= o->hi))
        cli_misuse("%soption '--%s': %s is not within %.16g to %.16g", where, o->name, value, o->lo, o->hi);
    if (o->type == CLI_INT) *(int64_t *)o->value = i;
    else *(double *)o->value = d;
}

void cli_picture_name(const char *path, const char *kind)
{
    static const char *const known[][2] = {{"jpg", "JPEG"}, {"jpeg", "JPEG"}, {"png", "PNG"}, {"svg", "SVG"},
                                           {"pdf", "PDF"},  {"gif", "GIF"},   {"webp", "WebP"}, {"eps", "PostScript"}};
    const char *dot = path ? strrchr(path, '.') : NULL;
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(dot + 1, known[i][0]) && strcmp(known[i][1], kind))
            cli_misuse("'%s' is a name of a %s file: %s is what is written", path, known[i][1], kind);
}

static void append_list(struct cli_list *l, const char *value)
{
    const char **v = realloc(l->v, (size_t)(l->n + 1) * sizeof *v);
    if (!v) no_memory();
    v[l->n++] = value;
    l->v = v;
}

/* The row of `--no-X` for X, of X for `--no-X`; NULL if there is none. */
static const struct cli_option *opposite(const struct cli_option *o)
{
    for (const struct cli_option *p = program->options; p->name; p++)
        if ((!strncmp(p->name, "no-", 3) && !strcmp(p->name + 3, o->name)) ||
            (!strncmp(o->name, "no-", 3) && !strcmp(o->name + 3, p->name)))
            return p;
    return NULL;
}

/* `value` lives until exit. `where`: prefix of messages. */
static void set_option(const struct cli_option *o, const char *value, enum origin origin, const char *where)
{
    const struct cli_option *other = o->type == CLI_FLAG ? opposite(o) : NULL;
    struct option_state *s = &state[o - program->options];
    if (s->origin > origin || (other && state[other - program->options].origin > origin)) return;
    switch (o->type) {
    case CLI_FLAG:
        *(int *)o->value = 1;
        if (other && other->type == CLI_FLAG) *(int *)other->value = 0;
        break;
    case CLI_STRING: *(const char **)o->value = value; break;
    case CLI_LIST: append_list(o->value, value); break;
    case CLI_CHOICE: set_choice(o, value, where); break;
    default: set_number(o, value, where);
    }
    s->origin = origin;
}

static const struct cli_option *find_option(const char *name, size_t len)
{
    for (const struct cli_option *o = program->options; o->name; o++)
        if (strlen(o->name) == len && !memcmp(o->name, name, len)) return o;
    return NULL;
}

_Noreturn static void unknown_option(const char *name, size_t len, const char *where)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)(len < 60 ? len : 60), name);
    int near = cli_nearest(typed, option_name, program->options);
    if (near >= 0)
        cli_misuse("%sunknown option '--%s'; did you mean '--%s'?", where, typed, program->options[near].name);
    cli_misuse("%sunknown option '--%s'", where, typed);
}

/* -- presets -- */

static int is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISDIR(s.st_mode);
}

/* Where a preset may be: as a path, where `make install` puts it, in the source tree. NULL behind the last. */
static const char *preset_place(int i)
{
    static const char *const relative[] = {"../share/lafs/presets", "../../examples/presets"};
    static char exe[PATH_MAX], path[PATH_MAX + 64];
    if (i == 2) return "examples/presets";
    if (i > 2) return NULL;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0) n = 0;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    snprintf(path, sizeof path, "%s/%s", exe, relative[i]);
    return path;
}

enum { MAX_PRESETS = 64 };
struct presets {
    char name[MAX_PRESETS][64];
    int n;
};

static const char *preset_name(const void *presets, int i)
{
    const struct presets *p = presets;
    return i < p->n ? p->name[i] : NULL;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

/* Says which there are: of the first place that has some. */
_Noreturn static void no_preset(const char *name)
{
    static struct presets p;
    char list[1024] = "";
    const char *place;
    for (int i = 0; p.n == 0 && (place = preset_place(i)); i++) {
        DIR *dir = opendir(place);
        const struct dirent *e;
        while (dir && p.n < MAX_PRESETS && (e = readdir(dir))) {
            size_t size = strlen(e->d_name) + 1;
            if (!strchr(e->d_name, '.') && size <= sizeof p.name[0]) memcpy(p.name[p.n++], e->d_name, size);
        }
        if (dir) closedir(dir);
    }
    qsort(p.name, (size_t)p.n, sizeof p.name[0], by_text);
    int near = cli_nearest(name, preset_name, &p);
    if (near >= 0) cli_misuse("cannot find the preset '%s'; did you mean '%s'?", name, p.name[near]);
    for (int i = 0; i < p.n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", p.name[i]);
    cli_misuse("cannot find the preset '%s'%s%s", name, p.n ? "; there are: " : "", list);
}

static void find_preset(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s", name);
    if (is_file(path)) return;
    const char *dir;
    for (int i = 0; !strchr(name, '/') && (dir = preset_place(i)); i++) {
        snprintf(path, size, "%s/%s", dir, name);
        if (is_file(path)) return;
    }
    no_preset(name);
}

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    for (size_t n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]); n--) s[n - 1] = 0;
    return s;
}

static void preset_line(char *line, const char *where)
{
    char *equals = strchr(line, '='), *name, *value = NULL;
    if (equals) {
        *equals = 0;
        value = trim(equals + 1);
    }
    name = trim(line);
    const struct cli_option *o = find_option(name, strlen(name));
    if (!o || !strcmp(name, "preset")) unknown_option(name, strlen(name), where);
    if (o->type != CLI_FLAG) {
        if (!value) cli_misuse("%soption '%s' needs a value", where, name);
        set_option(o, value, FROM_PRESET, where);
    } else if (!value || !strcmp(value, "yes"))
        set_option(o, NULL, FROM_PRESET, where);
    else if (strcmp(value, "no"))
        cli_misuse("%soption '%s' is yes or no, not '%s'", where, name, value);
}

/* Cuts `text` up; values point into it. */
static void preset_lines(char *text, const char *path)
{
    char where[2 * PATH_MAX + 32];
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        line = trim(line);
        snprintf(where, sizeof where, "%s:%d: ", path, number);
        if (*line && *line != '#') preset_line(line, where);
    }
}

static void read_preset(const char *name)
{
    static struct lafs_buf b; /* stays: values point into it */
    char path[2 * PATH_MAX];
    struct lafs_err err = {0};
    find_preset(name, path, sizeof path);
    if (lafs_buf_read_file(&b, path, 1 << 20, &err) != LAFS_OK) exit(cli_fail(&err));
    if (!lafs_buf_str(&b) || strlen((char *)b.data) != b.size) cli_misuse("'%s' is not a preset: it is no text", path);
    preset_lines((char *)b.data, path);
}

/* -- the command line -- */

struct args {
    int argc, i;
    char **argv;
    int help, version;
    const char *completion;
};

/* The value of an option that needs one: what is attached, else the next argument. */
static const char *take_value(struct args *a, const struct cli_option *o, const char *attached)
{
    if (attached) return attached;
    if (a->i + 1 >= a->argc) cli_misuse("option '--%s' needs a value (%s)", o->name, o->arg ? o->arg : "VALUE");
    return a->argv[++a->i];
}

static void long_option(struct args *a, const char *text)
{
    size_t len = strcspn(text, "=");
    const char *attached = text[len] ? text + len + 1 : NULL;
    if (!strcmp(text, "help")) a->help = 1;
    else if (!strcmp(text, "version")) a->version = 1;
    else if (!strncmp(text, "completion", len) && len == 10) /* hidden: make install asks for it */
        a->completion = take_value(a, &(struct cli_option){"completion"}, attached);
    else {
        const struct cli_option *o = find_option(text, len);
        if (!o) unknown_option(text, len, "");
        if (o->type == CLI_FLAG && attached) cli_misuse("option '--%s' takes no value", o->name);
        set_option(o, o->type == CLI_FLAG ? NULL : take_value(a, o, attached), FROM_COMMAND_LINE, "");
    }
}

static void short_options(struct args *a, const char *text)
{
    for (; *text; text++) {
        const struct cli_option *o = program->options;
        while (o->name && o->short_name != *text) o++;
        if (!o->name) cli_misuse("unknown option '-%c'", *text);
        if (o->type != CLI_FLAG) {
            set_option(o, take_value(a, o, text[1] ? text + 1 : NULL), FROM_COMMAND_LINE, "");
            return;
        }
        set_option(o, NULL, FROM_COMMAND_LINE, "");
    }
}

static void remember_initial_values(void)
{
    size_t n = 0;
    while (program->options[n].name) n++;
    state = calloc(n + 1, sizeof *state);
    if (!state) no_memory();
    for (size_t i = 0; i < n; i++) {
        const struct cli_option *o = &program->options[i];
        switch (o->type) {
        case CLI_FLAG: state[i].initial.flag = *(int *)o->value; break;
        case CLI_INT: state[i].initial.i = *(int64_t *)o->value; break;
        case CLI_DOUBLE: state[i].initial.d = *(double *)o->value; break;
        case CLI_STRING: case CLI_CHOICE: state[i].initial.s = *(const char **)o->value; break;
        case CLI_LIST: break;
        }
    }
}

/* Where a shard ends is asked for of several. */
static void check_shards(void)
{
    const size_t len = cli.out ? strlen(cli.out) : 0;
    const int several = len > 4 && !strcmp(cli.out + len - 4, ".tar") && strchr(cli.out, '%');
    if ((cli.shard_samples || cli.shard_bytes) && !several)
        cli_misuse("--shard-samples and --shard-bytes go with -o NAME-%%06d.tar");
}

char **cli_parse(const struct cli_program *p, int argc, char **argv, int *nargs)
{
    struct args a = {.argc = argc, .argv = argv};
    fill_standard_descriptors();
    program = p;
    install_signals();
    atexit(remove_unfinished);
    remember_initial_values();
    int n = 0, only_files = 0;
    for (a.i = 1; a.i < argc; a.i++) {
        char *s = argv[a.i];
        if (only_files || s[0] != '-' || !s[1]) argv[n++] = s; /* n < a.i: never overtakes what is still to be read */
        else if (!strcmp(s, "--")) only_files = 1;
        else if (s[1] == '-') long_option(&a, s + 2);
        else short_options(&a, s + 1);
        if (a.help) break;
    }
    const int zsh = a.completion && !strcmp(a.completion, "zsh");
    if (a.completion && !zsh && strcmp(a.completion, "bash")) cli_misuse("completion is there for bash and zsh");
    if (a.help || a.version || a.completion) {
        if (a.help) cli_print_help(p);
        else if (a.version) cli_print_version(p, cli.verbose);
        else if (zsh) cli_print_zsh_completion(p);
        else cli_print_bash_completion(p);
        exit(cli_finish(EXIT_DONE));
    }
    if (cli.preset) read_preset(cli.preset);
    check_shards();
    cli_separate((const char *const *const[]){&cli.out, &cli.log, &cli.rejects, NULL});
    *nargs = n;
    argv[n] = NULL;
    return argv;
}

static const char *name_of(const void *value)
{
    for (const struct cli_option *o = program->options; o->name; o++)
        if (o->value == value) return o->name;
    return "?";
}

static int same_place(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int cli_one_file(const char *a, const char *b)
{
    struct stat info;
    const char *a_base = lafs_base_name(a), *b_base = lafs_base_name(b);
    char a_dir[PATH_MAX], b_dir[PATH_MAX];
    if (!strcmp(a, b)) return 1;
    if (stat(a, &info) == 0 || stat(b, &info) == 0) return S_ISREG(info.st_mode) && same_place(a, b);
    if (strcmp(a_base, b_base) || a_base - a >= PATH_MAX || b_base - b >= PATH_MAX) return 0;
    snprintf(a_dir, sizeof a_dir, "%.*s", a_base == a ? 1 : (int)(a_base - a), a_base == a ? "." : a);
    snprintf(b_dir, sizeof b_dir, "%.*s", b_base == b ? 1 : (int)(b_base - b), b_base == b ? "." : b);
    return same_place(a_dir, b_dir);
}

/* Misuse where the value of option `name` is the file that is written by that whose value lives at `out`. */
static void part_from(const char *name, const char *value, const char *const *out)
{
    struct stat info;
    if (!value || !*out || !strcmp(value, "-") || !cli_one_file(value, *out)) return;
    if (stat(*out, &info) == 0 && S_ISCHR(info.st_mode)) return; /* /dev/null takes any number */
    cli_misuse("--%s and --%s are one file: '%s'", name, name_of(out), *out);
}

static int names_files(const struct cli_option *o)
{
    static const char *const arg[] = {"FILE", "MODEL", "INPUT", "JSON", "FACES.lafs"};
    if ((o->type != CLI_STRING && o->type != CLI_LIST) || !o->arg) return 0;
    for (size_t i = 0; i < sizeof arg / sizeof *arg; i++)
        if (!strcmp(o->arg, arg[i])) return 1;
    return 0;
}

void cli_separate(const char *const *const *file)
{
    for (int i = 0; file[i]; i++) {
        for (int k = 0; k < i; k++) part_from(name_of(file[k]), *file[k], file[i]);
        for (const struct cli_option *o = program->options; o->name; o++) {
            int listed = !names_files(o);
            for (int k = 0; file[k]; k++) listed |= o->value == (const void *)file[k];
            if (listed) continue;
            const struct cli_list *l = o->value;
            if (o->type == CLI_STRING) part_from(o->name, *(const char **)o->value, file[i]);
            for (int n = 0; o->type == CLI_LIST && n < l->n; n++) part_from(o->name, l->v[n], file[i]);
        }
    }
}

int cli_given(const void *value)
{
    for (size_t i = 0; program->options[i].name; i++)
        if (program->options[i].value == value) return state[i].origin != FROM_DEFAULT;
    return 0;
}

/* -- provenance -- */

static const char *value_text(const struct cli_option *o)
{
    struct lafs_buf b; /* stays until exit */
    lafs_buf_init(&b);
    if (o->type == CLI_FLAG) lafs_buf_puts(&b, "yes");
    else if (o->type == CLI_INT) lafs_buf_printf(&b, "%lld", (long long)*(int64_t *)o->value);
    else if (o->type == CLI_DOUBLE) lafs_json_put_double(&b, *(double *)o->value);
    else if (o->type == CLI_LIST)
        for (int i = 0; i < ((struct cli_list *)o->value)->n; i++)
            lafs_buf_printf(&b, "%s%s", i ? " " : "", ((struct cli_list *)o->value)->v[i]);
    else lafs_buf_puts(&b, *(const char **)o->value ? *(const char **)o->value : "");
    if (!lafs_buf_str(&b)) no_memory();
    return lafs_buf_str(&b);
}

static int same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static int is_changed(const struct cli_option *o, const struct option_state *s)
{
    switch (o->type) {
    case CLI_FLAG: return *(int *)o->value && !s->initial.flag;
    case CLI_INT: return *(int64_t *)o->value != s->initial.i;
    case CLI_DOUBLE: { /* NaN stands for what was not given */
        double v = *(double *)o->value;
        return v != s->initial.d && (v == v || s->initial.d == s->initial.d);
    }
    case CLI_LIST: return ((struct cli_list *)o->value)->n > 0;
    default: return !same_text(*(const char **)o->value, s->initial.s);
    }
}

int cli_prov_options(const struct cli_program *p, const char *const **names, const char *const **values)
{
    static const void *const no_effect[] = {&cli.out, &cli.jobs, &cli.preset, &cli.log, &cli.max_bad, &cli.rejects,
                                            &cli.progress, &cli.no_progress, &cli.quiet, &cli.verbose};
    static const char **name, **value; /* stay until exit */
    size_t rows = 0;
    while (p->options[rows].name) rows++;
    name = calloc(rows + 1, sizeof *name);
    value = calloc(rows + 1, sizeof *value);
    if (!name || !value) no_memory();
    int n = 0;
    for (size_t i = 0; i < rows; i++) {
        const struct cli_option *o = &p->options[i];
        int counts = is_changed(o, &state[i]) && !o->no_effect;
        for (size_t k = 0; k < sizeof no_effect / sizeof *no_effect; k++) counts &= o->value != no_effect[k];
        if (counts) name[n] = o->name, value[n++] = value_text(o);
    }
    *names = name;
    *values = value;
    return n;
}
