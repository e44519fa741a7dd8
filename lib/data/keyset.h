/* A set of keys that holds no keys: the caller keeps them under numbers and compares. 16 bytes a slot. */
#ifndef LAFS_DATA_KEYSET_H
#define LAFS_DATA_KEYSET_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct lafs_keyset {
    struct lafs_keyslot {
        uint64_t hash, id; /* id + 1; 0: free */
    } *slot;
    size_t cap, count;
    /* Whether the key kept under id equals key[0..len). */
    int (*same)(void *arg, uint64_t id, const char *key, size_t len);
    void *arg;
};
void lafs_keyset_release(struct lafs_keyset *k);
/* Adds the key under id; LAFS_END when an equal one is there already. */
lafs_status lafs_keyset_add(struct lafs_keyset *k, const char *key, size_t len, uint64_t id, struct lafs_err *err);
/* *id of the key; 0 when there is none. */
int lafs_keyset_find(const struct lafs_keyset *k, const char *key, size_t len, uint64_t *id);

#endif
