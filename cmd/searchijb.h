/* IJB's 1:N protocol: templates of a list searched among those of others. */
#ifndef LAFS_CMD_SEARCHIJB_H
#define LAFS_CMD_SEARCHIJB_H

#include "cmd/cli.h"
#include "cmd/searchout.h"
#include "cmd/templates.h"

struct searchijb {
    const struct search_asked *asked;
    const struct templates_options *templates;
    const struct cli_list *galleries; /* files, each a list of templates */
    const char *probes;               /* one as well */
};
/* Reads embeddings of all images (args), and prints the figures. Templates without an image are not found. Gives an
 * exit status and has said what was wrong. */
int searchijb_run(const struct searchijb *s, const char *const *args, int nargs);

#endif
