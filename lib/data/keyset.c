#include "data/keyset.h"

#include "base/mem.h"
#include "base/rng.h"

void lafs_keyset_release(struct lafs_keyset *k)
{
    lafs_free(k->slot);
    k->slot = NULL;
    k->cap = k->count = 0;
}

/* FNV's low bits are weak on short keys that differ at the end: spread the high ones down. */
static size_t place(const struct lafs_keyset *k, uint64_t hash) { return (size_t)((hash ^ hash >> 29) & (k->cap - 1)); }

static lafs_status grow(struct lafs_keyset *k, struct lafs_err *err)
{
    struct lafs_keyset old = *k;
    k->cap = old.cap ? old.cap * 2 : 1024;
    lafs_status st = lafs_alloc0(&k->slot, k->cap, sizeof *k->slot, err);
    if (st != LAFS_OK) {
        *k = old;
        return st;
    }
    for (size_t i = 0; i < old.cap; i++) {
        if (!old.slot[i].id) continue;
        size_t at = place(k, old.slot[i].hash);
        while (k->slot[at].id) at = (at + 1) & (k->cap - 1);
        k->slot[at] = old.slot[i];
    }
    lafs_free(old.slot);
    return LAFS_OK;
}

/* The slot of the key, or the free one where it belongs. */
static struct lafs_keyslot *find_slot(const struct lafs_keyset *k, uint64_t hash, const char *key, size_t len)
{
    size_t at = place(k, hash);
    while (k->slot[at].id && !(k->slot[at].hash == hash && k->same(k->arg, k->slot[at].id - 1, key, len)))
        at = (at + 1) & (k->cap - 1);
    return &k->slot[at];
}

lafs_status lafs_keyset_add(struct lafs_keyset *k, const char *key, size_t len, uint64_t id, struct lafs_err *err)
{
    if (k->count >= k->cap - k->cap / 4) LAFS_TRY(grow(k, err));
    uint64_t hash = lafs_fnv1a(key, len);
    struct lafs_keyslot *slot = find_slot(k, hash, key, len);
    if (slot->id) return LAFS_END;
    *slot = (struct lafs_keyslot){hash, id + 1};
    k->count++;
    return LAFS_OK;
}

int lafs_keyset_find(const struct lafs_keyset *k, const char *key, size_t len, uint64_t *id)
{
    if (!k->cap) return 0;
    const struct lafs_keyslot *slot = find_slot(k, lafs_fnv1a(key, len), key, len);
    if (!slot->id) return 0;
    *id = slot->id - 1;
    return 1;
}
