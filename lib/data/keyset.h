/* A set of keys that holds no keys: the caller keeps them under numbers and compares. 16 bytes a slot, at most three in
 * four of which are taken; in memory, or, with `beside`, beyond a bound in a file, at one read and one write of 4 KiB
 * for a key. */
#ifndef LAFS_DATA_KEYSET_H
#define LAFS_DATA_KEYSET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

enum { LAFS_KEYSET_HELD = 1 << 18 };

struct lafs_keyset {
    struct lafs_keyslot {
        uint64_t hash, id; /* id + 1; 0: free */
    } *slot;               /* (cap); of a set in a file (held), the pages that are at hand */
    size_t cap, count;     /* cap: a power of two, or 0 */
    /* Whether the key kept under id equals key[0..len); -1: it could not be read, arg knows why. */
    int (*same)(void *arg, uint64_t id, const char *key, size_t len);
    void *arg;
    const char *beside;        /* NULL: in memory, however many; else a path beside which the file is made */
    size_t held;               /* slots in memory at most then: a power of two from 1024, 0: LAFS_KEYSET_HELD */
    struct lafs_keyfile *file; /* NULL: in memory */
};
void lafs_keyset_release(struct lafs_keyset *k);
/* Adds the key under id; LAFS_END when an equal one is there already. LAFS_FAILED without a message: `same` gave -1. */
lafs_status lafs_keyset_add(struct lafs_keyset *k, const char *key, size_t len, uint64_t id, struct lafs_err *err);
/* *id of the key; 0 when there is none. Of a set without `beside`. */
int lafs_keyset_find(const struct lafs_keyset *k, const char *key, size_t len, uint64_t *id);

/* What most `same` ask: whether the text that is kept is key[0..len). */
static inline int lafs_keyset_is(const char *kept, const char *key, size_t len)
{
    return strncmp(kept, key, len) == 0 && kept[len] == 0;
}

#endif
