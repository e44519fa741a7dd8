#include "cmd/rates.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cmd/cli.h"
#include "cmd/printing.h"

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

/* From 20 on a percentile interval is less than a tenth too narrow: the variance of drawings is (n - 1)/n of the true
 * one, and Student's quantile of 19 is 2.09 where the normal one is 1.96. */
enum { ENOUGH_PEOPLE = 20 };

void cli_few_people(int64_t people, int64_t drawings)
{
    if (drawings > 0 && people < ENOUGH_PEOPLE)
        cli_warn("the intervals come from %s: of fewer than %d they are too narrow", counted(people, "people").text,
                 ENOUGH_PEOPLE);
}
