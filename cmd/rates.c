#include "cmd/rates.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/cli.h"

int cli_rates(const char *option, const char *list, double *rate, const char **text, int max)
{
    struct lafs_err err = {0};
    static char *copy; /* reachable as long as the texts are in use */
    int n = 0;
    if (lafs_strdup(&copy, list, &err) != LAFS_OK) exit(cli_fail(&err));
    for (char *p = copy, *comma; p; p = comma ? comma + 1 : NULL) {
        double v;
        comma = strchr(p, ',');
        if (comma) *comma = 0;
        if (!lafs_parse_double(p, &v) || !(v > 0 && v < 1))
            cli_misuse("%s: '%s' is no rate between 0 and 1", option, p);
        if (n == max) cli_misuse("%s: more than %d rates", option, max);
        text[n] = p;
        rate[n++] = v;
    }
    return n;
}
