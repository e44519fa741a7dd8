#include "cmd/embedders.h"

#include <stdio.h>
#include <string.h>

#include "cmd/cli.h"

enum { SHOWN_DIGITS = 12 }; /* of a digest, as lafs-show prints it */

void embedders_note(struct embedders *e, const struct lafs_header *h)
{
    static const char *const option[] = {"model", "baseline"};
    char value[sizeof e->first - 16], made_by[sizeof e->first] = "";
    struct lafs_err ignored;
    for (int i = 0; i < 2; i++)
        if (lafs_header_prov_option(h, "lafs-embed", option[i], value, sizeof value, &ignored) == LAFS_OK)
            snprintf(made_by, sizeof made_by, "%s %s", option[i], value);
    if (!made_by[0] || e->told) return;
    if (!e->first[0]) memcpy(e->first, made_by, sizeof made_by);
    if (!strcmp(e->first, made_by)) return;
    e->told = 1;
    const int shown = (int)strlen("model ") + SHOWN_DIGITS;
    cli_warn("embeddings of different models are compared (%.*s, %.*s): their similarities mean nothing", shown,
             e->first, shown, made_by);
}
