/* What cli.c prints about a program from its option table. */
#ifndef LAFS_CMD_CLIHELP_H
#define LAFS_CMD_CLIHELP_H
#include "cmd/cli.h"

void cli_print_help(const struct cli_program *p);
void cli_print_version(const struct cli_program *p, int verbose);
/* Completion scripts on stdout. */
void cli_print_bash_completion(const struct cli_program *p);
void cli_print_zsh_completion(const struct cli_program *p);
/* Which word of `words` is nearest to what was typed, -1 if none is near. `next` gives word i, NULL behind the last. */
int cli_nearest(const char *typed, const char *(*next)(const void *words, int i), const void *words);
#endif
