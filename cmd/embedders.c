#include "cmd/embedders.h"

#include <stdio.h>
#include <string.h>

#include "cmd/cli.h"

enum { SHOWN_DIGITS = 12 }; /* of a digest, as lafs-show prints it */

/* What the header says of an option of lafs-embed; "" where it says nothing. */
static void said(const struct lafs_header *h, const char *option, char *value, size_t cap)
{
    struct lafs_err ignored;
    if (lafs_header_prov_option(h, "lafs-embed", option, value, cap, &ignored) != LAFS_OK) value[0] = '\0';
}

void embedders_note(struct embedders *e, const struct lafs_header *h)
{
    static const char *const option[] = {"model", "baseline"};
    char value[sizeof e->first - 16], made_by[sizeof e->first] = "", amplitude[sizeof e->amplitude];
    for (int i = 0; i < 2; i++) {
        said(h, option[i], value, sizeof value);
        if (value[0]) snprintf(made_by, sizeof made_by, "%s %s", option[i], value);
    }
    said(h, "amplitude", amplitude, sizeof amplitude);
    if (!amplitude[0]) memcpy(amplitude, "full", sizeof "full");
    if (!made_by[0] || e->told) return;
    if (!e->first[0]) {
        memcpy(e->first, made_by, sizeof made_by);
        memcpy(e->amplitude, amplitude, sizeof amplitude);
    }
    const int shown = (int)strlen("model ") + SHOWN_DIGITS;
    if (strcmp(e->first, made_by))
        cli_warn("embeddings of different models are compared (%.*s, %.*s): their similarities mean nothing", shown,
                 e->first, shown, made_by);
    else if (strcmp(e->amplitude, amplitude))
        cli_warn("embeddings of one model with --amplitude %s and %s are compared: their similarities mean little",
                 e->amplitude, amplitude);
    else return;
    e->told = 1;
}
