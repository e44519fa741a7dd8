/* Choosing samples of an index: by person, by hash, by number. What is chosen depends on keys, names and the seed,
 * never on the order of samples. */
#ifndef LAFS_DATA_SELECT_H
#define LAFS_DATA_SELECT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/index.h"

/* Why a sample is not in the selection. */
enum lafs_drop {
    LAFS_KEPT = 0,
    LAFS_DROP_NAMELESS,   /* the choice is by person, and it has no name */
    LAFS_DROP_KEYS,       /* not on the list of keys */
    LAFS_DROP_PEOPLE,     /* not on the list of people */
    LAFS_DROP_NOT_PEOPLE, /* on the list of people to leave out */
    LAFS_DROP_HASH,
    LAFS_DROP_NEAR,       /* a near-duplicate of what is to be left out */
    LAFS_DROP_TWIN,       /* a near-duplicate of a sample that stays */
    LAFS_DROP_QUALITY,    /* its quality is too low, or nobody knows it */
    LAFS_DROP_FEW,        /* its person has too few images */
    LAFS_DROP_IDENTITIES, /* its person was not drawn */
    LAFS_DROP_SHOTS,      /* its person has enough without it */
    LAFS_DROP_BAD,        /* cannot be read */
    LAFS_DROPS
};

struct lafs_select {
    const struct lafs_index *ix;
    uint8_t *drop;        /* (ix->samples) enum lafs_drop */
    int32_t *person;      /* (ix->samples) number in 0..people-1, -1 without a name */
    const char **name;    /* (people) as in the index */
    int64_t people;
    uint64_t seed;
};
/* Everything is kept at first. ix outlives s. */
lafs_status lafs_select_init(struct lafs_select *s, const struct lafs_index *ix, uint64_t seed, struct lafs_err *err);
void lafs_select_release(struct lafs_select *s);

/* A list of people: a name a line; or LFW's `NAME<TAB>count`, with lines of a lone count; or pairs, `NAME<TAB>i<TAB>j`
 * and `NAME1<TAB>i<TAB>NAME2<TAB>j`. */
struct lafs_people;
lafs_status lafs_people_read(struct lafs_people **out, const char *path, struct lafs_err *err);
lafs_status lafs_people_parse(struct lafs_people **out, const char *text, size_t size, struct lafs_err *err);
void lafs_people_free(struct lafs_people *p);
int64_t lafs_people_count(const struct lafs_people *p);
int lafs_people_has(const struct lafs_people *p, const char *name);

/* Keeps samples whose key is on the list only, as lafs_people_read reads one of a name a line. *found: how many of the
 * list the index has. */
void lafs_select_keys(struct lafs_select *s, const struct lafs_people *keys, int64_t *found);
/* Keeps people of the list only (keep 1), or drops them (keep 0). *found: how many of the list the index has. */
void lafs_select_people(struct lafs_select *s, const struct lafs_people *p, int keep, int64_t *found);
/* Keeps (keep 1) or drops people with FNV-1a-64(name) mod m in the set: in[r] != 0, r < m. */
void lafs_select_hash(struct lafs_select *s, int64_t m, const uint8_t *in, int keep);
/* Drops people of less than n images that are still kept. */
lafs_status lafs_select_min_images(struct lafs_select *s, int64_t n, struct lafs_err *err);
/* Keeps n people, or `share` of those that are still there (n < 0; rounded, at least one). */
lafs_status lafs_select_identities(struct lafs_select *s, int64_t n, double share, struct lafs_err *err);
/* Keeps k images of each person, all of those that have less: the first k in an order drawn by seed and key, so that
 * fewer shots are among more. */
lafs_status lafs_select_shots(struct lafs_select *s, int64_t k, struct lafs_err *err);
/* Where a person (or, without a name, a sample) falls in [0, 1): for splits by person that others' coming and going
 * does not change. */
double lafs_select_place(const struct lafs_select *s, int64_t i);
/* What is drawn by the seed and a key or name. Their numbers are part of the draws. */
enum lafs_draw { LAFS_DRAW_SHOT, LAFS_DRAW_IDENTITY, LAFS_DRAW_SPLIT, LAFS_DRAW_PAIR_PHOTO, LAFS_DRAW_PAIR_PERSON };
uint64_t lafs_select_draw(const struct lafs_select *s, enum lafs_draw what, const char *text);

/* Appends to text lines `KEY<TAB>KEY<TAB>1` (photos of one person) and `KEY<TAB>KEY<TAB>0` (of two) in turns, of what
 * is kept and has a name; no pair twice, people as evenly as there are photos of them, at most 64 of one. Where 20
 * people have two photos, each tenth of the lines has people of its own, and at most fold_pairs of a kind; otherwise
 * people are in several tenths, and there are at most 10 * fold_pairs of a kind. LAFS_FAILED: no pair can be made, or a
 * key does not fit into such a line. */
struct lafs_drawn_pairs {
    int64_t of_a_kind; /* pairs of one person, and as many of two */
    int64_t people;
    int apart;         /* each tenth has people of its own */
};
lafs_status lafs_select_pairs(const struct lafs_select *s, int64_t fold_pairs, struct lafs_buf *text,
                              struct lafs_drawn_pairs *drawn, struct lafs_err *err);

/* Parses "M:0,3-5" into *m and *in (m bytes, from lafs_alloc). LAFS_USAGE. */
lafs_status lafs_select_parse_hash(const char *text, int64_t *m, uint8_t **in, struct lafs_err *err);

/* One index of several: shards that occur in more than one are listed once, and so are their samples. Shard paths are
 * absolute; keys and names are borrowed from the given ones, which outlive it. LAFS_FAILED: differing pixel contracts,
 * a key twice. */
lafs_status lafs_index_join(struct lafs_index **out, struct lafs_index *const *ix, int n, struct lafs_err *err);
/* The samples with take[i] != 0, and the shards that they need, with paths relative to the directory of the file
 * `path`. The result borrows keys and names of ix, which outlives it. */
lafs_status lafs_index_subset(struct lafs_index **out, const struct lafs_index *ix, const uint8_t *take,
                              const char *path, struct lafs_err *err);

#endif
