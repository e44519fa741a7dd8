/* The command line and presets. An input is arguments, each ended by a newline; behind an empty one a preset's text. */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/clihelp.h"

/* The parser itself, but an exit comes back here, and messages go nowhere. */
static jmp_buf back;
#define exit(status) longjmp(back, 1 + (status))
#define write(fd, data, size) ((void)(data), (ssize_t)(size))
#define atexit(f) ((void)0)
#define cli_print_help(p) ((void)(p))
#define cli_print_version(p, v) ((void)(p), (void)(v))
#define cli_print_bash_completion(p) ((void)(p))
#define cli_print_zsh_completion(p) ((void)(p))
#define fclose(f) ((void)(f), 0)
#include "cmd/cli.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct { int best, no_best; int64_t n; double min; const char *mode, *text; struct cli_list model; } o;
static const struct cli_option table[] = {
    CLI_OUT, CLI_SEED, CLI_JOBS,
    {"best", 'b', CLI_FLAG, &o.best, NULL, "flag"},
    {"no-best", 0, CLI_FLAG, &o.no_best, NULL, "flag"},
    {"count", 'n', CLI_INT, &o.n, "N", "count", 0, 100, "all"},
    {"min-score", 0, CLI_DOUBLE, &o.min, "SCORE", "number", 0, 1, "0.8"},
    {"mode", 'm', CLI_CHOICE, &o.mode, "fast|slow", "choice", 0, 0, "fast"},
    {"text", 't', CLI_STRING, &o.text, "TEXT", "text"},
    {"model", 0, CLI_LIST, &o.model, "FILE", "list"},
    CLI_ALWAYS, {0}};
static const struct cli_program fuzzed = {"lafs-fuzz", "[OPTION]...", "parse", table};

/* Cuts the arguments out of text; what is behind them is the preset. */
static int arguments(char **argv, int max, char **text)
{
    int argc = 1;
    argv[0] = (char *)"lafs-fuzz";
    while (argc < max && **text && **text != '\n') {
        char *end = strchr(*text, '\n');
        argv[argc++] = *text;
        *text = end ? end + 1 : *text + strlen(*text);
        if (end) *end = 0;
    }
    return argc;
}

static void parse(int argc, char **argv, char *preset)
{
    const char *const *names, *const *values;
    int n;
    if (setjmp(back)) return;
    cli_parse(&fuzzed, argc, argv, &n);
    if (*preset == '\n') preset_lines(preset + 1, "preset");
    if (n < 0 || n >= argc || argv[n]) abort();
    if (o.n < 0 || o.n > 100 || !(o.min >= 0 && o.min <= 1)) abort();
    n = cli_prov_options(&fuzzed, &names, &values);
    for (int i = 0; i < n; i++) free((void *)(uintptr_t)values[i]);
    free((void *)(uintptr_t)names);
    free((void *)(uintptr_t)values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct cli_common initial = cli;
    char *argv[66] = {NULL}, *text = malloc(size + 1), *preset = text;
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = 0;
    int argc = arguments(argv, 64, &preset);
    parse(argc, argv, preset);
    free(state);
    state = NULL;
    free(o.model.v);
    memset(&o, 0, sizeof o);
    cli = initial;
    free(text);
    return 0;
}
