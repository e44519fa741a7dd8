#include "cmd/clihelp.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "compute/backend.h"
#include "format/archive.h"

/* Only programs that compute link the backends, and few open archives; the others get NULL here. */
#pragma weak lafs_backend_open
#pragma weak lafs_backend_close
#pragma weak lafs_archive_load

enum { HELP_COLUMN = 28, HELP_WIDTH = 80 };

/* Prints text from the current column on, broken between words, indented. */
static void print_wrapped(const char *text, int column)
{
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column + 1 + n > HELP_WIDTH && column > HELP_COLUMN) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", n, text);
        column += n;
        text += n + (text[n] == ' ');
    }
}

static void print_option(const struct cli_option *o)
{
    char left[200], help[400];
    int n = snprintf(left, sizeof left, "  %c%c%s--%s", o->short_name ? '-' : ' ', o->short_name ? o->short_name : ' ',
                     o->short_name ? ", " : "  ", o->name);
    if (o->type != CLI_FLAG && n > 0 && (size_t)n < sizeof left)
        n += snprintf(left + n, sizeof left - (size_t)n, " %s", o->arg);
    snprintf(help, sizeof help, o->def ? "%s (default: %s)" : "%s", o->help, o->def);
    fputs(left, stdout);
    if (n + 2 > HELP_COLUMN) printf("\n%*s", HELP_COLUMN, "");
    else printf("%*s", HELP_COLUMN - n, "");
    print_wrapped(help, HELP_COLUMN);
    putchar('\n');
}

static const struct cli_option built_in[] = {
    {"help", 0, CLI_FLAG, NULL, NULL, "print this help and exit"},
    {"version", 0, CLI_FLAG, NULL, NULL,
     "print the version and exit; with -v also those of the libraries, and the devices"},
    {0}};

void cli_print_help(const struct cli_program *p)
{
    printf("usage: %s %s\n%s\n\n", p->name, p->synopsis, p->summary);
    for (const struct cli_option *o = p->options; o->name; o++) print_option(o);
    for (const struct cli_option *o = built_in; o->name; o++) print_option(o);
    printf("\nThe manual: man %s, man lafs\n", p->name);
}

/* -- version -- */

/* Libraries are asked at run time, so that this file includes none of their headers. */
static void print_library(const char *label, const char *version_function, const char *any_function)
{
    Dl_info info;
    char real[PATH_MAX];
    void *at = dlsym(RTLD_DEFAULT, any_function);
    if (!at) return;
    union {
        void *p;
        const char *(*f)(void);
    } version = {version_function ? dlsym(RTLD_DEFAULT, version_function) : NULL};
    printf("%s: %s", label, version.p ? version.f() : "");
    if (dladdr(at, &info) && info.dli_fname)
        printf("%s%s", version.p ? ", " : "", realpath(info.dli_fname, real) ? real : info.dli_fname);
    putchar('\n');
}

static void print_device(const char *name)
{
    struct lafs_backend b;
    struct lafs_err err = {0};
    const char *why = NULL;
    if (lafs_backend_open(&b, name, NULL, &why, &err) != LAFS_OK) {
        printf("device %s: not available: %s\n", name, err.msg);
        return;
    }
    printf("device %s: %s\n", name, b.ops->describe(b.dev));
    lafs_backend_close(&b);
}

static void print_instruction_sets(void)
{
#if defined __x86_64__
    printf("processor:");
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) printf(" avx2");
    if (__builtin_cpu_supports("fma")) printf(" fma");
    if (__builtin_cpu_supports("avx512f")) printf(" avx512f");
    if (__builtin_cpu_supports("avx512bw")) printf(" avx512bw");
    if (__builtin_cpu_supports("avx512vnni")) printf(" avx512vnni");
    if (__builtin_cpu_supports("avx512bf16")) printf(" avx512bf16");
    putchar('\n');
#endif
}

void cli_print_version(const struct cli_program *p, int verbose)
{
    printf("%s (lafs) %s\n", p->name, lafs_version);
    if (!verbose) return;
    printf("compiler: %s\n", __VERSION__);
    if (lafs_archive_load) lafs_archive_load(NULL);
    print_library("libarchive", "archive_version_details", "archive_version_details");
    print_library("libjpeg", NULL, "jpeg_std_error");
    print_library("libpng", NULL, "png_access_version_number");
    print_library("msgpack-c", "msgpack_version", "msgpack_version");
    print_instruction_sets();
    printf("processors: %d of %ld\n", lafs_processors(), sysconf(_SC_NPROCESSORS_ONLN));
    if (lafs_backend_open) {
        print_device("cpu");
        print_device("cuda");
    }
}

/* -- completion -- */

/* What the value of an option can become: words, nothing for numbers, files for all others. */
static int has_words(const struct cli_option *o) { return o->arg && strchr(o->arg, '|'); }
static int is_number(const struct cli_option *o) { return o->type == CLI_INT || o->type == CLI_DOUBLE; }

static void print_words(const struct cli_option *o)
{
    for (const char *c = o->arg; *c; c++) putchar(*c == '|' ? ' ' : *c);
}

static void print_values(const struct cli_option *o)
{
    if (has_words(o)) {
        printf("    --%s) COMPREPLY=($(compgen -W '", o->name);
        print_words(o);
        puts("' -- \"$cur\")); return;;");
    } else if (is_number(o)) printf("    --%s) COMPREPLY=(); return;;\n", o->name);
}

void cli_print_bash_completion(const struct cli_program *p)
{
    char fn[64];
    snprintf(fn, sizeof fn, "_%s", p->name);
    for (char *c = fn; *c; c++)
        if (*c == '-') *c = '_';
    printf("# bash completion of %s\n%s()\n{\n    local cur=\"${COMP_WORDS[COMP_CWORD]}\" "
           "prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
           "    [[ \"$cur\" == = ]] && cur= || { [[ \"$prev\" == = ]] && prev=\"${COMP_WORDS[COMP_CWORD-2]}\"; }\n"
           "    COMPREPLY=()\n    case \"$prev\" in\n",
           p->name, fn);
    for (const struct cli_option *o = p->options; o->name; o++) print_values(o);
    printf("    esac\n    [[ \"$cur\" == -* ]] && COMPREPLY=($(compgen -W '");
    for (const struct cli_option *o = p->options; o->name; o++) printf("--%s ", o->name);
    printf("--help --version' -- \"$cur\"))\n}\ncomplete -o default -F %s %s\n", fn, p->name);
}

/* Text within quotes, where _arguments takes brackets and colons for its own. */
static void print_quoted(const char *text)
{
    for (; *text; text++) {
        if (strchr("[]:\\", *text)) putchar('\\');
        if (*text == '\'') fputs("'\\''", stdout);
        else putchar(*text);
    }
}

static void print_zsh_option(const struct cli_option *o)
{
    const int flag = o->type == CLI_FLAG;
    printf(" \\\n    ");
    if (o->type == CLI_LIST) printf("'*'");
    else if (o->short_name) printf("'(-%c --%s)'", o->short_name, o->name);
    if (o->short_name) printf("{-%c%s,--%s%s}'[", o->short_name, flag ? "" : "+", o->name, flag ? "" : "=");
    else printf("--%s%s'[", o->name, flag ? "" : "=");
    print_quoted(o->help);
    putchar(']');
    if (has_words(o)) {
        printf(":%s:(", o->name);
        print_words(o);
        putchar(')');
    } else if (!flag) {
        putchar(':');
        print_quoted(o->arg);
        fputs(is_number(o) ? ": " : ":_files", stdout);
    }
    putchar('\'');
}

void cli_print_zsh_completion(const struct cli_program *p)
{
    printf("#compdef %s\n_arguments -s -S :", p->name);
    for (const struct cli_option *o = p->options; o->name; o++) print_zsh_option(o);
    for (const struct cli_option *o = built_in; o->name; o++) print_zsh_option(o);
    puts(" \\\n    '*:file:_files'");
}

/* -- suggestions -- */

/* Edits (insert, delete, replace, swap of neighbours) between two short words. */
static int edits(const char *a, const char *b)
{
    enum { MAX = 32 };
    int n = (int)strlen(a), m = (int)strlen(b), d[MAX + 1][MAX + 1];
    if (n > MAX || m > MAX) return INT_MAX;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            int best = i == 0 ? j : j == 0 ? i : d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (i > 0 && d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (j > 0 && d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

int cli_nearest(const char *typed, const char *(*next)(const void *words, int i), const void *words)
{
    const char *w;
    int best = -1, len = (int)strlen(typed), fewest = len < 2 ? len : len / 3 + 2; /* another letter is no likeness */
    for (int i = 0; (w = next(words, i)); i++) {
        int e = strlen(typed) > 2 && !strncmp(w, typed, strlen(typed)) ? 1 : edits(typed, w);
        if (e < fewest) fewest = e, best = i;
    }
    return best;
}
