/* The k most similar entries of a gallery for each of many probes. The gallery is given block by block, so it may be of
 * any size; memory is that of the probes, their lists and one block.
 *
 * The result is defined without regard to how it is found: entries are ordered by their cosine (the dot product of
 * eval/dots.h, of rows normalised by lafs_normalise_rows), equal ones by their place in the gallery, and the first k
 * are given. So it depends neither on blocks and threads nor on the machine. Where each person is wanted once, the
 * first entry of each person in this order stands for the person, and the first k of these are given.
 *
 * How it is found: both sides are rounded to 8-bit integers, whose products are exact (op `scan`). With q = s_q Q + r_q
 * and g = s_g G + r_g, Cauchy and Schwarz give
 *     |q g - s_q s_g (Q G)| = |s_q Q r_g + r_q g| <= |s_q Q| |r_g| + |r_q| |g|,
 * so an entry whose integer product says that even with this error it stays below the probe's k-th best cosine is none
 * of the k. That holds of people, too: what is below the k-th person's best makes nobody one of the k. All others get
 * their cosine. The lengths on the right are measured, not estimated, per probe and entry.
 *
 *     LAFS_TRY(lafs_search_new(&s, &backend, pool, &(struct lafs_search_options){.k = 10}, probes, n, dim, err));
 *     while (next_block(&block)) LAFS_TRY(lafs_search_add(s, &block, err));
 *     for (i..n) use(lafs_search_matches(s, i, &count));
 *     lafs_search_free(s);
 */
#ifndef LAFS_EVAL_SEARCH_H
#define LAFS_EVAL_SEARCH_H

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "compute/backend.h"

enum { LAFS_MAX_TOP = 1000, LAFS_MAX_SEARCH_DIM = 1 << 16 };

struct lafs_match {
    int64_t entry; /* number in the gallery, from 0 */
    float score;   /* cosine */
    int32_t person; /* as the block has it; -1: none */
};
struct lafs_search_options {
    int64_t k;           /* matches wanted, 1..LAFS_MAX_TOP */
    float min_score;     /* entries below are no matches; -1: all */
    const int32_t *own;  /* (n) or NULL: a probe skips the entries of the block whose `own` is the same and not -1 */
    int per_person;      /* each person once, by the best entry; entries of no person count on their own */
};
struct lafs_search;
/* q (n, dim), normalised, borrowed until free; own likewise. b, pool (may be NULL): borrowed. */
lafs_status lafs_search_new(struct lafs_search **out, const struct lafs_backend *b, struct lafs_pool *pool,
                            const struct lafs_search_options *opt, const float *q, int64_t n, int64_t dim,
                            struct lafs_err *err);
void lafs_search_free(struct lafs_search *s);
struct lafs_search_block {
    const float *e;      /* (rows, dim), normalised */
    int64_t rows;
    const int32_t *own;  /* (rows) or NULL */
    const int32_t *person; /* (rows) or NULL; a person's number is the same in all blocks, -1: none */
};
/* The next entries of the gallery. */
lafs_status lafs_search_add(struct lafs_search *s, const struct lafs_search_block *b, struct lafs_err *err);
int64_t lafs_search_probes(const struct lafs_search *s);
/* mark[i] = 1 where entry first + i is in some list. */
void lafs_search_mark(const struct lafs_search *s, int64_t first, int64_t rows, uint8_t *mark);
/* The best entries so far of probe i, best first. */
const struct lafs_match *lafs_search_matches(const struct lafs_search *s, int64_t i, int64_t *count);
/* Cosines that had to be computed: probes times entries would be all of them. */
int64_t lafs_search_looked_at(const struct lafs_search *s);

#endif
