/* Any bytes as a file of scores: what is taken can be compared. */
#include <math.h>
#include <string.h>

#include "eval/compare.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lafs_answers a;
    struct lafs_err err = {0};
    lafs_status st = lafs_answers_parse(&a, (const char *)data, size, &err);
    must(st == LAFS_OK ? a.n > 0 && isfinite(a.threshold) && strlen(a.pairs) == 64
                       : st == LAFS_FAILED && err.msg[0] && !a.score);
    must(a.seeds >= 0 && a.seeds <= LAFS_SEEDS_MAX);
    for (int i = 0; i < a.seeds; i++) must(memchr(a.seed[i].name, 0, sizeof a.seed[i].name) != NULL);
    for (int64_t i = 0; i < a.n; i++) must(isnan(a.score[i]) || (a.score[i] >= -1 && a.score[i] <= 1));
    lafs_answers_release(&a);
    return 0;
}
