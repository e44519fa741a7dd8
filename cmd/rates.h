/* Lists of error rates, as --far and --fpir take them, and what is to be said of intervals. */
#ifndef LAFS_CMD_RATES_H
#define LAFS_CMD_RATES_H

#include <stdint.h>

/* Parses "1e-3,0.01": at most max rates, each between 0 and 1 (else: misuse of `option`). rate, text (max): the
 * numbers, and what the user wrote, which stays until the program's end. Gives how many. */
int cli_rates(const char *option, const char *list, double *rate, const char **text, int max);
/* Warns where intervals come from drawings of so few people that they are too narrow. */
void cli_few_people(int64_t people, int64_t drawings);

#endif
